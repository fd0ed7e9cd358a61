"""Reductions: products, extremes and moments along axes, with `where`, `initial`, `dtype` and `keepdims`.

A reduction stores its gradient, an array of the operand's shape: both modes follow.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..memory import BIG, apply, keeps_bits
from .linear import Axes, axes_of, conjugated, cumsum_rule, masked, raised, spread, stored, sum_rule, summed, zero_wins
from .registry import Rule, custom, implements, refuse_missing_axes

MISSING = np._NoValue  # NumPy's own mark of an argument that was not given


def _options(**given: Any) -> dict[str, Any]:
    """The options that say something: NumPy's defaults are left out."""
    return {
        name: value
        for name, value in given.items()
        if value is not MISSING and value is not None and not (name == "where" and value is True)
    }


def by_products(pull: Any, push: Any) -> dict[str, Any]:
    """Both forms of two rules that multiply with the function they are given: plainly, and so that zero wins.

    They are called as `pull(times, cotangent, node)` and `push(times, tangent, node)`.
    """

    def pull_with(times: Any) -> Any:
        return lambda ct, node: pull(times, ct, node)

    def push_with(times: Any) -> Any:
        return lambda node, tangents: push(times, tangents[0], node)

    return {
        "pulls": (pull_with(_times),),
        "push": push_with(_times),
        "careful_pulls": (pull_with(zero_wins),),
        "careful_push": push_with(zero_wins),
    }


def reduction(name: str, value: Callable[..., Any], gradient: Callable[[Any], Any], needs: str) -> Rule:
    """Register a reduction whose gradient, at a node, is `gradient(node)`: an array of the operand's shape."""
    forms = by_products(
        lambda times, ct, node: times(raised(ct, node), gradient(node)),
        lambda times, t, node: summed(times(conjugated(gradient(node)), t), node),
    )
    return custom(name, value, needs=(needs,), **forms)


def _times(a: Any, b: Any) -> Any:
    return apply(np.multiply, a, b)


