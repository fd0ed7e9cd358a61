"""NumPy's array functions, each in terms of the rules: where it takes other arguments than its rule does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .linear import as_array, batched, example, plain, read, stored
from .registry import functions, implements, nondifferentiable, rules

nondifferentiable(
    np.argmax, np.argmin, np.argsort, np.argpartition, np.nonzero, np.flatnonzero, np.argwhere, np.count_nonzero,
    np.searchsorted, np.digitize, np.any, np.all, np.allclose, np.isclose, np.array_equal, np.array_equiv,
    np.isneginf, np.isposinf, np.iscomplex, np.isreal, np.isscalar,
    np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.min_scalar_type, np.common_type,
    np.array_repr, np.array_str, np.array2string, np.shares_memory, np.may_share_memory, np.lexsort, np.isin,
)  # fmt: skip
nondifferentiable(np.iscomplexobj, np.isrealobj, reason="Looks at the dtype only")
functions[np.iscomplexobj] = lambda x: x.dtype.kind == "c"
functions[np.isrealobj] = lambda x: x.dtype.kind != "c"


# -- shape -------------------------------------------------------------------------------------------------------
@implements(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    if order == "A":
        order = "F" if np.isfortran(example(a)) else "C"
    return rules["reshape"](a, shape=shape, **({} if order == "C" else {"order": order}))


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    if order == "K" and a.ndim > 1:  # in the order of memory: the axis of the largest stride first
        strides = example(a).strides
        a, order = np.transpose(a, sorted(range(a.ndim), key=lambda axis: -abs(strides[axis]))), "C"
    flat = reshape(a, (a.size,), "C" if order == "K" else order)
    # What has gaps, or runs backwards, NumPy's ravel copies, also where reshape finds steps for a view.
    return flat if example(a).flags.forc else np.copy(flat)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    return rules["expand_dims"](a, axis=axis)


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    return rules["squeeze"](a, axis=axis)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    return rules["broadcast_to"](array, shape=shape)


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*(np.shape(arg) for arg in args))
    return tuple(np.broadcast_to(arg, shape) for arg in args)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    axis = normalize_axis_index(axis, a.ndim)
    start = start + a.ndim if start < 0 else start
    return np.moveaxis(a, axis, start - 1 if axis < start else start)


if hasattr(np, "matrix_transpose"):

    @implements(np.matrix_transpose)
    def matrix_transpose(x: Any, /) -> Any:
        return np.swapaxes(x, -1, -2)


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@implements(np.flipud)
def flipud(m: Any) -> Any:
    return np.flip(m, 0)


def _at_least(rank: int) -> Any:
    def at_least(*arys: Any) -> Any:
        out = []
        for array in arys:
            array = as_array(array)
            if array.ndim >= rank:
                out.append(array)
            elif rank == 3 and array.ndim == 2:
                out.append(array[:, :, np.newaxis])
            elif rank == 3 and array.ndim == 1:
                out.append(array[np.newaxis, :, np.newaxis])
            else:
                out.append(np.reshape(array, (1,) * (rank - array.ndim) + array.shape))
        return out[0] if len(out) == 1 else tuple(out)

    return at_least


for _rank, _function in enumerate((np.atleast_1d, np.atleast_2d, np.atleast_3d), 1):
    implements(_function)(_at_least(_rank))


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    reps = tuple(np.atleast_1d(reps).tolist())
    rank = max(len(reps), A.ndim)
    reps = (1,) * (rank - len(reps)) + reps
    shape = (1,) * (rank - A.ndim) + A.shape
    doubled = np.reshape(A, tuple(k for n in shape for k in (1, n)))
    wide = np.broadcast_to(doubled, tuple(k for r, n in zip(reps, shape, strict=True) for k in (r, n)))
    return np.reshape(wide, tuple(r * n for r, n in zip(reps, shape, strict=True)))


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    shape = (new_shape,) if np.ndim(new_shape) == 0 else tuple(new_shape)
    index = np.resize(np.arange(a.size), shape)
    return np.ravel(a)[index] if a.size else zeros_like(a, shape=shape)


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise ValueError(f"diag needs a 1-D or 2-D array, not one of shape {v.shape}")
    n = v.size + abs(k)
    rows = np.arange(v.size) + max(-k, 0)
    return rules["place"](v, shape=(n, n), index=(rows, rows + k))


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(np.ravel(v), k)


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return np.sum(np.diagonal(a, offset, axis1, axis2), -1, dtype=dtype, out=out)


@implements(np.take)
def take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Any:
    if axis is None or not a.ndim:
        a, axis = np.ravel(a), axis or 0
    axis = normalize_axis_index(axis, a.ndim)
    indices = indices if batched(indices) else as_array(plain(indices))
    if mode != "raise":
        n = a.shape[axis]
        indices = indices % n if mode == "wrap" else np.clip(indices, 0, n - 1)
    return stored(read((slice(None),) * axis + (indices,), a, indices), out)


# -- joining and splitting ---------------------------------------------------------------------------------------
@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        return np.concatenate([np.ravel(arr), np.ravel(values)])
    return np.concatenate([arr, values], axis)


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return np.concatenate([np.atleast_2d(part) for part in tup], 0, dtype=dtype)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [np.atleast_1d(part) for part in tup]
    return np.concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1, dtype=dtype)


@implements(np.dstack)
def dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(part) for part in tup], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Any:
    parts = [as_array(part) for part in tup]
    return np.concatenate([part if part.ndim >= 2 else np.reshape(part, (-1, 1)) for part in parts], 1)


@implements(np.block)
def block(arrays: Any) -> Any:
    def depth(x: Any) -> int:
        return 1 + max(map(depth, x)) if type(x) is list else 0

    levels = depth(arrays)
    rank = max(levels, 1)

    def join(x: Any, level: int) -> Any:
        if type(x) is list:
            return np.concatenate([join(part, level + 1) for part in x], -(levels - level))
        x = as_array(x)
        return np.reshape(x, (1,) * (rank - x.ndim) + x.shape) if x.ndim < rank else x

    return join(arrays, 0)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    n = ary.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        sections = int(indices_or_sections)
        if sections <= 0:
            raise ValueError("number sections must be larger than 0.")
        each, extra = divmod(n, sections)
        ends = np.cumsum([each + 1] * extra + [each] * (sections - extra)).tolist()
        bounds = [0, *ends]
    else:
        bounds = [0, *(int(i) for i in indices_or_sections), n]
    before = (slice(None),) * normalize_axis_index(axis, ary.ndim)
    return [ary[(*before, slice(start, end))] for start, end in pairwise(bounds)]


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    if np.ndim(indices_or_sections) == 0 and ary.shape[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


def _splits(function: Any, rank: int) -> None:
    @implements(function)
    def split_along(ary: Any, indices_or_sections: Any) -> Any:
        if ary.ndim < rank:
            raise ValueError(f"{function.__name__} of an array of shape {ary.shape}: it needs {rank} or more axes")
        return split(ary, indices_or_sections, {1: min(ary.ndim - 1, 1), 2: 0, 3: 2}[rank])


_splits(np.hsplit, 1)
_splits(np.vsplit, 2)
_splits(np.dsplit, 3)


if hasattr(np, "unstack"):

    @implements(np.unstack)
    def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
        return tuple(np.moveaxis(x, axis, 0)[i] for i in range(x.shape[axis]))


# -- choosing ----------------------------------------------------------------------------------------------------
@implements(np.where)
def where(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.nonzero(condition)
    x, y = choices
    return rules["where"](condition, x, y)


@implements(np.clip)
def clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None, **options: Any
) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is not None and high is not None:
        result = rules["clip"](a, low, high)
    elif low is not None:
        result = np.maximum(a, low)
    elif high is not None:
        result = np.minimum(a, high)
    else:
        result = np.positive(a)
    return stored(result, out)


# -- parts, copies, buffers ----------------------------------------------------------------------------------------
@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return rules["copy"](a, **({} if order == "K" else {"order": order}))


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    of_class = isinstance(dtype, type) and issubclass(dtype, np.dtype)
    dtype = dtype() if of_class else np.dtype(dtype)  # np.dtype(np.dtypes.Float64DType) is that of Python objects
    if dtype.kind == "O":
        return np.asarray(x, dtype)
    if dtype.kind not in "fc":
        return rules["astype"](plain(x), dtype=dtype) if batched(x) else plain(x).astype(dtype)
    return x if not copy and x.dtype == dtype else rules["astype"](x, dtype=dtype)


@implements(np.real)
def real(val: Any) -> Any:
    return rules["real"](val) if val.dtype.kind == "c" else val


@implements(np.imag)
def imag(val: Any) -> Any:
    return rules["imag"](val) if val.dtype.kind == "c" else zeros_like(val)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    result = np.arctan2(np.imag(z), np.real(z))
    return result * (180 / np.pi) if deg else result


if hasattr(np, "fix"):  # deprecated since NumPy 2.5

    @implements(np.fix)
    def fix(x: Any, out: Any = None) -> Any:
        return np.trunc(x, out=out)


@implements(np.round, np.around)
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    return stored(rules["round"](a, decimals=decimals), out)


def _constant(new: Any, like: Any) -> Any:
    """A new buffer: a Tensor to write into, without history; of an integer or boolean dtype, a plain array."""
    return like.buffer(new) if batched(like) or new.dtype.kind in "fc" else new


def _one_value(x: Any) -> Any:
    """A plain array like `x`: of a batch, like one of its examples."""
    return np.empty(x.shape, x.dtype) if batched(x) else plain(x)


def _constant_like(function: Any) -> Any:
    def like(
        prototype: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **options: Any
    ) -> Any:
        return _constant(function(_one_value(prototype), dtype=dtype, order=order, shape=shape), prototype)

    return like


zeros_like = implements(np.zeros_like)(_constant_like(np.zeros_like))
for _like in (np.empty_like, np.ones_like):
    implements(_like)(_constant_like(_like))


@implements(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    **options: Any,
) -> Any:
    if not hasattr(type(fill_value), "_record"):
        return _constant(np.full_like(_one_value(a), fill_value, dtype=dtype, order=order, shape=shape), a)
    return np.copy(np.broadcast_to(fill_value.astype(dtype or a.dtype), np.shape(a) if shape is None else shape))
