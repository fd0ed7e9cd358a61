"""Small arrays for each of many, such as a vector and a matrix for each point, taken apart.

A loop over three columns uses three lanes of a vector.  So where `(n, 3)` or `(n, n, 3)` are computed with, each
component becomes a value of its own, `(n,)` or `(n, n)`, and loops run over the long axes.  Choosing, stacking and
turning components is done here, once; sums over them are additions, products of small matrices a few multiplications.
Kernels read components where they lie in arrays, and write them there: nothing is copied for it.

An array is long along axes of more than `SHORT` elements.  Its components are held in an array of objects with its
shape, but with one element along the long axes: so NumPy's own functions move them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from .guards import asked_once
from .layouts import SHOWING, Together
from .operations import axes_of
from .program import Program, Steps, is_fixed, is_uniform, read, renamed
from .reordering import Assemble
from .separable import (
    SHORT,
    STRETCHING,
    Parts,
    Shape,
    alone,
    is_split_question,
    long_axes,
    moved,
    separable,
    short_axes,
    sums_up,
    way_of,
)  # fmt: skip
from .simplify import needed, reshaped
from .steps import Guard, Method, Step, Var, operands

__all__ = ["componentwise"]

SMALL = 1 << 14  # elements that may be copied to read components side by side
WORTHWHILE = 1 << 11  # elements, over which sums or products of components are taken
POSITIVE: set[Any] = {np.square, np.absolute, np.exp}


def componentwise(program: Program, worthwhile: int | None = None) -> Program:
    """Take apart what has short axes, where that makes long loops of short ones."""
    members = separable(program, WORTHWHILE if worthwhile is None else worthwhile)
    if members:
        program.steps = list(_Splitting(program, members).run())
        program.steps = reshaped(program)
        program.steps = needed(program)
        program.steps = asked_once(program)
    return program


class _Splitting:
    """A program whose members are taken apart, step by step.

    Attributes
    ----------
    members, parts : the values, and the components of each
    made : the step that made a member before
    instead : of members that are put together: the array
    escape : what is returned, and its memory
    known : components that were given the axes of others
    positive : components of which none is -0.0
    whole : members that are put together, too
    new, like : the steps that take the place of the present one, and that one
    """

    def __init__(self, program: Program, members: set[Var]) -> None:
        self.program, self.members = program, set(members)
        self.parts: dict[Var, Parts] = {}
        self.made: dict[Var, Step] = {}
        self.instead: dict[Var, Var] = {}
        self.escape = {part for x in operands(*program.outputs) for part in (x, x.root)}
        self.known: dict[Any, Var] = {}
        self.positive: set[Var] = set()
        self.whole: set[Var] = set()
        self.new: Steps = []
        self.like: Any = None

    def run(self) -> Iterator[Step | Guard]:
        """The steps instead of the program's."""
        for step in self.program.steps:
            self.new = []
            self.like = step
            y = step.results if isinstance(step, Step) else None
            if isinstance(step, Step) and type(y) is Var and (y in self.members or sums_up(step, self.members)):
                self.members.add(y)
                self.made[y] = step
                self.parts[y] = self.taken_apart(step)
            elif isinstance(step, Guard) and is_split_question(step) and step.var in self.members:
                self.ask(step)
            else:
                for x in read(step):
                    self.put_together(x)
                if self.instead:
                    renamed(step, self.instead)
                self.new.append(step)
            yield from self.new
        self.new = []
        for x in operands(*self.program.outputs):
            self.put_together(x)
        self.program.outputs = [self.instead.get(x, x) if type(x) is Var else x for x in self.program.outputs]
        yield from self.new

    def step(self, function: Any, args: tuple[Any, ...], options: Any, y: Var) -> Var:
        """Add a step."""
        step = Step(function, args, options, getattr(self.like, "quiet", True), self.like.line)
        step.results, y.source = y, step
        self.new.append(step)
        return y

    # -- components ------------------------------------------------------------------------------------------------
    def of(self, x: Var) -> Parts:
        """The components of an operand."""
        if x not in self.parts:
            self.parts[x] = self.taken_out(x)
        return self.parts[x]

    def taken_out(self, x: Var) -> Parts:
        """The components of what is in memory, where they lie; those that never change and are one number, as that."""
        found = np.empty(short_axes(x.shape), object)
        long = long_axes(x.shape)
        if x.shape == long:
            found[(0,) * found.ndim] = x
            return found
        value = self.program.captured.get(x)
        fixed = isinstance(value, np.ndarray) and is_fixed(value) and x.dtype.kind == "f"
        if not x.contiguous:
            x = self.copied(x)
        for index in np.ndindex(found.shape):
            at = tuple(slice(None) if n > SHORT else k for n, k in zip(x.shape, index, strict=True))
            if fixed and is_uniform(value[at]):  # type: ignore[index]
                found[index] = value[at].reshape(-1)[0]  # type: ignore[index]
            else:
                found[index] = self.shown(x, at, long)
        return found

    def shown(self, x: Var, index: tuple[Any, ...], shape: Shape) -> Var:
        """What an index shows of a value, without a copy."""
        part = Var.made(shape, x.dtype, None, x.root, scalar=not shape)
        part.contiguous = not shape
        return self.step(operator.getitem, (x, index), {}, part)

    def copied(self, x: Var) -> Var:
        """A copy of a value, in order."""
        y = Var.made(x.shape, x.dtype, None)
        if x.dtype.kind == "f":
            return self.step(np.positive, (x,), {}, y)
        return self.step(Method("copy"), (x, "C"), {}, y)

    def beside(self, x: Any, shape: Shape) -> Parts:
        """The components of an operand, beside those of a result of some shape."""
        if type(x) is not Var or not x.shape:
            return alone(x)
        return self.all_framed(self.of(x), x.shape, shape)

    def all_framed(self, parts: Parts, shape: Shape, other: Shape) -> Parts:
        """Components of a value of one shape, beside those of a value of another one."""
        found = np.empty(parts.shape, object)
        for index in np.ndindex(parts.shape):
            found[index] = self.framed(parts[index], shape, other)
        return found

    def framed(self, part: Any, shape: Shape, other: Shape) -> Any:
        """One of them: with its axes where those have them."""
        if type(part) is not Var or not part.shape:
            return part
        missing = len(long_axes(shape)) - len(part.shape)
        lengths = iter((1,) * missing + part.shape)
        beside = (1,) * (len(other) - len(shape)) + shape
        index = [next(lengths) if n > SHORT else None for n, m in zip(beside, other, strict=True) if m > SHORT]
        while index[0] in (None, 1):
            del index[0]
        new = tuple(n or 1 for n in index)
        again = prod(new) < prod(long_axes(other))
        key = part, new, again
        if key not in self.known:
            y: Var = part
            if again and not y.contiguous and y.size <= SMALL:  # it is read for many rows: side by side
                y = self.copied(y)
            if y.shape != new and y.contiguous:
                y = self.step(Method("reshape"), (y, new), {}, Var.made(new, y.dtype, None, y.root))
            elif y.shape != new:
                y = self.shown(y, tuple(None if n is None else slice(None) for n in index), new)
            self.known[key] = y
        return self.known[key]

    # -- steps -----------------------------------------------------------------------------------------------------
    def taken_apart(self, step: Step) -> Parts:
        """The components of a result."""
        ways = {
            "placed": self.placed,
            "product": self.product,
            "reduced": self.reduced,
            "elementwise": self.elementwise,
            "moved": self.moved,
        }
        return ways[way_of(step)](step)

    def moved(self, step: Step) -> Parts:
        """Components at other places."""
        parts = moved(step, self.of)
        stretched = step.function in STRETCHING
        return self.all_framed(parts, step.args[0].shape, step.results.shape) if stretched else parts

    def elementwise(self, step: Step) -> Parts:
        """Components that are each computed of those at its place."""
        y = step.results
        found = np.empty(short_axes(y.shape), object)
        several = [np.broadcast_to(self.beside(x, y.shape), found.shape) for x in step.args]
        for index in np.ndindex(found.shape):
            args = tuple(x[index] for x in several)
            found[index] = self.computed(step.function, args, y, y if y.shape == long_axes(y.shape) else None)
        return found

    def computed(self, function: Any, args: tuple[Any, ...], like: Var, result: Var | None = None) -> Any:
        """A component that is computed of others; a number if these are numbers, and one of them if the other is 1."""
        shapes = [x.shape for x in args if type(x) is Var]
        if not shapes:
            with np.errstate(all="ignore"):
                return np.asarray(function(*args))[()]
        if function in (np.multiply, operator.mul):
            for one, x in (args, args[::-1]):
                if type(one) is not Var and one == 1 and type(x) is Var and x.dtype == like.dtype:
                    return x
        shape = np.broadcast_shapes(*shapes)
        if result is None or result.shape != shape:
            result = Var.made(shape, like.dtype, None, scalar=not shape)
        square = function is np.multiply and args[0] is args[1]
        adds = function is np.add and any(x in self.positive for x in args if type(x) is Var)
        if function in POSITIVE or square or adds:
            self.positive.add(result)
        return self.step(function, args, {}, result)

    def summed(self, part: Any, like: Var) -> Any:
        """What NumPy, which begins with 0.0, gives as a sum: never -0.0."""
        return part if type(part) is Var and part in self.positive else self.computed(np.add, (part, 0.0), like)

    def reduced(self, step: Step) -> Parts:
        """A sum over components, and then over long axes."""
        x, y, ufunc = step.args[0], step.results, step.function.__self__
        axes = axes_of(step)
        parts = self.of(x)

        def combine(a: Any, b: Any) -> Any:
            return self.computed(ufunc, (a, b), y)

        for axis in axes:
            if x.shape[axis] <= SHORT:
                parts = np.frompyfunc(combine, 2, 1).reduce(parts, axis=axis, keepdims=True)
        long = [i for i, n in enumerate(x.shape) if n > SHORT]
        over = tuple(k for k, i in enumerate(long) if i in axes)
        parts = parts.reshape(short_axes(y.shape))
        if not over and ufunc is not np.add:
            return parts
        found = np.empty(parts.shape, object)
        if not over:
            for index in np.ndindex(parts.shape):
                found[index] = self.summed(parts[index], y)
            return found
        shape = tuple(x.shape[i] for i in long if i not in axes)
        for index in np.ndindex(parts.shape):
            part = self.stretched(parts[index], long_axes(x.shape), y.dtype)
            result = y if y.shape == shape else Var.made(shape, y.dtype, None, scalar=not shape)
            found[index] = self.step(ufunc.reduce, (part,), {"axis": over}, result)
        return found

    def stretched(self, part: Any, shape: Shape, dtype: Any) -> Var:
        """A component that may be the same along an axis, with all its elements."""
        if type(part) is Var and part.shape == shape:
            return part
        wide = Var.made(shape, dtype, None)
        wide.contiguous = False
        return self.copied(self.step(np.broadcast_to, (self.number(part, dtype), shape), {}, wide))

    def product(self, step: Step) -> Parts:
        """Products of small matrices."""
        a, b = step.args
        y = step.results
        shapes = (1, *a.shape)[-max(2, len(a.shape)) :], b.shape if len(b.shape) > 1 else (*b.shape, 1)  # as matrices
        (*many, m, _), (*others, _, n) = shapes
        wide = (*np.broadcast_shapes(tuple(many), tuple(others)), m, n)
        # What is summed over is gone; the other axes are where those of the result are.
        left = self.all_framed(self.of(a).reshape(short_axes(shapes[0])), (*many, m, 1), wide)
        right = self.all_framed(self.of(b).reshape(short_axes(shapes[1])), (*others, 1, n), wide)
        outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        found = np.empty((*outer, left.shape[-2], right.shape[-1]), object)
        left = np.broadcast_to(left, (*outer, *left.shape[-2:]))
        right = np.broadcast_to(right, (*outer, *right.shape[-2:]))
        for index in np.ndindex(found.shape):
            *head, i, j = index
            terms = [
                self.computed(np.multiply, (left[(*head, i, k)], right[(*head, k, j)]), y) for k in range(a.shape[-1])
            ]
            found[index] = self.summed(reduce(lambda a, b: self.computed(np.add, (a, b), y), terms), y)
        return found.reshape(short_axes(y.shape))

    def placed(self, step: Step) -> Parts:
        """Parts at their indices; where several meet, their sum, and nothing elsewhere."""
        y = step.results
        found = np.full(short_axes(y.shape), y.dtype.type(0), object)
        if type(step.function) is Assemble:
            indices, parts, alone = step.args[0], step.args[1:], step.function.tile
        else:
            indices, parts, alone = (step.options["index"],), step.args, True

        def add(a: Any, b: Any) -> Any:
            return self.computed(np.add, (a, b), y)

        for index, part in zip(indices, parts, strict=True):
            components = self.of(part)
            if alone:
                found[index] = components
            else:
                found[index] = np.frompyfunc(add, 2, 1)(found[index], components)
        return found

    # -- the rest of the program -----------------------------------------------------------------------------------
    def ask(self, guard: Guard) -> None:
        """Look for NaN in each component."""
        for part in dict.fromkeys(self.parts[guard.var].reshape(-1).tolist()):
            asked = guard.copy()
            asked.var = self.number(part, guard.var.dtype)
            self.new.append(asked)

    def put_together(self, x: Var) -> None:
        """Make a member that others ask for as it is."""
        if x not in self.members or x in self.whole:
            return
        self.whole.add(x)
        parts, made = self.parts[x].reshape(-1).tolist(), self.made[x]
        if parts == [x]:
            return
        if made.function in SHOWING and made.args[0] not in self.members:  # what is in memory in another shape
            self.new.append(made)
        elif (
            len(parts) == 1
            and type(parts[0]) is Var
            and parts[0].size == x.size
            and not self.escape & {parts[0].root, x}
        ):
            x.root = parts[0].root
            self.step(Method("reshape"), (parts[0], x.shape), {}, x)
        else:
            long = [i for i, n in enumerate(x.shape) if n > SHORT]
            whole = Var.made(x.shape, x.dtype, None)
            self.instead[x] = self.program.same[x] = whole
            self.step(Together(x.shape, x.dtype, long), tuple(self.number(part, x.dtype) for part in parts), {}, whole)

    def number(self, part: Any, dtype: Any) -> Var:
        """A component as a value, which it may be already."""
        if type(part) is Var:
            return part
        array = np.asarray(part, dtype)
        array.flags.writeable = False
        var = Var(array, array)
        var.outside = True
        self.program.captured[var] = array
        return var
