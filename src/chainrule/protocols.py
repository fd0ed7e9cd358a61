"""NumPy's ufunc protocol beyond the plain call: `out=`, `where=`, `dtype=`, and the methods of ufuncs.

Each is brought back to plain calls and to rules that exist: a masked call computes on the selected elements and puts
them into place; a reduction of a ufunc without a rule of its own is the loop that defines it.  The values are those
that NumPy's own call gives, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from .errors import InPlaceError, UnsupportedFunctionError
from .inplace import add_at, overwrite
from .operators import bind_operators
from .rules.helpers import share, share_of_numbers
from .rules.linear import as_array, grid
from .rules.registry import functions, rules
from .tensor import Tensor, call, describe, handle, plain, plain_everywhere, tensor_like, ufunc_methods

REDUCTIONS: dict[np.ufunc, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.fmax: rules["fmax_reduce"],
    np.fmin: rules["fmin_reduce"],
}
ACCUMULATIONS: dict[np.ufunc, Any] = {np.add: np.cumsum, np.multiply: np.cumprod}


def _exactly(value: Any, composed: Any) -> Any:
    """NumPy's own value, with the history of the loop that computes the same to within rounding."""
    return handle(composed.node, value[()] if not value.ndim else value) if isinstance(composed, Tensor) else value


def _written(result: Any, out: Any) -> Any:
    """Put a result where `out=` asks for it."""
    out = out[0] if type(out) is tuple else out
    return result if out is None else overwrite(out, result)


def _holds_objects(out: Any) -> bool:
    """Whether results go into an array of Python objects, as NumPy's polynomials write them: element by element."""
    targets = out if type(out) is tuple else (out,)
    return any(isinstance(target, np.ndarray) and target.dtype == object for target in targets)


def _without_derivative(ufunc: np.ufunc) -> bool:
    return getattr(functions.get(ufunc), "kind", "") == "nondifferentiable"


# -- calls -------------------------------------------------------------------------------------------------------------
def _call(
    ufunc: np.ufunc,
    *inputs: Any,
    out: Any = None,
    where: Any = True,
    dtype: Any = None,
    casting: Any = "same_kind",
    order: str = "K",
    subok: bool = True,
    **options: Any,
) -> Any:
    inputs, out = inputs[: ufunc.nin], inputs[ufunc.nin :] or out  # outputs may be given by position
    if _holds_objects(out):
        return ufunc(*(np.asarray(x, dtype=object) for x in inputs), out=out, where=plain(where))
    inputs = tuple(tensor_like(x) for x in inputs)
    out = out if type(out) is tuple or out is None else (out,)
    targets: tuple[Any, ...] = out or (None,) * ufunc.nout
    if "signature" in options or "sig" in options:
        raise UnsupportedFunctionError(f"np.{ufunc.__name__} with signature= on a Tensor; use dtype=")
    if _without_derivative(ufunc) and not any(isinstance(target, Tensor) for target in targets):
        return ufunc(*map(plain, inputs), out=out, where=plain(where), dtype=dtype, casting=casting)
    if dtype is not None:
        empty = (np.empty(0, x.dtype) if hasattr(x, "dtype") else x for x in inputs)
        ufunc(*empty, dtype=dtype, casting=casting)  # raises where NumPy would
        inputs = tuple(x.astype(dtype) if hasattr(x, "astype") else x for x in inputs)
    if where is not True:
        results = _masked(ufunc, inputs, where, targets)
    elif any(isinstance(x, Tensor) for x in inputs):
        results = call(ufunc, inputs, options)
    else:
        results = ufunc(*inputs, **options)
    if ufunc.nout == 1:
        return _written(results[0] if type(results) is tuple else results, targets[0])
    return tuple(_written(result, target) for result, target in zip(results, targets, strict=True))


