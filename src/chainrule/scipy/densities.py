"""Densities of distributions of which SciPy's special functions hold only the distribution function.

Plain NumPy and SciPy on arrays, each with a row of its own, as in `stable.py`: derivatives of any order follow.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any

import numpy as np

from .special_table import known
from .stable import HALF_LOG_2PI, beta_density, in_doubles
from .unwrapped import special

POSITIVE, REAL, UNIT = (0.5, 3.0), (-2.0, 2.0), (0.1, 0.9)


# -- noncentral F: the variable is noncentral beta, a mixture of betas with Poisson weights -------------------------
def _mixture(a: Any, b: Any, c: Any, x: Any, second: Any) -> Any:
    """The sum of the mixture over its first term, exp(-c/2)*1F1(a + b; second; c*x/2); by Kummer's transformation
    where that would overflow."""
    z = 0.5 * c * x
    small = np.where(z < 300, z, 0.0)
    direct = np.exp(-0.5 * c) * special.hyp1f1(a + b, second, small)
    large = np.where(z < 300, 300.0, z)
    return np.where(z < 300, direct, np.exp(0.5 * c * (x - 1)) * special.hyp1f1(second - a - b, second, -large))


@in_doubles
def noncentral_beta_density(a: Any, b: Any, c: Any, x: Any) -> Any:
    """The density at x of the noncentral beta distribution with noncentrality c."""
    return beta_density(a, b, x, 1 - x) * _mixture(a, b, c, x, a)


@in_doubles
def noncentral_beta_mass(a: Any, b: Any, c: Any, x: Any) -> Any:
    """-2 times the derivative of the noncentral beta distribution function in c."""
    return beta_density(a + 1, b + 1, x, 1 - x) * b / (a + b) / (a + b + 1) * _mixture(a, b, c, x, a + 1)


known(
    "noncentral_beta_density",
    "a b c d",
    None,
    None,
    "0.5*(noncentral_beta_density(a + 1, b, c, d) - y)",
    "((a - 1)/d - (b - 1)/(1 - d))*y + 0.5*c/d*noncentral_beta_density(a + 1, b, c, d)",
    value=noncentral_beta_density,
    domain=(POSITIVE, POSITIVE, POSITIVE, UNIT),
)
known(
    "noncentral_beta_mass",
    "a b c d",
    None,
    None,
    "0.5*(noncentral_beta_mass(a + 1, b, c, d) - y)",
    "noncentral_beta_density(a, b, c, d) - noncentral_beta_density(a + 1, b, c, d)",
    value=noncentral_beta_mass,
    domain=(POSITIVE, POSITIVE, POSITIVE, UNIT),
)


# -- noncentral t --------------------------------------------------------------------------------------------------
@in_doubles
def noncentral_t_moment(v: Any, d: Any, t: Any, k: Any) -> Any:
    """The mean of s**k * phi(t*s - d), where v*s*s has the chi-square distribution with v degrees of freedom.

    For k = 1 it is the density at t of the noncentral t distribution, for k = 0 the derivative of the distribution
    function in the noncentrality d, but for its sign.  The integral is a parabolic cylinder function (DLMF 12.5.1).
    """
    u, order = t * d / np.sqrt(v + t * t), v + k
    logarithm = (
        special.gammaln(order) - special.gammaln(0.5 * v) + (1 - 0.5 * order) * log(2) - HALF_LOG_2PI
        + 0.5 * k * np.log(2 / v) - 0.5 * order * np.log1p(t * t / v) + 0.25 * u * u - 0.5 * d * d
    )  # fmt: skip
    return np.where(np.isinf(t), 0.0, np.exp(logarithm) * special.pbdv(-order, -u)[0])


known(
    "noncentral_t_moment",
    "a b c d",
    None,
    "c*noncentral_t_moment(a, b, c, d + 1) - b*y",
    "b*noncentral_t_moment(a, b, c, d + 1) - c*noncentral_t_moment(a, b, c, d + 2)",
    None,
    value=noncentral_t_moment,
    domain=(POSITIVE, REAL, REAL, (1.0, 1.0)),
)


# -- Kolmogorov and Smirnov ----------------------------------------------------------------------------------------
TERMS = np.arange(1, 30)


@in_doubles
def kolmogorov_derivative(n: Any, x: Any) -> Any:
    """The derivative of order n of the complementary distribution function of Kolmogorov.

    For large x by its series of exp(-2 k**2 x**2), whose derivatives are Hermite polynomials; for small x, where that
    cancels, by that of 1/x times exp(-((2k - 1) pi/x)**2/8), into which Poisson's summation turns it (Feller 1948).
    """
    n, x = int(n.max(initial=0)), x[..., np.newaxis]
    far = np.maximum(x, 0.7)
    hermite = special.eval_hermitenorm(n, 2 * TERMS * far)
    series = 2 * (-1.0) ** (TERMS - 1) * (-2.0 * TERMS) ** n * hermite * np.exp(-2 * (TERMS * far) ** 2)
    w = 1 / np.clip(x, 0.02, 0.7)  # below, it is 0
    rate = ((2 * TERMS - 1) * pi) ** 2 / 8
    powers: dict[int, Any] = {1: np.full(TERMS.shape, sqrt(2 * pi))}
    for _ in range(n):  # of w**p * exp(-rate*w**2), in x
        after: dict[int, Any] = {}
        for p, factor in powers.items():
            after[p + 1] = after.get(p + 1, 0.0) - p * factor
            after[p + 3] = after.get(p + 3, 0.0) + 2 * rate * factor
        powers = after
    near = sum(factor * w**p for p, factor in powers.items()) * np.exp(-rate * w * w)
    return np.where(x[..., 0] < 0.7, (n == 0) - near.sum(-1), series.sum(-1))


@in_doubles
def smirnov_slope(n: Any, d: Any) -> Any:
    """The derivative in d of Smirnov's one-sided distribution function, term by term (Birnbaum and Tingey 1951)."""
    total = np.zeros(n.shape)
    for j in range(int(n.max(initial=0)) + 1):
        above, below = d + j / n, 1 - d - j / n
        term = d * special.binom(n, j) * above ** (j - 1) * np.maximum(below, 0) ** (n - j)
        rate = 1 / d + (j - 1) / above - np.where(n > j, (n - j) / np.where(below > 0, below, 1.0), 0.0)
        total += np.where((below > 0) & (j <= n) & (term > 0), term * rate, 0.0)
    return np.where((d > 0) & (d < 1), total, 0.0)


known(
    "kolmogorov_derivative",
    "a b",
    None,
    "kolmogorov_derivative(a + 1, b)",
    value=kolmogorov_derivative,
    domain=((1.0, 1.0), (0.3, 2.0)),
)
known("smirnov_slope", "a b", None, None, value=smirnov_slope, domain=((5.0, 5.0), UNIT))
