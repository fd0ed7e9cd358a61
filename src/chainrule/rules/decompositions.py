"""Decompositions: functions with several results, and the singular values and eigenvalues that come alone.

A function with several results is computed once, by one node whose value is all of them in one array, side by side
(`several`); the results are parts of it.  So one pull sees the cotangents of all results together.

Vectors that belong to equal singular values or eigenvalues are NumPy's choice out of a whole subspace.  What depends on
the values, or on the subspace as a whole, has a derivative all the same: terms that would divide by the difference
of equal values belong to that choice, and are left out.  If a cotangent says that the choice matters, or that a matrix
function `v f(w) v*` was taken, of which it tells the derivative in the simplest case only, `DegenerateSpectrumWarning`
is given.  (Forward mode does not know what will be done with vectors: it asks the pull afterwards; see `Rule.asks`.)

Sources: M. Giles, An extended collection of matrix derivative results (2008); J. Townsend, Differentiating the singular
value decomposition (2016); S. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions (2010).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..errors import DegenerateSpectrumWarning, UnsupportedFunctionError
from .contractions import adjoint
from .linalg import adjugate, from_triangle, half, negligible, onto_triangle, real_dtype, warn_of_deficient_rank
from .linear import anywhere, as_array, conjugated, everything, plain, zero_wins
from .registry import custom, implements, linear

Function = Callable[..., Any]
Shapes = Sequence[tuple[int, ...]]


# -- several results ---------------------------------------------------------------------------------------------
def _part(x: Any, start: int, shape: tuple[int, ...], real: bool) -> Any:
    """One of the arrays that lie side by side along the last axis."""
    part = np.reshape(x[..., start : start + prod(shape)], (*x.shape[:-1], *shape))
    return np.array(part.real if real else part)  # its own memory: results may be written to


def _part_transpose(ct: Any, x: Any, start: int, shape: tuple[int, ...], real: bool) -> Any:
    """The other results get -0.0, which changes nothing that is added to it, -0.0 included: see `_used`."""
    batch, size = x.shape[:-1], prod(shape)
    before, after = (np.full((*batch, n), -0.0, ct.dtype) for n in (start, x.shape[-1] - start - size))
    return np.concatenate([before, np.reshape(ct, (*batch, size)) + 0.0, after], -1)


def _used(ct: Any) -> bool:
    """Whether anything was computed from a result: if nothing was, its cotangent is -0.0 still."""
    ct = np.real(everything(ct))
    return bool(np.any((ct != 0) | ~np.signbit(ct)))


part_rule = linear(_part, _part_transpose, name="part")


def side_by_side(parts: Sequence[Any], shapes: Shapes) -> Any:
    """Put arrays, each a stack of its shape, into one."""
    flat = [np.reshape(p, (*p.shape[: p.ndim - len(s)], prod(s))) for p, s in zip(parts, shapes, strict=True)]
    return np.concatenate(flat, -1)


def parted(x: Any, shapes: Shapes, real: Sequence[bool]) -> list[Any]:
    """Take them apart again; those that are `real` do not become complex beside others."""
    parts, start = [], 0
    for shape, is_real in zip(shapes, real, strict=True):
        parts.append(part_rule(x, start=start, shape=shape, real=is_real and x.dtype.kind == "c"))
        start += prod(shape)
    return parts


@lru_cache
def named_tuple(function: Function) -> Any:
    """What makes the tuple that a function returns: of NumPy's, a class without a public name."""
    kind = type(function(np.ones((1, 1))))
    return (lambda *parts: parts) if kind is tuple else kind


def several(
    name: str,
    function: Function,
    shapes_of: Function,
    pull: Function,
    push: Function,
    *,
    real: Sequence[bool],
    needs: str = "y",
    asks: Function | None = None,
    source: str = "",
) -> Function:
    """Register a function of one array with several results; returns what calls it and gives NumPy's named tuple.

    Parameters
    ----------
    shapes_of : `(shape of the operand, **options)`: the shape of each result, for one matrix
    pull : `(cotangents of the results, results, node)`: the operand's cotangent
    push : `(tangent of the operand, results, node)`: the tangents of the results
    real : which results are real also for complex matrices
    asks : `(tangent of the operand, results, node)`: see `Rule.asks`
    """

    def shapes_at(node: Any) -> Shapes:
        shapes: Shapes = shapes_of(node.operands[0].shape, **node.params[1])
        return shapes

    def value(a: Any, **options: Any) -> Any:
        return side_by_side(function(a, **options), shapes_of(a.shape, **options))

    def pull_parts(ct: Any, node: Any) -> Any:
        shapes = shapes_at(node)
        return pull(parted(ct, shapes, real), parted(node.value, shapes, real), node)

    def push_parts(node: Any, tangents: Sequence[Any]) -> Any:
        shapes = shapes_at(node)
        return side_by_side(push(tangents[0], parted(node.value, shapes, real), node), shapes)

    def asks_of_parts(node: Any, tangents: Sequence[Any]) -> bool:
        return asks is not None and asks(tangents[0], parted(node.value, shapes_at(node), real), node)

    rule = custom(
        name, value, needs=(needs,), pulls=(pull_parts,), push=push_parts, asks=asks and asks_of_parts, source=source
    )

    def apply(a: Any, **options: Any) -> Any:
        return named_tuple(function)(*parted(rule(a, **options), shapes_of(a.shape, **options), real))

    return apply


