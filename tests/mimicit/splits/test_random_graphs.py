"""What holds of every splitting, on drawn graphs: nothing joined is separated, shares are met, and what was assigned stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicit.splits.assigning import NEW, assign, sizes
from mimicit.splits.components import components, of_hubs, several
from mimicit.splits.links import Links
from mimicit.splits.options import SplitOptions
from mimicit.splits.records import NOWHERE, Records
from mimicit.splits.splitting import assigned


def joined(members, near):
    """Make links of (record, hub) and of hubs that are near."""
    record, hub = (np.array([one[n] for one in members], np.int32) for n in (0, 1))
    left, right = (np.array([one[n] for one in near], np.int32) for n in (0, 1))
    hubs = int(max([-1, *hub.tolist(), *left.tolist(), *right.tolist()])) + 1
    return Links(record, hub, np.zeros(hubs, np.int8), left, right)


def by_hand(count, members, near):
    """Find components the slow way."""
    parent = list(range(count + 1000))

    def root(one):
        while parent[one] != one:
            one = parent[one]
        return one

    for one, other in [(r, count + h) for r, h in members] + [
        (count + a, count + b) for a, b in near
    ]:
        parent[root(one)] = root(other)
    return [root(one) for one in range(count)]


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 40))
    hub = st.integers(0, draw(st.integers(1, 60)))
    members = draw(st.lists(st.tuples(st.integers(0, count - 1), hub), max_size=80))
    near = draw(st.lists(st.tuples(hub, hub), max_size=15))
    return count, members, near


def records(count, split, stratum, draw, names=("train", "validation", "test")):
    return Records(
        list(names),
        np.array(split, np.int16),
        np.ones(count, bool),
        np.array(stratum, np.int32),
        [str(n) for n in range(4)],
        np.array(draw, np.int64),
    )


@settings(deadline=None, max_examples=300)
@given(graphs())
def test_components_are_what_is_joined(graph):
    count, members, near = graph
    found = components(joined(members, near), count).tolist()
    expected = by_hand(*graph)
    pairs = {(found[n], expected[n]) for n in range(count)}
    assert len(pairs) == len(set(found)) == len(set(expected))
    assert list(dict.fromkeys(found)) == list(range(len(set(found))))


@settings(deadline=None, max_examples=300)
@given(graphs(), st.data())
def test_no_split_separates_what_is_joined_and_old_records_stay(graph, data):
    count, members, near = graph
    links = joined(members, near)
    stratum = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    draw = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    options = SplitOptions({"validation": 0.2, "test": 0.3})
    first, _ = assigned(records(count, [NOWHERE] * count, stratum, draw), links, options)
    assert NOWHERE not in first.tolist()
    bits = np.int64(1) << first.astype(np.int64)
    assert not several(of_hubs(links, bits)).any()

    # Some of them are there first, the others come later.
    early = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    kept = [n for n in range(count) if early[n]]
    number = {one: n for n, one in enumerate(kept)}
    part = joined([(number[r], h) for r, h in members if r in number], near)
    some = records(
        len(kept), [NOWHERE] * len(kept), [stratum[n] for n in kept], [draw[n] for n in kept]
    )
    before = assigned(some, part, options)[0].tolist() if kept else []
    old = [before[number[n]] if n in number else NOWHERE for n in range(count)]
    after, _ = assigned(records(count, old, stratum, draw), links, options)
    assert all(after[n] == old[n] for n in kept)
    bits = np.where(after == NOWHERE, 0, np.int64(1) << np.maximum(after, 0).astype(np.int64))
    assert not several(of_hubs(links, bits)).any()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=200),
    st.lists(st.floats(0.01, 0.4), min_size=1, max_size=2),
    st.integers(0, 2**62),
)
def test_a_split_is_never_larger_than_its_share_by_more_than_half_a_component(many, shares, seed):
    component = np.repeat(np.arange(len(many)), many)
    sized = sizes(component, np.zeros(len(component), np.int64), len(many), 1)
    draw = np.random.default_rng(seed % 1000).integers(0, 2**62, len(many))
    found = assign(sized, draw, np.full(len(many), NEW), shares, seed)
    for n, share in enumerate(shares, start=1):
        mine = [size for size, split in zip(many, found.tolist(), strict=True) if split == n]
        wanted = round(sum(many) * share)
        assert sum(mine) <= wanted + max(mine, default=0) / 2
        assert all(size <= wanted for size in mine)


def test_single_records_meet_their_shares_exactly_in_every_stratum():
    rng = np.random.default_rng(1)
    stratum = rng.integers(0, 5, 10_000)
    sized = sizes(np.arange(10_000), stratum, 10_000, 5)
    found = assign(sized, rng.integers(0, 2**62, 10_000), np.full(10_000, NEW), [0.05, 0.1])
    for n, share in ((1, 0.05), (2, 0.1)):
        assert (found == n).sum() == 10_000 * share
        for s in range(5):
            assert abs(((found == n) & (stratum == s)).sum() - (stratum == s).sum() * share) < 1


def test_large_components_leave_the_shares_met():
    """As with pictures that have from one to thousands of records: half of the records are in one component of a hundred."""
    rng = np.random.default_rng(2)
    many = np.minimum(rng.zipf(1.6, 20_000), 3_000)
    component = np.repeat(np.arange(len(many)), many)
    stratum = rng.integers(0, 4, len(component))
    sized = sizes(component, stratum, len(many), 4)
    draw = rng.integers(0, 2**62, len(many))
    found = assign(sized, draw, np.full(len(many), NEW), [0.05, 0.05])[component]
    for n in (1, 2):
        for s in range(4):
            reached = ((found == n) & (stratum == s)).sum() / (stratum == s).sum()
            assert reached == pytest.approx(0.05, abs=0.0005)
    assert np.bincount(component[found > 0]).max() > 100  # large ones are in them, too


def test_many_small_strata_do_not_leave_a_split_empty():
    component = np.arange(9_000)
    sized = sizes(component, component // 3, 9_000, 3_000)
    draw = np.random.default_rng(3).integers(0, 2**62, 9_000)
    found = assign(sized, draw, np.full(9_000, NEW), [0.05])
    assert (found == 1).sum() == 450


def test_a_component_larger_than_the_split_is_in_train():
    component = np.array([0] * 50 + list(range(1, 51)))
    sized = sizes(component, np.zeros(100, np.int64), 51, 1)
    for seed in range(20):
        draw = np.random.default_rng(seed).integers(0, 2**62, 51)
        found = assign(sized, draw, np.full(51, NEW), [0.4])
        assert found[0] == 0
        assert (found[1:] == 1).sum() == 40
