"""Interpolation: in the values, and, for piecewise polynomials, in the points and where they are evaluated.

The classes have the names and arguments of SciPy's.  Each holds SciPy's own object, which gives the values.  On a knot
where a slope jumps, the derivative is the mean of both sides (rule R2 of docs/numbers.md).

Source: C. de Boor, A practical guide to splines (1978).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import perm
from typing import Any

import numpy as np
import scipy.interpolate
from numpy.lib.array_utils import normalize_axis_index

from ..rules.linear import conjugated
from ..rules.registry import custom
from ..rules.selection import fixed
from ..tensor import plain, plain_everywhere
from .linalg import banded_rule
from .namespace import Namespace, OneOrOfExamples, array, by_example, exactly, holds_tensors, making

here = Namespace(scipy.interpolate)

here.as_they_are("test")
here.not_implemented(
    "FITPACK chooses knots by the data; use make_interp_spline or CubicSpline",
    "InterpolatedUnivariateSpline", "LSQUnivariateSpline", "UnivariateSpline", "generate_knots", "insert",
    "make_splprep", "make_splrep", "spalde", "splantider", "splder", "splint", "splprep", "splrep", "sproot",
)  # fmt: skip
here.not_implemented(
    "FITPACK chooses knots by the data; use RegularGridInterpolator",
    "BivariateSpline", "LSQBivariateSpline", "LSQSphereBivariateSpline", "RectBivariateSpline",
    "RectSphereBivariateSpline", "SmoothBivariateSpline", "SmoothSphereBivariateSpline", "bisplev", "bisplrep",
    "interp2d",
)  # fmt: skip
here.not_implemented(
    "scattered points are not supported; use RegularGridInterpolator",
    "CloughTocher2DInterpolator", "LinearNDInterpolator", "NearestNDInterpolator", "RBFInterpolator", "Rbf", "griddata",
)  # fmt: skip
here.not_implemented("use PPoly or BSpline along one axis after another", "BPoly", "NdBSpline", "NdPPoly")
here.not_implemented("which poles it takes depends on the data", "AAA", "FloaterHormannInterpolator", "pade")
here.not_implemented(
    "it gives a numpy.poly1d, which holds plain numbers; use BarycentricInterpolator",
    "approximate_taylor_polynomial", "lagrange",
)  # fmt: skip


# -- piecewise polynomials ---------------------------------------------------------------------------------------
def _column(x: Any, like: Any) -> Any:
    """Along the first axis of `like`."""
    return np.reshape(x, (-1,) + (1,) * (like.ndim - 1))


def _intervals(x: Any, t: Any, side: Any) -> Any:
    """In which interval of the (plain) breakpoints each point is; those outside belong to the ends."""
    sign = 1 if x[-1] >= x[0] else -1
    return np.clip(np.searchsorted(sign * x, sign * t, side) - 1, 0, len(x) - 2)


def _polynomial(c: Any, x: Any, t: Any, nu: int, where: Any) -> Any:
    """The derivative of some order of the polynomials of the intervals `where`."""
    dt = np.reshape(t - x[where], np.shape(where) + (1,) * (c.ndim - 2))
    total: Any = None
    for j in range(c.shape[0] - nu):
        term = c[j][where] * perm(c.shape[0] - 1 - j, nu)
        total = term if total is None else total * dt + term
    return np.zeros(np.shape(where) + c.shape[2:], c.dtype) if total is None else total


def _evaluated(c: Any, x: Any, t: Any, nu: int) -> Any:
    right, left = (_intervals(plain(x), plain(t), side) for side in ("right", "left"))
    y = _polynomial(c, x, t, nu, right)
    return y if np.array_equal(left, right) else (y + _polynomial(c, x, t, nu, left)) / 2


def _with_axis(y: Any, points: int, axis: int) -> Any:
    """Move the axes of the points, which come first, to where the interpolated axis was."""
    return np.moveaxis(y, range(points), range(axis, axis + points)) if axis else y


class PPoly(OneOrOfExamples):
    """Piecewise polynomials: `scipy.interpolate.PPoly`, differentiable in coefficients, breakpoints and points.

    Parameters
    ----------
    c, x, extrapolate, axis
        As in `scipy.interpolate.PPoly`.
    """

    def __init__(self, c: Any, x: Any, extrapolate: Any = None, axis: int = 0) -> None:
        scipys = scipy.interpolate.PPoly(plain_everywhere(c), plain_everywhere(x), extrapolate, axis)
        self._set(scipys, exactly(scipys.c, np.moveaxis(array(c), (scipys.axis, scipys.axis + 1), (0, 1))), x)

    def _set(self, scipys: Any, c: Any, x: Any) -> None:
        self._scipys, self.axis, self.extrapolate = scipys, scipys.axis, scipys.extrapolate
        self.c, self.x = c, array(x) if holds_tensors(x) else scipys.x

    @classmethod
    def _of(cls, scipys: Any, c: Any, x: Any) -> PPoly:
        made = object.__new__(PPoly)
        made._set(scipys, exactly(scipys.c, c), x)
        return made

    def _active(self, *more: Any) -> bool:
        return holds_tensors((self.c, self.x, *more))

    @by_example()
    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        """Evaluate at `x` the polynomials or a derivative (`nu`) of them."""
        value = self._scipys(plain_everywhere(x), nu, extrapolate)
        if not self._active(x):
            return value
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        t, low, high = array(x), self.x[0], self.x[-1]
        if extrapolate == "periodic":
            t = low + np.mod(t - low, high - low)
        y = _evaluated(self.c, self.x, t, nu)
        outside = np.isnan(value) if not extrapolate else False
        return exactly(value, np.where(outside, value, _with_axis(y, t.ndim, self.axis)))

    def derivative(self, nu: int = 1) -> PPoly:
        """The piecewise polynomials that are the derivative of order `nu`."""
        if nu < 0:
            return self.antiderivative(-nu)
        n = self.c.shape[0]
        factors = np.array([float(perm(n - 1 - j, nu)) for j in range(n - nu)])
        c = self.c[: n - nu] * _column(factors, self.c) if nu < n else np.zeros((1, *self.c.shape[1:]))
        return self._of(self._scipys.derivative(nu), c, self.x)

    def antiderivative(self, nu: int = 1) -> PPoly:
        """The piecewise polynomials that are the antiderivative of order `nu`, continuous and zero at the start."""
        if nu <= 0:
            return self.derivative(-nu)
        c = self.c
        for _ in range(nu):
            c = c / _column(np.arange(c.shape[0], 0, -1.0), c)
            c = np.concatenate([c, np.zeros((1, *c.shape[1:]), plain(c).dtype)])
            m = c.shape[1]
            ends = np.cumsum(_polynomial(c, self.x, self.x[1:], 0, np.arange(m)), 0)
            start = np.concatenate([np.zeros((1, *ends.shape[1:]), ends.dtype), ends[:-1]])
            c = np.concatenate([c[:-1], np.expand_dims(start, 0)])
        return self._of(self._scipys.antiderivative(nu), c, self.x)

    @by_example()
    def integrate(self, a: Any, b: Any, extrapolate: Any = None) -> Any:
        """The integral from `a` to `b`."""
        value = self._scipys.integrate(plain(a), plain(b), extrapolate)
        if not self._active(a, b):
            return value
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        whole = self.antiderivative()
        whole = PPoly(whole.c, whole.x)
        if extrapolate != "periodic":
            result = whole(b) - whole(a)
            return exactly(value, np.where(np.isnan(value), value, result))
        low, high = self.x[0], self.x[-1]
        period = high - low

        def until(t: Any) -> Any:
            turns = np.floor(plain((t - low) / period))
            return turns * whole(high) + whole(t - turns * period)

        return exactly(value, until(b) - until(a))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self._scipys, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if self._active():
            raise here.unsupported(f"{type(self).__name__}.{name}", "it is not implemented; use calls and integrals")
        return getattr(self._scipys, name)


class CubicHermiteSpline(PPoly):
    """The cubic spline with given values and slopes: `scipy.interpolate.CubicHermiteSpline`.

    Parameters
    ----------
    x, y, dydx, axis, extrapolate
        As in `scipy.interpolate.CubicHermiteSpline`; differentiable in the first three.
    """

    def __init__(self, x: Any, y: Any, dydx: Any, axis: int = 0, extrapolate: Any = None) -> None:
        scipys = scipy.interpolate.CubicHermiteSpline(
            *(plain_everywhere(each) for each in (x, y, dydx)), axis, extrapolate
        )
        self._by_slopes(scipys, x, y, axis, lambda x, y: np.moveaxis(array(dydx), axis, 0), dydx)

    def _by_slopes(self, scipys: Any, x: Any, y: Any, axis: int, slopes: Callable[[Any, Any], Any], *more: Any) -> None:
        """Set the coefficients: polynomials from values and slopes at both ends of each interval."""
        if not holds_tensors((x, y, *more)):
            self._set(scipys, scipys.c, x)
            return
        points, y = array(x).astype(float), np.moveaxis(array(y), axis, 0)
        y = y if y.dtype.kind == "c" else y.astype(float)
        s = slopes(points, y)
        dx = _column(np.diff(points), y)
        m = np.diff(y, axis=0) / dx
        bend = (s[:-1] + s[1:] - 2 * m) / dx
        c = np.stack([bend / dx, (m - s[:-1]) / dx - bend, s[:-1], y[:-1]])
        self._set(scipys, exactly(scipys.c, c), x)


def _cubic_slopes(x: Any, y: Any, start: Any, end: Any) -> Any:
    """Slopes that make the second derivative continuous, with a condition at each end."""
    n, dx = y.shape[0], np.diff(x)
    h = _column(dx, y)
    m = np.diff(y, axis=0) / h
    if n == 2 and start == "periodic":
        return np.concatenate([m, m])
    if n == 2:
        start, end = ((1, m[0]) if each == "not-a-knot" else each for each in (start, end))
    if n == 3 and start == end == "not-a-knot":  # a parabola
        bend = (m[1] - m[0]) / (x[2] - x[0])
        return np.stack([m[0] - bend * dx[0], m[0] + bend * dx[0], m[1] + bend * dx[1]])
    if start == "periodic":
        before, h_before, m_before = np.roll(dx, 1), np.roll(h, 1, 0), np.roll(m, 1, 0)
        one = np.eye(n - 1)
        matrix = dx[:, None] * np.roll(one, -1, 1) + 2 * (before + dx)[:, None] * one
        matrix = matrix + before[:, None] * np.roll(one, 1, 1)
        right = 3 * (h * m_before + h_before * m)
        s = np.reshape(np.linalg.solve(matrix, np.reshape(right, (n - 1, -1))), right.shape)
        return np.concatenate([s, s[:1]])
    first, last = (
        _end_condition(start, dx[0], dx[1:2], m[0], m[1:2]),
        _end_condition(end, -dx[-1], -dx[-2:-1], m[-1], m[-2:-1]),
    )
    diagonal = np.concatenate([first[0], 2 * (dx[:-1] + dx[1:]), last[0]])
    above = np.concatenate([np.zeros(1), first[1], dx[:-1]])
    below = np.concatenate([dx[1:], last[1], np.zeros(1)])
    right = np.concatenate([first[2], 3 * (h[1:] * m[:-1] + h[:-1] * m[1:]), last[2]])
    bands = np.stack([above, diagonal, below])
    return np.reshape(banded_rule(bands, np.reshape(right, (n, -1)), l_and_u=(1, 1)), right.shape)


def _end_condition(condition: Any, h: Any, h_next: Any, m: Any, m_next: Any) -> tuple[Any, Any, Any]:
    """A row of the system: the factors of the slopes at the end and beside it, and the right-hand side."""
    one = np.ones(1)
    if condition == "not-a-knot":
        both = h + h_next[0]
        right = ((h + 2 * both) * h_next[0] * m + h * h * m_next[0]) / both
        return h_next, np.reshape(both, 1), np.expand_dims(right, 0)
    order, value = condition
    if order == 1:
        return one, 0 * one, np.expand_dims(np.broadcast_to(array(value), m.shape), 0)
    return 2 * one, one, np.expand_dims(3 * m - array(value) * h / 2, 0)


CONDITIONS = {"clamped": (1, 0.0), "natural": (2, 0.0)}


class CubicSpline(CubicHermiteSpline):
    """The twice differentiable cubic spline: `scipy.interpolate.CubicSpline`.

    Parameters
    ----------
    x, y, axis, bc_type, extrapolate
        As in `scipy.interpolate.CubicSpline`; differentiable in points, values and the values of end conditions.
    """

    def __init__(self, x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None) -> None:
        scipys = scipy.interpolate.CubicSpline(
            plain_everywhere(x), plain_everywhere(y), axis, plain_everywhere(bc_type), extrapolate
        )
        pair = (bc_type, bc_type) if isinstance(bc_type, str) else bc_type
        start, end = (CONDITIONS.get(each, each) if isinstance(each, str) else each for each in pair)
        axis = normalize_axis_index(axis, len(np.shape(plain_everywhere(y))))
        self._by_slopes(scipys, x, y, axis, lambda x, y: _cubic_slopes(x, y, start, end), bc_type)


def _safe_ratio(a: Any, b: Any, zero: Any) -> Any:
    return np.where(zero, 0, a / np.where(zero, 1, b))


def _end_slope(h0: Any, h1: Any, m0: Any, m1: Any) -> Any:
    """Of the parabola through three points, unless it would not keep the shape."""
    d = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    turns = np.sign(plain(d)) != np.sign(plain(m0))
    too_steep = (np.sign(plain(m0)) != np.sign(plain(m1))) & (np.abs(plain(d)) > 3 * np.abs(plain(m0)))
    return np.where(turns, 0, np.where(too_steep, 3 * m0, d))


def _monotone_slopes(x: Any, y: Any) -> Any:
    """Harmonic means of the slopes beside a point, and zero where these differ in sign (Fritsch and Butland)."""
    h = _column(np.diff(x), y)
    m = np.diff(y, axis=0) / h
    if y.shape[0] == 2:
        return np.concatenate([m, m])
    flat = np.sign(plain(m[1:])) * np.sign(plain(m[:-1])) <= 0
    before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    mean = _safe_ratio(before, m[:-1], flat) + _safe_ratio(after, m[1:], flat)
    inside = _safe_ratio(before + after, mean, flat)
    first, last = _end_slope(h[0], h[1], m[0], m[1]), _end_slope(h[-1], h[-2], m[-1], m[-2])
    return np.concatenate([np.expand_dims(first, 0), inside, np.expand_dims(last, 0)])


class PchipInterpolator(CubicHermiteSpline):
    """The monotone cubic spline: `scipy.interpolate.PchipInterpolator`.

    Parameters
    ----------
    x, y, axis, extrapolate
        As in `scipy.interpolate.PchipInterpolator`; differentiable in points and values.
    """

    def __init__(self, x: Any, y: Any, axis: int = 0, extrapolate: Any = None) -> None:
        scipys = scipy.interpolate.PchipInterpolator(plain_everywhere(x), plain_everywhere(y), axis, extrapolate)
        axis = normalize_axis_index(axis, len(np.shape(plain_everywhere(y))))
        self._by_slopes(scipys, x, y, axis, _monotone_slopes)


def _akima_slopes(x: Any, y: Any, modified: bool) -> Any:
    """Means of the slopes beside a point, weighted by how much the slopes on the other side differ."""
    m = np.diff(y, axis=0) / _column(np.diff(x), y)
    if y.shape[0] == 2:
        return np.concatenate([m, m])
    left, right = 2 * m[:1] - m[1:2], 2 * m[-1:] - m[-2:-1]
    m = np.concatenate([2 * left - m[:1], left, m, right, 2 * right - m[-1:]])
    change = np.abs(np.diff(m, axis=0))
    if modified:
        change = change + np.abs(m[1:] + m[:-1]) / 2
    weight, other = change[:-2], change[2:]
    total = weight + other
    equal = plain(total) <= 1e-9 * np.max(plain(total), initial=-np.inf)
    return np.where(equal, (m[3:] + m[:-3]) / 2, m[1:-2] + _safe_ratio(weight, total, equal) * (m[2:-1] - m[1:-2]))


class Akima1DInterpolator(CubicHermiteSpline):
    """Akima's cubic spline: `scipy.interpolate.Akima1DInterpolator`.

    Parameters
    ----------
    x, y, axis, method, extrapolate
        As in `scipy.interpolate.Akima1DInterpolator`; differentiable in points and values.
    """

    def __init__(self, x: Any, y: Any, axis: int = 0, *, method: str = "akima", extrapolate: Any = None) -> None:
        options = {} if method == "akima" and extrapolate is None else {"method": method, "extrapolate": extrapolate}
        scipys = scipy.interpolate.Akima1DInterpolator(plain_everywhere(x), plain_everywhere(y), axis, **options)
        axis = normalize_axis_index(axis, len(np.shape(plain_everywhere(y))))
        self._by_slopes(scipys, x, y, axis, lambda x, y: _akima_slopes(x, y, method == "makima"))


# -- B-splines ---------------------------------------------------------------------------------------------------
def _bspline(c: Any, x: Any, t: Any, k: int, nu: int, extrapolate: Any) -> Any:
    if nu > k:
        return np.zeros(np.shape(x) + c.shape[1:], np.result_type(c.dtype, float))[()]
    return scipy.interpolate.BSpline(t, c, k, extrapolate)(x, nu)


def _basis(x: Any, node: Any) -> Any:
    """What each coefficient contributes at each point."""
    return np.nan_to_num(bspline_rule(np.eye(node.operands[0].shape[0]), x, **node.params[1]))


def _bspline_slope(node: Any) -> Any:
    """The derivative in the points; on a knot where it may jump, the mean of both sides."""
    c, x = (operand.value for operand in node.operands)
    options = node.params[1]
    t, k, nu = options["t"], options["k"], options["nu"]
    options = options | {"nu": nu + 1}
    slope = bspline_rule(c, x, **options)
    points = plain(x)
    if np.isin(points, t[k + 1 : -k - 1]).any():
        before = x + np.where(np.isin(points, t[k + 1 : -k - 1]), np.nextafter(points, -np.inf) - points, 0)
        slope = (slope + bspline_rule(c, before, **options)) / 2
    return np.where(np.isnan(plain(slope)), 0, slope)


def _trailing(node: Any) -> tuple[int, ...]:
    """The axes that one point has of its own."""
    points = len(node.operands[1].shape)
    return tuple(range(points, len(node.shape)))


def _bspline_pull_c(ct: Any, node: Any) -> Any:
    x = node.operands[1].value
    axes = list(range(len(np.shape(plain(x)))))
    return np.tensordot(_basis(x, node), ct, (axes, axes)) if axes else np.multiply.outer(_basis(x, node), ct)


def _bspline_push(node: Any, tangents: Sequence[Any]) -> Any:
    total: Any = 0
    if tangents[0] is not None:
        total = total + np.tensordot(_basis(node.operands[1].value, node), tangents[0], 1)
    if tangents[1] is not None:
        t = np.reshape(tangents[1], np.shape(tangents[1]) + (1,) * len(_trailing(node)))
        total = total + t * _bspline_slope(node)
    return total


bspline_rule = custom(
    "bspline",
    _bspline,
    needs=("b", "ab"),
    pulls=(
        _bspline_pull_c,
        lambda ct, node: np.sum(np.real(ct * conjugated(_bspline_slope(node))), _trailing(node)),
    ),
    push=_bspline_push,
    source="de Boor 1978: linear in the coefficients",
)


class BSpline(OneOrOfExamples):
    """A spline as a sum of B-splines: `scipy.interpolate.BSpline`, differentiable in coefficients and points.

    Parameters
    ----------
    t, c, k, extrapolate, axis
        As in `scipy.interpolate.BSpline`; the knots `t` are constants.
    """

    def __init__(self, t: Any, c: Any, k: int, extrapolate: Any = True, axis: int = 0) -> None:
        t = fixed(t, "the knots of BSpline")
        self._scipys = scipy.interpolate.BSpline(t, plain_everywhere(c), k, extrapolate, axis)
        self.t, self.k, self.extrapolate, self.axis = self._scipys.t, k, self._scipys.extrapolate, self._scipys.axis
        self.c = np.moveaxis(array(c), self.axis, 0) if holds_tensors(c) else self._scipys.c

    @property
    def tck(self) -> tuple[Any, Any, int]:
        """Knots, coefficients and degree."""
        return self.t, self.c, self.k

    @by_example()
    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        """Evaluate at `x` the spline or a derivative (`nu`) of it."""
        value = self._scipys(plain_everywhere(x), nu, extrapolate)
        if not holds_tensors((self.c, x)):
            return value
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        x = array(x)
        if extrapolate == "periodic":
            low, high = self.t[self.k], self.t[-self.k - 1]
            x, extrapolate = low + np.mod(x - low, high - low), False
        c = self.c[: len(self.t) - self.k - 1]
        y = bspline_rule(c, x, t=self.t, k=self.k, nu=nu, extrapolate=extrapolate)
        return exactly(value, _with_axis(y, x.ndim, self.axis))

    def _linear(self, function: Callable[[Any], Any]) -> BSpline:
        """The spline that `function` makes of this one: its coefficients are linear in those of this one."""
        made = function(self._scipys)
        n = self.c.shape[0]
        basis = function(scipy.interpolate.BSpline(self.t, np.eye(n), self.k, self.extrapolate)).c
        c = exactly(made.c, np.tensordot(basis, self.c, 1)) if holds_tensors(self.c) else made.c
        return BSpline(made.t, np.moveaxis(c, 0, self.axis), made.k, made.extrapolate, self.axis)

    def derivative(self, nu: int = 1) -> BSpline:
        """The spline that is the derivative of order `nu`."""
        return self._linear(lambda spline: spline.derivative(nu))

    def antiderivative(self, nu: int = 1) -> BSpline:
        """The spline that is the antiderivative of order `nu`."""
        return self._linear(lambda spline: spline.antiderivative(nu))

    @by_example()
    def integrate(self, a: Any, b: Any, extrapolate: Any = None) -> Any:
        """The integral from `a` to `b`."""
        value = self._scipys.integrate(plain(a), plain(b), extrapolate)
        if not holds_tensors((self.c, a, b)):
            return value
        if (self.extrapolate if extrapolate is None else extrapolate) is not True:
            raise here.unsupported("BSpline.integrate", "only for a spline that is extrapolated")
        whole = self.antiderivative()
        c = whole.c

        def until(t: Any) -> Any:
            return bspline_rule(c[: len(whole.t) - whole.k - 1], array(t), t=whole.t, k=whole.k, nu=0, extrapolate=True)

        return exactly(value, np.reshape(until(b) - until(a), np.shape(value)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self._scipys, name):
            raise AttributeError(f"BSpline has no attribute {name!r}")
        if holds_tensors(self.c):
            raise here.unsupported(f"BSpline.{name}", "it is not implemented; use calls and integrals")
        return getattr(self._scipys, name)


def _without_values(bc_type: Any, n: int) -> Any:
    """The same conditions, homogeneous: values of derivatives shift the coefficients by a constant."""
    if bc_type is None or isinstance(bc_type, str):
        return bc_type
    return tuple(
        each if each is None or isinstance(each, str) else [(order, np.zeros(n)) for order, _ in each]
        for each in bc_type
    )


def _spline_of(scipys: Any, y: Any, axis: int, basis: Callable[[Any], Any], periodic: bool = False) -> BSpline:
    """The spline whose coefficients are linear in the values `y`, as they are for unit vectors."""
    y = np.moveaxis(array(y), axis, 0)
    unit = np.eye(y.shape[0])
    if periodic:  # the last value is the first one
        unit, y = np.concatenate([unit[:-1, :-1], unit[:1, :-1]]), y[:-1]
    c = np.tensordot(basis(unit).c, y, 1)
    c = exactly(scipys.c, c + (scipys.c - plain(c)))  # conditions at the ends may add a constant
    return BSpline(scipys.t, np.moveaxis(c, 0, scipys.axis), scipys.k, scipys.extrapolate, scipys.axis)


@making(BSpline)
def make_interp_spline(
    x: Any, y: Any, k: int = 3, t: Any = None, bc_type: Any = None, axis: int = 0, check_finite: bool = True
) -> BSpline:
    """The interpolating spline: `scipy.interpolate.make_interp_spline`, differentiable in the values.

    Parameters
    ----------
    x, y, k, t, bc_type, axis, check_finite
        As in `scipy.interpolate.make_interp_spline`; points, knots and conditions are constants.
    """
    make = scipy.interpolate.make_interp_spline
    x, t = (None if each is None else fixed(each, "points and knots of make_interp_spline") for each in (x, t))
    if holds_tensors(bc_type):
        raise here.unsupported("make_interp_spline", "conditions at the ends are constants; use CubicSpline")
    scipys = make(x, plain_everywhere(y), k, t, bc_type, axis, check_finite)
    n = np.shape(x)[0] - (bc_type == "periodic")
    return _spline_of(
        scipys, y, axis, lambda unit: make(x, unit, k, t, _without_values(bc_type, n)), bc_type == "periodic"
    )


@making(BSpline)
def make_lsq_spline(
    x: Any, y: Any, t: Any, k: int = 3, w: Any = None, axis: int = 0, check_finite: bool = True, **options: Any
) -> BSpline:
    """The spline of least squares: `scipy.interpolate.make_lsq_spline`, differentiable in the values.

    Parameters
    ----------
    x, y, t, k, w, axis, check_finite, **options
        As in `scipy.interpolate.make_lsq_spline`; points, knots and weights are constants.
    """
    make = scipy.interpolate.make_lsq_spline
    x, t, w = (None if each is None else fixed(each, "points and weights of make_lsq_spline") for each in (x, t, w))
    scipys = make(x, plain_everywhere(y), t, k, w, axis, check_finite, **options)
    return _spline_of(scipys, y, axis, lambda unit: make(x, unit, t, k, w, **options))


@making(BSpline)
def make_smoothing_spline(x: Any, y: Any, w: Any = None, lam: Any = None, *, axis: int = 0) -> BSpline:
    """The smoothing spline: `scipy.interpolate.make_smoothing_spline`, differentiable in the values.

    Parameters
    ----------
    x, y, w, lam, axis
        As in `scipy.interpolate.make_smoothing_spline`; with Tensors `lam` must be given, and is a constant.
    """
    make = scipy.interpolate.make_smoothing_spline
    x, w, lam = (None if e is None else fixed(e, "points and weights of make_smoothing_spline") for e in (x, w, lam))
    if lam is None and holds_tensors(y):
        raise here.unsupported("make_smoothing_spline", "without lam, which is then chosen by the data")
    options = {"axis": axis} if axis else {}
    scipys = make(x, plain_everywhere(y), w, lam, **options)
    if not holds_tensors(y):
        return BSpline(scipys.t, np.moveaxis(scipys.c, 0, scipys.axis), scipys.k, scipys.extrapolate, scipys.axis)
    columns = [make(x, column, w, lam).c for column in np.eye(np.shape(x)[0])]
    y = np.moveaxis(array(y), axis, 0)
    c = exactly(scipys.c, np.tensordot(np.stack(columns, -1), y, 1))
    return BSpline(scipys.t, np.moveaxis(c, 0, scipys.axis), scipys.k, scipys.extrapolate, scipys.axis)


@here.derived("x", "tck")
def splev(x: Any, tck: Any, der: int = 0, ext: int = 0) -> Any:
    t, c, k = (tck.t, tck.c, tck.k) if hasattr(tck, "tck") else tck
    if ext or isinstance(c, list):
        raise here.unsupported("splev", "only with ext=0, and for one curve; use BSpline")
    return bspline_rule(
        array(c)[: len(t) - k - 1], array(x), t=fixed(t, "the knots of splev"), k=k, nu=der, extrapolate=True
    )


# -- polynomials through all points --------------------------------------------------------------------------------
def _through_all(x: Any, y: Any, t: Any) -> Any:
    """Lagrange's form: a sum of products, without a division by what may be zero."""
    same = np.eye(x.shape[0], dtype=bool)
    differences = np.where(same, 1, np.expand_dims(x, -1) - x)
    factors = np.where(same, 1, (np.reshape(t, (*t.shape, 1, 1)) - x) / differences)
    return np.tensordot(np.prod(factors, axis=-1), y, 1)


