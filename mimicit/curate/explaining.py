"""Why a record is where it is: what every filter of a recipe says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimicit.curate.base import quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.measures import attach
from mimicit.curate.recipe import Recipe, Step
from mimicit.errors import RecipeError
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb


@dataclass
class Said:
    """What one filter says of one record, whatever the others say."""

    filter: str
    drops: bool
    reason: str
    """Empty where it may stay."""
    score: float | None = None


def explain(store: Store, recipe: Recipe, record: str) -> list[Said]:
    """Ask every filter of a recipe about a record.

    A filter of many records (duplicates) answers with the last verdict that it wrote.

    Raises:
        RecipeError: there is no such record.
        LockedError: another process is writing.
    """
    with store.writing("syphus data curate --explain"):
        store.sync()
        with store.reading() as connection:
            [(there,)] = connection.execute(
                "SELECT count(*) FROM instructions WHERE id = ?", [record]
            ).fetchall()
            if not there:
                raise RecipeError(f"the dataset has no record {record!r}")
            attach(store, connection, [(name, MEASURES[name]) for name in recipe.measures])
            return [_said(connection, recipe, step, record) for step in recipe.steps]


def _said(connection: duckdb.DuckDBPyConnection, recipe: Recipe, step: Step, record: str) -> Said:
    import duckdb

    if step.kind == "group":
        query = (
            f"SELECT reason, score FROM verdicts WHERE recipe = {quoted(recipe.name)} "
            f"AND filter = {quoted(step.name)} AND record = ?"
        )
    else:
        query = f"SELECT CAST(({step.reason}) AS VARCHAR), {step.score} FROM measured WHERE id = ?"
    try:
        found = connection.execute(query, [record]).fetchall()
    except duckdb.Error as error:
        return Said(step.name, True, f"it cannot be asked: {str(error).splitlines()[0]}")
    reason, score = found[0] if found else (None, None)
    return Said(step.name, reason is not None, reason or "", score)
