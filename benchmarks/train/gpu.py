"""Training on one GPU in bfloat16: tokens a second and the share of its peak (MFU), beside transformers' Fuyu and padded batches.

    fuyu       layers in OtterHD-8B's shape on pictures of 448, 512, 768 pixels and text, beside transformers' FuyuForCausalLM with sdpa
    otter      MFU of packed rows of an Otter with LLaMA-7B-shaped layers, on text, and with pictures that are decoded meanwhile; and
               taught tokens a second beside padded batches of the same samples
    attention  every way to attend within samples: its error against float32, and its time

Whole models do not fit with AdamW's state on one GPU, so a slice of their layers is trained (8 of 36, 16 of 32), with all of the
vocabulary. Weights, gradients and AdamW's state are bfloat16 for all alike. Times are wall clock from step to step, with the wait
for data. Operations are counted as in trainer/flops.py.

    python benchmarks/train/gpu.py [--quick] [--only fuyu|otter|attention] [--compile]

Nothing is saved with --quick, nor without a GPU.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import gpu_attention  # noqa: E402
from common import save  # noqa: E402
from made import Conversations, mixed_sizes, packs, write_pictures  # noqa: E402
from models import (  # noqa: E402
    IMAGE,
    PAD,
    TINY_VISION,
    VISION,
    fuyu_config,
    otter,
    text_config,
)
from timing import seconds, wait  # noqa: E402

# isort: split
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from trainer.batch import Batch, collate, one_row  # noqa: E402
from trainer.flops import Flops, Sample, mfu, step_flops  # noqa: E402

PUBLISHED = ("perceiver", "gated_cross_attn", "embed_tokens", "lm_head")
"""What training of Otter trains by default, by names of parameters."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--compile", action="store_true", help="torch.compile our layers, too")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.quick:
        sys.exit("there is no GPU here; see that it runs with --quick")
    for name, part in PARTS.items():
        if options.only in (None, name):
            rows = part(options.quick, options.compile, device)
            gc.collect()  # the models, before the next part makes its own
            torch.cuda.empty_cache()
            if options.quick:
                print(*rows, "", sep="\n")
            else:
                save(f"train_gpu_{name}", [row | {"gpu": device_name(device)} for row in rows])


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


# Fuyu


def fuyu(quick: bool, compiles: bool, device: torch.device) -> list[dict[str, object]]:
    from transformers import FuyuForCausalLM

    from trainer.models.fuyu import Fuyu
    from trainer.models.fuyu_batch import packed, padded

    if quick:
        config = fuyu_config(width=64, layers=2, heads=4, mlp=128, vocab=512)
        sizes: list[int | None] = [60, 90, None]
        steps, rounds, text, dtype = 1, 1, 24, torch.float32
    else:
        config = fuyu_config(width=4096, layers=8, heads=64, mlp=16384, vocab=262_144)
        sizes = [448, 512, 768, None] * 2
        steps, rounds, text, dtype = 5, 3, 150, torch.bfloat16
    samples = mixed_sizes(config, sizes, text=text)
    tokens = sum(map(len, samples))

    with device:
        torch.manual_seed(0)
        ours = Fuyu._from_config(config, dtype=dtype)
        theirs = FuyuForCausalLM._from_config(config, dtype=dtype, attn_implementation="sdpa")
    theirs.load_state_dict(ours.state_dict())
    ours.set_attn_implementation("packed")

    row = to_device(packed(samples), device)
    rows = to_device(padded(samples, pad_id=PAD), device)
    # What transformers' model takes of it: the patches of all rows, in their order.
    theirs_rows = {
        name: rows[name] for name in ("input_ids", "attention_mask", "labels", "pixel_values")
    }
    runs = {"transformers, sdpa": (theirs, theirs_rows), "ours, padded": (ours, rows)}
    runs |= {"ours, packed": (ours, row)}
    losses = {name: float(model(**batch).loss.detach()) for name, (model, batch) in runs.items()}
    same = 1e-4 if dtype == torch.float32 else 2e-2
    assert max(losses.values()) < min(losses.values()) * (1 + same), f"not the same loss: {losses}"
    optimizers = {id(model): adamw(model) for model, _ in runs.values()}
    work = step_flops(ours, [counted(sample) for sample in samples])

    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (model, batch) in runs.items():
            step = partial(train, model, optimizers[id(model)], batch)
            times[name].append(seconds(step, warm=1, steps=steps, device=device))
    if compiles:
        compile_layers(ours.model.language_model.layers)
        step = partial(train, ours, optimizers[id(ours)], row)
        times["ours, packed, compiled"] = [seconds(step, warm=3, steps=steps, device=device)]
    base = median(times["transformers, sdpa"])
    return [
        {
            "part": f"fuyu: {config.text_config.num_hidden_layers} layers, {len(samples)} samples",
            "what": name,
            "tokens": tokens,
            "ms": f"{median(taken) * 1e3:.4g}",
            "tokens/s": f"{tokens / median(taken):.0f}",
            "ratio": f"{base / median(taken):.3g}x",
            "bar": ">= 3x" if name == "ours, packed" else "",
            "MFU": share(work.step, median(taken), device),
            "loss": f"{losses.get(name, float('nan')):.4f}",
        }
        for name, taken in times.items()
    ]


def counted(sample: Any) -> Sample:
    taught = int((sample.labels_T[1:] >= 0).sum())
    return Sample(tokens=len(sample), taught=taught, patches=len(sample.patches_PC))


# Otter


def of_otter(quick: bool, compiles: bool, device: torch.device) -> list[dict[str, object]]:
    if quick:
        text = text_config("llama", width=64, layers=2, heads=2, vocab=512)
        model, row, batch, steps, workers, number = (
            otter(text, TINY_VISION, every=2),
            512,
            4,
            3,
            0,
            60,
        )
    else:
        text = text_config("llama", width=4096, layers=16, heads=32, vocab=32_004)
        with device:
            model = otter(text, VISION, dtype=torch.bfloat16)
        row, batch, steps, workers, number = 8192, 64, 20, 12, 6000
    model.to(device).train()
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(part in name for part in PUBLISHED))
    if compiles:
        compile_layers(part.decoder_layer for part in model.lang_encoder.get_decoder().layers)
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
                    "part": f"otter: {text['num_hidden_layers']} layers",
                    "what": name,
                    "tokens/s": f"{got['tokens/s']:.0f}",
                    "taught/s": f"{got['taught/s']:.0f}",
                    "ratio": f"{ratio:.3g}x",
                    "ratio bar": ">= 2x" if got is packed else "",
                    "MFU": share(got["flops/s"], 1.0, device),
                    "MFU, full attention": share(got["full flops/s"], 1.0, device),
                    "MFU bar": bar if got is packed else "",
                    "wait for data": f"{got['wait']:.1%}",
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


# What all share


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Any]) -> None:
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-5, fused=True)


def compile_layers(layers: Any) -> None:
    # Layer by layer: their code is compiled once, and rows of any length use it.
    for layer in layers:
        layer.compile(dynamic=True)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def share(flops: float, taken: float, device: torch.device) -> str:
    found = mfu(flops, taken, device_name=device_name(device))
    return "unknown" if found is None else f"{found:.1%}"


def attention(quick: bool, compiles: bool, device: torch.device) -> list[dict[str, object]]:
    return gpu_attention.rows(quick=quick, device=device)


PARTS = {"attention": attention, "fuyu": fuyu, "otter": of_otter}

if __name__ == "__main__":
    main()
