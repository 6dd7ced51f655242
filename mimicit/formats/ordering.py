"""Records by their keys, as text out of Arrow's buffers, and without a sort where they lie in order.

Records mostly lie in the catalog as they were made, in the order of their ids. `segments` finds where they do, and parts them so that all keys
of one segment are before those of the next; a segment that is in order is read as it lies, another one is sorted, in memory where it is small, on disk (`sorting`) where it is not.
DuckDB promises no order of what was not sorted (a join that spills to disk loses it), so `batches` looks at the keys that come, and
raises `OutOfOrder`: whoever reads begins again, and sorts.

    for segment in segments(connection, size):
        query = f"SELECT … AS line, id AS key FROM instructions WHERE {segment.rows}"
        for batch in batches(cursor, query, "line, key", ["key"], segment, as_they_lie=True, spill=folder):
            file.write(lines(batch, 0, batch.num_rows).text)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mimicit.formats.sorting import sorted_batches

if TYPE_CHECKING:
    import duckdb
    import pyarrow

ROWS = 4_096
"""Rows that are in memory at a time."""
SORTED = 16_384
"""Rows that DuckDB sorts in the memory it has."""


class OutOfOrder(Exception):
    """Rows that lie in order did not come so."""


class Segment(NamedTuple):
    rows: str
    """Which they are: a predicate over `instructions`."""
    in_order: bool
    first: int
    """The row number of the first of them in the table."""
    last: int
    size: int
    """Rows."""


class Lines(NamedTuple):
    """Rows as text, one after another."""

    text: memoryview
    rows: int


def segments(
    connection: duckdb.DuckDBPyConnection, size: int, *, key: str = "coalesce(conversation, id)"
) -> list[Segment]:
    """Part the records, by their keys; those whose keys overlap are one segment.

    Args:
        connection: To the catalog, with one thread.
        size: Rows of a segment, as far as they lie in order.
        key: What they are ordered by; turns of a conversation by their number.
    """
    found: list[Segment] = []
    final = ""
    for part, first, last, lowest, highest, in_order, count in connection.execute(
        f"""SELECT part, min(place), max(place), min(key), max(key), bool_and(follows), count(*) FROM (
            SELECT *, coalesce(key > lag(key) OVER (), true) OR place % {size} = 0
                OR coalesce(conversation = lag(conversation) OVER () AND turn > lag(turn) OVER (), false)
                OR part <> lag(part) OVER () AS follows
            FROM (SELECT part, rowid AS place, {key} AS key, conversation, turn FROM instructions)
        ) GROUP BY part, place // {size} ORDER BY 4, 2"""
    ).fetchall():
        name = part.replace("'", "''")
        rows = f"(part = '{name}' AND rowid BETWEEN {first} AND {last})"
        if found and lowest <= final:
            before = found[-1]
            first, last = min(first, before.first), max(last, before.last)
            both = f"{before.rows} OR {rows}"
            found[-1] = Segment(both, False, first, last, before.size + count)
        else:
            found.append(Segment(rows, in_order, first, last, count))
        final = max(final, highest)
    return found if len(found) > 1 else [one._replace(rows="true") for one in found]


def streams(parts: list[Segment]) -> list[Segment]:
    """Join segments that lie in order, one behind the other: fewer queries read the same rows."""
    by_place = sorted(parts, key=lambda one: one.first)
    apart = all(one.last < other.first for one, other in pairwise(by_place))
    number = {one.first: at for at, one in enumerate(by_place)}
    found: list[Segment] = []
    last_number = -2
    for one in parts:
        before = found[-1] if found else None
        if before and apart and before.in_order and one.in_order and number[one.first] == last_number + 1:  # fmt: skip
            rows = f"rowid BETWEEN {before.first} AND {one.last}"
            found[-1] = Segment(rows, True, before.first, one.last, before.size + one.size)
        else:
            found.append(one)
        last_number = number[one.first]
    return found


def batches(
    cursor: duckdb.DuckDBPyConnection,
    query: str,
    columns: str,
    order: Sequence[str],
    segment: Segment,
    *,
    as_they_lie: bool,
    spill: Path,
) -> Iterator[pyarrow.RecordBatch]:
    """Read a query as a stream, by its keys.

    Args:
        cursor: Of its own: the result ends when it is used again.
        query: Without an order.
        columns: Those that are wanted, `key` among them.
        order: Names of columns, `key` first.
        segment: What the query reads, of which it may leave out some.
        as_they_lie: Do not sort what lies in order.
        spill: Folder for what must be sorted on disk.

    Raises:
        OutOfOrder: it did not lie in order.
        duckdb.OutOfMemoryException: there is less memory than this needs.
    """
    import duckdb

    try:
        if as_they_lie and segment.in_order:
            yield from _in_order(_read(cursor, f"SELECT {columns} FROM ({query})"))
        elif segment.size <= SORTED:
            by = ", ".join(order)
            yield from _read(cursor, f"SELECT {columns} FROM ({query}) ORDER BY {by}")
        else:
            yield from sorted_batches(cursor, query, order, segment.size, spill)
    except OSError as error:  # Arrow's name for whatever happens in DuckDB while it reads
        if "Out of Memory" in str(error):
            raise duckdb.OutOfMemoryException(str(error)) from None
        raise


def _read(cursor: duckdb.DuckDBPyConnection, query: str) -> Iterator[pyarrow.RecordBatch]:
    return (batch for batch in cursor.sql(query).to_arrow_reader(ROWS) if batch.num_rows)


def _in_order(found: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    last = None
    for batch in found:
        last = _checked(batch.column("key"), last)
        yield batch


def _checked(keys: pyarrow.Array, last: str | None) -> str:
    import pyarrow.compute as pc

    falls = pc.any(pc.less(keys[1:], keys[:-1])).as_py()
    if falls or (last is not None and keys[0].as_py() < last):
        raise OutOfOrder
    final: str = keys[-1].as_py()
    return final


def lines(batch: pyarrow.RecordBatch, start: int, stop: int) -> Lines:
    """Return rows of the first column, a text, as they lie in memory."""
    column = batch.column(0)
    _, offsets, text = column.buffers()
    places = memoryview(offsets).cast("q" if column.type == _large() else "i")
    first, last = places[column.offset + start], places[column.offset + stop]
    return Lines(memoryview(text)[first:last], stop - start)


def others(batch: pyarrow.RecordBatch) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows that are no line yet (`plain` is false) but all their columns as JSON, each with its place in the batch."""
    import orjson
    import pyarrow.compute as pc

    places = pc.indices_nonzero(pc.invert(batch.column("plain")))
    if not len(places):
        return []
    texts = batch.column(0).take(places).to_pylist()
    return list(zip(places.to_pylist(), map(orjson.loads, texts), strict=True))


def _large() -> pyarrow.DataType:
    import pyarrow as pa

    return pa.large_string()


def use_long_texts(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a batch hold more than 2 GB of text; before the connection is locked."""
    connection.execute("SET arrow_large_buffer_size = true")
