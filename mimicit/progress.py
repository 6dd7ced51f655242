"""Progress on standard error: a bar where somebody watches, a line now and then where nobody does."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

LINE_SECONDS = 15.0


class Progress:
    """Show how much is done, how fast, and how long it will take.

    with Progress("asking", total=20, unit="pictures") as progress:
        progress.update(3, "9 pairs")
    """

    def __init__(self, what: str, *, total: int | None, unit: str) -> None:
        """Name what is done, and how many units of it there are."""
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._note = ""
        self._started = self._printed = time.monotonic()
        self._live = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._live = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar = self._live.add_task(what, total=total, note="")

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
        elif self.done:
            self._print()

    def update(self, done: int, note: str = "") -> None:
        self.done, self._note = done, note
        if self._live:
            self._live.update(self._bar, completed=done, note=self._line())
        elif time.monotonic() - self._printed >= LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        sys.stderr.write(f"{self.what}: {self._line()}\n")
        sys.stderr.flush()

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = self.done / elapsed if elapsed else 0.0
        parts = [f"{self.done:,}" + (f"/{self.total:,}" if self.total else "") + f" {self.unit}"]
        parts += [f"{rate:,.2f}/s" if rate < 10 else f"{rate:,.0f}/s"]
        if self.total and rate and self.done < self.total:
            parts += [f"{duration((self.total - self.done) / rate)} left"]
        else:
            parts += [duration(elapsed)]
        return " · ".join([*parts, self._note] if self._note else parts)


def duration(seconds: float) -> str:
    """Write a time as people say it: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
