"""WebDataset: tar files whose members with one key are one sample.

    train-000000.tar    0000000000.jpg     0000000000.json       one picture
                        0000000001.0.png   0000000001.1.png …    several, in order; none is fine too
                        0000000002.jpg     0000000002.json   0000000002.txt    a caption: no question, img2dataset's names

The JSON is a row as `trl` has it: `prompt` and `completion`, `messages`, or `prompt`, `chosen` and `rejected`; what else is in it see
`trl_records`. A file holds 10,000 samples at most, and no more than its bytes; one sample may be more. Read are also JSON of the
other shapes that `trl_messages` knows, captions in `.txt` or the JSON's `caption`, texts in `.NAME.txt`, and pictures as base64. A key is all up to the
first dot of a member's name. Members of other kinds, arrays and pickles among them, are passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow, ReadOptions, WriteOptions, Written
from mimicit.formats.exporting import EXTENSIONS, Conversation, Export
from mimicit.formats.set_rows import RowError
from mimicit.formats.tar_members import Member, members, write_end, write_member, written_size
from mimicit.formats.trl_messages import speaks
from mimicit.formats.trl_records import Item, Reader, row_of
from mimicit.formats.trl_references import columns_of
from mimicit.formats.trl_table import refuse_others
from mimicit.media import picture
from mimicit.store import Store

NAME = "webdataset"
TITLE = "WebDataset tar shards: pictures, and JSON or captions."

SHORT = "WDS"
SAMPLES = 10_000
"""In a file that is written."""
MAX_TEXT_BYTES = 16 << 20
MAX_SAMPLE_BYTES = 1 << 30
MAX_SAMPLE_MEMBERS = 2_000
LOOKED_AT = 50
"""Members by which a file is recognised."""

PICTURES = frozenset((*EXTENSIONS.values(), "jpeg", "tiff", "heic", "img", "bin"))
TEXTS = frozenset(("json", "txt", "caption"))


# Reading


def detect(path: Path) -> bool:
    """Recognise a tar file by its first members."""
    if path.suffix != ".tar":
        return False
    try:
        for _, member in zip(range(LOOKED_AT), members(path), strict=False):
            if member.regular and _kind(_named(member)[1]) in PICTURES | TEXTS:
                return True
    except (FormatError, OSError):
        return False
    return False


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a tar file as a stream, without unpacking it.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    reader = Reader(SHORT, NAME, options)
    yield from reader.to_end(_read(path, reader))


def _read(path: Path, reader: Reader) -> Iterator[Item]:
    sample = _Sample("")
    for member in members(path):
        if not member.regular:
            if not member.folder:
                yield BadRow(f"{path.name}: {_shown(member.name)}", "a link, or no plain file")
            continue
        key, kind = _named(member)
        if key != sample.key:
            yield from _read_sample(reader, path, sample)
            sample = _Sample(key)
        sample.take(member, kind)
    yield from _read_sample(reader, path, sample)


def _named(member: Member) -> tuple[str, str]:
    """Cut a member's name at the first dot of its last part: key and kind."""
    folder, slash, name = member.name.removeprefix("./").rpartition("/")
    stem, _, kind = name.partition(".")
    return folder + slash + stem, kind.lower()


def _kind(kind: str) -> str:
    return kind.rpartition(".")[2]


