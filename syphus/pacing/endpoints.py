"""Where requests go: one or several models or keys that share the work.

    -m openai/gpt-4o-mini                                     one endpoint
    -m openai/gpt-4o-mini=3,groq/llama-3.3-70b-versatile      three quarters and one quarter of the requests
    -m openai/gpt-4o-mini,openai/gpt-4o-mini@env:SECOND_KEY   two keys

Each endpoint has its pace. A request takes the next turn by weight among those that may send now; if none may, it waits in one
queue, first come, first served, with one timer. An endpoint that fails is taken out and probed again later, after ever longer
pauses; one whose key or model is wrong stays out. When the last one is out, the run stops.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from syphus.errors import BudgetError, ProviderError, StopError
from syphus.pacing.models import parse_models
from syphus.pacing.pace import MOST_AT_ONCE, Pace, Ticket, seconds_asked
from syphus.pacing.retries import with_retries
from syphus.request import Completion

if TYPE_CHECKING:
    from syphus.providers import Transport
    from syphus.providers.base import Provider

MOST_WORKERS = 1_024
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds that an endpoint is out, where others go on."""
SPARE = 2
"""Tasks more than requests at once, where that number may grow: whether any waits shows whether it is too small."""
REMOTE = 16
"""From so many requests at once on, a provider is taken to be a service that may bear more."""


@dataclass
class Endpoint:
    model: str
    provider: Provider
    name: str
    """For messages: the model, or MODEL@env:KEY."""
    weight: float = 1.0
    pace: Pace = field(kw_only=True)
    is_out: bool = field(default=False, init=False)
    is_gone: bool = field(default=False, init=False)
    """Out for good."""
    _times_out: int = field(default=0, init=False, repr=False)
    _turn: float = field(default=0.0, init=False, repr=False)


_Turn = tuple[Endpoint, Ticket]


