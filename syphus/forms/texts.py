"""Numbered texts: several answers to one question that is known, such as translations of a sentence.

1. A white cat lies on a sofa.
2. On a sofa there is a white cat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import syphus.forms.words as words
from syphus.forms.clean import says_something
from syphus.forms.lines import Labels, Part
from syphus.forms.loose_json import Number, Object
from syphus.forms.pair import Pair
from syphus.forms.patterns import lazily
from syphus.forms.reading import read_either, said
from syphus.forms.wanted import TEXT, finish, list_of, object_of
from syphus.request import Shape

_LABELS = Labels({"text": f"{words.TEXT}|{words.ANSWER}"}, bare=True)
_BULLET = lazily(r"^\s{0,8}[*•·‣▪●+–-]\s+(?P<text>.*)$")


def describe(shape: Shape) -> str:
    return "Write each text as one line that begins with its number:\n\n1. ...\n2. ..."


def write(pairs: Sequence[Pair]) -> str:
    return "\n".join(f"{number}. {pair.answer}" for number, pair in enumerate(pairs, start=1))


def value(pairs: Sequence[Pair]) -> Any:
    return {"texts": [pair.answer for pair in pairs]}


def schema(shape: Shape) -> dict[str, Any]:
    return object_of(texts=list_of(TEXT, shape.min_pairs, shape.max_pairs))


def grammar(shape: Shape, *, end: str = "") -> str:
    """Describe in GBNF lines numbered from 1; those that a reply may leave out stand in each other."""
    line = [f'"{"" if n == 1 else chr(92) + "n"}{n}. " text' for n in range(1, shape.max_pairs + 1)]
    needed, further = line[: shape.min_pairs], line[shape.min_pairs :]
    nested = "".join(f" ({one}" for one in further) + ")?" * len(further)
    return "\n".join(
        (
            f"root ::= {' '.join(needed)}{nested}{finish(end)}",
            r"text ::= [^ \n.!?:#*] [^\n.!?:#*]{3,240} [.!?]",
        )
    )


def read(text: str) -> list[Pair]:
    found = read_either(text, _LABELS, from_parts=_from_parts, from_value=_from_value)
    return found or _bullets(text)


def _from_parts(parts: list[Part]) -> list[Pair]:
    return _pairs(part.text for part in parts if part.kind == "text" or part.number.isnumeric())


def _from_value(value: Any) -> list[Pair]:
    """Read every text in lists and objects, in their order: a text is whole where its quote is closed."""
    if isinstance(value, list):
        return [pair for item in value for pair in _from_value(item)]
    if isinstance(value, Object):
        return [pair for _, item in value.members for pair in _from_value(item)]
    return [] if isinstance(value, Number) else _pairs([said(value)])


def _bullets(text: str) -> list[Pair]:
    return _pairs(said(line["text"]) for one in text.splitlines() if (line := _BULLET.match(one)))


def _pairs(texts: Iterable[str]) -> list[Pair]:
    return [Pair(question="", answer=text) for text in texts if says_something(text)]
