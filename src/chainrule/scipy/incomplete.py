"""The incomplete gamma and beta functions and Student's distribution function, differentiated in their parameters.

Each is the integral of a density, exp(h), and so are its derivatives in parameters, of that density times a polynomial
in the derivatives of h.  Over the whole line those integrals are 0, so each is taken from the end that is nearer.
Plain NumPy and SciPy on arrays, each with a row of its own, as in `stable.py`: derivatives of any order follow.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb, factorial, pi, sqrt
from typing import Any

import numpy as np

from .special_table import known
from .stable import STIRLING, beta_density, boxcox_curvature, gamma_density, in_doubles, polynomial, psi_gap
from .unwrapped import special

# Double exponential quadrature (Takahasi and Mori 1974) in the logarithm of the distance from the end.
STEP = 0.02
_TAU = STEP * np.arange(-200, 141)
DISTANCES = np.exp(0.5 * pi * np.sinh(_TAU))
WEIGHTS = STEP * 0.5 * pi * np.cosh(_TAU) * DISTANCES

WHOLE, SHAPE, POSITIVE, UNIT = (1.0, 1.0), (0.5, 3.0), (0.2, 4.0), (0.1, 0.9)


def _whole(order: Any) -> int:
    """The order of a derivative, which formulas give as a number for all elements."""
    return int(order.max(initial=0))


def _of_exponential(n: int, m: int, slope: Callable[[int, int], Any]) -> Any:
    """The derivative of exp(h), n times in one parameter and m times in another, over exp(h): from those of h."""
    found: dict[tuple[int, int], Any] = {(0, 0): 1.0}
    for i in range(n + 1):
        for j in range(m + 1):
            if (i, j) != (0, 0):
                # exp(h) differentiated once is exp(h) times a derivative of h; the rest is Leibniz' rule.
                first, second = (i - 1, j) if i else (0, j - 1)
                found[i, j] = sum(
                    comb(first, p) * comb(second, q) * found[first - p, second - q] * slope(p + (i > 0), q + (i == 0))
                    for p in range(first + 1)
                    for q in range(second + 1)
                )
    return found[n, m]


# -- incomplete gamma ------------------------------------------------------------------------------------------------
def _gamma_factor(n: int, a: Any, log_x: Any, distance: Any = 0.0) -> Any:
    """The derivative of t**a / gamma(a) in a, n times, over itself, where log(t) is the sum of the last two."""

    def slope(k: int, _: int) -> Any:
        return log_x - special.psi(a) + distance if k == 1 else -special.polygamma(k - 1, a)

    return _of_exponential(n, 0, slope)


@in_doubles
def gamma_density_derivative(n: Any, a: Any, x: Any) -> Any:
    """The derivative of gamma_density(a, x) in a, n times."""
    density = gamma_density(a, x)
    return np.where(density == 0, 0.0, density * _gamma_factor(_whole(n), a, np.log(x)))


@in_doubles
def gammainc_derivative(n: Any, a: Any, x: Any) -> Any:
    """The derivative of gammainc(a, x) in a, n times."""
    n, a, x = _whole(n), a[..., np.newaxis], x[..., np.newaxis]
    side = np.where(np.log(x) <= special.psi(a), -1.0, 1.0)
    t = x * np.exp(side * DISTANCES)
    terms = gamma_density(a, t) * t * _gamma_factor(n, a, np.log(x), side * DISTANCES)
    terms = np.where(np.isfinite(t) & (t > 0), terms, 0.0)
    integral = np.sum(-side * WEIGHTS * np.where(np.isfinite(terms), terms, 0.0), axis=-1)
    return np.where((x > 0) & (x < 0.2), _gammainc_near_zero(n, a, x), integral[..., np.newaxis])[..., 0]


def _gammainc_near_zero(n: int, a: Any, x: Any) -> Any:
    """By the power series, x**a / gamma(a + 1) times the sum of a/(a + k) * (-x)**k / k!, differentiated: the density
    has a long tail there, which no quadrature resolves."""
    factors = [_gamma_factor(i, a + 1, np.log(x)) for i in range(n + 1)]
    total, power = factors[n] * np.ones_like(x), np.ones_like(x)
    for k in range(1, 15):
        power = power * -x / k
        quotients = [a / (a + k), *(-k * (-1) ** m * factorial(m) / (a + k) ** (m + 1) for m in range(1, n + 1))]
        total = total + power * sum(comb(n, m) * factors[n - m] * quotients[m] for m in range(n + 1))
    return gamma_density(a + 1, x) * np.exp(x) * total


known(
    "gamma_density_derivative",
    "a b c",
    None,
    "gamma_density_derivative(a + 1, b, c)",
    "(y*(b - 1 - c) + a*gamma_density_derivative(maximum(a - 1, 0), b, c))/c",
    value=gamma_density_derivative,
    domain=(WHOLE, SHAPE, POSITIVE),
)
known(
    "gammainc_derivative",
    "a b c",
    None,
    "gammainc_derivative(a + 1, b, c)",
    "gamma_density_derivative(a, b, c)",
    value=gammainc_derivative,
    domain=(WHOLE, SHAPE, POSITIVE),
)


# -- incomplete beta -------------------------------------------------------------------------------------------------
def _beta_factor(n: int, m: int, a: Any, b: Any, log_x: Any, log_rest: Any) -> Any:
    """The derivative of x**a * rest**b / beta(a, b), n times in a and m times in b, over itself."""

    def slope(p: int, q: int) -> Any:
        if p + q == 1:
            return log_x + psi_gap(a, b) if p else log_rest + psi_gap(b, a)
        both = special.polygamma(p + q - 1, a + b)
        return both - special.polygamma(p - 1, a) if not q else both - special.polygamma(q - 1, b) if not p else both

    return _of_exponential(n, m, slope)


@in_doubles
def beta_density_derivative(n: Any, m: Any, a: Any, b: Any, x: Any) -> Any:
    """The derivative of beta_density(a, b, x, 1 - x), n times in a and m times in b."""
    density = beta_density(a, b, x, 1 - x)
    factor = _beta_factor(_whole(n), _whole(m), a, b, np.log(x), np.log1p(-x))
    return np.where(density == 0, 0.0, density * factor)


@in_doubles
def betainc_derivative(n: Any, m: Any, a: Any, b: Any, x: Any) -> Any:
    """The derivative of betainc(a, b, x), n times in a and m times in b."""
    n, m, a, b, x = _whole(n), _whole(m), a[..., np.newaxis], b[..., np.newaxis], x[..., np.newaxis]
    left = np.log(x) + psi_gap(a, b) <= 0 if n else np.log1p(-x) + psi_gap(b, a) > 0
    near = np.where(left, x, 1 - x)
    small = near * np.exp(-DISTANCES)  # t from 0 up to x, or 1 - t from 0 up to 1 - x
    large = (1 - near) - near * np.expm1(-DISTANCES)
    log_small, log_large = np.log(near) - DISTANCES, np.log1p(-small)
    factor = _beta_factor(n, m, a, b, np.where(left, log_small, log_large), np.where(left, log_large, log_small))
    terms = beta_density(a, b, np.where(left, small, large), np.where(left, large, small)) * small * factor
    terms = np.where((small > 0) & np.isfinite(terms), terms, 0.0)
    return np.sum(np.where(left, 1.0, -1.0) * WEIGHTS * terms, axis=-1)


known(
    "beta_density_derivative",
    "a b c d e",
    None,
    None,
    "beta_density_derivative(a + 1, b, c, d, e)",
    "beta_density_derivative(a, b + 1, c, d, e)",
    "((c - 1)*y + a*beta_density_derivative(maximum(a - 1, 0), b, c, d, e))/e"
    " - ((d - 1)*y + b*beta_density_derivative(a, maximum(b - 1, 0), c, d, e))/(1 - e)",
    value=beta_density_derivative,
    domain=(WHOLE, WHOLE, SHAPE, SHAPE, UNIT),
)
known(
    "betainc_derivative",
    "a b c d e",
    None,
    None,
    "betainc_derivative(a + 1, b, c, d, e)",
    "betainc_derivative(a, b + 1, c, d, e)",
    "beta_density_derivative(a, b, c, d, e)",
    value=betainc_derivative,
    domain=(WHOLE, WHOLE, SHAPE, SHAPE, UNIT),
)


# -- Student's t -----------------------------------------------------------------------------------------------------
@in_doubles
def t_density(v: Any, t: Any) -> Any:
    """The density of Student's t with v degrees of freedom."""
    half = v / 2
    large = np.maximum(half, 16.0)  # gamma(half + 1/2)/gamma(half)/sqrt(half): near 1 there, and lost in a difference
    upper, lower = large + 0.5, large
    size = large * np.log1p(0.5 / large) - 0.5
    size += polynomial(STIRLING, 1 / upper**2) / upper - polynomial(STIRLING, 1 / lower**2) / lower
    ratio = np.where(half < 16, special.poch(np.minimum(half, 16.0), 0.5) / np.sqrt(half), np.exp(size))
    return ratio / sqrt(2 * pi) * np.exp(-(half + 0.5) * np.log1p(t * t / v))


