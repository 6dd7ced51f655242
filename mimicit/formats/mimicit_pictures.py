"""Pictures of MIMIC-IT as base64 text: `{id: text}` in JSON, or a Parquet table with a column `base64` and the id as index.

pandas and dask write a table's pictures as one row group: 55 GB for a million of them. So Parquet is read a few pages at a time, never a
row group, and nothing is read ahead. The text is in either alphabet, with padding or without, as a data URL, in a list of one.

A picture is looked through to its end, as all are that come into a dataset, by the cheapest way that meets damage: a PNG's
checksums, a JPEG decoded at an eighth of its size. What does not pass goes to `picture.measure`, which has the last word.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import FormatError, PictureError
from mimicit.formats.aliases import picture_id
from mimicit.formats.base import BadRow
from mimicit.formats.items import At
from mimicit.formats.mimicit_records import shown
from mimicit.media import picture
from mimicit.schema import ImageRecord

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

INDEX_COLUMNS = ("id", "__index_level_0__", "__null_dask_index__", "index")
ROWS = 64
"""Read at once."""
PAGES = 1 << 20
"""Bytes read at once from the file."""
TEXT_BYTES = picture.MAX_BYTES * 4 // 3 + 4

_ONE_ALPHABET = str.maketrans("-_", "+/", "\r\n\t ")
_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,")
_MIMES = {"JPEG": "image/jpeg", "PNG": "image/png"}


def read_table(path: Path, name: str, column: str) -> Iterator[ImageRecord | BadRow | At]:
    """Read a Parquet file of pictures.

    Args:
        path: The file.
        name: For messages, and as the pictures' source.
        column: Where the pictures are: base64 text, bytes, or a struct with `bytes`.

    Raises:
        FormatError: it has no column with ids, or is broken from some place on.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=PAGES) as file:
            index = index_column(file.schema_arrow, column)
            if index is None:
                raise FormatError(f"{name!r} has a column {column!r} but none with the ids")
            size, rows, done = path.stat().st_size, max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(ROWS, columns=[index, column], use_threads=False):
                ids, values = batch[index].to_pylist(), batch[column].to_pylist()
                yield from pictures(zip(ids, values, strict=True), name)
                done += batch.num_rows
                yield At(size * done // rows)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise FormatError(f"{name!r} is a broken Parquet file: {error}") from None


def index_column(schema: pyarrow.Schema, column: str) -> str | None:
    """Return the column that names the pictures: one of the usual names, the one that pandas noted, or the only other."""
    names = [name for name in schema.names if name != column]
    for name in INDEX_COLUMNS:
        if name in names:
            return name
    noted = (schema.pandas_metadata or {}).get("index_columns", [])
    for name in noted:
        if isinstance(name, str) and name in names:
            return name
    return names[0] if len(names) == 1 else None


def prepare(name: str) -> Any:
    """Return what `JsonMembers.members` makes pictures with: they are counted, not yet decoded."""

    def make(members: dict[str, Any]) -> tuple[int, list[tuple[str, Any]]] | None:
        texts = list(members.values())
        if set(map(type, texts)) != {str}:
            return None
        quotes = 4 * len(members) + sum(id_.count('"') for id_ in members)
        return quotes + sum(text.count('"') for text in texts), list(members.items())

    return make


def pictures(
    pairs: Iterable[tuple[Any, Any]] | Sequence[tuple[Any, Any]], name: str
) -> Iterator[ImageRecord | BadRow]:
    for id_, value in pairs:
        yield _picture(id_, value, name)


def _picture(id_: Any, value: Any, name: str) -> ImageRecord | BadRow:
    where = f"{name}: {shown(str(id_))}"
    if id_ is None or (isinstance(id_, str) and not id_):
        return BadRow(where, "it has no id")
    try:
        data = _bytes(value)
        if data is None:
            return BadRow(where, "no base64 text")
        return measure(data, picture_id(str(id_)), where, name)
    except (PictureError, ValueError) as error:
        said = str(error).splitlines()[0] if not hasattr(error, "errors") else "no valid id"
        return BadRow(where, said)


def _bytes(value: Any) -> bytes | None:
    """Return a picture's bytes; None where there are none."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):  # as Hugging Face's `datasets` keep pictures
        value = value.get("bytes")
    if isinstance(value, bytes):
        return value or None
    return decode(value) if isinstance(value, str) and value else None


def decode(text: str) -> bytes:
    """Decode base64 in either alphabet.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    import pybase64

    if len(text) > TEXT_BYTES:
        raise ValueError(f"it is larger than {picture.MAX_BYTES >> 20} MiB")
    if text.startswith("data:") and (url := _URL.match(text[:200])):
        text = text[url.end() :]
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        plain = text.translate(_ONE_ALPHABET).rstrip("=")
        try:
            return pybase64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except ValueError as error:
            raise ValueError(f"no base64 text: {error}") from None


def measure(data: bytes, id_: str, where: str, source: str) -> ImageRecord:
    """Look at a picture as `picture.measure` does, in half the time.

    Raises:
        PictureError: as there.
    """
    found = _look(data) if len(data) <= picture.MAX_BYTES else None
    if found is None:
        return picture.measure(data, id=id_, name=where, source=source)
    mime, width, height = found
    return ImageRecord(
        id=id_,
        image=data,
        sha256=hashlib.sha256(data).hexdigest(),
        mime=mime,
        width=width,
        height=height,
        source=source,
    )


def _look(data: bytes) -> tuple[str, int, int] | None:
    """Return what a whole JPEG or PNG of a common size is; None where that needs a closer look."""
    from PIL import Image

    if data[:3] != b"\xff\xd8\xff" and data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_MIMES)) as image:
            width, height = image.size
            if width * height > picture.LARGE_PIXELS or image.format not in _MIMES:
                return None
            mime = _MIMES[image.format]
            if image.format == "PNG":
                if b"IEND" not in data[-64:]:
                    return None
                image.verify()
            else:
                image.draft("L", (1, 1))
                image.load()
    except Exception:  # noqa: BLE001 - decoders raise what they like; the closer look says what is wrong
        return None
    return mime, width, height
