"""Encoded pictures to tensors of one size: what a training step waits for.

The result is what Pillow gives for `open → convert("RGB") → resize(BICUBIC)`, at about a third of the cost for JPEGs:
libjpeg-turbo decodes without a detour over an image object (`simplejpeg`, if it is installed; its pixels are Pillow's), and
where the picture shrinks torch's antialiased bicubic filter works on the bytes themselves. Its weights have 16 bits and
Pillow's 22, so some values are one step of 255 off, and in smooth pictures that hardly shrink a few in 100,000 are two or three
steps off. Who wants Pillow's very values asks for `exact`.

Other formats, and pictures that grow, are Pillow's in all. What is no plain upright JPEG (four inks, turned by its EXIF block,
damaged, very large) is decoded by `mimicit.media.picture.decode`, with its limits.

A JPEG can be decoded at a fraction of its size. No fraction gave the same values (at four times the wanted size some were still
36 steps off at hard edges), so it is done only for whoever asks for a `draft`.

    N pictures   C = 3 colours   H, W pixels
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from mimicit.errors import MissingExtraError
from mimicit.media import turbo
from mimicit.media.picture import decode

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Quality = Literal["exact", "good", "draft"]

DRAFT = 2
"""A draft is decoded to at least so many times the wanted size."""


def pixels(
    data: bytes,
    size: int | tuple[int, int],
    *,
    name: str = "a picture",
    quality: Quality = "good",
    truncated: bool = False,
) -> Tensor:
    """Decode a picture and bring it to a size, whatever its shape; return its bytes, CHW.

    Args:
        data: The encoded picture.
        size: Pixels: of both sides, or (height, width).
        name: For messages.
        quality: `exact`: Pillow's values; `good`: hardly distinguishable, the fastest way there; `draft`: large JPEGs are decoded at a
            fraction of their size, visibly not the same.
        truncated: Take a JPEG that breaks off as far as it goes, the rest grey (needs `simplejpeg`).

    Raises:
        PictureError: not a picture, damaged, or past the limits; the message names it.
    """
    torch = _torch()
    height, width = (size, size) if isinstance(size, int) else size
    least = DRAFT * max(height, width) if quality == "draft" else None
    array = turbo.decoded(data, at_least=least or 0, truncated=truncated)
    if array is None:
        decoded = _as_tensor(decode(data, name=name, at_least=least))
    else:
        decoded = torch.from_numpy(array)
    shrinks = decoded.shape[0] >= height and decoded.shape[1] >= width
    if quality == "exact" or not shrinks or not data.startswith(turbo.JPEG):
        return _resized_by_pillow(decoded, (width, height)).permute(2, 0, 1).contiguous()
    # Colours stay innermost in memory until here: that is the layout for which torch has a fast filter.
    resized: Tensor = torch.nn.functional.interpolate(
        decoded.permute(2, 0, 1)[None], size=(height, width), mode="bicubic", antialias=True
    )
    return resized[0].contiguous()


def stack(
    pictures: Iterable[bytes],
    size: int | tuple[int, int],
    *,
    name: str = "a picture",
    quality: Quality = "good",
    truncated: bool = False,
) -> Tensor:
    """Decode pictures to one size, as `pixels` does; return their bytes, NCHW, with N = 0 for none."""
    torch = _torch()
    height, width = (size, size) if isinstance(size, int) else size
    decoded = [
        pixels(data, (height, width), name=name, quality=quality, truncated=truncated)
        for data in pictures
    ]
    none: Tensor = torch.empty((0, 3, height, width), dtype=torch.uint8)
    stacked: Tensor = torch.cat([none, *(one[None] for one in decoded)])
    return stacked


def floats(values: Tensor) -> Tensor:
    """Return bytes as float32 from 0 to 1; on the device, if they are there: a fourth of the bytes travel."""
    scaled: Tensor = values.float().div_(255)
    return scaled


def _as_tensor(image: Image) -> Tensor:
    """Return an RGB image's bytes, HWC."""
    found: Tensor = _torch().frombuffer(bytearray(image.tobytes()), dtype=_torch().uint8)
    return found.view(image.height, image.width, 3)


def _resized_by_pillow(decoded: Tensor, size: tuple[int, int]) -> Tensor:
    from PIL import Image

    whole = (decoded.shape[1], decoded.shape[0])
    image = Image.frombuffer("RGB", whole, decoded.contiguous().numpy(), "raw", "RGB", 0, 1)
    return _as_tensor(image.resize(size, Image.Resampling.BICUBIC))


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "train") from None
    return torch
