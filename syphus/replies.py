"""What the ledger has: replies to requests, what was read from them, and sums."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from syphus.request import Request

BLOCK = 256
"""Keys that are looked up at once."""
_IN_BATCHES = (
    "batch_requests WHERE batch NOT IN "
    "(SELECT batch FROM batch_events WHERE event IN ('merged', 'failed', 'abandoned'))"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A stored reply, and what was read from it, if it was read."""

    id: int
    request: str
    text: str
    finish_reason: str
    pairs: int | None
    problem: str | None

    @property
    def is_read(self) -> bool:
        return self.pairs is not None or self.problem is not None


class Reading(NamedTuple):
    """What was read from a reply: so many pairs, or why none could be."""

    reply: int
    pairs: int | None
    problem: str | None = None
    context: str | None = None
    """For which context; None is the one that its request was sent for."""


class Replies:
    """The part of the ledger that reads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read from an open ledger."""
        self._connection = connection
        there = self._execute("PRAGMA table_info(readings)").fetchall()
        # A ledger that was begun before this column, and is only read, does not have it.
        self._context = "g.context" if any(row[1] == "context" for row in there) else "NULL"

    def find(self, keys: Sequence[str], context: str | None = None) -> dict[str, Reply]:
        """Return the newest reply to each request that has one, and what was read from it.

        Two contexts that say the same ask the same, and share a reply; with `context`, pairs count as read only if
        they were read for that one.
        """
        found: dict[str, Reply] = {}
        for row, read_for in self._replies(keys):
            if context is None or read_for is None or row.problem or read_for == context:
                found[row.request] = row
            elif row.request not in found or found[row.request].id != row.id:
                found[row.request] = _unread(row)
        return found

    def answers(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Return the newest reply to each request, as `find` does for its context; one query for a block of them.

        Of a reply that was read for its context, the text is left out.
        """
        by_key: dict[str, list[tuple[Reply, str | None]]] = {}
        for start in range(0, len(requests), BLOCK):
            keys = [request.key for request in requests[start : start + BLOCK]]
            for row, read_for in self._replies(keys):
                rows = by_key.setdefault(row.request, [])
                if rows and rows[-1][0].id != row.id:
                    rows.clear()
                rows.append((row, read_for))
        return [_for_context(by_key.get(r.key, ()), r.context_id) for r in requests]

    def answered(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that have a reply."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT DISTINCT request FROM replies WHERE request IN ({marks})"
        return {key for (key,) in self._execute(query, list(keys))}

    def _replies(self, keys: Sequence[str]) -> Iterable[tuple[Reply, str | None]]:
        """Return all replies to some requests, oldest first, once for each reading, and for which context that was."""
        marks = ", ".join("?" * len(keys))
        rows = self._execute(
            "SELECT r.id, r.request, r.text, r.finish_reason, g.pairs, g.problem, "
            f"CASE WHEN g.rowid IS NOT NULL THEN coalesce({self._context}, q.context) END "
            "FROM replies AS r JOIN requests AS q ON q.key = r.request "
            "LEFT JOIN readings AS g ON g.reply = r.id "
            f"WHERE r.request IN ({marks}) ORDER BY r.id, g.rowid",
            list(keys),
        )
        for *row, read_for in rows:
            yield Reply(*row), read_for

    def refusal(self, key: str) -> str | None:
        """Return why a provider will not answer a request, if it has said so."""
        rows = self.rows(
            "SELECT message FROM failures WHERE request = ? AND kind IN ('refused', 'content') LIMIT 1",
            [key],
        )
        return str(rows[0][0]) if rows else None

    def has_refusals(self) -> bool:
        query = "SELECT 1 FROM failures WHERE kind IN ('refused', 'content') LIMIT 1"
        return bool(self.rows(query))

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what an SQL query gives."""
        return self._execute(query, parameters).fetchall()

    def _execute(self, query: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        return self._connection.execute(query, parameters)

    def counts(self) -> dict[str, int]:
        """Count requests, replies, those in a provider's batches, and the attempts whose fate nobody saw."""
        tables = ("requests", "sent", "replies", "failures")
        n = {name: self._execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        return {
            "requests": n["requests"],
            "replies": n["replies"],
            "in_batches": (waiting := self._in_batches()),
            "in_flight": max(0, n["sent"] - n["replies"] - n["failures"] - waiting),
        }

    def is_in_batch(self, key: str) -> bool:
        """Say whether a request is in a provider's batch whose answers are not here yet."""
        return bool(self.rows(f"SELECT 1 FROM {_IN_BATCHES} AND request = ? LIMIT 1", [key]))

    def _in_batches(self) -> int:
        """Count the requests in batches that are not ended."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'batch_requests'"):
            return 0  # a ledger of an earlier version, that is only read
        return int(self.rows(f"SELECT count(*) FROM {_IN_BATCHES}")[0][0])

    def spent(self, task: str) -> float:
        """Return what all replies to a task's requests have cost, in USD."""
        [(usd,)] = self._execute(
            "SELECT coalesce(sum(r.cost_usd), 0) FROM replies AS r JOIN requests AS q ON q.key = r.request "
            "WHERE q.prompt IN (SELECT digest FROM prompts WHERE task = ?)",
            [task],
        )
        return float(usd)


def _for_context(rows: Sequence[tuple[Reply, str | None]], context: str) -> Reply | None:
    """Return a reply with what was read from it for a context."""
    found: Reply | None = None
    for row, read_for in rows:
        if read_for is None or row.problem or read_for == context:
            found = row
        elif found is None:
            found = _unread(row)
    return found


def _unread(reply: Reply) -> Reply:
    return Reply(reply.id, reply.request, reply.text, reply.finish_reason, None, None)
