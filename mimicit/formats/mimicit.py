"""The published MIMIC-IT files.

    T/T_instructions.json   {"meta": {version, time, author}, "data": {id: {instruction, answer, image_ids, rel_ins_ids}}}
    T/T.parquet             pictures: a string column `base64`, and the id as pandas' index
    T/T_train.json          {id: [ids of its context]}, the records to train on: all of T_instructions.json, by id

Read are also pictures as `{id: base64}` JSON, folders of Parquet parts, an index column of any of the names that pandas and dask give
it, both base64 alphabets, one-element lists, the hub's tables, and ids of all generations (`aliases`). Ours add the task's name and the
language to `meta`, and to a record what else it has (`translation_of`, `conversation`, `turn`, `rejected`, `meta`), so that what was
written is read back whole; other readers ignore them.

How files are read: `mimicit_read`, with `json_members`, `mimicit_records` and `mimicit_pictures`. How records become text: `mimicit_writing`.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit import catalog
from mimicit.columns import as_column
from mimicit.errors import QueryError
from mimicit.formats.base import WriteOptions, Written
from mimicit.formats.exporting import MEMORY, PART
from mimicit.formats.files import staged
from mimicit.formats.mimicit_read import detect, read
from mimicit.formats.mimicit_writing import INSTRUCTION, TRAIN, Selection, keep_lists
from mimicit.formats.ordering import Lines, OutOfOrder, segments, streams, use_long_texts
from mimicit.formats.shard_bytes import ShardBytes
from mimicit.sandbox import lock_down, predicate
from mimicit.schema import Meta
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

__all__ = ["NAME", "TITLE", "detect", "read", "write"]

NAME = "mimicit"
TITLE = "The published MIMIC-IT files: instructions, pictures, selections."

ROW_GROUP = 100
"""Pictures."""
GROUP_BYTES = 64 << 20
"""Of base64, after which a row group ends though it has fewer pictures."""
AUTHOR = "mimicit"


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy an SQL predicate, one folder a task and language.

    Raises:
        QueryError: the predicate is wrong, or nothing was related by that strategy.
    """
    import duckdb

    try:
        return _write(store, folder, options, MEMORY)
    except duckdb.OutOfMemoryException:
        return _write(store, folder, options, None)


def _write(
    store: Store, folder: Path, options: WriteOptions, memory: str | None
) -> Sequence[Written]:
    import duckdb

    written: list[Written] = []
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    with catalog.connect(store.catalog_path, read_only=True, memory=memory) as connection:
        use_long_texts(connection)
        lock_down(connection)
        _check_related(connection, options.related)
        try:
            where = predicate(connection, options.where)
            groups = connection.execute(
                "SELECT task, language, regexp_extract(min(id), '^(.*?)_INS_', 1) FROM accepted "
                f"WHERE {where} GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise QueryError(
                f"the selection {options.where!r} fails: {str(error).splitlines()[0]}"
            ) from None
        parts = streams(segments(connection, PART, key="id"))
        if options.related is not None:
            keep_lists(connection, options.related)
        for task, language, prefix in groups:
            name = _safe(prefix or task.upper()) + (
                "" if language == "en" else f"_{_safe(language)}"
            )
            (folder / name).mkdir(parents=True, exist_ok=True)
            has_lists = options.related is not None
            spill = store.path / catalog.SPILL
            chosen = Selection(connection, where, task, language, parts, spill, related=has_lists)
            meta = Meta(version="1.0.0", time=today, author=AUTHOR, task=task, language=language)
            written += [
                _write_instructions(chosen, meta, folder / name / f"{name}_instructions.json"),
                _write_train(chosen, folder / name / f"{name}_train.json"),
                _write_pictures(chosen, store, folder / name / f"{name}.parquet"),
            ]
    return written


def _check_related(connection: duckdb.DuckDBPyConnection, strategy: str | None) -> None:
    rows = connection.execute("SELECT DISTINCT strategy FROM relations ORDER BY ALL").fetchall()
    known = [name for (name,) in rows]
    if strategy is not None and strategy not in known:
        raise QueryError(
            f"no records are related by {strategy!r} (there is: {', '.join(known) or 'nothing'}); "
            f"relate them first with: syphus data relate --by {strategy}"
        )


