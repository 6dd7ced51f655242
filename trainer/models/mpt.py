"""MPT: the decoder of MPT-7B and MPT-30B, and of MosaicGPT (mpt-1b-redpajama), with all options that change numbers.

Parameters have the published names. transformers' own MptForCausalLM writes out the scores of every pair of tokens and ignores
most options silently; here attention runs in fused kernels (`mpt_attention`), and an option is kept or refused. What the
forward pass does not know, it hands on to every block as it is, so that a wrapped block may look at pictures.

Letters: B rows, T tokens, D width, H heads of D/H, G key/value heads, V words.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .attention import packed_positions
from .loss import taught_loss
from .mpt_attention import Reach, alibi_slopes, attend, find_reach
from .mpt_config import MptConfig

__all__ = ["MptBlock", "MptConfig", "MptForCausalLM", "MptModel", "mosaic_names"]

MOSAIC_NAMES = (
    (r"\bln_([12])\.", r"norm_\1."),
    (r"\bmlp\.mlp_(up|down)\.", r"ffn.\1_proj."),
    (r"\bln_f\.", "norm_f."),
)


def mosaic_names(name: str) -> str:
    """Return MPT's name of a parameter of MosaicGPT; other names stay.

    transformer.blocks.0.mlp.mlp_up.weight  ->  transformer.blocks.0.ffn.up_proj.weight
    """
    for pattern, ours in MOSAIC_NAMES:
        name = re.sub(pattern, ours, name)
    return name


class ResidualLinear(nn.Linear):
    """A map whose output is added to the residual stream; it starts smaller."""


def _norm(config: MptConfig) -> nn.Module:
    if "rmsnorm" in config.norm_type.lower():
        return nn.RMSNorm(config.d_model, eps=config.layer_norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon, bias=not config.no_bias)


class MptAttention(nn.Module):
    def __init__(self, config: MptConfig, index: int) -> None:
        super().__init__()
        bias, attention = not config.no_bias, config.attn_config
        self.index = index
        self.heads, self.kv_heads, self.head_dim = config.n_heads, config.kv_heads, config.head_dim
        self.scale, self.dropout = config.scale, float(attention["attn_pdrop"])
        self.clip: float | None = attention["clip_qkv"] or None
        width, kv_width = config.d_model, self.kv_heads * self.head_dim
        self.widths = [width, kv_width, kv_width]
        self.Wqkv = nn.Linear(width, sum(self.widths), bias=bias)
        self.q_ln: nn.Module | None = None
        self.k_ln: nn.Module | None = None
        if attention["qk_ln"]:
            # Over all heads together, and LayerNorms whatever `norm_type` says.
            self.q_ln = nn.LayerNorm(width, bias=bias)
            self.k_ln = nn.LayerNorm(kv_width, bias=bias)
        self.out_proj = ResidualLinear(width, width, bias=bias)

    def forward(self, hidden_BTD: Tensor, reach: Reach, cache: Cache | None = None) -> Tensor:
        qkv = self.Wqkv(hidden_BTD)
        if self.clip is not None:
            qkv = qkv.clamp(-self.clip, self.clip)
        q, k, v = qkv.split(self.widths, dim=-1)
        if self.q_ln is not None and self.k_ln is not None:
            q, k = self.q_ln(q).to(v.dtype), self.k_ln(k).to(v.dtype)
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in (q, k, v))
        if cache is not None:
            k, v = cache.update(k, v, self.index)
        dropout = self.dropout if self.training else 0.0
        seen_BTHD = attend(q, k, v, reach, scale=self.scale, dropout=dropout)
        told: Tensor = self.out_proj(seen_BTHD.flatten(2))
        return told


class MptFeedForward(nn.Module):
    def __init__(self, config: MptConfig) -> None:
        super().__init__()
        inner = int(config.expansion_ratio * config.d_model)
        self.up_proj = nn.Linear(config.d_model, inner, bias=not config.no_bias)
        self.down_proj = ResidualLinear(inner, config.d_model, bias=not config.no_bias)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        thought: Tensor = self.down_proj(F.gelu(self.up_proj(hidden_BTD)))
        return thought


class MptBlock(GradientCheckpointingLayer):
    def __init__(self, config: MptConfig, index: int) -> None:
        super().__init__()
        self.dropout = float(config.resid_pdrop)
        self.norm_1 = _norm(config)
        self.attn = MptAttention(config, index)
        self.norm_2 = _norm(config)
        self.ffn = MptFeedForward(config)

    def forward(
        self, hidden_BTD: Tensor, reach: Reach, cache: Cache | None = None, **_: Any
    ) -> Tensor:
        told = self.attn(self.norm_1(hidden_BTD), reach, cache)
        hidden_BTD = hidden_BTD + F.dropout(told, self.dropout, self.training)
        thought = self.ffn(self.norm_2(hidden_BTD))
        return hidden_BTD + F.dropout(thought, self.dropout, self.training)


class MptPreTrainedModel(PreTrainedModel):
    config_class = MptConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MptBlock"]  # noqa: RUF012
    _skip_keys_device_placement = ["cache"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers looks for its attention interface in the source of this file, and would change nothing.
        return True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, std=self._std(module))
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            init.zeros_(bias)

    def _std(self, module: nn.Linear | nn.Embedding) -> float:
        """Return the spread of a fresh weight, as llm-foundry's `init_config` asks for it."""
        config, options = self.config, self.config.init_config
        if isinstance(module, nn.Embedding) and options.get("emb_init_std") is not None:
            return float(options["emb_init_std"])
        name = str(options.get("name", "kaiming_normal_"))
        if name in ("baseline_", "normal_"):
            std = float(options.get("init_std") or 0.02)
        elif name in ("small_init_", "neox_init_"):
            std = (2 / (5 * config.d_model)) ** 0.5
        else:
            fans = module.weight.shape  # out, in
            std = (2 / fans[0 if options.get("fan_mode") == "fan_out" else 1]) ** 0.5
        if isinstance(module, ResidualLinear) and options.get("init_div_is_residual", True):
            std /= (2 * config.n_layers) ** 0.5
        return std


