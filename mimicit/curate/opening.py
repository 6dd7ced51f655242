"""The catalog while a recipe is asked: opened once, with a limit to its memory, and closed before anything that a recipe says runs in it.

What is measured and remembered lies in Parquet parts, which DuckDB reads itself (`show`); after `seal` it can open these files and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mimicit import catalog
from mimicit.curate.base import quoted
from mimicit.parts import parts_of
from mimicit.sandbox import lock_down
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

MEMORY = "192MB"
"""What DuckDB may hold; the rest is on disk for as long as it runs."""

T = TypeVar("T")
Tell = Callable[[str, int, int], None]
"""Is told what is done, how many records are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@contextmanager
def opened(store: Store, memory: str | None = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog for what is ours; `seal` it before what is not.

    Args:
        store: The dataset, of which the caller is the writer.
        memory: What DuckDB may hold; None leaves it to DuckDB.
    """
    with catalog.connect(store.catalog_path, read_only=True) as connection:
        if memory:
            connection.execute(f"SET memory_limit = '{memory}'")
        connection.execute(
            f"SET temp_directory = {quoted(str(store.path.absolute() / catalog.SPILL))}"
        )
        yield connection


def frugally(step: Callable[[str | None], T]) -> T:
    """Do something in little memory; if that is too little for DuckDB, once more without a limit.

    Args:
        step: Is given the limit.
    """
    import duckdb

    try:
        return step(MEMORY)
    except duckdb.OutOfMemoryException:
        return step(None)


def seal(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Close every door but to the parts in some folders, which can be read."""
    paths = [str(path.absolute()) for folder in folders for path in parts_of(folder)]
    connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, paths))}]")
    lock_down(connection)


def show(
    connection: duckdb.DuckDBPyConnection, name: str, folder: Path, columns: Mapping[str, str]
) -> None:
    """Have the parts of a folder as a table.

    Args:
        connection: Not sealed yet; or sealed by somebody else, then Arrow reads the parts.
        name: Of the table.
        folder: Where they are; it need not exist.
        columns: Name -> DuckDB type.
    """
    paths = parts_of(folder)
    connection.unregister(name)
    connection.execute(f"DROP VIEW IF EXISTS temp.{name}")
    if not paths:
        typed = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
        rows = f"SELECT {typed} WHERE false"
    elif _is_sealed(connection):
        import pyarrow.dataset

        connection.register(name, pyarrow.dataset.dataset(paths))
        return
    else:
        listed = ", ".join(quoted(str(path.absolute())) for path in paths)
        rows = f"SELECT {', '.join(map(_named, columns))} FROM read_parquet([{listed}])"
    connection.execute(f"CREATE TEMP VIEW {name} AS {rows}")


def _named(column: str) -> str:
    return f'"{column}"'


def _is_sealed(connection: duckdb.DuckDBPyConnection) -> bool:
    [(value,)] = connection.execute("SELECT current_setting('enable_external_access')").fetchall()
    return not value
