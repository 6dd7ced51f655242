"""What the training step asks of an objective."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from trainer.families import Encoder
from trainer.rows import Rows


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one forward: what is summed over the forwards and processes of a step."""

    total: Tensor
    """To go back from: its sum over the step is the step's loss."""
    figures: dict[str, Tensor]
    """Beside the loss, for the log; summed, too, so each already divided by what the whole step has of it."""


class Objective(Protocol):
    def encoder(self, encoder: Encoder) -> Encoder:
        """Return the encoder of a record's examples: an answer's is the family's own; a pair is two of them."""
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
