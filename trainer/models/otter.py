"""Otter and OpenFlamingo: a CLIP vision tower, a Perceiver, and a causal language model that looks before every k-th layer.

    pixels ─vision_encoder─► patches ─perceiver─► media ─┐ media, media_mask as arguments
    tokens ─────────────────────────────────► lang_encoder (each layer wrapped in SeeingLayer) ─► logits or loss

Parameters have the names of the published checkpoints. The language model is MPT or MosaicGPT (`mpt.py`), or any of transformers'
that hands keyword arguments on to its layers: LLaMA, Qwen, Gemma, GPT-NeoX, Mistral, …. `<image>` in the text marks where a
medium is shown; a medium is one picture, or the frames of one clip. How often `<image>` occurred up to a token (`text_time`)
decides what the token sees. While decoding with a KV cache a step holds only the newest token, so `text_time` comes along from
the whole text, and the media's keys and values are computed once.

A row may hold several samples, one behind the other (`cu_seq_lens`): none sees another's text or media.

Letters: B rows, T tokens, N media of a row, F frames, C H W a frame, P patches, L latents, V their width, D text width,
S = N·L, E keys and values of a layer, X layers that look.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from .attention import packed_kwargs, packed_masks, packed_positions
from .family import check_type
from .gated_attention import GatedCrossAttention, SeeingLayer, decoder_layers, media_mask
from .loss import taught_loss
from .mpt import MptConfig, MptForCausalLM
from .otter_config import CROSS_ATTENTION, PERCEIVER, check_every, read_text_config, sizes
from .otter_inputs import check_media, check_pixels, check_prompts
from .otter_processor import OtterProcessor
from .perceiver import PerceiverResampler

__all__ = ["Otter", "OtterConfig", "OtterProcessor", "decoder_layers"]


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
    legacy: bool = False
    """Do what the published code does where it is wrong: with a KV cache nothing of the media is seen after the prompt, and what
    follows more `<image>` than there are media sees all of them evenly. Only for reproducing published figures."""
    image_token_id: int | None = None
    answer_token_id: int | None = None
    endofchunk_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        family = kwargs.pop("model_type", "otter")
        if family != "flamingo":  # what OpenFlamingo's configs say; the model is the same
            check_type("the config", family, "otter")
        if not isinstance(self.vision_config, PreTrainedConfig):
            self.vision_config = CLIPVisionConfig(**(self.vision_config or {}))
        if not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = read_text_config(self.text_config or {})
        self.perceiver = sizes("perceiver", PERCEIVER, self.perceiver)
        self.cross_attention = sizes("cross_attention", CROSS_ATTENTION, self.cross_attention)
        check_every(self.cross_attn_every_n_layers, self.text_config.num_hidden_layers)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class Otter(PreTrainedModel, GenerationMixin):
    config_class = OtterConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
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
        if isinstance(config.text_config, MptConfig):
            self.lang_encoder: Any = MptForCausalLM(config.text_config)
        elif type(config.text_config) in MODEL_FOR_CAUSAL_LM_MAPPING:
            self.lang_encoder = AutoModelForCausalLM.from_config(config.text_config)
        else:
            raise ValueError(
                f"text_config.model_type is {config.text_config.model_type!r}, which is no causal language model"
            )
        layers = decoder_layers(self.lang_encoder)
        every = config.cross_attn_every_n_layers
        for index, layer in enumerate(layers):
            looks = (index + 1) % every == 0
            layers[index] = SeeingLayer(
                layer, self._cross_attention(config) if looks else None, nth=index // every
            )
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

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.lang_encoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> Any:
        return self.lang_encoder.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lang_encoder.set_output_embeddings(new_embeddings)

    def get_decoder(self) -> Any:
        return self.lang_encoder.get_decoder()

    def cross_attentions(self) -> list[GatedCrossAttention]:
        """Return the layers that look, first to last."""
        layers = decoder_layers(self.lang_encoder)
        found = (getattr(layer, "gated_cross_attn_layer", None) for layer in layers)
        return [layer for layer in found if layer is not None]

    def see(self, pixels_BNFCHW: Tensor, frame_mask_BNF: Tensor | None = None) -> Tensor:
        """Return media_BNLV: what the language model can look at.

        Frames that the mask calls false only fill up a batch: CLIP does not look at them either.
        """
        check_pixels(pixels_BNFCHW, frame_mask_BNF, self.config)
        if frame_mask_BNF is not None:
            frame_mask_BNF = frame_mask_BNF.bool()
        pixels_MCHW = pixels_BNFCHW.flatten(0, 2).to(self.vision_encoder.dtype)
        real_M = None if frame_mask_BNF is None else frame_mask_BNF.flatten()
        shown = pixels_MCHW if real_M is None else pixels_MCHW[real_M]
        if len(shown) == 0:
            raise ValueError("frame_mask says that no frame is real; leave pixel_values out")
        # Without the class token, and without CLIP's last norm: the Perceiver has its own.
        patches = self.vision_encoder(pixel_values=shown).last_hidden_state[:, 1:]
        if real_M is not None:
            filled = patches.new_zeros(len(pixels_MCHW), *patches.shape[1:])
            patches = filled.index_put((real_M.nonzero()[:, 0],), patches)
        media: Tensor = self.perceiver(
            patches.unflatten(0, pixels_BNFCHW.shape[:3]), frame_mask_BNF
        )
        return media

    def keys_values(self, media_BNLV: Tensor) -> Tensor:
        """Return media_kv_BXSE: the media as each layer that looks takes them."""
        media_BSV = media_BNLV.flatten(1, 2)
        return torch.stack([layer.attn.to_kv(media_BSV) for layer in self.cross_attentions()], 1)

    def text_time(self, input_ids_BT: Tensor) -> Tensor:
        """Count the media shown up to and including each token (text_time_BT)."""
        return self.shown(input_ids_BT).long().cumsum(dim=-1)

    def shown(self, input_ids_BT: Tensor) -> Tensor:
        """Say where a medium is shown (shown_BT)."""
        if self.config.image_token_id is None:
            raise ValueError("the config does not say which token is <image>; set image_token_id")
        shown_BT: Tensor = input_ids_BT == self.config.image_token_id
        return shown_BT

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        media: Tensor | None = None,
        media_kv: Tensor | None = None,
        text_time: Tensor | None = None,
        position_ids: Tensor | None = None,
        cu_seq_lens: Tensor | None = None,
        max_length: int | None = None,
        logits_to_keep: int = 0,
        per_token: bool = False,
        only_states: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits_BTV, or with labels (not yet shifted) only the loss.

        With labels just the taught positions meet the vocabulary, which is most of the memory where that is large; the summed
        loss is divided by `num_items_in_batch`, or else by this batch's taught tokens.

        Args:
            input_ids: (B, T)
            attention_mask: (B, T), 0 for padding on either side.
            pixel_values: pixels_BNFCHW, or None for text alone.
            frame_mask: (B, N, F), false for frames that only fill up a batch.
            labels: (B, T)
            num_items_in_batch: Taught tokens of the whole step.
            media: (B, N, L, V) from `see`, in place of pixels.
            media_kv: (B, X, S, E) from `keys_values`, in place of both.
            text_time: (B, T), the number of the medium that each token sees, counted from 1 in its row, 0 for none. Needed
                where `input_ids` is not the whole text (a filled KV cache) and in packed rows.
            position_ids: (B, T); None: the language model counts, in each sample of a packed row from 0.
            cu_seq_lens: (samples + 1,) int32: where the samples of one packed row begin, and its end. With it there is no
                `attention_mask`.
            max_length: Tokens of the longest sample of a packed row; None: counted, for which the device is waited for.
            logits_to_keep: How many of the last tokens get logits; 0: all.
            per_token: The loss is that of each taught token (K,), row by row, not divided.
            only_states: Return the last layer's output, `last_hidden_state`, and neither logits nor loss.
            kwargs: Of the language model.
        """
        if media is None and media_kv is None and pixel_values is not None:
            media = self.see(pixel_values, frame_mask)
        if cu_seq_lens is not None:
            if text_time is None and (media is not None or media_kv is not None):
                raise ValueError(
                    "a packed row with pictures needs text_time, counted in each sample"
                )
            attention_mask, packed = self._packed(input_ids, cu_seq_lens, max_length)
            kwargs |= packed
            if position_ids is None:
                position_ids = packed_positions(cu_seq_lens, input_ids.shape[1])
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        reached: list[bool] = []
        if media is not None or media_kv is not None:
            if text_time is None:
                seen = input_ids.shape[1] if attention_mask is None else attention_mask.shape[-1]
                if seen != input_ids.shape[1]:
                    # Counted from a part of the text, the media would silently vanish.
                    raise ValueError(
                        f"attention_mask is of {seen} tokens and input_ids of {input_ids.shape[1]}: a step with a filled KV cache "
                        "needs text_time, counted in the whole text"
                    )
                text_time = self.text_time(input_ids)
            kwargs |= self._looks(media, media_kv, text_time) | {"reached": reached}

        if labels is None and not only_states:
            output: CausalLMOutputWithPast = self.lang_encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )
        else:
            states = self.get_decoder()(
                input_ids=input_ids, attention_mask=attention_mask, **kwargs | {"use_cache": False}
            )
            output = states
            if labels is not None:
                loss = taught_loss(
                    states.last_hidden_state,
                    labels,
                    self.logits,
                    words=self.config.text_config.vocab_size,
                    num_items=num_items_in_batch,
                    per_token=per_token,
                )
                output = CausalLMOutputWithPast(loss=loss)
        if "reached" in kwargs and not reached:
            raise ValueError(
                f"the layers of {type(self.lang_encoder).__name__} do not get the keyword arguments of its forward, so they "
                "cannot be shown pictures; choose a language model whose layers do"
            )
        return output

    def _looks(
        self, media_BNLV: Tensor | None, media_kv_BXSE: Tensor | None, text_time_BT: Tensor
    ) -> dict[str, Any]:
        """Return the arguments that tell every layer where each token looks."""
        latents = self.config.perceiver["num_latents"]
        check_media(
            media_BNLV,
            media_kv_BXSE,
            rows=text_time_BT.shape[0],
            latents=latents,
            looks=len(self.cross_attentions()),
        )
        if media_kv_BXSE is not None:
            media = media_kv_BXSE.shape[2] // latents
            shown: dict[str, Any] = {"media_kv": media_kv_BXSE}
        else:
            assert media_BNLV is not None
            media = media_BNLV.shape[1]
            shown = {"media": media_BNLV.flatten(1, 2)}
        shown["media_mask"] = media_mask(text_time_BT, media=media, latents=latents)
        if self.config.legacy:
            shown["media_even"] = text_time_BT > media
        return shown

    def _packed(
        self, input_ids_BT: Tensor, cu_seq_lens_N: Tensor, longest: int | None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the attention mask of a packed row, for each kind of layer if there are several, and its other arguments."""
        if input_ids_BT.shape[0] != 1:
            raise ValueError(f"a packed batch is one row, not {input_ids_BT.shape[0]}")
        if longest is None or cu_seq_lens_N.device.type == "cpu":
            ends = (int(cu_seq_lens_N[0]), int(cu_seq_lens_N[-1]))
            if ends != (0, input_ids_BT.shape[1]):
                raise ValueError(
                    f"cu_seq_lens goes from {ends[0]} to {ends[1]} in a row of {input_ids_BT.shape[1]} tokens"
                )
        if longest is None:
            longest = int(cu_seq_lens_N.diff().max())
        masks = packed_masks(
            self.lang_encoder.config._attn_implementation,
            cu_seq_lens_N,
            self.config.text_config,
            tokens=input_ids_BT.shape[1],
            dtype=self.dtype,
        )
        return masks, packed_kwargs(cu_seq_lens_N, longest)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return what the language model makes of its last layer's output: (…, D) to (…, words)."""
        text = self.config.text_config
        logits: Tensor = self.get_output_embeddings()(hidden)
        if isinstance(self.lang_encoder, MptForCausalLM):  # has done its own before
            return logits
        if scale := getattr(text, "logit_scale", None):  # Cohere
            logits = logits * scale
        if scale := getattr(text, "logits_scaling", None):  # Granite
            logits = logits / scale
        if cap := getattr(text, "final_logit_softcapping", None):  # Gemma
            logits = torch.tanh(logits / cap) * cap
        return logits

    def generate(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Look once, then write. Takes what transformers' `generate` takes: beams, sampling, a streamer, ….

        Args:
            input_ids: (B, T); prompts of different lengths are padded on the left.
            pixel_values: pixels_BNFCHW; rows with fewer media than others are filled up with any.
            frame_mask: (B, N, F), false for frames that only fill up a batch.
            kwargs: `media` or `media_kv` may stand for the pixels.

        Raises:
            ValueError: prompts are padded on the right, where the answer has to go; or they show more or fewer pictures than
                are given.
        """
        mask_BT = kwargs.get("attention_mask")
        if mask_BT is not None and not bool(mask_BT[:, -1].all()):
            raise ValueError(
                "prompts of different lengths must be padded on the left to be continued"
            )
        with torch.no_grad():
            media = kwargs.pop("media", None)
            if media is None and pixel_values is not None:
                media = self.see(pixel_values, frame_mask)
            if media is not None:
                kwargs["media_kv"] = self.keys_values(media)
        if self.config.image_token_id is not None:
            media_kv, latents = kwargs.get("media_kv"), self.config.perceiver["num_latents"]
            check_prompts(
                self.shown(input_ids),
                None if media_kv is None else media_kv.shape[2] // latents,
                pixel_values,
                legacy=self.config.legacy,
            )
        kwargs.setdefault("eos_token_id", self.config.endofchunk_token_id)
        kwargs.setdefault("pad_token_id", self.config.pad_token_id)
        return super().generate(input_ids, **kwargs)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        new = inputs["input_ids"].shape[1]
        if inputs.get("media_kv") is not None:
            whole = inputs["input_ids"] if self.config.legacy else input_ids
            inputs["text_time"] = self.text_time(whole)[:, -new:]
        return inputs


AutoConfig.register("otter", OtterConfig)
AutoModelForImageTextToText.register(OtterConfig, Otter)
# Weights saved with this code take it along, for those who have transformers alone.
OtterConfig.register_for_auto_class()  # type: ignore[no-untyped-call]
Otter.register_for_auto_class("AutoModelForImageTextToText")  # type: ignore[no-untyped-call]
AutoProcessor.register(OtterConfig, OtterProcessor)
