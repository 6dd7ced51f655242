"""The Syphus pipeline from Python, with all that `syphus generate` can do.

    from syphus.pipeline import Pipeline

    pipeline = Pipeline("la_conversation", "openai/gpt-4o-mini", "demo", annotations="captions.json", images="photos")
    print(pipeline.plan().cost_usd)
    report = pipeline.run()

    async for record in pipeline:             # or one by one, as they are made
        print(record.instruction, record.answer)

Both write to the dataset folder, resume, and share the ledger with the command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mimicit.schema import Instruction
from mimicit.store import Store
from syphus import generate
from syphus.annotations import Options, read
from syphus.annotations.context import Context, Problem
from syphus.asking import SAMPLES
from syphus.generate import Report
from syphus.job import Job
from syphus.pacing.endpoints import Endpoints, open_endpoints
from syphus.pacing.models import parse_models
from syphus.providers.base import Provider
from syphus.running import as_endpoints
from syphus.task import Task, load_task

if TYPE_CHECKING:
    from syphus.plan import Plan

RECORDS_AHEAD = 1_000
"""Records that are made before the reader of an iteration takes them."""


class Pipeline:
    def __init__(
        self,
        task: str | Path | Task,
        model: str | Provider,
        dataset: str | Path | Store,
        *,
        annotations: str | Path | Sequence[str | Path] | Iterable[Context | Problem],
        images: str | Path | None = None,
        format: str | None = None,
        options: Options | None = None,
        limit: int | None = None,
        seed: int = 0,
        see: bool = False,
        reply: Literal["auto", "text", "json"] = "auto",
        tries: int = SAMPLES,
        similar: str = "tfidf",
        concurrency: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        budget: float | None = None,
        transport: Literal["auto", "direct", "litellm"] = "auto",
        timeout: float | None = None,
        batch: bool = False,
    ) -> None:
        """Set up a run; nothing is read or sent yet.

        Args:
            task: A built-in task, a task folder, or a loaded task.
            model: As `-m` takes it (`openai/gpt-4o-mini`, `local`, `a=3,b@env:KEY`), or a provider of your own.
            dataset: The dataset folder; it is made if there is none.
            annotations: Annotation files or SQL queries, or contexts of your own, which can be iterated more than once.
            images: Folder of the pictures; None stores records without them.
            format: Of the annotation files; None finds it.
            options: How they are read.
            limit: Contexts, at most.
            seed: Another seed asks again for other answers.
            see: Whether the model is shown the pictures.
            reply: Whether replies are wanted as JSON of a schema or as text; auto is what the model can do.
            tries: How often a context is asked about until its reply can be read.
            similar: By what pictures are paired, for tasks of two pictures.
            concurrency: Requests at once, at most.
            rpm: Requests a minute for each model and key, at most.
            tpm: Tokens a minute for each model and key, at most.
            budget: USD that the task may have cost in this dataset, earlier runs included.
            transport: The way to the provider.
            timeout: Seconds for one answer.
            batch: Whether to ask through the provider's batches: half the price, within a day.

        Raises:
            TaskError: there is no such task.
            AnnotationError: an annotation file is missing, or of another format.
        """
        if isinstance(model, str):
            names = tuple(dict.fromkeys(spec.model for spec in parse_models(model)))
        else:
            names = (type(model).__name__,)
        self._model = model
        self._endpoints = {
            "concurrency": concurrency, "rpm": rpm, "tpm": tpm, "transport": transport,
            "timeout": timeout,
        }  # fmt: skip
        self._run = {"budget": budget, "batch": batch}
        self.dataset = dataset
        self.job = Job(
            task if isinstance(task, Task) else load_task(str(task)),
            _contexts(annotations, format, options),
            Path(images) if images is not None else None,
            names[0],
            seed,
            ("Pipeline",),
            as_json=None if reply == "auto" else reply == "json",
            see=see,
            limit=limit,
            similar=similar,
            tries=tries,
            also=names[1:],
        )
        self.report: Report | None = None
        """Of the last run."""

    def plan(self) -> Plan:
        """Count what a run would send and cost, without sending anything."""
        from syphus.plan import plan

        folder = self.dataset.path if isinstance(self.dataset, Store) else Path(self.dataset)
        return plan(self.job, folder / "ledger" / "ledger.sqlite")

    def run(self, *, progress: Callable[[Report], None] = lambda report: None) -> Report:
        """Run to the end; what was done before is not done again.

        Args:
            progress: Called after each context.

        Raises:
            StopError: the provider will not answer anything, or the budget is used up; what came before is stored.
            LockedError: another process is writing to the dataset.
            TaskError: the task is too long for the model.
        """
        self.report = asyncio.run(self._generate(progress=progress))
        return self.report

    async def __aiter__(self) -> AsyncIterator[Instruction]:
        """Run, and give each new record when it is made; it is in the dataset a few seconds later, or at the end.

        Whoever leaves the iteration stops the run; what was answered is in the ledger.
        """
        made: asyncio.Queue[Instruction | None] = asyncio.Queue(RECORDS_AHEAD)

        async def run() -> Report:
            try:
                return await self._generate(taken=made.put)
            finally:
                await made.put(None)

        running = asyncio.create_task(run())
        try:
            while (record := await made.get()) is not None:
                yield record
            self.report = await running
        finally:
            if not running.done():
                running.cancel()
                while not running.done():
                    while made.qsize():  # so that it can end
                        made.get_nowait()
                    await asyncio.wait({running}, timeout=0.05)

    async def _generate(self, **options: object) -> Report:
        store = self.dataset
        if not isinstance(store, Store):
            store = Store.open(Path(store), create=True)
        return await generate.run(self.job, store, self._open(), **self._run, **options)  # type: ignore[arg-type]

    def _open(self) -> Endpoints:
        if isinstance(self._model, str):
            return open_endpoints(self._model, **self._endpoints)  # type: ignore[arg-type]
        return as_endpoints(self._model, self.job.model, concurrency=self._endpoints["concurrency"])  # type: ignore[arg-type]


def _contexts(
    annotations: str | Path | Sequence[str | Path] | Iterable[Context | Problem],
    format: str | None,
    options: Options | None,
) -> Iterable[Context | Problem]:
    """Open annotation files; contexts are passed on."""
    if isinstance(annotations, str | Path):
        annotations = [annotations]
    if isinstance(annotations, Sequence) and all(
        isinstance(one, str | Path) for one in annotations
    ):
        paths = [str(one) for one in annotations]
        return read(paths, format=format, options=options or Options())
    return annotations  # type: ignore[return-value]
