"""np.emath: functions that leave the real line where their operand does; a decision over the whole array, by values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .linear import as_array
from .registry import implements
from .selection import deciding


def _complex_if(outside: Callable[[Any], Any], x: Any) -> Any:
    """Make `x` complex if some real element is outside of the function's domain."""
    x = as_array(x)
    values = deciding(x, "np.emath")
    if not np.any(np.isreal(values) & outside(values)):
        return x
    return x.astype(np.complex64 if values.dtype.char in "fFbBhH" else np.complex128)


def _negative(x: Any) -> Any:
    return _complex_if(lambda values: values < 0, x)


def _above_one(x: Any) -> Any:
    return _complex_if(lambda values: np.abs(values) > 1, x)


def _widened(function: Any, ufunc: Any, widen: Callable[[Any], Any]) -> None:
    @implements(function)
    def on_the_plane(x: Any) -> Any:
        return ufunc(widen(x))


for _name in ("sqrt", "log", "log2", "log10"):
    _widened(getattr(np.emath, _name), getattr(np, _name), _negative)
for _name in ("arccos", "arcsin", "arctanh"):
    _widened(getattr(np.emath, _name), getattr(np, _name), _above_one)


@implements(np.emath.logn)
def logn(n: Any, x: Any) -> Any:
    return np.log(_negative(x)) / np.log(_negative(n))


@implements(np.emath.power)
def power(x: Any, p: Any) -> Any:
    p = as_array(p)
    if np.any(np.isreal(deciding(p, "np.emath")) & (deciding(p, "np.emath") < 0)):
        p = p * 1.0
    return np.power(_negative(x), p)
