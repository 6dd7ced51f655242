"""Records that come as columns are those that come one by one, and what is odd among them is listed all the same."""

import json
import os
import subprocess
import sys
import textwrap

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicit import exchange
from mimicit import store as store_module
from mimicit.columns import Rows
from mimicit.exchange import import_files
from mimicit.formats import ReadOptions, json_members
from mimicit.formats.items import Block
from mimicit.formats.mimicit_records import Records, quotes
from mimicit.parts import parts_of
from mimicit.schema import Instruction
from mimicit.store import Store
from mimicit.tables import text_table
from tests.builders import record
from tests.mimicit.test_store import count

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
IDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
NAMES = st.lists(
    IDS | st.sampled_from(["TVC_IMG_s01e01_seg01_clip_00_0001", "CSD_IMG_1"]), max_size=3
)
ROWS = st.fixed_dictionaries(
    {"instruction": TEXTS, "answer": TEXTS, "image_ids": NAMES, "rel_ins_ids": NAMES}
)
ODD = [
    {},
    {"instruction": "q"},
    {"instruction": "q", "answer": None, "image_ids": [], "rel_ins_ids": []},
    {"instruction": 3, "answer": "a", "image_ids": [], "rel_ins_ids": []},
    {"instruction": "q", "answer": ["a"], "image_ids": [], "rel_ins_ids": []},
    {"instruction": "q", "answer": "a", "image_ids": [["x"]], "rel_ins_ids": []},
    {"instruction": "q", "answer": "a", "image_ids": "x", "rel_ins_ids": None},
    {"instruction": "q", "answer": "a", "image_ids": ["x\ny"], "rel_ins_ids": []},
    {"instruction": "q", "answer": "a", "image_ids": ["x\u0000y"], "rel_ins_ids": []},
    {"instruction": "q", "answer": "a", "image_ids": [""], "rel_ins_ids": []},
    {"instruction": "q", "answer": "half \ud83d", "image_ids": [], "rel_ins_ids": []},
    {"instruction": "q", "answer": "zero \u0000", "image_ids": ["é" * 300], "rel_ins_ids": []},
    {"instruction": "q", "answer": "a", "image_ids": [], "rel_ins_ids": ["é" * 513]},
    {"instruction": "q", "answer": "a", "image_ids": [], "rel_ins_ids": {"a": "b"}},
    {"instruction": "q", "answer": "long " * 100_000, "image_ids": [], "rel_ins_ids": []},
    {"instruction": "q", "answer": "a", "image_ids": [], "rel_ins_ids": [], "turn": 1, "conversation": "C"},
    {"instruction": "q", "answer": "a", "image_ids": [], "rel_ins_ids": [], "more": 1},
    "text",
    None,
    [1, {"a": []}],
]  # fmt: skip


def row(number):
    return {
        "instruction": f'What is "{number}"?\n',
        "answer": f"It is {number}, naïvely, {'and so on ' * (number % 7)}",
        "image_ids": [f"A_IMG_{number + k}" for k in range(number % 4)],
        "rel_ins_ids": [f"A_INS_{number - 1}"],
    }


def annotations(path, members):
    """Write members in their order; ids may stand twice."""
    text = ", ".join(f"{json.dumps(id_)}: {json.dumps(value)}" for id_, value in members)
    path.write_text(f'{{"meta": {{}}, "data": {{{text}}}}}')
    return path


def stored(opened):
    return [one for part in parts_of(opened.path / "text") for one in pq.read_table(part).to_pylist()]  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(IDS, ROWS, min_size=1, max_size=8), st.none() | st.just("mine"))
def test_columns_hold_what_the_records_hold(members, task):
    records = Records("f.json", task, "en")
    strings, made = records.prepare(members)
    assert isinstance(made, Rows)
    assert strings == quotes(members)
    made.table.validate(full=True)
    alone = [records.one(id_, value) for id_, value in members.items()]
    assert all(isinstance(one, Instruction) for one in alone)
    assert list(made.ids) == [one.id for one in alone]
    assert made.table.equals(text_table(alone))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:40])
