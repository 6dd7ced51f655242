"""Regular expressions that are compiled when they are first needed: most replies need none of them, and starting takes less time."""

from __future__ import annotations

import re
from typing import Any, cast


class _Pattern:
    def __init__(self, source: str, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Return the compiled pattern's own, and keep it: the next call finds it at once."""
        found = getattr(re.compile(self._source, self._flags), name)
        setattr(self, name, found)
        return found


def lazily(source: str, flags: int = 0) -> re.Pattern[str]:
    """Return what behaves as a compiled pattern does."""
    return cast("re.Pattern[str]", _Pattern(source, flags))
