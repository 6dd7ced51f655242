"""The figures of the page. Each takes counted facts, and is drawn as wide as a phone: side by side on a screen, one below another there.

Accepted is blue and dropped is orange, as in Okabe and Ito's palette, which people of any colour vision tell apart; no figure
relies on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mimicit.report.facts import OTHERS, Row
from mimicit.report.svg import INK, breadth, drawing, label, written

if TYPE_CHECKING:
    import datetime

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360.0
"""Pixels of a figure, that of a narrow phone."""
HEIGHT = 215.0
ACCEPTED, DROPPED = INK["c0"], INK["c1"]
MOST = 14
"""Tasks in a chart."""
MOST_BARS = 60
"""Of days; of a longer time, so many days are one that there are no more."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def compact(value: float, _: object = None) -> str:
    """Write a number as an axis can hold it: 1.2k, 30M."""
    if abs(value) >= 1e15:
        return f"{value:.2g}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


# Lengths


def lengths(found: Sequence[Row], prefix: str, what: str) -> str:
    """Draw how many words texts have: accepted below, dropped on top, up to where 99 of 100 are."""
    by_words = {flag: _summed(found, flag) for flag in (False, True)}
    both = _merged(by_words.values())
    most = max(8, quantile(both, 0.99)) if both else 8
    width = max(1, math.ceil(most / 30))
    with drawing(WIDTH, HEIGHT) as figure:
        axes = _axes(figure)
        starts = list(range(0, most + width, width))
        below = [0.0] * len(starts)
        for flag, colour, name in ((False, ACCEPTED, "accepted"), (True, DROPPED, "dropped")):
            heights = _binned(by_words[flag], starts, width)
            if any(heights):
                axes.bar(
                    [start + (width - 1) / 2 for start in starts], heights, width=0.86 * width,
                    bottom=below, color=colour, label=name,
                )  # fmt: skip
            below = [a + b for a, b in zip(below, heights, strict=True)]
        axes.set_xlim(-0.6, starts[-1] + width - 0.5)
        longer = sum(count for words, count in both.items() if words >= starts[-1] + width)
        beyond = f"; {longer:,} longer ones are not drawn" if longer else ""
        _below(figure, f"words of {what}{beyond}")
        axes.yaxis.set_major_formatter(compact)
        if any(by_words[True].values()):
            _legend(figure, axes)
        return written(figure, prefix, f"Histogram of the words of {what}")


