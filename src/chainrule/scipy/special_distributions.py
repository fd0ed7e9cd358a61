"""The rows of `special_table.py` for distribution functions and for their inverses, in every operand.

The slopes of each distribution function in its operands are written once; its complement and its inverses follow.
"""

from __future__ import annotations

from math import pi, sqrt

from . import densities  # noqa: F401 (registers the rows of the densities that SciPy does not have)
from .special_table import COUNT, POSITIVE, REAL, UNIT, WHOLE, known

Interval = tuple[float, float]
FIVE = (5.0, 5.0)


# -- slopes, in each operand -----------------------------------------------------------------------------------------
def gamma(a: str, x: str) -> tuple[str, str]:
    """Of gammainc(a, x)."""
    return f"gammainc_slope({a}, {x})", f"gamma_density({a}, {x})"


def beta(a: str, b: str, x: str) -> tuple[str, str, str]:
    """Of betainc(a, b, x)."""
    return (
        f"betainc_slope({a}, {b}, {x})",
        f"-betainc_slope({b}, {a}, 1 - {x})",
        f"beta_density({a}, {b}, {x}, 1 - {x})",
    )


def chi_square(v: str, x: str) -> tuple[str, str]:
    """Of chdtr(v, x)."""
    return f"0.5*gammainc_slope(0.5*{v}, 0.5*{x})", f"0.5*gamma_density(0.5*{v}, 0.5*{x})"


def scaled_gamma(a: str, b: str, x: str) -> tuple[str, str, str]:
    """Of gdtr(a, b, x)."""
    slope, density = gamma(b, f"{a}*{x}")
    return f"{x}*{density}", slope, f"{a}*{density}"


def fisher(m: str, n: str, x: str) -> tuple[str, str, str]:
    """Of fdtr(m, n, x)."""
    total = f"({m}*{x} + {n})"
    slope = f"beta_density(0.5*{m}, 0.5*{n}, {m}*{x}/{total}, {n}/{total})*{m}*{n}/{total}/{total}"
    return (
        f"(0.5*betainc_slope(0.5*{m}, 0.5*{n}, {m}*{x}/{total}) + {x}/{m}*{slope})",
        f"-(0.5*betainc_slope(0.5*{n}, 0.5*{m}, {n}/{total}) + {x}/{n}*{slope})",
        slope,
    )


def student(v: str, t: str) -> tuple[str, str]:
    """Of stdtr(v, t)."""
    density = f"t_density({v}, {t})"
    return f"-0.25*sign({t})*betainc_slope(0.5*{v}, 0.5, {v}/({v} + {t}*{t})) - 0.5*{t}/{v}*{density}", density


def noncentral_chi_square(x: str, v: str, c: str) -> tuple[str, None, str]:
    """Of chndtr(x, v, c)."""

    def density(v: str) -> str:
        return (
            f"where({c} == 0, 0.5*gamma_density(0.5*({v}), 0.5*{x}), 0.5*exp_minus_half_square(sqrt({x}) - sqrt({c}))"
            f"*({x}/where({c} == 0, 1, {c}))**(0.25*({v}) - 0.5)*ive(0.5*({v}) - 1, sqrt({x}*{c})))"
        )

    return density(v), None, f"-({density(f'{v} + 2')})"


def noncentral_fisher(m: str, n: str, c: str, x: str) -> tuple[None, None, str, str]:
    """Of ncfdtr(m, n, c, x)."""
    total = f"({m}*{x} + {n})"
    operands = f"0.5*{m}, 0.5*{n}, {c}, {m}*{x}/{total}"
    density = f"noncentral_beta_density({operands})*{m}*{n}/{total}/{total}"
    return None, None, f"-0.5*noncentral_beta_mass({operands})", density


def noncentral_student(v: str, c: str, t: str) -> tuple[None, str, str]:
    """Of nctdtr(v, c, t)."""
    return None, f"-noncentral_t_moment({v}, {c}, {t}, 0)", f"noncentral_t_moment({v}, {c}, {t}, 1)"


# -- distribution functions and complements --------------------------------------------------------------------------
def pair(name: str, complement: str, operands: str, *slopes: str | None, domain: tuple[Interval, ...]) -> None:
    """A distribution function, and 1 minus it."""
    known(name, operands, *slopes, domain=domain)
    known(complement, operands, *(slope and f"-({slope})" for slope in slopes), domain=domain)


