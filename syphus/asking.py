"""One question to a model, until its reply can be read: the part that every command which asks has in common.

    in the ledger, and read?   done
    in the ledger?             read it
    else                       send it (paced, with retries), write the reply down, read it
    cannot be read?            show the model its reply and what was wrong, N times at most

Killed at any moment it loses no reply (see `syphus.ledger`). What a model was told after a bad reply follows from that reply, so a
run that goes on asks exactly what the one before would have asked. Where several models share the work, a question that any of
them has answered is answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from syphus.annotations.context import Problem
from syphus.budget import Budget
from syphus.errors import (
    ConnectionLostError,
    ProviderError,
    RefusedError,
    ReplyError,
    TimedOutError,
)
from syphus.ledger import BLOCK, Ledger, Reading, Reply
from syphus.pacing.endpoints import Endpoint, Endpoints
from syphus.request import Completion, Prompt, Request

log = logging.getLogger(__name__)

T = TypeVar("T")

SAMPLES = 3
"""How often a question is asked, each time with another seed, until its reply can be read."""
KEPT_PROBLEMS = 1_000
BYTES_PER_TOKEN = 4
REFUSED_HINT = "(refused before; --retry-refused asks once more)"


@dataclass
class Tally:
    """What became of a run's questions."""

    asked: int = 0
    """Requests sent."""
    reused: int = 0
    """Questions whose reply was in the ledger."""
    unreadable: int = 0
    """Replies that could not be read; each was shown to the model again, as long as that was worth it."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    spent_before_usd: float = 0.0
    """What earlier runs have spent of the budget, where there is one."""
    errors: dict[str, int] = field(default_factory=dict)
    """Requests that got no reply, by the class of their error (`syphus.errors`)."""
    waiting: int = 0
    """Questions that wait in a provider's batch."""
    lost_earlier: int = 0
    """Requests of earlier runs whose fate nobody saw."""
    problems: list[Problem] = field(default_factory=list)
    """The first of them; `problem_count` counts all."""
    problem_count: int = 0
    run: str = ""
    """The run's id, for `syphus runs show`."""

    def note(self, problem: Problem) -> None:
        log.info("%s: %s", problem.where, problem.reason)
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    def count(self, completion: Completion) -> None:
        self.prompt_tokens += completion.prompt_tokens
        self.cached_tokens += completion.cached_tokens
        self.cache_write_tokens += completion.cache_write_tokens
        self.completion_tokens += completion.completion_tokens
        self.reasoning_tokens += completion.reasoning_tokens
        self.cost_usd += completion.cost_usd or 0.0


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of one question."""

    reply: Reply | None = None
    value: T | None = None
    """What was read from the reply; None if nothing could be, or if it was stored before."""
    problem: str = ""
    waits: bool = False
    """Whether it was put into a batch: the reply comes later."""

    @property
    def was_stored(self) -> bool:
        return self.value is None and not self.problem and not self.waits


@dataclass(frozen=True, slots=True)
class Unasked:
    """Stands for a reply that nobody has looked for yet."""


UNASKED = Unasked()


class Asker:
    """Ask the endpoints of a run, and write everything down."""

    def __init__(
        self,
        endpoints: Endpoints,
        ledger: Ledger,
        tally: Tally,
        *,
        run: str,
        samples: int = SAMPLES,
        budget: Budget | None = None,
        later: Callable[[Request], Awaitable[None]] | None = None,
        again: bool = False,
        retry_refused: bool = True,
    ) -> None:
        """Ask through some endpoints.

        Args:
            endpoints: The models, and when the next request may leave.
            ledger: Where everything is written down.
            tally: What is counted.
            run: The run's id.
            samples: How often a question is asked until its reply can be read.
            budget: What may be spent.
            later: Takes requests instead of the endpoints: a batch that is sent when there are no more.
            again: Whether stored replies are read again, whatever was read from them before.
            retry_refused: Whether what an earlier run was refused is asked again.

        Raises:
            StopError: there is a budget, and a model whose price is not known.
        """
        self.endpoints = endpoints
        self.ledger = ledger
        self.tally = tally
        self.run = run
        self.samples = samples
        self.budget = budget or Budget(None)
        self.budget.check(endpoints.models)
        if not tally.asked:
            tally.spent_before_usd = self.budget.spent_usd
        self.later = later
        self.again = again
        self.is_stopping = False
        self._retries_refused = retry_refused
        self._has_refusals = not retry_refused and ledger.has_refusals()
        self._has_batches = bool(ledger.counts()["in_batches"])
        self.sending: set[asyncio.Task[object]] = set()
        """Tasks whose request is on its way: these are awaited when a run stops."""
        self._claimed: dict[str, list[asyncio.Future[None]]] = {}
        self._answered = _Recent(samples * (BLOCK + endpoints.workers))
        self._prefix: tuple[Prompt | None, int] = (None, 0)

    async def ask(
        self,
        request: Request,
        read: Callable[[Reply], T],
        *,
        before: Callable[[], Awaitable[None]] | None = None,
        found: Reply | Unasked | None = UNASKED,
    ) -> Answer[T]:
        """Ask until a reply can be read.

        Args:
            request: The question.
            read: Reads a reply; raises ReplyError where it cannot.
            before: Awaited once, before anything is sent or read: a model is not paid for what cannot be used.
            found: What the ledger has of it, if that is known already.

        Raises:
            ProviderError: the model did not answer.
            MimicitError: `before` failed.
        """
        problem = ""
        for _ in range(self.samples):
            key = request.key
            if key in self._claimed:
                await self._turn(key)
                found = UNASKED
            self._claimed[key] = []
            try:
                reply = self._known(request, found)
                found = UNASKED
                if reply and reply.pairs:
                    self.tally.reused += 1
                    return Answer(reply)
                if reply is None or not reply.problem:
                    if before:
                        await before()
                        before = None
                    if reply:
                        self.tally.reused += 1
                    elif why := self._refused_before(request):
                        raise RefusedError(why)
                    elif self.later or self._is_in_batch(request):
                        if self.later:
                            await self.later(request)
                        self.tally.waiting += 1
                        return Answer(waits=True)
                    else:
                        reply = await self._send(request)
                        self._answered.add(key)
            finally:
                for waiting in self._claimed.pop(key):
                    if not waiting.done():
                        waiting.set_result(None)
            if reply.problem:
                problem = reply.problem
            else:
                try:
                    return Answer(reply, read(reply))
                except ReplyError as error:
                    problem = str(error)
                    self.tally.unreadable += 1
                    self.ledger.read([Reading(reply.id, None, problem)])
            request = self._as_asked(request, reply).again(reply.text, problem)
        return Answer(problem=f"no readable reply in {self.samples}: {problem}")

    def look_up(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Return what the ledger has of some questions, by whichever of the models; for `ask`'s `found`."""
        variants = [self._variants(request) for request in requests]
        replies = iter(self.ledger.answers([one for some in variants for one in some]))
        return [_best([next(replies) for _ in some]) for some in variants]

    def _known(self, request: Request, found: Reply | Unasked | None) -> Reply | None:
        """Return what is known of a question; what was read from it is forgotten where all is to be read again."""
        if isinstance(found, Unasked) or (found is None and request.key in self._answered):
            [found] = self.look_up([request])
        if found and self.again and found.is_read:
            [found] = self.ledger.find([found.request]).values()
            return replace(found, pairs=None, problem=None)
        return found

    def _refused_before(self, request: Request) -> str | None:
        """Return why none of the models will answer a question, if all have said so."""
        if not self._has_refusals:
            return None
        reasons = [self.ledger.refusal(one.key) for one in self._variants(request)]
        return f"{reasons[0]} {REFUSED_HINT}" if all(reasons) else None

    def _is_in_batch(self, request: Request) -> bool:
        """Say whether a provider's batch will answer a question: then it is not asked a second time."""
        return self._has_batches and any(
            self.ledger.is_in_batch(one.key) for one in self._variants(request)
        )

    async def _turn(self, key: str) -> None:
        """Wait until nobody else asks the same: contexts that say the same share a reply."""
        while key in self._claimed:
            waiting = asyncio.get_running_loop().create_future()
            self._claimed[key].append(waiting)
            await waiting

    def _variants(self, request: Request) -> tuple[Request, ...]:
        """Return the question as each of the models would be asked it."""
        models = self.endpoints.models
        if len(models) < 2:
            return (request,)
        return tuple(request if m == request.model else replace(request, model=m) for m in models)

    def _as_asked(self, request: Request, reply: Reply) -> Request:
        """Return the question as the model was asked it that gave this reply."""
        return next((r for r in self._variants(request) if r.key == reply.request), request)

    async def _send(self, request: Request) -> Reply:
        reply: Reply | None = None

        async def attempt(endpoint: Endpoint) -> Completion:
            nonlocal reply
            completion, reply = await self._attempt(endpoint, request)
            return completion

        tokens = self._prompt_tokens(request) + request.sampling.max_tokens
        await self.endpoints.complete(attempt, tokens=tokens)
        assert reply is not None
        return reply

    async def _attempt(self, endpoint: Endpoint, request: Request) -> tuple[Completion, Reply]:
        if self.is_stopping:
            raise asyncio.CancelledError
        if endpoint.model != request.model:
            request = replace(request, model=endpoint.model)
        worst = self.budget.worst(request)
        await self.budget.reserve(worst)
        task = asyncio.current_task()
        assert task
        self.sending.add(task)
        completion = None
        try:
            sent, started = self.ledger.send(request, self.run), time.monotonic()
            self.tally.asked += 1
            try:
                completion = await endpoint.provider.complete(request)
            except ProviderError as error:
                self._failed(sent, request, error, worst)
                raise
            self.budget.learn(request, completion)
            self.budget.settle(worst, completion.cost_usd)
            self.tally.count(completion)
            seconds = time.monotonic() - started
            reply = self.ledger.reply(sent, request, self.run, completion, seconds)
        except asyncio.CancelledError:
            if completion is None:
                self.budget.hold(worst)  # it may be computed all the same
            raise
        finally:
            self.sending.discard(task)
        return completion, reply

    def _failed(self, sent: int, request: Request, error: ProviderError, worst: float) -> None:
        self.ledger.fail(sent, request, self.run, error)
        self._has_refusals |= isinstance(error, RefusedError) and not self._retries_refused
        self.tally.errors[error.kind] = self.tally.errors.get(error.kind, 0) + 1
        log.info("%s: %s: %s", request.context_id, error.kind, error)
        if isinstance(error, TimedOutError | ConnectionLostError):
            self.budget.hold(worst)  # it may have been computed, and billed
        else:
            self.budget.release(worst)

    def _prompt_tokens(self, request: Request) -> int:
        """Guess a request's tokens, for limits that count them."""
        prompt = request.prompt
        if self._prefix[0] is not prompt:
            size = sum(len(message.content.encode()) for message in prompt.messages)
            self._prefix = (prompt, size)
        size = self._prefix[1] + sum(len(message.content) for message in request.repair)
        return (size + len(request.query)) // BYTES_PER_TOKEN + 1


class _Recent:
    """The last so many keys that were answered: what was looked up before may be behind these."""

    def __init__(self, size: int) -> None:
        self._keys: dict[str, None] = {}
        self._size = size

    def add(self, key: str) -> None:
        self._keys[key] = None
        if len(self._keys) > self._size:
            del self._keys[next(iter(self._keys))]

    def __contains__(self, key: object) -> bool:
        return key in self._keys


def _best(replies: Sequence[Reply | None]) -> Reply | None:
    """Return the reply that is of most use: one that was read, else one to read, else one that cannot be read."""
    there = [reply for reply in replies if reply]
    return min(there, key=lambda r: 0 if r.pairs else 2 if r.problem else 1, default=None)
