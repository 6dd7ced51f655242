"""Compressed files of JSON lines, unpacked once: a line in the middle of one cannot be read without all before it."""

import gzip
import hashlib
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

from mimicit.errors import FormatError
from trainer.sources import tars
from trainer.sources.shards import LeftOut, written

MOST_UNPACKED_BYTES = 64 << 30
_CHUNK = 1 << 20


def unpacked(path: Path, cache: Path, left_out: LeftOut) -> Path:
    """Return a file of pages that can be read at any place: itself, or what a zip or gz file holds.

    Raises:
        FormatError: the zip file holds no file, or several, or what is in it is too large.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] not in (b"\x1f\x8b", b"PK"):
        return path
    status = path.stat()
    mark = repr((str(path.resolve()), status.st_size, status.st_mtime_ns)).encode(
        "utf-8", "replace"
    )
    key = hashlib.blake2b(mark, digest_size=8).hexdigest()
    whole = cache / "unpacked" / f"{path.stem}-{key}"
    torn = whole.with_name(f"{whole.name}.torn")
    if torn.exists():
        left_out.add(tars.BROKEN, path.name)
    for target in (whole, torn):
        if target.exists():
            return target
    whole.parent.mkdir(parents=True, exist_ok=True)
    with written(whole) as staged:
        try:
            with staged.open("wb") as out:
                _unpack(path, magic, out)
        except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            left_out.add(tars.BROKEN, f"{path.name}: {error}")
            os.link(staged, torn)
            return torn
    return whole


def _unpack(path: Path, magic: bytes, out: IO[bytes]) -> None:
    if magic[:2] == b"PK":
        with zipfile.ZipFile(path) as archive, archive.open(_only(archive, path)) as packed:
            assert isinstance(packed, zipfile.ZipExtFile)
            _copy(packed, out, path)
    else:
        with gzip.open(path) as packed:
            _copy(packed, out, path)


def _only(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    held = [one for one in archive.infolist() if not one.is_dir()]
    if len(held) != 1 or held[0].flag_bits & 1:
        raise FormatError(
            f"{str(path)!r} holds {len(held)} files, or one that is locked; it must hold one file of JSON lines"
        )
    free = shutil.disk_usage(path.parent).free
    if held[0].file_size > min(free, MOST_UNPACKED_BYTES):
        raise FormatError(
            f"{str(path)!r} unpacks to {held[0].file_size:,} bytes, which is too much"
        )
    return held[0]


def _copy(packed: gzip.GzipFile | zipfile.ZipExtFile, out: IO[bytes], path: Path) -> None:
    size = 0
    while chunk := packed.read1(_CHUNK):  # `read` would lose what came before a torn end
        out.write(chunk)
        size += len(chunk)
        if size > MOST_UNPACKED_BYTES:
            raise FormatError(f"{str(path)!r} unpacks to more than {MOST_UNPACKED_BYTES >> 30} GiB")
