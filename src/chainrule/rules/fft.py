"""Fourier transforms: linear, so what has to be said is the adjoint of each, which is a transform again.

The adjoint of a matrix of roots of unity is its conjugate: the transform in the other direction, with the
normalisation that the other direction had.  Padding is undone by truncation and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .linear import as_array, stored
from .registry import implements, linear

OTHER_DIRECTION = {None: "forward", "backward": "forward", "forward": "backward"}  # "ortho" is its own
ORDER = -1 if np.lib.NumpyVersion(np.__version__) >= "2.1.2" else 1  # in which rfftn takes the axes before the last


def _swapped(norm: str | None) -> Any:
    return OTHER_DIRECTION.get(norm, norm)


def _of_length(x: Any, n: int, axis: int) -> Any:
    """Truncate an axis to length `n`, or fill it up with zeros."""
    length = x.shape[axis]
    if length >= n:
        return x if length == n else np.moveaxis(np.moveaxis(x, axis, 0)[:n], 0, axis)
    shape = list(x.shape)
    shape[axis] = n - length
    return np.concatenate([x, np.zeros(shape, x.dtype)], axis)


def _along(numbers: Any, axis: int, rank: int) -> Any:
    """A vector that broadcasts along one axis of an array."""
    return np.reshape(numbers, [-1 if i == axis % rank else 1 for i in range(rank)])


# -- one axis ----------------------------------------------------------------------------------------------------
def _fft_adjoint(ct: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    return _of_length(np.fft.ifft(ct, None, axis, _swapped(norm)), x.shape[axis], axis)


def _ifft_adjoint(ct: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    return _of_length(np.fft.fft(ct, None, axis, _swapped(norm)), x.shape[axis], axis)


def _rfft_adjoint(ct: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    n = x.shape[axis] if n is None else n
    return _of_length(np.real(np.fft.ifft(ct, n, axis, _swapped(norm))), x.shape[axis], axis)


def _irfft_adjoint(ct: Any, x: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    # Every frequency stands for itself and its mirror image, but the first and, of an even length, the last: those
    # are their own.  Their imaginary parts do not matter to irfft, and rfft of the real `ct` has none there.
    n = 2 * (x.shape[axis] - 1) if n is None else n
    spectrum = np.fft.rfft(ct, n, axis, _swapped(norm))
    times = np.full(n // 2 + 1, 2, ct.dtype)
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    return _of_length(spectrum * _along(times, axis, ct.ndim), x.shape[axis], axis)


fft = linear(np.fft.fft, _fft_adjoint)
ifft = linear(np.fft.ifft, _ifft_adjoint)
rfft = linear(np.fft.rfft, _rfft_adjoint)
irfft = linear(np.fft.irfft, _irfft_adjoint)


@implements(np.fft.hfft)
def hfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    a = as_array(a)
    n = 2 * (a.shape[axis] - 1) if n is None else n
    return stored(irfft(np.conj(a), n=n, axis=axis, norm=_swapped(norm)), out)


@implements(np.fft.ihfft)
def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return stored(np.conj(rfft(as_array(a), n=n, axis=axis, norm=_swapped(norm))), out)


# -- several axes: one after the other, in NumPy's order ---------------------------------------------------------
def _lengths(a: Any, s: Any, axes: Any, halved: bool = False) -> tuple[list[int], list[int]]:
    """The length of the result and the axis, of each transform; `halved`: the last one is given half a spectrum."""
    if axes is None:
        axes = range(-(a.ndim if s is None else len(s)), 0)
    axes = list(axes)
    if s is None:
        lengths = [a.shape[axis] for axis in axes]
        if halved:
            lengths[-1] = 2 * (lengths[-1] - 1)
        return lengths, axes
    if len(s) != len(axes):
        raise ValueError("Shape and axes have different lengths.")
    return [a.shape[axis] if n in (-1, None) else n for n, axis in zip(s, axes, strict=True)], axes


def _one_by_one(transform: Any, a: Any, lengths: Sequence[int], axes: Sequence[int], norm: Any) -> Any:
    for n, axis in zip(lengths, axes, strict=True):
        a = transform(a, n=n, axis=axis, norm=norm)
    return a


def _complex_transform(function: Any, transform: Any, default: Any) -> None:
    @implements(function)
    def transform_all(a: Any, s: Any = None, axes: Any = default, norm: Any = None, out: Any = None) -> Any:
        lengths, axes = _lengths(a, s, axes)
        return stored(_one_by_one(transform, a, lengths[::-1], axes[::-1], norm), out)


def _to_half_spectrum(function: Any, default: Any) -> None:
    @implements(function)
    def transform_all(a: Any, s: Any = None, axes: Any = default, norm: Any = None, out: Any = None) -> Any:
        lengths, axes = _lengths(a, s, axes)
        a = rfft(a, n=lengths[-1], axis=axes[-1], norm=norm)
        return stored(_one_by_one(fft, a, lengths[:-1][::ORDER], axes[:-1][::ORDER], norm), out)


def _from_half_spectrum(function: Any, default: Any) -> None:
    @implements(function)
    def transform_all(a: Any, s: Any = None, axes: Any = default, norm: Any = None, out: Any = None) -> Any:
        lengths, axes = _lengths(a, s, axes, halved=True)
        a = _one_by_one(ifft, a, lengths[:-1], axes[:-1], norm)
        return stored(irfft(a, n=lengths[-1], axis=axes[-1], norm=norm), out)


for _default, _fft, _ifft, _rfft, _irfft in (
    (None, np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn),
    ((-2, -1), np.fft.fft2, np.fft.ifft2, np.fft.rfft2, np.fft.irfft2),
):
    _complex_transform(_fft, fft, _default)
    _complex_transform(_ifft, ifft, _default)
    _to_half_spectrum(_rfft, _default)
    _from_half_spectrum(_irfft, _default)


# -- order of frequencies ----------------------------------------------------------------------------------------
def _shifted(x: Any, axes: Any, sign: int) -> Any:
    axes = tuple(range(x.ndim)) if axes is None else (axes,) if np.ndim(axes) == 0 else tuple(axes)
    return np.roll(x, tuple(sign * (x.shape[axis] // 2) for axis in axes), axes)


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    return _shifted(x, axes, 1)


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    return _shifted(x, axes, -1)
