"""The likelihood of what is taught: a mean over the taught tokens of the step, however they are cut into forwards and devices.

Where groups of a mix have weights of their own it is a weighted mean: the loss of each token times its group's weight, over the sum
of the weights. Or each group has its own mean, and the loss is their weighted sum, as OpenFlamingo was pretrained: then a group whose
records are short counts as much as one whose records are long.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from trainer.families import Encoder
from trainer.machine import of_all
from trainer.objectives.base import Beginning, Loss
from trainer.rows import Rows
from trainer.sources.mix import Mix

GROUP_MEAN = "loss/"
"""How the figure of a group's own mean begins; its name follows."""


class Answers:
    def mix(self, mix: Mix) -> Mix:
        return mix

    def encoder(self, encoder: Encoder) -> Encoder:
        return encoder

    def prepare(self, run: Beginning) -> None:
        pass

    def begin(self, accelerator: Any, model: nn.Module, group: Sequence[Rows]) -> None:
        pass

    def amount(self, rows: Rows) -> float:
        return rows.weight * rows.taught

    def loss(self, model: nn.Module, rows: Rows, *, whole: float) -> Loss:
        # `num_items_in_batch` divides the sum over the taught tokens.
        total = model(**rows.inputs(), num_items_in_batch=whole / (rows.weight or 1.0)).loss
        return Loss(total if rows.weight else total * 0.0, {})

    def learned(self, figures: Mapping[str, float]) -> None:
        pass


class GroupMeans(Answers):
    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.taught: dict[str, float] = {}
        """Tokens of the step, over all its rows on all devices, of each group that has any."""

    def mix(self, mix: Mix) -> Mix:
        self.names = tuple(part.name for part in mix.parts)
        return mix

    def begin(self, accelerator: Any, model: nn.Module, group: Sequence[Rows]) -> None:
        mine = {name: sum(r.taught for r in group if r.group == name) for name in self.names}
        each = of_all(accelerator, mine)
        self.taught = {name: taught for name, of_one in each.items() if (taught := sum(of_one))}

    def loss(self, model: nn.Module, rows: Rows, *, whole: float) -> Loss:
        # Held-out records are of no group of the run: theirs is a mean over all of them.
        found = super().loss(model, rows, whole=self.taught.get(rows.group, whole))
        if rows.group not in self.names:
            return found
        # All names, so that every process has the same to add up.
        means = {f"{GROUP_MEAN}{name}": found.total.detach() * 0.0 for name in self.taught}
        if rows.group in self.taught and rows.weight:
            means[f"{GROUP_MEAN}{rows.group}"] = found.total.detach() / rows.weight
        return Loss(found.total, means)
