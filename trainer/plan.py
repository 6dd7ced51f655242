"""Which records each step learns, on each device: a pure function of the seed and the step's number.

An epoch takes of each part of a mix its share, in an order of its own. A part's records come in passes, each a permutation of all
of them, and an epoch takes them where the last one ended: so none comes a second time before all have come once, whatever the
share. A step's records are dealt to devices and forwards by their lengths, like beside like, which changes nothing of what is
learned: the loss is a sum over the step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.order import shuffled

FILLER = -1
"""Stands for an example that teaches nothing: every device must have as many as the others."""


@dataclass(frozen=True, slots=True)
class Plan:
    records: int
    """That an epoch takes."""
    batch_size: int
    """Records of one step, over all devices."""
    micro_batch_size: int
    """Records of one forward on one device; packed ones of several, if their tokens are too many for a row."""
    seed: int
    rank: int = 0
    world: int = 1
    shares: tuple[tuple[int, int], ...] = ()
    """Of each part of a mix how many records it has, and how many an epoch takes; empty: one part, all of it."""
    lengths: Callable[[Sequence[int]], np.ndarray] | None = None
    """About how long records are; None: they stay in their order."""

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.records // self.batch_size)

    def step(self, step: int) -> list[int]:
        """Return the numbers of the records that a step (counted from 0) learns."""
        epoch, nth = divmod(step, self.steps_per_epoch)
        start = nth * self.batch_size
        places = np.arange(start, min(self.records, start + self.batch_size))
        slots = shuffled(places, self.records, self.seed, epoch)
        return [int(number) for number in self._records(slots, epoch)]

    def steps(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what `step` gives for several steps, one behind the other, and how many records each has; far sooner."""
        each = self.steps_per_epoch
        numbers, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for epoch in range(start // each, -(-stop // each)):
            first, last = max(start - epoch * each, 0), min(stop - epoch * each, each)
            ends = np.minimum(np.arange(first, last + 1) * self.batch_size, self.records)
            slots = shuffled(np.arange(ends[0], ends[-1]), self.records, self.seed, epoch)
            numbers.append(self._records(slots, epoch))
            sizes.append(np.diff(ends))
        return np.concatenate(numbers), np.concatenate(sizes)

    def micro_batches(self, step: int) -> list[list[int]]:
        """Return this device's part of a step, forward by forward."""
        everyone = self.step(step)
        # Records of one forward, and one each for every device, have no order that matters.
        at_once = self.world if self.world > 1 else self.micro_batch_size
        if self.lengths is not None and len(everyone) > at_once:
            lengths = self.lengths(everyone)
            everyone = [everyone[at] for at in np.argsort(-lengths, kind="stable")]
        everyone += [FILLER] * (-len(everyone) % self.world)
        mine = _dealt(everyone, self.rank, self.world)
        size = self.micro_batch_size
        return [mine[start : start + size] for start in range(0, len(mine), size)]

    def _records(self, slots: np.ndarray, epoch: int) -> np.ndarray:
        """Return the records in an epoch's slots: those of the first part come first, then those of the second."""
        found = np.empty_like(slots)
        slot, record = 0, 0
        for nth, (size, draws) in enumerate(self.shares or ((self.records, self.records),)):
            here = (slots >= slot) & (slots < slot + draws)
            passes, places = np.divmod(slots[here] - slot + epoch * draws, size)
            taken = np.empty_like(places)
            order = np.argsort(passes, kind="stable")
            for of_it in np.split(order, np.flatnonzero(np.diff(passes[order])) + 1):
                if of_it.size:
                    one = int(passes[of_it[0]])
                    taken[of_it] = shuffled(places[of_it], size, self.seed, one, nth, 1)
            found[here] = record + taken
            slot, record = slot + draws, record + size
        return found


def _dealt(everyone: Sequence[int], rank: int, world: int) -> list[int]:
    """Return what one of `world` devices gets: there and back again, so that none gets the longest each time."""
    rounds = (everyone[start : start + world] for start in range(0, len(everyone), world))
    return [turn[rank if nth % 2 == 0 else world - 1 - rank] for nth, turn in enumerate(rounds)]


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """A batch sampler: every forward from one step to another."""

    plan: Plan
    start: int
    stop: int

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield from self.plan.micro_batches(step)
