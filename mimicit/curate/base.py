"""What a filter is, and what a measure is.

A *filter* turns its parameters into SQL whose value is a reason to drop a record, or NULL. There are two kinds of them:

- `row`: an expression over one record. It says the same of a record whatever else is in the dataset, so it is asked once.
- `group`: a query over all records that came so far, such as duplicates; it is asked each time.

What takes work is not in a filter but in a *measure*: values of a record (its language, a sketch of its text) that depend on no
parameter. They are kept beside the records, and are made once for each; a filter with another threshold is only other SQL.
A filter names the measures that it needs, and finds their columns as `<measure>_<column>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow

    from mimicit.store import Store

Field = Literal["instruction", "answer"]
Either = Literal["instruction", "answer", "either"]

Columns = Mapping[str, Any]
"""Name -> Arrow array or list, all of one length."""


@dataclass(frozen=True, slots=True)
class Sql:
    """What a filter says in SQL."""

    reason: str
    """VARCHAR, NULL where the record may stay."""
    score: str = "NULL"
    """DOUBLE, whatever the filter measured."""


class Question(Protocol):
    """What a `group` filter may be in place of a query, if it takes more than one; its repr says all that it depends on."""

    @property
    def measures(self) -> tuple[str, ...]: ...

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return (record, reason, score) of what is dropped of the table `candidates`.

        Args:
            connection: Has it.
            kept: The folder of the measures.
        """


@dataclass(frozen=True, slots=True)
class Filter:
    """A row of the table of filters."""

    make: Callable[..., str | Sql | Question]
    """Parameters -> SQL. Of a `group`: a query of (record, reason, score) over the table `candidates`, or what asks it."""
    kind: Literal["row", "group"] = "row"
    measures: tuple[str, ...] = ()


def row(make: Callable[..., str | Sql], *measures: str) -> Filter:
    return Filter(make, "row", measures)


def group(make: Callable[..., str | Question], *measures: str) -> Filter:
    return Filter(make, "group", measures)


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table of measures."""

    columns: Mapping[str, str]
    """Name -> DuckDB type."""
    reads: tuple[str, ...]
    """Columns of `instructions`."""
    compute: Callable[[pyarrow.RecordBatch], Columns] | None = None
    """Batch of what is read -> values, in its order."""
    sql: Mapping[str, str] | None = None
    """Or, in place of that: column -> expression over what is read."""
    version: int = 1
    """To be counted up with every change of what comes out: what is kept is then made anew."""


@dataclass(frozen=True, slots=True)
class Table:
    """A row of the table of measures: what is known of something else than records, as a table of its own."""

    attach: Callable[[Store, duckdb.DuckDBPyConnection], None]
    """Measures what is new, and has the table in a connection to the catalog."""
    version: int = 1


def quoted(text: str) -> str:
    """Write a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
