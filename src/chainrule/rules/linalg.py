"""Linear algebra with one result: inverses, solutions, determinants, norms, and products of several matrices.

Where NumPy reads one triangle of a Hermitian matrix, so does the derivative: it is zero on the other one.

Sources: M. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation (2008);
G. Golub and V. Pereyra, The differentiation of pseudo-inverses (1973); I. Murray, Differentiation of the Cholesky
decomposition (2016).
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from math import inf, prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..errors import DegenerateSpectrumWarning
from ..graph import CLOSED
from .contractions import adjoint
from .linear import as_array, conjugated, of_one, plain, raised, stored
from .reductions import reduction
from .registry import custom, functions, implements, nondifferentiable

nondifferentiable(np.linalg.matrix_rank)


# -- what is shared ----------------------------------------------------------------------------------------------
def real_dtype(x: Any) -> Any:
    """The dtype of the real part."""
    return np.zeros(0, x.dtype).real.dtype


def negligible(s: Any) -> Any:
    """Per matrix, below what differences of singular values or eigenvalues are rounding errors."""
    size = np.max(np.abs(plain(s)), axis=-1, keepdims=True, initial=0)
    return s.shape[-1] * np.finfo(s.dtype).eps * size


def warn_of_deficient_rank(what: str) -> None:
    """Where the rank changes nearby, solutions jump; among matrices of one rank they have a derivative."""
    warnings.warn(
        f"{what} a matrix of deficient rank: the derivative is that of changes which leave the rank as it is",
        DegenerateSpectrumWarning,
        stacklevel=2,
    )


def half(x: Any, uplo: str = "L") -> Any:
    """One triangle, with half of the diagonal."""
    n = x.shape[-1]
    weights = np.tril(np.ones((n, n), real_dtype(x))) - np.eye(n, dtype=real_dtype(x)) / 2
    return x * (weights if uplo == "L" else weights.T)


def from_triangle(x: Any, uplo: str = "L") -> Any:
    """The Hermitian matrix of which NumPy read one triangle."""
    read = half(x, uplo)
    return read + adjoint(read)


def onto_triangle(x: Any, uplo: str = "L") -> Any:
    """The adjoint of `from_triangle`."""
    return half(x + adjoint(x), uplo)


def _outer(x: Any, y: Any) -> Any:
    return np.expand_dims(x, -1) * np.expand_dims(conjugated(y), -2)


def _matrices(x: Any) -> Any:
    """One number per matrix, ready to be multiplied with it."""
    return np.expand_dims(x, (-2, -1))


# -- inverse and solution ----------------------------------------------------------------------------------------
def _inv_pull(ct: Any, node: Any) -> Any:
    y = adjoint(node.value)
    return -(y @ ct @ y)


inv_rule = custom(
    "inv",
    np.linalg.inv,
    needs=("y",),
    pulls=(_inv_pull,),
    push=lambda node, tangents: -(node.value @ tangents[0] @ node.value),
    source="Giles 2008, 2.2.3",
    also=[np.linalg.inv],
)


def _solved(a: Any, b: Any, vector: bool) -> Any:
    """Solve for stacks of vectors too: NumPy takes those for matrices."""
    return np.squeeze(np.linalg.solve(a, np.expand_dims(b, -1)), -1) if vector else np.linalg.solve(a, b)


def _solve_pull(ct: Any, node: Any) -> list[Any]:
    a, b = node.operands
    vector = len(b.shape) == 1
    ct_b = _solved(adjoint(a.value), ct, vector)
    if a.cotangent is CLOSED:
        return [None, ct_b]
    return [-(_outer(ct_b, node.value) if vector else ct_b @ adjoint(node.value)), ct_b]


def _solve_push(node: Any, tangents: Sequence[Any]) -> Any:
    a, b = node.operands
    change = 0 if tangents[1] is None else tangents[1]
    if tangents[0] is not None:
        # A vector on the right of a stack of matrices is a column of each.
        moved = tangents[0] @ (node.value if len(b.shape) > 1 else np.expand_dims(node.value, -1))
        change = change - (moved if len(b.shape) > 1 else np.squeeze(moved, -1))
    return _solved(a.value, change, len(b.shape) == 1)


solve_rule = custom(
    "solve",
    np.linalg.solve,
    needs=("ay", "a"),
    pull_all=_solve_pull,
    push=_solve_push,
    source="Giles 2008, 2.3.1",
)


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    return solve_rule(as_array(a), as_array(b))


# -- determinant -------------------------------------------------------------------------------------------------
def _small_adjugate(s: Any) -> tuple[Any, Any]:
    """Determinant and adjugate of a small matrix as polynomials of its elements (Faddeev and LeVerrier)."""
    n = s.shape[-1]
    identity = np.eye(n, dtype=s.dtype)
    power, coefficient = np.broadcast_to(identity, s.shape), 1.0
    before = power
    for k in range(1, n + 1):
        before, product = power, s @ power
        coefficient = np.trace(product, axis1=-2, axis2=-1) / -k
        power = product + _matrices(coefficient) * identity
    return (-1.0) ** n * coefficient, (-1.0) ** (n - 1) * before


def _null_directions(a: Any) -> tuple[Any, Any]:
    """Singular vectors, left (times a scale) and right, for singular values that are too small to divide by."""
    a = plain(a)
    if not a.size or not np.isfinite(a).all():
        return np.zeros((*a.shape[:-1], 0), a.dtype), np.zeros((*a.shape[:-1], 0), a.dtype)
    u, s, vh = np.linalg.svd(a)
    small = s <= np.sqrt(np.finfo(s.dtype).eps) * s[..., :1]
    most = a.shape[-1] - int(np.max(np.sum(small, -1), initial=0))
    scale = np.where(small, np.where(s[..., :1] == 0, 1, s[..., :1]), 0)[..., None, most:]
    return u[..., most:] * scale, adjoint(vh)[..., most:]


def adjugate(a: Any) -> Any:
    """The transposed cofactors, exact for singular matrices too, and differentiable to any order.

    With `u` and `v` spanning what `a` maps to nothing, `b = a + u v*` is regular, and
    `det a = det b det(1 - v* b⁻¹ u)`, where the second determinant is of a small matrix: nothing is divided by zero.
    """
    u, v = _null_directions(a)
    b = a + u @ adjoint(v) if u.shape[-1] else a
    inverse, det_b = np.linalg.inv(b), np.linalg.det(b)
    if not u.shape[-1]:
        return _matrices(det_b) * inverse
    right, left = inverse @ u, adjoint(v) @ inverse
    det_s, adjugate_s = _small_adjugate(np.eye(u.shape[-1], dtype=a.dtype) - left @ u)
    return _matrices(det_b) * (_matrices(det_s) * inverse + right @ adjugate_s @ left)


det_rule = custom(
    "det",
    np.linalg.det,
    needs=("a",),
    pulls=(lambda ct, node: _matrices(ct) * adjoint(adjugate(node.operands[0].value)),),
    push=lambda node, tangents: np.trace(adjugate(node.operands[0].value) @ tangents[0], axis1=-2, axis2=-1),
    source="Jacobi's formula",
    also=[np.linalg.det],
)


# -- Cholesky ----------------------------------------------------------------------------------------------------
def _lower(x: Any, node: Any) -> Any:
    """Between the factor as NumPy returns it and the lower one."""
    return adjoint(x) if node.params[1].get("upper") else x


def _cholesky_pull(ct: Any, node: Any) -> Any:
    factor, ct = adjoint(_lower(node.value, node)), _lower(ct, node)
    solved = np.linalg.solve(factor, half(factor @ ct))
    return _lower(onto_triangle(adjoint(np.linalg.solve(factor, adjoint(solved)))), node)


def _cholesky_push(node: Any, tangents: Sequence[Any]) -> Any:
    factor = _lower(node.value, node)
    solved = np.linalg.solve(factor, from_triangle(_lower(tangents[0], node)))
    return _lower(factor @ half(adjoint(np.linalg.solve(factor, adjoint(solved)))), node)


cholesky_rule = custom(
    "cholesky",
    np.linalg.cholesky,
    needs=("y",),
    pulls=(_cholesky_pull,),
    push=_cholesky_push,
    source="Murray 2016, (8) and (10)",
    also=[np.linalg.cholesky],
)


# -- pseudo-inverse ----------------------------------------------------------------------------------------------
def _pinv_operand(node: Any) -> Any:
    a = node.operands[0].value
    a = from_triangle(a) if node.params[1].get("hermitian") else a
    rank = np.real(np.trace(plain(a) @ plain(node.value), axis1=-2, axis2=-1))
    if np.any(rank < min(a.shape[-2:]) - 0.5):
        warn_of_deficient_rank("pinv of")
    return a


def _pinv_pull(ct: Any, node: Any) -> Any:
    a, p = _pinv_operand(node), node.value
    ph, g = adjoint(p), adjoint(ct)
    change = g @ p @ ph
    before = ph @ p @ g
    total = change - a @ (p @ change) + before - (before @ p) @ a - ph @ ct @ ph
    return onto_triangle(total) if node.params[1].get("hermitian") else total


def _pinv_push(node: Any, tangents: Sequence[Any]) -> Any:
    a, p = _pinv_operand(node), node.value
    t = from_triangle(tangents[0]) if node.params[1].get("hermitian") else tangents[0]
    th, ph = adjoint(t), adjoint(p)
    change = p @ ph @ th
    before = th @ ph @ p
    return change - (change @ a) @ p + before - p @ (a @ before) - p @ t @ p


pinv_rule = custom(
    "pinv",
    np.linalg.pinv,
    needs=("ay",),
    pulls=(_pinv_pull,),
    push=_pinv_push,
    source="Golub and Pereyra 1973, (4.12): of matrices of one rank",
    also=[np.linalg.pinv],
)


# -- norms -------------------------------------------------------------------------------------------------------
def _direction(x: Any) -> Any:
    """x / |x|, and 0 at 0."""
    return _over(x, np.abs(x)) if x.dtype.kind == "c" else np.sign(x)


def _over(x: Any, y: Any) -> Any:
    """x / y, of an x and its norm: 0 where both are 0, and where both are infinite the direction of x, as in hypot."""
    ratio = np.where(y == 0, 0, x / np.where(y == 0, 1, y))
    far = np.isinf(plain(x)) & np.isinf(plain(y))
    if not np.any(far):
        return ratio
    parts = [np.where(np.isinf(part), np.sign(part), 0) for part in (np.real(plain(x)), np.imag(plain(x)))]
    direction = parts[0] + 1j * parts[1] if x.dtype.kind == "c" else parts[0]
    return np.where(far, direction / np.where(far, np.abs(direction), 1), ratio)


def _share(best: Any, axis: Any) -> Any:
    """Who ties for the extreme shares its gradient."""
    best = plain(best)
    return best / np.sum(best, axis=axis, keepdims=True)


def _vector_norm_gradient(x: Any, y: Any, ord: Any, axis: int) -> Any:
    size = np.abs(x)
    if ord == 0:
        return np.zeros(x.shape, x.dtype)
    if ord == 1:
        return _direction(x)
    if abs(ord) == inf:
        return _direction(x) * _share(plain(size) == plain(y), axis).astype(real_dtype(x))
    ratio = np.where(size == 0, 1, _over(size, y))
    # A norm of negative order is 0 as soon as one element is, and the others do not matter then.
    return np.where(y == 0, 0, _direction(x) * ratio ** (ord - 1))


def _matrix_norm_gradient(x: Any, ord: Any) -> Any:
    """Of the matrices on the last two axes."""
    if ord != "nuc" and abs(ord) in (1, inf):
        sums = np.sum(np.abs(plain(x)), axis=-2 if abs(ord) == 1 else -1, keepdims=True)
        extreme = np.max if ord > 0 else np.min
        best = sums == extreme(sums, axis=(-2, -1), keepdims=True)
        return _direction(x) * _share(best, (-2, -1)).astype(real_dtype(x))
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    size = plain(s)
    weights = size > negligible(s)  # of a singular value 0 the smallest subgradient
    if ord != "nuc":
        extreme = size[..., :1] if ord > 0 else size[..., -1:]
        weights = weights * _share(np.abs(size - extreme) <= negligible(s), -1)
    return (u * np.expand_dims(weights.astype(s.dtype), -2)) @ vh


def _norm_gradient(node: Any) -> Any:
    x, options = node.operands[0].value, node.params[1]
    ord, axis = options.get("ord"), options.get("axis")
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    y = raised(node.value, node)
    if ord in (None, "fro", "f") or (ord == 2 and len(axes) == 1):
        return _over(x, y)
    if len(axes) == 1:
        return _vector_norm_gradient(x, y, ord, axes[0])
    return np.moveaxis(_matrix_norm_gradient(np.moveaxis(x, axes, (-2, -1)), ord), (-2, -1), axes)


norm_rule = reduction("norm", np.linalg.norm, _norm_gradient, needs="ay")


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    axis = tuple(axis) if isinstance(axis, list) else axis
    given = {"ord": ord, "axis": axis, "keepdims": keepdims or None}
    return norm_rule(x, **{name: value for name, value in given.items() if value is not None})


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    shape = x.shape
    axes = normalize_axis_tuple(range(len(shape)) if axis is None else axis, len(shape))
    if axis is None:
        x = np.ravel(x)
    else:
        x = np.moveaxis(x, axes, range(len(axes)))
        x = np.reshape(x, (prod(x.shape[: len(axes)]), *x.shape[len(axes) :]))
    y = norm(x, ord, 0)
    return np.reshape(y, [1 if i in axes else n for i, n in enumerate(shape)]) if keepdims else y


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)


# -- products ----------------------------------------------------------------------------------------------------
@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: Any) -> Any:
    n = operator.index(n)
    if n == 0:
        return np.zeros_like(a) + np.linalg.matrix_power(np.zeros(a.shape[-2:], a.dtype), 0)
    if n < 0:
        a, n = np.linalg.inv(a), -n
    if n == 3:  # in NumPy's order
        return (a @ a) @ a
    power = result = None
    while n > 0:
        power = a if power is None else power @ power
        n, bit = divmod(n, 2)
        if bit:
            result = power if result is None else result @ power
    return result


def _cheapest_split(shapes: Sequence[tuple[int, int]]) -> Any:
    """Where to split the product of matrices i to j, by Cormen's dynamic programming."""
    sizes = [rows for rows, _ in shapes] + [shapes[-1][1]]
    n = len(shapes)
    cost = {(i, i): 0.0 for i in range(n)}
    split = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    return split


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    factors = [as_array(array) for array in arrays]
    if len(factors) < 2:
        raise ValueError("Expecting at least two arrays.")
    if len(factors) == 2:
        return np.dot(factors[0], factors[1], out=out)
    first, last = factors[0].ndim, factors[-1].ndim
    if first == 1:
        factors[0] = np.reshape(factors[0], (1, -1))
    if last == 1:
        factors[-1] = np.reshape(factors[-1], (-1, 1))
    if any(factor.ndim != 2 for factor in factors):
        raise np.linalg.LinAlgError("multi_dot needs matrices; only the first and the last may be vectors")
    split = _cheapest_split([factor.shape for factor in factors])
    if len(factors) == 3:  # of two orders at the same price NumPy takes the other one here
        (a, b), (c, d) = factors[0].shape, factors[2].shape
        split[0, 2] = 1 if a * c * (b + d) < b * d * (a + c) else 0

    def product(i: int, j: int) -> Any:
        return factors[i] if i == j else np.dot(product(i, split[i, j]), product(split[i, j] + 1, j))

    result = product(0, len(factors) - 1)
    shape = ([] if first == 1 else [-1]) + ([] if last == 1 else [result.shape[1]])
    return stored(np.reshape(result, shape) if first == 1 or last == 1 else result, out)


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = as_array(a), as_array(b)
    if axes is not None:
        order = [axis for axis in range(a.ndim) if axis not in axes] + list(axes)
        a = np.transpose(a, order)
    shape = a.shape[-(a.ndim - b.ndim) :]
    n = prod(shape)
    if a.size != n * n:
        raise np.linalg.LinAlgError(f"tensorsolve of shapes {a.shape} and {b.shape}: the system is not square")
    return np.reshape(np.linalg.solve(np.reshape(a, (n, n)), np.ravel(b)), shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    shape = a.shape
    return np.reshape(np.linalg.inv(np.reshape(a, (prod(shape[ind:]), -1))), shape[ind:] + shape[:ind])


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    value = np.linalg.cond(of_one(x, "np.linalg.cond"), p)
    singular = ~np.isfinite(value)
    if np.any(singular):  # infinite there: a constant, as far as can be seen
        x = np.where(_matrices(singular), np.eye(*x.shape[-2:], dtype=x.dtype), x)
    if p is None or p in (2, -2):
        s = np.linalg.svd(x, compute_uv=False)
        y = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    else:
        wide = x.astype(complex if x.dtype.kind == "c" else float)  # NumPy inverts in double precision here
        y = norm(x, p, (-2, -1)) * norm(np.linalg.inv(wide), p, (-2, -1))
    y = np.where(singular, value, y) if np.any(singular) else y
    return y if y.dtype == value.dtype else y.astype(value.dtype)  # NumPy 2.0: complex, of complex matrices


# -- other names of functions of np ------------------------------------------------------------------------------
@implements(np.linalg.trace)
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.trace(x, offset, -2, -1, dtype)


@implements(np.linalg.diagonal)
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, -2, -1)


@implements(np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@implements(np.linalg.outer)
def outer(x1: Any, x2: Any, /) -> Any:
    x1, x2 = as_array(x1), as_array(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"Input arrays must be one-dimensional, but they are x1.ndim={x1.ndim} and x2.ndim={x2.ndim}.")
    return np.outer(x1, x2)


@implements(np.linalg.matmul)
def matmul(x1: Any, x2: Any, /) -> Any:
    return np.matmul(x1, x2)


@implements(np.linalg.tensordot)
def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return np.tensordot(x1, x2, axes)


implements(np.linalg.vecdot)(functions[np.vecdot])


@implements(np.linalg.cross)
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    a, b = (np.moveaxis(as_array(x), axis, -1) for x in (x1, x2))
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(
            "Both input arrays must be (arrays of) 3-dimensional vectors, "
            f"but they are {a.shape[-1]} and {b.shape[-1]} dimensional instead."
        )
    (a0, a1, a2), (b0, b1, b2) = (tuple(x[..., i] for i in range(3)) for x in (a, b))
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis)
