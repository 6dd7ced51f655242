"""Checkpoints: all that a run needs to go on as if it had never stopped.

    checkpoints/step-000100/model.safetensors · training.pt (optimizer) · state.json
    checkpoints/latest      the name of the newest whole one

A checkpoint is written beside its name, renamed, and only then pointed at: whatever kills the process, `latest` leads to a
whole one. The learning rate, the order of the data and what dropout leaves out are functions of the step's number, so they need
no state. Nothing is unpickled but tensors and numbers.
"""

import json
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from trainer.errors import CheckpointError
from trainer.run_folder import write_json

UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
    UnpicklingError,
    SafetensorError,
)
"""What the readers of a damaged checkpoint's files raise, between them."""


def save(folder: Path, model: nn.Module, optimizer: Any, *, step: int, keep: int) -> Path:
    """Write a checkpoint after `step` steps, and delete all but the newest `keep`."""
    target = folder / _name(step)
    if newest(folder) == target:
        return target
    staged = folder / f".{target.name}"
    for leftover in (staged, target):  # not pointed at, so of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    staged.mkdir(parents=True)

    save_model(model, str(staged / "model.safetensors"))
    torch.save({"optimizer": optimizer.state_dict()}, staged / "training.pt")
    write_json(staged / "state.json", {"step": step})

    staged.rename(target)
    pointer = folder / ".latest"
    pointer.write_text(target.name + "\n", encoding="utf-8")
    pointer.replace(folder / "latest")
    done = sorted((_step(path), path) for path in folder.glob("step-*") if _step(path) <= step)
    for _, old in done[:-keep]:
        shutil.rmtree(old)
    return target


def newest(folder: Path) -> Path | None:
    pointer = folder / "latest"
    return folder / pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None


def restore(checkpoint: Path, model: nn.Module, optimizer: Any) -> int:
    """Load a checkpoint and return how many steps it has learned.

    Raises:
        CheckpointError: a file of it is missing, damaged, or of another model.
    """
    try:
        load_model(model, str(checkpoint / "model.safetensors"))
        training = torch.load(checkpoint / "training.pt", map_location="cpu", weights_only=True)
        optimizer.load_state_dict(training["optimizer"])
        return int(json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["step"])
    except UNREADABLE as error:
        raise CheckpointError(
            f"the checkpoint {str(checkpoint)!r} cannot be read ({error}); write the name of another one "
            f"into {str(checkpoint.with_name('latest'))!r}, or delete the folder to start over"
        ) from error


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
