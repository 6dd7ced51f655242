"""Stop asking where nothing is answered, before it burns the budget.

    nothing answered yet, 20 attempts failed or were refused     stop: the key, the address or a parameter is wrong
    20 failures in a row, later                                  pause, then one request at a time, after ever longer pauses
    still nothing after five minutes of that                     stop

A refused request (400) is an answer: the provider is well. Rate limits are none of its business: see `Pace`.
"""

from __future__ import annotations

import math

from syphus.errors import ProviderError, StopError

FAILURES = 20
"""In a row."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
GIVE_UP_AFTER = 300.0
"""Seconds of failed probes."""


class Breaker:
    def __init__(self) -> None:
        self.is_open = False
        self.has_answered = False
        self._in_a_row = 0
        self._first_tries = 0
        self._opened = 0.0
        self._pause = FIRST_PAUSE
        self._next_probe = 0.0
        self._probing = False
        self._is_last_chance = False

    def wait(self, now: float) -> float:
        """Return in how many seconds a request may leave; infinity while a probe is on its way."""
        if not self.is_open:
            return 0.0
        return math.inf if self._probing else max(self._next_probe - now, 0.0)

    def left(self) -> bool:
        """Note that a request has left; return whether it is the probe."""
        if not self.is_open:
            return False
        self._probing = True
        return True

    def answered(self) -> None:
        self.has_answered = True
        self._in_a_row = 0
        if self.is_open:
            self.close()

    def refused(self, error: ProviderError) -> None:
        """Note an answer to one request that is no completion.

        Raises:
            StopError: nothing else has been answered so far.
        """
        self._in_a_row = 0
        if self.is_open:
            self.close()
        self._count_first(error)

    def failed(self, now: float, error: ProviderError, *, probe: bool = False) -> None:
        """Note a failure that says nothing of the request.

        Raises:
            StopError: it has gone on for too long.
        """
        self._count_first(error)
        if self.is_open:
            if probe:
                self._probe_failed(now, error)
            return
        self._in_a_row += 1
        if self._in_a_row >= FAILURES:
            self.is_open, self._opened, self._pause = True, now, FIRST_PAUSE
            self._next_probe = now + self._pause

    def gave_up(self) -> None:
        """Note that the probe has come back without a verdict."""
        self._probing = False

    def pause(self, now: float, seconds: float) -> None:
        """Let nobody pass for so long, and then one probe, whose failure raises at once."""
        if not self.is_open:
            self.is_open, self._opened = True, now
        self._next_probe = now + seconds
        self._probing, self._is_last_chance = False, True

    def close(self) -> None:
        """Begin anew."""
        self.is_open = self._probing = self._is_last_chance = False
        self._in_a_row = self._first_tries = 0

    def _count_first(self, error: ProviderError) -> None:
        if self.has_answered or self._is_last_chance:
            return
        self._first_tries += 1
        if self._first_tries >= FAILURES:
            raise StopError(
                f"none of the first {self._first_tries} requests was answered; the last error was: "
                f"{error}. Once that is mended, run the same command again"
            )

    def _probe_failed(self, now: float, error: ProviderError) -> None:
        self._probing = False
        if self._is_last_chance or now - self._opened >= GIVE_UP_AFTER:
            raise StopError(
                f"no answer for {(now - self._opened) / 60:.0f} minutes; the last error was: {error}. "
                "Run the same command again later, and it goes on where it stopped"
            )
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._next_probe = now + self._pause
