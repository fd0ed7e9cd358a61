"""Reductions without NaN, weighted averages, covariances, and counts with weights."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..errors import UnsupportedFunctionError
from .linear import Axes, anywhere, as_array, masked, of_one, plain, raised, stored, zero_wins
from .reductions import (
    MISSING,
    _moment,
    _options,
    _over_count,
    _shares,
    _std_gradient,
    _var_gradient,
    extreme,
    reduction,
)
from .registry import Rule, custom, implements, linear
from .selection import deciding, fixed


# -- reductions that leave NaN out -------------------------------------------------------------------------------
def _numbers(node: Any) -> Any:
    """The node of the reduction with one more mask: NaN is left out, and 0 in its place."""
    options, x = node.params[1], node.operands[0].value
    is_number = ~np.isnan(plain(x))
    operand = SimpleNamespace(value=np.where(is_number, x, 0), shape=x.shape)
    where = np.logical_and(is_number, options.get("where", True))
    return SimpleNamespace(
        operands=(operand,), params=((), options | {"where": where}), value=node.value, dtype=node.dtype
    )


def _mean_shares(node: Any) -> Any:
    """1 over the number of numbers."""
    numbers = _numbers(node)
    x, where = numbers.operands[0].value, numbers.params[1]["where"]
    ones = np.ones(plain(node.value).shape, plain(node.value).real.dtype)
    return masked(np.broadcast_to(raised(_over_count(ones[()], numbers), node), x.shape), where)


def _nan_mean(function: Callable[..., Any], rule: Rule) -> None:
    @implements(function)
    def mean(
        a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: Any = MISSING, *, where: Any = MISSING
    ) -> Any:
        return stored(rule(a, **_options(axis=axis, dtype=dtype, keepdims=keepdims, where=where)), out)


def _nan_extreme(function: Callable[..., Any]) -> None:
    extreme(reduction(function.__name__, function, lambda node: _shares(_numbers(node)), needs="ay"), function)


def _replaced(function: Callable[..., Any], ordinary: Callable[..., Any], neutral: float) -> None:
    """The function that treats NaN as a number that changes nothing."""

    @implements(function)
    def without_nan(a: Any, *args: Any, **options: Any) -> Any:
        return ordinary(np.where(np.isnan(plain(a)), np.array(neutral, a.dtype), a), *args, **options)


_nan_mean(np.nanmean, reduction("nanmean", np.nanmean, _mean_shares, needs="ay"))
_moment(np.nanvar, reduction("nanvar", np.nanvar, lambda node: _var_gradient(_numbers(node)), needs="a"))
_moment(np.nanstd, reduction("nanstd", np.nanstd, lambda node: _std_gradient(_numbers(node)), needs="ay"))
_nan_extreme(np.nanmax)
_nan_extreme(np.nanmin)
_replaced(np.nansum, np.sum, 0)
_replaced(np.nanprod, np.prod, 1)
_replaced(np.nancumsum, np.cumsum, 0)
_replaced(np.nancumprod, np.cumprod, 1)


# -- running sums --------------------------------------------------------------------------------------------------
def _cumulative(function: Callable[..., Any], running: Callable[..., Any], first: int) -> None:
    @implements(function)
    def cumulative(
        x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
    ) -> Any:
        x = np.atleast_1d(x)
        if axis is None and x.ndim > 1:
            raise ValueError("For arrays which have more than one dimension ``axis`` argument is required.")
        axis = 0 if axis is None else axis
        result = running(x, axis, dtype)
        if include_initial:
            (i,) = normalize_axis_tuple(axis, x.ndim)
            start = np.full((*x.shape[:i], 1, *x.shape[i + 1 :]), first, result.dtype)
            result = np.concatenate([start, result], i)
        return stored(result, out)


if hasattr(np, "cumulative_sum"):
    _cumulative(np.cumulative_sum, np.cumsum, 0)
    _cumulative(np.cumulative_prod, np.cumprod, 1)


# -- averages and covariances ------------------------------------------------------------------------------------
def _weights_like(a: Any, weights: Any, axes: tuple[int, ...] | None) -> Any:
    """Weights with the axes of `a`."""
    if weights.shape == a.shape:
        return weights
    if axes is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    if weights.shape != tuple(a.shape[i] for i in axes):
        raise ValueError("Shape of weights must be consistent with shape of a along specified axis.")
    weights = np.transpose(weights, np.argsort(axes))
    return np.reshape(weights, tuple(n if i in axes else 1 for i, n in enumerate(a.shape)))


@implements(np.average)
def average(a: Any, axis: Axes = None, weights: Any = None, returned: bool = False, *, keepdims: Any = MISSING) -> Any:
    a = as_array(a)
    axes = None if axis is None else normalize_axis_tuple(axis, a.ndim)
    kept = {} if keepdims is MISSING else {"keepdims": keepdims}
    if weights is None:
        mean = np.mean(a, axes, **kept)
        total: Any = mean.dtype.type(a.size / mean.size)
    else:
        weights = _weights_like(a, as_array(weights), axes)
        dtype = np.result_type(a.dtype, weights.dtype, *([float] if a.dtype.kind in "iub" else []))
        total = np.sum(weights, axes, dtype=dtype, **kept)
        if anywhere(total == 0):
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        mean = np.sum(np.multiply(a.astype(dtype), weights.astype(dtype)), axes, **kept) / total
    if not returned:
        return mean
    return mean, total if total.shape == mean.shape else np.copy(np.broadcast_to(total, mean.shape))


def _observations(m: Any, rowvar: bool, dtype: Any) -> Any:
    """Variables in rows."""
    if m.ndim > 2:
        raise ValueError(f"more than 2 dimensions: shape {m.shape}")
    x = np.atleast_2d(m.astype(dtype))
    return x if rowvar or m.ndim == 1 or x.shape[0] == 1 else x.T


# The same value, of which too few observations leave no derivative: NaN in every mode, as that of np.var with ddof.
undetermined = custom(
    "undetermined",
    np.positive,
    needs=("",),
    pulls=(lambda ct, node: zero_wins(ct, np.nan),),
    push=lambda node, tangents: zero_wins(tangents[0], np.nan),
)


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    given = [as_array(x) for x in (m, y) if x is not None]
    dtype = dtype or np.result_type(*(x.dtype for x in given), np.float64)
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    sets = [_observations(x, rowvar, dtype) for x in given]
    x = np.concatenate(sets, 0) if len(sets) > 1 else sets[0]
    if not x.shape[0]:
        return np.zeros((0, 0)) * np.real(np.sum(x))
    ddof = int(not bias) if ddof is None else ddof
    if aweights is not None:
        aweights = as_array(aweights).astype(float)
    weights = _frequencies(fweights, aweights, x.shape[1])
    mean, total = np.average(x, axis=1, weights=weights, returned=True)
    degrees = _degrees(x.shape[1], total[0], weights, aweights, ddof)
    if anywhere(degrees <= 0):
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=2)
        degrees = np.where(degrees <= 0, 0.0, degrees)
        x = undetermined(x)
    x = x - mean[:, np.newaxis]
    other = x.T if weights is None else (x * weights).T
    products = np.dot(x, np.conj(other) if other.dtype.kind == "c" else other)
    return np.squeeze(products * np.true_divide(1, degrees))


def _frequencies(fweights: Any, aweights: Any, n: int) -> Any:
    """Both kinds of weights in one array; None if there are none."""
    if fweights is not None:
        fweights = np.asarray(fixed(fweights, "fweights of np.cov"), float)
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is not None and (weights.shape != (n,) or anywhere(weights < 0)):
            raise ValueError(f"{name} must be {n} numbers, none of them negative")
    if fweights is not None and np.any(fweights != np.around(fweights)):
        raise TypeError("fweights must be integer")
    if fweights is None or aweights is None:
        return aweights if fweights is None else fweights
    return fweights * aweights


def _degrees(n: int, total: Any, weights: Any, aweights: Any, ddof: int) -> Any:
    """What the sum of squares is divided by."""
    if weights is None:
        return n - ddof
    if ddof == 0:
        return total
    return total - ddof if aweights is None else total - ddof * np.sum(weights * aweights) / total


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = np.cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    deviation = np.sqrt(np.real(np.diagonal(c)))
    c = c / deviation[:, np.newaxis]
    c = c / deviation[np.newaxis, :]
    if c.dtype.kind != "c":
        return np.clip(c, -1, 1)
    return np.clip(np.real(c), -1, 1) + 1j * np.clip(np.imag(c), -1, 1)


# -- counts --------------------------------------------------------------------------------------------------------
def _bin_sums(weights: Any, x: Any, minlength: int = 0) -> Any:
    return np.bincount(x, weights, minlength)


bincount_rule = linear(_bin_sums, lambda ct, weights, x, minlength=0: ct[x], name="bincount")


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    return bincount_rule(as_array(weights), x=as_array(plain(x)), minlength=minlength)


def _histogram_sums(weights: Any, a: Any, edges: Any, bins: Any, range: Any) -> Any:
    return np.histogram(a, bins, range, weights=weights)[0]


def _histogram_pull(ct: Any, weights: Any, a: Any, edges: Any, bins: Any, range: Any) -> Any:
    index = np.minimum(np.searchsorted(edges, a, "right") - 1, len(edges) - 2)  # the last edge belongs to its bin
    return np.where((a >= edges[0]) & (a <= edges[-1]), ct[np.clip(index, 0, None)], 0)


histogram_rule = linear(_histogram_sums, _histogram_pull, name="histogram")


def _edges(values: Any, x: Any, bins: Any, range: Any, name: str) -> Any:
    """Edges of bins as NumPy puts them, `values`; where the data's extremes decide, with their derivative."""
    if np.ndim(bins) == 1 or range is not None or not x.size or not hasattr(type(x), "_record"):
        return values
    if isinstance(bins, str):
        raise UnsupportedFunctionError(f"np.{name} of a Tensor with bins={bins!r}; give a number or the edges")
    low, high = np.min(x), np.max(x)
    if plain(low) == plain(high):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, len(values))


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    edges = np.histogram_bin_edges(deciding(a, "np.histogram"), bins, range, of_one(weights, "np.histogram"))
    return _edges(edges, a, bins, range, "histogram")


