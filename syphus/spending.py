"""What a template spends: the budget of one render, and the prices of what it can call (`syphus.templates`)."""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from jinja2 import Undefined, pass_context, pass_environment
from jinja2.filters import _GroupTuple
from jinja2.runtime import Context

from syphus.errors import TaskError

BUDGET = 10_000_000
"""Units of one render: a second or two. A query of ours takes a few thousand."""
MAX_WIDTH = 9_999
"""In `"%9999d"` and the like."""
MAX_BITS = 1_100
"""Of an integer that is computed; a float's largest has 1,024."""
TOO_LARGE = "a number is too large to compute with"


class TemplateLimitError(TaskError):
    """A template would take too long, or make too much."""


class Budget(Context):
    """The variables of one render, and what it may still spend."""

    left = BUDGET

    def __init__(self, environment: Any, variables: dict[str, Any]) -> None:
        """Set what Jinja's code asks for, and no more: there are no blocks, no exports, and nothing changes how values are escaped."""
        self.parent = variables
        self.vars = {}
        self.environment = environment
        self.eval_ctx = environment.evaluation
        self.exported_vars = set()
        self.name = None
        self.globals_keys = set()
        self.blocks = {}

    def spend(self, units: int) -> bool:
        """Take units off the budget; True, so that it can stand in a condition."""
        self.left -= units
        if self.left < 0:
            raise TemplateLimitError(
                "it takes too many steps or makes too much text; loops in loops, repeated texts and wide "
                "columns do that"
            )
        return True

    def weigh(self, value: Any) -> int:
        return weight(value, self.left)

    def weighed(self, value: Any) -> Any:
        """Return a value that is about to be walked, paid for."""
        kind = type(value)
        if kind is str:
            self.spend(1 + (len(value) >> 2))
        elif kind is not float and kind is not int:
            self.spend(weight(value, self.left))
        return value

    def shown(self, value: Any) -> str:
        """Return a value as text."""
        kind = type(value)
        text = value if kind is str else str(value) if kind is int else self._text(value)
        self.left = left = self.left - 1 - (len(text) >> 2)
        if left < 0:
            self.spend(0)
        return text

    def _text(self, value: Any) -> str:
        kind = type(value)
        if kind is Undefined:  # of `{{ "," if … }}` without an else
            self.spend(4)
        elif kind is not float:
            self.spend(4 * weight(value, self.left))  # a quoted character may take ten
        return str(value)

    def trimmed(self, value: Any) -> Any:
        """Return `value | trim`, at the same price."""
        if type(value) is not str:
            return self.environment.filters["trim"](self, value)
        self.left = left = self.left - 4 - (len(value) >> 1)
        if left < 0:
            self.spend(0)
        return value.strip()

    def joined(self, values: tuple[Any, ...]) -> str:
        try:
            self.spend(1 + (sum(map(len, values)) >> 2))
            return "".join(values)
        except TypeError:  # not all are texts
            return "".join(map(self.shown, values))

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.spend(1)
            yield item


def weight(value: Any, most: int) -> int:
    """Return what it takes to walk all of a value; the walk stops where that is more than `most`."""
    total, found = 0, [value]
    while found:
        item = found.pop()
        kind = type(item)
        total += 1
        if kind is float or kind is int:
            pass
        elif kind is str:
            total += len(item) >> 2
        elif kind is list or kind is tuple:
            total += len(item) if total + len(item) > most else 0
            found += item if total <= most else ()
        elif isinstance(item, str | bytes):
            total += len(item) >> 2
        elif isinstance(item, range):
            total += len(item)
        elif isinstance(item, Mapping):
            found += item.keys()
            found += item.values()
        elif isinstance(item, _WALKED):
            found += item
        if total + len(found) > most:
            return most + 1
    return total


_WALKED = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)


def bounded(number: Any) -> Any:
    """Return a value unless it is a number too large to compute with."""
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise TemplateLimitError(TOO_LARGE)
    return number


def width(digits: str | int) -> int:
    """Return a width, as a format writes it, in characters.

    Raises:
        TemplateLimitError: it is too wide.
    """
    if isinstance(digits, str) and (digits == "*" or len(digits) > len(str(MAX_WIDTH))):
        raise TemplateLimitError(f"a width of a format is at most {MAX_WIDTH:,}, and a number")
    return int(digits or 0)


