"""Question and answer, several times.

Question: What is on the sofa?
Answer: A cat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import syphus.forms.words as words
from syphus.forms.clean import clean, says_something, stripped
from syphus.forms.lines import Labels, Part, pair_up
from syphus.forms.loose_json import Object
from syphus.forms.pair import Pair
from syphus.forms.reading import own_pairs, pairs_of_turns, read_either, turn
from syphus.forms.wanted import QUESTION, TEXT, answer, finish, list_of, object_of, times
from syphus.request import Shape

_LABELS = Labels(
    {
        "between": words.BETWEEN,
        "question": f"{words.QUESTION}|{words.ASKER}",
        "answer": f"{words.ANSWER}|{words.ANSWERER}",
    },
    headings=f"{words.QUESTION}|{words.ANSWER}",
    rare={"question": words.RARE_QUESTION, "answer": words.RARE_ANSWER},
)

# A text that begins with a letter or digit is wrapped in nothing.
_TWO_LINES = re.compile(r"Question: ([^\W_][^\n]*+)\nAnswer: ([^\W_][^\n]*+)(?:\n++|\Z)")
_ALL_LINES = re.compile(rf"(?:{_TWO_LINES.pattern})++\Z")
_ODD = re.compile(r"[<\x00-\x08\x0b-\x1f\x7f]")
"""What needs a closer look: thoughts between tags, control characters."""
_LONGEST = 100_000
"""Characters; the tolerant reader has limits of its own, none of which a shorter text comes near in two lines a pair."""


def describe(shape: Shape) -> str:
    return (
        "Write each pair as two lines, with an empty line between pairs:\n\n"
        "Question: ...?\nAnswer: ..."
    )


def write(pairs: Sequence[Pair]) -> str:
    return "\n\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in pairs)


def value(pairs: Sequence[Pair]) -> Any:
    return {"pairs": [{"question": pair.question, "answer": pair.answer} for pair in pairs]}


def schema(shape: Shape) -> dict[str, Any]:
    pair = object_of(question=TEXT, answer=TEXT)
    return object_of(pairs=list_of(pair, shape.min_pairs, shape.max_pairs))


def grammar(shape: Shape, *, end: str = "") -> str:
    more = times(shape.min_pairs - 1, shape.max_pairs - 1)
    return "\n".join(
        (
            rf'root ::= pair ("\n\n" pair){more}{finish(end)}',
            r'pair ::= "Question: " question "\nAnswer: " answer',
            QUESTION,
            answer(shape),
        )
    )


def read(text: str) -> list[Pair]:
    return _read_as_asked(text) or _read_anything(text)


def _read_anything(text: str) -> list[Pair]:
    return read_either(text, _LABELS, from_parts=_from_parts, from_value=_from_value)


def _read_as_asked(text: str) -> list[Pair]:
    """Read a reply that is exactly what was asked for, as most are, at a tenth of the time; nothing of any other.

    What it reads is what `_read_anything` would read: a test compares them.
    """
    if len(text) > _LONGEST:
        return []
    if text.startswith("{"):
        return _read_object(text)
    if _ODD.search(text) or not _ALL_LINES.match(text):
        return []
    return [
        Pair(stripped(question), stripped(answer)) for question, answer in _TWO_LINES.findall(text)
    ]


def _read_object(text: str) -> list[Pair]:
    import orjson

    if (
        "<" in text or "\r" in text or "\x7f" in text
    ):  # other control characters are none that JSON may hold
        return []
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    items = value.get("pairs") if type(value) is dict and len(value) == 1 else None
    if type(items) is not list:
        return []
    found = []
    for item in items:
        if type(item) is not dict or len(item) != 2:
            return []
        question, answer = item.get("question"), item.get("answer")
        if type(question) is not str or type(answer) is not str:
            return []
        for said in (question, answer):
            # What is printable, begins with a letter or digit and ends without a space is clean.
            if not (said.isprintable() and said[:1].isalnum() and said[-1] != " "):
                question, answer = clean(question), clean(answer)
                if not says_something(question) or not says_something(answer):
                    return []
                break
        found.append(Pair(question, answer))
    # Where a key stands twice, orjson keeps one value, and the tolerant reader both.
    bare = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text
    return found if bare.count('"') == 2 + 8 * len(found) else []


def _from_parts(parts: list[Part]) -> list[Pair]:
    return _pairs(pair_up(parts, _LABELS))


def _from_value(value: Any) -> list[Pair]:
    """Read lists of pairs or of messages, however deep; an object without an end is not read."""
    if isinstance(value, list):
        found = []
        turns: list[tuple[str, str]] = []
        for item in value:
            spoken = turn(item, _LABELS)
            if spoken[1]:
                turns.append(spoken)
            else:
                found += _from_value(item)
        return found + _pairs(pairs_of_turns(iter(turns)))
    if not isinstance(value, Object):
        return []
    if own := own_pairs(value, _LABELS):
        return _pairs(own) if value.closed else []
    return [pair for _, item in value.members for pair in _from_value(item)]


def _pairs(found: Iterable[tuple[str, str]]) -> list[Pair]:
    return [
        Pair(question=question, answer=answer)
        for question, answer in found
        if says_something(question) and says_something(answer)
    ]
