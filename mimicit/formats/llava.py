r"""LLaVA: one JSON array of conversations about a picture.

    [{"id": "000000033471", "image": "coco/train2017/000000033471.jpg",
      "conversations": [{"from": "human", "value": "<image>\nWhat colour is the bus?"}, {"from": "gpt", "value": "White and red."}]}, …]

Also what grew from it: `image` is a list where there are several pictures, and absent where there are none; `video` names
videos, which stay where they are; `system_prompt` is what the system says. LLaVA-Instruct-150K and its mixtures are such files. Their ids name
the picture and come again and again, in one file and in several, so the file's name is part of a conversation's id, and its row from the
second time on. JSON lines of such rows are read too.

Written is the array. LLaVA has no place for an answer that people liked less: it is in `rejected`, of the last turn, or a list with one for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mimicit.formats.base import BadRow, ReadOptions, WriteOptions, Written
from mimicit.formats.chat_links import linked
from mimicit.formats.chat_writing import (
    columns,
    fields,
    plain_columns,
    quoted,
    roles,
    texts,
    write_rows,
)
from mimicit.formats.chats import BrokenChat, Chat, Reader, as_list, message, named, others
from mimicit.formats.exporting import Conversation, Export
from mimicit.formats.rows import first_rows
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store

NAME = "llava"
TITLE = "LLaVA's JSON: id, image, conversations."

FROM = {"user": "human", "assistant": "gpt"}
VIDEO = "<video>"
_OTHERS = frozenset(
    {
        "images",
        "videos",
        "audios",
        "tools",
        "chosen",
        "system",
        "output_1",
        "preference",
        "messages",
    }
)
"""Columns by which such conversations are ShareGPT's, or preferences."""


# Reading


def detect(path: Path) -> bool:
    """Recognise by content: conversations of `from` and `value` with `image` or `video`, or else with ids."""
    told = [row for row in first_rows(path) if says(row.get("conversations"))]
    if not told or any(row.keys() & _OTHERS for row in told):
        return False
    return any(row.keys() & {"image", "video", "system_prompt"} for row in told) or "id" in told[0]


def says(messages: Any) -> bool:
    """Say whether these are messages of `from` and `value`."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[0], dict)
        and isinstance(messages[0].get("value"), str)
        and "from" in messages[0]
    )


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return linked(Reader(NAME, path, options).read(_chat))


def _chat(row: dict[str, Any]) -> Chat:
    said = row.get("conversations")
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise BrokenChat("`conversations` is no list of messages")
    chat = Chat(
        messages=[
            message(one.get("from"), one.get("value"), others(one, "from", "value")) for one in said
        ],
        pictures=as_list(row.get("image")),
        meta=others(row, "conversations", "image", "video", "system_prompt", "rejected"),
    )
    if videos := as_list(row.get("video")):
        check_count(said, "value", VIDEO, videos)
        chat.meta["videos"] = videos
    if row.get("system_prompt"):
        chat.meta["system"] = row["system_prompt"]
    chat.rejected = rejected_answers(row.get("rejected"))
    return named(row, chat)


def check_count(
    messages: Sequence[dict[str, Any]], key: str, placeholder: str, things: Sequence[Any]
) -> None:
    """Compare placeholders with what they stand for.

    Raises:
        BrokenChat: there are more of either.
    """
    there = sum(str(one.get(key)).count(placeholder) for one in messages)
    if there != len(things):
        raise BrokenChat(f"{there} placeholders {placeholder} for {len(things)} files")


def rejected_answers(said: Any) -> dict[int, str]:
    """Read what `rejected_column` writes.

    Raises:
        BrokenChat: neither a text nor a list of them.
    """
    if said is None:
        return {}
    if isinstance(said, str):
        return {-1: said}
    if isinstance(said, list) and all(isinstance(one, str | None) for one in said):
        return {turn: one for turn, one in enumerate(said) if one is not None}
    raise BrokenChat("`rejected` is no text")


# Writing


def from_and_value_sql(placeholder: str) -> str:
    """Return what `from_and_value` makes of a plain record, as parts of an SQL `concat`."""
    asked = f"concat(if(shown IS NULL, '', '{placeholder}'), instruction)"
    return (
        f"""'[{{"from":"human","value":', {quoted(asked)}, """
        f"""'}},{{"from":"gpt","value":', {quoted("answer")}, '}}]'"""
    )


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy an SQL predicate, one file a split.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: a record names a picture that the dataset does not have.
    """
    return write_rows(store, folder, options, _row, suffix=".json", plain=_PLAIN)


_PLAIN = f"""
    '{{"id":', {quoted("id")}, ',"image":"' || shown || '"',
    ',"conversations":', {from_and_value_sql("<image>' || chr(10) || '")}, {plain_columns(NAME)}, '}}'"""
"""`_row` of a plain record, in SQL."""


def _row(export: Export, conversation: Conversation) -> tuple[str, dict[str, Any]]:
    names = [picture.name for picture in conversation.pictures]
    meta = conversation.meta
    row: dict[str, Any] = {"id": conversation.id}
    if names:
        row["image"] = names[0] if len(names) == 1 else names
    if videos := as_list(meta.get("videos")):
        row["video"] = videos[0] if len(videos) == 1 else videos
    if meta.get("system"):
        row["system_prompt"] = meta["system"]
    row["conversations"] = from_and_value(conversation, glue="\n")
    taken = ("image", "video", "videos", "system", "system_prompt", "conversations", "rejected")
    return "", row | rejected_column(conversation) | columns(conversation, NAME, "id", *taken)


def from_and_value(conversation: Conversation, *, glue: str) -> list[dict[str, Any]]:
    return [
        {"from": FROM.get(role, role), "value": text, **beside}
        for pair in zip(
            texts(conversation, glue=glue), roles(conversation), fields(conversation), strict=True
        )
        for text, role, beside in zip(*pair, strict=True)
    ]


def rejected_column(conversation: Conversation) -> dict[str, Any]:
    """Return `rejected` where there is one: a text, of the last turn, or a list with one for each."""
    said = [turn.rejected for turn in conversation.turns]
    if not any(one is not None for one in said):
        return {}
    return {"rejected": said if any(one is not None for one in said[:-1]) else said[-1]}
