"""What is beside the parts: snapshots that training opens, and what killed writers left."""

from __future__ import annotations

import re
import time
from pathlib import Path

from mimicit.errors import DatasetError
from mimicit.parts import replaced_parts
from mimicit.snapshot import Snapshot
from mimicit.validate.bench import Bench, Found, plain_name
from mimicit.validate.scan import FOLDERS, first_line

FREEZING = 86_400
"""Seconds after which a snapshot that is being frozen is a killed process's."""
AGAIN = ".again-"
"""Before the name of a snapshot that a repair writes again."""
_DIGEST = re.compile(r"[0-9a-f]{32}")


def leftovers(folder: Path) -> list[Path]:
    """Return what killed writers left; nothing while a writer is at work."""
    import filelock

    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            return _leftovers(folder)
    except filelock.Timeout:
        return []
    except OSError:  # nobody can write here, so nobody does
        return _leftovers(folder)


def _leftovers(folder: Path) -> list[Path]:
    staged = [*folder.glob("*/.*.staged"), *folder.glob(".*.staged")]
    replaced = [part for name in FOLDERS for part in replaced_parts(folder / name)]
    return sorted([*staged, *replaced, *unfinished_snapshots(folder)])


def unfinished_snapshots(dataset: Path) -> list[Path]:
    """Return the folders of snapshots that never got their names."""
    folder = dataset / "snapshots"
    old = time.time() - FREEZING
    freezing = [path for path in folder.glob(".freezing-*") if path.stat().st_mtime < old]
    return [*freezing, *folder.glob(f"{AGAIN}*")]


def check_leftovers(bench: Bench, paths: list[Path]) -> None:
    what = "a process that was killed did not finish it, or did not come to delete it"
    bench.note(
        [Found("leftover", what, file=plain_name(path.relative_to(bench.folder))) for path in paths]
    )


def check_snapshots(bench: Bench) -> None:
    for folder in snapshots(bench.folder):
        problem = _problem(bench.folder, folder.name)
        if problem:
            file = str(folder.relative_to(bench.folder))
            bench.note([Found("broken-snapshot", problem, file=file)])


def snapshots(dataset: Path) -> list[Path]:
    found = (dataset / "snapshots").glob("*")
    return sorted(path for path in found if _DIGEST.fullmatch(path.name) and path.is_dir())


def opened_snapshot(dataset: Path, digest: str, *, check: bool = False) -> Snapshot:
    """Open a snapshot whose files may hold anything.

    Raises:
        DatasetError: it is damaged.
    """
    import pyarrow as pa

    try:
        return Snapshot(dataset, digest, check=check)
    except (
        pa.ArrowException,
        OSError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise DatasetError(f"its files cannot be read: {first_line(error)}") from None


def _problem(dataset: Path, digest: str) -> str | None:
    """Return what is wrong with a snapshot."""
    try:
        opened_snapshot(dataset, digest, check=True).close()
    except DatasetError as error:
        return str(error)
    return None
