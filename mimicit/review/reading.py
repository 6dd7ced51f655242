"""Records with all that is known of them, read from the catalog for moments.

The records that come next are read ahead, a few at a time: a page gets them from memory, and goes on for a while when a writer has
the catalog (`borrowing`). A record's row is found by its number; should the catalog have been built again since, what is there has
another id, and is found by that. What belongs to a record is found with an index (`finding`), which is made beside.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mimicit.errors import LockedError
from mimicit.review.borrowing import Borrowed, Stamp
from mimicit.review.finding import COLUMNS, Index, narrowed
from mimicit.sql import quoted

if TYPE_CHECKING:
    import duckdb

    from mimicit.store import Store

PATIENCE = 2.0
"""Seconds that a page waits for another process to let go of the catalog."""
KEPT = 1_024
"""Records in memory."""
TURNS = 200
"""Of a conversation, at most; and verdicts of a record."""
MOST_TURNS = 2_000
"""Of all conversations that are read at once."""
REST = 3
"""Times what making an index takes, before the next one is made: a run that writes all the time does not keep the room busy."""
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
    """Safe for threads."""

    def __init__(self, store: Store) -> None:
        self._catalog = Borrowed(store.catalog_path)
        self._kept: OrderedDict[str, tuple[float, Facts]] = OrderedDict()
        self._keeping = threading.Lock()
        self._index: Index | None = None
        self._is_index_old = True
        self._next_index = 0.0
        """When another one may be made."""

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
        with self._catalog.reading(patience) as (connection, stamp):
            found = records(connection, cards, self._index_of(stamp))
        now = time.monotonic()
        with self._keeping:
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
        with self._catalog.reading(PATIENCE) as (connection, stamp):
            return _origin(connection, id, self._index_of(stamp))

    def make_index(self) -> None:
        """Make the index again, if the catalog was written since and it is not too soon.

        Raises:
            LockedError: another process has the catalog.
        """
        began = time.monotonic()
        if not self._is_index_old or began < self._next_index:
            return
        index = self._indexed()
        self._next_index = began + (1 + REST) * (time.monotonic() - began)
        if index is not None:
            self._index, self._is_index_old = index, False

    def _indexed(self) -> Index | None:
        """Return an index of the catalog, which is let go of after each column; None if it was written meanwhile."""
        index: Index | None = None
        for column in COLUMNS:
            with self._catalog.reading(0.0) as (connection, stamp):
                index = index or Index(stamp)
                if index.stamp != stamp:
                    return None
                index.add(connection, column)
        return index

    def close(self) -> None:
        self._catalog.close()

    def _index_of(self, stamp: Stamp) -> Index | None:
        """Return the index, if it is one of the catalog as it is now."""
        index = self._index
        if index is not None and index.stamp == stamp:
            return index
        self._is_index_old = True
        return None


def records(
    connection: duckdb.DuckDBPyConnection, cards: Sequence[Card], index: Index | None = None
) -> dict[str, Facts]:
    """Return records by their ids, with pictures, annotations, verdicts and conversations."""
    ids = {id for _, id in cards}
    rows = ", ".join(str(row) for row, _ in cards if row is not None)
    found = _instructions(connection, f"rowid IN ({rows})") if rows else {}
    found = {id: facts for id, facts in found.items() if id in ids}
    if missing := ids - found.keys():
        where = narrowed(connection, index, "record", missing)
        found |= _instructions(connection, f"{where} AND id IN ({_listed(missing)})")
    pictures = {picture for facts in found.values() for picture in facts["image_ids"]}
    conversations = {facts["conversation"] for facts in found.values() if facts["conversation"]}
    shown = _pictures(connection, pictures, index)
    told = _annotations(connection, pictures, index)
    verdicts = _verdicts(connection, found, index)
    turns = _turns(connection, conversations, index)
    for id, facts in found.items():
        here = set(facts["image_ids"])
        facts["pictures"] = [shown.get(one, {"id": one}) for one in facts["image_ids"]]
        facts["annotations"] = [one for one in told if here.issuperset(one["pictures"])]
        facts["verdicts"] = verdicts.get(id, [])
        facts["turns"] = turns.get(facts["conversation"], [])
    return found


def _instructions(connection: duckdb.DuckDBPyConnection, where: str) -> dict[str, Facts]:
    query = f"SELECT {', '.join(_FIELDS)} FROM instructions WHERE {where}"
    return {facts["id"]: facts for facts in _dicts(connection, query)}


def _pictures(
    connection: duckdb.DuckDBPyConnection, ids: set[str], index: Index | None
) -> dict[str, Facts]:
    if not ids:
        return {}
    where = narrowed(connection, index, "picture", ids)
    query = (
        "SELECT id, mime, width, height, source, time FROM images "
        f"WHERE {where} AND id IN ({_listed(ids)})"
    )
    return {facts["id"]: facts for facts in _dicts(connection, query)}


def _annotations(
    connection: duckdb.DuckDBPyConnection, ids: set[str], index: Index | None
) -> list[Facts]:
    """Return what people said of pictures; of the table beneath the view, whose window would look at all of them."""
    if not ids:
        return []
    where = narrowed(connection, index, "annotated", ids)
    return _dicts(
        connection,
        "SELECT pictures, captions, objects, source FROM _annotations "
        f"WHERE {where} AND list_has_any(pictures, [{_listed(ids)}]) QUALIFY row_number() OVER (PARTITION BY "
        "pictures, split_part(source, '#', 1) ORDER BY part DESC, rowid DESC) = 1 ORDER BY pictures",
    )


def _verdicts(
    connection: duckdb.DuckDBPyConnection, ids: Iterable[str], index: Index | None
) -> dict[str | None, list[Facts]]:
    where = narrowed(connection, index, "judged", ids)
    query = (
        "SELECT record, filter, reason, recipe, score, coalesce(rejects, true) AS rejects FROM verdicts "
        f"WHERE {where} AND record IN ({_listed(ids)}) ORDER BY rejects DESC, recipe, filter"
    )
    return _grouped(_dicts(connection, query), "record")


def _turns(
    connection: duckdb.DuckDBPyConnection, conversations: set[str], index: Index | None
) -> dict[str | None, list[Facts]]:
    """Find the rows first: texts are read of these few, and not of all that are looked through."""
    if not conversations:
        return {}
    where = narrowed(connection, index, "conversation", conversations)
    found = connection.execute(
        f"SELECT rowid FROM instructions WHERE {where} AND conversation IN ({_listed(conversations)}) "
        f"LIMIT {MOST_TURNS}"
    ).fetchall()
    rows = ", ".join(str(row) for (row,) in found) or "NULL"
    query = (
        "SELECT id, conversation, turn, instruction, answer FROM instructions "
        f"WHERE rowid IN ({rows}) ORDER BY turn, id"
    )
    return _grouped(_dicts(connection, query), "conversation")


def _origin(connection: duckdb.DuckDBPyConnection, id: str, index: Index | None) -> Facts | None:
    """Look the record up first: the view `provenance` would join whole tables."""
    where = narrowed(connection, index, "record", [id])
    rows = connection.execute(
        f"SELECT request, reply FROM instructions WHERE {where} AND id = ? LIMIT 1", [id]
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
