"""What a run tells: a log for programs, a line for people. Its curve is drawn by `trainer.curve`.

    log.jsonl        every step with all that is known of it; a process that is killed loses the step in progress, at most
    standard error   a table whose last line renews itself on a terminal; elsewhere, or with report.every, one that grows

Figures of a line are means over the steps since the line before, by wall clock. What was done beside training (evaluating, saving,
drawing) is not in a step's seconds but in its `aside`, and in the time that is left.
"""

import json
import math
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from mimicit.progress import duration

WIDTH = 100
"""Characters of a line, at most."""
HEADED = 25
"""Lines of a table that grows, from one heading to the next."""
AT_LEAST = 10
"""Steps that a line which renews itself looks back on: one alone would tell little."""
RENEWED = 0.1
"""Seconds that such a line stays, at least."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """One line of `log.jsonl`."""

    step: int
    """Counted from 1."""
    loss: float
    """Mean over the taught tokens of the step, before its update."""
    lr: float
    grad_norm: float
    """Before clipping; not finite where the step moved no weight."""
    taught: int
    """Tokens with a label."""
    tokens: int
    """Tokens without padding."""
    seconds: float
    """From the end of the step before, but for what is `aside`."""
    waited: float
    """Share of the seconds spent waiting for data."""
    pictures: int = 0
    """Frames of clips counted one by one."""
    figures: dict[str, float] = field(default_factory=dict)
    """What an objective measures beside its loss, by name."""
    aside: dict[str, float] = field(default_factory=dict)
    """Seconds between the step before and this one that were no training, by what took them."""
    flops: float = 0.0
    """Operations of all devices, by the rules of `trainer.flops`; 0: not known."""
    mfu: float | None = None
    """Share of the devices' peak, from 0 to 1; None: it is not known."""
    memory: int | None = None
    """The most that a process had taken by then, of the process with the most: bytes of its GPU, or else of its machine."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def rates(self) -> dict[str, float]:
        """Return what was done in a second."""
        done = {"tokens": self.tokens, "taught": self.taught, "pictures": self.pictures}
        return {f"{name}_per_second": round(n / self.seconds, 1) for name, n in done.items()}


def append(path: Path, entry: StepLog) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(entry))


def rewrite(path: Path, entries: Sequence[StepLog]) -> None:
    """Make a log hold these steps and no others."""
    staged = path.with_name(f".{path.name}")
    with staged.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, entries))
    staged.replace(path)


def _line(entry: StepLog) -> str:
    # JSON has no word for what is not finite.
    norm = {} if math.isfinite(entry.grad_norm) else {"grad_norm": None}
    return json.dumps(asdict(entry) | norm | entry.rates()) + "\n"


def read(path: Path, *, up_to: int) -> list[StepLog]:
    """Return a log's first steps; what is beyond them a resumed run takes again."""
    return [
        StepLog(**{one.name: row[one.name] for one in fields(StepLog) if one.name in row})
        for row in map(_with_norm, lines_of(path))
        if row["step"] <= up_to
    ]


def _with_norm(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"grad_norm": math.nan} if row.get("grad_norm") is None else row


def last_step(path: Path) -> int:
    """Return the last step of a log; 0 if there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - (1 << 16)))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):
            return int(json.loads(line)["step"])
    return 0


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file that has one for each `step`; the last one of a killed process may be torn, and is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and type(row.get("step")) is int:
                yield row


def lines_up_to(path: Path, step: int) -> list[dict[str, Any]]:
    return [row for row in lines_of(path) if row["step"] <= step]


def keep_up_to(path: Path, step: int) -> list[dict[str, Any]]:
    """Cut such a file after a step, and return its lines."""
    kept = lines_up_to(path, step)
    if path.exists():
        staged = path.with_name(f".{path.name}")
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in kept]
        staged.write_text("".join(lines), encoding="utf-8")
        staged.replace(path)
    return kept


# The table


@dataclass(frozen=True, slots=True)
class Span:
    """Steps, one after the other, as one line tells them."""

    entries: Sequence[StepLog]
    steps: int
    """Of the run, at most."""
    left: float
    """Seconds."""

    @property
    def last(self) -> StepLog:
        return self.entries[-1]

    @property
    def seconds(self) -> float:
        return sum(entry.seconds for entry in self.entries)

    @property
    def loss(self) -> float:
        """Weighted by what was taught; of one step, its own."""
        taught = sum(entry.taught for entry in self.entries)
        if not taught:
            return self.last.loss
        return sum(entry.loss * entry.taught for entry in self.entries) / taught

    def rate(self, name: str) -> float:
        return float(sum(getattr(entry, name) for entry in self.entries)) / self.seconds

    @property
    def waited(self) -> float:
        return sum(entry.waited * entry.seconds for entry in self.entries) / self.seconds

    @property
    def mfu(self) -> float | None:
        if any(entry.mfu is None for entry in self.entries):
            return None
        return sum((entry.mfu or 0.0) * entry.seconds for entry in self.entries) / self.seconds


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    width: int
    write: Callable[[Span], str]
    rank: int = 0
    """The columns of the highest rank are left out first where a terminal is narrow."""
    is_there: Callable[[StepLog], bool] = lambda entry: True


COLUMNS = (
    Column("loss", 8, lambda span: f"{span.loss:.3g}"),
    Column("lr", 9, lambda span: f"{span.last.lr:.1e}", 3),
    Column("norm", 8, lambda span: f"{span.last.grad_norm:.2g}", 4),
    Column("tokens/s", 9, lambda span: short(span.rate("tokens")), 1),
    Column("taught/s", 9, lambda span: short(span.rate("taught")), 5),
    Column("pics/s", 7, lambda span: short(span.rate("pictures")), 6, lambda e: e.pictures > 0),
    Column("wait", 5, lambda span: f"{span.waited:.0%}", 7),
    Column("MFU", 5, lambda span: _percent(span.mfu), 8, lambda e: e.mfu is not None),
    Column("memory", 8, lambda span: gigabytes(span.last.memory or 0), 9, lambda e: e.memory is not None),
    Column("left", 12, lambda span: duration(span.left), 2),
)  # fmt: skip
"""After the step."""


def short(value: float) -> str:
    """Write a number in five characters, or nearly so."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scaled = value / min(size, 1e3 if letter == "k" else size)
            return f"{scaled:.1f}{letter}" if scaled < 100 else f"{scaled:.0f}{letter}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


