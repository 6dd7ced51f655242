"""What a journal comes to: verdicts, new records, and how far reviewers agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

from mimicit.review.deck import EDIT_UNDONE, EDITED
from mimicit.review.journal import Decision, Journal
from mimicit.schema import REVIEWERS, Instruction, verdict_schema

if TYPE_CHECKING:
    import pyarrow

FILTER = "review"
ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Opinion:
    record: str
    rejects: bool
    reason: str
    time: float


def opinions(journal: Journal) -> list[Opinion]:
    """Return what a reviewer thinks of each record that was decided on, new versions among them."""
    said: dict[str, Opinion] = {}
    for edit in journal.undone:
        if edit.new:
            reason = f"{EDIT_UNDONE}{edit.record}"
            said[edit.new.id] = Opinion(edit.new.id, True, reason, edit.time)
    for decision in journal.standing.values():
        for opinion in _said(decision):
            said[opinion.record] = opinion
    return list(said.values())


def _said(decision: Decision) -> Iterator[Opinion]:
    if decision.new:
        yield Opinion(decision.record, True, f"{EDITED}{decision.new.id}", decision.time)
        yield Opinion(decision.new.id, False, f"edited from {decision.record}", decision.time)
    elif decision.kind == "accept":
        yield Opinion(decision.record, False, decision.reason or ACCEPTED, decision.time)
    else:
        yield Opinion(decision.record, True, decision.reason or "rejected", decision.time)


def made(journal: Journal) -> list[Instruction]:
    """Return the records that edits made, those of undone ones too: what was written is not lost."""
    return [decision.new for decision in journal.made.values() if decision.new]


def recipe_of(name: str) -> str:
    return f"{REVIEWERS}{name}"


def digest_of(said: list[Opinion]) -> str:
    """Return what changes when a reviewer says something else."""
    return blake2b(repr(said).encode(), digest_size=16).hexdigest()


def verdict_table(name: str, said: list[Opinion]) -> pyarrow.Table:
    from mimicit.columns import as_table

    count = len(said)
    columns: dict[str, list[Any]] = {
        "record": [one.record for one in said],
        "filter": [FILTER] * count,
        "reason": [one.reason for one in said],
        "recipe": [recipe_of(name)] * count,
        "recipe_digest": [digest_of(said)] * count,
        "time": [int(one.time * 1e6) for one in said],
        "score": [0.0 if one.rejects else 1.0 for one in said],
        "rejects": [one.rejects for one in said],
    }
    return as_table(columns, verdict_schema())


# Agreement


@dataclass(frozen=True, slots=True)
class Pair:
    """How far two reviewers agree on what both decided on: a record stays as it is, or does not."""

    first: str
    second: str
    records: int
    agreement: float | None
    """Share of the records; None without any."""
    kappa: float | None
    """Cohen's: what of that is more than chance; None where chance alone would agree on everything."""


@dataclass(frozen=True, slots=True)
class Vote:
    by: str
    do: str
    reason: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    record: str
    said: list[Vote]


@dataclass(frozen=True, slots=True)
class Agreement:
    pairs: list[Pair]
    disagreements: list[Disagreement]


def agreement(journals: Mapping[str, Journal], *, most: int | None = None) -> Agreement:
    """Compare reviewers; an edit counts as a reject of what was there.

    Args:
        journals: By reviewer.
        most: Disagreements that are listed.
    """
    said = {
        name: {record: _stands(journal, record) for record in journal.records()}
        for name, journal in journals.items()
    }
    said = {name: one for name, one in said.items() if one}
    pairs = [_pair(a, b, said[a], said[b]) for a, b in combinations(sorted(said), 2)]
    votes: dict[str, list[str]] = {}
    for name in sorted(said):
        for record in said[name]:
            votes.setdefault(record, []).append(name)
    disputed = (
        record
        for record, names in votes.items()
        if len({said[name][record].kind == "accept" for name in names}) > 1
    )
    listed = [
        Disagreement(record, [_vote(name, said[name][record]) for name in votes[record]])
        for record in islice(disputed, most)
    ]
    return Agreement(pairs, listed)


def _stands(journal: Journal, record: str) -> Decision:
    found = journal.about(record)
    assert found is not None
    return found


def _vote(name: str, decision: Decision) -> Vote:
    return Vote(name, decision.kind, decision.reason)


def _pair(first: str, second: str, a: dict[str, Decision], b: dict[str, Decision]) -> Pair:
    both = a.keys() & b.keys()
    votes = [(a[record].kind == "accept", b[record].kind == "accept") for record in both]
    return Pair(first, second, len(votes), *kappa(votes))


def kappa(votes: list[tuple[bool, bool]]) -> tuple[float | None, float | None]:
    """Return which share of two people's votes is the same, and Cohen's kappa."""
    if not votes:
        return None, None
    count = len(votes)
    same = sum(one == other for one, other in votes) / count
    first, second = (sum(vote[at] for vote in votes) / count for at in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    return same, None if chance == 1 else (same - chance) / (1 - chance)
