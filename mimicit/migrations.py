"""The layout of a dataset folder, as numbered steps: append, never edit.

`dataset.json` holds the number of the last step that was applied. A folder of an older version is brought forward when it is
opened for writing; a newer one is refused.
"""

import json
from collections.abc import Callable
from pathlib import Path

from mimicit.errors import DatasetError

MARKER = "dataset.json"
FOLDERS = frozenset(
    {"images", "text", "verdicts", "ledger", "snapshots", "relations", "annotations", "splits"}
)
"""What the steps make."""


def m001_first_layout(folder: Path) -> None:
    for name in ("images", "text", "verdicts", "ledger", "snapshots"):
        (folder / name).mkdir(exist_ok=True)


def m002_relations(folder: Path) -> None:
    (folder / "relations").mkdir(exist_ok=True)


def m003_annotations_and_splits(folder: Path) -> None:
    for name in ("annotations", "splits"):
        (folder / name).mkdir(exist_ok=True)


MIGRATIONS: tuple[Callable[[Path], None], ...] = (
    m001_first_layout,
    m002_relations,
    m003_annotations_and_splits,
)
VERSION = len(MIGRATIONS)


def version_of(folder: Path) -> int:
    """Return the folder's version.

    Raises:
        DatasetError: it is no dataset folder, or a newer one than this program knows.
    """
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        version = int(marker["version"])
    except FileNotFoundError:
        raise DatasetError(
            f"{str(folder)!r} is not a dataset folder (it has no {MARKER}); "
            "`syphus generate` and `syphus data import` make one"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{str(folder / MARKER)!r} is damaged: {error}") from None
    if version > VERSION:
        raise DatasetError(
            f"{str(folder)!r} is a dataset folder of version {version}, and this program knows "
            f"versions up to {VERSION}; update it with: pip install -U mimicit"
        )
    return version


def migrate(folder: Path, version: int) -> None:
    """Apply the steps after `version`; each is recorded as soon as it is done."""
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        step(folder)
        staged = folder / f".{MARKER}"
        staged.write_text(json.dumps({"format": "MIMIC-IT", "version": number}) + "\n")
        staged.rename(folder / MARKER)
