"""Layers in OtterHD-8B's shape: a mixed batch beside transformers' FuyuForCausalLM, and long rows of pictures that are decoded meanwhile."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from made import Pages, mixed_sizes, packs, write_pictures  # noqa: E402
from models import PAD, fuyu_config  # noqa: E402
from timing import (  # noqa: E402
    adamw,
    compile_layers,
    forget_peak,
    peak_gb,
    seconds,
    share,
    to_device,
    train,
    wait,
)

# isort: split
import torch  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from trainer.flops import Sample, step_flops  # noqa: E402
from trainer.models.fuyu_batch import packed, padded  # noqa: E402

MIXES: dict[str, list[int | None]] = {
    "448 to 768": [448, 512, 768, None] * 2,
    "224 to 1024": [224, 448, 512, 768, 1024, None, None, 448],
}
"""Sides of pictures in pixels: those that OtterHD was taught with, and all that it was asked with; None: text alone."""

Runs = dict[str, tuple[str, dict[str, Any]]]
"""By name: which model, and what it takes."""


def rows(*, quick: bool, compiles: bool, device: torch.device) -> list[dict[str, object]]:
    from transformers import FuyuForCausalLM

    from trainer.models.fuyu import Fuyu

    if quick:
        config = fuyu_config(width=64, layers=2, heads=4, mlp=128, vocab=512)
        mixes: dict[str, list[int | None]] = {"60 to 90": [60, 90, None]}
        steps, rounds, text, dtype = 1, 1, 24, torch.float32
    else:
        config = fuyu_config(width=4096, layers=8, heads=64, mlp=16384, vocab=262_144)
        mixes, steps, rounds, text, dtype = MIXES, 5, 3, 150, torch.bfloat16

    with device:
        torch.manual_seed(0)
        ours = Fuyu._from_config(config, dtype=dtype)
        theirs = FuyuForCausalLM._from_config(config, dtype=dtype, attn_implementation="sdpa")
    theirs.load_state_dict(ours.state_dict())
    ours.set_attn_implementation("packed")
    models = {"transformers, sdpa": theirs, "ours": ours}
    for model in models.values():
        model.train()
    batches = {
        name: batches_of(mixed_sizes(config, sizes, text=text), device)
        for name, sizes in mixes.items()
    }
    # Before any step: afterwards each has learnt something else.
    losses = {name: agreed_loss(models, runs, dtype) for name, (runs, _) in batches.items()}
    if compiles:
        for model in models.values():
            compile_layers(model.model.language_model.layers)
        for runs, _ in batches.values():
            del runs["ours, padded"]  # the time goes to what counts
    optimizers = {name: adamw(model) for name, model in models.items()}
    found = [
        row | {"loss": f"{losses[name]:.4f}"}
        for name, (runs, samples) in batches.items()
        for row in beside_transformers(
            f"pictures of {name}", models, optimizers, runs, samples,
            steps=steps, rounds=rounds, device=device,
        )
    ]  # fmt: skip
    # Whose memory is needed now.
    del models, theirs, model, optimizers["transformers, sdpa"], batches
    gc.collect()
    sides = [side for side in next(reversed(mixes.values())) if side is not None]
    longer = {"row": 256, "number": 24, "warm": 1, "steps": 2, "workers": 0}
    if not quick:
        longer = {"row": 16_384, "number": 1600, "warm": 3, "steps": 20, "workers": 12}
    last = long_rows(ours, optimizers["ours"], sides=sides, text=text, device=device, **longer)
    return [*found, last]


def batches_of(samples: list[Any], device: torch.device) -> tuple[Runs, list[Sample]]:
    """Return which model takes what of the same samples, and what they cost."""
    row = to_device(packed(samples), device)
    rows = to_device(padded(samples, pad_id=PAD), device)
    # What transformers' model takes of it: the patches of all rows, in their order.
    theirs = {
        name: rows[name] for name in ("input_ids", "attention_mask", "labels", "pixel_values")
    }
    runs = {
        "transformers, sdpa": ("transformers, sdpa", theirs | {"use_cache": False}),
        "ours, padded": ("ours", rows),
        "ours, packed": ("ours", row),
    }
    return runs, [counted(sample) for sample in samples]


@torch.no_grad()
def agreed_loss(models: dict[str, Any], runs: Runs, dtype: torch.dtype) -> float:
    """Return the loss, which has to be the same for all."""
    losses = {name: float(models[model](**batch).loss) for name, (model, batch) in runs.items()}
    same = 1e-4 if dtype == torch.float32 else 2e-2
    assert max(losses.values()) < min(losses.values()) * (1 + same), f"not the same loss: {losses}"
    return losses["ours, packed"]


def beside_transformers(
    what: str,
    models: dict[str, Any],
    optimizers: dict[str, torch.optim.Optimizer],
    runs: Runs,
    samples: list[Sample],
    *,
    steps: int,
    rounds: int,
    device: torch.device,
) -> list[dict[str, object]]:
    """Take steps on the same samples in turns."""
    tokens = sum(sample.tokens for sample in samples)
    work = step_flops(models["ours"], samples)
    times: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, float] = {}
    for _ in range(rounds):
        for name, (model, batch) in runs.items():
            step = partial(train, models[model], optimizers[model], batch)
            forget_peak(device)
            times[name].append(seconds(step, warm=2, steps=steps, device=device))
            peaks[name] = peak_gb(device)
    base = median(times["transformers, sdpa"])
    return [
        {
            "what": f"{what}: {name}",
            "samples": len(samples),
            "tokens": tokens,
            "ms": f"{median(taken) * 1e3:.4g}",
            "tokens/s": f"{tokens / median(taken):.0f}",
            "ratio": f"{base / median(taken):.3g}x",
            "bar": ">= 3x" if name == "ours, packed" else "",
            "MFU": share(work.step, median(taken), device),
            "wait for data": "none",
            "peak, GB": f"{peaks[name]:.0f}",
        }
        for name, taken in times.items()
    ]


def long_rows(
    model: Any,
    optimizer: torch.optim.Optimizer,
    *,
    sides: list[int],
    text: int,
    row: int,
    number: int,
    warm: int,
    steps: int,
    workers: int,
    device: torch.device,
) -> dict[str, object]:
    """Train on long packed rows of pictures that are decoded meanwhile; every fourth sample is text alone."""
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        written = write_pictures(Path(folder), 12 * len(sides), [(side, side) for side in sides])
        shown: list[Path | None] = []
        for nth, path in enumerate(written):
            shown += [path, None] if nth % 3 == 2 else [path]
        data = Pages(model.config, number, shown, text=text)
        chosen = packs(data.lengths(), row)[: warm + steps]
        loader = iter(
            DataLoader(
                data, batch_sampler=chosen, num_workers=workers, pin_memory=device.type == "cuda",
                collate_fn=row_and_counts,
            )
        )  # fmt: skip
        for _ in range(warm):
            train(model, optimizer, to_device(next(loader)[0], device))
        wait(device)
        forget_peak(device)
        samples: list[Sample] = []
        waited, started = 0.0, time.perf_counter()
        for _ in range(len(chosen) - warm):
            asked = time.perf_counter()
            batch, counts = next(loader)
            waited += time.perf_counter() - asked
            samples += counts
            train(model, optimizer, to_device(batch, device))
        wait(device)
        took = time.perf_counter() - started
    tokens = sum(sample.tokens for sample in samples)
    return {
        "what": f"rows of {row} tokens, decoded meanwhile: ours, packed",
        "samples": len(samples),
        "tokens": tokens,
        "ms": f"{took / (len(chosen) - warm) * 1e3:.4g}",
        "tokens/s": f"{tokens / took:.0f}",
        "ratio": "",
        "bar": "MFU >= 35 %",
        "MFU": share(step_flops(model, samples).step, took, device),
        "wait for data": f"{waited / took:.1%}",
        "peak, GB": f"{peak_gb(device):.0f}",
        "loss": "",
    }


def row_and_counts(samples: list[Any]) -> tuple[dict[str, Any], list[Sample]]:
    return packed(samples), [counted(sample) for sample in samples]


def counted(sample: Any) -> Sample:
    taught = int((sample.labels_T[1:] >= 0).sum())
    return Sample(tokens=len(sample), taught=taught, patches=len(sample.patches_PC))
