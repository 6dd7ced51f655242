"""Steps of training, and what they take: wall clock with the waits for data and for the device, memory, and the share of a GPU's peak."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent.parent.parent)]

from trainer.flops import mfu  # noqa: E402 - before torch: the package tells OpenMP's threads not to spin

# isort: split
import torch  # noqa: E402
from torch import nn  # noqa: E402


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(step: Callable[[], Any], *, warm: int, steps: int, device: torch.device) -> float:
    """Return the seconds of one step, the mean of several that follow each other without a pause."""
    for _ in range(warm):
        step()
    wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return (time.perf_counter() - started) / steps


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Any]) -> None:
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-5, fused=True)


def compile_layers(layers: Any) -> None:
    # Layer by layer: their code is compiled once for each kind of layer, and rows of any length use it.
    torch._dynamo.config.recompile_limit = 64  # beyond it what is left is not compiled
    for layer in layers:
        layer.compile(dynamic=True)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float:
    """Return the most memory that tensors had since `forget_peak`, in 10⁹ bytes."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def share(flops: float, taken: float, device: torch.device) -> str:
    found = mfu(flops, taken, device_name=device_name(device))
    return "unknown" if found is None else f"{found:.1%}"
