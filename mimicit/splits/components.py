"""What is joined, directly or through others; and what stands between two splits.

A set of splits is a number with a bit for each, so that what a hub or a record touches is told for millions at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mimicit.errors import MissingExtraError
from mimicit.splits.links import Links

if TYPE_CHECKING:
    import numpy as np


def components(links: Links, records: int, without: np.ndarray | None = None) -> np.ndarray:
    """Return the number of each record's component; numbers are in the order of their first records.

    Args:
        links: What joins them.
        records: How many there are.
        without: Records, true, through which nothing is joined; each is a component of its own.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    import numpy as np

    graphs = scipy_graphs()
    from scipy.sparse import coo_array

    hubs = len(links.kind)
    record, hub = links.record, links.hub
    if without is not None:
        stays = ~without[record]
        record, hub = record[stays], hub[stays]
    one = np.concatenate([record, links.left + np.int32(records)])
    other = np.concatenate([hub + np.int32(records), links.right + np.int32(records)])
    ones = np.ones(len(one), np.int8)
    graph = coo_array((ones, (one, other)), shape=(records + hubs, records + hubs)).tocsr()
    _, labels = graphs.connected_components(graph, directed=False)
    _, first, number = np.unique(labels[:records], return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int32)
    place[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    found: np.ndarray = place[number]
    return found


def scipy_graphs() -> Any:
    """Return the module of scipy that joins.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from scipy.sparse import csgraph
    except ImportError:
        raise MissingExtraError("scipy", "curate") from None
    return csgraph


def of_hubs(links: Links, splits: np.ndarray) -> np.ndarray:
    """Return the splits that each hub touches, in itself or in one that is near it.

    Args:
        links: What joins them.
        splits: Of each record, as bits; 0 of one that is in none.
    """
    import numpy as np

    own = np.zeros(len(links.kind), np.int64)
    np.bitwise_or.at(own, links.hub, splits[links.record])
    touched = own.copy()
    np.bitwise_or.at(touched, links.left, own[links.right])
    np.bitwise_or.at(touched, links.right, own[links.left])
    return touched


def of_records(links: Links, splits: np.ndarray) -> np.ndarray:
    """Return the splits that each record touches by a hub of its own, or by one that is near it."""
    import numpy as np

    touched = np.zeros(len(splits), np.int64)
    np.bitwise_or.at(touched, links.record, of_hubs(links, splits)[links.hub])
    return touched


def of_groups(group: np.ndarray, splits: np.ndarray, count: int) -> np.ndarray:
    """Return the splits of the members of each group."""
    import numpy as np

    found = np.zeros(count, np.int64)
    np.bitwise_or.at(found, group, splits)
    return found


def several(splits: np.ndarray) -> np.ndarray:
    """Say where there is more than one."""
    found: np.ndarray = (splits & (splits - 1)) != 0
    return found
