"""chainrule.scipy.linalg: values are SciPy's, derivatives agree with differences, and with PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from oracle import check, check_dtypes, check_value, cotangents, same, spaced

import chainrule as cr
from chainrule.errors import DegenerateSpectrumWarning, UnsupportedFunctionError
from chainrule.scipy import linalg


def square(seed: Any, n: int = 3, dtype: Any = float, batch: tuple[int, ...] = ()) -> np.ndarray:
    """Well conditioned, with eigenvalues in the right half plane."""
    return spaced((*batch, n, n), seed, dtype=dtype) / n + 2 * np.eye(n, dtype=dtype)


def positive(seed: Any, n: int = 3, dtype: Any = float, batch: tuple[int, ...] = ()) -> np.ndarray:
    a = spaced((*batch, n, n), seed, dtype=dtype)
    return a @ np.conj(np.swapaxes(a, -1, -2)) / n + 2 * np.eye(n, dtype=dtype)


def phased(w: Any, *vectors: Any) -> Any:
    """Eigenvectors whose first element is positive: their signs, or phases, are LAPACK's choice."""
    return w, *(v * np.conj(v[..., :1, :]) / np.abs(v[..., :1, :]) for v in vectors)


MATRIX_FUNCTIONS = ["expm", "logm", "sqrtm", "cosm", "sinm", "tanm", "coshm", "sinhm", "tanhm", "signm"]


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", MATRIX_FUNCTIONS)
def test_functions_of_a_matrix(name: str, dtype: Any) -> None:
    a = square(name, dtype=dtype) / (2 if name == "tanm" else 1)
    check(getattr(linalg, name), [a / 3 if name == "tanm" else a], tolerance=1e-6)


LOGM = "ignore:logm result may be inaccurate:RuntimeWarning"  # SciPy's verdict on float32


@pytest.mark.filterwarnings(LOGM)
@pytest.mark.parametrize("name", ["expm", "sqrtm", "logm"])
def test_functions_of_a_matrix_in_stacks_and_float32(name: str) -> None:
    f = getattr(linalg, name)
    check(f, [square(name, 2, batch=(3,))], tolerance=1e-6)
    check_dtypes(f, [square(name, 3, np.float32)])
    check_dtypes(f, [square(name, 3, np.complex64)])


@pytest.mark.parametrize("name", ["expm", "sqrtm"])
def test_second_derivatives_of_a_batch(name: str) -> None:
    def f(a: Any) -> Any:
        return np.sum(getattr(linalg, name)(a @ a.T + np.eye(2)) ** 2)

    a = np.array([[0.3, -0.2], [0.5, 0.1]])
    expected = [(cr.grad(f)(a + e) - cr.grad(f)(a - e)) / 2e-5 for e in 1e-5 * np.eye(4).reshape(4, 2, 2)]
    np.testing.assert_allclose(cr.hessian(f)(a).reshape(4, 4), np.reshape(expected, (4, 4)), rtol=1e-6, atol=1e-7)
    infinite = np.array([np.eye(2), np.full((2, 2), np.inf)])  # a direction that SciPy would refuse spoils no other one
    pushed = cr.vmap(lambda v: cr.jvp(getattr(linalg, name), (np.eye(2),), (v,))[1])(infinite)
    assert np.isfinite(pushed[0]).all()
    assert np.isnan(pushed[1]).all()


def test_sqrtm_and_logm_of_negative_eigenvalues() -> None:
    a = np.array([[-1.0, 0.3], [0.2, 2.0]])
    check(lambda a: linalg.sqrtm(a @ a @ a), [a], tolerance=1e-6)
    check(linalg.logm, [a], tolerance=1e-6)


