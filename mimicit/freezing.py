"""Write a snapshot (`mimicit.snapshot`): one sort in DuckDB, then three files, a batch at a time.

DuckDB gets little memory and sorts on disk. The chosen records lie in a table in their order, the places of their pictures in
the order of the records, so both are read as streams side by side.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mimicit import catalog, migrations
from mimicit.errors import DatasetError, QueryError
from mimicit.sandbox import lock_down, predicate
from mimicit.snapshot import BATCH_ROWS, FILES, FORMAT, file_digest, snapshot_digest

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from mimicit.store import Store

MEMORY = "256MB"
"""Of DuckDB's; where it is too little, it takes what it wants."""
LEFT_BEHIND = 86_400
"""Seconds after which a folder without a name is a killed process's."""

_CHOSEN = """
CREATE TABLE memory.main.chosen AS
SELECT id, task, language, instruction, answer, rejected, conversation, turn, image_ids
FROM accepted WHERE {where}
ORDER BY {shuffle} coalesce(conversation, id), turn NULLS FIRST, id
"""
_SHUFFLE = "sha256(concat({seed}, ' ', coalesce(conversation, id))),"
_TEXT = """
SELECT id, task, language, instruction, answer, rejected, conversation, turn FROM memory.main.chosen
"""
_FIELDS = """
SELECT id, len(image_ids) AS pictures,
       concat_ws(' ', sha256(id), sha256(task), sha256(language), sha256(instruction), sha256(answer),
                 coalesce(sha256(rejected), '-'), coalesce(sha256(conversation), '-'),
                 coalesce(turn::VARCHAR, '-')) AS fields
FROM memory.main.chosen
"""
_PLACES = """
SELECT images.shard, images."offset", images.length, images.sha256, number, nth
FROM (SELECT rowid AS number, unnest(image_ids) AS image, generate_subscripts(image_ids, 1) AS nth
      FROM memory.main.chosen) AS named
LEFT JOIN catalog.images AS images ON images.id = named.image
ORDER BY number, nth, shard, "offset"
"""
_RECIPES = "SELECT DISTINCT recipe, recipe_digest FROM verdicts ORDER BY ALL"


class _Place(NamedTuple):
    shard: str | None
    offset: int
    length: int
    sha256: str
    record: int
    nth: int


