"""Bring files of other formats into a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mimicit.errors import FormatError
from mimicit.formats import BadRow, Format, ReadOptions, format_named, formats
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Added, Store

BATCH = 20_000
BATCH_BYTES = 256 << 20


@dataclass
class Imported:
    records: int = 0
    images: int = 0
    known: int = 0
    """Records and pictures that were there already."""
    bad: list[BadRow] = field(default_factory=list)
    """The first of them; `bad_count` counts all."""
    bad_count: int = 0

    def note(self, row: BadRow) -> None:
        self.bad_count += 1
        if len(self.bad) < 1_000:
            self.bad.append(row)


def import_files(
    paths: Sequence[Path],
    store: Store,
    *,
    format_name: str | None = None,
    options: ReadOptions | None = None,
    progress: Callable[[Imported], None] = lambda imported: None,
) -> Imported:
    """Read files, and folders of them, into the dataset; rows that cannot be used are listed.

    Raises:
        FormatError: a file is missing or of no known format.
    """
    imported = Imported()
    sources = [(path, _format_of(path, format_name)) for path in _files(paths)]
    with store.writing("syphus data import"):
        for path, reader in sources:
            _import_one(path, reader, options or ReadOptions(), store, imported, progress)
        store.sync()
    return imported


def _import_one(
    path: Path,
    reader: Format,
    options: ReadOptions,
    store: Store,
    imported: Imported,
    progress: Callable[[Imported], None],
) -> None:
    records: list[Instruction] = []
    images: list[ImageRecord] = []
    waiting = 0
    try:
        for item in reader.read(path, options):
            if isinstance(item, BadRow):
                imported.note(item)
            elif isinstance(item, Instruction):
                records.append(item)
            else:
                images.append(item)
                waiting += len(item.image)
            if len(records) >= BATCH or waiting >= BATCH_BYTES:
                _store(records, images, store, imported)
                records, images, waiting = [], [], 0
                progress(imported)
    except FormatError as error:
        imported.note(BadRow(path.name, str(error)))
    _store(records, images, store, imported)
    progress(imported)


def _store(
    records: Sequence[Instruction],
    images: Sequence[ImageRecord],
    store: Store,
    imported: Imported,
) -> None:
    def count(added: Added, kind: str) -> int:
        imported.known += added.known
        for id_ in added.conflicts:
            imported.note(BadRow(id_, f"the dataset has another {kind} of this id; it stays"))
        return added.new

    imported.images += count(store.add_images(images), "picture")
    imported.records += count(store.add(records), "record")


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted((*path.rglob("*.json"), *path.rglob("*.parquet")))
            if not found:
                raise FormatError(f"the folder {str(path)!r} holds no .json and no .parquet files")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise FormatError(f"there is no file {str(path)!r}")


def _format_of(path: Path, name: str | None) -> Format:
    if name is not None:
        return format_named(name)
    known = formats()
    for candidate in known.values():
        if path.name.endswith("_train.json") or candidate.detect(path):
            return candidate
    raise FormatError(
        f"{str(path)!r} is in no known format ({', '.join(known)}); --format forces one"
    )
