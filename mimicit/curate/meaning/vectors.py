"""What a record means, as a vector: question and answer as MiniLM reads them (`mimicit.embed`), made once for each record.

A vector is kept as one byte for each of its 384 numbers, scaled by its largest: 384 bytes in place of 1,536, and cosines that are off by less
than 0.002. It is computed with again at unit length, so the scale need not be kept.

Vectors of one's own are taken in place of these from a Parquet file with the columns `id` and `vector` that lies in the dataset folder; they may
have any length.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.curate.base import Columns, Measure
from mimicit.errors import MissingExtraError, RecipeError

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow

SCOPES = {
    "dataset": "0::BIGINT",
    "picture": "md5_number_lower(array_to_string(list_sort(image_ids), chr(31))) >> 1",
}
"""Scope -> what is the same of records that are compared, in SQL."""
_ROWS = 8_192
"""Vectors that are read at once from a file."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Return packed vectors at unit length, as float32."""
    import numpy as np

    long = rows.astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", long, long))
    unit: np.ndarray = long / np.maximum(length, np.float32(1e-12))[:, None]
    return unit


def packed(vectors: np.ndarray) -> np.ndarray:
    """Write vectors as int8, each scaled so that its largest number is 127."""
    import numpy as np

    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    rows: np.ndarray = np.rint(vectors * (127 / np.maximum(largest, 1e-12))).astype(np.int8)
    return rows


def edges_of(scope: np.ndarray) -> np.ndarray:
    """Return where each run of equal values begins, and where the last one ends."""
    import numpy as np

    if not len(scope):
        return np.zeros(1, np.int64)
    return np.flatnonzero(np.concatenate([[True], scope[1:] != scope[:-1], [True]]))


def check_meaning(embeddings: str) -> None:
    """Refuse to begin without what makes vectors, or with a file that is not in the dataset folder.

    Raises:
        MissingExtraError: a package is not installed.
        ValueError: the path leads elsewhere.
    """
    from importlib.util import find_spec

    if not find_spec("numpy"):
        raise MissingExtraError("numpy", "similar")
    if not embeddings:
        from mimicit.embed import check_embedding

        check_embedding("minilm")
    elif Path(embeddings).is_absolute() or ".." in Path(embeddings).parts:
        raise ValueError(f"'embeddings' must be a file in the dataset folder, not {embeddings!r}")


def _measured(batch: pyarrow.RecordBatch) -> Columns:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from mimicit.embed import embed_texts

    said = pc.binary_join_element_wise(batch["instruction"], batch["answer"], "\n")
    different = said.dictionary_encode()
    texts = different.dictionary.to_pylist()
    vectors = np.array(list(embed_texts(texts, "minilm")), np.float32).reshape(len(texts), -1)
    joined = pa.py_buffer(packed(vectors).tobytes())
    width = vectors.shape[1]
    rows = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(texts), [None, joined])
    return {"vector": rows.cast(pa.binary()).take(different.indices)}


MEANING = Measure(columns={"vector": "BLOB"}, reads=("instruction", "answer"), compute=_measured)


def vectors_of(
    connection: duckdb.DuckDBPyConnection, kept: Path, embeddings: str, table: str
) -> np.ndarray:
    """Return the packed vectors of some records, one row each.

    Args:
        connection: Has the measure, and the table.
        kept: The folder of the measures, which is in that of the dataset.
        embeddings: A file in the dataset folder; empty: the measure `meaning`.
        table: Has `id`, and `place`: the row of its vector, from 0.

    Raises:
        RecipeError: the file is none, or lacks a record.
    """
    import numpy as np

    [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    rows = np.zeros((0, 0), np.int8)
    filled = np.zeros(count, bool)
    batches = (
        _given(connection, kept.parent, embeddings, table)
        if embeddings
        else _kept(connection, table)
    )
    with closing(batches):
        for place, vectors in batches:
            if not rows.size:
                rows = np.empty((count, vectors.shape[1]), np.int8)
            again = filled[place].any() or len(np.unique(place)) < len(place)
            if vectors.shape[1] != rows.shape[1] or again:
                raise RecipeError(
                    f"{embeddings!r} must have one vector of each record, all of one length"
                )
            rows[place] = vectors
            filled[place] = True
    if not filled.all():
        lacking = int(np.flatnonzero(~filled)[0])
        [(id_,)] = connection.execute(f"SELECT id FROM {table} WHERE place = {lacking}").fetchall()
        raise RecipeError(
            f"{embeddings!r} has no vector of {id_!r}; it must have one of each record"
        )
    return rows


Placed = Generator[tuple["np.ndarray", "np.ndarray"]]
"""Places, and their packed vectors."""


def _kept(connection: duckdb.DuckDBPyConnection, table: str) -> Placed:
    import numpy as np

    found = connection.sql(
        f"SELECT place, vector FROM {table} JOIN measure_meaning USING (id)"
    ).to_arrow_reader(_ROWS)
    for batch in found:
        if batch.num_rows:
            joined = b"".join(batch["vector"].to_pylist())
            yield (
                batch["place"].to_numpy(),
                np.frombuffer(joined, np.int8).reshape(batch.num_rows, -1),
            )


def _given(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, table: str) -> Placed:
    """Yield from a file, a few rows of it at a time: only its ids are in memory together."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise RecipeError(f"there is no file {name!r} in the dataset folder")
    try:
        with pq.ParquetFile(path) as given:
            places = _places(connection, given.read(["id"]), table)
            start = 0
            for batch in given.iter_batches(_ROWS, columns=["vector"], use_threads=False):
                mine = places[start : start + batch.num_rows]
                start += batch.num_rows
                wanted = mine >= 0
                if wanted.any():
                    vectors = batch["vector"].filter(pa.array(wanted))
                    vectors = vectors.cast(pa.list_(pa.float32()), safe=False)
                    yield mine[wanted], packed(_square(vectors, name))
    except (duckdb.Error, pa.ArrowException, KeyError) as error:
        raise RecipeError(
            f"{name!r} is no table of vectors ({str(error).splitlines()[0]}); "
            "it must be Parquet with the columns `id` and `vector`"
        ) from None


def _places(connection: duckdb.DuckDBPyConnection, ids: pyarrow.Table, table: str) -> np.ndarray:
    """Return the place of each of some ids; -1 where it is none of the table's."""
    import numpy as np
    import pyarrow as pa

    numbered = ids.append_column("number", pa.array(np.arange(ids.num_rows)))
    connection.register("given_ids", numbered)
    try:
        found = connection.sql(
            f"SELECT number, place FROM given_ids JOIN {table} USING (id)"
        ).to_arrow_table()
    finally:
        connection.unregister("given_ids")
    places = np.full(ids.num_rows, -1, np.int64)
    places[found["number"].to_numpy()] = found["place"].to_numpy()
    return places


def _square(vectors: pyarrow.Array, name: str) -> np.ndarray:
    """Lay vectors out as rows.

    Raises:
        RecipeError: they are not of one length, or hold what is no number.
    """
    import numpy as np

    [*lengths] = set(vectors.value_lengths().to_pylist())
    numbers = vectors.flatten().to_numpy(zero_copy_only=False)
    if len(lengths) != 1 or not lengths[0] or not np.isfinite(numbers).all():
        raise RecipeError(f"vectors of {name!r} must be of one length, and of numbers")
    rows: np.ndarray = numbers.reshape(len(vectors), -1)
    return rows
