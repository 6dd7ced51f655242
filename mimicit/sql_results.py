"""Write the result of a query as it is computed: a table for people, JSON, CSV or Parquet for programs.

A result is never whole in memory: DuckDB computes a batch, it is written, and it is forgotten. JSON and CSV have fewer types
than SQL: whole numbers of any size and decimals stay numbers, pictures and other bytes become base64, the rest is text; CSV
holds lists and structs as JSON.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Literal

from mimicit.errors import QueryError

if TYPE_CHECKING:
    import duckdb
    import pyarrow

Format = Literal["table", "json", "csv", "parquet"]

SHOWN_ROWS = 200
"""Of a table for people; the first and the last half, where there are more."""
_WORDED = re.compile(r"DATE|TIME[A-Z_ ]*|INTERVAL|UHUGEINT|BIGNUM|BIT|UUID|GEOMETRY[^\[]*")
"""Types of SQL that JSON and CSV show as text."""
_BATCH = 10_000
_BATCH_OF_BYTES = 2_048
"""Rows at once where some are pictures: what DuckDB computes at once anyway."""


def write_result(
    relation: duckdb.DuckDBPyRelation,
    format: Format,
    sink: IO[bytes],
    *,
    columns: int,
    seen: Callable[[pyarrow.RecordBatch], None] | None = None,
) -> None:
    """Write a result.

    Args:
        relation: What was asked.
        format: As what.
        sink: Where to.
        columns: Of the terminal, for a table.
        seen: Is shown each batch before it is written.
    """
    if format == "table":
        for batch in _batches(relation, seen) if seen else ():
            del batch
        relation.show(max_width=columns, max_rows=SHOWN_ROWS)
        return
    if format == "parquet":
        _write_parquet(relation, seen, sink)
    else:
        write = _write_csv if format == "csv" else _write_json
        write(relation.columns, _batches(_worded(relation), seen), sink)
    sink.flush()


def _worded(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Let DuckDB say times and the like in words: it knows more of them than Python does."""
    kinds = [str(kind) for kind in relation.types]
    if not any(map(_WORDED.fullmatch, kinds)):
        return relation
    columns = [
        f"#{number}::VARCHAR" if _WORDED.fullmatch(kind) else f"#{number}"
        for number, kind in enumerate(kinds, start=1)
    ]
    return relation.project(", ".join(columns))


def _batches(
    relation: duckdb.DuckDBPyRelation, seen: Callable[[pyarrow.RecordBatch], None] | None
) -> Iterator[pyarrow.RecordBatch]:
    for batch in _reader(relation):
        if seen:
            seen(batch)
        yield batch


def _reader(relation: duckdb.DuckDBPyRelation) -> pyarrow.RecordBatchReader:
    has_bytes = any("BLOB" in str(kind) for kind in relation.types)
    return relation.to_arrow_reader(_BATCH_OF_BYTES if has_bytes else _BATCH)


def _write_parquet(
    relation: duckdb.DuckDBPyRelation,
    seen: Callable[[pyarrow.RecordBatch], None] | None,
    sink: IO[bytes],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = _reader(relation)
    try:
        with pq.ParquetWriter(_Counted(sink), reader.schema, compression="zstd") as writer:
            for batch in reader:
                if seen:
                    seen(batch)
                writer.write_batch(batch)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise QueryError(
            f"Parquet cannot hold this result ({str(error).splitlines()[0]}); cast that column to VARCHAR"
        ) from None


class _Counted(io.RawIOBase):
    """A file of which one can say how much was written, so that it may be a pipe."""

    def __init__(self, sink: IO[bytes]) -> None:
        super().__init__()
        self._sink = sink
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        self._sink.write(data)
        self._written += count
        return count


def _write_csv(names: list[str], batches: Iterator[pyarrow.RecordBatch], sink: IO[bytes]) -> None:
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for batch in batches:
        columns = [_values(column, _cell) for column in batch.columns]
        writer.writerows(zip(*columns, strict=True))
    text.detach()


def _write_json(names: list[str], batches: Iterator[pyarrow.RecordBatch], sink: IO[bytes]) -> None:
    import orjson

    names = _distinct(names)
    between = b"["
    for batch in batches:
        columns = [_values(column, _plain) for column in batch.columns]
        for row in zip(*columns, strict=True):
            sink.write(between + orjson.dumps(dict(zip(names, row, strict=True))))
            between = b",\n "
    sink.write(b"]\n" if between != b"[" else b"[]\n")


def _distinct(names: list[str]) -> list[str]:
    """Number the second and later columns of one name, for an object has a name once."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            free = f"{name}_{number}"
            number += 1
        found.append(free)
    return found


def _values(column: pyarrow.Array, change: Callable[[Any], Any]) -> list[Any]:
    """Return a column's values, changed where they are not plain strings and numbers of machines."""
    import pyarrow as pa

    kind = column.type
    values: list[Any]
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError) as error:
        raise QueryError(f"a value cannot be shown ({error}); cast its column to VARCHAR") from None
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return values
    return [change(value) for value in values]


def _cell(value: Any) -> Any:
    import orjson

    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return orjson.dumps(_plain(value)).decode()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


_SIMPLE = (str, float, bool, type(None))
_ORJSON = range(-(2**63), 2**64)
"""Whole numbers that it writes."""


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what it knows."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, int):
        return value if value in _ORJSON else str(value)
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return _plain(int(value)) if whole else float(value)
    return str(value)
