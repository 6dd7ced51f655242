"""A frozen selection of records: what a training run opens, and what a paper can cite.

    snapshots/<digest>/
      text.arrow       id, task, language, instruction, answer, rejected, conversation, turn
      pictures.arrow   of each record the places of its pictures: [(shard, offset, length), …]
      hashes.arrow     of each record a SHA-256
      context.arrow    of each record the numbers of those that may come before it as examples (only if they were asked for)
      manifest.json    what was selected, counts, recipes, image shards, and a digest of each file

An example in context need not be selected itself. Those that are not stand behind all others, are not counted, and are reached
through `context` alone.

A record's hash covers its fields and the SHA-256 of its pictures (`row_hash`). The snapshot's digest covers these hashes in their
order, the seed, the recipes whose verdicts there were and the examples in context, and nothing of where the data lies: the same
selection of the same data is the same snapshot in every copy of the folder. The digest is the folder's name, and a folder of that
name is never written again. What was frozen from the folder's parts as they are is found by their names, sizes and times, and not
frozen a second time (`mimicit.frozen`).

Opening one costs milliseconds at any size: columns are memory-mapped, and a picture is one `pread` into an image shard, whose
bytes lie uncompressed at a known offset. Freezing takes the same memory at any size: DuckDB sorts on disk, and batches are
written as they come, into a folder that gets its name when all is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mimicit.errors import DatasetError, PictureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy
    import pyarrow

    from mimicit.store import Store

FORMAT = 2
WITH_CONTEXT = 3
"""Format of a snapshot that has `context.arrow`."""
FILES = ("text", "pictures", "hashes")
CONTEXT = "context"
OWN = "rel_ins_ids"
"""The examples in context that records name themselves; else they are those of a strategy of `relations`."""
BATCH_ROWS = 65_536
"""Of each file; so the batch of a row follows from its number."""
_DIGEST = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"images/[^/\\\x00]+\.parquet")


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
    language: str = "en"
    conversation: str | None = None
    turn: int | None = None
    rejected: str | None = None


class Snapshot:
    """Rows by number, pictures by place. Safe to fork and to spawn: shards are opened by the process that reads them."""

    def __init__(self, dataset: Path, digest: str, *, check: bool = False) -> None:
        """Map a snapshot's rows.

        Args:
            dataset: The dataset folder.
            digest: The snapshot's name.
            check: Read all of it once, and find that it is what its name says.

        Raises:
            DatasetError: there is no such snapshot, it is damaged, or its pictures are gone.
        """
        self.dataset = dataset
        self.digest = digest
        self.path = dataset / "snapshots" / digest
        self.manifest = self._read_manifest()
        self.shards: list[str] = self.manifest["shards"]
        self._batches = {name: self._map(name) for name in self.files}
        self._shards: dict[tuple[int, str], int] = {}
        self._ends: list[tuple[numpy.ndarray, ...]] | None = None
        if check:
            self.check()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a name: a spawned worker maps the files for itself."""
        return Snapshot, (self.dataset, self.digest)

    def __len__(self) -> int:
        return int(self.manifest["records"])

    def __getitem__(self, index: int) -> Row:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index:,} of a snapshot of {len(self):,}")
        return self.row(index % len(self))

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of its files of rows, without `.arrow`."""
        return (*FILES, CONTEXT) if self.manifest["format"] == WITH_CONTEXT else FILES

    @property
    def rows(self) -> int:
        """Return how many rows there are, those that are only examples in context among them."""
        return len(self) + int(self.manifest.get("examples", 0))

    def context(self, index: int) -> list[int]:
        """Return the numbers of the rows that may come before a record as examples, in their order, for `row`."""
        if CONTEXT not in self._batches:
            return []
        number, at = divmod(index, BATCH_ROWS)
        found: list[int] = self._batches[CONTEXT][number]["context"][at].as_py()
        return found

    def row(self, number: int) -> Row:
        """Return a row, also one that is only an example in context."""
        number, at = divmod(number, BATCH_ROWS)
        text = self._batches["text"][number].slice(at, 1).to_pylist()[0]
        places = self._batches["pictures"][number]["pictures"][at].as_py()
        return Row(pictures=tuple(map(self._picture, places)), **text)

    def lengths(self, indices: Sequence[int], *, picture: int = 0) -> numpy.ndarray:
        """Return how many bytes of text rows have, each picture counted as `picture` more; reads the columns' offsets only."""
        import numpy as np

        if self._ends is None:
            self._ends = [self._offsets(number) for number in range(len(self._batches["text"]))]
        numbers, places = np.divmod(np.asarray(indices, dtype=np.int64), BATCH_ROWS)
        found = np.zeros(len(numbers), dtype=np.int64)
        for number in np.unique(numbers):
            at = np.flatnonzero(numbers == number)
            rows = places[at]
            for ends, each in zip(self._ends[number], (1, 1, picture), strict=True):
                found[at] += each * (ends[rows + 1].astype(np.int64) - ends[rows])
        return found

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of rows, those that are only examples in context among them; reads nothing else."""
        import numpy as np

        batches, places = np.divmod(np.asarray(numbers, dtype=np.int64), BATCH_ROWS)
        found: list[str] = [""] * len(places)
        for number in np.unique(batches):
            at = np.flatnonzero(batches == number)
            taken = self._batches["text"][number]["id"].take(places[at])
            for place, one in zip(at.tolist(), taken.to_pylist(), strict=True):
                found[place] = one
        return found

    @property
    def table(self) -> pyarrow.Table:
        """Return all records' columns, still on disk; in `pictures`, `shard` is a number of `shards`."""
        return self.whole.slice(0, len(self))

    @property
    def whole(self) -> pyarrow.Table:
        """Return the same, with the rows that are only examples in context."""
        import pyarrow as pa

        tables = [pa.Table.from_batches(self._batches[name]) for name in FILES]
        return pa.table({name: table[name] for table in tables for name in table.column_names})

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

    def check(self, *, pictures: bool = False) -> None:
        """Find that a snapshot is what its name says.

        Args:
            pictures: Read the pictures, too, and compute each record's hash again: then nothing is taken on trust.

        Raises:
            DatasetError: it is not.
        """
        for name in self.files:
            file = self.path / f"{name}.arrow"
            if file_digest(file) != self.manifest["files"].get(file.name):
                raise self._damaged(f"{file.name!r} has changed since it was written")
        hasher = hashlib.sha256()
        for batch in self._batches["hashes"]:
            for value in batch["hash"].to_pylist():
                hasher.update(value)
        if snapshot_digest(hasher, self.manifest, self._context_digest()) != self.digest:
            raise self._damaged("its hashes, order, seed or recipes are not those of its name")
        self._check_shards()
        if pictures:
            self._check_rows()

    def close(self) -> None:
        """Close the image shards that this process has open."""
        for key in [key for key in self._shards if key[0] == os.getpid()]:
            os.close(self._shards.pop(key))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read_manifest(self) -> dict[str, Any]:
        if not _DIGEST.fullmatch(self.digest) or not (self.path / "manifest.json").exists():
            raise DatasetError(f"{str(self.dataset)!r} has no snapshot {self.digest!r}")
        try:
            manifest: dict[str, Any] = json.loads((self.path / "manifest.json").read_text("utf-8"))
            if manifest.get("format") not in (FORMAT, WITH_CONTEXT):
                raise DatasetError(
                    f"snapshot {self.digest!r} was written by another version of this program; freeze it again"
                )
            if not all(map(_SHARD.fullmatch, manifest["shards"])) or manifest["records"] < 1:
                raise self._damaged("its manifest names impossible files")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(f"its manifest cannot be read ({error})") from None
        return manifest

    def _map(self, name: str) -> list[pyarrow.RecordBatch]:
        import pyarrow as pa

        try:
            file = pa.ipc.open_file(pa.memory_map(str(self.path / f"{name}.arrow")))
            batches = [file.get_batch(number) for number in range(file.num_record_batches)]
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(f"{name}.arrow cannot be read ({error})") from None
        sizes = [batch.num_rows for batch in batches]
        whole, rest = divmod(len(self) if name == CONTEXT else self.rows, BATCH_ROWS)
        if sizes != [BATCH_ROWS] * whole + [rest] * (rest > 0):
            raise self._damaged(f"{name}.arrow has not the rows that its manifest says")
        return batches

    def _offsets(self, number: int) -> tuple[numpy.ndarray, ...]:
        """Return where in a batch each row's instruction, answer and pictures begin, one more at the end; still on disk."""
        import numpy as np
        import pyarrow as pa

        text = self._batches["text"][number]
        columns = (
            text["instruction"],
            text["answer"],
            self._batches["pictures"][number]["pictures"],
        )
        wide = (pa.types.is_large_string, pa.types.is_large_list)
        return tuple(
            np.frombuffer(
                column.buffers()[1],
                np.int64 if any(is_wide(column.type) for is_wide in wide) else np.int32,
            )[column.offset : column.offset + len(column) + 1]
            for column in columns
        )

    def _picture(self, place: dict[str, int]) -> Picture:
        return Picture(self.shards[place["shard"]], place["offset"], place["length"])

    def _check_shards(self) -> None:
        """Find that the shards hold every byte that a picture needs."""
        import pyarrow.compute as pc

        for batch in self._batches["pictures"]:
            places = batch["pictures"].flatten()
            ends = pc.add(places.field("offset"), places.field("length"))
            for number in pc.unique(places.field("shard")).to_pylist():
                end = pc.max(ends.filter(pc.equal(places.field("shard"), number))).as_py()
                shard = self.dataset / self.shards[number]
                if not shard.exists() or shard.stat().st_size < end:
                    raise self._damaged(
                        f"{self.shards[number]!r} is missing, or shorter than it was"
                    )

    def _context_digest(self) -> str | None:
        if CONTEXT not in self._batches:
            return None
        hasher = hashlib.sha256()
        for batch in self._batches[CONTEXT]:
            for numbers in batch["context"].to_pylist():
                hasher.update(context_line(numbers))
        return hasher.hexdigest()

    def _check_rows(self) -> None:
        for index in range(self.rows):
            number, at = divmod(index, BATCH_ROWS)
            row = self.row(index)
            hashes = [hashlib.sha256(self.read(picture)).hexdigest() for picture in row.pictures]
            if row_hash(row, hashes) != self._batches["hashes"][number]["hash"][at].as_py():
                raise self._damaged(f"record {row.id!r} or a picture of it has changed")

    def _damaged(self, why: str) -> DatasetError:
        return DatasetError(
            f"snapshot {self.digest!r} of {str(self.dataset)!r} is damaged: {why}; restore it, or delete "
            "its folder and freeze again"
        )


