"""Token buckets: one that we keep for the user's ceilings, one that mirrors what the provider's headers say.

A bucket's level is how much may leave at once; it fills at a rate. `wait` says in how many seconds an amount may leave, `take`
takes it out. The level may go below zero, so that an amount larger than a whole bucket leaves too, and is paid off afterwards.
"""

from __future__ import annotations

import math

from syphus.limits import Quota

SHARE = 0.98
"""Of a provider's rate, what is used: its clock and ours differ, and requests arrive unevenly."""
LONGEST = 60.0
"""Seconds after which one request leaves, whatever is thought to remain: it shows what the provider has to say now."""


class Bucket:
    """A ceiling per minute, spread evenly: a second's worth may leave at once, and no minute holds more than the ceiling."""

    __slots__ = ("at", "capacity", "level", "rate")

    def __init__(self, per_minute: float, *, whole: float = 1.0) -> None:
        """Args:
        per_minute: Requests or tokens.
        whole: The least that a bucket must hold to be of use: one request, any number of tokens.
        """
        self.capacity = max(whole, per_minute / 60)
        self.rate = max(per_minute - self.capacity + whole, 0.1 * per_minute) / 60
        self.level = self.capacity
        self.at = -math.inf

    def wait(self, now: float, amount: float) -> float:
        if self.at < now:
            self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
            self.at = now
        missing = min(amount, self.capacity) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        self.level -= amount

    def give_back(self, amount: float) -> None:
        """Correct an estimate: what was taken and not used, or below zero what was used and not taken."""
        self.level = min(self.capacity, self.level + amount)


class Mirror:
    """The provider's own bucket, as its headers show it.

    A reply says what remained when its request came in. What we sent since then is taken off, what came in since is added. How
    fast a quota fills differs (OpenAI's per minute, Groq's requests per day, others all at once when a minute is over) and is
    learned, from the best source there is:

        used / reset         where that stays the same from reply to reply, as in a true token bucket
        what is seen         remaining now - remaining then + sent since then, per second
        limit / 60 s         as long as nothing was seen

    Where nothing comes in between resets, the quota is a fixed window: it is used up, and then the reset is waited for.
    """

    def __init__(self) -> None:
        self.known = False
        self.sent = 0.0
        """All we took out, ever: what a reply's `mark` is compared with."""
        self.rate = 0.0
        """By which the quota fills, per second; 0 in a fixed window."""
        self._limit = math.inf
        self._level = math.inf
        self._at = self._last = 0.0
        self._reset_at = math.inf
        self._fresh = True
        self._newest = -1.0
        self._told, self._spread = 0.0, 1.0
        self._seen: float | None = None
        self._then: tuple[float, float, bool, int] | None = None
        self._reset_then: tuple[float, float] | None = None
        self._is_window = False
        self._replies = 0
        self._unclear_until = -1.0

    def wait(self, now: float, amount: float) -> float:
        self._fill(now)
        missing = min(amount, self._limit) - self._level
        if missing <= 1e-9:
            return 0.0
        seconds = missing / (self.rate * SHARE) if self.rate else max(self._reset_at - now, 0.01)
        return max(min(seconds, self._last + LONGEST - now), 0.0)

    def take(self, now: float, amount: float) -> None:
        self.sent += amount
        self._level -= amount
        self._last = now

    def heed(
        self, now: float, quota: Quota, mark: float, left_at: float, *, is_refusal: bool = False
    ) -> None:
        """Take in what a reply says.

        Args:
            now: When it came.
            quota: What its headers say.
            mark: `sent` when its request had left. Replies overtake each other: an older one than the newest is no news.
            left_at: When its request left.
            is_refusal: Whether the provider has not let it in.
        """
        if is_refusal:
            # Who was let in is not known for a while: nothing is learned until what is under way has come back.
            self._unclear_until = self.sent
            self._then = self._reset_then = None
        if mark < self._newest:
            return
        self._newest = mark
        self.known = True
        self._limit = quota.limit
        self._replies += 1
        self._learn_rate(now, quota, mark)
        self._fill(now)
        level = quota.remaining - (self.sent - mark) + self.rate * (now - left_at)
        # Less than we thought is believed at once; more only bit by bit, as long as others are under way.
        if self._fresh or level < self._level or mark == self.sent:
            self._level, self._fresh = level, False
        else:
            self._level += 0.25 * (level - self._level)
        self._at = now
        self._reset_at = now + (60.0 if quota.reset is None else quota.reset)

    def _fill(self, now: float) -> None:
        if self.rate:
            self._level = min(self._limit, self._level + (now - self._at) * self.rate * SHARE)
        elif now >= self._reset_at:
            # One request goes first and asks whether the window is really over.
            self._level, self._fresh = 1.0, True
            self._reset_at = now + 1.0
        self._at = now

    def _learn_rate(self, now: float, quota: Quota, mark: float) -> None:
        used = quota.limit - quota.remaining
        is_clear = mark > self._unclear_until
        if quota.reset and used > 0:
            told = used / quota.reset
            self._spread += 0.2 * (min(abs(told - self._told) / told, 1.0) - self._spread)
            self._told += 0.3 * (told - self._told) if self._told else told
            if is_clear:
                self._look_at_reset(now + quota.reset, mark)
        if self._is_window:
            self.rate, self._then = 0.0, None
            return
        if is_clear:
            self._look_at_remaining(now, quota, mark)
        if self._told and self._spread < 0.15:
            self.rate = self._told
        else:
            self.rate = self._seen or self._told or quota.limit / 60

    def _look_at_reset(self, reset_at: float, mark: float) -> None:
        """Tell a window from a bucket: each request moves a bucket's reset, and no request a window's."""
        if self._reset_then is None:
            self._reset_then = (reset_at, mark)
            return
        expected = (mark - self._reset_then[1]) / self._told
        if expected >= 3.0:  # seconds; some round theirs
            self._is_window = reset_at - self._reset_then[0] < 0.3 * expected
            self._reset_then = (reset_at, mark)

    def _look_at_remaining(self, now: float, quota: Quota, mark: float) -> None:
        """Measure what came in between two replies that are far enough apart."""
        is_full = quota.remaining > 0.97 * quota.limit - 1
        here = (now, quota.remaining + mark, is_full, self._replies)
        if self._then is None:
            self._then = here
            return
        then, sum_then, was_full, replies = self._then
        seconds = now - then
        if seconds < 0.25 or (seconds < 2.0 and self._replies - replies < 20):
            return
        self._then = here
        seen = max(quota.remaining + mark - sum_then, 0.0) / seconds
        if is_full or was_full:  # a full quota takes nothing in: it was at least so much
            self._seen = max(seen, self._seen or 0.0)
        else:
            self._seen = seen if self._seen is None else self._seen + 0.5 * (seen - self._seen)
