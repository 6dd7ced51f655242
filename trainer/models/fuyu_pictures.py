"""Pictures as rows of patches, at their own size: Fuyu's way without a vision tower.

A picture that fits is not resized at all, and is padded only to whole patches, not to the largest size, as transformers does
before it cuts the padding off again. The numbers are the published ones: bilinear, padding of 1 on the scale from 0 to 255
(almost black), (x / 255 - 0.5) / 0.5, a patch's numbers in the order row, column, colour.

Letters: H W a picture in pixels, P patches in the order of reading, C numbers of one patch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .pictures import in_colour

PADDING = 1
"""The colour beside a picture, of 255."""


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


def fitted(
    height: int, width: int, *, size: tuple[int, int] | None, max_pixels: int | None
) -> tuple[int, int]:
    """Return the height and width at which a picture is shown: its own, or its aspect within the limits.

    Args:
        height: Pixels.
        width: Pixels.
        size: Height and width that a picture may have; None: any.
        max_pixels: Height times width at most; None: any.
    """
    if size is not None and (height > size[0] or width > size[1]):
        # int() and not round(): the published rule.
        factor = min(size[0] / height, size[1] / width)
        height, width = max(1, int(height * factor)), max(1, int(width * factor))
    if max_pixels is not None and height * width > max_pixels:
        factor = math.sqrt(max_pixels / (height * width))
        height, width = max(1, int(height * factor)), max(1, int(width * factor))
    return height, width


def cut(
    picture: Image.Image,
    *,
    patch: int,
    size: tuple[int, int] | None = None,
    max_pixels: int | None = None,
) -> Patches:
    """Return a picture's patches.

    Args:
        picture: Of any mode and size.
        patch: Side of a patch in pixels.
        size: See `fitted`.
        max_pixels: See `fitted`.
    """
    shown = in_colour(picture)
    height, width = fitted(shown.height, shown.width, size=size, max_pixels=max_pixels)
    scale = height / shown.height
    if (width, height) != shown.size:
        shown = shown.resize((width, height), Image.Resampling.BILINEAR)
    rows, columns = -(-height // patch), -(-width // patch)
    whole_HWC = np.full((rows * patch, columns * patch, 3), PADDING, dtype=np.uint8)
    whole_HWC[:height, :width] = np.asarray(shown)
    patches = whole_HWC.reshape(rows, patch, columns, patch, 3).swapaxes(1, 2)
    bytes_PC = torch.from_numpy(patches.reshape(rows * columns, -1))
    return Patches(bytes_PC, columns=columns, scale=scale)
