"""`syphus data report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mimicit.commands.options import Dataset, Json, as_text


def report(
    dataset: Dataset,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The page; one that is there is replaced.")
    ] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="The dataset's name; without, that of its folder.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, max=500, help="Records that are shown with their pictures.")
    ] = 50,
    seed: Annotated[
        int, typer.Option(min=0, max=2**62, help="Another one shows other records.")
    ] = 0,
    json: Json = False,
) -> None:
    """Write the data sheet: one HTML page that says what is in a dataset, how it was made, and what was dropped and why.

    The page is one file without a script; it can be read on a phone, printed, and sent by mail. It shows texts and pictures of the
    dataset: look at it before you publish it. Needs `pip install "mimicit[review]"`.

    Example:

        syphus data report -d demo -o report.html

        syphus data report -d demo -o report.html --title "Demo, first draft" --samples 100 --seed 7
    """
    from dataclasses import asdict

    from mimicit.progress import Progress
    from mimicit.report.page import size
    from mimicit.report.writing import STEPS, write_report
    from mimicit.store import Store

    store = Store.open(dataset)
    store.refresh()
    with Progress("writing the data sheet", total=STEPS, unit="steps") as progress:
        written = write_report(
            store, output, title=title, count=samples, seed=seed, progress=progress.update
        )
    if json:
        typer.echo(as_text(asdict(written)))
        return
    typer.echo(
        f"{written.path}  {size(written.bytes)}: {written.records:,} records, "
        f"{written.pictures:,} pictures, {written.samples} samples"
    )
