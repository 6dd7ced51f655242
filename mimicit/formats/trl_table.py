"""Parquet files as the Hugging Face `datasets` library writes them.

A table's *features* say what its columns are, in the library's own JSON; from them follow the Arrow schema, the note in the file by
which the library knows pictures from plain structs (key `huggingface`), and the `dataset_info` of a dataset card. A list is written as a list
of one feature: releases before 4 and after know it.

Row groups are cut by bytes, files by the bytes of their pictures, and how many files there are is in each one's name, so that names are
given when the last one is closed. Picture bytes are neither compressed nor put into a dictionary, nor their least and largest into the footer.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mimicit.columns import as_column
from mimicit.errors import FormatError
from mimicit.formats.base import Written

if TYPE_CHECKING:
    import pyarrow

ROW_GROUP_BYTES = 8 << 20
ROW_GROUP_ROWS = 1_000
MOST_ROW_BYTES = 1 << 30
"""Arrow counts a column's bytes in 31 bits."""

Features = Mapping[str, Any]

TEXT = {"dtype": "string", "_type": "Value"}
MESSAGES = [{"role": TEXT, "content": [{"type": TEXT, "text": TEXT}]}]
IMAGE = {"_type": "Image"}


def arrow_schema(features: Features) -> pyarrow.Schema:
    """Return the schema of a table, with the library's note."""
    import pyarrow as pa

    note = json.dumps({"info": {"features": features}})
    fields = [(name, _arrow_type(feature)) for name, feature in features.items()]
    return pa.schema(fields).with_metadata({"huggingface": note})


def _arrow_type(feature: Any) -> pyarrow.DataType:
    import pyarrow as pa

    if isinstance(feature, list):
        return pa.list_(_arrow_type(feature[0]))
    if feature == TEXT:
        return pa.string()
    if feature == IMAGE:
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.struct([(name, _arrow_type(one)) for name, one in feature.items()])


def card_features(features: Features) -> list[dict[str, Any]]:
    """Return the features as a dataset card lists them."""
    return [{"name": name, **_card_type(feature)} for name, feature in features.items()]


def _card_type(feature: Any) -> dict[str, Any]:
    if isinstance(feature, list):
        inner = _card_type(feature[0])
        return {"list": inner if "list" in inner else next(iter(inner.values()))}
    if feature == TEXT:
        return {"dtype": "string"}
    if feature == IMAGE:
        return {"dtype": "image"}
    return {"struct": card_features(feature)}


class ShardedTable:
    """Files `<split>-00000-of-0000N.parquet` in a folder; they get their names when the block ends well."""

    def __init__(self, folder: Path, split: str, features: Features, *, shard_bytes: int) -> None:
        self.folder = folder
        self.split = split
        self.features = features
        self.records = 0
        self.bytes = 0
        """In memory, as Arrow counts."""
        self.file_bytes = 0
        self._shard_bytes = shard_bytes
        self._schema = arrow_schema(features)
        self._waiting: list[Mapping[str, Any]] = []
        self._waiting_bytes = 0
        self._in_file = 0
        self._counts: list[int] = []
        self._writer: Any = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """Add a row.

        Args:
            row: Its columns.
            size: Bytes of its pictures and texts.

        Raises:
            FormatError: more than a file can hold in one row.
        """
        if size > MOST_ROW_BYTES:
            raise FormatError(
                f"{row.get('id')!r} has {size >> 20} MiB of pictures; a row holds at most "
                f"{MOST_ROW_BYTES >> 20} MiB: leave it out with --where"
            )
        if self._waiting and self._waiting_bytes + size > ROW_GROUP_BYTES:
            self._write_group()
        if self._in_file and self._in_file + size > self._shard_bytes:
            self._end_file()
        self._waiting.append(row)
        self._waiting_bytes += size
        self._in_file += size
        self.records += 1
        if len(self._waiting) == ROW_GROUP_ROWS:
            self._write_group()

    def publish(self) -> list[Written]:
        """Finish the files and name them.

        Raises:
            FormatError: the folder has files of an export of this split in another number of files.
        """
        self._end_file()
        names = [self._name(number) for number in range(len(self._counts))]
        refuse_others(self.folder, rf"{re.escape(self.split)}-\d{{5}}-of-\d{{5}}\.parquet", names)
        for number, name in enumerate(names):
            self._staged(number).replace(self.folder / name)
        return [
            Written(self.folder / name, count)
            for name, count in zip(names, self._counts, strict=True)
        ]

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for number in range(len(self._counts) + 1):
            self._staged(number).unlink(missing_ok=True)

    def _write_group(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        if self._writer is None:
            texts = list(_leaves(self.features, of_pictures=False))
            pictures = list(_leaves(self.features, of_pictures=True))
            self._writer = pq.ParquetWriter(
                self._staged(len(self._counts)),
                self._schema,
                compression=dict.fromkeys(texts, "zstd") | dict.fromkeys(pictures, "none"),
                use_dictionary=texts,
                write_statistics=texts,
            )
            self._counts.append(0)
        columns = [
            _column([row[field.name] for row in self._waiting], field.type)
            for field in self._schema
        ]
        table = pa.table(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(self._waiting))
        self._counts[-1] += len(self._waiting)
        self.bytes += table.nbytes
        self._waiting, self._waiting_bytes = [], 0

    def _end_file(self) -> None:
        self._write_group()
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        with self._staged(len(self._counts) - 1).open("rb") as file:
            os.fsync(file.fileno())
            self.file_bytes += os.fstat(file.fileno()).st_size
        self._in_file = 0

    def _name(self, number: int) -> str:
        return f"{self.split}-{number:05d}-of-{len(self._counts):05d}.parquet"

    def _staged(self, number: int) -> Path:
        return self.folder / f".{self.split}-{number:05d}.parquet.staged"


def refuse_others(folder: Path, pattern: str, names: Iterable[str]) -> None:
    """Refuse to write beside files of an earlier export that would be read together with the new ones."""
    there = {path.name for path in folder.iterdir() if re.fullmatch(pattern, path.name)}
    if others := sorted(there - set(names)):
        raise FormatError(
            f"{str(folder)!r} holds {others[0]!r} of another export, which would be read as part of this "
            "one; name another folder, or empty that one"
        )


def _leaves(features: Any, path: str = "", *, of_pictures: bool) -> Iterator[str]:
    """Name the columns that Parquet makes of nested ones."""
    if isinstance(features, list):
        yield from _leaves(features[0], f"{path}.list.element", of_pictures=of_pictures)
    elif features == TEXT:
        if not of_pictures:
            yield path
    elif features == IMAGE:
        yield f"{path}.{'bytes' if of_pictures else 'path'}"
    else:
        for name, feature in features.items():
            below = f"{path}.{name}" if path else name
            yield from _leaves(feature, below, of_pictures=of_pictures)


def _column(values: Sequence[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """Lay nested values out as Arrow does: see `mimicit.columns`."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        columns = [_column([value[field.name] for value in values], field.type) for field in kind]
        return pa.StructArray.from_arrays(columns, fields=list(kind))
    if pa.types.is_list(kind):
        starts = as_column(list(accumulate(map(len, values), initial=0)), pa.int32())
        inner = _column([one for value in values for one in value], kind.value_type)
        return pa.ListArray.from_arrays(starts, inner, type=kind)
    return as_column(values, kind)
