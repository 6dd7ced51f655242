"""A context as the dataset keeps it, so that answers can be held against what people said (`mimicit.schema.Annotation`). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mimicit.schema import Annotation
from mimicit.schema import Thing as Kept
from syphus.annotations.context import Context, Thing


def annotations_of(context: Context, image_ids: Sequence[str]) -> list[Annotation]:
    """Return what a context says of each of its pictures, and of all of them together.

    Args:
        context: Its pictures, where it names some, are those of `image_ids`, in order.
        image_ids: Of the pictures in the dataset; without any there is nothing to speak of.
    """
    if not image_ids:
        return []
    kept = [
        Annotation((id_,), picture.captions, _things(picture.objects), context.source)
        for id_, picture in zip(image_ids, context.pictures, strict=False)
        if picture.captions or picture.objects
    ]
    captions = context.captions + tuple(segment.text for segment in context.segments)
    things = _things(context.objects) + tuple(
        Kept(name) for segment in context.segments for name in segment.objects
    )
    if not captions and not things:
        return kept
    together = Annotation(tuple(image_ids), captions, things, context.source)
    if len(kept) == len(image_ids) == 1:
        [one] = kept
        return [
            one._replace(captions=one.captions + captions, objects=one.objects + together.objects)
        ]
    return [*kept, together]


def _things(things: Sequence[Thing]) -> tuple[Kept, ...]:
    return tuple(Kept(thing.name, thing.box) for thing in things)
