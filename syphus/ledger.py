"""Every request and reply on disk before anything else happens to it.

One SQLite file in WAL mode with one writer on the event loop, and a journal beside it (`mimicit.ledger_files`). A request is sent, and a
reply parsed, only after its row is in the journal, so killed at any moment the ledger has every reply that was received; SQLite
commits thousands of rows at once, at least once a second. Tables only grow (their columns: `mimicit.ledger_tables`). A reply's `readings` row, which says
what was read from it, is written after the records are in the dataset. So a reply without a reading is parsed again on the next run,
at no cost, and a request without a reply is sent again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mimicit.errors import DatasetError, LockedError
from mimicit.ledger_files import Journal, Row, connect, insert
from syphus.errors import ProviderError
from syphus.ledger_rows import (
    FAILURE_COLUMNS,
    REPLY_COLUMNS,
    REQUEST_COLUMNS,
    SENT_COLUMNS,
    insertion,
    parameters,
    storable,
    storable_value,
)
from syphus.ledger_setup import prepare, versions
from syphus.replies import BLOCK, Reading, Replies, Reply
from syphus.request import Completion, Prompt, Request, digest

__all__ = ["BLOCK", "Ledger", "Reading", "Reply", "storable"]

COMMIT_ROWS = 8_192
"""Rows that wait in the journal for one commit, at most."""
COMMIT_SECONDS = 1.0
"""How long, at most, while the event loop runs: until then nobody else sees them."""


class Ledger(Replies):
    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the ledger for writing, and make it if there is none; or for reading.

        Raises:
            DatasetError: the file is damaged.
        """
        self.path = path
        self._journal: Journal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._pending: dict[tuple[str, tuple[str, ...]], list[list[Any]]] = {}
        """Table and columns -> rows, with their numbers, that SQLite has not seen."""
        self._numbers: dict[str, int] = {}
        """Table -> its last row's."""
        self._schemas: set[str] = set()
        """Those that are kept already."""
        self._connection = (
            connect(path) if read_only else sqlite3.connect(path, isolation_level=None)
        )
        self._do = self._connection.execute
        try:
            if not read_only:
                self._journal = Journal(path)
                self._prepare()
            super().__init__(self._connection)
        except LockedError:
            self._connection.close()
            raise
        except sqlite3.OperationalError:  # a full disk, a medium that cannot be written
            self._close()
            raise
        except sqlite3.DatabaseError as error:
            self._close()
            raise DatasetError(
                f"the ledger {str(path)!r} is damaged ({error}); restore it, or move it away to start "
                "a new one: records stay, but replies are asked for again"
            ) from None

    def _prepare(self) -> None:
        prepare(self._connection)
        self._begin()  # which brings in what a killed run left
        self.commit()

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
            self._close()

    def _close(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._connection.close()
        if self._journal:
            self._journal.close()

    # Writing

    def start_run(self, *, task: str, model: str, arguments: Sequence[str]) -> str:
        run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
        row = {
            "id": run,
            "time": time.time(),
            "task": task,
            "model": model,
            "arguments": json.dumps(list(arguments), ensure_ascii=False),
            "versions": json.dumps(versions()),
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
        rows = self._sent(request, run)
        self._keep(rows)
        return rows[-1][1]

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
        row, reply = self._replied(sent, _key(request), run, completion, seconds, batch)
        self._keep([row])
        return reply

    def fail(self, sent: int, request: Request | str, run: str, error: Exception) -> None:
        """Keep what came of a request that got no reply."""
        self._keep([self._failed(sent, _key(request), run, error)])

    def read(self, readings: Iterable[Reading]) -> None:
        """Note what was read from replies, in one commit."""
        now = time.time()
        rows = [(*reading, now) for reading in readings]
        sql = insertion("readings", (*Reading._fields, "time"))
        self._begin()
        self._flush()
        self._do("SAVEPOINT readings")
        try:
            self._connection.executemany(sql, rows)
        except (UnicodeEncodeError, OverflowError):
            self._do("ROLLBACK TO readings")
            self._connection.executemany(sql, [tuple(map(storable_value, row)) for row in rows])
        self.commit()

    def insert(self, table: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Write rows in one commit; one whose key is there already stays as it was."""
        for columns, some in groupby(rows, key=tuple):
            self._begin()
            self._flush()
            self._connection.executemany(
                insertion(table, columns),
                ([storable_value(v) for v in row.values()] for row in some),
            )
        self.commit()

    # Writing what is of use together only: on disk with the next commit, all or none of it.

    def note_sent(self, request: Request, run: str) -> int:
        """Note that a request is about to be sent, with the next commit; return the attempt's number."""
        return self._sent(request, run)[-1][1]

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
        return self._replied(sent, _key(request), run, completion, seconds, batch)[1]

    def note_failure(self, sent: int, request: Request | str, run: str, error: Exception) -> None:
        """Keep what came of a request that got no reply, with the next commit."""
        self._failed(sent, _key(request), run, error)

    def commit(self) -> None:
        """Commit what was written.

        Raises:
            sqlite3.OperationalError: it cannot be written: the disk is full, say. What is in the journal is committed another time.
        """
        if self._journal and self._journal.size:
            self._begin()  # where the last commit failed
        if self._connection.in_transaction:
            try:
                self._flush()
                self._do("COMMIT")
            except sqlite3.OperationalError:
                with suppress(sqlite3.OperationalError):
                    self._do("ROLLBACK")
                raise
        if self._journal:
            self._journal.clear()
        self._waiting = 0

    # The rows

    def _sent(self, request: Request, run: str) -> list[Row]:
        now, rows = time.time(), []
        if request.schema and request.schema not in self._schemas:
            schema = [digest(request.schema), request.schema]
            rows.append(self._insert("schemas", ("digest", "schema"), schema))
            self._schemas.add(request.schema)
        values: list[Any] = [
            request.key,
            run,
            request.prompt.digest,
            request.model,
            request.context_id,
            request.query,
            parameters(request),
            request.sample,
            now,
        ]
        rows.append(self._insert("requests", REQUEST_COLUMNS, values))
        rows.append(self._insert("sent", SENT_COLUMNS, [request.key, run, now]))
        return rows

    def _replied(
        self,
        sent: int,
        key: str,
        run: str,
        completion: Completion,
        seconds: float,
        batch: str | None,
    ) -> tuple[Row, Reply]:
        text = storable(completion.text)
        row = self._insert(
            "replies",
            REPLY_COLUMNS,
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
        return row, Reply(row[1], key, text, completion.finish_reason, None, None)

    def _failed(self, sent: int, key: str, run: str, error: Exception) -> Row:
        kind = error.kind if isinstance(error, ProviderError) else type(error).__name__
        values = [sent, key, run, kind, str(error), time.time()]
        return self._insert("failures", FAILURE_COLUMNS, values)

    def _insert(self, table: str, columns: tuple[str, ...], values: list[Any]) -> Row:
        """Have a row put into the transaction with the next ones; return it.

        Its number is ours, so that the journal knows it before SQLite has the row.
        """
        self._begin()
        number = self._numbers.get(table)
        if number is None:
            [(number,)] = self._connection.execute(f"SELECT max(rowid) FROM {table}")
        self._numbers[table] = number = (number or 0) + 1
        self._pending.setdefault((table, columns), []).append([number, *values])
        return table, number, dict(zip(columns, values, strict=True))

    def _flush(self) -> None:
        """Put the rows that wait into the transaction: one call of SQLite's for many."""
        if not self._pending:
            return
        pending, self._pending = (
            self._pending,
            {},
        )  # whatever happens: what was kept is in the journal
        for (table, columns), rows in pending.items():
            # A row whose number is taken would be another writer's: that is never passed over.
            again = "IGNORE" if table in ("requests", "schemas") else "ABORT"
            sql = insertion(table, ("rowid", *columns), again)
            self._do("SAVEPOINT rows")
            try:
                self._connection.executemany(sql, rows)
            except (UnicodeEncodeError, OverflowError):
                self._do("ROLLBACK TO rows")
                self._connection.executemany(sql, [list(map(storable_value, row)) for row in rows])
            self._do("RELEASE rows")  # until then SQLite keeps what every page held before

    def _execute(self, query: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        self._flush()
        return super()._execute(query, parameters)

    def _keep(self, rows: list[Row]) -> None:
        """Have rows of the transaction on disk."""
        assert self._journal, "the ledger is open for reading"
        try:
            self._journal.add(rows)
        except (
            OSError,
            TypeError,
        ):  # a full disk; SQLite's file may have room, or says so in a sentence
            self.commit()
            return
        self._waiting += len(rows)
        if self._waiting >= COMMIT_ROWS:
            self.commit()

    def _begin(self) -> None:
        if self._connection.in_transaction:
            return
        self._pending.clear()  # SQLite took the transaction back: what was kept is in the journal
        self._do("BEGIN")
        if self._journal and self._journal.size:
            insert(self._connection, self._journal.rows())
        with suppress(RuntimeError):  # outside an event loop
            loop = asyncio.get_running_loop()
            if self._timer:
                self._timer.cancel()
            self._timer = loop.call_later(COMMIT_SECONDS, self._commit_in_time)

    def _commit_in_time(self) -> None:
        with suppress(sqlite3.Error):  # the next one who commits tries it once more, and is told
            self.commit()


def _key(request: Request | str) -> str:
    return request if isinstance(request, str) else request.key
