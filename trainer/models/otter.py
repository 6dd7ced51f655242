"""Otter: a CLIP vision tower, a Perceiver, and a causal language model that looks before every k-th layer.

    pixels ─vision_encoder─► patches ─perceiver─► media ─┐ media, media_mask as arguments
    tokens ─────────────────────────────────► lang_encoder (each layer wrapped in SeeingLayer) ─► logits or loss

Parameters have the names of the published checkpoints. The language model is any of transformers' whose layers receive the
keyword arguments of its forward: the LLaMA family. `<image>` in the text marks where a medium is shown; a medium is one
picture, or the frames of one clip. How often `<image>` occurred up to a token (`text_time`) decides what the token sees. While
decoding with a KV cache a step holds only the newest token, so `text_time` comes along from the whole text.

Letters: B rows, T tokens, N media of a row, F frames, C H W a frame, P patches, L latents, V their width, D text width,
K taught tokens.
"""

import json
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from trainer.masking import IGNORED
from trainer.models.gated_attention import GatedCrossAttention, SeeingLayer, media_mask
from trainer.models.perceiver import PerceiverResampler

END, IMAGE, ANSWER, PAD = "<|endofchunk|>", "<image>", "<answer>", "<PAD>"
CLIP_MEAN_C11 = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
CLIP_STD_C11 = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


