"""The loop from annotations to stored pairs.

    contexts ─► cut to size, rendered ─► looked up ─► workers: ask until it can be read ─► buffer ─► pictures, records, verdicts, readings

It streams: a worker takes the next context when it is free, and what is finished is written every few seconds beside the work, so
memory does not grow with the annotations. Killed at any moment it loses no reply (see `syphus.ledger`); run again, it skips what is stored,
parses what was answered, and sends what was not.

With a provider's batches (`syphus.batch`) it goes over the contexts more than once: what nobody has answered is put into a batch,
and when its replies are in the ledger the next pass reads them; what cannot be read goes into the next batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from mimicit.errors import PictureError
from mimicit.schema import Annotation, ImageRecord, Instruction
from mimicit.store import Store
from syphus.annotations.context import Context, Problem
from syphus.annotations.kept import annotations_of
from syphus.asking import UNASKED, Asker, Tally, Unasked
from syphus.errors import BudgetError, ProviderError, StopError
from syphus.fit import Cuts
from syphus.forms import Pair
from syphus.job import Job
from syphus.ledger import Ledger, Reading, Reply
from syphus.pacing.endpoints import Endpoints
from syphus.parse import parse_pairs
from syphus.pictures import image_ids, read_pictures, seen
from syphus.providers.base import Provider
from syphus.records import Records, make_records
from syphus.request import Prompt, Request
from syphus.running import Buffer, as_endpoints, budget_of, running, work

if TYPE_CHECKING:
    from syphus.batch import BatchLane, BatchState

__all__ = ["Job", "Report", "generate", "run"]

log = logging.getLogger(__name__)

FLUSH_CONTEXTS = 2_000
FLUSH_BYTES = 256 << 20
LOOK_AHEAD = 32
"""Contexts that are rendered and looked up at once: more stop replies from being taken, fewer cost more queries."""
CUT_OFF_HINT = " ([sampling] max_tokens of the task sets it)"


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
    differing: int = 0
    """Records that were read otherwise than they are stored; those stay."""
    batches: BatchState | None = None
    """Where the provider's batches stand."""

    def begin_again(self) -> None:
        """Count anew what is counted over all contexts."""
        self.contexts = self.answered = self.pairs = self.reused = self.waiting = 0
        self.shortened = self.split = self.left_out = self.problem_count = 0
        self.problems = []


@dataclass(frozen=True, slots=True)
class _Finished:
    """A context's outcome, ready to be written."""

    context: str
    reply: Reply
    made: Records
    images: tuple[ImageRecord, ...] = ()
    annotations: list[Annotation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Question:
    """A context, what is asked about it, and what the ledger has of that."""

    context: Context
    request: Request
    found: Reply | Unasked | None = UNASKED
    images: tuple[ImageRecord, ...] = ()


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self,
        job: Job,
        store: Store,
        asker: Asker,
        report: Report,
        prompt: Prompt,
        taken: Callable[[Instruction], Awaitable[None]] | None,
    ) -> None:
        self.job = job
        self.store = store
        self.asker = asker
        self.report = report
        self.prompt = prompt
        self.buffer = Buffer(self._write, self._noted, count=FLUSH_CONTEXTS, size=FLUSH_BYTES)
        self.taken = taken

    def questions(self) -> Iterator[_Question]:
        """Render what is to be asked, and look it up in the ledger, some at a time."""
        cuts, report = Cuts(), self.report
        fitted = self.job.rendered(self.prompt, cuts)
        while block := list(islice(fitted, LOOK_AHEAD)):
            report.shortened, report.split, report.left_out = (
                cuts.shortened, cuts.split, cuts.left_out,
            )  # fmt: skip
            asked = []
            for item in block:
                if isinstance(item, Problem):
                    report.note(item)
                else:
                    request = self.job.request(self.prompt, item.context, query=item.query)
                    asked.append((item.context, request))
            if self.job.see:
                # What is asked depends on the pictures, which are read when it is their turn.
                yield from (_Question(context, request) for context, request in asked)
                continue
            replies = self.asker.look_up([request for _, request in asked])
            for (context, request), reply in zip(asked, replies, strict=True):
                yield _Question(context, request, reply)

    async def handle(self, question: _Question) -> None:
        """Bring one context to its end: stored before, stored now, or a problem."""
        context, request = question.context, question.request
        images: tuple[ImageRecord, ...] = ()

        async def read_images() -> None:
            nonlocal images
            if self.job.images is not None and not images:
                images = await asyncio.to_thread(
                    read_pictures, self.job.task, context, self.job.images
                )

        try:
            if self.job.see:
                await read_images()
                request = replace(request, pictures=tuple(seen(image) for image in images))
            answer = await self.asker.ask(
                request, self._pairs, before=read_images, found=question.found
            )
        except StopError:
            raise
        except (PictureError, ProviderError) as error:
            self.report.note(Problem(context.source, str(error)))
            return
        if answer.waits:
            return
        if answer.was_stored and answer.reply:
            self.report.answered += 1
            self.report.pairs += answer.reply.pairs or 0
        elif answer.value is None or answer.reply is None:
            hint = CUT_OFF_HINT if "cut off" in answer.problem else ""
            self.report.note(Problem(context.source, answer.problem + hint))
        else:
            self.report.answered += 1
            await self._keep(context, answer.reply, answer.value, images)

    def _pairs(self, reply: Reply) -> tuple[Pair, ...]:
        task = self.job.task
        return parse_pairs(
            reply.text, shape=task.shape, form=task.reply.form, finish_reason=reply.finish_reason
        )

    async def _keep(
        self,
        context: Context,
        reply: Reply,
        pairs: tuple[Pair, ...],
        images: tuple[ImageRecord, ...],
    ) -> None:
        task = self.job.task
        ids = tuple(image.id for image in images) or image_ids(task, context)
        made = make_records(task, context, reply, pairs, ids, digest=self.prompt.digest)
        self.report.pairs += len(made.rows)
        self.report.broken += len(made.verdicts)
        if self.taken:
            for record in made.records:
                await self.taken(record)
        size = sum(len(image.image) for image in images)
        told = annotations_of(context, ids)
        await self.buffer.put(_Finished(context.id, reply, made, images, told), size)

    def _write(self, finished: list[_Finished]) -> None:
        """Write pictures, the records that name them, and what speaks against these."""
        added = self.store.add_images(image for one in finished for image in one.images)
        for id_ in added.conflicts:
            self.report.note(Problem(id_, "the dataset has another picture of this id; it stays"))
        self.store.add_annotations([told for one in finished for told in one.annotations])
        stored = self.store.add([row for one in finished for row in one.made.rows])
        self.report.differing += len(stored.conflicts)
        self.store.add_verdicts([verdict for one in finished for verdict in one.made.verdicts])
        self.store.try_sync()

    def _noted(self, finished: list[_Finished]) -> None:
        """Note that replies were read, now that their records are stored."""
        self.asker.ledger.read(
            Reading(one.reply.id, len(one.made.rows), context=one.context) for one in finished
        )


