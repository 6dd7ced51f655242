"""Read benchmark files: JSON of several shapes, JSON lines, CSV, TSV, Parquet, MME's text files, folders of pictures.

    {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a dog?", "label": "yes"}     POPE
    000000006040.jpg <TAB> Is there a train? Please answer yes or no. <TAB> Yes                                   MME
    {"question": …, "choices": [ … ], "answer": 1, "image": null}; {"12": {"question": …}, …}                      ScienceQA

Files are somebody else's: a row that cannot be used is listed and left out, and what is too large is not read.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from mimicit.decontaminate.items import (
    Benchmarks,
    Builder,
    Item,
    is_picture,
    is_read,
    item_of,
    texts_of,
)
from mimicit.errors import FormatError

MOST_ITEMS = 2_000_000
MAX_OBJECT = 1 << 30
"""Bytes of a JSON file that is one object, which is read whole."""
MAX_LINE = 64 << 20
"""Bytes of a line or a cell; pictures may be in it as base64."""
KINDS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt"})

Rows = Iterator[tuple[str, Any]]
"""Place and row; a row that is a text says what is wrong."""
Tell = Callable[[int], None]
"""Is told how many items were read."""


def read_benchmarks(
    paths: Sequence[Path], images: Path | None = None, tell: Tell = lambda _: None
) -> Benchmarks:
    """Read files, and folders of files or pictures.

    Args:
        paths: The files.
        images: Folder of the pictures that they name; they are looked for beside each file, too.
        tell: Is told how far it is.

    Raises:
        FormatError: there is no such file, or nothing in it can be used.
    """
    builder = Builder(images)
    for path in paths:
        if path.is_dir():
            _read_folder(path, builder, tell)
        elif path.is_file():
            _read_file(path, path.stem, builder, tell)
        else:
            raise FormatError(f"there is no benchmark {str(path)!r}")
    if not builder.count:
        said = f" ({builder.bad[0]})" if builder.bad else ""
        names = ", ".join(repr(str(path)) for path in paths)
        raise FormatError(f"{names} hold no questions and no pictures{said}")
    return builder.tables()


def _read_folder(folder: Path, builder: Builder, tell: Tell) -> None:
    """Read the files of a folder, then take its pictures that no file names as items of their own."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    files = [path for path in paths if path.suffix.lower() in KINDS]
    for path in files:
        # Of many small files, one for each picture, the folder is the benchmark.
        name = path.stem if len(files) < 50 else path.parent.name
        _read_file(path, name, builder, tell)
    for path in paths:
        if is_picture(path) and not builder.is_shown(path.resolve()):
            place = str(path.relative_to(folder))
            builder.add(folder.name, place, Item("", pictures=(place,)), folder)
            tell(builder.count)


def _read_file(path: Path, benchmark: str, builder: Builder, tell: Tell) -> None:
    """Read a file to its end, or to where it breaks."""
    if is_picture(path):
        builder.add(path.parent.name, path.name, Item("", pictures=(path.name,)), path.parent)
        return
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise FormatError(f"{str(path)!r} is no benchmark that can be read; there are: {known}")
    try:
        for place, row in reader(path):
            if isinstance(row, str):
                builder.refuse(f"{path.name}: {place}", row)
                continue
            item = row if isinstance(row, Item) else item_of(row)
            if item is None:
                has = ", ".join(texts_of([row])) or "nothing"
                builder.refuse(
                    f"{path.name}: {place}", f"no question and no picture; it has: {has}"
                )
                continue
            builder.add(benchmark, place, item, path.parent)
            tell(builder.count)
            if builder.count > MOST_ITEMS:
                raise FormatError(
                    f"{str(path)!r} brings more than {MOST_ITEMS:,} items; name fewer"
                )
    except (OSError, UnicodeError, csv.Error) as error:
        builder.refuse(path.name, f"it breaks off: {str(error).splitlines()[0]}")


# JSON


def _json(path: Path) -> Rows:
    """Read an array, JSON lines, or an object that holds them or is one."""
    from mimicit.formats.rows import is_array

    if is_array(path) or _is_lines(path):
        yield from _json_rows(path)
    else:
        yield from _members(_whole(path))


