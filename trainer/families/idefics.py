r"""Idefics: pictures beside the text, seen through gated cross-attention.

    conversation   <s>User:<fake><image><fake>What?<end>\nAssistant:<answer>A cat.<end>\nUser:Why?<end>\nAssistant:<answer>So.<end>
    taught                                                                  ───────────                                   ────────
    document       <s>It was late<fake><image><fake>A cat sat there<fake><image><fake>and slept</s>
    taught                                          ───────────────                   ─────────────

`<fake>` is short for `<fake_token_around_image>`, `<end>` for `<end_of_utterance>`. What is too long loses its end: a conversation
never a picture, a document the pictures that stand beyond.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from transformers import IdeficsConfig, IdeficsImageProcessorPil

from mimicit.errors import RecipeError
from mimicit.media.picture import decode
from trainer import flops
from trainer.config import Data
from trainer.errors import TrainingError
from trainer.families import saved
from trainer.families.laying import beyond, kept, question_parts, rows_of, text_before
from trainer.model_config import IdeficsModel
from trainer.models.attention import PACKED
from trainer.models.idefics import Idefics
from trainer.models.idefics_processor import ANSWER, END, FAKE, IMAGE, IdeficsChatProcessor, Sample
from trainer.models.loss import IGNORED
from trainer.rows import Rows, TensorRows
from trainer.sources.base import Document, Record, Said, Shown
from trainer.tokenizer import make_tokenizer

SPECIAL: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
"""Of a tokenizer that is trained; others have their own."""


def make_processor(
    described: IdeficsModel, texts: Callable[[], Iterable[str]]
) -> IdeficsChatProcessor:
    tokenizer = make_tokenizer(described.tokenizer, texts, vocab_size=described.vocab_size)
    if described.tokenizer == "train":
        tokenizer.add_special_tokens(SPECIAL)
    IdeficsChatProcessor.add_special_tokens(tokenizer)
    pictures = IdeficsImageProcessorPil(image_size=described.vision.image_size)
    try:
        return IdeficsChatProcessor(pictures, tokenizer)
    except ValueError as error:
        raise RecipeError(
            f"model.tokenizer {described.tokenizer!r} cannot be used: {error}"
        ) from error


def read_processor(folder: Path) -> IdeficsChatProcessor:
    processor: IdeficsChatProcessor = IdeficsChatProcessor.from_pretrained(
        folder, trust_remote_code=False
    )
    return processor


def make_model(described: IdeficsModel, processor: IdeficsChatProcessor) -> Idefics:
    """Build an Idefics with random weights. The tokens that the processor added have tables of their own, as published."""
    known = processor.tokenizer.get_vocab()
    # The token that fills up must be one of the words proper.
    words = max(processor.pad_id + 1, min(known[token] for token in (FAKE, IMAGE, END, ANSWER)))
    text, vision, perceiver = described.text, described.vision, described.perceiver
    model = Idefics(
        IdeficsConfig(
            vocab_size=words,
            additional_vocab_size=saved.words(processor) - words,
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_hidden_layers=text.num_hidden_layers,
            num_attention_heads=text.num_attention_heads,
            max_position_embeddings=text.max_position_embeddings,
            initializer_range=text.initializer_range,
            tie_word_embeddings=text.tie_word_embeddings,
            bos_token_id=processor.tokenizer.bos_token_id,
            eos_token_id=processor.tokenizer.eos_token_id,
            pad_token_id=processor.pad_id,
            cross_layer_interval=described.cross_layer_interval,
            qk_layer_norms=True,
            use_resampler=True,
            vision_config={
                "embed_dim": vision.hidden_size,
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
                "intermediate_size": vision.intermediate_size,
                "num_hidden_layers": vision.num_hidden_layers,
                "num_attention_heads": vision.num_attention_heads,
            },
            perceiver_config={
                "use_resampler": True,
                "resampler_n_latents": perceiver.num_latents,
                "resampler_depth": perceiver.depth,
                "resampler_n_heads": perceiver.heads,
                "resampler_head_dim": perceiver.dim_head,
                "qk_layer_norms_perceiver": True,
            },
        )
    )
    for name, gate in model.named_parameters():
        if name.endswith(("alpha_cross_attn", "alpha_dense")):
            nn.init.constant_(gate, described.gate_init)
    model.fit(processor.tokenizer)
    return model


def check(model: Idefics, processor: IdeficsChatProcessor, here: str, data: Data) -> None:
    """Refuse what cannot be taught, and take from the tokenizer what published configs lack."""
    saved.need_rows(model, processor, here)
    config: Any = model.config
    saved.need_same_size(processor.image_size, config.vision_config.image_size, here)
    saved.need_room(model, data, here)
    saved.need_no_sides(data, here)
    model.fit(processor.tokenizer)


def let_pack(model: Idefics) -> None:
    model.set_attn_implementation(PACKED)


def encoder(
    processor: IdeficsChatProcessor, model_config: IdeficsConfig, data: Data, *, seed: int = 0
) -> "IdeficsEncoder":
    return IdeficsEncoder(processor, data)


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record."""

    record_id: str
    sample: Sample

    def __len__(self) -> int:
        return len(self.sample.ids_T)

    @property
    def taught(self) -> int:
        """Tokens with a label; that of the first teaches nothing, for a label teaches the token before it."""
        return sum(label != IGNORED for label in self.sample.labels_T[1:])

    def untaught(self) -> Self:
        labels_T = [IGNORED] * len(self)
        return replace(self, sample=replace(self.sample, labels_T=labels_T))

    def cost(self, *, image: int) -> flops.Sample:
        ids_T = self.sample.ids_T
        before = ids_T.index(image) if image in ids_T else len(ids_T)
        media = (1,) * len(self.sample.pixels_NCHW)
        return flops.Sample(len(ids_T), self.taught, media, looking=len(ids_T) - before)


