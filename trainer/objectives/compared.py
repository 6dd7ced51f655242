"""Records with two answers as rows: each answer an example of its own, those of one record in one forward.

    record 7   <image> What is it ? <answer> A dog.        chosen      the answer that people liked
               <image> What is it ? <answer> A cat.        rejected
               <frag.> What is it ? <answer> A dog.        blind       mDPO: the picture is a fragment of itself
               <image> What is it ? <answer> It is late.   stranger    KTO: what is said of another record; in rows apart, for it
                                                                       is only measured

A model gives each taught token's log-probability, one behind the other; `places` says to which record and answer each belongs.
Only the last answer of a conversation is compared: what was said before it is the same in both.

Letters: P records, R answers of one record, K taught tokens.
"""

import io
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor

from mimicit.media.picture import decode
from trainer.errors import TrainingError
from trainer.families import Encoder
from trainer.packing import Load, lay_out
from trainer.rows import Rows
from trainer.sources.base import Conversation, Record, Said, Shown
from trainer.sources.mix import Mix

Role = Literal["chosen", "rejected", "blind", "stranger"]
LEAST_LEFT = 0.01
"""Of a picture's area in a fragment."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record that knows its number, and an answer to another one's question."""

    number: int
    """In the mix."""
    record: Record
    strange_answer: str | None = None

    @property
    def id(self) -> str:
        return self.record.id


class NumberedMix(Mix):
    """A mix whose records are numbered; with `strangers` each comes with the answer of the next one of its part."""

    def __init__(self, mix: Mix, *, strangers: bool = False) -> None:
        super().__init__(mix.parts)
        self.strangers = strangers

    def __getitem__(self, number: int) -> tuple[Any, float]:
        record, weight = super().__getitem__(number)
        return Numbered(number, record, self._stranger(number)), weight

    def _stranger(self, number: int) -> str | None:
        if not self.strangers:
            return None
        part, index = self.locate(number)
        other = part.source[(index + 1) % len(part.source)]
        return other.turns[-1].answer if isinstance(other, Conversation) else None


