"""A template's code: Jinja's, with what runs often and what walks a value paying for it (`syphus.templates`).

What templates of ours do for each thing they show is written out where it is done: looking up a member, counting in a loop, adding numbers,
calling a macro. Each is asked for the same safety and the same price as the call that it stands for.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.idtracking import VAR_LOAD_RESOLVE


class Metered(Protocol):
    """An environment that wants to know what its templates read."""

    reads: set[str]
    """Variables that the template looks up."""


_DICT = frozenset(dir(dict))
"""What `.name` of a dict is before it is a member."""
_LOOP = {
    "first": "{}.index0 == 0", "index": "{}.index0 + 1", "index0": "{}.index0", "last": "{}._peek_next() is missing",
}  # fmt: skip
"""What templates ask of a loop most, as `LoopContext` has it; none of it is anything that could be called."""


class Generator(CodeGenerator):
    """Jinja's, with what walks a value paying for it; `environment.<n>` stands for a body's price (`meter`)."""

    def enter_frame(self, frame: Frame) -> None:
        for action, name in frame.symbols.loads.values():
            if action == VAR_LOAD_RESOLVE and name is not None:
                cast("Metered", self.environment).reads.add(name)
        super().enter_frame(frame)

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.node, nodes.EnvironmentAttribute):
            self.writeline(f"context.left -= {node.node.name}", node)
            self.writeline("if context.left < 0: context.spend(0)")
        else:
            super().visit_ExprStmt(node, frame)

    def visit_EnvironmentAttribute(self, node: nodes.EnvironmentAttribute, frame: Frame) -> None:  # noqa: N802
        self.write(f"context.spend({node.name})")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write("context.shown(")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("context.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        first, rest = node.expr, [operand.expr for operand in node.ops]
        searched = [operand.expr for operand in node.ops if operand.op in ("in", "notin")]
        scalar = any(isinstance(side, nodes.Const) for side in (first, *rest))
        if scalar and not any(not isinstance(side, nodes.Const) for side in searched):
            super().visit_Compare(node, frame)
            return
        self.write("(")
        self._weighed(first, frame)
        for operand in node.ops:
            self.write(f" {_OPERATORS[operand.op]} ")
            self._weighed(operand.expr, frame)
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.arg, nodes.Slice):
            self._weighed(node.node, frame)
            self.write("[")
            self.visit(node.arg, frame)
            self.write("]")
            return
        number = node.arg.value if isinstance(node.arg, nodes.Const) else None
        quick = isinstance(node.node, nodes.Name) and type(number) is int and number >= 0
        if quick:
            name = frame.symbols.ref(cast("nodes.Name", node.node).name)
            self.write(
                f"({name}[{number}] if type({name}) is list and len({name}) > {number} else "
            )
        self.write("environment.getitem(")
        self.visit(node.node, frame)
        self.write(", ")
        self._weighed(node.arg, frame)
        self.write("))" if quick else ")")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802
        """Look up what is asked most where it is: places in loops, members of dicts; `environment.getattr` all else."""
        quick = isinstance(node.node, nodes.Name) and (node.attr in _LOOP or node.attr not in _DICT)
        if quick:
            name = frame.symbols.ref(cast("nodes.Name", node.node).name)
            if node.attr in _LOOP:
                there = _LOOP[node.attr].format(name)
                self.write(f"({there} if type({name}) is LoopContext else ")
            else:
                here = f"type({name}) is dict and {node.attr!r} in {name}"
                self.write(f"({name}[{node.attr!r}] if {here} else ")
        super().visit_Getattr(node, frame)
        self.write(")" if quick else "")

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:  # noqa: N802
        if (
            node.name != "trim"
            or node.node is None
            or node.args
            or node.kwargs
            or node.dyn_args
            or node.dyn_kwargs
        ):
            super().visit_Filter(node, frame)
        else:
            self.write("context.trimmed(")
            self.visit(node.node, frame)
            self.write(")")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: N802
        quick = (
            isinstance(node.node, nodes.Name)
            and not (node.kwargs or node.dyn_args or node.dyn_kwargs or forward_caller)
            and all(map(_is_simple, node.args))
        )
        if quick:  # a macro that takes what it is given; what is simple may be written twice
            name = frame.symbols.ref(cast("nodes.Name", node.node).name)
            self.write(f"({name}._func(")
            for argument in node.args:
                self.visit(argument, frame)
                self.write(", ")
            takes_more = f"{name}.caller or {name}.catch_kwargs or {name}.catch_varargs"
            fits = f"{name}._argument_count == {len(node.args)} and not ({takes_more})"
            self.write(f") if type({name}) is Macro and {fits} else ")
        # Without the loop's variables, which Jinja keeps for functions that take the context.
        self.write("environment.call(context, ")
        self.visit(node.node, frame)
        self.signature(node, frame, {"caller": "caller"} if forward_caller else None)
        self.write("))" if quick else ")")

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:  # noqa: N802
        self._computed(node, "+", frame)

    def visit_Sub(self, node: nodes.BinExpr, frame: Frame) -> None:  # noqa: N802
        self._computed(node, "-", frame)

    def visit_Mul(self, node: nodes.BinExpr, frame: Frame) -> None:  # noqa: N802
        self._computed(node, "*", frame)

    def _computed(self, node: nodes.BinExpr, operator: str, frame: Frame) -> None:
        """Compute with two floats here, with all else in `environment.call_binop`."""
        if isinstance(node.left, nodes.BinExpr) or isinstance(node.right, nodes.BinExpr):
            # Brackets in brackets in brackets: Python reads no more than a hundred or two.
            self.write(f"environment.call_binop(context, {operator!r}, ")
            self.visit(node.left, frame)
            self.write(", ")
            self.visit(node.right, frame)
            self.write(")")
            return
        left, right = self.temporary_identifier(), self.temporary_identifier()
        self.write(f"({left} {operator} {right} if (type({left} := ")
        self.visit(node.left, frame)
        self.write(f") is float) & (type({right} := ")
        self.visit(node.right, frame)
        self.write(
            f") is float) else environment.call_binop(context, {operator!r}, {left}, {right}))"
        )

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self.write("{")
        for item in node.items:
            self._weighed(item.key, frame)
            self.write(": ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("}")

    def _weighed(self, node: nodes.Expr, frame: Frame) -> None:
        constant = isinstance(node, nodes.Const)
        self.write("" if constant else "context.weighed(")
        self.visit(node, frame)
        self.write("" if constant else ")")


_OPERATORS = {
    "eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<=", "in": "in", "notin": "not in",
}  # fmt: skip


def _is_simple(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Name | nodes.Const) or (
        isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name)
    )


def meter(node: nodes.Node) -> int:
    """Make each body pay for itself when it runs; return what the rest of the node takes to run."""
    if isinstance(node, nodes.For):
        node.body.insert(0, _pays(4 + sum(map(meter, node.body)), node.lineno))
        if node.test is not None:
            price = nodes.EnvironmentAttribute(str(2 + meter(node.test)))
            node.test = nodes.And(price, node.test, lineno=node.lineno)
        return 1 + meter(node.iter) + sum(map(meter, node.else_))
    if isinstance(node, nodes.Macro | nodes.CallBlock):
        inside = sum(map(meter, node.body)) + sum(map(meter, node.defaults))
        node.body.insert(0, _pays(8 + inside, node.lineno))
        return 1 + (meter(node.call) if isinstance(node, nodes.CallBlock) else 0)
    own = 1 + (len(node.data) >> 2 if isinstance(node, nodes.TemplateData) else 0)
    return own + sum(map(meter, node.iter_child_nodes()))


def _pays(units: int, line: int) -> nodes.Node:
    return nodes.ExprStmt(nodes.EnvironmentAttribute(str(units)), lineno=line)
