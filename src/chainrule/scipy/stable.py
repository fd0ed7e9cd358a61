"""Functions that SciPy does not have and that derivatives of its functions need, computed without cancellation.

Plain NumPy and SciPy on arrays; each has a row of its own, in the table below, so that higher derivatives follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import log, pi
from typing import Any

import numpy as np

from ..rules.registry import linear, row
from .unwrapped import special

Function = Callable[..., Any]
HALF_LOG_2PI = 0.5 * log(2 * pi)


def in_doubles(function: Function) -> Function:
    """Evaluate quietly in float64 and return the dtype that NumPy would give."""

    @wraps(function)
    def evaluate(*operands: Any) -> Any:
        dtype = np.result_type(*operands)
        with np.errstate(all="ignore"):
            result = function(*np.broadcast_arrays(*(np.asarray(x, float) for x in operands)))
        return result.astype(dtype if dtype.kind == "f" else float)[()]

    return evaluate


def polynomial(coefficients: Sequence[float], x: Any) -> Any:
    y = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        y = y * x + coefficient
    return y


# -- exponentials of squares: exp magnifies the rounding of x*x, so square a head of few bits, exactly -------------
def _of_square(scale: float) -> Function:
    def function(x: Any) -> Any:
        x = np.asarray(x)
        if x.dtype.kind == "c":
            return np.exp(scale * x * x)
        if x.dtype.char not in "fdg":
            x = x.astype(float)
        with np.errstate(all="ignore"):
            x = np.clip(x, -64, 64)  # where both have long under- or overflowed
            head = np.rint(x * 128) / 128
            return (np.exp(scale * head * head) * np.exp(scale * (x - head) * (x + head)))[()]

    return function


exp_minus_square, exp_square = _of_square(-1.0), _of_square(1.0)
exp_minus_half_square, exp_half_square = _of_square(-0.5), _of_square(0.5)
row("exp_minus_square", "a", "-2*a*y", value=exp_minus_square)
row("exp_square", "a", "2*a*y", value=exp_square)
row("exp_minus_half_square", "a", "-a*y", value=exp_minus_half_square)
row("exp_half_square", "a", "a*y", value=exp_half_square)


@in_doubles
def erfcx_tail(x: Any) -> Any:
    """1/(sqrt(pi)*erfcx(x)) - x for x >= 2: the continued fraction of erfcx below its first level."""
    x, tail = np.maximum(x, 2.0), np.zeros_like(x)
    for k in range(60, 0, -1):
        tail = 0.5 * k / (x + tail)
    return tail


row("erfcx_tail", "a", "2*y*(a + y) - 1", value=erfcx_tail, domain=((2.5, 6.0),))


@in_doubles
def _dawson_slope(x: Any) -> Any:
    size, square = np.abs(x), x * x
    # In the middle: exp(-x*x) * (1 - sum of positive terms x^(2k) / ((2k - 1) k!)).
    middle = np.clip(size, 1.0, 7.0) ** 2
    term, total = np.ones_like(x), np.zeros_like(x)
    for k in range(1, 140):
        term = term * middle / k
        total = total + term / (2 * k - 1)
    inside = exp_minus_square(np.clip(size, 1.0, 7.0)) * (1.0 - total)
    # Far out: the asymptotic series -sum of (2k - 1)!! / (2 x*x)^k.
    inverse = 0.5 / np.maximum(square, 49.0)
    far = np.ones_like(x)
    for k in range(30, 0, -1):
        far = 1.0 + (2 * k + 1) * inverse * far
    return np.where(size < 1.0, 1.0 - 2.0 * x * special.dawsn(x), np.where(size < 7.0, inside, -inverse * far))


row("dawson_slope", "a", "-2*a*y - 2*dawsn(a)", value=_dawson_slope)


# -- trigonometric functions of multiples of pi ----------------------------------------------------------------------
def _turned(function: Function) -> Function:
    def of_pi_times(x: Any) -> Any:
        return function(np.pi * (x - 2 * np.rint(np.real(x) / 2)))

    return of_pi_times


row("sinpi", "a", f"{pi!r}*cospi(a)", value=_turned(np.sin))
row("cospi", "a", f"-{pi!r}*sinpi(a)", value=_turned(np.cos))


def _quarter_turns_of_square(function: Function) -> Function:
    """function(pi/2 * x*x); the square is kept to twice the digits, of which whole turns are dropped."""

    def of_square(x: Any) -> Any:
        x = np.asarray(x)
        if x.dtype.kind == "c":
            return function(0.5 * np.pi * x * x)
        wide = x.astype(float)
        with np.errstate(all="ignore"):
            big = wide * 134217729.0  # 2**27 + 1: the upper half of the digits
            head = big - (big - wide)
            tail = wide - head
            square = wide * wide
            lost = ((head * head - square) + 2 * head * tail) + tail * tail
            angle = (square - 4 * np.rint(square / 4)) + np.where(np.isfinite(lost), lost, 0)
        return function(0.5 * np.pi * angle).astype(x.dtype if x.dtype.kind == "f" else float)[()]

    return of_square


row("sin_half_pi_square", "a", f"{pi!r}*a*cos_half_pi_square(a)", value=_quarter_turns_of_square(np.sin))
row("cos_half_pi_square", "a", f"-{pi!r}*a*sin_half_pi_square(a)", value=_quarter_turns_of_square(np.cos))
linear(lambda x: np.multiply(1j, x), lambda ct, x: -1j * ct, name="times_i")


# -- logarithms ------------------------------------------------------------------------------------------------------
@in_doubles
def log_ratio(a: Any, b: Any) -> Any:
    """log(a/b), also where the quotient is near 1, overflows or underflows."""
    ratio = a / b
    near = np.log1p((a - b) / b)
    return np.where(
        (ratio > 0.5) & (ratio < 2),
        near,
        np.where((ratio > 1e-300) & (ratio < 1e300), np.log(ratio), np.log(a) - np.log(b)),
    )


row("log_ratio", "a b", "1/a", "-1/b", value=log_ratio, domain=((0.1, 3.0), (0.1, 3.0)))


# -- the gamma function ----------------------------------------------------------------------------------------------
BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)  # B_2k / 2k


@in_doubles
def psi_gap(a: Any, b: Any) -> Any:
    """psi(a + b) - psi(a): for positive arguments by terms of one sign, so that a small b does not cancel."""
    both = a + b
    mirrored = (a <= 0) & (both <= 0) & (b == np.rint(b))  # psi(1 - z) differs by a cotangent, the same at both ends
    low = np.where(mirrored, 1 - both, a)
    total = np.zeros_like(low)
    safe = np.where((low > 0) & (low + b > 0), low, 1.0)
    step = np.where((low > 0) & (low + b > 0), b, 0.0)
    for k in range(16):
        total = total + step / ((safe + k) * (safe + k + step))
    high = safe + 16
    shift = np.log1p(step / high)
    total = total + shift + 0.5 * step / (high * (high + step))
    for k, coefficient in enumerate(BERNOULLI, 1):
        total = total - coefficient * high ** (-2.0 * k) * np.expm1(-2 * k * shift)
    positive = (low > 0) & (low + b > 0)
    return np.where(positive, np.where(mirrored, -total, total), special.psi(both) - special.psi(a))


row(
    "psi_gap",
    "a b",
    "polygamma(1, a + b) - polygamma(1, a)",
    "polygamma(1, a + b)",
    value=psi_gap,
    domain=((0.1, 3.0),) * 2,
)


STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def stirling_error(a: Any) -> Any:
    """log(gamma(a + 1)) less Stirling's formula (a + 1/2) log(a) - a + log(2 pi)/2."""
    large, small = np.maximum(a, 16.0), np.clip(a, 1e-300, 16.0)
    series = polynomial(STIRLING, 1 / (large * large)) / large
    return np.where(
        a >= 16, series, np.log(special.gamma(small + 1) * np.exp(small) / small ** (small + 0.5)) - HALF_LOG_2PI
    )


