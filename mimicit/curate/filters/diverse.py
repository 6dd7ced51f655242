"""The records that are as different from each other as so many can be: k-centre greedy, farthest first.

The most typical record is taken first, then always the one that is least like all that were taken (Gonzalez 1985: no choice of as many leaves its farthest record
less than half as far). So a larger number keeps what a smaller one keeps, and what goes is near something that stays; the reason says
what, and how near.

It is exact, and does not compare all with all each time. How far a record is from what was taken only shrinks, so what was known of it is a bound: the
`POOL` records with the largest bounds are brought up to date, in one matrix product, and taken from until the largest distance
among them is less than a bound outside. In memory are a byte for each number of a vector, and the vectors of the pool and of what was taken.

The turns of a conversation stay together, as one record whose vector is the mean of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from mimicit.curate.meaning.vectors import SCOPES, check_meaning, edges_of, packed, unit, vectors_of

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import numpy as np
    import pyarrow

POOL = 512
"""Records that are looked at one by one."""
BLOCK = 4_096
"""Records whose vectors are laid out at once."""
SLICE = 512
"""Records that are brought up to date at once, beginning with what the longest forgotten of them has not seen."""
CENTRES = 2_048
"""Taken records that these are compared with at once."""


class Chosen(NamedTuple):
    order: np.ndarray
    """Rows that stay, as they were taken."""
    nearest: np.ndarray
    """Of each row, the row that stays and is most like it."""
    likeness: np.ndarray
    """The cosine between them."""


def farthest_first(vectors: np.ndarray, size: np.ndarray, records: int) -> Chosen:
    """Choose rows until so many records are taken.

    Args:
        vectors: int8, see `mimicit.curate.meaning`.
        size: Records of each row.
        records: How many are wanted at most; at least one row is taken.
    """
    return _Greedy(vectors, size, records).choose()


class _Greedy:
    def __init__(self, vectors: np.ndarray, size: np.ndarray, records: int) -> None:
        import numpy as np

        count = len(vectors)
        self.vectors, self.size, self.left = vectors, size, records
        self.like = np.full(count, -np.inf, np.float32)
        """Of each row, the largest cosine with what was taken when it was looked at: a lower bound."""
        self.nearest = np.zeros(count, np.int64)
        self.seen = np.zeros(count, np.int64)
        """Of each row, how many of those taken it was compared with."""
        self.centres = np.empty((min(count, 1_024), vectors.shape[1]), np.float32)
        self.order: list[int] = []

    def choose(self) -> Chosen:
        import numpy as np

        self._take(self._most_typical())
        while self.left > 0 and len(self.order) < len(self.vectors):
            if not self._take_from(*self._pool()):
                break
        for start in range(0, len(self.vectors), BLOCK):
            self._refresh(np.arange(start, min(start + BLOCK, len(self.vectors))))
        return Chosen(np.array(self.order), self.nearest, np.minimum(self.like, 1.0))

    def _most_typical(self) -> int:
        import numpy as np

        blocks = range(0, len(self.vectors), BLOCK)
        mean = sum(
            unit(self.vectors[at : at + BLOCK]).sum(axis=0, dtype=np.float64) for at in blocks
        )
        near = [unit(self.vectors[at : at + BLOCK]) @ np.asarray(mean, np.float32) for at in blocks]
        return int(np.concatenate(near).argmax())

    def _take(self, row: int) -> None:
        import numpy as np

        number = len(self.order)
        if number == len(self.centres):
            more = np.empty((min(len(self.vectors), 2 * number), self.centres.shape[1]), np.float32)
            more[:number] = self.centres
            self.centres = more
        self.centres[number] = unit(self.vectors[row : row + 1])[0]
        self.order.append(row)
        self.left -= int(self.size[row])
        self.like[row], self.nearest[row] = np.inf, row

    def _pool(self) -> tuple[np.ndarray, float]:
        """Return the rows whose bounds are the least, up to date, and the least bound of all others."""
        import numpy as np

        outside = np.inf
        if len(self.like) > POOL:
            first = np.argpartition(self.like, POOL)[: POOL + 1]
            outside = float(self.like[first].max())
            rows = np.sort(first[self.like[first] < outside])
            if not len(rows):  # more of them are alike than the pool holds
                rows = np.flatnonzero(self.like <= outside)[:POOL]
        else:
            rows = np.flatnonzero(np.isfinite(self.like) | (self.like < 0))
        self._refresh(rows)
        return rows, outside

    def _refresh(self, rows: np.ndarray) -> None:
        """Compare some rows with what was taken since they were last looked at."""
        import numpy as np

        end = len(self.order)
        rows = rows[np.argsort(self.seen[rows], kind="stable")]
        for at in range(0, len(rows), SLICE):
            part = rows[at : at + SLICE]
            mine = unit(self.vectors[part])
            for start in range(int(self.seen[part[0]]), end, CENTRES):
                cosines = mine @ self.centres[start : min(start + CENTRES, end)].T
                best = cosines.argmax(axis=1)
                self._nearer(part, cosines[np.arange(len(part)), best], best + start)
        self.seen[rows] = end

    def _nearer(self, rows: np.ndarray, likeness: np.ndarray, centre: np.ndarray) -> None:
        import numpy as np

        nearer = likeness > self.like[rows]
        self.like[rows[nearer]] = likeness[nearer]
        self.nearest[rows[nearer]] = np.array(self.order)[centre[nearer]]

    def _take_from(self, rows: np.ndarray, outside: float) -> bool:
        """Take the farthest rows of the pool while nothing outside can be farther; say whether one was taken."""
        taken = False
        mine = unit(self.vectors[rows])
        like = self.like[rows]
        while self.left > 0:
            at = int(like.argmin())
            row = int(rows[at])
            # Only a pool that is up to date and holds the farthest may go on.
            if like[at] > outside or self.like[row] == float("inf"):
                break
            if self.size[row] > self.left:
                self.left = 0
                return True
            self._take(row)
            taken = True
            cosines = mine @ self.centres[len(self.order) - 1]
            nearer = cosines > like
            like[nearer] = cosines[nearer]
            like[at] = float("inf")
            changed = rows[nearer]
            self.nearest[changed] = row
            self.nearest[row] = row
            self.like[rows] = like
            self.seen[rows] = len(self.order)
        return taken or bool(like.min() > outside)


# The filter

_UNITS = """
CREATE OR REPLACE TEMP TABLE diverse_records AS
SELECT id, row_number() OVER (ORDER BY scope, unit, coalesce(turn, 0), id) - 1 AS place,
    dense_rank() OVER (ORDER BY scope, unit) - 1 AS unit, scope
