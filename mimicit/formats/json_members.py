"""The members of an object in a JSON file of any size, many at a time.

    {"meta": {…}, "data": {"id 1": {…}, "id 2": {…}, … three gigabytes … }}

A parser in C is fast on a few megabytes, and needs many times the file's size for all of it. So the file is cut: somewhere near
the end of a block stands a comma between two members. Which comma that is need not be known beforehand. What comes before it
is parsed as an object of its own, `{` … `}`; inside a string, or deeper inside a value, that fails, and another comma is tried. A
parser reads from left to right, so what parses is whole.

Such an object keeps only the last of several members with one name. So the quotation marks in its text are counted: they must
be two for each string that came out, and those inside of them. Where they are not, and where nothing parses (bytes that are not UTF-8, the end of
the object, a break), the members of the block are read one by one, which is ten times slower and keeps them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json import decoder
from json.decoder import JSONDecodeError, JSONDecoder
from typing import IO, Any, TypeVar

from mimicit.errors import FormatError

T = TypeVar("T")
Pairs = list[tuple[str, Any]]
Prepare = Callable[[dict[str, Any]], "tuple[int, T] | None"]
"""Make something of members, and say how many quotation marks their text must have; None if that is not known."""

BLOCK = 1 << 20
"""Bytes that are parsed at once: as many as a processor's cache holds with all that is made of them."""
LONGEST = 1 << 30
"""Bytes of one member."""
TRIES = 4
_SPACE = re.compile(r"[ \t\n\r]*")
_WINDOW = 16 << 10
"""Bytes in which a thing is looked for that is read alone; then in four times as many."""
_NEAR = 4096
"""Bytes that are looked at around a comma."""


class Repeats(dict[str, Any]):
    """An object in which a key stands twice."""


