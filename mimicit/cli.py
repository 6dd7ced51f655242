"""The `syphus data …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mimicit.commands.convert import convert
from mimicit.commands.curate import curate
from mimicit.commands.decontaminate import decontaminate
from mimicit.commands.freeze import freeze
from mimicit.commands.open import open_
from mimicit.commands.options import Dataset, Json, print_result
from mimicit.commands.push import push
from mimicit.commands.report import report
from mimicit.commands.review import review
from mimicit.commands.sample import sample
from mimicit.commands.split import split as split_
from mimicit.commands.stats import stats
from mimicit.commands.validate import validate
from mimicit.format_names import FORMATS

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Import, look at, curate and export a dataset folder.",
)

Where = Annotated[
    str,
    typer.Option(help="An SQL predicate over the view `accepted`, for example: task = 'la_detail'"),
]


@data.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders of files.")],
    dataset: Dataset,
    format: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; found by itself.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures that the files name.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Of the records, where the files do not say it.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="Of the records, where the files do not say it.")
    ] = "en",
    again: Annotated[
        bool, typer.Option("--again", help="Read files that were read to their end, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring records and pictures of other formats into a dataset folder.

    Rows that cannot be used are listed and left out; what is there already is left as it is. Stopped and run again, it goes on.

    Example:

        syphus data import mimicit_data/LA -d demo

        syphus data import llava_instruct_150k.json --images coco/train2017 -d llava
    """
    from mimicit.exchange import Imported, import_files
    from mimicit.formats import ReadOptions
    from mimicit.progress import Progress
    from mimicit.store import Store

    store = Store.open(dataset, create=True)
    with Progress("importing", total=None, unit="MB") as progress:

        def show(imported: Imported) -> None:
            progress.total = imported.total_bytes >> 20
            said = f"{imported.records:,} records, {imported.images:,} pictures"
            progress.update(imported.bytes >> 20, said)

        options = ReadOptions(images, task, language)
        imported = import_files(
            files, store, format_name=format, options=options, again=again, progress=show
        )
    for row in imported.bad:
        typer.echo(f"{row.where}: {row.reason}", err=True)
    if imported.bad_file:
        typer.echo(f"all of them are listed in {str(imported.bad_file)!r}", err=True)
    print_result(
        json,
        {
            "records": imported.records,
            "images": imported.images,
            "known": imported.known,
            "bad": imported.bad_count,
            "bad_file": imported.bad_file,
            "listed": imported.listed,
            "files_known": imported.files,
        },
        f"{imported.records:,} records and {imported.images:,} pictures are new, {imported.known:,} "
        f"were there, {imported.bad_count:,} could not be used",
    )
    raise typer.Exit(3 if imported.bad_count else 0)


@data.command()
def export(
    dataset: Dataset,
    format: Annotated[str, typer.Option("-f", "--format", help=", ".join(FORMATS))],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")],
    where: Where = "true",
    related: Annotated[
        str | None,
        typer.Option(help="Write the lists that `relate` made by this strategy as context."),
    ] = None,
    split: Annotated[
        list[str],
        typer.Option(help="NAME=SHARE of the conversations beside `train`: validation=0.05."),
    ] = [],  # noqa: B006 - Typer copies it
    seed: Annotated[int, typer.Option(help="Another one draws other splits.")] = 0,
    splits: Annotated[
        str | None,
        typer.Option("--splits", metavar="NAME", help="As `data split` stored them, instead."),
    ] = None,
    shard_mb: Annotated[
        int, typer.Option(min=1, help="Megabytes of pictures in a file, where there are several.")
    ] = 512,
    json: Json = False,
) -> None:
    """Write the accepted records as files of another format.

    Example:

        syphus data export -d demo -f mimicit -o mimicit_data

        syphus data export -d demo -f llava -o llava --where "task = 'la_detail'" --split validation=0.05
    """
    from mimicit.formats import WriteOptions, writable
    from mimicit.store import Store

    writer = writable(format)
    if splits and format == "mimicit":
        raise typer.BadParameter("files of MIMIC-IT have no splits; choose one with --where")
    store = Store.open(dataset)
    store.refresh()
    options = WriteOptions(where, related, _splits(split), seed, shard_mb << 20, splits)
    written = writer.write(store, out, options)
    print_result(
        json,
        [{"path": str(file.path), "rows": file.records} for file in written],
        "\n".join(f"{file.path}  {file.records:,} rows" for file in written) or "nothing to write",
    )


data.command()(convert)
data.command()(push)
data.command()(curate)


