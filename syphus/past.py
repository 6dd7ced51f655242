"""What the ledger can say of a task's next replies: how long, how often asked for again, how much of a prompt was cached.

The newest replies to the same task and model stand for the next ones. Where they came of the same prompt, their prompts' tokens, as
the provider counted them, are set against our own count of the same text; what a vocabulary that is not the model's own gets
wrong is then right on average, and so is what a provider adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mimicit.ledger_files import open_ledger
from syphus.request import Prompt
from syphus.tokens import Counter

ENOUGH = 8
"""Replies that say more than the task's examples."""
SAMPLE = 1_000
"""The newest so many are looked at."""
_NINE_OF_TEN = 1.645
"""Standard errors to each side that hold nine of ten."""
_DECILES = 2.563
"""Standard deviations between the first and the last tenth, where lengths are spread normally."""

_REPLIES = """
    SELECT q.prompt, q.context, q.sample, q.query, q.parameters LIKE '%"pictures"%' AS seen,
           r.prompt_tokens, r.cached_tokens, r.completion_tokens,
           {written} AS written
    FROM replies AS r JOIN requests AS q ON q.key = r.request
    WHERE q.model = ? AND q.prompt IN (SELECT digest FROM prompts WHERE task = ?)
    ORDER BY r.id DESC LIMIT ?
"""


class _Row(NamedTuple):
    prompt: str
    context: str
    sample: int
    query: str
    seen: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    written: int


@dataclass(frozen=True)
class Past:
    replies: int
    prompt: float
    """Tokens of all prompts of one question, as a multiple of what is counted for its first."""
    reply: float
    """Tokens of all replies to one question."""
    deviation: float
    """Of `reply`, from one question to the next."""
    questions: int
    cached: float | None
    """Of the prompts' tokens, the share that was cached; None where other prompts were sent, and below."""
    written: float
    billed: float | None
    """Tokens of all prompts of one question, as the provider counted them."""
    is_measured: bool
    """Whether `prompt` says how the provider counts; else only how often it was asked again."""

    def error(self, questions: int) -> float:
        """Return by how much the mean of so many questions may differ from `reply`."""
        spread = math.sqrt(1 / self.questions + 1 / max(questions, 1))
        return _NINE_OF_TEN * self.deviation * spread


def past_of(path: Path, prompt: Prompt, model: str, tokens: Counter) -> Past | None:
    """Read what a ledger says of a task and a model; None where it has too few replies."""
    rows = _rows(path, prompt.task, model)
    if len(rows) < ENOUGH:
        return None
    lengths: dict[str, int] = {}
    for row in rows:
        lengths[row.context] = lengths.get(row.context, 0) + row.completion_tokens
    values = sorted(lengths.values())
    asked = len(rows) / len(values)
    same = [row for row in rows if row.prompt == prompt.digest and row.prompt_tokens]
    ratio = _counted(same, prompt, tokens)
    billed = sum(row.prompt_tokens for row in same)
    # Those that came first found no cache: the newer half shows how it goes on.
    newer = same[: (len(same) + 1) // 2]
    newer_billed = sum(row.prompt_tokens for row in newer)
    return Past(
        replies=len(rows),
        prompt=asked if ratio is None else ratio,
        reply=sum(values) / len(values),
        deviation=(_at(values, 0.9) - _at(values, 0.1)) / _DECILES,
        questions=len(values),
        cached=sum(row.cached_tokens for row in newer) / newer_billed if newer_billed else None,
        written=sum(row.written for row in newer) / newer_billed if newer_billed else 0.0,
        billed=billed / len({row.context for row in same}) if same else None,
        is_measured=ratio is not None,
    )


def _counted(rows: Sequence[_Row], prompt: Prompt, tokens: Counter) -> float | None:
    """Return what all prompts of questions were billed as, over what is counted for their first ones."""
    first = [row for row in rows if row.sample == 0 and not row.seen]
    if len(first) < ENOUGH or any(row.seen for row in rows):
        return None
    shared = tokens.count_messages(prompt.messages) + tokens.per_message
    counted = sum(shared + tokens.count(row.query) for row in first)
    return sum(row.prompt_tokens for row in rows) / counted


def _rows(path: Path, task: str, model: str) -> list[_Row]:
    with open_ledger(path) as connection:
        there = {row[1] for row in connection.execute("PRAGMA table_info(replies)")}
        # A ledger that was begun before this column, and is only read, does not have it.
        written = "coalesce(r.cache_write_tokens, 0)" if "cache_write_tokens" in there else "0"
        query = _REPLIES.format(written=written)
        return [_Row(*row) for row in connection.execute(query, [model, task, SAMPLE])]


def _at(values: Sequence[int], share: float) -> int:
    """Return the value below which such a share of the sorted ones is."""
    return values[min(int(share * len(values)), len(values) - 1)]
