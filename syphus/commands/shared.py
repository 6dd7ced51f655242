"""Options and habits that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from mimicit.errors import MissingExtraError

if TYPE_CHECKING:
    from syphus.annotations import Reading
    from syphus.asking import Tally
    from syphus.pacing.endpoints import Endpoints
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
    typer.Option(
        "-m",
        "--model",
        help="`local`, `local/FILE.gguf`, or LiteLLM's PROVIDER/MODEL; several share the work: A=3,B@env:KEY.",
    ),
]
Rpm = Annotated[
    float | None, typer.Option(min=0.01, help="Requests a minute, at most, for each model and key.")
]
Tpm = Annotated[
    float | None, typer.Option(min=1, help="Tokens a minute, at most, for each model and key.")
]
BudgetUsd = Annotated[
    float | None,
    typer.Option(
        "--budget",
        min=0,
        help="USD that this task may have cost in this dataset, earlier runs included.",
    ),
]
Transport = Annotated[
    str, typer.Option(help="auto, direct (straight to the provider), or litellm.")
]
Timeout = Annotated[
    float, typer.Option(min=1, help="Seconds for one answer; after that it is asked for again.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask about the first N contexts only.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Requests at once.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, help="Another seed asks again for other answers.")
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the pictures, of videos, or of folders of frames.")
]


TRANSPORTS: tuple[Literal["auto", "direct", "litellm"], ...] = ("auto", "direct", "litellm")
TIMEOUT = 600.0


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


def models(model: str) -> tuple[str, ...]:
    """Return the names of the models that share the work, each once."""
    from syphus.pacing.models import parse_models

    return tuple(dict.fromkeys(spec.model for spec in parse_models(model)))


def weights(model: str) -> list[float]:
    """Return the share of the work of each of `models`."""
    from syphus.pacing.models import parse_models

    found: dict[str, float] = {}
    for spec in parse_models(model):
        found[spec.model] = found.get(spec.model, 0.0) + spec.weight
    return list(found.values())


def endpoints(
    model: str,
    *,
    transport: str,
    concurrency: int | None,
    rpm: float | None,
    tpm: float | None,
    timeout: float,
) -> Endpoints:
    """Find the models that share the work, and their keys.

    Raises:
        StopError: there is no such model, or no key for it.
        MissingExtraError: the packages of the embedded model are not installed.
    """
    from syphus.pacing.endpoints import open_endpoints

    lane = next((known for known in TRANSPORTS if known == transport), None)
    if lane is None:
        raise typer.BadParameter(f"{transport!r} is none of {', '.join(TRANSPORTS)}")
    return open_endpoints(
        model, transport=lane, concurrency=concurrency, rpm=rpm, tpm=tpm, timeout=timeout
    )


@contextmanager
def resumable() -> Iterator[None]:
    """Pass warnings on, and say that an interrupted command can go on."""
    import logging

    from syphus.errors import Interrupted

    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("syphus: %(message)s"))
    logging.getLogger("syphus").addHandler(handler)
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        sys.stderr.write("syphus: interrupted; the same command goes on from here\n")
        raise typer.Exit(130) from None
    finally:
        logging.getLogger("syphus").removeHandler(handler)


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


def spent(tally: Tally, endpoints: Endpoints | None = None, budget: float | None = None) -> str:
    """Say what a run has used so far, and what holds it."""
    parts = [f"{tally.asked:,} asked"]
    if tally.reused:
        parts.append(f"{tally.reused:,} known")
    if endpoints:
        parts.append(f"{endpoints.in_flight} in flight ({endpoints.describe()})")
    parts.append(f"{tally.prompt_tokens + tally.completion_tokens:,} tokens")
    if tally.cost_usd or budget is not None:
        limit = "" if budget is None else f" of ${budget:,.2f}"
        parts.append(f"${tally.spent_before_usd + tally.cost_usd:,.4f}{limit}")
    parts += [f"{count:,} {kind.replace('_', ' ')}" for kind, count in tally.errors.items()]
    if tally.unreadable:
        parts.append(f"{tally.unreadable:,} unreadable")
    return " · ".join(parts)


def used(tally: Tally) -> str:
    """Say what a run has used, in full."""
    cost = f", ${tally.cost_usd:.4f}" if tally.cost_usd else ""
    if tally.waiting:
        cost += f"; {tally.waiting:,} questions have no reply yet (--batch gathers those of a provider's batch)"
    failed = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in tally.errors.items())
    cost += f"; without a reply: {failed}" if failed else ""
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
