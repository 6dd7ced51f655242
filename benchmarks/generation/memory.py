"""Peak memory of `syphus generate` as the rows grow: 10 thousand, 100 thousand, and with --million a million.

Its own process is what is measured; the one that keeps the catalog in step, now and then, is shown beside it.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from bench import (
    Outcome,
    Server,
    bare,
    bare_file,
    captions,
    command,
    finish,
    parse,
    running,
    save,
    start,
    workplace,
)

BAR = "<= 250 MB at 1 M, <= 0.1 kB/row"


def main() -> None:
    options = parse(__doc__ or "", million="one million rows, too (an hour)")
    counts = [2_000, 20_000] if options.quick else [10_000, 100_000]
    if options.million:
        counts.append(1_000_000)
    table: list[dict[str, object]] = []
    with workplace() as folder, running(per_body=False) as server:
        for client in ("syphus generate", "bare aiohttp loop, keeps its answers"):
            before: tuple[int, float] | None = None
            for count in counts:
                if client != "syphus generate" and count > 100_000:
                    continue
                server.reset()
                annotations = captions(folder / f"{count}.json", range(count))
                if client == "syphus generate":
                    out, peak = watched(server, annotations, folder / f"{count}")
                else:
                    out = bare(server, bare_file(annotations), 64, folder / "bare")
                    peak = out.peak_mb
                growth = None
                if before:
                    growth = (peak - before[1]) * 1024 / (count - before[0])
                before = (count, peak)
                table.append(
                    {
                        "client": client,
                        "rows": count,
                        "peak_mb": round(peak),
                        "with_catalog_mb": round(out.peak_mb),
                        "kb_per_row": "" if growth is None else round(growth, 3),
                        "bar": BAR if client == "syphus generate" else "",
                        "wall_s": round(out.wall, 1),
                        "cpu_s": round(out.cpu, 1),
                        "rows_per_s": round(count / out.wall),
                        "answered": server.stats()["answered"],
                    }
                )
    save("generation_memory", table)


def watched(server: Server, annotations: Path, dataset: Path) -> tuple[Outcome, float]:
    """Run `syphus generate` to its end; return the peak of its own process, too."""
    folder = dataset.with_name(dataset.name + ".said")
    started = time.perf_counter()
    child = start(command(annotations, dataset, "--concurrency", 64), folder, server.environment)
    status = Path("/proc") / str(child.pid) / "status"
    peaks = [0.0]

    def watch() -> None:
        with suppress(OSError):
            while peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text()):
                peaks.append(int(peak[1]) / 1024)
                time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    out = finish(child, folder, started)
    watching.join()
    if out.code:
        sys.exit(f"it ended with {out.code}:\n{out.errors[-3000:]}")
    return out, max(peaks)


if __name__ == "__main__":
    main()
