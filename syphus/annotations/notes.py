"""A context as data: the rows of our own JSONL files, and the `context` of a task's examples.

    {"id": "cat", "image": "cat.png", "captions": ["A cat asleep."], "objects": [{"name": "cat", "box": [0.1, 0.2, 0.9, 0.8]}]}
    {"id": "match", "video": "match.mp4", "segments": [{"start": 0, "end": 4.5, "text": "Two men shake hands."}]}
    {"id": "pair", "pictures": [{"name": "a.png", "captions": ["…"]}, {"name": "b.png", "captions": ["…"]}], "facts": {"place": "…"}}

`image` is short for one picture. Everything may be left out, except that a row of a file needs an `id`, an `image`, `pictures` or a `video`.
A box is left, top, right, bottom, as shares of the picture's width and height.
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from syphus.annotations.context import Box, Context, Picture, Segment, Thing


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False
    )


def _within(box: Box) -> Box:
    left, top, right, bottom = box
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError("a box is left, top, right, bottom as shares between 0 and 1")
    return box


class ThingNotes(_Strict):
    name: str
    box: Annotated[Box, AfterValidator(_within)]

    def thing(self) -> Thing:
        return Thing(self.name, self.box)


class PictureNotes(_Strict):
    name: str = ""
    captions: tuple[str, ...] = ()
    objects: tuple[ThingNotes, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)

    def picture(self) -> Picture:
        things = tuple(thing.thing() for thing in self.objects)
        return Picture(self.name, self.captions, things, self.facts)


class SegmentNotes(_Strict):
    text: str
    start: float | None = None
    end: float | None = None
    objects: tuple[str, ...] = ()

    def segment(self) -> Segment:
        return Segment(self.text, self.start, self.end, self.objects)


class Notes(_Strict):
    id: str | None = None
    image: str | None = None
    pictures: tuple[PictureNotes, ...] = ()
    video: str | None = None
    span: tuple[float, float] | None = None
    captions: tuple[str, ...] = ()
    objects: tuple[ThingNotes, ...] = ()
    segments: tuple[SegmentNotes, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_or_many(self) -> Notes:
        if self.image is not None and self.pictures:
            raise ValueError("`image` is short for one of `pictures`; give one of the two")
        return self

    def context(self, source: str) -> Context:
        """Make the context; a row without an id takes the name of its picture or video.

        Raises:
            ValueError: nothing to name it by.
        """
        pictures = tuple(notes.picture() for notes in self.pictures)
        if self.image is not None:
            pictures = (Picture(self.image),)
        named = self.id or _stem(self.video or "") or "_".join(_stem(p.name) for p in pictures)
        if not named:
            raise ValueError("it has no id, no picture and no video to be named by")
        return Context(
            id=named,
            pictures=pictures,
            captions=self.captions,
            objects=tuple(notes.thing() for notes in self.objects),
            segments=tuple(notes.segment() for notes in self.segments),
            facts=self.facts,
            video=self.video,
            span=self.span,
            source=source,
        )


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]
