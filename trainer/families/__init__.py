"""What a family of models needs to be taught: one file for each, found by the name that a recipe gives it.

A file here has the functions of `base.Family`; its line in FAMILIES is all that the rest of the trainer knows of it. What several
share is in laying.py (rows) and saved.py (what is refused).
"""

from collections.abc import Callable
from typing import cast

from mimicit.errors import RecipeError
from trainer.families.base import Encoder, Family

__all__ = ["FAMILIES", "Encoder", "Family", "family"]


def _otter() -> Family:
    from trainer.families import otter

    return cast(Family, otter)


def _fuyu() -> Family:
    from trainer.families import fuyu

    return cast(Family, fuyu)


def _idefics() -> Family:
    from trainer.families import idefics

    return cast(Family, idefics)


FAMILIES: dict[str, Callable[[], Family]] = {"otter": _otter, "fuyu": _fuyu, "idefics": _idefics}
"""By the config's `model_type`."""


def family(name: str) -> Family:
    """Return the family of this name.

    Raises:
        RecipeError: it cannot be taught.
    """
    if name not in FAMILIES:
        raise RecipeError(
            f"models of the family {name!r} are not taught here; families are {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]()
