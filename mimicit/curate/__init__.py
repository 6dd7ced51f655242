"""Curation: opinions about records, written beside them; nothing is deleted.

`curate` passes every record through the filters of a recipe, in their order, in DuckDB, and replaces what the same recipe said
before. A filter sees what the ones before it let through, so of two duplicates the good one stays. A record is accepted when
no verdict of any recipe speaks against it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mimicit.catalog import scalar
from mimicit.curate.recipe import Filter, Recipe
from mimicit.errors import RecipeError
from mimicit.sandbox import predicate
from mimicit.schema import verdict_schema
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow


@dataclass
class Stage:
    """One row of the funnel."""

    filter: str
    dropped: int
    """Records that came this far and no farther."""
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Funnel:
    recipe: str
    records: int
    accepted: int
    """By this recipe."""
    stages: list[Stage]


def curate(store: Store, recipe: Recipe) -> Funnel:
    """Write the verdicts of a recipe, and say what each filter dropped.

    Raises:
        RecipeError: an SQL predicate of the recipe is wrong.
        LockedError: another process is writing.
    """
    with store.writing("syphus data curate"):
        store.sync()
        old = _parts_of(store, recipe.name)
        verdicts, funnel = _judge(store, recipe)
        if verdicts.num_rows:
            store.write_part("verdicts", "v", verdicts)
        for part in old:
            (store.path / part).unlink(missing_ok=True)
        store.sync()
    return funnel


def _judge(store: Store, recipe: Recipe) -> tuple[pyarrow.Table, Funnel]:
    with store.reading() as connection:
        connection.execute(
            "CREATE TEMP TABLE judged (record VARCHAR, filter VARCHAR, reason VARCHAR)"
        )
        stages = [_apply(connection, step) for step in recipe.filters]
        total = scalar(connection, "SELECT count(*) FROM instructions")
        verdicts: pyarrow.Table = connection.sql(
            "SELECT record, filter, reason, $name AS recipe, $digest AS recipe_digest, "
            "make_timestamptz($now) AS time, NULL::DOUBLE AS score, true AS rejects "
            "FROM judged ORDER BY record",
            params={"name": recipe.name, "digest": recipe.digest, "now": int(time.time() * 1e6)},
        ).to_arrow_table()
    dropped = verdicts.num_rows
    return verdicts.cast(verdict_schema()), Funnel(recipe.name, total, total - dropped, stages)


def _apply(connection: duckdb.DuckDBPyConnection, step: Filter) -> Stage:
    """Judge the records that no filter before this one dropped."""
    import duckdb

    try:
        if step.predicate is not None:
            predicate(connection, step.predicate)
        connection.execute(
            "INSERT INTO judged SELECT id, $filter, reason FROM ("
            f"SELECT id, CAST(({step.expression}) AS VARCHAR) AS reason FROM instructions "
            "WHERE id NOT IN (SELECT record FROM judged)) WHERE reason IS NOT NULL",
            {"filter": step.name},
        )
        examples = connection.execute(
            "SELECT id, instruction, answer, reason FROM judged JOIN instructions ON id = record "
            "WHERE filter = $filter ORDER BY id LIMIT 3",
            {"filter": step.name},
        ).fetchall()
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise RecipeError(f"the filter {step.name!r} fails: {said}") from None
    names = ("id", "instruction", "answer", "reason")
    [(dropped,)] = connection.execute(
        "SELECT count(*) FROM judged WHERE filter = $filter", {"filter": step.name}
    ).fetchall()
    return Stage(step.name, dropped, [dict(zip(names, row, strict=True)) for row in examples])


def _parts_of(store: Store, recipe: str) -> list[str]:
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT DISTINCT part FROM verdicts WHERE recipe = ?", [recipe]
        ).fetchall()
    return [part for (part,) in rows]
