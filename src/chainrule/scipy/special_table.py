"""THE TABLE of SciPy's special functions: the local derivative of each elementwise one.

The same kind of rows as in `rules/elementwise.py`, with SciPy's ufuncs as their values: what is computed is SciPy's, to
the last bit.  A partial derivative that nobody knows in closed form is None: asking for it raises, by name.  Sources:
the NIST Digital Library of Mathematical Functions (dlmf.nist.gov), whose chapters follow the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log, pi, sqrt
from typing import Any

import numpy as np

from ..rules.registry import Rule, functions, row, rules
from . import stable
from .unwrapped import special

ROWS: list[Rule] = [
    rule for rule in rules.values() if rule.partials and getattr(rule.value, "__module__", "") == stable.__name__
]
REAL, POSITIVE, UNIT = (-2.0, 2.0), (0.1, 3.0), (0.05, 0.95)
ABOVE_ONE, ORDER, WHOLE, COUNT = (1.1, 3.0), (0.2, 2.6), (3.0, 3.0), (2.0, 2.0)


def known(
    name: str,
    operands: str,
    *partials: str | None,
    value: Callable[..., Any] | None = None,
    complex_partials: tuple[str | None, ...] = (),
    complex_result: bool = False,
    domain: tuple[tuple[float, float], ...] | None = None,
) -> None:
    """A row for SciPy's function of this name, in versions that have it; `value` is a part of one, or not a ufunc.

    `complex_partials` are those for complex operands, where others than for real ones; `complex_result`: also a real
    operand has a complex result.
    """
    value = value or getattr(special, name, None)
    if value is None:
        return
    taken = name in rules  # NumPy's function of that name, or ours, which is what formulas call
    rule = row(f"special_{name}" if taken else name, operands, *partials, value=value, domain=domain)
    assert rule.complex_rule is not None
    rule.complex_rule.partials = complex_partials or partials
    rule.conjugate = complex_result
    ROWS.append(rule)


def infinite(x: str) -> str:
    """The condition that x is infinite, in a formula."""
    return f"(({x} == 2*{x})*({x} != 0))"


def parts(name: str, *names: str, **options: Any) -> None:
    """The results of a ufunc that has several: a row each, which computes all of them and takes its own."""
    if hasattr(special, name):
        ufunc = getattr(special, name)
        functions[ufunc] = lambda *operands: tuple(rules[part](*operands) for part in names)


def part(name: str, position: int) -> Callable[..., Any] | None:
    """The function that computes one of several results; None in versions without it."""
    ufunc = getattr(special, name, None)
    return None if ufunc is None else lambda *operands: ufunc(*operands)[position]


def solution(
    name: str, operands: str, curvature: str, domain: tuple[tuple[float, float], ...], unit: str = "1"
) -> None:
    """A ufunc that gives a solution of a differential equation of second order, and its slope.

    The equation, solved for the curvature, has the solution as {value} and the slope as y; the slope is per radian
    (or what else) where the last operand, in which alone a derivative is known, counts in `unit`.
    """
    arguments = ", ".join(operands.split())
    held = [None] * (len(operands.split()) - 1)
    value, slope = f"{name}_value", f"{name}_slope"
    curvature = curvature.format(value=f"{value}({arguments})")
    known(value, operands, *held, f"{unit}*{slope}({arguments})", value=part(name, 0), domain=domain)
    known(slope, operands, *held, f"{unit}*({curvature})", value=part(name, 1), domain=domain)
    parts(name, value, slope)


def _legendre(name: str, degrees: int = 2, **options: Any) -> Callable[..., Any]:
    """One of SciPy's Legendre functions, whose first operands, degree and order, are integers."""

    def value(*operands: Any) -> Any:
        whole = (np.asarray(n).astype(int) for n in operands[:degrees])
        result = getattr(special, name)(*whole, *operands[degrees:], **options)
        return np.asarray(result)[() if name == "sph_harm_y" else 0]  # on the axis in front would be derivatives

    return value