@dataclass(frozen=True, slots=True)
class IdeficsEncoder:
    processor: IdeficsChatProcessor
    data: Data

    def picture(self, data: bytes, *, name: str) -> Tensor:
        """Return a picture's pixels_CHW."""
        return self.processor.pixels(decode(data, name=name))

    def encode(self, record: Record, pictures: Callable[[Shown], Tensor]) -> Example:
        try:
            if isinstance(record, Document):
                return self._document(record, pictures)
            messages = [
                message
                for said in record.turns
                for message in self._messages(said, record.id, pictures, marked=record.marked)
            ]
            # Longer ones are cut below.
            sample = self.processor.encode(messages, max_tokens=sys.maxsize)
        except ValueError as error:
            raise TrainingError(
                f"record {record.id!r} cannot be taught: {error}; correct it, or leave it out with data.where"
            ) from error
        most, image = self.data.max_tokens, self.processor.image_id
        kept_T = sample.ids_T[:most]
        if kept_T.count(image) < len(sample.pixels_NCHW):
            last = len(sample.ids_T) - sample.ids_T[::-1].index(image)
            raise beyond(record.id, last, most)
        cut = replace(sample, ids_T=kept_T, labels_T=sample.labels_T[:most])
        return Example(record.id, cut)

    def _messages(
        self,
        said: Said,
        record_id: str,
        pictures: Callable[[Shown], Tensor],
        *,
        marked: bool,
    ) -> list[dict[str, Any]]:
        asked = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image", "image": pictures(part)}
            for part in question_parts(said, record_id, marked=marked)
        ]
        return [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said.answer},
        ]

    def _document(self, record: Document, pictures: Callable[[Shown], Tensor]) -> Example:
        most = min(self.data.max_tokens, record.max_tokens or self.data.max_tokens)
        layout, tokenizer = self.processor, self.processor.tokenizer
        ids_T = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        labels_T = [IGNORED] * len(ids_T)
        shown: list[Shown] = []
        places: list[tuple[int, int]] = []
        for part in record.parts:
            if isinstance(part, str):
                new = layout.text_ids(part)
                new = new if shown else new[-text_before(most) :]
                labels_T += new if shown else [IGNORED] * len(new)
            else:
                # Neighbouring pictures share a mark.
                follows = bool(places) and places[-1][1] == len(ids_T)
                new = [layout.image_id, layout.fake_id]
                new = new if follows else [layout.fake_id, *new]
                labels_T += [IGNORED] * len(new)
                shown.append(part)
                places.append((len(ids_T), len(ids_T) + len(new)))
            ids_T += new
        # The end of an answer, where the tokenizer has none for texts.
        end = layout.end_id if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
        ids_T.append(end)
        labels_T.append(end if shown else IGNORED)

        tokens = kept(places, most)
        if places and places[0][1] > tokens:
            raise beyond(record.id, places[0][1], most)
        pixels = [
            pictures(one) for one, (_, last) in zip(shown, places, strict=True) if last <= tokens
        ]
        return Example(record.id, Sample(ids_T[:tokens], labels_T[:tokens], pixels, record.id))

    def untaught(self, example: Example) -> Example:
        return example.untaught()

    def lay(self, examples: Sequence[Example]) -> list[Rows]:
        most = self.data.max_row_tokens
        return [self._rows(row) for row in rows_of(examples, max_row_tokens=most)]

    def _rows(self, examples: Sequence[Example]) -> Rows:
        samples = [example.sample for example in examples]
        given: dict[str, Any]
        if self.data.max_row_tokens is None:
            given = dict(self.processor.collate(samples))
        else:
            given = {**self.processor.pack(samples), "max_length": max(map(len, examples))}
        return TensorRows(
            record_ids=tuple(example.record_id for example in examples),
            taught=sum(example.taught for example in examples),
            tokens=sum(map(len, examples)),
            pictures=sum(len(sample.pixels_NCHW) for sample in samples),
            taught_each=tuple(example.taught for example in examples),
            samples=tuple(example.cost(image=self.processor.image_id) for example in examples),
            given=given,
        )
