"""The likelihood of what is taught: a mean over the taught tokens of the step, however they are cut into forwards and devices.

Where groups of a mix have weights of their own it is a weighted mean: the loss of each token times its group's weight, over the sum
of the weights.
"""

from torch import nn

from trainer.families import Encoder
from trainer.objectives.base import Loss
from trainer.rows import Rows


class Answers:
    def encoder(self, encoder: Encoder) -> Encoder:
        return encoder

    def amount(self, rows: Rows) -> float:
        return rows.weight * rows.taught

    def loss(self, model: nn.Module, rows: Rows, *, whole: float) -> Loss:
        # `num_items_in_batch` divides the sum over the taught tokens.
        total = model(**rows.inputs(), num_items_in_batch=whole / (rows.weight or 1.0)).loss
        return Loss(total if rows.weight else total * 0.0, {})
