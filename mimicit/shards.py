"""Image shards: Parquet that any reader opens, and whose pictures can be read with one `pread`.

The column `image` is written REQUIRED, PLAIN, uncompressed, and one page a row group of 64 rows. Then a column chunk is a page
header followed by the values, each a 4-byte length and its bytes (Parquet format: "Plain encoding" of BYTE_ARRAY), so every
picture's place follows from the file's footer and the lengths. `places` computes them and `ShardWriter.close` reads one
picture of each row group back before the shard gets its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.columns import as_column, as_table
from mimicit.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow

    from mimicit.schema import ImageRecord

ROW_GROUP = 64
ROW_GROUP_BYTES = 512 << 20
SHARD_BYTES = 1 << 30
IMAGE_COLUMN = 1
MAX_PAGE_HEADER = 200


class ShardWriter:
    """Write one shard beside its name; `close` checks and renames it."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        from mimicit.schema import image_schema  # late: the catalog's child needs `places` only

        self.path = path
        self._schema = image_schema()
        self.staged = path.with_name(f".{path.name}.staged")
        self.bytes = 0
        self._waiting: list[ImageRecord] = []
        self._waiting_bytes = 0
        self._writer: Any = pq.ParquetWriter(
            self.staged,
            self._schema,
            compression="none",
            use_dictionary=False,
            column_encoding={"image": "PLAIN"},
            write_statistics=["id"],
            data_page_size=2 * ROW_GROUP_BYTES,
        )

    def add(self, image: ImageRecord) -> None:
        self._waiting.append(image)
        self._waiting_bytes += len(image.image)
        self.bytes += len(image.image)
        if len(self._waiting) == ROW_GROUP or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Finish, check and publish the shard."""
        self._write_group()
        self._writer.close()
        _check(self.staged)
        with self.staged.open("rb") as file:
            os.fsync(file.fileno())
        self.staged.rename(self.path)

    def _write_group(self) -> None:
        if not self._waiting:
            return
        columns = {
            name: [getattr(image, name) for image in self._waiting]
            for name in self._schema.names
            if name != "length"
        }
        columns["length"] = [len(image.image) for image in self._waiting]
        rows = as_table(columns, self._schema)
        self._writer.write_table(rows, row_group_size=ROW_GROUP)
        self._waiting, self._waiting_bytes = [], 0


def places(path: Path) -> pyarrow.Table:
    """Return a shard's rows without the pictures, with `row` and the `offset` of each picture in bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name != "image"]
        rows = file.read(columns=columns)
        lengths = rows["length"].to_pylist()
        offsets = list(_offsets(file.metadata, lengths, path))
    return rows.append_column("row", as_column(range(rows.num_rows), pa.int64())).append_column(
        "offset", as_column(offsets, pa.int64())
    )


def _offsets(metadata: Any, lengths: Sequence[int], path: Path) -> Iterator[int]:
    start = 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        chunk = metadata.row_group(group).column(IMAGE_COLUMN)
        group_lengths = lengths[start : start + count]
        header = chunk.total_compressed_size - sum(4 + length for length in group_lengths)
        if not 0 < header < MAX_PAGE_HEADER or chunk.compression != "UNCOMPRESSED":
            raise DatasetError(
                f"{str(path)!r} is not laid out as an image shard (row group {group}); "
                "import it with `syphus data import` instead of copying it in"
            )
        at = chunk.data_page_offset + header
        for length in group_lengths:
            yield at + 4
            at += 4 + length
        start += count


def _check(path: Path) -> None:
    """Read the first picture of each row group back by its offset."""
    import hashlib

    rows = places(path).select(["offset", "length", "sha256"])
    with path.open("rb") as file:
        for start in range(0, rows.num_rows, ROW_GROUP):
            row = rows.slice(start, 1).to_pylist()[0]
            data = os.pread(file.fileno(), row["length"], row["offset"])
            assert hashlib.sha256(data).hexdigest() == row["sha256"], (path, start)
