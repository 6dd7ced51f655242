"""What pages ask of the room. Nothing in here knows of HTTP; methods may be called from threads.

Each reviewer has a place in a deck of records. What a record looks like comes from the catalog; what reviewers think of it comes from
their journals, so that a decision counts at once, whatever the catalog is doing.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice, pairwise
from typing import Any

from mimicit.errors import DatasetError, LockedError, MimicitError
from mimicit.review.deck import Deck, Wanted, draw
from mimicit.review.journal import MOST_TEXT, Decision, Journal, journal_path, journals
from mimicit.review.opinions import agreement, recipe_of
from mimicit.review.reading import Card, Facts, Reader
from mimicit.review.versions import Versions, edited
from mimicit.schema import REVIEWERS, Instruction
from mimicit.store import Store

DECKS = 4
"""In memory; others are drawn again."""
AHEAD = 32
"""Records that are read before they are asked for."""
AT_ONCE = 4
"""Of these."""
PAUSE = 300.0
"""Seconds without a decision that are no work."""
_VERSION = re.compile(r"(.*)~(\d+)", re.DOTALL)


class NoDeckError(MimicitError):
    """A page asks for a deck that is no longer in memory; it draws it again."""


class ConflictError(MimicitError):
    """Somebody else edited the record meanwhile."""

    def __init__(self, others: list[Facts]) -> None:
        who = ", ".join(sorted({str(one["by"]) for one in others}))
        super().__init__(f"{who} edited this record meanwhile; look at both, and decide")
        self.others = others


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reviewer is."""

    name: str
    deck: str | None = None
    at: int | None = None


