"""Close every door of a DuckDB connection before somebody else's SQL runs in it.

Recipes, selections and `syphus sql` hold SQL that we did not write. After `lock_down` a connection reads no file, installs and
loads no extension, attaches nothing, and cannot undo any of this. The lock leaves three gaps, so a statement is read first:

- DuckDB may write beside its own attached files, and a reading statement can hold a writing one: EXPLAIN ANALYZE COPY …,
  WITH x AS (COPY …) SELECT …;
- some table functions take an address in memory, or change the process (`enable_logging` under the lock, in 1.5);
- functions that run a text as SQL would hide both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mimicit.errors import QueryError

if TYPE_CHECKING:
    import duckdb

_LOCKS = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
)
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Parts of a statement that only read; the others are called COPY_QUERY_NODE and the like."""
_FUNCTIONS = frozenset(
    {
        *("duckdb_columns", "duckdb_databases", "duckdb_functions", "duckdb_keywords"),
        *("duckdb_schemas", "duckdb_settings", "duckdb_tables", "duckdb_types", "duckdb_views"),
        *("generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names"),
        *("pragma_database_size", "pragma_platform", "pragma_show", "pragma_storage_info"),
        *("pragma_table_info", "pragma_version", "range", "repeat", "repeat_row", "summary"),
        *("test_all_types", "unnest"),
        # These open files, and the lock says so better than we could.
        *("glob", "parquet_metadata", "parquet_schema", "read_blob", "read_csv", "read_csv_auto"),
        *(
            "read_json",
            "read_json_auto",
            "read_ndjson",
            "read_parquet",
            "parquet_scan",
            "read_text",
        ),
        "sniff_csv",
    }
)
"""Table functions that only read. A macro is not in question: what it is made of was checked when it was made."""
_READS = ("SELECT", "EXPLAIN")
_WRITES = ("CREATE", "CREATE_FUNC", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "DROP", "ALTER")
_WORD = re.compile(r'"[^"]*"|\w+')
_COMMENT = "token_type.comment"
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?(?:\([\w\s,]*\)\s*)?", re.IGNORECASE)


def lock_down(connection: duckdb.DuckDBPyConnection, *, memory_limit: str | None = None) -> None:
    for lock in _LOCKS:
        connection.execute(lock)
    if memory_limit:
        connection.execute(f"SET memory_limit = '{memory_limit}'")
    connection.execute("SET lock_configuration = true")


def predicate(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Return somebody's predicate in brackets that it cannot close, nor swallow by a comment at its end.

    Raises:
        duckdb.Error: it is not one expression.
        QueryError: it does more than read.
    """
    whole = f"SELECT 1 WHERE {text}"
    connection.extract_statements(whole)
    check_select(connection, whole)
    return f"({text}\n)"


def check(connection: duckdb.DuckDBPyConnection, query: str, *, write: bool = False) -> str:
    """Return the kind of a statement, if it is one and may run.

    Args:
        connection: To parse it with.
        query: What somebody typed.
        write: Statements that change tables may run, too.

    Raises:
        QueryError: it may not; the sentence says what may.
        duckdb.Error: it is no SQL.
    """
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise QueryError(f"give one statement, not {len(statements)}")
    kind: str = statements[0].type.name
    if kind == "SELECT":
        check_select(connection, query)
    elif kind == "EXPLAIN":
        _check_explain(connection, query)
    elif kind not in _WRITES:
        allowed = "SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW and EXPLAIN"
        raise QueryError(
            f"a statement of kind {kind} may change something; only {allowed} are allowed here"
        )
    elif not write:
        raise QueryError(
            f"a statement of kind {kind} may change something, and without --write nothing can be changed; "
            "with it you can make tables of your own: CREATE TABLE mine.good AS SELECT …"
        )
    else:
        _check_words(connection, query)
    return kind


def check_select(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Find that a statement of kind SELECT does nothing but read.

    Raises:
        QueryError: it holds a statement that writes, or calls a function that does more than read.
    """
    [(text,)] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
    tree = json.loads(text)
    if tree.get("error"):
        raise QueryError(f"this statement cannot be checked: {tree.get('error_message')}")
    for kind, name in _parts(tree):
        if kind.endswith("_NODE") and kind not in _NODES:
            raise QueryError(
                f"{kind.partition('_')[0]} inside another statement may change something; only reading is allowed here"
            )
        if kind == "TABLE_FUNCTION" and name not in _FUNCTIONS and name in _refused(connection):
            raise QueryError(f"the function {name}() is not allowed here")


def _parts(tree: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind of everything in a statement, and of a table function its name."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            kind = part.get("type")
            if isinstance(kind, str):
                function = part.get("function")
                name = function.get("function_name", "") if isinstance(function, dict) else ""
                yield kind, str(name).lower()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_explain(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """EXPLAIN ANALYZE runs what it explains."""
    match = _EXPLAIN.match(query)
    explained = connection.extract_statements(query[match.end() :]) if match else []
    if match is None or [statement.type.name for statement in explained] != ["SELECT"]:
        raise QueryError("only EXPLAIN SELECT … and EXPLAIN ANALYZE SELECT … are allowed here")
    check_select(connection, query[match.end() :])


def _check_words(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Look for what a writing statement must not hold; only of a SELECT there is a tree to look at."""
    import duckdb

    kinds = (duckdb.token_type.keyword, duckdb.token_type.identifier)
    tokens = [(start, kind) for start, kind in duckdb.tokenize(query) if str(kind) != _COMMENT]
    data = query.encode()
    refused = _refused(connection)
    for at, (start, kind) in enumerate(tokens):
        word = _WORD.match(data[start:].decode(errors="replace"))
        if kind not in kinds or word is None:
            continue
        name = word[0].strip('"').lower()
        after = tokens[at + 1][0] if at + 1 < len(tokens) else len(data)
        if name == "copy":
            raise QueryError("COPY is not allowed here; -o FILE writes a result to a file")
        if name in refused and data[after : after + 1] == b"(":
            raise QueryError(f"the function {name}() is not allowed here")


def _refused(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return DuckDB's own table functions that are not known to only read."""
    rows = connection.execute(
        "SELECT lower(function_name) FROM duckdb_functions() WHERE function_type = 'table' AND internal"
    ).fetchall()
    return {name for (name,) in rows} - _FUNCTIONS
