"""`catalog.duckdb`: everything in a dataset folder as tables and views, for any DuckDB client.

The catalog holds no truth. It follows the Parquet parts by name and the ledger by row number, and a lost, old or damaged one
is built again from them. Texts are copied into it, so it can be opened from anywhere; picture bytes are not, only their places.
No primary keys: on millions of rows they cost more than they tell.

    instructions  images  verdicts  relations             from Parquet
    run_starts  run_ends  prompts  requests  sent  replies  failures  readings   from the ledger
    accepted  rejected  runs  attempts  provenance        views
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import DatasetError, LockedError
from mimicit.ledger_tables import LEDGER_TABLES, open_ledger
from mimicit.shards import places

if TYPE_CHECKING:
    import duckdb

CATALOG_VERSION = 3
STORAGE_VERSION = "v1.5.0"
"""Both DuckDB 1.5 and 2.x read and write it."""
ROW_GROUP_ROWS = 16_384
"""Each time rows are added, the last row group is written again from memory: a small one keeps that small."""
LEDGER_BATCH = 10_000

PARTS = {
    "instructions": "text",
    "images": "images",
    "verdicts": "verdicts",
    "relations": "relations",
}
"""Table -> folder of its Parquet parts."""

TABLES = """
CREATE TABLE instructions (
    id VARCHAR, task VARCHAR,
    instruction VARCHAR USING COMPRESSION zstd, answer VARCHAR USING COMPRESSION zstd,
    image_ids VARCHAR[], rel_ins_ids VARCHAR[], language VARCHAR,
    source VARCHAR, request VARCHAR, reply BIGINT, translation_of VARCHAR, part VARCHAR
);
CREATE TABLE images (
    id VARCHAR, shard VARCHAR, "row" BIGINT, "offset" BIGINT, length BIGINT,
    sha256 VARCHAR, mime VARCHAR, width INTEGER, height INTEGER, source VARCHAR, time DOUBLE,
    part VARCHAR
);
CREATE TABLE verdicts (
    record VARCHAR, filter VARCHAR, reason VARCHAR, recipe VARCHAR, recipe_digest VARCHAR,
    time TIMESTAMPTZ, score DOUBLE, rejects BOOLEAN DEFAULT true, part VARCHAR
);
CREATE TABLE relations (
    record VARCHAR, related VARCHAR[], strategy VARCHAR, seed BIGINT, part VARCHAR
);
CREATE TABLE _parts ("table" VARCHAR, part VARCHAR);
CREATE TABLE _meta (catalog_version INTEGER);
"""

VIEWS = """
CREATE VIEW accepted AS
    SELECT * EXCLUDE (part) FROM instructions
    WHERE id NOT IN (SELECT record FROM verdicts WHERE coalesce(rejects, true));
CREATE VIEW rejected AS
    SELECT i.* EXCLUDE (part), v.reasons
    FROM instructions AS i
    JOIN (
        SELECT record, list({'filter': filter, 'reason': reason, 'recipe': recipe}) AS reasons
        FROM verdicts WHERE coalesce(rejects, true) GROUP BY record
    ) AS v ON v.record = i.id;
CREATE VIEW runs AS
    SELECT s.id, s.task, s.model, s.time AS started, e.time AS ended, e.outcome,
           s.arguments, s.versions
    FROM run_starts AS s LEFT JOIN run_ends AS e ON e.run = s.id;
CREATE VIEW attempts AS
    SELECT s.id, s.request, s.run, s.time AS sent,
           CASE WHEN r.id IS NOT NULL THEN 'answered'
                WHEN f.sent IS NOT NULL THEN f.kind
                ELSE 'in flight' END AS outcome,
           r.id AS reply, f.message
    FROM sent AS s
    LEFT JOIN replies AS r ON r.sent = s.id
    LEFT JOIN failures AS f ON f.sent = s.id;
CREATE VIEW provenance AS
    SELECT i.id, i.task, i.instruction, i.answer, i.source,
           q.context, q.query, q.key AS request, p.version AS prompt_version, p.digest AS prompt,
           r.id AS reply, r.model, r.text AS reply_text, r.finish_reason,
           r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.cost_usd, r.seconds,
           r.run, n.started AS run_started,
           coalesce(v.verdicts, []) AS verdicts
    FROM instructions AS i
    LEFT JOIN replies AS r ON r.id = i.reply AND r.request = i.request
    LEFT JOIN requests AS q ON q.key = i.request
    LEFT JOIN prompts AS p ON p.digest = q.prompt
    LEFT JOIN runs AS n ON n.id = r.run
    LEFT JOIN (
        SELECT record, list({'filter': filter, 'reason': reason, 'recipe': recipe, 'score': score,
                             'rejects': coalesce(rejects, true)}) AS verdicts
        FROM verdicts GROUP BY record
    ) AS v ON v.record = i.id;
