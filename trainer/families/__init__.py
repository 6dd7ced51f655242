"""What a family of models needs to be taught: one file for each, found by the name that a recipe gives it.

A file here has the functions of `base.Family`; its line in FAMILIES is all that the rest of the trainer knows of it.
"""

from collections.abc import Callable
from typing import cast

from mimicit.errors import RecipeError
from trainer.families.base import Encoder, Family

__all__ = ["FAMILIES", "Encoder", "Family", "family"]


def _otter() -> Family:
    from trainer.families import otter

    return cast(Family, otter)


FAMILIES: dict[str, Callable[[], Family]] = {"otter": _otter}
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
