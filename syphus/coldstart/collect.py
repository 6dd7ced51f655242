"""Ask about a sample of contexts, without examples.

A context's place in the sample follows from the seed and its id alone. So the sample of 40 begins with the sample of 20, whatever the
order of the file: asking about more contexts pays only for those that are new.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from syphus.annotations.context import Context, Problem
from syphus.asking import Asker, Tally
from syphus.coldstart.examples import notes_of
from syphus.coldstart.state import Candidate, State
from syphus.errors import ProviderError, StopError
from syphus.fit import Cuts
from syphus.forms import Pair
from syphus.generate import Job
from syphus.ledger import Reading, Reply
from syphus.pacing.endpoints import Endpoints
from syphus.parse import parse_pairs
from syphus.providers.base import Provider
from syphus.render import render_query
from syphus.request import Prompt, Request
from syphus.running import as_endpoints, recorded, work
from syphus.task import Task

KEPT_UNUSABLE = 3


@dataclass
class Collected(Tally):
    """What was asked about, and what became of it."""

    contexts: int = 0
    """In the sample."""
    finished: int = 0
    usable: int = 0
    """Contexts of the file that the task can use."""
    unusable: int = 0
    """Rows that it cannot."""
    first_unusable: list[Problem] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """Of the sample's candidates, whether a reply came or not."""


def without_examples(job: Job) -> Job:
    return replace(job, task=replace(job.task, examples=(), example_names=()))


def collect(
    job: Job,
    count: int,
    state: State,
    connect: Callable[[], Provider | Endpoints],
    *,
    progress: Callable[[Collected], None] = lambda collected: None,
) -> Collected:
    """Ask about `count` contexts, without the task's examples, and keep what can be read as candidates.

    Nothing is connected to where all of them were answered before.

    Raises:
        StopError: the provider will not answer anything; what came before is kept.
        TaskError: the task is too long for the model.
    """
    job = without_examples(job)
    prompt, collected = job.prompt(), Collected()
    chosen = sample(job.fitted(prompt, Cuts()), count, job.seed, collected)
    # As they will be in an example, so that the model is asked about exactly that.
    contexts = [notes_of(context).context(context.source) for context in chosen]
    requests = [(context, question(job, prompt, context)) for context in contexts]
    collected.contexts = len(contexts)
    collected.keys = [request.key for _, request in requests]
    known = state.candidates()
    missing = [(context, request) for context, request in requests if request.key not in known]
    collected.finished = len(requests) - len(missing)
    if missing:
        with recorded(
            state.ledger, collected, prompt, model=job.model, arguments=job.arguments
        ) as (ledger, run):
            asker = Asker(as_endpoints(connect(), job.model), ledger, collected, run=run)
            one = _Asked(job.task, state, asker, collected, progress)
            asyncio.run(work(asker, missing, one.handle))
    return collected


def sample(
    items: Iterable[Context | Problem], count: int, seed: int, collected: Collected
) -> list[Context]:
    """Choose `count` contexts at random in one pass, those of the lowest ranks, and count what cannot be used."""
    kept: list[tuple[int, int, Context]] = []
    for place, item in enumerate(items):
        if isinstance(item, Problem):
            collected.unusable += 1
            if len(collected.first_unusable) < KEPT_UNUSABLE:
                collected.first_unusable.append(item)
            continue
        collected.usable += 1
        entry = (-_rank(seed, item.id), -place, item)  # no two have the same place
        if len(kept) < count:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)
    return [context for *_, context in sorted(kept, reverse=True)]


def _rank(seed: int, id_: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{id_}".encode(), digest_size=8).digest())


def question(job: Job, prompt: Prompt, context: Context) -> Request:
    """Render a context's request.

    What a task draws for a query is drawn as it will be when the context is an example: by the seed 0.
    """
    return replace(job.request(prompt, context), query=render_query(job.task, context))


class _Asked:
    """The state that the workers share."""

    def __init__(
        self,
        task: Task,
        state: State,
        asker: Asker,
        collected: Collected,
        progress: Callable[[Collected], None],
    ) -> None:
        self.task = task
        self.state = state
        self.asker = asker
        self.collected = collected
        self.progress = progress

    async def handle(self, asked: tuple[Context, Request]) -> None:
        context, request = asked
        await self._ask(context, request)
        self.collected.finished += 1
        self.progress(self.collected)

    async def _ask(self, context: Context, request: Request) -> None:
        try:
            answer = await self.asker.ask(request, self._pairs)
        except StopError:
            raise
        except ProviderError as error:
            self.collected.note(Problem(context.source, str(error)))
            return
        if answer.reply is None:
            self.collected.note(Problem(context.source, answer.problem))
            return
        # A reply that was read before, whose candidate is gone, is read once more.
        pairs = answer.value or self._pairs(answer.reply)
        self.state.add(
            Candidate(
                key=request.key,
                request=answer.reply.request,
                model=request.model,
                context=notes_of(context),
                pairs=pairs,
            )
        )
        self.asker.ledger.read([Reading(answer.reply.id, len(pairs))])

    def _pairs(self, reply: Reply) -> tuple[Pair, ...]:
        task = self.task
        return parse_pairs(
            reply.text, shape=task.shape, form=task.reply.form, finish_reason=reply.finish_reason
        )
