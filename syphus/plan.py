"""What a run would send and cost, without sending anything.

Prompts are rendered and counted (`syphus.tokens`): what they share once, the queries one by one. Replies are not there yet. Where the
ledger has some to the same task and model, the next ones will be like them (`syphus.past`); else they are taken to be as long as the
task's examples, which is a guess. Both ways a price comes with the range in which nine of ten runs should end:

    earlier replies   the error of their mean, and 3 % for what no sample shows
    the examples      half to double their length; one in ten asked again; a cache that never helps

A prefix that its provider caches is taken at the cached price from the second request on. The stream is not kept: memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mimicit.errors import PictureError
from mimicit.schema import ImageRecord
from syphus.annotations.context import Problem
from syphus.fit import Cuts
from syphus.generate import Job
from syphus.ledger import Ledger
from syphus.past import Past, past_of
from syphus.pictures import SEEN_PIXELS, read_pictures
from syphus.prices import Facts, Price, facts_of
from syphus.render import render_reply
from syphus.request import Message, Prompt, Request
from syphus.tokens import counter, picture_tokens

BLOCK = 256
"""Keys that are looked up in the ledger at once."""
KEPT_PROBLEMS = 1_000
SHORTEST_CACHED = 1_024
"""Tokens of a prefix that OpenAI and Anthropic cache, where the list of models says nothing else."""
CACHED_BY = ("openai", "azure", "anthropic")
"""Providers that keep a prefix by themselves, or because it is marked for that."""
CACHED_STEP = 128
"""Tokens by which OpenAI's cached prefixes grow."""

_UNSEEN = 0.03
"""Of a cost, what a sample does not show: other annotations than the first ones, a model that changes."""
_PROMPT_ERROR = {True: 0.02, False: 0.2}
"""Of the prompts' tokens, by whether the vocabulary is the model's own."""


@dataclass(frozen=True)
class Plan:
    contexts: int
    answered: int
    """Contexts whose reply is in the ledger already."""
    requests: int
    """Questions to be asked; those asked again because of a bad reply come on top."""
    prompt_tokens: int
    """Expected, those of questions asked again included; so are all figures below."""
    cached_tokens: int
    """Of these, those that are expected at the price of cached ones."""
    completion_tokens: int
    cost_usd: float | None
    """None where no price is known, here and below."""
    cost_low_usd: float | None
    cost_high_usd: float | None
    batch_cost_usd: float | None
    """In the provider's batches; None where it has none."""
    tokenizer: str
    """What prompts were counted with."""
    is_exact: bool
    """Whether that is the model's own."""
    basis: str
    """What the replies' length is taken from: `142 earlier replies`, or `the task's examples`."""
    shortened: int
    split: int
    problems: list[Problem]
    """The first of them; `problem_count` counts all."""
    problem_count: int
    messages: tuple[Message, ...]
    """The first request, as it would be sent."""


def plan(job: Job, ledger_path: Path | None, *, weights: Sequence[float] = ()) -> Plan:
    """Render every request and count.

    Args:
        job: The run.
        ledger_path: The ledger of its dataset, if there is one.
        weights: How its models share the work, where there are several; equally, if not given.
    """
    prompt = job.prompt()
    counts = [_Count(job, prompt, model) for model in job.models]
    pasts: list[Past | None] = [None] * len(counts)
    stream = _Stream(job, prompt)
    with ExitStack() as stack:
        ledger = None
        if ledger_path and ledger_path.exists():
            ledger = stack.enter_context(Ledger(ledger_path, read_only=True))
            pasts = [past_of(ledger_path, prompt, count.model, count.tokens) for count in counts]
        while block := list(islice(stream.requests, BLOCK)):
            answered = _answered(ledger, block, job.also) if ledger else set()
            stream.answered += len(answered)
            for number, (request, pictures) in enumerate(block):
                if number not in answered:
                    for count in counts:
                        count.add(request, pictures)
    priced = [count.priced(past) for count, past in zip(counts, pasts, strict=True)]
    return stream.plan(_shared_out(priced, weights or [1.0] * len(priced)))


_Rendered = tuple[Request, tuple[ImageRecord, ...]]


def _answered(ledger: Ledger, block: Sequence[_Rendered], also: Sequence[str]) -> set[int]:
    """Return the numbers of the requests that have a reply, from any of the models."""
    variants = [
        [request.key, *(replace(request, model=model).key for model in also)]
        for request, _ in block
    ]
    found = ledger.answered([key for keys in variants for key in keys])
    return {number for number, keys in enumerate(variants) if not found.isdisjoint(keys)}