class BarycentricInterpolator(OneOrOfExamples):
    """The polynomial through all points: `scipy.interpolate.BarycentricInterpolator`.

    Parameters
    ----------
    xi, yi, axis, **options
        As in SciPy; differentiable in points and values.
    """

    def __init__(self, xi: Any, yi: Any, axis: int = 0, **options: Any) -> None:
        self._start(scipy.interpolate.BarycentricInterpolator, xi, yi, axis, options)

    def _start(self, make: Any, xi: Any, yi: Any, axis: int, options: dict[str, Any]) -> None:
        self._scipys = make(plain_everywhere(xi), plain_everywhere(yi), axis, **options)
        yi = array(yi)
        self._axis = normalize_axis_index(axis, yi.ndim)
        self.xi, self.yi = array(xi), np.moveaxis(yi, self._axis, 0)

    @by_example()
    def __call__(self, x: Any) -> Any:
        """Evaluate the polynomial at `x`."""
        value = self._scipys(plain_everywhere(x))
        if not holds_tensors((self.xi, self.yi, x)):
            return value
        x = array(x)
        return exactly(value, _with_axis(_through_all(self.xi, self.yi, x), x.ndim, self._axis))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self._scipys, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if holds_tensors((self.xi, self.yi)):
            raise here.unsupported(f"{type(self).__name__}.{name}", "differentiate calls of it instead")
        return getattr(self._scipys, name)


