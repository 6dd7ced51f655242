"""`syphus data validate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Dataset, Json

if TYPE_CHECKING:
    from mimicit.validate import Repaired, Report


def validate(
    dataset: Dataset,
    fast: Annotated[
        bool, typer.Option("--fast", help="Compare checksums, but do not decode pictures.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move what is faulty into quarantine/.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for all findings, as JSON.")
    ] = None,
    json: Json = False,
) -> None:
    """Find what is wrong with a dataset folder: missing and damaged pictures, double ids, broken conversations and files.

    Nothing is changed, unless --repair is given; that deletes nothing. Exit code 3 says that something was found.

    Example:

        syphus data validate -d demo -o report.json
    """
    import sys
    from dataclasses import asdict

    from mimicit.formats.files import staged

    with _checked(dataset, fast, repair) as (report, repaired):
        more = {} if repaired is None else {"repaired": asdict(repaired)}
        if output:
            with staged(output) as file:
                report.write_json(file, **more)
        if json:
            sys.stdout.flush()
            report.write_json(sys.stdout.buffer, **more)
        else:
            typer.echo(report.text())
            typer.echo(_said(repaired), nl=bool(repaired))
        found = report.total > 0
    raise typer.Exit(3 if found else 0)


@contextmanager
def _checked(dataset: Path, fast: bool, repair: bool) -> Iterator[tuple[Report, Repaired | None]]:
    import pyarrow as pa

    from mimicit.progress import Progress
    from mimicit.store import Store
    from mimicit.validate import checking, repairing

    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps 50 MB more of what it gave back
    store = Store.open(dataset)
    with Progress("checking", total=None, unit="rows") as progress:
        if repair:
            with repairing(store, fast=fast, progress=progress.update) as both:
                yield both
        else:
            with checking(store, fast=fast, progress=progress.update) as report:
                yield report, None


def _said(repaired: Repaired | None) -> str:
    if repaired is None:
        return ""
    if repaired.quarantine is None:
        return "\nthere was nothing to put into quarantine"
    return (
        f"\n{repaired.moved:,} rows, {repaired.files:,} files and {repaired.snapshots:,} snapshots are now in "
        f"{repaired.quarantine}; {repaired.mended:,} rows were mended, and are there as they were"
    )
