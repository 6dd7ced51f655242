"""Sharded safetensors, one tensor in memory at a time.

The format (https://github.com/huggingface/safetensors): eight bytes with the length of a JSON table, the table (name to dtype,
shape, and where its bytes begin and end), the bytes. All of the table is known before the first tensor is read, which is
why a shard need not be in memory to be written.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from trainer.published.reading import DTYPES, Reader, Stored

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    source: Stored
    """Where the most of it comes from."""
    make: Callable[[Reader], Tensor]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def write_weights(
    folder: Path, planned: Sequence[Planned], *, shard_bytes: int, written: Callable[[int], None]
) -> list[str]:
    """Write tensors, file by file of where they come from, into files of at most `shard_bytes` (or one tensor).

    `written` is told the bytes of each tensor that was. Returns the names of those that hold NaN or infinity.
    """
    shards = list(_shards(planned, shard_bytes))
    names = [
        f"model-{nth:05d}-of-{len(shards):05d}.safetensors" for nth in range(1, len(shards) + 1)
    ]
    if len(shards) == 1:
        names = ["model.safetensors"]
    reader = Reader()
    broken: list[str] = []
    for name, shard in zip(names, shards, strict=True):
        broken += _write_shard(folder / name, shard, reader, written)
    reader.close()
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(tensor.bytes for tensor in planned)},
            "weight_map": {
                t.name: n for n, shard in zip(names, shards, strict=True) for t in shard
            },
        }
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return broken


def _shards(planned: Sequence[Planned], limit: int) -> Iterator[list[Planned]]:
    shard: list[Planned] = []
    size = 0
    # By file, so that each is opened once.
    for tensor in sorted(planned, key=lambda tensor: str(tensor.source.file)):
        if shard and size + tensor.bytes > limit:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.bytes
    if shard:
        yield shard


def _write_shard(
    path: Path, shard: list[Planned], reader: Reader, written: Callable[[int], None]
) -> list[str]:
    # Wide types first, so that every tensor begins at a multiple of its type's size.
    shard = sorted(shard, key=lambda tensor: -tensor.dtype.itemsize)
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for planned in shard:
        start, end = end, end + planned.bytes
        table[planned.name] = {
            "dtype": _NAMES[planned.dtype],
            "shape": planned.shape,
            "data_offsets": (start, end),
        }
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    broken = []
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for planned in shard:
            # A saved view may be marked as negative; its bytes are not.
            tensor = planned.make(reader).detach().resolve_neg().to(planned.dtype).contiguous()
            assert tuple(tensor.shape) == planned.shape, planned.name
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            written(planned.bytes)
            if tensor.numel() and not all(map(math.isfinite, torch.aminmax(tensor))):
                broken.append(planned.name)
    return broken
