"""COCO captions and instances (Lin et al. 2014; format: cocodataset.org, "Data format").

One or several files, each an object with `images`, `annotations` and `categories`. An annotation is a caption
(`caption`) or an object (`bbox` = left, top, width, height in pixels, `category_id`). Files of gigabytes are read as a stream into
a DuckDB file that is deleted afterwards, because annotations come in no order; contexts then come out by picture.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from syphus.annotations.context import Context, Problem, Thing
from syphus.errors import AnnotationError

if TYPE_CHECKING:
    import duckdb

BATCH = 2_000
"""Rows held in memory at once."""

_TABLES = {
    "images": "file BIGINT, row BIGINT, id VARCHAR, file_name VARCHAR, width DOUBLE, height DOUBLE",
    "captions": "file BIGINT, row BIGINT, image VARCHAR, caption VARCHAR",
    "boxes": "file BIGINT, row BIGINT, image VARCHAR, category VARCHAR, "
    "x DOUBLE, y DOUBLE, w DOUBLE, h DOUBLE",
    "categories": "file BIGINT, id VARCHAR, name VARCHAR",
    "problems": "file BIGINT, row BIGINT, reason VARCHAR",
}

_CONTEXTS = """
WITH pictures AS (
    SELECT id, any_value(file) AS file, min(row) AS row, any_value(file_name) AS file_name,
           any_value(width) AS width, any_value(height) AS height,
           parse_filename(any_value(file_name), true) AS stem
    FROM images GROUP BY id
),
named AS (
    SELECT *, CASE WHEN count(*) OVER (PARTITION BY stem) > 1 THEN stem || '_' || id ELSE stem END AS key
    FROM pictures
),
told AS (SELECT image, list(caption ORDER BY file, row) AS captions FROM captions GROUP BY image),
seen AS (
    SELECT image, list([c.name, x::VARCHAR, y::VARCHAR, w::VARCHAR, h::VARCHAR] ORDER BY b.file, row) AS boxes
    FROM boxes AS b JOIN categories AS c ON c.id = b.category AND c.file = b.file
    GROUP BY image
)
SELECT key, file, row, file_name, width, height, coalesce(captions, []), coalesce(boxes, [])
FROM named LEFT JOIN told ON told.image = named.id LEFT JOIN seen ON seen.image = named.id
ORDER BY file, row
"""

_ORPHANS = """
INSERT INTO problems
SELECT file, row, printf('annotation of picture %s, which the file does not list', image)
FROM (SELECT file, row, image FROM captions UNION ALL SELECT file, row, image FROM boxes)
ANTI JOIN images ON images.id = image;
INSERT INTO problems
SELECT file, row, printf('box of category %s, which the file does not list', category)
FROM boxes AS b ANTI JOIN categories AS c ON c.id = b.category AND c.file = b.file;
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
        import duckdb

        self.paths = paths
        folder = tempfile.mkdtemp(prefix="syphus-coco-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._connection = duckdb.connect(str(Path(folder) / "coco.duckdb"))
        self._connection.execute("SET memory_limit = '128MB'")
        for name, columns in _TABLES.items():
            self._connection.execute(f"CREATE TABLE {name} ({columns})")
        for number, path in enumerate(paths):
            _load(self._connection, number, path)
        self._connection.execute(_ORPHANS)

    def __len__(self) -> int:
        [(count,)] = self._connection.execute("SELECT count(DISTINCT id) FROM images").fetchall()
        return int(count)

    def __iter__(self) -> Iterator[Context | Problem]:
        problems = self._connection.cursor().execute(
            "SELECT file, row, reason FROM problems ORDER BY ALL"
        )
        while rows := problems.fetchmany(BATCH):
            for file, row, reason in rows:
                yield Problem(self._where(file, row), reason)
        contexts = self._connection.cursor().execute(_CONTEXTS)
        while rows := contexts.fetchmany(256):
            for key, file, row, name, width, height, captions, boxes in rows:
                where = self._where(file, row)
                if not captions and not boxes:
                    yield Problem(where, f"{name!r} has no annotations")
                    continue
                things = tuple(_thing(box, width, height) for box in boxes)
                yield Context(key, (name,), tuple(captions), things, where)

    def _where(self, file: int, row: int) -> str:
        return f"{self.paths[file].name}#{row}"


def _thing(box: list[str], width: float, height: float) -> Thing:
    name, (x, y, w, h) = box[0], map(float, box[1:])
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    left, top, right, bottom = (min(max(corner, 0.0), 1.0) for corner in corners)
    return Thing(name, (left, top, right, bottom))


def _load(connection: duckdb.DuckDBPyConnection, file: int, path: Path) -> None:
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
            return section, (file, number, str(item["id"]), str(item["file_name"]), width, height)
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


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    import pyarrow as pa

    if not rows:
        return
    names = [column.split()[0] for column in _TABLES[table].split(", ")]
    columns = zip(*rows, strict=True)
    connection.register("rows", pa.table(dict(zip(names, map(pa.array, columns), strict=True))))
    connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")
    connection.unregister("rows")
