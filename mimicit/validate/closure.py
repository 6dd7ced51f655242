"""Which rows a repair moves and which it mends, so that nothing is wrong with those that stay.

    findings -> moves      a faulty row; the records about a moved picture; the other turns of a moved record's conversation
             -> mends      references to records that are not there, or no longer: they are taken out

Moving never goes on from a reference between records: one lost record would take most of a dataset along.
"""

from __future__ import annotations

from mimicit.validate.bench import Bench
from mimicit.validate.faults import FAULTS

ALONG = "taken-along"
"""The name, in a quarantine's findings, of rows that are there because of others."""


def close(bench: Bench) -> None:
    """Fill the tables `moves` and `mends`."""
    bench.run(
        """CREATE TABLE moves AS SELECT DISTINCT part, "row", NULL::VARCHAR AS why FROM findings
        WHERE list_contains($faults, fault) AND "row" IS NOT NULL""",
        faults=[name for name, fault in FAULTS.items() if fault.repair == "row"],
    )
    for step in (_SOUND, _ABOUT_MOVED, _BROKEN, _TURNS, _REMAINING, _ORIGINALS, _RELATIONS_MOVED):
        bench.run(step)
    _take_out(bench, "records", "rel_ins_ids")
    _take_out(bench, "relations", "related")


def _take_out(bench: Bench, table: str, names: str) -> None:
    """Note what is left of lists that name records which are not there."""
    named = f"""SELECT part, "row", coalesce(unnest({names}), '') AS named,
        generate_subscripts({names}, 1) AS place FROM {table}"""
    bench.run(
        f"""CREATE OR REPLACE TABLE gone AS SELECT part, "row", place
        FROM (FROM ({named}) ANTI JOIN remaining ON h = hash(named))
        ANTI JOIN moves USING (part, "row")"""
    )
    bench.in_spans(
        "gone",
        f"""INSERT INTO mends BY NAME
        SELECT part, "row", [
            pair[1] FOR pair IN list_zip({names}, generate_series(1, len({names})))
            IF NOT list_contains(places, pair[2])
        ] AS names
        FROM {table} JOIN (
            SELECT part, "row", list(place) AS places FROM gone
            WHERE part = $part AND "row" >= $start AND "row" < $end GROUP BY part, "row"
        ) AS g USING (part, "row")
        WHERE part = $part AND "row" >= $start AND "row" < $end""",
    )


_SOUND = """CREATE TABLE sound AS
SELECT DISTINCT hash(id) AS h FROM pictures ANTI JOIN moves USING (part, "row")"""

_ABOUT_MOVED = """INSERT INTO moves
SELECT DISTINCT part, "row", 'one of its pictures was moved' FROM (
    SELECT part, "row", coalesce(unnest(image_ids), '') AS named
    FROM records ANTI JOIN moves USING (part, "row")
) ANTI JOIN sound ON h = hash(named)"""

_BROKEN = """CREATE TABLE broken AS
SELECT DISTINCT conversation FROM records
SEMI JOIN moves USING (part, "row")
ANTI JOIN (FROM findings WHERE fault = 'duplicate-record') AS d USING (part, "row")
WHERE conversation IS NOT NULL"""

_TURNS = """INSERT INTO moves
SELECT part, "row", 'another turn of its conversation was moved' FROM records
SEMI JOIN broken USING (conversation) ANTI JOIN moves USING (part, "row")"""

_REMAINING = """CREATE TABLE remaining AS
SELECT DISTINCT hash(id) AS h FROM records ANTI JOIN moves USING (part, "row")"""

_ORIGINALS = """
CREATE TABLE mends (part INTEGER, "row" BIGINT, names VARCHAR[], is_original BOOLEAN);
INSERT INTO mends BY NAME
SELECT part, "row", true AS is_original
FROM (FROM records ANTI JOIN moves USING (part, "row") WHERE translation_of IS NOT NULL) AS t
ANTI JOIN remaining ON h = hash(t.translation_of);
"""

_RELATIONS_MOVED = """INSERT INTO moves
SELECT part, "row", 'there is no such record' FROM relations
ANTI JOIN remaining ON h = hash(relations.record)"""
