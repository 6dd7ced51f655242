"""Which share of the conversations is in which split, or which splitting of the dataset says it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mimicit.errors import DatasetError, FormatError
from mimicit.formats.base import WriteOptions

TRAIN = "train"


def is_split_name(name: str) -> bool:
    """Say whether a name can be a split's, and a file's."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) is not None


def shares(given: Iterable[str]) -> dict[str, float]:
    """Read NAME=SHARE, several times.

    Raises:
        FormatError: one of them is none, or a name is there twice.
    """
    found: dict[str, float] = {}
    for text in given:
        name, _, share = text.partition("=")
        try:
            number = float(share)
        except ValueError:
            raise FormatError(f"{text!r} is no NAME=SHARE, such as validation=0.05") from None
        if name in found:
            raise FormatError(f"the split {name!r} is named twice")
        found[name] = number
    return found


def ranges(options: WriteOptions) -> dict[str, tuple[float, float]]:
    """Cut 0 to 1 into the splits' shares; `train` gets what is left.

    Raises:
        FormatError: shares that cannot be, or a name that is no file's.
    """
    found = {TRAIN: (0.0, 2.0)}
    start = 0.0
    for name, share in options.splits.items():
        if name == TRAIN or not is_split_name(name):
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
    found[TRAIN] = (start, 2.0)
    return found


def stored(names: Iterable[str], splitting: str) -> list[str]:
    """Put the splits of a stored splitting in the order in which they are written: `train` is always there, and first.

    Raises:
        DatasetError: there is no such splitting.
        FormatError: a name is no file's.
    """
    there = sorted(names)
    if not there:
        raise DatasetError(
            f"there is no splitting {splitting!r}; make it with `syphus data split --name {splitting}`"
        )
    for name in there:
        if not is_split_name(name):
            raise FormatError(f"the split {name!r} of {splitting!r} has a name that is no file's")
    return [TRAIN, *(name for name in there if name != TRAIN)]