class Progress:
    """A table of the steps; on a terminal its last line renews itself."""

    def __init__(
        self, stream: TextIO | None = None, *, every: float = 10.0, silent: bool = False
    ) -> None:
        self.stream = stream or sys.stderr
        self.silent = silent
        self.every = every
        """Seconds between lines that are not on a terminal, where `each` is not set."""
        self.each = 0
        """Steps of one line, which then stays (`report.every`)."""
        self.renews = self.stream.isatty()
        self._shown_at = time.monotonic()
        self._since: list[StepLog] = []
        self._recent: deque[StepLog] = deque(maxlen=50)
        self._aside = 0.0
        self._count = 0
        self._columns: list[Column] = []
        self._has: set[str] = set()
        self._lines = 0
        self._on_screen = 0
        """Lines that stand below the last one that stays, and are to be renewed."""

    def say(self, text: str) -> None:
        self._erase()
        self._write(f"{text}\n")

    def step(self, entry: StepLog, *, steps: int) -> None:
        """Take a step, and tell it if it is time."""
        if self.silent:
            return
        self._since.append(entry)
        self._recent.append(entry)
        self._aside += sum(entry.aside.values())
        self._count += 1
        self._has |= {column.name for column in COLUMNS if column.is_there(entry)}
        is_last, now = entry.step == steps, time.monotonic()
        if self.each:
            is_due, stays = entry.step % self.each == 0, True
        else:
            pause = RENEWED if self.renews else self.every
            is_due, stays = now - self._shown_at >= pause, not self.renews
        if not (is_due or is_last):
            return
        self._shown_at = now
        self._tell(steps, stays=stays or is_last)
        self._since = []

    def _tell(self, steps: int, *, stays: bool) -> None:
        looked_at = self._since
        if not stays and len(looked_at) < AT_LEAST:
            looked_at = list(self._recent)[-AT_LEAST:]
        entry = looked_at[-1]
        each = sum(one.seconds for one in self._recent) / len(self._recent)
        left = (steps - entry.step) * (each + self._aside / self._count)
        span = Span(looked_at, steps, left)

        first = 2 * len(f"{steps:,}") + 1
        columns = self._fitting(first)
        if columns != self._columns or self._on_screen or self._lines % HEADED == 0:
            heading = [f"{'step':>{first}}", *(f"{one.name:>{one.width}}" for one in columns)]
        else:
            heading = []
        cells = [f"{entry.step:,}/{steps:,}".rjust(first)]
        cells += [f" {one.write(span):>{one.width - 1}}" for one in columns]
        lines = (["".join(heading)] if heading else []) + ["".join(cells)]
        self._erase()
        if stays:
            self._write("".join(f"{line}\n" for line in lines))
            self._columns, self._lines = columns, self._lines + 1
        else:
            self._write("\n".join(lines))
            self._columns, self._on_screen, self._lines = columns, len(lines), 0

    def _fitting(self, first: int) -> list[Column]:
        """Return the columns for which there is room, and something to say."""
        width = WIDTH
        if self.renews:
            # The last place stays free: some terminals go to the next line there.
            width = min(width, shutil.get_terminal_size((WIDTH + 1, 24)).columns - 1)
        columns = [one for one in COLUMNS if one.name in self._has]
        while columns and first + sum(one.width for one in columns) > width:
            columns.remove(max(columns, key=lambda one: one.rank))
        return columns

    def _erase(self) -> None:
        if self._on_screen:
            self._write("\r\x1b[K" + "\x1b[1A\x1b[K" * (self._on_screen - 1))
            self._on_screen = 0

    def _write(self, text: str) -> None:
        if not self.silent:
            self.stream.write(text)
            self.stream.flush()


def means(entries: Sequence[StepLog]) -> Mapping[str, float | None]:
    """Return the rates of a whole run, for its summary."""
    seconds = sum(entry.seconds for entry in entries)
    known = [entry for entry in entries if entry.mfu is not None]
    return {
        "tokens_per_second": round(sum(entry.tokens for entry in entries) / seconds, 1),
        "taught_per_second": round(sum(entry.taught for entry in entries) / seconds, 1),
        "pictures_per_second": round(sum(entry.pictures for entry in entries) / seconds, 1),
        "waited": round(sum(entry.waited * entry.seconds for entry in entries) / seconds, 4),
        "mfu": round(Span(known, 0, 0.0).mfu or 0.0, 4) if known else None,
        "memory": max((entry.memory or 0 for entry in entries), default=0) or None,
    }


def asides(entries: Sequence[StepLog], last: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of a run that were no training, by what took them; `last`: after its last step."""
    found: dict[str, float] = {}
    for aside in (*(entry.aside for entry in entries), last):
        for what, seconds in aside.items():
            found[what] = found.get(what, 0.0) + seconds
    return {what: round(seconds, 2) for what, seconds in found.items()}
