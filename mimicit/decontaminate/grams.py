"""Runs of words, as numbers: of thousands of texts at once, and the same on every machine.

Words are what is left between spaces once case, punctuation and spacing are equal; of Chinese, Japanese and Thai, each letter is
one. A word is a number made of its bytes; a run of n of them is one made of theirs, and so is a whole text. No two of a billion runs
have the same by chance, so texts are not compared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

_BASES = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)
"""Odd: of letters in a word, words in a run, words in a text."""
_LONG = 4_096
"""Bytes of a word, or words of a text, after which powers begin again."""
_ALONE = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}])"
MARK = "<image>"


@dataclass(frozen=True, slots=True)
class Words:
    """Of several texts, one after the other."""

    word: np.ndarray
    """uint64."""
    start: np.ndarray
    """Texts + 1 places in it."""

    @property
    def count(self) -> np.ndarray:
        """Of each text."""
        import numpy as np

        found: np.ndarray = np.diff(self.start)
        return found


def words(texts: pyarrow.Array) -> Words:
    """Cut texts into words."""
    import numpy as np

    from mimicit.curate.sketch import _normal

    data, starts, _ = _normal(_apart(texts))
    if not len(data):
        return Words(np.zeros(0, np.uint64), np.zeros(len(texts) + 1, np.int64))
    letter = data != ord(" ")
    begins = letter.copy()
    begins[1:] &= ~letter[:-1]
    first = starts[:-1][starts[:-1] < starts[1:]]
    begins[first] = letter[first]
    number = np.cumsum(begins)
    at = np.flatnonzero(begins)
    where = np.arange(len(data)) - at[np.maximum(number - 1, 0)]
    value = data * _powers(0)[where & (_LONG - 1)]
    value[~letter] = 0
    before = np.concatenate([[0], number])
    found = np.add.reduceat(value, at) if len(at) else np.zeros(0, np.uint64)
    return Words(_spread(found), before[starts])


def taken(given: Words, rows: np.ndarray) -> Words:
    """Return some of the texts."""
    import numpy as np

    count = given.count[rows]
    start = np.concatenate([[0], np.cumsum(count)])
    place = np.arange(start[-1]) + np.repeat(given.start[rows] - start[:-1], count)
    return Words(given.word[place], start)


def joined(parts: Sequence[Words]) -> Words:
    """Return texts one after the other."""
    import numpy as np

    count = np.concatenate([part.count for part in parts])
    word = np.concatenate([part.word for part in parts])
    return Words(word, np.concatenate([[0], np.cumsum(count)]))


def runs(given: Words, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of so many words, and the text of each."""
    import numpy as np

    count = given.count
    text = np.repeat(np.arange(len(count)), np.maximum(count - length + 1, 0))
    here = np.maximum(count - length + 1, 0)
    begin = np.arange(len(text)) - np.repeat(np.cumsum(here) - here, here) + given.start[text]
    found = np.zeros(len(begin), np.uint64)
    for n in range(length):
        found = found * np.uint64(_BASES[1]) + given.word[begin + n]
    return _spread(found), text


def digests(given: Words) -> np.ndarray:
    """Return a number for each text, the same for the same words; of 63 bits, and 0 for no word."""
    import numpy as np

    count = given.count
    where = np.arange(len(given.word)) - np.repeat(given.start[:-1], count)
    value = given.word * _powers(2)[where & (_LONG - 1)]
    some = count > 0
    found = np.zeros(len(count), np.uint64)
    if some.any():
        found[some] = np.add.reduceat(value, given.start[:-1][some])
        found[some] = _spread(found[some] + count[some].astype(np.uint64))
    signed: np.ndarray = (found >> np.uint64(1)).astype(np.int64)
    return signed


def _apart(texts: pyarrow.Array) -> pyarrow.Array:
    """Take the marks of pictures out, and set letters that are words apart."""
    import pyarrow.compute as pc

    texts = pc.replace_substring(pc.fill_null(texts, ""), pattern=MARK, replacement=" ")
    other = pc.invert(pc.string_is_ascii(texts))
    if pc.any(other).as_py():
        alone = pc.replace_substring_regex(texts.filter(other), pattern=_ALONE, replacement=r" \1 ")
        texts = pc.replace_with_mask(texts, other, alone)
    return texts


_POWERS: dict[int, Any] = {}


def _powers(base: int) -> Any:
    import numpy as np

    if base not in _POWERS:
        found = np.full(_LONG, _BASES[base], np.uint64)
        found[0] = 1
        _POWERS[base] = np.multiply.accumulate(found)
    return _POWERS[base]


def _spread(values: np.ndarray) -> np.ndarray:
    import numpy as np

    values = values * np.uint64(_BASES[0])
    values ^= values >> np.uint64(29)
    values *= np.uint64(_BASES[2])
    values ^= values >> np.uint64(32)
    return values


class Index:
    """Runs of the texts that are looked for, and in which of them each is."""

    def __init__(self, run: np.ndarray, text: np.ndarray) -> None:
        """Make it.

        Args:
            run: Of words.
            text: The number of its text.
        """
        import numpy as np

        order = np.lexsort((text, run))
        run, text = run[order], text[order]
        first = np.ones(len(run), bool)
        first[1:] = (run[1:] != run[:-1]) | (text[1:] != text[:-1])
        run, self._text = run[first], text[first].astype(np.int64)
        self._run, begin = np.unique(run, return_index=True)
        self._start = np.append(begin, len(run))
        # Nearly all runs of words are none of these, which a look at some of their bits tells.
        bits = min(26, max(16, len(self._run).bit_length() + 5))
        self._mask = np.uint64((1 << bits) - 1)
        self._some = np.zeros(1 << bits, bool)
        self._some[self._run & self._mask] = True

    def found(self, given: Words, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return texts that have runs of ours, which of ours has them, and how many different ones."""
        import numpy as np

        run, text = runs(given, length)
        likely = self._some[run & self._mask]
        run, text = run[likely], text[likely]
        at = np.minimum(np.searchsorted(self._run, run), len(self._run) - 1)
        same = self._run[at] == run if len(self._run) else np.zeros(len(run), bool)
        pair = np.unique(text[same] * len(self._run) + at[same])
        text, at = pair // max(1, len(self._run)), pair % max(1, len(self._run))
        many = self._start[at + 1] - self._start[at]
        where = np.repeat(self._start[at] - (np.cumsum(many) - many), many) + np.arange(many.sum())
        width = int(self._text.max(initial=0)) + 1
        both, count = np.unique(
            np.repeat(text, many) * width + self._text[where], return_counts=True
        )
        return both // width, both % width, count
