"""The loop from accepted records to records in other languages.

    records ─► chunks ─► workers: ask for the cells that are missing ─► check each one ─► buffer ─► records, readings
                             ▲                                           │
                             └── left out, cut off, or not faithful ─────┘  with what was wrong, some times

A cell is one record in one language. What is there is skipped; what is good in a reply is kept whatever the rest is like; only what is not is
asked for again. Each translation is a record of its own, which names the one that it translates and the reply that it comes from.

Stopped at any moment and run again, a job goes through its rounds as before: what was asked is in the ledger, what was read in the dataset,
and nothing is paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mimicit.schema import Instruction
from mimicit.store import Store
from syphus.annotations.context import Problem
from syphus.asking import Asker
from syphus.errors import ProviderError, RefusedError, ReplyError, StopError
from syphus.ledger import Ledger, Reading, Reply
from syphus.pacing.endpoints import Endpoints
from syphus.providers.base import Provider
from syphus.request import Prompt, Request
from syphus.running import Buffer, as_endpoints, budget_of, running, work
from syphus.translate.cells import Cell, Chunk, Open, Source, group, pack, tokens_of
from syphus.translate.faithful import says_something, unfaithful
from syphus.translate.job import Job, Report
from syphus.translate.reading import Found, read_cells
from syphus.translate.spoken import Ear

__all__ = ["Job", "Report", "translate"]

ROUNDS = 3
"""How often one cell is asked for, at most, each time with what was wrong before."""
FLUSH_REPLIES = 500
LEFT_OUT = "it was left out"
CUT_OFF = "the reply was cut off before it"


@dataclass(frozen=True)
class _Finished:
    """What was read from a reply, ready to be written."""

    reply: Reply
    count: int
    """Good cells, those that were there already among them."""
    records: tuple[Instruction, ...]


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
        self.ear = Ear(job.origin, job.languages)
        self.buffer = Buffer(self._write, self._noted, count=FLUSH_REPLIES)

    async def handle(self, chunk: Chunk) -> None:
        """Bring a chunk's cells to their end: there before, stored now, or a problem."""
        self.report.want(chunk.cells)
        if all(cell.is_there for cell in chunk.cells):
            return
        context = self.job.context_id(self.prompt, chunk)
        open_ = self.job.opened(self.prompt, chunk)
        for attempt in range(ROUNDS):
            if all(one.cell.is_there for one in open_):
                break
            left: list[Open] = []
            for some in group(open_):
                left += await self._ask(context, some, attempt)
            open_ = left
        for one in open_:
            self._miss(one.cell, one.note or CUT_OFF)

    async def _ask(self, context: str, some: Sequence[Open], attempt: int) -> list[Open]:
        """Ask for some cells and keep what is good; return what has to be asked for again."""
        cells, request = self.job.question(self.prompt, context, some, attempt, self._is_known)
        if request is None:
            return []
        rows = list(dict.fromkeys(one.cell.source for one in cells))
        languages = list(dict.fromkeys(one.cell.language for one in cells))

        def read(reply: Reply) -> list[Found]:
            found = read_cells(reply.text, count=len(rows), languages=languages)
            if not found and (not _is_cut(reply) or len(cells) == 1):
                cut = ", and it was cut off" if _is_cut(reply) else ""
                raise ReplyError(f"no whole translation can be read from it{cut}", reply.text)
            return found

        try:
            reply, found = await self._answer(request, read)
        except StopError:
            raise
        except RefusedError as error:
            if len(rows) > 1:  # perhaps because of one of them
                return [replace(one, alone=True, note="") for one in cells]
            return self._give_up(cells, str(error))
        except (ProviderError, ReplyError) as error:
            return self._give_up(cells, str(error))
        numbered = {source: number for number, source in enumerate(rows, start=1)}
        good, left = self._sorted(cells, numbered, found, reply)
        await self._keep(reply, good)
        return left

    async def _answer(
        self, request: Request, read: Callable[[Reply], list[Found]]
    ) -> tuple[Reply, list[Found]]:
        """Return a reply and what is in it, also where it was stored before.

        Raises:
            ReplyError: no reply can be read.
            ProviderError: the model did not answer.
        """
        answer = await self.asker.ask(request, read)
        if answer.reply is None:
            raise ReplyError(answer.problem, "")
        return answer.reply, read(answer.reply) if answer.value is None else answer.value

    def _sorted(
        self,
        cells: Sequence[Open],
        numbered: dict[Source, int],
        found: Sequence[Found],
        reply: Reply,
    ) -> tuple[list[tuple[Cell, Found]], list[Open]]:
        """Tell the good cells of a reply from those to ask for again."""
        offered: dict[tuple[int, str], list[Found]] = {}
        for one in found:
            offered.setdefault((one.number, one.language.code), []).append(one)
        good: list[tuple[Cell, Found]] = []
        left: list[Open] = []
        for open_ in cells:
            cell = open_.cell
            note = "" if _is_cut(reply) else LEFT_OUT
            for one in offered.get((numbered[cell.source], cell.language.code), ()):
                problem = self._problem(cell, one)
                if problem is None:
                    good.append((cell, one))
                    break
                note = problem
            else:
                room = min(open_.room, tokens_of(cells) // 2) if _is_cut(reply) else open_.room
                left.append(replace(open_, note=note, room=room))
        return good, left

    def _problem(self, cell: Cell, found: Found) -> str | None:
        """Say what is wrong with a translation."""
        source, keep = cell.source, self.job.keep
        for name, before, after in (
            ("question", source.question, found.question),
            ("answer", source.answer, found.answer),
        ):
            problem = unfaithful(
                before, after, language=cell.language, origin=self.job.origin, keep=keep
            )
            if problem:
                return f"the {name}: {problem}"
        return self.ear.problem(
            (source.question, source.answer), (found.question, found.answer), cell.language, keep
        )

    def _give_up(self, cells: Sequence[Open], reason: str) -> list[Open]:
        for one in cells:
            self._miss(one.cell, reason)
        return []

    def _miss(self, cell: Cell, reason: str) -> None:
        if not cell.is_there:
            self.report.miss(cell, reason)

    def _is_known(self, key: str) -> bool:
        return bool(self.ledger.find([key]))

    async def _keep(self, reply: Reply, good: Sequence[tuple[Cell, Found]]) -> None:
        records = tuple(_record(cell, one, reply) for cell, one in good if not cell.is_there)
        for cell, _ in good:
            self.report.row(cell.language).new += not cell.is_there
        await self.buffer.put(_Finished(reply, len(good), records))

    def _write(self, finished: list[_Finished]) -> None:
        """Write records."""
        added = self.store.add([record for one in finished for record in one.records])
        for id_ in added.conflicts:
            self.report.note(Problem(id_, "the dataset has another record of this id; it stays"))
        self.store.try_sync()

    def _noted(self, finished: list[_Finished]) -> None:
        """Note that replies were read, now that their records are stored."""
        self.ledger.read(
            Reading(one.reply.id, one.count) for one in finished if not one.reply.is_read
        )


def translate(
    job: Job,
    store: Store,
    model: Provider | Endpoints,
    *,
    concurrency: int | None = None,
    budget: float | None = None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Translate every record of a job into every language that it lacks.

    Args:
        job: What to do.
        store: The dataset.
        model: Who is asked.
        concurrency: Requests at once, where `model` is a provider.
        budget: USD that translating may have cost in this dataset, earlier runs included.
        progress: Called after each chunk of records.

    Raises:
        StopError: the provider will not answer anything, or the budget is used up; what came before is stored.
        LockedError: another process is writing to the dataset.
        QueryError: the selection is wrong.
        TaskError: the prompt is too long for the model.
        MissingExtraError: the package that tells languages apart is not installed.
    """
    report, prompt = Report.of(job.languages), job.prompt()
    with running(
        store, report, prompt, what="translate", model=job.model, arguments=job.arguments
    ) as (ledger, run_id):
        store.sync()
        asker = Asker(
            as_endpoints(model, job.model, concurrency=concurrency),
            ledger,
            report,
            run=run_id,
            budget=budget_of(ledger, prompt.task, budget),
        )
        run = _Run(job, store, ledger, asker, report, prompt)

        async def handle(chunk: Chunk) -> None:
            await run.handle(chunk)
            report.records += len(chunk.sources)
            progress(report)

        async def every() -> None:
            async with run.buffer:
                await work(asker, chunks(job, store, prompt), handle)

        asyncio.run(every())
    return report


def chunks(job: Job, store: Store, prompt: Prompt) -> Iterator[Chunk]:
    """Pack all of a job's records, those that are translated too."""
    return pack(job.sources(store), job.languages, job.room(prompt))


def _is_cut(reply: Reply) -> bool:
    return reply.finish_reason == "length"


def _record(cell: Cell, found: Found, reply: Reply) -> Instruction:
    source, code = cell.source, cell.language.code
    return Instruction(
        id=cell.id,
        task=source.task,
        instruction=found.question if says_something(source.question) else source.question,
        answer=found.answer if says_something(source.answer) else source.answer,
        image_ids=source.image_ids,
        rel_ins_ids=tuple(f"{related}_{code}" for related in source.rel_ins_ids),
        language=code,
        source=source.source,
        request=reply.request,
        reply=reply.id,
        translation_of=source.id,
    )
