"""Records with all that is known of them, read from the catalog for moments.

A catalog that is open for reading cannot be written, so it is opened for some records and let go of again. Those that come
next are read ahead, a few at a time: a page gets them from memory, and goes on for a while when a writer has the catalog. Rows are
found by their number; should the catalog have been built again since, what is there has another id, and is found by that.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mimicit import catalog
from mimicit.errors import LockedError
from mimicit.sql import quoted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import duckdb

    from mimicit.store import Store

PATIENCE = 2.0
"""Seconds that a page waits for another process to let go of the catalog."""
OPEN_SECONDS = 1.0
"""A connection that was open for so long gets no new users, so that others can write."""
KEPT = 1_024
"""Records in memory."""
TURNS = 200
"""Of a conversation, at most; and verdicts of a record."""
MOST_TURNS = 2_000
"""Of all conversations that are read at once."""
FRESH_SECONDS = 120.0
"""After that a record is read again, for verdicts that came since; should that not be possible, as it was."""

Card = tuple[int | None, str]
"""A record's row, if somebody knows it, and its id."""
Facts = dict[str, Any]

_FIELDS = (
    "id", "task", "instruction", "answer", "image_ids", "rel_ins_ids", "language", "source", "request", "reply",
    "translation_of", "conversation", "turn", "rejected", "meta",
)  # fmt: skip


