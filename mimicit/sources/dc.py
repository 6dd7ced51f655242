"""DC, ActivityNet Captions: a flat folder of videos. Ids: `DC_IMG_v_N1c3C_Npr-E_0067`, the second 67 at one frame a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.sources.base import FindOptions, Found, films_in, the_folder

NAME = "dc"
TITLE = "ActivityNet: a folder of videos"


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    yield from films_in(the_folder(path, "a folder of videos"), "DC")
