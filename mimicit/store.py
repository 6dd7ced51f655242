"""One dataset folder: the only place that reads and writes records.

Truth is Parquet. Each write makes a new part beside its name and renames it, so a killed writer leaves whole parts and
nothing else (`mimicit.parts`). Pictures are written before the records that name them. One process writes at a time, and says
so; while it does it keeps which ids there are in memory (`mimicit.known`). The catalog is opened only for moments, so that
readers can come between, during a long run by a process of its own (`mimicit.follower`).

One thread at a time may use a store; it need not be always the same one. Records and pictures may be added by two at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit import catalog, migrations
from mimicit.columns import Rows, as_column
from mimicit.errors import DatasetError, LockedError
from mimicit.follower import Follower
from mimicit.footers import Footers
from mimicit.known import Known
from mimicit.parts import merge_small, next_part, parts_of, read_columns, replaced_parts, write_part
from mimicit.pictures import Pictures
from mimicit.schema import (
    Annotation,
    ImageRecord,
    Instruction,
    InstructionRow,
    Verdict,
    annotation_schema,
    text_schema,
    verdict_schema,
)
from mimicit.shards import SHARD_BYTES, ShardWriter
from mimicit.tables import annotation_table, as_rows, split_parts, split_table, text_table

if TYPE_CHECKING:
    import duckdb
    import pyarrow


@dataclass
class Added:
    """What became of records that were handed to the store."""

    new: int = 0
    known: int = 0
    """Already there with the same content."""
    conflicts: list[str] = field(default_factory=list)
    """Ids already there with other content; the first one stays."""


class Store:
    def __init__(self, path: Path) -> None:
        """Use `Store.open`."""
        self.path = path
        self._known: dict[str, Known] | None = None
        """Folder -> ids that are in it; None while others may write."""
        self._footers: dict[str, Footers] = {}
        self._follower: Follower | None = None
        """Keeps the catalog in step while this is the writer."""

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Store:
        """Open a dataset folder, and bring an older one to today's layout.

        Args:
            path: The folder.
            create: Make it if there is none.

        Raises:
            DatasetError: no such folder, not a dataset folder, or of a newer version.
        """
        if create and not (path / migrations.MARKER).exists():
            if path.is_dir() and any(map(_is_foreign, path.iterdir())):
                raise DatasetError(
                    f"{str(path)!r} holds other files and is not a dataset folder; name a new folder"
                )
            path.mkdir(parents=True, exist_ok=True)
            migrations.migrate(path, 0)
        elif not path.is_dir():
            raise DatasetError(f"there is no dataset folder {str(path)!r}")
        migrations.migrate(path, migrations.version_of(path))
        return cls(path)

    @contextmanager
    def writing(self, what: str, *, patience: float = 0.0) -> Iterator[None]:
        """Be the only writer, for as long as the block runs.

        Args:
            what: The command, for others who would write.
            patience: Seconds to wait for another writer to be done.

        Raises:
            LockedError: another process is writing; the message says which.
        """
        import filelock

        owner = self.path / ".writer"
        lock = filelock.FileLock(self.path / ".lock", timeout=patience, thread_local=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            who = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
            raise LockedError(
                f"{who} is writing to {str(self.path)!r}; wait until it is done"
            ) from None
        try:
            owner.write_text(f"`{what}` (process {os.getpid()})\n", encoding="utf-8")
            self._clear_up()
            self._known, self._follower = {}, Follower(self.path)
            self._footers = {folder: Footers() for folder in ("text", "images")}
            yield
        finally:
            if self._follower:
                self._follower.stop()
            self._known = self._follower = None
            self._footers = {}
            self._clear_up()  # what did not get finished must not fill the disk
            owner.unlink(missing_ok=True)
            lock.release()

    # Writing

    def add(self, records: Sequence[Instruction | InstructionRow]) -> Added:
        """Write records as a new part; those already there are left as they are."""
        added = Added()
        if not records:
            return added
        known = self._ids("text")
        found = known.among([record.id for record in records])
        stored = self._stored_texts(found) if found else {}
        fresh: dict[str, Instruction | InstructionRow] = {}
        for record in records:
            here = fresh.get(record.id)
            text = (here.instruction, here.answer) if here else stored.get(record.id)
            if text is None:
                fresh[record.id] = record
            elif text == (record.instruction, record.answer):
                added.known += 1
            else:
                added.conflicts.append(record.id)
        if fresh:
            self.write_part("text", "p", text_table(list(fresh.values())))
            known.note(fresh)
            merge_small(self.path / "text", text_schema())
        added.new = len(fresh)
        return added

    def add_rows(self, rows: Rows) -> Added:
        """Write records that are laid out as columns as a new part; those already there are left as they are."""
        added = Added()
        ids, table = rows.ids, rows.table
        known = self._ids("text")
        found = known.among(ids)
        if found or len(set(ids)) < len(ids):
            fresh = self._sort_out(rows, found, added)
            ids, table = [ids[n] for n in fresh], table.take(as_column(fresh, _places()))
        if ids:
            self.write_part("text", "p", table.combine_chunks())
            known.note(ids)
            merge_small(self.path / "text", text_schema())
        added.new = len(ids)
        return added

    def _sort_out(self, rows: Rows, found: set[str], added: Added) -> list[int]:
        """Return the places of records that are new, and note what the others are."""
        there = self._stored_texts(found) if found else {}
        texts = zip(
            *(rows.table[name].to_pylist() for name in ("instruction", "answer")), strict=True
        )
        fresh = []
        for place, (id_, text) in enumerate(zip(rows.ids, texts, strict=True)):
            first = there.setdefault(id_, text)
            if first is text:
                fresh.append(place)
            elif first == text:
                added.known += 1
            else:
                added.conflicts.append(id_)
        return fresh

    def add_images(self, images: Iterable[ImageRecord]) -> Added:
        """Write pictures to new shards; those already there are left as they are."""
        added = Added()
        writer: ShardWriter | None = None
        written: dict[str, str] = {}
        """What the shard in hand holds, which nobody can look up yet."""
        for block in _blocks(images):
            known = self._ids("images")
            stored = self._stored_hashes(known.among(image.id for image in block))
            for image in block:
                sha256 = written.get(image.id) or stored.get(image.id)
                if sha256 is not None:
                    added.known += sha256 == image.sha256
                    added.conflicts += [] if sha256 == image.sha256 else [image.id]
                    continue
                written[image.id] = image.sha256
                writer = writer or ShardWriter(next_part(self.path / "images", "s"))
                writer.add(image)
                added.new += 1
                if writer.bytes >= SHARD_BYTES:
                    writer.close()
                    writer = None
                    known.note(written)
                    stored |= written
                    written = {}
        if writer:
            writer.close()
            self._ids("images").note(written)
        return added

    def add_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Write verdicts as a new part, one for each recipe among them: parts are replaced by recipe."""
        now = int(time.time() * 1e6)
        for recipe in sorted({verdict.recipe for verdict in verdicts}):
            said = [verdict for verdict in verdicts if verdict.recipe == recipe]
            table = as_rows(said, verdict_schema(), time=[now] * len(said))
            self.write_part("verdicts", "v", table)
        if verdicts:
            merge_small(self.path / "verdicts", verdict_schema(), alike="recipe")

    def add_annotations(self, annotations: Sequence[Annotation]) -> None:
        """Write what people said of pictures as a new part."""
        if annotations:
            self.write_part("annotations", "n", annotation_table(annotations))
            merge_small(self.path / "annotations", annotation_schema())

    def write_splits(self, name: str, members: pyarrow.Table) -> None:
        """Say which split each record is in, in place of what was said under this name before.

        Args:
            name: Of the splitting.
            members: With the columns `record` and `split`.
        """
        old = split_parts(self.path / "splits", name)
        self.write_part("splits", "d", split_table(name, members))
        for path in old:  # the newest part of a name counts, should a kill come between
            path.unlink()

    def write_part(
        self, folder: str, letter: str, rows: pyarrow.Table | pyarrow.RecordBatchReader
    ) -> Path:
        """Write a Parquet part that holds no pictures beside its name, and rename it."""
        import pyarrow as pa

        path = next_part(self.path / folder, letter)
        tables = iter([rows]) if isinstance(rows, pa.Table) else map(_as_table, rows)
        write_part(path, tables, rows.schema)
        return path

    def sync(self, *, patience: float = 10.0) -> None:
        """Bring the catalog up to date.

        Args:
            patience: Seconds to wait for a process that has it open.

        Raises:
            LockedError: it did not let go of it.
        """
        if self._follower:
            self._follower.wait()
        catalog.sync(self.path, patience=patience)

    def try_sync(self, *, patience: float = 0.0) -> None:
        """Bring the catalog up to date in passing; if that cannot be, whoever reads it next does it, or is told why not.

        Args:
            patience: Seconds to wait for a process that has it open. Without any the caller goes on at once, a process
                beside it does the work, and not more often than it is cheap; at the end of a run, be patient. Call it
                at the beginning, too, and that process is ready when it is needed.
        """
        if self._follower and not patience:
            if "duckdb" not in sys.modules:
                self._follower.prepare()
            self._follower.nudge()
        elif self._follower and "duckdb" not in sys.modules:
            self._follower.sync(patience)
        else:
            with suppress(LockedError, DatasetError):
                self.sync(patience=patience)

    def refresh(self) -> None:
        """Bring the catalog up to date, unless a writer is at work that will do it itself."""
        try:
            if catalog.is_stale(self.path):
                with self.writing("refresh"):
                    self.sync()
        except LockedError:
            if not self.catalog_path.exists():
                raise

    def rebuild(self) -> None:
        """Make the catalog again from the Parquet parts and the ledger."""
        catalog.rebuild(self.path)

    # Reading

    @cached_property
    def images(self) -> Pictures:
        """The pictures' bytes, by id or number, from any number of workers."""
        return Pictures(self.path)

    @property
    def catalog_path(self) -> Path:
        return self.path / "catalog.duckdb"

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the catalog for reading, locked down: expressions of users and recipes run in it."""
        from mimicit.sandbox import lock_down

        with catalog.connect(self.catalog_path, read_only=True) as connection:
            lock_down(connection)
            yield connection

    def _clear_up(self) -> None:
        """Delete what a killed writer left behind."""
        for place in ("*", "measures/*", "measures/*/*", "curation/*/judged/*"):
            for leftover in self.path.glob(f"{place}/.*.staged"):
                leftover.unlink()
        for folder in ("text", "verdicts", "relations", "annotations"):
            for part in replaced_parts(self.path / folder):
                part.unlink()
        spilt = self.path / catalog.SPILL
        for leftover in spilt.glob("*"):
            leftover.unlink()
        if spilt.is_dir():
            spilt.rmdir()

    def _ids(self, folder: str) -> Known:
        """Return which ids a folder has; whoever is the only writer asks the Parquet parts once."""
        if self._known is not None and folder in self._known:
            return self._known[folder]
        ids = Known()
        for batch in read_columns(parts_of(self.path / folder), ["id"]):
            ids.note(batch["id"].to_pylist())
        if self._known is not None:
            self._known[folder] = ids
        return ids

    def _stored_texts(self, ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        rows = self._look_up("text", ["id", "instruction", "answer"], ids)
        return {row["id"]: (row["instruction"], row["answer"]) for row in rows}

    def _stored_hashes(self, ids: Iterable[str]) -> dict[str, str]:
        return {row["id"]: row["sha256"] for row in self._look_up("images", ["id", "sha256"], ids)}

    def _look_up(
        self, folder: str, columns: list[str], ids: Iterable[str]
    ) -> Iterator[dict[str, Any]]:
        """Look ids up in the Parquet parts themselves: the catalog may be behind, or in use."""
        wanted = sorted(ids)
        if not wanted:
            return
        import pyarrow as pa
        import pyarrow.compute as pc

        listed = as_column(wanted, pa.string())
        parts, footers = parts_of(self.path / folder), self._footers.get(folder)
        for batch in read_columns(parts, columns, wanted, footers=footers):
            found = batch.filter(pc.is_in(batch["id"], listed))
            if found.num_rows:
                yield from found.to_pylist()


def _places() -> pyarrow.DataType:
    import pyarrow as pa

    return pa.int64()


def _as_table(batch: pyarrow.RecordBatch) -> pyarrow.Table:
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def _is_foreign(path: Path) -> bool:
    """Say whether something is not a folder that a killed first step left behind."""
    return path.name not in migrations.FOLDERS or not path.is_dir() or any(path.iterdir())


def _blocks(
    images: Iterable[ImageRecord], count: int = 256, size: int = 64 << 20
) -> Iterator[list[ImageRecord]]:
    """Gather pictures whose ids are looked up at once: so many, or so many bytes."""
    block: list[ImageRecord] = []
    held = 0
    for image in images:
        block.append(image)
        held += len(image.image)
        if len(block) == count or held >= size:
            yield block
            block, held = [], 0
    if block:
        yield block
