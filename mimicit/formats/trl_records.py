"""Rows that say something and show pictures, as records, and conversations as such rows.

A row is one of a Parquet file (`trl`) or the object of a tar file (`webdataset`). Ours hold, beside what is said (`trl_messages`):

    id, task, language         of the conversation
    image_ids                  of the pictures, in the order in which the row shows them
    record_ids                 of its turns; by this key a row is known to be ours, and its ids are taken as they are
    rel_ins_ids, translation_of    other records that its turns name (`trl_references`), where they do
    meta                       a JSON object

Of another row `task`, `language` and `id` are taken where they are there, and every key that is not read is kept in `meta`. Ids are made
of the row's own or of its content, and of a picture's bytes: neither names of files nor numbers of rows are one's own in the world.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from mimicit.errors import FormatError, PictureError
from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.exporting import Conversation
from mimicit.formats.set_records import RECENT
from mimicit.formats.set_rows import RowError
from mimicit.formats.trl_kto import Opinions, Row, verdicts
from mimicit.formats.trl_messages import Said, messages_of, said
from mimicit.formats.trl_references import Names, names_of
from mimicit.media import picture
from mimicit.schema import ImageRecord, Instruction, Verdict

Item = Instruction | ImageRecord | Verdict | BadRow

MOST_DEPTH = 50
SHOWN = frozenset(("image", "images"))
EARLIER = "rejected_before"
"""Key in `meta` of answers that were liked less than others than the last: {turn: answer}."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*")