FROM (SELECT id, turn, {scope} AS scope, coalesce('c' || conversation, 'r' || id) AS unit FROM candidates
    WHERE {judged})
"""


@dataclass(frozen=True)
class Diverse:
    """What `diverse` asks; its repr says all that it depends on."""

    records: int
    scope: str
    embeddings: str

    @property
    def measures(self) -> tuple[str, ...]:
        return () if self.embeddings else ("meaning",)

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and likeness of what is dropped."""
        import numpy as np

        judged = "len(image_ids) > 0" if self.scope == "picture" else "true"
        connection.execute(_UNITS.format(scope=SCOPES[self.scope], judged=judged))
        vectors = vectors_of(connection, kept, self.embeddings, "diverse_records")
        records = connection.sql(
            "SELECT id, unit, scope FROM diverse_records ORDER BY place"
        ).to_arrow_table()
        unit_of, scope = records["unit"].to_numpy(), records["scope"].to_numpy()
        first = np.flatnonzero(np.diff(unit_of, prepend=-1))
        size = np.diff(np.append(first, len(unit_of)))
        rows = _means(vectors, first, size)
        nearest, likeness = np.zeros(len(first), np.int64), np.ones(len(first), np.float32)
        stays = np.zeros(len(first), bool)
        for begin, end in pairwise(edges_of(scope[first]).tolist()):
            part = slice(begin, end)
            if size[part].sum() <= self.records:
                stays[part] = True
                continue
            chosen = farthest_first(rows[part], size[part], self.records)
            stays[begin + chosen.order] = True
            nearest[part], likeness[part] = begin + chosen.nearest, chosen.likeness
        return _said(records, unit_of, first, stays, nearest, likeness)


def _means(vectors: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return a vector for each unit; most are of one record, whose vector is theirs."""
    import numpy as np

    if len(first) == len(vectors):
        return vectors
    rows: np.ndarray = vectors[first]
    for at in np.flatnonzero(size > 1).tolist():
        mean = unit(vectors[first[at] : first[at] + size[at]]).mean(axis=0, keepdims=True)
        rows[at] = packed(mean)[0]
    return rows


def _said(
    records: pyarrow.Table,
    unit_of: np.ndarray,
    first: np.ndarray,
    stays: np.ndarray,
    nearest: np.ndarray,
    likeness: np.ndarray,
) -> pyarrow.Table:
    import numpy as np
    import pyarrow as pa

    dropped = np.flatnonzero(~stays[unit_of])
    score = likeness[unit_of[dropped]].astype(np.float64)
    others = records["id"].take(pa.array(first[nearest[unit_of[dropped]]]))
    reasons = [
        f"its nearest kept one is {other} ({int(like * 100) / 100:.2f} alike)"
        for other, like in zip(others.to_pylist(), score.tolist(), strict=True)
    ]
    return pa.table(
        {
            "record": records["id"].take(pa.array(dropped)),
            "reason": pa.array(reasons, pa.string()),
            "score": pa.array(score, pa.float64()),
        }
    )


def diverse(*, records: int = 10_000, scope: str = "dataset", embeddings: str = "") -> Diverse:
    """Drop all but so many records that are as different from each other as can be, by what they mean.

    Args:
        records: How many are wanted.
        scope: "dataset", or "picture": so many of each picture, or set of pictures; records without pictures stay.
        embeddings: A Parquet file in the dataset folder with the columns `id` and `vector`; left out: MiniLM, which knows English.
    """
    if records < 1:
        raise ValueError(f"'records' cannot be {records!r}; it is a number from 1")
    if scope not in SCOPES:
        raise ValueError(f"'scope' cannot be {scope!r}; it is one of {', '.join(SCOPES)}")
    check_meaning(embeddings)
    return Diverse(records, scope, embeddings)
