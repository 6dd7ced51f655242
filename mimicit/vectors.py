"""Vectors of records and pictures in a workbench: the table `vectors(id, vector)`, from a model, from pixels, or from a file.

Each function fills it and lets go of the catalog before the long work begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.embed import embed_texts
from mimicit.errors import FormatError, PictureError
from mimicit.media.features import describe
from mimicit.similar import Progress
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

BATCH = 2_000
"""Rows at once in memory."""


def load_vectors(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Read a Parquet file with the columns `id` and `vector`.

    Raises:
        FormatError: it is none, or an id is there twice.
    """
    import duckdb

    try:
        connection.execute(
            "CREATE TABLE vectors AS SELECT id::VARCHAR AS id, vector::FLOAT[] AS vector "
            "FROM read_parquet($path)",
            {"path": str(path)},
        )
    except duckdb.Error as error:
        raise FormatError(
            f"{str(path)!r} is no table of vectors ({str(error).splitlines()[0]}); "
            "it must be Parquet with the columns `id` and `vector`"
        ) from None
    twice = connection.execute(
        "SELECT id FROM vectors GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 1"
    ).fetchall()
    if twice:
        raise FormatError(f"{str(path)!r} has two vectors of {twice[0][0]!r}; it must have one")


def embed_records(connection: duckdb.DuckDBPyConnection, model: str, progress: Progress) -> None:
    """Embed the column `text` of the table `records`."""
    connection.execute("CREATE TABLE vectors (id VARCHAR, vector FLOAT[])")
    cursor = connection.cursor()
    cursor.execute("SELECT id, text FROM records ORDER BY id")
    done = 0
    while rows := cursor.fetchmany(BATCH):
        vectors = list(embed_texts([text for _, text in rows], model))
        _insert(connection, [id_ for id_, _ in rows], vectors)
        done += len(rows)
        progress(done)


def describe_pictures(
    connection: duckdb.DuckDBPyConnection, store: Store, given: Path | None, progress: Progress
) -> int:
    """Describe each picture that the table `firsts` names; return how many could not be decoded.

    Fills `places(id, shard, offset, length, sha256)`, too. Vectors that are given are taken as they are.
    """
    with store.reading() as catalog:
        places = catalog.sql('SELECT id, shard, "offset", length, sha256 FROM images')
        connection.register("rows", places.to_arrow_reader(10_000))
        connection.execute(
            "CREATE TABLE places AS FROM rows "
            'SEMI JOIN firsts ON firsts.picture = rows.id ORDER BY shard, "offset"'
        )
        connection.unregister("rows")
    if given:
        load_vectors(connection, given)
        return 0
    connection.execute("CREATE TABLE vectors (id VARCHAR, vector FLOAT[])")
    cursor = connection.cursor()
    cursor.execute('SELECT id, shard, "offset", length FROM places ORDER BY shard, "offset"')
    done = unreadable = 0
    with ThreadPoolExecutor() as pool:
        while rows := cursor.fetchmany(BATCH):
            described = list(pool.map(lambda row: _describe(store, *row), rows))
            good = [(row[0], v) for row, v in zip(rows, described, strict=True) if v is not None]
            _insert(connection, [id_ for id_, _ in good], [vector for _, vector in good])
            unreadable += len(rows) - len(good)
            done += len(rows)
            progress(done)
    return unreadable


def _describe(store: Store, id_: str, shard: str, offset: int, length: int) -> list[float] | None:
    with (store.path / shard).open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    try:
        return describe(data, name=id_)
    except PictureError:
        return None  # imports decode a picture before they store it; the caller counts the others


def _insert(
    connection: duckdb.DuckDBPyConnection, ids: Sequence[str], vectors: Sequence[Sequence[float]]
) -> None:
    import pyarrow as pa

    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "vector": pa.array(vectors, pa.list_(pa.float32())),
    }
    connection.register("rows", pa.table(columns))
    connection.execute("INSERT INTO vectors FROM rows")
    connection.unregister("rows")
