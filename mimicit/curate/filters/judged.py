"""What judges said: filters by their scores, and how far judges agree.

`syphus judge` writes a verdict of the filter `judge` for each record, under the recipe `judge:MODEL`: the mean of four criteria as its
score, and a reason such as `grounded 5, answerable 4, correct 5, useful 3: stiff wording`. Filters read these verdicts, whether they
reject or not, so a threshold is another one without asking a judge again. They change whenever a judge is asked, so they are read each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from mimicit.curate.base import quoted

if TYPE_CHECKING:
    import duckdb

CRITERIA = ("grounded", "answerable", "correct", "useful")
"""Of 1 to 5, in the order of a verdict's reason; `mean` is their mean, its score."""
_MARKS = "^" + ", ".join(rf"{name} (\d)" for name in CRITERIA)
_PREFIX = "judge:"
_JUDGED = f"filter = 'judge' AND starts_with(recipe, '{_PREFIX}')"
_JUDGE = f"substr(recipe, {len(_PREFIX) + 1})"
_HOW = {"mean": "avg", "min": "min", "median": "median"}


def _mark(criterion: str) -> str:
    """Return a criterion of a verdict as an expression; NULL where it is not said."""
    if criterion == "mean":
        return "score"
    _check(criterion in CRITERIA, "criterion", criterion, ("mean", *CRITERIA))
    return f"TRY_CAST(regexp_extract(reason, {quoted(_MARKS)}, {CRITERIA.index(criterion) + 1}) AS DOUBLE)"


def _check(good: bool, name: str, value: str, known: Iterable[str]) -> None:
    if not good:
        raise ValueError(f"{name!r} cannot be {value!r}; it is one of {', '.join(known)}")


def _names(judges: Sequence[str]) -> list[str]:
    return [quoted(name) for name in dict.fromkeys(j.removeprefix(_PREFIX) for j in judges)]


def _said(criterion: str, judges: Sequence[str]) -> str:
    """Return a query of (record, judge, mark, rejects)."""
    among = f" AND {_JUDGE} IN ({', '.join(_names(judges))})" if judges else ""
    return (
        f"SELECT record, {_JUDGE} AS judge, {_mark(criterion)} AS mark, coalesce(rejects, true) AS rejects "
        f"FROM verdicts WHERE {_JUDGED}{among}"
    )


def judge_score(
    *, least: float = 3.0, criterion: str = "mean", how: str = "mean", judges: Sequence[str] = ()
) -> str:
    """Drop a record whose judges give it too little; one that nobody judged stays.

    Args:
        least: From which score on a record stays, 1 to 5.
        criterion: "mean", "grounded", "answerable", "correct" or "useful".
        how: Of several judges: "mean", "min" (one is enough to drop it) or "median".
        judges: Models that count, as `syphus judge -m` names them; by default all.
    """
    _check(how in _HOW, "how", how, _HOW)
    what = "judged" if criterion == "mean" else criterion
    return f"""
SELECT id, printf('{what} %.3g by %s', mark, judges) AS reason, mark AS score
FROM candidates JOIN (
    SELECT record, {_HOW[how]}(mark) AS mark, string_agg(judge, ', ' ORDER BY judge) AS judges
    FROM ({_said(criterion, judges)}) WHERE mark IS NOT NULL GROUP BY record
) ON record = id WHERE mark < {float(least)!r}"""


def judges_disagree(
    *,
    apart: float = 1.5,
    criterion: str = "mean",
    verdicts: bool = True,
    judges: Sequence[str] = (),
) -> str:
    """Drop a record that two judges see differently.

    Args:
        apart: Scores that are farther apart than this differ.
        criterion: "mean", "grounded", "answerable", "correct" or "useful".
        verdicts: Also one that one of them rejects and another does not.
        judges: Models that count; by default all.
    """
    rejects = "bool_or(rejects) AND NOT bool_and(rejects)" if verdicts else "false"
    return f"""
SELECT id, CASE WHEN high - low > {float(apart)!r} THEN printf('%s gives %.3g, %s gives %.3g', highest, high, lowest, low)
    ELSE printf('%s rejects it, %s does not', against, "for") END AS reason, high - low AS score
FROM candidates JOIN (
    SELECT record, max(mark) AS high, min(mark) AS low, arg_max(judge, mark) AS highest, arg_min(judge, mark) AS lowest,
        min(judge) FILTER (rejects) AS against, min(judge) FILTER (NOT rejects) AS "for", {rejects} AS differ
    FROM ({_said(criterion, judges)}) GROUP BY record
) ON record = id WHERE high - low > {float(apart)!r} OR differ"""


