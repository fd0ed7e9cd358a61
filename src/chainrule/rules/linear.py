"""Operations that only move, copy or add elements: each is its own forward rule; written here is its transpose.

A transpose is called with the cotangent, the operand (its shape and dtype only) and the function's own arguments.
Broadcasting, dtypes and the real part of what flows to a real operand are left to the walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple
from numpy.lib.stride_tricks import sliding_window_view as windows

from ..graph import contexts, programs
from ..memory import SMOOTH, keeps_bits
from .registry import custom, implements, linear, rules

Axes = int | tuple[int, ...] | None


# -- what implementations of NumPy's functions share -----------------------------------------------------------------
def as_array(x: Any) -> Any:
    """Lists and Python numbers as arrays; whatever is an array of some kind as it is."""
    if hasattr(x, "dtype"):
        return x
    return np.positive(x) if hasattr(type(x), "_record") else np.asarray(x)  # the first is a number that jit follows


def plain(x: Any) -> Any:
    """The array inside a Tensor: for what depends on memory, not on values."""
    return x.data if hasattr(type(x), "_record") else x


def batched(x: Any) -> bool:
    """Whether `x` stands for many examples: its value is plain only example by example."""
    return getattr(x, "batched", None) is not None


def of_one(x: Any, use: str) -> Any:
    """The plain value of an operand, for what `use` says; of a batch there is none."""
    if batched(x):
        x._concrete(use)
    return plain(x)


def read(index: Any, x: Any, by: Any) -> Any:
    """`x[index]`, also where `x` is a plain array and `by`, part of the index, is different for each example."""
    return by.batched(rules["getitem"], (x,), (index,), {}) if batched(by) else x[index]


def everything(x: Any) -> Any:
    """The numbers of a Tensor; of a batch, those of all examples."""
    while (payload := getattr(x, "payload", None)) is not None:
        x = payload
    return plain(x)


def example(x: Any) -> Any:
    """The array inside a Tensor, of a batch one of its examples: for what depends on memory, not on values."""
    values = everything(x)
    axes = np.ndim(values) - np.ndim(x)
    return values[(0,) * axes] if values.size or not axes else np.empty(np.shape(x), values.dtype)


def anywhere(condition: Any) -> bool:
    """Whether a condition holds for any element, of any example: for what a program does if it is needed somewhere."""
    return bool(np.any(everything(condition)))


def conjugated(x: Any) -> Any:
    """Conjugate; a real array as it is."""
    return np.conj(x) if x.dtype.kind == "c" else x


def zero_wins(a: Any, b: Any) -> Any:
    """A product in which an exact zero wins over infinity and NaN (rule R4 of docs/numbers.md).

    Only what is NaN is replaced: the derivative of the product in a zero factor is the other factor, not 0.
    """
    product = a * b
    broken = np.isnan(plain(product))
    if not (contexts.careful or anywhere(broken)):
        return product
    if product.dtype.kind == "c":
        return np.where(broken, _zero_wins_in_parts(plain(a), plain(b)), product)[()]
    return np.where(broken & ((plain(a) == 0) | (plain(b) == 0)), 0, product)[()]


def _zero_wins_in_parts(a: Any, b: Any) -> Any:
    """A complex product is four real ones, and a zero wins in each of them."""
    real = zero_wins(np.real(a), np.real(b)) - zero_wins(np.imag(a), np.imag(b))
    imaginary = zero_wins(np.real(a), np.imag(b)) + zero_wins(np.imag(a), np.real(b))
    return np.stack([real, imaginary], -1).view(np.result_type(a, b))[..., 0]


def stored(result: Any, out: Any) -> Any:
    """Put a result where `out=` asks for it."""
    return result if out is None else np.positive(result, out=out)


def axes_of(axis: Axes, rank: int) -> tuple[int, ...]:
    """The axes that a reduction goes over, counted from 0: all for None, and none of a number, as in NumPy."""
    return tuple(range(rank)) if axis is None or not rank else normalize_axis_tuple(axis, rank)


# -- sums --------------------------------------------------------------------------------------------------------
def expanded(x: Any, shape: tuple[int, ...], axis: Axes, keepdims: bool = False) -> Any:
    """Bring a reduced array back to rank: length 1 on the reduced axes."""
    if axis is None:
        return np.reshape(x, (1,) * len(shape)) if keepdims else x
    if keepdims or not shape:
        return x
    if type(axis) is int and x.__class__ is np.ndarray:
        axis = axis % len(shape)
        return x.reshape((*shape[:axis], 1, *shape[axis + 1 :]))
    reduced = normalize_axis_tuple(axis, len(shape))
    return np.reshape(x, tuple(1 if i in reduced else n for i, n in enumerate(shape)))


def spread(x: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast to `shape` without touching memory."""
    if isinstance(x, np.generic):  # np.broadcast_to takes ten times as long
        return np.ndarray(shape, x.dtype, np.array(x), 0, (0,) * len(shape))
    return np.broadcast_to(x, shape)