# -- error functions and relatives -------------------------------------------------------------------------------------
SLOPE = f"{2 / sqrt(pi)!r}"
known("erf", "a", f"{SLOPE}*exp_minus_square(a)")
known("erfc", "a", f"-{SLOPE}*exp_minus_square(a)")
known("erfi", "a", f"{SLOPE}*exp_square(a)")
known(
    "erfcx",
    "a",
    f"where(a < 2, 2*a*y - {SLOPE}, -2*erfcx_tail(a)*y)",
    complex_partials=(f"2*a*y - {SLOPE}",),
)
known("dawsn", "a", "dawson_slope(a)", complex_partials=("1 - 2*a*y",))
known("wofz", "a", f"times_i({SLOPE}) - 2*a*y", complex_result=True)
known("erfinv", "a", f"{sqrt(pi) / 2!r}*exp_square(y)", domain=((-0.9, 0.9),))
# exp(y**2) is erfcx(y)/erfc(y), of which erfc(y) is the operand: no rounding of y is magnified.
TAIL = "where(a < {0}, a, 2*{0} - a)"
INVERSE = f"where({TAIL} < 1e-150, {{1}}, {{2}}/where({TAIL} < 1e-150, 1, {TAIL}))"  # below, its slope overflows
known(
    "erfcinv",
    "a",
    f"-{sqrt(pi) / 2!r}*{INVERSE.format(1, 'exp_square(y)', 'erfcx(absolute(y))')}",
    domain=((0.1, 1.9),),
)
known("fresnel_s", "a", "sin_half_pi_square(a)", value=part("fresnel", 0))
known("fresnel_c", "a", "cos_half_pi_square(a)", value=part("fresnel", 1))
parts("fresnel", "fresnel_s", "fresnel_c")
NORMAL = f"{1 / sqrt(2 * pi)!r}"
known("ndtr", "a", f"{NORMAL}*exp_minus_half_square(a)")
# The density of the normal distribution over its distribution function: the inverse of Mills' ratio.
MILLS = (
    f"where({{0}} < 0, {sqrt(2 / pi)!r}/erfcx(-{sqrt(0.5)!r}*{{0}}), {NORMAL}*exp_minus_half_square({{0}})/ndtr({{0}}))"
)
known(
    "log_ndtr",
    "a",
    MILLS.format("a"),
    complex_partials=(f"{NORMAL}*exp_minus_half_square(a)/ndtr(a)",),
)
known(
    "ndtri",
    "a",
    f"{sqrt(2 * pi)!r}*{INVERSE.format(0.5, 'exp_half_square(y)', f'0.5*erfcx({sqrt(0.5)!r}*absolute(y))')}",
    domain=(UNIT,),
)
known(
    "ndtri_exp",
    "a",
    f"where(y < 0, {sqrt(pi / 2)!r}*erfcx(-{sqrt(0.5)!r}*y), {sqrt(2 * pi)!r}*exp_half_square(y)*ndtr(y))",
    domain=((-3.0, -0.1),),
)
known(
    "owens_t",
    "a b",
    f"-0.5*{NORMAL}*exp_minus_half_square(a)*erf({sqrt(0.5)!r}*a*b)",
    f"{1 / (2 * pi)!r}*exp_minus_half_square(a)*exp_minus_half_square(a*b)/(1 + b*b)",
)
Z = f"{sqrt(0.5)!r}*(a + times_i(c))/b"
W_SLOPE = f"(times_i({SLOPE}) - 2*{Z}*wofz({Z}))"
known(
    "voigt_profile",
    "a b c",
    f"{0.5 / sqrt(pi)!r}*real({W_SLOPE})/(b*b)",
    f"-y/b - {NORMAL}*real({Z}*{W_SLOPE})/(b*b)",
    f"{0.5 / sqrt(pi)!r}*real(times_i({W_SLOPE}))/(b*b)",
    domain=(REAL, (0.5, 2.0), (0.5, 2.0)),
)