def _shown(name: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", "�", name[:200])


@dataclass
class _Sample:
    """What members of one key hold, while they are read."""

    key: str
    pictures: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    size: int = 0
    others: int = 0
    problem: str | None = None

    def take(self, member: Member, kind: str) -> None:
        """Read a member, unless it is of no use or too large."""
        short = _kind(kind)
        if short not in PICTURES and short not in TEXTS:
            self.others += 1
            return
        into = self.pictures if short in PICTURES else self.texts
        most = picture.MAX_BYTES if short in PICTURES else MAX_TEXT_BYTES
        self.size += member.size
        if member.size > most:
            self._refuse(f"{_shown(member.name)!r} is larger than {most >> 20} MiB")
        elif self.size > MAX_SAMPLE_BYTES or len(into) >= MAX_SAMPLE_MEMBERS:
            self._refuse(
                f"it has more than {MAX_SAMPLE_BYTES >> 20} MiB, or than {MAX_SAMPLE_MEMBERS} members"
            )
        elif kind in into:
            self._refuse(f"it has two members {_shown(kind)!r}")
        elif self.problem is None:
            into[kind] = member.read()

    def _refuse(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.pictures.clear()
        self.texts.clear()

    def shown(self) -> list[bytes]:
        """Return the pictures, numbered ones by number.

        Raises:
            RowError: the sample was refused.
        """
        if self.problem is not None:
            raise RowError(self.problem)
        numbers = {kind: kind.partition(".")[0] for kind in self.pictures}
        if all(number.isdecimal() and len(number) < 10 for number in numbers.values()):
            return [self.pictures[kind] for kind in sorted(numbers, key=lambda k: int(numbers[k]))]
        return list(self.pictures.values())


def _read_sample(reader: Reader, path: Path, sample: _Sample) -> Iterator[Item]:
    if not (sample.pictures or sample.texts or sample.others or sample.problem):
        return
    where = f"{path.name}: {_shown(sample.key)}"
    try:
        shown = [_decoded(data) for data in sample.shown()]
        found = reader.records(where, _row(sample, len(shown)), shown, key=sample.key)
    except RowError as error:
        yield BadRow(where, str(error))
    else:
        yield from found


def _row(sample: _Sample, pictures: int) -> Mapping[str, Any]:
    """Make a row of a sample's texts.

    Raises:
        RowError: they say nothing, or cannot be read.
    """
    row = _object(sample.texts.get("json"))
    for kind, data in sample.texts.items():
        name, _, last = kind.rpartition(".")
        if last == "txt" and name:
            row.setdefault(name, _text(data))
    if speaks(list(row)) or "texts" in row:
        return row
    caption = sample.texts.get("txt", sample.texts.get("caption"))
    said = row.get("caption") if caption is None else _text(caption)
    if not isinstance(said, str) or not said.strip():
        raise RowError("no question with an answer, and no caption")
    if not pictures:
        raise RowError("a caption without its picture")
    if row.get("caption") == said:
        del row["caption"]
    return row | {"prompt": "", "completion": said}


def _object(data: bytes | None) -> dict[str, Any]:
    import orjson

    try:
        value = orjson.loads(data) if data is not None else {}
    except orjson.JSONDecodeError as error:
        raise RowError(f"broken JSON: {error}") from None
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise RowError("its JSON is no object")
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RowError("its text is not UTF-8") from None


def _decoded(data: bytes) -> bytes:
    """Return a picture's bytes; some files hold them as base64."""
    import pybase64

    if not data[:64].isascii() or not re.match(rb"[A-Za-z0-9+/\s]{64}", data):
        return data
    try:
        return pybase64.b64decode(data.translate(None, b" \r\n\t"), validate=True)
    except ValueError:
        return data


# Writing


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy a predicate, with their pictures.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        FormatError: the folder holds shards of another export.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Export(store, options) as export, ExitStack() as stack:
        shards = [
            stack.enter_context(_Shards(folder, split, options.shard_bytes))
            for split in export.splits
        ]
        for split, files in zip(export.splits, shards, strict=True):
            for conversation in export.conversations(split):
                files.add(list(_members(export, conversation)))
            files.end()
        return [file for files in shards for file in files.publish()]


def _members(export: Export, conversation: Conversation) -> Iterator[tuple[str, bytes]]:
    """Yield kind and bytes of a sample's members."""
    import orjson

    many = len(conversation.pictures)
    width = len(str(many - 1))
    for number, place in enumerate(conversation.pictures):
        kind = EXTENSIONS.get(place.mime, "img")
        yield (f"{number:0{width}d}.{kind}" if many > 1 else kind), export.read(place)
    first, *later = conversation.turns
    row = row_of(conversation, cut=not later) | columns_of(conversation)
    yield "json", orjson.dumps(row)
    if not first.instruction and not later and many:
        yield "txt", first.answer.encode()


class _Shards:
    """The files of one split; they get their names when all are written."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder = folder
        self._split = split
        self._shard_bytes = shard_bytes
        self._counts: list[int] = []
        self._file: IO[bytes] | None = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        for number in range(len(self._counts)):
            self._staged(number).unlink(missing_ok=True)

    def add(self, sample: list[tuple[str, bytes]]) -> None:
        size = sum(written_size(len(data)) for _, data in sample)
        if self._file is not None and (
            self._size + size > self._shard_bytes or self._counts[-1] == SAMPLES
        ):
            self.end()
        if self._file is None:
            self._counts.append(0)
            self._file = self._staged(len(self._counts) - 1).open("wb")
            self._size = 0
        key = f"{len(self._counts) - 1:06d}{self._counts[-1]:04d}"
        for kind, data in sample:
            write_member(self._file, f"{key}.{kind}", data)
        self._counts[-1] += 1
        self._size += size

    def end(self) -> None:
        if self._file is not None:
            write_end(self._file)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def publish(self) -> list[Written]:
        names = [f"{self._split}-{number:06d}.tar" for number in range(len(self._counts))]
        refuse_others(self._folder, rf"{re.escape(self._split)}-\d{{6}}\.tar", names)
        for number, name in enumerate(names):
            self._staged(number).replace(self._folder / name)
        return [
            Written(self._folder / name, count)
            for name, count in zip(names, self._counts, strict=True)
        ]

    def _staged(self, number: int) -> Path:
        return self._folder / f".{self._split}-{number:06d}.tar.staged"
