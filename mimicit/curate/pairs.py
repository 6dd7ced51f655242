"""Pairs of near-duplicate texts, found once and kept.

    pairs/p-00000.parquet     a, b, similarity: digests of two texts, at least FLOOR alike
    texts/t-00000.parquet     text: those whose pairs are among these

Where only texts about the same pictures are to be compared, a text is what is said about certain pictures: it has another key, and
other bands. Texts from templates are alike by the million, and hardly ever about one picture.

A pair is about two texts, whichever records say them, so equal texts are one here, and what another filter drops, or another
threshold, changes no pair. A text that is new is looked for in all buckets: a pair of two old ones is never looked at again.

Texts with an equal band are in one bucket. A bucket of up to `WINDOW` texts is compared in full; of a larger one, a text is
compared with the longest `HUBS` and with its neighbours by length, so that a phrase that a million records share costs a million
comparisons and not their square.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mimicit.curate.sketch import BANDS, SHINGLE, bytes_of, distinct, jaccard
from mimicit.parts import merge_small, next_part, parts_of, read_columns, write_part

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow

FLOOR = 0.5
"""Pairs less alike are not kept; a threshold cannot be lower."""
WINDOW, HUBS = 32, 8
"""Texts; see above."""
BLOCK = 1_024
"""Pairs compared at once: their shingles are in memory, some 3 KB a text."""
FETCH = 40_000
"""Pairs whose texts are in memory together; each time, all texts are read once."""


_LOW = (1 << 20) - 1
_PAIRS = {"a": "uint64", "b": "uint64", "similarity": "float64"}


def near_pairs(
    connection: duckdb.DuckDBPyConnection,
    measure: str,
    text: str,
    sketches: Path,
    folder: Path,
    among: str | None = None,
) -> pyarrow.Table:
    """Find the pairs of what is new, and return all pairs.

    Args:
        connection: Has `instructions`, and `measure_<measure>` with id and digest.
        measure: Its name.
        text: The text that was sketched, in SQL over `instructions`.
        sketches: The folder of the measure: id, digest, length and bands.
        folder: Where pairs are kept.
        among: The measure's column of what two texts must have in common to be compared.
    """
    import numpy as np
    import pyarrow as pa

    known = _read_parts(folder / "texts", {"text": "uint64"})
    digest, length, common = _read(sketches, among)
    key = digest if common is None else mixed(digest ^ mixed(common))
    unique, first = np.unique(key, return_index=True)
    new = ~np.isin(unique, known.column(0).to_numpy(), assume_unique=True)
    if new.any():
        order = np.lexsort((unique, -length[first]))
        bands = _read_bands(sketches, len(digest))
        if common is not None:
            bands ^= (mixed(common) >> np.uint64(32)).astype(np.uint32)[:, None]
        a, b = bucket_pairs(bands, first[order], new[order])
        said = digest[first[order]]
        del digest, length, common, key, first, bands
        pa.default_memory_pool().release_unused()
        found = _verified(connection, measure, text, said, a, b)
        # Only then are the texts known: whoever dies in between does this again, and a pair may be there twice.
        _write(folder / "pairs", found)
        _write(folder / "texts", pa.table({"text": unique[new]}))
    pairs = _read_parts(folder / "pairs", _PAIRS)
    if among is None:
        return pairs
    # Two texts may stand side by side at several pictures.
    return pairs.group_by(["a", "b"]).aggregate([("similarity", "min")]).rename_columns([*_PAIRS])


def mixed(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread numbers of 64 bits over all of their bits (the finalizer of MurmurHash3)."""
    import numpy as np

    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys = (keys ^ keys >> np.uint64(33)) * np.uint64(factor)
    return keys ^ keys >> np.uint64(33)


