"""Journals become verdicts and records, whatever happens in between."""

import json

import pytest

from mimicit.errors import LockedError
from mimicit.review.bringing import bring
from mimicit.review.journal import Journal, journal_path
from mimicit.review.opinions import agreement, kappa
from mimicit.review.room import ConflictError, Place, Room
from mimicit.schema import Verdict
from mimicit.store import Store
from tests.mimicit.review.rooms import RECORDS, accepted, dataset, rows

ANN, BEN = Place("ann"), Place("ben")
ALL = "SELECT record, filter, reason, recipe, score, rejects FROM verdicts WHERE filter = 'review' ORDER BY ALL"


@pytest.fixture
def store(tmp_path, photos) -> Store:
    return dataset(tmp_path / "ds", photos)


@pytest.fixture
def room(store) -> Room:
    return Room(store)


def edit(room, place, id, answer, seen=()):
    return room.edit(place, id, "What?", answer, seen)["new"]


def parts(store):
    return sorted(path.name for path in (store.path / "verdicts").glob("*.parquet"))


def test_decisions_become_verdicts(store, room):
    room.accept(ANN, "a")
    room.reject(ANN, "b", "wrong count")
    room.reject(BEN, "a", "duplicate")
    bring(store)
    assert rows(store, ALL) == [
        ("a", "review", "accepted", "review:ann", 1.0, False),
        ("a", "review", "duplicate", "review:ben", 0.0, True),
        ("b", "review", "wrong count", "review:ann", 0.0, True),
    ]
    assert accepted(store) == {"c", "d", "e", "f"}


def test_an_accept_overrules_no_filter(store, room):
    room.accept(ANN, "g")
    bring(store)
    assert "g" not in accepted(store)


def test_bringing_again_changes_nothing(store, room):
    room.accept(ANN, "a")
    edit(room, ANN, "b", "Tea.")
    first = bring(store)
    before = parts(store)
    assert (first.records, first.reviewers) == (1, ["ann"])
    assert bring(store).reviewers == []
    assert parts(store) == before


def test_what_was_killed_between_two_steps_is_put_right(store, room):
    room.accept(ANN, "a")
    bring(store)
    old = {name: (store.path / "verdicts" / name).read_bytes() for name in parts(store)}
    room.reject(ANN, "a", "why")
    bring(store)
    for name, data in old.items():  # as if it had not come to deleting them
        (store.path / "verdicts" / name).write_bytes(data)
    bring(store)
    assert [(row[0], row[2]) for row in rows(store, ALL)] == [("a", "why")]


def test_an_edit_is_a_new_record_beside_the_old_one(store, room):
    assert edit(room, ANN, "a", "It sleeps.") == "a~2"
    bring(store)
    [(question, answer, pictures, meta)] = rows(
        store, "SELECT instruction, answer, image_ids, meta FROM instructions WHERE id = 'a~2'"
    )
    assert (question, answer, pictures) == ("What?", "It sleeps.", ["LA_IMG_chelsea"])
    assert json.loads(meta) == {"edited_from": "a", "edited_by": "ann"}
    assert rows(store, "SELECT answer FROM instructions WHERE id = 'a'") == [("It looks aside.",)]
    assert accepted(store) == {"a~2", "b", "c", "d", "e", "f"}
    assert ("a", "review", "edited: see a~2", "review:ann", 0.0, True) in rows(store, ALL)


def test_undo_brings_the_former_view_back(store, room):
    before = accepted(store)
    room.reject(ANN, "c", "why")
    edit(room, ANN, "a", "It sleeps.")
    edit(room, ANN, "a~2", "It dreams.")
    bring(store)
    assert accepted(store) == {"a~3", "b", "d", "e", "f"}
    for _ in range(3):
        room.undo(ANN)
    bring(store)
    assert accepted(store) == before
    assert rows(
        store, "SELECT record, reason FROM verdicts WHERE filter = 'review' ORDER BY 1"
    ) == [
        ("a~2", "edit undone: see a"),
        ("a~3", "edit undone: see a~2"),
    ]


def test_an_edit_that_was_undone_before_it_was_brought_in_is_kept_too(store, room):
    edit(room, ANN, "a", "It sleeps.")
    room.undo(ANN)
    assert edit(room, ANN, "a", "It yawns.") == "a~3"
    bring(store)
    assert rows(store, "SELECT id, answer FROM instructions WHERE id LIKE 'a~%' ORDER BY 1") == [
        ("a~2", "It sleeps."),
        ("a~3", "It yawns."),
    ]
    assert accepted(store) == {"a~3", "b", "c", "d", "e", "f"}


def test_a_second_editor_is_told_and_decides(store, room):
    edit(room, ANN, "a", "It sleeps.")
    with pytest.raises(ConflictError, match="ann edited this record meanwhile") as told:
        edit(room, BEN, "a", "It waits.")
    assert [(one["id"], one["answer"]) for one in told.value.others] == [("a~2", "It sleeps.")]
    assert not room.journal("ben").standing
    assert edit(room, BEN, "a~2", "It waits.") == "a~3"  # in the place of theirs
    assert edit(room, BEN, "a", "Both stay.", seen=["a~2"]) == "a~4"
    bring(store)
    assert accepted(store) == {"a~3", "a~4", "b", "c", "d", "e", "f"}


def test_an_edit_that_ann_took_back_is_no_conflict(room):
    edit(room, ANN, "a", "It sleeps.")
    room.undo(ANN)
    assert edit(room, BEN, "a", "It waits.") == "a~3"


