"""What keeps two English texts apart, however alike their vectors are.

A sentence model finds "on the left" and "on the right" nearly the same, and so are a red and a blue car to it. So of two records that are alike it is asked
whether they differ in what turns a statement around:

- negation, or the yes or no that the answer begins with, in one of them only
- other numbers, colors or persons (man, woman, boy, girl) in both
- opposites (left and right, open and closed, sit and stand, …): one in the first and another in the second
- the same words with two of them exchanged, or with the things in another order about a word that relates them: "the dog is left of the cat"
- one word in place of another that is no synonym or kind of it (WordNet): "eats a banana", "eats a sandwich"

The first three are marks of a text, compared for many pairs at once; the others look at the words of those pairs that are left. It
errs towards two records: what only says more is no contradiction, but what exchanges one thing for another is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from mimicit.curate.asks.lexicon import look_up
from mimicit.curate.meaning.synonyms import related
from mimicit.curate.meaning.words import (
    BITS,
    CLOSED,
    COLORS,
    GROUPS,
    NEGATIONS,
    NUMBERS,
    ORDER_FREE,
    PERSONS,
    RELATING,
)

if TYPE_CHECKING:
    import numpy as np

_TOKEN = re.compile(r"[a-z]+|\d+(?:[.:,]\d+)*")
_NOT = re.compile(r"n['’]t\b")
_PHRASES = (
    ("in front of", "infront"),
    ("on top of", "ontop"),
    ("cannot", "can not"),
    ("ca not", "can not"),
    ("wo not", "will not"),
    ("no longer", "not"),
    ("grey", "gray"),
)
MOST = 40
"""Words by which two texts may differ; where it is more, no single one stands in place of another."""
WORDS = (sum(mask.bit_count() for mask in GROUPS) + 62) // 63
"""Numbers of 63 bits that hold the opposites of a text."""


class Marks(NamedTuple):
    """Of texts, one row each."""

    exact: np.ndarray
    """What must be equal: negations, and yes or no."""
    sets: np.ndarray
    """Digests of numbers, colors and persons; 0 where there are none."""
    opposites: np.ndarray
    """Bits, of the answer and then of the question."""


def tokens_of(text: str) -> list[str]:
    text = _NOT.sub(" not", text.lower())
    for phrase, word in _PHRASES:
        if phrase in text:
            text = text.replace(phrase, word)
    return _TOKEN.findall(text)


def marks_of(records: Sequence[tuple[str, str]]) -> Marks:
    """Return the marks of some questions and answers."""
    import numpy as np

    rows = [_marks(*record) for record in records]
    return Marks(
        np.array([row[0] for row in rows], np.int64).reshape(len(rows)),
        np.array([row[1] for row in rows], np.int64).reshape(len(rows), 3),
        np.array([row[2] for row in rows], np.int64).reshape(len(rows), 2 * WORDS),
    )


def _marks(question: str, answer: str) -> tuple[int, list[int], list[int]]:
    said, asked = tokens_of(answer), tokens_of(question)
    numbers, colors, persons = set(), set(), set()
    for word in (*asked, *said):
        if word in NUMBERS or word[0].isdigit():
            numbers.add(NUMBERS.get(word, word))
        elif word in COLORS:
            colors.add(COLORS[word])
        elif word in PERSONS:
            persons.add(PERSONS[word])
    persons -= {"he"} if persons & {"man", "boy"} else set()
    persons -= {"she"} if persons & {"woman", "girl"} else set()
    first = said[0] if said else ""
    begins = 1 if first in ("yes", "yeah", "yep") else 2 if first in ("no", "nope") else 0
    negated = sum(word in NEGATIONS for word in said[bool(begins) :]) % 2
    asked_not = sum(word in NEGATIONS for word in asked) % 2
    sets = [
        crc32(" ".join(sorted(one)).encode()) if one else 0 for one in (numbers, colors, persons)
    ]
    opposites = [*_opposites(said), *_opposites(asked)]
    return begins + 4 * negated + 8 * asked_not, sets, opposites


def _opposites(words: list[str]) -> list[int]:
    bits = 0
    for word in words:
        bits |= BITS.get(word, 0)
    return [bits >> 63 * n & (1 << 63) - 1 for n in range(WORDS)]


def contradict(marks: Marks, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Say of many pairs of rows which ones differ in their marks."""
    import numpy as np

    found: np.ndarray = marks.exact[left] != marks.exact[right]
    one, other = marks.sets[left], marks.sets[right]
    found |= ((one != 0) & (other != 0) & (one != other)).any(axis=1)
    bits, its = marks.opposites[left], marks.opposites[right]
    for field in (0, WORDS):
        for mask in GROUPS:
            parts = [(field + n, np.int64(mask >> 63 * n & (1 << 63) - 1)) for n in range(WORDS)]
            mine, theirs, both = (
                np.any([rows[:, at] & part for at, part in parts], axis=0)
                for rows in (bits, its, bits & its)
            )
            found |= mine & theirs & ~both
    return found