@implements(np.histogram)
def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    a = np.ravel(as_array(a))
    weights = weights if weights is None else np.ravel(weights)
    edges = np.histogram_bin_edges(a, fixed(bins, "bins of np.histogram"), range, weights)
    values = deciding(a, "np.histogram")
    if weights is None:
        counts, _ = np.histogram(values, bins, range)
    else:
        counts = histogram_rule(weights, a=values, edges=plain(edges), bins=bins, range=range)
    if density:
        counts = counts / np.diff(edges).astype(float) / np.sum(counts)
    return counts, edges


def _binned(weights: Any, sample: Any, edges: Any, bins: Any, range: Any) -> Any:
    return np.histogramdd(sample, bins, range, weights=weights)[0]


def _binned_pull(ct: Any, weights: Any, sample: Any, edges: Any, bins: Any, range: Any) -> Any:
    places, inside = [], np.ones(len(sample), bool)
    for x, ends in zip(sample.T, edges, strict=True):
        inside &= (x >= ends[0]) & (x <= ends[-1])
        places.append(np.clip(np.searchsorted(ends, x, "right") - 1, 0, len(ends) - 2))
    return np.where(inside, ct[tuple(places)], 0)


histogramdd_rule = linear(_binned, _binned_pull, name="histogramdd")


