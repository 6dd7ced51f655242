"""One step of teaching MPT on 2,000 tokens on the CPU, beside transformers' MptForCausalLM (which has eager attention only), in turns.

Both start from the same weights and see the same text; a step is forward, backward, clipping and AdamW. Their losses and gradient
norms are compared before anything is timed. Every token is taught, so that the output layer costs both the same; the last row teaches
the last tenth, as instructions do. A kernel saves attention alone, and the wider a model, the less of its time is
attention: hence two widths. The last figures are those of attention by itself in the three forms of ALiBi, forward and backward.

    python benchmarks/train/mpt_step.py [--quick]
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

import torch  # noqa: E402
from common import save  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from transformers import MptConfig as TheirConfig  # noqa: E402
from transformers import MptForCausalLM as Theirs  # noqa: E402

from trainer.models.mpt import MptConfig, MptForCausalLM  # noqa: E402
from trainer.models.mpt_attention import alibi_slopes, attend, find_reach  # noqa: E402

TOKENS, WORDS, HEAD_DIM = 2_000, 8_192, 64
BAR = ">= 1.5x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small models, two rounds; nothing is saved"
    )
    options = parser.parse_args()
    widths, layers, rounds = ((128, 256), 2, 2) if options.quick else ((512, 1024), 4, 5)
    rows = []
    for width in widths:
        models = both(width, layers)
        for taught in (TOKENS, TOKENS // 10):
            theirs, ours = steps(models, taught, rounds)
            what = f"{width} wide, {layers} layers, {taught:,} taught"
            rows.append(row(what, theirs, ours, BAR if taught == TOKENS else ""))
    rows += attention(widths[-1] // HEAD_DIM, rounds)
    if options.quick:
        print(*rows, sep="\n")
    else:
        save("train_mpt_step", rows)


def both(width: int, layers: int) -> tuple[Any, Any]:
    """Return transformers' model and ours with the same weights."""
    sizes = {
        "d_model": width, "n_heads": width // HEAD_DIM, "n_layers": layers, "vocab_size": WORDS,
        "max_seq_len": TOKENS, "no_bias": True, "use_cache": False,
    }  # fmt: skip
    torch.manual_seed(1)
    theirs, ours = Theirs(TheirConfig(**sizes)), MptForCausalLM(MptConfig(**sizes))
    ours.load_state_dict(theirs.state_dict())
    return theirs.train(), ours.train()


def steps(models: tuple[Any, Any], taught: int, rounds: int) -> list[float]:
    """Return the median seconds of a step of each."""
    ids_BT = torch.randint(0, WORDS, (1, TOKENS), generator=torch.Generator().manual_seed(2))
    labels_BT = ids_BT.clone()
    labels_BT[:, :-taught] = -100
    inputs = {"input_ids": ids_BT, "labels": labels_BT}
    agree(models, inputs)
    timed = [stepper(model, inputs) for model in models]
    for step in timed:
        step()  # AdamW makes its state
    return in_turns(timed, rounds)


def agree(models: tuple[Any, Any], inputs: dict[str, Any]) -> None:
    """Stop unless both give the same loss and gradients."""
    losses, norms = [], []
    for model in models:
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])))
    print(f"loss {losses}, norm of the gradient {norms}")
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(norms[0], norms[1], atol=1e-4, rtol=1e-4)


def stepper(model: Any, inputs: dict[str, Any]) -> Callable[[], None]:
    # So small a rate that the models stay alike.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)

    def step() -> None:
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def attention(heads: int, rounds: int) -> list[dict[str, object]]:
    """Time attention alone: all scores written out, ALiBi as one mask, and ours."""
    torch.manual_seed(3)
    q, k, v = (torch.randn(1, heads, TOKENS, HEAD_DIM, requires_grad=True) for _ in range(3))
    slopes_H = alibi_slopes(heads, bias_max=8, interleaved=True, device=q.device)
    ahead_TS = torch.arange(TOKENS) - torch.arange(TOKENS)[:, None]
    mask = (slopes_H[:, None, None] * ahead_TS).masked_fill(ahead_TS > 0, -torch.inf)[None]
    reach = find_reach("sdpa", slopes_H, None, tokens=TOKENS, past=0, keys=TOKENS, like=q)
    scale = HEAD_DIM**-0.5
    ways = (
        lambda: (q @ k.transpose(-1, -2) * scale + mask).softmax(dim=-1) @ v,
        lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        lambda: attend(q, k, v, reach, scale=scale, dropout=0).transpose(1, 2),
    )
    found = [way() for way in ways]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=1e-5)
    goal = torch.randn_like(found[0])
    times = in_turns([lambda way=way: way().backward(goal) for way in ways], rounds)
    what = f"attention alone, {heads} heads of {HEAD_DIM}"
    return [
        row(what, times[0], times[2], ""),
        row(f"{what}; SDPA with one mask", times[1], times[2], ""),
    ]


def in_turns(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        found.append([])
        for call in calls:
            start = time.perf_counter()
            call()
            found[-1].append(time.perf_counter() - start)
    return [median(times) for times in zip(*found, strict=True)]


def row(what: str, theirs: float, ours: float, bar: str) -> dict[str, object]:
    return {
        "what": what,
        "reference": f"{theirs:.3f} s",
        "ours": f"{ours:.3f} s",
        "ratio": f"{theirs / ours:.2f}x",
        "bar": bar,
    }


if __name__ == "__main__":
    main()
