"""Reductions: sums, products, extremes and moments along axes, with `where`, `initial`, `dtype` and `keepdims`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from .linear import Axes, cumsum_rule, expanded, spread, sum_rule
from .registry import Rule, custom, implements

MISSING = np._NoValue  # NumPy's own mark of an argument that was not given


def _given(value: Any, default: Any) -> Any:
    return default if value is MISSING else value


def _flag(keepdims: Any) -> bool:
    return bool(_given(keepdims, False))


def _typed(a: Any, dtype: Any) -> Any:
    return a if dtype is None else np.asarray(a, dtype) if not hasattr(a, "astype") else a.astype(dtype)


def _stored(result: Any, out: Any) -> Any:
    """Put a result where `out=` asks for it."""
    if out is None:
        return result
    return np.positive(result, out=out)


def _masked(a: Any, where: Any, neutral: Any) -> Any:
    """Replace what `where` leaves out by the neutral element."""
    return a if where is True or where is MISSING else np.where(where, a, neutral)


# -- sum and mean --------------------------------------------------------------------------------------------------
@implements(np.sum)
def sum(
    a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: Any = MISSING, initial: Any = MISSING, where: Any = MISSING
) -> Any:
    if initial is MISSING and where is MISSING and dtype is None and out is None:
        return sum_rule(a, axis=axis, keepdims=keepdims is not MISSING and bool(keepdims))
    options = {"axis": axis, "keepdims": _flag(keepdims), "initial": _given(initial, 0), "where": _given(where, True)}
    return _stored(sum_rule(_typed(a, dtype), **options), out)


def _mean(x: Any, axis: Axes = None, keepdims: bool = False, where: Any = True) -> Any:
    if axis is None and where is True and x.__class__ is np.ndarray and x.dtype.char in "fd" and x.size:
        return np.add.reduce(x, None, None, None, keepdims) / x.size  # what np.mean does, without 3 µs of Python
    return np.mean(x, axis=axis, keepdims=keepdims, where=where)


def _counted(node: Any) -> tuple[Axes, bool, Any, Any]:
    """Axis, keepdims, where and the number of elements that went into each result."""
    options = node.params[1]
    axis, keepdims, where = options.get("axis"), options.get("keepdims", False), options.get("where", True)
    shape = node.operands[0].shape
    if where is True:
        lengths = shape if axis is None else [shape[i] for i in normalize_axis_tuple(axis, len(shape))]
        return axis, keepdims, where, math.prod(lengths)
    count = np.sum(np.broadcast_to(where, shape), axis=axis, keepdims=keepdims)
    return axis, keepdims, where, count


def _over(ct: Any, count: Any) -> Any:
    """`ct / count`, in the dtype of `ct`; an empty group contributes nothing."""
    if isinstance(count, int):
        return ct / count if count else ct * 0
    return ct / np.maximum(count, 1).astype(ct.dtype)


def _mean_pull(ct: Any, node: Any) -> Any:
    axis, keepdims, where, count = _counted(node)
    shape = node.operands[0].shape
    return _masked(spread(expanded(_over(ct, count), shape, axis, keepdims), shape), where, 0)


mean_rule = custom(
    "mean",
    _mean,
    needs=("",),
    pulls=(_mean_pull,),
    push=lambda node, tangents: np.mean(tangents[0], **node.params[1]),
)


@implements(np.mean)
def mean(a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: Any = MISSING, *, where: Any = MISSING) -> Any:
    return _stored(mean_rule(_typed(a, dtype), axis=axis, keepdims=_flag(keepdims), where=_given(where, True)), out)


# -- variance and standard deviation ----------------------------------------------------------------------------
def _centred(node: Any) -> tuple[Any, Any]:
    """The deviations from the mean, and the divisor N - ddof."""
    options = node.params[1]
    axis, _, where, count = _counted(node)
    x = node.operands[0].value
    centred = _masked(x - np.mean(x, axis=axis, keepdims=True, where=where), where, 0)
    if where is not True and not options.get("keepdims"):
        count = np.reshape(count, np.shape(np.sum(np.empty(node.operands[0].shape), axis=axis)))
    return centred, np.maximum(count - options.get("ddof", 0), 0)


def _var(x: Any, axis: Axes = None, keepdims: bool = False, ddof: float = 0, where: Any = True) -> Any:
    return np.var(x, axis=axis, keepdims=keepdims, ddof=ddof, where=where)


def _std(x: Any, axis: Axes = None, keepdims: bool = False, ddof: float = 0, where: Any = True) -> Any:
    return np.std(x, axis=axis, keepdims=keepdims, ddof=ddof, where=where)


def _raised(ct: Any, node: Any) -> Any:
    """A cotangent of the reduced array, ready to broadcast against the operand."""
    options = node.params[1]
    return expanded(ct, node.operands[0].shape, options.get("axis"), options.get("keepdims", False))


def _var_pull(ct: Any, node: Any) -> Any:
    centred, divisor = _centred(node)
    return _raised(ct * (2.0 / _as_float(divisor, ct)), node) * centred


def _as_float(divisor: Any, like: Any) -> Any:
    return np.asarray(divisor).astype(np.dtype(like.dtype.char.lower()) if like.dtype.kind == "c" else like.dtype)[()]


def _std_pull(ct: Any, node: Any) -> Any:
    centred, divisor = _centred(node)
    deviation = node.value
    # Where all elements agree the numerator is zero too: the smallest subgradient, as for a norm.
    safe = np.where(deviation == 0, 1, deviation)
    return _raised(ct * np.where(deviation == 0, 0, 1 / (safe * _as_float(divisor, ct))), node) * centred


def _moment_push(pull: Any) -> Any:
    def push(node: Any, tangents: Any) -> Any:
        options = node.params[1]
        one = np.ones(node.shape, node.dtype)
        slope = pull(one, node)
        return np.sum(np.real(np.conj(slope) * tangents[0]), axis=options.get("axis"), keepdims=options.get("keepdims", False))

    return push


var_rule = custom("var", _var, needs=("a",), pulls=(_var_pull,), push=_moment_push(_var_pull))
std_rule = custom("std", _std, needs=("ay",), pulls=(_std_pull,), push=_moment_push(_std_pull))


def _moment(rule: Rule) -> Any:
    def moment(
        a: Any,
        axis: Axes = None,
        dtype: Any = None,
        out: Any = None,
        ddof: float = 0,
        keepdims: Any = MISSING,
        *,
        where: Any = MISSING,
        mean: Any = MISSING,
        correction: Any = MISSING,
    ) -> Any:
        # A mean handed in only saves NumPy time: it has to be the mean of `a`, so nothing flows through it.
        if correction is not MISSING:
            if ddof:
                raise ValueError("ddof and correction can't be provided simultaneously.")
            ddof = correction
        options = {"axis": axis, "keepdims": _flag(keepdims), "ddof": ddof, "where": _given(where, True)}
        return _stored(rule(_typed(a, dtype), **options), out)

    return moment


implements(np.var)(_moment(var_rule))
implements(np.std)(_moment(std_rule))


# -- extremes ------------------------------------------------------------------------------------------------------
def _ties(node: Any) -> Any:
    """The weight of each element: 1 over the number that share the extreme (or are NaN with it), else 0."""
    x, y = node.operands[0].value, _raised(node.value, node)
    x, y = getattr(x, "data", x), getattr(y, "data", y)
    chosen = (x == y) | ((x != x) & (y != y))
    axis = node.params[1].get("axis")
    return chosen / np.maximum(np.sum(chosen, axis=axis, keepdims=True), 1).astype(node.dtype)


def _extreme_pull(ct: Any, node: Any) -> Any:
    return np.where(_ties(node) == 0, 0, _raised(ct, node) * _ties(node))


def _extreme_push(node: Any, tangents: Any) -> Any:
    options, ties = node.params[1], _ties(node)
    return np.sum(np.where(ties == 0, 0, tangents[0] * ties), axis=options.get("axis"), keepdims=options.get("keepdims", False))


def _extreme(name: str, ufunc: np.ufunc, worst: float) -> Any:
    def value(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
        return ufunc.reduce(x, axis=axis, keepdims=keepdims)

    rule = custom(name, value, needs=("ay",), pulls=(_extreme_pull,), push=_extreme_push)

    def extreme(
        a: Any, axis: Axes = None, out: Any = None, keepdims: Any = MISSING, initial: Any = MISSING, where: Any = MISSING
    ) -> Any:
        if where is not MISSING and where is not True and initial is MISSING:
            raise ValueError(f"{name} with where= needs initial=, the value for a group from which all is left out")
        if initial is MISSING:
            return _stored(rule(a, axis=axis, keepdims=_flag(keepdims)), out)
        a = _masked(a, where, worst)
        if not a.size or any(not n for n in a.shape):
            empty = ufunc.reduce(np.empty(a.shape, a.dtype), axis=axis, keepdims=_flag(keepdims), initial=initial)
            return _stored(empty + 0 * np.sum(a), out)
        return _stored(ufunc(rule(a, axis=axis, keepdims=_flag(keepdims)), initial), out)

    return extreme


implements(np.max, np.amax)(_extreme("max", np.maximum, -np.inf))
implements(np.min, np.amin)(_extreme("min", np.minimum, np.inf))


@implements(np.ptp)
def ptp(a: Any, axis: Axes = None, out: Any = None, keepdims: Any = MISSING) -> Any:
    return _stored(np.max(a, axis, keepdims=_flag(keepdims)) - np.min(a, axis, keepdims=_flag(keepdims)), out)


# -- products ------------------------------------------------------------------------------------------------------
def _others(x: Any, axis: int) -> Any:
    """Per element, the product of all others along `axis`: exact with any number of zeros, O(n), no division."""
    x = np.moveaxis(x, axis, 0)
    one = np.ones_like(x[:1])
    before = np.cumprod(np.concatenate([one, x[:-1]]), 0)
    after = np.flip(np.cumprod(np.concatenate([one, np.flip(x[1:], 0)]), 0), 0)
    return np.moveaxis(before * after, 0, axis)


def _product(x: Any, axis: Axes = None, keepdims: bool = False, initial: Any = 1, where: Any = True) -> Any:
    return np.multiply.reduce(x, axis=axis, keepdims=keepdims, initial=initial, where=where)


def _product_slopes(node: Any) -> Any:
    """d product / d element, in the operand's shape."""
    options, x = node.params[1], node.operands[0].value
    where = options.get("where", True)
    axis = options.get("axis")
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    if not axes or not x.size:
        slopes = np.ones_like(x)
    else:
        front = tuple(range(len(axes)))
        moved = np.moveaxis(_masked(x, where, 1), axes, front)
        slopes = _others(np.reshape(moved, (-1, *moved.shape[len(axes) :])), 0)
        slopes = np.moveaxis(np.reshape(slopes, moved.shape), front, axes)
    return _masked(slopes * options.get("initial", 1), where, 0)


