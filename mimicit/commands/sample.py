"""`syphus data sample`: records beside their pictures, drawn by a hash of seed and id, so that a seed shows the same ones again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mimicit.commands.options import Dataset, Json, as_text

if TYPE_CHECKING:
    import duckdb
    from PIL.Image import Image

    from mimicit.inline import Screen
    from mimicit.store import Store

MOST_SHOWN = 4
"""Pictures of one record that are drawn."""
MOST_CHARACTERS = 3_000
"""Of one text that are shown."""
_LINES, _COLUMNS = 14, 44
"""Of a picture, at most."""
_BESIDE = 64
"""Columns of a terminal from which on a text has room beside a picture."""
_ID_COLUMNS = (
    "id, task, language, instruction, answer, image_ids, rel_ins_ids, source, translation_of, "
    "conversation, turn, rejected, meta"
)
_CHOSEN = """
SELECT id FROM {view} WHERE {where} ORDER BY md5_number_lower($seed || ':' || id), id LIMIT $count"""
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What a terminal may obey in JSON, where it can be written as an escape."""


def sample(
    dataset: Dataset,
    count: Annotated[int, typer.Option("-n", min=1, max=1_000, help="How many records.")] = 5,
    where: Annotated[
        str, typer.Option(help="An SQL predicate over the records: task = 'la_detail'")
    ] = "true",
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Another one draws others.")] = 0,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Of the rejected records, not the accepted ones.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Of all records, accepted or rejected.")
    ] = False,
    pictures: Annotated[
        str, typer.Option(help="auto, kitty, iterm, sixel, blocks or none.")
    ] = "auto",
    json: Json = False,
) -> None:
    """Show a few records with their pictures and verdicts.

    Pictures are drawn where the terminal can (Kitty, iTerm2, Sixel, else blocks of colour); elsewhere their ids and sizes are printed.

    Example:

        syphus data sample -d demo

        syphus data sample -d demo -n 3 --rejected --where "task = 'la_detail'" --seed 7
    """
    from mimicit.inline import WAYS, screen, write
    from mimicit.store import Store

    if pictures not in ("auto", *WAYS):
        raise typer.BadParameter(f"--pictures {pictures!r} is none of auto, {', '.join(WAYS)}")
    if rejected and everything:
        raise typer.BadParameter("--rejected and --all exclude each other")
    store = Store.open(dataset)
    store.refresh()
    view = "rejected" if rejected else "instructions" if everything else "accepted"
    rows = sampled(store, count=count, where=where, seed=seed, view=view)
    if json:
        text = as_text(rows)
        typer.echo(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
        return
    if not rows:
        typer.echo(f"no record to show: {_none(view, where)}", err=True)
    on = screen(pictures)
    for row in rows:
        write("".join(shown(row, store, on)))


def _none(view: str, where: str) -> str:
    kind = "is there" if view == "instructions" else f"is {view}"
    return f"none {kind}" if where == "true" else f"none {kind} and satisfies {where!r}"


def sampled(
    store: Store, *, count: int, where: str = "true", seed: int = 0, view: str = "accepted"
) -> list[dict[str, Any]]:
    """Draw records; each comes with its `verdicts`, and its `pictures` as far as they are there.

    Raises:
        QueryError: the predicate is wrong.
    """
    import duckdb

    from mimicit.errors import QueryError
    from mimicit.sandbox import predicate

    with store.reading() as connection:
        try:
            query = _CHOSEN.format(view=view, where=predicate(connection, where))
            chosen = connection.execute(query, {"seed": str(seed), "count": count}).fetchall()
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            raise QueryError(f"the selection {where!r} fails: {said}") from None
        return _looked_up(connection, [id_ for (id_,) in chosen])


def _looked_up(connection: duckdb.DuckDBPyConnection, ids: list[str]) -> list[dict[str, Any]]:
    """Return records by id, in this order.

    They are read by their places: who looks for an id beside the texts unpacks all texts.
    """
    wanted = "(SELECT unnest($ids))"
    found_at = connection.execute(
        f"SELECT rowid FROM instructions WHERE id IN {wanted}", {"ids": ids}
    ).fetchall()
    rows = _rows(
        connection,
        f"SELECT {_ID_COLUMNS} FROM instructions WHERE rowid IN (SELECT unnest($places))",
        {"places": [place for (place,) in found_at]},
    )
    said = _rows(
        connection,
        "SELECT record, recipe, filter, reason, score, coalesce(rejects, true) AS rejects "
        f"FROM verdicts WHERE record IN {wanted} ORDER BY recipe, filter",
        {"ids": ids},
    )
    named = sorted({name for row in rows for name in row["image_ids"]})
    found = {
        row["id"]: row
        for row in _rows(
            connection,
            f"SELECT id, mime, width, height FROM images WHERE id IN {wanted}",
            {"ids": named},
        )
    }
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        row["pictures"] = [found[name] for name in row["image_ids"] if name in found]
        row["verdicts"] = []
    for verdict in said:
        by_id[verdict.pop("record")]["verdicts"].append(verdict)
    return [by_id[id_] for id_ in ids]


def _rows(
    connection: duckdb.DuckDBPyConnection, query: str, params: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a few rows without loading Arrow, which takes longer than they do."""
    found = connection.execute(query, params)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


# On the screen


def shown(row: dict[str, Any], store: Store, on: Screen) -> Iterator[str]:
    """Yield what is printed of a record."""
    from mimicit.inline import beside, draw, sheet

    images, notes = _opened(row, store) if on.way != "none" else ([], {})
    is_wide = on.columns >= _BESIDE
    columns = min(_COLUMNS, on.columns * 2 // 5) if is_wide else on.columns
    lines = min(_LINES, max(1, on.lines - 2))
    drawn = draw(sheet(images), on, columns=columns, lines=lines) if images else None
    taken = drawn.columns + 2 if drawn and is_wide else 0
    text = [*_text(row, notes, on, max(20, on.columns - taken)), ""]
    if is_wide:
        yield from beside(drawn, text)
    else:
        yield from beside(drawn, [])
        yield from beside(None, text)


def _opened(row: dict[str, Any], store: Store) -> tuple[list[Image], dict[str, str]]:
    """Return a record's first pictures, and what is wrong with those that do not open."""
    from mimicit.errors import DatasetError, PictureError
    from mimicit.media.picture import decode

    images, notes = [], {}
    for name in [one["id"] for one in row["pictures"]][:MOST_SHOWN]:
        try:
            [data] = store.images.get([name])
            images.append(decode(data, name=name, at_least=1_024))
        except (PictureError, DatasetError) as error:
            notes[name] = str(error)
    return images, notes


def _text(row: dict[str, Any], notes: dict[str, str], on: Screen, width: int) -> Iterator[str]:
    bold, dim, red = (_styles(on)[name] for name in ("bold", "dim", "red"))
    about = [row["id"], row["task"], row["language"]]
    if row["turn"] is not None:
        about.append(f"turn {row['turn']} of {row['conversation']}")
    if row["translation_of"]:
        about.append(f"of {row['translation_of']}")
    yield from _styled(_cut("  ".join(about)), width, dim)
    yield from _styled(_cut(row["instruction"]), width, bold)
    yield from _styled(_cut(row["answer"]), width)
    if row["rejected"] is not None:
        yield from _styled(f"liked less: {_cut(row['rejected'])}", width, dim)
    for verdict in row["verdicts"]:
        score = "" if verdict["score"] is None else f" ({verdict['score']:.3g})"
        sign, style = ("✗", red) if verdict["rejects"] else ("·", dim)
        said = f"{sign} {verdict['recipe']}: {verdict['filter']}{score}: {verdict['reason']}"
        yield from _styled(_cut(said), width, style)
    for line in _pictures(row, notes):
        yield from _styled(line, width, dim)


def _pictures(row: dict[str, Any], notes: dict[str, str]) -> Iterator[str]:
    """Say which pictures a record has, whether they are drawn or not."""
    there = {one["id"]: one for one in row["pictures"]}
    for name in row["image_ids"][: 2 * MOST_SHOWN]:
        one = there.get(name)
        size = f"{one['width']}×{one['height']} {one['mime']}" if one else "is not there"
        yield notes.get(name) or f"{name}  {size}"
    more = len(row["image_ids"]) - 2 * MOST_SHOWN
    if more > 0:
        yield f"and {more:,} more pictures"


def _styles(on: Screen) -> dict[str, str]:
    use = on.is_terminal and on.colours > 0
    return (
        {"bold": "1", "dim": "2", "red": "31"} if use else dict.fromkeys(("bold", "dim", "red"), "")
    )


def _styled(text: str, width: int, style: str = "") -> Iterator[str]:
    """Yield a text as lines of at most so many cells; nothing in it reaches the terminal as a command."""
    for line in wrapped(text, width):
        yield f"\x1b[{style}m{line}\x1b[0m" if style and line else line


def wrapped(text: str, width: int) -> Sequence[str]:
    """Break a text into lines, where it has spaces if it can be."""
    import io

    from rich.console import Console
    from rich.text import Text

    from mimicit.inline import plain

    console = Console(file=io.StringIO(), width=width)
    return [line.plain.rstrip() for line in Text(plain(text)).wrap(console, width)]


def _cut(text: str) -> str:
    left = len(text) - MOST_CHARACTERS
    return text if left <= 0 else f"{text[:MOST_CHARACTERS]} … and {left:,} more characters"
