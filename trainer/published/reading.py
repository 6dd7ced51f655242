"""What is in a checkpoint's files, without running or reading them.

Shards are safetensors, or the zip files of `torch.save`. The latter hold a pickle, which could run any program: it is read by
torch's restricted unpickler, which knows tensors and plain values only, and its tensors are mapped into memory, so that
opening a file reads its table of contents and no more.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mimicit.inline import short
from trainer.errors import CheckpointError

NESTED = ("model_state_dict", "model")
"""Under which training scripts put the tensors, beside the optimizer's."""
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SHARDS = (
    "model.safetensors",
    "model-*-of-*.safetensors",
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
)
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""As safetensors calls them; tensors of other types are not read."""
_PREFIX = "module."
"""What DistributedDataParallel puts before all names; OpenFlamingo's training script saves it."""
_POINTER_BYTES = 1024
"""More than a pointer of Git LFS has."""
_LONGEST = 120
"""Letters of a name that a message shows."""
_SHOWN = 5
_SAFETENSORS = ".safetensors"
_WHOLE = "it must be a whole file that torch.save wrote, of torch 1.6 or later"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file. `Reader.tensor` reads it."""

    name: str
    """As the file has it."""
    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


Weights = dict[str, Stored]


class Reader:
    """Reads tensors; one file is open at a time, the last one that was asked for."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._get: Callable[[str], Tensor] | None = None

    def tensor(self, stored: Stored) -> Tensor:
        if self._get is None or self._file != stored.file:
            self.close()
            self._get = _opened(stored.file)
            self._file = stored.file
        return self._get(stored.name)

    def close(self) -> None:
        self._file, self._get = None, None


def weights_of(path: Path) -> Weights:
    """Return what the weights of a folder, or of one file, are, without DistributedDataParallel's prefix.

    Raises:
        CheckpointError: a file is missing, damaged or unsafe, names a file outside of the folder, or a tensor is there twice.
    """
    if path.is_file():
        return _without_prefix(_contents(path))
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint at {str(path)!r}")
    index = next((path / name for name in INDEXES if (path / name).is_file()), None)
    listed = _listed(index) if index else None
    files = sorted({path / name for name in listed.values()}) if listed else _shards(path)
    found: Weights = {}
    for file in files:
        contents = _contents(file)
        if twice := found.keys() & contents.keys():
            raise CheckpointError(
                f"{str(file)!r} holds tensors that {str(found[min(twice)].file)!r} holds, too: {some(twice)}"
            )
        found |= contents
    if listed is not None and index is not None:
        _check_index(index, listed, found)
    return _without_prefix(found)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object in which no name occurs twice.

    Raises:
        CheckpointError: there is none, or it is not one.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{str(path)!r} cannot be read: {reason}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{str(path)!r} is not a JSON object")
    return value


def some(names: Iterable[str]) -> str:
    """List the first few names, and how many there are; a terminal obeys none of them, whatever is in them."""
    ordered = sorted(names)
    more = f", … ({len(ordered):,} in all)" if len(ordered) > _SHOWN else ""
    return ", ".join(short(name, _LONGEST) for name in ordered[:_SHOWN]) + more


def _without_prefix(weights: Weights) -> Weights:
    if weights and all(name.startswith(_PREFIX) for name in weights):
        return {name.removeprefix(_PREFIX): stored for name, stored in weights.items()}
    return weights


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has {some({n for n in names if names.count(n) > 1})} twice")
    return found


def _listed(index: Path) -> dict[str, str]:
    """Return which file an index says that each tensor is in."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise CheckpointError(f"{str(index)!r} has no weight_map, so it does not say where what is")
    for name in listed.values():
        if not isinstance(name, str) or _leaves(name):
            raise CheckpointError(
                f"{str(index)!r} names the file {name!r}, which is outside of its folder; nothing was read"
            )
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{str(index)!r} names the file {name!r}, which is not there")
    return listed


def _leaves(name: str) -> bool:
    """Say whether a path leads out of the folder that it is relative to, on any system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    rooted = posix.is_absolute() or bool(windows.root) or bool(windows.drive)
    return rooted or ".." in windows.parts or not windows.parts