@implements(np.histogramdd)
def histogramdd(sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    if getattr(sample, "ndim", 0) != 2:  # a sequence of coordinates
        sample = np.stack([np.ravel(as_array(x)) for x in sample], 1)
    bins = (
        [fixed(each, "bins of np.histogramdd") for each in bins] if type(bins) in (list, tuple) else fixed(bins, "bins")
    )
    values = deciding(sample, "np.histogramdd")
    counts, edges = np.histogramdd(values, bins, range)
    ranges = range or (None,) * len(edges)
    given = bins if hasattr(bins, "__len__") else [bins] * len(edges)
    tracked = [_edges(found, sample[:, i], given[i], ranges[i], "histogramdd") for i, found in enumerate(edges)]
    if weights is not None:
        counts = histogramdd_rule(as_array(weights), sample=values, edges=edges, bins=bins, range=range)
    if density:
        total = np.sum(counts)
        for i, ends in enumerate(tracked):
            counts = counts / np.reshape(np.diff(ends), tuple(-1 if i == j else 1 for j in builtins.range(len(edges))))
        counts = counts / total
    return counts, tracked


@implements(np.histogram2d)
def histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    if len(x) != len(y):
        raise ValueError("x and y must have the same length.")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [bins, bins]
    counts, edges = np.histogramdd(np.stack([as_array(x), as_array(y)], 1), bins, range, density, weights)
    return counts, edges[0], edges[1]
