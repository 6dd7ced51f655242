"""What a dataset folder remembers of its imports.

imports.json                      each file that was read to its end: size, time, digest of its head, what it gave
imports/20261128T101500Z.bad.jsonl    {"where": …, "reason": …}, a row that could not be used
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.files import staged

HEAD = 1 << 20
PAUSE = 1.0
"""Seconds between two writings of the notes: a folder may hold ten thousand files."""


class BadRows:
    """The list of an import's bad rows; there is no file while there are none."""

    def __init__(self, folder: Path) -> None:
        """List them in a dataset folder."""
        self._folder = folder / "imports"
        self._file: IO[bytes] | None = None
        self.path: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, row: BadRow) -> None:
        import orjson

        if self._file is None:
            self._file = self._open()
        line = {"where": _plain(row.where), "reason": _plain(row.reason)}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        if self._file:
            self._file.flush()

    def _open(self) -> IO[bytes]:
        self._folder.mkdir(exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        number = 0
        while True:
            name = f"{stamp}.bad.jsonl" if not number else f"{stamp}-{number}.bad.jsonl"
            self.path = self._folder / name
            try:
                return self.path.open("xb")
            except FileExistsError:
                number += 1


@dataclass(frozen=True)
class Earlier:
    """What an earlier import made of a file."""

    name: str
    rows: int
    """Records and pictures that were new or known."""
    bad: int
    listed: str
    """The file that lists the bad ones."""


class Noted:
    """The files that were read to their end."""

    def __init__(self, folder: Path) -> None:
        """Read what a dataset folder has noted; notes that are damaged are none."""
        self._path = folder / "imports.json"
        self._files: dict[str, Any] = {}
        self._fresh, self._written = False, 0.0
        try:
            noted = json.loads(self._path.read_bytes())
            self._files = dict(noted["files"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fresh:
            self._write()

    def find(self, path: Path, format_name: str, options: ReadOptions) -> Earlier | None:
        """Return what an earlier import made of a file, if it is the same file, and was read in the same way."""
        noted: Any = self._files.get(str(path.resolve()))
        size, mtime = _stamp(path)
        try:
            same = (noted["size"], noted["mtime_ns"]) == (size, mtime)
            if not same or noted["how"] != _how(format_name, options) or noted["head"] != _head(path):  # fmt: skip
                return None
            made = noted["made"]
            rows = sum(int(made[name]) for name in ("records", "images", "known"))
            return Earlier(path.name, rows, int(made["bad"]), str(noted["list"]))
        except (KeyError, TypeError, ValueError):
            return None

    def add(
        self,
        path: Path,
        format_name: str,
        options: ReadOptions,
        made: Mapping[str, int],
        bad_file: Path | None = None,
    ) -> None:
        size, mtime = _stamp(path)
        self._files[str(path.resolve())] = {
            "size": size,
            "mtime_ns": mtime,
            "head": _head(path),
            "how": _how(format_name, options),
            "made": dict(made),
            "list": f"imports/{bad_file.name}" if bad_file else None,
        }
        self._fresh = True
        if time.monotonic() - self._written > PAUSE:
            self._write()

    def _write(self) -> None:
        with staged(self._path) as file:
            file.write(json.dumps({"version": 1, "files": self._files}, indent=1).encode())
        self._fresh, self._written = False, time.monotonic()


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return _stamp(path)[0]


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file; of a folder, all its files' size and the latest time."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _head(path: Path) -> str:
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return hashlib.blake2b(file.read(HEAD), digest_size=16).hexdigest()


def _how(format_name: str, options: ReadOptions) -> dict[str, Any]:
    """Return what decides what a file's rows become."""
    return json.loads(json.dumps({"format": format_name, **asdict(options)}, default=str))  # type: ignore[no-any-return]


def _plain(text: str) -> str:
    """Replace what is no valid Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()
