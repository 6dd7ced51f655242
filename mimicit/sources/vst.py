"""VST, visual storytelling: the photos that a VIST `*.story-in-sequence.json` names. Ids: `VST_IMG_<photo id>`.

They are downloaded from `url_o`, else `url_m`; or taken from a folder (`--images`), as `<photo id>.jpg`, in it or in folders of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.sources.base import (
    PICTURES,
    FindOptions,
    Found,
    Remote,
    Still,
    natural,
    stem,
    suffix,
    the_folder,
    walk,
)

NAME = "vst"
TITLE = "VIST: a story-in-sequence.json, whose photos are downloaded or in --images"
_ADDRESSES = ("url_o", "url_m")


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("*.json"), key=lambda file: natural(file.name))
    if not files or not files[0].is_file():
        raise FormatError(f"there is no VIST file {str(path)!r}")
    here = None
    if options.images is not None:
        here = dict(_files(the_folder(options.images, "taken from a folder of photos")))
    seen: set[str] = set()
    for file in files:
        for place, photo in _photos(file):
            where = f"{file.name}#{place}"
            found = _found(photo, where, here, options.images)
            if isinstance(found, BadRow):
                yield found
            elif found.id not in seen:
                seen.add(found.id)
                yield found


def _found(
    photo: Any, where: str, here: dict[str, str] | None, folder: Path | None
) -> Still | Remote | BadRow:
    key = photo.get("id") if isinstance(photo, dict) else None
    if not isinstance(key, str | int) or isinstance(key, bool) or not str(key).strip():
        return BadRow(where, "a photo without an id")
    key = str(key)
    if here is not None and folder is not None:
        if key not in here:
            return BadRow(where, f"there is no photo {key!r} in {str(folder)!r}")
        return Still(f"VST_IMG_{key}", folder, here[key], key)
    urls = tuple(
        photo[name]
        for name in _ADDRESSES
        if isinstance(photo.get(name), str) and photo[name].strip()
    )
    if not urls:
        return BadRow(where, f"photo {key!r} has no address: neither url_o nor url_m")
    return Remote(f"VST_IMG_{key}", urls, key)


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for name in walk(folder, deep=True):
        if isinstance(name, str) and suffix(name) in PICTURES:
            yield stem(name).rpartition("/")[2], name


def _photos(path: Path) -> Iterator[tuple[int, Any]]:
    import ijson

    try:
        with path.open("rb") as file:
            found = False
            for place, photo in enumerate(_items(file)):
                found = True
                yield place, photo
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise FormatError(f"{str(path)!r} is broken JSON: {error}") from None
    if not found:
        raise FormatError(f"{str(path)!r} has no list 'images'; is it a VIST file?")


def _items(file: IO[bytes]) -> Iterator[Any]:
    import ijson

    yield from ijson.items(file, "images.item")
