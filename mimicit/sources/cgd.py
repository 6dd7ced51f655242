"""CGD, general differences: the pictures of COCO's `train2017/` once more. Ids: `CGD_IMG_000000377944`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mimicit.sources.base import FindOptions, Found, pictures_in, the_folder

NAME = "cgd"
TITLE = "COCO, general differences: a folder of COCO's pictures (train2017)"


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    yield from pictures_in(the_folder(path, "a folder of COCO's pictures"), "CGD")
