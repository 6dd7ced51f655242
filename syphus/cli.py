"""The `syphus` command: the only place where the three packages meet.

Everything heavy is imported by the command that needs it. Exit codes: 0 done · 1 a sentence on standard error says what is
wrong · 2 wrong usage · 3 finished, but some records failed (they are listed) · 130 interrupted, run again to go on.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.cli import Dataset, Json, data, sql
from mimicit.errors import MimicitError, MissingExtraError
from mimicit.progress import duration

if TYPE_CHECKING:
    from mimicit.store import Store
    from syphus.generate import Job, Report
    from syphus.plan import Plan

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="From annotated pictures to a trained vision-language model, with every step in SQL.",
)
app.add_typer(data, name="data")
app.command(name="sql")(sql)


@app.command()
def generate(
    task: Annotated[str, typer.Argument(help="A built-in task, or a task folder.")],
    annotations: Annotated[
        list[Path], typer.Option("-a", "--annotations", help="Annotation file; may be repeated.")
    ],
    dataset: Dataset,
    model: Annotated[
        str,
        typer.Option(
            "-m", "--model", help="`local`, `local/FILE.gguf`, or LiteLLM's PROVIDER/MODEL."
        ),
    ],
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures.")] = None,
    limit: Annotated[int | None, typer.Option(help="Ask about the first N contexts only.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed asks again for other answers.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent.")] = False,
    json: Json = False,
) -> None:
    """Ask a model for question–answer pairs about annotated pictures.

    Stopped at any moment and run again, it goes on where it was; nothing is paid twice.

    Example:

        syphus generate la_conversation -a captions.json --images photos -d demo -m openai/gpt-4o-mini
    """
    from itertools import islice

    from mimicit.errors import PictureError
    from mimicit.store import Store
    from syphus.annotations import read
    from syphus.generate import Job
    from syphus.task import load_task

    checked = load_task(task)
    if images is not None and not images.is_dir():
        raise PictureError(f"there is no picture folder {str(images)!r}")
    reading = read(annotations)
    job = Job(checked, islice(reading, limit), images, model, seed, sys.argv[1:])
    if dry_run:
        _dry_run(job, dataset, as_json=json)
        return
    total = min(len(reading), limit) if limit else len(reading)
    _generate(job, Store.open(dataset, create=True), total, concurrency, as_json=json)


def _generate(
    job: Job, store: Store, total: int, concurrency: int | None, *, as_json: bool
) -> None:
    from mimicit.progress import Progress
    from syphus.generate import generate
    from syphus.providers import connect

    provider = connect(job.model)
    with (
        _resumable(),
        Progress(f"asking {job.model}", total=total, unit="contexts") as progress,
    ):

        def show(report: Report) -> None:
            spent = f" · ${report.cost_usd:.4f}" if report.cost_usd else ""
            progress.update(
                report.contexts,
                f"{report.asked:,} asked · {report.completion_tokens:,} tokens{spent}",
            )

        report = generate(
            job, store, provider, concurrency=concurrency or provider.concurrency, progress=show
        )
    _print_report(report, store.path, as_json=as_json)
    raise typer.Exit(3 if report.problem_count else 0)


def _print_report(report: Report, dataset: Path, *, as_json: bool) -> None:
    for problem in report.problems:
        typer.echo(f"{problem.where}: {problem.reason}", err=True)
    if report.lost_earlier:
        typer.echo(
            f"{report.lost_earlier} requests of earlier runs were in flight when they ended; "
            "they may have been billed",
            err=True,
        )
    if as_json:
        import dataclasses

        import orjson

        typer.echo(orjson.dumps(dataclasses.asdict(report), option=orjson.OPT_INDENT_2))
        return
    cost = f", ${report.cost_usd:.4f}" if report.cost_usd else ""
    typer.echo(
        f"{report.pairs:,} pairs about {report.contexts:,} contexts are in {str(dataset)!r}: "
        f"{report.asked:,} requests sent, {report.reused:,} answered before, "
        f"{report.problem_count:,} problems; {report.prompt_tokens:,} prompt tokens "
        f"({report.cached_tokens:,} cached), {report.completion_tokens:,} completion tokens{cost}"
    )


def _dry_run(job: Job, dataset: Path, *, as_json: bool) -> None:
    from syphus.plan import plan

    planned = plan(job, dataset / "ledger" / "ledger.sqlite")
    if as_json:
        import dataclasses

        import orjson

        typer.echo(orjson.dumps(dataclasses.asdict(planned), option=orjson.OPT_INDENT_2))
        return
    for message in planned.messages:
        typer.echo(f"── {message.role} " + "─" * (76 - len(message.role)))
        typer.echo(message.content)
    typer.echo("─" * 80)
    typer.echo(_summary(planned, job.model))


def _summary(planned: Plan, model: str) -> str:
    cost = "no known price" if planned.cost_usd is None else f"about ${planned.cost_usd:,.4f}"
    return (
        f"{planned.contexts:,} contexts, {planned.answered:,} answered already, "
        f"{len(planned.problems):,} rows that cannot be used\n"
        f"{planned.requests:,} requests to {model}: about {planned.prompt_tokens:,} prompt tokens and "
        f"{planned.completion_tokens:,} completion tokens, {cost}\n"
        "Nothing was sent."
    )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (otter_tiny), or a TOML file.")],
    dataset: Dataset,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: optim.lr=1e-4")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Demand that there is a run to go on.")
    ] = False,
) -> None:
    """Train a model on the accepted records of a dataset.

    Stopped and run again, it goes on from its last checkpoint.

    Example:

        syphus train otter_tiny -d demo -o runs/demo
    """
    _need("torch", "train")
    from trainer.train import train

    with _resumable():
        result = train(recipe=recipe, dataset=dataset, out=out, overrides=set_ or [], resume=resume)
    done = "was trained already" if result.was_finished else "is trained"
    typer.echo(
        f"{str(out / 'model')!r} {done}: {result.steps:,} steps in {duration(result.seconds)}, "
        f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}; the curve is {str(out / 'loss.png')!r}"
    )


@app.command()
def chat(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    image: Annotated[list[Path], typer.Option("--image", help="Picture; may be repeated.")],
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of the answer, at most.")] = 128,
) -> None:
    """Ask a trained model about a picture.

    Example:

        syphus chat runs/demo --image cat.png "What does the picture show?"
    """
    _need("torch", "train")
    from trainer.chat import answer

    typer.echo(answer(run, image, question, max_new_tokens=max_new_tokens))


def main() -> None:
    """Run the command; say what is wrong in one sentence, and keep the traceback of a bug."""
    try:
        app()
    except MimicitError as error:
        _fail(str(error))
    except (OSError, sqlite3.OperationalError) as error:
        where = f": {error.filename!r}" if isinstance(error, OSError) and error.filename else ""
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _fail(f"{said}{where}; what was finished before is kept")


@contextmanager
def _resumable() -> Iterator[None]:
    """Say that an interrupted command can go on."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("syphus: interrupted; the same command goes on from here\n")
        raise typer.Exit(130) from None


def _need(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(package, extra)


def _fail(sentence: str) -> None:
    sys.stderr.write(f"syphus: {sentence}\n")
    sys.exit(1)
