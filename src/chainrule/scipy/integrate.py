"""Integrals of functions and of samples, and solutions of differential equations.

`quad` (`quadrature.py`), `solve_ivp` and `odeint` (`ode.py`) have SciPy's signatures, and are differentiable in what
the function depends on, through `args=` or from outside.  Integrals of samples are differentiable in the samples and
in where they were taken.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special
from numpy.lib.array_utils import normalize_axis_index

from ..tensor import plain
from . import ode, quadrature
from .namespace import Namespace, array

here = Namespace(scipy.integrate)

here.as_they_are("AccuracyWarning", "IntegrationWarning", "ODEintWarning", "test")
here.not_implemented(
    "it has no derivative here; use quad (of a quad, for several dimensions), or integrate samples with simpson",
    "cubature", "dblquad", "nquad", "nsum", "qmc_quad", "quad_vec", "quadrature", "romberg", "tanhsinh", "tplquad",
)  # fmt: skip
here.not_implemented(
    "it is a part of a method; use solve_ivp with method= and t_eval=",
    "BDF", "DOP853", "DenseOutput", "LSODA", "OdeSolution", "OdeSolver", "RK23", "RK45", "Radau", "complex_ode", "ode",
)  # fmt: skip
here.not_implemented("boundary values are not implemented: use root on the end of solve_ivp", "solve_bvp")
here.not_implemented("it is an old name: use cumulative_trapezoid, simpson and trapezoid", "cumtrapz", "simps", "trapz")
here.not_implemented("it gives the nodes and weights of a rule, which are constants", "lebedev_rule", "newton_cotes")


def _at_end(x: Any, axis: int, ndim: int) -> Any:
    """Points along the last axis; one-dimensional ones are the same for every row."""
    return x if x.ndim < ndim or ndim == 1 else np.moveaxis(x, axis, -1)


def _samples(y: Any, x: Any, dx: Any, axis: int) -> tuple[Any, Any]:
    """Samples along the last axis, and the distances of neighbours there: a number, or an array."""
    y = array(y)
    axis = normalize_axis_index(axis, y.ndim)
    if x is not None:
        return np.moveaxis(y, axis, -1), np.diff(_at_end(array(x), axis, y.ndim))
    dx = array(dx)
    return np.moveaxis(y, axis, -1), dx if dx.ndim == 0 else np.moveaxis(dx, axis, -1)


@here.derived("y", "x", "dx")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y, d = _samples(y, x, dx, axis)
    return np.sum(d * (y[..., 1:] + y[..., :-1]) / 2, -1)


@here.derived("y", "x", "dx")
def cumulative_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None) -> Any:
    y, d = _samples(y, x, dx, axis)
    total = np.cumsum(d * (y[..., 1:] + y[..., :-1]) / 2, -1)
    if initial is not None:  # SciPy takes zero only
        total = np.concatenate([np.zeros((*total.shape[:-1], 1), total.dtype), total], -1)
    return np.moveaxis(total, -1, axis)


def _ratio(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0, as for points that coincide."""
    return np.where(b == 0, 0, a / np.where(b == 0, 1, b))


def _first_of_two(y: Any, h0: Any, h1: Any) -> Any:
    """Under the parabola through three points at distances h0 and h1, the integral over the first part."""
    both = h0 + h1
    square = _ratio(h0 * h0, h1 * both)
    return h0 / 6 * ((3 - _ratio(h0, both)) * y[0] + (3 + square + _ratio(h0, both)) * y[1] - square * y[2])


def _over_both(y: Any, h0: Any, h1: Any) -> Any:
    """Under the same parabola, the integral over both parts."""
    both = h0 + h1
    outer = (2 - _ratio(h1, h0)) * y[0] + (2 - _ratio(h0, h1)) * y[2]
    return both / 6 * (outer + _ratio(both * both, h0 * h1) * y[1])


def _intervals(y: Any, d: Any) -> Any:
    """The distance of every pair of neighbours."""
    return np.broadcast_to(d, (*np.shape(d)[:-1], y.shape[-1] - 1))


