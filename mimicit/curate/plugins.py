"""Filters that other packages bring, found by entry point; docs/curation-own-filters.md shows how to write one.

    [project.entry-points."mimicit.filters"]
    no_brands = "my_filters:no_brands"

    @record_filter(reads=["answer"])
    def no_brands(record, *, brands: Sequence[str] = ("Acme",)) -> str | None: ...

A recipe may be a stranger's, so it names filters and never code: what runs was installed by the user. Names are looked up without
loading anything; a package is imported when a recipe uses a filter of it.

A function of one record becomes a filter of one record over a measure of its own: asked once about each record, and again when its
parameters, the file that it is in, or the version of its package change. One that raises on a record is told from one that drops it, and SQL
that fails there gives that record the verdict `error`. The measure joins the table MEASURES when a recipe first needs it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.curate.base import Columns, Filter, Measure, Question, Sql, Table
from mimicit.curate.filters import FILTERS, MEASURES
from mimicit.errors import RecipeError
from mimicit.schema import InstructionRow

if TYPE_CHECKING:
    import pyarrow

FILTER_GROUP, MEASURE_GROUP = "mimicit.filters", "mimicit.measures"
READS = ("id", "task", "instruction", "answer", "image_ids", "language")
"""What a function is given of a record, if it does not say."""
TYPES = ("int", "float", "bool", "str", "Sequence[str]", "Field", "Either")
"""Of parameters."""
_TAKEN = ("name", "use", "where", "keep")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_MOST = 500
"""Characters of a reason."""

Said = str | tuple[str | None, float | None] | None
"""A reason to drop a record, or None; perhaps with what was measured."""


@dataclass(frozen=True)
class RecordFilter:
    """A function of one record, which can still be called as one."""

    function: Callable[..., Said]
    reads: tuple[str, ...] = READS

    def __call__(self, record: Mapping[str, Any], **parameters: Any) -> Said:
        return self.function(record, **parameters)


def record_filter(
    function: Callable[..., Said] | None = None, *, reads: Sequence[str] = READS
) -> Any:
    """Make a function of one record a filter; its keyword parameters are the filter's.

    Args:
        function: Takes a record as a mapping, and returns a reason, or None, or a reason and a score.
        reads: Columns of `instructions` that it is given; fewer are faster.
    """
    if function is None:
        return lambda one: RecordFilter(one, tuple(reads))
    return RecordFilter(function, tuple(reads))


@dataclass(frozen=True, slots=True)
class MeasuredSql(Sql):
    """What a filter says in SQL over measures that depend on its parameters."""

    measures: tuple[str, ...] = ()


class KnownFilters(Mapping[str, Filter]):
    """The toolkit's own filters and those of other packages, which are loaded when they are asked for."""

    def __getitem__(self, name: str) -> Filter:
        """Return a filter.

        Raises:
            KeyError: there is none of this name.
            RecipeError: it cannot be loaded, or two packages have one of this name.
        """
        found = _found(FILTER_GROUP).get(name, [])
        _check_alone(name, "filter", found, name in FILTERS)
        return FILTERS[name] if name in FILTERS else _loaded(name, found[0])

    def __contains__(self, name: object) -> bool:
        return name in FILTERS or name in _found(FILTER_GROUP)

    def __iter__(self) -> Iterator[str]:
        yield from FILTERS
        yield from (name for name in _found(FILTER_GROUP) if name not in FILTERS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def known_filters() -> KnownFilters:
    return KnownFilters()


def known_measure(name: str) -> Measure | Table:
    """Return a measure, and have it in MEASURES.

    Raises:
        RecipeError: there is none, it cannot be loaded, or two packages have one of this name.
    """
    found = _found(MEASURE_GROUP).get(name, [])
    if name not in MEASURES:
        if not found:
            raise RecipeError(
                f"there is no measure {name!r}; a package names its own under {MEASURE_GROUP!r}"
            )
        measure = _imported(name, "measure", found[0])
        if not isinstance(measure, Measure | Table):
            raise _unusable(name, "measure", found[0], "it is no Measure and no Table")
        _check_alone(name, "measure", found, False)
        _theirs[name] = found[0].value
        MEASURES[name] = measure
    elif name not in _theirs:
        _check_alone(name, "measure", found, True)
    return MEASURES[name]


_theirs: dict[str, str] = {}
"""Measures of other packages that are in MEASURES."""


# Entry points


def _found(group: str) -> dict[str, list[EntryPoint]]:
    return _found_on(group, tuple(sys.path))


@functools.cache
def _found_on(group: str, path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Return entry points by name; one that a package is found to have twice counts once."""
    by_name: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        same = by_name.setdefault(point.name, [])
        if (point.value, _package(point)) not in [(one.value, _package(one)) for one in same]:
            same.append(point)
    return by_name


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _check_alone(name: str, what: str, found: Sequence[EntryPoint], is_ours: bool) -> None:
    """Find that nobody else has this name.

    Raises:
        RecipeError: somebody has.
    """
    packages = ", ".join(repr(_package(point)) for point in found)
    if found and is_ours:
        raise RecipeError(
            f"the package {packages} brings a {what} {name!r}, which is a name of the toolkit's own; "
            "uninstall it, or have it renamed there"
        )
    if len(found) > 1:
        raise RecipeError(
            f"the packages {packages} all bring a {what} {name!r}; uninstall all but one"
        )


def _imported(name: str, what: str, point: EntryPoint) -> Any:
    if not _NAME.fullmatch(name):
        raise _unusable(name, what, point, "its name must be small letters, digits and _")
    try:
        return point.load()
    except Exception as error:  # noqa: BLE001 - somebody else's module raises what it likes
        raise _unusable(name, what, point, f"{type(error).__name__}: {error}") from None


def _unusable(name: str, what: str, point: EntryPoint, why: str) -> RecipeError:
    return RecipeError(
        f"the {what} {name!r} of the package {_package(point)!r} ({point.value}) cannot be used: {why}"
    )


def _loaded(name: str, point: EntryPoint) -> Filter:
    """Load a filter; whatever kind it is, its parameters can be checked afterwards as those of our own."""
    theirs = _imported(name, "filter", point)
    try:
        if isinstance(theirs, Filter):
            for measure in theirs.measures:
                known_measure(measure)
            signature = _signature(inspect.signature(theirs.make).parameters.values())
            return Filter(_typed(theirs.make, signature), theirs.kind, theirs.measures)
        if isinstance(theirs, RecordFilter):
            version = point.dist.version if point.dist else ""
            return _of_records(name, theirs, version)
        if inspect.isfunction(theirs):
            version = point.dist.version if point.dist else ""
            return _of_records(name, RecordFilter(theirs), version)
    except (TypeError, ValueError) as error:
        raise _unusable(name, "filter", point, str(error)) from None
    raise _unusable(name, "filter", point, "it is no Filter and no function")


def _signature(parameters: Iterable[inspect.Parameter]) -> inspect.Signature:
    """Return parameters with types as our own filters write them.

    Raises:
        ValueError: a recipe cannot give a value of such a type.
    """
    typed = []
    for one in parameters:
        said = one.annotation
        text = said if isinstance(said, str) else inspect.formatannotation(said)
        text = re.sub(r"\b(?:[a-z_]+\.)+", "", text).replace("list[str]", "Sequence[str]")
        if one.name in _TAKEN:
            raise ValueError(
                f"its parameter {one.name!r} has the name of something else in a recipe"
            )
        if text not in TYPES:
            raise ValueError(
                f"its parameter {one.name!r} is of type {text}; a recipe can give {', '.join(TYPES)}"
            )
        kind = inspect.Parameter.KEYWORD_ONLY
        typed.append(inspect.Parameter(one.name, kind, default=one.default, annotation=text))
    return inspect.Signature(typed)


def _typed(
    make: Callable[..., str | Sql | Question], signature: inspect.Signature
) -> Callable[..., str | Sql | Question]:
    def made(**parameters: Any) -> str | Sql | Question:
        signature.bind(**parameters)
        return make(**parameters)

    made.__signature__ = signature  # type: ignore[attr-defined]
    return made


# Functions of one record


def _of_records(name: str, theirs: RecordFilter, version: str) -> Filter:
    """Return the filter that asks a function about each record."""
    if unknown := [column for column in theirs.reads if column not in InstructionRow._fields]:
        known = ", ".join(InstructionRow._fields)
        raise ValueError(f"it reads {unknown[0]!r}; a record has: {known}")
    first, *others = inspect.signature(theirs.function).parameters.values()
    if first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise ValueError("it must take a record first")
    signature = _signature(others)
    code = _code(theirs.function)

    def make(**parameters: Any) -> Sql:
        bound = signature.bind(**parameters)
        bound.apply_defaults()
        said = json.dumps([bound.arguments, theirs.reads, version, code], default=list)
        digest = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        measure = f"own_{name}_{digest}"
        asked = functools.partial(_answers, theirs, bound.arguments)
        reads = tuple(column for column in theirs.reads if column != "id")
        MEASURES[measure] = Measure(_COLUMNS, reads or ("task",), asked)
        failed = f"{measure}_failed"
        # A text that is no number cannot be cast: that is how a record is told on which the function failed.
        return MeasuredSql(
            f"CASE WHEN {failed} IS NULL THEN {measure}_reason ELSE CAST(CAST({failed} AS BIGINT) AS VARCHAR) END",
            f"{measure}_score",
            (measure,),
        )

    return Filter(_typed(make, signature))


_COLUMNS = {"reason": "VARCHAR", "score": "DOUBLE", "failed": "VARCHAR"}


def _code(function: Callable[..., Any]) -> str:
    """Return what changes when somebody works on a function: the file that it is in."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        data = Path(file).read_bytes() if file else b""
    except (TypeError, OSError):
        data = b""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _answers(
    theirs: RecordFilter, parameters: Mapping[str, Any], batch: pyarrow.RecordBatch
) -> Columns:
    """Ask a function about each record of a batch."""
    import pyarrow as pa

    rows = batch.select(list(theirs.reads)).to_pylist()
    answers = [_answer(theirs.function, row, parameters) for row in rows]
    columns = zip(*answers, strict=True) if answers else ((), (), ())
    types = (pa.string(), pa.float64(), pa.string())
    return {
        name: pa.array(values, kind)
        for name, values, kind in zip(_COLUMNS, columns, types, strict=True)
    }


def _answer(
    function: Callable[..., Said], record: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[str | None, float | None, str | None]:
    """Return reason, score and failure."""
    try:
        said = function(record, **parameters)
        reason, score = said if isinstance(said, tuple) else (said, None)
        if not (reason is None or (isinstance(reason, str) and reason.strip())):
            return None, None, f"it returned {reason!r:.80}, which is no reason and not None"
        score = None if score is None else float(score)
        score = score if score is not None and math.isfinite(score) else None
    except Exception as error:  # noqa: BLE001 - a stranger's function raises what it likes, about this record alone
        return None, None, _clean(f"{type(error).__name__}: {error}")
    return (None if reason is None else _clean(reason)), score, None


def _clean(text: str) -> str:
    """Return a text that can be stored."""
    return text[:_MOST].encode("utf-8", "replace").decode()
