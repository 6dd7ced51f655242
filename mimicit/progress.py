"""Progress on standard error: a bar where somebody watches, a line now and then where nobody does.

`update` may be called thousands of times a second: it keeps the numbers, and draws a few times a second. A note that does not
fit beside the bar stands below it, cut to the width of the terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

LINE_SECONDS = 15.0
"""Between two lines where nobody watches."""
DRAW_SECONDS = 0.15
"""Between two drawings where somebody does."""
_BAR_CELLS = 28


class Progress:
    """Show how much is done, how fast, and how long it will take.

    with Progress("asking", total=20, unit="pictures") as progress:
        progress.update(3, "9 pairs")
    """

    def __init__(self, what: str, *, total: int | None, unit: str) -> None:
        """Name what is done, and how many units of it there are."""
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._note: str | Callable[[], str] = ""
        self._started = self._shown = time.monotonic()
        self._live = None
        self._pause = LINE_SECONDS
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # It draws when it is told to: a thread of its own would take turns with the work.
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._pause = DRAW_SECONDS

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live or self.done:
            self._show()
        if self._live:
            self._live.stop()

    def update(self, done: int, note: str | Callable[[], str] = "") -> None:
        """Keep the numbers; `note` may be a function, which is called only when it is shown."""
        self.done, self._note = done, note
        if time.monotonic() - self._shown >= self._pause:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        note = self._note if isinstance(self._note, str) else self._note()
        if self._live:
            self._live.update(_Drawing(self.what, self._share(), self._rate(), note))
            self._live.refresh()
        else:
            said = [self._rate(), note] if note else [self._rate()]
            sys.stderr.write(f"{self.what}: {' · '.join(said)}\n")
            sys.stderr.flush()

    def _share(self) -> float | None:
        return min(self.done / self.total, 1.0) if self.total else None

    def _rate(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = self.done / elapsed if elapsed else 0.0
        parts = [f"{self.done:,}" + (f"/{self.total:,}" if self.total else "") + f" {self.unit}"]
        parts += [f"{rate:,.2f}/s" if rate < 10 else f"{rate:,.0f}/s"]
        if self.total and rate and self.done < self.total:
            parts += [f"{duration((self.total - self.done) / rate)} left"]
        else:
            parts += [duration(elapsed)]
        return " · ".join(parts)


class _Drawing:
    """The bar, what is done, and the note: on one line, or the note below, or without the bar."""

    def __init__(self, what: str, share: float | None, rate: str, note: str) -> None:
        self.what, self.share, self.rate, self.note = what, share, rate, note

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width = options.max_width - 1  # the last column is left free: some terminals wrap there
        first = Text.assemble(self.what, " ", self._bar(), self.rate)
        if first.cell_len > width:
            first = Text(f"{self.what} {self.rate}")
        if not self.note:
            lines = [first]
        elif first.cell_len + 3 + Text(self.note).cell_len <= width:
            lines = [Text.assemble(first, " · ", self.note)]
        else:
            lines = [first, Text(f"  {self.note}")]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            yield line

    def _bar(self) -> Text:
        from rich.text import Text

        if self.share is None:
            return Text()
        filled = round(self.share * _BAR_CELLS)
        return Text.assemble(
            ("━" * filled, "cyan"), ("━" * (_BAR_CELLS - filled), "bright_black"), " "
        )


def duration(seconds: float) -> str:
    """Write a time as people say it: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
