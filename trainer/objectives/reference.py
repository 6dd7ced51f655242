"""The model that a run starts from, without keeping a second one in memory.

With adapters and nothing else trained it is the model itself with its adapters switched off. Otherwise it says before the first step
what it thinks of every answer that the run will meet, and that is kept:

    RUN/reference/log_probs.npy    float32 (records of the mix, answers of each); NaN where a run meets none
                  about.json       of which records, and which answers

The table is filled beside its name, in an order that is a function of the records, so that a pass that was stopped goes on where it
was; it is mapped into memory, never read whole, and a resumed run finds it there.

Letters: P records of a forward, R answers of each.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mimicit.errors import MimicitError
from trainer.data import Examples, Told, laid, or_raise
from trainer.errors import RunFolderError, TrainingError
from trainer.machine import leader_first, of_all, raise_together
from trainer.objectives.base import Beginning
from trainer.objectives.compared import ComparedEncoder, ComparedRows, Role
from trainer.rows import Rows
from trainer.run_folder import sync, write_json, written
from trainer.sources.mix import Mix
from trainer.workers import as_sentences, leave_to_parent

FOLDER = "reference"
TABLE, ABOUT = "log_probs.npy", "about.json"
WINDOW = 64
"""Forwards whose records are sorted by length together."""
EVERY = 100
"""Forwards between two times that the table is brought to disk."""
TELL_EVERY = 30.0
"""Seconds between two lines about how far it is."""


class Reference(Protocol):
    def __call__(self, model: nn.Module, rows: ComparedRows) -> Tensor:
        """Return the log-probability of each answer (P, R), 0 where there is none; without gradients."""
        ...


def log_probs(model: nn.Module, rows: ComparedRows) -> Tensor:
    """Return what a model thinks of each answer: its log-probability (P, R), 0 where there is none."""
    return rows.sums(model(**rows.inputs(), per_token=True).loss)


@contextmanager
def only_looking(model: nn.Module) -> Iterator[None]:
    """Without gradients, and without dropout."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


class WithoutAdapters:
    """The trained model itself, its adapters switched off: one more forward a step."""

    def __call__(self, model: nn.Module, rows: ComparedRows) -> Tensor:
        with only_looking(model), without_adapters(model):
            return log_probs(model, rows)


class Stored:
    """What the model said before the first step."""

    def __init__(self, folder: Path, roles: Sequence[Role]) -> None:
        self.table_NR = np.load(folder / TABLE, mmap_mode="r")
        self.roles = tuple(roles)

    def __call__(self, model: nn.Module, rows: ComparedRows) -> Tensor:
        columns = [self.roles.index(role) for role in rows.roles]
        numbers = np.array(rows.numbers, dtype=np.int64)
        found_PR = torch.from_numpy(self.table_NR[numbers][:, columns])
        found_PR = found_PR.to(rows.counts_PR.device)
        return torch.where(rows.counts_PR > 0, found_PR, 0.0)


def stored(run: Beginning, *, numbers: Callable[[], np.ndarray]) -> Stored:
    """Open what the model said of its records, after asking it if it has not been asked yet.

    Args:
        run: Whose model has the weights that it starts from, if it has taken no step. All processes call this together.
        numbers: The records that the run will meet, in any order.

    Raises:
        RunFolderError: the table is gone, or of other records.
        TrainingError: what the model says of a record is not finite, or a record cannot be taught.
    """
    folder = run.folder / FOLDER
    roles = cast(ComparedEncoder, run.encoder).roles
    about = {"snapshot": run.mix.digest, "records": len(run.mix), "answers": list(roles)}
    if not folder.exists():
        if run.start:
            raise RunFolderError(
                f"{str(folder)!r} is missing: what the model that this run began with said of its records. It cannot be asked any more; "
                "put the folder back, or start over in another one"
            )
        staged = folder.with_name(f".{FOLDER}")
        with leader_first(run.accelerator):
            _begin(staged, about, rows=len(run.mix), columns=len(roles))
        wanted = numbers()
        run.say(f"asking the starting model about {len(wanted):,} records, once")
        _fill(run, staged, wanted)
        with leader_first(run.accelerator):
            if run.accelerator.is_main_process:
                staged.rename(folder)
                sync(run.folder)
    if json.loads((folder / ABOUT).read_text(encoding="utf-8")) != about:
        raise RunFolderError(
            f"{str(folder)!r} is about other records or answers than this run's; start over in another folder"
        )
    return Stored(folder, roles)


def _begin(staged: Path, about: dict[str, Any], *, rows: int, columns: int) -> None:
    """Make an empty table, unless a pass over these very records has begun one.

    Raises:
        RunFolderError: there is no room for it.
    """
    path = staged / ABOUT
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) == about:
        return
    shutil.rmtree(staged, ignore_errors=True)
    with written(staged / TABLE):
        staged.mkdir(parents=True)
        # All written and on disk before the first answer: what a crash loses afterwards is then NaN, and asked again. And a full disk
        # is an error here; to a mapped file it is a signal that ends the process.
        np.save(staged / TABLE, np.full((rows, columns), np.nan, dtype=np.float32))
        sync(staged / TABLE)
    write_json(path, about)


