"""One question to a model, until its reply can be read: the part that every command which asks has in common.

    in the ledger, and read?   done
    in the ledger?             read it
    else                       send it (with retries), write the reply down, read it
    cannot be read?            show the model its reply and what was wrong, N times at most

Killed at any moment it loses no reply (see `syphus.ledger`). What a model was told after a bad reply follows from that reply, so a
run that goes on asks exactly what the one before would have asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mimicit.store import Store
from syphus.annotations.context import Problem
from syphus.errors import ProviderError, ReplyError, StopError
from syphus.ledger import Ledger, Reading, Reply
from syphus.pacing import with_retries
from syphus.providers.base import Provider
from syphus.request import Completion, Prompt, Request

T = TypeVar("T")
Item = TypeVar("Item")

SAMPLES = 3
"""How often a question is asked, each time with another seed, until its reply can be read."""
KEPT_PROBLEMS = 1_000
MOST_WORKERS = 10_000


@dataclass
class Tally:
    """What became of a run's questions."""

    asked: int = 0
    """Requests sent."""
    reused: int = 0
    """Questions whose reply was in the ledger."""
    unreadable: int = 0
    """Replies that could not be read; each was shown to the model again, as long as that was worth it."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    lost_earlier: int = 0
    """Requests of earlier runs whose fate nobody saw."""
    problems: list[Problem] = field(default_factory=list)
    """The first of them; `problem_count` counts all."""
    problem_count: int = 0

    def note(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of one question."""

    reply: Reply | None = None
    value: T | None = None
    """What was read from the reply; None if nothing could be, or if it was stored before."""
    problem: str = ""

    @property
    def was_stored(self) -> bool:
        return self.value is None and not self.problem


class Asker:
    """Ask one provider, and write everything down."""

    def __init__(
        self,
        provider: Provider,
        ledger: Ledger,
        tally: Tally,
        *,
        run: str,
        samples: int = SAMPLES,
    ) -> None:
        self.provider = provider
        self.ledger = ledger
        self.tally = tally
        self.run = run
        self.samples = samples
        self._asking: dict[str, tuple[asyncio.Lock, int]] = {}

    async def ask(
        self,
        request: Request,
        read: Callable[[Reply], T],
        *,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> Answer[T]:
        """Ask until a reply can be read.

        Args:
            request: The question.
            read: Reads a reply; raises ReplyError where it cannot.
            before: Awaited once, before anything is sent or read: a model is not paid for what cannot be used.

        Raises:
            ProviderError: the model did not answer.
            MimicitError: `before` failed.
        """
        problem = ""
        for _ in range(self.samples):
            async with self._alone(request.key):
                reply = self._found(request)
                if reply and reply.pairs:
                    self.tally.reused += 1
                    return Answer(reply)
                if reply and reply.problem:
                    problem = reply.problem
                    request = request.again(reply.text, problem)
                    continue
                if before:
                    await before()
                    before = None
                self.tally.reused += reply is not None
                reply = reply or await self._send(request)
            try:
                return Answer(reply, read(reply))
            except ReplyError as error:
                problem = str(error)
                self.tally.unreadable += 1
                self.ledger.read([Reading(reply.id, None, problem)])
            request = request.again(reply.text, problem)
        return Answer(problem=f"no readable reply in {self.samples}: {problem}")

    def _found(self, request: Request) -> Reply | None:
        return self.ledger.find([request.key], request.context_id).get(request.key)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """Let contexts that say the same ask one after the other: the second finds the first one's reply."""
        lock, waiting = self._asking.get(key, (asyncio.Lock(), 0))
        self._asking[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._asking[key]
            if waiting > 1:
                self._asking[key] = (lock, waiting - 1)
            else:
                del self._asking[key]

    async def _send(self, request: Request) -> Reply:
        sent, started = 0, 0.0

        async def attempt() -> Completion:
            nonlocal sent, started
            sent, started = self.ledger.send(request, self.run), time.monotonic()
            self.tally.asked += 1
            try:
                return await self.provider.complete(request)
            except ProviderError as error:
                self.ledger.fail(sent, request, self.run, error)
                raise

        completion = await with_retries(attempt)
        self.tally.prompt_tokens += completion.prompt_tokens
        self.tally.cached_tokens += completion.cached_tokens
        self.tally.completion_tokens += completion.completion_tokens
        self.tally.cost_usd += completion.cost_usd or 0.0
        return self.ledger.reply(sent, request, self.run, completion, time.monotonic() - started)


async def work(
    provider: Provider,
    items: Iterable[Item],
    handle: Callable[[Item], Awaitable[None]],
    concurrency: int,
) -> None:
    """Handle items as a stream: a worker takes the next one when it is free, and nobody waits for the slowest."""
    shared = iter(items)

    async def worker() -> None:
        for item in shared:
            await handle(item)

    try:
        async with provider, asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, MOST_WORKERS)):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        # The first worker that failed says why; the others were cancelled because of it.
        raise errors.exceptions[0] from None


@contextmanager
def running(
    store: Store, tally: Tally, prompt: Prompt, *, what: str, model: str, arguments: Iterable[str]
) -> Iterator[tuple[Ledger, str]]:
    """Be the dataset's writer with an open ledger, and note how the run ended.

    Yields the ledger and the run's id. A `KeyboardInterrupt` or a cancellation inside becomes a `KeyboardInterrupt`.

    Raises:
        LockedError: another process is writing to the dataset.
    """
    with store.writing(f"syphus {what}"):
        path = store.path / "ledger" / "ledger.sqlite"
        try:
            with recorded(path, tally, prompt, model=model, arguments=arguments) as found:
                yield found
        finally:
            store.try_sync(patience=10.0)


@contextmanager
def recorded(
    path: Path, tally: Tally, prompt: Prompt, *, model: str, arguments: Iterable[str]
) -> Iterator[tuple[Ledger, str]]:
    """Open a ledger for one run, and note how it ended; yields the ledger and the run's id."""
    with Ledger(path) as ledger:
        tally.lost_earlier = max(tally.lost_earlier, ledger.counts()["in_flight"])
        ledger.add_prompt(prompt)
        run = ledger.start_run(task=prompt.task, model=model, arguments=list(arguments))
        outcome = "killed"
        try:
            yield ledger, run
            outcome = "failed in part" if tally.problem_count else "done"
        except (KeyboardInterrupt, asyncio.CancelledError):
            outcome = "interrupted"
            raise KeyboardInterrupt from None
        except StopError as error:
            outcome = str(error)
            raise
        finally:
            ledger.end_run(run, outcome)
