"""Look at a picture's bytes without trusting them."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.errors import PictureError
from mimicit.schema import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 256 << 20
FORMATS = (
    "AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP",
)  # fmt: skip
"""What is decoded: formats of pictures, none that is a program (EPS goes to Ghostscript)."""
LARGE_PIXELS = 16_000_000
"""Pictures with more are decoded one at a time: a few kilobytes can claim a gigabyte."""
_LARGE = threading.Lock()
_ORIENTATION = 0x0112
"""The EXIF tag."""


def decode(data: bytes, *, name: str, at_least: int | None = None) -> Image:
    """Decode a picture to RGB, upright (its EXIF orientation applied).

    Args:
        data: The encoded picture.
        name: For messages.
        at_least: Pixels of either side that are enough; a JPEG is then decoded smaller, and faster.

    Raises:
        PictureError: not a picture, damaged, or past the limits; the message names it.
    """
    from PIL import ImageOps

    with _opened(data, name) as image:
        if at_least is not None:
            image.draft("RGB", (at_least, at_least))
        return _in_colour(ImageOps.exif_transpose(image))


def _in_colour(image: Image) -> Image:
    """Return a picture as RGB: what is transparent lies on white, 16 bits become 8."""
    from PIL import Image

    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    return image.convert("RGB")


def is_turned(data: bytes) -> bool:
    """Say whether a picture that opens is stored turned or mirrored, as its EXIF block says."""
    with _opened(data, "a picture") as image:
        return bool(image.getexif().get(_ORIENTATION, 1) != 1)


def measure(data: bytes, *, id: str, name: str, source: str | None = None) -> ImageRecord:
    """Decode a picture once, so that what is stored is known to open, and note its size and hash.

    Raises:
        PictureError: as `decode`.
    """
    from PIL import Image

    with _opened(data, name) as image:
        mime = Image.MIME.get(image.format or "", "application/octet-stream")
        width, height = image.size
        image.load()
    return ImageRecord(
        id=id,
        image=data,
        sha256=hashlib.sha256(data).hexdigest(),
        mime=mime,
        width=width,
        height=height,
        source=source,
    )


@cache
def _known_formats() -> tuple[str, ...]:
    """Return those of FORMATS that this Pillow can decode."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image]:
    """Open a picture; whatever goes wrong with it, here or in the block, is a PictureError."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError(f"{name!r} is empty")
    # Odd EXIF blocks are no reason to refuse a picture. (Not `catch_warnings`: it is not for
    # threads, and pictures are decoded in them.)
    warnings.filterwarnings("ignore", module="PIL")
    try:
        # Pillow itself raises where a header claims more than 178 million pixels.
        with Image.open(io.BytesIO(data), formats=_known_formats()) as image:
            large = image.width * image.height > LARGE_PIXELS
            with _LARGE if large else nullcontext():
                yield image
    except UnidentifiedImageError:
        raise PictureError(
            f"{name!r} is not a picture in a format that is read here ({', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders raise what they like on damaged bytes
        raise PictureError(f"{name!r} cannot be decoded: {error}") from None


def read(folder: Path, name: str) -> bytes:
    """Read a picture named by an annotation file, which must not lead out of its folder.

    Raises:
        PictureError: no such file, a path out of the folder, or too large.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise PictureError(f"{name!r} leads out of the picture folder {str(folder)!r}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureError(f"{name!r} is larger than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{name!r} is not in {str(folder)!r}") from None
    except OSError as error:
        raise PictureError(f"{name!r} cannot be read: {error.strerror}") from None
