"""What the scripts of this folder share: annotation files, the clients as child processes, what a client cost.

Every figure is a ratio within one run: `syphus generate` and the bare loop (bare.py) ask the same questions of the same server
(tests/provider_server.py), which is a process of its own. *Steady* is the slope between a short run and a long one, so what is
paid once (start of the process, imports) is out of it, and shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent)]

from common import save  # noqa: E402

from tests.generating import (  # noqa: E402
    MODEL,
    SYPHUS,
    asked_again,
    captions,
    command,
    ledger_rows,
    lines,
    records,
    stale_replies,
    start,
    unread_replies,
    without_answer,
)
from tests.provider_server import Server, running  # noqa: E402

__all__ = [
    "HERE",
    "MODEL",
    "ROOT",
    "SYPHUS",
    "Server",
    "asked_again",
    "captions",
    "command",
    "ledger_rows",
    "lines",
    "records",
    "running",
    "save",
    "stale_replies",
    "start",
    "unread_replies",
    "without_answer",
]


T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    wall: float
    """Seconds, from start to end of the process."""
    cpu: float
    """Seconds, user and system, with all its children."""
    peak_mb: float
    """Of its largest process."""
    code: int
    output: str
    errors: str

    @property
    def report(self) -> dict[str, Any]:
        """Return what `--json` printed."""
        found: dict[str, Any] = json.loads(self.output)
        return found


def parse(description: str, **flags: str) -> argparse.Namespace:
    """Read the command line that all scripts have, and flags of its own by name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round")
    for name, said in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=said)
    return parser.parse_args()


def questions(annotations: Path, *, as_json: bool = True) -> dict[str, Any]:
    """Return what `syphus generate` asks about these annotations, for the other clients to ask."""
    from dataclasses import asdict

    from syphus.annotations import read
    from syphus.annotations.context import Context
    from syphus.render import render_prompt, render_request
    from syphus.task import load_task

    task = load_task("la_conversation")
    prompt = render_prompt(task, as_json=as_json)
    rendered = [
        render_request(task, prompt, context, model=MODEL, seed=0, as_json=as_json)
        for context in read([annotations])
        if isinstance(context, Context)
    ]
    first = rendered[0]
    parameters: dict[str, Any] = {
        name: getattr(first.sampling, name)
        for name in ("temperature", "top_p", "max_tokens", "seed")
    }
    if first.schema:
        schema = {"name": first.form, "schema": json.loads(first.schema), "strict": True}
        parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {
        "model": MODEL.partition("/")[2],
        "parameters": parameters,
        "prefix": [asdict(message) for message in prompt.messages],
        "queries": [request.query for request in rendered],
    }


def finish(child: subprocess.Popen[bytes], folder: Path, started: float) -> Outcome:
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Outcome(
        time.perf_counter() - started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1),
        child.returncode,
        (folder / "stdout").read_text(),
        (folder / "stderr").read_text(),
    )


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> Outcome:
    started = time.perf_counter()
    return finish(start(command, folder, environment), folder, started)


def generate(
    server: Server,
    annotations: Path,
    dataset: Path,
    *options: object,
    allowed: tuple[int, ...] = (0,),
) -> Outcome:
    """Run `syphus generate` to its end; a first option without a dash is the task."""
    wanted = command(annotations, dataset, *options)
    folder = dataset.with_name(dataset.name + ".said")
    outcome = run(wanted, folder, server.environment)
    if outcome.code not in allowed:
        sys.exit(f"{' '.join(wanted)} ended with {outcome.code}:\n{outcome.errors[-3000:]}")
    return outcome


def bare_file(annotations: Path, *, as_json: bool = True) -> Path:
    """Write the questions about an annotation file beside it, once, for clients that are not ours."""
    path = annotations.with_suffix(".asked" if as_json else ".asked_as_text")
    if not path.exists():
        path.write_text(json.dumps(questions(annotations, as_json=as_json)))
    return path


def bare(server: Server, asked: Path, at_once: int, folder: Path) -> Outcome:
    """Run the bare loop over a file that `questions` made."""
    command = [sys.executable, str(HERE / "bare.py"), server.url, str(asked), str(at_once)]
    outcome = run(command, folder, {})
    if outcome.code:
        sys.exit(f"the bare loop ended with {outcome.code}:\n{outcome.errors[-3000:]}")
    return outcome


@dataclass(frozen=True)
class Cost:
    """What one client needs, from a short and a long run."""

    steady_wall: float
    """Seconds per request."""
    steady_cpu: float
    """Seconds per request."""
    whole: float
    """Seconds of the long run, with start and end."""
    fixed: float
    """Seconds of the long run that are not steady."""
    peak_mb: float

    @classmethod
    def between(cls, short: Outcome, long: Outcome, rows: int) -> Cost:
        """Take the slope between two runs that are so many requests apart."""
        wall, cpu = (long.wall - short.wall) / rows, (long.cpu - short.cpu) / rows
        return cls(wall, cpu, long.wall, short.wall, long.peak_mb)

    @classmethod
    def middle(cls, costs: list[Cost]) -> Cost:
        names = ("steady_wall", "steady_cpu", "whole", "fixed", "peak_mb")
        return cls(*(median(getattr(cost, name) for cost in costs) for name in names))


def in_turn(
    clients: Mapping[str, Callable[[], T]],
    rounds: int,
    middle: Callable[[list[T]], T] = Cost.middle,
) -> dict[str, T]:
    """Measure clients alternately, so that a busy minute hits all of them; return the medians."""
    found: dict[str, list[T]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name, measure in clients.items():
            found[name].append(measure())
    return {name: middle(costs) for name, costs in found.items()}


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="generation-") as folder:
        yield Path(folder)
