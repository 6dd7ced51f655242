"""What tar shards of pictures hold: members by key and kind, and pictures that may be written as base64.

    shard/000000012.jpg      key `shard/000000012`, kind `jpg`
                             as WebDataset cuts names: at the first dot behind the last slash

Names are words and never paths: nothing is opened or followed by one. Links, devices and sparse files have no bytes here, and are
counted.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mimicit.errors import FormatError, PictureError
from mimicit.formats.tar_members import BLOCK, Member, members
from trainer.sources.shards import Files, LeftOut

PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"})
HEAD = 64
"""Bytes that tell what a picture is."""
LINK, BROKEN = (
    "is a link, or no plain file",
    "is broken from some place on; what comes before it is read",
)
_BEGINS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}  # fmt: skip
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{32,}={0,2}")


def plain_members(path: Path, left_out: LeftOut) -> Iterator[Member]:
    """Yield the members of a tar file that have bytes; count the others, and where the file breaks off.

    Raises:
        FormatError: it is compressed.
    """
    with path.open("rb") as file:
        head = file.read(8)
    for magic, kind in _COMPRESSED.items():
        if head.startswith(magic):
            raise FormatError(
                f"{str(path)!r} is compressed by {kind}, so no place in it can be read without all before it; unpack it"
            )
    try:
        for member in members(path):
            if member.regular:
                yield member
            elif not member.folder:
                left_out.add(LINK, f"{path.name}: {member.name}")
    except FormatError as error:
        left_out.add(BROKEN, str(error))


def key_and_kind(name: str) -> tuple[str, str]:
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, kind = last.partition(".")
    return folder + slash + stem, kind.lower()


def key_at(files: Files, path: str, start: int) -> str:
    """Return the key of the member whose bytes begin at `start`: from its header, so the first 100 characters of a very long one."""
    header = files.read(path, start - BLOCK, BLOCK)
    name, prefix = header[:100], header[345:500] if header[257:263] == b"ustar\0" else b""
    said = [part.split(b"\0", 1)[0].decode("utf-8", "replace") for part in (prefix, name)]
    return key_and_kind("/".join(filter(None, said)))[0]


def begins_picture(head: bytes) -> bool:
    """Tell whether bytes are the first ones of a picture, as it is or as base64."""
    return _is_signature(head) or _is_signature(_decoded_head(head))


def _is_signature(head: bytes) -> bool:
    named = head[8:12] == b"WEBP" and head[:4] == b"RIFF"
    return named or head[4:8] in (b"ftyp", b"jP  ") or head.startswith(_BEGINS)


def _decoded_head(head: bytes) -> bytes:
    if not _BASE64.match(head):
        return b""
    return base64.b64decode(head[:32])


def picture_bytes(data: bytes, *, name: str) -> bytes:
    """Return the bytes of a picture that may be written as base64, as old LAION shards have it in files named `.png`.

    Raises:
        PictureError: it is neither.
    """
    return data if _is_signature(data[:HEAD]) else from_base64(data, name=name)


def from_base64(data: bytes | str, *, name: str) -> bytes:
    """Return what base64 says, which may be broken into lines.

    Raises:
        PictureError: it is none.
    """
    try:
        text = data.encode("ascii") if isinstance(data, str) else data
        return binascii.a2b_base64(text.translate(None, b"\r\n \t"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise PictureError(f"{name!r} is no picture, nor base64 of one") from None


def json_object(data: bytes) -> dict[str, Any] | None:
    """Return an object of JSON; None for anything else. Python's NaN, which is no JSON, is None in it."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:  # also where it is nested too deep
        if b"NaN" not in data and b"Infinity" not in data:
            return None
        try:
            lenient = json.loads(data, parse_constant=lambda _: None)
            found = orjson.loads(json.dumps(lenient))
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def finite(value: Any) -> float | None:
    """Return a finite number that JSON gave; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
