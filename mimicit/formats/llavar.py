r"""LLaVAR: LLaVA's files, about pictures with text in them.

    [{"id": "0001", "image": "000000009001.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat does it say?"},
                                                                  {"from": "gpt", "value": "Exit."}]}, …]

Its pictures were given names that look like those of COCO and CC3M, so as to lie among them. Here they keep to themselves: ids start with
`LLAVAR_`, so that none takes another's place. By content alone such a file is LLaVA's, hence what tells it: `llavar` in the file's name, as its
published conversations have it, or in the first rows' ids or picture paths, as in mixtures. It comes before `llava` in the list of formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.chats import BrokenChat, Chat, Message, Reader, as_list, message, named, others
from mimicit.formats.set_rows import sample
from mimicit.schema import ImageRecord, Instruction

NAME = "llavar"
TITLE = "LLaVAR: LLaVA's JSON whose file name, ids or picture paths say `llavar`."

_OTHERS = frozenset({"images", "output_1", "chosen", "rejected"})
"""Columns by which such conversations are ShareGPT's, or preferences."""


def detect(path: Path) -> bool:
    """Recognise by content, of LLaVA, and by name."""
    said_by_name = NAME in path.name.lower()
    return any(_is_llava(row) and (said_by_name or _says_so(row)) for row in sample(path))


def _is_llava(row: dict[str, Any]) -> bool:
    messages = row.get("conversations")
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[0], dict)
        and messages[0].keys() >= {"from", "value"}
        and not row.keys() & _OTHERS
    )


def _says_so(row: dict[str, Any]) -> bool:
    return any(NAME in str(row.get(name) or "").lower() for name in ("id", "image"))


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return Reader(NAME, path, options).read(_chat, place_missing=True)


def _chat(row: dict[str, Any]) -> Chat:
    chat = Chat(
        messages=messages(row),
        pictures=as_list(row.get("image")),
        meta=others(row, "conversations", "image"),
    )
    return named(row, chat)


def messages(row: dict[str, Any]) -> list[Message]:
    """Return what is said in LLaVA's `conversations`.

    Raises:
        BrokenChat: it is no list of messages.
    """
    said = row.get("conversations")
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise BrokenChat("`conversations` is no list of messages")
    return [
        message(one.get("from"), one.get("value"), others(one, "from", "value")) for one in said
    ]