def _triples(y: Any, d: Any) -> tuple[Any, Any, Any]:
    return (y[..., :-2], y[..., 1:-1], y[..., 2:]), d[..., :-1], d[..., 1:]


@here.derived("y", "x", "dx")
def simpson(y: Any, x: Any = None, *, dx: Any = 1.0, axis: int = -1) -> Any:
    y, d = _samples(y, x, dx, axis)
    d, n = _intervals(y, d), y.shape[-1]
    if n <= 2:
        return np.sum(d * (y[..., 1:] + y[..., :-1]) / 2, -1)
    odd = n - (n + 1) % 2  # with an even number, the last interval has a parabola of its own
    (y0, y1, y2), h0, h1 = _triples(y[..., :odd], d[..., : odd - 1])
    every_other = (..., slice(None, None, 2))
    total = np.sum(
        _over_both((y0[every_other], y1[every_other], y2[every_other]), h0[every_other], h1[every_other]), -1
    )
    if odd < n:
        total = total + _first_of_two((y[..., -1], y[..., -2], y[..., -3]), d[..., -1], d[..., -2])
    return total


@here.derived("y", "x", "dx", "initial")
def cumulative_simpson(y: Any, *, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None) -> Any:
    y, d = _samples(y, x, dx, axis)
    d, n = _intervals(y, d), y.shape[-1]
    if n < 3:
        parts = d * (y[..., 1:] + y[..., :-1]) / 2
    else:
        (y0, y1, y2), h0, h1 = _triples(y, d)
        ahead, behind = _first_of_two((y0, y1, y2), h0, h1), _first_of_two((y2, y1, y0), h1, h0)
        # Intervals take turns: the parabola through the next point, and the one through the point before.
        k = np.arange(n - 1)
        forward = (k % 2 == 0) & (k < n - 2)
        parts = np.where(forward, ahead[..., np.minimum(k, n - 3)], behind[..., np.maximum(k - 1, 0)])
    total = np.cumsum(parts, -1)
    if initial is not None:
        initial = array(initial)
        initial = np.moveaxis(initial, axis, -1) if initial.ndim else initial
        first = np.broadcast_to(initial, (*total.shape[:-1], 1))
        total = np.concatenate([first, total + initial], -1)
    return np.moveaxis(total, -1, axis)


@here.derived("y", "dx")
def romb(y: Any, dx: Any = 1.0, axis: int = -1, show: Any = False) -> Any:
    y = array(y)
    y = np.moveaxis(y, axis, -1)
    n = y.shape[-1] - 1  # a power of two, or SciPy raises
    sums = []  # of trapezoids, each of half the width of those before
    step = n
    while step:
        sampled = y[..., ::step]
        sums.append(dx * step * (np.sum(sampled, -1) - (sampled[..., 0] + sampled[..., -1]) / 2))
        step //= 2
    power = 4.0
    while len(sums) > 1:  # Richardson's extrapolation
        sums = [fine + (fine - coarse) / (power - 1) for coarse, fine in pairwise(sums)]
        power *= 4
    return sums[0]


@here.ruled("a", "b", "args")
def fixed_quad(func: Any, a: Any, b: Any, args: Any = (), n: int = 5) -> Any:
    """A sum of what `func` returns at fixed points: where only `func` holds Tensors, SciPy's own is differentiable."""
    limits = plain(a), plain(b)
    dtype = scipy.integrate.fixed_quad(lambda x: x, *limits, n=1)[0].dtype  # and SciPy's errors
    x, w = (np.real(part).astype(dtype) for part in scipy.special.roots_legendre(n))
    points = (b - a) * (x + 1) / 2.0 + a
    return (b - a) / 2.0 * np.sum(w * func(points, *args), axis=-1), None


here.members |= {"odeint": ode.odeint, "quad": quadrature.quad, "solve_ivp": ode.solve_ivp}
here.kinds |= dict.fromkeys(("odeint", "quad", "solve_ivp"), "differentiable")
globals().update(here.members)
__all__ = sorted(here.kinds)  # noqa: PLE0605 (every name of SciPy's module)
