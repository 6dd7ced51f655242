"""LA: the pictures of COCO's `train2017/`, a flat folder. Ids: `LA_IMG_000000377944`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.sources.base import FindOptions, Found, pictures_in, the_folder

NAME = "la"
TITLE = "LLaVA: a folder of COCO's pictures (train2017)"


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    yield from pictures_in(the_folder(path, "a folder of COCO's pictures"), "LA")
