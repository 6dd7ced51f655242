"""Filters of one record: asked once about each, and what they said is kept.

    curation/starter/judged/<digest>/j-00000.parquet     record, and the first filter that drops it, with its position in the recipe

The digest is of what was asked, so another recipe of the same name has answers of its own. A record on which a filter fails gets the
verdict `error`: its block is asked once more, each filter in a column of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.curate.base import Measure, quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.measures import join
from mimicit.curate.opening import Tell
from mimicit.curate.recipe import Recipe, Step
from mimicit.curate.seen import blocks, new_rows
from mimicit.curate.seen import note as note_seen
from mimicit.errors import RecipeError
from mimicit.parts import merge_small, next_part
from mimicit.parts import write_part as write_parquet
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

ERROR = "error"
"""The filter of a verdict on a record on which a filter fails."""
BLOCK = 131_072
"""Records that are asked about at a time."""
JUDGED = {
    "record": "VARCHAR",
    "position": "INTEGER",
    "filter": "VARCHAR",
    "score": "DOUBLE",
    "reason": "VARCHAR",
}


def fails(step: Step, error: Exception) -> RecipeError:
    return RecipeError(f"the filter {step.name!r} fails: {str(error).splitlines()[0]}")


def folder_of(recipe: Recipe, folder: Path) -> Path:
    return folder / "judged" / recipe.rows_digest


def ask_rows(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    folder: Path,
    tell: Tell,
) -> int:
    """Have the table `judged`, in which each record is that a filter of one record drops; return how many records were new.

    The new ones are in `new_rows`.

    Args:
        store: The dataset.
        connection: Has `answered`, the parts of what was said before, and `measured`.
        recipe: What is asked.
        folder: The recipe's notes.
        tell: Is told how far it is.
    """
    kept = folder_of(recipe, folder)
    new = new_rows(connection, store, kept, "answered", "record")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE just_answered AS SELECT * FROM answered WHERE false"
    )
    if new:
        kept.mkdir(parents=True, exist_ok=True)
        tables = _asked(connection, recipe.steps, new, tell)
        write_parquet(next_part(kept, "j"), tables, schema_of())
        merge_small(kept, schema_of())
    note_seen(store, kept)
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW judged AS SELECT * FROM answered WHERE position IS NOT NULL "
        "UNION ALL SELECT * FROM just_answered"
    )
    for other in kept.parent.glob("*"):
        if other != kept:
            shutil.rmtree(other)
    return new


def schema_of() -> pyarrow.Schema:
    import pyarrow as pa

    types = (pa.string(), pa.int32(), pa.string(), pa.float64(), pa.string())
    return pa.schema(
        [
            pa.field(name, kind, nullable=name != "record")
            for name, kind in zip(JUDGED, types, strict=True)
        ]
    )


def _asked(
    connection: duckdb.DuckDBPyConnection, steps: tuple[Step, ...], new: int, tell: Tell
) -> Iterator[pyarrow.Table]:
    """Yield what the filters say of the records in `new_rows`.

    Raises:
        RecipeError: a filter is no SQL that can be asked.
    """
    rows = [(n, step) for n, step in enumerate(steps) if step.kind == "row"]
    source = _source(connection, [step for _, step in rows])
    done, what = 0, f"asking {len(rows)} filters"
    tell(what, 0, new)
    for where, count in blocks(connection, BLOCK, "_row"):
        _ask(connection, rows, f"{source} WHERE {where}")
        connection.execute(
            "INSERT INTO just_answered SELECT * FROM fresh WHERE position IS NOT NULL"
        )
        yield connection.sql("SELECT * FROM fresh").to_arrow_table().cast(schema_of())
        done += count
        tell(what, done, new)


def _source(connection: duckdb.DuckDBPyConnection, steps: list[Step]) -> str:
    """Return the table of records with no more measures than these filters look at.

    Raises:
        RecipeError: a filter is no SQL that can be asked.
    """
    import duckdb

    named = sorted({name for step in steps for name in step.measures})
    some = {name: one for name in named if isinstance(one := MEASURES[name], Measure)}
    join(connection, "measured_rows", some)
    wanted = "measured_rows"
    for step in steps:
        try:
            connection.execute(f"SELECT {step.reason}, {step.score} FROM measured LIMIT 0")
        except duckdb.Error as error:
            raise fails(step, error) from None
        try:
            connection.execute(f"SELECT {step.reason}, {step.score} FROM {wanted} LIMIT 0")
        except duckdb.Error:  # the recipe's own SQL looks at another filter's measure
            wanted = "measured"
    return wanted


def _ask(connection: duckdb.DuckDBPyConnection, rows: list[tuple[int, Step]], records: str) -> None:
    """Have the table `fresh`.

    Raises:
        RecipeError: a filter fails, and not for one record alone.
    """
    import duckdb

    try:
        connection.execute(_fresh(rows, records))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:  # of one record, perhaps; then that one is told apart
        try:
            connection.execute(_fresh_guarded(rows, records))
        except duckdb.Error as error:
            raise RecipeError(f"a filter fails: {str(error).splitlines()[0]}") from None


def _fresh(rows: list[tuple[int, Step]], records: str) -> str:
    """Return the query that asks one filter after the other, until one says something."""
    asked = ", ".join(_said(n, step, f"({step.reason})", f"({step.score})") for n, step in rows)
    return _FRESH.format(said=f"coalesce({asked})" if rows else "NULL::VARCHAR[]", rows=records)


def _fresh_guarded(rows: list[tuple[int, Step]], records: str) -> str:
    """As `_fresh`, where a filter that fails on a record says that it does.

    Each is asked in a column of its own: what DuckDB computes once for several places, it may compute outside of TRY.
    """
    tried = "".join(
        f", TRY({{'reason': ({step.reason})}}) AS reason_{n}, TRY({step.score}) AS score_{n}"
        for n, step in rows
    )
    asked = ", ".join(
        f"CASE WHEN reason_{n} IS NULL THEN ['{n}', '{ERROR}', NULL, {_failed(step)}] "
        f"ELSE {_said(n, step, f'reason_{n}.reason', f'score_{n}')} END"
        for n, step in rows
    )
    return _FRESH.format(said=f"coalesce({asked})", rows=f"(SELECT id{tried} FROM {records})")


_FRESH = """CREATE OR REPLACE TEMP TABLE fresh AS
SELECT record, CAST(said[1] AS INTEGER) AS position, said[2] AS filter, TRY_CAST(said[3] AS DOUBLE) AS score, said[4] AS reason
FROM (SELECT id AS record, {said} AS said FROM {rows})"""


def _failed(step: Step) -> str:
    return quoted(f"it cannot be asked: {step.name}")


def _said(position: int, step: Step, reason: str, score: str) -> str:
    return (
        f"CASE WHEN {reason} IS NOT NULL THEN ['{position}', {quoted(step.name)}, "
        f"CAST({score} AS VARCHAR), CAST({reason} AS VARCHAR)] END"
    )