# -- logistic and logarithmic --------------------------------------------------------------------------------------
known("expit", "a", "y*expit(-a)")
known("logit", "a", "1/(a*(1 - a))", domain=(UNIT,))
known("log_expit", "a", "expit(-a)")
known("softplus", "a", "expit(a)")
known("expm1", "a", "exp(a)")
known("log1p", "a", "1/(1 + a)", domain=((-0.9, 3.0),))
known("cosm1", "a", "-sin(a)")
known("exp2", "a", f"{log(2.0)!r}*y")
known("exp10", "a", f"{log(10.0)!r}*y")
known("cbrt", "a", "1/(3*y*y)", domain=(POSITIVE,))
known(
    "powm1",
    "a b",
    "where(b == 0, 0, b*a**where(b == 0, 1, b - 1))",
    "where(a == 0, 0, a**b*log(where(a == 0, 1, a)))",
    domain=(POSITIVE, REAL),
)
INSIDE = "where(a == 0, where(b == 0, 1, b), b)"  # at (0, 0), a jump, all derivatives are 0
known("xlogy", "a b", f"log({INSIDE})", f"a/{INSIDE}", domain=(REAL, POSITIVE))
INSIDE1P = "where(a == 0, where(b == -1, 0, b), b)"
known("xlog1py", "a b", f"log1p({INSIDE1P})", f"a/(1 + {INSIDE1P})", domain=(REAL, (-0.8, 2.0)))
known("entr", "a", "-log(a) - 1", domain=(POSITIVE,))
RATIO = f"log_ratio(where(a == 0, where(b == 0, 1, a), a), {INSIDE})"
known(
    "rel_entr",
    "a b",
    f"where(a == 0, where(b == 0, 0, {RATIO} + 1), {RATIO} + 1)",
    f"-a/{INSIDE}",
    domain=(POSITIVE, POSITIVE),
)
known("kl_div", "a b", RATIO, f"({INSIDE} - a)/{INSIDE}", domain=(POSITIVE, POSITIVE))
known("huber", "a b", "maximum(absolute(b) - a, 0)", "clip(b, -a, a)", domain=((0.5, 1.0), (1.2, 3.0)))
U = "(b/where(a == 0, 1, a))"
known(
    "pseudo_huber",
    "a b",
    f"a*({U}*{U}/(1 + hypot(1, {U})))*({U}*{U}/(1 + hypot(1, {U})))/hypot(1, {U})",
    f"where(a == 0, 0, b/hypot(1, {U}))",
    domain=(POSITIVE, REAL),
)
known("exprel", "a", "exprel_slope(a)")
known(
    "boxcox",
    "a b",
    "a**(b - 1)",
    "where(a == 0, 1/(b*b), log(a)*log(a)*exprel_slope(b*log(a)))",
    domain=(POSITIVE, REAL),
)
known(
    "boxcox1p",
    "a b",
    "exp((b - 1)*log1p(a))",
    "where(a == -1, 1/(b*b), log1p(a)*log1p(a)*exprel_slope(b*log1p(a)))",
    domain=((-0.8, 2.0), REAL),
)
known("inv_boxcox", "a b", "y/(1 + a*b)", "-y*a*a*boxcox_curvature(a*b)", domain=((0.1, 1.0), (0.1, 1.0)))
known("inv_boxcox1p", "a b", "(1 + y)/(1 + a*b)", "-(1 + y)*a*a*boxcox_curvature(a*b)", domain=((0.1, 1.0), (0.1, 1.0)))
known("tklmbda", "a b", "1/(y**(b - 1) + (1 - y)**(b - 1))", None, domain=((-0.5, 0.5), (0.5, 1.5)))

# -- trigonometric in degrees ------------------------------------------------------------------------------------------
DEGREE = f"{pi / 180!r}"
known("sindg", "a", f"{DEGREE}*cosdg(a)")
known("cosdg", "a", f"-{DEGREE}*sindg(a)")
known("tandg", "a", f"{DEGREE}*(1 + y*y)")
known("cotdg", "a", f"-{DEGREE}*(1 + y*y)", domain=((10.0, 80.0),))
known("radian", "a b c", DEGREE, f"{pi / 180 / 60!r}", f"{pi / 180 / 3600!r}")

# -- gamma, beta and zeta --------------------------------------------------------------------------------------------
known("gamma", "a", "y*psi(a)", domain=(POSITIVE,))
known("gammaln", "a", "psi(a)", domain=(POSITIVE,))
known("loggamma", "a", "psi(a)", domain=(POSITIVE,))
# By reflection left of 1/2: at the poles of gamma, where psi is infinite, this is finite.
RECIPROCAL = "where({0} < 0.5, gamma(1 - {0})*(cospi({0}) - psi(1 - {0})*sinpi({0})*%r), -psi({0})*rgamma({0}))" % (
    1 / pi
)
known("rgamma", "a", RECIPROCAL.format("a"))
known("gammasgn", "a", "0", domain=(POSITIVE,))
known("psi", "a", "polygamma(1, a)", complex_partials=(None,), domain=(POSITIVE,))
known("polygamma", "a b", None, "polygamma(a + 1, b)", domain=(WHOLE, POSITIVE))
known("zeta", "a b", None, "-a*zeta(a + 1, b)", domain=(ABOVE_ONE, POSITIVE))
known("beta", "a b", "-y*psi_gap(a, b)", "-y*psi_gap(b, a)", domain=(POSITIVE, POSITIVE))
known("betaln", "a b", "-psi_gap(a, b)", "-psi_gap(b, a)", domain=(POSITIVE, POSITIVE))
REST = "(a - b + 1)"
known(
    "binom",
    "a b",
    f"where({REST} < 0.5, psi(a + 1)*y + gamma(a + 1)*rgamma(b + 1)*({RECIPROCAL.format(REST)}), y*psi_gap({REST}, b))",
    f"where({REST} < 0.5, -psi(b + 1)*y - gamma(a + 1)*rgamma(b + 1)*({RECIPROCAL.format(REST)}),"
    " y*psi_gap(b + 1, a - 2*b))",
    domain=((2.0, 4.0), (0.2, 1.5)),
)
known(
    "poch",
    "a b",
    f"where(y == 0, gamma(a + b)*({RECIPROCAL.format('a')}), y*psi_gap(a, b))",
    "y*psi(a + b)",
    domain=(POSITIVE, POSITIVE),
)
known("factorial", "a", "where(a < 0, 0, y*psi(where(a < 0, 0, a) + 1))", domain=(POSITIVE,))

