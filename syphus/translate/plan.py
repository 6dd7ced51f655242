"""What a translation would send and cost, without sending anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimicit.store import Store
from syphus.ledger import Ledger
from syphus.prices import estimate_tokens, price_of
from syphus.request import Message
from syphus.translate import Job, chunks
from syphus.translate.cells import group, tokens_of


@dataclass(frozen=True)
class Plan:
    records: int
    wanted: int
    """Translations: records times languages."""
    there: int
    """Of these, those that are in the dataset."""
    requests: int
    answered: int
    """Requests of this job whose reply is in the ledger already."""
    prompt_tokens: int
    """Estimated."""
    completion_tokens: int
    """Estimated, rather high; what has to be asked for again comes on top."""
    cost_usd: float | None
    """Estimated; None where no price is known."""
    messages: tuple[Message, ...]
    """The first request, as it would be sent."""


def plan(job: Job, store: Store) -> Plan:
    """Render every request and count.

    Raises:
        QueryError: the selection is wrong.
        TaskError: the prompt is too long for the model.
    """
    prompt = job.prompt()
    prefix = sum(estimate_tokens(message.content) for message in prompt.messages)
    path = store.path / "ledger" / "ledger.sqlite"
    ledger = _Known(path) if path.exists() else None
    records = wanted = there = requests = answered = tokens = completion = 0
    messages: tuple[Message, ...] = ()
    for chunk in chunks(job, store, prompt):
        cells = list(chunk.cells)
        records += len(chunk.sources)
        wanted += len(cells)
        there += sum(cell.is_there for cell in cells)
        if all(cell.is_there for cell in cells):
            continue
        context = job.context_id(prompt, chunk)
        for some in group(job.opened(prompt, chunk)):
            asked, request = job.question(prompt, context, some, 0, ledger or _nothing)
            if request is None:
                continue
            messages = messages or request.messages
            if ledger and ledger(request.key):
                answered += 1
                continue
            requests += 1
            tokens += prefix + estimate_tokens(request.query)
            completion += tokens_of(asked)
    price = price_of(job.model)
    cost = tokens * price.prompt + completion * price.completion if price else None
    return Plan(
        records, wanted, there, requests, answered, tokens, completion, cost, messages,
    )  # fmt: skip


class _Known:
    """Whether a request is in the ledger."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path, read_only=True)

    def __call__(self, key: str) -> bool:
        return bool(self.ledger.find([key]))


def _nothing(key: str) -> bool:
    return False
