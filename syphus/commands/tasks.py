"""The `syphus tasks …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mimicit.commands.options import Json
from syphus.commands import shared

if TYPE_CHECKING:
    from syphus.check import Checked

tasks = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
    help="List, show, write and check tasks: what models are asked for.",
)
SomeAnnotations = Annotated[
    list[str] | None,
    typer.Option("-a", "--annotations", help="Try it on contexts of this file; may be repeated."),
]


@tasks.callback()
def list_(context: typer.Context) -> None:
    """List the built-in tasks, where no command is named."""
    if context.invoked_subcommand is not None:
        return
    from syphus.task import built_in_tasks, load_task

    loaded = [load_task(name) for name in built_in_tasks()]
    width = max(len(task.name) for task in loaded)
    for task in loaded:
        typer.echo(
            f"{task.name.ljust(width)}  {task.reply.form.ljust(13)}  {task.title} "
            f"({', '.join(task.annotations)})"
        )


@tasks.command()
def show(
    task: Annotated[str, typer.Argument(help="A built-in task, or a task folder.")],
    annotations: SomeAnnotations = None,
    format: shared.Format = None,
    by: shared.By = None,
    column: shared.Columns = None,
    boxes: shared.Boxes = None,
    reply: Annotated[str, typer.Option(help="text or json.")] = "text",
    json: Json = False,
) -> None:
    """Print what a model would be sent: about the first context of a file, or about nothing yet.

    Example:

        syphus tasks show sd -a spot_the_diff/train.json
    """
    from dataclasses import asdict

    from syphus.annotations.context import Context
    from syphus.errors import AnnotationError
    from syphus.render import render_prompt, render_query
    from syphus.request import Message
    from syphus.task import load_task

    loaded = load_task(task)
    messages = render_prompt(loaded, as_json=reply == "json").messages
    if annotations:
        found = _contexts(loaded, annotations, format, by, column, boxes)
        first = next((item for item in found if isinstance(item, Context)), None)
        if first is None:
            raise AnnotationError(
                f"{annotations[0]!r} holds no context that {loaded.name!r} can use"
            )
        messages = (*messages, Message("user", render_query(loaded, first)))
    if json:
        shared.print_json([asdict(message) for message in messages])
    else:
        shared.print_messages(messages)


@tasks.command()
def new(
    name: Annotated[
        str, typer.Argument(help="Of the task, and of its folder: letters, digits, _.")
    ],
    folder: Annotated[
        Path, typer.Option("--in", help="Folder to put it into.", file_okay=False)
    ] = Path(),
    like: Annotated[
        str | None, typer.Option(help="A task to copy and change, instead of a first draft.")
    ] = None,
) -> None:
    """Write a task folder to fill in; it passes `syphus tasks check` as it is.

    Example:

        syphus tasks new bird_watching
    """
    from syphus.scaffolding import write_task

    path = write_task(name, folder, like=like)
    typer.echo(f"{path}\nChange its files, then: syphus tasks check {path}")


@tasks.command()
def check(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Tasks or task folders; all built-in ones if none.")
    ] = None,
    annotations: SomeAnnotations = None,
    format: shared.Format = None,
    by: shared.By = None,
    column: shared.Columns = None,
    boxes: shared.Boxes = None,
    model: shared.Model = "local",
    json: Json = False,
) -> None:
    """Look for mistakes in tasks: rules that examples break, replies that are read otherwise, prompts too long.

    Example:

        syphus tasks check bird_watching -a birds.jsonl
    """
    from syphus.check import Checked, check
    from syphus.errors import TaskError
    from syphus.task import built_in_tasks, load_task

    found: list[Checked] = []
    for path in paths or built_in_tasks():
        try:
            task = load_task(path)
        except TaskError as error:
            found.append(Checked(path, errors=[str(error)]))
            continue
        contexts = _contexts(task, annotations, format, by, column, boxes) if annotations else None
        found.append(check(task, model, contexts))
    if json:
        shared.print_json(found)
    else:
        typer.echo(_table(found))
    raise typer.Exit(1 if any(checked.errors for checked in found) else 0)


def _contexts(
    task: Any,
    annotations: list[str],
    format: str | None,
    by: str | None,
    column: list[str] | None,
    boxes: str | None,
) -> Any:
    from syphus.pairing import paired

    return paired(task, shared.reading(annotations, format, by, column, boxes))


def _table(found: list[Checked]) -> str:
    width = max(len(checked.task) for checked in found)
    lines = [f"{'TASK'.ljust(width)}  EXAMPLES  PAIRS  PROMPT TOKENS  CONTEXTS"]
    for one in found:
        state = "" if one.errors or one.warnings else "  good"
        lines.append(
            f"{one.task.ljust(width)}  {one.examples:>8}  {one.pairs:>5}  {one.prompt_tokens:>13,}"
            f"  {one.contexts if one.was_tried else '–':>8}{state}"
        )
        lines += [f"  error: {text}" for text in one.errors]
        lines += [f"  warning: {text}" for text in one.warnings]
    return "\n".join(lines)