EXCESS = (1 / 2, -1 / 4, 1 / 2, -17 / 8, 31 / 2, -691 / 4)  # DLMF 5.11.2, with ratios of gamma functions


def _t_factor(n: int, v: Any, t: Any) -> Any:
    """The derivative of t_density(v, t) in v, n times, over itself."""
    ratio = t * t / v
    large, small = np.maximum(v, 32.0), np.minimum(v, 32.0)
    excess = np.where(v < 32, psi_gap(small / 2, 0.5) - 1 / small, polynomial(EXCESS, large**-2.0) / (large * large))

    def slope(k: int, _: int) -> Any:
        if k == 1:  # without log(1 + r) - r/(1 + r) as a difference
            return 0.5 * (excess - ratio * ratio * boxcox_curvature(ratio) + ratio / (1 + ratio) / v)
        sign, moved = (-1) ** k, v + t * t
        gammas = 0.5**k * (special.polygamma(k - 1, 0.5 * (v + 1)) - special.polygamma(k - 1, 0.5 * v))
        scale = 0.5 * sign * factorial(k - 1) * v ** (-k)
        logarithm = 0.5 * (v + 1) * sign * factorial(k - 1) * (moved ** (-k) - v ** (-k))
        before = 0.5 * k * -sign * factorial(k - 2) * (moved ** (1 - k) - v ** (1 - k))
        return gammas + scale + logarithm + before

    return _of_exponential(n, 0, slope)


