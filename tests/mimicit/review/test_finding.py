"""Rows found with an index are those that a look at all rows finds."""

import random
import subprocess
import sys
import threading

import pytest

from mimicit import catalog
from mimicit.errors import LockedError
from mimicit.review import borrowing, finding, reading
from mimicit.review.borrowing import Borrowed
from mimicit.review.finding import COLUMNS, Index
from mimicit.review.reading import Reader, records
from mimicit.schema import Annotation, Thing, Verdict
from mimicit.store import Store
from tests.builders import record
from tests.mimicit.review.rooms import RECORDS, dataset

ODD = ["it's", '"q"', "😀", "../../etc", "a~2", "<b>", "%41", "x" * 512]
IDS = [*ODD, *(f"LA_INS_{n:012d}" for n in range(40))]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Give records that share pictures, conversations and verdicts."""
    store = Store.open(tmp_path_factory.mktemp("many") / "ds", create=True)
    drawn = random.Random(3)
    pictures = [f"LA_IMG_{n}" for n in range(9)]
    with store.writing("test"):
        store.add(
            [
                record(
                    n, id=id, image_ids=drawn.sample(pictures, n % 3), turn=n,
                    conversation=drawn.choice([None, "talk's", "other"]),
                )
                for n, id in enumerate(IDS)
            ]
        )  # fmt: skip
        store.add_annotations(
            [Annotation(tuple(drawn.sample(pictures, 1 + n % 2)), (f"said {n}",), (Thing("cat"),), f"x#{n}") for n in range(20)]
        )  # fmt: skip
        store.add_verdicts(
            [
                Verdict(record=drawn.choice(IDS), filter="f", reason=str(n), recipe=f"r{n % 3}", recipe_digest="1")
                for n in range(60)
            ]
        )  # fmt: skip
        store.sync()
    return store


def made(connection, stamp):
    index = Index(stamp)
    for column in COLUMNS:
        index.add(connection, column)
    return index


def known(connection, index=None, ids=IDS):
    found = records(connection, [(None, id) for id in ids], index)
    for facts in found.values():
        facts["verdicts"].sort(key=str)
    return found


@pytest.mark.parametrize("hashes", [2**32, 7, 1])
def test_an_index_finds_what_a_look_at_all_rows_finds(many, monkeypatch, hashes):
    """Also where most texts have the same hash."""
    monkeypatch.setattr(finding, "_HASH", f"(hash(text) % {hashes})::UINTEGER")
    with Borrowed(many.catalog_path).reading(0.0) as (connection, stamp):
        index = made(connection, stamp)
        everything = known(connection)
        assert sorted(everything) == sorted(IDS)
        assert any(facts["annotations"] and facts["verdicts"] for facts in everything.values())
        assert known(connection, index) == everything
        for id in IDS:
            assert known(connection, index, [id]) == {id: everything[id]}
        assert known(connection, index, ["nobody"]) == {}


def test_rows_are_those_of_the_texts_and_no_others(many):
    with Borrowed(many.catalog_path).reading(0.0) as (connection, stamp):
        index = made(connection, stamp)
        for id in IDS:
            rows = index.rows(connection, "judged", [id])
            found = connection.execute(
                "SELECT rowid FROM verdicts WHERE record = ?", [id]
            ).fetchall()
            assert sorted(rows) == sorted(row for (row,) in found)


def test_where_a_text_is_in_very_many_rows_all_are_looked_at(many, monkeypatch):
    monkeypatch.setattr(finding, "MOST_ROWS", 3)
    with Borrowed(many.catalog_path).reading(0.0) as (connection, stamp):
        index = made(connection, stamp)
        assert index.rows(connection, "conversation", ["talk's"]) is None
        assert known(connection, index) == known(connection)


def test_an_empty_dataset_has_an_index(store):
    store.refresh()
    with Borrowed(store.catalog_path).reading(0.0) as (connection, stamp):
        index = made(connection, stamp)
        assert [index.rows(connection, column, ["a"]) for column in COLUMNS] == [[]] * len(COLUMNS)
        assert records(connection, [(5, "a")], index) == {}


def test_an_index_of_an_older_catalog_is_not_used(tmp_path, photos, monkeypatch):
    store = dataset(tmp_path / "ds", photos)
    reader = Reader(store)
    reader.make_index()
    used = []
    monkeypatch.setattr(reading, "narrowed", lambda *given: used.append(given[1]) or "true")
    reader.read([(None, "a")])
    assert used[-1] is not None
    with store.writing("test"):
        store.add_verdicts(
            [Verdict(record="b", filter="new", reason="new", recipe="new", recipe_digest="1")]
        )
        store.sync()
    reader.read([(None, "b")])
    assert used[-1] is None
    monkeypatch.undo()
    assert [one["filter"] for one in reader.get((None, "b"))["verdicts"]] == ["new"]
    reader._next_index = 0.0
    reader.make_index()
    for id in RECORDS:
        reader.read([(None, id)])
    assert not reader._is_index_old
    assert [one["filter"] for one in reader.get((None, "b"))["verdicts"]] == ["new"]


def test_a_catalog_that_is_written_all_the_time_is_not_indexed_all_the_time(tmp_path, photos):
    store = dataset(tmp_path / "ds", photos)
    reader = Reader(store)
    reader.make_index()
    first = reader._index
    reader._is_index_old = True
    reader._next_index += 60
    reader.make_index()
    assert reader._index is first


def test_an_index_of_a_catalog_that_is_written_meanwhile_is_none(tmp_path, photos, monkeypatch):
    reader = Reader(dataset(tmp_path / "ds", photos))
    stamps = iter("abcdefgh")
    monkeypatch.setattr(Borrowed, "_stamp", lambda self: next(stamps))
    reader.make_index()
    assert reader._index is None
    assert reader._is_index_old


# The catalog, for moments


def test_a_borrowed_catalog_can_be_written_as_soon_as_nobody_reads(many):
    borrowed = Borrowed(many.catalog_path)
    for _ in range(3):
        with borrowed.reading(0.0) as (one, _), borrowed.reading(0.0) as (other, _):
            assert one.execute("SELECT count(*) FROM images").fetchall() == [(0,)]
            assert other.execute("SELECT count(*) FROM instructions").fetchall() == [(len(IDS),)]
        with catalog.connect(many.catalog_path, read_only=False, patience=0.0):
            pass


WRITER = """
import sys
from pathlib import Path
from mimicit import catalog
with catalog.connect(Path(sys.argv[1]), read_only=False):
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_catalog_that_is_being_written_is_waited_for(many):
    borrowed = Borrowed(many.catalog_path)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, many.catalog_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout.readline() == b"writing\n"
        with pytest.raises(LockedError, match="open in another process"), borrowed.reading(0.0):
            pass
        timer = threading.Timer(0.3, writer.stdin.close)
        timer.start()
        with borrowed.reading(20.0) as (connection, _):
            assert connection.execute("SELECT 1 FROM instructions LIMIT 1").fetchall() == [(1,)]
        timer.join()


def test_readers_that_follow_each_other_without_pause_let_a_writer_in(many, monkeypatch):
    monkeypatch.setattr(borrowing, "OPEN_SECONDS", 0.2)
    borrowed = Borrowed(many.catalog_path)
    stop = threading.Event()

    def read():
        while not stop.is_set():
            with borrowed.reading(10.0) as (connection, _):
                connection.execute("SELECT count(*) FROM instructions").fetchall()
                stop.wait(0.05)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        subprocess.run(
            [sys.executable, "-c", WRITER, many.catalog_path], input=b"", timeout=60, check=True
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_was_closed_can_be_read_again(many):
    borrowed = Borrowed(many.catalog_path)
    for _ in range(2):
        with borrowed.reading(0.0) as (connection, _):
            assert connection.execute("SELECT count(*) FROM instructions").fetchall() == [
                (len(IDS),)
            ]
        borrowed.close()
