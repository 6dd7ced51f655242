"""What is in a dataset: counts of records, texts and pictures, by SQL aggregates of a bounded size.

What could have any number of values (tasks, sources) is counted for its most frequent ones; the others are one row, `OTHERS`.
Texts are read twice: once for the table `cube`, from which all counts come, once for the table `lengths`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mimicit.catalog import scalar
from mimicit.curate.base import quoted
from mimicit.stats import words

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

OTHERS = "(others)"
NONE = "(not said)"
_LAST = f"{quoted(OTHERS)}, {quoted(NONE)}"
TASKS, LANGUAGES, SOURCES = 24, 16, 20
"""Most frequent ones that get a row."""
LONGEST = 2_000
"""Words that are told apart; longer texts count as so many."""
MOST_PICTURES = 32
"""Of a record that are told apart."""
EXACTLY = 3_000_000
"""Up to so many values different ones are counted exactly; above, DuckDB estimates."""
_SOURCE = (
    r"substr(regexp_replace(split_part(source, '#', 1), '(\.[A-Za-z]\w{0,7}): ?.*$', '\1'), 1, 200)"
)
"""The file of `photos.json#42`, `photos.json: row 42` and `photos.json:42`."""
_LICENCE = (
    "CASE WHEN json_valid(meta) THEN coalesce(json_extract_string(meta, '$.licence'), "
    "json_extract_string(meta, '$.license')) END"
)


@dataclass
class Facts:
    """What the page says of records, texts and pictures."""

    totals: Row
    tasks: list[Row]
    sources: list[Row]
    languages: list[Row]
    licences: list[Row]
    per_record: list[Row]
    """Pictures of a record: pictures, records."""
    question_lengths: list[Row]
    """task, dropped, words, records."""
    answer_lengths: list[Row]
    sizes: list[Row]
    """Pictures by the step of their longer side: an eighth of an octave."""
    shapes: list[Row]
    """Pictures by the step of width / height, an eighth of an octave."""
    formats: list[Row]
    splits: list[Row] = field(default_factory=list)
    annotations: Row = field(default_factory=dict)


def gather(connection: duckdb.DuckDBPyConnection) -> Facts:
    """Count what is in a dataset.

    Args:
        connection: Reads its catalog. It gets the views and tables `told`, `cube` and `lengths`.
    """
    prepare(connection)
    return Facts(
        totals=_totals(connection),
        tasks=_groups(connection, "task"),
        sources=_groups(connection, "source"),
        languages=_groups(connection, "language"),
        licences=_licences(connection),
        per_record=rows(
            connection,
            "SELECT pictures, sum(records)::BIGINT AS records FROM cube GROUP BY 1 ORDER BY 1",
        ),
        question_lengths=_lengths(connection, "asked"),
        answer_lengths=_lengths(connection, "answered"),
        sizes=rows(connection, _STEPS.format(value="greatest(width, height)")),
        shapes=rows(connection, _STEPS.format(value="width / height")),
        formats=rows(connection, _FORMATS),
        splits=_splits(connection),
        annotations=_annotations(connection),
    )


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    found: list[Row] = connection.sql(query).to_arrow_table().to_pylist()
    return found


def has_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Say whether the catalog has a table or view; those of older versions lack some."""
    found = connection.execute(
        "SELECT 1 FROM information_schema.tables WHERE table_name = ?", [name]
    ).fetchall()
    return bool(found)


def most_frequent(
    connection: duckdb.DuckDBPyConnection, expression: str, table: str, limit: int
) -> list[str]:
    """Return the most frequent values of a column; where there are very many, DuckDB counts them on disk."""
    found = connection.execute(
        f"SELECT {expression} FROM {table} WHERE {expression} IS NOT NULL "
        f"GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {limit:d}"
    ).fetchall()
    return [value for (value,) in found]


