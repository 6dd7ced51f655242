"""What every export does: the accepted records as conversations, in splits, with their pictures.

    with Export(store, options) as export:
        for split in export.splits:                     # "train" first
            for conversation in export.conversations(split): ...
            for id_, mime, data in export.pictures(split): ...

Both are streams: DuckDB sorts within a memory limit, on disk where need be, and a picture is one `pread`. Nothing depends on
the order in which parts were written, so two exports of the same records are the same bytes. Which split a conversation
is in depends on the seed and on its first picture (its id, where it has none), and not on what else is exported: more
records do not move it, and conversations about one picture stay together.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

from mimicit import catalog
from mimicit.errors import DatasetError, FormatError, PictureError, QueryError
from mimicit.formats.base import WriteOptions
from mimicit.sandbox import lock_down, predicate
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb

ROWS = 4_000
"""Rows that are in memory at a time."""
MEMORY = "128MB"
"""Of DuckDB, which sorts on disk beyond it."""
PART = 65_536
"""Rows that are sorted at a time where they lie in order."""
OPEN_SHARDS = 16
MAX_NAME = 200
"""Bytes of a file's name; file systems allow 255."""

EXTENSIONS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "image/bmp": "bmp",
    "image/tiff": "tif", "image/avif": "avif", "image/jp2": "jp2", "image/x-icon": "ico",
    "image/x-portable-anymap": "ppm", "image/x-portable-pixmap": "ppm",
}  # fmt: skip


class Picture(NamedTuple):
    """A picture of the dataset, and where its bytes lie."""

    id: str
    mime: str
    width: int
    height: int
    shard: str
    """Path below the dataset folder."""
    offset: int
    length: int
    name: str
    """Of its file, below the export's folder."""


@dataclass(frozen=True, slots=True)
class Turn:
    instruction: str
    answer: str
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    """Of the conversation, or of the record where it is a single question."""
    task: str
    language: str
    image_ids: tuple[str, ...]
    turns: tuple[Turn, ...]
    meta: dict[str, Any]
    record_ids: tuple[str, ...]
    """Of the turns."""
    source: str | None
    pictures: tuple[Picture, ...] = ()
    """Those of `image_ids`, in the same order."""


def file_name(id_: str, mime: str) -> str:
    """Name a picture's file so that the name leads nowhere, is no other picture's, and gives the id back (`picture_id`).

    LA_IMG_000000000042 -> images/LA_IMG_000000000042.jpg
    """
    stem = quote(id_, safe="")
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if len(stem) > MAX_NAME:
        import hashlib

        stem = f"{stem[:100].rstrip('%')}-{hashlib.sha256(id_.encode()).hexdigest()[:32]}"
    extension = EXTENSIONS.get(mime) or re.sub(r"[^a-z0-9]", "", mime.rpartition("/")[2]) or "bin"
    return f"images/{stem}.{extension}"


