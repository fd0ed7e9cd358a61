"""SciPy's linear algebra.

Derivatives are those of NumPy's functions of the same name where there is one (`chainrule.rules.linalg`).  Where SciPy
reads one triangle, so does the derivative: it is zero on the other one.

Sources: R. Mathias, A chain rule for matrix functions and applications (1996); N. Higham, Functions of matrices (2008);
M. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation (2008);
D. Kleinman, On an iterative technique for Riccati equation computations (1968).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.linalg

from ..graph import CLOSED
from ..rules import decompositions, linalg
from ..rules.contractions import adjoint
from ..rules.decompositions import several
from ..rules.linear import conjugated
from ..rules.registry import Rule, custom, rules
from ..tensor import called, plain
from .namespace import Namespace, array, exactly, holds_tensors

here = Namespace(scipy.linalg)

here.as_they_are("LinAlgError", "LinAlgWarning", "find_best_blas_type", "get_blas_funcs", "get_lapack_funcs", "test")
here.as_they_are("dft", "hadamard", "helmert", "hilbert", "invhilbert", "invpascal", "pascal")
here.nondifferentiable("bandwidth", "ishermitian", "issymmetric")
here.not_implemented(
    "its factors are not determined by the matrix; use eig, eigh, svd or qr",
    "cdf2rdf", "cossin", "hessenberg", "ordqz", "qz", "rsf2csf", "schur",
)  # fmt: skip
here.not_implemented("call qr of the changed matrix", "qr_delete", "qr_insert", "qr_update")
here.not_implemented("multiply by the factor that qr gives", "qr_multiply")
here.not_implemented("its factors depend on which rows LAPACK exchanges; use cholesky, lu or eigh", "ldl")
here.not_implemented("it uses random numbers; multiply by a sketching matrix instead", "clarkson_woodruff_transform")
here.not_implemented("it is an estimate of an error", "expm_cond")
here.not_implemented(
    "the derivative of a function given as code is not known; use expm, logm, sqrtm or another one with a name", "funm"
)


def _with_value(rule: Rule, name: str, value: Callable[..., Any]) -> Rule:
    """NumPy's rule, for SciPy's function."""
    rules[name] = changed = replace(rule, name=name, value=value)
    return changed


def _as_matrix(b: Any, function: Callable[[Any], Any]) -> Any:
    """Let a function of matrices act on a vector, too."""
    return function(b) if b.ndim > 1 else np.squeeze(function(np.expand_dims(b, -1)), -1)


# -- functions of a matrix ---------------------------------------------------------------------------------------
def _beside(a: Any, e: Any) -> Any:
    below = np.concatenate([np.zeros(e.shape, e.dtype), a], -1)
    return np.concatenate([np.concatenate([a, e], -1), below], -2)


def _change(rule: Rule, a: Any, e: Any, options: dict[str, Any]) -> Any:
    """The derivative of a function of a matrix along `e`: it stands in the corner of f([[a, e], [0, a]])."""
    n = a.shape[-1]
    finite = np.isfinite(plain(e)).all(axis=(-2, -1), keepdims=True)
    e = np.where(finite, e, 0)  # with infinities SciPy raises, or does not end
    size_a, size_e = (np.max(np.abs(plain(x)), axis=(-2, -1), keepdims=True, initial=0) for x in (a, e))
    scale = np.where((size_e == 0) | (size_a == 0), 1, size_a / np.where(size_e == 0, 1, size_e))  # it is linear in e
    a = np.broadcast_to(a, e.shape)
    return np.where(finite, rule(_beside(a, e * scale), **options)[..., :n, n:] / scale, np.nan)


def _function_of_matrix(name: str) -> Rule:
    function = getattr(scipy.linalg, name)

    def pull(ct: Any, node: Any) -> Any:
        return adjoint(_change(rule, node.operands[0].value, adjoint(ct), node.params[1]))

    def push(node: Any, tangents: Sequence[Any]) -> Any:
        return _change(rule, node.operands[0].value, tangents[0], node.params[1])

    rule = custom(name, function, needs=("a",), pulls=(pull,), push=push, source="Mathias 1996, theorem 2.1")
    return rule


def _published(rule: Rule) -> Callable[..., Any]:
    def apply(A: Any, **options: Any) -> Any:
        if options:
            raise here.unsupported(rule.name, f"not with {', '.join(options)}, which makes it print or return errors")
        return rule(array(A))

    apply.__name__ = apply.__qualname__ = rule.name
    return here.ruled("A")(apply)


expm, logm, sqrtm, cosm, sinm, tanm, coshm, sinhm, tanhm, signm = (
    _published(_function_of_matrix(name))
    for name in ("expm", "logm", "sqrtm", "cosm", "sinm", "tanm", "coshm", "sinhm", "tanhm", "signm")
)
power_rule = _function_of_matrix("fractional_matrix_power")


@here.derived("A", "t")
def fractional_matrix_power(A: Any, t: Any) -> Any:
    return rules["expm"](t * rules["logm"](array(A))) if holds_tensors(t) else power_rule(A, t=t)


@here.derived("A", "E")
def expm_frechet(A: Any, E: Any, method: Any = None, compute_expm: bool = True) -> Any:
    A, E = array(A), array(E)
    change = _change(rules["expm"], A, E, {})
    return (rules["expm"](A), change) if compute_expm else change


# -- systems of equations ----------------------------------------------------------------------------------------
def _mirrored(a: Any, lower: bool, hermitian: bool = True) -> Any:
    """The Hermitian, or symmetric, matrix of which one triangle is read."""
    read = np.tril(a, -1) if lower else np.triu(a, 1)
    diagonal = a * np.eye(a.shape[-1], dtype=plain(a).real.dtype)
    if not hermitian:
        return read + np.swapaxes(read, -1, -2) + diagonal
    return read + adjoint(read) + (np.real(diagonal) if a.dtype.kind == "c" else diagonal)


def _as_read(a: Any, assume_a: str | None, lower: bool) -> Any:
    """The matrix that SciPy takes `a` for."""
    if assume_a in ("sym", "symmetric"):
        return _mirrored(a, lower, hermitian=False)
    if assume_a in ("her", "hermitian", "pos", "positive definite"):
        return _mirrored(a, lower)
    if assume_a == "upper triangular":
        return np.triu(a)
    if assume_a == "lower triangular":
        return np.tril(a)
    if assume_a in ("diagonal", "tridiagonal"):
        k = 0 if assume_a == "diagonal" else 1
        return np.triu(np.tril(a, k), -k)
    return a


solve_rule = _with_value(linalg.solve_rule, "scipy_solve", scipy.linalg.solve)
inv_rule = _with_value(linalg.inv_rule, "scipy_inv", scipy.linalg.inv)


@here.ruled("a", "b")
def solve(
    a: Any, b: Any, lower: bool = False, check_finite: bool = True, assume_a: str | None = None,
    transposed: bool = False,
) -> Any:  # fmt: skip
    a, b = array(a), array(b)
    given = {"lower": lower, "check_finite": check_finite, **({} if assume_a is None else {"assume_a": assume_a})}
    read = _as_read(a, assume_a, lower)
    if not transposed:
        return solve_rule(read, b, **given)
    value = called(scipy.linalg.solve, plain(a), plain(b), transposed=True, **given)
    return exactly(value, np.linalg.solve(np.swapaxes(read, -1, -2), b))


@here.ruled("a")
def inv(a: Any, check_finite: bool = True, *, assume_a: str | None = None, lower: bool = False) -> Any:
    given = {} if assume_a is None else {"assume_a": assume_a, "lower": lower}
    return inv_rule(_as_read(array(a), assume_a, lower), check_finite=check_finite, **given)


def _lower(node: Any) -> bool:
    return bool(node.params[1]["lower"])


def _outer(x: Any, y: Any, vector: bool) -> Any:
    return np.expand_dims(x, -1) * np.expand_dims(conjugated(y), -2) if vector else x @ adjoint(y)


def _triangular(a: Any, b: Any, lower: bool, vector: bool) -> Any:
    """Solve for stacks of vectors, too: SciPy takes those for matrices."""
    if vector and b.ndim > 1:
        return np.squeeze(triangular_rule(a, np.expand_dims(b, -1), lower=lower), -1)
    return triangular_rule(a, b, lower=lower)


def _triangular_pull(ct: Any, node: Any) -> list[Any]:
    a, b = node.operands
    vector = len(b.shape) == 1
    ct_b = _triangular(adjoint(a.value), ct, not _lower(node), vector)
    if a.cotangent is CLOSED:
        return [None, ct_b]
    return [(np.tril if _lower(node) else np.triu)(-_outer(ct_b, node.value, vector)), ct_b]


def _triangular_push(node: Any, tangents: Sequence[Any]) -> Any:
    a, b = node.operands
    vector = len(b.shape) == 1
    change = 0 if tangents[1] is None else tangents[1]
    if tangents[0] is not None:
        moved = tangents[0] @ (np.expand_dims(node.value, -1) if vector else node.value)
        change = change - (np.squeeze(moved, -1) if vector else moved)
    return _triangular(a.value, change, _lower(node), vector)


triangular_rule = custom(
    "solve_triangular",
    lambda a, b, lower, check_finite=False: scipy.linalg.solve_triangular(a, b, lower=lower, check_finite=check_finite),
    needs=("ay", "a"),
    pull_all=_triangular_pull,
    push=_triangular_push,
    source="Giles 2008, 2.3.1",
)


@here.ruled("a", "b")
def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False, check_finite: bool = True
) -> Any:
    a, b = array(a), array(b)
    read = np.tril(a, -1 if unit_diagonal else 0) if lower else np.triu(a, 1 if unit_diagonal else 0)
    read = read + np.eye(a.shape[-1], dtype=a.dtype) if unit_diagonal else read
    trans = {"N": 0, "T": 1, "C": 2}.get(trans, trans)
    if not trans and not unit_diagonal:
        return triangular_rule(read, b, lower=lower, check_finite=check_finite)
    value = called(
        scipy.linalg.solve_triangular, plain(a), plain(b), trans, lower, unit_diagonal, check_finite=check_finite
    )
    turned = (read, np.swapaxes(read, -1, -2), adjoint(read))[trans]
    return exactly(value, triangular_rule(turned, b, lower=lower != bool(trans)))


@here.derived("c_and_lower", "b")
def cho_solve(c_and_lower: Any, b: Any) -> Any:
    c, lower = array(c_and_lower[0]), bool(c_and_lower[1])
    first = np.tril(c) if lower else adjoint(np.triu(c))

    def solved(b: Any) -> Any:
        return triangular_rule(adjoint(first), triangular_rule(first, b, lower=True), lower=False)

    return _as_matrix(array(b), solved)


def _row_exchanges(piv: Any) -> Any:
    """The permutation matrices of which LAPACK's indices say what is exchanged with what."""
    piv = np.asarray(piv)
    matrices = np.broadcast_to(np.eye(piv.shape[-1]), (*piv.shape, piv.shape[-1])).copy()
    for batch in np.ndindex(piv.shape[:-1]):
        for i, j in enumerate(piv[batch]):
            matrices[(*batch, [i, j])] = matrices[(*batch, [j, i])]
    return matrices


