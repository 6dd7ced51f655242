"""A record before it is encoded: who says what, and which pictures are shown where.

    Conversation   questions with pictures, and their answers; answers are taught
    Document       text and pictures in the order of a page, or a picture and its caption; all text after a picture is taught

Pictures are named by place and read when they are needed, once per process as long as its cache has room.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture's place."""

    key: Hashable
    """Equal for equal pictures of a run."""
    name: str
    """For people."""
    read: Callable[[], bytes]
    """Return its encoded bytes; raises PictureError or OSError."""


Clip = tuple[Shown, ...]
"""One medium: a picture, or the frames of a clip in their order."""


@dataclass(frozen=True, slots=True)
class Said:
    """A question and its answer."""

    question: str
    answer: str
    media: tuple[Clip, ...] = ()
    """Shown before the question, or where it says `<image>`, if the conversation is marked."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of one talk, or examples in context before the question that counts: each turn shows its own pictures."""

    id: str
    turns: tuple[Said, ...]
    """At least one. All answers are taught."""
    marked: bool = False
    """The characters `<image>` in a question say where its media stand."""
    rejected: str | None = None
    """The last answer that people liked less."""


@dataclass(frozen=True, slots=True)
class Document:
    """A page: text and pictures in the order in which they are read."""

    id: str
    parts: tuple[str | Shown, ...]
    max_tokens: int | None = None
    """At most, where these are fewer than the run's."""

    @property
    def is_pair(self) -> bool:
        """A picture and its caption, and nothing else."""
        return len(self.parts) == 2 and isinstance(self.parts[0], Shown)


Record = Conversation | Document


class Source(Protocol):
    """Records by number. Forked and spawned workers read it at the same time, so it travels by pickle and opens its files where it is."""

    digest: str
    """Changes whenever a record does, or their order; for a run that resumes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """Return a record.

        Raises:
            PictureError, TrainingError: it cannot be taught as it is; named.
        """
        ...

    def lengths(self, indices: Sequence[int]) -> np.ndarray:
        """Return about how long records are, in characters: for batches of records of like lengths. Reads no text."""
        ...
