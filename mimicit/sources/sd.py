"""SD, Spot-the-Diff: a flat folder of pairs.

    42.png, 42_2.png  ->  SD_IMG_00042_1, SD_IMG_00042_2

Others, such as the pictures of the difference (`42_diff.png`), are passed over. A picture without its pair is named.
"""

from __future__ import annotations

import re
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

NAME = "sd"
TITLE = "Spot-the-Diff: a folder of pairs, 42.png and 42_2.png"
_NAME = re.compile(r"([0-9]{1,18})(_2)?")


def find(path: Path, options: FindOptions) -> Iterator[Found]:
    folder = the_folder(path, "a folder of pairs, 42.png and 42_2.png")
    pairs: dict[int, dict[bool, str]] = {}
    for name in walk(folder):
        if isinstance(name, BadRow):
            yield name
            continue
        match = _NAME.fullmatch(stem(name)) if suffix(name) in PICTURES else None
        if match is None:
            yield Other(name)
            continue
        pair = pairs.setdefault(int(match[1]), {})
        if bool(match[2]) in pair:
            yield BadRow(name, f"{pair[bool(match[2])]!r} is the same picture of the same pair")
        else:
            pair[bool(match[2])] = name
    for number, pair in sorted(pairs.items()):
        if len(pair) == 1:
            [(is_second, name)] = pair.items()
            lacking = f"{number}" if is_second else f"{number}_2"
            yield BadRow(name, f"its pair is incomplete: there is no picture {lacking!r}")
            continue
        for nth, is_second in ((1, False), (2, True)):
            yield Still(
                f"SD_IMG_{number:05d}_{nth}", folder, pair[is_second], stem(pair[is_second])
            )
