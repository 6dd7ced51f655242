"""What a check works on: the parts' rows without texts and pictures, in a DuckDB file that spills instead of growing.

records    part, row, id, task, image_ids, …   texts only as: are they blank, how many <image> are in them
pictures   part, row, id, offset, length, …    no bytes
relations  part, row, record, related
truths     part, row, mime, width, height      of pictures that are not what is noted
findings   fault, part, row, id, what, file    file: of what is no part
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mimicit.columns import as_table

if TYPE_CHECKING:
    import duckdb
    import pyarrow

MEMORY = "64MB"
"""What DuckDB may use; the rest is on disk."""
THREADS = 2
"""Each takes a part of that memory for itself."""
SPAN = 8_192
"""Rows of a part whose lists are made at a time."""
ROW_GROUP_ROWS = 10_240
"""Of the tables: what is written at a time has to be in memory."""

_TABLES = """
CREATE TABLE records (
    part INTEGER, "row" BIGINT, id VARCHAR, task VARCHAR, image_ids VARCHAR[], rel_ins_ids VARCHAR[],
    translation_of VARCHAR, conversation VARCHAR, turn INTEGER,
    no_instruction BOOLEAN, no_answer BOOLEAN, placeholders BIGINT
);
CREATE TABLE pictures (
    part INTEGER, "row" BIGINT, id VARCHAR, "offset" BIGINT, length BIGINT, sha256 VARCHAR
);
CREATE TABLE relations (part INTEGER, "row" BIGINT, record VARCHAR, related VARCHAR[]);
CREATE TABLE truths (part INTEGER, "row" BIGINT, mime VARCHAR, width BIGINT, height BIGINT);
CREATE TABLE findings (
    fault VARCHAR, part INTEGER, "row" BIGINT, id VARCHAR, what VARCHAR, file VARCHAR
);
"""


@dataclass
class Part:
    """A Parquet file of the dataset."""

    number: int
    folder: str
    path: Path
    rows: int = 0
    """What its footer says."""
    bad: list[tuple[int, int]] = field(default_factory=list)
    """Row numbers of groups that cannot be read: from, to (not included)."""
    whole: bool = False
    """Nothing in it can be used."""

    @property
    def file(self) -> str:
        return plain_name(f"{self.folder}/{self.path.name}")


def plain_name(path: str | Path) -> str:
    """Name a file by characters, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "replace")


class Found(NamedTuple):
    """A finding as it is put into the table."""

    fault: str
    what: str
    part: int | None = None
    row: int | None = None
    id: str | None = None
    file: str | None = None


class Bench:
    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.connection = connection
        self.parts: list[Part] = []

    def run(self, query: str, **values: object) -> None:
        self.connection.execute(query, values)

    def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """Return a result that is known to be small."""
        return self.connection.execute(query, values).fetchall()

    def stream(self, query: str, **values: object) -> Iterator[tuple[Any, ...]]:
        """Yield a result of any size; other queries may run meanwhile."""
        with self.connection.cursor() as cursor:
            cursor.execute("USE bench")
            cursor.execute(query, values)
            while rows := cursor.fetchmany(2_000):
                yield from rows

    def in_spans(self, table: str, query: str, **values: object) -> None:
        """Run a query that groups a table's rows, some of a part at a time: what gathers lists cannot spill.

        Args:
            table: The one it is over.
            query: Asks for `part = $part AND "row" >= $start AND "row" < $end`.
            values: Others that it asks for.
        """
        spans = self.stream(
            f'SELECT DISTINCT part, "row" // {SPAN} AS span FROM {table} ORDER BY ALL'
        )
        for part, span in list(spans):
            self.run(query, part=part, start=span * SPAN, end=(span + 1) * SPAN, **values)

    def note(self, found: Sequence[Found]) -> None:
        """Put findings into their table."""
        import pyarrow as pa

        kinds = {"part": pa.int32(), "row": pa.int64()}
        self.load(
            "findings", Found._fields, found, [kinds.get(n, pa.string()) for n in Found._fields]
        )

    def note_truths(self, truths: Sequence[tuple[int, int, str, int, int]]) -> None:
        import pyarrow as pa

        kinds = [pa.int32(), pa.int64(), pa.string(), pa.int64(), pa.int64()]
        self.load("truths", ("part", "row", "mime", "width", "height"), truths, kinds)

    def load(
        self,
        table: str,
        names: Sequence[str],
        rows: Sequence[Sequence[Any]],
        kinds: Sequence[pyarrow.DataType],
    ) -> None:
        """Put a few thousand rows of Python's values into a table."""
        import pyarrow as pa

        if not rows:
            return
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        schema = pa.schema(list(zip(names, kinds, strict=True)))
        self.connection.register("_rows", as_table(columns, schema))
        self.connection.execute(f"INSERT INTO {table} BY NAME FROM _rows")
        self.connection.unregister("_rows")

    def of(self, folder: str) -> list[Part]:
        return [part for part in self.parts if part.folder == folder]


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Open a bench for a dataset folder, in a temporary folder of its own."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="mimicit-") as beside, duckdb.connect() as connection:
        file = str(Path(beside) / "bench.duckdb").replace("'", "''")
        connection.execute(f"ATTACH '{file}' AS bench (ROW_GROUP_SIZE {ROW_GROUP_ROWS})")
        connection.execute("USE bench")
        connection.execute("SET temp_directory = $folder", {"folder": str(Path(beside) / "spilt")})
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        connection.execute(f"SET threads = {min(THREADS, len(os.sched_getaffinity(0)))}")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(_TABLES)
        yield Bench(folder, connection)
