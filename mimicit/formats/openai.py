"""OpenAI's fine-tuning files: JSON lines of chat messages, pictures inside.

    {"messages": [{"role": "system", "content": "You are brief."},
                  {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,…"}},
                                               {"type": "text", "text": "What is this?"}]},
                  {"role": "assistant", "content": "A cat."}]}

and of preferences: `{"input": {"messages": […]}, "preferred_output": [message], "non_preferred_output": [message]}`. Of a picture the address
may be a data: URL, a web address (which is looked up in the picture folder, and not downloaded) or a path. LLaMA-Factory's `value` in place of
`text` and `image_url` is read too, and parts `{"type": "image", "path" | "url" | "base64": …}` as others have them.

There is no place for ids, nor for what is said of records by their ids: those of conversations and pictures follow from their content. Written
are only columns that OpenAI knows; pictures are in the rows, preferences in files of their own, and of a conversation the
rejected answer to its last question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mimicit.formats.base import BadRow, ReadOptions, WriteOptions, Written
from mimicit.formats.chat_writing import fields, texts, write_rows
from mimicit.formats.chats import (
    PLACEHOLDER,
    BrokenChat,
    Chat,
    Message,
    Reader,
    message,
    named,
    others,
)
from mimicit.formats.exporting import Conversation, Export
from mimicit.formats.rows import first_rows, is_array
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store

NAME = "openai"
TITLE = "OpenAI's chat fine-tuning JSONL, pictures as data: URLs."

_OTHERS = frozenset({
    "images", "image", "videos", "audios", "objects", "rejected_response", "rejected_messages",
    "label", "channel", "chosen", "rejected", "completion",
})  # fmt: skip
"""Columns by which messages are ms-swift's, TRL's or LLaMA-Factory's."""
_BESIDE = ("weight", "name")
"""What a message may have beside."""
_ADDRESSES = ("image_url", "url", "path", "base64", "value", "image")


# Reading


def detect(path: Path) -> bool:
    """Recognise by content: messages with parts, or JSON lines of nothing but messages."""
    told = first_rows(path)
    if any({"input", "preferred_output"} <= row.keys() for row in told):
        return True
    told = [row for row in told if speaks(row.get("messages"))]
    if not told or any(row.keys() & _OTHERS for row in told):
        return False
    return any(map(_has_parts, told)) or not is_array(path)


def speaks(messages: Any) -> bool:
    """Say whether these are messages of `role` and `content`."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[0], dict)
        and {"role", "content"} <= messages[0].keys()
    )


def _has_parts(row: dict[str, Any]) -> bool:
    return any(
        isinstance(one, dict) and isinstance(one.get("content"), list) for one in row["messages"]
    )


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return Reader(NAME, path, options, by_content=True).read(_chat)


def _chat(row: dict[str, Any]) -> Chat:
    if "preferred_output" in row:
        return _preference(row)
    pictures: list[Any] = []
    chat = Chat(messages=spoken_messages(row.get("messages"), pictures), pictures=pictures)
    chat.meta |= others(row, "messages")
    return named(row, chat)


def _preference(row: dict[str, Any]) -> Chat:
    asked = row.get("input")
    if not isinstance(asked, dict):
        raise BrokenChat("`input` is no object")
    pictures: list[Any] = []
    said = spoken_messages(asked.get("messages"), pictures)
    preferred = spoken_messages(row["preferred_output"], pictures)
    rejected = spoken_messages(row.get("non_preferred_output"), pictures)
    if len(preferred) != 1 or len(rejected) != 1:
        raise BrokenChat("a preference is not between two single answers")
    chat = Chat(messages=[*said, *preferred], pictures=pictures, rejected={-1: rejected[0].text})
    chat.meta |= others(asked, "messages")
    chat.meta |= others(row, "input", "preferred_output", "non_preferred_output")
    return named(row, chat)


def spoken_messages(said: Any, pictures: list[Any]) -> list[Message]:
    """Read messages of text or of parts, and add to `pictures` what names theirs.

    Raises:
        BrokenChat: something in them cannot be read.
    """
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise BrokenChat("`messages` is no list of messages")
    if any(one.get("tool_calls") or one.get("function_call") for one in said):
        raise BrokenChat("a message calls tools, which is not read")
    return [
        message(
            one.get("role"), _text(one.get("content"), pictures), others(one, "role", "content")
        )
        for one in said
    ]


def _text(content: Any, pictures: list[Any]) -> str:
    """Join the parts of a message, with a placeholder for each picture."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BrokenChat("the content of a message is neither text nor parts")
    said: list[str] = []
    last = None
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "input_text", "output_text"):
            text = part.get("text", part.get("value"))
            if not isinstance(text, str):
                raise BrokenChat("a part of the type 'text' has no text")
            said.append(f"\n{text}" if last == kind else text)
        elif kind in ("image_url", "image", "input_image"):
            pictures.append(_address(part))
            said.append(PLACEHOLDER)
        else:
            raise BrokenChat(f"a part of a message is of the unknown type {kind!r}")
        last = kind
    return "".join(said)


def _address(part: dict[str, Any]) -> str:
    key = next((key for key in _ADDRESSES if part.get(key)), None)
    address = part[key] if key else None
    if isinstance(address, dict):
        address = address.get("url")
    if not isinstance(address, str):
        raise BrokenChat("a picture has no address")
    return f"data:;base64,{address}" if key == "base64" else address


# Writing


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy an SQL predicate, one file a split, and one for its preferences.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: a record names a picture that the dataset does not have.
    """
    return write_rows(store, folder, options, _row, suffix=".jsonl", with_pictures=False)


def _row(export: Export, conversation: Conversation) -> tuple[str, dict[str, Any]]:
    messages = _spoken(export, conversation)
    tools: dict[str, Any] = {
        key: conversation.meta[key]
        for key in ("tools", "parallel_tool_calls")
        if key in conversation.meta
    }
    rejected = conversation.turns[-1].rejected
    if rejected is None:
        return "", {"messages": messages, **tools}
    return "_preference", {
        "input": {"messages": messages[:-1], **tools},
        "preferred_output": messages[-1:],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


def _spoken(export: Export, conversation: Conversation) -> list[dict[str, Any]]:
    pictures = iter(conversation.pictures)
    messages: list[dict[str, Any]] = []
    if system := conversation.meta.get("system"):
        messages.append({"role": "system", "content": system})
    said = zip(texts(conversation, glue=""), fields(conversation), strict=True)
    for (question, answer), (of_question, of_answer) in said:
        for role, text, beside in (
            ("user", question, of_question),
            ("assistant", answer, of_answer),
        ):
            content: Any = text
            if conversation.pictures and PLACEHOLDER in text:
                content = list(_parts(export, text, pictures))
            known = {key: beside[key] for key in _BESIDE if key in beside}
            messages.append({"role": role, "content": content, **known})
    return messages


def _parts(export: Export, text: str, pictures: Iterator[Any]) -> Iterator[dict[str, Any]]:
    import pybase64

    for number, piece in enumerate(text.split(PLACEHOLDER)):
        if number:
            picture = next(pictures)
            data = pybase64.b64encode(export.read(picture)).decode()
            yield {"type": "image_url", "image_url": {"url": f"data:{picture.mime};base64,{data}"}}
        if piece:
            yield {"type": "text", "text": piece}
