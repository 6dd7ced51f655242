"""Read the published MIMIC-IT files: which kind one is, and its rows as a stream (see `mimicit`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mimicit.columns import Rows
from mimicit.errors import FormatError, PictureError
from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.items import At, Block, Listed
from mimicit.formats.json_members import JsonMembers, load
from mimicit.formats.mimicit_pictures import pictures, prepare, read_table
from mimicit.formats.mimicit_records import Records, quotes, shown
from mimicit.media import picture
from mimicit.schema import ImageRecord, Instruction, InstructionRow, is_id

if TYPE_CHECKING:
    import pyarrow

Item = Instruction | ImageRecord | BadRow | Block | Rows | Listed | At
Kind = Literal["records", "pictures", "list"]

FIRST = 4
"""Members of a file that are looked at to see what it is."""
PICTURE_TEXT = 120
"""Characters that are looked at to see whether a string is a picture."""
TAIL = 64 << 10
"""Bytes at the end in which `meta` is looked for where it does not come first."""
RECORD_ROWS = 256
_BASE64 = re.compile(
    r"data:image/[\w.+-]+;base64,.*|[A-Za-z0-9+/_-]{60}[A-Za-z0-9+/_\-\r\n]*=*\s*", re.DOTALL
)
_META = re.compile(rb'"meta"\s*:\s*(?=\{)')
_RELATED = ("related instructions", "rel_ins_ids")
_IMAGES = ("images", "image_ids")


def detect(path: Path) -> bool:
    """Recognise by content; little is read."""
    if path.suffix == ".parquet":
        return _table_kind(path) is not None
    return path.suffix == ".json" and _json_kind(path) is not None


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read one file of any kind as a stream.

    Raises:
        FormatError: the file is broken from some place on; what came before it was read.
    """
    # The parts of a folder that dask wrote are all called alike.
    inside = path.parent.suffix == ".parquet"
    name = f"{path.parent.name}/{path.name}" if inside else path.name
    items = _read_table(path, name, options) if path.suffix == ".parquet" else _read_json(path, name, options)  # fmt: skip
    return _with_pictures(items, options.images) if options.images else items


# JSON


def _json_kind(path: Path) -> Kind | None:
    seen_meta = False
    try:
        with path.open("rb") as file:
            members = JsonMembers(file, path.name)
            for key in islice(iter(members.key, None), FIRST):
                sign = members.sign()
                if key == "data":
                    return "records" if sign == b"{" and (seen_meta or _is_record(members)) else None  # fmt: skip
                if key == "meta" and sign == b"{":
                    seen_meta = True
                elif sign not in b'"[n0123456789':
                    return None
                value = members.value()
                if key != "meta" and (kind := _kind(key, value)):
                    return kind
    except (FormatError, OSError):
        return "records" if seen_meta else None
    return "records" if seen_meta else ("list" if path.name.endswith("_train.json") else None)


def _is_record(members: JsonMembers) -> bool:
    members.enter()
    key = members.key()
    if key is None or "_INS_" in key:
        return key is not None
    value = members.value()
    return isinstance(value, dict) and {"instruction", "answer"} <= set(value)


def _kind(key: str, value: Any) -> Kind | None:
    """Say what a file is that begins with this member."""
    if isinstance(value, list) and "_INS_" in key:
        return "list"
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    looks = isinstance(value, str) and _BASE64.fullmatch(value[:PICTURE_TEXT])
    return "pictures" if "_IMG_" in key or looks else None


def _read_json(path: Path, name: str, options: ReadOptions) -> Iterator[Item]:
    kind = _json_kind(path)
    with path.open("rb") as file:
        members = JsonMembers(file, name)
        if kind == "records":
            yield from _read_records(members, path, name, options)
        elif kind == "pictures":
            for pairs in members.members(prepare(name), b'"]l'):
                yield from pictures(pairs, name)
                yield At(members.read)
        elif kind == "list":
            for pairs in members.members(_lists, b"]"):
                yield from (_listed(name, id_, related) for id_, related in pairs)
                yield At(members.read)
        else:
            raise FormatError(f"{name!r} is no MIMIC-IT file: it has neither `data` nor pictures")


def _read_records(
    members: JsonMembers, path: Path, name: str, options: ReadOptions
) -> Iterator[Item]:
    meta: dict[str, Any] | None = None
    while (key := members.key()) is not None:
        if key != "data":
            value = members.value()
            meta = value if key == "meta" and isinstance(value, dict) else meta
            continue
        members.enter()
        meta = _last_meta(path) if meta is None else meta
        task, language = (_text(meta, "task"), _text(meta, "language"))
        records = Records(name, task or options.task, language or options.language)
        for block in members.members(records.prepare, b"}"):
            if isinstance(block, Block | Rows):
                yield block
            else:
                yield from (records.one(id_, row) for id_, row in block)
            yield At(members.read)
        members.after_object()


