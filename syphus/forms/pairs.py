"""Question and answer, several times.

Question: What is on the sofa?
Answer: A cat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import syphus.forms.words as words
from syphus.forms.clean import says_something
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
    return read_either(text, _LABELS, from_parts=_from_parts, from_value=_from_value)


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