@here.derived("lu_and_piv", "b")
def lu_solve(lu_and_piv: Any, b: Any, trans: int = 0) -> Any:
    compact, exchanges = array(lu_and_piv[0]), _row_exchanges(plain(lu_and_piv[1])).astype(plain(lu_and_piv[0]).dtype)
    lower, upper = np.tril(compact, -1) + np.eye(compact.shape[-1], dtype=compact.dtype), np.triu(compact)

    def solved(b: Any) -> Any:
        if not trans:
            return triangular_rule(upper, triangular_rule(lower, exchanges @ b, lower=True), lower=False)
        turned = adjoint if trans == 2 else lambda x: np.swapaxes(x, -1, -2)
        half = triangular_rule(turned(upper), b, lower=True)
        return np.swapaxes(exchanges, -1, -2) @ triangular_rule(turned(lower), half, lower=False)

    return _as_matrix(array(b), solved)


@here.derived("a", "b")
def lstsq(a: Any, b: Any, cond: Any = None, lapack_driver: Any = None) -> Any:
    a, b = array(a), array(b)
    x, squares, rank, s = np.linalg.lstsq(a, b, cond)
    if lapack_driver == "gelsy":  # gives neither
        return x, None, rank, None
    return x, squares[0] if b.ndim == 1 and squares.size else squares, rank, s


