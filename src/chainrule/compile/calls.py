"""What tracing must know of the functions that are called, and what their arguments do not show.

What they write to, whether their results' length depends on values, and whether an error is one of values: each is a
reason to check something in later calls, or to refuse the trace.
"""

from __future__ import annotations

import operator
from types import FunctionType
from typing import Any

import numpy as np

from ..errors import is_ours
from ..tensor import traced_among
from .steps import Method, Step, function_name, operands

__all__ = [
    "AT_FAULT",
    "ORDERING",
    "STATIC",
    "UFUNCS",
    "WRITING",
    "asks_for_order",
    "calls_back",
    "length_varies",
    "may_be_of_values",
]

# Python's operators on arrays are these ufuncs, which can be told where to put the result.
UFUNCS: dict[Any, np.ufunc] = {
    operator.add: np.add, operator.sub: np.subtract, operator.mul: np.multiply, operator.truediv: np.divide,
    operator.floordiv: np.floor_divide, operator.mod: np.remainder, operator.matmul: np.matmul,
    operator.neg: np.negative, operator.pos: np.positive, operator.abs: np.absolute, operator.invert: np.invert,
    operator.lt: np.less, operator.le: np.less_equal, operator.eq: np.equal, operator.ne: np.not_equal,
    operator.gt: np.greater, operator.ge: np.greater_equal,
}  # fmt: skip
# What depends on shapes and dtypes alone.
STATIC = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj, np.common_type}
STATIC |= {np.may_share_memory, np.shares_memory}
# What writes to its first argument: methods of ndarray by name, and functions.
WRITING: frozenset[Any] = frozenset(
    ["fill", "itemset", "partition", "put", "resize", "sort", "setflags"]
    + [np.copyto, np.put, np.putmask, np.place, np.fill_diagonal, np.put_along_axis]
)
# What is a view or a copy, depending on how its operand lies in memory.
ORDERING = frozenset(["ravel", "flatten", "reshape"])
# What returns as many elements as the values say.
VARYING = frozenset(
    ["nonzero", "flatnonzero", "argwhere", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"]
    + ["extract", "compress", "union1d", "intersect1d", "setdiff1d", "setxor1d", "trim_zeros", "bincount", "ix_"]
    + ["histogram", "histogramdd"]
)
# What is given numbers that are no lengths.
KEEPING = frozenset(["clip", "round", "take", "roll", "item", "full_like", "fill", "copyto", "setitem"])
# What returns as many as the arguments after the first say.
REPEATING = frozenset(["repeat", "tile", "pad", "resize", "diag", "diagflat", "eye", "tri", "linspace"])
# Python's operators on arrays, whose results have the shape that the operands' shapes make.
STEADY = frozenset(function for function in vars(operator).values() if callable(function)) - {operator.getitem}
# Errors that a call which may raise for values is looked at for, and those of them that shapes never cause.
OF_VALUES = (ArithmeticError, np.linalg.LinAlgError)
AT_FAULT = (*OF_VALUES, ValueError, IndexError)


def asks_for_order(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether the result depends on how an operand lies in memory."""
    return function_name(function) in ORDERING and any(
        type(x) is str and x in "KA" for x in (*args[1:], *options.values())
    )


def calls_back(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Why a function of NumPy is refused that calls one of the user's, made in the function; "" if it is not."""
    if not (getattr(function, "__module__", None) or "").startswith("numpy"):
        return ""
    given = [x for arg in (*args, *options.values()) for x in (arg if type(arg) in (list, tuple) else (arg,))]
    if not any(isinstance(x, FunctionType) and "<locals>" in x.__qualname__ for x in given):
        return ""
    name = function_name(function)
    instead = {"piecewise": "np.where, or np.select,", "apply_along_axis": "axis=, np.stack([f(row) for row in x]),"}
    what = instead.get(name, "a loop,") + " or pass a function of the module"
    return f"np.{name} calls a function with plain arrays, which is not written down: write {what}"


def length_varies(step: Step) -> bool:
    """Whether the shape of a result depends on values."""
    if isinstance(step.function, np.ufunc) or step.function in STEADY:
        return False
    if (getattr(step.function, "__module__", None) or "").startswith("scipy."):
        return True  # perhaps
    name = step.name.strip("_")
    if name == "where":
        return len(step.args) == 1
    chosen = operands(*step.args[1:], step.options)
    if name in VARYING or any(var.dtype == np.bool for var in chosen):
        return True
    if step.function is operator.getitem:
        index = step.args[1] if type(step.args[1]) is tuple else step.args[1:]
        return any(type(part) is slice and operands(part) for part in index)
    counts = any(var.dtype.kind in "iu" and not var.shape for var in chosen)
    return (name in REPEATING and bool(chosen)) or (counts and name not in KEEPING and not _is_rule(step.function))


def _is_rule(function: Any) -> bool:
    return type(function) is not Method and is_ours(getattr(function, "__module__", None))


def may_be_of_values(error: Exception, function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an error of a call may be one of values, and not of shapes."""
    if isinstance(error, OF_VALUES):
        return True
    if isinstance(error, np.exceptions.AxisError):
        return False
    if function in (operator.getitem, operator.setitem):
        return any(True for _ in traced_among(args[1:2]))
    if isinstance(function, np.ufunc) or function in STEADY:
        try:
            np.broadcast_shapes(*map(np.shape, args))
        except ValueError:
            return False
    return True
