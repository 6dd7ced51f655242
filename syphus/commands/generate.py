"""`syphus generate`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.cli import Dataset, Json
from syphus.commands import shared

if TYPE_CHECKING:
    from pathlib import Path

    from mimicit.store import Store
    from syphus.generate import Job, Report
    from syphus.plan import Plan


def generate(
    task: Annotated[str, typer.Argument(help="A built-in task, or a task folder.")],
    annotations: shared.Annotations,
    dataset: Dataset,
    model: shared.Model,
    images: shared.Images = None,
    format: shared.Format = None,
    by: shared.By = None,
    column: shared.Columns = None,
    boxes: shared.Boxes = None,
    limit: shared.Limit = None,
    concurrency: shared.Concurrency = None,
    seed: shared.Seed = 0,
    see: Annotated[
        bool, typer.Option("--see", help="Show the model the pictures too; it must be able to see.")
    ] = False,
    reply: Annotated[
        str, typer.Option(help="text, json (of a schema), or auto: what the model can do.")
    ] = "auto",
    tries: Annotated[
        int, typer.Option(min=1, help="Ask so often, at most, until a reply can be read.")
    ] = 3,
    similar: Annotated[
        str, typer.Option(help="For tasks of two pictures, what is alike: tfidf, minilm.")
    ] = "tfidf",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent.")] = False,
    json: Json = False,
) -> None:
    """Ask a model for question–answer pairs about annotated pictures.

    Stopped at any moment and run again, it goes on where it was; nothing is paid twice.

    Example:

        syphus generate la_conversation -a captions.json --images photos -d demo -m openai/gpt-4o-mini
    """
    from mimicit.errors import PictureError
    from mimicit.store import Store
    from syphus.errors import TaskError
    from syphus.generate import Job
    from syphus.task import load_task

    checked = load_task(task)
    if not checked.makes_records:
        raise TaskError(
            f"the task {checked.name!r} makes no records; it belongs to a command of its own"
        )
    if images is not None and not images.is_dir():
        raise PictureError(f"there is no picture folder {str(images)!r}")
    if reply not in ("auto", "text", "json"):
        raise typer.BadParameter(f"{reply!r} is none of auto, text, json")
    if see:
        _check_sight(model, images)
    reading = shared.reading(annotations, format, by, column, boxes)
    job = Job(
        checked,
        reading,
        images,
        model,
        seed,
        sys.argv[1:],
        as_json=None if reply == "auto" else reply == "json",
        see=see,
        limit=limit,
        similar=similar,
        tries=tries,
    )
    if dry_run:
        _dry_run(job, dataset, as_json=json)
        return
    total = min(len(reading), limit) if limit else len(reading)
    _generate(job, Store.open(dataset, create=True), total, concurrency, as_json=json)


def _check_sight(model: str, images: Path | None) -> None:
    from syphus.errors import StopError
    from syphus.prices import is_local

    if is_local(model):
        raise StopError(
            "the embedded model cannot see pictures; leave --see out, or name a vision model"
        )
    if images is None:
        raise typer.BadParameter("--see needs --images, the folder of the pictures to show")


def _generate(
    job: Job, store: Store, total: int, concurrency: int | None, *, as_json: bool
) -> None:
    from mimicit.progress import Progress
    from syphus.generate import generate
    from syphus.providers import connect

    provider = connect(job.model)
    with (
        shared.resumable(),
        Progress(f"asking {job.model}", total=total, unit="contexts") as progress,
    ):

        def show(report: Report) -> None:
            progress.update(report.contexts, shared.spent(report))

        report = generate(
            job, store, provider, concurrency=concurrency or provider.concurrency, progress=show
        )
    shared.list_problems(report)
    if as_json:
        shared.print_json(report)
    else:
        typer.echo(_said(report, store.path))
    raise typer.Exit(3 if report.problem_count else 0)


def _said(report: Report, dataset: Path) -> str:
    cut = ""
    if report.shortened or report.split:
        cut = f" ({report.shortened:,} shortened, {report.split:,} split to fit)"
    if report.left_out:
        cut += f" ({report.left_out:,} clips with too few sentences left out)"
    broken = f", {report.broken:,} of them against a rule of the task" if report.broken else ""
    asked = f"{report.answered:,}"
    if report.answered < report.contexts:
        asked += f" of {report.contexts:,}"
    return (
        f"{report.pairs:,} pairs about {asked} contexts{cut} are in {str(dataset)!r}{broken}: "
        f"{shared.used(report)}"
    )


def _dry_run(job: Job, dataset: Path, *, as_json: bool) -> None:
    from syphus.plan import plan

    planned = plan(job, dataset / "ledger" / "ledger.sqlite")
    shared.print_plan(planned, _summary(planned, job.model), as_json=as_json)


def _summary(planned: Plan, model: str) -> str:
    cost = "no known price" if planned.cost_usd is None else f"about ${planned.cost_usd:,.4f}"
    cut = ""
    if planned.shortened or planned.split:
        cut = f", {planned.shortened:,} shortened and {planned.split:,} split to fit"
    return (
        f"{planned.contexts:,} contexts, {planned.answered:,} answered already, "
        f"{len(planned.problems):,} rows that cannot be used{cut}\n"
        f"{planned.requests:,} requests to {model}: about {planned.prompt_tokens:,} prompt tokens and "
        f"{planned.completion_tokens:,} completion tokens, {cost}\n"
        "Nothing was sent."
    )
