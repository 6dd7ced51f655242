"""What can be wrong with a training run, as sentences.

MimicitError
├── RecipeError             a recipe with an unknown or impossible setting (shared with curation)
└── TrainingError           a run that cannot start or go on
    ├── RunFolderError      the output folder holds something else, or not what was asked for
    ├── CheckpointError     a checkpoint that cannot be read
    ├── MarksError          a record whose marks and pictures do not match
    ├── TooLongError        a record that shows a picture where nothing is taught any more
    ├── NonFiniteLossError  the loss is NaN or infinite; names the records of the step
    ├── NonFiniteGradError  the gradients are, too many steps in a row; names the records of the last
    └── WorkerError         a process that prepares data died, or hangs
"""

from collections.abc import Sequence

from mimicit.errors import MimicitError


class TrainingError(MimicitError):
    pass


class RunFolderError(TrainingError):
    pass


class CheckpointError(TrainingError):
    pass


class MarksError(TrainingError):
    reason = "marks and pictures"
    """For counts of records that are left out (`trainer.skipping`)."""


class TooLongError(TrainingError):
    reason = "length"


class NonFiniteGradError(TrainingError):
    pass


class WorkerError(TrainingError):
    pass


class NonFiniteLossError(TrainingError):
    """Name the records that were being learned."""

    def __init__(self, loss: float, step: int, record_ids: Sequence[str]) -> None:
        super().__init__(
            f"the loss of step {step} is {loss}, so training stopped before it could spoil the weights; "
            f"look at these records, or lower optim.lr: {', '.join(record_ids)}"
        )
        self.record_ids = tuple(record_ids)