class KroghInterpolator(BarycentricInterpolator):
    """The polynomial through all points: `scipy.interpolate.KroghInterpolator`.

    Parameters
    ----------
    xi, yi, axis
        As in SciPy; differentiable in points and values, where no point is repeated.
    """

    def __init__(self, xi: Any, yi: Any, axis: int = 0) -> None:
        if holds_tensors((xi, yi)) and len(np.unique(plain_everywhere(xi))) < len(xi):
            raise here.unsupported("KroghInterpolator", "a point is repeated: its values are derivatives")
        self._start(scipy.interpolate.KroghInterpolator, xi, yi, axis, {})


def _values_only(name: str, der: Any) -> None:
    if np.ndim(der) or der != 0:
        raise here.unsupported(name, "der must be 0; differentiate calls of it instead")


@here.derived("xi", "yi", "x")
def barycentric_interpolate(xi: Any, yi: Any, x: Any, axis: int = 0, *, der: Any = 0, **options: Any) -> Any:
    _values_only("barycentric_interpolate", der)
    return BarycentricInterpolator(xi, yi, axis, **options)(x)


@here.derived("xi", "yi", "x")
def krogh_interpolate(xi: Any, yi: Any, x: Any, der: Any = 0, axis: int = 0) -> Any:
    _values_only("krogh_interpolate", der)
    return KroghInterpolator(xi, yi, axis)(x)