# -- matrices of bands -------------------------------------------------------------------------------------------
# Column j of a matrix with l diagonals below and u above is column j of `ab`: a[i, j] is ab[u + i - j, j].
def _places(l: int, u: int, n: int) -> tuple[Any, Any]:
    """The row that each element of `ab` is of, and whether the matrix has it."""
    rows = np.arange(n) + np.arange(-u, l + 1)[:, None]
    return np.clip(rows, 0, n - 1), (rows >= 0) & (rows < n)


def _band_adjoint(ab: Any, l: int, u: int) -> Any:
    rows, there = _places(u, l, ab.shape[-1])
    diagonal = np.broadcast_to(np.arange(l + u, -1, -1)[:, None], rows.shape)
    return np.where(there, conjugated(ab[..., diagonal, rows]), 0)


def _band_product(ab: Any, x: Any, l: int, u: int) -> Any:
    """The matrix times matrices."""
    columns, there = _places(u, l, ab.shape[-1])
    diagonal = np.broadcast_to(np.arange(l + u, -1, -1)[:, None], columns.shape)
    return np.sum(np.expand_dims(np.where(there, ab[..., diagonal, columns], 0), -1) * x[..., columns, :], -3)


def _banded_forms(node: Any) -> tuple[Any, Any, Any, Any]:
    ab, y = node.operands[0].value, node.value
    return ab, (np.expand_dims(y, -1) if len(node.operands[1].shape) == 1 else y), *node.params[1]["l_and_u"]


def _banded_pull(ct: Any, node: Any) -> list[Any]:
    ab, y, l, u = _banded_forms(node)
    ct = np.reshape(ct, y.shape)
    ct_b = banded_rule(_band_adjoint(ab, l, u), ct, l_and_u=(u, l))
    rows, there = _places(l, u, y.shape[-2])
    ct_ab = np.sum(ct_b[..., rows, :] * np.expand_dims(conjugated(y), -3), -1)
    vector = len(node.operands[1].shape) == 1
    return [np.where(there, -ct_ab, 0), np.squeeze(ct_b, -1) if vector else ct_b]


def _banded_push(node: Any, tangents: Sequence[Any]) -> Any:
    ab, y, l, u = _banded_forms(node)
    change = 0 if tangents[1] is None else tangents[1]
    change = np.expand_dims(change, -1) if len(node.operands[1].shape) == 1 and tangents[1] is not None else change
    if tangents[0] is not None:
        change = change - _band_product(tangents[0], y, l, u)
    return np.reshape(banded_rule(ab, change, l_and_u=(l, u)), node.value.shape)


banded_rule = custom(
    "solve_banded",
    lambda ab, b, l_and_u, check_finite=False: scipy.linalg.solve_banded(l_and_u, ab, b, check_finite=check_finite),
    needs=("ay", "ay"),
    pull_all=_banded_pull,
    push=_banded_push,
    source="Giles 2008, 2.3.1, on the diagonals",
)


@here.ruled("ab", "b")
def solve_banded(l_and_u: Any, ab: Any, b: Any, check_finite: bool = True) -> Any:
    return banded_rule(array(ab), array(b), l_and_u=tuple(l_and_u), check_finite=check_finite)


def _all_bands(ab: Any, lower: bool) -> tuple[Any, int]:
    """Of a Hermitian matrix given by the diagonals on one side, all of them; how many there are on each side."""
    u = ab.shape[-2] - 1
    diagonal, others = (ab[..., :1, :], ab[..., 1:, :]) if lower else (ab[..., u:, :], ab[..., :u, :])
    diagonal = np.real(diagonal)
    none = np.zeros((*ab.shape[:-2], 1, ab.shape[-1]), ab.dtype)
    if lower:
        above = _band_adjoint(np.concatenate([none, others], -2), u, 0)[..., :u, :]
        return np.concatenate([above, diagonal, others], -2), u
    below = _band_adjoint(np.concatenate([others, none], -2), 0, u)[..., 1:, :]
    return np.concatenate([others, diagonal, below], -2), u


def _unpacked(ab: Any, l: int, u: int) -> Any:
    """The whole matrix."""
    n = ab.shape[-1]
    i, j = np.indices((n, n))
    inside = (i - j <= l) & (j - i <= u)
    return np.where(inside, ab[..., np.where(inside, u + i - j, 0), j], 0)


@here.derived("ab", "b")
def solveh_banded(ab: Any, b: Any, lower: bool = False) -> Any:
    whole, u = _all_bands(array(ab), lower)
    return banded_rule(whole, array(b), l_and_u=(u, u))