def lengths_by_task(found: Sequence[Row], tasks: Sequence[str], prefix: str, what: str) -> str:
    """Draw for each task where nine of ten texts are, where half of them are, and the middle one."""
    rows = [(task, quantiles(found, task)) for task in tasks[:MOST]]
    height = 56 + 24 * len(rows)
    names = [label(task) for task, _ in rows]
    with drawing(WIDTH, height, layout=None) as figure:
        left = max(map(breadth, names)) + 12
        axes = _axes(figure, grid="x")
        axes.set_position((left / WIDTH, 40 / height, 1 - (left + 12) / WIDTH, 1 - 46 / height))
        places = list(range(len(rows)))
        for place, (_, (low, quarter, middle, three, high)) in enumerate(rows):
            axes.plot([low, high], [place, place], color=ACCEPTED, linewidth=1.4, alpha=0.6)
            axes.plot(
                [quarter, three], [place, place], color=ACCEPTED, linewidth=7,
                alpha=0.55, solid_capstyle="butt",
            )  # fmt: skip
            axes.plot([middle, middle], [place - 0.26, place + 0.26], color=INK["ink"], linewidth=2)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", labelcolor=INK["ink"])
        axes.set_ylim(len(places) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(compact)
        _below(figure, f"words of {what}: middle, half, nine of ten")
        return written(figure, prefix, f"Words of {what} by task")


def quantiles(found: Iterable[Row], task: str | None = None) -> tuple[int, ...]:
    counted = _merged(
        [{row["words"]: row["records"]} for row in found if task in (None, row["task"])]
    )
    return tuple(quantile(counted, share) if counted else 0 for share in QUANTILES)


def quantile(counted: dict[int, int], share: float) -> int:
    """Return the value below or at which so many lie."""
    values = sorted(counted)
    sums = list(accumulate(counted[value] for value in values))
    return next(v for v, s in zip(values, sums, strict=True) if s >= share * sums[-1])


def _summed(found: Iterable[Row], dropped: bool) -> dict[int, int]:
    return _merged([{row["words"]: row["records"]} for row in found if row["dropped"] == dropped])


def _merged(parts: Iterable[dict[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for part in parts:
        for value, count in part.items():
            total[value] = total.get(value, 0) + count
    return total


def _binned(counted: dict[int, int], starts: Sequence[int], width: int) -> list[float]:
    heights = [0.0] * len(starts)
    for value, count in counted.items():
        if value < starts[-1] + width:
            heights[value // width] += count
    return heights


# Columns


def columns(
    found: Sequence[tuple[str, float]], prefix: str, title: str, what: str, *, most: int = 40
) -> str:
    """Draw a few counts as columns."""
    shown = list(found)[:most]
    with drawing(WIDTH, HEIGHT) as figure:
        axes = _axes(figure)
        axes.bar(range(len(shown)), [count for _, count in shown], width=0.8, color=ACCEPTED)
        every = max(1, math.ceil(len(shown) / 10))
        axes.set_xticks(range(0, len(shown), every), [name for name, _ in shown[::every]])
        axes.set_xlim(-0.7, max(2.7, len(shown) - 0.3))
        axes.set_xlabel(what)
        axes.yaxis.set_major_formatter(compact)
        return written(figure, prefix, title)


def sizes(found: Sequence[Row], prefix: str, title: str) -> str:
    """Draw pictures by the pixels of their longer side; the axis is logarithmic."""
    powers = [2**n for n in range(17)]
    ticks = [(8 * math.log2(value), f"{value:,}") for value in powers]
    return _steps(found, ticks, prefix, title, "pixels of the longer side")


def shapes(found: Sequence[Row], prefix: str, title: str) -> str:
    """Draw pictures by width to height; the axis is logarithmic."""
    ratios = ((1, 8), (1, 4), (1, 2), (2, 3), (1, 1), (3, 2), (2, 1), (4, 1), (8, 1))
    ticks = [(8 * math.log2(w / h), f"{w} : {h}") for w, h in ratios]
    return _steps(found, ticks, prefix, title, "width : height")


def _steps(
    found: Sequence[Row], ticks: Sequence[tuple[float, str]], prefix: str, title: str, what: str
) -> str:
    """Draw counts by eighths of an octave."""
    counted = {row["step"]: row["pictures"] for row in found}
    middle = (min(counted) + max(counted)) / 2
    half = max(10, (max(counted) - min(counted)) / 2 + 3)
    with drawing(WIDTH, HEIGHT) as figure:
        axes = _axes(figure)
        axes.bar(list(counted), list(counted.values()), width=0.86, color=ACCEPTED)
        axes.set_xlim(middle - half, middle + half)
        shown = [(at, name) for at, name in ticks if abs(at - middle) < 0.88 * half]
        shown = shown[:: math.ceil(len(shown) / 6)]
        axes.set_xticks([at for at, _ in shown], [name for _, name in shown])
        axes.set_xlabel(what)
        axes.yaxis.set_major_formatter(compact)
        return written(figure, prefix, title)


def scores(one: Row, prefix: str, title: str) -> str:
    """Draw the scores that a filter gave."""
    bins = one["bins"]
    width = bins[0]["width"]
    with drawing(WIDTH, HEIGHT) as figure:
        axes = _axes(figure)
        marks = all(row["most"] - row["from"] < 1e-6 * width for row in bins)
        middles = [row["from"] + (0 if marks else width / 2) for row in bins]
        axes.bar(middles, [row["records"] for row in bins], width=0.86 * width, color=INK["c2"])
        if one["is_whole"] and one["most"] - one["least"] <= 12:
            axes.set_xticks(range(int(one["least"]), int(one["most"]) + 1))
        if len(bins) == 1:
            axes.set_xlim(middles[0] - 2.5 * width, middles[0] + 2.5 * width)
        axes.set_xlabel("score")
        axes.xaxis.set_major_formatter(compact)
        axes.yaxis.set_major_formatter(compact)
        return written(figure, prefix, title)


def days(found: Sequence[Row], column: str, prefix: str, title: str, what: str) -> str:
    """Draw what was spent each day, by model; of a long time some days together are a bar."""
    import datetime

    first, last = min(row["day"] for row in found), max(row["day"] for row in found)
    each = (last - first).days // MOST_BARS + 1
    spent: dict[str, dict[datetime.date, float]] = {}
    for row in found:
        day = first + datetime.timedelta((row["day"] - first).days // each * each)
        of_model = spent.setdefault(row["model"] or "–", {})
        of_model[day] = of_model.get(day, 0) + (row[column] or 0)
    with drawing(WIDTH, HEIGHT + 15 * len(spent)) as figure:
        axes = _axes(figure, whole=False)
        starts: Any = sorted({day for of_model in spent.values() for day in of_model})
        below = [0.0] * len(starts)
        for n, model in enumerate(sorted(spent, key=lambda model: (model == OTHERS, model))):
            heights = [spent[model].get(day, 0.0) for day in starts]
            axes.bar(
                starts, heights, bottom=below, width=0.8 * each, align="center" if each == 1 else "edge",
                color=INK[f"c{n % 8}"], label="\u200b" + label(model, 220),  # matplotlib hides "_…"
            )  # fmt: skip
            below = [a + b for a, b in zip(below, heights, strict=True)]
        _dated(axes, first, last)
        _below(figure, _span(first, last) + (f"; a bar is {each} days" if each > 1 else ""))
        axes.set_ylabel(what)
        axes.yaxis.set_major_formatter(compact)
        if len(spent) > 1:
            figure.legend(loc="outside upper left", ncols=1)
        return written(figure, prefix, title)


def _dated(axes: Axes, first: datetime.date, last: datetime.date) -> None:
    """Give an axis its days, none of them so far left that it lies on the axis of numbers."""
    import datetime

    from matplotlib import dates

    untyped: Any = dates  # as these two are
    days = (last - first).days
    wide = datetime.timedelta(max(3, days // 12))
    bounds: Any = (first - wide, last + wide)
    axes.set_xlim(bounds)
    axes.xaxis.set_major_locator(untyped.AutoDateLocator(minticks=2, maxticks=5))
    left, right = axes.get_xlim()
    axes.set_xticks([at for at in axes.get_xticks() if at - left > 0.08 * (right - left)])
    axes.xaxis.set_major_formatter(untyped.DateFormatter("%b %Y" if days > 300 else "%-d %b"))


def _span(first: datetime.date, last: datetime.date) -> str:
    return f"{first:%-d %b %Y}" if first == last else f"{first:%-d %b %Y} to {last:%-d %b %Y}"


# Verbs and objects


def sunburst(verbs: Sequence[tuple[str, int, list[tuple[str, int]]]], prefix: str) -> str:
    """Draw verbs as a ring, and around each its most frequent objects."""
    inner, outer = [], []
    colours = next(n for n in (8, 7, 6) if n == 6 or len(verbs) % n != 1)  # the ring closes
    for place, (verb, total, objects) in enumerate(verbs):
        n = place % colours
        inner.append((label(verb, 76), total, n))
        outer += [(label(name, 94), count, n) for name, count in objects]
        outer.append(("", total - sum(count for _, count in objects), n))
    with drawing(440, 440, layout=None) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_xlim(-1.02, 1.02)
        axes.set_ylim(-1.02, 1.02)
        total = sum(count for _, count, _ in inner) or 1
        _ring(axes, inner, total, 0.24, 0.60, alpha=0.50)
        _ring(axes, [one for one in outer if one[1] > 0], total, 0.60, 1.0, alpha=0.24)
        return written(figure, prefix, "The most frequent verbs of questions, and their objects")


def _ring(
    axes: Axes,
    parts: Sequence[tuple[str, int, int]],
    total: int,
    inside: float,
    outside: float,
    *,
    alpha: float,
) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Wedge

    end = 90.0
    for name, count, n in parts:
        start, end = end, end - 360 * count / total
        if name:
            colour = to_rgba(INK[f"c{n}"], alpha)
            axes.add_patch(
                Wedge(
                    (0, 0), outside, end, start, width=outside - inside,
                    facecolor=colour, edgecolor=INK["paper"], linewidth=1.2,
                )
            )  # fmt: skip
        if name and start - end >= 3.6:  # degrees that a line of text needs
            middle = math.radians((start + end) / 2)
            turned = math.degrees(middle)
            if math.cos(middle) < 0:
                turned += 180
            place = (inside + outside) / 2
            axes.text(
                place * math.cos(middle), place * math.sin(middle), name,
                rotation=turned, rotation_mode="anchor", ha="center", va="center",
                fontsize=11.5 if inside < 0.5 else 10,
            )  # fmt: skip


# All of them


def _axes(figure: Figure, *, grid: Any = "y", whole: bool = True) -> Axes:
    axes = figure.add_subplot()
    axes.grid(True, axis=grid)
    axes.spines["left" if grid == "y" else "bottom"].set_visible(False)
    axes.locator_params(axis=grid, nbins=5, integer=whole)
    return axes


def _below(figure: Figure, text: str) -> None:
    """Say below a figure what its axis shows; a text as wide as this may be wider than the axis."""
    figure.supxlabel(text, fontsize=11.5, color=INK["muted"])


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
