"""Ask again when it is worth it."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from syphus.errors import RetryError
from syphus.request import Completion

log = logging.getLogger(__name__)

ATTEMPTS = 6
LONGEST_WAIT = 300.0
"""Seconds. Whoever asks to wait longer has closed for the hour or the day: that request fails at once."""
_backoff = wait_random_exponential(multiplier=0.5, max=60)


async def with_retries(attempt: Callable[[], Awaitable[Completion]]) -> Completion:
    """Make an attempt until it succeeds, fails for good, or has failed `ATTEMPTS` times.

    Raises:
        ProviderError: the last attempt's error.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_worth_waiting_for),
        wait=_wait,
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    try:
        return await retrying(attempt)
    except RetryError as error:
        if _is_worth_waiting_for(error):
            raise
        raise RetryError(
            f"{error}; the provider asks to wait {_asked(error):.0f} s, and a run waits "
            f"{LONGEST_WAIT:.0f} s at most: run the command again later",
            retry_after=error.retry_after,
        ) from None


def _is_worth_waiting_for(error: BaseException) -> bool:
    return isinstance(error, RetryError) and _asked(error) <= LONGEST_WAIT


def _asked(error: RetryError) -> float:
    """Return how many seconds the provider asks to wait; 0 where it says nothing, or nonsense."""
    seconds = error.retry_after or 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _wait(state: RetryCallState) -> float:
    """Wait as long as the provider asks, and else ever longer, at random."""
    error = state.outcome.exception() if state.outcome else None
    asked = _asked(error) if isinstance(error, RetryError) else 0.0
    seconds = max(asked, _backoff(state))
    log.info("attempt %d failed (%s); again in %.1f s", state.attempt_number, error, seconds)
    return seconds
