"""The ledger's file: how SQLite is set, its tables and indexes, and what they were in earlier versions."""

from __future__ import annotations

import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version

from mimicit.ledger_tables import LEDGER_TABLES

CHECKPOINT_PAGES = 8_192
"""Pages of 4 KiB after which SQLite moves the WAL into the file."""

CACHE_KB = 4_096
"""Of pages that SQLite keeps: keys are spread over their whole index."""

_INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS prompts_by_digest ON prompts (digest)",
    "CREATE UNIQUE INDEX IF NOT EXISTS schemas_by_digest ON schemas (digest)",
    "CREATE UNIQUE INDEX IF NOT EXISTS requests_by_key ON requests (key)",
    "CREATE INDEX IF NOT EXISTS replies_by_request ON replies (request)",
    "CREATE INDEX IF NOT EXISTS readings_by_reply ON readings (reply)",
    "CREATE INDEX IF NOT EXISTS failures_for_good ON failures (request) WHERE kind IN ('refused', 'content')",
    "CREATE INDEX IF NOT EXISTS batch_requests_by_request ON batch_requests (request)",
    # Of earlier versions: each index is another page to write for a row, and nobody asks by these.
    "DROP INDEX IF EXISTS sent_by_request",
    "DROP INDEX IF EXISTS replies_by_sent",
    "DROP INDEX IF EXISTS failures_by_sent",
)
_VERSIONED = ("mimicit", "litellm", "xllamacpp", "duckdb")


def prepare(connection: sqlite3.Connection) -> None:
    """Make what is not there: tables, columns that came since the ledger was begun, indexes."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    for table, columns in LEDGER_TABLES.items():
        listed = ", ".join(_column(name, kind) for name, kind in columns.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({listed})")
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if name not in there:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {_column(name, kind)}")
    for index in _INDEXES:
        connection.execute(index)


def _column(name: str, kind: str) -> str:
    if name == "id" and kind == "BIGINT":
        return "id INTEGER PRIMARY KEY"
    types = {"VARCHAR": "TEXT", "BIGINT": "INTEGER", "DOUBLE": "REAL", "TIMESTAMPTZ": "REAL"}
    return f"{name} {types[kind]}"


def versions() -> dict[str, str]:
    """Return the versions of what a run's answers may depend on."""
    found = {"python": sys.version.split()[0]}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
