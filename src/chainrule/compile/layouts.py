"""Where the elements of a value lie: what kernels read and write without a copy."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..rules.indexing import is_plain
from ..rules.registry import rules
from .steps import Method, Property, Step, Var, operands

__all__ = ["SHOWING", "TURNING", "Layout", "Together", "c_strides", "layout_of"]

Layout = tuple[Var, int, tuple[int, ...]]
# What shows the same memory with the axes in another order.
TURNING: set[Any] = {np.transpose, np.swapaxes, np.moveaxis, Property("T"), Method("transpose"), Method("swapaxes")}
TURNING |= {rules[name].value for name in ("swapaxes", "moveaxis", "transpose")}
SHOWING = TURNING | {operator.getitem, np.expand_dims, Method("reshape")}


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """How many elements lie from one to the next along each axis, in C order."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def layout_of(x: Var) -> Layout | None:
    """The value in C order whose memory this one shows, at which of its elements it begins, and its steps in elements.

    None where that is not the same in each call.
    """
    views = []
    base = x
    while base.root is not base:
        step = base.source
        if not isinstance(step, Step) or step.function not in SHOWING or type(step.args[0]) is not Var:
            break
        if step.function is operator.getitem and not is_plain(step.args[1]):
            break
        if operands(*step.args[1:], step.options):
            break
        views.append(step)
        base = step.args[0]
    if not base.contiguous or base.scalar:
        return None
    if not views:
        return base, 0, base.strides
    shown = as_strided(np.zeros(1, np.int8), base.shape, base.strides)  # nothing is read of it
    begin = shown.ctypes.data
    for step in reversed(views):
        if step.function == Method("reshape"):
            if not step.args[0].contiguous:
                return None
            first = shown[(slice(0, 1),) * shown.ndim] if shown.ndim else shown
            shown = as_strided(first.reshape(-1), step.results.shape, step.results.strides)
            continue
        args = step.args[1:]
        if step.function is operator.getitem and Ellipsis not in (index := _several(args[0])):
            args = ((*index, Ellipsis),)  # an array even where it is one element
        shown = step.function(shown, *args, **step.options)
    return base, shown.ctypes.data - begin, shown.strides


def _several(index: Any) -> tuple[Any, ...]:
    return index if type(index) is tuple else (index,)


class Together:
    """Make an array of its components, each of which has the long axes only.

    Attributes
    ----------
    shape, dtype : of the array
    long : which axes the components have; the others are gone through in C order
    """

    takes_out = True
    __name__ = "together"

    def __init__(self, shape: tuple[int, ...], dtype: Any, long: Sequence[int]) -> None:
        self.shape, self.dtype, self.long = shape, dtype, tuple(long)

    def __call__(self, *parts: Any, out: Any = None) -> Any:
        total = np.empty(self.shape, self.dtype) if out is None else out
        for index, part in zip(self.indices(), parts, strict=True):
            total[index] = part
        return total

    def indices(self) -> list[tuple[Any, ...]]:
        """Where each component goes."""
        ranges = [[slice(None)] if i in self.long else range(n) for i, n in enumerate(self.shape)]
        return list(product(*ranges))

    def places(self) -> list[int]:
        """How many elements before each component."""
        steps = c_strides(self.shape)
        return [
            sum(step * k for step, k in zip(steps, index, strict=True) if type(k) is int) for index in self.indices()
        ]

    def strides(self) -> tuple[int, ...]:
        """The steps of the long axes, in elements."""
        steps = c_strides(self.shape)
        return tuple(steps[i] for i in self.long)
