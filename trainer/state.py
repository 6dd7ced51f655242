"""What of a model and its optimizer a checkpoint holds.

Each tensor once, under the first of its names. Weights that are frozen and began in files are left out, and a hash of them is kept
in their place: they are there again when the model is made again, or the run does not go on.
"""

import hashlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Frozen:
    """Weights that a checkpoint leaves out, for they began in files and are not trained."""

    names: frozenset[str]
    digest: str
    """SHA-256 over them, their names and shapes."""

    @classmethod
    def of(cls, model: nn.Module, names: Collection[str]) -> "Frozen":
        def digest(name: str) -> bytes:
            weight = model.get_parameter(name).detach().contiguous().cpu()
            hasher = hashlib.sha256(f"{name} {weight.dtype} {list(weight.shape)} ".encode())
            hasher.update(weight.flatten().view(torch.uint8).numpy().data)
            return hasher.digest()

        # A hash is computed without Python's lock, so threads share the work.
        with ThreadPoolExecutor() as threads:
            whole = hashlib.sha256(b"".join(threads.map(digest, sorted(names))))
        return cls(frozenset(names), whole.hexdigest())


NOTHING = Frozen(frozenset(), "")


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint holds of a run, gathered to one process."""

    weights: Mapping[str, Tensor]
    """Whole tensors by name."""
    training: Mapping[str, Any]
    """Whole tensors and numbers: what the optimizer remembers."""
    frozen: Frozen = NOTHING
    """The weights that are not among these."""


def kept(model: nn.Module, *, without: Collection[str] = ()) -> set[str]:
    """Return the names of the parameters and buffers that a checkpoint holds: of tied ones the first."""
    seen: set[int] = set()
    found = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and name not in without:
            found.add(name)
        seen.add(id(tensor))
    return found
