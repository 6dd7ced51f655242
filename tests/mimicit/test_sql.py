import json
import time

import pyarrow.parquet as pq
import pytest

from mimicit.errors import QueryError
from mimicit.sql import run_sql
from tests.builders import record


@pytest.fixture
def ask(store, tmp_path):
    with store.writing("test"):
        store.add([record(n, image_ids=["a", "b"]) for n in range(3)])
        store.sync()

    def run(query, **options):
        path = tmp_path / "result"
        with path.open("wb") as file:
            run_sql(query, store.catalog_path, output=file, **options)
        return path

    return run


def test_json_is_a_list_of_rows(ask):
    result = ask(
        "SELECT id, image_ids, 1.5 AS x, count(*) OVER () AS n FROM accepted LIMIT 1", format="json"
    )
    assert json.loads(result.read_text()) == [
        {"id": "LACONV_INS_000_00", "image_ids": ["a", "b"], "x": 1.5, "n": 3}
    ]
    assert json.loads(ask("SELECT 1 WHERE false", format="json").read_text()) == []
    assert json.loads(ask("SELECT sum(reply) AS s FROM accepted", format="json").read_text()) == [
        {"s": None}
    ]


def test_csv_has_a_header_and_lists_as_json(ask):
    lines = (
        ask("SELECT id, image_ids, NULL AS no FROM accepted ORDER BY id", format="csv")
        .read_text()
        .splitlines()
    )
    assert lines[:2] == ["id,image_ids,no", 'LACONV_INS_000_00,"[""a"",""b""]",']


def test_parquet_is_parquet(ask):
    table = pq.read_table(ask("FROM instructions", format="parquet"))
    assert table.num_rows == 3


def test_a_table_is_for_people(ask):
    assert "LACONV_INS_000_00" in ask("SELECT id FROM accepted").read_text()
    assert "varchar" in ask("DESCRIBE instructions").read_text().lower()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM accepted", "nothing"),
        ("SELECT * FROM acepted", 'Did you mean "accepted"'),
        ("", "one statement"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("DELETE FROM instructions", "DELETE"),
        ("COPY instructions TO 'stolen.csv'", "COPY"),
        ("ATTACH 'x.db'", "ATTACH"),
        ("SET lock_configuration = false", "SET"),
        ("PRAGMA enable_profiling", "PRAGMA"),
        ("INSTALL httpfs", "LOAD"),
        # With this, versions 1.4 and 1.5 of DuckDB wrote files under the lock.
        ("CALL enable_logging(storage='file')", "CALL"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("SELECT * FROM '/etc/passwd.parquet'", "disabled"),
        ("SELECT * FROM glob('/*')", "disabled"),
        ("EXPLAIN ANALYZE COPY instructions TO 'stolen.csv'", "disabled"),
    ],
)
def test_what_is_wrong_or_not_allowed_is_a_sentence(ask, query, said):
    with pytest.raises(QueryError) as caught:
        ask(query)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_query_that_duckdb_cannot_interrupt_is_killed(ask):
    started = time.monotonic()
    with pytest.raises(QueryError, match="--timeout"):
        ask("SELECT length(repeat('x', 2000000000) || repeat('y', 2000000000))", timeout=2)
    assert time.monotonic() - started < 10


def test_a_query_that_needs_too_much_memory_is_refused(ask):
    with pytest.raises(QueryError, match="--memory"):
        ask(
            "SELECT len(list(a.range::VARCHAR || b.range)) FROM range(100000) a, range(1000) b",
            memory_mb=100,
        )
