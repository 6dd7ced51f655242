"""Read every part once, row group by row group, and put what the checks need on the bench.

A row group that cannot be read is noted, and reading goes on behind it. Parts are listed before anything is read, texts first:
pictures are written before the records that name them, so a writer at work makes no record dangle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mimicit.columns import as_column
from mimicit.errors import DatasetError
from mimicit.parts import fitted, parts_of
from mimicit.schema import image_schema, relation_schema, text_schema, verdict_schema
from mimicit.shards import IMAGE_COLUMN, MAX_PAGE_HEADER
from mimicit.validate.bench import Bench, Found, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow

FOLDERS = ("text", "relations", "verdicts", "images")
BATCH = 4_096


class Item(NamedTuple):
    """A picture as its shard's columns have it."""

    row: int
    id: str
    offset: int
    length: int
    sha256: str
    mime: str
    width: int
    height: int


class Job(NamedTuple):
    """The pictures of one row group."""

    path: str
    part: int
    items: list[Item]


def list_parts(bench: Bench) -> None:
    for folder in FOLDERS:
        for path in parts_of(bench.folder / folder):
            bench.parts.append(Part(len(bench.parts), folder, path))
    bench.connection.execute(
        "CREATE TABLE parts (part INTEGER, folder VARCHAR, file VARCHAR)",
    )
    for part in bench.parts:
        bench.run(
            "INSERT INTO parts VALUES ($p, $d, $f)", p=part.number, d=part.folder, f=part.file
        )


def schema_of(folder: str) -> pyarrow.Schema:
    schemas: dict[str, Callable[[], pyarrow.Schema]] = {
        "text": text_schema,
        "relations": relation_schema,
        "verdicts": verdict_schema,
        "images": image_schema,
    }
    return schemas[folder]()


# Texts, relations, verdicts


_LOADS = {
    "text": """INSERT INTO records
        SELECT $part, "row", coalesce(id, ''), coalesce(task, ''), coalesce(image_ids, []),
               coalesce(rel_ins_ids, []), translation_of, conversation, turn,
               coalesce(regexp_full_match(instruction, '[\\s\\p{Z}]*'), true),
               coalesce(regexp_full_match(answer, '[\\s\\p{Z}]*'), true),
               (len(texts) - len(replace(texts, '<image>', ''))) // 7
        FROM (SELECT *, concat(instruction, chr(10), answer) AS texts FROM _batches)""",
    "relations": """INSERT INTO relations
        SELECT $part, "row", coalesce(record, ''), coalesce(related, []) FROM _batches""",
    "verdicts": "SELECT count(*) FROM _batches WHERE $part >= 0",
}


def scan_rows(bench: Bench) -> Iterator[int]:
    """Load all parts but those of pictures; yield how many rows each had."""
    import pyarrow as pa

    for part in bench.parts:
        if part.folder == "images":
            continue
        schema = schema_of(part.folder).append(pa.field("row", pa.int64()))
        file = opened(bench, part)
        if file is None:
            continue
        with file:
            batches = pa.RecordBatchReader.from_batches(schema, _batches(file, part))
            bench.connection.register("_batches", batches)
            bench.connection.execute(_LOADS[part.folder], {"part": part.number}).fetchall()
            bench.connection.unregister("_batches")
        _forget_bad(bench, part)
        yield part.rows


def opened(bench: Bench, part: Part) -> Any:
    """Open a part whose columns are right; None if it cannot be, which is noted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(part.path)
        part.rows = file.metadata.num_rows
        there, schema = file.schema_arrow, schema_of(part.folder)
    except FileNotFoundError:
        raise DatasetError(
            f"{part.file!r} is gone: another process changed the dataset meanwhile; try again"
        ) from None
    except (pa.ArrowException, OSError, UnicodeError) as error:  # UnicodeError: of its name
        return _useless(bench, part, "unreadable-file", f"it cannot be opened: {first_line(error)}")
    lacking = [f.name for f in schema if not f.nullable and f.name not in there.names]
    foreign = [name for name in there.names if name not in schema.names]
    odd = [f.name for f in schema if f.name in there.names and not _fits(there.field(f.name), f)]
    problems = [
        f"{what} {', '.join(map(repr, names))}"
        for what, names in (
            ("it lacks", lacking),
            ("it also has", foreign),
            ("of a wrong type:", odd),
        )
        if names
    ]
    if not problems:
        return file
    file.close()
    return _useless(bench, part, "wrong-columns", "; ".join(problems))


def _useless(bench: Bench, part: Part, fault: str, what: str) -> None:
    part.whole = True
    bench.note([Found(fault, what, part.number)])


def _fits(there: pyarrow.Field, wanted: pyarrow.Field) -> bool:
    import pyarrow as pa

    def kind(field: pyarrow.Field) -> str:
        """Say what the values are; their width does not matter."""
        name = str(field.type.value_type if pa.types.is_list(field.type) else field.type)
        name = name.removeprefix("large_").rstrip("0123456789")
        return f"[{name}]" if pa.types.is_list(field.type) else name.partition("[")[0]

    return kind(there) == kind(wanted) or pa.types.is_null(there.type)


def _batches(file: Any, part: Part) -> Iterator[pyarrow.RecordBatch]:
    """Yield a part's rows with their numbers; groups that fail are noted in the part."""
    import pyarrow as pa

    for group, start, rows in groups(file):
        at = start
        try:
            for batch in file.iter_batches(BATCH, [group], use_threads=False):
                yield _numbered(batch, part.folder, at)
                at += batch.num_rows
        except (pa.ArrowException, OSError, OverflowError):
            part.bad.append((start, start + rows))


