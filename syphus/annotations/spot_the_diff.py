"""Spot-the-Diff (Jhamtani & Berg-Kirkpatrick 2018; github.com/harsh19/spot-the-diff), two frames of a fixed camera and what changed.

    [{"img_id": "12", "sentences": ["the car has moved"]}]

The pictures are `12.png` and `12_2.png`. Several rows, of several people, may be about one pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Picture
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import identifier, sequence, sift, text

TITLE = "Spot-the-Diff"


def sniff(path: Path) -> bool:
    """Say whether the first item of a list has `img_id` and `sentences`."""
    value = files.beginning(path)
    row = files.first_item(value) if isinstance(value, list) else None
    return isinstance(row, dict) and {"img_id", "sentences"} <= row.keys()


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, files.items, _parse, _contexts)


def _parse(row: Mapping[str, Any]) -> Iterator[tuple[str, Any] | str]:
    pair = identifier(row["img_id"])
    sentences, unread = sift(sequence(row["sentences"]), text, "sentence")
    yield from unread
    if sentences:
        yield pair, sentences
    elif not unread:
        yield "it has no sentences"


def _contexts(pair: str, rows: Sequence[Row]) -> Iterator[Context]:
    key = f"{int(pair):05d}" if pair.isascii() and pair.isdigit() else pair
    pictures = (Picture(pair, key=f"{key}_1"), Picture(f"{pair}_2", key=f"{key}_2"))
    captions = tuple(dict.fromkeys(sentence for row in rows for sentence in row.data))
    yield Context(pair, pictures, captions, source=rows[0].where)
