"""`syphus runs`: what was run on a dataset, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Dataset, Json
from mimicit.progress import duration
from syphus.commands import shared

if TYPE_CHECKING:
    from syphus.history import Group, Run

runs = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
    help="See what was run on a dataset: what it asked, got and cost, and what went wrong.",
)


@runs.callback()
def list_(
    context: typer.Context,
    dataset: Annotated[
        Path | None, typer.Option("-d", "--dataset", help="The dataset folder.")
    ] = None,
    json: Json = False,
) -> None:
    """List the runs on a dataset, oldest first, also while one is at work; or show one of them.

    Example:

        syphus runs -d demo
    """
    if context.invoked_subcommand is not None:
        return
    if dataset is None:
        raise typer.BadParameter("name the dataset folder: syphus runs -d DIR")
    from syphus import history

    found = history.runs(dataset)
    if json:
        shared.print_json(found)
        return
    rows = [_row(run) for run in found]
    if not rows:
        typer.echo(f"nothing was run on {str(dataset)!r} yet", err=True)
        return
    header = (
        "#",
        "started (UTC)",
        "took",
        "task",
        "model",
        "sent",
        "replies",
        "failed",
        "cost",
        "",
    )
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@runs.command()
def show(
    run: Annotated[str, typer.Argument(help="Its number, its id, or `last`.")],
    dataset: Dataset,
    json: Json = False,
) -> None:
    """Show one run: its figures, and its errors grouped with an example of each.

    Example:

        syphus runs show last -d demo
    """
    from syphus import history

    shown = history.show(dataset, run)
    if json:
        shared.print_json(shown)
        return
    one = shown.run
    lines = {
        "run": f"{one.number} ({one.id})",
        "command": "syphus " + " ".join(map(_quoted, one.arguments)),
        "task, model": f"{one.task}, {one.model}",
        "started": f"{one.started}, {_took(one)}",
        "ended": one.outcome,
        "requests": f"{one.sent:,} sent, {one.replies:,} answered, {one.failures:,} failed",
        "tokens": f"{one.prompt_tokens:,} of prompts ({one.cached_tokens:,} cached), {one.completion_tokens:,} of replies",
        "cost": f"${one.cost_usd:,.4f}",
        "log": shown.log or "none",
    }
    for name, value in lines.items():
        typer.echo(f"{name:12} {value}")
    for group in shown.groups:
        typer.echo("\n" + _said(group))
    if not shown.groups:
        typer.echo("\nNo request failed, and every reply could be read.")


def _row(run: Run) -> tuple[str, ...]:
    return (
        str(run.number),
        run.started[:16].replace("T", " "),
        _took(run),
        run.task,
        run.model,
        f"{run.sent:,}",
        f"{run.replies:,}",
        f"{run.failures:,}",
        f"${run.cost_usd:,.4f}",
        run.outcome if len(run.outcome) <= 60 else run.outcome[:59] + "…",
    )


def _took(run: Run) -> str:
    return "-" if run.seconds is None else duration(run.seconds)


def _said(group: Group) -> str:
    said = f"{group.count:,} × {group.kind}: {group.message}\n    for example {group.context!r}"
    if group.reply:
        said += "\n" + "\n".join(f"    | {line}" for line in group.reply.splitlines()[:6])
    return said


def _quoted(argument: str) -> str:
    import shlex

    return shlex.quote(argument)
