"""Any folder of videos, with its folders, or one video. Ids: `<PREFIX>_IMG_<path without suffix, _ for />_0067`, as `generate` names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.sources.base import FindOptions, Found, film, films_in, the_folder

NAME = "videos"
TITLE = "Any folder of videos"
PREFIX = "VID"


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    prefix = options.prefix or PREFIX
    if path.is_file():
        yield film(path.parent, path.name, prefix)
    else:
        folder = the_folder(path, "a folder of videos, or one video")
        yield from films_in(folder, prefix, deep=True)
