"""Ask again when it is worth it, by class of error.

    RateLimitError                                      says nothing of the request: again, for an hour at most, and the pace
                                                        sees to it that fewer are sent
    TimedOutError, ServerError, ConnectionLostError     6 attempts, ever longer apart, at random
    all others                                          at once

No attempt is made before the provider's Retry-After is over. A request whose first attempt succeeds costs nothing here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from syphus.errors import RateLimitError, RetryError
from syphus.pacing.pace import PATIENCE, seconds_asked
from syphus.request import Completion

log = logging.getLogger(__name__)

ATTEMPTS = 6


def _backoff(failures: int) -> float:
    """Return a wait in seconds; tests replace it."""
    return random.uniform(0, min(60.0, 0.5 * 2 ** min(failures - 1, 10)))


def _limited_backoff(refusals: int) -> float:
    """Return a wait after a 429 that names none: short, for when to send is the pace's business."""
    return random.uniform(0, min(1.0, 0.25 * 2 ** min(refusals, 10)))


async def with_retries(
    attempt: Callable[[], Awaitable[Completion]],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Completion:
    """Make an attempt until it succeeds, fails for good, or has failed too often.

    Raises:
        ProviderError: the last attempt's error.
    """
    started = clock()
    try:
        return await attempt()
    except RetryError as error:
        return await _Retries(attempt, error, started, clock, sleep).run()


class _Retries:
    def __init__(
        self,
        attempt: Callable[[], Awaitable[Completion]],
        first: RetryError,
        started: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._attempt = attempt
        self._first: RetryError | None = first
        self._give_up_at = started + PATIENCE
        self._clock, self._sleep = clock, sleep
        self._failures = self._refusals = 0

    async def run(self) -> Completion:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryError),
            wait=self._wait,
            stop=self._is_enough,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(self._next)
        except RateLimitError as error:
            raise RateLimitError(
                f"{error}; refused {self._refusals} times in {PATIENCE / 60:.0f} minutes",
                retry_after=error.retry_after,
                status=error.status,
                limits=error.limits,
            ) from None

    async def _next(self) -> Completion:
        """Make the next attempt; the first was made, and its error is raised once more."""
        try:
            if self._first:
                first, self._first = self._first, None
                raise first
            return await self._attempt()
        except RateLimitError:
            self._refusals += 1
            raise
        except RetryError:
            self._failures += 1
            raise

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitError):
            seconds = seconds_asked(error) or _limited_backoff(self._refusals)
        elif isinstance(error, RetryError):
            seconds = max(seconds_asked(error), _backoff(self._failures))
        else:
            return 0.0
        log.info("attempt %d failed (%s); again in %.1f s", state.attempt_number, error, seconds)
        return seconds

    def _is_enough(self, state: RetryCallState) -> bool:
        return self._failures >= ATTEMPTS or self._clock() >= self._give_up_at
