"""Pictures in SQL, tables of one's own, and the commands around them."""

import base64
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from mimicit import catalog
from mimicit.cli import sql as command
from mimicit.commands.open import open_
from mimicit.errors import QueryError
from mimicit.sql import run_sql
from mimicit.store import Store
from tests.builders import image, record
from tests.test_layers import ROOT


@pytest.fixture
def shown(store, photos):
    with store.writing("test"):
        names = ["rocket.jpg", "chelsea.png"]
        store.add_images([image(photos, name) for name in names])
        store.add([record(n, image_ids=[f"LA_IMG_{name[:-4]}"]) for n, name in enumerate(names)])
        store.sync()
    return store


def asked(store, query, tmp_path, **options):
    path = tmp_path / "result.json"
    with path.open("wb") as file:
        run_sql(query, store.catalog_path, output=file, format="json", **options)
    return json.loads(path.read_text())


def test_pictures_are_blobs(shown, photos, tmp_path):
    rows = asked(
        shown, "SELECT id, image, octet_length(image) AS n FROM image_data ORDER BY id", tmp_path
    )
    assert [row["id"] for row in rows] == ["LA_IMG_chelsea", "LA_IMG_rocket"]
    assert base64.b64decode(rows[1]["image"]) == (photos / "rocket.jpg").read_bytes()
    assert rows[0]["n"] == (photos / "chelsea.png").stat().st_size
    path = tmp_path / "pictures.parquet"
    with path.open("wb") as file:
        query = "SELECT image FROM accepted, image_data WHERE image_data.id = image_ids[1]"
        run_sql(query, shown.catalog_path, output=file, format="parquet")
    found = {value.as_py() for value in pq.read_table(path)["image"]}
    assert (photos / "chelsea.png").read_bytes() in found


def test_a_picture_that_is_lost_is_a_sentence(shown, tmp_path):
    [shard] = (shown.path / "images").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(QueryError, match="ends before"):
        asked(shown, "FROM image_data", tmp_path)


def test_pictures_that_do_not_fit_are_a_sentence(shown, tmp_path):
    query = 'SELECT _picture(shard, "offset", length + range % 2) AS image FROM images, range(5000)'
    with pytest.raises(QueryError, match="select fewer"):
        asked(shown, query, tmp_path, memory_mb=64)


def test_a_path_says_where_a_picture_lies(shown, photos, tmp_path):
    [row] = asked(
        shown, "SELECT image_path('LA_IMG_rocket') AS path, image_path('no') AS no", tmp_path
    )
    shard, offset, length = row["path"].rsplit(":", 2)
    with Path(shard).open("rb") as file:
        data = os.pread(file.fileno(), int(length), int(offset))
    assert data == (photos / "rocket.jpg").read_bytes()
    assert row["no"] is None


def test_extracted_pictures_are_files_of_their_own(shown, photos, tmp_path):
    folder = tmp_path / "it's here"
    query = "SELECT id, image_path(image_ids[1]) AS picture FROM accepted ORDER BY id"
    rows = asked(shown, query, tmp_path, extract=folder)
    for row, name in zip(rows, ["rocket.jpg", "chelsea.png"], strict=True):
        assert row["picture"].endswith(name[-4:])
        assert Path(row["picture"]).read_bytes() == (photos / name).read_bytes()
    assert len(list(folder.iterdir())) == 2


def test_only_pictures_that_a_result_names_are_extracted_and_no_name_leads_elsewhere(
    shown, tmp_path
):
    folder = tmp_path / "out"
    evil = f"'{folder.resolve()}/../evil.jpg' AS a, '{folder.resolve()}/{'0' * 64}.jpg' AS b"
    asked(shown, f"SELECT {evil}, image_path('LA_IMG_rocket') AS c", tmp_path, extract=folder)
    assert len(list(folder.iterdir())) == 1
    assert not (tmp_path / "evil.jpg").exists()


# Tables of one's own


def test_own_tables_are_written_with_write_and_survive_a_rebuild(shown, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        run_sql(
            "CREATE TABLE mine.good AS SELECT id FROM accepted",
            shown.catalog_path,
            output=log,
            write=True,
        )
        run_sql("INSERT INTO mine.good VALUES ('more')", shown.catalog_path, output=log, write=True)
    assert "2 rows\n1 rows" in (tmp_path / "log").read_text()
    with shown.writing("test"):
        shown.rebuild()
    query = "SELECT count(*) AS n FROM mine.good LEFT JOIN accepted USING (id)"
    assert asked(shown, query, tmp_path) == [{"n": 3}]
    assert shown.catalog_path.with_name("user.duckdb").exists()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("CREATE TABLE good AS SELECT 1 AS a", "mine.good"),
        ("DELETE FROM instructions", "follow its files"),
        ("DROP VIEW accepted", "follow its files"),
        ("CREATE TABLE mine.x AS FROM read_text('/etc/passwd')", "disabled"),
        ("CREATE TABLE mine.x AS FROM arrow_scan(1, 2, 3)", "not allowed"),
        ("COPY instructions TO 'x.csv'", "COPY"),
        ("ATTACH 'x.db'", "ATTACH"),
        ("SET memory_limit = '1TB'", "SET"),
        ("CREATE TABLE mine.a AS SELECT 1; DROP TABLE mine.a", "one statement"),
    ],
)
def test_write_allows_tables_of_ones_own_and_nothing_else(shown, tmp_path, query, said):
    with pytest.raises(QueryError, match=said), (tmp_path / "log").open("wb") as log:
        run_sql(query, shown.catalog_path, output=log, write=True)
    assert asked(shown, "SELECT count(*) AS n FROM accepted", tmp_path) == [{"n": 2}]


