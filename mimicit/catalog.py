"""`catalog.duckdb`: everything in a dataset folder as tables and views, for any DuckDB client.

The catalog holds no truth. It follows the Parquet parts by name and the ledger, whose tables only grow, by row number, and a
lost, old or damaged one is built again from them. Texts are copied into it, so it can be opened from anywhere; picture bytes are not, only their places.
No primary keys: on millions of rows they cost more than they tell.

    instructions  images  verdicts  relations             from Parquet
    run_starts  run_ends  prompts  requests  sent  replies  failures  readings
    batches  batch_requests  batch_events                 from the ledger
    accepted  rejected  runs  attempts  costs  provenance  views
    annotations  splits  steps  step_records              views: the newest of each, what training runs wrote
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit import step_files
from mimicit.catalog_tables import CATALOG_VERSION, TRAINING, statements
from mimicit.columns import as_column
from mimicit.errors import DatasetError, LockedError
from mimicit.ledger_files import open_ledger
from mimicit.ledger_tables import LEDGER_TABLES
from mimicit.parts import parts_of
from mimicit.shards import places

if TYPE_CHECKING:
    import sqlite3

    import duckdb
    import pyarrow

STORAGE_VERSION = "v1.5.0"
"""Both DuckDB 1.5 and 2.x read and write it."""
ROW_GROUP_ROWS = 16_384
"""Each time rows are added, the last row group is written again from memory: a small one keeps that small."""
LEDGER_BATCH = 2_000
WRITER_MEMORY = "64MB"
"""What a run of days may give to its catalog; where that is too little, DuckDB takes what it wants."""

_STAGED = ".catalog.duckdb.staged"
SPILL = ".catalog.tmp"
"""Folder of what does not fit into that."""

PARTS = {
    "instructions": "text",
    "images": "images",
    "verdicts": "verdicts",
    "relations": "relations",
    "_annotations": "annotations",
    "_splits": "splits",
}
"""Table -> folder of its Parquet parts."""


@contextmanager
def connect(
    path: Path, *, read_only: bool, patience: float = 10.0, memory: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog for a moment; it is the current database of the connection.

    Args:
        path: The catalog's file.
        read_only: A file that is being read cannot be written, nor the other way round.
        patience: Seconds to wait for another process to let go of the file.
        memory: What DuckDB may use, with one thread; None leaves both to it.

    Raises:
        LockedError: another process kept it open.
    """
    import duckdb

    mode = (
        "READ_ONLY"
        if read_only
        else f"STORAGE_VERSION '{STORAGE_VERSION}', ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    )
    config: dict[str, Any] = {"autoinstall_known_extensions": "false"}
    if memory:
        spill = path.with_name(SPILL)
        config |= {"threads": 1, "memory_limit": memory, "temp_directory": str(spill)}
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("SET enable_progress_bar = false")  # it would stand among the results
        attach(connection, path, mode, patience)
        connection.execute("USE catalog")
        yield connection
    finally:
        connection.close()


def attach(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    mode: str = "READ_ONLY",
    patience: float = 10.0,
    name: str = "catalog",
) -> None:
    """Attach the catalog, or another file of DuckDB's under a name of its own.

    Args:
        connection: To a database of its own.
        path: The file.
        mode: Options of ATTACH.
        patience: Seconds to wait for another process to let go of the file.
        name: What it is called in SQL.

    Raises:
        LockedError: it did not.
    """
    import duckdb

    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute(f"ATTACH {_quoted(str(path))} AS {name} ({mode})")
            break
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() > deadline:
                raise LockedError(
                    f"{str(path)!r} is open in another process; close it there and try again"
                ) from None
        time.sleep(0.1)


def scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """Return the only value of a query; the result is read to its end, as DuckDB 2 demands."""
    [(value,)] = connection.execute(query).fetchall()
    return int(value)


def sync(folder: Path, *, patience: float = 10.0) -> None:
    """Bring the catalog up to date with the parts and the ledger, in one transaction."""
    import duckdb

    path = folder / "catalog.duckdb"
    try:
        if path.exists() and _frugally(lambda memory: _sync(folder, path, patience, memory)):
            return
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException):
            raise
        # Damaged, or half of a first build: it holds no truth, so it is made again.
    rebuild(folder)


