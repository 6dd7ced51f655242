"""Ratings of records by a model, as verdicts.

    records ─► grouped by what they were made from ─► workers: ask about some pairs at once ─► verdicts, readings

Pairs of one annotation share a question, so that it is paid for once. A pair that a reply leaves out, or rates beyond the scale, is asked about
again without the others. What is judged is skipped: killed at any moment and run again, it goes on, and nothing is paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mimicit.schema import Verdict
from mimicit.store import Store
from syphus.annotations.context import Context, Problem
from syphus.asking import Asker, Tally
from syphus.errors import ProviderError, ReplyError, StopError
from syphus.fit import query_limit
from syphus.judge.ratings import Rating, check_rubric, read_ratings
from syphus.judge.scores import Scores, revise, scores
from syphus.judge.selection import FILTER, Annotated, Counts, Pair, Selection
from syphus.ledger import Ledger, Reading, Reply
from syphus.pacing.endpoints import Endpoints
from syphus.prices import estimate_tokens, price_of
from syphus.providers.base import Provider
from syphus.render import render_prompt, render_request
from syphus.request import Message, Prompt, Request
from syphus.running import Buffer, as_endpoints, budget_of, running, work
from syphus.task import Task

ROUNDS = 3
"""How often one annotation is asked about, at most, for the pairs that were left out before."""
FLUSH_QUESTIONS = 1_000
RATING_TOKENS = 60
"""Of one rating, estimated."""


@dataclass(frozen=True)
class Job:
    """What a run is asked to do."""

    rubric: Task
    """A task of the form `json`; its `max_pairs` is how many pairs one question holds."""
    model: str
    where: str = "true"
    threshold: int = 3
    """A record with a deciding criterion below it is rejected; 0 rejects none."""
    seed: int = 0
    limit: int | None = None
    """Records, about: those of one question are judged together."""
    arguments: Sequence[str] = ()
    """The command line, for the ledger."""

    @property
    def recipe(self) -> str:
        return f"judge:{self.model}"

    def prompt(self) -> Prompt:
        """Render what all its requests begin with.

        Raises:
            TaskError: the rubric does not ask for what a verdict needs.
        """
        check_rubric(self.rubric)
        return render_prompt(self.rubric)

    def selection(self, store: Store, prompt: Prompt) -> Selection:
        return Selection(store, self.where, self.recipe, prompt.digest)

    def request(self, prompt: Prompt, told: Annotated) -> Request:
        """Ask about pairs of one annotation, by their places 1, 2, …"""
        pairs = [
            {"number": number, "question": pair.question, "answer": pair.answer}
            for number, pair in enumerate(told.pairs, start=1)
        ]
        context = Context(told.context, facts={"annotation": told.notes, "pairs": pairs})
        return render_request(self.rubric, prompt, context, model=self.model, seed=self.seed)

    def questions(self, selection: Selection, prompt: Prompt) -> Iterator[Annotated | Problem]:
        """Pass on what one question each can hold."""
        count = 0
        most, room = self.rubric.reply.max_pairs, query_limit(self.rubric, prompt, self.model)
        for told in selection.annotated():
            # Cut before the known ones are taken out: a run that goes on asks the same questions.
            for start in range(0, len(told.pairs), most):
                open_ = tuple(p for p in told.pairs[start : start + most] if not p.known)
                if not open_:
                    continue
                if self.limit is not None and count >= self.limit:
                    return
                count += len(open_)
                yield from self._sized(prompt, replace(told, pairs=open_), room)

    def _sized(self, prompt: Prompt, told: Annotated, room: int) -> Iterator[Annotated | Problem]:
        """Cut a question in two until it fits."""
        size = estimate_tokens(self.request(prompt, told).query)
        if size <= room:
            yield told
        elif len(told.pairs) > 1:
            middle = len(told.pairs) // 2
            for some in (told.pairs[:middle], told.pairs[middle:]):
                yield from self._sized(prompt, replace(told, pairs=some), room)
        else:
            yield Problem(
                told.pairs[0].id,
                f"its annotation is too long: about {size:,} tokens, {size - room:,} more than {room:,}",
            )


@dataclass
class Report(Tally):
    """What became of it."""

    judged: int = 0
    """Records that this run judged."""
    rejected: int = 0
    """Of these."""
    known: int = 0
    """Records judged before, by the same model with the same rubric."""
    unjudgeable: int = 0
    """Records without an annotation."""
    unjudgeable_examples: tuple[str, ...] = ()
    scores: Scores = field(default_factory=Scores)
    """Over all that this model has judged with this rubric, in this run and before."""


@dataclass(frozen=True)
class Plan:
    """What a run would send and cost."""

    records: int
    known: int
    unjudgeable: int
    questions: int
    answered: int
    """Questions whose reply is in the ledger already."""
    prompt_tokens: int
    """Estimated."""
    completion_tokens: int
    """Estimated."""
    cost_usd: float | None
    """Estimated; None where no price is known."""
    problems: list[Problem]
    messages: tuple[Message, ...]
    """The first request, as it would be sent."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """What came of one question, ready to be written."""

    verdicts: tuple[Verdict, ...]
    readings: tuple[Reading, ...]


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self, job: Job, store: Store, ledger: Ledger, asker: Asker, prompt: Prompt, report: Report
    ) -> None:
        self.job = job
        self.store = store
        self.ledger = ledger
        self.asker = asker
        self.prompt = prompt
        self.report = report
        self.buffer = Buffer(self._write, self._noted, count=FLUSH_QUESTIONS)

    async def handle(self, told: Annotated) -> None:
        """Bring the pairs of one question to their end: verdicts, or problems."""
        rated: list[tuple[Pair, Rating]] = []
        readings: list[Reading] = []
        left, problem = told, ""
        for _ in range(ROUNDS):
            try:
                reply, ratings = await self._ask(left)
            except StopError:
                raise
            except (ProviderError, ReplyError) as error:
                problem = str(error)
                break
            if not reply.is_read:
                readings.append(Reading(reply.id, len(ratings)))
            numbered = list(enumerate(left.pairs, start=1))
            rated += [(pair, ratings[number]) for number, pair in numbered if number in ratings]
            rest = tuple(pair for number, pair in numbered if number not in ratings)
            left = replace(left, pairs=rest)
            if not rest:
                break
        for pair in left.pairs:
            self.report.note(Problem(pair.id, problem or f"left out of {ROUNDS} replies"))
        await self._keep(rated, readings)

    async def _ask(self, told: Annotated) -> tuple[Reply, dict[int, Rating]]:
        """Ask about some pairs.

        Raises:
            ReplyError: no reply could be read.
            ProviderError: the model did not answer.
        """

        def read(reply: Reply) -> dict[int, Rating]:
            return read_ratings(reply.text, len(told.pairs))

        answer = await self.asker.ask(self.job.request(self.prompt, told), read)
        if answer.reply is None:
            raise ReplyError(answer.problem, "")
        return answer.reply, answer.value or read(answer.reply)

    async def _keep(
        self, rated: Sequence[tuple[Pair, Rating]], readings: Sequence[Reading]
    ) -> None:
        verdicts = tuple(
            Verdict(
                record=pair.id,
                filter=FILTER,
                reason=rating.said(),
                recipe=self.job.recipe,
                recipe_digest=self.prompt.digest,
                score=rating.score,
                rejects=rating.rejects(self.job.threshold),
            )
            for pair, rating in rated
        )
        self.report.judged += len(verdicts)
        self.report.rejected += sum(verdict.rejects for verdict in verdicts)
        await self.buffer.put(_Finished(verdicts, tuple(readings)))

    def _write(self, finished: list[_Finished]) -> None:
        """Write verdicts."""
        if verdicts := [verdict for one in finished for verdict in one.verdicts]:
            self.store.add_verdicts(verdicts)
        self.store.try_sync()

    def _noted(self, finished: list[_Finished]) -> None:
        """Note that replies were read, now that their verdicts are stored."""
        self.ledger.read(reading for one in finished for reading in one.readings)


def judge(
    job: Job,
    store: Store,
    model: Provider | Endpoints,
    *,
    concurrency: int | None = None,
    budget: float | None = None,
    start: Callable[[Counts], None] = lambda counts: None,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Rate every record that this model has not rated with this rubric.

    Args:
        job: What to do.
        store: The dataset.
        model: The judge.
        concurrency: Questions at once, where `model` is a provider.
        budget: USD that judging may have cost in this dataset, earlier runs included.
        start: Called once, with what there is to do.
        progress: Called after each question.

    Raises:
        StopError: the provider will not answer anything, or the budget is used up; what came before is stored.
        LockedError: another process is writing to the dataset.
        QueryError: the selection is wrong.
        TaskError: the rubric is none, or too long for the model.
    """
    report, prompt = Report(), job.prompt()
    with running(store, report, prompt, what="judge", model=job.model, arguments=job.arguments) as (
        ledger,
        run_id,
    ):
        store.sync()
        selection = job.selection(store, prompt)
        counts = selection.counts()
        report.known, report.unjudgeable = counts.known, counts.unjudgeable
        report.unjudgeable_examples = counts.examples
        start(counts)
        asker = Asker(
            as_endpoints(model, job.model, concurrency=concurrency),
            ledger,
            report,
            run=run_id,
            budget=budget_of(ledger, prompt.task, budget),
        )
        run = _Run(job, store, ledger, asker, prompt, report)

        async def handle(told: Annotated) -> None:
            await run.handle(told)
            progress(report)

        async def every() -> None:
            async with run.buffer:
                await work(asker, _questions(run, selection), handle)

        asyncio.run(every())
        revise(store, job.recipe, prompt.digest, job.threshold)
    report.scores = scores(store, job.recipe, prompt.digest)
    return report