def test_who_does_not_ask_for_own_tables_does_not_wait_for_them(shown, tmp_path):
    """A writer has `user.duckdb` open; only who reads from it must wait."""
    path = shown.path / "user.duckdb"
    code = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); c.execute('CREATE TABLE t AS SELECT 7 AS a'); print('open', flush=True); time.sleep(2)"
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        started = time.monotonic()
        asked(shown, "SELECT 1 AS a", tmp_path)
        assert writer.poll() is None
        assert asked(shown, "SELECT a FROM mine.t", tmp_path) == [{"a": 7}]
        assert time.monotonic() - started < 30


# The commands


def program(function):
    app = typer.Typer()
    app.command()(function)
    return app


def test_the_format_follows_from_the_name_of_the_file(shown, tmp_path):
    for name in ("x.json", "x.csv", "x.parquet", "x.txt"):
        path = tmp_path / name
        done = CliRunner().invoke(
            program(command), ["SELECT 1 AS a", "-d", str(shown.path), "-o", str(path)]
        )
        assert done.exit_code == 0, done.output
    assert (tmp_path / "x.json").read_text() == '[{"a":1}]\n'
    assert (tmp_path / "x.csv").read_text() == "a\n1\n"
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [{"a": 1}]
    assert "int32" in (tmp_path / "x.txt").read_text()


def test_parquet_goes_through_a_pipe(shown):
    code = "import sys; from pathlib import Path; from mimicit.sql import run_sql; run_sql('FROM accepted', Path(sys.argv[1]), format='parquet')"
    done = subprocess.run(
        [sys.executable, "-c", code, shown.catalog_path], capture_output=True, check=True, cwd=ROOT
    )
    assert pq.read_table(pa.BufferReader(done.stdout)).num_rows == 2


def test_open_prints_lines_that_work(shown, photos, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        run_sql("CREATE TABLE mine.t AS SELECT 7 AS a", shown.catalog_path, output=log, write=True)
    done = CliRunner().invoke(program(open_), ["-d", str(shown.path)])
    for_duckdb, for_python = done.output.splitlines()
    scope = {}
    exec(for_python, scope)
    with scope["data"] as data:
        query = "SELECT octet_length(image) FROM image_data WHERE id = 'LA_IMG_rocket'"
        assert data.execute(query).fetchall() == [((photos / "rocket.jpg").stat().st_size,)]
        assert data.execute("SELECT count(*) FROM accepted").fetchall() == [(2,)]
        assert data.execute("SELECT a FROM mine.t").fetchall() == [(7,)]
    name, *options, path = shlex.split(for_duckdb)
    assert (name, options[:2], path) == ("duckdb", ["-readonly", "-cmd"], str(shown.catalog_path))
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute(options[2])
        assert connection.execute("SELECT count(*) FROM image_data").fetchall() == [(2,)]


def test_open_works_without_pictures_and_refreshes_the_catalog(store):
    with store.writing("test"):
        store.add([record(0)])
    done = CliRunner().invoke(program(open_), ["-d", str(store.path), "--json"])
    scope = {}
    exec(json.loads(done.output)["python"], scope)
    with scope["data"] as data:
        assert data.execute("SELECT count(*) FROM accepted").fetchall() == [(1,)]
        assert data.execute("SELECT count(*) FROM image_data").fetchall() == [(0,)]


# What is on disk


def test_both_duckdb_1_5_and_2_read_the_catalog(shown):
    """DuckDB says in a file's header which version can read it: 67 is that of 1.5.0, 69 that of 2.0."""
    for path in (shown.catalog_path, shown.path / "user.duckdb"):
        if path.name == "user.duckdb":
            with Path(os.devnull).open("wb") as nothing:
                run_sql(
                    "CREATE TABLE mine.t AS SELECT 1 AS a",
                    shown.catalog_path,
                    output=nothing,
                    write=True,
                )
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{path}' AS it (READ_ONLY)")
            [(tags,)] = connection.execute(
                "SELECT tags FROM duckdb_databases() WHERE database_name = 'it'"
            ).fetchall()
        assert tags["storage_version"].startswith(catalog.STORAGE_VERSION), tags
        assert path.read_bytes()[8:12] == b"DUCK"


def test_readers_share_the_catalog(shown, tmp_path):
    found = []

    def read(n):
        (tmp_path / str(n)).mkdir()
        found.append(
            asked(Store.open(shown.path), "SELECT count(*) AS n FROM accepted", tmp_path / str(n))
        )

    threads = [threading.Thread(target=read, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[{"n": 2}]] * 3
