"""What a judge has said, from its verdicts in the dataset.

They are read from the Parquet parts themselves: the catalog may be behind, or in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.parts import parts_of
from mimicit.schema import verdict_schema
from mimicit.store import Store
from syphus.judge.ratings import CRITERIA, DECIDING, HIGHEST, LOWEST

if TYPE_CHECKING:
    import duckdb
    import pyarrow

_MARKS = "^" + ", ".join(f"{name} ([{LOWEST}-{HIGHEST}])" for name in CRITERIA)
"""The beginning of a verdict's reason."""


def _mark(name: str) -> str:
    return f"CAST(regexp_extract(reason, '{_MARKS}', {CRITERIA.index(name) + 1}) AS INTEGER)"


_REJECTS = f"least({', '.join(map(_mark, DECIDING))}) < $threshold"
_OURS = "recipe = $recipe AND recipe_digest = $digest"
_OUTDATED = (
    "recipe = $recipe AND recipe_digest <> $digest "
    f"AND record IN (SELECT record FROM said WHERE {_OURS})"
)


@dataclass
class Criterion:
    mean: float
    counts: list[int]
    """How often 1, 2, 3, 4 and 5 were given."""


@dataclass
class Scores:
    """Over all records that a judge has judged with one rubric."""

    records: int = 0
    rejected: int = 0
    criteria: dict[str, Criterion] = field(default_factory=dict)
    """The means of the criteria are `score`."""


def scores(store: Store, recipe: str, digest: str) -> Scores:
    """Count and average a judge's verdicts."""
    names = {"recipe": recipe, "digest": digest}
    with _said(store) as connection:
        if connection is None:
            return Scores()
        [(records, rejected)] = connection.execute(
            f"SELECT count(*), count(*) FILTER (rejects) FROM said WHERE {_OURS}", names
        ).fetchall()
        found = Scores(records, rejected)
        measured = {name: _mark(name) for name in CRITERIA} | {"score": "score"}
        for name, value in measured.items() if records else ():
            counted = ", ".join(
                f"count(*) FILTER (round({value}) = {mark})" for mark in range(LOWEST, HIGHEST + 1)
            )
            [(mean, *counts)] = connection.execute(
                f"SELECT avg({value}), {counted} FROM said WHERE {_OURS}", names
            ).fetchall()
            found.criteria[name] = Criterion(round(mean, 3), counts)
    return found


def revise(store: Store, recipe: str, digest: str, threshold: int) -> None:
    """Make a judge's verdicts say one thing: this rubric before an older one, and this threshold for all of them.

    Parts that hold something else are written again without it, and replaced.
    """
    names = {"recipe": recipe, "digest": digest}
    with _said(store) as connection:
        if connection is None:
            return
        parts = connection.execute(
            f"SELECT DISTINCT filename FROM said WHERE ({_OUTDATED}) OR ({_OURS} AND rejects <> ({_REJECTS}))",
            {**names, "threshold": threshold},
        ).fetchall()
        columns = ", ".join(name for name in verdict_schema().names if name != "rejects")
        for (part,) in parts:
            rows: pyarrow.Table = connection.sql(
                f"SELECT {columns}, CASE WHEN {_OURS} THEN {_REJECTS} ELSE rejects END AS rejects "
                f"FROM said WHERE filename = $part AND NOT ({_OUTDATED})",
                params={**names, "threshold": threshold, "part": part},
            ).to_arrow_table()
            if rows.num_rows:
                store.write_part("verdicts", "v", rows.cast(verdict_schema()))
            Path(part).unlink(missing_ok=True)


@contextmanager
def _said(store: Store) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """Open the verdicts as the view `said`; None where there are none."""
    import duckdb

    parts = [str(path) for path in parts_of(store.path / "verdicts")]
    if not parts:
        yield None
        return
    listed = ", ".join("'" + part.replace("'", "''") + "'" for part in parts)
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TEMP VIEW said AS SELECT * REPLACE (coalesce(rejects, true) AS rejects) "
            f"FROM read_parquet([{listed}], union_by_name = true, filename = true)"
        )
        yield connection
