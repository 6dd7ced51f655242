"""From a mix of sources to rows for a model.

    plan: which records ─► Mix: a record ─► Encoder: an example ─► rows, one padded batch or packed ones

A picture is read and decoded once per process, as long as the cache has room. What goes wrong in a worker process travels as a
value, and is raised where the run is; where the recipe lets records be left out (`data.skip_bad`), one that cannot be taught travels
beside the rows of the others (`trainer.skipping`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Dataset

from mimicit.errors import MimicitError, PictureError
from trainer.errors import TrainingError
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
    group: str = ""
    """The part of the mix that it is of."""
    is_filler: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is left out."""

    id: str
    reason: str
    """In a word or two, for counts."""
    why: str
    """A sentence."""


class Laid(list[Rows]):
    """The rows of a micro batch; never none, so that each device has a forward to do."""

    def __init__(self, rows: Iterable[Rows], skipped: Sequence[Skipped] = ()) -> None:
        super().__init__(rows)
        self.skipped = tuple(skipped)
        """Records that are not among them."""


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
            return self._filler()
        record, weight = self.mix[number]

        def picture(shown: Shown) -> Any:
            try:
                return self._picture(shown)
            except (PictureError, OSError) as error:
                raise PictureError(
                    f"a picture of record {record.id!r} cannot be read: {error}"
                ) from error

        part, _ = self.mix.locate(number)
        return Lesson(self.encoder.encode(record, picture), weight, part.name)

    def _filler(self) -> Lesson:
        """Return a record with nothing to learn from it: the first that can be an example at all."""
        for number in range(len(self)):
            try:
                lesson = self[number]
            except (PictureError, TrainingError):
                continue
            blank = self.encoder.untaught(lesson.example)
            return replace(lesson, example=blank, is_filler=True)
        raise TrainingError(
            f"none of {len(self):,} records can be taught; see what is said of one of them with data.skip_bad=0"
        )

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


class Told(Dataset["Lesson | Skipped | MimicitError"]):
    """Lessons, or the sentence that says why there is none.

    What is raised in a worker process arrives with its traceback for a message; as a value it arrives as it is, to be raised by
    `or_raise`.
    """

    def __init__(self, examples: Examples, *, skips: bool = False) -> None:
        """Tell records.

        Args:
            examples: Of the mix.
            skips: Leave out what cannot be taught; else its sentence is raised.
        """
        self.examples = examples
        self.skips = skips

    def __getitem__(self, number: int) -> Lesson | Skipped | MimicitError:
        try:
            return self.examples[number]
        except MimicitError as error:
            if self.skips and number != FILLER and isinstance(error, PictureError | TrainingError):
                return Skipped(self._name(number), _reason(error), str(error))
            return error

    def __getitems__(self, numbers: Sequence[int]) -> list[Lesson | Skipped | MimicitError]:
        """Return a micro batch, with something in it that goes through a model."""
        told = [self[number] for number in numbers]
        if all(isinstance(one, Skipped) for one in told):
            told.append(self[FILLER])
        return told

    def _name(self, number: int) -> str:
        try:
            return self.examples.mix[number][0].id
        except MimicitError:
            part, index = self.examples.mix.locate(number)
            return f"{part.name} {index}"


def _reason(error: MimicitError) -> str:
    said = getattr(error, "reason", None)
    return said or ("picture" if isinstance(error, PictureError) else "other")


def laid(
    made: Sequence[Lesson | Skipped | MimicitError], *, encoder: Encoder, by_group: bool = False
) -> Laid | MimicitError:
    """Make rows of what `Told` gave, unless something went wrong there or does here.

    Args:
        made: Of a micro batch.
        encoder: Of the family.
        by_group: Rows are of one group each; else of one weight.
    """
    alike: dict[tuple[str, float], list[Any]] = {}
    skipped = []
    # A filler is for a device that has nothing else; it is no record, and does not count as one.
    is_blank = all(getattr(one, "is_filler", True) for one in made)
    for one in made:
        if isinstance(one, MimicitError):
            return one
        if isinstance(one, Skipped):
            skipped.append(one)
        elif is_blank or not one.is_filler:
            key = (one.group if by_group else "", one.weight)
            alike.setdefault(key, []).append(one.example)
    try:
        rows = [
            replace(rows.untaught() if is_blank else rows, group=group, weight=weight)
            for (group, weight), examples in alike.items()
            for rows in encoder.lay(examples)
        ]
    except MimicitError as error:
        return error
    return Laid(rows, skipped)


def or_raise(made: Iterable[Laid | MimicitError]) -> Iterator[Laid]:
    for one in made:
        if isinstance(one, MimicitError):
            raise one
        yield one
