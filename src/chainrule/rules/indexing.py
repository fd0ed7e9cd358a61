"""Reading and writing by index.

What a write makes is the whole array that it changed: `put(a, v)` is `a` after `a[index] = v`.  As a function it works
on a copy; `inplace.py` records `write_put` where memory was written to.  A write through a view of `a` says in `steps`
how the view was made.  The walks do with their cotangents and tangents what the program did with its memory: they write
into them, where nobody else holds them, so that writing a few elements costs a few elements in every mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .linear import example, grid, plain
from .registry import Rule, custom, linear, rules

__all__ = ["Steps", "is_basic", "shown"]

Steps = tuple[tuple[Rule, tuple[Any, ...], dict[str, Any]], ...]  # how a view was made: rules and their parameters


def is_basic(index: Any) -> bool:
    """Whether an index reads every element at most once, so that it can be written back without adding."""
    if index.__class__ is int:
        return True
    for part in index if index.__class__ is tuple else (index,):
        if not (part is None or part is Ellipsis or isinstance(part, int | slice | np.integer)):
            return False
    return True


def is_plain(index: Any) -> bool:
    """Whether an index is basic, and made of Python's numbers and slices: `True` would be basic, too."""
    parts = index if type(index) is tuple else (index,)
    return all(part is None or part is Ellipsis or type(part) in (int, slice) for part in parts)


# -- reading -------------------------------------------------------------------------------------------------------
def _place(x: Any, shape: tuple[int, ...], index: Any) -> Any:
    """Add `x` at `index` of zeros of `shape`: the transpose of reading by index."""
    zeros = np.zeros(shape, x.dtype) if isinstance(x, np.ndarray | np.generic) else np.zeros_like(x, shape=shape)
    if is_basic(index):
        zeros[index] = x
    else:
        np.add.at(zeros, index, x)
    return zeros


def _add_into(total: Any, ct: Any, index: Any) -> None:
    part = total[index]
    if not part.ndim:  # one element
        total[index] = part + ct
    elif part.base is total if part.__class__ is np.ndarray else is_basic(index):
        np.add(part, ct, part)  # a view, so this writes into `total`
    else:
        np.add.at(total, index, ct)


linear(
    lambda x, index: x[index],
    lambda ct, x, index: rules["place"](ct, shape=x.shape, index=index),
    name="getitem",
    add_into=_add_into,
)
linear(_place, lambda ct, x, shape, index: ct[index], name="place")


# -- writing -------------------------------------------------------------------------------------------------------
def shown(x: Any, steps: Steps) -> Any:
    """What a view made by these steps shows of `x`."""
    record = getattr(type(x), "_record", None)
    for rule, rest, options in steps:
        x = record(rule, (x,), rest, options) if record else rule.value(x, *rest, **options)
    return x


