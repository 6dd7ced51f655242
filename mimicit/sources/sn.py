"""SN, rooms of ScanNet (`scannet_frames_25k`): the colour frames of each room's first scan.

    scene0000_00/color/000000.jpg  ->  SN_IMG_scene0000_00_color_000000

Only folders `scene…_00` are rooms of SN: further scans show the same rooms again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.sources.base import (
    PICTURES,
    FindOptions,
    Found,
    Other,
    Still,
    stem,
    subfolders,
    suffix,
    the_folder,
    walk,
)

NAME = "sn"
TITLE = "ScanNet: rooms as scene0000_00/color/000000.jpg"
_ROOM = re.compile(r"scene.*_00")


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    folder = the_folder(path, "a folder of rooms, scene0000_00/color/000000.jpg")
    rooms = 0
    for room in subfolders(folder):
        if _ROOM.fullmatch(room) is None:
            yield Other(room)
            continue
        rooms += 1
        if not (folder / room / "color").is_dir():
            yield BadRow(room, "has no folder 'color'")
            continue
        for name in walk(folder / room / "color"):
            inner = f"{room}/color/{name if isinstance(name, str) else name.where}"
            if isinstance(name, BadRow):
                yield BadRow(inner, name.reason)
            elif suffix(name) in PICTURES:
                key = stem(inner).replace("/", "_")
                yield Still(f"SN_IMG_{key}", folder, inner, room)
            else:
                yield Other(inner)
    if not rooms:
        raise FormatError(f"{str(path)!r} holds no folder 'scene…_00'")
