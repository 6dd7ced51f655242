"""A run: one writer, many workers, one end.

    running    be the dataset's writer with an open ledger; note how it ended
    work       a worker takes the next item when it is free, and nobody waits for the slowest
    Buffer     what is finished, written a few thousand at a time beside the work

A run stops in one of four ways. Its items are used up; it is interrupted (the first Ctrl-C or SIGTERM: requests that are on
their way are awaited, the second drops them); a provider will not answer anything any more, or the budget is used up (the same);
or something breaks (a full disk). What was answered is in the ledger each time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Generic, TypeVar

from mimicit.errors import MimicitError
from mimicit.store import Store
from syphus.asking import Asker, Tally
from syphus.budget import Budget
from syphus.errors import Interrupted
from syphus.ledger import Ledger
from syphus.pacing.endpoints import Endpoints, single
from syphus.providers.base import Provider
from syphus.providers.scripted import ScriptedModel
from syphus.request import Prompt, Request

log = logging.getLogger(__name__)

Item = TypeVar("Item")
GARBAGE = 20_000
"""Objects more than were freed, after which Python looks for cycles; its own number is 700."""
FAIR = 32
"""Items after which a worker lets others have a turn, Ctrl-C among them."""
SYNC_PATIENCE = 10.0
"""Seconds that the end of a run waits for those who read the catalog."""


def as_endpoints(
    model: Provider | Endpoints, name: str, *, concurrency: int | None = None
) -> Endpoints:
    """Return the endpoints that a run asks: given, or the one of a provider."""
    return model if isinstance(model, Endpoints) else single(model, name, concurrency=concurrency)


def nobody(models: Sequence[str]) -> Endpoints:
    """Return endpoints for a run that asks nobody: it only reads what is stored."""

    def refuse(request: Request) -> str:
        raise AssertionError(request.key)

    found = (single(ScriptedModel(refuse, concurrency=16), model) for model in models)
    return Endpoints([endpoint for one in found for endpoint in one.endpoints])


def budget_of(ledger: Ledger, task: str, usd: float | None) -> Budget:
    """Return the budget of a task in a dataset: what earlier runs have spent of it is spent."""
    return Budget(usd, ledger.spent(task) if usd is not None else 0.0)


async def work(
    asker: Asker, items: Iterable[Item], handle: Callable[[Item], Awaitable[None]]
) -> None:
    """Handle items as a stream, with as many workers as suit the endpoints: more when rows wait, fewer when they do not.

    Raises:
        MimicitError: a handler's, or the items'; requests that were on their way have been awaited.
        Interrupted: so does Ctrl-C.
    """
    shared = iter(items)
    stopped: list[MimicitError | Interrupted] = []
    workers: set[asyncio.Task[None]] = set()
    endpoints = asker.endpoints
    is_used_up = False

    def stop(why: MimicitError | Interrupted) -> None:
        """Let requests on their way come to their end, and everything else be."""
        stopped.append(why)
        asker.is_stopping = True
        for one in workers - asker.sending:
            one.cancel()

    def interrupt() -> None:
        if asker.is_stopping:
            for one in workers:
                one.cancel()
            return
        log.warning(
            "stopping: %d requests on their way are awaited; Ctrl-C again drops them",
            len(asker.sending),
        )
        stop(Interrupted())

    async def worker() -> None:
        nonlocal is_used_up
        for turn in count(1):
            if turn % FAIR == 0:  # what is in the ledger is waited for nowhere
                await asyncio.sleep(0)
            try:
                item = next(shared)
            except StopIteration:
                break
            except MimicitError as error:  # a file that breaks off, say
                stop(error)
                return
            try:
                await handle(item)
            except MimicitError as error:
                stop(error)
            if asker.is_stopping or len(workers) > endpoints.wanted:
                return
            hire()
        is_used_up = True

    def hire() -> None:
        while not (is_used_up or asker.is_stopping) and len(workers) < endpoints.wanted:
            one = group.create_task(worker())
            workers.add(one)
            one.add_done_callback(workers.discard)

    try:
        async with endpoints, asyncio.TaskGroup() as group:
            endpoints.on_rest = hire
            with _signals(interrupt), _rare_collections():
                hire()
                while workers:
                    await asyncio.wait(set(workers))
    except BaseExceptionGroup as errors:
        # The first worker that failed says why; the others were cancelled because of it.
        raise errors.exceptions[0] from None
    if stopped:
        raise stopped[0]


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for cycles less often: a sixth of a fast run's time went into finding that there are none.

    What was loaded before is not looked at any more; what a request leaves behind is freed by counting references.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Take Ctrl-C and SIGTERM as a wish to stop; outside the main thread they are somebody else's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, caught = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in caught}
    for number in caught:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


class Buffer(Generic[Item]):
    """Gather what is finished, and write it in a thread while the work goes on.

    async with Buffer(write, noted) as buffer:
        await buffer.put(item)
    """

    def __init__(
        self,
        write: Callable[[list[Item]], None],
        noted: Callable[[list[Item]], None] = lambda items: None,
        *,
        count: int = 2_000,
        size: int = 256 << 20,
        seconds: float = 15.0,
    ) -> None:
        """Set when it is written.

        Args:
            write: Writes what has gathered; called in a thread, one call at a time.
            noted: Called after that, on the event loop: the ledger belongs to it.
            count: Items, at most.
            size: Bytes, at most, as `put` is told of them.
            seconds: Since the last time, at most.
        """
        self._write, self._noted = write, noted
        self._count, self._size, self._seconds = count, size, seconds
        self._items: list[Item] = []
        self._bytes = 0
        self._due = time.monotonic() + seconds
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Buffer[Item]:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write the rest, however the work ended."""
        if self._writing:
            await self._writing
        if self._items:
            items = self._taken()
            self._write(items)
            self._noted(items)

    async def put(self, item: Item, size: int = 0) -> None:
        self._items.append(item)
        self._bytes += size
        is_full = len(self._items) >= self._count or self._bytes >= self._size
        if not is_full and time.monotonic() < self._due:
            return
        if self._writing and is_full:
            # Finished faster than written: wait, so that memory does not grow.
            await asyncio.wait({self._writing})
        if self._writing and self._writing.done():
            writing, self._writing = self._writing, None
            writing.result()
        if self._writing is None and self._items:
            self._writing = asyncio.create_task(self._flush(self._taken()))

    async def _flush(self, items: list[Item]) -> None:
        await asyncio.to_thread(self._write, items)
        self._noted(items)

    def _taken(self) -> list[Item]:
        items, self._items, self._bytes = self._items, [], 0
        self._due = time.monotonic() + self._seconds
        return items


