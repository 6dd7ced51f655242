"""Bring files of other formats into a dataset.

Files are read as streams: pictures go to the store as they come, records in batches, and nothing grows with the data. While a batch is
parsed, the one before it is compressed and written in a thread, and in another the catalog follows: both let Python go on. What cannot be
used is written to `imports/<time>.bad.jsonl` in the dataset folder, with its place and the reason.

A file that was read to its end is noted in `imports.json`. After a kill the same command goes on: noted files are passed over, the one
that was in hand is read again, and what the dataset has of it is counted as known.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from mimicit import catalog
from mimicit.columns import Rows
from mimicit.errors import FormatError, MimicitError
from mimicit.formats import BadRow, Format, ReadOptions, format_named, formats
from mimicit.formats.items import At, Block, Listed
from mimicit.formats.mimicit_records import is_unicode, shown
from mimicit.formats.trl_kto import Verdicts
from mimicit.imports import BadRows, Earlier, Noted, size_of
from mimicit.known import Known
from mimicit.parts import parts_of, read_columns
from mimicit.schema import ImageRecord, Instruction, InstructionRow, Verdict, relation_schema
from mimicit.store import Added, Store
from mimicit.tables import text_table

BATCH = 20_000
BATCH_BYTES = 64 << 20
"""Of records that came as columns."""
PRINTED = 1_000
MANY = 40_000
"""Records after which the catalog is brought in step, if it is not being brought just then."""
SWEEP = 10
"""Batches after which cycles of objects are looked for."""
SUFFIXES = (".json", ".jsonl", ".parquet", ".tar")
"""Of the files that are looked for in a folder."""
LIST = "train"
"""The strategy under which published lists to train on are kept in `relations`."""


@dataclass
class Imported:
    records: int = 0
    images: int = 0
    known: int = 0
    """Records and pictures that were there already."""
    bad: list[BadRow] = field(default_factory=list)
    """The first of them; `bad_count` counts all."""
    bad_count: int = 0
    bad_file: Path | None = None
    """Where all of them are listed."""
    listed: int = 0
    """Records with what a `_train.json` gives them as context."""
    files: int = 0
    """Passed over: an earlier import read them to their end."""
    bytes: int = 0
    """Of the files, read so far."""
    total_bytes: int = 0


def import_files(
    paths: Sequence[Path],
    store: Store,
    *,
    format_name: str | None = None,
    options: ReadOptions | None = None,
    again: bool = False,
    progress: Callable[[Imported], None] = lambda imported: None,
) -> Imported:
    """Read files, and folders of them, into the dataset; rows that cannot be used are listed.

    Args:
        paths: Files and folders.
        store: The dataset.
        format_name: Of the files; None finds it for each.
        options: What the files do not say.
        again: Read files that an earlier import read to their end, too.
        progress: Called now and then.

    Raises:
        FormatError: a file is missing or of no known format.
    """
    readers = [format_named(format_name)] if format_name else list(formats().values())
    found = list(_files(paths, readers))
    imported = Imported(total_bytes=sum(size_of(path) for path, _ in found))
    with (
        store.writing("syphus data import"),
        _without_gc(),
        BadRows(store.path) as bad,
        Noted(store.path) as noted,
    ):
        work = _Import(store, options or ReadOptions(), imported, bad, progress)
        sources = [(path, work.format_of(path, format_name, named)) for path, named in found]
        if found and not any(reader for _, reader in sources):
            raise FormatError(_unknown(found[0][0]))
        try:
            for path, reader in sources:
                work.start()
                if reader is None:
                    work.note(BadRow(path.name, "in no known format"))
                elif not again and (earlier := noted.find(path, reader.NAME, work.options)):
                    work.pass_over(earlier)
                elif work.read(path, reader):
                    bad.flush()
                    made = work.since_start()
                    noted.add(path, reader.NAME, work.options, made, imported.bad_file)
                work.end(path)
        finally:
            work.close()
        store.sync()
    return imported


class _Import:
    """What one import does with the rows of its files."""

    def __init__(
        self,
        store: Store,
        options: ReadOptions,
        imported: Imported,
        bad: BadRows,
        progress: Callable[[Imported], None],
    ) -> None:
        self.store, self.options, self.imported = store, options, imported
        self._bad, self._progress = bad, progress
        self._records: list[Instruction | InstructionRow] = []
        self._batch = _Batch()
        self._writer = ThreadPoolExecutor(1, "import-writer")
        self._writing: Future[Added] | None = None
        self._sweep = 0
        self._lists: list[Listed] = []
        self._with_list: Known | None = None
        self._verdicts = Verdicts(store)
        self._ended = self._broken = False
        self._bytes = 0
        """Of the files before this one."""
        self._before = (0, 0, 0, 0)
        self._syncing: Thread | None = None
        self._next_sync = MANY

    def format_of(self, path: Path, name: str | None, named: bool) -> Format | None:
        """Return a file's format; None for a file of no known one that only lies in a folder.

        Raises:
            FormatError: the user named the file, and it is of no known format.
        """
        if name is not None:
            return format_named(name)
        for candidate in formats().values():
            if candidate.detect(path):
                return candidate
        if named:
            raise FormatError(_unknown(path))
        return None

    def start(self) -> None:
        self._before = self._counts()

    def since_start(self) -> dict[str, int]:
        counts = zip(self._counts(), self._before, strict=True)
        names = ("records", "images", "known", "bad")
        return dict(zip(names, (now - before for now, before in counts), strict=True))

    def end(self, path: Path) -> None:
        self._bytes += size_of(path)
        self.imported.bytes = self._bytes
        self._progress(self.imported)

    def pass_over(self, earlier: Earlier) -> None:
        """Count what an earlier import made of a file."""
        self.imported.known += earlier.rows
        self.imported.files += 1
        if earlier.bad:
            self.imported.bad_count += earlier.bad
            said = f"{earlier.bad:,} rows could not be used when it was read; {earlier.listed} lists them"
            self.imported.bad.append(BadRow(earlier.name, said))

    def note(self, row: BadRow) -> None:
        self.imported.bad_count += 1
        if len(self.imported.bad) < PRINTED:
            self.imported.bad.append(row)
        self._bad.add(row)
        self.imported.bad_file = self._bad.path

    def read(self, path: Path, reader: Format) -> bool:
        """Bring a file's rows into the store; say whether it was read to its end."""
        self._ended = self._broken = False
        items = self._items(path, reader)
        while not self._ended:
            self._count(self.store.add_images(self._pictures(items)), "picture")
            self._store_records()
            self._keep_in_step()
            self._progress(self.imported)
            self._tidy()
        self._settle()
        self._keep_lists()
        return not self._broken

    def _keep_in_step(self) -> None:
        """Load what is stored into the catalog, in a thread; at the end there is less to wait for."""
        if self.imported.records < self._next_sync or (self._syncing and self._syncing.is_alive()):
            return
        self._next_sync = self.imported.records + MANY
        self._syncing = Thread(target=_sync_quietly, args=[self.store.path])
        self._syncing.start()

    def close(self) -> None:
        """Let what is done beside the reading come to its end."""
        self._writer.shutdown()
        if self._syncing:
            self._syncing.join()

    def _tidy(self) -> None:
        self._sweep += 1
        if self._sweep % SWEEP == 0:
            gc.collect()

    def _store_records(self) -> None:
        """Have a batch written, when the one before it is: two are held, and no more."""
        self._verdicts.write()
        self._lay_out()
        batch, self._batch = self._batch, _Batch()
        self._settle()
        if batch.count:
            self._writing = self._writer.submit(self._write, batch)

    def _write(self, batch: _Batch) -> Added:
        return self.store.add_rows(batch.joined())

    def _settle(self) -> None:
        """Wait for the batch that is being written, and count its records."""
        if self._writing:
            writing, self._writing = self._writing, None
            self._count(writing.result(), "record")

    def _lay_out(self) -> None:
        """Put records that came one by one into the batch."""
        records, self._records = self._records, []
        if not records:
            return
        try:
            self._batch.add(_as_rows(records))
        except UnicodeEncodeError:  # one of them cannot be written
            fit = []
            for record in records:
                if is_unicode(list(record)):
                    fit.append(record)
                else:
                    self.note(BadRow(shown(record.id), "it holds half of a character"))
            if fit:
                self._batch.add(_as_rows(fit))

    def _items(self, path: Path, reader: Format) -> Iterator[object]:
        try:
            yield from reader.read(path, self.options)
        except FormatError as error:
            self._broken = True
            self.note(BadRow(path.name, str(error)))
        except OSError as error:
            self._broken = True
            self.note(BadRow(path.name, f"it cannot be read: {error.strerror or error}"))

    def _pictures(self, items: Iterator[object]) -> Iterator[ImageRecord]:
        """Hand pictures on, and keep the rest, until there is a batch of records to store."""
        for item in items:
            if isinstance(item, InstructionRow | Instruction):
                self._records.append(item)
            elif isinstance(item, Rows):
                self._lay_out()
                self._batch.add(item)
            elif isinstance(item, Block):
                self._records += item.records
                for row in item.bad:
                    self.note(row)
            elif isinstance(item, ImageRecord):
                yield item
            elif isinstance(item, BadRow):
                self.note(item)
            elif isinstance(item, At):
                self.imported.bytes = self._bytes + item.bytes
                self._progress(self.imported)
            elif isinstance(item, Verdict):
                self._verdicts.add(item)
            elif isinstance(item, Listed):
                self._lists.append(item)
                if len(self._lists) >= BATCH:
                    self._keep_lists()
            if self._batch.count + len(self._records) >= BATCH or self._batch.bytes >= BATCH_BYTES:
                return
        self._ended = True

    def _count(self, added: Added, kind: str) -> None:
        self.imported.known += added.known
        if kind == "picture":
            self.imported.images += added.new
        else:
            self.imported.records += added.new
        for id_ in added.conflicts:
            self.note(BadRow(shown(id_), f"the dataset has another {kind} of this id; it stays"))

    def _keep_lists(self) -> None:
        """Write lists to train on beside the records; a record's first one stays."""
        if not self._lists:
            return
        import pyarrow as pa

        if self._with_list is None:
            self._with_list = Known()
            for batch in read_columns(
                parts_of(self.store.path / "relations"), ["record", "strategy"]
            ):
                rows = zip(batch["record"].to_pylist(), batch["strategy"].to_pylist(), strict=True)
                self._with_list.note(record for record, strategy in rows if strategy == LIST)
        known = self._with_list.among(row.record for row in self._lists)
        fresh = {
            row.record: row.related for row in reversed(self._lists) if row.record not in known
        }
        self._lists = []
        if fresh:
            columns = [list(fresh), list(fresh.values()), [LIST] * len(fresh), [0] * len(fresh)]
            self.store.write_part("relations", "r", pa.table(columns, schema=relation_schema()))
            self._with_list.note(fresh)
            self.imported.listed += len(fresh)

    def _counts(self) -> tuple[int, int, int, int]:
        now = self.imported
        return now.records, now.images, now.known, now.bad_count


