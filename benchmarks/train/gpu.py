"""Training on one GPU in bfloat16: tokens a second and the share of its peak (MFU), beside transformers' Fuyu and padded batches.

    attention  every way to attend within samples: its error against float32, and its time
    fuyu       layers in OtterHD-8B's shape on pictures of several sizes and text, beside transformers' FuyuForCausalLM with sdpa;
               and MFU of longer packed rows, whose pictures are decoded meanwhile
    otter      MFU of packed rows of an Otter with LLaMA-7B-shaped layers, on text, and with pictures that are decoded meanwhile; and
               taught tokens a second beside padded batches of the same samples
    mpt        the same with MPT-7B-shaped layers, as OTTER-MPT7B has them

Whole models do not fit with AdamW's state on one GPU, so a slice of their layers is trained (8 of 36, 16 of 32), with all of the
vocabulary. Weights, gradients and AdamW's state are bfloat16 for all alike. Times are wall clock from step to step, with the wait
for data. Operations are counted as in trainer/flops.py: what padding costs does not count.

    python benchmarks/train/gpu.py [--quick] [--only PART] [--compile]

With --compile the layers are compiled, those of transformers, too, and results have names of their own. Nothing is saved with
--quick, nor without a GPU. A part that fails does not keep the others from being measured.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import gpu_attention  # noqa: E402
import gpu_fuyu  # noqa: E402
from common import save  # noqa: E402
from made import Conversations, packs, write_pictures  # noqa: E402
from models import IMAGE, PAD, TINY_VISION, VISION, otter, text_config  # noqa: E402
from timing import (  # noqa: E402
    adamw,
    compile_layers,
    device_name,
    forget_peak,
    peak_gb,
    share,
    train,
    wait,
)

# isort: split
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from trainer.batch import Batch, collate, one_row  # noqa: E402
from trainer.flops import Flops, Sample, step_flops  # noqa: E402
from trainer.models.otter import decoder_layers  # noqa: E402

PUBLISHED = ("perceiver", "gated_cross_attn", "embed_tokens", "wte", "lm_head")
"""What training of Otter trains by default, by names of parameters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--compile", action="store_true", help="torch.compile the layers, too")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.quick:
        sys.exit("there is no GPU here; see that it runs with --quick")
    failed = []
    for name, part in PARTS.items():
        if options.only not in (None, name):
            continue
        started = time.perf_counter()
        try:
            rows = part(options.quick, options.compile, device)
        except (
            RuntimeError,
            AssertionError,
        ):  # of which no memory is one, and what the compiler refuses
            traceback.print_exc()
            failed.append(name)
        else:
            if options.quick:
                print(*rows, "", sep="\n")
            else:
                ending = "_compiled" if options.compile else ""
                machine = {"gpu": device_name(device), "torch": torch.__version__}
                save(f"train_gpu_{name}{ending}", [row | machine for row in rows])
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        gc.collect()  # the models, before the next part makes its own
        torch.cuda.empty_cache()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def of_otter(
    kind: str, quick: bool, compiles: bool, device: torch.device
) -> list[dict[str, object]]:
    if quick:
        text = text_config(kind, width=64, layers=2, heads=2, vocab=512)
        model, row, batch, steps, workers, number = (
            otter(text, TINY_VISION, every=2),
            512,
            4,
            3,
            0,
            60,
        )
    else:
        vocab = 50_432 if kind == "mpt" else 32_004
        text = text_config(kind, width=4096, layers=16, heads=32, vocab=vocab)
        with device:
            model = otter(text, VISION, dtype=torch.bfloat16)
        row, batch, steps, workers, number = 8192, 64, 20, 12, 6000
    model.to(device).train()
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(part in name for part in PUBLISHED))
    if compiles:
        compile_layers(part.decoder_layer for part in decoder_layers(model.lang_encoder))
    optimizer = adamw(model)

    found = []
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        paths = write_pictures(Path(folder), 8 if quick else 512)
        shared = {"words": text["vocab_size"], "side": model.config.vision_config.image_size}
        for what, pictures, bar in (("text", [], ">= 40 %"), ("with pictures", paths, ">= 35 %")):
            data = Conversations(number, pictures=pictures, **shared)
            measured = partial(
                epoch, model, optimizer, data, steps=steps, workers=workers, device=device
            )
            alone = torch.randperm(number, generator=torch.Generator().manual_seed(4)).split(batch)
            padded = measured([part.tolist() for part in alone], pack=False)
            packed = measured(packs(data.lengths, row), pack=True)
            for name, got in ((f"{what}, padded", padded), (f"{what}, packed", packed)):
                ratio = got["taught/s"] / padded["taught/s"]
                found.append({
                    "what": f"{kind}, {name}",
                    "tokens/s": f"{got['tokens/s']:.0f}",
                    "taught/s": f"{got['taught/s']:.0f}",
                    "ratio": f"{ratio:.3g}x",
                    "ratio bar": ">= 2x" if got is packed else "",
                    "MFU": share(got["flops/s"], 1.0, device),
                    "MFU, full attention": share(got["full flops/s"], 1.0, device),
                    "MFU bar": bar if got is packed else "",
                    "wait for data": f"{got['wait']:.1%}",
                    "peak, GB": f"{got['peak']:.0f}",
                    "vision of all flops": f"{got['vision']:.1%}",
                })  # fmt: skip
    return found


def epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Conversations,
    batches: list[list[int]],
    *,
    pack: bool,
    steps: int,
    workers: int,
    device: torch.device,
) -> dict[str, float]:
    """Train some steps, and say what came of it in a second: `wait` is the share of time without a batch."""
    implementation = "packed" if pack else "sdpa"
    model.set_attn_implementation({"text_config": implementation})  # type: ignore[operator]
    warm = 3
    media = (1,) if data.pictures else ()
    chosen = batches[: warm + steps]
    work: dict[str, list[Flops]] = {
        kind: [
            step_flops(
                model,
                [Sample(data.lengths[i], data.taught(i), media) for i in members],
                attention=kind,  # type: ignore[arg-type]
            )
            for members in chosen[warm:]
        ]
        for kind in ("causal", "full")
    }
    loader = iter(
        DataLoader(
            data, batch_sampler=chosen, num_workers=workers, pin_memory=device.type == "cuda",
            collate_fn=partial(one_row, image=IMAGE) if pack else partial(collate, pad=PAD, image=IMAGE),
        )
    )  # fmt: skip
    dtype = next(model.parameters()).dtype
    for _ in range(warm):
        train(model, optimizer, inputs(next(loader), device, dtype))
    wait(device)
    forget_peak(device)
    tokens = taught = 0
    waited, started = 0.0, time.perf_counter()
    for _ in range(len(chosen) - warm):
        asked = time.perf_counter()
        batch = next(loader)
        waited += time.perf_counter() - asked
        train(model, optimizer, inputs(batch, device, dtype))
        tokens, taught = tokens + batch.tokens, taught + batch.taught
    wait(device)
    took = time.perf_counter() - started
    causal = sum(one.step for one in work["causal"])
    return {
        "tokens/s": tokens / took,
        "taught/s": taught / took,
        "flops/s": causal / took,
        "full flops/s": sum(one.step for one in work["full"]) / took,
        "wait": waited / took,
        "peak": peak_gb(device),
        "vision": sum(one.forward["vision"] for one in work["causal"]) / causal,
    }


def inputs(batch: Batch, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    given = batch.to(device).inputs()
    assert batch.text_time_BT is not None
    if not batch.text_time_BT.any():  # text alone: nothing to look at
        given["pixel_values"] = None
    else:
        given["pixel_values"] = given["pixel_values"].to(dtype)
    return given


def attention(quick: bool, compiles: bool, device: torch.device) -> list[dict[str, object]]:
    return gpu_attention.rows(quick=quick, device=device)


def fuyu(quick: bool, compiles: bool, device: torch.device) -> list[dict[str, object]]:
    return gpu_fuyu.rows(quick=quick, compiles=compiles, device=device)


PARTS = {
    "attention": attention,
    "fuyu": fuyu,
    "otter": partial(of_otter, "llama"),
    "mpt": partial(of_otter, "mpt"),
}

if __name__ == "__main__":
    main()
