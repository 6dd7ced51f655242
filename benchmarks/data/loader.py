"""Start, memory and random access of a dataset folder, beside the way of the published loader (reference.py), in turns.

Each client is a process of its own that says what each step cost it once its imports are done: processor time, and the memory that
is its own (what it shares with the page cache is not in it).

    python benchmarks/data/loader.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

BATCH = 64
"""Pictures of one call, where it says so; else each is asked for alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, path, count = options.client
        print(json.dumps(CLIENTS[name](Path(path), int(count))))
        return
    many, texts, rounds = (2_000, 20_000, 1) if options.quick else (20_000, 1_000_000, 5)
    with tempfile.TemporaryDirectory(prefix="loader-") as folder:
        save(
            "data_loader", pictures(Path(folder), many, rounds) + text(Path(folder), texts, rounds)
        )


def pictures(folder: Path, count: int, rounds: int) -> list[dict[str, object]]:
    from reference import write_pictures

    write_pictures(count, folder / "pictures.parquet", folder / "pictures")
    first = child("ours_pictures", folder / "pictures", count)
    theirs, ours = turns(
        rounds,
        lambda: child("reference_pictures", folder / "pictures.parquet", count),
        lambda: child("ours_pictures", folder / "pictures", count),
    )
    most = 50 + 20 * count / 1e6
    return [
        row(f"start, {count:,} pictures", theirs["start"], ours["start"], ">= 100x"),
        row("the very first: index made", theirs["start"], first["start"], ""),
        row("own memory, MB", theirs["mb"], ours["mb"], f"<= {most:.1f} MB"),
        row("own memory after reading, MB", theirs["mb_after"], ours["mb_after"], f"<= {most:.1f} MB"),
        row("a picture by id", theirs["by_id"], ours["by_id"], ">= 10x"),
        row(f"a picture by id, {BATCH} at once", theirs["by_id"], ours["batched"], ""),
        row("a picture by row", theirs["by_id"], ours["by_row"], ">= 25x"),
    ]  # fmt: skip


def text(folder: Path, count: int, rounds: int) -> list[dict[str, object]]:
    from reference import write_text

    from mimicit.snapshot import freeze
    from mimicit.store import Store

    write_text(count, folder / "text.json", folder / "text")
    freeze(Store.open(folder / "text"))
    theirs, ours = turns(
        rounds,
        lambda: child("reference_text", folder / "text.json", count),
        lambda: child("ours_text", folder / "text", count),
    )
    return [
        row(f"start, {count:,} records", theirs["wall"], ours["wall"], "<= 0.2 s"),
        row("own memory, MB", theirs["mb"], ours["mb"], "<= 20 MB"),
        row("a record by row", theirs["by_row"], ours["by_row"], ""),
    ]


def turns(rounds: int, *clients: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    """Run clients in turns; return the median of each of their figures."""
    found = [[client() for client in clients] for _ in range(rounds)]
    return [
        {name: median(one[name] for one in runs) for name in runs[0]}
        for runs in zip(*found, strict=True)
    ]


def row(what: str, theirs: float, ours: float, bar: str) -> dict[str, object]:
    return {
        "what": what,
        "reference": f"{theirs:.4g}",
        "ours": f"{ours:.4g}",
        "ratio": f"{theirs / ours:.3g}x" if ours > 0 else "",
        "bar": bar,
    }


def child(name: str, path: Path, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--client", name, str(path), str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


# In the child


def own_mb() -> float:
    """Return the memory that no other process and no file has."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(sizes) / 1024


def spent(call: Callable[[], Any]) -> tuple[float, float]:
    """Return processor and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def sample(count: int, number: int) -> list[int]:
    rng = random.Random(1)
    return [rng.randrange(count) for _ in range(number)]


def ours_pictures(folder: Path, count: int) -> dict[str, float]:
    import pyarrow.parquet  # noqa: F401 - both have it

    from mimicit.pictures import Pictures

    before = own_mb()
    opened = Pictures(folder)
    start, _ = spent(lambda: opened.get(["LA_IMG_000000000000"]))
    mb = own_mb() - before
    rows = sample(count, 20_000)
    names = [f"LA_IMG_{n:012d}" for n in rows]
    batches = [names[n : n + BATCH] for n in range(0, len(names), BATCH)]
    for n in rows:
        opened.by_row([n])  # into the page cache: the other's are in memory, too
    by_id, _ = spent(lambda: [opened.get([name]) and None for name in names])
    by_row, _ = spent(lambda: [opened.by_row([n]) and None for n in rows])
    batched, _ = spent(lambda: [opened.get(batch) and None for batch in batches])
    return {
        "start": start,
        "mb": mb,
        "mb_after": own_mb() - before,
        "by_id": by_id / len(rows),
        "by_row": by_row / len(rows),
        "batched": batched / len(rows),
    }


def reference_pictures(parquet: Path, count: int) -> dict[str, float]:
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from reference import load_pictures, picture

    before = own_mb()
    held = []
    start, _ = spent(lambda: held.append(load_pictures([parquet])))
    [frame] = held
    mb = own_mb() - before
    picture(frame, "LA_IMG_000000000000")  # pandas makes its index
    names = [f"LA_IMG_{n:012d}" for n in sample(count, 4_000)]
    by_id, _ = spent(lambda: [picture(frame, name) and None for name in names])
    return {"start": start, "mb": mb, "mb_after": own_mb() - before, "by_id": by_id / len(names)}


def ours_text(folder: Path, count: int) -> dict[str, float]:
    import pyarrow  # noqa: F401

    from mimicit.snapshot import Snapshot

    [digest] = [path.name for path in (folder / "snapshots").glob("[!.]*")]
    before = own_mb()
    held = []

    def start() -> None:
        held.append(Snapshot(folder, digest))
        assert len(held[0]) == count
        assert held[0][0].instruction

    _, wall = spent(start)
    mb = own_mb() - before
    numbers = sample(count, 6_000)
    by_row, _ = spent(lambda: [held[0][n].answer and None for n in numbers])
    return {"wall": wall, "mb": mb, "by_row": by_row / len(numbers)}


def reference_text(path: Path, count: int) -> dict[str, float]:
    from reference import load_text

    before = own_mb()
    held: list[dict[str, Any]] = []
    _, wall = spent(lambda: held.append(load_text([path])))
    mb = own_mb() - before
    ids = list(held[0])
    numbers = sample(count, 6_000)
    by_row, _ = spent(lambda: [held[0][ids[n]]["answer"] and None for n in numbers])
    return {"wall": wall, "mb": mb, "by_row": by_row / len(numbers)}


CLIENTS = {
    "ours_pictures": ours_pictures,
    "reference_pictures": reference_pictures,
    "ours_text": ours_text,
    "reference_text": reference_text,
}

if __name__ == "__main__":
    main()
