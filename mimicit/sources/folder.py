"""Any folder of pictures, with its folders, or one picture. Ids: `<PREFIX>_IMG_<path without suffix>`, as `generate` names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.formats.base import BadRow
from mimicit.sources.base import (
    PICTURES,
    FindOptions,
    Found,
    Other,
    Still,
    stem,
    suffix,
    the_folder,
    walk,
)

NAME = "folder"
TITLE = "Any folder of pictures"
PREFIX = "PIC"


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    prefix = options.prefix or PREFIX
    if path.is_file():
        yield Still(f"{prefix}_IMG_{stem(path.name)}", path.parent, path.name, stem(path.name))
        return
    folder = the_folder(path, "a folder of pictures, or one picture")
    for name in walk(folder, deep=True):
        if isinstance(name, BadRow):
            yield name
        elif suffix(name) in PICTURES:
            yield Still(f"{prefix}_IMG_{stem(name)}", folder, name, stem(name))
        else:
            yield Other(name)
