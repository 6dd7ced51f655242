"""Data-Juicer's JSON lines: texts with pictures in them, nobody asks.

    {"text": "<__dj__image> A bus.<|__dj__eoc|>", "images": ["images/2.jpg"]}

A row is a record whose question is empty. Videos and sounds are named, and stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.chats import BrokenChat, Chat, Reader, alone, as_list, message, named, others
from mimicit.formats.rows import first_rows
from mimicit.schema import ImageRecord, Instruction

NAME = "datajuicer"
TITLE = "Data-Juicer's JSONL: text with <__dj__image>, images."

_MEDIA = ("images", "videos", "audios")


def detect(path: Path) -> bool:
    """Recognise by content: texts with Data-Juicer's marks."""
    return any(
        isinstance(row.get("text"), str) and "__dj__" in row["text"] for row in first_rows(path)
    )


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return Reader(NAME, path, options).read(_chat, place_missing=True)


def _chat(row: dict[str, Any]) -> Chat:
    text = row.get("text")
    if not isinstance(text, str):
        raise BrokenChat("it has no text")
    text = text.replace("<|__dj__eoc|>", "")
    for medium in _MEDIA:
        text = text.replace(f"<__dj__{medium[:-1]}>", f"<{medium[:-1]}>")
    chat = Chat(
        messages=[message("assistant", text)],
        pictures=as_list(row.get("images")),
        meta=others(row, "text", "images"),
    )
    alone(chat)
    return named(row, chat)
