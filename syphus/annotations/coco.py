"""COCO captions and instances (Lin et al. 2014; format: cocodataset.org, "Data format").

One or several files, each an object with `images`, `annotations` and `categories`. An annotation is a caption
(`caption`) or an object (`bbox` = left, top, width, height in pixels, `category_id`). Annotations come in no order, so files, of
gigabytes even, are read as a stream into an SQLite file that is deleted afterwards, and contexts are looked up in it one by one:
memory stays flat at any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from syphus.annotations import files, vist
from syphus.annotations.base import Options
from syphus.annotations.context import Context, Picture, Problem, Thing
from syphus.annotations.groups import Scratch
from syphus.annotations.values import box, corner_and_size, file_name, sift, size, text
from syphus.annotations.values import stem as stem_of
from syphus.errors import AnnotationError

BATCH = 2_000
"""Rows held in memory at once."""
PICTURES = 200
"""Pictures that are looked up at once."""

TITLE = "COCO captions and instances"

_TABLES = {
    "images": "images (file INTEGER, row INTEGER, id TEXT, file_name TEXT, stem TEXT, width REAL, height REAL)",
    "captions": "captions (file INTEGER, row INTEGER, image TEXT, caption TEXT)",
    "boxes": "boxes (file INTEGER, row INTEGER, image TEXT, category TEXT, x REAL, y REAL, w REAL, h REAL)",
    "categories": "categories (file INTEGER, id TEXT, name TEXT)",
    "problems": "problems (file INTEGER, row INTEGER, reason TEXT)",
}
_LISTS = ("images", "annotations", "categories")
_INDEXES = """
CREATE INDEX images_by_id ON images (id);
CREATE INDEX images_by_stem ON images (stem);
CREATE INDEX captions_by_image ON captions (image);
CREATE INDEX boxes_by_image ON boxes (image);
CREATE INDEX categories_by_id ON categories (id, file);
"""

_ORPHANS = """
INSERT INTO problems
SELECT file, row, 'annotation of picture ' || image || ', which the file does not list'
FROM (SELECT file, row, image FROM captions UNION ALL SELECT file, row, image FROM boxes)
WHERE NOT EXISTS (SELECT 1 FROM images WHERE id = image);
INSERT INTO problems
SELECT file, row, 'box of category ' || category || ', which the file does not list'
FROM boxes AS b
WHERE NOT EXISTS (SELECT 1 FROM categories AS c WHERE c.id = b.category AND c.file = b.file);
"""

# A picture may be listed in several files, and two pictures in different folders may have one name.
_PICTURES = """
SELECT file, row, id, file_name, width, height, stem,
       EXISTS (SELECT 1 FROM images AS o WHERE o.stem = i.stem AND o.id <> i.id) AS is_shared
FROM images AS i
WHERE rowid = (SELECT min(rowid) FROM images AS o WHERE o.id = i.id)
ORDER BY rowid
"""
_CAPTIONS = "SELECT image, caption FROM captions WHERE image IN ({}) ORDER BY rowid"
_BOXES = """
SELECT image, c.name, x, y, w, h FROM boxes AS b
JOIN categories AS c ON c.id = b.category AND c.file = b.file
WHERE image IN ({}) ORDER BY b.rowid
"""


def sniff(path: Path) -> bool:
    """Say whether the file is an object with COCO's lists, or one of these lists alone."""
    value = files.beginning(path)
    if isinstance(value, dict):
        return any(name in value for name in _LISTS) and not vist.is_published(value)
    return _is_bare(value)


def _is_bare(value: Any) -> bool:
    first = files.first_item(value) if isinstance(value, list) else None
    return (
        isinstance(first, dict) and "image_id" in first and ("bbox" in first or "caption" in first)
    )


def read(paths: Sequence[Path], options: Options) -> CocoReading:
    """Read the files into a temporary database.

    Raises:
        AnnotationError: a file is not valid JSON, or only a list.
    """
    for path in paths:
        if files.head(path).lstrip().startswith(b"[") and _is_bare(files.beginning(path)):
            raise AnnotationError(
                f"{str(path)!r} is a bare list of COCO annotations, which does not say the pictures' names and sizes; "
                "give the whole file, with `images`, `annotations` and `categories`"
            )
    return CocoReading(paths)


