"""Reply -> ratings. Pure.

A rating with a number that was not asked about, or with a criterion that is not a whole number from 1 to 5, is no rating: its pair is
asked about again. So is a pair that was rated twice in one breath, unless both say the same. Of several JSON values in a reply the later
ones count: models draft.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from syphus.errors import ReplyError, TaskError
from syphus.forms.clean import clean
from syphus.json_reply import number, objects_with
from syphus.task import Task

CRITERIA = ("grounded", "answerable", "correct", "useful")
DECIDING = ("grounded", "answerable", "correct")
"""Those below the threshold that reject a record; a useless pair is no wrong one."""
LOWEST, HIGHEST = 1, 5
_MAX_REASON = 300
"""Characters."""


@dataclass(frozen=True)
class Rating:
    grounded: int
    answerable: int
    correct: int
    useful: int
    reason: str = ""

    @property
    def score(self) -> float:
        return fmean(getattr(self, name) for name in CRITERIA)

    def said(self) -> str:
        """Return it as a verdict's reason: `grounded 5, answerable 4, correct 5, useful 3: …`."""
        marks = ", ".join(f"{name} {getattr(self, name)}" for name in CRITERIA)
        return f"{marks}: {self.reason}" if self.reason else marks

    def rejects(self, threshold: int) -> bool:
        return any(getattr(self, name) < threshold for name in DECIDING)


def read_ratings(text: str, count: int) -> dict[int, Rating]:
    """Read the ratings of pairs 1 to `count`, those that there are.

    Raises:
        ReplyError: there is none.
    """
    found: dict[int, Rating] = {}
    wrong = ""
    for value in objects_with(text, "number"):
        own: dict[int, Rating] = {}
        twice: set[int] = set()
        for rated in value:
            place = number(rated["number"])
            rating, problem = _rating(rated)
            if place is None or place not in range(1, count + 1):
                wrong = wrong or f"there is no pair {rated['number']!r}"
            elif rating is None:
                wrong = wrong or f"pair {place:g}: {problem}"
            elif own.setdefault(int(place), rating) != rating:
                twice.add(int(place))
                wrong = wrong or f"pair {place:g} has two ratings"
        found |= {place: rating for place, rating in own.items() if place not in twice}
    if not found:
        raise ReplyError(wrong or "it holds no JSON object with a `number`", text)
    return found


def check_rubric(task: Task) -> None:
    """See that a rubric asks for what a verdict needs.

    Raises:
        TaskError: it does not.
    """
    properties = ((task.schema or {}).get("properties") or {}).get("ratings", {})
    rated = properties.get("items", {}).get("properties", {})
    missing = [name for name in ("number", *CRITERIA) if name not in rated]
    if missing:
        raise TaskError(
            f"{str(task.folder)!r} is no rubric: its reply.schema.json must describe `ratings`, a list of objects "
            f"with number, {', '.join(CRITERIA)} and reason; {', '.join(missing)} is not there"
        )


def _rating(rated: dict[str, Any]) -> tuple[Rating | None, str]:
    marks: list[int] = []
    for name in CRITERIA:
        mark = number(rated.get(name))
        if mark is None or mark not in range(LOWEST, HIGHEST + 1):
            return (
                None,
                f"{name} is {rated.get(name)!r}, not a whole number from {LOWEST} to {HIGHEST}",
            )
        marks.append(int(mark))
    reason = rated.get("reason")
    said = " ".join(clean(reason).split()) if isinstance(reason, str) else ""
    grounded, answerable, correct, useful = marks
    return Rating(grounded, answerable, correct, useful, said[:_MAX_REASON]), ""
