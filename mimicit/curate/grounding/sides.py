"""Places that a text gives to things, against their boxes: "on the left", "in the top right corner", "to the left of the dog".

A place is contradicted only if no thing that may be meant is there, by a margin. Somebody's own left ("on his left", "her left hand")
and the side of a thing are no places in the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mimicit.curate.grounding.knowing import Box, Known
from mimicit.curate.grounding.reading import Mention, Sentence

MARGIN = 0.1
"""Of the picture's width or height, by which a box must be beyond the middle, or beyond another box's middle."""

_WHOLE = r"(?: of (?:the|this) (?:whole |entire )?(?:picture|image|photo|photograph|frame|scene|view|shot))?"
_PLACE = r"(?: (?:side|corner|edge|part|half|third|portion|area|section|of the frame))?"
_AT = re.compile(
    r"\b(?:on|at|in|to|towards?|near|along|from) the (?:far |very |extreme |near )?"
    r"(?:(top|upper|bottom|lower)(?:[ -]?(?:most )?(left|right))?|(left|right))(?:[- ]?hand(?= side| corner| edge))?"
    rf"{_PLACE}{_WHOLE}(?=[.,;:!?)]| and | with | while | is | are | there | we | you | has | stands | sits |$)"
)
_OF = re.compile(
    r"\b(?:(?:to|on|at) the (?:far |immediate )?(left|right)(?:[- ]hand side)? of|(?:is|are|hangs?|hanging|floats?|flying|flies) (?:directly |just |right )?(above|below|beneath|underneath)) "
)
_PICTURE = re.compile(
    r"(?:the|this) (?:\w+ )?(?:picture|image|photo|photograph|frame|scene|view|shot)\b"
)
_VERB = re.compile(r"\b(?:and|while|but|with)\b|[,;:]")


def wrong_sides(sentence: Sentence, known: Known) -> Iterator[str]:
    """Yield what a sentence says of places that is not so."""
    if not known.named:
        return
    start = 0
    for found in _OF.finditer(sentence.text):
        if _PICTURE.match(sentence.text, found.end()):
            continue
        way = found[1] or ("above" if found[2] == "above" else "below")
        after = [m for m in sentence.mentions if m.start >= found.end()]
        if not after or after[0].start - found.end() > 30:
            continue
        subjects = _subjects(sentence, start, found.start(), after[0].end, after[1:])
        yield from _wrong_relation(sentence, subjects, way, after[0], found[0].strip(), known)
        start = after[0].end
    start = 0
    for found in _AT.finditer(sentence.text):
        ways = [way for way in (found[1], found[2], found[3]) if way]
        ways = [{"upper": "top", "lower": "bottom"}.get(way, way) for way in ways]
        after = [m for m in sentence.mentions if m.start >= found.end()]
        subjects = _subjects(sentence, start, found.start(), found.end(), after)
        yield from _wrong_place(sentence, subjects, ways, found[0], known)
        start = found.end()


def _subjects(
    sentence: Sentence, start: int, at: int, end: int, after: Sequence[Mention]
) -> list[Mention]:
    """Return what may be meant to be there: what stands before the words of place, or behind them where nothing does."""
    before = [m for m in sentence.mentions if start <= m.start and m.end <= at]
    if before:
        last = [m.end() for m in _VERB.finditer(sentence.text, start, at)]
        near = [m for m in before if not last or m.start >= last[-1]]
        return near or before
    if sentence.text[:at].strip(" ,") and start == 0 and len(sentence.text[:at].split()) > 2:
        return []
    return list(after[:1])


def _placed(
    sentence: Sentence, mentions: list[Mention], known: Known
) -> list[tuple[Mention, list[Box]]]:
    """Return those things of which it is known where all of them are that may be meant."""
    claims = [(mention, known.boxes(mention.word, widely=True)) for mention in mentions]
    return [
        (mention, boxes)
        for mention, boxes in claims
        if boxes and not known.is_narrower(mention.word, sentence.text[: mention.start])
    ]


def _wrong_place(
    sentence: Sentence, subjects: list[Mention], ways: list[str], words: str, known: Known
) -> Iterator[str]:
    claims = _placed(sentence, subjects, known)
    if not claims or len(claims) < len(subjects):
        return  # what has no box may be what is meant
    if not any(_is_there(box, ways) for _, boxes in claims for box in boxes):
        yield f"{claims[0][0].said} {words}"


def _is_there(box: Box, ways: list[str]) -> bool:
    """Say whether a box may be called to be there."""
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    beyond = {
        "left": x > 0.5 + MARGIN / 2,
        "right": x < 0.5 - MARGIN / 2,
        "top": y > 0.5 + MARGIN,
        "bottom": y < 0.5 - MARGIN,
    }
    return not any(beyond[way] for way in ways)


def _wrong_relation(
    sentence: Sentence,
    subjects: list[Mention],
    way: str,
    other: Mention,
    words: str,
    known: Known,
) -> Iterator[str]:
    claims = _placed(sentence, subjects, known)
    others = [box for _, boxes in _placed(sentence, [other], known) for box in boxes]
    if not claims or not others or len(claims) < len(subjects):
        return
    pairs = [(box, than) for _, boxes in claims for box in boxes for than in others if box != than]
    if pairs and not any(_is_beyond(box, than, way) for box, than in pairs):
        yield f"{claims[0][0].said} {words} {other.said}"


def _is_beyond(box: Box, than: Box, way: str) -> bool:
    across = way in ("left", "right")
    a = (box[0] + box[2]) / 2 if across else (box[1] + box[3]) / 2
    b = (than[0] + than[2]) / 2 if across else (than[1] + than[3]) / 2
    further = a - b if way in ("right", "below") else b - a
    return further > -MARGIN / 2
