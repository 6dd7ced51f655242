"""The results of a batch, into the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from syphus.batch.endpoint import Endpoint, expired
from syphus.batch.journal import Journal
from syphus.batch.state import Batch, Remote
from syphus.errors import ProviderError, RefusedError
from syphus.request import Completion

_TURN = 256
"""Results after which other work gets its turn."""


@dataclass
class Merged:
    """What a batch brought."""

    replies: int = 0
    refused: int = 0
    given_up: int = 0
    """Requests that failed as often as they may."""
    again: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    first_refusal: str = ""

    def detail(self) -> str:
        """Write it down for the ledger."""
        return orjson.dumps({k: v for k, v in asdict(self).items() if v}).decode()

    def count(self, completion: Completion) -> None:
        self.replies += 1
        self.prompt_tokens += completion.prompt_tokens
        self.cached_tokens += completion.cached_tokens
        self.completion_tokens += completion.completion_tokens
        self.cost_usd += completion.cost_usd or 0.0


class Failures:
    """Which requests failed in batches of this run, and may not be asked again, or only so often."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self._count: dict[str, int] = {}
        self._final: dict[str, ProviderError] = {}
        self._texts: dict[str, ProviderError] = {}

    def note(self, key: str, error: ProviderError) -> bool:
        """Return whether the request may be asked again."""
        error = self._texts.setdefault(str(error), error)  # most failures say the same
        self._count[key] = self._count.get(key, 0) + 1
        if isinstance(error, RefusedError) or self._count[key] >= self.tries:
            self._final[key] = error
            return False
        return True

    def final(self, key: str) -> ProviderError | None:
        return self._final.get(key)


async def merge(
    journal: Journal,
    endpoint: Endpoint,
    batch: Batch,
    remote: Remote,
    path: Path,
    failures: Failures,
) -> Merged:
    """Write a batch's results to the ledger, each once, even when the run is killed on the way."""
    from syphus.prices import cost_of

    ledger, run = journal.ledger, journal.run
    waiting, merged = journal.unsettled(batch), Merged()

    def fail(key: str, sent: int, error: ProviderError) -> None:
        ledger.note_failure(sent, key, run, error)
        if failures.note(key, error):
            merged.again += 1
        elif isinstance(error, RefusedError):
            merged.refused += 1
            merged.first_refusal = merged.first_refusal or str(error)
        else:
            merged.given_up += 1

    for number, line in enumerate(_lines(path)):
        key, outcome = _read(endpoint, line)
        sent = waiting.pop(key, None)
        if sent is None:  # merged before the run was killed
            continue
        if isinstance(outcome, Completion):
            cost = cost_of(batch.model, outcome, batch=True)
            outcome = replace(outcome, cost_usd=cost)
            seconds = remote.seconds or 0.0
            ledger.note_reply(sent, key, run, outcome, seconds, batch=batch.id)
            merged.count(outcome)
        else:
            fail(key, sent, outcome)
        if number % _TURN == 0:
            await asyncio.sleep(0)
    missing = expired("ended")
    for key, sent in waiting.items():
        fail(key, sent, missing)
    ledger.commit()
    return merged


def _read(endpoint: Endpoint, line: dict[str, Any]) -> tuple[str, Completion | ProviderError]:
    """Read one result; one that cannot be read is that request's failure, and not the others'."""
    try:
        return endpoint.read(line)
    except ProviderError as error:
        return str(line.get("custom_id")), error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = f"the result cannot be understood: {type(error).__name__}: {error}"
        return str(line.get("custom_id")), RefusedError(problem[:500])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    # Not by `splitlines`: a reply may hold U+2028, which is no end of a line here.
    with path.open("rb") as file:
        for line in file:
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(found, dict):
                yield found
