"""Functions of sequences: differences, interpolation, convolution, padding, and evenly spaced numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod
from operator import index
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .linear import anywhere, as_array, batched, conjugated, grid, plain, stored, zero_wins
from .reductions import MISSING
from .registry import Rule, custom, implements, multilinear, rules
from .selection import fixed, taken


def along(axis: int, index: Any) -> tuple[Any, ...]:
    """An index that applies to one axis."""
    return (slice(None),) * axis + (index,)


# -- differences ---------------------------------------------------------------------------------------------------
def _edge(x: Any, like: Any, axis: int) -> Any:
    """What is joined to an array along an axis: a number stands for a slice of it."""
    x = as_array(x)
    return x if x.ndim else np.broadcast_to(x, (*like.shape[:axis], 1, *like.shape[axis + 1 :]))


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = MISSING, append: Any = MISSING) -> Any:
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    a = as_array(a)
    if n == 0:
        return a
    axis = normalize_axis_index(axis, a.ndim)
    joined = [_edge(x, a, axis) for x in (prepend, a, append) if x is not MISSING]
    a = np.concatenate(joined, axis) if len(joined) > 1 else a
    for _ in range(n):
        a = a[along(axis, slice(1, None))] - a[along(axis, slice(None, -1))]
    return a


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    ary = np.ravel(as_array(ary))
    ends = [None if x is None else np.ravel(as_array(x)).astype(ary.dtype) for x in (to_begin, to_end)]
    parts = [part for part in (ends[0], np.diff(ary), ends[1]) if part is not None]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _weights_of_neighbours(d1: Any, d2: Any, at: str) -> tuple[Any, Any, Any]:
    """Of the parabola through three points at distances d1, d2: its slope at one of them, as weights of the three."""
    if at == "left":
        return -(2.0 * d1 + d2) / (d1 * (d1 + d2)), (d1 + d2) / (d1 * d2), -d1 / (d2 * (d1 + d2))
    if at == "right":
        return d2 / (d1 * (d1 + d2)), -(d2 + d1) / (d1 * d2), (2.0 * d2 + d1) / (d2 * (d1 + d2))
    return -d2 / (d1 * (d1 + d2)), (d2 - d1) / (d1 * d2), d1 / (d2 * (d1 + d2))


def _gradient_along(f: Any, d: Any, axis: int, edge_order: int) -> Any:
    """Slopes along the first axis; `d` is the distance of neighbours, or all of these."""
    f = np.moveaxis(f, axis, 0)
    if len(f) < edge_order + 1:
        raise ValueError("Shape of array too small to calculate a numerical gradient")
    even = np.ndim(d) == 0
    if even:
        inside = (f[2:] - f[:-2]) / (2.0 * d)
    else:
        column = np.reshape(d, (-1,) + (1,) * (f.ndim - 1))
        a, b, c = _weights_of_neighbours(column[:-1], column[1:], "middle")
        inside = a * f[:-2] + b * f[1:-1] + c * f[2:]
    first, last = (d, d) if even else (d[0], d[-1])
    if edge_order == 1:
        left, right = (f[1] - f[0]) / first, (f[-1] - f[-2]) / last
    else:
        if even:
            (a, b, c), (p, q, r) = (-1.5 / d, 2.0 / d, -0.5 / d), (0.5 / d, -2.0 / d, 1.5 / d)
        else:
            a, b, c = _weights_of_neighbours(d[0], d[1], "left")
            p, q, r = _weights_of_neighbours(d[-2], d[-1], "right")
        left, right = a * f[0] + b * f[1] + c * f[2], p * f[-3] + q * f[-2] + r * f[-1]
    return np.moveaxis(np.concatenate([left[np.newaxis], inside, right[np.newaxis]]), 0, axis)


def _distances(x: Any, n: int) -> Any:
    """Distances of neighbours: one number where they are all the same, as NumPy decides it."""
    x = as_array(x)
    if not x.ndim:
        return x
    if x.ndim != 1 or len(x) != n:
        raise ValueError("when 1d, distances must match the length of the corresponding dimension")
    d = np.diff(x.astype(float) if x.dtype.kind in "iu" else x)
    return d[0] if np.all(plain(d) == plain(d)[0]) and plain(x) is x else d


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = as_array(f)
    axes = tuple(range(f.ndim)) if axis is None else normalize_axis_tuple(axis, f.ndim)
    if len(varargs) not in (0, 1, len(axes)):
        raise TypeError("invalid number of arguments")
    if len(varargs) == 1 and np.ndim(varargs[0]) and len(axes) > 1:
        raise TypeError("invalid number of arguments")
    if edge_order > 2:
        raise ValueError("'edge_order' greater than 2 not supported")
    given = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    f = f.astype(float) if f.dtype.kind in "iub" else f
    slopes = [
        _gradient_along(f, d if isinstance(d, int | float) else _distances(d, f.shape[i]), i, edge_order).astype(
            f.dtype
        )
        for i, d in zip(axes, given, strict=True)
    ]
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


@implements(np.trapezoid, *([np.trapz] if hasattr(np, "trapz") else []))  # noqa: NPY201 (its name until NumPy 2.3)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = as_array(y)
    axis = normalize_axis_index(axis, y.ndim)
    d = dx
    if x is not None:
        x = as_array(x)
        d = np.diff(x) if x.ndim == 1 else np.diff(x, axis=axis)
        d = np.reshape(d, (-1,) + (1,) * (y.ndim - 1 - axis)) if x.ndim == 1 else d
    return np.sum(d * (y[along(axis, slice(1, None))] + y[along(axis, slice(None, -1))]) / 2.0, axis)


# Whole turns are taken off; between jumps that is adding a constant.
unwrap_rule = custom(
    "unwrap",
    np.unwrap,
    needs=("",),
    pulls=(lambda ct, node: ct,),
    push=lambda node, tangents: tangents[0],
)


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * pi) -> Any:
    length = plain(period)
    y = unwrap_rule(p, discont=plain(discont), axis=axis, period=length)
    if length is period:
        return y
    turns = np.round((plain(y) - plain(p)) / length)
    return y + (turns * (period - length)).astype(y.dtype)  # adds zero, and the derivative in the period


# -- interpolation -------------------------------------------------------------------------------------------------
# The result is a sum over knots of the value there times a hat function of x: linear in the values, and the transpose,
# `interp_spread`, gives every knot what the cotangents around it say.  Moving the knots is moving x the other way, by
# as much as the knots around it move: by what is interpolated between their moves.
def _slope(x: Any, xp: Any, fp: Any) -> Any:
    """Of the polygon: at a knot the mean of both sides, and zero beyond the ends."""
    width, none = np.diff(xp), np.zeros(1, fp.dtype)
    slopes = np.where(width == 0, 0, np.diff(fp) / np.where(width == 0, 1, width))
    slopes = np.concatenate([none, slopes, none])
    sides = np.searchsorted(plain(xp), plain(x), "left"), np.searchsorted(plain(xp), plain(x), "right")
    return np.where(np.isnan(plain(x)), 0, (slopes[sides[0]] + slopes[sides[1]]) / 2)


def _slope_spread(ct: Any, x: Any, xp: Any) -> Any:
    """The transpose of `_slope`, which is linear in the values at the knots."""
    x, width, total = plain(x), np.diff(xp), np.zeros(xp.shape, ct.dtype)
    for side in ("left", "right"):
        right = np.searchsorted(plain(xp), x, side)
        inside = (right > 0) & (right < len(xp)) & ~np.isnan(x)
        right = np.where(inside, right, min(1, len(xp) - 1))
        gap = width[right - 1] if len(width) else np.zeros(np.shape(x))
        part = np.where(inside & (gap != 0), ct / 2 / np.where(gap == 0, 1, gap), 0)
        total = total + rules["scatter"](np.stack([part, -part]), shape=xp.shape, index=np.stack([right, right - 1]))
    return total


def _spread(ct: Any, x: Any, xp: Any, ends: tuple[Any, Any]) -> Any:
    left = np.clip(np.searchsorted(xp, x, "right") - 1, 0, max(len(xp) - 2, 0))
    right = np.minimum(left + 1, len(xp) - 1)
    width = xp[right] - xp[left]
    share = np.clip((x - xp[left]) / np.where(width == 0, 1, width), 0, 1)
    outside = ((x < xp[0]) & (ends[0] is not None)) | ((x > xp[-1]) & (ends[1] is not None)) | np.isnan(x)
    parts = np.stack([np.where(outside, 0, ct * (1 - share)), np.where(outside, 0, ct * share)])
    return rules["scatter"](parts, shape=xp.shape, index=np.stack([left, right]))


def _between_knots(values: Any, x: Any, xp: Any, ends: tuple[Any, Any]) -> Any:
    """What the interpolation does to a change of the values at the knots."""
    y = interp_rule(x, values, xp, ends=tuple(None if end is None else 0.0 for end in ends))
    return np.where(np.isnan(plain(x)), 0, y)


def _shift(node: Any, tx: Any, txp: Any) -> Any:
    """How far x moves among its knots; None if not at all."""
    if txp is None:
        return tx
    x, xp = node.operands[1].value if node.rule is spread_rule else node.operands[0].value, node.operands[2].value
    moved = _between_knots(txp, x, xp, (None, None))
    return -moved if tx is None else tx - moved


def _interp_forms(times: Any) -> tuple[tuple[Any, ...], Any]:
    """The pulls and the push, with the products they are given."""

    def pull_x(ct: Any, node: Any) -> Any:
        x, fp, xp = (operand.value for operand in node.operands)
        return np.real(times(ct, conjugated(_slope(x, xp, fp))))

    def pull_fp(ct: Any, node: Any) -> Any:
        return spread_rule(ct, node.operands[0].value, node.operands[2].value, **node.params[1])

    def pull_xp(ct: Any, node: Any) -> Any:
        return -spread_rule(pull_x(ct, node), node.operands[0].value, node.operands[2].value, ends=(None, None))

    def push(node: Any, tangents: Any) -> Any:
        x, fp, xp = (operand.value for operand in node.operands)
        shift = _shift(node, tangents[0], tangents[2])
        along_x = 0 if shift is None else times(_slope(x, xp, fp), shift)
        return along_x if tangents[1] is None else along_x + _between_knots(tangents[1], x, xp, **node.params[1])

    return (pull_x, pull_fp, pull_xp), push


def _spread_forms(times: Any) -> tuple[tuple[Any, ...], Any]:
    def pull_ct(change: Any, node: Any) -> Any:
        return _between_knots(change, node.operands[1].value, node.operands[2].value, **node.params[1])

    def pull_x(change: Any, node: Any) -> Any:
        ct, x, xp = (operand.value for operand in node.operands)
        return np.real(times(_slope(x, xp, change), conjugated(ct)))

    def pull_xp(change: Any, node: Any) -> Any:
        return -spread_rule(pull_x(change, node), node.operands[1].value, node.operands[2].value, ends=(None, None))

    def push(node: Any, tangents: Any) -> Any:
        ct, x, xp = (operand.value for operand in node.operands)
        shift = _shift(node, tangents[1], tangents[2])
        total = 0 if tangents[0] is None else spread_rule(tangents[0], x, xp, **node.params[1])
        return total if shift is None else total + _slope_spread(times(ct, shift), x, xp)

    return (pull_ct, pull_x, pull_xp), push


def _interp(x: Any, fp: Any, xp: Any, ends: tuple[Any, Any]) -> Any:
    return np.interp(x, xp, fp, *ends)


def _interpolation(name: str, value: Callable[..., Any], needs: tuple[str, ...], forms: Any) -> Any:
    (pulls, push), (careful_pulls, careful_push) = forms(np.multiply), forms(zero_wins)
    return custom(
        name, value, needs=needs, pulls=pulls, push=push, careful_pulls=careful_pulls, careful_push=careful_push
    )


interp_rule = _interpolation("interp", _interp, needs=("abc", "ac", "abc"), forms=_interp_forms)
spread_rule = _interpolation("interp_spread", _spread, needs=("bc", "abc", "abc"), forms=_spread_forms)


@implements(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    x, xp, fp = (as_array(each) for each in (x, xp, fp))
    x, xp, fp = x.astype(float), xp.astype(float), fp if fp.dtype.kind == "c" else fp.astype(float)
    if period is not None:
        if anywhere(period == 0):
            raise ValueError("period must be a non-zero value")
        period = np.abs(period)
        x, xp = np.mod(x, period), np.mod(xp, period)
        order = np.argsort(plain(xp))
        xp = np.concatenate([xp[order[-1:]] - period, xp[order], xp[order[:1]] + period])
        return interp_rule(x, fp[np.concatenate([order[-1:], order, order[:1]])], xp, ends=(None, None))
    ends = tuple(None if end is None or batched(end) else plain(end) for end in (left, right))
    y = interp_rule(x, fp, xp, ends=ends)
    for end, beyond in ((left, plain(x) < plain(xp)[0]), (right, plain(x) > plain(xp)[-1])):
        if hasattr(type(end), "_record"):
            y = np.where(beyond, end, y)
    return y


# -- convolution ---------------------------------------------------------------------------------------------------
def _uncut(ct: Any, n: int, m: int, mode: str) -> Any:
    """A cotangent of `mode`, in the place where its elements are in the full convolution of n and m elements."""
    if mode == "full":
        return ct
    shorter = min(n, m)
    before = {"valid": shorter - 1, "same": (shorter - 1) // 2, "same reversed": shorter // 2}[mode]
    return rules["place"](ct, shape=(n + m - 1,), index=slice(before, before + ct.shape[0]))


def _convolve_pull(own: int) -> Callable[..., Any]:
    def pull(ct: Any, node: Any) -> Any:
        (n,), (m,) = (operand.shape for operand in node.operands)
        other = node.operands[1 - own].value
        full = _uncut(ct, n, m, node.params[1]["mode"])
        return np.convolve(full, np.flip(conjugated(other)), "valid")

    return pull


convolve_rule = multilinear(np.convolve, _convolve_pull(0), _convolve_pull(1), name="convolve")


def _correlate_pull_a(ct: Any, node: Any) -> Any:
    (n,), (m,) = (operand.shape for operand in node.operands)
    return np.convolve(_uncut(ct, n, m, _mode(node)), node.operands[1].value, "valid")


def _correlate_pull_v(ct: Any, node: Any) -> Any:
    (n,), (m,) = (operand.shape for operand in node.operands)
    full = _uncut(ct, n, m, _mode(node))  # of the convolution with v reversed and conjugated
    return np.flip(conjugated(np.convolve(full, np.flip(conjugated(node.operands[0].value)), "valid")))


def _mode(node: Any) -> str:
    (n,), (m,) = (operand.shape for operand in node.operands)
    mode = str(node.params[1]["mode"])
    return "same reversed" if mode == "same" and n < m else mode


correlate_rule = multilinear(np.correlate, _correlate_pull_a, _correlate_pull_v, name="correlate")


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    return convolve_rule(np.atleast_1d(a), np.atleast_1d(v), mode=mode)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    return correlate_rule(as_array(a), as_array(v), mode=mode)


# -- padding -------------------------------------------------------------------------------------------------------
def _holds_tensors(x: Any) -> bool:
    return any(map(_holds_tensors, x)) if isinstance(x, list | tuple) else plain(x) is not x


def _pairs(given: Any, rank: int) -> list[tuple[Any, Any]]:
    """A width, or a value, before and after each axis: from one number, a pair, or a pair per axis."""
    if isinstance(given, dict):
        given = [given.get(i, given.get(i - rank, (0, 0))) for i in range(rank)]
        return [(x, x) if np.ndim(x) == 0 else tuple(x) for x in given]
    if not _holds_tensors(given):
        x = np.asarray(given)
        if x.size <= 2 and x.shape != (2, 1):
            return [(x.flat[0], x.flat[-1])] * rank
        return [tuple(pair) for pair in np.broadcast_to(x, (rank, 2)).tolist()]
    if np.ndim(given) == 0:
        return [(given, given)] * rank
    given = [list(x) if np.ndim(x) else x for x in given]
    if not isinstance(given[0], list):
        return [(given[0], given[-1])] * rank
    return [(x[0], x[-1]) for x in (given * rank if len(given) == 1 else given)]


def _window(x: Any, axis: int, length: Any, at_end: bool) -> Any:
    """The elements that a statistic at one end is taken of."""
    n = x.shape[axis]
    length = n if length is None else min(int(length), n)
    return x[along(axis, slice(n - length, n) if at_end else slice(0, length))]


def _ramp(x: Any, axis: int, width: int, target: Any, at_end: bool) -> Any:
    edge = x[along(axis, -1 if at_end else 0)]
    ramp = np.linspace(target, edge, width, endpoint=False, dtype=x.dtype, axis=axis)
    return np.flip(ramp, axis) if at_end else ramp


def _mirrored(x: Any, axis: int, widths: tuple[int, int], about_edge: bool) -> Any:
    """Continue by reflecting through the point at each end, as often as it takes."""
    if x.shape[axis] == 1 and about_edge:  # nothing to reflect
        return np.repeat(x, sum(widths) + 1, axis)
    while max(widths) > 0:
        n = x.shape[axis]
        reach = n - 1 if about_edge else n
        parts = [x]
        for at_end, width in enumerate(widths):
            step = min(width, reach)
            first = n - step - about_edge if at_end else int(about_edge)
            if step > 0:
                edge = x[along(axis, slice(n - 1, n) if at_end else slice(0, 1))]
                part = 2 * edge - np.flip(x[along(axis, slice(first, first + step))], axis)
                parts = [*parts, part] if at_end else [part, *parts]
        x = np.concatenate(parts, axis)
        widths = (widths[0] - min(widths[0], reach), widths[1] - min(widths[1], reach))
    return x


STATISTICS: dict[str, Callable[..., Any]] = {"maximum": np.max, "minimum": np.min, "mean": np.mean, "median": np.median}


def _padded(x: Any, axis: int, widths: tuple[int, int], mode: str, values: tuple[Any, Any]) -> Any:
    """Pad one axis by what depends on the elements."""
    if mode == "odd reflect" or mode == "odd symmetric":
        return _mirrored(x, axis, widths, mode == "odd reflect")
    parts = [x]
    for at_end, (width, value) in enumerate(zip(widths, values, strict=True)):
        if not width:
            continue
        if mode == "linear_ramp":
            part = _ramp(x, axis, width, value, bool(at_end))
        else:
            part = STATISTICS[mode](_window(x, axis, value, bool(at_end)), axis=axis, keepdims=True)
            part = np.repeat(part, width, axis)
        parts = [*parts, part] if at_end else [part, *parts]
    return np.concatenate(parts, axis)


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    array = as_array(array)
    if mode == "constant":
        return _padded_by_constants(array, pad_width, kwargs.pop("constant_values", 0), kwargs)
    if callable(mode):
        return _padded_by_function(array, pad_width, mode, kwargs)
    odd = kwargs.get("reflect_type") == "odd"
    if not odd and mode in ("edge", "wrap", "reflect", "symmetric", "empty"):
        return taken(array, np.pad(grid(array.shape), pad_width, "constant" if mode == "empty" else mode, **kwargs))
    name = {"linear_ramp": "end_values"}.get(mode, "stat_length")
    np.pad(
        np.zeros(array.shape, array.dtype), pad_width, mode, **{k: plain(v) for k, v in kwargs.items()}
    )  # raises as NumPy does
    values = _pairs(kwargs.get(name, 0 if mode == "linear_ramp" else None), array.ndim)
    for axis, widths in enumerate(_pairs(pad_width, array.ndim)):
        if array.shape[axis] and any(widths):
            array = _padded(array, axis, widths, f"odd {mode}" if odd else mode, values[axis])
    return array


def _padded_by_function(x: Any, pad_width: Any, function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """The function writes into one line after the other, axis by axis."""
    widths = _pairs(pad_width, x.ndim)
    x = _padded_by_constants(x, pad_width, 0, {})
    for axis, width in enumerate(widths):
        rows = np.moveaxis(x, axis, -1)
        lines = [np.copy(rows[place]) for place in np.ndindex(rows.shape[:-1])]
        for line in lines:
            function(line, width, axis, options)
        x = np.moveaxis(np.reshape(np.stack(lines), rows.shape), -1, axis) if lines else x
    return x


def _padded_by_constants(x: Any, pad_width: Any, values: Any, others: dict[str, Any]) -> Any:
    shape = np.pad(np.zeros(x.shape, bool), pad_width, **others).shape  # raises where NumPy would
    if not _holds_tensors(values):
        outside = np.pad(np.zeros(x.shape, x.dtype), pad_width, constant_values=values)
    else:
        outside = _joined_constants(x, _pairs(pad_width, x.ndim), _pairs(values, x.ndim))
    inside = tuple(slice(before, before + n) for (before, _), n in zip(_pairs(pad_width, x.ndim), x.shape, strict=True))
    return rules["put"](outside, x, index=inside) if prod(shape) else outside


def _joined_constants(x: Any, widths: list[tuple[Any, Any]], values: list[tuple[Any, Any]]) -> Any:
    """Constants around zeros, axis by axis; they may be Tensors."""
    whole = np.zeros(x.shape, x.dtype)
    for axis, (width, value) in enumerate(zip(widths, values, strict=True)):
        ends = [
            np.broadcast_to(as_array(v).astype(x.dtype), (*whole.shape[:axis], w, *whole.shape[axis + 1 :]))
            for w, v in zip(width, value, strict=True)
        ]
        whole = np.concatenate([ends[0], whole, ends[1]], axis)
    return whole


# -- evenly spaced numbers -----------------------------------------------------------------------------------------
@implements(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    num = index(num)
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    result = np.result_type(plain(start), plain(stop), 1.0)
    start, stop = as_array(start).astype(result), as_array(stop).astype(result)
    delta = stop - start
    div = num - 1 if endpoint else num
    steps = np.arange(num, dtype=result).reshape((-1,) + (1,) * np.ndim(delta))
    step = delta / div if div > 0 else np.nan
    # Steps too small for a float: divide last.
    y = steps * step if div > 0 and not anywhere(step == 0) else steps / max(div, 1) * delta
    y = y + start
    if endpoint and num > 1:
        y = np.concatenate([y[:-1], np.broadcast_to(stop, y.shape[1:])[np.newaxis]])
    y = np.moveaxis(y, 0, axis) if axis else y
    y = y if dtype is None else np.astype(y, dtype)
    return (y, step) if retstep else y


@implements(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    if np.ndim(base):
        rank = len(np.broadcast_shapes(np.shape(start), np.shape(stop), np.shape(base)))
        start, stop, base = (np.reshape(x, (1,) * (rank - np.ndim(x)) + np.shape(x)) for x in (start, stop, base))
        base = np.expand_dims(base, axis)
    y = np.power(base, np.linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else np.astype(y, dtype)


def _fractions(node: Any) -> Any:
    """How far along each number is, with axes for the shape of the ends."""
    num, endpoint = node.params[1]["num"], node.params[1]["endpoint"]
    steps = np.arange(num) / max(num - 1 if endpoint else num, 1)
    return steps.reshape((-1,) + (1,) * (len(node.shape) - 1)).astype(node.dtype)


def _geometric(node: Any, end: int) -> Any:
    """The slope in one end: start**(1 - f) * stop**f, differentiated."""
    share = _fractions(node)
    return (share if end else 1 - share) * node.value / node.operands[end].value


def _geometric_pull(end: int) -> Callable[..., Any]:
    return lambda ct, node: np.sum(ct * conjugated(_geometric(node, end)), 0)


def _geometric_push(node: Any, tangents: Any) -> Any:
    terms = [_geometric(node, end) * t for end, t in enumerate(tangents) if t is not None]
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


geomspace_rule = custom(
    "geomspace",
    np.geomspace,
    needs=("ay", "by"),
    pulls=(_geometric_pull(0), _geometric_pull(1)),
    push=_geometric_push,
)


@implements(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    y = geomspace_rule(as_array(start), as_array(stop), num=num, endpoint=endpoint)
    y = np.moveaxis(y, 0, axis) if axis else y
    return y if dtype is None else np.astype(y, dtype)


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    rank = len(xi)
    order = [1, 0, *range(2, rank)] if indexing == "xy" and rank > 1 else list(range(rank))
    parts = [np.reshape(x, tuple(-1 if i == order[k] else 1 for i in range(rank))) for k, x in enumerate(xi)]
    if not sparse:
        parts = list(np.broadcast_arrays(*parts))
    return tuple(np.copy(part) if copy else part for part in parts)


# -- functions of one number -----------------------------------------------------------------------------------------
def _sinc_series(z: Any, order: int) -> Any:
    """The derivative of sin(z)/z from its Taylor series: for small z, where the closed form cancels."""
    total, k = np.zeros_like(z), 30 + order // 2
    while 2 * k >= order:
        factor = np.prod(np.arange(2 * k - order + 1, 2 * k + 1, dtype=float))
        total = total * (z * z) + (-1) ** k * factor * _over_factorial(2 * k + 1)
        k -= 1
    return total * z if order % 2 else total


def _over_factorial(n: int) -> float:
    return float(1 / np.prod(np.arange(1, n + 1, dtype=float)))


def _sinc(x: Any, order: int = 0) -> Any:
    """The derivative of some order of sin(pi x)/(pi x)."""
    if order == 0:
        return np.sinc(x)
    x = np.asarray(x)
    z = (pi * x).astype(x.dtype)
    small = np.abs(z) < order + 2
    far = np.where(small, 1, z)
    y = np.sin(far) / far
    for n in range(1, order + 1):  # z y = sin z, differentiated n times
        y = ((np.sin, np.cos)[n % 2](far) * (-1) ** (n // 2) - n * y) / far
    near = _sinc_series(np.where(small, z, 0), order)
    return (pi**order * np.where(small, near, y)).astype(x.dtype)[()]


def _order(node: Any) -> int:
    return int((node.params[1] or {}).get("order", 0))


sinc_rule: Rule = custom(
    "sinc",
    _sinc,
    needs=("a",),
    pulls=(lambda ct, node: ct * conjugated(sinc_rule(node.operands[0].value, order=_order(node) + 1)),),
    push=lambda node, tangents: sinc_rule(node.operands[0].value, order=_order(node) + 1) * tangents[0],
    also=[np.sinc],
)

CIRCLE = np.cos((np.arange(96) + 0.5) * (pi / 192))  # cosines of angles in the first quarter of a turn


def _i0(x: Any, order: int = 0) -> Any:
    """The derivative of some order of the Bessel function: an integral over the circle, which converges at once."""
    if order == 0:
        return np.i0(x)
    x = np.asarray(x)
    terms = (np.sinh if order % 2 else np.cosh)(np.multiply.outer(x.astype(float), CIRCLE))
    return np.mean(terms * CIRCLE**order, -1).astype(x.dtype)[()]


i0_rule: Rule = custom(
    "i0",
    _i0,
    needs=("a",),
    pulls=(lambda ct, node: ct * i0_rule(node.operands[0].value, order=_order(node) + 1),),
    push=lambda node, tangents: i0_rule(node.operands[0].value, order=_order(node) + 1) * tangents[0],
    source="https://dlmf.nist.gov/10.32.E1",
    also=[np.i0],
)


def _finite_parts(change: Any, x: Any) -> Any:
    """A change of what stays as it is: of numbers that are not replaced, real and imaginary parts apart."""
    x = plain(x)
    if x.dtype.kind != "c":
        return np.where(np.isfinite(x), change, 0)
    return np.where(np.isfinite(x.real), np.real(change), 0) + 1j * np.where(np.isfinite(x.imag), np.imag(change), 0)


nan_to_num_rule = custom(
    "nan_to_num",
    np.nan_to_num,
    needs=("a",),
    pulls=(lambda ct, node: _finite_parts(ct, node.operands[0].value),),
    push=lambda node, tangents: _finite_parts(tangents[0], node.operands[0].value),
)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    limits = {"nan": nan, "posinf": posinf, "neginf": neginf}
    limits = {name: fixed(value, f"{name} of np.nan_to_num") for name, value in limits.items()}
    return stored(nan_to_num_rule(as_array(x), **limits), None if copy else x)


@implements(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    if a.dtype.kind != "c":
        return a
    limit = tol * np.finfo(a.dtype).eps if tol > 1 else tol
    return np.real(a) if np.all(np.abs(plain(a).imag) < limit) else a


# -- loops -----------------------------------------------------------------------------------------------------------
@implements(np.apply_along_axis)
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    axis = normalize_axis_index(axis, arr.ndim)
    rows = np.moveaxis(arr, axis, -1)
    outer = rows.shape[:-1]
    if not prod(outer):
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [as_array(func1d(rows[place], *args, **kwargs)) for place in np.ndindex(outer)]
    inner = results[0].ndim
    stacked = np.reshape(np.stack(results), outer + results[0].shape)
    return np.moveaxis(stacked, tuple(range(stacked.ndim - inner, stacked.ndim)), tuple(range(axis, axis + inner)))


@implements(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for axis in np.atleast_1d(axes).tolist():
        axis = normalize_axis_index(axis, a.ndim)
        result = func(a, axis)
        a = result if result.ndim == a.ndim else np.expand_dims(result, axis)
    return a
