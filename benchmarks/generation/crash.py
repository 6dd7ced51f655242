"""kill -9 and start again: what is lost, what is paid twice; then the same job again, longer, in another order, with one edit.

In flight is what had been sent and was not in the ledger at the kill, never more than were allowed at once; part of it the server had
not answered.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from bench import (
    HERE,
    Server,
    asked_again,
    bare,
    bare_file,
    captions,
    command,
    generate,
    parse,
    records,
    running,
    save,
    start,
    unread_replies,
    without_answer,
    workplace,
)

AT_ONCE = 64


def main() -> None:
    options = parse(__doc__ or "")
    rows = 300 if options.quick else 1_000
    with workplace() as folder, running(latency=0.1) as server:
        annotations = captions(folder / "a.json", range(rows))
        generate(server, annotations, folder / "calm", "--concurrency", AT_ONCE)
        calm = records(folder / "calm")
        table = [
            killed(server, annotations, folder / f"{name}", rows, name, shares, calm)
            for name, shares in {
                "1 %": [0.01],
                "50 %": [0.5],
                "99 %": [0.99],
                "40 % and 60 %": [0.4, 0.6],
            }.items()
        ]
        table.append(bare_killed(server, annotations, folder, rows))
        table += changed(server, folder, folder / "50 %", rows)
    save("generation_crash", table)


def killed(
    server: Server,
    annotations: Path,
    dataset: Path,
    rows: int,
    name: str,
    shares: list[float],
    calm: list[tuple[str, str, str]],
) -> dict[str, object]:
    server.reset()
    in_flight = unanswered = answered = 0
    for share in shares:
        unseen = without_answer(dataset)
        wanted = command(annotations, dataset, "--concurrency", AT_ONCE)
        child = start(wanted, dataset.with_name("killed.said"), server.environment)
        while server.stats()["answered"] < max(1, share * rows):
            time.sleep(0.002)
        stats = server.stats()
        child.kill()
        child.wait()
        unanswered += stats["in_flight"]
        in_flight += min(AT_ONCE, without_answer(dataset) - unseen)
        answered = stats["answered"]
    generate(server, annotations, dataset, "--concurrency", AT_ONCE)
    stats, made = server.stats(), records(dataset)
    ids = {identity for identity, _, _ in made}
    return row(
        f"syphus generate, kill -9 at {name}",
        answered=answered,
        in_flight=in_flight,
        unanswered=unanswered,
        paid_twice=stats["paid_twice"],
        to_nobody=stats["dead"],
        lost=unread_replies(dataset) + len({one[0] for one in calm} - ids),
        duplicates=len(made) - len(ids) + asked_again(dataset),
        as_undisturbed=made == calm,
        bar=f"<= {in_flight + 8 * len(shares)} twice, 0 lost, 0 duplicates",
    )


def bare_killed(server: Server, annotations: Path, folder: Path, rows: int) -> dict[str, object]:
    server.reset()
    asked = bare_file(annotations)
    wanted = [*bare_command(server, asked)]
    child = start(wanted, folder / "bare.said", {})
    while server.stats()["answered"] < rows / 2:
        time.sleep(0.002)
    stats = server.stats()
    child.kill()
    child.wait()
    bare(server, asked, AT_ONCE, folder / "bare")
    after = server.stats()
    return row(
        "bare aiohttp loop, kill -9 at 50 %",
        answered=stats["answered"],
        unanswered=stats["in_flight"],
        paid_twice=after["paid_twice"],
        to_nobody=after["dead"],
    )


def bare_command(server: Server, asked: Path) -> list[str]:
    return [sys.executable, str(HERE / "bare.py"), server.url, str(asked), str(AT_ONCE)]


def changed(server: Server, folder: Path, dataset: Path, rows: int) -> list[dict[str, object]]:
    """Run a finished job again: the same, with more rows, in another order, with one row edited."""
    more = rows + rows // 10
    order = list(range(more))
    random.Random(1).shuffle(order)
    jobs = {
        "the same again": (captions(folder / "1.json", range(rows)), 0),
        "10 % more rows": (captions(folder / "2.json", range(more)), more - rows),
        "in another order": (captions(folder / "3.json", order), 0),
        "one row edited": (captions(folder / "4.json", range(more), {5: " It is new."}), 1),
    }
    table = []
    for name, (file, wanted) in jobs.items():
        server.reset()
        outcome = generate(server, file, dataset, "--concurrency", AT_ONCE)
        made = records(dataset)
        table.append(
            row(
                f"then {name}",
                paid=server.stats()["answered"],
                duplicates=len(made) - len({one[0] for one in made}),
                lost=unread_replies(dataset),
                bar=f"pays {wanted}",
                wall_s=round(outcome.wall, 2),
            )
        )
    return table


def row(what: str, **found: object) -> dict[str, object]:
    names = "answered in_flight unanswered paid_twice to_nobody lost duplicates as_undisturbed paid wall_s bar"
    return {"what": what, **{name: found.get(name, "") for name in names.split()}}


if __name__ == "__main__":
    main()