@in_doubles
def t_density_derivative(n: Any, m: Any, v: Any, t: Any) -> Any:
    """The derivative of t_density(v, t), n times in v and m times in t."""
    n, m, density = _whole(n), _whole(m), t_density(v, t)
    found: dict[tuple[int, int], Any] = {(i, 0): density * _t_factor(i, v, t) for i in range(n + 1)}
    for j in range(m):  # (v + t**2) f' = -(v + 1) t f, differentiated by Leibniz' rule
        for i in range(n + 1):
            right = (v + 1) * (t * found[i, j] + j * found.get((i, j - 1), 0.0))
            right = right + i * (t * found.get((i - 1, j), 0.0) + j * found.get((i - 1, j - 1), 0.0))
            right = right + i * found.get((i - 1, j + 1), 0.0) + 2 * t * j * found[i, j]
            found[i, j + 1] = -(right + j * (j - 1) * found.get((i, j - 1), 0.0)) / (v + t * t)
    return np.where(np.isinf(t), 0.0, found[n, m])


@in_doubles
def stdtr_derivative(n: Any, v: Any, t: Any) -> Any:
    """The derivative of stdtr(v, t) in v, n times: an odd function of t, integrated from 0 or from infinity."""
    n, v, t = _whole(n), v[..., np.newaxis], t[..., np.newaxis]
    size = np.abs(t)
    side = np.where(size < 1, -1.0, 1.0)
    s = size * np.exp(side * DISTANCES)
    terms = t_density(v, s) * s * _t_factor(n, v, s)
    terms = np.where(np.isfinite(terms), terms, 0.0)
    return np.sum(-side * np.sign(t) * WEIGHTS * terms, axis=-1)


known(
    "t_density",
    "a b",
    "t_density_derivative(1, 0, a, b)",
    "-y*b*(a + 1)/(a + b*b)",
    value=t_density,
    domain=((1.0, 5.0), (-2.0, 2.0)),
)
known(
    "t_density_derivative",
    "a b c d",
    None,
    None,
    "t_density_derivative(a + 1, b, c, d)",
    "t_density_derivative(a, b + 1, c, d)",
    value=t_density_derivative,
    domain=(WHOLE, WHOLE, (1.0, 5.0), (-2.0, 2.0)),
)
known(
    "stdtr_derivative",
    "a b c",
    None,
    "stdtr_derivative(a + 1, b, c)",
    "t_density_derivative(a, 0, b, c)",
    value=stdtr_derivative,
    domain=(WHOLE, (1.0, 5.0), (-2.0, 2.0)),
)