def test_expm_third_order_and_torch() -> None:
    a = square("third")
    t = torch.tensor(a, requires_grad=True)
    (expected,) = torch.autograd.grad((torch.matrix_exp(t) ** 2).sum(), t)
    np.testing.assert_allclose(cr.grad(lambda a: np.sum(linalg.expm(a) ** 2))(a), expected, rtol=1e-12)
    e = spaced((3, 3), "direction")

    def along(s: Any) -> Any:
        return np.sum(linalg.expm(a + s * e) * e)

    third = cr.grad(cr.grad(cr.grad(along)))(0.0)
    second = [cr.grad(cr.grad(along))(s) for s in (-1e-4, 1e-4)]
    np.testing.assert_allclose(third, (second[1] - second[0]) / 2e-4, rtol=1e-6)


def test_expm_of_large_and_zero_directions() -> None:
    a = square("scale")
    value, change = cr.jvp(linalg.expm, (a,), (1e10 * np.eye(3),))
    np.testing.assert_allclose(change, 1e10 * value, rtol=1e-12)
    assert not cr.jvp(linalg.expm, (a,), (np.zeros((3, 3)),))[1].any()
    np.testing.assert_array_equal(cr.grad(lambda a: np.sum(linalg.expm(a)))(np.zeros((3, 3))), np.ones((3, 3)))


BAND, UPPER_BAND = spaced((4, 5), "band") + 6 * np.eye(4)[1][:, None], spaced((3, 5), "ub") + 6 * np.eye(3)[2][:, None]
LOWER_BAND = UPPER_BAND[::-1]
TALL, WIDE = spaced((4, 3), "tall"), spaced((3, 4), "wide")
V, M = spaced((3,), "v"), spaced((3, 2), "m")
A, P, B5 = square("a"), positive("p"), spaced((5,), "b5")

