"""LabelMe drawings (github.com/wkentaro/labelme), one JSON file per picture.

    {"shapes": [{"label": "dog", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}],
     "imagePath": "1.jpg", "imageHeight": 480, "imageWidth": 640, "flags": {"indoor": true}, "imageData": …}

Whatever a shape is, its outermost points make its box. A folder may be given instead of its files.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Picture, Problem, Thing
from syphus.annotations.groups import Streamed
from syphus.annotations.values import file_name, mapping, number, sequence, sift, size, stem, thing
from syphus.errors import AnnotationError

TITLE = "LabelMe shapes"


def sniff(path: Path) -> bool:
    """Say whether it is an object with `shapes` and `imagePath`."""
    value = files.beginning(path)
    return isinstance(value, dict) and {"shapes", "imagePath"} <= value.keys()


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Streamed(paths, _rows, _contexts, lambda: len(paths))


def _rows(path: Path) -> Iterator[tuple[str, Any] | Problem]:
    import orjson

    try:
        with files.open_file(path) as file:
            yield files.shown(path), orjson.loads(file.read())
    except (AnnotationError, orjson.JSONDecodeError, *files.UNREADABLE) as error:
        yield Problem(files.shown(path), f"the file is not valid JSON: {error}")


def _contexts(where: str, row: Any) -> Iterator[Context | str]:
    # Drawn on Windows, or from another folder: what counts is the name.
    name = file_name(mapping(row)["imagePath"]).replace("\\", "/")
    if name.startswith("/") or ":" in name or ".." in name.split("/"):
        name = posixpath.basename(name)
    wide, high = size(row["imageWidth"], row["imageHeight"])
    things, unread = sift(sequence(row["shapes"]), lambda s: _thing(s, wide, high), "shape")
    yield from unread
    flags = [flag for flag, is_set in mapping(row.get("flags") or {}).items() if is_set]
    if not things and not flags:
        raise ValueError(f"{name!r} has no shapes")
    facts = {"flags": flags} if flags else {}
    yield Context(stem(name), (Picture(name),), objects=tuple(things), facts=facts, source=where)


def _thing(shape: Any, wide: float, high: float) -> Thing:
    points = [[number(side) for side in sequence(point)] for point in mapping(shape)["points"]]
    if len(points) < 2 or any(len(point) != 2 for point in points):
        raise ValueError(f"a {shape.get('shape_type') or 'shape'} that has no box")
    if shape.get("shape_type") == "circle":  # its middle, and a point on it
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        points = [[x - radius, y - radius], [x + radius, y + radius]]
    xs, ys = zip(*points, strict=True)
    return thing(shape["label"], [min(xs), min(ys), max(xs), max(ys)], "xyxy_pixels", wide, high)
