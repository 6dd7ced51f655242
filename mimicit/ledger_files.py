"""The ledger's two files, and how they are opened: rows are in the journal at once, and in SQLite a little later.

    one row ─► a line of `ledger.journal` (a write) ─► the open transaction ─► committed with thousands of others ─► the file is emptied

A commit of SQLite's for each row costs twenty times a write to a file. What is in the file survives the process like what is in
SQLite's WAL does; a ledger whose writer was killed gets the lines back from whoever opens it next, for reading too. The writer
holds a lock (flock) on the file; as long as it does, its rows are its business.

A line is JSON: `["replies", 7, {"sent": 9, …}]`, table, row number, columns. A torn line, of a disk that was full, is passed over.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from mimicit.errors import LockedError
from mimicit.ledger_tables import LEDGER_TABLES

PATIENCE = 5.0
"""Seconds that a writer waits for somebody who brings in what another one left."""

Row = tuple[str, int, dict[str, Any]]
"""Table, row number, column -> value."""


class Journal:
    """The journal of one ledger, for whoever holds its lock."""

    def __init__(self, ledger: Path, *, patience: float | None = None) -> None:
        """Open and lock the file; it is made where there is none.

        Raises:
            LockedError: another process holds it.
        """
        import orjson

        self._dumps, self._end = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        self._file = path_of(ledger).open("a+b", buffering=0)
        try:
            _lock(self._file.fileno(), PATIENCE if patience is None else patience)
        except BlockingIOError:
            self._file.close()
            raise LockedError(
                f"another process writes to the ledger {str(ledger)!r}; try again when it has ended"
            ) from None
        self.size = os.fstat(self._file.fileno()).st_size
        """Bytes of rows that are not committed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Write rows, all or none.

        Raises:
            OSError: they could not be written: the disk is full, say.
            TypeError: a value is none that JSON can hold.
        """
        lines = b"".join([self._dumps(row, option=self._end) for row in rows])
        written = 0
        try:
            while written < len(lines):
                written += self._file.write(lines[written:])
        except OSError:
            with suppress(OSError):
                self._file.truncate(self.size)
            raise
        self.size += written

    def rows(self) -> Iterator[Row]:
        """Read what is there; lines that are no rows of a ledger are passed over."""
        lines = os.pread(self._file.fileno(), self.size, 0).splitlines()
        return (row for line in lines if (row := _row(line)))

    def clear(self) -> None:
        """Forget all rows: they are committed. What a full disk left of one is gone with them."""
        self._file.truncate(0)
        self.size = 0


def path_of(ledger: Path) -> Path:
    return ledger.with_suffix(".journal")


def insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Put a journal's rows into the open transaction; those that are there already stay as they are."""
    for table, number, values in rows:
        columns, marks = ", ".join(values), ", ?" * len(values)
        connection.execute(
            f"INSERT OR IGNORE INTO {table} (rowid, {columns}) VALUES (?{marks})",
            [number, *values.values()],
        )


def _row(line: bytes) -> Row | None:
    """Read a line; None is no row of a ledger's table."""
    import orjson

    with suppress(LookupError, TypeError, ValueError):
        table, number, values = orjson.loads(line)
        is_row = isinstance(number, int) and isinstance(values, dict) and values
        is_plain = is_row and not any(isinstance(v, dict | list) for v in values.values())
        if is_plain and values.keys() <= LEDGER_TABLES[table].keys():
            return table, number, values
    return None


def bring_in(ledger: Path) -> None:
    """Commit what a killed writer left in the journal; what has a writer, or cannot be written, is left alone."""
    path = path_of(ledger)
    if not (path.exists() and path.stat().st_size and os.access(ledger, os.W_OK)):
        return
    with suppress(LockedError, OSError, sqlite3.Error), Journal(ledger, patience=0) as journal:
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            insert(connection, journal.rows())
            connection.execute("COMMIT")
        journal.clear()


def connect(path: Path) -> sqlite3.Connection:
    """Connect to a ledger for reading, also beside its writer, and on a medium that cannot be written."""
    bring_in(path)
    # On a medium that cannot be written SQLite cannot join in the WAL; where there is none, there is nothing to join in.
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{'immutable=1' if alone else 'mode=ro'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # DuckDB may draw rows in a thread of its own while we wait
    )


@contextmanager
def open_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger for reading."""
    with closing(connect(path)) as connection:
        yield connection


def _lock(file: int, patience: float) -> None:
    """Lock a file, where the file system has locks.

    Raises:
        BlockingIOError: somebody else holds the lock.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        except OSError:
            return
        else:
            return
