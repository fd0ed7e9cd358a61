"""Fourier transforms: NumPy's values bit for bit, and adjoints that agree with differences."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from oracle import check, spaced

import chainrule as cr

NORMS = (None, "backward", "ortho", "forward")
ONE_AXIS = [np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft]
SEVERAL = [
    np.fft.fft2, np.fft.ifft2, np.fft.rfft2, np.fft.irfft2, np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn,
]  # fmt: skip
REAL_ONLY = {np.fft.rfft, np.fft.ihfft, np.fft.rfft2, np.fft.rfftn}


def by_name(function: Any) -> str:
    return function.__name__


def kinds(function: Any) -> tuple[type, ...]:
    return (float,) if function in REAL_ONLY else (float, complex)


@pytest.mark.parametrize("function", ONE_AXIS, ids=by_name)
@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_one_axis(function: Any, length: int) -> None:
    """Padded, truncated and as it is; every normalisation."""
    for kind, n, norm in product(kinds(function), (None, 1, 4, 5, 9), NORMS):
        if n is None and length == 1 and function in (np.fft.irfft, np.fft.hfft):
            continue  # NumPy raises: a spectrum of one number is that of no numbers
        x = spaced((length,), (length, n), dtype=kind)
        check(lambda x, n=n, norm=norm: function(x, n, norm=norm), [x], order=1)


@pytest.mark.parametrize("function", ONE_AXIS, ids=by_name)
@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_axis(function: Any, axis: int) -> None:
    for kind, n in product(kinds(function), (None, 3, 6)):
        check(lambda x, n=n: function(x, n=n, axis=axis), [spaced((3, 4, 2), axis, dtype=kind)], order=1)


@pytest.mark.parametrize("function", SEVERAL, ids=by_name)
@pytest.mark.parametrize("norm", NORMS)
def test_several_axes(function: Any, norm: str | None) -> None:
    for kind, options in product(
        kinds(function),
        ({}, {"s": (4, 3), "axes": (0, 1)}, {"axes": (2, 0)}, {"s": (2, -1), "axes": (-1, 1)}, {"axes": (1,)}),
    ):
        x = spaced((2, 3, 4), 0, dtype=kind)
        check(lambda x, options=options: function(x, norm=norm, **options), [x], order=1)


@pytest.mark.parametrize("function", [*ONE_AXIS, *SEVERAL], ids=by_name)
def test_second_order(function: Any) -> None:
    for kind in kinds(function):
        x = spaced((2, 4), "second", dtype=kind)
        check(lambda x: np.real(function(x * x)) ** 2, [x])


@pytest.mark.parametrize("function", [np.fft.fftshift, np.fft.ifftshift], ids=by_name)
def test_shifts(function: Any) -> None:
    for axes in (None, 0, (0, 1), (-1,)):
        check(lambda x, axes=axes: function(x, axes=axes), [spaced((3, 4, 5))], order=1)


@pytest.mark.parametrize("function", [np.fft.fft, np.fft.rfft, np.fft.irfft, np.fft.ihfft], ids=by_name)
def test_single_precision(function: Any) -> None:
    x = spaced((6,), dtype=np.float32)
    for f in (function, lambda x: function(x, norm="ortho")):
        value, pullback = cr.vjp(f, x)
        assert value.dtype == f(x).dtype
        assert pullback(np.ones_like(value))[0].dtype == np.float32
        assert cr.jvp(f, (x,), (x,))[1].dtype == f(x).dtype


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (np.fft.fft, torch.fft.fft), (np.fft.ifft, torch.fft.ifft), (np.fft.rfft, torch.fft.rfft),
        (np.fft.hfft, torch.fft.hfft), (np.fft.ihfft, torch.fft.ihfft), (np.fft.irfft, torch.fft.irfft),
    ],
    ids=lambda f: getattr(f, "__name__", ""),
)  # fmt: skip
def test_against_torch(ours: Any, theirs: Any) -> None:
    for kind, n, norm in product(kinds(ours), (5, 6, 8), ("backward", "ortho")):
        x = spaced((6,), "torch", dtype=kind)
        t = torch.tensor(x, requires_grad=True)
        y = theirs(t, n=n, norm=norm)
        ct = spaced(y.shape, "ct", dtype=complex if y.is_complex() else float)
        y.backward(torch.tensor(ct))
        value, pullback = cr.vjp(lambda x, n=n, norm=norm: ours(x, n, norm=norm), x)
        np.testing.assert_allclose(value, y.detach().resolve_conj(), atol=1e-12)
        np.testing.assert_allclose(pullback(ct)[0], t.grad.resolve_conj(), atol=1e-12)


def test_parts_of_a_spectrum_that_are_not_read_have_no_gradient() -> None:
    """The imaginary parts of the constant and, of an even length, of the highest frequency."""
    for n, last in ((6, 0.0), (7, 1.0)):
        gradient = cr.grad(lambda x, n=n: np.sum(np.fft.irfft(x, n) ** 3))(spaced((4,), n, dtype=complex))
        assert gradient[0].imag == 0
        assert gradient[1].imag != 0
        assert (gradient[-1].imag != 0) == bool(last)


def test_energy_is_preserved() -> None:
    """Parseval: the gradient of the energy of an orthonormal transform is that of the signal's."""
    for f in (np.fft.fft, np.fft.fftn):
        gradient = cr.grad(lambda x, f=f: np.sum(np.abs(f(x, norm="ortho")) ** 2))
        x = spaced((4, 5))
        np.testing.assert_allclose(gradient(x), 2 * x, rtol=1e-12)
        assert gradient(x).dtype == float