@here.derived("ab")
def cholesky_banded(ab: Any, lower: bool = False) -> Any:
    ab = array(ab)
    whole, u = _all_bands(ab, lower)
    factor = np.linalg.cholesky(_unpacked(whole, u, u))
    rows, there = _places(u, 0, ab.shape[-1])
    bands = np.where(there, factor[..., rows, np.arange(ab.shape[-1])], 0)
    # SciPy leaves the corners that the matrix does not have as they were.
    bands = bands if lower else _band_adjoint(bands, u, 0)
    return np.where(there if lower else _places(0, u, ab.shape[-1])[1], bands, ab)


@here.derived("cb_and_lower", "b")
def cho_solve_banded(cb_and_lower: Any, b: Any) -> Any:
    cb, lower = array(cb_and_lower[0]), bool(cb_and_lower[1])
    u = cb.shape[-2] - 1
    first, last = (cb, _band_adjoint(cb, u, 0)) if lower else (_band_adjoint(cb, 0, u), cb)
    return banded_rule(last, banded_rule(first, array(b), l_and_u=(u, 0)), l_and_u=(0, u))


# -- equations between matrices ----------------------------------------------------------------------------------
def _sylvester_pull(ct: Any, node: Any) -> list[Any]:
    a, b, _ = (operand.value for operand in node.operands)
    ct_q, x = sylvester_rule(adjoint(a), adjoint(b), ct), adjoint(node.value)
    return [-(ct_q @ x), -(x @ ct_q), ct_q]


def _sylvester_push(node: Any, tangents: Sequence[Any]) -> Any:
    a, b, _ = (operand.value for operand in node.operands)
    change = np.zeros(node.shape, node.dtype) if tangents[2] is None else tangents[2]
    change = change if tangents[0] is None else change - tangents[0] @ node.value
    change = change if tangents[1] is None else change - node.value @ tangents[1]
    return sylvester_rule(a, b, change)


sylvester_rule = custom(
    "solve_sylvester",
    scipy.linalg.solve_sylvester,
    needs=("aby",),
    pull_all=_sylvester_pull,
    push=_sylvester_push,
    source="Giles 2008, 2.3.1, for a x + x b = q",
)


@here.ruled("a", "b", "q")
def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    return sylvester_rule(array(a), array(b), array(q))


@here.derived("a", "q")
def solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    a = array(a)
    return sylvester_rule(a, adjoint(a), array(q))


@here.derived("a", "q")
def solve_lyapunov(a: Any, q: Any) -> Any:
    a = array(a)
    return sylvester_rule(a, adjoint(a), array(q))


def _stein(a: Any, q: Any) -> Any:
    """Solve a x a* - x + q = 0: for the eigenvalues of x, a product of two; as one system of equations."""
    n = a.shape[-1]
    c = conjugated(a)
    both = np.reshape(a[..., :, None, :, None] * c[..., None, :, None, :], (*a.shape[:-2], n * n, n * n))
    batch = np.broadcast_shapes(a.shape[:-2], q.shape[:-2])
    column = np.reshape(np.broadcast_to(q, (*batch, n, n)), (*batch, n * n, 1))
    return np.reshape(np.linalg.solve(np.eye(n * n, dtype=a.dtype) - both, column), (*batch, n, n))


@here.derived("a", "q")
def solve_discrete_lyapunov(a: Any, q: Any, method: str | None = None) -> Any:
    a, q = array(a), array(q)
    if (method or ("direct" if a.shape[-1] < 10 else "bilinear")) == "direct":
        return _stein(a, q)
    # With b = (a* - 1)(a* + 1)⁻¹ it is a continuous equation.
    one = np.eye(a.shape[-1], dtype=a.dtype)
    right = np.linalg.inv(adjoint(a) + one)
    b = (adjoint(a) - one) @ right
    return sylvester_rule(adjoint(b), b, -2 * np.linalg.inv(a + one) @ q @ right)


NEWTON_STEPS = 3  # from the solution as a constant: each doubles the order to which derivatives are right, here to 7


def _riccati(name: str, given: tuple[Any, ...], more: Any, step: Callable[..., Any]) -> Any:
    """The solution, by steps of Newton's method from SciPy's."""
    if any(x is not None and x is not True for x in more):
        raise here.unsupported(name, "only the arguments a, b, q and r")
    x = called(getattr(scipy.linalg, name), *map(plain, given))
    value = x
    for _ in range(NEWTON_STEPS):
        x = step(x)
    return exactly(value, x)


@here.ruled("a", "b", "q", "r")
def solve_continuous_are(a: Any, b: Any, q: Any, r: Any, e: Any = None, s: Any = None, balanced: bool = True) -> Any:
    a, b, q, r = map(array, (a, b, q, r))

    def step(x: Any) -> Any:
        k = np.linalg.solve(r, adjoint(b) @ x)
        closed = adjoint(a - b @ k)
        return sylvester_rule(closed, adjoint(closed), -(q + adjoint(k) @ r @ k))

    return _riccati("solve_continuous_are", (a, b, q, r), (e, s), step)


@here.ruled("a", "b", "q", "r")
def solve_discrete_are(a: Any, b: Any, q: Any, r: Any, e: Any = None, s: Any = None, balanced: bool = True) -> Any:
    a, b, q, r = map(array, (a, b, q, r))

    def step(x: Any) -> Any:
        k = np.linalg.solve(r + adjoint(b) @ x @ b, adjoint(b) @ x @ a)
        return _stein(adjoint(a - b @ k), q + adjoint(k) @ r @ k)

    return _riccati("solve_discrete_are", (a, b, q, r), (e, s), step)


