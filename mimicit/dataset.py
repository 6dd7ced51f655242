"""A dataset folder for Python: `mimicit.open("demo")`.

    for record in dataset: ...                    Instruction by Instruction, as a stream
    dataset.arrow(where="task = 'la_detail'")     a pyarrow.RecordBatchReader
    dataset.pandas(…)  .huggingface(…)  .torch(…) what these libraries work with
    dataset.sql("SELECT …")                       a pyarrow.Table; the statement can only read
    dataset.images.get(["LA_IMG_000000000042"])   pictures, as they were given

All but `sql` show the accepted records: those that no verdict speaks against. `where` is an SQL predicate over that view. A
dataset can be pickled, and so handed to workers: it is a path.

A stream is what the catalog held when it was begun: the rows are copied into a temporary file, compressed, where they are many, and
the catalog is closed before the first one is seen. So whoever reads for hours keeps no writer waiting.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mimicit.errors import DatasetError, MissingExtraError, QueryError
from mimicit.pictures import Pictures
from mimicit.schema import Instruction
from mimicit.store import Store

if TYPE_CHECKING:
    import datasets
    import pandas
    import pyarrow
    from PIL.Image import Image

    from mimicit.media.tensors import Quality
    from mimicit.torch_dataset import SnapshotDataset

BATCH_ROWS = 8_192
IN_MEMORY = 32 << 20
"""Bytes of a stream's rows that need no file."""
_CATALOG = threading.Lock()
"""A process that closes a file loses its locks on it, also those of another thread that reads it."""


