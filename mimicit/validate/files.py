"""Files that go into quarantine, and the names of parts that stand for others."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from mimicit.parts import next_part

LETTERS = {"text": "p", "images": "s", "verdicts": "v", "relations": "r"}
_NAME = re.compile(r"([a-z])-(\d+)(?:-(\d+))?\.parquet")


def move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)


def keep_whole(path: Path, target: Path) -> None:
    """Have a file under a second name, without a copy where the file system can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        staged = target.with_name(f".{target.name}.staged")
        shutil.copyfile(path, staged)
        staged.rename(target)


def successor(path: Path, folder: str) -> Path:
    """Return a name that stands for a part: of the same range, and before it in order.

    p-00003 -> p-00003-000003 -> p-00003-0000003; only zeros: p-00000 -> p-00000-000000000000 -> p-00000-00000000000
    """
    match = _NAME.fullmatch(path.name)
    if match:
        letter, first, last = match.groups()
        zeros = "0" * 12 if not int(first) else first
        longer = f"0{last}" if last else f"0{first}" if int(first) else zeros
        for number in (longer, (last or "")[1:]):
            name = f"{letter}-{first}-{number}.parquet"
            if number and int(number) == int(last or first) and name < path.name:
                return path.with_name(name)
    return next_part(path.parent, LETTERS[folder])
