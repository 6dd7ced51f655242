"""`syphus data stats`: tables, and what is distributed as sparklines, in as many columns as the terminal has."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import typer

from mimicit.commands.options import Dataset, Json, as_text

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.:-=+*#"
"""From few to many; nothing at all is a space."""
LEAST_COLUMNS = 40
_LENGTHS = {
    "question": "lengths of questions",
    "answer": "lengths of answers",
    "pictures": "pictures of a record",
}
_MOST_BARS = 30
"""Of a series of days or runs; neighbours are added up."""

_PLAIN = {ord("–"): "-", ord("…"): "~"}

Rows = Sequence[dict[str, Any]]


def stats(
    dataset: Dataset,
    json: Json = False,
) -> None:
    """Count records, pictures, tokens and verdicts, and draw how they are distributed.

    A sparkline has a bar for each of up to 20 steps from the least value on; what is larger than nearly all others is in the last one.

    Example:

        syphus data stats -d demo
    """
    from mimicit.inline import write
    from mimicit.stats import stats
    from mimicit.store import Store

    store = Store.open(dataset)
    store.refresh()
    tables = stats(store)
    if json:
        typer.echo(as_text(tables))
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    write(report(tables, bars=bars_for(sys.stdout.encoding or "ascii"), columns=columns))


def bars_for(encoding: str) -> str:
    """Return the characters that bars are made of."""
    try:
        BLOCKS.encode(encoding)
    except (UnicodeError, LookupError):
        return ASCII
    return BLOCKS


def report(tables: dict[str, list[dict[str, Any]]], *, bars: str, columns: int | None) -> str:
    """Lay the tables of `mimicit.stats` out.

    Args:
        tables: Name -> rows.
        bars: Characters from few to many.
        columns: Of the terminal; None: as many as it takes.
    """
    shown: dict[str, Rows] = {
        name: rows for name, rows in tables.items() if name in ("tasks", "models", "verdicts")
    } | {"pictures": tables["pictures"]}
    shown["tasks"] = _with_units(tables["tasks"], tables["lengths"])
    shown["runs"] = _latest(tables["runs"])
    for of, title in _LENGTHS.items():
        shown[title] = [
            _named(row, ("task", "language", *(["unit"] if of != "pictures" else [])))
            | _spread(row, bars)
            for row in tables["lengths"]
            if row["of"] == of
        ]
    shown["scores"] = [
        _named(row, ("recipe", "filter")) | _spread(row, bars) for row in tables["scores"]
    ]
    shown |= _judges(tables["judges"])
    shown["records by day"] = _series(tables["days"], "day", bars)
    shown["records by run"] = _series(tables["runs"], "run", bars)
    texts = [table(name, rows, columns) for name, rows in shown.items() if rows]
    text = "\n".join(texts)
    return text.translate(_PLAIN) if bars == ASCII else text


def spark(counts: Sequence[int], bars: str) -> str:
    """Draw counts as bars; the smallest one above nothing is still seen."""
    most = max(counts, default=0) or 1
    return "".join(
        bars[min(len(bars) - 1, count * len(bars) // most)] if count else " " for count in counts
    )


def _judges(rows: Rows) -> dict[str, Rows]:
    """Return a table for each two judges."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        figures = {
            name: None if row[name] is None else round(row[name], 2)
            for name in ("apart", "agree", "kappa", "weighted_kappa", "spearman")
        }
        named = _named(row, ("criterion", "records")) | figures
        found.setdefault(f"judges {row['one']} and {row['other']}", []).append(named)
    return dict(found)


def _with_units(tasks: Rows, lengths: Rows) -> Rows:
    """Leave words out of languages that have no spaces between them; their letters are among the lengths."""
    dense = {(row["task"], row["language"]) for row in lengths if row["unit"] == "letters"}
    return [
        row | {"words_asked": None, "words_answered": None}
        if (row["task"], row["language"]) in dense
        else row
        for row in tasks
    ]


def _named(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _spread(row: dict[str, Any], bars: str) -> dict[str, Any]:
    numbers = {name: float(f"{row[name]:.4g}") for name in ("least", "median", "most")}
    whole = {name: int(value) if value.is_integer() else value for name, value in numbers.items()}
    return {"records": row["records"], **whole, "": spark(row["counts"], bars)}


def _latest(runs: Rows) -> Rows:
    """Return the last runs; all of them are in the sparkline."""
    return [
        row | {"started": f"{row['started']:%Y-%m-%d %H:%M}" if row["started"] else None}
        for row in runs[-10:]
    ]


def _series(rows: Rows, name: str, bars: str) -> Rows:
    """Draw a series of counts, days without any among them."""
    if not rows:
        return []
    counts = [row["records"] for row in rows]
    if name == "day":
        by_day = {row["day"]: row["records"] for row in rows}
        first = rows[0]["day"]
        span = (rows[-1]["day"] - first).days + 1
        counts = [by_day.get(first + datetime.timedelta(n), 0) for n in range(span)]
    each = -(-len(counts) // _MOST_BARS)
    added = [sum(counts[n : n + each]) for n in range(0, len(counts), each)]
    ends = {"from": str(rows[0][name]), "to": str(rows[-1][name])}
    return [{**ends, f"{name}s": len(counts), "each bar": each, "": spark(added, bars)}]


# Columns


def table(name: str, rows: Rows, columns: int | None = None) -> str:
    """Lay a small table out in plain columns; where they are too many, the widest texts are cut."""
    from rich.cells import cell_len

    from mimicit.inline import plain

    cells = [list(rows[0]), *[[_cell(value) for value in row.values()] for row in rows]]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    kinds = [_kind([row[key] for row in rows]) for key in rows[0]]
    if columns is not None:
        _narrow(widths, kinds, max(columns, LEAST_COLUMNS) - 2 * len(widths))
    lines = [
        "  ".join(_fit(*one) for one in zip(row, widths, kinds, strict=True)).rstrip()
        for row in cells
    ]
    title, _, rest = name.partition(" ")
    head = f"{title.upper()} {plain(rest)}".rstrip()
    return "\n".join([head, *(f"  {line}" for line in lines), ""])


def _kind(values: Sequence[object]) -> type:
    numbers = all(value is None or isinstance(value, int | float) for value in values)
    return float if numbers and any(value is not None for value in values) else str


def _narrow(widths: list[int], kinds: Sequence[type], room: int) -> None:
    """Take from the widest column of texts until all fit; numbers are never cut."""
    while sum(widths) > room:
        widest = max(
            (n for n, kind in enumerate(kinds) if kind is str),
            key=widths.__getitem__,
            default=None,
        )
        if widest is None or widths[widest] <= 4:
            return
        widths[widest] -= 1


def _fit(text: str, width: int, kind: type) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        text = set_cell_size(text, max(0, width - 1)) + "…"
    room = " " * (width - cell_len(text))
    return room + text if kind is float else text + room


def _cell(value: object) -> str:
    from mimicit.inline import plain

    if value is None:
        return "–"
    if isinstance(value, int | float):
        return f"{value:,}"
    return " ".join(plain(str(value)).split("\n"))
