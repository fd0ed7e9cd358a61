"""chainrule.scipy.integrate: values are SciPy's, derivatives in samples and points agree with differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate
from oracle import check, check_dtypes, close, difference, same, spaced

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import integrate

R = cr.grad


def F(f: Any) -> Any:
    """The derivative in forward mode."""
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


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


def test_what_is_not_differentiated_raises() -> None:
    with pytest.raises(UnsupportedFunctionError, match=r"scipy\.integrate\.dblquad was called with a Tensor.*quad"):
        integrate.dblquad(lambda x, y: x * y, 0, cr.Tensor(1.0), 0, 1)
    with pytest.raises(UnsupportedFunctionError, match="use root on the end of solve_ivp"):
        integrate.solve_bvp(lambda x, y: y, lambda a, b: a, cr.Tensor([0.0, 1]), np.ones((1, 2)))


# -- quad --------------------------------------------------------------------------------------------------------------
def test_quad_in_limits_and_parameters() -> None:
    def integral(a: Any, b: Any, k: Any) -> Any:
        return (
            np.float64(1)
            * integrate.quad(lambda x, k: np.exp(-k["k"][0] * x) * np.sin(k["k"][1] * x), a, b, {"k": k})[0]
        )

    check(integral, [np.float64(0.2), np.float64(1.5), np.array([0.7, 1.3])], tolerance=1e-6)
    moving = lambda b: np.float64(1) * integrate.quad(lambda x: np.exp(-x * b), 0, b)[0]  # noqa: E731 (limit and parameter)
    check(moving, [np.float64(0.7)])


def test_quad_in_closed_form_to_third_order() -> None:
    """The integral of exp(-k x^2) over the line is sqrt(pi / k)."""

    def gauss(k: Any) -> Any:
        return integrate.quad(lambda x: np.exp(-k * x**2), -np.inf, np.inf)[0]

    for third in (R(R(R(gauss))), F(F(F(gauss))), R(F(R(gauss))), F(R(F(gauss)))):
        close(third(1.0), -15 / 8 * np.sqrt(np.pi), 1e-9)


def reflected(k: Any) -> Any:
    """The integral of |x - 0.3| exp(k x) over [0, 1]."""
    antiderivative = lambda x: np.exp(k * x) * ((x - 0.3) / k - 1 / k**2)  # noqa: E731
    return antiderivative(0.0) + antiderivative(1.0) - 2 * antiderivative(0.3)


IN_CLOSED_FORM = {  # an integral, where, and what it is
    "infinite, lower limit": (
        lambda a: integrate.quad(lambda x, k: np.exp(-k * x), a, np.inf, args=(1.3,))[0],
        lambda a: np.exp(-1.3 * a) / 1.3,
    ),
    "infinite, upper limit": (lambda b: integrate.quad(np.exp, -np.inf, b)[0], np.exp),
    "infinite, parameter": (
        lambda k: integrate.quad(lambda x, k: np.exp(-k * x * x), -np.inf, np.inf, args=(k,))[0],
        lambda k: np.sqrt(np.pi / k),
    ),
    "infinite, limit and parameter": (
        lambda k: integrate.quad(lambda x: np.exp(-k * x), k, np.inf)[0],
        lambda k: np.exp(-k * k) / k,
    ),
    "limits the wrong way round": (lambda b: integrate.quad(np.exp, b, 0.0)[0], lambda b: 1 - np.exp(b)),
    "a point, and a parameter": (
        lambda k: integrate.quad(lambda x: np.abs(x - 0.3) * np.exp(k * x), 0, 1, points=[0.3])[0],
        reflected,
    ),
    "a point, and a limit": (
        lambda b: integrate.quad(lambda x: np.abs(x - 0.3) * x, 0, b, points=[0.3])[0],
        lambda b: b**3 / 3 - 0.15 * b**2 + 0.3**3 / 3,
    ),
    "infinite at a constant limit": (
        lambda k: integrate.quad(lambda x, k: np.exp(-k * x) / x**0.5, 0, np.inf, args=(k,), epsabs=1e-11)[0],
        lambda k: np.sqrt(np.pi / k),
    ),
    "a weight": (
        lambda k: integrate.quad(lambda x: np.exp(-k * x), 0, np.inf, weight="sin", wvar=2.0)[0],
        lambda k: 2 / (k * k + 4),
    ),
}


@pytest.mark.parametrize("name", IN_CLOSED_FORM)
def test_quad_in_closed_form_in_both_modes(name: str) -> None:
    ours, exact = IN_CLOSED_FORM[name]
    for of in (R, F):
        close(of(ours)(0.7), R(exact)(0.7), 1e-8)
    for outer, inner in ((R, R), (F, F), (R, F), (F, R)):
        close(outer(inner(ours))(0.7), R(R(exact))(0.7), 1e-7)


def test_quad_of_quad() -> None:
    def volume(c: Any) -> Any:
        inner = lambda x: integrate.quad(lambda y: np.exp(c * x * y), 0, x)[0]  # noqa: E731
        return np.float64(1) * integrate.quad(inner, 0, 1)[0]

    check(volume, [np.float64(0.5)])


def test_quad_keeps_scipys_options() -> None:
    cauchy = lambda c: integrate.quad(lambda x: 1 / (x + c), -1, 5, weight="cauchy", wvar=0.0)  # noqa: E731
    value, slope = cr.value_and_grad(lambda c: cauchy(c)[0])(2.0)
    assert value == scipy.integrate.quad(lambda x: 1 / (x + 2.0), -1, 5, weight="cauchy", wvar=0.0)[0]
    close(slope, difference(lambda c: cauchy(c)[0], [2.0], 0, 1.0), 1e-7)
    singular = lambda c: integrate.quad(lambda x: 1 / np.sqrt(np.abs(x - 0.3)) * np.cos(c * x), 0, 1, points=[0.3])  # noqa: E731
    close(cr.grad(lambda c: singular(c)[0])(2.0), difference(lambda c: singular(c)[0], [2.0], 0, 1.0), 1e-6)
    assert len(integrate.quad(lambda x: x * cr.Tensor(2.0), 0, 1, full_output=1)) == 3
    assert integrate.quad(np.sin, 0, 1) == scipy.integrate.quad(np.sin, 0, 1)
    assert type(integrate.quad(np.sin, 0, 1)[0]) is float


def test_quad_refuses_by_name() -> None:
    t = cr.Tensor(1.0)
    for call in (
        lambda: integrate.quad(lambda x: x * t * 1j, 0, 1, complex_func=True),
        lambda: integrate.quad(lambda x: x, 0, t, weight="cos", wvar=2.0),
        lambda: integrate.quad(lambda x: x, 0, 1, weight="cos", wvar=t),
    ):
        with pytest.raises(UnsupportedFunctionError, match=r"scipy\.integrate\.quad was called with a Tensor"):
            call()
