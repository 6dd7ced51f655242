"""Ask a recipe about the records, and write what it says as verdicts.

    new records ─► measures ─► filters of one record (`asking`) ─► filters of many, in order ─► what changed ─► verdicts (`history`)

Filters of many records are asked about all records; or, where it is known that nothing else can have changed, about those that are
new and what hangs together with them (`around`). Either way verdicts that stay are not written again, and keep their time.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.catalog import scalar
from mimicit.curate.around import (
    NOT_LEFT_OUT,
    Tied,
    gather,
    leave_out_rejected,
    reach,
    reach_nobody,
    said_before,
    ties,
)
from mimicit.curate.asking import ERROR, JUDGED, ask_rows, fails
from mimicit.curate.asking import folder_of as judged_folder
from mimicit.curate.base import Measure, quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.history import (
    Change,
    finish,
    last_funnel,
    note,
    note_funnel,
    noted,
    parts_of_recipe,
    take_out,
    write_verdicts,
)
from mimicit.curate.history import folder_of as notes_folder
from mimicit.curate.measures import attach
from mimicit.curate.measures import folder_of as measure_folder
from mimicit.curate.opening import Tell, frugally, opened, seal, show, silent
from mimicit.curate.recipe import Recipe, Step
from mimicit.curate.stages import Funnel, Stage
from mimicit.errors import QueryError
from mimicit.sandbox import predicate
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

EXAMPLES = 3
LITTLE = 0.25
"""Share of the records up to which it pays to look around new ones."""


def curate(store: Store, recipe: Recipe, tell: Tell = silent) -> Funnel:
    """Write the verdicts of a recipe, and say what each filter dropped.

    What the same recipe said before is replaced, and can be had back with `undo`.

    Args:
        store: The dataset.
        recipe: What is asked.
        tell: Is told how far it is.

    Raises:
        RecipeError: an SQL predicate of the recipe is wrong.
        LockedError: another process is writing.
    """
    folder = notes_folder(store, recipe.name)
    with store.writing("syphus data curate"):
        finish(store, folder)
        store.sync()
        # What was measured in the first try is kept.
        return frugally(lambda memory: _curate(store, recipe, folder, tell, memory))


def _curate(store: Store, recipe: Recipe, folder: Path, tell: Tell, memory: str | None) -> Funnel:
    with opened(store, memory) as connection:
        new = _judge_rows(store, connection, recipe, folder, tell)
        parts = parts_of_recipe(store, connection, recipe.name)
        total = scalar(connection, "SELECT count(*) FROM instructions")
        settled = _settled(recipe) | leave_out_rejected(connection)
        settled |= {"records": total - new, "parts": parts}
        little = _look_around(connection, recipe, folder, settled, new)
        if not little:
            _all_around(connection)
        _judge_groups(store, connection, recipe, tell)
        changed = _compare(connection, recipe, folder, little)
        funnel = _funnel(connection, recipe, total, new)
        now = int(time.time() * 1e6)
        change = Change(store, folder) if changed else None
        if change:
            tell("writing verdicts", 0, 0)
            with change:
                _prepare(connection, recipe, change, now)
    if change:
        came = change.carry_out(funnel, recipe.digest, now)
        store.sync()
        parts = {p: n for p, n in parts.items() if (store.path / p).exists()}
        parts |= {part: (store.path / part).stat().st_size for part in came}
    elif replace(funnel, new=0) != replace(last_funnel(folder) or funnel, new=0):
        note_funnel(folder, funnel, recipe.digest)
    settled |= {"records": total, "parts": parts}
    if noted(folder, "settled") != settled:
        note(folder, "settled", settled)
    return funnel


def _settled(recipe: Recipe) -> dict[str, object]:
    """Return what was asked, down to the versions of measures."""
    return {"digest": recipe.digest, "rows": recipe.rows_digest}


# Asking


def _judge_rows(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    folder: Path,
    tell: Tell,
) -> int:
    """Have what is measured, and what filters of one record say; return how many records were new."""
    _check(connection, recipe)
    named = [(name, MEASURES[name]) for name in recipe.measures]
    attach(store, connection, named, tell)
    answers = judged_folder(recipe, folder)
    show(connection, "answered", answers, JUDGED)
    kept = [measure_folder(store, name, one) for name, one in named if isinstance(one, Measure)]
    seal(connection, [answers, *kept])
    return ask_rows(store, connection, recipe, folder, tell)


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
            raise fails(step, error) from None


def _look_around(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    folder: Path,
    settled: dict[str, object],
    new: int,
) -> bool:
    """Have the records about which filters of many may say something else than the verdicts that are there; False if that may be all."""
    if noted(folder, "settled") != settled:
        return False
    columns = ties(recipe)
    if columns is None:
        return False
    most = LITTLE * scalar(connection, "SELECT count(*) FROM instructions")
    if new > most or (new and reach(connection, columns) > most):
        return False
    if not new:
        reach_nobody(connection)
    gather(connection, columns)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE dropped AS SELECT record, position, filter, reason, score "
        "FROM judged WHERE record IN (SELECT id FROM around)"
    )
    return True


def _all_around(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW asked AS SELECT * FROM measured WHERE {NOT_LEFT_OUT}"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE dropped AS SELECT record, position, filter, reason, score "
        "FROM judged SEMI JOIN instructions ON id = record"
    )


def _judge_groups(
    store: Store, connection: duckdb.DuckDBPyConnection, recipe: Recipe, tell: Tell
) -> None:
    """Have the table `dropped`: of the records in `asked`, those that a filter drops, and the first one that does."""
    asked = scalar(connection, "SELECT count(*) FROM asked")
    for position, step in enumerate(recipe.steps):
        if step.kind == "group":
            tell(f"filter {position + 1} of {len(recipe.steps)}, {step.name}", 0, asked)
            if asked:
                _judge_group(store, connection, position, step)


def _judge_group(
    store: Store, connection: duckdb.DuckDBPyConnection, position: int, step: Step
) -> None:
    """Ask about the records that no filter before this one dropped.

    Raises:
        RecipeError: the filter's SQL is none.
    """
    import duckdb

    connection.execute(
        "CREATE OR REPLACE TEMP VIEW candidates AS SELECT * FROM asked WHERE id NOT IN "
        f"(SELECT record FROM dropped WHERE position < {position})"
    )
    try:
        query = f"({step.reason})"
        if isinstance(step.ask, Tied):
            query = f"({step.ask.query(connection)})"
        elif step.ask:
            connection.register("answer", step.ask(connection, store.path / "measures"))
            query = "answer"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE said AS SELECT * FROM {query} AS said(record, reason, score)"
        )
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise fails(step, error) from None
    connection.execute("DELETE FROM dropped WHERE record IN (SELECT record FROM said)")
    connection.execute(
        f"INSERT INTO dropped SELECT record, {position}, {quoted(step.name)}, reason, score FROM said"
    )


# What changed


def _compare(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, folder: Path, little: bool
) -> bool:
    """Have the verdicts that come and go, as the tables `coming` and `going`; say whether there are some."""
    was = f"SELECT record, filter, reason, score FROM verdicts WHERE recipe = {quoted(recipe.name)}"
    if little:
        was = said_before(recipe)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE was AS {was}")
    same = "d.record = w.record AND d.filter = w.filter AND d.reason = w.reason AND d.score IS NOT DISTINCT FROM w.score"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE coming AS "
        f"SELECT record, filter, reason, score FROM dropped AS d ANTI JOIN was AS w ON {same}"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE going AS SELECT record FROM was AS w ANTI JOIN dropped AS d ON {same}"
    )
    had, has, come, go = (
        scalar(connection, f"SELECT count(*) FROM {table}")
        for table in ("was", "dropped", "coming", "going")
    )
    another = noted(folder).get("digest") != recipe.digest
    if another or had - go + come != has:  # or it was said twice: by somebody who was killed
        connection.execute(
            "INSERT INTO going SELECT record FROM was ANTI JOIN going USING (record)"
        )
        connection.execute(
            "INSERT INTO coming SELECT record, filter, reason, score FROM dropped ANTI JOIN coming USING (record)"
        )
        return True
    return bool(come or go)


def _prepare(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, change: Change, now: int
) -> None:
    """Write what comes and what goes."""
    ours = f"recipe = {quoted(recipe.name)} AND record IN (SELECT record FROM going)"
    whole = connection.execute(
        f"SELECT part, count(*) = count(*) FILTER ({ours}) FROM verdicts GROUP BY part"
    ).fetchall()
    for part in sorted(part for part, goes in whole if goes):
        change.set_aside(part)
        ours += f" AND part <> {quoted(part)}"
    if scalar(connection, f"SELECT count(*) FROM verdicts WHERE {ours}"):
        write_verdicts(connection, change.went(), f"SELECT * FROM verdicts WHERE {ours}")
        take_out(connection, change, ours)
    if scalar(connection, "SELECT count(*) FROM coming"):
        said = f"{quoted(recipe.name)} AS recipe, {quoted(recipe.digest)} AS recipe_digest"
        write_verdicts(
            connection,
            change.comes(),
            f"SELECT record, filter, reason, score, {said}, make_timestamptz({now:d}) AS time, true AS rejects FROM coming",
        )


# The funnel


def _funnel(connection: duckdb.DuckDBPyConnection, recipe: Recipe, total: int, new: int) -> Funnel:
    """Count what is dropped, by filter, with examples."""
    stays = f"recipe = {quoted(recipe.name)} AND record NOT IN (SELECT record FROM going)"
    found = connection.execute(
        f"SELECT filter, count(*), arg_min({{'record': record, 'reason': reason}}, record, {EXAMPLES}) FROM "
        f"(SELECT record, filter, reason FROM verdicts WHERE {stays} "
        "UNION ALL SELECT record, filter, reason FROM coming) GROUP BY filter"
    ).fetchall()
    said = {name: (count, examples) for name, count, examples in found}
    texts = _texts(connection, [one["record"] for _, some in said.values() for one in some])
    names = [step.name for step in recipe.steps] + ([ERROR] if ERROR in said else [])
    stages = []
    for name in dict.fromkeys(names):
        count, some = said.get(name, (0, []))
        examples = [
            {"id": one["record"]} | texts[one["record"]] | {"reason": one["reason"]} for one in some
        ]
        stages.append(Stage(name, count, examples))
    dropped = sum(count for count, _ in said.values())
    return Funnel(recipe.name, total, total - dropped, stages, new)


def _texts(connection: duckdb.DuckDBPyConnection, ids: list[str]) -> dict[str, dict[str, str]]:
    """Return the texts of a few records; by their places, so that no others are read."""
    named = ", ".join(map(quoted, ids)) or "NULL"
    places = connection.execute(f"SELECT rowid FROM instructions WHERE id IN ({named})").fetchall()
    rows = ", ".join(str(place) for (place,) in places) or "NULL"
    found = connection.execute(
        f"SELECT id, instruction, answer FROM instructions WHERE rowid IN ({rows})"
    ).fetchall()
    return {
        id_: {"instruction": instruction, "answer": answer} for id_, instruction, answer in found
    }
