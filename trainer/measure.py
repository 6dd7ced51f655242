"""What a step costs, and how well the machine is used: operations, seconds, memory, share of the peak (MFU).

    seconds   wall clock from the end of one step to the end of the next, without what was done aside (`Clock.aside`): evaluating,
              saving, drawing. These are told beside it, so that both together are all the time there was
    flops     operations of the step's examples on all devices (`trainer.flops`: its rules are CONVENTIONS). All of them are sums over
              tokens, pairs of tokens, media and patches, so a handful of numbers found once say what any example costs
    mfu       flops / seconds / the peak of all devices; None on a CPU, in 32 bits, and for a GPU whose peak is not known
    memory    the most that a process has taken so far, of the process that has taken most

What they mean exactly goes into run.json (CONVENTIONS).
"""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainer.flops import Sample, peak_flops, step_flops
from trainer.rows import Rows

CONVENTIONS = {
    "seconds": "wall clock from step to step, waiting for data included; evaluating, saving and drawing counted apart",
    "flops": "matrix products of the taught examples, two operations a multiply-add; frozen weights without their own gradients; "
    "not counted: recomputing, padding, the reference model of a preference",
    "attention": "causal: only pairs of tokens that see each other",
    "head": "only at positions that are taught",
    "peak": "dense products in 16 bits, by the data sheet",
    "memory": "peak since the start, of the process with the most: allocated on its GPU, or resident",
}
"""How the figures are meant; goes into run.json."""
_FAR = 2048
"""Any length will do: what an example costs is a quadratic function of its tokens."""


class Cost:
    """What examples cost, there and back, as `step_flops` counts it for this model."""

    def __init__(self, model: nn.Module) -> None:
        """Count a few examples, from which all others follow.

        Raises:
            ValueError: the cost of such a model is not known.
        """

        def count(tokens: int = 0, taught: int = 0, **shown: Any) -> float:
            return step_flops(model, [Sample(tokens, taught, **shown)]).step

        config: Any = getattr(model, "config", None)
        window = config and getattr(config.get_text_config(decoder=True), "sliding_window", None)
        self._window = float(window or "inf")
        below = min(window or _FAR, _FAR)
        self._short = _quadratic([(one, count(one)) for one in (0, below // 2, below)])
        self._long = self._short
        if window:
            places = (window, window + _FAR // 2, window + _FAR)
            self._long = _quadratic([(one, count(one)) for one in places])
        self._taught = count(taught=1)
        self._patch = count(patches=1)
        self._medium = self._frame = self._seeing = self._looking = 0.0
        one = count(media=(1,), looking=0)
        if one:
            self._frame = count(media=(2,), looking=0) - one
            self._medium = one - self._frame
            token = count(1, media=(1,), looking=0)
            self._seeing = token - one - count(1)
            self._looking = count(1, media=(1,), looking=1) - token

    def of(self, samples: Sequence[Sample]) -> float:
        """Return the operations of a step over samples."""
        total = 0.0
        for sample in samples:
            tokens = sample.tokens
            a, b, c = self._short if tokens <= self._window else self._long
            taught = tokens if sample.taught is None else sample.taught
            total += a + tokens * (b + tokens * c)
            total += taught * self._taught + sample.patches * self._patch
            if sample.media:
                looking = tokens if sample.looking is None else sample.looking
                total += len(sample.media) * self._medium + sum(sample.media) * self._frame
                total += tokens * self._seeing + looking * self._looking
        return total


def _quadratic(places: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return a, b, c of a + b x + c x² through three places."""
    (x0, y0), (x1, y1), (x2, y2) = places
    first, second = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    c = (second - first) / (x2 - x0)
    b = first - c * (x0 + x1)
    return y0 - x0 * (b + c * x0), b, c


class Clock:
    """From step to step."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._aside: dict[str, float] = {}

    @contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Take the time of what is no training."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._aside[what] = self._aside.get(what, 0.0) + time.perf_counter() - began

    def lap(self) -> tuple[float, dict[str, float]]:
        """Return the seconds since the last lap that were training, and those that were not."""
        now, aside = time.perf_counter(), self._aside
        seconds = now - self._last - sum(aside.values())
        self._last, self._aside = now, {}
        return max(seconds, 1e-9), aside


class Meter:
    """All that is measured of a run's steps, on one process."""

    def __init__(
        self, model: nn.Module, device: torch.device, precision: str, processes: int
    ) -> None:
        """Look at the model before it is spread over devices.

        Args:
            model: With what it trains already chosen.
            device: Of this process.
            precision: bf16, fp16 or no.
            processes: That share a step.
        """
        self.clock = Clock()
        self.device = device
        self.why_no_mfu: str | None = None
        """A sentence's end; None where MFU is told."""
        self._peak: float | None = None
        try:
            self._cost: Cost | None = Cost(model)
        except ValueError as error:
            self._cost, self.why_no_mfu = None, str(error)
            return
        if device.type != "cuda":
            self.why_no_mfu = f"the peak of this {device.type.upper()} is not known"
            return
        name = torch.cuda.get_device_name(device)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        if peak := peak_flops(name, dtype):
            self._peak = peak * processes
        elif dtype is torch.float32:
            self.why_no_mfu = "the peak in 32 bits depends on settings"
        else:
            self.why_no_mfu = f"unknown GPU: {name}"

    @property
    def peak(self) -> float | None:
        """FLOP/s of all devices together."""
        return self._peak

    def counts(self, group: Sequence[Rows]) -> dict[str, float]:
        """Return what this process's rows cost, and the memory that it has taken so far, in bytes."""
        flops = sum(self._cost.of(rows.samples) for rows in group) if self._cost else 0.0
        return {"flops": flops, "memory": float(peak_memory(self.device))}

    def mfu(self, flops: float, seconds: float) -> float | None:
        return flops / seconds / self._peak if self._peak and flops else None


def peak_memory(device: torch.device) -> int:
    """Return the most that this process has taken so far, in bytes: on its GPU, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # What getrusage says of a process that was started by a large one is the large one's.
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - each step: Path.open takes as long as the reading
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