TWO, THREE = (POSITIVE, POSITIVE), (POSITIVE, POSITIVE, POSITIVE)
pair("gammainc", "gammaincc", "a b", *gamma("a", "b"), domain=TWO)
pair("betainc", "betaincc", "a b c", *beta("a", "b", "c"), domain=(*TWO, UNIT))
pair("chdtr", "chdtrc", "a b", *chi_square("a", "b"), domain=TWO)
pair("gdtr", "gdtrc", "a b c", *scaled_gamma("a", "b", "c"), domain=THREE)
pair("fdtr", "fdtrc", "a b c", *fisher("a", "b", "c"), domain=THREE)
# These count: what lies between whole numbers is rounded down.
BINOMIAL = "beta_density(floor(a) + 1, b - floor(a), {0}, 1 - {0})"
pair("bdtrc", "bdtr", "a b c", None, None, BINOMIAL.format("c"), domain=(COUNT, FIVE, UNIT))
pair("nbdtr", "nbdtrc", "a b c", None, None, "beta_density(b, a + 1, c, 1 - c)", domain=(COUNT, WHOLE, UNIT))
pair("pdtrc", "pdtr", "a b", None, "gamma_density(floor(a) + 1, b)", domain=(COUNT, POSITIVE))
known("stdtr", "a b", *student("a", "b"), domain=(POSITIVE, REAL))
known("chndtr", "a b c", *noncentral_chi_square("a", "b", "c"), domain=THREE)
known("ncfdtr", "a b c d", *noncentral_fisher("a", "b", "c", "d"), domain=(*THREE, POSITIVE))
known("nctdtr", "a b c", *noncentral_student("a", "b", "c"), domain=(POSITIVE, REAL, REAL))
known("kolmogorov", "a", "kolmogorov_derivative(1, a)", domain=((0.3, 2.0),))
known("smirnov", "a b", None, "smirnov_slope(a, b)", domain=(FIVE, UNIT))


# -- inverses --------------------------------------------------------------------------------------------------------
P = "p"  # marks the operand that is the probability


def inverse(
    name: str, operands: str, *slopes: str | None, of: str, domain: tuple[Interval, ...], tail: bool = False
) -> None:
    """The y that solves F(y, ...) = p, or 1 - F = p for the `tail`: the slopes of F in the operands, and that in y."""
    by_p = f"-1/({of})" if tail else f"1/({of})"
    known(name, operands, *(by_p if slope == P else slope and f"-({slope})/({of})" for slope in slopes), domain=domain)


