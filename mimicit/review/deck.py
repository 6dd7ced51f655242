"""Which records are looked at, and in which order.

Whoever looks types a predicate; it runs in a child process as every other SQL that somebody typed (`mimicit.sql`), and all that
comes back is the number of each record's row and its id. The same seed gives everybody the same order, so that several reviewers
meet at the same records. Without a predicate these are the records that no filter rejects: what reviewers said makes no difference,
or the second one would never see what the first one rejected. Only what was edited is left out; its new version is in its place.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mimicit.errors import QueryError
from mimicit.sandbox import predicate
from mimicit.schema import REVIEWERS
from mimicit.sql import run_sql

if TYPE_CHECKING:
    import pyarrow

Order = Literal["random", "id", "score"]
ORDERS: tuple[Order, ...] = ("random", "id", "score")
TIMEOUT = 60.0
MOST_PREDICATE = 10_000
"""Characters."""
_KIND = re.compile(r"^\w+ Error: ")
"""How DuckDB's sentences begin."""

EDITED, EDIT_UNDONE = "edited: see ", "edit undone: see "
"""How the reasons begin of what an edit replaced, and of what an undone edit had made."""

_LEFT_BY_FILTERS = (
    "id NOT IN (SELECT record FROM verdicts WHERE coalesce(rejects, true) AND "
    f"(recipe NOT LIKE '{REVIEWERS}%' OR starts_with(reason, '{EDITED}') OR starts_with(reason, '{EDIT_UNDONE}')))"
)
_LOWEST_FIRST = (
    "(SELECT coalesce(avg(score) FILTER (filter = 'judge'), min(score)) FROM verdicts AS v "
    f"WHERE v.record = instructions.id AND recipe NOT LIKE '{REVIEWERS}%') NULLS LAST, id"
)


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to look at."""

    where: str = ""
    """An SQL predicate over the columns of `instructions`; none: what filters let through."""
    order: Order = "random"
    seed: int = 0

    @property
    def key(self) -> str:
        said = repr((self.where, self.order, self.seed))
        return blake2b(said.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Deck:
    wanted: Wanted
    rows: pyarrow.Int64Array
    """Of the table `instructions`, as long as the catalog is not built again."""
    ids: pyarrow.LargeStringArray
    done: dict[str, set[int]] = field(default_factory=dict, compare=False)
    """By reviewer: places of what needs no decision any more."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def key(self) -> str:
        return self.wanted.key

    def card(self, at: int) -> tuple[int, str]:
        """Return the row and the id at a place."""
        return self.rows[at].as_py(), self.ids[at].as_py()

    def place(self, id: str) -> int | None:
        import pyarrow.compute as pc

        found: int = pc.index(self.ids, id).as_py()
        return None if found < 0 else found

    def places(self, ids: Iterable[str]) -> set[int]:
        """Return where some of its records are."""
        import pyarrow as pa
        import pyarrow.compute as pc

        there = pc.is_in(self.ids, pa.array(list(ids), pa.large_string()))
        return set(pc.indices_nonzero(there).to_pylist())


def draw(catalog: Path, wanted: Wanted) -> Deck:
    """Find what is wanted.

    Raises:
        QueryError: the predicate is wrong, refused, or takes too long.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    query = (
        f'SELECT rowid AS "row", id FROM instructions WHERE {checked(wanted.where)} '
        f"ORDER BY {_ordered(wanted)}"
    )
    with tempfile.TemporaryFile() as file:
        try:
            run_sql(query, catalog, format="parquet", output=file, timeout=TIMEOUT)
        except QueryError as error:
            if "with --" in str(error):  # its limits, which no option gives more of here
                said = f"this took too much time or memory: {TIMEOUT:g} s is most"
            else:
                said = _KIND.sub("", str(error))
            raise QueryError(said) from None
        file.seek(0)
        table = pq.read_table(file)
    ids = table["id"].cast(pa.large_string()).combine_chunks()
    return Deck(wanted, table["row"].combine_chunks(), ids)


def _ordered(wanted: Wanted) -> str:
    if wanted.order == "random":
        return f"hash(id || '#{int(wanted.seed)}'), id"
    return "id" if wanted.order == "id" else _LOWEST_FIRST


def checked(where: str) -> str:
    """Return a predicate in brackets that it cannot close; without one, that of what filters let through.

    Raises:
        QueryError: it is none.
    """
    import duckdb

    if not where.strip():
        return _LEFT_BY_FILTERS
    if len(where) > MOST_PREDICATE:
        raise QueryError(
            f"a predicate of {len(where):,} characters is too long; {MOST_PREDICATE:,} is most"
        )
    with duckdb.connect(":memory:") as connection:
        try:
            return predicate(connection, f"{where}\n")
        except duckdb.Error as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise QueryError(f"this is no predicate: {_KIND.sub('', lines[0])}") from None
