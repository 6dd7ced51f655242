"""How many records of each group there are to be: what is beyond the number wanted is dropped.

A mix is a filter like others, for the end of a recipe: what it drops has a verdict that says of which group it was one too many,
so a mix is seen in the funnel, and is undone as anything else.

Each group has a *share*: its weight, times its size to a power (`how`). Records of a group stand in a line, by a hash of their id
or the better ones first, and the record at place p of it has its turn at the time p / share. Those whose turn comes first are taken. So
a group that is too small gives all it has and the others fill up; and nothing about a place in that order depends on how many
are wanted: of the same records, a larger mix holds all that a smaller one holds.

The turns of a conversation stay together: they stand in line as one, in the group of the first of them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimicit.curate.base import quoted
from mimicit.errors import RecipeError

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

_DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_DENSE}]{{1,2}}|[^\s{_DENSE}]+"
_WORDS = f"len(regexp_extract_all(answer, {quoted(_WORD)}))"
"""Of an answer. Two letters of a script without spaces count as a word."""
LENGTHS = (3, 10, 25, 50, 100, 200)
"""Words up to which an answer is of one length."""


def _lengths() -> str:
    low, cases = 0, ""
    for high in LENGTHS:
        cases += f"WHEN {_WORDS} <= {high} THEN '{low}-{high} words' "
        low = high + 1
    return f"CASE {cases}ELSE '{low} words and more' END"


KEYS = {
    "task": "task",
    "source": "regexp_replace(source, '#[^#]*$', '')",
    "language": "language",
    "length": _lengths(),
    "pictures": "CAST(len(image_ids) AS VARCHAR)",
    "kind": "asks_kind",
    "verb": "asks_verb",
    "object": "asks_object",
    "verb_object": "asks_verb || ' ' || asks_object",
}
"""What records are told apart by -> its value, in SQL."""
POWERS = {"balanced": 0.0, "sqrt": 0.5, "natural": 1.0}
"""How -> the power of a group's size that is its share."""
_UNKNOWN = "none"
"""The group of records of which a value is not known."""

_LINES = """
CREATE OR REPLACE TEMP TABLE mix_records AS
SELECT id, {unit} AS unit, turn, length(answer) AS length, {keys} FROM candidates;
CREATE OR REPLACE TEMP TABLE mix_units AS
SELECT unit, count(*) AS size, {firsts}, {preferred}md5_number_lower({seed} || unit) >> 1 AS drawn
FROM mix_records {scores} GROUP BY unit
"""


@dataclass(frozen=True)
class Mix:
    """What `mix` asks; its repr says all that it depends on."""

    records: int
    by: tuple[str, ...]
    power: float
    weights: tuple[tuple[str, str, float], ...]
    """Key, value, weight."""
    most: int
    prefer: str
    scores: tuple[str, ...]
    seed: int

    @property
    def measures(self) -> tuple[str, ...]:
        return ("asks",) if any(KEYS[key].startswith("asks_") for key in self.by) else ()

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and the place in its group's line, of what is beyond the number wanted.

        Raises:
            RecipeError: no record has a value that has a weight.
        """
        self._check_weights(connection)
        connection.execute(self._units())
        connection.execute(self._chosen())
        return connection.sql(self._dropped()).to_arrow_table()

    def _check_weights(self, connection: duckdb.DuckDBPyConnection) -> None:
        for key, value, _ in self.weights:
            expression = f"coalesce({KEYS[key]}, '{_UNKNOWN}')"
            asked = f"WHERE {expression} = {quoted(value)} LIMIT 1"
            if any(
                connection.execute(f"SELECT 1 FROM {table} {asked}").fetchall()
                for table in ("candidates", "measured")
            ):
                continue
            rows = connection.execute(
                f"SELECT {expression} FROM measured GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 500"
            ).fetchall()
            known = [str(row[0]) for row in rows]
            close = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known[:12])}"
            raise RecipeError(f"no record has the {key} {value!r}, which has a weight; {hint}")

    def _units(self) -> str:
        keys = ", ".join(
            f"coalesce({KEYS[key]}, '{_UNKNOWN}') AS key_{n}" for n, key in enumerate(self.by)
        )
        firsts = ", ".join(
            f"arg_min(key_{n}, (coalesce(turn, 0), id)) AS key_{n}" for n in range(len(self.by))
        )
        preferred, joined = "", ""
        if self.prefer == "longest":
            preferred = "max(length) AS better, "
        elif self.prefer == "score":
            preferred = "coalesce(max(score), '-infinity'::DOUBLE) AS better, "
            names = ", ".join(map(quoted, self.scores))
            joined = (
                "LEFT JOIN (SELECT record AS id, avg(score) AS score FROM verdicts "
                f"WHERE filter IN ({names}) GROUP BY record) USING (id)"
            )
        return _LINES.format(
            unit="coalesce('c' || conversation, 'r' || id)",
            keys=keys,
            firsts=firsts,
            preferred=preferred,
            scores=joined,
            seed=quoted(f"{self.seed}:"),
        )

    def _chosen(self) -> str:
        """Return the statement that gives each unit its place and its time, and says which are taken."""
        groups = ", ".join(f"key_{n}" for n in range(len(self.by)))
        order = ("better DESC, " if self.prefer != "random" else "") + "drawn, unit"
        weight = " * ".join(self._weights()) or "1.0"
        cap = f"floor({self.most} * weight)" if self.most else "'infinity'::DOUBLE"
        if self.records:
            taken = f"sum(size) OVER (ORDER BY time, drawn, unit) <= {self.records}"
        elif self.most:
            taken = "true"
        else:  # the group that is used up first says how long it goes on
            taken = "last <= 1.000000001 * (SELECT min(ends) FROM ended)"
        return f"""
