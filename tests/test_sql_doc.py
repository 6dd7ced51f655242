"""docs/sql.md: every table is there with its columns, and every query runs on a dataset that was generated."""

import json
import re

import pytest

from mimicit.curate import curate
from mimicit.curate.recipe import load_recipe
from mimicit.relate import relate
from mimicit.schema import Verdict
from mimicit.snapshot import freeze
from mimicit.sql import run_sql
from mimicit.store import Store
from syphus.pipeline import Pipeline
from syphus.providers.scripted import ScriptedModel
from tests.builders import coco, image, record
from tests.test_layers import ROOT

DOC = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^(\d+)\. [^\n]+:\n\n```sql\n(.*?);\n```", DOC, re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^### (\w+)\n\n.*?\n\n\| column.*?\n\|---.*?\n((?:\|.*\n)+)", re.MULTILINE)


def script(request):
    """Answer with three pairs, and the first time about one picture with what nobody can read."""
    asked = request.messages[-1].content
    if asked.rstrip().endswith("It is chelsea.png."):
        return "I would rather not."
    return "\n\n".join(
        f"Question: What is thing {n}?\nAnswer: It is a thing of number {n}, on a table."
        for n in range(3)
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, photos):
    folder = tmp_path_factory.mktemp("doc")
    annotations = coco(folder / "a.json", ["rocket.jpg", "coffee.png", "chelsea.png"])
    Pipeline(
        "la_conversation",
        ScriptedModel(script),
        folder / "ds",
        annotations=annotations,
        images=photos,
        tries=2,
    ).run()
    store = Store.open(folder / "ds")
    with store.writing("test"):
        store.add_images([image(photos, "brick.png").model_copy(update={"id": "LA_IMG_again"})])
        store.add_images([image(photos, "brick.png")])
        talk = [
            record(n, id=f"X_INS_talk_{n:02d}", conversation="X_INS_talk", turn=n) for n in range(3)
        ]
        store.add([*talk, record(9, image_ids=["LA_IMG_nowhere"])])
        store.add_verdicts(
            [
                Verdict(
                    record="X_INS_talk_00",
                    filter="odd",
                    reason="it is odd",
                    recipe="own",
                    recipe_digest="00",
                )
            ]
        )
        store.sync()
    curate(store, load_recipe("starter"))
    relate(store, strategy="text", k=2)
    store.refresh()
    return store


def answered(store, query, tmp_path):
    path = tmp_path / "result.json"
    with path.open("wb") as file:
        run_sql(query, store.catalog_path, output=file, format="json")
    return json.loads(path.read_text())


def test_there_are_twenty_queries_in_order():
    assert [int(number) for number, _ in QUERIES] == list(range(1, len(QUERIES) + 1))
    assert len(QUERIES) >= 20
    assert DOC.count("```sql") == len(QUERIES)


@pytest.mark.parametrize(("number", "query"), QUERIES, ids=[number for number, _ in QUERIES])
def test_a_query_of_the_page_runs(dataset, tmp_path, number, query):
    rows = answered(dataset, query, tmp_path)
    title = re.search(rf"^{number}\. ([^\n]+):", DOC, re.MULTILINE)[1]
    allowed = [start for start in EMPTY if title.startswith(start)]
    assert rows or allowed, title


EMPTY = {
    "Every training run's loss": "nothing is trained here",
    "The records of the step with the highest loss": "nothing is trained here",
    "What went wrong at providers": "the scripted one never fails",
    "A tenth of the conversations": "of few, it may be none",
}


def documented():
    tables = {}
    for name, rows in HEADING.findall(DOC):
        tables[name] = re.findall(r"^\| `(\w+)` \| `(.+?)` \| .+ \|$", rows, re.MULTILINE)
        assert len(tables[name]) == len(rows.splitlines()), name
    return tables


def test_the_page_lists_every_table_and_view_with_its_columns(dataset):
    """A name or a type that changes here breaks what somebody wrote: add columns, and say so on the page."""
    with dataset.reading() as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, replace(data_type, 'TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ') "
            "FROM duckdb_columns() WHERE database_name = 'catalog' AND table_name NOT LIKE '\\_%' ESCAPE '\\' "
            "ORDER BY table_name, column_index"
        ).fetchall()
    tables = {}
    for table, column, kind in rows:
        tables.setdefault(table, []).append((column, kind))
    assert documented() == tables


def test_the_two_that_are_not_in_the_catalog_are_what_the_page_says(dataset, tmp_path):
    rows = answered(dataset, "DESCRIBE image_data", tmp_path)
    assert [(row["column_name"], row["column_type"]) for row in rows] == [
        ("id", "VARCHAR"),
        ("image", "BLOB"),
    ]
    assert "`image_data` (`id VARCHAR`, `image BLOB`)" in DOC


def test_a_snapshot_says_who_judged(dataset):
    snapshot = freeze(
        dataset, where="image_ids = [] OR NOT list_contains(image_ids, 'LA_IMG_nowhere')"
    )
    assert [recipe["name"] for recipe in snapshot.manifest["recipes"]] == sorted(
        {"own", *(recipe["name"] for recipe in snapshot.manifest["recipes"])}
    )
    snapshot.check(pictures=True)