# -- equal values ------------------------------------------------------------------------------------------------
def _warn_where(matters: Any, what: str, *beside: Any) -> None:
    """Warn if what ought to vanish does not, by far more than rounding errors of what it was computed from."""
    matters = np.abs(everything(matters))
    scale = max(np.max(np.abs(everything(x)), initial=0) for x in beside)
    if np.max(matters, initial=0) > np.sqrt(np.finfo(matters.dtype).eps) * scale:
        _warn(what)


def _warn(what: str) -> None:
    warnings.warn(
        f"the derivative depends on {what}, which the matrix does not determine; "
        "what the matrix determines is returned",
        DegenerateSpectrumWarning,
        stacklevel=2,
    )


def _tied(values: Any) -> Any:
    """Which values are equal to which, up to rounding errors."""
    values = plain(values)
    distance = np.abs(np.expand_dims(values, -1) - np.expand_dims(values, -2))
    # A few times their own rounding errors: the matrix was computed, too.
    return distance <= 16 * np.expand_dims(negligible(np.abs(values)), -1)


def _splits(tied: Any, inner: Any) -> bool:
    """Whether a change, in the basis of the vectors, is any but a multiple of the identity within equal values."""
    if not np.any(tied & ~np.eye(tied.shape[-1], dtype=bool)):
        return False
    inner = everything(inner)
    rest = np.where(tied, inner, 0) - _on_diagonal(_averaged(_diagonal(inner), tied))
    size = np.max(np.abs(inner), initial=0)
    return bool(np.max(np.abs(rest), initial=0) > np.sqrt(np.finfo(inner.dtype).eps) * size)


def _averaged(x: Any, tied: Any) -> Any:
    """What belongs to equal values, shared evenly: so no choice of vectors matters."""
    share = (tied / np.sum(tied, -1, keepdims=True)).astype(x.dtype)
    return np.squeeze(share @ np.expand_dims(x, -1), -1)


def _checked_average(x: Any, tied: Any, what: str) -> Any:
    """The average over equal values, with a warning, unless x is even there: then x, whose own derivative is not."""
    average = _averaged(x, tied)
    apart = np.abs(everything(x - average))
    if np.max(apart, initial=0) <= np.sqrt(np.finfo(apart.dtype).eps) * np.max(np.abs(everything(x)), initial=0):
        return x
    _warn(what)
    return average


def _within_ties(ct: Any, of_vectors: Any, tied: Any, used: bool, what: tuple[str, str]) -> Any:
    """The cotangent of changes of the matrix inside the subspaces of equal values, in the basis of the vectors.

    The values' cotangent `ct` is its diagonal.  The rest no cotangent tells, but it must not depend on the choice of
    vectors.  That of `sum(f(w))` is a multiple of the identity.  That of `v f(w) v*` is a multiple of the Hermitian
    part of v* times the vectors' cotangent, `of_vectors` (whose multiple, since f is not known, the diagonals tell);
    that of a projector is 0 times it.  The simplest of these, and of sums of two, that explains the diagonal is taken.

    Parameters
    ----------
    used : whether anything was computed from the values
    what : what to name if it depends on vectors, and if on values
    """
    diagonal = _on_diagonal(ct)
    inside = tied & ~np.eye(tied.shape[-1], dtype=bool)
    if not inside.any():
        return diagonal
    precision = np.sqrt(np.finfo(real_dtype(ct)).eps)

    def negligible_in_ties(x: Any, scale: Any) -> Any:
        """Per value: whether x vanishes for all that are equal to it."""
        large = np.abs(plain(x)) > precision * np.max(np.abs(plain(scale)), initial=0)
        return ~np.any(tied & np.expand_dims(large, -2), -1)

    def quotient(x: Any, y: Any, known: Any) -> Any:
        return np.where(known, _averaged(x * y, tied) / np.where(known, _averaged(y * y, tied), 1), 0)

    size = np.real(_diagonal(of_vectors))
    mean, mean_size = _averaged(ct, tied), _averaged(size, tied)
    even, flat = negligible_in_ties(ct - mean, ct), negligible_in_ties(size - mean_size, of_vectors)
    aligned = flat & negligible_in_ties(np.max(np.abs(plain(of_vectors)) * inside, -1), of_vectors)
    factor = quotient(ct, size, ~negligible_in_ties(size, of_vectors))
    explained = negligible_in_ties(ct - factor * size, ct)
    slope = quotient(ct - mean, size - mean_size, ~flat)
    explained_with_mean = ~flat & negligible_in_ties(ct - mean - slope * (size - mean_size), ct)
    factor = np.where(explained, factor, np.where(explained_with_mean, slope, 0))
    if anywhere(~even & ~explained & ~explained_with_mean):
        _warn(what[1])
    turned = ~negligible_in_ties(factor * np.max(np.abs(plain(of_vectors)), -1), ct)
    if anywhere(~aligned & (turned | (flat & used))):
        _warn(what[0])
    remainder = np.where(explained, 0, np.where(even, ct, mean) - factor * mean_size)
    return _on_diagonal(remainder) + np.expand_dims(factor, -1) * np.where(tied, of_vectors, 0)


