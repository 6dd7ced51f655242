"""Sketches of texts: small enough to keep, and alike where the texts are.

A text is taken as the set of its *shingles*, all runs of five bytes of its UTF-8, after case, punctuation and spacing are made
equal. Five bytes are five letters of Latin script or not quite two of Chinese, so that one edited word weighs about the same in
every language. Two texts are as similar as the share of shingles that they have in common (Jaccard).

A MinHash of 125 numbers estimates that; cut into 25 bands of 5 numbers, it has an equal band with another one of Jaccard J with
probability 1 - (1 - J⁵)²⁵: 0.54 at 0.5, 0.99 at 0.7, and all but one in 10⁹ at 0.9. Whoever has an equal band is compared exactly
(`jaccard`), so bands are all that is kept of a MinHash.

Everything is done for thousands of texts at once, and comes out the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mimicit.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

SHINGLE = 5
"""Bytes."""
BANDS, ROWS = 25, 5
SEED = 6
EXTRA = "curate"

_MASK = (1 << 8 * SHINGLE) - 1
_ODD = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
"""Multipliers that spread bits."""
_NOT_WORDS = r"[^\p{L}\p{M}\p{N}]+"


@dataclass(frozen=True, slots=True)
class Sketches:
    """One row for each text."""

    digest: np.ndarray
    """uint64, of all shingles: equal where two texts have the same ones equally often."""
    length: np.ndarray
    """int64, bytes."""
    bands: np.ndarray
    """uint32, (texts, BANDS). They say nothing of a text that is shorter than a shingle."""


@dataclass(frozen=True, slots=True)
class _Shingles:
    values: np.ndarray
    """uint64; after the last one of a text, it is there some more times."""
    starts: np.ndarray
    """Texts + 1 places in `values`."""
    length: np.ndarray
    """Bytes of each text."""


def check_packages() -> None:
    """Find whether texts can be sketched.

    Raises:
        MissingExtraError: a package is not installed.
    """
    from importlib.util import find_spec

    for package in ("numpy", "rensa", "scipy"):
        if find_spec(package) is None:
            raise MissingExtraError(package, EXTRA)


def sketch(texts: pyarrow.Array) -> Sketches:
    """Sketch texts.

    Raises:
        MissingExtraError: a package is not installed.
    """
    check_packages()
    import numpy as np
    import rensa

    shingles = _shingled(texts)
    count = len(shingles.length)
    spread = _spread(shingles.values)
    found: Any = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        spread, shingles.starts.astype(np.uint64), BANDS * ROWS, SEED
    )
    rows = np.array(found.to_rows(), np.uint32).reshape(count, BANDS, ROWS)
    bands = np.zeros((count, BANDS), np.uint64)
    for n in range(ROWS):
        bands = _spread(bands + rows[:, :, n] + np.uint64(n))
    return Sketches(
        _digests(shingles, spread), shingles.length, (bands >> np.uint64(32)).astype(np.uint32)
    )


def jaccard(texts: pyarrow.Array, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return how similar two texts are, for each pair of places in `texts`."""
    import numpy as np
    from scipy.sparse import csr_array

    shingles = _shingled(texts)
    count = len(shingles.length)
    text = np.repeat(np.arange(count), np.diff(shingles.starts))
    # A text's shingles in order and once; its number is above them, and there are fewer than 2^24 texts.
    key = distinct(text.astype(np.uint64) << np.uint64(40) | shingles.values)
    sizes = np.bincount((key >> np.uint64(40)).astype(np.int64), minlength=count)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    columns = (key & np.uint64(_MASK)).astype(np.int64)
    ones = np.ones(len(columns), np.int32)
    sets = csr_array((ones, columns, ends.astype(np.int64)), shape=(count, _MASK + 1))
    common = sets[left].multiply(sets[right]).sum(axis=1)
    either = sizes[left] + sizes[right] - common
    similar: np.ndarray = common / np.maximum(either, 1)
    return similar


def distinct(values: np.ndarray) -> np.ndarray:
    """Sort values and leave each once; `numpy.unique` hashes them, which takes ten times as long."""
    import numpy as np

    values = np.sort(values)
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values[first]


