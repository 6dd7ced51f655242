"""Words that WordNet cannot judge: what is no thing in a picture, persons, colours, numbers, and names that people use for one thing.

The long lists are in `words.toml`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
}  # fmt: skip

_COLOURS = (
    "red scarlet crimson maroon burgundy", "orange", "yellow golden gold blond blonde", "green teal turquoise olive",
    "blue navy teal turquoise cyan", "purple violet lavender magenta", "pink magenta", "brown tan beige maroon bronze golden cream blond blonde orange",
    "black", "grey gray silver", "white cream beige ivory silver",
)  # fmt: skip
COLOURS: dict[str, frozenset[str]] = {}
"""Word -> the words that somebody else may use for the same colour."""
for _line in _COLOURS:
    _alike = _line.split()
    for _word in _alike:
        COLOURS[_word] = COLOURS.get(_word, frozenset()) | {_alike[0], _word}
    COLOURS[_alike[0]] |= frozenset(_alike)
COLOURS["brown"] |= {"red", "black"}
COLOURS["red"] |= {"brown", "orange", "pink"}
COLOURS["orange"] |= {"red", "yellow", "brown"}
COLOURS["grey"] |= {"black", "white", "blue", "brown"}
COLOURS["gray"] = COLOURS["grey"]
COLOURS["black"] |= {"grey", "gray", "brown", "navy", "blue"}
COLOURS["pink"] |= {"purple", "red"}
COLOURS["yellow"] |= {"orange", "tan", "cream"}
COLOURS["white"] |= {"grey", "gray"}
COLOURS["purple"] |= {"pink", "blue"}
COLOURS["blue"] |= {"purple", "green"}
COLOURS["green"] |= {"blue"}

_LISTS = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))


def _listed(name: str) -> frozenset[str]:
    return frozenset(_LISTS[name].split())


DETERMINERS = _listed("determiners")
PREPOSITIONS = _listed("prepositions")
SUBJECTS = _listed("subjects")
"""What stands before a verb."""
BREAKS = (
    PREPOSITIONS | SUBJECTS | _listed("verbs") | _listed("conjunctions") | frozenset(".,;:!?()")
)
"""What ends a noun phrase."""
NO_THINGS = _listed("no_things")
"""Nouns that tell of no thing around which a box could be drawn."""
IDIOMS = frozenset(" ".join(phrase.split()) for phrase in _LISTS["idioms"].split(","))
"""Phrases in which no noun is a thing that was seen."""
SENSES: dict[str, str] = _LISTS["senses"]
"""Word -> its synsets, where the most frequent ones are not those of pictures; none: no thing."""
MEN, WOMEN = _listed("men"), _listed("women")
CHILDREN, ADULTS = _listed("children"), _listed("adults")
PEOPLE = _listed("people")

ALIKE: dict[str, frozenset[str]] = {}
"""Name -> names that another annotator may have given to the same thing, or to what it always comes with."""
for _line in _LISTS["alike"].strip().splitlines():
    _names = frozenset(_line.split())
    for _name in _names:
        ALIKE[_name] = ALIKE.get(_name, frozenset()) | _names