@here.derived("xi", "yi", "x")
def pchip_interpolate(xi: Any, yi: Any, x: Any, der: Any = 0, axis: int = 0) -> Any:
    spline = PchipInterpolator(xi, yi, axis)
    return spline(x, der) if np.ndim(der) == 0 else [spline(x, nu) for nu in der]


# -- tables ------------------------------------------------------------------------------------------------------
class interp1d(OneOrOfExamples):
    """Interpolation in a table: `scipy.interpolate.interp1d`.

    Parameters
    ----------
    x, y, kind, axis, copy, bounds_error, fill_value, assume_sorted
        As in SciPy; differentiable in values, and, where `kind` is "linear", in points; fill values are constants.
    """

    def __init__(
        self, x: Any, y: Any, kind: Any = "linear", axis: int = -1, copy: bool = True, bounds_error: Any = None,
        fill_value: Any = np.nan, assume_sorted: bool = False,
    ) -> None:  # fmt: skip
        fill_value = fixed(fill_value, "fill_value of interp1d")
        options = {"bounds_error": bounds_error, "fill_value": fill_value, "assume_sorted": assume_sorted}
        self._scipys = scipy.interpolate.interp1d(plain_everywhere(x), plain_everywhere(y), kind, axis, **options)
        self._kind, self._extrapolates = kind, isinstance(fill_value, str)
        self.x, self.y = array(x), array(y)
        self.axis = normalize_axis_index(axis, self.y.ndim)
        order = slice(None) if assume_sorted else np.argsort(plain(self.x), kind="mergesort")
        self._points, self._rows = self.x[order], np.moveaxis(self.y, self.axis, 0)[order]

    @by_example()
    def __call__(self, x: Any) -> Any:
        """Interpolate at `x`."""
        value = self._scipys(plain_everywhere(x))
        if not holds_tensors((self.x, self.y, x)):
            return value
        t, points, rows = array(x), self._points, self._rows
        rows = rows if rows.dtype.kind in "fc" else rows.astype(float)
        if self._kind in ("linear", "slinear", 1):
            slopes = np.diff(rows, axis=0) / _column(np.diff(points), rows)
            y = _evaluated(np.stack([slopes, rows[:-1]]), points, t, 0)
        elif self._kind in ("nearest", "nearest-up", "previous", "next", "zero", 0):
            number = np.arange(rows.shape[0], dtype=float)
            kind = "previous" if self._kind in ("zero", 0) else self._kind
            table = scipy.interpolate.interp1d(plain(points), number, kind, fill_value="extrapolate")
            y = rows[np.nan_to_num(table(plain(t))).astype(int)]
            y = np.where(True, y, np.reshape(t, t.shape + (1,) * (rows.ndim - 1)))  # a step: its slope is zero
        else:
            k = {"quadratic": 2, "cubic": 3}.get(self._kind, self._kind)
            y = make_interp_spline(points, rows, k)(t)
        low, high = plain(points)[0], plain(points)[-1]
        outside = (plain(t) < low) | (plain(t) > high) | np.isnan(plain(t))
        outside = np.reshape(outside & (not self._extrapolates), t.shape + (1,) * (rows.ndim - 1))
        outside = _with_axis(np.broadcast_to(outside, y.shape), t.ndim, self.axis)
        return exactly(value, np.where(outside, value, _with_axis(y, t.ndim, self.axis)))


