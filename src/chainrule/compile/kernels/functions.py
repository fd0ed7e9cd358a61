"""The elementwise operations of kernels, as a table: each is a formula in vectors, in float32 and float64 alike.

NaN, infinities, signed zeros and subnormal numbers come out as NumPy's do.  Operations that are one machine
instruction round as NumPy's; the others, which are polynomials after argument reduction, are within `ULPS` units in
the last place.  No formula is contracted, reassociated or otherwise loosened by the compiler: where a fused
multiply-add is wanted it is written.  (Only which of the zeros 0.0 and -0.0 a maximum or minimum gives is open: in
NumPy it depends on the processor, and for fmax and fmin on where in the array they are.  Here it is the second one.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

from . import elementary
from .vector import SCALAR, Vector, where

__all__ = [
    "COMPARING",
    "DIVIDING",
    "LOGICAL",
    "POWERS",
    "PREDICATES",
    "TABLE",
    "ULPS",
    "apply",
    "astype",
    "exact_ops",
    "maximum",
    "minimum",
    "supported",
]


def maximum(a: Vector, b: Vector) -> Vector:
    """The larger; NaN if there is one."""
    larger = where(a > b, a, b)
    return where(a.isnan(), a, larger) if a.dtype[0] == "f" else larger


def minimum(a: Vector, b: Vector) -> Vector:
    """The smaller; NaN if there is one."""
    smaller = where(a < b, a, b)
    return where(a.isnan(), a, smaller) if a.dtype[0] == "f" else smaller


def _absolute(a: Vector) -> Vector:
    return abs(a) if a.dtype[0] == "f" else where(a < 0, -a, a)


def _sign(a: Vector) -> Vector:
    sign = where(a > 0, a.like(1), where(a < 0, a.like(-1), a.like(0)))
    return where(a.isnan(), a, sign) if a.dtype[0] == "f" else sign


def _root(x: Vector) -> Vector:
    """C's pow(x, 0.5), which is not sqrt for -0.0 and -inf."""
    return where(x.compare("eq", -math.inf), x.like(math.inf), (x + 0.0).call("sqrt"))


def _logaddexp(a: Vector, b: Vector) -> Vector:
    distance = where(a.compare("eq", b), a.like(0), abs(a - b))  # also of equal infinities
    return maximum(a, b) + elementary.log1p(elementary.exp(-distance))


def _heaviside(a: Vector, at_zero: Vector) -> Vector:
    step = where(a > 0, a.like(1), where(a < 0, a.like(0), at_zero))
    return where(a.isnan(), a, step)


def astype(a: Vector, dtype: str) -> Vector:
    """As another dtype."""
    if dtype == a.dtype:
        return a
    source, target = a.dtype[0], dtype[0]
    if dtype == "bool":
        return a.compare("ne", 0)
    if a.dtype == "bool":
        return where(a, a.writer.constant(dtype, 1), 0.0)
    if source == target:
        wider = int(dtype[1]) > int(a.dtype[1])
        return a.convert({"f": ("fptrunc", "fpext"), "i": ("trunc", "sext")}[source][wider], dtype)
    return a.convert("sitofp", dtype)


POWERS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # exponents of `power`


def _power(x: Vector, exponent: float) -> Vector:
    if exponent == 0.5:
        return x.call("sqrt")  # as NumPy has it, of arrays
    if exponent == -0.5:
        return 1 / _root(x)
    base, k = (x, int(exponent)) if exponent > 0 else (1 / x, -int(exponent))
    result = None
    while k:
        if k & 1:
            result = base if result is None else result * base
        base, k = base * base, k >> 1
    return x.like(1) if result is None else result


Formula = Callable[..., Vector]
_F, _FI, _FIB, _B = ("f4", "f8"), ("f4", "f8", "i4", "i8"), ("f4", "f8", "i4", "i8", "bool"), ("bool",)
_EXACTLY = 0.5

