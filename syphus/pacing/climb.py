"""Find out how much a provider takes that does not say: by goodput, never by single refusals.

Many providers refuse a request now and then for no reason that asking less often would cure. A rule that slows down at each 429
(AIMD) throttles for nothing there. So what counts is what a change *did*:

    rate     more than half of a window refused    ask 1.05 times as often as requests were let in
             some refused                          ask a little less often: do refusals become fewer? stay; no? undo, and
                                                   take so many refusals for granted
             none above that                       ask 1.1 times as often, then 1.25, 1.5, 2 times
    window   answers per second grow with the requests at once? more of them; else back, and wait longer before the next try
"""

from __future__ import annotations

import math

WINDOW = 0.5
"""Seconds of one measurement, at least."""
ENOUGH = 16
"""Requests of one measurement, at least, where they come fast enough."""
FEW = 4
"""Of these none refused is enough, too."""
LONGEST_WINDOW = 5.0
SLOWEST = 1 / 60
"""Requests per second: however closed a provider looks, it is asked once a minute."""
STEPS = (1.1, 1.25, 1.5, 2.0)


class RateClimb:
    """A rate that is None until a provider refuses more than now and then."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self.granted = 0.0
        """The share of refusals that asking less often did not cure."""
        self._started = math.nan
        self._sent = self._limited = 0
        self._level, self._at = 1.0, 0.0
        self._clean = self._cuts = 0
        """Windows in a row without and with too many refusals."""
        self._share = 0.0
        """Of refusals, before the last cut."""
        self._uncut: float | None = None
        """The rate before the first cut."""

    def wait(self, now: float) -> float:
        if self.rate is None:
            return 0.0
        burst = max(1.0, 0.1 * self.rate)
        self._level = min(burst, self._level + (now - self._at) * self.rate)
        self._at = now
        return 0.0 if self._level >= 1 - 1e-9 else (1 - self._level) / self.rate

    def left(self, now: float) -> None:
        if self.rate is not None:
            self._level -= 1
        if not self._limited and now - self._started < WINDOW:  # the usual case
            self._sent += 1
            return
        if math.isnan(self._started):
            self._started = now
        self._judge(now)
        self._sent += 1

    def limited(self, now: float, left_at: float) -> None:
        if left_at >= self._started:
            self._limited += 1
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Judge a window by the requests that left in it; those without an answer were let in, for a refusal comes fast."""
        sent, limited, seconds = self._sent, self._limited, now - self._started
        share = limited / sent if sent else 0.0
        if sent >= ENOUGH and share > 0.5:
            if seconds < WINDOW / 5:
                return
        elif seconds < WINDOW or (sent < (ENOUGH if limited else FEW) and seconds < LONGEST_WINDOW):
            return
        self._started, self._sent, self._limited = now, 0, 0
        if sent:
            self._decide(now, seconds, share, sent)

    def _decide(self, now: float, seconds: float, share: float, sent: int) -> None:
        asked = sent / seconds
        let_in = asked * (1 - share)
        noise = 2 * math.sqrt(self.granted * (1 - self.granted) / sent)
        if share <= self.granted + noise + 0.03:
            self._cuts = 0
            self.granted += 0.3 * (share - self.granted)
            if self.rate and asked > 0.8 * self.rate:
                self._set(self.rate * STEPS[min(self._clean, len(STEPS) - 1)], now)
                self._clean += 1
            return
        self._clean = 0
        if self._cuts == 0:
            self._uncut = self.rate
        elif self._cuts >= 2 and seconds >= WINDOW and _is_no_cure(self._share, share):
            # The first cut proves nothing: what was saved up before it is let in without a refusal.
            self.granted, self._cuts = share, 0
            self._set(self._uncut, now)
            return
        self._cuts += 1
        self._share = share
        if not let_in:
            self._clean = len(STEPS) - 1  # a guess: come back as fast
            self._set(asked / 4, now)
        elif self.rate is None or share > 0.5:
            self._set(1.05 * let_in, now)
        else:
            self._set(let_in / (1 - self.granted), now)

    def _set(self, rate: float | None, now: float) -> None:
        if self.rate is None:
            self._level, self._at = 0.0, now
        self.rate = None if rate is None else max(rate, SLOWEST)


def _is_no_cure(before: float, after: float) -> bool:
    """Return whether a cut did nothing; where nearly all is refused, nobody knows."""
    return after < 0.9 and after > (0.9 if before > 0.5 else 0.6) * before


class WindowClimb:
    """How many requests at once."""

    def __init__(self, size: int, most: int) -> None:
        self.size = size
        self.most = most
        self.was_full = False
        """Whether a request had to wait for the window since the last judgement; set by the pace."""
        self._answers = 0
        self._settling = 0
        self._started = math.nan
        self._before: tuple[int, float] | None = None
        self._hold, self._next_hold = 0, 4

    def answered(self, now: float) -> None:
        if self.size >= self.most and not self._before:
            return
        if self._settling:
            self._settling -= 1
            self._started = now
            return
        self._answers += 1
        if self._answers < 2 * self.size:
            return
        if math.isnan(self._started):
            self._started = now
            self._answers = 0
        elif now - self._started >= WINDOW:
            self._judge(self._answers / (now - self._started), now)

    def _judge(self, goodput: float, now: float) -> None:
        was_full, self.was_full = self.was_full, False
        self._answers, self._started = 0, now
        if not was_full:
            self._before = None
        elif self._before and goodput < self._before[1] * _worth(self.size / self._before[0]):
            self.size = self._settling = self._before[0]
            self._before = None
            self._hold, self._next_hold = self._next_hold, min(2 * self._next_hold, 64)
        elif self._hold:
            self._hold -= 1
        else:
            self._before = (self.size, goodput)
            self.size = self._settling = min(self.most, math.ceil(1.5 * self.size))
            if self.size == self._before[0]:
                self._before, self._settling = None, 0


def _worth(growth: float) -> float:
    """Return by how much goodput must have grown for so many more requests at once."""
    return 1 + 0.3 * (growth - 1)
