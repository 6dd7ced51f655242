"""LRV-Instruction: questions about pictures of Visual Genome, many of them about things that are not there.

    [{"image_id": "2392588", "question": "Is there a dog?", "answer": "No, there is none.", "task": "negative"}, …]

A JSON array, or such objects one after another. The picture of `2392588` is `2392588.jpg`, sought in the folder of pictures and there in
`VG_100K` and `VG_100K_2`, as Visual Genome is unpacked. `task` is LRV's, kept as `{"category": "negative"}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import ReadOptions
from mimicit.formats.set_records import Item, Pictures, digest, key, read_rows, record, text
from mimicit.formats.set_rows import sample

NAME = "lrv"
TITLE = "LRV-Instruction: JSON with `image_id`, `question`, `answer`, `task`."

FIELDS = ("image_id", "question", "answer", "task")


def detect(path: Path) -> bool:
    """Recognise by content: all of its four fields."""
    return any(row.keys() >= set(FIELDS) for row in sample(path))


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    pictures = Pictures("LRV", path, options)

    def read_row(where: str, row: dict[str, Any]) -> list[Item]:
        found: list[Item] = []
        image, question, answer = key(row, "image_id"), text(row, "question"), text(row, "answer")
        made = record(
            where,
            options,
            id=f"LRV_INS_{image}_{digest(question, answer)}",
            task=options.task or NAME,
            instruction=question,
            answer=answer,
            image_ids=(pictures.genome(image, where, found),),
            meta={"category": row.get("task")},
        )
        return [*found, made]

    return read_rows(path, FIELDS, pictures, read_row)
