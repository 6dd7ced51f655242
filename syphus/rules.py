"""What a task forbids its pairs: words, names, the wrong person, long answers.

The same rules judge a task's own examples, before anything is sent, and every pair that comes back. A pair that breaks one is
kept as a record, with a verdict that says which; it was paid for, and a person may overrule the rule.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from syphus.annotations.context import Context
from syphus.forms import Pair

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NAME_IN_TEXT = re.compile(r"(?<![.!?:;\n] )(?<!^)(?<![\"“(])\b([A-Z][a-z’']+)\b")
"""A capitalised word that does not begin a sentence."""
_NO_NAMES = frozenset(
    {"I", "I'm", "I'll", "TV", "English", "French", "German", "Chinese", "Japanese", "Spanish"}
    | {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Christmas"}
)
_WEARER = re.compile(
    r"\b(?:camera ?wearer|camera ?man|camera ?woman|camera person|person (?:filming|recording)"
    r"|(?:man|woman|person|lady|boy|girl|player) [A-HJ-Z]\b)|#?\bC\b(?!\+)(?!['’])",
)
"""The one who wears the camera spoken of as somebody else, or people named by letters, as narrators do (not "the man I saw")."""
_LIKE_ASCII = re.compile("[\u0130\u0131\u017f\u212a]")
"""Letters that patterns without regard to case take for an i, an s or a k."""
_FIRST = re.compile(r"\b(?:i|me|my|mine|myself|we|us|our|i'm|i've|i'd|i'll)\b", re.IGNORECASE)
_SECOND = re.compile(r"\byou(?:r|rs|rself)?\b", re.IGNORECASE)


class Rules(BaseModel):
    """The `[rules]` of a task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forbidden: tuple[str, ...] = ()
    """Words and phrases; case and plural make no difference."""
    names: bool = True
    """False: people go by neutral words, never by the names that the annotations give them."""
    known_names: tuple[str, ...] = ()
    """Names that are names even where annotations write them in lower case."""
    person: Literal["any", "first"] = "any"
    """`first`: who asks wears the camera: "I" in questions, "you" in answers, never a third person."""
    max_answer_words: Annotated[int, Field(ge=1)] | None = None
    max_question_words: Annotated[int, Field(ge=1)] | None = None

    @cached_property
    def _forbidden(self) -> re.Pattern[str] | None:
        if not self.forbidden:
            return None
        words = "|".join(re.escape(word) for word in self.forbidden)
        return re.compile(rf"\b(?:{words})(?:s|es)?\b", re.IGNORECASE)

    def all_kept(self, pairs: Iterable[Pair]) -> bool:
        """Say quickly that no pair breaks a rule; False where that takes a look at each (`broken`)."""
        if not self.names or self.person == "first":
            return False
        if self.max_answer_words or self.max_question_words:
            return False
        if not self.forbidden:
            return True
        # What no pair's text can hold, all their texts together do not hold.
        return not self._may_forbid("\n".join([f"{pair[0]} {pair[1]}" for pair in pairs]))

    def broken(self, pair: Pair, names: Collection[str] = ()) -> str | None:
        """Return which rule a pair breaks, as a reason; None where it keeps them all.

        Args:
            pair: The pair.
            names: Names of people that its context gives (`names_in`).
        """
        text = f"{pair.question} {pair.answer}"
        if self._forbidden and self._may_forbid(text) and (said := self._forbidden.search(text)):
            return f"it says {said[0]!r}"
        if not self.names and (name := self._name(pair, names)):
            return f"it names {name!r}"
        if self.person == "first" and (said := _WEARER.search(text)):
            return f"it speaks of the wearer or of others as {said[0]!r}"
        most = self.max_answer_words
        if most and (words := len(_WORD.findall(pair.answer))) > most:
            return f"the answer has {words} words, more than {most}"
        most = self.max_question_words
        if most and (words := len(_WORD.findall(pair.question))) > most:
            return f"the question has {words} words, more than {most}"
        return None

    def _may_forbid(self, text: str) -> bool:
        """Return whether a forbidden word may be in a text: looked for as it is, which takes a tenth of the pattern's time."""
        if self._plain is None or not (text.isascii() or not _LIKE_ASCII.search(text)):
            return True
        return any(map(text.lower().__contains__, self._plain))

    @cached_property
    def _plain(self) -> tuple[str, ...] | None:
        """The forbidden words in small letters, but for those that hold another one; None where one is not all ASCII."""
        if not all(map(str.isascii, self.forbidden)):
            return None
        words = sorted({word.lower() for word in self.forbidden}, key=len)
        return tuple(
            word for n, word in enumerate(words) if not any(other in word for other in words[:n])
        )

    def names_in(self, context: Context) -> frozenset[str]:
        """Return the names that a context gives people, where the task forbids them."""
        if self.names:
            return frozenset()
        found = {name for text in _texts(context) for name in _NAME_IN_TEXT.findall(text)}
        return frozenset(found - _NO_NAMES) | frozenset(self.known_names)

    def speaks_in_person(self, pairs: Iterable[Pair]) -> bool:
        """Say whether half of the pairs, at least, are said in the person that the task wants."""
        if self.person == "any":
            return True
        said = [bool(_FIRST.search(pair.question) or _SECOND.search(pair.answer)) for pair in pairs]
        return 2 * sum(said) >= len(said)

    def _name(self, pair: Pair, names: Collection[str]) -> str | None:
        for text in (pair.question, pair.answer):
            for word in _WORD.findall(text):
                bare = word.removesuffix("'s").removesuffix("’s")
                if bare in names or bare in self.known_names:
                    return str(bare)
        return None


def _texts(context: Context) -> Iterable[str]:
    yield from context.captions
    yield from (segment.text for segment in context.segments)
    for picture in context.pictures:
        yield from picture.captions
