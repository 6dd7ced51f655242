"""A run's steps in the folder of the dataset that it learns from: the view `steps` of the catalog.

    <dataset>/training/demo-9f2c41d07ab3.jsonl     one run: its folder's name, and a hash of where that is

The run's own log is the truth, and this a copy to which lines are only added. A step that comes again, because the run
died after its last checkpoint, takes the place of itself and of all that came after it; a line that a kill tore is passed over
(`mimicit.catalog_tables.STEPS`). Training goes on where nothing can be written here.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mimicit.catalog_tables import TRAINING
from mimicit.errors import DatasetError
from mimicit.store import Store
from trainer.plan import Plan
from trainer.report import StepLog

LINE_BYTES = 1 << 16
"""A step is far shorter; what is longer is none."""
_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]+")


class Steps:
    def __init__(
        self, dataset: Path, run: Path, snapshot: str, plan: Plan, *, say: Callable[[str], None]
    ) -> None:
        """Name the file.

        Args:
            dataset: The dataset folder.
            run: The run's folder.
            snapshot: Digest of what it learns from.
            plan: Of the run.
            say: Takes the sentence for the case that nothing can be written.
        """
        where = os.fsencode(run.resolve())
        name = _UNUSUAL.sub("_", run.resolve().name)[:60]
        key = hashlib.blake2b(where, digest_size=6).hexdigest()
        self.path = dataset / TRAINING / f"{name}-{key}.jsonl"
        self.dataset = dataset
        self.run = where.decode("utf-8", "replace")
        self.snapshot = snapshot
        self.plan = plan
        self._say = say
        self._is_lost = False

    def begin(self, log: Sequence[StepLog]) -> None:
        """Go on after the steps of a run's log, which are added if the file does not have them."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            _end_line(self.path)
            has_all = _standing(self.path)[: len(log)] == [_mark(asdict(entry)) for entry in log]
        except OSError as error:
            self._lose(error)
            return
        if not has_all:
            self._write(self._row(entry) for entry in log)

    def add(self, entry: StepLog) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write([self._row(entry) | {"time": now}])

    def end(self) -> None:
        """Bring the catalog up to date; if that cannot be now, whoever reads it next does it, or is told why not."""
        with suppress(DatasetError):
            Store.open(self.dataset).refresh()

    def _row(self, entry: StepLog) -> dict[str, Any]:
        epoch, nth = divmod(entry.step - 1, self.plan.steps_per_epoch)
        left = self.plan.records - nth * self.plan.batch_size
        place = {"epoch": epoch + 1, "records": min(self.plan.batch_size, left)}
        return {"run": self.run, "snapshot": self.snapshot} | asdict(entry) | place

    def _write(self, rows: Iterable[dict[str, Any]]) -> None:
        if self._is_lost:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self._is_lost = True
        self._say(
            f"the dataset's table of steps is left as it is: {str(self.path)!r} cannot be written "
            f"({error.strerror}); the run's own log has them all"
        )


def _end_line(path: Path) -> None:
    """End the line that a kill tore, so that the next one is whole."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def _standing(path: Path) -> list[tuple[Any, ...]]:
    """Return the marks of the steps in a file that no later line took the place of."""
    standing: list[tuple[Any, ...]] = []
    for row in _rows(path):
        while standing and standing[-1][0] >= row["step"]:
            standing.pop()
        standing.append(_mark(row))
    return standing


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in iter(lambda: file.readline(LINE_BYTES), ""):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # torn, or no step at all
                continue
            if isinstance(row, dict) and type(row.get("step")) is int:
                yield row


def _mark(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["step"], row.get("loss"), row.get("seconds")
