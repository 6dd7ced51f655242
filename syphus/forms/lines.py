"""Labelled lines -> parts: what stands after each label, with the lines that go on.

Models write the same labels in many ways: with numbers before or after, in Markdown, in another language, alone on their
line. A line without a label goes on with the part before it. A label is looked for in the first characters of a line only,
and no pattern can go back over what it has passed, so that reading takes time in proportion to the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from syphus.forms.clean import clean
from syphus.forms.patterns import lazily

_HEAD = 160
"""Characters of a line in which its label must end."""
_LINES = 50_000
"""Lines of a reply; a text with more is not read to its end."""
_INSIDE = 20_000
"""Characters of a line in which a question and its answer stand together, at most."""
_NEWLINE = lazily(r"\r\n?|\n")
_FENCE = lazily(r"\s{0,8}(?:```+|~~~+)\s*(?P<info>[\w+-]*)\s*$")
# A rule, or a number that stands alone before the next label.
_DECORATION = lazily(r"[\s>]*(?:[-*_=~—]{3,}|[#*_(\[]*\d{1,3}[.)\]][*_]*)?\s*$")
_EMPHASIS = lazily(r"[*_]+")
_SINGLE = lazily(r"[^\W\d_]$")

_BEFORE = r"""(?P<before>(?:
        [\s>\#*_`~•·‣◦▪●○►▶➤+|\-–—\u200b\u200e\u200f\u061c\ufeff]       # Markdown, bullets, marks of direction
        |[(\[（【]?\d{1,3}\s?[.)\]、．）】:：]                            # a number: 1.  (1)  [1]  1、
        |[一二三四五六七八九十]{1,3}、
    )*+)"""
_AFTER = r"""(?P<after>
        \s*+[*_`]*+\s*+
        (?:[\#№(（_-]|no\.)?\s*+
        (?P<number>\d{1,4}|[一二三四五六七八九十]{1,3}|(?<=[\s_(]|[^\x00-\x7f])[a-z](?=[*_]*[:.)：]))?[)）]?
        (?:\s*+[(（][^()（）]{1,40}[)）])?                                # a remark: (easy)
        (?(bracket)(?:\s*+(?P<closed>[\])）】]))?)\s*+[*_`]*+\s*+
    )
    (?:(?P<colon>[:：]|[.)–—-](?=\s|$))|(?(closed)|$))"""
# A line's own number or letter: 1.  2)  (a)  **B.**  ①  3、
_BARE = lazily(
    r"""(?P<before>[\s>*_•+-]*+)
        (?:[(\[（【]?(?P<mark>\d{1,3}|[a-zＡ-Ｚａ-ｚ])(?P<after>[*_]{0,2})(?P<colon>[)\]、．）】：]|[.:](?=[\s*_]|[^\x00-\x7f]|$))
          |(?P<circled>[①-⑳]|[一二三四五六七八九十]{1,3}(?=、)) 、?)
        """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(slots=True)
class Part:
    kind: str
    """Of the label, or `bare` for a line with a number or letter only."""
    number: str
    """As written after the label, or before a bare line; often empty."""
    at: int
    """Where its line begins."""
    raw: str
    """Its first line as it was, for a reader to whom the label means nothing there."""
    lines: list[str]
    colon: str = ""
    quoted: bool = False

    @property
    def text(self) -> str:
        lines = list(self.lines)
        while len(lines) > 1 and _DECORATION.match(lines[-1]) and any(map(str.strip, lines[:-1])):
            lines.pop()
        return clean("\n".join(lines))

    def go_on(self, line: str) -> None:
        self.lines.append(re.sub(r"^\s*> ?", "", line) if self.quoted else line)


@dataclass(frozen=True)
class Labels:
    """The labels that a form reads: kind -> words, as parts of regular expressions."""

    words: Mapping[str, str]
    headings: str = r"(?!)"
    """Words that are a label alone on a line even without a colon, number or Markdown."""
    rare: Mapping[str, str] = field(default_factory=dict)
    """Further words, read only where asked for."""
    bare: bool = False
    """Whether lines with only a number or letter before them are parts too."""

    def parts(self, text: str, *, rare: bool = False) -> list[Part]:
        """Read a text's parts; lines before the first one are left out.

        Args:
            text: what a model wrote
            rare: read rare words too, and single letters with a dot or a dash: `Q. What?`
        """
        found: list[Part] = []
        fences = _Fences()
        for at, line in islice(_lines(text), _LINES):
            fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
            part = None if fence else self._begun(line, at, rare=rare)
            if part:
                found.append(part)
            elif fence:
                fences.see(found[-1] if found else None, line, fence["info"])
            elif found:
                found[-1].go_on(line)
        fences.end()
        return found

    def inside(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Find labels within a line: kind, begin, end."""
        for match in self._inside.finditer(text):
            yield _kind(match, self.words), match.start(), match.end()

    def named(self, name: str) -> tuple[str, str]:
        """Return kind and number of a label that stands alone, such as a key of JSON; empty where it is none."""
        match = self._named.match(name.strip()) if len(name) <= _HEAD else None
        return (_kind(match, self.words), match["number"] or "") if match else ("", "")

    def _begun(self, line: str, at: int, *, rare: bool) -> Part | None:
        head = line[:_HEAD]
        match = (self._rare_pattern if rare else self._pattern).match(head)
        if match and self._is_label(match, line, rare=rare):
            kind = _kind(match, self.words)
            number = match["number"] or ""
        elif self.bare and (match := _BARE.match(head)):
            kind, number = "bare", match["mark"] or match["circled"]
        else:
            return None
        said, quoted = _said(match, line), ">" in match["before"]
        return Part(kind, number, at, line, [said], match["colon"] or "", quoted)

    def _is_label(self, match: re.Match[str], line: str, *, rare: bool) -> bool:
        alone = not line[match.end() :].strip(" \t*_`#")
        if _kind(match, self.words) == "between":
            return alone and bool(match["number"])
        if match["colon"] in (":", "："):
            return True
        if match["colon"] and (match["number"] or (rare and _SINGLE.match(match["word"]))):
            return True
        if match["bracket"] and match["closed"]:
            return True
        marked = match["number"] or "#" in match["before"] or _EMPHASIS.search(match["before"])
        is_word = re.fullmatch(self.headings, match["word"], re.IGNORECASE | re.VERBOSE)
        return alone and (bool(is_word) or bool(marked and not _SINGLE.match(match["word"])))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _compiled(_BEFORE + r"(?P<bracket>[(\[（【])?" + _any_of(self.words) + _AFTER)

    @cached_property
    def _rare_pattern(self) -> re.Pattern[str]:
        words = {
            kind: f"{words}|{self.rare.get(kind, '(?!)')}" for kind, words in self.words.items()
        }
        return _compiled(_BEFORE + r"(?P<bracket>[(\[（【])?" + _any_of(words) + _AFTER)

    @cached_property
    def _inside(self) -> re.Pattern[str]:
        # Bounded repetitions: a long run of one character is not gone over again from each of its places.
        after = r"[\s_]?\d{0,3}[*_)\]]{0,3}\s?[:：][*_]{0,2}"
        return _compiled(
            r"(?<=[\s?？.。!！;；)）*_|/\"”])[*_(\[]{0,3}+" + _any_of(self.words) + after
        )

    @cached_property
    def _named(self) -> re.Pattern[str]:
        return _compiled(
            _any_of(self.words) + r"[\s_.\#-]{0,3}(?P<number>\d{1,4}|(?<=[\s_.-])[a-z])?\Z"
        )


