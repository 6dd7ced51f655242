import datetime
import json
import sqlite3
import subprocess
import sys
import textwrap
import time

import duckdb
import pytest

from mimicit import catalog, follower
from mimicit.catalog_tables import CATALOG_VERSION
from mimicit.follower import Follower
from mimicit.ledger_tables import LEDGER_TABLES
from tests.builders import record
from tests.mimicit.test_store import count

KINDS = {"VARCHAR": "TEXT", "BIGINT": "INTEGER", "DOUBLE": "REAL", "TIMESTAMPTZ": "REAL"}
THIS_WEEK = {
    "summary", "cache_write_tokens", "reasoning_tokens", "batch", "batches", "batch_requests", "batch_events",
}  # fmt: skip
"""Tables of the ledger, and columns of its older ones, that version 3 of the catalog did not have."""
DAY = 86_400


def columns(table, *, old=False):
    return {
        name: "INTEGER PRIMARY KEY" if (name, kind) == ("id", "BIGINT") else KINDS[kind]
        for name, kind in LEDGER_TABLES[table].items()
        if not (old and name in THIS_WEEK)
    }


@pytest.fixture
def ledger(store):
    return begin(store)


def begin(store, *, old=False, run="run 1"):
    path = store.path / "ledger" / "ledger.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    for table in LEDGER_TABLES:
        if not (old and table in THIS_WEEK):
            listed = ", ".join(f"{n} {kind}" for n, kind in columns(table, old=old).items())
            connection.execute(f"CREATE TABLE {table} ({listed})")
    put(connection, "run_starts", id=run, time=10.5, task="t", model="m")
    return connection


def put(connection, table, **values):
    marks = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values())
    )


