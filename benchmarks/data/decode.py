"""Encoded pictures to tensors of 224 × 224, beside Pillow as the published loader uses it (reference.py), in turns, in one thread;
then what the trainer does, from a record's number to the pixels that its model takes, beside the same by Pillow.

`off` is the largest difference of a value from the reference's, in steps of 255; `beyond` the share of values above one step.

    python benchmarks/data/decode.py [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

if TYPE_CHECKING:
    import torch

    from mimicit.snapshot import Snapshot

SIDE = 224
Way = Callable[[Any], "torch.Tensor"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, fewer rounds")
    options = parser.parse_args()
    import torch
    from reference import drawn, tensor

    from mimicit.media import tensors, turbo

    torch.set_num_threads(1)
    count, rounds = (16, 3) if options.quick else (64, 15)
    jpegs = [drawn(n) for n in range(count)]
    package = turbo.simplejpeg

    def without_simplejpeg(data: bytes) -> torch.Tensor:
        turbo.simplejpeg = lambda: None
        try:
            return tensors.floats(tensors.pixels(data, SIDE))
        finally:
            turbo.simplejpeg = package

    ways: list[tuple[str, Way, str]] = [
        ("reference", lambda data: tensor(data, SIDE), ""),
        ("ours, float32", lambda data: tensors.floats(tensors.pixels(data, SIDE)), ">= 2.2x"),
        ("ours, uint8", lambda data: tensors.pixels(data, SIDE), ">= 2.8x"),
        ("ours, exact", lambda data: tensors.floats(tensors.pixels(data, SIDE, quality="exact")), ""),
        ("ours, draft", lambda data: tensors.floats(tensors.pixels(data, SIDE, quality="draft")), ""),
        ("ours without simplejpeg", without_simplejpeg, ""),
    ]  # fmt: skip
    table = compare("JPEG", jpegs, ways, rounds)
    pngs = [recoded(data, "PNG") for data in jpegs[:8]]
    table += compare("PNG", pngs, [(name, way, "") for name, way, _ in ways[:2]], min(rounds, 5))
    table += compare_trainer(jpegs, rounds)
    save("data_decode", table)


def compare(
    kind: str, data: list[Any], ways: list[tuple[str, Way, str]], rounds: int, scale: Any = 255
) -> list[dict[str, object]]:
    first = ways[0][0]
    expected = [ways[0][1](one) for one in data]
    spent: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    for _ in range(rounds):
        for name, way, _ in ways:
            started = time.process_time()
            for one in data:
                way(one)
            spent[name].append((time.process_time() - started) / len(data))
    table: list[dict[str, object]] = []
    for name, way, bar in ways:
        off, beyond = difference(expected, [way(one) for one in data], scale)
        ratio = median(a / b for a, b in zip(spent[first], spent[name], strict=True))
        table.append(
            {
                "pictures": kind,
                "way": name,
                "ms": round(median(spent[name]) * 1e3, 3),
                "ratio": f"{ratio:.2f}x",
                "bar": bar,
                "off": round(off, 2),
                "beyond": f"{beyond:.1e}" if beyond else "0",
            }
        )
    return table


def difference(
    expected: list[torch.Tensor], found: list[torch.Tensor], scale: Any
) -> tuple[float, float]:
    import torch

    steps = [
        (a - (b if b.is_floating_point() else b.float() / 255)).abs() * scale
        for a, b in zip(expected, found, strict=True)
    ]
    whole = torch.stack(steps)
    return float(whole.max()), float((whole > 1.001).float().mean())


def compare_trainer(jpegs: list[bytes], rounds: int) -> list[dict[str, object]]:
    """Compare what the trainer does with each record's picture with what Pillow would; nothing is kept in memory."""
    import torch

    from mimicit.media.picture import decode
    from trainer.config import Data
    from trainer.data import Examples
    from trainer.families.otter import OtterEncoder
    from trainer.models.otter_processor import CLIP_STD, OtterProcessor
    from trainer.sources.mix import Mix, Part
    from trainer.sources.snapshot import SnapshotSource
    from trainer.tokenizer import make_tokenizer

    class ByPillow(OtterEncoder):
        def picture(self, data: bytes, *, name: str) -> torch.Tensor:
            return self.processor.resized(decode(data, name=name))

    with tempfile.TemporaryDirectory() as folder, frozen(Path(folder) / "ds", jpegs) as snapshot:
        mix = Mix([Part("all", SnapshotSource(snapshot), len(snapshot))])
        tokenizer = make_tokenizer("train", mix.texts, vocab_size=300)
        OtterProcessor.add_special_tokens(tokenizer)
        processor = OtterProcessor(tokenizer, image_size=SIDE)

        def way(kind: type[OtterEncoder], quality: Any) -> Way:
            examples = Examples(mix, kind(processor, Data(max_tokens=64, decode=quality)))
            return lambda number: examples[number].example.pixels_NFCHW

        ways: list[tuple[str, Way, str]] = [
            ("Pillow", way(ByPillow, "exact"), ""),
            ("ours, good", way(OtterEncoder, "good"), ""),
            ("ours, exact", way(OtterEncoder, "exact"), ""),
        ]
        return compare(
            "trainer",
            list(range(len(jpegs))),
            ways,
            rounds,
            255 * torch.tensor(CLIP_STD).view(3, 1, 1),
        )


def frozen(folder: Path, jpegs: list[bytes]) -> Snapshot:
    """Make a dataset of a record for each picture, and freeze it."""
    from mimicit.schema import ImageRecord, Instruction
    from mimicit.snapshot import freeze
    from mimicit.store import Store

    store = Store.open(folder, create=True)
    store.add_images(
        ImageRecord(
            id=f"LA_IMG_{n}", image=data, sha256=hashlib.sha256(data).hexdigest(),
            mime="image/jpeg", width=640, height=480,
        )
        for n, data in enumerate(jpegs)
    )  # fmt: skip
    store.add(
        [
            Instruction(
                id=f"LA_INS_{n:05d}", task="la", instruction="What is shown?",
                answer=f"It is picture number {n}.", image_ids=(f"LA_IMG_{n}",),
            )
            for n in range(len(jpegs))
        ]
    )  # fmt: skip
    return freeze(store)


def recoded(data: bytes, format: str) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.open(io.BytesIO(data)).save(sink, format)
    return sink.getvalue()


if __name__ == "__main__":
    main()
