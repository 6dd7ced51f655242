"""COCO captions and instances (Lin et al. 2014; format: cocodataset.org, "Data format").

One or several files, each an object with `images`, `annotations` and `categories`. An annotation is a caption
(`caption`) or an object (`bbox` = left, top, width, height in pixels, `category_id`). Annotations come in no order, so files, of
gigabytes even, are read as a stream into an SQLite file that is deleted afterwards, and contexts are looked up in it one by one:
memory stays flat at any size.
"""

from __future__ import annotations

import posixpath
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from syphus.annotations.context import Context, Problem, Thing
from syphus.errors import AnnotationError

BATCH = 2_000
"""Rows held in memory at once."""

_TABLES = {
    "images": "file INTEGER, row INTEGER, id TEXT, file_name TEXT, stem TEXT, width REAL, height REAL",
    "captions": "file INTEGER, row INTEGER, image TEXT, caption TEXT",
    "boxes": "file INTEGER, row INTEGER, image TEXT, category TEXT, x REAL, y REAL, w REAL, h REAL",
    "categories": "file INTEGER, id TEXT, name TEXT",
    "problems": "file INTEGER, row INTEGER, reason TEXT",
}
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
_CAPTIONS = "SELECT caption FROM captions WHERE image = ? ORDER BY rowid"
_BOXES = """
SELECT c.name, x, y, w, h FROM boxes AS b
JOIN categories AS c ON c.id = b.category AND c.file = b.file
WHERE image = ? ORDER BY b.rowid
"""


def sniff(paths: Sequence[Path]) -> bool:
    """Say whether the first file is an object with `images` or `annotations`."""
    import ijson

    try:
        with paths[0].open("rb") as file:
            for prefix, event, value in ijson.parse(file):
                if prefix == "" and event == "map_key" and value in ("images", "annotations"):
                    return True
                if prefix == "" and event not in ("start_map", "map_key", "end_map"):
                    return False
    except ijson.JSONError as error:
        raise AnnotationError(f"{str(paths[0])!r} is not valid JSON: {error}") from None
    return False


def read(paths: Sequence[Path]) -> CocoReading:
    """Read the files into a temporary database.

    Raises:
        AnnotationError: a file is not valid JSON.
    """
    return CocoReading(paths)


class CocoReading:
    def __init__(self, paths: Sequence[Path]) -> None:
        """Load the files; iterate to get contexts."""
        self.paths = paths
        folder = tempfile.mkdtemp(prefix="syphus-coco-")
        self._connection = sqlite3.connect(
            Path(folder) / "coco.sqlite",
            isolation_level=None,
            check_same_thread=False,  # whichever thread collects the garbage closes it
        )
        weakref.finalize(self, _clean_up, self._connection, folder)
        self._connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")
        for name, columns in _TABLES.items():
            self._connection.execute(f"CREATE TABLE {name} ({columns})")
        for number, path in enumerate(paths):
            _load(self._connection, number, path)
        self._connection.executescript(_INDEXES + _ORPHANS)

    def __len__(self) -> int:
        [(count,)] = self._connection.execute("SELECT count(DISTINCT id) FROM images").fetchall()
        return int(count)

    def __iter__(self) -> Iterator[Context | Problem]:
        for file, row, reason in self._connection.execute(
            "SELECT file, row, reason FROM problems ORDER BY file, row"
        ):
            yield Problem(self._where(file, row), reason)
        for file, row, id_, name, width, height, stem, is_shared in self._connection.execute(
            _PICTURES
        ):
            captions = tuple(text for (text,) in self._connection.execute(_CAPTIONS, (id_,)))
            boxes = self._connection.execute(_BOXES, (id_,))
            things = tuple(_thing(thing, box, width, height) for thing, *box in boxes)
            where = self._where(file, row)
            if not captions and not things:
                yield Problem(where, f"{name!r} has no annotations")
                continue
            key = f"{stem}_{id_}" if is_shared else stem
            yield Context(key, (name,), captions, things, where)

    def _where(self, file: int, row: int) -> str:
        return f"{self.paths[file].name}#{row}"


def _clean_up(connection: sqlite3.Connection, folder: str) -> None:
    connection.close()
    shutil.rmtree(folder, ignore_errors=True)


def _thing(name: str, box: Sequence[float], width: float, height: float) -> Thing:
    x, y, w, h = box
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    left, top, right, bottom = (min(max(corner, 0.0), 1.0) for corner in corners)
    return Thing(name, (left, top, right, bottom))


def _load(connection: sqlite3.Connection, file: int, path: Path) -> None:
    import ijson

    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _TABLES}
    numbers = dict.fromkeys(("images", "annotations", "categories"), -1)
    try:
        with path.open("rb") as stream:
            for section, item in _items(stream):
                numbers[section] += 1
                table, row = _row(section, item, file, numbers[section])
                rows[table].append(row)
                if len(rows[table]) >= BATCH:
                    _insert(connection, table, rows[table])
                    rows[table] = []
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise AnnotationError(
            f"{str(path)!r} is not valid JSON: {str(error).splitlines()[0]} "
            f"(after {sum(numbers.values()) + len(numbers)} rows); nothing was read from it"
        ) from None
    for table, left in rows.items():
        _insert(connection, table, left)


def _items(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the items of the three lists in the order in which the file holds them."""
    import ijson

    wanted = {f"{section}.item": section for section in ("images", "annotations", "categories")}
    builder, section = None, ""
    for prefix, event, value in ijson.parse(stream, use_float=True):
        if builder is None and prefix in wanted:
            builder, section = ijson.ObjectBuilder(), wanted[prefix]
        if builder is None:
            continue
        if prefix.startswith(f"{section}.item.segmentation"):
            continue  # most of the file, and no use here
        builder.event(event, value)
        if prefix == f"{section}.item" and event not in ("start_map", "start_array", "map_key"):
            yield section, builder.value
            builder = None


def _row(section: str, item: Any, file: int, number: int) -> tuple[str, tuple[Any, ...]]:
    """Turn one item into a row of a table, or of `problems`."""
    try:
        if section == "images":
            width, height = float(item["width"]), float(item["height"])
            if width <= 0 or height <= 0:
                return "problems", (file, number, f"picture of {width:g}×{height:g} pixels")
            name = str(item["file_name"])
            stem, _ = posixpath.splitext(posixpath.basename(name))
            return section, (file, number, str(item["id"]), name, stem, width, height)
        if section == "categories":
            return section, (file, str(item["id"]), str(item["name"]))
        image = str(item["image_id"])
        if "caption" in item:
            caption = " ".join(str(item["caption"]).split())
            if not caption:
                return "problems", (file, number, "the caption is empty")
            return "captions", (file, number, image, caption)
        x, y, w, h = (float(side) for side in item["bbox"])
        return "boxes", (file, number, image, str(item["category_id"]), x, y, w, h)
    except KeyError as error:
        return "problems", (file, number, f"{section[:-1]} without {error}")
    except (TypeError, ValueError) as error:
        return "problems", (file, number, f"{section[:-1]} that cannot be read: {error}")


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