class Export:
    """What is chosen of a store, for as long as the block runs."""

    def __init__(self, store: Store, options: WriteOptions) -> None:
        self._store = store
        self._options = options
        self._ranges = _ranges(options)
        self._stack = ExitStack()
        self._shards: OrderedDict[str, int] = OrderedDict()
        self._where = ""

    @property
    def splits(self) -> list[str]:
        return list(self._ranges)

    def __enter__(self) -> Self:
        """Check the selection.

        Raises:
            QueryError: the predicate is not valid SQL over the view `accepted`.
            DatasetError: a record names a picture that the dataset does not have.
        """
        import duckdb

        with ExitStack() as stack:
            opened = catalog.connect(self._store.catalog_path, read_only=True, memory=MEMORY)
            self._connection = stack.enter_context(opened)
            lock_down(self._connection)
            stack.callback(self._close_shards)
            try:
                self._where = predicate(self._connection, self._options.where)
                self._check_pictures()
            except duckdb.Error as error:
                raise QueryError(
                    f"the selection {self._options.where!r} fails: {str(error).splitlines()[0]}"
                ) from None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def conversations(self, split: str = "train") -> Iterator[Conversation]:
        """Yield conversations by id, each with its turns in order."""
        for found in self.rows(split, None):
            assert isinstance(found, Conversation)
            yield found

    def rows(self, split: str, plain: str | None) -> Iterator[list[str] | Conversation]:
        """Yield conversations by id, and in their place rows that DuckDB wrote itself, some at a time: it is several times as fast.

        Args:
            split: One of `splits`.
            plain: An SQL expression, the row of a record that is a question about one picture or none, with nothing beside. It
                may use the record's columns and `shown`, the picture's file name or NULL. NULL leaves a record to Python.
        """
        lines: list[str] = []
        turns: list[tuple[Any, ...]] = []
        segments = self._segments()
        shown = self._shown(len(segments)) if plain else ""
        queries = [self._query(split, plain if shown else None, shown, one) for one in segments]
        for rows in chain.from_iterable(map(self._blocks, queries)):
            there = self.look_up(id_ for row in rows if row[0] is None for id_ in row[6])
            for row in rows:
                if turns and (row[0] is not None or row[1:3] != turns[0][1:3]):
                    yield _conversation(turns)
                    turns = []
                if row[0] is not None:
                    lines.append(row[0])
                    continue
                if lines:
                    yield lines
                    lines = []
                turns.append((*row, tuple(there[id_] for id_ in row[6])))
            if lines:
                yield lines
                lines = []
        if turns:
            yield _conversation(turns)

    def pictures(self, split: str = "train") -> Iterator[tuple[str, str, bytes]]:
        """Yield id, MIME type and bytes of every picture once, as they lie in the shards."""
        for found in self.picture_places(split):
            yield found.id, found.mime, self.read(found)

    def picture_places(self, split: str = "train") -> Iterator[Picture]:
        query = (
            f"SELECT {_PICTURE} FROM images WHERE id IN (SELECT unnest(image_ids) FROM accepted "
            f'WHERE {self._chosen(split)}) ORDER BY shard, "row"'
        )
        for rows in self._blocks(query):
            yield from map(_picture, rows)

    def picture(self, id_: str) -> tuple[str, bytes]:
        """Return the MIME type and the bytes of one picture.

        Raises:
            PictureError: there is none of this id.
        """
        found = self.look_up([id_]).get(id_)
        if found is None:
            raise PictureError(f"the dataset has no picture {id_!r}")
        return found.mime, self.read(found)

    def look_up(self, ids: Iterable[str]) -> dict[str, Picture]:
        """Return those of the pictures that are there."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        query = f"SELECT {_PICTURE} FROM images WHERE id IN (SELECT unnest($ids))"
        rows = self._cursor().execute(query, {"ids": wanted}).fetchall()
        return {found.id: found for found in map(_picture, rows)}

    def read(self, picture: Picture) -> bytes:
        """Return a picture's bytes, as they were given.

        Raises:
            PictureError: the shard is shorter than the catalog says.
        """
        data = os.pread(self._shard(picture.shard), picture.length, picture.offset)
        if len(data) != picture.length:
            raise PictureError(
                f"{picture.shard!r} ends before byte {picture.offset + picture.length}; "
                "look at it with: syphus data validate"
            )
        return data

    def file_name(self, id_: str, mime: str) -> str:
        return file_name(id_, mime)

    def _segments(self) -> list[str]:
        """Part the records so that all keys of one part are before those of the next.

        Records mostly lie as they were made, in the order of their ids, and so do their parts: each is then sorted in memory. Where they lie
        anyhow there is one part, and DuckDB sorts on disk.
        """
        parts: list[str] = []
        last = ""
        for part, first, final, lowest, highest in self._connection.execute(
            "SELECT part, min(rowid), max(rowid), min(coalesce(conversation, id)), "
            "max(coalesce(conversation, id)) FROM instructions "
            f"GROUP BY part, rowid // {PART} ORDER BY 4, 2"
        ).fetchall():
            name = part.replace("'", "''")
            rows = f"(part = '{name}' AND rowid BETWEEN {first} AND {final})"
            if parts and lowest <= last:
                parts[-1] = f"{parts[-1]} OR {rows}"
            else:
                parts.append(rows)
            last = max(last, highest)
        if len(parts) < 2:
            return ["accepted"]
        return [_ACCEPTED.format(rows=rows) for rows in parts]

    def _shown(self, segments: int) -> str:
        """Return the query that adds `shown`; none where it would join all records with all pictures, for which there is no memory."""
        count, first, last = self._connection.execute(
            "SELECT (SELECT count(*) FROM instructions), min(mime), max(mime) FROM images"
        ).fetchall()[0]
        if first == last:  # most often all pictures are of one kind
            kind = first if first in EXTENSIONS else ""
            return _SHOWN_ALIKE.format(extension=_extension_sql(f"'{kind}'"), chosen="{}")
        if count > PART and segments < 2:
            return ""
        return _SHOWN.format(extension=_extension_sql("mime"), chosen="{}")

    def _query(self, split: str, plain: str | None, shown: str, records: str) -> str:
        chosen = f"(SELECT * FROM {records} WHERE {self._chosen(split)})"
        columns = "id, task, language, image_ids, instruction, answer, rejected, source, meta"
        line = "NULL::VARCHAR"
        if plain is not None:
            chosen = f"({shown.format(chosen)})"
            line = f"CASE WHEN {_IS_PLAIN} THEN {plain} END"
            columns = ", ".join(
                f"CASE WHEN line IS NULL THEN {column} END" for column in columns.split(", ")
            )
        return (
            f"SELECT line, key, single, {columns} FROM (SELECT *, {line} AS line, "
            f"coalesce(conversation, id) AS key, conversation IS NULL AS single FROM {chosen}) "
            "ORDER BY key, single, turn, id"
        )

    def _blocks(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        cursor = self._cursor()
        try:
            cursor.execute(query)
            while rows := cursor.fetchmany(ROWS):
                yield rows
        finally:
            cursor.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        cursor.execute("USE catalog")
        return cursor

    def _chosen(self, split: str) -> str:
        if len(self._ranges) == 1:
            return self._where
        first, last = self._ranges[split]
        key = f"concat('{int(self._options.seed)}:', coalesce(image_ids[1], conversation, id))"
        share = f"(md5_number_lower({key})::DOUBLE / 18446744073709551616)"
        return f"{self._where} AND {share} >= {first!r} AND {share} < {last!r}"

    def _check_pictures(self) -> None:
        count, first = self._connection.execute(
            "SELECT count(DISTINCT record), min(record) FROM ("
            f"SELECT id AS record, unnest(image_ids) AS image FROM accepted WHERE {self._where}"
            ") ANTI JOIN images ON images.id = image"
        ).fetchall()[0]
        if count:
            raise DatasetError(
                f"{count} records name pictures that {str(self._store.path)!r} does not have, the "
                f"first is {first!r}; import the pictures, or leave the records out of the selection"
            )

    def _shard(self, name: str) -> int:
        if name in self._shards:
            self._shards.move_to_end(name)
        else:
            if len(self._shards) >= OPEN_SHARDS:
                os.close(self._shards.popitem(last=False)[1])
            self._shards[name] = os.open(self._store.path / name, os.O_RDONLY)
        return self._shards[name]

    def _close_shards(self) -> None:
        while self._shards:
            os.close(self._shards.popitem()[1])


_ACCEPTED = """(SELECT * EXCLUDE (part) FROM instructions WHERE ({rows})
AND id NOT IN (SELECT record FROM verdicts WHERE coalesce(rejects, true)))"""
"""The view `accepted`, of some rows."""
_SHOWN = """
SELECT chosen.*, 'images/' || image_ids[1] || '.' || {extension} AS shown
FROM {chosen} AS chosen LEFT JOIN (SELECT id AS image, mime FROM images) ON image = image_ids[1]"""
_SHOWN_ALIKE = """
SELECT *, 'images/' || image_ids[1] || '.' || {extension} AS shown FROM {chosen}"""
_IS_PLAIN = """
conversation IS NULL AND meta IS NULL AND rejected IS NULL AND len(image_ids) < 2
AND (len(image_ids) = 0 OR regexp_full_match(image_ids[1], '[A-Za-z0-9_~-][A-Za-z0-9_.~-]{0,150}'))
AND (len(image_ids) = 0 OR shown IS NOT NULL)
AND instruction <> '' AND left(instruction, 1) NOT IN (' ', chr(9), chr(10), chr(13))
AND NOT contains(instruction, '<image>') AND NOT contains(answer, '<image>')"""
"""Records whose row follows from their columns, and whose picture's id is its file's name."""


def _extension_sql(mime: str) -> str:
    """Return the extension of a picture's file as an SQL expression, NULL where it is a rare one."""
    cases = " ".join(f"WHEN '{known}' THEN '{ext}'" for known, ext in EXTENSIONS.items())
    return f"CASE {mime} {cases} END"


