"""The rows of `special_table.py` for distribution functions and for their inverses, in every operand.

The slopes of each distribution function in its operands are written once; its complement and its inverses follow.
"""

from __future__ import annotations

from math import pi, sqrt

from . import densities, incomplete  # noqa: F401 (they register rows that formulas here call)
from .special_table import COUNT, POSITIVE, REAL, UNIT, WHOLE, infinite, known

Interval = tuple[float, float]
FIVE = (5.0, 5.0)


# -- slopes, in each operand -----------------------------------------------------------------------------------------
def gamma(a: str, x: str) -> tuple[str, str]:
    """Of gammainc(a, x)."""
    return f"gammainc_derivative(1, {a}, {x})", f"gamma_density({a}, {x})"


def beta(a: str, b: str, x: str) -> tuple[str, str, str]:
    """Of betainc(a, b, x)."""
    return (
        f"betainc_derivative(1, 0, {a}, {b}, {x})",
        f"betainc_derivative(0, 1, {a}, {b}, {x})",
        f"beta_density({a}, {b}, {x}, 1 - {x})",
    )


def chi_square(v: str, x: str) -> tuple[str, str]:
    """Of chdtr(v, x)."""
    return f"0.5*gammainc_derivative(1, 0.5*{v}, 0.5*{x})", f"0.5*gamma_density(0.5*{v}, 0.5*{x})"


def scaled_gamma(a: str, b: str, x: str) -> tuple[str, str, str]:
    """Of gdtr(a, b, x)."""
    slope, density = gamma(b, f"{a}*{x}")
    return f"{b}*gamma_density({b} + 1, {a}*{x})/{a}", slope, f"{a}*{density}"


def below_one(part: str, total: str) -> str:
    """A quotient that is 1 where both are infinite."""
    return f"where({infinite(part)}, 1, {part}/{total})"


def fisher(m: str, n: str, x: str) -> tuple[str, str, str]:
    """Of fdtr(m, n, x): betainc of z = m*x/(m*x + n) and its complement."""
    total, sums = f"({m}*{x} + {n})", f"(({m} + {n})*({m} + {n} + 2))"
    z, rest = below_one(f"{m}*{x}", total), f"{n}/{total}"
    flow = f"beta_density(0.5*{m} + 1, 0.5*{n} + 1, {z}, {rest})/{sums}"  # z*(1 - z) times the density
    return (
        f"(0.5*betainc_derivative(1, 0, 0.5*{m}, 0.5*{n}, {z}) + {n}*{flow})",
        f"-(0.5*betainc_derivative(1, 0, 0.5*{n}, 0.5*{m}, {rest}) + {m}*{flow})",
        f"beta_density(0.5*{m}, 0.5*{n} + 2, {z}, {rest})*{m}*({n} + 2)/{sums}",
    )


def student(v: str, t: str) -> tuple[str, str]:
    """Of stdtr(v, t)."""
    return f"stdtr_derivative(1, {v}, {t})", f"t_density({v}, {t})"


def noncentral_chi_square(x: str, v: str, c: str) -> tuple[str, None, str]:
    """Of chndtr(x, v, c)."""

    def density(v: str) -> str:
        return (
            f"where(({c} == 0) + ({x} == 0) + {infinite(x)}, 0.5*exp(-0.5*{c})*gamma_density(0.5*({v}), 0.5*{x}),"
            f" 0.5*exp_minus_half_square(sqrt({x}) - sqrt({c}))"
            f"*({x}/where({c} == 0, 1, {c}))**(0.25*({v}) - 0.5)*ive(0.5*({v}) - 1, sqrt({x}*{c})))"
        )

    return density(v), None, f"-({density(f'{v} + 2')})"


def noncentral_fisher(m: str, n: str, c: str, x: str) -> tuple[None, None, str, str]:
    """Of ncfdtr(m, n, c, x)."""
    total = f"({m}*{x} + {n})"
    operands = f"0.5*{m}, 0.5*{n}, {c}, {below_one(f'{m}*{x}', total)}"
    density = f"where({infinite(x)}, 0, noncentral_beta_density({operands})*{m}*{n}/{total}/{total})"
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
# The quantile of F is of the order (C/(1 - p))**(2/n), where C falls with m for n > 2; it is 0 at p = 0.
FISHER_END = "where({1} == 2, where({2} == 0, 0, 1/({0}*{0})), {2}*(2 - {1}))"


