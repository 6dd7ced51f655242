"""Filters that hold what a record says against what people annotated of its pictures (see `mimicit.curate.grounding`).

A record whose pictures nobody annotated is never dropped, nor one in another language than English: nothing is known of it. They are
asked each time, since annotations may come after records; a record is read again only if something changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimicit.curate.base import Either, Table
from mimicit.curate.grounding.looking import VERSION, attach_answers, attach_instructions
from mimicit.curate.wordnet import check_wordnet

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

TABLES = {
    "grounded_answer": Table(attach_answers, VERSION),
    "grounded_instruction": Table(attach_instructions, VERSION),
}


@dataclass(frozen=True)
class Grounded:
    """What such a filter asks; its repr says all that it depends on."""

    query: str
    fields: tuple[str, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        return tuple(f"grounded_{field}" for field in self.fields)

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and score of what is dropped.

        Args:
            connection: Has `candidates`, and the tables of `mimicit.curate.grounding.looking`.
            kept: Not looked at.
        """
        parts = [
            f"SELECT {place} AS field, * FROM grounded_{field}"
            for place, field in enumerate(self.fields)
        ]
        return connection.sql(
            f"WITH grounded AS ({' UNION ALL '.join(parts)}), asked AS (SELECT g.* FROM grounded AS g "
            f"SEMI JOIN candidates AS c ON c.id = g.record) {self.query}"
        ).to_arrow_table()


def unsupported_object(
    *, least: int = 1, share: float = 0.34, familiar: int = 0, field: Either = "answer"
) -> Grounded:
    """Drop a record that names things which no annotation of its pictures bears out; the score is the share of those that one does.

    Args:
        least: Unsupported things from which on it is dropped.
        share: Of all that it names, what must at least be unsupported, since annotators do not name everything; 0 for any.
        familiar: Count only things that annotations name somewhere in at least so many records of the dataset, for what annotators
            never name proves nothing; 0 for all things.
        field: The text: "answer", "instruction", or both.

    Raises:
        ValueError: an impossible number.
        MissingExtraError: NLTK or WordNet is not installed.
    """
    if least < 1 or familiar < 0:
        raise ValueError("`least` is at least 1, and `familiar` is not negative")
    if not 0 <= share <= 1:
        raise ValueError(f"`share` is from 0 to 1, not {share:g}")
    check_wordnet(with_nltk=True)
    return Grounded(_unsupported(least, share, familiar), _fields(field))


def _unsupported(least: int, share: float, familiar: int) -> str:
    known = (
        "WHERE name IN (SELECT name FROM (SELECT unnest(told) AS name FROM grounded) "
        f"GROUP BY name HAVING count(*) >= {familiar:d})"
    )
    return f""",
named AS (SELECT record, sum(things) AS things FROM asked GROUP BY record),
missed AS (
    SELECT record, field, unnest(unsupported) AS said, unnest(names) AS name,
        generate_subscripts(names, 1) AS place
    FROM asked
)
SELECT record, 'nothing annotated bears out ' || string_agg(said, ', ' ORDER BY field, place) AS reason,
    1 - count(*) / any_value(things)::DOUBLE AS score
FROM missed JOIN named USING (record) {known if familiar else ""}
GROUP BY record HAVING count(*) >= greatest({least:d}, {share:f} * any_value(things))"""


def contradicted_count(*, field: Either = "answer") -> Grounded:
    """Drop a record that says another number of things than boxes or captions have; the score is how many such."""
    return _of_list("counts", "it counts", field)


def wrong_colour(*, field: Either = "answer") -> Grounded:
    """Drop a record that gives a thing a colour which captions say otherwise; the score is how many such."""
    return _of_list("colours", "it sees", field)


def wrong_side(*, field: Either = "answer") -> Grounded:
    """Drop a record that says a thing to be where its box is not; the score is how many such."""
    return _of_list("sides", "it places", field)


def _of_list(column: str, words: str, field: Either) -> Grounded:
    check_wordnet(with_nltk=True)
    return Grounded(
        f"SELECT record, '{words} ' || array_to_string(flatten(list({column} ORDER BY field)), ', ') AS reason, "
        f"sum(len({column}))::DOUBLE AS score FROM asked GROUP BY record HAVING sum(len({column})) > 0",
        _fields(field),
    )


def _fields(field: Either) -> tuple[str, ...]:
    return ("answer", "instruction") if field == "either" else (field,)
