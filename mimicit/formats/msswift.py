"""ms-swift's JSON lines: messages, with lists of pictures.

    {"messages": [{"role": "user", "content": "<image>What is this?"}, {"role": "assistant", "content": "A cat."}],
     "images": ["images/1.jpg"], "rejected_response": "A dog."}

A picture is a path, an address, or the picture itself. Where no message has a placeholder, pictures stand in front, as ms-swift puts
them. `rejected_messages` are read where they differ in the last answer alone; a message of the assistant alone is a text to learn: its
question is empty, and it is written so again. Messages with parts, as OpenAI has them, are read too. Weights of messages (`loss`), `objects`,
`tools`, `label`, videos and sounds are kept as they are.
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
from mimicit.formats.chats import BrokenChat, Chat, Reader, alone, as_list, named, others
from mimicit.formats.exporting import Conversation, Export
from mimicit.formats.llava import rejected_answers, rejected_column
from mimicit.formats.openai import speaks, spoken_messages
from mimicit.formats.rows import first_rows, is_array
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store

NAME = "msswift"
TITLE = "ms-swift's JSONL: messages, images, rejected_response."

ROLES = {"observation": "tool_response", "function_call": "tool_call"}
_OURS = frozenset({
    "images", "videos", "audios", "objects", "rejected_response", "rejected_messages",
    "rejected_images", "label", "channel",
})  # fmt: skip
_ONLY_OURS = frozenset({"objects", "rejected_response", "rejected_messages", "channel"})


# Reading


def detect(path: Path) -> bool:
    """Recognise by content: messages, and columns that OpenAI does not have; an array must have ms-swift's own."""
    told = [row for row in first_rows(path) if speaks(row.get("messages"))]
    if not told or any(row.keys() & {"chosen", "prompt", "completion"} for row in told):
        return False
    if any(part.get("type") == "image" and len(part) == 1 for row in told for part in _parts(row)):
        return False  # TRL's
    marks = _ONLY_OURS if is_array(path) else _OURS
    return any(row.keys() & marks for row in told)


def _parts(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for said in row["messages"]:
        if isinstance(said, dict) and isinstance(said.get("content"), list):
            yield from (part for part in said["content"] if isinstance(part, dict))


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return linked(Reader(NAME, path, options).read(_chat, place_missing=True))


def _chat(row: dict[str, Any]) -> Chat:
    inside: list[Any] = []
    said = spoken_messages(row.get("messages"), inside)
    images = as_list(row.get("images"))
    if inside and images:
        raise BrokenChat("there are pictures in the messages and in `images`")
    chat = Chat(
        messages=said,
        pictures=inside or images,
        meta=others(
            row, "messages", "images", "rejected_response", "rejected_messages", "rejected"
        ),
    )
    alone(chat)
    chat.rejected = rejected_answers(row.get("rejected"))
    if row.get("rejected_messages") is not None:
        others_said = spoken_messages(row["rejected_messages"], [])
        if others_said[:-1] != said[:-1]:
            raise BrokenChat("`rejected_messages` differ before the last answer")
        chat.rejected = {-1: others_said[-1].text}
    response = row.get("rejected_response")
    if isinstance(response, list):
        response = response[-1].get("content") if response and isinstance(response[-1], dict) else 0
    if response is not None:
        if not isinstance(response, str):
            raise BrokenChat("`rejected_response` is no text")
        chat.rejected = {-1: response}
    return named(row, chat)


# Writing


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy an SQL predicate, one file a split.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: a record names a picture that the dataset does not have.
    """
    return write_rows(store, folder, options, _row, suffix=".jsonl", plain=_PLAIN)


_ASKED = "concat(if(shown IS NULL, '', '<image>'), instruction)"
_PLAIN = f"""
    '{{"id":', {quoted("id")}, ',"messages":[{{"role":"user","content":', {quoted(_ASKED)},
    '}},{{"role":"assistant","content":', {quoted("answer")}, '}}],"images":[',
    '"' || shown || '"', ']', {plain_columns(NAME)}, '}}'"""
"""`_row` of a plain record, in SQL."""


def _row(export: Export, conversation: Conversation) -> tuple[str, dict[str, Any]]:
    row: dict[str, Any] = {"id": conversation.id, "messages": _messages(conversation)}
    row["images"] = [picture.name for picture in conversation.pictures]
    rejected = rejected_column(conversation)
    if isinstance(rejected.get("rejected"), str):
        rejected = {"rejected_response": rejected["rejected"]}
    taken = ("id", "messages", "images", "system", "rejected", "rejected_response")
    return "", row | rejected | columns(conversation, NAME, *taken)


def _messages(conversation: Conversation) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if system := conversation.meta.get("system"):
        messages.append({"role": "system", "content": system})
    turns = zip(
        texts(conversation, glue=""), roles(conversation), fields(conversation), strict=True
    )
    for said in turns:
        for text, role, beside in zip(*said, strict=True):
            messages.append({"role": ROLES.get(role, role), "content": text, **beside})
    if len(conversation.turns) == 1 and not conversation.turns[0].instruction.strip():
        shown, answer = messages[-2]["content"], messages[-1]["content"]
        glue = "\n" if shown and answer[:1] in (" ", "\n") else ""
        messages[-2:] = [messages[-1] | {"content": shown + glue + answer}]
    return messages
