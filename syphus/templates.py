"""A stranger's template: it can compute, reach nothing, and come to an end.

Jinja's sandbox keeps a template from the machine, but not from running for days or filling the memory. Rendering is done
for millions of contexts, too often for a process of its own; so every render has a budget of units, about a tenth of a
microsecond each, and ends with a `TemplateLimitError` when it is spent:

    a body that may run often (of a loop, a macro)    its nodes, each time; the calls are put in when it is compiled
    a text that is made, compared or searched         a unit for 4 characters, before it is made
    a list or dict that is walked                     a unit for each thing in it, however deep

Whatever walks a value weighs it first. So values may be shared as often as one likes, and what cannot be paid is not begun.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from string import Formatter
from types import BuiltinMethodType
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from syphus import spending
from syphus.errors import TaskError
from syphus.spending import Budget, TemplateLimitError
from syphus.task_files import shortened
from syphus.template_code import Generator, meter

MAX_TEXT = 4_000_000
"""Characters of a query; no model reads so much, and a context of it may still be shortened."""
MAX_TEMPLATE = 100_000
"""Characters."""
MAX_RANGE = 10_000
CALL = 8
"""Units of a call, whatever it does."""


def compile_template(text: str, path: str) -> Query:
    """Compile a query's template.

    Args:
        text: The template.
        path: Its file, for messages.

    Raises:
        TaskError: it is no template.
    """
    if len(text) > MAX_TEMPLATE:
        raise TaskError(
            f"{path!r} has {len(text):,} characters; a template has at most {MAX_TEMPLATE:,}"
        )
    environment = _Environment(undefined=StrictUndefined, optimized=False)
    try:
        tree = environment.parse(text)
        _refuse(tree)
        meter(tree)
        code = environment.compile(tree)
    except TemplateSyntaxError as error:
        raise TaskError(
            f"{path!r}, line {error.lineno}: {shortened(error.message or '')}"
        ) from None
    except RecursionError:
        raise TaskError(
            f"{path!r} is no template: brackets or blocks are nested too deeply"
        ) from None
    except Exception as error:  # noqa: BLE001  (whatever a stranger's text makes Jinja say, it is about the text)
        raise TaskError(f"{path!r} is no template: {shortened(str(error))}") from None
    query = cast("Query", Query.from_code(environment, code, environment.globals))
    query.reads = frozenset(environment.reads)
    return query


class Query(Template):
    reads: frozenset[str]
    """The variables that it looks up; no others need to be given."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        return self.fill(dict(*args, **kwargs))

    def fill(self, variables: Mapping[str, Any]) -> str:
        """Render, with less ado than Jinja's: there are no blocks, no modules and no other templates."""
        context = Budget(self.environment, {**self.globals, **variables})
        try:
            text = "".join(self.root_render_func(context))
        except Exception:  # noqa: BLE001  (Jinja puts the template's own lines into the traceback, and raises it again)
            self.environment.handle_exception()
        if len(text) > MAX_TEXT:
            raise TemplateLimitError(
                f"it makes {len(text):,} characters; a query has at most {MAX_TEXT:,}"
            )
        return text


class _Namespace(Namespace):
    def __repr__(self) -> str:
        return "<namespace>"  # what is in it may be in it many times


def _range(*args: int) -> range:
    found = range(*args)
    # len() of a range fails above 2**63
    if found and abs(found[-1] - found[0]) // abs(found.step) >= MAX_RANGE:
        raise TemplateLimitError(f"range() gives at most {MAX_RANGE:,} numbers")
    return found


_STR = (
    "capitalize casefold center count endswith find format format_map index isalnum isalpha isascii isdecimal "
    "isdigit islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix "
    "replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill"
)
_ATTRIBUTES: dict[type, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        str: _STR,
        dict: "copy get items keys values",
        list: "copy count index",
        tuple: "count index",
        range: "count index start stop step",
        float: "is_integer",
        int: "bit_count bit_length",
    }.items()
}
"""What a template may ask of plain values: none of it fills the memory, or is refused when it would."""


