"""Recycled memory for large arrays.

The allocator gives large blocks back to the operating system as soon as they are freed, and gets them again page by
page: on large arrays that costs more than the arithmetic.  Arrays made here sit on blocks that return to a pool when
the last array (or view) on them is gone; nobody has to say so, and nobody can tell the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import numpy as np

__all__ = [
    "BIG",
    "SMOOTH",
    "any_large",
    "apply",
    "empty",
    "empty_like",
    "in_blocks",
    "keeps_bits",
    "matmul",
    "owns",
    "product",
    "uniform",
]

BIG = 1 << 16  # bytes; below, the allocator is as fast
BLOCK = 1 << 20  # bytes of one array that are worked on at a time: less, and the calls cost more than the caches save
KEPT = 1 << 28  # bytes that the pool holds at most

ndarray = np.ndarray
SMOOTH = (np.dtype("f4"), np.dtype("f8"))
_free: dict[int, list[Raw]] = {}
_held = 0  # bytes in the pool; two threads may miscount it, which only moves the limit


class Raw(np.ndarray[Any, Any]):
    """The memory itself.  A class of its own, so that NumPy does not skip the lease when it looks for the owner."""

    __slots__ = ()


class Lease(np.ndarray[Any, Any]):
    """One use of a raw block: the owner, for NumPy, of the array that is made on it.

    When the last array or view is gone, so is the lease, and it puts the block back.  (A new lease each time: Python
    calls `__del__` of an object once only, even if it is brought back to life.)
    """

    __slots__ = ()

    def __del__(self) -> None:
        global _held
        raw = self.base
        if raw.__class__ is Raw and _free is not None:  # None while Python shuts down
            size = raw.nbytes
            if _held + size <= KEPT:
                _held += size
                _free.setdefault(size, []).append(raw)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any], order: Literal["C", "F"] = "C") -> Any:
    """An uninitialised array, on recycled memory if it is large."""
    global _held
    size = prod(shape) * dtype.itemsize
    if size < BIG:
        return np.empty(shape, dtype, order)
    try:
        raw = _free[size].pop()
        _held -= size
    except (KeyError, IndexError):
        if _held + size > KEPT:  # full of other sizes: start again
            drop()
        raw = Raw(size, np.uint8)
    return ndarray(shape, dtype, Lease(size, np.uint8, raw), order=order)


def owns(x: Any) -> bool:
    """Whether an array is no view of another one."""
    base = x.base
    return base is None or base.__class__ is Lease


def drop() -> None:
    """Give what the pool holds back to the allocator."""
    global _held
    _held = 2 * KEPT  # so that nothing comes back meanwhile
    _free.clear()
    _held = 0


def empty_like(x: Any) -> Any:
    """An uninitialised array of the shape and dtype of `x`."""
    return empty(x.shape, x.dtype)


def any_large(values: Sequence[Any]) -> bool:
    """Whether one of some operands is a large array."""
    for x in values:  # noqa: SIM110 (no generator: this is asked of each operation of a nested derivative)
        if x.__class__ is ndarray and x.nbytes >= BIG:
            return True
    return False


def uniform(*arrays: Any) -> bool:
    """Whether all are contiguous float arrays of one shape and dtype, or plain numbers: so is a ufunc's result then."""
    first = arrays[0]
    shape, dtype = first.shape, first.dtype
    if dtype not in SMOOTH:
        return False
    for x in arrays:
        kind = x.__class__
        if kind is ndarray:
            if x.dtype is not dtype or x.shape != shape or not (x.flags.c_contiguous or not any(x.strides)):
                return False
        elif kind is not float and kind is not int:
            return False
    return True


