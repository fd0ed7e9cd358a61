"""How accurate the partial derivatives of the elementwise rows are, against mpmath with far more digits.

`EXACT` holds one line a row: the function itself, in mpmath.  Its derivative is taken by differences with a thousand
digits, so that nothing is shared with the row's formula.  Run as a program, this file writes docs/accuracy.json, which
docs/coverage.py publishes; tests/test_accuracy.py measures again.  Given names, it measures these rows only, and prints
where they are worst.

The unit is the ulp: the distance of float64 numbers at the exact partial derivative.  Below the smallest normal number
(2.2e-308) results may lose their digits early; that is noted, not counted.  Left out are points at which the operands
are not normal numbers themselves, or NumPy's own value overflows or underflows: a formula that reads the value finds no
digits in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf
from oracle import seeded

import chainrule as cr
from chainrule.rules import Rule, rules

PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "accuracy.json"
BUCKETS = (1, 2, 4, 8, 16)

EXACT: dict[str, Callable[..., Any]] = {
    "absolute": abs,
    "arccos": mpmath.acos,
    "arccosh": mpmath.acosh,
    "arcsin": mpmath.asin,
    "arcsinh": lambda a: mpmath.sign(a) * mpmath.log1p(abs(a) - 1 + mpmath.sqrt(1 + a * a)),
    "arctan": mpmath.atan,
    "arctan2": mpmath.atan2,
    "arctanh": mpmath.atanh,
    "cbrt": lambda a: mpmath.sign(a) * mpmath.cbrt(abs(a)),
    "clip": lambda a, b, c: min(max(a, b), c),
    "copysign": lambda a, b: abs(a) if b >= 0 else -abs(a),
    "cos": mpmath.cos,
    "cosh": mpmath.cosh,
    "deg2rad": lambda a: a * mp.pi / 180,
    "degrees": lambda a: a * 180 / mp.pi,
    "divide": lambda a, b: a / b,
    "erf": mpmath.erf,
    "erfc": mpmath.erfc,
    "exp": mpmath.exp,
    "exp2": lambda a: mpmath.exp(a * mpmath.log(2)),
    "expit": lambda a: 1 / (1 + mpmath.exp(-a)),
    "expm1": mpmath.expm1,
    "fabs": abs,
    "float_power": mpmath.power,
    "fmax": max,
    "fmin": min,
    "fmod": lambda a, b: mpmath.sign(a) * (abs(a) - abs(b) * mpmath.floor(abs(a) / abs(b))),
    "gelu": lambda a: a * mpmath.ncdf(a),
    "heaviside": lambda a, b: b if a == 0 else mpf(a > 0),
    "hypot": lambda a, b: mpmath.sqrt(a * a + b * b),
    "log": mpmath.log,
    "log10": mpmath.log10,
    "log1p": mpmath.log1p,
    "log2": lambda a: mpmath.log(a) / mpmath.log(2),
    "logaddexp": lambda a, b: max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b))),
    "logaddexp2": lambda a, b: max(a, b) + mpmath.log1p(mpf(2) ** -abs(a - b)) / mpmath.log(2),
    "maximum": max,
    "minimum": min,
    "multiply": lambda a, b: a * b,
    "power": mpmath.power,
    "rad2deg": lambda a: a * 180 / mp.pi,
    "radians": lambda a: a * mp.pi / 180,
    "reciprocal": lambda a: 1 / a,
    "relu": lambda a: max(a, mpf(0)),
    "remainder": lambda a, b: a - b * mpmath.floor(a / b),
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "sin": mpmath.sin,
    "sinh": mpmath.sinh,
    "sqrt": mpmath.sqrt,
    "square": lambda a: a * a,
    "tan": mpmath.tan,
    "tanh": mpmath.tanh,
}


# Rows with errors of more than 16 ulp somewhere, and why they stay.
REASONS = {
    "tanh": "`1 - y*y` has the absolute accuracy of `tanh`, but loses digits where that rounds to 1. What keeps them, "
    "`1/cosh(a)**2`, slows training of a network by up to a half where NumPy's `cosh` is not vectorised, and keeps "
    "one array more.",
    "power": "where `b - 1` is rounded, `a**(b - 1)` is off by `|log(a)|` ulp.",
    "float_power": "as `power`.",
    "sigmoid": "as `tanh`; `expit` is the same function with an accurate derivative.",
}


def magnitudes(dtype: Any, few: bool) -> np.ndarray:
    """From the smallest normal number to the largest, denser where functions bend, saturate or overflow."""
    info = np.finfo(dtype)
    tiny, huge = float(info.tiny), float(info.max)
    groups = [[1e-3, 0.1, 0.5, 0.7, 1, 1.1, 2, 9.5, 38, 300, 700], [tiny, huge / 2], 10.0 ** np.arange(-308, 309, 88)]
    if not few:
        groups += [
            10.0 ** np.arange(-308, 309, 11),
            10.0 ** np.arange(-19, 23),
            1 - 10.0 ** -np.arange(1, 17),
            1 + 10.0 ** -np.arange(1, 16),
            np.pi / 2 * np.arange(1, 5),
            np.linspace(0.05, 30, 80),
            np.linspace(31, 750, 60),
        ]
    every = np.concatenate(groups)
    every = every[(every >= tiny) & (every < huge)]
    return np.unique(every.astype(dtype))


def points(rule: Rule, dtype: Any = float) -> list[np.ndarray]:
    """Operands at which a row is measured."""
    n = len(rule.partials)
    positive = magnitudes(dtype, few=n > 1)
    signed = np.concatenate([-positive, [0], positive]).astype(dtype)
    if n == 1:
        return [signed]
    if n == 3:  # clip: only which side of the bounds counts
        return [signed, np.full_like(signed, -1), np.full_like(signed, 1)]
    a, b = (each.ravel() for each in np.meshgrid(signed, signed))
    if rule.name.endswith("power"):  # b - 1 == b there: with a negative base even the sign would be a matter of luck
        a = np.where(abs(b) < 2**52, a, abs(a))
    rng = seeded(rule.name, "accuracy")
    x, y = rng.normal(size=(2, 300)) * 10.0 ** rng.uniform(-3, 3, 300)
    y = np.where(rng.random(300) < 0.5, y, x * (1 + 1e-3 * rng.normal(size=300)))
    return [np.concatenate([a, x]).astype(dtype), np.concatenate([b, y]).astype(dtype)]


def exact(function: Callable[..., Any], point: list[Any], i: int) -> Any:
    """The partial derivative in operand `i`, by differences; None at a kink, a jump or outside the domain."""
    sizes = [abs(float(x)) for x in point if x] or [1.0]
    large = len(sizes) * max(int(abs(np.log10(size))) for size in sizes)
    # cos(1e-308) differs from 1 in digit 617 only; tanh'(372) is 1e-323.  Then the step, then what is to be right.
    with mpmath.workdps(620 + 3 * large + (0 if point[i] else 500)):
        args = [mpf(float(x)) for x in point]
        step = mpf(min(sizes)) * mpf(10) ** -(100 + large) if point[i] else mpf(10) ** -500

        def at(x: Any) -> Any:
            return function(*args[:i], x, *args[i + 1 :])

        try:
            below, here, above = (at(args[i] + k * step) for k in (-1, 0, 1))
            left, right = (here - below) / step, (above - here) / step
        except (ZeroDivisionError, ValueError, OverflowError):
            return None
        if not isinstance(left + right, mpf) or not abs(left + right) < mpf(10) ** 450:  # complex, or a jump
            return None
        if abs(right - left) > 1e-60 * abs(left + right):
            return None
        return (left + right) / 2


def errors(name: str, dtype: Any = float, every: int = 1) -> Iterator[tuple[int, Any, float, Any, float]]:
    """(operand, point, what the row gives, the exact partial, error in ulp) at every such point."""
    rule, info = rules[name], np.finfo(dtype)
    args = [arg[::every] for arg in points(rule, dtype)]
    with np.errstate(all="ignore"):
        value, pullback = cr.vjp(getattr(np, name, rule), *args)
        found = pullback(np.ones_like(value))
    usable = np.isfinite(value) & ~((np.abs(value) < info.tiny) & (value != 0))
    for index in np.flatnonzero(usable):
        point = [arg[index] for arg in args]
        for i, gradient in enumerate(found):
            desired, actual = exact(EXACT[name], point, i), float(gradient[index])
            if desired is None:
                continue
            if abs(desired) >= float(info.max):
                error = 0.0 if actual == (np.inf if desired > 0 else -np.inf) else np.inf
            elif not np.isfinite(actual):
                error = np.inf
            else:
                ulp = np.spacing(dtype(max(abs(desired), float(info.tiny))))
                error = float(abs(actual - desired) / float(ulp))
            yield i, tuple(map(float, point)), actual, desired, error


def measured(name: str, dtype: Any = float, every: int = 1) -> tuple[list[float], bool]:
    """Per operand, the worst error in ulp; and whether results underflow early."""
    tiny = float(np.finfo(dtype).tiny)
    worst, early = [0.0] * len(rules[name].partials), False
    for i, _, actual, desired, error in errors(name, dtype, every):
        if abs(desired) >= tiny or abs(actual) > tiny:
            worst[i] = max(worst[i], error)
        elif error > BUCKETS[-1]:
            early = True
    return worst, early


def published(name: str) -> dict[str, Any]:
    """What is said of a row: a bound for each operand, None if there is only a reason; and whether it underflows."""
    worst, early = measured(name)
    ulp = [next((bucket for bucket in BUCKETS if error <= bucket), None) for error in worst]
    return {"ulp": ulp, "early": early} | ({"reason": REASONS[name]} if None in ulp else {})


if __name__ == "__main__":
    for name in sys.argv[1:]:  # where one row is worst
        for i in range(len(rules[name].partials)):
            operand, point, actual, desired, error = max(
                (each for each in errors(name) if each[0] == i), key=lambda each: each[-1]
            )
            print(f"{name}, operand {i}: {error:.3g} ulp at {point}: {actual!r}, exactly {mpmath.nstr(desired, 20)}")
    known = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    known |= {name: published(name) for name in sys.argv[1:] or EXACT}
    PUBLISHED.write_text(json.dumps({name: known[name] for name in EXACT}, indent=1) + "\n", encoding="utf-8")