@dataclass(frozen=True, slots=True)
class Compared:
    """The answers of one record, each encoded as an example of the family."""

    number: int
    record_id: str
    examples: dict[Role, Any]
    before: int
    """Taught tokens of the answers before the last."""
    is_filler: bool = False
    """Teaches nothing, and is no record."""

    @property
    def tokens(self) -> int:
        return sum(map(tokens_of, self.examples.values()))

    def only(self, roles: tuple[Role, ...]) -> Self:
        kept: dict[Role, Any] = {r: one for r, one in self.examples.items() if r in roles}
        return replace(self, examples=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRows(Rows):
    inner: Rows
    """Of the family."""
    numbers: tuple[int, ...]
    """Of the records, in the mix."""
    roles: tuple[Role, ...]
    """R: what stands in each column."""
    places_K: Tensor
    """Of each taught token, record * R + column; P * R for those that are not compared."""
    counts_PR: Tensor
    """Compared tokens of each answer, 0 where a record has no such answer."""
    answers: int
    """That are compared."""
    strangers: tuple["ComparedRows", ...] = ()
    """What is measured beside these, and not learned."""

    def inputs(self) -> dict[str, Any]:
        return self.inner.inputs()

    @property
    def size(self) -> int:
        return self.inner.size

    def to(self, device: torch.device | str) -> Self:
        return replace(
            self,
            inner=self.inner.to(device),
            places_K=self.places_K.to(device, non_blocking=True),
            counts_PR=self.counts_PR.to(device, non_blocking=True),
            strangers=tuple(rows.to(device) for rows in self.strangers),
        )

    def untaught(self) -> Self:
        return replace(
            self,
            inner=self.inner.untaught(),
            record_ids=(),
            taught=0,
            tokens=0,
            pictures=0,
            samples=(),
            taught_each=(0,) * len(self.taught_each),
            numbers=(),
            places_K=self.places_K[:0],
            counts_PR=self.counts_PR[:0],
            answers=0,
            strangers=(),
        )

    def sums(self, losses_K: Tensor) -> Tensor:
        """Return the log-probability of each answer (P, R), 0 where there is none.

        Args:
            losses_K: Of each taught token -log π, as a model gives them with `per_token`.
        """
        P, R = self.counts_PR.shape
        sums = losses_K.new_zeros(P * R + 1).index_add(0, self.places_K, -losses_K)
        return sums[:-1].view(P, R)


@dataclass(slots=True)
class ComparedEncoder:
    """A family's encoder, for records with two answers."""

    inner: Encoder
    roles: tuple[Role, ...]
    needs_both: bool
    """A record without a rejected answer is refused."""
    kind: str
    """Of the objective, for messages."""
    crop: float = 0.2
    """Share of a picture's area that a fragment has, at most."""
    seed: int = 0
    """For the fragments."""
    max_row_tokens: int | None = None

    processor: Any = None

    def picture(self, data: bytes, *, name: str) -> Any:
        return self.inner.picture(data, name=name)

    def encode(self, record: Any, pictures: Callable[[Shown], Any]) -> Compared:
        """Encode each answer. Pictures are decoded once for all of them, fragments apart.

        Raises:
            PictureError, TrainingError: the record cannot be taught as it is; names it.
        """
        numbered = cast(Numbered, record)
        spoken = numbered.record
        if not isinstance(spoken, Conversation):
            raise TrainingError(
                f"record {record.id!r} is a document, but objective.kind = {self.kind!r} compares answers to a question"
            )
        if self.needs_both and spoken.rejected is None:
            raise TrainingError(
                f"record {record.id!r} has no rejected answer, but objective.kind = {self.kind!r} compares two; leave such records "
                'out: data.where = "rejected IS NOT NULL"'
            )
        seen: dict[Hashable, Any] = {}

        def once(shown: Shown) -> Any:
            if shown.key not in seen:
                seen[shown.key] = pictures(shown)
            return seen[shown.key]

        examples = {}
        before = 0
        if len(spoken.turns) > 1:
            before = self.inner.encode(replace(spoken, turns=spoken.turns[:-1]), once).taught
        for role, version in self._versions(spoken, numbered.strange_answer):
            example = self.inner.encode(version, once)
            if example.taught > before:
                examples[role] = example
            elif role != "stranger":
                raise TrainingError(
                    f"nothing of the {role} answer of record {record.id!r} begins within data.max_tokens; raise it, or leave the "
                    "record out with data.where"
                )
        return Compared(numbered.number, record.id, examples, before)

    def _versions(
        self, record: Conversation, strange_answer: str | None
    ) -> Iterator[tuple[Role, Conversation]]:
        def answered(answer: str) -> Conversation:
            last = replace(record.turns[-1], answer=answer)
            return replace(record, turns=(*record.turns[:-1], last))

        yield "chosen", record
        if record.rejected is not None and "rejected" in self.roles:
            yield "rejected", answered(record.rejected)
        if "blind" in self.roles and any(said.media for said in record.turns):
            yield "blind", self._blinded(record)
        if "stranger" in self.roles and strange_answer is not None:
            yield "stranger", answered(strange_answer)

    def _blinded(self, record: Conversation) -> Conversation:
        nth = count()

        def cut(shown: Shown) -> Shown:
            return fragment(shown, record.id, next(nth), crop=self.crop, seed=self.seed)

        def blinded(said: Said) -> Said:
            return replace(said, media=tuple(tuple(map(cut, clip)) for clip in said.media))

        return replace(record, turns=tuple(map(blinded, record.turns)))

    def untaught(self, example: Compared) -> Compared:
        examples = {role: self.inner.untaught(one) for role, one in example.examples.items()}
        return replace(example, examples=examples, is_filler=True)

    def lay(self, examples: Sequence[Compared]) -> list[Rows]:
        """Lay the answers of a record into the same batch, or row.

        Raises:
            TrainingError: those of one record are longer than a row.
        """
        measured: tuple[Role, ...] = ("stranger",)
        learned = tuple(role for role in self.roles if role not in measured)
        rows = self._laid([one.only(learned) for one in examples], learned)
        apart = [one.only(measured) for one in examples if "stranger" in one.examples]
        if apart:
            rows[0] = replace(rows[0], strangers=tuple(self._laid(apart, measured)))
        return list(rows)

    def _laid(self, examples: Sequence[Compared], roles: tuple[Role, ...]) -> list[ComparedRows]:
        room = self.max_row_tokens
        if room is None:
            return [self._rows(examples, roles)]
        for one in examples:
            if one.tokens > room:
                raise TrainingError(
                    f"the answers of record {one.record_id!r} have {one.tokens} tokens together, and share a row, which has room for "
                    f"{room}; raise data.max_row_tokens, or lower data.max_tokens"
                )
        found: list[ComparedRows] = []
        for members in lay_out([Load(one.tokens) for one in examples], max_row_tokens=room):
            together = [examples[at] for at in members]
            try:
                found.append(self._rows(together, roles))
            except _Apart:
                # The family does not put clips of such different lengths into one row.
                found += [self._rows([one], roles) for one in together]
        return found

    def _rows(self, examples: Sequence[Compared], roles: tuple[Role, ...]) -> ComparedRows:
        laid = self.inner.lay([one for compared in examples for one in compared.examples.values()])
        if len(laid) > 1:
            raise _Apart
        (inner,) = laid
        real = [compared for compared in examples if not compared.is_filler]
        R, elsewhere = len(roles), len(real) * len(roles)
        counts_PR = torch.zeros(len(real), R)
        places_K: list[int] = []
        for row, compared in enumerate(real):
            for role, example in compared.examples.items():
                column = roles.index(role)
                compares = example.taught - compared.before
                counts_PR[row, column] = compares
                places_K += [elsewhere] * compared.before + [row * R + column] * compares
        return ComparedRows(
            record_ids=tuple(compared.record_id for compared in real),
            taught=inner.taught,
            tokens=inner.tokens,
            pictures=inner.pictures,
            taught_each=inner.taught_each,
            samples=inner.samples,
            inner=inner,
            numbers=tuple(compared.number for compared in real),
            roles=roles,
            places_K=torch.tensor(places_K, dtype=torch.long),
            counts_PR=counts_PR,
            answers=int((counts_PR > 0).sum()),
        )


class _Apart(Exception):
    """The family does not put these examples into one row."""


def tokens_of(example: Any) -> int:
    return len(example.ids_T) if hasattr(example, "ids_T") else len(example)


def fragment(shown: Shown, record_id: str, nth: int, *, crop: float, seed: int) -> Shown:
    """Return a small part of a picture in its place: always the same one of a record's nth picture.

    Args:
        shown: The whole.
        record_id: Of the record that shows it.
        nth: Which of the record's pictures it is.
        crop: Share of the area, at most.
        seed: Of the run.
    """
    key = ("fragment", crop, seed, record_id, nth)
    return Shown(key, f"a fragment of {shown.name}", partial(_cut, shown, key))


def _cut(shown: Shown, key: tuple[str, float, int, str, int]) -> bytes:
    picture = decode(shown.read(), name=shown.name)
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    drawn = np.random.default_rng(int.from_bytes(digest, "big"))
    width, height = picture.size
    share = drawn.uniform(min(LEAST_LEFT, key[1]), key[1])
    aspect = np.exp(drawn.uniform(-0.3, 0.3))
    wide = min(width, max(1, int((share * width * height * aspect) ** 0.5)))
    high = min(height, max(1, int(share * width * height / wide)))
    left, top = (int(drawn.integers(room + 1)) for room in (width - wide, height - high))
    png = io.BytesIO()
    picture.crop((left, top, left + wide, top + high)).save(png, format="PNG", compress_level=1)
    return png.getvalue()
