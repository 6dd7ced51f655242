"""Pictures as files of others name them: a path, a web address, or the picture itself as a data: URL.

A path is looked up below one folder and never leaves it. Nothing is downloaded: a picture behind a web address is used
where the folder has it, at `host/path`, `path` or under its name. A picture that is not there is one bad row, however many rows name it;
they are kept, and the picture can be brought in later.

The id follows from the name, `<PREFIX>_IMG_coco_train2017_000000033471` of `coco/train2017/000000033471.jpg`, and where the
file's name is an id that an export made (`exporting.file_name`) it is that id again. A picture without a name gets one from its
bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from mimicit.errors import PictureError
from mimicit.formats.base import BadRow
from mimicit.known import Known
from mimicit.media import picture
from mimicit.schema import ImageRecord

_OURS = re.compile(r"^[A-Za-z0-9.-]+_IMG_.")
_DATA = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_ALPHABET = str.maketrans("-_", "+/", "\r\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_REFERENCE = 2_000
"""Characters of a path or an address."""


class Found(NamedTuple):
    id: str
    news: ImageRecord | BadRow | None
    """The picture when it is met for the first time, or why it cannot be had."""


class References:
    """The pictures that one file names."""

    def __init__(self, folder: Path, prefix: str, *, given: bool, by_content: bool = False) -> None:
        """Look pictures up in a folder.

        Args:
            folder: Where they lie.
            prefix: Of new ids: `LLAVA` makes `LLAVA_IMG_…`.
            given: The user named the folder: a path that leads out of it is then tried without its beginning.
            by_content: Ids follow from the bytes also where there is a name.
        """
        self._folder = folder
        self._prefix = prefix
        self._given = given
        self._by_content = by_content
        self._met = Known()

    def find(self, reference: Any, where: str) -> Found:
        """Return the id of a picture, and the picture if it is new.

        Raises:
            PictureError: what names it is no path, address or data: URL.
        """
        if isinstance(reference, dict):  # as Hugging Face's Image feature and ms-swift have it
            reference = reference.get("path") or _as_data_url(reference.get("bytes"))
        if not isinstance(reference, str) or not reference:
            raise PictureError("a picture is neither a path nor an address")
        if data := _DATA.match(reference):
            return self._inline(reference[data.end() :], where)
        if len(reference) > _MAX_REFERENCE:
            raise PictureError(f"a picture has a name of {len(reference)} characters")
        if _CONTROL.search(reference):
            raise PictureError(f"there are control characters in the picture's name {reference!r}")
        try:
            id_ = self._id(reference)
        except ValueError as error:
            raise PictureError(f"{reference!r} cannot be a picture's name: {error}") from None
        if self._by_content:
            return self._named_by_content(reference, id_, where)
        if reference in self._met.among([reference]):
            return Found(id_, None)
        self._met.note([reference])
        try:
            return Found(id_, self._measured(self._read(reference), id_, reference))
        except PictureError as error:
            return Found(id_, BadRow(where, str(error)))

    def _inline(self, text: str, where: str) -> Found:
        import pybase64

        try:
            text = text.translate(_ALPHABET)
            data = pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError as error:
            raise PictureError(f"a picture is broken base64: {error}") from None
        return self._by_bytes(data, where, None)

    def _named_by_content(self, reference: str, id_: str, where: str) -> Found:
        try:
            return self._by_bytes(self._read(reference), where, reference)
        except PictureError as error:
            met = reference in self._met.among([reference])
            self._met.note([] if met else [reference])
            return Found(id_, None if met else BadRow(where, str(error)))

    def _by_bytes(self, data: bytes, where: str, source: str | None) -> Found:
        if len(data) > picture.MAX_BYTES:
            raise PictureError(f"a picture is larger than {picture.MAX_BYTES >> 20} MiB")
        id_ = f"{self._prefix}_IMG_{hashlib.sha256(data).hexdigest()[:32]}"
        if id_ in self._met.among([id_]):
            return Found(id_, None)
        image = self._measured(data, id_, source or where)
        self._met.note([id_])
        return Found(id_, image)

    def _measured(self, data: bytes, id_: str, name: str) -> ImageRecord:
        return picture.measure(data, id=id_, name=name, source=name)

    def _read(self, reference: str) -> bytes:
        candidates = list(self._candidates(reference))
        for name in candidates[:-1]:
            try:
                return picture.read(self._folder, name)
            except PictureError:
                continue
        try:
            return picture.read(self._folder, candidates[-1])
        except PictureError as error:
            if _is_address(reference):
                raise PictureError(
                    f"{reference!r} is not downloaded; put the file into {str(self._folder)!r}"
                ) from None
            raise error from None

    def _candidates(self, reference: str) -> Iterator[str]:
        """Yield the paths below the folder at which a picture may lie."""
        if _is_address(reference):
            url = urlsplit(reference)
            path = unquote(url.path).lstrip("/")
            yield from (f"{url.hostname}/{path}", path, PurePosixPath(path).name or "unnamed")
            return
        parts = [part for part in PurePosixPath(reference).parts if part not in ("/", "..")]
        leads_out = reference.startswith("/") or ".." in PurePosixPath(reference).parts
        if leads_out and self._given:
            yield from ("/".join(parts[first:]) for first in range(len(parts)))
        yield reference

    def _id(self, reference: str) -> str:
        path = PurePosixPath(reference)
        if _is_address(reference):
            url = urlsplit(reference)
            query = f"_{hashlib.sha256(url.query.encode()).hexdigest()[:8]}" if url.query else ""
            path = PurePosixPath(f"{url.hostname}/{unquote(url.path)}")
            return f"{self._prefix}_IMG_{_key(path)}{query}"
        name = unquote(path.stem)
        if path.parent.name == "images" and _OURS.match(name):
            return name
        return f"{self._prefix}_IMG_{_key(path)}"


def _key(path: PurePosixPath) -> str:
    parts = [part for part in path.with_suffix("").parts if part not in ("/", "..", ".")]
    if len(parts) > 1 and parts[0] == "images":
        parts = parts[1:]
    return "_".join(parts)


def _is_address(reference: str) -> bool:
    return reference.startswith(("http://", "https://"))


def _as_data_url(data: Any) -> str | None:
    return f"data:;base64,{data}" if isinstance(data, str) else None