def masked(x: Any, where: Any, neutral: Any = 0) -> Any:
    """Replace what `where` leaves out by the neutral element."""
    return x if where is True else np.where(where, x, neutral)


def raised(ct: Any, node: Any) -> Any:
    """A cotangent of a reduced array, ready to broadcast against what was reduced."""
    options = node.params[1]
    return expanded(ct, node.operands[0].shape, options.get("axis"), options.get("keepdims", False))


def summed(x: Any, node: Any) -> Any:
    """Sum over the axes that a reduction went over."""
    options = node.params[1]
    return np.sum(x, options.get("axis"), keepdims=options.get("keepdims", False))


FEW = 1000  # summands side by side in memory: of more, NumPy's pairwise sum is as fast, and more accurate


@lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> Any:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def added_up(x: Any, axes: tuple[int, ...]) -> Any:
    """Add up over axes, counted from the front and in order, for a cotangent: fast, in whatever order.

    Products with ones: NumPy's own sums over any axes but long last ones take three to thirty times as long (65,000
    rows of 8 in columns 1.0 ms, not 0.13), and add up one after the other where BLAS keeps several sums.
    """
    if x.__class__ is not np.ndarray:
        return x.step(added_up, x, axes) if keeps_bits(x) else np.sum(x, axes if axes[1:] else axes[0])
    dtype = x.dtype
    if dtype not in SMOOTH:
        return _add(x, axes)
    if x.ndim == 2 and axes == (0,):  # the usual case: a bias
        return _ones(len(x), dtype).dot(x)
    shape, end = x.shape, len(axes)
    if not x.flags.c_contiguous or not x.size or end == x.ndim:
        return _add(x, axes)
    while end:  # the last axes first, so that the others stay where they are
        begin = end - 1
        while begin and axes[begin - 1] == axes[begin] - 1:
            begin -= 1
        first, last = axes[begin], axes[end - 1] + 1
        before, among, after = prod(shape[:first]), prod(shape[first:last]), prod(shape[last:])
        if before == 1:
            x = _ones(among, dtype).dot(x.reshape(among, after))
        elif after == 1 and among < FEW:
            x = x.reshape(before, among).dot(_ones(among, dtype))
        elif after > 1 and among * after >= 64:  # of less, the calls of BLAS cost more
            x = np.matmul(_ones(among, dtype), x.reshape(before, among, after))
        else:
            x = _add(x.reshape(before, among, after), 1)
        shape, end = (*shape[:first], *shape[last:]), begin
    return x.reshape(shape)


_add: Any = np.add.reduce  # np.sum calls it too, half a microsecond later


def _sum(x: Any, axis: Axes = None, keepdims: bool = False, dtype: Any = None, **options: Any) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        return _add(x, axis, dtype, None, keepdims, **options)
    if dtype is not None:
        options["dtype"] = dtype
    return np.sum(x, axis=axis, keepdims=keepdims, **options)  # other libraries' ufuncs need not have methods


