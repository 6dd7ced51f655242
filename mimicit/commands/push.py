"""`syphus data push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    folder: Annotated[Path, typer.Argument(help="What `data export -f hf` wrote.")],
    repo: Annotated[str, typer.Argument(help="The dataset on the hub: user/name.")],
    private: Annotated[
        bool, typer.Option("--private", help="Where it is made now, nobody else sees it.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="A branch; else the main one.")] = None,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Upload the dataset",
) -> None:
    """Upload what `data export -f hf` wrote to the Hugging Face Hub.

    The token is HF_TOKEN, or that of `hf auth login`. Parquet files of an earlier upload that are not in the folder are deleted there.

    Example:

        syphus data push hub_folder me/demo --private
    """
    from mimicit.formats.hf import push_to_hub

    typer.echo(push_to_hub(folder, repo, private=private, revision=revision, message=message))