class _Stream:
    """The job's requests, as they pass by."""

    def __init__(self, job: Job, prompt: Prompt) -> None:
        self.job = job
        self.cuts = Cuts()
        self.contexts = self.answered = self.problem_count = 0
        self.problems: list[Problem] = []
        self.messages: tuple[Message, ...] = ()
        self.requests = self._render(prompt)

    def _render(self, prompt: Prompt) -> Iterator[_Rendered]:
        """Render requests, each with the pictures that it shows."""
        job = self.job
        for item in job.rendered(prompt, self.cuts):
            if isinstance(item, Problem):
                self._note(item)
                continue
            context, query = item
            try:
                images = read_pictures(job.task, context, job.images) if job.see else ()
            except PictureError as error:
                self._note(Problem(context.source, str(error)))
                continue
            request = job.request(prompt, context, images, query=query)
            self.contexts += 1
            self.messages = self.messages or request.messages
            yield request, images

    def _note(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    def plan(self, priced: _Priced) -> Plan:
        return Plan(
            contexts=self.contexts,
            answered=self.answered,
            requests=self.contexts - self.answered,
            prompt_tokens=round(priced.prompt_tokens),
            cached_tokens=round(priced.cached_tokens),
            completion_tokens=round(priced.completion_tokens),
            cost_usd=priced.cost,
            cost_low_usd=priced.low,
            cost_high_usd=priced.high,
            batch_cost_usd=priced.batch,
            tokenizer=priced.tokenizer,
            is_exact=priced.is_exact,
            basis=priced.basis,
            shortened=self.cuts.shortened,
            split=self.cuts.split,
            problems=self.problems,
            problem_count=self.problem_count,
            messages=self.messages,
        )


@dataclass(frozen=True)
class _Priced:
    """What one model would be sent, and cost."""

    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float
    cost: float | None
    low: float | None
    high: float | None
    batch: float | None
    tokenizer: str
    is_exact: bool
    basis: str


def _shared_out(priced: Sequence[_Priced], weights: Sequence[float]) -> _Priced:
    """Let models share the work; anything between the cheapest and the dearest of them may come of it."""
    if len(priced) == 1:
        return priced[0]

    def mean(values: Iterable[float]) -> float:
        weighted = zip(values, weights, strict=True)
        return sum(value * weight for value, weight in weighted) / sum(weights)

    def over(
        values: Sequence[float | None], join: Callable[[Sequence[float]], float]
    ) -> float | None:
        known = [value for value in values if value is not None]
        return join(known) if len(known) == len(values) else None

    return _Priced(
        mean(one.prompt_tokens for one in priced),
        mean(one.cached_tokens for one in priced),
        mean(one.completion_tokens for one in priced),
        over([one.cost for one in priced], mean),
        over([one.low for one in priced], min),
        over([one.high for one in priced], max),
        over([one.batch for one in priced], mean),
        ", ".join(dict.fromkeys(one.tokenizer for one in priced)),
        all(one.is_exact for one in priced),
        ", ".join(dict.fromkeys(one.basis for one in priced)),
    )


class _Count:
    """What one model would be sent."""

    def __init__(self, job: Job, prompt: Prompt, model: str) -> None:
        self.job, self.model = job, model
        self.tokens, self.facts = counter(model), facts_of(model)
        self.shared = self.tokens.count_messages(prompt.messages)
        """Tokens of what all requests begin with."""
        self.tiers = [above for above, _ in self.facts.price.tiers] if self.facts.price else []
        self.asked: dict[int, tuple[int, int]] = {}
        """Requests, and the tokens of their prompts, by the limit that they are above."""

    @property
    def questions(self) -> int:
        return sum(requests for requests, _ in self.asked.values())

    @property
    def counted(self) -> int:
        return sum(tokens for _, tokens in self.asked.values())

    def add(self, request: Request, pictures: Iterable[ImageRecord]) -> None:
        size = self.shared + self.tokens.per_message + self.tokens.count(request.query)
        size += sum(_picture_tokens(self.model, image) for image in pictures)
        tier = next((above for above in self.tiers if size > above), 0)
        requests, tokens = self.asked.get(tier, (0, 0))
        self.asked[tier] = (requests + 1, tokens + size)

    def priced(self, past: Past | None) -> _Priced:
        expected, price = _expected(self, past), self.facts.price
        cost = low = high = batch = None
        if price:
            cost = expected.usd(price, self.asked)
            low = expected.low.usd(price, self.asked) if expected.low else cost
            high = expected.high.usd(price, self.asked) if expected.high else cost
            if price.batch:
                batch = replace(expected, cached=0, written=0).usd(price.batch, self.asked)
        prompt = self.counted * expected.prompt
        return _Priced(
            prompt, prompt * expected.cached, self.questions * expected.reply, cost, low, high, batch,
            self.tokens.name, self.tokens.is_exact, expected.basis,
        )  # fmt: skip


@dataclass(frozen=True)
class _Expected:
    """What is expected of requests that were counted."""

    prompt: float
    """The prompts' tokens, as a multiple of those that were counted."""
    cached: float
    """Of these, the share that is cached."""
    written: float
    """Of these, the share that is kept for later requests, where that has a price."""
    reply: float
    """Tokens of the replies to one question."""
    basis: str = ""
    low: _Expected | None = None
    high: _Expected | None = None

    def usd(self, price: Price, asked: dict[int, tuple[int, int]]) -> float:
        total = 0.0
        for tier, (requests, tokens) in asked.items():
            prompt = tokens * self.prompt
            total += replace(price.at(tier + 1), tiers=()).cost(
                prompt,
                requests * self.reply,
                cached=prompt * self.cached,
                cache_write=prompt * self.written,
            )
        return total


def _expected(count: _Count, past: Past | None) -> _Expected:
    if past is None:
        return _from_examples(count)
    cached, written = _caching(count) if past.cached is None else (past.cached, past.written)
    error, prompt = past.error(count.questions), past.prompt
    if past.billed is not None and not past.is_measured and count.counted:  # with pictures
        prompt = past.billed * count.questions / count.counted
    mean = _Expected(prompt, cached, written, past.reply, f"{past.replies:,} earlier replies")
    unsure = _UNSEEN if past.is_measured else _UNSEEN + _PROMPT_ERROR[count.tokens.is_exact]
    low = replace(mean, prompt=prompt * (1 - unsure), reply=past.reply * (1 - _UNSEEN) - error)
    high = replace(mean, prompt=prompt * (1 + unsure), reply=past.reply * (1 + _UNSEEN) + error)
    return replace(mean, low=replace(low, reply=max(low.reply, 0.0)), high=high)


def _from_examples(count: _Count) -> _Expected:
    """Expect replies like the task's examples: a guess, so the range is wide."""
    job, most = count.job, count.job.task.sampling.max_tokens
    lengths = [
        count.tokens.count(render_reply(job.task, example, as_json=job.wants_json))
        for example in job.task.examples
    ]
    reply = min(sum(lengths) / len(lengths), most) if lengths else most
    cached, written = _caching(count)
    basis = "the task's examples" if lengths else "the longest reply that the task allows"
    error = _PROMPT_ERROR[count.tokens.is_exact]
    return _Expected(
        1.0, cached, written, reply, basis,
        low=_Expected(1.0 - error, cached, written, reply / 2),
        high=_Expected((1.0 + error) * 1.1, 0.0, 0.0, min(reply * 2, most) * 1.1),
    )  # fmt: skip


def _caching(count: _Count) -> tuple[float, float]:
    """Return the shares of the prompts' tokens that a provider should have cached, and have kept for that."""
    facts, total = count.facts, count.counted
    shared = _cacheable(count.shared, facts)
    if not shared or not total:
        return 0.0, 0.0
    written = shared if facts.price and facts.price.cache_write is not None else 0
    return shared * (count.questions - 1) / total, written / total


def _cacheable(shared: int, facts: Facts) -> int:
    """Return how many tokens of what requests share their provider caches."""
    if facts.provider not in CACHED_BY or not facts.price or facts.price.cached is None:
        return 0
    if shared < (facts.cached_from or SHORTEST_CACHED):
        return 0
    return shared if facts.provider == "anthropic" else shared // CACHED_STEP * CACHED_STEP


def _picture_tokens(model: str, image: ImageRecord) -> int:
    """Count a picture as it is shown, which is smaller than it may be stored."""
    shrunk = min(1.0, SEEN_PIXELS / max(image.width, image.height))
    return picture_tokens(model, round(image.width * shrunk), round(image.height * shrunk))