CASES: dict[str, tuple[Any, list[Any]]] = {
    "fractional_matrix_power": (lambda a: linalg.fractional_matrix_power(a, 0.7), [A]),
    "fractional_matrix_power of both": (linalg.fractional_matrix_power, [A, np.float64(0.7)]),
    "expm_frechet": (linalg.expm_frechet, [A, M @ M.T]),
    "expm_frechet alone": (lambda a, e: linalg.expm_frechet(a, e, compute_expm=False), [A, M @ M.T]),
    "solve": (linalg.solve, [A, V]),
    "solve matrix": (linalg.solve, [A, M]),
    "solve stack": (linalg.solve, [square("s", batch=(2,)), M]),
    "solve stack vector": (linalg.solve, [square("s", batch=(2,)), V]),
    "solve transposed": (lambda a, b: linalg.solve(a, b, transposed=True), [A, V]),
    **{
        f"solve {kind} {lower}": (lambda a, b, k=kind, lo=lower: linalg.solve(a, b, assume_a=k, lower=lo), [P, M])
        for kind in ("sym", "her", "pos", "gen", "diagonal", "tridiagonal", "upper triangular", "lower triangular")
        for lower in (False, True)
    },
    "solve banded kind": (lambda a, b: linalg.solve(a, b, assume_a="banded"), [A, M]),
    "inv": (linalg.inv, [A]),
    "inv pos": (lambda a: linalg.inv(a, assume_a="pos", lower=True), [P]),
    **{
        f"solve_triangular {trans} {lower} {unit}": (
            lambda a, b, t=trans, lo=lower, u=unit: linalg.solve_triangular(a, b, t, lo, u),
            [A, V if unit else M],
        )
        for trans in (0, 1, "C")
        for lower in (False, True)
        for unit in (False, True)
    },
    "solve_triangular stack": (linalg.solve_triangular, [square("st", batch=(2,)), V]),
    "lu": (lambda a: linalg.lu(a)[1:], [A]),
    "lu permuted": (lambda a: linalg.lu(a, permute_l=True), [square("lu", 4)]),
    "lu tall": (lambda a: linalg.lu(a, p_indices=True)[1:], [TALL]),
    "lu wide": (lambda a: linalg.lu(a)[1:], [WIDE]),
    "lu stack": (lambda a: linalg.lu(a)[1:], [square("lus", batch=(2,))]),
    "lu_factor": (lambda a: linalg.lu_factor(a)[0], [A]),
    "lu_factor tall": (lambda a: linalg.lu_factor(a)[0], [TALL]),
    "lu_factor wide": (lambda a: linalg.lu_factor(a)[0], [WIDE]),
    **{
        f"lu_solve {trans}": (lambda a, b, t=trans: linalg.lu_solve((a, np.array([2, 1, 2])), b, t), [A, M])
        for trans in (0, 1, 2)
    },
    "cho_solve lower": (lambda c, b: linalg.cho_solve((c, True), b), [A, V]),
    "cho_solve upper": (lambda c, b: linalg.cho_solve((c, False), b), [A, M]),
    "cholesky upper": (linalg.cholesky, [P]),
    "cholesky lower": (lambda a: linalg.cholesky(a, lower=True), [P]),
    "cho_factor": (lambda a: linalg.cho_factor(a)[0], [P]),
    "cho_factor lower": (lambda a: linalg.cho_factor(a, lower=True)[0], [P]),
    "qr": (linalg.qr, [TALL]),
    "qr r": (lambda a: linalg.qr(a, mode="r"), [TALL]),
    "qr economic": (lambda a: linalg.qr(a, mode="economic"), [TALL]),
    "qr wide": (linalg.qr, [WIDE]),
    "rq": (linalg.rq, [TALL]),
    "rq r": (lambda a: linalg.rq(a, mode="r"), [WIDE]),
    "rq economic": (lambda a: linalg.rq(a, mode="economic"), [WIDE]),
    "rq complex": (lambda a: linalg.rq(a + 1j * a[::-1, ::-1], mode="economic"), [WIDE]),
    "qr pivoting": (lambda a: linalg.qr(a, mode="economic", pivoting=True)[:2], [TALL]),
    "svd": (lambda a: linalg.svd(a, full_matrices=False), [TALL]),
    "svd gesvd": (lambda a: linalg.svd(a, full_matrices=False, lapack_driver="gesvd"), [WIDE]),
    "svd without vectors": (lambda a: linalg.svd(a, compute_uv=False), [WIDE]),
    "svdvals": (linalg.svdvals, [WIDE]),
    "eigh": (lambda a: phased(*linalg.eigh(a)), [P]),
    "eigh upper": (lambda a: phased(*linalg.eigh(a, lower=False)), [P]),
    "eigh ev": (lambda a: phased(*linalg.eigh(a, driver="ev")), [P]),
    "eigh subset": (lambda a: phased(*linalg.eigh(a, subset_by_index=[1, 2])), [P]),
    "eigh by value": (lambda a: phased(*linalg.eigh(a, subset_by_value=[2.1, np.inf])), [P]),
    "eigh values": (lambda a: linalg.eigh(a, eigvals_only=True), [P]),
    **{
        f"eigh of two {type}": (lambda a, b, t=type: phased(*linalg.eigh(a, b, type=t)), [P, positive("b")])
        for type in (1, 2, 3)
    },
    "eigvalsh": (lambda a: linalg.eigvalsh(a, lower=False), [P]),
    "eigvalsh of two": (linalg.eigvalsh, [P, positive("b")]),
    "eig": (lambda a: phased(*linalg.eig(a)), [A]),
    "eig left": (lambda a: phased(*linalg.eig(a @ a.T, left=True)), [A]),
    "eigvals": (linalg.eigvals, [A]),
    "eigh_tridiagonal": (lambda d, e: phased(*linalg.eigh_tridiagonal(d, e)), [spaced((4,), "d"), spaced((3,), "e")]),
    "eigvalsh_tridiagonal": (linalg.eigvalsh_tridiagonal, [spaced((4,), "d"), spaced((3,), "e")]),
    "eig_banded": (lambda a: phased(*linalg.eig_banded(a)), [UPPER_BAND]),
    "eig_banded lower": (lambda a: phased(*linalg.eig_banded(a, lower=True)), [LOWER_BAND]),
    "eigvals_banded": (linalg.eigvals_banded, [UPPER_BAND]),
    "det": (linalg.det, [A]),
    "det stack": (linalg.det, [square("d", batch=(2,))]),
    "pinv": (linalg.pinv, [TALL]),
    "pinvh": (linalg.pinvh, [P]),
    "pinvh upper": (lambda a: linalg.pinvh(a, lower=False), [P]),
    **{
        f"norm {ord}": (lambda a, o=ord: np.multiply(linalg.norm(a, o), 1), [TALL])
        for ord in (None, 1, -1, 2, np.inf, "fro", "nuc")
    },
    "norm of rows": (lambda a: linalg.norm(a, 3, axis=1, keepdims=True), [TALL]),
    "lstsq": (lambda a, b: linalg.lstsq(a, b)[:2], [TALL, spaced((4, 2), "b")]),
    "lstsq vector": (lambda a, b: linalg.lstsq(a, b)[0], [TALL, spaced((4,), "b")]),
    "lstsq wide": (lambda a, b: (linalg.lstsq(a, b)[0], linalg.lstsq(a, b)[3]), [WIDE, V]),
    "lstsq gelsy": (lambda a, b: linalg.lstsq(a, b, lapack_driver="gelsy")[0], [TALL, spaced((4,), "b")]),
    "solve_banded": (lambda ab, b: linalg.solve_banded((2, 1), ab, b), [BAND, B5]),
    "solve_banded matrix": (lambda ab, b: linalg.solve_banded((1, 2), ab[::-1], b), [BAND[::-1], spaced((5, 2), "b")]),
    "solveh_banded": (linalg.solveh_banded, [UPPER_BAND, B5]),
    "solveh_banded lower": (lambda a, b: linalg.solveh_banded(a, b, lower=True), [LOWER_BAND, spaced((5, 2), "b")]),
    "cholesky_banded": (linalg.cholesky_banded, [UPPER_BAND]),
    "cholesky_banded lower": (lambda a: linalg.cholesky_banded(a, lower=True), [LOWER_BAND]),
    "cho_solve_banded": (lambda c, b: linalg.cho_solve_banded((c, False), b), [UPPER_BAND, B5]),
    "cho_solve_banded lower": (lambda c, b: linalg.cho_solve_banded((c, True), b), [LOWER_BAND, spaced((5, 2), "b")]),
    "solve_sylvester": (linalg.solve_sylvester, [A, square("sb", 2), M]),
    "solve_continuous_lyapunov": (linalg.solve_continuous_lyapunov, [A, M @ M.T]),
    "solve_discrete_lyapunov": (linalg.solve_discrete_lyapunov, [A / 4, M @ M.T]),
    "solve_discrete_lyapunov bilinear": (lambda a, q: linalg.solve_discrete_lyapunov(a, q, "bilinear"), [A / 4, P]),
    "solve_continuous_are": (
        lambda a, b, q, r: linalg.solve_continuous_are(a, b, q + q.T, r + r.T),
        [A, M, P, positive("r", 2)],
    ),
    "solve_discrete_are": (
        lambda a, b, q, r: linalg.solve_discrete_are(a, b, q + q.T, r + r.T),
        [A / 2, M, P, positive("r", 2)],
    ),
    "solve_toeplitz": (lambda c, b: linalg.solve_toeplitz(c, b), [np.array([3.0, 1.0, 0.5]), V]),
    "solve_toeplitz of both": (
        lambda c, r, b: linalg.solve_toeplitz((c, r), b),
        [np.array([3.0, 1.0, 0.5]), np.array([3.0, 0.3, -0.5]), M],
    ),
    "matmul_toeplitz": (lambda c, r, x: linalg.matmul_toeplitz((c, r), x), [V, spaced((4,), "r"), spaced((4, 2), "x")]),
    "solve_circulant": (linalg.solve_circulant, [V, M]),
    "polar": (linalg.polar, [A]),
    "polar left": (lambda a: linalg.polar(a, "left"), [WIDE]),
    "orthogonal_procrustes": (linalg.orthogonal_procrustes, [A, P]),
    "subspace_angles": (linalg.subspace_angles, [spaced((5, 2), "sa"), spaced((5, 3), "sb")]),
    "projector on range": (lambda a: linalg.orth(a) @ linalg.orth(a).T, [TALL]),
    "projector on null space": (lambda a: linalg.null_space(a) @ linalg.null_space(a).T, [WIDE]),
    "matrix_balance": (lambda a: linalg.matrix_balance(a)[0], [A * np.array([[1], [50], [0.05]])]),
    "toeplitz": (linalg.toeplitz, [V]),
    "toeplitz of both": (linalg.toeplitz, [V, spaced((4,), "r")]),
    "hankel": (linalg.hankel, [V]),
    "hankel of both": (linalg.hankel, [V, spaced((4,), "r")]),
    "circulant": (linalg.circulant, [V]),
    "leslie": (linalg.leslie, [V, spaced((2,), "s")]),
    "convolution_matrix": (lambda a: linalg.convolution_matrix(a, 4, "same"), [V]),
    "diagsvd": (lambda s: linalg.diagsvd(s, 3, 4), [V]),
    "block_diag": (linalg.block_diag, [A, V, M]),
    "companion": (linalg.companion, [V]),
    "fiedler_companion": (linalg.fiedler_companion, [spaced((5,), "fc")]),
    "fiedler": (linalg.fiedler, [V]),
    "khatri_rao": (linalg.khatri_rao, [A, WIDE[:, :3]]),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str) -> None:
    f, args = CASES[name]
    check(f, args, tolerance=2e-6, seed=name)


