"""What a run has to compute with, what it chooses of that, and how its processes wait for and tell each other.

    join ─► Accelerator: device, precision, the other processes ─► choose_strategy, when the model's size is known ─► said: one line

Processes wait for the leading one (rank 0) through the store by which they found each other, and not in a collective operation:
that has a time limit, and to freeze millions of records, to train a tokenizer or to write a model takes as long as it takes.

What goes wrong is told once, on the leading process's screen; the others leave with the same exit code.
"""

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import distributed

from mimicit.errors import MimicitError
from trainer.config import Run
from trainer.errors import TrainingError
from trainer.strategy import Sharded, Strategy
from trainer.trainable import PartRow

TIMEOUT = timedelta(hours=1)
"""That one process may keep others waiting in a step. One that dies is noticed at once, by what started it."""
ROOM = 0.7
"""Share of a device's memory that weights, gradients and averages may take; the rest is for activations."""
GOODBYE = 30.0
"""Seconds that the leading process waits at the end for the others to have noticed it."""
_meetings = itertools.count()
"""Every process comes to the same places in the same order, so a number is a name."""


def join(run: Run, *, timeout: timedelta = TIMEOUT) -> Accelerator:
    """Take a device, and find the other processes of the run.

    Raises:
        TrainingError: they were started, but do not know each other, so that each would train alone in the same folder; or the
            device cannot do what the recipe wants.
    """
    if "RANK" in os.environ and not torch.cuda.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    if run.precision == "fp16" and not torch.cuda.is_available():
        raise TrainingError("run.precision is fp16, which needs a GPU; use bf16 or no")
    # accelerate keeps the precision of a process's first run.
    AcceleratorState._reset_state()
    with _without("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        accelerator = Accelerator(
            mixed_precision=precision_of(run),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)],
        )
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != world:
        raise TrainingError(
            f"{world} processes were started, but each trains for itself on {accelerator.device}; "
            "start them with `syphus train … --devices N`, torchrun, or `accelerate launch`"
        )
    return accelerator


def precision_of(run: Run) -> str:
    if run.precision != "auto":
        return run.precision
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched in ("bf16", "fp16"):
        return launched
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def choose_strategy(accelerator: Accelerator, run: Run, whole: PartRow) -> tuple[Strategy, str]:
    """Choose how the devices share the work, and say in one line what was chosen and why.

    Args:
        accelerator: As `join` gave it.
        run: Of the recipe.
        whole: The last row of `trainable.table`.

    Raises:
        TrainingError: the launcher was told otherwise than the recipe, or a package is missing.
    """
    launched = strategy_of_launcher()
    if launched and run.strategy not in ("auto", launched):
        raise TrainingError(
            f"run.strategy is {run.strategy}, but `accelerate launch` was told {launched}; leave one of them out"
        )
    name: str = launched or run.strategy
    why = "as accelerate launch was told" if launched else "as the recipe says"
    needed = whole.weight_bytes + whole.training_bytes
    if name == "auto":
        name, why = _fitting(accelerator, needed)
    many = accelerator.num_processes
    chosen: Strategy
    if many == 1 and not name.startswith("zero"):
        chosen = Strategy(accelerator)
    elif name == "fsdp2":
        chosen = Sharded(accelerator)
    elif name.startswith("zero"):
        from trainer.zero import Zero

        chosen = Zero(accelerator, stage=int(name[-1]))
    else:
        chosen = Strategy(accelerator)
    said = [_devices(accelerator), _precision(accelerator, run)]
    if many > 1 or name.startswith("zero"):
        said.append(f"{name} ({why})")
    if idle := _idle(accelerator):
        said.append(idle)
    return chosen, " · ".join(said)


