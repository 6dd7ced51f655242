"""`syphus data decontaminate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mimicit.commands.options import Dataset, Json, as_text
from mimicit.inline import plain, short

if TYPE_CHECKING:
    from mimicit.decontaminate.reporting import Report


def decontaminate(
    dataset: Dataset,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Benchmarks: files, or folders of files or pictures."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures that the files name.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The report: .json, .md or .html.")
    ] = None,
    words: Annotated[int, typer.Option(help="In a row, of a run that is looked for.")] = 8,
    least: Annotated[int, typer.Option(help="A text of fewer words is compared whole.")] = 13,
    share: Annotated[float, typer.Option(help="Of a text's runs that a record holds.")] = 0.7,
    common: Annotated[
        int, typer.Option(help="More items, or records about pictures, only share a way of asking.")
    ] = 10,
    distance: Annotated[
        int, typer.Option(help="Bits of 64 in which hashes of one picture may differ.")
    ] = 3,
    picture_alone: Annotated[
        bool, typer.Option(help="With --write: drop records about a benchmark's picture, too.")
    ] = True,
    names: Annotated[
        bool, typer.Option(help="Know pictures that are not there by their names.")
    ] = True,
    write: Annotated[
        bool, typer.Option("--write", help="Write a verdict on each record that is found.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the last verdicts back; no files are needed.")
    ] = False,
    json: Json = False,
) -> None:
    """Find the records that hold what benchmarks ask: by their texts, by their pictures, or by both.

    JSON, JSON lines, CSV, TSV, Parquet and MME's text files are read, and folders of pictures. Nothing is deleted: with --write, verdicts are written beside the records.

    Example:

        syphus data decontaminate coco_pope_random.json --images val2014 -d demo -o report.html

        syphus data decontaminate MME scienceqa.parquet -d demo --write

        syphus data decontaminate --undo -d demo
    """
    from dataclasses import asdict

    from mimicit.curate.filters.benchmark import in_benchmark
    from mimicit.curate.history import undo as take_back
    from mimicit.decontaminate import pages, reporting
    from mimicit.errors import FormatError
    from mimicit.formats.files import staged
    from mimicit.progress import Progress
    from mimicit.store import Store

    if undo:
        take_back(Store.open(dataset), reporting.RECIPE)
        typer.echo("the verdicts are as they were before")
        return
    if not files:
        raise typer.BadParameter("name the benchmarks' files")
    if output:
        pages.check_suffix(output)
    store = Store.open(dataset)
    try:
        ask = in_benchmark(
            files=[str(file) for file in files],
            images=str(images or ""),
            words=words,
            least=least,
            share=share,
            common=common,
            distance=distance,
            picture_alone=picture_alone,
            names=names,
        )
    except ValueError as error:
        raise FormatError(str(error)) from None
    with Progress("looking", total=None, unit="records") as progress:
        done = reporting.report(store, ask, progress.update)
    for said in done.bad:
        typer.echo(plain(said), err=True)
    if output:
        page = pages.page_of(done, output.suffix.lower(), store)
        with staged(output) as file:
            file.write(page)
    dropped = None
    if write:
        funnel = reporting.write(store, ask)
        dropped = funnel.records - funnel.accepted
    if json:
        facts = asdict(done) | {"written": dropped}
        typer.echo(as_text(facts))
    else:
        typer.echo(_said(done, output, dropped))
    raise typer.Exit(3 if done.bad_count else 0)


def _said(done: Report, output: Path | None, dropped: int | None) -> str:
    from mimicit.decontaminate.reporting import summary, table

    lines = [_table(table(done)), "", summary(done)]
    for one in done.examples[:5]:
        lines.append(f"  {one.how}, {one.known_by}: {short(one.instruction)} ({plain(one.record)})")
        asked = short(one.question) if one.question else "a picture"
        lines.append(f"    {short(one.benchmark, 40)}, {short(one.place, 40)}: {asked}")
    if done.bad_count:
        lines.append(f"{done.bad_count:,} rows of the benchmarks could not be used")
    if dropped is not None:
        lines.append(f"{dropped:,} verdicts were written under the recipe 'decontaminate'")
    if output:
        lines.append(str(output))
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    """Lay rows out in plain columns, the first to the left."""
    cells = [list(rows[0])] + [
        [f"{v:,}" if isinstance(v, int) else short(str(v), 40) for v in row.values()]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
