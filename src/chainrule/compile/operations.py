"""What a step is to a kernel: an operation by name, in some dtype, or a reduction; or nothing that kernels do."""

from __future__ import annotations

import operator
import sys
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..rules.registry import computed_by
from .calls import UFUNCS
from .kernels import CODES, COMPARING, LOGICAL, ULPS, supported
from .program import is_reduction
from .steps import Method, Step, Var

__all__ = ["axes_of", "is_supported", "operand_dtype", "operation_of", "reduction_of"]

ANY = {Method("any"), np.any}
OF_INTEGERS = {"add", "subtract", "multiply", "maximum", "minimum"}  # that kernels do
OF_TRUTH_VALUES = {"where", "astype"}
OF_TRUTHS = {
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "invert": "logical_not",
}
# Whether np.power(x, 0.5) is C's, as it was in NumPy 2.0, or the root.
POWER_IS_C = not np.signbit(np.power(np.full(1, -0.0), 0.5))[0]
REDUCING = {np.add: "sum", np.maximum: "max", np.minimum: "min"}


# -- elementwise ---------------------------------------------------------------------------------------------------
def operation_of(step: Step) -> tuple[str, tuple[Any, ...]] | None:
    """The kernel's name of an elementwise step, and its operands; None if it has none."""
    name = _name_of(step)
    return None if name is None else (name, step.args[:1] if name == "root" else step.args)


def _name_of(step: Step) -> str | None:
    if step.function is np.where:
        return "where" if len(step.args) == 3 and not step.options else None
    if step.function is operator.pow:  # which is C's of numbers, and NumPy's of arrays
        return "root" if step.results.scalar and step.args[1] == 0.5 else "power"
    if step.function == Method("astype") and len(step.args) == 2 and not step.options:
        return "astype"
    function = UFUNCS.get(step.function, step.function)
    if step.options:
        return None
    if function is np.power and step.args[1] == 0.5 and POWER_IS_C:
        return "root"
    rule = computed_by.get(function)
    if isinstance(function, np.ufunc) and function.signature is None:
        name = str(function.__name__)
        if rule is None and not _is_known(function):
            return None  # somebody else's, which may do something else
        truths = step.results.dtype == np.bool and all(type(x) is Var for x in step.args)
        return OF_TRUTHS.get(name, name) if truths else name
    return rule.name if rule is not None and rule.name in ULPS else None


def _is_known(ufunc: np.ufunc) -> bool:
    """Whether a ufunc is NumPy's or SciPy's, whose names say what they do."""
    return any(getattr(module, ufunc.__name__, None) is ufunc for module in (np, sys.modules.get("scipy.special")))


def operand_dtype(step: Step, name: str) -> Any:
    """The dtype of the operands, but for a choice's condition and what is converted; None if kernels do not have it."""
    y, args = step.results, step.args
    if name in COMPARING:
        dtype = np.result_type(*(_weak(x) if type(x) is not Var or x.python else x.dtype for x in args))
        return dtype if dtype in CODES and dtype.kind != "i" else None
    if name in LOGICAL:
        return np.dtype(bool)
    if y.dtype not in CODES or (y.dtype.kind == "i" and not all(map(_is_small, args))):
        return None
    known = y.dtype.kind == "f" or name in (OF_INTEGERS if y.dtype.kind == "i" else OF_TRUTH_VALUES)
    return y.dtype if known else None


def is_supported(name: str, args: tuple[Any, ...], dtype: str) -> bool:
    """Whether there is a kernel for an operation other than a conversion, with operands of this dtype."""
    if name == "where":
        return supported(name, ("bool", dtype, dtype))
    if name == "power":
        return type(args[1]) is not Var and type(args[0]) is Var and supported(name, (dtype,), float(args[1]))
    return supported(name, (dtype,) * sum(type(x) is Var for x in args))


def _weak(x: Any) -> Any:
    """A Python number of the kind that an operand is, for asking which precision it takes."""
    return x.dtype.type(0).item() if type(x) is Var else x


def _is_small(x: Any) -> bool:
    """Whether a value is an array, or an integer that a float can hold."""
    return type(x) is Var or (type(x) is int and abs(x) < 1 << 31)


# -- reductions ----------------------------------------------------------------------------------------------------
def reduction_of(step: Step) -> tuple[str, tuple[int, ...]] | None:
    """Which reduction a step is, and over which axes."""
    if step.function in ANY and len(step.args) == 1 and not step.options:
        x = step.args[0]
        return ("any", tuple(range(len(x.shape)))) if type(x) is Var and x.dtype == np.bool else None
    ufunc = step.function.__self__ if is_reduction(step) else None
    if ufunc not in REDUCING or len(step.args) != 1:
        return None
    x = step.args[0]
    if type(x) is not Var or x.dtype not in CODES or set(step.options) - {"axis", "keepdims"}:
        return None
    counts = ufunc is np.add and x.dtype == np.bool and step.results.dtype == np.int64
    if x.dtype.kind != "f" and not counts:
        return None
    axes = axes_of(step)
    return (REDUCING[ufunc], axes) if axes else None


def axes_of(step: Step) -> tuple[int, ...]:
    """The axes of a reduction."""
    rank, axis = len(step.args[0].shape), step.options.get("axis", 0)
    if axis is None or not rank:  # of a number, NumPy takes an axis 0, too
        return tuple(range(rank))
    return tuple(sorted(normalize_axis_tuple(axis, rank)))