def pair_up(parts: Iterable[Part], labels: Labels) -> list[tuple[str, str]]:
    """Join each question with the answer after it, on the next lines or on the same one."""
    found: list[tuple[str, str]] = []
    waiting = ""
    for part in parts:
        if part.kind == "question":
            found += _within(waiting, labels)
            waiting = part.text
        elif part.kind == "answer" and waiting:
            found.append((waiting, part.text))
            waiting = ""
    return found + _within(waiting, labels)


def _within(text: str, labels: Labels) -> list[tuple[str, str]]:
    """Read a question that has its answer on the same line, and perhaps more pairs after it."""
    if not text or len(text) > _INSIDE:
        return []
    said = [""]
    begin, wanted = 0, "answer"
    for kind, start, end in labels.inside(text):
        if kind == wanted:
            said[-1] = clean(text[begin:start])
            said.append("")
            begin, wanted = end, "question" if wanted == "answer" else "answer"
    said[-1] = clean(text[begin:])
    return list(zip(said[::2], said[1::2], strict=False))


class _Fences:
    """Keep the fences of code within a part; leave out those around parts."""

    def __init__(self) -> None:
        self._part: Part | None = None
        self._line = -1
        self._open = False

    def see(self, part: Part | None, line: str, info: str) -> None:
        if self._open and not info:
            if part is self._part and part:
                part.go_on(line)
            else:
                self.end()
            self._open = False
            return
        self.end()
        self._open, self._part = True, part
        if part:
            self._line = len(part.lines)
            part.go_on(line)

    def end(self) -> None:
        """Leave out a fence that opened and never closed, or closed in another part."""
        if self._open and self._part:
            del self._part.lines[self._line]
        self._open = False


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for newline in _NEWLINE.finditer(text):
        yield at, text[at : newline.start()]
        at = newline.end()
    yield at, text[at:]


def _said(match: re.Match[str], line: str) -> str:
    """Return what follows a label, without the end of an emphasis that began before the label."""
    said = line[match.end() :]
    opened = ""
    for run in _EMPHASIS.finditer(match["before"]):
        if opened:
            opened = ""
        elif match["before"][run.end() : run.end() + 1] not in (" ", "\t"):
            opened = run[0]
    if not opened or opened in (match["after"] or ""):
        return said
    if said.startswith(opened):
        return said[len(opened) :]
    said = said.rstrip()
    return said.removesuffix(opened)


def _kind(match: re.Match[str], kinds: Iterable[str]) -> str:
    return next(kind for kind in kinds if match[kind] is not None)


def _any_of(words: Mapping[str, str]) -> str:
    return (
        "(?P<word>"
        + "|".join(f"(?P<{kind}>{some})" for kind, some in words.items())
        + ")"
        # The whole word: `a` is no label in "apple"; 一 after 问题 and A after 选项 are numbers.
        + r"(?=[\W\d_一二三四五六七八九十]|(?<=[^\x00-\x7f])[a-z]\b|$)"
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE)
