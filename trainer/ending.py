"""When a run ends: it has learned enough or its time is over; or it cannot go on, for nothing is taught, or its gradients are spoilt.

All of it is a function of the log, so a resumed run ends where it would have ended.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import takewhile

from trainer.config import TrainConfig
from trainer.errors import NonFiniteGradError, TrainingError
from trainer.plan import Plan
from trainer.report import StepLog
from trainer.sources.mix import Mix

HALVINGS = 24
"""In fp16 a gradient that overflows only halves the scale of the loss. So many in a row take the largest usual one, 2^24, down to 1."""


class Enough:
    """Whether the loss over the last epoch, or the time, has reached what the recipe says."""

    def __init__(self, log: Sequence[StepLog], config: TrainConfig, plan: Plan) -> None:
        """Look at a log that grows."""
        self._log = log
        self._run, self._epoch = config.run, plan.steps_per_epoch
        self._seen = 0
        self._seconds = 0.0
        # Exact: each step adds a loss and takes one away, and what rounding leaves of a large one would stay for ever.
        self._losses = Fraction()

    def __call__(self) -> bool:
        """Tell it of the log as it is; in no more time after a million steps than after ten."""
        log, run, epoch = self._log, self._run, self._epoch
        for nth in range(self._seen, len(log)):
            self._seconds += log[nth].seconds
            if run.stop_below is not None:
                self._losses += Fraction(log[nth].loss)
                if nth >= epoch:
                    self._losses -= Fraction(log[nth - epoch].loss)
        self._seen = len(log)
        if run.max_seconds is not None and self._seconds >= run.max_seconds:
            return True
        if run.stop_below is None or len(log) < epoch:
            return False
        return self._losses < run.stop_below * epoch


def need_answers(log: Sequence[StepLog], config: TrainConfig, plan: Plan) -> None:
    """Refuse to go on where a whole pass through the data taught nothing.

    Raises:
        TrainingError: all answers were cut away.
    """
    if len(log) == min(plan.steps_per_epoch, config.run.steps) and not any(e.taught for e in log):
        raise TrainingError(
            f"no answer of {plan.records:,} records begins within data.max_tokens = {config.data.max_tokens}, "
            "so nothing is taught; raise it"
        )


def bad_gradients(
    log: Sequence[StepLog], config: TrainConfig, plan: Plan, mix: Mix, *, precision: str
) -> str | None:
    """Say that the last step's gradient was not finite, so that no weight moved, and name its records.

    Raises:
        NonFiniteGradError: that were too many steps in a row.
    """
    bad = sum(1 for _ in takewhile(lambda entry: not math.isfinite(entry.grad_norm), reversed(log)))
    if not bad:
        return None
    step, most = log[-1].step, config.optim.max_bad_steps
    if precision == "fp16":
        if bad <= HALVINGS:
            return f"the gradient of step {step} is too large for fp16, so the scale of the loss was halved and no weight moved"
        bad -= HALVINGS
    ids = ", ".join(mix[number][0].id for number in plan.step(step - 1))
    if bad > most:
        raise NonFiniteGradError(
            f"the gradient of step {step} is not finite, as of the {most:,} steps before (optim.max_bad_steps), so training stopped; no "
            f"weight has moved since. Lower optim.lr, leave fp16 for bf16, or look at these records: {ids}"
        )
    return f"the gradient of step {step} is not finite, so no weight moved; its records: {ids}"
