"""Which split a component goes into.

Components are taken in an order that is drawn; each goes into the split that lacks most, if it fits: if in no stratum more of it is
there than the split still lacks. What is left goes into `train` (0). So a component of many records is in a small split only where
it fits, one larger than the split never; and the ones that come late, and are small, fill what the large ones left. Where no
component fits any more, one may overfill a stratum, if it brings the split nearer to its share all in all.

Once the splits are full, nothing is looked at one by one: of a million components, about those that are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BLOCK = 2_048
"""Components of which those that cannot fit are told at once."""
NEW = -1
"""The split of a component that has none yet."""
_ODD = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many records of which stratum each component has: cells, those of a component in a row."""

    start: np.ndarray
    """Components + 1 places in the others."""
    stratum: np.ndarray
    records: np.ndarray


def sizes(component: np.ndarray, stratum: np.ndarray, count: int, strata: int) -> Sizes:
    """Count the records of each component by stratum."""
    import numpy as np

    cell, records = np.unique(component.astype(np.int64) * strata + stratum, return_counts=True)
    start = np.searchsorted(cell, np.arange(count + 1, dtype=np.int64) * strata)
    return Sizes(start, cell % strata, records)


def assign(
    sized: Sizes, draw: np.ndarray, settled: np.ndarray, shares: Sequence[float], seed: int = 0
) -> np.ndarray:
    """Return the split of each component: 0 is `train`, and 1 is that of the first share.

    Args:
        sized: The components.
        draw: A number of each, which decides the order.
        settled: The split where it is known already, else NEW; of one that has no share, a number above theirs.
        shares: Of all records.
        seed: Decides which of small strata have a record in a split at all.
    """
    import numpy as np

    strata = int(sized.stratum.max(initial=-1)) + 1
    total = np.bincount(sized.stratum, sized.records, minlength=strata).astype(np.int64)
    owner = np.repeat(np.arange(len(draw)), np.diff(sized.start))
    target = np.array([_target(total, share, seed + n) for n, share in enumerate(shares)])
    lack = target.reshape(len(shares), strata).copy()
    for n in range(len(shares)):
        mine = settled[owner] == n + 1
        np.subtract.at(lack[n], sized.stratum[mine], sized.records[mine])
    found = settled.copy()
    size = np.bincount(owner, sized.records, minlength=len(draw))
    free = np.flatnonzero((settled == NEW) & (size > 0))
    filling = _Filling(sized, lack, target.reshape(len(shares), strata).sum(axis=1), found)
    filling.fill(free[np.lexsort((free, draw[free]))])
    rest = free[found[free] == NEW]
    filling.top_up(rest[np.lexsort((rest, draw[rest], size[rest]))])
    found[found == NEW] = 0
    return found


def _target(total: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return how many records of each stratum a split is to have; they add up to its share of all."""
    import numpy as np

    exact = total * share
    target = np.floor(exact).astype(np.int64)
    missing = round(float(exact.sum())) - int(target.sum())
    number = np.arange(1, len(total) + 1, dtype=np.uint64) + np.uint64(seed % 2**32)
    shuffled = number * np.uint64(_ODD)
    order = np.lexsort((shuffled, target - exact))
    target[order[:missing]] += 1
    return target


class _Filling:
    def __init__(
        self, sized: Sizes, lack: np.ndarray, target: np.ndarray, found: np.ndarray
    ) -> None:
        self._sized, self._lack, self._target, self._found = sized, lack, target, found

    def fill(self, order: np.ndarray) -> None:
        """Put components where they fit."""
        import numpy as np

        for at in range(0, len(order), BLOCK):
            if (self._lack <= 0).all():
                return
            block = order[at : at + BLOCK]
            cells, starts = self._cells(block)
            most = self._lack.max(axis=0)[self._sized.stratum[cells]]
            fits = np.logical_and.reduceat(self._sized.records[cells] <= most, starts)
            for one in block[fits].tolist():
                self._put_where_it_fits(one)

    def top_up(self, order: np.ndarray) -> None:
        """Put components where they bring a split nearer to its share, the smallest first."""
        import numpy as np

        for at in range(0, len(order), BLOCK):
            if (self._lack.sum(axis=1) <= 0).all():
                return
            block = order[at : at + BLOCK]
            cells, starts = self._cells(block)
            helps = np.zeros(len(block), bool)
            for lack in self._lack:
                there = lack[self._sized.stratum[cells]]
                gain = abs(there) - abs(there - self._sized.records[cells])
                helps |= np.add.reduceat(gain, starts) >= 0
            for one in block[helps].tolist():
                self._put_where_it_helps(one)

    def _cells(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells of components, and where those of each begin among them."""
        import numpy as np

        begin, end = self._sized.start[block], self._sized.start[block + 1]
        count = end - begin
        starts = np.concatenate([[0], np.cumsum(count)[:-1]])
        return np.repeat(begin - starts, count) + np.arange(count.sum()), starts

    def _of(self, component: int) -> tuple[list[int], list[int]]:
        cells = slice(self._sized.start[component], self._sized.start[component + 1])
        return self._sized.stratum[cells].tolist(), self._sized.records[cells].tolist()

    def _put_where_it_fits(self, component: int) -> None:
        strata, records = self._of(component)
        best, most = NEW, 0.0
        for n, lack in enumerate(self._lack):
            there = [int(lack[stratum]) for stratum in strata]
            if all(size <= room for size, room in zip(records, there, strict=True)):
                lacks = sum(there) / self._target[n]
                if lacks > most:
                    best, most = n, lacks
        self._put(component, best, strata, records)

    def _put_where_it_helps(self, component: int) -> None:
        strata, records = self._of(component)
        size = sum(records)
        best, most = NEW, 0
        for n, lack in enumerate(self._lack):
            missing = int(lack.sum())
            if missing <= 0 or size > self._target[n]:
                continue
            gain = sum(
                _gain(int(lack[stratum]), count)
                for stratum, count in zip(strata, records, strict=True)
            )
            gain += _gain(missing, size)
            if gain > most:
                best, most = n, gain
        self._put(component, best, strata, records)

    def _put(self, component: int, split: int, strata: list[int], records: list[int]) -> None:
        if split == NEW:
            return
        self._found[component] = split + 1
        for stratum, count in zip(strata, records, strict=True):
            self._lack[split, stratum] -= count


def _gain(lack: int, records: int) -> int:
    """Return by how much a number of records brings what is lacking nearer to nothing."""
    return abs(lack) - abs(lack - records)