def test_a_conversation_is_shown_with_its_newest_turns(store, room):
    edit(room, ANN, "f", "Brown and white.")
    bring(store)
    fresh = Room(store)
    assert [turn["id"] for turn in fresh.record(ANN, "e")["turns"]] == ["e", "f~2"]
    assert [turn["id"] for turn in fresh.record(ANN, "f")["turns"]] == ["e", "f", "f~2"]
    fresh.undo(ANN)
    assert [turn["id"] for turn in fresh.record(ANN, "e")["turns"]] == ["e", "f"]


def test_undo_says_what_others_made_of_an_edit(room):
    edit(room, ANN, "a", "It sleeps.")
    edit(room, BEN, "a~2", "It waits.")
    assert [one["id"] for one in room.undo(ANN)["later"]] == ["a~3"]


@pytest.mark.parametrize(
    ("question", "answer", "says"),
    [
        ("What is the cat doing?", " It looks aside.\n", "nothing was changed"),
        ("", "Yes.", "the question is empty"),
        ("What?", " \n", "the answer is empty"),
        ("What?", "x" * 100_001, "100,000 is most"),
        ("What?", "\ud800", "half of a character"),
    ],
)
def test_what_is_no_edit(room, question, answer, says):
    with pytest.raises(Exception, match=says):
        room.edit(ANN, "a", question, answer, [])
    assert not room.journal("ann").path.exists()


def test_while_another_process_writes_the_journal_waits(store, room):
    room.accept(ANN, "a")
    other = Store.open(store.path)
    with other.writing("syphus data curate"):
        with pytest.raises(LockedError, match="syphus data curate"):
            bring(store)
        room.reject(ANN, "b", "why")
    bring(store)
    assert {row[0] for row in rows(store, ALL)} == {"a", "b"}


def test_verdicts_of_others_in_the_same_part_stay(store):
    """An import may have put several recipes together."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with store.writing("test"):
        said = [
            Verdict(
                record="c", filter="review", reason="old", recipe="review:ann", recipe_digest="?"
            ),
            Verdict(record="d", filter="other", reason="other", recipe="other", recipe_digest="1"),
        ]
        store.add_verdicts(said)
        first, second = sorted((store.path / "verdicts").glob("*.parquet"))[-2:]
        both = pa.concat_tables([pq.read_table(first), pq.read_table(second)])
        pq.write_table(both, first)
        second.unlink()
        store.sync()
    Journal(journal_path(store.path, "ann")).decide(1.0, "accept", "a")
    bring(store)
    assert rows(
        store,
        "SELECT record, reason FROM verdicts WHERE recipe IN ('other', 'review:ann') ORDER BY 1",
    ) == [
        ("a", "accepted"),
        ("d", "other"),
    ]


def test_the_records_of_a_deck_are_those_that_filters_let_through(store, room):
    """Or nobody would give a second opinion of what the first reviewer rejected."""
    from mimicit.review.deck import Wanted

    room.reject(ANN, "b", "why")
    edit(room, ANN, "a", "It sleeps.")
    bring(store)
    sat = room.sit_down("ben", Wanted(order="id"))
    found = [room.record(Place("ben", sat["deck"], at))["id"] for at in range(sat["of"])]
    assert found == ["a~2", "b", "c", "d", "e", "f"]


def test_the_same_seed_is_the_same_order_and_another_is_not(room):
    from mimicit.review.deck import Wanted, draw

    catalog = room.store.catalog_path
    first = draw(catalog, Wanted(where="true", seed=1)).ids.to_pylist()
    assert draw(catalog, Wanted(where="true", seed=1)).ids.to_pylist() == first
    orders = {tuple(draw(catalog, Wanted(where="true", seed=n)).ids.to_pylist()) for n in range(5)}
    assert len(orders) > 1
    assert {frozenset(order) for order in orders} == {frozenset(RECORDS)}


def test_the_lowest_score_comes_first(room):
    from mimicit.review.deck import Wanted, draw

    deck = draw(room.store.catalog_path, Wanted(where="true", order="score"))
    assert deck.ids.to_pylist()[0] == "a"


def test_rows_are_found_by_their_ids_when_the_catalog_was_built_again(store, room):
    from mimicit.review.deck import Wanted

    sat = room.sit_down("ann", Wanted(where="true", order="id"))
    deck = room._decks[sat["deck"]]
    object.__setattr__(deck, "rows", deck.rows.take(list(range(len(deck) - 1, -1, -1))))
    found = [room.record(Place("ann", sat["deck"], at))["id"] for at in range(sat["of"])]
    assert found == sorted(RECORDS)


# Agreement


def test_kappa_is_cohens():
    votes = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(votes) == (
        pytest.approx(0.7),
        pytest.approx(0.4),
    )  # by chance they agree on half
    assert kappa([(True, True)] * 3) == (1.0, None)
    assert kappa([]) == (None, None)


def test_agreement_counts_what_both_decided_on(room):
    for id in "abcd":
        room.accept(ANN, id)
    room.accept(BEN, "a")
    room.reject(BEN, "b", "why")
    edit(room, BEN, "c", "Another answer.")
    room.accept(BEN, "f")
    found = agreement(room.journals)
    [pair] = found.pairs
    assert (pair.first, pair.second, pair.records) == ("ann", "ben", 3)
    assert pair.agreement == pytest.approx(1 / 3)
    assert {one.record: [vote.do for vote in one.said] for one in found.disagreements} == {
        "b": ["accept", "reject"],
        "c": ["accept", "edit"],
    }