class OtterConfig(PreTrainedConfig):
    model_type = "otter"
    sub_configs = {"vision_config": CLIPVisionConfig, "text_config": AutoConfig}  # noqa: RUF012

    vision_config: Any = None
    """A CLIPVisionConfig, or its values."""
    text_config: Any = None
    """The config of a causal language model, or its values with a `model_type`."""
    perceiver: Any = None
    """depth, heads, dim_head, num_latents, ff_mult; the published sizes where absent."""
    cross_attention: Any = None
    """heads, dim_head, ff_mult; the published sizes where absent."""
    cross_attn_every_n_layers: int = 4
    max_num_frames: int | None = None
    """Frames of one medium, at most; None: no frame embeddings, and any number."""
    gate_init: float = 0.0
    image_token_id: int | None = None
    answer_token_id: int | None = None
    endofchunk_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.vision_config, PreTrainedConfig):
            self.vision_config = CLIPVisionConfig(**(self.vision_config or {}))
        if not isinstance(self.text_config, PreTrainedConfig):
            text = {"model_type": "llama"} | (self.text_config or {})
            self.text_config = AutoConfig.for_model(**text)
        # The published sizes, which no published config.json mentions.
        self.perceiver = {
            "depth": 6, "heads": 8, "dim_head": 64, "num_latents": 64, "ff_mult": 4,
        } | (self.perceiver or {})  # fmt: skip
        self.cross_attention = {"heads": 8, "dim_head": 64, "ff_mult": 4} | (
            self.cross_attention or {}
        )
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class Otter(PreTrainedModel, GenerationMixin):
    config_class = OtterConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _no_split_modules = ["SeeingLayer", "CLIPEncoderLayer"]  # noqa: RUF012

    def __init__(self, config: OtterConfig) -> None:
        super().__init__(config)
        media_width = config.vision_config.hidden_size
        self.vision_encoder = CLIPVisionModel(config.vision_config)
        # The Perceiver takes the patches as they are; left trainable, this norm would never get a gradient.
        self.vision_encoder.post_layernorm.requires_grad_(False)
        self.perceiver = PerceiverResampler(
            media_width, max_num_frames=config.max_num_frames, **config.perceiver
        )
        self.lang_encoder = AutoModelForCausalLM.from_config(config.text_config)
        layers = self.lang_encoder.get_decoder().layers
        for index, layer in enumerate(layers):
            looks = (index + 1) % config.cross_attn_every_n_layers == 0
            layers[index] = SeeingLayer(layer, self._cross_attention(config) if looks else None)
        self.post_init()  # type: ignore[no-untyped-call]

    @staticmethod
    def _cross_attention(config: OtterConfig) -> GatedCrossAttention:
        return GatedCrossAttention(
            config.text_config.hidden_size,
            config.vision_config.hidden_size,
            gate_init=config.gate_init,
            **config.cross_attention,
        )

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Give fresh weights to what no checkpoint gave any."""
        super().initialize_weights()  # type: ignore[no-untyped-call]
        # The language model treats all below it as its own and knows no gates, so our blocks come last.
        for part in self.modules():
            if isinstance(part, PerceiverResampler | GatedCrossAttention):
                part.reset_parameters()

    def get_input_embeddings(self) -> Any:
        return self.lang_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: torch.nn.Module) -> None:
        self.lang_encoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> Any:
        return self.lang_encoder.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: torch.nn.Module) -> None:
        self.lang_encoder.set_output_embeddings(new_embeddings)

    def see(self, pixels_BNFCHW: Tensor, frame_mask_BNF: Tensor | None = None) -> Tensor:
        """Return media_BNLV: what the language model can look at."""
        B, N, frames = pixels_BNFCHW.shape[:3]
        pixels = pixels_BNFCHW.flatten(0, 2).to(self.vision_encoder.dtype)
        # Without the class token, and without CLIP's last norm: the Perceiver has its own.
        patches = self.vision_encoder(pixel_values=pixels).last_hidden_state[:, 1:]
        media: Tensor = self.perceiver(patches.unflatten(0, (B, N, frames)), frame_mask_BNF)
        return media

    def text_time(self, input_ids_BT: Tensor) -> Tensor:
        """Count the media shown up to and including each token (text_time_BT)."""
        shown_BT: Tensor = input_ids_BT == self.config.image_token_id
        return shown_BT.long().cumsum(dim=-1)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        media: Tensor | None = None,
        text_time: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits_BTV, or with labels (not yet shifted) only the loss.

        `pixel_values` is pixels_BNFCHW, or None for text alone; `media` from `see` may stand for it. With labels just the
        taught positions meet the vocabulary, which is most of the memory where that is large; the summed loss is
        divided by `num_items_in_batch`, or else by this batch's taught tokens. `text_time` is needed where `input_ids`
        is not the whole text, that is, with a filled KV cache.
        """
        if media is None and pixel_values is not None:
            media = self.see(pixel_values, frame_mask)
        if media is not None:
            if text_time is None and attention_mask is not None:
                # Counted from a part of the text, the media would silently vanish.
                assert attention_mask.shape[-1] == input_ids.shape[1], (
                    "a cached step needs text_time"
                )
            time_BT = self.text_time(input_ids) if text_time is None else text_time
            mask_BTS = media_mask(time_BT, media=media.shape[1], latents=media.shape[2])
            kwargs |= {"media": media.flatten(1, 2), "media_mask": mask_BTS}

        if labels is None:
            output: CausalLMOutputWithPast = self.lang_encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )
            return output

        decoder = self.lang_encoder.get_decoder()
        hidden_BTD = decoder(
            input_ids=input_ids, attention_mask=attention_mask, **kwargs | {"use_cache": False}
        ).last_hidden_state
        next_BT = labels[:, 1:]
        taught_BT = next_BT != IGNORED
        logits_KV = self.get_output_embeddings()(hidden_BTD[:, :-1][taught_BT])
        loss = F.cross_entropy(logits_KV.float(), next_BT[taught_BT], reduction="sum")
        if num_items_in_batch is None:
            num_items_in_batch = taught_BT.sum()
        return CausalLMOutputWithPast(loss=loss / num_items_in_batch)

    def generate(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Look once, then write. Pad prompts of different lengths on the left."""
        if pixel_values is not None:
            with torch.no_grad():
                kwargs["media"] = self.see(pixel_values, frame_mask)
        kwargs.setdefault("eos_token_id", self.config.endofchunk_token_id)
        kwargs.setdefault("pad_token_id", self.config.pad_token_id)
        return super().generate(input_ids, **kwargs)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        new = inputs["input_ids"].shape[1]
        inputs["text_time"] = self.text_time(input_ids)[:, -new:]
        return inputs


class OtterProcessor:
    """Text to tokens and pictures to pixels, the same way for teaching and for asking.

    A text is `<image>User:{question} GPT:<answer>{answer}<|endofchunk|>`; special tokens are placed by id, so a question that
    contains the characters `<answer>` stays a question. A picture is resized to a square without regard to its proportions, as
    the published weights were taught: nothing at its edges is lost.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, image_size: int) -> None:
        self.tokenizer = tokenizer
        self.image_size = image_size
        """Pixels, of both sides."""
        ids = tokenizer.convert_tokens_to_ids([END, IMAGE, ANSWER, str(tokenizer.pad_token)])
        self.end_id, self.image_id, self.answer_id, self.pad_id = cast(list[int], ids)

    @staticmethod
    def add_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
        """Add what Otter needs, in the published order, so that the ids are those of the published weights."""
        tokenizer.add_special_tokens({"additional_special_tokens": [END, IMAGE, ANSWER]})
        if tokenizer.pad_token_id is None:
            tokenizer.add_special_tokens({"pad_token": PAD})

    def prompt(self, question: str, *, picture: bool) -> list[int]:
        """Return the tokens up to and including `<answer>`."""
        start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        shown = [self.image_id] if picture else []
        return [*start, *shown, *self._ids(f"User:{question.strip()} GPT:"), self.answer_id]

    def reply(self, answer: str) -> list[int]:
        """Return the tokens after `<answer>`, the end included."""
        return [*self._ids(answer.strip().replace("\r\n", "\n")), self.end_id]

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def pixels(self, picture: Image.Image) -> Tensor:
        """Return pixels_CHW, normalised as CLIP expects."""
        side = (self.image_size, self.image_size)
        squashed = picture.convert("RGB").resize(side, Image.Resampling.BICUBIC)
        return self.normalised(torch.from_numpy(np.array(squashed)).permute(2, 0, 1).contiguous())

    @staticmethod
    def normalised(bytes_CHW: Tensor) -> Tensor:
        """Return the bytes of a picture of the right size as pixels_CHW, normalised as CLIP expects."""
        return bytes_CHW.float().div_(255).sub_(CLIP_MEAN_C11).div_(CLIP_STD_C11)

    def save_pretrained(self, folder: str | Path) -> None:
        self.tokenizer.save_pretrained(folder)
        settings = {"processor_class": "OtterProcessor", "image_size": self.image_size}
        path = Path(folder) / "processor_config.json"
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, **_: Any) -> Self:
        settings = json.loads((Path(folder) / "processor_config.json").read_text(encoding="utf-8"))
        return cls(AutoTokenizer.from_pretrained(folder), image_size=settings["image_size"])

    def _ids(self, text: str) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])


AutoConfig.register("otter", OtterConfig)
AutoModelForImageTextToText.register(OtterConfig, Otter)
AutoProcessor.register(OtterConfig, OtterProcessor)
