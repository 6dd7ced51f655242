"""Sort rows of text that do not fit into memory.

DuckDB's own sort keeps a part of each sorted run in memory, and of long rows that is more than an export gives it. Here rows go through once, into
drawers: files without a name, each for the keys between two bounds, which are drawn from a sample. Then one drawer after the other is sorted in
memory and put out. A drawer holds some thousands of rows, however many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pyarrow

DRAWER = 8_192
"""Rows, if the sample is fair."""
MOST_DRAWERS = 400
"""That are open at a time."""
SAMPLE = 50
"""Keys for each drawer."""


def bounds(cursor: duckdb.DuckDBPyConnection, query: str, rows: int, size: int) -> list[str]:
    """Draw keys that part rows into groups of about one size, in order.

    Args:
        cursor: To run it.
        query: It has a column `key`.
        rows: How many it has.
        size: Of a group.
    """
    groups = min(rows // size + 1, MOST_DRAWERS)
    sample = f"SELECT key FROM (SELECT key FROM ({query})) USING SAMPLE {groups * SAMPLE} ROWS"
    keys = sorted(key for (key,) in cursor.execute(sample).fetchall())
    picked = {keys[len(keys) * at // groups] for at in range(1, groups)} if keys else set()
    return sorted(picked)


def sorted_batches(
    cursor: duckdb.DuckDBPyConnection, query: str, order: Sequence[str], rows: int, folder: Path
) -> Iterator[pyarrow.RecordBatch]:
    """Yield a query's rows by some of its columns.

    Args:
        cursor: Of its own: the result ends when it is used again.
        query: It has a column `key`.
        order: Names of columns, `key` first.
        rows: How many there are at most.
        folder: Of the drawers.
    """
    found = bounds(cursor, query, rows, DRAWER)
    with ExitStack() as stack:
        place = stack.enter_context(_place(folder))
        drawers = [stack.enter_context(TemporaryFile(dir=place)) for _ in range(len(found) + 1)]
        put_in = f"SELECT *, {_drawer(found, 0, len(found))} AS drawer FROM ({query})"
        _fill(cursor.sql(put_in).to_arrow_reader(DRAWER), drawers)
        for drawer in drawers:
            yield from _emptied(drawer, order)


@contextmanager
def _place(folder: Path) -> Iterator[Path | None]:
    """Make a folder for a while; None is the system's, for a dataset that may only be read."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        yield None
        return
    yield folder if os.access(folder, os.W_OK) else None
    with suppress(OSError):  # DuckDB may have something there
        folder.rmdir()


def literal(text: str) -> str:
    """Write a text from somebody's file in SQL, where no zero may stand."""
    pieces = ("'" + piece.replace("'", "''") + "'" for piece in text.split("\0"))
    return f"({' || chr(0) || '.join(pieces)})"


def _drawer(found: Sequence[str], first: int, last: int) -> str:
    """Return an SQL expression that finds a key's drawer by halves, as one looks up a word."""
    if first == last:
        return str(first)
    middle = (first + last) // 2
    left, right = _drawer(found, first, middle), _drawer(found, middle + 1, last)
    return f"CASE WHEN key < {literal(found[middle])} THEN {left} ELSE {right} END"


def _fill(reader: pyarrow.RecordBatchReader, drawers: Sequence[IO[bytes]]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = reader.schema.remove(len(reader.schema) - 1)
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(file, schema)) for file in drawers]
        for batch in reader:
            batch = batch.take(pc.sort_indices(batch.column("drawer")))
            counts = pc.value_counts(batch.column("drawer"))  # in the order in which they come
            numbers, sizes = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
            rows = pa.RecordBatch.from_arrays(batch.columns[:-1], schema=schema)
            places = pairwise(accumulate(sizes, initial=0))
            for number, (start, stop) in zip(numbers, places, strict=True):
                writers[number].write_batch(rows.slice(start, stop - start))
    pa.default_memory_pool().release_unused()


def _emptied(drawer: IO[bytes], order: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Yield what is in a drawer, sorted; it takes no place after that."""
    import pyarrow as pa
    import pyarrow.compute as pc

    drawer.seek(0)
    with pa.ipc.open_stream(drawer) as reader:
        table = reader.read_all()
    drawer.truncate(0)
    by = [(name, "ascending") for name in order]
    table = table.take(pc.sort_indices(table, sort_keys=by)).combine_chunks()
    yield from table.to_batches()
    del table
    pa.default_memory_pool().release_unused()
