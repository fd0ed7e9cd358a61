"""NumPy's creation functions, except that what they make can hold Tensors.

A floating or complex result is a Tensor without history, to be filled by assignment; an integer or boolean one stays a
plain array.  What is made from Tensors keeps their history.  NumPy's own functions do the same with `like=t`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np

from ..rules.registry import functions, implements
from ..tensor import Tensor, handle, lifted

__all__ = ["array", "asarray", "c_", "created", "from_numpy", "full", "made", "mgrid", "ogrid", "r_"]

PACKAGE = __name__.rpartition(".")[0]
NAMES = (
    "zeros ones empty eye identity tri arange linspace geomspace logspace meshgrid indices fromfunction "
    "frombuffer fromfile fromstring fromregex loadtxt genfromtxt from_dlpack zeros_like ones_like empty_like full_like "
    "copy astype bartlett blackman hamming hanning kaiser"
)


def made(x: Any) -> Any:
    """A floating or complex array as a Tensor without history; anything else as it is; of a tuple or list, each."""
    if type(x) in (tuple, list):
        return type(x)(made(each) for each in x)
    x = stacked(x)
    if type(x) is np.ndarray and x.dtype.kind in "fc":
        return handle(None, x if x.ndim else x[()])
    return x


def stacked(x: Any) -> Any:
    """An object array that holds Tensors as one Tensor; anything else, other objects too, as it is."""
    if isinstance(x, np.ndarray) and x.dtype == object and any(isinstance(each, Tensor) for each in x.flat):
        return lifted(x)
    return x


def _documented(ours: Callable[..., Any], original: Any, derivative: str) -> Callable[..., Any]:
    """Give `ours` NumPy's name, signature and summary, and say what is different."""
    ours = wraps(original)(ours)
    ours.__module__ = PACKAGE
    name = f"{original.__module__}.{original.__name__}".replace("numpy._core.multiarray", "numpy")
    paragraphs = (" ".join(text.split()) for text in (original.__doc__ or "").split("\n\n"))
    summary = next(text for text in paragraphs if not text.startswith(f"{original.__name__}("))
    ours.__doc__ = f"""{summary}

{derivative} A floating or complex result is a Tensor, which can be filled by assignment
(``z[i] = t``); integers and booleans are a plain array, as in NumPy.  The parameters are as in `{name}`:
https://numpy.org/doc/stable/reference/generated/{name}.html
"""
    return ours


def from_numpy(original: Any) -> Callable[..., Any]:
    """Wrap a NumPy function that makes arrays."""

    def create(*args: Any, **options: Any) -> Any:
        return made(original(*args, **options))

    zero = original not in functions
    create = _documented(create, original, f"Derivative: {'zero' if zero else 'as in NumPy itself'}.")
    functions.setdefault(original, create)  # with `like=t`, NumPy calls what is registered here
    return create


def _ours(original: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function that takes Tensors where NumPy's own does not, and runs also for NumPy's `like=t`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        return implements(original)(_documented(function, original, "Derivative: linear, also through lists."))

    return register


def joined(x: Any) -> Any:
    """Join lists that hold Tensors into one Tensor; anything else as it is."""
    if type(x) in (list, tuple) and not {Tensor, list, tuple, np.ndarray}.isdisjoint(map(type, x)):
        parts = [joined(each) for each in x]
        return np.stack(parts) if any(isinstance(part, Tensor) for part in parts) else x
    return stacked(x)


@_ours(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    **options: Any,
) -> Any:
    given = joined(object)
    if not isinstance(given, Tensor):
        return made(np.array(object, dtype, copy=copy, order=order, subok=subok, ndmin=ndmin, **options))
    result = given if dtype is None or np.dtype(dtype) == given.dtype else given.astype(dtype)
    flags: Any = np.asarray(result.data).flags
    laid_out = order not in ("C", "F") or flags[f"{order}_CONTIGUOUS"]
    if not laid_out or (copy and result is object):
        result = np.copy(result, order=order)
    if copy is False and result is not object:
        raise ValueError("np.array(..., copy=False) of a list, or with another dtype or order, needs a copy; copy=None")
    return np.reshape(result, (1,) * (ndmin - result.ndim) + result.shape) if result.ndim < ndmin else result


def _asarray(original: Any, usual: str = "K", **fixed: Any) -> Callable[..., Any]:
    def as_array(
        a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: Any = None, like: Any = None
    ) -> Any:
        np.empty(0, device=device)  # raises where NumPy does
        return array(a, dtype, copy=copy, order=order or usual, like=like, **fixed)

    return _ours(original)(as_array)


asarray = _asarray(np.asarray)
asanyarray = _asarray(np.asanyarray, subok=True)
ascontiguousarray = _asarray(np.ascontiguousarray, "C", ndmin=1)
asfortranarray = _asarray(np.asfortranarray, "F", ndmin=1)


@_ours(np.asarray_chkfinite)
def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Any:
    a = asarray(a, dtype, order)
    if a.dtype.kind in "fc" and not np.isfinite(a).all():
        raise ValueError("array must not contain infs or NaNs")
    return a


@_ours(np.require)
def require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Any:
    given = joined(a)
    if not isinstance(given, Tensor):
        return made(np.require(a, dtype, requirements, like=like))
    wanted = {each.upper()[0] for each in requirements or ()}
    order = "F" if "F" in wanted else "C" if "C" in wanted else "K"
    return array(given, dtype, copy=None, order=order)


@_ours(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", **options: Any) -> Any:
    value = joined(fill_value)
    if not isinstance(value, Tensor):
        return made(np.full(shape, fill_value, dtype, order, **options))
    return np.copy(np.broadcast_to(value if dtype is None else value.astype(dtype), shape), order=order)


@_ours(np.fromiter)
def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1, *, like: Any = None) -> Any:
    items = list(iter if count < 0 else islice(iter, count))
    if not any(isinstance(each, Tensor) for each in items):
        return made(np.fromiter(items, dtype, count))
    return array(items, dtype)


def _created() -> dict[str, Callable[..., Any]]:
    ours: tuple[Any, ...] = (
        array, asarray, asanyarray, ascontiguousarray, asfortranarray, asarray_chkfinite, require, full, fromiter,
    )  # fmt: skip
    found = {function.__name__: function for function in ours}
    for name in NAMES.split():
        if (original := getattr(np, name, None)) is not None:  # `astype` is there since NumPy 2.1
            found[name] = from_numpy(original)
    return found


created = _created()


class _Grid:
    """NumPy's index tricks, whose floating results can hold Tensors: ``np.mgrid[0:1:5j]``."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __getitem__(self, key: Any) -> Any:
        return made(self.original[key])

    def __repr__(self) -> str:
        return f"<chainrule.numpy's {type(self.original).__name__}>"


mgrid, ogrid, r_, c_ = map(_Grid, (np.mgrid, np.ogrid, np.r_, np.c_))
