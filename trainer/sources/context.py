"""What comes before the question that counts: earlier turns, examples in context, the description of a task."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

from mimicit.snapshot import Row
from trainer.sources.base import Clip, Said

MARK = "<image>"
"""In a question, where a medium stands."""


def in_turns(rows: Sequence[tuple[Row, tuple[Clip, ...]]]) -> tuple[Said, ...]:
    """Return the turns of a conversation, each medium shown once.

    The rows of a conversation name the pictures of all its turns. They stand where the questions say `<image>`, if these say it as
    often as there are media, else before the first turn whose row names them.
    """
    named = [{_key(clip): clip for clip in clips} for _, clips in rows]
    left = {key: clip for clips in named for key, clip in clips.items()}
    marks = [row.instruction.count(MARK) for row, _ in rows]
    by_marks = sum(marks) == len(left) and all(len(clip) == 1 for clip in left.values())
    said = []
    for (row, _), clips, count in zip(rows, named, marks, strict=True):
        keys = list(left)[:count] if by_marks else [key for key in clips if key in left]
        said.append(Said(row.instruction, row.answer, tuple(left.pop(key) for key in keys)))
    return tuple(said)


def _key(clip: Clip) -> tuple[Hashable, ...]:
    return tuple(shown.key for shown in clip)


def with_examples(
    examples: Sequence[Said], asked: Said, *, own_pictures: bool = True
) -> tuple[Said, ...]:
    """Put examples before a question: with their own pictures, or all about those of the question, which then come first."""
    if own_pictures or not examples:
        return (*examples, asked)
    first, *others = (replace(one, media=()) for one in (*examples, asked))
    return (replace(first, media=asked.media), *others)


def described(
    said: tuple[Said, ...], descriptions: Sequence[str], record_id: str, seed: int
) -> tuple[Said, ...]:
    """Put one of a task's descriptions on a line of its own before the first question; which one is a function of seed and id."""
    drawn = hashlib.blake2b(f"{seed} {record_id}".encode(), digest_size=8).digest()
    description = descriptions[int.from_bytes(drawn, "little") % len(descriptions)]
    first, *others = said
    return (replace(first, question=f"{description}\n{first.question}"), *others)
