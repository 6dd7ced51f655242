"""What people annotated of some pictures, so that an answer can be held against it.

Names of objects and nouns of captions are things that are there. A thing that is said is supported if one of them is the same thing,
a kind of it ("animal" of a dog), something of which it is a kind (a poodle, where people wrote "dog"), or the whole that it is a part
of (a wheel of a car, a hand of anybody, a branch of a tree), or if people use both names for one thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mimicit.curate.grounding.lexicon import Lexicon, Word
from mimicit.curate.grounding.reading import MOST, predicates, sentences

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of width and height."""
HOLDS = frozenset({"person", "animal"})
_LIKENESSES = frozenset(
    {"statue", "sculpture", "figurine", "doll", "puppet", "painting", "poster", "drawing", "mural"}
    | {"mannequin", "gnome", "carving"}
)
"""What may have a body, and be called by what it shows."""
_TOYS = frozenset({"toy", "teddy bear", "teddy"})
_HOLDERS = frozenset({"bottle", "glass", "cup", "mug", "bowl", "jar", "pot", "can"})
"""What is named by what is in it."""
_PLANT_PARTS = frozenset(
    [
        "leaf",
        "branch",
        "trunk",
        "stem",
        "root",
        "petal",
        "bud",
        "bark",
        "twig",
        "blossom",
        "thorn",
        "stalk",
        "foliage",
    ]
)


@dataclass(slots=True)
class Named:
    """An object that somebody named, with its box if there is one."""

    words: tuple[Word, ...]
    box: Box | None
    name: str
    """As it was written, in small letters."""

    def beside(self, word: Word) -> str:
        """Return what the name says beside a word: of "stop sign" the "stop", where a sign is spoken of."""
        mine = word if any(word.name == one.name for one in self.words) else self.words[0]
        return " ".join(self.name.split()[: -len(mine.name.split())])


@dataclass(slots=True)
class Known:
    lexicon: Lexicon
    named: list[Named] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    """All that is there."""
    numbers: list[tuple[Word, int]] = field(default_factory=list)
    """That captions say."""
    colours: list[tuple[Word, frozenset[str]]] = field(default_factory=list)
    many: list[Word] = field(default_factory=list)
    """Of what captions have more than one without a number."""
    names: frozenset[str] = frozenset()
    near: frozenset[str] = frozenset()
    senses: frozenset[int] = frozenset()
    up: frozenset[int] = frozenset()
    parts: frozenset[int] = frozenset()
    kinds: frozenset[str] = frozenset()
    cache: dict[str, bool] = field(default_factory=dict)

    def supports(self, word: Word) -> bool:
        """Say whether a thing is among those that are there."""
        if (found := self.cache.get(word.name)) is None:
            found = self.cache[word.name] = self._supports(word)
        return found

    def _supports(self, word: Word) -> bool:
        if word.kind == "person":
            return self._person(word)
        return (
            word.name in self.near
            or not self.names.isdisjoint(word.alike)
            or not word.senses.isdisjoint(self.up)
            or not word.up.isdisjoint(self.senses)
            or not word.senses.isdisjoint(self.parts)
            or (
                word.kind == "body"
                and not (
                    HOLDS.isdisjoint(self.kinds) and (_LIKENESSES | _TOYS).isdisjoint(self.names)
                )
            )
            or (word.name in _PLANT_PARTS and "plant" in self.kinds)
        )

    def _person(self, word: Word) -> bool:
        """Say whether somebody is there of whom it may be said; a role is nothing that contradicts another one."""
        people = [other for other in self.words if other.kind == "person"]
        if not people:
            return not _LIKENESSES.isdisjoint(self.names)
        if word.sex and len(self.boxes(people[0])) <= 1 and not self.many_people():
            sexes = {other.sex for other in people if other.sex}
            return not sexes or word.sex in sexes
        return True

    def many_people(self) -> bool:
        return any(word.kind == "person" for word in (*self.many, *(w for w, _ in self.numbers)))

    def matching(self, word: Word, widely: bool = False) -> list[Named]:
        """Return the objects that somebody may mean with a word.

        Args:
            word: What is said.
            widely: Also those for which others use that word.
        """
        return [
            one
            for one in self.named
            if any(
                _same(word, other) or (widely and other.name in word.alike) for other in one.words
            )
        ]

    def boxes(self, word: Word, widely: bool = False) -> list[Box]:
        return [one.box for one in self.matching(word, widely) if one.box]

    def is_narrower(self, word: Word, before: str) -> bool:
        """Say whether people named a narrower kind than what is said, so that there may be others: stop signs among signs.

        Args:
            word: What is said.
            before: The text before it, in small letters, which may say the kind.
        """
        kinds = {one.beside(word) for one in self.matching(word)}
        return any(kind and not before.rstrip().endswith(kind) for kind in kinds)


