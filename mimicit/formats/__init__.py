"""Formats of others, one file each: `read` yields what a file holds, `write` makes such files.

To add a format, write a module with `detect(path) -> bool`, `read` and `write`, and add it to FORMATS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Written:
    """A file that an export made."""

    path: Path
    records: int
    """Or pictures."""


class Format(Protocol):
    def detect(self, path: Path) -> bool:
        """Say whether a file is of this format."""
        ...

    def read(self, path: Path) -> Iterator[Instruction | ImageRecord | BadRow]: ...

    def write(
        self, store: Store, folder: Path, where: str, related: str | None = None
    ) -> Sequence[Written]:
        """Write the accepted records that satisfy a predicate.

        Args:
            store: The dataset.
            folder: Where the files go.
            where: An SQL predicate over `accepted`.
            related: A strategy of `mimicit.relate` whose lists are written instead of the records' own.
        """
        ...


def formats() -> dict[str, Format]:
    from mimicit.formats import mimicit

    return {"mimicit": mimicit}
