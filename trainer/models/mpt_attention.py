"""What MPT's tokens look at, by whichever kernel is at hand; the numbers are the same.

ALiBi (Press et al., arXiv 2108.12409) adds slope · (j - i) to the score of query i and key j. The published code adds slope · (j - S + 1),
which softmax cannot tell from it, but 16 bits can: far from the end of a text the numbers are too large to tell
neighbours apart. So the distance it is, here, always.

Written out, that is a matrix T × S per head. But it depends on j - i alone, so the rows of one block of queries, slid along the keys,
serve every block: BLOCK × S numbers per head, made once per forward pass and shared by all layers, and the half that
causality hides is not computed.

    queries      keys                     one band of BLOCK × S
    block 1      ■                                      [ ■]
    block 2      ■ ■                                  [ ■ ■]
    block 3      ■ ■ ■                              [ ■ ■ ■]

    sdpa                 the band, PyTorch's SDPA; packed rows sample by sample, left padding row by row
    eager                the whole matrix, by formula
    flex_attention       FlexAttention (compiled on CUDA)
    flash_attention_2    flash-attn, which knows ALiBi
    packed               CUDA, 16 bits: flash-attn if it is installed, else FlexAttention; else as sdpa

A step with a filled KV cache has few queries and takes the matrix, whatever the implementation.

Letters: B rows, H heads, G key/value heads, T queries, S keys, D width of a head, N samples, C a block of queries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from .attention import PACKED

BLOCK = 256
"""Queries of a block: fewer calls against fewer hidden pairs."""


@dataclass(frozen=True)
class Reach:
    """What the tokens of a forward pass may look at; the same for all layers."""

    implementation: str
    slopes_H: Tensor | None = None
    """ALiBi, float32; None: none."""
    bias_BHTS: Tensor | None = None
    """Added to the scores (any dimension may be 1). If given, nothing below counts."""
    band_HCS: Tensor | None = None
    lengths_N: tuple[int, ...] | None = None
    """Tokens of each sample of a packed row."""
    spans_B: tuple[tuple[int, int], ...] | None = None
    """Where the tokens of each row begin and end; None: everywhere."""
    cu_seq_lens_N: Tensor | None = None
    """For flash-attn: where samples begin, or rows without their padding, and where the last one ends."""
    longest: int = 0
    """Tokens of the longest of them."""
    real_K: Tensor | None = None
    """For flash-attn: the places of tokens in the flattened batch; None: all."""
    block_mask: BlockMask | None = None


def alibi_slopes(heads: int, *, bias_max: float, interleaved: bool, device: torch.device) -> Tensor:
    """Return slopes_H, float32: 2 ** (-bias_max · h / n) for h = 1..n.

    Interleaved, n is the next power of two, and every second slope comes first: of 8 slopes, 6 heads have
    2, 4, 6, 8, 1, 3.
    """
    n = 1 << (heads - 1).bit_length() if interleaved else heads
    slopes = 2.0 ** -(torch.arange(1, n + 1, device=device, dtype=torch.float32) * bias_max / n)
    return slopes if n == heads else torch.cat([slopes[1::2], slopes[::2]])[:heads]


def find_reach(
    implementation: str,
    slopes_H: Tensor | None,
    attention_mask: Tensor | None,
    *,
    tokens: int,
    past: int,
    keys: int,
    like: Tensor,
    cu_seq_lens_N: Tensor | None = None,
) -> Reach:
    """Return what the new tokens may look at.

    Args:
        implementation: See above.
        slopes_H: Of ALiBi.
        attention_mask: (B, past + T) of tokens that are no padding; or finished, (B, 1, T, S), true where a query may look or
            what is to be added to scores. Not heeded with `cu_seq_lens_N`.
        tokens: T.
        past: Tokens before them, in the KV cache.
        keys: S; more than past + T where the cache has its final size.
        like: Of the device and the dtype of the queries.
        cu_seq_lens_N: Where the samples of a packed row begin and the last one ends.
    """
    device = like.device
    common: dict[str, Any] = {"implementation": implementation, "slopes_H": slopes_H}
    if cu_seq_lens_N is not None:
        if past or keys != tokens:
            raise ValueError("a packed row cannot continue a KV cache")
        return _packed_reach(common, cu_seq_lens_N, tokens, like)

    spans, is_simple = None, attention_mask is None
    if attention_mask is not None and attention_mask.ndim == 2:
        spans, is_simple = _spans(attention_mask.bool())
    if past or keys != tokens or implementation == "eager" or not is_simple:
        bias = _bias(slopes_H, attention_mask, tokens, past, keys, like)
        if implementation != "eager":
            bias = bias.to(like.dtype)
        return Reach(**common, bias_BHTS=bias)
    if spans is not None and attention_mask is not None and _flash_can(implementation, like):
        lengths_B = attention_mask.bool().sum(dim=1)
        return Reach(
            **common,
            cu_seq_lens_N=F.pad(lengths_B.cumsum(0), (1, 0)).int(),
            longest=int(lengths_B.max()),
            real_K=attention_mask.flatten().nonzero().flatten(),
        )
    common["spans_B"] = spans
    if implementation == "flex_attention" and _flex_can(like):
        real_BT = (
            attention_mask.bool() if spans is not None and attention_mask is not None else None
        )

        def may_look(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            # A token of padding looks at all before it: softmax over nothing is NaN.
            return i >= j if real_BT is None else (i >= j) & (real_BT[b, j] | ~real_BT[b, i])

        rows = None if real_BT is None else len(real_BT)
        mask = create_block_mask(may_look, rows, None, tokens, tokens, device=str(device))
        return Reach(**common, block_mask=mask)
    return Reach(**common, band_HCS=_band(slopes_H, tokens, like))


def _packed_reach(
    common: dict[str, Any], cu_seq_lens_N: Tensor, tokens: int, like: Tensor
) -> Reach:
    cuts = cu_seq_lens_N.tolist()
    if cuts[0] != 0 or cuts[-1] != tokens:
        raise ValueError(
            f"cu_seq_lens goes from {cuts[0]} to {cuts[-1]} in a row of {tokens} tokens"
        )
    lengths = tuple(end - start for start, end in pairwise(cuts))
    common |= {"cu_seq_lens_N": cu_seq_lens_N, "lengths_N": lengths, "longest": max(lengths)}
    if _flash_can(common["implementation"], like):
        return Reach(**common)
    if _flex_can(like) and (
        common["implementation"] == "flex_attention"
        or (common["implementation"] == PACKED and _is_cuda_16(like))
    ):
        sample_T = torch.bucketize(
            torch.arange(tokens, device=like.device), cu_seq_lens_N[1:], right=True
        )

        def may_look(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return (i >= j) & (sample_T[i] == sample_T[j])

        mask = create_block_mask(may_look, None, None, tokens, tokens, device=str(like.device))
        return Reach(**common, block_mask=mask)
    return Reach(**common, band_HCS=_band(common["slopes_H"], max(lengths), like))


def _spans(real_BT: Tensor) -> tuple[tuple[tuple[int, int], ...] | None, bool]:
    """Return where the tokens of each row begin and end (None: all alike), and whether none is missing between."""
    if bool(real_BT[:, 0].all()) and not bool((real_BT[:, 1:] & ~real_BT[:, :-1]).any()):
        return None, True  # padding on the right lies ahead of all tokens
    places = torch.arange(real_BT.shape[1], device=real_BT.device)
    starts = torch.where(real_BT, places, real_BT.shape[1]).amin(dim=1)
    ends = torch.where(real_BT, places + 1, 0).amax(dim=1)
    counts = real_BT.sum(dim=1)
    whole = bool((counts == (ends - starts).clamp(min=0)).all())
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    return tuple((start, end) if end else (0, 0) for start, end in spans), whole


def _bias(
    slopes_H: Tensor | None,
    attention_mask: Tensor | None,
    tokens: int,
    past: int,
    keys: int,
    like: Tensor,
) -> Tensor:
    """Return bias_BHTS, the whole matrix, float32."""
    i_T1 = torch.arange(past, past + tokens, device=like.device)[:, None]
    j_S = torch.arange(keys, device=like.device)
    bias = torch.zeros(1, 1, tokens, keys, device=like.device)
    if slopes_H is not None:
        bias = (slopes_H[:, None, None] * (j_S - i_T1))[None]
    hidden = (j_S > i_T1)[None, None]
    if attention_mask is not None and attention_mask.ndim == 2:
        real_BS = F.pad(attention_mask.bool(), (0, max(0, keys - attention_mask.shape[1])))[
            :, :keys
        ]
        hidden = hidden | ~real_BS[:, None, None]
    elif attention_mask is not None:
        mask = attention_mask[..., :tokens, :keys]
        hidden = hidden | ~mask if mask.dtype == torch.bool else hidden
        bias = bias if mask.dtype == torch.bool else bias + mask.float()
    # Not minus infinity: a token of padding may be left with nothing to look at.
    least = torch.finfo(like.dtype).min
    return bias.masked_fill(hidden, least).clamp(min=least)


def _band(slopes_H: Tensor | None, keys: int, like: Tensor) -> Tensor | None:
    """Return band_HCS, the last rows of the matrix of S queries and S keys; None without ALiBi."""
    if slopes_H is None:
        return None
    ahead_CS = (
        torch.arange(keys, device=like.device)
        - torch.arange(max(0, keys - BLOCK), keys, device=like.device)[:, None]
    )
    band = slopes_H[:, None, None] * ahead_CS
    return band.masked_fill(ahead_CS > 0, -torch.inf).to(like.dtype)


def attend(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, reach: Reach, *, scale: float, dropout: float
) -> Tensor:
    """Return what the queries find (seen_BTHD)."""
    q, k, v = q_BHTD, k_BGSD, v_BGSD
    options: dict[str, Any] = {"scale": scale, "enable_gqa": q.shape[1] != k.shape[1]}
    if reach.bias_BHTS is not None:
        if reach.implementation == "eager":
            return _eager(q, k, v, reach.bias_BHTS, scale, dropout).transpose(1, 2)
        seen = F.scaled_dot_product_attention(
            q, k, v, attn_mask=reach.bias_BHTS, dropout_p=dropout, **options
        )
        return seen.transpose(1, 2)
    if reach.block_mask is not None:
        if dropout:
            raise ValueError("FlexAttention has no dropout; set attn_config.attn_pdrop to 0")
        return _by_flex(q, k, v, reach, options).transpose(1, 2)
    if _flash_can(reach.implementation, q):
        return _by_flash(q, k, v, reach, scale, dropout)

    def look(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _by_band(q, k, v, reach.band_HCS, dropout, options)

    if reach.lengths_N is not None:
        samples = zip(
            *(torch.split(part, list(reach.lengths_N), dim=2) for part in (q, k, v)), strict=True
        )
        seen = torch.cat([look(*sample) for sample in samples], dim=2)
    elif reach.spans_B is not None:
        rows = zip(*(torch.split(part, 1) for part in (q, k, v)), reach.spans_B, strict=True)
        T = q.shape[2]
        seen = torch.cat(
            [
                F.pad(look(*(part[:, :, start:end] for part in row)), (0, 0, start, T - end))
                for *row, (start, end) in rows
            ]
        )
    else:
        seen = look(q, k, v)
    return seen.transpose(1, 2)


def _by_band(
    q: Tensor, k: Tensor, v: Tensor, band: Tensor | None, dropout: float, options: dict[str, Any]
) -> Tensor:
    T = q.shape[2]
    if T == 0:
        return q
    if band is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout, **options)
    # The odd block comes first, so that each part of the band begins at a multiple of BLOCK from its end, which kernels
    # want aligned.
    sizes = [T % BLOCK] * (T % BLOCK > 0) + [BLOCK] * (T // BLOCK)
    C, S = band.shape[1:]
    seen, end = [], 0
    for size, part in zip(sizes, torch.split(q, sizes, dim=2), strict=True):
        end += size
        bias = band[None, :, C - size :, S - end :]
        bias = bias[..., :end] if end < S else bias
        seen.append(
            F.scaled_dot_product_attention(
                part, k[:, :, :end], v[:, :, :end], attn_mask=bias, dropout_p=dropout, **options
            )
        )
    return torch.cat(seen, dim=2)


def _eager(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, dropout: float) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = (part.repeat_interleave(groups, dim=1) if groups > 1 else part for part in (k, v))
    scores = q @ k.transpose(-1, -2) * scale + bias
    weights = scores.float().softmax(dim=-1).to(v.dtype)
    return F.dropout(weights, p=dropout) @ v


def _is_cuda_16(like: Tensor) -> bool:
    return like.is_cuda and like.dtype in (torch.bfloat16, torch.float16)


def _flash_can(implementation: str, like: Tensor) -> bool:
    if implementation not in (PACKED, "flash_attention_2") or not _is_cuda_16(like):
        return False
    return find_spec("flash_attn") is not None


def _flex_can(like: Tensor) -> bool:
    # On a CPU, FlexAttention has no way back.
    return like.is_cuda or not torch.is_grad_enabled()


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)


def _by_flex(q: Tensor, k: Tensor, v: Tensor, reach: Reach, options: dict[str, Any]) -> Tensor:
    slopes_H = reach.slopes_H

    def nearer_counts_more(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        assert slopes_H is not None
        return score + slopes_H[h] * (j - i)

    call: Callable[..., Tensor] = _compiled_flex() if q.is_cuda else flex_attention  # type: ignore[assignment]
    return call(
        q, k, v,
        score_mod=None if slopes_H is None else nearer_counts_more,
        block_mask=reach.block_mask,
        **options,
    )  # fmt: skip


def _by_flash(
    q: Tensor, k: Tensor, v: Tensor, reach: Reach, scale: float, dropout: float
) -> Tensor:
    from flash_attn import flash_attn_func, flash_attn_varlen_func

    options = {
        "softmax_scale": scale, "dropout_p": dropout, "causal": True, "alibi_slopes": reach.slopes_H,
    }  # fmt: skip
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if reach.cu_seq_lens_N is None:
        return flash_attn_func(q, k, v, **options)  # type: ignore[no-any-return]
    B, T = q.shape[:2]
    cuts, longest = reach.cu_seq_lens_N, reach.longest
    flat = [part.flatten(0, 1) for part in (q, k, v)]
    if reach.real_K is not None:
        flat = [part[reach.real_K] for part in flat]
    seen = flash_attn_varlen_func(*flat, cuts, cuts, longest, longest, **options)
    if reach.real_K is not None:
        seen = seen.new_zeros(B * T, *seen.shape[1:]).index_copy(0, reach.real_K, seen)
    return seen.unflatten(0, (B, T))  # type: ignore[no-any-return]
