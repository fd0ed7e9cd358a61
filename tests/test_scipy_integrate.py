"""chainrule.scipy.integrate: values are SciPy's, derivatives in samples and points agree with differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate
from oracle import check, check_dtypes, close, same, spaced

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import integrate

SAMPLED = {
    "trapezoid": integrate.trapezoid,
    "simpson": integrate.simpson,
    "cumulative_trapezoid": integrate.cumulative_trapezoid,
    "cumulative_simpson": integrate.cumulative_simpson,
}


@pytest.mark.parametrize("n", range(2, 8))
@pytest.mark.parametrize("name", SAMPLED)
def test_samples_and_points(name: str, n: int) -> None:
    f, y, x = SAMPLED[name], spaced((2, n), name), np.sort(spaced((n,), (name, "x")))
    check(lambda y: f(y), [y])
    check(lambda y, dx: f(y.T, dx=dx, axis=0), [y, np.float64(0.3)])
    check(lambda y, x: f(y, x=x), [y, x], tolerance=1e-5)
    check(lambda y, x: f(y, x=x, axis=0), [y.T, np.stack([x, x**3], 1)], tolerance=1e-4)
    check_dtypes(lambda y: f(y, dx=0.3), [y.astype(np.float32)])
    check(lambda y: f(y, dx=0.3), [y + 1j * y[::-1]])


def test_points_that_coincide() -> None:
    x, y = np.array([0.0, 1.0, 1.0, 2.0, 3.0]), spaced((5,), "y")
    check(lambda y: integrate.simpson(y, x=x), [y])


def test_initial_value() -> None:
    y = spaced((2, 5), "initial")
    check(lambda y: integrate.cumulative_trapezoid(y, initial=0), [y])
    check(lambda y, c: integrate.cumulative_simpson(y, initial=c), [y, np.float64(2.0)])
    check(lambda y, c: integrate.cumulative_simpson(y, initial=c, axis=0), [y.T, spaced((1, 2), "c")])


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_romb(n: int) -> None:
    y = spaced((2, n), "romb")
    check(lambda y, dx: integrate.romb(y, dx), [y, np.float64(0.3)])
    check(lambda y: integrate.romb(y, 0.3, axis=0), [y.T])


def test_fixed_quad_in_limits_and_parameters() -> None:
    def integral(a: float, b: float, k: float) -> float:
        return integrate.fixed_quad(lambda x: np.exp(k * x), a, b, n=8)[0]

    check(integral, [np.float64(0.2), np.float64(1.5), np.float64(-0.7)])
    slope = cr.grad(lambda b: integral(0.2, b, -0.7))(1.5)
    close(slope, np.exp(-0.7 * 1.5), 1e-9)  # the fundamental theorem


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fixed_quad_computes_as_scipy_does(dtype: type) -> None:
    a, b, k = dtype(0.2), dtype(1.5), dtype(-0.7)

    def f(x: Any, k: Any) -> Any:
        return np.exp(k * x)

    expected = scipy.integrate.fixed_quad(f, a, b, (k,), 7)[0]
    same(integrate.fixed_quad(f, cr.Tensor(a), b, (k,), 7)[0].data, expected)
    same(integrate.fixed_quad(f, a, b, (cr.Tensor(k),), 7)[0].data, expected)
    same(integrate.fixed_quad(lambda x: f(x, cr.Tensor(k)), a, b, (), 7)[0].data, expected)
    with pytest.raises(ValueError, match="finite"):
        integrate.fixed_quad(f, cr.Tensor(a), np.inf, (k,))


def test_adaptive_methods_raise() -> None:
    with pytest.raises(UnsupportedFunctionError, match=r"scipy\.integrate\.quad was called with a Tensor.*fixed_quad"):
        integrate.quad(np.sin, 0.0, cr.Tensor(1.0))
    assert integrate.quad(np.sin, 0.0, 1.0)[0] > 0
