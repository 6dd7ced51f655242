"""Where rows are, by a text that is in them.

The catalog has no indexes. DuckDB skips blocks of rows by the first bytes of the texts in them; ids begin alike, so it would look at all
rows of a table for those of one record. Here each column that is searched has the hashes of its texts, sorted, and beside each the
number of its row: 8 bytes a row. Row numbers hold for one state of the catalog's file. Once that is written, all rows are looked at again,
until somebody has made another index.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mimicit.sql import quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from mimicit.review.borrowing import Stamp

Column = Literal["record", "conversation", "picture", "annotated", "judged"]
COLUMNS: dict[Column, tuple[str, str]] = {
    "record": ("instructions", "id"),
    "conversation": ("instructions", "conversation"),
    "picture": ("images", "id"),
    "annotated": ("_annotations", "unnest(pictures)"),
    "judged": ("verdicts", "record"),
}
"""Table, and text in it."""
MOST_ROWS = 5_000
"""Of some texts; for more of them it costs less to look at all."""
_HASH = "(hash(text) % 4294967296)::UINTEGER"


@dataclass(frozen=True)
class Index:
    stamp: Stamp
    """Of the catalog's file."""
    sorted: dict[Column, tuple[memoryview, memoryview]] = field(default_factory=dict)
    """Hashes, and rows."""

    def add(self, connection: duckdb.DuckDBPyConnection, column: Column) -> None:
        """Look at all rows of a column once."""
        self.sorted[column] = _sorted(connection, *COLUMNS[column])

    def rows(
        self, connection: duckdb.DuckDBPyConnection, column: Column, texts: Iterable[str]
    ) -> list[int] | None:
        """Return the rows in which one of some texts may be: another may have the same hash. None: too many."""
        hashes, rows = self.sorted[column]
        found: list[int] = []
        for wanted in _hashes(connection, texts):
            at = bisect_left(hashes, wanted)
            while at < len(hashes) and hashes[at] == wanted:
                found.append(rows[at])
                at += 1
                if len(found) > MOST_ROWS:
                    return None
        return found


def narrowed(
    connection: duckdb.DuckDBPyConnection, index: Index | None, column: Column, texts: Iterable[str]
) -> str:
    """Return the beginning of a predicate that is true only where one of some texts may be; without an index, everywhere."""
    rows = index.rows(connection, column, texts) if index else None
    if rows is None:
        return "true"
    return f"rowid IN ({', '.join(map(str, rows))})" if rows else "false"


def _sorted(
    connection: duckdb.DuckDBPyConnection, table: str, text: str
) -> tuple[memoryview, memoryview]:
    found = connection.sql(
        f'SELECT {_HASH} AS hash, "row"::UINTEGER AS "row" FROM '
        f'(SELECT {text} AS text, rowid AS "row" FROM {table}) WHERE text IS NOT NULL ORDER BY hash'
    ).to_arrow_table()
    return _numbers(found["hash"]), _numbers(found["row"])


def _hashes(connection: duckdb.DuckDBPyConnection, texts: Iterable[str]) -> list[int]:
    listed = ", ".join(map(quoted, texts))
    if not listed:
        return []
    query = f"SELECT DISTINCT {_HASH} FROM (SELECT unnest([{listed}]) AS text)"
    return [number for (number,) in connection.execute(query).fetchall()]


def _numbers(column: pyarrow.ChunkedArray) -> memoryview:
    """Return a column of 32-bit numbers as they lie in memory."""
    numbers = column.combine_chunks()
    data = numbers.buffers()[1]
    start = 4 * numbers.offset
    return memoryview(data or b"")[start : start + 4 * len(numbers)].cast("I")
