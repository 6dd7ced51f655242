"""Rows per second beside the peers: the same questions, 64 and 256 at once, 50 ms, each in an environment of its own.

At 64 at once nobody can have more than 1,280 rows per second, whatever it costs; at 256 the clients' own speed is what counts.

The environments are made by pip in a folder of the temporary directory, and kept there. The server sees what a client
managed: the span from its first request to its last answer, and whether all rows were asked for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench import (
    HERE,
    MODEL,
    Cost,
    Server,
    bare,
    bare_file,
    captions,
    generate,
    lines,
    parse,
    run,
    running,
    save,
    workplace,
)

from tests.provider_replies import shipped_encodings

PEERS = {
    "bespokelabs-curator": ("curator.py", ["bespokelabs-curator"]),
    "data-designer": ("data_designer.py", ["data-designer"]),
    "distilabel": ("distilabel.py", ["distilabel[openai]", "requests"]),
}
CACHE = Path(tempfile.gettempdir()) / "mimicit-peers"
AT_ONCE = (64, 256)
QUIET = {
    "TELEMETRY_ENABLED": "false",
    "NEMO_TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    # They would fetch the files that LiteLLM ships.
    "TIKTOKEN_CACHE_DIR": str(shipped_encodings()),
}
BAR = 5.0
"""Our rows per second against the best peer's, at least."""


def environment_of(peer: str) -> Path | str:
    """Return a peer's Python, installed if need be; or the error."""
    folder, packages = CACHE / peer, PEERS[peer][1]
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            return made.stderr.strip().splitlines()[-1]
        ready.touch()
    return python


def version_of(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    command = [str(python), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    options = parse(__doc__ or "")
    rows = 400 if options.quick else 2_000
    table: list[dict[str, object]] = []
    with workplace() as folder, running(latency=0.05) as server:
        for at_once in AT_ONCE:
            table += compare(server, folder / str(at_once), at_once, rows)
    save("generation_peers", table)


def compare(server: Server, folder: Path, at_once: int, rows: int) -> list[dict[str, object]]:
    folder.mkdir()
    files = {n: lines(folder / f"{n}.jsonl", range(n)) for n in (at_once, rows)}
    asked = {n: bare_file(captions(folder / f"{n}.json", range(n)), as_json=False) for n in files}
    found = {
        "bare aiohttp loop": loop_cost(server, asked, at_once, folder),
        **{peer: peer_cost(server, peer, asked, at_once, folder) for peer in PEERS},
        f"syphus generate ({MODEL})": our_cost(server, files, at_once, folder),
    }
    table = [row_of(client, at_once, rows, *cost) for client, cost in found.items()]
    best = max(float(str(row["rows_per_s"])) for row in table[1:-1])
    for row in table:
        row["of_the_loop"] = round(
            float(str(row["steady_per_s"])) / float(str(table[0]["steady_per_s"])), 3
        )
    if best:
        ratio = float(str(table[-1]["rows_per_s"])) / best
        table[-1]["note"] = f"{ratio:.1f}x the best peer (bar: {BAR:g}x)"
    return table


Found = tuple[Cost | None, str, str]
"""What it cost, the client's version, and what is to be said about it."""


def loop_cost(server: Server, asked: dict[int, Path], at_once: int, folder: Path) -> Found:
    server.reset()
    outcomes = [bare(server, path, at_once, folder / "bare") for path in asked.values()]
    return Cost.between(*outcomes, max(asked) - at_once), "", ""


def our_cost(server: Server, files: dict[int, Path], at_once: int, folder: Path) -> Found:
    outcomes = []
    for n, path in files.items():
        options = ("--concurrency", at_once, "--reply", "text")
        outcomes.append(generate(server, path, folder / f"ours-{n}", *options))
    return Cost.between(*outcomes, max(files) - at_once), "", ""


def peer_cost(
    server: Server, peer: str, asked: dict[int, Path], at_once: int, folder: Path
) -> Found:
    python = environment_of(peer)
    if isinstance(python, str):
        return None, "", f"not installed: {python}"
    version = version_of(python, peer)
    outcomes = []
    for n, path in asked.items():
        server.reset()
        work = folder / f"{peer}-{n}"
        command = [str(python), str(HERE / "peers" / PEERS[peer][0]), server.url, str(path)]
        home = {"HOME": str(work), "CURATOR_CACHE_DIR": str(work / "cache")}
        settings = server.environment | QUIET | home
        outcome = run([*command, str(at_once), str(work)], work, settings)
        answered = server.stats()["answered_bodies"]
        if outcome.code or answered < n:
            said = (outcome.errors.strip().splitlines() or [""])[-1][:200]
            return None, version, f"{answered} of {n} rows; {said}"
        outcomes.append(outcome)
    return Cost.between(*outcomes, max(asked) - at_once), version, ""


def row_of(
    client: str, at_once: int, rows: int, cost: Cost | None, version: str, note: str
) -> dict[str, object]:
    return {
        "client": client,
        "version": version,
        "at_once": at_once,
        "rows": rows,
        "rows_per_s": round(rows / cost.whole, 1) if cost else 0,
        "steady_per_s": round(1 / cost.steady_wall, 1) if cost else 0,
        "of_the_loop": 0.0,
        "cpu_ms": round(cost.steady_cpu * 1e3, 2) if cost else 0,
        "whole_s": round(cost.whole, 1) if cost else 0,
        "short_s": round(cost.fixed, 1) if cost else 0,
        "peak_mb": round(cost.peak_mb) if cost else 0,
        "note": note,
    }


if __name__ == "__main__":
    main()
