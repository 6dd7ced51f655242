"""Five rows of 500 that are always answered 400: exactly those fail, asked once each, and are named."""

from __future__ import annotations

from bench import bare, bare_file, captions, generate, parse, records, running, save, workplace

POISON = "This is poison."


def main() -> None:
    options = parse(__doc__ or "")
    rows = 100 if options.quick else 500
    bad = [rows * part // 5 + 3 for part in range(5)]
    with workplace() as folder, running(latency=0.02, poison=POISON) as server:
        annotations = captions(folder / "a.json", range(rows), dict.fromkeys(bad, f" {POISON}"))
        out = generate(server, annotations, folder / "ds", "--concurrency", 32, allowed=(3,))
        stats = server.stats()
        good = {identity.split("_")[2] for identity, _, _ in records(folder / "ds")}
        named = {problem["where"].rpartition("#")[2] for problem in out.report["problems"]}
        table = [
            {
                "client": "syphus generate",
                "rows": rows,
                "usable": len(good),
                "refused_requests": stats["statuses"]["400"],
                "most_requests_of_a_row": stats["most_requests_of_a_body"],
                "named": sum(str(n) in named for n in bad) if len(named) == 5 else str(named),
                "exit_code": out.code,
                "bar": f"{rows - 5} usable, 5 refused, 1 each, 5 named",
            }
        ]
        server.reset()
        out = bare(server, bare_file(annotations), 32, folder / "bare")
        table.append(
            {
                "client": "bare aiohttp loop",
                "rows": rows,
                "usable": out.report["usable"],
                "refused_requests": server.stats()["statuses"]["400"],
                "most_requests_of_a_row": server.stats()["most_requests_of_a_body"],
                "named": 0,
                "exit_code": out.code,
                "bar": "",
            }
        )
    save("generation_poison", table)


if __name__ == "__main__":
    main()