class CocoReading:
    def __init__(self, paths: Sequence[Path]) -> None:
        """Load the files; iterate to get contexts."""
        self._names = [files.shown(path) for path in paths]
        self._scratch = Scratch(*_TABLES.values())
        self._connection = self._scratch.connection
        for file, path in enumerate(paths):
            self._load(file, path)
        self._connection.executescript(_INDEXES + _ORPHANS)

    def __len__(self) -> int:
        [(count,)] = self._connection.execute("SELECT count(DISTINCT id) FROM images").fetchall()
        return int(count)

    def __iter__(self) -> Iterator[Context | Problem]:
        for file, row, reason in self._connection.execute(
            "SELECT file, row, reason FROM problems ORDER BY file, row"
        ):
            yield Problem(self._where(file, row), reason)
        pictures = self._connection.execute(_PICTURES)
        while block := pictures.fetchmany(PICTURES):
            ids = [picture[2] for picture in block]
            captions, boxes = self._about(_CAPTIONS, ids), self._about(_BOXES, ids)
            for file, row, id_, name, width, height, stem, is_shared in block:
                said, listed = captions.get(id_, ()), boxes.get(id_, ())
                where = self._where(file, row)
                things: Sequence[Thing] = ()
                if listed:
                    thing = partial(_thing, width=width, height=height)
                    things, unread = sift(listed, thing, "box")
                    for reason in unread:
                        yield Problem(where, f"{name!r}, {reason}")
                if not said and not things:
                    yield Problem(where, f"{name!r} has no annotations")
                    continue
                key = f"{stem}_{id_}" if is_shared else stem
                sentences = tuple([caption for _, caption in said])
                yield Context(key, (Picture(name),), sentences, tuple(things), source=where)

    def _about(self, query: str, ids: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows about some pictures, by picture."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        for row in self._connection.execute(query.format(", ".join("?" * len(ids))), ids):
            found.setdefault(row[0], []).append(row)
        return found

    def _load(self, file: int, path: Path) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _TABLES}
        numbers = dict.fromkeys(_LISTS, -1)
        # Polygons are most of the file, and no use here.
        for section, item in files.sections(path, _LISTS, skip="segmentation"):
            numbers[section] += 1
            table, row = _row(section, item, file, numbers[section])
            rows[table].append(row)
            if len(rows[table]) >= BATCH:
                self._scratch.insert(table, rows[table])
                rows[table] = []
        for table, left in rows.items():
            self._scratch.insert(table, left)

    def _where(self, file: int, row: int) -> str:
        return f"{self._names[file]}#{row}"


def _thing(row: tuple[Any, ...], width: float, height: float) -> Thing:
    _, name, x, y, w, h = row
    left, top, right, bottom = x / width, y / height, (x + w) / width, (y + h) / height
    if 0.0 <= left <= right <= 1.0 and 0.0 <= top <= bottom <= 1.0:
        return Thing(name, (left, top, right, bottom))
    return Thing(name, box((x, y, w, h), "xywh_pixels", width, height))


def _row(section: str, item: Any, file: int, row: int) -> tuple[str, tuple[Any, ...]]:
    """Turn one item into a row of a table, or of `problems`."""
    try:
        if section == "images":
            width, height = size(item["width"], item["height"])
            name = file_name(item["file_name"])
            return section, (file, row, str(item["id"]), name, stem_of(name), width, height)
        if section == "categories":
            return section, (file, str(item["id"]), text(item["name"]))
        image = str(item["image_id"])
        if "caption" in item:
            return "captions", (file, row, image, text(item["caption"]))
        x, y, w, h = corner_and_size(item["bbox"])
        return "boxes", (file, row, image, str(item["category_id"]), x, y, w, h)
    except KeyError as error:
        return "problems", (file, row, f"{section[:-1]} without {error}")
    except (TypeError, ValueError) as error:
        return "problems", (file, row, f"{section[:-1]} that cannot be read: {error}")
