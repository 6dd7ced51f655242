"""Records that say in other words what another one says.

Two records are alike as their vectors are (`mimicit.curate.meaning`), unless they differ in what turns a statement around
(`mimicit.curate.meaning.guard`): left and right, another number, a no. Which of them stays is decided as by `near_duplicate`: in the order of the keep rule, a record
goes if it is like one that stays, and a conversation stays or goes as a whole.

All pairs of one picture are compared, in matrix products of a few hundred records, so that it costs next to nothing beside the vectors. Over the dataset all are compared with
all, block by block: exact, in flat memory, and quadratic. A record is compared with the first `MOST` that are like it in the order of the keep rule; where
more are all alike, a few may stay.

MiniLM knows English, so without vectors of one's own other languages are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from mimicit.curate.filters.near import RANKS
from mimicit.curate.keeping import kept_for
from mimicit.curate.meaning.guard import Marks, contradict, exchanged, marks_of
from mimicit.curate.meaning.vectors import SCOPES, check_meaning, edges_of, unit, vectors_of
from mimicit.curate.wordnet import check_wordnet

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import numpy as np
    import pyarrow

FLOOR = 0.7
"""A lower threshold would call everything alike."""
BLOCK = 2_048
"""Records that are compared with as many others at once."""
SMALL = 256
"""Sets of records up to this size are compared several at once."""
MOST = 64
"""Better records that one is compared with."""
_TEXTS = 8_192
"""Records whose texts are in memory together."""

_STATEMENTS = (
    """CREATE OR REPLACE TEMP TABLE semantic_records AS
    SELECT id, conversation, {judged} AS judged, same_text AS digest, {scope} AS scope,
        row_number() OVER (ORDER BY {rank} id) - 1 AS number
    FROM (SELECT *, strlen(instruction) + strlen(answer) AS length FROM candidates)""",
    """CREATE OR REPLACE TEMP TABLE semantic_nodes AS
    SELECT id, digest, scope, row_number() OVER (ORDER BY scope, first) - 1 AS place FROM (
        SELECT arg_min(id, number) AS id, digest, scope, min(number) AS first
        FROM semantic_records WHERE judged GROUP BY digest, scope
        QUALIFY count(*) OVER (PARTITION BY scope) > 1 OR count(*) > 1)""",
)
_ROWS = """SELECT r.id, n.place AS node, coalesce(turns, 1) AS turns, judged, conversation
FROM semantic_records AS r JOIN semantic_nodes AS n ON n.digest = r.digest AND n.scope = r.scope
LEFT JOIN (SELECT conversation, count(*) AS turns FROM semantic_records
    WHERE conversation IS NOT NULL GROUP BY conversation) USING (conversation)
WHERE judged ORDER BY number"""


@dataclass(frozen=True)
class Semantic:
    """What `semantic_duplicate` asks; its repr says all that it depends on."""

    threshold: float
    scope: str
    prefer: str
    embeddings: str
    guard: bool

    @property
    def measures(self) -> tuple[str, ...]:
        return ("same",) if self.embeddings else ("meaning", "same")

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and score of what is dropped."""
        judged = "true" if self.embeddings else "language ILIKE 'en%'"
        for statement in _STATEMENTS:
            connection.execute(
                statement.format(judged=judged, scope=SCOPES[self.scope], rank=RANKS[self.prefer])
            )
        vectors = vectors_of(connection, kept, self.embeddings, "semantic_nodes")
        scope = connection.sql("SELECT scope FROM semantic_nodes ORDER BY place").to_arrow_table()
        search = _Search(connection, vectors, self.threshold, guard=self.guard)
        return _said(connection, search.edges(scope["scope"].to_numpy()))


