"""Tensor's operators and methods, bound once at import.

They are the hot path: each operator is printed from one of three templates, so that an operation costs no call and no
look-up beyond NumPy's own.  `record` does the same for every case; it takes 0.5 to 1.5 µs longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .graph import Node, constant, next_index, watchers
from .memory import BIG, apply, matmul
from .rules.registry import LETTERS, Rule, kept, rules
from .tensor import Tensor, binary, call, named, overwrite, plain, record, unary

__all__ = ["bind_operators"]

float64, ndarray = np.float64, np.ndarray
double, single, objects = np.dtype("f8"), np.dtype("f4"), np.dtype("O")

# -- the templates -------------------------------------------------------------------------------------------------
_MADE = """
    node.operands = {operands}
    node.params = None
    if y.__class__ is float64:
        node.rule = rule
        node.shape = ()
        node.dtype = double
    else:
        if y.__class__ is ndarray and not y.ndim:
            y = y[()]
        node.dtype = dtype = y.dtype
        node.rule = rule if dtype is double or dtype is single else rule_for(rule, dtype)
        node.shape = y.shape
    node.index = next_index()
    tensor = new(Tensor)
    tensor.node = node
    tensor.data = y
    return tensor
"""

_BINARY = (
    """
def {method}(self, other, rule=rule):
    a = self.node
    if a is None or watchers:
        return recorded(rule, self, other)
    kind = other.__class__
    if kind is Tensor:
        b = other.node
        if b is None:
            return record(rule, (self, other))
        u, v = self.data, other.data
        try:
            y = {expression}
        except (ValueError, TypeError) as error:
            raise named(error, {name!r}, (self, other)) from None
        {keep}
        node = Node()
        node.value = {output}
    elif kind is float or kind is int or kind is float64 or kind is ndarray and other.dtype is not objects:
        u, v = self.data, other
        try:
            y = {expression}
        except (ValueError, TypeError) as error:
            raise named(error, {name!r}, (self, other)) from None
        {choose}
        {keep_left}
        b = constant(v, {keep_constant})
        node = Node()
        node.value = {output_left}
    else:
        return recorded(rule, self, other)
"""
    + _MADE
)

_REFLECTED = (
    """
def {method}(self, other, rule=rule):
    b = self.node
    kind = other.__class__
    if b is None or watchers or not (kind is float or kind is int or kind is float64 or kind is ndarray):
        return recorded(rule, other, self)
    if kind is ndarray and other.dtype is objects:
        return record(rule, (other, self))
    u, v = other, self.data
    try:
        y = {expression}
    except (ValueError, TypeError) as error:
        raise named(error, {name!r}, (other, self)) from None
    {keep_right}
    a = constant(u, {keep_constant_left})
    node = Node()
    node.value = {output_right}
"""
    + _MADE
)

_UNARY = (
    """
def {method}(self, rule=rule):
    a = self.node
    if a is None or watchers:
        return record(rule, (self,))
    u = self.data
    if u.__class__ is not float64:
        dtype = u.dtype
        if dtype is not double and dtype is not single:
            return record(rule, (self,))
    y = {expression}
    {keep}
    node = Node()
    node.value = {output}
"""
    + _MADE
)


def rule_for(rule: Rule, dtype: np.dtype[Any]) -> Rule:
    """The rule for results of this dtype."""
    return rule.complex_rule if dtype.kind == "c" and rule.complex_rule is not None else rule


def recorded(rule: Rule, a: Any, b: Any) -> Any:
    """Record a Python operator; what NumPy would not know is left to the other operand's class."""
    known = Tensor, ndarray, np.generic, int, float, complex, list
    if all(isinstance(x, known) or hasattr(x, "dtype") for x in (a, b)):
        return record(rule, [np.asarray(x) if x.__class__ is list else x for x in (a, b)])
    return NotImplemented


PRINTED: dict[str, Any] = {
    "BIG": BIG, "Node": Node, "Tensor": Tensor, "apply": apply, "constant": constant, "double": double,
    "float64": float64, "large_matmul": matmul, "named": named, "ndarray": ndarray, "new": object.__new__,
    "next_index": next_index, "objects": objects, "record": record, "recorded": recorded, "rule_for": rule_for,
    "single": single, "square": np.square, "watchers": watchers,
}  # fmt: skip


