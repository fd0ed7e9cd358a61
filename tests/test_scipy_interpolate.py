"""chainrule.scipy.interpolate: values are SciPy's; derivatives in values, points, arguments agree with differences."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
import scipy.interpolate
from oracle import check, check_value, close, same, spaced

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import interpolate

T = np.array([[-0.35, 0.2, 1.04], [1.7, 2.15, 3.3]])  # inside and beyond


def points(n: int) -> np.ndarray:
    return np.array([0.0, 0.7, 1.2, 1.9, 3.1, 3.6])[:n]


def values(n: int, *more: int) -> np.ndarray:
    return spaced((n, *more), "values")


CONDITIONS = {
    "not-a-knot": "not-a-knot",
    "natural": "natural",
    "clamped": "clamped",
    "slopes": ((1, 0.5), (1, -0.25)),
    "bends": ((2, 0.5), (2, -0.25)),
    "mixed": ("not-a-knot", (2, 0.3)),
    "other mixed": ((1, 0.3), "not-a-knot"),
}


@pytest.mark.parametrize("n", [2, 3, 4, 6])
@pytest.mark.parametrize("name", CONDITIONS)
def test_cubic_spline_in_points_values_and_arguments(name: str, n: int) -> None:
    def f(x: Any, y: Any, t: Any) -> Any:
        return interpolate.CubicSpline(x, y, bc_type=CONDITIONS[name])(t)

    check(f, [points(n), values(n), T], tolerance=1e-4)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_periodic_spline(n: int) -> None:
    def f(x: Any, y: Any, t: Any) -> Any:
        y = np.concatenate([y, y[:1]])
        return interpolate.CubicSpline(x, y, bc_type="periodic")(t)

    check(f, [points(n), values(n)[:-1], T], tolerance=1e-4)


def test_values_of_end_conditions() -> None:
    def f(start: Any, end: Any) -> Any:
        return interpolate.CubicSpline(points(5), values(5, 2), bc_type=((1, start), (2, end)))(T)

    check(f, [spaced((2,), "start"), spaced((2,), "end")])


def test_several_curves_and_complex_values() -> None:
    for axis in (0, 1, -1):
        y = np.moveaxis(values(5, 2), 0, axis)
        check(lambda y, a=axis: interpolate.CubicSpline(points(5), y, axis=a)(T), [y])
        check(lambda y, a=axis: interpolate.PchipInterpolator(points(5), y, axis=a)(T), [y])
    check(lambda y: interpolate.CubicSpline(points(5), y)(T), [values(5) + 1j * values(6)[1:]])


def test_float32_values_get_float32_gradients() -> None:
    y = values(5).astype(np.float32)
    check_value(lambda y: interpolate.CubicSpline(points(5), y)(T), [y])
    assert cr.grad(lambda y: np.sum(interpolate.CubicSpline(points(5), y)(T)))(y).dtype == np.float32


def spline(x: Any, y: Any) -> Any:
    return interpolate.CubicSpline(x, y)


# SciPy adds up in a random order.
SEEDED = {"rng" if "rng" in signature(scipy.interpolate.barycentric_interpolate).parameters else "random_state": 0}
PARTS = {
    "first derivative": lambda x, y, t: spline(x, y)(t, 1),
    "second derivative": lambda x, y, t: spline(x, y)(t, 2),
    "fourth derivative": lambda x, y, t: spline(x, y)(t, 4) + 0 * t,
    "derivative()": lambda x, y, t: spline(x, y).derivative()(t),
    "derivative(2)": lambda x, y, t: spline(x, y).derivative(2)(t),
    "antiderivative()": lambda x, y, t: spline(x, y).antiderivative()(t),
    "antiderivative(2)": lambda x, y, t: spline(x, y).antiderivative(2)(t),
    "integrate": lambda x, y, t: spline(x, y).integrate(t[0, 1], t[1, 0]),
    "integrate backwards": lambda x, y, t: spline(x, y).integrate(t[1, 2], t[0, 1]),
    "periodically": lambda x, y, t: spline(x, y)(t, extrapolate="periodic"),
    "integrate periodically": lambda x, y, t: spline(x, y).integrate(-4 * t[0, 2], 3 * t[1, 2], "periodic"),
    "pchip": lambda x, y, t: interpolate.PchipInterpolator(x, y)(t),
    "pchip of two": lambda x, y, t: interpolate.pchip(x[:2], y[:2])(t),
    "pchip_interpolate": lambda x, y, t: interpolate.pchip_interpolate(x, y, t, 1),
    "akima": lambda x, y, t: interpolate.Akima1DInterpolator(x, y)(t[0, 1:]),
    "makima": lambda x, y, t: interpolate.Akima1DInterpolator(x, y, method="makima", extrapolate=True)(t),
    "hermite": lambda x, y, t: interpolate.CubicHermiteSpline(x, y, y**2)(t),
    "barycentric": lambda x, y, t: interpolate.BarycentricInterpolator(x, y, **SEEDED)(t),
    "barycentric_interpolate": lambda x, y, t: interpolate.barycentric_interpolate(x, y, t, **SEEDED),
    "krogh": lambda x, y, t: interpolate.KroghInterpolator(x, y)(t),
    "krogh_interpolate": lambda x, y, t: interpolate.krogh_interpolate(x, y, t[0]),
    "interp1d": lambda x, y, t: interpolate.interp1d(x, y, fill_value="extrapolate")(t),
    "interp1d unsorted": lambda x, y, t: interpolate.interp1d(x[::-1], y, fill_value=2.0, bounds_error=False)(t),
}


@pytest.mark.parametrize("name", PARTS)
def test_piecewise_polynomials(name: str) -> None:
    y = np.array([0.3, 0.9, 1.4, 1.1, -0.4])  # with a turn, as pchip needs
    check(PARTS[name], [points(5), y, T], tolerance=1e-3, seed=name)


def test_ppoly() -> None:
    c, x = spaced((3, 4, 2), "c"), points(5)

    def f(c: Any, x: Any, t: Any) -> Any:
        return interpolate.PPoly(c, x)(t)

    check(f, [c, x, T])
    check(lambda c, t: interpolate.PPoly(np.moveaxis(c, 2, 0), x, axis=1)(t), [c, T])
    check(lambda c: interpolate.PPoly(c, x).integrate(0.1, 2.3), [c])
    check(lambda c, t: interpolate.PPoly(c, -x)(-t), [c, T])


def test_on_a_knot_the_derivative_is_the_mean_of_both_sides() -> None:
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 3.0])
    for f in (
        lambda t: interpolate.interp1d(x, y)(t),
        lambda t: interpolate.RegularGridInterpolator([x], y)(np.reshape(t, (1, 1)))[0],
        lambda t: interpolate.make_interp_spline(x, y, k=1)(t),
    ):
        assert cr.grad(f)(1.0) == 1.5
        assert cr.jvp(f, (1.0,), (1.0,))[1] == 1.5


def test_beyond_the_ends_without_extrapolation() -> None:
    y = values(5)
    value, pullback = cr.vjp(lambda y, t: interpolate.CubicSpline(points(5), y, extrapolate=False)(t), y, T)
    assert np.isnan(value[0, 0])
    ct_y, ct_t = pullback(np.ones_like(T))
    assert np.isfinite(ct_y).all()
    assert ct_t[0, 0] == 0
    assert ct_t[1, 0] != 0


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_interpolating_splines(k: int) -> None:
    x, y = points(6), values(6, 2)
    check(lambda y, t: interpolate.make_interp_spline(x, y, k)(t), [y, T], tolerance=1e-6)
    check(lambda y, t: interpolate.make_interp_spline(x, y.T, k, axis=1)(t, 1), [y, T], tolerance=1e-5)
    check(lambda y: interpolate.make_interp_spline(x, y, k).c, [y])


def test_conditions_of_splines() -> None:
    x, y = points(6), values(6)
    for bc in ("natural", "clamped", ([(1, 0.5)], [(2, -0.3)]), "not-a-knot"):
        check(lambda y, t, bc=bc: interpolate.make_interp_spline(x, y, bc_type=bc)(t), [y, T], tolerance=1e-6)

    def periodic(y: Any, t: Any) -> Any:
        return interpolate.make_interp_spline(x, np.concatenate([y, y[:1]]), bc_type="periodic")(t)

    check(periodic, [y[:-1], T], tolerance=1e-6)


def test_splines_that_do_not_interpolate() -> None:
    x, y = np.linspace(0, 3.6, 9), values(9)
    t = np.r_[(0,) * 4, 1.2, 2.0, (3.6,) * 4]
    check(lambda y, x0: interpolate.make_lsq_spline(x, y, t)(x0), [y, T])
    check(lambda y, x0: interpolate.make_smoothing_spline(x, y, lam=0.3)(x0), [y, T])
    with pytest.raises(UnsupportedFunctionError, match="lam"):
        interpolate.make_smoothing_spline(x, cr.Tensor(y))


def test_bspline() -> None:
    t, c = np.array([0.0, 0.5, 1.1, 1.7, 2.2, 2.9, 3.3, 4.0]), spaced((4, 2), "c")
    check(lambda c, x: interpolate.BSpline(t, c, 3)(x), [c, T])
    check(lambda c, x: interpolate.BSpline(t, c, 3)(x, 2), [c, T])
    check(lambda c: interpolate.BSpline(t, c, 3)(1.9), [c])
    check(lambda c, x: interpolate.BSpline(t, c, 3).derivative()(x), [c, T])
    check(lambda c, x: interpolate.BSpline(t, c, 3).antiderivative()(x), [c, T])
    check(lambda c, a, b: interpolate.BSpline(t, c, 3).integrate(a, b), [c, np.float64(1.8), np.float64(2.1)])
    check(lambda c, x: interpolate.BSpline(t, c, 3, extrapolate="periodic")(x), [c, T[0] + 0.1])
    check(lambda c, x: interpolate.splev(x, (t, c, 3), der=1), [c[:, 0], T])
    value, pullback = cr.vjp(lambda c, x: interpolate.BSpline(t, c, 3, extrapolate=False)(x), c, T)
    assert np.isnan(value[0, 0, 0])
    assert all(np.isfinite(each).all() for each in pullback(np.ones_like(value)))


@pytest.mark.parametrize("kind", ["nearest", "nearest-up", "previous", "next", "zero", "slinear", "quadratic", "cubic"])
def test_tables_of_other_kinds(kind: str) -> None:
    inside = np.clip(T, 0.1, 3.0)
    check(lambda y: interpolate.interp1d(points(6), y, kind)(inside), [values(2, 6)], tolerance=1e-6)
    check(lambda t: interpolate.interp1d(points(6), values(6), kind)(t), [inside], tolerance=1e-5)


def test_grids() -> None:
    x, y, v = points(4), points(3)[::-1], values(4, 3, 2)
    at = np.array([[0.1, 0.3], [1.6, 0.9], [0.5, 1.1]])

    def f(x: Any, y: Any, v: Any, at: Any) -> Any:
        return interpolate.RegularGridInterpolator((x, y), v)(at)

    check(f, [x, y, v, at], tolerance=1e-6)
    check(lambda v, a, b: interpolate.interpn((x, y), v, (a, b)), [v[..., 0], at[:, :1], at[:, 1]])
    check(lambda v: interpolate.RegularGridInterpolator((x, y), v, method="nearest")(at), [v])
    outside = np.array([[0.1, 0.3], [-1.0, 0.5]])
    options = {"bounds_error": False}
    check(lambda v: interpolate.interpn((x, y), v, outside, fill_value=1.0, **options), [v[..., 0]])
    check(lambda v, a: interpolate.interpn((x, y), v, a, fill_value=None, **options), [v[..., 0], outside])


def test_third_derivative_through_a_spline() -> None:
    x, y = points(6), values(6)

    def f(t: Any) -> Any:
        return interpolate.CubicSpline(x, y)(t)

    third = cr.grad(cr.grad(cr.grad(f)))(1.5)
    close(third, scipy.interpolate.CubicSpline(x, y)(1.5, 3), 1e-12)


def test_without_tensors_values_are_scipys() -> None:
    x, y = points(6), values(6)
    ours, theirs = interpolate.CubicSpline(x, y), scipy.interpolate.CubicSpline(x, y)
    same(ours(T), theirs(T))
    same(ours.c, theirs.c)
    same(ours.roots(), theirs.roots())
    same(ours.antiderivative()(T), theirs.antiderivative()(T))


def test_what_has_no_derivative_raises_by_name() -> None:
    x, y = points(6), values(6)
    for call in (
        lambda: interpolate.CubicSpline(x, cr.Tensor(y)).roots(),
        lambda: interpolate.UnivariateSpline(x, cr.Tensor(y)),
        lambda: interpolate.lagrange(x, cr.Tensor(y)),
        lambda: interpolate.KroghInterpolator([0.0, 0.0, 1.0], cr.Tensor(y[:3])),
        lambda: interpolate.RegularGridInterpolator([x], cr.Tensor(y), method="cubic")([[0.5]]),
    ):
        with pytest.raises(UnsupportedFunctionError, match=r"scipy\.interpolate\.\w+.* was called with a Tensor"):
            call()
    with pytest.raises(UnsupportedFunctionError, match="no derivative in the knots"):
        interpolate.BSpline(cr.Tensor(np.arange(8.0)), y[:4], 3)


POINTS = np.linspace(0.5, 6.5, 5)
MADE: dict[str, Any] = {
    "CubicSpline": lambda y: interpolate.CubicSpline(np.arange(8.0), y),
    "CubicHermiteSpline": lambda y: interpolate.CubicHermiteSpline(np.arange(8.0), y, np.roll(y, 1)),
    "PchipInterpolator": lambda y: interpolate.PchipInterpolator(np.arange(8.0), y),
    "Akima1DInterpolator": lambda y: interpolate.Akima1DInterpolator(np.arange(8.0), y),
    "PPoly": lambda y: interpolate.PPoly(np.reshape(y, (2, 4)), np.arange(5.0)),
    "BSpline": lambda y: interpolate.BSpline(np.arange(12.0), y, 3),
    "make_interp_spline": lambda y: interpolate.make_interp_spline(np.arange(8.0), y),
    "make_smoothing_spline": lambda y: interpolate.make_smoothing_spline(np.arange(8.0), y, lam=0.1),
    "BarycentricInterpolator": lambda y: interpolate.BarycentricInterpolator(np.arange(8.0), y),
    "KroghInterpolator": lambda y: interpolate.KroghInterpolator(np.arange(8.0), y),
    "interp1d": lambda y: interpolate.interp1d(np.arange(8.0), y),
    "RegularGridInterpolator": lambda y: interpolate.RegularGridInterpolator([np.arange(8.0)], y),
}


@pytest.mark.parametrize("name", MADE)
def test_objects_of_batched_values(name: str) -> None:
    """`vmap` makes one for each example, and asks one for each."""
    make = MADE[name]
    rows = np.random.default_rng(0).normal(size=(3, 8))
    points = POINTS[:, None] if name == "RegularGridInterpolator" else POINTS / 2 if name == "PPoly" else POINTS

    def value(y: Any, shift: Any) -> Any:
        return np.sum(np.sin(make(y)(points + shift)))

    of_rows = cr.vmap(cr.grad(value), in_axes=(0, None))(rows, 0.1)
    np.testing.assert_allclose(of_rows, [cr.grad(value)(y, 0.1) for y in rows], rtol=1e-12, atol=1e-13)
    shifts = np.array([0.1, 0.2])
    of_shifts = cr.vmap(cr.grad(value, 1), in_axes=(None, 0))(rows[0], shifts)
    np.testing.assert_allclose(of_shifts, [cr.grad(value, 1)(rows[0], s) for s in shifts], rtol=1e-12)
    every = cr.vmap(cr.vmap(value, in_axes=(None, 0)), in_axes=(0, None))(rows, shifts)
    np.testing.assert_allclose(every, [[value(y, s) for s in shifts] for y in rows], rtol=1e-12)


@pytest.mark.parametrize("name", ["CubicSpline", "make_interp_spline"])
def test_splines_of_batched_values(name: str) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 8))

    def several(y: Any) -> Any:
        spline = MADE[name](y)
        return spline.derivative()(POINTS), spline.antiderivative()(POINTS), spline.integrate(0.5, y[0] + 3), spline.c

    of_rows, expected = cr.vmap(several)(rows), [several(y) for y in rows]
    for i, together in enumerate(of_rows):
        np.testing.assert_allclose(together, [each[i] for each in expected], rtol=1e-12, atol=1e-13)
    with pytest.raises(AttributeError, match="no attribute"):
        cr.vmap(lambda y: MADE[name](y).nothing)(rows)