def _text(meta: dict[str, Any], key: str) -> str | None:
    value = meta.get(key)
    return value if isinstance(value, str) and value else None


def _last_meta(path: Path) -> dict[str, Any]:
    """Return the `meta` of a file whose keys were sorted, so that it stands behind `data`."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        tail = file.read().rstrip()
    places = [found.end() for found in _META.finditer(tail)]
    try:
        value = load(tail[places[-1] : -1]) if places and tail.endswith(b"}") else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _lists(members: dict[str, Any]) -> tuple[int, list[tuple[str, Any]]]:
    return quotes(members), list(members.items())


def _listed(name: str, id_: str, related: Any) -> Listed | BadRow:
    where = f"{name}: {shown(id_)}"
    if not isinstance(related, list) or not all(isinstance(one, str) for one in related):
        return BadRow(where, "no list of ids")
    if not all(map(is_id, (id_, *related))):
        return BadRow(where, "no valid id")
    return Listed(id_, tuple(related))


# Parquet


def _table_kind(path: Path) -> tuple[Kind, str] | None:
    """Return what a Parquet file holds, and in which column its pictures are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        names = set(schema.names)
        if "base64" in names:
            return "pictures", "base64"
        if {"id", "instruction", "answer"} <= names and names & set(_RELATED):
            return "records", next((name for name in _IMAGES if name in names), "")
        if names == {"id", "image"} and "_IMG_" in _first_id(path):
            return "pictures", "image"
    except (pa.ArrowException, OSError):
        return None
    return None


def _first_id(path: Path) -> str:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        for batch in file.iter_batches(1, columns=["id"]):
            return str(batch["id"][0])
    return ""


def _read_table(path: Path, name: str, options: ReadOptions) -> Iterator[Item]:
    found = _table_kind(path)
    if found is None:
        raise FormatError(f"{name!r} is no MIMIC-IT table: it has neither `base64` nor `answer`")
    kind, column = found
    if kind == "pictures":
        yield from read_table(path, name, column)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = Records(name, options.task, options.language)
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            size, rows, done = path.stat().st_size, max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(RECORD_ROWS, use_threads=False):
                yield from _table_rows(batch, column, records)
                done += batch.num_rows
                yield At(size * done // rows)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise FormatError(f"{name!r} is a broken Parquet file: {error}") from None


def _table_rows(batch: pyarrow.RecordBatch, column: str, records: Records) -> Iterator[Item]:
    """Read rows of the hub's tables; where they hold their pictures, these get ids of their own."""
    for row in batch.to_pylist():
        id_ = str(row.pop("id") or "")
        row["rel_ins_ids"] = row.pop(_RELATED[0], None) or row.pop("rel_ins_ids", None)
        images = row.pop(column, None) or []
        if images and all(isinstance(image, dict) for image in images):
            made = _own_pictures(id_, images)
            yield from pictures(made.items(), records.name)
            images = list(made)
        row["image_ids"] = images
        yield records.one(id_, row)


def _own_pictures(id_: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    made = {}
    for number, image in enumerate(images):
        stem = Path(image.get("path") or "").stem
        made[stem if "_IMG_" in stem else f"{id_.replace('_INS_', '_IMG_')}_{number}"] = image
    return made


# Pictures in a folder


def _with_pictures(items: Iterable[Item], folder: Path) -> Iterator[Item]:
    """Hand over each picture that records name, once, before the first of them: files called as the id, or as what follows `_IMG_`."""
    files = {Path(entry.name).stem: entry.name for entry in os.scandir(folder) if entry.is_file()}
    for item in items:
        for id_ in _shown(item):
            name = files.pop(id_, None) or files.pop(id_.partition("_IMG_")[2], None)
            if name is not None:
                yield _file(folder, name, id_)
        yield item


def _shown(item: Item) -> Iterator[str]:
    """Yield the ids of the pictures that records name, in their order."""
    if isinstance(item, Rows):
        import pyarrow.compute as pc

        named = pc.list_flatten(item.table["image_ids"])
        yield from pc.unique(named).to_pylist()
    else:
        records = item.records if isinstance(item, Block) else [item]
        for record in records:
            yield from record.image_ids if isinstance(record, Instruction | InstructionRow) else ()


def _file(folder: Path, name: str, id_: str) -> ImageRecord | BadRow:
    try:
        return picture.measure(picture.read(folder, name), id=id_, name=name, source=name)
    except PictureError as error:
        return BadRow(name, str(error))