@data.command()
def relate(
    by: Annotated[str, typer.Option(help="siblings, turns, text or picture.")],
    dataset: Dataset,
    k: Annotated[
        int, typer.Option("-k", min=1, max=100_000, help="Related records of one, at most.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Decides between equals.")] = 0,
    where: Where = "true",
    embedding: Annotated[
        str, typer.Option(help="How texts compare: tfidf, or minilm (a small model).")
    ] = "tfidf",
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Parquet of your own vectors: columns `id` and `vector`."),
    ] = None,
    any_task: Annotated[
        bool, typer.Option("--any-task", help="Across tasks and languages, too.")
    ] = False,
    other_pictures: Annotated[
        bool, typer.Option("--other-pictures", help="By text: not about the same pictures.")
    ] = False,
    json: Json = False,
) -> None:
    """Find for each accepted record those that may serve as its context.

    The lists are written beside the records, and `data export --related` uses them. Relating again replaces them.

    Example:

        syphus data relate --by text -k 10 -d demo
    """
    from dataclasses import asdict

    from mimicit.progress import Progress
    from mimicit.relate import relate
    from mimicit.store import Store

    with Progress("relating", total=None, unit="rows") as progress:
        done = relate(
            Store.open(dataset),
            strategy=by,
            k=k,
            seed=seed,
            where=where,
            embedding=embedding,
            embeddings=embeddings,
            same_task=not any_task,
            other_pictures=other_pictures,
            progress=progress.update,
        )
    said = f"{done.related:,} of {done.records:,} records have related ones, {done.pairs:,} in all"
    if done.unreadable:
        said += f"; {done.unreadable:,} pictures could not be decoded"
    print_result(json, asdict(done), said)


data.command()(stats)
data.command()(sample)
data.command()(review)
data.command()(validate)
data.command()(report)
data.command()(freeze)
data.command("open")(open_)
data.command("split")(split_)
data.command()(decontaminate)


@data.command()
def rebuild(dataset: Dataset) -> None:
    """Make `catalog.duckdb` again from the Parquet files and the ledger.

    Example:

        syphus data rebuild -d demo
    """
    from mimicit.store import Store

    store = Store.open(dataset)
    with store.writing("syphus data rebuild"):
        store.rebuild()
    typer.echo(str(store.catalog_path))


def sql(
    query: Annotated[str, typer.Argument(help="One statement.")],
    dataset: Dataset,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="table, json, csv or parquet; by the file's name, else table."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the result.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Make and change tables of your own: mine.NAME.")
    ] = False,
    extract: Annotated[
        Path | None,
        typer.Option(help="Folder for the pictures that image_path() names in the result."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds before the query is stopped.")] = 300.0,
    memory: Annotated[int, typer.Option(help="Megabytes that the query may use.")] = 2_048,
) -> None:
    """Ask the dataset in SQL; nothing can be changed.

    Tables: instructions, images, verdicts, relations, requests, replies, …; views: accepted, rejected, provenance, runs, attempts,
    costs, and image_data with the pictures themselves. docs/sql.md has all columns and useful queries.

    Example:

        syphus sql "SELECT instruction, answer FROM accepted LIMIT 5" -d demo

        syphus sql "SELECT id, image_path(image_ids[1]) AS picture FROM accepted" -d demo --extract pictures -o pictures.csv

        syphus sql "CREATE TABLE mine.good AS SELECT id FROM accepted WHERE len(answer) > 100" -d demo --write
    """
    import sys

    from mimicit.errors import QueryError
    from mimicit.formats.files import staged
    from mimicit.sql import format_for, run_sql
    from mimicit.store import Store

    try:
        chosen = format_for(format, output)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None
    if chosen == "parquet" and output is None and sys.stdout.isatty():
        raise QueryError("Parquet is not for the screen; name a file with -o")
    store = Store.open(dataset)
    store.refresh()
    limits: Any = {"format": chosen, "timeout": timeout, "memory_mb": memory}
    limits |= {"write": write, "extract": extract}
    if output is None:
        run_sql(query, store.catalog_path, **limits)
    else:
        with staged(output) as file:
            run_sql(query, store.catalog_path, output=file, **limits)


def _splits(given: list[str]) -> dict[str, float]:
    """Read NAME=SHARE, several times."""
    found: dict[str, float] = {}
    for text in given:
        name, equals, share = text.partition("=")
        if not (equals and name.isidentifier() and name != "train" and name not in found):
            raise typer.BadParameter(f"--split {text!r} is no NAME=SHARE, such as validation=0.05")
        try:
            found[name] = float(share)
        except ValueError:
            raise typer.BadParameter(f"--split {text!r}: {share!r} is no number") from None
    if not all(0 < share < 1 for share in found.values()) or sum(found.values()) >= 1:
        raise typer.BadParameter("shares lie between 0 and 1, and leave something for `train`")
    return found
