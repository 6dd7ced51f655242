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
import reprlib
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from mimicit.curate.base import Question, Sql, quoted
from mimicit.curate.filters import MEASURES
from mimicit.curate.plugins import known_filters
from mimicit.errors import RecipeError
from mimicit.schema import REVIEWERS

if TYPE_CHECKING:
    import duckdb
    import pyarrow

RECIPES = Path(__file__).parent / "recipes"


MAX_BYTES = 1 << 20
"""Of a recipe."""
MAX_NAME = 100
"""Characters."""
_OTHERS = ("judge:", REVIEWERS)
"""How the names begin under which others give verdicts: a recipe of such a name would take the place of theirs."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What SQL cannot hold: YAML can write halves of characters."""
_SHORT = reprlib.Repr()
"""A few lines of YAML may stand for more values than fit into memory, so a message shows some."""
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80
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
    raw = _parsed(_text(path, name_or_path), path)
    raw = raw if isinstance(raw, dict) else {}
    unknown = set(raw) - {"name", "tasks", "filter"}
    entries = raw.get("filter")
    if unknown or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise RecipeError(
            f"the recipe {str(path)!r} must hold `name` and [[filter]] tables"
            + (f", not {', '.join(sorted(map(_SHORT.repr, unknown))[:5])}" if unknown else "")
        )
    steps = tuple(_step(dict(entry), path, n) for n, entry in enumerate(entries, start=1))
    names = [step.name for step in steps]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise RecipeError(
            f"the recipe {str(path)!r} has two filters called {twice[0]!r}; give one another `name`"
        )
    if "tasks" in raw:
        where = f"`tasks` of the recipe {str(path)!r}"
        if not isinstance(raw["tasks"], list):
            raise RecipeError(f"{where} cannot be {_SHORT.repr(raw['tasks'])}; it is a list")
        tasks = _given(raw["tasks"], "Sequence[str]", where)
        steps = tuple(_among(step, tasks) for step in steps)
    name = _name(raw.get("name", path.stem), f"the recipe {str(path)!r}")
    if name.startswith(_OTHERS):
        raise RecipeError(
            f"the recipe {str(path)!r} cannot be called {name!r}: under such names judges and people give verdicts"
        )
    return Recipe(name, steps)


def _text(path: Path, given: str) -> str:
    """Return what is in a recipe's file.

    Raises:
        RecipeError: there is none, or it is no text of a recipe's size.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        shipped = sorted(file.stem for file in RECIPES.glob("*.toml"))
        known = _meant(given, shipped, f"name a file, or one of: {', '.join(shipped)}")
        raise RecipeError(f"there is no recipe {given!r}; {known}") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"the recipe {str(path)!r} is larger than {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"the recipe {str(path)!r} is no text in UTF-8") from None


def _parsed(text: str, path: Path) -> Any:
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    try:
        return yaml.safe_load(text) if is_yaml else tomllib.loads(text)
    except RecursionError:
        raise RecipeError(f"the recipe {str(path)!r} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # a broken date or number is a ValueError
        kind, said = "YAML" if is_yaml else "TOML", " ".join(str(error).split())
        raise RecipeError(f"the recipe {str(path)!r} is not valid {kind}: {said}") from None


def _name(value: object, where: str) -> str:
    """Return a name as it is given: it is printed, and verdicts are stored under it."""
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_NAME):
        raise RecipeError(
            f"{where} has the `name` {_SHORT.repr(value)}; it is a text of one line, of up to {MAX_NAME} characters"
        )
    return value


def _meant(name: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name[:MAX_NAME], known, n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def _step(entry: dict[str, Any], path: Path, number: int) -> Step:
    where = f"filter {number} of the recipe {str(path)!r}"
    for key in ("where", "keep"):
        if key in entry and "use" not in entry:
            return _of_predicate(key, entry, where, number)

    name = entry.pop("use", "")
    filters = known_filters()
    if not isinstance(name, str) or name not in filters:
        meant = _meant(str(name)[:MAX_NAME], filters, f"there are: {', '.join(filters)}")
        raise RecipeError(f"{where} uses {_SHORT.repr(name)}, which is no filter; {meant}")
    label = _label(entry.pop("name", name), where)
    used = filters[name]
    make = used.make
    parameters = inspect.signature(make).parameters
    given = {}
    for key, value in entry.items():
        if key not in parameters:
            known = _meant(str(key), parameters, f"it has: {', '.join(parameters) or 'none'}")
            raise RecipeError(f"{where}: {name!r} has no parameter {_SHORT.repr(key)}; {known}")
        given[key] = _given(value, str(parameters[key].annotation), f"{where}: {key!r}")
    try:
        made = make(**given)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from None
    measures = (*used.measures, *getattr(made, "measures", ()))
    if not isinstance(made, str | Sql):
        return Step(label, used.kind, repr(made), measures=measures, ask=made)
    sql = made if isinstance(made, Sql) else Sql(made)
    return Step(label, used.kind, sql.reason, sql.score, measures)


def _label(value: object, where: str) -> str:
    """Return what a filter's verdicts are called; `error` is what those are called on records on which a filter fails."""
    name = _name(value, where)
    if name == "error":
        raise RecipeError(f"{where} cannot be called 'error'; give it another `name`")
    return name


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
    predicate, name = entry.pop(key), _label(entry.pop("name", f"{key}_{number}"), where)
    if entry or not _is_text(predicate):
        raise RecipeError(f"{where} takes `{key}` (an SQL predicate) and `name` only")
    reason, fails = quoted(f"not: {predicate}"), f"NOT coalesce(({predicate}), false)"
    if _LOOKS_AROUND.search(predicate):
        query = (
            f"SELECT id, {reason} AS reason, NULL AS score "
            f"FROM (SELECT id, {fails} AS fails FROM candidates) WHERE fails"
        )
        return Step(name, "group", query, predicate=predicate)
    return Step(name, "row", f"CASE WHEN {fails} THEN {reason} END", predicate=predicate)


def _given(value: Any, annotation: str, where: str) -> Any:
    """Return a parameter's value, and let only what the filter declares reach its SQL.

    An integer may stand for a number with a point, and a text for a list of one.
    """
    if annotation == "int":
        good = type(value) is int and abs(value) < 1 << 63
    elif annotation == "float":
        good = type(value) in (int, float) and abs(value) < 1e300
    elif annotation == "bool":
        good = type(value) is bool
    elif annotation == "str":
        good = _is_text(value)
    elif annotation.startswith("Sequence[str]"):
        value = [value] if isinstance(value, str) else value
        good = isinstance(value, list) and bool(value) and all(map(_is_text, value))
    else:
        good = value in ("instruction", "answer") or (value == "either" and "Either" in annotation)
    if not good:
        raise RecipeError(f"{where} cannot be {_SHORT.repr(value)}; it is of type {annotation}")
    return value


def _is_text(value: object) -> bool:
    """Say whether it is a text that SQL can hold."""
    return isinstance(value, str) and not _NO_TEXT.search(value)
