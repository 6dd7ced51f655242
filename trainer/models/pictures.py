"""Pictures to squares of bytes, by Pillow alone."""

from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

Geometry = Literal["squash", "crop"]
"""Bring a picture to a square without regard to its proportions, or take the middle of it."""

LONGEST = 64
"""Times that one side may be as long as the other, for the middle to be taken as transformers does."""


def squared(picture: Image.Image, side: int, geometry: Geometry) -> Tensor:
    """Return a picture's bytes, bytes_CHW, `side` pixels high and wide.

    `crop` first brings the shorter side to size, as transformers' processor of CLIP does, whose roundings these are.
    """
    whole = in_colour(picture)
    if geometry == "squash":
        made = whole.resize((side, side), Image.Resampling.BICUBIC)
    else:
        whole = _not_too_long(whole)
        short = min(whole.size)
        width, height = (int(side * length / short) for length in whole.size)
        left, top = (width - side) // 2, (height - side) // 2
        made = whole.resize((width, height), Image.Resampling.BICUBIC)
        made = made.crop((left, top, left + side, top + side))
    return torch.from_numpy(np.array(made)).permute(2, 0, 1).contiguous()


def _not_too_long(picture: Image.Image) -> Image.Image:
    """Cut the ends of a strip off, of which nothing is shown: brought to size, a hair's width of pixels would fill all memory."""
    width, height = picture.size
    longest = LONGEST * min(width, height)
    if max(width, height) <= longest:
        return picture
    left, top = max(width - longest, 0) // 2, max(height - longest, 0) // 2
    return picture.crop((left, top, left + min(width, longest), top + min(height, longest)))


def in_colour(picture: Image.Image) -> Image.Image:
    """Return a picture as RGB, upright: what is transparent lies on white, 16 bits become 8.

    Raises:
        ValueError: the picture is damaged.
    """
    if not isinstance(picture, Image.Image):
        raise TypeError(f"a picture is a PIL.Image, not {type(picture).__name__}")
    try:
        picture.load()
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"a picture cannot be read: {error}") from error
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        opaque = upright.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    if upright.mode.startswith("I"):
        return upright.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    return upright.convert("RGB")


def evenly(frames: int, wanted: int) -> list[int]:
    """Return the numbers of `wanted` frames, from the first to the last; some twice where there are fewer."""
    return [int(number) for number in np.linspace(0, frames - 1, wanted)]
