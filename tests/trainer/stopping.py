"""A run that is stopped in the middle."""

import io
import os
import signal

from trainer.report import Progress


class StopAfter(Progress):
    """Press Ctrl-C during a step."""

    def __init__(self, step):
        super().__init__(io.StringIO())
        self.last = step

    def step(self, entry, *, steps):
        super().step(entry, steps=steps)
        if entry.step == self.last:
            os.kill(os.getpid(), signal.SIGINT)
