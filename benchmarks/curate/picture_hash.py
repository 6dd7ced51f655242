"""Perceptual hashes beside imagehash's, in turns, in one thread: processor time, what is found again, what is found wrongly; and pairs among a million.

Pictures are composites: two of the photographs of the examples, one over the other, cut and coloured at random, as JPEGs of 640 × 480 (some 60 kB). Every second
one is followed by a copy: the same bytes, recompressed (quality 40), half the size, brightened by 15 %, or cropped by 4 % (which no 64 bits survive).
`found` is the share of copies within 8 bits of their original, and within 3; `wrong` the other pairs within them, per million pairs.

    python benchmarks/curate/picture_hash.py [--quick]        # needs imagehash
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

if TYPE_CHECKING:
    from PIL.Image import Image

PHOTOS = HERE.parent.parent / "examples" / "photos" / "images"
KINDS = ("exact", "recompressed", "resized", "brightened", "cropped")
Hashes = Callable[[list[bytes]], list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, fewer rounds")
    options = parser.parse_args()
    count, rounds = (120, 2) if options.quick else (1_000, 5)
    pictures, copies = drawn(count)
    ways: dict[str, tuple[Hashes, str]] = {
        "imagehash.phash": (by_imagehash, ""),
        "imagehash.phash, draft": (by_imagehash_draft, ""),
        "ours, hash": (ours, ">= 3.5x"),
        "ours, all of `looks`": (by_looks, ""),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[int]] = {}
    for _ in range(rounds):
        for name, (way, _) in ways.items():
            started = time.process_time()
            found[name] = [
                value for at in range(0, len(pictures), 32) for value in way(pictures[at : at + 32])
            ]
            spent[name].append((time.process_time() - started) / len(pictures))
    rows = []
    for name, (_, bar) in ways.items():
        ratio = median(a / b for a, b in zip(spent["imagehash.phash"], spent[name], strict=True))
        rows.append(
            {
                "way": name,
                "pictures/cpu s": f"{1 / median(spent[name]):,.0f}",
                "ratio": f"{ratio:.2f}x",
                "bar": bar,
                **quality(found[name], copies),
            }
        )
    rows += pairs(20_000 if options.quick else 1_000_000, dict.fromkeys(rows[0], ""))
    save("curate_picture_hash", rows)


# Ways


def by_imagehash(pictures: list[bytes]) -> list[int]:
    import imagehash
    from PIL import Image

    return [int(str(imagehash.phash(Image.open(io.BytesIO(data)))), 16) for data in pictures]


def by_imagehash_draft(pictures: list[bytes]) -> list[int]:
    import imagehash
    from PIL import Image

    found = []
    for data in pictures:
        image = Image.open(io.BytesIO(data))
        image.draft("L", (128, 128))
        found.append(int(str(imagehash.phash(image)), 16))
    return found


def ours(pictures: list[bytes]) -> list[int]:
    from mimicit.curate.hashes import hashes_of

    return [value or 0 for value in hashes_of(pictures)]


def by_looks(pictures: list[bytes]) -> list[int]:
    from mimicit.curate import looks

    return looks.look([str(n) for n in range(len(pictures))], _InMemory(pictures))["hash"]  # type: ignore[arg-type]


class _InMemory:
    def __init__(self, pictures: list[bytes]) -> None:
        self._pictures = pictures

    def rows(self, ids: list[str]) -> list[int]:
        return [int(id_) for id_ in ids]

    def by_row(self, rows: list[int]) -> list[bytes]:
        return [self._pictures[row] for row in rows]


# What is found


def quality(found: list[int], copies: dict[tuple[int, int], str]) -> dict[str, object]:
    import numpy as np

    values = np.array([value & (2**64 - 1) for value in found], dtype=np.uint64)
    row: dict[str, object] = {}
    near = {}
    for kind in KINDS:
        apart = [(found[a] ^ found[b]) & (2**64 - 1) for a, b in copies if copies[a, b] == kind]
        for most in (8, 3):
            near[kind, most] = sum(bits.bit_count() <= most for bits in apart) / max(len(apart), 1)
        row[kind] = f"{near[kind, 8]:.3f} / {near[kind, 3]:.3f}"
    # One picture of each original: a copy is no wrong pair.
    firsts = values[sorted(set(range(len(values))) - {b for _, b in copies})]
    apart = np.bitwise_count(firsts[:, None] ^ firsts[None, :])[np.triu_indices(len(firsts), 1)]
    wrong = [float((apart <= most).mean()) * 1e6 for most in (8, 3)]
    row["wrong"] = f"{wrong[0]:.1f} / {wrong[1]:.1f}"
    return row


def pairs(count: int, row: dict[str, object]) -> list[dict[str, object]]:
    """Find the pairs within 3 bits among random hashes, of which some are planted."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    from mimicit.curate.hashes import near_pairs

    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, count, dtype=np.uint64)
    planted = count // 100
    for n in range(planted):
        flips = np.uint64(sum(1 << int(bit) for bit in rng.choice(64, 1 + n % 3, replace=False)))
        values[count - 1 - n] = values[n] ^ flips
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.register("given", pa.table({"hash": values.view(np.int64)}))
        connection.execute("CREATE TABLE seen AS SELECT DISTINCT hash FROM given")
        started = time.process_time()
        [(found,)] = connection.execute(
            f"SELECT count(*) FROM ({near_pairs('seen', 3)})"
        ).fetchall()
        seconds = time.process_time() - started
    said: dict[str, Any] = row | {"way": f"pairs among {count:,}: {seconds:.1f} cpu s"}
    return [said | {"bar": "<= 6 cpu s", "exact": f"{found:,} of {planted:,} planted"}]


