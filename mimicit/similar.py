"""Nearest neighbours in DuckDB: no other package, memory that stays flat, the same answer every time.

Rows get numbers in the order of `md5(seed || id)`. Numbers break ties, so an answer depends on the ids, the texts and the seed,
never on the order of rows. Sums must not depend on it either, though threads add in any order: weights are multiples of
2⁻²⁴, so their products and the sums of these are exact in a double.

Texts are compared by the cosine of their TF-IDF vectors (sublinear tf, smooth idf, unit length). Two texts are candidates when
they share a term. A term in more than `cap` texts makes too many candidates to be worth it: a text looks such a term up only when it is
among its `RAREST` ones, and then finds the `cap` texts in which the term weighs most. The best candidates are
then compared in full. Without such terms the answer is exact; with them it may miss a neighbour, but not misstate a similarity.

Vectors are all compared with all, block by block: exact, and quadratic.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.catalog import scalar
from mimicit.errors import FormatError

if TYPE_CHECKING:
    import duckdb

CAP = 1_000
"""Texts; see above."""
RAREST = 3
"""Terms of a text that are looked up however frequent they are."""
BLOCK_PAIRS = 2_000_000
"""Candidate pairs of one statement, about 40 bytes each. More of them fit the processor's caches worse."""
BLOCK_VECTORS = 512
"""Vectors that one statement compares with all."""
MEMORY_LIMIT = "2GB"

_STEPS = 1 << 24
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Scripts without spaces between words: their runs are cut into pairs of characters."""

Progress = Callable[[int], None]


@contextmanager
def workbench(memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in a temporary folder; what does not fit in memory goes there."""
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="mimicit-") as folder,
        duckdb.connect(Path(folder) / "work.duckdb") as connection,
    ):
        connection.execute(f"SET memory_limit = '{memory_limit}'")
        connection.execute("SET preserve_insertion_order = false")
        yield connection


def nearest_by_text(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    k: int,
    *,
    seed: int = 0,
    cap: int = CAP,
    into: str = "nearest",
    progress: Progress = lambda done: None,
) -> duckdb.DuckDBPyRelation:
    """Find the k nearest texts of each text that share a term with it, nearest first.

    Args:
        connection: Where `rows` are; temporary tables are made in it.
        rows: A table or query with the columns `id` and `text`, and perhaps `grp`: rows of the same
            group (the same pictures, say) are not each other's neighbours.
        k: Neighbours, at most.
        seed: Another seed breaks ties otherwise.
        cap: Texts that a term may be in and still always be looked up; more is slower and misses less.
        into: The temporary table that gets the answer: `id`, `neighbours`, `scores`.
        progress: Told how many rows are done.
    """
    _number(connection, rows, "text", seed)
    _index(connection, cap)
    exact = scalar(connection, "SELECT coalesce(max(df), 0) FROM _terms") <= cap
    connection.execute(f"CREATE OR REPLACE TEMP TABLE _found ({_FOUND})")
    for first, last in _blocks_of_texts(connection):
        bounds = {"first": first, "last": last}
        keep = k if exact else 4 * k + 20
        connection.execute(_CANDIDATES.format(keep=keep), bounds)
        connection.execute(_KEEP if exact else _COMPARE.format(k=k), None if exact else bounds)
        progress(last + 1)
    return _answer(connection, into)


def nearest_by_vector(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    k: int,
    *,
    seed: int = 0,
    into: str = "nearest",
    progress: Progress = lambda done: None,
) -> duckdb.DuckDBPyRelation:
    """Find the k nearest vectors of each by cosine, as `nearest_by_text`; the column is `vector`.

    Raises:
        FormatError: the vectors are not all of one length.
    """
    _number(connection, rows, "vector", seed)
    lengths = connection.execute(
        "SELECT DISTINCT len(vector) FROM _rows WHERE len(vector) > 0 ORDER BY ALL LIMIT 2"
    ).fetchall()
    if len(lengths) > 1:
        raise FormatError(
            f"the vectors have different lengths, {lengths[0][0]} and {lengths[1][0]}; "
            "all must come from one model"
        )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE _found ({_FOUND})")
    if lengths:
        [(length,)] = lengths
        connection.execute(_UNIT_VECTORS.format(length=length))
        count = scalar(connection, "SELECT count(*) FROM _rows")
        for first in range(0, count, BLOCK_VECTORS):
            bounds = {"first": first, "last": first + BLOCK_VECTORS - 1}
            connection.execute(_COMPARE_VECTORS.format(k=k), bounds)
            progress(min(first + BLOCK_VECTORS, count))
    return _answer(connection, into)