sum_rule = custom(
    "sum",
    _sum,
    needs=("",),
    pulls=(
        lambda ct, node: masked(spread(raised(ct, node), node.operands[0].shape), node.params[1].get("where", True)),
    ),
    push=lambda node, tangents: summed(masked(tangents[0], node.params[1].get("where", True)), node),
    additive=True,
)


def _cumsum_transpose(ct: Any, x: Any, axis: int, dtype: Any = None) -> Any:
    return np.flip(np.cumsum(np.flip(ct, axis), axis), axis)


cumsum_rule = linear(lambda x, axis, dtype=None: np.add.accumulate(x, axis, dtype), _cumsum_transpose, name="cumsum")


# -- shape -------------------------------------------------------------------------------------------------------
def _transpose_axes(ct: Any, x: Any, axes: Any = None) -> Any:
    return np.transpose(ct, None if axes is None else np.argsort(normalize_axis_tuple(axes, len(x.shape))))


def _expand_dims(x: Any, axis: Any) -> Any:
    if x.__class__ is np.ndarray and type(axis) is int and -x.ndim - 1 <= axis <= x.ndim:
        place = axis % (x.ndim + 1)  # what np.expand_dims does with any axes, in a quarter of its time
        return x.reshape((*x.shape[:place], 1, *x.shape[place:]))
    return np.expand_dims(x, axis)


def _back_to_shape(ct: Any, x: Any, axis: Any = None) -> Any:
    return np.reshape(ct, x.shape)


linear(
    lambda x, shape, order="C": np.reshape(x, shape, order=order),
    lambda ct, x, shape, order="C": np.reshape(ct, x.shape, order=order),
    name="reshape",
)
linear(np.transpose, _transpose_axes, also=[np.permute_dims] if hasattr(np, "permute_dims") else []).turns = True
linear(np.swapaxes, lambda ct, x, axis1, axis2: np.swapaxes(ct, axis1, axis2)).turns = True
linear(np.moveaxis, lambda ct, x, source, destination: np.moveaxis(ct, destination, source)).turns = True
linear(np.squeeze, _back_to_shape)
linear(_expand_dims, _back_to_shape, name="expand_dims", also=[np.expand_dims]).runs_traced = True
linear(np.broadcast_to, lambda ct, x, shape: ct)
linear(np.flip, lambda ct, x, axis=None: np.flip(ct, axis))
linear(np.rot90, lambda ct, x, k=1, axes=(0, 1): np.rot90(ct, -k, axes))
linear(
    np.roll,
    lambda ct, x, shift, axis=None: np.roll(ct, tuple(-s for s in shift) if np.ndim(shift) else -shift, axis),
)
linear(  # a view, in which the same memory may appear several times
    lambda x, window_shape, axis=None, subok=False, writeable=False: windows(
        x, window_shape, axis, writeable=writeable
    ),
    lambda ct, x, window_shape, axis=None, **options: _added_back(ct, x, windows(grid(x.shape), window_shape, axis)),
    name="sliding_window_view",
    also=[windows],
)
linear(
    np.diagonal,
    lambda ct, x, offset=0, axis1=0, axis2=1: _added_back(ct, x, np.diagonal(grid(x.shape), offset, axis1, axis2)),
)
linear(np.triu, lambda ct, x, k=0: np.triu(ct, k))
linear(np.tril, lambda ct, x, k=0: np.tril(ct, k))
linear(
    np.repeat, lambda ct, x, repeats, axis=None: _added_back(ct, x, np.repeat(grid(x.shape, repeats), repeats, axis))
)


def grid(shape: tuple[int, ...], by: Any = None) -> Any:
    """The flat position of every element: what a function does to it says where elements went.

    Traced if `by` is, which says where they go.
    """
    positions = np.arange(prod(shape)).reshape(shape)
    return positions + np.zeros_like(by, int, shape=shape) if hasattr(type(by), "_record") else positions