def _spread(values: np.ndarray) -> np.ndarray:
    import numpy as np

    values = values * np.uint64(_ODD[0])
    values ^= values >> np.uint64(29)
    values *= np.uint64(_ODD[1])
    values ^= values >> np.uint64(32)
    return values


def _digests(shingles: _Shingles, spread: np.ndarray) -> np.ndarray:
    """Add up the shingles of each text; a text that has none is one itself.

    63 bits are kept: DuckDB 1 hands larger numbers to Arrow as what they are not.
    """
    import numpy as np

    starts, length = shingles.starts, shingles.length
    if not len(length):
        return np.zeros(0, np.uint64)
    room = np.concatenate([spread, np.zeros(1, np.uint64)])
    digest = np.add.reduceat(room, starts[:-1])
    surplus = np.diff(starts) - np.maximum(length - SHINGLE + 1, 1)
    digest -= np.maximum(surplus, 0).astype(np.uint64) * room[np.maximum(starts[1:] - 1, 0)]
    digest[np.diff(starts) == 0] = 0
    return digest & np.uint64(2**63 - 1)


def _shingled(texts: pyarrow.Array) -> _Shingles:
    import numpy as np

    data, starts, length = _normal(texts)
    if not len(data):
        return _Shingles(np.zeros(0, np.uint64), starts, length)
    # At each byte eight are read as one number, of which five remain.
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    values = np.ndarray(len(data), "<u8", padded, strides=(1,)) & np.uint64(_MASK)
    short = np.flatnonzero((length > 0) & (length < SHINGLE))
    values[starts[short]] &= (np.uint64(1) << (8 * length[short]).astype(np.uint64)) - np.uint64(1)
    # What would reach into the next text is the text's last shingle once more, which changes no set.
    last = starts[:-1] + np.maximum(length - SHINGLE, 0)
    for n in range(1, SHINGLE + 1):
        at = last + n
        inside = at < starts[1:]
        values[at[inside]] = values[last[inside]]
    return _Shingles(values, starts, length)


def _normal(texts: pyarrow.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return small letters and digits with one space between words: bytes, where each text starts, and its length.

    A space that remains at the end of a text is among the bytes, but does not count.
    """
    import numpy as np

    data, offsets = bytes_of(_folded(texts))
    data = _ascii_table()[data]
    space = data == ord(" ")
    after = np.ones(len(data) + 1, bool)
    after[1:] = space
    after[offsets] = True
    keep = ~(space & after[:-1])
    kept = np.zeros(len(data) + 1, np.int64)
    np.cumsum(keep, out=kept[1:])
    starts, data = kept[offsets], data[keep]
    length = np.diff(starts)
    some = np.flatnonzero(length)
    length[some] -= data[starts[some + 1] - 1] == ord(" ")
    return data, starts, length


def _folded(texts: pyarrow.Array) -> pyarrow.Array:
    """Fold the texts that are not all ASCII, which is slower; for these there is a table."""
    import pyarrow.compute as pc

    texts = pc.fill_null(texts, "")
    other = pc.invert(pc.string_is_ascii(texts))
    if pc.any(other).as_py():
        folded = pc.utf8_lower(pc.utf8_normalize(texts.filter(other), form="NFKC"))
        folded = pc.replace_substring_regex(folded, pattern=_NOT_WORDS, replacement=" ")
        texts = pc.replace_with_mask(texts, other, folded)
    return texts


def bytes_of(texts: pyarrow.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of texts without nulls, and where each begins and the last one ends; nothing is copied."""
    import numpy as np

    _, offsets, data = texts.buffers()
    wide = np.int64 if str(texts.type).startswith("large_") else np.int32
    ends = np.frombuffer(offsets, wide)[texts.offset : texts.offset + len(texts) + 1]
    ends = ends.astype(np.int64) if len(texts) else np.zeros(1, np.int64)
    whole = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return whole[ends[0] : ends[-1]], ends - ends[0]


def _ascii_table() -> np.ndarray:
    """Return what each byte becomes: small letters, digits and what is not ASCII stay, the rest are spaces."""
    import numpy as np

    return np.array(
        [ord(chr(n).lower()) if chr(n).isalnum() or n > 127 else 32 for n in range(128)]
        + list(range(128, 256)),
        np.uint8,
    )
