"""What is true of every form."""

import gc
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.errors import ReplyError
from syphus.forms import FORMS, Pair
from syphus.parse import parse_pairs
from syphus.request import Shape

CHARACTERS = st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S", "Zs")) | st.sampled_from(
    ":：\"'“”[]{}(),，.?*_#`~>|-\\/<>；猫問답سج١1２😀 "
)  # fmt: skip
LINE = st.text(CHARACTERS, max_size=30).map(lambda text: f"x{text}x")


@st.composite
def choice(draw):
    options = draw(st.lists(LINE, min_size=2, max_size=5, unique_by=_folded))
    return Pair(question=draw(LINE), answer=draw(st.sampled_from(options)), options=tuple(options))


def _folded(text):
    import unicodedata

    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@st.composite
def conversations(draw):
    head = st.fixed_dictionaries(
        {"topic": LINE | st.just(""), "role": LINE | st.just(""), "reason": LINE | st.just("")}
    )
    rounds = st.lists(st.tuples(LINE, LINE), min_size=1, max_size=3)
    found = draw(st.lists(st.tuples(head, rounds), min_size=1, max_size=3))
    return [
        Pair(question=question, answer=answer, conversation=number, **head)
        for number, (head, rounds) in enumerate(found)
        for question, answer in rounds
    ]


def some(pair):
    return st.lists(pair, min_size=1, max_size=5)


REPLIES = st.one_of(
    st.tuples(st.just("pairs"), some(st.tuples(LINE, LINE).map(lambda said: Pair(*said)))),
    st.tuples(st.just("choices"), some(choice())),
    st.tuples(st.just("conversations"), conversations()),
    st.tuples(st.just("texts"), some(LINE.map(lambda answer: Pair("", answer)))),
)


@given(REPLIES)
def test_whatever_is_written_is_read_back(reply):
    form, pairs = reply
    assert FORMS[form].read(FORMS[form].write(pairs)) == pairs


@given(REPLIES, st.booleans(), st.sampled_from([None, 2]))
def test_whatever_is_json_is_read_back(reply, ascii_only, indent):
    form, pairs = reply
    text = json.dumps(FORMS[form].value(pairs), ensure_ascii=ascii_only, indent=indent)
    assert FORMS[form].read(text) == pairs
    assert FORMS[form].read(f"Here you are:\n```json\n{text}\n```") == pairs


@given(REPLIES, st.floats(0, 1), st.sampled_from([None, 2]))
def test_the_begin_of_a_reply_in_json_has_the_first_of_its_pairs(reply, part, indent):
    form, pairs = reply
    text = json.dumps(FORMS[form].value(pairs), ensure_ascii=False, indent=indent)
    begin = text[: int(part * len(text))]
    found = FORMS[form].read(begin)
    assert found == pairs[: len(found)]
    try:
        kept = parse_pairs(begin, shape=Shape(), form=form, finish_reason="length")
    except ReplyError:
        kept = ()
    assert kept == tuple(found[: len(kept)])


@given(REPLIES, st.floats(0, 1))
def test_a_reply_in_lines_that_is_cut_off_has_whole_pairs_only(reply, part):
    form, pairs = reply
    text = FORMS[form].write(pairs)
    begin = text[: int(part * len(text))]
    try:
        kept = parse_pairs(begin, shape=Shape(), form=form, finish_reason="length")
    except ReplyError:
        return
    assert kept == tuple(pairs[: len(kept)])


@given(
    st.text() | st.text(CHARACTERS),
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(["stop", "length"]),
)
def test_any_text_is_either_pairs_or_an_error_that_keeps_it(text, form, finish_reason):
    reply = None
    try:
        pairs = parse_pairs(text, shape=Shape(), form=form, finish_reason=finish_reason)
    except ReplyError as error:
        pairs, reply = (), error.reply
    assert pairs or reply == text


