"""One step of teaching Fuyu on the CPU (870 patches, 65,536 words), beside transformers' FuyuForCausalLM with its default sdpa, in turns.

Both have the same weights and see the same sample; a step is forward, backward, clipping and AdamW. Their losses and gradient norms are
compared before anything is timed. Width 1,024 and eight layers, so that what the last layer leaves out is no more than 9 % of the layers'
products. Those of all tokens with the vocabulary, which ours leaves out for tokens that are not taught, are 62 % of them (in OtterHD-8B,
36 layers of width 4,096 before 262,144 words, 15 %).

    python benchmarks/train/fuyu_step.py [--quick]      three minutes, 7 GB
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import trainer  # noqa: E402, F401 - before torch: it tells OpenMP's threads not to spin

# isort: split
import torch  # noqa: E402
from common import save  # noqa: E402
from transformers import FuyuConfig, FuyuForCausalLM  # noqa: E402

from trainer.models.fuyu import Fuyu  # noqa: E402
from trainer.models.fuyu_batch import positions_taught  # noqa: E402

ROWS, COLUMNS, TEXT, TAUGHT = 10, 87, 20, 12
"""870 patches, 10 ends of rows and 20 tokens of text make 900."""
PATCH_ID, ROW_END_ID, WORDS = 5, 6, 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model, two rounds")
    options = parser.parse_args()
    width, layers, rounds = (256, 2, 2) if options.quick else (1024, 8, 5)
    theirs, ours = models(width, layers)
    inputs, plan = sample()
    agree(theirs, ours, inputs, plan)
    timed = [stepper(theirs, inputs), stepper(ours, inputs | plan)]
    for step in timed:
        step()  # AdamW makes its state
    found = [[step() for step in timed] for _ in range(rounds)]
    parts = [[median(one) for one in zip(*runs, strict=True)] for runs in zip(*found, strict=True)]
    save(
        "train_fuyu_step",
        [
            row("forward and backward", parts[0][0], parts[1][0], ">= 1.6x"),
            row("with clipping and AdamW", parts[0][1], parts[1][1], ">= 1.6x"),
        ],
    )


def models(width: int, layers: int) -> tuple[FuyuForCausalLM, Fuyu]:
    """Return transformers' model and ours, on the same weights in memory; each has gradients of its own."""
    text = {
        "model_type": "persimmon",
        "vocab_size": WORDS,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "max_position_embeddings": 1024,
    }
    torch.manual_seed(1)
    theirs = FuyuForCausalLM(FuyuConfig(text_config=text, image_token_id=PATCH_ID))
    ours = Fuyu(FuyuConfig(text_config=dict(text), image_token_id=PATCH_ID))
    ours.load_state_dict(theirs.state_dict(), assign=True)
    return theirs.train(), ours.train()


def sample() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what both models take, and what a collator counts for ours."""
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(10, WORDS, (TEXT,), generator=generator)
    picture = torch.tensor(([PATCH_ID] * COLUMNS + [ROW_END_ID]) * ROWS)
    ids = torch.cat((picture, text))[None]
    labels = torch.full_like(ids, -100)
    labels[:, -TAUGHT:] = ids[:, -TAUGHT:]
    patches = torch.rand(ROWS * COLUMNS, 2700, generator=generator) * 2 - 1
    inputs = {"input_ids": ids, "labels": labels, "pixel_values": patches}
    return inputs, {
        "patch_positions": (ids.flatten() == PATCH_ID).nonzero().flatten(),
        "taught_positions": positions_taught(labels),
    }


def agree(theirs: Any, ours: Any, inputs: dict[str, Any], plan: dict[str, Any]) -> None:
    """Stop unless both give the same loss and gradients."""
    losses, norms = [], []
    for model, given in ((theirs, inputs), (ours, inputs | plan)):
        loss = model(**given).loss
        loss.backward()
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        model.zero_grad()
    print(f"loss {losses}, norm of the gradient {norms}")
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(norms[0], norms[1], atol=1e-4, rtol=1e-4)


def stepper(model: Any, inputs: dict[str, Any]) -> Callable[[], tuple[float, float]]:
    """Return a function that does a step and tells its seconds: up to the gradients, and in all."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> tuple[float, float]:
        start = time.perf_counter()
        model(**inputs).loss.backward()
        middle = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return middle - start, time.perf_counter() - start

    return step


def row(what: str, theirs: float, ours: float, bar: str) -> dict[str, object]:
    return {
        "what": what,
        "transformers": f"{theirs:.3f} s",
        "ours": f"{ours:.3f} s",
        "ratio": f"{theirs / ours:.2f}x",
        "bar": bar,
    }


if __name__ == "__main__":
    main()