def unjudged(*, judges: Sequence[str] = ()) -> str:
    """Drop a record that no judge has judged.

    Args:
        judges: Models that must all have judged it; by default any one.
    """
    said = _said("mean", judges)
    if not judges:
        return (
            "SELECT id, 'no judge has judged it' AS reason, NULL AS score FROM candidates "
            f"ANTI JOIN ({said}) AS s ON s.record = id"
        )
    names = _names(judges)
    return f"""
SELECT id, 'not judged by ' || array_to_string(list_filter([{", ".join(names)}], lambda j: NOT list_contains(coalesce(judges, []), j)), ', ') AS reason,
    NULL AS score
FROM candidates LEFT JOIN (SELECT record, list(DISTINCT judge) AS judges FROM ({said}) GROUP BY record) ON record = id
WHERE len(coalesce(judges, [])) < {len(names)}"""


# How far judges agree


class Cell(NamedTuple):
    """How many records one judge gave `one` and the other `other`."""

    one: float
    other: float
    records: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two judges over the records that both have judged; a figure is None where it is not defined, as when one says the same of all."""

    one: str
    other: str
    criterion: str
    """`rejects`, `mean`, or one of CRITERIA."""
    records: int
    apart: float
    """Mean difference."""
    agree: float
    """Share of records of which both say the same."""
    kappa: float | None
    """Cohen's: 1 full agreement, 0 that of chance."""
    weighted_kappa: float | None
    """With quadratic weights: small differences count little."""
    spearman: float | None
    """Whether they order records alike."""


def agreements(connection: duckdb.DuckDBPyConnection) -> list[Agreement]:
    """Compare each two judges, criterion by criterion, by the verdicts of a catalog."""
    # Marks are few, so each two judges' verdicts come down to a small table of counts.
    marks = ", ".join(f"{_mark(name)} AS {name}" for name in ("mean", *CRITERIA))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE judged_marks AS SELECT record, {_JUDGE} AS judge, "
        f"coalesce(rejects, true)::DOUBLE AS rejects, {marks} FROM verdicts WHERE {_JUDGED}"
    )
    judges = connection.execute("SELECT DISTINCT judge FROM judged_marks ORDER BY 1").fetchall()
    found = []
    for (one,), (other,) in combinations(judges, 2):
        for name in ("rejects", "mean", *CRITERIA):
            rows = connection.execute(
                f"SELECT a.{name}, b.{name}, count(*) FROM judged_marks AS a JOIN judged_marks AS b USING (record) "
                f"WHERE a.judge = ? AND b.judge = ? AND a.{name} IS NOT NULL AND b.{name} IS NOT NULL GROUP BY ALL ORDER BY ALL",
                [one, other],
            ).fetchall()
            if rows:
                found.append(agreement(one, other, name, [Cell(*row) for row in rows]))
    connection.execute("DROP TABLE judged_marks")
    return found


def agreement(one: str, other: str, criterion: str, cells: Sequence[Cell]) -> Agreement:
    """Work out how far two judges agree, from how often they gave which marks."""
    total = sum(cell.records for cell in cells)
    ones, others = _margin(cells, 0), _margin(cells, 1)
    same = sum(cell.records for cell in cells if cell.one == cell.other) / total
    chance = sum(count * others.get(mark, 0) for mark, count in ones.items()) / total**2
    squared = sum(cell.records * (cell.one - cell.other) ** 2 for cell in cells) / total
    by_chance = (
        sum(n * m * (x - y) ** 2 for x, n in ones.items() for y, m in others.items()) / total**2
    )
    return Agreement(
        one=one,
        other=other,
        criterion=criterion,
        records=total,
        apart=round(sum(cell.records * abs(cell.one - cell.other) for cell in cells) / total, 4),
        agree=round(same, 4),
        kappa=_over(same - chance, 1 - chance),
        weighted_kappa=_over(by_chance - squared, by_chance),
        spearman=_spearman(cells, ones, others),
    )


def _margin(cells: Iterable[Cell], place: int) -> dict[float, int]:
    counts: dict[float, int] = {}
    for cell in cells:
        counts[cell[place]] = counts.get(cell[place], 0) + cell.records
    return dict(sorted(counts.items()))


def _spearman(
    cells: Sequence[Cell], ones: dict[float, int], others: dict[float, int]
) -> float | None:
    """Correlate ranks; records of one mark share the mean of their ranks."""
    x, y = _centred_ranks(ones), _centred_ranks(others)
    common = sum(cell.records * x[cell.one] * y[cell.other] for cell in cells)
    spread = math.sqrt(
        sum(n * x[mark] ** 2 for mark, n in ones.items())
        * sum(n * y[mark] ** 2 for mark, n in others.items())
    )
    return _over(common, spread)


def _centred_ranks(counts: dict[float, int]) -> dict[float, float]:
    middle, before, ranks = sum(counts.values()) / 2, 0, {}
    for mark, count in counts.items():
        ranks[mark] = before + count / 2 - middle
        before += count
    return ranks


def _over(value: float, whole: float) -> float | None:
    return round(value / whole, 4) if whole > 1e-12 else None
