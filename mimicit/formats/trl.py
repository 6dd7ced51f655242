"""Parquet as TRL's trainers read it, with pictures inside (Hugging Face `datasets`' Image feature).

    train-00000-of-00001.parquet             images, and messages (or prompt + completion)
    preference/train-00000-of-00001.parquet  images, prompt, chosen, rejected

Written are `prompt` and `completion` where no record chosen is one of several turns: TRL learns from completions only, and from
every word of `messages`. The conversations with a worse last answer are tables of their own, as their columns are others. `datasets.load_dataset("parquet",
data_files=…)` gives messages and pictures; what else a row holds is in `trl_records`, and trainers pass it over.

Read are the same columns with one picture in `image`, `question` and `answer` and the like, and FineVision's `texts`; pictures are structs of
bytes and path, plain bytes, or names of files. Columns of other bytes are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.errors import FormatError, PictureError
from mimicit.formats.base import BadRow, ReadOptions, WriteOptions, Written
from mimicit.formats.exporting import Conversation, Export
from mimicit.formats.set_rows import RowError, rows
from mimicit.formats.trl_messages import speaks
from mimicit.formats.trl_records import Item, Reader, row_of
from mimicit.formats.trl_references import FEATURES, columns_of, look_through
from mimicit.formats.trl_table import IMAGE, MESSAGES, TEXT, Features, ShardedTable
from mimicit.media import picture
from mimicit.store import Store

if TYPE_CHECKING:
    import pyarrow

NAME = "trl"
TITLE = "Parquet of messages or preferences with pictures inside: TRL, Hugging Face datasets."

SHORT = "TRL"
MAX_PICTURES = 1_000
"""Of one row."""

PREFERENCE = "preference"

_BESIDE: Features = {
    "id": TEXT,
    "task": TEXT,
    "language": TEXT,
    "image_ids": [TEXT],
    "record_ids": [TEXT],
    "meta": TEXT,
}

SHAPES: Mapping[str, Features] = {
    "messages": {"images": [IMAGE], "messages": MESSAGES, **_BESIDE},
    "completion": {"images": [IMAGE], "prompt": MESSAGES, "completion": MESSAGES, **_BESIDE},
    PREFERENCE: {
        "images": [IMAGE],
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        **_BESIDE,
    },
}


# Reading


def detect(path: Path) -> bool:
    """Recognise by the names of the columns: something said, and pictures or messages."""
    schema = _schema(path)
    if schema is None or not speaks(schema.names):
        return bool(schema and {"texts", "images"} <= set(schema.names))
    shows = {"image", "images"} & set(schema.names)
    return bool(shows or {"messages", "chosen", "completion"} & set(schema.names))


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a Parquet file as a stream.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    schema = _schema(path)
    if schema is None:
        raise FormatError(f"{str(path)!r} is not a Parquet file")
    reader = Reader(SHORT, NAME, options)
    yield from reader.to_end(_read(path, schema, reader, options.images or path.parent))


def _read(path: Path, schema: pyarrow.Schema, reader: Reader, folder: Path) -> Iterator[Item]:
    for row in rows(path, _columns(schema)):
        if isinstance(row, BadRow):
            yield row
            continue
        where, value = row
        try:
            found = reader.records(where, value, _pictures(value, folder))
        except RowError as error:
            yield BadRow(where, str(error))
        else:
            yield from found


def _schema(path: Path) -> pyarrow.Schema | None:
    if path.suffix != ".parquet":
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return None


def _columns(schema: pyarrow.Schema) -> list[str]:
    """Leave out what is neither a picture nor made of text and numbers."""
    return [
        field.name
        for field in schema
        if field.name in ("image", "images") or "binary" not in str(field.type)
    ]


def _pictures(row: Mapping[str, Any], folder: Path) -> list[bytes]:
    shown = row.get("images")
    if shown is None:
        shown = [] if row.get("image") is None else row["image"]
    shown = shown if isinstance(shown, list) else [shown]
    if len(shown) > MAX_PICTURES:
        raise RowError(f"{len(shown)} pictures; at most {MAX_PICTURES} are read")
    return [_picture(one, folder) for one in shown]


def _picture(value: Any, folder: Path) -> bytes:
    """Return a picture's bytes.

    Raises:
        RowError: there are none.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        if len(value) > picture.MAX_BYTES:
            raise RowError(f"a picture is larger than {picture.MAX_BYTES >> 20} MiB")
        return value
    if not isinstance(value, str) or not value:
        raise RowError("a picture without bytes and without a path")
    try:
        return picture.read(folder, value)
    except (PictureError, ValueError) as error:
        raise RowError(str(error)) from None


# Writing


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy a predicate, with their pictures.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        FormatError: the folder holds another export, or a row is too large.
    """
    tables = write_tables(store, folder, options, plain=".")
    return [file for _, files in tables for file in files]


def write_tables(
    store: Store,
    folder: Path,
    options: WriteOptions,
    *,
    plain: str,
    watch: Callable[[Conversation], None] = lambda conversation: None,
) -> list[tuple[ShardedTable, list[Written]]]:
    """Write a table for each split and shape that there is.

    Args:
        store: The dataset.
        folder: Of the export.
        options: What to write.
        plain: Folder below it for all but preferences.
        watch: Is shown each conversation.
    """
    tables: dict[tuple[str, str], ShardedTable] = {}
    chosen = look_through(store, options.where)
    shape = "messages" if chosen.has_turns else "completion"
    names = {name: FEATURES[name] for name in chosen.columns}
    with Export(store, options) as export, ExitStack() as stack:
        for split in export.splits:
            for conversation in export.conversations(split):
                watch(conversation)
                row = row_of(conversation, cut=shape == "completion")
                row |= dict.fromkeys(names, ()) | columns_of(conversation)
                kind, below = (PREFERENCE, PREFERENCE) if "chosen" in row else (shape, plain)
                if (kind, split) not in tables:
                    tables[kind, split] = stack.enter_context(
                        ShardedTable(
                            folder / below,
                            split,
                            {**SHAPES[kind], **names},
                            shard_bytes=options.shard_bytes,
                        )
                    )
                row["images"], size = _images(export, conversation)
                tables[kind, split].add(row, size)
        ordered = sorted(
            tables, key=lambda key: (key[0] == PREFERENCE, export.splits.index(key[1]))
        )
        return [(tables[key], tables[key].publish()) for key in ordered]


def _images(export: Export, conversation: Conversation) -> tuple[list[dict[str, Any]], int]:
    """Return the column `images` of a row, and about how many bytes the row has."""
    size = sum(len(turn.instruction) + len(turn.answer) for turn in conversation.turns)
    size += sum(place.length for place in conversation.pictures)
    images = [
        {"bytes": export.read(place), "path": Path(place.name).name}
        for place in conversation.pictures
    ]
    return images, size