def _chunks(mix: Mix, wanted: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut records into forwards of all devices together, like lengths together; a function of the records."""
    chunks = []
    for start in range(0, len(wanted), WINDOW * size):
        window = wanted[start : start + WINDOW * size]
        window = window[np.argsort(-mix.lengths([int(one) for one in window]), kind="stable")]
        chunks += [window[at : at + size] for at in range(0, len(window), size)]
    return chunks


def _fill(run: Beginning, staged: Path, wanted: np.ndarray) -> None:
    """Ask about those of the wanted records that are not there yet. The leading process writes for all."""
    accelerator, model = run.accelerator, run.model
    rank, world = accelerator.process_index, accelerator.num_processes
    encoder = cast(ComparedEncoder, run.encoder)
    table = np.load(staged / TABLE, mmap_mode="r+" if accelerator.is_main_process else "r")
    chunks = _chunks(run.mix, wanted, run.plan.micro_batch_size * world)
    # The leading process says what is left, for it alone writes. Where a record's first column is filled, its others are, too.
    said = [[at for at, chunk in enumerate(chunks) if np.isnan(table[chunk, 0]).any()]]
    left = [chunks[at] for at in broadcast_object_list(said)[0]]
    told = Told(Examples(run.mix, encoder), skips=bool(run.config.data.skip_bad))
    loader = DataLoader(
        told,
        # One record of the chunk stands in where this process has none: all do as many forwards.
        batch_sampler=(
            [int(one) for one in chunk[rank::world]] or [int(chunk[0])] for chunk in left
        ),
        collate_fn=partial(laid, encoder=encoder),
        num_workers=run.config.data.workers,
        worker_init_fn=leave_to_parent,
        timeout=run.config.data.worker_timeout if run.config.data.workers else 0,
        generator=torch.Generator(),
    )
    batches = or_raise(as_sentences(iter(loader), run.config.data))
    told_at = time.monotonic()
    with only_looking(model):
        for nth in range(1, len(left) + 1):
            every, trouble = _rows(batches)
            each = of_all(accelerator, {"rows": len(every), "trouble": trouble is not None})
            if any(each["trouble"]):
                raise_together(accelerator, trouble)
            every += [every[0].untaught()] * (int(max(each["rows"])) - len(every))
            for rows in every:
                found_PR = log_probs(model, rows.to(accelerator.device))
                _write(accelerator, table, rows, found_PR, encoder.roles)
            if nth % EVERY == 0 and accelerator.is_main_process:
                table.flush()
            if time.monotonic() - told_at > TELL_EVERY:
                told_at = time.monotonic()
                run.say(f"asked about {sum(map(len, left[:nth])):,} of {sum(map(len, left)):,}")
    if accelerator.is_main_process:
        table.flush()


def _rows(batches: Iterator[list[Rows]]) -> tuple[list[ComparedRows], MimicitError | None]:
    """Return what is asked next, or why it cannot be: all processes must hear of it."""
    try:
        asked = cast(list[ComparedRows], list(next(batches)))
    except MimicitError as error:
        return [], error
    return [one for rows in asked for one in rows.strangers] + asked, None


def _write(
    accelerator: Accelerator,
    table: np.ndarray,
    rows: ComparedRows,
    found_PR: Tensor,
    roles: tuple[Role, ...],
) -> None:
    """Gather what all processes found, and write it on the first."""
    is_finite = bool(torch.isfinite(found_PR).all())
    P, R = len(rows.numbers), len(roles)
    each = of_all(accelerator, {"records": P, "trouble": not is_finite})
    if any(each["trouble"]):
        names = ", ".join(rows.record_ids)
        error = TrainingError(
            f"what the starting model says of these records is not finite: {names}; look at them, or at its weights"
        )
        raise_together(accelerator, None if is_finite else error)
    # Each line: a record's number, or -1, and its answers; NaN for those that are not here.
    lines = torch.full((int(max(each["records"])), 1 + R), torch.nan, dtype=torch.float64)
    lines[:, 0] = -1
    lines[:P, 0] = torch.tensor(rows.numbers, dtype=torch.float64)
    for column, role in enumerate(rows.roles):
        is_there_P = rows.counts_PR[:, column] > 0
        values_P = torch.where(is_there_P, found_PR[:, column].cpu().double(), torch.nan)
        lines[:P, 1 + roles.index(role)] = values_P
    gathered = accelerator.gather(lines.to(accelerator.device)).cpu().numpy()
    if not accelerator.is_main_process:
        return
    for number, *values in gathered[gathered[:, 0] >= 0]:
        here = ~np.isnan(values)
        table[int(number), here] = np.asarray(values)[here]