def write_snapshot(store: Store, where: str, seed: int | None) -> str:
    """Write a selection as a snapshot, unless it is there; return its digest."""
    import duckdb

    store.refresh()
    snapshots = store.path / "snapshots"
    snapshots.mkdir(exist_ok=True)
    _clear_up(snapshots)
    folder = Path(tempfile.mkdtemp(prefix=".freezing-", dir=snapshots))
    try:
        try:
            digest = _write(store, folder, where, seed, MEMORY)
        except duckdb.OutOfMemoryException:
            digest = _write(store, folder, where, seed, None)
        _publish(folder, snapshots / digest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return digest


def _clear_up(snapshots: Path) -> None:
    for path in snapshots.glob(".freezing-*"):
        if path.stat().st_mtime < time.time() - LEFT_BEHIND:
            shutil.rmtree(path, ignore_errors=True)


def _publish(folder: Path, final: Path) -> None:
    folder.chmod(0o755)
    try:
        folder.rename(final)
    except OSError:
        if not (final / "manifest.json").exists():
            raise


def _write(store: Store, folder: Path, where: str, seed: int | None, memory: str | None) -> str:
    with catalog.connect(store.catalog_path, read_only=True, memory=memory) as connection:
        spill = folder / "spill"
        connection.execute(f"SET temp_directory = '{str(spill).replace(chr(39), chr(39) * 2)}'")
        lock_down(connection)
        records = _choose(connection, where, seed)
        if records == 0:
            raise DatasetError(
                f"no accepted record of {str(store.path)!r} satisfies {where!r}; "
                "look at `syphus data stats` for what there is"
            )
        recipes = [
            {"name": name, "digest": digest}
            for name, digest in connection.execute(_RECIPES).fetchall()
        ]
        _write_text(connection, folder / "text.arrow")
        hasher, shards, pictures = _write_pictures(connection, store, folder)
    shutil.rmtree(spill, ignore_errors=True)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dataset_version": migrations.version_of(store.path),
        "where": where,
        "seed": seed,
        "records": records,
        "pictures": pictures,
        "recipes": recipes,
        "shards": shards,
        "files": {f"{name}.arrow": file_digest(folder / f"{name}.arrow") for name in FILES},
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    digest = snapshot_digest(hasher, manifest)
    text = json.dumps({"digest": digest, **manifest}, indent=2, ensure_ascii=False) + "\n"
    with (folder / "manifest.json").open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return digest


def _choose(connection: duckdb.DuckDBPyConnection, where: str, seed: int | None) -> int:
    import duckdb

    shuffle = "" if seed is None else _SHUFFLE.format(seed=int(seed))
    try:
        chosen = _CHOSEN.format(where=predicate(connection, where), shuffle=shuffle)
        connection.execute(chosen).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise QueryError(f"the selection {where!r} fails: {str(error).splitlines()[0]}") from None
    return catalog.scalar(connection, "SELECT count(*) FROM memory.main.chosen")


def _write_text(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    import pyarrow as pa

    reader = connection.sql(_TEXT).to_arrow_reader(BATCH_ROWS)
    schema = pa.schema([field.with_metadata({}) for field in reader.schema])
    with _file(path, schema) as writer:
        waiting: list[Any] = []
        for batch in reader:
            waiting.append(batch)
            if sum(part.num_rows for part in waiting) >= BATCH_ROWS:
                waiting = _put(writer, waiting)
        while waiting:
            waiting = _put(writer, waiting)


def _put(writer: Any, waiting: list[pyarrow.RecordBatch]) -> list[pyarrow.RecordBatch]:
    """Write one batch of the right number of rows; return what is left."""
    import pyarrow as pa

    rows = pa.Table.from_batches(waiting).combine_chunks()
    for batch in rows.slice(0, BATCH_ROWS).combine_chunks().to_batches():
        writer.write_batch(batch)
    rest: list[pyarrow.RecordBatch] = rows.slice(BATCH_ROWS).to_batches()
    return rest


def _write_pictures(
    connection: duckdb.DuckDBPyConnection, store: Store, folder: Path
) -> tuple[Any, list[str], int]:
    """Write places and hashes; return the hash over all hashes, the shards, and how many pictures there are."""
    import pyarrow as pa

    place = pa.struct([("shard", pa.int32()), ("offset", pa.int64()), ("length", pa.int64())])
    schema = pa.schema([("pictures", pa.list_(place))])
    hashes = pa.schema([("hash", pa.binary(32))])
    hasher, count = hashlib.sha256(), 0
    shards: dict[str, int] = {}
    places = _places(connection.cursor())
    with (
        _file(folder / "pictures.arrow", schema) as place_file,
        _file(folder / "hashes.arrow", hashes) as hash_file,
    ):
        for rows in _fields(connection.cursor()):
            starts, numbers = array("i", [0]), array("i")
            offsets, lengths, digests = array("q"), array("q"), []
            for id_, wanted, fields in rows:
                found = [next(places) for _ in range(wanted)]
                for picture in found:
                    if picture.shard is None:
                        raise _missing(store, id_)
                    numbers.append(shards.setdefault(picture.shard, len(shards)))
                    offsets.append(picture.offset)
                    lengths.append(picture.length)
                starts.append(len(numbers))
                whole = " ".join([fields, *(picture.sha256 for picture in found)])
                digests.append(hashlib.sha256(whole.encode()).digest())
            hasher.update(b"".join(digests))
            count += len(numbers)
            columns = zip((numbers, offsets, lengths), place, strict=True)
            cells = pa.StructArray.from_arrays(
                [_numbers(values, field.type) for values, field in columns], fields=list(place)
            )
            lists = pa.ListArray.from_arrays(
                _numbers(starts, pa.int32()), cells, type=schema[0].type
            )
            place_file.write_batch(pa.record_batch([lists], schema=schema))
            packed = pa.Array.from_buffers(
                pa.binary(32), len(digests), [None, pa.py_buffer(b"".join(digests))]
            )
            hash_file.write_batch(pa.record_batch([packed], schema=hashes))
    return hasher, list(shards), count


def _fields(cursor: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[str, int, str]]]:
    cursor.execute(_FIELDS)
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield rows


def _places(cursor: duckdb.DuckDBPyConnection) -> Iterator[_Place]:
    """Yield the place of each picture of each record; of two pictures of one id, which there should not be, the first."""
    last = None
    for batch in cursor.sql(_PLACES).to_arrow_reader(BATCH_ROWS):
        for place in map(_Place, *(column.to_pylist() for column in batch.columns)):
            if (place.record, place.nth) != last:
                last = place.record, place.nth
                yield place


def _numbers(values: array[int], kind: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _missing(store: Store, record: str) -> DatasetError:
    return DatasetError(
        f"record {record!r} names a picture that {str(store.path)!r} does not have; "
        "import the pictures, or leave such records out of the selection"
    )


def _file(path: Path, schema: pyarrow.Schema) -> Any:
    import pyarrow as pa

    return pa.ipc.new_file(str(path), schema)
