"""What can change when records are added: they, and whatever hangs together with them.

Filters of duplicates decide in groups: records with one digest, and the turns of a conversation, which go together. Such a filter names
the columns by which records are tied (`Tied`). What it says of a record follows from the records that can be reached from it by shared
values of these columns, so after an addition it is asked only about those that can be reached from a new record; for all others
the verdicts that are there are right. Any other filter of many records may change its mind about everybody.

What people rejected in a review is no reason to drop its twin, nor is the old version of what they edited: filters of many records do not see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mimicit.curate.base import Measure, quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.recipe import Recipe, Step
from mimicit.schema import REVIEWERS

if TYPE_CHECKING:
    import duckdb

CONVERSATION = "conversation"
NOT_LEFT_OUT = "id NOT IN (SELECT record FROM left_out)"


@runtime_checkable
class Tied(Protocol):
    """A question whose answer about a record follows from those that it is tied to."""

    @property
    def tied(self) -> tuple[str, ...]:
        """Columns of measures; records with an equal value are tied, and so are the turns of a conversation."""

    def query(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return a query of what calling it returns: nothing needs to go through Arrow."""


def ties(recipe: Recipe) -> list[str] | None:
    """Return the columns by which records are tied for a recipe; None if any record may matter to any other."""
    columns: set[str] = set()
    for step in recipe.steps:
        if step.kind == "group":
            asked = _asked(step)
            if not isinstance(asked, Tied):
                return None
            columns.update(asked.tied)
    return sorted(columns) if measure_of(list(columns)) else None


def _asked(step: Step) -> object:
    """Return the question itself, where it is asked of the records of some tasks."""
    return getattr(step.ask, "ask", step.ask)


def reach(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> int:
    """Have the table `around`: the records of `new_rows`, and all that can be reached from them; return how many these are.

    Args:
        connection: Has the measures' tables.
        columns: By which records are tied, of one measure.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE reached AS SELECT id FROM instructions "
        "WHERE rowid IN (SELECT _row FROM new_rows)"
    )
    if columns:
        _tabulate(connection, columns)
    in_turns = connection.execute(
        f"SELECT 1 FROM instructions WHERE {CONVERSATION} IS NOT NULL LIMIT 1"
    ).fetchall()
    size = -1
    while size != (size := _grown(connection, columns, bool(in_turns))):
        pass
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE around AS SELECT rowid AS _row, id FROM instructions "
        "WHERE id IN (SELECT id FROM reached)"
    )
    return size


def _tabulate(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> None:
    """Have the table `knots`: of each record the values by which it is tied."""
    measure = measure_of(columns)
    own = ", ".join(f'"{column.removeprefix(f"{measure}_")}" AS {column}' for column in columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE knots AS SELECT id, {own} FROM measure_{measure}"
    )


def measure_of(columns: list[str]) -> str:
    """Return the measure that has these columns; nothing where there is none that has all."""
    for name, measure in MEASURES.items():
        own = measure.columns if isinstance(measure, Measure) else ()
        if {f"{name}_{column}" for column in own} >= set(columns):
            return name
    return ""


def _grown(connection: duckdb.DuckDBPyConnection, columns: list[str], in_turns: bool) -> int:
    """Add to `reached` what is tied to a record in it; return how many there are now."""
    if columns:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE held AS SELECT * FROM knots WHERE id IN (SELECT id FROM reached)"
        )
        tied = " OR ".join(f"{column} IN (SELECT {column} FROM held)" for column in columns)
        _reached(connection, f"SELECT id FROM knots WHERE {tied}")
    if in_turns:
        _reached(
            connection,
            f"SELECT id FROM instructions WHERE {CONVERSATION} IN (SELECT {CONVERSATION} FROM instructions "
            f"WHERE {CONVERSATION} IS NOT NULL AND id IN (SELECT id FROM reached))",
        )
    [(size,)] = connection.execute("SELECT count(*) FROM reached").fetchall()
    return int(size)


def _reached(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    connection.execute(
        f"INSERT INTO reached SELECT id FROM ({query}) WHERE id NOT IN (SELECT id FROM reached)"
    )


def reach_nobody(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE around AS SELECT 0 AS _row, '' AS id LIMIT 0")


def gather(connection: duckdb.DuckDBPyConnection, columns: list[str]) -> None:
    """Have the table `asked`: the records of `around` with what ties them, without a look at any other."""
    measure = measure_of(columns) if columns else ""
    named = joined = ""
    if isinstance(one := MEASURES.get(measure), Measure):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE tied AS SELECT * FROM measure_{measure} "
            "WHERE id IN (SELECT id FROM around)"
        )
        named = "".join(f', m."{column}" AS {measure}_{column}' for column in one.columns)
        joined = "LEFT JOIN tied AS m ON m.id = i.id"
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW asked AS SELECT i.*{named} FROM "
        "(SELECT *, rowid AS _row FROM instructions WHERE rowid IN (SELECT _row FROM around)) AS i "
        f"{joined} WHERE i.{NOT_LEFT_OUT}"
    )


def leave_out_rejected(connection: duckdb.DuckDBPyConnection) -> dict[str, object]:
    """Have the table `left_out`: what people rejected; return what tells it from other such tables."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE left_out AS SELECT DISTINCT record FROM verdicts "
        f"WHERE starts_with(recipe, {quoted(REVIEWERS)}) AND coalesce(rejects, true)"
    )
    [(count, digest)] = connection.execute(
        "SELECT count(*), coalesce(bit_xor(md5_number_lower(record) >> 1), 0) FROM left_out"
    ).fetchall()
    return {"left_out": f"{count}:{digest}"}


def said_before(recipe: Recipe) -> str:
    """Return the query of a recipe's verdicts on the records of `around`."""
    return (
        f"SELECT record, filter, reason, score FROM verdicts WHERE recipe = {quoted(recipe.name)} "
        "AND record IN (SELECT id FROM around)"
    )
