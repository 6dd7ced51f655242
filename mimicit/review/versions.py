"""What edits made of records, as the journals know it at the moment.

An edit makes a version of a record, which can be edited further. Journals may be a stranger's, so whoever follows versions from one to
the next minds that they may lead back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mimicit.errors import DatasetError
from mimicit.review.journal import Decision, Journal
from mimicit.schema import Instruction

Facts = dict[str, Any]
_TEXTS = ("id", "instruction", "answer")


class Versions:
    def __init__(self, journals: Mapping[str, Journal]) -> None:
        """Follow some journals, by reviewer; there may be more of them later."""
        self._journals = journals

    def of(self, id: str) -> list[Facts]:
        """Return what edits made of a record, whoever did; those that were undone are no more."""
        return [
            {"id": edit.new.id, "by": name, "time": edit.time}
            | {"instruction": edit.new.instruction, "answer": edit.new.answer}
            for name, journal in list(self._journals.items())
            for edit in journal.edits_of(id)
            if edit.new
        ]

    def made(self, id: str) -> tuple[str, Decision] | None:
        """Return who made a record by which edit, if it was made so."""
        for name, journal in list(self._journals.items()):
            if id in journal.made:
                return name, journal.made[id]
        return None

    def origin(self, id: str) -> Facts | None:
        """Return what a record was edited from, by whom, and whether that was undone."""
        made = self.made(id)
        if made is None:
            return None
        name, edit = made
        is_undone = edit.number not in self._journals[name].standing
        return {"id": edit.record, "by": name, "undone": is_undone}

    def is_newest(self, id: str) -> bool:
        origin = self.origin(id)
        return not self.of(id) and not (origin and origin["undone"])

    def turns(self, turns: list[Facts], shown: str) -> list[Facts]:
        """Return a conversation with the newest versions of its turns, and the one that is shown, whatever became of it.

        Args:
            turns: As the catalog has them; versions that are not in it yet stand behind what they were made of.
            shown: Id of a record.
        """
        known = {turn["id"] for turn in turns}
        return [
            one
            for turn in turns
            for one in (turn, *self._later(turn, known))
            if one["id"] == shown or self.is_newest(one["id"])
        ]

    def _later(self, turn: Facts, known: set[str]) -> list[Facts]:
        """Return the versions of a turn, and theirs, which are not known; then they are."""
        found = [turn]
        for one in found:  # which grows
            for version in self.of(one["id"]):
                if version["id"] not in known:
                    known.add(version["id"])
                    found.append(one | {name: version[name] for name in _TEXTS})
        return found[1:]


def edited(old: Facts, texts: dict[str, str], id: str, name: str) -> Instruction:
    """Return the new version: everything of the old one but the texts, and where it comes from.

    Raises:
        DatasetError: its id would be too long.
    """
    import orjson
    from pydantic import ValidationError

    try:
        meta = orjson.loads(old["meta"] or "{}")
    except orjson.JSONDecodeError:
        meta = None
    meta = meta if isinstance(meta, dict) else {"meta": old["meta"]}
    meta |= {"edited_from": old["id"], "edited_by": name}
    fields = {field: old[field] for field in Instruction.model_fields if field in old}
    changed = {"id": id, "meta": orjson.dumps(meta).decode()}
    try:
        return Instruction.model_validate(fields | texts | changed)
    except ValidationError:
        raise DatasetError(f"a new version of {old['id']!r} would have too long an id") from None
