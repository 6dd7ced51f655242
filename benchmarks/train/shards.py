"""Pairs of tar shards, beside the `webdataset` package on the same files with the same decoder, in turns and in one process.

The shards are img2dataset's layout: JPEG, text and JSON of each pair, crops of photographs. The peer streams its files from the first to
the last, as it does in training, and shuffles in a buffer of 1,000 samples; ours reads each pair where it lies, in an order over all of
them. `read` is bytes and caption; `pixels` goes on to what a model takes (224 × 224), by the trainer's own decoder for both. Files
are in the page cache, and seconds are the processor's.

    python benchmarks/train/shards.py [--quick] [--pairs 5000]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent)]

from common import save  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from mimicit.formats.tar_members import write_end, write_member  # noqa: E402
from mimicit.media import tensors  # noqa: E402
from trainer.group_config import Group  # noqa: E402
from trainer.order import shuffled  # noqa: E402
from trainer.sources.pairs import Pairs, open_pairs  # noqa: E402

PHOTOS = Path(__file__).parents[2] / "examples" / "photos" / "images"
SIDE = 256
TURNS = 5
SHARD_PAIRS = 1000
BUFFER = 1000
"""Samples in which the peer shuffles."""

Sample = tuple[bytes, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few and once; nothing is saved")
    parser.add_argument("--pairs", type=int, default=5000)
    given = parser.parse_args()
    pairs, turns = (200, 1) if given.quick else (given.pairs, TURNS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make(folder, pairs)
        started = time.process_time()
        source = opened(folder)
        indexing = time.process_time() - started
        started = time.perf_counter()
        opened(folder)
        opening = time.perf_counter() - started
        size = sum(file.stat().st_size for file in files) / len(source)
        rows = [
            row(
                f"looked through once, pairs/s (of {size / 1000:.0f} kB)",
                round(len(source) / indexing),
            ),
            row(f"index opened again, {len(source):,} pairs, ms", round(opening * 1000, 1)),
            row("index, bytes a pair", source.index.dtype.itemsize),
        ]
        for what, use in (("read, pairs/s", len_of), ("pixels, pairs/s", pixels_of)):
            rows.append(compared(what, files, source, use, turns))
    if given.quick:
        print(*rows, sep="\n")
    else:
        save("train_shards", rows)


def make(folder: Path, pairs: int) -> list[Path]:
    """Write pairs as img2dataset does: crops of the photographs, 256 pixels wide and high."""
    if not any(PHOTOS.glob("*.*")):
        sys.exit("the photographs are not there; run: python examples/photos/fetch.py")
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.iterdir())]
    photos = [photo for photo in photos if min(photo.size) > SIDE]
    draw = np.random.default_rng(0)
    files = []
    for first in range(0, pairs, SHARD_PAIRS):
        files.append(folder / f"{first // SHARD_PAIRS:05d}.tar")
        with files[-1].open("wb") as out:
            for number in range(first, min(pairs, first + SHARD_PAIRS)):
                photo = photos[number % len(photos)]
                left, top = (int(draw.integers(0, size - SIDE)) for size in photo.size)
                data = io.BytesIO()
                photo.crop((left, top, left + SIDE, top + SIDE)).save(data, "JPEG", quality=90)
                said = f"a part of photograph {number % len(photos)}, from {left}, {top} on"
                about = {"key": f"{number:09d}", "status": "success", "caption": said, "width": SIDE, "height": SIDE, "sha256": "0" * 64}  # fmt: skip
                write_member(out, f"{number:09d}.jpg", data.getvalue())
                write_member(out, f"{number:09d}.txt", said.encode())
                write_member(out, f"{number:09d}.json", json.dumps(about).encode())
            write_end(out)
    return files


def opened(folder: Path) -> Pairs:
    return open_pairs(Group(shards="*.tar"), name="pairs", base=folder, cache=folder / "cache")


def ours(source: Pairs, seed: int) -> Iterator[Sample]:
    for number in shuffled(np.arange(len(source)), len(source), seed):
        shown, caption = source[int(number)].parts
        assert not isinstance(shown, str)
        assert isinstance(caption, str)
        yield shown.read(), caption


def theirs(files: list[Path], seed: int) -> Iterator[Sample]:
    import webdataset

    names = [str(file) for file in files]
    stream = webdataset.WebDataset(names, shardshuffle=False, empty_check=False)
    stream = stream.shuffle(BUFFER, seed=seed).to_tuple("jpg", "txt")
    for data, caption in stream:
        yield data, caption.decode("utf-8")


def len_of(data: bytes) -> int:
    return len(data)


def pixels_of(data: bytes) -> int:
    return int(tensors.pixels(data, 224, name="a picture", quality="good").sum())


def compared(
    what: str, files: list[Path], source: Pairs, use: Callable[[bytes], int], turns: int
) -> dict[str, object]:
    """Go through all pairs in turns, and find that both met the same."""
    ways: dict[str, Callable[[int], Iterator[Sample]]] = {
        "ours": lambda seed: ours(source, seed),
        "webdataset": lambda seed: theirs(files, seed),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, set[tuple[int, int, int]]] = {name: set() for name in ways}
    for turn in range(turns + 1):
        for name, samples in ways.items():
            started = time.process_time()
            sums = np.array([(use(data), len(caption)) for data, caption in samples(turn)])
            if turn:  # the first one warms up
                took[name].append(time.process_time() - started)
            found[name].add((len(sums), *map(int, sums.sum(axis=0))))
    assert found["ours"] == found["webdataset"], found
    ratios = [b / a for a, b in zip(took["ours"], took["webdataset"], strict=True)]
    rates = [round(len(source) / median(took[name])) for name in ways]
    return row(
        what, rates[0], rates[1], f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def row(what: str, ours: float, webdataset: float | str = "", ratio: str = "") -> dict[str, object]:
    return {"what": what, "ours": ours, "webdataset": webdataset, "times as fast": ratio}


if __name__ == "__main__":
    main()
