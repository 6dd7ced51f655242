"""Objects in a reply of the form `json`: whatever stands around them, and however they are nested.

Only whole objects are given: where a reply was cut off, its outermost object may be open, and what was open inside it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from syphus.forms import loose_json
from syphus.forms.clean import without_thoughts
from syphus.forms.loose_json import Number, Object


def objects_with(text: str, member: str) -> list[list[dict[str, Any]]]:
    """Return the objects that have a member, for each JSON value of a text that holds any, in order."""
    values = loose_json.values(without_thoughts(text))
    found = [list(_with(_plain(value), member)) for value in values]
    return [objects for objects in found if objects]


def number(value: Any) -> float | None:
    """Return the number that a JSON value is, also one written as a string; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def _plain(value: Any) -> Any:
    """Turn what the tolerant reader gives into lists and dictionaries."""
    if isinstance(value, Object):
        return {name: _plain(item) for name, item in value.members if _is_whole(item)}
    if isinstance(value, list):
        return [_plain(item) for item in value if _is_whole(item)]
    return number(value) if isinstance(value, Number) else value


def _is_whole(value: Any) -> bool:
    return value.closed if isinstance(value, Object) else True


def _with(value: Any, member: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and member in value:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _with(item, member)
