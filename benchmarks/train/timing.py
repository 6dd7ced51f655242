"""Wall clock of steps, waiting for data and for the device included."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


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
