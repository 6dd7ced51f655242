"""What a splitting is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mimicit.errors import FormatError
from mimicit.formats.base import WriteOptions
from mimicit.formats.splits import is_split_name, ranges
from mimicit.splits.links import Joins

STRATA = {
    "task": "i.task",
    "language": "i.language",
    "source": "split_part(i.source, '#', 1)",
    "none": "''",
}
"""What shares are met within -> its value of a record `i`, in SQL; a source is a file, without its row."""


MOST = 30
"""Splits beside `train`. Each is a bit of a number, and so are those that were there before."""


@dataclass(frozen=True, slots=True)
class SplitOptions:
    shares: Mapping[str, float] = field(default_factory=dict)
    """Name -> share of the records, beside `train`, which gets the rest."""
    name: str = "default"
    """Of the splitting."""
    seed: int = 0
    """Another one draws other components."""
    where: str = "true"
    """An SQL predicate over `accepted`."""
    stratify: str = "task"
    """One of STRATA."""
    joins: Joins = field(default_factory=Joins)
    anew: bool = False
    """Forget what was assigned under this name."""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            FormatError: shares that cannot be, or a name that is none.
        """
        ranges(WriteOptions(splits=self.shares))
        if not is_split_name(self.name):
            raise FormatError(
                f"a splitting cannot be called {self.name!r}: use letters, digits, - and _"
            )
        if len(self.shares) > MOST:
            raise FormatError(f"there cannot be more than {MOST} splits beside `train`")
        if self.stratify not in STRATA:
            raise FormatError(
                f"there is no {self.stratify!r} to meet shares within; name one of {', '.join(STRATA)}"
            )
