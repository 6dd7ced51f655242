"""What the training step asks of an objective."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from trainer.config import TrainConfig
from trainer.families import Encoder
from trainer.plan import Plan
from trainer.report import StepLog
from trainer.rows import Rows
from trainer.sources.mix import Mix


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one forward: what is summed over the forwards and processes of a step."""

    total: Tensor
    """To go back from: its sum over the step is the step's loss."""
    figures: dict[str, Tensor]
    """Beside the loss, for the log; summed, too, so each already divided by what the whole step has of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A run before its first step of this session."""

    accelerator: Any
    model: nn.Module
    """As accelerate wraps it."""
    mix: Mix
    """The objective's."""
    encoder: Encoder
    """The objective's."""
    plan: Plan
    config: TrainConfig
    folder: Path
    """Of the run."""
    start: int
    """Steps that were taken before."""
    log: Sequence[StepLog]
    """What was measured in them."""
    say: Callable[[str], None]
    """Takes a line for people."""


class Objective(Protocol):
    def mix(self, mix: Mix) -> Mix:
        """Return what the run learns from, its records as `encoder` takes them."""
        ...

    def encoder(self, encoder: Encoder) -> Encoder:
        """Return the encoder of a record's examples: an answer's is the family's own; a pair is two of them."""
        ...

    def prepare(self, run: Beginning) -> None:
        """Do what must be done before the first step of this session, on all processes together."""
        ...

    def begin(self, accelerator: Any, model: nn.Module, group: Sequence[Rows]) -> None:
        """Measure what the whole step must know before its first forward, on all processes together."""
        ...

    def amount(self, rows: Rows) -> float:
        """Return how much of the step these rows are: the step's loss is divided by the sum over all its rows, on all devices."""
        ...

    def loss(self, model: nn.Module, rows: Rows, *, whole: float) -> Loss:
        """Do one forward.

        Args:
            model: As accelerate wraps it.
            rows: On the model's device.
            whole: Sum of the amounts of the step, over all its rows on all devices; at least what makes a division possible.
        """
        ...

    def learned(self, figures: Mapping[str, float]) -> None:
        """Hear the figures of a step that was taken, each in turn; those of a resumed run's log come with `prepare`.

        So what an objective keeps from step to step is a function of the log, and needs no state of its own.
        """
        ...
