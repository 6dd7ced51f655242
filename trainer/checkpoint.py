"""Checkpoints: all that a run needs to go on as if it had never stopped.

    checkpoints/step-000100/model.safetensors   what is trained, or began at random: each tensor once
                            training.pt         what the optimizer remembers
                            state.json          step, held-out loss, and of each file its length and CRC-32
    checkpoints/latest      a link to the newest whole one; a file with its name where there are no links
    checkpoints/best        a link to the one with the lowest held-out loss, with `run.keep_best`

A checkpoint is written beside its name, brought to disk, renamed, and only then pointed at: whatever kills the process or the power,
`latest` leads to a whole one. One that was damaged later is found by its lengths and sums, moved aside, and the one before is
taken. The learning rate, the order of the data and what dropout leaves out are functions of the step's number, so they need no
state. Nothing is unpickled but tensors and numbers.
"""

import errno
import json
import math
import shutil
import zlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainer.errors import CheckpointError
from trainer.run_folder import in_bytes, sync, write_json
from trainer.state import NOTHING, Frozen, State, kept

WEIGHTS = "model.safetensors"
TRAINING = "training.pt"
CHUNK = 1 << 24
"""Bytes that are read at once."""
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    UnpicklingError,
    SafetensorError,
)
"""What the readers of a damaged checkpoint's files raise, between them."""
UNWRITABLE = (OSError, RuntimeError, SafetensorError)
"""What the writers raise where a disk is full, or a folder not to be written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    path: Path
    step: int
    """How many steps it has learned."""
    held_out: float | None = None
    frozen: str = ""
    """Digest of the weights that it leaves out; empty: none."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """Bytes and CRC-32 of each, by name."""

    def load_weights(self, model: nn.Module, frozen: Frozen = NOTHING) -> None:
        """Give a model the weights; it has those that are left out.

        Raises:
            CheckpointError: they are of another model, or were trained beside other frozen weights.
        """
        if self.frozen and self.frozen != frozen.digest:
            raise CheckpointError(
                f"the checkpoint {str(self.path)!r} holds only what is trained, and the weights beside which it was trained are not "
                "those that the recipe's model has now; put back the model from which this run began, or start over in another folder"
            )
        weights = self._read(lambda: load_file(self.path / WEIGHTS))
        wanted = kept(model, without=frozen.names if self.frozen else ())
        there = model.state_dict(keep_vars=True)
        unlike = sorted(
            name
            for name in wanted | weights.keys()
            if name not in weights or name not in there or weights[name].shape != there[name].shape
        )
        if unlike:
            raise CheckpointError(
                f"the checkpoint {str(self.path)!r} is of another model: {len(unlike):,} weights are missing, surplus or of another "
                f"shape, the first is {unlike[0]!r}"
            )
        with torch.no_grad():
            for name, weight in weights.items():
                there[name].copy_(weight)

    def load_training(self, load: Callable[[Mapping[str, Any]], None]) -> None:
        """Give an optimizer what it remembered; `load` takes it.

        Raises:
            CheckpointError: it cannot be read, or is of another model.
        """
        path = self.path / TRAINING
        self._read(
            lambda: load(torch.load(path, map_location="cpu", weights_only=True)["optimizer"])
        )

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except UNREADABLE as error:
            raise CheckpointError(
                f"the checkpoint {str(self.path)!r} cannot be read ({error}); delete its folder to go on from the one before"
            ) from error

    def damage(self) -> str | None:
        """Read all of it once, and say what is wrong with it, if anything is."""
        for name, wanted in self.files.items():
            path = self.path / name
            try:
                there = path.stat().st_size
                if there != wanted["bytes"]:
                    return f"{name} has {there:,} of {wanted['bytes']:,} bytes"
                if _sum(path) != wanted["crc32"]:
                    return f"the contents of {name} have changed"
            except OSError as error:
                return f"{name} cannot be read: {error.strerror}"
        return None


def save(
    folder: Path,
    state: State,
    *,
    step: int,
    keep: int,
    held_out: float | None = None,
    keep_best: bool = False,
) -> Path:
    """Write a checkpoint after `step` steps, and delete all but the newest `keep`, and the best.

    Args:
        folder: `checkpoints` of the run.
        state: Of the model and its optimizer.
        step: Steps learned so far.
        keep: How many of the newest stay.
        held_out: The held-out loss after this step, if it was measured.
        keep_best: Let the one with the lowest stay, too.

    Raises:
        CheckpointError: it could not be written. The ones before are whole.
    """
    target = folder / _name(step)
    staged = folder / f".{target.name}"
    try:
        _clear_up(folder)
        _need_room(folder, state)
        staged.mkdir(parents=True)
        _write(staged, state)
        if held_out is not None and not math.isfinite(held_out):
            held_out = None  # never the best, and JSON has no word for it
        said = {"step": step, "held_out": held_out, "frozen": state.frozen.digest}
        _publish(staged, target, said)
        _prune(folder, step=step, keep=keep, keep_best=keep_best)
    except UNWRITABLE as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise _unsaved(folder, step, error) from error
    return target


def note(folder: Path, *, step: int, held_out: float) -> None:
    """Add to a checkpoint that a stopped run left the held-out loss after its step, which was measured when the run went on."""
    state = folder / _name(step) / "state.json"
    if _said(state.parent) is not None and math.isfinite(held_out):
        said = json.loads(state.read_text(encoding="utf-8"))
        write_json(state, said | {"held_out": held_out})


def newest(folder: Path, *, say: Callable[[str], None], check: bool = True) -> Checkpoint | None:
    """Return the newest whole checkpoint; a damaged one is moved aside, which is said.

    Args:
        folder: `checkpoints` of the run.
        say: Takes the sentence.
        check: Read all of it; where several processes go on, only one needs to, before the others.

    Raises:
        CheckpointError: there are checkpoints, but all of them are damaged.
    """
    latest = _pointed_at(folder / "latest")
    if latest is None:  # or a copy made a folder of the link, or left it out
        latest = next(reversed(_there(folder)), None)
    if latest is None:
        return None
    # What lies beyond `latest` was never pointed at, or is not wanted any more.
    older = [path for path in _there(folder) if _step(path) < _step(latest)]
    damaged: dict[Path, str] = {}
    for path in [latest, *reversed(older)]:
        found, trouble = _opened(path, check=check)
        if found is not None:
            for one in damaged:
                aside = _set_aside(one)
                say(
                    f"the checkpoint of step {_step(one)} is damaged ({damaged[one]}){aside}; going on from that of step {found.step}"
                )
            if damaged:
                _point(folder / "latest", path)
            return found
        damaged[path] = trouble
    told = "; ".join(f"that of step {_step(path)}: {why}" for path, why in damaged.items())
    raise CheckpointError(
        f"no checkpoint in {str(folder)!r} is whole ({told}); restore one from a copy, or delete the run's folder to start over"
    )


def _set_aside(damaged: Path) -> str:
    if not damaged.exists():
        return ""
    aside = damaged.with_name(f"damaged-{damaged.name}")
    shutil.rmtree(aside, ignore_errors=True)
    damaged.rename(aside)
    return f", and lies in {str(aside)!r} now"


def _write(staged: Path, state: State) -> None:
    weights = {name: weight.contiguous() for name, weight in state.weights.items()}
    save_file(weights, staged / WEIGHTS)
    torch.save(dict(state.training), staged / TRAINING)
    for name in (WEIGHTS, TRAINING):
        sync(staged / name)


def _publish(staged: Path, target: Path, said: Mapping[str, Any]) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "crc32": _sum(path)}
        for path in sorted(staged.iterdir())
    }
    write_json(staged / "state.json", {**said, "files": files})
    if target.exists():  # not pointed at, or damaged: the run has come by here again
        shutil.rmtree(target)
    staged.rename(target)
    sync(target.parent)
    _point(target.parent / "latest", target)


def _prune(folder: Path, *, step: int, keep: int, keep_best: bool) -> None:
    done = [path for path in _there(folder) if _step(path) <= step]
    best = _best(done) if keep_best else None
    if best is not None:
        _point(folder / "best", best)
    for old in done[:-keep]:
        if old != best:
            shutil.rmtree(old)


def _best(paths: Collection[Path]) -> Path | None:
    measured = [
        (found.held_out, -found.step, path)
        for path in paths
        if (found := _said(path)) is not None and found.held_out is not None
    ]
    return min(measured)[-1] if measured else None


def _need_room(folder: Path, state: State) -> None:
    """Find room for a checkpoint, if need be by deleting those that it will take the place of.

    Raises:
        OSError: there is too little all the same; nothing was written.
    """
    needed = _size(state.weights) + _size(state.training)
    folder.mkdir(parents=True, exist_ok=True)
    stay = {_pointed_at(folder / "latest"), _pointed_at(folder / "best")}
    for path in _there(folder):
        if needed <= shutil.disk_usage(folder).free:
            return
        if path not in stay:
            shutil.rmtree(path)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"it needs {in_bytes(needed)}, and {in_bytes(free)} are free", str(folder)
        )


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def _unsaved(folder: Path, step: int, trouble: Exception) -> CheckpointError:
    why = str(trouble).partition("\n")[0]
    if isinstance(trouble, OSError) and trouble.strerror:
        why = trouble.strerror
    latest = _pointed_at(folder / "latest")
    safe = f"that of step {_step(latest)} is whole" if latest is not None else "there is none yet"
    return CheckpointError(
        f"no checkpoint was written after step {step} ({why}); {safe}; free room where {str(folder)!r} lies"
    )


def _clear_up(folder: Path) -> None:
    """Delete what a process that was killed was writing."""
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _opened(path: Path, *, check: bool) -> tuple[Checkpoint | None, str]:
    found = _said(path)
    if found is None:
        return None, "state.json is missing or cannot be read"
    trouble = found.damage() if check else None
    return (None, trouble) if trouble else (found, "")


def _said(path: Path) -> Checkpoint | None:
    """Return what a checkpoint says of itself; older ones do not say their sums."""
    try:
        said = json.loads((path / "state.json").read_text(encoding="utf-8"))
        held_out = said.get("held_out")
        return Checkpoint(
            path,
            int(said["step"]),
            held_out=None if held_out is None else float(held_out),
            frozen=said.get("frozen") or "",
            files=said.get("files", {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _there(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the oldest first."""
    return sorted((path for path in folder.glob("step-*") if path.name[5:].isdecimal()), key=_step)


def _point(link: Path, target: Path) -> None:
    """Let a link lead to a checkpoint beside it, from one moment to the next."""
    staged = link.with_name(f".{link.name}")
    with suppress(FileNotFoundError):
        staged.unlink()
    try:
        staged.symlink_to(target.name)
    except OSError:  # a file system that has none
        staged.write_text(target.name + "\n", encoding="utf-8")
        sync(staged)
    if link.is_dir() and not link.is_symlink():  # a copy that follows links made a folder of it
        shutil.rmtree(link)
    staged.replace(link)
    sync(link.parent)


def _pointed_at(link: Path) -> Path | None:
    if link.is_symlink():
        name = str(link.readlink())
    elif link.is_file():
        name = link.read_text(encoding="utf-8").strip()
    else:
        return None
    path = link.with_name(Path(name).name)
    return path if path.name.startswith("step-") and path.name[5:].isdecimal() else None


def _sum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found = zlib.crc32(chunk, found)
    return found


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