class Reader:
    """Makes records of the rows of one file."""

    def __init__(self, short: str, name: str, options: ReadOptions) -> None:
        """Keep what all rows share.

        Args:
            short: Begins the ids that are made here: TRL.
            name: Of the format, and so of the task where nobody says another.
            options: What the user says.
        """
        self._short = short
        self._task = options.task or name
        self._language = options.language
        self._recent: dict[str, str] = {}
        self._opinions = Opinions()

    def to_end(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield what is read of a file, and at its end, wherever that is, the rows that waited for others."""
        try:
            yield from items
        except FormatError:
            yield from _told(self._opinions.rest())
            raise
        yield from _told(self._opinions.rest())

    def records(
        self, where: str, row: Mapping[str, Any], pictures: Sequence[bytes], *, key: str = ""
    ) -> list[Item]:
        """Return a row's pictures, those that were not just given out, and its records, or those of rows that waited.

        Args:
            where: The row, for messages and as the records' source.
            row: What it holds.
            pictures: What it shows, encoded.
            key: Of the row in its file, where it has one.

        Raises:
            RowError: it cannot be used, whole.
        """
        ours = row.get("record_ids") is not None
        heard = said(row, len(pictures), ours=ours)
        hashes = [hashlib.sha256(data).hexdigest() for data in pictures]
        if ours:
            conversation = self._ours(row, heard, len(pictures))
        else:
            conversation = self._another(row, heard, hashes, key)
        names = names_of(row, len(heard.turns)) if ours else [Names()] * len(heard.turns)
        conversation = replace(conversation, source=where)
        try:
            shown = list(self._shown(where, conversation.image_ids, pictures, hashes))
            records: list[Item] = list(_records(conversation, names))
        except ValidationError as error:
            first = error.errors()[0]
            raise RowError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except PictureError as error:
            raise RowError(str(error)) from None
        self._remember(conversation.image_ids, hashes)
        if heard.liked is not None and not ours:
            records = list(_told(self._opinions.add(conversation, heard.liked, hashes)))
        return [*shown, *records]

    def _ours(self, row: Mapping[str, Any], heard: Said, pictures: int) -> Conversation:
        record_ids, image_ids = _ids(row["record_ids"]), _ids(row.get("image_ids") or [])
        if len(record_ids) != len(heard.turns):
            raise RowError("`record_ids` are not as many as its turns")
        if len(image_ids) != pictures:
            raise RowError("`image_ids` are not as many as its pictures")
        meta = _object(row.get("meta"))
        earlier = _object(meta.pop(EARLIER, None))
        turns = [
            replace(turn, rejected=earlier.get(str(number), turn.rejected))
            for number, turn in enumerate(heard.turns)
        ]
        return Conversation(
            id=row.get("id") or record_ids[0],
            task=row.get("task") or self._task,
            language=row.get("language") or self._language,
            image_ids=tuple(image_ids),
            turns=tuple(turns),
            meta=_with_system(heard.system, meta),
            record_ids=tuple(record_ids),
            source=None,
        )

    def _another(
        self, row: Mapping[str, Any], heard: Said, hashes: Sequence[str], key: str
    ) -> Conversation:
        task, language, own = row.get("task"), row.get("language"), row.get("id")
        used = {*heard.used, *SHOWN, "id"}
        if isinstance(task, str) and task:
            used.add("task")
        if isinstance(language, str) and _LANGUAGE.fullmatch(language):
            used.add("language")
        meta = {name: _plain(value) for name, value in row.items() if name not in used}
        content = _digest(heard, hashes)
        if isinstance(own, str | int) and own != "":
            id_ = f"{self._short}_INS_{own}"
            if heard.liked is False:  # two answers to one question may have its id
                id_ = f"{id_}_{content}"
        else:
            id_ = "_".join(filter(None, (f"{self._short}_INS", key, content)))
        many = len(heard.turns) > 1
        return Conversation(
            id=id_,
            task=task if "task" in used and isinstance(task, str) else self._task,
            language=str(language) if "language" in used else self._language,
            image_ids=tuple(f"{self._short}_IMG_{sha256[:24]}" for sha256 in hashes),
            turns=heard.turns,
            meta=_with_system(
                heard.system, {k: v for k, v in meta.items() if v not in (None, "", [], {})}
            ),
            record_ids=tuple(f"{id_}_{n:02d}" for n in range(len(heard.turns))) if many else (id_,),
            source=None,
        )

    def _shown(
        self, where: str, ids: Sequence[str], pictures: Sequence[bytes], hashes: Sequence[str]
    ) -> Iterator[ImageRecord]:
        for id_, data, sha256 in zip(ids, pictures, hashes, strict=True):
            if self._recent.get(id_) != sha256:
                yield picture.measure(data, id=id_, name=where, source=where)

    def _remember(self, ids: Sequence[str], hashes: Sequence[str]) -> None:
        self._recent |= zip(ids, hashes, strict=True)
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]


def _records(conversation: Conversation, names: Sequence[Names]) -> Iterator[Instruction]:
    alone = conversation.record_ids == (conversation.id,)
    meta = json.dumps(conversation.meta, ensure_ascii=False) if conversation.meta else None
    turns = zip(conversation.record_ids, conversation.turns, names, strict=True)
    for number, (id_, turn, named) in enumerate(turns):
        yield Instruction(
            id=id_,
            task=conversation.task,
            language=conversation.language,
            instruction=turn.instruction,
            answer=turn.answer,
            rejected=turn.rejected,
            image_ids=conversation.image_ids,
            rel_ins_ids=named.related,
            translation_of=named.original,
            source=conversation.source,
            conversation=None if alone else conversation.id,
            turn=None if alone else number,
            meta=meta if number == 0 else None,
        )


def _told(rows: Iterator[Row]) -> Iterator[Item]:
    """Yield the records of rows with an opinion; what keeps them out comes before them."""
    for conversation, liked, *_ in rows:
        if not liked:
            yield from verdicts(conversation)
        yield from _records(conversation, [Names()] * len(conversation.turns))


def _with_system(system: str | None, meta: dict[str, Any]) -> dict[str, Any]:
    return meta if system is None else {"system": system, **meta}


def _ids(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise RowError("`record_ids` or `image_ids` is no list of texts")
    return value


def _object(value: Any) -> dict[str, Any]:
    import orjson

    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise RowError("`meta` is no JSON") from None
    if value is not None and not isinstance(value, dict):
        raise RowError("`meta` is no object")
    return {name: _plain(one) for name, one in (value or {}).items()}


def _plain(value: Any, depth: int = MOST_DEPTH) -> Any:
    """Make JSON of what a table may hold beside: dates and decimals become text, no number nothing."""
    if not depth:
        raise RowError(f"a value nested more than {MOST_DEPTH} deep")
    if isinstance(value, dict):
        return {str(name): _plain(one, depth - 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, depth - 1) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _digest(heard: Said, hashes: Sequence[str]) -> str:
    texts = [(turn.instruction, turn.answer, turn.rejected) for turn in heard.turns]
    content = json.dumps([heard.system, texts, hashes])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


# Writing


def row_of(conversation: Conversation, *, cut: bool) -> dict[str, Any]:
    """Return a conversation as a row, without its pictures.

    Args:
        conversation: One with a better and a worse last answer becomes `prompt`, `chosen` and `rejected`.
        cut: Write another as `prompt` and `completion`, not as `messages`: then only its last answer is learned from.
    """
    meta = dict(conversation.meta)
    system = meta.pop("system", None)
    if system is not None and not isinstance(system, str):
        meta["system"], system = system, None
    *before, last = conversation.turns
    earlier = {
        str(number): turn.rejected
        for number, turn in enumerate(before)
        if turn.rejected is not None
    }
    if earlier:
        meta[EARLIER] = earlier
    messages = messages_of(conversation.turns, system, len(conversation.image_ids))
    spoken: dict[str, Any] = {"messages": messages}
    if last.rejected is not None:
        worse = [{"role": "assistant", "content": [{"type": "text", "text": last.rejected}]}]
        spoken = {"prompt": messages[:-1], "chosen": messages[-1:], "rejected": worse}
    elif cut:
        spoken = {"prompt": messages[:-1], "completion": messages[-1:]}
    return spoken | {
        "id": conversation.id,
        "task": conversation.task,
        "language": conversation.language,
        "image_ids": list(conversation.image_ids),
        "record_ids": list(conversation.record_ids),
        "meta": json.dumps(meta, ensure_ascii=False) if meta else None,
    }
