r"""Conversations with pictures for Idefics (v1), the same way for teaching and for asking.

    messages  user [picture, "What is it?"]   assistant ["A cat."]
    text      <s>User:<fake><image><fake>What is it?<end_of_utterance>\nAssistant:<answer>A cat.<end_of_utterance>
    taught                                                                              ─────────────────────────

`<fake>` is short for `<fake_token_around_image>`; neighbouring pictures share one. `<answer>` is there if the tokenizer has it.
Pictures stand where the messages have them, the n-th `<image>` for the n-th picture. Special tokens are placed by id: a
question that contains the characters `<image>` stays a question.

Letters: B rows, T tokens, N pictures of a row, C H W a picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BatchFeature,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from .loss import IGNORED
from .pictures import in_colour

FAKE, IMAGE = "<fake_token_around_image>", "<image>"
END, ANSWER = "<end_of_utterance>", "<answer>"
Message = Mapping[str, Any]
"""{"role": "user" or "assistant", "content": a text, or a list of {"type": "text", "text": ...} and {"type": "image", "image": ...}}."""
Picture = Image.Image | Tensor
"""A picture as it is, or as the image processor made it: pixels_CHW."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded conversation."""

    ids_T: list[int]
    labels_T: list[int]
    """Token ids of answers and their ends, IGNORED elsewhere; not shifted."""
    pixels_NCHW: list[Tensor]
    record_id: str | None = None


def picture_mask(
    ids_BT: Tensor, *, image: int, pictures: int, end: int | Sequence[int] | None = None
) -> Tensor:
    """Return which picture each token sees (mask_BTN): the one of the latest `<image>`, itself included.

    After an `end` (of a document) nothing is seen until the next picture; before the first one, nothing.
    """
    is_image_BT = ids_BT == image
    count_BT = is_image_BT.long().cumsum(-1)
    places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    if end is not None:
        ends = torch.tensor([end] if isinstance(end, int) else [*end], device=ids_BT.device)
        shown_BT = torch.where(is_image_BT, places_T, -1).cummax(-1).values
        over_BT = torch.where(torch.isin(ids_BT, ends), places_T, -1).cummax(-1).values
        before_BT = torch.nn.functional.pad(over_BT[:, :-1], (1, 0), value=-1)
        count_BT = count_BT.masked_fill(before_BT >= shown_BT, 0)
    numbers_N = torch.arange(1, pictures + 1, device=ids_BT.device)
    return count_BT[..., None] == numbers_N


