"""One command, all devices: `syphus train` starts itself once more for each of them, and looks after these processes.

    syphus train … ─► how_many ─► spread: rank 0, rank 1, …   one process a GPU; they find each other at a port of this machine
                                    └─ one of them fails: the others end, too     a signal: handed on to all of them

What torchrun or `accelerate launch` has started is left as it is. torch is imported only where there may be a GPU.
"""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from trainer.errors import TrainingError

GRACE = 10.0
"""Seconds that processes have to end by themselves once one of them has failed: they agree on most errors."""
PARENT = "SYPHUS_PARENT"
"""Holds the number of the process that started this one."""
COMMAND = ("-m", "syphus.cli")
"""Of Python, in each process."""
NVIDIA = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of these is there where there may be a GPU: NVIDIA's, that of WSL, AMD's."""


def is_launched() -> bool:
    """Tell whether another program has started this process as one of several."""
    return "WORLD_SIZE" in os.environ


def leads() -> bool:
    """Tell whether this process is the one that tells of the run."""
    return os.environ.get("RANK", "0") == "0"


def how_many(devices: int | None) -> int:
    """Return how many processes `syphus train` is to start: one for each device, or none where it goes on by itself.

    Args:
        devices: As asked for; None: all GPUs that are visible. Without GPUs, processes that share the CPU.

    Raises:
        TrainingError: there are not so many.
    """
    if is_launched():
        world = int(os.environ["WORLD_SIZE"])
        if devices not in (None, world):
            raise TrainingError(
                f"--devices is {devices}, but this is one of {world} processes that another program started; leave it out"
            )
        return 0
    there = _gpus()
    if devices is not None and 0 < there < devices:
        raise TrainingError(f"--devices is {devices}, but only {there} GPUs are visible")
    wanted = (there or 1) if devices is None else devices
    return wanted if wanted > 1 else 0


def spread(processes: int, arguments: Sequence[str]) -> int:
    """Run `syphus` with these arguments in so many processes; return the exit code: 0, or that of the first that failed."""
    here = os.environ | _meeting() | {"WORLD_SIZE": str(processes), PARENT: str(os.getpid())}
    here["LOCAL_WORLD_SIZE"] = str(processes)
    here.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    if not _gpus():
        here["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, *COMMAND, *arguments]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            environment = here | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # In a session of its own, so that a terminal's Ctrl-C reaches it once, from here.
            started.append(subprocess.Popen(command, env=environment, start_new_session=True))
        with _handing_on(started):
            return _watch(started)
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def quietly() -> Iterator[None]:
    """Let the leading process alone say that the run was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


def end(error: BaseException | None) -> None:
    """End a process that has met others at once, with the exit code that Python would give it, and an error told as Python would.

    On the usual way out gloo's threads were seen to abort the process, or to wait for ever. Does nothing in one that was alone.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_initialized():
        return
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        code = error.code or 0
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_with_parent() -> None:
    """End this process as SIGTERM does, after the step in progress, should the one that started it be gone. On Linux."""
    if PARENT not in os.environ or sys.platform != "linux":
        return
    to_parents_death = 1
    ctypes.CDLL(None).prctl(to_parents_death, signal.SIGTERM)
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit(1)


def _watch(started: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for the end of all, or for a while after the first failure."""
    failed, deadline = 0, float("inf")
    while time.monotonic() < deadline:
        codes = [process.poll() for process in started]
        if not failed and (bad := next((code for code in codes if code), 0)):
            failed, deadline = bad, time.monotonic() + GRACE
            if bad < 0:
                rank = codes.index(bad)
                sys.stderr.write(
                    f"syphus: process {rank} of {len(started)} was ended by {signal.Signals(-bad).name}, so the others end, too; "
                    "the same command goes on from the last checkpoint\n"
                )
                deadline = 0.0
        if None not in codes:
            break
        time.sleep(0.05)
    return failed if failed >= 0 else 128 - failed


@contextmanager
def _handing_on(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Hand Ctrl-C and SIGTERM on; each process ends after the step in progress."""

    def hand_on(number: int, _frame: FrameType | None) -> None:
        for process in started:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gpus() -> int:
    if not any(Path(path).exists() for path in NVIDIA):
        return 0
    import torch

    return torch.cuda.device_count()


def _meeting() -> dict[str, str]:
    """Return where the processes find each other: a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1])}
