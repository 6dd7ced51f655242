"""What a word is in a picture: a thing, of which kinds, with which parts; each word is looked up once.

Of a noun's senses those count which can be seen (animals, artefacts, food …) and which people mean: one that the tagged texts of
WordNet have at least a fifth as often as its most frequent one. So "dog" is no woman, though one of its seven senses is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mimicit.curate.grounding.words import (
    ADULTS,
    ALIKE,
    CHILDREN,
    COLOURS,
    DETERMINERS,
    IDIOMS,
    MEN,
    NO_THINGS,
    NUMBERS,
    PEOPLE,
    SENSES,
    WOMEN,
)
from mimicit.curate.wordnet import reader

SEEN = frozenset(
    f"noun.{name}" for name in ("animal", "artifact", "body", "food", "object", "person", "plant")
)
"""WordNet's files of what can be seen."""
ENOUGH = 0.2
LONGEST = 3
"""Words of a compound."""
BEGINNING = 3
"""Letters by which a second word is told from one that belongs to no compound."""

_TOO_WIDE = (
    "entity.n.01", "physical_entity.n.01", "object.n.01", "whole.n.02", "artifact.n.01", "matter.n.03", "thing.n.12",
    "living_thing.n.01", "organism.n.01", "causal_agent.n.01", "instrumentality.n.03", "abstraction.n.06", "substance.n.01",
    "substance.n.07", "part.n.03", "location.n.01", "device.n.01", "structure.n.01", "group.n.01", "relation.n.01", "attribute.n.02",
    "psychological_feature.n.01", "covering.n.02", "commodity.n.01", "consumer_goods.n.01", "article.n.02", "container.n.01", "natural_object.n.01", "unit.n.03", "measure.n.02", "process.n.06", "part.n.02", "body_part.n.01", "way.n.06", "surface.n.01", "product.n.02", "creation.n.02", "conveyance.n.03", "implement.n.01", "equipment.n.01", "area.n.05", "vascular_plant.n.01", "vertebrate.n.01", "chordate.n.01", "mammal.n.01", "placental.n.01", "carnivore.n.01", "region.n.03", "ungulate.n.01", "wheeled_vehicle.n.01", "self-propelled_vehicle.n.01", "craft.n.02", "geological_formation.n.01", "solid.n.01", "atmosphere.n.05", "gas.n.02", "food.n.02", "nutriment.n.01", "foodstuff.n.02", "obstruction.n.01", "plant_part.n.01", "plant_organ.n.01",
)  # fmt: skip
"""Kinds so wide that being of one says nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A noun that names something that can be seen."""

    name: str
    """Its basic form."""
    key: str
    """The first name of its most frequent sense: "car", of "automobile"."""
    senses: frozenset[int]
    up: frozenset[int]
    """Its senses and all kinds that they are of."""
    kind: str
    """person, animal, plant, body, or thing."""
    nounish: float
    """How often it is a noun, and not a verb, an adjective or an adverb; 0 to 1."""
    adjective: float
    """How often it is an adjective."""
    alike: frozenset[str]

    @property
    def sex(self) -> str:
        return "m" if self.name in MEN else "f" if self.name in WOMEN else ""

    @property
    def age(self) -> str:
        return "child" if self.name in CHILDREN else "adult" if self.name in ADULTS else ""


