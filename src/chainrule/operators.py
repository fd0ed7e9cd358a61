"""Tensor's operators and methods, bound once at import.

They are the hot path: each operator is printed from one of three templates, so that an operation costs no call and no
look-up beyond NumPy's own.  `record` does the same for every case; it takes 0.5 to 1.5 µs longer.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .graph import Node, constant, next_index, watchers
from .inplace import overwrite
from .memory import BIG, apply, matmul
from .rules.registry import LETTERS, Rule, kept, rules, sparse_product
from .tensor import Indirect, Tensor, binary, call, named, plain, record, unary

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
    if a.__class__ is complex and rule.value is operator.pow and plain(b).__class__ is float64:
        a = np.complex128(a)  # Python's own power takes a float64 for a float, and gives no NumPy scalar
    if rule.name == "matmul" and (hasattr(a, "tocoo") or hasattr(b, "tocoo")):
        return sparse_product(a, b)
    known = Tensor, ndarray, np.generic, int, float, complex, list, tuple
    if all(isinstance(x, known) or hasattr(x, "dtype") or hasattr(type(x), "_record") for x in (a, b)):
        return record(rule, [np.asarray(x) if isinstance(x, list | tuple) else x for x in (a, b)])
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
        if watchers or self.written:
            return record(rule, (self, other))
        return function(self.data, plain(other))

    return compare


def _method(function: Any) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        return call(function, (self, *args), options)

    method.__doc__ = f"NumPy's `{function.__name__}` of this Tensor, recorded."
    return method


def _bitwise(ufunc: np.ufunc, reflected: bool) -> Callable[[Tensor, Any], Any]:
    """An operator of truth values, which Tensors are in a trace; of floating-point numbers, NumPy's TypeError."""

    def operate(self: Tensor, other: Any) -> Any:
        return ufunc(other, self) if reflected else ufunc(self, other)

    return operate


def _of_values(name: str) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        return getattr(self.data, name)(*args, **options)

    method.__doc__ = f"ndarray's `{name}` of the value."
    return method


def _absent(name: str, reason: str) -> property:
    def refuse(self: Tensor) -> Any:
        raise AttributeError(f"a Tensor has no {name}, which {reason}; t.data.{name} is that of its value")

    return property(refuse)


def _in_place(method: str) -> Callable[[Tensor, Any], Any]:
    def in_place(self: Tensor, other: Any) -> Any:
        result = getattr(self, method)(other)
        if result is NotImplemented or not (self.ndim or hasattr(self, "leaf")):
            return result  # NumPy's 0-d results are scalars, which never change
        return overwrite(self, result)

    return in_place


def _expression(rule: Rule, symbol: str | None) -> str:
    """How a printed operator computes its value: large results go on recycled memory."""
    if rule.name == "matmul":
        return "large_matmul(u, v) if u.__class__ is ndarray and u.nbytes >= BIG else u @ v"
    arguments = "u" if len(rule.partials) == 1 else "u, v"
    plainly = f"u {symbol} v" if symbol else f"value({arguments})"
    is_big = "u.__class__ is ndarray and u.nbytes >= BIG"
    if rule.value is operator.pow:  # ndarray's ** knows that a square is no power
        return f"apply(square, u) if {is_big} and v.__class__ is int and v == 2 else {plainly}"
    return f"apply(value, {arguments}) if {is_big} else {plainly}" if rule.recycles else plainly