# -- determinants, norms, inverses of rectangular matrices ---------------------------------------------------------
det_rule = _with_value(
    linalg.det_rule, "scipy_det", lambda a, **options: np.asarray(scipy.linalg.det(a, **options))[()]
)
pinv_rule = _with_value(linalg.pinv_rule, "scipy_pinv", scipy.linalg.pinv)


@here.ruled("a")
def det(a: Any, check_finite: bool = True) -> Any:
    return det_rule(array(a), check_finite=check_finite)


@here.ruled("a")
def pinv(a: Any, *, return_rank: bool = False, check_finite: bool = True, **options: Any) -> Any:
    options["check_finite"] = check_finite
    y = pinv_rule(array(a), **options)
    return (y, called(scipy.linalg.pinv, plain(a), return_rank=True, **options)[1]) if return_rank else y


@here.derived("a")
def pinvh(a: Any, atol: Any = None, rtol: Any = None, lower: bool = True, return_rank: bool = False) -> Any:
    options = {name: x for name, x in (("atol", atol), ("rtol", rtol)) if x is not None}
    y = pinv_rule(_mirrored(array(a), lower), **options)
    return (y, None) if return_rank else y


@here.derived("a")
def norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    return np.linalg.norm(array(a), ord, axis, keepdims)


# -- decompositions ----------------------------------------------------------------------------------------------
cholesky_rule = _with_value(
    linalg.cholesky_rule,
    "scipy_cholesky",
    lambda a, upper, **options: scipy.linalg.cholesky(a, lower=not upper, **options),
)


@here.ruled("a")
def cholesky(a: Any, lower: bool = False, check_finite: bool = True) -> Any:
    return cholesky_rule(array(a), upper=not lower, check_finite=check_finite)


# The other triangle stays as it was, or is zero since SciPy 1.18.
KEEPS_TRIANGLE = bool(scipy.linalg.cho_factor(np.array([[1.0, 0.5], [0.5, 1.0]]))[0][1, 0])


@here.derived("a")
def cho_factor(a: Any, lower: bool = False) -> Any:
    a = array(a)
    factor = cholesky_rule(a, upper=not lower)
    return factor + KEEPS_TRIANGLE * (np.triu(a, 1) if lower else np.tril(a, -1)), lower


def _lu_shapes(shape: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
    m, n = shape[-2:]
    return (m, m), (m, min(m, n)), (min(m, n), n)


def _lu_solvers(l1: Any, u1: Any) -> tuple[Any, Any, Any, Any]:
    """x times l1⁻¹ and l1⁻* from the left, and u1⁻¹ and u1⁻* from the right."""
    return (
        lambda x: triangular_rule(l1, x, lower=True),
        lambda x: triangular_rule(adjoint(l1), x, lower=False),
        lambda x: adjoint(triangular_rule(adjoint(u1), adjoint(x), lower=True)),
        lambda x: adjoint(triangular_rule(u1, adjoint(x), lower=False)),
    )


def _lu_pull(cts: Any, results: Any, node: Any) -> Any:
    (p, l, u), (_, ct_l, ct_u) = results, cts
    k = u.shape[-2]
    l1, u1, ct_l1, ct_u1 = l[..., :k, :], u[..., :k], ct_l[..., :k, :], ct_u[..., :k]
    _, left, _, right = _lu_solvers(l1, u1)
    beyond: Any = None  # of a matrix that is not square, what changes the rest of the longer factor
    if l.shape[-2] > k:
        beyond = right(ct_l[..., k:, :])
        ct_u1 = ct_u1 - adjoint(l[..., k:, :]) @ beyond
    if u.shape[-1] > k:
        beyond = left(ct_u[..., k:])
        ct_l1 = ct_l1 - beyond @ adjoint(u[..., k:])
    square = right(left(np.tril(adjoint(l1) @ ct_l1, -1) + np.triu(ct_u1 @ adjoint(u1))))
    if beyond is not None:
        square = np.concatenate([square, beyond], -2 if l.shape[-2] > k else -1)
    return p @ square


def _lu_push(t: Any, results: Any, node: Any) -> Any:
    p, l, u = results
    k = u.shape[-2]
    l1, u1, t = l[..., :k, :], u[..., :k], adjoint(p) @ t
    left, _, right, _ = _lu_solvers(l1, u1)
    inner = right(left(t[..., :k, :k]))
    t_l, t_u = l1 @ np.tril(inner, -1), np.triu(inner) @ u1
    if l.shape[-2] > k:
        t_l = np.concatenate([t_l, right(t[..., k:, :] - l[..., k:, :] @ t_u)], -2)
    elif u.shape[-1] > k:
        t_u = np.concatenate([t_u, left(t[..., k:] - t_l @ u[..., k:])], -1)
    return np.zeros(p.shape, t.dtype), t_l, t_u


def _lu(a: Any) -> Any:
    p, l, u = scipy.linalg.lu(a, check_finite=False)
    return p.astype(l.dtype), l, u  # side by side with the others


_lu_parts = several("lu", _lu, _lu_shapes, _lu_pull, _lu_push, real=(False, False, False), source="as for qr, by parts")


@here.derived("a")
def lu(a: Any, permute_l: bool = False, p_indices: bool = False) -> Any:
    p, l, u = _lu_parts(array(a))
    p = plain(p)
    return (p @ l, u) if permute_l else (p, l, u)


@here.derived("a")
def lu_factor(a: Any) -> Any:
    _, l, u = _lu_parts(array(a))
    k, (m, n) = u.shape[-2], a.shape[-2:]
    below, above = np.tril(l, -1), np.triu(u)
    if n > k:
        below = np.concatenate([below, np.zeros((*below.shape[:-1], n - k), below.dtype)], -1)
    if m > k:
        above = np.concatenate([above, np.zeros((*above.shape[:-2], m - k, n), above.dtype)], -2)
    return below + above, None


def _qr_shapes(shape: tuple[int, ...], mode: str = "full", **options: Any) -> Sequence[tuple[int, ...]]:
    return decompositions._qr_shapes(shape, "complete" if mode == "full" else "reduced")


_qr = several(
    "scipy_qr",
    scipy.linalg.qr,
    _qr_shapes,
    decompositions._qr_pull,
    decompositions._qr_push,
    real=(False, False),
    source="Walter and Lehmann 2010",
)


@here.derived("a")
def qr(a: Any, lwork: Any = None, mode: str = "full", pivoting: bool = False) -> Any:
    a = array(a)
    if mode == "raw":
        raise here.unsupported("qr", "mode='raw' gives LAPACK's own form; use 'full', 'economic' or 'r'")
    order: Any = called(scipy.linalg.qr, plain(a), mode="r", pivoting=True, check_finite=False)[1] if pivoting else None
    a = np.take_along_axis(a, order[..., None, :], axis=-1) if pivoting else a
    q, r = _qr(a, mode="full" if mode in ("full", "r") else mode, check_finite=False)
    return (*(() if mode == "r" else (q,)), r, *((order,) if pivoting else ()))


@here.derived("a")
def rq(a: Any, lwork: Any = None, mode: str = "full") -> Any:
    a = array(a)
    extra = max(a.shape[-1] - a.shape[-2], 0)
    if mode == "full" and extra:
        raise here.unsupported("rq", "the first rows of a full Q are not determined by it; use 'economic' or 'r'")
    # The factors of the adjoint of the rows in reverse order, in reverse order; LAPACK chooses other signs for them.
    q, r = (np.flip(adjoint(x), -2) for x in _qr(adjoint(np.flip(a, -2)), mode="economic", check_finite=False))
    sign = np.sign(np.sum(called(scipy.linalg.rq, plain(a), mode="economic")[1] * np.conj(plain(q)), axis=-1).real)
    q, r = sign[..., :, None] * q, np.flip(r, -1) * sign[..., None, :]
    if mode != "r":
        return r, q
    return np.concatenate([np.zeros((*r.shape[:-1], extra), r.dtype), r], axis=-1)


_svd = several(
    "scipy_svd",
    scipy.linalg.svd,
    lambda shape, full_matrices=True, **options: decompositions._svd_shapes(shape, full_matrices),
    decompositions._svd_pull,
    decompositions._svd_push,
    real=(False, True, False),
    source="Townsend 2016",
)
svdvals_rule = _with_value(decompositions.svdvals_rule, "scipy_svdvals", scipy.linalg.svdvals)


@here.ruled("a")
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, **options: Any) -> Any:
    a = array(a)
    if compute_uv:
        return _svd(a, full_matrices=full_matrices, **options)
    return exactly(called(scipy.linalg.svd, plain(a), compute_uv=False, **options), svdvals_rule(a, check_finite=False))


