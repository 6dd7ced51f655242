"""A new task folder: a first draft that passes its own check, or a copy of another task."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from syphus.errors import TaskError
from syphus.task import find_task
from syphus.task_files import read_text, regular_file

_SCAFFOLD = Path(__file__).parent / "scaffold"


def write_task(name: str, folder: Path, *, like: str | None = None) -> Path:
    """Write the folder `folder/name` and return it.

    Raises:
        TaskError: the name is none, the folder is there already, there is no task to copy, or it has files that
            are none of its own.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise TaskError(f"{name!r} is no name for a task; use small letters, digits and _")
    path = folder / name
    if path.exists():
        raise TaskError(f"{str(path)!r} is there already; choose another name")
    source = find_task(like) if like else _SCAFFOLD
    text = read_text(source / "task.toml", source)
    for found in source.rglob("*"):
        # A link to a folder is no file either: a copy would follow it out, or round in a circle.
        if found.is_symlink() or not found.is_dir():
            regular_file(found, source)
    shutil.copytree(source, path)
    toml = path / "task.toml"
    prefix = name.replace("_", "").upper()
    if like:
        text = re.sub(r'(?m)^name = ".*"', f'name = "{name}"', text, count=1)
        text = re.sub(r"(?m)^version = \d+", "version = 1", text, count=1)
        text = re.sub(r'(?m)^record_prefix = ".*"', f'record_prefix = "{prefix}"', text, count=1)
    else:
        text = (
            text.replace("{name}", name)
            .replace("{title}", name.replace("_", " ").capitalize())
            .replace("{prefix}", prefix)
        )
    toml.write_text(text, encoding="utf-8")
    return path
