"""Which of some records that are alike stay, and for which one the others go.

Records come in the order in which they are to be kept. Each is at a *node*: records of one node say the same. An edge joins two
nodes that are alike. What stays is decided in that order, and what goes is like something that stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

Found = tuple[int, int, float]
"""A record that goes, one that stays, and how alike they are."""


@dataclass(frozen=True, slots=True)
class Records:
    """The best first."""

    node: np.ndarray
    turns: np.ndarray
    """Of its conversation, those that are like nothing counted too; 1 without one."""
    judged: np.ndarray
    """Whether it may go for itself."""
    conversation: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Edges:
    left: np.ndarray
    right: np.ndarray
    """Nodes."""
    similarity: np.ndarray


def kept_for(rows: pyarrow.Table, edges: pyarrow.Table) -> tuple[list[int], list[int], list[float]]:
    """Return what goes, what it goes for, and how alike they are.

    Args:
        rows: node, turns, judged and conversation; the best first.
        edges: a, b, similarity.
    """
    import numpy as np

    node, turns, judged = (rows[name].to_numpy() for name in ("node", "turns", "judged"))
    records = Records(node, turns, judged, rows["conversation"].to_pylist())
    joined = Edges(*(edges[name].to_numpy() for name in ("a", "b", "similarity")))
    found, staying = _conversations(records, joined)
    fixed = np.zeros(len(node), bool)
    fixed[staying] = True
    found += _singles(records, joined, fixed)
    found.sort()
    return [one[0] for one in found], [one[1] for one in found], [one[2] for one in found]


# Conversations


def _conversations(records: Records, edges: Edges) -> tuple[list[Found], list[int]]:
    """Decide on conversations of several turns; return what goes, and the records of those that stay."""
    import numpy as np

    units: dict[str | None, list[int]] = defaultdict(list)
    for row in np.flatnonzero(records.turns > 1).tolist():
        units[records.conversation[row]].append(row)
    if not units:
        return [], []
    near = _neighbours(edges, set(records.node[records.turns > 1].tolist()))
    found: list[Found] = []
    staying: list[int] = []
    at: dict[int, dict[int, int]] = defaultdict(dict)  # node -> conversation that stays -> its turn
    order = sorted(units.values(), key=lambda rows: (-int(records.turns[rows[0]]), rows[0]))
    for number, rows in enumerate(order):
        whole = len(rows) == records.turns[rows[0]] and records.judged[rows].any()
        nodes = records.node[rows].tolist()
        said = _covered([near[node] for node in nodes], at) if whole else None
        if said:
            found += [(row, *other) for row, other in zip(rows, said, strict=True)]
            continue
        staying += rows
        for row, node in zip(rows, nodes, strict=True):
            at[node].setdefault(number, row)
    return found, staying


class _Near(dict[int, list[tuple[int, float]]]):
    """Node -> nodes that are like it, itself first."""

    def __missing__(self, node: int) -> list[tuple[int, float]]:
        self[node] = [(node, 1.0)]
        return self[node]


def _neighbours(edges: Edges, nodes: set[int]) -> _Near:
    near = _Near()
    columns = (edges.left.tolist(), edges.right.tolist(), edges.similarity.tolist())
    for left, right, similarity in zip(*columns, strict=True):
        if left in nodes and right in nodes:
            near[left].append((right, similarity))
            near[right].append((left, similarity))
    return near


def _covered(
    turns: list[list[tuple[int, float]]], at: dict[int, dict[int, int]]
) -> list[tuple[int, float]] | None:
    """Find the conversation that has a turn like each of these: for each its most similar one, or None."""
    options = [
        [(at[node], similarity) for node, similarity in near if node in at] for near in turns
    ]
    fewest = min(options, key=lambda places: sum(len(place) for place, _ in places))
    best: list[tuple[int, float]] | None = None
    for number in sorted({number for place, _ in fewest for number in place}):
        said = [_most_similar(number, places) for places in options]
        whole = [one for one in said if one]
        if len(whole) == len(said) and (best is None or _sum(whole) > _sum(best)):
            best = whole
            if _sum(best) == len(best):
                break
    return best


def _most_similar(
    number: int, places: list[tuple[dict[int, int], float]]
) -> tuple[int, float] | None:
    found = [(place[number], similarity) for place, similarity in places if number in place]
    return max(found, key=lambda one: (one[1], -one[0]), default=None)


def _sum(said: list[tuple[int, float]]) -> float:
    return sum(similarity for _, similarity in said)


# Single records


def _singles(records: Records, edges: Edges, fixed: np.ndarray) -> list[Found]:
    """Decide on the other records, where the turns in `fixed` stay whatever comes."""
    import numpy as np

    single = (records.turns <= 1) & records.judged
    rows = np.concatenate([np.flatnonzero(fixed & records.judged), np.flatnonzero(single)])
    if not len(rows):
        return []
    nodes, place, which = np.unique(records.node[rows], return_index=True, return_inverse=True)
    first, stands = rows[place], fixed[rows[place]]  # the best record of each node
    worse, better, similarity = _directed(edges, nodes, place)
    gone = _gone(worse, better, stands)
    # Of what is better and stays, the most similar; and of these the best.
    usable = np.flatnonzero(gone[worse] & ~gone[better])
    order = usable[np.lexsort((place[better[usable]], -similarity[usable], worse[usable]))]
    ending, at = np.unique(worse[order], return_index=True)
    target, score = np.arange(len(nodes)), np.ones(len(nodes))
    target[ending], score[ending] = better[order[at]], similarity[order[at]]
    goes = ~fixed[rows] & (gone[which] | (first[which] != rows))
    stays = first[target[which[goes]]]
    columns = (rows[goes].tolist(), stays.tolist(), score[which[goes]].tolist())
    return list(zip(*columns, strict=True))


def _directed(
    edges: Edges, nodes: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges among these nodes, by number, from the worse to the better; the best worse one first."""
    import numpy as np

    inside = np.isin(edges.left, nodes) & np.isin(edges.right, nodes)
    left = np.searchsorted(nodes, edges.left[inside])
    right = np.searchsorted(nodes, edges.right[inside])
    swapped = place[left] > place[right]
    worse, better = np.where(swapped, left, right), np.where(swapped, right, left)
    order = np.argsort(place[worse], kind="stable")
    return worse[order], better[order], edges.similarity[inside][order]


def _gone(worse: np.ndarray, better: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """Go through the nodes, the best first: what is like a better one that stays goes."""
    import numpy as np

    gone = bytearray(len(stands))
    free = (~stands[worse]).nonzero()[0]
    for low, high in zip(worse[free].tolist(), better[free].tolist(), strict=True):
        if not gone[high]:
            gone[low] = 1
    return np.frombuffer(gone, np.uint8).astype(bool)
