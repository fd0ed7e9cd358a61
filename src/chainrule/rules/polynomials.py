"""Polynomials by their coefficients, highest power first, and products of whole arrays."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .linear import as_array, conjugated
from .reductions import by_products
from .registry import custom, implements
from .selection import deciding


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    x = as_array(x)
    y = np.zeros(x.shape, x.dtype)
    for coefficient in as_array(p):
        y = y * x + coefficient
    return y


def _aligned(a1: Any, a2: Any) -> tuple[Any, Any]:
    """Both with as many coefficients as the longer has."""
    a1, a2 = np.atleast_1d(a1), np.atleast_1d(a2)
    n = max(len(a1), len(a2))
    return tuple(a if len(a) == n else np.concatenate([np.zeros(n - len(a), a.dtype), a]) for a in (a1, a2))  # type: ignore[return-value]


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    a1, a2 = _aligned(a1, a2)
    return a1 + a2


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    a1, a2 = _aligned(a1, a2)
    return a1 - a2


def _leading(a: Any) -> Any:
    """Without zeros in front; at least one coefficient."""
    a = np.atleast_1d(a)
    trimmed = np.trim_zeros(a, "f")
    return trimmed if len(trimmed) else a[-1:]


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    return np.convolve(_leading(a1), _leading(a2))


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    constants = np.atleast_1d(0.0 if k is None else k)
    if len(constants) == 1 and m > 1:
        constants = np.broadcast_to(constants, (m,))
    if len(constants) < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    p = np.atleast_1d(p)
    for i in range(m):
        p = np.concatenate([p / np.arange(len(p), 0, -1), constants[i : i + 1]])
    return p


@implements(np.polydiv)
def polydiv(u: Any, v: Any) -> Any:
    u, v = np.atleast_1d(u) + 0.0, np.atleast_1d(v) + 0.0
    steps = len(u) - len(v) + 1
    quotient, rest = [], u
    for k in range(steps):
        factor = (1.0 / v[0]) * rest[k]
        quotient.append(factor)
        n = k + len(v)
        rest = np.concatenate([rest[:k], rest[k:n] - factor * v, rest[n:]])
    whole = np.stack(quotient) if quotient else np.zeros(1) * u[0]
    first = 0
    while first < len(rest) - 1 and np.allclose(rest[first], 0, rtol=1e-14):
        first += 1
    return whole, rest[first:]


@implements(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    roots = np.atleast_1d(seq_of_zeros)
    if roots.ndim == 2:
        roots = np.linalg.eigvals(roots)
    roots = roots.astype(np.mintypecode(roots.dtype.char))
    coefficients = np.ones(1, roots.dtype)
    for root in roots:
        coefficients = np.convolve(coefficients, np.stack([np.ones((), roots.dtype), -root]))
    values = deciding(roots, "np.poly")
    if values.dtype.kind == "c" and np.all(np.sort(values) == np.sort(np.conj(values))):
        return np.real(coefficients)
    return coefficients


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    if x.ndim != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    x = x.astype(np.promote_types(x.dtype, int))
    n = len(x) if N is None else N
    ones = np.ones((len(x), min(n, 1)), x.dtype)
    column = np.broadcast_to(x[:, np.newaxis], (len(x), max(n - 1, 0)))
    powers = np.concatenate([ones, np.cumprod(column, 1)], 1)
    return powers if increasing else np.flip(powers, 1)


# -- fits and roots ------------------------------------------------------------------------------------------------
@implements(np.polyfit)
def polyfit(
    x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None, cov: bool | str = False
) -> Any:
    order = int(deg) + 1
    x, y = as_array(x) + 0.0, as_array(y) + 0.0
    if deg < 0:
        raise ValueError("expected deg >= 0")
    if x.ndim != 1 or not x.size:
        raise TypeError(f"x must be a vector that is not empty, not of shape {x.shape}")
    if y.ndim not in (1, 2) or y.shape[0] != x.shape[0]:
        raise TypeError(f"y must have 1 or 2 dimensions and the length of x, {x.shape[0]}, not the shape {y.shape}")
    powers, target = np.vander(x, order), y
    if w is not None:
        w = as_array(w) + 0.0
        if w.shape != x.shape:
            raise TypeError(f"w must have the shape of x, {x.shape}, not {w.shape}")
        powers = powers * w[:, np.newaxis]
        target = target * (w[:, np.newaxis] if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(powers * powers, axis=0))
    rcond = len(x) * np.finfo(x.dtype).eps if rcond is None else rcond
    c, residuals, rank, singular_values = np.linalg.lstsq(powers / scale, target, rcond)
    c = (c.T / scale).T
    if full:
        return c, residuals, rank, singular_values, rcond
    if rank != order:
        warnings.warn("Polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=2)
    return (c, _covariance(powers / scale, scale, residuals, cov, y.ndim)) if cov else c


def _covariance(powers: Any, scale: Any, residuals: Any, cov: bool | str, rank: int) -> Any:
    """How sure the coefficients are: the inverse of the normal matrix, times the mean square of what is left."""
    base = np.linalg.inv(np.dot(powers.T, powers))
    base = base / np.outer(scale, scale)
    if cov == "unscaled":
        factor: Any = 1
    else:
        n, order = powers.shape
        if n <= order:
            raise ValueError("the number of data points must exceed order to scale the covariance matrix")
        factor = residuals / (n - order)
    return base * factor if rank == 1 else base[:, :, np.newaxis] * factor


def _root_slopes(node: Any) -> Any:
    """By the implicit function theorem: dr/dp_k = -r**(n - k) / p'(r); infinite where the root is not simple."""
    p, r = node.operands[0].value, node.value
    powers, slope = np.vander(r, p.shape[0]), np.polyval(np.polyder(p), r)[:, np.newaxis]
    return np.where(powers == 0, 0, -powers / slope)


