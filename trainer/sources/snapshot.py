"""A frozen selection of a dataset folder as a source: each record is a question and an answer with its pictures."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from mimicit.snapshot import Picture, Row, Snapshot
from trainer.sources.base import Conversation, Said, Shown

PICTURE_CHARACTERS = 400
"""A picture is about as much work as so many characters."""


class SnapshotSource:
    def __init__(
        self, snapshot: Snapshot, *, pictures: Literal["frames", "media"] = "frames"
    ) -> None:
        """Say what several pictures of one record are: the frames of one medium, or a medium each."""
        self.snapshot = snapshot
        self.pictures = pictures
        self.digest = snapshot.digest

    def __len__(self) -> int:
        return len(self.snapshot)

    def __getitem__(self, index: int) -> Conversation:
        row = self.snapshot[index]
        said = Said(row.instruction, row.answer, self._media(row))
        marked = self.pictures == "media"
        return Conversation(row.id, (said,), marked=marked, rejected=row.rejected)

    def lengths(self, indices: Sequence[int]) -> np.ndarray:
        return self.snapshot.lengths(indices, picture=PICTURE_CHARACTERS)

    def _media(self, row: Row) -> tuple[tuple[Shown, ...], ...]:
        shown = tuple(self._shown(picture) for picture in row.pictures)
        if self.pictures == "media":
            return tuple((one,) for one in shown)
        return (shown,) if shown else ()

    def _shown(self, picture: Picture) -> Shown:
        return Shown(picture, picture.shard, partial(self.snapshot.read, picture))
