"""Fuyu and OtterHD: patches of pictures among the tokens of a decoder.

    conversation   [picture] <s> User:What? Assistant: <0x04> A cat |ENDOFTEXT| User:Why? Assistant: <0x04> So |ENDOFTEXT|
    taught                                                    ─────────────────                             ──────────────
    document       <s> It was late [picture] <s> A cat sat there [picture] <s> and slept |ENDOFTEXT|
    taught                                       ───────────────              ──────────────────────

What is too long loses its end: a conversation never a picture, a document the pictures that stand beyond, each with its patches.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mimicit.errors import RecipeError
from mimicit.media.picture import decode
from trainer import flops
from trainer.config import Data
from trainer.errors import TrainingError
from trainer.families import saved
from trainer.families.laying import beyond, kept, question_parts, rows_of, runs, text_before
from trainer.model_config import FuyuModel
from trainer.models.attention import PACKED
from trainer.models.fuyu import Fuyu, FuyuConfig
from trainer.models.fuyu_batch import Sample, packed, padded
from trainer.models.fuyu_pictures import Patches, drawn_side
from trainer.models.fuyu_processor import FuyuProcessor
from trainer.models.loss import IGNORED
from trainer.rows import Rows, TensorRows
from trainer.sources.base import Document, Record, Shown
from trainer.tokenizer import make_tokenizer

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
"""The tokens of what has no other; Fuyu's marks of an answer, a box and a point are the first of them."""
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "|ENDOFTEXT|"}
LAYOUT = ("|SPEAKER|", "|NEWLINE|")
SMALLER = "show pictures smaller (model.max_pixels, data.sides), "


def make_processor(described: FuyuModel, texts: Callable[[], Iterable[str]]) -> FuyuProcessor:
    tokenizer: PreTrainedTokenizerBase
    if described.tokenizer == "train":
        tokenizer = train_tokenizer(texts(), vocab_size=described.vocab_size)
    else:
        tokenizer = make_tokenizer(described.tokenizer, texts, vocab_size=described.vocab_size)
    try:
        return FuyuProcessor(
            tokenizer, patch_size=described.patch_size, max_pixels=described.max_pixels
        )
    except ValueError as error:
        raise RecipeError(
            f"model.tokenizer {described.tokenizer!r} is not Fuyu's: {error}; give the folder of Fuyu's, or 'train'"
        ) from error


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn a BPE that falls back to bytes, as Fuyu's does, with all of Fuyu's own tokens.

    Args:
        texts: Questions and answers.
        vocab_size: Tokens learned, at most; bytes and special tokens come on top.
    """
    special = [*SPECIAL.values(), *LAYOUT]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size + len(special) + len(BYTES),
        special_tokens=[*special, *BYTES],
        limit_alphabet=vocab_size // 2,
        show_progress=False,
    )
    # Control characters stay bytes: `\x04` is where an answer begins, whatever the texts hold.
    plain = ("".join(one for one in text if one >= " " or one in "\n\t") for text in texts)
    tokenizer.train_from_iterator(plain, trainer)
    # Bytes are special to the trainer only: the characters `<0x04>` in a text are no token.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] in special]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **SPECIAL,
    )


def read_processor(folder: Path) -> FuyuProcessor:
    processor: FuyuProcessor = FuyuProcessor.from_pretrained(folder, trust_remote_code=False)
    return processor


def make_model(described: FuyuModel, processor: FuyuProcessor) -> Fuyu:
    """Build a Fuyu with random weights."""
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "initializer_range",
    )
    model = Fuyu(
        FuyuConfig(
            patch_size=described.patch_size,
            image_token_id=processor.patch_id,
            text_config={
                "model_type": "persimmon",
                "vocab_size": saved.words(processor),
                "bos_token_id": processor.start_id,
                "eos_token_id": processor.end_id,
                "pad_token_id": None,
                **{name: getattr(described, name) for name in names},
            },
        )
    )
    model.fit(processor.tokenizer)
    return model


def check(model: Fuyu, processor: FuyuProcessor, here: str, data: Data) -> None:
    """Refuse what cannot be taught, and take from the tokenizer what published configs lack."""
    saved.need_rows(model, processor, here)
    if processor.patch_size != model.config.patch_size:
        raise RecipeError(
            f"{here} cuts pictures into patches of {processor.patch_size} pixels, but its model takes {model.config.patch_size}"
        )
    saved.need_room(model, data, here)
    model.fit(processor.tokenizer)


def let_pack(model: Fuyu) -> None:
    model.set_attn_implementation(PACKED)


def encoder(
    processor: FuyuProcessor, model_config: FuyuConfig, data: Data, *, seed: int = 0
) -> "FuyuEncoder":
    return FuyuEncoder(processor, data, seed=seed)


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record."""

    record_id: str
    sample: Sample
    pictures: int

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def taught(self) -> int:
        """Tokens with a label; that of the first teaches nothing, for a label teaches the token before it."""
        return int((self.sample.labels_T[1:] != IGNORED).sum())

    def untaught(self) -> Self:
        labels_T = torch.full_like(self.sample.labels_T, IGNORED)
        return replace(self, sample=replace(self.sample, labels_T=labels_T))

    def cost(self) -> flops.Sample:
        return flops.Sample(len(self), self.taught, patches=len(self.sample.patches_PC))


