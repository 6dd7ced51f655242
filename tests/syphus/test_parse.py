import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.errors import ReplyError
from syphus.forms import FORMS, Pair
from syphus.parse import parse_pairs
from syphus.request import Shape

write = FORMS["pairs"].write

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
    assert parse_pairs(write([*TWO, *TWO]), shape=Shape(1, 3)) == (*TWO, TWO[0])


def test_the_last_pair_of_a_cut_reply_is_left_out():
    assert parse_pairs(write(TWO), shape=Shape(1, 3), finish_reason="length") == TWO[:1]


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


@given(st.lists(st.tuples(LINE, LINE).map(lambda said: Pair(*said)), min_size=1, max_size=5))
def test_whatever_is_rendered_is_parsed_back(pairs):
    assert parse_pairs(write(pairs), shape=Shape(1, 5)) == tuple(pairs)


@given(st.text())
def test_any_text_is_either_pairs_or_an_error_that_keeps_it(text):
    reply = None
    try:
        pairs = parse_pairs(text, shape=Shape(1, 5))
    except ReplyError as error:
        pairs, reply = (), error.reply
    assert pairs or reply == text


def test_json_that_is_cut_off_keeps_its_last_whole_pair():
    text = '[{"question": "What is it?", "answer": "A cat."}, {"question": "Where?", "answer": "On'
    assert parse_pairs(text, shape=Shape(1, 3), finish_reason="length") == TWO[:1]


def test_a_pair_is_whole_where_the_next_one_has_begun():
    text = write(TWO[:1]) + "\n\nQuestion: Whe"
    assert parse_pairs(text, shape=Shape(1, 3), finish_reason="length") == TWO[:1]


CONVERSATIONS = """\
Conversation 1: Tea
Human: What?
Assistant: Tea.

Conversation 2: Coffee
Human: What?
Assistant: Coffee.
Human: Hot?
Assistant: Yes.
Human: Now?
Assistant: Yes.

Conversation 3: Milk
Human: What?
Assistant: Milk.
Human: Cold?
Assistant: Yes.

Conversation 4: Water
Human: What?
Assistant: Water.
Human: Cold?
Assistant: Yes.
"""


def test_conversations_have_as_many_rounds_as_wanted_and_are_numbered_without_those_left_out():
    pairs = parse_pairs(CONVERSATIONS, shape=Shape(2, 5, rounds=2), form="conversations")
    assert [(pair.topic, pair.conversation) for pair in pairs] == [
        ("Coffee", 0), ("Coffee", 0), ("Milk", 1), ("Milk", 1)
    ]  # fmt: skip


def test_a_conversation_that_is_cut_off_is_left_out():
    text = CONVERSATIONS.strip()
    pairs = parse_pairs(
        text, shape=Shape(2, 8, rounds=2), form="conversations", finish_reason="length"
    )
    assert [pair.topic for pair in pairs] == ["Coffee", "Coffee", "Milk", "Milk"]


CHOICES = (
    "Question: What?\nOption 1: A cat\nOption 2: A dog\nOption 3: A fish\nAnswer: 1\n\n"
    "Question: Where?\nOption 1: Here\nOption 2: There\nAnswer: 2"
)


@pytest.mark.parametrize(
    ("options", "answers"), [(0, ["A cat", "There"]), (2, ["There"]), (3, ["A cat"])]
)
def test_questions_have_as_many_options_as_wanted(options, answers):
    pairs = parse_pairs(CHOICES, shape=Shape(1, 3, options=options), form="choices")
    assert [pair.answer for pair in pairs] == answers


@pytest.mark.parametrize(
    ("text", "form", "shape", "finish_reason", "reason"),
    [
        (write(TWO), "pairs", Shape(3, 4), "stop", "2 pairs could be read, at least 3 are needed"),
        (write(TWO), "pairs", Shape(3, 4), "length", "1 pair could be read, at least 3 are needed; the reply was cut off at its length limit"),
        ("Sorry.", "texts", Shape(1, 4), "stop", "0 texts could be read, at least 1 is needed"),
        (CONVERSATIONS, "conversations", Shape(3, 9, rounds=3), "stop", None),
        (CONVERSATIONS, "conversations", Shape(4, 9, rounds=3), "stop", "3 rounds could be read, at least 4 are needed; conversations with fewer than 3 rounds do not count"),
        (CHOICES, "choices", Shape(2, 4, options=3), "stop", "1 question with its options could be read, at least 2 are needed; questions with another number of options than 3 do not count"),
        (CHOICES[:-1] + "7", "choices", Shape(2, 4), "stop", "1 question with its options could be read, at least 2 are needed; each answer must name one of its options, and options must differ"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(text, form, shape, finish_reason, reason):
    said = None
    try:
        parse_pairs(text, shape=shape, form=form, finish_reason=finish_reason)
    except ReplyError as error:
        said = str(error)
    assert said == reason
