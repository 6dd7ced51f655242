"""Every request and reply on disk before anything else happens to it.

One SQLite file in WAL mode with one writer on the event loop. What is written in one turn of the loop is committed together, at most
`GROUP` replies: a request is sent, and a reply parsed, only after its row is committed, so killed at any moment the ledger has
every reply that was received. Tables only grow (their columns: `mimicit.ledger_tables`). A reply's `readings` row, which says
what was read from it, is written after the records are in the dataset. So a reply without a reading is parsed again on the next run,
at no cost, and a request without a reply is sent again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mimicit.errors import DatasetError
from mimicit.ledger_tables import LEDGER_TABLES, reading_mode
from syphus.errors import ProviderError
from syphus.replies import BLOCK, Reading, Replies, Reply
from syphus.request import Completion, Prompt, Request, digest

__all__ = ["BLOCK", "Ledger", "Reading", "Reply", "storable"]

GROUP = 4
"""Replies that one commit may hold: what a kill can lose of what was received."""
CHECKPOINT_PAGES = 8_192
"""Pages of 4 KiB after which SQLite moves the WAL into the file."""

CACHE_KB = 4_096
"""Of pages that SQLite keeps: keys are spread over their whole index."""

_INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS prompts_by_digest ON prompts (digest)",
    "CREATE UNIQUE INDEX IF NOT EXISTS schemas_by_digest ON schemas (digest)",
    "CREATE UNIQUE INDEX IF NOT EXISTS requests_by_key ON requests (key)",
    "CREATE INDEX IF NOT EXISTS replies_by_request ON replies (request)",
    "CREATE INDEX IF NOT EXISTS readings_by_reply ON readings (reply)",
    "CREATE INDEX IF NOT EXISTS failures_for_good ON failures (request) WHERE kind IN ('refused', 'content')",
    "CREATE INDEX IF NOT EXISTS batch_requests_by_request ON batch_requests (request)",
    # Of earlier versions: each index is another page to write for a row, and nobody asks by these.
    "DROP INDEX IF EXISTS sent_by_request",
    "DROP INDEX IF EXISTS replies_by_sent",
    "DROP INDEX IF EXISTS failures_by_sent",
)
_LARGEST = 2**63 - 1
_VERSIONED = ("mimicit", "litellm", "xllamacpp", "duckdb")


class Ledger(Replies):
    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the ledger for writing, and make it if there is none; or for reading.

        Raises:
            DatasetError: the file is damaged.
        """
        self.path = path
        uri = f"{path.absolute().as_uri()}?{reading_mode(path) if read_only else 'mode=rwc'}"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self._execute = self._connection.execute
        self._is_due = False
        self._commits = self._pending_replies = 0
        self._schemas: set[str] = set()
        """Those that are kept already."""
        try:
            if not read_only:
                self._prepare()
            super().__init__(self._connection)
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
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = NORMAL")
        self._execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._execute(f"PRAGMA cache_size = -{CACHE_KB}")
        for table, columns in LEDGER_TABLES.items():
            listed = ", ".join(_column(name, kind) for name, kind in columns.items())
            self._execute(f"CREATE TABLE IF NOT EXISTS {table} ({listed})")
            self._add_columns(table, columns)
        for index in _INDEXES:
            self._execute(index)

    def _add_columns(self, table: str, columns: dict[str, str]) -> None:
        """Give a ledger that was begun before them the columns that came since."""
        there = {row[1] for row in self._execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if name not in there:
                self._execute(f"ALTER TABLE {table} ADD COLUMN {_column(name, kind)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.commit()
        except sqlite3.OperationalError:
            # The disk was full before; that error is already on its way.
            if error is None:
                raise
        finally:
            self._connection.close()

    # Writing

    def start_run(self, *, task: str, model: str, arguments: Sequence[str]) -> str:
        run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
        versions = {"python": sys.version.split()[0], **_versions()}
        row = {
            "id": run,
            "time": time.time(),
            "task": task,
            "model": model,
            "arguments": json.dumps(list(arguments), ensure_ascii=False),
            "versions": json.dumps(versions),
        }
        self.insert("run_starts", [row])
        return run

    def end_run(self, run: str, outcome: str, summary: Mapping[str, object] | None = None) -> None:
        said = json.dumps(summary, ensure_ascii=False) if summary else None
        row = {"run": run, "time": time.time(), "outcome": outcome, "summary": said}
        self.insert("run_ends", [row])

    def add_prompt(self, prompt: Prompt) -> None:
        """Keep the part that all requests of a run share, once."""
        messages = json.dumps([asdict(message) for message in prompt.messages], ensure_ascii=False)
        row = {
            "digest": prompt.digest,
            "task": prompt.task,
            "version": prompt.version,
            "messages": messages,
        }
        self.insert("prompts", [row])

    def send(self, request: Request, run: str) -> int:
        """Note that a request is about to be sent; return the attempt's number."""
        return self.send_many([request], run)[0]

    def send_many(self, requests: Iterable[Request], run: str) -> list[int]:
        """Note that requests are about to be sent, in one commit; return their attempts' numbers."""
        sent = [self.note_sent(request, run) for request in requests]
        self.commit()
        return sent

    def reply(
        self,
        sent: int,
        request: Request | str,
        run: str,
        completion: Completion,
        seconds: float,
        *,
        batch: str | None = None,
    ) -> Reply:
        """Keep a reply.

        Args:
            sent: The attempt's number.
            request: The request, or its key.
            run: The run.
            completion: What came.
            seconds: How long it took.
            batch: The batch it came in.
        """
        reply = self.note_reply(sent, request, run, completion, seconds, batch=batch)
        self.commit()
        return reply

    def fail(self, sent: int, request: Request | str, run: str, error: Exception) -> None:
        """Keep what came of a request that got no reply."""
        self.note_failure(sent, request, run, error)
        self.commit()

    def read(self, readings: Iterable[Reading]) -> None:
        """Note what was read from replies, in one commit."""
        now = time.time()
        rows = [(*reading, now) for reading in readings]
        insertion = _insertion("readings", (*Reading._fields, "time"))
        self._begin()
        self._execute("SAVEPOINT readings")
        try:
            self._connection.executemany(insertion, rows)
        except (UnicodeEncodeError, OverflowError):
            self._execute("ROLLBACK TO readings")
            self._connection.executemany(insertion, [tuple(map(_storable, row)) for row in rows])
        self.commit()

    def insert(self, table: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Write rows in one commit; one whose key is there already stays as it was."""
        for columns, some in groupby(rows, key=tuple):
            self._begin()
            self._connection.executemany(
                _insertion(table, columns), ([_storable(v) for v in row.values()] for row in some)
            )
        self.commit()

    # Writing on the event loop: `await committed()` before anything depends on it.

    def note_sent(self, request: Request, run: str) -> int:
        """Note that a request is about to be sent, with the next commit; return the attempt's number."""
        now = time.time()
        if request.schema and request.schema not in self._schemas:
            self._keep_schema(request.schema)
        self._insert(
            "requests",
            _REQUEST_COLUMNS,
            [
                request.key,
                run,
                request.prompt.digest,
                request.model,
                request.context_id,
                request.query,
                _parameters(request),
                request.sample,
                now,
            ],
        )
        return self._insert("sent", _SENT_COLUMNS, [request.key, run, now])

    def _keep_schema(self, schema: str) -> None:
        self._insert("schemas", ("digest", "schema"), [digest(schema), schema])
        self._schemas.add(schema)

    def note_reply(
        self,
        sent: int,
        request: Request | str,
        run: str,
        completion: Completion,
        seconds: float,
        *,
        batch: str | None = None,
    ) -> Reply:
        """Keep a reply, with the next commit."""
        key, text = _key(request), storable(completion.text)
        row = self._insert(
            "replies",
            _REPLY_COLUMNS,
            [
                sent,
                key,
                run,
                completion.model,
                text,
                completion.finish_reason,
                completion.prompt_tokens,
                completion.completion_tokens,
                completion.cached_tokens,
                completion.cost_usd,
                round(seconds, 4),
                time.time(),
                completion.cache_write_tokens,
                completion.reasoning_tokens,
                batch,
            ],
        )
        self._pending_replies += 1
        if self._pending_replies >= GROUP:
            self.commit()
        return Reply(row, key, text, completion.finish_reason, None, None)

    def note_failure(self, sent: int, request: Request | str, run: str, error: Exception) -> None:
        """Keep what came of a request that got no reply, with the next commit."""
        kind = error.kind if isinstance(error, ProviderError) else type(error).__name__
        values = [sent, _key(request), run, kind, str(error), time.time()]
        self._insert("failures", _FAILURE_COLUMNS, values)

    def commit(self) -> None:
        """Commit what was written."""
        self._pending_replies = 0
        if self._connection.in_transaction:
            self._execute("COMMIT")
        self._commits += 1

    async def committed(self) -> None:
        """Wait until what was written is on disk, together with what others write in this turn of the loop."""
        if not self._connection.in_transaction:
            return
        before = self._commits
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._commit_in_turn)
        # The commit comes first in the next turn, for it was called for before this task goes on.
        await asyncio.sleep(0)
        if self._commits == before:
            self.commit()

    def _commit_in_turn(self) -> None:
        self._is_due = False
        with suppress(sqlite3.Error):  # those who wait try it once more, and are told
            self.commit()

    def _insert(self, table: str, columns: tuple[str, ...], values: list[Any]) -> int:
        self._begin()
        try:
            cursor = self._execute(_insertion(table, columns), values)
        except (UnicodeEncodeError, OverflowError):
            cursor = self._execute(_insertion(table, columns), [_storable(v) for v in values])
        return cursor.lastrowid or 0

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._execute("BEGIN")


def storable(text: str) -> str:
    """Replace what is no character: halves of surrogate pairs, which a JSON reply may hold and no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _key(request: Request | str) -> str:
    return request if isinstance(request, str) else request.key


_REQUEST_COLUMNS = (
    "key", "run", "prompt", "model", "context", "query", "parameters", "sample", "time",
)  # fmt: skip
_SENT_COLUMNS = ("request", "run", "time")
_REPLY_COLUMNS = (
    "sent", "request", "run", "model", "text", "finish_reason", "prompt_tokens", "completion_tokens",
    "cached_tokens", "cost_usd", "seconds", "time", "cache_write_tokens", "reasoning_tokens", "batch",
)  # fmt: skip
_FAILURE_COLUMNS = ("sent", "request", "run", "kind", "message", "time")


@cache
def _insertion(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"


def _parameters(request: Request) -> str:
    """Write what a request has beside its texts."""
    plain = _plain_parameters(request.sampling, request.shape, request.form, request.schema)
    if not request.pictures and not request.repair:
        return plain
    parameters = json.loads(plain)
    if request.pictures:
        parameters["pictures"] = [picture.sha256 for picture in request.pictures]
    if request.repair:
        parameters["repair"] = [asdict(message) for message in request.repair]
    return json.dumps(parameters, ensure_ascii=False)


@cache
def _plain_parameters(sampling: Any, shape: Any, form: str, schema: str | None) -> str:
    parameters: dict[str, object] = {
        "sampling": asdict(sampling),
        "shape": shape.as_dict(),
        "form": form,
    }
    if schema:
        parameters["schema"] = digest(schema)
    return json.dumps(parameters, ensure_ascii=False)


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
