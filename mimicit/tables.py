"""Records, and what is said of them, as Arrow tables; made by hand, as in `mimicit.columns`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mimicit.columns import as_column, as_lists, as_table
from mimicit.parts import parts_of
from mimicit.schema import (
    Annotation,
    Instruction,
    InstructionRow,
    Thing,
    annotation_schema,
    split_schema,
    text_schema,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow
    from pydantic import BaseModel


def as_rows(
    records: Sequence[BaseModel | InstructionRow], schema: pyarrow.Schema, **columns: Sequence[Any]
) -> pyarrow.Table:
    """Lay records out as columns: those that are named here, and their fields."""
    names = [name for name in schema.names if name not in columns]
    if all(type(record) is InstructionRow for record in records):
        values = zip(*records, strict=True)  # its fields are the schema's
    else:
        values = zip(*map(attrgetter(*names), records), strict=True)
    columns |= dict(zip(names, values, strict=True))
    return as_table(columns, schema)


def text_table(records: Sequence[Instruction | InstructionRow]) -> pyarrow.Table:
    """Lay records out as columns.

    Raises:
        UnicodeEncodeError: one of them holds half of a character.
    """
    return as_rows(records, text_schema())


def annotation_table(annotations: Sequence[Annotation]) -> pyarrow.Table:
    """Lay annotations out as columns.

    Raises:
        UnicodeEncodeError: a text of theirs holds half of a character.
    """
    import pyarrow as pa

    schema = annotation_schema()
    pictures, captions, objects, sources = zip(*annotations, strict=True)
    things = _things(list(chain.from_iterable(objects)), schema.field("objects").type.value_type)
    columns = [
        as_column(pictures, schema.field("pictures").type),
        as_column(captions, schema.field("captions").type),
        as_lists(objects, things, schema.field("objects").type),
        as_column(sources, pa.string()),
    ]
    return pa.table(columns, schema=schema)


def _things(things: Sequence[Thing], kind: pyarrow.DataType) -> pyarrow.StructArray:
    import pyarrow as pa

    boxes = [thing.box or () for thing in things]
    numbers = pa.py_buffer(array("f", chain.from_iterable(boxes)))
    starts = pa.py_buffer(array("i", accumulate(map(len, boxes), initial=0)))
    here = as_column([box != () for box in boxes], pa.bool_()).buffers()[1]
    cells = pa.Array.from_buffers(pa.float32(), sum(map(len, boxes)), [None, numbers])
    listed = pa.Array.from_buffers(
        pa.list_(pa.float32()), len(boxes), [here, starts], children=[cells]
    )
    names = as_column([thing.name for thing in things], pa.string())
    return pa.StructArray.from_arrays([names, listed], fields=list(kind))


def split_table(name: str, members: pyarrow.Table) -> pyarrow.Table:
    """Put a splitting's name beside its records and splits."""
    import pyarrow as pa

    names = pa.repeat(pa.scalar(name, pa.string()), members.num_rows)
    return pa.table({"name": names, "record": members["record"], "split": members["split"]}).cast(
        split_schema()
    )


def split_parts(folder: Path, name: str) -> list[Path]:
    """Return the parts that hold a splitting."""
    return [path for path in parts_of(folder) if _split_name(path) == name]


def _split_name(path: Path) -> str | None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1, columns=["name"]):
            if batch.num_rows:
                return str(batch["name"][0])
    return None  # nobody is in it
