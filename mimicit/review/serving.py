"""Open the room, and close it: the journals are brought in before the first page and after the last one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mimicit.errors import LockedError
from mimicit.review.bringing import Brought, bring
from mimicit.review.deck import Wanted, checked
from mimicit.review.journal import FOLDER, journal_path
from mimicit.review.room import Room
from mimicit.review.server import Server
from mimicit.store import Store

LAST_PATIENCE = 10.0
"""Seconds that the end waits for another writer; what is not brought in then, the next start brings in."""


def serve(
    store: Store,
    *,
    reviewer: str,
    wanted: Wanted,
    port: int,
    ready: Callable[[Server], None],
    say: Callable[[str], None],
) -> None:
    """Serve the room until the process is asked to stop.

    Args:
        store: The dataset.
        reviewer: Who a page is for that names nobody.
        wanted: What a page shows first.
        port: Of 127.0.0.1; 0 for any that is free.
        ready: Called when pages can be opened.
        say: Is told in sentences what a reviewer should know.

    Raises:
        LockedError: a room of this dataset is open already.
        QueryError: `wanted` is no predicate.
        DatasetError: the reviewer's name is none, or the port is in use.
    """
    journal_path(store.path, reviewer)
    checked(wanted.where)
    with _alone(store):
        store.refresh()
        _bring(store, 0.0, say)
        server = Server(Room(store), reviewer=reviewer, wanted=wanted)
        try:
            asyncio.run(_until_stopped(server, port, ready))
        finally:
            store.images.close()
            _bring(store, LAST_PATIENCE, say)


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    import filelock

    folder = store.path / FOLDER
    folder.mkdir(exist_ok=True)
    lock = filelock.FileLock(folder / ".lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise LockedError(
            f"a review room of {str(store.path)!r} is open already; reviewers share it: open its address "
            "once more, and choose another name there"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _bring(store: Store, patience: float, say: Callable[[str], None]) -> Brought | None:
    """Bring journals in; if another process is writing, say that it is left for later."""
    try:
        brought = bring(store, patience=patience)
    except LockedError as error:
        say(f"{error}; what was decided is safe in {FOLDER}/, and the next review brings it in")
        return None
    for problem in brought.problems:
        say(problem)
    return brought


async def _until_stopped(server: Server, port: int, ready: Callable[[Server], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C ends `asyncio.run` itself
            loop.add_signal_handler(number, stop.set)
    await server.run(port, ready, stop)
