"""Measures: what is known of each record, made once and kept.

    measures/language.1/m-00000.parquet      id, and the columns of the measure; a part for each time that records were new
    measures/language.1/seen.json            which text parts were gone through (`mimicit.curate.seen`)

Nobody else writes there, and it can be deleted: it is then made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.curate.base import Measure, Table
from mimicit.curate.opening import Tell, show, silent
from mimicit.curate.seen import blocks, new_rows, note
from mimicit.parts import merge_small, next_part
from mimicit.parts import write_part as write_parquet
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

ROWS = 8_192
"""That are measured at a time."""
BLOCK = 131_072
"""Rows that DuckDB measures at a time, with all processors."""
_ARROW = {
    "BLOB": "binary", "BOOLEAN": "bool_", "DOUBLE": "float64", "FLOAT": "float32", "VARCHAR": "string",
    "TINYINT": "int8", "SMALLINT": "int16", "INTEGER": "int32", "BIGINT": "int64",
    "UTINYINT": "uint8", "USMALLINT": "uint16", "UINTEGER": "uint32", "UBIGINT": "uint64",
}  # fmt: skip
"""DuckDB's types, and Arrow's: to ask DuckDB takes longer than all else when little is new."""


def folder_of(store: Store, name: str, measure: Measure) -> Path:
    return store.path / "measures" / f"{name}.{measure.version}"


def schema_of(measure: Measure) -> pyarrow.Schema:
    return _schema(tuple(measure.columns.items()))


@cache
def _schema(columns: tuple[tuple[str, str], ...]) -> pyarrow.Schema:
    import pyarrow as pa

    typed = [(name, _arrow_type(kind)) for name, kind in columns]
    return pa.schema([pa.field("id", pa.string(), nullable=False), *typed])


def _arrow_type(kind: str) -> pyarrow.DataType:
    import pyarrow as pa

    if kind in _ARROW:
        return getattr(pa, _ARROW[kind])()
    import duckdb

    with duckdb.connect() as connection:
        return connection.sql(f"SELECT NULL::{kind} AS x").to_arrow_table().schema.field(0).type


def attach(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    measures: Iterable[tuple[str, Measure | Table]],
    tell: Tell = silent,
) -> None:
    """Measure what is new, and have the table `measured`: all records with all that is known of them.

    Args:
        store: The dataset, of which the caller is the writer.
        connection: Reads its catalog, which is up to date.
        measures: Name and measure.
        tell: Is told how far it is.
    """
    known: dict[str, Measure] = {}
    for name, measure in measures:
        if isinstance(measure, Table):
            tell(f"looking at {name}", 0, 0)
            measure.attach(store, connection)
            continue
        _show(store, connection, name, measure)
        if _measure(store, connection, name, measure, tell):
            _show(store, connection, name, measure)
        known[name] = measure
    join(connection, "measured", known)


def join(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    measures: dict[str, Measure],
    *,
    records: str = "instructions",
) -> None:
    """Have a table of records with what some measures say of them, and `_row`, their place."""
    joins = "".join(f" LEFT JOIN measure_{name} ON measure_{name}.id = i.id" for name in measures)
    columns = "".join(
        f', measure_{name}."{column}" AS {name}_{column}'
        for name, measure in measures.items()
        for column in measure.columns
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT i.*, i.rowid AS _row{columns} FROM {records} AS i{joins}"
    )


def _show(store: Store, connection: duckdb.DuckDBPyConnection, name: str, measure: Measure) -> None:
    columns = {"id": "VARCHAR", **measure.columns}
    show(connection, f"measure_{name}", folder_of(store, name, measure), columns)


def _measure(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    name: str,
    measure: Measure,
    tell: Tell,
) -> bool:
    """Write a part with what the measure says of the records that it has not seen; say whether there were some."""
    folder = folder_of(store, name, measure)
    new = new_rows(connection, store, folder, f"measure_{name}", "id")
    if new:
        schema = schema_of(measure)
        tables = (_by_sql if measure.sql else _by_python)(connection, measure)
        folder.mkdir(parents=True, exist_ok=True)
        counted = _counted(tables, f"measuring {name}", new, tell)
        write_parquet(next_part(folder, "m"), (t.cast(schema) for t in counted), schema)
        merge_small(folder, schema)
    note(store, folder)
    return bool(new)


def _counted(
    tables: Iterator[pyarrow.Table], what: str, total: int, tell: Tell
) -> Iterator[pyarrow.Table]:
    done = 0
    tell(what, 0, total)
    for table in tables:
        yield table
        done += table.num_rows
        tell(what, done, total)


def _by_sql(connection: duckdb.DuckDBPyConnection, measure: Measure) -> Iterator[pyarrow.Table]:
    assert measure.sql
    columns = ", ".join(f'{expression} AS "{name}"' for name, expression in measure.sql.items())
    for where, _ in blocks(connection, BLOCK):
        yield connection.sql(
            f"SELECT id, {columns} FROM instructions WHERE {where}"
        ).to_arrow_table()


def _by_python(connection: duckdb.DuckDBPyConnection, measure: Measure) -> Iterator[pyarrow.Table]:
    import pyarrow as pa

    assert measure.compute
    read = ", ".join(measure.reads)
    query = f"SELECT id, {read} FROM instructions WHERE rowid IN (SELECT _row FROM new_rows)"
    for batch in connection.sql(query).to_arrow_reader(ROWS):
        if batch.num_rows:
            [whole] = pa.Table.from_batches([batch]).combine_chunks().to_batches()
            yield pa.table({"id": whole["id"], **measure.compute(whole)})
