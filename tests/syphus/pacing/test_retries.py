import random
from itertools import pairwise

import pytest

from syphus.errors import (
    ConnectionLostError,
    ContentError,
    ProviderError,
    RateLimitError,
    RefusedError,
    ServerError,
    StopError,
    TimedOutError,
)
from syphus.pacing import retries
from syphus.pacing.retries import ATTEMPTS, PATIENCE, with_retries

from .virtual import completion, now, run


def attempts(*outcomes):
    """Return an attempt that meets these outcomes, the last one for ever, and the times at which it was made."""
    times = []

    async def attempt():
        outcome = outcomes[min(len(times), len(outcomes) - 1)]
        times.append(now())
        if isinstance(outcome, ProviderError):
            raise outcome
        return outcome

    return attempt, times


def ask(attempt):
    async def main():
        return await with_retries(attempt, clock=now)

    return run(main())


@pytest.mark.parametrize("error", [TimedOutError, ServerError, ConnectionLostError])
def test_what_may_pass_is_tried_six_times_ever_longer_apart(error, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    attempt, times = attempts(error("no"))
    with pytest.raises(error, match=r"^no$"):
        ask(attempt)
    assert len(times) == ATTEMPTS == 6
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize("error", [RefusedError, ContentError, StopError, ProviderError])
def test_what_will_not_pass_is_tried_once(error):
    attempt, times = attempts(error("no"))
    with pytest.raises(error):
        ask(attempt)
    assert len(times) == 1


def test_a_rate_limit_uses_up_no_attempt():
    limits, failures = [RateLimitError("slow down")] * 50, [ServerError("no")] * (ATTEMPTS - 1)
    attempt, times = attempts(*limits, *failures, *limits, completion())
    assert ask(attempt).text == "A kite."
    assert len(times) == 106


def test_a_rate_limit_without_end_ends_after_an_hour():
    attempt, times = attempts(RateLimitError("slow down", retry_after=60.0))
    with pytest.raises(RateLimitError, match=r"slow down; refused .* times in 60 minutes"):
        ask(attempt)
    assert PATIENCE <= times[-1] - times[0] < PATIENCE + 120


@pytest.mark.parametrize("error", [RateLimitError, ServerError])
def test_nothing_is_sent_before_the_provider_s_own_time(error):
    attempt, times = attempts(error("no", retry_after=7.5), completion())
    ask(attempt)
    assert times[1] - times[0] >= 7.5


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -5.0, None])
def test_nonsense_about_waiting_is_ignored(seconds):
    attempt, times = attempts(ServerError("no", retry_after=seconds))
    with pytest.raises(ServerError):
        ask(attempt)
    assert len(times) == ATTEMPTS
    assert times[-1] - times[0] < 60


def test_a_first_attempt_that_succeeds_builds_nothing(monkeypatch):
    monkeypatch.setattr(retries, "AsyncRetrying", None)
    attempt, times = attempts(completion())
    ask(attempt)
    assert len(times) == 1