def ask(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def test_the_ledger_is_followed_by_row_number(store, ledger):
    for n in range(5):
        put(ledger, "replies", id=n + 1, text=f"reply {n}", time=1.25)
    store.refresh()
    assert not catalog.is_stale(store.path)
    put(ledger, "replies", id=900, text="after a gap", time=2.0)
    put(ledger, "readings", reply=900, pairs=3, time=2.0)
    assert catalog.is_stale(store.path)
    store.refresh()
    assert not catalog.is_stale(store.path)
    found = ask(store, "SELECT id, text, epoch_us(time) FROM replies ORDER BY id")
    assert found[0] == (1, "reply 0", 1_250_000)
    assert found[-1] == (900, "after a gap", 2_000_000)
    assert (len(found), count(store, "readings")) == (6, 1)


def test_a_long_ledger_arrives_whole_in_little_memory(store, ledger, monkeypatch):
    """Its texts are several times what DuckDB may use."""
    monkeypatch.setattr(catalog, "WRITER_MEMORY", "24MB")
    monkeypatch.setattr(catalog, "LEDGER_BATCH", 300)
    words = [f"{n * 7919 % 1_000_003:x} " for n in range(3_000)]
    ledger.execute("BEGIN")
    for n in range(8_000):
        put(ledger, "replies", text="".join(words[n % 1_000 : n % 1_000 + 1_500]) + str(n))
    ledger.execute("COMMIT")
    store.refresh()
    [(rows, size)] = ask(store, "SELECT count(*), sum(length(text))::BIGINT FROM replies")
    assert rows == 8_000
    assert size == ledger.execute("SELECT sum(length(text)) FROM replies").fetchone()[0] > 60 << 20
    assert not list(store.path.glob(f"{catalog.SPILL}/*"))


def test_where_little_memory_is_too_little_it_takes_more(store, ledger, monkeypatch):
    tried = []
    real = catalog._follow

    def follow(connection, folder):
        [(limit,)] = connection.execute("SELECT current_setting('memory_limit')").fetchall()
        tried.append(limit)
        if len(tried) == 1:
            raise duckdb.OutOfMemoryException("out of memory")
        return real(connection, folder)

    put(ledger, "replies", text="x")
    monkeypatch.setattr(catalog, "_follow", follow)
    store.refresh()
    assert tried[0] == "61.0 MiB"
    assert tried[1] != tried[0]
    assert count(store, "replies") == 1


@pytest.mark.parametrize("longer", [False, True], ids=["with fewer rows", "with more rows"])
def test_another_ledger_in_its_place_replaces_what_was_read(store, ledger, longer):
    for n in range(3):
        put(ledger, "replies", text=f"old {n}")
    store.refresh()
    ledger.close()
    for file in (store.path / "ledger").iterdir():
        file.unlink()
    other = begin(store, run="run 2")
    for n in range(5 if longer else 2):
        put(other, "replies", text=f"new {n}")
    other.close()
    store.refresh()
    assert {text for (text,) in ask(store, "SELECT text FROM replies")} == {
        f"new {n}" for n in range(5 if longer else 2)
    }
    assert not catalog.is_stale(store.path)


def test_a_ledger_and_a_catalog_of_version_3_are_brought_to_todays(store):
    ledger = begin(store, old=True)
    put(ledger, "sent", request="k", run="run 1", time=1.0)
    put(ledger, "replies", id=1, sent=1, request="k", run="run 1", prompt_tokens=7, time=1.0)
    put(ledger, "run_ends", run="run 1", time=2.0, outcome="done")
    with store.writing("test"):
        store.add([record(1)])
    with duckdb.connect(store.catalog_path) as old:
        old.execute("CREATE TABLE instructions (id VARCHAR)")
        old.execute("CREATE TABLE _meta AS SELECT 3 AS catalog_version")
    store.refresh()
    assert ask(store, "SELECT max(catalog_version) FROM _meta") == [(CATALOG_VERSION,)]
    assert ask(store, "SELECT id, outcome, summary FROM runs") == [("run 1", "done", None)]
    assert ask(store, "SELECT prompt_tokens, batch_replies, reasoning_tokens FROM costs") == [
        (7, 0, None)
    ]
    assert count(store) == 1
    assert count(store, "batches") == 0

    # The next writer adds what is new to the tables, and begins those that there were none of.
    for table in LEDGER_TABLES:
        there = {row[1] for row in ledger.execute(f"PRAGMA table_info({table})")}
        if not there:
            listed = ", ".join(f"{n} {kind}" for n, kind in columns(table).items())
            ledger.execute(f"CREATE TABLE {table} ({listed})")
        for name, kind in columns(table).items() if there else ():
            if name not in there:
                ledger.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    put(ledger, "batches", id="b1", run="run 1", requests=1)
    put(ledger, "replies", id=2, sent=2, request="k", batch="b1", reasoning_tokens=5, time=1.0)
    store.refresh()
    assert ask(store, "SELECT prompt_tokens, batch_replies, reasoning_tokens FROM costs") == [
        (7, 1, 5)
    ]
    assert count(store, "batches") == 1


def test_costs_are_by_task_model_and_day(store, ledger):
    for digest, task in (("p1", "la_detail"), ("p2", "la_conversation")):
        put(ledger, "prompts", digest=digest, task=task, version=1)
    for n, (prompt, model) in enumerate([("p1", "openai/a"), ("p1", "openai/b"), ("p2", "openai/a")]):  # fmt: skip
        put(ledger, "requests", key=f"k{n}", prompt=prompt, model=model)
    tokens = {
        "prompt_tokens": 100, "cached_tokens": 60, "cache_write_tokens": 5,
        "completion_tokens": 20, "reasoning_tokens": 8, "cost_usd": 0.25,
    }  # fmt: skip
    replies = [
        ("k0", DAY - 1, None), ("k0", DAY - 0.5, "b1"), ("k0", DAY, None), ("k1", 0, None), ("k2", 0, None),
    ]  # fmt: skip
    for key, at, batch in replies:
        put(ledger, "replies", request=key, model="a-0613", time=at, batch=batch, **tokens)
    store.refresh()
    found = ask(
        store,
        "SELECT task, model, day, replies, batch_replies, prompt_tokens, cached_tokens, "
        "cache_write_tokens, completion_tokens, reasoning_tokens, cost_usd FROM costs ORDER BY ALL",
    )
    first, second = datetime.date(1970, 1, 1), datetime.date(1970, 1, 2)
    once = (100, 60, 5, 20, 8, 0.25)
    assert found == [
        ("la_conversation", "openai/a", first, 1, 0, *once),
        ("la_detail", "openai/a", first, 2, 1, 200, 120, 10, 40, 16, 0.5),
        ("la_detail", "openai/a", second, 1, 0, *once),
        ("la_detail", "openai/b", first, 1, 0, *once),
    ]


def test_a_run_shows_its_model_and_the_summary_of_its_end(store, ledger):
    put(ledger, "run_ends", run="run 1", time=20.0, outcome="done", summary=json.dumps({"n": 3}))
    store.refresh()
    assert ask(store, "SELECT id, model, outcome, summary FROM runs") == [
        ("run 1", "m", "done", '{"n": 3}')
    ]


def test_attempts_say_how_each_request_ended(store, ledger):
    for n in range(1, 5):
        put(ledger, "sent", id=n, request=f"k{n}", run="run 1", time=1.0)
    put(ledger, "replies", id=7, sent=1, request="k1", time=1.0)
    put(ledger, "failures", sent=2, request="k2", kind="rate limit", message="slow down", time=1.0)
    put(ledger, "failures", sent=3, request="k3", kind="refusal", message="no", time=1.0)
    store.refresh()
    assert ask(store, "SELECT id, outcome, reply, message FROM attempts ORDER BY id") == [
        (1, "answered", 7, None),
        (2, "rate limit", None, "slow down"),
        (3, "refusal", None, "no"),
        (4, "in flight", None, None),
    ]


# In passing


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(follower, "FIRST_SECONDS", 0.0)


def test_in_passing_a_process_beside_the_writer_syncs_and_nobody_waits_for_it(store, eager):
    with store.writing("test"):
        store.add([record(1)])
        store.try_sync()
        assert not store.catalog_path.exists()  # it has hardly started
        store._follower.wait()
        assert count(store) == 1


def test_in_passing_it_is_not_synced_more_often_than_is_cheap(store, eager):
    with store.writing("test"):
        store.add([record(1)])
        store.try_sync()
        store._follower.wait()
        store.add([record(2)])
        store.try_sync()
        store._follower.wait()
        assert count(store) == 1
        store.try_sync(patience=5.0)  # the end of a run
        assert count(store) == 2


def test_a_short_run_syncs_once_at_its_end(store):
    with store.writing("test"):
        store.add([record(1)])
        store.try_sync()
        assert store._follower._child is None
        store.try_sync(patience=5.0)
    assert count(store) == 1


def test_a_catalog_that_is_open_elsewhere_stays_behind_and_stops_nothing(store, eager):
    with store.writing("test"):
        store.add([record(1)])
        store.sync()
        with duckdb.connect(store.catalog_path, read_only=True):
            store.add([record(2)])
            store.try_sync()
            store._follower.wait()
            store._follower.sync(0.2)
        assert count(store) == 1
        store._follower.sync(5.0)
        assert count(store) == 2


def test_the_process_beside_a_run_ends_when_the_run_is_killed(store):
    code = """
        import os, sys
        from pathlib import Path
        from mimicit import catalog, follower
        catalog.sync = lambda *_, **__: __import__("time").sleep(60)
        follower._end_with_parent = (lambda real: lambda: (print("up", flush=True), real()))(
            follower._end_with_parent)
        sys.exit(follower._child(Path(sys.argv[1])))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), store.path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        child.stdin.write("0.0\n")
        child.stdin.flush()
        assert child.stdout.readline() == "up\n"
        started = time.monotonic()
        child.stdin.close()
        assert child.wait(timeout=20) == 1
        assert time.monotonic() - started < 20


def test_leaving_stops_the_process_beside_it(store, eager):
    with store.writing("test"):
        store.add([record(1)])
        store.try_sync()
        child = store._follower._child
    assert child.returncode is not None
    store.refresh()
    assert count(store) == 1


def test_a_process_that_waits_for_its_first_sync_does_it_and_is_not_waited_for_again(store):
    with store.writing("test"):
        store.add([record(1)])
        store._follower.prepare()
        ready = store._follower._ready
        store._follower.prepare()
        assert store._follower._ready is ready
        store._follower.sync(5.0)
        assert ready.returncode == 0
        assert count(store) == 1
        store._follower.prepare()  # a long run needs none that waits, and takes memory
        assert store._follower._ready is None
        store.add([record(2)])
        store._follower.sync(5.0)
        assert count(store) == 2


def test_a_process_that_waits_ends_with_the_run_and_syncs_nothing(store):
    with store.writing("test"):
        store.add([record(1)])
        store._follower.prepare()
        ready = store._follower._ready
    assert ready.returncode is not None
    child = follower._start(store.path)
    child.communicate(timeout=20)  # as a killed run would, it closes the pipe
    assert child.returncode == 1
    assert not store.catalog_path.exists()


def test_a_process_that_died_while_it_waited_stops_nothing(store):
    with store.writing("test"):
        store.add([record(1)])
        store._follower.prepare()
        store._follower._ready.kill()
        store._follower._ready.wait()
        store._follower.sync(5.0)
        assert not store.catalog_path.exists()
        store._follower.sync(5.0)
        assert count(store) == 1


def test_a_run_that_calls_at_its_beginning_has_a_process_ready_unless_duckdb_is_loaded(
    store, monkeypatch
):
    with store.writing("test"):
        store.try_sync()
        assert store._follower._ready is None
        monkeypatch.delitem(sys.modules, "duckdb")
        store.try_sync()
        assert store._follower._ready.poll() is None


def test_a_follower_that_never_started_has_nothing_to_stop(store):
    Follower(store.path).stop()
