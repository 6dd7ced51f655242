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
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

from mimicit import catalog
from mimicit.errors import DatasetError, FormatError, PictureError, QueryError
from mimicit.formats.base import WriteOptions
from mimicit.formats.ordering import (
    Lines,
    Segment,
    batches,
    lines,
    others,
    segments,
    streams,
    use_long_texts,
)
from mimicit.formats.shard_bytes import ShardBytes
from mimicit.formats.splits import ranges, stored
from mimicit.sandbox import lock_down, predicate
from mimicit.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow

PLACES = 4_000
"""Places of pictures that are in memory at a time."""
MEMORY = "96MB"
"""Of DuckDB, which sorts on disk beyond it."""
PART = 65_536
"""Rows that are sorted at a time where they lie in order."""
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
    rel_ins_ids: tuple[tuple[str, ...], ...] = ()
    """Of each turn."""
    translation_of: tuple[str | None, ...] = ()
    """Of each turn."""


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
        self._ranges = ranges(options)
        self._splits = list(self._ranges)
        self._stack = ExitStack()
        self._shards = ShardBytes(store.path)
        self._where = ""

    @property
    def splits(self) -> list[str]:
        """Their names, `train` first; those of a stored splitting are known inside of the block."""
        return self._splits

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
            use_long_texts(self._connection)
            lock_down(self._connection)
            stack.enter_context(self._shards)
            self._use_splitting()
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
        for found in self.rows(split, None, as_they_lie=False):
            assert isinstance(found, Conversation)
            yield found

    def rows(
        self, split: str, plain: str | None, *, as_they_lie: bool = True
    ) -> Iterator[Lines | Conversation]:
        """Yield conversations by id, and in their place rows that DuckDB wrote itself, some at a time: it is many times as fast.

        Args:
            split: One of `splits`.
            plain: Parts of an SQL `concat`, which make the row of a record that is a question about one picture or none, with nothing
                beside but what it translates and is related to, and what stands between two rows. They may use the record's
                columns and `shown`, the picture's file name, which JSON writes as it is, or NULL.
            as_they_lie: Do not sort what seems to lie in order.

        Raises:
            OutOfOrder: it did not; only where it may not be sorted.
        """
        turns: list[dict[str, Any]] = []
        for batch in self._batches(split, plain, as_they_lie):
            written = 0
            found = others(batch)
            there = self.look_up(id_ for _, row in found for id_ in row["image_ids"])
            for at, row in found:
                if turns and (written < at or not _go_together(turns[0], row)):
                    yield _conversation(turns)
                    turns = []
                if written < at:
                    yield lines(batch, written, at)
                row["pictures"] = tuple(there[id_] for id_ in row["image_ids"])
                turns.append(row)
                written = at + 1
            if written < batch.num_rows:
                if turns:
                    yield _conversation(turns)
                    turns = []
                yield lines(batch, written, batch.num_rows)
        if turns:
            yield _conversation(turns)

    def _batches(
        self, split: str, plain: str | None, as_they_lie: bool
    ) -> Iterator[pyarrow.RecordBatch]:
        parts = self._segments()
        shown, joins = self._shown(len(parts)) if plain else ("", False)
        as_they_lie = as_they_lie and not joins
        for one in streams(parts) if as_they_lie else parts:
            query = self._query(split, plain if shown else None, shown, one)
            spill = self._store.path / catalog.SPILL
            with self._cursor() as cursor:
                yield from batches(
                    cursor,
                    query,
                    "line, plain, key",
                    _ORDER,
                    one,
                    as_they_lie=as_they_lie,
                    spill=spill,
                )

    def pictures(self, split: str = "train") -> Iterator[tuple[str, str, bytes]]:
        """Yield id, MIME type and bytes of every picture once, as they lie in the shards."""
        for found in self.picture_places(split):
            yield found.id, found.mime, self.read(found)

    def picture_places(self, split: str = "train") -> Iterator[Picture]:
        query = (
            f"SELECT {_PICTURE} FROM images WHERE id IN (SELECT unnest(image_ids) FROM accepted "
            f'WHERE {self._chosen(split)}) ORDER BY shard, "row"'
        )
        with self._cursor() as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(PLACES):
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
        return self._shards.read(picture.shard, picture.offset, picture.length)

    def file_name(self, id_: str, mime: str) -> str:
        return file_name(id_, mime)

    def _segments(self) -> list[Segment]:
        return segments(self._connection, PART)

    def _shown(self, parts: int) -> tuple[str, bool]:
        """Return the query that adds `shown`, and whether it joins; none where all records would be joined with all pictures.

        There is no memory for that. Most often all pictures are of one kind, and nothing is joined.
        """
        count, first, last = self._connection.execute(
            "SELECT (SELECT count(*) FROM instructions), min(mime), max(mime) FROM images"
        ).fetchall()[0]
        if first == last:
            kind = first if first in EXTENSIONS else ""
            return _SHOWN_ALIKE.format(extension=_extension_sql(f"'{kind}'"), chosen="{}"), False
        if count > PART and parts < 2:
            return "", False
        return _SHOWN.format(extension=_extension_sql("mime"), chosen="{}"), True

    def _query(self, split: str, plain: str | None, shown: str, records: Segment) -> str:
        accepted = ACCEPTED.format(rows=records.rows)
        chosen = f"(SELECT * FROM {accepted} WHERE {self._chosen(split)})"
        line, is_plain = _AS_JSON, "false"
        if plain is not None:
            chosen = f"({shown.format(chosen)})"
            line = f"CASE WHEN plain THEN concat({plain}) ELSE {_AS_JSON} END"
            is_plain = f"coalesce({_IS_PLAIN}, false)"
        return (
            f"SELECT {line} AS line, plain, key, if(conversation IS NULL, 1, 0) AS single, turn, id "
            f"FROM (SELECT *, {is_plain} AS plain, coalesce(conversation, id) AS key FROM {chosen})"
        )

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        cursor.execute("USE catalog")
        return cursor

    def _use_splitting(self) -> None:
        """Have the splits of the stored splitting, if one is asked for.

        Raises:
            DatasetError: there is no such splitting.
            FormatError: a split's name is no file's, or shares are given, too.
        """
        name = self._options.splitting
        if name is None:
            return
        if self._options.splits:
            raise FormatError("shares and a stored splitting are two ways to split; give one")
        query = 'SELECT DISTINCT split FROM splits WHERE "name" = $name'
        rows = self._connection.execute(query, {"name": name}).fetchall()
        self._splits = stored((split for (split,) in rows), name)

    def _chosen(self, split: str) -> str:
        if self._options.splitting is not None:
            named = f'"name" = {_quoted(self._options.splitting)} AND split = {_quoted(split)}'
            return f"{self._where} AND id IN (SELECT record FROM splits WHERE {named})"
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