# name: (formula, dtypes of the operands, error in units in the last place; 0.5 is correctly rounded, as in NumPy)
TABLE: dict[str, tuple[Formula, tuple[str, ...], float]] = {
    "add": (lambda a, b: a + b, _FI, _EXACTLY),
    "subtract": (lambda a, b: a - b, _FI, _EXACTLY),
    "multiply": (lambda a, b: a * b, _FI, _EXACTLY),
    "divide": (lambda a, b: a / b, _F, _EXACTLY),
    "negative": (lambda a: -a, _FI, _EXACTLY),
    "positive": (lambda a: a, _FI, _EXACTLY),
    "reciprocal": (lambda a: 1 / a, _F, _EXACTLY),
    "square": (lambda a: a * a, _FI, _EXACTLY),
    "sqrt": (lambda a: a.call("sqrt"), _F, _EXACTLY),
    "root": (_root, _F, 1),
    "absolute": (_absolute, _FI, _EXACTLY),
    "sign": (_sign, _FI, _EXACTLY),
    "maximum": (maximum, _FI, _EXACTLY),
    "minimum": (minimum, _FI, _EXACTLY),
    "fmax": (lambda a, b: where(b.isnan(), a, where(a > b, a, b)), _F, _EXACTLY),
    "fmin": (lambda a, b: where(b.isnan(), a, where(a < b, a, b)), _F, _EXACTLY),
    "copysign": (lambda a, b: a.copysign(b), _F, _EXACTLY),
    "heaviside": (_heaviside, _F, _EXACTLY),
    "floor": (lambda a: a.call("floor"), _F, _EXACTLY),
    "ceil": (lambda a: a.call("ceil"), _F, _EXACTLY),
    "trunc": (lambda a: a.call("trunc"), _F, _EXACTLY),
    "rint": (lambda a: a.call("rint"), _F, _EXACTLY),
    "greater": (lambda a, b: a > b, _FI, _EXACTLY),
    "greater_equal": (lambda a, b: a >= b, _FI, _EXACTLY),
    "less": (lambda a, b: a < b, _FI, _EXACTLY),
    "less_equal": (lambda a, b: a <= b, _FI, _EXACTLY),
    "equal": (lambda a, b: a.compare("eq", b), _FIB, _EXACTLY),
    "not_equal": (lambda a, b: a.compare("ne", b), _FIB, _EXACTLY),
    "isnan": (lambda a: a.isnan(), _F, _EXACTLY),
    "isfinite": (lambda a: abs(a) < math.inf, _F, _EXACTLY),
    "isinf": (lambda a: abs(a).compare("eq", math.inf), _F, _EXACTLY),
    "signbit": (lambda a: a.bits < 0, _F, _EXACTLY),
    "logical_and": (lambda a, b: a & b, _B, _EXACTLY),
    "logical_or": (lambda a, b: a | b, _B, _EXACTLY),
    "logical_xor": (lambda a, b: a ^ b, _B, _EXACTLY),
    "logical_not": (lambda a: a ^ 1, _B, _EXACTLY),
    "exp": (elementary.exp, _F, 2),
    "exp2": (elementary.exp2, _F, 2),
    "expm1": (elementary.expm1, _F, 3),
    "log": (elementary.log, _F, 2),
    "log2": (elementary.log2, _F, 3),
    "log10": (elementary.log10, _F, 4),
    "log1p": (elementary.log1p, _F, 3),
    "logaddexp": (_logaddexp, _F, 4),
    "sin": (elementary.sin, _F, 3),
    "cos": (elementary.cos, _F, 3),
    "tan": (elementary.tan, _F, 4),
    "arctan": (elementary.arctan, _F, 3),
    "sinh": (elementary.sinh, _F, 3),
    "cosh": (elementary.cosh, _F, 3),
    "tanh": (elementary.tanh, _F, 4),
    "sigmoid": (elementary.sigmoid, _F, 3),
    "exp_minus_square": (lambda a: elementary.bell(a, 1.0), _F, 3),
    "exp_minus_half_square": (lambda a: elementary.bell(a, 0.5), _F, 3),
    "erf": (elementary.erf, _F, 3),
    "erfc": (elementary.erfc, _F, 4),
    "ndtr": (elementary.ndtr, _F, 4),
}

ULPS = {name: error for name, (_, _, error) in TABLE.items()} | {"power": 4.0}
"""The largest error of each operation, in units in the last place.

Of "logaddexp", whose terms may cancel as they do in NumPy: in units of its larger operand, where that is larger.
"""

exact_ops = frozenset(name for name, error in ULPS.items() if error == _EXACTLY) | {
    "where",
    "astype",
    "max",
    "min",
    "any",
}
"""The operations whose results are NumPy's bit for bit."""

DIVIDING = frozenset({"divide", "reciprocal", "sqrt", "root"})
"""The operations that are one instruction, but one that takes as long as some ten others."""

COMPARING = frozenset(
    {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "isnan", "isfinite", "isinf", "signbit"}
)
LOGICAL = frozenset({"logical_and", "logical_or", "logical_not", "logical_xor"})
PREDICATES = COMPARING | LOGICAL
"""The operations whose results are truth values."""

_CONVERSIONS = frozenset(
    (a, b) for a in SCALAR for b in SCALAR if a == b or b == "bool" or not (a[0] == "f" and b[0] == "i")
)


def supported(name: str, dtypes: tuple[str, ...], exponent: float | None = None) -> bool:
    """Whether a kernel can compute an operation.

    Parameters
    ----------
    name : str
        As in `Op`.
    dtypes : tuple of str
        Of the operands, the condition of "where" included; of "astype", of the operand and the result.
    exponent : float, optional
        For "power", which has only constant exponents.
    """
    if name in TABLE:
        return len(set(dtypes)) == 1 and dtypes[0] in TABLE[name][1]
    if name == "where":
        return len(dtypes) == 3 and dtypes[0] == "bool" and dtypes[1] == dtypes[2] in SCALAR
    if name == "astype":
        return tuple(dtypes) in _CONVERSIONS
    if name == "power":
        return exponent in POWERS and dtypes[0] in _F
    if name == "any":
        return set(dtypes) == {"bool"}
    return name in ("sum", "max", "min") and (dtypes[0] in _F or (name, *dtypes) == ("sum", "i8"))


def apply(name: str, operands: list[Vector], dtype: str, exponent: float | None = None) -> Vector:
    """Write an operation."""
    if name == "astype":
        return astype(operands[0], dtype)
    if name == "power":
        assert exponent is not None
        return _power(operands[0], exponent)
    if name == "where":
        return where(*operands)
    return TABLE[name][0](*operands)
