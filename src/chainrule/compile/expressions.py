"""How values, indices and calls are written in Python."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .names import Names
from .steps import Method, Property, Step, Var

__all__ = ["Expressions"]

INFIX: dict[Any, str] = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/", operator.floordiv: "//",
    operator.mod: "%", operator.pow: "**", operator.matmul: "@",
    operator.lt: "<", operator.le: "<=", operator.eq: "==", operator.ne: "!=", operator.gt: ">", operator.ge: ">=",
}  # fmt: skip
PREFIX: dict[Any, str] = {operator.neg: "-{}", operator.pos: "+{}", operator.invert: "~{}", operator.abs: "abs({})"}


class Expressions:
    """Writes expressions.

    Attributes
    ----------
    names : how values are called
    given : how everything else is
    """

    def __init__(self, names: dict[Var, str], given: Names) -> None:
        self.names, self.given = names, given

    def text(self, x: Any) -> str:
        kind = type(x)
        if kind is Var:
            return self.names[x]
        if kind is tuple:
            inside = ", ".join(map(self.text, x))
            return f"({inside},)" if len(x) == 1 else f"({inside})"
        if kind is list:
            return f"[{', '.join(map(self.text, x))}]"
        if kind is dict:
            return "{" + ", ".join(f"{key!r}: {self.text(part)}" for key, part in x.items()) + "}"
        if kind is slice:
            return f"slice({self.text(x.start)}, {self.text(x.stop)}, {self.text(x.step)})"
        if x is None or x is Ellipsis or kind in (bool, int, str):
            return repr(x)
        if kind is float and x - x == 0:
            return repr(x)
        if isinstance(x, type) and getattr(np, name := str(x.__name__), None) is x:
            return f"np.{name}"
        return self.given.given(x, "constant")

    def index(self, index: Any) -> str:
        def part(x: Any) -> str:
            if type(x) is slice:
                ends = ["" if end is None else self.text(end) for end in (x.start, x.stop, x.step)]
                return ":".join(ends[: 2 + (x.step is not None)])
            return "..." if x is Ellipsis else self.text(x)

        if type(index) is tuple and index:
            return ", ".join(map(part, index)) + ("," if len(index) == 1 else "")
        return part(index)

    def call(self, step: Step, out: str) -> str:
        """How to write a step; `out` says where its result goes."""
        function: Any = step.function
        args = step.args
        if function is operator.getitem:
            return f"{self.text(args[0])}[{self.index(args[1])}]"
        if function is operator.setitem:
            return f"{self.text(args[0])}[{self.index(args[1])}] = {self.text(args[2])}"
        if function in INFIX:
            left, right = (f"({self.text(x)})" if isinstance(x, int | float) else self.text(x) for x in args)
            return f"{left} {INFIX[function]} {right}"
        if function in PREFIX:
            return PREFIX[function].format(self.text(args[0]))
        if type(function) is Property:
            return f"{self.text(args[0])}.{function.name}"
        if function is np.stack and type(args[0]) is list and not step.options and all(map(_is_number, args[0])):
            return f"np.array({self.text(args[0])})"  # the same, in a tenth of the time
        written = [self.text(x) for x in args]
        written += [f"{name}={self.text(x)}" for name, x in step.options.items()]
        if type(function) is Method:
            return f"{written[0]}.{function.name}({', '.join(written[1:])})"
        return f"{self.given.function(function)}({', '.join(written)}{out})"


def _is_number(x: Any) -> bool:
    return x.scalar if type(x) is Var else type(x) in (int, float)
