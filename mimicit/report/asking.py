"""What questions ask, as verb and object: the two rings of the self-instruct paper.

The measure `asks` finds them. All records are measured, and what was found is kept, where this process may write; where another one
is writing, or more records are new than a report should wait for, a sample of questions is measured and nothing is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mimicit.curate.base import Measure
from mimicit.curate.measures import attach, folder_of, schema_of
from mimicit.curate.opening import opened
from mimicit.errors import LockedError, MissingExtraError
from mimicit.parts import parts_of
from mimicit.report.facts import Row, rows

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from mimicit.curate.base import Table
    from mimicit.store import Store

MEASURE = "asks"
VERBS, OBJECTS = 20, 4
"""Of the inner ring, and of each verb."""
MOST_NEW = 100_000
"""Records that are measured for a report."""
SAMPLE = 50_000
"""Questions that are measured in place of all."""


class Asked:
    """Verbs with their objects, and of how many questions."""

    def __init__(self, pairs: list[Row], records: int, of: int) -> None:
        """Take (verb, object, records), the number of questions with a verb, and of those looked at."""
        self.pairs, self.records, self.of = pairs, records, of

    def verbs(self) -> list[tuple[str, int, list[tuple[str, int]]]]:
        """Return verb, questions, and its most frequent objects."""
        found: dict[str, list[tuple[str, int]]] = {}
        total: dict[str, int] = {}
        for row in self.pairs:
            found.setdefault(row["verb"], [])
            total[row["verb"]] = row["of_verb"]
            if row["object"]:
                found[row["verb"]].append((row["object"], row["records"]))
        return [(verb, total[verb], found[verb]) for verb in sorted(total, key=lambda v: -total[v])]


def measure_new(store: Store, measure: Measure | Table | None) -> None:
    """Measure the records that are new, if there are not too many of them and nobody else is writing."""
    if not isinstance(measure, Measure) or _new(store, measure) > MOST_NEW:
        return
    try:
        with store.writing("syphus data report"), opened(store) as connection:
            store.sync()
            attach(store, connection, [(MEASURE, measure)])
    except (LockedError, MissingExtraError):  # a sample is then asked, or nothing is shown
        return


def gather(
    connection: duckdb.DuckDBPyConnection, store: Store, measure: Measure | Table | None, seed: int
) -> Asked | None:
    """Count verbs and objects.

    Args:
        connection: Reads the catalog.
        store: Its dataset.
        measure: What finds verb and object; None: nothing does.
        seed: Of the sample, where one is taken.
    """
    if not isinstance(measure, Measure):
        return None
    table = _kept(store, measure)
    if table is not None and not _unknown(connection, table):
        connection.register("asks_kept", table)
    else:
        try:
            connection.register("asks_kept", _sampled(connection, measure, seed))
        except MissingExtraError:
            return None
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW asks_told AS SELECT * FROM asks_kept "
        "WHERE id IN (SELECT id FROM instructions)"
    )
    [total] = rows(
        connection, "SELECT count(*) AS questions, count(verb) AS records FROM asks_told"
    )
    return Asked(rows(connection, _PAIRS), total["records"], total["questions"])


_PAIRS = f"""
WITH counted AS (
    SELECT verb, object, count(*) AS records FROM asks_told
    WHERE verb IS NOT NULL AND verb <> '' GROUP BY ALL),
ranked AS (
    SELECT *, sum(records) OVER (PARTITION BY verb)::BIGINT AS of_verb,
           row_number() OVER (PARTITION BY verb ORDER BY object IS NULL, records DESC, object) AS n
    FROM counted)
SELECT * FROM ranked WHERE n <= {OBJECTS} AND verb IN (
    SELECT verb FROM counted GROUP BY 1 ORDER BY sum(records) DESC, 1 LIMIT {VERBS})
ORDER BY of_verb DESC, verb, records DESC, object"""


def _kept(store: Store, measure: Measure) -> pyarrow.dataset.Dataset | None:
    import pyarrow.dataset

    paths = parts_of(folder_of(store, MEASURE, measure))
    return pyarrow.dataset.dataset(paths, schema_of(measure)) if paths else None


def _unknown(connection: duckdb.DuckDBPyConnection, table: pyarrow.dataset.Dataset) -> int:
    """Count the records that were not measured."""
    connection.register("asks_known", table)
    [(count,)] = connection.execute(
        "SELECT count(*) FROM instructions ANTI JOIN asks_known USING (id)"
    ).fetchall()
    return int(count)


def _new(store: Store, measure: Measure) -> int:
    with opened(store) as connection:
        table = _kept(store, measure)
        if table is None:
            [(count,)] = connection.execute("SELECT count(*) FROM instructions").fetchall()
            return int(count)
        return _unknown(connection, table)


def _sampled(connection: duckdb.DuckDBPyConnection, measure: Measure, seed: int) -> pyarrow.Table:
    """Measure the questions whose ids have the least hashes."""
    [(total,)] = connection.execute("SELECT count(*) FROM instructions").fetchall()
    share = min(1.0, SAMPLE / max(1, total))
    read = ", ".join({"id", *measure.reads})
    chosen = (
        f"SELECT {read} FROM instructions "
        f"WHERE (md5_number_lower(id || '{seed:d}') >> 1) < {int(share * (2**63 - 1))}"
    )
    if measure.sql:
        columns = ", ".join(f'{sql} AS "{name}"' for name, sql in measure.sql.items())
        return connection.sql(f"SELECT id, {columns} FROM ({chosen})").to_arrow_table()
    import pyarrow as pa

    assert measure.compute
    found = [
        pa.table({"id": batch["id"], **measure.compute(batch)}).cast(schema_of(measure))
        for batch in connection.sql(chosen).to_arrow_reader(8_192)
        if batch.num_rows
    ]
    return pa.concat_tables([schema_of(measure).empty_table(), *found])
