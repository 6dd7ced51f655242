"""Stale answers: the system message, the examples, the input file are changed and changed back, over one dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bench import (
    ROOT,
    Server,
    captions,
    generate,
    ledger_rows,
    parse,
    running,
    save,
    stale_replies,
    workplace,
)


def main() -> None:
    options = parse(__doc__ or "")
    rows = 50 if options.quick else 200
    with workplace() as folder, running() as server:
        task = Path(
            shutil.copytree(ROOT / "prompts" / "la_conversation", folder / "la_conversation")
        )
        annotations = captions(folder / "a.json", range(rows))
        system, example = task / "system.md", task / "examples" / "01.yaml"
        steps: dict[str, tuple[Callable[[], None], int]] = {
            "first run": (lambda: None, rows),
            "the same again": (lambda: None, 0),
            "system message changed": (lambda: edit(system, "You and", "You two and"), rows),
            "and back": (lambda: edit(system, "You two and", "You and"), 0),
            "examples changed": (lambda: example.rename(folder / "01.yaml"), rows),
            "and back again": (lambda: shutil.move(folder / "01.yaml", example), 0),
            "input rewritten in place": (lambda: rewrite(annotations, "sofa", "desk"), rows),
            "and back once more": (lambda: rewrite(annotations, "desk", "sofa"), 0),
        }
        table = [
            step(server, name, change, wanted, task, annotations, folder / "ds")
            for name, (change, wanted) in steps.items()
        ]
    save("generation_stale", table)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, f"{path} does not say {before!r}"
    path.write_text(text.replace(before, after))


def rewrite(path: Path, before: str, after: str) -> None:
    """Change a file so that its name, size and time of change say nothing of it."""
    times = path.stat()
    edit(path, before, after)
    assert path.stat().st_size == times.st_size
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def step(
    server: Server,
    name: str,
    change: Callable[[], object],
    wanted: int,
    task: Path,
    annotations: Path,
    dataset: Path,
) -> dict[str, object]:
    change()
    server.reset()
    outcome = generate(server, annotations, dataset, str(task), "--concurrency", 32)
    return {
        "step": name,
        "paid": server.stats()["answered"],
        "bar": wanted,
        "wrong_answers": stale_replies(dataset),
        "pairs_reported": outcome.report["pairs"],
        "replies_in_ledger": ledger_rows(dataset, "SELECT count(*) FROM replies")[0][0],
    }


if __name__ == "__main__":
    main()