def freeze(
    store: Store,
    *,
    where: str = "true",
    seed: int | None = None,
    context: str | None = None,
    pictures: bool = True,
    without: str | None = None,
) -> Snapshot:
    """Write the accepted records that satisfy a SQL predicate as a snapshot, and open it; or the one that there is of them.

    Args:
        store: The dataset.
        where: Over the view `accepted`.
        seed: Shuffles conversations, whose turns stay together; None leaves them in the order of their ids.
        context: Keep the accepted records that may come before each as examples: those of its `rel_ins_ids`, if it is OWN, else
            those that this strategy lists in `relations`. What such a list names and is not there is passed over, and counted.
        pictures: Keep the places of pictures; false keeps texts alone, of records whose pictures need not be there.
        without: Over the same view: records that are held out, so that they are neither chosen nor examples of others.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: nothing satisfies it, or a record names a picture that there is not.
    """
    from mimicit.freezing import Selected, clear_up, write_snapshot

    clear_up(store.path / "snapshots")
    selected = Selected(where, seed, context, pictures, without)
    known = selected.known(store.path)
    digest = known.find()
    if digest is None:
        digest = write_snapshot(store, selected, known)
    return Snapshot(store.path, digest)


def row_hash(row: Row, pictures: list[str]) -> bytes:
    """Return a record's hash: SHA-256 over those of its fields, in hexadecimal, a space between two, `-` for none.

    Args:
        row: The record.
        pictures: SHA-256 of each of its pictures.
    """
    texts = (row.id, row.task, row.language, row.instruction, row.answer)
    fields = [_hexadecimal(text) for text in (*texts, row.rejected, row.conversation)]
    fields.append("-" if row.turn is None else str(row.turn))
    return hashlib.sha256(" ".join([*fields, *pictures]).encode()).digest()


def context_line(numbers: Sequence[int]) -> bytes:
    """Return what is hashed of a record's examples in context."""
    return f"{' '.join(map(str, numbers))}\n".encode()


def snapshot_digest(
    rows: hashlib._Hash, manifest: dict[str, Any], context: str | None = None
) -> str:
    """Return a snapshot's name: a hash over its rows' hashes in their order, the seed, the recipes and the examples in context."""
    parts = {
        "rows": rows.hexdigest(),
        "seed": manifest["seed"],
        "recipes": [[recipe["name"], recipe["digest"]] for recipe in manifest["recipes"]],
    }
    if context is not None:
        parts |= {"records": manifest["records"], "context": context}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _hexadecimal(text: str | None) -> str:
    return "-" if text is None else hashlib.sha256(text.encode()).hexdigest()
