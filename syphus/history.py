"""What was run on a dataset, from its ledger: also while a run is at work.

Runs are numbered from the first one on, so that a number stays. A run without an end was killed, unless it is the writer now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mimicit.errors import DatasetError, LockedError
from mimicit.store import Store
from syphus.ledger import Ledger

SHOWN_OF_REPLY = 300
"""Characters of an unreadable reply that are shown as its example."""
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d.,:]*|\b[0-9a-f]{8,}\b")


@dataclass(frozen=True)
class Run:
    number: int
    id: str
    task: str
    model: str
    started: str
    """ISO 8601, UTC."""
    seconds: float | None
    """None while it is at work, and where it was killed."""
    outcome: str
    arguments: list[str]
    sent: int
    replies: int
    failures: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float
    summary: dict[str, Any] = field(default_factory=dict)
    """What the run itself counted, at its end."""


@dataclass(frozen=True)
class Group:
    """Errors that differ only in names and numbers."""

    kind: str
    count: int
    message: str
    """Of one of them."""
    context: str
    """Of the same one."""
    reply: str = ""
    """The beginning of the reply that could not be read."""


@dataclass(frozen=True)
class Shown:
    run: Run
    groups: tuple[Group, ...]
    log: str
    """The run's log file; empty where there is none."""


def runs(folder: Path) -> list[Run]:
    """Return all runs on a dataset, oldest first.

    Raises:
        DatasetError: there is no such dataset.
    """
    path = _ledger(folder)
    if not path.exists():
        return []
    with Ledger(path, read_only=True) as ledger:
        is_summed = any(row[1] == "summary" for row in ledger.rows("PRAGMA table_info(run_ends)"))
        found = ledger.rows(
            "SELECT s.id, s.task, s.model, s.time, e.time, e.outcome, s.arguments, "
            f"{'e.summary' if is_summed else 'NULL'}, "
            "coalesce(t.n, 0), coalesce(f.n, 0), coalesce(r.n, 0), coalesce(r.prompt, 0), "
            "coalesce(r.cached, 0), coalesce(r.completion, 0), coalesce(r.usd, 0) "
            "FROM run_starts AS s LEFT JOIN run_ends AS e ON e.run = s.id "
            "LEFT JOIN (SELECT run, count(*) AS n FROM sent GROUP BY run) AS t ON t.run = s.id "
            "LEFT JOIN (SELECT run, count(*) AS n FROM failures GROUP BY run) AS f ON f.run = s.id "
            "LEFT JOIN (SELECT run, count(*) AS n, sum(prompt_tokens) AS prompt, sum(cached_tokens) AS cached, "
            "sum(completion_tokens) AS completion, sum(cost_usd) AS usd FROM replies GROUP BY run) AS r "
            "ON r.run = s.id ORDER BY s.rowid"
        )
    last = len(found)
    return [
        Run(
            number=number,
            id=id_,
            task=task,
            model=model,
            started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            seconds=None if ended is None else round(ended - started, 1),
            outcome=outcome or _open_outcome(folder, is_last=number == last),
            arguments=json.loads(arguments),
            sent=sent,
            failures=failures,
            replies=replies,
            prompt_tokens=prompt,
            cached_tokens=cached,
            completion_tokens=completion,
            cost_usd=usd,
            summary=json.loads(summary) if summary else {},
        )
        for number, (
            id_, task, model, started, ended, outcome, arguments, summary,
            sent, failures, replies, prompt, cached, completion, usd,
        ) in enumerate(found, start=1)
    ]  # fmt: skip


def show(folder: Path, which: str) -> Shown:
    """Return one run with its errors grouped, most frequent first.

    Args:
        folder: The dataset.
        which: Its number, its id, or `last`.

    Raises:
        DatasetError: there is no such dataset, or no such run.
    """
    listed = runs(folder)
    if not listed:
        raise DatasetError(f"nothing was run on {str(folder)!r} yet")
    run = listed[-1] if which == "last" else None
    run = run or next((r for r in listed if which in (str(r.number), r.id)), None)
    if run is None:
        raise DatasetError(
            f"there is no run {which!r} on {str(folder)!r}; `syphus runs` lists them, 1 to {len(listed)}"
        )
    log = _ledger(folder).parent / "logs" / f"{run.id}.log"
    with Ledger(_ledger(folder), read_only=True) as ledger:
        groups = [*_failures(ledger, run.id), *_unreadable(ledger, run.id)]
    groups.sort(key=lambda group: -group.count)
    return Shown(run, tuple(groups), str(log) if log.exists() else "")


def _failures(ledger: Ledger, run: str) -> list[Group]:
    rows = ledger.rows(
        "SELECT f.kind, f.message, q.context, count(*) FROM failures AS f "
        "LEFT JOIN requests AS q ON q.key = f.request WHERE f.run = ? GROUP BY f.kind, f.message",
        [run],
    )
    return _grouped([(kind, message, context, n, "") for kind, message, context, n in rows])


def _unreadable(ledger: Ledger, run: str) -> list[Group]:
    rows = ledger.rows(
        "SELECT 'unreadable', g.problem, q.context, count(*), substr(r.text, 1, ?) "
        "FROM replies AS r JOIN readings AS g ON g.reply = r.id LEFT JOIN requests AS q ON q.key = r.request "
        "WHERE r.run = ? AND g.problem IS NOT NULL GROUP BY g.problem",
        [SHOWN_OF_REPLY, run],
    )
    return _grouped(rows)


def _grouped(rows: Sequence[tuple[Any, ...]]) -> list[Group]:
    """Put together what differs only in quoted names and numbers."""
    found: dict[tuple[str, str], Group] = {}
    for kind, message, context, count, reply in rows:
        key = (kind, _VARIES.sub("…", message))
        known = found.get(key)
        found[key] = (
            Group(kind, known.count + count, known.message, known.context, known.reply)
            if known
            else Group(kind, count, message, context or "", reply)
        )
    return list(found.values())


def as_json(value: Run | Shown) -> dict[str, Any]:
    return asdict(value)


def _ledger(folder: Path) -> Path:
    if not folder.is_dir():
        raise DatasetError(f"there is no dataset folder {str(folder)!r}")
    return folder / "ledger" / "ledger.sqlite"


def _open_outcome(folder: Path, *, is_last: bool) -> str:
    """Say of a run without an end whether it is at work: then it holds the writer's lock."""
    if not is_last:
        return "killed"
    try:
        with Store(folder).writing("looking"):
            return "killed"
    except LockedError:
        return "running"
    except OSError:  # a medium that cannot be written has no writer
        return "killed"
