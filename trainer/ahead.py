"""The next batches are made while the model works on this one: a thread goes through an iterator ahead of who asks.

It helps as far as making a batch lets go of the interpreter, as reading, decoding and torch's own work do.
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
PATIENCE = 5.0
"""Seconds that the thread has to finish the item that it is at, when nobody wants it any more; then it is left to itself."""


class Ahead(Generic[T]):
    """Within this context a thread makes items before they are asked for; what is raised there is raised here, in its place."""

    def __init__(self, items: Iterator[T], *, most: int = 2) -> None:
        """Begin nothing yet.

        Args:
            items: Gone through by the thread alone; a generator is closed by it, too.
            most: Items that wait to be asked for; one more may be in the making.
        """
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(most)
        self._is_over = False
        self._thread = threading.Thread(target=self._go, args=(items,), name="ahead", daemon=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._is_over:
            raise StopIteration
        item, error = self._ready.get()
        if error is not None:
            self._is_over = True
            raise error
        return item  # type: ignore[return-value]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        with suppress(queue.Empty):
            while True:  # the thread may wait for room
                self._ready.get_nowait()
        self._thread.join(PATIENCE)

    def _go(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                self._ready.put((item, None))
                if self._is_over:
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are asked for
            self._ready.put((None, error))
        else:
            self._ready.put((None, StopIteration()))
        finally:
            if close := getattr(items, "close", None):
                close()
