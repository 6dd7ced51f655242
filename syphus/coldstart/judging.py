"""What another model thinks of the candidates, by the rubric of `syphus judge`.

A rating only helps to sort candidates; people, or a least score, decide. Ratings are in the ledger like all replies: a second run
asks about new candidates only.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean

from syphus.annotations.context import Context, Problem
from syphus.asking import Asker, Tally
from syphus.coldstart.state import Candidate, State
from syphus.errors import ProviderError, ReplyError, StopError
from syphus.judge.ratings import read_ratings
from syphus.ledger import Ledger, Reply
from syphus.pacing.endpoints import Endpoints
from syphus.providers.base import Provider
from syphus.render import render_prompt, render_query, render_request
from syphus.request import Prompt, Request
from syphus.running import as_endpoints, recorded, work
from syphus.task import Task, load_task

RUBRIC = "judge"


@dataclass(frozen=True)
class _Question:
    """Some pairs of a candidate: as many as the rubric takes at once."""

    candidate: Candidate
    request: Request
    pairs: int

    def read(self, reply: Reply) -> list[float]:
        """Return the mean of each pair's marks.

        Raises:
            ReplyError: there are none.
        """
        return [rating.score for rating in read_ratings(reply.text, self.pairs).values()]


def rate(
    task: Task,
    candidates: Sequence[Candidate],
    model: str,
    state: State,
    connect: Callable[[], Provider | Endpoints],
    tally: Tally,
    *,
    arguments: Sequence[str] = (),
    progress: Callable[[int], None] = lambda done: None,
) -> list[Candidate]:
    """Return the candidates with a model's ratings, 1 to 5; one that it did not rate stays as it is.

    Raises:
        StopError: the model will not answer anything.
        TaskError: the rubric is missing or wrong.
    """
    rubric = load_task(RUBRIC)
    prompt = render_prompt(rubric)
    marks: dict[str, list[float]] = defaultdict(list)
    with recorded(state.ledger, tally, prompt, model=model, arguments=arguments) as (ledger, run):
        missing = []
        for question in _questions(task, rubric, prompt, candidates, model):
            stored = _stored(ledger, question)
            marks[question.candidate.key] += stored
            tally.reused += bool(stored)
            missing += [] if stored else [question]
        if missing:
            asker = Asker(as_endpoints(connect(), model), ledger, tally, run=run)

            async def handle(question: _Question) -> None:
                marks[question.candidate.key] += await _ask(asker, question)
                progress(sum(map(bool, marks.values())))

            asyncio.run(work(asker, missing, handle))
    return [
        one.model_copy(update={"rating": round(fmean(marks[one.key]), 2)})
        if marks[one.key]
        else one
        for one in candidates
    ]


async def _ask(asker: Asker, question: _Question) -> list[float]:
    """Ask one question; what comes to nothing is noted."""
    try:
        answer = await asker.ask(question.request, question.read)
    except StopError:
        raise
    except ProviderError as error:
        problem = str(error)
    else:
        if answer.value:
            return answer.value
        problem = answer.problem
    asker.tally.note(Problem(f"the judge of {question.candidate.context.id}", problem))
    return []


def _questions(
    task: Task, rubric: Task, prompt: Prompt, candidates: Sequence[Candidate], model: str
) -> Iterator[_Question]:
    most = rubric.reply.max_pairs
    for candidate in candidates:
        told = render_query(task, candidate.context.context(""))
        for start in range(0, len(candidate.pairs), most):
            pairs = [
                {
                    "number": number,
                    "question": pair.question or task.reply.question,
                    "answer": pair.answer,
                }
                for number, pair in enumerate(candidate.pairs[start : start + most], start=1)
            ]
            context = Context(candidate.key, facts={"annotation": told, "pairs": pairs})
            request = render_request(rubric, prompt, context, model=model, seed=0)
            yield _Question(candidate, request, len(pairs))


def _stored(ledger: Ledger, question: _Question) -> list[float]:
    """Return the ratings that an earlier run was given; none if there are none, or none that can be read."""
    reply = ledger.find([question.request.key]).get(question.request.key)
    with suppress(ReplyError):
        return question.read(reply) if reply else []
    return []