# -- Bessel functions and relatives ------------------------------------------------------------------------------------
known("j0", "a", "-j1(a)")
known("j1", "a", "0.5*(j0(a) - jv(2, a))")
known("y0", "a", "-y1(a)", domain=(POSITIVE,))
known("y1", "a", "0.5*(y0(a) - yv(2, a))", domain=(POSITIVE,))
known("i0", "a", "i1(a)")
known("i1", "a", "0.5*(special_i0(a) + iv(2, a))")
known("k0", "a", "-k1(a)", domain=(POSITIVE,))
known("k1", "a", "-k0(a) - y/a", domain=(POSITIVE,))
known("i0e", "a", "-sign(a)*hyp1f1(1.5, 2, -2*absolute(a))", domain=(POSITIVE,))
known("i1e", "a", "hyp1f1(1.5, 2, -2*absolute(a)) - where(a == 0, 0.5, y/where(a == 0, 1, a))", domain=(POSITIVE,))
known("k0e", "a", "where(a > 2, y*kve_rate(0, a), y - k1e(a))", domain=(POSITIVE,))
known("k1e", "a", "where(a > 2, y*kve_rate(1, a), y - k0e(a) - y/a)", domain=(POSITIVE,))


def cylinder(name: str, formula: str, **options: Any) -> None:
    """A Bessel function of order a at b, by its neighbours in the order, {low} and {high}."""
    known(name, "a b", None, formula.format(low=f"{name}(a - 1, b)", high=f"{name}(a + 1, b)"), **options)


for _name in ("jv", "yv", "yn"):
    cylinder(_name, "0.5*({low} - {high})", domain=(WHOLE if _name == "yn" else ORDER, POSITIVE))
for _name in ("hankel1", "hankel2"):
    cylinder(_name, "0.5*({low} - {high})", complex_result=True, domain=(ORDER, POSITIVE))
cylinder("hankel1e", "0.5*({low} - {high}) - times_i(y)", complex_result=True, domain=(ORDER, POSITIVE))
cylinder("hankel2e", "0.5*({low} - {high}) + times_i(y)", complex_result=True, domain=(ORDER, POSITIVE))
for _name in ("jve", "yve"):  # for complex z, exp(-|Im z|) is not analytic
    cylinder(_name, "0.5*({low} - {high})", complex_partials=(None, None), domain=(ORDER, POSITIVE))
cylinder("iv", "0.5*({low} + {high})", domain=(ORDER, POSITIVE))
cylinder("ive", "0.5*({low} + {high}) - sign(b)*y", complex_partials=(None, None), domain=(ORDER, POSITIVE))
for _name in ("kv", "kn"):
    cylinder(_name, "-0.5*({low} + {high})", domain=(WHOLE if _name == "kn" else ORDER, POSITIVE))
known(
    "kve",
    "a b",
    None,
    "where(b > 2, y*kve_rate(a, b), y - 0.5*(kve(a - 1, b) + kve(a + 1, b)))",
    complex_partials=(None, "y - 0.5*(kve(a - 1, b) + kve(a + 1, b))"),
    domain=(ORDER, POSITIVE),
)
cylinder("struve", "{low} - where(b == 0, 0, a*y/where(b == 0, 1, b))", domain=(ORDER, POSITIVE))
cylinder("modstruve", "{low} - where(b == 0, 0, a*y/where(b == 0, 1, b))", domain=(ORDER, POSITIVE))
for _name in ("jvp", "yvp", "ivp", "kvp", "h1vp", "h2vp"):
    known(
        _name,
        "a b c",
        None,
        f"{_name}(a, b, c + 1)",
        None,
        complex_result=_name[0] == "h",
        domain=(ORDER, POSITIVE, (1.0, 1.0)),
    )
SPHERICAL = "({sign}a*{name}(maximum(a - 1, 0), b) {then} (a + 1)*{name}(a + 1, b))/(2*a + 1)"
for _name, _sign, _then in (("jn", "", "-"), ("yn", "", "-"), ("in", "", "+"), ("kn", "-", "-")):
    for _derivative in (False, True):
        _full = f"spherical_{_name}{'_slope' * _derivative}"
        known(
            _full,
            "a b",
            None,
            SPHERICAL.format(sign=_sign, then=_then, name=_full),
            value=partial(getattr(special, f"spherical_{_name}"), derivative=_derivative),
            domain=(WHOLE, POSITIVE),
        )
