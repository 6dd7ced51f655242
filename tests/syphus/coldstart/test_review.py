"""The review as a value: no keys, no screen."""

from syphus.annotations.notes import Notes
from syphus.coldstart.review import Review, accept_good
from syphus.coldstart.state import Candidate
from syphus.forms import Pair

PAIRS = (Pair(question="What?", answer="That."),)


def candidate(key, score=0.5):
    return Candidate(
        key=key, request=key, model="m", context=Notes(id=key), pairs=PAIRS, score=score
    )


def review(keys="abcd", want=2, **options):
    return Review(tuple(map(candidate, keys)), want, clock=lambda: "now", **options).begin()


def actions(some):
    return [(one.action, one.candidate) for one in some.decisions]


def test_deciding_goes_on_to_the_next_one():
    some = review().accept().reject()
    assert some.current.key == "c"
    assert actions(some) == [("accept", "a"), ("reject", "b")]
    assert [one.key for one in some.open] == ["c", "d"]


def test_it_ends_when_enough_are_accepted():
    some = review().accept()
    assert not some.is_over
    assert some.edit({"x": 1}, 0.9).is_full


def test_it_ends_when_no_candidate_is_left():
    some = review("ab").skip().reject()
    assert some.is_over
    assert not some.is_full
    assert [one.key for one in some.open] == ["a"]


def test_what_was_skipped_is_shown_again_the_next_time():
    some = review().skip().accept()
    again = review(decisions=some.decisions)
    assert again.current.key == "a"
    assert again.accept().is_full


def test_undo_takes_decisions_back_one_by_one_and_is_a_decision_itself():
    some = review().accept().reject().undo()
    assert some.current.key == "b"
    some = some.undo()
    assert some.current.key == "a"
    assert some.standing == {}
    assert actions(some)[2:] == [("undo", "b"), ("undo", "a")]
    assert some.undo() is some


def test_a_decision_can_be_replaced_by_going_back_and_undo_restores_it():
    some = review().reject().back()
    assert (some.current.key, some.standing["a"].action) == ("a", "reject")
    some = some.accept()
    assert (some.current.key, some.standing["a"].action) == ("b", "accept")
    assert some.undo().standing["a"].action == "reject"


def test_back_stays_at_the_first():
    assert review().back().current.key == "a"


def test_a_review_goes_on_where_another_one_was():
    some = review().accept()
    assert review(decisions=some.decisions).current.key == "b"


def test_the_best_are_accepted_as_far_as_they_are_good_and_usable():
    candidates = tuple(candidate(str(score), score) for score in (0.9, 0.85, 0.8, 0.79))
    some = Review(candidates, 5)
    decided = accept_good(some, 0.8, lambda _, one: one.score != 0.85)
    assert [one.candidate for one in decided.accepted] == ["0.9", "0.8"]
    assert actions(accept_good(Review(candidates, 1), 0.8, lambda *_: True)) == [("accept", "0.9")]


def test_a_person_s_no_is_stronger_than_a_score():
    some = review("ab", want=2).reject()
    decided = accept_good(some, 0.1, lambda *_: True)
    assert [one.candidate for one in decided.accepted] == ["b"]
