"""What the commands of `syphus data` share: options, and how a result is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[Path, typer.Option("-d", "--dataset", help="The dataset folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]


def print_result(as_json: bool, value: object, text: str) -> None:
    """Print a result for a program, or as the text that people read."""
    typer.echo(as_text(value) if as_json else text)


def as_text(value: object) -> str:
    """Write a value as JSON that people can read, too."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()