class Endpoints:
    def __init__(self, endpoints: Sequence[Endpoint], *, concurrency: int | None = None) -> None:
        """Args:
        endpoints: At least one.
        concurrency: Requests at once to all of them together, at most.
        """
        self.endpoints = tuple(endpoints)
        self.models = tuple(dict.fromkeys(endpoint.model for endpoint in endpoints))
        self.in_flight = 0
        self.errors: Counter[str] = Counter()
        """Failed attempts, by the kind of error."""
        self.notes: list[str] = []
        """Which endpoint was taken out, and why."""
        most = sum(endpoint.pace.window.most for endpoint in endpoints)
        self._ceiling = most if concurrency is None else concurrency
        self._only = self.endpoints[0] if len(self.endpoints) == 1 else None
        self._waiting: deque[tuple[asyncio.Future[_Turn], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: StopError | None = None
        self._resting = 0
        self.on_rest: Callable[[], None] = lambda: None
        """Called when a row begins to wait: there is room for another task."""
        self._providers = AsyncExitStack()
        self._clock: Callable[[], float] = time.monotonic

    @property
    def workers(self) -> int:
        """How many tasks suit at most: twice the requests at once, for some rows wait before their next attempt.

        Where one is asked after the other, rows keep their order.
        """
        if self._ceiling == 1:
            return 1
        return max(self._ceiling, min(2 * self._ceiling, MOST_WORKERS))

    @property
    def wanted(self) -> int:
        """How many tasks suit now: one for each request that may be on its way, and for each row that waits for its next attempt.

        More would only wait, and what they hold grows cold.
        """
        at_once, spare = 0, 0
        for endpoint in self.endpoints:
            window = endpoint.pace.window
            if not endpoint.is_gone:
                at_once += window.size
                spare = SPARE if window.size < window.most else spare
        return min(min(self._ceiling, at_once) + self._resting + spare, self.workers)

    async def __aenter__(self) -> Self:
        self._clock = asyncio.get_running_loop().time
        self._stopped = None
        for endpoint in self.endpoints:
            endpoint.is_out = endpoint.is_gone
        async with AsyncExitStack() as entered:
            for endpoint in self.endpoints:
                await entered.enter_async_context(endpoint.provider)
            self._providers = entered.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer:
            self._timer.cancel()
        await self._providers.__aexit__(kind, error, traceback)

    async def complete(
        self, attempt: Callable[[Endpoint], Awaitable[Completion]], *, tokens: int
    ) -> Completion:
        """Make attempts, each when its turn has come, until one succeeds or it is not worth another.

        Args:
            attempt: Sends the request once, to the given endpoint.
            tokens: What the request may use, prompt and reply together.

        Raises:
            StopError: there is nobody left to ask.
            ProviderError: this request was not answered.
        """
        return await with_retries(
            partial(self._attempt, attempt, tokens), clock=self._clock, sleep=self._rest
        )

    async def _rest(self, seconds: float) -> None:
        """Wait before the next attempt of a row, and let another row be asked meanwhile."""
        self._resting += 1
        self.on_rest()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._resting -= 1

    async def _attempt(
        self, attempt: Callable[[Endpoint], Awaitable[Completion]], tokens: int
    ) -> Completion:
        while True:
            endpoint, ticket = self._turn_now(tokens) or await self._turn_later(tokens)
            try:
                completion = await attempt(endpoint)
            except ProviderError as error:
                if self._is_to_go_elsewhere(endpoint, ticket, error):
                    continue
                raise
            except BaseException:
                endpoint.pace.gave_up(ticket)
                self._came_back()
                raise
            used = completion.prompt_tokens + completion.completion_tokens
            endpoint.pace.answered(ticket, self._clock(), limits=completion.limits, used=used)
            if endpoint.is_out:
                self._take_back(endpoint)
            self._came_back()
            return completion

    # Whose turn it is

    def _turn_now(self, tokens: int) -> _Turn | None:
        if self._stopped:
            raise self._stopped
        if self._waiting:
            return None
        now = self._clock()
        endpoint, _ = self._next(now, tokens)
        return self._let_go(endpoint, now, tokens) if endpoint else None

    async def _turn_later(self, tokens: int) -> _Turn:
        future: asyncio.Future[_Turn] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, tokens))
        if len(self._waiting) == 1:
            self._dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                endpoint, ticket = future.result()
                endpoint.pace.gave_up(ticket)
                self._came_back()
            raise

    def _dispatch(self) -> None:
        """Let go whoever may, in the order in which they came, and look again when the next one may."""
        now = self._clock()
        while self._waiting:
            future, tokens = self._waiting[0]
            if not future.done():  # else its task was cancelled
                if self._stopped:
                    future.set_exception(self._stopped)
                else:
                    endpoint, seconds = self._next(now, tokens)
                    if endpoint is None:
                        self._look_again(now + seconds)
                        return
                    future.set_result(self._let_go(endpoint, now, tokens))
            self._waiting.popleft()

    def _look_again(self, at: float) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if at < math.inf:
            self._timer = asyncio.get_running_loop().call_at(at, self._dispatch)

    def _next(self, now: float, tokens: int) -> tuple[Endpoint | None, float]:
        """Return who may send now, by smooth weighted round robin; if nobody, in how many seconds somebody may."""
        if self.in_flight >= self._ceiling:
            return None, math.inf
        if self._only:
            seconds = self._only.pace.wait(now, tokens)
            return (None, seconds) if seconds else (self._only, 0.0)
        soonest, total = math.inf, 0.0
        chosen: Endpoint | None = None
        for endpoint in self.endpoints:
            if endpoint.is_gone:
                continue
            seconds = endpoint.pace.wait(now, tokens)
            if seconds:
                soonest = min(soonest, seconds)
                continue
            endpoint._turn += endpoint.weight
            total += endpoint.weight
            if chosen is None or endpoint._turn > chosen._turn:
                chosen = endpoint
        if chosen:
            chosen._turn -= total
        return chosen, soonest

    def _let_go(self, endpoint: Endpoint, now: float, tokens: int) -> _Turn:
        self.in_flight += 1
        return endpoint, endpoint.pace.leave(now, tokens)

    def _came_back(self) -> None:
        self.in_flight -= 1
        if self._waiting:
            self._dispatch()

    # Who is out

    def _is_to_go_elsewhere(self, endpoint: Endpoint, ticket: Ticket, error: ProviderError) -> bool:
        """Note an error; return whether the request is to be sent to another endpoint at once.

        Raises:
            StopError: there is no other.
        """
        self.errors[error.kind] += 1
        now = self._clock()
        stop: StopError | None = None
        try:
            endpoint.pace.failed(ticket, now, error)
        except StopError as found:
            stop = found
        if isinstance(error, StopError) and not isinstance(error, BudgetError):
            endpoint.is_gone = True
            stop = error
        try:
            if stop:
                self._take_out(endpoint, stop, now, seconds_asked(error), probe=ticket.probe)
        finally:
            self._came_back()
        return stop is not None

    def _take_out(
        self, endpoint: Endpoint, why: StopError, now: float, asked: float, *, probe: bool
    ) -> None:
        was_out, endpoint.is_out = endpoint.is_out, True
        if all(other.is_out for other in self.endpoints):
            self._stopped = self._stopped or why
            raise why from None
        if was_out and not probe:  # one of those that were under way
            return
        pause = max(asked, min(FIRST_PAUSE * 2**endpoint._times_out, LONGEST_PAUSE))
        endpoint._times_out = min(endpoint._times_out + 1, 10)
        endpoint.pace.breaker.pause(now, pause)
        if not was_out:
            fate = "it is not asked again" if endpoint.is_gone else "it is tried again now and then"
            self.notes.append(f"{endpoint.name} is out: {why}; {fate}")

    def _take_back(self, endpoint: Endpoint) -> None:
        endpoint.is_out = endpoint.is_gone
        if not endpoint.is_out:
            self.notes.append(f"{endpoint.name} answers again")

    def describe(self) -> str:
        """Say what sets the speed, for people: `64 at once`."""
        now = self._clock()
        if self._only:
            return self._only.pace.describe(now)
        return "; ".join(
            f"{endpoint.name}: {'out' if endpoint.is_out else endpoint.pace.describe(now)}"
            for endpoint in self.endpoints
        )


