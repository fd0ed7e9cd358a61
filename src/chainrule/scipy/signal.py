"""Signal processing: convolutions, filters and their coefficients, resampling, spectra.

What SciPy computes by a chain of linear operations is composed of the same ones here; a recursive filter `a y = b x` is
two rules, a product `b x` and a division by `a`.

Source: J. Smith, Introduction to digital filters (2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import gcd, pi, prod
from typing import Any

import numpy as np
import scipy.signal
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from scipy.signal import windows  # noqa: F401 (a namespace of constants)

from ..graph import CLOSED
from ..rules.linear import as_array, conjugated, grid
from ..rules.registry import Rule, custom, multilinear, rules
from ..tensor import called, plain
from .namespace import Namespace, array, holds_tensors

here = Namespace(scipy.signal)

# The classes of linear systems choose their own class when they are made.
here.as_they_are("StateSpace", "TransferFunction", "ZerosPolesGain", "dlti", "lti")
here.as_they_are(
    "BadCoefficients", "check_COLA", "check_NOLA", "choose_conv_method", "closest_STFT_dual_window", "correlation_lags",
    "czt_points", "get_window", "max_len_seq", "test", "unit_impulse",
)  # fmt: skip
here.nondifferentiable("argrelextrema", "argrelmax", "argrelmin", "find_peaks", "find_peaks_cwt")
here.not_implemented("which samples it takes is found by searching", "peak_prominences", "peak_widths")
here.not_implemented(
    "it designs a filter, which is a constant; filter with the coefficients that you want to learn",
    "band_stop_obj", "bessel", "besselap", "buttap", "butter", "buttord", "cheb1ap", "cheb1ord", "cheb2ap", "cheb2ord",
    "cheby1", "cheby2", "ellip", "ellipap", "ellipord", "firls", "firwin", "firwin2", "firwin_2d", "gammatone",
    "iircomb", "iirdesign", "iirfilter", "iirnotch", "iirpeak", "kaiser_atten", "kaiser_beta", "kaiserord",
    "minimum_phase", "remez", "savgol_coeffs",
)  # fmt: skip
here.not_implemented(
    "conversions between forms of a filter are not implemented; write its transfer function or sections",
    "abcd_normalize", "bilinear", "bilinear_zpk", "cont2discrete", "findfreqs", "invres", "invresz", "lp2bp",
    "lp2bp_zpk", "lp2bs", "lp2bs_zpk", "lp2hp", "lp2hp_zpk", "lp2lp", "lp2lp_zpk", "normalize", "residue", "residuez",
    "sos2tf", "sos2zpk", "ss2tf", "ss2zpk", "tf2sos", "tf2ss", "tf2zpk", "unique_roots", "zpk2sos", "zpk2ss", "zpk2tf",
)  # fmt: skip
here.not_implemented(
    "linear systems are not implemented; use lfilter, or write x = A @ x + B @ u",
    "bode", "dbode", "dfreqresp", "dimpulse", "dlsim", "dstep", "freqresp", "impulse", "lsim", "place_poles", "step",
)  # fmt: skip
here.not_implemented(
    "splines of images and wavelets are not implemented; use chainrule.scipy.interpolate",
    "cascade", "cmplx_sort", "cspline1d_eval", "cspline2d", "cwt", "daub", "gauss_spline", "morlet", "morlet2", "qmf",
    "qspline1d_eval", "qspline2d", "ricker", "sepfir2d", "spline_filter", "symiirorder1", "symiirorder2",
)  # fmt: skip
here.not_implemented(
    "its transform is an object; use the functions czt, zoom_fft and stft", "CZT", "ShortTimeFFT", "ZoomFFT"
)
here.not_implemented("use np.abs(hilbert(x))", "envelope")
here.not_implemented(
    "with D = np.diff(np.eye(len(y)), order, axis=0) and weights w it is "
    "np.linalg.solve(np.diag(w) + lamb * D.T @ D, w * y), which is differentiated",
    "whittaker_henderson",
)
here.not_implemented("use fft, or sums of sines and cosines", "lombscargle", "vectorstrength")


def _typed(x: Any) -> Any:
    """At least single precision, as filters compute."""
    x = array(x)
    return x if x.dtype.kind in "fc" else x.astype(float)


def _last(x: Any, axis: int) -> Any:
    return np.moveaxis(x, axis, -1)


# -- convolution -------------------------------------------------------------------------------------------------
# Inverse functions of cutting out a part: the cotangent, where its elements are in the full convolution.
def _in_full(ct: Any, node: Any, axes: tuple[int, ...], mode: str) -> Any:
    if mode == "full":
        return ct
    a, b = (operand.shape for operand in node.operands)
    shape, index = list(ct.shape), [slice(None)] * ct.ndim
    for axis in axes:
        shape[axis] = a[axis] + b[axis] - 1
        start = (shape[axis] - ct.shape[axis]) // 2
        index[axis] = slice(start, start + ct.shape[axis])
    return rules["place"](ct, shape=tuple(shape), index=tuple(index))


def _convolution(name: str) -> Any:
    function = getattr(scipy.signal, name)

    def pull_one(own: int) -> Callable[..., Any]:
        def pull(ct: Any, node: Any) -> Any:
            options = node.params[1]
            given = options.get("axes")
            axes = normalize_axis_tuple(range(ct.ndim) if given is None else given, ct.ndim)
            full = _in_full(ct, node, axes, options["mode"])
            other = np.flip(conjugated(node.operands[1 - own].value), axes)
            return rule(full, other, **(options | {"mode": "valid"}))

        return pull

    rule = multilinear(function, pull_one(0), pull_one(1), name=f"scipy_{name}")
    return rule


convolve_rule = _convolution("convolve")
fftconvolve_rule = _convolution("fftconvolve")
oaconvolve_rule = _convolution("oaconvolve")


@here.ruled("in1", "in2")
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    in1, in2 = array(in1), array(in2)
    return convolve_rule(in1, in2, mode=mode, method=method) if in1.ndim else in1 * in2


@here.ruled("in1", "in2")
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    in1, in2 = array(in1), array(in2)
    return fftconvolve_rule(in1, in2, mode=mode, axes=axes) if in1.ndim else in1 * in2


@here.ruled("in1", "in2")
def oaconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    in1, in2 = array(in1), array(in2)
    return oaconvolve_rule(in1, in2, mode=mode, axes=axes) if in1.ndim else in1 * in2


@here.derived("in1", "in2")
def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    return convolve(in1, np.flip(conjugated(array(in2))), mode, method)


def _convolved_2d(a: Any, b: Any, mode: str, boundary: Any, fillvalue: Any) -> Any:
    if mode == "valid":
        return convolve_rule(a, b, mode="valid", method="auto")
    widths = [(n - 1, n - 1) for n in b.shape]
    if boundary in ("fill", "pad"):
        a = np.pad(a, widths, constant_values=fillvalue)
    else:
        a = np.pad(a, widths, "wrap" if boundary in ("wrap", "circular") else "symmetric")
    full = convolve_rule(a, b, mode="valid", method="auto")
    if mode == "full":
        return full
    starts = [(n - 1) // 2 for n in b.shape]
    shape = [n - 2 * (m - 1) for n, m in zip(a.shape, b.shape, strict=True)]
    return full[tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True))]


@here.derived("in1", "in2", "fillvalue")
def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: Any = "fill", fillvalue: Any = 0) -> Any:
    return _convolved_2d(array(in1), array(in2), mode, boundary, fillvalue)


@here.derived("in1", "in2", "fillvalue")
def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: Any = "fill", fillvalue: Any = 0) -> Any:
    a, b = array(in1), np.flip(conjugated(array(in2)))
    if mode == "valid" and any(n < m for n, m in zip(a.shape, b.shape, strict=True)):
        return _convolved_2d(a, b, mode, boundary, fillvalue)
    if mode != "same":
        return _convolved_2d(a, b, mode, boundary, fillvalue)
    full = _convolved_2d(a, b, "full", boundary, fillvalue)  # centred on the other side of even lengths
    return full[tuple(slice(m // 2, m // 2 + n) for n, m in zip(a.shape, b.shape, strict=True))]


# -- filters -----------------------------------------------------------------------------------------------------
# Along the last axis.
def _lagged(ct: Any, x: Any, n: int) -> Any:
    """The sums of ct[i] conj(x[i - k]) over i and everything else, for k < n."""
    length, xc = x.shape[-1], conjugated(x)
    if 64 < n <= length:
        full = fftconvolve_rule(ct, np.flip(xc, -1), mode="full", axes=-1)[..., length - 1 : length - 1 + n]
        return np.sum(full, tuple(range(full.ndim - 1)))
    sums = [np.sum(ct[..., k:] * xc[..., : length - k]) if k < length else np.zeros((), ct.dtype) for k in range(n)]
    return np.stack(sums)


def _fir(b: Any, x: Any) -> Any:
    return scipy.signal.lfilter(b, np.ones(1, np.result_type(b, x)), x)


fir_rule: Rule = multilinear(
    _fir,
    lambda ct, node: _lagged(ct, node.operands[1].value, node.operands[0].shape[0]),
    lambda ct, node: np.flip(fir_rule(conjugated(node.operands[0].value), np.flip(ct, -1)), -1),
    name="fir",
)


def _recursive_pull(ct: Any, node: Any) -> list[Any]:
    a, y = node.operands[0], node.value
    ct_v = np.flip(recursive_rule(conjugated(a.value), np.flip(ct, -1)), -1)
    if a.cotangent is CLOSED:
        return [None, ct_v]
    return [-_lagged(ct_v, y, a.shape[0]), ct_v]


def _recursive_push(node: Any, tangents: Sequence[Any]) -> Any:
    change = 0 if tangents[1] is None else tangents[1]
    if tangents[0] is not None:
        change = change - fir_rule(tangents[0], node.value)
    return recursive_rule(node.operands[0].value, change)


recursive_rule = custom(
    "recursive_filter",
    lambda a, v: scipy.signal.lfilter(np.ones(1, np.result_type(a, v)), a, v),
    needs=("ay", "a"),
    pull_all=_recursive_pull,
    push=_recursive_push,
    source="Smith 2007: the inverse of a convolution, cut off at the end",
)


def _filtered(b: Any, a: Any, x: Any, zi: Any = None) -> tuple[Any, Any]:
    """Filter along the last axis; the final state if there is an initial one."""
    v = fir_rule(b, x)
    if zi is None:
        return recursive_rule(a, v), None
    n, order = x.shape[-1], max(b.shape[0], a.shape[0]) - 1
    zeros = np.zeros((*x.shape[:-1], order), plain(v).dtype)
    state = a[0] * zi  # what the state adds to the samples to come
    state = np.concatenate([state + zeros, np.zeros_like(plain(v))], -1)[..., : n + order]
    y = recursive_rule(a, v + state[..., :n])
    extended = fir_rule(b, np.concatenate([x, zeros], -1)) - fir_rule(a, np.concatenate([y, zeros], -1))
    return y, (extended + state)[..., n:] / a[0]


def _vector(x: Any) -> Any:
    return np.atleast_1d(_typed(x))


@here.derived("b", "a", "x", "zi")
def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    y, zf = _filtered(_vector(b), _vector(a), _last(_typed(x), axis), None if zi is None else _last(_typed(zi), axis))
    return np.moveaxis(y, -1, axis) if zf is None else (np.moveaxis(y, -1, axis), np.moveaxis(zf, -1, axis))


def _sections(sos: Any, x: Any, zi: Any = None) -> tuple[Any, Any]:
    """Filter along the last axis by one section after another."""
    finals = []
    for i in range(sos.shape[0]):
        x, final = _filtered(sos[i, :3], sos[i, 3:], x, None if zi is None else zi[i])
        finals.append(final)
    return x, None if zi is None else np.stack(finals)


@here.derived("sos", "x", "zi")
def sosfilt(sos: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    x = _typed(x)
    axis = normalize_axis_index(axis, x.ndim)
    y, zf = _sections(_typed(sos), _last(x, axis), None if zi is None else _last(_typed(zi), axis + 1))
    y = np.moveaxis(y, -1, axis)
    return y if zf is None else (y, np.moveaxis(zf, -1, axis + 1))


def _steady(b: Any, a: Any) -> Any:
    """The state in which a constant signal leaves the filter as it is."""
    n = max(a.shape[0], b.shape[0])
    b, a = (np.concatenate([x / a[0], np.zeros(n - x.shape[0], plain(x).dtype)]) for x in (b, a))
    if n == 1:
        return np.zeros(0, plain(b).dtype)
    shift = np.eye(n - 1) - np.eye(n - 1, k=1)
    matrix = shift + np.expand_dims(a[1:], -1) * np.eye(1, n - 1)
    return np.linalg.solve(matrix, b[1:] - a[1:] * b[0])


@here.derived("b", "a")
def lfilter_zi(b: Any, a: Any) -> Any:
    return _steady(_vector(b), _vector(a))


def _steady_sections(sos: Any) -> Any:
    states, gain = [], 1.0
    for i in range(sos.shape[0]):
        b, a = sos[i, :3], sos[i, 3:]
        states.append(gain * _steady(b, a))
        gain = gain * np.sum(b) / np.sum(a)
    return np.stack(states)


@here.derived("sos")
def sosfilt_zi(sos: Any) -> Any:
    return _steady_sections(_typed(sos))


@here.derived("b", "a", "y", "x")
def lfiltic(b: Any, a: Any, y: Any, x: Any = None) -> Any:
    b, a, y = _vector(b), _vector(a), _vector(y)
    order = max(b.shape[0], a.shape[0]) - 1

    def of_past(c: Any, past: Any) -> Any:
        """What past values, newest first, add to each of the next ones."""
        sums = [
            sum((c[m + 1 + i] * past[i] for i in range(min(c.shape[0] - m - 1, past.shape[0]))), np.zeros(()))
            for m in range(order)
        ]
        return np.stack(sums) if sums else np.zeros(0)

    state = -of_past(a, y)
    return (state if x is None else state + of_past(b, _vector(x))) / a[0]


def _extended(x: Any, padtype: str | None, padlen: int | None, usual: int) -> tuple[Any, int]:
    edge = 0 if padtype is None else usual if padlen is None else padlen
    if not edge:
        return x, 0
    kind: dict[str, Any] = {"mode": "edge"} if padtype == "constant" else {"mode": "reflect", "reflect_type": padtype}
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(edge, edge)], **kind), edge


def _both_ways(once: Callable[[Any], Any], x: Any, edge: int) -> Any:
    """Filter forwards and backwards, and cut off the extension."""
    y = np.flip(once(np.flip(once(x), -1)), -1)
    return y[..., edge : y.shape[-1] - edge]


@here.derived("b", "a", "x")
def filtfilt(
    b: Any, a: Any, x: Any, axis: int = -1, padtype: str | None = "odd", padlen: int | None = None, method: str = "pad",
    irlen: Any = None,
) -> Any:  # fmt: skip
    if method != "pad":
        raise here.unsupported("filtfilt", "only with method='pad'")
    b, a, x = _vector(b), _vector(a), _last(_typed(x), axis)
    steady = _steady(b, a)
    x, edge = _extended(x, padtype, padlen, 3 * max(a.shape[0], b.shape[0]))
    return np.moveaxis(_both_ways(lambda x: _filtered(b, a, x, steady * x[..., :1])[0], x, edge), -1, axis)


@here.derived("sos", "x")
def sosfiltfilt(sos: Any, x: Any, axis: int = -1, padtype: str | None = "odd", padlen: int | None = None) -> Any:
    sos, x = _typed(sos), _last(_typed(x), axis)
    values = plain(sos)
    usual = 3 * (2 * len(values) + 1 - min((values[:, 2] == 0).sum(), (values[:, 5] == 0).sum()))
    x, edge = _extended(x, padtype, padlen, int(usual))
    steady = np.reshape(_steady_sections(sos), (len(values), *(1,) * (x.ndim - 1), 2))
    return np.moveaxis(_both_ways(lambda x: _sections(sos, x, steady * x[..., :1])[0], x, edge), -1, axis)


@here.derived("signal", "divisor")
def deconvolve(signal: Any, divisor: Any) -> Any:
    signal, divisor = _vector(signal), _vector(divisor)
    n = signal.shape[0] - divisor.shape[0] + 1
    if n < 1:
        return [], signal
    quotient = recursive_rule(divisor, signal[:n])
    return quotient, signal - np.convolve(divisor, quotient)


# -- resampling --------------------------------------------------------------------------------------------------
def _upfirdn(h: Any, x: Any, up: int, down: int) -> Any:
    """Along the last axis: put zeros between the samples, filter, and take some of the results."""
    n = (x.shape[-1] - 1) * up + h.shape[0]
    index = (..., slice(0, (x.shape[-1] - 1) * up + 1, up))
    return fir_rule(h, rules["place"](x, shape=(*x.shape[:-1], n), index=index))[..., ::down]


@here.derived("h", "x")
def upfirdn(h: Any, x: Any, up: int = 1, down: int = 1, axis: int = -1, mode: str = "constant", cval: Any = 0) -> Any:
    if mode != "constant" or cval != 0:
        raise here.unsupported("upfirdn", "only with mode='constant' and cval=0; pad the signal with np.pad")
    return np.moveaxis(_upfirdn(_vector(h), _last(_typed(x), axis), up, down), -1, axis)


BACKGROUNDS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "median": np.median,
    "minimum": np.min,
    "maximum": np.max,
}


def _resampled(x: Any, h: Any, up: int, down: int) -> Any:
    """Resample along the last axis by a filter that is centred on each sample."""
    n = -(-x.shape[-1] * up // down)
    middle = (h.shape[0] - 1) // 2
    y = _upfirdn(h, x, up, 1)[..., middle::down][..., :n]
    missing = n - y.shape[-1]
    return np.concatenate([y, np.zeros((*y.shape[:-1], missing), plain(y).dtype)], -1) if missing else y


@here.derived("x", "window")
def resample_poly(
    x: Any, up: int, down: int, axis: int = 0, window: Any = ("kaiser", 5.0), padtype: str = "constant",
    cval: Any = None,
) -> Any:  # fmt: skip
    x = _last(_typed(x), axis)
    up, down = int(up) // gcd(int(up), int(down)), int(down) // gcd(int(up), int(down))
    if padtype not in (*BACKGROUNDS, "constant") or cval:
        raise here.unsupported("resample_poly", f"only with padtype constant (and cval 0), {', '.join(BACKGROUNDS)}")
    if up == down:
        return np.moveaxis(x + 0, -1, axis)
    if isinstance(window, str | tuple):
        rate = max(up, down)
        window = scipy.signal.firwin(20 * rate + 1, 1 / rate, window=window)
    h = up * as_array(window).astype(x.dtype)
    background = BACKGROUNDS[padtype](x, axis=-1, keepdims=True) if padtype in BACKGROUNDS else 0
    return np.moveaxis(_resampled(x - background, h, up, down) + background, -1, axis)


@here.derived("x")
def decimate(x: Any, q: int, n: int | None = None, ftype: Any = "iir", axis: int = -1, zero_phase: bool = True) -> Any:
    x = _last(_typed(x), axis)
    if ftype == "fir":
        h = scipy.signal.firwin((20 * q if n is None else n) + 1, 1 / q, window="hamming")
        y = _resampled(x, h, 1, q) if zero_phase else _upfirdn(h, x, 1, q)[..., : -(-x.shape[-1] // q)]
    elif ftype == "iir":
        sos = scipy.signal.cheby1(8 if n is None else n, 0.05, 0.8 / q, output="sos")
        y = (sosfiltfilt(sos, x) if zero_phase else sosfilt(sos, x))[..., ::q]
    else:
        raise here.unsupported("decimate", "only with ftype 'iir' or 'fir'")
    return np.moveaxis(y, -1, axis)


def _joined(*parts: Any) -> Any:
    return np.concatenate(parts, -1)


def _of_bins(bins: Any, n: int, num: int) -> Any:
    """Of n bins those of num; the one at the end of an even number stands for two."""
    m = min(n, num)
    low, high = bins[..., : (m + 1) // 2], bins[..., n - (m - 1) // 2 :]
    middle = []
    zeros = num - m
    if m % 2 == 0:
        k = m // 2
        if num < n:
            middle = [bins[..., k : k + 1] + bins[..., n - k : n - k + 1]]
        elif num > n:
            half = bins[..., k : k + 1] / 2
            gap = np.zeros((*bins.shape[:-1], zeros - 1), plain(bins).dtype)
            return _joined(low, half, gap, half, high)
        else:
            middle = [bins[..., k : k + 1]]
    gap = np.zeros((*bins.shape[:-1], zeros), plain(bins).dtype)
    return _joined(low, *middle, gap, high)


@here.derived("x", "t")
def resample(x: Any, num: int, t: Any = None, axis: int = 0, window: Any = None, domain: str = "time") -> Any:
    x = array(x)
    real = x.dtype.kind != "c" and domain == "time"
    bins, n = _last(x, axis), x.shape[axis]
    bins = np.fft.fft(bins) if domain == "time" else bins
    if window is not None:
        frequencies = np.fft.fftfreq(n)
        if callable(window):
            weights = window(frequencies)
        else:
            weights = window if hasattr(window, "shape") else np.fft.fftshift(scipy.signal.get_window(window, n))
        bins = bins * weights
    y = np.fft.ifft(_of_bins(bins, n, num)) * (num / n)
    y = np.moveaxis(np.real(y) if real else y, -1, axis)
    return y if t is None else (y, array(t)[0] + np.arange(num) * (array(t)[1] - array(t)[0]) * n / num)


# -- analytic signals, trends, smoothing ---------------------------------------------------------------------------
def _one_sided(n: int) -> Any:
    """Twice the positive frequencies, none of the negative ones."""
    weights = np.zeros(n)
    weights[0] = 1
    weights[1 : (n + 1) // 2] = 2
    if n % 2 == 0:
        weights[n // 2] = 1
    return weights


@here.derived("x")
def hilbert(x: Any, N: Any = None, axis: int = -1) -> Any:
    bins = np.fft.fft(_last(_typed(x), axis), N)
    return np.moveaxis(np.fft.ifft(bins * _one_sided(bins.shape[-1])), -1, axis)


@here.derived("x")
def hilbert2(x: Any, N: Any = None, axes: Any = (-2, -1)) -> Any:
    x = _typed(x)
    shape = [x.shape[axis] for axis in axes] if N is None else list(np.broadcast_to(N, 2))
    bins = np.moveaxis(np.fft.fft2(x, [int(n) for n in shape], axes), axes, (-2, -1))
    first, second = (_one_sided(n) * (np.arange(n) < (n + 1) // 2) for n in shape)
    return np.fft.ifft2(np.moveaxis(bins * (first[:, None] * second), (-2, -1), axes), axes=axes)


@here.derived("data")
def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0) -> Any:
    data = _last(_typed(data), axis)
    if type in ("constant", "c"):
        return np.moveaxis(data - np.mean(data, -1, keepdims=True), -1, axis)
    n = data.shape[-1]
    ends = sorted({0, n, *np.atleast_1d(bp).tolist()})
    parts = []
    for start, stop in pairwise(ends):
        part = data[..., start:stop]
        line = np.stack([np.arange(1.0, stop - start + 1) / (stop - start), np.ones(stop - start)], 1)
        fit = (line @ np.linalg.pinv(line)).astype(plain(data).dtype)  # the projection on lines: symmetric
        parts.append(part - part @ fit)
    return np.moveaxis(_joined(*parts), -1, axis)


PADDINGS = {"mirror": "reflect", "nearest": "edge", "wrap": "wrap", "constant": "constant"}


@here.derived("x")
def savgol_filter(
    x: Any, window_length: int, polyorder: int, deriv: int = 0, delta: float = 1.0, axis: int = -1,
    mode: str = "interp", cval: float = 0.0,
) -> Any:  # fmt: skip
    x = _last(_typed(x), axis)
    dtype, n = plain(x).dtype, window_length
    h = scipy.signal.savgol_coeffs(n, polyorder, deriv, delta).astype(dtype)
    if mode == "interp":  # a polynomial through the first and one through the last samples
        ends = scipy.signal.savgol_filter(np.eye(n), n, polyorder, deriv, delta, axis=0).astype(dtype).T
        inside = fir_rule(h, x)[..., n - 1 :]
        first, last = x[..., :n] @ ends[:, : n // 2], x[..., x.shape[-1] - n :] @ ends[:, n // 2 + n % 2 :]
        y = _joined(first, inside[..., n % 2 == 0 :] if n % 2 == 0 else inside, last)
    else:
        widths = [(0, 0)] * (x.ndim - 1) + [((n - 1) // 2, n // 2)]
        options: dict[str, Any] = {"mode": PADDINGS[mode]}
        options |= {"constant_values": cval} if mode == "constant" else {}
        y = fir_rule(h, np.pad(x, widths, **options))[..., n - 1 :]
    return np.moveaxis(y, -1, axis)


def _windows(x: Any, sizes: Sequence[int]) -> Any:
    """The elements around every element, on one more axis; beyond the edges there are zeros."""
    numbers = np.pad(grid(x.shape) + 1, [(n // 2, (n - 1) // 2) for n in sizes])
    places = np.lib.stride_tricks.sliding_window_view(numbers, tuple(sizes))
    places = places.reshape(*x.shape, prod(sizes))
    return np.concatenate([np.zeros(1, plain(x).dtype), np.ravel(x)])[places]


def _sizes(given: Any, rank: int) -> list[int]:
    return [int(n) for n in np.broadcast_to(3 if given is None else given, rank)]


@here.derived("volume")
def medfilt(volume: Any, kernel_size: Any = None) -> Any:
    volume = array(volume)
    return np.median(_windows(volume, _sizes(kernel_size, volume.ndim)), axis=-1)


@here.derived("input")
def medfilt2d(input: Any, kernel_size: Any = 3) -> Any:
    input = array(input)
    return np.median(_windows(input, _sizes(kernel_size, 2)), axis=-1)


@here.derived("a")
def order_filter(a: Any, domain: Any, rank: int) -> Any:
    a, domain = array(a), np.asarray(domain)
    return np.sort(_windows(a, domain.shape)[..., domain.ravel() != 0], axis=-1)[..., rank]


@here.derived("im", "noise")
def wiener(im: Any, mysize: Any = None, noise: Any = None) -> Any:
    im = array(im)
    around = _windows(im, _sizes(mysize, im.ndim))
    mean = np.mean(around, -1)
    variance = np.mean(around**2, -1) - mean**2
    noise = np.mean(variance) if noise is None else noise
    return np.where(plain(variance) < plain(noise), mean, mean + (im - mean) * (1 - noise / variance))


# -- transforms by a matrix ----------------------------------------------------------------------------------------
def _by_matrix(function: Callable[..., Any], x: Any, axis: int) -> Any:
    """A linear function along an axis, by what it makes of unit vectors."""
    x = _last(_typed(x), axis)
    return np.moveaxis(x @ function(np.eye(x.shape[-1])), -1, axis)


@here.derived("x")
def czt(x: Any, m: Any = None, w: Any = None, a: Any = 1 + 0j, *, axis: int = -1) -> Any:
    return _by_matrix(lambda unit: scipy.signal.czt(unit, m, w, a), x, axis)


@here.derived("x")
def zoom_fft(x: Any, fn: Any, m: Any = None, *, axis: int = -1, **options: Any) -> Any:
    return _by_matrix(lambda unit: scipy.signal.zoom_fft(unit, fn, m, **options), x, axis)


@here.derived("signal")
def cspline1d(signal: Any, lamb: float = 0.0) -> Any:
    return _by_matrix(lambda unit: np.stack([scipy.signal.cspline1d(row, lamb) for row in unit]), signal, -1)


@here.derived("signal")
def qspline1d(signal: Any, lamb: float = 0.0) -> Any:
    return _by_matrix(lambda unit: np.stack([scipy.signal.qspline1d(row, lamb) for row in unit]), signal, -1)


# -- frequency responses -------------------------------------------------------------------------------------------
def _delays(w: Any, n: int) -> Any:
    """exp(-iwk): what a delay of k samples does to each frequency."""
    return np.exp(-1j * np.multiply.outer(w, np.arange(n)))


def _response(b: Any, a: Any, w: Any) -> Any:
    return (_delays(w, b.shape[0]) @ b) / (_delays(w, a.shape[0]) @ a)


def _vectors_only(name: str, *coefficients: Any) -> None:
    if any(x.ndim != 1 for x in coefficients):
        raise here.unsupported(name, "only for one filter, with coefficients in vectors")


def _frequencies(given: Any, fs: float) -> Any:
    return given * (2 * pi / fs)


@here.derived("b", "a")
def freqz(b: Any, a: Any = 1, worN: Any = 512, whole: bool = False, plot: Any = None, fs: float = 2 * pi,
          include_nyquist: bool = False) -> Any:  # fmt: skip
    b, a = _vector(b), _vector(a)
    _vectors_only("freqz", b, a)
    w = called(scipy.signal.freqz, plain(b), plain(a), worN, whole, None, fs, include_nyquist)[0]
    return None, _response(b, a, _frequencies(w, fs))


def _sos_response(sos: Any, worN: Any, whole: bool, fs: float) -> Any:
    sos = _typed(sos)
    w = _frequencies(called(scipy.signal.sosfreqz, plain(sos), worN, whole, fs)[0], fs)
    h: Any = 1.0
    for i in range(sos.shape[0]):
        h = h * _response(sos[i, :3], sos[i, 3:], w)
    return None, h


@here.derived("sos")
def sosfreqz(sos: Any, worN: Any = 512, whole: bool = False, fs: float = 2 * pi) -> Any:
    return _sos_response(sos, worN, whole, fs)


@here.derived("sos")
def freqz_sos(sos: Any, worN: Any = 512, whole: bool = False, fs: float = 2 * pi) -> Any:
    return _sos_response(sos, worN, whole, fs)


def _from_roots(z: Any, p: Any, k: Any, at: Any) -> Any:
    z, p = (np.atleast_1d(array(x)) for x in (z, p))
    return k * np.prod(at[:, None] - z, -1) / np.prod(at[:, None] - p, -1)


@here.derived("z", "p", "k")
def freqz_zpk(z: Any, p: Any, k: Any, worN: Any = 512, whole: bool = False, fs: float = 2 * pi) -> Any:
    w = called(scipy.signal.freqz_zpk, plain(z), plain(p), plain(k), worN, whole, fs)[0]
    return None, _from_roots(z, p, k, np.exp(1j * _frequencies(w, fs)))


@here.derived("b", "a")
def freqs(b: Any, a: Any, worN: Any = 200, plot: Any = None) -> Any:
    b, a = _vector(b), _vector(a)
    w = called(scipy.signal.freqs, plain(b), plain(a), worN)[0]
    return None, np.polyval(b, 1j * w) / np.polyval(a, 1j * w)


@here.derived("z", "p", "k")
def freqs_zpk(z: Any, p: Any, k: Any, worN: Any = 200) -> Any:
    w = called(scipy.signal.freqs_zpk, plain(z), plain(p), plain(k), worN)[0]
    return None, _from_roots(z, p, k, 1j * w)


@here.derived("system")
def group_delay(system: Any, w: Any = 512, whole: bool = False, fs: float = 2 * pi) -> Any:
    b, a = (_vector(x) for x in system)
    frequencies, value = called(scipy.signal.group_delay, (plain(b), plain(a)), w, whole, fs)
    c = np.convolve(b, np.flip(conjugated(a)))
    e = _delays(_frequencies(frequencies, fs), c.shape[0])
    delay = np.real((e @ (c * np.arange(c.shape[0]))) / (e @ c)) - (a.shape[0] - 1)
    return None, np.where(value == 0, 0, delay)


# -- spectra -----------------------------------------------------------------------------------------------------
def _window(window: Any, nperseg: Any, n: int) -> Any:
    """The samples of a window; segments are no longer than the signal."""
    if isinstance(window, str | tuple):
        return scipy.signal.get_window(window, min(256 if nperseg is None else int(nperseg), n))
    return np.asarray(window)


def _detrended(segments: Any, how: Any) -> Any:
    if not how:
        return segments
    return how(segments) if callable(how) else detrend(segments, type=how)


def _transformed(x: Any, win: Any, noverlap: Any, nfft: Any, how: Any, onesided: bool) -> Any:
    """The Fourier transforms of overlapping segments, on the last two axes."""
    n, m = x.shape[-1], len(win)
    step = m - (m // 2 if noverlap is None else int(noverlap))
    index = np.arange(0, n - m + 1, step)[:, None] + np.arange(m)
    segments = _detrended(x[..., index], how) * win.astype(plain(x).real.dtype)
    return np.fft.rfft(segments, nfft) if onesided else np.fft.fft(segments, nfft)


def _cross_spectra(
    x: Any, y: Any, fs: float, window: Any, nperseg: Any, noverlap: Any, nfft: Any, how: Any, onesided: bool,
    scaling: str, axis: int,
) -> Any:  # fmt: skip
    """The products of the spectra of two signals, a segment after another."""
    same = x is y
    x, y = _last(_typed(x), axis), _last(_typed(y), axis)
    n = max(x.shape[-1], y.shape[-1])
    x, y = (np.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, n - each.shape[-1])]) for each in (x, y))
    win = _window(window, nperseg, n)
    nfft = len(win) if nfft is None else int(nfft)
    onesided = onesided and x.dtype.kind != "c" and y.dtype.kind != "c"
    first = _transformed(x, win, noverlap, nfft, how, onesided)
    second = first if same else _transformed(y, win, noverlap, nfft, how, onesided)
    scale = 1 / (fs * np.sum(win * win)) if scaling == "density" else 1 / np.sum(win) ** 2
    weights = np.full(first.shape[-1], scale)
    if onesided:  # both signs of a frequency
        weights[1 : -1 if nfft % 2 == 0 else None] *= 2
    spectra = np.conj(first) * second * weights
    return np.swapaxes(np.real(spectra) if same else spectra, -1, -2)


def _averaged(name: str, spectra: Any, average: str, axis: int) -> Any:
    if average != "mean":
        raise here.unsupported(name, "only with average='mean'")
    return np.moveaxis(np.mean(spectra, -1), -1, axis)


@here.derived("x", "y")
def csd(
    x: Any, y: Any, fs: float = 1.0, window: Any = "hann", nperseg: Any = None, noverlap: Any = None, nfft: Any = None,
    detrend: Any = "constant", return_onesided: bool = True, scaling: str = "density", axis: int = -1,
    average: str = "mean",
) -> Any:  # fmt: skip
    x = array(x)
    y = x if y is x else array(y)
    spectra = _cross_spectra(
        x, y, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis
    )  # fmt: skip
    return None, _averaged("csd", spectra, average, axis)


@here.derived("x")
def welch(
    x: Any, fs: float = 1.0, window: Any = "hann", nperseg: Any = None, noverlap: Any = None, nfft: Any = None,
    detrend: Any = "constant", return_onesided: bool = True, scaling: str = "density", axis: int = -1,
    average: str = "mean",
) -> Any:  # fmt: skip
    x = array(x)
    spectra = _cross_spectra(
        x, x, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis
    )  # fmt: skip
    return None, _averaged("welch", spectra, average, axis)


@here.derived("x")
def periodogram(
    x: Any, fs: float = 1.0, window: Any = "boxcar", nfft: Any = None, detrend: Any = "constant",
    return_onesided: bool = True, scaling: str = "density", axis: int = -1,
) -> Any:  # fmt: skip
    x = _last(array(x), axis)
    n = x.shape[-1] if nfft is None else min(int(nfft), x.shape[-1])
    x = x[..., :n]
    spectra = _cross_spectra(x, x, fs, window, n, 0, nfft, detrend, return_onesided, scaling, -1)
    return None, np.moveaxis(spectra[..., 0], -1, axis)


@here.derived("x", "y")
def coherence(
    x: Any, y: Any, fs: float = 1.0, window: Any = "hann", nperseg: Any = None, noverlap: Any = None, nfft: Any = None,
    detrend: Any = "constant", axis: int = -1,
) -> Any:  # fmt: skip
    x, y = array(x), array(y)

    def mean(a: Any, b: Any) -> Any:
        spectra = _cross_spectra(a, b, fs, window, nperseg, noverlap, nfft, detrend, True, "density", axis)
        return _averaged("coherence", spectra, "mean", axis)

    cross = mean(x, y)
    return None, (np.real(cross) ** 2 + np.imag(cross) ** 2) / mean(x, x) / mean(y, y)


@here.derived("x")
def spectrogram(
    x: Any, fs: float = 1.0, window: Any = ("tukey", 0.25), nperseg: Any = None, noverlap: Any = None,
    nfft: Any = None, detrend: Any = "constant", return_onesided: bool = True, scaling: str = "density",
    axis: int = -1, mode: str = "psd",
) -> Any:  # fmt: skip
    if mode != "psd":
        raise here.unsupported("spectrogram", "only with mode='psd'; use stft")
    x = array(x)
    noverlap = len(_window(window, nperseg, x.shape[axis])) // 8 if noverlap is None else noverlap
    spectra = _cross_spectra(x, x, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis)
    return None, None, np.moveaxis(spectra, -2, axis if axis >= 0 else axis - 1)


def _scale(win: Any, fs: float, scaling: str) -> Any:
    return 1 / np.sum(win) if scaling == "spectrum" else 1 / np.sqrt(fs * np.sum(win * win))


BOUNDARIES: dict[str, dict[str, Any]] = {
    "even": {"mode": "reflect"},
    "odd": {"mode": "reflect", "reflect_type": "odd"},
    "constant": {"mode": "edge"},
    "zeros": {"mode": "constant"},
}


@here.derived("x")
def stft(
    x: Any, fs: float = 1.0, window: Any = "hann", nperseg: Any = 256, noverlap: Any = None, nfft: Any = None,
    detrend: Any = False, return_onesided: bool = True, boundary: str | None = "zeros", padded: bool = True,
    axis: int = -1, scaling: str = "spectrum",
) -> Any:  # fmt: skip
    x = _typed(x)
    axis = normalize_axis_index(axis, x.ndim)
    x = _last(x, axis)
    win = _window(window, nperseg, x.shape[-1])
    m, before = len(win), [(0, 0)] * (x.ndim - 1)
    if boundary is not None:
        x = np.pad(x, [*before, (m // 2, m // 2)], **BOUNDARIES[boundary])
    if padded:
        step = m - (m // 2 if noverlap is None else int(noverlap))
        x = np.pad(x, [*before, (0, -(x.shape[-1] - m) % step % m)])
    onesided = return_onesided and x.dtype.kind != "c"
    segments = _transformed(x, win, noverlap, nfft, detrend, onesided) * _scale(win, fs, scaling)
    return None, None, np.moveaxis(np.swapaxes(segments, -1, -2), -2, axis)


@here.derived("Zxx")
def istft(
    Zxx: Any, fs: float = 1.0, window: Any = "hann", nperseg: Any = None, noverlap: Any = None, nfft: Any = None,
    input_onesided: bool = True, boundary: bool = True, time_axis: int = -1, freq_axis: int = -2,
    scaling: str = "spectrum",
) -> Any:  # fmt: skip
    Zxx = array(Zxx)
    time_axis, freq_axis = normalize_axis_index(time_axis, Zxx.ndim), normalize_axis_index(freq_axis, Zxx.ndim)
    segments = np.moveaxis(Zxx, (time_axis, freq_axis), (-2, -1))
    bins = 2 * (segments.shape[-1] - 1) if input_onesided else segments.shape[-1]
    m = bins if nperseg is None else int(nperseg)
    nfft = (m if input_onesided and m == bins + 1 else bins) if nfft is None else int(nfft)
    win = _window(window, m, m)
    parts = np.fft.irfft(segments, nfft) if input_onesided else np.fft.ifft(segments, nfft)
    parts = parts[..., :m] * (win / _scale(win, fs, scaling))
    step = m - (m // 2 if noverlap is None else int(noverlap))
    place = np.arange(parts.shape[-2])[:, None] * step + np.arange(m)
    n, batch = int(place[-1, -1]) + 1, parts.shape[:-2]
    everywhere = np.arange(prod(batch)).reshape(*batch, 1, 1) * n + place
    x = rules["scatter"](parts, shape=(*batch, n), index=everywhere)  # segments overlap, and add up
    total = rules["scatter"](np.broadcast_to(win * win, place.shape), shape=(n,), index=place)
    cut = slice(m // 2, n - m // 2) if boundary else slice(None)
    x, total = x[..., cut], total[cut]
    x = x / np.where(total > 1e-10, total, 1)
    return None, np.moveaxis(x, -1, time_axis - (freq_axis < time_axis))


# -- waveforms ---------------------------------------------------------------------------------------------------
@here.derived("t")
def gausspulse(
    t: Any, fc: float = 1000, bw: float = 0.5, bwr: float = -6, tpr: float = -60, retquad: bool = False,
    retenv: bool = False,
) -> Any:  # fmt: skip
    t = array(t)
    a = -((pi * fc * bw) ** 2) / (4 * np.log(10 ** (bwr / 20)))
    envelope = np.exp(-a * t * t)
    pulse, quadrature = envelope * np.cos(2 * pi * fc * t), envelope * np.sin(2 * pi * fc * t)
    results = (pulse, *((quadrature,) if retquad else ()), *((envelope,) if retenv else ()))
    return results if len(results) > 1 else pulse


@here.derived("t", "width")
def sawtooth(t: Any, width: Any = 1) -> Any:
    t, width = array(t), array(width)
    inside = np.mod(t, 2 * pi)
    rising = plain(inside) < plain(width) * 2 * pi
    up = inside / (pi * np.where(rising, width, 1)) - 1
    down = (pi * (width + 1) - inside) / (pi * np.where(rising, 1, 1 - width))
    return np.where(rising, up, down)


@here.derived("t", "duty")
def square(t: Any, duty: Any = 0.5) -> Any:
    value = called(scipy.signal.square, plain(t), plain(duty))
    return np.where(True, value, array(t) * array(duty))  # a step: no slope


@here.derived("t", "f0", "t1", "f1", "phi")
def chirp(
    t: Any, f0: Any, t1: Any, f1: Any, method: str = "linear", phi: Any = 0, vertex_zero: bool = True, **options: Any
) -> Any:
    if any(options.values()):
        raise here.unsupported("chirp", "only real ones")
    t, f0, t1, f1 = map(array, (t, f0, t1, f1))
    if method in ("linear", "lin", "li"):
        turns = f0 * t + (f1 - f0) / t1 * t * t / 2
    elif method in ("quadratic", "quad", "q") and vertex_zero:
        turns = f0 * t + (f1 - f0) / t1**2 * t**3 / 3
    elif method in ("quadratic", "quad", "q"):
        turns = f1 * t + (f1 - f0) / t1**2 * ((t1 - t) ** 3 - t1**3) / 3
    elif method in ("logarithmic", "log", "lo") and not np.array_equal(plain(f0), plain(f1)):
        turns = t1 * f0 / np.log(f1 / f0) * ((f1 / f0) ** (t / t1) - 1)
    elif method in ("hyperbolic", "hyp") and not np.array_equal(plain(f0), plain(f1)):
        singular = -f1 * t1 / (f0 - f1)
        turns = -singular * f0 * np.log(np.abs(1 - t / singular))
    else:
        turns = f0 * t
    return np.cos(2 * pi * turns + phi * (pi / 180))


@here.derived("t", "poly", "phi")
def sweep_poly(t: Any, poly: Any, phi: Any = 0) -> Any:
    if not (isinstance(poly, np.poly1d) or holds_tensors(poly)):
        poly = np.asarray(poly)
    return np.cos(2 * pi * np.polyval(np.polyint(poly), array(t)) + phi * (pi / 180))


globals().update(here.members)
__all__ = sorted(here.kinds)  # noqa: PLE0605 (every name of SciPy's module)
