"""Files of samples that are read where they lie, and one index of all of them: where each sample is, in a few bytes.

    CACHE/pairs-5d0c…/                 one selection of files
        samples.bin                    a row for each sample, memory-mapped
        index.json                     the files, where the rows of each end, what was left out, the digest; comes last
    CACHE/parts/pairs-81fe….part       the rows of one file, kept for when the selection changes
    CACHE/unpacked/                    compressed files, once

A file is looked through once, from its beginning to its end, and again only when its size or its time has changed. Every file here
is written beside its name and renamed, under a lock: a process that is killed leaves whole parts, and others wait for the one that
builds. The digest covers names, places and texts and nothing of where the files lie, so a moved folder is the same source.
"""

import fcntl
import glob
import hashlib
import itertools
import json
import os
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mimicit.errors import PictureError, RecipeError
from mimicit.progress import Progress
from trainer.errors import TrainingError

VERSION = 2
"""Of rows and of what is said about them."""
EXAMPLES = 3
"""Names that are told of what was left out, for each reason and file."""
OPEN_FILES = 64
CHANGED = "has changed since the run began; the same command looks at it again, and goes on if it says the same"
MOST_FILES = 1_000_000
"""That one pattern may name."""
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_WILD = re.compile(r"[*?\[]")
_ADDRESS = re.compile(r"^(pipe:|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f]")


# Which files


def find(pattern: str, base: Path, *, setting: str) -> tuple[list[Path], int]:
    """Return the files that a pattern names, in its order, and how many that it names by number are not there.

    Args:
        pattern: A path with `*`, `{00000..00099}` or `{a,b}`.
        base: The folder that a relative path begins at.
        setting: For messages.

    Raises:
        RecipeError: it names none, or something else than files.
    """
    if _ADDRESS.match(pattern):
        raise RecipeError(
            f"{setting} is {pattern!r}, but files are read at random places, so they must lie on a disk; copy or mount them"
        )
    found: dict[Path, None] = {}
    missing = 0
    try:
        for one in itertools.islice(_expanded(pattern), MOST_FILES):
            if _WILD.search(one):
                # Path.glob takes no path that begins at the root.
                names = sorted(glob.glob(one, root_dir=base, recursive=True))  # noqa: PTH207
                found |= dict.fromkeys(path for name in names if (path := base / name).is_file())
            elif (path := base / one).is_dir():
                raise RecipeError(
                    f"{setting} is the folder {one!r}; name its files, as {one}/*.tar"
                )
            elif path.is_file():
                found[path] = None
            else:
                missing += 1
    except OSError as error:
        raise RecipeError(
            f"{setting} is {pattern!r}, but {error.filename!r} cannot be looked at: {error.strerror}"
        ) from error
    if not found:
        raise RecipeError(
            f"{setting} is {pattern!r}, but there is no such file below {str(base)!r}"
        )
    return list(found), missing