def _is_lines(path: Path) -> bool:
    """Say whether the first line is a JSON object of its own, and not the whole file."""
    import orjson

    with path.open("rb") as file:
        line = file.readline(MAX_LINE).removeprefix(b"\xef\xbb\xbf")
        rest = file.read(1)
    try:
        return isinstance(orjson.loads(line), dict) and (
            bool(rest) or path.suffix.lower() != ".json" or item_of(orjson.loads(line)) is not None
        )
    except orjson.JSONDecodeError:
        return path.suffix.lower() != ".json"


def _json_rows(path: Path) -> Rows:
    from mimicit.formats.base import BadRow
    from mimicit.formats.rows import rows

    try:
        for row in rows(path):
            place = row.where.removeprefix(f"{path.name}: ")
            if isinstance(row, BadRow):
                yield place, row.reason
            else:
                yield place, row.value if isinstance(row.value, dict) else "it is no object"
    except FormatError as error:
        yield "the end", str(error)


def _whole(path: Path) -> Any:
    import orjson

    if path.stat().st_size > MAX_OBJECT:
        raise FormatError(
            f"{str(path)!r} is one object of more than {MAX_OBJECT >> 20} MiB; write it as JSON lines"
        )
    try:
        return orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{str(path)!r} is broken JSON: {str(error).splitlines()[0]}") from None


def _members(whole: Any, depth: int = 0) -> Rows:
    """Yield the items of an object: itself, its members, or those of a list in it."""
    if not isinstance(whole, dict):
        yield "the file", "it is no object"
    elif item_of(whole) is not None:
        yield "the object", whole
    elif whole and all(isinstance(value, dict) for value in whole.values()):
        yield from ((str(key)[:60], value) for key, value in whole.items())
    else:
        lists = [(key, value) for key, value in whole.items() if isinstance(value, list)]
        rows = [(key, many) for key, many in lists if many and isinstance(many[0], dict)]
        if not rows:
            yield "the object", "there is no list of questions in it"
        for key, many in rows:
            for number, row in enumerate(many, 1):
                place = f"{str(key)[:60]} {number}"
                yield place, row if isinstance(row, dict) else "it is no object"


# Tables


_END = "\x1ethe end of the file\x1e"
"""A line of our own after the last one. Where it is in a cell, a quote took the rest of the file into that cell."""


def _to_the_end(file: IO[str]) -> Iterator[str]:
    """Yield lines, and one more.

    Raises:
        csv.Error: a line is too long.
    """
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise csv.Error(f"a line is longer than {MAX_LINE >> 20} MiB")
        yield line
    yield _END


def _table(path: Path, delimiter: str) -> Rows:
    before = csv.field_size_limit(MAX_LINE)
    try:
        with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            reader = csv.reader(_to_the_end(file), delimiter=delimiter)
            names = next(reader)
            for cells in reader:
                place = f"line {reader.line_num}"
                if cells == [_END]:
                    return
                if any(_END in cell for cell in cells):
                    yield "the end", "a quote is opened and never closed"
                elif len(cells) > len(names):
                    yield place, "it has more cells than the first line"
                elif cells:
                    yield place, dict(zip_longest(names, cells))
    finally:
        csv.field_size_limit(before)


def _csv(path: Path) -> Rows:
    return _table(path, ",")


def _tsv(path: Path) -> Rows:
    return _table(path, "\t")


def _parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number, names = 0, file.schema_arrow.names
            known = [name for name in names if is_read(name)]
            if not known:
                has = ", ".join(texts_of([dict.fromkeys(names)])) or "nothing"
                yield "its columns", f"no question and no picture; it has: {has}"
                return
            for batch in file.iter_batches(64, columns=known):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except pa.ArrowException as error:
        yield "the end", f"it breaks off: {str(error).splitlines()[0]}"


def _lines(path: Path) -> Rows:
    """Read MME's lines: picture, question and answer; or question and answer, about the picture of the file's name."""
    beside = next(
        (one.name for one in sorted(path.parent.glob(f"{_plain(path.stem)}.*")) if is_picture(one)),
        None,
    )
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), 1):
            cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
            place = f"line {number}"
            if not any(cells):
                continue
            if len(cells) == 3:
                yield place, Item(cells[1], (), cells[2], (cells[0],) if cells[0] else ())
            elif len(cells) == 2:
                yield place, Item(cells[0], (), cells[1], (beside,) if beside else ())
            else:
                yield place, f"it has {len(cells)} cells; picture, question and answer are three"


def _plain(text: str) -> str:
    import glob

    return glob.escape(text)


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".json": _json,
    ".jsonl": _json,
    ".ndjson": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".txt": _lines,
}
