"""Pictures by id or by number, for many workers at once.

A picture is one `pread` out of an image shard; `pictures.index`, beside the catalog, says where. It is memory-mapped, so that
all processes share it and opening it takes no longer for a million pictures than for one:

    header    72 bytes: format, what the shards were, salt, number of pictures, number of shards
    hashes    8 bytes a picture, in order: a salted BLAKE2b of its id
    offsets   8 bytes a picture, by row: where it begins in its shard
    starts    8 bytes a shard: its first row
    lengths   4 bytes a picture, by row
    rows      4 bytes a picture, in the order of the hashes

A *row* is a picture's number over all shards in the order of their names. Shards are only ever added at the end, so numbers
stay. The index holds no truth: it is made from the shards, beside its name, and made again when they are others. It names no
file; whatever is in it, nothing but the dataset's own shards is read. A folder that cannot be written gets an index of its own
in each process.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
import threading
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO

from mimicit.errors import DatasetError, PictureError
from mimicit.parts import parts_of

INDEX = "pictures.index"
OPEN_SHARDS = 512
"""File handles that a process keeps; the shards above are opened for each picture."""
_FORMAT = f"pix1{sys.byteorder[:4]:4}".encode()
_HEADER = struct.Struct("=8s32sQQQ8x")


class Pictures:
    """The pictures of a dataset folder, as they were given. Safe to fork, to pickle, and for threads.

    pictures.get(["LA_IMG_000000000042"])    the bytes of each, in this order
    pictures.rows(["LA_IMG_000000000042"])   their numbers, to keep
    pictures.by_row([7])                     the bytes again, without looking anything up
    """

    def __init__(self, folder: Path) -> None:
        """Open a dataset's pictures; nothing is read before the first one is asked for.

        Args:
            folder: The dataset folder.
        """
        self.folder = Path(folder)
        self._index: _Index | None = None
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[type[Pictures], tuple[Path]]:
        return Pictures, (self.folder,)

    def __len__(self) -> int:
        return self._opened().pictures

    def __contains__(self, id: str) -> bool:
        return self._found([id])[0] is not None

    def get(self, ids: Sequence[str]) -> list[bytes]:
        """Return the encoded bytes of pictures, in the order of the ids.

        Raises:
            PictureError: the dataset has no such picture; the message names the first.
        """
        return self.by_row(self.rows(ids))

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Return the numbers of pictures.

        Raises:
            PictureError: as `get`.
        """
        found = self._found(ids)
        missing = [id for id, row in zip(ids, found, strict=True) if row is None]
        if missing:
            more = f" (nor {len(missing) - 1:,} others)" if len(missing) > 1 else ""
            raise PictureError(
                f"{str(self.folder)!r} has no picture {missing[0]!r}{more}; import it, or look at "
                "`syphus data validate` for which are missing"
            )
        return [row for row in found if row is not None]

    def by_row(self, rows: Iterable[int]) -> list[bytes]:
        """Return the encoded bytes of pictures by their numbers.

        Raises:
            PictureError: there is no such number, or a shard is shorter than it was.
        """
        index = self._opened()
        return [index.read(row) for row in rows]

    def close(self) -> None:
        """Let go of the index and of the shards; the next call opens them again."""
        with self._opening:
            if self._index is not None:
                self._index.close()
            self._index = None

    def _found(self, ids: Sequence[str]) -> list[int | None]:
        """Look ids up; if one is not there, see whether the dataset has grown since."""
        index = self._opened()
        found = list(map(index.row, ids))
        if None in found and _signature(parts_of(self.folder / "images")) != index.signature:
            with self._opening:
                self._index = _open(self.folder)
                found = list(map(self._index.row, ids))
        return found

    def _opened(self) -> _Index:
        if self._index is None:
            with self._opening:
                if self._index is None:
                    self._index = _open(self.folder)
        return self._index


