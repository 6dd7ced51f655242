"""Split a dataset: what belongs together goes into one split, and stays there.

A record that has a split keeps it, whether it is accepted today or not. A new one follows the split of what it is joined to. One
that is joined to two splits would carry something from one to the other, so it is left out of all of them, and said; where only
a row of new records leads from one split to another, all of that row are. The rest is assigned by size (`assigning`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mimicit.curate.opening import Tell, frugally, silent
from mimicit.errors import DatasetError
from mimicit.splits.assigning import NEW, assign, sizes
from mimicit.splits.components import (
    components,
    of_groups,
    of_records,
    scipy_graphs,
    several,
)
from mimicit.splits.links import KINDS, Links, gather
from mimicit.splits.options import SplitOptions
from mimicit.splits.records import NOWHERE, TRAIN, Records, load, measured

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow

    from mimicit.store import Store

EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Share:
    """What is in a split, of a stratum or of all."""

    split: str
    records: int
    share: float
    """Of the stratum's records, or of all."""
    wanted: float | None
    """None of a split of which nobody said how large it is to be."""
    stratum: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A record that is in no split, since it is joined to several."""

    record: str
    splits: list[str]


@dataclass(frozen=True, slots=True)
class Splitting:
    """What became of a splitting."""

    name: str
    records: int
    components: int
    largest: int
    """Records of the largest component."""
    new: int
    """Records that had no split before."""
    left_out: int
    splits: list[dict[str, Any]]
    """A row for each: split, records, pictures, components, share, wanted."""
    strata: list[Share]
    joined: dict[str, int]
    """Kind of link -> records that it joins to others."""
    examples: list[LeftOut] = field(default_factory=list)
    """Some of those that were left out."""


def split(store: Store, options: SplitOptions, tell: Tell = silent) -> Splitting:
    """Assign the accepted records to splits, and store it.

    Args:
        store: The dataset.
        options: What is wanted.
        tell: Is told how far measuring is, which takes longest.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: there is nothing to be split.
        LockedError: another process is writing.
        MissingExtraError: a package is not installed.
    """
    scipy_graphs()
    with store.writing("syphus data split"):
        store.sync()
        said, members = frugally(lambda memory: _split(store, options, tell, memory))
        store.write_splits(options.name, members)
        store.sync()
    return said


def _split(
    store: Store, options: SplitOptions, tell: Tell, memory: str | None
) -> tuple[Splitting, pyarrow.Table]:
    with measured(store, options.joins, memory, tell) as connection:
        records = load(
            connection,
            name=None if options.anew else options.name,
            where=options.where,
            stratify=options.stratify,
            seed=options.seed,
            asked=options.shares,
        )
        if not records.chosen.any():
            raise DatasetError(
                f"no accepted record satisfies {options.where!r}; there is nothing to split"
            )
        links = gather(connection, options.joins, store.path / "measures")
        found, component = assigned(records, links, options)
        said = _said(connection, options, records, links, found, component)
        return said, _members(connection, records, found)


def assigned(
    records: Records, links: Links, options: SplitOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return the split of each record, NOWHERE for those that are left out, and its component."""
    import numpy as np

    old, bits = records.split != NOWHERE, records.bits
    # What touches two splits itself is left out; then, where two still are in one component, what leads from one to the other.
    out = ~old & several(of_records(links, bits))
    component = components(links, len(old), out)
    count = int(component.max(initial=-1)) + 1
    mixed = several(of_groups(component, bits, count))
    out |= ~old & mixed[component]
    first = np.unique(component, return_index=True)[1]
    settled = np.full(count, NEW, np.int64)
    settled[component[old]] = records.split[old]
    settled[mixed] = len(records.names)  # whatever they are, they are full
    counted = records.chosen & ~out
    sized = sizes(component[counted], records.stratum[counted], count, len(records.strata))
    shares = list(options.shares.values())
    into = assign(sized, records.draw[first], settled, shares, options.seed)
    found = np.where(old, records.split, into[component]).astype(np.int16)
    found[out] = NOWHERE
    return found, component


def _members(
    connection: duckdb.DuckDBPyConnection, records: Records, found: np.ndarray
) -> pyarrow.Table:
    import pyarrow as pa

    ids = connection.sql('SELECT id FROM split_rows ORDER BY "row"').to_arrow_table()["id"]
    inside = pa.array(found != NOWHERE)
    places = pa.array(found.astype("int32"), mask=found == NOWHERE)
    split = pa.DictionaryArray.from_arrays(places, pa.array(records.names)).cast(pa.string())
    return pa.table({"record": ids, "split": split}).filter(inside)