def _may_overlap(x: Any) -> bool:
    """Whether two elements of a view may be the same memory, judged by its strides."""
    extent = x.itemsize
    for stride, n in sorted((abs(stride), n) for stride, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < extent:
            return True
        extent += stride * (n - 1)
    return False


def _target(a: Any, index: Any, steps: Steps) -> tuple[Any, Any]:
    """An array on the memory of `a`, and the index into it, where a write through a view goes."""
    if not steps:
        return a, index
    part = shown(a, steps)
    if np.may_share_memory(part, a) and part.flags.writeable and not _may_overlap(part):
        return part, index
    return a.reshape(-1), shown(grid(a.shape), steps)[index]  # where `a`, all ours, is contiguous


def _stays(part: Any, index: Any) -> Any:
    """Which of the values written by `index` are still there afterwards: of repeated places, the last."""
    if index.__class__ is int:
        return None
    parts = index if type(index) is tuple else (index,)
    if is_basic(index) or all(getattr(part, "dtype", None) == np.bool for part in parts):
        return None  # nothing is repeated
    places = np.add(grid(part.shape), np.zeros_like(plain(part), dtype=int))  # so that an index may be traced
    written = places[index]
    if written.size < 2:
        return None
    last = np.empty_like(places, shape=(prod(part.shape),))
    last[written.ravel()] = np.arange(written.size)
    return last[written] == np.arange(written.size).reshape(written.shape)


def _read_back(part: Any, index: Any) -> Any:
    """The cotangent of what was written at `index`: what lies there, unless the same write replaced it."""
    stays = _stays(part, index)
    return part[index] if stays is None else np.where(stays, part[index], 0)


def _put(a: Any, v: Any, index: Any, steps: Steps = ()) -> Any:
    """A copy of `a` in which `a[index] = v` was done, or the same to a view of it."""
    new = np.copy(a, order="C")
    part, spots = _target(new, index, steps)
    part[spots] = v
    return new


def _written(node: Any) -> tuple[Any, Steps]:
    return node.params[1]["index"], node.params[1].get("steps", ())


def _put_pull_value(ct: Any, node: Any) -> Any:
    index, steps = _written(node)
    part = shown(ct, steps)
    if steps and _may_overlap(example(part)):
        part, index = np.ravel(ct), shown(grid(ct.shape), steps)[index]
    return _read_back(part, index)


def _put_pull_in_place(ct: Any, node: Any, wanted: bool) -> Any:
    index, steps = _written(node)
    if index.__class__ is int and not steps and ct.ndim == 1:  # one element: what is below, in a third of the time
        element = ct[index]
        ct[index] = 0
        return element if wanted else None
    part, spots = _target(ct, index, steps)
    value = _read_back(part, spots) if wanted else None
    if value is not None and not isinstance(value, np.generic) and is_basic(spots):
        value = value.copy()
    part[spots] = 0
    return value


def _put_push_in_place(total: Any, t: Any, node: Any) -> None:
    part, spots = _target(total, *_written(node))
    part[spots] = 0.0 if t is None else t


def _writing(name: str, function: Callable[..., Any], *pulls: Any, pull_in_place: Any, push_in_place: Any) -> None:
    """Register a function `(base, value, index, steps)`, and `write_...` for where memory was written to.

    They differ in one thing: what memory held before a write, nothing reads afterwards.
    """

    def push(node: Any, tangents: Sequence[Any]) -> Any:
        base, value = tangents
        base = np.zeros(node.shape, node.dtype) if base is None else base
        return rules[name](base, 0.0 if value is None else value, **node.params[1])

    derivative: dict[str, Any] = {"needs": ("", ""), "pulls": pulls, "push": push, "pull_in_place": pull_in_place}
    custom(name, function, **derivative)
    custom(f"write_{name}", function, **derivative, push_in_place=push_in_place)


_writing(
    "put",
    _put,
    lambda ct, node: rules["put"](ct, 0.0, **node.params[1]),
    _put_pull_value,
    pull_in_place=_put_pull_in_place,
    push_in_place=_put_push_in_place,
)


def _add_at(a: Any, v: Any, index: Any, steps: Steps = ()) -> Any:
    """A copy of `a` in which `v` was added at `index`, several times where a place is repeated."""
    new = np.copy(a, order="C")
    np.add.at(*_target(new, index, steps), v)
    return new


def _add_at_pull_value(ct: Any, node: Any) -> Any:
    index, steps = _written(node)
    return shown(ct, steps)[index]


def _add_at_pull_in_place(ct: Any, node: Any, wanted: bool) -> Any:
    return np.copy(_add_at_pull_value(ct, node)) if wanted else None


def _add_at_push_in_place(total: Any, t: Any, node: Any) -> None:
    if t is not None:
        np.add.at(*_target(total, *_written(node)), t)


_writing(
    "add_at",
    _add_at,
    lambda ct, node: ct,
    _add_at_pull_value,
    pull_in_place=_add_at_pull_in_place,
    push_in_place=_add_at_push_in_place,
)
