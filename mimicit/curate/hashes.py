"""Perceptual hashes: 64 bits that hardly change when a picture is recompressed, resized or brightened.

A picture is decoded in grey, a large JPEG at a fraction of its size, squeezed to 32 × 32 pixels, and of its discrete cosine transform the 64
lowest frequencies (without the mean) say one bit each: above their median, or not. Two pictures are near when few bits differ; half of the bits are set, so it is always
an even number of them. What
crops, turns or mirrors a picture changes about half of the bits: that is not found.

A picture without contrast has no hash: its bits would be noise.

In Parquet and SQL a hash is a BIGINT, the same 64 bits with a sign: `bit_count(xor(a, b))` is the distance.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from mimicit.errors import MissingExtraError
from mimicit.media import turbo
from mimicit.media.picture import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]
    """One picture, height × width, or several of one size."""
    Hashes = NDArray[np.int64]
    Waves = NDArray[np.float32]

SIDE = 32
"""Pixels of what is transformed."""
ENOUGH = 96
"""Pixels of each side to which a larger JPEG is decoded, at least. From more, one hash in seven comes out 2 bits different."""
FLAT = 2.0
"""Standard deviation of brightness, of 255, below which a picture has no hash."""
BANDS = 4
"""Two hashes that differ in fewer bits than there are bands agree in one band."""


def hashes_of(pictures: Sequence[bytes]) -> list[int | None]:
    """Return the hash of each encoded picture; None for one without contrast.

    Raises:
        PictureError: one of them cannot be decoded.
        MissingExtraError: numpy is not installed.
    """
    if not pictures:
        return []
    np = numpy()
    small = np.stack([small_of(grey(data)) for data in pictures])
    flat = small.std(axis=(1, 2)) < FLAT
    found = zip(hashes(small).tolist(), flat.tolist(), strict=True)
    return [None if is_flat else value for value, is_flat in found]


def hashes(small: Grey) -> Hashes:
    """Return the hashes of N pictures of 32 × 32 pixels."""
    np = numpy()
    waves = _waves()
    waves_of_rows = waves @ small.astype(np.float32)
    lowest = (waves_of_rows @ waves[:8].T).reshape(len(small), -1)[:, 1:65]
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    return cast("Hashes", np.packbits(bits, axis=1).view(">i8").astype(np.int64)[:, 0])


def grey(data: bytes, *, enough: int = ENOUGH, name: str = "a picture") -> Grey:
    """Decode a picture to grey, upright; a JPEG to a size of which each side is enough, and not much more.

    Raises:
        PictureError: not a picture, damaged, or past the limits; the message names it.
    """
    np = numpy()
    array = turbo.decoded(data, colours="GRAY", at_least=enough)
    if array is None:
        return cast("Grey", np.asarray(decode(data, name=name, at_least=enough).convert("L")))
    return cast("Grey", array[:, :, 0])


def small_of(picture: Grey) -> Grey:
    """Squeeze a grey picture to what is hashed, with weights that fall off: whole pixels, taken or left, would change some bits."""
    from PIL import Image

    image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.HAMMING)
    return cast("Grey", numpy().asarray(image))


def near_pairs(table: str, distance: int) -> str:
    """Return a query of (a, b, distance): the pairs of near hashes, a < b.

    Args:
        table: Has the column `hash`, in which no value is there twice and none is null.
        distance: Bits that may differ. Up to 3, no pair is missed; beyond, those that agree in none of four bands are.
    """
    far = "bit_count(xor(a.hash, b.hash))"
    bands = (
        f"SELECT a.hash AS a, b.hash AS b, {far} AS distance FROM {table} AS a JOIN {table} AS b "
        f"ON ({_band('a', n)}) = ({_band('b', n)}) AND a.hash < b.hash WHERE {far} <= {distance:d}"
        for n in range(BANDS)
    )
    return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(bands)})"


def _band(side: str, number: int) -> str:
    return f"({side}.hash >> {16 * number} & 65535)::USMALLINT"


def numpy() -> Any:
    """Return numpy.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import numpy as np
    except ImportError:
        raise MissingExtraError("numpy", "data") from None
    return np


@cache
def _waves() -> Waves:
    """Return the nine lowest cosines over 32 pixels, one a row."""
    np = numpy()
    places = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    found = np.cos(np.arange(9)[:, None] * places).astype(np.float32)
    found[0] *= np.float32(0.5**0.5)
    return cast("Waves", found)
