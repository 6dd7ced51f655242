"""Pictures for a browser: as they are where it shows them, else drawn anew.

What a picture is follows from its first bytes, not from what somebody wrote down about it.
"""

from __future__ import annotations

import io

from mimicit.media.picture import decode

MOST_SIDE = 4_096
"""Pixels of a picture that is drawn anew."""
LOSSLESS_PIXELS = 1_000_000
"""Up to so many it becomes a PNG, else a JPEG."""
_FIRST_BYTES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)


def shown(data: bytes, *, name: str) -> tuple[bytes, str]:
    """Return a picture that browsers show, and its type.

    Raises:
        PictureError: it cannot be decoded, or is past the limits.
    """
    mime = _known(data)
    return (data, mime) if mime else _drawn(data, name)


def _known(data: bytes) -> str | None:
    for start, mime in _FIRST_BYTES:
        if data.startswith(start):
            return mime
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return None


def _drawn(data: bytes, name: str) -> tuple[bytes, str]:
    with decode(data, name=name) as image:
        image.thumbnail((MOST_SIDE, MOST_SIDE))
        out = io.BytesIO()
        if image.width * image.height <= LOSSLESS_PIXELS:
            image.save(out, "PNG")
            return out.getvalue(), "image/png"
        image.save(out, "JPEG", quality=92)
        return out.getvalue(), "image/jpeg"
