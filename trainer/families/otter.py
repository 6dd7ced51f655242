"""Otter and OpenFlamingo: CLIP, Perceiver and gated cross-attention in a language model."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers.initialization import no_init_weights

from mimicit.errors import PictureError
from mimicit.media import tensors
from mimicit.media.picture import decode
from trainer import parts
from trainer.batch import Example
from trainer.config import Data
from trainer.encode import encode, encode_document
from trainer.families import saved
from trainer.model_config import Model, Published, Text
from trainer.models.attention import PACKED
from trainer.models.otter import Otter, OtterConfig
from trainer.models.otter_processor import OtterProcessor
from trainer.models.turns import Turn
from trainer.packing import batches
from trainer.rows import Rows
from trainer.sources.base import Clip, Document, Record, Shown
from trainer.tokenizer import make_tokenizer


def make_processor(described: Model, texts: Callable[[], Iterable[str]]) -> OtterProcessor:
    tokenizer = make_tokenizer(described.tokenizer, texts, vocab_size=described.vocab_size)
    OtterProcessor.add_special_tokens(tokenizer, layout=described.layout)
    return OtterProcessor(
        tokenizer,
        image_size=parts.image_size(described),
        # OpenFlamingo was taught on the middle square of pictures.
        geometry="squash" if described.layout == "otter" else "crop",
        layout=described.layout,
        max_frames=described.max_num_frames,
    )


def read_processor(folder: Path) -> OtterProcessor:
    processor: OtterProcessor = OtterProcessor.from_pretrained(folder, trust_remote_code=False)
    return processor


def make_model(described: Model, processor: OtterProcessor) -> Otter:
    """Build an Otter or an OpenFlamingo, with random weights where it starts from no published part.

    On the meta device nothing is read.
    """
    special = {
        "vocab_size": len(processor.tokenizer),
        "bos_token_id": processor.tokenizer.bos_token_id,
        "eos_token_id": processor.end_id,
        "pad_token_id": processor.pad_id,
    }
    vision, text = described.vision, described.text
    config = OtterConfig(
        vision_config=parts.vision_of(vision) if isinstance(vision, Published) else asdict(vision),
        text_config=_text_of(text, special)
        if isinstance(text, Published)
        else text_values(text) | special,
        perceiver=asdict(described.perceiver),
        cross_attention=asdict(described.cross_attention),
        cross_attn_every_n_layers=described.cross_attn_every_n_layers,
        max_num_frames=described.max_num_frames,
        gate_init=described.gate_init,
        image_token_id=processor.image_id,
        answer_token_id=processor.answer_id if described.layout == "otter" else None,
        endofchunk_token_id=processor.end_id,
        pad_token_id=processor.pad_id,
    )
    if not parts.has_parts(described):
        return Otter(config)
    both = isinstance(vision, Published) and isinstance(text, Published)
    with no_init_weights() if both else nullcontext():
        model = Otter(config)
    if model.device.type != "meta":
        parts.fill(model, described)
    return model


def _text_of(part: Published, special: dict[str, Any]) -> Any:
    config = parts.text_of(part, words=special["vocab_size"])
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, special[name])
    return config


def text_values(config: Text) -> dict[str, Any]:
    """Return what transformers takes as the config of a language model."""
    values = {name: value for name, value in asdict(config).items() if value is not None}
    heads = config.num_attention_heads
    if config.model_type == "mpt":
        return {
            "model_type": "mpt",
            "d_model": config.hidden_size,
            "n_heads": heads,
            "n_layers": config.num_hidden_layers,
            "max_seq_len": config.max_position_embeddings,
            "expansion_ratio": config.intermediate_size // config.hidden_size,
            "attn_config": {"attn_type": "grouped_query_attention", "kv_n_heads": config.kv_heads}
            if config.kv_heads != heads
            else {},
            "init_config": {"name": "baseline_", "init_std": config.initializer_range},
        }
    if config.model_type == "gpt_neox":
        return {
            name: value
            for name, value in values.items()
            if name not in ("num_key_value_heads", "head_dim")
        }
    # Some families have defaults of their own for these, made for one size.
    head_dim = config.head_dim or config.hidden_size // heads
    values |= {"num_key_value_heads": config.kv_heads, "head_dim": head_dim}
    if config.model_type == "gemma3_text":
        values["query_pre_attn_scalar"] = head_dim
    return values


def check(model: Otter, processor: OtterProcessor, here: str, data: Data) -> None:
    marks = {"image_token_id": processor.image_id, "endofchunk_token_id": processor.end_id}
    if processor.layout == "otter":
        marks["answer_token_id"] = processor.answer_id
    saved.need_rows(model, processor, here)
    saved.need_same_tokens(model.config, marks, here)
    saved.need_same_size(processor.image_size, model.config.vision_config.image_size, here)
    saved.need_room(model, data, here)
    saved.need_no_sides(data, here)


def let_pack(model: Otter) -> None:
    model.set_attn_implementation({"text_config": PACKED})


def encoder(
    processor: OtterProcessor, model_config: OtterConfig, data: Data, *, seed: int = 0
) -> "OtterEncoder":
    return OtterEncoder(processor, data, max_frames=model_config.max_num_frames)


@dataclass(frozen=True, slots=True)
class OtterEncoder:
    processor: OtterProcessor
    data: Data
    max_frames: int | None = None
    """That the model takes of one medium; None: any number."""

    def picture(self, data: bytes, *, name: str) -> Tensor:
        """Return the bytes of a picture, of the size that the model takes (bytes_CHW): a quarter of the pixels that it takes."""
        if self.processor.geometry == "squash":
            size = self.processor.image_size
            return tensors.pixels(data, size, name=name, quality=self.data.decode)
        return self.processor.resized(decode(data, name=name))

    def encode(self, record: Record, pictures: Callable[[Shown], Tensor]) -> Example:
        if isinstance(record, Document):
            room = self.data.max_tokens
            return encode_document(record, self.processor, pictures, max_tokens=room)
        most = self.max_frames
        for clip in (clip for turn in record.turns for clip in turn.media):
            if most and len(clip) > most:
                raise PictureError(
                    f"record {record.id!r} has {len(clip)} pictures, but the model takes {most}; "
                    "raise model.max_num_frames, or leave such records out with data.where"
                )

        def frames(clip: Clip) -> Tensor:
            return torch.stack([pictures(shown) for shown in clip])

        turns = [
            Turn(said.question, said.answer, cast(Any, [frames(clip) for clip in said.media]))
            for said in record.turns
        ]
        return encode(
            record.id,
            turns,
            self.processor,
            max_tokens=self.data.max_tokens,
            marked=record.marked,
        )

    def untaught(self, example: Example) -> Example:
        return example.untaught()

    def lay(self, examples: Sequence[Example]) -> list[Rows]:
        rows = batches(
            examples,
            pad=self.processor.pad_id,
            image=self.processor.image_id,
            max_row_tokens=self.data.max_row_tokens,
        )
        return list(rows)
