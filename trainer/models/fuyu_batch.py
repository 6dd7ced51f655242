"""Samples of Fuyu side by side (padded) or one behind the other in one row (packed), and what is taught of them.

Where patches and taught tokens stand is counted here, on the CPU, so that no layer waits for the device to tell.

Letters: B rows, T tokens, P patches, C numbers of one patch, K taught tokens, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .loss import IGNORED


@dataclass(frozen=True)
class Sample:
    """One conversation as the model takes it.

    Raises:
        ValueError: patches and placeholders differ in number.
    """

    ids_T: Tensor
    labels_T: Tensor
    """Not yet shifted."""
    patches_PC: Tensor
    """Bytes, or normalised."""
    positions_P: Tensor
    """Where the patches stand."""

    def __post_init__(self) -> None:
        if len(self.patches_PC) != len(self.positions_P):
            raise ValueError(
                f"{len(self.patches_PC)} patches for {len(self.positions_P)} placeholders: was the text cut?"
            )

    def __len__(self) -> int:
        return len(self.ids_T)


def normalised(bytes_PC: Tensor) -> Tensor:
    """Return the numbers that the model was taught with: from -1 to 1."""
    return bytes_PC.float().div_(255).sub_(0.5).div_(0.5)


def padded(samples: Sequence[Sample], *, pad_id: int, side: str = "right") -> dict[str, Any]:
    """Return a batch with a row for each sample: `Fuyu.forward`'s arguments.

    Args:
        samples: At least one.
        pad_id: Whatever: nothing sees it.
        side: "right", or "left" for prompts to be written on.
    """

    def filled(rows: list[Tensor], value: int) -> Tensor:
        return pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)

    ids_BT = filled([sample.ids_T for sample in samples], pad_id)
    labels_BT = filled([sample.labels_T for sample in samples], IGNORED)
    T = ids_BT.shape[1]
    shifts = [n * T + (T - len(s) if side == "left" else 0) for n, s in enumerate(samples)]
    return {
        "input_ids": ids_BT,
        "attention_mask": filled([torch.ones_like(sample.ids_T) for sample in samples], 0),
        "labels": labels_BT,
        **_placed(samples, shifts, labels_BT),
    }


def packed(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return a batch of one row in which each sample sees itself alone: `Fuyu.forward`'s arguments."""
    lengths = [len(sample) for sample in samples]
    ends = torch.tensor([0, *lengths]).cumsum(0)
    labels_T = torch.cat([sample.labels_T for sample in samples])
    # What begins a sample is nothing that the one before it should say.
    labels_T[ends[:-1]] = IGNORED
    return {
        "input_ids": torch.cat([sample.ids_T for sample in samples])[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "labels": labels_T[None],
        "cu_seq_lens": ends.to(torch.int32),
        "max_length": max(lengths),
        **_placed(samples, ends[:-1].tolist(), labels_T[None]),
    }


def _placed(samples: Sequence[Sample], shifts: Sequence[int], labels_BT: Tensor) -> dict[str, Any]:
    # Without a picture they are empty, not absent: so that every process of a run has a gradient for the patches' embedding.
    places = [one.positions_P + shift for one, shift in zip(samples, shifts, strict=True)]
    return {
        "taught_positions": positions_taught(labels_BT),
        "pixel_values": torch.cat([sample.patches_PC for sample in samples]),
        "patch_positions": torch.cat(places),
    }


def positions_taught(labels_BT: Tensor) -> Tensor:
    """Return (K,): the tokens, counted over all rows, whose next one in their row has a label."""
    taught_BT = torch.zeros_like(labels_BT, dtype=torch.bool)
    taught_BT[:, :-1] = labels_BT[:, 1:] != IGNORED
    return taught_BT.flatten().nonzero().flatten()
