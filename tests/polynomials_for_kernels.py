"""Prints `src/chainrule/compile/kernels/coefficients.py`: the polynomials of the kernels' functions.

Each is the interpolant at Chebyshev nodes, computed with 60 digits, of what the comment beside it says.  Run it to
change a degree; the accuracy of the functions themselves is tested in `test_kernels.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np

mp = mpmath.MPContext()  # of our own: tests import this file
mp.dps = 60
HALF_LOG2 = mp.log(2) / 2 * mp.mpf("1.001")  # a little wider than what argument reduction gives
QUARTER = mp.pi / 4 * mp.mpf("1.001")
T8 = (mp.sqrt(2) - 1) * mp.mpf("1.001")  # tan(pi/8), and f = m - 1 of log ends there too


def interpolant(f: Callable, low: float, high: float, degree: int) -> list:
    """The coefficients, lowest power first."""
    n = degree + 1
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    return list(mp.lu_solve(mp.matrix([[x**k for k in range(n)] for x in nodes]), mp.matrix([f(x) for x in nodes])))


def series(numerators: Callable, x: mp.mpf, terms: int = 80) -> mp.mpf:
    """sum of numerators(k) x^k: the quotients below are 0/0 at 0, their power series are not."""
    return mp.fsum(numerators(k) * x**k for k in range(terms))


def erfcx_of(t: mp.mpf, scale: float) -> mp.mpf:
    """exp(x^2) erfc(x), times 1 + x so that it varies little, where t = (x - scale) / (x + scale)."""
    if t == 1:
        return 1 / mp.sqrt(mp.pi)
    x = scale * (1 + t) / (1 - t)
    return mp.exp(x * x) * mp.erfc(x) * (1 + x)


FITS = {  # name: (comment, function, low, high, degree for float32, for float64)
    "EXP": (
        "exp(r) = 1 + r + r^2 EXP(r), |r| <= log(2)/2",
        lambda r: series(lambda k: 1 / mp.factorial(k + 2), r),
        -HALF_LOG2,
        HALF_LOG2,
        4,
        9,
    ),
    "LOG": (
        "log(1 + f) = f - f^2/2 + f^3 LOG(f), sqrt(1/2) <= 1 + f <= sqrt(2)",
        lambda f: series(lambda k: mp.mpf(-1) ** k / (k + 3), f, 200),
        mp.sqrt(0.5) - 1,
        T8,
        7,
        18,
    ),
    "SIN": (
        "sin(r) = r + r^3 SIN(r^2), |r| <= pi/4",
        lambda z: series(lambda k: -(mp.mpf(-1) ** k) / mp.factorial(2 * k + 3), z),
        0,
        QUARTER**2,
        2,
        5,
    ),
    "COS": (
        "cos(r) = 1 - r^2/2 + r^4 COS(r^2), |r| <= pi/4",
        lambda z: series(lambda k: mp.mpf(-1) ** k / mp.factorial(2 * k + 4), z),
        0,
        QUARTER**2,
        2,
        5,
    ),
    "ARCTAN": (
        "arctan(r) = r + r^3 ARCTAN(r^2), |r| <= tan(pi/8)",
        lambda z: series(lambda k: -(mp.mpf(-1) ** k) / (2 * k + 3), z, 200),
        0,
        T8**2,
        4,
        10,
    ),
    "ERF": (
        "erf(x) = x ERF(x^2), |x| <= 1",
        lambda z: series(lambda k: 2 / mp.sqrt(mp.pi) * mp.mpf(-1) ** k / mp.factorial(k) / (2 * k + 1), z),
        0,
        1,
        6,
        12,
    ),
    "ERFCX": (
        "exp(x^2) erfc(x) = ERFCX((x - 3) / (x + 3)) / (1 + x), x >= 0",
        lambda t: erfcx_of(t, 3),
        -1,
        1,
        11,
        24,
    ),
}


def show(name: str, comment: str, columns: list[list], dtypes: tuple) -> str:
    lines = [f"# {comment}", f"{name} = {{"]
    for code, values, dtype in zip(("f4", "f8"), columns, dtypes, strict=True):
        numbers = ", ".join(repr(float(dtype(float(v)))) for v in values)
        lines.append(f'    "{code}": ({numbers}),')
    return "\n".join([*lines, "}"])


def parts(value: mp.mpf, bits: tuple[int, ...]) -> list[mp.mpf]:
    """The value as a sum of positive numbers of so many bits (a negative one would lose the sign of sin(-0))."""
    out = []
    for n in bits:
        scale = mp.mpf(2) ** (n - 1 - mp.floor(mp.log(abs(value), 2)))
        out.append(mp.floor(value * scale) / scale)
        value -= out[-1]
    return out


def main() -> None:
    print('"""Polynomials and split constants of the kernels; printed by `tests/polynomials_for_kernels.py`."""\n')
    print("from __future__ import annotations\n")
    for name, (comment, f, low, high, d4, d8) in FITS.items():
        print(show(name, comment, [interpolant(f, low, high, d) for d in (d4, d8)], (np.float32, np.float64)))
    # Subtracted with fused multiply-adds: the products are exact.
    print(
        show("LOG2", "log(2), in two parts", [parts(mp.log(2), (16, 24)), parts(mp.log(2), (42, 53))], (float, float))
    )
    halves = [parts(mp.pi / 2, (24, 24, 24)), parts(mp.pi / 2, (53, 53, 53))]
    print(show("HALF_PI", "pi/2, in three parts", halves, (float, float)))


if __name__ == "__main__":
    main()
