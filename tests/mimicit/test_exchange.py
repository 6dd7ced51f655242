"""Imports that are large, are killed, are run again, and meet what cannot be used."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mimicit import exchange
from mimicit.errors import FormatError
from mimicit.exchange import import_files
from mimicit.formats import ReadOptions, WriteOptions, mimicit
from mimicit.parts import parts_of
from mimicit.schema import Instruction
from mimicit.store import Store
from tests.builders import image, record

ALL = "SELECT * EXCLUDE (part, source) FROM instructions ORDER BY id"


def store(tmp_path, name="ds"):
    return Store.open(tmp_path / name, create=True)


def rows(opened, query):
    with opened.reading() as connection:
        return connection.execute(query).fetchall()


def annotations(path, count, first=0, task="A"):
    data = {
        f"{task}_INS_{n:07d}": {
            "instruction": f"What is in {n}?",
            "answer": f"It is {n}, {'and so on ' * 20}",
            "image_ids": [f"{task}_IMG_{n}"],
            "rel_ins_ids": [f"{task}_INS_{n - 1:07d}"],
        }
        for n in range(first, first + count)
    }
    path.write_text(json.dumps({"meta": {"version": "1"}, "data": data}))
    return path


def test_what_all_columns_hold_comes_back_from_an_export(tmp_path, photos):
    first = store(tmp_path)
    with first.writing("test"):
        first.add_images([image(photos, "chelsea.png")])
        first.add(
            [
                record(1, image_ids=["LA_IMG_chelsea"], conversation="LACONV_INS_001", turn=0, meta='{"a": "é"}'),
                record(2, id="LACONV_INS_001_01", conversation="LACONV_INS_001", turn=1, rejected="no"),
                record(3, rejected=""),
                record(4, language="de", translation_of="LACONV_INS_003_00"),
            ]
        )  # fmt: skip
        first.sync()
    mimicit.write(first, tmp_path / "out", WriteOptions())
    second = store(tmp_path, "second")
    import_files([tmp_path / "out"], second)
    assert rows(second, ALL) == rows(first, ALL)
    mimicit.write(second, tmp_path / "again", WriteOptions())
    for path in sorted((tmp_path / "out").rglob("*.*")):
        again = tmp_path / "again" / path.relative_to(tmp_path / "out")
        assert again.read_bytes() == path.read_bytes()


def test_a_finished_file_is_not_read_again_and_its_rows_count_as_known(tmp_path, monkeypatch):
    opened = store(tmp_path)
    path = annotations(tmp_path / "A_instructions.json", 50)
    import_files([path], opened)
    monkeypatch.setattr(mimicit, "read", lambda *arguments: pytest.fail("it was read"))
    again = import_files([path], opened)
    assert (again.records, again.known, again.files) == (0, 50, 1)
    assert again.bytes == again.total_bytes


@pytest.mark.parametrize("change", ["content", "time", "options", "again", "notes"])
def test_a_file_is_read_again_when_anything_about_it_is_different(tmp_path, change):
    opened = store(tmp_path)
    path = annotations(tmp_path / "A_instructions.json", 50)
    import_files([path], opened)
    options = ReadOptions()
    if change == "content":
        annotations(path, 60)
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "options":
        options = ReadOptions(task="other")
    elif change == "notes":
        (opened.path / "imports.json").write_text('{"files": [')
    again = import_files([path], opened, options=options, again=change == "again")
    assert (again.known, again.files) == (50, 0)
    assert again.records == (10 if change == "content" else 0)


def test_bad_rows_of_an_earlier_import_are_not_forgotten(tmp_path):
    opened = store(tmp_path)
    path = tmp_path / "A_instructions.json"
    path.write_text(json.dumps({"meta": {}, "data": {"A_INS_1": {"instruction": "q"}}}))
    first = import_files([path], opened)
    again = import_files([path], opened)
    assert (first.bad_count, again.bad_count) == (1, 1)
    assert first.bad_file.relative_to(opened.path).as_posix() in again.bad[0].reason
    assert len(list((opened.path / "imports").iterdir())) == 1


def test_every_bad_row_is_in_the_file_and_the_first_are_handed_over(tmp_path):
    data = {f"A_INS_{n}": {"instruction": "q"} for n in range(2_500)}
    path = tmp_path / "A_instructions.json"
    path.write_text(json.dumps({"meta": {}, "data": data}))
    done = import_files([path], store(tmp_path))
    assert (done.bad_count, len(done.bad)) == (2_500, exchange.PRINTED)
    lines = [json.loads(line) for line in done.bad_file.read_text().splitlines()]
    assert [line["where"].rpartition("_")[2] for line in lines] == [str(n) for n in range(2_500)]


def test_a_record_of_another_text_is_a_bad_row(tmp_path):
    opened = store(tmp_path)
    import_files([annotations(tmp_path / "A_instructions.json", 3)], opened)
    other = tmp_path / "B_instructions.json"
    other.write_text((tmp_path / "A_instructions.json").read_text().replace("It is 1", "It was 1"))
    done = import_files([other], opened)
    assert (done.records, done.known, done.bad_count) == (0, 2, 1)
    assert "another record of this id" in done.bad[0].reason


class _Odd:
    """A reader of a format that hands over what no store can hold."""

    NAME = "odd"

    @staticmethod
    def read(path, options):
        yield Instruction(id="A_INS_1", task="a", instruction="q", answer="a")
        yield Instruction(id="A_INS_2", task="a", instruction="q", answer="half \ud83d")
        yield Instruction(id="A_INS_3", task="a", instruction="q", answer="a")
        raise PermissionError(13, "Permission denied")


def test_half_a_character_and_a_file_that_cannot_be_read_on_cost_nothing_else(tmp_path, monkeypatch):  # fmt: skip
    monkeypatch.setattr(exchange, "format_named", lambda name: _Odd)
    (tmp_path / "x.json").write_text("{}")
    opened = store(tmp_path)
    done = import_files([tmp_path / "x.json"], opened, format_name="odd")
    assert rows(opened, "SELECT id FROM instructions ORDER BY id") == [("A_INS_1",), ("A_INS_3",)]
    assert [row.where for row in done.bad] == ["x.json", "A_INS_2"]
    again = import_files([tmp_path / "x.json"], opened, format_name="odd")
    assert again.files == 0


def test_files_of_no_known_format_in_a_folder_are_listed_and_the_others_read(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    annotations(folder / "A_instructions.json", 5)
    (folder / "notes.json").write_text('["x"]')
    done = import_files([folder], store(tmp_path))
    assert (done.records, done.bad_count) == (5, 1)
    assert done.bad[0].where == "notes.json"


def test_a_folder_of_nothing_known_is_a_sentence(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(FormatError, match="holds none of"):
        import_files([tmp_path / "in"], store(tmp_path))
    (tmp_path / "in" / "notes.json").write_text('["x"]')
    with pytest.raises(FormatError, match="no known format"):
        import_files([tmp_path / "in"], store(tmp_path))


def test_progress_goes_by_bytes_to_the_end(tmp_path, monkeypatch):
    from mimicit.formats import json_members

    monkeypatch.setattr(json_members, "BLOCK", 4096)
    paths = [annotations(tmp_path / f"{task}_instructions.json", 200, task=task) for task in "AB"]
    seen = []
    done = import_files(paths, store(tmp_path), progress=lambda now: seen.append((now.bytes, now.total_bytes)))  # fmt: skip
    assert done.total_bytes == sum(path.stat().st_size for path in paths)
    assert seen == sorted(seen)
    assert len({bytes_ for bytes_, _ in seen}) > 20
    assert seen[-1] == (done.total_bytes, done.total_bytes)


def test_lists_to_train_on_become_relations_once(tmp_path):
    path = tmp_path / "A_train.json"
    path.write_text(json.dumps({"A_INS_1": ["A_INS_0"], "A_INS_2": [], "A_INS_3": "x", "A_INS_4": [1]}))  # fmt: skip
    opened = store(tmp_path)
    done = import_files([path], opened)
    assert (done.listed, done.bad_count) == (2, 2)
    again = import_files([path], opened, again=True)
    assert again.listed == 0
    found = rows(opened, "SELECT record, related FROM relations WHERE strategy = 'train' ORDER BY record")  # fmt: skip
    assert found == [("A_INS_1", ["A_INS_0"]), ("A_INS_2", [])]


IMPORT = """
import sys
from pathlib import Path
from mimicit import exchange
from mimicit.formats import json_members
from mimicit.store import Store
exchange.BATCH, json_members.BLOCK = 2_000, 1 << 18
exchange.import_files([Path(name) for name in sys.argv[2:]], Store.open(Path(sys.argv[1]), create=True))
"""


def test_a_killed_import_goes_on_without_duplicates(tmp_path):
    """Killed while the second of three files is read; the first is not read again."""
    paths = [
        annotations(tmp_path / f"A{n}_instructions.json", 20_000, first=20_000 * n)
        for n in range(3)
    ]
    folder = tmp_path / "ds"
    child = subprocess.Popen(
        [sys.executable, "-c", IMPORT, str(folder), *map(str, paths)], cwd=Path.cwd()
    )
    deadline = time.monotonic() + 60
    while len(parts_of(folder / "text")) < 14 and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    there = sum(pq.read_metadata(part).num_rows for part in parts_of(folder / "text"))
    assert 20_000 < there < 60_000

    opened = Store.open(folder)
    done = import_files(paths, opened)
    assert done.records + done.known == 60_000
    assert done.known >= there
    assert done.files >= 1
    assert done.bad_count == 0
    assert rows(opened, "SELECT count(*), count(DISTINCT id) FROM instructions") == [(60_000, 60_000)]  # fmt: skip
    assert not list(folder.glob("**/.*.staged"))
