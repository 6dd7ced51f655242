"""One dataset folder: the only place that reads and writes records.

Truth is Parquet. Each write makes a new part beside its name and renames it, so a killed writer leaves whole parts and
nothing else. Pictures are written before the records that name them. One process writes at a time, and says so; the
catalog is opened only for moments, so that readers can come between.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit import catalog, migrations
from mimicit.errors import DatasetError, LockedError, QueryError
from mimicit.schema import ImageRecord, Instruction, Verdict, text_schema, verdict_schema
from mimicit.shards import SHARD_BYTES, ShardWriter

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
        lock = filelock.FileLock(self.path / ".lock", timeout=patience)
        try:
            lock.acquire()
        except filelock.Timeout:
            who = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
            raise LockedError(
                f"{who} is writing to {str(self.path)!r}; wait until it is done"
            ) from None
        try:
            owner.write_text(f"`{what}` (process {os.getpid()})\n", encoding="utf-8")
            for leftover in self.path.glob("*/.*.staged"):
                leftover.unlink()
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    # Writing

    def add(self, records: Sequence[Instruction]) -> Added:
        """Write records as a new part; those already there are left as they are."""
        import pyarrow as pa

        added = Added()
        stored = self._stored_texts([record.id for record in records])
        fresh: dict[str, Instruction] = {}
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
            rows = [record.model_dump() for record in fresh.values()]
            self.write_part("text", "p", pa.Table.from_pylist(rows, schema=text_schema()))
        added.new = len(fresh)
        return added

    def add_images(self, images: Iterable[ImageRecord]) -> Added:
        """Write pictures to new shards; those already there are left as they are."""
        added = Added()
        writer: ShardWriter | None = None
        for block in _blocks(images):
            stored = self._stored_hashes([image.id for image in block])
            for image in block:
                if image.id in stored:
                    same = stored[image.id] == image.sha256
                    added.known += same
                    added.conflicts += [] if same else [image.id]
                    continue
                stored[image.id] = image.sha256
                writer = writer or ShardWriter(self._next_part("images", "s"))
                writer.add(image)
                added.new += 1
                if writer.bytes >= SHARD_BYTES:
                    writer.close()
                    writer = None
        if writer:
            writer.close()
        return added

    def add_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Write verdicts as a new part, one for each recipe among them: parts are replaced by recipe."""
        import pyarrow as pa

        now = {"time": int(time.time() * 1e6)}
        for recipe in sorted({verdict.recipe for verdict in verdicts}):
            rows = [verdict.model_dump() | now for verdict in verdicts if verdict.recipe == recipe]
            self.write_part("verdicts", "v", pa.Table.from_pylist(rows, schema=verdict_schema()))

    def write_part(
        self, folder: str, letter: str, rows: pyarrow.Table | pyarrow.RecordBatchReader
    ) -> Path:
        """Write a Parquet part that holds no pictures beside its name, and rename it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._next_part(folder, letter)
        staged = path.with_name(f".{path.name}.staged")
        blocks = (
            [rows] if isinstance(rows, pa.Table) else (pa.Table.from_batches([b]) for b in rows)
        )
        with pq.ParquetWriter(staged, rows.schema, compression="zstd") as writer:
            for block in blocks:
                writer.write_table(block, row_group_size=122_880)
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.rename(path)
        return path

    def sync(self, *, patience: float = 10.0) -> None:
        """Bring the catalog up to date.

        Args:
            patience: Seconds to wait for a process that has it open.

        Raises:
            LockedError: it did not let go of it.
        """
        catalog.sync(self.path, patience=patience)

    def try_sync(self, *, patience: float = 0.0) -> None:
        """Bring the catalog up to date in passing; if that cannot be, whoever reads it next does it, or is told why not."""
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

    def training_rows(self, where: str) -> pyarrow.Table:
        """Return the accepted records that satisfy a SQL predicate, by id, with their pictures' places.

        The column `hash` covers a row's texts and its pictures' SHA-256.

        Raises:
            QueryError: the predicate is not valid SQL over `accepted`.
            DatasetError: a record names a picture that the dataset does not have.
        """
        import duckdb

        from mimicit.sandbox import predicate

        with self.reading() as connection:
            try:
                query = _TRAINING_ROWS.format(where=predicate(connection, where))
                rows: pyarrow.Table = connection.sql(query).to_arrow_table()
            except duckdb.Error as error:
                raise QueryError(
                    f"the selection {where!r} fails: {str(error).splitlines()[0]}"
                ) from None
        missing = rows.filter(rows["missing"])
        if missing.num_rows:
            raise DatasetError(
                f"{missing.num_rows} records name pictures that {str(self.path)!r} does not have, "
                f"the first is {missing['id'][0].as_py()!r}; import the pictures, or leave the "
                "records out of the selection"
            )
        return rows.drop_columns("missing")

    def _stored_texts(self, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        rows = self._look_up("text", "id, instruction, answer", ids)
        return {id_: (instruction, answer) for id_, instruction, answer in rows}

    def _stored_hashes(self, ids: Sequence[str]) -> dict[str, str]:
        return dict(self._look_up("images", "id, sha256", ids))

    def _look_up(self, folder: str, columns: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Look ids up in the Parquet parts themselves: the catalog may be behind, or in use."""
        import duckdb
        import pyarrow as pa

        parts = sorted(str(path) for path in (self.path / folder).glob("[!.]*.parquet"))
        if not parts or not ids:
            return []
        with duckdb.connect(":memory:") as connection:
            connection.register("wanted", pa.table({"id": pa.array(ids, pa.string())}))
            return connection.execute(
                f"SELECT {columns} FROM read_parquet($parts) SEMI JOIN wanted USING (id)",
                {"parts": parts},
            ).fetchall()

    def _next_part(self, folder: str, letter: str) -> Path:
        taken = [path.stem for path in (self.path / folder).glob(f"{letter}-*.parquet")]
        number = max((int(stem.split("-")[1]) for stem in taken), default=-1) + 1
        return self.path / folder / f"{letter}-{number:05d}.parquet"


_TRAINING_ROWS = """
WITH chosen AS (SELECT * FROM accepted WHERE {where}),
named AS (SELECT id, unnest(image_ids) AS image, generate_subscripts(image_ids, 1) AS n FROM chosen),
placed AS (
    SELECT named.id,
           list({{'shard': shard, 'offset': "offset", 'length': length}} ORDER BY n) AS pictures,
           string_agg(sha256, ' ' ORDER BY n) AS hashes,
           bool_or(shard IS NULL) AS missing
    FROM named LEFT JOIN images ON images.id = named.image
    GROUP BY named.id
)
SELECT id, task, instruction, answer, coalesce(pictures, []) AS pictures,
       md5(concat_ws(chr(31), id, task, instruction, answer, hashes)) AS hash,
       coalesce(missing, false) AS missing
FROM chosen LEFT JOIN placed USING (id)
ORDER BY id
"""


def _is_foreign(path: Path) -> bool:
    """Say whether something is not a folder that a killed first step left behind."""
    return path.name not in migrations.FOLDERS or not path.is_dir() or any(path.iterdir())


def _blocks(images: Iterable[ImageRecord], size: int = 256) -> Iterator[list[ImageRecord]]:
    block: list[ImageRecord] = []
    for image in images:
        block.append(image)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