class Reader:
    """Safe for threads: they share a connection for as long as one of them needs it, but not for long."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: OrderedDict[str, tuple[float, Facts]] = OrderedDict()
        self._change = threading.Condition()
        """Guards all that follows, and what is kept."""
        self._opened: AbstractContextManager[duckdb.DuckDBPyConnection] | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._since = 0.0
        self._users = 0

    def has(self, id: str) -> bool:
        """Say whether somebody need not wait for a record."""
        found = self._kept.get(id)
        return found is not None and time.monotonic() - found[0] < FRESH_SECONDS

    def get(self, card: Card) -> Facts | None:
        """Return a record; None where there is none of this id.

        Raises:
            LockedError: another process has the catalog, and the record is not in memory.
        """
        id = card[1]
        if not self.has(id):
            try:
                self.read([card], patience=PATIENCE)
            except LockedError:
                if id not in self._kept:
                    raise
        found = self._kept.get(id)
        return found[1] if found else None

    def read(self, cards: Sequence[Card], *, patience: float = 0.0) -> None:
        """Read records into memory.

        Raises:
            LockedError: another process has the catalog.
        """
        with self._reading(patience) as connection:
            found = records(connection, cards)
        now = time.monotonic()
        with self._change:
            for id, facts in found.items():
                self._kept[id] = (now, facts)
                self._kept.move_to_end(id)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def origin(self, id: str) -> Facts | None:
        """Return where a record comes from: model, prompt, what was asked, what was replied.

        Raises:
            LockedError: another process has the catalog.
        """
        with self._reading(PATIENCE) as connection:
            return _origin(connection, id)

    @contextmanager
    def _reading(self, patience: float) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._begin(patience)
        try:
            yield cursor
        finally:
            cursor.close()
            self._end()

    def _begin(self, patience: float) -> duckdb.DuckDBPyConnection:
        with self._change:
            while self._users and time.monotonic() - self._since > OPEN_SECONDS:
                self._change.wait()
            if self._connection is None:
                path = self.store.catalog_path
                self._opened = catalog.connect(path, read_only=True, patience=patience)
                self._connection = self._opened.__enter__()
                self._since = time.monotonic()
            self._users += 1
            cursor = self._connection.cursor()
            cursor.execute("USE catalog")
            return cursor

    def _end(self) -> None:
        with self._change:
            self._users -= 1
            if not self._users and self._opened is not None:
                self._opened.__exit__(None, None, None)
                self._opened = self._connection = None
            self._change.notify_all()


def records(connection: duckdb.DuckDBPyConnection, cards: Sequence[Card]) -> dict[str, Facts]:
    """Return records by their ids, with pictures, annotations, verdicts and conversations."""
    ids = {id for _, id in cards}
    rows = [row for row, _ in cards if row is not None]
    found = _by(connection, "rowid", rows) if rows else {}
    found = {id: facts for id, facts in found.items() if id in ids}
    if missing := ids - found.keys():
        found |= _by(connection, "id", map(quoted, sorted(missing)))
    pictures = {picture for facts in found.values() for picture in facts["image_ids"]}
    shown, told = _pictures(connection, pictures), _annotations(connection, pictures)
    verdicts = _verdicts(connection, found)
    turns = _turns(connection, {f["conversation"] for f in found.values() if f["conversation"]})
    for id, facts in found.items():
        here = set(facts["image_ids"])
        facts["pictures"] = [shown.get(one, {"id": one}) for one in facts["image_ids"]]
        facts["annotations"] = [one for one in told if here.issuperset(one["pictures"])]
        facts["verdicts"] = verdicts.get(id, [])
        facts["turns"] = turns.get(facts["conversation"], [])
    return found


def _by(
    connection: duckdb.DuckDBPyConnection, column: str, values: Iterable[object]
) -> dict[str, Facts]:
    listed = ", ".join(map(str, values))
    query = f"SELECT {', '.join(_FIELDS)} FROM instructions WHERE {column} IN ({listed})"
    return {facts["id"]: facts for facts in _dicts(connection, query)}


def _pictures(connection: duckdb.DuckDBPyConnection, ids: set[str]) -> dict[str, Facts]:
    if not ids:
        return {}
    query = f"SELECT id, mime, width, height, source, time FROM images WHERE id IN ({_listed(ids)})"
    return {facts["id"]: facts for facts in _dicts(connection, query)}


def _annotations(connection: duckdb.DuckDBPyConnection, ids: set[str]) -> list[Facts]:
    """Return what people said of pictures; of the table beneath the view, whose window would look at all of them."""
    if not ids:
        return []
    return _dicts(
        connection,
        "SELECT pictures, captions, objects, source FROM _annotations "
        f"WHERE list_has_any(pictures, [{_listed(ids)}]) QUALIFY row_number() OVER (PARTITION BY "
        "pictures, split_part(source, '#', 1) ORDER BY part DESC, rowid DESC) = 1 ORDER BY pictures",
    )


def _verdicts(
    connection: duckdb.DuckDBPyConnection, ids: Iterable[str]
) -> dict[str | None, list[Facts]]:
    query = (
        "SELECT record, filter, reason, recipe, score, coalesce(rejects, true) AS rejects FROM verdicts "
        f"WHERE record IN ({_listed(ids)}) ORDER BY rejects DESC, recipe, filter"
    )
    return _grouped(_dicts(connection, query), "record")


def _turns(
    connection: duckdb.DuckDBPyConnection, conversations: set[str]
) -> dict[str | None, list[Facts]]:
    """Find the rows first: texts are read of these few, and not of all that are looked through."""
    if not conversations:
        return {}
    found = connection.execute(
        f"SELECT rowid FROM instructions WHERE conversation IN ({_listed(conversations)}) LIMIT {MOST_TURNS}"
    ).fetchall()
    rows = ", ".join(str(row) for (row,) in found) or "NULL"
    query = (
        "SELECT id, conversation, turn, instruction, answer FROM instructions "
        f"WHERE rowid IN ({rows}) ORDER BY turn, id"
    )
    return _grouped(_dicts(connection, query), "conversation")


def _origin(connection: duckdb.DuckDBPyConnection, id: str) -> Facts | None:
    """Look the record up first: the view `provenance` would join whole tables."""
    rows = connection.execute(
        "SELECT request, reply FROM instructions WHERE id = ? LIMIT 1", [id]
    ).fetchall()
    if not rows or rows[0][1] is None:
        return None
    request, reply = rows[0]
    answered = _dicts(
        connection,
        "SELECT model, text AS reply_text, finish_reason, prompt_tokens, completion_tokens, cost_usd, "
        "run, epoch(time) AS time FROM replies WHERE id = $1 AND request = $2",
        [reply, request],
    )
    asked = _dicts(
        connection,
        "SELECT q.context, q.query, p.task AS prompt_task, p.version AS prompt_version "
        "FROM (SELECT * FROM requests WHERE key = $1) AS q LEFT JOIN prompts AS p ON p.digest = q.prompt",
        [request],
    )
    return (asked[0] if asked else {}) | (answered[0] if answered else {})


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(map(quoted, sorted(ids))) or "NULL"


def _grouped(rows: list[Facts], column: str) -> dict[str | None, list[Facts]]:
    """Gather rows by a column, which none of them keeps."""
    found: dict[str | None, list[Facts]] = defaultdict(list)
    for facts in rows:
        group = found[facts.pop(column)]
        if len(group) < TURNS:
            group.append(facts)
    return found


def _dicts(
    connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[object] = ()
) -> list[Facts]:
    result = connection.execute(query, list(values))
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
