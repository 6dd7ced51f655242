"""Processes that prepare data: they are deaf to Ctrl-C, and missed when they die or hang.

PyTorch notices a dead one in the middle of whatever the run does, and says so as a RuntimeError. A run stops with a sentence then, and
goes on from its last checkpoint: what was half done is not saved.
"""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.config import Data
from trainer.errors import WorkerError

_KILLED = re.compile(r"DataLoader worker \(pid (?P<pid>\d+)\) is killed by signal: (?P<how>[^.]*)")
_ENDED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>[\d, ]+)\) exited unexpectedly(?: with exit code (?P<how>-?\d+))?"
)
_HUNG = re.compile(r"DataLoader timed out after (?P<how>[\d.]+) seconds")
LESS_MEMORY = (
    "set data.workers or data.picture_cache_mb lower, for each of them keeps pictures of its own"
)


def leave_to_parent(_worker: int) -> None:
    """Make a worker process deaf to Ctrl-C, which a terminal sends to all: the step in progress still needs its data."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def missed(data: Data) -> Iterator[None]:
    """Say in a sentence that a worker process died or hung in this context.

    Raises:
        WorkerError: one did.
    """
    try:
        yield
    except RuntimeError as error:
        # The signal, if there was one, stands in what the error came from.
        if sentence := _sentence(f"{error.__cause__} {error}", data):
            raise WorkerError(sentence) from error
        raise


def as_sentences(batches: Iterator[Any], data: Data) -> Iterator[Any]:
    """Yield batches; see `missed`."""
    with missed(data):
        yield from batches


def _sentence(said: str, data: Data) -> str | None:
    here = f"one of the {data.workers} processes that prepare data"
    after = "; the same command goes on from the last checkpoint"
    if hung := _HUNG.search(said):
        return (
            f"{here} has hung: nothing came for {float(hung['how']):g} seconds (data.worker_timeout), so a disk or a network may be "
            f"stuck; raise the limit if they are only slow{after}"
        )
    died = _KILLED.search(said) or _ENDED.search(said)
    if not died:
        return None
    how = died["how"] or ""
    if how.startswith("Bus error"):
        why = "by a bus error: shared memory (/dev/shm) is full; give it more room, in Docker with --shm-size, or set data.workers lower"
    elif how.startswith("Segmentation fault"):
        why = "by a segmentation fault, perhaps on a damaged picture; `syphus data validate` looks for them"
    elif how.startswith("Killed") or how == "-9":
        why = f"by SIGKILL, most likely because memory ran out; {LESS_MEMORY}"
    else:
        why = f"({how.strip() or 'nobody says how'}); if memory ran out, {LESS_MEMORY}"
    return f"{here} (process {died['pid']}) was ended {why}{after}"
