"""Convert-It: the pictures and videos of public data sets, into a dataset folder, under the ids that MIMIC-IT gives them.

A source is one module (`mimicit.sources.base`) and one line below. What is found is decoded, checked and stored by
`mimicit.sources.converting`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from mimicit.errors import FormatError

if TYPE_CHECKING:
    from mimicit.sources.base import Source

SOURCES = ("la", "sd", "cgd", "sn", "dc", "vst", "tvc", "e4d", "folder", "list", "videos")
"""Modules of this package, by the names that users type."""


@cache
def source_named(name: str) -> Source:
    """Return a source by its name, in letters of any size.

    Raises:
        FormatError: there is none of this name; the message names all.
    """
    if name.lower() not in SOURCES:
        raise FormatError(f"there is no source {name!r}; there are {', '.join(SOURCES)}")
    return cast("Source", import_module(f"mimicit.sources.{name.lower()}"))
