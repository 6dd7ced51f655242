"""`log.jsonl` while a run goes on. Training does not stop where it cannot be written: lines wait in memory until there is room again."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from trainer import report
from trainer.report import StepLog
from trainer.run_folder import sync

AGAIN = 10.0
"""Seconds from one try to the next."""


class LogFile:
    def __init__(
        self, path: Path, entries: Sequence[StepLog], *, say: Callable[[str], None]
    ) -> None:
        """Make a file hold these steps and no others.

        Args:
            path: `log.jsonl` of the run.
            entries: The run's steps so far; those to come are added to it before `add` is called.
            say: Takes the sentence for the case that nothing can be written.
        """
        self.path = path
        self._entries = entries
        self._say = say
        self._failed_at: float | None = None
        self._try(lambda: report.rewrite(path, entries))

    def add(self, entry: StepLog) -> None:
        if self._failed_at is None:
            self._try(lambda: report.append(self.path, entry))
        elif time.monotonic() - self._failed_at >= AGAIN:
            self.flush()

    def flush(self) -> None:
        """Bring all lines to disk, if that is possible."""
        if self._failed_at is not None:
            # The last line may be torn.
            self._try(lambda: report.rewrite(self.path, self._entries))
        with suppress(OSError):
            sync(self.path)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if self._failed_at is None:
                self._say(
                    f"{str(self.path)!r} cannot be written ({error.strerror}); training goes on, and its lines are written as soon as "
                    "there is room"
                )
            self._failed_at = time.monotonic()
        else:
            self._failed_at = None
