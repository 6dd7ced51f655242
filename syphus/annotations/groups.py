"""Readings: rows made into contexts one by one, or brought together on disk first.

Rows of one picture or video may lie anywhere in their files. `Grouped` writes them to an SQLite file that is deleted afterwards, and gives the
groups in the order in which they first appeared: memory stays flat at any size. `Unique` does the same for ids.

A reader says what is wrong with part of a row by yielding a text beside the rest, and with all of it by raising a ValueError.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from syphus.annotations import files
from syphus.annotations.base import Reading
from syphus.annotations.context import Context, Problem
from syphus.annotations.values import BAD_ROW, explain

T = TypeVar("T")

BATCH = 2_000
"""Rows held in memory at once."""
BLOCK = 64
"""Contexts whose ids are made unique at once."""

Rows = Callable[[Path], Iterable[tuple[str, Any] | Problem]]
"""A file's rows, each with its place; see `syphus.annotations.files`."""


class Row(NamedTuple):
    where: str
    data: Any


class Scratch:
    """A database in a temporary folder, deleted with this object."""

    def __init__(self, *tables: str) -> None:
        """Create the tables, `name (columns)`."""
        folder = tempfile.mkdtemp(prefix="syphus-annotations-")
        self.connection = sqlite3.connect(
            Path(folder) / "rows.sqlite",
            isolation_level=None,
            check_same_thread=False,  # whichever thread collects the garbage closes it
        )
        weakref.finalize(self, _clean_up, self.connection, folder)
        self.connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")
        for table in tables:
            self.connection.execute(f"CREATE TABLE {table}")

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def _clean_up(connection: sqlite3.Connection, folder: str) -> None:
    connection.close()
    shutil.rmtree(folder, ignore_errors=True)


class Grouped:
    def __init__(
        self,
        paths: Sequence[Path],
        rows: Rows,
        parse: Callable[[Any], Iterable[tuple[str, Any] | str]],
        make: Callable[[str, Sequence[Row]], Iterable[Context | Problem]],
    ) -> None:
        """Load the files; iterate to get contexts.

        Args:
            paths: The files.
            rows: A file's rows.
            parse: What is kept of a row: for each group's key plain data, in which orjson finds nothing strange.
            make: A group's contexts, out of the data of its rows.
        """
        self._make = make
        self._scratch = Scratch(
            "groups (number INTEGER PRIMARY KEY, key TEXT UNIQUE)",
            "rows (number INTEGER, place TEXT, data BLOB)",
            "problems (place TEXT, reason TEXT)",
        )
        for path in paths:
            self._load(path, rows(path), parse)
        self._scratch.connection.execute("CREATE INDEX rows_by_group ON rows (number)")

    def __len__(self) -> int:
        [(count,)] = self._scratch.connection.execute("SELECT count(*) FROM groups").fetchall()
        return int(count)

    def __iter__(self) -> Iterator[Context | Problem]:
        import orjson

        query = self._scratch.connection.execute
        for place, reason in query("SELECT place, reason FROM problems ORDER BY rowid"):
            yield Problem(place, reason)
        rows = query(
            "SELECT number, key, place, data FROM rows JOIN groups USING (number) "
            "ORDER BY number, rows.rowid"
        )
        for (_, key), group in itertools.groupby(rows, lambda row: (row[0], row[1])):
            yield from self._make(
                key, [Row(place, orjson.loads(data)) for *_, place, data in group]
            )

    def _load(self, path: Path, rows: Iterable[tuple[str, Any] | Problem], parse: Any) -> None:
        parts: list[tuple[str, str, bytes]] = []
        problems: list[tuple[str, str]] = []
        is_empty = True
        for row in rows:
            is_empty = False
            if isinstance(row, Problem):
                problems.append((row.where, row.reason))
            else:
                _sort(*row, parse, parts, problems)
            if len(parts) + len(problems) >= BATCH:
                self._write(parts, problems)
        if is_empty:
            problems.append((files.shown(path), "the file has no rows of this format"))
        self._write(parts, problems)

    def _write(self, parts: list[tuple[str, str, bytes]], problems: list[tuple[str, str]]) -> None:
        connection = self._scratch.connection
        connection.executemany(
            "INSERT OR IGNORE INTO groups (key) VALUES (?)", ((key,) for key, *_ in parts)
        )
        connection.executemany(
            "INSERT INTO rows SELECT number, ?2, ?3 FROM groups WHERE key = ?1", parts
        )
        self._scratch.insert("problems", problems)
        parts.clear()
        problems.clear()


