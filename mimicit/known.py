"""Which ids a dataset has, in some 10 bytes each: a week of writing asks for every new record.

Tables of 32-bit marks; a full one is followed by a larger one, so that none is ever copied to grow. A mark is one half
of the id's hash, its place in the table follows from the other half: of a billion questions about ids that are not there,
one or two are answered wrongly, and whoever asks looks the found ones up in the Parquet parts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

FIRST_SLOTS = 1 << 16
MOST_SLOTS = 1 << 22
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

    def _grow(self) -> None:
        self._slots = min(self._slots * _GROWTH, MOST_SLOTS)
        self._left = int(self._slots * _FULL)
        self._tables.append((array("I", bytes(4 * self._slots)), self._slots - 1))