def _number(connection: duckdb.DuckDBPyConnection, rows: str, column: str, seed: int) -> None:
    """Give rows numbers `doc`; a row without a group is one of its own."""
    source = f"({rows})" if " " in rows.strip() else rows
    columns = connection.execute(f"SELECT * FROM {source} LIMIT 0").description or []
    grp = "grp" if "grp" in [name for name, *_ in columns] else "NULL"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE _rows AS
        SELECT doc, id, value AS {column},
               CASE WHEN grp IS NULL THEN -1 - doc ELSE min(doc) OVER (PARTITION BY grp) END AS grp
        FROM (
            SELECT (row_number() OVER (ORDER BY md5($seed || id), id) - 1)::INTEGER AS doc,
                   id, {column} AS value, {grp} AS grp
            FROM {source}
        ) ORDER BY doc""",
        {"seed": str(seed)},
    )


def _index(connection: duckdb.DuckDBPyConnection, cap: int) -> None:
    """Make `_postings` (all weights), `_index` (what is looked up in), `_asked` (what is looked up)."""
    for statement in _INDEX:
        connection.execute(statement.format(steps=_STEPS, cap=cap, rarest=RAREST, words=_WORDS))


def _blocks_of_texts(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, int]]:
    """Cut the rows into blocks that make about as many candidate pairs as one statement may.

    Each block reads all postings once, so where these are many, blocks are larger.
    """
    return connection.execute(
        """SELECT min(doc), max(doc) FROM (
            SELECT doc, (sum(coalesce(cost, 0)) OVER (ORDER BY doc)) // $most AS block
            FROM _rows LEFT JOIN (
                SELECT doc, sum(found) AS cost FROM _asked GROUP BY doc
            ) USING (doc)
        ) GROUP BY block ORDER BY block""",
        {"most": max(BLOCK_PAIRS, scalar(connection, "SELECT count(*) FROM _postings") // 16)},
    ).fetchall()


def _answer(connection: duckdb.DuckDBPyConnection, into: str) -> duckdb.DuckDBPyRelation:
    """Turn keys into ids, and give rows that found nothing an empty list."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {into} AS
        SELECT r.id, coalesce(neighbours, []) AS neighbours, coalesce(scores, []) AS scores
        FROM _rows AS r LEFT JOIN (
            SELECT a, list(n.id ORDER BY key DESC) AS neighbours,
                   list(({_SCORE})::FLOAT ORDER BY key DESC) AS scores
            FROM (SELECT a, unnest(keys) AS key FROM _found) JOIN _rows AS n ON n.doc = {_DOC}
            GROUP BY a
        ) ON a = r.doc"""
    )
    for table in ("_rows", "_found", "_terms", "_postings", "_index", "_asked", "_units", "_best"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    return connection.table(into)


# A similarity and a number as one integer: the larger is the nearer; of equally near rows, the one with the lower number.
_KEY = (
    f"(round(({{score}} + 1) * {1 << 29})::BIGINT * {1 << 32} + {(1 << 32) - 1} - {{doc}})::BIGINT"
)
_DOC = f"{(1 << 32) - 1} - key % {1 << 32}"
_SCORE = f"(key // {1 << 32}) / {1 << 29} - 1"
_FOUND = "a INTEGER, keys BIGINT[]"

_WORDS = f"""flatten(list_transform(
    regexp_extract_all(
        regexp_replace(lower(nfc_normalize(text)), '({_UNSPACED}+)', ' \\1 ', 'g'),
        '[\\p{{L}}\\p{{M}}\\p{{N}}]+'
    ),
    lambda word: CASE
        WHEN length(word) > 1 AND regexp_matches(word, '^{_UNSPACED}')
        THEN list_transform(range(1, length(word)), lambda n: substr(word, n, 2))
        ELSE [word] END
))"""

_INDEX = (
    # A term is named by its hash, so that texts are read once and only numbers are joined.
    """CREATE OR REPLACE TEMP TABLE _postings AS
    SELECT doc, hash(word) AS term, count(*) AS tf
    FROM (SELECT doc, unnest({words}) AS word FROM _rows) GROUP BY ALL""",
    """CREATE OR REPLACE TEMP TABLE _terms AS
    SELECT term, count(*) AS df,
           ln((1 + (SELECT count(*) FROM _rows)) / (1 + count(*))) + 1 AS idf
    FROM _postings GROUP BY term""",
    """CREATE OR REPLACE TEMP TABLE _postings AS
    WITH weighed AS (SELECT doc, term, (1 + ln(tf)) * idf AS w FROM _postings JOIN _terms USING (term)),
    lengths AS (
        SELECT doc, sqrt(sum((w * w)::DECIMAL(18, 9))::DOUBLE) AS length FROM weighed GROUP BY doc
    )
    SELECT doc, term, (round(w / length * {steps}) / {steps})::FLOAT AS w
    FROM weighed JOIN lengths USING (doc) ORDER BY doc""",
    """CREATE OR REPLACE TEMP TABLE _index AS
    SELECT term, doc, grp, w FROM _postings JOIN _terms USING (term) JOIN _rows USING (doc)
    WHERE df <= {cap}
    UNION ALL
    SELECT term, doc, grp, w FROM (
        SELECT term, unnest(max({{'w': w, 'before': -doc}}, {cap})) AS one
        FROM _postings JOIN _terms USING (term) WHERE df > {cap} GROUP BY term
    ), LATERAL (SELECT -one.before AS doc, one.w AS w) JOIN _rows USING (doc)""",
    """CREATE OR REPLACE TEMP TABLE _asked AS
    SELECT doc, grp, term, w, least(df, {cap}) AS found
    FROM _postings JOIN _terms USING (term) JOIN _rows USING (doc)
    QUALIFY df <= {cap} OR row_number() OVER (PARTITION BY doc ORDER BY df, term) <= {rarest}
    ORDER BY doc""",
)

_CANDIDATES = f"""CREATE OR REPLACE TEMP TABLE _best AS
SELECT a, max({_KEY.format(score="score", doc="b")}, {{keep}}) AS keys FROM (
    SELECT q.doc AS a, p.doc AS b, sum(q.w::DOUBLE * p.w) AS score
    FROM _asked AS q JOIN _index AS p ON p.term = q.term AND p.grp <> q.grp
    WHERE q.doc BETWEEN $first AND $last GROUP BY ALL
) GROUP BY a"""

_KEEP = "INSERT INTO _found FROM _best"

_COMPARE = f"""INSERT INTO _found
SELECT a, max({_KEY.format(score="score", doc="b")}, {{k}}) FROM (
    SELECT c.a, c.b, sum(q.w::DOUBLE * p.w) AS score
    FROM (SELECT a, {_DOC} AS b FROM (SELECT a, unnest(keys) AS key FROM _best)) AS c
    JOIN _postings AS q ON q.doc = c.a AND q.doc BETWEEN $first AND $last
    JOIN _postings AS p ON p.doc = c.b AND p.term = q.term
    GROUP BY ALL
) GROUP BY a"""

_UNIT_VECTORS = """CREATE OR REPLACE TEMP TABLE _units AS
SELECT doc, grp, list_transform(vector, lambda x: x / length)::FLOAT[{length}] AS unit FROM (
    SELECT doc, grp, vector, sqrt(list_inner_product(vector::DOUBLE[], vector::DOUBLE[])) AS length
    FROM _rows WHERE len(vector) > 0
) WHERE length > 0 AND isfinite(length) ORDER BY doc"""

# Groups are told apart in the aggregate: a join's condition would copy every pair of vectors, and double the time.
_COMPARE_VECTORS = f"""INSERT INTO _found
SELECT q.doc, max(
    {_KEY.format(score="array_inner_product(q.unit, p.unit)", doc="p.doc")}, {{k}}
) FILTER (p.grp <> q.grp)
FROM _units AS p, (FROM _units WHERE doc BETWEEN $first AND $last) AS q
GROUP BY q.doc"""

assert math.log2(_STEPS) * 2 <= 48  # the exact sums that the module promises
