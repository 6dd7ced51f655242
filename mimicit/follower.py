"""The catalog kept in step beside a long run, by a process of its own.

A run of days stays small if DuckDB is never loaded into it, and its writes do not wait for the catalog. A child loads what it
needs, waits for the word, syncs once and ends; the first is started early, so that a short run need not wait for it at its end.
It also ends when the pipe to its parent closes, so it does not outlive a run that is killed. Whatever stops it, the
catalog is as it was before, or as it should be: a sync is one transaction.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from mimicit import catalog
from mimicit.errors import MimicitError

SHARE = 0.05
"""Of the time, at most, the child may be computing."""
FIRST_SECONDS = 10.0
"""A run that is over by then syncs once, at its end."""


class Follower:
    def __init__(self, folder: Path) -> None:
        """Follow a dataset folder, of which the caller is the only writer."""
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        """Is syncing."""
        self._ready: subprocess.Popen[bytes] | None = None
        """Waits for the word."""
        self._prepared = False
        self._again = time.monotonic() + FIRST_SECONDS

    def prepare(self) -> None:
        """Have a child ready for the first sync; those after it are not waited for."""
        if not self._prepared:
            self._prepared, self._ready = True, _start(self._folder)

    def nudge(self) -> None:
        """Start a sync, unless one is running, or it is too early for the next; return at once."""
        if self._child and self._child.poll() is not None:
            self.wait()
        if self._child is None and time.monotonic() >= self._again:
            self._go(0.0)

    def wait(self) -> None:
        """Let the sync come to its end, if there is one."""
        if self._child is None:
            return
        child, self._child = self._child, None
        with child:  # leaving closes its standard input, at which it ends: so hear it out first
            said = child.stdout.read() if child.stdout else ""
        seconds = float(said) if said else SHARE * FIRST_SECONDS
        self._again = time.monotonic() + seconds / SHARE

    def sync(self, patience: float) -> None:
        """Sync now; if it cannot be done, the catalog stays behind."""
        self.wait()
        self._go(patience)
        self.wait()

    def stop(self) -> None:
        if self._child:
            self._child.kill()
        self.wait()
        if self._ready:
            with self._ready as child:
                child.kill()
            self._ready = None

    def _go(self, patience: float) -> None:
        self._child, self._ready = self._ready or _start(self._folder), None
        self._prepared = True
        if self._child.stdin:
            with suppress(BrokenPipeError):  # it is dead already, which `wait` will see
                self._child.stdin.write(b"%f\n" % patience)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mimicit.follower", str(folder.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd=Path(__file__).parent.parent,
        start_new_session=True,  # Ctrl-C is for the run, which then waits for its last sync
    )


# The child


def _child(folder: Path) -> int:
    """Load what a sync needs, and sync when the parent says for how long to be patient."""
    for name in ("duckdb", "pyarrow", "pyarrow.parquet"):
        import_module(name)
    patience = sys.stdin.readline()
    if not patience:
        return 1  # there was nothing to do
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        catalog.sync(folder, patience=float(patience))
    except MimicitError:
        return 1  # whoever reads the catalog next is told
    sys.stdout.write(str(time.process_time()))
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_child(Path(sys.argv[1])))
