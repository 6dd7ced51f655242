"""Where the steps of a run are told: log.jsonl, the dataset's table of steps, trackers, the screen, and loss.png.

Only the leading process tells. None of these can stop a run: what cannot be written is said once, and left out or made up for later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self

from trainer import report
from trainer.curve import Curve
from trainer.evaluate import Look
from trainer.log_file import LogFile
from trainer.measure import Clock
from trainer.objectives import Beginning
from trainer.report import Progress, StepLog
from trainer.run_folder import RunFolder, left_out
from trainer.sources.mix import Mix
from trainer.steps import Steps
from trainer.trackers import Trackers
from trainer.trainable import PartRow, as_lines


class Telling:
    """Within this context trackers are open."""

    def __init__(
        self, run: Beginning, folder: RunFolder, steps: Steps, progress: Progress, clock: Clock
    ) -> None:
        """Go on after the steps that were taken; what was told of later ones is taken back where that is possible.

        Args:
            run: Before its next step.
            folder: Of the run.
            steps: The dataset's table.
            progress: The screen.
            clock: Of the run, for what drawing takes.
        """
        self._run = run
        self._log = run.log
        self._leads = run.accelerator.is_main_process
        self._told = report.last_step(folder.log)
        self._steps, self._progress, self._clock = steps, progress, clock
        self._curve = Curve(folder.curve)
        self._trackers: Trackers | None = None
        if self._leads:
            self._file = LogFile(folder.log, run.log, say=run.say)
            steps.begin(run.log)
        progress.each = run.config.report.every

    def begin(self, mix: Mix, parts: Sequence[PartRow], *, why_no_mfu: str | None = None) -> None:
        """Say what is learned from, and by what: the rows of `trainable.table`; and why there is no MFU on a device that could have one."""
        start, say = self._run.start, self._run.say
        say(
            f"{'continuing' if start else 'starting'} at step {start + 1} · {len(mix):,} records · "
            f"{parts[-1].parameters / 1e6:.1f} M parameters"
        )
        for line in (*mix.notes, *as_lines(parts)):
            say(line)
        if why_no_mfu and self._run.accelerator.device.type != "cpu":
            say(f"without MFU: {why_no_mfu}")
        if lost := start - len(self._log):
            say(
                f"log.jsonl has lost {lost:,} of the {start:,} steps before; figures of the whole run leave them out"
            )

    def step(self, entry: StepLog, *, skipped: Sequence[str]) -> None:
        """Tell a step, which the run's log has already, and the ids of the records that it left out."""
        if self._leads:
            self._file.add(entry)
            self._steps.add(entry, skipped=skipped)
        if self._trackers:
            self._trackers.step(entry)
        self._progress.step(entry, steps=self._run.config.run.steps)

    def look(self, found: Look) -> None:
        """Tell what held-out records showed."""
        if self._trackers:
            self._trackers.held_out(found.step, found.loss, found.figures)

    def draw(self, held_out: Mapping[int, float], *, looked: bool) -> None:
        """Draw the curve, if it is time."""
        if self._leads and self._log and self._curve.is_due(looked=looked):
            with self._clock.aside("drawing"), left_out(self._curve.path, say=self._run.say):
                self._curve.draw(self._log, held_out)

    def flush(self) -> None:
        """Bring the log to disk."""
        if self._leads:
            self._file.flush()

    def finish(self) -> None:
        """Tell that the run has reached its end, before this is left."""
        if self._trackers:
            self._trackers.finish()

    def __enter__(self) -> Self:
        run = self._run
        if self._leads:
            self._trackers = Trackers(
                run.config.report,
                run.folder,
                asdict(run.config),
                start=run.start,
                told=self._told,
                say=run.say,
            ).__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._trackers:
            self._trackers.__exit__(kind, error, traceback)
