"""Fuyu and OtterHD: pictures as rows of patches in a causal language model, without a vision tower.

    patches ─vision_embed_tokens─┐ put where the text has a placeholder
    tokens ─────────────────► language_model (fuyu_layers.Persimmon) ─► logits, or with labels the loss alone

Config, files and outputs are those of transformers' FuyuForCausalLM, which loads what this one saves, and the other way round;
files of 4.35's time load, too. Different is the way of training:

- Only taught tokens meet the last layer's feed-forward and the vocabulary (Fuyu: 262,144 words), see fuyu_layers.py and loss.py.
- Patches are put at given positions: no question to the device how many placeholders there are.
- Several samples in one row see only themselves (`cu_seq_lens`, see attention.py).
- Beams and samples of `generate` see whole pictures.

Letters: B rows, T tokens, P patches, C numbers of one patch (patch_size² · 3), D width, V words, K taught tokens, N samples.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import FuyuConfig, FuyuForCausalLM, FuyuPreTrainedModel
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .attention import packed_kwargs, packed_mask
from .family import check_family
from .fuyu_batch import normalised, positions_taught
from .fuyu_layers import Persimmon
from .loss import rows_loss

__all__ = ["Fuyu", "FuyuConfig", "FuyuDecoder"]


class FuyuDecoder(FuyuPreTrainedModel):
    """The language model and the embedding of patches, under the names of transformers' FuyuModel."""

    def __init__(self, config: FuyuConfig) -> None:
        super().__init__(config)
        text: Any = config.text_config
        assert config.patch_size is not None
        assert config.num_channels is not None
        self.language_model = Persimmon(text)
        numbers = config.patch_size**2 * config.num_channels
        self.vision_embed_tokens = nn.Linear(numbers, text.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: Any) -> None:
        self.language_model.embed_tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        patch_positions: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cu_seq_lens: Tensor | None = None,
        max_length: int | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Return the last layer's states; arguments as those of `Fuyu.forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.language_model.embed_tokens(input_ids)
        if pixel_values is not None:
            if patch_positions is None:
                if input_ids is None:
                    raise ValueError("pictures beside inputs_embeds need patch_positions")
                patch_positions = placeholders(input_ids, pixel_values, self.config.image_token_id)
            inputs_embeds = self.shown(inputs_embeds, pixel_values, patch_positions)
        if cu_seq_lens is not None:
            kwargs |= self._packed(cu_seq_lens, max_length, inputs_embeds)
        output: BaseModelOutputWithPast = self.language_model(inputs_embeds=inputs_embeds, **kwargs)
        return output

    def shown(self, words_BTD: Tensor, pixels: Tensor, positions: Tensor) -> Tensor:
        """Return words_BTD with the patches put in: (P, C) at (P,), counted over all rows, or (B, P, C) at (B, P) of each row.

        A position below zero is none: that patch is not shown.
        """
        B, T = words_BTD.shape[:2]
        config: Any = self.config
        side, colours = config.patch_size, config.num_channels
        if pixels.shape[-1] != side**2 * colours:
            raise ValueError(
                f"a patch has {pixels.shape[-1]} numbers, but the model's has {side} × {side} × {colours}; "
                f"make the processor with patch_size={side}"
            )
        if pixels.dtype == torch.uint8:
            pixels = normalised(pixels)
        patches = self.vision_embed_tokens(pixels.to(self.vision_embed_tokens.weight.dtype))
        words_ND = words_BTD.flatten(0, 1)
        patches = patches.to(words_ND)
        if positions.ndim == 1:
            return words_ND.index_copy(0, positions, patches).view_as(words_BTD)
        starts_B1 = torch.arange(B, device=positions.device)[:, None] * T
        # Patches of no position go to a line of their own behind the others.
        places = torch.where(positions < 0, B * T, positions + starts_B1).flatten()
        longer = F.pad(words_ND, (0, 0, 0, 1)).index_copy(0, places, patches.flatten(0, 1))
        return longer[:-1].view_as(words_BTD)

    def _packed(self, cu_seq_lens_N: Tensor, longest: int | None, words: Tensor) -> dict[str, Any]:
        implementation = self.language_model.config._attn_implementation
        if words.shape[0] != 1:
            raise ValueError(f"a packed batch has one row, not {words.shape[0]}")
        if implementation == "flex_attention":
            return {"attention_mask": blocks(cu_seq_lens_N, words.shape[1])}
        mask = packed_mask(implementation, cu_seq_lens_N, tokens=words.shape[1], dtype=words.dtype)
        if longest is None:
            longest = int(cu_seq_lens_N.diff().max())
        return {"attention_mask": mask, **packed_kwargs(cu_seq_lens_N, longest)}


