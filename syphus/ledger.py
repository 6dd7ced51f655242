"""Every request and reply on disk before anything else happens to it.

One SQLite file in WAL mode with one writer, which commits after each row: killed at any moment, it has every reply that was
received. Tables only grow (their columns: `mimicit.ledger_tables`). A reply is written before it is parsed; its `readings` row,
which says what was read from it, is written after the records are in the dataset. So a reply without a reading is parsed
again on the next run, at no cost, and a request without a reply is sent again.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from mimicit.errors import DatasetError
from mimicit.ledger_tables import LEDGER_TABLES, reading_mode
from syphus.request import Completion, Prompt, Request

_INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS prompts_by_digest ON prompts (digest)",
    "CREATE UNIQUE INDEX IF NOT EXISTS requests_by_key ON requests (key)",
    "CREATE INDEX IF NOT EXISTS sent_by_request ON sent (request)",
    "CREATE INDEX IF NOT EXISTS replies_by_request ON replies (request)",
    "CREATE INDEX IF NOT EXISTS replies_by_sent ON replies (sent)",
    "CREATE INDEX IF NOT EXISTS failures_by_sent ON failures (sent)",
    "CREATE INDEX IF NOT EXISTS readings_by_reply ON readings (reply)",
)
_LARGEST = 2**63 - 1
_VERSIONED = ("mimicit", "litellm", "xllamacpp", "duckdb")


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


class Ledger:
    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the ledger for writing, and make it if there is none; or for reading.

        Raises:
            DatasetError: the file is damaged.
        """
        self.path = path
        uri = f"{path.absolute().as_uri()}?{reading_mode(path) if read_only else 'mode=rwc'}"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            if not read_only:
                self._prepare()
            there = self._connection.execute("PRAGMA table_info(readings)").fetchall()
            # A ledger that was begun before this column, and is only read, does not have it.
            self._context = "g.context" if any(row[1] == "context" for row in there) else "NULL"
        except sqlite3.OperationalError:  # a full disk, a medium that cannot be written
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise DatasetError(
                f"the ledger {str(path)!r} is damaged ({error}); restore it, or move it away to start "
                "a new one: records stay, but replies are asked for again"
            ) from None

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        for table, columns in LEDGER_TABLES.items():
            listed = ", ".join(_column(name, kind) for name, kind in columns.items())
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({listed})")
            self._add_columns(table, columns)
        for index in _INDEXES:
            self._connection.execute(index)

    def _add_columns(self, table: str, columns: dict[str, str]) -> None:
        """Give a ledger that was begun before them the columns that came since."""
        there = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if name not in there:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {_column(name, kind)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    # Writing: each call is one commit.

    def start_run(self, *, task: str, model: str, arguments: Sequence[str]) -> str:
        run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
        versions = {"python": sys.version.split()[0], **_versions()}
        self._insert(
            "run_starts",
            id=run,
            time=time.time(),
            task=task,
            model=model,
            arguments=json.dumps(list(arguments), ensure_ascii=False),
            versions=json.dumps(versions),
        )
        return run

    def end_run(self, run: str, outcome: str) -> None:
        self._insert("run_ends", run=run, time=time.time(), outcome=outcome)

    def add_prompt(self, prompt: Prompt) -> None:
        """Keep the part that all requests of a run share, once."""
        messages = json.dumps([asdict(message) for message in prompt.messages], ensure_ascii=False)
        self._insert(
            "prompts",
            digest=prompt.digest,
            task=prompt.task,
            version=prompt.version,
            messages=messages,
        )

    def send(self, request: Request, run: str) -> int:
        """Note that a request is about to be sent; return the attempt's number."""
        parameters: dict[str, object] = {
            "sampling": asdict(request.sampling),
            "shape": request.shape.as_dict(),
            "form": request.form,
        }
        if request.schema:
            parameters["schema"] = json.loads(request.schema)
        if request.pictures:
            parameters["pictures"] = [picture.sha256 for picture in request.pictures]
        if request.repair:
            parameters["repair"] = [asdict(message) for message in request.repair]
        self._connection.execute("BEGIN")
        self._insert(
            "requests",
            key=request.key,
            run=run,
            prompt=request.prompt.digest,
            model=request.model,
            context=request.context_id,
            query=request.query,
            parameters=json.dumps(parameters, ensure_ascii=False),
            sample=request.sample,
            time=time.time(),
        )
        attempt = self._insert("sent", request=request.key, run=run, time=time.time())
        self._connection.execute("COMMIT")
        return attempt

    def reply(
        self, sent: int, request: Request, run: str, completion: Completion, seconds: float
    ) -> Reply:
        row = self._insert(
            "replies",
            sent=sent,
            request=request.key,
            run=run,
            model=completion.model,
            text=completion.text,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            cached_tokens=completion.cached_tokens,
            cost_usd=completion.cost_usd,
            seconds=round(seconds, 4),
            time=time.time(),
        )
        text = storable(completion.text)
        return Reply(row, request.key, text, completion.finish_reason, None, None)

    def fail(self, sent: int, request: Request, run: str, error: Exception) -> None:
        kind = type(error).__name__.removesuffix("Error").lower()
        self._insert(
            "failures",
            sent=sent,
            request=request.key,
            run=run,
            kind=kind,
            message=str(error),
            time=time.time(),
        )

    def read(self, readings: Iterable[Reading]) -> None:
        """Note what was read from replies."""
        now = time.time()
        self._connection.execute("BEGIN")
        for reading in readings:
            self._insert("readings", time=now, **reading._asdict())
        self._connection.execute("COMMIT")

    # Reading

    def find(self, keys: Sequence[str], context: str | None = None) -> dict[str, Reply]:
        """Return the newest reply to each request that has one, and what was read from it.

        Two contexts that say the same ask the same, and share a reply; with `context`, pairs count as read only if
        they were read for that one.
        """
        marks = ", ".join("?" * len(keys))
        rows = self._connection.execute(
            "SELECT r.id, r.request, r.text, r.finish_reason, g.pairs, g.problem FROM replies AS r "
            "JOIN requests AS q ON q.key = r.request "
            "LEFT JOIN readings AS g ON g.reply = r.id AND "
            f"(? IS NULL OR g.problem IS NOT NULL OR coalesce({self._context}, q.context) = ?) "
            f"WHERE r.request IN ({marks}) ORDER BY r.id, g.rowid",
            [context, context, *keys],
        )
        return {row[1]: Reply(*row) for row in rows}

    def counts(self) -> dict[str, int]:
        """Count requests, replies, and the attempts whose fate nobody saw."""
        queries = {
            "requests": "SELECT count(*) FROM requests",
            "replies": "SELECT count(*) FROM replies",
            "in_flight": "SELECT count(*) FROM sent WHERE id NOT IN (SELECT sent FROM replies) "
            "AND id NOT IN (SELECT sent FROM failures)",
        }
        return {name: self._connection.execute(sql).fetchone()[0] for name, sql in queries.items()}

    def _insert(self, table: str, **values: object) -> int:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        cursor = self._connection.execute(
            f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})",
            [_storable(value) for value in values.values()],
        )
        return cursor.lastrowid or 0


def storable(text: str) -> str:
    """Replace what is no character: halves of surrogate pairs, which a JSON reply may hold and no file can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _storable(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    return value


def _column(name: str, kind: str) -> str:
    if name == "id" and kind == "BIGINT":
        return "id INTEGER PRIMARY KEY"
    types = {"VARCHAR": "TEXT", "BIGINT": "INTEGER", "DOUBLE": "REAL", "TIMESTAMPTZ": "REAL"}
    return f"{name} {types[kind]}"


def _versions() -> dict[str, str]:
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