def _selected(x: Any, mask: Any) -> Any:
    """The elements of what is stretched to the shape of a mask."""
    x = np.broadcast_to(as_array(x), mask.shape)
    return x[mask] if isinstance(x, Tensor) else np.extract(mask, x)  # which sees that the mask is traced


def _masked(ufunc: np.ufunc, inputs: tuple[Any, ...], where: Any, targets: tuple[Any, ...]) -> tuple[Any, ...]:
    """Compute on the selected elements only; elsewhere stays `out`, or, as in NumPy, whatever was in memory."""
    mask = as_array(plain(where)).astype(bool)
    values = [plain(x) for x in inputs]
    shape = np.broadcast_shapes(mask.shape, *map(np.shape, values))
    mask = np.broadcast_to(mask, shape)
    selected = [x if isinstance(x, int | float | complex) else _selected(x, mask) for x in inputs]
    chosen = ufunc(*selected)
    parts = chosen if type(chosen) is tuple else (chosen,)
    bases = [
        np.empty_like(mask, part.dtype, shape=shape) if target is None else target
        for part, target in zip(parts, targets, strict=True)
    ]
    for base in bases:
        if not (isinstance(base, np.ndarray) or hasattr(type(base), "_record")) or base.shape != shape:
            raise InPlaceError(f"out= is {describe(base)}, but the result has shape {shape}")
    exact = tuple(np.copy(plain(base)) for base in bases)
    ufunc(*values, out=exact, where=mask)
    return tuple(
        _exactly(value, rules["put"](base, part, index=mask))
        for value, base, part in zip(exact, bases, parts, strict=True)
    )


# -- methods -----------------------------------------------------------------------------------------------------
def _reduce(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = np._NoValue,
    where: Any = True,
) -> Any:
    array = tensor_like(array)
    given = {} if initial is np._NoValue else {"initial": initial}
    if ufunc in REDUCTIONS:
        typed = {} if dtype is None or ufunc not in (np.add, np.multiply) else {"dtype": dtype}
        array = array if dtype is None or typed else array.astype(dtype)
        masked = {} if where is True else {"where": where}
        result = REDUCTIONS[ufunc](array, axis=axis, keepdims=keepdims, **typed, **given, **masked)
        return _written(result, out)
    reduce: Any = ufunc.reduce
    value = reduce(plain(array), axis, dtype, None, keepdims, where=where, **plain_everywhere(given))
    array = array if dtype is None else array.astype(dtype)
    axes = tuple(range(array.ndim)) if axis is None else normalize_axis_tuple(axis, array.ndim)
    rows = np.reshape(
        np.moveaxis(array, axes, range(len(axes))), (-1, *(n for i, n in enumerate(array.shape) if i not in axes))
    )
    chosen = np.moveaxis(np.broadcast_to(where, array.shape), axes, range(len(axes))).reshape(rows.shape)
    start = given.get("initial", ufunc.identity if where is not True or not len(rows) else None)
    result = rows[0] if start is None else np.full_like(rows, start, shape=rows.shape[1:])
    for row, mask in zip(rows[1:] if start is None else rows, chosen[1:] if start is None else chosen, strict=True):
        result = ufunc(result, row) if where is True else np.where(mask, ufunc(result, row), result)
    return _written(_exactly(value, np.reshape(result, np.shape(value))), out)


SHARES: dict[np.ufunc, Callable[..., Any]] = {
    np.maximum: share,
    np.minimum: lambda a, b: share(-a, -b),
    np.fmax: share_of_numbers,
    np.fmin: lambda a, b: share_of_numbers(-a, -b),
}