def _reciprocal(x: Any, zero: Any) -> Any:
    """1/x, and 0 where `zero`."""
    return np.where(zero, 0, 1 / np.where(zero, 1, x))


def _differences(values: Any, tied: Any) -> Any:
    """1 / (value j - value i), and 0 for equal ones."""
    return _reciprocal(np.expand_dims(values, -2) - np.expand_dims(values, -1), tied)


def _recorded(*several: Any) -> bool:
    """Whether one of these is a Tensor: a derivative is being differentiated."""
    return any(plain(x) is not x for x in several)


def _beside(ct: Any, values: Any) -> Any:
    """Cotangents of values that are differentiated in turn may depend on the values: `_used` says so of them then."""
    return ct + 0 * values if _recorded(ct) and _tied(values).sum() > values.size else ct


def _on_diagonal(x: Any) -> Any:
    return np.expand_dims(x, -1) * np.eye(x.shape[-1], dtype=real_dtype(x))


def _diagonal(x: Any) -> Any:
    return np.diagonal(x, axis1=-2, axis2=-1)


def _skew(x: Any) -> Any:
    return (x - adjoint(x)) / 2


# -- more columns than the matrix determines ---------------------------------------------------------------------
def _folded(q: Any, ct: Any, k: int) -> tuple[Any, Any]:
    """The first k columns, and their cotangent when the others are only known to be orthogonal to them."""
    if q.shape[-1] == k:
        return q, ct
    q1, q2, ct1, ct2 = q[..., :k], q[..., k:], ct[..., :k], ct[..., k:]
    _warn_where(_skew(adjoint(q2) @ ct2), "the choice of columns beyond the range of the matrix", ct2)
    return q1, ct1 - q2 @ (adjoint(ct2) @ q1)


def _unfolded(q: Any, t: Any) -> Any:
    """The tangent of all columns from that of the first ones: they stay orthogonal."""
    k = t.shape[-1]
    return t if q.shape[-1] == k else np.concatenate([t, -q[..., :k] @ (adjoint(t) @ q[..., k:])], -1)


# -- eigenvalues of Hermitian matrices ---------------------------------------------------------------------------
EIGENVECTORS = "the choice of eigenvectors of equal eigenvalues, or on their phases"
SPLIT_EIGENVALUES = "how a direction splits equal eigenvalues, at second order"
EIGENVALUES = "which of several equal eigenvalues is which"


def _uplo(node: Any) -> Any:
    return node.params[1]["UPLO"]


def _eigh_pull(cts: Any, results: Any, node: Any) -> Any:
    (ct_w, ct_v), (w, v) = cts, results
    tied = _tied(w)
    inner = adjoint(v) @ ct_v
    _warn_where(np.where(tied, plain(_skew(inner)), 0), EIGENVECTORS, ct_v)
    ties = _within_ties(ct_w, (inner + adjoint(inner)) / 2, tied, _used(ct_w), (EIGENVECTORS, EIGENVALUES))
    return onto_triangle(v @ (ties + _differences(w, tied) * inner) @ adjoint(v), _uplo(node))


def _eigh_push(t: Any, results: Any, node: Any) -> Any:
    w, v = results
    tied = _tied(w)
    inner = adjoint(v) @ from_triangle(t, _uplo(node)) @ v
    if _recorded(inner) and _splits(tied, inner):
        _warn(SPLIT_EIGENVALUES)
    return _averaged(np.real(_diagonal(inner)), tied), v @ (_differences(w, tied) * inner)


def _eigh_asks(t: Any, results: Any, node: Any) -> bool:
    w, v = results
    return v.dtype.kind == "c" or _splits(_tied(w), adjoint(v) @ from_triangle(t, _uplo(node)) @ v)


