"""`syphus translate`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.cli import Where
from mimicit.commands.options import Dataset, Json
from syphus.commands import shared

if TYPE_CHECKING:
    from mimicit.store import Store
    from syphus.pacing.endpoints import Endpoints
    from syphus.translate import Job, Report
    from syphus.translate.plan import Plan


def translate(
    dataset: Dataset,
    to: Annotated[str, typer.Option(help="Codes of languages, with commas: zh,ja,es,de,fr,ko,ar")],
    model: shared.Model,
    origin: Annotated[
        str, typer.Option("--from", help="Code of the language to translate from.")
    ] = "en",
    where: Where = "true",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A term that stays as it is; may be repeated."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Translate the first N records only.")
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
    """Translate the accepted records into other languages, as records of their own.

    What is translated already is skipped; what a model leaves out or gets wrong is asked for again by itself.

    Example:

        syphus translate -d demo --to zh,ja,es,de,fr,ko,ar -m openai/gpt-4o-mini
    """
    from mimicit.store import Store
    from syphus.task import load_task
    from syphus.translate import Job
    from syphus.translate.languages import language_of, languages_of

    languages, source = languages_of(to), language_of(origin)
    if source in languages:
        raise typer.BadParameter(
            f"{source.code!r} is what is translated from; leave it out of --to"
        )
    task, terms = load_task("translate"), tuple(dict.fromkeys(keep or ()))
    models = shared.models(model)
    job = Job(task, models[0], languages, source, where, terms, limit, seed, sys.argv[1:])
    store = Store.open(dataset)
    store.refresh()
    if dry_run:
        _dry_run(job, store, as_json=json)
    else:
        found = shared.endpoints(
            model, transport=transport, concurrency=concurrency, rpm=rpm, tpm=tpm, timeout=timeout
        )
        _translate(job, store, found, budget, as_json=json)


def _translate(
    job: Job, store: Store, endpoints: Endpoints, budget: float | None, *, as_json: bool
) -> None:
    from mimicit.progress import Progress
    from syphus.translate import translate

    total = job.sources(store).count()
    with (
        shared.resumable(),
        Progress(f"asking {job.model}", total=total, unit="records") as progress,
    ):

        def show(report: Report) -> None:
            progress.update(report.records, lambda: shared.spent(report, endpoints, budget))

        report = translate(job, store, endpoints, budget=budget, progress=show)
    shared.list_problems(report)
    if as_json:
        shared.print_json(report)
    else:
        typer.echo(_table(report))
    raise typer.Exit(3 if report.problem_count else 0)


def _table(report: Report) -> str:
    """Write what is there of each language, and why the rest is not."""
    lines = [f"{'language':28}{'wanted':>10}{'before':>10}{'new':>10}{'missing':>10}"]
    for row in report.languages:
        name = f"{row.language} {row.name}"
        counts = "".join(f"{n:>10,}" for n in (row.wanted, row.before, row.new, row.missing))
        lines.append(f"{name:28}{counts}" + (f"  {row.reason}" if row.reason else ""))
    return "\n".join([*lines, shared.used(report)])


def _dry_run(job: Job, store: Store, *, as_json: bool) -> None:
    from syphus.translate.plan import plan

    planned = plan(job, store)
    shared.print_plan(planned, _summary(planned, job.model), as_json=as_json)


def _summary(planned: Plan, model: str) -> str:
    cost = "no known price" if planned.cost_usd is None else f"about ${planned.cost_usd:,.4f}"
    return (
        f"{planned.wanted:,} translations of {planned.records:,} records, {planned.there:,} there already, "
        f"{planned.answered:,} requests answered already\n"
        f"{planned.requests:,} requests to {model}: about {planned.prompt_tokens:,} prompt tokens and "
        f"{planned.completion_tokens:,} completion tokens, {cost}\n"
        "Nothing was sent."
    )