def inverse(
    name: str,
    operands: str,
    *slopes: str | None,
    of: str,
    domain: tuple[Interval, ...],
    tail: bool = False,
    **ends: str,
) -> None:
    """The y that solves F(y, ...) = p, or 1 - F = p for the `tail`: the slopes of F in the operands, and that in y.

    `ends`, by the names of operands: the slope where p is 0 or 1, of which the quotient of slopes does not tell.
    """
    letters = operands.split()
    p = letters[slopes.index(P)]

    def solved(letter: str, slope: str | None) -> str | None:
        if slope == P:
            return f"-1/({of})" if tail else f"1/({of})"
        if slope is None or letter not in ends:
            return slope and f"-({slope})/({of})"
        return f"where({p}*(1 - {p}) == 0, {ends[letter]}, -({slope})/({of}))"

    known(name, operands, *map(solved, letters, slopes), domain=domain)


_in_a, _in_x = gamma("a", "y")
inverse("gammaincinv", "a b", _in_a, P, of=_in_x, domain=(POSITIVE, UNIT), a="y")
inverse("gammainccinv", "a b", _in_a, P, of=_in_x, domain=(POSITIVE, UNIT), tail=True, a="y")
_in_a, _in_b, _in_x = beta("a", "b", "y")
inverse("betaincinv", "a b c", _in_a, _in_b, P, of=_in_x, domain=(*TWO, UNIT), a="0", b="0")
inverse("betainccinv", "a b c", _in_a, _in_b, P, of=_in_x, domain=(*TWO, UNIT), tail=True, a="0", b="0")
_in_a, _in_b, _in_x = beta("y", "b", "c")
inverse("btdtria", "a b c", P, _in_b, _in_x, of=_in_a, domain=(UNIT, POSITIVE, UNIT))
_in_a, _in_b, _in_x = beta("a", "y", "c")
inverse("btdtrib", "a b c", _in_a, P, _in_x, of=_in_b, domain=(POSITIVE, UNIT, UNIT))
_in_v, _in_x = chi_square("a", "y")
inverse("chdtri", "a b", _in_v, P, of=_in_x, domain=(POSITIVE, UNIT), tail=True, a="y")
_in_v, _in_x = chi_square("y", "b")
inverse("chdtriv", "a b", P, _in_x, of=_in_v, domain=(UNIT, POSITIVE))
_in_a, _in_b, _in_x = scaled_gamma("a", "b", "y")
inverse("gdtrix", "a b c", _in_a, _in_b, P, of=_in_x, domain=(*TWO, UNIT), a="-y/a", b="y")
_in_a, _in_b, _in_x = scaled_gamma("y", "b", "c")
inverse("gdtria", "a b c", P, _in_b, _in_x, of=_in_a, domain=(UNIT, *TWO))
_in_a, _in_b, _in_x = scaled_gamma("a", "y", "c")
inverse("gdtrib", "a b c", _in_a, P, _in_x, of=_in_b, domain=(POSITIVE, UNIT, POSITIVE))
_in_m, _in_n, _in_x = fisher("a", "b", "y")
inverse("fdtri", "a b c", _in_m, _in_n, P, of=_in_x, domain=(*TWO, UNIT), a=FISHER_END.format("a", "b", "y"), b="-y")
_in_m, _in_n, _in_x = fisher("a", "y", "c")
inverse("fdtridfd", "a b c", _in_m, P, _in_x, of=_in_n, domain=((1.0, 2.0), (0.5, 0.6), (1.5, 2.0)))
_in_v, _in_t = student("a", "y")
inverse("stdtrit", "a b", _in_v, P, of=_in_t, domain=(POSITIVE, UNIT), a="copysign(y, 0.5 - b)")
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
inverse("chndtrix", "a b c", P, None, _in_c, of=_in_x, domain=(UNIT, *TWO), c="y")
_in_x, _, _in_c = noncentral_chi_square("a", "b", "y")
inverse("chndtrinc", "a b c", _in_x, None, P, of=_in_c, domain=((2.0, 4.0), (2.0, 3.0), (0.2, 0.3)))
_, _, _in_c, _in_x = noncentral_fisher("a", "b", "c", "y")
inverse("ncfdtri", "a b c d", None, None, _in_c, P, of=_in_x, domain=(*THREE, UNIT), c="y")
_, _, _in_c, _in_x = noncentral_fisher("a", "b", "y", "d")
inverse("ncfdtrinc", "a b c d", None, None, P, _in_x, of=_in_c, domain=(WHOLE, WHOLE, (0.2, 0.3), (2.0, 2.5)))
_, _in_c, _in_t = noncentral_student("a", "b", "y")
inverse("nctdtrit", "a b c", None, _in_c, P, of=_in_t, domain=(POSITIVE, REAL, UNIT), b="absolute(y)")
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
