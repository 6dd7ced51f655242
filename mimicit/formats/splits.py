"""Which share of the conversations is in which split."""

from __future__ import annotations

import re

from mimicit.errors import FormatError
from mimicit.formats.base import WriteOptions


def ranges(options: WriteOptions) -> dict[str, tuple[float, float]]:
    """Cut 0 to 1 into the splits' shares; `train` gets what is left.

    Raises:
        FormatError: shares that cannot be, or a name that is no file's.
    """
    found = {"train": (0.0, 2.0)}
    start = 0.0
    for name, share in options.splits.items():
        if name == "train" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise FormatError(
                f"{name!r} cannot be a split beside `train`: use letters, digits, - and _"
            )
        if not 0 < share < 1:
            raise FormatError(
                f"the split {name!r} has the share {share}; it must lie between 0 and 1"
            )
        found[name] = (start, start + share)
        start += share
    if start >= 1:
        raise FormatError(
            f"the splits take {start:g} of the conversations and leave none to `train`"
        )
    found["train"] = (start, 2.0)
    return found