_eigh = several(
    "eigh",
    np.linalg.eigh,
    lambda shape, **options: ((shape[-1],), (shape[-1], shape[-1])),
    _eigh_pull,
    _eigh_push,
    real=(True, False),
    asks=_eigh_asks,
    source="Giles 2008, 3.1",
)


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    return _eigh(a, UPLO=UPLO.upper())


def _eigvalsh_pull(ct: Any, node: Any) -> Any:
    w, v = np.linalg.eigh(node.operands[0].value, _uplo(node))
    ct = _beside(_checked_average(ct, _tied(w), EIGENVALUES), w)
    return onto_triangle((v * np.expand_dims(ct, -2)) @ adjoint(v), _uplo(node))


def _eigvalsh_push(node: Any, tangents: Sequence[Any]) -> Any:
    if _recorded(node.operands[0].value, tangents[0]) and _eigvalsh_asks(node, tangents):
        _warn(SPLIT_EIGENVALUES)
    w, v = np.linalg.eigh(node.operands[0].value, _uplo(node))
    moved = from_triangle(tangents[0], _uplo(node)) @ v
    return _averaged(np.real(np.sum(conjugated(v) * moved, -2)), _tied(w))


def _eigvalsh_asks(node: Any, tangents: Sequence[Any]) -> bool:
    w, v = np.linalg.eigh(plain(node.operands[0].value), _uplo(node))
    return _splits(_tied(w), adjoint(v) @ from_triangle(plain(tangents[0]), _uplo(node)) @ v)


eigvalsh_rule = custom(
    "eigvalsh",
    np.linalg.eigvalsh,
    needs=("a",),
    pulls=(_eigvalsh_pull,),
    push=_eigvalsh_push,
    asks=_eigvalsh_asks,
    source="Giles 2008, 3.1",
)


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return eigvalsh_rule(a, UPLO=UPLO.upper())


# -- eigenvalues of any square matrices --------------------------------------------------------------------------
def _warn_if_defective(v: Any) -> None:
    """Without a basis of eigenvectors, what is done with them holds for the sum of all eigenvalues only."""
    size = np.linalg.svd(plain(v), compute_uv=False)
    if np.any(size[..., -1:] < 4 * np.sqrt(np.finfo(size.dtype).eps)):
        warnings.warn(
            "eigenvalues of a matrix without a basis of eigenvectors (a defective one) have no derivative; "
            "what is returned is right for their sum",
            DegenerateSpectrumWarning,
            stacklevel=2,
        )


def _eig_inner(ct_w: Any, ct_v: Any, w: Any, v: Any) -> Any:
    """The cotangent of v⁻¹ da v."""
    tied = _tied(w)
    _warn_if_defective(v)
    if np.any(tied & ~np.eye(tied.shape[-1], dtype=bool)) and _used(ct_w) and _used(ct_v):
        _warn(EIGENVECTORS)  # of v f(w) v⁻¹ the cotangents do not tell f' there
    inner = adjoint(v) @ ct_v
    if v.dtype.kind == "c":
        _warn_where(np.imag(plain(_diagonal(inner))), "the phases of eigenvectors", ct_v)
    inner = inner - (adjoint(v) @ v) * np.expand_dims(_diagonal(inner), -2)  # columns keep their length
    _warn_where(np.where(tied, plain(inner), 0) * (1 - np.eye(w.shape[-1])), EIGENVECTORS, ct_v)
    return _on_diagonal(_checked_average(ct_w, tied, EIGENVALUES)) + conjugated(_differences(w, tied)) * inner


def _eig_pull(cts: Any, results: Any, node: Any) -> Any:
    v = results[1]
    return np.linalg.solve(adjoint(v), _eig_inner(*cts, *results) @ adjoint(v))


def _eig_push(t: Any, results: Any, node: Any) -> Any:
    w, v = results
    tied = _tied(w)
    _warn_if_defective(v)
    inner = np.linalg.solve(v, t @ v)
    if _recorded(inner) and _splits(tied, inner):
        _warn(SPLIT_EIGENVALUES)
    moved = v @ (_differences(w, tied) * inner)
    lengths = np.sum(conjugated(v) * moved, -2, keepdims=True)
    return _averaged(_diagonal(inner), tied), moved - v * lengths


def _eig_asks(t: Any, results: Any, node: Any) -> bool:
    w, v = map(plain, results)
    return v.dtype.kind == "c" or _splits(_tied(w), np.linalg.solve(v, plain(t) @ v))


