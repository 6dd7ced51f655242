"""What a run would send and cost, without sending anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from syphus.annotations.context import Problem
from syphus.fit import Cuts
from syphus.generate import Job
from syphus.ledger import Ledger
from syphus.pictures import read_pictures
from syphus.prices import estimate_tokens, price_of
from syphus.render import render_reply
from syphus.request import Message

PICTURE_TOKENS = 765
"""What a picture of 1,024 × 1,024 pixels costs with OpenAI's tiles; others are of that order."""


@dataclass(frozen=True)
class Plan:
    contexts: int
    answered: int
    """Contexts whose reply is in the ledger already."""
    requests: int
    prompt_tokens: int
    """Estimated."""
    completion_tokens: int
    """Estimated from the task's examples."""
    cost_usd: float | None
    """Estimated; None where no price is known."""
    shortened: int
    split: int
    problems: list[Problem]
    messages: tuple[Message, ...]
    """The first request, as it would be sent."""


def plan(job: Job, ledger_path: Path | None) -> Plan:
    """Render every request and count."""
    prompt, cuts = job.prompt(), Cuts()
    prefix = sum(estimate_tokens(message.content) for message in prompt.messages)
    replies = [
        estimate_tokens(render_reply(job.task, example, as_json=job.wants_json))
        for example in job.task.examples
    ]
    reply = sum(replies) // len(replies) if replies else job.task.sampling.max_tokens
    ledger = Ledger(ledger_path, read_only=True) if ledger_path and ledger_path.exists() else None

    contexts = answered = tokens = 0
    problems: list[Problem] = []
    messages: tuple[Message, ...] = ()
    for context in job.fitted(prompt, cuts):
        if isinstance(context, Problem):
            problems.append(context)
            continue
        images = read_pictures(job.task, context, job.images) if job.see else ()
        request = job.request(prompt, context, images)
        messages = messages or request.messages
        contexts += 1
        if ledger and ledger.find([request.key], context.id):
            answered += 1
        else:
            tokens += prefix + estimate_tokens(request.query) + PICTURE_TOKENS * len(images)

    requests, price = contexts - answered, price_of(job.model)
    cost = tokens * price.prompt + requests * reply * price.completion if price else None
    return Plan(
        contexts, answered, requests, tokens, requests * reply, cost,
        cuts.shortened, cuts.split, problems, messages,
    )  # fmt: skip