def strategy_of_launcher() -> str | None:
    """Return the strategy in the config file of `accelerate launch`, if there is one."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return "fsdp2"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return None
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file.lower() == "none":
        return f"zero{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', '2')}"
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    return f"zero{settings.get('zero_optimization', {}).get('stage', 2)}"


def _fitting(accelerator: Accelerator, needed: int) -> tuple[str, str]:
    """Return ddp where a device holds all that training needs, else fsdp2, and why."""
    takes = f"weights and what training them takes are {needed / 2**30:,.1f} GiB"
    if accelerator.device.type != "cuda":
        return "ddp", f"{takes}, and processes on a CPU share its memory"
    room = torch.cuda.get_device_properties(accelerator.device).total_memory
    has = f"{takes}, a device has {room / 2**30:,.0f}"
    return ("ddp" if needed <= ROOM * room else "fsdp2"), has


def _devices(accelerator: Accelerator) -> str:
    many, device = accelerator.num_processes, accelerator.device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return f"{many} × {name}" if many > 1 else f"on {name}"
    if many > 1:
        return f"{many} processes on {device.type.upper()}"
    if device.type == "cpu":
        return "on the CPU" + ("" if torch.cuda.is_available() else ", for there is no GPU")
    return f"on {device.type.upper()}"


def _precision(accelerator: Accelerator, run: Run) -> str:
    chosen = accelerator.mixed_precision
    name = {"no": "float32"}.get(chosen, f"{chosen} activations")
    if run.precision != "auto":
        return f"{name} (run.precision)"
    return f"{name} (auto)"


def _idle(accelerator: Accelerator) -> str | None:
    """Say how to use GPUs that this run, in one process, leaves idle."""
    if accelerator.device.type != "cuda" or accelerator.num_processes > 1:
        return None
    there = torch.cuda.device_count()
    if there == 1:
        return None
    return f"{there - 1} other GPUs are idle; all work with: syphus train … --devices {there}"


def on_any(accelerator: Accelerator, *flags: bool) -> list[bool]:
    """Tell of each flag whether it is so on any process: all must stop after the same step, or the others wait for ever."""
    each = of_all(accelerator, {str(nth): flag for nth, flag in enumerate(flags)})
    return [any(of_one) for of_one in each.values()]


def of_all(accelerator: Accelerator, mine: Mapping[str, float]) -> dict[str, list[float]]:
    """Return some numbers of every process, those of rank 0 first, in one exchange."""
    if accelerator.num_processes == 1:
        return {name: [float(value)] for name, value in mine.items()}
    row_1K = torch.tensor([[float(one) for one in mine.values()]], dtype=torch.float64)
    rows_WK: list[list[float]] = accelerator.gather(row_1K.to(accelerator.device)).tolist()
    return {name: list(each) for name, each in zip(mine, zip(*rows_WK, strict=True), strict=True)}


def raise_together(accelerator: Accelerator, error: MimicitError | None) -> NoReturn:
    """Stop every process, for one of them at least met an error; the leading one tells.

    Raises:
        MimicitError: on the leading process: its own, or one with the sentences of the others.
        SystemExit: on the others.
    """
    if accelerator.num_processes == 1:
        assert error is not None
        raise error
    sentences: list[Any] = [None] * accelerator.num_processes
    distributed.all_gather_object(sentences, None if error is None else str(error))
    if not accelerator.is_main_process:
        leave()
    told = list(dict.fromkeys(one for one in sentences if one is not None))
    if error is not None and len(told) == 1:
        raise error
    raise TrainingError("; ".join(told))


def leave() -> NoReturn:
    """End a process about whose error the leading one tells.

    Raises:
        SystemExit: always; `launch.end` says how such a process ends.
    """
    sys.exit(1)


@contextmanager
def told_once() -> Iterator[None]:
    """Let only the leading process tell of what goes wrong in the same way everywhere."""
    try:
        yield
    except MimicitError:
        if os.environ.get("RANK", "0") != "0":
            leave()
        raise


@contextmanager
def leader_first(accelerator: Accelerator) -> Iterator[None]:
    """Let the leading process do something before the others, however long it takes; they do it after, and find it done.

    Raises:
        SystemExit: on the others, where the leading one failed.
    """
    if accelerator.num_processes == 1:
        yield
        return
    place = _Place()
    if not accelerator.is_main_process:
        place.wait()
        with told_once():
            yield
        return
    try:
        yield
    except BaseException:
        place.leave(b"failed")
        raise
    place.leave(b"done")


def part(accelerator: Accelerator) -> None:
    """End the run together: the leading process holds what the others ask, so it goes last."""
    if accelerator.num_processes == 1:
        return
    others = [_Place() for _ in range(1, accelerator.num_processes)]
    if accelerator.is_main_process:
        for place in others:
            place.wait(at_most=GOODBYE)
    else:
        others[accelerator.process_index - 1].leave(b"done")


class _Place:
    """Where the leading process leaves a word that the others wait for."""

    def __init__(self) -> None:
        self._store = distributed.distributed_c10d._get_default_store()
        self._key = f"syphus/{next(_meetings)}"

    def leave(self, word: bytes) -> None:
        self._store.set(self._key, word)  # type: ignore[arg-type]

    def wait(self, *, at_most: float = math.inf) -> None:
        """Wait for the word, for so many seconds; end this process where the leading one failed."""
        until = time.monotonic() + at_most
        try:
            while not self._store.check([self._key]):
                if time.monotonic() > until:
                    return
                time.sleep(0.05)
            word = self._store.get(self._key)
        except RuntimeError:  # the leading process holds the store, and has ended
            leave()
        if word != b"done":
            leave()


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Hide what a launcher says of strategies from accelerate: they are made here."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
