"""Several sources as one: records numbered one behind the other, each part with its share of an epoch and its weight in the loss."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from trainer.sources.base import Conversation, Record, Source


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a mix."""

    name: str
    source: Source
    draws: int
    """Records that an epoch takes of it: fewer than it has, and the next epoch goes on where this one ended; more, and some come again."""
    loss_weight: float = 1.0


class Mix:
    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.ends = list(accumulate(len(part.source) for part in self.parts))

    def __len__(self) -> int:
        """Return how many records there are, whatever an epoch takes."""
        return self.ends[-1]

    def __getitem__(self, number: int) -> tuple[Record, float]:
        """Return a record and its weight in the loss."""
        part, index = self.locate(number)
        return part.source[index], part.loss_weight

    def locate(self, number: int) -> tuple[Part, int]:
        """Return the part of a record, and its number there."""
        nth = bisect_right(self.ends, number)
        part = self.parts[nth]
        return part, number - (self.ends[nth] - len(part.source))

    @property
    def shares(self) -> tuple[tuple[int, int], ...]:
        """Return of each part how many records it has, and how many an epoch takes: what a Plan is made of."""
        return tuple((len(part.source), part.draws) for part in self.parts)

    @property
    def notes(self) -> list[str]:
        """Return what a run says of its sources when it begins: what there is, and what was left out."""
        return [note for part in self.parts for note in getattr(part.source, "notes", ())]

    @property
    def digest(self) -> str:
        """Return what is learned from, as a name; of a single source taken once, its own."""
        if len(self.parts) == 1 and self.parts[0].draws == len(self):
            return self.parts[0].source.digest
        said = [[p.name, p.source.digest, p.draws, p.loss_weight] for p in self.parts]
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()

    def lengths(self, numbers: Sequence[int]) -> np.ndarray:
        """Return about how long records are (`Source.lengths`)."""
        found = np.zeros(len(numbers), dtype=np.int64)
        wanted = np.asarray(numbers)
        which = np.searchsorted(self.ends, wanted, side="right")
        for nth in np.unique(which):
            part, at = self.parts[nth], np.flatnonzero(which == nth)
            start = self.ends[nth] - len(part.source)
            found[at] = part.source.lengths([int(one) - start for one in wanted[at]])
        return found

    def texts(self) -> Iterator[str]:
        """Yield all texts, for a tokenizer that is trained on them."""
        for part in self.parts:
            for index in range(len(part.source)):
                record = part.source[index]
                if isinstance(record, Conversation):
                    for turn in record.turns:
                        yield f"User:{turn.question} GPT:"
                        yield turn.answer
                else:
                    yield from (one for one in record.parts if isinstance(one, str))
