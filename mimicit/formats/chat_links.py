"""Which records a record is related to, and which one it translates, as columns of a chat.

    "rel_ins_ids": ["LACONV_INS_1_00"], "translation_of": "LACONV_INS_2_00"                of a single question
    "rel_ins_ids": [["LACONV_INS_1_00"], []], "translation_of": ["LACONV_INS_2_00", null]  of a conversation of two turns

A row has them only where there is something to say. What is called so and holds something else is a column like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.formats.exporting import Conversation
from mimicit.schema import ImageRecord, Instruction

_NAMES = ("rel_ins_ids", "translation_of")
_KEYS = tuple(f'"{name}"' for name in _NAMES)

SQL = (
    """if(len(rel_ins_ids) = 0, '', concat(',"rel_ins_ids":', to_json(rel_ins_ids))), """
    """',"translation_of":' || to_json(translation_of)::VARCHAR"""
)
"""`links` of a single question, as parts of an SQL `concat`."""


def links(conversation: Conversation) -> dict[str, Any]:
    """Return the columns that a row has."""
    found: dict[str, Any] = {}
    if any(conversation.rel_ins_ids):
        found["rel_ins_ids"] = [list(one) for one in conversation.rel_ins_ids]
    if any(one is not None for one in conversation.translation_of):
        found["translation_of"] = list(conversation.translation_of)
    single = conversation.record_ids == (conversation.id,)
    return {name: values[0] for name, values in found.items()} if single else found


def linked(
    items: Iterator[Instruction | ImageRecord | BadRow],
) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Give the records of a file what their columns say, which its reader left in the meta of a first turn.

    Raises:
        FormatError: of the reader.
    """
    turns: list[Instruction] = []
    try:
        for item in items:
            if isinstance(item, Instruction):
                if turns and item.conversation == turns[0].conversation:
                    turns.append(item)
                    continue
                yield from _linked(turns)
                turns = []
                if item.meta and any(key in item.meta for key in _KEYS):
                    turns = [item]
                    if item.conversation is not None:
                        continue
                    yield from _linked(turns)
                    turns = []
                    continue
            yield item
    except FormatError:
        yield from _linked(turns)
        raise
    yield from _linked(turns)


def _linked(turns: list[Instruction]) -> list[Instruction]:
    if not turns:
        return []
    meta = json.loads(turns[0].meta or "{}")
    given = {name: meta.pop(name) for name in _NAMES if name in meta}
    if turns[0].conversation is None:
        given = {name: [value] for name, value in given.items()}
    left = json.dumps(meta, ensure_ascii=False, sort_keys=True) if meta else None
    if not all(isinstance(one, list) and len(one) == len(turns) for one in given.values()):
        return turns
    try:
        return [
            Instruction.model_validate(
                one.model_dump()
                | {name: values[turn] for name, values in given.items()}
                | ({"meta": left} if turn == 0 else {})
            )
            for turn, one in enumerate(turns)
        ]
    except ValidationError:
        return turns
