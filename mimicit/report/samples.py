"""A few records beside their pictures: from every task, accepted and dropped, by a hash of the id.

The same dataset and seed give the same records. Pictures are shown small and as JPEG; together they take at most `PICTURE_BYTES`,
so that a page stays one that can be sent by mail.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mimicit.errors import DatasetError, PictureError
from mimicit.media.picture import decode
from mimicit.report.facts import Row, has_table, literal, rows

if TYPE_CHECKING:
    import duckdb

    from mimicit.pictures import Pictures

PICTURE_BYTES = 5 << 20
"""Of all thumbnails, before base64 makes four bytes of three."""
SIDE = 320
"""Pixels of a thumbnail's longer side."""
EACH = 4
"""Pictures of a record that are shown."""
VERDICTS = 6
"""Of a record."""
BOXES = 40
"""Of a picture."""
LEFT_OUT = "left out to keep this page small"


@dataclass
class Thumbnail:
    id: str
    width: int = 0
    height: int = 0
    uri: str | None = None
    """None where it cannot be shown."""
    problem: str = ""
    boxes: list[Row] = field(default_factory=list)
    """name, and left, top, width, height in percent."""
    captions: list[str] = field(default_factory=list)


@dataclass
class Sample:
    row: Row
    """Columns of `instructions`, and `dropped`."""
    verdicts: list[Row]
    pictures: list[Thumbnail]
    more_pictures: int


def gather(
    connection: duckdb.DuckDBPyConnection,
    pictures: Pictures,
    count: int,
    seed: int,
) -> list[Sample]:
    """Choose records and show their pictures small.

    Args:
        connection: Has the view `told`.
        pictures: Of the dataset.
        count: Of records.
        seed: Another one gives others.
    """
    ids = chosen(connection, count, seed)
    if not ids:
        return []
    found = {row["id"]: row for row in rows(connection, _RECORDS.format(ids=_listed(ids)))}
    said = _verdicts(connection, ids)
    notes = _annotations(connection, [i for row in found.values() for i in row["image_ids"][:EACH]])
    left = PICTURE_BYTES
    samples = []
    for id_ in ids:
        row = found[id_]
        shown = []
        for picture in row["image_ids"][:EACH]:
            one, size = _thumbnail(pictures, picture, left)
            left -= size
            one.boxes, one.captions = notes.get(picture, ([], []))
            shown.append(one)
        more = len(row["image_ids"]) - len(shown)
        samples.append(Sample(row, said.get(id_, []), shown, more))
    return samples


def leave_out(samples: Sequence[Sample], size: int) -> None:
    """Take pictures away, the last ones first, until a page is so many bytes smaller."""
    for one in (one for sample in reversed(samples) for one in reversed(sample.pictures)):
        if size > 0 and one.uri:
            size -= len(one.uri)
            one.uri, one.problem = None, LEFT_OUT


def chosen(connection: duckdb.DuckDBPyConnection, count: int, seed: int) -> list[str]:
    """Return ids: of each task accepted and dropped ones in turn, as long as there are some."""
    hashed = f"md5_number_lower(concat(id, chr(31), '{seed:d}')) >> 1"
    groups = rows(
        connection,
        f"""
SELECT * FROM (
    SELECT task, dropped, arg_min(id, {hashed}, {max(1, count):d}) AS ids, count(*) AS n
    FROM told GROUP BY task, dropped)
ORDER BY sum(n) OVER (PARTITION BY task) DESC, task, dropped""",
    )
    turns = zip_longest(*(group["ids"] for group in groups))
    drawn = [id_ for turn in turns for id_ in turn if id_ is not None][:count]
    places = {id_: place for place, group in enumerate(groups) for id_ in group["ids"]}
    return sorted(drawn, key=lambda id_: places[id_])


_RECORDS = """
SELECT id, task, language, source, conversation, turn, rejected, translation_of,
       instruction, answer, image_ids, id IN (SELECT record FROM against) AS dropped
FROM instructions WHERE id IN ({ids})"""


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(map(literal, ids)) or "NULL"


def _verdicts(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows(
        connection,
        "SELECT record, filter, reason, recipe, score, coalesce(rejects, true) AS rejects "
        f"FROM verdicts WHERE record IN ({_listed(ids)}) "
        "QUALIFY row_number() OVER ("
        f"PARTITION BY record ORDER BY coalesce(rejects, true) DESC, time) <= {VERDICTS} "
        "ORDER BY record, coalesce(rejects, true) DESC, filter",
    ):
        found.setdefault(row["record"], []).append(row)
    return found


# Pictures


def _thumbnail(pictures: Pictures, id_: str, left: int) -> tuple[Thumbnail, int]:
    """Return a picture made small, and the bytes that it takes."""
    if left <= 0:
        return Thumbnail(id_, problem=LEFT_OUT), 0
    try:
        [data] = pictures.get([id_])
    except (PictureError, DatasetError):  # whose messages name folders, which are nobody's business
        name = id_ if len(id_) <= 60 else f"{id_[:59]}…"
        return Thumbnail(id_, problem=f"the picture {name!r} is not in the dataset"), 0
    try:
        width, height, small = shrunk(data, id_)
    except PictureError as error:
        return Thumbnail(id_, problem=str(error)), 0
    uri = "data:image/jpeg;base64," + base64.b64encode(small).decode("ascii")
    return Thumbnail(id_, width, height, uri), len(small)


def shrunk(data: bytes, name: str) -> tuple[int, int, bytes]:
    """Return a picture as a small JPEG that holds pixels and nothing else, with its width and height.

    Raises:
        PictureError: it cannot be decoded.
    """
    image = decode(data, name=name, at_least=SIDE)
    image.thumbnail((SIDE, SIDE))
    image.info.clear()  # profiles and comments, which may be large
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=76, optimize=True)
    return image.width, image.height, sink.getvalue()


def _annotations(
    connection: duckdb.DuckDBPyConnection, ids: Sequence[str]
) -> dict[str, tuple[list[Row], list[str]]]:
    """Return boxes and captions by picture, of what was annotated about one picture alone."""
    found: dict[str, tuple[list[Row], list[str]]] = {}
    if not ids or not has_table(connection, "annotations"):
        return found
    for row in rows(
        connection,
        "SELECT pictures[1] AS picture, captions, objects FROM annotations "
        f"WHERE len(pictures) = 1 AND pictures[1] IN ({_listed(ids)})",
    ):
        boxes, captions = found.setdefault(row["picture"], ([], []))
        boxes += list(_boxes(row["objects"] or []))[: BOXES - len(boxes)]
        captions += (row["captions"] or [])[: 5 - len(captions)]
    return found


def _boxes(objects: Sequence[dict[str, Any]]) -> Iterator[Row]:
    for thing in objects:
        box = thing["box"]
        if box and len(box) == 4 and all(0 <= side <= 1 for side in box):
            left, top, right, bottom = (round(100 * side, 2) for side in box)
            if right > left and bottom > top:
                place = {"left": left, "top": top, "width": right - left, "height": bottom - top}
                yield {"name": thing["name"], **place}
