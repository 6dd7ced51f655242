"""The loop from annotations to stored pairs.

    contexts ─► cut to size ─► workers: ask until it can be read ─► buffer ─► pictures, records, verdicts, readings

It streams: a worker takes the next context when it is free, and what is finished is written every few seconds, so memory does
not grow with the annotations. Killed at any moment it loses no reply (see `syphus.ledger`); run again, it skips what is stored,
parses what was answered, and sends what was not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimicit.errors import PictureError
from mimicit.schema import ImageRecord
from mimicit.store import Store
from syphus.annotations.context import Context, Problem
from syphus.asking import SAMPLES, Asker, Tally, running, work
from syphus.errors import ProviderError, StopError
from syphus.fit import Cuts, fit, query_limit
from syphus.forms import Pair
from syphus.ledger import Ledger, Reading, Reply
from syphus.pairing import paired
from syphus.parse import parse_pairs
from syphus.pictures import image_ids, read_pictures, seen
from syphus.prices import facts_of
from syphus.providers.base import Provider
from syphus.records import Records, make_records
from syphus.render import render_prompt, render_request
from syphus.request import Prompt, Request
from syphus.task import Task

FLUSH_SECONDS = 15.0
FLUSH_RECORDS = 2_000
FLUSH_BYTES = 256 << 20
CUT_OFF_HINT = " ([sampling] max_tokens of the task sets it)"


@dataclass(frozen=True)
class Job:
    """What a run is asked to do."""

    task: Task
    contexts: Iterable[Context | Problem]
    images: Path | None
    """Folder of the pictures; None stores records without them."""
    model: str
    seed: int = 0
    arguments: Sequence[str] = ()
    """The command line, for the ledger."""
    as_json: bool | None = None
    """Whether replies are wanted as JSON of a schema; None leaves it to what the model can do."""
    see: bool = False
    """Whether the model is shown the pictures themselves."""
    limit: int | None = None
    """Contexts, at most."""
    similar: str = "tfidf"
    """By what pictures are paired, for tasks of two pictures."""
    tries: int = SAMPLES
    """How often a context is asked about until its reply can be read."""

    @property
    def wants_json(self) -> bool:
        return facts_of(self.model).has_schema if self.as_json is None else self.as_json

    def prompt(self) -> Prompt:
        """Render what all its requests begin with."""
        return render_prompt(self.task, as_json=self.wants_json)

    def fitted(self, prompt: Prompt, cuts: Cuts) -> Iterator[Context | Problem]:
        """Pass its contexts on, cut to size, as many as it is limited to.

        Raises:
            TaskError: the task is too long for the model.
        """
        count = 0
        limit = query_limit(self.task, prompt, self.model)
        contexts = paired(self.task, self.contexts, self.similar)
        for item in fit(self.task, contexts, limit, cuts):
            if isinstance(item, Context):
                if count == self.limit:
                    return
                count += 1
            yield item

    def request(
        self, prompt: Prompt, context: Context, images: Sequence[ImageRecord] = ()
    ) -> Request:
        return render_request(
            self.task,
            prompt,
            context,
            model=self.model,
            seed=self.seed,
            as_json=self.wants_json,
            pictures=tuple(seen(image) for image in images) if self.see else (),
        )


@dataclass
class Report(Tally):
    """What became of it."""

    contexts: int = 0
    """Contexts that were handled."""
    answered: int = 0
    """Of these, those with a readable reply."""
    pairs: int = 0
    """Records that are in the dataset, new or from before."""
    broken: int = 0
    """New records that break a rule of their task; a verdict says which."""
    shortened: int = 0
    """Contexts of which the end was left out."""
    split: int = 0
    """Contexts that were cut into several."""
    left_out: int = 0
    """Clips with fewer segments than the task wants."""


@dataclass(frozen=True)
class _Finished:
    """A context's outcome, ready to be written."""

    context: str
    reply: Reply
    made: Records
    images: tuple[ImageRecord, ...] = ()


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self, job: Job, store: Store, ledger: Ledger, asker: Asker, report: Report, prompt: Prompt
    ) -> None:
        self.job = job
        self.store = store
        self.ledger = ledger
        self.asker = asker
        self.report = report
        self.prompt = prompt
        self.buffer: list[_Finished] = []
        self.buffered_bytes = 0
        self.flushed = time.monotonic()

    async def handle(self, context: Context) -> None:
        """Bring one context to its end: stored before, stored now, or a problem."""
        images: tuple[ImageRecord, ...] = ()

        async def read_images() -> None:
            nonlocal images
            images = images or await asyncio.to_thread(
                read_pictures, self.job.task, context, self.job.images
            )

        try:
            if self.job.see:
                await read_images()
            request = self.job.request(self.prompt, context, images)
            answer = await self.asker.ask(request, self._pairs, before=read_images)
        except StopError:
            raise
        except (PictureError, ProviderError) as error:
            self.report.note(Problem(context.source, str(error)))
            return
        if answer.was_stored and answer.reply:
            self.report.answered += 1
            self.report.pairs += answer.reply.pairs or 0
        elif answer.value is None or answer.reply is None:
            hint = CUT_OFF_HINT if "cut off" in answer.problem else ""
            self.report.note(Problem(context.source, answer.problem + hint))
        else:
            self.report.answered += 1
            self._keep(context, answer.reply, answer.value, images)

    def _pairs(self, reply: Reply) -> tuple[Pair, ...]:
        task = self.job.task
        return parse_pairs(
            reply.text, shape=task.shape, form=task.reply.form, finish_reason=reply.finish_reason
        )

    def _keep(
        self,
        context: Context,
        reply: Reply,
        pairs: tuple[Pair, ...],
        images: tuple[ImageRecord, ...],
    ) -> None:
        task = self.job.task
        ids = tuple(image.id for image in images) or image_ids(task, context)
        made = make_records(task, context, reply, pairs, ids, digest=self.prompt.digest)
        self.buffer.append(_Finished(context.id, reply, made, images))
        self.buffered_bytes += sum(len(image.image) for image in images)
        if (
            len(self.buffer) >= FLUSH_RECORDS
            or self.buffered_bytes >= FLUSH_BYTES
            or time.monotonic() - self.flushed >= FLUSH_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Write what is finished: pictures, the records that name them, what speaks against these, and that they were read."""
        self.flushed = time.monotonic()
        buffer, self.buffer, self.buffered_bytes = self.buffer, [], 0
        if not buffer:
            return
        added = self.store.add_images(image for finished in buffer for image in finished.images)
        for id_ in added.conflicts:
            self.report.note(Problem(id_, "the dataset has another picture of this id; it stays"))
        verdicts = [verdict for finished in buffer for verdict in finished.made.verdicts]
        self.store.add([record for finished in buffer for record in finished.made.records])
        self.store.add_verdicts(verdicts)
        self.ledger.read(
            Reading(finished.reply.id, len(finished.made.records), context=finished.context)
            for finished in buffer
        )
        self.report.pairs += sum(len(finished.made.records) for finished in buffer)
        self.report.broken += len(verdicts)
        self.store.try_sync()


def generate(
    job: Job,
    store: Store,
    provider: Provider,
    *,
    concurrency: int,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Ask about every context, and put the pairs and pictures into the dataset.

    Raises:
        StopError: the provider will not answer anything; what came before is stored.
        LockedError: another process is writing to the dataset.
        TaskError: the task is too long for the model.
        MissingExtraError: there are videos, and nothing to read them with.
    """
    report, prompt = Report(), job.prompt()
    with running(
        store, report, prompt, what="generate", model=job.model, arguments=job.arguments
    ) as (ledger, run_id):
        asker = Asker(provider, ledger, report, run=run_id, samples=job.tries)
        run = _Run(job, store, ledger, asker, report, prompt)

        async def handle(context: Context) -> None:
            await run.handle(context)
            report.contexts += 1
            progress(report)

        try:
            asyncio.run(work(provider, _contexts(run), handle, concurrency))
        finally:
            run.flush()
    return report


def _contexts(run: _Run) -> Iterator[Context]:
    """Pass the contexts on, and note the rows that are none."""
    cuts = Cuts()
    for item in run.job.fitted(run.prompt, cuts):
        report = run.report
        report.shortened, report.split, report.left_out = cuts.shortened, cuts.split, cuts.left_out
        if isinstance(item, Problem):
            run.report.note(item)
        else:
            yield item
