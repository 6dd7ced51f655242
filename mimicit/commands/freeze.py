"""`syphus data freeze`."""

from __future__ import annotations

from typing import Annotated

import typer

from mimicit.commands.options import Dataset, Json, as_text


def freeze(
    dataset: Dataset,
    where: Annotated[
        str, typer.Option(help="An SQL predicate over the view `accepted`: task = 'la_detail'")
    ] = "true",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**62, help="Shuffle conversations; without, ids decide the order."
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(help="Write nothing: find that the snapshot of this digest is what it was."),
    ] = None,
    json: Json = False,
) -> None:
    """Freeze a selection of the accepted records: what training opens, and what a paper can cite.

    The snapshot's name is a digest of its content, so the same records give the same snapshot; it is never changed afterwards.

    Example:

        syphus data freeze -d demo --where "task = 'la_conversation'" --seed 7
    """
    from mimicit.snapshot import Snapshot
    from mimicit.snapshot import freeze as write
    from mimicit.store import Store

    store = Store.open(dataset)
    if check:
        with Snapshot(dataset, check, check=True) as snapshot:
            snapshot.check(pictures=True)
    else:
        snapshot = write(store, where=where, seed=seed)
    if json:
        facts = {"digest": snapshot.digest, "path": str(snapshot.path), **snapshot.manifest}
        typer.echo(as_text(facts))
        return
    pictures = snapshot.manifest["pictures"]
    said = f"{snapshot.path}  {len(snapshot):,} records, {pictures:,} pictures"
    typer.echo(f"{said}; every one is what it was" if check else said)