def _sort(
    where: str,
    row: Any,
    parse: Callable[[Any], Iterable[tuple[str, Any] | str]],
    parts: list[tuple[str, str, bytes]],
    problems: list[tuple[str, str]],
) -> None:
    """Put what a row holds where it belongs: all of it, or only why it cannot be used."""
    import orjson

    try:
        for part in list(parse(row)):
            if isinstance(part, str):
                problems.append((where, part))
            else:
                parts.append((part[0], where, orjson.dumps(part[1])))
    except BAD_ROW as error:
        problems.append((where, explain(error)))


class Streamed(Generic[T]):
    """Contexts made of one row each, while the files are read."""

    def __init__(
        self,
        sources: Sequence[T],
        rows: Callable[[T], Iterable[tuple[str, Any] | Problem]],
        make: Callable[[str, Any], Iterable[Context | str]],
        count: Callable[[], int],
    ) -> None:
        """Only remember what to do."""
        self._sources, self._rows, self._make, self._count = sources, rows, make, count

    def __len__(self) -> int:
        return self._count()

    def __iter__(self) -> Iterator[Context | Problem]:
        for source in self._sources:
            for row in self._rows(source):
                if isinstance(row, Problem):
                    yield row
                    continue
                where, data = row
                try:
                    made = list(self._make(where, data))
                except BAD_ROW as error:
                    yield Problem(where, explain(error))
                    continue
                for part in made:
                    yield Problem(where, part) if isinstance(part, str) else part


class Unique:
    """A reading whose ids are made unique: a second "cat" is "cat_2"."""

    def __init__(self, reading: Reading) -> None:
        """Iterate to get contexts."""
        self._reading = reading

    def __len__(self) -> int:
        return len(self._reading)

    def __iter__(self) -> Iterator[Context | Problem]:
        scratch = Scratch("ids (id TEXT PRIMARY KEY, used INTEGER, block INTEGER) WITHOUT ROWID")
        for number, block in enumerate(_blocks(self._reading)):
            ids = [(item.id, number) for item in block if isinstance(item, Context)]
            if _take(scratch.connection, ids):
                yield from block
                continue
            for item in block:
                if isinstance(item, Context):
                    id_ = _free(scratch.connection, item.id, number)
                    yield item if id_ == item.id else dataclasses.replace(item, id=id_)
                else:
                    yield item


def _blocks(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield some items at a time; those before an error too."""
    block: list[T] = []
    try:
        for item in items:
            block.append(item)
            if len(block) == BLOCK:
                yield block
                block = []
    except Exception:
        yield block
        raise
    yield block


def _take(connection: sqlite3.Connection, ids: Sequence[tuple[str, int]]) -> bool:
    """Take a block's ids if all of them are free, as nearly always, or none."""
    taken = connection.executemany("INSERT OR IGNORE INTO ids VALUES (?, 1, ?)", ids).rowcount
    if not ids or taken == len(ids):
        return True
    connection.executemany("DELETE FROM ids WHERE id = ? AND block = ?", ids)
    return False


def _free(connection: sqlite3.Connection, wanted: str, block: int) -> str:
    """Return the id, or the first free one made from it, and take it."""
    take = "INSERT OR IGNORE INTO ids VALUES (?, 1, ?)"
    id_ = wanted
    while not connection.execute(take, (id_, block)).rowcount:
        connection.execute("UPDATE ids SET used = used + 1 WHERE id = ?", (wanted,))
        [(used,)] = connection.execute("SELECT used FROM ids WHERE id = ?", (wanted,)).fetchall()
        id_ = f"{wanted}_{used}"
    return id_
