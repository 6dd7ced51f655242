"""Close every door of a DuckDB connection before somebody else's SQL runs in it.

Recipes, selections and `syphus sql` hold SQL that we did not write. After `lock_down` a connection reads no file, installs and
loads no extension, attaches nothing, and cannot undo any of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_LOCKS = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
)


def lock_down(connection: duckdb.DuckDBPyConnection, *, memory_limit: str | None = None) -> None:
    for lock in _LOCKS:
        connection.execute(lock)
    if memory_limit:
        connection.execute(f"SET memory_limit = '{memory_limit}'")
    connection.execute("SET lock_configuration = true")


def predicate(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Return somebody's predicate in brackets that it cannot close.

    Raises:
        duckdb.Error: it is not one expression.
    """
    connection.extract_statements(f"SELECT 1 WHERE {text}")
    return f"({text})"