_in_a, _in_x = gamma("a", "y")
inverse("gammaincinv", "a b", _in_a, P, of=_in_x, domain=(POSITIVE, UNIT))
inverse("gammainccinv", "a b", _in_a, P, of=_in_x, domain=(POSITIVE, UNIT), tail=True)
_in_a, _in_b, _in_x = beta("a", "b", "y")
inverse("betaincinv", "a b c", _in_a, _in_b, P, of=_in_x, domain=(*TWO, UNIT))
inverse("betainccinv", "a b c", _in_a, _in_b, P, of=_in_x, domain=(*TWO, UNIT), tail=True)
_in_a, _in_b, _in_x = beta("y", "b", "c")
inverse("btdtria", "a b c", P, _in_b, _in_x, of=_in_a, domain=(UNIT, POSITIVE, UNIT))
_in_a, _in_b, _in_x = beta("a", "y", "c")
inverse("btdtrib", "a b c", _in_a, P, _in_x, of=_in_b, domain=(POSITIVE, UNIT, UNIT))
_in_v, _in_x = chi_square("a", "y")
inverse("chdtri", "a b", _in_v, P, of=_in_x, domain=(POSITIVE, UNIT), tail=True)
_in_v, _in_x = chi_square("y", "b")
inverse("chdtriv", "a b", P, _in_x, of=_in_v, domain=(UNIT, POSITIVE))
_in_a, _in_b, _in_x = scaled_gamma("a", "b", "y")
inverse("gdtrix", "a b c", _in_a, _in_b, P, of=_in_x, domain=(*TWO, UNIT))
_in_a, _in_b, _in_x = scaled_gamma("y", "b", "c")
inverse("gdtria", "a b c", P, _in_b, _in_x, of=_in_a, domain=(UNIT, *TWO))
_in_a, _in_b, _in_x = scaled_gamma("a", "y", "c")
inverse("gdtrib", "a b c", _in_a, P, _in_x, of=_in_b, domain=(POSITIVE, UNIT, POSITIVE))
_in_m, _in_n, _in_x = fisher("a", "b", "y")
inverse("fdtri", "a b c", _in_m, _in_n, P, of=_in_x, domain=(*TWO, UNIT))
_in_m, _in_n, _in_x = fisher("a", "y", "c")
inverse("fdtridfd", "a b c", _in_m, P, _in_x, of=_in_n, domain=((1.0, 2.0), (0.5, 0.6), (1.5, 2.0)))
_in_v, _in_t = student("a", "y")
inverse("stdtrit", "a b", _in_v, P, of=_in_t, domain=(POSITIVE, UNIT))
_in_v, _in_t = student("y", "b")
inverse("stdtridf", "a b", P, _in_t, of=_in_v, domain=((0.72, 0.78), (0.9, 1.2)))
inverse("bdtri", "a b c", None, None, P, of=BINOMIAL.format("y"), domain=(COUNT, FIVE, UNIT), tail=True)
inverse("nbdtri", "a b c", None, None, P, of="beta_density(b, a + 1, y, 1 - y)", domain=(COUNT, WHOLE, UNIT))
inverse("pdtri", "a b", None, P, of="gamma_density(a + 1, y)", domain=(COUNT, UNIT), tail=True)
# Inverses in a count take it for a real number.
_in_k, _in_rest, _in_x = beta("(y + 1)", "(b - y)", "c")
inverse(
    "bdtrik",
    "a b c",
    P,
    _in_rest,
    _in_x,
    of=f"({_in_k} - {_in_rest})",
    domain=((0.3, 0.7), (5.0, 6.0), (0.4, 0.6)),
    tail=True,
)
_in_k, _in_rest, _in_x = beta("(a + 1)", "(y - a)", "c")
inverse(
    "bdtrin",
    "a b c",
    f"({_in_k} - {_in_rest})",
    P,
    _in_x,
    of=_in_rest,
    domain=((2.0, 3.0), (0.3, 0.7), (0.4, 0.6)),
    tail=True,
)
_in_n, _in_k, _in_x = beta("b", "(y + 1)", "c")
inverse("nbdtrik", "a b c", P, _in_n, _in_x, of=_in_k, domain=((0.3, 0.7), (3.0, 4.0), (0.4, 0.6)))
_in_n, _in_k, _in_x = beta("y", "(a + 1)", "c")
inverse("nbdtrin", "a b c", _in_k, P, _in_x, of=_in_n, domain=((2.0, 3.0), (0.3, 0.7), (0.4, 0.6)))
_in_k, _in_x = gamma("(y + 1)", "b")
inverse("pdtrik", "a b", P, _in_x, of=_in_k, domain=((0.3, 0.7), (2.0, 4.0)), tail=True)
_in_x, _, _in_c = noncentral_chi_square("y", "b", "c")
inverse("chndtrix", "a b c", P, None, _in_c, of=_in_x, domain=(UNIT, *TWO))
_in_x, _, _in_c = noncentral_chi_square("a", "b", "y")
inverse("chndtrinc", "a b c", _in_x, None, P, of=_in_c, domain=((2.0, 4.0), (2.0, 3.0), (0.2, 0.3)))
_, _, _in_c, _in_x = noncentral_fisher("a", "b", "c", "y")
inverse("ncfdtri", "a b c d", None, None, _in_c, P, of=_in_x, domain=(*THREE, UNIT))
_, _, _in_c, _in_x = noncentral_fisher("a", "b", "y", "d")
inverse("ncfdtrinc", "a b c d", None, None, P, _in_x, of=_in_c, domain=(WHOLE, WHOLE, (0.2, 0.3), (2.0, 2.5)))
_, _in_c, _in_t = noncentral_student("a", "b", "y")
inverse("nctdtrit", "a b c", None, _in_c, P, of=_in_t, domain=(POSITIVE, REAL, UNIT))
_, _in_c, _in_t = noncentral_student("a", "y", "c")
inverse("nctdtrinc", "a b c", None, P, _in_t, of=_in_c, domain=(POSITIVE, UNIT, REAL))
inverse("kolmogi", "a", P, of="kolmogorov_derivative(1, y)", domain=(UNIT,))
inverse("smirnovi", "a b", None, P, of="smirnov_slope(a, y)", domain=(FIVE, UNIT))
QUANTILE_SLOPE = f"{sqrt(2 * pi)!r}*exp_half_square(ndtri({{0}}))"
known("nrdtrimn", "a b c", f"-b*{QUANTILE_SLOPE.format('a')}", "-ndtri(a)", "1", domain=(UNIT, POSITIVE, REAL))
known(
    "nrdtrisd",
    "a b c",
    "-1/ndtri(b)",
    f"-y/ndtri(b)*{QUANTILE_SLOPE.format('b')}",
    "1/ndtri(b)",
    domain=(REAL, (0.6, 0.9), REAL),
)