ACCEPTED = """(SELECT * EXCLUDE (part) FROM instructions WHERE ({rows})
AND id NOT IN (SELECT record FROM verdicts WHERE coalesce(rejects, true)))"""
"""The view `accepted`, of some rows."""
_COLUMNS = ("id", "task", "language", "image_ids", "instruction", "answer", "rejected", "source",
            "meta", "rel_ins_ids", "translation_of", "conversation")  # fmt: skip
_ORDER = ("key", "single", "turn", "id")
_AS_JSON = f"to_json({{{', '.join(f'{name}: {name}' for name in _COLUMNS)}}})::VARCHAR"
_SHOWN = """
SELECT chosen.*, 'images/' || image_ids[1] || '.' || {extension} AS shown
FROM {chosen} AS chosen LEFT JOIN (SELECT id AS image, mime FROM images) ON image = image_ids[1]"""
_SHOWN_ALIKE = """
SELECT *, 'images/' || image_ids[1] || '.' || {extension} AS shown FROM {chosen}"""
_IS_PLAIN = """
conversation IS NULL AND meta IS NULL AND rejected IS NULL AND len(image_ids) < 2
AND (len(image_ids) = 0 OR (
    shown IS NOT NULL AND url_encode(image_ids[1]) = image_ids[1]
    AND strlen(image_ids[1]) BETWEEN 1 AND 151 AND image_ids[1][1] <> '.'))
AND instruction <> '' AND left(instruction, 1) NOT IN (' ', chr(9), chr(10), chr(13))
AND NOT contains(instruction, '<image>') AND NOT contains(answer, '<image>')"""
"""Records whose row follows from their columns, and whose picture's id is its file's name."""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _extension_sql(mime: str) -> str:
    """Return the extension of a picture's file as an SQL expression, NULL where it is a rare one."""
    cases = " ".join(f"WHEN '{known}' THEN '{ext}'" for known, ext in EXTENSIONS.items())
    return f"CASE {mime} {cases} END"


_PICTURE = 'id, mime, width, height, shard, "offset", length'


def _picture(row: tuple[Any, ...]) -> Picture:
    return Picture._make((*row, file_name(row[0], row[1])))


def _go_together(turn: dict[str, Any], other: dict[str, Any]) -> bool:
    shared = turn["conversation"]
    return shared is not None and shared == other["conversation"]


def _conversation(turns: list[dict[str, Any]]) -> Conversation:
    first = turns[0]
    return Conversation(
        id=first["id"] if first["conversation"] is None else first["conversation"],
        task=first["task"],
        language=first["language"],
        image_ids=tuple(first["image_ids"]),
        turns=tuple(Turn(one["instruction"], one["answer"], one["rejected"]) for one in turns),
        meta=_meta(first["meta"]),
        record_ids=tuple(one["id"] for one in turns),
        source=first["source"],
        pictures=first["pictures"],
        rel_ins_ids=tuple(tuple(one["rel_ins_ids"]) for one in turns),
        translation_of=tuple(one["translation_of"] for one in turns),
    )


def _meta(text: str | None) -> dict[str, Any]:
    """Return what a record's meta says; what is no JSON object says nothing."""
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