class Lexicon:
    """Words as they are written -> what they are."""

    def __init__(self) -> None:
        self._net = reader()
        self._found: dict[str, Word | None] = {}
        self._parts: dict[int, frozenset[int]] = {}
        self._wide = frozenset(self._offset(name) for name in _TOO_WIDE)
        self._kinds = {
            kind: self._offset(name)
            for kind, name in (
                ("person", "person.n.01"),
                ("animal", "animal.n.01"),
                ("plant", "plant.n.02"),
                ("body", "body_part.n.01"),
            )
        }
        self._sky = self._offset("sky.n.01")
        self._starts = self._of_compounds()

    def _offset(self, name: str) -> int:
        return int(self._net.synset(name).offset())

    def _of_compounds(self) -> dict[str, set[str]]:
        """Return the first words of what may be a compound, each with how the second may begin."""
        names = [n.replace("_", " ") for n in self._net.all_lemma_names(pos="n") if "_" in n]
        starts: dict[str, set[str]] = {}
        for name in (*names, *SENSES, *IDIOMS):
            first, _, rest = name.partition(" ")
            if rest and (first not in _NO_COMPOUND or name in IDIOMS):
                starts.setdefault(first, set()).add(rest[:BEGINNING].strip())
        return starts

    def at(self, tokens: Sequence[str], place: int) -> tuple[Word | None, int]:
        """Return what stands at a place, and how many tokens it takes; an idiom is no thing."""
        first = tokens[place]
        seconds = self._starts.get(first)
        if seconds and place + 1 < len(tokens) and tokens[place + 1][:BEGINNING] in seconds:
            return self._compound(tokens, place) or (self.word(first), 1)
        return self.word(first), 1

    def _compound(self, tokens: Sequence[str], place: int) -> tuple[Word | None, int] | None:
        for count in range(min(LONGEST + 1, len(tokens) - place), 1, -1):
            phrase = " ".join(tokens[place : place + count])
            if phrase in IDIOMS:
                return None, count
            if count <= LONGEST and tokens[place] not in _NO_COMPOUND:
                word = None if _is_vague(tokens[place + count - 1]) else self.word(phrase)
                if word is not None:
                    return word, count
        return None

    def word(self, text: str) -> Word | None:
        try:
            return self._found[text]
        except KeyError:
            self._found[text] = found = self._look_up(text)
            return found

    def _look_up(self, text: str) -> Word | None:
        if len(text) < 2 or text in _FUNCTION or (text not in SENSES and _is_vague(text)):
            return None
        form = text.replace(" ", "_")
        if text not in SENSES and text.endswith("s") and text[:-1] in SENSES:
            name = text[:-1]
        elif text in SENSES or text in PEOPLE:
            name = text
        else:
            name = self._net.morphy(form, "n")
        if name is None:
            return None
        name = _SINGULAR.get(name, name).replace("_", " ")
        if name in NO_THINGS:
            return None
        key = text if text in SENSES else name
        synsets = self._named(SENSES[key]) if key in SENSES else self._usual(name)
        if name in PEOPLE:
            synsets = synsets or self._named("person.n.01")
        if not synsets:
            return None
        senses = frozenset(int(synset.offset()) for synset in synsets)
        up = frozenset(
            int(kind.offset())
            for synset in synsets
            for kind in (synset, *synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms()))
        )
        kind = next((kind for kind, offset in self._kinds.items() if offset in up), "thing")
        alike = ALIKE.get(name, frozenset())
        if " " in name and (head := self.word(name.split()[-1])) and head.senses & up:
            alike = head.alike
        key = str(synsets[0].lemma_names()[0]).replace("_", " ").lower()
        return Word(name, key, senses, up - (self._wide - senses), kind, *self._uses(text), alike)

    def _named(self, names: str) -> list[Any]:
        return [self._net.synset(name) for name in names.split()]

    def _usual(self, name: str) -> list[Any]:
        """Return the senses of a noun that can be seen, if they are what it mostly means."""
        counted = self._counted(name, "n")
        if not counted:
            return []
        seen = [(synset, count) for synset, count in counted if synset.lexname() in SEEN]
        total, visible = sum(c for _, c in counted), sum(c for _, c in seen)
        if not seen or visible < total * 0.4:
            return []
        if not total:
            return [counted[0][0]] if counted[0][0] is seen[0][0] else []
        most = max(count for _, count in seen)
        return [synset for synset, count in seen if count and count >= ENOUGH * most]

    def _counted(self, name: str, pos: str) -> list[tuple[Any, int]]:
        form = name.replace(" ", "_")
        return [
            (synset, sum(x.count() for x in synset.lemmas() if x.name().lower() == form))
            for synset in self._net.synsets(form, pos)
        ]

    def _uses(self, text: str) -> tuple[float, float]:
        """Return how often a word is a noun, and how often an adjective."""
        if " " in text:
            return 1.0, 0.0
        counts = {}
        for pos in "nvar":
            base = self._net.morphy(text, pos)
            counts[pos] = 0.5 + sum(c for _, c in self._counted(base, pos)) if base else 0.0
        total = sum(counts.values())
        return (counts["n"] / total, counts["a"] / total) if counts["n"] else (1.0, 0.0)

    def parts(self, kinds: Iterable[int]) -> frozenset[int]:
        """Return what is a part of things of these kinds, or of such a part."""
        return frozenset(part for kind in kinds for part in self._parts_of(kind))

    def _parts_of(self, kind: int) -> frozenset[int]:
        if kind == self._sky:  # which may be without clouds
            return frozenset()
        if kind not in self._parts:
            synset = self._net.synset_from_pos_and_offset("n", kind)
            parts = list(synset.closure(lambda s: s.part_meronyms(), depth=2))
            wider = [
                kind for part in parts for kind in part.hypernyms()
            ]  # a bicycle wheel: a wheel
            found = frozenset(int(part.offset()) for part in (*parts, *wider))
            self._parts[kind] = found - self._wide
        return self._parts[kind]


_SINGULAR = {"men": "man", "women": "woman", "children": "child", "boys": "boy", "girls": "girl", "kids": "kid", "adults": "adult", "persons": "person",
    "pedestrians": "pedestrian", "passengers": "passenger", "players": "player", "tourists": "tourist", "spectators": "spectator", "signs": "sign", "ties": "tie", "plants": "plant", "rocks": "rock"}  # fmt: skip
_NO_COMPOUND = (
    frozenset(COLOURS)
    | DETERMINERS
    | frozenset(NUMBERS)
    | frozenset(
        [
            "old",
            "young",
            "big",
            "little",
            "right",
            "left",
            "good",
            "small",
            "large",
            "great",
            "high",
            "low",
            "new",
            "dark",
            "light",
            "long",
            "short",
        ]
    )
)
_FUNCTION = (
    DETERMINERS
    | frozenset(NUMBERS)
    | frozenset(
        [
            "in",
            "on",
            "at",
            "as",
            "is",
            "it",
            "an",
            "or",
            "us",
            "am",
            "be",
            "he",
            "we",
            "i",
            "and",
            "not",
            "all",
            "over",
            "out",
            "down",
            "up",
            "off",
            "so",
            "do",
            "to",
            "my",
            "by",
            "if",
            "no",
        ]
    )
)


def _is_vague(token: str) -> bool:
    return token in NO_THINGS or token.removesuffix("s") in NO_THINGS


@cache
def lexicon() -> Lexicon:
    """Return the one of this process."""
    return Lexicon()
