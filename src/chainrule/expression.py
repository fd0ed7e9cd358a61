"""Expressions typed as text: Python's syntax, of which only what is listed here is allowed; nothing is run by `eval`.

An expression consists of numbers, names that were given values, ``+ - * / ** @``, comparisons, indices, ``.T``, lists,
and calls of the functions that chainrule has a rule for, by NumPy's names, and of those of `chainrule.nn`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from . import nn
from .errors import FormulaError
from .rules.registry import Rule, functions
from .tensor import Tensor, describe

__all__ = ["evaluate", "names_in", "parse", "value_of"]

OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
CONSTANTS = {"pi": np.pi, "e": np.e, "inf": np.inf, "nan": np.nan}
OURS: dict[str, Callable[..., Any]] = {
    name: getattr(nn, name) for name in nn.__all__ if name.islower() and callable(getattr(nn, name))
}
GROUPS = {"linalg": np.linalg, "fft": np.fft}


def parse(text: str) -> ast.expr:
    """The syntax of an expression.

    Raises
    ------
    FormulaError
        If it is not one, with the place where that shows.
    """
    if not text.strip():
        raise FormulaError('this is not an expression: there is nothing to be read. Write one, such as "w*x + b"')
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = f"\n  {text.strip()}\n  {' ' * ((error.offset or 1) - 1)}^" if "\n" not in text.strip() else ""
        raise FormulaError(f"this is not an expression: {error.msg}{place}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"this is not an expression that can be read: {error}") from None


def names_in(tree: ast.expr) -> list[str]:
    """The names that need a value, in the order in which they occur."""
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    skipped = {inner for function in called for inner in ast.walk(function)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in skipped]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    return list(dict.fromkeys(node.id for node in found))


def evaluate(tree: ast.expr, values: Mapping[str, Any]) -> Any:
    """Compute an expression with these values for its names.

    Raises
    ------
    FormulaError
        If it contains something that is not allowed, or a name without a value.
    """
    match tree:
        case ast.Constant(value=value) if value is not Ellipsis and not isinstance(value, bytes):
            return value
        case ast.Name(id=name):
            if name in values:
                return values[name]
            if name in CONSTANTS:
                return CONSTANTS[name]
            raise FormulaError(f"{name} has no value. Give it one: {name}=1.0")
        case ast.List(elts=items):
            return [evaluate(item, values) for item in items]
        case ast.Tuple(elts=items):
            return tuple(evaluate(item, values) for item in items)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            first, second = _number(left, values), _number(right, values)
            if isinstance(first, float) and isinstance(
                second, float
            ):  # NumPy's, which are infinite where Python raises
                return float(OPERATIONS[type(op)](np.float64(first), np.float64(second)))
            return OPERATIONS[type(op)](first, second)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATIONS:
            found = evaluate(operand, values)
            return OPERATIONS[type(op)](found if isinstance(found, int) else _number(operand, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](_number(left, values), _number(right, values))
        case ast.Subscript(value=array, slice=index):
            return _number(array, values)[_index(index, values)]
        case ast.Attribute(value=array, attr="T"):
            return _number(array, values).T
        case ast.Call(func=function, args=arguments, keywords=keywords) if not any(
            isinstance(argument, ast.Starred) for argument in arguments
        ) and all(keyword.arg for keyword in keywords):
            options = {str(keyword.arg): evaluate(keyword.value, values) for keyword in keywords}
            return _function(function)(*(evaluate(argument, values) for argument in arguments), **options)
    raise FormulaError(
        f"`{ast.unparse(tree)}` is not allowed here: an expression has numbers, names, + - * / ** @, comparisons, "
        "indices, .T and calls of functions"
    )


def value_of(text: str) -> Any:
    """A number or array written as text: ``2``, ``pi/2``, ``[[1, 2], [3, 4]]``.

    Raises
    ------
    FormulaError
        If it is something else.
    """
    if not text.strip():
        raise FormulaError("a name was given no value: write it behind the =, as in x=1.0")
    tree = parse(text)
    if not {*names_in(tree)} <= CONSTANTS.keys():
        raise FormulaError(f"{text} is neither a number nor an array of numbers")
    try:
        array = np.asarray(evaluate(tree, {}))
    except ValueError:
        raise FormulaError(f"{text} is no array: its rows have different lengths") from None
    if array.dtype.kind not in "iufc":
        raise FormulaError(f"{text} is neither a number nor an array of numbers")
    return array.astype(float)[()] if array.dtype.kind in "iu" else array[()]


def _number(tree: ast.expr, values: Mapping[str, Any]) -> Any:
    """What arithmetic is done with: no text, and no integers of Python's, whose powers know no bounds."""
    found = evaluate(tree, values)
    if isinstance(found, list):
        return np.array(found)
    if isinstance(found, bool | int):
        return found * 1.0
    if isinstance(found, float | complex | np.generic | np.ndarray | Tensor):
        return found
    raise FormulaError(f"`{ast.unparse(tree)}` is {describe(found)}, with which one cannot calculate")


def _index(tree: ast.expr, values: Mapping[str, Any]) -> Any:
    match tree:
        case ast.Slice(lower=lower, upper=upper, step=step):
            return slice(*(None if part is None else evaluate(part, values) for part in (lower, upper, step)))
        case ast.Tuple(elts=items):
            return tuple(_index(item, values) for item in items)
        case ast.Constant(value=value) if value is Ellipsis:
            return value
    return evaluate(tree, values)


def _function(tree: ast.expr) -> Callable[..., Any]:
    """The function of this name, if it is one that calculates: not all of those in NumPy's table do."""
    path = ast.unparse(tree).removeprefix("np.").split(".")
    if len(path) == 1 and path[0] in OURS:
        return OURS[path[0]]
    group: dict[str, Any] = (
        vars(np) if len(path) == 1 else vars(GROUPS[path[0]]) if len(path) == 2 and path[0] in GROUPS else {}
    )
    if path[-1] in group and _calculates(group[path[-1]]):
        found: Callable[..., Any] = group[path[-1]]
        return found
    inside = [f"{group}.{path[-1]}" for group, module in GROUPS.items() if hasattr(module, path[-1])]
    near = inside or get_close_matches(
        path[-1], [*OURS, *(name for name, each in vars(np).items() if _calculates(each))], 3
    )
    hint = f"Did you mean {' or '.join(near)}?" if near else "There are NumPy's (docs/coverage.md), sigmoid, relu, ..."
    raise FormulaError(f"there is no function {'.'.join(path)}. {hint}")


def _calculates(function: Any) -> bool:
    """Whether there is a rule for a function: others in the table make arrays, or write to arrays or files."""
    rule = functions.get(function) if callable(function) else None
    if isinstance(rule, Rule):
        return rule.kind != "nondifferentiable" or isinstance(function, np.ufunc)
    return rule is not None and rule.__module__.startswith(f"{__package__}.rules.")
