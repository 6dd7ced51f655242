"""Anybody's rows as contexts, for the readers of files that no data set has defined: jsonl, csv, parquet, sql.

A column named like one of our fields is that field, `--column captions=text` makes another one it, and what is left becomes facts. Then a row
is read as `syphus.annotations.notes` has it, only more tolerantly: one caption may stand for a list, boxes may be in pixels, times may be "00:01:30".
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from syphus.annotations.base import FIELDS, Options
from syphus.annotations.context import Context
from syphus.annotations.notes import Notes
from syphus.annotations.values import (
    box,
    file_name,
    identifier,
    mapping,
    seconds,
    sequence,
    sift,
    stretch,
    text,
)
from syphus.errors import AnnotationError

NAMING = ("id", "image", "pictures", "video")
"""A row needs one of them."""
_LISTS = ("captions", "objects", "segments", "pictures", "span")


def require_columns(where: str, names: Sequence[str], options: Options) -> None:
    """Say which columns are missing before any row is read.

    Raises:
        AnnotationError: mapped columns are not there, or nothing names a row.
    """
    has = f"its columns are {', '.join(names) or 'none'}"
    for field, column in options.columns.items():
        if column not in names and column.partition(".")[0] not in names:
            raise AnnotationError(f"{where!r} has no column {column!r} for {field}; {has}")
    if not any(name in names or name in options.columns for name in NAMING):
        raise AnnotationError(
            f"{where!r} has no column {', '.join(NAMING[:-1])} or {NAMING[-1]}; {has}; "
            "say which one it is, for instance --column image=NAME"
        )


def contexts(where: str, row: Mapping[str, Any], options: Options) -> Iterator[Context | str]:
    """Make a row's context, beside what is wrong with parts of it."""
    notes, reasons = note(row, options)
    yield from reasons
    yield context(where, notes)


def note(row: Mapping[str, Any], options: Options) -> tuple[dict[str, Any], list[str]]:
    """Return what `Notes` takes, and what is wrong with the rest."""
    fields, facts = _sorted(row, options.columns)
    reasons: list[str] = []
    notes = _said(fields, fields, options.boxes or "xyxy", reasons)
    if "id" in fields:
        notes["id"] = identifier(fields["id"])
    if "video" in fields:
        notes["video"] = file_name(fields["video"])
    if "image" in fields:
        # Hugging Face keeps pictures as {bytes, path}.
        image = fields["image"]
        notes["image"] = file_name(image.get("path") if isinstance(image, dict) else image)
    if "pictures" in fields:
        pictures = sequence(_parsed(fields["pictures"]))
        notes["pictures"] = [_picture(one, options.boxes or "xyxy", reasons) for one in pictures]
    if "span" in fields:
        start, end = sequence(_parsed(fields["span"]))
        notes["span"] = stretch(start, end)
    return {**notes, "facts": facts}, reasons


def context(where: str, notes: Mapping[str, Any]) -> Context:
    """Make the context of notes.

    Raises:
        ValueError: they are not enough, or of the wrong shape.
    """
    try:
        made = Notes.model_validate(notes).context(where)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {message}" if place else message) from None
    said = (made.captions, made.objects, made.segments, made.facts)
    if not any((*said, *(p.captions or p.objects or p.facts for p in made.pictures))):
        raise ValueError("nothing is said about it")
    return made


def _sorted(
    row: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a row into our fields and facts; empty cells are neither."""
    fields: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    used = set()
    for field, column in columns.items():
        used.add(column if column in row else column.partition(".")[0])
        _put(field, _look_up(row, column), fields, facts)
    for name, value in row.items():
        if name == "facts" and isinstance(value, dict):
            facts = {key: _plain(fact) for key, fact in value.items()} | facts
        elif name not in used:
            is_ours = (name in FIELDS and name not in columns) or name.startswith("facts.")
            _put(name if is_ours else f"facts.{name}", value, fields, facts)
    return fields, facts


def _put(field: str, value: Any, fields: dict[str, Any], facts: dict[str, Any]) -> None:
    if value is None or value == "" or isinstance(value, bytes | bytearray | memoryview):
        return
    if not field.startswith("facts."):
        fields[field] = value
    elif (plain := _plain(value)) is not None:
        facts.setdefault(field.removeprefix("facts."), plain)


def _look_up(row: Mapping[str, Any], column: str) -> Any:
    """Find a column, or `a.b.c` in a column of objects."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _said(
    about: Mapping[str, Any], picture: Mapping[str, Any], boxes: str, reasons: list[str]
) -> dict[str, Any]:
    """Return the captions, objects and segments of a row, or of one of its pictures."""
    said: dict[str, Any] = {}
    if about.get("captions") is not None:
        captions = _parsed(about["captions"])
        listed = captions if isinstance(captions, list | tuple) else [captions]
        said["captions"], unread = sift(listed, text, "caption")
        reasons += unread
    if about.get("objects") is not None:
        size = (picture.get("width"), picture.get("height"))
        things = sequence(_parsed(about["objects"]))
        said["objects"], unread = sift(things, lambda one: _thing(one, boxes, *size), "object")
        reasons += unread
    if about.get("segments") is not None:
        segments, unread = sift(sequence(_parsed(about["segments"])), _segment, "segment")
        said["segments"] = sorted(segments, key=lambda segment: segment.get("start", float("inf")))
        reasons += unread
    return said


def _picture(one: Any, boxes: str, reasons: list[str]) -> dict[str, Any]:
    if isinstance(one, str):
        return {"name": file_name(one)}
    said = _said({**mapping(one), "segments": None}, one, boxes, reasons)
    facts = {key: _plain(fact) for key, fact in mapping(one.get("facts") or {}).items()}
    return {"name": file_name(one["name"]), **said, "facts": facts}


def _thing(one: Any, boxes: str, width: Any, height: Any) -> dict[str, Any]:
    if boxes.endswith("pixels") and (width is None or height is None):
        raise ValueError("a box in pixels, of a picture without width and height")
    name = next((one[key] for key in ("name", "category", "label") if key in mapping(one)), None)
    sides = one["bbox"] if "bbox" in one else one["box"]
    return {"name": text(name), "box": box(sides, boxes, width, height)}


def _segment(one: Any) -> dict[str, Any]:
    start, end = mapping(one).get("start"), one.get("end")
    segment: dict[str, Any] = {"text": text(one["text"])}
    if start is not None and end is not None:
        segment["start"], segment["end"] = stretch(start, end)
    elif start is not None:
        segment["start"] = seconds(start)
    if one.get("objects"):
        segment["objects"] = [text(name) for name in sequence(one["objects"])]
    return segment


def _parsed(value: Any) -> Any:
    """Read a list out of a cell of a table; any other text stays what it is."""
    import orjson

    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; databases know more kinds."""
    if isinstance(value, dict):
        return {
            str(key): _plain(inner)
            for key, inner in value.items()
            if not isinstance(inner, bytes | bytearray | memoryview)
        }
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | decimal.Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
