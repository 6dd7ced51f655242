"""What a benchmark holds, as tables.

    items    item, benchmark, place, question, options, answer     `item` is the row's number
    shown    item, sha256, hash, name, path                        a picture of an item; what is not known of it is null

Columns of many names are understood, for every benchmark has its own. A picture that a row names is looked for in the folder
that was given, and beside the file, and nowhere else. One that is not there still has a name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mimicit.errors import PictureError

if TYPE_CHECKING:
    import pyarrow

QUESTION = ("question", "text", "query", "instruction", "prompt", "problem", "conversations")
ANSWER = (
    "answer", "label", "answers", "gt_answer", "multiple_choice_answer", "response", "output",
    "caption", "captions", "reference",
)  # fmt: skip
OPTIONS = ("choices", "options")
LETTERS = "ABCDEFGH"
"""Columns of options, in tables."""
PICTURE = (
    "image", "images", "image_path", "img_path", "image_file", "file_name", "img", "picture",
    "image_name", "image_id",
)  # fmt: skip
MAX_TEXT = 100_000
"""Characters of a text that count."""
MAX_PICTURES = 64
"""Of an item."""
MAX_BYTES = 256 << 20
"""Of a picture."""
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2"}
)


class Picture(NamedTuple):
    sha256: str | None
    hash: int | None
    """Perceptual; of a picture without contrast, or one that does not open, there is none."""
    name: str | None
    path: str | None


@dataclass(frozen=True, slots=True)
class Item:
    question: str
    options: tuple[str, ...] = ()
    answer: str = ""
    pictures: tuple[Any, ...] = ()
    """Bytes, or names."""


@dataclass
class Benchmarks:
    """Items as they are read, and what could not be."""

    items: pyarrow.Table
    shown: pyarrow.Table
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0
    missing: int = 0
    """Pictures that are named and not there."""


def item_of(row: Mapping[str, Any]) -> Item | None:
    """Return the item of a row; None where it has neither a question nor a picture."""
    named = {str(key).lower(): value for key, value in row.items()}
    question = _asked(_first(named, QUESTION))
    options = _options(named)
    pictures = _pictures(named)
    if not question and not pictures:
        return None
    return Item(question, options, _answer(_first(named, ANSWER), options), pictures)


def is_read(name: str) -> bool:
    """Say whether something is read from a column of this name."""
    name = name.lower()
    known = (*QUESTION, *ANSWER, *OPTIONS, *LETTERS.lower(), *PICTURE)
    return name in known or _is_numbered(name)


def _first(named: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((named[name] for name in names if named.get(name) not in (None, "", [])), None)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _whole(value[:MAX_TEXT].replace("\x00", ""))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _whole(text: str) -> str:
    """Return a text without halves of characters, which JSON can hold."""
    return text.encode("utf-8", "replace").decode()


def _asked(value: Any) -> str:
    """Return a question; of a conversation, the first thing that is asked."""
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict)]
        asked = [t for t in turns if str(t.get("from", t.get("role"))).lower() in ("human", "user")]
        return _asked(asked[0].get("value", asked[0].get("content"))) if asked else ""
    return _text(value)


def _options(named: Mapping[str, Any]) -> tuple[str, ...]:
    given = _first(named, OPTIONS)
    if isinstance(given, dict):
        given = list(given.values())
    if not isinstance(given, list):
        given = [named[letter] for letter in LETTERS.lower() if named.get(letter) is not None]
    return tuple(text for text in map(_text, given[:32]) if text)


def _answer(value: Any, options: Sequence[str]) -> str:
    """Return an answer; a number or a letter names an option."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):  # as VQA has them
        value = value.get("answer", value.get("text"))
    text = _text(value)
    if options and text.strip().isascii():
        plain = text.strip().upper()
        if isinstance(value, int) and 0 <= value < len(options):
            return options[value]
        if len(plain) == 1 and plain in LETTERS[: len(options)]:
            return options[LETTERS.index(plain)]
    return text


def _pictures(named: Mapping[str, Any]) -> tuple[Any, ...]:
    found = [named[name] for name in PICTURE if named.get(name) not in (None, "", [])]
    found += [value for name, value in named.items() if _is_numbered(name) and value]
    # The first that holds bytes, else the first at all.
    listed = [one if isinstance(one, list) else [one] for one in found]
    pictures = [[_picture(one) for one in many[:MAX_PICTURES]] for many in listed]
    whole = [[one for one in many if one is not None] for many in pictures]
    whole.sort(key=lambda many: not any(isinstance(one, bytes) for one in many))
    return tuple(next((many for many in whole if many), []))


