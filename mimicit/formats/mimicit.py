"""The published MIMIC-IT files.

    T/T_instructions.json   {"meta": {version, time, author}, "data": {id: {instruction, answer, image_ids, rel_ins_ids}}}
    T/T.parquet             pictures: a string column `base64`, and the id as pandas' index
    T/T_train.json          {id: [ids of its context]}, the records to train on: all of T_instructions.json, by id

Read are also pictures as `{id: base64}` JSON, folders of Parquet parts, an index column of any of the names that pandas and dask give
it, both base64 alphabets, one-element lists, the hub's tables, and ids of all generations (`aliases`). Ours add the task's name and the
language to `meta`, and to a record what else it has (`translation_of`, `conversation`, `turn`, `rejected`, `meta`), so that what was
written is read back whole; other readers ignore them.

How files are read: `mimicit_read`, with `json_members`, `mimicit_records` and `mimicit_pictures`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import QueryError
from mimicit.formats.base import WriteOptions, Written
from mimicit.formats.files import staged
from mimicit.formats.mimicit_read import detect, read
from mimicit.formats.mimicit_records import OURS
from mimicit.sandbox import predicate
from mimicit.schema import Meta
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

__all__ = ["NAME", "TITLE", "detect", "read", "write"]

NAME = "mimicit"
TITLE = "The published MIMIC-IT files: instructions, pictures, selections."

ROW_GROUP = 100
AUTHOR = "mimicit"


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy an SQL predicate, one folder a task and language.

    Raises:
        QueryError: the predicate is wrong, or nothing was related by that strategy.
    """
    import duckdb

    written: list[Written] = []
    where, related = options.where, options.related
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    with store.reading() as connection:
        _check_related(connection, related)
        try:
            where = predicate(connection, where)
            groups = connection.execute(
                "SELECT task, language, regexp_extract(min(id), '^(.*?)_INS_', 1) FROM accepted "
                f"WHERE {where} GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        except duckdb.Error as error:
            raise QueryError(
                f"the selection {where!r} fails: {str(error).splitlines()[0]}"
            ) from None
        for task, language, prefix in groups:
            name = _safe(prefix or task.upper()) + (
                "" if language == "en" else f"_{_safe(language)}"
            )
            (folder / name).mkdir(parents=True, exist_ok=True)
            chosen = _Selection(connection, where, task, language, related)
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


class _Selection:
    """The accepted records of one task and language, streamed."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        where: str,
        task: str,
        language: str,
        related: str | None,
    ) -> None:
        self._connection = connection
        self._values = {"task": task, "language": language}
        chosen = f"SELECT * FROM accepted WHERE {where} AND task = $task AND language = $language"
        if related is not None:
            self._values["strategy"] = related
            # The newest part: an older one is left where `relate` was killed before its last step.
            chosen = f"""SELECT a.* REPLACE (coalesce(r.related, []) AS rel_ins_ids)
                FROM ({chosen}) AS a LEFT JOIN (
                    SELECT record, arg_max(related, part) AS related
                    FROM relations WHERE strategy = $strategy GROUP BY record
                ) AS r ON r.record = a.id"""
        self._chosen = f"WITH chosen AS MATERIALIZED ({chosen}) "

    def records(self) -> Iterator[tuple[Any, ...]]:
        return self._stream(
            f"SELECT id, instruction, answer, image_ids, rel_ins_ids, {', '.join(OURS)} "
            "FROM chosen ORDER BY id"
        )

    def relations(self) -> Iterator[tuple[Any, ...]]:
        """Yield each id with those of its related records that are chosen too."""
        return self._stream(
            """SELECT chosen.id, coalesce(kept, []) FROM chosen LEFT JOIN (
                SELECT named.id, list(related ORDER BY n) AS kept FROM (
                    SELECT id, unnest(rel_ins_ids) AS related,
                           generate_subscripts(rel_ins_ids, 1) AS n FROM chosen
                ) AS named SEMI JOIN chosen AS c ON c.id = related GROUP BY named.id
            ) AS k ON k.id = chosen.id ORDER BY chosen.id"""
        )

    def pictures(self) -> Iterator[tuple[Any, ...]]:
        return self._stream(
            'SELECT id, shard, "offset", length FROM images '
            'WHERE id IN (SELECT unnest(image_ids) FROM chosen) ORDER BY shard, "row"'
        )

    def _stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.execute("USE catalog")
        cursor.execute(self._chosen + query, self._values)
        while rows := cursor.fetchmany(10_000):
            yield from rows


def _write_instructions(chosen: _Selection, meta: Meta, path: Path) -> Written:
    """Write records as they are: related ids may name records that are not chosen."""
    count = 0
    with staged(path) as file:
        file.write(b'{"meta": ' + meta.model_dump_json().encode() + b',\n"data": {')
        for id_, instruction, answer, images, related, *more in chosen.records():
            row = {
                "instruction": instruction,
                "answer": answer,
                "image_ids": images,
                "rel_ins_ids": related,
                **{
                    name: value for name, value in zip(OURS, more, strict=True) if value is not None
                },
            }
            file.write((b",\n" if count else b"\n") + _json(id_) + b": " + _json(row))
            count += 1
        file.write(b"\n}}\n")
    return Written(path, count)


def _write_train(chosen: _Selection, path: Path) -> Written:
    """Write which records to train on, all, with those of their context that are there."""
    count = 0
    with staged(path) as file:
        file.write(b"{")
        for id_, related in chosen.relations():
            file.write((b",\n" if count else b"\n") + _json(id_) + b": " + _json(related))
            count += 1
        file.write(b"\n}\n")
    return Written(path, count)


def _write_pictures(chosen: _Selection, store: Store, path: Path) -> Written:
    """Write the bytes as they were given, in small row groups, with the id as pandas' index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    with staged(path) as file, pq.ParquetWriter(file, _picture_schema()) as writer:
        for block in _batched(chosen.pictures(), ROW_GROUP):
            ids = [id_ for id_, *_ in block]
            texts = [_base64(store, place) for _, *place in block]
            writer.write_table(pa.table([texts, ids], schema=_picture_schema()))
            count += len(block)
    return Written(path, count)


def _base64(store: Store, place: Sequence[Any]) -> str:
    import pybase64

    shard, offset, length = place
    with (store.path / shard).open("rb") as file:
        file.seek(offset)
        return pybase64.b64encode(file.read(length)).decode()


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


def _batched(rows: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while block := list(islice(rows, size)):
        yield block


def _json(value: object) -> bytes:
    import orjson

    return orjson.dumps(value)


def _safe(name: str) -> str:
    """Make a file name of a name that may come from somebody's file."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "unnamed"
