"""What goes through a model at once, whatever its family: tensors for its forward, and what the step needs to know of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from trainer.flops import Sample
from trainer.models.loss import IGNORED


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Encoded records, padded side by side or packed one behind the other."""

    record_ids: tuple[str, ...]
    taught: int
    """Tokens with a label."""
    tokens: int
    """Tokens without padding."""
    pictures: int = 0
    """Frames of clips counted one by one."""
    taught_each: tuple[int, ...] = ()
    """Taught tokens of each example, in the order in which their labels stand."""
    samples: tuple[Sample, ...] = ()
    """What each example costs (`trainer.flops`)."""
    weight: float = 1.0
    """How much each taught token of these counts in the step's loss."""
    group: str = ""
    """The part of the mix that they are of, where each has a mean of its own (`data.loss_mean`); else of any."""

    def inputs(self) -> dict[str, Any]:
        """Return the keyword arguments of a model's forward, labels among them."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Places for tokens, padding included."""
        return int(self.inputs()["input_ids"].numel())

    def to(self, device: torch.device | str) -> Self:
        moved = {one.name: _moved(getattr(self, one.name), device) for one in fields(self)}
        return replace(self, **{name: value for name, value in moved.items() if value is not None})

    def untaught(self) -> Self:
        """Return the same rows with nothing to learn from them: for a device that has fewer than others."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRows(Rows):
    """Rows that are their forward's arguments and nothing else."""

    given: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self) -> dict[str, Any]:
        return dict(self.given)

    def untaught(self) -> Self:
        # Where the taught tokens stand is counted beforehand by some models; then nowhere.
        labels = torch.full_like(self.given["labels"], IGNORED)
        given = dict(self.given) | {"labels": labels}
        if "taught_positions" in given:
            given["taught_positions"] = given["taught_positions"][:0]
        nothing = (0,) * len(self.taught_each)
        return replace(
            self,
            given=given,
            record_ids=(),
            taught=0,
            tokens=0,
            pictures=0,
            taught_each=nothing,
            samples=(),
        )


def _moved(value: Any, device: torch.device | str) -> Any:
    """Return a tensor, or a mapping with tensors, on a device; None for what has no place."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {
            name: one.to(device, non_blocking=True) if isinstance(one, Tensor) else one
            for name, one in value.items()
        }
    return None
