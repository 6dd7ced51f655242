"""20 % 429 with Retry-After, 5 % 500, 3 % garbage: rows that become usable, requests per row, retries that came too early."""

from __future__ import annotations

from bench import (
    Outcome,
    Server,
    bare,
    bare_file,
    captions,
    generate,
    parse,
    records,
    running,
    save,
    workplace,
)

FAULTS = {"429": 0.2, "500": 0.05, "garbage": 0.03}
AT_ONCE = 32


def main() -> None:
    options = parse(__doc__ or "")
    rows = 150 if options.quick else 500
    table: list[dict[str, object]] = []
    with workplace() as folder, running(latency=0.02, retry_after=0.2) as server:
        annotations = captions(folder / "a.json", range(rows))
        for faults in ({}, FAULTS):
            server.reset(faults=faults)
            dataset = folder / f"ds-{len(faults)}"
            out = generate(server, annotations, dataset, "--concurrency", AT_ONCE, allowed=(0, 3))
            usable = len({identity.split("_")[2] for identity, _, _ in records(dataset)})
            table.append(row("syphus generate", server, rows, faults, usable, out))
        out = bare(server, bare_file(annotations), AT_ONCE, folder / "bare")
        server.reset(faults=FAULTS)
        out = bare(server, bare_file(annotations), AT_ONCE, folder / "bare")
        table.append(row("bare aiohttp loop", server, rows, FAULTS, out.report["usable"], out))
    save("generation_faults", table)


def row(
    client: str, server: Server, rows: int, faults: dict[str, float], usable: int, out: Outcome
) -> dict[str, object]:
    stats = server.stats()
    return {
        "client": client,
        "faults": "20/5/3 %" if faults else "none",
        "rows": rows,
        "usable": usable,
        "requests_per_row": round(stats["requests"] / rows, 3),
        "early_retries": stats["early_retries"],
        "earliest_s": round(stats["earliest_retry"], 3),
        "asking_s": round(stats["last"] - stats["first"], 2),
        "whole_s": round(out.wall, 2),
        "bar": f"{rows} usable, <= 1.45 per row, 0 early" if faults and "sy" in client else "",
    }


if __name__ == "__main__":
    main()
