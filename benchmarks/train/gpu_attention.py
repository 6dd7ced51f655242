"""Attention within the samples of a packed row: every implementation's error against float32, and its time there and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from timing import seconds  # noqa: E402

# isort: split
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trainer.models.attention import packed_attention_forward, packed_mask  # noqa: E402

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def rows(*, quick: bool, device: torch.device) -> list[dict[str, object]]:
    shapes = [("OtterHD-8B", 64, 64), ("LLaMA-7B", 32, 128)]
    tokens, rounds = (8192, 20) if device.type == "cuda" else (256, 1)
    if quick:
        shapes = [("tiny", 4, 32)]
    return [
        row
        for name, heads, width in shapes
        for row in of_shape(name, heads, width, tokens=tokens, rounds=rounds, device=device)
    ]


def of_shape(
    name: str, heads: int, width: int, *, tokens: int, rounds: int, device: torch.device
) -> list[dict[str, object]]:
    """Measure samples of uneven lengths in one row of so many tokens."""
    torch.manual_seed(0)
    cuts = [0, tokens // 16, tokens // 8, tokens // 3, tokens // 2, tokens]
    ends = torch.tensor(cuts, dtype=torch.int32, device=device)
    # What goes in is exact in 16 bits, so that only the way through differs.
    q, k, v, up = (
        torch.randn(1, heads, tokens, width, device=device).bfloat16().float() for _ in range(4)
    )
    exact = there_and_back(by_sample(cuts), q, k, v, up)
    pairs = sum((b - a) * (b - a + 1) // 2 for a, b in pairwise(cuts))
    # Two products there, four back, two operations each.
    flops = 12.0 * pairs * heads * width

    found = []
    for kind, attend in implementations(cuts, ends, device=device).items():
        parts = [part.bfloat16() for part in (q, k, v, up)]
        row: dict[str, object] = {"shape": f"{name}, {tokens} tokens", "attention": kind}
        try:
            got = there_and_back(attend, *parts)
            took = seconds(
                partial(there_and_back, attend, *parts), warm=3, steps=rounds, device=device
            )
        except (RuntimeError, ImportError, torch._dynamo.exc.TorchDynamoException) as error:
            row |= {"error": "", "error of gradients": "", "ms": "", "TFLOP/s": ""}
            found.append(
                row | {"note": f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"}
            )
            continue
        forward, *gradients = (
            f"{(mine.float() - true).norm() / true.norm():.2g}"
            for mine, true in zip(got, exact, strict=True)
        )
        row |= {"error": forward, "error of gradients": " ".join(gradients)}
        row |= {"ms": f"{took * 1e3:.3g}", "TFLOP/s": f"{flops / took / 1e12:.3g}", "note": ""}
        found.append(row)
    return found


def implementations(cuts: list[int], ends: Tensor, *, device: torch.device) -> dict[str, Attend]:
    tokens = cuts[-1]
    longest = max(b - a for a, b in pairwise(cuts))
    mask = packed_mask("sdpa", ends, tokens=tokens, dtype=torch.bfloat16)
    found: dict[str, Attend] = {
        "packed": partial(packed, ends=ends, longest=longest),
        "sdpa with a mask of T x T": partial(F.scaled_dot_product_attention, attn_mask=mask),
        "sdpa sample by sample": by_sample(cuts),
        "padded rows, sdpa": by_padded_rows(cuts),
    }
    if device.type == "cuda":
        found["flex"] = flexible(ends, tokens)
    return found


def there_and_back(attend: Attend, q: Tensor, k: Tensor, v: Tensor, up: Tensor) -> list[Tensor]:
    """Return what is seen (1, H, T, D), and the gradients of queries, keys and values."""
    parts = [part.detach().requires_grad_() for part in (q, k, v)]
    seen = attend(*parts)
    return [seen.detach(), *torch.autograd.grad(seen, parts, up)]


def packed(q: Tensor, k: Tensor, v: Tensor, *, ends: Tensor, longest: int) -> Tensor:
    seen, _ = packed_attention_forward(
        nn.Identity(), q, k, v, None, cu_seq_lens_q=ends, cu_seq_lens_k=ends,
        max_length_q=longest, max_length_k=longest,
    )  # fmt: skip
    return seen.transpose(1, 2)


def by_sample(cuts: list[int]) -> Attend:
    lengths = [b - a for a, b in pairwise(cuts)]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(part.split(lengths, dim=2) for part in (q, k, v)), strict=True)
        return torch.cat(
            [F.scaled_dot_product_attention(*part, is_causal=True) for part in parts], dim=2
        )

    return attend


def by_padded_rows(cuts: list[int]) -> Attend:
    """A row for each sample, as long as the longest: what an unpacked batch does."""
    lengths = [b - a for a, b in pairwise(cuts)]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = [
            nn.utils.rnn.pad_sequence(
                [one[0].transpose(0, 1) for one in part.split(lengths, dim=2)], batch_first=True
            ).transpose(1, 2)
            for part in (q, k, v)
        ]
        seen = F.scaled_dot_product_attention(*rows, is_causal=True)
        return torch.cat(
            [row[:, :length] for row, length in zip(seen, lengths, strict=True)], dim=1
        )[None]

    return attend


def flexible(ends: Tensor, tokens: int) -> Attend:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    sample = torch.bucketize(torch.arange(tokens, device=ends.device), ends[1:], right=True)

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (sample[q] == sample[k]) & (q >= k)

    blocks = create_block_mask(seen, None, None, tokens, tokens, device=str(ends.device))
    compiled: Any = torch.compile(flex_attention)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found: Tensor = compiled(q, k, v, block_mask=blocks)
        return found

    return attend