OUT = "where(a > 2.1, a, 2.1)"  # Ai there by K of order 1/3, so that the two terms below do not cancel
AIRYE = "airye_aip(a) + sqrt(a)*airye_ai(a)"
AIRYE_FAR = f"airye_ai(a)*(0.5/{OUT} + sqrt({OUT})*kve_rate({1 / 3!r}, {2 / 3!r}*{OUT}**1.5))"
AIRYE_REAL = f"where(a > 2.1, {AIRYE_FAR}, {AIRYE})"
for _i, _name in enumerate(("ai", "aip", "bi", "bip")):
    known(
        f"airy_{_name}", "a", ("airy_aip(a)", "a*airy_ai(a)", "airy_bip(a)", "a*airy_bi(a)")[_i], value=part("airy", _i)
    )
    known(
        f"airye_{_name}",
        "a",
        (
            AIRYE_REAL,
            f"sqrt(a)*({AIRYE_REAL})",
            "airye_bip(a) - sqrt(maximum(a, 0))*y",
            "a*airye_bi(a) - sqrt(maximum(a, 0))*y",
        )[_i],
        complex_partials=((AIRYE,), (f"sqrt(a)*({AIRYE})",), (None,), (None,))[_i],  # those of Bi are not analytic
        value=part("airye", _i),
        domain=(POSITIVE,),
    )
    known(
        f"itairy_{_name}", "a", ("airy_ai(a)", "airy_bi(a)", "airy_ai(-a)", "airy_bi(-a)")[_i], value=part("itairy", _i)
    )
for _name in ("airy", "airye", "itairy"):
    parts(_name, *(f"{_name}_{each}" for each in ("ai", "aip", "bi", "bip")))
for _name, _first, _second in (
    ("iti0k0", "special_i0(a)", "k0(a)"),
    ("itj0y0", "j0(a)", "y0(a)"),
    ("it2i0k0", "(special_i0(a) - 1)/a", "-k0(a)/a"),
    ("it2j0y0", "(1 - j0(a))/a", "-y0(a)/a"),
):
    known(f"{_name}_first", "a", _first, value=part(_name, 0), domain=(POSITIVE,))
    known(f"{_name}_second", "a", _second, value=part(_name, 1), domain=(POSITIVE,))
    parts(_name, f"{_name}_first", f"{_name}_second")
known("itstruve0", "a", "struve(0, a)", domain=(POSITIVE,))
known("itmodstruve0", "a", "modstruve(0, a)", domain=(POSITIVE,))
known("it2struve0", "a", "-struve(0, a)/a", domain=(POSITIVE,))
known("ber", "a", "berp(a)", domain=(POSITIVE,))
known("bei", "a", "beip(a)", domain=(POSITIVE,))
known("ker", "a", "kerp(a)", domain=(POSITIVE,))
known("kei", "a", "keip(a)", domain=(POSITIVE,))
known("berp", "a", "-bei(a) - where(a == 0, 0, y/where(a == 0, 1, a))", domain=(POSITIVE,))
known("beip", "a", "ber(a) - where(a == 0, 0.5, y/where(a == 0, 1, a))", domain=(POSITIVE,))
known("kerp", "a", "-kei(a) - y/a", domain=(POSITIVE,))
known("keip", "a", "ker(a) - y/a", domain=(POSITIVE,))

# As complex functions, Be = ber + i bei and Ke = ker + i kei, with their derivatives.
known("kelvin_be", "a", "kelvin_bep(a)", value=part("kelvin", 0), complex_result=True, domain=(POSITIVE,))
known("kelvin_ke", "a", "kelvin_kep(a)", value=part("kelvin", 1), complex_result=True, domain=(POSITIVE,))
known(
    "kelvin_bep",
    "a",
    "times_i(kelvin_be(a)) - where(a == 0, times_i(0.5), y/where(a == 0, 1, a))",
    value=part("kelvin", 2),
    complex_result=True,
    domain=(POSITIVE,),
)
known(
    "kelvin_kep", "a", "times_i(kelvin_ke(a)) - y/a", value=part("kelvin", 3), complex_result=True, domain=(POSITIVE,)
)
parts("kelvin", "kelvin_be", "kelvin_ke", "kelvin_bep", "kelvin_kep")
known(
    "besselpoly",
    "a b c",
    "besselpoly(a, b + 1, c - 1) - besselpoly(a, b + 1, c + 1)",
    None,
    None,
    domain=(POSITIVE, ORDER, ORDER),
)

# -- parabolic cylinder functions and modified Fresnel integrals ---------------------------------------------------
solution("pbdv", "a b", "(0.25*b*b - a - 0.5)*{value}", domain=(ORDER, REAL))
solution("pbvv", "a b", "(0.25*b*b - a - 0.5)*{value}", domain=(ORDER, REAL))
solution("pbwa", "a b", "(a - 0.25*b*b)*{value}", domain=(ORDER, REAL))
for _name, _sign in (("modfresnelp", ""), ("modfresnelm", "-")):
    _opposite = "" if _sign else "-"
    known(
        f"{_name}_f", "a", f"-exp({_sign}times_i(a*a))", value=part(_name, 0), complex_result=True, domain=((0.1, 1.2),)
    )
    known(
        f"{_name}_k",
        "a",
        f"{_opposite}2*a*times_i(y) - {1 / sqrt(pi)!r}*exp({_opposite}times_i({pi / 4!r}))",
        value=part(_name, 1),
        complex_result=True,
        domain=((0.1, 1.2),),
    )
    parts(_name, f"{_name}_f", f"{_name}_k")

