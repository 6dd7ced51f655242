"""Rows with one answer and whether people liked it, as KTO learns from: `prompt`, `completion`, `label`.

    true and false of one prompt     one record: the liked answer, and the other one as `rejected`
    true alone                       a plain record, whose meta says {"label": true}
    false alone                      a record whose meta says {"label": false}, and a verdict that rejects it

So every row is in the dataset. `answer` is what trainers teach and what exports write, and a record with a mark in its meta would be taught by
whoever does not look there; as an `answer` that is empty, with the text in `rejected`, it would be a record without a text. A verdict keeps it
out of both without a word lost; the view `rejected` shows it with its reason.

The two rows of a prompt may be far apart: `trl` puts a thousand liked ones before their thousand others. Rows wait for theirs, some
thousands at a time and without their pictures; one that waited too long is alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from mimicit.formats.exporting import Conversation
from mimicit.known import Known
from mimicit.parts import parts_of, read_columns
from mimicit.schema import Verdict
from mimicit.store import Store

WAITING = 4_096
"""Rows."""
WAITING_LETTERS = 32 << 20
FILTER = "disliked"
LABEL = "label"
OF_REJECTED = "of_rejected"
"""Key in `meta` of what the row of the rejected answer has beside, where it is not what the other one has."""


class Row(NamedTuple):
    conversation: Conversation
    liked: bool
    prompt: str
    """Digest of all but the answer, and of the pictures."""
    letters: int


class Opinions:
    """Rows of one file that wait for the other opinion about an answer to their prompt."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._by_opinion: dict[tuple[str, bool], list[int]] = {}
        self._next = self._letters = 0

    def add(
        self, conversation: Conversation, liked: bool, pictures: Sequence[str]
    ) -> Iterator[Row]:
        """Take a row, and yield those that wait no more; two that belong together are one, which is liked.

        Args:
            conversation: What the row says.
            liked: Its last answer.
            pictures: SHA-256 of those that it shows.
        """
        row = Row(conversation, liked, _prompt(conversation, pictures), _letters(conversation))
        other = self._other(row)
        if other is not None:
            good, bad = (row, other) if liked else (other, row)
            yield good._replace(conversation=_paired(good.conversation, bad.conversation))
            return
        self._rows[self._next] = row
        self._by_opinion.setdefault((row.prompt, liked), []).append(self._next)
        self._next += 1
        self._letters += row.letters
        while len(self._rows) > WAITING or self._letters > WAITING_LETTERS:
            yield self._take(next(iter(self._rows)))

    def rest(self) -> Iterator[Row]:
        while self._rows:
            yield self._take(next(iter(self._rows)))

    def _other(self, row: Row) -> Row | None:
        """Take the first row out that has the other opinion of another answer."""
        answer = row.conversation.turns[-1].answer
        for number in self._by_opinion.get((row.prompt, not row.liked), ()):
            if self._rows[number].conversation.turns[-1].answer != answer:
                return self._take(number)
        return None

    def _take(self, number: int) -> Row:
        row = self._rows.pop(number)
        same = self._by_opinion[row.prompt, row.liked]
        same.remove(number)
        if not same:
            del self._by_opinion[row.prompt, row.liked]
        self._letters -= row.letters
        return row


def verdicts(conversation: Conversation) -> Iterator[Verdict]:
    """Reject all turns of a conversation whose last answer was not liked."""
    for id_ in conversation.record_ids:
        yield Verdict(
            record=id_,
            filter=FILTER,
            reason="people did not like this answer, and there is no better one",
            recipe=FILTER,
            recipe_digest="1",
        )


class Verdicts:
    """Verdicts that an import meets, on their way into the dataset; a record that was read before has its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Verdict] = []
        self._judged: Known | None = None

    def add(self, verdict: Verdict) -> None:
        self._waiting.append(verdict)

    def write(self) -> None:
        """Write those that are new; before their records, so that none of these is accepted meanwhile."""
        if not self._waiting:
            return
        verdicts, self._waiting = self._waiting, []
        if self._judged is None:
            self._judged = Known()
            for batch in read_columns(
                parts_of(self._store.path / "verdicts"), ["record", "recipe"]
            ):
                rows = zip(batch["record"].to_pylist(), batch["recipe"].to_pylist(), strict=True)
                self._judged.note(record for record, recipe in rows if recipe == FILTER)
        known = self._judged.among(verdict.record for verdict in verdicts)
        self._store.add_verdicts([one for one in verdicts if one.record not in known])
        self._judged.note(verdict.record for verdict in verdicts)


def _paired(liked: Conversation, other: Conversation) -> Conversation:
    *before, last = liked.turns
    last = replace(last, rejected=other.turns[-1].answer)
    meta, beside = _unlabelled(liked.meta), _unlabelled(other.meta)
    if beside != meta:
        meta = {**meta, OF_REJECTED: beside}
    return replace(liked, turns=(*before, last), meta=meta)


def _unlabelled(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name != LABEL}


def _prompt(conversation: Conversation, pictures: Sequence[str]) -> str:
    *before, last = conversation.turns
    said = [(turn.instruction, turn.answer) for turn in before]
    whole = [
        conversation.task, conversation.language, conversation.meta.get("system"), said, last.instruction, *pictures
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:32]


def _letters(conversation: Conversation) -> int:
    texts = sum(len(turn.instruction) + len(turn.answer) for turn in conversation.turns)
    return texts + len(str(conversation.meta))
