"""The rows of an SQL query, run by DuckDB on whatever files it names: csv, Parquet, JSON, databases. A row is a context.

    SELECT file_name AS image, list(text ORDER BY id) AS captions FROM 'captions.parquet' GROUP BY ALL ORDER BY image

The query may only read: it is one SELECT (or WITH, FROM). It is the user's own, so it may read any file that the user may. It runs twice where its rows are
counted, and the order of rows decides which of two equal ids gets a suffix, so say ORDER BY where ids may repeat. A file `….sql` may hold it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syphus.annotations import files, generic
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Problem
from syphus.annotations.groups import Streamed
from syphus.errors import AnnotationError

if TYPE_CHECKING:
    import duckdb

TITLE = "an SQL query"
BATCH = 1_000
"""Rows held in memory at once."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}
_BEGINNING = re.compile(rb"\s*(?:--[^\n]*\n\s*)*(select|with|from)\b", re.IGNORECASE)

_END = re.compile(r"\s*;(?:[\s;]|--[^\n]*)*$")


def sniff(path: Path) -> bool:
    """Say whether the file is called one of SQL and holds a query."""
    return files.suffix(path) == ".sql" and bool(_BEGINNING.match(files.head(path)))


def read(paths: Sequence[Path | str], options: Options) -> Reading:
    """Check the queries, which are given as texts or in files."""
    queries = [_query(path) for path in paths]
    for query in queries:
        generic.require_columns(_shown(query), _columns(query), options)
    return Streamed(
        [(query, _place(number, len(queries))) for number, query in enumerate(queries)],
        lambda source: _rows(*source),
        lambda where, row: generic.contexts(where, row, options),
        lambda: sum(map(_count, queries)),
    )


def _query(path: Path | str) -> str:
    """Return the query without what follows its end, so that it can be a part of another."""
    if isinstance(path, Path):
        try:
            with files.open_file(path) as file:
                path = file.read().decode()
        except UnicodeDecodeError:
            raise AnnotationError(f"{str(path)!r} is not valid UTF-8") from None
    import duckdb

    path = _END.sub("", path)
    with _connect() as connection:
        try:
            statements = connection.extract_statements(path)
        except duckdb.Error as error:
            raise AnnotationError(f"{_shown(path)!r} is not valid SQL: {_said(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise AnnotationError(f"{_shown(path)!r} is not one SELECT statement; nothing else is run")
    return path


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(config=_CONFIG)


def _columns(query: str) -> list[str]:
    return [str(name) for name, *_ in _fetch(f"DESCRIBE {query}")]


def _count(query: str) -> int:
    [(count,)] = _fetch(f"SELECT count(*) FROM ({query}\n)")
    return int(count)


def _fetch(query: str) -> list[Any]:
    import duckdb

    with _connect() as connection:
        try:
            return connection.execute(query).fetchall()
        except duckdb.Error as error:
            raise AnnotationError(f"the query cannot be run: {_said(error)}") from None


def _rows(query: str, place: str) -> Iterator[tuple[str, Any] | Problem]:
    import duckdb

    number = 0
    with _connect() as connection:
        try:
            result = connection.execute(query)
            names = [column[0] for column in result.description or ()]
            while rows := result.fetchmany(BATCH):
                for row in rows:
                    yield f"{place}#{number}", dict(zip(names, row, strict=True))
                    number += 1
        except duckdb.Error as error:
            yield Problem(f"{place}#{number}", f"the query breaks off here: {_said(error)}")


def _place(number: int, count: int) -> str:
    return "query" if count == 1 else f"query {number + 1}"


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _shown(query: str) -> str:
    plain = " ".join(query.split())
    return plain if len(plain) <= 60 else f"{plain[:59]}…"
