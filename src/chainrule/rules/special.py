"""The error function and what networks build on it.  NumPy has none, so it is computed here, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import pi, sqrt
from typing import Any

import numpy as np

from ..errors import UnsupportedFunctionError
from ..memory import BIG, empty_like, in_blocks, uniform
from .registry import row

BLOCK = 16384  # elements worked on at a time: the temporaries of some seventy steps stay in the processor's cache

# Fitted at Chebyshev nodes with 60 digits.  Both are good to a few units in the last place of a float64.
# erf(x)/x for |x| < 0.5, a polynomial in x*x.
NEAR = (
    1.1283791670955126,
    -0.37612638903183476,
    0.11283791670925353,
    -0.026866170632887928,
    0.00522397737302147,
    -0.0008548297753674966,
    0.00012053335124353741,
    -1.4845849259707869e-05,
    1.4725865480556744e-06,
)
# exp(x*x)*erfc(x) for 0.5 <= x <= 28, a polynomial in 1/(1 + SCALE*x).
SCALE = 0.35
FAR = (
    -8.838648741915765e-13,
    0.1974663543132786,
    0.1974663515623338,
    0.18537160174840997,
    0.16118093084244217,
    0.12713133760194456,
    0.08752847726189354,
    0.04940788536139592,
    0.012586786302769003,
    0.01293251200720195,
    -0.07437387381747412,
    0.1687635352805333,
    -0.41825890854107906,
    0.7755455019233091,
    -1.1132234742965588,
    1.2304239022313117,
    -0.9488321421051211,
    0.41173839548719227,
    0.006268693319356641,
    -0.12903734176219198,
    0.08021410030867791,
    -0.023024888479387984,
    0.002724263497281873,
)


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    y = coefficients[-1] * x
    for coefficient in coefficients[-2:0:-1]:
        y += coefficient
        y *= x
    y += coefficients[0]
    return y


def _tail(x: Any) -> Any:
    """erfc for x >= 0.5."""
    x = np.minimum(x, 28.0)  # where it has underflowed already
    head = np.rint(x * 128.0) / 128.0  # few enough bits for an exact square: exp would magnify its rounding
    size = np.exp(-head * head) * np.exp((head - x) * (head + x))
    return size * _polynomial(FAR, 1.0 / (1.0 + SCALE * x))


def _erf_block(x: Any) -> Any:
    size = np.abs(x)
    near = x * _polynomial(NEAR, np.minimum(x * x, 0.25))
    return np.where(size < 0.5, near, np.copysign(1.0 - _tail(np.maximum(size, 0.5)), x))


def _erfc_block(x: Any) -> Any:
    size = np.abs(x)
    near = 1.0 - x * _polynomial(NEAR, np.minimum(x * x, 0.25))
    tail = _tail(np.maximum(size, 0.5))
    return np.where(size < 0.5, near, np.where(x < 0, 2.0 - tail, tail))


def _bell(x: Any, rate: Any) -> Any:
    """exp(-rate*x*x) for a rate of 1 or 1/2, to the last digits: rounding x*x would cost x*x of them."""
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        if type(x) is np.ndarray and x.nbytes >= BIG and uniform(x) and type(rate) is float:
            y = empty_like(x)
            in_blocks(partial(_bell_into, rate), 2, y, x)
            return y
        head = np.clip(np.rint(x * 128.0) / 128.0, -40.0, 40.0)  # as in `_tail`; it is zero long before 40
        return np.exp(-rate * (head * head)) * np.exp(rate * ((head - x) * (head + x)))


def _bell_into(rate: float, y: Any, x: Any, head: Any, other: Any) -> None:
    """`_bell` in the memory of its result and of two more arrays."""
    np.multiply(x, 128.0, head)
    np.rint(head, head)
    np.divide(head, 128.0, head)
    np.maximum(head, -40.0, out=head)  # NumPy wants it by name
    np.minimum(head, 40.0, out=head)
    np.subtract(head, x, y)
    np.add(head, x, other)
    np.multiply(y, other, y)
    np.multiply(rate, y, y)
    np.exp(y, y)
    np.multiply(head, head, head)
    np.multiply(-rate, head, head)
    np.exp(head, head)
    np.multiply(head, y, y)


def _gelu_block(x: Any) -> Any:
    return 0.5 * np.maximum(x, -40.0) * _erfc_block(x * -sqrt(0.5))  # -40: 0 long before, and -inf * 0 is not


def _blockwise(name: str, function: Any) -> Any:
    """Evaluate by blocks, in the argument's dtype; integers become float64, float16 is computed in float32."""

    def blockwise(x: Any) -> Any:
        if not hasattr(x, "dtype"):
            x = np.asarray(x)
        if x.dtype.kind == "c":
            raise UnsupportedFunctionError(f"{name} is for real numbers, but got dtype {x.dtype}; take np.real of it")
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype("f8")
        with np.errstate(under="ignore", over="ignore"):  # x*x and exp(-x*x) of what is clipped anyway
            if type(x) is not np.ndarray or x.size <= BLOCK:
                return function(x.astype("f4" if dtype.char == "e" else dtype)).astype(dtype)[()]
            flat, result = x.reshape(-1), np.empty(x.size, dtype)
            for start in range(0, x.size, BLOCK):
                block = flat[start : start + BLOCK]
                result[start : start + BLOCK] = function(block.astype("f4" if dtype.char == "e" else dtype, copy=False))
        return result.reshape(x.shape)

    return blockwise


erf = _blockwise("erf", _erf_block)
erfc = _blockwise("erfc", _erfc_block)

row("bell", "a b", "-2*b*a*y", "-a*a*y", value=_bell)
row("erf", "a", f"{2 / sqrt(pi)!r}*bell(a, 1.0)", value=erf)
row("erfc", "a", f"{-2 / sqrt(pi)!r}*bell(a, 1.0)", value=erfc)
# x times the normal distribution function of x; with erfc, which keeps all digits where x is far below zero.
row(
    "gelu",
    "a",
    f"0.5*erfc({-sqrt(0.5)!r}*a) + {1 / sqrt(2 * pi)!r}*a*bell(a, 0.5)",
    value=_blockwise("gelu", _gelu_block),
)