def open_endpoints(
    text: str,
    *,
    transport: Transport = "auto",
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    timeout: float | None = None,
) -> Endpoints:
    """Connect to the models of `-m`; nothing is sent yet.

    Args:
        text: As in `a=3,b@env:KEY`, see `parse_models`.
        transport: auto, direct or litellm.
        concurrency: Requests at once to all of them together.
        rpm: Requests per minute of each.
        tpm: Tokens per minute of each.
        timeout: Seconds for one answer.

    Raises:
        MissingExtraError: the packages of the embedded model are not installed.
        StopError: there is no such model, or no key for it.
    """
    from syphus.providers import connect

    found: list[Endpoint] = []
    for spec in parse_models(text):
        provider = connect(spec.model, transport=transport, key=spec.variable, timeout=timeout)
        pace = _pace(provider, concurrency, rpm=rpm, tpm=tpm)
        found.append(Endpoint(spec.model, provider, spec.name, spec.weight, pace=pace))
    return Endpoints(found, concurrency=concurrency)


def single(provider: Provider, model: str, *, concurrency: int | None = None) -> Endpoints:
    """Return a provider that is already made as the only endpoint."""
    return Endpoints([Endpoint(model, provider, model, pace=_pace(provider, concurrency))])


def _pace(
    provider: Provider,
    concurrency: int | None,
    *,
    rpm: float | None = None,
    tpm: float | None = None,
) -> Pace:
    if concurrency is not None:
        return Pace(concurrency, rpm=rpm, tpm=tpm)
    most = MOST_AT_ONCE if provider.concurrency >= REMOTE else None
    return Pace(provider.concurrency, most=most, rpm=rpm, tpm=tpm)
