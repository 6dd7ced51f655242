"""`syphus replay`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mimicit.commands.options import Dataset

if TYPE_CHECKING:
    from syphus.history import Run


def replay(dataset: Dataset) -> None:
    """Read all stored replies again, as the runs of this dataset asked for them; no model is called.

    After a better parser, or other rules of a task: replies that could not be read may be readable now. Records that are stored stay as
    they are. Each run is gone through with its own command, so its annotation files must be where they were.

    Example:

        syphus replay -d demo
    """
    from mimicit.errors import DatasetError, MimicitError
    from syphus import history

    commands = list(_commands(history.runs(dataset), dataset))
    if not commands:
        raise DatasetError(f"`syphus generate` was never run on {str(dataset)!r}")
    worst = 0
    for arguments in commands:
        typer.echo(f"syphus {' '.join(arguments)}", err=True)
        try:
            worst = max(worst, _run(arguments))
        except (
            MimicitError
        ) as error:  # its annotations are gone, say: the other runs can be read again
            typer.echo(f"syphus: {error}", err=True)
            worst = max(worst, 3)
    raise typer.Exit(worst)


def _commands(runs: list[Run], dataset: Path) -> Iterator[list[str]]:
    """Return what was run, each once, so that it asks nobody and writes to this folder."""
    known = set()
    for run in runs:
        if run.arguments[:1] != ["generate"]:
            continue
        arguments = [a for a in run.arguments if a not in ("--batch", "--dry-run", "--replay")]
        if tuple(arguments) not in known:
            known.add(tuple(arguments))
            # The last -d counts: the folder may have been moved.
            yield [*arguments, "-d", str(dataset), "--replay"]


def _run(arguments: list[str]) -> int:
    """Run a command in this process; return its exit code."""
    from syphus.commands.generate import generate

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(generate)
    found = app(arguments[1:], standalone_mode=False)
    return found if isinstance(found, int) else 0
