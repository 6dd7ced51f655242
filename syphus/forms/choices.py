"""A question, its options, and the number of the right one.

Question: What is on the sofa?
Option 1: A dog
Option 2: A cat
Answer: 2
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import syphus.forms.words as words
from syphus.forms.clean import clean, says_something
from syphus.forms.lines import Labels, Part
from syphus.forms.loose_json import Object
from syphus.forms.pair import Pair
from syphus.forms.patterns import lazily
from syphus.forms.reading import read_either, said
from syphus.forms.wanted import PHRASE, QUESTION, TEXT, finish, list_of, object_of, times
from syphus.request import Shape

_LABELS = Labels(
    {
        "between": words.BETWEEN,
        "question": words.QUESTION,
        "option": words.OPTION,
        "answer": words.ANSWER_WORD,
        "note": words.NOTE,
    },
    headings=f"{words.QUESTION}|{words.ANSWER_WORD}",
    bare=True,
)
_IDEOGRAPHS = "一二三四五六七八九十"
_ANY = 4
"""Options of an example, where any number of them is allowed."""
# "2", "(b)", "B) A cat", "Option 2 - A cat"; "A cat" has no mark.
_MARKED = lazily(
    rf"""[(\[（【]? (?:(?:{words.OPTION})\s*\#?)? \s*
         (?P<mark>[^\W_]{{1,3}}) \s? (?:[)\]）】.:：、]+(?=\s|$|[^\x00-\x7f])|[)）、]|$|(?=\s?[(（])|(?=\s[–-]\s))
         [\s–-]* (?P<text>.*)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def describe(shape: Shape) -> str:
    options = "".join(f"Option {n}: ...\n" for n in range(1, (shape.options or _ANY) + 1))
    return (
        "Write each question as lines, with an empty line between questions; "
        "the answer is the number of the right option:\n\n"
        f"Question: ...?\n{options}Answer: 1"
    )


def write(pairs: Sequence[Pair]) -> str:
    return "\n\n".join(
        "\n".join(
            (
                f"Question: {pair.question}",
                *(f"Option {n}: {option}" for n, option in enumerate(pair.options, start=1)),
                f"Answer: {_number(pair)}",
            )
        )
        for pair in pairs
    )


def value(pairs: Sequence[Pair]) -> Any:
    return {
        "questions": [
            {"question": pair.question, "options": list(pair.options), "answer": _number(pair)}
            for pair in pairs
        ]
    }


def schema(shape: Shape) -> dict[str, Any]:
    answer: dict[str, Any] = {"type": "integer", "minimum": 1}
    if shape.options:
        answer["maximum"] = shape.options
    options = list_of(TEXT, shape.options or 2, shape.options or None)
    question = object_of(question=TEXT, options=options, answer=answer)
    return object_of(questions=list_of(question, shape.min_pairs, shape.max_pairs))


def grammar(shape: Shape, *, end: str = "") -> str:
    numbers = range(1, (shape.options or _ANY) + 1)
    options = " ".join(rf'"\nOption {n}: " phrase' for n in numbers)
    answers = " | ".join(f'"{n}"' for n in numbers)
    more = times(shape.min_pairs - 1, shape.max_pairs - 1)
    return "\n".join(
        (
            rf'root ::= choice ("\n\n" choice){more}{finish(end)}',
            rf'choice ::= "Question: " question {options} "\nAnswer: " ({answers})',
            QUESTION,
            PHRASE,
        )
    )


def read(text: str) -> list[Pair]:
    return read_either(text, _LABELS, from_parts=_from_parts, from_value=_from_value)


def _number(pair: Pair) -> int:
    return pair.options.index(pair.answer) + 1


@dataclass(slots=True)
class _Choice:
    question: str
    options: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    """Number or letter of each option, as written; empty where there is none."""
    answer: str = ""

    def add(self, mark: str, text: str) -> None:
        self.marks.append(_mark(mark))
        self.options.append(clean(text))

    def pair(self) -> list[Pair]:
        """Return it where its answer names one of its options, which all differ."""
        self._take_marks_off()
        known = [_plain(option) for option in self.options]
        if len(known) < 2 or len(set(known)) < len(known) or not all(map(says_something, known)):
            return []
        right = self._right(known)
        if right is None or not says_something(self.question):
            return []
        options = tuple(self.options)
        return [Pair(question=self.question, answer=options[right], options=options)]

    def _right(self, known: list[str]) -> int | None:
        """Find the right option: by its number, its text, its letter, or letter and text."""
        answer = _plain(self.answer)
        if answer.isdecimal():
            return self._marked(_mark(answer))
        if answer in known:
            return known.index(answer)
        match = _MARKED.fullmatch(self.answer)
        at = self._marked(_mark(match["mark"])) if match else None
        if at is None or not match:
            return None
        # A number and a text that contradict each other name nothing.
        text = _plain(match["text"].strip(" ()（）"))
        return at if text in ("", known[at]) or known[at].startswith(text) else None

    def _marked(self, mark: str) -> int | None:
        marks = self.marks if all(self.marks) and len(set(self.marks)) == len(self.marks) else []
        if mark in marks:
            return marks.index(mark)
        position = _position(mark)
        # Numbers name lettered options too, and letters numbered ones.
        same_kind = any(one.isdecimal() == mark.isdecimal() for one in marks)
        return position if 0 <= position < len(self.options) and not same_kind else None

    def _take_marks_off(self) -> None:
        """Take "A) " off options that all begin so."""
        if any(self.marks) and not all(m.isdecimal() for m in self.marks if m):
            return
        found = [_MARKED.fullmatch(option) for option in self.options]
        if all(
            one and one["text"] and _position(_mark(one["mark"])) == at
            for at, one in enumerate(found)
        ):
            self.marks = [_mark(one["mark"]) for one in found if one]
            self.options = [clean(one["text"]) for one in found if one]


def _from_parts(parts: list[Part]) -> list[Pair]:
    choices: list[_Choice] = []
    for part in parts:
        now = choices[-1] if choices and not choices[-1].answer else None
        if part.kind == "question":
            choices.append(_Choice(part.text))
        elif part.kind == "bare":
            _read_bare(part, now, choices)
        elif part.kind == "option" and now:
            now.add(part.number, part.text)
        elif part.kind == "answer" and now:
            now.answer = part.text.split("\n")[0].strip()
    return [pair for choice in choices for pair in choice.pair()]


def _read_bare(part: Part, now: _Choice | None, choices: list[_Choice]) -> None:
    """Read "A) …" as an option, "A: …" after options as an answer, and "1. …" elsewhere as a question."""
    mark = _mark(part.number)
    if now and _position(mark) == len(now.options):
        now.add(mark, part.text)
    elif now and mark == "a" and part.colon in ":：":
        now.answer = part.text.split("\n")[0].strip()
    elif now:
        now.question = ""  # its options are not in order: nobody knows which is which
    elif mark.isdecimal():
        choices.append(_Choice(part.text))


def _from_value(value: Any) -> list[Pair]:
    """Read lists of questions, however deep; an object without an end is not read."""
    if isinstance(value, list):
        return [pair for item in value for pair in _from_value(item)]
    if not isinstance(value, Object):
        return []
    choice = _Choice("")
    for key, item in value.members:
        kind, number = _LABELS.named(key)
        if kind == "question":
            choice.question = said(item)
        elif kind == "answer":
            choice.answer = said(item)
        elif kind == "option" or (len(key) == 1 and key.isalnum() and isinstance(item, str)):
            _add_options(choice, number or key, item)
    if choice.question:
        return choice.pair() if value.closed else []
    return [pair for _, item in value.members for pair in _from_value(item)]


def _add_options(choice: _Choice, mark: str, item: Any) -> None:
    if isinstance(item, list):
        for option in item:
            choice.add("", said(option))
    elif isinstance(item, Object):
        for key, option in item.members:
            choice.add(_LABELS.named(key)[1] or key, said(option))
    else:
        choice.add(mark, said(item))


def _plain(text: str) -> str:
    """Return what two texts have in common that say the same."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .。")


def _mark(text: str) -> str:
    """Return a number or letter in one way of writing it."""
    plain = _plain(text)
    if len(plain) == 1 and plain in _IDEOGRAPHS:
        return str(_IDEOGRAPHS.index(plain) + 1)
    return str(int(plain)) if plain.isdecimal() and len(plain) <= 3 else plain


def _position(mark: str) -> int:
    if mark.isdecimal() and len(mark) <= 3:
        return int(mark) - 1
    return "abcdefghijklmnopqrstuvwxyz".find(mark) if len(mark) == 1 else -1