HOSTILE = {
    "brackets": "[",
    "braces": '{"a":',
    "nested": "[{",
    "closers": "]}",
    "backticks": "`",
    "fences": "```\n",
    "quotes": '["',
    "escaped quotes": '["\\"[',
    "keys": '["x":',
    "apostrophes": "['’",
    "comments": "[/*",
    "line comments": "[//",
    "stars": "*",
    "spaces": "Question          ",
    "empty lines": "\n",
    "labels": "Question:\n",
    "pairs": "Q:x\nA:y\n",
    "on one line": "Q: x? A: y. ",
    "numbers": "1. ",
    "numbered lines": "1. x\n",
    "options": "A) x\n",
    "letters": "A: x\nB: y\n",
    "thoughts": "<think>\n",
    "thought": "<think></think>",
    "ends of thoughts": "</think>\n",
    "conversations": "Conversation 1: x\nHuman: y\n",
    "topics": "Topic:\nHuman: y\nAssistant: z\n",
    "digits": "9",
    "json": '{"question":"x","answer":"y"},',
    "wrapped": "'\"",
    "rules": "Answer: x\n---\n",
    "ideographs": "問",
}  # fmt: skip


WORST = ["braces", "quotes", "apostrophes", "pairs", "stars"]


def _seconds(form, text):
    """Time the reading alone: not other threads, and no search for garbage among all that other tests left."""
    gc.disable()
    try:
        started = time.thread_time()
        FORMS[form].read(text)
        return time.thread_time() - started
    finally:
        gc.enable()


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_reply_is_read_in_no_time(form, what):
    """What takes a time that grows with the square of the length takes far more here."""
    text = HOSTILE[what] * (100_000 // len(HOSTILE[what]))
    assert _seconds(form, text) < 2
    assert _seconds(form, f"Question: {text[:30_000]}") < 1


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("what", WORST)
def test_a_hostile_reply_of_a_megabyte_is_read_in_no_time(form, what):
    assert _seconds(form, HOSTILE[what] * (1_000_000 // len(HOSTILE[what]))) < 2


def _objects(schema):
    yield from [schema] if schema["type"] == "object" else []
    for inner in [
        *schema.get("properties", {}).values(),
        *([schema["items"]] if "items" in schema else []),
    ]:
        yield from _objects(inner)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_schemas_are_strict(form):
    schema = FORMS[form].schema(Shape(2, 6, rounds=2, options=4))
    assert schema["type"] == "object"
    for thing in _objects(schema):
        assert thing["additionalProperties"] is False
        assert thing["required"] == list(thing["properties"])


ANCESTORS = os.environ.get("MIMICIT_ANCESTOR_PROMPTS", "")
OTHER_FORMS = {
    "funqa_mcqa": "choices",
    "funqa_translation": "texts",
    "scene_navigation": "conversations",
}


@pytest.mark.skipif(
    not ANCESTORS, reason="set MIMICIT_ANCESTOR_PROMPTS to a folder of prompts with examples"
)
def test_the_ancestors_examples_are_read():
    for path in sorted(Path(ANCESTORS).glob("*.json")):
        form = OTHER_FORMS.get(path.stem, "pairs")
        for message in json.loads(path.read_text(encoding="utf-8"))["in_context"]:
            if form == "conversations" and message["role"] == "user":
                found = FORMS[form].read(message["content"])
                assert [pair.conversation for pair in found] == [0, 0, 1, 1]
            elif form != "conversations" and message["role"] == "assistant":
                for text in _written(message["content"]):
                    assert len(FORMS[form].read(text)) == _expected(form, message["content"]), (
                        path.name
                    )


def _written(content):
    if isinstance(content, str):
        return [content]
    lines = [f"{key}: {value}" for entry in content for key, value in entry.items()]
    return [
        "\n".join(lines),
        json.dumps(content),
        json.dumps(content, ensure_ascii=False, indent=1),
    ]


def _expected(form, content):
    if isinstance(content, str):
        return content.count("Question:")
    return sum(len(entry) for entry in content) if form == "texts" else len(content)
