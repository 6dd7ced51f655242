"""Two pictures to one context: each picture and the one whose captions are most like its own (CGD, general differences).

Contexts are kept in a temporary DuckDB file while neighbours are found, so memory stays flat. Two pictures that are each other's nearest
make one context, not two. Its id is `<first>_<second>`; it is the same whatever the order of the annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from syphus.annotations.context import Context, Picture, Problem, Thing
from syphus.task import Task

if TYPE_CHECKING:
    import duckdb

BLOCK = 5_000
"""Contexts held in memory at once."""

_NEAREST = """
CREATE TABLE pairs AS
SELECT id, neighbours[1] AS other FROM nearest WHERE len(neighbours) > 0
"""
_PAIRS = """
SELECT a.context, b.context
FROM pairs AS p
JOIN contexts AS a ON a.id = p.id
JOIN contexts AS b ON b.id = p.other
WHERE NOT EXISTS (FROM pairs AS q WHERE q.id = p.other AND q.other = p.id AND q.id < p.id)
ORDER BY p.id
"""
_ALONE = "SELECT id, source FROM contexts WHERE id NOT IN (SELECT id FROM pairs) ORDER BY id"


def paired(
    task: Task, contexts: Iterable[Context | Problem], similar: str = "tfidf"
) -> Iterable[Context | Problem]:
    """Put pictures together where the task wants two; pass all else on as it is.

    Args:
        task: The task.
        contexts: Of one picture each.
        similar: What makes captions alike: `tfidf`, or `minilm` where that is installed.

    Raises:
        RecipeError: no such measure.
        MissingExtraError: its packages are not installed.
    """
    if task.context.pair != "nearest":
        return contexts
    from mimicit.embed import check_embedding

    check_embedding(similar)
    return _nearest(contexts, similar)


def _nearest(contexts: Iterable[Context | Problem], similar: str) -> Iterator[Context | Problem]:
    from mimicit.similar import workbench

    with workbench() as connection:
        yield from _spool(connection, contexts)
        _find(connection, similar)
        pairs = connection.cursor().execute(_PAIRS)
        while rows := pairs.fetchmany(BLOCK):
            for first, second in rows:
                yield _together(_context(first), _context(second))
        for id_, source in connection.execute(_ALONE).fetchall():
            yield Problem(
                source, f"{id_!r} cannot be paired: no other picture's captions are like its own"
            )


def _spool(
    connection: duckdb.DuckDBPyConnection, contexts: Iterable[Context | Problem]
) -> Iterator[Problem]:
    """Keep single pictures that have captions; yield what cannot be paired."""
    import pyarrow as pa

    connection.execute(
        "CREATE TABLE contexts (id VARCHAR, text VARCHAR, source VARCHAR, context BLOB)"
    )
    rest = iter(contexts)
    while block := list(islice(rest, BLOCK)):
        rows = []
        for item in block:
            if isinstance(item, Problem):
                yield item
            elif len(item.pictures) != 1 or not item.captions:
                reason = f"{item.id!r} cannot be paired: it is not one picture with captions"
                yield Problem(item.source, reason)
            else:
                rows.append(_row(item))
        connection.register("rows", pa.Table.from_pylist(rows, schema=_schema()))
        connection.execute("INSERT INTO contexts SELECT * FROM rows")
    connection.unregister("rows")


def _find(connection: duckdb.DuckDBPyConnection, similar: str) -> None:
    """Make the table `pairs`."""
    from mimicit.similar import nearest_by_text, nearest_by_vector
    from mimicit.vectors import embed_records

    if similar == "tfidf":
        nearest_by_text(connection, "SELECT id, text FROM contexts", 1)
    else:
        connection.execute("CREATE VIEW records AS SELECT id, text FROM contexts")
        embed_records(connection, similar, lambda done: None)
        nearest_by_vector(connection, "SELECT id, vector FROM vectors", 1)
    connection.execute(_NEAREST)


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    return pa.schema({"id": text, "text": text, "source": text, "context": pa.binary()})


def _row(context: Context) -> dict[str, Any]:
    import orjson

    return {
        "id": context.id,
        "text": "\n".join(context.captions),
        "source": context.source,
        "context": orjson.dumps(asdict(context)),
    }


def _together(first: Context, second: Context) -> Context:
    pictures = tuple(
        replace(one.pictures[0], captions=one.captions, objects=one.objects)
        for one in (first, second)
    )
    return Context(f"{first.id}_{second.id}", pictures, source=first.source)


def _context(data: bytes) -> Context:
    import orjson

    row: dict[str, Any] = orjson.loads(data)
    return Context(
        row["id"],
        tuple(_picture(picture) for picture in row["pictures"]),
        tuple(row["captions"]),
        _things(row["objects"]),
        source=row["source"],
    )


def _picture(row: dict[str, Any]) -> Picture:
    return Picture(
        row["name"], tuple(row["captions"]), _things(row["objects"]), row["facts"], row["key"]
    )


def _things(rows: Iterable[dict[str, Any]]) -> tuple[Thing, ...]:
    return tuple(Thing(row["name"], tuple(row["box"])) for row in rows)
