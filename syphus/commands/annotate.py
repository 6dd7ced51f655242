"""`syphus annotate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Json
from syphus.commands import shared

if TYPE_CHECKING:
    from syphus.annotate import Job, Report
    from syphus.pacing.endpoints import Endpoints

NO_MODEL = "none"


def annotate(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="JSONL file of the annotations.")],
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            help="A vision model, as LiteLLM's PROVIDER/MODEL; none: only read the text in pictures.",
        ),
    ],
    ocr: Annotated[
        bool | None,
        typer.Option(
            "--ocr/--no-ocr",
            help="Read the text in pictures; if nothing is said, where it can be done.",
        ),
    ] = None,
    sees: Annotated[
        bool,
        typer.Option("--sees", help="The model can see pictures, whatever LiteLLM's table says."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="The first N pictures only.")] = None,
    concurrency: shared.Concurrency = None,
    rpm: shared.Rpm = None,
    tpm: shared.Tpm = None,
    budget: shared.BudgetUsd = None,
    transport: shared.Transport = "auto",
    timeout: shared.Timeout = shared.TIMEOUT,
    seed: shared.Seed = 0,
    json: Json = False,
) -> None:
    """Let a vision model write captions and boxes for pictures that have none.

    Stopped at any moment and run again, it goes on where it was; nothing is paid twice. `syphus generate` reads the file.

    Example:

        syphus annotate photos -o photos.jsonl -m openai/gpt-4o-mini
    """
    from syphus import ocr as reading
    from syphus.annotate import Job, check_sight
    from syphus.task import load_task

    models = shared.models(model)
    found = None
    if model == NO_MODEL:
        if ocr is False:
            raise typer.BadParameter("-m none with --no-ocr leaves nothing to do")
        ocr = True
    else:
        for name in models:
            check_sight(name, sees=sees)
    wanted = reading.is_installed() if ocr is None else ocr
    job = Job(
        load_task("annotate"),
        pictures,
        out,
        models[0],
        reading.TextReader() if wanted else None,
        seed,
        limit,
        sys.argv[1:],
    )
    if model != NO_MODEL:
        found = shared.endpoints(
            model, transport=transport, concurrency=concurrency, rpm=rpm, tpm=tpm, timeout=timeout
        )
    _annotate(job, found, budget, as_json=json)


def _annotate(
    job: Job, endpoints: Endpoints | None, budget: float | None, *, as_json: bool
) -> None:
    from mimicit.progress import Progress
    from syphus.annotate import annotate, count_pictures

    count = count_pictures(job.paths)
    total = min(count, job.limit) if job.limit else count
    what = f"asking {job.model}" if endpoints else "reading text"
    with shared.resumable(), Progress(what, total=total, unit="pictures") as progress:

        def show(report: Report) -> None:
            done = report.rows + report.known + report.problem_count
            progress.update(done, lambda: shared.spent(report, endpoints, budget))

        report = annotate(job, endpoints, budget=budget, progress=show)
    for remark in report.remarks:
        typer.echo(f"{remark.where}: {remark.reason}", err=True)
    if report.remark_count > len(report.remarks):
        typer.echo(f"… and {report.remark_count - len(report.remarks):,} more", err=True)
    shared.list_problems(report)
    if as_json:
        shared.print_json(report)
    else:
        typer.echo(
            f"{report.rows + report.known:,} of {report.pictures:,} pictures have a row in {str(job.out)!r}, "
            f"{report.rows:,} of them new: {report.captions:,} captions, {report.objects:,} boxes, "
            f"{report.texts:,} lines of text, {report.remark_count:,} left out; {shared.used(report)}"
        )
    raise typer.Exit(3 if report.problem_count else 0)
