"""The ledger's tables: one definition for the SQLite file that is written and for the catalog that is read.

Every table only grows, so the catalog follows it by row number. Times are seconds since 1970 (UTC) in SQLite and
TIMESTAMPTZ in the catalog. New columns come last, and are NULL in a ledger that was begun before them. A request without a reply or failure after its `sent` row was in flight when its process
ended, and may have been billed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEDGER_TABLES: dict[str, dict[str, str]] = {
    "run_starts": {
        "id": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "task": "VARCHAR",
        "model": "VARCHAR",
        "arguments": "VARCHAR",
        "versions": "VARCHAR",
    },
    "run_ends": {
        "run": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "outcome": "VARCHAR",
        "summary": "VARCHAR",
    },
    "prompts": {
        "digest": "VARCHAR",
        "task": "VARCHAR",
        "version": "BIGINT",
        "messages": "VARCHAR",
    },
    "schemas": {"digest": "VARCHAR", "schema": "VARCHAR"},
    "requests": {
        "key": "VARCHAR",
        "run": "VARCHAR",
        "prompt": "VARCHAR",
        "model": "VARCHAR",
        "context": "VARCHAR",
        "query": "VARCHAR",
        "parameters": "VARCHAR",
        "sample": "BIGINT",
        "time": "TIMESTAMPTZ",
    },
    "sent": {"id": "BIGINT", "request": "VARCHAR", "run": "VARCHAR", "time": "TIMESTAMPTZ"},
    "replies": {
        "id": "BIGINT",
        "sent": "BIGINT",
        "request": "VARCHAR",
        "run": "VARCHAR",
        "model": "VARCHAR",
        "text": "VARCHAR",
        "finish_reason": "VARCHAR",
        "prompt_tokens": "BIGINT",
        "completion_tokens": "BIGINT",
        "cached_tokens": "BIGINT",
        "cost_usd": "DOUBLE",
        "seconds": "DOUBLE",
        "time": "TIMESTAMPTZ",
        "cache_write_tokens": "BIGINT",
        "reasoning_tokens": "BIGINT",
        "batch": "VARCHAR",
    },
    "failures": {
        "sent": "BIGINT",
        "request": "VARCHAR",
        "run": "VARCHAR",
        "kind": "VARCHAR",
        "message": "VARCHAR",
        "time": "TIMESTAMPTZ",
    },
    "readings": {
        "reply": "BIGINT",
        "pairs": "BIGINT",
        "problem": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "context": "VARCHAR",
    },
    "batches": {
        "id": "VARCHAR",
        "run": "VARCHAR",
        "model": "VARCHAR",
        "requests": "BIGINT",
        "digest": "VARCHAR",
        "time": "TIMESTAMPTZ",
    },
    "batch_requests": {"batch": "VARCHAR", "request": "VARCHAR", "sent": "BIGINT"},
    "batch_events": {
        "batch": "VARCHAR",
        "event": "VARCHAR",
        "remote": "VARCHAR",
        "detail": "VARCHAR",
        "time": "TIMESTAMPTZ",
    },
}


@contextmanager
def open_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger for reading, also beside its writer, and on a medium that cannot be written."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{reading_mode(path)}",
        uri=True,
        check_same_thread=False,  # DuckDB may draw rows in a thread of its own while we wait
    )
    try:
        yield connection
    finally:
        connection.close()


def reading_mode(path: Path) -> str:
    """Return how SQLite is to open a ledger that is only read.

    On a medium that cannot be written SQLite cannot join in the WAL; where there is none, there is nothing to join in.
    """
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    return "immutable=1" if alone else "mode=ro"