def literal(text: str) -> str:
    """Write a stranger's text as an SQL literal; DuckDB 1 takes a zero byte for the end of a statement."""
    return "(" + quoted(text).replace("\0", "' || chr(0) || '") + ")"


def named(expression: str, names: list[str]) -> str:
    """Write a value, or `OTHERS` where it is none of these, or `NONE`, as SQL."""
    listed = ", ".join(map(literal, names)) or "NULL"
    return (
        f"CASE WHEN {expression} IS NULL THEN {quoted(NONE)} WHEN {expression} IN ({listed}) "
        f"THEN {expression} ELSE {quoted(OTHERS)} END"
    )


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE against AS "
        "SELECT DISTINCT record FROM verdicts WHERE coalesce(rejects, true)"
    )
    task = named("task", most_frequent(connection, "task", "instructions", TASKS))
    language = named("language", most_frequent(connection, "language", "instructions", LANGUAGES))
    source = named(_SOURCE, most_frequent(connection, _SOURCE, "instructions", SOURCES))
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW told AS SELECT id, {task} AS task, {language} AS language, "
        f"{source} AS source, conversation, instruction, answer, image_ids, translation_of, "
        "rejected IS NOT NULL AS compared, id IN (SELECT record FROM against) AS dropped, "
        f"{words('instruction')} AS asked, {words('answer')} AS answered FROM instructions"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE cube AS {_CUBE}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lengths AS {_LENGTHS}")


_CUBE = f"""
SELECT task, language, source, dropped, least(len(image_ids), {MOST_PICTURES}) AS pictures,
       count(*) AS records, sum(len(image_ids))::BIGINT AS shown,
       sum(asked)::BIGINT AS asked, sum(answered)::BIGINT AS answered,
       sum(strlen(instruction) + strlen(answer))::BIGINT AS bytes,
       count(*) FILTER (conversation IS NULL) AS alone,
       count(translation_of) AS translations, count(*) FILTER (compared) AS compared
FROM told GROUP BY ALL"""

_LENGTHS = f"""
SELECT task, dropped, least(asked, {LONGEST}) AS asked, least(answered, {LONGEST}) AS answered,
       count(*) AS records, grouping(least(asked, {LONGEST})) = 0 AS of_question
FROM told GROUP BY GROUPING SETS (
    (task, dropped, least(asked, {LONGEST})), (task, dropped, least(answered, {LONGEST})))"""

_STEPS = """
SELECT round(8 * log2({value}))::INTEGER AS step, count(*) AS pictures FROM images
WHERE width > 0 AND height > 0 GROUP BY 1 ORDER BY 1"""

_FORMATS = """
SELECT mime AS format, count(*) AS pictures, sum(length)::BIGINT AS bytes,
       min(width) || ' × ' || min(height) AS least, max(width) || ' × ' || max(height) AS most
FROM images GROUP BY 1 ORDER BY 2 DESC LIMIT 12"""


def _totals(connection: duckdb.DuckDBPyConnection) -> Row:
    [found] = rows(
        connection,
        "SELECT coalesce(sum(records), 0)::BIGINT AS records, "
        "coalesce(sum(records) FILTER (dropped), 0)::BIGINT AS dropped, "
        "coalesce(sum(shown), 0)::BIGINT AS shown, coalesce(sum(alone), 0)::BIGINT AS alone, "
        "coalesce(sum(asked), 0)::BIGINT AS asked, coalesce(sum(answered), 0)::BIGINT AS answered, "
        "coalesce(sum(bytes), 0)::BIGINT AS text_bytes, "
        "coalesce(sum(translations), 0)::BIGINT AS translations, "
        "coalesce(sum(compared), 0)::BIGINT AS compared, "
        "coalesce(sum(records) FILTER (pictures = 0), 0)::BIGINT AS without_picture FROM cube",
    )
    [pictures] = rows(
        connection,
        "SELECT count(*) AS pictures, coalesce(sum(length), 0)::BIGINT AS picture_bytes, "
        "count(time) AS frames FROM images",
    )
    found |= pictures
    found["accepted"] = found["records"] - found["dropped"]
    found["tokens"] = found["text_bytes"] // 4
    found["conversations"] = found["alone"] + _different(
        connection, "conversation", "instructions", found["records"] - found["alone"]
    )
    for name in ("tasks", "languages", "sources"):
        column = _SOURCE if name == "sources" else name[:-1]
        found[name] = _different(connection, column, "instructions", 0)
    found["different"] = _different(connection, "sha256", "images", found["pictures"])
    found |= _references(connection, found)
    return found