class _Index:
    """The file, mapped, with the handles of the shards that were read from."""

    def __init__(self, file: IO[bytes], shards: list[Path], signature: bytes) -> None:
        """Map an index that belongs to these shards.

        Raises:
            ValueError: it does not.
        """
        self.shards = shards
        self.signature = signature
        size = os.fstat(file.fileno()).st_size
        if size < _HEADER.size:
            raise ValueError("too short")
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        form, made_for, self._salt, pictures, count = _HEADER.unpack_from(self._map)
        self.pictures: int = pictures
        sizes = [8 * pictures, 8 * pictures, 8 * count, 4 * pictures, 4 * pictures]
        ends = list(accumulate(sizes, initial=_HEADER.size))
        if form != _FORMAT or made_for != signature or count != len(shards) or size != ends[-1]:
            raise ValueError("of another format, or of other shards")
        whole = memoryview(self._map)
        cut = [whole[start:end] for start, end in pairwise(ends)]
        self._hashes, self._offsets, self._starts = (part.cast("Q") for part in cut[:3])
        self._lengths, self._rows = (part.cast("I") for part in cut[3:])
        self._files: list[int] = [-1] * count
        self._unopened = min(count, OPEN_SHARDS)
        self._opening = threading.Lock()
        self.close = weakref.finalize(self, _close, self._files)

    def row(self, id: str) -> int | None:
        """Return a picture's number. (Another id has the same 64 bits once in 10^19 / pictures times.)"""
        value = _hash(id, self._salt)
        at = bisect_left(self._hashes, value)
        if at == self.pictures or self._hashes[at] != value:
            return None
        return self._rows[at]

    def read(self, row: int) -> bytes:
        if not 0 <= row < self.pictures:
            raise PictureError(
                f"there is no picture number {row}: they are counted from 0, and {self.pictures:,} are there"
            )
        shard = bisect_right(self._starts, row) - 1
        file = self._files[shard]
        length, offset = self._lengths[row], self._offsets[row]
        try:
            # The place of a read is in the call, so processes and threads can share a handle.
            data = (
                os.pread(file, length, offset) if file >= 0 else self._first(shard, length, offset)
            )
        except (OSError, OverflowError) as error:
            raise PictureError(
                f"picture number {row} cannot be read from {str(self.shards[shard])!r} ({error}); "
                f"restore the shard, or delete {INDEX!r} if it was copied from elsewhere"
            ) from None
        if len(data) != length:
            raise PictureError(
                f"{str(self.shards[shard])!r} ends before byte {offset + length}; restore it"
            )
        return data

    def _first(self, shard: int, length: int, offset: int) -> bytes:
        """Read from a shard that is not open, and keep it open if there is room."""
        try:
            file = os.open(self.shards[shard], os.O_RDONLY)
        except OSError as error:
            raise DatasetError(
                f"{str(self.shards[shard])!r} cannot be read: {error.strerror}"
            ) from None
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        data = os.pread(file, length, offset)
        with self._opening:
            if self._unopened and self._files[shard] < 0:
                self._unopened -= 1
                self._files[shard] = file
                return data
        os.close(file)
        return data


def _close(files: list[int]) -> None:
    for at, file in enumerate(files):
        if file >= 0:
            files[at] = -1
            os.close(file)


def _open(folder: Path) -> _Index:
    """Map the index, after making it if it is not there or is of other shards."""
    if not (folder / "images").is_dir():
        raise DatasetError(f"{str(folder)!r} is not a dataset folder: it has no `images` in it")
    shards = parts_of(folder / "images")
    signature = _signature(shards)
    with suppress(OSError, ValueError):
        return _mapped(folder, shards, signature)
    import filelock  # late: only who makes an index needs it

    try:
        with filelock.FileLock(folder / ".pictures.lock"):
            with suppress(OSError, ValueError):  # another process may have made it meanwhile
                return _mapped(folder, shards, signature)
            staged = folder / f".{INDEX}.staged"
            try:
                with staged.open("wb") as file:
                    _write(file, shards, signature)
                staged.replace(folder / INDEX)
            finally:
                staged.unlink(missing_ok=True)
        return _mapped(folder, shards, signature)
    except OSError:  # a folder that cannot be written
        with tempfile.TemporaryFile() as file:
            _write(file, shards, signature)
            return _Index(file, shards, signature)


