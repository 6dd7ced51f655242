"""From a mix of sources to rows for a model.

    plan: which records ─► Mix: a record ─► Encoder: an example ─► rows, one padded batch or packed ones

A picture is read and decoded once per process, as long as the cache has room. What goes wrong in a worker process travels as a
value, and is raised where the run is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Dataset

from mimicit.errors import MimicitError, PictureError
from trainer.families.base import Encoder
from trainer.plan import FILLER
from trainer.rows import Rows
from trainer.sources.base import Shown
from trainer.sources.mix import Mix


@dataclass(frozen=True, slots=True)
class Lesson:
    """One record, encoded."""

    example: Any
    """Of the family's own kind."""
    weight: float = 1.0
    """Of its taught tokens in the step's loss."""


class Examples(Dataset[Lesson]):
    """A mix's records, encoded when asked for."""

    def __init__(self, mix: Mix, encoder: Encoder, *, cache_bytes: int = 0) -> None:
        self.mix = mix
        self.encoder = encoder
        self.cache_bytes = cache_bytes
        """Pictures kept in memory, at most."""
        self._cache: dict[Any, Any] = {}
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pictures behind: a spawned worker meets others."""
        return self.__dict__ | {"_cache": {}, "_cached_bytes": 0}

    def __len__(self) -> int:
        return len(self.mix)

    def __getitem__(self, number: int) -> Lesson:
        """Return a record as an example.

        Raises:
            PictureError: a picture cannot be read, or there are too many.
            TrainingError: the record cannot be taught as it is.
        """
        if number == FILLER:
            first = self[0]
            return replace(first, example=self.encoder.untaught(first.example))
        record, weight = self.mix[number]

        def picture(shown: Shown) -> Any:
            try:
                return self._picture(shown)
            except (PictureError, OSError) as error:
                raise PictureError(
                    f"a picture of record {record.id!r} cannot be read: {error}"
                ) from error

        return Lesson(self.encoder.encode(record, picture), weight)

    def _picture(self, shown: Shown) -> Any:
        if shown.key in self._cache:
            return self._cache[shown.key]
        found = self.encoder.picture(shown.read(), name=shown.name)
        size = int(getattr(found, "nbytes", self.cache_bytes + 1))
        # Kept until the memory is full and never thrown out: in a random order no picture is better than another.
        if self._cached_bytes + size <= self.cache_bytes:
            self._cache[shown.key] = found
            self._cached_bytes += size
        return found


class Told(Dataset["Lesson | MimicitError"]):
    """Lessons, or the sentence that says why there is none.

    What is raised in a worker process arrives with its traceback for a message; as a value it arrives as it is, to be raised by
    `or_raise`.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, number: int) -> Lesson | MimicitError:
        try:
            return self.examples[number]
        except MimicitError as error:
            return error


def laid(made: Sequence[Lesson | MimicitError], *, encoder: Encoder) -> list[Rows] | MimicitError:
    """Make rows of what `Told` gave, those of one weight together, unless something went wrong there or does here."""
    by_weight: dict[float, list[Any]] = {}
    for one in made:
        if isinstance(one, MimicitError):
            return one
        by_weight.setdefault(one.weight, []).append(one.example)
    try:
        return [
            replace(rows, weight=weight)
            for weight, examples in by_weight.items()
            for rows in encoder.lay(examples)
        ]
    except MimicitError as error:
        return error


def or_raise(made: Iterable[list[Rows] | MimicitError]) -> Iterator[list[Rows]]:
    for one in made:
        if isinstance(one, MimicitError):
            raise one
        yield one