def _product_pull(ct: Any, node: Any) -> Any:
    slopes = _product_slopes(node)
    return _raised(ct, node) * (np.conj(slopes) if node.dtype.kind == "c" else slopes)


def _product_push(node: Any, tangents: Any) -> Any:
    options = node.params[1]
    return np.sum(_product_slopes(node) * tangents[0], axis=options.get("axis"), keepdims=options.get("keepdims", False))


product_rule = custom("prod", _product, needs=("a",), pulls=(_product_pull,), push=_product_push)


@implements(np.prod)
def prod(
    a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: Any = MISSING, initial: Any = MISSING, where: Any = MISSING
) -> Any:
    options = {"axis": axis, "keepdims": _flag(keepdims), "initial": _given(initial, 1), "where": _given(where, True)}
    return _stored(product_rule(_typed(a, dtype), **options), out)


def _running_product(x: Any, axis: int) -> Any:
    return np.multiply.accumulate(x, axis)


def _cumprod_pull(ct: Any, node: Any) -> Any:
    # h_i = sum over k >= i of ct_k * prod of x_j, i < j <= k, satisfies h_i = ct_i + x_{i+1} h_{i+1}: no division.
    axis = node.params[1]["axis"]
    x, ct = np.moveaxis(node.operands[0].value, axis, 0), np.moveaxis(ct, axis, 0)
    n = x.shape[0]
    if not n:
        return np.moveaxis(x, 0, axis)
    if node.dtype.kind == "c":
        x = np.conj(x)
    later = [ct[n - 1]]
    for i in range(n - 2, -1, -1):
        later.append(ct[i] + x[i + 1] * later[-1])
    before = np.concatenate([np.ones_like(x[:1]), np.cumprod(x[:-1], 0)])
    return np.moveaxis(before * np.stack(later[::-1]), 0, axis)


