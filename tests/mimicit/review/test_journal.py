import os

import pytest

from mimicit.errors import DatasetError
from mimicit.review.journal import Journal, journal_path, journals
from tests.builders import record


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reviews" / "ann.jsonl"


def test_what_was_decided_is_there_when_it_is_read_again(path):
    journal = Journal(path)
    journal.decide(1.5, "accept", "a")
    journal.decide(2.5, "reject", "b", "wrong count")
    journal.decide(3.5, "edit", "c", new=record(1, id="c~2", meta='{"x": 1}'))
    again = Journal.read(path)
    assert again.standing == journal.standing
    assert again.about("b").reason == "wrong count"
    assert again.made["c~2"].new == record(1, id="c~2", meta='{"x": 1}')
    assert again.unreadable == 0


def test_undo_goes_back_in_order_also_after_reading_again(path):
    journal = Journal(path)
    for time, (kind, id) in enumerate([("accept", "a"), ("reject", "b"), ("reject", "a")]):
        journal.decide(float(time), kind, id, "why")
    assert journal.undo(9.0).record == "a"
    assert journal.about("a").kind == "accept"
    again = Journal.read(path)
    assert again.about("a").kind == "accept"
    assert [again.undo(10.0).record, again.undo(11.0).record, again.undo(12.0)] == ["b", "a", None]
    third = Journal.read(path)
    assert not third.standing
    third.decide(13.0, "accept", "z")
    assert list(Journal.read(path).records()) == ["z"]


def test_an_undone_edit_is_not_forgotten(path):
    journal = Journal(path)
    journal.decide(1.0, "edit", "c", new=record(1, id="c~2"))
    journal.undo(2.0)
    again = Journal.read(path)
    assert (again.about("c"), again.edits_of("c")) == (None, [])
    assert [edit.new.id for edit in again.undone] == ["c~2"]
    assert "c~2" in again.made


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_half_a_line_of_a_killed_process_hides_no_other(path, cut):
    journal = Journal(path)
    journal.decide(1.0, "accept", "a")
    size = path.stat().st_size
    journal.decide(2.0, "accept", "b")
    os.truncate(path, size + cut)
    again = Journal.read(path)
    assert list(again.records()) == ["a"]
    again.decide(3.0, "accept", "c")
    assert list(Journal.read(path).records()) == ["a", "c"]


def test_lines_that_make_no_sense_are_counted_and_passed_over(path):
    Journal(path).decide(1.0, "accept", "a")
    nonsense = [
        b"not json", b"[]", b"{}", b'{"n": 2, "do": "undo", "of": 7}', b'{"n": 2, "time": 1, "do": "burn", "record": "x"}',
        b'{"n": 2, "time": 1, "do": "accept", "record": "x\\ny"}', b'{"n": 2, "time": 1, "do": "edit", "record": "x", "new": {}}',
        b'{"n": 1, "time": 1, "do": "accept", "record": "twice"}',
    ]  # fmt: skip
    with path.open("ab") as file:
        file.write(b"\n".join(nonsense) + b"\n")
    again = Journal.read(path)
    assert list(again.records()) == ["a"]
    assert again.unreadable == len(nonsense)


def test_a_decision_that_cannot_be_written_is_not_made(path, monkeypatch):
    journal = Journal(path)
    journal.decide(1.0, "accept", "a")
    before = path.read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DatasetError, match="nothing was saved"):
            journal.decide(2.0, "reject", "b", "why")
    assert (path.read_bytes(), list(journal.records())) == (before, ["a"])
    journal.decide(3.0, "accept", "c")
    assert list(Journal.read(path).records()) == ["a", "c"]


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../ann", "a/b", "a\\b", "a\0b", ".hidden", "x" * 41, "a\nb", "con:"],
)
def test_a_name_leads_nowhere_else(tmp_path, name):
    with pytest.raises(DatasetError, match="cannot be a reviewer's name"):
        journal_path(tmp_path, name)


@pytest.mark.parametrize("name", ["ann", "Ann B.C-d", "Ånn", "李", "a" * 40, "a1"])
def test_people_are_called_many_things(tmp_path, name):
    assert journal_path(tmp_path, name).parent == tmp_path / "reviews"


def test_a_journal_that_is_a_link_to_elsewhere_is_neither_read_nor_written(tmp_path):
    outside = Journal(tmp_path / "outside.jsonl")
    outside.decide(1.0, "accept", "a")
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "eve.jsonl").symlink_to(outside.path)
    assert journals(tmp_path) == {}
    before = outside.path.read_bytes()
    with pytest.raises(DatasetError, match="cannot be written"):
        Journal(journal_path(tmp_path, "eve")).decide(2.0, "accept", "b")
    assert outside.path.read_bytes() == before
