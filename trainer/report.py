"""What a run tells: a log for programs, a line for people, a curve for both."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TextIO

from mimicit.progress import duration


@dataclass(frozen=True, slots=True)
class StepLog:
    """One line of `log.jsonl`."""

    step: int
    """Counted from 1."""
    loss: float
    """Mean over the taught tokens of the step, before its update."""
    lr: float
    grad_norm: float
    """Before clipping."""
    taught: int
    """Tokens with a label."""
    tokens: int
    """Tokens without padding."""
    seconds: float
    waited: float
    """Share of the seconds spent waiting for data."""
    pictures: int = 0
    """Frames of clips counted one by one."""
    figures: dict[str, float] = field(default_factory=dict)
    """What an objective measures beside its loss, by name."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def append(path: Path, entry: StepLog) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(entry))


def rewrite(path: Path, entries: Sequence[StepLog]) -> None:
    """Make a log hold these steps and no others."""
    staged = path.with_name(f".{path.name}")
    staged.write_text("".join(map(_line, entries)), encoding="utf-8")
    staged.replace(path)


def _line(entry: StepLog) -> str:
    rate = {"tokens_per_second": round(entry.tokens_per_second, 1)}
    return json.dumps(asdict(entry) | rate) + "\n"


def read(path: Path, *, up_to: int) -> list[StepLog]:
    """Return a log's first steps; what is beyond them a resumed run takes again."""
    lines = path.read_text(encoding="utf-8").splitlines()[:up_to] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [
        StepLog(**{one.name: row[one.name] for one in fields(StepLog) if one.name in row})
        for row in rows
    ]


def smoothed(losses: Sequence[float], *, window: int) -> list[float]:
    """Return at each step the mean of the `window` losses around it, or of as many as there are."""
    before, after = window // 2, window - window // 2
    around = (losses[max(0, at - before) : at + after] for at in range(len(losses)))
    return [sum(near) / len(near) for near in around]


def draw_curve(path: Path, entries: Sequence[StepLog], *, title: str) -> None:
    """Draw the loss over the steps, as it was and smoothed, on a logarithmic scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    steps = [entry.step for entry in entries]
    losses = [entry.loss for entry in entries]
    window = max(1, len(losses) // 20)
    means = smoothed(losses, window=window)

    figure = Figure(figsize=(8, 4.5), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#9db4d3", linewidth=0.9, label="each step")
    axes.plot(steps, means, color="#1f4e9c", linewidth=2.2, label=f"mean of {window} steps")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter("")
    axes.set_xlim(1, max(2, len(steps)))
    axes.set_xlabel("step")
    axes.set_ylabel("loss per taught token")
    axes.set_title(title, loc="left", fontsize=13, pad=24)
    axes.text(
        0.0,
        1.025,
        f"{losses[0]:.2f} → {losses[-1]:.3g} in {len(steps):,} steps, "
        f"{duration(sum(entry.seconds for entry in entries))}",
        transform=axes.transAxes,
        color="#666666",
    )
    axes.grid(which="major", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)


class Progress:
    """One line that renews itself on a terminal; elsewhere a line now and then."""

    def __init__(
        self, stream: TextIO | None = None, *, every: float = 10.0, silent: bool = False
    ) -> None:
        self.stream = stream or sys.stderr
        self.silent = silent
        self.every = every
        """Seconds between lines that are not on a terminal."""
        self.renews = self.stream.isatty()
        self._shown_at = time.monotonic()
        self._spent: list[float] = []

    def say(self, text: str) -> None:
        self._write(text, end="\n")

    def step(self, entry: StepLog, *, steps: int) -> None:
        self._spent.append(entry.seconds)
        is_last = entry.step == steps
        now = time.monotonic()
        if not (self.renews or is_last or now - self._shown_at >= self.every):
            return
        self._shown_at = now
        recent = self._spent[-50:]
        left = (steps - entry.step) * sum(recent) / len(recent)
        self._write(
            f"step {entry.step:,}/{steps:,} · loss {entry.loss:.3g} · lr {entry.lr:.1e} · "
            f"{entry.tokens_per_second:,.0f} tokens/s · at most {duration(left)} left",
            end="\n" if is_last or not self.renews else "",
        )

    def _write(self, text: str, *, end: str) -> None:
        if self.silent:
            return
        start = "\r\x1b[K" if self.renews else ""
        self.stream.write(f"{start}{text}{end}")
        self.stream.flush()