def rebuild(folder: Path) -> None:
    """Build the catalog from nothing, beside its name.

    Raises:
        DatasetError: it cannot be written: the disk is full, say.
    """
    import duckdb

    try:
        try:
            _frugally(lambda memory: _build(folder, memory))
        finally:
            _remove_staged(folder)
    except duckdb.IOException as error:
        raise DatasetError(
            f"the catalog of {str(folder)!r} cannot be written ({str(error).splitlines()[0]}); nothing is "
            "lost: free space, and it is made again when it is needed"
        ) from None


def _frugally(step: Callable[[str | None], bool]) -> bool:
    """Do something in little memory; if that is too little, in more."""
    import duckdb

    try:
        return step(WRITER_MEMORY)
    except duckdb.OutOfMemoryException:
        return step(None)


def _sync(folder: Path, path: Path, patience: float, memory: str | None) -> bool:
    """Say whether the catalog could follow; an old one cannot, nor one of another ledger."""
    with connect(path, read_only=False, patience=patience, memory=memory) as connection:
        if scalar(connection, "SELECT max(catalog_version) FROM _meta") != CATALOG_VERSION:
            return False
        return _follow(connection, folder)


def _remove_staged(folder: Path) -> None:
    for leftover in (_STAGED, f"{_STAGED}.wal"):
        (folder / leftover).unlink(missing_ok=True)


def _build(folder: Path, memory: str | None) -> bool:
    _remove_staged(folder)  # a killed process may have left one
    staged = folder / _STAGED
    with connect(staged, read_only=False, memory=memory) as connection:
        for statement in statements():
            connection.execute(statement)
        connection.execute("INSERT INTO _meta VALUES (?, NULL)", [CATALOG_VERSION])
        _follow(connection, folder)
        connection.execute("CHECKPOINT catalog")
    (folder / "catalog.duckdb.wal").unlink(missing_ok=True)
    staged.rename(folder / "catalog.duckdb")
    return True


def is_stale(folder: Path) -> bool:
    """Say whether the catalog is missing, damaged, of another version, or behind the parts and the ledger."""
    import duckdb

    path = folder / "catalog.duckdb"
    if not path.exists():
        return True
    try:
        with connect(path, read_only=True) as connection:
            version = scalar(connection, "SELECT max(catalog_version) FROM _meta")
            return (
                version != CATALOG_VERSION
                or _listed(connection) != _on_disk(folder)
                or _is_behind_ledger(connection, folder / "ledger" / "ledger.sqlite")
            )
    except duckdb.Error:
        return True


def _is_behind_ledger(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    if not path.exists():
        return False
    with open_ledger(path) as source:
        return _is_another(connection, source) or _newest(source) != _followed(connection)


def _follow(connection: duckdb.DuckDBPyConnection, folder: Path) -> bool:
    """Load what is new; say whether that could be done."""
    connection.execute("BEGIN")
    listed, present = _listed(connection), _on_disk(folder)
    for table in (*PARTS, "_step_records"):
        if gone := [part for of, part in listed - present if of == table]:
            connection.execute(
                f"DELETE FROM {table} WHERE list_contains($gone, part)", {"gone": gone}
            )
            connection.execute(
                'DELETE FROM _parts WHERE "table" = $table AND list_contains($gone, part)',
                {"table": table, "gone": gone},
            )
    for table, part in sorted(present - listed):
        if table != step_files.TABLE:
            _load_part(connection, folder, table, part)
            connection.execute("INSERT INTO _parts VALUES (?, ?)", [table, part])
    left, came = (
        {part for table, part in parts if table == step_files.TABLE}
        for parts in (listed - present, present - listed)
    )
    step_files.follow(connection, folder, left, came)
    path = folder / "ledger" / "ledger.sqlite"
    if path.exists():
        with open_ledger(path) as source:
            if _is_another(connection, source):
                return False
            _follow_ledger(connection, source)
    connection.execute("COMMIT")
    return True


def _load_part(connection: duckdb.DuckDBPyConnection, folder: Path, table: str, part: str) -> None:
    import duckdb

    path = folder / part
    if table == "images":
        rows = places(path)  # read by DuckDB under this name
        connection.register("rows", rows)
        source = "(SELECT *, $part AS shard FROM rows)"
    else:
        source = f"read_parquet({_quoted(str(path))})"
    try:
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT *, $part AS part FROM {source}", {"part": part}
        )
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise DatasetError(
            f"{str(path)!r} cannot be read ({str(error).splitlines()[0]}); "
            "restore it, or move it away to go on without it"
        ) from None


