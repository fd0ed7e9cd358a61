"""THE TABLE of SciPy's special functions: the local derivative of each elementwise one.

The same kind of rows as in `rules/elementwise.py`, with SciPy's ufuncs as their values: what is computed is SciPy's, to
the last bit.  A partial derivative that nobody knows in closed form is None: asking for it raises, by name.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from scipy import special

from ..rules.registry import Rule, row, rules

ROWS: list[Rule] = []
REAL, POSITIVE, UNIT = (-2.0, 2.0), (0.1, 3.0), (0.05, 0.95)


def known(name: str, operands: str, *partials: str | None, **options: Any) -> None:
    """A row for SciPy's ufunc of this name, in versions that have it."""
    if hasattr(special, name):
        taken = name in rules  # NumPy's own function of that name, or ours, which is what formulas call
        ROWS.append(
            row(f"special_{name}" if taken else name, operands, *partials, value=getattr(special, name), **options)
        )


known("gammaln", "a", "psi(a)", domain=(POSITIVE,))
known("psi", "a", None, domain=(POSITIVE,))
known("erf", "a", f"{2 / sqrt(pi)!r}*exp(-a*a)")
