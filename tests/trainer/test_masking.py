import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.labels import answer_labels
from trainer.models.loss import IGNORED

ANSWER, END = 1, 2
_ = IGNORED


@pytest.mark.parametrize(
    ("input_ids", "labels"),
    [
        pytest.param([5, 6, 1, 7, 8, 2], [_, _, _, 7, 8, 2], id="one turn"),
        pytest.param([5, 1, 7, 2, 6, 1, 8, 2], [_, _, 7, 2, _, _, 8, 2], id="two turns"),
        pytest.param([5, 1, 7, 8], [_, _, 7, 8], id="cut: taught as far as it goes, and no end"),
        pytest.param([5, 1], [_, _], id="cut right after the mark"),
        pytest.param([5, 1, 2, 6], [_, _, 2, _], id="an empty answer ends at once"),
        pytest.param([5, 2, 6], [_, _, _], id="an end without an answer"),
        pytest.param([1, 7, 1, 8, 2], [_, 7, _, 8, 2], id="the mark itself is never taught"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_only_answers_are_labelled(input_ids, labels):
    assert answer_labels(input_ids, answer=ANSWER, end=END) == labels


@given(st.lists(st.integers(min_value=0, max_value=6)))
def test_a_token_is_taught_exactly_if_its_answer_has_begun_and_not_ended(input_ids):
    labels = answer_labels(input_ids, answer=ANSWER, end=END)

    for position, (token, label) in enumerate(zip(input_ids, labels, strict=True)):
        before = input_ids[:position]
        last_mark = max((at for at, other in enumerate(before) if other == ANSWER), default=None)
        is_taught = token != ANSWER and last_mark is not None and END not in before[last_mark:]
        assert label == (token if is_taught else IGNORED)