def _accumulate(ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    array = tensor_like(array)
    if ufunc in ACCUMULATIONS:
        return _written(ACCUMULATIONS[ufunc](array, axis, dtype=dtype), out)
    value = ufunc.accumulate(plain(array), axis, dtype)
    rows = list(np.moveaxis(array if dtype is None else array.astype(dtype), axis, 0))
    ties: Any = 1  # that so far share the extreme
    for k in range(1, len(rows)):
        if ufunc not in SHARES:
            rows[k] = ufunc(rows[k - 1], rows[k])
            continue
        won = SHARES[ufunc](plain(rows[k]), np.moveaxis(value, axis, 0)[k - 1])
        ties = np.where(won == 0.5, ties + 1, np.where(won == 1, 1, ties))
        part = (1 / ties).astype(value.real.dtype)  # each gets the same: halving pair by pair, the last would get most
        tied = rows[k - 1] * (1 - part) + rows[k] * part
        rows[k] = np.where(won == 1, rows[k], np.where(won == 0, rows[k - 1], tied))
    return _written(_exactly(value, np.stack(rows, axis) if rows else array), out)


def _reduceat(ufunc: np.ufunc, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    value = ufunc.reduceat(plain(array), plain(indices), axis, dtype)
    array = np.moveaxis(array if dtype is None else array.astype(dtype), axis, 0)
    starts = [int(i) for i in indices]
    ends = [*starts[1:], array.shape[0]]
    parts = [ufunc.reduce(array[i:j]) if j > i else array[i] for i, j in zip(starts, ends, strict=True)]
    return _written(_exactly(value, np.moveaxis(np.stack(parts), 0, axis)), out)


def _outer(ufunc: np.ufunc, a: Any, b: Any, **options: Any) -> Any:
    a, b = as_array(tensor_like(a)), as_array(tensor_like(b))
    return ufunc(np.reshape(a, a.shape + (1,) * b.ndim), b, **options)


def _at(ufunc: np.ufunc, a: Any, indices: Any, *values: Any) -> None:
    if not isinstance(a, Tensor):
        raise InPlaceError(
            f"np.{ufunc.__name__}.at would write a Tensor into {describe(a)}: the derivative would be lost; "
            "make the target a Tensor"
        )
    indices, values = plain_everywhere(indices), tuple(tensor_like(value) for value in values)
    if ufunc is np.add:
        return add_at(a, indices, values[0])
    if ufunc is np.subtract:
        return add_at(a, indices, np.negative(values[0]))
    exact = np.array(a.data)
    ufunc.at(exact, indices, *map(plain, values))
    places = grid(a.shape)[indices]
    values = tuple(np.broadcast_to(as_array(value), places.shape) for value in values)
    overwrite(a, _exactly(exact, _one_by_one(ufunc, a, places.ravel(), [np.ravel(value) for value in values])))
    return None


def _one_by_one(ufunc: np.ufunc, a: Any, places: Any, values: list[Any]) -> Any:
    """Apply at each place, several times where a place is repeated: a round for each repetition."""
    waiting = np.arange(places.size)
    while waiting.size:
        turn = waiting[np.unique(places[waiting], return_index=True)[1]]
        spots = np.unravel_index(places[turn], a.shape)
        a = rules["put"](a, ufunc(a[spots], *(value[turn] for value in values)), index=spots)
        waiting = np.setdiff1d(waiting, turn)
    return a


def _plain_if_flat(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Where a ufunc has no derivative (a comparison), its methods give what they give on plain arrays."""

    def chosen(ufunc: np.ufunc, *inputs: Any, **options: Any) -> Any:
        if _without_derivative(ufunc):
            return getattr(ufunc, name)(*plain_everywhere(inputs), **plain_everywhere(options))
        return method(ufunc, *inputs, **options)

    return chosen


# -- ufuncs with two results -------------------------------------------------------------------------------------
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
ufunc_methods |= {"__call__": _call, "at": _at}
for _method in (_reduce, _accumulate, _reduceat, _outer):
    ufunc_methods[_method.__name__[1:]] = _plain_if_flat(_method.__name__[1:], _method)
bind_operators()
setattr(Tensor, "__divmod__", _divmod)
setattr(Tensor, "__rdivmod__", lambda self, other: _divmod(other, self))
