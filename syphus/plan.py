"""What a run would send and cost, without sending anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from syphus.annotations.context import Problem
from syphus.generate import Job
from syphus.ledger import Ledger
from syphus.prices import estimate_tokens, price_of
from syphus.render import render_pairs, render_prompt, render_request
from syphus.request import Message


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
    problems: list[Problem]
    messages: tuple[Message, ...]
    """The first request, as it would be sent."""


def plan(job: Job, ledger_path: Path | None) -> Plan:
    """Render every request and count."""
    prompt = render_prompt(job.task)
    prefix = sum(estimate_tokens(message.content) for message in prompt.messages)
    replies = [estimate_tokens(render_pairs(example.pairs)) for example in job.task.examples]
    reply = sum(replies) // len(replies) if replies else job.task.sampling.max_tokens
    ledger = Ledger(ledger_path) if ledger_path and ledger_path.exists() else None

    contexts = answered = tokens = 0
    problems: list[Problem] = []
    messages: tuple[Message, ...] = ()
    for context in job.contexts:
        if isinstance(context, Problem):
            problems.append(context)
            continue
        request = render_request(job.task, prompt, context, model=job.model, seed=job.seed)
        messages = messages or request.messages
        contexts += 1
        if ledger and ledger.find([request.key]):
            answered += 1
        else:
            tokens += prefix + estimate_tokens(request.query)

    requests, price = contexts - answered, price_of(job.model)
    cost = tokens * price.prompt + requests * reply * price.completion if price else None
    return Plan(contexts, answered, requests, tokens, requests * reply, cost, problems, messages)
