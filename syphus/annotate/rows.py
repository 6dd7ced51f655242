"""The file of annotations, and the pictures that belong into it.

FILE          one line of JSON a picture (`syphus.annotations.notes`), appended as pictures are done
FILE.ledger/  the ledger of requests and replies, and a lock: one run at a time writes to a file

A row names its picture by its path in the *folder*, which is the one that all the pictures of a file have in common; `generate --images`
wants the same one. Its id is that path without the suffix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mimicit.errors import LockedError, PictureError
from syphus.annotations.context import Problem
from syphus.errors import AnnotationError
from syphus.pictures import SUFFIXES

_REMEMBERED = 100
"""Rows of which one picture must be found again, to know the folder."""
_MAX_ID = 400
"""Characters; an id becomes part of the ids of records."""


@dataclass(frozen=True, slots=True)
class Found:
    """A picture to annotate."""

    id: str
    name: str
    """Its path in the folder."""


class Rows:
    """An open file of rows. Use `writing`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self.names: set[str] = set()
        """Pictures that have a row."""
        self.ids: set[str] = set()
        self._first: list[str] = []
        self._scan()

    @staticmethod
    def ledger_folder(path: Path) -> Path:
        return path.with_name(path.name + ".ledger")

    @classmethod
    @contextmanager
    def writing(cls, path: Path) -> Iterator[Rows]:
        """Open a file to append to, and make it if there is none; a line that a killed run left unfinished is cut off.

        Raises:
            LockedError: another run writes to it.
            AnnotationError: it holds something else.
        """
        import filelock

        folder = cls.ledger_folder(path)
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise LockedError(
                f"another `syphus annotate` is writing to {str(path)!r}; wait until it is done"
            ) from None
        try:
            # Unbuffered: a row is written by one call, whole or, on a full disk, torn.
            with path.open("ab+", buffering=0) as file:
                yield cls(path, file)
        finally:
            lock.release()

    def append(self, row: Mapping[str, Any]) -> None:
        import orjson

        self._file.write(orjson.dumps(row) + b"\n")

    def folder(self, paths: Sequence[Path]) -> Path:
        """Return the folder by whose paths the pictures are named: their common one, or one above it if the file's rows say so.

        Raises:
            PictureError: one of the paths does not exist.
            AnnotationError: the file's rows are about pictures of another folder.
        """
        for path in paths:
            if not path.exists():
                raise PictureError(f"there is no picture or folder {str(path)!r}")
        whole = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - `..` is taken out, links stay
        common = Path(os.path.commonpath(whole))
        common = common if common.is_dir() else common.parent
        if not self._first:
            return common
        for folder in (common, *common.parents):
            if any((folder / name).is_file() for name in self._first):
                return folder
        raise AnnotationError(
            f"{str(self.path)!r} has rows about pictures such as {self._first[0]!r}, which are neither in {str(common)!r} nor "
            "in a folder above it; name another file for these pictures"
        )

    def _scan(self) -> None:
        """Learn what is there, and leave the file with a whole last line."""
        import orjson

        self._file.seek(0)
        end = 0
        with os.fdopen(os.dup(self._file.fileno()), "rb") as lines:
            for count, line in enumerate(lines, start=1):
                is_whole = line.endswith(b"\n")
                try:
                    row = orjson.loads(line) if line.strip() else {}
                except orjson.JSONDecodeError:
                    row = None
                if isinstance(row, dict):
                    self._learn(row)
                elif is_whole:
                    raise AnnotationError(
                        f"line {count} of {str(self.path)!r} is not a row of annotations; mend it, or name another file"
                    )
                else:
                    self._file.truncate(end)
                    return
                end += len(line)
                if not is_whole:
                    self._file.write(b"\n")

    def _learn(self, row: dict[str, Any]) -> None:
        id_, name = row.get("id"), row.get("image")
        if isinstance(id_, str):
            self.ids.add(id_)
        if isinstance(name, str):
            self.names.add(name)
            if len(self._first) < _REMEMBERED:
                self._first.append(name)


def pictures(rows: Rows, folder: Path, paths: Sequence[Path]) -> Iterator[Found | Problem]:
    """Pass on the pictures that have no row yet, each with an id of its own, and those that have one as ids that are empty.

    Folders are walked in the order of names; what begins with a dot is left out.
    """
    seen: set[str] = set()
    ids = set(rows.ids)
    for name in names(folder, paths):
        if name in seen:
            continue
        seen.add(name)
        if name in rows.names:
            yield Found("", name)
            continue
        try:
            name.encode()
        except UnicodeEncodeError:
            yield Problem(ascii(name), "its name is not UTF-8; rename it")
            continue
        if re.search(r"[\x00-\x1f\x7f]", name) or len(name) > _MAX_ID:
            yield Problem(repr(name), "its name holds control characters or is too long; rename it")
            continue
        if not name.lower().endswith(SUFFIXES):
            yield Problem(
                name, f"it is not a picture: its name ends in none of {' '.join(SUFFIXES)}"
            )
            continue
        id_ = _own_id(name, ids)
        ids.add(id_)
        yield Found(id_, name)


def names(folder: Path, paths: Sequence[Path]) -> Iterator[str]:
    """List pictures by their paths in the folder; a path that is a file is passed on whatever it is."""
    for path in paths:
        whole = os.path.abspath(path)  # noqa: PTH100 - as in `Rows.folder`
        if not path.is_dir():
            yield Path(whole).relative_to(folder).as_posix()
            continue
        for root, folders, files in os.walk(whole):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in sorted(files):
                if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                    yield Path(root, file).relative_to(folder).as_posix()


def _own_id(name: str, taken: set[str]) -> str:
    """Return the name without its suffix, or with it where another picture is called the same: cat.jpg and cat.png."""
    stem = name[: -len(Path(name).suffix)]
    found, number = (name if stem in taken else stem), 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