class RegularGridInterpolator(OneOrOfExamples):
    """Interpolation on a rectangular grid: `scipy.interpolate.RegularGridInterpolator`.

    Parameters
    ----------
    points, values, method, bounds_error, fill_value, **options
        As in SciPy; with Tensors `method` is "linear" or "nearest".
    """

    def __init__(
        self, points: Any, values: Any, method: str = "linear", bounds_error: bool = True, fill_value: Any = np.nan,
        **options: Any,
    ) -> None:  # fmt: skip
        fill_value = fixed(fill_value, "fill_value of RegularGridInterpolator")
        self._scipys = scipy.interpolate.RegularGridInterpolator(
            tuple(plain_everywhere(each) for each in points), plain_everywhere(values), method, bounds_error,
            fill_value, **options,
        )  # fmt: skip
        self.method, self._fills = method, fill_value is not None
        grid, values = [array(each) for each in points], array(values)
        backwards = [i for i, each in enumerate(grid) if each.shape[0] > 1 and plain(each)[0] > plain(each)[-1]]
        self.values = np.flip(values, tuple(backwards)) if backwards else values
        self.grid = tuple(np.flip(each) if i in backwards else each for i, each in enumerate(grid))

    @by_example()
    def __call__(self, xi: Any, method: str | None = None, **options: Any) -> Any:
        """Interpolate at `xi`, an array of points or a tuple of coordinates."""
        value = self._scipys(plain_everywhere(xi), method, **options)
        if not holds_tensors((self.grid, self.values, xi)):
            return value
        method = self.method if method is None else method
        if method not in ("linear", "nearest"):
            raise here.unsupported("RegularGridInterpolator", f"method={method!r} is not implemented; use 'linear'")
        xi = np.stack(np.broadcast_arrays(*map(array, xi)), -1) if isinstance(xi, tuple) else array(xi)
        n = len(self.grid)
        shape = np.shape(value)[: len(np.shape(value)) - (self.values.ndim - n)]
        t = [np.reshape(xi[..., i], shape) for i in range(n)]
        right, left = (
            [_intervals(plain(x), plain(x_t), side) for x, x_t in zip(self.grid, t, strict=True)]
            for side in ("right", "left")
        )
        y = self._at(t, right, method)
        if method == "linear" and any(not np.array_equal(a, b) for a, b in zip(left, right, strict=True)):
            y = (y + self._at(t, left, method)) / 2
        outside = np.zeros(shape, bool)
        for x, x_t in zip(self.grid, t, strict=True):
            outside |= ((plain(x_t) < plain(x)[0]) | (plain(x_t) > plain(x)[-1])) & self._fills | np.isnan(plain(x_t))
        return exactly(value, np.where(np.reshape(outside, shape + (1,) * (self.values.ndim - n)), value, y))

    def _at(self, t: list[Any], where: list[Any], method: str) -> Any:
        """The sum over the corners of the cells `where`."""
        shares = [(x_t - x[i]) / (x[i + 1] - x[i]) for x, x_t, i in zip(self.grid, t, where, strict=True)]
        if method == "nearest":
            return self.values[tuple(i + (plain(s) > 0.5) for i, s in zip(where, shares, strict=True))]
        own = (1,) * (self.values.ndim - len(t))
        total: Any = 0
        for corner in np.ndindex((2,) * len(t)):
            weight: Any = 1.0
            for share, end in zip(shares, corner, strict=True):
                weight = weight * (share if end else 1 - share)
            at_corner = self.values[tuple(i + end for i, end in zip(where, corner, strict=True))]
            total = total + np.reshape(weight, np.shape(weight) + own) * at_corner
        return total


@here.ruled("points", "values", "xi")
def interpn(
    points: Any, values: Any, xi: Any, method: str = "linear", bounds_error: bool = True, fill_value: Any = np.nan
) -> Any:
    return RegularGridInterpolator(points, values, method, bounds_error, fill_value)(xi)


pchip = PchipInterpolator
for _thing in (
    Akima1DInterpolator, BSpline, BarycentricInterpolator, CubicHermiteSpline, CubicSpline, KroghInterpolator, PPoly,
    PchipInterpolator, RegularGridInterpolator, interp1d, make_interp_spline, make_lsq_spline, make_smoothing_spline,
):  # fmt: skip
    here.kinds[_thing.__name__] = "differentiable"
here.kinds["pchip"] = "differentiable"

globals().update(here.members)
__all__ = sorted(here.kinds)  # noqa: PLE0605 (every name of SciPy's module)
