"""What annotations say of each record, kept: the tables `grounded_answer` and `grounded_instruction`.

    measures/grounded_answer.2/g-00000.parquet      a part for so many records that were new

    record
    seen            digest of the text and of the annotations that it was held against
    things          how many things the text names
    unsupported     those that no annotation bears out, as the text says them; `names` by the name that WordNet has for them
    counts, colours, sides          what is said wrongly
    told            what the annotations name, by the names that WordNet has

A record is held against all annotations whose pictures are all among its own. It is looked at again when `seen` changes, and at no
other time; rows of former annotations stay, and are of no account. A record in another language than English, or without annotations,
has no row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mimicit.curate.grounding.judging import Judged, judge
from mimicit.curate.grounding.knowing import Box, Known, known
from mimicit.curate.grounding.lexicon import Lexicon, lexicon
from mimicit.parts import merge_small, next_part, parts_of, write_part

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

    from mimicit.store import Store

VERSION = 2
AT_ONCE = 20_000
"""Records whose annotations are fetched together."""
PART = 200_000
"""Records of a part; a run that is killed goes on after the last one."""
REMEMBERED = 2_000
"""Pictures whose annotations are kept as they were read: records of one picture mostly come together."""

# Which rows the view `annotations` has, by their place in its table: what they say is fetched for a few at a time.
_TOLD = """
CREATE OR REPLACE TEMP TABLE told AS
SELECT number, pictures, digest FROM (
    SELECT rowid AS number, pictures, source, part, hash(pictures, captions, objects) AS digest,
        coalesce(len(captions), 0) + coalesce(len(objects), 0) AS said
    FROM _annotations)
