"""`syphus generate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Dataset, Json
from syphus.commands import shared

if TYPE_CHECKING:
    from pathlib import Path

    from mimicit.store import Store
    from syphus.generate import Job, Report
    from syphus.pacing.endpoints import Endpoints
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
    rpm: shared.Rpm = None,
    tpm: shared.Tpm = None,
    budget: shared.BudgetUsd = None,
    transport: shared.Transport = "auto",
    timeout: shared.Timeout = shared.TIMEOUT,
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
    retry_refused: Annotated[
        bool,
        typer.Option("--retry-refused", help="Ask once more what a provider refused to answer."),
    ] = False,
    similar: Annotated[
        str, typer.Option(help="For tasks of two pictures, what is alike: tfidf, minilm.")
    ] = "tfidf",
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", help="Ask through the provider's batches: half the price, within a day."
        ),
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Ask nobody: read what is stored again.")
    ] = False,
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
    from syphus.job import Job
    from syphus.running import nobody
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
    models = shared.models(model)
    if see:
        for name in models:
            _check_sight(name, images)
    reading = shared.reading(annotations, format, by, column, boxes)
    job = Job(
        checked,
        reading,
        images,
        models[0],
        seed,
        sys.argv[1:],
        also=models[1:],
        retry_refused=retry_refused,
        as_json=None if reply == "auto" else reply == "json",
        see=see,
        limit=limit,
        similar=similar,
        tries=tries,
    )
    if dry_run:
        _dry_run(job, dataset, model, as_json=json)
        return
    total = min(len(reading), limit) if limit else len(reading)
    if replay:
        found = nobody(models)
    else:
        found = shared.endpoints(
            model, transport=transport, concurrency=concurrency, rpm=rpm, tpm=tpm, timeout=timeout
        )
    how = _How(budget, batch, replay)
    _generate(job, Store.open(dataset, create=True), found, how, total, as_json=json)


@dataclass(frozen=True)
class _How:
    """What sets a run apart that is asked for the same."""

    budget: float | None
    batch: bool
    replay: bool


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
    job: Job,
    store: Store,
    endpoints: Endpoints,
    how: _How,
    total: int,
    *,
    as_json: bool,
) -> None:
    from mimicit.progress import Progress
    from syphus.generate import generate

    with (
        shared.resumable(),
        Progress(_doing(how, endpoints), total=total, unit="contexts") as progress,
    ):

        def show(report: Report) -> None:
            progress.update(report.contexts, lambda: note(report))

        def note(report: Report) -> str:
            spent = shared.spent(report, endpoints, how.budget)
            return f"{report.pairs:,} pairs · {spent}{_batches(report)}"

        report = generate(
            job,
            store,
            endpoints,
            budget=how.budget,
            batch=how.batch,
            replay=how.replay,
            progress=show,
        )
    shared.list_problems(report)
    if as_json:
        shared.print_json(report)
    else:
        typer.echo(_said(report, store.path))
    raise typer.Exit(3 if report.problem_count else 0)


def _doing(how: _How, endpoints: Endpoints) -> str:
    return "reading again" if how.replay else f"asking {' and '.join(endpoints.models)}"


def _batches(report: Report) -> str:
    """Say where the provider's batches stand."""
    state = report.batches
    if state is None:
        return ""
    return (
        f" · batches at the provider: {state.batches:,}, {state.processed:,}/{state.requests:,} done, "
        f"{state.queued:,} requests gathered"
    )


def _said(report: Report, dataset: Path) -> str:
    cut = ""
    if report.shortened or report.split:
        cut = f" ({report.shortened:,} shortened, {report.split:,} split to fit)"
    if report.left_out:
        cut += f" ({report.left_out:,} clips with too few sentences left out)"
    broken = f", {report.broken:,} of them against a rule of the task" if report.broken else ""
    if report.differing:
        broken += f", {report.differing:,} were read otherwise than they are stored, and stay as they were"
    asked = f"{report.answered:,}"
    if report.answered < report.contexts:
        asked += f" of {report.contexts:,}"
    return (
        f"{report.pairs:,} pairs about {asked} contexts{cut} are in {str(dataset)!r}{broken}: "
        f"{shared.used(report)}"
    )


def _dry_run(job: Job, dataset: Path, model: str, *, as_json: bool) -> None:
    from syphus.plan import plan

    planned = plan(job, dataset / "ledger" / "ledger.sqlite", weights=shared.weights(model))
    shared.print_plan(planned, _summary(planned, " and ".join(job.models)), as_json=as_json)


def _summary(planned: Plan, model: str) -> str:
    cut = ""
    if planned.shortened or planned.split:
        cut = f", {planned.shortened:,} shortened and {planned.split:,} split to fit"
    cached = f" ({planned.cached_tokens:,} cached)" if planned.cached_tokens else ""
    own = ", the model's own" if planned.is_exact else " (approximate)"
    return (
        f"{planned.contexts:,} contexts, {planned.answered:,} answered already, "
        f"{planned.problem_count:,} rows that cannot be used{cut}\n"
        f"{planned.requests:,} requests to {model}: about {planned.prompt_tokens:,} prompt tokens{cached} and "
        f"{planned.completion_tokens:,} completion tokens\n"
        f"{_cost(planned)}\n"
        f"Prompts counted with {planned.tokenizer}{own}; the rest as in {planned.basis}.\n"
        "Nothing was sent."
    )


def _cost(planned: Plan) -> str:
    if planned.cost_usd is None or planned.cost_low_usd is None or planned.cost_high_usd is None:
        return "no known price"
    text = f"about ${planned.cost_usd:,.4f}"
    if planned.cost_usd:
        text += (
            f" (nine of ten runs: ${planned.cost_low_usd:,.4f} to ${planned.cost_high_usd:,.4f})"
        )
    if planned.batch_cost_usd:
        text += f", ${planned.batch_cost_usd:,.4f} in batches"
    return text
