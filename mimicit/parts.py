"""The Parquet parts of one kind: their names, and how many small ones become a large one.

    p-00007.parquet          one write
    p-00000-00127.parquet    holds what the parts from 0 to 127 held, and stands for them

A part is written beside its name and renamed, so the moment a merged part appears is the moment the ones it stands for are no
longer read; a writer that is killed before it deleted them leaves them to the next one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import DatasetError
from mimicit.footers import Footers, bounds_of, within

if TYPE_CHECKING:
    import pyarrow

MERGE_PARTS = 128
"""So many small parts in a row are merged."""
SMALL_BYTES = 512 << 10
MERGED_ROWS = 16_384
"""Rows of a row group of a merged part: what the merging holds in memory."""
_TEXTS = frozenset({"instruction", "answer", "reason"})
"""Columns whose least and largest value help nobody."""
_NAME = re.compile(r"[a-z]-(\d+)(?:-(\d+))?\.parquet")


def parts_of(folder: Path) -> list[Path]:
    """Return the parts that count, in the order in which they were written; files of other names come first."""
    return [path for path, stands in _listed(folder) if stands]


def replaced_parts(folder: Path) -> list[Path]:
    """Return the parts that a merged one stands for, and that a killed writer did not come to delete."""
    return [path for path, stands in _listed(folder) if not stands]


def next_part(folder: Path, letter: str) -> Path:
    number = max((_range(path)[1] for path in folder.glob(f"{letter}-*.parquet")), default=-1) + 1
    return folder / f"{letter}-{number:05d}.parquet"


def write_part(path: Path, tables: Iterator[pyarrow.Table], schema: pyarrow.Schema) -> None:
    """Write a part beside its name, and rename it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    staged = path.with_name(f".{path.name}.staged")
    with pq.ParquetWriter(
        staged,
        schema,
        compression="zstd",
        use_dictionary=_repeated(schema),
        write_statistics=[name for name in schema.names if name not in _TEXTS],
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=122_880)
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    staged.rename(path)
    pa.default_memory_pool().release_unused()  # else a run of days keeps what its largest write took


def read_columns(
    parts: Iterable[Path],
    columns: list[str],
    ids: Sequence[str] | None = None,
    *,
    footers: Footers | None = None,
) -> Iterator[pyarrow.RecordBatch]:
    """Read some columns of parts, a few thousand rows at a time.

    Args:
        parts: Their files.
        columns: Of which all parts have all.
        ids: In order; row groups that hold none of them, as the footer tells, are passed over.
        footers: What is known of them already.

    Raises:
        DatasetError: a part is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in parts:
        try:
            if footers and ids is not None and not footers.may_hold(part, ids):
                continue
            with pq.ParquetFile(part, metadata=footers.footer(part) if footers else None) as file:
                groups = list(range(file.num_row_groups))
                if ids is not None and footers:
                    groups = footers.groups(part, ids)
                elif ids is not None:
                    groups = [one for one in groups if within(bounds_of(file.metadata, one), ids)]
                yield from file.iter_batches(8_192, groups, columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{str(part)!r} cannot be read ({str(error).splitlines()[0]}); "
                "restore it, or move it away to go on without it"
            ) from None


def merge_small(folder: Path, schema: pyarrow.Schema, *, alike: str | None = None) -> Path | None:
    """Merge the newest parts into one if they are many and small.

    Args:
        folder: Where they are.
        schema: What the merged part's columns are; what a part lacks is null.
        alike: A column of which a part may hold only one value.

    Returns:
        The merged part, if there is one.
    """
    small = _small_at_the_end(folder)
    if len(small) < MERGE_PARTS:
        return None
    if alike:
        small = _alike(small, alike)
        if len(small) < MERGE_PARTS:
            return None
    first, last = _range(small[0])[0], _range(small[-1])[1]
    merged = folder / f"{small[0].name[0]}-{first:05d}-{last:05d}.parquet"
    write_part(merged, _rows(small, schema), schema)
    for path in small:
        path.unlink()
    return merged


def _listed(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield each part, and whether it stands for itself."""
    found = sorted(
        (_range(path), path) for path in folder.glob("*.parquet") if not path.name.startswith(".")
    )
    found.sort(key=lambda entry: (entry[0][0], -entry[0][1]))
    reached = -1
    for (_, last), path in found:
        yield path, last < 0 or last > reached
        reached = max(reached, last)


def _range(path: Path) -> tuple[int, int]:
    """Return the numbers of the first and the last part that it stands for; (-1, -1) if it has another name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return -1, -1
    return int(match[1]), int(match[2] or match[1])


def _small_at_the_end(folder: Path) -> list[Path]:
    small: list[Path] = []
    for path in reversed(parts_of(folder)):
        first, last = _range(path)
        if first != last or first < 0 or path.stat().st_size > SMALL_BYTES:
            break
        small.append(path)
    return small[::-1]


def _alike(paths: Sequence[Path], column: str) -> list[Path]:
    """Return the last of the parts, as far back as they hold one and the same value in a column."""
    kept: list[Path] = []
    value = None
    for path in reversed(paths):
        found = _only_value(path, column)
        if found is None or (value is not None and found != value):
            break
        value = found
        kept.append(path)
    return kept[::-1]


def _only_value(path: Path, column: str) -> Any:
    """Return the value that a column has in all rows, as the part's footer tells; None if it does not."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    number = metadata.schema.names.index(column)
    values = set()
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(number).statistics
        if statistics is None or not statistics.has_min_max or statistics.null_count:
            return None
        values |= {statistics.min, statistics.max}
    return values.pop() if len(values) == 1 else None


def _rows(paths: Sequence[Path], schema: pyarrow.Schema) -> Iterator[pyarrow.Table]:
    """Read parts one after the other, and put their rows together to row groups of a good size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.Table] = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=MERGED_ROWS, use_threads=False):
                waiting.append(fitted(pa.Table.from_batches([batch]), schema))
                if sum(table.num_rows for table in waiting) >= MERGED_ROWS:
                    yield pa.concat_tables(waiting)
                    waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def fitted(table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    """Bring the rows of an older part to today's columns."""
    import pyarrow as pa

    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _repeated(schema: pyarrow.Schema) -> list[str]:
    """Return the columns whose values come again and again; a dictionary of the others is work for nothing."""
    return [
        f"{field.name}.list.element" if str(field.type).startswith("list") else field.name
        for field in schema
        if field.name not in {"id", "record", "score", "reply", *_TEXTS}
    ]
