"""np.emath: the derivative of what leaves the real line, and of what stays on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import check, check_dtypes, difference

import chainrule as cr

INSIDE, NEGATIVE, BEYOND = np.array([0.3, 0.8]), np.array([-2.0, 0.7, -0.4]), np.array([0.5, -1.7, 2.5])
CASES: list[tuple[Any, ...]] = [
    *((name, getattr(np.emath, name), x) for name in ("sqrt", "log", "log2", "log10") for x in (INSIDE, NEGATIVE)),
    *((name, getattr(np.emath, name), x) for name in ("arccos", "arcsin", "arctanh") for x in (INSIDE, BEYOND)),
    ("power", lambda x: np.emath.power(x, 1.5), NEGATIVE),
    ("power negative", lambda x: np.emath.power(x, -2), NEGATIVE),
    ("power exponent", lambda x, p: np.emath.power(x, p), NEGATIVE, np.array([0.5, -1.5, 3.0])),
    ("power inside", lambda x, p: np.emath.power(x, p), INSIDE, np.array([0.5, -1.5])),
    ("logn", lambda n, x: np.emath.logn(n, x), np.array([2.0, 3.0, -5.0]), NEGATIVE),
    ("complex", np.emath.sqrt, np.array([-1.0 + 2j, 3.0 - 1j])),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]} {i}" for i, case in enumerate(CASES)])
def test_derivatives(case: Any) -> None:
    check(lambda *args: case[1](*args), list(case[2:]))


@pytest.mark.parametrize("dtype", ["f2", "f4", "g", "F", "G"])
@pytest.mark.parametrize("case", CASES[:-1], ids=[f"{case[0]} {i}" for i, case in enumerate(CASES[:-1])])
def test_dtypes(case: Any, dtype: str) -> None:
    """Float16 and longdouble become complex128, as in NumPy."""
    with np.errstate(all="ignore"):
        check_dtypes(lambda *args: case[1](*args), [x.astype(dtype) for x in case[2:]])


def test_the_decision_is_a_guard_of_a_trace() -> None:
    traced = cr.record.trace(np.emath.sqrt, NEGATIVE)
    assert [guard[1] for guard in traced.guards] == ["np.emath"]


@pytest.mark.parametrize("z", [2.5 + 0j, complex(2.5, -0.0), -2.5 + 0j, complex(-2.5, -0.0)])
@pytest.mark.parametrize("f", [np.arcsin, np.arccos, np.arccosh, np.arctanh, np.sqrt, np.log], ids=lambda f: f.__name__)
def test_each_side_of_a_branch_cut_has_its_slope(f: Any, z: complex) -> None:
    """The sign of a zero imaginary part says on which side of the cut along the real axis a number is."""
    for sign in (1, 1j):  # along the real axis; arcsinh has its cut along the imaginary one
        g = f if sign == 1 else np.arcsinh
        z = z if sign == 1 else complex(np.copysign(0.0, z.imag), z.real)

        def along(t: Any, g: Any = g, z: Any = z, sign: Any = sign) -> Any:
            return g(np.complex128(complex(z.real + t, z.imag) if sign == 1 else complex(z.real, z.imag + t)))

        slope = cr.jvp(g, (np.complex128(z),), (np.complex128(sign),))[1]
        np.testing.assert_allclose(slope, difference(along, [0.0], 0, 1.0), rtol=1e-8)
