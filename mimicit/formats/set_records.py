"""Records and pictures of published sets, and their ids.

    record  LRV_INS_2392588_9f2c01ab     the set's own key, and a hash of the text: no set promises that its keys are unique
    picture LRV_IMG_2392588              by its name, with its folders: `coco/1.jpg` is LRV_IMG_coco_1
    picture M3IT_IMG_0123456789abcdef    by its bytes, where the row holds them

So a file is read to the same ids wherever it lies, and a row that two files hold is one record. A picture that a row names but nobody has
is listed, and its record kept: pictures are often downloaded apart. One that a row holds, and that is broken, takes its row with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from mimicit.errors import PictureError
from mimicit.formats.base import BadRow, ReadOptions
from mimicit.formats.set_rows import RowError, rows
from mimicit.media import picture
from mimicit.schema import ImageRecord, Instruction, is_id

Item = Instruction | ImageRecord | BadRow

RECENT = 4_096
"""So many pictures are remembered as read: rows of one picture mostly stand close together."""
MAX_NAME = 512
"""Characters: no file is called so much, and no picture is so small."""
IMAGE = "<image>"
ASKING = ("human", "user")
ANSWERING = ("gpt", "assistant")
ORIGIN = ("ds_name", "origin_dataset", "origin_split", "idx", "image_path")
"""What rows of preferences say of themselves."""

_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_BEFORE = re.compile(rf"\s*(?:{IMAGE}\s*)+")
_BEHIND = re.compile(rf"\s*(?:{IMAGE[::-1]}\s*)+")
"""Of a text read backwards: looked for from the front, a long run of spaces would be gone through from each of its places."""


def read_rows(
    path: Path,
    columns: Iterable[str],
    pictures: Pictures,
    read: Callable[[str, dict[str, Any]], Iterable[Item]],
) -> Iterator[Item]:
    """Read each row of a file; one that raises RowError is a bad row, whole.

    Raises:
        FormatError: the file is broken from some place on; what came before it was read.
    """
    for row in rows(path, columns):
        if isinstance(row, BadRow):
            yield row
            continue
        where, value = row
        try:
            found = list(read(where, value))
        except RowError as error:
            pictures.forget()
            yield BadRow(where, str(error))
        else:
            pictures.keep()
            yield from found


# Texts


def text(row: Mapping[str, Any], *names: str) -> str:
    """Return the first of these fields that is there.

    Raises:
        RowError: none is, or it is no text.
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            raise RowError(f"{name!r} is no text but {type(value).__name__}")
    raise RowError(f"it has no {names[0]!r}")


