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
    "run_ends": {"run": "VARCHAR", "time": "TIMESTAMPTZ", "outcome": "VARCHAR"},
    "prompts": {
        "digest": "VARCHAR",
        "task": "VARCHAR",
        "version": "BIGINT",
        "messages": "VARCHAR",
    },
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
}


@contextmanager
def open_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger for reading, also beside its writer, and on a medium that cannot be written."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{reading_mode(path)}", uri=True)
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