# Python's operators, by what computes them: the names of the methods on Tensor.
SYMBOLS: dict[Callable[..., Any], str] = {np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/"}
SYMBOLS |= {operator.pow: "**", np.matmul: "@"}
BINARY: dict[Callable[..., Any], str] = {np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "truediv"}
BINARY |= {operator.pow: "pow", np.matmul: "matmul", np.remainder: "mod", np.floor_divide: "floordiv"}
BITWISE: dict[str, Any] = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
BITWISE |= {"lshift": np.left_shift, "rshift": np.right_shift}
UNARY = {"negative": "__neg__", "positive": "__pos__", "absolute": "__abs__"}
METHODS = (
    "sum mean prod max min var std cumsum cumprod reshape ravel transpose swapaxes squeeze diagonal trace repeat take "
    "dot clip round argmax argmin argsort argpartition any all nonzero searchsorted copy astype choose"
)
# On boolean and integer Tensors, of a trace; others are refused, by name, as NumPy refuses such arrays.
# What an ndarray has and a Tensor has not, and why.
ABSENT = dict.fromkeys(["view", "byteswap", "getfield", "setfield"], "reads or writes memory as another dtype")
ABSENT |= dict.fromkeys(["strides", "base", "ctypes", "setflags"], "is about memory")


def _publish(rule: Rule, functions: tuple[Callable[..., Any], ...], instead: tuple[Any, ...] = ()) -> None:
    """Make printed functions what operators, methods and ufuncs of this rule run, in the place of others if given."""
    names: dict[str, Callable[..., Any]]
    if len(functions) == 1:
        rule.operator = functions[0]
        names = dict.fromkeys([rule.name, *([UNARY[rule.name]] if rule.name in UNARY else [])], functions[0])
        if isinstance(rule.value, np.ufunc):
            unary[rule.value] = functions[0]
    else:
        name = BINARY.get(rule.value)
        names = {f"__{name}__": functions[0], f"__r{name}__": functions[1]} if name else {rule.name: functions[0]}
        if isinstance(rule.value, np.ufunc):
            binary[rule.value] = functions
    for name, function in names.items():  # the methods are also what NumPy's loops over object arrays call
        if Tensor.__dict__.get(name) in (None, *instead):
            setattr(Tensor, name, function)
            setattr(Indirect, name, _unprinted(rule, reflected=function is functions[-1] and len(functions) > 1))


def _unprinted(rule: Rule, reflected: bool) -> Callable[..., Any]:
    """The operator of Tensors on memory that may change: `record` copies what the derivative reads."""
    if reflected:
        return lambda self, other: recorded(rule, other, self)
    return lambda self, *other: recorded(rule, self, *other) if other else record(rule, (self,))


def _print(rule: Rule, instead: tuple[Any, ...] = ()) -> None:
    arity = len(rule.partials) or 2
    expression = _expression(rule, SYMBOLS.get(rule.value))
    forms = (_UNARY,) if arity == 1 else (_BINARY, _REFLECTED)
    _publish(rule, tuple(_bind(form, rule.name, rule, expression) for form in forms), instead)


def _print_on_first_use(rule: Rule) -> None:
    """Publish functions that print the real ones when called: printing them all at import would take 20 ms."""

    def first(a: Any, *b: Any) -> Any:
        _print(rule, (first, second))
        return recorded(rule, a, *b) if b else record(rule, (a,))

    def second(b: Any, a: Any) -> Any:
        _print(rule, (first, second))
        return record(rule, (a, b))

    _publish(rule, (first,) if len(rule.partials) == 1 else (first, second))


def bind_operators() -> None:
    """Give Tensor Python's operators, and ndarray's methods of the functions that have a rule."""
    # Not np.power: ndarray's ** squares, takes roots and reads the exponent's dtype in its own way.
    power = replace(rules["power"], value=operator.pow)
    for rule in [power, *rules.values()]:
        if rule.value in SYMBOLS or rule.name == "negative":
            _print(rule)
        elif len(rule.partials) in (1, 2):
            _print_on_first_use(rule)
    for rule in (rules["multiply"], rules["divide"]):  # of complex numbers, np.multiply(u, v) is not u * v to the bit
        both = f"u {SYMBOLS[rule.value]} v if u.__class__ is v.__class__ is float64 else {_expression(rule, None)}"
        binary[rule.value] = tuple(_bind(form, rule.name, rule, both) for form in (_BINARY, _REFLECTED))
    for name in BINARY.values():
        setattr(Tensor, f"__i{name}__", _in_place(f"__{name}__"))
    comparisons: dict[str, Any] = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
    for name, ufunc in (comparisons | {"eq": np.equal, "ne": np.not_equal}).items():
        setattr(Tensor, f"__{name}__", _comparison(rules[ufunc.__name__], ufunc))
    for name, ufunc in BITWISE.items():
        for method in (f"__{name}__", f"__r{name}__"):
            setattr(Tensor, method, _bitwise(ufunc, reflected=method != f"__{name}__"))
        setattr(Tensor, f"__i{name}__", _in_place(f"__{name}__"))
    setattr(Tensor, "__invert__", lambda self: np.invert(self))  # noqa: PLW0108 (a ufunc is no method)
    for name in METHODS.split():
        setattr(Tensor, name, _method(getattr(np, name)))
    setattr(
        Tensor, "compress", lambda self, condition, *args, **options: np.compress(condition, self, *args, **options)
    )
    for name in ("conj", "conjugate"):  # the methods return a real array itself, the functions a copy
        setattr(Tensor, name, lambda self: np.conjugate(self) if self.dtype.kind == "c" else self)
    setattr(Tensor, "__contains__", lambda self, value: plain(value) in self.data)
    for name in ("tobytes", "tofile", "dump", "dumps"):
        setattr(Tensor, name, _of_values(name))
    for name, reason in ABSENT.items():
        setattr(Tensor, name, _absent(name, reason))
    setattr(Tensor, "flags", property(lambda self: self.data.flags))
    setattr(Tensor, "__round__", lambda self, decimals=0: np.round(self, decimals))
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
