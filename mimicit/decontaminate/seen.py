"""Which pictures of a dataset are those of a benchmark: the table `bench_seen` (picture, item, known_by, distance).

    bytes    they are the same file
    hash     they look the same: few bits of their perceptual hashes differ
    name     they are called the same, and one of the two is not there to be looked at: COCO_val2014_000000310196.jpg is
             LA_IMG_000000310196

A name counts if it is long and not what anybody may call a picture, such as `image_000012`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mimicit.decontaminate.items import Benchmarks

if TYPE_CHECKING:
    import duckdb

_OF_HASH = """SELECT DISTINCT l.hash AS hash, b.hash AS ours, bit_count(xor(l.hash, b.hash)) AS distance
FROM (SELECT DISTINCT hash FROM bench_looks) AS l JOIN (SELECT DISTINCT hash FROM bench_shown WHERE hash IS NOT NULL) AS b
ON (l.hash >> {shift} & 65535)::USMALLINT = (b.hash >> {shift} & 65535)::USMALLINT
WHERE bit_count(xor(l.hash, b.hash)) <= {distance}"""
_BYTES = """SELECT i.id AS picture, item, 'bytes' AS known_by, 0 AS distance
FROM (SELECT id, sha256 FROM images) AS i JOIN bench_shown AS b USING (sha256)"""
_HASH = """SELECT l.id AS picture, item, 'hash' AS known_by, distance
FROM ({pairs}) JOIN bench_looks AS l USING (hash) JOIN bench_shown AS b ON b.hash = ours"""
_NAME = """SELECT p.picture, item, 'name' AS known_by, NULL AS distance
FROM (SELECT picture, {named} AS named FROM bench_pictures) AS p
JOIN (SELECT item, hash, {ours} AS named FROM bench_shown WHERE "name" IS NOT NULL) AS b USING (named)
LEFT JOIN bench_looks AS l ON l.id = p.picture
WHERE (b.hash IS NULL OR l.hash IS NULL) AND {is_own}"""
_IS_OWN = r"""length(named) >= 8 AND regexp_matches(named, '[0-9]')
AND NOT regexp_matches(named, '^(image|img|picture|pic|photo|frame|figure|fig|test|train|val)?[-_ ]?[0-9]{1,9}$')"""


def see(
    connection: duckdb.DuckDBPyConnection, benchmarks: Benchmarks, *, distance: int, names: bool
) -> None:
    """Have the table.

    Args:
        connection: Has `candidates`, and `looks` of the pictures.
        benchmarks: What is looked for.
        distance: Bits that may differ; up to 3 none is missed.
        names: Whether names count.
    """
    connection.register("bench_given", benchmarks.shown)
    connection.execute("CREATE OR REPLACE TEMP TABLE bench_shown AS SELECT * FROM bench_given")
    connection.unregister("bench_given")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE bench_looks AS SELECT id, hash FROM looks WHERE hash IS NOT NULL"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE bench_pictures AS "
        "SELECT DISTINCT unnest(image_ids) AS picture FROM candidates"
    )
    pairs = " UNION ".join(_OF_HASH.format(shift=16 * n, distance=int(distance)) for n in range(4))
    ways = [_BYTES, _HASH.format(pairs=pairs)]
    if names:
        ways.append(_NAME.format(named=_named("picture"), ours=_named('"name"'), is_own=_IS_OWN))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE bench_seen AS "
        "SELECT picture, item, min_by(known_by, coalesce(distance, 64)) AS known_by, min(distance) AS distance "
        f"FROM ({' UNION ALL '.join(ways)}) GROUP BY picture, item"
    )


def _named(name: str) -> str:
    """Return a picture's name without what a dataset put before it, in SQL."""
    bare = f"regexp_replace({name}, '^.*_IMG_', '')"
    return f"lower(regexp_replace({bare}, '^COCO_(train|val|test)[0-9]{{4}}_', ''))"
