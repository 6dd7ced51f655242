"""What a source is: a module that finds a public data set's pictures and videos, and gives them their ids.

NAME    what users type: `convert dc`
TITLE   one line for `--help`
find(path, options) -> pictures, videos, addresses, what cannot be used, what is none of these     a stream, in a fixed order

Finding opens no picture: that is the work of `mimicit.sources.converting`, in several threads. Names are relative to a folder, nothing
outside it is read, and links to other folders are not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias

from mimicit.errors import FormatError, PictureError
from mimicit.formats.base import BadRow
from mimicit.sources import naming
from mimicit.sources.failures import unreadable

PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2",
    ".ppm", ".pgm",
)  # fmt: skip
_LONGEST_ID = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Still:
    """A picture file."""

    id: str
    folder: Path
    name: str
    """Relative to the folder."""
    key: str
    """What a list of wanted ones calls it."""
    time: float | None = None
    """Seconds from the start of the video that it is a frame of."""


@dataclass(frozen=True, slots=True)
class Film:
    """A video file; its frames' ids are those of `mimicit.sources.naming`."""

    id: str
    folder: Path
    name: str
    key: str

    @property
    def digits(self) -> int:
        """Return how many digits a frame's number has."""
        return naming.digits(self.id)


@dataclass(frozen=True, slots=True)
class Remote:
    """A picture at one of several addresses."""

    id: str
    urls: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Other:
    """A file that is none of the source's."""

    name: str


Found: TypeAlias = Still | Film | Remote | BadRow | Other


@dataclass(frozen=True, slots=True)
class FindOptions:
    images: Path | None = None
    """Folder of the pictures that a list names, or that are not to be downloaded."""
    prefix: str | None = None
    """`LA` in `LA_IMG_…`, for sources that have none of their own."""
    fps: Fraction | None = None
    frames: int | None = None
    """Of a video that lies there as a folder of pictures."""


class Source(Protocol):
    NAME: str
    TITLE: str

    def find(self, path: Path, options: FindOptions) -> Iterator[Found]:
        """Find what there is to convert.

        Raises:
            FormatError: the path is not what the source needs.
        """
        ...


def reason_against(id_: str, name: str) -> str | None:
    """Say why something cannot be stored under an id and a name; None if it can."""
    for what, text in (("id", id_), ("name", name)):
        if _CONTROL.search(text):
            return f"its {what} has a control character"
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"its {what} is not UTF-8"
    if not 0 < len(id_) <= _LONGEST_ID:
        return f"its id would have {len(id_):,} characters; the most are {_LONGEST_ID}"
    return None


def the_folder(path: Path, what: str) -> Path:
    """Return a folder that is there and can be read.

    Raises:
        FormatError: it is not; the message says what was expected.
    """
    try:
        if not path.is_dir():
            raise FormatError(f"{str(path)!r} is not a folder; this source is {what}")
        with os.scandir(path):
            return path
    except OSError as error:
        raise unreadable(path, error) from None


def within(folder: Path, name: str) -> Path:
    """Return a video's path.

    Raises:
        PictureError: it leads out of the folder, or there is none.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise PictureError(f"{name!r} leads out of the folder {str(folder)!r}")
        if not path.is_file():
            raise PictureError(f"{name!r} is not in {str(folder)!r}")
    except OSError as error:
        raise PictureError(f"{name!r} cannot be read: {error.strerror}") from None
    return path


def walk(folder: Path, *, deep: bool = False) -> Iterator[str | BadRow]:
    """Yield the files of a folder by name, 2 before 10; with `deep` those of its folders, too, each after its own.

    What is neither a file nor a folder, and links to folders, are told.
    """
    below = [""]
    while below:
        at = below.pop()
        try:
            with os.scandir(folder / at) as entries:
                listed = sorted(entries, key=lambda entry: natural(entry.name))
        except OSError as error:
            yield BadRow(at or str(folder), f"the folder cannot be read: {error.strerror}")
            continue
        folders = []
        for entry in listed:
            name = f"{at}/{entry.name}" if at else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders += [name] if deep else []
            elif entry.is_dir():
                if deep:
                    yield BadRow(name, "is a link to a folder, which is not followed")
            elif entry.is_file():
                yield name
            else:
                yield BadRow(name, "is not a file (a broken link, or a device)")
        below += reversed(folders)


def subfolders(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's folders, 2 before 10; a link to one within it counts."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    yield from sorted(names, key=natural)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts 2 before 10."""
    return [
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part)
        for part in re.split(r"([0-9]{1,18})", name)
    ]


def suffix(name: str) -> str:
    """Return `.jpg` of `a/b.JPG`; nothing of a name without one."""
    last = name.rpartition("/")[2]
    stem, dot, end = last.rpartition(".")
    return f".{end.lower()}" if dot and stem else ""


def stem(name: str) -> str:
    """Return `a/b` of `a/b.jpg`."""
    return name[: len(name) - len(suffix(name))]


def pictures_in(folder: Path, prefix: str) -> Iterator[Found]:
    """Find the pictures of a flat folder: `<prefix>_IMG_<name without suffix>`."""
    for name in walk(folder):
        if isinstance(name, BadRow):
            yield name
        elif suffix(name) in PICTURES:
            yield Still(f"{prefix}_IMG_{stem(name)}", folder, name, stem(name))
        else:
            yield Other(name)


def films_in(folder: Path, prefix: str, *, deep: bool = False) -> Iterator[Found]:
    """Find the videos of a folder: `<prefix>_IMG_<name without suffix>_<frame>`."""
    from mimicit.media.video import SUFFIXES

    for name in walk(folder, deep=deep):
        if isinstance(name, BadRow):
            yield name
        elif suffix(name) in SUFFIXES:
            yield film(folder, name, prefix)
        else:
            yield Other(name)


def film(folder: Path, name: str, prefix: str) -> Film:
    key = stem(name)
    return Film(naming.film(prefix, key), folder, name, key)