class _Search:
    """Finds the pairs of nodes that are alike."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        vectors: np.ndarray,
        threshold: float,
        *,
        guard: bool,
    ) -> None:
        self.connection, self.vectors, self.threshold, self.guard = (
            connection,
            vectors,
            threshold,
            guard,
        )

    def edges(self, scope: np.ndarray) -> pyarrow.Table:
        """Return a, b and similarity of nodes; of two, the better is a."""
        import numpy as np
        import pyarrow as pa

        found = [*self._of_small(scope), *self._of_large(scope)]
        columns = [np.concatenate(column) for column in zip(*found, strict=True)] if found else []
        a, b, similarity = columns or (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        if self.guard:
            stays = self._are_one(a, b)
            a, b, similarity = a[stays], b[stays], similarity[stays]
        order = np.lexsort((b, a))
        return pa.table(
            {"a": a[order], "b": b[order], "similarity": similarity[order].astype(float)}
        )

    def _of_small(self, scope: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield pairs of small sets: many of them in one product, of which what joins two sets is not looked at."""
        import numpy as np

        for begin, end in _runs(edges_of(scope), SMALL):
            mine = unit(self.vectors[begin:end])
            same = scope[begin:end, None] == scope[None, begin:end]
            alike = np.triu((mine @ mine.T >= self.threshold) & same, 1)
            a, b = np.nonzero(alike)
            if len(a):
                a, b, cosines = self._free_of_contradictions(
                    a + begin, b + begin, np.einsum("ij,ij->i", mine[a], mine[b]), None
                )
                yield a, b, cosines

    def _of_large(self, scope: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        import numpy as np

        edges = edges_of(scope)
        for begin, end in pairwise(edges.tolist()):
            if end - begin <= SMALL:
                continue
            marks = self._marks(int(begin), int(end)) if self.guard else None
            held = np.zeros(end - begin, np.int64)
            for low in range(begin, end, BLOCK):
                better = unit(self.vectors[low : min(low + BLOCK, end)])
                for at in range(low, end, BLOCK):
                    worse = unit(self.vectors[at : min(at + BLOCK, end)])
                    cosines = better @ worse.T
                    a, b = np.nonzero(cosines >= self.threshold)
                    before = (a + low < b + at) & (held[b + at - begin] < MOST)
                    a, b = a[before], b[before]
                    if not len(a):
                        continue
                    found = self._free_of_contradictions(
                        a + low, b + at, cosines[a, b], marks, int(begin)
                    )
                    kept = _first(found[1], MOST - held[found[1] - begin])
                    held += np.bincount(found[1][kept] - begin, minlength=len(held))
                    yield tuple(column[kept] for column in found)

    def _free_of_contradictions(
        self, a: np.ndarray, b: np.ndarray, cosines: np.ndarray, marks: Marks | None, begin: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if marks is None:
            return a, b, cosines
        good = ~contradict(marks, a - begin, b - begin)
        return a[good], b[good], cosines[good]

    def _marks(self, begin: int, end: int) -> Marks:
        import numpy as np

        parts = [
            marks_of(self._texts(range(at, min(at + _TEXTS, end))))
            for at in range(begin, end, _TEXTS)
        ]
        return Marks(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _texts(self, nodes: range | np.ndarray) -> list[tuple[str, str]]:
        import pyarrow as pa

        self.connection.register(
            "semantic_wanted", pa.table({"place": pa.array(nodes, pa.int64())})
        )
        rows = self.connection.execute(
            "SELECT instruction, answer FROM semantic_wanted JOIN semantic_nodes USING (place) "
            "JOIN instructions USING (id) ORDER BY place"
        ).fetchall()
        self.connection.unregister("semantic_wanted")
        return rows

    def _are_one(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Say which pairs the guard leaves."""
        import numpy as np

        good = np.ones(len(a), bool)
        for at in range(0, len(a), _TEXTS):
            part = slice(at, at + _TEXTS)
            nodes, which = np.unique(np.concatenate([a[part], b[part]]), return_inverse=True)
            texts = self._texts(nodes)
            left, right = np.split(which, 2)
            good[part] = ~contradict(marks_of(texts), left, right)
            for n in np.flatnonzero(good[part]).tolist():
                good[at + n] = not exchanged(texts[left[n]], texts[right[n]])
        return good


def _runs(edges: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of whole sets, none of more than so many records."""
    begin = end = int(edges[0])
    for one, other in pairwise(edges.tolist()):
        if other - one > most or other - begin > most:
            if end > begin:
                yield begin, end
            begin = other if other - one > most else one
        end = other
    if end > begin:
        yield begin, end


def _first(keys: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return the places of the first so many of each key, in their order."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    edge = np.flatnonzero(np.diff(keys[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(edge, np.diff(np.append(edge, len(order))))
    return np.sort(order[rank < most[order]])


def _said(connection: duckdb.DuckDBPyConnection, edges: pyarrow.Table) -> pyarrow.Table:
    import pyarrow as pa

    rows = connection.sql(_ROWS).to_arrow_table()
    dropped, stays, similarity = kept_for(rows, edges)
    records, others = (rows["id"].take(pa.array(which, pa.int64())) for which in (dropped, stays))
    reasons = [
        f"means the same as {other} ({int(score * 100 + 1e-9) / 100:.2f} alike)"
        for other, score in zip(others.to_pylist(), similarity, strict=True)
    ]
    scores = pa.array(similarity, pa.float64())
    return pa.table({"record": records, "reason": pa.array(reasons, pa.string()), "score": scores})


def semantic_duplicate(
    *,
    threshold: float = 0.9,
    scope: str = "picture",
    prefer: str = "longest",
    guard: bool = True,
    embeddings: str = "",
) -> Semantic:
    """Drop all but one of the records that mean the same.

    Args:
        threshold: The cosine of two vectors from which they are one, from 0.7 to 1.
        scope: "picture", only among records about the same pictures, or "dataset", where the cost is quadratic.
        prefer: "longest"; "first" by id; or "best": whose answer is a finished sentence, then the one with the most different words.
        guard: Keep both of two that differ in a negation, a number, a color, a side and so on, however alike they are (English).
        embeddings: A Parquet file in the dataset folder with the columns `id` and `vector`; left out: MiniLM, which knows English.
    """
    if not FLOOR <= threshold <= 1:
        raise ValueError(f"'threshold' cannot be {threshold!r}; it is a number from {FLOOR} to 1")
    for name, value, known in (("scope", scope, SCOPES), ("prefer", prefer, RANKS)):
        if value not in known:
            listed = ", ".join(map(repr, known))
            raise ValueError(f"{name!r} cannot be {value!r}; it is one of {listed}")
    check_meaning(embeddings)
    if guard:
        check_wordnet()
    return Semantic(threshold, scope, prefer, embeddings, guard)
