"""A recipe: an ordered list of named filters with their parameters, as TOML.

name = "starter"

[[filter]]
use = "too_short"        # a name in FILTERS
words = 2                # its parameters

[[filter]]
keep = "length(answer) < 2000"     # or an SQL predicate over the columns of `instructions`
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimicit.curate.filters import FILTERS, quoted
from mimicit.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Filter:
    name: str
    expression: str
    """SQL; its value is the reason to drop a record, or NULL."""
    predicate: str | None = None
    """The recipe's own SQL inside the expression, if it has some."""


@dataclass(frozen=True)
class Recipe:
    name: str
    filters: tuple[Filter, ...]
    digest: str


def load_recipe(name_or_path: str) -> Recipe:
    """Read and check a shipped recipe by name, or a file.

    Raises:
        RecipeError: no such recipe, broken TOML, an unknown filter or parameter.
    """
    path = RECIPES / f"{name_or_path}.toml"
    if not path.exists():
        path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError):
        shipped = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise RecipeError(
            f"there is no recipe {name_or_path!r}; name a file, or one of: {shipped}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"the recipe {str(path)!r} is not valid TOML: {error}") from None

    unknown = set(raw) - {"name", "filter"}
    if unknown or not isinstance(raw.get("filter"), list):
        raise RecipeError(
            f"the recipe {str(path)!r} must hold `name` and [[filter]] tables"
            + (f", not {', '.join(sorted(unknown))}" if unknown else "")
        )
    filters = tuple(_filter(dict(entry), path, n) for n, entry in enumerate(raw["filter"], start=1))
    digest = hashlib.blake2b(json.dumps([f.expression for f in filters]).encode(), digest_size=8)
    return Recipe(str(raw.get("name", path.stem)), filters, digest.hexdigest())


def _filter(entry: dict[str, Any], path: Path, number: int) -> Filter:
    where = f"filter {number} of the recipe {str(path)!r}"
    if "keep" in entry:
        predicate, name = entry.pop("keep"), str(entry.pop("name", f"keep_{number}"))
        if entry or not isinstance(predicate, str):
            raise RecipeError(f"{where} takes `keep` (an SQL predicate) and `name` only")
        reason = quoted(f"not: {predicate}")
        expression = f"CASE WHEN NOT coalesce(({predicate}), false) THEN {reason} END"
        return Filter(name, expression, predicate)

    name = str(entry.pop("use", ""))
    if name not in FILTERS:
        close = difflib.get_close_matches(name, FILTERS, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(FILTERS)}"
        raise RecipeError(f"{where} uses {name!r}, which is no filter{meant}")
    label = str(entry.pop("name", name))
    parameters = inspect.signature(FILTERS[name]).parameters
    for key, value in entry.items():
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise RecipeError(f"{where}: {name!r} has no parameter {key!r} (it has: {known})")
        _check_type(value, str(parameters[key].annotation), f"{where}: {key!r}")
    try:
        return Filter(label, FILTERS[name](**entry))
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from None


def _check_type(value: object, annotation: str, where: str) -> None:
    """Let only what the filter declares reach its SQL."""
    if annotation == "int":
        good = type(value) is int
    elif annotation.startswith("Sequence[str]"):
        good = isinstance(value, list) and bool(value) and all(type(v) is str for v in value)
    else:
        good = value in ("instruction", "answer") or (value == "either" and "either" in annotation)
    if not good:
        raise RecipeError(f"{where} cannot be {value!r}; it is of type {annotation}")
