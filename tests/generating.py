"""`syphus generate` as a child process, and what it leaves behind: for tests that kill it and for benchmarks that time it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mimicit.ledger_files import open_ledger
from tests.provider_replies import fingerprint

ROOT = Path(__file__).parent.parent
MODEL = "openai/gpt-4o-mini"
SYPHUS = [sys.executable, "-c", "from syphus.cli import main; main()"]
"""Not the installed script: this checkout, with ROOT as working directory."""
_TEXTS = ("A cat sleeps on a red sofa beside a window.", "The room has two chairs.")


def captions(path: Path, numbers: Iterable[int], said: Mapping[int, str] | None = None) -> Path:
    """Write a COCO file with two captions for each picture; `said` adds to some of them."""
    numbers, said = list(numbers), said or {}
    with path.open("w") as file:
        file.write('{"images": [')
        for at, n in enumerate(numbers):
            image = {"id": n, "file_name": f"{n:07d}.jpg", "width": 640, "height": 480}
            file.write(("," if at else "") + json.dumps(image))
        file.write('], "categories": [], "annotations": [')
        for at, n in enumerate(numbers):
            for text in _TEXTS:
                caption = {"image_id": n, "caption": f"{text} Number {n}.{said.get(n, '')}"}
                file.write(("," if at or text is _TEXTS[1] else "") + json.dumps(caption))
        file.write("]}")
    return path


def lines(path: Path, numbers: Iterable[int]) -> Path:
    """Write the same as JSONL, which is read as a stream."""
    with path.open("w") as file:
        for n in numbers:
            said = [f"{text} Number {n}." for text in _TEXTS]
            row = {"id": f"{n:07d}", "image": f"{n:07d}.jpg", "captions": said}
            file.write(json.dumps(row) + "\n")
    return path


def command(annotations: Path, dataset: Path, *options: object) -> list[str]:
    """Return the command line; a first option without a dash is the task."""
    given = [str(option) for option in options]
    task = "la_conversation"
    if given and not given[0].startswith("-"):
        task, *given = given
    wanted = ["-a", str(annotations), "-d", str(dataset), "--json"]
    if "-m" not in given:
        wanted += ["-m", MODEL]
    return [*SYPHUS, "generate", task, *wanted, *given]


def start(
    wanted: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a child; what it prints goes to files of this folder, since a full pipe would stop it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout").open("wb") as output, (folder / "stderr").open("wb") as errors:
        return subprocess.Popen(
            wanted,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=os.environ | environment,
            cwd=ROOT,
        )


def ledger_rows(dataset: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_ledger(dataset / "ledger" / "ledger.sqlite") as connection:
        return connection.execute(sql).fetchall()


def records(dataset: Path) -> list[tuple[str, str, str]]:
    """Return (id, instruction, answer) of all records, from the Parquet parts: they are the truth."""
    import pyarrow.parquet as parquet

    found: list[tuple[str, str, str]] = []
    for part in sorted((dataset / "text").glob("*.parquet")):
        columns = parquet.read_table(part, columns=["id", "instruction", "answer"]).to_pydict()
        found += zip(columns["id"], columns["instruction"], columns["answer"], strict=True)
    return sorted(found)


def unread_replies(dataset: Path) -> int:
    """Count replies that were paid, and from which nothing was made."""
    sql = "SELECT count(*) FROM replies WHERE id NOT IN (SELECT reply FROM readings)"
    return int(ledger_rows(dataset, sql)[0][0])


def without_answer(dataset: Path) -> int:
    """Count the requests that were sent and whose fate nobody saw: in flight when a run was killed."""
    if not (dataset / "ledger" / "ledger.sqlite").exists():
        return 0
    fates = "SELECT sent FROM replies UNION ALL SELECT sent FROM failures"
    sql = f"SELECT count(*) FROM sent WHERE id NOT IN ({fates})"
    try:
        return int(ledger_rows(dataset, sql)[0][0])
    except sqlite3.OperationalError:  # killed before it made its tables
        return 0


def asked_again(dataset: Path) -> int:
    """Count requests that were sent though their reply was in the ledger."""
    sql = "SELECT count(*) FROM sent s JOIN replies r ON r.request = s.request WHERE s.id > r.sent"
    return int(ledger_rows(dataset, sql)[0][0])


def stale_replies(dataset: Path) -> int:
    """Count replies that do not belong to the messages they are filed under."""
    prompts = {
        digest: json.loads(messages)
        for digest, messages in ledger_rows(dataset, "SELECT digest, messages FROM prompts")
    }
    rows = ledger_rows(
        dataset,
        "SELECT q.prompt, q.query, r.text FROM replies r JOIN requests q ON q.key = r.request",
    )
    return sum(
        fingerprint([*prompts[prompt], {"role": "user", "content": query}]) not in text
        for prompt, query, text in rows
    )
