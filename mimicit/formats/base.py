"""What a format is: a module that recognises, reads and writes files of one kind.

NAME    what users type: `--format llava`
TITLE   one line for `--help`
detect(path) -> bool                                   by content; reads little
read(path, options) -> records, pictures, bad rows     a stream
write(store, folder, options) -> files                 only where the format is one to write
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store

SHARD_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out, and why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadOptions:
    images: Path | None = None
    """Folder of the pictures that a file names; None is the file's own."""
    task: str | None = None
    """Of the records, where the file does not say it; None is the format's name."""
    language: str = "en"
    """Of the records, where the file does not say it."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    where: str = "true"
    """An SQL predicate over `accepted`."""
    related: str | None = None
    """A strategy of `mimicit.relate` whose lists are written instead of the records' own."""
    splits: Mapping[str, float] = field(default_factory=dict)
    """Name -> share of the conversations, beside `train`, which gets the rest: {"validation": 0.05}."""
    seed: int = 0
    """Another one draws other splits."""
    shard_bytes: int = SHARD_BYTES
    """Of a file's pictures, where a format has files of many."""
    splitting: str | None = None
    """One that is stored (`mimicit.splits`), in place of shares; records that are in none of its splits are left out."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that an export made."""

    path: Path
    records: int
    """Or pictures."""


class Format(Protocol):
    NAME: str
    TITLE: str

    def detect(self, path: Path) -> bool:
        """Say whether a file is of this format."""
        ...

    def read(
        self, path: Path, options: ReadOptions
    ) -> Iterator[Instruction | ImageRecord | BadRow]:
        """Read a file as a stream.

        Raises:
            FormatError: it is broken from some place on; what came before it was read.
        """
        ...


class Writable(Format, Protocol):
    def write(self, store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
        """Write the accepted records that satisfy a predicate, with their pictures.

        Raises:
            QueryError: the predicate is not valid SQL over the view `accepted`.
        """
        ...
