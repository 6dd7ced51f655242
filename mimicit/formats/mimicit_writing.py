r"""The records of one task and language as text that DuckDB writes, a member of a JSON object each.

    ,\n"LACONV_INS_1_00": {"instruction":"Why?","answer":"So.","image_ids":["LA_IMG_1"],"rel_ins_ids":[]}

No record becomes an object of Python's: a batch of thousands of them is one piece of memory, which is written to the file. Records are in the
order of their ids, as `ordering` reads them. DuckDB has as much memory as every export gives it, and joins on disk beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.catalog import scalar
from mimicit.formats.exporting import ACCEPTED
from mimicit.formats.mimicit_records import OURS
from mimicit.formats.ordering import Lines, Segment, batches, lines
from mimicit.formats.sorting import bounds, literal

if TYPE_CHECKING:
    import duckdb

RELATED = "memory.main.related"
"""Table of the lists of one strategy."""
LISTS = 20_000
"""Lists of related records that are sorted at a time."""

_MORE = ", ".join(f"""',"{name}":' || to_json({name})::VARCHAR""" for name in OURS)
INSTRUCTION = f"""concat(',', chr(10), to_json(id), ': {{"instruction":', to_json(instruction),
    ',"answer":', to_json(answer), ',"image_ids":', to_json(image_ids),
    ',"rel_ins_ids":', to_json(rel_ins_ids), {_MORE}, '}}')"""
"""A record as it is: related ids may name records that are not chosen."""
TRAIN = "concat(',', chr(10), to_json(id), ': ', to_json(rel_ins_ids))"
"""A record and all that are related to it."""


def keep_lists(connection: duckdb.DuckDBPyConnection, strategy: str) -> None:
    """Put the newest lists of a strategy into RELATED: an older part is left where `relate` was killed before its last step."""
    connection.execute(
        f"CREATE TABLE {RELATED} AS SELECT record, arg_max(related, part) AS related "
        "FROM relations WHERE strategy = $strategy GROUP BY record",
        {"strategy": strategy},
    )


class Selection:
    """The accepted records of one task and language."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        where: str,
        task: str,
        language: str,
        parts: Sequence[Segment],
        spill: Path,
        *,
        related: bool,
    ) -> None:
        """Choose.

        Args:
            connection: To the catalog.
            where: A predicate in brackets.
            task: Of the records.
            language: Of the records.
            parts: Of all records, by id.
            spill: Folder for what must be sorted on disk.
            related: Lists of related records are those in RELATED.
        """
        self._connection = connection
        self._where = f"{where} AND task = {literal(task)} AND language = {literal(language)}"
        self._count = sum(one.size for one in parts)
        whole = Segment("true", False, 0, 0, self._count)
        self._parts = [whole] if related else parts  # a join keeps no order
        self._spill = spill
        self._related = related

    def members(self, text: str, *, as_they_lie: bool) -> Iterator[Lines]:
        """Yield INSTRUCTION or TRAIN of every record, by id.

        Raises:
            OutOfOrder: they do not lie in order, and are not to be sorted.
        """
        for part in self._parts:
            query = f"SELECT {text} AS line, id AS key FROM {self._chosen(part.rows)}"
            with self._cursor() as cursor:
                for batch in batches(
                    cursor,
                    query,
                    "line, key",
                    ["key"],
                    part,
                    as_they_lie=as_they_lie,
                    spill=self._spill,
                ):
                    yield lines(batch, 0, batch.num_rows)

    def names_others(self) -> bool:
        """Say whether a record is related to one that is not chosen."""
        chosen = self._chosen()
        query = (
            f"SELECT count(*) FROM (SELECT unnest(rel_ins_ids) AS related FROM {chosen}) AS named "
            f"ANTI JOIN {chosen} AS chosen ON chosen.id = named.related"
        )
        with self._cursor() as cursor:
            return scalar(cursor, query) > 0

    def train_pieces(self) -> Iterator[Lines]:
        r"""Yield the text of TRAIN with only those related records that are chosen, in pieces.

        ],\n"LACONV_INS_1_00": [   "LACONV_INS_7_00"   ,"LACONV_INS_9_00"   ],\n"LACONV_INS_2_00": [

        Lists of millions of records would have to be in memory; the pieces of some thousands are.
        """
        everything = self._chosen()
        with self._cursor() as cursor:
            found = bounds(cursor, f"SELECT id AS key FROM {everything}", self._count, LISTS)
        for low, high in pairwise((None, *found, None)):
            within = f"id >= {literal(low)}" if low is not None else "true"
            within += f" AND id < {literal(high)}" if high is not None else ""
            some = f"(SELECT * FROM {everything} WHERE {within})"
            named = (
                "(SELECT id, unnest(rel_ins_ids) AS related, "
                f"generate_subscripts(rel_ins_ids, 1) AS n FROM {some})"
            )
            # The few names are looked for among all ids, not the other way round.
            there = (
                f"(SELECT chosen.id FROM {everything} AS chosen "
                f"SEMI JOIN {named} AS named ON chosen.id = named.related)"
            )
            query = f"""SELECT id, 0 AS n, concat('],', chr(10), to_json(id), ': [') AS line FROM {some}
                UNION ALL
                SELECT id, n, concat(
                    if(row_number() OVER (PARTITION BY id ORDER BY n) = 1, '', ','), to_json(related))
                FROM {named} AS named SEMI JOIN {there} AS there ON there.id = named.related"""
            part = Segment("", False, 0, 0, 0)
            with self._cursor() as cursor:
                for batch in batches(
                    cursor,
                    query,
                    "line, n",
                    ["id", "n"],
                    part,
                    as_they_lie=False,
                    spill=self._spill,
                ):
                    heads = batch.column("n").to_pylist().count(0)
                    yield lines(batch, 0, batch.num_rows)._replace(rows=heads)

    def pictures(self, rows: int) -> Iterator[tuple[str, str, int, int]]:
        """Yield id, shard, offset and length of every picture, as they lie.

        Args:
            rows: How many are in memory at a time.
        """
        with self._cursor() as cursor:
            cursor.execute(
                'SELECT id, shard, "offset", length FROM images WHERE id IN '
                f'(SELECT unnest(image_ids) FROM {self._chosen()}) ORDER BY shard, "row"'
            )
            while found := cursor.fetchmany(rows):
                yield from found

    def _chosen(self, rows: str = "true") -> str:
        chosen = f"(SELECT * FROM {ACCEPTED.format(rows=rows)} WHERE {self._where})"
        if not self._related:
            return chosen
        return (
            "(SELECT a.* REPLACE (coalesce(r.related, []) AS rel_ins_ids) "
            f"FROM {chosen} AS a LEFT JOIN {RELATED} AS r ON r.record = a.id)"
        )

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        cursor.execute("USE catalog")
        return cursor
