"""Tar files as a stream of members, read without unpacking anything.

A name is words, never a path: nothing is opened, made or followed by it. Headers are read by the standard library one block at a time and not by its
`TarFile`, which takes a broken header for the end, and a header's own size for what may be in memory. Written are plain USTAR
members without owner and time, so that the same members are the same bytes.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mimicit.errors import FormatError

BLOCK = 512
RECORD = 20 * BLOCK
"""Tar files are a multiple of it."""
MOST_HEADER_BYTES = 1 << 20
"""Of a long name, or of what else a header says in blocks of its own."""

_LONG_NAME, _SKIPPED = b"L", (b"K", b"g")
_LENGTH = re.compile(rb"([0-9]{1,9}) ")
_TELLING, _SPARSE = (b"path", b"size"), b"GNU.sparse"
"""What is kept of a POSIX header; it may say more, and there may be many in a row."""


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    size: int
    regular: bool
    """A file whose bytes are here; not a folder, a link or a sparse file."""
    folder: bool
    start: int
    """Where its bytes begin in the file."""
    _file: IO[bytes]

    def read(self, most: int | None = None) -> bytes:
        """Return its bytes, or the first `most` of them; look at `size` first."""
        self._file.seek(self.start)
        return self._file.read(self.size if most is None else min(most, self.size))


def members(path: Path) -> Iterator[Member]:
    """Yield the members of a tar file; each can be read until the next one is asked for.

    Raises:
        FormatError: the file is broken from some place on; what came before it was given.
    """
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        says: dict[str, str] = {}
        """What headers before a member say of it."""
        start = 0
        while header := _header(file, path, start):
            data = start + BLOCK
            size = _number(says.get("size"), header.size)
            if size < 0 or data + size > end:
                raise FormatError(f"{str(path)!r} ends within {header.name!r}")
            start = data + -(-size // BLOCK) * BLOCK
            if header.type in (_LONG_NAME, tarfile.XHDTYPE):
                if size > MOST_HEADER_BYTES:
                    raise FormatError(f"{str(path)!r} has a name of {size:,} bytes")
                text = file.read(size)
                says |= _records(text) if header.type == tarfile.XHDTYPE else _long_name(text)
            elif header.type not in _SKIPPED:
                sparse = any(name.startswith("GNU.sparse") for name in says)
                yield Member(
                    name=says.get("path", header.name),
                    size=size,
                    regular=header.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not sparse,
                    folder=header.isdir(),
                    start=data,
                    _file=file,
                )
                says = {}
            file.seek(start)


def _header(file: IO[bytes], path: Path, at: int) -> tarfile.TarInfo | None:
    block = file.read(BLOCK)
    if not block.strip(b"\0") and len(block) in (0, BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise FormatError(f"{str(path)!r} is broken at byte {at:,}: {error}") from None


def _long_name(data: bytes) -> dict[str, str]:
    return {"path": data.split(b"\0", 1)[0].decode("utf-8", "replace")}


def _records(data: bytes) -> dict[str, str]:
    """Read the lines `LENGTH KEY=VALUE` of a POSIX header."""
    found: dict[str, str] = {}
    at = 0
    while length := _LENGTH.match(data, at):
        end = at + int(length[1])
        if not length.end() < end <= len(data):
            break
        name, _, value = data[length.end() : end - 1].partition(b"=")
        if name in _TELLING or name.startswith(_SPARSE):
            found[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at = end
    return found


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else otherwise


# Writing


def written_size(size: int) -> int:
    """Return how many bytes a member of a size takes."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def write_member(file: IO[bytes], name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    header.mode = 0o644
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % BLOCK))


def write_end(file: IO[bytes]) -> None:
    file.write(bytes(2 * BLOCK))
    file.write(bytes(-file.tell() % RECORD))
