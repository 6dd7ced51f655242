"""Curation: opinions about records, written beside them; nothing is deleted.

`curate` looks at every record with every filter of a recipe, in DuckDB, and replaces what the same recipe said before. A
record is accepted when no verdict speaks against it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    rejected: int
    """Records it speaks against."""
    dropped: int
    """Of those, the ones no filter before it spoke against."""
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
    import pyarrow as pa

    dropped: set[str] = set()
    stages, tables = [], []
    with store.reading() as connection:
        total = scalar(connection, "SELECT count(*) FROM instructions")
        for step in recipe.filters:
            rows = _reasons(connection, step)
            fresh = [
                row for row in rows.select(["id", "reason"]).to_pylist() if row["id"] not in dropped
            ]
            dropped.update(row["id"] for row in fresh)
            stages.append(Stage(step.name, rows.num_rows, len(fresh), _examples(rows, fresh[:3])))
            tables.append(_verdicts(rows, step.name, recipe))
    funnel = Funnel(recipe.name, total, total - len(dropped), stages)
    return pa.concat_tables(tables), funnel


def _reasons(connection: duckdb.DuckDBPyConnection, step: Filter) -> pyarrow.Table:
    import duckdb

    try:
        if step.predicate is not None:
            predicate(connection, step.predicate)
        return connection.sql(
            "SELECT * FROM (SELECT id, instruction, answer, "
            f"CAST(({step.expression}) AS VARCHAR) AS reason FROM instructions) "
            "WHERE reason IS NOT NULL ORDER BY id"
        ).to_arrow_table()
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise RecipeError(f"the filter {step.name!r} fails: {said}") from None


def _verdicts(rows: pyarrow.Table, name: str, recipe: Recipe) -> pyarrow.Table:
    import pyarrow as pa

    count, now = rows.num_rows, int(time.time() * 1e6)
    return pa.table(
        [
            rows["id"].cast(pa.string()),
            pa.array([name] * count, pa.string()),
            rows["reason"].cast(pa.string()),
            pa.array([recipe.name] * count, pa.string()),
            pa.array([recipe.digest] * count, pa.string()),
            pa.array([now] * count, pa.timestamp("us", tz="UTC")),
        ],
        schema=verdict_schema(),
    )


def _examples(rows: pyarrow.Table, fresh: list[dict[str, Any]]) -> list[dict[str, str]]:
    shown = {row["id"] for row in fresh}
    return [row for row in rows.slice(0, 10_000).to_pylist() if row["id"] in shown]


def _parts_of(store: Store, recipe: str) -> list[str]:
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT DISTINCT part FROM verdicts WHERE recipe = ?", [recipe]
        ).fetchall()
    return [part for (part,) in rows]
