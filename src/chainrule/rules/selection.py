"""Functions that select: sorting, order statistics, and taking elements by index, by mask or by condition.

What they return are elements of the operand, or weighted means of a few of them.  Which ones is a matter of the values;
given that, they are linear.  Order statistics follow the permutation that NumPy computes: ties are not split.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, cast

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..errors import UnsupportedFunctionError
from .linear import Axes, as_array, batched, grid, plain, read, stored
from .reductions import by_products
from .registry import Rule, custom, functions, implements, nondifferentiable, rules

nondifferentiable(np.nanargmax, np.nanargmin, np.tril_indices_from, np.triu_indices_from, np.diag_indices_from)
nondifferentiable(np.ix_, reason="Makes arrays of indices")
functions[np.ix_] = lambda *args: np.ix_(*(plain(arg) for arg in args))


# -- what implementations share ----------------------------------------------------------------------------------
def fixed(x: Any, what: str) -> Any:
    """The plain value of an argument in which no derivative is known.

    Raises
    ------
    UnsupportedFunctionError
        If it has history, which would be lost.
    """
    parts = x if type(x) in (list, tuple) else [x]
    if any(getattr(part, "node", None) is not None for part in parts):
        raise UnsupportedFunctionError(f"no derivative in {what} is known; pass t.data to use it as a constant")
    return type(x)(map(plain, x)) if type(x) in (list, tuple) else plain(x)


def deciding(x: Any, use: str) -> Any:
    """The plain value of an operand, where it decides what the program does next: a trace makes that a guard."""
    if hasattr(type(x), "_record"):
        x._concrete(use)
    return plain(x)


# -- the rule they have in common ----------------------------------------------------------------------------------
Picked = tuple[Any, Any]  # flat positions in the operand, and weights over their last axis, or None


def selection(name: str, value: Callable[..., Any], pick: Callable[..., Picked]) -> Rule:
    """Register a function that selects.

    Parameters
    ----------
    name : str
    value : callable
        What computes it: called as `value(x, **options)`.
    pick : callable
        Called as `pick(x, **options)`: the flat positions of the elements that were selected, and None; or with a last
        axis more, and a weight for each of these.
    """

    def pull(times: Any, ct: Any, node: Any) -> Any:
        x = node.operands[0]
        index, weights = pick(plain(x.value), **node.params[1])
        if weights is not None:
            ct = times(np.reshape(ct, (*index.shape[:-1], 1)), weights.astype(ct.real.dtype))
        return rules["scatter"](ct, shape=x.shape, index=index)

    def push(times: Any, t: Any, node: Any) -> Any:
        index, weights = pick(plain(node.operands[0].value), **node.params[1])
        taken = np.ravel(t)[index]
        if weights is not None:
            taken = np.sum(times(taken, weights.astype(t.real.dtype)), -1)
        return np.reshape(taken, node.shape)

    return custom(name, value, needs=("a",), **by_products(pull, push))


# -- sorting -------------------------------------------------------------------------------------------------------
def _reordered(order: Callable[..., Any]) -> Callable[..., Picked]:
    """Along an axis, by the permutation that `order` computes; without an axis, of all elements."""

    def pick(x: Any, axis: int | None = -1, **options: Any) -> Picked:
        index = order(x, axis=axis, **options)
        return index if axis is None else np.take_along_axis(grid(x.shape), index, axis), None

    return pick


def _partition_order(x: Any, axis: int | None = -1, **options: Any) -> Any:
    """The permutation of np.partition: that of np.argpartition is another one, for large arrays."""
    if axis is None:
        x, axis = np.ravel(x), -1
    sources, places = np.argsort(x, axis), np.argsort(np.partition(x, axis=axis, **options), axis)
    order = np.empty_like(sources)
    np.put_along_axis(order, places, sources, axis)
    return order


sort_rule = selection("sort", np.sort, _reordered(np.argsort))
partition_rule = selection("partition", np.partition, _reordered(_partition_order))


@implements(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, **options: Any) -> Any:
    options |= {"kind": kind}  # `stable`, and `descending` since NumPy 2.5
    return sort_rule(a, axis=axis, **{name: x for name, x in options.items() if x is not None})


@implements(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Any:
    return partition_rule(a, kth=kth, axis=axis)


@implements(np.sort_complex)
def sort_complex(a: Any) -> Any:
    wide = {"f": np.complex64, "e": np.complex64, "d": np.complex128, "g": np.clongdouble}
    return np.sort(a).astype(wide.get(a.dtype.char, a.dtype))


# -- quantiles -----------------------------------------------------------------------------------------------------
def _together(x: Any, axis: Axes) -> Any:
    """The axes in question as one, the last."""
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    others = tuple(i for i in range(x.ndim) if i not in axes)
    shape = tuple(x.shape[i] for i in others)
    return np.transpose(x, others + axes).reshape(*shape, prod(x.shape[i] for i in axes))


def _between(places: Any, order: Any, at: Any, missing: Any) -> Picked:
    """The two elements beside a fractional position in the sorted order, and their weights."""
    n = order.shape[-1]
    below = np.floor(at).astype(int)
    pair = np.stack([below, np.minimum(below + 1, max(n - 1, 0))], -1)
    weights = np.stack([1 - (at - below), at - below], -1)
    if not n:
        return np.empty((*at.shape, 0), int), weights[..., :0]
    in_order = np.take_along_axis(places, order, -1)
    flat = np.reshape(in_order, (-1, n))
    rows = np.arange(flat.shape[0]).reshape((*in_order.shape[:-1], 1))  # q has axes in front, which broadcast
    return flat[rows, pair], np.where(missing[..., None], 0, weights)


def _order_around(rows: Any, below: Any) -> Any:
    """A permutation that sorts at least the elements at these ranks and the next ones: in long rows that is cheaper."""
    if rows.shape[-1] > 1000:
        ranks = np.unique(np.minimum(np.stack([below, below + 1]), rows.shape[-1] - 1))
        if ranks.size <= 8:
            return np.argpartition(rows, ranks, -1)
    return np.argsort(rows, -1)


def _ranked(statistic: Callable[..., Any], skip_nan: bool) -> Callable[..., Picked]:
    """Positions of an order statistic: what it says of the ranks 0, 1, 2, ... of the elements.

    A statistic that gives 1.25 for the ranks is, of the elements, 3/4 of the second smallest and 1/4 of the third.
    """

    def pick(x: Any, axis: Axes = None, keepdims: bool = False, weights: Any = None, **options: Any) -> Picked:
        rows, places = _together(x, axis), _together(grid(x.shape), axis)
        if weights is None and not skip_nan and rows.size:  # the ranks are 0, 1, 2, ... in every row
            at = np.asarray(statistic(np.arange(float(rows.shape[-1])), x.dtype, **options))
            at = np.reshape(at, at.shape + (1,) * (rows.ndim - 1))
            at = np.where(np.isnan(rows).any(-1), rows.shape[-1] - 1.0, at)  # NaN is sorted to the end: the result
            return _between(places, _order_around(rows, np.floor(at).astype(int)), at, np.zeros(at.shape, bool))
        order = np.argsort(rows, -1)
        ranks = np.argsort(order, -1).astype(float)
        nan = np.isnan(rows)
        nothing = nan.all(-1) if skip_nan else np.zeros(rows.shape[:-1], bool)
        if skip_nan:
            ranks = np.where(nan & ~nothing[..., None], np.nan, ranks)
        if weights is not None:
            weights = _together(weights, axis) if weights.shape == x.shape else np.ravel(weights)
            options["weights"] = np.broadcast_to(weights, ranks.shape)
        at = as_array(statistic(ranks, x.dtype, **options)) if ranks.shape[-1] else np.zeros(rows.shape[:-1])
        if not skip_nan:
            at = np.where(nan.any(-1), rows.shape[-1] - 1.0, at)  # NaN is sorted to the end, and is the result
        return _between(places, order, at, nothing)

    return pick


def _quantile_of_ranks(ranks: Any, dtype: Any, q: Any, percent: bool, **options: Any) -> Any:
    scale = dtype.type(100) if dtype.kind == "f" else 100  # NumPy computes positions in the dtype of the elements
    if percent:
        q = np.true_divide(q, scale)
    elif isinstance(q, int | float) and dtype.kind == "f":
        q = dtype.type(q)
    function = np.nanquantile if np.isnan(ranks).any() else np.quantile
    return function(ranks, q, axis=-1, **options)


for _function, _skip_nan in ((np.median, False), (np.nanmedian, True)):
    selection(
        _function.__name__,
        _function,
        _ranked(lambda ranks, dtype: np.nanmedian(ranks, axis=-1), _skip_nan),
    )


@implements(np.median)
def median(a: Any, axis: Axes = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return stored(rules["median"](a, axis=axis, keepdims=keepdims), out)


@implements(np.nanmedian)
def nanmedian(a: Any, axis: Axes = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    return stored(rules["nanmedian"](a, axis=axis, keepdims=keepdims is True), out)


# Methods that interpolate: the position among n sorted elements is n q + alpha + (1 - alpha - beta) q - 1.
ALPHA_BETA = {
    "interpolated_inverted_cdf": (0.0, 1.0), "hazen": (0.5, 0.5), "weibull": (0.0, 0.0), "linear": (1.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip


def _slopes_in_q(a: Any, q: Any, axis: Axes, method: str, skip_nan: bool) -> Any:
    """How fast each quantile rises: at an element the mean of both sides, beyond the ends and in steps zero."""
    rows = _together(a, axis)
    nan = np.isnan(plain(rows))
    n = np.sum(~nan, -1) if skip_nan else np.full(rows.shape[:-1], rows.shape[-1])
    q = np.reshape(q, q.shape + (1,) * n.ndim)
    if method not in ALPHA_BETA or not rows.shape[-1]:
        return np.zeros(np.broadcast_shapes(q.shape, n.shape), plain(a).dtype)
    alpha, beta = ALPHA_BETA[method]
    at = (n - 1) * q if method == "linear" else n * q + (alpha + q * (1 - alpha - beta)) - 1
    flat = np.reshape(np.sort(rows, -1), (-1, rows.shape[-1]))
    row = np.arange(flat.shape[0]).reshape(n.shape)

    def step(left: Any) -> Any:
        inside = (left >= 0) & (left <= n - 2) & (skip_nan | ~nan.any(-1))
        left = np.where(inside, left, 0).astype(int)
        return np.where(inside, flat[row, np.minimum(left + 1, flat.shape[1] - 1)] - flat[row, left], 0)

    before, after = step(np.ceil(at) - 1), step(np.floor(at))
    mean = np.where(q == 0, after, np.where(q == 1, before, (before + after) / 2))  # q has one side only at 0 and 1
    return np.where(np.isfinite(plain(mean)), mean * (n + 1 - alpha - beta), 0)


def _quantiles(function: Any, skip_nan: bool, percent: bool) -> None:
    name = function.__name__

    def of_ranks(ranks: Any, dtype: Any, q: Any, **options: Any) -> Any:
        return _quantile_of_ranks(ranks, dtype, q, percent, **options)

    rule = selection(name, function, _ranked(of_ranks, skip_nan))

    @implements(function)
    def quantile(
        a: Any,
        q: Any,
        axis: Axes = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = False,
        *,
        weights: Any = None,
    ) -> Any:
        a = as_array(a)
        options = {"q": plain(q), "axis": axis, "method": method, "keepdims": keepdims is True}
        if weights is not None:
            options["weights"] = as_array(plain(weights))
        y = rule(a, **options)
        if plain(q) is not q:  # adds zero, and the derivative in q
            scale = 100 if percent else 1
            slopes = _slopes_in_q(a, as_array(plain(q)) / scale, axis, method, skip_nan)
            change = np.reshape((q - plain(q)) / scale, np.shape(q) + (1,) * (slopes.ndim - np.ndim(q)))
            y = y + np.reshape(change * slopes, y.shape).astype(y.dtype)
        if weights is not None and plain(weights) is not weights:  # which element it is jumps: a zero derivative
            y = y + (0 * np.sum(weights)).astype(y.dtype)
        return stored(y, out)


_quantiles(np.quantile, skip_nan=False, percent=False)
_quantiles(np.percentile, skip_nan=False, percent=True)
_quantiles(np.nanquantile, skip_nan=True, percent=False)
_quantiles(np.nanpercentile, skip_nan=True, percent=True)


# -- sets ------------------------------------------------------------------------------------------------------------
def _first_of_each(function: Callable[..., Any]) -> Callable[..., Picked]:
    """Where the distinct values were found first."""

    def pick(x: Any, axis: int | None = None, **options: Any) -> Picked:
        if axis is not None:
            return np.take(grid(x.shape), np.unique(x, return_index=True, axis=axis, **options)[1], axis), None
        flat = np.ravel(x)
        order = np.argsort(flat, kind="stable")
        found = function(x, **options)
        nan = np.isnan(found)  # which may be there several times, each another element
        return order[np.searchsorted(flat[order], found) + np.where(nan, np.cumsum(nan) - 1, 0)], None

    return pick


unique_rule = selection("unique", np.unique, _first_of_each(np.unique))


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    **options: Any,
) -> Any:
    values = unique_rule(ar, axis=axis, **options)
    if not (return_index or return_inverse or return_counts):
        return values
    options |= {"return_index": return_index, "return_inverse": return_inverse, "return_counts": return_counts}
    numbers = np.unique(deciding(ar, "np.unique"), axis=axis, **options)
    return (values, *numbers[1:])


if hasattr(np, "unique_values"):
    unique_values_rule = selection("unique_values", np.unique_values, _first_of_each(np.unique_values))
    functions[np.unique_values] = lambda x: unique_values_rule(x)  # noqa: PLW0108 (a rule itself takes no keywords)

    def _with_numbers(function: Any) -> None:
        @implements(function)
        def unique_with_numbers(x: Any) -> Any:
            return function(deciding(x, "np.unique"))._replace(values=np.unique(x, equal_nan=False))

    for _counting in (np.unique_all, np.unique_counts, np.unique_inverse):
        _with_numbers(_counting)


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    return np.unique(np.concatenate((ar1, ar2), axis=None))


@implements(np.intersect1d)
def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    values = deciding(ar1, "np.intersect1d"), deciding(ar2, "np.intersect1d")
    _, first, second = np.intersect1d(*values, assume_unique, return_indices=True)
    common = np.ravel(ar1)[first]
    return (common, first, second) if return_indices else common


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    ar1 = np.ravel(ar1) if assume_unique else np.unique(ar1)
    return ar1[np.isin(deciding(ar1, "np.setdiff1d"), deciding(ar2, "np.setdiff1d"), True, invert=True)]


@implements(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    if not assume_unique:
        ar1, ar2 = np.unique(ar1), np.unique(ar2)
    both = np.sort(np.concatenate((ar1, ar2), axis=None))
    values = deciding(both, "np.setxor1d")
    differs = np.concatenate(([True], values[1:] != values[:-1], [True]))
    return both[differs[1:] & differs[:-1]]


# -- by index and by mask ----------------------------------------------------------------------------------------
def taken(x: Any, index: Any) -> Any:
    """The elements at flat positions: what a function did to `grid(x.shape)`, it does to `x`."""
    return np.ravel(x)[index]


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    if batched(indices):
        arr, axis = (np.ravel(arr), 0) if axis is None else (arr, normalize_axis_index(axis, arr.ndim))
        places = np.ogrid[tuple(slice(n) for n in arr.shape)]
        return read((*places[:axis], indices, *places[axis + 1 :]), arr, indices)
    return taken(arr, np.take_along_axis(grid(arr.shape), plain(indices), axis))


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    a = as_array(a)
    return stored(taken(a, np.compress(deciding(condition, "np.compress"), grid(a.shape), axis)), out)


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return compress(np.ravel(condition), np.ravel(arr))


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    return taken(arr, np.delete(grid(arr.shape), obj, axis))


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    arr = as_array(arr)
    values = as_array(values).astype(arr.dtype)
    index = np.insert(grid(arr.shape), obj, grid(values.shape) + arr.size, axis)
    return taken(np.concatenate((arr, values), axis=None), index)


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    filled = np.argwhere(deciding(filt, "np.trim_zeros"))
    axes = range(filt.ndim) if axis is None else normalize_axis_tuple(axis, filt.ndim)
    index = [slice(None)] * filt.ndim
    for i in axes:
        if not len(filled):
            index[i] = slice(0, 0)
        else:
            start, stop = filled[:, i].min(), filled[:, i].max() + 1
            index[i] = slice(start if "f" in trim.lower() else None, stop if "b" in trim.lower() else None)
    return filt[tuple(index)]


# -- by condition ------------------------------------------------------------------------------------------------
@implements(np.choose)
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    a, stack = as_array(plain(a)), np.stack(np.broadcast_arrays(*(as_array(choice) for choice in choices)))
    np.choose(a, np.zeros((len(stack), 1)), mode=cast(Any, mode))  # raises where NumPy would
    n = len(stack)
    a = a % n if mode == "wrap" else np.clip(a, 0, n - 1)
    shape = np.broadcast_shapes(a.shape, stack.shape[1:])
    a, stack = np.broadcast_to(a, shape), np.broadcast_to(stack, (n, *shape))
    return stored(np.take_along_axis(stack, a[np.newaxis], 0)[0], out)


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if not condlist or len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions, and not empty")
    dtype = np.result_type(*choicelist, default)
    shape = np.broadcast_shapes(*(np.shape(x) for x in (*condlist, *choicelist, default)))
    result = np.broadcast_to(as_array(default).astype(dtype), shape)
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        result = np.where(condition, as_array(choice).astype(dtype), result)
    return result


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    arrays = (
        np.isscalar(condlist) or isinstance(condlist[0], list | np.ndarray) or hasattr(type(condlist[0]), "_record")
    )
    one = np.isscalar(condlist) or (not arrays and x.ndim != 0)
    masks = [as_array(deciding(mask, "np.piecewise")).astype(bool) for mask in ([condlist] if one else condlist)]
    if len(funclist) == len(masks) + 1:
        masks.append(~np.any(np.stack(masks), axis=0))
    elif len(funclist) != len(masks):
        raise ValueError(
            f"with {len(masks)} condition(s), either {len(masks)} or {len(masks) + 1} functions are expected"
        )
    y = np.zeros_like(x)
    for mask, function in zip(masks, funclist, strict=True):
        chosen = x[mask]
        if chosen.size:
            y = rules["put"](y, function(chosen, *args, **kw) if callable(function) else function, index=mask)
    return y