def _follow_ledger(connection: duckdb.DuckDBPyConnection, source: sqlite3.Connection) -> None:
    followed = _followed(connection)
    source.execute("BEGIN")  # one view of all tables
    newest = _newest(source)
    for table, last in newest.items():
        if last == followed.get(table):
            continue
        connection.register("rows", _rows_after(followed.get(table, 0), source, table))
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")
        connection.unregister("rows")
    connection.execute("DELETE FROM _followed")
    for table, last in newest.items():
        connection.execute("INSERT INTO _followed VALUES (?, ?)", [table, last])
    connection.execute("UPDATE _meta SET ledger = ?", [_first_run(source)])


def _is_another(connection: duckdb.DuckDBPyConnection, source: sqlite3.Connection) -> bool:
    """Say whether a catalog's rows come from a ledger that is no longer there: it was moved away, or restored."""
    [(ledger,)] = connection.execute("SELECT ledger FROM _meta").fetchall()
    newest = _newest(source)
    shrunk = any(newest.get(table, 0) < last for table, last in _followed(connection).items())
    return shrunk or ledger not in (None, _first_run(source))


def _newest(source: sqlite3.Connection) -> dict[str, int]:
    """Return the last row number of each table that the ledger has; counting millions of rows would take seconds."""
    tables = {name for (name,) in source.execute("SELECT name FROM sqlite_master")}
    return {
        table: source.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0]
        for table in LEDGER_TABLES
        if table in tables
    }


def _followed(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(connection.execute('SELECT "table", last FROM _followed').fetchall())


def _first_run(source: sqlite3.Connection) -> str | None:
    row = source.execute("SELECT id FROM run_starts ORDER BY rowid LIMIT 1").fetchone()
    return None if row is None else str(row[0])


def _selected(source: sqlite3.Connection, table: str) -> Iterator[str]:
    """Yield a table's columns as the catalog wants them; times in whole microseconds, columns of a later day NULL."""
    there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    for column, kind in LEDGER_TABLES[table].items():
        if column not in there:
            yield "NULL"
        elif kind == "TIMESTAMPTZ":
            yield f"CAST({column} * 1e6 AS INTEGER)"
        else:
            yield column


def _rows_after(last: int, source: sqlite3.Connection, table: str) -> pyarrow.RecordBatchReader:
    """Stream a table's rows from a row number on: what DuckDB is given as a table it keeps until it commits."""
    import pyarrow as pa

    kinds = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in LEDGER_TABLES[table].items()])
    cursor = source.execute(
        f"SELECT {', '.join(_selected(source, table))} FROM {table} WHERE rowid > ? ORDER BY rowid",
        [last],
    )

    def batches() -> Iterator[pyarrow.RecordBatch]:
        while rows := cursor.fetchmany(LEDGER_BATCH):
            columns = zip(*rows, strict=True)
            yield pa.record_batch(list(map(as_column, columns, schema.types)), schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _listed(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    return set(connection.execute('SELECT "table", part FROM _parts').fetchall())


def _on_disk(folder: Path) -> set[tuple[str, str]]:
    parts = {
        (table, f"{name}/{path.name}")
        for table, name in PARTS.items()
        for path in parts_of(folder / name)
    }
    parts |= {(step_files.TABLE, part) for part in step_files.on_disk(folder)}
    return parts | {
        ("_step_records", f"{TRAINING}/{path.parent.name}/{path.name}")
        for path in (folder / TRAINING).glob("*/[!.]*.parquet")
    }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