# Pictures


def drawn(count: int) -> tuple[list[bytes], dict[tuple[int, int], str]]:
    """Return encoded pictures, and which is a copy of which."""
    from PIL import Image

    photos = [
        Image.open(path).convert("RGB")
        for path in sorted(PHOTOS.iterdir())
        if path.suffix in (".png", ".jpg")
    ]
    rng = random.Random(0)
    pictures, copies = [], {}
    for n in range(count):
        image = composite(photos, rng)
        data = jpeg(image, 85)
        pictures.append(data)
        if n % 2 == 0:
            kind = KINDS[n // 2 % len(KINDS)]
            copies[len(pictures) - 1, len(pictures)] = kind
            pictures.append(copied(image, data, kind))
    return pictures, copies


def composite(photos: list[Image], rng: random.Random) -> Image:
    from PIL import Image, ImageEnhance, ImageOps

    parts = []
    for photo in rng.sample(photos, 2):
        width, height = (rng.uniform(0.5, 1) * side for side in photo.size)
        x, y = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
        part = photo.crop((int(x), int(y), int(x + width), int(y + height))).resize((640, 480))
        part = ImageOps.mirror(part) if rng.random() < 0.5 else part
        parts.append(ImageEnhance.Color(part).enhance(rng.uniform(0.3, 1.5)))
    return Image.blend(*parts, rng.uniform(0.25, 0.75))


def copied(image: Image, data: bytes, kind: str) -> bytes:
    from PIL import ImageEnhance

    width, height = image.size
    if kind == "recompressed":
        return jpeg(image, 40)
    if kind == "resized":
        return jpeg(image.resize((width // 2, height // 2)), 85)
    if kind == "brightened":
        return jpeg(ImageEnhance.Brightness(image).enhance(1.15), 85)
    if kind == "cropped":
        x, y = width // 25, height // 25
        return jpeg(image.crop((x, y, width - x, height - y)), 85)
    return data


def jpeg(image: Image, quality: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return sink.getvalue()


if __name__ == "__main__":
    main()
