"""The records that are translated, in order of id, with what is known of their translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from mimicit.errors import QueryError
from mimicit.store import Store
from syphus.translate.cells import Cell, Source
from syphus.translate.languages import Language

if TYPE_CHECKING:
    import duckdb

PAGE = 2_000
"""Records that are held at once."""

_CHOSEN = "FROM accepted WHERE language = $language AND translation_of IS NULL AND {where}\n"
_ROWS = (
    "SELECT id, task, instruction, answer, image_ids, rel_ins_ids, source "
    + _CHOSEN
    + "AND id > $last ORDER BY id LIMIT $page"
)
# A translation that was rejected is there too. The context of its request tells whether this job brought it.
_THERE = """
WITH wanted AS (SELECT unnest($sources) AS source, unnest($codes) AS code, unnest($ids) AS id),
found AS (
    SELECT w.source, w.code, i.request FROM wanted AS w JOIN instructions AS i ON i.id = w.id
    UNION ALL
    SELECT w.source, w.code, i.request
    FROM wanted AS w JOIN instructions AS i ON i.translation_of = w.source AND i.language = w.code
)
SELECT source, code, any_value(q.context) FROM found LEFT JOIN requests AS q ON q.key = found.request GROUP BY ALL
"""


@dataclass(frozen=True)
class Sources:
    """The accepted records of one language that are no translations themselves.

    The catalog is open only while a page is read, so it may be brought up to date in between.
    """

    store: Store
    origin: Language
    languages: tuple[Language, ...]
    where: str = "true"
    """An SQL predicate over `accepted`."""
    limit: int | None = None

    def count(self) -> int:
        """Count them.

        Raises:
            QueryError: the predicate is not valid SQL over `accepted`.
        """
        with self._reading() as connection:
            query = "SELECT count(*) " + self._where(connection, _CHOSEN)
            [(count,)] = connection.execute(query, {"language": self.origin.code}).fetchall()
        return int(count) if self.limit is None else min(int(count), self.limit)

    def __iter__(self) -> Iterator[Source]:
        return islice(self._all(), self.limit)

    def _all(self) -> Iterator[Source]:
        last = ""
        while page := self._page(last):
            yield from page
            last = page[-1].id

    def _page(self, last: str) -> list[Source]:
        with self._reading() as connection:
            parameters = {"language": self.origin.code, "last": last, "page": PAGE}
            rows = connection.execute(self._where(connection, _ROWS), parameters).fetchall()
            return self._with_translations(connection, [_source(row) for row in rows])

    def _with_translations(
        self, connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]
    ) -> list[Source]:
        cells = [Cell(source, language) for source in sources for language in self.languages]
        if not cells:
            return []
        found: dict[str, dict[str, str | None]] = {}
        parameters = {
            "sources": [cell.source.id for cell in cells],
            "codes": [cell.language.code for cell in cells],
            "ids": [cell.id for cell in cells],
        }
        for source, code, context in connection.execute(_THERE, parameters).fetchall():
            found.setdefault(source, {})[code] = context
        return [replace(source, there=found.get(source.id, {})) for source in sources]

    def _where(self, connection: duckdb.DuckDBPyConnection, query: str) -> str:
        from mimicit.sandbox import predicate

        return query.format(where=predicate(connection, self.where))

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        import duckdb

        with self.store.reading() as connection:
            try:
                yield connection
            except duckdb.Error as error:
                said = str(error).splitlines()[0]
                raise QueryError(f"the selection {self.where!r} fails: {said}") from None


def _source(row: tuple[Any, ...]) -> Source:
    id_, task, question, answer, image_ids, rel_ins_ids, source = row
    return Source(id_, task, question, answer, tuple(image_ids), tuple(rel_ins_ids), source)