class MptModel(MptPreTrainedModel):
    def __init__(self, config: MptConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.has_alibi = bool(config.attn_config["alibi"])
        if not self.has_alibi:
            self.wpe = nn.Embedding(config.max_seq_len, config.d_model)
        self.blocks = nn.ModuleList(MptBlock(config, index) for index in range(config.n_layers))
        self.norm_f = _norm(config)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> Any:
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.wte = value  # type: ignore[assignment]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Return the last layer's output, times the factor of the logits.

        Args:
            input_ids: (B, T), or else `inputs_embeds`, (B, T, D).
            attention_mask: See `find_reach`.
            position_ids: (B, T), for learned positions; None: the number of tokens before in the text, padding left out.
            cache: Keys and values of the tokens before.
            inputs_embeds: (B, T, D)
            use_cache: Fill a KV cache and return it.
            output_hidden_states: Return the outputs of all layers as well.
            output_attentions: Refused: no kernel has them.
            kwargs: Handed on to every block. With `cu_seq_lens_q`, (N + 1,), the row is packed.
        """
        if output_attentions:
            raise ValueError("MPT has no attention weights to return; leave output_attentions out")
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        hidden_BTD = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        T, config = hidden_BTD.shape[1], self.config
        use_cache = config.use_cache if use_cache is None else use_cache
        if self.gradient_checkpointing and self.training:
            use_cache = False
        if use_cache and cache is None:
            cache = DynamicCache(config=config)
        past = 0 if cache is None else int(cache.get_seq_length())
        # A packed row may be longer than a text: each of its samples begins anew.
        longest = kwargs.get("max_length_q") or past + T
        if longest > config.max_seq_len:
            raise ValueError(
                f"{longest} tokens are more than the context of {config.max_seq_len} (max_seq_len); shorten the text"
            )

        if not self.has_alibi:
            if position_ids is None and kwargs.get("cu_seq_lens_q") is not None:
                position_ids = packed_positions(kwargs["cu_seq_lens_q"], T)
            elif position_ids is None:
                position_ids = self._positions(attention_mask, past, T, hidden_BTD.device)
            hidden_BTD = hidden_BTD + self.wpe(position_ids)
        share = config.embedding_fraction
        if share != 1:
            hidden_BTD = hidden_BTD * share + hidden_BTD.detach() * (1 - share)
        hidden_BTD = F.dropout(hidden_BTD, float(config.emb_pdrop), self.training)

        reach = self._reach(hidden_BTD, attention_mask, cache, past, kwargs.get("cu_seq_lens_q"))
        seen = []
        for block in self.blocks:
            seen.append(hidden_BTD)
            hidden_BTD = block(hidden_BTD, reach=reach, cache=cache, **kwargs)
        hidden_BTD = self.norm_f(hidden_BTD)
        if config.logit_factor != 1:
            # Here, so that whoever applies the output layer gets the right logits.
            hidden_BTD = hidden_BTD * config.logit_factor
        all_hidden = output_hidden_states or (
            output_hidden_states is None and config.output_hidden_states
        )
        return BaseModelOutputWithPast(
            last_hidden_state=hidden_BTD,
            cache=cache if use_cache else None,
            hidden_states=(*seen, hidden_BTD) if all_hidden else None,
        )

    @staticmethod
    def _positions(
        attention_mask: Tensor | None, past: int, tokens: int, device: torch.device
    ) -> Tensor:
        if attention_mask is None or attention_mask.ndim != 2:
            return torch.arange(past, past + tokens, device=device)[None]
        counted: Tensor = attention_mask.bool().long().cumsum(dim=1)
        return (counted - 1).clamp(min=0)[:, past : past + tokens]

    def _reach(
        self,
        hidden_BTD: Tensor,
        attention_mask: Tensor | None,
        cache: Cache | None,
        past: int,
        cu_seq_lens: Tensor | None,
    ) -> Reach:
        T, config = hidden_BTD.shape[1], self.config
        slopes, keys = None, T
        if self.has_alibi:
            slopes = alibi_slopes(
                config.n_heads,
                bias_max=config.attn_config["alibi_bias_max"],
                interleaved=config.attn_config["alibi_interleaved"],
                device=hidden_BTD.device,
            )
        if cache is not None:
            keys = cache.get_mask_sizes(T, 0)[0]
        dtype, kind = hidden_BTD.dtype, hidden_BTD.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        return find_reach(
            config._attn_implementation,
            slopes,
            attention_mask,
            tokens=T,
            past=past,
            keys=keys,
            like=hidden_BTD.new_empty(0, dtype=dtype),
            cu_seq_lens_N=cu_seq_lens,
        )


class MptForCausalLM(MptPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012

    def __init__(self, config: MptConfig) -> None:
        super().__init__(config)
        self.transformer = MptModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_decoder(self) -> MptModel:
        return self.transformer

    def get_output_embeddings(self) -> Any:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lm_head = new_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits_BTV, or with labels (not yet shifted) only the loss; see MptModel for the rest."""
        output = self.transformer(
            input_ids,
            attention_mask,
            position_ids,
            cache,
            inputs_embeds,
            use_cache=use_cache if labels is None else False,
            **kwargs,
        )
        hidden_BTD = output.last_hidden_state
        if labels is not None:
            loss = taught_loss(
                hidden_BTD,
                labels,
                self.lm_head,
                words=self.config.vocab_size,
                num_items=num_items_in_batch,
            )
            return CausalLMOutputWithPast(loss=loss, hidden_states=output.hidden_states)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(
            logits=self.lm_head(hidden_BTD[:, kept]),
            cache=output.cache,
            hidden_states=output.hidden_states,
        )
