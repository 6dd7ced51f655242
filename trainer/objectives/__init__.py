"""What a step makes better: one file for each, found by the name that a recipe gives it.

base.py                what the training step asks of an objective
answers.py             the likelihood of the answers: pretraining and instruction tuning
preference.py          of two answers that people compared: dpo, mdpo, mpo, kto
preference_losses.py   what is lost on a pair, as functions
compared.py            the answers of a record as rows
reference.py           what the starting model says of them
"""

from trainer.config import TrainConfig
from trainer.objectives.answers import Answers, GroupMeans
from trainer.objectives.base import Beginning, Objective
from trainer.objectives.preference import Dpo, Kto, Mdpo, Mpo

__all__ = ["Beginning", "Objective", "make_objective"]

PREFERENCE = {"dpo": Dpo, "mdpo": Mdpo, "mpo": Mpo, "kto": Kto}
"""By `objective.kind`."""


def make_objective(config: TrainConfig) -> Objective:
    kind = config.objective.kind
    if kind == "answers":
        return GroupMeans() if config.data.loss_mean == "groups" else Answers()
    return PREFERENCE[kind](config)
