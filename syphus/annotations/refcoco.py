"""RefCOCO, RefCOCO+ and RefCOCOg expressions (Kazemzadeh et al. 2014, Mao et al. 2016), as the JSON lists in which MDETR and MiniGPT-4 use them.

    [{"img_id": "COCO_train2014_000000000001_17", "sents": "the left dog", "bbox": [left, top, width, height in pixels],
      "height": 480, "width": 640}]

An expression is the name of its box; all of a picture's come together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Picture, Thing
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import box, identifier, sift, text

TITLE = "RefCOCO expressions"

_PICTURE = re.compile(r"(COCO_[a-z]+\d{4}_\d{12}|.+?)(?:_\d+)?")


def sniff(path: Path) -> bool:
    """Say whether the first item of a list has `img_id`, `sents` and `bbox`."""
    value = files.beginning(path)
    row = files.first_item(value) if isinstance(value, list) else None
    return isinstance(row, dict) and {"img_id", "sents", "bbox"} <= row.keys()


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, files.items, _parse, _contexts)


def _parse(row: Mapping[str, Any]) -> Iterator[tuple[str, Any] | str]:
    picture = _PICTURE.fullmatch(identifier(row["img_id"]))
    assert picture is not None
    sides = box(row["bbox"], "xywh_pixels", row["width"], row["height"])
    said = row["sents"] if isinstance(row["sents"], list) else [row["sents"]]
    expressions, unread = sift(said, text, "expression")
    yield from unread
    for expression in expressions:
        yield picture[1], (expression, sides)


def _contexts(stem: str, rows: Sequence[Row]) -> Iterator[Context]:
    said = dict.fromkeys((row.data[0], tuple(row.data[1])) for row in rows)
    things = tuple(Thing(expression, sides) for expression, sides in said)
    yield Context(stem, (Picture(f"{stem}.jpg"),), objects=things, source=rows[0].where)