# What is said of it


def _said(
    connection: duckdb.DuckDBPyConnection,
    options: SplitOptions,
    records: Records,
    links: Links,
    found: np.ndarray,
    component: np.ndarray,
) -> Splitting:
    import numpy as np

    counted = records.chosen & (found != NOWHERE)
    left = records.chosen & (found == NOWHERE)
    return Splitting(
        name=options.name,
        records=int(counted.sum()),
        components=len(np.unique(component[counted])),
        largest=int(np.bincount(component[counted]).max(initial=0)),
        new=int((counted & (records.split == NOWHERE)).sum()),
        left_out=int(left.sum()),
        splits=_splits(options, records, links, found, component, counted),
        strata=_strata(options, records, found, counted),
        joined=joined_by(links),
        examples=_examples(connection, records, links, component, left),
    )


def _splits(
    options: SplitOptions,
    records: Records,
    links: Links,
    found: np.ndarray,
    component: np.ndarray,
    counted: np.ndarray,
) -> list[dict[str, Any]]:
    import numpy as np

    shown = counted[links.record] & (links.kind[links.hub] == KINDS.index("picture"))
    table: list[dict[str, Any]] = []
    for n, name in enumerate(records.names):
        mine = counted & (found == n)
        pictures = links.hub[shown & (found[links.record] == n)]
        table.append(
            {
                "split": name,
                "records": int(mine.sum()),
                "pictures": len(np.unique(pictures)),
                "components": len(np.unique(component[mine])),
                "share": float(mine.sum() / max(1, counted.sum())),
                "wanted": _wanted(options, name),
            }
        )
    return table


def _wanted(options: SplitOptions, name: str) -> float | None:
    if name == TRAIN:
        return 1 - sum(options.shares.values())
    return options.shares.get(name)


def _strata(
    options: SplitOptions, records: Records, found: np.ndarray, counted: np.ndarray
) -> list[Share]:
    import numpy as np

    width, count = len(records.names), len(records.strata)
    cell = records.stratum[counted].astype(np.int64) * width + found[counted]
    table = np.bincount(cell, minlength=width * count).reshape(count, width)
    return [
        Share(
            split=name,
            records=int(table[s, n]),
            share=float(table[s, n] / max(1, table[s].sum())),
            wanted=_wanted(options, name),
            stratum=records.strata[s],
        )
        for s in sorted(range(count), key=lambda s: -int(table[s].sum()))
        for n, name in enumerate(records.names)
        if table[s].sum()
    ]


def joined_by(links: Links) -> dict[str, int]:
    """Count the records that share a hub with another one, or are at one that is near another; by kind."""
    import numpy as np

    busy = np.bincount(links.hub, minlength=len(links.kind)) > 1
    busy[links.left] = busy[links.right] = True
    found = Counter[str]()
    joins = busy[links.hub]
    kinds = links.kind[links.hub]
    for n, kind in enumerate(KINDS):
        if (kinds == n).any():
            found[kind] = len(np.unique(links.record[joins & (kinds == n)]))
    return dict(found)


def _examples(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    links: Links,
    component: np.ndarray,
    left: np.ndarray,
) -> list[LeftOut]:
    import numpy as np

    shown = np.flatnonzero(left)[:EXAMPLES]
    if not len(shown):
        return []
    touched = of_records(links, records.bits)
    groups = of_groups(component, records.bits, int(component.max()) + 1)[component]
    touched = np.where(several(touched), touched, groups)
    ids = ids_of(connection, shown.tolist())
    return [LeftOut(ids[row], named(records.names, int(touched[row]))) for row in shown.tolist()]


def named(names: list[str], bits: int) -> list[str]:
    """Return the names in a set of splits."""
    return [name for n, name in enumerate(names) if bits >> n & 1]


def ids_of(connection: duckdb.DuckDBPyConnection, wanted: list[int]) -> dict[int, str]:
    """Return the ids of rows."""
    return dict(
        connection.execute(
            'SELECT "row", id FROM split_rows WHERE "row" IN (SELECT unnest($rows))',
            {"rows": wanted},
        ).fetchall()
    )
