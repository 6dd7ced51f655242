"""Idefics (v1) as transformers has it, with what its class lacks for training and for answering fast.

    pixels ─vision_model─(perceiver_resampler)─► media ─┐ before every k-th layer, through gated_cross_attn_layers
    tokens ───────────────────────────────────► layers ─► logits or loss

The parameters, their names and the config are those of transformers' `IdeficsForVisionText2Text`: either class loads what the
other saved. Its `labels=` fails wherever there are additional words (the published models have two or more), so
the loss is ours: over all words, at the taught positions only. Additional words can be added and, for tools that know one
matrix, merged into the vocabulary. A row may hold several samples; a batch may mix texts with and without pictures.

Letters: B rows, T tokens, N pictures of a row, C H W a picture, L vectors of a picture, V their width, D text width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers import (
    GenerationMixin,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.idefics.modeling_idefics import IdeficsAttention, eager_attention_forward

from .attention import PACKED, packed_kwargs, packed_mask, packed_positions
from .family import check_family, check_type
from .idefics_processor import ANSWER, END, FAKE, IMAGE, picture_mask
from .loss import taught_loss

PictureKeys = dict[int, tuple[Tensor, Tensor]]
"""Keys and values of the pictures, by the number of the gated layer: each (B, heads, N * L, D of a head)."""


class PictureAttention(IdeficsAttention):  # type: ignore[misc, unused-ignore]
    """Text that looks at pictures; their keys and values are computed once where they are kept (`picture_keys`)."""

    def forward(
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        picture_keys: PictureKeys | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from hidden_states (B, T, D) to key_value_states (B, N * L, V); mask (B, 1, T, N * L)."""
        # These say where samples begin among the text, and nothing about pictures.
        for name in ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"):
            kwargs.pop(name, None)
        query = self._heads(self.q_proj(hidden_states))
        number = cast(int, self.layer_idx)
        if picture_keys is not None and number in picture_keys:
            key, value = picture_keys[number]
        else:
            key = self._heads(self.k_proj(key_value_states))
            value = self._heads(self.v_proj(key_value_states))
            if self.qk_layer_norms:
                key = self.k_layer_norm(key)
            if picture_keys is not None:
                picture_keys[number] = key, value
        if self.qk_layer_norms:
            query = self.q_layer_norm(query)
        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            cast(PreTrainedConfig, self.config)._attn_implementation, eager_attention_forward
        )
        seen, weights = attend(
            self, query, key, value, attention_mask,
            dropout=self.dropout if self.training else 0.0, scaling=self.scaling, **kwargs,
        )  # fmt: skip
        out: Tensor = self.o_proj(seen.reshape(*hidden_states.shape[:2], -1))
        return out, weights

    def _heads(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


class Idefics(IdeficsForVisionText2Text):  # type: ignore[misc, unused-ignore]
    main_input_name = "input_ids"
    accepts_loss_kwargs = True

    def __init__(self, config: IdeficsConfig) -> None:
        check_type("the config", config.model_type, IdeficsConfig.model_type)
        super().__init__(config)
        for index, layer in enumerate(self.model.gated_cross_attn_layers):
            looks = PictureAttention(
                config.hidden_size,
                config.num_attention_heads,
                dropout=config.dropout,
                is_cross_attention=True,
                config=config,
                qk_layer_norms=config.qk_layer_norms,
                layer_idx=index,
            )
            if not any(part.is_meta for part in looks.parameters()):
                looks.load_state_dict(layer.cross_attn.state_dict())
            layer.cross_attn = looks

    @classmethod
    def from_pretrained(cls, name: str | Path, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override, unused-ignore]
        """Load a checkpoint of Idefics, ours or any other.

        Raises:
            ValueError: it is of another family.
        """
        check_family(name, IdeficsConfig.model_type, kwargs)
        model: Self = super().from_pretrained(name, *args, **kwargs)
        return model

    def save_pretrained(
        self, save_directory: Any, is_main_process: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """Save files that transformers' own class loads, and names."""
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if is_main_process:
            self.config.architectures = [IdeficsForVisionText2Text.__name__]
            self.config.save_pretrained(save_directory)

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def words(self) -> int:
        """Words that the model has, the additional ones included."""
        return int(self.config.vocab_size + self.config.additional_vocab_size)

    def fit(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Make room for the tokenizer's words, and remember the ids of those that have a meaning."""
        needed = max(tokenizer.get_vocab().values()) + 1
        if needed > self.words:
            self.resize_token_embeddings(needed)
        known = tokenizer.get_vocab()
        image, end = known.get(IMAGE), known.get(END)
        if image is None or end is None:
            missing = IMAGE if image is None else END
            raise ValueError(
                f"the tokenizer has no token {missing!r}; call IdeficsChatProcessor.add_special_tokens(tokenizer) first"
            )
        self.config.image_token_id = image
        self.config.end_of_utterance_token_id = end
        self.config.answer_token_id = known.get(ANSWER)
        settings = self.generation_config
        settings.pad_token_id = self.config.pad_token_id = tokenizer.pad_token_id
        settings.eos_token_id = [*dict.fromkeys((end, tokenizer.eos_token_id or end))]
        # A picture that nobody showed cannot be written.
        settings.suppress_tokens = [known[token] for token in (FAKE, IMAGE) if token in known]

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Give the model `new_num_tokens` words, the additional ones included; new words start as the mean of all others.

        The rows of `config.vocab_size` stay as they are, and what is additional grows or shrinks. Without additional
        words (after `merge_head`) this is transformers' own.
        """
        extra = self.config.additional_vocab_size
        if not extra or (new_num_tokens is None and pad_to_multiple_of is None):
            return super().resize_token_embeddings(
                new_num_tokens, pad_to_multiple_of, mean_resizing
            )
        words = new_num_tokens or self.words
        words += -words % (pad_to_multiple_of or 1)
        extra = words - self.config.vocab_size
        if extra < 1:
            raise ValueError(
                f"a model of {self.config.vocab_size} words and {self.config.additional_vocab_size} additional ones "
                f"cannot be cut to {words}; call merge_head() first"
            )
        entrance, head = self._ends()
        entrance.additional_embedding.weight = _resized(
            entrance.weight, entrance.additional_embedding.weight, extra
        )
        head.additional_fc.weight = _resized(head.weight, head.additional_fc.weight, extra)
        entrance.num_additional_embeddings = entrance.additional_embedding.num_embeddings = extra
        head.out_additional_features = head.additional_fc.out_features = extra
        self.config.additional_vocab_size = extra
        self._tie_again()
        return cast(nn.Embedding, entrance)

    @torch.no_grad()
    def merge_head(self) -> Self:
        """Make one matrix of the words and the additional ones, at the entrance and at the exit. Logits stay the same.

        For tools that read `get_output_embeddings().weight` and would miss the additional words in silence (fused losses).
        """
        if not self.config.additional_vocab_size:
            return self
        old, head = self._ends()
        rows = torch.cat([old.weight, old.additional_embedding.weight])
        merged = nn.Embedding(
            rows.shape[0], rows.shape[1], padding_idx=old.padding_idx, device="meta"
        )
        merged.weight = nn.Parameter(rows, requires_grad=old.weight.requires_grad)
        rows = torch.cat([head.weight, head.additional_fc.weight])
        linear = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(rows, requires_grad=head.weight.requires_grad)
        self.config.vocab_size, self.config.additional_vocab_size = self.words, 0
        self.vocab_size = self.model.vocab_size = self.config.vocab_size
        self.set_input_embeddings(merged)
        self.lm_head = linear
        self._tied_weights_keys = type(self)._tied_weights_keys
        self._tie_again()
        return self

    def _ends(self) -> tuple[Any, Any]:
        """Return the embedding and the output layer."""
        return self.get_input_embeddings(), self.lm_head

    def _tie_again(self) -> None:
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)
        self.tie_weights()

    # ── forward ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def see(self, pixels_BNCHW: Tensor, *, interpolate_pos_encoding: bool = False) -> Tensor:
        """Return media_BNLV: what the text can look at."""
        pixels = pixels_BNCHW.flatten(0, 1).to(self.dtype)
        media: Tensor = self.model.vision_model(
            pixel_values=pixels, interpolate_pos_encoding=interpolate_pos_encoding
        ).last_hidden_state
        if self.config.use_resampler:
            media = self.model.perceiver_resampler(media)
        return media.view(*pixels_BNCHW.shape[:2], *media.shape[1:])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        pixel_values: Tensor | None = None,
        image_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        media: Tensor | None = None,
        cu_seq_lens: Tensor | None = None,
        max_length: int | None = None,
        picture_keys: PictureKeys | None = None,
        logits_to_keep: int = 0,
        per_token: bool = False,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return logits (B, T, words), or with labels (not yet shifted) only the loss.

        Args:
            input_ids: (B, T)
            attention_mask: (B, T), 1 for tokens, 0 for padding on either side.
            position_ids: (B, T); packed samples each begin at 0.
            cache: Of what came before.
            pixel_values: (B, N, 3, H, W); None: no row has a picture.
            image_attention_mask: (B, T, N): the one picture that a token sees, if any. None: the latest one, counted
                from the `<image>` tokens, where `input_ids` is the whole text.
            labels: (B, T) token ids, or -100.
            num_items_in_batch: What the summed loss is divided by; None: this batch's taught tokens.
            media: From `see`, in place of `pixel_values`.
            cu_seq_lens: (samples + 1,), int32, where the samples of the one packed row begin, and T.
            max_length: Tokens of the longest packed sample; None: looked up, which waits for the device.
            picture_keys: Filled at the first call, read at the others.
            logits_to_keep: Of the last tokens; 0: of all.
            per_token: The loss is that of each taught token (K,), row by row, not divided.
            interpolate_pos_encoding: For pictures of other sizes than the vision model's.
            kwargs: Transformers' own.

        Raises:
            ValueError: more `<image>` tokens than pictures, or no way to know them.
        """
        if media is None and pixel_values is not None:
            media = self.see(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        media, image_attention_mask = self._shown(
            input_ids, media, image_attention_mask, attention_mask, cu_seq_lens
        )
        name = "perceiver_embeddings" if self.config.use_resampler else "image_encoder_embeddings"
        kwargs[name] = media.flatten(0, 1)
        if cu_seq_lens is not None:
            B, T = input_ids.shape
            if B != 1:
                raise ValueError(f"a packed batch is one row, not {B}")
            if position_ids is None:
                position_ids = packed_positions(cu_seq_lens, T)
            implementation = self.config._attn_implementation
            attention_mask = packed_mask(implementation, cu_seq_lens, tokens=T, dtype=self.dtype)
            if implementation == PACKED:
                longest = int(cu_seq_lens.diff().max()) if max_length is None else max_length
                kwargs |= packed_kwargs(cu_seq_lens, longest)
        kwargs |= {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "image_attention_mask": image_attention_mask,
        }
        if picture_keys is not None:
            kwargs["picture_keys"] = picture_keys
        if labels is None:
            return super().forward(cache=cache, logits_to_keep=logits_to_keep, **kwargs)
        hidden_BTD = self.model(**kwargs | {"use_cache": False}).last_hidden_state
        loss = taught_loss(
            hidden_BTD, labels, self.lm_head,
            words=self.words, num_items=num_items_in_batch, per_token=per_token,
        )  # fmt: skip
        return CausalLMOutputWithPast(loss=loss)

    def _shown(
        self,
        ids_BT: Tensor,
        media_BNLV: Tensor | None,
        mask_BTN: Tensor | None,
        attention_mask: Tensor | None,
        cu_seq_lens: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return what there is to see, and which of it each token sees."""
        if media_BNLV is None:
            image = getattr(self.config, "image_token_id", None)
            if image is not None and (ids_BT == image).any():
                raise ValueError(
                    "the text has '<image>' tokens but there are no pictures; give each its picture"
                )
            return self._nothing_to_see(len(ids_BT)), ids_BT.new_zeros((*ids_BT.shape, 1))
        N = media_BNLV.shape[1]
        if mask_BTN is None:
            mask_BTN = self._latest_picture(ids_BT, N, attention_mask, cu_seq_lens)
        if mask_BTN.shape != (*ids_BT.shape, N):
            raise ValueError(
                f"image_attention_mask has the shape {tuple(mask_BTN.shape)}, but there are {tuple(ids_BT.shape)} "
                f"tokens and {N} pictures a row"
            )
        return media_BNLV, mask_BTN

    def _nothing_to_see(self, rows: int) -> Tensor:
        """Return media_BNLV for texts alone, N = 1, seen by no token."""
        vision: Any = self.config.vision_config
        if self.training and torch.is_grad_enabled():
            # The same parameters take part in every step, on every device, or the devices wait for each other.
            side = vision.image_size
            height, width = (side, side) if isinstance(side, int) else side
            pixels = torch.zeros(1, 1, vision.num_channels, height, width, device=self.device)
            return self.see(pixels).expand(rows, -1, -1, -1)
        return torch.zeros(rows, 1, 1, vision.embed_dim, dtype=self.dtype, device=self.device)

    def _latest_picture(
        self,
        ids_BT: Tensor,
        pictures: int,
        attention_mask: Tensor | None,
        cu_seq_lens: Tensor | None,
    ) -> Tensor:
        image = getattr(self.config, "image_token_id", None)
        cut = attention_mask is not None and attention_mask.shape[-1] != ids_BT.shape[1]
        if image is None or cut or cu_seq_lens is not None:
            raise ValueError(
                "pictures need an image_attention_mask here (the processor gives one); it can be left out only for a "
                "whole text, after model.fit(tokenizer), outside packed rows"
            )
        shown = int((ids_BT == image).sum(-1).max())
        if shown > pictures:
            raise ValueError(
                f"a row has {shown} '<image>' tokens but only {pictures} pictures; give each its picture"
            )
        return picture_mask(ids_BT, image=image, pictures=pictures, end=self.config.eos_token_id)

    # ── generation ───────────────────────────────────────────────────────────────────────────────────────────────────

    def generate(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_attention_mask: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Look once, then write.

        Raises:
            ValueError: prompts are padded on the right, where the answer has to go.
        """
        mask = kwargs.get("attention_mask")
        if mask is not None and not bool(mask[:, -1].all()):
            raise ValueError("prompts must be padded on the left to be continued")
        if pixel_values is not None and kwargs.get("media") is None:
            with torch.no_grad():
                kwargs["media"] = self.see(
                    pixel_values, interpolate_pos_encoding=interpolate_pos_encoding
                )
        if kwargs.get("media") is not None:
            if image_attention_mask is None:
                image_attention_mask = self._latest_picture(
                    input_ids, kwargs["media"].shape[1], kwargs.get("attention_mask"), None
                )
            kwargs |= {"image_attention_mask": image_attention_mask, "picture_keys": {}}
        return super().generate(input_ids, **kwargs)

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        # Not the parent's way, which keeps what the vision model saw and resamples it for every token.
        updated: dict[str, Any] = GenerationMixin._update_model_kwargs_for_generation(
            self, outputs, model_kwargs, *args, **kwargs
        )
        mask_BTN = updated.get("image_attention_mask")
        if mask_BTN is not None:
            # A new token sees what the one before it saw; a step takes as many of the last ones as it has tokens.
            updated["image_attention_mask"] = torch.cat([mask_BTN, mask_BTN[:, -1:]], dim=1)
        return updated


@torch.no_grad()
def _resized(words: nn.Parameter, additional: nn.Parameter, rows: int) -> nn.Parameter:
    kept = additional[:rows]
    mean = torch.cat([words, additional]).float().mean(0).to(words.dtype)
    new = torch.cat([kept, mean.expand(rows - len(kept), -1)])
    return nn.Parameter(new, requires_grad=additional.requires_grad)
