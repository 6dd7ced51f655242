"""Which records each step learns: once an epoch, in an order of its own, on any number of devices, in the shares of a mix."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

from trainer.order import shuffled  # noqa: E402
from trainer.plan import FILLER, MicroBatches, Plan  # noqa: E402

shares = st.lists(st.tuples(st.integers(1, 23), st.integers(1, 60)), min_size=1, max_size=4)


def plan_of(shares, *, batch=5, micro=2, seed=0, rank=0, world=1, lengths=None):
    records = sum(draws for _, draws in shares)
    return Plan(records, batch, micro, seed, rank, world, tuple(shares), lengths)


def part_of(number, shares):
    for nth, (size, _) in enumerate(shares):
        if number < size:
            return nth, number
        number -= size
    raise AssertionError


def met_by_all(shares, epoch, *, world, **options):
    """Return what each device learns in an epoch."""
    plans = [plan_of(shares, rank=rank, world=world, **options) for rank in range(world)]
    first = epoch * plans[0].steps_per_epoch
    steps = range(first, first + plans[0].steps_per_epoch)
    return [
        [n for step in steps for one in plan.micro_batches(step) for n in one] for plan in plans
    ]


@settings(deadline=None, max_examples=30)
@given(shares=shares, world=st.integers(1, 4), batch=st.integers(1, 9), seed=st.integers(0, 5))
def test_an_epoch_takes_of_each_part_its_share(shares, world, batch, seed):
    for epoch in range(3):
        met = met_by_all(shares, epoch, world=world, batch=batch, seed=seed)
        taken = Counter(part_of(n, shares)[0] for one in met for n in one if n != FILLER)
        assert taken == {nth: draws for nth, (_, draws) in enumerate(shares)}


@settings(deadline=None, max_examples=30)
@given(shares=shares, world=st.integers(1, 4), seed=st.integers(0, 5))
def test_no_record_comes_again_before_all_have_come(shares, world, seed):
    """Whatever the shares: over epochs the counts of a part's records differ by one, at most."""
    counts = Counter()
    for epoch in range(4):
        for one in met_by_all(shares, epoch, world=world, seed=seed):
            counts.update(part_of(n, shares) for n in one if n != FILLER)
        for nth, (size, _) in enumerate(shares):
            of_part = [counts[nth, index] for index in range(size)]
            assert max(of_part) - min(of_part) <= 1


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 60), world=st.integers(1, 4), batch=st.integers(1, 11))
def test_devices_meet_different_records_and_all_of_them_together(size, world, batch):
    """Trap: a shuffle that is not the same on every rank."""
    met = met_by_all([(size, size)], 1, world=world, batch=batch)
    assert sorted(n for one in met for n in one if n != FILLER) == list(range(size))
    assert len({len(one) for one in met}) == 1


def test_epochs_and_seeds_have_orders_of_their_own():
    """Trap: the order of the first epoch again and again."""
    size = 40
    orders = [plan_of([(size, size)], batch=size, seed=seed).step(epoch) for seed in range(3) for epoch in range(5)]  # fmt: skip
    assert len(set(map(tuple, orders))) == 15
    again = [plan_of([(size, size)], batch=size, seed=seed).step(epoch) for seed in range(3) for epoch in range(5)]  # fmt: skip
    assert orders == again


def test_passes_have_orders_of_their_own():
    """Half of a group an epoch is another half each time, and not two in turns."""
    plan = plan_of([(40, 20)], batch=20)
    halves = [frozenset(plan.step(epoch)) for epoch in range(8)]
    assert len(set(halves)) == 8
    assert all(
        one | other == set(range(40)) for one, other in zip(halves[::2], halves[1::2], strict=True)
    )


@settings(deadline=None, max_examples=30)
@given(shares=shares, seed=st.integers(0, 3), world=st.integers(1, 4))
def test_a_step_learns_the_same_on_any_number_of_devices(shares, seed, world):
    alone = plan_of(shares, seed=seed)
    for step in range(2 * alone.steps_per_epoch):
        together = [
            n
            for rank in range(world)
            for one in plan_of(shares, seed=seed, rank=rank, world=world).micro_batches(step)
            for n in one
            if n != FILLER
        ]
        assert sorted(together) == sorted(alone.step(step))