class Room:
    def __init__(self, store: Store) -> None:
        """Open the room of a dataset; its catalog is up to date."""
        self.store = store
        self.reader = Reader(store)
        self.journals = journals(store.path)
        self.versions = Versions(self.journals)
        self.unsaved = 0
        """Lines of journals since they were last brought in."""
        self._places: dict[str, Place] = {}
        """Where each reviewer was last."""
        self._decks: OrderedDict[str, Deck] = OrderedDict()
        self._deciding = threading.RLock()

    # Where a reviewer is

    def journal(self, name: str) -> Journal:
        """Return a reviewer's journal; of a new one there is no file before the first decision.

        Raises:
            DatasetError: this cannot be a name, or one of somebody else.
        """
        path = journal_path(self.store.path, name)
        with self._deciding:
            if path.stem not in self.journals:
                self._must_differ(path.stem)
            return self.journals.setdefault(path.stem, Journal(path))

    def _must_differ(self, name: str) -> None:
        """Refuse a name where some systems would write into another reviewer's file."""
        for other, journal in self.journals.items():
            if other.casefold() == name.casefold() and journal.path.exists():
                raise DatasetError(
                    f"there is a reviewer {other!r}; write it so, or take another name"
                )

    def sit_down(self, name: str, wanted: Wanted) -> Facts:
        """Draw a deck, and say where its first undecided record is.

        Raises:
            QueryError: its predicate is wrong.
        """
        journal = self.journal(name)
        deck = draw(self.store.catalog_path, wanted)
        with self._deciding:
            self._decks[deck.key] = deck
            while len(self._decks) > DECKS:
                self._decks.popitem(last=False)
        return {"deck": deck.key, "at": self._open(deck, journal, -1)} | self._progress(
            deck, journal
        )

    def record(self, place: Place, id: str | None = None) -> Facts:
        """Return the record at a place of a deck, or one by its id.

        Raises:
            DatasetError: there is none.
            LockedError: another process has the catalog.
        """
        journal = self.journal(place.name)
        deck = self._deck(place.deck) if place.deck else None
        card = self._card(deck, place.at, id)
        facts = self._found(card)
        found = facts | self._opinions(facts, journal)
        if deck:
            at = place.at if id is None else deck.place(id)
            if at is not None:
                self._places[journal.name] = Place(journal.name, deck.key, at)
            found |= {"at": at, "open": self._open(deck, journal, -1 if at is None else at)}
            found |= self._progress(deck, journal)
        return found | {"unsaved": self.unsaved, "can_undo": journal.last() is not None}

    def read_ahead(self) -> None:
        """Read what reviewers may ask for next, a little at a time.

        A locked catalog is left alone, and so is one that cannot be read: who asks for a record is told.
        """
        import duckdb

        with suppress(LockedError, duckdb.Error):
            self.reader.make_index()
            while cards := self._missing():
                self.reader.read(cards)

    def _missing(self) -> list[Card]:
        """Return what is to be read next, for the reviewer with the least in memory; nothing, where all have enough."""
        least: list[Card] = []
        for place in list(self._places.values()):
            deck = self._decks.get(place.deck or "")
            if deck is None or place.at is None:
                continue
            coming = self._coming(deck, self.journal(place.name), place.at)
            cards: list[Card] = [deck.card(at) for at in coming]
            missing = [card for card in cards if not self.reader.has(card[1])]
            is_near = any(not self.reader.has(id) for _, id in cards[: AHEAD // 2])
            if is_near and len(missing) > len(least):
                least = missing
        return least[:AT_ONCE]

    def close(self) -> None:
        """Let nothing be read ahead any more, and go from the catalog."""
        self._places.clear()
        self.reader.close()

    def origin(self, id: str) -> Facts:
        return self.reader.origin(id) or {}

    def agreement(self, *, most: int = 200) -> Facts:
        with self._deciding:
            return asdict(agreement(self.journals, most=most))

    # Decisions

    def accept(self, place: Place, record: str) -> Facts:
        self._found((None, record))
        return self._decide(place, "accept", record)

    def reject(self, place: Place, record: str, reason: str) -> Facts:
        self._found((None, record))
        if not reason.strip():
            raise DatasetError("say why: choose one of the usual reasons, or type one")
        return self._decide(place, "reject", record, reason=_text("the reason", reason))

    def edit(
        self, place: Place, record: str, instruction: str, answer: str, seen: Sequence[str]
    ) -> Facts:
        """Make a new version of a record.

        Args:
            place: The editor's.
            record: Id of what is edited.
            instruction: The new question.
            answer: The new answer.
            seen: The versions that were made of it, as far as the editor knows.

        Raises:
            ConflictError: there are others; they are not to be overlooked.
            DatasetError: the texts cannot be those of a record, or it is to be there once.
        """
        old = self._found((None, record))
        texts = {
            "instruction": _text("the question", instruction),
            "answer": _text("the answer", answer),
        }
        if all(old[name] == text for name, text in texts.items()):
            raise DatasetError("nothing was changed; to keep the record as it is, accept it")
        with self._deciding:
            versions = self.versions.of(record)
            if unseen := [one for one in versions if one["id"] not in seen]:
                raise ConflictError(unseen)
            if versions and old["conversation"]:
                raise DatasetError(
                    f"a conversation has each turn once; edit its new version {versions[-1]['id']!r}"
                )
            new = edited(old, texts, self._next_id(record), self.journal(place.name).name)
            return self._decide(place, "edit", record, new=new)

    def undo(self, place: Place) -> Facts:
        """Take a reviewer's last decision back, and say where its record is.

        Raises:
            DatasetError: there is nothing to be taken back.
        """
        journal = self.journal(place.name)
        with self._deciding:
            decision = journal.undo(time.time())
            if decision is None:
                raise DatasetError("there is nothing to be taken back")
            self.unsaved += 1
            self._mark(decision.record)
        deck = self._decks.get(place.deck or "")
        at = deck.place(decision.record) if deck else None
        later = self.versions.of(decision.new.id) if decision.new else []
        return {"record": decision.record, "undone": decision.kind, "at": at, "later": later}

    def _decide(
        self, place: Place, kind: Any, record: str, reason: str = "", new: Instruction | None = None
    ) -> Facts:
        journal = self.journal(place.name)
        with self._deciding:
            if edits := journal.edits_of(record):
                # Or what was edited, and what it was edited to, would both be accepted.
                raise DatasetError(
                    f"you edited this record; decide about its new version {_made(edits)!r}"
                )
            journal.decide(time.time(), kind, record, reason, new)
            self.unsaved += 1
            self._mark(record)
        deck = self._decks.get(place.deck or "")
        found: Facts = {"saved": True, "new": new.id if new else None}
        if deck:
            at = -1 if place.at is None else place.at
            found |= {"open": self._open(deck, journal, at)} | self._progress(deck, journal)
        return found

    # What is known of a record

    def _deck(self, key: str) -> Deck:
        deck = self._decks.get(key)
        if deck is None:
            raise NoDeckError("this selection is no longer in memory; it is made again")
        return deck

    def _card(self, deck: Deck | None, at: int | None, id: str | None) -> Card:
        if id is not None:
            return None, id
        if deck is None or at is None or not 0 <= at < len(deck):
            raise DatasetError("there is no record at this place")
        return deck.card(at)

    def _found(self, card: Card) -> Facts:
        """Return a record; one that an edit made is in its journal before it is in the dataset."""
        facts, id = self.reader.get(card), card[1]
        newer: list[Instruction] = []
        while facts is None:
            made = self.versions.made(id)
            if made is None or made[1].new is None or made[1].new in newer:
                raise DatasetError(f"there is no record {card[1]!r}")
            newer.append(made[1].new)
            id = made[1].record
            facts = self.reader.get((None, id))
        if newer:
            facts = facts | newer[0].model_dump(mode="json") | {"verdicts": []}
        return facts

    def _opinions(self, facts: Facts, journal: Journal) -> Facts:
        id = facts["id"]
        mine = journal.about(id)
        by_name = list(self.journals.items())
        others = [
            _opinion(name, decision)
            for name, other in by_name
            if name != journal.name and (decision := other.about(id))
        ]
        told = {recipe_of(name) for name, _ in by_name}  # better than the catalog has it
        verdicts = [one for one in facts["verdicts"] if one["recipe"] not in told]
        by_people = [one for one in verdicts if one["recipe"].startswith(REVIEWERS)]
        return {
            "mine": _opinion(journal.name, mine) if mine else None,
            "others": others + [_told(one) for one in by_people],
            "versions": self.versions.of(id),
            "edited_from": self.versions.origin(id),
            "verdicts": [one for one in verdicts if one not in by_people],
            "turns": self.versions.turns(facts["turns"], id),
        }

    def _next_id(self, id: str) -> str:
        """Return the id of the next version: `ID~2`, then `ID~3`, whichever of them is edited."""
        match = _VERSION.fullmatch(id)
        base, number = (match[1], int(match[2])) if match else (id, 1)
        while True:
            number += 1
            new = f"{base}~{number}"
            if self.versions.made(new) is None and self.reader.get((None, new)) is None:
                return new

    # How far a reviewer is

    def _done_of(self, deck: Deck, journal: Journal) -> set[int]:
        """Return the places of a deck that need no decision of a reviewer: decided on, or edited by anybody."""
        with self._deciding:
            if journal.name not in deck.done:
                by_edits = (
                    edit.record for other in self.journals.values() for edit in other.edits()
                )
                deck.done[journal.name] = deck.places([*journal.records(), *by_edits])
            return deck.done[journal.name]

    def _mark(self, record: str) -> None:
        """Note in all decks whether a record needs a decision."""
        is_edited = bool(self.versions.of(record))
        for deck in self._decks.values():
            at = deck.place(record) if deck.done else None
            if at is None:
                continue
            for name, done in deck.done.items():
                if is_edited or self.journals[name].about(record):
                    done.add(at)
                else:
                    done.discard(at)

    def _open(self, deck: Deck, journal: Journal, after: int) -> int | None:
        """Return the next undecided place, from the beginning again after the last one."""
        done = self._done_of(deck, journal)
        if len(done) >= len(deck):
            return None
        places = chain(range(max(after + 1, 0), len(deck)), range(len(deck)))
        return next((at for at in places if at not in done), None)

    def _coming(self, deck: Deck, journal: Journal, at: int) -> list[int]:
        """Return the places that may be asked for next: those that follow, and those that follow and are undecided."""
        done = self._done_of(deck, journal)
        near = list(range(at + 1, min(at + 1 + AHEAD // 2, len(deck))))
        open_ = islice((one for one in range(at + 1, len(deck)) if one not in done), AHEAD)
        return list(dict.fromkeys([*near, *open_]))[:AHEAD]

    def _progress(self, deck: Deck, journal: Journal) -> Facts:
        done = len(self._done_of(deck, journal))
        return {"of": len(deck), "done": done, "per_hour": _rate(journal.recent())}


def _opinion(name: str, decision: Decision) -> Facts:
    new = decision.new.id if decision.new else None
    return {"by": name, "do": decision.kind, "reason": decision.reason, "new": new}


def _told(verdict: Facts) -> Facts:
    """Return the opinion of a reviewer whose journal is not here."""
    return {
        "by": verdict["recipe"].removeprefix(REVIEWERS),
        "do": "reject" if verdict["rejects"] else "accept",
        "reason": verdict["reason"],
        "new": None,
    }


def _made(edits: Sequence[Decision]) -> str:
    """Return the id of what the last of some edits made."""
    new = edits[-1].new
    return new.id if new else ""


def _text(what: str, text: str) -> str:
    """Return a text that a record can hold.

    Raises:
        DatasetError: it cannot.
    """
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise DatasetError(f"{what} is empty; write it, or reject the record")
    if len(text) > MOST_TEXT:
        raise DatasetError(f"{what} has {len(text):,} characters; {MOST_TEXT:,} is most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{what} holds half of a character; type it again") from None
    return text


def _rate(times: Sequence[float]) -> float | None:
    """Return decisions an hour, pauses left out."""
    gaps = [b - a for a, b in pairwise(times) if 0 <= b - a < PAUSE]
    return 3600 * len(gaps) / sum(gaps) if gaps and sum(gaps) > 0 else None
