"""The loop from annotations to stored pairs.

    contexts ─► workers: find the reply in the ledger, or ask ─► parse ─► buffer ─► pictures, records, readings

It streams: a worker takes the next context when it is free, and what is finished is written every few seconds, so memory does
not grow with the annotations. Killed at any moment it loses no reply (see `syphus.ledger`); run again, it skips what is stored,
parses what was answered, and sends what was not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mimicit.errors import LockedError, PictureError
from mimicit.media import picture
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store
from syphus.annotations.context import Context, Problem
from syphus.errors import ProviderError, ReplyError, StopError
from syphus.ledger import Ledger, Reply
from syphus.pacing import with_retries
from syphus.parse import parse_pairs
from syphus.providers.base import Provider
from syphus.render import render_prompt, render_request
from syphus.request import Completion, Request
from syphus.task import Pair, Task

SAMPLES = 3
"""How often a context is asked about, each time with another seed, until its reply can be read."""
FLUSH_SECONDS = 15.0
FLUSH_RECORDS = 2_000
FLUSH_BYTES = 256 << 20


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


@dataclass
class Report:
    """What became of it."""

    contexts: int = 0
    pairs: int = 0
    """Records that are in the dataset, new or from before."""
    asked: int = 0
    """Requests sent."""
    reused: int = 0
    """Contexts whose reply was in the ledger."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    lost_earlier: int = 0
    """Requests of earlier runs whose fate nobody saw."""
    problems: list[Problem] = field(default_factory=list)
    """The first of them; `problem_count` counts all."""
    problem_count: int = 0

    def note(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < 1_000:
            self.problems.append(problem)


@dataclass(frozen=True)
class _Finished:
    """A context's outcome, ready to be written."""

    reply: Reply
    records: tuple[Instruction, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    problem: str | None = None


class _Run:
    """The state that the workers of one run share."""

    def __init__(self, job: Job, store: Store, provider: Provider, ledger: Ledger) -> None:
        self.job = job
        self.store = store
        self.provider = provider
        self.ledger = ledger
        self.prompt = render_prompt(job.task)
        self.report = Report()
        self.buffer: list[_Finished] = []
        self.buffered_bytes = 0
        self.flushed = time.monotonic()
        self.report.lost_earlier = ledger.counts()["in_flight"]
        ledger.add_prompt(self.prompt)
        self.id = ledger.start_run(task=job.task.name, model=job.model, arguments=job.arguments)

    async def handle(self, context: Context) -> None:
        """Bring one context to its end: stored before, stored now, or a problem."""
        images: tuple[ImageRecord, ...] | None = None
        problem = ""
        for sample in range(SAMPLES):
            request = self._request(context, sample)
            reply = self.ledger.find([request.key]).get(request.key)
            if reply and reply.pairs:
                self.report.reused += 1
                self.report.pairs += reply.pairs
                return
            if reply and reply.problem:
                problem = reply.problem
                continue
            try:
                # A model is not paid for pictures that cannot be used.
                if images is None:
                    images = await asyncio.to_thread(self._pictures, context)
                finished = self._parse(context, reply or await self._ask(request), images)
            except StopError:
                raise
            except (PictureError, ProviderError) as error:
                self.report.note(Problem(context.source, str(error)))
                return
            self.report.reused += reply is not None
            self._keep(finished)
            if not finished.problem:
                return
            problem = finished.problem
        self.report.note(Problem(context.source, f"no readable reply in {SAMPLES}: {problem}"))

    def _request(self, context: Context, sample: int) -> Request:
        return render_request(
            self.job.task,
            self.prompt,
            context,
            model=self.job.model,
            seed=self.job.seed,
            sample=sample,
        )

    async def _ask(self, request: Request) -> Reply:
        sent, started = 0, 0.0

        async def attempt() -> Completion:
            nonlocal sent, started
            sent, started = self.ledger.send(request, self.id), time.monotonic()
            self.report.asked += 1
            try:
                return await self.provider.complete(request)
            except ProviderError as error:
                self.ledger.fail(sent, request, self.id, error)
                raise

        completion = await with_retries(attempt)
        self.report.prompt_tokens += completion.prompt_tokens
        self.report.cached_tokens += completion.cached_tokens
        self.report.completion_tokens += completion.completion_tokens
        self.report.cost_usd += completion.cost_usd or 0.0
        return self.ledger.reply(sent, request, self.id, completion, time.monotonic() - started)

    def _pictures(self, context: Context) -> tuple[ImageRecord, ...]:
        """Read and decode a context's pictures."""
        if self.job.images is None:
            return ()
        return tuple(
            picture.measure(
                picture.read(self.job.images, name),
                id=self._image_id(name),
                name=name,
                source=context.source,
            )
            for name in context.pictures
        )

    def _image_id(self, name: str) -> str:
        return f"{self.job.task.picture_prefix}_IMG_{Path(name).with_suffix('').as_posix()}"

    def _parse(self, context: Context, reply: Reply, images: tuple[ImageRecord, ...]) -> _Finished:
        try:
            pairs = parse_pairs(
                reply.text, shape=self.job.task.shape, finish_reason=reply.finish_reason
            )
        except ReplyError as error:
            return _Finished(reply, problem=str(error))
        records = tuple(self._record(context, reply, n, pair) for n, pair in enumerate(pairs))
        return _Finished(reply, records, images)

    def _record(self, context: Context, reply: Reply, number: int, pair: Pair) -> Instruction:
        # A piece of the request's key keeps ids apart where a context is asked about twice:
        # by another model, with another prompt, for another sample.
        stem = f"{self.job.task.record_prefix}_INS_{context.id}_{reply.request[:6]}"
        return Instruction(
            id=f"{stem}_{number:02d}",
            task=self.job.task.name,
            instruction=pair.question,
            answer=pair.answer,
            image_ids=tuple(self._image_id(name) for name in context.pictures),
            rel_ins_ids=tuple(f"{stem}_{before:02d}" for before in range(number)),
            source=context.source,
            request=reply.request,
            reply=reply.id,
        )

    def _keep(self, finished: _Finished) -> None:
        self.buffer.append(finished)
        self.buffered_bytes += sum(len(image.image) for image in finished.images)
        if (
            len(self.buffer) >= FLUSH_RECORDS
            or self.buffered_bytes >= FLUSH_BYTES
            or time.monotonic() - self.flushed >= FLUSH_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Write what is finished: pictures, then the records that name them, then that they were read."""
        self.flushed = time.monotonic()
        buffer, self.buffer, self.buffered_bytes = self.buffer, [], 0
        if not buffer:
            return
        added = self.store.add_images(image for finished in buffer for image in finished.images)
        for id_ in added.conflicts:
            self.report.note(Problem(id_, "the dataset has another picture of this id; it stays"))
        self.store.add([record for finished in buffer for record in finished.records])
        self.ledger.read(
            (finished.reply.id, len(finished.records) or None, finished.problem)
            for finished in buffer
        )
        self.report.pairs += sum(len(finished.records) for finished in buffer)
        with suppress(LockedError):  # somebody reads the catalog; it is brought up to date later
            self.store.sync(patience=0)


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
    """
    with (
        store.writing("syphus generate"),
        Ledger(store.path / "ledger" / "ledger.sqlite") as ledger,
    ):
        run = _Run(job, store, provider, ledger)
        outcome = "killed"
        try:
            asyncio.run(_work(run, concurrency, progress))
            outcome = "failed in part" if run.report.problem_count else "done"
        except (KeyboardInterrupt, asyncio.CancelledError):
            outcome = "interrupted"
            raise KeyboardInterrupt from None
        except StopError as error:
            outcome = str(error)
            raise
        finally:
            run.flush()
            ledger.end_run(run.id, outcome)
            with suppress(LockedError):
                store.sync()
    return run.report


async def _work(run: _Run, concurrency: int, progress: Callable[[Report], None]) -> None:
    contexts = _contexts(run)

    async def worker() -> None:
        for context in contexts:  # one iterator for all workers: nobody waits for the slowest
            await run.handle(context)
            run.report.contexts += 1
            progress(run.report)

    try:
        async with run.provider, asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        # The first worker that failed says why; the others were cancelled because of it.
        raise errors.exceptions[0] from None


def _contexts(run: _Run) -> Iterator[Context]:
    """Pass the contexts on, and note the rows that are none."""
    for item in run.job.contexts:
        if isinstance(item, Problem):
            run.report.note(item)
        else:
            yield item