def deviance(x: Any, m: Any, difference: Any) -> Any:
    """x*log(x/m) + m - x, given x - m: of second order where x is near m."""
    v = difference / (x + m)
    near = np.abs(v) < 0.1
    u = np.where(near, v, 0.0)
    series = polynomial([1 / (2 * k + 1) for k in range(1, 10)], u * u) * u * u
    return np.where(near, difference * u + 2 * x * u * series, np.where(x > 0, x * np.log(x / m), 0.0) - difference)


@in_doubles
def gamma_density(a: Any, x: Any) -> Any:
    """x**(a - 1) * exp(-x) / gamma(a): for large a by deviations from the mean, not by terms that cancel."""
    large = np.maximum(a, 16.0)
    saddle = np.exp(-stirling_error(large) - deviance(large, x, large - x)) * np.sqrt(large / (2 * pi)) / x
    direct = x ** (a - 1) * np.exp(-x) * special.rgamma(a)
    direct = np.where(((x > 700) & (a < 16)) | ((a <= 0) & (a == np.rint(a))), 0.0, direct)
    return np.where(np.isinf(x), 0.0, np.where((a >= 16) & (x > 0), saddle, direct))


row(
    "gamma_density",
    "a b",
    "where(y == 0, 0, y*(log(b) - psi(a)))",
    "where(b == 0, gamma_density(a - 1, b) - y, y*(a - 1 - b)/where(b == 0, 1, b))",
    value=gamma_density,
    domain=((0.5, 3.0), (0.2, 4.0)),
)


