"""Parquet files. A row is a context; columns of lists and objects are read as such.

Pictures may lie in the file, as Hugging Face keeps them; their bytes are not read, only their paths (`--column image=image.path`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files, generic
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Problem
from syphus.annotations.groups import Streamed
from syphus.errors import AnnotationError

TITLE = "Parquet"
BATCH = 1_000
"""Rows held in memory at once."""


def sniff(path: Path) -> bool:
    """Say whether the file begins as Parquet does."""
    return files.head(path)[:4] == b"PAR1"


def read(paths: Sequence[Path], options: Options) -> Reading:
    count = 0
    for path in paths:
        with _open(path) as file:
            count += file.metadata.num_rows
            generic.require_columns(str(path), file.schema_arrow.names, options)
    return Streamed(
        paths, _rows, lambda where, row: generic.contexts(where, row, options), lambda: count
    )


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(f"{str(path)!r} is not valid Parquet: {error}") from None


def _rows(path: Path) -> Iterator[tuple[str, Any] | Problem]:
    import pyarrow as pa

    number = 0
    with _open(path) as file:
        columns = [name for field in file.schema_arrow for name in _readable(field)]
        try:
            for batch in file.iter_batches(BATCH, columns=columns):
                for row in batch.to_pylist():
                    yield f"{files.shown(path)}#{number}", row
                    number += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            yield Problem(f"{files.shown(path)}#{number}", f"the file breaks off here: {error}")


def _readable(field: Any, before: str = "") -> list[str]:
    """Return the names of a column's parts that are not bytes."""
    import pyarrow as pa

    name = f"{before}{field.name}"
    if pa.types.is_struct(field.type):
        return [inner for part in field.type for inner in _readable(part, f"{name}.")]
    is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return [] if is_bytes else [name]
