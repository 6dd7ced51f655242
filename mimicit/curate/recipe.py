"""A recipe: an ordered list of named filters with their parameters, as TOML or YAML.

name = "starter"
tasks = ["la_detail"]    # whose records it is about; left out, all of them

[[filter]]
use = "too_short"        # a name in FILTERS
words = 2                # its parameters

[[filter]]
where = "length(answer) < 2000"    # or what is to be true of a record, in SQL over the columns of `instructions`
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from mimicit.curate.base import Question, Sql, quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.plugins import known_filters
from mimicit.errors import RecipeError

if TYPE_CHECKING:
    import duckdb
    import pyarrow

RECIPES = Path(__file__).parent / "recipes"


_LOOKS_AROUND = re.compile(r"\b(select|from|over)\b", re.IGNORECASE)
"""In a predicate: it may say something else of a record when others change, so it is asked each time."""


@dataclass(frozen=True)
class Step:
    """A filter with its parameters."""

    name: str
    kind: Literal["row", "group"]
    reason: str
    """SQL: why a record is dropped, or NULL; of a group, a query of (record, reason, score)."""
    score: str = "NULL"
    measures: tuple[str, ...] = ()
    predicate: str | None = None
    """The recipe's own SQL inside the expression, if it has some."""
    ask: Question | None = None
    """What is asked in place of a query."""


@dataclass(frozen=True)
class Recipe:
    name: str
    steps: tuple[Step, ...]

    @property
    def digest(self) -> str:
        return _digest((step.name, step.reason, step.score) for step in self.steps)

    @property
    def rows_digest(self) -> str:
        """Of what is asked of one record at a time: what was said of a record stays, as long as this does."""
        versions = [MEASURES[name].version for name in self.measures]
        steps = [
            (n, step.name, step.reason, step.score)
            for n, step in enumerate(self.steps)
            if step.kind == "row"
        ]
        return _digest([versions, steps])

    @property
    def measures(self) -> list[str]:
        return sorted({name for step in self.steps for name in step.measures})


def _digest(said: Iterable[Any]) -> str:
    return hashlib.blake2b(json.dumps(list(said)).encode(), digest_size=8).hexdigest()


