"""SVIT, as published in `data/`: what was asked about each picture of Visual Genome.

    [{"image_id": "2392588", "conversations": [
        {"content": [{"from": "user", "value": "What is it?"}, {"from": "gpt", "value": "A dog."}]}, …]}, …]

Each member of `conversations` is a conversation of its own, about the same picture. Assumed, since the files lie behind a form: its turns
are `content`, or `qa`, with messages as above, as {"role", "content"}, or as {"question", "answer"} pairs. Boxes stay in the text as
they are: `<st>dog<ed> [x1,y1,x2,y2]`. What else stands beside the turns is kept as `meta`. Pictures are sought as those of `lrv`. The copies in
`format/llava-v1.5/` are files of the format `llava`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.set_records import (
    Item,
    Pictures,
    conversation,
    digest,
    key,
    read_rows,
    text,
    turns,
)
from mimicit.formats.set_rows import RowError, sample

NAME = "svit"
TITLE = "SVIT's own files: JSON with `image_id` and `conversations` of `content` or `qa` lists."

TURNS = ("content", "qa")


def detect(path: Path) -> bool:
    """Recognise by content: conversations that hold lists of turns."""
    return any("image_id" in row and _is_ours(row.get("conversations")) for row in sample(path))


def _is_ours(conversations: Any) -> bool:
    return (
        isinstance(conversations, list)
        and bool(conversations)
        and isinstance(conversations[0], dict)
        and any(isinstance(conversations[0].get(name), list) for name in TURNS)
    )


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    pictures = Pictures("SVIT", path, options)

    def read_row(where: str, row: dict[str, Any]) -> Iterator[Item]:
        image, conversations = key(row, "image_id"), row.get("conversations")
        if not isinstance(conversations, list) or not conversations:
            raise RowError("it has no 'conversations'")
        found: list[Item] = []
        images = (pictures.genome(image, where, found),)
        yield from found
        for number, one in enumerate(conversations, 1):
            at = f"{where}, conversation {number}"
            try:
                yield from _records(one, image, images, at, options)
            except RowError as error:
                yield BadRow(at, str(error))

    return read_rows(path, ("image_id", "conversations"), pictures, read_row)


def _records(
    one: Any, image: str, images: tuple[str, ...], where: str, options: ReadOptions
) -> Iterator[Item]:
    if not isinstance(one, dict):
        raise RowError("a conversation is not an object")
    said = _turns(next((one[name] for name in TURNS if one.get(name)), None))
    yield from conversation(
        where,
        options,
        said,
        id=f"SVIT_INS_{image}_{digest(*(part for turn in said for part in turn))}",
        task=options.task or NAME,
        image_ids=images,
        meta={name: value for name, value in one.items() if name not in TURNS},
    )


def _turns(messages: Any) -> list[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise RowError("a conversation has neither 'content' nor 'qa'")
    if all(isinstance(message, dict) and "question" in message for message in messages):
        return [(text(message, "question"), text(message, "answer")) for message in messages]
    return turns(messages)
