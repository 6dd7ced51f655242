"""The short way to read a reply: whatever it reads, the tolerant reader reads alike."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syphus.forms import Pair, pairs

LINES = "Question: What is it?\nAnswer: A cat.\n\nQuestion: Where?\nAnswer: On a sofa: the red one."
PAIRS = [
    Pair(question="What is it?", answer="A cat."),
    Pair(question="Where?", answer="On a sofa: the red one."),
]
WHOLE = json.dumps(pairs.value(PAIRS))


def agree(text):
    quick = pairs._read_as_asked(text)
    assert not quick or quick == pairs._read_anything(text)
    return quick


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES + "\n",
        LINES.replace("\n\n", "\n"),
        LINES.replace("\nA", " \nA"),
        WHOLE,
        WHOLE + "\n",
        json.dumps(pairs.value(PAIRS), indent=2),
        json.dumps(pairs.value(PAIRS)).replace("red", "\\u0072\\u0065d"),
    ],
)
def test_what_was_asked_for_is_read_the_short_way(text):
    assert agree(text) == PAIRS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"pairs": []}',
        LINES.removeprefix("Question: "),
        LINES.removesuffix("Answer: On a sofa: the red one."),
        "Here they are:\n" + LINES,
        LINES.replace("A cat.", "<think>A cat.</think>"),
        LINES.replace("A cat.", "A cat.\nIt sleeps."),
        LINES.replace("A cat.", "A\x00 cat."),
        LINES.replace("\n", "\r\n"),
        LINES.replace("A cat.", "**A cat.**"),
        WHOLE[:-1],
        WHOLE.replace('"A cat."', "1"),
        WHOLE.replace('"A cat."', '"…"'),
        WHOLE.replace('"A cat."', '"A cat.", "answer": "A dog."'),
        WHOLE.replace('"A cat."', '"A cat.", "answ\\u0065r": "A dog."'),
        WHOLE.replace('"A cat."', '"A cat.", "note": "A dog."'),
        WHOLE.replace("A cat.", "\\ud800"),
        f"[{WHOLE}]",
        "Question: a\nAnswer: b\n" * 9_000,
    ],
)
def test_anything_else_is_left_to_the_tolerant_reader(text):
    assert agree(text) == []


pieces = st.sampled_from(
    [
        "Question: ", "Answer: ", "Question", "Answer", ": ", "\n", "\n\n", " ", "\t", "1", "(2) ", "- ",
        "**", '"', "'", "“", "_", "?", ".", "{", "[", "```", "```json\n", "Q: ", "A: ", "Pair 1", "note: ",
        "What is it", "A cat", "é", "猫", "\u200b", "\ufeff", "\x85", "\u2028", "\\", "\\n", "答案：", "x < y",
    ]
)  # fmt: skip
said = st.lists(pieces, min_size=1, max_size=6).map("".join)
plain = st.builds(
    "Question: {}\nAnswer: {}{}".format, said, said, st.sampled_from(["\n", "\n\n", ""])
)


@settings(max_examples=400)
@given(st.lists(plain, max_size=4).map("".join) | st.lists(pieces, max_size=30).map("".join))
def test_lines_are_read_alike(text):
    agree(text)


texts = st.lists(pieces | st.text(max_size=4), max_size=6).map("".join)
members = st.dictionaries(st.sampled_from(["question", "answer"]), texts, min_size=2)
values = st.fixed_dictionaries({"pairs": st.lists(members, max_size=4)})


@settings(max_examples=400)
@given(
    values,
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["", "\n", " ", "}", ",", '{"question": "x"}', "Answer: x"]),
)
@example({"pairs": [{"question": "a", "answer": "b"}]}, None, False, "")
def test_json_is_read_alike(value, indent, ascii_only, after):
    agree(json.dumps(value, indent=indent, ensure_ascii=ascii_only) + after)
