"""The records that are split, as numbers: the table `split_rows`, and columns of it.

They are in the order of their ids, so the first record of a component is the same whatever came first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimicit.curate.base import quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.measures import attach
from mimicit.curate.opening import Tell, opened, seal, silent
from mimicit.errors import DatasetError, QueryError
from mimicit.sandbox import predicate
from mimicit.splits.links import Joins
from mimicit.splits.options import STRATA

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow

    from mimicit.store import Store

TRAIN = "train"
MOST_NAMES = 62
"""Of splits: a set of them is a number of 63 bits."""
NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Records:
    names: list[str]
    """Of the splits, `train` first."""
    split: np.ndarray
    """Of each record: its place in `names`, or NOWHERE; int16."""
    chosen: np.ndarray
    """Whether it is accepted and selected; others are only there because they have a split."""
    stratum: np.ndarray
    strata: list[str]
    draw: np.ndarray
    """A number of each, by the seed."""

    @property
    def bits(self) -> np.ndarray:
        """The split of each as a set of splits."""
        import numpy as np

        one = np.int64(1) << np.maximum(self.split, 0).astype(np.int64)
        found: np.ndarray = np.where(self.split == NOWHERE, np.int64(0), one)
        return found


_ROWS = """CREATE OR REPLACE TEMP TABLE split_rows AS
SELECT (row_number() OVER (ORDER BY i.id) - 1)::INTEGER AS "row", i.id, i.image_ids, i.conversation, i.translation_of,
    coalesce({stratum}, '') AS stratum, c.id IS NOT NULL AS chosen, s.split AS split,
    (md5_number_lower(concat({seed}, ':', i.id)) >> 1)::BIGINT AS draw
FROM instructions AS i
LEFT JOIN (SELECT id FROM accepted WHERE {where}) AS c ON c.id = i.id
LEFT JOIN (SELECT record, split FROM splits WHERE "name" = {name}) AS s ON s.record = i.id
WHERE c.id IS NOT NULL OR s.split IS NOT NULL"""


def known(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the splittings that are stored, and how many records each has."""
    return dict(
        connection.execute('SELECT "name", count(*) FROM splits GROUP BY 1 ORDER BY 1').fetchall()
    )


def load(
    connection: duckdb.DuckDBPyConnection,
    *,
    name: str | None,
    where: str,
    stratify: str,
    seed: int,
    asked: Mapping[str, float],
) -> Records:
    """Have the table `split_rows`, and return its columns.

    Args:
        connection: To the catalog.
        name: The splitting of which records have a split; None where none has.
        where: Which of the accepted records are wanted.
        stratify: One of STRATA.
        seed: Of `draw`.
        asked: Names of splits that there are to be.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: the splitting has more splits than can be told apart.
    """
    import duckdb
    import numpy as np

    try:
        query = _ROWS.format(
            stratum=STRATA[stratify],
            where=predicate(connection, where),
            name="NULL" if name is None else quoted(name),
            seed=int(seed),
        )
        connection.execute(query)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise QueryError(f"the selection {where!r} fails: {said}") from None
    rows = connection.sql(
        'SELECT split, chosen, stratum, draw FROM split_rows ORDER BY "row"'
    ).to_arrow_table()
    found, split = _numbered(rows["split"])
    names = [TRAIN, *asked, *(other for other in sorted(found) if other not in {TRAIN, *asked})]
    if len(names) > MOST_NAMES:
        raise DatasetError(
            f"{name!r} has {len(names)} splits, and there can be {MOST_NAMES}; begin anew, or give the splitting another name"
        )
    place = np.array([NOWHERE, *(names.index(one) for one in found)], np.int16)
    strata, stratum = _numbered(rows["stratum"])
    return Records(
        names,
        place[split + 1],
        rows["chosen"].to_numpy(),
        stratum,
        strata,
        rows["draw"].to_numpy(),
    )


def _numbered(column: pyarrow.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the different texts of a column, and the place of each row's among them; -1 is null."""
    import numpy as np
    import pyarrow.compute as pc

    whole = column.combine_chunks().dictionary_encode()
    places = pc.fill_null(whole.indices, -1).to_numpy(zero_copy_only=False)
    return whole.dictionary.to_pylist(), places.astype(np.int32)


@contextmanager
def measured(
    store: Store, joins: Joins, memory: str | None, tell: Tell = silent
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog, with what `joins` measures of its records and pictures; then close it to all else."""
    with opened(store, memory) as connection:
        attach(store, connection, [(name, MEASURES[name]) for name in joins.measures], tell)
        seal(connection, [path for path in (store.path / "measures").glob("*") if path.is_dir()])
        yield connection