# -- elliptic integrals and functions ----------------------------------------------------------------------------------
known(
    "elliprf",
    "a b c",
    "-elliprd(b, c, a)/6",
    "-elliprd(a, c, b)/6",
    "-elliprd(a, b, c)/6",
    domain=(POSITIVE, (3.1, 4.0), (4.1, 5.0)),
)
# Two equal operands are a limit, which R_C, the integral with two equal operands, gives.
RD_TIE = (
    "where({0} == c, -0.3/(sqrt(c)*c*c),"
    " (0.375*elliprc({0}, c) - 0.25*y*(2.5*c - {0}))/(c*where({0} == c, 1, c - {0})))"
)
RD_A = f"where(a == c, {RD_TIE.format('b')}, 0.5*(elliprd(b, c, a) - y)/where(a == c, 1, a - c))"
RD_B = f"where(b == c, {RD_TIE.format('a')}, 0.5*(elliprd(a, c, b) - y)/where(b == c, 1, b - c))"
RD_C = f"-(1.5*y + where(a == 0, 0, a*({RD_A})) + where(b == 0, 0, b*({RD_B})))/c"
known("elliprd", "a b c", RD_A, RD_B, RD_C, domain=(POSITIVE, (3.1, 4.0), (4.1, 5.0)))
known(
    "elliprg",
    "a b c",
    "0.25*(elliprf(a, b, c) - a*elliprd(b, c, a)/3)",
    "0.25*(elliprf(a, b, c) - b*elliprd(a, c, b)/3)",
    "0.25*(elliprf(a, b, c) - c*elliprd(a, b, c)/3)",
    domain=(POSITIVE, (3.1, 4.0), (4.1, 5.0)),
)
RC_A = "where(b < 0, 0.5*(y - 1/sqrt(a))/where(b < 0, b - a, 1), -elliprd(absolute(b), absolute(b), a)/6)"
known(
    "elliprc",
    "a b",
    RC_A,
    f"-(0.5*y + where(a == 0, 0, a*({RC_A})))/b",
    complex_partials=("-elliprd(b, b, a)/6", "-elliprd(a, b, b)/3"),
    domain=(POSITIVE, (3.1, 4.0)),
)
RJ = ["0.5*(elliprd({1}, {2}, {0}) - y)/({0} - d)".format(*order) for order in ("abc", "bac", "cab")]
known(
    "elliprj",
    "a b c d",
    *RJ,
    f"-(1.5*y + a*({RJ[0]}) + b*({RJ[1]}) + c*({RJ[2]}))/d",
    domain=(POSITIVE, (3.1, 4.0), (4.1, 5.0), (5.1, 6.0)),
)
known("ellipk", "a", "ellipk_slope(a)", domain=(UNIT,))
known("ellipkm1", "a", "-elliprd(0, 1, a)/6", domain=(UNIT,))
known("ellipe", "a", "ellipe_slope(a)", domain=(UNIT,))
DELTA = "sqrt(1 - b*sin(a)*sin(a))"
known("ellipkinc", "a b", f"1/{DELTA}", "ellipkinc_slope(a, b)", domain=(REAL, UNIT))
known("ellipeinc", "a b", DELTA, "ellipeinc_slope(a, b)", domain=(REAL, UNIT))
AMPLITUDE = "ellipj_dn(a, b)*-ellipkinc_slope(ellipj_ph(a, b), b)"
known("ellipj_ph", "a b", "ellipj_dn(a, b)", AMPLITUDE, value=part("ellipj", 3), domain=(REAL, UNIT))
known(
    "ellipj_sn",
    "a b",
    "ellipj_cn(a, b)*ellipj_dn(a, b)",
    f"ellipj_cn(a, b)*{AMPLITUDE}",
    value=part("ellipj", 0),
    domain=(REAL, UNIT),
)
known(
    "ellipj_cn",
    "a b",
    "-ellipj_sn(a, b)*ellipj_dn(a, b)",
    f"-ellipj_sn(a, b)*{AMPLITUDE}",
    value=part("ellipj", 1),
    domain=(REAL, UNIT),
)
known(
    "ellipj_dn",
    "a b",
    "-b*ellipj_sn(a, b)*ellipj_cn(a, b)",
    "-0.5*ellipj_sn(a, b)*(ellipj_sn(a, b)/y + 2*b*ellipj_cn(a, b)*-ellipkinc_slope(ellipj_ph(a, b), b))",
    value=part("ellipj", 2),
    domain=(REAL, UNIT),
)
parts("ellipj", "ellipj_sn", "ellipj_cn", "ellipj_dn", "ellipj_ph")
known(
    "agm",
    "a b",
    f"{2 / (3 * pi)!r}*y*y*absolute(a)*elliprd(0, b*b, a*a)",
    f"{2 / (3 * pi)!r}*y*y*absolute(b)*elliprd(0, a*a, b*b)",
    domain=(POSITIVE, POSITIVE),
)

