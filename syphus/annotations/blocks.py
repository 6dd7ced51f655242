"""Lists of a JSON object, read in blocks: as a stream still, and many times as fast as one event after another.

A block is cut where an item seems to end, and read by orjson. That it can be read proves the cut: it began where an item
begins, so it holds whole items. Where nothing can be cut or read, for whatever reason (a NaN, half a character, an end that is
missing), the caller goes on from there with a reader that takes everything (`syphus.annotations.files`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

BLOCK = 1 << 16
"""Bytes that are read at once."""
LONGEST = 16 << 20
"""Bytes in which an item must end."""
CUTS = 16
"""Places that are tried before the other reader goes on."""
VALUES = 100
"""Likewise, for the end of what is passed over, such as `info`."""
NEAR = 4_096
"""Bytes in which there is more than space."""
LARGE = 2.0**63
"""Integers from here on are floats to orjson, and an error to ijson."""

_OPEN = re.compile(rb"\s*\{(?=\s*\")")
_KEY = re.compile(rb'\s*"(\w+)"\s*:\s*(?=\S)')
_NEXT_KEY = re.compile(rb'(?=\s*,\s*"\w+"\s*:)')
_LIST = re.compile(rb"\[\s*")
_NEXT_ITEM = re.compile(rb"\s*,\s*(?=\{)")
_ITEM_ENDS = re.compile(rb"\s*,\s*\{")
_LIST_ENDS = re.compile(rb"\}(?=\s*\]\s*[,}])")
_END = re.compile(rb"\s*\]")
_MORE = re.compile(rb"\s*,(?=\s*\")")
_CLOSE = re.compile(rb"\s*\}\s*\Z")


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass
class Rest:
    """What is left to the other reader."""

    text: bytes | None = None
    """JSON that goes on in the file; None where nothing is left."""
    extra: int = 0
    """Items at its beginning that are not the file's."""


class _Window:
    """A stretch of a file."""

    def __init__(self, file: Readable) -> None:
        self.text = b""
        self.at = 0
        self.comma = b""
        """The comma before it, where the next item begins it."""
        self.is_last = False
        """Whether the file's end is in it."""
        self._file = file

    def hold(self, size: int) -> None:
        """Read on until there are so many bytes, or no more."""
        if self.is_last or len(self.text) - self.at >= size:
            return
        parts = [self.text[self.at :]]
        while size > sum(map(len, parts)):
            parts.append(self._file.read(max(size, BLOCK)))
            if not parts[-1]:
                self.is_last = True
                break
        self.text, self.at = b"".join(parts), 0

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Go on behind a match, if there is one here."""
        self.hold(NEAR)
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found


def sections(
    file: Readable, names: Sequence[str], skip: str, rest: Rest
) -> Iterator[tuple[str, Any]]:
    """Yield the items of an object's lists, each with the list's name, as far as they can be read in blocks.

    Args:
        file: JSON, from its beginning on.
        names: The lists.
        skip: A key of items that is left out.
        rest: Says afterwards what could not be read.
    """
    window = _Window(file)
    before = b""
    more = window.take(_OPEN)
    while more:
        before = b"{"
        key = window.take(_KEY)
        if not key:
            break
        name = key[1].decode()
        before = b'{"%b":' % key[1]
        if name not in names:
            if not _pass(window):
                break
        elif not window.take(_LIST):
            break
        elif not window.take(_END):
            before += b"["
            for item in _items(window):
                rest.extra = 1
                item.pop(skip, None)
                yield name, item
            if rest.extra:
                before += b"0" + window.comma  # an item, so that what follows is JSON
            if not window.take(_END):
                break
            rest.extra = 0
        before = b'{"":0'
        more = window.take(_MORE)
    window.hold(NEAR)
    if not (before == b'{"":0' and window.is_last and _CLOSE.match(window.text, window.at)):
        rest.text = before + window.text[window.at :]


def _pass(window: _Window) -> bool:
    """Go on behind a value, if another key follows it soon."""
    window.hold(BLOCK)
    for end in islice(_NEXT_KEY.finditer(window.text, window.at), VALUES):
        if _loaded(window.text[window.at : end.start()]) is not None:
            window.at = end.start()
            return True
    return False


def _items(window: _Window) -> Iterator[dict[str, Any]]:
    """Yield the items from here on; the window stays behind the last one."""
    size, window.comma = BLOCK, b""
    while True:
        window.hold(size)
        items = _block(window)
        if items:
            size, window.comma = BLOCK, b""
            yield from items
            if not window.take(_NEXT_ITEM):
                return
            window.comma = b","
        elif window.is_last or size >= LONGEST or items is None:
            return
        else:
            size *= 2


def _block(window: _Window) -> list[dict[str, Any]] | None:
    """Read what the window holds of the list; nothing where no item ends in it, None where it cannot be read."""
    text, at = window.text, window.at
    tried = 0
    for end in _ends(text, at):
        found = _loaded(b"[%b]" % text[at:end])
        if found is not None:
            if not all(map(_is_plain, found)):
                return None
            window.at = end
            return list(found)
        tried += 1
        if tried == CUTS:
            break
    return None if tried else []


def _ends(text: bytes, at: int) -> Iterator[int]:
    """Yield where the last item of a block may end: at the list's end if it is near, or as late as possible."""
    for found in islice(_LIST_ENDS.finditer(text, at), CUTS // 2):
        yield found.end()
    end = text.rfind(b"}", at)
    while end >= 0:
        if _ITEM_ENDS.match(text, end + 1):
            yield end + 1
        end = text.rfind(b"}", at, end)


def _is_plain(item: Any) -> bool:
    """Return whether an item is an object whose numbers both readers take for the same."""
    if type(item) is not dict:
        return False
    numbers = [value for value in item.values() if type(value) is int or type(value) is float]
    return not numbers or -LARGE < min(numbers) <= max(numbers) < LARGE


def _loaded(text: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
