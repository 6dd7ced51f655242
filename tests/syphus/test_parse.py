import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.errors import ReplyError
from syphus.parse import parse_pairs
from syphus.render import render_pairs
from syphus.request import Shape
from syphus.task import Pair

TWO = (
    Pair(question="What is it?", answer="A cat."),
    Pair(question="Where?", answer="On a sofa: the red one."),
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Question: What is it?\nAnswer: A cat.\n\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="plain"),
        pytest.param("Question: What is it?\nAnswer: A cat.\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="no blank line"),
        pytest.param("Sure! Here you are:\n\n1. Question: What is it?\n   Answer: A cat.\n2. Question: Where?\n   Answer: On a sofa: the red one.", id="numbers"),
        pytest.param("**Question 1:** What is it?\n**Answer 1:** A cat.\n\n**Question 2:** Where?\n**Answer 2:** On a sofa: the red one.", id="markdown"),
        pytest.param("### Question: What is it?\n- **Answer**: A cat.\n### Question: Where?\n- **Answer**: On a sofa: the red one.", id="headings"),
        pytest.param("Q: What is it?\nA: A cat.\nQ: Where?\nA: On a sofa: the red one.", id="letters"),
        pytest.param("Q1: What is it?\nA1: A cat.\nQ2: Where?\nA2: On a sofa: the red one.", id="lettered numbers"),
        pytest.param("QUESTION： What is it?\nANSWER： A cat.\nquestion: Where?\nanswer: On a sofa: the red one.", id="full width"),
        pytest.param("```\nQuestion: What is it?\nAnswer: A cat.\n\nQuestion: Where?\nAnswer: On a sofa: the red one.\n```", id="fence"),
        pytest.param('[{"question": "What is it?", "answer": "A cat."}, {"Question": "Where?", "Answer": "On a sofa: the red one."}]', id="json"),
        pytest.param('```json\n{"pairs": [{"question": "What is it?", "answer": "A cat."}, {"q": "Where?", "a": "On a sofa: the red one."}]}\n```', id="json in a fence"),
        pytest.param("Question: What is it?\r\nAnswer: A cat.\r\n\r\nQuestion: Where?\r\nAnswer: On a sofa: the red one.\r\n", id="windows"),
        pytest.param("Question: What is it?\nAnswer:\nA cat.\n\nQuestion:\nWhere?\nAnswer: On a sofa: the red one.\n\nAnswer: Stray.", id="next line"),
    ],
)  # fmt: skip
def test_many_ways_to_write_the_same_pairs(text):
    assert parse_pairs(text, shape=Shape(2, 4)) == TWO


def test_an_answer_may_have_several_lines():
    [pair] = parse_pairs("Question: Why?\nAnswer: First.\nSecond.\n\n- Third.", shape=Shape(1, 1))
    assert pair.answer == "First.\nSecond.\n\n- Third."


def test_surplus_pairs_are_left_out():
    assert parse_pairs(render_pairs([*TWO, *TWO]), shape=Shape(1, 3)) == (*TWO, TWO[0])


def test_the_last_pair_of_a_cut_reply_is_left_out():
    assert parse_pairs(render_pairs(TWO), shape=Shape(1, 3), finish_reason="length") == TWO[:1]


@pytest.mark.parametrize(
    "text", ["", "Sorry.", "Question: What?", "Answer: A cat.", "Question:\nAnswer:", "[{]", '{"question": 1}', "["]
)  # fmt: skip
def test_a_reply_without_pairs_is_an_error_that_keeps_it(text):
    with pytest.raises(ReplyError) as caught:
        parse_pairs(text, shape=Shape(1, 3))
    assert caught.value.reply == text


LINE = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1).map(
    lambda text: f"x{text}x"
)


@given(st.lists(st.builds(Pair, question=LINE, answer=LINE), min_size=1, max_size=5))
def test_whatever_is_rendered_is_parsed_back(pairs):
    assert parse_pairs(render_pairs(pairs), shape=Shape(1, 5)) == tuple(pairs)


@given(st.text())
def test_any_text_is_either_pairs_or_an_error_that_keeps_it(text):
    reply = None
    try:
        pairs = parse_pairs(text, shape=Shape(1, 5))
    except ReplyError as error:
        pairs, reply = (), error.reply
    assert pairs or reply == text
