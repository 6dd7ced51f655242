"""From a snapshot to batches.

What a step learns is a pure function of the seed and the step's number, so a run resumes in the middle of an epoch by knowing
one number, and any number of devices learns the same. Each epoch meets every record once, in an order of its own; the last
batch of an epoch may be short.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mimicit.errors import PictureError
from mimicit.media import tensors
from mimicit.snapshot import Picture, Row, Snapshot
from trainer.batch import Example
from trainer.masking import answer_labels
from trainer.models.otter import OtterProcessor

FILLER = -1
"""Stands for an example that teaches nothing: every device must have as many as the others."""


@lru_cache(maxsize=2)
def epoch_order(records: int, *, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(records)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which records each step learns, on each of `world` devices."""

    records: int
    batch_size: int
    """Records of one step, over all devices."""
    micro_batch_size: int
    """Records of one forward on one device."""
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.records // self.batch_size)

    def step(self, step: int) -> list[int]:
        """Return the numbers of the records that a step (counted from 0) learns."""
        epoch, nth = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.records, seed=self.seed, epoch=epoch)
        return [int(i) for i in order[nth * self.batch_size : (nth + 1) * self.batch_size]]

    def micro_batches(self, step: int) -> list[list[int]]:
        """Return this device's part of a step, forward by forward."""
        everyone = self.step(step)
        everyone += [FILLER] * (-len(everyone) % self.world)
        mine = everyone[self.rank :: self.world]
        size = self.micro_batch_size
        return [mine[start : start + size] for start in range(0, len(mine), size)]


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """A batch sampler: every forward from one step to another."""

    plan: Plan
    start: int
    stop: int

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield from self.plan.micro_batches(step)


class Examples(Dataset[Example]):
    """A snapshot's records, encoded when asked for.

    A picture is one `pread` into an image shard and one pass of a fast decoder. What is kept of it is its bytes, a quarter of
    the pixels that the model takes.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        processor: OtterProcessor,
        *,
        max_tokens: int,
        max_frames: int | None,
        decode: tensors.Quality = "good",
        cache_bytes: int = 0,
    ) -> None:
        self.snapshot = snapshot
        self.processor = processor
        self.max_tokens = max_tokens
        self.max_frames = max_frames
        self.decode = decode
        self.cache_bytes = cache_bytes
        self._cache: dict[Picture, Tensor] = {}
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pictures behind: a spawned worker meets others."""
        return self.__dict__ | {"_cache": {}, "_cached_bytes": 0}

    def __len__(self) -> int:
        return len(self.snapshot)

    def __getitem__(self, index: int) -> Example:
        if index == FILLER:
            return self[0].untaught()
        row = self.snapshot[index]
        prompt = self.processor.prompt(row.instruction, picture=bool(row.pictures))
        ids_T = (prompt + self.processor.reply(row.answer))[: self.max_tokens]
        labels_T = answer_labels(ids_T, answer=self.processor.answer_id, end=self.processor.end_id)
        return Example(row.id, ids_T, labels_T, self._pixels(row))

    def _pixels(self, row: Row) -> Tensor:
        """Lay a record's pictures out as the frames of one medium (pixels_NFCHW)."""
        if self.max_frames and len(row.pictures) > self.max_frames:
            raise PictureError(
                f"record {row.id!r} has {len(row.pictures)} pictures, but the model takes {self.max_frames}; "
                "raise model.max_num_frames, or leave such records out with data.where"
            )
        if not row.pictures:
            # A text alone still needs a medium to not look at, so that every device computes the same.
            side = self.processor.image_size
            return torch.zeros(1, 1, 3, side, side)
        bytes_FCHW = torch.stack([self._picture(row, picture) for picture in row.pictures])
        return self.processor.normalised(bytes_FCHW)[None]

    def _picture(self, row: Row, picture: Picture) -> Tensor:
        """Return the bytes of a picture, of the size that the model takes (bytes_CHW)."""
        if picture in self._cache:
            return self._cache[picture]
        try:
            data = self.snapshot.read(picture)
            found = tensors.pixels(
                data, self.processor.image_size, name=picture.shard, quality=self.decode
            )
        except (PictureError, OSError) as error:
            raise PictureError(f"a picture of record {row.id!r} cannot be read: {error}") from error
        # Kept until the memory is full and never thrown out: in a random order no picture is better than another.
        if self._cached_bytes + found.nbytes <= self.cache_bytes:
            self._cache[picture] = found
            self._cached_bytes += found.nbytes
        return found
