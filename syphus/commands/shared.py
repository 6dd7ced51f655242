"""Options and habits that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from mimicit.errors import MissingExtraError

if TYPE_CHECKING:
    from syphus.annotations import Reading
    from syphus.asking import Tally
    from syphus.request import Message

Annotations = Annotated[
    list[str],
    typer.Option("-a", "--annotations", help="Annotation file, or an SQL query; may be repeated."),
]
Format = Annotated[
    str | None, typer.Option("--format", help="Of the annotations; found by itself.")
]
By = Annotated[
    str | None,
    typer.Option(help="What one context is, where a format leaves that open: story, album."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="Of generic files: OURS=THEIRS, as in captions=text; may be repeated."
    ),
]
Boxes = Annotated[
    str | None,
    typer.Option(help="Of generic files: xyxy, xywh (shares), xyxy_pixels, xywh_pixels."),
]
Model = Annotated[
    str,
    typer.Option("-m", "--model", help="`local`, `local/FILE.gguf`, or LiteLLM's PROVIDER/MODEL."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask about the first N contexts only.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Requests at once.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, help="Another seed asks again for other answers.")
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the pictures, of videos, or of folders of frames.")
]


def reading(
    annotations: list[str],
    format: str | None,
    by: str | None = None,
    columns: list[str] | None = None,
    boxes: str | None = None,
) -> Reading:
    """Open annotation files as the options say.

    Raises:
        AnnotationError: a file is missing, or of another format.
    """
    from syphus.annotations import Options, read

    named: dict[str, str] = {}
    for column in columns or []:
        ours, equals, theirs = column.partition("=")
        if not equals or not ours or not theirs:
            raise typer.BadParameter(f"{column!r} is not of the form OURS=THEIRS")
        named[ours] = theirs
    return read(annotations, format=format, options=Options(by=by, columns=named, boxes=boxes))


@contextmanager
def resumable() -> Iterator[None]:
    """Say that an interrupted command can go on."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("syphus: interrupted; the same command goes on from here\n")
        raise typer.Exit(130) from None


def need(package: str, extra: str) -> None:
    """Stop with the command that installs a missing package.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(package) is None:
        raise MissingExtraError(package, extra)


def list_problems(tally: Tally) -> None:
    """Print what could not be used, and what may have been billed for nothing."""
    for problem in tally.problems:
        typer.echo(f"{problem.where}: {problem.reason}", err=True)
    if tally.problem_count > len(tally.problems):
        typer.echo(f"… and {tally.problem_count - len(tally.problems):,} more", err=True)
    if tally.lost_earlier:
        typer.echo(
            f"{tally.lost_earlier} requests of earlier runs were in flight when they ended; "
            "they may have been billed",
            err=True,
        )


def spent(tally: Tally) -> str:
    """Say what a run has used so far."""
    cost = f" · ${tally.cost_usd:.4f}" if tally.cost_usd else ""
    return f"{tally.asked:,} asked · {tally.completion_tokens:,} tokens{cost}"


def used(tally: Tally) -> str:
    """Say what a run has used, in full."""
    cost = f", ${tally.cost_usd:.4f}" if tally.cost_usd else ""
    return (
        f"{tally.asked:,} requests sent, {tally.reused:,} answered before, "
        f"{tally.unreadable:,} unreadable replies, {tally.problem_count:,} problems; "
        f"{tally.prompt_tokens:,} prompt tokens ({tally.cached_tokens:,} cached), "
        f"{tally.completion_tokens:,} completion tokens{cost}"
    )


class Planned(Protocol):
    @property
    def messages(self) -> tuple[Message, ...]: ...


def print_plan(planned: Planned, summary: str, *, as_json: bool) -> None:
    """Print what a run would send and cost: its first request, and a summary."""
    if as_json:
        print_json(planned)
        return
    print_messages(planned.messages)
    typer.echo(summary)


def print_messages(messages: Sequence[Message]) -> None:
    """Print messages as they would be sent."""
    for message in messages:
        typer.echo(f"── {message.role} " + "─" * (76 - len(message.role)))
        typer.echo(message.content)
    typer.echo("─" * 80)


def print_json(value: Any) -> None:
    """Print a dataclass, or anything that orjson knows, as JSON."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=_plain).decode())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)
