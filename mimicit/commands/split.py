"""`syphus data split`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mimicit.commands.options import Dataset, Json, as_text
from mimicit.inline import plain

if TYPE_CHECKING:
    from mimicit.splits import Check, Splitting


def split(
    dataset: Dataset,
    split: Annotated[
        list[str],
        typer.Option(help="NAME=SHARE of the records beside `train`: validation=0.05."),
    ] = [],  # noqa: B006 - Typer copies it
    name: Annotated[str, typer.Option(help="Of the splitting; there may be several.")] = "default",
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Another one draws others.")] = 0,
    where: Annotated[
        str, typer.Option(help="An SQL predicate over the view `accepted`: task = 'la_detail'")
    ] = "true",
    stratify: Annotated[
        str, typer.Option(help="Meet the shares within each task, language, source; or none.")
    ] = "task",
    near_pictures: Annotated[
        bool, typer.Option(help="Join records about pictures that look the same.")
    ] = True,
    near_texts: Annotated[
        bool | None,
        typer.Option(
            "--near-texts/--no-near-texts",
            help="Join records that say nearly the same; without, where mimicit[curate] is installed.",
        ),
    ] = None,
    characters: Annotated[
        int, typer.Option(min=1, help="Shorter texts join no records about pictures.")
    ] = 100,
    distance: Annotated[
        int, typer.Option(min=0, max=16, help="Bits of 64 in which near pictures may differ.")
    ] = 3,
    anew: Annotated[
        bool, typer.Option("--anew", help="Forget which record was in which split.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: say what a stored splitting separates.")
    ] = False,
    json: Json = False,
) -> None:
    """Split the accepted records for training and tests, so that nothing that belongs together is separated.

    One picture, frames of a video, near-duplicate pictures and texts, turns of a conversation and translations stay together. Records that have a split keep it; new ones are added.

    Example:

        syphus data split -d demo --split validation=0.05 --split test=0.05

        syphus data split -d demo --check

        syphus sql "SELECT split, count(*) FROM splits GROUP BY split" -d demo
    """
    from dataclasses import asdict

    from mimicit.commands.curate import Stages
    from mimicit.formats.splits import shares
    from mimicit.splits import Joins, SplitOptions
    from mimicit.splits import check as look
    from mimicit.splits import split as divide
    from mimicit.store import Store

    if check and (split or anew):
        raise typer.BadParameter("--check looks at what is stored; leave --split and --anew out")
    joins = Joins(near_pictures, _texts(near_texts), distance=distance, characters=characters)
    store = Store.open(dataset)
    with Stages() as stages:
        if check:
            done = look(store, name, joins, where=where, tell=stages.tell)
            said, facts, bad = _checked(done), asdict(done), done.total > 0
        else:
            options = SplitOptions(shares(split), name, seed, where, stratify, joins, anew)
            made = divide(store, options, stages.tell)
            said, facts, bad = _split(made), asdict(made), False
    if json:
        said = as_text(facts)
    typer.echo(said)
    raise typer.Exit(3 if bad else 0)


def _texts(asked: bool | None) -> bool:
    """Say whether near texts are looked for: where nobody says so, if that is possible."""
    from mimicit.curate.sketch import check_packages
    from mimicit.errors import MissingExtraError

    if asked is not None:
        return asked
    try:
        check_packages()
    except MissingExtraError as error:
        typer.echo(f"texts are not compared: {error}", err=True)
        return False
    return True


def _split(done: Splitting) -> str:
    columns = ("split", "records", "pictures", "components", "share", "wanted")
    parts = [_table([{key: row[key] for key in columns} for row in done.splits])]
    if len(done.strata) > len(done.splits):
        rows = [
            {
                "stratum": one.stratum,
                "split": one.split,
                "records": one.records,
                "share": one.share,
                "wanted": one.wanted,
            }
            for one in done.strata
        ]
        parts.append(_table(rows[:_STRATA]))
        if len(rows) > _STRATA:
            parts.append(f"… and {len(rows) - _STRATA:,} more rows; --json has them all")
    joined = ", ".join(f"{kind} {count:,}" for kind, count in done.joined.items() if count)
    parts.append(
        f"{done.records:,} records in {done.components:,} components, the largest of {done.largest:,}; "
        f"{done.new:,} are new in {done.name!r}\nrecords joined by: {joined or 'nothing'}"
    )
    if done.left_out:
        parts.append(
            f"{done.left_out:,} records are in no split, since they are joined to several:\n"
            + "\n".join(
                f"  {plain(one.record)}: {' and '.join(one.splits)}" for one in done.examples
            )
        )
    return "\n\n".join(parts)


_STRATA = 60
"""Rows that are printed."""


def _checked(done: Check) -> str:
    lines = [
        f"{done.records:,} accepted records are in {done.name!r}, {done.outside:,} are not",
        *(f"{count:>9,}  {kind}" for kind, count in done.crossings.items()),
    ]
    lines += [
        f"{one.kind}: {plain(', '.join(one.records))} ({' and '.join(one.splits)})"
        for one in done.examples
    ]
    lines.append("things cross from one split into another" if done.total else "nothing crosses")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    """Lay rows out in plain columns."""
    cells = [list(rows[0]), *[[_cell(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [not isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else "–" if value is None else plain(str(value))
