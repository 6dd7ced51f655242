"""Readers of annotation files, one file per public format.

A reader has `sniff(paths) -> bool`, whether the files are its own, and `read(paths) -> Reading`. It streams: a file of
any size is read with flat memory. To add a format, write one file and add it to READERS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from syphus.annotations.context import Context, Problem
from syphus.errors import AnnotationError


class Reading(Protocol):
    def __len__(self) -> int:
        """Count the contexts, about."""
        ...

    def __iter__(self) -> Iterator[Context | Problem]: ...


class Reader(Protocol):
    def sniff(self, paths: Sequence[Path]) -> bool: ...

    def read(self, paths: Sequence[Path]) -> Reading: ...


def read(paths: Sequence[Path]) -> Reading:
    """Read annotation files in whichever public format they are.

    Raises:
        AnnotationError: a file is missing, or of no known format.
    """
    from syphus.annotations import coco

    readers: dict[str, Reader] = {"COCO captions and instances": coco}
    for path in paths:
        if not path.is_file():
            raise AnnotationError(f"there is no annotation file {str(path)!r}")
    for reader in readers.values():
        if reader.sniff(paths):
            return reader.read(paths)
    raise AnnotationError(
        f"{str(paths[0])!r} is in no annotation format known here ({', '.join(readers)})"
    )
