"""How fast the full pipeline (read, render, ledger, send, parse, write) is beside a bare loop that only sends.

Annotations are JSONL, which is read as a stream; a COCO file is grouped by picture before the first request, at some 0.1 ms a picture.
"""

from __future__ import annotations

from pathlib import Path

from bench import (
    Cost,
    Server,
    bare,
    bare_file,
    captions,
    generate,
    in_turn,
    lines,
    parse,
    running,
    save,
    workplace,
)

BARS = {(64, 0.05): 1.15, (256, 0.05): 1.35}
"""(at once, latency) -> wall against the bare loop, at most."""
CPU_BAR = 2.5
FREE_BAR = 2_000
"""Requests per second, without latency, in one process."""


def main() -> None:
    options = parse(__doc__ or "")
    rows = 1_200 if options.quick else 2_000
    rounds = 1 if options.quick else 3
    table: list[dict[str, object]] = []
    with workplace() as folder, running() as server:
        for at_once, latency in ((64, 0.05), (256, 0.05), (64, 0.0)):
            count = rows if latency else 2 * rows
            found = compare(server, folder, at_once, latency, count, rounds)
            table += table_rows(found, at_once, latency, count)
    save("generation_speed", table)


def compare(
    server: Server, folder: Path, at_once: int, latency: float, count: int, rounds: int
) -> dict[str, Cost]:
    files = {n: lines(folder / f"{n}.jsonl", range(n)) for n in (at_once, count)}
    asked = {n: bare_file(captions(folder / f"{n}.json", range(n))) for n in files}
    made = 0

    def loop() -> Cost:
        server.reset(latency=latency)
        short, long = (bare(server, asked[n], at_once, folder / "bare") for n in files)
        return Cost.between(short, long, count - at_once)

    def ours() -> Cost:
        nonlocal made
        outcomes = []
        for n, path in files.items():
            made += 1
            server.reset(latency=latency)
            dataset = folder / f"{at_once}-{latency}-{made}"
            outcomes.append(generate(server, path, dataset, "--concurrency", at_once))
            assert server.stats()["answered"] == n, server.stats()
        return Cost.between(*outcomes, count - at_once)

    return in_turn({"bare aiohttp loop": loop, "syphus generate": ours}, rounds)


def table_rows(
    found: dict[str, Cost], at_once: int, latency: float, count: int
) -> list[dict[str, object]]:
    base = found["bare aiohttp loop"]
    bar = f"<= {BARS[at_once, latency]}x" if latency else f">= {FREE_BAR}/s"
    return [
        {
            "client": name,
            "at_once": at_once,
            "latency_ms": round(latency * 1e3),
            "rows": count,
            "steady_per_s": round(1 / cost.steady_wall),
            "wall_ratio": round(cost.steady_wall / base.steady_wall, 2),
            "bar": bar if cost is not base else "",
            "cpu_ms": round(cost.steady_cpu * 1e3, 3),
            "cpu_ratio": round(cost.steady_cpu / base.steady_cpu, 2),
            "cpu_bar": f"<= {CPU_BAR}x" if cost is not base else "",
            "per_cpu_s": round(1 / cost.steady_cpu),
            "whole_s": round(cost.whole, 2),
            "whole_ratio": round(cost.whole / base.whole, 2),
            "short_s": round(cost.fixed, 2),
            "peak_mb": round(cost.peak_mb),
        }
        for name, cost in found.items()
    ]


if __name__ == "__main__":
    main()
