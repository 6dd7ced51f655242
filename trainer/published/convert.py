"""Turn one published checkpoint into a folder of ours.

assemble (no tensor is read) ─► fit ─► plan ─► config, code, tokenizer beside the folder ─► write_weights ─► rename
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import torch
from transformers.dynamic_module_utils import custom_object_save

from trainer.errors import CheckpointError
from trainer.models.fuyu_processor import FuyuProcessor
from trainer.models.otter_processor import OtterProcessor
from trainer.published.assemble import Assembled, Overrides, assemble
from trainer.published.planning import plan
from trainer.published.reading import read_json, some
from trainer.published.sources import Beside
from trainer.published.writing import Planned, write_weights
from trainer.quiet import quiet

Dtype = Literal["keep", "bf16", "fp32"]
DTYPES: dict[str, torch.dtype | None] = {
    "keep": None,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}
SHARD_BYTES = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Converted:
    folder: str
    family: str
    backbone: str
    tensors: int
    parameters: int
    bytes: int
    notes: tuple[str, ...]


def convert(
    source: Path,
    out: Path,
    beside: Beside | None = None,
    *,
    dtype: Dtype = "keep",
    shard_bytes: int = SHARD_BYTES,
    overrides: Overrides | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Write a published checkpoint as a folder that `from_pretrained` loads.

    Args:
        source: A folder, or a file of trained tensors.
        out: Must not exist, or be empty. It is there when all of it is.
        beside: The parts that `source` lacks.
        dtype: Of the written weights.
        shard_bytes: Of one file, at most, unless a single tensor is larger.
        overrides: Sizes that no file says.
        progress: Told the bytes that were written, and those that will be.

    Raises:
        CheckpointError: something is missing, unknown, unsafe or contradictory; nothing is left behind.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{str(out)!r} is there already; give a new folder with --out")
    made = assemble(source, beside or Beside(), overrides or {})
    if made.tokenizer is None:
        raise CheckpointError(
            f"{made.sources.where} comes without a tokenizer, whose ids it needs; give the folder of its own with --tokenizer"
        )
    made.fit.check(made.sources.where)
    planned = plan(made.sources, made.adapters, made.target, dtype=DTYPES[dtype])
    total = sum(tensor.bytes for tensor in planned)
    _check_space(out, total)
    with _staged(out) as folder:
        done = 0

        def written(count: int) -> None:
            nonlocal done
            done += count
            if progress:
                progress(done, total)

        # What is written in an instant first: if it cannot be, nobody has waited for the weights.
        _write_rest(folder, made, _main_dtype(planned))
        broken = write_weights(folder, planned, shard_bytes=shard_bytes, written=written)
    return Converted(
        folder=str(out),
        family=made.sources.family,
        backbone=made.config.text_config.model_type,
        tensors=len(planned),
        parameters=sum(prod(tensor.shape) for tensor in planned),
        bytes=total,
        notes=(*made.notes, *_broken_note(broken)),
    )


def _broken_note(names: list[str]) -> list[str]:
    return [f"not all numbers are finite in {some(names)}"] if names else []


def _main_dtype(planned: list[Planned]) -> torch.dtype:
    """Return the dtype of most of the bytes."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in planned:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.bytes
    return max(sizes, key=lambda dtype: sizes[dtype])


def _write_rest(folder: Path, made: Assembled, dtype: torch.dtype) -> None:
    """Write all but the weights: config, code, tokenizer and how pictures become pixels."""
    config, kind = made.config, made.kind
    assert made.tokenizer is not None
    with quiet():
        config.dtype = dtype
        config.architectures = [kind.__name__]
        with torch.device("meta"):
            model = kind(config)
        if getattr(kind, "_auto_class", None):
            custom_object_save(model, folder, config=config)
        config.save_pretrained(folder)
        if made.sources.family == "fuyu":
            _fuyu_rest(folder, made)
            return
        flamingo = made.sources.flamingo
        OtterProcessor(
            made.tokenizer,
            image_size=config.vision_config.image_size,
            geometry="crop" if flamingo else "squash",
            layout="flamingo" if flamingo else "otter",
            max_frames=config.max_num_frames,
        ).save_pretrained(folder)


def _fuyu_rest(folder: Path, made: Assembled) -> None:
    """Write a Fuyu's processor, and what ends an answer: its config says 2, which OtterHD never writes."""
    home = made.sources.home
    pictures = home / "preprocessor_config.json"
    size = read_json(pictures).get("size") if pictures.is_file() else None
    try:
        processor = FuyuProcessor(
            made.tokenizer, patch_size=made.config.patch_size, **({"size": size} if size else {})
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{str(made.sources.tokenizer)!r} and {str(pictures)!r} make no processor: {error}"
        ) from error
    processor.save_pretrained(folder)
    path = home / "generation_config.json"
    settings = read_json(path) if path.is_file() else {}
    said = settings.get("eos_token_id")
    others = (id for id in (said if isinstance(said, list) else [said]) if isinstance(id, int))
    settings["eos_token_id"] = sorted({processor.end_id, *others})
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "generation_config.json").write_text(text, encoding="utf-8")


def _check_space(out: Path, needed: int) -> None:
    place = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise CheckpointError(
            f"{str(out)!r} needs {needed / 1e9:,.1f} GB, but {free / 1e9:,.1f} GB are free there"
        )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that takes its place when it is whole, and vanishes when it is not.

    Raises:
        CheckpointError: another process is writing it; what one that was killed left behind is thrown away.
    """
    staged = out.absolute().with_name(f".{out.absolute().name}.partial")
    staged.mkdir(parents=True, exist_ok=True)
    lock = os.open(staged, os.O_RDONLY)
    try:
        _claim(lock, staged, out)
        try:
            for left in staged.iterdir():
                left.unlink() if left.is_file() or left.is_symlink() else shutil.rmtree(left)
            yield staged
            if out.exists():
                out.rmdir()  # empty
            staged.rename(out)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def _claim(lock: int, staged: Path, out: Path) -> None:
    """Lock a folder, until the process ends in whatever way; it may just have been renamed by who had it before."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.path.samestat(os.fstat(lock), staged.stat())
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        raise CheckpointError(
            f"another process is converting to {str(out)!r}; wait for it, or give another folder with --out"
        )
