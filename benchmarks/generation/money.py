"""Tokens and USD: what is reported, what is in the ledger, what the server counted; what was planned; what the budget allowed."""

from __future__ import annotations

from pathlib import Path

from bench import Server, captions, generate, ledger_rows, parse, running, save, workplace

COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens")


def main() -> None:
    options = parse(__doc__ or "")
    rows = 100 if options.quick else 500
    faults = {"429": 0.1, "500": 0.05, "garbage": 0.05}
    with (
        workplace() as folder,
        running(latency=0.02, tokens="tiktoken", retry_after=0.1) as server,
    ):
        annotations = captions(folder / "a.json", range(rows))
        table = [
            *planned(server, annotations, folder / "planned", rows),
            counted(server, annotations, folder / "faults", rows, faults),
            *(capped(server, annotations, folder, rows, share) for share in (0.1, 0.5)),
        ]
    save("generation_money", table)


def planned(server: Server, annotations: Path, dataset: Path, rows: int) -> list[dict[str, object]]:
    """Ask for a plan with nothing known, then after a pilot of 20 rows; then run the rest."""
    server.reset(faults={})
    blind = generate(server, annotations, dataset, "--dry-run").report
    generate(server, annotations, dataset, "--limit", 20)
    pilot = server.stats()["usd"]
    informed = generate(server, annotations, dataset, "--dry-run").report
    run = generate(server, annotations, dataset, "--concurrency", 32).report
    spent = server.stats()["usd"]
    return [
        line("plan without a pilot", rows, blind["cost_usd"], spent, "within 5 % after a pilot"),
        line("plan after 20 rows", rows - 20, informed["cost_usd"], spent - pilot, "within 5 %"),
        line("the run's report", rows - 20, run["cost_usd"], spent - pilot, "equal"),
    ]


def counted(
    server: Server, annotations: Path, dataset: Path, rows: int, faults: dict[str, float]
) -> dict[str, object]:
    server.reset(faults=faults)
    options = ("--concurrency", 32)
    report = generate(server, annotations, dataset, *options, allowed=(0, 3)).report
    stats = server.stats()
    sums = ", ".join(f"sum({name})" for name in (*COUNTS, "cost_usd"))
    ledger = ledger_rows(dataset, f"SELECT {sums} FROM replies")[0]
    same = all(report[n] == stats[n] == ledger[at] for at, n in enumerate(COUNTS))
    counts = " ".join(f"{n} {report[n]}/{ledger[at]}/{stats[n]}" for at, n in enumerate(COUNTS))
    found = line(
        "with faults: report / ledger / server", rows, report["cost_usd"], stats["usd"], ""
    )
    money = abs(ledger[3] - stats["usd"]) < 1e-6
    return found | {"bar": "equal to the token", "tokens": f"{counts} equal: {same and money}"}


def capped(
    server: Server, annotations: Path, folder: Path, rows: int, share: float
) -> dict[str, object]:
    server.reset(faults={"429": 0.1})
    whole = rows * 0.0002
    budget = round(whole * share, 4)
    options = ("--concurrency", 64, "--budget", budget)
    dataset = folder / f"capped-{share}"
    out = generate(server, annotations, dataset, *options, allowed=(0, 1, 3))
    spent = server.stats()["usd"]
    found = line(f"budget of ${budget}", server.stats()["answered"], budget, spent, "never passed")
    said = (out.errors.strip().splitlines() or [""])[-1][:160]
    return found | {
        "off_percent": "",
        "tokens": f"passed: {spent > budget}; exit {out.code}; {said}",
    }


def line(what: str, rows: int, said: float, spent: float, bar: str) -> dict[str, object]:
    return {
        "what": what,
        "rows": rows,
        "said_usd": round(said, 6),
        "server_usd": round(spent, 6),
        "off_percent": round(100 * (said / spent - 1), 2) if spent else "",
        "bar": bar,
        "tokens": "",
    }


if __name__ == "__main__":
    main()