_PICTURE = 'id, mime, width, height, shard, "offset", length'


def _picture(row: tuple[Any, ...]) -> Picture:
    return Picture._make((*row, file_name(row[0], row[1])))


def _conversation(rows: list[tuple[Any, ...]]) -> Conversation:
    _, id_, _, _, task, language, images, *_, source, meta, pictures = rows[0]
    return Conversation(
        id=id_,
        task=task,
        language=language,
        image_ids=tuple(images),
        turns=tuple(Turn(row[7], row[8], row[9]) for row in rows),
        meta=_meta(meta),
        record_ids=tuple(row[3] for row in rows),
        source=source,
        pictures=pictures,
    )


def _meta(text: str | None) -> dict[str, Any]:
    """Return what a record's meta says; what is no JSON object says nothing."""
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _ranges(options: WriteOptions) -> dict[str, tuple[float, float]]:
    """Cut 0 to 1 into the splits' shares; `train` gets what is left.

    Raises:
        FormatError: shares that cannot be, or a name that is no file's.
    """
    ranges = {"train": (0.0, 2.0)}
    start = 0.0
    for name, share in options.splits.items():
        if name == "train" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise FormatError(
                f"{name!r} cannot be a split beside `train`: use letters, digits, - and _"
            )
        if not 0 < share < 1:
            raise FormatError(
                f"the split {name!r} has the share {share}; it must lie between 0 and 1"
            )
        ranges[name] = (start, start + share)
        start += share
    if start >= 1:
        raise FormatError(
            f"the splits take {start:g} of the conversations and leave none to `train`"
        )
    ranges["train"] = (start, 2.0)
    return ranges
