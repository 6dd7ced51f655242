"""What is planted into: records that can still change, with what each filter should say of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Draft:
    id: str
    instruction: str
    answer: str
    image_ids: tuple[str, ...]
    language: str = "en"
    task: str = "la_conversation"
    source: str | None = "photos.json"
    meta: str | None = None
    conversation: str | None = None
    turn: int | None = None
    translation_of: str | None = None
    labels: set[str] = field(default_factory=set)
    """Filters that must drop it."""
    may: set[str] = field(default_factory=set)
    """Filters of which neither would be wrong: where a language model's guess at a language meets broken text, for example."""
    kind: str = ""
    """What was done to it: empty for one that was left as it was, `hard` for one that only looks like a fault."""

    @property
    def is_plain(self) -> bool:
        return not self.kind


Told = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, tuple[float, ...] | None], ...]]
"""What people said of pictures: their ids, captions, and things with their boxes."""


@dataclass
class Plot:
    """All that planters share."""

    drafts: list[Draft]
    rng: random.Random
    pictures: dict[str, bytes]
    """Id -> what is encoded; may be no picture at all."""
    annotations: list[Told] = field(default_factory=list)
    judged: list[tuple[str, str, float]] = field(default_factory=list)
    """(record, judge, score)."""
    sides: dict[str, str] = field(default_factory=dict)
    """Name of a file beside the dataset -> its text."""

    def __post_init__(self) -> None:
        order = list(range(len(self.drafts)))
        self.rng.shuffle(order)
        self._free = iter(order)

    def take(self, fits: Callable[[Draft], bool] = lambda draft: True) -> Draft:
        """Return a draft that nothing was done to, and that fits; each is given out once."""
        for at in self._free:
            draft = self.drafts[at]
            if draft.is_plain and fits(draft):
                return draft
            if draft.is_plain:
                self._again.append(at)
        raise IndexError("no plain record is left")

    _again: list[int] = field(default_factory=list)

    def rewind(self) -> None:
        """Give those out again that did not fit."""
        left = [at for at in [*self._again, *self._free] if self.drafts[at].is_plain]
        self.rng.shuffle(left)
        self._again, self._free = [], iter(left)

    def takes(
        self, count: int, fits: Callable[[Draft], bool] = lambda draft: True
    ) -> Iterator[Draft]:
        self.rewind()
        for _ in range(count):
            yield self.take(fits)


Planter = Callable[[Plot, int], None]
"""Plants so many faults of one filter, several kinds of it, and some that only look so."""