def load(data: bytes | str) -> Any:
    """Read a small JSON text, all of it.

    Raises:
        ValueError: it is none.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
        value, end = _DECODER.raw_decode(text, _skip(text, 0))
    except RecursionError:
        raise ValueError("values lie too deep in each other") from None
    if text[end:].strip():
        raise ValueError("something follows it")
    return value


class JsonMembers:
    """Read an object from the beginning of a file: key, value, key, value; or many members at once."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        """Read what is an object.

        Raises:
            FormatError: it is not.
        """
        self._file, self._name = file, name
        self._buffer, self._ended = b"", False
        self.read = 0
        """Bytes of the file that were used up."""
        self._more()
        if self._buffer[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in self._buffer[:4]:
            raise FormatError(f"{name!r} is not in UTF-8; convert it, for example with iconv")
        self._use(3 if self._buffer.startswith(b"\xef\xbb\xbf") else 0)
        if not self.enter():
            raise self._broken("it is no object", 0)

    def sign(self) -> bytes:
        """Return the first byte of what comes next."""
        while not self._buffer.lstrip() and not self._ended:
            self._use(len(self._buffer))
            self._more()
        self._use(len(self._buffer) - len(self._buffer.lstrip()))
        return self._buffer[:1]

    def enter(self) -> bool:
        """Go into the object that comes next; say whether there is one."""
        if self.sign() != b"{":
            return False
        self._use(1)
        return True

    def key(self) -> str | None:
        """Return the next key of the object; None at its end."""

        def find(text: str) -> tuple[str | None, int]:
            at = _skip(text, 0)
            if text[at : at + 1] == "}":
                return None, at + 1
            return _key(text, at)

        found: str | None = self._one(find)
        return found

    def value(self) -> Any:
        """Return the value that comes next, whole."""

        def find(text: str) -> tuple[Any, int]:
            value, end = _DECODER.raw_decode(text, _skip(text, 0))
            return value, _after_member(text, end)[1]

        return self._one(find)

    def after_object(self) -> None:
        """Go on behind the object whose members were read."""

        def find(text: str) -> tuple[None, int]:
            return None, _after_member(text, 0)[1]

        self._one(find)

    def members(self, prepare: Prepare[T], last: bytes) -> Iterator[T | Pairs]:
        """Read the members of the object, to its end.

        Args:
            prepare: What is made of members that were read at once.
            last: The bytes one of which ends a value here: `}` of an object, `"` of a string.

        Raises:
            FormatError: the file is broken from some place on; what came before it was handed over.
        """
        while True:
            made = None if self._ended else self._at_once(prepare, last)
            if made is not None:
                yield made
                self._more()
                continue
            pairs, done, error = self._one_by_one()
            if pairs:
                yield pairs
            if done:
                return
            if error and (self._ended or len(self._buffer) > LONGEST):
                raise error
            self._more()

    # Many at a time

    def _at_once(self, prepare: Prepare[T], last: bytes) -> T | None:
        """Read what the buffer holds up to one of its last commas; None if that does not work."""
        import orjson

        for cut in self._cuts(last):
            text = b"".join((b"{", memoryview(self._buffer)[:cut], b"}"))
            try:
                members = orjson.loads(text)
            except orjson.JSONDecodeError:
                continue
            marked = (
                b"\\" in text and b"\\u0022" in text
            )  # most often the first says no, and it is the quick one
            made = None if marked else prepare(members)
            if made is None:
                return None
            quotes, thing = made
            if text.count(b'"') != quotes:
                return None
            self._use(cut + 1)
            return thing
        return None

    def _cuts(self, last: bytes) -> Iterator[int]:
        """Yield where commas stand that may lie between members, from the end backwards."""
        at, found = len(self._buffer), 0
        while found < TRIES and (at := self._buffer.rfind(b",", 0, at)) > 0:
            before = self._buffer[max(0, at - _NEAR) : at].rstrip()[-1:]
            after = self._buffer[at + 1 : at + _NEAR].lstrip()[:1]
            if before and before in last and after == b'"':
                found += 1
                yield at

    # One by one

    def _one_by_one(self) -> tuple[Pairs, bool, FormatError | None]:
        """Read all members that are whole in the buffer.

        Returns:
            The members; whether that was the object's end; what is wrong after the last of them.
        """
        text = self._text()
        pairs: Pairs = []
        at, done, error = 0, False, None
        try:
            while True:
                start = _skip(text, at)
                if text[start : start + 1] == "}":
                    at, done = start + 1, True
                    break
                key, start = _key(text, start)
                value, end = _DECODER.raw_decode(text, _skip(text, start))
                if self._ended:
                    pairs.append((key, value))  # it is whole, whatever follows
                last, end = _after_member(text, end)
                if not self._ended:
                    pairs.append((key, value))
                at = end
                if last:
                    at, done = end + 1, True
                    break
        except (ValueError, RecursionError) as problem:
            error = self._problem(problem, text)
        self._use(_size(text[:at]))
        if error and not self._ended and not isinstance(error, _Unfinished):
            if pairs:
                return pairs, False, None  # it is met again, alone
            raise error
        return pairs, done, error

    def _one(self, find: Callable[[str], tuple[Any, int]]) -> Any:
        """Read one thing, with as much of the file as it takes."""
        window = _WINDOW
        while True:
            whole = self._ended and window >= len(self._buffer)
            text = self._buffer[:window].decode("utf-8", "surrogateescape")
            try:
                value, end = find(text)
                if end < len(text) or whole:
                    self._use(_size(text[:end]))
                    return value
            except (ValueError, RecursionError) as problem:
                error = self._problem(problem, text)
                if whole or not isinstance(error, _Unfinished) or window > LONGEST:
                    raise error from None
            window *= 4
            if window > len(self._buffer):
                self._more()

    def _problem(self, problem: Exception, text: str) -> FormatError:
        if isinstance(problem, RecursionError):
            return self._broken("values lie too deep in each other", 0)
        if not isinstance(problem, JSONDecodeError):
            return self._broken(str(problem), 0)
        unfinished = problem.pos >= len(text) - 16 or problem.msg.startswith("Unterminated")
        return self._broken(problem.msg, _size(text[: problem.pos]), unfinished=unfinished)

    def _broken(self, what: str, at: int, *, unfinished: bool = False) -> FormatError:
        kind = _Unfinished if unfinished else FormatError
        return kind(
            f"{self._name!r} is broken JSON at byte {self.read + at:,}: {what}; "
            "what came before that place was read"
        )

    # The buffer

    def _more(self) -> None:
        """Read on, the more the longer nothing could be made of it."""
        more = self._file.read(max(BLOCK, len(self._buffer)))
        self._buffer += more
        self._ended = self._ended or not more

    def _use(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self.read += count

    def _text(self) -> str:
        """Return the buffer; bytes that are not UTF-8 become lone surrogates, which no record may hold."""
        return self._buffer.decode("utf-8", "surrogateescape")


class _Unfinished(FormatError):
    """It may be only that the buffer ends here."""


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _key(text: str, at: int) -> tuple[str, int]:
    """Read a key and its colon."""
    if text[at : at + 1] != '"':
        raise JSONDecodeError("Expecting a key", text, at)
    key, end = decoder.scanstring(text, at + 1, False)  # type: ignore[attr-defined]
    end = _skip(text, end)
    if text[end : end + 1] != ":":
        raise JSONDecodeError("Expecting ':'", text, end)
    return key, end + 1


def _after_member(text: str, at: int) -> tuple[bool, int]:
    """Return whether it was the last one, and where to go on: behind the comma, or at the bracket."""
    at = _skip(text, at)
    sign = text[at : at + 1]
    if sign == ",":
        return False, at + 1
    if sign == "}":
        return True, at
    raise JSONDecodeError("Expecting ',' or '}'", text, at)


def _object(pairs: Pairs) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeats(members)


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)


_DECODER = JSONDecoder(strict=False, object_pairs_hook=_object, parse_int=_number)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
