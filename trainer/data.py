"""From a snapshot to batches.

What a step learns is a pure function of the seed and the step's number, so a run resumes in the middle of an epoch by knowing
one number, and any number of devices learns the same. Each epoch meets every record once, in an order of its own; the last
batch of an epoch may be short. Lengths have no part in it: whether examples are padded or packed (`packing.py`), a step learns the
same.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mimicit.errors import MimicitError, PictureError
from mimicit.media import tensors
from mimicit.media.picture import decode
from mimicit.snapshot import Picture, Row, Snapshot
from trainer.batch import Batch, Example
from trainer.encode import encode
from trainer.models.otter_processor import OtterProcessor
from trainer.models.turns import Turn

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
    """Records of one forward on one device; packed ones of several, if their tokens are too many for a row."""
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
        pictures: Literal["frames", "media"] = "frames",
        decode: tensors.Quality = "good",
        cache_bytes: int = 0,
    ) -> None:
        """Say how records become examples.

        Args:
            snapshot: The records.
            processor: Of the model.
            max_tokens: Of one example; what an answer has more is cut.
            max_frames: That the model takes of one medium; None: any number.
            pictures: What several pictures of one record are: the frames of one medium, or a medium each.
            decode: How exactly; pictures that are cut to a square are always as Pillow has them.
            cache_bytes: Pictures kept in memory, at most.
        """
        self.snapshot = snapshot
        self.processor = processor
        self.max_tokens = max_tokens
        self.max_frames = max_frames
        self.pictures = pictures
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
        """Return an example.

        Raises:
            PictureError: a picture cannot be read, or there are too many.
            TrainingError: the record cannot be taught as it is.
        """
        if index == FILLER:
            return self[0].untaught()
        row = self.snapshot[index]
        turn = Turn(row.instruction, row.answer, cast(Any, self._media(row)))
        marked = self.pictures == "media"
        return encode(row.id, [turn], self.processor, max_tokens=self.max_tokens, marked=marked)

    def _media(self, row: Row) -> list[Tensor]:
        """Return a record's media (each bytes_FCHW)."""
        most = self.max_frames if self.pictures == "frames" else None
        if most and len(row.pictures) > most:
            raise PictureError(
                f"record {row.id!r} has {len(row.pictures)} pictures, but the model takes {most}; "
                "raise model.max_num_frames, or leave such records out with data.where"
            )
        frames = [self._picture(row, picture) for picture in row.pictures]
        if self.pictures == "media":
            return [bytes_CHW[None] for bytes_CHW in frames]
        return [torch.stack(frames)] if frames else []

    def _picture(self, row: Row, picture: Picture) -> Tensor:
        """Return the bytes of a picture, of the size that the model takes (bytes_CHW)."""
        if picture in self._cache:
            return self._cache[picture]
        try:
            data = self.snapshot.read(picture)
            if self.processor.geometry == "squash":
                found = tensors.pixels(
                    data, self.processor.image_size, name=picture.shard, quality=self.decode
                )
            else:
                found = self.processor.resized(decode(data, name=picture.shard))
        except (PictureError, OSError) as error:
            raise PictureError(f"a picture of record {row.id!r} cannot be read: {error}") from error
        # Kept until the memory is full and never thrown out: in a random order no picture is better than another.
        if self._cached_bytes + found.nbytes <= self.cache_bytes:
            self._cache[picture] = found
            self._cached_bytes += found.nbytes
        return found


class Told(Dataset["Example | MimicitError"]):
    """Examples, or the sentence that says why there is none.

    What is raised in a worker process arrives with its traceback for a message; as a value it arrives as it is, to be raised by
    `or_raise`.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, index: int) -> Example | MimicitError:
        try:
            return self.examples[index]
        except MimicitError as error:
            return error


def laid(
    made: Sequence[Example | MimicitError], lay: Callable[[list[Example]], list[Batch]]
) -> list[Batch] | MimicitError:
    """Make batches of what `Told` gave, unless something went wrong there or does here."""
    examples = []
    for one in made:
        if isinstance(one, MimicitError):
            return one
        examples.append(one)
    try:
        return lay(examples)
    except MimicitError as error:
        return error


def or_raise(made: Iterable[list[Batch] | MimicitError]) -> Iterator[list[Batch]]:
    for one in made:
        if isinstance(one, MimicitError):
            raise one
        yield one
