"""The catalog, open for moments.

What is open for reading cannot be written, so the catalog is opened when somebody reads, and let go of right after. Most of what that
costs is DuckDB itself and not the file: it stays, and the file is attached and detached. Readers share it for as long as one of them
needs it, but not for long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit import catalog

if TYPE_CHECKING:
    import duckdb

OPEN_SECONDS = 1.0
"""A catalog that was open for so long gets no new readers, and …"""
FREE_SECONDS = 0.2
"""… is left to others for so long: who waits to write looks ten times a second."""

Stamp = tuple[tuple[int, int, int], ...]
"""What tells one state of a file from another: its number, time and size, and those of its log."""


class Borrowed:
    """Safe for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._change = threading.Condition()
        """Guards all that follows."""
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._readers = 0
        self._since = 0.0
        """When the file was attached."""
        self._free_until = 0.0

    @contextmanager
    def reading(self, patience: float) -> Iterator[tuple[duckdb.DuckDBPyConnection, Stamp]]:
        """Give a connection to the catalog, and what tells its state from others.

        Args:
            patience: Seconds to wait for another process to let go of the file.

        Raises:
            LockedError: it did not.
        """
        cursor = self._begin(patience)
        try:
            yield cursor, self._stamp()
        finally:
            cursor.close()
            self._end()

    def close(self) -> None:
        """Let go of DuckDB; whoever reads once more gets another."""
        with self._change:
            if self._engine is not None and not self._readers:
                self._engine.close()
                self._engine = None

    def _begin(self, patience: float) -> duckdb.DuckDBPyConnection:
        with self._change:
            while (pause := self._pause()) != 0.0:
                self._change.wait(pause)
            engine = self._started()
            if not self._readers:
                catalog.attach(engine, self._path, patience=patience)
                self._since = time.monotonic()
            cursor = engine.cursor()
            cursor.execute("USE catalog")
            self._readers += 1
            return cursor

    def _end(self) -> None:
        with self._change:
            self._readers -= 1
            if not self._readers:
                self._started().execute("DETACH catalog")
                if self._is_others_turn():
                    self._free_until = time.monotonic() + FREE_SECONDS
            self._change.notify_all()

    def _pause(self) -> float | None:
        """Return how long a new reader has to wait; None: until the others are gone."""
        if self._readers:
            return None if self._is_others_turn() else 0.0
        return max(self._free_until - time.monotonic(), 0.0)

    def _is_others_turn(self) -> bool:
        return time.monotonic() - self._since > OPEN_SECONDS

    def _started(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        if self._engine is None:
            self._engine = duckdb.connect(
                ":memory:", config={"autoinstall_known_extensions": "false"}
            )
            self._engine.execute("SET enable_progress_bar = false")
        return self._engine

    def _stamp(self) -> Stamp:
        files = (self._path, self._path.with_name(f"{self._path.name}.wal"))
        found = [file.stat() for file in files if file.exists()]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
