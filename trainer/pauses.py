"""What a run does between two steps: it looks at held-out records, draws its curve, and saves. None of that counts as training."""

from collections.abc import Callable
from contextlib import suppress

from trainer import checkpoint, machine
from trainer.errors import CheckpointError, RunFolderError
from trainer.evaluate import Look, Looks
from trainer.measure import Clock
from trainer.objectives import Beginning
from trainer.run_folder import RunFolder
from trainer.state import State
from trainer.telling import Telling


class Pauses:
    def __init__(
        self,
        run: Beginning,
        folder: RunFolder,
        state: Callable[[], State],
        *,
        looks: Looks | None,
        telling: Telling,
        clock: Clock,
    ) -> None:
        """Begin nothing yet.

        Args:
            run: Before its next step.
            folder: Of the run.
            state: Gathers what a checkpoint holds; all processes must call it.
            looks: At held-out records; None: nothing is held out.
            telling: Where a look is told, and the log that is brought to disk before a checkpoint.
            clock: Of the run, for what a pause takes.
        """
        self._run, self._folder, self._state = run, folder, state
        self._looks, self._telling, self._clock = looks, telling, clock

    def before(self, step: int, *, is_last: bool) -> None:
        """Do what is still due after the last step of a run that goes on: when it was stopped there was no time to look."""
        loss = self.look(step, is_last=is_last)
        if loss is not None and self._run.accelerator.is_main_process:
            with suppress(RunFolderError):  # a full disk
                checkpoint.note(self._folder.checkpoints, step=step, held_out=loss)

    def after(self, step: int, *, is_last: bool) -> None:
        """Do what is due after a step. The last one is saved, too: what is left to do then may fail."""
        will_save = is_last or step % self._run.config.run.save_every == 0
        loss = self.look(step, will_save=will_save, is_last=is_last)
        if will_save:
            self.save(step, loss)

    def look(self, step: int, *, will_save: bool = False, is_last: bool) -> float | None:
        """Look at held-out records if that is due, and draw the curve; return their loss."""
        looks, found = self._looks, None
        if looks and looks.are_due(step, will_save=will_save, is_last=is_last):
            with self._clock.aside("evaluating"):
                found = looks.look(self._run.model, step)
            self._telling.look(found)
        self._telling.draw(looks.losses if looks else {}, looked=found is not None)
        return found.loss if found else None

    def whole(self, step: int) -> Look | None:
        """Look at all held-out records, at the end of a run."""
        if not self._looks:
            return None
        with self._clock.aside("evaluating"):
            return self._looks.whole(self._run.model, step)

    def save(self, step: int, held_out: float | None = None) -> None:
        """Write a checkpoint. Where that is impossible training goes on, and those before are kept."""
        accelerator, settings = self._run.accelerator, self._run.config.run
        with self._clock.aside("saving"):
            state = self._state()
            with machine.leader_first(accelerator):
                if not accelerator.is_main_process:
                    return
                self._telling.flush()
                try:
                    checkpoint.save(
                        self._folder.checkpoints,
                        state,
                        step=step,
                        keep=settings.keep,
                        held_out=held_out,
                        keep_best=settings.keep_best,
                    )
                except CheckpointError as error:
                    self._run.say(str(error))
