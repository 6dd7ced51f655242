"""A frozen selection of a dataset folder as a source: records, or whole conversations, and examples in context before them.

row         ─► a question and its answer, with its pictures
conversation   the rows of one conversation, which lie one behind the other, as turns of one example
in context     other rows before the row, each with its own pictures (`trainer.sources.context`)
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, Literal

import numpy as np

from mimicit.snapshot import Picture, Row, Snapshot
from trainer.models.pictures import evenly
from trainer.sources.base import Clip, Conversation, Said, Shown
from trainer.sources.context import described, in_turns, with_examples

PICTURE_CHARACTERS = 400
"""A picture is about as much work as so many characters."""


class SnapshotSource:
    def __init__(
        self,
        snapshot: Snapshot,
        *,
        pictures: Literal["frames", "media"] = "frames",
        frames: int | None = None,
        turns: Literal["single", "conversation"] = "single",
        in_context: int | None = 0,
        own_pictures: bool = True,
        descriptions: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        """Say how rows are told.

        Args:
            snapshot: Of a dataset folder; open.
            pictures: What several pictures of one record are: the frames of one medium, or a medium each.
            frames: Frames that are shown of a clip, evenly from its first to its last; None: all there are.
            turns: `conversation`: the rows of one conversation are one record.
            in_context: Examples before a row, at most; None: all that the snapshot knows of.
            own_pictures: Examples show their own pictures; else the row's stand before the first of them, for examples that are
                earlier questions about the same pictures.
            descriptions: One of these comes before the first question.
            seed: Which one, with the record's id.
        """
        self.snapshot = snapshot
        self.pictures = pictures
        self.frames = frames
        self.turns = turns
        self.in_context = in_context
        self.own_pictures = own_pictures
        self.descriptions = tuple(descriptions)
        self.seed = seed
        # Equal pictures of two datasets may lie at equal places in them.
        self._here = str(snapshot.dataset.resolve())
        self.digest = self._digest()
        self.notes = self._notes()

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what a spawned worker computes for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_starts"}

    def _digest(self) -> str:
        """Return the snapshot's digest, as long as its rows are told one by one; how pictures are shown stands in the recipe."""
        told = [self.frames, self.turns, self.in_context, self.own_pictures, self.descriptions]
        if told == [None, "single", 0, True, ()]:
            return self.snapshot.digest
        text = json.dumps([self.snapshot.digest, *told, self.seed if self.descriptions else 0])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _notes(self) -> tuple[str, ...]:
        """Return what a run says of it when it begins."""
        missing = self.snapshot.manifest.get("not_there", 0)
        if not missing or self.in_context == 0:
            return ()
        return (
            f"{missing:,} names of examples in context are of no accepted record of {str(self.snapshot.dataset)!r}; passed over",
        )

    def __len__(self) -> int:
        return len(self.snapshot) if self.turns == "single" else len(self._starts) - 1

    def __getitem__(self, index: int) -> Conversation:
        if self.turns == "conversation":
            rows = [self.snapshot[number] for number in self._rows(index)]
            said = in_turns([(row, self._media(row)) for row in rows])
        else:
            rows = [self.snapshot[index]]
            said = self._in_context(index, rows[0])
        if self.descriptions:
            said = described(said, self.descriptions, rows[0].id, self.seed)
        marked = self.pictures == "media"
        return Conversation(rows[0].id, said, marked=marked, rejected=rows[-1].rejected)

    def lengths(self, indices: Sequence[int]) -> np.ndarray:
        if self.turns == "conversation":
            rows = [list(self._rows(int(index))) for index in indices]
        elif self.in_context == 0:
            return self.snapshot.lengths(indices, picture=PICTURE_CHARACTERS)
        else:
            rows = [[int(index), *self._examples(int(index))] for index in indices]
        flat = [row for one in rows for row in one]
        each = self.snapshot.lengths(flat, picture=PICTURE_CHARACTERS)
        ends = np.cumsum([len(one) for one in rows])
        return np.diff(np.concatenate([[0], np.cumsum(each)[ends - 1]]))

    def names(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """Return of each record the ids of all rows that it teaches: turns of its conversation, examples in context."""
        if self.turns == "conversation":
            rows = [list(self._rows(int(index))) for index in indices]
        elif self.in_context == 0:
            return [(one,) for one in self.snapshot.ids(indices)]
        else:
            rows = [[*self._examples(int(index)), int(index)] for index in indices]
        ids = iter(self.snapshot.ids([row for one in rows for row in one]))
        return [tuple(islice(ids, len(one))) for one in rows]

    def _in_context(self, index: int, row: Row) -> tuple[Said, ...]:
        asked = Said(row.instruction, row.answer, self._media(row))
        if self.in_context == 0:
            return (asked,)
        rows = [self.snapshot.row(number) for number in self._examples(index)]
        examples = [Said(one.instruction, one.answer, self._media(one)) for one in rows]
        return with_examples(examples, asked, own_pictures=self.own_pictures)

    def _examples(self, index: int) -> list[int]:
        return self.snapshot.context(index)[: self.in_context]

    def _rows(self, index: int) -> range:
        return range(int(self._starts[index]), int(self._starts[index + 1]))

    @cached_property
    def _starts(self) -> np.ndarray:
        """Return at which row each conversation begins, and one more: where the last one ends."""
        import pyarrow.compute as pc

        column = self.snapshot.table["conversation"]
        starts = [np.zeros(1, np.int32)]
        row = 1
        for same in pc.equal(column.slice(1), column.slice(0, len(column) - 1)).chunks:
            begins = np.ones(len(same), dtype=bool)
            # A row without a conversation is one of its own: nothing is equal to none.
            goes_on = pc.indices_nonzero(same)
            # Not `to_numpy`, which imports pandas where it is installed.
            begins[np.frombuffer(goes_on.buffers()[1], np.uint64, len(goes_on))] = False
            starts.append((np.flatnonzero(begins) + row).astype(np.int32))
            row += len(same)
        return np.concatenate([*starts, np.array([row], np.int32)])

    def _media(self, row: Row) -> tuple[Clip, ...]:
        shown = tuple(self._shown(picture) for picture in row.pictures)
        if self.pictures == "media":
            return tuple((one,) for one in shown)
        if shown and self.frames:
            shown = tuple(shown[number] for number in evenly(len(shown), self.frames))
        return (shown,) if shown else ()

    def _shown(self, picture: Picture) -> Shown:
        read = partial(self.snapshot.read, picture)
        return Shown((self._here, picture.shard, picture.offset), picture.shard, read)