def _bind(template: str, method: str, rule: Rule, expression: str) -> Callable[..., Any]:
    arity = 1 if template is _UNARY else 2

    def keeps(*active: bool) -> tuple[str, bool, bool, str]:
        positions, keep_output = kept(rule, active)
        stores = [f"{LETTERS[i]}.value = {'uv'[i]}" for i in positions if active[i]]
        return "; ".join(stores) or "pass", 0 in positions, 1 in positions, "y" if keep_output else "None"

    keep, _, _, output = keeps(*[True] * arity)
    fields: dict[str, Any] = {"keep": keep, "output": output, "operands": "(a, b)" if arity == 2 else "(a,)"}
    if arity == 2:
        fields["keep_left"], _, fields["keep_constant"], fields["output_left"] = keeps(True, False)
        fields["keep_right"], fields["keep_constant_left"], _, fields["output_right"] = keeps(False, True)
    fields["choose"] = "rule = rule.variant(rule, (u, v), (a, None))" if rule.variant else "pass"
    source = template.format(method=method, name=rule.name, expression=expression, **fields)
    namespace = PRINTED | {"rule": rule, "value": rule.value}
    exec(compile(source, f"<Tensor.{method}>", "exec"), namespace)
    bound: Callable[..., Any] = namespace[method]
    bound.__doc__ = f"NumPy's `{rule.name}`, recorded."
    return bound


def _comparison(rule: Any, function: Any) -> Callable[[Tensor, Any], Any]:
    def compare(self: Tensor, other: Any) -> Any:
        if watchers:
            return record(rule, (self, other))
        return function(self.data, plain(other))

    return compare


def _method(function: Any) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        return call(function, (self, *args), options)

    method.__doc__ = f"NumPy's `{function.__name__}` of this Tensor, recorded."
    return method


def _in_place(operator: str) -> Callable[[Tensor, Any], Tensor]:
    def in_place(self: Tensor, other: Any) -> Tensor:
        return overwrite(self, getattr(self, operator)(other))

    return in_place


def _expression(rule: Rule, symbol: str | None) -> str:
    """How a printed operator computes its value: large results go on recycled memory."""
    if rule.name == "matmul":
        return "large_matmul(u, v) if u.__class__ is ndarray and u.nbytes >= BIG else u @ v"
    arguments = "u" if len(rule.partials) == 1 else "u, v"
    plainly = f"u {symbol} v" if symbol else f"value({arguments})"
    if not isinstance(rule.value, np.ufunc):
        return plainly
    is_big = "u.__class__ is ndarray and u.nbytes >= BIG"
    if rule.name == "power":  # ndarray's ** knows that a square is no power
        return f"apply(square, u) if {is_big} and v.__class__ is int and v == 2 else {plainly}"
    return f"apply(value, {arguments}) if {is_big} else {plainly}"


def bind_operators() -> None:
    """Give Tensor Python's operators, and ndarray's methods of the functions that have a rule."""
    symbols = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "matmul": "@"}
    for rule in list(rules.values()):
        arity = len(rule.partials) or (2 if rule.name == "matmul" else 0)
        if arity == 1:
            unary[rule.value] = bound = _bind(_UNARY, rule.name, rule, _expression(rule, None))
            if not hasattr(Tensor, rule.name):  # NumPy's loops over object arrays call these methods
                setattr(Tensor, rule.name, bound)
        elif arity == 2:
            expression = _expression(rule, symbols.get(rule.name))
            binary[rule.value] = tuple(_bind(form, rule.name, rule, expression) for form in (_BINARY, _REFLECTED))
    operators: dict[str, Any] = {
        "truediv": np.divide,
        "sub": np.subtract,
        "mul": np.multiply,
        "pow": np.power,
        "mod": np.remainder,
    }
    operators |= {"add": np.add, "matmul": np.matmul, "floordiv": np.floor_divide}
    for name, ufunc in operators.items():
        forward, reflected = binary[ufunc]
        setattr(Tensor, f"__{name}__", forward)
        setattr(Tensor, f"__r{name}__", reflected)
        setattr(Tensor, f"__i{name}__", _in_place(f"__{name}__"))
    for name, function in {"neg": np.negative, "pos": np.positive, "abs": np.absolute}.items():
        setattr(Tensor, f"__{name}__", unary[function])
    comparisons: dict[str, Any] = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
    for name, ufunc in (comparisons | {"eq": np.equal, "ne": np.not_equal}).items():
        setattr(Tensor, f"__{name}__", _comparison(rules[ufunc.__name__], ufunc))
    methods = (
        "sum mean prod max min var std cumsum cumprod reshape ravel transpose swapaxes squeeze diagonal trace repeat "
        "take dot clip round argmax argmin argsort any all nonzero searchsorted copy astype conj conjugate"
    )
    for name in methods.split():
        setattr(Tensor, name, _method(getattr(np, name)))
    setattr(Tensor, "flatten", lambda self, order="C": np.copy(np.ravel(self, order)))
    for name in ("reshape", "transpose"):
        setattr(Tensor, name, _spread(name))


def _spread(name: str) -> Callable[..., Any]:
    """Let `t.reshape(2, 3)` mean `t.reshape((2, 3))`, as ndarray's methods do."""

    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        if len(args) != 1:
            args = (args,) if args else ()
        return record(rules[name], (self,), args, options)

    return method