# Words


def exchanged(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Say whether one of two records has other things, or the same ones in other places."""
    a, b = tokens_of(f"{one[0]} {one[1]}"), tokens_of(f"{other[0]} {other[1]}")
    answer_a, answer_b = tokens_of(one[1]), tokens_of(other[1])
    if _swapped(answer_a, answer_b) or _swapped(tokens_of(one[0]), tokens_of(other[0])):
        return True
    mine, theirs = _content(a), _content(b)
    only_mine = [word for word in mine if word not in theirs]
    only_theirs = [word for word in theirs if word not in mine]
    if min(len(only_mine), len(only_theirs)) > MOST:
        return False
    for word in list(only_mine):
        twin = next((its for its in only_theirs if related(word, its)), None)
        if twin:
            only_mine.remove(word)
            only_theirs.remove(twin)
    if len(only_mine) == len(only_theirs) == 1:
        return _of_one_kind(only_mine[0], only_theirs[0])
    things, its = _things(only_mine), _things(only_theirs)
    return len(things) == len(its) == 1


def _swapped(a: list[str], b: list[str]) -> bool:
    """Say whether two texts are of the same words, with two of them exchanged or in another order about a relation."""
    if a == b or Counter(a) != Counter(b):
        return False
    differing = [n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(differing) == 2:
        first, second = (
            differing  # "a man and a woman" may be exchanged, "white shirts and black shorts" not
        )
        return a[first + 1] not in ORDER_FREE or second == first + 1
    order = [[word for word in words if word not in CLOSED] for words in (a, b)]
    return (
        order[0] != order[1] and bool(RELATING.intersection(a)) and not ORDER_FREE.intersection(a)
    )


def _content(words: list[str]) -> dict[str, None]:
    """Return the base forms of the words that name or say something, in their order."""
    return dict.fromkeys(_base(word) for word in words if word not in CLOSED)


@lru_cache(50_000)
def _base(word: str) -> str:
    if word.endswith("ly") and look_up(word[:-2]).as_adjective:
        return word[:-2]
    known = look_up(word)
    if known.verb and known.as_verb >= known.as_noun:
        return known.verb
    return known.noun or known.verb or word


def _things(words: list[str]) -> list[str]:
    return [word for word in words if look_up(word).as_noun > 0.5]


def _of_one_kind(one: str, other: str) -> bool:
    """Say whether two words can stand in one place: nouns, verbs or adjectives; names and numbers always."""
    a, b = look_up(one), look_up(other)
    if not (a.noun or a.verb or a.as_adjective or b.noun or b.verb or b.as_adjective):
        return True
    return (
        bool((a.noun and b.noun) or (a.verb and b.verb)) or min(a.as_adjective, b.as_adjective) > 0
    )