# -- exponential integrals, Lambert's W, dilogarithm -----------------------------------------------------------------
known("exp1", "a", "-exp(-a)/a", domain=(POSITIVE,))
known("expi", "a", "exp(a)/a", domain=(POSITIVE,))
known("expn", "a b", None, "where(a == 0, -y*(1 + 1/b), -expn(maximum(a - 1, 0), b))", domain=(WHOLE, POSITIVE))
known("sici_si", "a", "spherical_jn(0, a)", value=part("sici", 0))
known("sici_ci", "a", "cos(a)/a", value=part("sici", 1), domain=(POSITIVE,))
known("shichi_shi", "a", "spherical_in(0, a)", value=part("shichi", 0))
known("shichi_chi", "a", "cosh(a)/a", value=part("shichi", 1), domain=(POSITIVE,))
parts("sici", "sici_si", "sici_ci")
parts("shichi", "shichi_shi", "shichi_chi")
NEAR_ONE = "(absolute(a - 1) < 0.5)"
known(
    "spence",
    "a",
    f"where({NEAR_ONE}, -hyp2f1(1, 1, 2, 1 - where({NEAR_ONE}, a, 1)), log(a)/(1 - where({NEAR_ONE}, 2, a)))",
    domain=(POSITIVE,),
)
NEAR_ZERO = "(absolute(a) < 1)"
known(
    "lambertw",
    "a",
    f"where({NEAR_ZERO}, exp(-y)/(1 + y), y/(where({NEAR_ZERO}, 1, a)*(1 + y)))",
    complex_result=True,
    domain=(POSITIVE,),
)
known("wrightomega", "a", "y/(1 + y)")

# -- hypergeometric functions, in their argument ---------------------------------------------------------------------
known("hyp0f1", "a b", None, "hyp0f1(a + 1, b)/a", domain=(POSITIVE, REAL))
known("hyp1f1", "a b c", None, None, "a*hyp1f1(a + 1, b + 1, c)/b", domain=(POSITIVE, POSITIVE, REAL))
known(
    "hyp2f1",
    "a b c d",
    None,
    None,
    None,
    "a*b*hyp2f1(a + 1, b + 1, c + 1, d)/c",
    domain=(POSITIVE, POSITIVE, POSITIVE, (-0.8, 0.8)),
)
known("hyperu", "a b c", None, None, "-a*hyperu(a + 1, b + 1, c)", domain=(POSITIVE, POSITIVE, POSITIVE))
known("wright_bessel", "a b c", None, None, "wright_bessel(a, a + b, c)", domain=(POSITIVE, POSITIVE, POSITIVE))
known(
    "log_wright_bessel",
    "a b c",
    None,
    None,
    "exp(log_wright_bessel(a, a + b, c) - y)",
    domain=(POSITIVE, POSITIVE, POSITIVE),
)

# -- orthogonal polynomials, in their argument -------------------------------------------------------------------------
ONE_LESS = "maximum(a - 1, 0)"
SHIFTED = "2*b - 1"
for _name, _partial in (
    ("legendre", "0.5*(a + 1)*eval_jacobi(a - 1, 1, 1, b)"),
    ("sh_legendre", f"(a + 1)*eval_jacobi(a - 1, 1, 1, {SHIFTED})"),
    ("chebyt", f"a*eval_chebyu({ONE_LESS}, b)"),
    ("chebyu", "2*eval_gegenbauer(a - 1, 2, b)"),
    ("chebyc", f"a*eval_chebys({ONE_LESS}, b)"),
    ("chebys", "eval_gegenbauer(a - 1, 2, 0.5*b)"),
    ("sh_chebyt", f"2*a*eval_sh_chebyu({ONE_LESS}, b)"),
    ("sh_chebyu", f"4*eval_gegenbauer(a - 1, 2, {SHIFTED})"),
    ("laguerre", "-eval_genlaguerre(a - 1, 1, b)"),
    ("hermite", f"2*a*eval_hermite({ONE_LESS}, b)"),
    ("hermitenorm", f"a*eval_hermitenorm({ONE_LESS}, b)"),
):
    known(f"eval_{_name}", "a b", None, f"where(a == 0, 0, {_partial})", domain=(WHOLE, UNIT))
