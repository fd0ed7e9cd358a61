"""Short last axes, such as the three of space, taken apart.

A loop over three columns uses three lanes of a vector.  So where all pairs of points are computed with, `(n, n, 3)`,
each component becomes an array of its own, `(n, n)`: what pairs give is then one box, over whose long axes loops run,
and sums over components are additions in it.  Only small arrays are taken apart and put together for that.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from .program import Program, is_reduction, needed, private, read, reshaped
from .trace import Guard, Method, Step, Var, operands

__all__ = ["componentwise"]

Steps = list[Step | Guard]
MOST = 4  # components
SMALL = 1 << 14  # elements that may be copied to take an array apart
WORTHWHILE = 1 << 12  # elements of an array that is not computed any more


def componentwise(program: Program) -> Program:
    """Take apart what has a short last axis, where that makes long loops of short ones."""
    for k in range(2, MOST + 1):
        members = _members(program, k)
        if members:
            program.steps = list(_Splitting(program, members, k).run())
            program.steps = reshaped(program)
            program.steps = needed(program)
    return program


def _members(program: Program, k: int) -> set[Var]:
    """The values to take apart; none if a large one would have to be put together, or taken apart in memory."""
    members = {step.results for step in program.steps if isinstance(step, Step) and _by_component(step, k)}
    worth = False
    for x in program.outputs:
        if type(x) is Var and x in members and x.size > SMALL:
            return set()
    for step in program.steps:
        inside = False
        if isinstance(step, Step):
            over_components = _sums_components(step, k) and step.args[0] in members
            inside = over_components or (type(step.results) is Var and step.results in members)
            if inside and max(x.size for x in read(step)) >= WORTHWHILE:
                worth |= over_components or any(x.shape[-1:] == (1,) and len(x.shape) > 2 for x in read(step))
        for x in read(step):
            if x.size > SMALL and x.shape[-1:] == (k,) and (x in members) != inside:
                return set()
    return members if worth else set()


def _by_component(step: Step, k: int) -> bool:
    """Whether the components of a result are computed one by one from the components of the operands."""
    y = step.results
    if type(y) is not Var or len(y.shape) < 2 or y.shape[-1] != k or y.dtype.kind not in "fb" or step.writes:
        return False
    if not y.contiguous or not private(y) or not all(map(private, read(step))):
        return False
    if step.function == Method("reshape"):
        return bool(step.args[0].shape[-1:] == (k,))
    if is_reduction(step):
        axes = _axes(step)
        return axes is not None and bool(axes) and len(step.args[0].shape) - 1 not in axes
    if not (isinstance(step.function, np.ufunc) and step.function.signature is None and step.function.nout == 1):
        return False
    return y.root is y and not step.options and all(x.shape[-1:] in ((), (1,), (k,)) for x in read(step))


def _sums_components(step: Step, k: int) -> bool:
    """Whether a step adds up components, or takes the largest or smallest of them, perhaps over other axes, too."""
    if not is_reduction(step) or step.function.__self__ not in (np.add, np.maximum, np.minimum):
        return False
    axes = _axes(step)
    if axes is None or len(step.args[0].shape) - 1 not in axes:
        return False
    return step.args[0].shape[-1] == k and step.args[0].dtype.kind == "f" and not step.options.get("keepdims")


def _axes(step: Step) -> tuple[int, ...] | None:
    if len(step.args) != 1 or type(step.args[0]) is not Var or set(step.options) - {"axis", "keepdims"}:
        return None
    rank, axis = len(step.args[0].shape), step.options.get("axis", 0)
    return tuple(range(rank)) if axis is None else tuple(sorted(normalize_axis_tuple(axis, rank)))


class _Splitting:
    def __init__(self, program: Program, members: set[Var], k: int) -> None:
        self.program, self.members, self.k = program, members, k
        self.parts: dict[tuple[Var, int], Var] = {}
        self.whole: set[Var] = set()  # members that are put together, too
        self.new: Steps = []

    def run(self) -> Iterator[Step | Guard]:
        """The steps instead of the program's."""
        for step in self.program.steps:
            self.new = []
            if isinstance(step, Step) and type(step.results) is Var and step.results in self.members:
                for c in range(self.k):
                    self.split(step, c)
            elif isinstance(step, Step) and _sums_components(step, self.k) and step.args[0] in self.members:
                self.sum(step)
            else:
                for x in read(step):
                    self.put_together(x, step)
                self.new.append(step)
            yield from self.new
        self.new = []
        for x in operands(*self.program.outputs):
            self.put_together(x, self.program.steps[-1])
        yield from self.new

    def step(self, function: Any, args: tuple[Any, ...], options: Any, y: Var, like: Any) -> Var:
        """Add a step."""
        step = Step(function, args, options, getattr(like, "quiet", True), like.line)
        step.results, y.source = y, step
        self.new.append(step)
        return y

    def part(self, x: Any, c: int) -> Any:
        """A component of an operand."""
        if type(x) is not Var or not x.shape:
            return x
        known = self.parts.get((x, c))
        if known is None:
            known = self.parts[x, c] = self.taken_out(x, c)
        return known

    def taken_out(self, x: Var, c: int) -> Var:
        shape, like = x.shape[:-1], x.source if isinstance(x.source, Step) else self.program.steps[0]
        if x.shape[-1] == 1:
            source = x.source
            if isinstance(source, Step) and source.function == Method("reshape") and source.args[0].shape == shape:
                narrow: Var = source.args[0]
                return narrow
            if c:
                return self.parts[x, 0]
            if x.contiguous:
                return self.step(Method("reshape"), (x, shape), {}, Var.made(shape, x.dtype, None, x.root), like)
        shown = Var.made(shape, x.dtype, None, x.root)
        shown.contiguous = False
        self.step(operator.getitem, (x, (..., c)), {}, shown, like)
        copied = Var.made(shape, x.dtype, None)
        if x.dtype.kind == "f":
            return self.step(np.positive, (shown,), {}, copied, like)
        return self.step(Method("copy"), (shown, "C"), {}, copied, like)

    def split(self, step: Step, c: int) -> None:
        y, args, options = step.results, tuple(self.part(x, c) for x in step.args), step.options
        shape = y.shape[:-1]
        root = None
        if step.function == Method("reshape"):
            args, root = (args[0], shape), args[0].root
        elif is_reduction(step):
            options = options | {"axis": _axes(step)}
        self.parts[y, c] = self.step(step.function, args, options, Var.made(shape, y.dtype, None, root), step)

    def sum(self, step: Step) -> None:
        x, y, ufunc = step.args[0], step.results, step.function.__self__
        others = (_axes(step) or ())[:-1]

        def part(c: int) -> Var:
            found: Var = self.part(x, c)
            if not others:
                return found
            total = Var.made(y.shape, y.dtype, None, scalar=y.scalar)
            return self.step(ufunc.reduce, (found,), {"axis": others}, total, step)

        total = part(0)
        for c in range(1, self.k):
            result = y if c == self.k - 1 else Var.made(y.shape, y.dtype, None, scalar=y.scalar)
            total = self.step(ufunc, (total, part(c)), {}, result, step)

    def put_together(self, x: Var, like: Any) -> None:
        """Make a member that others ask for as it is."""
        if x in self.members and x not in self.whole:
            self.whole.add(x)
            x.root = x
            self.step(np.stack, ([self.part(x, c) for c in range(self.k)],), {"axis": -1}, x, like)
