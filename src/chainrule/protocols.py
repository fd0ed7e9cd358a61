"""NumPy's ufunc protocol beyond the plain call: `out=`, `where=`, `dtype=`, and the methods of ufuncs.

Each is brought back to plain calls and to rules that exist: a masked call computes on the selected elements and
writes them into place; a reduction of a ufunc without a rule of its own is the loop that defines it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import InPlaceError
from .operators import bind_operators
from .rules.registry import functions, rules
from .tensor import Tensor, call, describe, handle, overwrite, plain, tensor_like, ufunc_methods

REDUCTIONS = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min}


def _call(ufunc: np.ufunc, *inputs: Any, out: Any = None, where: Any = True, dtype: Any = None, **options: Any) -> Any:
    options.pop("casting", None), options.pop("order", None), options.pop("subok", None)
    inputs = tuple(tensor_like(x) for x in inputs)
    if options.pop("signature", None) is not None:
        raise NotImplementedError(f"np.{ufunc.__name__} with signature= on a Tensor; use dtype=")
    if len(inputs) > ufunc.nin:  # outputs given by position
        out, inputs = inputs[ufunc.nin :], inputs[: ufunc.nin]
    out = out[0] if type(out) is tuple and len(out) == 1 else out
    if dtype is not None:
        ufunc(
            *(np.empty(0, plain(x).dtype) if hasattr(x, "dtype") else x for x in inputs), dtype=dtype
        )  # NumPy's checks
        inputs = tuple(x.astype(dtype) if hasattr(x, "astype") else x for x in inputs)
    if not any(isinstance(x, Tensor) for x in inputs):
        if isinstance(out, Tensor):
            return overwrite(
                out,
                handle(None, ufunc(*inputs, where=plain(where)))
                if where is True
                else _masked(ufunc, inputs, where, out),
            )
        return ufunc(*inputs, out=out, where=plain(where))
    result = call(ufunc, inputs, options) if where is True else _masked(ufunc, inputs, where, out)
    if type(out) is tuple:
        return tuple(o if o is None else overwrite(o, r) for o, r in zip(out, result, strict=True))
    return result if out is None else overwrite(out, result)


def _masked(ufunc: np.ufunc, inputs: tuple[Any, ...], where: Any, out: Any) -> Any:
    """Compute on the selected elements only; elsewhere stays `out`, or, as in NumPy, whatever was in memory."""
    mask = np.asarray(plain(where), bool)
    shape = np.broadcast_shapes(mask.shape, *(np.shape(plain(x)) for x in inputs))
    mask = np.broadcast_to(mask, shape)
    chosen = ufunc(*(np.broadcast_to(x, shape)[mask] if hasattr(x, "dtype") else x for x in inputs))
    base = np.empty(shape, plain(chosen).dtype) if out is None else out
    if not isinstance(base, Tensor | np.ndarray) or base.shape != shape:
        raise InPlaceError(f"out= is {describe(base)}, but the result has shape {shape}")
    return rules["put"](base, chosen, index=mask)


def _reduce(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    **options: Any,
) -> Any:
    array = tensor_like(array)
    out = out[0] if type(out) is tuple else out
    options = {name: value for name, value in options.items() if value is not np._NoValue}
    if (
        ufunc in functions
        and functions[ufunc] is not None
        and getattr(functions[ufunc], "kind", "") == "nondifferentiable"
    ):
        return ufunc.reduce(plain(array), axis=axis, keepdims=keepdims, **options)
    if ufunc in REDUCTIONS:
        known: Any = REDUCTIONS[ufunc]
        typed = {} if dtype is None or known in (np.max, np.min) else {"dtype": dtype}
        array = array.astype(dtype) if dtype is not None and not typed else array
        return known(array, axis=axis, out=out, keepdims=keepdims, **typed, **options)
    if dtype is not None:
        array = array.astype(dtype)
    axes = tuple(range(array.ndim)) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, array.ndim)
    where, initial = options.get("where", True), options.get("initial")
    if where is not True:
        raise NotImplementedError(f"np.{ufunc.__name__}.reduce with where= on a Tensor")
    result = array
    for i in sorted(axes, reverse=True):
        rows = [result[(slice(None),) * i + (k,)] for k in range(result.shape[i])]
        if initial is not None:
            rows, initial = [initial, *rows], None
        if not rows:
            raise ValueError(f"zero-size array to reduction operation {ufunc.__name__} which has no identity")
        result = rows[0]
        for row in rows[1:]:
            result = ufunc(result, row)
    if keepdims:
        result = np.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(array.shape)))
    return result if out is None else overwrite(out, result)


def _accumulate(ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    array = tensor_like(array)
    if dtype is not None:
        array = array.astype(dtype)
    if ufunc is np.add:
        result = np.cumsum(array, axis)
    elif ufunc is np.multiply:
        result = np.cumprod(array, axis)
    else:
        rows = [np.moveaxis(array, axis, 0)[k] for k in range(array.shape[axis])]
        for k in range(1, len(rows)):
            rows[k] = ufunc(rows[k - 1], rows[k])
        result = np.stack(rows, axis) if rows else array
    return result if out is None else overwrite(out, result)


def _reduceat(ufunc: np.ufunc, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    array = np.moveaxis(tensor_like(array), axis, 0)
    starts = [int(i) for i in indices]
    if any(not 0 <= i < array.shape[0] for i in starts):
        raise IndexError(f"reduceat indices must lie in [0, {array.shape[0]}), got {starts}")
    ends = [*starts[1:], array.shape[0]]
    parts = [
        ufunc.reduce(array[i:j], axis=0, dtype=dtype) if j > i else array[i] for i, j in zip(starts, ends, strict=True)
    ]
    result = np.moveaxis(np.stack(parts), 0, axis)
    return result if out is None else overwrite(out, result)


def _outer(ufunc: np.ufunc, a: Any, b: Any, **options: Any) -> Any:
    a, b = (x if hasattr(x, "dtype") else np.asarray(x) for x in (tensor_like(a), tensor_like(b)))
    return ufunc(np.reshape(a, a.shape + (1,) * b.ndim), b, **options)


def _at(ufunc: np.ufunc, a: Any, indices: Any, *values: Any) -> None:
    if not isinstance(a, Tensor):
        raise InPlaceError(
            f"np.{ufunc.__name__}.at would write a Tensor into {describe(a)}: the derivative would be lost; "
            "make the target a Tensor"
        )
    grid = np.arange(a.size).reshape(a.shape)[indices]
    value = np.broadcast_to(tensor_like(values[0]), grid.shape) if values else None
    if ufunc in (np.add, np.subtract) and value is not None:
        added = rules["scatter"](value if value.dtype == a.dtype else value.astype(a.dtype), shape=a.shape, index=grid)
        overwrite(a, ufunc(a, added))
        return
    flat, places = np.ravel(a), grid.ravel()
    rest = None if value is None else np.ravel(value)
    done = np.zeros(places.size, bool)
    while not done.all():  # one round per repetition of an index: unbuffered, as NumPy does it
        open_ = np.flatnonzero(~done)
        _, first = np.unique(places[open_], return_index=True)
        turn = open_[first]
        spots = places[turn]
        new = ufunc(flat[spots]) if rest is None else ufunc(flat[spots], rest[turn])
        flat = rules["put"](flat, new, index=spots)
        done[turn] = True
    overwrite(a, np.reshape(flat, a.shape))


def _divmod(a: Any, b: Any) -> Any:
    return np.floor_divide(a, b), np.remainder(a, b)


def _modf(x: Any) -> Any:
    return rules["fraction"](x), np.trunc(x)


def _frexp(x: Any) -> Any:
    exponent = np.frexp(x.data)[1]
    return np.ldexp(x, -exponent), exponent


functions[np.divmod] = _divmod
functions[np.modf] = _modf
functions[np.frexp] = _frexp
ufunc_methods |= {
    "__call__": _call,
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
    "outer": _outer,
    "at": _at,
}
bind_operators()
setattr(Tensor, "__divmod__", _divmod)
setattr(Tensor, "__rdivmod__", lambda self, other: _divmod(other, self))