def plan(job: Job, store: Store) -> Plan:
    """Render every question and count, without sending anything.

    Raises:
        QueryError: the selection is wrong.
        TaskError: the rubric is none, or too long for the model.
    """
    prompt = job.prompt()
    selection = job.selection(store, prompt)
    counts = selection.counts()
    prefix = sum(estimate_tokens(message.content) for message in prompt.messages)
    path = store.path / "ledger" / "ledger.sqlite"
    ledger = Ledger(path, read_only=True) if path.exists() else None
    questions = answered = records = tokens = completion = 0
    problems: list[Problem] = []
    messages: tuple[Message, ...] = ()
    for told in job.questions(selection, prompt):
        if isinstance(told, Problem):
            problems.append(told)
            continue
        request = job.request(prompt, told)
        messages = messages or request.messages
        questions += 1
        records += len(told.pairs)
        if ledger and ledger.find([request.key]):
            answered += 1
        else:
            tokens += prefix + estimate_tokens(request.query)
            completion += RATING_TOKENS * len(told.pairs)
    price = price_of(job.model)
    cost = tokens * price.prompt + completion * price.completion if price else None
    return Plan(
        records, counts.known, counts.unjudgeable, questions, answered, tokens, completion, cost,
        problems, messages,
    )  # fmt: skip


def _questions(run: _Run, selection: Selection) -> Iterator[Annotated]:
    """Pass the questions on, and note what no question can hold."""
    for item in run.job.questions(selection, run.prompt):
        if isinstance(item, Problem):
            run.report.note(item)
        else:
            yield item
