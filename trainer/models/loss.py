"""The loss of what is taught, and of nothing else.

Only the positions with a label meet the vocabulary: for one answer in a hundred tokens that is a hundredth of the work and of the
memory, which matters where the vocabulary is large (Fuyu: 262,144 words). Where even those are many, they come in pieces,
whose logits are computed a second time on the way back and never lie in memory together.

Letters: B rows, T tokens, D width, K taught tokens, V words.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

IGNORED = -100
"""The label of a token that is not taught."""
PIECE = 1 << 28
"""Logits in memory at once, at most: 1 GiB of them in float32."""


def taught_loss(
    hidden_BTD: Tensor,
    labels_BT: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    words: int,
    num_items: Tensor | int | None = None,
    piece: int = PIECE,
    per_token: bool = False,
) -> Tensor:
    """Return the cross-entropy of the next tokens, summed and divided by `num_items`, or else by how many are taught.

    Labels are those of the tokens themselves, not yet shifted: the label of token t teaches token t - 1. Nothing taught is a
    loss of 0 with gradients of 0, not NaN.

    Args:
        hidden_BTD: The last layer's output.
        labels_BT: Token ids, or IGNORED.
        head: The output layer: (K, D) to logits (K, V).
        words: V.
        num_items: Taught tokens of the whole step, over all its batches and devices.
        piece: Logits in memory at once, at most.
        per_token: Return instead the cross-entropy of each taught token (K,), row by row, not divided.

    Raises:
        ValueError: the labels are not those of the tokens.
    """
    if labels_BT.shape != hidden_BTD.shape[:2]:
        raise ValueError(
            f"labels have the shape {tuple(labels_BT.shape)} and the tokens {tuple(hidden_BTD.shape[:2])}; give each token a label, "
            f"{IGNORED} where nothing is taught"
        )
    next_BT = labels_BT[:, 1:]
    taught_BT = next_BT != IGNORED
    return rows_loss(
        hidden_BTD[:, :-1][taught_BT],
        next_BT[taught_BT],
        head,
        words=words,
        num_items=num_items,
        piece=piece,
        per_token=per_token,
    )


def rows_loss(
    hidden_KD: Tensor,
    next_K: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    words: int,
    num_items: Tensor | int | None = None,
    piece: int = PIECE,
    per_token: bool = False,
) -> Tensor:
    """Do as `taught_loss` where it is known which tokens are taught: states beside what each is to say. Waits for no device."""

    def each(hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(head(hidden).float(), targets, reduction="none")

    def summed(hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(head(hidden).float(), targets, reduction="sum")

    rows = max(1, piece // words)
    if per_token:
        pieces = zip(torch.split(hidden_KD, rows), torch.split(next_K, rows), strict=True)
        if len(next_K) <= rows:
            return each(hidden_KD, next_K)
        return torch.cat([checkpoint(each, *piece, use_reentrant=False) for piece in pieces])
    if len(next_K) <= rows:
        loss = summed(hidden_KD, next_K)
    else:
        loss = sum(
            (
                checkpoint(summed, hidden, targets, use_reentrant=False)
                for hidden, targets in zip(
                    torch.split(hidden_KD, rows), torch.split(next_K, rows), strict=True
                )
            ),
            start=hidden_KD.new_zeros((), dtype=torch.float32),
        )
    return loss / (max(1, len(next_K)) if num_items is None else num_items)