def test_one_odd_member_has_the_block_looked_through_one_by_one(odd):
    members = {f"A_INS_{n}": row(n) for n in range(20)} | {"A_INS_7": odd}
    records = Records("f.json", None, "en")
    _, made = records.prepare(members)
    alone = [records.one(id_, value) for id_, value in members.items()]
    good = [one for one in alone if isinstance(one, Instruction)]
    if isinstance(made, Block):
        assert list(made.records) == good
        assert [*good, *made.bad] == [*good, *(one for one in alone if one not in good)]
    else:
        assert made.table.equals(text_table(alone))


def test_an_import_by_columns_is_one_by_records(tmp_path, monkeypatch):
    """Thousands of records with odd ones planted among them, ids that come twice, and ids that are none."""
    members = [(f"A_INS_{n:05d}", row(n)) for n in range(4_000)]
    for number, odd in enumerate(ODD):
        members.insert(150 * number + 31, (f"A_INS_odd_{number}", odd))
    members[500:500] = [("A_INS_00003", row(3)), ("A_INS_00004", row(5)), ("A_INS_\n", row(1))]
    members += [("", row(1)), ("A_INS_" + "é" * 510, row(1)), ("A_INS_00009", row(9))]
    path = annotations(tmp_path / "A_instructions.json", members)
    monkeypatch.setattr(json_members, "BLOCK", 16_000)
    monkeypatch.setattr(exchange, "BATCH", 700)
    kinds = []
    real = Records.prepare

    def prepare(self, members):
        made = real(self, members)
        kinds.append(type(made[1]))
        return made

    monkeypatch.setattr(Records, "prepare", prepare)
    by_columns = Store.open(tmp_path / "columns", create=True)
    first = import_files([path], by_columns)
    assert kinds.count(Rows) > 10 < kinds.count(Block)
    monkeypatch.setattr(Records, "_at_once", lambda self, members: None)
    by_records = Store.open(tmp_path / "records", create=True)
    second = import_files([path], by_records)
    assert stored(by_columns) == stored(by_records)
    ids = [one["id"] for one in stored(by_columns)]
    assert ids == [id_ for id_ in dict.fromkeys(id_ for id_, _ in members) if id_ in set(ids)]
    listed = [done.bad_file.read_text().splitlines() for done in (first, second)]
    assert sorted(listed[0]) == sorted(listed[1])
    assert (first.records, first.known, first.bad_count) == (second.records, second.known, second.bad_count)  # fmt: skip
    assert first.known == 2
    again = import_files([path], by_columns, again=True)
    assert (again.records, again.known, again.bad_count) == (0, first.records + 2, first.bad_count)


def test_tasks_of_one_block_may_be_several(tmp_path):
    members = [(f"{'LADD' if n % 3 else 'X'}_INS_{n}", row(n)) for n in range(30)]
    opened = Store.open(tmp_path / "ds", create=True)
    import_files([annotations(tmp_path / "A_instructions.json", members)], opened)
    assert {(one["id"].partition("_")[0], one["task"]) for one in stored(opened)} == {
        ("LADD", "la_detail"),
        ("X", "x"),
    }


def test_pictures_in_a_folder_are_found_for_columns_too(tmp_path, photos):
    members = [
        (f"A_INS_{n}", row(n) | {"image_ids": ["A_IMG_chelsea", "rocket"]}) for n in range(9)
    ]
    opened = Store.open(tmp_path / "ds", create=True)
    path = annotations(tmp_path / "A_instructions.json", members)
    done = import_files([path], opened, options=ReadOptions(images=photos))
    assert (done.images, done.records, done.bad_count) == (2, 9, 0)


def test_batches_end_with_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "BATCH_BYTES", 20_000)
    monkeypatch.setattr(json_members, "BLOCK", 4_096)
    members = [(f"A_INS_{n:03d}", row(n) | {"answer": "x" * 1_000}) for n in range(200)]
    opened = Store.open(tmp_path / "ds", create=True)
    import_files([annotations(tmp_path / "A_instructions.json", members)], opened)
    assert 8 <= len(parts_of(opened.path / "text")) <= 12
    assert [one["id"] for one in stored(opened)] == [id_ for id_, _ in members]


