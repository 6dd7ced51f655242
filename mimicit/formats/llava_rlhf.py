r"""LLaVA-RLHF: conversations with two answers to the last question, and which of them people preferred.

    [{"id": "000000033471", "image": "000000033471.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, …],
      "output_1": {"from": "llava", "value": "A dog."}, "output_2": {"from": "llava", "value": "A cat."}, "preference": 2}, …]

The preferred output is the answer of the last turn, the other one is `rejected`. The conversation may end with the question, or with an answer
that both outputs stand for; where it is neither of the two it is kept as `meta`: {"replaced": …}, as is what else a row has (`hallucination`,
assumed to be its annotation; any name). An output may be a plain text. A preference other than 1 or 2 (as a number or a text) is a bad row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.chats import BrokenChat, Chat, Message, Reader, as_list, named, others
from mimicit.formats.llavar import messages
from mimicit.formats.set_rows import sample
from mimicit.schema import ImageRecord, Instruction

NAME = "llava_rlhf"
TITLE = "LLaVA-RLHF: LLaVA's JSON with `output_1`, `output_2`, `preference`."

FIELDS = ("conversations", "output_1", "output_2", "preference")


def detect(path: Path) -> bool:
    """Recognise by content: a conversation, two outputs and a preference."""
    return any(row.keys() >= set(FIELDS) for row in sample(path))


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return Reader(NAME, path, options).read(_chat, place_missing=True)


def _chat(row: dict[str, Any]) -> Chat:
    said = messages(row)
    chosen, rejected = _outputs(row)
    meta = others(row, *FIELDS, "image")
    if said and said[-1].role == "assistant":
        replaced = said.pop().text
        if replaced not in (chosen, rejected):
            meta["replaced"] = replaced
    chat = Chat(
        messages=[*said, Message("assistant", chosen)],
        pictures=as_list(row.get("image")),
        rejected={-1: rejected},
        meta=meta,
    )
    return named(row, chat)


def _outputs(row: dict[str, Any]) -> tuple[str, str]:
    """Return the preferred output and the other one."""
    first, second = (_text(row, name) for name in ("output_1", "output_2"))
    preference = row.get("preference")
    said = None if isinstance(preference, bool) else preference  # Python's True is 1
    if said in (1, "1"):
        return first, second
    if said in (2, "2"):
        return second, first
    raise BrokenChat(f"its preference is {preference!r}, neither 1 nor 2")


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    text = value.get("value") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise BrokenChat(f"{name!r} has no text")
    return text
