"""Look at a stored splitting anew: what is in several splits, or near something in another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mimicit.curate.opening import Tell, frugally, silent
from mimicit.errors import DatasetError
from mimicit.splits.components import of_hubs, scipy_graphs, several
from mimicit.splits.links import KINDS, Joins, Links, gather
from mimicit.splits.records import NOWHERE, Records, known, load, measured
from mimicit.splits.splitting import EXAMPLES, ids_of, named

if TYPE_CHECKING:
    import duckdb
    import numpy as np

    from mimicit.store import Store


@dataclass(frozen=True, slots=True)
class Crossing:
    """Something that records of several splits have in common."""

    kind: str
    splits: list[str]
    records: list[str]
    """One of each split."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    records: int
    outside: int
    """Accepted records that are in no split."""
    crossings: dict[str, int]
    """Kind of link -> how many things cross."""
    examples: list[Crossing] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.crossings.values())


def check(
    store: Store, name: str, joins: Joins, *, where: str = "true", tell: Tell = silent
) -> Check:
    """Find what a splitting separates of the accepted records.

    Raises:
        DatasetError: there is no such splitting.
        LockedError: another process is writing.
    """
    scipy_graphs()
    with store.writing("syphus data split --check"):
        store.sync()
        return frugally(lambda memory: _check(store, name, joins, where, tell, memory))


def _check(
    store: Store, name: str, joins: Joins, where: str, tell: Tell, memory: str | None
) -> Check:
    with measured(store, joins, memory, tell) as connection:
        there = known(connection)
        if name not in there:
            names = ", ".join(there) or "none"
            raise DatasetError(f"there is no splitting {name!r}; there are: {names}")
        records = load(connection, name=name, where=where, stratify="none", seed=0, asked={})
        links = gather(connection, joins, store.path / "measures")
        return _checked(connection, name, records, links)


def _checked(
    connection: duckdb.DuckDBPyConnection, name: str, records: Records, links: Links
) -> Check:
    import numpy as np

    inside = records.split != NOWHERE
    bits = np.where(records.chosen, records.bits, np.int64(0))
    touched = of_hubs(links, bits)
    own = np.zeros(len(links.kind), np.int64)
    np.bitwise_or.at(own, links.hub, bits[links.record])
    # Of two near hubs each touches both splits: it is counted at the one that has the later split.
    first = (touched & -touched) == (own & -own)
    crossing = several(touched) & (several(own) | ~first) & (own != 0)
    kinds = np.unique(links.kind)
    return Check(
        name,
        int((records.chosen & inside).sum()),
        int((records.chosen & ~inside).sum()),
        {KINDS[kind]: int((crossing & (links.kind == kind)).sum()) for kind in kinds.tolist()},
        _examples(connection, records, links, np.flatnonzero(crossing), touched, bits),
    )


def _examples(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    links: Links,
    crossing: np.ndarray,
    touched: np.ndarray,
    bits: np.ndarray,
) -> list[Crossing]:
    """Return some of what crosses, of each kind."""
    import numpy as np

    found = []
    for kind in np.unique(links.kind[crossing]).tolist():
        for hub in crossing[links.kind[crossing] == kind][:EXAMPLES].tolist():
            near = [links.right[links.left == hub], links.left[links.right == hub], [hub]]
            members = links.record[np.isin(links.hub, np.concatenate(near))]
            splits, first = np.unique(bits[members], return_index=True)
            shown = members[first[splits != 0]].tolist()
            ids = ids_of(connection, shown)
            names = named(records.names, int(touched[hub]))
            found.append(Crossing(KINDS[kind], names, [ids[row] for row in shown]))
    return found
