"""Tables of text with a header: csv and tsv.

    image,captions                         id,image,captions
    1.png,A dog runs.                      pair,1.png,The gate is open.
    1.png,A brown dog on grass.            pair,2.png,The gate is shut.

Rows of one id (without an id: of one picture or video) make one context, wherever they are. If they name several pictures, each keeps its own captions.
Lists, such as objects, are cells of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import ego4d, epic, files, flickr, generic, scanrefer
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Problem
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import BAD_ROW, explain

TITLE = "a table of text"


def sniff(path: Path) -> bool:
    """Say whether it is called a table, has a header, and is of no published format."""
    if files.suffix(path) not in (".csv", ".tsv") or not all(files.header(path) or [""]):
        return False
    return not any(reader.sniff(path) for reader in (ego4d, epic, flickr, scanrefer))


def read(paths: Sequence[Path], options: Options) -> Reading:
    for path in paths:
        generic.require_columns(str(path), files.header(path), options)
    return Grouped(paths, files.table, lambda row: _parse(row, options), _contexts)


def _parse(row: Mapping[str, str], options: Options) -> Iterator[tuple[str, Any] | str]:
    notes, reasons = generic.note(row, options)
    yield from reasons
    names = [picture["name"] for picture in notes.get("pictures", [])]
    key = notes.get("id") or notes.get("image") or notes.get("video") or " ".join(names)
    if not key:
        raise ValueError("it has no id, no picture and no video to be named by")
    yield key, notes


def _contexts(key: str, rows: Sequence[Row]) -> Iterator[Context | Problem]:
    where = rows[0].where
    try:
        yield generic.context(where, _merged([row.data for row in rows]))
    except BAD_ROW as error:
        yield Problem(where, explain(error))


def _merged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Bring rows together; of two facts of one name the first stays."""
    merged: dict[str, Any] = {}
    pictures: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "image" in row:
            picture = pictures.setdefault(row["image"], {"name": row["image"]})
            _extend(picture, row, ("captions", "objects"))
    if len(pictures) > 1:
        merged["pictures"] = list(pictures.values())
    for row in rows:
        is_pictured = "image" in row and len(pictures) > 1
        _extend(merged, row, ("segments",) if is_pictured else ("captions", "objects", "segments"))
        for name in ("id", "video", "span", *(() if len(pictures) > 1 else ("image", "pictures"))):
            if name in row:
                merged.setdefault(name, row[name])
        merged["facts"] = {**row["facts"], **merged.get("facts", {})}
    return merged


def _extend(into: dict[str, Any], row: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        for value in row.get(name, ()):
            held = into.setdefault(name, [])
            if value not in held:
                held.append(value)