eig = implements(np.linalg.eig)(
    several(
        "eig",
        np.linalg.eig,
        lambda shape: ((shape[-1],), (shape[-1], shape[-1])),
        _eig_pull,
        _eig_push,
        real=(False, False),
        asks=_eig_asks,
        source="Giles 2008, 3.1; eigenvectors of length 1",
    )
)


def _matched(w: Any, values: Any) -> Any:
    """Permutation matrices: which of `values` is which of `w`; without vectors LAPACK may order them otherwise."""
    order = np.zeros((*w.shape, w.shape[-1]), real_dtype(w))
    for index in np.ndindex(w.shape[:-1]):
        free = list(range(w.shape[-1]))
        for i, value in enumerate(w[index]):
            j = min(free, key=lambda j, index=index, value=value: abs(values[index][j] - value))  # type: ignore[misc]
            free.remove(j)
            order[(*index, j, i)] = 1
    return order


def _eigvals_vectors(node: Any) -> tuple[Any, Any]:
    w, v = np.linalg.eig(node.operands[0].value)
    _warn_if_defective(v)
    order = _matched(plain(node.value), plain(w))
    return np.squeeze(np.expand_dims(w, -2) @ order, -2), v @ order


def _eigvals_pull(ct: Any, node: Any) -> Any:
    w, v = _eigvals_vectors(node)
    ct = _beside(_checked_average(ct, _tied(w), EIGENVALUES), w)
    return np.linalg.solve(adjoint(v), np.expand_dims(ct, -1) * adjoint(v))


def _eigvals_push(node: Any, tangents: Sequence[Any]) -> Any:
    w, v = _eigvals_vectors(node)
    if _recorded(node.operands[0].value, tangents[0]) and _eigvals_asks(node, tangents):
        _warn(SPLIT_EIGENVALUES)
    return _averaged(_diagonal(np.linalg.solve(v, tangents[0] @ v)), _tied(w))


def _eigvals_asks(node: Any, tangents: Sequence[Any]) -> bool:
    w, v = map(plain, _eigvals_vectors(node))
    return _splits(_tied(w), np.linalg.solve(v, plain(tangents[0]) @ v))


eigvals_rule = custom(
    "eigvals",
    np.linalg.eigvals,
    needs=("ay",),
    pulls=(_eigvals_pull,),
    push=_eigvals_push,
    asks=_eigvals_asks,
    source="Giles 2008, 3.1",
    also=[np.linalg.eigvals],
)


# -- singular values ---------------------------------------------------------------------------------------------
SINGULAR_VECTORS = "the choice of singular vectors of equal singular values, or on their phases"
SINGULAR_SIGNS = "the signs of singular values that are 0"
SPLIT_SINGULAR_VALUES = "how a direction splits equal singular values, at second order"
SINGULAR_VALUES = "which of several equal singular values is which"


def _svd_shapes(shape: tuple[int, ...], full_matrices: bool = True) -> Shapes:
    m, n = shape[-2:]
    k = min(m, n)
    return ((m, m), (k,), (n, n)) if full_matrices else ((m, k), (k,), (k, n))


def _svd_factors(s: Any) -> tuple[Any, Any, Any, Any, Any]:
    """1/(s_j - s_i), 1/(s_i + s_j) and 1/s_j, without what is infinite; who is equal to whom, and who is zero.

    With the change u* da v = h + k, h Hermitian and k skew, vectors change by u (x + y) and v (x - y) where
    x = h / (s_j - s_i) and y = k / (s_i + s_j): only x is troubled by equal values, and u v* does not contain it.
    """
    tied, small = _tied(s), plain(s) <= negligible(s)
    sums = np.expand_dims(s, -1) + np.expand_dims(s, -2)
    both_small = np.expand_dims(small, -1) & np.expand_dims(small, -2)
    inverse = np.expand_dims(_reciprocal(s, small), -2)
    return _differences(s, tied), _reciprocal(sums, both_small), inverse, tied, small