"""


@contextmanager
def connect(
    path: Path, *, read_only: bool, patience: float = 10.0
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog for a moment; it is the current database of the connection.

    Args:
        path: The catalog's file.
        read_only: A file that is being read cannot be written, nor the other way round.
        patience: Seconds to wait for another process to let go of the file.

    Raises:
        LockedError: another process kept it open.
    """
    import duckdb

    deadline = time.monotonic() + patience
    mode = (
        "READ_ONLY"
        if read_only
        else f"STORAGE_VERSION '{STORAGE_VERSION}', ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    )
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        while True:
            try:
                connection.execute(f"ATTACH {_quoted(str(path))} AS catalog ({mode})")
                break
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise
                if time.monotonic() > deadline:
                    raise LockedError(
                        f"{str(path)!r} is open in another process; close it there and try again"
                    ) from None
                time.sleep(0.1)
        connection.execute("USE catalog")
        yield connection
    finally:
        connection.close()


def scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """Return the only value of a query; the result is read to its end, as DuckDB 2 demands."""
    [(value,)] = connection.execute(query).fetchall()
    return int(value)


def sync(folder: Path, *, patience: float = 10.0) -> None:
    """Bring the catalog up to date with the parts and the ledger, in one transaction."""
    import duckdb

    path = folder / "catalog.duckdb"
    if not path.exists():
        rebuild(folder)
        return
    try:
        with connect(path, read_only=False, patience=patience) as connection:
            if scalar(connection, "SELECT max(catalog_version) FROM _meta") == CATALOG_VERSION:
                _follow(connection, folder)
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
        _build(folder)
    except duckdb.IOException as error:
        raise DatasetError(
            f"the catalog of {str(folder)!r} cannot be written ({str(error).splitlines()[0]}); nothing is "
            "lost: free space, and it is made again when it is needed"
        ) from None


def _build(folder: Path) -> None:
    staged = folder / ".catalog.duckdb.staged"
    for leftover in (staged, staged.with_name(staged.name + ".wal")):
        leftover.unlink(missing_ok=True)
    with connect(staged, read_only=False) as connection:
        connection.execute(TABLES)
        for name, columns in LEDGER_TABLES.items():
            listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
            connection.execute(f"CREATE TABLE {name} ({listed})")
        connection.execute(VIEWS)
        connection.execute("INSERT INTO _meta VALUES (?)", [CATALOG_VERSION])
        _follow(connection, folder)
        connection.execute("CHECKPOINT catalog")
    (folder / "catalog.duckdb.wal").unlink(missing_ok=True)
    staged.rename(folder / "catalog.duckdb")


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
        return any(
            _count(connection, name) != source.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in LEDGER_TABLES
        )


def _follow(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.execute("BEGIN")
    listed, present = _listed(connection), _on_disk(folder)
    for table, part in sorted(listed - present):
        connection.execute(f"DELETE FROM {table} WHERE part = ?", [part])
        connection.execute('DELETE FROM _parts WHERE "table" = ? AND part = ?', [table, part])
    for table, part in sorted(present - listed):
        _load_part(connection, folder, table, part)
        connection.execute("INSERT INTO _parts VALUES (?, ?)", [table, part])
    _follow_ledger(connection, folder / "ledger" / "ledger.sqlite")
    connection.execute("COMMIT")


def _load_part(connection: duckdb.DuckDBPyConnection, folder: Path, table: str, part: str) -> None:
    import duckdb

    if table == "images":
        rows = places(folder / part)  # read by DuckDB under this name
        connection.register("rows", rows)
        source = "(SELECT *, $part AS shard FROM rows)"
    else:
        source = f"read_parquet({_quoted(str(folder / part))})"
    try:
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT *, $part AS part FROM {source}", {"part": part}
        )
    except (duckdb.InvalidInputException, duckdb.BinderException, duckdb.IOException) as error:
        raise DatasetError(
            f"{str(folder / part)!r} cannot be read ({str(error).splitlines()[0]}); "
            "restore it, or move it away to go on without it"
        ) from None


def _follow_ledger(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    if not path.exists():
        return
    with open_ledger(path) as source:
        for table, columns in LEDGER_TABLES.items():
            there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
            listed = ", ".join(c if c in there else f"NULL AS {c}" for c in columns)
            cursor = source.execute(
                f"SELECT {listed} FROM {table} ORDER BY rowid LIMIT -1 OFFSET ?",
                [_count(connection, table)],
            )
            while rows := cursor.fetchmany(LEDGER_BATCH):
                connection.register("rows", _arrow(rows, columns))
                connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")


def _arrow(rows: list[tuple[Any, ...]], columns: dict[str, str]) -> Any:
    import pyarrow as pa

    kinds = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    }
    values = dict(zip(columns, zip(*rows, strict=True), strict=True))
    for name, kind in columns.items():
        if kind == "TIMESTAMPTZ":
            values[name] = tuple(None if at is None else int(at * 1e6) for at in values[name])
    return pa.table({name: pa.array(values[name], kinds[kind]) for name, kind in columns.items()})


def _listed(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    return set(connection.execute('SELECT "table", part FROM _parts').fetchall())


def _on_disk(folder: Path) -> set[tuple[str, str]]:
    return {
        (table, f"{name}/{path.name}")
        for table, name in PARTS.items()
        for path in (folder / name).glob("[!.]*.parquet")
    }


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return scalar(connection, f"SELECT count(*) FROM {table}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
