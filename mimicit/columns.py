"""Arrow columns made of Python's values by hand.

`pyarrow.array` does the same, but where pandas is installed it imports it first, to see whether it was handed some of it:
more time and memory than all else that a short run does. Arrow's layout is simple enough: strings are one block of bytes and
where each begins, numbers are packed, and a bit a value says which are null.

Of thousands of strings Python makes one, with a zero byte between them, and Arrow cuts it: that costs a fraction of a look at each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = (1 << 31) - 1
"""In one column: where a string begins is a number of 32 bits."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Records laid out as columns, and their ids, which are looked up, as Python has them."""

    ids: Sequence[str]
    table: pyarrow.Table
    size: int = 0
    """Bytes of their texts, where somebody knows."""


def as_table(columns: Mapping[str, Sequence[Any]], schema: pyarrow.Schema) -> pyarrow.Table:
    """Lay values out as the columns of a schema."""
    import pyarrow as pa

    return pa.table([as_column(columns[field.name], field.type) for field in schema], schema=schema)


def as_strings(cells: Sequence[str]) -> tuple[bytes, pyarrow.StringArray]:
    """Return what `as_column` returns of strings, none of them null, and their bytes with a zero between each and the next.

    Raises:
        TypeError: one of them is no string.
        UnicodeEncodeError: one of them holds half of a character.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    data = "\0".join(cells).encode()
    if cells and len(data) <= MOST_BYTES:
        whole = [None, pa.py_buffer(array("i", [0, len(data)])), pa.py_buffer(data)]
        cut = pc.split_pattern(pa.Array.from_buffers(pa.string(), 1, whole), "\0").flatten()
        if len(cut) == len(cells):
            return data, cut
    return data, as_column(cells, pa.string())


def as_lists(
    lists: Sequence[Sequence[Any]], cells: pyarrow.Array, kind: pyarrow.DataType
) -> pyarrow.ListArray:
    """Return lists whose cells, one after the other, are a column already."""
    import pyarrow as pa

    buffers = [None, _starts(lists, len(cells))]
    starts = pa.Array.from_buffers(pa.int32(), len(lists) + 1, buffers)
    return pa.ListArray.from_arrays(starts, cells, type=kind)


def as_column(values: Sequence[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """Return what `pyarrow.array(values, kind)` returns; None is null, except where a list is wanted."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        cells = as_column(list(chain.from_iterable(values)), kind.value_type)
        return as_lists(values, cells, kind)
    count, nulls = len(values), values.count(None)
    if count == nulls:
        return pa.nulls(count, kind)
    valid = None
    if nulls:
        valid = pa.py_buffer(_bits(value is not None for value in values))
        empty = _empty(kind)
        values = [empty if value is None else value for value in values]
    if pa.types.is_string(kind):
        text = "".join(values)
        data = text.encode()
        if len(data) > len(text):  # letters of several bytes: where they are is told one by one
            values = [value.encode() for value in values]
        buffers = [valid, _starts(values, len(data)), pa.py_buffer(data)]
    elif pa.types.is_binary(kind):
        data = b"".join(values)
        buffers = [valid, _starts(values, len(data)), pa.py_buffer(data)]
    elif pa.types.is_boolean(kind):
        buffers = [valid, pa.py_buffer(_bits(values))]
    else:
        buffers = [valid, pa.py_buffer(array(_code(kind), values))]
    return pa.Array.from_buffers(kind, count, buffers)


def _starts(cells: Sequence[Any], size: int) -> pyarrow.Buffer:
    """Return where each cell begins, and where the last one ends."""
    import pyarrow as pa

    if size > MOST_BYTES:
        raise OverflowError(f"a column of {size:,} bytes; write fewer rows at once")
    return pa.py_buffer(array("i", accumulate(map(len, cells), initial=0)))


def _bits(values: Iterable[bool]) -> bytes:
    """Pack truth values, the first in the lowest bit."""
    digits = "".join("1" if value else "0" for value in values)
    return int(digits[::-1], 2).to_bytes(-(-len(digits) // 8), "little")


def _empty(kind: pyarrow.DataType) -> str | bytes | int:
    """Return what stands where nothing is; no reader looks at it."""
    import pyarrow as pa

    return "" if pa.types.is_string(kind) else b"" if pa.types.is_binary(kind) else 0


def _code(kind: pyarrow.DataType) -> str:
    """Return how `array` names the numbers of an Arrow type."""
    import pyarrow as pa

    return "d" if kind == pa.float64() else "i" if kind == pa.int32() else "q"
