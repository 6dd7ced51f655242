"""Accepted examples become files of a task folder, all of them or none.

    a new folder       the task is copied beside it under a hidden name, with the examples, checked, renamed
    a folder of ours   a copy in a temporary folder is checked; what is new is staged in `.freeze.staged`, renamed to `.freeze`,
                       and moved from there into its places, task.toml last

Renaming to `.freeze` is the moment at which it happens: killed after it, the next freeze moves the rest. An example's
`origin.request` says which candidate it was, so nothing is frozen twice.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syphus.check import check
from syphus.coldstart.examples import to_yaml
from syphus.errors import TaskError
from syphus.scaffolding import write_task
from syphus.task import BUILT_IN, Task, load_task

READY = ".freeze"
_STAGED = ".freeze.staged"
_VERSION = re.compile(r"(?m)^(version[ \t]*=[ \t]*)(\d+)")
_TABLE = re.compile(r"(?m)^[ \t]*\[")
_NAME = re.compile(r"(?m)^name[ \t]*=.*$")


@dataclass(frozen=True)
class Frozen:
    """A task folder after a freeze."""

    task: Task
    files: tuple[Path, ...]
    """Examples that were written; none if all were there before."""


def target_of(task: Task, out: Path | None) -> Path:
    """Return the folder that examples go into: the task's own, or `out`.

    Raises:
        TaskError: it would be a built-in task's, or `out` is something else than a task's folder.
    """
    folder = (out or task.folder).absolute()
    if folder.resolve().is_relative_to(BUILT_IN.resolve()):
        raise TaskError(
            f"{task.name!r} is a built-in task and stays as it is; "
            f"name a folder for a copy that gets the examples, as in --out my_{task.name}"
        )
    if out is None:
        return folder
    if (folder / "task.toml").is_file():
        there = load_task(str(folder))
        if there.reply != task.reply:
            raise TaskError(
                f"{str(out)!r} is another task, {there.name!r}, whose replies look different; "
                "name another folder with --out"
            )
    elif folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise TaskError(
            f"{str(out)!r} is there already, and is no task folder; name another with --out"
        )
    elif not re.fullmatch(r"[a-z][a-z0-9_]*", folder.name):
        raise TaskError(
            f"{folder.name!r} is no name for a task; use small letters, digits and _ in --out"
        )
    return folder


def frozen_requests(folder: Path) -> frozenset[str]:
    """Return the requests whose replies are examples of a task folder already.

    Raises:
        TaskError: the folder is no task.
    """
    if not (folder / "task.toml").is_file():
        return frozenset()
    finish(folder)
    examples = load_task(str(folder)).examples
    return frozenset(str(one.origin["request"]) for one in examples if "request" in one.origin)


def freeze(task: Task, folder: Path, rows: Sequence[dict[str, Any]], *, model: str) -> Frozen:
    """Write examples into a task folder, and raise its version by one.

    Args:
        task: The task that they were collected for.
        folder: Its folder, or another one, which becomes a copy of it.
        rows: Examples as data of their YAML, with their `origin`.
        model: Whose window must hold them.

    Raises:
        TaskError: the folder would not load or not pass its check; it is left as it was.
    """
    known = frozen_requests(folder)
    fresh = [row for row in rows if row["origin"]["request"] not in known]
    if not fresh:
        return Frozen(load_task(str(folder)), ())
    if (folder / "task.toml").is_file():
        names = _add(folder, fresh, model)
    else:
        names = _copy(task, folder, fresh, model)
    return Frozen(load_task(str(folder)), tuple(folder / "examples" / name for name in names))


def finish(folder: Path) -> None:
    """Move what a freeze that was killed had made ready."""
    shutil.rmtree(folder / _STAGED, ignore_errors=True)
    ready = folder / READY
    if not ready.is_dir():
        return
    (folder / "examples").mkdir(exist_ok=True)
    for path in sorted(ready.glob("*.yaml")):
        path.replace(folder / "examples" / path.name)
    if (ready / "task.toml").exists():
        (ready / "task.toml").replace(folder / "task.toml")
    ready.rmdir()


def raised(toml: str) -> str:
    """Raise the `version` of a task.toml by one; nothing else of the text changes.

    Raises:
        TaskError: its version is written in a way that is not understood.
    """
    before = int(tomllib.loads(toml).get("version", 1))
    table = _TABLE.search(toml)
    head, rest = (toml[: table.start()], toml[table.start() :]) if table else (toml, "")
    text, found = _VERSION.subn(lambda m: f"{m[1]}{int(m[2]) + 1}", head, count=1)
    if not found:
        text = _NAME.sub(lambda m: f"{m[0]}\nversion = {before + 1}", head, count=1)
    try:
        after = tomllib.loads(text + rest).get("version")
    except tomllib.TOMLDecodeError:
        after = None
    if after != before + 1:
        raise TaskError(
            "the version in task.toml is written in an unusual way; write it as `version = 1`"
        )
    return text + rest


def _copy(task: Task, folder: Path, rows: Sequence[dict[str, Any]], model: str) -> list[str]:
    staged = folder.parent / f".{folder.name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        made = write_task(folder.name, staged, like=str(task.folder))
        names = _write(made, made / "examples", rows)
        toml = made / "task.toml"
        toml.write_text(raised(toml.read_text(encoding="utf-8")), encoding="utf-8")
        _must_pass(made, model)
        made.rename(folder)  # an empty folder of that name gives way
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return names


def _add(folder: Path, rows: Sequence[dict[str, Any]], model: str) -> list[str]:
    toml = raised((folder / "task.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="syphus-freeze-") as temporary:
        tried = Path(temporary) / folder.name
        shutil.copytree(folder, tried)
        _write(tried, tried / "examples", rows)
        (tried / "task.toml").write_text(toml, encoding="utf-8")
        _must_pass(tried, model)
    staged = folder / _STAGED
    staged.mkdir()
    try:
        names = _write(folder, staged, rows)
        (staged / "task.toml").write_text(toml, encoding="utf-8")
        staged.rename(folder / READY)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    finish(folder)
    return names


def _write(folder: Path, into: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Write examples into a folder, with numbers that go on after those of a task folder."""
    numbers = [
        int(p.stem) for p in (folder / "examples").glob("*.yaml") if re.fullmatch(r"\d+", p.stem)
    ]
    names = [f"{max(numbers, default=0) + n:02d}.yaml" for n in range(1, len(rows) + 1)]
    into.mkdir(exist_ok=True)
    for name, row in zip(names, rows, strict=True):
        (into / name).write_text(to_yaml(row), encoding="utf-8")
    return names


def _must_pass(folder: Path, model: str) -> None:
    try:
        errors = check(load_task(str(folder)), model).errors
    except TaskError as error:
        errors = [str(error)]
    if errors:
        raise TaskError(
            f"with the accepted examples the task would not pass its check: {errors[0]}; "
            "raise --want, and undo or change one of them"
        )