def in_blocks(function: Any, rooms: int, *arrays: Any) -> None:
    """Call a function of several elementwise steps on arrays that are `uniform`, with `rooms` more to work in.

    Block by block, so that what a step leaves behind is still in the caches when the next one reads it.  Rooms on
    recycled memory stay in the pool, so they are small beside the result; for one block the allocator gives them.
    """
    first = arrays[0]
    size = first.size
    if first.nbytes <= BLOCK:
        function(*arrays, *(np.empty_like(first) for _ in range(rooms)))
        return
    step = (BLOCK if first.nbytes >= 4 * BLOCK else BLOCK // 2) // first.itemsize
    room = [empty((step,), first.dtype) for _ in range(rooms)]
    flat = [x.reshape(-1) if x.__class__ is ndarray else x for x in arrays]
    for start in range(0, size, step):
        parts = [x[start : start + step] if x.__class__ is ndarray else x for x in flat]
        function(*parts, *(x[: len(parts[0])] for x in room))


def apply(ufunc: Any, u: Any, v: Any = 0.0) -> Any:
    """Call a ufunc on large operands, with its result on recycled memory where that is as NumPy would have it."""
    if ufunc.nin == 1:
        return ufunc(u, out=empty(u.shape, u.dtype)) if u.__class__ is ndarray and uniform(u) else ufunc(u)
    whole, other = (u, v) if u.__class__ is ndarray and (v.__class__ is not ndarray or v.size <= u.size) else (v, u)
    if whole.__class__ is ndarray and uniform(whole):
        shape = whole.shape
        kind = other.__class__
        if (
            kind is float
            or kind is int
            or (kind is ndarray and other.dtype is whole.dtype and _fits(other.shape, shape))
        ):
            return ufunc(u, v, out=empty(shape, whole.dtype))
    return ufunc(u, v)


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to `whole`."""
    extra = len(whole) - len(shape)
    end = whole[extra:]
    return extra >= 0 and (shape == end or all(n in (1, m) for n, m in zip(shape, end, strict=True)))


def matmul(u: Any, v: Any) -> Any:
    """`np.matmul` to the bit, with a large product on recycled memory."""
    if u.__class__ is ndarray and v.__class__ is ndarray and u.ndim == v.ndim == 2 and u.dtype is v.dtype in SMOOTH:
        rows, columns = len(u), v.shape[1]
        if rows * columns * u.itemsize >= BIG and u.shape[1] == len(v):
            return np.matmul(u, v, empty((rows, columns), u.dtype))
    return np.matmul(u, v)


def product(u: Any, v: Any, turned: bool = False) -> Any:
    """Multiply matrices in a derivative, where the last bit is nobody's.

    `turned` says that the axes of the result will be turned: a large one lies so that it is in order then.
    """
    if u.ndim == v.ndim == 2 and u.dtype is v.dtype in SMOOTH:
        large = len(u) * v.shape[1] * u.itemsize >= BIG
        if u.__class__ is ndarray and v.__class__ is ndarray:
            if not large:
                return u.dot(v)  # half a microsecond sooner; the same to the bit where BLAS reads both as they lie
            if turned and u.shape[1] == len(v):
                return np.matmul(u, v, empty((len(u), v.shape[1]), u.dtype, "F"))
        elif _is_exact(u, v):
            if (turned and large) or not (_lies_for_blas(u) and _lies_for_blas(v)):
                return (u if hasattr(u, "step") else v).step(product, u, v, turned)
        elif turned and large:
            return matmul(v.T, u.T).T
    return matmul(u, v)


def keeps_bits(x: Any) -> bool:
    """Whether `x` is an array of a program (jit) that keeps every bit."""
    return getattr(x, "exact", False) is True


def _is_exact(u: Any, v: Any) -> bool:
    """Whether these are of a program that keeps every bit."""
    return all(x.__class__ is ndarray or keeps_bits(x) for x in (u, v))


def _lies_for_blas(x: Any) -> bool:
    (rows, columns), (down, right) = x.shape, x.strides
    one = x.itemsize
    return bool((right == one and down >= columns * one) or (down == one and right >= rows * one))
