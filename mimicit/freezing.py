"""Write a snapshot (`mimicit.snapshot`): one sort in DuckDB, then a few files, a batch at a time.

DuckDB gets little memory and sorts on disk. The chosen records lie in a table in their order, those that are only examples in
context behind them; the places of their pictures lie in the order of the records, so both are read as streams side by side.
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
from mimicit.frozen import Frozen
from mimicit.sandbox import lock_down, predicate
from mimicit.snapshot import (
    BATCH_ROWS,
    CONTEXT,
    FILES,
    FORMAT,
    OWN,
    WITH_CONTEXT,
    context_line,
    file_digest,
    snapshot_digest,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from mimicit.store import Store

MEMORY = "256MB"
"""Of DuckDB's; where it is too little, it takes what it wants."""
LEFT_BEHIND = 86_400
"""Seconds after which a folder without a name is a killed process's."""

_FIELD_NAMES = "id, task, language, instruction, answer, rejected, conversation, turn"
_CHOSEN = """
CREATE TABLE memory.main.chosen AS
SELECT {fields}, {pictures} AS image_ids, {related} AS related
FROM accepted WHERE {where}
ORDER BY {shuffle} coalesce(conversation, id), turn NULLS FIRST, id
"""
_OWN_LISTS = "SELECT id AS record, related FROM memory.main.chosen"
_LISTS_OF = """
SELECT record, related FROM relations WHERE strategy = $strategy
QUALIFY row_number() OVER (PARTITION BY record ORDER BY part, rowid) = 1
"""
_LINKS = """
CREATE TABLE memory.main.links AS
SELECT chosen.rowid AS number, nth, listed.related FROM (
    SELECT record, unnest(related) AS related, generate_subscripts(related, 1) AS nth FROM ({lists})) AS listed
JOIN memory.main.chosen ON chosen.id = listed.record
WHERE listed.related <> listed.record
"""
_WITHOUT = """
DELETE FROM memory.main.links WHERE related IN (SELECT id FROM accepted WHERE {without})
"""
_EXAMPLES = """
INSERT INTO memory.main.chosen
SELECT {fields}, {pictures}, [] FROM accepted
WHERE id IN (SELECT related FROM memory.main.links) AND id NOT IN (SELECT id FROM memory.main.chosen)
ORDER BY id
"""
_CONTEXT = """
SELECT chosen.number, coalesce(list(found.number ORDER BY nth) FILTER (found.number IS NOT NULL), []),
       count(links.number) - count(found.number)
FROM (SELECT rowid AS number FROM memory.main.chosen WHERE rowid < $records) AS chosen
LEFT JOIN memory.main.links AS links ON links.number = chosen.number
LEFT JOIN (SELECT rowid AS number, id FROM memory.main.chosen) AS found ON found.id = links.related
GROUP BY chosen.number ORDER BY chosen.number
"""
_MARKED = """
SELECT count(*), list(id ORDER BY number)[:{shown}] FROM (
    SELECT rowid AS number, id, len(image_ids) AS pictures,
           (length(instruction) - length(replace(instruction, '<image>', ''))) // 7 AS marks
    FROM memory.main.chosen WHERE contains(instruction, '<image>'))
WHERE marks <> pictures AND number < {records}
"""
SHOWN = 5
"""Records that a manifest names."""
_SHUFFLE = "sha256(concat({seed}, ' ', coalesce(conversation, id))),"
_TEXT = f"SELECT {_FIELD_NAMES} FROM memory.main.chosen"
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


class Selected(NamedTuple):
    """What `mimicit.snapshot.freeze` was asked for."""

    where: str
    seed: int | None = None
    context: str | None = None
    pictures: bool = True
    without: str | None = None

    @property
    def whole(self) -> str:
        """Return the predicate that chooses records."""
        if self.without is None:
            return self.where
        # On lines of their own, so that a comment at the end of a predicate does not swallow a bracket.
        return f"({self.where}\n) AND NOT coalesce(({self.without}\n), false)"

    @property
    def said(self) -> str:
        """Return it for a sentence."""
        held_out = "" if self.without is None else f" without {self.without!r}"
        return f"{self.where!r}{held_out}"

    def known(self, folder: Path) -> Frozen:
        """Look for what was frozen before of a dataset folder."""
        return Frozen(folder, self.whole, [self.seed, self.context, self.pictures])


class _Place(NamedTuple):
    shard: str | None
    offset: int
    length: int
    sha256: str
    record: int
    nth: int


