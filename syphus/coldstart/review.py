"""A review as a value: candidates, the decisions about them, and where one stands. Pure; keys and screens are elsewhere.

A decision is never changed. To undo is a decision too: it takes back the last one that still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from syphus.coldstart.state import Candidate, Decision


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Review:
    candidates: tuple[Candidate, ...]
    """In the order in which they are shown."""
    want: int
    """Examples, after which the review is done."""
    decisions: tuple[Decision, ...] = ()
    """All that were ever made."""
    at: int = 0
    """Place of the candidate that is shown; their number, if there is none left."""
    clock: Callable[[], str] = now

    @cached_property
    def standing(self) -> dict[str, Decision]:
        """The decision that stands about each candidate that has one, in the order in which they were made."""
        found: dict[str, Decision] = {}
        for decision in self._stack:
            found.pop(decision.candidate, None)
            found[decision.candidate] = decision
        return found

    @property
    def _stack(self) -> list[Decision]:
        stack: list[Decision] = []
        for decision in self.decisions:
            if decision.action != "undo":
                stack.append(decision)
            elif stack:
                stack.pop()
        return stack

    @property
    def last(self) -> Decision | None:
        """The decision that `undo` would take back."""
        stack = self._stack
        return stack[-1] if stack else None

    @property
    def accepted(self) -> list[Decision]:
        return [one for one in self.standing.values() if one.action in ("accept", "edit")]

    @property
    def current(self) -> Candidate | None:
        return self.candidates[self.at] if self.at < len(self.candidates) else None

    @property
    def is_full(self) -> bool:
        return len(self.accepted) >= self.want

    @property
    def is_over(self) -> bool:
        return self.is_full or self.current is None

    @property
    def open(self) -> list[Candidate]:
        """Candidates about which nothing stands."""
        return [one for one in self.candidates if one.key not in self.standing]

    def begin(self) -> Review:
        """Go to the first candidate about which nothing was decided."""
        return replace(self, at=-1)._on()

    def accept(self) -> Review:
        return self._decide("accept")

    def reject(self) -> Review:
        return self._decide("reject")

    def edit(self, example: dict[str, Any], score: float) -> Review:
        """Accept something else in place of the reply."""
        return self._decide("edit", example=example, score=score)

    def skip(self) -> Review:
        """Go on and leave it open; another review shows it again."""
        return self._on()

    def back(self) -> Review:
        """Go to the candidate before, whatever was decided about it."""
        return replace(self, at=max(0, self.at - 1))

    def undo(self) -> Review:
        """Take the last decision back, and go to its candidate."""
        last = self.last
        if last is None:
            return self
        undone = Decision(action="undo", candidate=last.candidate, time=self.clock())
        places = [n for n, one in enumerate(self.candidates) if one.key == last.candidate]
        at = places[0] if places else self.at
        return replace(self, decisions=(*self.decisions, undone), at=at)

    def _decide(
        self,
        action: Literal["accept", "edit", "reject"],
        *,
        example: dict[str, Any] | None = None,
        score: float | None = None,
    ) -> Review:
        current = self.current
        assert current is not None, "there is nothing to decide about"
        decision = Decision(
            action=action,
            candidate=current.key,
            time=self.clock(),
            score=current.score if score is None else score,
            example=example,
        )
        return replace(self, decisions=(*self.decisions, decision))._on()

    def _on(self) -> Review:
        """Go to the next candidate that is open."""
        after = range(self.at + 1, len(self.candidates))
        standing = self.standing
        at = next(
            (n for n in after if self.candidates[n].key not in standing), len(self.candidates)
        )
        return replace(self, at=at)


def accept_good(
    review: Review, least: float, usable: Callable[[Review, Candidate], bool]
) -> Review:
    """Accept what has the least score or more, best first, until there are enough.

    Args:
        review: Where it stands.
        least: Of a candidate's score.
        usable: Whether a task that has a review's accepted examples could have a candidate too.
    """
    review = review.begin()
    while not review.is_full and (current := review.current) and current.score >= least:
        review = review.accept() if usable(review, current) else review.skip()
    return review