class Dataset:
    """The accepted records of a dataset folder, and its pictures."""

    def __init__(self, path: str | PathLike[str]) -> None:
        """Use `mimicit.open`."""
        self.store = Store.open(Path(path))
        self.images = Pictures(self.store.path)

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path]]:
        return Dataset, (self.path,)

    def __repr__(self) -> str:
        return f"mimicit.open({str(self.path)!r})"

    @property
    def path(self) -> Path:
        return self.store.path

    def __len__(self) -> int:
        return self.count()

    def count(self, where: str = "true") -> int:
        """Return how many accepted records satisfy a predicate."""
        counted = self._reader("count(*) AS records", where).read_all()
        return int(counted["records"][0].as_py())

    def __iter__(self) -> Iterator[Instruction]:
        return self.records()

    def records(self, where: str = "true") -> Iterator[Instruction]:
        """Yield the records that satisfy a predicate.

        Raises:
            QueryError: it is not valid SQL over `accepted`.
            DatasetError: a record is not what a record should be.
        """
        for batch in self._reader("*", where):
            for row in batch.to_pylist():
                yield _record(row)

    def arrow(
        self, where: str = "true", *, columns: Sequence[str] | None = None
    ) -> pyarrow.RecordBatchReader:
        """Return the records as a stream of Arrow batches.

        Args:
            where: A predicate over the view `accepted`.
            columns: Some of its columns; all by default.

        Raises:
            QueryError: it is not valid SQL over `accepted`, or there is no such column.
        """
        return self._reader(_listed(columns), where)

    def pandas(
        self, where: str = "true", *, columns: Sequence[str] | None = None
    ) -> pandas.DataFrame:
        """Return the records as a data frame, with the record's id as a column."""
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise MissingExtraError("pandas", "data") from None
        frame: pandas.DataFrame = self.arrow(where, columns=columns).read_pandas()
        return frame

    def huggingface(self, where: str = "true", *, pictures: bool = True) -> datasets.Dataset:
        """Return the records as a `datasets.Dataset`, memory-mapped from a file in its cache.

        Args:
            where: A predicate over the view `accepted`.
            pictures: Add the column `images` to what is read: each record's pictures, decoded by Pillow when they are asked
                for. They are not copied, and so not in what `save_to_disk` writes; `syphus data export` writes copies.

        Raises:
            QueryError: as `arrow`.
            MissingExtraError: the package is not installed.
        """
        try:
            import datasets
        except ImportError:
            raise MissingExtraError("datasets", "data") from None
        cache = Path(datasets.config.HF_DATASETS_CACHE) / "mimicit"
        cache.mkdir(parents=True, exist_ok=True)
        found = datasets.Dataset.from_file(str(_kept(self.arrow(where), cache)))
        if pictures:
            found = found.with_transform(_WithPictures(self.images))
        return found

    def torch(
        self,
        where: str = "true",
        *,
        seed: int | None = None,
        size: int | tuple[int, int] | None = None,
        dtype: str = "float32",
        quality: Quality = "good",
    ) -> SnapshotDataset:
        """Freeze the records as a snapshot, and return it as a map-style dataset for `torch.utils.data.DataLoader`.

        Args:
            where: A predicate over the view `accepted`.
            seed: Of their order; None: by id.
            size: Pixels of both sides, or (height, width), of the pictures' tensors; None leaves them as bytes.
            dtype: `float32` or `uint8`.
            quality: See `mimicit.media.tensors.pixels`.

        Raises:
            QueryError: as `arrow`.
            DatasetError: nothing satisfies it, or a record names a picture that there is not.
        """
        from mimicit.snapshot import freeze
        from mimicit.torch_dataset import SnapshotDataset

        with _CATALOG:
            digest = freeze(self.store, where=where, seed=seed).digest
        return SnapshotDataset(self.path, digest, size=size, dtype=dtype, quality=quality)

    def sql(self, query: str, *, timeout: float = 300.0, memory_mb: int = 2_048) -> pyarrow.Table:
        """Run one reading statement over the catalog in a process of its own, and return its result.

        Args:
            query: See docs/sql.md for tables and views.
            timeout: Seconds before it is stopped.
            memory_mb: What DuckDB may use.

        Raises:
            QueryError: the statement is wrong or refused, or it overran its limits.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from mimicit.sql import run_sql

        with _CATALOG:
            self.store.refresh()
        with tempfile.TemporaryFile() as file:
            run_sql(
                query,
                self.store.catalog_path,
                format="parquet",
                output=file,
                timeout=timeout,
                memory_mb=memory_mb,
            )
            file.seek(0)
            try:
                return pq.read_table(file)
            except pa.ArrowInvalid:
                raise QueryError(f"the result of {query!r} is no table") from None

    def _reader(self, columns: str, where: str) -> pyarrow.RecordBatchReader:
        import pyarrow as pa

        batches = self._batches(columns, where)
        schema = next(batches)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _batches(self, columns: str, where: str) -> Iterator[Any]:
        """Yield the schema, and then the rows."""
        import pyarrow as pa

        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            with _CATALOG:
                self._copy(columns, where, file)
            file.seek(0)
            with pa.ipc.open_stream(file) as reader:
                yield reader.schema
                yield from reader

    def _copy(self, columns: str, where: str, sink: IO[bytes]) -> None:
        import duckdb
        import pyarrow as pa

        from mimicit.sandbox import predicate

        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self.store.refresh()
        with self.store.reading() as connection:
            try:
                query = f"SELECT {columns} FROM accepted WHERE {predicate(connection, where)}"
                reader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
                with pa.ipc.new_stream(sink, reader.schema, options=options) as writer:
                    for batch in reader:
                        writer.write_batch(batch)
            except duckdb.Error as error:
                raise QueryError(
                    f"the selection {where!r} fails: {str(error).splitlines()[0]}"
                ) from None


def _listed(columns: Sequence[str] | None) -> str:
    """Return names of columns as SQL."""
    if columns is None:
        return "*"
    if not columns:
        raise QueryError("name at least one column")
    return ", ".join('"' + name.replace('"', '""') + '"' for name in columns)


def _record(row: dict[str, Any]) -> Instruction:
    from pydantic import ValidationError

    try:
        return Instruction.model_validate(row)
    except ValidationError as error:
        said = error.errors()[0]
        raise DatasetError(
            f"record {row['id']!r} is not as it should be ({said['loc'][0]}: {said['msg']}); "
            "`syphus data validate` finds all of these"
        ) from None


def _kept(rows: pyarrow.RecordBatchReader, folder: Path) -> Path:
    """Write rows as an Arrow stream under the hash of its content, so that the same rows are there once."""
    import pyarrow as pa

    with tempfile.NamedTemporaryFile(dir=folder, suffix=".staged", delete=False) as staged:
        path = Path(staged.name)
        try:
            with pa.ipc.new_stream(staged, rows.schema) as writer:
                for batch in rows:
                    writer.write_batch(batch)
            staged.flush()
            staged.seek(0)
            hasher = blake2b(digest_size=16)
            while block := staged.read(1 << 20):
                hasher.update(block)
            return path.replace(folder / f"{hasher.hexdigest()}.arrow")
        finally:
            path.unlink(missing_ok=True)


class _WithPictures:
    """Adds the pictures to a batch of rows; an object, so that it can be pickled."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if "image_ids" in rows:
            rows["images"] = [list(map(self._decoded, ids)) for ids in rows["image_ids"]]
        return rows

    def _decoded(self, id: str) -> Image:
        from mimicit.media.picture import decode

        return decode(self.pictures.get([id])[0], name=id)
