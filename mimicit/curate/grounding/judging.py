"""Hold what an answer says against what people annotated: things, numbers, colours, places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mimicit.curate.grounding.knowing import Box, Known
from mimicit.curate.grounding.lexicon import Lexicon, Word
from mimicit.curate.grounding.reading import Mention, Sentence, predicates, sentences
from mimicit.curate.grounding.sides import wrong_sides
from mimicit.curate.grounding.words import COLOURS

MOST_COUNTED = 8
"""Boxes up to which annotators are taken to have drawn all."""
PROMINENT = 0.25
"""Share of the largest box's area from which on a thing is one that everybody counts."""


@dataclass(slots=True)
class Judged:
    things: int = 0
    """Different things that are named."""
    unsupported: list[str] = field(default_factory=list)
    """The words of those that nothing supports."""
    names: list[str] = field(default_factory=list)
    """By which WordNet has them."""
    counts: list[str] = field(default_factory=list)
    colours: list[str] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What is known to be there, by the names that WordNet has."""


def judge(text: str, known: Known, lexicon: Lexicon, one_picture: bool = True) -> Judged:
    """Say what of a text the annotations do not bear out.

    Args:
        text: In English.
        known: What is known of its pictures.
        lexicon: Of all words.
        one_picture: What boxes say of numbers and places holds within one.
    """
    judged, seen = Judged(), set[str]()
    said = list(sentences(text, lexicon))
    numbers = [(m.word, m.number) for s in said for m in s.mentions]
    for sentence in said:
        for mention in sentence.mentions:
            if mention.word.name not in seen:
                seen.add(mention.word.name)
                if not known.supports(mention.word):
                    judged.unsupported.append(mention.said)
                    judged.names.append(mention.word.key)
            if one_picture and mention.number:
                before = sentence.text[: mention.start]
                judged.counts.extend(_wrong_count(mention, before, known, numbers))
        judged.colours.extend(_wrong_colours(sentence, known))
        if one_picture:
            judged.sides.extend(wrong_sides(sentence, known))
    judged.things = len(seen)
    for name in ("counts", "colours", "sides"):
        setattr(judged, name, list(dict.fromkeys(getattr(judged, name))))
    judged.told = sorted({word.key for word in known.words})
    return judged


def _wrong_count(
    mention: Mention, before: str, known: Known, numbers: list[tuple[Word, int | None]]
) -> Iterator[str]:
    word, number = mention.word, mention.number
    assert number
    boxes, more = known.boxes(word), known.boxes(word, widely=True)
    told = {n for other, n in known.numbers if _akin(word, other)}
    if not boxes or len(more) > MOST_COUNTED or number in told:
        return
    if len(known.matching(word)) > len(boxes):
        return  # some have no box
    least = min(_prominent(boxes), *told) if told else _prominent(boxes)
    if number < least and sum(_akin(word, other) for other, _ in numbers) > 1:
        return  # "two dogs sleep, another one eats"
    if number > least and known.is_narrower(word, before):
        return
    if not least <= number <= max(len(more), *told, 0):
        yield f"{number} {mention.said} (there are {len(boxes)})"


def _prominent(boxes: list[Box]) -> int:
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    return sum(area >= PROMINENT * max(areas) for area in areas)


def _akin(a: Word, b: Word) -> bool:
    if a.kind == b.kind == "person":
        return True
    return a.name == b.name or not a.senses.isdisjoint(b.up) or not b.senses.isdisjoint(a.up)


def _wrong_colours(sentence: Sentence, known: Known) -> Iterator[str]:
    said = [(m, m.colours) for m in sentence.mentions if m.colours]
    said += [(mention, (colour,)) for mention, colour in predicates(sentence)]
    for mention, colours in said:
        told = _told_colours(mention, known)
        if told and all(COLOURS[colour].isdisjoint(told) for colour in colours):
            yield f"{' and '.join(colours)} {mention.said} (it is {' or '.join(sorted(told))})"


def _told_colours(mention: Mention, known: Known) -> set[str]:
    """Return the colours that people said of a thing, if there is but one such thing."""
    word = mention.word
    told = [
        colours
        for other, colours in known.colours
        if other.name == word.name or not other.senses.isdisjoint(word.senses)
    ]
    if not told or len(known.boxes(word)) > 1:
        return set()
    several = {other.name for other in (*known.many, *(w for w, _ in known.numbers))}
    if word.name in several and not mention.plural:
        return set()
    return set().union(*told)
