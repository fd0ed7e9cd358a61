"""chainrule.scipy.sparse: products and solutions, in values, right-hand sides and what operators depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from oracle import check, close, same, spaced

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import sparse
from chainrule.scipy.sparse import linalg

N = 6
ROW = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 0, 3])
COL = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 2, 0, 1])  # (0, 0) twice: the two add up
DATA = np.where(ROW == COL, 4.0, 0.7) + spaced(ROW.shape, "data") / 10
B = spaced((N,), "b")
KINDS = {"coo": sparse.coo_array, "csr": sparse.csr_array, "csc": sparse.csc_array}


def matrix(d: Any, kind: str = "csr") -> Any:
    return KINDS[kind]((d, (ROW, COL)), shape=(N, N))


def dense(d: Any) -> Any:
    return np.reshape(sum(d[e] * (np.arange(N * N) == ROW[e] * N + COL[e]) for e in range(len(ROW))), (N, N))


# -- matrices ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_products(kind: str) -> None:
    check(lambda d, x: matrix(d, kind) @ x, [DATA, B])
    check(lambda d, x: matrix(d, kind).T @ x, [DATA, spaced((N, 2), "x")])
    check(lambda d: matrix(d + 0j * d, kind) @ (B + 1j * B[::-1]), [DATA])
    close(cr.jvp(lambda d: matrix(d, kind).toarray(), (DATA,), (DATA,))[1], dense(DATA), 1e-12)
    assert type(matrix(DATA, kind)) is getattr(scipy.sparse, f"{kind}_array")


def test_compressed_forms() -> None:
    csr = scipy.sparse.random_array((4, 5), density=0.5, rng=0, format="csr")
    for theirs in (csr, csr.tocsc()):
        made = KINDS[theirs.format]
        ours = made((cr.Tensor(theirs.data), theirs.indices, theirs.indptr), shape=(4, 5))
        assert (ours.shape, ours.format, ours.dtype) == (theirs.shape, theirs.format, theirs.dtype)
        same((ours @ np.arange(5.0)).data, theirs @ np.arange(5.0))
        check(lambda d, m=made, t=theirs: m((d, t.indices, t.indptr), shape=(4, 5)) @ np.arange(5.0), [theirs.data])
        assert "shape (4, 5)" in repr(ours)
    assert sparse.csr_array(np.eye(2)).nnz == 2


# -- solutions ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_spsolve(kind: str) -> None:
    def ours(d: Any, b: Any) -> Any:
        return linalg.spsolve(matrix(d, kind) if kind != "coo" else matrix(d, "csc"), b)

    check(ours, [DATA, B])
    check(ours, [DATA, spaced((N, 2), "columns")])
    slopes = [cr.vjp(f, DATA, B)[1](B) for f in (ours, lambda d, b: np.linalg.solve(dense(d), b))]
    for a, b in zip(*slopes, strict=True):
        close(a, b, 1e-12)


def test_spsolve_to_third_order() -> None:
    def total(c: Any, solve: Any) -> Any:
        return np.sum(solve(DATA * c) ** 2)

    def third(f: Any) -> Any:
        return cr.grad(lambda c: cr.jvp(cr.grad(f), (c,), (1.0,))[1])(1.2)

    ours = third(lambda c: total(c, lambda d: linalg.spsolve(matrix(d), B)))
    close(ours, third(lambda c: total(c, lambda d: np.linalg.solve(dense(d), B))), 1e-10)
    close(ours, -24 * 1.2**-5 * np.sum(np.linalg.solve(dense(DATA), B) ** 2), 1e-10)


SYMMETRIC = ("cg", "minres")
SOLVERS = ("bicg", "bicgstab", "cg", "cgs", "gcrotmk", "gmres", "lgmres", "minres", "qmr", "tfqmr")


@pytest.mark.parametrize("name", SOLVERS)
def test_iterative_solvers(name: str) -> None:
    solve = getattr(linalg, name)
    entries = np.concatenate([DATA, DATA])
    both = (np.concatenate([ROW, COL]), np.concatenate([COL, ROW]))

    def ours(d: Any, b: Any) -> Any:
        A = sparse.csr_array((np.concatenate([d, d]), both), shape=(N, N)) if name in SYMMETRIC else matrix(d)
        x, info = solve(A, b, rtol=1e-13)
        assert info == 0
        return x

    assert entries.size == both[0].size
    check(ours, [DATA, B], tolerance=1e-6)


@pytest.mark.parametrize("name", ["cg", "gmres", "bicgstab", "qmr"])
def test_operators_that_read_tensors(name: str) -> None:
    """A matvec function of parameters; its transpose is never written down."""

    def ours(k: Any, b: Any) -> Any:
        def matvec(v: Any) -> Any:
            ends = np.concatenate([np.zeros(1), v, np.zeros(1)])
            drift = 0 if name == "cg" else k[1] * ends[:-2]
            return (2 + k[0]) * v - ends[:-2] - ends[2:] + drift

        A = linalg.LinearOperator((N, N), matvec=matvec, dtype=float)
        return getattr(linalg, name)(A, b, rtol=1e-13)[0]

    check(ours, [np.array([0.8, 0.3]), B], tolerance=1e-6)
    dtype = type(linalg.cg(np.eye(2), np.ones(2))[0])
    assert dtype is np.ndarray


def test_dense_and_plain_matrices() -> None:
    A = dense(DATA)
    check(lambda A, b: linalg.gmres(A, b, rtol=1e-13)[0], [A, B], tolerance=1e-6)
    check(lambda b: linalg.gmres(scipy.sparse.csr_array(A), b, rtol=1e-13)[0], [B])
    check(lambda b: linalg.spsolve(scipy.sparse.csc_array(A), b), [B])


def test_preconditioners_are_turned_in_reverse() -> None:
    A = scipy.sparse.csc_array(dense(DATA))
    factors = scipy.sparse.linalg.spilu(A)
    as_operator = linalg.LinearOperator((N, N), matvec=factors.solve, rmatvec=lambda v: factors.solve(v, "T"))
    for M in (as_operator, np.diag(1 / A.diagonal()), scipy.sparse.diags_array(1 / A.diagonal())):
        check(lambda d, b, M=M: linalg.gmres(matrix(d), b, rtol=1e-13, M=M)[0], [DATA, B], order=1, tolerance=1e-6)
    scale = scipy.sparse.linalg.aslinearoperator(scipy.sparse.diags_array(1 / np.sqrt(A.diagonal())))
    check(lambda d: linalg.qmr(matrix(d), B, rtol=1e-13, M1=scale, M2=scale)[0], [DATA], order=1, tolerance=1e-6)


def test_values_are_scipys() -> None:
    A = scipy.sparse.csr_array(dense(DATA))
    same(linalg.spsolve(A, cr.Tensor(B)).data, scipy.sparse.linalg.spsolve(A, B))
    for name in SOLVERS:
        seen: list[Any] = []
        options = {"callback_type": "x"} if name == "gmres" else {}
        expected = getattr(scipy.sparse.linalg, name)(A, B)
        same(getattr(linalg, name)(A, B, callback=seen.append, **options)[0], expected[0])
        same(getattr(linalg, name)(A, cr.Tensor(B))[0].data, expected[0])
        assert seen


def test_a_derivative_that_does_not_converge_raises() -> None:
    b = cr.Tensor(np.eye(1, N)[0])
    A = scipy.sparse.diags_array(np.arange(1.0, N + 1))
    x, info = linalg.cg(A, b, maxiter=2)  # b is an eigenvector: one iteration does
    assert info == 0
    with pytest.raises(np.linalg.LinAlgError, match="cg did not converge"):
        np.sum(x * np.ones(N)).backward()


def test_what_is_not_differentiated_raises() -> None:
    with pytest.raises(UnsupportedFunctionError, match="matrix must be sparse"):
        linalg.spsolve(cr.Tensor(np.eye(2)), np.ones(2))
    with pytest.raises(UnsupportedFunctionError, match=r"scipy\.sparse\.linalg\.splu.*spsolve"):
        linalg.splu(cr.Tensor(np.eye(2)))


# -- products with SciPy's own matrices --------------------------------------------------------------------------------
DENSE = np.array([[0, 2.0, 0, 0.5], [1.5, 0, 0, 0], [0, 0, 0, -1.0]])


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.coo_array])
@pytest.mark.parametrize("matrix", [False, True])
@pytest.mark.parametrize(
    ("product", "shape"),
    [
        (lambda A, x: A @ np.sin(x), (4,)),
        (lambda A, x: A @ np.sin(x), (4, 2)),
        (lambda A, x: np.sin(x) @ A, (3,)),
        (lambda A, x: np.sin(x) @ A, (2, 3)),
        (lambda A, x: A.dot(np.sin(x)), (4,)),
    ],
)
def test_products_of_a_constant_matrix(product, shape, make, matrix):
    A = make(DENSE)
    A = scipy.sparse.csr_matrix(A).asformat(A.format) if matrix else A
    x = spaced(shape, "constant matrix")
    sparse, dense = (lambda x: product(A, x)), (lambda x: product(DENSE, x))
    check(sparse, [x])
    for mode in ("fwd", "rev"):
        np.testing.assert_allclose(cr.jacobian(sparse, mode=mode)(x), cr.jacobian(dense, mode=mode)(x), atol=1e-15)
    expected = cr.jacobian(dense)(x).reshape(-1, x.size)
    assert cr.sparsity(sparse, x).nnz == np.count_nonzero(expected)
    np.testing.assert_allclose(cr.sparse_jacobian(sparse)(x).toarray(), expected, atol=1e-15)
    hessian = cr.sparse_hessian(lambda x: np.sum(sparse(x) ** 3))(x).toarray()
    np.testing.assert_allclose(
        hessian, cr.hessian(lambda x: np.sum(dense(x) ** 3))(x).reshape(x.size, x.size), atol=1e-14
    )
    np.testing.assert_allclose(cr.vmap(sparse)(np.stack([x, 2 * x])), [dense(x), dense(2 * x)], atol=1e-15)


SYSTEMS: dict[str, Any] = {
    "cg": lambda t: linalg.cg(np.diag(t**2) + 0.1, t, rtol=1e-13)[0],
    "gmres": lambda t: linalg.gmres(np.diag(t**2) + 0.1, t, rtol=1e-13)[0],
    "spsolve": lambda t: linalg.spsolve(sparse.csr_array((t**2, [0, 1, 2], [0, 1, 2, 3])), np.ones(3)),
    "cg of an operator": lambda t: linalg.cg(
        linalg.LinearOperator((3, 3), matvec=lambda v: t**2 * v + 0.1 * np.sum(v), dtype=float), t, rtol=1e-13
    )[0],
    "cg of a sparse matrix": lambda t: linalg.cg(sparse.csr_array((t**2, [0, 1, 2], [0, 1, 2, 3])), t**3, rtol=1e-13)[
        0
    ],
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_many_systems(name: str) -> None:
    """Of many examples, and along many directions."""
    solve, x = SYSTEMS[name], np.array([2.0, 3.0, 1.5])
    slope = cr.grad(lambda t: np.sum(np.sin(solve(t))))
    rows = np.stack([x, x * 1.1])
    np.testing.assert_allclose(cr.vmap(solve)(rows), [solve(t) for t in rows], rtol=1e-12)
    np.testing.assert_allclose(cr.vmap(slope)(rows), [slope(t) for t in rows], rtol=1e-9)
    np.testing.assert_allclose(cr.jacobian(solve, mode="fwd")(x), cr.jacobian(solve, mode="rev")(x), rtol=1e-9)
    expected = [(slope(x + e) - slope(x - e)) / 2e-5 for e in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(cr.jacobian(slope, mode="fwd")(x), expected, rtol=1e-6, atol=1e-9)
