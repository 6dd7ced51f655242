"""Captions and boxes as LLaVA was made from them (haotian-liu/LLaVA, caps_boxes_coco2014_val_80.jsonl).

One picture a line, its boxes as left, top, right, bottom, in shares of its size:

    {"id": "…", "image": "….jpg", "captions": ["…"], "instances": [{"category": "dog", "bbox": [0.1, 0.2, 0.5, 0.6]}]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Picture, Thing
from syphus.annotations.groups import Streamed
from syphus.annotations.values import (
    file_name,
    identifier,
    mapping,
    sequence,
    sift,
    stem,
    text,
    thing,
)

TITLE = "LLaVA captions and boxes"


def sniff(path: Path) -> bool:
    """Say whether a line has an `image` and `instances`."""
    row = files.first_object(path)
    return row is not None and {"image", "instances"} <= row.keys()


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Streamed(paths, files.json_lines, _contexts, lambda: files.count_lines(paths))


def _contexts(where: str, row: Mapping[str, Any]) -> Iterator[Context | str]:
    name = file_name(row["image"])
    captions, unread = sift(sequence(row.get("captions") or []), text, "caption")
    yield from unread
    things, unread = sift(sequence(row.get("instances") or []), _thing, "instance")
    yield from unread
    if not captions and not things:
        raise ValueError(f"{name!r} has no captions and no boxes")
    id_ = identifier(row["id"]) if "id" in row else stem(name)
    yield Context(id_, (Picture(name),), tuple(captions), tuple(things), source=where)


def _thing(instance: Any) -> Thing:
    return thing(mapping(instance)["category"], instance["bbox"])
