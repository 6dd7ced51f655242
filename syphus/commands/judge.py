"""`syphus judge`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Dataset, Json
from syphus.commands import shared

if TYPE_CHECKING:
    from mimicit.store import Store
    from syphus.judge import Job, Plan, Report
    from syphus.judge.selection import Counts
    from syphus.pacing.endpoints import Endpoints


def judge(
    dataset: Dataset,
    model: shared.Model,
    rubric: Annotated[str, typer.Option(help="A task folder that asks for ratings.")] = "judge",
    where: Annotated[
        str,
        typer.Option(help="An SQL predicate over the records, for example: task = 'la_detail'"),
    ] = "true",
    threshold: Annotated[
        int,
        typer.Option(
            min=0,
            max=5,
            help="Reject what is less grounded, answerable or correct; 0 rejects nothing.",
        ),
    ] = 3,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Judge about N more records; those of one question go together."),
    ] = None,
    concurrency: shared.Concurrency = None,
    rpm: shared.Rpm = None,
    tpm: shared.Tpm = None,
    budget: shared.BudgetUsd = None,
    transport: shared.Transport = "auto",
    timeout: shared.Timeout = shared.TIMEOUT,
    seed: shared.Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent.")] = False,
    json: Json = False,
) -> None:
    """Let a model rate records from 1 to 5 against the annotations that they were made from.

    Nothing is deleted: ratings are verdicts beside the records, and another model adds its own. What is judged is not asked about again.

    Example:

        syphus judge -d demo -m openai/gpt-4o-mini
    """
    from mimicit.store import Store
    from syphus.judge import Job
    from syphus.task import load_task

    models = shared.models(model)
    if len(models) > 1:
        raise typer.BadParameter(
            "the verdicts of one judge are compared with each other: name one model; another one's "
            "verdicts stand beside them when the command is run again with it"
        )
    job = Job(load_task(rubric), models[0], where, threshold, seed, limit, sys.argv[1:])
    store = Store.open(dataset)
    if dry_run:
        _dry_run(job, store, as_json=json)
    else:
        found = shared.endpoints(
            model, transport=transport, concurrency=concurrency, rpm=rpm, tpm=tpm, timeout=timeout
        )
        _judge(job, store, found, budget, as_json=json)


def _judge(
    job: Job, store: Store, endpoints: Endpoints, budget: float | None, *, as_json: bool
) -> None:
    from mimicit.progress import Progress
    from syphus.judge import judge

    with (
        shared.resumable(),
        Progress(f"asking {job.model}", total=None, unit="records") as progress,
    ):

        def start(counts: Counts) -> None:
            progress.total = min(counts.open, job.limit) if job.limit else counts.open

        def show(report: Report) -> None:
            done = report.judged + report.problem_count
            progress.update(done, lambda: shared.spent(report, endpoints, budget))

        report = judge(job, store, endpoints, budget=budget, start=start, progress=show)
    shared.list_problems(report)
    if report.unjudgeable:
        typer.echo(_unjudgeable(report), err=True)
    if as_json:
        shared.print_json(report)
    else:
        typer.echo(_said(report, job))
    raise typer.Exit(3 if report.problem_count else 0)


def _unjudgeable(report: Report) -> str:
    listed = ", ".join(report.unjudgeable_examples)
    more = ", …" if report.unjudgeable > len(report.unjudgeable_examples) else ""
    return (
        f"{report.unjudgeable:,} records cannot be judged, since the ledger does not hold what they were made from: "
        f"{listed}{more}"
    )


def _said(report: Report, job: Job) -> str:
    lines = [
        f"{report.judged:,} records judged, {report.rejected:,} of them rejected, {report.known:,} judged before, "
        f"{report.unjudgeable:,} not judgeable: {shared.used(report)}"
    ]
    if report.scores.records:
        lines.append(
            f"{job.recipe!r} has judged {report.scores.records:,} records and rejects {report.scores.rejected:,}"
        )
        lines.append(f"{'':12}  mean" + "".join(f"{mark:>8}" for mark in range(1, 6)))
    lines += [
        f"{name:12}  {criterion.mean:4.2f}" + "".join(f"{count:>8,}" for count in criterion.counts)
        for name, criterion in report.scores.criteria.items()
    ]
    return "\n".join(lines)


def _dry_run(job: Job, store: Store, *, as_json: bool) -> None:
    from syphus.judge import plan

    store.refresh()
    planned = plan(job, store)
    shared.print_plan(planned, _summary(planned, job.model), as_json=as_json)


def _summary(planned: Plan, model: str) -> str:
    cost = "no known price" if planned.cost_usd is None else f"about ${planned.cost_usd:,.4f}"
    return (
        f"{planned.records:,} records to judge in {planned.questions:,} questions, {planned.answered:,} of these answered "
        f"already; {planned.known:,} records judged before, {planned.unjudgeable:,} not judgeable, "
        f"{len(planned.problems):,} too long\n"
        f"{planned.questions - planned.answered:,} requests to {model}: about {planned.prompt_tokens:,} prompt tokens and "
        f"{planned.completion_tokens:,} completion tokens, {cost}\n"
        "Nothing was sent."
    )