def _cumprod_push(node: Any, tangents: Any) -> Any:
    axis = node.params[1]["axis"]
    x, t = np.moveaxis(node.operands[0].value, axis, 0), np.moveaxis(tangents[0], axis, 0)
    y = np.moveaxis(node.value, axis, 0)
    if not x.shape[0]:
        return tangents[0]
    out = [t[0]]
    for i in range(1, x.shape[0]):
        out.append(out[-1] * x[i] + y[i - 1] * t[i])
    return np.moveaxis(np.stack(out), 0, axis)


cumprod_rule = custom("cumprod", _running_product, needs=("ay",), pulls=(_cumprod_pull,), push=_cumprod_push)


@implements(np.cumsum)
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return _stored(cumsum_rule(_typed(a, dtype), axis=axis), out)


@implements(np.cumprod)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    a = _typed(a, dtype)
    return _stored(cumprod_rule(np.ravel(a) if axis is None else a, axis=0 if axis is None else axis), out)


# -- log-sum-exp and softmax ---------------------------------------------------------------------------------------
def _logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    z = x - top
    np.exp(z, z) if z.__class__ is np.ndarray else None
    total = np.sum(z if z.__class__ is np.ndarray else np.exp(z), axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        y = np.log(total) + top
    return y if keepdims else np.squeeze(y, axis=axis if axis is not None else None)


def _logsumexp_weights(node: Any) -> Any:
    """exp(x - y), 0 where the whole group is -inf."""
    y = _raised(node.value, node)
    return np.exp(node.operands[0].value - np.where(np.isneginf(getattr(y, "data", y)), 0, y))


logsumexp_rule = custom(
    "logsumexp",
    _logsumexp,
    needs=("ay",),
    pulls=(lambda ct, node: _raised(ct, node) * _logsumexp_weights(node),),
    push=lambda node, tangents: np.sum(
        _logsumexp_weights(node) * tangents[0],
        axis=node.params[1].get("axis"),
        keepdims=node.params[1].get("keepdims", False),
    ),
)


def _softmax(x: Any, axis: Axes = -1) -> Any:
    z = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return z / np.sum(z, axis=axis, keepdims=True)


def _softmax_change(ct: Any, node: Any) -> Any:
    y, axis = node.value, node.params[1].get("axis", -1)
    return y * (ct - np.sum(ct * y, axis=axis, keepdims=True))


softmax_rule = custom(
    "softmax",
    _softmax,
    needs=("y",),
    pulls=(_softmax_change,),
    push=lambda node, tangents: _softmax_change(tangents[0], node),
)


def _log_softmax(x: Any, axis: Axes = -1) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    z = x - np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))


log_softmax_rule = custom(
    "log_softmax",
    _log_softmax,
    needs=("y",),
    pulls=(
        lambda ct, node: ct - np.exp(node.value) * np.sum(ct, axis=node.params[1].get("axis", -1), keepdims=True),
    ),
    push=lambda node, tangents: (
        tangents[0] - np.sum(np.exp(node.value) * tangents[0], axis=node.params[1].get("axis", -1), keepdims=True)
    ),
)
