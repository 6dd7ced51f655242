"""When the next request to an endpoint may leave. The strictest of these wins:

    requests at once     --concurrency, or what was found to pay (climb.py)
    --rpm, --tpm         the user's ceilings (buckets.py)
    headers              what the provider says remains, and fills in (buckets.py)
    refusals             where it says nothing: what it was seen to let in (climb.py)
    Retry-After          nobody leaves before it, if most of the last answers were 429s
    circuit breaker      one probe at a time (breaker.py)

Nothing here waits or knows a loop: `wait` says for how many seconds the answer is no, and the caller asks again then, or when a
request has come back. Where nothing binds, a request costs a few comparisons. Times are of a monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syphus.errors import ProviderError, RateLimitError, RefusedError, RetryError, StopError
from syphus.pacing.breaker import Breaker
from syphus.pacing.buckets import SHARE, Bucket, Mirror
from syphus.pacing.climb import RateClimb, WindowClimb

if TYPE_CHECKING:
    from syphus.limits import Limits

LONGEST_WAIT = 300.0
"""Seconds. Whoever asks to wait longer has closed for the hour or the day."""
PATIENCE = 3600.0
"""Seconds in which a provider refuses everything for its limits."""
MOST_AT_ONCE = 256
"""Requests at once that are tried where the user names no number."""
_RECENT = 0xFFFF
"""Of the last 16 answers, which were 429s: one bit each."""


@dataclass(slots=True)
class Ticket:
    """A request that has left."""

    left_at: float
    tokens: int
    """Reserved."""
    requests_mark: float
    tokens_mark: float
    probe: bool


class Pace:
    """One per endpoint: a model with a key."""

    def __init__(
        self,
        window: int,
        *,
        most: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
    ) -> None:
        """Args:
        window: Requests at once.
        most: To how many it may climb; it stays as it is where this is None.
        rpm: Requests per minute, at most.
        tpm: Tokens per minute, at most.
        """
        self.in_flight = 0
        self.sent = 0
        self.window = WindowClimb(window, most or window)
        self.breaker = Breaker()
        self._rpm, self._tpm = rpm, tpm
        self._rpm_bucket = Bucket(rpm) if rpm else None
        self._tpm_bucket = Bucket(tpm) if tpm else None
        self._requests, self._tokens = Mirror(), Mirror()
        self._climb = RateClimb()
        self._closed_until = 0.0
        self._recent = 0
        self._limited_since: float | None = None
        self._binds = "window"
        # Whether anything but the window may bind: looked at once per request.
        self._is_bound = bool(rpm or tpm)

    def wait(self, now: float, tokens: int) -> float:
        """Return in how many seconds a request may leave: 0 is now, infinity is when another has come back."""
        if self.in_flight >= self.window.size:
            self.window.was_full = True
            self._binds = "window"
            return math.inf
        return self._wait_bound(now, tokens) if self._is_bound else 0.0

    def _wait_bound(self, now: float, tokens: int) -> float:
        longest = 0.0
        for name, seconds in (
            ("breaker", self.breaker.wait(now)),
            ("closed", self._closed_until - now),
            ("rpm", self._rpm_bucket.wait(now, 1) if self._rpm_bucket else 0.0),
            ("tpm", self._tpm_bucket.wait(now, tokens) if self._tpm_bucket else 0.0),
            ("requests", self._requests.wait(now, 1) if self._requests.known else 0.0),
            ("tokens", self._tokens.wait(now, tokens) if self._tokens.known else 0.0),
            ("climb", self._climb.wait(now)),
        ):
            if seconds > longest:
                longest, self._binds = seconds, name
        return longest

    def leave(self, now: float, tokens: int) -> Ticket:
        """Let a request go."""
        self.in_flight += 1
        self.sent += 1
        self._requests.take(now, 1)
        self._tokens.take(now, tokens)
        self._climb.left(now)
        if self._rpm_bucket:
            self._rpm_bucket.take(1)
        if self._tpm_bucket:
            self._tpm_bucket.take(tokens)
        probe = self.breaker.left()
        return Ticket(now, tokens, self._requests.sent, self._tokens.sent, probe)

    def answered(
        self, ticket: Ticket, now: float, *, limits: Limits | None = None, used: int | None = None
    ) -> None:
        """Note a completion.

        Args:
            ticket: The request's.
            now: When it came.
            limits: What its headers say.
            used: Its tokens, prompt and completion.
        """
        self.in_flight -= 1
        self._recent = (self._recent << 1) & _RECENT
        self._limited_since = None
        self.breaker.answered()
        self.window.answered(now)
        if limits:
            self._heed(ticket, now, limits)
        if used is not None and self._tpm_bucket:
            self._tpm_bucket.give_back(ticket.tokens - used)

    def failed(self, ticket: Ticket, now: float, error: ProviderError) -> None:
        """Note an error.

        Raises:
            StopError: this endpoint should not be asked any more, at least for a while.
        """
        self.in_flight -= 1
        self._is_bound = True
        self._recent = (self._recent << 1) & _RECENT
        if error.limits:
            self._heed(ticket, now, error.limits, refusal=isinstance(error, RateLimitError))
        if ticket.probe:
            self.breaker.gave_up()
        asked = seconds_asked(error)
        if isinstance(error, RetryError) and asked > LONGEST_WAIT:
            raise StopError(
                f"{error}; the provider asks to wait {asked:.0f} s, and a run waits "
                f"{LONGEST_WAIT:.0f} s at most: run the same command again later, and it goes on "
                "where it stopped"
            )
        if isinstance(error, RateLimitError):
            self._limited(ticket, now, error, asked)
        elif isinstance(error, RetryError):
            self.breaker.failed(now, error, probe=ticket.probe)
        elif isinstance(error, RefusedError):
            self.breaker.refused(error)

    def gave_up(self, ticket: Ticket) -> None:
        """Note that a request was cancelled."""
        self.in_flight -= 1
        if ticket.probe:
            self.breaker.gave_up()

    def _limited(self, ticket: Ticket, now: float, error: RateLimitError, asked: float) -> None:
        self._recent |= 1
        self._climb.limited(now, ticket.left_at)
        if self.breaker.is_open:
            self.breaker.close()
        if self._limited_since is None:
            self._limited_since = now
        elif now - self._limited_since >= PATIENCE:
            raise StopError(
                f"nothing but refusals for {PATIENCE / 60:.0f} minutes; the last one was: {error}. Run "
                "the same command again later, and it goes on where it stopped"
            )
        if asked and self._recent.bit_count() > 8:
            until = now + asked
            self._closed_until = (
                until if self._closed_until <= now else min(self._closed_until, until)
            )

    def _heed(self, ticket: Ticket, now: float, limits: Limits, *, refusal: bool = False) -> None:
        self._is_bound = True
        if quota := limits.requests:
            mark = ticket.requests_mark
            self._requests.heed(now, quota, mark, ticket.left_at, is_refusal=refusal)
        if quota := limits.tokens:
            mark = ticket.tokens_mark
            self._tokens.heed(now, quota, mark, ticket.left_at, is_refusal=refusal)

    def describe(self, now: float) -> str:
        """Say which limit binds."""
        if self.breaker.is_open:
            return "waiting for the provider to recover"
        if self._binds == "closed" and self._closed_until > now:
            return f"waiting {math.ceil(self._closed_until - now)} s as the provider asks"
        if self._binds == "rpm":
            return f"{self._rpm:g}/min by --rpm"
        if self._binds == "tpm":
            return f"{self._tpm:g} tokens/min by --tpm"
        if self._binds == "requests":
            return self._told(self._requests, now, "")
        if self._binds == "tokens":
            return self._told(self._tokens, now, " tokens")
        if self._binds == "climb" and self._climb.rate:
            return f"{self._climb.rate:.1f}/s as the provider lets in"
        return f"{self.window.size} at once"

    def _told(self, mirror: Mirror, now: float, unit: str) -> str:
        if mirror.rate:
            return f"{mirror.rate * SHARE:.1f}{unit}/s by the provider's headers"
        return f"waiting {math.ceil(mirror.wait(now, 1))} s for the provider's next window"


def seconds_asked(error: ProviderError) -> float:
    """Return how many seconds the provider asks to wait; 0 where it says nothing, or nonsense."""
    seconds = (error.retry_after if isinstance(error, RetryError) else None) or 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
