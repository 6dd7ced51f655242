"""JSON as models write it -> values. Nothing is executed, and no place of a text is read more than a few times.

Read wherever it stands in a text, one value or many: with trailing or missing commas, comments, Python's quotes and words,
typographic quotes, quotes inside strings, full-width punctuation, line breaks in strings, and without an end. An object
whose end is missing is marked, so that a reader can leave out what may not be whole.

Valid JSON means what it always means, but that of a key's two values both are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from syphus.forms.patterns import lazily

_DEPTH = 32
"""Brackets in brackets; what is deeper is no reply."""
_VALUES = 1_000
"""Lists and objects beside each other; a text with more, such as a long run of brackets, is not read to its end."""
_STRAY_QUOTES = 40
"""Quotes inside a string without a backslash before them, at most."""

_OPENING = lazily(r"[{\[]")
# Commas say nothing that the values do not say. Comments between /* and */ are short: without a bound, each of many
# openings would be followed to the end of the text.
_SKIPPED = lazily(r"(?:[\s,，;]++|//[^\n]*+|\#[^\n]*+|/\*(?s:.){0,500}?\*/)*+")
_TOKEN = lazily(
    r"""(?P<bracket>[{}\[\]])
       |(?P<quote>["'“”‘’])
       |(?P<number>[-+]?\d[\d.]*+(?:[eE][-+]?\d++)?)(?=[\s,，;\]}/\#]|$)
       |(?P<word>true|false|null|True|False|None|NaN|undefined)\b(?!\s*+[:：])
       |(?P<key>\w{1,40}+)(?=\s*+[:：])""",
    re.VERBOSE,
)
_COLON = lazily(r"\s*+[:：]")
_WORDS = {"true": True, "True": True, "false": False, "False": False}

_Place = Literal["key", "member", "item"]
# What follows the quote that ends a string; a quote followed by something else stands inside the string.
_AFTER: dict[_Place, re.Pattern[str]] = {
    "key": lazily(r"\s*+(?:[:：]|\Z)"),
    "member": lazily(
        r"""\s*+(?:[}\]]|//|/\*|```|\Z)
           |\s*+[,，;]\s*+(?:["'“‘}\]/\#]|```|\Z|\w{1,40}+\s*+[:：])
           |[^\S\n]*+\n\s*+["'“‘]                                   # a line ends, and its comma is missing""",
        re.VERBOSE,
    ),
    "item": lazily(
        r"""\s*+(?:[}\]]|//|/\*|```|\Z)
           |\s*+[,，;]\s*+(?:["'“‘{}\[\]/\#\d+-]|```|\Z|(?:true|false|null|True|False|None)\b)
           |[^\S\n]*+\n\s*+["'“‘{\[]""",
        re.VERBOSE,
    ),
}
_QUOTES = {
    opening: lazily(rf"\\.|[{closing}]", re.DOTALL)
    for opening, closing in {
        '"': '"', "'": "'’", "“": "”“\"", "”": "”“\"", "‘": "’‘'", "’": "’‘'",
    }.items()
}  # fmt: skip
_ESCAPE = lazily(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    '"': '"',
    "'": "'",
    "\\": "\\",
    "/": "/",
}
_SURROGATE = lazily(r"[\ud800-\udfff]")


class Number(str):
    """A number, as it was written."""

    __slots__ = ()


@dataclass(slots=True)
class Object:
    members: list[tuple[str, Any]] = field(default_factory=list)
    closed: bool = False
    """Whether its end was there."""


def values(text: str) -> list[Any]:
    """Return all lists and objects of a text that are not part of another one, as far as they can be read."""
    found: list[Any] = []
    at = 0
    while len(found) < _VALUES and (opening := _OPENING.search(text, at)):
        value, at = _value(text, opening.start())
        found.append(value)
    return found


def begin(text: str) -> int:
    """Return where the first bracket is, or the text's length."""
    opening = _OPENING.search(text)
    return opening.start() if opening else len(text)


class _Open:
    """The lists and objects that are open at a place of the text, outermost first."""

    def __init__(self, bracket: str) -> None:
        self.root: Object | list[Any] = Object() if bracket == "{" else []
        self.stack = [self.root]
        self.keys = [""]
        """Of each, the key that waits for its value."""

    @property
    def place(self) -> _Place:
        if isinstance(self.stack[-1], list):
            return "item"
        return "member" if self.keys[-1] else "key"

    def put(self, value: Any) -> None:
        top = self.stack[-1]
        if isinstance(top, list):
            top.append(value)
        else:
            top.members.append((self.keys[-1], value))
            self.keys[-1] = ""

    def push(self, bracket: str) -> None:
        value: Object | list[Any] = Object() if bracket == "{" else []
        self.put(value)
        self.stack.append(value)
        self.keys.append("")

    def close(self, bracket: str) -> bool:
        """Close the innermost list or object of this kind, and what is open in it."""
        kind = Object if bracket == "}" else list
        if not any(isinstance(value, kind) for value in self.stack):
            return False
        while True:
            value = self.stack.pop()
            self.keys.pop()
            if isinstance(value, Object):
                value.closed = True
            if isinstance(value, kind):
                return True


def _value(text: str, at: int) -> tuple[Any, int]:
    """Read a list or an object up to its end, or as far as it makes sense; return where reading can go on."""
    opened = _Open(text[at])
    at += 1
    while opened.stack:
        skipped = _SKIPPED.match(text, at)
        at = skipped.end() if skipped else at
        token = _TOKEN.match(text, at)
        if not token:
            break
        place = opened.place
        if token["bracket"]:
            if not _bracket(opened, token["bracket"], place):
                break
            at = token.end()
        elif place == "key":
            key, at = _key(text, token)
            if not key:
                break
            opened.keys[-1] = key
        elif token["quote"]:
            said, at = _string(text, at, place)
            if said is None:
                break
            opened.put(said)
        elif token["key"]:
            break
        else:
            opened.put(Number(token[0]) if token["number"] else _WORDS.get(token[0]))
            at = token.end()
    return opened.root, at


def _bracket(opened: _Open, bracket: str, place: _Place) -> bool:
    """Open or close; return whether that makes sense here."""
    if bracket in "]}":
        return opened.close(bracket)
    if place == "key" or len(opened.stack) >= _DEPTH:
        return False
    opened.push(bracket)
    return True


def _key(text: str, token: re.Match[str]) -> tuple[str, int]:
    """Read a key and its colon; an empty key means that there is none."""
    if token["quote"]:
        key, at = _string(text, token.start(), "key")
    elif token["key"]:
        key, at = token["key"], token.end()
    else:
        return "", token.end()
    colon = _COLON.match(text, at)
    return (key or "", colon.end()) if colon else ("", at)


def _string(text: str, at: int, place: _Place) -> tuple[str | None, int]:
    """Read a string; None where it has no end, with the place where reading can go on."""
    ends = _AFTER[place]
    stray: list[int] = []
    for quote in _QUOTES[text[at]].finditer(text, at + 1):
        if quote[0][0] == "\\":
            continue
        if ends.match(text, quote.end()):
            return _unescaped(text[at + 1 : quote.start()]), quote.end()
        stray.append(quote.start())
        # Before a colon it ends a key, so this string has ended long before.
        if len(stray) > _STRAY_QUOTES or _COLON.match(text, quote.end()):
            break
    return None, stray[0] if stray else len(text)


def _unescaped(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(_character, text)
    if _SURROGATE.search(text):
        # Pairs become one character; a single one, which no text may have, is replaced.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _character(escape: re.Match[str]) -> str:
    what = escape[1]
    if len(what) == 5:
        return chr(int(what[1:], 16))
    return _ESCAPED.get(what, escape[0])
