"""Examples of one micro batch side by side or in rows, and a record's questions with their pictures where they are meant."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from trainer.errors import MarksError, TooLongError, TrainingError
from trainer.packing import Load, lay_out
from trainer.sources.base import Said, Shown

PLACE = "<image>"
"""In a marked question: here stands the next medium."""


class Long(Protocol):
    @property
    def record_id(self) -> str: ...

    def __len__(self) -> int:
        """Return its tokens."""
        ...


E = TypeVar("E", bound=Long)


def rows_of(examples: Sequence[E], *, max_row_tokens: int | None) -> list[list[E]]:
    """Say which examples share a row, all packed; without a length of rows all are padded to one batch.

    Raises:
        TrainingError: an example is longer than a row.
    """
    if max_row_tokens is None:
        return [list(examples)]
    for example in examples:
        if len(example) > max_row_tokens:
            raise TrainingError(
                f"record {example.record_id!r} has {len(example)} tokens, but a row has room for {max_row_tokens}; "
                "raise data.max_row_tokens, or lower data.max_tokens"
            )
    loads = [Load(len(example)) for example in examples]
    rows = lay_out(loads, max_row_tokens=max_row_tokens)
    return [[examples[index] for index in row] for row in rows]


def question_parts(said: Said, record_id: str, *, marked: bool) -> list[str | Shown]:
    """Return a question's text and pictures in their order; the frames of a clip are pictures one after the other.

    Raises:
        MarksError: the marks in the question are not as many as its media.
    """
    pieces = said.question.split(PLACE) if marked else [said.question]
    if len(pieces) == 1:
        return [*(shown for clip in said.media for shown in clip), said.question]
    if len(pieces) - 1 != len(said.media):
        raise MarksError(
            f"record {record_id!r} has {len(said.media)} pictures, but its question says {PLACE} {len(pieces) - 1} times; "
            "correct the record, or leave it out with data.where"
        )
    parts: list[str | Shown] = [pieces[0]]
    for clip, piece in zip(said.media, pieces[1:], strict=True):
        parts += [*clip, piece]
    return [part for part in parts if part != ""]


def beyond(record_id: str, last: int, max_tokens: int, hint: str = "") -> TooLongError:
    """Return the error of a record that would lose a picture that ends at this token."""
    return TooLongError(
        f"record {record_id!r} shows a picture up to token {last}, but an example has at most {max_tokens}; "
        f"raise data.max_tokens, {hint}or leave the record out with data.where"
    )


def text_before(max_tokens: int) -> int:
    """Return how many tokens of text may stand before a document's first picture: they teach nothing, so they take half at most."""
    return max(1, max_tokens // 2 - 1)


def kept(places: Sequence[tuple[int, int]], tokens: int) -> int:
    """Return how much of a document stays of its first `tokens`: no picture is cut in two, and none has lost all text behind it.

    Args:
        places: Where the tokens of each picture begin and end.
        tokens: At most.
    """
    for start, end in reversed(places):
        if start < tokens <= end:
            tokens = start
    return tokens


def runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where it is so without a break: beginnings and ends."""
    edges = [at for at, (was, is_) in enumerate(pairwise([False, *flags, False])) if was != is_]
    return list(zip(edges[::2], edges[1::2], strict=True))
