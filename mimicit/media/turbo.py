"""JPEGs through libjpeg-turbo (`simplejpeg`, where it is installed): pixels without a detour over an image object, and Pillow's very values.

What is no plain upright JPEG of harmless size (four inks, turned by its EXIF block, damaged, very large) is left to `mimicit.media.picture.decode`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from mimicit.errors import PictureError
from mimicit.media.picture import LARGE_PIXELS, is_turned

JPEG = b"\xff\xd8\xff"
"""How one begins."""
_EXIF_WITHIN = 1 << 16
"""Bytes from the start in which an EXIF block begins, where there is one."""


@cache
def simplejpeg() -> Any | None:
    """Return the package, or None where it is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def decoded(
    data: bytes, *, colours: str = "RGB", at_least: int = 0, truncated: bool = False
) -> Any | None:
    """Return a picture as an array of bytes (height, width, colours); None for what is Pillow's to decode.

    Args:
        data: The encoded picture.
        colours: RGB or GRAY.
        at_least: Pixels of each side that are enough, where it has as many; a larger one is decoded at a fraction of its size. 0: all.
        truncated: Take one that breaks off as far as it goes.
    """
    package = simplejpeg()
    if package is None or not data.startswith(JPEG) or _is_turned(data):
        return None
    try:
        height, width, space, _ = package.decode_jpeg_header(data)
        if height * width > LARGE_PIXELS or space in ("CMYK", "YCCK"):
            return None
        return package.decode_jpeg(
            data,
            colorspace=colours,
            min_height=min(at_least, height),
            min_width=min(at_least, width),
            strict=not truncated,
        )
    except ValueError:  # Pillow decides whether it is only odd, and says what is wrong
        return None


def _is_turned(data: bytes) -> bool:
    """Say whether a JPEG's EXIF block turns it, or cannot be read."""
    if data.find(b"Exif\0\0", 0, _EXIF_WITHIN) < 0:
        return False
    try:
        return is_turned(data)
    except PictureError:
        return True