def bucket_pairs(
    bands: np.ndarray, place: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of texts with an equal band of which at least one is new.

    Args:
        bands: Rows of bands.
        place: Which row is that of each text; hubs first.
        new: Whether the text is.
    """
    import numpy as np

    count = np.uint64(len(place))
    found: list[np.ndarray] = []
    held, most = 0, 2_000_000
    for n in range(BANDS):
        for left, right in _of_band(bands[:, n][place], new):
            found.append(left * count + right)
            held += len(left)
            if held > most:
                found = [distinct(np.concatenate(found))]
                held = len(found[0])
                most = max(most, 2 * held)
    both = distinct(np.concatenate([np.zeros(0, np.uint64), *found]))
    return (both // count).astype(np.int64), (both % count).astype(np.int64)


def _of_band(column: np.ndarray, new: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import numpy as np

    chosen = np.arange(len(column), dtype=np.uint64)
    if not new.all():  # most buckets hold nothing new; a look at 20 bits tells nearly all of them
        news = np.zeros(_LOW + 1, bool)
        news[column[new] & _LOW] = True
        chosen = np.flatnonzero(news[column & _LOW]).astype(np.uint64)
    key = np.sort(column[chosen].astype(np.uint64) << np.uint64(32) | chosen)
    band, text = key >> np.uint64(32), key & np.uint64(0xFFFFFFFF)
    edge = np.flatnonzero(np.concatenate([[True], band[1:] != band[:-1], [True]]))
    size = np.diff(edge)
    busy = size > 1
    begin, size = edge[:-1][busy], size[busy]
    # Each place of a bucket that has a follower, and where that bucket ends.
    at = np.repeat(begin - np.concatenate([[0], np.cumsum(size)[:-1]]), size) + np.arange(
        size.sum()
    )
    end, hub = np.repeat(begin + size, size), np.repeat(begin, size)
    for step in range(1, WINDOW):
        inside = at + step < end
        at, end, hub = at[inside], end[inside], hub[inside]
        if not len(at):
            return
        yield _with_news(text[at], text[at + step], new)
    at += WINDOW - 1  # the texts that a hub is not a neighbour of
    for step in range(HUBS):
        far = at - hub > step + WINDOW - 1
        yield _with_news(text[hub[far] + step], text[at[far]], new)


def _with_news(
    left: np.ndarray, right: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    either = new[left] | new[right]
    return left[either], right[either]


def _verified(
    connection: duckdb.DuckDBPyConnection,
    measure: str,
    text: str,
    digest: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
) -> pyarrow.Table:
    """Compare pairs of places in `digest` exactly, and return those that are alike."""
    import numpy as np
    import pyarrow as pa

    similarity = np.zeros(len(a))
    for start in range(0, len(a), FETCH):
        part = slice(start, start + FETCH)
        involved = distinct(np.concatenate([a[part], b[part]]))
        said = _fetch(connection, measure, text, digest[involved])
        similarity[part] = _compared(
            said, np.searchsorted(involved, a[part]), np.searchsorted(involved, b[part])
        )
    good = similarity >= FLOOR
    columns = digest[a[good]], digest[b[good]], similarity[good]
    return pa.table(dict(zip(_PAIRS, columns, strict=True)))


def _compared(said: pyarrow.Array, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import numpy as np
    import pyarrow as pa

    similarity = np.zeros(len(a))
    for start in range(0, len(a), BLOCK):
        left, right = a[start : start + BLOCK], b[start : start + BLOCK]
        here = distinct(np.concatenate([left, right]))
        similarity[start : start + BLOCK] = jaccard(
            said.take(pa.array(here)), np.searchsorted(here, left), np.searchsorted(here, right)
        )
    return similarity


def _fetch(
    connection: duckdb.DuckDBPyConnection, measure: str, text: str, digests: np.ndarray
) -> pyarrow.Array:
    """Return a text of each digest, in their order."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.table({"digest": digests, "place": np.arange(len(digests))})
    connection.register("near_wanted", wanted)
    rows = connection.sql(
        f"""SELECT place, {text} AS text FROM instructions JOIN (
            SELECT place, min(id) AS id FROM measure_{measure} JOIN near_wanted USING (digest) GROUP BY place
        ) USING (id)"""
    ).to_arrow_table()
    connection.unregister("near_wanted")
    assert rows.num_rows == len(digests), "a text that was sketched is gone"
    return (
        rows["text"].cast(pa.large_string()).take(pc.sort_indices(rows["place"])).combine_chunks()
    )


# What is on disk


def _read(sketches: Path, among: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return digest, length and what is common of what is as long as a shingle."""
    import numpy as np

    names = ["digest", "length", *([among] if among else [])]
    columns: list[list[np.ndarray]] = [[np.zeros(0, np.uint64)] for _ in names]
    for batch in read_columns(parts_of(sketches), names):
        long = batch["length"].to_numpy() >= SHINGLE
        for column, name in zip(columns, names, strict=True):
            column.append(batch[name].to_numpy()[long])
    digest, length, *common = map(np.concatenate, columns)
    return digest, length.astype(np.int64), common[0] if common else None


def _read_bands(sketches: Path, count: int) -> np.ndarray:
    """Return their bands, in the same order."""
    import numpy as np
    import pyarrow.parquet as pq

    bands = np.empty((count, BANDS), "<u4")
    at = 0
    for part in parts_of(sketches):
        # Else it would all be in memory twice.
        with pq.ParquetFile(part, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(8_192, columns=["bands"], use_threads=False):
                joined, _ = bytes_of(batch["bands"].drop_null())
                rows = joined.view("<u4").reshape(-1, BANDS)
                bands[at : at + len(rows)] = rows
                at += len(rows)
    return bands


def _write(folder: Path, rows: pyarrow.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_part(next_part(folder, folder.name[0]), iter([rows]), rows.schema)
    merge_small(folder, rows.schema)


def _read_parts(folder: Path, columns: Mapping[str, str]) -> pyarrow.Table:
    import pyarrow as pa
    import pyarrow.dataset

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    paths = parts_of(folder)
    return pyarrow.dataset.dataset(paths, schema).to_table() if paths else schema.empty_table()
