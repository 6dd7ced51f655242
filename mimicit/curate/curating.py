"""Ask a recipe about the records, and write what it says as verdicts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mimicit.catalog import scalar
from mimicit.curate.base import quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.history import folder_of, note, noted, parts_of_recipe, set_aside
from mimicit.curate.measures import attach, new_rows
from mimicit.curate.recipe import Recipe, Step
from mimicit.curate.stages import Funnel, Stage
from mimicit.errors import QueryError, RecipeError
from mimicit.parts import merge_small, next_part, parts_of
from mimicit.parts import write_part as write_parquet
from mimicit.sandbox import predicate
from mimicit.schema import verdict_schema
from mimicit.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

EXAMPLES = 3
ERROR = "error"
"""The filter of a verdict on a record on which a filter fails."""


def curate(store: Store, recipe: Recipe) -> Funnel:
    """Write the verdicts of a recipe, and say what each filter dropped.

    What the same recipe said before is replaced, and can be had back with `undo`.

    Raises:
        RecipeError: an SQL predicate of the recipe is wrong.
        LockedError: another process is writing.
    """
    folder = folder_of(store, recipe.name)
    with store.writing("syphus data curate"):
        store.sync()
        old = parts_of_recipe(store, recipe.name)
        with store.reading() as connection:
            funnel, verdicts = _judge(store, connection, recipe, folder)
            is_news = noted(folder).get("digest") != recipe.digest or _differs(connection, recipe)
        if is_news:  # else they stay, with their time
            if verdicts.num_rows:
                store.write_part("verdicts", "v", verdicts)
            set_aside(store, folder, old)
        note(folder, funnel, recipe.digest)
        store.sync()
    return funnel


def _differs(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> bool:
    """Say whether what is to be dropped is anything else than the verdicts that are there."""
    is_said = "SELECT record, filter, reason, score FROM dropped"
    was_said = (
        f"SELECT record, filter, reason, score FROM verdicts WHERE recipe = {quoted(recipe.name)}"
    )
    found = connection.execute(
        f"SELECT 1 FROM (({is_said} EXCEPT ALL {was_said}) UNION ALL "
        f"({was_said} EXCEPT ALL {is_said})) LIMIT 1"
    ).fetchall()
    return bool(found)


def _judge(
    store: Store, connection: duckdb.DuckDBPyConnection, recipe: Recipe, folder: Path
) -> tuple[Funnel, pyarrow.Table]:
    """Ask all filters; return the funnel and the verdicts."""
    _check(connection, recipe)
    attach(store, connection, [(name, MEASURES[name]) for name in recipe.measures])
    new = _judge_rows(connection, recipe, folder)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE dropped AS SELECT id AS record, position, filter, reason, score "
        "FROM judged JOIN instructions ON id = record WHERE position IS NOT NULL"
    )
    for position, step in enumerate(recipe.steps):
        if step.kind == "group":
            _judge_group(store, connection, position, step)
    total = scalar(connection, "SELECT count(*) FROM instructions")
    verdicts = connection.sql(
        "SELECT record, filter, reason, $name AS recipe, $digest AS recipe_digest, "
        "make_timestamptz($now) AS time, score, true AS rejects FROM dropped ORDER BY record",
        params={"name": recipe.name, "digest": recipe.digest, "now": int(time.time() * 1e6)},
    ).to_arrow_table()
    stages = [_stage(connection, n, step) for n, step in enumerate(recipe.steps)]
    stages += _errors(connection)
    accepted = total - verdicts.num_rows
    return Funnel(recipe.name, total, accepted, stages, new), verdicts.cast(verdict_schema())


def _check(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Find that what a recipe says in SQL is one expression that only reads.

    Raises:
        RecipeError: it is not.
    """
    import duckdb

    for step in recipe.steps:
        if step.predicate is None:
            continue
        try:
            predicate(connection, step.predicate)
        except (duckdb.Error, QueryError) as error:
            raise _fails(step, error) from None


def _fails(step: Step, error: Exception) -> RecipeError:
    return RecipeError(f"the filter {step.name!r} fails: {str(error).splitlines()[0]}")


# Filters of one record


def _judge_rows(connection: duckdb.DuckDBPyConnection, recipe: Recipe, folder: Path) -> int:
    """Have the table `judged`: each record, and the first filter of one record that drops it; return how many were new."""
    import pyarrow.dataset

    # Under the digest of what was asked: another recipe of the same name has answers of its own.
    kept = folder / "judged" / recipe.rows_digest
    schema = _judged_schema()

    def register() -> None:
        paths = parts_of(kept)
        known = pyarrow.dataset.dataset(paths, schema) if paths else schema.empty_table()
        connection.register("judged", known)

    register()
    new = new_rows(connection, "judged", "record")
    if new:
        kept.mkdir(parents=True, exist_ok=True)
        write_parquet(next_part(kept, "j"), _asked(connection, recipe.steps), schema)
        merge_small(kept, schema)
        register()
    for other in kept.parent.glob("*"):
        if other != kept:
            shutil.rmtree(other)
    return new