QUALIFY row_number() OVER (
    PARTITION BY pictures, split_part(source, '#', 1) ORDER BY part DESC, number DESC) = 1
    AND said > 0 AND len(pictures) > 0"""
_COVERED = """
CREATE OR REPLACE TEMP TABLE covered AS
WITH pairs AS (
    SELECT DISTINCT _row, number FROM (
        SELECT rowid AS _row, image_ids, unnest(image_ids) AS picture FROM instructions WHERE language ILIKE 'en%'
    ) JOIN told ON pictures[1] = picture WHERE len(pictures) = 1 OR list_has_all(image_ids, pictures)
)
SELECT _row, list(number ORDER BY number) AS numbers, list(digest ORDER BY digest) AS digests
FROM pairs JOIN told USING (number) GROUP BY _row"""
_NOW = """
CREATE OR REPLACE TEMP TABLE covered_{field} AS
SELECT id AS record, _row, numbers, (hash({field}, len(image_ids), digests) >> 1)::BIGINT AS seen
FROM covered JOIN instructions AS i ON i.rowid = _row"""
_NEW = """
CREATE OR REPLACE TEMP TABLE new_grounded AS
SELECT row_number() OVER (ORDER BY numbers[1], _row) AS place, c.* FROM covered_{field} AS c
ANTI JOIN known_{field} AS k ON k.record = c.record AND k.seen = c.seen"""
_BATCH = """
WITH chosen AS (SELECT * FROM new_grounded WHERE place > {after} AND place <= {after} + {count})
SELECT record, seen, numbers, {field} AS text, len(image_ids) AS pictures
FROM chosen JOIN instructions AS i ON i.rowid = _row ORDER BY place"""
_ANNOTATIONS = """
SELECT rowid, captions, objects FROM _annotations WHERE rowid IN (
    SELECT unnest(numbers) FROM new_grounded WHERE place > {after} AND place <= {after} + {count})"""


def attach_answers(store: Store, connection: duckdb.DuckDBPyConnection) -> None:
    """Have the table `grounded_answer`."""
    _attach(store, connection, "answer")


def attach_instructions(store: Store, connection: duckdb.DuckDBPyConnection) -> None:
    """Have the table `grounded_instruction`."""
    _attach(store, connection, "instruction")


def _attach(store: Store, connection: duckdb.DuckDBPyConnection, field: str) -> None:
    folder = store.path / "measures" / f"grounded_{field}.{VERSION}"
    connection.execute(_TOLD)
    connection.execute(_COVERED)
    connection.execute(_NOW.format(field=field))
    _register(connection, folder, field)
    connection.execute(_NEW.format(field=field))
    [(new,)] = connection.execute("SELECT count(*) FROM new_grounded").fetchall()
    for start in range(0, new, PART):
        folder.mkdir(parents=True, exist_ok=True)
        stop = min(new, start + PART)
        write_part(next_part(folder, "g"), _looked(connection, field, start, stop), schema())
    if folder.is_dir():
        merge_small(folder, schema())
    _register(connection, folder, field)


def _register(connection: duckdb.DuckDBPyConnection, folder: Path, field: str) -> None:
    import pyarrow.dataset

    paths = parts_of(folder)
    rows = pyarrow.dataset.dataset(paths, schema()) if paths else schema().empty_table()
    connection.register(f"known_{field}", rows)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW grounded_{field} AS "
        f"SELECT k.* FROM known_{field} AS k SEMI JOIN covered_{field} AS c "
        "ON c.record = k.record AND c.seen = k.seen"
    )


def schema() -> pyarrow.Schema:
    import pyarrow as pa

    words = pa.list_(pa.string())
    return pa.schema(
        [
            pa.field("record", pa.string(), nullable=False),
            pa.field("seen", pa.int64(), nullable=False),
            pa.field("things", pa.int32(), nullable=False),
            *(pa.field(name, words, nullable=False) for name in LISTS),
        ]
    )


LISTS = ("unsupported", "names", "counts", "colours", "sides", "told")


def _looked(
    connection: duckdb.DuckDBPyConnection, field: str, start: int, stop: int
) -> Iterator[pyarrow.Table]:
    """Yield what the annotations say of some of the new records."""
    words, memory = lexicon(), _Memory()
    for after in range(start, stop, AT_ONCE):
        span = {"after": after, "count": min(AT_ONCE, stop - after)}
        told = connection.sql(_ANNOTATIONS.format(**span)).to_arrow_table()
        memory.annotations = {
            number: (captions, objects)
            for number, captions, objects in zip(
                *(c.to_pylist() for c in told.columns), strict=True
            )
        }
        rows = connection.sql(_BATCH.format(field=field, **span)).to_arrow_table()
        yield _judged(rows, memory, words)


class _Memory:
    """Annotations as they were read, of the pictures that came last."""

    def __init__(self) -> None:
        self.annotations: dict[int, tuple[list[str] | None, list[dict[str, Any]] | None]] = {}
        self._read: OrderedDict[tuple[int, ...], Known] = OrderedDict()

    def of(self, numbers: tuple[int, ...], words: Lexicon) -> Known:
        if numbers in self._read:
            self._read.move_to_end(numbers)
            return self._read[numbers]
        captions: list[str] = []
        objects: list[tuple[str, Box | None]] = []
        for number in numbers:
            said, things = self.annotations[number]
            captions.extend(caption for caption in said or () if caption)
            objects.extend(
                (one["name"], box_of(one["box"])) for one in things or () if one and one["name"]
            )
        found = self._read[numbers] = known(words, captions, objects)
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)
        return found


def box_of(sides: list[float] | None) -> Box | None:
    """Return a box that has an inside, or None."""
    if sides is None or len(sides) != 4 or None in sides:
        return None
    left, top, right, bottom = sides
    return (left, top, right, bottom) if left < right and top < bottom else None


def _judged(rows: pyarrow.Table, memory: _Memory, words: Lexicon) -> pyarrow.Table:
    import pyarrow as pa

    found: list[Judged] = []
    for numbers, text, pictures in zip(
        rows["numbers"].to_pylist(),
        rows["text"].to_pylist(),
        rows["pictures"].to_pylist(),
        strict=True,
    ):
        found.append(judge(text or "", memory.of(tuple(numbers), words), words, pictures == 1))
    columns = {"things": [one.things for one in found]}
    columns |= {name: [getattr(one, name) for one in found] for name in LISTS}
    return pa.table({"record": rows["record"], "seen": rows["seen"], **columns}).cast(schema())