def _numbered(batch: pyarrow.RecordBatch, folder: str, start: int) -> pyarrow.RecordBatch:
    """Bring rows to today's columns.

    Raises:
        ArrowInvalid: they hold what no string can.
    """
    import pyarrow as pa

    table = fitted(pa.Table.from_batches([batch]), schema_of(folder))
    table.validate(full=True)
    numbers = as_column(range(start, start + batch.num_rows), pa.int64())
    [numbered] = table.append_column("row", numbers).combine_chunks().to_batches() or [None]
    return numbered


def groups(file: Any) -> Iterator[tuple[int, int, int]]:
    """Yield each row group's number, first row and count."""
    start = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if rows:
            yield group, start, rows
        start += rows


def _forget_bad(bench: Bench, part: Part) -> None:
    """Take out what was loaded of groups before they failed."""
    table = {"text": "records", "relations": "relations"}.get(part.folder)
    for start, end in part.bad:
        if table:
            bench.run(
                f'DELETE FROM {table} WHERE part = $part AND "row" >= $start AND "row" < $end',
                part=part.number, start=start, end=end,
            )  # fmt: skip
    note_bad(bench, part)


def note_bad(bench: Bench, part: Part) -> None:
    bench.note(
        [
            Found("unreadable-rows", f"{end - start:,} rows of one row group", part.number, start)
            for start, end in part.bad
        ]
    )


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# Pictures


def scan_pictures(bench: Bench) -> Iterator[Job]:
    """Load what shards say of their pictures, and yield these by row group."""
    for part in bench.of("images"):
        file = opened(bench, part)
        if file is None:
            continue
        strange = there = 0
        with file:
            for group, start, rows in groups(file):
                there += 1
                items = _items(file, part, group, start)
                if not items:
                    part.bad.append((start, start + rows))
                    strange += items is None
                    continue
                _load(bench, part, items)
                yield Job(str(part.path), part.number, items)
        if there and strange == there:
            part.bad = []
            _useless(
                bench, part, "wrong-layout",
                "its pictures are not stored one after the other, as they are",
            )  # fmt: skip
        note_bad(bench, part)


def _load(bench: Bench, part: Part, items: list[Item]) -> None:
    import pyarrow as pa

    rows = [(part.number, *item[:5]) for item in items]
    kinds = [pa.int32(), pa.int64(), pa.string(), pa.int64(), pa.int64(), pa.string()]
    names = ("part", "row", "id", "offset", "length", "sha256")
    bench.load("pictures", names, rows, kinds)


def _items(file: Any, part: Part, group: int, start: int) -> list[Item] | None:
    """Return a row group's pictures with their places: [] if it cannot be read, None if it is not laid out so."""
    import pyarrow as pa

    schema = schema_of("images")
    schema = schema.remove(schema.get_field_index("image"))
    wanted = [name for name in schema.names if name in file.schema_arrow.names]
    try:
        table = fitted(file.read_row_group(group, columns=wanted, use_threads=False), schema)
        table.validate(full=True)
    except (pa.ArrowException, OSError, OverflowError):
        return []
    columns = table.select(["id", "length", "sha256", "mime", "width", "height"]).to_pydict()
    offsets = _offsets(file, part, group, columns["length"])
    if offsets is None:
        return None
    columns = {
        name: [("" if name in ("id", "sha256", "mime") else 0) if v is None else v for v in values]
        for name, values in columns.items()
    }
    rows = range(start, start + table.num_rows)
    columns |= {"row": rows, "offset": offsets}
    return list(map(Item, *(columns[name] for name in Item._fields)))


def _offsets(file: Any, part: Part, group: int, lengths: list[int | None]) -> list[int] | None:
    """Return where a group's pictures begin; None if its column of pictures is not one plain page."""
    chunk = file.metadata.row_group(group).column(IMAGE_COLUMN)
    if chunk.path_in_schema != "image" or chunk.compression != "UNCOMPRESSED":
        return None
    known = [length for length in lengths if length is not None and length >= 0]
    page = sum(4 + length for length in known)
    header = chunk.total_compressed_size - page
    if len(known) < len(lengths) or not 0 < header < MAX_PAGE_HEADER:
        return None
    with part.path.open("rb") as raw:
        said = os.pread(raw.fileno(), header, chunk.data_page_offset)
    if not said.startswith(_page_header(page)):
        return None
    offsets, at = [], chunk.data_page_offset + header
    for length in known:
        offsets.append(at + 4)
        at += 4 + length
    return offsets


def _page_header(size: int) -> bytes:
    """Return how a data page's header begins, in Thrift's compact protocol: its type, its size twice."""
    number, left = b"", 2 * size
    while left > 127:
        number += bytes([left & 127 | 128])
        left >>= 7
    number += bytes([left])
    return b"\x15\x00\x15" + number + b"\x15" + number
