"""Pairs -> records and verdicts. Pure.

Ids: `<PREFIX>_INS_<context>_<piece of the request's key>_<number>`. A piece of the key keeps ids apart where a context is asked about twice:
by another model, with another prompt, for another sample. `rel_ins_ids` follow the task's strategy: `siblings`, the others about the
same pictures; `turns`, those before it in its conversation; nearest neighbours come later (`syphus data relate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mimicit.schema import Instruction, InstructionRow, Verdict
from syphus.annotations.context import Context
from syphus.forms import Pair
from syphus.ledger import Reply
from syphus.task import Task

_LONGEST = 500
"""Characters of a name without its number; an id may have 512."""


@dataclass(frozen=True)
class Records:
    rows: tuple[InstructionRow, ...]
    verdicts: tuple[Verdict, ...]
    """Against those that break a rule of their task."""

    @cached_property
    def records(self) -> tuple[Instruction, ...]:
        """The rows, for who wants models."""
        return tuple(Instruction(**row._asdict()) for row in self.rows)


def make_records(
    task: Task,
    context: Context,
    reply: Reply,
    pairs: Sequence[Pair],
    image_ids: tuple[str, ...],
    *,
    digest: str,
) -> Records:
    """Make a reply's records; `digest` is the prompt's, whose rules they are judged by.

    Raises:
        ValidationError: a picture or the context has a name that no record can have.
    """
    name, source, request, number = task.name, context.source, reply.request, reply.id
    stem = f"{task.record_prefix}_INS_{context.id}_{request[:6]}"
    ids = [f"{stem}_{at:02d}" for at in range(len(pairs))]
    related = _related(task.related, pairs, ids)
    rows = tuple(
        [
            InstructionRow(
                id_, name, *_texts(task, pair), image_ids, near, "en", source, request, number, None
            )
            for id_, pair, near in zip(ids, pairs, related, strict=True)
        ]
    )
    verdicts = () if task.rules.all_kept(pairs) else _verdicts(task, context, pairs, ids, digest)
    made = Records(rows, verdicts)
    if not _is_right(stem, image_ids):
        assert made.records  # which looks at each field
    return made


def _verdicts(
    task: Task, context: Context, pairs: Sequence[Pair], ids: Sequence[str], digest: str
) -> tuple[Verdict, ...]:
    names = task.rules.names_in(context)
    return tuple(
        Verdict(
            record=id_,
            filter="task_rules",
            reason=broken,
            recipe=f"task:{task.name}",
            recipe_digest=digest,
        )
        for id_, pair in zip(ids, pairs, strict=True)
        if (broken := task.rules.broken(pair, names))
    )


def _is_right(stem: str, image_ids: Sequence[str]) -> bool:
    """Say that nothing is wrong with the names in a record, as nearly always; False where they need a closer look."""
    names = [stem, *image_ids]
    return "".join(names).isprintable() and all(names) and max(map(len, names)) <= _LONGEST


def _texts(task: Task, pair: Pair) -> tuple[str, str]:
    if pair.options:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        listed = [f"{letter}. {option}" for letter, option in zip(letters, pair.options)]  # noqa: B905 - at most 26
        return "\n".join((pair.question, *listed)), listed[pair.options.index(pair.answer)]
    return pair.question or task.reply.question, pair.answer


def _related(strategy: str, pairs: Sequence[Pair], ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for each pair the ids of those that belong to it."""
    if strategy == "siblings":
        return [(*ids[:at], *ids[at + 1 :]) for at in range(len(ids))]
    if strategy != "turns":
        return [()] * len(ids)
    before: dict[int, tuple[str, ...]] = {}
    found = []
    for pair, id_ in zip(pairs, ids, strict=True):
        near = before.get(pair.conversation, ())
        found.append(near)
        before[pair.conversation] = (*near, id_)
    return found