def test_a_batch_that_cannot_be_written_ends_the_import_and_is_not_noted(tmp_path, monkeypatch):
    path = annotations(tmp_path / "A_instructions.json", [(f"A_INS_{n}", row(n)) for n in range(900)])  # fmt: skip
    monkeypatch.setattr(json_members, "BLOCK", 4_096)
    monkeypatch.setattr(exchange, "BATCH", 200)
    opened = Store.open(tmp_path / "ds", create=True)
    real = store_module.write_part

    def full(path, *rest):
        if path.name == "p-00002.parquet":
            raise OSError(28, "No space left on device")
        real(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_part", full)
        with pytest.raises(OSError, match="No space"):
            import_files([path], opened)
    there = len(stored(opened))
    assert 0 < there < 900
    done = import_files([path], opened)
    assert (done.files, done.known, done.records) == (0, there, 900 - there)


@pytest.mark.parametrize("moment", ["before", "within"])
def test_a_kill_between_the_parts_and_the_catalog_costs_nothing(tmp_path, moment):
    path = annotations(tmp_path / "A_instructions.json", [(f"A_INS_{n}", row(n)) for n in range(6_000)])  # fmt: skip
    code = f"""
        import os, sys, time
        from pathlib import Path
        from mimicit import catalog, exchange
        from mimicit.formats import json_members
        from mimicit.store import Store
        json_members.BLOCK, exchange.BATCH, exchange.MANY = 1 << 16, 1_000, 2_000
        real, calls = catalog._load_part, []

        def killed(*arguments):
            calls.append(1)
            if len(calls) == {1 if moment == "before" else 4}:
                os._exit(9)
            real(*arguments)

        def slowly(self, rows):
            if (self.path / "text" / "p-00002.parquet").exists():
                time.sleep(0.5)
            return add(self, rows)

        catalog._load_part, add = killed, Store.add_rows
        Store.add_rows = slowly
        exchange.import_files([Path(sys.argv[1])], Store.open(Path(sys.argv[2]), create=True))
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path, tmp_path / "ds"], check=False)  # fmt: skip
    assert ran.returncode == 9
    opened = Store.open(tmp_path / "ds")
    there = len(stored(opened))
    assert 2_000 <= there <= 6_000
    opened.refresh()
    assert count(opened) == there
    done = import_files([path], opened)
    assert (done.files, done.known, done.records) == (0, there, 6_000 - there)
    assert count(opened) == 6_000
    assert not list(opened.path.glob("**/.*.staged"))


# What the store makes of columns


def as_rows(*records):
    return Rows([one.id for one in records], text_table(records))


def test_columns_are_added_as_records_are(store):
    other = record(1, answer="Something else.")
    with store.writing("test"):
        store.add([record(0)])
        added = store.add_rows(as_rows(record(1), record(0), record(2), record(1), other))
        again = store.add_rows(as_rows(other, record(2), record(3)))
        assert store.add_rows(as_rows(record(3))).new == 0
    assert (added.new, added.known, added.conflicts) == (2, 2, [record(1).id])
    assert (again.new, again.known, again.conflicts) == (1, 1, [record(1).id])
    assert [one["id"] for one in stored(store)] == [record(n).id for n in range(4)]
    assert len(parts_of(store.path / "text")) == 3


def test_an_import_needs_no_numpy(tmp_path):
    path = annotations(tmp_path / "A_instructions.json", [(f"A_INS_{n}", row(n)) for n in range(2_000)])  # fmt: skip
    code = """
        import sys
        from pathlib import Path
        sys.modules["numpy"] = sys.modules["pandas"] = None
        from mimicit.exchange import import_files
        from mimicit.store import Store
        done = import_files([Path(sys.argv[1])], Store.open(Path(sys.argv[2]), create=True))
        assert (done.records, done.bad_count) == (2_000, 0), done
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), path, tmp_path / "ds"],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
    )