def _svd_pull(cts: Any, results: Any, node: Any) -> Any:
    (ct_u, ct_s, ct_vh), (u, s, vh) = cts, results
    k = s.shape[-1]
    difference, total, inverse, tied, small = _svd_factors(s)
    u, ct_u = _folded(u, ct_u, k)
    v, ct_v = _folded(adjoint(vh), adjoint(ct_vh), k)
    of_u, of_v = adjoint(u) @ ct_u, adjoint(v) @ ct_v
    both, either = _skew(of_u + of_v), _skew(of_u - of_v)
    zeros = np.expand_dims(small, -1) & np.expand_dims(small, -2)
    _warn_where(np.where(tied, plain(both), 0), SINGULAR_VECTORS, cts[0], cts[2])
    _warn_where(np.where(zeros, plain(either), 0), SINGULAR_VECTORS, cts[0], cts[2])
    of_both = (of_u + of_v) / 2
    of_both = (of_both + adjoint(of_both)) / 2
    # Of u f(s) v* with an odd f, the vectors say which sign s has on the other side of 0.
    signed = u.shape[-2] == v.shape[-2] and np.max(np.sum(small, -1), initial=0) <= 1
    if not (signed and (_used(cts[0]) or _used(cts[2]))):
        _warn_where(np.where(small, plain(ct_s), 0), SINGULAR_SIGNS, ct_s)
    ties = _within_ties(ct_s, of_both, tied, _used(ct_s), (SINGULAR_VECTORS, SINGULAR_VALUES))
    inner = ties + difference * both + total * either
    result = u @ inner @ adjoint(v)
    for q, ct, of_q, left in ((u, ct_u, of_u, True), (v, ct_v, of_v, False)):
        if q.shape[-2] > k:
            outside = ct - q @ of_q
            _warn_where(np.where(np.expand_dims(small, -2), plain(outside), 0), SINGULAR_VECTORS, cts[0], cts[2])
            outside = outside * inverse
            result = result + (outside @ adjoint(v) if left else u @ adjoint(outside))
    return result


def _svd_push(t: Any, results: Any, node: Any) -> Any:
    all_u, s, vh = results
    k, all_v = s.shape[-1], adjoint(vh)
    u, v = all_u[..., :k], all_v[..., :k]
    difference, total, inverse, tied, _ = _svd_factors(s)
    inner = adjoint(u) @ t @ v
    if _recorded(inner) and _splits(tied, (inner + adjoint(inner)) / 2):
        _warn(SPLIT_SINGULAR_VALUES)
    x, y = difference * (inner + adjoint(inner)) / 2, total * _skew(inner)
    t_u, t_v = u @ (x + y), v @ (x - y)
    if u.shape[-2] > k:
        t_u = t_u + (t @ v - u @ inner) * inverse
    if v.shape[-2] > k:
        t_v = t_v + (adjoint(t) @ u - v @ adjoint(inner)) * inverse
    return _unfolded(all_u, t_u), _averaged(np.real(_diagonal(inner)), tied), adjoint(_unfolded(all_v, t_v))


def _splits_singular(s: Any, u: Any, t: Any, v: Any) -> bool:
    inner = adjoint(u) @ plain(t) @ v
    return _splits(_tied(s), (inner + adjoint(inner)) / 2)


def _svd_asks(t: Any, results: Any, node: Any) -> bool:
    u, s, vh = map(plain, results)
    k = s.shape[-1]
    beyond = max(u.shape[-1], vh.shape[-2]) > k + (u.dtype.kind != "c")  # of one real column only the sign is free
    small = bool(np.any(s <= negligible(s)))
    return beyond or small or u.dtype.kind == "c" or _splits_singular(s, u[..., :k], t, adjoint(vh)[..., :k])


_svd = several(
    "svd",
    np.linalg.svd,
    _svd_shapes,
    _svd_pull,
    _svd_push,
    real=(False, True, False),
    asks=_svd_asks,
    source="Townsend 2016",
)


def _without_small(x: Any, s: Any) -> Any:
    """A singular value has a kink at 0, as a norm has: 0 there."""
    return np.where(plain(s) <= negligible(s), 0, x)


def _svdvals_pull(ct: Any, node: Any) -> Any:
    u, s, vh = np.linalg.svd(node.operands[0].value, full_matrices=False)
    ct = _beside(_checked_average(_without_small(ct, s), _tied(s), SINGULAR_VALUES), s)
    return (u * np.expand_dims(ct, -2)) @ vh


def _svdvals_push(node: Any, tangents: Sequence[Any]) -> Any:
    if _recorded(node.operands[0].value, tangents[0]) and _svdvals_asks(node, tangents):
        _warn(SPLIT_SINGULAR_VALUES)
    u, s, vh = np.linalg.svd(node.operands[0].value, full_matrices=False)
    change = np.real(np.sum(conjugated(u) * (tangents[0] @ adjoint(vh)), -2))
    return _averaged(_without_small(change, s), _tied(s))


def _svdvals_asks(node: Any, tangents: Sequence[Any]) -> bool:
    u, s, vh = np.linalg.svd(plain(node.operands[0].value), full_matrices=False)
    return _splits_singular(s, u, tangents[0], adjoint(vh))


svdvals_rule = custom(
    "svdvals",
    lambda a: np.linalg.svd(a, compute_uv=False),
    needs=("a",),
    pulls=(_svdvals_pull,),
    push=_svdvals_push,
    asks=_svdvals_asks,
    source="Townsend 2016",
    also=[np.linalg.svdvals],
)