def _expanded(pattern: str) -> Iterator[str]:
    """Yield what braces stand for, the first ones turning slowest."""
    if match := _RANGE.search(pattern):
        first, last = match[1], match[2]
        width = len(first) if first.startswith("0") else 0
        choices: Any = (f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
    elif match := _CHOICE.search(pattern):
        choices = match[1].split(",")
    else:
        yield pattern
        return
    for choice in choices:
        yield from _expanded(pattern[: match.start()] + choice + pattern[match.end() :])


# What is left out


@dataclass
class LeftOut:
    """How often what was wrong, and where for example."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + count
        named = self.names.setdefault(reason, [])
        if len(named) < EXAMPLES:
            named.append(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", name[:200]))

    def take(self, counts: dict[str, int], names: dict[str, list[str]]) -> None:
        for reason, count in counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            self.names.setdefault(reason, []).extend(names[reason])
            del self.names[reason][EXAMPLES:]

    def sentences(self) -> list[str]:
        return [
            f"{count:,} × {reason} ({', '.join(self.names[reason])}{', …' if count > len(self.names[reason]) else ''})"
            for reason, count in sorted(self.counts.items(), key=lambda one: -one[1])
        ]


@dataclass(frozen=True)
class Scanned:
    """What one file holds."""

    data: Path
    """Where its samples lie: the file itself, or what was unpacked of it."""
    rows: np.ndarray
    left_out: LeftOut
    digest: str
    """Of the samples' names, places and texts."""


# The index


class Index:
    """Where the samples of many files lie. Travels by pickle as its path; each process maps the same memory."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        said = json.loads((path / "index.json").read_text(encoding="utf-8"))
        self.path = path
        self.dtype = dtype
        self.files: list[str] = said["files"]
        self.ends: list[int] = said["ends"]
        self.marks: dict[str, list[int]] = dict(zip(self.files, said["marks"], strict=True))
        """Sizes and times of the files when they were looked through."""
        self.digest: str = said["digest"]
        self.left_out = LeftOut(said["left_out"], said["names"])
        self._rows: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": None}

    def __len__(self) -> int:
        return self.ends[-1]

    @property
    def rows(self) -> np.ndarray:
        if self._rows is None:
            mapped = np.memmap(self.path / "samples.bin", dtype=self.dtype, mode="r")
            self._rows = mapped.view(np.ndarray)
        return self._rows

    def __getitem__(self, index: int) -> tuple[str, Any]:
        """Return a sample's file and its row."""
        return self.files[bisect_right(self.ends, index)], self.rows[index]


def build(
    files: Sequence[Path],
    scan: Callable[[Path], Scanned],
    *,
    kind: str,
    options: Sequence[Any],
    dtype: np.dtype[Any],
    cache: Path,
    name: str,
    told: Sequence[Any] | None = None,
) -> Index:
    """Open the index of some files; make it, or what of it is missing.

    Args:
        files: In the order of their samples.
        scan: Reads one of them.
        kind: What samples are, as a part of names.
        options: All that decides what `scan` finds in a file.
        dtype: Of a row.
        cache: The folder that keeps indexes.
        name: Of the group, for messages.
        told: What of `options` is a part of what is learned; None: all.

    Raises:
        TrainingError: a file cannot be read, none holds a sample, or the index cannot be written.
    """
    try:
        marks = [[str(file.resolve()), *_mark(file.stat())] for file in files]
        asked = [VERSION, kind, list(options), dtype.descr]
        path = cache / f"{kind}-{_hash([asked, marks])}"
        if not _is_ready(path, marks, dtype.itemsize):
            cache.mkdir(parents=True, exist_ok=True)
            with _locked(cache):
                if not _is_ready(path, marks, dtype.itemsize):
                    parts = [
                        cache / "parts" / f"{kind}-{_hash([asked, mark])}.part" for mark in marks
                    ]
                    _scan_missing(files, parts, scan, dtype, name)
                    _join(files, parts, path, dtype, [kind, told or list(options)])
    except OSError as error:
        raise TrainingError(
            f"the index of group {name!r} cannot be made: {error.filename or str(cache)!r}: {error.strerror or error}"
        ) from error
    found = Index(path, dtype)
    if not len(found):
        why = "; ".join(found.left_out.sentences()) or "they are empty"
        raise TrainingError(
            f"group {name!r} has nothing to learn from in {len(files)} files: {why}"
        )
    return found


def _is_ready(path: Path, marks: Sequence[Sequence[Any]], row_bytes: int) -> bool:
    """Tell whether an index is there and whole, and what was unpacked for it."""
    try:
        said = json.loads((path / "index.json").read_text(encoding="utf-8"))
        size = (path / "samples.bin").stat().st_size
    except (FileNotFoundError, ValueError):
        return False
    unpacked = set(said["files"]) - {mark[0] for mark in marks}
    return size == said["ends"][-1] * row_bytes and all(Path(one).exists() for one in unpacked)


def _mark(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Wait until no other process builds here."""
    with (cache / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _scan_missing(
    files: Sequence[Path],
    parts: Sequence[Path],
    scan: Callable[[Path], Scanned],
    dtype: np.dtype[Any],
    name: str,
) -> None:
    missing = [
        (file, part)
        for file, part in zip(files, parts, strict=True)
        if not _is_whole(part, dtype.itemsize)
    ]
    if not missing:
        return
    with Progress(f"indexing {name}", total=len(missing), unit="files") as progress:
        for done, (file, part) in enumerate(missing, start=1):
            found = scan(file)
            assert found.rows.dtype == dtype
            head = {
                "data": str(found.data.resolve()),
                "mark": _mark(found.data.stat()),
                "rows": len(found.rows),
                "digest": found.digest,
                "left_out": found.left_out.counts,
                "names": found.left_out.names,
            }
            part.parent.mkdir(exist_ok=True)
            with written(part) as staged:
                staged.write_bytes(json.dumps(head).encode() + b"\n" + found.rows.tobytes())
            progress.update(done)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a name to write to; what is there at the end takes the right one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield staged
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _is_whole(part: Path, row_bytes: int) -> bool:
    """Tell whether a part is all there, and what was unpacked for it."""
    try:
        with part.open("rb") as file:
            head = json.loads(file.readline())
            size = os.fstat(file.fileno()).st_size - file.tell()
    except (OSError, ValueError):
        return False
    return size == head["rows"] * row_bytes and Path(head["data"]).exists()


def _join(
    files: Sequence[Path],
    parts: Sequence[Path],
    path: Path,
    dtype: np.dtype[Any],
    asked: Sequence[Any],
) -> None:
    """Write the rows of all parts one behind the other."""
    path.mkdir(exist_ok=True)
    left_out = LeftOut()
    sources: list[str] = []
    marks: list[list[int]] = []
    ends: list[int] = []
    digests: list[list[str]] = []
    with written(path / "samples.bin") as staged, staged.open("wb") as out:
        for file, part in zip(files, parts, strict=True):
            with part.open("rb") as rows:
                head = json.loads(rows.readline())
                out.write(rows.read())
            sources.append(head["data"])
            marks.append(head["mark"])
            ends.append(head["rows"] + (ends[-1] if ends else 0))
            digests.append([file.name, head["digest"]])
            left_out.take(head["left_out"], head["names"])
    said = {
        "files": sources,
        "marks": marks,
        "ends": ends,
        "digest": _hash([VERSION, dtype.descr, list(asked), digests]),
        "left_out": left_out.counts,
        "names": left_out.names,
    }
    with written(path / "index.json") as staged:
        staged.write_text(json.dumps(said), encoding="utf-8")


# Bytes


class Files:
    """Bytes at places of an index's files; as many files are open as are of use."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_index": self._index, "_open": OrderedDict()}

    def read(self, path: str, at: int, size: int) -> bytes:
        """Return `size` bytes from `at` on.

        Raises:
            PictureError: it is not the file that was looked through any more.
            OSError: it cannot be read.
        """
        file = self._open.get(path)
        if file is None:
            file = _Open(path)
            if list(_mark(os.fstat(file.number))) != self._index.marks[path]:
                raise PictureError(f"{path!r} {CHANGED}")
            self._open[path] = file
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        data = os.pread(file.number, size, at)
        while len(data) < size:  # a read may be cut short
            more = os.pread(file.number, size - len(data), at + len(data))
            if not more:
                raise PictureError(f"{path!r} {CHANGED}")
            data += more
        return data


class _Open:
    """An open file, closed when nobody uses it any more."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)
