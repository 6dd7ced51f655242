"""English words that mean the same, or of which one means a kind of the other, by WordNet's files."""

from __future__ import annotations

from functools import cache, lru_cache

from mimicit.curate.wordnet import file_of, lines_of

_SENSES_USED = 4
"""Of a word: rarer ones would make synonyms of strangers."""
_FILES = {"noun": "@", "verb": "@", "adj": "&"}
"""Part of speech -> the pointer of WordNet's to what is wider, or similar."""


@lru_cache(100_000)
def related(one: str, other: str) -> bool:
    """Say whether two base forms share a sense, or one means a kind of the other."""
    if one == other:
        return True
    for part in _FILES:
        mine, theirs = set(_senses(one, part)), set(_senses(other, part))
        if mine & theirs or mine & _wider(theirs, part) or theirs & _wider(mine, part):
            return True
    return False


def _wider(senses: set[int], part: str) -> set[int]:
    levels = 2 if part == "noun" else 1
    found: set[int] = set()
    for _ in range(levels):
        senses = {wider for sense in senses for wider in _pointers(sense, part)}
        found |= senses
    return found


@cache
def _index(part: str) -> dict[str, tuple[int, ...]]:
    """Return each lemma's senses, as places in the file of senses."""
    found = {}
    for line in lines_of(f"index.{part}"):
        if line[0] != " ":  # as lines of the licence begin
            cells = line.split()
            senses = cells[len(cells) - int(cells[2]) :]
            found[cells[0]] = tuple(map(int, senses[:_SENSES_USED]))
    return found


def _senses(word: str, part: str) -> tuple[int, ...]:
    return _index(part).get(word, ())


@cache
def _data(part: str) -> bytes:
    """Return a file of senses."""
    return file_of(f"data.{part}")


@lru_cache(100_000)
def _pointers(sense: int, part: str) -> tuple[int, ...]:
    data = _data(part)
    cells = data[sense : data.index(b"\n", sense)].decode().split()
    begin = 4 + 2 * int(cells[3], 16)
    count = int(cells[begin])
    rows = [cells[begin + 1 + 4 * n : begin + 5 + 4 * n] for n in range(count)]
    return tuple(int(place) for pointer, place, *_ in rows if pointer == _FILES[part])