def _is_numbered(name: str) -> bool:
    return name.startswith("image_") and name[6:].isdigit()


def _picture(value: Any) -> bytes | str | None:
    """Return a picture's bytes or its name."""
    if isinstance(value, dict):
        data = value.get("bytes")
        value = data if data else value.get("path")
    if isinstance(value, bytes):
        return value if 0 < len(value) <= MAX_BYTES else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    if value.startswith("data:image/"):
        value = value.partition(",")[2]
    return _decoded(value) or (_whole(value) if len(value) <= 1_024 else None)


def _decoded(text: str) -> bytes | None:
    """Return what a long base64 text holds."""
    if len(text) < 200 or len(text) > MAX_BYTES * 4 // 3:
        return None
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


class Builder:
    """Gathers items, and looks at each picture once."""

    def __init__(self, images: Path | None) -> None:
        self._images = images
        self._rows: list[tuple[str, str, str, str, str]] = []
        self._shown: list[tuple[int, Picture]] = []
        self._seen: dict[Path, Picture] = {}
        self.bad: list[str] = []
        self.bad_count = self.missing = 0

    def add(self, benchmark: str, place: str, item: Item, beside: Path) -> None:
        number = len(self._rows)
        options = " ".join(item.options)
        self._rows.append((benchmark, place, item.question, options, item.answer))
        for given in item.pictures:
            picture = self._of_bytes(given, None, None) if isinstance(given, bytes) else None
            self._shown.append((number, picture or self._named(str(given), beside)))

    def refuse(self, where: str, reason: str) -> None:
        self.bad_count += 1
        if len(self.bad) < 100:
            self.bad.append(_whole(f"{where}: {reason}"))

    @property
    def count(self) -> int:
        return len(self._rows)

    def is_shown(self, path: Path) -> bool:
        return path in self._seen

    def _named(self, name: str, beside: Path) -> Picture:
        path = self._found(name, beside)
        if path is None:
            self.missing += 1
            return Picture(None, None, name_of(name), None)
        if path not in self._seen:
            self._seen[path] = self._of_bytes(path.read_bytes(), name_of(name), path)
        return self._seen[path]

    def _found(self, name: str, beside: Path) -> Path | None:
        """Find a picture in the folders where it may be; a name leads nowhere else."""
        plain = name.replace("\\", "/").removeprefix("file://")
        if "\x00" in plain:
            return None
        for folder in (self._images, beside):
            for tried in dict.fromkeys((plain, plain.rpartition("/")[2])):
                # Most are not there, and that is told fast.
                if folder is None or not os.path.isfile(f"{folder}/{tried}"):  # noqa: PTH113
                    continue
                path = (folder / tried).resolve()
                if path.is_relative_to(folder.resolve()) and path.stat().st_size <= MAX_BYTES:
                    return path
        return None

    def _of_bytes(self, data: bytes, name: str | None, path: Path | None) -> Picture:
        from mimicit.curate.hashes import hashes_of

        value: int | None = None
        try:
            [value] = hashes_of([data])
        except PictureError as error:
            self.refuse(str(path or name or "a picture"), str(error))
        where = str(path) if path else None
        return Picture(hashlib.sha256(data).hexdigest(), value, name, where)

    def tables(self) -> Benchmarks:
        import pyarrow as pa

        names = ("benchmark", "place", "question", "options", "answer")
        columns = zip(*self._rows, strict=True) if self._rows else [[] for _ in names]
        texts = {n: pa.array(list(c), pa.string()) for n, c in zip(names, columns, strict=True)}
        numbers = pa.array(range(len(self._rows)), pa.int32())
        items = pa.table({"item": numbers, **texts})
        kinds = {
            "sha256": pa.string(),
            "hash": pa.int64(),
            "name": pa.string(),
            "path": pa.string(),
        }
        shown = {"item": pa.array([number for number, _ in self._shown], pa.int32())}
        for name, kind in kinds.items():
            shown[name] = pa.array([getattr(one, name) for _, one in self._shown], kind)
        return Benchmarks(items, pa.table(shown), self.bad, self.bad_count, self.missing)


def name_of(path: str) -> str:
    """Return a picture's name without folders and suffix."""
    last = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem, dot, suffix = last.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else last


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def texts_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of columns that rows have, for messages."""
    return sorted({str(key)[:40] for row in rows for key in row})[:12]
