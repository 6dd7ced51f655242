"""What was said about records: the funnel of each recipe, verdicts by filter, scores, duplicates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mimicit.curate.history import noted
from mimicit.report.facts import Row, literal, rows

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

RECIPES = 16
"""Whose funnels are shown."""
STAGES = 60
"""Of a funnel."""
EXAMPLES = 240
"""Of all funnels together; further stages have none."""
NOTE_BYTES = 16 << 20
"""A larger note of a funnel is not ours."""
SCORED = 12
"""Filters whose scores are shown."""
BINS = 20
_MEASURED = "abs(score) <= 1e300"
"""What is larger measured nothing, and no axis holds it."""
_DUPLICATE = "(filter ILIKE '%duplicate%' OR filter = 'repeated_question')"


def funnels(folder: Path) -> list[Row]:
    """Return the funnel of each recipe, with how many records are left after each filter.

    Args:
        folder: The dataset folder. Notes that are damaged are passed over.
    """
    notes = sorted(folder.glob("curation/*/funnel.json"))[:RECIPES]
    found = (_funnel(noted(path.parent)) for path in notes if path.stat().st_size <= NOTE_BYTES)
    kept = [funnel for funnel in found if funnel]
    left = EXAMPLES
    for stage in (stage for funnel in kept for stage in funnel["stages"]):
        stage["examples"] = stage["examples"][:left]
        left -= len(stage["examples"])
    return kept


def _funnel(note: dict[str, Any]) -> Row | None:
    try:
        said = note["funnel"]
        left = records = int(said["records"])
        stages = []
        for stage in said["stages"][:STAGES]:
            left -= int(stage["dropped"])
            examples = [
                {name: str(one.get(name, "")) for name in ("id", "instruction", "answer", "reason")}
                for one in stage["examples"][:3]
            ]
            stages.append(
                {"filter": str(stage["filter"]), "dropped": int(stage["dropped"])}
                | {"left": left, "examples": examples}
            )
        return {
            "recipe": str(said["recipe"]),
            "digest": str(note.get("digest", "")),
            "records": records,
            "accepted": int(said["accepted"]),
            "stages": stages,
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def verdicts(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    return rows(
        connection,
        "SELECT recipe, filter, count(*) AS records, "
        "count(*) FILTER (coalesce(rejects, true)) AS rejected, max(time)::VARCHAR AS time "
        "FROM verdicts GROUP BY recipe, filter ORDER BY recipe, records DESC, filter LIMIT 200",
    )


def duplicates(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Count what filters of duplicates dropped; the reason of each names the one that stays."""
    return rows(
        connection,
        f"""
WITH said AS (
    SELECT recipe, filter, reason, count(*) AS n FROM verdicts
    WHERE coalesce(rejects, true) AND {_DUPLICATE} GROUP BY ALL)
SELECT recipe, filter, sum(n)::BIGINT AS records, count(*) AS groups, max(n)::BIGINT AS most,
       arg_max(reason, n) AS example
FROM said GROUP BY recipe, filter ORDER BY records DESC, recipe, filter LIMIT 40""",
    )


def scores(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the histogram of each filter that gives scores, judges first."""
    found = rows(
        connection,
        f"""
SELECT recipe, filter, count(*) AS records, min(score) AS least, max(score) AS most,
       avg(score) AS mean, approx_quantile(score, 0.5) AS median,
       bool_and(score = floor(score)) AS is_whole,
       count(*) FILTER (NOT coalesce(rejects, true)) AS opinions
FROM verdicts WHERE {_MEASURED} GROUP BY recipe, filter HAVING count(*) > 1
ORDER BY recipe || filter NOT ILIKE '%judge%', records DESC, recipe, filter LIMIT {SCORED}""",
    )
    for one in found:
        one["bins"] = _bins(connection, one)
    return found


def _bins(connection: duckdb.DuckDBPyConnection, one: Row) -> list[Row]:
    """Count the scores of a filter in bins of a round width: whole numbers are their own, where there are few."""
    least, most = one["least"], one["most"]
    whole = one["is_whole"] and most - least < 2 * BINS
    width = 1.0 if whole else rounded((most - least) / BINS)
    start = math.floor(least / width) * width
    step = f"floor((score - {start!r}) / {width!r} + 1e-9)"
    counted = rows(
        connection,
        f"SELECT {step} AS step, count(*) AS records, max(score) AS most FROM verdicts "
        f"WHERE {_MEASURED} AND recipe = {literal(one['recipe'])} "
        f"AND filter = {literal(one['filter'])} GROUP BY 1 ORDER BY 1",
    )
    return [
        {"from": start + row["step"] * width, "width": width}
        | {"records": row["records"], "most": row["most"]}
        for row in counted
    ]


def rounded(width: float) -> float:
    """Return the next larger one of 1, 2.5 and 5 with zeros: marks from 1 to 5 by quarters have a bin each."""
    if width < 1e-300:
        return 1.0
    ten: float = 10.0 ** math.floor(math.log10(width))
    return ten * next(n for n in (1.0, 2.5, 5.0, 10.0) if width <= 1.001 * n * ten)