@contextmanager
def running(
    store: Store, tally: Tally, prompt: Prompt, *, what: str, model: str, arguments: Iterable[str]
) -> Iterator[tuple[Ledger, str]]:
    """Be the dataset's writer with an open ledger, and note how the run ended.

    Yields the ledger and the run's id.

    Raises:
        LockedError: another process is writing to the dataset.
    """
    with store.writing(f"syphus {what}"):
        store.try_sync()  # the process that does it gets ready beside the run
        path = store.path / "ledger" / "ledger.sqlite"
        try:
            with recorded(path, tally, prompt, model=model, arguments=arguments) as found:
                yield found
        finally:
            store.try_sync(patience=SYNC_PATIENCE)


@contextmanager
def recorded(
    path: Path, tally: Tally, prompt: Prompt, *, model: str, arguments: Iterable[str]
) -> Iterator[tuple[Ledger, str]]:
    """Open a ledger for one run, and note how it ended; yields the ledger and the run's id.

    Beside the ledger, `logs/<run>.log` tells what happened when.
    """
    with Ledger(path) as ledger:
        tally.lost_earlier = max(tally.lost_earlier, ledger.counts()["in_flight"])
        ledger.add_prompt(prompt)
        run = ledger.start_run(task=prompt.task, model=model, arguments=list(arguments))
        tally.run = run
        outcome = "killed"
        with _log_file(path.parent / "logs" / f"{run}.log"):
            log.info("task %s, model %s", prompt.task, model)
            try:
                yield ledger, run
                outcome = "failed in part" if tally.problem_count else "done"
            except (Interrupted, KeyboardInterrupt, asyncio.CancelledError):
                outcome = "interrupted"
                raise
            except Exception as error:
                outcome = str(error) if isinstance(error, MimicitError) else repr(error)
                raise
            finally:
                log.info("%s: %s", outcome, json.dumps(summary(tally)))
                ledger.end_run(run, outcome, summary(tally))


def summary(tally: Tally) -> dict[str, object]:
    """Return a run's figures, as the ledger keeps them; its problems are in the ledger and the log."""
    import orjson

    # Without its problems first: a file's name may hold bytes that no JSON can.
    found: dict[str, object] = orjson.loads(orjson.dumps(replace(tally, problems=[]), default=str))
    del found["problems"]
    return found


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Write what syphus's loggers say to a file; a disk that is full ends no run because of it."""
    logger = logging.getLogger("syphus")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
    handler = _Handler(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        with suppress(OSError):
            handler.close()


class _Handler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: the log is a convenience."""

    def emit(self, record: logging.LogRecord) -> None:
        from syphus.providers.secrets import without_keys

        record.msg, record.args = without_keys(record.getMessage()), None
        with suppress(OSError):
            super().emit(record)
