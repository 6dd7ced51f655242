"""`syphus attach`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mimicit.commands.options import Dataset, Json
from syphus.commands import shared

if TYPE_CHECKING:
    from syphus.attach import Attached


def attach(
    annotations: shared.Annotations,
    dataset: Dataset,
    format: shared.Format = None,
    by: shared.By = None,
    column: shared.Columns = None,
    boxes: shared.Boxes = None,
    json: Json = False,
) -> None:
    """Put what people annotated beside pictures that a dataset holds.

    `generate` does this by itself; an imported dataset needs it, so that `data curate` can hold answers against it and `data review` draw boxes.
    Pictures are found by their names. Attached again, what one file says of a picture takes the place of what it said before.

    Example:

        syphus attach -a instances_val2014.json -d llava
    """
    from mimicit.progress import Progress
    from mimicit.store import Store
    from syphus.attach import attach as attach_annotations

    store = Store.open(dataset)
    reading = shared.reading(annotations, format, by, column, boxes)
    with Progress("attaching", total=None, unit="annotations") as progress:

        def show(attached: Attached) -> None:
            progress.update(attached.annotations)

        attached = attach_annotations(reading, store, show)
    for problem in attached.unread:
        typer.echo(f"{problem.where}: {problem.reason}", err=True)
    if attached.missing:
        listed = ", ".join(attached.missing_examples[:5])
        typer.echo(
            f"{attached.missing:,} pictures are not in the dataset: {listed}"
            + (", …" if attached.missing > 5 else ""),
            err=True,
        )
    if json:
        shared.print_json(attached)
    else:
        typer.echo(
            f"{attached.annotations:,} annotations of {attached.pictures:,} pictures; "
            f"{attached.missing:,} pictures are not there, {attached.unread_count:,} rows could not be read"
            + (
                f", {attached.without_pictures:,} name no pictures"
                if attached.without_pictures
                else ""
            )
        )
    raise typer.Exit(3 if attached.unread_count else 0)
