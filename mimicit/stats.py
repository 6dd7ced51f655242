"""Count what a dataset holds, and how it is distributed.

Texts are read once, into a table of a few numbers a record; everything else is counted from there. A distribution is a list of counts,
one for each bar of a sparkline: bar n counts the values from `start + n * step` on, and the last one all that are larger.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mimicit import catalog
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

MEMORY = "384MB"
"""Of DuckDB's; the rest is on disk meanwhile."""
BARS = 20
"""Of a distribution, at most."""
DENSE = ("zh", "ja", "th", "lo", "km", "my")
"""Languages without spaces: their letters are counted in place of words."""

_BLANK = r"[\t\n\f\r]|  |^ | $|^$"
"""What makes words more than the spaces between them, plus one."""


def words(column: str) -> str:
    """Return how many words a text has, as an expression: what stands between white space. Most texts need no search for it."""
    return (
        f"CASE WHEN regexp_matches({column}, '{_BLANK}') "
        rf"THEN len(regexp_extract_all({column}, '\S+')) ELSE len(string_split({column}, ' ')) END"
    )


def _units(column: str) -> str:
    return f"CASE WHEN dense THEN length({column}) ELSE {words(column)} END"


_SIZED = f"""
CREATE OR REPLACE TEMP TABLE sized AS
SELECT task, language, dense, reply, v.record IS NULL AS accepted, hash(image_ids) AS seen, len(image_ids) AS pictures,
       {words("instruction")} AS words_asked, {words("answer")} AS words_answered,
       {_units("instruction")} AS question, {_units("answer")} AS answer
FROM (SELECT *, split_part(lower(language), '-', 1) IN {DENSE} AS dense FROM instructions) AS i
LEFT JOIN (SELECT DISTINCT record FROM verdicts WHERE coalesce(rejects, true)) AS v ON v.record = i.id"""

_TABLES = {
    "tasks": """
        SELECT task, language, count(*) AS records, count(*) FILTER (accepted) AS accepted,
               count(DISTINCT seen) AS pictures,
               round(avg(words_asked), 1) AS words_asked, round(avg(words_answered), 1) AS words_answered
        FROM sized GROUP BY ALL ORDER BY ALL""",
    "models": """
        SELECT r.model, count(*) AS replies, sum(r.prompt_tokens)::BIGINT AS prompt_tokens,
               sum(r.cached_tokens)::BIGINT AS cached_tokens,
               sum(r.completion_tokens)::BIGINT AS completion_tokens,
               round(sum(r.cost_usd), 4) AS usd, sum(g.pairs)::BIGINT AS pairs,
               count(*) FILTER (g.problem IS NOT NULL) AS unreadable
        FROM replies AS r LEFT JOIN readings AS g ON g.reply = r.id
        GROUP BY ALL ORDER BY ALL""",
    "verdicts": """
        SELECT recipe, filter, count(*) AS records,
               count(*) FILTER (coalesce(rejects, true)) AS rejected,
               round(avg(score), 3) AS mean_score
        FROM verdicts GROUP BY ALL ORDER BY ALL""",
    "pictures": """
        SELECT count(*) AS pictures, count(DISTINCT sha256) AS different,
               coalesce(sum(length), 0)::BIGINT AS bytes,
               min(width) AS least_width, max(width) AS most_width
        FROM images""",
    "runs": """
        SELECT r.run, u.started, count(*) AS records FROM sized AS s
        JOIN replies AS r ON r.id = s.reply LEFT JOIN runs AS u ON u.id = r.run
        GROUP BY ALL ORDER BY u.started, r.run""",
    "days": """
        SELECT make_timestamp(epoch_us(r.time))::DATE AS day, count(*) AS records
        FROM sized AS s JOIN replies AS r ON r.id = s.reply GROUP BY ALL ORDER BY ALL""",
}
_LENGTHS = """
    UNPIVOT (SELECT task, language, CASE WHEN dense THEN 'letters' ELSE 'words' END AS unit, question, answer, pictures FROM sized)
    ON question, answer, pictures INTO NAME of VALUE value"""
_SCORES = "SELECT recipe, filter, score AS value FROM verdicts WHERE isfinite(score)"
_BARS = """
WITH found AS ({values}),
spread AS (
    SELECT {keys}, count(*) AS records, min(value) AS least, median(value) AS median, max(value) AS most, {step} AS step
    FROM found GROUP BY ALL),
groups AS (SELECT *, floor(least / step) * step AS start FROM spread),
counted AS (
    SELECT {keys}, least({bars} - 1, floor((value - start) / step + 1e-9))::INTEGER AS bar, count(*) AS records
    FROM found JOIN groups USING ({keys}) GROUP BY ALL)
SELECT g.*, list({{'bar': bar, 'records': c.records}} ORDER BY bar) AS counts
FROM groups AS g JOIN counted AS c USING ({keys}) GROUP BY ALL ORDER BY ALL"""
_WHOLE_STEP = (
    f"greatest(1, ceil((quantile_disc(value, 0.99) - min(value) + 1) / {BARS})::BIGINT)::BIGINT"
)
_SHARE = f"(max(value) / {BARS} - min(value) / {BARS})"
_TEN = f"pow(10, floor(log10(greatest({_SHARE}, 1e-300))))"
_ROUND_STEP = (
    f"CASE WHEN {_SHARE} > 0 THEN {_TEN} * CASE WHEN {_SHARE} <= 1.001 * {_TEN} THEN 1 "
    f"WHEN {_SHARE} <= 2.501 * {_TEN} THEN 2.5 WHEN {_SHARE} <= 5.001 * {_TEN} THEN 5 ELSE 10 END ELSE 1 END"
)
"""1, 2.5 or 5 and zeros: marks from 1 to 5 by quarters have a bar each."""


def stats(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return small tables of counts and distributions, by name; some may be empty."""
    from mimicit.curate.base import quoted
    from mimicit.curate.filters.judged import agreements

    with (
        tempfile.TemporaryDirectory(prefix="syphus-stats-") as spill,
        catalog.connect(store.catalog_path, read_only=True) as connection,
    ):
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        connection.execute(f"SET temp_directory = {quoted(spill)}")
        connection.execute(_SIZED)
        tables = {name: _rows(connection, query) for name, query in _TABLES.items()}
        tables["lengths"] = _bars(connection, _LENGTHS, "task, language, unit, of", _WHOLE_STEP)
        tables["scores"] = _bars(connection, _SCORES, "recipe, filter", _ROUND_STEP)
        tables["judges"] = [asdict(one) for one in agreements(connection)]
        connection.execute("DROP TABLE sized")
    return tables


def _bars(
    connection: duckdb.DuckDBPyConnection, values: str, keys: str, step: str
) -> list[dict[str, Any]]:
    rows = _rows(connection, _BARS.format(values=values, keys=keys, step=step, bars=BARS))
    for row in rows:
        found = {pair["bar"]: pair["records"] for pair in row["counts"]}
        row["counts"] = [found.get(bar, 0) for bar in range(max(found) + 1)]
    return rows


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows
