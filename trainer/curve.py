"""`loss.png`: the loss over the steps, held-out losses on it, and below it what an objective measures beside its loss.

It is drawn while a run goes on, too: after a look at held-out records, or some minutes, but never for more than a hundredth of the
time. A picture shows a few hundred steps apart, so a long run is drawn by the means of neighbouring steps: a million steps cost
what two thousand do.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mimicit.progress import duration
from trainer.report import StepLog

PAUSE = 120.0
"""Seconds between two drawings, at least."""
SHARE = 0.01
"""Of the time that drawing may take."""
FIRST = 1.5
"""Seconds that the first drawing is thought to take."""
POINTS = 2000
COLOURS = ("#b3541e", "#2f7d4f", "#7b4fa3", "#c2185b")


class Curve:
    def __init__(self, path: Path) -> None:
        """Name the picture; the run's is the folder's."""
        self.path = path
        self.title = f"Training loss of {path.resolve().parent.name}"
        self._drawn_at = self._began = time.monotonic()
        self._cost = FIRST
        self._spent = 0.0

    def is_due(self, *, looked: bool = False) -> bool:
        """Say whether to draw now.

        Args:
            looked: There is a new held-out loss to show.
        """
        now = time.monotonic()
        can_pay = self._spent + self._cost <= SHARE * (now - self._began)
        return can_pay and (looked or now - self._drawn_at >= PAUSE)

    def draw(self, entries: Sequence[StepLog], held_out: Mapping[int, float]) -> None:
        """Draw all steps so far.

        Args:
            entries: Of the run.
            held_out: Losses, by the number of steps that were learned before.
        """
        began = time.monotonic()
        draw_curve(self.path, entries, title=self.title, held_out=held_out)
        self._drawn_at = time.monotonic()
        self._cost = self._drawn_at - began
        self._spent += self._cost


def draw_curve(
    path: Path,
    entries: Sequence[StepLog],
    *,
    title: str,
    held_out: Mapping[int, float] | None = None,
) -> None:
    """Draw the loss over the steps, as it was and smoothed, on a logarithmic scale. The file that is there stays whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = sorted({name for entry in entries[-POINTS:] for name in entry.figures})
    # What is a share of something has a scale of its own.
    shares = [name for name in names if name.endswith("accuracy")]
    panels = [group for group in (shares, [one for one in names if one not in shares]) if group]
    figure = Figure(figsize=(8, 4.5 + 1.9 * len(panels)), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [2.4] + [1.0] * len(panels)
    plots = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    axes = plots[0]

    steps = binned([entry.step for entry in entries])
    losses = binned([entry.loss for entry in entries])
    window = max(1, len(losses) // 20)
    together = -(-len(entries) // POINTS)
    each = "each step" if together == 1 else f"means of {together:,} steps"
    thin = window > 1
    colour, width = ("#9db4d3", 0.9) if thin else ("#1f4e9c", 1.6)
    axes.plot(steps, losses, color=colour, linewidth=width, label=each)
    if thin:
        smooth = f"mean of {window * together:,} steps"
        means = smoothed(losses, window=window)
        axes.plot(steps, means, color="#1f4e9c", linewidth=2.2, label=smooth)
    if held_out:
        looks = sorted(held_out.items())
        axes.plot(
            *zip(*looks, strict=True),
            color="#c2571a",
            linewidth=1.4,
            marker="o",
            markersize=4,
            clip_on=False,
            label=f"held out, now {looks[-1][1]:.3g}",
        )
    _scale(axes, [*losses, *(held_out or {}).values()])
    axes.set_xlim(min(1, entries[0].step), max(2, entries[-1].step))
    axes.set_ylabel(_unit(names))
    axes.set_title(title, loc="left", fontsize=13, pad=24, parse_math=False)
    axes.text(
        0.0,
        1.025,
        f"{entries[0].loss:.3g} → {entries[-1].loss:.3g} in {len(entries):,} steps, "
        f"{duration(sum(entry.seconds for entry in entries))}",
        transform=axes.transAxes,
        color="#666666",
    )
    for group, below in zip(panels, plots[1:], strict=True):
        for name, colour in zip(group, COLOURS * len(group), strict=False):
            values = binned([entry.figures.get(name, float("nan")) for entry in entries])
            means = smoothed(values, window=window)
            below.plot(steps, values, color=colour, linewidth=0.6, alpha=0.35)
            below.plot(steps, means, color=colour, linewidth=1.8, label=name)
        if group is shares:
            below.set_ylim(-0.03, 1.03)
    for one in plots:
        if one is axes:
            one.legend(frameon=False)
        else:  # above what it explains, for lines go everywhere
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderpad": 0}
            one.legend(frameon=False, fontsize=8, ncols=4, **place)
        one.grid(which="major", color="#e4e4e4", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    plots[-1].set_xlabel("step")
    staged = path.with_name(f".{path.name}")
    with warnings.catch_warnings():
        # The name of a run may have letters that the font has not; squares stand for them.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(staged, format="png")
    staged.replace(path)


def _unit(figures: Sequence[str]) -> str:
    """Return what a loss is; objectives are told apart by what they measure beside it."""
    if any(name.startswith("loss/") for name in figures):
        return "weighted sum of groups' losses"
    if "kl" in figures:
        return "loss per answer"
    return "loss per pair" if "rewards/margin" in figures else "loss per taught token"


def _scale(axes: Any, losses: Sequence[float]) -> None:
    """Scale by powers where all losses are above 0; those of preferences need not be."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    if min(losses) <= 0:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter("")


def smoothed(losses: Sequence[float], *, window: int) -> list[float]:
    """Return at each step the mean of the `window` losses around it, or of as many as there are."""
    before, after = window // 2, window - window // 2
    around = (losses[max(0, at - before) : at + after] for at in range(len(losses)))
    return [sum(near) / len(near) for near in around]


def binned(values: Sequence[float]) -> list[float]:
    """Return means of as many neighbours as it takes to have no more than POINTS."""
    together = -(-len(values) // POINTS)
    if together <= 1:
        return list(values)
    edges = [*range(0, len(values), together), len(values)]
    return [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