def _added_back(ct: Any, x: Any, index: Any) -> Any:
    return rules["scatter"](ct, shape=x.shape, index=index)


def _scatter(x: Any, shape: tuple[int, ...], index: Any) -> Any:
    """Add the elements of `x` at flat positions `index` of zeros of `shape`; the transpose of taking them."""
    flat = np.zeros(prod(shape), x.dtype)
    np.add.at(flat, np.ravel(index), np.ravel(x))
    return flat.reshape(shape)


linear(_scatter, lambda ct, x, shape, index: np.reshape(np.ravel(ct)[np.ravel(index)], x.shape), name="scatter")


# -- parts and copies --------------------------------------------------------------------------------------------
linear(np.copy, lambda ct, x, order="K": ct)
linear(lambda x, dtype: x.astype(dtype), lambda ct, x, dtype: ct, name="astype")
linear(np.real, lambda ct, x: ct)
linear(np.imag, lambda ct, x: ct * 1j)  # 1j * np.float64 would be a Python number
linear(lambda x: x, lambda ct, x: ct, name="identity")
custom("round", np.round, needs=("",), pulls=(None,), push=lambda node, tangents: None)


# -- joining -----------------------------------------------------------------------------------------------------
def _joined_pull(ct: Any, node: Any) -> list[Any]:
    axis = node.params[1]["axis"]
    parts, start = [], 0
    for operand in node.operands:
        stop = start + operand.shape[axis]
        parts.append(ct[(slice(None),) * axis + (slice(start, stop),)])
        start = stop
    return parts


def _joined_push(node: Any, tangents: Sequence[Any]) -> Any:
    whole = [
        np.zeros(operand.shape, node.dtype) if t is None else t
        for operand, t in zip(node.operands, tangents, strict=True)
    ]
    return np.concatenate(whole, node.params[1]["axis"])


concatenate_rule = custom(
    "concatenate",
    lambda *arrays, axis, dtype=None: np.concatenate(arrays, axis, dtype=dtype),
    needs=("",),
    pull_all=_joined_pull,
    push=_joined_push,
    additive=True,
)


@implements(np.concatenate, *([np.concat] if hasattr(np, "concat") else []))
def concatenate(
    arrays: Any, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    parts = [as_array(part) for part in arrays]
    if axis is None:
        parts, axis = [np.ravel(part) for part in parts], 0
    if parts and parts[0].ndim:
        axis = normalize_axis_index(axis, parts[0].ndim)
    return stored(concatenate_rule(*parts, axis=axis, **({} if dtype is None else {"dtype": dtype})), out)


def _stacked(*parts: Any, axis: int) -> Any:
    if all(isinstance(part, np.generic) for part in parts):
        return np.array(parts)  # in a fifth of the time
    return np.stack(parts, axis)


def _stacked_pull(ct: Any, node: Any) -> Any:
    return np.moveaxis(ct, node.params[1]["axis"], 0) if ct.ndim > 1 else ct


def _stacked_push(node: Any, tangents: Sequence[Any]) -> Any:
    zero = np.zeros(node.operands[0].shape, node.dtype)
    return np.stack([zero if t is None else t for t in tangents], node.params[1]["axis"])


stack_rule = custom("stack", _stacked, needs=("",), pull_all=_stacked_pull, push=_stacked_push, additive=True)


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [as_array(part) for part in arrays]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"stack of arrays of different shapes: {', '.join(str(part.shape) for part in parts)}")
    axis = normalize_axis_index(axis, parts[0].ndim + 1)
    if dtype is None and out is None and not programs:  # which see what NumPy's own function is made of
        return stack_rule(*parts, axis=axis)
    return concatenate([np.expand_dims(part, axis) for part in parts], axis, out, dtype=dtype)