def _asked(
    connection: duckdb.DuckDBPyConnection, steps: tuple[Step, ...]
) -> Iterator[pyarrow.Table]:
    """Yield what the filters say of the records that they were not asked about.

    Raises:
        RecipeError: a filter is no SQL that can be asked.
    """
    import duckdb
    import pyarrow as pa

    rows = [(n, step) for n, step in enumerate(steps) if step.kind == "row"]
    for _, step in rows:
        try:
            connection.execute(f"SELECT {step.reason}, {step.score} FROM measured LIMIT 0")
        except duckdb.Error as error:
            raise _fails(step, error) from None
    try:
        connection.execute(_fresh(rows))
    except duckdb.Error:  # of one record, perhaps; then that one is told apart
        try:
            connection.execute(_fresh_guarded(rows))
        except duckdb.Error as error:
            raise RecipeError(f"a filter fails: {str(error).splitlines()[0]}") from None
    found = connection.sql(
        "SELECT record, CAST(said[1] AS INTEGER) AS position, said[2] AS filter, "
        "TRY_CAST(said[3] AS DOUBLE) AS score, said[4] AS reason FROM fresh"
    )
    for batch in found.to_arrow_reader(65_536):
        yield pa.Table.from_batches([batch]).select(_judged_schema().names).cast(_judged_schema())


def _fresh(rows: list[tuple[int, Step]]) -> str:
    """Return the query that asks one filter after the other, until one says something."""
    asked = ", ".join(_said(n, step, f"({step.reason})", f"({step.score})") for n, step in rows)
    return _FRESH.format(said=f"coalesce({asked})" if rows else "NULL::VARCHAR[]", rows=_NEW)


def _fresh_guarded(rows: list[tuple[int, Step]]) -> str:
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
    return _FRESH.format(said=f"coalesce({asked})", rows=f"(SELECT id{tried} FROM {_NEW})")


_NEW = "measured WHERE _row IN (SELECT _row FROM new_rows)"
_FRESH = "CREATE OR REPLACE TEMP TABLE fresh AS SELECT id AS record, {said} AS said FROM {rows}"


def _failed(step: Step) -> str:
    return quoted(f"it cannot be asked: {step.name}")


def _said(position: int, step: Step, reason: str, score: str) -> str:
    return (
        f"CASE WHEN {reason} IS NOT NULL THEN ['{position}', {quoted(step.name)}, "
        f"CAST({score} AS VARCHAR), CAST({reason} AS VARCHAR)] END"
    )


def _judged_schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("record", pa.string(), nullable=False),
            pa.field("position", pa.int32()),
            pa.field("filter", pa.string()),
            pa.field("score", pa.float64()),
            pa.field("reason", pa.string()),
        ]
    )


# Filters of many records


def _judge_group(
    store: Store, connection: duckdb.DuckDBPyConnection, position: int, step: Step
) -> None:
    """Ask about the records that no filter before this one dropped.

    Raises:
        RecipeError: the filter's SQL is none.
    """
    import duckdb

    connection.execute(
        "CREATE OR REPLACE TEMP VIEW candidates AS SELECT * FROM measured WHERE id NOT IN "
        f"(SELECT record FROM dropped WHERE position < {position})"
    )
    try:
        query = f"({step.reason})"
        if step.ask:
            connection.register("answer", step.ask(connection, store.path / "measures"))
            query = "answer"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE said AS SELECT * FROM {query} AS said(record, reason, score)"
        )
    except duckdb.Error as error:
        raise _fails(step, error) from None
    connection.execute("DELETE FROM dropped WHERE record IN (SELECT record FROM said)")
    connection.execute(
        f"INSERT INTO dropped SELECT record, {position}, {quoted(step.name)}, reason, score FROM said"
    )


# The funnel


def _stage(connection: duckdb.DuckDBPyConnection, position: int, step: Step) -> Stage:
    return _counted(connection, step.name, f"position = {position} AND filter <> '{ERROR}'")


def _errors(connection: duckdb.DuckDBPyConnection) -> list[Stage]:
    """Return the stage of records on which a filter failed, if there are some."""
    stage = _counted(connection, ERROR, f"filter = '{ERROR}'")
    return [stage] if stage.dropped else []


def _counted(connection: duckdb.DuckDBPyConnection, name: str, chosen: str) -> Stage:
    said = connection.execute(
        f"SELECT record, reason FROM dropped WHERE {chosen} ORDER BY record LIMIT {EXAMPLES}"
    ).fetchall()
    # By their ids alone, not by a join: texts are read of these few.
    ids = ", ".join(quoted(record) for record, _ in said) or "NULL"
    texts = {
        id_: {"instruction": instruction, "answer": answer}
        for id_, instruction, answer in connection.execute(
            f"SELECT id, instruction, answer FROM instructions WHERE id IN ({ids})"
        ).fetchall()
    }
    examples = [{"id": record} | texts[record] | {"reason": reason} for record, reason in said]
    dropped = scalar(connection, f"SELECT count(*) FROM dropped WHERE {chosen}")
    return Stage(name, dropped, examples)
