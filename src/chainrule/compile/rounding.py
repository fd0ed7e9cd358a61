"""Whether two results differ by more than rounding explains.

What is nearly equal, element by element, agrees at once.  Elsewhere the function itself says how far rounding may take
it: its steps run again, each of them rounded a little otherwise, at random, in the precision that it has.  Where much
cancels, or something is computed in single precision on the way, the results are scattered, and a program may be as far
away as they are; where they are not, it is wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import copy
from math import prod, sqrt
from typing import Any

import numpy as np

from ..tensor import Tensor
from ..tree import flatten
from .calls import UFUNCS
from .expand import spelled_out
from .inputs import same
from .program import Loop, Program, Steps, is_repeatable
from .steps import Guard, Method, Property, Step, Var, inner, operands

__all__ = ["Otherwise", "agree"]

ndarray = np.ndarray
NEAR = 32  # units in the last place, for what a few functions in a row may differ by
SPREAD = 8  # how much further away than the furthest of the runs
RUNS = 12  # before it is clear that what is not that near is something else
# What gives one of the numbers that it is given, or no fraction.
MOVING: set[Any] = {
    np.negative, np.positive, np.absolute, np.fabs, np.sign, np.copysign, np.maximum, np.minimum, np.fmax, np.fmin,
    np.floor, np.ceil, np.trunc, np.rint, np.conjugate, np.maximum.reduce, np.minimum.reduce, np.where, np.concatenate,
    np.stack, np.broadcast_to, np.copy, np.sort, np.take, np.take_along_axis, np.clip, np.tile, np.repeat, np.roll,
    np.flip, np.ascontiguousarray, np.zeros_like, np.ones_like, np.full_like, np.max, np.min, np.unique,
    operator.getitem,
}  # fmt: skip
MOVING |= set(map(Method, ["copy", "reshape", "item", "max", "min", "clip", "repeat", "take", "conj", "flatten"]))
# What gives whole numbers for whole numbers, in whatever order it is done.
WHOLE: set[Any] = {
    np.add, np.subtract, np.multiply, np.square, np.matmul, np.dot, np.inner, np.outer, np.vdot, np.einsum,
    np.tensordot, np.sum, np.prod, np.cumsum, np.add.reduce, np.multiply.reduce, Method("sum"), Method("dot"),
    Method("astype"),
}  # fmt: skip


# -- comparing -----------------------------------------------------------------------------------------------------
def agree(a: Any, b: Any, exact: bool, again: Callable[[], Any] | None = None) -> bool:
    """Whether two results are the same to within rounding; to the bit, if that is asked for.

    Parameters
    ----------
    a, b : containers of arrays and other things
    exact : bool
    again : callable, optional
        Gives what `b` might be as well, if its steps were rounded otherwise; None if it cannot say.  Without it, what
        is small beside the rest may be anything.
    """
    leaves = _leaves(a, b)
    if leaves is None:
        return False
    doubtful = {}
    for number, (x, y) in enumerate(zip(*leaves, strict=True)):
        if not isinstance(x, ndarray):
            if x is not y and not same(x, y):
                return False
        elif x.shape != y.shape or x.dtype != y.dtype:
            return False
        elif exact or x.dtype.kind not in "biufc":
            if not np.array_equal(x, y, equal_nan=x.dtype.kind in "fcmM"):
                return False
        else:
            range_ = Range(y, roughly=again is None)
            if not range_.has(x):
                doubtful[number] = x, range_
    for _ in range(RUNS if again is not None else 0):
        if not doubtful:
            return True
        others = _leaves(again(), b)  # type: ignore[misc]
        if others is None:
            return False
        for number, (x, range_) in [*doubtful.items()]:
            if others[0][number].shape != x.shape:
                return False
            range_.widen(others[0][number])
            if range_.has(x):
                del doubtful[number]
    return not doubtful


def _leaves(a: Any, b: Any) -> tuple[list[Any], list[Any]] | None:
    """The leaves of two results, numbers as arrays; None if they have not the same form."""
    (first, _, form), (second, _, other) = flatten(a), flatten(b)
    if form != other:
        return None
    pairs = [_pair(*(t.data if isinstance(t, Tensor) else t for t in both)) for both in zip(first, second, strict=True)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    if isinstance(x, np.generic) and type(y) in (bool, int, float, complex):  # what a loop carried
        y = np.asarray(y)[()]
    if type(x) in (float, complex) and type(y) is type(x):
        return np.asarray(x), np.asarray(y)
    if isinstance(x, np.generic) and isinstance(y, np.generic):
        return np.asarray(x), np.asarray(y)
    return x, y


class Range:
    """What an array may hold as well, element by element.

    Attributes
    ----------
    center : what it holds; of complex numbers, both parts
    near : how far from there it may be in any case
    spread : how far from there others were
    others : what else was found
    """

    def __init__(self, y: ndarray[Any, Any], roughly: bool) -> None:
        self.center, self.others = _parts(y), list[Any]()
        self.near: Any = 0
        self.spread: Any = 0
        if y.dtype.kind in "fc":
            number = np.finfo(y.dtype)
            with np.errstate(all="ignore"):
                size = np.abs(y)[..., None] if y.dtype.kind == "c" else np.abs(y)
                if roughly:
                    size = 100 * np.max(size, initial=0, where=np.isfinite(size))
                self.near = NEAR * number.eps * size + 8 * number.smallest_subnormal

    def widen(self, other: ndarray[Any, Any]) -> None:
        """One more of what it may hold."""
        other = _parts(other)
        if other.dtype.kind == "f":
            with np.errstate(all="ignore"):
                self.spread = np.fmax(self.spread, np.abs(other - self.center))
        self.others.append(np.array(other))  # which the next run may write to

    def has(self, x: ndarray[Any, Any]) -> bool:
        """Whether all elements of another array are in it: between what was found, or, where that jumps, among it."""
        x = _parts(x)
        good = x == self.center
        if x.dtype.kind == "f":
            with np.errstate(all="ignore"):
                good |= (np.abs(x - self.center) <= np.fmax(self.near, SPREAD * self.spread)) & np.isfinite(x)
            good |= np.isnan(x) & np.isnan(self.center)
        for other in self.others:
            good |= x == other
            if x.dtype.kind == "f":
                good |= np.isnan(x) & np.isnan(other)
                good |= np.isfinite(x) & np.isfinite(other) & ~np.isfinite(self.center)
        if len(self.others) > 1 and x.dtype.kind in "iu":  # where it takes three values it may be any
            found = np.sort(np.stack([self.center, *self.others]), axis=0)
            good |= np.sum(found[1:] != found[:-1], axis=0) > 1
        return bool(np.all(good))


def _parts(x: ndarray[Any, Any]) -> Any:
    return np.stack([x.real, x.imag], -1) if x.dtype.kind == "c" else x


# -- running again -------------------------------------------------------------------------------------------------
class Otherwise:
    """A program in which each result is rounded otherwise in each run; it decides as it has decided.

    Attributes
    ----------
    program : Program
        On values of its own.
    """

    def __init__(self, steps: Steps, captured: dict[Var, Any], outputs: list[Any]) -> None:
        self._new: dict[Var, Var] = {}
        self._rng = np.random.default_rng(0)
        self.program = self._rounded(spelled_out(self._copied(steps, captured, outputs)))

    def new(self, x: Any) -> Any:
        """What stands for a value."""
        if type(x) is not Var:
            return x
        if x not in self._new:
            self._new[x] = var = copy(x)
            var.root = var.home = var if x.home is x else self.new(x.home)
        return self._new[x]

    def _copied(self, steps: Steps, captured: dict[Var, Any], outputs: list[Any]) -> Program:
        found: Steps = []
        for step in steps:
            if isinstance(step, Guard) and step.kind != "goes on":
                continue
            step = step.copy()
            if isinstance(step, Guard):
                step.var = self.new(step.var)
            else:
                step.args, step.options = inner(step.args, self.new), inner(step.options, self.new)
                step.results, step.writes = inner(step.results, self.new), tuple(map(self.new, step.writes))
                step.quiet = True
                if isinstance(step.function, Loop):
                    step.function = loop = copy(step.function)
                    loop.body = self._copied(loop.body.steps, loop.body.captured, loop.body.outputs)
                    loop.place, loop.kernel = self.new(loop.place), None
                    loop.carry, loop.items = list(map(self.new, loop.carry)), list(map(self.new, loop.items))
                    loop.outer = list(map(self.new, loop.outer))
            found.append(step)
        return Program(found, {self.new(var): array for var, array in captured.items()}, list(map(self.new, outputs)))

    def _rounded(self, program: Program) -> Program:
        for step in program.steps:
            if isinstance(step, Step):
                if isinstance(step.function, Loop):
                    step.function = step.function.with_body(self._rounded(step.function.body))
                elif _rounds(step):
                    step.function = Rounded(step, self._rng)
        return program


def _rounds(step: Step) -> bool:
    """Whether the result of a step is rounded, and on memory of its own."""
    function = UFUNCS.get(step.function, step.function)
    results = operands(step.results)
    if function in MOVING or type(function) is Property or not (results or "out" in step.options):
        return False
    return any(var.dtype.kind in "fc" for var in (*results, *step.writes)) and all(var.home is var for var in results)


class Rounded:
    """The function of a step, with a result that is rounded otherwise.

    What adds up many numbers may do so in any order: then each of these is as if it were rounded otherwise, the more of
    them the more.  Whole numbers are computed with exactly.
    """

    def __init__(self, step: Step, rng: np.random.Generator) -> None:
        self.function, self._rng = step.function, rng
        self.__name__ = str(getattr(step.function, "__name__", "function"))
        known = UFUNCS.get(step.function, step.function)
        self._whole = known in WHOLE
        self._many = 0.0
        if not is_repeatable(step) or getattr(known, "signature", None):
            sizes = [var.size for var in operands(step.args, step.options) if var.size > 1]
            size = max([1, *(var.size for var in operands(step.results))])
            self._many = sqrt(max(prod(map(float, sizes)) / size, 1.0) ** (1 / max(len(sizes), 1)))

    def __call__(self, *args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], np.random.Generator):
            return self.function(*args, **options)
        if self._many:
            args = inner(args, lambda x: self._otherwise(x, self._many, True))
        value = self.function(*args, **options)
        out = options.get("out")
        if out is None:
            return inner(value, lambda x: self._otherwise(x, 1.0, self._whole))
        for target in out if type(out) is tuple else (out,):
            target[...] = self._otherwise(target, 1.0, self._whole)
        return value

    def _otherwise(self, x: Any, units: float, whole: bool) -> Any:
        """A number, or an array, as if it were rounded otherwise, by so many units; whole numbers may be exact."""
        python = type(x) in (float, complex)
        x = np.asarray(x)[()] if python else x
        if getattr(x, "dtype", np.dtype(bool)).kind not in "fc":
            return x
        number = np.finfo(x.dtype)
        units *= 2 * float(number.eps)
        with np.errstate(all="ignore"):
            by = self._rng.uniform(-1, 1, x.shape)
            moved = x * (1 + units * by)
            if x.dtype.kind == "f" and np.any(small := (np.abs(x) < number.smallest_normal) & (x != 0)):
                moved = np.where(small, x + np.round(2 * by) * number.smallest_subnormal, moved)
            if x.dtype.kind == "c":  # each part as far as the other one is large
                by = np.abs(x) * units * (by + 1j * self._rng.uniform(-1, 1, x.shape))
                moved = np.where(np.isfinite(by), x + by, x)
            if whole:
                moved = np.where(x == np.round(x), x, moved)
        moved = np.asarray(moved).astype(x.dtype)
        return moved.item() if python else moved if isinstance(x, ndarray) else moved[()]