@in_doubles
def beta_density(a: Any, b: Any, x: Any, rest: Any) -> Any:
    """x**(a - 1) * rest**(b - 1) / beta(a, b), where rest is 1 - x: given, because it may be known better."""
    k, j = a - 1, b - 1
    n = k + j
    central = (k > 4) & (j > 4) & (x > 0) & (rest > 0)
    k1, j1 = np.where(central, k, 5.0), np.where(central, j, 5.0)
    n1, excess = k1 + j1, k1 * rest - j1 * x
    size = (
        stirling_error(n1) - stirling_error(k1) - stirling_error(j1)
        - deviance(k1, n1 * x, excess) - deviance(j1, n1 * rest, -excess)
    )  # fmt: skip
    saddle = (n1 + 1) * np.exp(size) * np.sqrt(n1 / (2 * pi * k1 * j1))
    log_rest = np.where(rest < 0.5, np.log(rest), np.log1p(-x))
    log_x = np.where(x < 0.5, np.log(x), np.log1p(-rest))
    powers = np.exp(np.where(k == 0, 0.0, k * log_x) + np.where(j == 0, 0.0, j * log_rest))
    return np.where(central, saddle, powers / special.beta(a, b)) + 0 * n


# At the end of the interval the quotient is no longer what it is near it.
BETA_SLOPE = "where(({2} == 0)*({0} > 1), ({0} + {1} - 1)*beta_density({0} - 1, {1}, {2}, {3}), y*({0} - 1)/{2})"
row(
    "beta_density",
    "a b c d",
    "where(y == 0, 0, y*(log(c) + psi_gap(a, b)))",
    "where(y == 0, 0, y*(log(d) + psi_gap(b, a)))",
    BETA_SLOPE.format(*"abcd"),
    BETA_SLOPE.format(*"badc"),
    value=beta_density,
    domain=((1.5, 3.0), (1.5, 3.0), (0.2, 0.8), (0.2, 0.8)),
)


SMALL, LARGE = "where(absolute(a) < 0.5, a, 0)", "where(absolute(a) < 0.5, 0.5, a)"


# -- slopes that cancel where a formula would be written -----------------------------------------------------------
@in_doubles
def _exprel_slope(x: Any) -> Any:
    """The derivative of (exp(x) - 1)/x."""
    near = np.abs(x) < 2
    far = np.where(near, 2.0, x)
    y = special.exprel(far)
    outside = np.where(far > 0, y * (1 - 1 / far) + 1 / far, (np.exp(far) - y) / far)
    return np.where(near, 0.5 * special.hyp1f1(2, 3, np.where(near, x, 0.0)), outside)


row(
    "exprel_slope",
    "a",
    "where(absolute(a) < 2, hyp1f1(3, 4, where(absolute(a) < 2, a, 0))/3, (exp(a) - 2*y)/where(absolute(a) < 2, 1, a))",
    value=_exprel_slope,
)


@in_doubles
def boxcox_curvature(t: Any) -> Any:
    """(log1p(t) - t/(1 + t)) / t**2."""
    near = np.abs(t) < 0.5
    far = np.where(near, 1.0, t)
    inside = 0.5 * special.hyp2f1(2, 2, 3, -np.where(near, t, 0.0))
    return np.where(near, inside, (np.log1p(far) - far / (1 + far)) / far / far)


row(
    "boxcox_curvature",
    "a",
    f"where(absolute(a) < 0.5, -2*hyp2f1(3, 3, 4, -{SMALL})/3, (1/(1 + a)/(1 + a) - 2*y)/{LARGE})",
    value=boxcox_curvature,
    domain=((-0.8, 3.0),),
)


