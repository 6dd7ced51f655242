"""Reply -> captions and boxes. Pure.

Boxes are wanted as shares of the picture's width and height. Some models write thousandths or pixels all the same; one reply is in one
convention, and it is told from all its boxes together:

    at least half of them lie within 0…1                          shares
    else all numbers ≤ 1000, and some lie outside the picture     thousandths
    else all lie inside the picture, and some number > 1000       pixels, of the picture as it was sent
    else                                                          unclear: the model is asked again, for shares

A box whose sides are the wrong way round is turned; one that is less than 2 % outside the picture is cut; one farther outside or
without an area is left out, with a remark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from syphus.annotations.context import Box, Thing
from syphus.errors import ReplyError
from syphus.forms.clean import clean, says_something
from syphus.json_reply import number, objects_with

MAX_CAPTIONS = 6
TOLERANCE = 0.02
"""Of the picture's width and height, by which a box may be outside."""
_MEMBERS = ("box", "bbox", "bbox_2d")

_Numbers = tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotation:
    captions: tuple[str, ...] = ()
    objects: tuple[Thing, ...] = ()
    remarks: tuple[str, ...] = ()
    """What was left out, and why."""


class UnclearBoxesError(ReplyError):
    """Keep what can be used all the same: the captions."""

    def __init__(self, reply: str, rest: Annotation) -> None:
        super().__init__(
            "its boxes are neither shares between 0 and 1 nor clearly anything else; a box is left, top, right, "
            "bottom, each divided by the picture's width or height",
            reply,
        )
        self.rest = rest


def read_annotation(text: str, size: tuple[int, int], *, finish_reason: str = "stop") -> Annotation:
    """Read what a model noted about a picture.

    Args:
        text: The reply.
        size: Width and height of the picture as the model was shown it, in pixels.
        finish_reason: "length" where the reply was cut off; what is whole is kept.

    Raises:
        ReplyError: there is no caption.
        UnclearBoxesError: there are, but nobody can tell what the boxes' numbers mean.
    """
    values = objects_with(text, "captions")
    if not values:
        raise ReplyError("it holds no JSON object with `captions`", text)
    noted = values[-1][0]
    captions = _captions(noted["captions"])
    if not captions:
        raise ReplyError("it has no caption", text)
    remarks = ["the reply was cut off; what was whole is kept"] if finish_reason == "length" else []
    named: list[tuple[str, _Numbers]] = []
    things = noted.get("objects")
    for thing in things if isinstance(things, list) else []:
        name, box = _thing(thing)
        if name and box:
            named.append((name, box))
        else:
            remarks.append(
                f"left out: {name or 'a thing without a name'} has no box of four numbers"
            )
    scale = _scale([box for _, box in named], size)
    if scale is None:
        remarks.append(f"{len(named)} boxes left out: it is unclear what their numbers mean")
        raise UnclearBoxesError(text, Annotation(captions, (), tuple(remarks)))
    objects = []
    for name, box in named:
        shares = _shares(box, scale)
        if shares:
            objects.append(Thing(name, shares))
        else:
            listed = ", ".join(f"{side:g}" for side in box)
            remarks.append(
                f"left out: the box [{listed}] of {name!r} is empty or outside the picture"
            )
    return Annotation(captions, tuple(objects), tuple(remarks))


def _captions(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    texts = [" ".join(clean(text).split()) for text in listed if isinstance(text, str)]
    return tuple(dict.fromkeys(text for text in texts if says_something(text)))[:MAX_CAPTIONS]


def _thing(value: Any) -> tuple[str, _Numbers | None]:
    if not isinstance(value, dict):
        return "", None
    name = value.get("name", value.get("label"))
    name = " ".join(clean(name).split()) if isinstance(name, str) else ""
    box = next((value[member] for member in _MEMBERS if member in value), None)
    sides = [number(side) for side in box] if isinstance(box, list) else []
    known = [side for side in sides if side is not None]
    if len(sides) != 4 or len(known) != 4:
        return name, None
    left, top, right, bottom = known
    return name, (left, top, right, bottom)


def _scale(boxes: Sequence[_Numbers], size: tuple[int, int]) -> tuple[float, float] | None:
    """Return what a reply's numbers are to be divided by; None where that is unclear."""
    shares = sum(_within(box, (1, 1)) for box in boxes)
    if 2 * shares >= len(boxes):
        return 1, 1
    in_picture = all(_within(box, size) for box in boxes)
    in_thousandths = all(0 <= side <= 1000 for box in boxes for side in box)
    if in_thousandths and not in_picture:
        return 1000, 1000
    if in_picture and not in_thousandths:
        return size
    return None


def _within(box: _Numbers, size: tuple[float, float]) -> bool:
    limits = (*size, *size)
    return all(
        -TOLERANCE * limit <= side <= (1 + TOLERANCE) * limit
        for side, limit in zip(box, limits, strict=True)
    )


def _shares(box: _Numbers, scale: tuple[float, float]) -> Box | None:
    """Return a box as shares, its corners in order; None if there is none in the picture."""
    if not _within(box, scale):
        return None
    width, height = scale
    across = sorted(_share(side / width) for side in (box[0], box[2]))
    down = sorted(_share(side / height) for side in (box[1], box[3]))
    if across[0] == across[1] or down[0] == down[1]:
        return None
    return across[0], down[0], across[1], down[1]


def _share(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 4)
