"""Pictures as rows of patches, at their own size: Fuyu's way without a vision tower.

A picture that fits is not resized at all, and is padded only to whole patches, not to the largest size, as transformers does
before it cuts the padding off again. The numbers are the published ones: bilinear, padding of 1 on the scale from 0 to 255
(almost black), (x / 255 - 0.5) / 0.5, a patch's numbers in the order row, column, colour.

Dynamic resolution (OtterHD, arXiv 2311.04219) teaches a model to see at any: each sample draws how large its pictures are shown, by
area and with their aspect, where the published training squashed all of a batch to one of three squares.

    side = drawn_side(SIDES, seed=0, epoch=epoch, index=index)
    processor.sample(turns, side=side)

Letters: H W a picture in pixels, P patches in the order of reading, C numbers of one patch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .pictures import in_colour

PADDING = 1
"""The colour beside a picture, of 255."""
SIDES = (448, 512, 768)
"""Pixels: the sides that the published training draws from."""


@dataclass(frozen=True)
class Patches:
    """One picture, or one frame, as the model takes it."""

    bytes_PC: Tensor
    """Not yet normalised (`fuyu_batch.normalised`): a quarter of the memory, and of the way to the device."""
    columns: int
    """Patches in a row."""
    scale: float
    """Size as shown / size as it came: 1.0 if it fitted."""

    @property
    def rows(self) -> int:
        return len(self.bytes_PC) // self.columns

    @property
    def nbytes(self) -> int:
        return self.bytes_PC.nbytes


def drawn_side(sides: Sequence[int], *, seed: int, epoch: int, index: int) -> int:
    """Draw one of the sides: the same for the same numbers, whatever process asks, and another time another.

    Args:
        sides: In pixels.
        seed: Of the run.
        epoch: From 0.
        index: Of the sample; or of the batch, so that all its samples get the same side.

    Raises:
        ValueError: there is no side to draw.
    """
    if not sides or min(sides) < 1:
        raise ValueError(f"the sides to draw from are {list(sides)}; give at least one, in pixels")
    # A last number that is not 0: to NumPy, zeros at the end are nothing.
    return int(np.random.default_rng([seed, epoch, index, 1]).choice(np.asarray(sides)))


def fitted(
    height: int,
    width: int,
    *,
    size: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> tuple[int, int]:
    """Return the height and width at which a picture is shown: its own, or its aspect within the limits.

    Where limits contradict each other, the smaller picture is right.

    Args:
        height: Pixels.
        width: Pixels.
        size: Height and width that a picture may have; None: any.
        max_pixels: Height times width at most; None: any.
        min_pixels: Height times width at least, but for rounding; smaller pictures are enlarged. None: none is.
    """
    area = height * width
    wanted = max(area, min_pixels or 0)
    wanted = wanted if max_pixels is None else min(wanted, max_pixels)
    if wanted != area:
        factor = math.sqrt(wanted / area)
        # A millionth of a pixel is an error of rounding.
        height, width = (max(1, int(side * factor + 1e-6)) for side in (height, width))
    if size is not None and (height > size[0] or width > size[1]):
        # int() and not round(): the published rule.
        factor = min(size[0] / height, size[1] / width)
        height, width = max(1, int(height * factor)), max(1, int(width * factor))
    return height, width


def cut(
    picture: Image.Image,
    *,
    patch: int,
    size: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
) -> Patches:
    """Return a picture's patches.

    Args:
        picture: Of any mode and size.
        patch: Side of a patch in pixels.
        size: See `fitted`.
        max_pixels: See `fitted`.
        min_pixels: See `fitted`.

    Raises:
        ValueError: the picture is damaged.
    """
    shown = in_colour(picture)
    height, width = fitted(
        shown.height, shown.width, size=size, max_pixels=max_pixels, min_pixels=min_pixels
    )
    scale = height / shown.height
    if (width, height) != shown.size:
        shown = shown.resize((width, height), Image.Resampling.BILINEAR)
    rows, columns = -(-height // patch), -(-width // patch)
    whole_HWC = np.full((rows * patch, columns * patch, 3), PADDING, dtype=np.uint8)
    whole_HWC[:height, :width] = np.asarray(shown)
    patches = whole_HWC.reshape(rows, patch, columns, patch, 3).swapaxes(1, 2)
    bytes_PC = torch.from_numpy(patches.reshape(rows * columns, -1))
    return Patches(bytes_PC, columns=columns, scale=scale)


def from_bytes(picture: Any) -> Image.Image:
    """Return an array's picture, bytes_HWC; numbers from 0 to 1 would make a black one.

    Raises:
        ValueError: other numbers than bytes, or another shape.
    """
    bytes_HWC = np.asarray(picture)
    if bytes_HWC.dtype != np.uint8 or bytes_HWC.ndim != 3 or bytes_HWC.shape[-1] != 3:
        raise ValueError(
            f"a picture is Pillow's, or an array of bytes (height, width, 3), not a {type(picture).__name__} of "
            f"{bytes_HWC.dtype} {bytes_HWC.shape}; give frames one by one"
        )
    return Image.fromarray(bytes_HWC)
