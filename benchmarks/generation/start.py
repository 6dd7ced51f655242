"""What it costs until the first request arrives: processor time, memory, and what is imported; and `--help`.

Modules are compiled before it is measured, as they are where a package is installed, whatever the environment says of bytecode.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from statistics import median

from bench import (
    HERE,
    SYPHUS,
    Server,
    bare_file,
    captions,
    command,
    parse,
    run,
    running,
    save,
    start,
    workplace,
)

HEAVY = ("litellm", "openai", "anthropic", "httpx", "torch", "pyarrow", "duckdb", "numpy")
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    options = parse(__doc__ or "")
    rounds = 1 if options.quick else 5
    with workplace() as folder, running(latency=60.0) as server:
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
        annotations = captions(folder / "a.json", range(100))
        loop = [sys.executable, str(HERE / "bare.py"), server.url, str(bare_file(annotations)), "1"]
        ours = command(annotations, folder / "ds", "--concurrency", 1)
        for client in (loop, ours):
            until_asked(server, client, folder)  # compiles
        run([*SYPHUS, "--help"], folder / "help", {})
        table = [
            row("bare aiohttp loop", [until_asked(server, loop, folder) for _ in range(rounds)]),
            row("syphus generate", [until_asked(server, ours, folder) for _ in range(rounds)]),
        ]
        table[1] |= {"imported": imported(server, ours, folder), "bar": "<= 0.8 s, <= 80 MB"}
        helped = [run([*SYPHUS, "--help"], folder / "help", {}) for _ in range(rounds)]
        table.append(
            row("syphus --help", [(one.wall, one.cpu, one.peak_mb) for one in helped])
            | {"bar": "<= 0.3 s"}
        )
    save("generation_start", table)


def until_asked(server: Server, wanted: list[str], folder: Path) -> tuple[float, float, float]:
    """Return wall and processor seconds and megabytes of a client when its first request is there."""
    server.reset()
    started = time.time()
    child = start(wanted, folder / "said", server.environment)
    while not (first := server.stats()["first"]):
        if child.poll() is not None:
            sys.exit(f"ended before it asked:\n{(folder / 'said' / 'stderr').read_text()}")
        time.sleep(0.01)
    process = Path("/proc") / str(child.pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    peak = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    child.kill()
    child.wait()
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return first - started, cpu, int(peak[1]) / 1024 if peak else 0.0


def imported(server: Server, wanted: list[str], folder: Path) -> str:
    """Name the heavy packages that are loaded when the first request is there."""
    server.reset()
    said = folder / "imports"
    child = start(wanted, said, server.environment | {"PYTHONPROFILEIMPORTTIME": "1"})
    while not server.stats()["first"] and child.poll() is None:
        time.sleep(0.05)
    child.kill()
    child.wait()
    found = set(re.findall(r"\| +(\w+)$", (said / "stderr").read_text(), re.MULTILINE))
    return " ".join(sorted(found & set(HEAVY))) or "none of: " + " ".join(HEAVY)


def row(client: str, found: list[tuple[float, float, float]]) -> dict[str, object]:
    wall, cpu, peak = (median(values) for values in zip(*found, strict=True))
    return {
        "client": client,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "peak_mb": round(peak, 1),
        "bar": "",
        "imported": "",
    }


if __name__ == "__main__":
    main()