VALUED = {
    "|fft|^2 real input dtype": (lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2), [1.0, 2.0, 3.0], [6, 12, 18]),
    "|fft| at 0 signal": (lambda x: np.sum(np.abs(np.fft.fft(x))), [0.0, 0.0, 0.0], [0, 0, 0]),
    "irfft dc imag": (lambda x: np.sum(np.fft.irfft(1j * x) * np.arange(4.0)), [1.0, 2.0, 3.0], [0, 1, 0]),
}


@pytest.mark.parametrize(("f", "x", "desired"), VALUED.values(), ids=VALUED)
def test_valued_cases(f: Any, x: Any, desired: Any) -> None:
    """Rows of the table of tests/test_semantics.py, in both modes."""
    x = np.array(x)
    gradient = cr.grad(f)(x)
    assert gradient.dtype == float
    np.testing.assert_allclose(gradient, desired, atol=1e-12)
    np.testing.assert_allclose([cr.jvp(f, (x,), (unit,))[1] for unit in np.eye(3)], desired, atol=1e-12)


def test_out() -> None:
    def f(x: Any) -> Any:
        out = cr.Tensor(np.zeros((2, 4), complex))
        assert np.fft.fft2(x, out=out) is out
        return np.sum(np.abs(out) ** 2)

    x = spaced((2, 4))
    np.testing.assert_allclose(cr.grad(f)(x), 16 * x, rtol=1e-12)


def test_bad_arguments_raise_as_numpys() -> None:
    t = cr.Tensor(spaced((2, 3)))
    with pytest.raises(ValueError, match="Invalid norm"):
        np.fft.fft(t, norm="other")
    with pytest.raises(ValueError, match="Invalid norm"):
        np.fft.hfft(t, norm="other")
    with pytest.raises(ValueError, match="different lengths"):
        np.fft.fftn(t, s=(2,), axes=(0, 1))
    with pytest.raises(ValueError, match=r"number of .*data points"):
        np.fft.fft(t, 0)
    with pytest.raises(IndexError):
        np.fft.fft(t, axis=2)
    with pytest.raises(TypeError):
        np.fft.rfft(t * 1j)