class _Environment(ImmutableSandboxedEnvironment):
    context_class = Budget
    intercepted_binops = frozenset({"+", "-", "*", "//", "%", "**"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.code_generator_class = Generator
        self.evaluation = nodes.EvalContext(self)
        self.reads: set[str] = set()
        """Variables that the template looks up."""
        self.globals = {"range": _range, "dict": dict, "namespace": _Namespace}
        self.filters["groupby"] = spending.grouping(self.filters["groupby"])
        self.filters = {name: self.filters[name] for name in spending.FREE} | {
            name: spending.priced_filter(self.filters[name], cost)
            for name, cost in spending.FILTERS.items()
        }
        self.tests |= {name: spending.priced_test(self.tests[name]) for name in spending.TESTS}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj) is LoopContext or type(obj) is _Namespace:
            return not attr.startswith("_")
        if type(obj) in _ATTRIBUTES:
            return attr in _ATTRIBUTES[type(obj)]
        if not super().is_safe_attribute(obj, attr, value):
            return False
        for kind, names in _ATTRIBUTES.items():
            if isinstance(obj, kind):
                return attr in names or attr in getattr(obj, "_fields", ())
        ours = type(obj).__module__ in ("jinja2.runtime", __name__)
        return ours or not callable(value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        if kwargs:  # Jinja's own, for functions that take the context; we have none.
            kwargs.pop("_loop_vars", None)
            kwargs.pop("_block_vars", None)
        if type(__obj) is Macro:
            if not kwargs and len(args) == __obj._argument_count and not _takes_more(__obj):
                return __obj._func(*args)
            return __obj(__context.eval_ctx, *args, **kwargs)
        if type(__obj) is _Format:
            return __obj.write(__self, __context, args, kwargs)
        if isinstance(__obj, BuiltinMethodType):
            args = tuple(
                list(__context.counted(one)) if isinstance(one, Iterator) else one for one in args
            )
            cost = spending.METHODS.get(__obj.__name__, spending.method_cost)
            __context.spend(CALL + cost(__context, __obj.__self__, args, kwargs))
        else:
            __context.spend(CALL + __context.weigh([*args, *kwargs.values()]))
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if type(left) is float or (type(right) is float and type(left) is int):
            return self.binop_table[operator](left, right)
        budget = cast("Budget", context)
        if isinstance(left, int) and isinstance(right, int):
            if operator == "*":
                bits = left.bit_length() + right.bit_length()
            else:
                bits = left.bit_length() * max(right, 1) if operator == "**" else 0
            if bits > spending.MAX_BITS:
                raise TemplateLimitError(spending.TOO_LARGE)
            return spending.bounded(self.binop_table[operator](left, right))
        if operator == "%" and isinstance(left, str):
            spending.pay_format(budget, left, right)
        elif operator == "*":
            times, value = (left, right) if isinstance(left, int) else (right, left)
            if isinstance(times, int) and isinstance(value, str | list | tuple):
                size = len(value) >> 2 if isinstance(value, str) else len(value)
                budget.spend(1 + (size + 1) * max(times, 0))
        elif isinstance(left, str) and isinstance(right, str):
            budget.spend(1 + ((len(left) + len(right)) >> 2))
        elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
            budget.spend(1 + len(left) + len(right))
        return self.binop_table[operator](left, right)

    def wrap_str_format(self, value: Any) -> Any:
        if not isinstance(value, BuiltinMethodType) or not isinstance(value.__self__, str):
            return None
        return _Format(value) if value.__name__ in ("format", "format_map") else None


def _takes_more(macro: Macro) -> bool:
    return bool(macro.caller or macro.catch_kwargs or macro.catch_varargs)


class _Format:
    """`text.format` or `text.format_map`; `_Environment.call` knows it."""

    def __init__(self, method: BuiltinMethodType) -> None:
        self._text = str(method.__self__)
        self._takes_names = method.__name__ == "format_map"

    def write(
        self, environment: _Environment, budget: Budget, args: Any, names: Mapping[str, Any]
    ) -> str:
        budget.spend(1 + 4 * len(self._text))
        if self._takes_names:
            (names,), args = args, ()
        return _Formatter(environment, budget).vformat(self._text, args, names)


class _Formatter(SandboxedFormatter):
    def __init__(self, environment: _Environment, budget: Budget) -> None:
        super().__init__(environment)
        self._budget = budget

    def convert_field(self, value: Any, conversion: Any) -> Any:
        self._budget.spend(8 + 4 * self._budget.weigh(value))  # for both: every field comes here
        return Formatter.convert_field(self, value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        self._budget.spend(sum(map(spending.width, re.findall(r"\d+", format_spec))))
        return Formatter.format_field(self, value, format_spec)


def _refuse(tree: nodes.Template) -> None:
    """Refuse what reaches for other files, and texts that cannot be sent."""
    for node in tree.find_all(tuple(_REFUSED)):
        raise TemplateSyntaxError(
            f"the template of a task cannot use {{% {_REFUSED[type(node)]} %}}", node.lineno
        )
    for text in tree.find_all(nodes.Const):
        if isinstance(text.value, str) and not _is_sound(text.value):
            raise TemplateSyntaxError("half a character cannot be sent to a model", text.lineno)


_REFUSED = {
    nodes.Extends: "extends", nodes.Include: "include", nodes.Import: "import", nodes.FromImport: "from",
    nodes.Block: "block", nodes.ScopedEvalContextModifier: "autoescape",
}  # fmt: skip


def _is_sound(text: str) -> bool:
    return text.isascii() or not re.search("[\ud800-\udfff]", text)
