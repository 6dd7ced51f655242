"""Which records are judged, and what they were made from.

Judged is what no filter speaks against; what another judge said is no obstacle, so that two judges see the same records and can be
compared. A record belongs to its *annotation*: the query of the request that made it, or, for a translation, that made its source. Records
without one (imported ones, say) cannot be judged: nobody knows what would be true.

The catalog is read page by page and let go in between, so that memory stays flat and others can read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mimicit.errors import QueryError
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

FILTER = "judge"
PAGE = 2_000
"""Annotations whose records are read at once."""

_WANTED = """
WITH chosen AS NOT MATERIALIZED (
    SELECT * FROM (
        SELECT * EXCLUDE (part) FROM instructions
        WHERE id NOT IN (SELECT record FROM verdicts WHERE coalesce(rejects, true) AND filter <> 'judge')
    ) WHERE {where}
),
told AS NOT MATERIALIZED (
    SELECT c.id, c.instruction, c.answer, q.key AS annotation, q.context, q.query,
           c.id IN (SELECT record FROM verdicts WHERE recipe = $recipe AND recipe_digest = $digest) AS known
    FROM chosen AS c
    LEFT JOIN instructions AS s ON s.id = c.translation_of AND s.translation_of IS NULL
    LEFT JOIN requests AS q
        ON q.key = CASE WHEN c.translation_of IS NULL THEN c.request ELSE s.request END
)
"""
_COUNTS = """
SELECT count(*) FILTER (annotation IS NOT NULL AND NOT known),
       count(*) FILTER (annotation IS NOT NULL AND known),
       count(*) FILTER (annotation IS NULL),
       min(id, 10) FILTER (annotation IS NULL)
FROM told
"""
_PAGE = """
, page AS (
    SELECT DISTINCT annotation FROM told
    WHERE annotation > $after AND NOT known ORDER BY annotation LIMIT $page
)
SELECT annotation, context, query, id, instruction, answer, known
FROM told JOIN page USING (annotation)
ORDER BY annotation, id
"""


@dataclass(frozen=True, slots=True)
class Pair:
    id: str
    """Of the record."""
    question: str
    answer: str
    known: bool = False
    """Whether it is judged already, by the same judge with the same rubric."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What a model was told, and records that were made from it."""

    context: str
    notes: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Counts:
    open: int
    """Records to judge."""
    known: int
    """Judged before, by the same judge with the same rubric."""
    unjudgeable: int
    """Records without an annotation."""
    examples: tuple[str, ...]
    """Ids of the first of these."""


@dataclass(frozen=True)
class Selection:
    store: Store
    where: str
    recipe: str
    digest: str

    def counts(self) -> Counts:
        """Count what is there.

        Raises:
            QueryError: the predicate is wrong.
        """
        [(open_, known, unjudgeable, examples)] = self._fetch(_COUNTS)
        return Counts(open_, known, unjudgeable, tuple(examples or ()))

    def annotated(self) -> Iterator[Annotated]:
        """Pass on what has pairs to be judged, with all its pairs, in the order of the requests' keys."""
        after = ""
        while rows := self._fetch(_PAGE, after=after, page=PAGE):
            for _, group in groupby(rows, key=lambda row: row[0]):
                listed = list(group)
                pairs = tuple(Pair(*row[3:]) for row in listed)
                yield Annotated(listed[0][1], listed[0][2], pairs)
            after = rows[-1][0]

    def _fetch(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        import duckdb

        from mimicit.sandbox import predicate

        with self.store.reading() as connection:
            try:
                wanted = _WANTED.format(where=predicate(connection, self.where))
                return self._run(connection, wanted + query, parameters)
            except duckdb.Error as error:
                raise QueryError(
                    f"the selection {self.where!r} fails: {str(error).splitlines()[0]}"
                ) from None

    def _run(
        self, connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, object]
    ) -> list[tuple[Any, ...]]:
        named = {"recipe": self.recipe, "digest": self.digest, **parameters}
        return connection.execute(query, named).fetchall()