def _different(
    connection: duckdb.DuckDBPyConnection, expression: str, table: str, values: int
) -> int:
    counted = "count(DISTINCT {})" if values <= EXACTLY else "approx_count_distinct({})"
    return scalar(connection, f"SELECT {counted.format(expression)} FROM {table}")


def _references(connection: duckdb.DuckDBPyConnection, totals: Row) -> Row:
    """Count pictures that are named and not there, and those that are there and not named; None where there are too many to tell."""
    if totals["shown"] > 10 * EXACTLY or totals["pictures"] > EXACTLY:
        return {"missing": None, "unused": None}
    [found] = rows(
        connection,
        "WITH named AS (SELECT DISTINCT unnest(image_ids) AS id FROM instructions) "
        "SELECT (SELECT count(*) FROM named ANTI JOIN images USING (id)) AS missing, "
        "(SELECT count(*) FROM images ANTI JOIN named USING (id)) AS unused",
    )
    return found


def _groups(connection: duckdb.DuckDBPyConnection, column: str) -> list[Row]:
    """Count by task, source or language; `OTHERS` and `NONE` stand last."""
    return rows(
        connection,
        f"SELECT {column}, sum(records)::BIGINT AS records, "
        "coalesce(sum(records) FILTER (NOT dropped), 0)::BIGINT AS accepted, "
        "(sum(shown) / sum(records))::DOUBLE AS pictures, (sum(asked) / sum(records))::DOUBLE AS asked, "
        "(sum(answered) / sum(records))::DOUBLE AS answered, "
        f"count(DISTINCT language) AS languages FROM cube GROUP BY {column} "
        f"ORDER BY {column} IN ({_LAST}), 2 DESC, 1",
    )


def _licences(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    if not scalar(connection, "SELECT count(meta) FROM instructions"):
        return []
    names = most_frequent(connection, _LICENCE, "instructions", SOURCES)
    if not names:
        return []
    return rows(
        connection,
        f"SELECT {named(_LICENCE, names)} AS licence, count(*) AS records FROM instructions "
        f"GROUP BY 1 ORDER BY licence IN ({_LAST}), 2 DESC, 1",
    )


def _lengths(connection: duckdb.DuckDBPyConnection, column: str) -> list[Row]:
    chosen = "of_question" if column == "asked" else "NOT of_question"
    return rows(
        connection,
        f"SELECT task, dropped, {column} AS words, records FROM lengths WHERE {chosen} ORDER BY ALL",
    )


def _splits(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    if not has_table(connection, "splits"):
        return []
    return rows(
        connection,
        'SELECT "name" AS splitting, split, count(*) AS records, '
        "count(*) FILTER (record NOT IN (SELECT record FROM against)) AS accepted "
        "FROM splits GROUP BY ALL ORDER BY 1, 3 DESC, 2 LIMIT 60",
    )


def _annotations(connection: duckdb.DuckDBPyConnection) -> Row:
    if not has_table(connection, "annotations"):
        return {}
    [found] = rows(
        connection,
        "SELECT count(*) AS annotations, coalesce(sum(len(captions)), 0)::BIGINT AS captions, "
        "coalesce(sum(len(objects)), 0)::BIGINT AS objects, "
        "count(DISTINCT split_part(source, '#', 1)) AS sources FROM annotations",
    )
    return found if found["annotations"] else {}