def _hermitian_svd(a: Any, compute_uv: bool) -> Any:
    """As NumPy does it: from the eigenvalues."""
    if not compute_uv:
        return np.sort(np.abs(np.linalg.eigvalsh(a)))[..., ::-1]
    w, v = np.linalg.eigh(a)
    order = np.argsort(np.abs(plain(w)))[..., ::-1]
    sign = np.take_along_axis(np.copysign(1.0, plain(w)).astype(w.dtype), order, axis=-1)
    u = np.take_along_axis(v, order[..., None, :], axis=-1)
    return named_tuple(np.linalg.svd)(
        u, np.take_along_axis(np.abs(w), order, axis=-1), adjoint(u * np.expand_dims(sign, -2))
    )


@implements(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    if hermitian:
        return _hermitian_svd(a, compute_uv)
    return _svd(a, full_matrices=full_matrices) if compute_uv else svdvals_rule(a)


# -- QR ----------------------------------------------------------------------------------------------------------
def _qr_shapes(shape: tuple[int, ...], mode: str = "reduced") -> Shapes:
    m, n = shape[-2:]
    columns = m if mode == "complete" else min(m, n)
    return (m, columns), (columns, n)


def _inverse_of_triangle(r: Any) -> Any:
    """Of a matrix without full rank there is no derivative: the pseudo-inverse, and a warning."""
    size = np.abs(plain(_diagonal(r)))
    if not np.any(size <= negligible(size)):
        return np.linalg.inv(r)
    warnings.warn(
        "qr of a matrix whose leading columns are linearly dependent has no derivative", DegenerateSpectrumWarning,
        stacklevel=2,
    )  # fmt: skip
    return np.linalg.pinv(r)


def _qr_pull(cts: Any, results: Any, node: Any) -> Any:
    k = min(node.operands[0].shape[-2:])
    (q, ct_q), r = _folded(results[0], cts[0], k), results[1][..., :k, :]
    ct_r = np.triu(cts[1][..., :k, :])
    inner = adjoint(q) @ ct_q
    free = inner - ct_r @ adjoint(r)
    change = q @ (half(free - adjoint(free)) - inner) + ct_q
    first = change @ adjoint(_inverse_of_triangle(r[..., :k])) + q @ ct_r[..., :k]
    return np.concatenate([first, q @ ct_r[..., k:]], -1)


def _qr_push(t: Any, results: Any, node: Any) -> Any:
    k = min(node.operands[0].shape[-2:])
    q, r = results[0][..., :k], results[1][..., :k, :]
    change = t[..., :k] @ _inverse_of_triangle(r[..., :k])
    inner = adjoint(q) @ change
    turn = half(inner)
    turn = turn - adjoint(turn)
    t_r = np.triu(adjoint(q) @ t - turn @ r)
    rest = results[1][..., k:, :]
    return _unfolded(results[0], q @ (turn - inner) + change), np.concatenate([t_r, 0 * rest], -2)


def _qr_asks(t: Any, results: Any, node: Any) -> bool:
    """Columns beyond the range are LAPACK's choice; of a single real one, only the sign."""
    q = results[0]
    rows, columns = node.operands[0].shape[-2:]
    return bool(q.shape[-1] > min(rows, columns) + (q.dtype.kind != "c"))


_qr = several(
    "qr",
    np.linalg.qr,
    _qr_shapes,
    _qr_pull,
    _qr_push,
    real=(False, False),
    asks=_qr_asks,
    source="Walter and Lehmann 2010",
)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    if mode == "r":
        return _qr(a)[1]
    if mode not in ("reduced", "complete"):
        raise UnsupportedFunctionError(
            f"np.linalg.qr was called with a Tensor and mode={mode!r}, which has no derivative; "
            "use 'reduced', 'complete' or 'r'"
        )
    return _qr(a, mode=mode)


# -- logarithm of the determinant --------------------------------------------------------------------------------
def _logarithmic(a: Any, sign: Any) -> Any:
    """The derivative of log |det a|; infinite where the determinant is 0 and an element changes it."""
    singular = np.expand_dims(plain(sign) == 0, (-2, -1))
    if not np.any(singular):
        return np.linalg.inv(a)
    infinite = zero_wins(plain(adjugate(a)), np.inf)
    return np.where(singular, infinite, np.linalg.inv(np.where(singular, np.eye(a.shape[-1], dtype=a.dtype), a)))


def _slogdet_pull(cts: Any, results: Any, node: Any) -> Any:
    ct_sign, ct_log = cts
    ct: Any = ct_log
    if results[0].dtype.kind == "c":  # a complex sign turns by the imaginary part of trace(a⁻¹ da)
        ct = ct - 1j * np.imag(conjugated(ct_sign) * results[0])
    return zero_wins(np.expand_dims(ct, (-2, -1)), adjoint(_logarithmic(node.operands[0].value, results[0])))


def _slogdet_push(t: Any, results: Any, node: Any) -> Any:
    inverse = _logarithmic(node.operands[0].value, results[0])
    change = np.sum(zero_wins(inverse, np.swapaxes(t, -1, -2)), (-2, -1))
    turn = 1j * np.imag(change) * results[0] if change.dtype.kind == "c" else 0 * results[0]
    return turn, np.real(change)


slogdet = implements(np.linalg.slogdet)(
    several(
        "slogdet",
        np.linalg.slogdet,
        lambda shape: ((), ()),
        _slogdet_pull,
        _slogdet_push,
        real=(False, True),
        needs="ay",
        source="Jacobi's formula",
    )
)


# -- least squares -----------------------------------------------------------------------------------------------
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    x, residuals, rank, s = np.linalg.lstsq(a, b, rcond)
    return np.concatenate([np.ravel(x), residuals, s, np.array([rank], s.dtype)])


def _lstsq_parts(y: Any, a: Any, b: Any) -> list[Any]:
    """Solution, sums of squared residuals (none without full column rank), singular values, rank."""
    k, solution = min(a.shape), (a.shape[1], *b.shape[1:])
    shapes = (solution, (y.shape[-1] - prod(solution) - k - 1,), (k,), ())
    return parted(y, shapes, (False, True, True, True))


def _lstsq_at(node: Any) -> tuple[Any, Any, Any, Any]:
    """The matrix, its pseudo-inverse, the solutions and the residuals, as matrices."""
    a, b = node.operands[0].value, node.operands[1].value
    rcond = node.params[1].get("rcond")
    rcond = max(a.shape) * np.finfo(a.dtype).eps if rcond is None else rcond
    x, _, _, rank = _lstsq_parts(node.value, *node.operands)
    if plain(rank) < min(a.shape):
        warn_of_deficient_rank("lstsq with")
    x = np.reshape(x, (a.shape[1], -1))
    return a, np.linalg.pinv(a, rcond), x, np.reshape(b, (a.shape[0], -1)) - a @ x


def _lstsq_pull(ct: Any, node: Any) -> list[Any]:
    a, p, x, rest = _lstsq_at(node)
    ct_x, ct_squares, ct_s, _ = _lstsq_parts(ct, *node.operands)
    ct_x, ph = np.reshape(ct_x, x.shape), adjoint(p)
    ct_b = ph @ ct_x
    total = rest @ adjoint(p @ ct_b) + (ph @ x) @ adjoint(ct_x - p @ (a @ ct_x))
    if ct_squares.size:
        ct_b = ct_b + 2 * rest * ct_squares
    total = total - ct_b @ adjoint(x)
    if anywhere(ct_s):
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        total = total + (u * np.expand_dims(_checked_average(ct_s, _tied(s), SINGULAR_VALUES), -2)) @ vh
    return [total, np.reshape(ct_b, node.operands[1].shape)]


def _lstsq_push(node: Any, tangents: Sequence[Any]) -> Any:
    a, p, x, rest = _lstsq_at(node)
    t_a, t_b = tangents
    t_a = np.zeros(a.shape, a.dtype) if t_a is None else t_a
    t_b = np.zeros(rest.shape, rest.dtype) if t_b is None else np.reshape(t_b, rest.shape)
    change, back = t_b - t_a @ x, adjoint(t_a) @ (adjoint(p) @ x)
    t_x = p @ (change + adjoint(p) @ (adjoint(t_a) @ rest)) + back - p @ (a @ back)
    t_squares = np.sum(np.real(2 * conjugated(rest) * change), 0)
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    t_s = _averaged(np.real(np.sum(conjugated(u) * (t_a @ adjoint(vh)), -2)), _tied(s))
    has_squares = _lstsq_parts(node.value, *node.operands)[1].size
    return np.concatenate([np.ravel(t_x), t_squares[: None if has_squares else 0], t_s, np.zeros(1, t_s.dtype)])


def _lstsq_asks(node: Any, tangents: Sequence[Any]) -> bool:
    u, s, vh = np.linalg.svd(plain(node.operands[0].value), full_matrices=False)
    return tangents[0] is not None and _splits_singular(s, u, tangents[0], adjoint(vh))


lstsq_rule = custom(
    "lstsq",
    _lstsq,
    needs=("aby",),
    pull_all=_lstsq_pull,
    push=_lstsq_push,
    asks=_lstsq_asks,
    source="Golub and Pereyra 1973",
)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    a, b = as_array(a), as_array(b)
    x, squares, s, rank = _lstsq_parts(lstsq_rule(a, b, rcond=rcond), a, b)
    return x, squares, as_array(plain(rank)).astype(np.intc)[()], s
