"""Operations that only move, copy or add elements: each is its own forward rule; written here is its transpose.

A transpose is called with the cotangent, the operand (its shape and dtype only) and the function's own arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .registry import custom, implements, linear, rules

Axes = int | tuple[int, ...] | None
double = np.dtype("f8")


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


def reduced_sum(x: Any, axis: Axes = None, keepdims: bool = False, initial: Any = 0, where: Any = True) -> Any:
    if where is True and initial.__class__ is int and initial == 0:
        return np.add.reduce(x, axis, None, None, keepdims)
    return np.add.reduce(x, axis, keepdims=keepdims, initial=initial, where=where)


def _sum_pull(ct: Any, node: Any) -> Any:
    options, shape = node.params[1], node.operands[0].shape
    axis, where = options.get("axis"), options.get("where", True)
    whole = spread(expanded(ct, shape, axis, options.get("keepdims", False)), shape)
    return whole if where is True else np.where(where, whole, 0)


def _sum_push(node: Any, tangents: Any) -> Any:
    options = node.params[1]
    t, where = tangents[0], options.get("where", True)
    return np.sum(t if where is True else np.where(where, t, 0), options.get("axis"), keepdims=options.get("keepdims", False))


sum_rule = custom("sum", reduced_sum, needs=("",), pulls=(_sum_pull,), push=_sum_push)


def cumulative_sum(x: Any, axis: int | None = None) -> Any:
    return np.add.accumulate(np.ravel(x) if axis is None else x, 0 if axis is None else axis)


def cumulative_sum_transpose(ct: Any, x: Any, axis: int | None = None) -> Any:
    along = 0 if axis is None else axis
    return np.reshape(np.flip(np.cumsum(np.flip(ct, along), along), along), x.shape)


cumsum_rule = linear(cumulative_sum, cumulative_sum_transpose, name="cumsum")


# -- shape -------------------------------------------------------------------------------------------------------
def reshaped(x: Any, shape: Any, order: str = "C") -> Any:
    return np.reshape(x, shape, order=order)


def _transpose_axes(ct: Any, x: Any, axes: Any = None) -> Any:
    return np.transpose(ct, None if axes is None else np.argsort(normalize_axis_tuple(axes, len(x.shape))))


def _broadcast_transpose(ct: Any, x: Any, *rest: Any) -> Any:
    extra = ct.ndim - len(x.shape)
    stretched = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(x.shape) if n == 1 and ct.shape[extra + i] != 1
    )
    return np.reshape(np.sum(ct, axis=stretched), x.shape) if stretched else ct


def back_to_shape(ct: Any, x: Any, *rest: Any, **options: Any) -> Any:
    return np.reshape(ct, x.shape)


linear(reshaped, lambda ct, x, shape, order="C": np.reshape(ct, x.shape, order=order), name="reshape")
linear(np.transpose, _transpose_axes, also=[np.permute_dims] if hasattr(np, "permute_dims") else [])
linear(np.swapaxes, lambda ct, x, axis1, axis2: np.swapaxes(ct, axis1, axis2))
linear(np.moveaxis, lambda ct, x, source, destination: np.moveaxis(ct, destination, source))
linear(np.squeeze, back_to_shape)
linear(np.expand_dims, back_to_shape)
linear(np.broadcast_to, _broadcast_transpose)
linear(np.flip, lambda ct, x, axis=None: np.flip(ct, axis))
linear(np.rot90, lambda ct, x, k=1, axes=(0, 1): np.rot90(ct, -k, axes))
linear(
    np.roll,
    lambda ct, x, shift, axis=None: np.roll(ct, tuple(-s for s in shift) if np.ndim(shift) else -shift, axis),
)
linear(np.diagonal, lambda ct, x, offset=0, axis1=0, axis2=1: _onto_diagonal(ct, x, offset, axis1, axis2))
linear(np.triu, lambda ct, x, k=0: np.triu(ct, k))
linear(np.tril, lambda ct, x, k=0: np.tril(ct, k))
linear(np.repeat, lambda ct, x, repeats, axis=None: _repeat_transpose(ct, x, repeats, axis))


def _index_grid(shape: tuple[int, ...]) -> Any:
    return np.arange(prod(shape)).reshape(shape)


def _onto_diagonal(ct: Any, x: Any, offset: int, axis1: int, axis2: int) -> Any:
    return rules["scatter"](ct, shape=x.shape, index=np.diagonal(_index_grid(x.shape), offset, axis1, axis2))


def _repeat_transpose(ct: Any, x: Any, repeats: Any, axis: int | None) -> Any:
    return rules["scatter"](ct, shape=x.shape, index=np.repeat(_index_grid(x.shape), repeats, axis))


def scattered(x: Any, shape: tuple[int, ...], index: Any) -> Any:
    """Add the elements of `x` at flat positions `index` of zeros of `shape`; the transpose of taking them."""
    flat = np.zeros(prod(shape), x.dtype)
    np.add.at(flat, np.ravel(index), np.ravel(x))
    return flat.reshape(shape)


linear(
    scattered, lambda ct, x, shape, index: np.reshape(np.ravel(ct)[np.ravel(index)], x.shape), name="scatter"
)


# -- parts and copies --------------------------------------------------------------------------------------------
def _as_type(x: Any, dtype: Any) -> Any:
    return x.astype(dtype)


linear(np.copy, lambda ct, x: ct)
linear(_as_type, lambda ct, x, dtype: ct, name="astype")  # the walk casts back to the operand's dtype
linear(np.real, lambda ct, x: ct)
linear(np.imag, lambda ct, x: 1j * ct)
linear(np.asarray, lambda ct, x: ct, name="identity")
custom("round", np.round, needs=("",), pulls=(None,), push=lambda node, tangents: None)


# -- reading and writing by index --------------------------------------------------------------------------------
def _is_basic(index: Any) -> bool:
    parts = index if type(index) is tuple else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, slice | int | np.integer) for part in parts)


def taken(x: Any, index: Any) -> Any:
    return x[index]


def placed(x: Any, shape: tuple[int, ...], index: Any) -> Any:
    """Add `x` at `index` of zeros of `shape`: the transpose of reading by index."""
    zeros = np.zeros_like(x, shape=shape)
    if _is_basic(index):
        zeros[index] = x
    else:
        np.add.at(zeros, index, x)
    return zeros


linear(taken, lambda ct, x, index: rules["place"](ct, shape=x.shape, index=index), name="getitem")
linear(placed, lambda ct, x, shape, index: ct[index], name="place")


def put(a: Any, v: Any, index: Any) -> Any:
    """A copy of `a` in which `a[index] = v` was done."""
    new = np.copy(a)
    new[index] = v
    return new


def _winners(shape: tuple[int, ...], index: Any) -> Any:
    """Flat position of each place that is written, and the number of the last value written there."""
    grid = _index_grid(shape)
    written = grid[index]
    last = np.full(prod(shape), -1)
    last[written.ravel()] = np.arange(written.size)  # NumPy keeps the last one for repeated indices
    return written, (last[written.ravel()] == np.arange(written.size)).reshape(written.shape)


def _put_pull_base(ct: Any, node: Any) -> Any:
    return rules["put"](ct, 0.0, index=_put_index(node))


def _put_pull_value(ct: Any, node: Any) -> Any:
    index = _put_index(node)
    read = ct[index]
    if _is_basic(index):
        return read
    return np.where(_winners(ct.shape, index)[1], read, 0)


def _put_index(node: Any) -> Any:
    rest, options = node.params
    return rest[0] if rest else options["index"]


def _put_push(node: Any, tangents: Sequence[Any]) -> Any:
    ta, tv = tangents
    base = np.zeros(node.shape, node.dtype) if ta is None else ta
    return rules["put"](base, 0.0 if tv is None else tv, index=_put_index(node))


custom("put", put, needs=("", ""), pulls=(_put_pull_base, _put_pull_value), push=_put_push)


# -- joining -----------------------------------------------------------------------------------------------------
def joined(*arrays: Any, axis: int | None = 0) -> Any:
    return np.concatenate(arrays, axis)


def _joined_pull(ct: Any, node: Any) -> list[Any]:
    axis = node.params[1].get("axis", 0)
    parts, start = [], 0
    for operand in node.operands:
        shape = operand.shape
        length = prod(shape) if axis is None else shape[axis]
        cut: list[Any] = [slice(None)] * (1 if axis is None else len(shape))
        cut[0 if axis is None else axis] = slice(start, start + length)
        parts.append(np.reshape(ct[tuple(cut)], shape))
        start += length
    return parts


def _joined_push(node: Any, tangents: Sequence[Any]) -> Any:
    whole = [
        np.zeros(operand.shape, node.dtype) if t is None else t
        for operand, t in zip(node.operands, tangents, strict=True)
    ]
    return np.concatenate(whole, node.params[1].get("axis", 0))


concatenate_rule = custom("concatenate", joined, needs=("",), pull_all=_joined_pull, push=_joined_push)


@implements(np.concatenate, *([np.concat] if hasattr(np, "concat") else []))
def concatenate(arrays: Any, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [part if hasattr(part, "dtype") else np.asarray(part) for part in arrays]
    if dtype is not None:
        parts = [part.astype(dtype) for part in parts]
    if axis is None:
        parts = [np.ravel(part) for part in parts]
        axis = 0
    if parts and parts[0].ndim:
        axis = normalize_axis_index(axis, parts[0].ndim)
    return concatenate_rule(*parts, axis=axis)


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [part if hasattr(part, "dtype") else np.asarray(part) for part in arrays]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"stack of arrays of different shapes: {', '.join(str(part.shape) for part in parts)}")
    axis = normalize_axis_index(axis, parts[0].ndim + 1)
    return concatenate([np.expand_dims(part, axis) for part in parts], axis, dtype=dtype)
