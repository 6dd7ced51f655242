"""From settings back to TOML: every one of them, with what it means above it. What is printed is a recipe that says the same.

A setting that is absent has no value in TOML, so it stands there as a comment: `# data.yaml is absent`.
"""

import ast
import dataclasses
import functools
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any

from trainer.config import TrainConfig
from trainer.recipe import RECIPES, kinds_of

WIDTH = 110
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(config: TrainConfig) -> str:
    """Write all settings as a recipe; `read_recipe` reads them back as they are."""
    return "\n".join(_section(config, ())).strip() + "\n"


def shipped() -> Iterator[tuple[str, str]]:
    """Return the names of the shipped recipes, and the first sentence of each."""
    for path in sorted(RECIPES.glob("*.toml")):
        head = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            head.append(line.removeprefix("#").strip())
        first, stop, _ = " ".join(head).partition(". ")
        yield path.stem, first + stop.strip()


def _section(settings: Any, above: tuple[str, ...]) -> Iterator[str]:
    kind: Any = type(settings)
    said = _docstrings(kind)
    hints = typing.get_type_hints(kind)
    below = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) or isinstance(value, dict):
            below.append((field.name, value))
            continue
        yield from _comment(said.get(field.name, ""), hints[field.name])
        yield (f"# {field.name} is absent" if value is None else f"{field.name} = {_value(value)}")
    for name, value in below:
        path = (*above, name)
        if isinstance(value, dict):
            for one, inner in value.items():
                yield from _headed(inner, (*path, one))
        else:
            yield from _headed(value, path)


def _headed(settings: Any, path: tuple[str, ...]) -> Iterator[str]:
    yield ""
    yield f"[{'.'.join(map(_key, path))}]"
    yield from _section(settings, path)


def _comment(said: str, hint: Any) -> Iterator[str]:
    choices = [repr(c) for arm in kinds_of(hint) for c in _choices(arm)]
    text = " ".join(said.split())
    if len(choices) > 1:
        text = f"{text} One of {', '.join(choices)}.".strip()
    yield from textwrap.wrap(
        text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
    )


def _choices(arm: Any) -> tuple[Any, ...]:
    if typing.get_origin(arm) is tuple:
        arm = typing.get_args(arm)[0]
    return typing.get_args(arm) if typing.get_origin(arm) is typing.Literal else ()


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the one control character that JSON lets stand.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


@functools.cache
def _docstrings(cls: type) -> dict[str, str]:
    """Return what stands below each field of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=said)):
                found[name] = str(said)
    return found
