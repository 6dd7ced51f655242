"""A loop whose clock jumps to the next event, and servers with true limits in it: hours in milliseconds, the same each time."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from syphus.errors import RateLimitError, ServerError
from syphus.limits import Limits, Quota
from syphus.pacing.endpoints import Endpoint, Endpoints
from syphus.request import Completion


class _Selector(selectors.SelectSelector):
    now = 1_000.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will happen any more")
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self):
        return self.clock.now


T = TypeVar("T")


def run(main: Coroutine[None, None, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


def completion(limits: Limits | None = None, *, tokens: int = 100) -> Completion:
    return Completion("A kite.", "stop", "m", tokens // 2, tokens - tokens // 2, limits=limits)


class NoProvider:
    """What an endpoint needs of a provider where the test makes the attempts itself."""

    def __init__(self, concurrency: int = 16) -> None:
        self.concurrency = concurrency
        self.entered = 0

    async def complete(self, request):
        raise NotImplementedError

    async def __aenter__(self):
        self.entered += 1
        return self

    async def __aexit__(self, *_):
        self.entered -= 1


@dataclass
class Server:
    """A token bucket, and what it tells."""

    rate: float = 0.0
    """Requests per second that it lets in; 0 is all."""
    burst: float = 0.0
    latency: float = 0.02
    tells: str = "nothing"
    """exact, per-minute, seconds, no-reset, window: its headers; retry-after; nothing."""
    random_429: float = 0.0
    random_500: float = 0.0
    retry_after: float = 0.0
    """Of its random 429s."""
    window: float = 0.0
    """Seconds of a fixed window that holds `burst` requests; 0 is a token bucket."""
    change: Callable[[Server, float], None] | None = None
    """Called with the seconds since the first request."""

    random: random.Random = field(default_factory=lambda: random.Random(4))
    asked: int = 0
    limited: int = 0
    early: int = 0
    began: float | None = None
    most_at_once: int = 0
    _at_once: int = 0
    _level: float = 0.0
    _at: float = 0.0

    async def answer(self, wait_until: dict[int, float], row: int) -> Completion:
        if self.began is None:
            self.began = self._at = now()
            self._level = self.burst
        if self.change:
            self.change(self, now() - self.began)
        self._fill()
        self.asked += 1
        self.early += now() < wait_until.get(row, 0.0)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(wait_until, row)
        finally:
            self._at_once -= 1

    async def _answer(self, wait_until: dict[int, float], row: int) -> Completion:
        if self.rate and self._level < 1:
            limits, wait = self._limits(), self._wait()
            await asyncio.sleep(0.002)
            self.limited += 1
            wait_after = wait if self.tells != "nothing" else None
            wait_until[row] = now() + (wait_after or 0)
            raise RateLimitError("slow down", status=429, retry_after=wait_after, limits=limits)
        self._level -= 1
        limits = self._limits()
        if self.random.random() < self.random_429:
            await asyncio.sleep(self.latency)
            self.limited += 1
            wait_until[row] = now() + self.retry_after
            raise RateLimitError("busy", status=429, retry_after=self.retry_after or None)
        await asyncio.sleep(self.latency * self.random.uniform(0.7, 1.3))
        if self.random.random() < self.random_500:
            raise ServerError("oops", status=500)
        return completion(limits)

    def _fill(self) -> None:
        if self.window:
            if now() >= self._at + self.window:
                self._level = self.burst
                self._at += self.window * ((now() - self._at) // self.window)
            return
        self._level = min(self.burst, self._level + (now() - self._at) * self.rate)
        self._at = now()

    def _wait(self) -> float:
        if self.window:
            return self._at + self.window - now()
        return (1 - self._level) / self.rate

    def _limits(self) -> Limits | None:
        left = max(int(self._level), 0)
        full = (
            self._at + self.window - now()
            if self.window
            else (self.burst - left) / (self.rate or 1)
        )
        match self.tells:
            case "exact" | "window":
                return Limits(Quota(self.burst, left, full))
            case "seconds":
                return Limits(Quota(self.burst, left, float(int(full))))
            case "no-reset":
                return Limits(Quota(self.burst, left, None))
            case "per-minute":
                return Limits(Quota(self.rate * 60, left, full))
        return None


@dataclass
class Outcome:
    wall: float
    done: int
    asked: int
    limited: int
    early: int


async def ask_all(
    endpoints: Endpoints,
    rows: int,
    attempt: Callable[[Endpoint, int], Awaitable[Completion]],
    *,
    workers: int = 0,
) -> float:
    """Ask for all rows as a run does; return how long it took."""
    todo = iter(range(rows))

    async def work() -> None:
        for row in todo:
            await endpoints.complete(lambda endpoint, row=row: attempt(endpoint, row), tokens=100)

    async with endpoints, asyncio.TaskGroup() as group:
        started = now()
        for _ in range(workers or endpoints.workers):
            group.create_task(work())
    return now() - started


def simulate(server: Server, endpoints: Endpoints, rows: int = 400) -> Outcome:
    wait_until: dict[int, float] = {}
    done = 0

    async def attempt(_: Endpoint, row: int) -> Completion:
        nonlocal done
        found = await server.answer(wait_until, row)
        done += 1
        return found

    wall = run(ask_all(endpoints, rows, attempt))
    return Outcome(wall, done, server.asked, server.limited, server.early)
