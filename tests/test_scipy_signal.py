"""chainrule.scipy.signal: values are SciPy's, derivatives in signals and coefficients agree with differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from oracle import check, check_dtypes, close, same, spaced

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import signal

X, X2 = spaced((12,), "x"), spaced((2, 12), "x2")
B, A = np.array([0.5, 0.3, -0.2]), np.array([1.5, -0.4, 0.3, 0.1])
SOS = np.array([[0.5, 0.2, 0.1, 1.0, -0.3, 0.2], [0.7, -0.2, 0.3, 1.0, 0.1, -0.4]])
LONG = spaced((60,), "long")


def unit(sos: Any) -> Any:
    """SciPy wants sections whose leading coefficient is one."""
    return np.concatenate([sos[:, :3], np.ones((len(sos), 1)), sos[:, 4:]], 1)


CASES: dict[str, tuple[Any, list[Any]]] = {
    **{
        f"{name} {mode} {n} {m}": (
            lambda a, b, name=name, mode=mode: getattr(signal, name)(a, b, mode),
            [spaced((n,), "a"), spaced((m,), "b")],
        )
        for name in ("convolve", "fftconvolve", "oaconvolve", "correlate")
        for mode in ("full", "same", "valid")
        for n, m in ((6, 3), (6, 4), (3, 6))
    },
    "convolve direct": (lambda a, b: signal.convolve(a, b, method="direct"), [X2, X2[:, :3]]),
    "convolve fft": (lambda a, b: signal.convolve(a, b, "same", method="fft"), [X2, X2[:, :3]]),
    "fftconvolve along an axis": (lambda a, b: signal.fftconvolve(a, b, "same", axes=1), [X2, X2[:1, :4]]),
    "oaconvolve along an axis": (lambda a, b: signal.oaconvolve(a, b, axes=-1), [X2[:1], X2[:, :4]]),
    "fftconvolve swapped": (lambda a, b: signal.fftconvolve(a, b, "valid"), [X2[:, :3], X2]),
    **{
        f"{name} {mode} {boundary}": (
            lambda a, b, name=name, mode=mode, edge=boundary: getattr(signal, name)(a, b, mode, edge, 0.5),
            [spaced((4, 5), "a"), spaced((3, 2), "b")],
        )
        for name in ("convolve2d", "correlate2d")
        for mode in ("full", "same", "valid")
        for boundary in ("fill", "wrap", "symm")
    },
    "convolve2d in the value around": (
        lambda a, c: signal.convolve2d(a, np.ones((2, 2)), fillvalue=c),
        [spaced((4, 5), "a"), np.float64(0.7)],
    ),
    "correlate2d valid swapped": (
        lambda a, b: signal.correlate2d(a, b, "valid"),
        [spaced((2, 2), "a"), spaced((3, 4), "b")],
    ),
    "lfilter": (signal.lfilter, [B, A, X2]),
    "lfilter along an axis": (lambda b, a, x: signal.lfilter(b, a, x, axis=0), [B, A, X2.T]),
    "lfilter fir": (lambda b, x: signal.lfilter(b, 1.0, x), [B, X]),
    "lfilter long fir": (lambda b, x: signal.lfilter(b, 1.0, x), [spaced((70,), "b"), spaced((2, 80), "x")]),
    "lfilter short": (signal.lfilter, [B, A, X[:2]]),
    "lfilter with a state": (lambda b, a, x, zi: signal.lfilter(b, a, x, zi=zi), [B, A, X2, spaced((2, 3), "zi")]),
    "lfilter with one state": (lambda b, a, x, zi: signal.lfilter(b, a, x, zi=zi), [B, A, X, spaced((3,), "zi")]),
    "lfilter with a longer state": (
        lambda b, a, x, zi: signal.lfilter(b, a, x, axis=0, zi=zi),
        [B, A, X2[:, :2].T, spaced((3, 2), "zi")],
    ),
    "sosfilt": (lambda sos, x: signal.sosfilt(unit(sos), x), [SOS, X2]),
    "sosfilt with a state": (
        lambda sos, x, zi: signal.sosfilt(unit(sos), x, axis=0, zi=zi),
        [SOS, X2.T, spaced((2, 2, 2), "zi")],
    ),
    "lfilter_zi": (signal.lfilter_zi, [B, A]),
    "sosfilt_zi": (lambda sos: signal.sosfilt_zi(unit(sos)), [SOS]),
    "lfiltic": (signal.lfiltic, [B, A, X[:3], X[3:5]]),
    "lfiltic short": (lambda b, a, y: signal.lfiltic(b, a, y), [B, A, X[:2]]),
    **{
        f"filtfilt {pad}": (lambda b, a, x, pad=pad: signal.filtfilt(b, a, x, padtype=pad, padlen=5), [B, A, X2])
        for pad in ("odd", "even", "constant", None)
    },
    "filtfilt usual": (lambda b, a, x: signal.filtfilt(b, a, x, axis=0), [B, A[:3], LONG[:24].reshape(12, 2)]),
    "sosfiltfilt": (lambda sos, x: signal.sosfiltfilt(unit(sos), x), [SOS, LONG[:40].reshape(2, 20)]),
    "deconvolve": (signal.deconvolve, [X, B]),
    "upfirdn": (lambda h, x: signal.upfirdn(h, x, 3, 2), [B, X2]),
    "upfirdn along an axis": (lambda h, x: signal.upfirdn(h, x, 1, 3, axis=0), [B, X2.T]),
    **{
        f"resample_poly {up} {down} {pad}": (
            lambda x, up=up, down=down, pad=pad: signal.resample_poly(x, up, down, axis=1, padtype=pad),
            [X2],
        )
        for up, down, pad in (
            (3, 2, "constant"),
            (2, 4, "mean"),
            (5, 3, "median"),
            (2, 2, "constant"),
            (2, 1, "maximum"),
        )
    },
    "resample_poly window": (lambda x: signal.resample_poly(x, 2, 3, window=np.array([0.1, 0.5, 0.9, 0.4])), [X]),
    "decimate": (lambda x: signal.decimate(x, 3), [LONG]),
    "decimate once": (lambda x: signal.decimate(x, 3, zero_phase=False), [LONG]),
    "decimate fir": (lambda x: signal.decimate(x, 2, ftype="fir"), [LONG]),
    "decimate fir once": (lambda x: signal.decimate(x, 2, n=5, ftype="fir", zero_phase=False), [LONG]),
    **{
        f"resample {n} {num} {window}": (
            lambda x, num=num, window=window: signal.resample(x, num, axis=1, window=window),
            [X2[:, :n]],
        )
        for n in (11, 12)
        for num in (7, 8, 11, 12, 15, 16)
        for window in (None, "hann")
    },
    "resample with times": (lambda x, t: signal.resample(x, 7, t=t), [X, np.linspace(0.0, 3.0, 12)]),
    "resample_poly in the window": (lambda x, h: signal.resample_poly(x, 2, 3, window=h), [X, B]),
    "resample of bins": (lambda x: signal.resample(x, 16, domain="freq"), [X + 0.5j * X[::-1]]),
    "hilbert": (signal.hilbert, [X2]),
    "hilbert padded": (lambda x: signal.hilbert(x, 15, axis=0), [X2.T]),
    "hilbert2": (signal.hilbert2, [spaced((4, 5), "h2")]),
    "detrend": (signal.detrend, [X2]),
    "detrend pieces": (lambda x: signal.detrend(x, axis=0, bp=[5]), [X2.T]),
    "detrend constant": (lambda x: signal.detrend(x, type="constant"), [X2]),
    **{
        f"savgol_filter {n} {mode}": (
            lambda x, n=n, mode=mode: signal.savgol_filter(x, n, 2, deriv=1, delta=0.5, mode=mode, cval=0.3),
            [X2],
        )
        for n in (5, 4)
        for mode in ("interp", "mirror", "nearest", "wrap", "constant")
    },
    "medfilt": (signal.medfilt, [spaced((5, 6), "medfilt")]),
    "medfilt sizes": (lambda x: signal.medfilt(x, (3, 5)), [spaced((5, 6), "medfilt")]),
    "medfilt2d": (signal.medfilt2d, [spaced((5, 6), "medfilt")]),
    "order_filter": (lambda x: signal.order_filter(x, np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]]), 2), [X2]),
    "wiener": (signal.wiener, [spaced((5, 6), "wiener")]),
    "wiener noise": (lambda x: signal.wiener(x, 3, 0.2), [X]),
    "czt": (lambda x: signal.czt(x, 7, a=1.1), [X2]),
    "zoom_fft": (lambda x: signal.zoom_fft(x, [0.2, 0.9], 5, axis=0), [X2.T]),
    "cspline1d": (lambda x: signal.cspline1d(x), [X]),
    "cspline1d smooth": (lambda x: signal.cspline1d(x, 0.5), [X]),
    "qspline1d": (lambda x: signal.qspline1d(x), [X]),
    "freqz": (lambda b, a: signal.freqz(b, a, 7)[1], [B, A]),
    "freqz whole": (lambda b: signal.freqz(b, worN=6, whole=True, fs=10)[1], [B]),
    "freqz_zpk": (lambda z, p, k: signal.freqz_zpk(z, p, k, 7)[1], [B[:2], A[1:] / 2, np.float64(0.7)]),
    "sosfreqz": (lambda sos: signal.sosfreqz(unit(sos), 7)[1], [SOS]),
    "freqs": (lambda b, a: signal.freqs(b, a, np.array([0.5, 1.0, 3.0]))[1], [B, A]),
    "freqs_zpk": (
        lambda z, p, k: signal.freqs_zpk(z, p, k, np.array([0.5, 1.0, 3.0]))[1],
        [B[:2], A[1:], np.float64(0.7)],
    ),
    "group_delay": (lambda b, a: signal.group_delay((b, a), 7)[1], [B, A]),
    "welch": (lambda x: signal.welch(x, 2.0, nperseg=16)[1], [LONG]),
    "welch odd linear": (
        lambda x: signal.welch(x, nperseg=15, nfft=20, detrend="linear", axis=0)[1],
        [LONG.reshape(30, 2)],
    ),
    "welch spectrum": (lambda x: signal.welch(x, window=np.arange(1.0, 9), scaling="spectrum", noverlap=3)[1], [LONG]),
    "csd": (lambda x, y: signal.csd(x, y, nperseg=16, detrend=False)[1], [LONG, LONG[::-1] ** 2]),
    "csd of two lengths": (lambda x, y: signal.csd(x, y, nperseg=16)[1], [LONG, LONG[:50]]),
    "periodogram": (lambda x: signal.periodogram(x, 3.0)[1], [X2]),
    "periodogram padded": (lambda x: signal.periodogram(x, nfft=15, window="hann")[1], [X]),
    "periodogram cut": (lambda x: signal.periodogram(x, nfft=9, axis=0)[1], [X2.T]),
    "coherence": (lambda x, y: signal.coherence(x, y, nperseg=16)[1], [LONG, LONG[::-1] ** 2]),
    "spectrogram": (lambda x: signal.spectrogram(x, nperseg=16)[2], [LONG.reshape(2, 30)]),
    "spectrogram along an axis": (lambda x: signal.spectrogram(x, nperseg=16, axis=0)[2], [LONG.reshape(30, 2)]),
    "stft": (lambda x: signal.stft(x, nperseg=16)[2], [LONG]),
    "stft along an axis": (
        lambda x: signal.stft(x, 2.0, nperseg=10, noverlap=7, axis=0, boundary="even", scaling="psd")[2],
        [LONG.reshape(30, 2)],
    ),
    "stft two-sided": (lambda x: signal.stft(x, nperseg=15, return_onesided=False, boundary="odd")[2], [LONG]),
    "istft two-sided": (
        lambda z: signal.istft(z, input_onesided=False, noverlap=12, time_axis=0, freq_axis=1)[1],
        [spaced((4, 15), "z", dtype=complex)],
    ),
    "istft": (lambda z: signal.istft(z)[1], [signal.stft(LONG, nperseg=16)[2]]),
    "istft of stft": (lambda x: signal.istft(signal.stft(x, nperseg=10)[2])[1], [LONG.reshape(2, 30)]),
    "gausspulse": (lambda t: signal.gausspulse(t, fc=2, retquad=True, retenv=True), [X / 2]),
    "sawtooth": (lambda t, w: signal.sawtooth(5 * t, w), [X, np.float64(0.3)]),
    **{
        f"chirp {method} {vertex}": (
            lambda t, f0, t1, f1, m=method, v=vertex: signal.chirp(t, f0, t1, f1, m, 20 * f1, v),
            [X + 1.6, np.float64(1.0), np.float64(4.0), np.float64(0.4)],
        )
        for method, vertex in (
            ("linear", True),
            ("quadratic", True),
            ("quadratic", False),
            ("log", True),
            ("hyp", True),
        )
    },
    "sweep_poly": (signal.sweep_poly, [X, np.array([0.2, 0.3, 1.0]), np.float64(20.0)]),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str) -> None:
    f, args = CASES[name]
    check(f, args, tolerance=1e-5, seed=name)


COMPLEX = [
    "convolve same 6 4", "fftconvolve valid 3 6", "oaconvolve full 6 3", "correlate full 6 4", "correlate same 6 3",
    "correlate valid 6 3", "correlate2d same fill", "convolve2d full wrap", "lfilter", "lfilter with a state",
    "sosfilt", "upfirdn", "resample 12 8 None", "resample 12 16 hann", "resample 11 7 None", "detrend", "freqz",
    "csd", "welch", "stft two-sided", "filtfilt even", "deconvolve",
]  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name: str) -> None:
    f, args = CASES[name]
    if name == "deconvolve":
        args = [args[0], args[1] + 0j]
    check(f, [arg + 0.1j * spaced(arg.shape, (name, i)) for i, arg in enumerate(args)], tolerance=1e-5, seed=name)


@pytest.mark.parametrize(
    "name", ["convolve same 6 4", "lfilter", "sosfilt", "filtfilt odd", "detrend", "hilbert", "welch"]
)
def test_float32(name: str) -> None:
    f, args = CASES[name]
    check_dtypes(f, [arg.astype(np.float32) for arg in args])


def test_convolution_of_numbers_and_lists() -> None:
    assert cr.grad(lambda x: signal.convolve(x, 3.0))(2.0) == 3.0
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(signal.lfilter([1.0, x], [1.0], [1.0, 2.0])))(2.0), 1.0)


def test_third_derivative_of_a_recursive_filter() -> None:
    """y[n] = x[n] + a y[n-1] of an impulse is a**n."""

    def last(a: Any) -> Any:
        return signal.lfilter([1.0], np.stack([1.0, -a]), np.eye(1, 6)[0])[-1]

    close(cr.grad(cr.grad(cr.grad(last)))(0.7), 60 * 0.7**2, 1e-12)


def test_convolution_agrees_with_torch() -> None:
    a, b = spaced((20,), "ta"), spaced((5,), "tb")
    t, s = (torch.tensor(each, requires_grad=True) for each in (a, b))
    out = torch.nn.functional.conv1d(t[None, None], s.flip(0)[None, None], padding=4)
    expected = torch.autograd.grad((out**3).sum(), (t, s))
    gradients = cr.vjp(lambda a, b: np.sum(signal.fftconvolve(a, b) ** 3), a, b)[1](1.0)
    for gradient, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-10)


def test_steps_have_no_slope() -> None:
    same(cr.grad(lambda t: np.sum(signal.square(t)))(X), np.zeros(12))


def test_what_has_no_derivative_raises_by_name() -> None:
    t = cr.Tensor(X)
    for call in (
        lambda: signal.envelope(t), lambda: signal.tf2zpk(t, [1.0]), lambda: signal.butter(2, t[0]),
        lambda: signal.filtfilt(B, A, t, method="gust"), lambda: signal.periodogram(X, fs=t[0]),
        lambda: signal.welch(t, nperseg=4, average="median"),
    ):  # fmt: skip
        with pytest.raises(UnsupportedFunctionError, match=r"scipy\.signal\.\w+"):
            call()
    np.testing.assert_array_equal(signal.find_peaks(t)[0], scipy.signal.find_peaks(X)[0])
    same(signal.windows.hann(5), scipy.signal.windows.hann(5))
