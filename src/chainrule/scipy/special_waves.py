"""The rows of `special_table.py` for Mathieu's and the spheroidal wave functions (DLMF 28 and 30).

They are solutions of differential equations of second order, for a characteristic value that makes them periodic or
bounded; in operands other than the argument, only the derivative of that value is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .special_table import ABOVE_ONE, COUNT, DEGREE, POSITIVE, UNIT, known, solution
from .stable import in_doubles
from .unwrapped import special

ONE = (1.0, 1.0)


# -- characteristic values: their derivative is the mean of the equation's, weighted by the squared solution -----------
ANGLES = np.linspace(0.0, 360.0, 256, endpoint=False)  # equal steps are exact for periodic functions
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def _mean(solution: Callable[..., Any], at: Any, weights: Any, change: Callable[..., Any]) -> Callable[..., Any]:
    @in_doubles
    def mean(*parameters: Any) -> Any:
        parameters = tuple(x[..., np.newaxis] for x in parameters)
        density = weights * solution(*parameters, at)[0] ** 2
        return np.sum(density * change(*parameters), axis=-1) / np.sum(density, axis=-1)

    return mean


for _letter, _solution in (("a", special.mathieu_cem), ("b", special.mathieu_sem)):
    known(
        f"mathieu_{_letter}_slope",
        "a b",
        None,
        None,
        value=_mean(_solution, ANGLES, 1.0, lambda m, q: 2 * np.cos(np.radians(2 * ANGLES))),
        domain=(COUNT, POSITIVE),
    )
    known(f"mathieu_{_letter}", "a b", None, f"mathieu_{_letter}_slope(a, b)", domain=(COUNT, POSITIVE))
for _shape, _solution, _twice in (("pro", special.pro_ang1, 2.0), ("obl", special.obl_ang1, -2.0)):
    known(
        f"{_shape}_cv_slope",
        "a b c",
        None,
        None,
        None,
        value=_mean(_solution, NODES, WEIGHTS, lambda m, n, c, twice=_twice: twice * c * NODES**2),
        domain=(ONE, COUNT, POSITIVE),
    )
    known(f"{_shape}_cv", "a b c", None, None, f"{_shape}_cv_slope(a, b, c)", domain=(ONE, COUNT, POSITIVE))

# -- Mathieu functions: angles are in degrees ------------------------------------------------------------------------
for _kind, _level in (("cem", "mathieu_a(a, b)"), ("sem", "mathieu_b(a, b)")):
    solution(
        f"mathieu_{_kind}", "a b c", f"(2*b*cosdg(2*c) - {_level})*{{value}}", (COUNT, ONE, (10.0, 80.0)), unit=DEGREE
    )
    for _number in (1, 2):
        solution(f"mathieu_mod{_kind}{_number}", "a b c", f"({_level} - 2*b*cosh(2*c))*{{value}}", (COUNT, ONE, UNIT))

# -- spheroidal wave functions; in SciPy, the radial ones of the second kind do not satisfy their equation -----------
for _shape, _sign, _other in (("pro", "-", "+"), ("obl", "+", "-")):
    _cv = float(getattr(special, f"{_shape}_cv")(1, 2, 1))  # other numbers make no solutions
    for _name, _operands, _x, _level, _domain in (
        ("", "a b c d", "d", f"{_shape}_cv(a, b, c)", (ONE, COUNT, ONE)),
        ("_cv", "a b c d e", "e", "d", (ONE, COUNT, ONE, (_cv, _cv + 1e-9))),
    ):
        _square = f"{_x}*{_x}"
        _outside = f"({_square} {_sign} 1)"
        solution(
            f"{_shape}_ang1{_name}",
            _operands,
            f"(2*{_x}*y - ({_level} {_sign} c*c*{_square} - a*a/(1 - {_square}))*{{value}})/(1 - {_square})",
            (*_domain, UNIT),
        )
        solution(
            f"{_shape}_rad1{_name}",
            _operands,
            f"(({_level} - c*c*{_square} {_other} a*a/{_outside})*{{value}} - 2*{_x}*y)/{_outside}",
            (*_domain, ABOVE_ONE),
        )
