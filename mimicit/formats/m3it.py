"""M3IT: instructions of forty tasks, pictures within, as JSON lines or as Parquet of them.

    {"instruction": "Describe the picture.", "inputs": "", "image_base64_str": ["/9j/4AAQ…"], "outputs": "A cat on a sofa."}

What a model is asked is the instruction and, on a new line, the inputs; either may be empty. The raw lines of some subsets name the picture
`image_str` or `img_str`, those of videos `video_str` (the frames, in order): all are read, with one picture as text or several as
a list. Assumed, since the subsets differ: `input` and `output` stand for the plural. Rows have no ids and pictures no names: both get
them from what they contain. A line without a picture is a question about a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import ReadOptions
from mimicit.formats.set_records import Item, Pictures, digest, read_rows, record, text, unbase64
from mimicit.formats.set_rows import RowError, sample

NAME = "m3it"
TITLE = (
    "M3IT: JSON lines or Parquet with `instruction`, `inputs`, `outputs` and pictures as base64."
)

PICTURES = ("image_base64_str", "image_str", "img_str", "video_base64_str", "video_str")
INPUTS = ("inputs", "input")
OUTPUTS = ("outputs", "output")


def detect(path: Path) -> bool:
    """Recognise by content: an answer and a picture under M3IT's names."""
    return any(
        any(name in row for name in PICTURES) and any(name in row for name in OUTPUTS)
        for row in sample(path)
    )


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    pictures = Pictures("M3IT", path, options)

    def read_row(where: str, row: dict[str, Any]) -> list[Item]:
        found: list[Item] = []
        instruction, answer = _asked(row), text(row, *OUTPUTS)
        images = [pictures.held(unbase64(one), where, found) for one in _encoded(row)]
        made = record(
            where,
            options,
            id=f"M3IT_INS_{digest(instruction, answer, *images, length=16)}",
            task=options.task or NAME,
            instruction=instruction,
            answer=answer,
            image_ids=tuple(images),
        )
        return [*found, made]

    return read_rows(path, ("instruction", *INPUTS, *OUTPUTS, *PICTURES), pictures, read_row)


def _asked(row: dict[str, Any]) -> str:
    parts = [
        text(row, *names)
        for names in (("instruction",), INPUTS)
        if any(row.get(name) for name in names)
    ]
    if not parts:
        raise RowError("it has neither 'instruction' nor 'inputs'")
    return "\n".join(parts)


def _encoded(row: dict[str, Any]) -> list[Any]:
    value: Any = next((row[name] for name in PICTURES if row.get(name)), [])
    return value if isinstance(value, list) else [value]
