"""When a run has learned enough: a function of its log, in a moment however long that is."""

import math
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trainer.ending import Enough  # noqa: E402
from trainer.plan import Plan  # noqa: E402
from trainer.report import StepLog  # noqa: E402

torch.set_num_threads(1)


def entry(step, loss, seconds=1.0):
    return StepLog(step, loss, 0.1, 0.2, taught=3, tokens=4, seconds=seconds, waited=0.0)


def config(**run):
    return SimpleNamespace(run=SimpleNamespace(**{"stop_below": None, "max_seconds": None} | run))


def plan(epoch):
    return Plan(records=epoch, batch_size=1, micro_batch_size=1, seed=0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 8) | st.just(1e300), max_size=30), st.integers(1, 6), st.floats(0.1, 6),
    st.integers(0, 30),
)  # fmt: skip
def test_it_is_the_mean_over_the_last_epoch_also_of_a_resumed_run(losses, epoch, below, start):
    """One loss that is far above all others leaves nothing behind."""
    log = [entry(n, loss) for n, loss in enumerate(losses[:start], start=1)]
    is_enough = Enough(log, config(stop_below=below), plan(epoch))
    for loss in [None, *losses[start:]]:
        if loss is not None:
            log.append(entry(len(log) + 1, loss))
        last = [one.loss for one in log[-epoch:]]
        expected = len(last) == epoch and math.fsum(last) / epoch < below
        mean = math.fsum(last) / epoch
        assert is_enough() == expected or mean == pytest.approx(below)


def test_time_is_that_of_all_sessions():
    log = [entry(1, 5.0, seconds=3.0)]
    is_enough = Enough(log, config(max_seconds=7.0), plan(4))
    assert not is_enough()
    log.append(entry(2, 5.0, seconds=3.0))
    assert not is_enough()
    log.append(entry(3, 5.0, seconds=1.0))
    assert is_enough()
    assert is_enough(), "asked twice, it says the same"


def test_a_step_of_a_long_run_is_told_as_fast_as_of_a_short_one():
    """The ratio in one process; going through the log each time it would be thousands."""

    def least(length):
        log = [entry(n, 5.0) for n in range(1, length + 1)]
        is_enough = Enough(log, config(stop_below=0.1, max_seconds=1e9), plan(length // 2))
        is_enough()
        taken = []
        for n in range(50):
            log.append(entry(length + n + 1, 5.0))
            began = time.perf_counter()
            is_enough()
            taken.append(time.perf_counter() - began)
        return min(taken)

    assert least(100_000) < 20 * least(20)