def generate(
    job: Job,
    store: Store,
    model: Provider | Endpoints,
    *,
    concurrency: int | None = None,
    budget: float | None = None,
    batch: bool = False,
    replay: bool = False,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Ask about every context, and put the pairs and pictures into the dataset.

    Args:
        job: What to do; with `batch` its contexts are gone through more than once.
        store: The dataset.
        model: Who is asked.
        concurrency: Requests at once, where `model` is a provider.
        budget: USD that the task may have cost in this dataset, earlier runs included.
        batch: Whether to ask through the provider's batches: half the price, within a day.
        replay: Whether to read all stored replies again, and ask nobody.
        progress: Called after each context.

    Raises:
        StopError: the provider will not answer anything, or the budget is used up; what came before is stored.
        LockedError: another process is writing to the dataset.
        TaskError: the task is too long for the model.
        MissingExtraError: there are videos, and nothing to read them with.
    """
    endpoints = as_endpoints(model, job.model, concurrency=concurrency)
    return asyncio.run(
        run(job, store, endpoints, budget=budget, batch=batch, replay=replay, progress=progress)
    )


async def run(
    job: Job,
    store: Store,
    endpoints: Endpoints,
    *,
    budget: float | None = None,
    batch: bool = False,
    replay: bool = False,
    progress: Callable[[Report], None] = lambda report: None,
    taken: Callable[[Instruction], Awaitable[None]] | None = None,
) -> Report:
    """Do what `generate` does, inside a running event loop; `taken` is awaited with each new record."""
    if batch and job.also:
        raise StopError("a batch asks one model; name one")
    report, prompt = Report(), job.prompt()
    with running(
        store, report, prompt, what="generate", model=",".join(job.models), arguments=job.arguments
    ) as (ledger, run_id):

        async def go_through(later: Callable[[Request], Awaitable[None]] | None = None) -> None:
            """Ask about all contexts once, or leave what is not answered for later."""
            limit = budget_of(ledger, prompt.task, budget)
            asker = Asker(
                endpoints,
                ledger,
                report,
                run=run_id,
                samples=job.tries,
                budget=limit,
                later=later,
                again=replay,
                retry_refused=job.retry_refused,
            )
            this = _Run(job, store, asker, report, prompt, taken)

            async def handle(question: _Question) -> None:
                await this.handle(question)
                report.contexts += 1
                progress(report)

            async with this.buffer:
                await work(asker, this.questions(), handle)

        if replay:
            await go_through(_nobody)
        elif batch:
            await _through_batches(job, store, ledger, report, go_through, budget, progress)
        else:
            await go_through()
    return report


async def _nobody(request: Request) -> None:
    """Take a request that is not to be sent."""


async def _through_batches(
    job: Job,
    store: Store,
    ledger: Ledger,
    report: Report,
    go_through: Callable[[Callable[[Request], Awaitable[None]]], Awaitable[None]],
    usd: float | None,
    progress: Callable[[Report], None],
) -> None:
    from syphus.batch import BatchLane

    def show(state: BatchState) -> None:
        report.batches = state
        progress(report)

    with BatchLane(job.model, ledger, report.run, store.path / "ledger", progress=show) as lane:
        while True:
            report.begin_again()
            limit = budget_of(ledger, job.task.name, usd)

            async def later(request: Request) -> None:
                worst = limit.worst(request, batch=True)  # noqa: B023 - used up before the next pass begins
                await limit.reserve(worst)  # noqa: B023
                limit.hold(worst)  # noqa: B023
                lane.put(request)
                await lane.submit_full()

            stopped: BudgetError | None = None
            try:
                await go_through(later)
            except BudgetError as error:
                stopped = error
            if not lane.queued and not lane.open_batches():
                if stopped:
                    raise stopped
                return
            await _settle(lane, report)


async def _settle(lane: BatchLane, report: Report) -> None:
    """Wait for the batches; interrupted, say what becomes of them."""
    try:
        state = await lane.settle()
    except BaseException:
        if parting := lane.parting():
            log.warning("%s", parting)
        raise
    report.asked += state.merged + state.refused + state.again
    report.prompt_tokens += state.prompt_tokens
    report.cached_tokens += state.cached_tokens
    report.completion_tokens += state.completion_tokens
    report.cost_usd += state.cost_usd
