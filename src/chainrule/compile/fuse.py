"""Fusing: elementwise steps, and the reductions that feed on them, become one kernel each.

A group is a box of m rows and n columns (see `kernels/group.py`).  Steps join an open group as they come; a group is
closed, and runs, when somebody else asks for one of its values.  Whether there is a NaN in one of them a group finds
out itself: so such a question forces no value into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from .groups import MANY, Open
from .kernels import CODES, exact_ops, supported
from .kernels.group import Kind
from .layouts import SHOWING, Together
from .operations import is_supported, operand_dtype, operation_of, reduction_of
from .program import Program, Steps, read
from .steps import Guard, Method, Step, Var, operands

__all__ = ["Grouping", "fused"]


def fused(program: Program, exact: bool) -> Steps:
    """Group the steps of a program.

    Parameters
    ----------
    program : Program
    exact : bool
        Whether only operations may be fused that keep every bit.
    """
    return _without_views(program, list(Grouping(program, exact).run()))


def _without_views(program: Program, steps: Steps) -> Steps:
    """Drop the views that kernels go through themselves."""
    alive = {x for x in program.outputs if type(x) is Var}
    kept: Steps = []
    for step in reversed(steps):
        if isinstance(step, Step) and step.function in SHOWING and not step.writes and step.results not in alive:
            continue
        alive.update(read(step))
        kept.append(step)
    return kept[::-1]


class Grouping:
    """Takes the steps of a program in order, and gives groups of them.

    Attributes
    ----------
    readers : the steps that read each value; None stands for who called
    open, of : the groups that steps may join, and the one that each value is of
    questions : by the value, whether there is a NaN in it
    done : what groups have done before it was its turn
    waiting : by the result, what is put off so that groups need not close
    """

    least = 1  # elements of a box that is worth a group

    def __init__(self, program: Program, exact: bool) -> None:
        self.program, self.exact = program, exact
        self.readers: dict[Var, list[Any]] = {}
        for step in program.steps:
            for var in read(step):
                self.readers.setdefault(var, []).append(step)
        for x in program.outputs:
            if type(x) is Var:
                self.readers.setdefault(x, []).append(None)
        self.open: list[Open] = []
        self.of: dict[Var, Open] = {}
        self.questions = {step.var: step for step in program.steps if isinstance(step, Guard) and step.kind == "no NaN"}
        self.done: set[Step | Guard] = set()
        self.waiting: dict[Var, Step] = {}

    def allows(self, name: str) -> bool:
        """Whether an operation may be part of a group."""
        return not self.exact or name in exact_ops

    def joined(self, group: Open) -> Steps | None:
        """The steps that do what a group does; None if it is not worth it."""
        return group.closed(self.readers)

    def run(self) -> Iterator[Step | Guard]:
        """The steps instead of the program's."""
        for step in self.program.steps:
            if step in self.done:
                continue
            yield from self._wanted(read(step))
            if self._may_wait(step):
                assert isinstance(step, Step)
                self.waiting[step.results] = step
            elif step not in self.done:  # by now
                yield from self._next(step)
        yield from self._wanted(tuple(self.waiting))
        while self.open:
            yield from self._close(self.open[0])

    def _next(self, step: Step | Guard) -> Iterator[Step | Guard]:
        """Let a step join a group, or come between groups."""
        near = [self.of[var] for var in read(step) if var in self.of]
        group = self._home(step, near) if isinstance(step, Step) and not step.writes else None
        if isinstance(step, Step) and step.writes:
            if any(root.outside for root in step.writes):  # what was put off may read that memory, or fail
                yield from self._wanted(tuple(self.waiting))
            near = list(self.open)
        for other in dict.fromkeys(near):
            if other is not group:
                yield from self._close(other)
        if group is None:
            yield step
        else:
            assert isinstance(step, Step)
            self._take(group, step)

    def _may_wait(self, step: Step | Guard) -> bool:
        """Whether a step needs what a group gives at its end only, and can be put off until its result is needed."""
        if not isinstance(step, Step) or step.writes or type(step.results) is not Var:
            return False
        found = read(step)
        ends = [x for x in found if x in self.of and self.of[x].values[x][0][0] == "reduced"]
        if not any(x in self.waiting for x in found) and not any(_is_less(step.results, self.of[x]) for x in ends):
            return False
        return not any(x.root.written for x in (step.results, *found))

    def _wanted(self, found: Iterable[Var]) -> Iterator[Step | Guard]:
        """Do what was put off, if it is needed now."""
        needed: set[Var] = set()
        stack = [x for x in found if x in self.waiting]
        while stack:
            needed.add(x := stack.pop())
            stack += [y for y in read(self.waiting[x]) if y in self.waiting and y not in needed]
        for x in [x for x in self.waiting if x in needed] if needed else ():
            step = self.waiting.pop(x)
            if step not in self.done:
                yield from self._next(step)

    def _take(self, group: Open, step: Step) -> None:
        group.members.append(step)
        self.of[step.results] = group
        guard = self.questions.get(step.results)
        number, kind = group.values[step.results]
        if guard is not None and not guard.branches and kind in ("full", "column") and number[0] == "op":
            group.asked.append(guard)
            self.done.add(guard)

    def _close(self, group: Open) -> Iterator[Step | Guard]:
        for x in group.results:  # which grows meanwhile
            for step in self.readers.get(x, ()):
                if self._is_late_sum(group, step) and self._joins(group, step):
                    self._take(group, step)
                    self.done.add(step)
        self.open.remove(group)
        for var in group.results:
            del self.of[var]
        steps = self.joined(group)
        if steps is None:
            yield from group.members
            yield from group.asked
        else:
            yield from steps

    def _is_late_sum(self, group: Open, step: Any) -> bool:
        """Whether a step would cost nothing if it were done now, and later a pass over memory."""
        if not isinstance(step, Step) or step in self.done or type(step.results) is not Var:
            return False
        if step.results in group.values:
            return False
        if reduction_of(step) is None:
            readers = self.readers.get(step.results, [None])
            if not all(isinstance(reader, Step) and reduction_of(reader) is not None for reader in readers):
                return False
        return not step.results.root.written and all(x in group.values for x in read(step))

    def _home(self, step: Step, near: Sequence[Open]) -> Open | None:
        """The group that a step joins, first of all one that it reads; a new one if it may begin one; or None."""
        y = step.results
        if type(y) is not Var or y.python or y.dtype not in CODES or not y.contiguous or y.root.written or not y.size:
            return None
        for group in dict.fromkeys([*near[::-1], *self.open[::-1]]):
            if self._joins(group, step):
                return group
        new = Open(y.shape if reduction_of(step) is None else step.args[0].shape)
        if prod(new.shape) < self.least or not self._joins(new, step):
            return None
        self.open.append(new)
        return new

    def _joins(self, group: Open, step: Step) -> bool:
        if len(group.inputs) > MANY:
            return False
        before = group.snapshot()
        found = self._try(group, step)
        if not found:
            group.restore(before)
        return found

    def _try(self, group: Open, step: Step) -> bool:
        if step.function == Method("reshape"):
            return self._alias(group, step)
        if type(step.function) is Together:
            return self._together(group, step)
        if (reduction := reduction_of(step)) is not None:
            return self._reduce(group, step, *reduction)
        return self._elementwise(group, step)

    def _elementwise(self, group: Open, step: Step) -> bool:
        y, operation = step.results, operation_of(step)
        if operation is None or y.root is not y:
            return False
        name, args = operation
        if not self.allows(name) or any(isinstance(x, list | tuple) for x in args):
            return False
        column = y.shape != group.shape
        if column and not (group.is_column(y.shape) and any(x in group.values for x in operands(args))):
            return False
        dtype = operand_dtype(step, name)
        numbers = None if dtype is None else self._operands(group, name, args, dtype, column)
        if numbers is None:
            return False
        kinds = {group.values[x][1] for x in args if type(x) is Var and x in group.values}
        kind: Kind = "scalar"
        if "full" in kinds or {"row", "column"} <= kinds:
            kind = "full"
        elif kinds & {"row", "column"}:
            kind = "column" if "column" in kinds else "row"
        if not column and kind != "full" and not (kind == "scalar" and prod(group.shape) == 1):
            return False  # a row that is a box of its own is full
        if column and kind != "column":
            return False  # one number, stretched
        group.values[y] = group.add(name, tuple(numbers), CODES[y.dtype]), kind
        group.results.append(y)
        return True

    def _operands(self, group: Open, name: str, args: Sequence[Any], dtype: Any, column: bool) -> list[Any] | None:
        """The numbers of an operation's operands in the group; None if it cannot be done there."""
        if name == "astype":
            number = group.operand(args[0], None, column)
            known = number is not None and supported("astype", (CODES[args[0].dtype], CODES[dtype]))
            return [number] if known else None
        dtypes = [np.dtype(bool) if name == "where" and i == 0 else dtype for i in range(len(args))]
        numbers = [group.operand(x, each, column) for x, each in zip(args, dtypes, strict=True)]
        if any(number is None for number in numbers) or all(type(number) is float for number in numbers):
            return None
        if name == "where" and type(numbers[0]) is float:
            return None
        return numbers if is_supported(name, tuple(args), CODES[dtype]) else None

    def _alias(self, group: Open, step: Step) -> bool:
        """A reshape of a column of the group between (m,) and (m, 1)."""
        x, y = step.args[0], step.results
        if x not in group.values or group.values[x][0][0] != "op" or group.values[x][1] != "column":
            return False
        if not group.is_column(y.shape):
            return False
        group.values[y] = group.values[x]
        group.results.append(y)
        group.shown[y] = step
        return True

    def _together(self, group: Open, step: Step) -> bool:
        """Components that are written to their places in one array."""
        y, how = step.results, step.function
        if tuple(y.shape[i] for i in how.long) != group.shape or len(how.long) == len(y.shape):
            return False
        parts = [group.operand(x, y.dtype, column=False) for x in step.args]
        if any(part is None or type(part) is float for part in parts):
            return False
        steps = group.place_in(how.strides())
        if steps is None:
            return False
        group.apart[y] = [(part, (offset, *steps)) for part, offset in zip(parts, how.places(), strict=True)]
        group.values[y] = ("reduced", None), "full"  # nothing of it can be read here
        group.results.append(y)
        return True

    def _reduce(self, group: Open, step: Step, name: str, axes: tuple[int, ...]) -> bool:
        x, y = step.args[0], step.results
        number, kind = group.values.get(x, ((None, None), None))
        if name == "any":
            return kind in ("full", "column") and number[0] == "op" and self._reduced(group, y, name, number)
        if self.exact or prod(x.shape) < 2:
            return False
        if kind == "column" and len(axes) == len(x.shape) and x.dtype == y.dtype:
            return self._reduced(group, y, name, number)
        return x.shape == group.shape and self._reduce_box(group, x, y, name, axes)

    def _reduced(self, group: Open, y: Var, name: str, number: Any, kind: Kind = "scalar", every: int = 0) -> bool:
        """Note what a reduction leaves; only a column of it can be read inside of the group."""
        result = group.add(name, (number,), CODES[y.dtype], kind, every)
        group.values[y] = result if kind == "column" else ("reduced", result[1]), kind
        group.results.append(y)
        return True

    def _reduce_box(self, group: Open, x: Var, y: Var, name: str, axes: tuple[int, ...]) -> bool:
        """A reduction of a full value: to a number, to a column, or to a row, perhaps one for so many rows each."""
        rank, every = len(x.shape), 0
        kind: Kind = "scalar"
        if len(axes) < rank:
            if axes != tuple(range(axes[0], axes[-1] + 1)):
                return False
            kind = "column" if axes[-1] == rank - 1 else "row"
            split = axes[0] if kind == "column" else axes[-1] + 1
            if group.split not in (None, split):
                return False
            if kind == "row" and axes[0]:
                every = prod(x.shape[axes[0] : split])
        if every and group.every not in (0, every):
            return False
        counted = y.dtype != x.dtype
        if counted and kind != "column":
            return False
        if kind != "scalar":
            group.split = split
        number = group.operand(x, y.dtype if counted else None, column=False)
        if number is None or group.values[x][1] != "full":
            return False
        group.every = every or group.every
        return self._reduced(group, y, name, number, kind, every)


def _is_less(x: Var, group: Open) -> bool:
    return x.size < prod(group.shape)
