"""The pipeline from Python."""

import asyncio

import pytest

from mimicit.store import Store
from syphus.annotations.context import Context, Picture
from syphus.errors import AnnotationError, TaskError
from syphus.pipeline import Pipeline
from syphus.providers.scripted import ScriptedModel
from tests.builders import coco

PAIRS = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))
NAMES = ["a.png", "b.png", "c.png", "d.png"]


def pipeline(tmp_path, model=None, **options):
    paths = coco(tmp_path / "a.json", NAMES)
    model = model or ScriptedModel(lambda request: PAIRS)
    return Pipeline("la_conversation", model, tmp_path / "ds", annotations=paths, **options)


def test_a_pipeline_runs_plans_and_resumes(tmp_path):
    model = ScriptedModel(lambda request: PAIRS)
    seen = []
    first = pipeline(tmp_path, model, limit=3)
    assert first.plan().requests == 3
    report = first.run(progress=lambda report: seen.append(report.contexts))
    assert (report.pairs, report.asked, seen) == (9, 3, [1, 2, 3])
    again = pipeline(tmp_path, model)
    assert (again.plan().answered, again.plan().requests) == (3, 1)
    assert (again.run().pairs, len(model.seen)) == (12, 4)
    assert again.report.reused == 3


def test_records_come_one_by_one_and_are_in_the_dataset_at_the_end(tmp_path):
    one = pipeline(tmp_path)

    async def collect():
        return [record async for record in one]

    records = asyncio.run(collect())
    assert len(records) == len({record.id for record in records}) == 12
    store = Store(tmp_path / "ds")
    with store.reading() as connection:
        stored = connection.execute("SELECT id FROM accepted ORDER BY id").fetchall()
    assert [id_ for (id_,) in stored] == sorted(record.id for record in records)
    assert one.report.pairs == 12


def test_whoever_leaves_the_iteration_stops_the_run_and_loses_nothing(tmp_path):
    model = ScriptedModel(lambda request: PAIRS, concurrency=1)
    paths = coco(tmp_path / "many.json", [f"{n}.png" for n in range(3_000)])
    many = Pipeline("la_conversation", model, tmp_path / "ds", annotations=paths)

    async def first():
        records = aiter(many)
        try:
            return await anext(records)
        finally:
            await records.aclose()

    assert asyncio.run(first()).instruction == "What is 0?"
    sent = len(model.seen)
    assert sent < 3_000
    report = many.run()
    assert (report.pairs, report.reused) == (9_000, sent)


def test_what_stops_the_run_reaches_whoever_iterates(tmp_path):
    def script(request):
        raise RuntimeError("a bug in the model")

    async def collect():
        return [record async for record in pipeline(tmp_path, ScriptedModel(script))]

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(collect())


def test_contexts_may_be_made_in_python(tmp_path):
    contexts = [
        Context(
            "x", pictures=(Picture("x.png"),), captions=("A red ball on grass.",), source="mine"
        )
    ]
    made = Pipeline(
        "la_conversation",
        ScriptedModel(lambda request: PAIRS),
        Store.open(tmp_path / "ds", create=True),
        annotations=contexts,
    )
    assert made.run().pairs == 3


def test_mistakes_are_told_before_anything_runs(tmp_path):
    with pytest.raises(TaskError):
        Pipeline("no_such_task", "local", tmp_path / "ds", annotations=[])
    with pytest.raises(AnnotationError, match="no annotation file"):
        Pipeline("la_conversation", "local", tmp_path / "ds", annotations="nothing.json")
    assert not (tmp_path / "ds").exists()