@here.ruled("a")
def svdvals(a: Any, check_finite: bool = True) -> Any:
    return svdvals_rule(array(a), check_finite=check_finite)


def _scipy_eigh(a: Any, UPLO: str = "L", **options: Any) -> Any:
    return scipy.linalg.eigh(a, lower=UPLO == "L", **options)


_eigh = several(
    "scipy_eigh",
    _scipy_eigh,
    lambda shape, **options: ((shape[-1],), (shape[-1], shape[-1])),
    decompositions._eigh_pull,
    decompositions._eigh_push,
    real=(True, False),
    source="Giles 2008, 3.1",
)


def _aligned(v: Any, like: Any) -> Any:
    """The same vectors with the signs, or phases, that SciPy gave them."""
    turn = np.sum(np.conj(plain(v)) * like, -2, keepdims=True)
    size = np.abs(turn)
    return v * np.where(size == 0, 1, turn / np.where(size == 0, 1, size)).astype(plain(v).dtype)


def _reduced(a: Any, b: Any, type: int) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors of a v = w b v (type 1), a b v = w v (2) or b a v = w v (3), b positive definite."""
    factor = np.linalg.cholesky(b)
    if type == 1:
        a = adjoint(triangular_rule(factor, adjoint(triangular_rule(factor, a, lower=True)), lower=True))
    else:
        a = adjoint(factor) @ a @ factor
    w, v = np.linalg.eigh(a)
    return w, factor @ v if type == 3 else triangular_rule(adjoint(factor), v, lower=False)


@here.ruled("a", "b")
def eigh(
    a: Any, b: Any = None, *, lower: bool = True, eigvals_only: bool = False, type: int = 1, driver: Any = None,
    subset_by_index: Any = None, subset_by_value: Any = None, check_finite: bool = True,
) -> Any:  # fmt: skip
    given = {"driver": driver, "lower": lower, "type": type, "eigvals_only": eigvals_only, "check_finite": check_finite}
    a, b = array(a), None if b is None else array(b)
    if b is None and subset_by_index is None and subset_by_value is None and not eigvals_only:
        return _eigh(a, UPLO="L" if lower else "U", driver=driver, check_finite=check_finite)
    subset = {"subset_by_index": subset_by_index, "subset_by_value": subset_by_value}
    value = called(scipy.linalg.eigh, plain(a), plain(b), **given, **subset)
    a = _mirrored(a, lower)
    w, v = np.linalg.eigh(a) if b is None else _reduced(a, _mirrored(b, lower), type)
    w_only = value if eigvals_only else value[0]
    if subset_by_index is not None:
        first = subset_by_index[0]
    else:  # those in (low, high]
        first = 0 if subset_by_value is None else int(np.sum(plain(w) <= subset_by_value[0]))
    some = slice(first, first + w_only.shape[-1])
    if eigvals_only:
        return exactly(value, w[..., some])
    return exactly(value, (w[..., some], _aligned(v[..., some], value[1])))


@here.ruled("a", "b")
def eigvalsh(a: Any, b: Any = None, **options: Any) -> Any:
    value = called(scipy.linalg.eigvalsh, plain(a), plain(b), **options)
    return exactly(value, eigh(a, b, eigvals_only=True, **options))


def _scipy_eig(a: Any) -> Any:
    w, v = scipy.linalg.eig(a, check_finite=False)
    return w, v.astype(w.dtype)


_eig = several(
    "scipy_eig",
    _scipy_eig,
    lambda shape: ((shape[-1],), (shape[-1], shape[-1])),
    decompositions._eig_pull,
    decompositions._eig_push,
    real=(False, False),
    source="Giles 2008, 3.1; eigenvectors of length 1",
)
eigvals_rule = _with_value(decompositions.eigvals_rule, "scipy_eigvals", scipy.linalg.eigvals)


@here.ruled("a")
def eig(
    a: Any, b: Any = None, left: bool = False, right: bool = True, check_finite: bool = True,
    homogeneous_eigvals: bool = False,
) -> Any:  # fmt: skip
    if b is not None or homogeneous_eigvals:
        raise here.unsupported("eig", "only for one matrix; for two use eig(solve(b, a))")
    a = array(a)
    value = called(scipy.linalg.eig, plain(a), left=left, right=right, check_finite=check_finite)
    w, v = _eig(a)
    results = [w]
    if left:
        vl = adjoint(np.linalg.inv(v))
        vl = vl / np.linalg.norm(vl, axis=-2, keepdims=True)
        results.append(_aligned(vl, value[1]))
    if right:
        results.append(v)
    return exactly(value, results if left or right else w)


@here.ruled("a")
def eigvals(a: Any, b: Any = None, check_finite: bool = True, homogeneous_eigvals: bool = False) -> Any:
    if b is not None or homogeneous_eigvals:
        raise here.unsupported("eigvals", "only for one matrix; for two use eigvals(solve(b, a))")
    return eigvals_rule(array(a), check_finite=check_finite)


def _tridiagonal(d: Any, e: Any) -> Any:
    d, e = array(d), array(e)
    none = np.zeros(1, e.dtype)
    return _unpacked(np.stack([np.concatenate([none, e]), d, np.concatenate([e, none])]), 1, 1)


def _all_or_nothing(name: str, select: Any) -> None:
    if select not in ("a", "all", 0):
        raise here.unsupported(name, "only with select='a'; take what you need out of all")


def _with_vectors(value: Any, a: Any, eigvals_only: bool) -> Any:
    w, v = np.linalg.eigh(a)
    return exactly(value, w if eigvals_only else (w, _aligned(v, value[1])))


@here.ruled("d", "e")
def eigh_tridiagonal(d: Any, e: Any, eigvals_only: bool = False, select: Any = "a", **options: Any) -> Any:
    _all_or_nothing("eigh_tridiagonal", select)
    value = called(scipy.linalg.eigh_tridiagonal, plain(d), plain(e), eigvals_only, **options)
    return _with_vectors(value, _tridiagonal(d, e), eigvals_only)


@here.ruled("d", "e")
def eigvalsh_tridiagonal(d: Any, e: Any, select: Any = "a", **options: Any) -> Any:
    _all_or_nothing("eigvalsh_tridiagonal", select)
    return _with_vectors(
        called(scipy.linalg.eigvalsh_tridiagonal, plain(d), plain(e), **options), _tridiagonal(d, e), True
    )


def _from_bands(ab: Any, lower: bool) -> Any:
    whole, u = _all_bands(array(ab), lower)
    return _unpacked(whole, u, u)


@here.ruled("a_band")
def eig_banded(
    a_band: Any, lower: bool = False, eigvals_only: bool = False, select: Any = "a",
    **options: Any,
) -> Any:  # fmt: skip
    _all_or_nothing("eig_banded", select)
    value = called(scipy.linalg.eig_banded, plain(a_band), lower, eigvals_only, **options)
    return _with_vectors(value, _from_bands(a_band, lower), eigvals_only)


@here.ruled("a_band")
def eigvals_banded(a_band: Any, lower: bool = False, select: Any = "a", **options: Any) -> Any:
    _all_or_nothing("eigvals_banded", select)
    return _with_vectors(
        called(scipy.linalg.eigvals_banded, plain(a_band), lower, **options), _from_bands(a_band, lower), True
    )


@here.derived("a")
def polar(a: Any, side: str = "right") -> Any:
    w, s, vh = _svd(array(a), full_matrices=False)
    if side == "right":
        return w @ vh, (adjoint(vh) * np.expand_dims(s, -2)) @ vh
    return w @ vh, (w * np.expand_dims(s, -2)) @ adjoint(w)


@here.derived("A")
def orth(A: Any, rcond: Any = None) -> Any:
    A = array(A)
    return _svd(A, full_matrices=False)[0][..., : called(scipy.linalg.orth, plain(A), rcond).shape[-1]]


@here.derived("A")
def null_space(A: Any, rcond: Any = None, **options: Any) -> Any:
    A = array(A)
    n = called(scipy.linalg.null_space, plain(A), rcond, **options).shape[-1]
    return adjoint(_svd(A, full_matrices=True, **options)[2])[..., A.shape[-1] - n :]


@here.derived("A", "B")
def orthogonal_procrustes(A: Any, B: Any) -> Any:
    A, B = array(A), array(B)
    u, s, vh = _svd(np.swapaxes(np.swapaxes(B, -1, -2) @ conjugated(A), -1, -2))
    return u @ vh, np.sum(s)


@here.derived("A", "B")
def subspace_angles(A: Any, B: Any) -> Any:
    qa, qb = orth(array(A)), orth(array(B))
    inner = adjoint(qa) @ qb
    cosines = svdvals(inner)
    rest = qb - qa @ inner if qa.shape[1] >= qb.shape[1] else qa - qb @ adjoint(inner)
    small = plain(cosines) ** 2 >= 0.5  # an angle near zero is better known by its sine
    sines = np.where(small, svdvals(rest)[::-1][: cosines.shape[0]], 0)
    angles = np.where(small, np.arcsin(np.minimum(sines, 1)), np.arccos(np.where(small, 0, np.minimum(cosines, 1))))
    return angles[::-1]


@here.derived("A")
def matrix_balance(A: Any, permute: Any = True, scale: Any = True, separate: Any = False, **options: Any) -> Any:
    A = array(A)  # the change of basis is made of powers of two: a constant
    change = called(scipy.linalg.matrix_balance, plain(A), permute, scale, False)[1]
    return np.linalg.inv(change) @ A @ change, None


# -- matrices made of given elements -----------------------------------------------------------------------------
def _arranged(function: Callable[..., Any], *parts: Any) -> Any:
    """What `function` makes of the elements of `parts` (and zeros), by what it makes of their numbers."""
    parts = tuple(map(array, parts))
    numbers, start = [], 1
    for part in parts:
        numbers.append(np.arange(start, start + part.size).reshape(part.shape))
        start += part.size
    zero = np.zeros(1, np.result_type(*(part.dtype for part in parts)))
    return np.concatenate([zero, *map(np.ravel, parts)])[np.asarray(function(*numbers)).astype(int)]


@here.derived("c", "r")
def toeplitz(c: Any, r: Any = None) -> Any:
    c = array(c)
    return _arranged(scipy.linalg.toeplitz, c, conjugated(c) if r is None else r)


@here.derived("c", "r")
def hankel(c: Any, r: Any = None) -> Any:
    return _arranged(scipy.linalg.hankel, c) if r is None else _arranged(scipy.linalg.hankel, c, r)


@here.derived("c")
def circulant(c: Any) -> Any:
    return _arranged(scipy.linalg.circulant, c)


@here.derived("f", "s")
def leslie(f: Any, s: Any) -> Any:
    return _arranged(scipy.linalg.leslie, f, s)


@here.derived("a")
def convolution_matrix(a: Any, n: int, mode: str = "full") -> Any:
    return _arranged(lambda a: scipy.linalg.convolution_matrix(a, n, mode), a)


@here.derived("s")
def diagsvd(s: Any, M: int, N: int) -> Any:
    return _arranged(lambda s: scipy.linalg.diagsvd(s, M, N), s)


@here.derived("arrs")
def block_diag(*arrs: Any) -> Any:
    return _arranged(scipy.linalg.block_diag, *arrs)


def _companion(function: Callable[..., Any], a: Any) -> Any:
    """Of a polynomial's coefficients: a constant, and terms that are linear in them over the leading one."""
    a = array(a)
    monic = a[..., 1:] / a[..., :1]
    n = a.shape[-1] - 1
    constant = function(np.eye(1, n + 1)[0])
    terms = [function(np.eye(1, n + 1)[0] + np.eye(1, n + 1, k)[0]) - constant for k in range(1, n + 1)]
    return constant + np.tensordot(monic, np.stack(terms), 1)


