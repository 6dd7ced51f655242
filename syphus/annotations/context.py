"""What people annotated about some pictures, in one form for every source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that has a box."""

    name: str
    box: tuple[float, float, float, float]
    """Left, top, right, bottom, as shares of the picture's width and height."""


@dataclass(frozen=True, slots=True)
class Context:
    """All that a model is told about one record's pictures."""

    id: str
    """Unique and stable within the source; becomes part of record ids."""
    pictures: tuple[str, ...]
    """File names, as the annotations give them."""
    captions: tuple[str, ...]
    objects: tuple[Thing, ...]
    source: str
    """File and row, for people."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used; it is reported and left out, never the whole file."""

    where: str
    reason: str