COMPLEX = [
    "solve", "solve stack vector", "solve sym False", "solve her True", "solve pos False",
    "solve_triangular C True True",
    "solve_triangular 1 False False", "lu", "lu tall", "lu wide", "lu_solve 1", "lu_solve 2", "cho_solve upper",
    "cho_factor lower", "cholesky upper", "eigh of two 1", "eigh of two 2", "eigh of two 3", "eigvalsh of two", "det",
    "pinvh", "solve_banded", "solveh_banded", "solveh_banded lower", "cholesky_banded", "cholesky_banded lower",
    "cho_solve_banded", "cho_solve_banded lower", "eig_banded lower", "solve_sylvester", "solve_continuous_lyapunov",
    "solve_discrete_lyapunov", "solve_toeplitz", "solve_toeplitz of both", "matmul_toeplitz", "solve_circulant",
    "toeplitz", "hankel of both", "block_diag", "companion", "norm None", "lstsq", "khatri_rao", "polar",
    "expm_frechet", "fractional_matrix_power",
]  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name: str) -> None:
    f, args = CASES[name]
    args = [arg + 0.1j * spaced(arg.shape, (name, i)) for i, arg in enumerate(args)]
    check(f, args, tolerance=2e-6, seed=name)


@pytest.mark.filterwarnings(LOGM)
@pytest.mark.parametrize("name", sorted(set(CASES) - {"solve_toeplitz", "solve_toeplitz of both"}))
def test_float32(name: str) -> None:
    f, args = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateSpectrumWarning)  # ones are no sensible cotangents of vectors
        check_dtypes(f, [arg.astype(np.float32) for arg in args])