def key(row: Mapping[str, Any], *names: str) -> str:
    """Return the first of these fields that is there, a number or a text.

    Raises:
        RowError: none is, or it is neither.
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
        if value is not None and value != "":
            raise RowError(f"{name!r} is neither a text nor a number but {type(value).__name__}")
    raise RowError(f"it has no {names[0]!r}")


def turns(messages: Any) -> list[tuple[str, str]]:
    """Return the questions and answers of a list of {"from", "value"}, or {"role", "content"}.

    Raises:
        RowError: it is no such list, the two do not take turns, or the last question has no answer.
    """
    if not isinstance(messages, list) or not messages:
        raise RowError("it has no turns")
    found: list[tuple[str, str]] = []
    asked: str | None = None
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise RowError(f"message {number} is not an object")
        who = text(message, "from", "role").lower()
        said = text(message, "value", "content")
        if who in ASKING and asked is None:
            asked = said
        elif who in ANSWERING and asked is not None:
            found.append((asked, said))
            asked = None
        else:
            raise RowError(f"message {number} is from {who!r}, out of turn")
    if asked is not None:
        raise RowError("its last question has no answer")
    return found


def without_placeholders(instruction: str) -> str:
    """Take `<image>` away where it stands before or after a text; within, it is part of the sentence."""
    before = _BEFORE.match(instruction)
    text = instruction[before.end() :] if before else instruction
    behind = _BEHIND.match(text[::-1])
    return text[: -behind.end()] if behind else text


# Records


def digest(*texts: str, length: int = 8) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:length]


def checked_id(id_: str) -> str:
    if not is_id(id_):
        raise RowError(f"{id_[:80]!r} cannot be an id: it is too long, or has control characters")
    return id_


def record(where: str, options: ReadOptions, **values: Any) -> Instruction:
    """Make one record; fields that are empty in `meta` are left out of it.

    Raises:
        RowError: something in it is not what it should be.
    """
    meta = {
        name: value
        for name, value in (values.pop("meta", None) or {}).items()
        if value not in (None, "")
    }
    try:
        return Instruction(
            language=options.language,
            source=where,
            meta=json.dumps(meta, ensure_ascii=False, default=str) if meta else None,
            **values,
        )
    except RecursionError:
        raise RowError("a value that is nested too deep") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise RowError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def conversation(
    where: str,
    options: ReadOptions,
    said: Sequence[tuple[str, str]],
    *,
    id: str,
    meta: Mapping[str, Any] | None = None,
    **values: Any,
) -> list[Instruction]:
    """Make a record of each turn; one turn alone is no conversation.

    Args:
        where: The row.
        options: The language.
        said: Questions and answers.
        id: Of the conversation.
        meta: Of the first one.
        values: Of all.

    Raises:
        RowError: as `record`.
    """
    many = len(said) > 1
    return [
        record(
            where,
            options,
            id=f"{id}_{number:02d}" if many else id,
            instruction=without_placeholders(instruction),
            answer=answer,
            conversation=id if many else None,
            turn=number if many else None,
            meta=meta if number == 0 else None,
            **values,
        )
        for number, (instruction, answer) in enumerate(said)
    ]


def preferences(
    path: Path,
    options: ReadOptions,
    *,
    short: str,
    task: str,
    columns: Sequence[str],
    pair: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> Iterator[Item]:
    """Read rows of one question with a better and a worse answer, as RLHF-V and RLAIF-V have them.

    Args:
        path: The file.
        options: Those of reading.
        short: What ids start with.
        task: Of the records, where the options do not say it.
        columns: Of Parquet, beside the picture and where the row is from.
        pair: Finds `question`, `chosen` and `rejected` in a row.
    """
    pictures = Pictures(short, path, options)

    def read_row(where: str, row: dict[str, Any]) -> list[Item]:
        found: list[Item] = []
        texts = pair(row)
        question, chosen, rejected = (
            text(texts, name) for name in ("question", "chosen", "rejected")
        )
        image = row.get("image")
        if not image or (isinstance(image, dict) and not image.get("bytes")):
            image = row.get("image_path") or image
        named = f"{key(row, 'idx')}_" if row.get("idx") not in (None, "") else ""
        made = record(
            where,
            options,
            id=f"{short}_INS_{named}{digest(question, chosen, rejected)}",
            task=options.task or task,
            instruction=without_placeholders(question),
            answer=chosen,
            rejected=rejected,
            image_ids=(pictures.take(image, where, found),),
            meta={name: row.get(name) for name in ORIGIN},
        )
        return [*found, made]

    return read_rows(path, (*columns, "image", *ORIGIN), pictures, read_row)


# Pictures


class Pictures:
    """The pictures of one file, each given out once, or again if it was long ago.

    A row that turns out bad gives out none, so the next row with such a picture does: a row ends with `keep` or `forget`.
    """

    def __init__(self, short: str, path: Path, options: ReadOptions) -> None:
        self._short = short
        self._folder = options.images or path.parent
        self._recent: dict[str, None] = {}
        self._of_row: dict[str, None] = {}

    def take(self, value: Any, where: str, found: list[Item]) -> str:
        """Return a picture's id; what is to be stored or told of it is added to `found`.

        Args:
            value: A file name, base64, a `data:` URI, bytes, or {"bytes": …, "path": …} as Hugging Face keeps pictures.
            where: The row, for messages.
            found: Gets the picture, or a bad row.

        Raises:
            RowError: it is none of these, or the row holds it and it is broken.
        """
        if isinstance(value, dict):
            held, value = value.get("bytes"), value.get("path")
            value = unbase64(held) if isinstance(held, str) and held else held or value
        if isinstance(value, bytes) and value:
            return self.held(value, where, found)
        if isinstance(value, str) and (value.startswith("data:") or len(value) > MAX_NAME):
            return self.held(unbase64(value), where, found)
        if isinstance(value, str) and value:
            return self._named(value, where, found)
        raise RowError("it has no picture")

    def genome(self, key: str, where: str, found: list[Item]) -> str:
        """Take a picture of Visual Genome by its number."""
        name = f"{key}.jpg"
        return self._named(name, where, found, (f"VG_100K/{name}", f"VG_100K_2/{name}"))

    def held(self, data: bytes, where: str, found: list[Item]) -> str:
        """Take a picture that a row holds.

        Raises:
            RowError: it is broken.
        """
        id_ = f"{self._short}_IMG_{hashlib.sha256(data).hexdigest()[:16]}"
        if self._is_new(id_):
            try:
                found.append(picture.measure(data, id=id_, name=where, source=where))
            except PictureError as error:
                raise RowError(str(error)) from None
        return id_

    def _named(self, name: str, where: str, found: list[Item], names: Sequence[str] = ()) -> str:
        plain = name.removeprefix("./")
        id_ = checked_id(f"{self._short}_IMG_{_EXTENSION.sub('', plain).replace('/', '_')}")
        if not self._is_new(id_):
            return id_
        reason = ""
        for tried in dict.fromkeys((plain, *names, PurePosixPath(plain).name)):
            try:
                data = picture.read(self._folder, tried)
                found.append(picture.measure(data, id=id_, name=tried, source=plain))
            except (PictureError, ValueError) as error:
                reason = reason or str(error)
            else:
                return id_
        found.append(BadRow(where, f"its picture: {reason}"))
        return id_

    def keep(self) -> None:
        """Remember the pictures of the row in hand as given out."""
        for id_ in self._of_row:
            self._recent.pop(id_, None)
            self._recent[id_] = None
        self._of_row.clear()
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def forget(self) -> None:
        """The row in hand was bad: its pictures were not given out."""
        self._of_row.clear()

    def _is_new(self, id_: str) -> bool:
        new = id_ not in self._recent and id_ not in self._of_row
        self._of_row[id_] = None
        return new


def unbase64(text: Any) -> bytes:
    """Decode base64, of a `data:` URI too.

    Raises:
        RowError: it is none, or of more than a picture may have.
    """
    import pybase64

    if not isinstance(text, str) or not text:
        raise RowError("a picture is no base64 text")
    if len(text) > picture.MAX_BYTES * 4 // 3 + 4:
        raise RowError(f"a picture is larger than {picture.MAX_BYTES >> 20} MiB")
    text = (text.partition(",")[2] if text.startswith("data:") else text).translate(_ONE_ALPHABET)
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise RowError(f"a picture is no base64 text: {error}") from None


_ONE_ALPHABET = str.maketrans("-_", "+/", "\r\n")
