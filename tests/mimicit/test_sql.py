import json
import re
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from mimicit.errors import QueryError
from mimicit.sql import run_sql
from tests.builders import record
from tests.test_layers import ROOT


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

    run.catalog = store.catalog_path
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
        (
            "FROM enable_logging(storage='file', storage_path='/tmp/x')",
            "enable_logging() is not allowed",
        ),
        ("DESCRIBE FROM enable_logging(storage='file')", "enable_logging() is not allowed"),
        ("FROM query('FROM enable_logging()')", "query() is not allowed"),
        ("FROM arrow_scan(1, 2, 3)", "arrow_scan() is not allowed"),
        ('FROM system.main."checkpoint"()', "checkpoint() is not allowed"),
        # 2.x takes writing statements as tables; the lock lets DuckDB write beside its own files.
        ("WITH x AS (COPY instructions TO 'x.csv') SELECT 1", "CTE|only reading"),
        (
            "SELECT (SELECT 1 FROM (WITH x AS (COPY instructions TO 'x.csv') SELECT 1))",
            "CTE|only reading",
        ),
        ("WITH x AS (DELETE FROM instructions RETURNING id) FROM x", "CTE|only reading"),
        ("EXPLAIN ANALYZE WITH x AS (COPY instructions TO 'x.csv') SELECT 1", "CTE|only reading"),
        ("EXPLAIN (ANALYZE) COPY instructions TO 'stolen.csv'", "EXPLAIN ANALYZE SELECT"),
        ("EXPLAIN/**/ANALYZE COPY instructions TO 'stolen.csv'", "EXPLAIN ANALYZE SELECT"),
        ("CREATE TABLE mine.x AS SELECT 1", "--write"),
        ("INSERT INTO instructions BY NAME SELECT 'x' AS id", "--write"),
        ("SELECT _picture('/etc/passwd', 0, 5)", "no picture at"),
        ("SELECT _picture('images/../dataset.json', 0, 5)", "no picture at"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("SELECT * FROM '/etc/passwd.parquet'", "disabled"),
        ("SELECT * FROM glob('/*')", "disabled"),
        ("EXPLAIN ANALYZE COPY instructions TO 'stolen.csv'", "EXPLAIN ANALYZE SELECT"),
    ],
)
def test_what_is_wrong_or_not_allowed_is_a_sentence(ask, query, said):
    with pytest.raises(QueryError) as caught:
        ask(query)
    assert re.search(said, str(caught.value)) or said in str(caught.value)
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


def test_the_lock_and_the_checks_leave_the_folder_as_it_was(ask, store):
    """DuckDB may write to an attached database's companions: the statement must not get that far."""
    beside = sorted(path.name for path in store.path.iterdir())
    for target in ("catalog.duckdb.wal", "catalog.duckdb.wal.recovery", "catalog.duckdb"):
        path = store.path / target
        for query in (
            f"EXPLAIN ANALYZE COPY instructions TO '{path}'",
            f"WITH x AS (COPY instructions TO '{path}') SELECT 1",
        ):
            with pytest.raises(QueryError):
                ask(query)
    assert sorted(path.name for path in store.path.iterdir()) == beside
    assert ask("SELECT count(*) AS n FROM instructions", format="json").read_text() == '[{"n":3}]\n'


def test_a_selection_only_reads_too(store, tmp_path):
    from mimicit.snapshot import freeze

    with store.writing("test"):
        store.add([record(1)])
        store.sync()
    with pytest.raises(QueryError, match=r"only reading|selection"):
        freeze(store, where=f"EXISTS (WITH x AS (COPY accepted TO '{tmp_path}/x') SELECT 1)")
    with pytest.raises(QueryError, match="enable_logging"):
        freeze(store, where=f"EXISTS (FROM enable_logging(storage_path='{tmp_path}'))")


def test_the_child_sees_no_key(monkeypatch, ask, tmp_path):
    seen = tmp_path / "environment"
    real = subprocess.Popen

    def popen(*args, **options):
        seen.write_text(json.dumps(options["env"]))
        return real(*args, **options)

    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setattr("mimicit.sql.subprocess.Popen", popen)
    ask("SELECT 1")
    assert "secret" not in seen.read_text()


@pytest.mark.parametrize("format", ["json", "csv"])
def test_every_type_of_duckdb_can_be_shown(ask, format):
    """But dates in lists that are beyond what a calendar has; that is a sentence."""
    lists = "date_array, timestamp_array, timestamptz_array"
    text = ask(f"SELECT * EXCLUDE ({lists}) FROM test_all_types()", format=format).read_text()
    for value in ("294247-01-10", "170141183460469231731687303715884105727", "24:00:00", "🦆"):
        assert value in text
    if format == "json":
        assert len(json.loads(text)) == 3
    with pytest.raises(QueryError, match="cast its column to VARCHAR"):
        ask("SELECT date_array FROM test_all_types()", format=format)


def test_parquet_says_what_it_cannot_hold(ask):
    with pytest.raises(QueryError, match="cast that column to VARCHAR"):
        ask("SELECT INTERVAL 1 DAY AS x", format="parquet")


def test_columns_of_one_name_are_all_there(ask):
    text = ask("SELECT 1 AS a, 2 AS a, 3 AS a_1", format="json").read_text()
    assert sorted(json.loads(text)[0].values()) == [1, 2, 3]


def test_times_are_text_that_sorts(ask):
    query = "SELECT TIMESTAMP '2026-01-02 03:04:05' AS t, DATE '2026-01-02' AS d"
    assert json.loads(ask(query, format="json").read_text()) == [
        {"t": "2026-01-02 03:04:05", "d": "2026-01-02"}
    ]


def test_a_long_result_is_streamed(ask, tmp_path):
    """Five million rows take no more memory than fifty thousand, and the first come before the last are computed."""
    peaks = []
    for rows in (50_000, 5_000_000):
        code = (
            "import sys, resource\n"
            "from pathlib import Path\n"
            "from mimicit.sql import run_sql\n"
            "with open(sys.argv[3], 'wb') as output:\n"
            "    run_sql(sys.argv[1], Path(sys.argv[2]), format='json', output=output)\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        )
        query = f"SELECT range AS number FROM instructions, range({rows // 3})"
        done = subprocess.run(
            [sys.executable, "-c", code, query, ask.catalog, tmp_path / "long"],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        peaks.append(int(done.stdout) >> 10)
    assert peaks[1] - peaks[0] < 60, peaks
