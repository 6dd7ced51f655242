"""What the footers of Parquet parts say about ids, read once by whoever is the only writer.

A shard has hundreds of row groups, and a footer that takes longer to read than the few rows that are looked for. So the least and the
largest id of each row group are kept: parts that hold none of the ids are not opened, and of the last ones that were, the
footer is kept too. Parts never change under their name while somebody writes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KEPT = 4
"""Footers that are kept whole, some 3 kB for each row group; pictures come again in the order in which they came."""
Bounds = tuple[str, str] | None
"""The least and the largest id; None where the footer does not tell."""


class Footers:
    def __init__(self) -> None:
        """Know nothing yet."""
        self._groups: dict[Path, list[Bounds]] = {}
        self._parts: dict[Path, Bounds] = {}
        self._kept: dict[Path, Any] = {}

    def may_hold(self, part: Path, ids: Sequence[str]) -> bool:
        """Say whether a part may hold one of these ids, which are in order."""
        if part not in self._groups:
            self.footer(part)
        return within(self._parts[part], ids)

    def groups(self, part: Path, ids: Sequence[str]) -> list[int]:
        """Return the row groups that may hold one of these ids, which are in order."""
        if part not in self._groups:
            self.footer(part)
        bounds = self._groups[part]
        return [group for group, one in enumerate(bounds) if within(one, ids)]

    def footer(self, part: Path) -> Any:
        """Return a part's footer, and keep it for a while."""
        import pyarrow.parquet as pq

        footer = self._kept.pop(part, None) or pq.read_metadata(part)
        self._kept[part] = footer  # the last one is the one that was asked for last
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        if part not in self._groups:
            bounds = [bounds_of(footer, group) for group in range(footer.num_row_groups)]
            self._groups[part] = bounds
            self._parts[part] = _around(bounds)
        return footer


def bounds_of(footer: Any, group: int) -> Bounds:
    """Return a row group's least and largest id; ids are the first column."""
    statistics = footer.row_group(group).column(0).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max


def within(bounds: Bounds, ids: Sequence[str]) -> bool:
    """Say whether one of these ids, which are in order, may lie between bounds."""
    if bounds is None:
        return True
    at = bisect_left(ids, bounds[0])
    return at < len(ids) and ids[at] <= bounds[1]


def _around(bounds: Sequence[Bounds]) -> Bounds:
    told = [one for one in bounds if one is not None]
    if len(told) < len(bounds) or not told:
        return None
    return min(least for least, _ in told), max(most for _, most in told)