def _mapped(folder: Path, shards: list[Path], signature: bytes) -> _Index:
    with (folder / INDEX).open("rb") as file:
        return _Index(file, shards, signature)


def _signature(shards: Sequence[Path]) -> bytes:
    """Return what changes when a shard comes, goes, or is replaced."""
    hasher = blake2b(digest_size=32)
    for shard in shards:
        found = shard.stat()
        hasher.update(f"{shard.name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return hasher.digest()


def _hash(id: str, salt: int) -> int:
    data = id.encode("utf-8", "surrogatepass")
    return int.from_bytes(
        blake2b(data, digest_size=8, salt=salt.to_bytes(8, "little")).digest(), sys.byteorder
    )


# Making it


def _write(file: IO[bytes], shards: Sequence[Path], signature: bytes) -> None:
    """Write an index; different ids of one hash make it begin again with another salt."""
    import pyarrow as pa

    for salt in range(16):
        hashes, offsets, lengths = array("Q"), array("Q"), array("I")
        starts = array("Q")
        for shard in shards:
            starts.append(len(offsets))
            _append(shard, salt, hashes, offsets, lengths)
        sorted_hashes, rows, twice = _sorted(hashes)
        if not _collide(twice, shards, starts):
            break
    else:
        raise AssertionError("64 bits are too few")
    file.write(_HEADER.pack(_FORMAT, signature, salt, len(offsets), len(shards)))
    for part in (sorted_hashes, offsets, starts, lengths, rows):
        file.write(memoryview(part))
    file.flush()
    os.fsync(file.fileno())
    pa.default_memory_pool().release_unused()


def _append(
    shard: Path, salt: int, hashes: array[int], offsets: array[int], lengths: array[int]
) -> None:
    import pyarrow as pa

    from mimicit.shards import places

    try:
        rows = places(shard)
        for batch in rows.select(["id", "offset", "length"]).to_batches(8_192):
            hashes.extend(_hash(id, salt) for id in batch["id"].to_pylist())
            offsets.extend(batch["offset"].to_pylist())
            lengths.extend(batch["length"].to_pylist())
    except (pa.ArrowException, OSError, KeyError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f"{str(shard)!r} cannot be read ({str(error).splitlines()[0]}); "
            "restore it, or move it away to go on without it"
        ) from None


def _sorted(hashes: array[int]) -> tuple[memoryview, memoryview, list[int]]:
    """Return hashes in order, the row of each (the lowest first, where they are alike), and the rows of those that are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pa.Array.from_buffers(pa.uint64(), len(hashes), [None, pa.py_buffer(hashes)])
    order = pc.sort_indices(column)
    ordered = column.take(order)
    rows = order.cast(pa.uint32())
    same = pc.equal(ordered.slice(1), ordered.slice(0, max(0, len(ordered) - 1)))
    twice: list[int] = []
    if pc.any(same).as_py():
        at = pc.indices_nonzero(same).to_pylist()
        twice = [rows[n + step].as_py() for n in at for step in (0, 1)]
    return _bytes(ordered, 8), _bytes(rows, 4), twice


def _bytes(column: object, width: int) -> memoryview:
    import pyarrow as pa

    assert isinstance(column, pa.Array)
    assert column.offset == 0
    return memoryview(column.buffers()[1] or b"")[: width * len(column)]


def _collide(twice: Sequence[int], shards: Sequence[Path], starts: Sequence[int]) -> bool:
    """Say whether rows of equal hashes, in pairs, have different ids; the same id twice is the first one's."""
    names = dict(_names(set(twice), shards, starts))
    return any(names[a] != names[b] for a, b in zip(twice[::2], twice[1::2], strict=True))


def _names(
    rows: set[int], shards: Sequence[Path], starts: Sequence[int]
) -> Iterator[tuple[int, str]]:
    import pyarrow.parquet as pq

    for shard, start in zip(shards, starts, strict=True) if rows else ():
        ids = pq.read_table(shard, columns=["id"], partitioning=None)["id"]
        end = start + len(ids)
        yield from ((row, ids[row - start].as_py()) for row in rows if start <= row < end)
