"""Look at a picture's bytes without trusting them."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.errors import PictureError
from mimicit.schema import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 256 << 20


def decode(data: bytes, *, name: str) -> Image:
    """Decode a picture to RGB, upright (its EXIF orientation applied).

    Raises:
        PictureError: not a picture, damaged, or past the limits; the message names it.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise PictureError(f"{name!r} is empty")
    # Odd EXIF blocks are no reason to refuse a picture. (Not `catch_warnings`: it is not for
    # threads, and pictures are decoded in them.)
    warnings.filterwarnings("ignore", module="PIL")
    try:
        # Pillow itself raises where a header claims more than 178 million pixels.
        return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    except UnidentifiedImageError:
        raise PictureError(f"{name!r} is not a picture in a format that Pillow knows") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"{name!r} cannot be decoded: {error}") from None


def measure(data: bytes, *, id: str, name: str, source: str | None = None) -> ImageRecord:
    """Decode a picture once, so that what is stored is known to open, and note its size and hash.

    Raises:
        PictureError: as `decode`.
    """
    from PIL import Image

    decode(data, name=name)
    with Image.open(io.BytesIO(data)) as image:
        mime = Image.MIME.get(image.format or "", "application/octet-stream")
        width, height = image.size
    return ImageRecord(
        id=id,
        image=data,
        sha256=hashlib.sha256(data).hexdigest(),
        mime=mime,
        width=width,
        height=height,
        source=source,
    )


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
