"""What is measured of each picture, once: the table `looks`.

    measures/looks.1/l-00000.parquet     a part for so many pictures that were new; a run that is killed goes on after the last one

    id, width, height, mime     as in `images`
    decodable, error            whether it opens, and why not; what follows is then null
    mean, spread, peak          of brightness, 0 to 255: average, standard deviation, the brightest of 32 × 32 spots
    sharpness                   variance of the Laplacian
    text                        how much it looks like nothing but text, 0 to 1
    hash                        its perceptual hash (`mimicit.curate.hashes`; sometimes 2 bits off `hashes_of`, which decodes less)

All comes from one grey decoding. Sharpness is measured at 192 × 192 pixels, about what a model of 224 sees, so that a picture is not called
blurred because it is large; a smaller picture is measured as it is.

*Text* is a guess from 16 × 16 cells, without reading a letter. Each cell has a ground (its lightest level, or its darkest in a dark picture) and
ink as deep as its range. Pages have an even ground nearly everywhere, cells that are empty and cells that are full but few in between, strokes and no
long lines, and ink that comes and goes in rows or columns. Photographs fail the first two, drawings and charts the last two. Text over a photograph,
and a page with a photograph in it, are not text only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mimicit.curate.hashes import FLAT, grey, hashes, numpy, small_of
from mimicit.errors import PictureError
from mimicit.parts import merge_small, next_part, parts_of
from mimicit.parts import write_part as write_parquet
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from mimicit.curate.hashes import Grey
    from mimicit.pictures import Pictures

VERSION = 1
"""To be counted up with every change of what comes out: what is kept is then made anew."""
THREADS = 2
PART = 20_000
"""Pictures of a part: what a killed run may have looked at in vain."""
BATCH = 32
"""Pictures that a thread looks at together."""
SIDE = 192
CELLS = 16
"""Of a side."""
_CELL = SIDE // CELLS
_RUN = 16
"""Pixels in a row that are a line and no longer a stroke."""
_FAINT = 40.0
"""Ink less deep than that, of 255, is none."""


def attach(store: Store, connection: duckdb.DuckDBPyConnection) -> None:
    """Look at the pictures that are new, and have the table `looks`.

    Args:
        store: The dataset, of which the caller is the writer.
        connection: Reads its catalog.

    Raises:
        MissingExtraError: numpy is not installed.
        PictureError: a shard is not whole.
    """
    numpy()
    folder, schema = store.path / "measures" / f"looks.{VERSION}", schema_of()
    _register(connection, folder)
    new = connection.sql(
        "SELECT id, mime, width, height FROM images ANTI JOIN looks USING (id)"
    ).to_arrow_reader(PART)
    with ThreadPoolExecutor(THREADS) as threads:
        for rows in new:
            if rows.num_rows:
                folder.mkdir(parents=True, exist_ok=True)
                looked = _looked(rows, store.images, threads)
                write_parquet(next_part(folder, "l"), looked, schema)
    if folder.is_dir():
        merge_small(folder, schema)
    _register(connection, folder)


def schema_of() -> pyarrow.Schema:
    import pyarrow as pa

    measured = ("mean", "spread", "peak", "sharpness", "text")
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("mime", pa.string(), nullable=False),
            pa.field("decodable", pa.bool_(), nullable=False),
            pa.field("error", pa.string()),
            *(pa.field(name, pa.float32()) for name in measured),
            pa.field("hash", pa.int64()),
        ]
    )


def _register(connection: duckdb.DuckDBPyConnection, folder: Any) -> None:
    import pyarrow.dataset

    paths, schema = parts_of(folder), schema_of()
    rows = pyarrow.dataset.dataset(paths, schema) if paths else schema.empty_table()
    connection.register("looks", rows)


def _looked(
    rows: pyarrow.RecordBatch, pictures: Pictures, threads: ThreadPoolExecutor
) -> Iterator[pyarrow.Table]:
    """Yield what is measured of pictures, in their order."""
    import pyarrow as pa

    batches = [rows.slice(start, BATCH) for start in range(0, rows.num_rows, BATCH)]
    ids = (batch["id"].to_pylist() for batch in batches)
    found = threads.map(lambda names: look(names, pictures), ids)
    tables = [
        pa.table({**_columns(batch), **columns}).select(schema_of().names).cast(schema_of())
        for batch, columns in zip(batches, found, strict=True)
    ]
    yield pa.concat_tables(tables).combine_chunks()


def _columns(batch: pyarrow.RecordBatch) -> dict[str, pyarrow.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


class _Look(NamedTuple):
    small: Grey
    """32 × 32."""
    sharpness: float
    text: float


def look(ids: Sequence[str], pictures: Pictures) -> dict[str, list[Any]]:
    """Return the columns of `looks` that are measured, of a few pictures."""
    seen: list[_Look | None] = []
    errors: list[str | None] = []
    rows = pictures.rows(ids)
    for id_, row in zip(ids, rows, strict=True):
        [data] = pictures.by_row([row])
        try:
            seen.append(_look(data, id_))
            errors.append(None)
        except PictureError as error:
            seen.append(None)
            errors.append(str(error))
    measured = iter(_measured([one for one in seen if one]))
    rows_of = [next(measured) if one else (None,) * 6 for one in seen]
    names = ("mean", "spread", "peak", "sharpness", "text", "hash")
    columns = dict(zip(names, map(list, zip(*rows_of, strict=True)), strict=True))
    return {"decodable": [error is None for error in errors], "error": errors, **columns}


def _measured(seen: Sequence[_Look]) -> Iterator[tuple[Any, ...]]:
    """Yield mean, spread, peak, sharpness, text and hash of each."""
    if not seen:
        return
    np = numpy()
    small = np.stack([one.small for one in seen])
    flat = small.reshape(len(seen), -1).astype(np.float32)
    spread = flat.std(axis=1)
    values = hashes(small).tolist()
    found = [value if s >= FLAT else None for value, s in zip(values, spread, strict=True)]
    yield from zip(
        flat.mean(axis=1).tolist(),
        spread.tolist(),
        flat.max(axis=1).tolist(),
        (one.sharpness for one in seen),
        (one.text for one in seen),
        found,
        strict=True,
    )


def _look(data: bytes, name: str) -> _Look:
    picture = grey(data, enough=SIDE, name=name)
    height, width = picture.shape
    own = _squeezed(picture, min(width, SIDE), min(height, SIDE))
    whole = own if own.shape == (SIDE, SIDE) else _squeezed(own, SIDE)
    return _Look(small_of(picture), sharpness(own), text(whole))


def _squeezed(picture: Grey, width: int, height: int | None = None) -> Grey:
    from PIL import Image

    size = (width, height or width)
    image = Image.fromarray(picture).resize(size, Image.Resampling.BOX)
    return cast("Grey", numpy().asarray(image))


def sharpness(picture: Grey) -> float:
    """Return the variance of the Laplacian; 0 of a picture too small to have one."""
    np = numpy()
    if min(picture.shape) < 3:
        return 0.0
    levels = picture.astype(np.int16)
    edges = 4 * levels[1:-1, 1:-1]
    edges -= levels[:-2, 1:-1]
    edges -= levels[2:, 1:-1]
    edges -= levels[1:-1, :-2]
    edges -= levels[1:-1, 2:]
    values = edges.astype(np.float32).ravel()
    return float(np.dot(values, values) / values.size - values.mean() ** 2)


# Text


def text(picture: Grey) -> float:
    """Return how much a picture of 192 × 192 pixels looks like nothing but text, from 0 to 1."""
    np = numpy()
    top, low = _cells(picture, "max"), _cells(picture, "min")
    if np.median(picture[::4, ::4]) < (int(top.max()) + int(low.min())) / 2:
        picture, top, low = 255 - picture, 255 - low, 255 - top
    ground = _smooth(top)
    depth = ground - low.astype(np.float32)
    deep = float(np.sort(depth, axis=None)[int(depth.size * 0.9)])
    if deep < _FAINT and float(depth.max()) >= 2 * _FAINT:
        deep = float(depth.max()) / 2  # a line or two on a large page
    even = float((np.abs(top - ground) <= 16).mean())
    empty = float((depth < deep / 4).mean())
    full = float((depth >= deep / 2).mean())
    if deep < _FAINT or even < 0.9 or empty < 0.1:
        return 0.0
    between = 1 - empty - full
    ink = _squeezed(ground.astype(np.uint8), SIDE) - picture.astype(np.int16) > 0.4 * deep
    return (
        even
        * (1 - between)
        * min(1.0, empty / 0.2)
        * max(0.0, min(1.0, 1.1 - 5 * _lines(ink)))
        * min(1.0, _comes_and_goes(ink) / 0.9)
    )


def _cells(picture: Grey, which: str) -> Grey:
    """Return the largest or smallest level in each cell."""
    rows = getattr(picture.reshape(CELLS, _CELL, SIDE), which)(axis=1)
    found: Grey = getattr(rows.reshape(CELLS, CELLS, _CELL), which)(axis=2)
    return found


def _smooth(cells: Grey) -> Any:
    """Return the median of each cell and its neighbours."""
    np = numpy()
    wide = np.pad(cells, 1, mode="edge")
    around = [wide[y : y + CELLS, x : x + CELLS] for y in range(3) for x in range(3)]
    return np.sort(np.stack(around), axis=0)[4].astype(np.float32)


def _lines(ink: Any) -> float:
    """Return the share of the ink that begins a long straight line, across or down, whichever is more."""
    np = numpy()
    total = max(1, int(ink.sum()))
    most = 0
    for way in (ink, ink.T):
        counted = np.pad(np.cumsum(way, axis=1, dtype=np.int16), ((0, 0), (1, 0)))
        most = max(most, int((counted[:, _RUN:] - counted[:, :-_RUN] == _RUN).sum()))
    return most / total


def _comes_and_goes(ink: Any) -> float:
    """Return how unevenly the ink is spread over rows, or over columns: deviation by mean."""
    found = 0.0
    for axis in (0, 1):
        shares = ink.mean(axis=axis)
        found = max(found, float(shares.std() / max(float(shares.mean()), 1e-6)))
    return found
