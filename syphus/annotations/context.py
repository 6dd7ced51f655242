"""What people annotated about some pictures, in one form for every source.

A context is all that a model is told before it writes pairs: one picture (LA), two (SD, CGD), an album (VST), a room's photos
(SN), or frames of a video (DC, TVC, E4D). Readers make contexts, templates show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture's width and height."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that has a box."""

    name: str
    box: Box


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, and what was said about it alone."""

    name: str
    """File name, as the annotations give it; without a suffix, any picture file of that name is meant."""
    captions: tuple[str, ...] = ()
    objects: tuple[Thing, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a template may show: title, tags, …"""
    key: str | None = None
    """Its part of the image id, where that is not the file's name."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence about a stretch of a video."""

    text: str
    start: float | None = None
    """Seconds."""
    end: float | None = None
    """Seconds."""
    objects: tuple[str, ...] = ()
    """Names of what is seen then."""


@dataclass(frozen=True, slots=True)
class Context:
    """All that a model is told about one record's pictures."""

    id: str
    """Unique and stable within the source; becomes part of record ids."""
    pictures: tuple[Picture, ...] = ()
    captions: tuple[str, ...] = ()
    """About all the pictures together."""
    objects: tuple[Thing, ...] = ()
    segments: tuple[Segment, ...] = ()
    """In order of time."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a template may show: title, duration, reason, …"""
    video: str | None = None
    """A video file, or a folder of frames, whose frames are the pictures."""
    span: tuple[float, float] | None = None
    """The seconds of the video that are meant; None is all of it."""
    source: str = ""
    """File and row, for people."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used; it is reported and left out, never the whole file."""

    where: str
    reason: str
