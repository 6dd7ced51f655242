"""Rows of a JSON file, one at a time: of an array, or of JSON lines.

An array is read a piece at a time, and each of its elements is decoded as soon as it is whole, so that memory follows the
largest row and not the file. A line that is no JSON is one bad row; where an array breaks, nothing after that place can be
told apart, and the file ends there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow

MAX_ROW = 64 << 20
"""Bytes or characters of one row; pictures may be in it as base64."""
PIECE = 1 << 20
SUFFIXES = (".json", ".jsonl", ".ndjson")
LOOKED_AT = 50
"""Rows by which a format recognises its files."""

_SPACE = re.compile(r"[ \t\r\n]*")
_AFTER = frozenset(" \t\r\n,]")
_DECODER = json.JSONDecoder()


class Row(NamedTuple):
    number: int
    """From 1; of JSON lines, the line's."""
    where: str
    value: Any


def rows(path: Path) -> Iterator[Row | BadRow]:
    """Read a JSON array or JSON lines, whichever it is.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return _elements(path) if is_array(path) else _lines(path)


def is_array(path: Path) -> bool:
    """Say whether the first character that is none of space is a bracket."""
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"[")


def first_rows(path: Path) -> list[dict[str, Any]]:
    """Return what a format looks at to recognise a file; nothing, where it is not of JSON rows."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    size = 0
    try:
        for row in islice(rows(path), LOOKED_AT):
            if isinstance(row, Row) and isinstance(row.value, dict):
                found.append(row.value)
            elif not found:
                return []
            size += len(str(row))
            if size > PIECE:  # pictures are in them
                break
    except (FormatError, OSError):
        return found
    return found


def _lines(path: Path) -> Iterator[Row | BadRow]:
    import orjson

    with path.open("rb") as file:
        for number, line in enumerate(_cut(file), 1):
            where = f"{path.name}: line {number}"
            if line is None:
                yield BadRow(where, f"longer than {MAX_ROW >> 20} MiB")
            elif line := line.removeprefix(b"\xef\xbb\xbf").strip():
                try:
                    yield Row(number, where, orjson.loads(line))
                except orjson.JSONDecodeError as error:
                    yield BadRow(where, f"broken JSON: {str(error).splitlines()[0]}")


def _cut(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yield lines; None for one that is too long."""
    while line := file.readline(MAX_ROW + 1):
        if len(line) <= MAX_ROW:
            yield line
            continue
        yield None  # before its rest is read: whoever only looks at a file stops here
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_ROW)


def _elements(path: Path) -> Iterator[Row | BadRow]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, value in enumerate(_decoded(file), 1):
                yield Row(number, f"{path.name}: row {number}", value)
        except (ValueError, RecursionError) as error:
            raise FormatError(
                f"{str(path)!r} is broken JSON: {str(error).splitlines()[0]}; "
                "what came before that place was read"
            ) from None


def _decoded(file: IO[str]) -> Iterator[Any]:
    """Decode the elements of the array one by one.

    Raises:
        ValueError: it is broken, or an element is too large.
    """
    text = file.read(PIECE)
    at = text.index("[") + 1
    first = True
    while True:
        text, at = _past_space(file, text, at)
        sign = text[at : at + 1]
        if sign == "]":
            return
        if not first:
            if sign != ",":
                raise ValueError(f"a comma is missing before {text[at : at + 20]!r}")
            text, at = _past_space(file, text, at + 1)
        value, text, at = _element(file, text, at)
        yield value
        first = False


def _element(file: IO[str], text: str, at: int) -> tuple[Any, str, int]:
    size = PIECE
    while True:
        try:
            value, end = _DECODER.raw_decode(text, at)
            if text[end : end + 1] in _AFTER:  # else a number may go on in the next piece
                return value, text, end
            error = ValueError("the array does not end")
        except ValueError as problem:
            error = problem
        more = file.read(size)
        if not more or len(text) - at > MAX_ROW:
            raise error
        text, at, size = text[at:] + more, 0, size * 2


def _past_space(file: IO[str], text: str, at: int) -> tuple[str, int]:
    """Go to the next character that is none of space."""
    while True:
        found = _SPACE.match(text, at)
        at = found.end() if found else at
        if at < len(text):
            return text, at
        text, at = file.read(PIECE), 0
        if not text:
            raise ValueError("the array does not end")