known(
    "eval_genlaguerre",
    "a b c",
    None,
    None,
    "where(a == 0, 0, -eval_genlaguerre(a - 1, b + 1, c))",
    domain=(WHOLE, POSITIVE, UNIT),
)
known(
    "eval_gegenbauer",
    "a b c",
    None,
    None,
    "where(a == 0, 0, 2*b*eval_gegenbauer(a - 1, b + 1, c))",
    domain=(WHOLE, POSITIVE, UNIT),
)
known(
    "eval_jacobi",
    "a b c d",
    None,
    None,
    None,
    "where(a == 0, 0, 0.5*(a + b + c + 1)*eval_jacobi(a - 1, b + 1, c + 1, d))",
    domain=(WHOLE, POSITIVE, POSITIVE, UNIT),
)
known(
    "eval_sh_jacobi",
    "a b c d",
    None,
    None,
    None,
    f"where(a == 0, 0, a*eval_sh_jacobi({ONE_LESS}, b + 2, c + 1, d))",
    domain=(WHOLE, (2.0, 3.0), (0.5, 1.5), UNIT),
)


def legendre(n: str, m: str, lower: str, norm: bool = False) -> str:
    """The derivative of a Legendre function of degree n and order m at c: by that of `lower` degree, which is a factor
    and a call; and at 1 and -1 by Rodrigues' formula, in which powers of 1 - c*c stand alone."""
    k, square = f"absolute({m})", "((1 - c)*(1 + c))"

    def polynomial(k: str) -> str:
        """The derivative of order k of the Legendre polynomial (DLMF 18.9.15), 0 for k above the degree."""
        above = f"({k} > {n})*(floor({n}) == {n})"
        power = f"poch({n} + 1, {k})*0.5**({k})*eval_jacobi(where({above}, 0, {n} - {k}), {k}, {k}, c)"
        return f"where({above}, 0, {power})"

    ratio = f"gamma({n} - {k} + 1)*rgamma({n} + {k} + 1)"
    factor = (
        f"sqrt(({n} + 0.5)*{ratio})*where({m} < 0, 1, cospi({m}))" if norm else f"where({m} < 0, {ratio}, cospi({m}))"
    )
    first = f"{square}**(0.5*{k})*{polynomial(f'({k} + 1)')}"
    second = f"where({m} == 0, 0, {k}*c*{square}**(0.5*{k} - 1)*{polynomial(k)})"
    end = f"where(({k} > {n})*(floor({n}) == {n}), 0, {factor}*({first} - {second}))"
    return f"where({square} == 0, {end}, ({n}*c*y - {lower})/((c - 1)*(c + 1)))"


LOWER = "where(a + b == 0, 0, (a + b)*lpmv(a, b - 1, c))"
known("lpmv", "a b c", None, None, legendre("b", "a", LOWER), domain=(COUNT, WHOLE, UNIT))
known(
    "legendre_p",
    "a b",
    None,
    "0.5*(a + 1)*eval_jacobi(a - 1, 1, 1, b)",
    value=_legendre("legendre_p", 1),
    domain=(WHOLE, UNIT),
)
for _norm, _before in ((False, "(a + b)"), (True, "sqrt(maximum((2*a + 1)*(a - b)*(a + b)/(2*a - 1), 0))")):
    _name = f"assoc_legendre_p{'_norm' * _norm}"
    known(
        _name,
        "a b c",
        None,
        None,
        legendre("a", "b", f"{_before}*{_name}(a - 1, b, c)", _norm),
        value=_legendre("assoc_legendre_p", norm=_norm),
        domain=(WHOLE, COUNT, UNIT),
    )
# SciPy takes the absolute value of the sine.
POLAR = (
    "where(sin(c) < 0, -0.5, 0.5)*(sqrt(maximum((a - b)*(a + b + 1), 0)){up}{name}(a, b + 1, {rest})"
    " - sqrt(maximum((a + b)*(a - b + 1), 0)){down}{name}(a, b - 1, {rest}))"
)
known(
    "sph_legendre_p",
    "a b c",
    None,
    None,
    POLAR.format(name="sph_legendre_p", rest="c", up="*", down="*"),
    value=_legendre("sph_legendre_p"),
    domain=(WHOLE, COUNT, UNIT),
)
known(
    "sph_harm_y",
    "a b c d",
    None,
    None,
    POLAR.format(name="sph_harm_y", rest="c, d", up="*exp(-times_i(d))*", down="*exp(times_i(d))*"),
    "times_i(b*y)",
    value=_legendre("sph_harm_y"),
    complex_result=True,
    domain=(WHOLE, COUNT, UNIT, UNIT),
)

# -- others -----------------------------------------------------------------------------------------------------------
known("round", "a", "0", domain=((0.6, 0.9),))
known(
    "diric",
    "a b",
    "where(sin(0.5*a) == 0, y*sin(0.5*a)*cos(0.5*a)*(1 - b*b)/6,"
    " 0.5*(cos(0.5*a*b) - y*cos(0.5*a))/sin(where(sin(0.5*a) == 0, 1, 0.5*a)))",
    None,
    domain=(POSITIVE, WHOLE),
)
