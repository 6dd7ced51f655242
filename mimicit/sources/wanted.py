"""Which of a source's pictures and videos are wanted: a file that names them.

A line each, or JSON: a list of names, an object whose keys are names, or a `*_instructions.json`, whose records name their pictures. A name is
what the files are called without suffix (`000000377944`, `v_N1c3C_Npr-E`), or a picture's id (`LA_IMG_000000377944`; of a video any frame's).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.sources.base import Film, Remote, Still

_FRAME = re.compile(r"_[0-9]+$")


class Wanted:
    def __init__(self, path: Path | None) -> None:
        """Read the names; without a file all are wanted.

        Raises:
            FormatError: the file is not there, or broken.
        """
        self._path = path
        self._names = dict.fromkeys(_names(path) if path else (), False)
        """Name -> whether it was found."""
        self._films = {_FRAME.sub("", name): False for name in self._names}
        """The same of what may be a video, one of whose frames is named."""

    def takes(self, item: Still | Film | Remote) -> bool:
        if self._path is None:
            return True
        known = self._films if isinstance(item, Film) and item.id in self._films else self._names
        found = [name for name in (item.key, item.id) if name in known]
        known.update(dict.fromkeys(found, True))
        return bool(found)

    def missing(self) -> Iterator[BadRow]:
        """Name what is wanted and was not found."""
        for name, was_found in self._names.items():
            if not was_found and not self._films[_FRAME.sub("", name)]:
                yield BadRow(str(self._path), f"there is no picture or video {name!r}")


def _names(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if path.suffix.lower() == ".json":
        yield from _in_json(data, path)
        return
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FormatError(f"{str(path)!r} is not UTF-8") from None
    yield from (line.strip() for line in lines if line.strip())


def _in_json(data: bytes, path: Path) -> Iterable[str]:
    import orjson

    try:
        value: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{str(path)!r} is broken JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("data"), dict):
        records = [row for row in value["data"].values() if isinstance(row, dict)]
        value = [name for row in records for name in row.get("image_ids") or ()]
    if not isinstance(value, list | dict):
        raise FormatError(f"{str(path)!r} is neither a list of names nor an object with them")
    return [name for name in value if isinstance(name, str)]