def write_snapshot(store: Store, selected: Selected, known: Frozen) -> str:
    """Write a selection as a snapshot, unless it is there; return its digest, which is noted."""
    import duckdb

    store.refresh()
    snapshots = store.path / "snapshots"
    snapshots.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".freezing-", dir=snapshots))
    try:
        try:
            digest, is_of_known = _write(store, folder, selected, known, MEMORY)
        except duckdb.OutOfMemoryException:
            digest, is_of_known = _write(store, folder, selected, known, None)
        _publish(folder, snapshots / digest)
        if is_of_known:
            known.note(digest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return digest


def clear_up(snapshots: Path) -> None:
    """Delete what killed processes left a day ago."""
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


def _write(
    store: Store, folder: Path, selected: Selected, known: Frozen, memory: str | None
) -> tuple[str, bool]:
    """Return a snapshot's digest, and whether the catalog had loaded just the files that `known` looked at."""
    with catalog.connect(store.catalog_path, read_only=True, memory=memory) as connection:
        spill = folder / "spill"
        connection.execute(f"SET temp_directory = '{str(spill).replace(chr(39), chr(39) * 2)}'")
        lock_down(connection)
        loaded = connection.execute("SELECT part FROM _parts").fetchall()
        records = _choose(connection, selected)
        if records == 0:
            raise DatasetError(
                f"no accepted record of {str(store.path)!r} satisfies {selected.said}; "
                "look at `syphus data stats` for what there is"
            )
        recipes = [
            {"name": name, "digest": digest}
            for name, digest in connection.execute(_RECIPES).fetchall()
        ]
        counts = {"examples": 0, "not_there": 0}
        context = None
        if selected.context is not None:
            counts, context = _write_context(connection, records, selected, folder)
        _write_text(connection, folder / "text.arrow")
        hasher, shards, pictures = _write_pictures(connection, store, folder)
        marked = _MARKED.format(shown=SHOWN, records=records)
        [(uneven, ids)] = connection.execute(marked).fetchall()
    shutil.rmtree(spill, ignore_errors=True)
    files = FILES if context is None else (*FILES, CONTEXT)
    manifest: dict[str, Any] = {
        "format": FORMAT if context is None else WITH_CONTEXT,
        "dataset_version": migrations.version_of(store.path),
        "where": selected.whole,
        "seed": selected.seed,
        "records": records,
        "pictures": pictures,
        "uneven_marks": {"records": uneven, "ids": ids or []},
        "recipes": recipes,
        "shards": shards,
        "files": {f"{name}.arrow": file_digest(folder / f"{name}.arrow") for name in files},
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if context is not None:
        manifest |= {"context": selected.context, **counts}
    digest = snapshot_digest(hasher, manifest, context)
    text = json.dumps({"digest": digest, **manifest}, indent=2, ensure_ascii=False) + "\n"
    with (folder / "manifest.json").open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return digest, known.is_of(part for (part,) in loaded)


def _choose(connection: duckdb.DuckDBPyConnection, selected: Selected) -> int:
    import duckdb

    shuffle = "" if selected.seed is None else _SHUFFLE.format(seed=int(selected.seed))
    try:
        chosen = _CHOSEN.format(
            fields=_FIELD_NAMES,
            pictures=_pictures(selected),
            related=OWN if selected.context == OWN else "[]::VARCHAR[]",
            where=predicate(connection, selected.whole),
            shuffle=shuffle,
        )
        connection.execute(chosen).fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise QueryError(
            f"the selection {selected.said} fails: {str(error).splitlines()[0]}"
        ) from None
    return catalog.scalar(connection, "SELECT count(*) FROM memory.main.chosen")


def _pictures(selected: Selected) -> str:
    return "image_ids" if selected.pictures else "[]::VARCHAR[]"


def _write_context(
    connection: duckdb.DuckDBPyConnection, records: int, selected: Selected, folder: Path
) -> tuple[dict[str, int], str]:
    """Add the examples in context behind the records, and write which are whose; return counts, and the hash over the lists."""
    import pyarrow as pa

    if selected.context == OWN:
        connection.execute(_LINKS.format(lists=_OWN_LISTS)).fetchall()
    else:
        links = _LINKS.format(lists=_LISTS_OF)
        connection.execute(links, {"strategy": selected.context}).fetchall()
    if selected.without is not None:
        without = predicate(connection, selected.without)
        connection.execute(_WITHOUT.format(without=without)).fetchall()
    examples = _EXAMPLES.format(fields=_FIELD_NAMES, pictures=_pictures(selected))
    connection.execute(examples).fetchall()
    count = catalog.scalar(connection, "SELECT count(*) FROM memory.main.chosen") - records
    not_there = 0
    hasher = hashlib.sha256()
    schema = pa.schema([(CONTEXT, pa.list_(pa.int64()))])
    cursor = connection.cursor()
    cursor.execute(_CONTEXT, {"records": records})
    with _file(folder / f"{CONTEXT}.arrow", schema) as writer:
        while rows := cursor.fetchmany(BATCH_ROWS):
            lists = [numbers for _, numbers, _ in rows]
            not_there += sum(missing for *_, missing in rows)
            for numbers in lists:
                hasher.update(context_line(numbers))
            column = pa.array(lists, type=schema[0].type)
            writer.write_batch(pa.record_batch([column], schema=schema))
    return {"examples": count, "not_there": not_there}, hasher.hexdigest()


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