@dataclass(frozen=True, slots=True)
class FuyuEncoder:
    processor: FuyuProcessor
    data: Data
    seed: int = 0
    """For the sides that are drawn."""

    def picture(self, data: bytes, *, name: str) -> Patches | Tensor:
        """Return a picture's patches; or, where each record shows it another size, its pixels (bytes_HWC)."""
        picture = decode(data, name=name)
        if self.data.sides:
            # A copy, for Pillow's memory cannot be written to, which torch warns of.
            return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(
                picture.height, picture.width, 3
            )
        return self.processor.cut(picture)

    def encode(self, record: Record, pictures: Callable[[Shown], Any]) -> Example:
        side = self._side(record.id)

        def shown(part: str | Shown) -> Any:
            if isinstance(part, str):
                return part
            found = pictures(part)
            if isinstance(found, Tensor):
                found = Image.fromarray(found.numpy())
            return self.processor.cut(found, side=side)

        try:
            if isinstance(record, Document):
                return self._document(record, [shown(part) for part in record.parts])
            turns = [
                [shown(part) for part in question_parts(said, record.id, marked=record.marked)]
                for said in record.turns
            ]
            answers = [said.answer for said in record.turns]
            sample = self.processor.sample(list(zip(turns, answers, strict=True)))
        except ValueError as error:
            raise TrainingError(
                f"record {record.id!r} cannot be taught: {error}; correct it, or leave it out with data.where"
            ) from error
        most = self.data.max_tokens
        if len(sample.positions_P) and (last := int(sample.positions_P[-1]) + 1) > most:
            raise beyond(record.id, last, most, SMALLER)
        return Example(
            record.id, first(sample, most), sum(isinstance(p, Patches) for t in turns for p in t)
        )

    def _document(self, record: Document, parts: list[Any]) -> Example:
        most = min(self.data.max_tokens, record.max_tokens or self.data.max_tokens)
        layout = self.processor
        whole = layout.prompt(parts)
        ids_T, positions_P = whole.ids_T.clone(), whole.positions_P
        if (ids_T[:-1] == layout.answer_id).any():
            raise ValueError("the text holds '\\x04', where an answer begins; take it out")
        ids_T[-1] = layout.end_id
        if len(positions_P) and (surplus := int(positions_P[0]) - 1 - text_before(most)) > 0:
            ids_T = torch.cat([ids_T[:1], ids_T[1 + surplus :]])
            positions_P = positions_P - surplus
        is_picture_T = (ids_T == layout.patch_id) | (ids_T == layout.row_end_id)
        is_taught_T = (is_picture_T.cumsum(0) > 0) & ~is_picture_T & (ids_T != layout.start_id)
        labels_T = torch.where(is_taught_T, ids_T, IGNORED)
        # To a picture belongs the `<s>` that ends it.
        places = [(start, end + 1) for start, end in runs(is_picture_T.tolist())]
        tokens = kept(places, most)
        if places and places[0][1] > tokens:
            raise beyond(record.id, places[0][1], most, SMALLER)
        sample = replace(whole, ids_T=ids_T, labels_T=labels_T, positions_P=positions_P)
        return Example(record.id, first(sample, tokens), sum(end <= tokens for _, end in places))

    def _side(self, record_id: str) -> int | None:
        if not self.data.sides:
            return None
        digest = hashlib.blake2b(record_id.encode(), digest_size=8).digest()
        return drawn_side(
            self.data.sides, seed=self.seed, epoch=0, index=int.from_bytes(digest, "big")
        )

    def untaught(self, example: Example) -> Example:
        return example.untaught()

    def lay(self, examples: Sequence[Example]) -> list[Rows]:
        most = self.data.max_row_tokens
        return [self._rows(row) for row in rows_of(examples, max_row_tokens=most)]

    def _rows(self, examples: Sequence[Example]) -> Rows:
        samples = [example.sample for example in examples]
        is_packed = self.data.max_row_tokens is not None
        return TensorRows(
            record_ids=tuple(example.record_id for example in examples),
            taught=sum(example.taught for example in examples),
            tokens=sum(map(len, examples)),
            pictures=sum(example.pictures for example in examples),
            taught_each=tuple(example.taught for example in examples),
            samples=tuple(example.cost() for example in examples),
            given=packed(samples) if is_packed else padded(samples, pad_id=self.processor.pad_id),
        )


def first(sample: Sample, tokens: int) -> Sample:
    """Return the beginning of a sample, with the patches that stand in it."""
    patches = int((sample.positions_P < tokens).sum())
    return Sample(
        sample.ids_T[:tokens],
        sample.labels_T[:tokens],
        sample.patches_PC[:patches],
        sample.positions_P[:patches],
    )
