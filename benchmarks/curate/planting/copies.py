"""Records that say again what another one says: word for word, nearly, or the same question with another answer."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from . import good
from .drafts import Draft, Plot
from .looks import _pairs
from .words import _mark

WORDS = re.compile(r"[\w']+")


def exact_duplicate(plot: Plot, count: int) -> None:
    """Copy a record; case, punctuation and spacing may differ."""
    changes: tuple[Callable[[str], str], ...] = (
        lambda t: t,
        str.upper,
        lambda t: t.replace(".", " !"),
        lambda t: f"  {t.replace(' ', '  ')} ",
        lambda t: t.replace(",", ""),
    )
    for n, (one, other) in enumerate(_pairs(plot, count)):
        change = changes[n % len(changes)]
        other.instruction, other.answer, other.image_ids = (
            change(one.instruction),
            change(one.answer),
            one.image_ids,
        )
        other.labels |= {"exact_duplicate", "repeated_question"}
        if len(normal(f"{one.instruction} {one.answer}")) >= 30:
            other.labels.add("near_duplicate")
        other.kind = "exact_duplicate"
        one.kind = "source"
    for one, other in _pairs(plot, count // 4):  # the same words about another picture
        other.instruction, other.answer = one.instruction, one.answer
        _mark(one, "")
        _mark(other, "")


def repeated_question(plot: Plot, count: int) -> None:
    for n, (one, other) in enumerate(_pairs(plot, count)):
        other.instruction, other.image_ids = (
            one.instruction.upper() if n % 3 == 0 else one.instruction,
            one.image_ids,
        )
        other.labels.add("repeated_question")
        other.kind, one.kind = "repeated_question", "source"
        _near(one, other)


def near_duplicate(plot: Plot, count: int) -> None:
    """Copy records about the same picture with some words exchanged or left out; it counts where the two are exactly 0.7 alike or more."""
    for n, (one, other) in enumerate(_pairs(plot, count)):
        other.image_ids = one.image_ids
        other.answer = edited(one.answer, (0.04, 0.08, 0.15)[n % 3], plot.rng)
        if n % 2:
            other.instruction = edited(one.instruction, 0.2, plot.rng)
        else:
            other.instruction = one.instruction
        other.kind, one.kind = "near_duplicate", "source"
        if normal(one.instruction) == normal(other.instruction):
            other.labels.add("repeated_question")
            if normal(one.answer) == normal(other.answer):
                other.labels.add("exact_duplicate")
        _near(one, other)


def _near(one: Draft, other: Draft) -> None:
    """Label the shorter of two that are near, or the second of two of one length."""
    texts = [normal(f"{draft.instruction} {draft.answer}") for draft in (one, other)]
    if min(len(text.encode()) for text in texts) < 30 or similarity(*texts) < 0.7:
        return
    shorter = one if len(texts[0].encode()) < len(texts[1].encode()) else other
    shorter.labels.add("near_duplicate")


def edited(text: str, share: float, rng: random.Random) -> str:
    words = text.split(" ")
    pool = [word for table in (good.OBJECTS, good.LOOKS, good.COLOURS) for word in table]
    for _ in range(max(1, round(share * len(words)))):
        at = rng.randrange(max(1, len(words) - 1))  # the end stays an end
        if rng.random() < 0.7:
            words[at] = rng.choice(pool)
        elif len(words) > 5:
            del words[at]
    return " ".join(words)


def normal(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity on runs of five bytes."""
    a, b = (
        {text[n : n + 5] for n in range(len(text) - 4)} for text in (one.encode(), other.encode())
    )
    return len(a & b) / max(len(a | b), 1)
