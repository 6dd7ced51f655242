"""What an English text says is there: things with their number, colours and place in it.

No parser: sentences are read word by word, as far as it takes to tell a claim from what is none.

    "There are two black dogs, but no cat."      dog (2, black)
    "It looks like a bear."                      nothing: a comparison
    "She might be waiting for a bus."            nothing: a guess, nor is a question a claim
    "a tennis racket on the car door"            racket, door: of nouns in a row the last is meant
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mimicit.curate.grounding.lexicon import Lexicon, Word
from mimicit.curate.grounding.words import (
    BREAKS,
    COLOURS,
    DETERMINERS,
    NUMBERS,
    PREPOSITIONS,
    SUBJECTS,
)

MOST = 20_000
"""Characters of a text that are read."""
REACH = 3
"""Words that may stand between a number or a colour and its noun."""

_SENTENCE = re.compile(r"[^.?!\n]+(?:\.(?=\d)[^.?!\n]+)*[.?!]?")
_TOKEN = re.compile(r"[a-z]+(?:[-'’][a-z]+)*|\d+(?:[.:,]\d+)*|[,;:()]")
_GUESS = re.compile(
    r"\b(?:would|might|could|may|if|perhaps|possibly|probably|maybe|imagine|unless|whether|likely|suggest\w*|impl(?:y|ies|ying)|"
    r"should|usually|often|typically|generally|in general|indicat\w+|reminiscent|evok\w+|symboli\w+|unclear|cannot see|can't see)\b|\?"
)
_ABSENT = re.compile(
    r"(?:\bnot|n't|n’t|\bnowhere|\bno longer|\bnever|\bcannot be|\bcan't be) (?:\w+ ){0,2}(?:visible|present|shown|seen|depicted|there|in (?:the|this) (?:picture|image|photo|scene))|"
    r"\b(?:is|are) (?:absent|missing)\b"
)
_NEGATIONS = frozenset(
    [
        "no",
        "not",
        "without",
        "neither",
        "nor",
        "never",
        "none",
        "lacks",
        "lacking",
        "lack",
        "isn't",
        "aren't",
        "doesn't",
        "don't",
        "wasn't",
        "nothing",
    ]
)
_COMPARED = re.compile(
    r"\b(?:looks? like|looking like|shaped like|like|resembl\w+|similar to|as if|as though|instead of|rather than|used as|known as|in the (?:shape|form|style) of|"
    r"(?:drawing|painting|print|logo|statue|design|depiction|illustration|pattern|sticker|cartoon)s? of) "
)
_ENDS = BREAKS | {""}
_HEADS = frozenset(
    {
        "area",
        "areas",
        "pattern",
        "patterns",
        "head",
        "heads",
        "design",
        "scene",
        "setting",
        "section",
    }
    | {"color", "colour", "style", "environment", "shape", "order", "orders", "installation"}
    | {"shaped", "flavored", "flavoured", "colored", "coloured", "themed", "scented", "inspired"}
)
"""Words that are no things, but make the noun before them one neither."""
_WORKED = frozenset(
    [
        "covered",
        "lined",
        "printed",
        "paved",
        "powered",
        "filled",
        "topped",
        "coated",
        "soaked",
        "stained",
        "drawn",
        "framed",
    ]
)
"""They do as well, if a noun follows: "a tree lined street", but "a street lined with trees"."""
_FORMED = frozenset({"building", "railing", "clothing", "frosting", "shed"})
"""Things, though their verbs are more frequent."""
_FRUIT = frozenset({"orange", "olive"})
_NO_DENIAL = frozenset({"only", "just", "far", "doubt", "matter"})
"""Behind "not" or "no"."""
_TURNS = frozenset({"but", ";", "yet", "though"})
_NO_NOUN = DETERMINERS | frozenset(NUMBERS) | frozenset(COLOURS)


@dataclass(slots=True)
class Mention:
    """One thing that a text names."""

    word: Word
    said: str
    start: int
    """Character of the text."""
    end: int
    plural: bool
    number: int | None = None
    colours: tuple[str, ...] = ()


@dataclass(slots=True)
class Sentence:
    text: str
    start: int
    mentions: list[Mention] = field(default_factory=list)


def sentences(text: str, lexicon: Lexicon, all_nouns: bool = False) -> Iterator[Sentence]:
    """Yield the sentences of a text that claim something.

    Args:
        text: In English.
        lexicon: Of all words.
        all_nouns: Also those that only describe the next noun: of "a street sign" the street.
    """
    for found in _SENTENCE.finditer(text[:MOST].lower()):
        said = found[0]
        if _GUESS.search(said) or _ABSENT.search(said):
            continue
        sentence = Sentence(said, found.start())
        sentence.mentions = list(_Reader(said, lexicon).mentions(all_nouns))
        if sentence.mentions:
            yield sentence


class _Reader:
    """Goes through a sentence word by word."""

    def __init__(self, said: str, lexicon: Lexicon) -> None:
        self.said, self.lexicon = said, lexicon
        self.found = list(_TOKEN.finditer(said))
        self.tokens = [token[0].replace("’", "'") for token in self.found]
        self.compared = _compared(said)
        self.at = 0
        self.hushed = False
        """In the reach of a "no"."""
        self.before = ""
        """What the last word was."""
        self.noun_before = False
        self.close()

    def close(self) -> None:
        """Forget what may belong to a noun to come."""
        self.opened = False
        self.since = 0
        self.number: int | None = None
        self.colours: list[str] = []

    def token(self, place: int) -> str:
        return self.tokens[place] if 0 <= place < len(self.tokens) else ""

    def mentions(self, all_nouns: bool) -> Iterator[Mention]:
        while self.at < len(self.tokens):
            owns = self._cut_owner()
            self._listen()
            word, length = self.lexicon.at(self.tokens, self.at)
            if word is not None and self._is_noun(word, length):
                mention = self._mention(word, length)
                goes_on = not owns and self._goes_on(self.at + length)
                if (all_nouns or not goes_on) and self._is_claimed(mention):
                    yield mention
                if not goes_on:
                    self.close()
                    self.opened = owns
                self.before, self.noun_before = "noun", not owns
            else:
                self.noun_before = False
                self.before = self._open(self.token(self.at))
                if length > 1:
                    self.close()
            self.at += length

    def _cut_owner(self) -> bool:
        """Read "man's" as "man", and say that what follows is his."""
        token = self.tokens[self.at]
        if token.endswith("'s"):
            self.tokens[self.at] = token[:-2]
        return token.endswith("'s")

    def _listen(self) -> None:
        """Note where a negation begins and ends."""
        token = self.tokens[self.at]
        if token in _NEGATIONS:
            self.hushed = self.token(self.at + 1) not in _NO_DENIAL
        elif token in _TURNS or (token == "," and not self._is_listed()):
            self.hushed = False

    def _is_listed(self) -> bool:
        """Say whether a list of what is not there goes on behind a comma."""
        return "or" in self.tokens[self.at + 1 : self.at + 8] or self.token(self.at + 1) == "nor"

    def _mention(self, word: Word, length: int) -> Mention:
        start, end = self.found[self.at].start(), self.found[self.at + length - 1].end()
        said = self.said[start:end].removesuffix("'s").removesuffix("’s")
        plural = _plural(self.token(self.at + length - 1), word)
        return Mention(word, said, start, end, plural, self.number, tuple(self.colours))

    def _is_claimed(self, mention: Mention) -> bool:
        return not self.hushed and not any(
            low <= mention.start < high for low, high in self.compared
        )

    def _open(self, token: str) -> str:
        """Note what a word that is no noun says of the one that may come; return what it is."""
        after = self.token(self.at + 1)
        if token in DETERMINERS:
            self.close()
            self.opened = True
            return "determiner"
        if (number := _number(token)) is not None and after != "of":
            self.close()
            self.opened, self.number = True, number
            return "determiner"
        if token in COLOURS:
            self.colours.append(token)
            self.since = 0
            return "colour"
        if token == "and" and self.colours and after in COLOURS:
            return "and"
        if token in BREAKS:
            self.close()
            if token in SUBJECTS:
                return "subject"
            return "preposition" if token in PREPOSITIONS else "break"
        self.since += 1
        if self.since > REACH:
            self.close()
        return "other"

    def _is_noun(self, word: Word, length: int) -> bool:
        """Say whether a word that may be a noun is one here."""
        if length > 1:
            return True
        token, after = self.token(self.at), self.token(self.at + 1)
        if token in COLOURS:
            return token in _FRUIT and self.before == "determiner" and after in _ENDS
        if token == "light":  # a lamp, not what it gives
            return self.token(self.at - 1) == "a" and after in _ENDS
        if token in SUBJECTS:  # a can
            return self.before == "determiner"
        if self.before == "subject":
            return False
        if word.adjective >= 0.15 and (after not in _ENDS or word.adjective > 0.8):
            return False
        return self._is_no_verb(word, token, after)

    def _is_no_verb(self, word: Word, token: str, after: str) -> bool:
        formed = _is_formed(token, word)
        if word.nounish >= 0.7:
            return True
        if token in _FORMED and self.noun_before:  # "a brick building", "a man building a wall"
            return after not in DETERMINERS
        if self.noun_before:  # "a man watches", "a train stops"
            least = 0.7 if token.endswith("s") and after in PREPOSITIONS else 0.5
            return word.nounish >= least and not formed and after not in DETERMINERS
        if self.before in ("colour", "preposition"):
            return True
        if word.nounish < 0.3:
            return self.opened and after not in DETERMINERS
        return self.opened or (self.before in ("break", "other", "") and after not in DETERMINERS)

    def _goes_on(self, place: int) -> bool:
        """Say whether a noun follows at once, so that the one before only describes it."""
        follows = self.token(place)
        if follows in _HEADS:
            return True
        if follows in _WORKED:
            return self.lexicon.word(self.token(place + 1)) is not None
        if follows in _ENDS or follows in _NO_NOUN:
            return False
        word, length = self.lexicon.at(self.tokens, place)
        if word is None or (length == 1 and _is_formed(follows, word)):
            return False
        after = self.token(place + length)
        if word.adjective >= 0.15 and after not in _ENDS:
            return False
        return (word.nounish >= 0.5 or follows in _FORMED) and after not in DETERMINERS


def _is_formed(token: str, word: Word) -> bool:
    """Say whether a word may be the form of a verb."""
    return token.endswith(("ing", "ed")) and word.nounish < 0.7 and token not in _FORMED


def _number(token: str) -> int | None:
    if token in NUMBERS:
        return NUMBERS[token]
    return int(token) if token.isdigit() and len(token) <= 2 and int(token) > 1 else None


def _compared(said: str) -> list[tuple[int, int]]:
    """Return where it is said what something is like; that itself is not there."""
    return [(m.end(), m.end() + _phrase_end(said[m.end() :])) for m in _COMPARED.finditer(said)]


def _phrase_end(rest: str) -> int:
    """Return where the noun phrase at the beginning of a text ends."""
    found = re.search(
        r"[,;:.!?)]| (?:on|in|at|with|near|behind|under|and|that|which|is|are|to|from|by|while|as) ",
        rest,
    )
    return found.start() if found else len(rest)


def _plural(token: str, word: Word) -> bool:
    return token in ("people", "men", "women", "children") or (
        token.endswith("s") and token != word.name.split()[-1]
    )


def predicates(sentence: Sentence) -> Iterator[tuple[Mention, str]]:
    """Yield the colours that are said with a verb: "the car is red"."""
    for found in _PREDICATE.finditer(sentence.text):
        for mention in sentence.mentions:
            if mention.end == found.start():
                yield mention, found[1]


_PREDICATE = re.compile(
    r" (?:is|are|was|were) (?:\w+ly |very |mostly |bright |dark |light )?("
    + "|".join(COLOURS)
    + r")\b(?=[.,;!]| and | with | but | while |$)"
)