CREATE OR REPLACE TEMP TABLE mix_placed AS
WITH lines AS (
    SELECT unit, size, drawn, {groups}, {weight} AS weight,
        sum(size) OVER (PARTITION BY {groups} ORDER BY {order}) AS place,
        sum(size) OVER (PARTITION BY {groups}) AS whole
    FROM mix_units),
timed AS (
    SELECT *, weight * pow(whole, {self.power!r}) AS share FROM lines),
placed AS (
    SELECT *, (place - size / 2) / nullif(share, 0) AS time, place / nullif(share, 0) AS last
    FROM timed WHERE share > 0 AND place <= {cap}),
ended AS (
    SELECT max(last) AS ends FROM placed GROUP BY {groups}),
taken AS (
    SELECT unit FROM (SELECT unit, {taken} AS taken FROM placed) WHERE taken)
SELECT unit, size, place, {groups}, weight, unit IN (SELECT unit FROM taken) AS taken FROM lines"""

    def _weights(self) -> list[str]:
        """Return one factor for each key that has weights."""
        factors = []
        for n, key in enumerate(self.by):
            cases = "".join(
                f"WHEN {quoted(value)} THEN {weight!r} "
                for of, value, weight in self.weights
                if of == key
            )
            if cases:
                factors.append(f"CASE key_{n} {cases}ELSE 1.0 END")
        return factors

    def _dropped(self) -> str:
        groups = ", ".join(f"key_{n}" for n in range(len(self.by)))
        named = " || ', ' || ".join(f"'{key}=' || key_{n}" for n, key in enumerate(self.by))
        return f"""
WITH said AS (
    SELECT unit, place, taken, CASE WHEN weight = 0 THEN 'none is wanted of ' || {named} ELSE
        printf('beyond %d of ', CAST(sum(CASE WHEN taken THEN size ELSE 0 END) OVER (PARTITION BY {groups}) AS BIGINT)) || {named} END AS reason
    FROM mix_placed)
SELECT id AS record, reason, CAST(place AS DOUBLE) AS score
FROM mix_records JOIN said USING (unit) WHERE NOT taken"""


def mix(
    *,
    records: int = 0,
    by: Sequence[str] = ("task",),
    how: str = "balanced",
    temperature: float = 0.0,
    weights: Sequence[str] = (),
    most: int = 0,
    prefer: str = "random",
    scores: Sequence[str] = ("judge",),
    seed: int = 0,
) -> Mix:
    """Drop what is beyond the number wanted of each group.

    Args:
        records: How many are wanted; 0: as many as there can be in these proportions, or with `most`.
        by: What groups are told apart by: "task", "source" (the file), "language", "length" (of the answer), "pictures" (how many),
            "kind" of question, "verb", "object" or "verb_object" of what is asked (English); several of them make a
            group of each combination.
        how: "balanced", as many of each group; "natural", in the proportions that there are; "sqrt", in between.
        temperature: In place of `how`: a group's share is its size to the power of 1 / temperature, as in the sampling of languages.
        weights: "vst=0.5": half as many of that group as without it; with several in `by`: "task=vst=0.5". 0 leaves it out.
        most: Of a group no more than that, times its weight; 0: no such limit.
        prefer: "random"; "longest" answers; or the best "score".
        scores: Filters whose verdicts have that score, whoever wrote them; it is the mean of them. A record without one comes last.
        seed: Another number draws others.
    """
    _one_of("by", by, KEYS)
    _one_of("how", [how], POWERS)
    _one_of("prefer", [prefer], ("random", "longest", "score"))
    if len(set(by)) < len(by):
        raise ValueError("'by' names one thing twice")
    for name, number in (("records", records), ("most", most), ("temperature", temperature)):
        if not 0 <= number < math.inf:
            raise ValueError(f"{name!r} cannot be {number!r}; it is a number from 0")
    return Mix(
        records=records,
        by=tuple(by),
        power=1 / temperature if temperature else POWERS[how],
        weights=tuple(_weight(text, by) for text in weights),
        most=most,
        prefer=prefer,
        scores=tuple(scores) if prefer == "score" else (),
        seed=seed,
    )


def _weight(text: str, by: Sequence[str]) -> tuple[str, str, float]:
    """Read "value=weight" or "key=value=weight"."""
    value, _, number = text.rpartition("=")
    key, told, rest = value.partition("=")
    key, value = (key, rest) if told and key in by else (by[0], value)
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not value or not 0 <= weight < math.inf:
        raise ValueError(f"a weight is written 'value=2' or '{by[0]}=value=0.5', not {text!r}")
    if len(by) > 1 and not (told and key in by):
        raise ValueError(f"say of what {text!r} is a weight: '{by[0]}={text}'")
    return key, value.strip(), weight


def _one_of(name: str, values: Sequence[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"{name!r} cannot be {value!r}; it is one of {', '.join(known)}")
