import threading
import time

import pytest

torch = pytest.importorskip("torch")

from trainer.ahead import Ahead  # noqa: E402


def test_items_come_in_their_order():
    with Ahead(iter(range(100))) as items:
        assert list(items) == list(range(100))


def test_what_is_raised_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("the second one")

    with Ahead(items()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="the second one"):
            next(ahead)
        with pytest.raises(StopIteration):
            next(ahead)


def test_no_more_is_made_than_was_allowed():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    with Ahead(items(), most=2) as ahead:
        assert next(ahead) == 0
        time.sleep(0.3)
        # One was taken, two wait, and one is in the thread's hand.
        assert len(made) <= 4


def test_leaving_early_ends_the_thread():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    with Ahead(items()) as ahead:
        next(ahead)
    assert threading.active_count() == before
    del ahead
    assert closed.wait(2)


def test_the_next_is_made_while_this_one_is_used():
    with Ahead((time.sleep(0.1) or number for number in range(5)), most=1) as ahead:
        next(ahead)
        waited = []
        for _ in range(4):
            time.sleep(0.2)
            began = time.perf_counter()
            next(ahead)
            waited.append(time.perf_counter() - began)
    assert min(waited) < 0.05