_SPECIFIER = re.compile(r"%(?:\([^()]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")


def pay_format(budget: Budget, text: str, values: Any) -> None:
    """Pay for `text % values`."""
    if re.search(r"%\([^()]*\(", text):
        raise TemplateLimitError("a name in a format has no brackets in it")
    widths = [width(part or "0") for found in _SPECIFIER.findall(text) for part in found]
    parts = text.count("%")
    budget.spend(1 + len(text) + sum(widths) + 4 * parts * budget.weigh(values))


Cost = Callable[[Budget, Any, tuple[Any, ...], dict[str, Any]], int]
"""Of a filter or method: the budget, the value that it is for, its other arguments."""


def _others(budget: Budget, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    return budget.weigh([*args, *named.values()]) if args or named else 0


def _size(value: Any) -> int:
    """Return how many things a filter goes through, or a quarter of a text's characters."""
    if isinstance(value, str):
        return len(value) >> 2
    return (
        len(value) if isinstance(value, list | tuple | dict | range | KeysView | ValuesView) else 0
    )


def _each(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price what goes through a value once, and no deeper."""
    return (1 + _size(value)) * (1 + _others(budget, args, named))


def _called(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price what calls something for each thing in a value."""
    return 4 * _each(budget, value, args, named)


def _all(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price what walks all of a value."""
    return 2 * budget.weigh(value) + _each(budget, value, args, named)


def _sorted(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price what compares the things in a value with each other."""
    named_one = len(args) == 1 and isinstance(args[0], str) and args[0].isidentifier()
    if named_one and not named and type(value) is list:
        # `groupby("name")`: of dicts, only the names are looked at.
        names = [thing.get(args[0], thing) for thing in value if type(thing) is dict]
        if len(names) == len(value):
            if {str}.issuperset(map(type, names)):
                return 4 * (1 + sum([1 + (len(name) >> 2) for name in names]))
            return 4 * budget.weigh(names)
    return 4 * budget.weigh(value) + _each(budget, value, args, named)


def _text_of(budget: Budget, value: Any) -> str:
    budget.weighed(value)
    return str(value)


def _spaces(given: Any) -> int:
    """Return the characters of a width, which may be a text to put in."""
    if isinstance(given, str):
        return len(given)
    return int(given) if isinstance(given, int | float) and given > 0 else 0


def _wide(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price `center`, `ljust`, `zfill`: as wide as the first argument says."""
    return _all(budget, value, args, named) + sum(
        _spaces(given) for given in (*args, *named.values())
    )


def _indented(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    text = _text_of(budget, value)
    each = sum(_spaces(given) for given in (*args, *named.values()))
    return len(text) + (1 + len(text.splitlines())) * (4 + each)


def _wrapped(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    texts = [given for given in (*args, *named.values()) if isinstance(given, str)]
    return 1 + len(_text_of(budget, value)) * (10 + sum(map(len, texts)))


def _joined(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    texts = [given for given in (*args, *named.values()) if isinstance(given, str)]
    return 4 * budget.weigh(value) + (1 + _size(value)) * (1 + sum(map(len, texts)))


def _replaced(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    text = _text_of(budget, value)
    texts = [_text_of(budget, given) for given in (*args, *named.values())]
    if len(args) > 1:
        found = text.count(texts[0])
        return 1 + len(texts[0]) + ((len(text) + found * len(texts[1])) >> 1)
    return (1 + len(text)) * (1 + sum(map(len, texts)))


def _stripped(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    text = _text_of(budget, value)
    return 1 + len(text) + text.count("<") * (len(text) >> 8)


def _grouped(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price `batch` and `slice`, which fill up what is short."""
    count = max((_spaces(given) for given in (*args, *named.values())), default=0)
    return 1 + _size(value) + count + _others(budget, args, named)


def _summed(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price `sum`, which copies what it has so far where it adds lists."""
    size = budget.weigh(value)
    return 1 + size + _size(value) * (size >> 6) + _each(budget, value, args, named)


def _as_json(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price `tojson`, which indents each line by its depth."""
    each = sum(_spaces(given) for given in (*args, *named.values()))
    return 4 * budget.weigh(value) * (1 + 8 * each)


def _formatted(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    pay_format(budget, _text_of(budget, value), named or args)
    return 1


def _rounded(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    for places in (*args, *named.values()):
        if isinstance(places, int) and abs(places) > MAX_BITS:
            raise TemplateLimitError(f"{places} is too many places to round to")
    return 1


def _joins(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price `text.join(parts)`, where the text is the value."""
    return _joined(budget, args[0] if args else (), (value,), named)


def method_cost(budget: Budget, value: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Price a method of a plain value that is not in `METHODS`."""
    if isinstance(value, str):
        return _each(budget, value, args, named)
    return 1 + _others(budget, args, named)


FREE = frozenset({"attr", "count", "d", "default", "first", "last", "length", "random"})
"""Filters that look at one thing only."""
FILTERS: dict[str, Cost] = {
    "abs": _each, "batch": _grouped, "capitalize": _all, "center": _wide, "dictsort": _sorted, "e": _all, "escape": _all,
    "filesizeformat": _each, "float": _each, "forceescape": _all, "format": _formatted, "groupby": _sorted,
    "indent": _indented, "int": _each, "items": _each, "join": _joined, "list": _each, "lower": _all, "map": _called,
    "max": _sorted, "min": _sorted, "reject": _called, "rejectattr": _called, "replace": _replaced, "reverse": _each,
    "round": _rounded, "safe": _all, "select": _called, "selectattr": _called, "slice": _grouped, "sort": _sorted,
    "string": _all, "striptags": _stripped, "sum": _summed, "title": _all, "tojson": _as_json, "trim": _all,
    "truncate": _all, "unique": _sorted, "upper": _all, "urlencode": _all, "wordcount": _all, "wordwrap": _wrapped,
}  # fmt: skip
"""Filters with their prices; `pprint`, `urlize` and `xmlattr` have none, and a query no use for them."""
METHODS: dict[str, Cost] = {
    "center": _wide, "copy": _each, "count": _all, "index": _all, "join": _joins, "ljust": _wide, "replace": _replaced,
    "rjust": _wide, "zfill": _wide,
}  # fmt: skip
TESTS = frozenset(
    [
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "eq",
        "equalto",
        "ge",
        "greaterthan",
        "gt",
        "in",
        "le",
        "lessthan",
        "lower",
        "lt",
        "ne",
        "upper",
    ]
)
"""Tests that walk values."""


def priced_filter(function: Callable[..., Any], cost: Cost) -> Callable[..., Any]:
    """Return a filter that is paid for before it runs."""
    wanted = getattr(getattr(function, "jinja_pass_arg", None), "name", "")
    plain = cost is _all or cost is _each
    quick = plain and not wanted

    @pass_context
    def filtered(context: Budget, value: Any, *args: Any, **named: Any) -> Any:
        if plain and type(value) is str and not args and not named:
            context.spend(4 + (len(value) >> 1))
            if quick:
                found = function(value)
                return found if type(found) is str else bounded(found)
        else:
            if type(value) is not list and isinstance(value, Iterator):
                value = list(context.counted(value))
            context.spend(6 + cost(context, value, args, named))
        if wanted == "eval_context":
            return bounded(function(context.eval_ctx, value, *args, **named))
        if wanted == "environment":
            return bounded(function(context.environment, value, *args, **named))
        if wanted == "context":
            return bounded(function(context, value, *args, **named))
        return bounded(function(value, *args, **named))

    return filtered


def grouping(general: Callable[..., Any]) -> Callable[..., Any]:
    """Return `groupby` with a short way for what templates group: dicts by a member that is a text."""

    @pass_environment
    def groupby(environment: Any, value: Any, *args: Any, **named: Any) -> Any:
        name = args[0] if len(args) == 1 and not named else None
        if type(value) is list and type(name) is str and name.isidentifier():
            groups: dict[str, list[dict[str, Any]]] = {}
            for thing in value:
                own = thing.get(name) if type(thing) is dict else None
                if type(own) is not str:
                    break
                groups.setdefault(own.lower(), []).append(thing)
            else:
                return [_GroupTuple(found[0][name], found) for _, found in sorted(groups.items())]
        return general(environment, value, *args, **named)

    return groupby


def priced_test(function: Any) -> Callable[..., Any]:
    """Return a test that is paid for before it runs."""

    @pass_context
    def tested(context: Budget, *values: Any) -> Any:
        context.spend(2 + context.weigh(values))
        return function(*values)

    return tested