def test_lu_agrees_with_torch() -> None:
    a = square("torch", 4)
    t = torch.tensor(a, requires_grad=True)
    _, l, u = torch.linalg.lu(t)
    (expected,) = torch.autograd.grad((l**3).sum() + (u**2).sum(), t)

    def loss(a: Any) -> Any:
        _, l, u = linalg.lu(a)
        return np.sum(l**3) + np.sum(u**2)

    np.testing.assert_allclose(cr.grad(loss)(a), expected, rtol=1e-10)


def test_one_triangle_is_read() -> None:
    """C22: the derivative is zero where SciPy does not look."""
    a = np.array([[2.0, 9.0], [1.0, 2.0]])
    gradient = cr.grad(lambda a: np.sum(linalg.cholesky(a, lower=True)))(a)
    np.testing.assert_allclose(gradient, [[0.2788, 0], [0.2989, 0.4082]], atol=1e-4)
    for f in (
        lambda a: np.sum(linalg.solve(a, np.ones(2), assume_a="pos", lower=True)),
        lambda a: np.sum(linalg.eigvalsh(a) ** 3),
        lambda a: np.sum(linalg.cho_solve((a, True), np.ones(2))),
        lambda a: np.sum(linalg.pinvh(a)),
    ):
        assert cr.grad(f)(a)[0, 1] == 0
        assert cr.grad(f)(a)[1, 0] != 0