def _check_index(index: Path, listed: dict[str, str], found: Weights) -> None:
    if absent := listed.keys() - found.keys():
        raise CheckpointError(f"{str(index)!r} lists tensors that no file has: {some(absent)}")
    if unlisted := found.keys() - listed.keys():
        raise CheckpointError(
            f"the files hold tensors that {str(index)!r} does not list: {some(unlisted)}"
        )
    if moved := {n for n in listed if index.parent / listed[n] != found[n].file}:
        raise CheckpointError(
            f"tensors are in other files than {str(index)!r} says: {some(moved)}; was the index of another checkpoint?"
        )


def _shards(folder: Path) -> list[Path]:
    """Return the files of a folder without an index: one, or numbered ones that are all there."""
    for pattern in SHARDS:
        if files := sorted(folder.glob(pattern)):
            expected = re.search(r"-of-(\d+)\.", files[0].name)
            if expected and len(files) != int(expected[1]):
                raise CheckpointError(
                    f"{str(folder)!r} has {len(files)} of the {int(expected[1])} files that {files[0].name!r} is one of"
                )
            return files
    raise CheckpointError(
        f"{str(folder)!r} holds no weights: no model*.safetensors and no pytorch_model*.bin"
    )


def _contents(file: Path) -> Weights:
    if _is_pointer(file):
        raise CheckpointError(
            f"{str(file)!r} is a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`"
        )
    if file.suffix == _SAFETENSORS:
        try:
            with safe_open(file, framework="pt") as opened:
                slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
                return {
                    name: Stored(name, file, tuple(part.get_shape()), _dtype(part, file))
                    for name, part in slices.items()
                }
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{str(file)!r} cannot be read: {error}") from error
    return {
        name: Stored(name, file, tuple(value.shape), value.dtype)
        for name, value in _unpickled(file).items()
    }


def _is_pointer(file: Path) -> bool:
    is_small = file.is_file() and file.stat().st_size < _POINTER_BYTES
    return is_small and file.read_bytes().startswith(b"version https://git-lfs")


def _dtype(part: Any, file: Path) -> torch.dtype:
    name = part.get_dtype()
    if name not in DTYPES:
        raise CheckpointError(f"{str(file)!r} holds tensors of the type {name}, which is not known")
    return DTYPES[name]


def _opened(file: Path) -> Callable[[str], Tensor]:
    if file.suffix == _SAFETENSORS:
        get: Callable[[str], Tensor] = safe_open(file, framework="pt").get_tensor
        return get
    return _unpickled(file).__getitem__


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of `torch.save`, mapped and not read."""
    _check_archive(file)
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"{str(file)!r} is not safe to open, and was not opened: {_asks_for(str(error))}"
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its instructions lead to
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise CheckpointError(f"{str(file)!r} cannot be read ({said}); {_WHOLE}") from error
    return _tensors(loaded, file)


def _check_archive(file: Path) -> None:
    """Refuse what `torch.save` never writes: a zip file with something compressed in it.

    Mapped tensors would be the compressed bytes, and a table of contents of a few kilobytes could fill all memory.
    """
    try:
        with ZipFile(file) as archive:
            squeezed = [part.filename for part in archive.infolist() if part.compress_type]
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{str(file)!r} cannot be read ({reason}); {_WHOLE}") from error
    if squeezed:
        raise CheckpointError(
            f"{str(file)!r} is compressed, which torch.save never does, so nothing of it was read: {some(squeezed)}"
        )


def _asks_for(said: str) -> str:
    """Say what an unsafe pickle wanted to call, as far as torch says it."""
    named = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+)|callable ([\w.]+)", said)
    wanted = next((name for name in named.groups() if name), "") if named else ""
    return (
        f"it holds more than tensors and asks Python for {wanted!r}"
        if wanted
        else "it holds more than tensors and plain values"
    )


def _tensors(loaded: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(loaded, dict):
        loaded = next((loaded[n] for n in NESTED if isinstance(loaded.get(n), dict)), loaded)
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{str(file)!r} holds no table of tensors")
    odd = {str(name) for name, value in loaded.items() if not _plain(name, value)}
    if odd:
        raise CheckpointError(f"{str(file)!r} holds values that are not plain tensors: {some(odd)}")
    return loaded


def _plain(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and type(value) in (Tensor, torch.nn.Parameter)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.dtype in DTYPES.values()
        # Else one number can claim to be terabytes of them.
        and value.numel() * value.itemsize <= value.untyped_storage().nbytes()
    )