roots_rule = custom(
    "roots",
    np.roots,
    needs=("ay",),
    **by_products(
        lambda times, ct, node: np.sum(times(ct[:, np.newaxis], conjugated(_root_slopes(node))), 0),
        lambda times, t, node: np.sum(times(_root_slopes(node), t), 1),
    ),
)


@implements(np.roots)
def roots(p: Any) -> Any:
    p = np.atleast_1d(p)
    if p.ndim != 1:
        raise ValueError(f"roots needs the coefficients in a vector, not an array of shape {p.shape}")
    deciding(p, "np.roots")
    return roots_rule(p)


# -- products of arrays --------------------------------------------------------------------------------------------
@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    rank = max(a.ndim, b.ndim)
    shapes = [(1,) * (rank - x.ndim) + x.shape for x in (a, b)]
    wide = np.reshape(a, tuple(k for n in shapes[0] for k in (n, 1)))
    product = wide * np.reshape(b, tuple(k for n in shapes[1] for k in (1, n)))
    return np.reshape(product, tuple(n * m for n, m in zip(*shapes, strict=True)))


def _components(x: Any) -> list[Any]:
    return [x[..., i] if i < x.shape[-1] else None for i in range(3)]


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = as_array(a), as_array(b)
    a, b = (
        np.moveaxis(x, normalize_axis_index(i, x.ndim, name), -1)
        for x, i, name in ((a, axisa, "axisa"), (b, axisb, "axisb"))
    )
    sizes = a.shape[-1], b.shape[-1]
    if not set(sizes) <= {2, 3}:
        raise ValueError(f"incompatible dimensions for cross product\n(dimension must be 2 or 3), not {sizes}")
    if 2 in sizes:
        text = "Arrays of 2-dimensional vectors are deprecated. Use arrays of 3-dimensional vectors instead."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
    (a0, a1, a2), (b0, b1, b2) = _components(a), _components(b)
    last = a0 * b1 - a1 * b0
    if sizes == (2, 2):
        return last
    first = a1 * b2 if a2 is None else -(a2 * b1) if b2 is None else a1 * b2 - a2 * b1
    second = -(a0 * b2) if a2 is None else a2 * b0 if b2 is None else a2 * b0 - a0 * b2
    result = np.stack([first, second, last], -1)
    return np.moveaxis(result, -1, normalize_axis_index(axisc, result.ndim, "axisc"))
