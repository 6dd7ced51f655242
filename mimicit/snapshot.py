"""A frozen selection of records: what a training run opens, and what a paper can cite.

    snapshots/<digest>/
      rows.arrow      one row a record, memory-mapped: id, task, instruction, answer, pictures[shard, offset, length]
      manifest.json   the selection's SQL, counts, and the digest over the rows' content

The digest is a hash over ids, texts and the pictures' SHA-256, so the same selection of the same data is the same
snapshot wherever the folder lies. Opening one costs milliseconds at any size: rows are memory-mapped, and a picture is one
`pread` into an image shard, whose bytes lie uncompressed at a known offset.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mimicit.errors import DatasetError, PictureError

if TYPE_CHECKING:
    import pyarrow

    from mimicit.store import Store


class Picture(NamedTuple):
    """Where a picture's encoded bytes lie."""

    shard: str
    """Path of the image shard below the dataset folder."""
    offset: int
    """Bytes from the start of the shard."""
    length: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    task: str
    instruction: str
    answer: str
    pictures: tuple[Picture, ...]


class Snapshot:
    """Rows by number, pictures by place. Safe to fork: shards are opened by the process that reads them."""

    def __init__(self, dataset: Path, digest: str) -> None:
        """Map the snapshot's rows.

        Raises:
            DatasetError: there is no such snapshot.
        """
        import pyarrow as pa

        self.dataset = dataset
        self.digest = digest
        path = dataset / "snapshots" / digest / "rows.arrow"
        if not path.exists():
            raise DatasetError(f"{str(dataset)!r} has no snapshot {digest!r}")
        self.table: pyarrow.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._shards: dict[tuple[int, str], int] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: int) -> Row:
        row = self.table.slice(index, 1).to_pylist()[0]
        pictures = tuple(Picture(**picture) for picture in row.pop("pictures"))
        return Row(pictures=pictures, **row)

    def read(self, picture: Picture) -> bytes:
        """Return a picture's encoded bytes, as they were given."""
        key = (os.getpid(), picture.shard)
        if key not in self._shards:
            self._shards[key] = os.open(self.dataset / picture.shard, os.O_RDONLY)
        data = os.pread(self._shards[key], picture.length, picture.offset)
        if len(data) != picture.length:
            raise PictureError(
                f"{picture.shard!r} ends before byte {picture.offset + picture.length}"
            )
        return data


def freeze(store: Store, *, where: str = "true") -> Snapshot:
    """Write the accepted records that satisfy a SQL predicate as a snapshot, and open it.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: nothing satisfies it.
    """
    import pyarrow as pa

    store.refresh()
    rows = store.training_rows(where)
    if rows.num_rows == 0:
        raise DatasetError(
            f"no accepted record of {str(store.path)!r} satisfies {where!r}; "
            "look at `syphus data stats` for what there is"
        )
    hashes, rows = rows["hash"], rows.drop_columns("hash")
    hasher = hashlib.blake2b(digest_size=16)
    for row_hash in hashes.to_pylist():
        hasher.update(row_hash.encode())
    digest = hasher.hexdigest()

    folder = store.path / "snapshots" / digest
    if not (folder / "manifest.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / ".rows.arrow"
        with pa.ipc.new_file(str(staged), rows.schema) as writer:
            writer.write_table(rows, max_chunksize=65_536)
        staged.rename(folder / "rows.arrow")
        manifest = {"where": where, "records": rows.num_rows, "digest": digest}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return Snapshot(store.path, digest)
