"""Measures: what is known of each record, made once and kept.

    measures/language.1/m-00000.parquet      id, and the columns of the measure; a part for each time that records were new

Nobody else writes there, and it can be deleted: it is then made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.curate.base import Measure, Table
from mimicit.parts import merge_small, next_part, parts_of
from mimicit.parts import write_part as write_parquet
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

ROWS = 8_192
"""That are measured at a time."""


def folder_of(store: Store, name: str, measure: Measure) -> Path:
    return store.path / "measures" / f"{name}.{measure.version}"


def schema_of(measure: Measure) -> pyarrow.Schema:
    return _schema(tuple(measure.columns.items()))


@cache
def _schema(columns: tuple[tuple[str, str], ...]) -> pyarrow.Schema:
    import duckdb
    import pyarrow as pa

    named = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns)
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT ''::VARCHAR AS id, {named}").to_arrow_table().schema
    return pa.schema([found.field(0).with_nullable(False), *list(found)[1:]])


def attach(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    measures: Iterable[tuple[str, Measure | Table]],
) -> None:
    """Measure what is new, and have the table `measured`: all records with all that is known of them.

    Args:
        store: The dataset, of which the caller is the writer.
        connection: Reads its catalog.
        measures: Name and measure.
    """
    joins, columns = "", "i.*, i.rowid AS _row"
    for name, measure in measures:
        if isinstance(measure, Table):
            measure.attach(store, connection)
            continue
        _register(store, connection, name, measure)
        if _measure(store, connection, name, measure):
            _register(store, connection, name, measure)
        joins += f" LEFT JOIN measure_{name} ON measure_{name}.id = i.id"
        columns += "".join(
            f', measure_{name}."{column}" AS {name}_{column}' for column in measure.columns
        )
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW measured AS SELECT {columns} FROM instructions AS i{joins}"
    )


def _register(
    store: Store, connection: duckdb.DuckDBPyConnection, name: str, measure: Measure
) -> None:
    import pyarrow as pa
    import pyarrow.dataset

    paths = parts_of(folder_of(store, name, measure))
    schema = schema_of(measure)
    rows = pyarrow.dataset.dataset(paths, schema) if paths else pa.table(schema.empty_table())
    connection.register(f"measure_{name}", rows)


def _measure(
    store: Store, connection: duckdb.DuckDBPyConnection, name: str, measure: Measure
) -> bool:
    """Write a part with what the measure says of the records that it has not seen; say whether there were some."""
    if not new_rows(connection, f"measure_{name}", "id"):
        return False
    folder, schema = folder_of(store, name, measure), schema_of(measure)
    new = "instructions WHERE rowid IN (SELECT _row FROM new_rows)"
    tables = (
        _by_sql(connection, measure, new) if measure.sql else _by_python(connection, measure, new)
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(next_part(folder, "m"), (table.cast(schema) for table in tables), schema)
    merge_small(folder, schema)
    return True


def new_rows(connection: duckdb.DuckDBPyConnection, seen: str, id_: str) -> int:
    """Have the table `new_rows`: the records that another table does not know; return how many there are.

    Only ids are looked at: texts are read of the new ones alone.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE new_rows AS SELECT i.rowid AS _row FROM instructions AS i "
        f"ANTI JOIN {seen} AS s ON s.{id_} = i.id"
    )
    [(count,)] = connection.execute("SELECT count(*) FROM new_rows").fetchall()
    return int(count)


def _by_sql(
    connection: duckdb.DuckDBPyConnection, measure: Measure, new: str
) -> Iterator[pyarrow.Table]:
    assert measure.sql
    columns = ", ".join(f'{expression} AS "{name}"' for name, expression in measure.sql.items())
    yield from _batches(connection, f"SELECT id, {columns} FROM {new}", ROWS * 8)


def _by_python(
    connection: duckdb.DuckDBPyConnection, measure: Measure, new: str
) -> Iterator[pyarrow.Table]:
    import pyarrow as pa

    assert measure.compute
    read = ", ".join(measure.reads)
    for table in _batches(connection, f"SELECT id, {read} FROM {new}", ROWS):
        [batch] = table.combine_chunks().to_batches()
        yield pa.table({"id": batch["id"], **measure.compute(batch)})


def _batches(
    connection: duckdb.DuckDBPyConnection, query: str, rows: int
) -> Iterator[pyarrow.Table]:
    import pyarrow as pa

    for batch in connection.sql(query).to_arrow_reader(rows):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])
