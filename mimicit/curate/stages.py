"""The funnel: what came in, what each filter dropped, what came out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Stage:
    """One row of the funnel."""

    filter: str
    dropped: int
    """Records that came this far and no farther."""
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Funnel:
    recipe: str
    records: int
    accepted: int
    """By this recipe."""
    stages: list[Stage]
    new: int = 0
    """Records that this recipe had not seen."""
