"""What the benchmarks share: child processes measured from outside, and results on disk."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system."""
    peak_mb: float


def measure(command: list[str], **environment: str) -> Run:
    """Run a command to its end and account for it; its output is thrown away."""
    started = time.perf_counter()
    with Path(os.devnull).open("w") as sink:
        child = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.PIPE, env=os.environ | environment
        )
        assert child.stderr is not None
        errors = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    if status:
        sys.exit(f"{command} failed:\n{errors.decode()}")
    scale = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss: bytes there, KiB here
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale / 2**20)


def middle(runs: list[Run]) -> Run:
    return Run(*(median(getattr(run, name) for run in runs) for name in ("wall", "cpu", "peak_mb")))


def save(name: str, rows: list[dict[str, object]]) -> None:
    """Print the rows as a table and write them with the machine they were measured on."""
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }
    (HERE / "results").mkdir(exist_ok=True)
    path = HERE / "results" / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    widths = [
        max(len(str(row[key])) for row in [{k: k for k in rows[0]}, *rows]) for key in rows[0]
    ]
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        print(
            "  ".join(str(v).ljust(w) for v, w in zip(row.values(), widths, strict=True)).rstrip()
        )
    print(f"-> {path.relative_to(HERE.parent)}\n")
