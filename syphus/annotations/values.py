"""Single values out of other people's rows. Whatever is wrong with one is a ValueError that says so."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from syphus.annotations.base import BOXES
from syphus.annotations.context import Box, Segment, Thing

T = TypeVar("T")

BAD_ROW = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading a row of the wrong shape may raise."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


def explain(error: Exception) -> str:
    """Say in a sentence what was wrong with a row."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, ValueError):
        return str(error)
    return "it has another shape than the rows of this format"


def sift(
    values: Iterable[Any], convert: Callable[[Any], T], what: str
) -> tuple[list[T], list[str]]:
    """Convert what can be converted, and say what is wrong with the rest."""
    good, reasons = [], []
    for number, value in enumerate(values):
        try:
            good.append(convert(value))
        except BAD_ROW as error:
            reasons.append(f"{what} {number}: {explain(error)}")
    return good, reasons


def text(value: Any) -> str:
    """Return a sentence on one line."""
    plain = " ".join(_CONTROL.sub(" ", _whole(value)).split())
    if not plain:
        raise ValueError("the text is empty")
    return plain


def file_name(value: Any) -> str:
    """Return the name of a picture or video as it is."""
    if not _whole(value).strip():
        raise ValueError("the name is empty")
    if _CONTROL.search(value):
        raise ValueError(f"{_short(value)} is no name")
    return str(value)


def _whole(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_short(value)} is not a text")  # noqa: TRY004 - one kind for all
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("the text holds half a character")
    return value


def identifier(value: Any) -> str:
    """Return an id, which may be a number, as a text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def optional(value: Any) -> str:
    """Return a text, or nothing where there is none."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_short(value)} is not an object")  # noqa: TRY004
    return value


def sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_short(value)} is not a list")  # noqa: TRY004
    return value


def number(value: Any) -> float:
    """Return a finite number."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{_short(value)} is not a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{_short(value)} is not a finite number")
    return result


def seconds(value: Any) -> float:
    """Return a time as seconds, from a number or from "HH:MM:SS.fff"."""
    clock = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if clock is None:
        return number(value)
    hours, minutes, rest = int(clock[1] or 0), int(clock[2]), float(clock[3])
    if minutes >= 60 or rest >= 60:
        raise ValueError(f"{value!r} is not a time")
    return number(hours * 3600 + minutes * 60 + rest)


def stretch(start: Any, end: Any) -> tuple[float, float]:
    """Return two times in their order; what lies before the video's beginning is cut there."""
    first, last = sorted((seconds(start), seconds(end)))
    if last < 0:
        raise ValueError(f"the time {last:g} lies before the video's beginning")
    return max(first, 0.0), last


def in_order(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Sort by time, each only once."""
    seen = dict.fromkeys(segments)
    return tuple(sorted(seen, key=lambda s: math.inf if s.start is None else s.start))


def thing(name: Any, sides: Any, boxes: str = "xyxy", width: Any = 1.0, height: Any = 1.0) -> Thing:
    return Thing(text(name), box(sides, boxes, width, height))


def size(width: Any, height: Any) -> tuple[float, float]:
    """Return a picture's size in pixels."""
    wide, high = number(width), number(height)
    if wide <= 0 or high <= 0:
        raise ValueError(f"a picture of {wide:g}×{high:g} pixels")
    return wide, high


def box(sides: Any, boxes: str = "xyxy", width: Any = 1.0, height: Any = 1.0) -> Box:
    """Return a box as shares of the picture, cut at its edge.

    Args:
        sides: Four numbers.
        boxes: What they are, one of BOXES.
        width: The picture's, where the box is in pixels.
        height: Likewise.
    """
    assert boxes in BOXES
    left, top, right, bottom = _four(sides)
    if boxes.startswith("xywh"):
        right, bottom = left + right, top + bottom
    _require_size(right - left, bottom - top)
    wide, high = size(width, height) if boxes.endswith("pixels") else (1.0, 1.0)
    shares = (left / wide, top / high, right / wide, bottom / high)
    if shares[0] > 1 or shares[1] > 1 or shares[2] < 0 or shares[3] < 0:
        hint = "" if boxes.endswith("pixels") else " (in pixels? see --boxes)"
        raise ValueError(f"the box lies outside the picture{hint}")
    left, top, right, bottom = (min(max(share, 0.0), 1.0) for share in shares)
    return left, top, right, bottom


def corner_and_size(sides: Any) -> tuple[float, float, float, float]:
    """Return left, top, width and height, of a picture whose size is not known yet."""
    left, top, width, height = _four(sides)
    _require_size(width, height)
    return left, top, width, height


def _four(sides: Any) -> list[float]:
    if len(sequence(sides)) != 4:
        raise ValueError(f"a box of {len(sides)} numbers")
    return [number(side) for side in sides]


def _require_size(width: float, height: float) -> None:
    if width < 0 or height < 0:
        raise ValueError(f"a box of {width:g}×{height:g}")


def stem(name: str) -> str:
    """Return a file's name without folder and suffix."""
    return posixpath.splitext(posixpath.basename(name))[0]


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:39]}…"