@settings(deadline=None, max_examples=30)
@given(shares=shares, world=st.integers(1, 4), micro=st.integers(1, 7))
def test_lengths_change_who_does_a_record_and_not_whether(shares, world, micro):
    total = sum(size for size, _ in shares)

    def lengths(numbers):
        return np.array([(n * 7919) % 101 for n in numbers])

    for step in range(3):
        by_length = [
            n
            for rank in range(world)
            for one in plan_of(shares, micro=micro, rank=rank, world=world, lengths=lengths).micro_batches(step)
            for n in one
        ]  # fmt: skip
        assert sorted(n for n in by_length if n != FILLER) == sorted(plan_of(shares).step(step))
        assert all(FILLER <= n < total for n in by_length)


@pytest.mark.parametrize(
    ("batch", "micro", "world", "asks"),
    [(6, 6, 1, False), (6, 5, 1, True), (6, 1, 6, False), (3, 8, 6, False), (7, 8, 6, True), (1, 1, 1, False)],
)  # fmt: skip
def test_lengths_are_asked_for_only_where_they_decide_something(batch, micro, world, asks):
    """One forward, or one record for each device: there is nothing to deal."""
    asked = []

    def lengths(numbers):
        asked.append(numbers)
        return np.asarray(numbers)

    plan_of([(42, 42)], batch=batch, micro=micro, world=world, lengths=lengths).micro_batches(0)
    assert bool(asked) == asks


@settings(deadline=None, max_examples=50)
@given(shares=shares, start=st.integers(0, 40), count=st.integers(0, 40), seed=st.integers(0, 3))
def test_several_steps_at_once_are_the_same_steps(shares, start, count, seed):
    plan = plan_of(shares, seed=seed)
    numbers, sizes = plan.steps(start, start + count)
    steps = [plan.step(step) for step in range(start, start + count)]
    assert sizes.tolist() == [len(one) for one in steps]
    assert numbers.tolist() == [number for one in steps for number in one]


@settings(deadline=None, max_examples=30)
@given(shares=shares, stop=st.integers(1, 12), cut=st.integers(0, 12))
def test_a_stopped_run_goes_on_where_it_was(shares, stop, cut):
    plan = plan_of(shares)
    cut = min(cut, stop)
    whole = list(MicroBatches(plan, 0, stop))
    assert [*MicroBatches(plan, 0, cut), *MicroBatches(plan, cut, stop)] == whole


@given(n=st.integers(1, 5000), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_shuffle_is_a_permutation(n, seed):
    assert sorted(shuffled(np.arange(n), n, seed)) == list(range(n))
    some = np.arange(0, n, 7)
    assert np.array_equal(shuffled(some, n, seed), shuffled(np.arange(n), n, seed)[some])


@pytest.mark.parametrize("n", [3, 4, 5])
def test_all_orders_of_a_few_are_about_as_frequent(n):
    """Chi-square over many seeds, of whole permutations: the probability of a larger one is below a thousandth at the limit."""
    import math

    draws = 12_000
    counts = Counter(tuple(shuffled(np.arange(n), n, seed)) for seed in range(draws))
    cells = math.factorial(n)
    expected = draws / cells
    chi2 = sum((counts[order] - expected) ** 2 / expected for order in counts)
    chi2 += (cells - len(counts)) * expected
    assert chi2 < LIMITS[cells - 1]


LIMITS = {5: 20.5, 23: 49.7, 119: 172.9, 15: 37.7, 255: 330.5}
"""Degrees of freedom -> the chi-square that one in a thousand draws exceeds."""


@pytest.mark.parametrize("n", [17, 257, 5_000])
def test_a_record_stands_anywhere_and_beside_any_other(n):
    """Places of single records, and how far neighbours go apart, over many seeds, in 16 boxes each."""
    draws, boxes = 3_000, 16
    for of_two in (False, True):
        found = np.zeros(boxes)
        for seed in range(draws):
            first, second = shuffled(np.array([n // 3, n // 3 + 1]), n, seed)
            place = (second - first) % n - 1 if of_two else first
            found[int(place) * boxes // (n - of_two)] += 1
        sizes = np.bincount(np.arange(n - of_two) * boxes // (n - of_two), minlength=boxes)
        expected = draws * sizes / sizes.sum()
        assert ((found - expected) ** 2 / expected).sum() < LIMITS[boxes - 1]


def test_millions_are_shuffled_without_memory():
    plan = Plan(3_000_000, 64, 8, seed=0, shares=((2_800_000, 1_400_000), (100_000, 1_600_000)))
    steps = [plan.step(step) for step in (0, 1, 40_000, 90_000)]
    assert all(len(set(one)) == 64 for one in steps)
    assert all(0 <= n < 2_900_000 for one in steps for n in one)
