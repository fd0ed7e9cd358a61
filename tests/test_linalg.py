"""Linear algebra: NumPy's values bit for bit, derivatives against differences and PyTorch, and degenerate matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import check, close, seeded, spaced

import chainrule as cr

INF, NAN = np.inf, np.nan


def regular(shape: Any, kind: Any = float, seed: object = 0) -> Any:
    """Matrices whose singular values are neither small nor close to each other."""
    x = spaced(shape, seed, dtype=kind)
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    s = 1 + np.arange(min(shape[-2:]), dtype=float)
    return ((u * s) @ vh).astype(kind)


def positive(shape: Any, kind: Any = float, seed: object = 0) -> Any:
    """Hermitian positive definite matrices, and something else in the triangle that is not read."""
    x = regular(shape, kind, seed)
    return x @ np.conj(np.swapaxes(x, -1, -2))


def along(x: Any, seed: object) -> Any:
    return np.real(np.sum(x * spaced(x.shape, seed, dtype=x.dtype)))


KINDS = (float, complex)
SQUARE: list[tuple[str, Any, tuple[Any, ...]]] = [
    ("inv", lambda a: np.linalg.inv(a), ((3, 3),)),
    ("inv batched", lambda a: np.linalg.inv(a), ((2, 2, 2),)),
    ("solve", lambda a, b: np.linalg.solve(a, b), ((3, 3), (3, 2))),
    ("solve vector", lambda a, b: np.linalg.solve(a, b), ((3, 3), (3,))),
    ("solve batched", lambda a, b: np.linalg.solve(a, b), ((2, 2, 2), (2, 2, 1))),
    ("solve batched vector", lambda a, b: np.linalg.solve(a, b), ((2, 2, 2), (2,))),
    ("solve broadcast", lambda a, b: np.linalg.solve(a, b), ((2, 2), (3, 2, 1))),
    ("solve matrix of constants", lambda b: np.linalg.solve([[2.0, 1.0], [0.0, 1.0]], b), ((2, 2),)),
    ("solve constant right", lambda a: np.linalg.solve(a, np.ones(2)), ((2, 2),)),
    ("det", lambda a: np.linalg.det(a), ((3, 3),)),
    ("det batched", lambda a: np.linalg.det(a), ((2, 2, 2),)),
    ("pinv", lambda a: np.linalg.pinv(a), ((2, 2),)),
    ("pinv tall", lambda a: np.linalg.pinv(a), ((3, 2),)),
    ("pinv wide batched", lambda a: np.linalg.pinv(a), ((2, 1, 3),)),
    ("pinv rtol", lambda a: np.linalg.pinv(a, rtol=1e-3), ((3, 2),)),
    ("pinv hermitian", lambda a: np.linalg.pinv(a, hermitian=True), ((2, 2),)),
    ("matrix_power 0", lambda a: np.linalg.matrix_power(a, 0) * a, ((2, 2),)),
    ("matrix_power 1", lambda a: np.linalg.matrix_power(a, 1) * 2, ((2, 2),)),
    ("matrix_power 3", lambda a: np.linalg.matrix_power(a, 3), ((2, 2, 2),)),
    ("matrix_power 7", lambda a: np.linalg.matrix_power(a, 7) / 1000, ((2, 2),)),
    ("matrix_power -2", lambda a: np.linalg.matrix_power(a, -2), ((2, 2),)),
    ("multi_dot 2", lambda a, b: np.linalg.multi_dot([a, b]), ((2, 3), (3, 2))),
    ("multi_dot 3", lambda a, b, c: np.linalg.multi_dot([a, b, c]), ((2, 3), (3, 2), (2, 2))),
    ("multi_dot 3 right", lambda a, b, c: np.linalg.multi_dot([a, b, c]), ((3, 3), (3, 3), (3, 1))),
    ("multi_dot 4", lambda a, b: np.linalg.multi_dot([a, b, a, b]), ((2, 3), (3, 2))),
    ("multi_dot vectors", lambda a, b, c: np.linalg.multi_dot([a, b, b, c]), ((3,), (3, 3), (3,))),
    ("multi_dot vector first", lambda a, b, c: np.linalg.multi_dot([a, b, c]), ((3,), (3, 2), (2, 2))),
    ("tensorsolve", lambda a, b: np.linalg.tensorsolve(a, b), ((2, 1, 2), (2,))),
    ("tensorsolve axes", lambda a, b: np.linalg.tensorsolve(a, b, axes=(0,)), ((2, 2, 1), (2, 1))),
    ("tensorinv", lambda a: np.linalg.tensorinv(a, ind=1), ((4, 2, 2),)),
    ("trace", lambda a: np.linalg.trace(a, offset=1), ((2, 3, 3),)),
    ("diagonal", lambda a: np.linalg.diagonal(a, offset=-1), ((2, 3, 3),)),
    ("matrix_transpose", lambda a: np.linalg.matrix_transpose(a), ((2, 3, 2),)),
    ("outer", lambda a, b: np.linalg.outer(a, b), ((2,), (3,))),
    ("matmul", lambda a, b: np.linalg.matmul(a, b), ((2, 3), (3, 2))),
    ("tensordot", lambda a, b: np.linalg.tensordot(a, b, axes=1), ((2, 3), (3, 2))),
    ("vecdot", lambda a, b: np.linalg.vecdot(a, b, axis=0), ((3, 2), (3, 2))),
    ("cross", lambda a, b: np.linalg.cross(a, b, axis=0), ((3, 2), (3, 2))),
    ("cond 1", lambda a: np.linalg.cond(a, 1), ((2, 2),)),
    ("cond fro", lambda a: np.linalg.cond(a, "fro"), ((2, 2, 2),)),
]  # fmt: skip


def made(shape: Any, kind: Any, seed: object) -> Any:
    well = len(shape) > 1 and shape[-1] == shape[-2]
    if len(shape) == 3 and shape[0] == shape[-1] * shape[-2]:  # of tensorinv
        return regular((shape[0], shape[0]), kind, seed).reshape(shape)
    return regular(shape, kind, seed) if well else spaced(shape, seed, dtype=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", SQUARE, ids=lambda case: case[0])
def test_functions_of_matrices(case: Any, kind: Any) -> None:
    name, f, shapes = case
    check(f, [made(shape, kind, (name, i)) for i, shape in enumerate(shapes)])


NORMS: list[tuple[Any, Any, Any, bool]] = [
    *((shape, ord, None, False) for ord in (None, 0, 1, 2, 3, 0.5, -1, -2, INF, -INF) for shape in [(4,)]),
    *(((2, 3, 4), ord, 1, True) for ord in (None, 1, 2.5, INF)),
    *(((3, 2), ord, None, False) for ord in (None, "fro", "nuc", 1, -1, 2, -2, INF, -INF)),
    *(((2, 3, 2), ord, (0, 2), True) for ord in (None, "fro", "nuc", 1, -1, 2, -2, INF, -INF)),
    *(((2, 3, 2), ord, (-1, 0), False) for ord in ("fro", "nuc", 1, 2, INF)),
    ((2, 3, 2), None, None, True),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", NORMS, ids=str)
def test_norms(case: Any, kind: Any) -> None:
    shape, ord, axis, keepdims = case
    x = spaced(shape, "norm", dtype=kind)
    check(lambda x: np.linalg.norm(x, ord, axis, keepdims), [x])


def test_norms_by_other_names() -> None:
    x = spaced((2, 3, 4))
    for options in ({}, {"axis": 1}, {"axis": (0, 2), "keepdims": True}, {"ord": 3}, {"ord": 1, "keepdims": True}):
        check(lambda x, options=options: np.linalg.vector_norm(x, **options), [x])
    for options in ({}, {"keepdims": True}, {"ord": "nuc"}, {"ord": 1}):
        check(lambda x, options=options: np.linalg.matrix_norm(x, **options), [x])
    with pytest.raises(ValueError, match="Invalid norm"):
        np.linalg.norm(cr.Tensor(x), "nuc", 1)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cholesky(kind: Any, upper: bool) -> None:
    """One triangle is read, and only there is the gradient."""
    for shape in ((3, 3), (2, 2, 2)):
        a = positive(shape, kind) + np.tril(np.ones(shape), -1)[..., :] * (1 if upper else 0)
        check(lambda a: np.linalg.cholesky(a, upper=upper), [a])
        gradient = cr.grad(lambda a: along(np.linalg.cholesky(a, upper=upper), "ct"))(a)
        unread = np.tril(gradient, -1) if upper else np.triu(gradient, 1)
        np.testing.assert_array_equal(unread, 0)


def test_cholesky_composed_with_symmetrisation_is_what_peers_give() -> None:
    a = positive((3, 3))
    t = torch.tensor(a, requires_grad=True)
    weights = spaced((3, 3), "w")
    (torch.linalg.cholesky((t + t.T) / 2) * torch.tensor(weights)).sum().backward()
    close(cr.grad(lambda a: np.sum(np.linalg.cholesky((a + a.T) / 2) * weights))(a), t.grad.numpy(), 1e-12)


# -- determinants of singular matrices ---------------------------------------------------------------------------
def minors(a: Any) -> Any:
    """The cofactors, by their definition."""
    n = len(a)
    return np.array(
        [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)]
            for i in range(n)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "rank"), [(1, 0), (2, 1), (2, 0), (4, 3), (4, 2), (4, 1), (5, 0), (30, 29), (30, 30)])
def test_det_of_any_rank(n: int, rank: int, kind: Any) -> None:
    random = seeded("det", n, rank)
    a = random.normal(size=(n, rank)) @ random.normal(size=(rank, n))
    if kind is complex:
        a = a @ (random.normal(size=(n, n)) + 1j * random.normal(size=(n, n)))
    desired = minors(a)
    scale = max(np.abs(desired).max(), 1e-3)
    close(cr.grad(lambda a: np.real(np.linalg.det(a)))(a) / scale, np.conj(desired) / scale, 1e-9)


def test_det_of_a_stack_of_different_ranks() -> None:
    a = np.array([np.ones((3, 3)), np.eye(3), np.zeros((3, 3)), np.diag([1.0, 2.0, 0.0])])
    gradient = cr.grad(lambda a: np.sum(np.linalg.det(a)))(a)
    close(gradient, [np.zeros((3, 3)), np.eye(3), np.zeros((3, 3)), np.diag([0.0, 0.0, 2.0])], 1e-14)


def leibniz(a: Any) -> Any:
    return (
        a[0, 0] * (a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1])
        - a[0, 1] * (a[1, 0] * a[2, 2] - a[1, 2] * a[2, 0])
        + a[0, 2] * (a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0])
    )


@pytest.mark.parametrize(
    "a", [np.zeros((3, 3)), np.ones((3, 3)), np.eye(3), np.diag([1.0, 1.0, 0.0]), np.arange(9.0).reshape(3, 3)], ids=str
)
def test_higher_derivatives_of_det_at_singular_matrices(a: Any) -> None:
    b, c, d = (spaced((3, 3), seed) for seed in "bcd")

    def third(f: Any) -> Any:
        first = cr.grad(f)
        second = cr.grad(lambda a: np.sum(first(a) * b))
        return [first(a), second(a), cr.grad(lambda a: np.sum(second(a) * c))(a), cr.jvp(second, (a,), (d,))[1]]

    for actual, desired in zip(third(np.linalg.det), third(leibniz), strict=True):
        close(actual, desired, 1e-12)


# -- values at degenerate points: in both modes, without a warning -----------------------------------------------
I2 = [[1.0, 0.0], [0.0, 1.0]]
VALUED: dict[str, tuple[Any, Any, Any]] = {
    "norm2 at 0": (lambda x: np.linalg.norm(x), [0.0, 0.0, 0.0], [0, 0, 0]),
    "norm axis=1 one zero row": (
        lambda x: np.sum(np.linalg.norm(x, axis=1)), [[0.0, 0.0], [3.0, 4.0]], [[0, 0], [0.6, 0.8]]
    ),
    "norm ord=1 at 0": (lambda x: np.linalg.norm(x, 1), [0.0, 0.0, 0.0], [0, 0, 0]),
    "norm ord=inf tie": (lambda x: np.linalg.norm(x, INF), [2.0, -2.0, 1.0], [0.5, -0.5, 0]),
    "norm ord=inf at 0": (lambda x: np.linalg.norm(x, INF), [0.0, 0.0], [0, 0]),
    "norm ord=3 axis at 0": (lambda x: np.linalg.norm(x, 3, axis=0), [0.0, 0.0, 0.0], [0, 0, 0]),
    "norm ord=0.5 one zero": (lambda x: np.linalg.norm(x, 0.5), [0.0, 4.0], [0, 1]),
    "norm of columns tie": (lambda x: np.linalg.norm(x, 1), [[1.0, -3.0], [2.0, 0.0]], [[0.5, -0.5], [0.5, 0]]),
    "norm fro at 0": (lambda x: np.linalg.norm(x, "fro"), [[0.0, 0.0]], [[0, 0]]),
    "nuc norm at I": (lambda x: np.linalg.norm(x, "nuc"), I2, I2),
    "nuc norm at 0": (lambda x: np.linalg.norm(x, "nuc"), [[0.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
    "nuc norm rank 1": (lambda x: np.linalg.norm(x, "nuc"), [[2.0, 0.0], [0.0, 0.0]], [[1, 0], [0, 0]]),
    "spectral norm at I (tie)": (lambda x: np.linalg.norm(x, 2), I2, [[0.5, 0], [0, 0.5]]),
    "spectral norm at 0": (lambda x: np.linalg.norm(x, 2), [[0.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
    "least singular value 0": (lambda x: np.linalg.norm(x, -2), [[2.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
    "det rank n-1": (lambda x: np.linalg.det(x), [[1.0, 2.0], [2.0, 4.0]], [[4, -2], [-2, 1]]),
    "det rank n-2": (lambda x: np.linalg.det(x), np.ones((3, 3)), np.zeros((3, 3))),
    "det zero 3x3": (lambda x: np.linalg.det(x), np.zeros((3, 3)), np.zeros((3, 3))),
    "det of nothing": (lambda x: np.linalg.det(x), np.zeros((0, 0)), np.zeros((0, 0))),
    "cholesky asym input": (
        lambda x: np.sum(np.linalg.cholesky(x)), [[2.0, 9.0], [1.0, 2.0]],
        [[0.2788388, 0], [0.2988585, 0.4082483]],
    ),
    "cond of singular": (lambda x: np.linalg.cond(x), [[1.0, 0.0], [0.0, 0.0]], np.zeros((2, 2))),
    "cond -2 of singular": (lambda x: np.linalg.cond(x, -2), [[1.0, 0.0], [0.0, 0.0]], np.zeros((2, 2))),
    "cond fro of singular": (lambda x: np.linalg.cond(x, "fro"), [[1.0, 0.0], [0.0, 0.0]], np.zeros((2, 2))),
}  # fmt: skip


@pytest.mark.parametrize(("f", "x", "desired"), VALUED.values(), ids=VALUED)
def test_valued_cases(f: Any, x: Any, desired: Any) -> None:
    """Rows of the table of tests/test_semantics.py, in both modes."""
    x = np.array(x)
    np.testing.assert_allclose(cr.grad(f)(x), desired, atol=1e-7)
    columns = [cr.jvp(f, (x,), (unit.reshape(x.shape),))[1] for unit in np.eye(x.size)]
    np.testing.assert_allclose(np.reshape(columns, x.shape), desired, atol=1e-7)


@pytest.mark.parametrize("hermitian", [False, True])
def test_pinv_of_deficient_rank_is_warned_of(hermitian: bool) -> None:
    """The row pinv rank1 of SEMANTICS: the derivative among matrices of rank 1."""
    x, desired = np.ones((2, 2)), np.array([[-0.25, 0], [-0.5, -0.25]] if hermitian else np.full((2, 2), -0.25))

    def f(x: Any) -> Any:
        return np.sum(np.linalg.pinv(x, hermitian=hermitian))

    with pytest.warns(cr.errors.DegenerateSpectrumWarning, match="pinv of a matrix of deficient rank"):
        close(cr.grad(f)(x), desired, 1e-12)
    with pytest.warns(cr.errors.DegenerateSpectrumWarning, match="pinv of a matrix of deficient rank"):
        close(cr.jvp(f, (x,), (desired,))[1], np.sum(desired**2), 1e-12)


def test_second_derivatives_at_zero_norm() -> None:
    for ord in (None, 1, 3, INF):
        hessian = cr.jvp(cr.grad(lambda x, p=ord: np.linalg.norm(x, p)), (np.zeros(2),), (np.ones(2),))[1]
        np.testing.assert_array_equal(hessian, [0, 0])


# -- the rest ----------------------------------------------------------------------------------------------------
def test_matrix_rank_is_plain() -> None:
    assert np.linalg.matrix_rank(cr.Tensor(np.ones((3, 3)))) == 1


def test_single_precision() -> None:
    x = positive((3, 3)).astype(np.float32)
    for f in (
        np.linalg.inv, np.linalg.det, np.linalg.cholesky, np.linalg.pinv, np.linalg.norm,
        lambda x: np.linalg.norm(x, 2), lambda x: np.linalg.norm(x, 1), lambda x: np.linalg.solve(x, x[0]),
        lambda x: np.linalg.cond(x, 1), lambda x: np.linalg.cond(x, "fro"),
        lambda x: np.linalg.lstsq(x, x[0], rcond=None)[0], lambda x: np.linalg.lstsq(x[:, :2], x[0], rcond=None)[1],
    ):  # fmt: skip
        value, pullback = cr.vjp(f, x)
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, f(x))
        assert pullback(np.ones_like(value))[0].dtype == np.float32
        assert cr.jvp(f, (x,), (x,))[1].dtype == np.float32


def test_errors_are_numpys() -> None:
    t = cr.Tensor(np.ones((2, 2)))
    for f in (np.linalg.inv, np.linalg.cholesky, lambda t: np.linalg.solve(t - t, t)):
        with pytest.raises(np.linalg.LinAlgError):
            f(t - t)
    for f in (np.linalg.inv, np.linalg.det):
        with pytest.raises(np.linalg.LinAlgError, match="square"):
            f(cr.Tensor(np.ones((2, 3))))
    with pytest.raises(np.linalg.LinAlgError, match="not square"):
        np.linalg.tensorsolve(cr.Tensor(np.ones((2, 3))), np.ones(2))
    with pytest.raises(ValueError, match="at least two"):
        np.linalg.multi_dot([t])
    with pytest.raises(ValueError, match="3-dimensional"):
        np.linalg.cross(t, t)
