"""Decompositions: NumPy's values bit for bit, derivatives against differences and PyTorch, and equal spectra (C23)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from oracle import check, close, seeded, spaced
from test_linalg import KINDS, positive, regular

import chainrule as cr
from chainrule.errors import DegenerateSpectrumWarning


def phases_fixed(v: Any) -> Any:
    """What does not depend on the phase of a column: products with its own conjugate."""
    return np.einsum("...ij,...kj->...ikj", v, np.conj(v))


def of_eigh(a: Any, **options: Any) -> Any:
    w, v = np.linalg.eigh(a, **options)
    return w, phases_fixed(v)


def of_eig(a: Any) -> Any:
    w, v = np.linalg.eig(a)
    return w, phases_fixed(v)


def of_svd(a: Any, **options: Any) -> Any:
    u, s, vh = np.linalg.svd(a, **options)
    k = s.shape[-1]
    return phases_fixed(u[..., :k]), s, np.einsum("...ij,...jk->...ikj", u[..., :k], vh[..., :k, :])


def projector(q: Any) -> Any:
    return q @ np.conj(np.swapaxes(q, -1, -2))


def complement_of_svd(a: Any) -> Any:
    """What a matrix determines about the columns beyond its range: the projector on them."""
    u, s, vh = np.linalg.svd(a)
    k = s.shape[-1]
    return projector(u[..., k:]), projector(np.conj(np.swapaxes(vh, -1, -2))[..., k:])


def of_complete_qr(a: Any) -> Any:
    q, r = np.linalg.qr(a, mode="complete")
    k = min(a.shape[-2:])
    return q[..., :k], projector(q[..., k:]), r


def made(name: str, kind: Any, shape: Any) -> Any:
    return positive(shape, kind, name) if "eigh" in name or "eigvalsh" in name else regular(shape, kind, name)


CASES: list[tuple[str, Any, Any]] = [
    ("slogdet", lambda a: np.linalg.slogdet(a), (3, 3)),
    ("slogdet batched", lambda a: np.linalg.slogdet(a), (2, 2, 2)),
    ("eigh", of_eigh, (3, 3)),
    ("eigh upper", lambda a: of_eigh(a, UPLO="U"), (3, 3)),
    ("eigh batched", of_eigh, (2, 2, 2)),
    ("eigvalsh", lambda a: np.linalg.eigvalsh(a), (3, 3)),
    ("eigvalsh upper batched", lambda a: np.linalg.eigvalsh(a, "U"), (2, 2, 2)),
    ("eig", of_eig, (3, 3)),
    ("eig batched", of_eig, (2, 2, 2)),
    ("eigvals", lambda a: np.linalg.eigvals(a), (3, 3)),
    ("eigvals batched", lambda a: np.linalg.eigvals(a), (2, 2, 2)),
    ("svd", lambda a: of_svd(a, full_matrices=False), (3, 3)),
    ("svd tall", lambda a: of_svd(a, full_matrices=False), (3, 2)),
    ("svd wide batched", lambda a: of_svd(a, full_matrices=False), (2, 2, 3)),
    ("svd full", of_svd, (3, 2)),
    ("svd full wide", of_svd, (2, 4)),
    ("svd complement", complement_of_svd, (3, 1)),
    ("svd complement wide", complement_of_svd, (2, 3)),
    ("svd values", lambda a: np.linalg.svd(a, compute_uv=False), (3, 2)),
    ("svdvals batched", lambda a: np.linalg.svdvals(a), (2, 2, 3)),
    ("svd hermitian eigh", lambda a: of_svd(a, hermitian=True), (3, 3)),
    ("svd hermitian values eigh", lambda a: np.linalg.svd(a, compute_uv=False, hermitian=True), (3, 3)),
    ("qr", lambda a: np.linalg.qr(a), (3, 3)),
    ("qr tall", lambda a: np.linalg.qr(a), (4, 2)),
    ("qr wide", lambda a: np.linalg.qr(a), (2, 4)),
    ("qr batched", lambda a: np.linalg.qr(a), (2, 3, 2)),
    ("qr r", lambda a: np.linalg.qr(a, mode="r"), (3, 2)),
    ("qr complete", of_complete_qr, (3, 2)),
    ("qr complete wide", lambda a: np.linalg.qr(a, mode="complete"), (2, 3)),
    ("cond", lambda a: np.linalg.cond(a), (3, 2)),
    ("cond -2 batched", lambda a: np.linalg.cond(a, -2), (2, 2, 2)),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_decompositions(case: Any, kind: Any) -> None:
    name, f, shape = case
    check(f, [made(name, kind, shape)], tolerance=1e-6)


def test_complex_eigenvalues_of_real_matrices() -> None:
    a = np.array([[1.0, -2.0, 0.3], [1.5, 0.5, 0.1], [0.2, 0.4, 3.0]])
    check(of_eig, [a])
    check(lambda a: np.linalg.eigvals(a), [a])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [((4, 2), (4,)), ((4, 2), (4, 3)), ((3, 3), (3,)), ((2, 3), (2, 2))], ids=str)
def test_lstsq(shapes: Any, kind: Any) -> None:
    """With full column rank; and the shortest solution of a wide system."""

    def f(a: Any, b: Any) -> Any:
        x, residuals, rank, s = np.linalg.lstsq(a, b)
        assert rank == min(a.shape)
        return (x, residuals, s) if residuals.size else (x, s)

    check(f, [regular(shapes[0], kind), spaced(shapes[1], 1, dtype=kind)])
    result, pullback = cr.vjp(lambda b: np.linalg.lstsq(regular(shapes[0], kind), b)[0], spaced(shapes[1], 1))
    assert pullback(np.ones_like(result))[0].dtype == float


def test_results_are_numpys_named_tuples() -> None:
    t = cr.Tensor(positive((2, 2)))
    for f in (np.linalg.eigh, np.linalg.eig, np.linalg.svd, np.linalg.qr, np.linalg.slogdet):
        assert type(f(t)) is type(f(t.data))
        assert all(isinstance(part, cr.Tensor) for part in f(t))
    assert np.linalg.eigh(t).eigenvalues.shape == (2,)
    u = np.linalg.svd(t).U
    u[0] = 0.0  # a result may be written to
    assert u.data[0].tolist() == [0, 0]
    x, residuals, rank, s = np.linalg.lstsq(t, np.ones(2))
    assert (int(rank), residuals.shape, x.shape, s.shape) == (2, (0,), (2,), (2,))


def test_only_the_triangle_that_is_read_has_a_gradient() -> None:
    a = positive((3, 3)) + 1.0
    for uplo in "LU":
        for f in (
            lambda a, uplo=uplo: np.linalg.eigh(a, uplo)[1][0, 0],
            lambda a, uplo=uplo: np.linalg.eigvalsh(a, uplo)[0],
        ):
            gradient = cr.grad(f)(a)
            other = np.triu(gradient, 1) if uplo == "L" else np.tril(gradient, -1)
            np.testing.assert_array_equal(other, 0)
            assert np.count_nonzero(gradient) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_against_torch(kind: Any) -> None:
    a = regular((4, 3), kind)
    h = positive((3, 3), kind)
    for ours, theirs, x in (
        (lambda a: np.linalg.svd(a, full_matrices=False), lambda a: torch.linalg.svd(a, full_matrices=False), a),
        (lambda a: np.linalg.eigh((a + np.conj(a.T)) / 2), lambda a: torch.linalg.eigh((a + a.mH) / 2), h),
        (lambda a: np.linalg.qr(a), torch.linalg.qr, a),
        (lambda a: np.linalg.slogdet(a), torch.linalg.slogdet, h),
    ):  # fmt: skip
        t = torch.tensor(x, requires_grad=True)
        sum((np.pi * torch.abs(part) ** 3).sum() for part in theirs(t)).backward()
        gradient = cr.grad(lambda a, f=ours: sum(np.pi * np.sum(np.abs(part) ** 3) for part in f(a)))(x)
        np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-9, atol=1e-9)


# -- equal eigenvalues and singular values -----------------------------------------------------------------------
I2 = [[1.0, 0.0], [0.0, 1.0]]
VALUED: dict[str, tuple[Any, Any, Any]] = {
    "eigh values sum sq at I": (lambda x: np.sum(np.linalg.eigh(x)[0] ** 2), I2, [[2, 0], [0, 2]]),
    "eigvalsh sum sq at I": (lambda x: np.sum(np.linalg.eigvalsh(x) ** 2), I2, [[2, 0], [0, 2]]),
    "eigvals sum at I": (lambda x: np.real(np.sum(np.linalg.eigvals(x))), I2, I2),
    "eigh vec projector at I": (
        lambda x: np.sum(np.matmul(np.linalg.eigh(x)[1], np.swapaxes(np.linalg.eigh(x)[1], 0, 1))), I2, [[0, 0], [0, 0]]
    ),
    "svdvals sum at I": (lambda x: np.sum(np.linalg.svd(x, compute_uv=False)), I2, I2),
    "svd sum of values at I": (lambda x: np.sum(np.linalg.svd(x)[1]), I2, I2),
    "svd values at 0": (lambda x: np.sum(np.linalg.svd(x)[1] ** 2), [[0.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
    "largest eigenvalue at I": (lambda x: np.max(np.linalg.eigvalsh(x)), I2, [[0.5, 0], [0, 0.5]]),
    "slogdet": (lambda x: np.linalg.slogdet(x)[1], [[2.0, 0.0], [0.0, 4.0]], [[0.5, 0], [0, 0.25]]),
    "slogdet sign": (lambda x: np.linalg.slogdet(x)[0], [[2.0, 1.0], [0.0, 4.0]], [[0, 0], [0, 0]]),
    "slogdet sign of singular": (lambda x: np.linalg.slogdet(x)[0], [[0.0, 0.0], [0.0, 4.0]], [[0, 0], [0, 0]]),
    "slogdet of singular": (lambda x: np.linalg.slogdet(x)[1], [[0.0, 0.0], [0.0, 4.0]], [[np.inf, 0], [0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize(("f", "x", "desired"), VALUED.values(), ids=VALUED)
def test_valued_cases(f: Any, x: Any, desired: Any) -> None:
    """Rows of the table of tests/test_semantics.py, in both modes, without a warning."""
    x = np.array(x)
    np.testing.assert_allclose(cr.grad(f)(x), desired, atol=1e-12)
    columns = [cr.jvp(f, (x,), (unit.reshape(x.shape),))[1] for unit in np.eye(x.size)]
    np.testing.assert_allclose(np.reshape(columns, x.shape), desired, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_polar_factor_needs_no_differences_of_singular_values(kind: Any) -> None:
    """u vh at a unitary matrix, where all singular values are 1 up to rounding."""
    q = np.linalg.qr(spaced((4, 4), "polar", dtype=kind))[0]

    def polar(a: Any) -> Any:
        u, _, vh = np.linalg.svd(a, full_matrices=False)
        return u @ vh

    check(polar, [q], order=1)


@pytest.mark.parametrize("kind", KINDS)
def test_projectors_on_degenerate_subspaces(kind: Any) -> None:
    u = np.linalg.qr(spaced((4, 4), "projector", dtype=kind))[0]
    a = (u * np.array([1.0, 1.0, 1.0, 3.0])) @ np.conj(u.T)
    a = (a + np.conj(a.T)) / 2

    def eigenspace(a: Any) -> Any:
        return projector(np.linalg.eigh((a + np.conj(np.swapaxes(a, 0, 1))) / 2)[1][:, :3])

    check(eigenspace, [a], order=1)

    def singular_space(a: Any) -> Any:
        return projector(np.linalg.svd(a)[0][:, 1:])

    check(singular_space, [a], order=1)


WARNED: dict[str, tuple[Any, Any]] = {
    "a vector at I": (lambda x: np.sum(np.linalg.eigh(x)[1] * [[1.0, 2.0], [3.0, 5.0]]), I2),
    "one eigenvalue at I": (lambda x: np.linalg.eigh(x)[0][0], I2),
    "one eigenvalue alone": (lambda x: np.linalg.eigvalsh(x)[0], I2),
    "one eigenvalue of any matrix": (lambda x: np.real(np.linalg.eigvals(x)[0]), I2),
    "eig vectors": (lambda x: np.real(np.linalg.eig(x)[1][0, 1]), I2),
    "one singular value at I": (lambda x: np.linalg.svd(x)[1][0], I2),
    "singular vectors at I": (lambda x: np.sum(np.linalg.svd(x)[0] * [[1.0, 2.0], [3.0, 5.0]]), I2),
    "u f(s) vh at I": (lambda x: np.sum(_of_values(x) * [[1.0, 2.0], [3.0, 5.0]]), I2),
    "condition number of I": (lambda x: np.linalg.cond(x), I2),
    "phase": (lambda x: np.real(np.linalg.eigh(x + 0j)[1][0, 1]) + np.imag(np.linalg.eigh(x + 0j)[1][0, 1]),
              [[1.0, 0.5], [0.5, 3.0]]),
    "complete qr": (lambda x: np.linalg.qr(x, mode="complete")[0][0, 2], np.eye(4)[:, :2] + 0.5),
    "rank-deficient qr": (lambda x: np.linalg.qr(x)[0][0, 1], np.ones((3, 2))),
    "rank-deficient lstsq": (lambda x: np.sum(np.linalg.lstsq(x, np.arange(3.0))[0]), np.ones((3, 2))),
    "rank-deficient pinv": (lambda x: np.sum(np.linalg.pinv(x)), np.ones((3, 2))),
    "signs of zeros": (lambda x: np.sum(np.linalg.svd(x)[1]), [[2.0, 0.0], [0.0, 0.0]]),
    "u f(s) vh at 0": (lambda x: _of_values(x, 1)[0, 0], np.zeros((2, 2))),
    "an element of v w v*": (lambda x: _spectral(lambda w: w, x)[0, 1], I2),
    "v f(w) v⁻¹": (lambda x: np.real(_of_eig(x)[0, 1]), I2),
    "defective": (lambda x: np.real(np.sum(np.linalg.eigvals(x) ** 2)), [[0.0, 1.0], [0.0, 0.0]]),
    "defective with vectors": (lambda x: np.real(np.sum(np.linalg.eig(x)[0] ** 2)), [[1.0, 1.0], [0.0, 1.0]]),
    "values of lstsq": (lambda x: np.linalg.lstsq(x, np.ones(2))[3][0], I2),
    "null vectors": (lambda x: np.linalg.svd(x, full_matrices=False)[0][2, 0], np.zeros((3, 2))),
}  # fmt: skip


def _of_values(x: Any, power: int = 3) -> Any:
    u, s, vh = np.linalg.svd(x)
    return (u * s**power) @ vh


def _spectral(f: Any, x: Any) -> Any:
    w, v = np.linalg.eigh((x + np.conj(x.T)) / 2)
    return (v * f(w)) @ np.conj(v.T)


def _of_eig(x: Any) -> Any:
    w, v = np.linalg.eig(x)
    return (v * w**2) @ np.linalg.inv(v)


# Of these reverse mode knows more than forward mode, or (without a basis) both know nothing.
TOLD_BY_COTANGENTS = [WARNED[name][0] for name in ("u f(s) vh at I", "u f(s) vh at 0", "defective with vectors")]


@pytest.mark.parametrize(("f", "x"), WARNED.values(), ids=WARNED)
def test_what_a_matrix_does_not_determine_is_finite_and_warned_of(f: Any, x: Any) -> None:
    x = np.array(x)
    with pytest.warns(DegenerateSpectrumWarning):
        gradient = cr.grad(f)(x)
    assert np.isfinite(gradient).all()
    direction = spaced(x.shape, "direction")
    with pytest.warns(DegenerateSpectrumWarning):
        _, tangent = cr.jvp(f, (x,), (direction,))
    assert np.isfinite(tangent).all()
    if f not in TOLD_BY_COTANGENTS:
        close(tangent, np.sum(gradient * direction), 1e-10)


SPECTRA = ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 3.0], [1.0, 1.0, 3.0, 3.0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spectrum", SPECTRA, ids=str)
def test_functions_of_matrices_with_equal_eigenvalues(spectrum: Any, kind: Any) -> None:
    """Which function it is cotangents tell in the simplest case: the truth is here that of polynomials."""
    q = np.linalg.qr(spaced((4, 4), "basis", dtype=kind))[0]
    other = np.linalg.qr(spaced((4, 4), "other basis", dtype=kind))[0]
    a, weights = (q * np.array(spectrum)) @ np.conj(q.T), spaced((4, 4), "weights", dtype=kind)

    def weighted(x: Any) -> Any:
        return np.real(np.sum(np.conj(weights) * x))

    def symmetric(x: Any) -> Any:
        return (x + np.conj(x.T)) / 2

    for power, product in ((1, lambda x: x), (2, lambda x: x @ x), (3, lambda x: x @ x @ x)):
        with pytest.warns(DegenerateSpectrumWarning):
            gradient = cr.grad(lambda x, p=power: weighted(_spectral(lambda w: w**p, x)))(a)
        close(gradient, cr.grad(lambda x, f=product: weighted(f(symmetric(x))))(a), 1e-12)
        with pytest.warns(DegenerateSpectrumWarning):
            gradient = cr.grad(lambda x, p=power: weighted(_spectral(lambda w: w**p, x)) + np.trace(x @ x).real)(a)
        assert np.isfinite(gradient).all()
    with pytest.warns(DegenerateSpectrumWarning):
        gradient = cr.grad(lambda x: weighted(_of_values(x)))(a @ other)
    close(gradient, cr.grad(lambda x: weighted(x @ np.conj(x.T) @ x))(a @ other), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_depends_on_subspaces_and_even_functions_of_values_is_not_warned_of(kind: Any) -> None:
    """Both in one loss, at axes and elsewhere, in both modes; warnings are errors here."""
    for q in (np.eye(4, dtype=kind), np.linalg.qr(spaced((4, 4), "basis", dtype=kind))[0]):
        a = (q * np.array([1.0, 1.0, 1.0, 3.0])) @ np.conj(q.T)
        weights = np.diag([1.0, 2.0, 3.0, 5.0]) + spaced((4, 4), "weights", dtype=kind)

        def f(x: Any, weights: Any = weights) -> Any:
            w, v = np.linalg.eigh((x + np.conj(x.T)) / 2)
            return np.sum(w**3) + np.real(np.sum(weights * projector(v[:, :3])))

        def exact(x: Any, weights: Any = weights) -> Any:
            """The projector as a contour integral: the mean of resolvents around the eigenvalue 1."""
            x = (x + np.conj(x.T)) / 2
            turns = np.exp(2j * np.pi * np.arange(64) / 64)
            resolvents = sum(turn * np.linalg.inv((1 + turn) * np.eye(4) - x) for turn in turns) / 64
            return np.real(np.trace(x @ x @ x)) + np.real(
                np.sum(weights * (resolvents if kind is complex else np.real(resolvents)))
            )

        desired = cr.grad(exact)(a)
        close(cr.grad(f)(a), desired, 1e-10)
        direction = spaced((4, 4), "direction", dtype=kind)
        close(cr.jvp(f, (a,), (direction,))[1], np.real(np.sum(np.conj(desired) * direction)), 1e-10)


def test_singular_values_have_kinks_at_zero() -> None:
    for f in (np.linalg.svdvals, lambda x: np.linalg.svd(x, compute_uv=False)):
        for x, desired in ((np.diag([2.0, 0.0]), np.diag([1.0, 0.0])), (np.zeros((3, 2)), np.zeros((3, 2)))):
            close(cr.grad(lambda x, f=f: np.sum(f(x)))(x), desired, 1e-14)
            tangent = cr.jvp(lambda x, f=f: np.sum(f(x)), (x,), (np.ones(x.shape),))[1]
            close(tangent, np.sum(desired), 1e-14)


def test_one_zero_singular_value_changes_its_sign_smoothly() -> None:
    a = np.array([[1.0, 2.0], [2.0, 4.0]])
    weights = spaced((2, 2), "weights")
    for power, product in ((1, lambda x: x), (3, lambda x: x @ x.T @ x)):

        def f(x: Any, power: int = power) -> Any:
            u, s, vh = np.linalg.svd(x)
            return np.sum(((u * s**power) @ vh) * weights)

        desired = cr.grad(lambda x, f=product: np.sum(f(x) * weights))(a)
        close(cr.grad(f)(a), desired, 1e-12)
        close(cr.jvp(f, (a,), (weights,))[1], np.sum(desired * weights), 1e-12)


def test_forward_mode_warns_also_where_it_is_nested() -> None:
    def f(x: Any) -> Any:
        return np.linalg.eigvalsh(x)[0] + np.sum(x**3)

    x, t = np.eye(2), spaced((2, 2), "t")
    for nested in (
        lambda x: cr.jvp(lambda x: cr.jvp(f, (x,), (t,))[1], (x,), (t,))[1],
        lambda x: cr.grad(lambda x: cr.jvp(f, (x,), (t,))[1])(x),
        lambda x: cr.jvp(cr.grad(f), (x,), (t,))[1],
    ):
        with pytest.warns(DegenerateSpectrumWarning):
            assert np.isfinite(nested(x)).all()


# Sums of squares of eigenvalues, of which the second derivative along e is 2 tr(e e).
SQUARES: dict[str, Any] = {
    "eigvalsh": lambda a: np.sum(np.linalg.eigvalsh(a) ** 2),
    "eigh": lambda a: np.sum(np.linalg.eigh(a)[0] ** 2),
    "svdvals": lambda a: np.sum(np.linalg.svdvals(a) ** 2),
    "svd": lambda a: np.sum(np.linalg.svd(a)[1] ** 2),
    "eigvals": lambda a: np.real(np.sum(np.linalg.eigvals(a) ** 2)),
}


@pytest.mark.parametrize("name", SQUARES)
def test_second_derivatives_at_equal_values(name: str) -> None:
    """Right, and not warned of, along what splits none of them; else finite and warned of."""

    def along(e: Any, *modes: Any) -> Any:
        f: Any = lambda t: SQUARES[name](2 * np.eye(2) + t * e)  # noqa: E731
        for mode in modes:
            f = mode(f)
        return f(0.0)

    def pushed(f: Any) -> Any:
        return lambda t: cr.jvp(f, (t,), (1.0,))[1]

    for modes in ((cr.grad, cr.grad), (cr.grad, pushed), (pushed, cr.grad), (pushed, pushed)):
        with warnings.catch_warnings():
            if name == "eigvals":  # of any matrix: the cotangents of v f(w) v⁻¹ never tell
                warnings.simplefilter("ignore", DegenerateSpectrumWarning)
            assert along(np.eye(2), *modes) == pytest.approx(4.0)
        for e in ([[1.0, 2.0], [2.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, -1.0]]):
            with pytest.warns(DegenerateSpectrumWarning):
                second = along(np.array(e), *modes)
            assert np.isfinite(second)
            if modes == (cr.grad, cr.grad) and name in ("eigh", "svd") and e[0][0]:
                assert second == pytest.approx(2 * np.sum(np.square(e)))  # the diagonals tell


def test_defective_matrices_have_the_derivatives_of_the_trace() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateSpectrumWarning)
        gradient = cr.grad(lambda a: np.real(np.sum(np.linalg.eigvals(a))))(np.array([[1.0, 1.0], [0.0, 1.0]]))
    close(gradient, np.eye(2), 1e-12)


def test_single_precision() -> None:
    x = positive((3, 3)).astype(np.float32)
    for f in (np.linalg.eigh, np.linalg.svd, np.linalg.qr, np.linalg.slogdet, np.linalg.eigvalsh, np.linalg.eig):
        _, pullback = cr.vjp(lambda x, f=f: f(x)[0], x)
        value = f(x)[0]
        assert pullback(np.zeros_like(value))[0].dtype == np.float32
        value, tangent = cr.jvp(lambda x, f=f: f(x)[0], (x,), (x,))
        assert value.dtype == tangent.dtype == f(x)[0].dtype


def test_random_matrices_of_moderate_size() -> None:
    a = seeded("moderate").normal(size=(20, 20))
    gradient = cr.grad(lambda a: sum(np.sum(np.abs(part) ** 3) for part in np.linalg.svd(a)))(a)
    t = torch.tensor(a, requires_grad=True)
    sum((torch.abs(part) ** 3).sum() for part in torch.linalg.svd(t)).backward()
    close(gradient, t.grad.numpy(), 1e-9)


def test_qr_modes() -> None:
    with pytest.raises(cr.errors.UnsupportedFunctionError, match=r"np.linalg.qr .*'raw'"):
        np.linalg.qr(cr.Tensor(np.eye(2)), mode="raw")