def _same(said: Word, named: Word) -> bool:
    """Say whether a word may mean an object of some name: by the same or a wider name."""
    if said.kind == named.kind == "person":
        return said.name == named.name or not (
            (said.sex and named.sex and said.sex != named.sex)
            or (said.age and named.age and said.age != named.age)
        )
    return said.name == named.name or not said.senses.isdisjoint(named.up)


def known(
    lexicon: Lexicon, captions: Iterable[str], objects: Sequence[tuple[str, Box | None]]
) -> Known:
    """Read annotations."""
    found = Known(lexicon)
    joined: set[str] = set()
    for name, box in objects:
        if names := names_of(name, lexicon):
            joined.update(_joined(name))
            found.named.append(Named(names, box, " ".join(_tokens(name))))
            found.words.extend(names)
            found.words.extend(m.word for s in sentences(name, lexicon, True) for m in s.mentions)
    for caption in captions:
        _read(found, caption)
        joined.update(_joined(caption))
    found.words.extend(_held(found.words, lexicon))
    words = found.words = list(dict.fromkeys(found.words))
    found.names = frozenset(word.name for word in words)
    found.near = found.names.union(joined, *(word.alike for word in words))
    found.senses = frozenset().union(*(word.senses for word in words))
    found.up = frozenset().union(*(word.up for word in words))
    found.parts = lexicon.parts(found.up)
    found.kinds = frozenset(word.kind for word in words)
    return found


def names_of(name: str, lexicon: Lexicon) -> tuple[Word, ...]:
    """Return what the name of an object says that it is: of "teddy bear" that, and a bear."""
    tokens = _tokens(name)[-4:]
    found: list[Word] = []
    for start in range(len(tokens)):
        word = lexicon.word(" ".join(tokens[start:]))
        if word is not None and word not in found:
            found.append(word)
    if not found:
        found = [m.word for s in sentences(name[:200], lexicon) for m in s.mentions]
    return tuple(found)


def _joined(text: str) -> Iterator[str]:
    """Yield what others may write as one word: "spacesuit" of "space suit"."""
    words = re.findall("[a-z]+", text[:MOST].lower())
    return (first + second for first, second in pairwise(words))


def _tokens(name: str) -> list[str]:
    return name.lower().replace("_", " ").replace(",", " ").split()


def _held(words: list[Word], lexicon: Lexicon) -> list[Word]:
    """Return what is in things that are named by it: of a wine bottle the wine."""
    names = [word.name.split() for word in words]
    held = [name[0] for name in names if len(name) == 2 and name[1] in _HOLDERS]
    return [word for name in held if (word := lexicon.word(name))]


def _read(found: Known, caption: str) -> None:
    for sentence in sentences(caption, found.lexicon, all_nouns=True):
        for mention in sentence.mentions:
            found.words.append(mention.word)
            if " " in mention.word.name and (
                head := found.lexicon.word(mention.word.name.split()[-1])
            ):
                found.words.append(head)
            if mention.number:
                found.numbers.append((mention.word, mention.number))
            elif mention.plural:
                found.many.append(mention.word)
            if mention.colours:
                found.colours.append((mention.word, frozenset(mention.colours)))
        found.colours.extend((m.word, frozenset({colour})) for m, colour in predicates(sentence))