def _write_instructions(chosen: Selection, meta: Meta, path: Path) -> Written:
    start = b'{"meta": ' + meta.model_dump_json().encode() + b',\n"data": {'
    return _write_members(chosen, INSTRUCTION, path, start, b"\n}}\n")


def _write_train(chosen: Selection, path: Path) -> Written:
    """Write which records to train on, all, with those of their context that are there."""
    if not chosen.names_others():
        return _write_members(chosen, TRAIN, path, b"{", b"\n}\n")
    with staged(path) as file:
        file.write(b"{")
        pieces = chosen.train_pieces()
        first = next(pieces)
        file.write(first.text[2:])  # the end of a list that is not there
        count = first.rows
        for piece in pieces:
            file.write(piece.text)
            count += piece.rows
        file.write(b"]\n}\n")
    return Written(path, count)


def _write_members(chosen: Selection, text: str, path: Path, start: bytes, end: bytes) -> Written:
    try:
        count = _write_lines(chosen.members(text, as_they_lie=True), path, start, end)
    except OutOfOrder:
        count = _write_lines(chosen.members(text, as_they_lie=False), path, start, end)
    return Written(path, count)


def _write_lines(found: Iterator[Lines], path: Path, start: bytes, end: bytes) -> int:
    count = 0
    with staged(path) as file:
        file.write(start)
        for one in found:
            file.write(one.text if count else one.text[1:])  # no comma before the first one
            count += one.rows
        file.write(end)
    return count


def _write_pictures(chosen: Selection, store: Store, path: Path) -> Written:
    """Write the bytes as they were given, in small row groups, with the id as pandas' index."""
    import pyarrow.parquet as pq

    schema = _picture_schema()
    count = 0
    options = {
        "use_dictionary": False,
        "write_statistics": [schema.names[1]],
        "write_batch_size": 8,
    }
    with (
        ShardBytes(store.path) as shards,
        staged(path) as file,
        pq.ParquetWriter(file, schema, **options) as writer,
    ):
        group = _Group(schema)
        for id_, shard, offset, length in chosen.pictures(ROW_GROUP):
            group.add(id_, shards.read(shard, offset, length))
            if len(group) == ROW_GROUP or group.size >= GROUP_BYTES:
                writer.write_batch(group.take())
            count += 1
        if len(group):
            writer.write_batch(group.take())
    return Written(path, count)


class _Group:
    """Pictures of a row group, as base64 in one piece of memory that serves again and again."""

    def __init__(self, schema: pyarrow.Schema) -> None:
        self._schema = schema
        self._text = bytearray()
        self._ids: list[str] = []
        self._ends = array("i", [0])

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def size(self) -> int:
        """Bytes of base64."""
        return self._ends[-1]

    def add(self, id_: str, picture: bytes) -> None:
        import pybase64

        text = pybase64.b64encode(picture)
        start, end = self.size, self.size + len(text)
        self._text[start:end] = text
        self._ids.append(id_)
        self._ends.append(end)

    def take(self) -> pyarrow.RecordBatch:
        """Return them as a batch, which is over when the next one is added."""
        import pyarrow as pa

        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._text)]
        texts = pa.Array.from_buffers(pa.string(), len(self), buffers)
        ids = as_column(self._ids, pa.string())
        self._ids, self._ends = [], array("i", [0])
        return pa.record_batch([texts, ids], schema=self._schema)


def _picture_schema() -> pyarrow.Schema:
    """Return the schema with the notes by which pandas restores its index."""
    import pyarrow as pa

    index = "__index_level_0__"
    column = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            {"name": "base64", "field_name": "base64", **column},
            {"name": None, "field_name": index, **column},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return pa.schema([("base64", pa.string()), (index, pa.string())]).with_metadata(
        {"pandas": json.dumps(pandas)}
    )


def _safe(name: str) -> str:
    """Make a file name of a name that may come from somebody's file."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "unnamed"