@in_doubles
def _ellipk_slope(m: Any) -> Any:
    return special.elliprd(0, 1, 1 - m) / 6


@in_doubles
def _ellipe_slope(m: Any) -> Any:
    return -special.elliprd(0, 1 - m, 1) / 6


# The second derivatives: from the differential equations, and from the power series where those cancel.
row(
    "ellipk_slope",
    "a",
    f"where(absolute(a) < 0.5, {9 * pi / 64!r}*hyp2f1(2.5, 2.5, 3, {SMALL}),"
    f" (0.25*ellipk(a) - (1 - 2*a)*y)/({LARGE}*(1 - {LARGE})))",
    value=_ellipk_slope,
    domain=((0.05, 0.95),),
)
row(
    "ellipe_slope",
    "a",
    f"where(absolute(a) < 0.5, -{3 * pi / 64!r}*hyp2f1(1.5, 2.5, 3, {SMALL}),"
    f" (-0.25*ellipe(a)/(1 - {LARGE}) - y)/{LARGE})",
    value=_ellipe_slope,
    domain=((0.05, 0.95),),
)


def _incomplete(complete: Function, last: Function) -> Function:
    def slope(phi: Any, m: Any) -> Any:
        turns = np.rint(phi / pi)
        sine, cosine = np.sin(phi - turns * pi), np.cos(phi - turns * pi)
        return 2 * turns * complete(m) + sine**3 * last(cosine**2, cosine**2 + (1 - m) * sine**2) / 6

    return in_doubles(slope)


# In m again: from the differential equation, and by two terms of the power series where that cancels.
FOURTH = "(0.375*a - 0.25*sin(2*a) + 0.03125*sin(4*a))"  # the integrals of the powers of the sine
SIXTH = f"(0.3125*a - {15 / 64!r}*sin(2*a) + {3 / 64!r}*sin(4*a) - {1 / 192!r}*sin(6*a))"
TINY, SAFE, DELTA = "(absolute(b) < 1e-4)", "where(absolute(b) < 1e-4, 0.5, b)", "(1 - b*sin(a)*sin(a))"
row(
    "ellipkinc_slope",
    "a b",
    f"0.5*sin(a)*sin(a)/{DELTA}**1.5",
    f"where({TINY}, 0.75*{FOURTH} + 1.875*b*{SIXTH},"
    f" (0.25*ellipkinc(a, b) - (1 - 2*b)*y - 0.125*sin(2*a)/{DELTA}**1.5)/({SAFE}*(1 - {SAFE})))",
    value=_incomplete(_ellipk_slope, lambda x, y: special.elliprd(x, 1, y)),
    domain=((-2.0, 2.0), (0.05, 0.95)),
)
row(
    "ellipeinc_slope",
    "a b",
    f"-0.5*sin(a)*sin(a)/sqrt({DELTA})",
    f"where({TINY}, -0.25*{FOURTH} - 0.375*b*{SIXTH}, -0.5*(y + ellipkinc_slope(a, b))/{SAFE})",
    value=_incomplete(_ellipe_slope, lambda x, y: -special.elliprd(x, y, 1)),
    domain=((-2.0, 2.0), (0.05, 0.95)),
)


@in_doubles
def kve_rate(v: Any, x: Any) -> Any:
    """The logarithmic derivative of exp(x)*K_v(x) for x >= 2: Steed's continued fraction (DLMF 10.33(ii))."""
    x, fraction = np.maximum(x, 2.0), np.zeros(np.broadcast_shapes(v.shape, x.shape))
    for k in range(50, 0, -1):
        fraction = ((k - 0.5) ** 2 - v * v) / (2 * (x + k) - fraction)
    return (fraction - 0.5) / x


row("kve_rate", "a b", None, "a*a/(b*b) + (1 - y)/b + 2*y - y*y", value=kve_rate, domain=((0.2, 2.6), (2.5, 6.0)))


@in_doubles
def exp_difference(a: Any, b: Any) -> Any:
    """exp(a - b), a quotient of which the logarithms are given; of two that are 0 it is 0."""
    return np.where(a == -np.inf, 0.0, np.exp(a - b))


row("exp_difference", "a b", "y", "-y", value=exp_difference)
