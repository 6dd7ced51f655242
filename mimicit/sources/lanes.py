"""Several threads at work, whose results come in the order of the tasks.

Each task is a stream. What it makes waits in a lane of its own until its turn comes, up to so many bytes: then the task waits too. So
memory is bounded by the number of lanes, whatever a task makes, and the order does not depend on who is faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Event
from typing import Generic, TypeVar

LANE_BYTES = 32 << 20
T = TypeVar("T")


class _Lane(Generic[T]):
    def __init__(self, weigh: Callable[[T], int], stop: Event) -> None:
        self._weigh, self._stop = weigh, stop
        self._changed = Condition()
        self._waiting: deque[T] = deque()
        self._weight = 0
        self._is_done = False
        self._error: BaseException | None = None

    def fill(self, task: Callable[[], Iterable[T]]) -> None:
        """Run the task; for a thread of the pool."""
        error: BaseException | None = None
        try:
            for item in task():
                if not self._put(item):
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the lane is read
            error = raised
        with self._changed:
            self._error, self._is_done = error, True
            self._changed.notify_all()

    def _put(self, item: T) -> bool:
        weight = self._weigh(item)
        with self._changed:
            while self._waiting and self._weight + weight > LANE_BYTES and not self._stop.is_set():
                self._changed.wait(0.2)
            if self._stop.is_set():
                return False
            self._waiting.append(item)
            self._weight += weight
            self._changed.notify_all()
        return True

    def read(self) -> Iterator[T]:
        while True:
            with self._changed:
                while not self._waiting and not self._is_done:
                    self._changed.wait()
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._weight -= self._weigh(item)
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error


def in_order(
    tasks: Iterable[Callable[[], Iterable[T]]],
    *,
    threads: int,
    weigh: Callable[[T], int],
    stop: Event,
) -> Iterator[T]:
    """Run tasks, so many at once, and yield what they make, task by task.

    Args:
        tasks: Taken as they are needed, in the thread that reads.
        threads: So many tasks run, and as many more may have finished and wait.
        weigh: The bytes of a result.
        stop: Set when nobody reads any more; tasks that wait for something should look at it.
    """
    waiting = iter(tasks)
    lanes: deque[_Lane[T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="convert")
    try:
        while True:
            while len(lanes) < 2 * threads and (task := next(waiting, None)) is not None:
                lanes.append(_Lane(weigh, stop))
                pool.submit(lanes[-1].fill, task)
            if not lanes:
                return
            yield from lanes[0].read()
            lanes.popleft()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
