"""What a picture looks like, as 192 numbers, with Pillow alone.

    64  brightness on an 8×8 grid, less its mean: lighting makes little difference
    32  two colours on a 4×4 grid
    96  edges: how strong they are in 6 directions, in each cell of a 4×4 grid

Each part is brought to unit length, and then the whole, so that the dot product of two descriptions is their cosine. It finds pictures of
one scene, layout or colour; it does not know what is in them. For that, bring vectors of your own (`--embeddings`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mimicit.media.picture import decode

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 32
"""Pixels; edges are measured at this size."""
DIRECTIONS = 6


def describe(data: bytes, *, name: str = "picture") -> list[float]:
    """Describe an encoded picture by a vector of unit length.

    Raises:
        PictureError: it cannot be decoded; the message names it.
    """
    small = decode(data, name=name, at_least=2 * SIDE).resize((SIDE, SIDE)).convert("YCbCr")
    light, *colours = small.split()
    return _unit(
        [
            *_unit(_centred(_values(light, 8))),
            *_unit([value - 128.0 for colour in colours for value in _values(colour, 4)]),
            *_unit(_centred(_edges(_values(light, SIDE)))),
        ]
    )


def _values(channel: Image, side: int) -> list[float]:
    from PIL import Image

    return [float(v) for v in channel.resize((side, side), Image.Resampling.BOX).tobytes()]


def _edges(light: Sequence[float]) -> list[float]:
    """Sum the gradients' strengths by cell and direction; opposite directions are one."""
    cells = [0.0] * (16 * DIRECTIONS)
    for y in range(1, SIDE - 1):
        for x in range(1, SIDE - 1):
            at = y * SIDE + x
            across, down = light[at + 1] - light[at - 1], light[at + SIDE] - light[at - SIDE]
            turn = math.atan2(down, across) / math.pi % 1.0
            cell = y * 4 // SIDE * 4 + x * 4 // SIDE
            cells[cell * DIRECTIONS + int(turn * DIRECTIONS) % DIRECTIONS] += math.hypot(
                across, down
            )
    return cells


def _centred(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def _unit(values: Sequence[float]) -> list[float]:
    """Bring to unit length; nothing stays nothing."""
    length = math.sqrt(math.fsum(value * value for value in values))
    return [value / length for value in values] if length > 1e-9 else [0.0] * len(values)
