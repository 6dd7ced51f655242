"""A picture's bytes as they are stored: as they were given, or smaller, or in another format, where that was asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mimicit.errors import PictureError
from mimicit.media import picture
from mimicit.schema import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    from mimicit.sources.track import Shown

Format = Literal["webp", "jpeg"]
QUALITY = 92
_MIMES = {"webp": "image/webp", "jpeg": "image/jpeg"}
_ENCODERS = {"image/webp": "WEBP", "image/jpeg": "JPEG"}
"""Of a picture that is made smaller; all others become PNG, without loss."""
_ORIENTATION = 0x0112
"""The EXIF tag."""


@dataclass(frozen=True, slots=True)
class Shape:
    max_side: int | None = None
    """Pixels of the longer side; larger pictures are made smaller, smaller ones are left."""
    format: Format | None = None
    """Encode all that are not in it."""
    keep_damaged: bool = False
    """Keep what can be opened and not decoded to its end, as it is."""

    def mime(self, given: str) -> str:
        if self.format is not None:
            return _MIMES[self.format]
        return given if given in _ENCODERS else "image/png"


@dataclass(frozen=True, slots=True)
class Stored:
    image: ImageRecord
    is_damaged: bool = False


def stored(
    data: bytes, shape: Shape, *, id: str, name: str, source: str | None, time: float | None = None
) -> Stored:
    """Measure a picture, and encode it again only if its shape is not the one asked for.

    Raises:
        PictureError: not a picture, damaged (unless those are kept), or past the limits.
    """
    try:
        record = picture.measure(data, id=id, name=name, source=source)
    except PictureError:
        if not shape.keep_damaged:
            raise
        width, height, mime = _header(data, name)
        record = _record(data, id, mime, (width, height), source, time)
        return Stored(record, is_damaged=True)
    if is_to_encode(record, shape):
        encoded, size, mime = _encoded(data, record.mime, shape, name)
        record = _record(encoded, id, mime, size, source)
    return Stored(record.model_copy(update={"time": time}) if time is not None else record)


def is_to_encode(record: ImageRecord, shape: Shape) -> bool:
    is_large = shape.max_side is not None and max(record.width, record.height) > shape.max_side
    return is_large or (shape.format is not None and record.mime != _MIMES[shape.format])


def fitted(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Return the size within a longest side, its aspect kept."""
    width, height = size
    longest = max(size)
    if max_side is None or longest <= max_side:
        return size
    return (
        max(round(width * max_side / longest), 1),
        max(round(height * max_side / longest), 1),
    )


def encode(image: Image, mime: str) -> bytes:
    """Encode a picture of mode RGB or RGBX. Its colour profile stays; what else its file held, such as a place, does not."""
    buffer = io.BytesIO()
    if mime != "image/jpeg":
        image = image.convert("RGB")
    profile = image.info.get("icc_profile")
    more = {"icc_profile": profile} if profile and profile[16:20] == b"RGB " else {}
    if mime == "image/png":
        image.save(buffer, "PNG", **more)
    else:
        image.save(buffer, _ENCODERS[mime], quality=QUALITY, **more)
    return buffer.getvalue()


def frame_record(shown: Shown, shape: Shape, *, id: str, source: str, time: float) -> ImageRecord:
    """Encode a video's frame: as JPEG unless another format is asked for."""
    from PIL.Image import Resampling

    mime = shape.mime("image/jpeg")
    size = fitted(shown.size, shape.max_side)
    if mime == "image/jpeg" and size == shown.size:
        data = shown.jpeg()
    else:
        image = shown.image
        if size != image.size:
            image = image.resize(size, Resampling.LANCZOS)
        data = encode(image, mime)
    return _record(data, id, mime, size, source, time)


def _encoded(
    data: bytes, given: str, shape: Shape, name: str
) -> tuple[bytes, tuple[int, int], str]:
    from PIL.Image import Resampling

    image, upright = _upright(data, shape, name)
    size = fitted(upright, shape.max_side)
    if size != image.size:
        image = image.resize(size, Resampling.LANCZOS)
    mime = shape.mime(given)
    try:
        return encode(image, mime), size, mime
    except (OSError, ValueError) as error:  # WebP has at most 16,383 pixels a side
        raise PictureError(f"{name!r} cannot be encoded as {mime}: {error}") from None


def _upright(data: bytes, shape: Shape, name: str) -> tuple[Image, tuple[int, int]]:
    """Decode a picture; also say how large it would be as a whole."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=_known()) as opened:
        is_turned = opened.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
        size = opened.size[::-1] if is_turned else opened.size
    return picture.decode(data, name=name, at_least=shape.max_side), size


def _header(data: bytes, name: str) -> tuple[int, int, str]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_known()) as opened:
            mime = Image.MIME.get(opened.format or "", "application/octet-stream")
            return opened.width, opened.height, mime
    except Exception as error:  # noqa: BLE001 - decoders raise what they like on damaged bytes
        raise PictureError(f"{name!r} cannot be opened: {error}") from None


def _known() -> list[str]:
    from PIL import Image

    Image.init()
    return [name for name in picture.FORMATS if name in Image.OPEN]


def _record(
    data: bytes,
    id: str,
    mime: str,
    size: tuple[int, int],
    source: str | None,
    time: float | None = None,
) -> ImageRecord:
    import hashlib

    return ImageRecord(
        id=id,
        image=data,
        sha256=hashlib.sha256(data).hexdigest(),
        mime=mime,
        width=size[0],
        height=size[1],
        source=source,
        time=time,
    )
