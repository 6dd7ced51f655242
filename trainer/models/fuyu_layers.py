"""Persimmon, Fuyu's language model: transformers' own, with layers that copy less and can finish a few tokens only.

Names, numbers and switches are those of transformers' PersimmonModel (rotary embedding, masks, cache, gradient checkpointing). Different:

- Queries, keys and values leave their common product by one `unbind`, whose way back is one copy; the rotation of the first
  half of a head writes its result once, and its way back is the opposite rotation, for which only the angles are kept.
- relu(x)² keeps its result, which the next product keeps anyway, and nothing else: 2 relu(x) is twice the result's root.
- The last layer can be told which tokens matter (`rows`): no other token's feed-forward, nor its last norm, is computed.
- Attention is any of transformers' (FlexAttention, too), or `packed` of attention.py.

Letters: B rows, T tokens, D width, H heads, E width of a head, R the half of its rotated part, K tokens that matter.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PersimmonConfig, PersimmonModel
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.persimmon.modeling_persimmon import (
    PersimmonPreTrainedModel,
    PersimmonRotaryEmbedding,
    eager_attention_forward,
)

__all__ = ["Attention", "FeedForward", "Layer", "Persimmon", "rotated", "squared_relu"]


class _SquaredRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        squared = F.relu(x).square_()
        ctx.save_for_backward(squared)
        return squared

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        squared: Tensor = ctx.saved_tensors[0]
        return squared.sqrt().mul_(2).mul_(grad)


def squared_relu(x: Tensor) -> Tensor:
    """Return max(x, 0)² (Primer, arXiv 2109.08668)."""
    return cast(Tensor, _SquaredRelu.apply(x))  # type: ignore[no-untyped-call]


def _turned(x_BTHE: Tensor, cos_BT1R: Tensor, sin_BT1R: Tensor) -> Tensor:
    half = cos_BT1R.shape[-1]
    turned = torch.empty_like(x_BTHE, memory_format=torch.contiguous_format)
    a, b, rest = x_BTHE.tensor_split((half, 2 * half), dim=-1)
    new_a, new_b, new_rest = turned.tensor_split((half, 2 * half), dim=-1)
    new_a.copy_(a).mul_(cos_BT1R).addcmul_(b, sin_BT1R, value=-1)
    new_b.copy_(b).mul_(cos_BT1R).addcmul_(a, sin_BT1R)
    new_rest.copy_(rest)
    return turned


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, -sin), None, None


def rotated(x_BTHE: Tensor, cos_BT1R: Tensor, sin_BT1R: Tensor) -> Tensor:
    """Rotate the first 2R numbers of each head: number i with number i + R (RoFormer, arXiv 2104.09864)."""
    return cast(Tensor, _Rotated.apply(x_BTHE, cos_BT1R, sin_BT1R))  # type: ignore[no-untyped-call]


class Attention(nn.Module):
    """Causal attention with a norm of each head's queries and keys; names as in the published checkpoints."""

    def __init__(self, config: PersimmonConfig, layer_idx: int) -> None:
        super().__init__()
        if config.hidden_size % config.num_attention_heads:
            raise ValueError(
                f"hidden_size {config.hidden_size} is no multiple of num_attention_heads {config.num_attention_heads}"
            )
        self.config = config
        self.layer_idx = layer_idx
        self.is_causal = True
        self.heads = config.num_attention_heads
        width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
        self.scaling = head**-0.5
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)
        self.q_layernorm: nn.Module = nn.Identity()
        self.k_layernorm: nn.Module = nn.Identity()
        if config.qk_layernorm:
            self.q_layernorm = nn.LayerNorm(head, eps=config.layer_norm_eps)
            self.k_layernorm = nn.LayerNorm(head, eps=config.layer_norm_eps)

    def forward(
        self,
        hidden_BTD: Tensor,
        *,
        attention_mask: Any,
        position_embeddings: tuple[Tensor, Tensor],
        cache: Any = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return (B, T, D), or with `rows` (1, K, D): just these of the row's tokens; and weights, if the implementation has any."""
        # The checkpoint's products are interleaved: of each head its query, its key, its value.
        qkv = self.query_key_value(hidden_BTD).unflatten(-1, (self.heads, 3, -1))
        q_BTHE, k_BTHE, v_BTHE = qkv.unbind(-2)
        cos, sin = position_embeddings
        # On CUDA, autocast computes norms in float32, and kernels want all three in the 16 bits of the products.
        q = rotated(self.q_layernorm(q_BTHE), cos, sin).to(v_BTHE.dtype).transpose(1, 2)
        k = rotated(self.k_layernorm(k_BTHE), cos, sin).to(v_BTHE.dtype).transpose(1, 2)
        v = v_BTHE.transpose(1, 2)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        dropout = self.config.attention_dropout if self.training else 0.0
        seen_BTHE, weights = attend(
            self, q, k, v, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
        )
        return self.dense(chosen(seen_BTHE.flatten(2), rows)), weights


class FeedForward(nn.Module):
    def __init__(self, config: PersimmonConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = squared_relu if config.hidden_act == "relu2" else ACT2FN[config.hidden_act]

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        widened: Tensor = self.dense_4h_to_h(self.act(self.dense_h_to_4h(hidden_BTD)))
        return widened


class Layer(GradientCheckpointingLayer):
    def __init__(self, config: PersimmonConfig, layer_idx: int) -> None:
        super().__init__()
        self.is_last = layer_idx == config.num_hidden_layers - 1
        self.self_attn = Attention(config, layer_idx)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_BTD: Tensor,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        use_cache: bool | None = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return (B, T, D), or of the last layer with `rows` (K numbers of tokens, all rows of the batch in one) (1, K, D)."""
        rows = rows if self.is_last else None
        seen, _ = self.self_attn(
            self.input_layernorm(hidden_BTD),
            attention_mask=attention_mask,
            position_embeddings=position_embeddings,
            cache=cache,
            rows=rows,
            **kwargs,
        )
        hidden: Tensor = chosen(hidden_BTD, rows) + seen
        widened: Tensor = self.dropout(self.mlp(self.post_attention_layernorm(hidden)))
        return hidden + widened


def chosen(hidden_BTD: Tensor, rows: Tensor | None) -> Tensor:
    """Return (1, K, D): these tokens, counted over the rows of the batch; or without `rows` all, as they are."""
    return hidden_BTD if rows is None else hidden_BTD.flatten(0, 1).index_select(0, rows)[None]


class RotaryEmbedding(PersimmonRotaryEmbedding):
    """transformers' angles, all kinds of scaling included, each once: (B, T, 1, R) cosines and sines."""

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = super().forward(x, position_ids)
        half = cos.shape[-1] // 2
        return cos[..., None, :half], sin[..., None, :half]


class Persimmon(PersimmonModel):
    """PersimmonModel with the layers of this file; `forward` is transformers', which hands its keyword arguments to every layer."""

    _no_split_modules = ["Layer"]  # noqa: RUF012
    _supports_flex_attn = True
    _can_record_outputs = {"hidden_states": Layer, "attentions": Attention}  # noqa: RUF012

    def __init__(self, config: PersimmonConfig) -> None:
        # Not PersimmonModel's own: it would make its layers, only to lose them.
        PersimmonPreTrainedModel.__init__(self, config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(Layer(config, n) for n in range(config.num_hidden_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.rotary_emb = RotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call]