class IdeficsChatProcessor(ProcessorMixin):  # type: ignore[misc, unused-ignore]
    _auto_class = "AutoProcessor"

    def __init__(
        self, image_processor: Any, tokenizer: PreTrainedTokenizerBase, **kwargs: Any
    ) -> None:
        """Take the checkpoint's image processor and tokenizer.

        Raises:
            ValueError: the tokenizer lacks a special token.
        """
        super().__init__(image_processor, tokenizer, **kwargs)  # type: ignore[no-untyped-call]
        known = tokenizer.get_vocab()
        for token in (FAKE, IMAGE, END):
            if token not in known:
                raise ValueError(
                    f"the tokenizer has no token {token!r}; call IdeficsChatProcessor.add_special_tokens(tokenizer) and "
                    "model.fit(tokenizer), or give the tokenizer of an Idefics checkpoint"
                )
        if tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no padding token; set tokenizer.pad_token")
        self.fake_id, self.image_id, self.end_id = known[FAKE], known[IMAGE], known[END]
        self.answer_id: int | None = known.get(ANSWER)
        self.pad_id = int(tokenizer.pad_token_id)
        # Some tokenizers mark the beginning of a text, which a part behind a special token is not.
        self._marks_beginning = self._plain(f"{IMAGE}a", split=False)[1:] != self._plain("a")

    @property
    def image_size(self) -> int:
        """Pixels, of both sides."""
        return int(self.image_processor.size["height"])

    @classmethod
    def from_published(cls, name: str, *, answer: bool = False) -> Self:
        """Take a published checkpoint's image processor and tokenizer, and add the special tokens that it lacks."""
        tokenizer = AutoTokenizer.from_pretrained(name)
        cls.add_special_tokens(tokenizer, answer=answer)
        return cls(AutoImageProcessor.from_pretrained(name), tokenizer)

    @staticmethod
    def add_special_tokens(tokenizer: PreTrainedTokenizerBase, *, answer: bool = True) -> None:
        """Add what is missing, behind all other tokens; then call `fit` of the model."""
        tokens = [FAKE, IMAGE, END, *([ANSWER] if answer else [])]
        known = tokenizer.get_vocab()
        missing = [token for token in tokens if token not in known]
        if missing:
            tokenizer.add_tokens(missing, special_tokens=True)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token

    # ── one conversation ─────────────────────────────────────────────────────────────────────────────────────────────

    def encode(
        self,
        messages: Sequence[Message],
        pictures: Sequence[Picture] | None = None,
        *,
        record_id: str | None = None,
        max_tokens: int | None = None,
    ) -> Sample:
        """Return the tokens of a conversation; one that ends with the user is a prompt for the next answer.

        Args:
            messages: Oldest first.
            pictures: For the messages' `{"type": "image"}` that hold no picture themselves, in order.
            record_id: Named in errors.
            max_tokens: More are refused; None: more than the tokenizer's `model_max_length`.

        Raises:
            ValueError: pictures and their places do not match, a picture or a message cannot be read, the text is too long.
        """
        name = "the conversation" if record_id is None else f"record {record_id!r}"
        try:
            ids_T, labels_T, shown = self._encoded(messages, pictures)
            allowed = int(self.tokenizer.model_max_length) if max_tokens is None else max_tokens
            if len(ids_T) > allowed:
                _refuse_length(len(ids_T), allowed)
            pixels_NCHW = [self.pixels(picture) for picture in shown]
        except (ValueError, OSError) as error:
            raise ValueError(f"{name} cannot be encoded: {error}") from error
        return Sample(ids_T, labels_T, pixels_NCHW, record_id)

    def _encoded(
        self, messages: Sequence[Message], pictures: Sequence[Picture] | None
    ) -> tuple[list[int], list[int], list[Picture]]:
        """Return ids_T, labels_T, and the pictures in the order of their places."""
        waiting = None if pictures is None else iter(pictures)
        shown: list[Picture] = []
        ids_T: list[int] = []
        labels_T: list[int] = []
        for part, taught in _merged(self._parts(messages, waiting, shown)):
            ids = [part] if isinstance(part, int) else self._ids(part)
            ids_T += ids
            labels_T += ids if taught else [IGNORED] * len(ids)
        if pictures is not None and waiting is not None and (left := len(list(waiting))):
            raise ValueError(
                f"it has {len(pictures)} pictures but places for {len(pictures) - left}; show each once"
            )
        return ids_T, labels_T, shown

    def prompt(self, question: str, *, picture: bool) -> list[int]:
        """Return the tokens of a question up to where its answer begins."""
        content: list[dict[str, Any]] = [{"type": "text", "text": question}]
        if picture:
            # Only the ids matter here, so any pixels will do.
            content.insert(
                0, {"type": "image", "image": torch.zeros(3, self.image_size, self.image_size)}
            )
        return self.encode([{"role": "user", "content": content}]).ids_T

    def reply(self, answer: str) -> list[int]:
        """Return the tokens of an answer, its end included."""
        return [*self._ids(_answer(answer)), self.end_id]

    def text_ids(self, text: str) -> list[int]:
        """Return the tokens of a bare text behind a special token."""
        return self._ids(text)

    def decode(self, ids: Sequence[int], **kwargs: Any) -> str:
        """Return the text without special tokens."""
        return str(self.tokenizer.decode(ids, **{"skip_special_tokens": True} | kwargs)).strip()

    def pixels(self, picture: Picture) -> Tensor:
        """Return pixels_CHW as the checkpoint's image processor makes them."""
        if isinstance(picture, Tensor):
            if picture.shape != (3, self.image_size, self.image_size):
                raise ValueError(
                    f"pixels of shape {tuple(picture.shape)} are not (3, {self.image_size}, {self.image_size})"
                )
            return picture
        if not isinstance(picture, Image.Image):
            raise ValueError(f"{picture!r} is no picture; give one of Pillow's, or its pixels")  # noqa: TRY004
        pixels: Tensor = self.image_processor([in_colour(picture)], return_tensors="pt")[0]
        return pixels

    def _parts(
        self, messages: Sequence[Message], waiting: Iterator[Picture] | None, shown: list[Picture]
    ) -> Iterator[tuple[str | int, bool]]:
        """Yield texts and special tokens, and whether they are taught; put the pictures into `shown`."""
        if not messages:
            raise ValueError("it has no messages")
        if self.tokenizer.bos_token_id is not None:
            yield self.tokenizer.bos_token_id, False
        role = None
        for number, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if role not in ("user", "assistant"):
                raise ValueError(f"a message has the role {role!r}; write 'user' or 'assistant'")
            if content is None:
                raise ValueError(f"message {number + 1} has no content")
            answers = role == "assistant"
            start = "Assistant:" if answers else "User:"
            yield (f"\n{start}" if number else start), False
            if answers and self.answer_id is not None:
                yield self.answer_id, False
            yield from self._content(content, answers, waiting, shown)
            yield self.end_id, answers
        if role != "assistant":
            yield "\nAssistant:", False
            if self.answer_id is not None:
                yield self.answer_id, False

    def _content(
        self,
        content: str | Sequence[Message],
        taught: bool,
        waiting: Iterator[Picture] | None,
        shown: list[Picture],
    ) -> Iterator[tuple[str | int, bool]]:
        parts: Sequence[Message] = (
            [{"type": "text", "text": content}] if isinstance(content, str) else content
        )
        after_picture = False
        for part in parts:
            kind = part.get("type")
            if kind == "text":
                text = part.get("text")
                if not isinstance(text, str):
                    raise ValueError(f"a message has a part of type 'text' with {text!r} in it")
                text = _answer(text) if taught else text.strip()
                if text:
                    yield text, taught
                    after_picture = False
            elif kind == "image":
                picture = part.get("image")
                if picture is None and waiting is not None:
                    picture = next(waiting, None)
                if picture is None:
                    raise ValueError(f"its place for picture {len(shown) + 1} has no picture")
                shown.append(picture)
                if not after_picture:
                    yield self.fake_id, False
                yield self.image_id, False
                yield self.fake_id, False
                after_picture = True
            else:
                raise ValueError(f"a message has a part of type {kind!r}; write 'text' or 'image'")

    def _ids(self, text: str) -> list[int]:
        if not self._marks_beginning:
            return self._plain(text)
        for before in ("\n", "|", "."):
            first = self._plain(before)
            both = self._plain(before + text)
            if both[: len(first)] == first:
                return both[len(first) :]
        raise ValueError(f"the tokenizer gives no tokens for {text!r} behind a special token")

    def _plain(self, text: str, *, split: bool = True) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=split)
        return list(encoded["input_ids"])

    # ── several ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def __call__(
        self,
        conversations: Sequence[Any],
        pictures: Sequence[Any] | None = None,
        *,
        record_ids: Sequence[str] | None = None,
        max_tokens: int | None = None,
        labels: bool = False,
    ) -> BatchFeature:
        """Return one batch for `generate` (padded on the left), or with labels for learning (padded on the right).

        Args:
            conversations: A list of messages, or several lists.
            pictures: Of the one, or of each.
            record_ids: Of each, for errors.
            max_tokens: Of each.
            labels: For learning.
        """
        if not conversations:
            raise ValueError("there is no conversation")
        if isinstance(conversations[0], Mapping):
            conversations = [conversations]
            pictures = None if pictures is None else [pictures]
        if pictures is not None and len(pictures) != len(conversations):
            raise ValueError(
                f"{len(conversations)} conversations have {len(pictures)} lists of pictures; give each its own"
            )
        samples = [
            self.encode(
                conversation,
                None if pictures is None else pictures[row],
                record_id=None if record_ids is None else record_ids[row],
                max_tokens=max_tokens,
            )
            for row, conversation in enumerate(conversations)
        ]
        batch = self.collate(samples, side="right" if labels else "left", always_pictures=True)
        if not labels:
            del batch["labels"]
        return BatchFeature(batch)

    def collate(
        self,
        samples: Sequence[Sample],
        *,
        side: Literal["left", "right"] = "right",
        always_pictures: bool = False,
    ) -> dict[str, Tensor]:
        """Return a padded batch: input_ids, attention_mask, labels (B, T), pixel_values (B, N, C, H, W), image_attention_mask (B, T, N).

        Where no sample has a picture the last two are absent, or one of zeros that nobody sees (`always_pictures`), as
        transformers' own class wants it.
        """
        B, T = len(samples), max(len(sample.ids_T) for sample in samples)
        N = max(len(sample.pixels_NCHW) for sample in samples)
        if always_pictures:
            N = max(1, N)
        batch = {
            "input_ids": torch.full((B, T), self.pad_id),
            "attention_mask": torch.zeros(B, T, dtype=torch.long),
            "labels": torch.full((B, T), IGNORED),
        }
        if N:
            batch["pixel_values"] = torch.zeros(B, N, 3, self.image_size, self.image_size)
            batch["image_attention_mask"] = torch.zeros(B, T, N, dtype=torch.bool)
        for row, sample in enumerate(samples):
            length, pictures = len(sample.ids_T), len(sample.pixels_NCHW)
            at = slice(0, length) if side == "right" else slice(T - length, T)
            batch["input_ids"][row, at] = torch.tensor(sample.ids_T)
            batch["attention_mask"][row, at] = 1
            batch["labels"][row, at] = torch.tensor(sample.labels_T)
            if pictures:
                batch["pixel_values"][row, :pictures] = torch.stack(sample.pixels_NCHW)
                batch["image_attention_mask"][row, at, :pictures] = self._seen(sample)
        return batch

    def pack(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Return the samples as one row (B = 1) in which none sees another, nor its pictures.

        input_ids, position_ids, labels (1, T), cu_seq_lens (samples + 1,), pixel_values (1, N, C, H, W), image_attention_mask
        (1, T, N); without any picture the last two are absent.
        """
        lengths = torch.tensor([len(sample.ids_T) for sample in samples])
        cuts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
        # A label teaches the token before it; the first one's would teach another sample.
        labels = [label for sample in samples for label in (IGNORED, *sample.labels_T[1:])]
        batch = {
            "input_ids": torch.tensor([[token for sample in samples for token in sample.ids_T]]),
            "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
            "labels": torch.tensor([labels]),
            "cu_seq_lens": cuts,
        }
        if pixels_NCHW := [pixels for sample in samples for pixels in sample.pixels_NCHW]:
            batch["pixel_values"] = torch.stack(pixels_NCHW)[None]
            masks = [self._seen(sample) for sample in samples]
            block_diagonal = torch.block_diag(*masks)  # type: ignore[no-untyped-call]
            batch["image_attention_mask"] = block_diagonal.bool()[None]
        return batch

    def _seen(self, sample: Sample) -> Tensor:
        ids_BT = torch.tensor([sample.ids_T])
        return picture_mask(ids_BT, image=self.image_id, pictures=len(sample.pixels_NCHW))[0]


def _merged(parts: Iterator[tuple[str | int, bool]]) -> Iterator[tuple[str | int, bool]]:
    """Join neighbouring texts: words are cut at special tokens, and where teaching begins or ends."""
    text, was_taught = "", False
    for part, taught in parts:
        if text and (isinstance(part, int) or taught != was_taught):
            yield text, was_taught
            text = ""
        if isinstance(part, int):
            yield part, taught
        else:
            text, was_taught = text + part, taught
    if text:
        yield text, was_taught


def _refuse_length(tokens: int, allowed: int) -> None:
    raise ValueError(
        f"it has {tokens} tokens, more than the {allowed} allowed; shorten it or leave it out"
    )


def _answer(text: str) -> str:
    return text.strip().replace("\r\n", "\n")
