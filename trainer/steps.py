"""A run's steps in the folder of the dataset that it learns from: the views `steps` and `step_records` of the catalog.

    <dataset>/training/demo-9f2c41d07ab3.jsonl     one run: its folder's name, and a hash of where that is
    <dataset>/training/demo-9f2c41d07ab3/          which records its steps use: step, record
        5e0c…-000000001.parquet                      from step 1 on; a hash of what is learned, and in which order

The run's own log is the truth, and this a copy to which lines are only added. A step that comes again, because the run
died after its last checkpoint, takes the place of itself and of all that came after it; a line that a kill tore is passed over
(`mimicit.catalog_tables.STEPS`). Training goes on where nothing can be written here.

Which records a step uses is a function of the plan, so a file of them is written before the first of its steps and never changed:
no kill tears it, and a resumed run finds what it would write. Steps in it that were not taken do not show (`step_records`).
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mimicit.catalog_tables import TRAINING
from mimicit.errors import MimicitError
from mimicit.migrations import MARKER
from mimicit.store import Store
from trainer.plan import Plan
from trainer.report import StepLog, lines_of
from trainer.sources.mix import Mix

LINE_BYTES = 1 << 20
"""A step is far shorter; what is longer is none."""
PART_RECORDS = 1 << 16
"""Of one file of records, about."""
_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]+")


class Steps:
    def __init__(
        self,
        dataset: Path,
        run: Path,
        snapshot: str,
        plan: Plan,
        *,
        say: Callable[[str], None],
        mix: Mix | None = None,
        until: int | None = None,
    ) -> None:
        """Name the files.

        Args:
            dataset: The dataset folder.
            run: The run's folder.
            snapshot: Digest of what it learns from.
            plan: Of the run.
            say: Takes the sentence for the case that nothing can be written.
            mix: What it learns from; without, it is not told which records a step uses.
            until: The last step that the run may take.
        """
        where = os.fsencode(run.resolve())
        name = _UNUSUAL.sub("_", run.resolve().name)[:60]
        key = hashlib.blake2b(where, digest_size=6).hexdigest()
        self.path = dataset / TRAINING / f"{name}-{key}.jsonl"
        self.records = Uses(self.path.with_suffix(""), plan, mix, until) if mix else None
        self.dataset = dataset
        self._folder = run
        self.run = where.decode("utf-8", "replace")
        self.snapshot = snapshot
        self.plan = plan
        if self.records:
            self.records.run = self.run
        self._say = say
        # A run that learns from shards alone needs no dataset folder, so what it was given may be any.
        self._is_lost = not (dataset / MARKER).exists()

    def begin(self, log: Sequence[StepLog]) -> None:
        """Go on after the steps of a run's log, which are added if the file does not have them."""
        if self._is_lost:
            return
        try:
            self.path.parent.mkdir(exist_ok=True)
            _end_line(self.path)
            has_all = _standing(self.path)[: len(log)] == [_mark(asdict(entry)) for entry in log]
            if self.records:
                self.records.begin(len(log))
        except (OSError, MimicitError) as error:
            self._lose(error)
            return
        if not has_all:
            skipped: dict[int, list[str]] = {}
            for row in lines_of(self._folder / "skipped.jsonl"):
                skipped.setdefault(row["step"], []).append(str(row["id"]))
            self._write(self._row(entry, skipped.get(entry.step, ())) for entry in log)

    def add(self, entry: StepLog, *, skipped: Sequence[str] = ()) -> None:
        """Add a step, with the ids of the records that could not be taught in it, and were not met before."""
        if self.records and not self._is_lost:
            try:
                self.records.need(entry.step)
            except (OSError, MimicitError) as error:
                self._lose(error)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write([self._row(entry, skipped) | {"time": now}])

    def end(self) -> None:
        """Bring the catalog up to date; if that cannot be now, whoever reads it next does it, or is told why not."""
        with suppress(MimicitError, OSError):
            Store.open(self.dataset).refresh()

    def _row(self, entry: StepLog, skipped: Sequence[str] = ()) -> dict[str, Any]:
        epoch, nth = divmod(entry.step - 1, self.plan.steps_per_epoch)
        left = self.plan.records - nth * self.plan.batch_size
        place: dict[str, Any] = {"epoch": epoch + 1, "records": min(self.plan.batch_size, left)}
        if skipped:
            place["skipped"] = list(skipped)
        told = {
            # There is no NaN in JSON.
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(entry).items()
        }
        return {"run": self.run, "snapshot": self.snapshot} | told | place

    def _write(self, rows: Iterable[dict[str, Any]]) -> None:
        if self._is_lost:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError | MimicitError) -> None:
        self._is_lost = True
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self._say(
            f"the dataset's table of steps is left as it is: {str(self.path)!r} cannot be written "
            f"({why}); the run's own log has them all"
        )


class Uses:
    """The files that say which records the steps of a run use."""

    def __init__(self, folder: Path, plan: Plan, mix: Mix, until: int | None) -> None:
        self.folder = folder
        self.plan = plan
        self.mix = mix
        self.until = until
        self.run = ""
        self.steps = max(1, PART_RECORDS // plan.batch_size)
        """Of one file."""
        order = [mix.digest, plan.seed, plan.batch_size, plan.records, plan.shares, until]
        self.key = hashlib.blake2b(json.dumps(order).encode(), digest_size=8).hexdigest()
        self._there: set[int] = set()

    def begin(self, steps: int) -> None:
        """Have the files of a run's first steps, and none of another run that was in its place."""
        for path in self.folder.glob("*.parquet"):
            if path.name.startswith(f"{self.key}-"):
                self._there.add(int(path.stem.rpartition("-")[2]))
            else:
                path.unlink()
        for first in range(1, steps + 1, self.steps):
            self.need(first)

    def need(self, step: int) -> None:
        """Have the file that a step (counted from 1) is in."""
        first = (step - 1) // self.steps * self.steps + 1
        if first not in self._there:
            self._write(first)
            self._there.add(first)

    def _write(self, first: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        last = min(first + self.steps - 1, self.until or first + self.steps)
        numbers, sizes = self.plan.steps(first - 1, last)
        names = names_of(self.mix, numbers)
        if any(len(one) > 1 for one in names):
            many = np.array([len(one) for one in names])
            sizes = np.add.reduceat(many, np.cumsum(sizes) - sizes)
        ids = [name for one in names for name in one]
        table = pa.table(
            {
                "run": pa.DictionaryArray.from_arrays(
                    pa.array(np.zeros(len(ids), np.int8)), pa.array([self.run])
                ),
                "step": np.repeat(np.arange(first, last + 1), sizes),
                "record": ids,
            }
        )
        self.folder.mkdir(exist_ok=True)
        target = self.folder / f"{self.key}-{first:09d}.parquet"
        staged = target.with_name(f".{target.name}")
        pq.write_table(table, staged, compression="zstd", use_dictionary=["run"])
        staged.replace(target)


def names_of(mix: Mix, numbers: np.ndarray) -> list[Sequence[str]]:
    """Return of each number of a mix the ids of the records that are taught by it: several, where they are turns of one example."""
    found: list[Sequence[str]] = [()] * len(numbers)
    which = np.searchsorted(mix.ends, numbers, side="right")
    for nth in np.unique(which):
        source, places = mix.parts[nth].source, np.flatnonzero(which == nth)
        indices = (numbers[places] - (mix.ends[nth] - len(source))).tolist()
        if names := getattr(source, "names", None):
            named = names(indices)
        else:
            named = [(source[index].id,) for index in indices]
        for at, one in zip(places.tolist(), named, strict=True):
            found[at] = one
    return found


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
