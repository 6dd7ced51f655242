"""Causal attention over rows that hold several samples, none of which sees another: the implementation `packed`.

    one row      a a a a b b b c c c c c
    cu_seq_lens  0       4     7         12

It stands beside transformers' own (`model.set_attn_implementation("packed")`), for every model that goes through
its attention interface. Each sample attends by itself, so that no work is done for pairs that a mask would hide, and no mask of
T × T lies in memory:

    CUDA, 16 bits   flash-attn's kernel for variable lengths if it is installed, else PyTorch's
    else            PyTorch's SDPA, sample by sample

Without `cu_seq_lens` (generation, padded batches) it is transformers' SDPA. Letters: B rows (1 where packed), H heads,
G key/value heads, T queries, S keys, D width of a head, N samples.
"""

from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "packed"


def packed_kwargs(cu_seq_lens_N: Tensor, longest: int) -> dict[str, Any]:
    """Return what a packed forward pass hands to every layer, under transformers' own names."""
    return {
        "cu_seq_lens_q": cu_seq_lens_N,
        "cu_seq_lens_k": cu_seq_lens_N,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def packed_positions(cu_seq_lens_N: Tensor, tokens: int) -> Tensor:
    """Return positions_1T, which begin at 0 in each sample of a packed row."""
    places_T = torch.arange(tokens, device=cu_seq_lens_N.device)
    sample_T = torch.bucketize(places_T, cu_seq_lens_N[1:], right=True)
    return (places_T - cu_seq_lens_N[sample_T])[None]


def packed_mask(
    implementation: str,
    cu_seq_lens_N: Tensor,
    *,
    tokens: int,
    dtype: torch.dtype,
    window: int | None = None,
) -> Tensor | None:
    """Return the attention mask of one packed row that an implementation needs (mask_11TT, or None).

    Kernels for variable lengths need none; for the others the blocks are drawn in full. With a `window` a token sees that many
    tokens, itself included.

    Raises:
        ValueError: the implementation cannot do it.
    """
    device = cu_seq_lens_N.device
    if implementation == PACKED:
        # Four dimensions: transformers takes it for a finished mask, and makes none.
        return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    if implementation.startswith("flash_attention"):
        return None
    places_T = torch.arange(tokens, device=device)
    sample_T = torch.bucketize(places_T, cu_seq_lens_N[1:], right=True)
    behind_TT = places_T[:, None] - places_T
    mask_TT = (sample_T[:, None] == sample_T) & (behind_TT >= 0)
    if window is not None:
        mask_TT &= behind_TT < window
    if implementation == "sdpa":
        return mask_TT[None, None]
    if implementation == "eager":
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
        return torch.where(mask_TT, torch.zeros_like(hidden), hidden)[None, None]
    raise ValueError(
        f"packed rows need attention of the kind 'packed', 'sdpa', 'eager' or 'flash_attention_2', not {implementation!r}"
    )


def packed_masks(
    implementation: str,
    cu_seq_lens_N: Tensor,
    text_config: Any,
    *,
    tokens: int,
    dtype: torch.dtype,
) -> Any:
    """Return the attention mask of one packed row as a language model takes it: for each kind of layer, if there are several."""

    def mask(window: int | None) -> Tensor | None:
        return packed_mask(implementation, cu_seq_lens_N, tokens=tokens, dtype=dtype, window=window)

    window = getattr(text_config, "sliding_window", None)
    kinds = set(getattr(text_config, "layer_types", None) or ())
    if "sliding_attention" in kinds:
        return {"full_attention": mask(None), "sliding_attention": mask(window)}
    return mask(None if kinds else window)


def packed_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each sample of a row (transformers' attention interface).

    Args:
        module: The attention layer.
        query: (B, H, T, D)
        key: (B, G, S, D)
        value: (B, G, S, D)
        attention_mask: Heeded only without `cu_seq_lens_q`.
        dropout: Share of attention weights dropped.
        scaling: Of the scores; None: D ** -0.5.
        cu_seq_lens_q: Where samples begin and the last one ends, (N + 1,), int32.
        max_length_q: Tokens of the longest sample.
        sliding_window: A token sees this many tokens, itself included; None: all before it.
        kwargs: What other implementations need.

    Returns:
        (B, T, H, D), and no weights.
    """
    if cu_seq_lens_q is None:
        if sliding_window is not None:
            kwargs["sliding_window"] = sliding_window
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if kwargs.get("softcap") is not None:
        raise ValueError("packed attention cannot cap scores; choose another implementation")
    is_long = max_length_q is None or (sliding_window or max_length_q) < max_length_q
    window = sliding_window if sliding_window is not None and is_long else None
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _by_kernel(
            query, key, value, cu_seq_lens_q, max_length_q, dropout, scaling, window
        ), None
    return _by_sample(query, key, value, cu_seq_lens_q, dropout, scaling, window), None


def _by_sample(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_lens_N: Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    cuts = cu_seq_lens_N.tolist()
    lengths = [end - start for start, end in pairwise(cuts)]
    parts = zip(*(torch.split(part, lengths, dim=2) for part in (query, key, value)), strict=True)
    seen = []
    for (q, k, v), length in zip(parts, lengths, strict=True):
        mask = None
        if window is not None and length > window:
            places = torch.arange(length, device=q.device)
            behind = places[:, None] - places
            mask = (behind >= 0) & (behind < window)
        seen.append(
            F.scaled_dot_product_attention(
                q, k, v,
                attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        )  # fmt: skip
    return torch.cat(seen, dim=2).transpose(1, 2)


def _by_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_lens_N: Tensor,
    longest: int | None,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    if longest is None:
        longest = int(cu_seq_lens_N.diff().max())
    left = -1 if window is None else window - 1
    if find_spec("flash_attn") is not None:
        from flash_attn import flash_attn_varlen_func

        seen = flash_attn_varlen_func(
            q, k, v, cu_seq_lens_N, cu_seq_lens_N, longest, longest,
            dropout_p=dropout, softmax_scale=scaling, causal=True, window_size=(left, 0 if window else -1),
        )  # fmt: skip
        return seen[None]  # type: ignore[no-any-return]
    from torch.nn.attention.varlen import varlen_attn

    if dropout:
        raise ValueError(
            "packed attention without flash-attn has no dropout; set attention_dropout to 0"
        )
    seen = varlen_attn(
        q, k, v, cu_seq_lens_N, cu_seq_lens_N, longest, longest,
        scale=scaling, window_size=(left, 0), enable_gqa=k.shape[1] != q.shape[1],
    )  # fmt: skip
    assert isinstance(seen, Tensor)
    return seen[None]


AttentionInterface.register(PACKED, packed_attention_forward)
AttentionMaskInterface.register(PACKED, sdpa_mask)
