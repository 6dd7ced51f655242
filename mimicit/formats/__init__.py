"""Formats of others, one file each (see `base`).

To add a format, write a module with NAME, TITLE, `detect` and `read`, and `write` where it is one to write, and add it to `mimicit.format_names`.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mimicit.errors import FormatError
from mimicit.format_names import FORMATS
from mimicit.formats.base import (
    BadRow,
    Format,
    ReadOptions,
    Writable,
    WriteOptions,
    Written,
)

__all__ = [
    "FORMATS",
    "BadRow",
    "Format",
    "ReadOptions",
    "Writable",
    "WriteOptions",
    "Written",
    "format_named",
    "formats",
    "writable",
]


def formats() -> dict[str, Format]:
    return {name: cast(Format, import_module(f"mimicit.formats.{name}")) for name in FORMATS}


def format_named(name: str) -> Format:
    """Return a format.

    Raises:
        FormatError: there is none of this name.
    """
    if name not in FORMATS:
        raise FormatError(f"there is no format {name!r}; there are: {', '.join(FORMATS)}")
    return cast(Format, import_module(f"mimicit.formats.{name}"))


def writable(name: str) -> Writable:
    """Return a format that can be written.

    Raises:
        FormatError: there is none of this name, or it is only read.
    """
    found = format_named(name)
    if not hasattr(found, "write"):
        there = ", ".join(name for name, one in formats().items() if hasattr(one, "write"))
        raise FormatError(f"{name!r} is only read; written are: {there}")
    return cast(Writable, found)
