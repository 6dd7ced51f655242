"""RLHF-V: pairs of answers, the better one corrected by people sentence by sentence. Parquet, or JSON of the same rows.

    ds_name  image {bytes, path}  text '{"question": …, "chosen": …, "rejected": …}'  origin_dataset  origin_split  idx  image_path

`text` is a JSON text; an object there is taken, too. `chosen` becomes the answer. Where a row holds no bytes, `image_path` is sought in the
folder of pictures. Kept as `meta`: ds_name, origin_dataset, origin_split, idx, image_path.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimicit.formats.base import ReadOptions
from mimicit.formats.set_records import Item, preferences
from mimicit.formats.set_rows import RowError, json_object, sample

NAME = "rlhfv"
TITLE = "RLHF-V: Parquet or JSON whose `text` is a JSON text of `question`, `chosen`, `rejected`."


def detect(path: Path) -> bool:
    """Recognise by content: a pair within `text`, beside a picture."""
    return any(
        bool(row.keys() & {"image", "image_path"}) and _holds_pair(row.get("text"))
        for row in sample(path)
    )


def _holds_pair(text: Any) -> bool:
    # Not parsed: of a sample, long texts are cut.
    if isinstance(text, str):
        return text.lstrip().startswith("{") and '"question"' in text
    return isinstance(text, dict) and text.keys() >= {"question", "chosen", "rejected"}


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    return preferences(path, options, short="RLHFV", task=NAME, columns=("text",), pair=_pair)


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    text = row.get("text")
    if isinstance(text, dict):
        return text
    if not isinstance(text, str):
        raise RowError("it has no 'text'")
    return json_object(text, "text")