def load_recipe(name_or_path: str) -> Recipe:
    """Read and check a shipped recipe by name, or a file.

    Raises:
        RecipeError: no such recipe, broken TOML, an unknown filter or parameter.
    """
    path = RECIPES / f"{name_or_path}.toml"
    if "/" in name_or_path or not path.exists():
        path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = yaml.safe_load(text) if path.suffix in (".yaml", ".yml") else tomllib.loads(text)
    except (OSError, UnicodeDecodeError):
        shipped = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise RecipeError(
            f"there is no recipe {name_or_path!r}; name a file, or one of: {shipped}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"the recipe {str(path)!r} is not valid TOML: {error}") from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise RecipeError(f"the recipe {str(path)!r} is not valid YAML: {said}") from None

    raw = raw if isinstance(raw, dict) else {}
    unknown = set(raw) - {"name", "tasks", "filter"}
    entries = raw.get("filter")
    if unknown or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise RecipeError(
            f"the recipe {str(path)!r} must hold `name` and [[filter]] tables"
            + (f", not {', '.join(sorted(map(str, unknown)))}" if unknown else "")
        )
    steps = tuple(_step(dict(entry), path, n) for n, entry in enumerate(entries, start=1))
    names = [step.name for step in steps]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecipeError(
            f"the recipe {str(path)!r} has two filters called {twice[0]!r}; give one another `name`"
        )
    if "tasks" in raw:
        _check_type(raw["tasks"], "Sequence[str]", f"`tasks` of the recipe {str(path)!r}")
        steps = tuple(_among(step, raw["tasks"]) for step in steps)
    return Recipe(str(raw.get("name", path.stem)), steps)


def _step(entry: dict[str, Any], path: Path, number: int) -> Step:
    where = f"filter {number} of the recipe {str(path)!r}"
    for key in ("where", "keep"):
        if key in entry and "use" not in entry:
            return _of_predicate(key, entry, where, number)

    name = str(entry.pop("use", ""))
    filters = known_filters()
    if name not in filters:
        close = difflib.get_close_matches(name, filters, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(filters)}"
        raise RecipeError(f"{where} uses {name!r}, which is no filter{meant}")
    label = str(entry.pop("name", name))
    used = filters[name]
    make = used.make
    parameters = inspect.signature(make).parameters
    for key, value in entry.items():
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise RecipeError(f"{where}: {name!r} has no parameter {key!r} (it has: {known})")
        _check_type(value, str(parameters[key].annotation), f"{where}: {key!r}")
    try:
        made = make(**entry)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from None
    measures = (*used.measures, *getattr(made, "measures", ()))
    if not isinstance(made, str | Sql):
        return Step(label, used.kind, repr(made), measures=measures, ask=made)
    sql = made if isinstance(made, Sql) else Sql(made)
    return Step(label, used.kind, sql.reason, sql.score, measures)


def _among(step: Step, tasks: Iterable[str]) -> Step:
    """Return a step that is asked about the records of some tasks, and sees no others."""
    ours = f"task IN ({', '.join(map(quoted, tasks))})"
    if step.ask:
        asked = _Among(step.ask, ours)
        return replace(step, reason=repr(asked), ask=asked)
    if step.kind == "group":
        candidates = f"WITH candidates AS (SELECT * FROM temp.candidates WHERE {ours})"
        return replace(step, reason=f"{candidates} SELECT * FROM ({step.reason})")
    return replace(step, reason=f"CASE WHEN {ours} THEN ({step.reason}) END")


@dataclass(frozen=True)
class _Among:
    """A question that is asked about some of the candidates."""

    ask: Question
    ours: str

    @property
    def measures(self) -> tuple[str, ...]:
        return self.ask.measures

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        connection.execute("ALTER VIEW temp.candidates RENAME TO all_candidates")
        connection.execute(
            f"CREATE TEMP VIEW candidates AS SELECT * FROM all_candidates WHERE {self.ours}"
        )
        try:
            return self.ask(connection, kept)
        finally:
            connection.execute("DROP VIEW temp.candidates")
            connection.execute("ALTER VIEW temp.all_candidates RENAME TO candidates")


def _of_predicate(key: str, entry: dict[str, Any], where: str, number: int) -> Step:
    predicate, name = entry.pop(key), str(entry.pop("name", f"{key}_{number}"))
    if entry or not isinstance(predicate, str):
        raise RecipeError(f"{where} takes `{key}` (an SQL predicate) and `name` only")
    reason, fails = quoted(f"not: {predicate}"), f"NOT coalesce(({predicate}), false)"
    if _LOOKS_AROUND.search(predicate):
        query = (
            f"SELECT id, {reason} AS reason, NULL AS score "
            f"FROM (SELECT id, {fails} AS fails FROM candidates) WHERE fails"
        )
        return Step(name, "group", query, predicate=predicate)
    return Step(name, "row", f"CASE WHEN {fails} THEN {reason} END", predicate=predicate)


def _check_type(value: object, annotation: str, where: str) -> None:
    """Let only what the filter declares reach its SQL."""
    if annotation == "int":
        good = type(value) is int
    elif annotation == "float":
        good = type(value) in (int, float)
    elif annotation == "bool":
        good = type(value) is bool
    elif annotation == "str":
        good = type(value) is str
    elif annotation.startswith("Sequence[str]"):
        good = isinstance(value, list) and bool(value) and all(type(v) is str for v in value)
    else:
        good = value in ("instruction", "answer") or (value == "either" and "Either" in annotation)
    if not good:
        raise RecipeError(f"{where} cannot be {value!r}; it is of type {annotation}")
