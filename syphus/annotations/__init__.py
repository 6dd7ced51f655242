"""Readers of annotation files, one file per format.

A reader module has a TITLE, `sniff(path)`, whether a file is its own, judged by its beginning, and `read(paths, options)`. It streams: a file of
any size is read with flat memory. To add a format, write one such file (most need `files`, `values` and `groups` only) and a line of READERS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from syphus.annotations.base import Options, Reader, Reading
from syphus.errors import AnnotationError

__all__ = ["GENERIC", "READERS", "Options", "Reading", "read"]

READERS = {
    name: f"syphus.annotations.{name}"
    for name in (
        # Published data sets.
        "coco", "llava", "flickr", "refcoco", "labelme", "spot_the_diff", "activitynet", "tvr", "vist",
        "scanrefer", "ego4d", "epic", "funqa",
        # Anybody's files.
        "jsonl", "csv", "parquet", "sql",
    )
}  # fmt: skip
"""Where each format's reader is; imported when it is needed."""
GENERIC = ("jsonl", "csv", "parquet", "sql")

_QUERY = re.compile(r"""\s*(select|with|from)[\s*'"(\[{]""", re.IGNORECASE)


def read(
    paths: Sequence[Path | str], *, format: str | None = None, options: Options | None = None
) -> Reading:
    """Read annotation files in whichever format they are.

    Args:
        paths: Files of one format, or SQL queries; a folder stands for the JSON files in it.
        format: One of READERS, where the file does not say enough itself.
        options: What only some formats understand.

    Raises:
        AnnotationError: a file is missing, broken, or of no known format.
    """
    from syphus.annotations.groups import Unique

    options = options or Options()
    if format is not None and format not in READERS:
        raise AnnotationError(f"there is no format {format!r}; known: {', '.join(READERS)}")
    found: list[Path | str] = []
    for path in paths:
        found += _found(path, is_query=format == "sql")
    if not found:
        raise AnnotationError("there are no annotation files")
    files = [path for path in found if isinstance(path, Path)]
    if not files:
        from syphus.annotations import sql

        if format not in (None, "sql"):
            raise AnnotationError(f"a query is not in the format {format!r}; it is SQL")
        return Unique(sql.read(found, options))
    if len(files) < len(found):
        raise AnnotationError("either files or SQL queries; a query may itself read files")
    name = format or _detect(files[0])
    if format is not None and format not in GENERIC:
        _require(files[0], format)
    if options.columns and name not in GENERIC:
        raise AnnotationError(
            f"{str(files[0])!r} is in the format {_reader(name).TITLE}, whose columns are known; leave --column out, "
            f"or name a generic format: {', '.join(GENERIC)}"
        )
    return Unique(_reader(name).read(files, options))


def _reader(name: str) -> Reader:
    return cast("Reader", import_module(READERS[name]))


def _found(path: Path | str, *, is_query: bool) -> list[Path | str]:
    """Return the files of a path, or the query that it is."""
    try:
        file = Path(path)
        if file.is_file():
            return [file]
        if file.is_dir():
            return [*sorted(inner for inner in file.iterdir() if inner.suffix == ".json")]
    except OSError:  # too long for a name
        pass
    if is_query or _QUERY.match(str(path)):
        return [str(path)]
    raise AnnotationError(f"there is no annotation file {str(path)!r}")


def _looks_like(path: Path) -> str | None:
    return next((name for name in READERS if _reader(name).sniff(path)), None)


def _detect(path: Path) -> str:
    from syphus.annotations import files

    name = _looks_like(path)
    if name is None:
        if files.suffix(path) == ".json":
            files.require_json(path)
        raise AnnotationError(
            f"{str(path)!r} is in no annotation format known here ({', '.join(READERS)}); "
            "name one with --format if it is a table or lines of JSON"
        )
    return name


def _require(path: Path, name: str) -> None:
    from syphus.annotations import files

    if _reader(name).sniff(path):
        return
    other = _looks_like(path)
    if other is None and files.suffix(path) == ".json":
        files.require_json(path)
    like = f"; it looks like {_reader(other).TITLE}" if other else ""
    raise AnnotationError(f"{str(path)!r} is not in the format {name!r}{like}")
