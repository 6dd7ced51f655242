"""Reply -> translations. Pure.

Wanted is `{"translations": [{"number": 1, "language": "zh", "question": "…", "answer": "…"}]}`. Read is also what models make of it:
a bare list, `{"zh": {"question": …, "answer": …}}`, `{"1": {"zh": {"q": …, "a": …}}}`, `{"a": {"zh": …}, "b": {"zh": …}}`, names of
languages for their codes, and of a reply without an end what is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from syphus.forms.clean import without_thoughts
from syphus.forms.loose_json import Object, values
from syphus.translate.languages import Language

_NUMBERS = ("number", "record", "record_number", "no", "n", "id", "index")
_LANGUAGES = ("language", "language_code", "lang", "code")
_PAIRS = (("question", "answer"), ("q", "a"), ("a", "b"), ("instruction", "answer"))
_NUMBERED = re.compile(r"(?:record)?[\s_#]*(\d{1,4})", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A translation as a model wrote it."""

    number: int
    """Which record of the request, from 1."""
    language: Language
    question: str
    answer: str


@dataclass(frozen=True)
class _Place:
    number: int | None = None
    language: Language | None = None


class _Reader:
    def __init__(self, count: int, languages: Sequence[Language]) -> None:
        self.count = count
        self.languages = {
            name.lower(): language
            for language in languages
            for name in (language.code, language.code.replace("-", "_"), language.name)
        }
        # zh-CN for zh, Chinese for zh-Hant, as long as it is clear which one is meant.
        for by in (lambda one: one.base, lambda one: Language(one.base).name):
            names = [by(language).lower() for language in languages]
            for name, language in zip(names, languages, strict=True):
                if names.count(name) == 1:
                    self.languages.setdefault(name, language)

    def language(self, said: Any) -> Language | None:
        if not isinstance(said, str):
            return None
        lower = said.strip().lower()
        return self.languages.get(lower) or self.languages.get(re.split("[-_ (]", lower)[0])

    def number(self, said: Any) -> int | None:
        match = _NUMBERED.fullmatch(said.strip()) if isinstance(said, str) else None
        number = int(match[1]) if match else 0
        return number if 0 < number <= self.count else None

    def read(self, value: Any, place: _Place) -> Iterator[Found]:
        if isinstance(value, list):
            for item in value:
                yield from self.read(item, place)
        if not isinstance(value, Object):
            return
        said = {key.strip().lower(): item for key, item in reversed(value.members)}
        place = self._placed(said, place)
        pair = next(((q, a) for q, a in _PAIRS if q in said and a in said), None)
        if pair and all(isinstance(said[key], str) for key in pair):
            if value.closed:
                yield from self._found(place, said[pair[0]], said[pair[1]])
        elif pair and all(isinstance(said[key], Object) for key in pair):
            yield from self._by_language(said[pair[0]], said[pair[1]], place)
        else:
            for key, item in value.members:
                yield from self.read(item, self._inside(key, place))

    def _placed(self, said: dict[str, Any], place: _Place) -> _Place:
        """Take the record's number and the language that an object says itself."""
        numbers = [said[key] for key in _NUMBERS if isinstance(said.get(key), str)]
        number = self.number(numbers[0]) if numbers else place.number
        named = [said[key] for key in _LANGUAGES if isinstance(said.get(key), str)]
        language = self.language(named[0]) if named else place.language
        if (numbers and number is None) or (named and language is None):
            return _Place(-1, language)  # of a record or language that was not asked for
        return _Place(number, language)

    def _inside(self, key: str, place: _Place) -> _Place:
        """Take what a key says about its value."""
        if language := self.language(key):
            return _Place(place.number, language)
        if number := self.number(key):
            return _Place(number, place.language)
        return place

    def _by_language(self, questions: Object, answers: Object, place: _Place) -> Iterator[Found]:
        theirs = dict(answers.members)
        for key, question in questions.members:
            answer = theirs.get(key)
            language = self.language(key)
            if language and isinstance(question, str) and isinstance(answer, str):
                yield from self._found(_Place(place.number, language), question, answer)

    def _found(self, place: _Place, question: str, answer: str) -> Iterator[Found]:
        number = 1 if place.number is None and self.count == 1 else place.number
        language = place.language
        if language is None and len(set(self.languages.values())) == 1:
            language = next(iter(self.languages.values()))
        if number is not None and number > 0 and language is not None:
            yield Found(number, language, _stripped(question), _stripped(answer))


def read_cells(text: str, *, count: int, languages: Sequence[Language]) -> list[Found]:
    """Read the translations of a reply, in its order; what was not asked for is left out.

    Args:
        text: The reply.
        count: How many records were asked about.
        languages: Which languages were asked for.
    """
    reader = _Reader(count, languages)
    return [
        found for value in values(without_thoughts(text)) for found in reader.read(value, _Place())
    ]


def _stripped(text: str) -> str:
    """Strip spaces and line ends; marks of writing direction are not among them and stay."""
    return text.replace("\r\n", "\n").strip(" \t\r\n\u3000")
