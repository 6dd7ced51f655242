"""Several processes that train together on this machine's CPU, over gloo.

One start does many runs, for starting is what takes time: `together` gives each process the same list of runs, and what became of
them is in their folders.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

RUNS = """
import functools, io, json, os, shutil, sys
from pathlib import Path
import trainer
import torch
torch.set_num_threads(1)
from mimicit.errors import MimicitError
from tests.trainer.stopping import StopAfter
from trainer.models.otter import Otter
from trainer.report import Progress
from trainer.train import train

rank = int(os.environ["RANK"])
forward, state = Otter.forward, {}

@functools.wraps(forward)  # `generate` asks what it takes
def spoiling(self, **inputs):
    found = forward(self, **inputs)
    if torch.is_grad_enabled():
        state["forwards"] += 1
        if rank and state["forwards"] in state["spoil"]:
            found.loss.register_hook(lambda grad: grad * torch.nan)
    return found

Otter.forward = spoiling
for run in json.loads(Path(sys.argv[1]).read_text()):
    state |= {"forwards": 0, "spoil": run["spoil"]}
    progress = StopAfter(run["stop"]) if run["stop"] else Progress(io.StringIO())
    try:
        train(recipe=run["recipe"], dataset=Path(run["dataset"]), out=Path(run["out"]), overrides=run["overrides"], progress=progress)
        assert not run["fails"], run
    except KeyboardInterrupt:
        assert run["stop"], run
        if run["copy"] and not rank:
            shutil.copytree(run["out"], run["copy"], symlinks=True)
    except (MimicitError, SystemExit) as error:
        assert run["fails"], run
        Path(run["out"], f"told{rank}.txt").write_text("" if isinstance(error, SystemExit) else str(error))
    if not rank and progress.stream.getvalue():
        Path(run["out"], "said.txt").write_text(progress.stream.getvalue())
# Not the usual way out: gloo's threads were seen to wait there for ever for a peer that had gone.
os._exit(0)
"""


def one(dataset, out, *overrides, recipe="otter_tiny", stop=0, copy=None, spoil=(), fails=False):
    """Describe a run.

    With `stop` it is interrupted during that step, and then copied to `copy`. Forwards in `spoil`, counted from 1, give no finite
    gradient on processes but the first. Of one that `fails` there is in told0.txt, told1.txt, … what each process told.
    """
    return {
        "dataset": str(dataset),
        "out": str(out),
        "overrides": list(overrides),
        "recipe": recipe,
        "stop": stop,
        "copy": str(copy or ""),
        "spoil": list(spoil),
        "fails": fails,
    }


def together(processes, folder, runs, *, environment=None):
    """Do runs one after the other, each with all processes."""
    folder.mkdir(exist_ok=True)
    (folder / "runs.json").write_text(json.dumps(runs))
    arguments = ["-c", RUNS, str(folder / "runs.json")]
    codes, told = start(processes, folder, arguments, environment=environment)
    assert set(codes) == {0}, "\n".join(told)


def start(processes, folder, arguments, *, environment=None, limit=240):
    """Run Python in so many processes that can find each other; return their exit codes, and what each wrote."""
    logs = [folder / f"rank{rank}.txt" for rank in range(processes)]
    running = []
    for rank, log in enumerate(logs):
        # A file, not a pipe: whoever is not read could wait for ever, and the other for it.
        with log.open("w") as sink:
            running.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    env=alone() | meeting(folder, rank, processes) | (environment or {}),
                    stdout=sink,
                    stderr=sink,
                    cwd=folder,
                )
            )
    try:
        return wait(running, limit=limit), [log.read_text() for log in logs]
    finally:
        for process in running:
            process.kill()
            process.wait()


def wait(running, *, limit):
    """Wait for the end of all, or a little after the first failure: the others may wait for it in vain."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and any(process.poll() is None for process in running):
        if any(process.poll() for process in running):
            deadline = min(deadline, time.monotonic() + 15)
        time.sleep(0.05)
    return [process.poll() for process in running]


def meeting(folder, rank, processes):
    """Return the environment of one of several processes, as launchers set it."""
    port = folder / "port"
    if not port.exists():
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port.write_text(str(found.getsockname()[1]))
    numbers = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
    }
    return {name: str(value) for name, value in numbers.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port.read_text(),
    }


def alone():
    """Return an environment in which nobody has started other processes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}


def losses(out):
    return [entry["loss"] for entry in logged(out)]


def logged(out):
    return [json.loads(line) for line in Path(out, "log.jsonl").read_text().splitlines()]