class Fuyu(FuyuForCausalLM):
    config: FuyuConfig
    _no_split_modules = ["Layer"]  # noqa: RUF012

    def __init__(self, config: FuyuConfig) -> None:
        text: Any = getattr(config, "text_config", None)
        if config.model_type != "fuyu" or text.model_type != "persimmon":
            raise ValueError(
                "Fuyu needs a config of model_type 'fuyu' whose text_config is a 'persimmon', "
                f"not {config.model_type!r}; load this model with its own class"
            )
        # Not FuyuForCausalLM's own: it would make transformers' layers, only to lose them.
        FuyuPreTrainedModel.__init__(self, config)
        self.model = FuyuDecoder(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: Any, *args: Any, config: Any = None, **kwargs: Any
    ) -> Self:
        """Load weights as any of transformers' models; a folder with a model of another family is refused."""
        check_family(name, "fuyu", kwargs | {"config": config})
        return super().from_pretrained(name, *args, config=config, **kwargs)

    def fit(self, tokenizer: Any) -> None:
        """Take from a tokenizer what published configs lack, or have wrong: which token is a patch's place, and which ends an answer.

        `generate` then ends where the answers that were taught end (configs say 2), writes no token of the layout, and so does
        transformers' own class that loads what is saved.

        Raises:
            ValueError: the tokenizer is another family's, or has more words than the model.
        """
        known = tokenizer.get_vocab()
        layout = ("|SPEAKER|", "|NEWLINE|", "<s>", "<0x04>")
        if missing := [token for token in layout if token not in known]:
            raise ValueError(f"this is no tokenizer of Fuyu: it has no token {', '.join(missing)}")
        words: Any = self.get_input_embeddings()
        rows = words.weight.shape[0]
        if max(known.values()) >= rows:
            raise ValueError(
                f"the tokenizer has {max(known.values()) + 1:,} words, but the model has {rows:,}; "
                "call resize_token_embeddings first"
            )
        self.config.image_token_id = known[layout[0]]
        settings: Any = self.generation_config
        settings.eos_token_id = tokenizer.eos_token_id
        settings.pad_token_id = tokenizer.pad_token_id or 0
        settings.suppress_tokens = [known[token] for token in layout]

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        patch_positions: Tensor | None = None,
        taught_positions: Tensor | None = None,
        cu_seq_lens: Tensor | None = None,
        max_length: int | None = None,
        logits_to_keep: int | Tensor = 0,
        per_token: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits (B, T, V), or with labels only the loss.

        A packed batch of fuyu_batch.py says where patches and taught tokens stand, so that nothing waits for the device.

        Args:
            input_ids: (B, T)
            pixel_values: Patches, normalised or still bytes: (P, C) of all rows in the order of their placeholders, or (B, P, C) of each row's own, of which
                those beyond the row's placeholders are not shown.
            attention_mask: (B, T), 0 for padding.
            position_ids: (B, T); they begin again with each sample of a packed row.
            cache: Keys and values of the tokens before.
            inputs_embeds: (B, T, D) in place of input_ids.
            use_cache: Return a cache.
            labels: (B, T), not yet shifted.
            num_items_in_batch: The summed loss is divided by it, or else by this batch's taught tokens.
            patch_positions: Where the patches stand, see FuyuDecoder.shown; None: at the placeholders.
            taught_positions: (K,), counted over all rows: the tokens whose next one has a label; None: sought in `labels`.
            cu_seq_lens: (N + 1,), int32: where the samples of the one row begin, and the end of the last.
            max_length: Tokens of the longest sample; None: counted.
            logits_to_keep: Only the last so many, 0: all; or these.
            per_token: The loss is that of each taught token (K,), row by row, not divided.
            kwargs: Handed on to the layers.
        """
        inputs = {
            "input_ids": input_ids,
            "pixel_values": pixel_values,
            "patch_positions": patch_positions,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "cu_seq_lens": cu_seq_lens,
            "max_length": max_length,
        }
        kwargs.pop("return_dict", None)
        if labels is not None:
            if taught_positions is None:
                taught_positions = positions_taught(labels)
            hidden_1KD = self.model(
                **inputs, use_cache=False, rows=taught_positions, **kwargs
            ).last_hidden_state
            next_K = labels.flatten().index_select(0, taught_positions + 1)
            loss = self._loss(hidden_1KD, next_K, num_items_in_batch, per_token=per_token)
            return CausalLMOutputWithPast(loss=loss)

        output = self.model(**inputs, cache=cache, use_cache=use_cache, **kwargs)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(
            logits=self.lm_head(output.last_hidden_state[:, keep]),
            cache=output.cache,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _loss(
        self,
        hidden_1KD: Tensor,
        next_K: Tensor,
        num_items: Tensor | int | None,
        *,
        per_token: bool,
    ) -> Tensor:
        return rows_loss(
            hidden_1KD[0],
            next_K,
            self.lm_head,
            words=self.lm_head.out_features,
            num_items=num_items,
            per_token=per_token,
        )

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """Write on from prompts; pad those of different lengths on the left.

        The pictures are laid out row by row first, so that they follow their row into beams and samples, and their places
        are those of the prompt: a placeholder that the model itself writes shows nothing.
        """
        ids = kwargs.get("input_ids") if inputs is None else inputs
        pixels = kwargs.get("pixel_values")
        if pixels is not None and ids is not None:
            positions = kwargs.get("patch_positions")
            if positions is None:
                positions = placeholders(ids, pixels, self.config.image_token_id)
            kwargs |= dict(
                zip(
                    ("pixel_values", "patch_positions"), by_row(pixels, positions, ids), strict=True
                )
            )
        return super().generate(inputs, *args, **kwargs)


def blocks(cu_seq_lens_N: Tensor, tokens: int) -> BlockMask:
    """Return FlexAttention's mask of one packed row; transformers would compile a function to draw it."""
    places_T = torch.arange(tokens, device=cu_seq_lens_N.device)
    sample_T = torch.bucketize(places_T, cu_seq_lens_N[1:], right=True)

    def sees(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (sample_T[query] == sample_T[key]) & (query >= key)

    device = str(cu_seq_lens_N.device)
    return create_block_mask(sees, None, None, tokens, tokens, device=device)


def placeholders(input_ids_BT: Tensor, pixels: Tensor, image_token_id: int | None) -> Tensor:
    """Return the positions of placeholders: (P,) over all rows for flat patches, else (B, P), -1 where a row has fewer.

    Raises:
        ValueError: the numbers of patches and placeholders differ (found on a CPU only: another device isn't waited for).
    """
    shown_BT = input_ids_BT.eq(-1 if image_token_id is None else image_token_id)
    if pixels.ndim == 3 and len(pixels) != len(shown_BT):
        raise ValueError(f"patches of {len(pixels)} rows do not fit a batch of {len(shown_BT)}")
    one = shown_BT.flatten()[None] if pixels.ndim == 2 else shown_BT
    wanted, found_B = pixels.shape[-2], one.sum(-1)
    fits = (found_B == wanted).all() if pixels.ndim == 2 else (found_B <= wanted).all()
    message = "the text has another number of placeholders than there are patches"
    if fits.device.type == "cpu":
        if not fits:
            raise ValueError(f"{message}: {found_B.tolist()} and {wanted}; was it cut?")
    elif fits.device.type != "meta":
        torch._assert_async(fits, message)
    # The n-th placeholder's position goes to place n; what is none goes to a place that is thrown away.
    nth = torch.where(one, one.cumsum(-1) - 1, wanted).clamp(max=wanted)
    places = torch.arange(one.shape[1], device=one.device).expand_as(one)
    positions = torch.full((one.shape[0], wanted + 1), -1, device=one.device)
    positions = positions.scatter(1, nth, places)[:, :wanted]
    return positions[0] if pixels.ndim == 2 else positions


def by_row(pixels: Tensor, positions: Tensor, input_ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return patches (B, P, C) and positions (B, P), -1 where a row has fewer patches than another."""
    if positions.ndim == 2:
        return pixels, positions
    B, T = input_ids_BT.shape
    row_P = positions // T
    of_row = [row_P == row for row in range(B)]
    parts = [(pixels[mine], positions[mine] % T) for mine in of_row]
    pad = nn.utils.rnn.pad_sequence
    return (
        pad([patches for patches, _ in parts], batch_first=True),
        pad([places for _, places in parts], batch_first=True, padding_value=-1),
    )


# The names in files are transformers' own, whose translation would not be asked for a class from elsewhere.
for _ours, _theirs in (("Fuyu", "fuyu"), ("FuyuDecoder", "FuyuModel")):
    _names = get_checkpoint_conversion_mapping(_theirs)
    register_checkpoint_conversion_mapping(_ours, _names, overwrite=True)
Fuyu.register_for_auto_class("AutoModelForCausalLM")  # type: ignore[no-untyped-call]
