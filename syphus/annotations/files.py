"""Files as streams of rows, whatever is wrong in them.

Everything here tolerates a byte order mark, opens `.gz` transparently, and holds one row in memory at a time. A row comes with its
place, for people: `a.json#3` is item 3 of a list or an object, `a.csv:12` is line 12. A JSON document that breaks off ends in an
AnnotationError, because its rows may belong together; a broken line of a file of lines is a Problem, and the next line is read.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from syphus.annotations import blocks
from syphus.annotations.blocks import Readable
from syphus.annotations.context import Problem
from syphus.errors import AnnotationError

HEAD = 256 * 1024
"""Bytes that a sniffer looks at."""
LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of the longest line."""
UNREADABLE = (OSError, EOFError, zlib.error)
"""What a damaged .gz file raises while it is read."""

_BOM = b"\xef\xbb\xbf"
_BARE = re.compile(rb'"(?:[^"\\]|\\.)*"?|-?\b(?:NaN|Infinity)\b', re.DOTALL)


def shown(path: Path) -> str:
    """Return a file's name as text that can be stored: Linux takes any bytes for a name."""
    return path.name.encode("utf-8", "replace").decode()


def open_file(path: Path) -> IO[bytes]:
    """Open a file, unpacked, behind its byte order mark."""
    try:
        file = cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise AnnotationError(f"{str(path)!r} cannot be opened: {error.strerror}") from None
    try:
        if file.read(3) != _BOM:
            file.seek(0)
    except UNREADABLE as error:
        file.close()
        raise AnnotationError(f"{str(path)!r} cannot be unpacked: {error}") from None
    return file


def suffix(path: Path) -> str:
    """Return the suffix in small letters, that before `.gz` if there is one."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def head(path: Path) -> bytes:
    """Return the file's first bytes; none if it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(HEAD)
    except (AnnotationError, *UNREADABLE):
        return b""


# JSON documents


class _JsonBytes:
    """A file's bytes with Python's bare NaN and Infinity, which JSON has not, as texts: then only their row is bad."""

    def __init__(self, file: Readable, limit: float = float("inf")) -> None:
        self.plain = file
        self._left = limit
        self._in_text = False

    def read(self, size: int = -1) -> bytes:
        chunk = self.plain.read(int(min(size, self._left)) if size >= 0 else size)
        self._left -= len(chunk)
        # No word and no escape may be cut in two.
        while chunk and (chunk[-1:] in b"-NaInfity" or _ends_in_escape(chunk)):
            more = self.plain.read(1)
            if not more:
                break
            chunk += more
        quotes = chunk.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')
        was_in_text, self._in_text = self._in_text, self._in_text ^ bool(quotes % 2)
        if b"NaN" not in chunk and b"Infinity" not in chunk:
            return chunk
        opened = b'"' + chunk if was_in_text else chunk
        quoted = _BARE.sub(lambda m: m[0] if m[0][:1] == b'"' else b'"%b"' % m[0], opened)
        return quoted[1:] if was_in_text else quoted


