"""Rows of published sets, one at a time, of whatever file holds them.

JSON lines, a JSON array, JSON objects one after another, or Parquet. What cannot be used is a `BadRow`; the rows
around it are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

from mimicit.errors import FormatError
from mimicit.formats import rows as json_rows
from mimicit.formats.base import BadRow

Row = tuple[str, dict[str, Any]]
"""Where it stands, and what it holds."""

BATCH_ROWS = 16
"""Of Parquet: rows hold pictures."""
SAMPLE_ROWS = 5
SAMPLE_BYTES = 32 << 20
"""What is read to recognise a file."""

_TELLING = ("text", "question", "answer", "chosen", "rejected", "conversations", "image_id", "preference")  # fmt: skip
"""Columns of Parquet whose values tell a set; of the others, the name does."""
_PREFIX = {"array": "item", "objects": ""}
"""Where ijson finds the rows."""


class RowError(ValueError):
    """Say what is wrong with a row."""


# Rows


def rows(path: Path, columns: Iterable[str] = ()) -> Iterator[Row | BadRow]:
    """Read a file as a stream of objects.

    Args:
        path: The file.
        columns: Those of a Parquet file to read, where it has them; none is all.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    read = _parquet_rows(path, columns) if path.suffix == ".parquet" else _json_rows(path)
    for where, value in read:
        if isinstance(value, RowError):
            yield BadRow(where, str(value))
        elif isinstance(value, dict):
            yield where, value
        else:
            yield BadRow(where, "not an object")


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    if (kind := _kind(path)) not in _PREFIX:
        for row in json_rows.rows(path):
            yield row.where, RowError(row.reason) if isinstance(row, BadRow) else row.value
        return
    import ijson

    try:
        with path.open("rb") as file:
            bounded = _Bounded(_past_mark(file))
            found = ijson.items(bounded, _PREFIX[kind], multiple_values=True, use_float=True)
            for number, value in enumerate(found, 1):
                yield f"{path.name}: row {number}", value
                bounded.left = json_rows.MAX_ROW
    except (ijson.JSONError, ValueError) as error:  # ValueError: numbers of thousands of digits
        raise FormatError(
            f"{str(path)!r} is broken JSON: {str(error).splitlines()[0]}; "
            "what came before that place was read"
        ) from None


class _Bounded:
    """A file of rows none of which may be larger than others' readers let them be."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left = json_rows.MAX_ROW
        """Bytes of the row that is being read."""

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(f"a row is larger than {json_rows.MAX_ROW >> 20} MiB")
        return data


def _kind(path: Path) -> str:
    """Say how JSON rows are put together: an `array`, `lines`, or `objects` that go over lines."""
    if json_rows.is_array(path):
        return "array"
    with path.open("rb") as file:
        _past_mark(file)
        for _ in range(SAMPLE_ROWS):  # not the first alone: it may be the one that is broken
            line = b"\n"
            while line.isspace():
                line = file.readline(SAMPLE_BYTES)
            if len(line) == SAMPLE_BYTES:
                return "long lines"
            if not line.startswith(b" ") and not isinstance(_value(line), RowError):
                return "lines"
    return "objects"


def _past_mark(file: IO[bytes]) -> IO[bytes]:
    """Pass over the byte order mark at the start of a file."""
    if file.tell() == 0 and file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)
    return file


def _value(text: bytes) -> Any:
    """Return what a JSON text is; a RowError where it is none."""
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return RowError(f"broken JSON: {error}")


def json_object(text: str, name: str) -> dict[str, Any]:
    """Read the JSON object that a field holds as text.

    Raises:
        RowError: it holds none.
    """
    value = _value(text.encode("utf-8", "replace"))
    if not isinstance(value, dict):
        raise RowError(f"{name!r} is no JSON object")
    return value


def _parquet_rows(path: Path, columns: Iterable[str]) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        # Not read ahead: files of one huge row group are common.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            there = file.schema_arrow.names
            chosen = [name for name in columns if name in there] or there
            for batch in file.iter_batches(BATCH_ROWS, columns=chosen, use_threads=False):
                for value in _values(batch):
                    number += 1
                    yield f"{path.name}: row {number}", value
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{str(path)!r} is a broken Parquet file: {str(error).splitlines()[0]}"
        ) from None


def _values(batch: Any) -> Iterator[Any]:
    for at in range(batch.num_rows):
        try:
            yield batch.slice(at, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield RowError(f"not UTF-8: {error}")
        except (ValueError, OverflowError) as error:  # a time that Python has none for
            yield RowError(f"a value that cannot be read: {str(error).splitlines()[0]}")


# Recognising


def sample(path: Path) -> list[dict[str, Any]]:
    """Return the first rows, long texts cut; none where the file is not of rows."""
    try:
        stat = path.stat()
        return _sampled(path, stat.st_mtime_ns, stat.st_size)
    except OSError:
        return []


@lru_cache(maxsize=8)
def _sampled(path: Path, changed: int, size: int) -> list[dict[str, Any]]:
    """Read once for all formats that ask."""
    if path.suffix == ".parquet":
        return _parquet_sample(path)
    if path.suffix not in json_rows.SUFFIXES or (kind := _kind(path)) == "long lines":
        return []
    found = _first_of(path, _PREFIX[kind]) if kind in _PREFIX else _first_lines(path)
    return [_cut(value) for value in islice(found, SAMPLE_ROWS) if isinstance(value, dict)]


def _first_lines(path: Path) -> Iterator[Any]:
    return (None if isinstance(row, BadRow) else row.value for row in json_rows.rows(path))


def _first_of(path: Path, prefix: str) -> Iterator[Any]:
    import ijson

    with path.open("rb") as file:
        start = _Start(_past_mark(file))
        try:
            yield from ijson.items(
                start, prefix, multiple_values=True, use_float=True, buf_size=1 << 14
            )
        except (ijson.JSONError, ValueError):
            return


class _Start:
    """The start of a file: a JSON object of gigabytes is not read to find that it is none of ours."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = SAMPLE_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(data)
        return data


def _parquet_sample(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16) as file:
            names = file.schema_arrow.names
            telling = [name for name in _TELLING if name in names]
            if not telling:
                return [dict.fromkeys(names)]
            for batch in file.iter_batches(SAMPLE_ROWS, columns=telling, use_threads=False):
                found = [value for value in _values(batch) if isinstance(value, dict)]
                return [dict.fromkeys(names) | _cut(row) for row in found]
    except (pa.ArrowException, OSError):
        return []
    return []


def _cut(value: Any, depth: int = 5) -> Any:
    if isinstance(value, str):
        return value[:2_000]
    if isinstance(value, dict):
        return {k: _cut(v, depth - 1) for k, v in islice(value.items(), 50)} if depth else {}
    if isinstance(value, list):
        return [_cut(v, depth - 1) for v in value[:4]] if depth else []
    return value
