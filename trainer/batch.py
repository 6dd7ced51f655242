"""Examples side by side, as the model takes them.

Letters, used everywhere in the trainer: B rows (examples), T tokens, N media of a row (a picture or a clip), F frames of a
medium, C channels, H height, W width. Names end in the letters of their shape: `ids_BT`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from trainer.masking import IGNORED


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record."""

    record_id: str
    ids_T: list[int]
    labels_T: list[int]
    pixels_NFCHW: Tensor

    def untaught(self) -> Self:
        """Return the same example with nothing to learn from it."""
        return replace(self, labels_T=[IGNORED] * len(self.labels_T))


@dataclass(frozen=True, slots=True)
class Batch:
    record_ids: tuple[str, ...]
    ids_BT: Tensor
    attention_BT: Tensor
    """1 for tokens, 0 for padding on the right."""
    labels_BT: Tensor
    pixels_BNFCHW: Tensor
    frame_mask_BNF: Tensor | None
    """False for frames that only fill up the batch; None where there are none."""
    taught: int
    """Tokens with a label."""
    tokens: int
    """Tokens without padding."""

    def to(self, device: torch.device | str) -> Self:
        move = partial(Tensor.to, device=device, non_blocking=True)
        return replace(
            self,
            ids_BT=move(self.ids_BT),
            attention_BT=move(self.attention_BT),
            labels_BT=move(self.labels_BT),
            pixels_BNFCHW=move(self.pixels_BNFCHW),
            frame_mask_BNF=None if self.frame_mask_BNF is None else move(self.frame_mask_BNF),
        )

    def inputs(self) -> dict[str, Any]:
        """Return the keyword arguments of a model's forward."""
        return {
            "input_ids": self.ids_BT,
            "attention_mask": self.attention_BT,
            "labels": self.labels_BT,
            "pixel_values": self.pixels_BNFCHW,
            "frame_mask": self.frame_mask_BNF,
        }


def collate(examples: Sequence[Example], *, pad: int) -> Batch:
    """Pad on the right to the longest example, the most media and the most frames."""
    B, T = len(examples), max(len(example.ids_T) for example in examples)
    N, F = (max(example.pixels_NFCHW.shape[axis] for example in examples) for axis in (0, 1))

    ids_BT = torch.full((B, T), pad)
    attention_BT = torch.zeros((B, T), dtype=torch.long)
    labels_BT = torch.full((B, T), IGNORED)
    pixels_BNFCHW = torch.zeros((B, N, F, *examples[0].pixels_NFCHW.shape[2:]))
    frame_mask_BNF = torch.zeros((B, N, F), dtype=torch.bool)
    for row, example in enumerate(examples):
        length = len(example.ids_T)
        media, frames = example.pixels_NFCHW.shape[:2]
        ids_BT[row, :length] = torch.tensor(example.ids_T)
        attention_BT[row, :length] = 1
        labels_BT[row, :length] = torch.tensor(example.labels_T)
        pixels_BNFCHW[row, :media, :frames] = example.pixels_NFCHW
        frame_mask_BNF[row, :media, :frames] = True

    return Batch(
        record_ids=tuple(example.record_id for example in examples),
        ids_BT=ids_BT,
        attention_BT=attention_BT,
        labels_BT=labels_BT,
        pixels_BNFCHW=pixels_BNFCHW,
        frame_mask_BNF=None if frame_mask_BNF.all() else frame_mask_BNF,
        # A label teaches the token before it, so that of the first token teaches nothing.
        taught=int((labels_BT[:, 1:] != IGNORED).sum()),
        tokens=int(attention_BT.sum()),
    )
