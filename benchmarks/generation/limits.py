"""A true limit of 40 requests a second, told in headers or not: how many are refused, and how near to the ideal time."""

from __future__ import annotations

from bench import bare, bare_file, captions, generate, parse, running, save, workplace

RATE, AT_ONCE = 40.0, 32
BARS = {"all": (0.02, 1.08), "retry-after": (0.7, 1.15), "none": (0.7, 1.15)}
"""What the server tells -> 429s per row, time against the ideal; at most."""


def main() -> None:
    options = parse(__doc__ or "")
    rows = 200 if options.quick else 400
    # A full bucket holds one second's worth, and is full at the start.
    ideal = (rows - RATE) / RATE
    table: list[dict[str, object]] = []
    with workplace() as folder, running(latency=0.05, rate=RATE, burst=RATE) as server:
        annotations = captions(folder / "a.json", range(rows))
        for told in BARS:
            for client in ("syphus generate", "bare aiohttp loop"):
                server.reset(rate_headers=told)
                if client == "syphus generate":
                    options_ = ("--concurrency", AT_ONCE)
                    generate(server, annotations, folder / told, *options_, allowed=(0, 3))
                else:
                    bare(server, bare_file(annotations), AT_ONCE, folder / "bare")
                stats = server.stats()
                refused = stats["statuses"].get("429", 0)
                span = stats["last"] - stats["first"]
                table.append(
                    {
                        "client": client,
                        "headers": told,
                        "rows": rows,
                        "answered": stats["answered_bodies"],
                        "lost": rows - stats["answered_bodies"],
                        "429_per_row": round(refused / rows, 3),
                        "asking_s": round(span, 2),
                        "ideal_s": ideal,
                        "of_ideal": round(span / ideal, 3),
                        "early_retries": stats["early_retries"],
                        "bar": "<= {} per row, <= {}x".format(*BARS[told])
                        if client == "syphus generate"
                        else "",
                    }
                )
    save("generation_limits", table)


if __name__ == "__main__":
    main()
