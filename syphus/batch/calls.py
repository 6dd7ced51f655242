"""Calls that are made again, and calls that are not left half-way."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from syphus.errors import RetryError

T = TypeVar("T")
log = logging.getLogger(__name__)

ATTEMPTS = 6
LONGEST_ASKED = 900.0
"""Seconds. A provider that asks to wait longer is asked again after so many."""
_backoff = wait_random_exponential(multiplier=1, max=60)


async def retried(
    attempt: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]]
) -> T:
    """Make an attempt until it succeeds, fails for good, or has failed `ATTEMPTS` times."""
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(RetryError),
        wait=_wait,
        stop=stop_after_attempt(ATTEMPTS),
        sleep=sleep,
        reraise=True,
    )

    async def once() -> T:  # tenacity awaits only what is defined with `async`
        return await attempt()

    return await retrying(once)


async def in_thread(
    sleep: Callable[[float], Awaitable[None]], call: Callable[..., T], *arguments: object
) -> T:
    """Make a call that changes nothing, in a thread, until it succeeds."""
    return await retried(lambda: asyncio.to_thread(call, *arguments), sleep)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = (error.retry_after or 0.0) if isinstance(error, RetryError) else 0.0
    asked = min(asked, LONGEST_ASKED) if math.isfinite(asked) else 0.0
    seconds = max(asked, _backoff(state))
    log.info("attempt %d failed (%s); again in %.1f s", state.attempt_number, error, seconds)
    return seconds


async def whole(step: Coroutine[None, None, None]) -> None:
    """Finish a step even if the run is stopped meanwhile, so that what it did is noted; then stop."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s", error)
        raise
