"""What pages are told, by several reviewers and threads at once, and of journals that a stranger wrote."""

import threading

import pytest

from mimicit.errors import DatasetError
from mimicit.review.bringing import bring
from mimicit.review.deck import Wanted
from mimicit.review.journal import Journal, journal_path
from mimicit.review.opinions import agreement
from mimicit.review.room import DECKS, ConflictError, Place, Room
from mimicit.schema import Verdict
from mimicit.store import Store
from tests.builders import record
from tests.mimicit.review.rooms import accepted, dataset, rows

ANN, BEN = Place("ann"), Place("ben")


@pytest.fixture
def store(tmp_path, photos) -> Store:
    return dataset(tmp_path / "ds", photos)


@pytest.fixture
def room(store) -> Room:
    return Room(store)


def edit(room, place, id, answer, seen=()):
    return room.edit(place, id, "What?", answer, seen)["new"]


def answers(room, id, place=ANN):
    return [(turn["id"], turn["answer"]) for turn in room.record(place, id)["turns"]]


# Versions


def test_what_one_edited_is_decided_on_in_its_new_version(store, room):
    """Or what was edited would be accepted beside what it was edited to."""
    edit(room, ANN, "a", "It sleeps.")
    for decide in (
        lambda: room.accept(ANN, "a"),
        lambda: room.reject(ANN, "a", "why"),
        lambda: edit(room, ANN, "a", "It dreams.", ["a~2"]),
    ):
        with pytest.raises(DatasetError, match="decide about its new version 'a~2'"):
            decide()
    room.accept(BEN, "a")  # which is another opinion
    edit(room, ANN, "a~2", "It dreams.")
    bring(store)
    assert accepted(store) == {"a~3", "b", "c", "d", "e", "f"}
    for _ in range(2):
        room.undo(ANN)
    room.accept(ANN, "a")
    bring(store)
    assert accepted(store) == {"a", "b", "c", "d", "e", "f"}


def test_a_conversation_has_each_turn_once(store, room):
    edit(room, ANN, "f", "Brown and white.")
    with pytest.raises(ConflictError):
        edit(room, BEN, "f", "Grey.")
    with pytest.raises(DatasetError, match="a conversation has each turn once"):
        edit(room, BEN, "f", "Grey.", ["f~2"])
    edit(room, BEN, "f~2", "Grey.")
    bring(store)
    assert rows(store, "SELECT turn, answer FROM accepted WHERE conversation = 'talk' ORDER BY 1") == [
        (0, "Yes."),
        (1, "Grey."),
    ]  # fmt: skip


def test_other_turns_show_an_edit_at_once(store, room):
    before = [("e", "Yes."), ("f", "Brown.")]
    assert answers(room, "e") == before
    edit(room, ANN, "f", "Brown and white.")
    after = [("e", "Yes."), ("f~2", "Brown and white.")]
    assert answers(room, "e") == after
    assert answers(room, "f~2") == after
    assert answers(room, "f") == [*before, after[1]]  # which one looks at, whatever became of it
    edit(room, BEN, "f~2", "Grey.")
    assert answers(room, "e") == [("e", "Yes."), ("f~3", "Grey.")]
    bring(store)
    assert answers(room, "e") == [("e", "Yes."), ("f~3", "Grey.")]
    room.undo(BEN)
    assert answers(room, "e") == after


def test_versions_that_lead_back_to_where_they_began_are_no_end_of_work(store):
    journal = Journal(journal_path(store.path, "eve"))
    for time, (old, new) in enumerate([("x", "y"), ("y", "x"), ("f", "e"), ("e", "f"), ("a", "a")]):
        journal.decide(float(time), "edit", old, new=record(1, id=new))
    room = Room(store)
    with pytest.raises(DatasetError, match="there is no record 'x'"):
        room.record(ANN, "x")
    assert {turn["id"] for turn in room.record(ANN, "f")["turns"]} == {"f"}
    assert room.record(ANN, "a")["id"] == "a"


# Several at once


def test_a_deck_that_is_gone_is_in_nobodys_way(room):
    """A request may hold one that another one's deck has taken the place of."""
    first = room.sit_down("ann", Wanted(order="id"))
    deck, journal = room._decks[first["deck"]], room.journal("ann")
    for seed in range(DECKS):
        room.sit_down("ben", Wanted(seed=seed))
    assert room._progress(deck, journal)["done"] == 0
    assert room.accept(Place("ann", first["deck"], 0), "a")["saved"]
    assert room.undo(ANN)["record"] == "a"


def test_a_decision_waits_while_reviewers_are_compared(room, monkeypatch):
    """Their journals must stay what they are for as long as that takes."""
    waited = []

    def compared(journals, *, most):
        deciding.start()
        deciding.join(0.3)
        waited.append(deciding.is_alive())
        return agreement(journals, most=most)

    deciding = threading.Thread(target=room.accept, args=(ANN, "a"))
    monkeypatch.setattr("mimicit.review.room.agreement", compared)
    room.agreement()
    deciding.join()
    assert waited == [True]
    assert room.journal("ann").about("a")


def test_somebody_comes_in_while_a_record_is_read(room, monkeypatch):
    names = iter(range(100))

    def about(journal, record):
        room.journal(f"somebody {next(names)}")
        return journal._of_record.get(record, [None])[-1]

    room.accept(BEN, "a")
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "about", about)
        assert [one["by"] for one in room.record(ANN, "a")["others"]] == ["ben"]
    assert next(names) > 1


# Names


def test_names_that_differ_in_capitals_only_are_one_file_on_some_systems(room):
    room.journal("Ann")  # was typed, and decided nothing
    room.accept(ANN, "a")
    with pytest.raises(DatasetError, match="there is a reviewer 'ann'"):
        room.accept(Place("ANN"), "b")
    assert Room(room.store).journal("ann").about("a")


def test_a_recipe_with_a_reviewers_name_is_not_that_reviewer(store, room):
    with store.writing("test"):
        store.add_verdicts(
            [Verdict(record="b", filter="short", reason="short", recipe="ann", recipe_digest="1")]
        )
        store.sync()
    room.accept(ANN, "b")
    bring(store)
    assert [one["recipe"] for one in room.record(ANN, "b")["verdicts"]] == ["ann"]


def test_what_a_reviewer_said_whose_journal_is_elsewhere_is_no_filters_verdict(store, room):
    """Or everybody would see it before deciding."""
    room.reject(BEN, "a", "wrong count")
    bring(store)
    journal_path(store.path, "ben").unlink()
    found = Room(store).record(ANN, "a")
    assert [one["filter"] for one in found["verdicts"]] == ["judge"]
    assert [(one["by"], one["do"], one["reason"]) for one in found["others"]] == [
        ("ben", "reject", "wrong count")
    ]
