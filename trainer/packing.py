"""Several examples in one row, so that nothing is computed for padding.

    micro batch          a(300) b(40) c(90) d(380) e(60)        rows of at most 512 tokens
    first fit            d a · c e b …                          d(380) c(90) b(40) | a(300) e(60)

What a step learns stays what it was: packing only lays the examples of one micro batch into rows, and a row's loss is the sum of
the losses of its examples. So the plan of a run knows nothing of lengths, a run resumes as before, and no pass over a whole dataset
has to count tokens first. A row holds no padding, so a row that is not full costs no time: it only is a smaller piece of work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.batch import Batch, Example, collate, one_row
from trainer.errors import TrainingError

MOST_FILLED = 2
"""How many times its true frames a row's pixels may be, when clips and pictures share it."""


def batches(
    examples: Sequence[Example], *, pad: int, image: int, max_row_tokens: int | None
) -> list[Batch]:
    """Make of one micro batch one padded batch, or, with `max_row_tokens`, packed rows."""
    if max_row_tokens is None:
        return [collate(examples, pad=pad, image=image)]
    return pack(examples, max_row_tokens=max_row_tokens, image=image)


def pack(examples: Sequence[Example], *, max_row_tokens: int, image: int) -> list[Batch]:
    """Lay examples into as few rows as first-fit finds, and make a batch of each.

    Args:
        examples: Of one micro batch.
        max_row_tokens: Tokens of one row, at most.
        image: The token `<image>`.

    Raises:
        TrainingError: an example is longer than a row, or has not one medium for each `<image>`.
    """
    for example in examples:
        if len(example.ids_T) > max_row_tokens:
            raise TrainingError(
                f"record {example.record_id!r} has {len(example.ids_T)} tokens, but a row has room for {max_row_tokens}; "
                "raise data.max_row_tokens, or lower data.max_tokens"
            )
    loads = [Load(len(example.ids_T), example.frames()) for example in examples]
    rows = lay_out(loads, max_row_tokens=max_row_tokens)
    return [one_row([examples[index] for index in row], image=image) for row in rows]


@dataclass(frozen=True, slots=True)
class Load:
    """What an example brings into a row."""

    tokens: int
    frames: tuple[int, ...] = ()
    """Of each medium."""


@dataclass(slots=True)
class _Row:
    left: int
    """Tokens that still fit."""
    media: int = 0
    frames: int = 0
    longest_clip: int = 0
    members: list[int] = field(default_factory=list)

    def takes(self, load: Load) -> bool:
        """Tell whether a load fits, and no long clip makes many short ones as long as itself."""
        media = self.media + len(load.frames)
        clip = max([self.longest_clip, *load.frames])
        true = self.frames + sum(load.frames)
        return load.tokens <= self.left and media * clip <= MOST_FILLED * true

    def add(self, index: int, load: Load) -> None:
        self.left -= load.tokens
        self.media += len(load.frames)
        self.frames += sum(load.frames)
        self.longest_clip = max([self.longest_clip, *load.frames])
        self.members.append(index)


def lay_out(loads: Sequence[Load], *, max_row_tokens: int) -> list[list[int]]:
    """Say which loads share a row: first-fit decreasing, a function of the loads alone.

    Where all media have the same number of frames it needs at most 11/9 of the fewest rows, and one more (Dósa 2007, "The tight
    bound of first fit decreasing bin-packing algorithm").
    """
    rows: list[_Row] = []
    longest_first = sorted(range(len(loads)), key=lambda index: -loads[index].tokens)
    for index in longest_first:
        load = loads[index]
        row = next((row for row in rows if row.takes(load)), None)
        if row is None:
            row = _Row(left=max_row_tokens)
            rows.append(row)
        row.add(index, load)
    return sorted(sorted(row.members) for row in rows)
