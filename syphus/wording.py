"""Mistakes in words that help: what was meant, where it stands, what to do."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def meant(said: str, known: Collection[str]) -> str:
    """Return `; did you mean …?`, or nothing if nothing known is close."""
    close = get_close_matches(said, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def first_error(error: ValidationError, known: Collection[str] = ()) -> str:
    """Say the first thing that is wrong: where, and what.

    Args:
        error: What pydantic found.
        known: Keys that may be meant by one that is not known.
    """
    first = error.errors()[0]
    loc, kind, said = list(first["loc"]), first["type"], first["msg"]
    if kind == "extra_forbidden":
        said = f"there is no key {loc[-1]!r}{meant(str(loc.pop()), known)}"
    elif kind == "missing":
        said = f"{loc.pop()!r} is missing"
    elif kind == "string_type":
        said = "it must be text; put it in quotes"
    where = _place(loc)
    said = said.removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _place(loc: list[str | int]) -> str:
    """Write ("pairs", 1, "answer") as `pairs 2, answer`: people count from one."""
    text = ""
    for part in loc:
        text += f" {part + 1}" if isinstance(part, int) else f"{', ' if text else ''}{part}"
    return text
