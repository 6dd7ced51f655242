"""From a recipe's TOML, and `--set section.key=value`, to the settings of `trainer.config`, each key and type checked.

A key without a setting is refused, with the nearest that there is, and the line of the file where it stands; so are settings that
cannot go together. `trainer.recipe_text` is the way back, from settings to TOML.
"""

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mimicit.errors import RecipeError
from trainer.config import TrainConfig

RECIPES = Path(__file__).parent / "recipes"


def read_recipe(recipe: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe, by name or path, and apply overrides such as `optim.lr=1e-3`.

    Raises:
        RecipeError: no such recipe, an unknown key, a value of the wrong type, or an impossible combination.
    """
    path = find_recipe(recipe)
    source = path.read_text(encoding="utf-8")
    try:
        table = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{str(path)!r} is not TOML: {error}") from None
    from_command_line = {_override(table, text) for text in overrides}

    def place(key: str) -> str:
        if any(one == key or one.startswith(f"{key}.") for one in from_command_line):
            return "--set"
        line = _line_of(source, key)
        return f"{path.name}, line {line}" if line else path.name

    return _build(TrainConfig, table, (), place)  # type: ignore[no-any-return]


def find_recipe(recipe: str) -> Path:
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        raise RecipeError(
            f"there is no recipe {recipe!r}; give the path of a .toml file, or one of: {names}"
        )
    return path


def _build(cls: Any, table: dict[str, Any], above: tuple[str, ...], place: Any) -> Any:
    """Turn a TOML table into a dataclass, checking every key and type on the way."""
    hints = typing.get_type_hints(cls)
    values = {}
    for name, value in table.items():
        key = ".".join((*above, name))
        if name not in hints:
            raise RecipeError(f"{place(key)}: there is no setting {key!r}{_suggest(key, cls)}")
        if named := _named(hints[name]):
            if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
                raise RecipeError(
                    f"{place(key)}: {key!r} holds sections with names of their own, [{key}.NAME]"
                )
            values[name] = {
                one: _build(named, table, (*above, name, one), place)
                for one, table in value.items()
            }
        elif kinds := _sections(hints[name]):
            if not isinstance(value, dict):
                raise RecipeError(f"{place(key)}: {key!r} is a section, not the value {value!r}")
            kind = _kind(kinds, value, key, place)
            values[name] = _build(kind, value, (*above, name), place)
        else:
            values[name] = _checked(hints[name], value, key, place)
    for missing in dataclasses.fields(cls):
        if missing.name not in values and _is_required(missing):
            key = ".".join((*above, missing.name))
            raise RecipeError(f"{place('.'.join(above))}: the setting {key!r} is missing")
    try:
        return cls(**values)
    except RecipeError as error:
        raise RecipeError(_placed(str(error), cls, above, place)) from None


def _placed(said: str, cls: Any, above: tuple[str, ...], place: Any) -> str:
    """Say where it stands what cannot be: at the first setting that is named and written in the recipe, else at its section."""
    section = ".".join(above)
    if above[:-1] == ("data", "groups"):
        said = said.replace("data.groups.", f"{section}.")
    keys = [f"{section}.{key}".lstrip(".") for key in _keys(cls)]
    found = [(re.search(rf"{re.escape(key)}(?!\w)", said), key) for key in keys]
    # In the order in which they are named; of `model.text` and `model.text.hidden_size` at one place the longer one.
    named = sorted((match.start(), -len(key), key) for match, key in found if match)
    places = [place(key) for *_, key in named]
    written = [one for one in places if one == "--set" or ", line " in one]
    return f"{(written or [place(section)])[0]}: {said}"


def _sections(hint: Any) -> list[Any]:
    """Return the kinds of section that a setting may be; none where it is a value."""
    return [arm for arm in kinds_of(hint) if dataclasses.is_dataclass(arm)]


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Return the kinds of value that a setting may be."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _named(hint: Any) -> Any:
    """Return the kind of sections that stand below a setting under names of their own, if it is such a setting."""
    return typing.get_args(hint)[1] if typing.get_origin(hint) is dict else None


def _kind(kinds: Sequence[Any], table: dict[str, Any], key: str, place: Any) -> Any:
    """Tell by its keys which kind a section is: a model of a family is described, or it is there already."""
    if len(kinds) == 1:
        return kinds[0]
    *described_ones, saved = kinds
    families = [one for one in described_ones if "family" in typing.get_type_hints(one)]
    if not families:  # a part: of its own sizes, or there already
        return _start_or(described_ones[0], saved, table, key, place)
    by_name = {typing.get_args(typing.get_type_hints(one)["family"])[0]: one for one in families}
    name = table.get("family", next(iter(by_name)))
    if not isinstance(name, str) or name not in by_name:
        raise RecipeError(
            f"{place(f'{key}.family')}: {key}.family must be one of {', '.join(map(repr, by_name))}, not {name!r}"
        )
    return _start_or(by_name[name], saved, table, key, place)


def _start_or(described: Any, saved: Any, table: dict[str, Any], key: str, place: Any) -> Any:
    """Tell whether a section describes something, or names where to start from."""
    if "start" not in table:
        return described
    if beside := [name for name in table if name in typing.get_type_hints(described)]:
        instead = (
            ", or start from a recipe that describes no model, such as otter_tune"
            if key == "model"
            else ""
        )
        raise RecipeError(
            f"{place(f'{key}.start')}: {key}.start names a saved model, which is what it is already; leave out "
            f"{', '.join(f'{key}.{name}' for name in beside[:3])}{' …' if len(beside) > 3 else ''}{instead}"
        )
    return saved


def _checked(hint: Any, value: Any, key: str, place: Any) -> Any:
    """Return a value of the hinted type; a whole number may stand for a float."""
    arms = kinds_of(hint)
    for arm in arms:
        if typing.get_origin(arm) is tuple:
            if place(key) == "--set" and not isinstance(value, list):
                said = [part.strip() for part in str(value).split(",") if part.strip()]
                is_whole = typing.get_args(arm)[0] is int
                value = [int(part) if is_whole and part.isdecimal() else part for part in said]
            if isinstance(value, list):
                return tuple(_checked(typing.get_args(arm)[0], item, key, place) for item in value)
            continue
        if typing.get_origin(arm) is Literal:
            if value in typing.get_args(arm):
                return value
        elif arm is float and type(value) is int:
            return float(value)
        elif type(value) is arm and not (arm is float and not math.isfinite(value)):
            return value
    wanted = " or ".join(_describe(arm) for arm in arms if arm is not types.NoneType)
    raise RecipeError(f"{place(key)}: {key!r} must be {wanted}, not {value!r}")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a list, each {_describe(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]


def _override(table: dict[str, Any], text: str) -> str:
    """Set one `a.b=value` in the table, and return its key."""
    key, equals, raw = (part.strip() for part in text.partition("="))
    if not (key and equals):
        raise RecipeError(f"--set {text!r} is not of the form section.key=value")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a text does not need quotes on the command line
    *sections, name = key.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(
                f"--set: {key!r} goes below a value that is not a section{_suggest(key)}"
            )
    table[name] = value
    return key


_PART = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_PATH = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\s*({_PATH})\s*\]")
_WRITTEN = re.compile(rf"\s*({_PATH})\s*=")


def _line_of(source: str, key: str) -> int | None:
    """Find where a recipe writes a key, or opens a section."""
    section: tuple[str, ...] = ()
    for number, line in enumerate(source.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = here = _names(header[1])
        elif written := _WRITTEN.match(line):
            here = (*section, *_names(written[1]))
        else:
            continue
        if ".".join(here) == key or (_holds(here, key) and not header):
            return number
    return None


def _holds(here: tuple[str, ...], key: str) -> bool:
    """Tell whether a line such as `text = {hidden_size = 64}` holds the key."""
    return key.startswith(".".join(here) + ".")


def _names(path: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, path))


def _suggest(key: str, cls: Any = None) -> str:
    """Name the nearest settings: of the section where the key stands first, then of all."""
    if key in _keys(TrainConfig):
        return "; models of another family have it"
    section, _, name = key.rpartition(".")
    here = [] if cls is None else list(typing.get_type_hints(cls))
    if close := difflib.get_close_matches(name, here, n=2):
        close = [f"{section}.{one}".lstrip(".") for one in close]
    else:
        close = difflib.get_close_matches(key, list(_keys(TrainConfig)), n=2)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _keys(cls: Any, above: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(cls).items():
        yield above + name
        if named := _named(hint):
            yield from _keys(named, f"{above}{name}.NAME.")
        for kind in _sections(hint):
            yield from _keys(kind, f"{above}{name}.")


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