def _ends_in_escape(chunk: bytes) -> bool:
    return (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 == 1


def beginning(path: Path) -> Any:
    """Return the JSON value of which the file's head is the beginning, as far as it goes; None if it is no JSON.

    It is only to be looked at: several formats ask for it, and are given the same one.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return _beginning(path.absolute(), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)
def _beginning(path: Path, time: int, size: int) -> Any:
    import ijson

    builder = ijson.ObjectBuilder()
    try:
        with open_file(path) as file:
            for event, value in ijson.basic_parse(_JsonBytes(file, HEAD), use_float=True):
                builder.event(event, value)
    except (AnnotationError, ijson.JSONError, UnicodeDecodeError, *UNREADABLE):
        pass
    return getattr(builder, "value", None)


def first_lines(path: Path) -> list[str]:
    """Return the first lines that are not blank; several, because one may be bad."""
    texts = (line.decode(errors="replace").strip() for line in head(path).split(b"\n"))
    return list(itertools.islice((text for text in texts if text), 3))


def first_object(path: Path) -> dict[str, Any] | None:
    """Return the first JSON object that is a whole line, if there is one in the first lines."""
    import orjson

    for line in first_lines(path):
        if line.startswith("["):
            return None
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            return row
    return None


def first_item(value: Any) -> Any:
    """Return the first item of a list, or the first value of an object."""
    if isinstance(value, dict):
        value = list(value.values())
    return value[0] if isinstance(value, list) and value else None


def require_json(path: Path) -> None:
    """Say where the file's beginning is not JSON.

    Raises:
        AnnotationError: it is not.
    """
    import ijson

    is_whole = len(head(path)) < HEAD
    try:
        with open_file(path) as file:
            for _ in ijson.basic_parse(_JsonBytes(file, HEAD)):
                pass
    except (ijson.JSONError, UnicodeDecodeError, *UNREADABLE) as error:
        if is_whole or "premature EOF" not in str(error):
            raise AnnotationError(
                f"{str(path)!r} is not valid JSON: {_first_line(error)}"
            ) from None


def items(path: Path, prefix: str = "item") -> Iterator[tuple[str, Any]]:
    """Yield the items of a list."""
    import ijson

    for number, item in _read(path, lambda file: ijson.items(file, prefix, use_float=True)):
        yield f"{shown(path)}#{number}", item


def pairs(path: Path, prefix: str = "") -> Iterator[tuple[str, tuple[str, Any]]]:
    """Yield the keys and values of an object."""
    import ijson

    for number, pair in _read(path, lambda file: ijson.kvitems(file, prefix, use_float=True)):
        yield f"{shown(path)}#{number}", pair


def sections(path: Path, names: Sequence[str], *, skip: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the items of an object's lists, each with the list's name, in the order in which the file holds them.

    Args:
        path: The file.
        names: The lists.
        skip: A key of items that is left out, however large.
    """
    for _, named in _read(path, lambda file: _sections_in_blocks(file, names, skip)):
        yield named


def _sections_in_blocks(
    file: _JsonBytes, names: Sequence[str], skip: str
) -> Iterator[tuple[str, Any]]:
    rest = blocks.Rest()
    yield from blocks.sections(file.plain, names, skip, rest)
    if rest.text is not None:
        events = _sections(_JsonBytes(_Continued(rest.text, file.plain)), names, skip)
        yield from itertools.islice(events, rest.extra, None)


class _Continued:
    """A text, and the file that goes on with it."""

    def __init__(self, text: bytes, file: Readable) -> None:
        self._text = io.BytesIO(text)
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._text.read(size) or self._file.read(size)


def _sections(file: _JsonBytes, names: Sequence[str], skip: str) -> Iterator[tuple[str, Any]]:
    import ijson

    wanted = {f"{name}.item": name for name in names}
    builder, item, skipped = None, "", ""
    for prefix, event, value in ijson.parse(file, use_float=True):
        if builder is None:
            if prefix not in wanted:
                continue
            builder, item, skipped = ijson.ObjectBuilder(), prefix, f"{prefix}.{skip}"
        if skip and prefix.startswith(skipped):
            continue
        builder.event(event, value)
        if prefix == item and event not in ("start_map", "start_array", "map_key"):
            yield wanted[item], builder.value
            builder = None


def _read(path: Path, parse: Any) -> Iterator[tuple[int, Any]]:
    import ijson

    count = 0
    with open_file(path) as file:
        try:
            for row in parse(_JsonBytes(file)):
                yield count, row
                count += 1
        except (ijson.JSONError, UnicodeDecodeError, *UNREADABLE) as error:
            raise AnnotationError(
                f"{str(path)!r} is not valid JSON: {_first_line(error)} "
                f"(after {count} rows); nothing was read from it"
            ) from None


def _first_line(error: BaseException) -> str:
    said = error.args[0] if len(error.args) == 1 else str(error)
    # yajl shows bytes where they are no text.
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


# Files of lines


def lines(path: Path) -> Iterator[tuple[str, str] | Problem]:
    """Yield the lines that are not blank."""
    for number, line in _lines(path):
        where = f"{shown(path)}:{number}"
        if isinstance(line, str):
            yield Problem(where, line)
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            yield Problem(where, "the line is not valid UTF-8")
            continue
        if text.strip():
            yield where, text.rstrip("\r\n")


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]] | Problem]:
    """Yield the objects of a file with one JSON object a line."""
    import orjson

    for item in lines(path):
        if isinstance(item, Problem):
            yield item
            continue
        where, line = item
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield Problem(where, f"the line is not valid JSON: {error}")
            continue
        if isinstance(row, dict):
            yield where, row
        else:
            yield Problem(where, "the line is not a JSON object")


def count_lines(paths: Sequence[Path]) -> int:
    """Count the lines."""
    return sum(1 for path in paths for _ in _lines(path))


def header(path: Path) -> list[str]:
    """Return the column names of a table, none if it is no text."""
    names, _ = _header(path)
    return names


def table(path: Path) -> Iterator[tuple[str, dict[str, str]] | Problem]:
    """Yield the rows of a table with a header; columns are parted by tabs, commas, semicolons or bars."""
    names, delimiter = _header(path)
    rows = csv.reader(_texts(path), delimiter=delimiter, skipinitialspace=delimiter == "|")
    next(rows, None)
    while True:
        where = f"{shown(path)}:{rows.line_num + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Problem(where, f"the line cannot be read: {error}")
            continue
        except UNREADABLE as error:
            yield Problem(where, f"the file breaks off here: {error}")
            return
        if row is None:
            return
        if not row:
            continue
        if any("\udc80" <= letter <= "\udcff" for cell in row for letter in cell):
            yield Problem(where, "the line is not valid UTF-8")
        elif len(row) != len(names):
            yield Problem(where, f"{len(row)} columns; the header has {len(names)}")
        else:
            yield where, dict(zip(names, row, strict=True))


def _header(path: Path) -> tuple[list[str], str]:
    line = head(path).partition(b"\n")[0].rstrip(b"\r")
    try:
        text = line.decode()
        delimiter = max("\t,;|", key=text.count)
        names = next(csv.reader([text], delimiter=delimiter), [])
    except (UnicodeDecodeError, csv.Error):
        return [], ","
    return [name.strip() for name in names], delimiter


def _texts(path: Path) -> Iterator[str]:
    with open_file(path) as file:
        while line := file.readline(LINE_LIMIT):
            yield line.decode(errors="surrogateescape")


def _lines(path: Path) -> Iterator[tuple[int, bytes | str]]:
    """Yield each line with its number; a text says why there is none."""
    number = 0
    with open_file(path) as file:
        try:
            while line := file.readline(LINE_LIMIT):
                number += 1
                if len(line) < LINE_LIMIT or line.endswith(b"\n"):
                    yield number, line
                    continue
                yield number, f"the line is longer than {LINE_LIMIT // 1024**2} MiB"
                while line and not line.endswith(b"\n"):
                    line = file.readline(LINE_LIMIT)
        except UNREADABLE as error:
            yield number + 1, f"the file breaks off here: {error}"
