"""Words that carry meaning, and their stems: enough to see what an answer was told and what it invents."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_SUFFIX = re.compile(r"(?:ings?|ed|es|s|ly|er|e)$")

_STOP_WORDS = """
a about above across after again against all almost along already also although always am among an and another any
anything are around as at away back be because become been before behind being below beside between both but by can
cannot could did do does doing done down during each either else enough even ever every everything far few first for
from front further gets give given go goes going had has have having he her here hers him himself his how however i if
image in indeed inside instead into is isn it its itself just kind know least left less let like likely look looks
made make makes many may maybe me middle might mine more most much must my near need neither never next no none nor
not nothing now of off often on once one only onto or other others our out outside over own part people perhaps person
photo picture place possibly probably put quite rather really right same scene second see seem seems seen several
shall she should show showing shown shows side since so some someone something soon still such sure take taken than
that the their them then there these they thing things this those though through to together too toward towards two
under until up upon us use used using very video want was way we well were what when where which while who whole whom
whose why will with within without would yes yet you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words that say nothing about a picture; words for pictures themselves are among them."""


def words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def content_stems(text: str) -> dict[str, str]:
    """Return the stems of a text's content words, each with a word that has it."""
    found: dict[str, str] = {}
    for word in words(text):
        if word not in STOP_WORDS and (len(word) > 2 or not word.isascii()):
            found.setdefault(stem(word), word)
    return found


def stem(word: str) -> str:
    """Cut an English word's ending off, if enough of it is left."""
    short = _SUFFIX.sub("", word)
    if len(short) > 3 and short[-1] == short[-2]:  # "running" has two n, "runs" has one
        short = short[:-1]
    return short if len(short) >= 3 else word


def latin(text: str) -> float:
    """Return which share of a text's letters is Latin ones; 1 where it has none."""
    letters = [c for c in text if c.isalpha()]
    return sum(c < "\u0250" for c in letters) / len(letters) if letters else 1.0
