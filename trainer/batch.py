"""Examples as the model takes them: padded, each in a row of its own, or packed, several in one row.

    padded       Look <image> What ?  .        packed       Look <image> What ? Why ? <image> And
                 Why ? <image> And .  .        positions     0    1      2   3   0  1   2     3
    text_time     0    1      1   1                          0    1      1   1   0  0   2     2
                  0    0      1   1                          └── sample 1 ───┘  └── sample 2 ──┘

`text_time` numbers, from 1 and within the row, the medium that a token sees: the last one before it in its own sample; 0 is none.

Letters, used everywhere in the trainer: B rows, T tokens, N media of a row (a picture or a clip), F frames of a medium, C
channels, H height, W width. Names end in the letters of their shape: `ids_BT`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor

from trainer.errors import TrainingError
from trainer.flops import Sample
from trainer.models.loss import IGNORED
from trainer.rows import Rows

Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each colour, from 0 to 1: how bytes of pictures become what the model takes."""


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record."""

    record_id: str
    ids_T: list[int]
    labels_T: list[int]
    pixels_NFCHW: Tensor
    """One medium for each `<image>`; N is 0 for text alone. Bytes, with `scale`: a quarter of the memory, and of the way to the device."""
    frames_N: tuple[int, ...] = ()
    """Frames that each medium has, where some have fewer than F; empty: all have F."""
    scale: Scale | None = None
    """Of pixels that are bytes; None: they are as the model takes them."""

    def untaught(self) -> Self:
        """Return the same example with nothing to learn from it."""
        return replace(self, labels_T=[IGNORED] * len(self.labels_T))

    @property
    def taught(self) -> int:
        """Tokens with a label; that of the first teaches nothing, for a label teaches the token before it."""
        return sum(label != IGNORED for label in self.labels_T[1:])

    def sample(self, *, image: int | None) -> Sample:
        """Return what it costs."""
        looking = None
        if image is not None:
            first = self.ids_T.index(image) if image in self.ids_T else len(self.ids_T)
            looking = len(self.ids_T) - first
        return Sample(len(self.ids_T), self.taught, self.frames(), looking=looking)

    def frames(self) -> tuple[int, ...]:
        """Return how many frames each medium has."""
        media, frames = self.pixels_NFCHW.shape[:2]
        return self.frames_N or (frames,) * media


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Rows):
    ids_BT: Tensor
    attention_BT: Tensor | None
    """1 for tokens, 0 for padding on the right; None for a packed row, which has none."""
    labels_BT: Tensor
    pixels_BNFCHW: Tensor
    frame_mask_BNF: Tensor | None
    """False for frames that only fill up the batch; None where there are none."""
    text_time_BT: Tensor | None = None
    """Number of the medium that each token sees; None: the model counts."""
    position_ids_BT: Tensor | None = None
    """Packed: places within the own sample."""
    cu_seq_lens_N: Tensor | None = None
    """Packed: where each sample begins, and where the last one ends (int32)."""
    longest: int | None = None
    """Packed: tokens of the longest sample."""
    scale: Scale | None = None
    """Of pixels that are bytes."""

    @property
    def size(self) -> int:
        return self.ids_BT.numel()

    def untaught(self) -> Self:
        labels_BT = torch.full_like(self.labels_BT, IGNORED)
        nothing = (0,) * len(self.taught_each)
        return replace(
            self,
            record_ids=(),
            labels_BT=labels_BT,
            taught=0,
            tokens=0,
            pictures=0,
            taught_each=nothing,
            samples=(),
        )

    def inputs(self) -> dict[str, Any]:
        given = {
            "input_ids": self.ids_BT,
            "attention_mask": self.attention_BT,
            "labels": self.labels_BT,
            "pixel_values": scaled(self.pixels_BNFCHW, self.scale),
            "frame_mask": self.frame_mask_BNF,
        }
        counted = {
            "text_time": self.text_time_BT,
            "position_ids": self.position_ids_BT,
            "cu_seq_lens": self.cu_seq_lens_N,
            "max_length": self.longest,
        }
        return given | {name: value for name, value in counted.items() if value is not None}


def collate(examples: Sequence[Example], *, pad: int, image: int | None = None) -> Batch:
    """Pad on the right to the longest example, the most media and the most frames.

    Args:
        examples: A row each.
        pad: The token that fills up.
        image: The token `<image>`; None leaves it to the model to count them.

    Raises:
        TrainingError: an example has not one medium for each `<image>`.
    """
    B, T = len(examples), max(len(example.ids_T) for example in examples)
    # Without any medium there is one that nobody sees, so that every device computes the same.
    N = max([1, *(len(example.frames()) for example in examples)])
    F = max([1, *(count for example in examples for count in example.frames())])

    ids_BT = torch.full((B, T), pad)
    attention_BT = torch.zeros((B, T), dtype=torch.long)
    labels_BT = torch.full((B, T), IGNORED)
    text_time_BT = torch.zeros((B, T), dtype=torch.long)
    first = examples[0].pixels_NFCHW
    pixels_BNFCHW = first.new_zeros((B, N, F, *first.shape[2:]))
    frame_mask_BNF = torch.zeros((B, N, F), dtype=torch.bool)
    for row, example in enumerate(examples):
        length = len(example.ids_T)
        media, frames = example.pixels_NFCHW.shape[:2]
        ids_BT[row, :length] = torch.tensor(example.ids_T)
        attention_BT[row, :length] = 1
        labels_BT[row, :length] = torch.tensor(example.labels_T)
        pixels_BNFCHW[row, :media, :frames] = example.pixels_NFCHW[:, :F]
        for medium, shown in enumerate(example.frames()):
            frame_mask_BNF[row, medium, :shown] = True
        if image is not None:
            text_time_BT[row, :length] = torch.tensor(text_time(example, image=image))

    return Batch(
        record_ids=tuple(example.record_id for example in examples),
        ids_BT=ids_BT,
        attention_BT=attention_BT,
        labels_BT=labels_BT,
        pixels_BNFCHW=pixels_BNFCHW,
        frame_mask_BNF=None if frame_mask_BNF.all() or not frame_mask_BNF.any() else frame_mask_BNF,
        taught=sum(example.taught for example in examples),
        tokens=sum(len(example.ids_T) for example in examples),
        pictures=sum(sum(example.frames()) for example in examples),
        taught_each=tuple(example.taught for example in examples),
        samples=tuple(example.sample(image=image) for example in examples),
        text_time_BT=None if image is None else text_time_BT,
        scale=examples[0].scale,
    )


def one_row(examples: Sequence[Example], *, image: int) -> Batch:
    """Put examples one after the other into one row, in which none of them sees another.

    Args:
        examples: At least one.
        image: The token `<image>`.

    Raises:
        TrainingError: an example has not one medium for each `<image>`.
    """
    lengths = [len(example.ids_T) for example in examples]
    cuts = [0, *accumulate(lengths)]
    shown = [count for example in examples for count in example.frames()]
    N, F = max(1, len(shown)), max([1, *shown])

    labels, times, media = [], [], 0
    first = examples[0].pixels_NFCHW
    pixels_1NFCHW = first.new_zeros((1, N, F, *first.shape[2:]))
    for example in examples:
        # The label of a sample's first token would teach the last token of the sample before.
        labels += [IGNORED, *example.labels_T[1:]]
        times += text_time(example, image=image, before=media)
        count, frames = example.pixels_NFCHW.shape[:2]
        pixels_1NFCHW[0, media : media + count, :frames] = example.pixels_NFCHW[:, :F]
        media += count
    frame_mask_NF = torch.arange(F) < torch.tensor(shown or [F])[:, None]

    return Batch(
        record_ids=tuple(example.record_id for example in examples),
        ids_BT=torch.tensor([[token for example in examples for token in example.ids_T]]),
        attention_BT=None,
        labels_BT=torch.tensor([labels]),
        pixels_BNFCHW=pixels_1NFCHW,
        frame_mask_BNF=None if frame_mask_NF.all() else frame_mask_NF[None],
        taught=sum(example.taught for example in examples),
        tokens=cuts[-1],
        pictures=sum(shown),
        taught_each=tuple(example.taught for example in examples),
        samples=tuple(example.sample(image=image) for example in examples),
        text_time_BT=torch.tensor([times]),
        position_ids_BT=torch.cat([torch.arange(length) for length in lengths])[None],
        cu_seq_lens_N=torch.tensor(cuts, dtype=torch.int32),
        longest=max(lengths),
        scale=examples[0].scale,
    )


def scaled(pixels: Tensor, scale: Scale | None) -> Tensor:
    """Return pixels (…, C, H, W) as the model takes them; what is no bytes is so already."""
    if scale is None:
        return pixels
    mean_C11, std_C11 = (
        torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in scale
    )
    return pixels.float().div_(255).sub_(mean_C11).div_(std_C11)


def text_time(example: Example, *, image: int, before: int = 0) -> list[int]:
    """Number the medium that each token sees: the last one up to it, or 0 for none.

    Args:
        example: One sample.
        image: The token `<image>`.
        before: Media of the row that belong to samples before this one.

    Raises:
        TrainingError: there is not one medium for each `<image>`.
    """
    seen = list(accumulate(int(token == image) for token in example.ids_T))
    marks, media = (seen or [0])[-1], example.pixels_NFCHW.shape[0]
    if marks != media:
        raise TrainingError(
            f"record {example.record_id!r} has {media} pictures or clips, but <image> stands {marks} times in its tokens; "
            "correct the record, or leave it out with data.where"
        )
    return [before + count if count else 0 for count in seen]
