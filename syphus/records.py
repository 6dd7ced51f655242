"""Pairs -> records and verdicts. Pure.

Ids: `<PREFIX>_INS_<context>_<piece of the request's key>_<number>`. A piece of the key keeps ids apart where a context is asked about twice:
by another model, with another prompt, for another sample. `rel_ins_ids` follow the task's strategy: `siblings`, the others about the
same pictures; `turns`, those before it in its conversation; nearest neighbours come later (`syphus data relate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mimicit.schema import Instruction, Verdict
from syphus.annotations.context import Context
from syphus.forms import Pair
from syphus.ledger import Reply
from syphus.task import Task


@dataclass(frozen=True)
class Records:
    records: tuple[Instruction, ...]
    verdicts: tuple[Verdict, ...]
    """Against those that break a rule of their task."""


def make_records(
    task: Task,
    context: Context,
    reply: Reply,
    pairs: Sequence[Pair],
    image_ids: tuple[str, ...],
    *,
    digest: str,
) -> Records:
    """Make a reply's records; `digest` is the prompt's, whose rules they are judged by."""
    stem = f"{task.record_prefix}_INS_{context.id}_{reply.request[:6]}"
    names = task.rules.names_in(context)
    records, verdicts = [], []
    for number, pair in enumerate(pairs):
        question, answer = _texts(task, pair)
        related = _related(task.related, pairs, number)
        record = Instruction(
            id=f"{stem}_{number:02d}",
            task=task.name,
            instruction=question,
            answer=answer,
            image_ids=image_ids,
            rel_ins_ids=tuple(f"{stem}_{other:02d}" for other in related),
            source=context.source,
            request=reply.request,
            reply=reply.id,
        )
        records.append(record)
        broken = task.rules.broken(pair, names)
        if broken:
            recipe = f"task:{task.name}"
            verdicts.append(
                Verdict(
                    record=record.id,
                    filter="task_rules",
                    reason=broken,
                    recipe=recipe,
                    recipe_digest=digest,
                )
            )
    return Records(tuple(records), tuple(verdicts))


def _texts(task: Task, pair: Pair) -> tuple[str, str]:
    if pair.options:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        listed = [f"{letter}. {option}" for letter, option in zip(letters, pair.options)]  # noqa: B905 - at most 26
        return "\n".join((pair.question, *listed)), listed[pair.options.index(pair.answer)]
    return pair.question or task.reply.question, pair.answer


def _related(strategy: str, pairs: Sequence[Pair], number: int) -> list[int]:
    if strategy == "siblings":
        return [other for other in range(len(pairs)) if other != number]
    if strategy == "turns":
        own = pairs[number].conversation
        return [before for before in range(number) if pairs[before].conversation == own]
    return []
