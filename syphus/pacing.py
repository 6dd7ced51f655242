"""Ask again when it is worth it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from syphus.errors import RetryError
from syphus.request import Completion

log = logging.getLogger(__name__)

ATTEMPTS = 6
_backoff = wait_random_exponential(multiplier=0.5, max=60)


async def with_retries(attempt: Callable[[], Awaitable[Completion]]) -> Completion:
    """Make an attempt until it succeeds, fails for good, or has failed `ATTEMPTS` times.

    Raises:
        ProviderError: the last attempt's error.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(RetryError),
        wait=_wait,
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    return await retrying(attempt)


def _wait(state: RetryCallState) -> float:
    """Wait as long as the provider asks, and else ever longer, at random."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RetryError) else None
    seconds = max(asked or 0.0, _backoff(state))
    log.info("attempt %d failed (%s); again in %.1f s", state.attempt_number, error, seconds)
    return seconds
