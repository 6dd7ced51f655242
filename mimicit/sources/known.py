"""What a dataset has of a source already, in 8 bytes a picture: what is there is not decoded again.

A picture is known by its id, the file it is from, and its time there; so a frame that another choice of frames put under the same id is
not taken for the one that is wanted.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from pathlib import Path

_MASK = (1 << 64) - 1


class Known:
    def __init__(self, dataset: Path) -> None:
        """Read the ids of a dataset's pictures.

        Raises:
            DatasetError: a part of it is damaged.
        """
        from mimicit.parts import parts_of, read_columns

        codes = array("Q")
        for batch in read_columns(parts_of(dataset / "images"), ["id", "source", "time"]):
            columns = (batch[name].to_pylist() for name in ("id", "source", "time"))
            codes.extend(_code(*row) for row in zip(*columns, strict=True))
        self._codes = _sorted(codes)

    def has(self, id_: str, source: str, time: float | None = None) -> bool:
        code = _code(id_, source, time)
        at = bisect_left(self._codes, code)
        return at < len(self._codes) and self._codes[at] == code


def _code(id_: str, source: str | None, time: float | None) -> int:
    return hash((id_, source, time)) & _MASK


def _sorted(codes: array[int]) -> memoryview:
    """Sort without a Python object for each of millions."""
    if not codes:
        return memoryview(codes)
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.Array.from_buffers(pa.uint64(), len(codes), [None, pa.py_buffer(codes)])
    in_order = column.take(pc.array_sort_indices(column))
    return memoryview(in_order.buffers()[1]).cast("B").cast("Q")[: len(codes)]
