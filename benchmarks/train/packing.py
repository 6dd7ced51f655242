"""Taught tokens a second of packed rows, beside padded batches of the same samples, in turns, on this machine's processors.

The peer is a batch padded to its own longest sample, which wastes less than one padded to a fixed length. It has the same model, and
the same loss of taught tokens alone. Samples have 40 to 400 tokens, a picture each, and their last third is taught. Two distributions:

- `even`: every length equally often. The longest is 1.82 times the mean, and no packing can save more tokens than that.
- `mostly short`: log-normal around 110 tokens, as questions and answers are, few of which are long.

A step is one forward and backward of one padded batch, or of as many packed rows as the samples fill, then clipping and AdamW. Both
start from the same weights; their losses are compared before anything is timed. `tokens padded` is how many tokens a padded batch
has for one of a packed row.

    python benchmarks/train/packing.py [--quick]
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from common import save  # noqa: E402
from models import ANSWER, END, FIRST_WORD, IMAGE, PAD, text_config  # noqa: E402

# isort: split
import numpy as np  # noqa: E402
import torch  # noqa: E402

from trainer.batch import Batch, Example, collate  # noqa: E402
from trainer.models.attention import PACKED  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter import Otter, OtterConfig  # noqa: E402
from trainer.packing import pack  # noqa: E402

VISION = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 64, "patch_size": 16,
}  # fmt: skip
PERCEIVER = {"depth": 2, "heads": 4, "dim_head": 32, "num_latents": 32, "ff_mult": 2}
CROSS = {"heads": 4, "dim_head": 32, "ff_mult": 2}
WORDS = 4096
SAMPLES = 64
"""Of one step."""
SHORTEST, LONGEST, MIDDLE, SPREAD = 40, 400, 110, 0.6
"""Tokens of a sample; the spread is that of their logarithms."""
ROW = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="tiny and once; nothing is saved")
    quick = parser.parse_args().quick
    rows = [
        backbone(kind, lengths, quick=quick)
        for kind in ("mpt", "llama")
        for lengths in ("even", "mostly short")
    ]
    if quick:
        print(*rows, sep="\n")
    else:
        save("train_packing", rows)


def backbone(kind: str, lengths: str, *, quick: bool) -> dict[str, object]:
    width, layers, steps, rounds = (64, 2, 1, 1) if quick else (256, 4, 1, 3)
    text = text_config(kind, width=width, layers=layers, heads=4, vocab=WORDS)
    padded = otter(text)
    packed = copy.deepcopy(padded)
    packed.set_attn_implementation({"text_config": PACKED})

    groups = [samples(SAMPLES, lengths, seed=step) for step in range(steps)]
    ways = [
        (padded, [[collate(group, pad=PAD, image=IMAGE)] for group in groups]),
        (packed, [pack(group, max_row_tokens=ROW, image=IMAGE) for group in groups]),
    ]
    agree(*(losses(model, work) for model, work in ways))
    timed = [trainer_of(*way) for way in ways]
    for way in timed:
        way()  # AdamW makes its state
    found = [[way() for way in timed] for _ in range(rounds)]
    slow, fast = (median(times) for times in zip(*found, strict=True))

    taught = sum(batch.taught for work in ways[1][1] for batch in work)
    laid = [[batch.ids_BT.numel() for work in way[1] for batch in work] for way in ways]
    return {
        "text model": kind,
        "samples a step": SAMPLES,
        "lengths": lengths,
        "padding, %": round(100 * (1 - sum(laid[1]) / sum(laid[0]))),
        "tokens padded": f"{sum(laid[0]) / sum(laid[1]):.2f}x",
        "tokens of a row": round(sum(laid[1]) / len(laid[1])),
        "padded, taught/s": round(taught / slow),
        "packed, taught/s": round(taught / fast),
        "ratio": f"{slow / fast:.2f}x",
        "bar": ">= 2x",
    }


def otter(text: dict[str, Any]) -> Otter:
    torch.manual_seed(0)
    config = OtterConfig(
        vision_config=VISION, text_config=text, perceiver=PERCEIVER, cross_attention=CROSS,
        cross_attn_every_n_layers=2, gate_init=0.5, image_token_id=IMAGE, answer_token_id=ANSWER,
        endofchunk_token_id=END, pad_token_id=PAD,
    )  # fmt: skip
    return Otter(config).train()


def samples(number: int, lengths: str, *, seed: int) -> list[Example]:
    rng = np.random.default_rng(seed)
    short = np.exp(rng.normal(np.log(MIDDLE), SPREAD, number)).clip(SHORTEST, LONGEST)
    even = rng.permutation(np.linspace(SHORTEST, LONGEST, number))
    found = []
    for nth, length in enumerate((even if lengths == "even" else short).astype(int)):
        ids = [1, IMAGE, *rng.integers(FIRST_WORD, WORDS, length - 2).tolist()]
        untaught = length - length // 3
        labels = [IGNORED] * untaught + ids[untaught:]
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        side = VISION["image_size"]
        pixels = torch.randn(1, 1, 3, side, side, generator=generator)
        found.append(Example(f"sample {nth}", ids, labels, pixels))
    return found


def losses(model: Any, work: list[list[Batch]]) -> list[float]:
    """Return the loss of each step, before any is learned."""
    with torch.no_grad():
        return [
            sum(float(model(**batch.inputs(), num_items_in_batch=1).loss) for batch in step)
            / sum(batch.taught for batch in step)
            for step in work
        ]


def agree(theirs: list[float], ours: list[float]) -> None:
    worst = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    assert worst < 1e-5, f"the losses differ by {worst}"


def trainer_of(model: Any, work: list[list[Batch]]) -> Callable[[], float]:
    """Return what takes all steps once, and tells the seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def train() -> float:
        started = time.perf_counter()
        for step in work:
            taught = sum(batch.taught for batch in step)
            for batch in step:
                model(**batch.inputs(), num_items_in_batch=taught).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - started

    return train


if __name__ == "__main__":
    main()