class _Batch:
    """Records that become one part."""

    def __init__(self) -> None:
        self._rows: list[Rows] = []
        self.count = 0
        self.bytes = 0

    def add(self, rows: Rows) -> None:
        self._rows.append(rows)
        self.count += len(rows.ids)
        self.bytes += rows.size

    def joined(self) -> Rows:
        import pyarrow as pa

        ids = [id_ for rows in self._rows for id_ in rows.ids]
        return Rows(ids, pa.concat_tables([rows.table for rows in self._rows]))


def _as_rows(records: Sequence[Instruction | InstructionRow]) -> Rows:
    return Rows([record.id for record in records], text_table(records))


def _sync_quietly(folder: Path) -> None:
    """Bring the catalog in step if that can be; the sync at the end says why not."""
    import duckdb

    with suppress(MimicitError, duckdb.Error):
        catalog.sync(folder)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Leave the search for cycles to the ends of batches: records are in none, and it looks at all of them time and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _files(paths: Sequence[Path], readers: Sequence[Format]) -> Iterator[tuple[Path, bool]]:
    """Yield each file, and whether the user named it; the parts of a folder in the order of their numbers."""
    for path in paths:
        if (
            path.is_dir()
            and path.suffix not in SUFFIXES
            and any(one.detect(path) for one in readers)
        ):
            yield path, True  # a format of whole folders
        elif path.is_dir():
            found = [file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file()]
            if not found:
                raise FormatError(
                    f"the folder {str(path)!r} holds none of: {', '.join(f'*{end}' for end in SUFFIXES)}"
                )
            yield from ((file, False) for file in sorted(found, key=_by_number))
        elif path.is_file():
            yield path, True
        else:
            raise FormatError(f"there is no file {str(path)!r}")


def _by_number(path: Path) -> list[tuple[str, int, str]]:
    """Order `part.2` before `part.10`."""
    found = re.findall(r"(\D*)(\d*)", str(path))
    return [(text, int(digits or -1), digits) for text, digits in found]


def _unknown(path: Path) -> str:
    known = ", ".join(formats())
    return f"{str(path)!r} is in no known format ({known}); --format forces one"