def test_choice_of_a_basis_warns() -> None:
    a = spaced((2, 4), "basis")
    with pytest.warns(DegenerateSpectrumWarning):
        cr.grad(lambda a: np.sum(linalg.null_space(a) * spaced((4, 2), "w")))(a)


def test_arrays_are_not_overwritten() -> None:
    a, b = np.asfortranarray(square("o")), spaced((3,), "ob")
    t, s = cr.Tensor(a, copy=False), cr.Tensor(b, copy=False)
    linalg.solve(t, s, overwrite_a=True, overwrite_b=True)
    linalg.lu_factor(t, True)
    linalg.svd(t, overwrite_a=True)
    linalg.cholesky(a @ t, overwrite_a=True)
    linalg.qr(t, overwrite_a=True, check_finite=False)
    np.testing.assert_array_equal(a, square("o"))
    np.testing.assert_array_equal(b, spaced((3,), "ob"))


def test_what_is_not_finite_passes_through_derivatives() -> None:
    """SciPy raises on infinite and NaN arguments, unless told otherwise; a backward pass never does."""
    a, b = square("finite"), np.array([np.nan, 1.0, 2.0])
    with pytest.raises(ValueError, match="infs or NaNs"):
        linalg.solve_triangular(cr.Tensor(a), cr.Tensor(b))
    assert np.isnan(linalg.solve_triangular(cr.Tensor(a), cr.Tensor(b), check_finite=False).data[0])
    for f in (linalg.solve, linalg.solve_triangular, lambda a, b: linalg.cho_solve((a, True), b)):
        ct_a, ct_b = cr.vjp(f, a, np.ones(3))[1](b)
        assert np.isnan(ct_a).any()
        assert np.isnan(ct_b).any()
    stack = np.stack([a, a])
    ct = np.stack([np.full((3, 3), np.inf), np.eye(3)])
    first, second = cr.vjp(linalg.expm, stack)[1](ct)[0]
    assert np.isnan(first).all()
    np.testing.assert_allclose(second, cr.vjp(linalg.expm, a)[1](np.eye(3))[0])


def test_lists_of_tensors() -> None:
    gradient = cr.grad(lambda x: linalg.det([[x, 1.0], [1.0, x]]))(3.0)
    np.testing.assert_allclose(gradient, 6.0)


def test_what_has_no_derivative_raises_by_name() -> None:
    t = cr.Tensor(np.eye(2))
    for call in (
        lambda: linalg.schur(t), lambda: linalg.ldl(t), lambda: linalg.funm(t, np.exp), lambda: linalg.eig(t, t),
        lambda: linalg.qr(t, mode="raw"), lambda: linalg.solve_continuous_are(t, t, t, t, s=t),
        lambda: linalg.rq(t[:1]),
    ):  # fmt: skip
        with pytest.raises(UnsupportedFunctionError, match=r"scipy\.linalg\.\w+"):
            call()
    assert linalg.bandwidth(t) == (0, 0)
    same(linalg.schur(np.eye(2))[0], scipy.linalg.schur(np.eye(2))[0])


def test_without_tensors_it_is_scipy() -> None:
    a = square("plain")
    same(linalg.expm(a), scipy.linalg.expm(a))
    assert type(linalg.lu(a)) is tuple
    check_value(linalg.expm, [a])
    assert len(cotangents([a], 0)) == 1
