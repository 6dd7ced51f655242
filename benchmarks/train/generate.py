"""Otter writes 256 tokens with a cache, beside the published way of its MPT models: the whole text again for each token.

Both see the picture at every token, and write the same. Weights are random; greedy; on this machine's processors.

    python benchmarks/train/generate.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from common import save  # noqa: E402
from models import FIRST_WORD, IMAGE, SMALL_VISION, TINY_VISION, otter, text_config  # noqa: E402

# isort: split
import torch  # noqa: E402

VOCAB = 8192
PROMPT = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a tiny model and few tokens; nothing is saved"
    )
    quick = parser.parse_args().quick
    rows = [backbone(kind, quick=quick) for kind in ("mpt", "llama")]
    if quick:
        print(*rows, sep="\n")
    else:
        save("train_generate", rows)


def backbone(kind: str, *, quick: bool) -> dict[str, object]:
    if quick:
        text = text_config(kind, width=64, layers=2, heads=4, vocab=256)
        model, new, rounds = otter(text, TINY_VISION, every=2), 16, 1
    else:
        text = text_config(kind, width=512, layers=4, heads=8, vocab=VOCAB)
        model, new, rounds = otter(text, SMALL_VISION, every=2), 256, 3
    model.eval()
    ids, pixels = prompt(text["vocab_size"], model.config.vision_config.image_size)

    write(model, ids, pixels, new=2, use_cache=True)  # what is made at the first call
    looks = Looks(model)
    times: dict[bool, list[float]] = {False: [], True: []}
    written = {}
    for _ in range(rounds):
        for use_cache in (False, True):
            looks.number = 0
            started = time.perf_counter()
            written[use_cache] = write(model, ids, pixels, new=new, use_cache=use_cache)
            times[use_cache].append(time.perf_counter() - started)
            assert looks.number == 1, f"the tower looked {looks.number} times"
    assert len(written[True][0]) == PROMPT + new
    theirs, ours = median(times[False]), median(times[True])
    return {
        "what": f"{kind}, {new} tokens",
        "whole text each time, s": f"{theirs:.3g}",
        "cached, s": f"{ours:.3g}",
        "tokens/s": f"{new / ours:.3g}",
        "ratio": f"{theirs / ours:.3g}x",
        "bar": ">= 5x",
        "same ids": torch.equal(written[True], written[False]),
    }


class Looks:
    """Counts how often the vision tower is asked."""

    def __init__(self, model: Any) -> None:
        self.number = 0
        model.vision_encoder.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.number += 1


def prompt(vocab: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids_BT with a picture at its start, and pixels_BNFCHW."""
    torch.manual_seed(1)
    ids = torch.randint(FIRST_WORD, vocab, (1, PROMPT))
    ids[0, 1] = IMAGE
    return ids, torch.randn(1, 1, 1, 3, side, side)


@torch.inference_mode()
def write(
    model: Any, ids: torch.Tensor, pixels: torch.Tensor, *, new: int, use_cache: bool
) -> torch.Tensor:
    written: torch.Tensor = model.generate(
        ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), max_new_tokens=new,
        min_new_tokens=new, do_sample=False, use_cache=use_cache,
    )  # fmt: skip
    return written


if __name__ == "__main__":
    main()
