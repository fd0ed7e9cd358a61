"""What rows of the table call besides NumPy's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..memory import BIG, empty_like, in_blocks, uniform
from .linear import zero_wins
from .registry import Rule, rules


def share(a: Any, b: Any) -> Any:
    """1 where a > b, 1/2 where they tie, else 0; a NaN takes it all, as it does in `maximum`."""
    wins, ties = a > b, a == b
    if np.any(a != a) or np.any(b != b):
        wins, ties = wins | ((a != a) & (b == b)), ties | ((a != a) & (b != b))
    result = wins.astype(np.result_type(a, b))
    return np.where(ties, 0.5, result).astype(result.dtype) if np.any(ties) else result


def share_without_asking(a: Any, b: Any) -> Any:
    """As `share`, which decides by the values; of plain numbers it is known that they are no NaN."""
    if isinstance(b, int | float) and b == b:
        other: Any = np.where(a != a, 1.0, 0.0)
    elif isinstance(a, int | float) and a == a:
        other = 0.0
    else:
        other = np.where(a != a, np.where(b != b, 0.5, 1.0), 0.0)
    return np.where(a > b, 1.0, np.where(a == b, 0.5, other)).astype(np.result_type(a, b))


def share_of_numbers(a: Any, b: Any) -> Any:
    """As `share`, but a NaN gets nothing unless both are NaN, as in `fmax`."""
    wins = (a > b) | ((a == a) & (b != b))
    ties = (a == b) | ((a != a) & (b != b))
    return (wins + 0.5 * ties).astype(np.result_type(a, b))


def gap(a: Any, b: Any) -> Any:
    """a - b, where two equal infinities are 0 apart if positive and infinitely far below if negative."""
    with np.errstate(invalid="ignore"):
        return np.where((a == b) & np.isinf(a), np.where(a > 0, 0.0, a), a - b)[()]


def sigmoid(x: Any) -> Any:
    with np.errstate(over="ignore"):  # exp overflows to inf for x < -709, and 1/inf = 0 is the answer
        if type(x) is not np.ndarray or x.dtype.kind != "f" or not x.ndim:
            return 1 / (1 + np.exp(-x))
        if x.nbytes < BIG or not uniform(x):
            return _sigmoid_into(np.empty_like(x), x)
        z = empty_like(x)  # whole layers go through here
        in_blocks(_sigmoid_into, 0, z, x)
        return z


def _sigmoid_into(z: Any, x: Any) -> Any:
    np.negative(x, z)
    np.exp(z, z)
    np.add(z, 1, z)
    # The same to the last bit: `reciprocal` of large arrays takes twice as long, of small ones 1 has to be converted.
    return np.divide(1, z, z) if z.nbytes > 10_000 else np.reciprocal(z, z)


def weight(exp: Any, rate: float) -> Any:
    """exp(a)/(exp(a) + exp(b)); what rounding a - b has lost is made good, for exp would magnify it."""

    def weight(a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):
            d = gap(a, b)
            back = d - a
            lost = (a - (d - back)) - (b + back)
            y = 1 / (1 + exp(-d))
            return np.where(np.isfinite(lost), y + y * (1 - y) * (rate * lost), y)[()]

    return weight


def fraction(x: Any) -> Any:
    return np.modf(x)[0]


def inverse(value: Any, sign: str, root: str, slope: str) -> Rule:
    """A complex inverse function: 1/`root`, of the sign that `slope` at the result has.

    On a branch cut the sign of a zero tells the side, and 1 - a loses it.  The result has it, but not the precision.
    """
    turned = f"where(absolute({root} - {slope}) > absolute({root} + {slope}), -1, 1)"
    return Rule(value.__name__, value, "elementwise", (f"{sign}{turned}/{root}",), conjugate=True)


def quotient(a: Any, b: Any) -> Any:
    """a/b, where a complex b of 0 gives infinity in the direction of a, as a real b does, and not NaN."""
    y = np.divide(a, b)
    if y.dtype.kind != "c":
        return y
    return np.where((b == 0) & (a != 0), zero_wins(np.asarray(a), np.asarray(np.inf)), y)[()]


def power_with_poles(a: Any, b: Any) -> Any:
    """a**b, where a complex a of 0 gives infinity for b < 0, as a real a does, and not NaN."""
    y = np.power(a, b)
    if y.dtype.kind != "c":
        return y
    return np.where((a == 0) & (np.real(b) < 0), np.inf, y)[()]


def constant_exponent(rule: Rule, values: Sequence[Any], nodes: Sequence[Any]) -> Rule:
    exponent = values[1]
    if nodes[1] is not None or not isinstance(exponent, int | float | np.floating):
        return rule
    return rules["power_by_two" if exponent == 2 else "power_by_constant" if exponent else "power_by_zero"]


def next_of_product(times: Any, xs: Sequence[Sequence[Any]], ys: Sequence[Any]) -> Any:
    """Coefficient n of the Taylor series of a product: the sum of a[i]*b[n - i]."""
    (a, b), n = xs, len(ys)
    return _summed(times, a[: n + 1], b[n::-1])


def next_of_quotient(times: Any, xs: Sequence[Sequence[Any]], ys: Sequence[Any]) -> Any:
    """Coefficient n of the Taylor series of a quotient y, in which a = y*b."""
    (a, b), n = xs, len(ys)
    known = _summed(times, b[1 : n + 1], ys[n - 1 :: -1])
    rest = a[n] if known is None else -known if a[n] is None else a[n] - known
    return None if rest is None else times(rest, 1 / b[0])


def _summed(times: Any, a: Sequence[Any], b: Sequence[Any]) -> Any:
    total = None
    for x, y in zip(a, b, strict=True):
        if x is not None and y is not None:
            total = times(x, y) if total is None else total + times(x, y)
    return total