@here.derived("a")
def companion(a: Any) -> Any:
    return _companion(scipy.linalg.companion, a)


@here.derived("a")
def fiedler_companion(a: Any) -> Any:
    return _companion(scipy.linalg.fiedler_companion, a)


@here.derived("a")
def fiedler(a: Any) -> Any:
    a = array(a)
    return np.abs(np.expand_dims(a, -1) - np.expand_dims(a, -2))


@here.derived("a", "b")
def kron(a: Any, b: Any) -> Any:
    return np.kron(array(a), array(b))


@here.derived("a", "b")
def khatri_rao(a: Any, b: Any) -> Any:
    a, b = array(a), array(b)
    product = np.expand_dims(a, -2) * np.expand_dims(b, -3)
    return np.reshape(product, (*product.shape[:-3], a.shape[-2] * b.shape[-2], a.shape[-1]))


def _toeplitz_of(c_or_cr: Any) -> Any:
    return toeplitz(*c_or_cr) if isinstance(c_or_cr, tuple) else toeplitz(c_or_cr)


@here.derived("c_or_cr", "b")
def solve_toeplitz(c_or_cr: Any, b: Any) -> Any:
    return np.linalg.solve(_toeplitz_of(c_or_cr), array(b))


@here.derived("c_or_cr", "x")
def matmul_toeplitz(c_or_cr: Any, x: Any, workers: Any = None) -> Any:
    return _toeplitz_of(c_or_cr) @ array(x)


@here.derived("c", "b")
def solve_circulant(
    c: Any, b: Any, singular: str = "raise", tol: Any = None, caxis: int = -1, baxis: int = 0, outaxis: int = 0
) -> Any:
    c, b = np.moveaxis(array(c), caxis, -1), np.moveaxis(array(b), baxis, -1)
    fc, fb = np.fft.fft(c), np.fft.fft(b)
    size = np.abs(plain(fc))
    tol = size.max(-1, keepdims=True) * c.shape[-1] * np.finfo(size.dtype).eps if tol is None else tol
    small = size <= tol  # SciPy raises, unless it is asked for least squares
    x = np.fft.ifft(np.where(small, 0, fb / np.where(small, 1, fc)))
    real = c.dtype.kind != "c" and b.dtype.kind != "c"
    return np.moveaxis(np.real(x) if real else x, -1, outaxis)


globals().update(here.members)
__all__ = sorted(here.kinds)  # noqa: PLE0605 (every name of SciPy's module)
