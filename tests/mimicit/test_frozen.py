"""A selection of the same files is frozen once, and of other files again."""

import os
import time

import pytest

from mimicit import freezing
from mimicit.schema import Verdict
from mimicit.snapshot import OWN, freeze
from tests.builders import record


@pytest.fixture
def counted(store, monkeypatch):
    """A store of four records, and how often it was frozen."""
    store.add([record(n, image_ids=[]) for n in range(4)])
    calls = []
    write = freezing._write

    def count(*given):
        calls.append(1)
        return write(*given)

    monkeypatch.setattr(freezing, "_write", count)
    return store, calls


def verdict(id_):
    return Verdict(record=id_, filter="f", reason="r", recipe="mine", recipe_digest="d")


def test_the_same_files_are_frozen_once(counted):
    store, calls = counted
    digests = {freeze(store, where="length(answer) > 1").digest for _ in range(3)}
    assert (len(digests), len(calls)) == (1, 1)


def test_what_is_asked_for_is_part_of_the_key(counted):
    store, calls = counted
    for options in (
        {},
        {"seed": 1},
        {"where": "turn IS NULL"},
        {"context": OWN},
        {"pictures": False},
    ):
        freeze(store, **options)
        freeze(store, **options)
    assert len(calls) == 5


def test_records_verdicts_and_pictures_that_come_are_seen(counted):
    store, calls = counted
    assert len(freeze(store)) == 4
    store.add([record(9, image_ids=[])])
    assert len(freeze(store)) == 5
    store.add_verdicts([verdict("LACONV_INS_009_00"), verdict("LACONV_INS_001_00")])
    assert len(freeze(store)) == 3
    assert len(freeze(store)) == 3
    assert len(calls) == 3


def test_a_file_that_was_put_in_the_place_of_another_is_seen(counted):
    store, calls = counted
    freeze(store)
    [part] = (store.path / "text").glob("*.parquet")
    before = part.stat()
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    freeze(store)
    assert len(calls) == 2


def test_a_predicate_over_other_tables_looks_at_their_files(counted):
    store, calls = counted
    import pyarrow as pa

    from mimicit.schema import split_schema

    where = "id IN (SELECT record FROM splits WHERE split = 'train')"
    rows = [["s", "s"], ["LACONV_INS_000_00", "LACONV_INS_001_00"], ["train", "test"]]
    store.write_part("splits", "n", pa.table(rows, schema=split_schema()))
    assert len(freeze(store, where=where)) == 1
    assert len(freeze(store, where=where)) == 1
    assert len(calls) == 1
    rows[2] = ["train", "train"]
    store.write_part("splits", "n", pa.table(rows, schema=split_schema()))
    assert len(freeze(store, where=where)) == 2
    freeze(store)
    rows[2] = ["test", "test"]
    store.write_part("splits", "n", pa.table(rows, schema=split_schema()))
    freeze(store)  # does not look at them
    assert len(calls) == 3


@pytest.mark.parametrize(
    "where",
    [
        "random() < 2",
        "now() > TIMESTAMP '2000-01-01'",
        "current_date > DATE '2000-01-01'",
        "id NOT IN (SELECT id FROM provenance WHERE cost_usd > 1)",
        "NOT EXISTS (FROM steps)",
        "id NOT IN (SELECT record FROM step_records)",
        "NOT EXISTS (SELECT 1 FROM _parts WHERE part LIKE 'training%')",
        "id IN (SELECT id FROM accepted USING SAMPLE 100 ROWS)",
    ],
)
def test_what_may_say_another_thing_tomorrow_is_frozen_each_time(counted, where):
    store, calls = counted
    assert len(freeze(store, where=where)) == 4
    freeze(store, where=where)
    assert len(calls) == 2


def test_words_that_name_tables_elsewhere_are_mere_words(counted):
    store, calls = counted
    where = "answer NOT LIKE '%steps sent in a sample of batches%'"
    freeze(store, where=where)
    freeze(store, where=where)
    assert len(calls) == 1


def test_a_selection_of_what_no_step_has_used_follows_the_runs(counted):
    """Whatever training wrote since is no part of the dataset's own files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, _ = counted
    where = "id NOT IN (SELECT record FROM step_records)"
    assert len(freeze(store, where=where)) == 4
    training = store.path / "training"
    (training / "run-1").mkdir(parents=True)
    uses = {"run": ["r"], "step": [1], "record": ["LACONV_INS_001_00"]}
    pq.write_table(pa.table(uses), training / "run-1" / "k-000000001.parquet")
    (training / "run-1.jsonl").write_text('{"run": "r", "step": 1, "loss": 1.0}\n')
    assert len(freeze(store, where=where)) == 3


def test_a_snapshot_that_was_deleted_is_frozen_again(counted):
    import shutil

    store, calls = counted
    shutil.rmtree(freeze(store).path)
    assert len(freeze(store)) == 4
    assert len(calls) == 2


def test_a_note_that_is_damaged_is_none(counted):
    store, calls = counted
    digest = freeze(store).digest
    [note] = (store.path / "snapshots" / ".known").iterdir()
    for text in ("", "../../etc", "0" * 32, "\xff"):
        note.write_text(text)
        assert freeze(store).digest == digest
    assert len(calls) == 5


def test_a_catalog_that_is_behind_its_files_is_not_noted(counted, monkeypatch):
    """As while another process writes: it will bring the catalog up to date itself."""
    store, _ = counted
    freeze(store)
    store.add([record(9, image_ids=[])])
    monkeypatch.setattr(type(store), "refresh", lambda self: None)
    assert len(freeze(store)) == 4
    monkeypatch.undo()
    assert len(freeze(store)) == 5


def test_files_that_change_meanwhile_are_not_noted(counted, monkeypatch):
    store, _ = counted
    write = freezing._write

    def meanwhile(*given):
        made = write(*given)
        store.add([record(9, image_ids=[])])
        return made

    monkeypatch.setattr(freezing, "_write", meanwhile)
    assert len(freeze(store)) == 4
    monkeypatch.setattr(freezing, "_write", write)
    assert len(freeze(store)) == 5


def test_where_nothing_can_be_noted_it_is_frozen_all_the_same(counted):
    store, _ = counted
    (store.path / "snapshots").mkdir(exist_ok=True)
    (store.path / "snapshots" / ".known").write_text("a file, not a folder")
    assert len(freeze(store)) == 4
    assert len(freeze(store)) == 4


def test_finding_it_takes_milliseconds(counted):
    store, _ = counted
    freeze(store)
    began = time.process_time()
    freeze(store)
    assert time.process_time() - began < 0.1
