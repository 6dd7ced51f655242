"""E4D, Ego4D: a flat folder of videos. Ids: `E4D_IMG_<video uid>_00000067`, the second 67 at one frame a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.sources.base import FindOptions, Found, films_in, the_folder

NAME = "e4d"
TITLE = "Ego4D: a folder of videos"


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    yield from films_in(the_folder(path, "a folder of videos"), "E4D")
