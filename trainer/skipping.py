"""Records that a run leaves out because they cannot be taught: counted, listed, and no more of them than the recipe allows.

    <run>/skipped.jsonl    {"step": 12, "id": "…", "reason": "picture", "why": "a picture of record '…' cannot be read: …"}

Nothing takes the place of such a record: a step's loss is the mean over the others. Which ones there are is a function of the
data alone, so a resumed run meets the same. A record that comes again in a later epoch is the same record, and counted once.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from trainer import report
from trainer.data import Laid, Skipped
from trainer.errors import TrainingError

FILE = "skipped.jsonl"


class Skips:
    def __init__(self, run: Path, accelerator: Accelerator, *, allowed: int, start: int) -> None:
        """Go on after step `start`; what was listed of later steps is taken again.

        Args:
            run: The run's folder.
            accelerator: Whose processes must stop together.
            allowed: Records that may be left out; 0: none is, and `Told` says why at once.
            start: Steps done.
        """
        self.path = run / FILE
        self.allowed = allowed
        self._accelerator = accelerator
        self._met: list[Skipped] = []
        self._reasons: dict[str, str] = {}
        if allowed and accelerator.is_main_process:
            rows = report.keep_up_to(self.path, start)
            self._reasons = {str(row["id"]): str(row["reason"]) for row in rows}
        if allowed and accelerator.num_processes > 1:
            [self._reasons] = broadcast_object_list([self._reasons])

    def watch(self, batches: Iterator[Laid]) -> Iterator[Laid]:
        """Hand batches on, and note what is missing in each as it is asked for."""
        for laid in batches:
            self._met += laid.skipped
            yield laid

    def settle(self, step: int) -> list[str]:
        """List what a step (counted from 1) left out, on all processes at once, and return the ids of those that none left out before.

        Raises:
            TrainingError: the run has left out more than the recipe allows; counts each reason.
        """
        if not self.allowed:
            return []
        met, self._met = self._met, []
        count = torch.tensor(len(met), device=self._accelerator.device)
        if not int(self._accelerator.reduce(count)):
            return []
        if self._accelerator.num_processes > 1:
            met = gather_object(met)
        fresh = {one.id: one for one in met if one.id not in self._reasons}
        self._reasons |= {one.id: one.reason for one in fresh.values()}
        if self._accelerator.is_main_process and fresh:
            with self.path.open("a", encoding="utf-8") as file:
                lines = (json.dumps({"step": step} | asdict(one)) for one in fresh.values())
                file.writelines(f"{line}\n" for line in lines)
        if len(self._reasons) > self.allowed:
            counts = Counter(self._reasons.values())
            said = ", ".join(f"{reason}: {number:,}" for reason, number in counts.most_common())
            raise TrainingError(
                f"{len(self._reasons):,} records cannot be taught ({said}), and data.skip_bad allows {self.allowed:,}; "
                f"{str(self.path)!r} lists them; mend them, leave them out with data.where, or allow more"
            )
        return list(fresh)
