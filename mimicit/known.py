"""Which ids a dataset has, in some 10 bytes each: a week of writing asks for every new record.

Tables of 32-bit marks; a full one is followed by a larger one, so that none is ever copied to grow. A mark is one half
of the id's hash, its place in the table follows from the other half: of a billion questions about ids that are not there,
one or two are answered wrongly, and whoever asks looks the found ones up in the Parquet parts.

An import asks for thousands at once. Where numpy is there it goes through the same tables, a step for all of them at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress
from types import ModuleType
from typing import Any

FIRST_SLOTS = 1 << 16
MOST_SLOTS = 1 << 22
MANY = 512
"""Ids for which it pays to load numpy, which pyarrow has mostly done."""
_GROWTH = 4
_FULL = 0.6
_MARK = 0xFFFFFFFF


class Known:
    """A set of ids that may, very rarely, take a new one for a known one."""

    def __init__(self) -> None:
        self._tables: list[tuple[array[int], int]] = []
        self._slots = FIRST_SLOTS // _GROWTH
        self._left = 0

    def among(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that are known."""
        ids = list(ids)
        if len(ids) >= MANY and (np := _numpy()):
            return self._among_many(ids, np)
        found = set()
        for id_ in ids:
            code = hash(id_)
            mark, place = code & _MARK or 1, code >> 32
            for table, last in self._tables:
                at = place & last
                while (there := table[at]) and there != mark:
                    at = (at + 1) & last
                if there:
                    found.add(id_)
                    break
        return found

    def note(self, ids: Iterable[str]) -> None:
        """Know these ids from now on."""
        ids = list(ids)
        if len(ids) >= MANY and (np := _numpy()):
            self._note_many(ids, np)
            return
        for id_ in ids:
            if not self._left:
                self._grow()
            table, last = self._tables[-1]
            code = hash(id_)
            mark, at = code & _MARK or 1, code >> 32 & last
            while table[at]:
                at = (at + 1) & last
            table[at] = mark
            self._left -= 1

    def _among_many(self, ids: list[str], np: Any) -> set[str]:
        marks, places = _codes(ids, np)
        found = np.zeros(len(ids), bool)
        for table, last in self._tables:
            slots = np.frombuffer(table, np.uint32)
            asked, at = np.arange(len(ids)), places & last
            while len(asked):
                there = slots[at]
                found[asked[there == marks[asked]]] = True
                on = (there != 0) & (there != marks[asked])
                asked, at = asked[on], (at[on] + 1) & last
        return set(compress(ids, found)) if found.any() else set()

    def _note_many(self, ids: list[str], np: Any) -> None:
        marks, places = _codes(ids, np)
        while len(marks):
            if not self._left:
                self._grow()
            table, last = self._tables[-1]
            count = min(self._left, len(marks))
            slots = np.frombuffer(table, np.uint32)
            mine, at = marks[:count], places[:count] & last
            while len(mine):
                free = slots[at] == 0
                slots[at[free]] = mine[free]  # of several at one place the last one has it
                on = slots[at] != mine
                mine, at = mine[on], (at[on] + 1) & last
            self._left -= count
            marks, places = marks[count:], places[count:]

    def _grow(self) -> None:
        self._slots = min(self._slots * _GROWTH, MOST_SLOTS)
        self._left = int(self._slots * _FULL)
        self._tables.append((array("I", bytes(4 * self._slots)), self._slots - 1))


def _codes(ids: Sequence[str], np: Any) -> tuple[Any, Any]:
    """Return each id's mark, and what its place follows from."""
    codes = np.fromiter(map(hash, ids), np.int64, len(ids))
    marks = (codes & _MARK).astype(np.uint32)
    marks[marks == 0] = 1
    return marks, codes >> 32


def _numpy() -> ModuleType | None:
    try:
        import numpy
    except ImportError:
        return None
    return numpy
