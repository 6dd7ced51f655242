"""What records name of other records, as columns of a table and keys of a sample.

    rel_ins_ids      of each turn, the records that may serve as its context      [["a", "b"], []]
    translation_of   of each turn, the record that it translates, or null         ["c", null]

A table has a column where any of the chosen records has something for it, and a row whose turns name nothing is empty there; a sample has
the key only where its turns do. Files of records without any are the same bytes as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mimicit.errors import QueryError
from mimicit.formats.exporting import Conversation
from mimicit.formats.set_rows import RowError
from mimicit.formats.trl_table import TEXT, Features
from mimicit.sandbox import predicate
from mimicit.store import Store

RELATED, ORIGINAL = "rel_ins_ids", "translation_of"
FEATURES: Features = {RELATED: [[TEXT]], ORIGINAL: [TEXT]}


class Names(NamedTuple):
    """Other records that one record names."""

    related: tuple[str, ...] = ()
    original: str | None = None


class Chosen(NamedTuple):
    """What there is among the chosen records, and so what a table of them looks like."""

    columns: Sequence[str]
    """Of other records' names."""
    has_turns: bool
    """Some record is one of several turns."""


def look_through(store: Store, where: str) -> Chosen:
    """Look what the chosen records have.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
    """
    import duckdb

    with store.reading() as connection:
        try:
            related, original, turns = connection.execute(
                f"SELECT count(*) FILTER (len(rel_ins_ids) > 0) > 0, count(translation_of) > 0, "
                f"coalesce(max(turn), 0) > 0 FROM accepted WHERE {predicate(connection, where)}"
            ).fetchall()[0]
        except duckdb.Error as error:
            raise QueryError(
                f"the selection {where!r} fails: {str(error).splitlines()[0]}"
            ) from None
    return Chosen([RELATED] * related + [ORIGINAL] * original, turns)


def columns_of(conversation: Conversation) -> dict[str, Any]:
    """Return the columns of a conversation that names other records."""
    columns: dict[str, Any] = {}
    if any(conversation.rel_ins_ids):
        columns[RELATED] = [list(ids) for ids in conversation.rel_ins_ids]
    if any(one is not None for one in conversation.translation_of):
        columns[ORIGINAL] = list(conversation.translation_of)
    return columns


def names_of(row: Mapping[str, Any], turns: int) -> list[Names]:
    """Read the columns of a row of our own.

    Raises:
        RowError: they are not as many as its turns, or hold something else.
    """
    related, original = row.get(RELATED) or [()] * turns, row.get(ORIGINAL) or [None] * turns
    for name, value in ((RELATED, related), (ORIGINAL, original)):
        if not isinstance(value, list) or len(value) != turns:
            raise RowError(f"`{name}` is no list of as many as its turns")
    if not all(isinstance(one, list | tuple) for one in related):
        raise RowError(f"`{RELATED}` is no list of lists")
    return [Names(tuple(ids), one) for ids, one in zip(related, original, strict=True)]