# -- sum and mean --------------------------------------------------------------------------------------------------
@implements(np.sum)
def sum(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    if dtype is None and out is None and keepdims is MISSING and initial is MISSING and where is MISSING:
        return sum_rule(a) if axis is None else sum_rule(a, axis=axis)  # the usual call, a microsecond sooner
    options = _options(axis=axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
    return stored(sum_rule(a, **options), out)


def _count(node: Any) -> Any:
    """How many elements went into each result: an int, or an array where a mask says it."""
    options, shape = node.params[1], node.operands[0].shape
    where = options.get("where", True)
    if where is not True:
        return summed(np.broadcast_to(where, shape), node)
    axis, size = options.get("axis"), 1
    for i in axes_of(axis, len(shape)):
        size *= shape[i]
    return size


def _over_count(x: Any, node: Any) -> Any:
    """Divide by the count, in the dtype of `x`, also where a float16 could not hold it; groups of nothing: by 1."""
    if x.dtype.char == "e":
        return _over_count(x.astype(np.float32), node).astype(np.float16)
    count = _count(node)
    return x / (count or 1 if isinstance(count, int) else np.maximum(count, 1).astype(x.real.dtype))


def _mean_pull(ct: Any, node: Any) -> Any:
    shape = node.operands[0].shape
    if not node.params[1] and isinstance(ct, np.float64 | np.float32):  # the usual case: a loss
        return spread(ct / math.prod(shape), shape)
    share = spread(raised(_over_count(ct, node), node), shape)
    return masked(share, node.params[1].get("where", True))


def _mean(x: Any, **options: Any) -> Any:
    if not options and x.__class__ is np.ndarray and x.dtype.char in "fd" and x.size:
        return np.add.reduce(x, None) / x.size  # what np.mean does, without 3 µs of Python
    return np.mean(x, **options)


mean_rule = custom(
    "mean",
    _mean,
    needs=("",),
    pulls=(_mean_pull,),
    push=lambda node, tangents: _over_count(summed(masked(tangents[0], node.params[1].get("where", True)), node), node),
)


@implements(np.mean)
def mean(
    a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: Any = MISSING, *, where: Any = MISSING
) -> Any:
    if axis is None and dtype is None and out is None and keepdims is MISSING and where is MISSING:
        return mean_rule(a)  # as in sum
    return stored(mean_rule(a, **_options(axis=axis, dtype=dtype, keepdims=keepdims, where=where)), out)


# -- variance and standard deviation ----------------------------------------------------------------------------
def _centred(node: Any) -> Any:
    """The deviations from the mean; np.mean would warn of empty groups again."""
    x = node.operands[0].value
    total = summed(masked(x, node.params[1].get("where", True)), node)
    return _less(x, raised(_over_count(total, node), node))


def _scaled(fresh: Any, factor: Any) -> Any:
    """A product, on the memory of its first factor, which nobody else holds."""
    if fresh.__class__ is np.ndarray and fresh.dtype == factor.dtype and factor.__class__ in (np.ndarray, np.float64):
        return np.multiply(fresh, factor, fresh)
    return fresh * factor


def _per_element(node: Any) -> Any:
    """1 / (N - ddof), for each result, in its dtype; infinite where there are not enough elements."""
    wide = np.promote_types(node.dtype, np.float64)
    divisor = np.maximum(_count(node) - node.params[1].get("ddof", 0), 0)
    if not np.ndim(divisor):
        return (1 / wide.type(divisor)).astype(node.dtype)
    return raised((1 / divisor.astype(wide)).astype(node.dtype), node)


def _var_gradient(node: Any) -> Any:
    return masked(_scaled(_centred(node), 2 * _per_element(node)), node.params[1].get("where", True))


def _std_gradient(node: Any) -> Any:
    # Where all elements agree the numerator is zero too: the smallest subgradient, as for a norm.
    deviation = np.real(raised(node.value, node))
    slope = _per_element(node) / np.where(deviation == 0, 1, deviation)
    slope = np.where(deviation == 0, 0, slope)
    return masked(_scaled(_centred(node), slope), node.params[1].get("where", True))


def _about(a: Any, mean: Any, axis: Axes, dtype: Any, ddof: float, keepdims: Any, where: Any, skip_nan: bool) -> Any:
    """The variance about a mean that is handed in: its own, which saves NumPy time, or any other."""
    kept, chosen = {} if keepdims is MISSING else {"keepdims": keepdims}, True if where is MISSING else where
    x, counted = a - mean, np.broadcast_to(chosen, a.shape)
    if skip_nan:
        x, counted = np.where(np.isnan(a), 0, x), counted & ~np.isnan(a)
    squares = np.real(x) * np.real(x) + np.imag(x) * np.imag(x) if x.dtype.kind == "c" else x * x
    total = np.sum(squares, axis, dtype=dtype, where=chosen, **kept)
    degrees = np.sum(counted, axis, **kept) - ddof
    if np.any(degrees <= 0):
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=4)
    return (total / np.where(degrees <= 0, np.nan if skip_nan else 0, degrees).astype(total.dtype))[()]


def _moment(function: Callable[..., Any], rule: Rule) -> None:
    @implements(function)
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
        if correction is not MISSING:
            if ddof:
                raise ValueError("ddof and correction can't be provided simultaneously.")
            ddof = correction
        if mean is not MISSING and mean is not None:
            spread_out = _about(a, mean, axis, dtype, ddof, keepdims, where, skip_nan="nan" in function.__name__)
            return stored(np.sqrt(spread_out) if "std" in function.__name__ else spread_out, out)
        result = rule(a, **_options(axis=axis, dtype=dtype, keepdims=keepdims, ddof=ddof, where=where))
        if result.dtype.kind == "c":  # asked for by `dtype`: there is no imaginary part
            result = np.real(result).astype(result.dtype)
        return stored(result, out)


_moment(np.var, reduction("var", np.var, _var_gradient, needs="a"))
_moment(np.std, reduction("std", np.std, _std_gradient, needs="ay"))


# -- extremes ------------------------------------------------------------------------------------------------------
def _equal(x: Any, y: Any) -> Any:
    if not np.any(np.isnan(y)):
        return x == y
    return np.logical_or(x == y, np.logical_and(x != x, y != y))


def _shares(node: Any) -> Any:
    """1 over the number that share the extreme (or are NaN with it), `initial` being one more candidate; else 0."""
    options = node.params[1]
    best = masked(_equal(node.operands[0].value, raised(node.value, node)), options.get("where", True), False)
    count = summed(best, node)
    if "initial" in options:
        count = count + _equal(node.value, options["initial"])
    return best / raised(np.maximum(count, 1).astype(np.promote_types(node.dtype, np.float32)), node)


def extreme(rule: Rule, *functions: Any) -> None:
    """Let NumPy functions with the signature of `np.max` run this rule."""

    @implements(*functions)
    def run(
        a: Any,
        axis: Axes = None,
        out: Any = None,
        keepdims: Any = MISSING,
        initial: Any = MISSING,
        where: Any = MISSING,
    ) -> Any:
        return stored(rule(a, **_options(axis=axis, keepdims=keepdims, initial=initial, where=where)), out)


extreme(reduction("max", np.max, _shares, needs="ay"), np.max, np.amax)
extreme(reduction("min", np.min, _shares, needs="ay"), np.min, np.amin)
reduction("fmax_reduce", np.fmax.reduce, _shares, needs="ay")
reduction("fmin_reduce", np.fmin.reduce, _shares, needs="ay")


@implements(np.ptp)
def ptp(a: Any, axis: Axes = None, out: Any = None, keepdims: Any = MISSING) -> Any:
    return np.subtract(np.max(a, axis, keepdims=keepdims), np.min(a, axis, keepdims=keepdims), out=out)


# -- products ------------------------------------------------------------------------------------------------------
def _others(x: Any) -> Any:
    """Per element, the product of all others along the first axis: exact with any number of zeros, no division."""
    one = np.ones_like(x[:1])
    before = np.cumprod(np.concatenate([one, x[:-1]]), 0)
    after = np.flip(np.cumprod(np.concatenate([one, np.flip(x[1:], 0)]), 0), 0)
    return before * after


def _prod_gradient(node: Any) -> Any:
    options, x = node.params[1], node.operands[0].value
    where, axis = options.get("where", True), options.get("axis")
    axes = axes_of(axis, x.ndim)
    if not axes or not x.size:
        slopes = np.ones_like(x)
    else:
        front = tuple(range(len(axes)))
        moved = np.moveaxis(masked(x, where, 1), axes, front)
        slopes = _others(np.reshape(moved, (-1, *moved.shape[len(axes) :])))
        slopes = np.moveaxis(np.reshape(slopes, moved.shape), front, axes)
    return conjugated(masked(slopes * options.get("initial", 1), where))


product_rule = reduction("prod", np.prod, _prod_gradient, needs="a")


@implements(np.prod)
def prod(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    if axis == 0:  # NumPy's polyvalfromroots ends here
        refuse_missing_axes()
    options = _options(axis=axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
    return stored(product_rule(a, **options), out)


def _recurrence(times: Any, factors: Any, terms: Any) -> Any:
    """Solve h_i = terms_i + factors_i h_{i+1} along the first axis: pairs first, then what is between; O(n)."""
    n = terms.shape[0]
    if n < 2:
        return terms
    even = slice(0, n - n % 2, 2), slice(1, n, 2)
    (f0, f1), (t0, t1) = ([x[part] for part in even] for x in (factors, terms))
    pairs_f, pairs_t = times(f0, f1), t0 + times(f0, t1)
    if n % 2:  # the last has no partner
        pairs_f, pairs_t = np.concatenate([pairs_f, factors[-1:]]), np.concatenate([pairs_t, terms[-1:]])
    first = _recurrence(times, pairs_f, pairs_t)
    after = first[1:] if n % 2 else np.concatenate([first[1:], np.zeros_like(first[:1])])
    second = t1 + times(f1, after)
    both = np.reshape(np.stack([first[: n // 2], second], 1), (n - n % 2, *terms.shape[1:]))
    return np.concatenate([both, first[-1:]]) if n % 2 else both


def _cumprod_pull(times: Any, ct: Any, node: Any) -> Any:
    # h_i = sum over k >= i of ct_k * prod of x_j, i < j <= k, satisfies h_i = ct_i + x_{i+1} h_{i+1}: no division.
    axis = node.params[1]["axis"]
    x, ct = np.moveaxis(conjugated(node.operands[0].value), axis, 0), np.moveaxis(ct, axis, 0)
    if not x.shape[0]:
        return np.moveaxis(ct, 0, axis)
    before = np.concatenate([np.ones_like(x[:1]), np.cumprod(x[:-1], 0)])
    later = _recurrence(times, np.concatenate([x[1:], np.ones_like(x[:1])]), ct)
    return np.moveaxis(times(before, later), 0, axis)


def _cumprod_push(times: Any, tangent: Any, node: Any) -> Any:
    axis = node.params[1]["axis"]
    x, y, t = (np.moveaxis(each, axis, 0) for each in (node.operands[0].value, node.value, tangent))
    if not x.shape[0]:
        return tangent
    own = np.concatenate([t[:1], times(y[:-1], t[1:])])
    changes = np.flip(_recurrence(times, np.flip(x, 0), np.flip(own, 0)), 0)
    return np.moveaxis(changes, 0, axis)


cumprod_rule = custom(
    "cumprod",
    lambda x, axis, dtype=None: np.multiply.accumulate(x, axis, dtype),
    needs=("ay",),
    **by_products(_cumprod_pull, _cumprod_push),
)


def _cumulative(function: Callable[..., Any], rule: Rule) -> None:
    @implements(function)
    def cumulative(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        if axis is None or not a.ndim:
            a, axis = np.ravel(a), 0
        return stored(rule(a, axis=axis, **({} if dtype is None else {"dtype": dtype})), out)


_cumulative(np.cumsum, cumsum_rule)
_cumulative(np.cumprod, cumprod_rule)


# -- log-sum-exp and softmax ---------------------------------------------------------------------------------------
def _less(x: Any, y: Any) -> Any:
    return apply(np.subtract, x, y) if x.nbytes >= BIG else x - y


def _exp_in_place(z: Any) -> Any:
    return np.exp(z, z) if z.__class__ is np.ndarray else np.exp(z)


def _shifted(x: Any, axis: Axes) -> tuple[Any, Any]:
    """`x` less its largest element, and that element; the largest finite number instead of an infinite one."""
    top = np.max(x, axis=axis, keepdims=True)
    if top.dtype.kind == "f":
        largest = np.finfo(top.dtype).max
        top = np.maximum(np.minimum(top, largest), -largest)
    return _less(x, top), top


MODERATE = 30.0  # exp of it, and sums of millions of those, fit easily into float32: no shift is needed


def _moderate(x: Any, extremes: Any) -> bool:
    return x.__class__ is np.ndarray and x.dtype.char in "fd" and bool(np.all(np.abs(extremes) <= MODERATE))


def _logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    if _moderate(x, top):  # one pass over memory less
        return np.log(np.sum(apply(np.exp, x), axis=axis, keepdims=keepdims))
    z, top = _shifted(x, axis)
    total = np.sum(_exp_in_place(z), axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        y = np.log(total) + top
    return y if keepdims else np.squeeze(y, axis=axis)[()]


EXTREME = 1e3  # exp(x - y) is off by |y|/2 units in the last place: from here on it is divided by its sum, too


def _weights(node: Any) -> Any:
    """exp(x - y): 0 where the whole group is -inf; infinite elements share; NaN where a NaN is in the group."""
    x, y = node.operands[0].value, raised(node.value, node)
    if not (np.abs(y) > EXTREME).any():
        return _exp_in_place(_less(x, y))
    weights = _normalised(_exp_in_place(_less(x, np.where(np.isinf(y), 0, y))), y)
    return np.where(np.isposinf(y), _shares(node), weights) if np.isposinf(y).any() else weights


def _normalised(weights: Any, y: Any) -> Any:
    """Divide by the sum of each group: where y is so large that it lost the logarithm of the sum, that is not 1."""
    axes = tuple(i for i, n in enumerate(y.shape) if n == 1)
    total = np.sum(weights, axis=axes if y.ndim else None, keepdims=bool(axes))
    total = np.where((total == 0) | np.isinf(y), 1, total).astype(weights.dtype)
    return np.divide(weights, total, weights) if weights.__class__ is np.ndarray else weights / total


def _is_plain(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic)


def _through_moderate(ct: Any, x: Any, y: Any) -> Any:
    weights = apply(np.exp, x)
    return np.multiply(weights, ct * np.exp(-y), weights)  # new ones: no second large array


def _through_finite(ct: Any, x: Any, y: Any) -> Any:
    if ct.__class__ is np.ndarray and _moderate(x, y):
        return _through_moderate(ct, x, y)
    weights = _exp_in_place(_less(x, y))
    return _times(ct, _normalised(weights, y) if (np.abs(y) > EXTREME).any() else weights)


def _logsumexp_pull(times: Any, ct: Any, node: Any) -> Any:
    x, y, ct = node.operands[0].value, raised(node.value, node), raised(ct, node)
    if times is _times and ct.__class__ is np.ndarray and _moderate(x, y):
        return _through_moderate(ct, x, y)
    if times is _times and keeps_bits(x) and (_is_plain(ct) or keeps_bits(ct)) and not np.isinf(y).any():
        return x.step(_through_finite, ct, x, y)  # a program goes by the values, as this does
    return times(ct, _weights(node))


def _logsumexp_push(times: Any, t: Any, node: Any) -> Any:
    return summed(times(_weights(node), t), node)


logsumexp_rule = custom(
    "logsumexp",
    _logsumexp,
    needs=("ay",),
    consists_of=_logsumexp,
    **by_products(_logsumexp_pull, _logsumexp_push),
)


def _softmax(x: Any, axis: Axes = -1) -> Any:
    z = _exp_in_place(_less(x, np.max(x, axis=axis, keepdims=True)))
    return z / np.sum(z, axis=axis, keepdims=True)


def _softmax_change(times: Any, change: Any, node: Any) -> Any:
    y, axis = node.value, node.params[1].get("axis", -1)
    return times(y, change - np.sum(times(change, y), axis=axis, keepdims=True))


softmax_rule = custom(
    "softmax", _softmax, needs=("y",), consists_of=_softmax, **by_products(_softmax_change, _softmax_change)
)


def _log_softmax(x: Any, axis: Axes = -1) -> Any:
    z, _ = _shifted(x, axis)
    with np.errstate(divide="ignore"):
        return z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))


def _log_softmax_pull(times: Any, ct: Any, node: Any) -> Any:
    total = np.sum(ct, axis=node.params[1].get("axis", -1), keepdims=True)
    return ct - times(np.exp(node.value), total)


def _log_softmax_push(times: Any, t: Any, node: Any) -> Any:
    return t - np.sum(times(np.exp(node.value), t), axis=node.params[1].get("axis", -1), keepdims=True)


log_softmax_rule = custom(
    "log_softmax",
    _log_softmax,
    needs=("y",),
    consists_of=_log_softmax,
    **by_products(_log_softmax_pull, _log_softmax_push),
)
