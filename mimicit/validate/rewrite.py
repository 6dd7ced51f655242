"""A part's rows, divided: those that stay, mended, and those that go into quarantine, as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mimicit.columns import as_column, as_table
from mimicit.parts import fitted
from mimicit.schema import ImageRecord
from mimicit.shards import ROW_GROUP, ROW_GROUP_BYTES, ShardWriter
from mimicit.validate.bench import Bench, Part
from mimicit.validate.scan import BATCH, groups, schema_of

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow

_LISTS = {"text": "rel_ins_ids", "relations": "related"}


def kept_rows(bench: Bench, part: Part) -> Iterator[pyarrow.Table]:
    """Yield the rows that stay."""
    import pyarrow as pa

    for start, table in _tables(part):
        moved, mends = _moved(bench, part, start, BATCH), _mends(bench, part, start, BATCH)
        for name, values in _mended(table, part.folder, start, mends).items():
            index = table.schema.get_field_index(name)
            field = table.schema.field(name)
            table = table.set_column(index, field, as_column(values, field.type))
        stays = [start + n not in moved for n in range(table.num_rows)]
        yield table.filter(as_column(stays, pa.bool_()))


def moved_rows(bench: Bench, part: Part) -> Iterator[pyarrow.Table]:
    """Yield the rows that are moved or mended, as they are."""
    import pyarrow as pa

    for start, table in _tables(part):
        rows = _moved(bench, part, start, BATCH) | _mends(bench, part, start, BATCH).keys()
        if rows:
            goes = [start + n in rows for n in range(table.num_rows)]
            yield table.filter(as_column(goes, pa.bool_()))


def _tables(part: Part) -> Iterator[tuple[int, pyarrow.Table]]:
    """Yield a part's readable rows, at most BATCH at once, with the number of the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    bad = {start for start, _ in part.bad}
    with pq.ParquetFile(part.path) as file:
        for group, start, _ in groups(file):
            if start in bad:
                continue
            at = start
            for batch in file.iter_batches(BATCH, [group], use_threads=False):
                yield at, fitted(pa.Table.from_batches([batch]), schema_of(part.folder))
                at += batch.num_rows


def _moved(bench: Bench, part: Part, start: int, count: int) -> set[int]:
    rows = bench.rows(
        'SELECT "row" FROM moves WHERE part = $part AND "row" >= $start AND "row" < $end',
        part=part.number, start=start, end=start + count,
    )  # fmt: skip
    return {row for (row,) in rows}


def _mends(
    bench: Bench, part: Part, start: int, count: int
) -> dict[int, tuple[list[str] | None, bool]]:
    """Return, for the rows to be mended, the list that is left, and whether it is no translation any more."""
    rows = bench.rows(
        """SELECT "row", any_value(names), coalesce(bool_or(is_original), false) FROM mends
        WHERE part = $part AND "row" >= $start AND "row" < $end GROUP BY "row\"""",
        part=part.number, start=start, end=start + count,
    )  # fmt: skip
    return {row: (names, is_original) for row, names, is_original in rows}


def _mended(
    table: pyarrow.Table, folder: str, start: int, mends: dict[int, tuple[list[str] | None, bool]]
) -> dict[str, list[Any]]:
    """Return the columns that change."""
    changed: dict[str, list[Any]] = {}
    if mends and folder in _LISTS:
        name = _LISTS[folder]
        changed[name] = [value or [] for value in table[name].to_pylist()]
        if folder == "text":
            changed["translation_of"] = table["translation_of"].to_pylist()
        for row, (names, is_original) in mends.items():
            if names is not None:
                changed[name][row - start] = names
            if is_original:
                changed["translation_of"][row - start] = None
    return changed


# Pictures


def split_shard(bench: Bench, part: Part, stands: Path, aside: Path) -> None:
    """Write the pictures that stay to a shard that stands for this one, and the others, as they are, to `aside`."""
    with _Aside(aside) as others:
        for row, (is_moved, truth) in _pictures(bench, part):
            if is_moved or truth:
                others.add(row)
    writer = ShardWriter(stands)
    for row, (is_moved, truth) in _pictures(bench, part):
        if not is_moved:
            known = {name: row[name] for name in ImageRecord.model_fields}
            writer.add(ImageRecord.model_validate(known | truth))
    writer.close()


def _pictures(
    bench: Bench, part: Part
) -> Iterator[tuple[dict[str, Any], tuple[bool, dict[str, Any]]]]:
    """Yield a shard's readable rows one by one, each with whether it goes, and what is true of it instead."""
    import pyarrow.parquet as pq

    schema = schema_of("images")
    schema = schema.remove(schema.get_field_index("image"))
    bad = {start for start, _ in part.bad}
    with pq.ParquetFile(part.path) as file, part.path.open("rb") as raw:
        names = [name for name in schema.names if name in file.schema_arrow.names]
        for group, start, count in groups(file):
            if start in bad:
                continue
            places = _places(bench, part, start, count)
            rows = fitted(file.read_row_group(group, columns=names, use_threads=False), schema)
            moved = _moved(bench, part, start, count)
            truths = _truths(bench, part, start, count)
            for number, row in enumerate(rows.to_pylist(), start):
                row["image"] = os.pread(raw.fileno(), row["length"], places[number])
                yield row, (number in moved, truths.get(number, {}))


def _places(bench: Bench, part: Part, start: int, count: int) -> dict[int, int]:
    return dict(
        bench.rows(
            'SELECT "row", "offset" FROM pictures '
            'WHERE part = $part AND "row" >= $start AND "row" < $end',
            part=part.number, start=start, end=start + count,
        )
    )  # fmt: skip


def _truths(bench: Bench, part: Part, start: int, count: int) -> dict[int, dict[str, Any]]:
    rows = bench.rows(
        'SELECT "row", mime, width, height FROM truths '
        'WHERE part = $part AND "row" >= $start AND "row" < $end',
        part=part.number, start=start, end=start + count,
    )  # fmt: skip
    return {row: {"mime": m, "width": w, "height": h} for row, m, w, h in rows}


class _Aside:
    """A Parquet file of pictures that are not right, so without the checks of a shard; none if there are none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staged = path.with_name(f".{path.name}.staged")
        self._writer: Any = None
        self._waiting: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> _Aside:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write()
        if self._writer is not None:
            self._writer.close()
            if kind is None:
                self.staged.rename(self.path)

    def add(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        self._bytes += len(row["image"])
        if len(self._waiting) == ROW_GROUP or self._bytes >= ROW_GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        schema = schema_of("images")
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.staged, schema, compression="none", use_dictionary=False,
                column_encoding={"image": "PLAIN"}, data_page_size=2 * ROW_GROUP_BYTES,
            )  # fmt: skip
        columns = {name: [row[name] for row in self._waiting] for name in schema.names}
        self._writer.write_table(as_table(columns, schema), row_group_size=ROW_GROUP)
        self._waiting, self._bytes = [], 0
