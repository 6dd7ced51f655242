"""What a run learned in each step is a table of the dataset."""

import io
import json

import pytest

torch = pytest.importorskip("torch")

import duckdb  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mimicit.catalog_tables import STEPS  # noqa: E402
from mimicit.sql import run_sql  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer.plan import Plan  # noqa: E402
from trainer.report import Progress, StepLog  # noqa: E402
from trainer.steps import Steps, _standing  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402

torch.set_num_threads(1)
LOGGED = ("step", "loss", "lr", "grad_norm", "taught", "tokens", "seconds", "waited")


class PowerCut(BaseException):
    pass


class Dying(Progress):
    """Die in a step, after it was logged."""

    def __init__(self, at=None):
        super().__init__(io.StringIO())
        self.at = at

    def step(self, entry, *, steps):
        if entry.step == self.at:
            raise PowerCut


def run(dataset, out, *overrides, progress=None, **options):
    return train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SMALL, *overrides],
        progress=progress or Dying(),
        **options,
    )


def logged(out):
    rows = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [tuple(row[name] for name in LOGGED) for row in rows]


def asked(dataset, out, columns=LOGGED):
    """Ask as `syphus sql` does."""
    store = Store.open(dataset)
    store.refresh()
    query = f"SELECT {', '.join(columns)} FROM steps WHERE run = '{out.resolve()}' ORDER BY step"
    result = out / "result.json"
    with result.open("wb") as file:
        run_sql(query, store.catalog_path, output=file, format="json")
    return [tuple(row.values()) for row in json.loads(result.read_text())]


def file_of(dataset, out):
    where = json.dumps(str(out.resolve()))
    [path] = [
        path
        for path in (dataset / "training").glob(f"{out.name}-*.jsonl")
        if where in path.read_text()
    ]
    return path


def test_any_duckdb_client_sees_the_steps_when_a_run_has_ended(dataset, tmp_path):
    out = tmp_path / "a run's"
    run(dataset, out, "run.steps=5")

    with duckdb.connect(dataset / "catalog.duckdb", read_only=True) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(LOGGED)} FROM steps WHERE run = ? ORDER BY step", [str(out.resolve())]
        ).fetchall()  # fmt: skip
        others = connection.execute(
            "SELECT DISTINCT snapshot, epoch, records, time BETWEEN now() - INTERVAL 1 HOUR AND now() "
            "FROM steps WHERE run = ? ORDER BY epoch, records DESC", [str(out.resolve())]
        ).fetchall()  # fmt: skip
    assert rows == logged(out)
    assert len(rows) == 5
    # Seven records, four a step.
    digest = json.loads((out / "run.json").read_text())["snapshot"]
    assert others == [(digest, epoch, size, True) for epoch, size in
                      [(1, 4), (1, 3), (2, 4), (2, 3), (3, 4)]]  # fmt: skip


def test_a_resumed_run_goes_on_without_a_step_twice(dataset, tmp_path):
    out = tmp_path / "cut"
    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(5))
    assert [step for (step,) in asked(dataset, out, ["step"])] == [1, 2, 3, 4, 5]
    before = file_of(dataset, out).read_bytes()
    file_of(dataset, out).write_bytes(before + b'{"run": "half a li')

    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(7))
    assert asked(dataset, out) == logged(out)
    run(dataset, out, "run.save_every=2", resume=True)

    assert asked(dataset, out) == logged(out)
    assert [step for (step,) in asked(dataset, out, ["step"])] == list(range(1, 9))
    after = file_of(dataset, out).read_bytes()
    assert after.startswith(before)
    # After the checkpoints of steps 4 and 6 only the steps 5 and 7 were taken twice.
    assert len(after.splitlines()) == 8 + 2 + 1


def test_a_run_that_is_moved_or_whose_file_is_gone_brings_its_steps_along(dataset, tmp_path):
    out = tmp_path / "moved"
    with pytest.raises(PowerCut):
        run(dataset, out, "run.save_every=2", progress=Dying(4))
    file_of(dataset, out).unlink()
    assert asked(dataset, out) == []

    run(dataset, out, "run.save_every=2", "run.steps=8")

    assert asked(dataset, out) == logged(out)
    times = asked(dataset, out, ["time IS NULL AS old"])
    assert [old for (old,) in times] == [True] * 2 + [False] * 6


def test_another_run_in_the_same_folder_takes_the_place_of_the_first(dataset, tmp_path):
    out = tmp_path / "again"
    run(dataset, out, "run.steps=4")
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    run(dataset, out, "run.steps=3", "optim.lr=1e-3")

    assert asked(dataset, out) == logged(out)
    assert len(logged(out)) == 3


def test_training_goes_on_where_steps_cannot_be_written(dataset, tmp_path, monkeypatch):
    from trainer import steps

    monkeypatch.setattr(steps, "TRAINING", "dataset.json")
    told = io.StringIO()
    result = run(dataset, tmp_path / "lost", "run.steps=3", progress=Progress(told))

    assert result.steps == 3
    assert told.getvalue().count("the dataset's table of steps is left as it is") == 1


def entry(step, loss=1.0):
    return StepLog(step, loss, 0.1, 0.2, taught=3, tokens=4, seconds=0.5, waited=0.0)


def stands(path):
    with duckdb.connect() as connection:
        query = (
            f"SELECT step, loss, seconds FROM ({STEPS.format(file=repr(str(path)))}) ORDER BY step"
        )
        return connection.execute(query).fetchall()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), max_size=12))
def test_the_writer_and_the_catalog_agree_on_which_steps_stand(tmp_path_factory, taken):
    path = tmp_path_factory.mktemp("steps") / "run.jsonl"
    lines = [{"run": "r", "step": step, "loss": n, "seconds": 0} for n, step in enumerate(taken)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    expected = {}
    for number, step in enumerate(taken):
        expected = {old: n for old, n in expected.items() if old < step} | {step: number}
    assert stands(path) == [(step, n, 0) for step, n in expected.items()]
    assert _standing(path) == stands(path)


@pytest.mark.parametrize(
    "line",
    [b"", b"5", b"[" * 60_000, b"[1]", b"{}", b'{"step": 1', b"\xff\x00\xfe", b'{"run": "r", "step": "one"}',
     b'{"run": "r", "step": null}', b'{"run": "r", "step": -1, "loss": 0.0}', b"x" * 200_000],
    ids=lambda line: line[:30].decode("latin-1"),
)  # fmt: skip
def test_a_line_that_is_no_step_is_passed_over(tmp_path, line):
    plan = Plan(records=7, batch_size=4, micro_batch_size=4, seed=0)
    steps = Steps(tmp_path, tmp_path / "run", "d1", plan, say=pytest.fail)
    steps.begin([])
    steps.add(entry(1))
    with steps.path.open("ab") as file:
        file.write(line)

    steps.begin([entry(1)])
    steps.add(entry(2))

    assert stands(steps.path) == [(1, 1.0, 0.5), (2, 1.0, 0.5)]
    assert steps.path.read_bytes().count(b'"step": 2,') == 1


def test_two_runs_of_one_name_have_files_of_their_own(tmp_path):
    plan = Plan(records=1, batch_size=1, micro_batch_size=1, seed=0)
    names = ["a/demo", "b/demo", "a/../a/demo", "a/d é/../../../x", "a/…"]
    paths = [Steps(tmp_path, tmp_path / name, "d", plan, say=print).path for name in names]

    assert len(set(paths)) == 4
    assert paths[0] == paths[2]
    assert {path.parent for path in paths} == {tmp_path / "training"}
