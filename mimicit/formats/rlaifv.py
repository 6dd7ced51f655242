"""RLAIF-V: pairs of answers that a model compared. Parquet, or JSON of the same rows.

    ds_name  image {bytes, path}  question  chosen  rejected  origin_dataset  origin_split  idx  image_path

`chosen` becomes the answer. `origin_split` is a JSON text (which model answered, which one compared, the kind of question). Where a row holds no
bytes, `image_path` is sought in the folder of pictures. Kept as `meta`: ds_name, origin_dataset, origin_split, idx, image_path.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.formats.base import ReadOptions
from mimicit.formats.set_records import Item, preferences
from mimicit.formats.set_rows import sample

NAME = "rlaifv"
TITLE = "RLAIF-V: Parquet or JSON with `question`, `chosen`, `rejected` beside `origin_dataset`."

PAIR = ("question", "chosen", "rejected")


def detect(path: Path) -> bool:
    """Recognise by content: the pair in columns, and where it is from."""
    return any(
        row.keys() >= set(PAIR)
        and bool(row.keys() & {"ds_name", "origin_dataset", "origin_split"})
        and bool(row.keys() & {"image", "image_path"})
        for row in sample(path)
    )


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return preferences(path, options, short="RLAIFV", task=NAME, columns=PAIR, pair=lambda row: row)
