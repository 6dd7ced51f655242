"""What a step makes better: one file for each, found by the name that a recipe gives it.

base.py      what the training step asks of an objective
answers.py   the likelihood of the answers: pretraining and instruction tuning
"""

from trainer.config import Objective as ObjectiveConfig
from trainer.errors import TrainingError
from trainer.objectives.answers import Answers
from trainer.objectives.base import Objective

__all__ = ["Objective", "make_objective"]


def make_objective(config: ObjectiveConfig) -> Objective:
    if config.kind == "answers":
        return Answers()
    raise TrainingError(f"objective.kind {config.kind!r} is not there yet")
