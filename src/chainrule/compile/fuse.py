"""Fusing: elementwise steps, and the reductions that feed on them, become one kernel each.

A group is a box of m rows and n columns (see `kernels/group.py`).  Steps join an open group as they come; a group is
closed, and runs, when somebody else asks for one of its values.  Whether there is a NaN in one of them a group finds
out itself: so such a question forces no value into memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..rules.registry import rules
from .kernels import Group, Input, Op, Output, exact_ops, supported
from .kernels.group import Kind
from .layouts import SHOWING, Together, layout_of
from .program import UFUNCS, Program, Steps, is_fixed, is_reduction, is_uniform, read
from .trace import Guard, Method, Step, Var, operands

__all__ = ["COMPARING", "LOGICAL", "Fused", "Grouping", "Open", "axes_of", "fused", "name_of", "reduction_of"]

Shape = tuple[int, ...]
CODES = {np.dtype("f4"): "f4", np.dtype("f8"): "f8", np.dtype(bool): "bool", np.dtype("i4"): "i4", np.dtype("i8"): "i8"}
OF_RULES = ("sigmoid", "erf", "erfc", "exp_minus_square", "exp_minus_half_square")
ANY = {Method("any"), np.any}
WHOLE = {"add", "subtract", "multiply", "maximum", "minimum"}  # that kernels do with integers, too
REDUCING = {np.add: "sum", np.maximum: "max", np.minimum: "min"}
COMPARING = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "isnan", "isfinite", "isinf"}
LOGICAL = {"logical_and", "logical_or", "logical_not", "logical_xor"}
OF_TRUTHS = {
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "invert": "logical_not",
}
MANY = 100  # values that a group takes and leaves, at most: kernels have no more pointers than 256
FEW = 64  # columns that no loop goes over, if there are more rows
SMALL = 2  # a group of fewer steps is not worth a kernel
QUICK = 3  # nor are so many operators between numbers


class Fused(Step):
    """Several steps as one call of a kernel.

    Attributes
    ----------
    group : what the kernel computes
    rows, columns : the lengths of the box
    members : the steps
    args, results : the inputs and outputs, in the order of the group's
    """

    __slots__ = ("columns", "group", "members", "rows")

    def __init__(self, members: list[Step], group: Group, box: tuple[int, int], args: Any, results: Any) -> None:
        super().__init__(None, tuple(args), {}, True, members[-1].line)
        self.members, self.group, self.results = members, group, tuple(results)
        self.rows, self.columns = box

    def described(self, name: Callable[[Var], str]) -> Iterator[str]:
        """What the kernel computes, line by line."""
        first = len(self.args)
        texts = [name(x) for x in self.args]
        for number, op in enumerate(self.group.ops, first):
            texts.append(f"t{number - first}")
            args = ", ".join(texts[arg] if isinstance(arg, int) else repr(arg) for arg in op.args)
            along = {"row": ", axis=0", "column": ", axis=1"}.get(op.kind or "", "")
            yield f"    {texts[number]} = {op.name}({args}{along})"


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


class Open:
    """A group that further steps may join."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.split: int | None = None  # the first so many axes are the rows; None: not said yet
        self.every = 0  # of how many rows sums are taken together, where it is not all
        self.members: list[Step] = []
        self.inputs: list[tuple[Var, Input]] = []
        self.ops: list[tuple[Any, ...]] = []  # operands: ("input", i), ("op", i), or a number
        self.values: dict[Var, tuple[Any, Kind]] = {}  # of inputs and results: operand and kind
        self.results: list[Var] = []
        self.shown: dict[Var, Step] = {}  # results that are others in another shape
        self.asked: list[Guard] = []  # questions about values of the group
        self.apart: dict[Var, list[tuple[Any, tuple[int, int, int]]]] = {}  # of results: their components, and where

    def snapshot(self) -> tuple[Any, ...]:
        return self.split, len(self.inputs), len(self.ops), len(self.values), len(self.results)

    def restore(self, before: tuple[Any, ...]) -> None:
        self.split, inputs, ops, values, results = before
        while len(self.values) > values:  # the newest come out first
            self.values.popitem()
        del self.inputs[inputs:], self.ops[ops:], self.results[results:]

    # -- kinds -----------------------------------------------------------------------------------------------------
    def place_of(self, x: Var) -> tuple[Var, Input] | None:
        """In which array it lies, and what it is to the box; fixes the split where it was open."""
        dtype = CODES[x.dtype]
        laid = layout_of(x)
        if x.size == 1 and (laid is None or laid[0] is x):
            return x, Input(dtype, "scalar")
        if laid is None:
            return None
        base, offset, strides = laid
        if x.size == 1:
            return base, Input(dtype, "scalar", (1, 1, 0), 1, offset)
        if x.shape == self.shape and strides == _strides(x.shape) and not offset:
            return base, Input(dtype, "full")
        rank, missing = len(self.shape), len(self.shape) - len(x.shape)
        if missing < 0:
            return None
        shape, strides = (1,) * missing + x.shape, (0,) * missing + strides
        for split in (*range(1, rank), 0) if self.split is None else (self.split,):
            head, tail = self.shape[:split], self.shape[split:]
            wide = shape[split:] == tail
            if not wide and prod(shape[split:]) != 1:
                continue
            step = _step(tail, strides[split:]) if wide else 1
            if step is None:
                continue
            if prod(shape[:split]) == 1 and wide and split:
                self.split = split
                return base, Input(dtype, "row", None, step, offset)
            rows = _rows(head, shape[:split], strides[:split])
            if rows is not None:
                self.split = split
                whole = shape[:split] == head and rows[2] == (prod(tail) if wide else 1) and step == 1 and not offset
                return base, Input(dtype, "full" if wide else "column", None if whole else rows, step, offset)
        return None

    def place_in(self, strides: Shape) -> tuple[int, int] | None:
        """The steps from row to row and from column to column of what a full value is written to."""
        for split in (*range(1, len(self.shape)), 0) if self.split is None else (self.split,):
            pitch, step = (_step(self.shape[part], strides[part]) for part in (slice(split), slice(split, None)))
            if pitch is not None and step is not None:
                self.split = split
                return pitch, step
        return None

    def is_column(self, shape: Shape) -> bool:
        """Whether a result of this shape has one element for each row."""
        if self.split is None:
            return False
        head = self.shape[: self.split]
        return shape in (head, head + (1,) * (len(self.shape) - self.split)) and prod(shape) != 1

    def stretches(self, shape: Shape) -> bool:
        """Whether NumPy would stretch an array of one element for each row along the columns: (m, 1), but not (m,)."""
        rank = len(self.shape)
        return self.split is not None and len(shape) == rank and prod(shape[self.split :]) == 1

    # -- building ----------------------------------------------------------------------------------------------------
    def operand(self, x: Any, dtype: Any, column: bool) -> Any:
        """The number of an operand, converted; None if it cannot be one."""
        if type(x) is Var and dtype is not None and _is_number(x.source):
            x = x.source.item(0) if isinstance(x.source, np.ndarray) else x.source.item()
        if type(x) is not Var:
            return float(x) if isinstance(x, bool | int | float | np.bool | np.integer | np.floating) else None
        if x not in self.values:
            if x.dtype not in CODES or x.root.written:
                return None
            place = self.place_of(x)
            if column and place is None and self.is_column(x.shape) and x.contiguous:
                place = x, Input(CODES[x.dtype], "column")
            kind = None if place is None else place[1].kind
            if place is None or (column and kind == "full") or (kind == "scalar" and x.dtype.kind != "f"):
                return None
            self.values[x] = ("input", len(self.inputs)), place[1].kind
            self.inputs.append(place)
        number, kind = self.values[x]
        if column and kind not in ("column", "scalar"):
            return None
        if not column and kind == "column" and not self.stretches(x.shape):
            return None
        if number[0] == "reduced":
            return None
        if dtype is not None and x.dtype != dtype:
            if not supported("astype", (CODES[x.dtype], CODES[dtype])):
                return None
            number = self.add("astype", (number,), CODES[dtype])
        return number

    def add(self, name: str, args: tuple[Any, ...], dtype: str, kind: Kind | None = None, every: int = 0) -> Any:
        self.ops.append((name, args, dtype, kind, every))
        return "op", len(self.ops) - 1

    def left(self, readers: dict[Var, list[Any]]) -> tuple[list[Var], Steps]:
        """What others read of the group, and the steps that show it in other shapes."""
        mine: set[Any] = {*self.members, *self.asked}
        results = [var for var in self.results if any(reader not in mine for reader in readers.get(var, ()))]
        for var in results:  # which grows meanwhile: what is written is the memory that others show
            if var in self.shown and self.shown[var].args[0] not in results:
                results.append(self.shown[var].args[0])
        shown: Steps = [step for var, step in self.shown.items() if var in results]
        return [var for var in results if var not in self.shown], shown

    def is_quick(self) -> bool:
        """Whether Python does these few operations on numbers in less time than it calls a kernel."""
        steps = [step for step in self.members if step.function in UFUNCS]
        return (
            prod(self.shape) == 1 and len(steps) == len(self.members) <= QUICK and all(x.scalar for x in self.results)
        )

    def closed(self, readers: dict[Var, list[Any]]) -> Steps | None:
        """The group as one step, and the question whether it found a NaN; None if it is too small."""
        if len([op for op in self.ops if op[0] != "astype"]) < SMALL or self.is_quick():
            return None
        results, found = self.left(readers)
        first = len(self.inputs)
        if first + 2 * len(results) > 2 * MANY:
            return None
        if self.asked:
            isnan = [self.add("isnan", (self.values[guard.var][0],), "bool") for guard in self.asked]
            flag = Var.made((), np.dtype(bool), None, scalar=True)
            self.values[flag] = self.add("any", tuple(isnan), "bool", "scalar"), "scalar"
            results.append(flag)
            found.append(Guard.of_all(self.asked, flag))

        def number(arg: Any) -> Any:
            return arg if type(arg) is float else arg[1] + (0 if arg[0] == "input" else first)

        ops = tuple(Op(name, tuple(map(number, args)), *rest) for name, args, *rest in self.ops)
        outputs: list[Output] = []
        written: list[Var] = []
        for var in results:
            found_at = self.apart.get(var)
            if found_at is None:
                outputs.append(Output(number(self.values[var][0]), self.values[var][1]))
            else:
                outputs += [Output(number(part), "full", place) for part, place in found_at]
            written += [var] * (len(outputs) - len(written))
        if first + 2 * len(outputs) > 2 * MANY:
            return None
        split = self.split or 0
        box = prod(self.shape[:split]), prod(self.shape[split:])
        columns = box[1] if 1 < box[1] <= FEW and box[0] >= FEW else 0
        group = Group(tuple(given for _, given in self.inputs), ops, tuple(outputs), columns)
        return [Fused(self.members, group, box, [var for var, _ in self.inputs], written), *found]


class Grouping:
    """Takes the steps of a program in order, and gives groups of them."""

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
        self.done: set[Step | Guard] = set()  # by groups, before it was their turn
        self.waiting: dict[Var, Step] = {}  # what is put off so that groups need not close

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
        if isinstance(step, Step) and not step.writes:
            group = self._home(step)
            if group is not None:
                for var in read(step):
                    if var in self.of and self.of[var] is not group:
                        yield from self._close(self.of[var])
                self._take(group, step)
                return
        if isinstance(step, Step) and step.writes:
            while self.open:
                yield from self._close(self.open[0])
        for var in read(step):
            if var in self.of:
                yield from self._close(self.of[var])
        yield step

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

    def _home(self, step: Step) -> Open | None:
        """The group that a step joins; a new one if it may begin one; None if it is no matter for a kernel."""
        y = step.results
        if type(y) is not Var or y.python or y.dtype not in CODES or not y.contiguous or y.root.written or not y.size:
            return None
        near = [self.of[var] for var in read(step) if var in self.of]
        for group in dict.fromkeys([*near[::-1], *self.open[::-1]]):
            if self._joins(group, step):
                return group
        shape = y.shape
        if reduction_of(step) is not None:
            shape = step.args[0].shape
        if prod(shape) < self.least:
            return None
        new = Open(shape)
        if self._joins(new, step):
            self.open.append(new)
            return new
        return None

    def _joins(self, group: Open, step: Step) -> bool:
        if len(group.inputs) > MANY:
            return False
        before = group.snapshot()
        found = self._try(group, step)
        if not found:
            group.restore(before)
        return found

    def _try(self, group: Open, step: Step) -> bool:
        y: Var = step.results
        if step.function == Method("reshape"):
            return self._alias(group, step)
        if type(step.function) is Together:
            return self._together(group, step)
        if reduction_of(step) is not None:
            return self._reduce(group, step)
        name = name_of(step)
        if name is None or not self.allows(name):
            return False
        column = y.shape != group.shape
        if column and not (group.is_column(y.shape) and any(v in group.values for v in operands(step.args))):
            return False
        args = step.args
        if y.root is not y or any(isinstance(x, list | tuple) for x in args):
            return False
        dtype: Any = y.dtype
        if name in COMPARING:
            dtype = np.result_type(*(_weak(x) if type(x) is not Var or x.python else x.dtype for x in args))
        elif name in LOGICAL:
            dtype = np.dtype(bool)
        elif y.dtype.kind != "f" and name not in (WHOLE if y.dtype.kind == "i" else ("where", "astype")):
            return False
        if dtype not in CODES or (dtype.kind == "i" and (name in COMPARING or not all(map(_is_small, args)))):
            return False
        if name == "astype":
            numbers = [group.operand(args[0], None, column)]
            if numbers[0] is None or not supported("astype", (CODES[args[0].dtype], CODES[dtype])):
                return False
        else:
            numbers = [
                group.operand(x, np.dtype(bool) if name == "where" and i == 0 else dtype, column)
                for i, x in enumerate(args)
            ]
            if any(number is None for number in numbers) or all(type(number) is float for number in numbers):
                return False
            if name == "where" and type(numbers[0]) is float:
                return False
            if not _is_supported(name, args, CODES[dtype]):
                return False
        kinds = [group.values[x][1] for x in args if type(x) is Var and x in group.values]
        full = "full" in kinds or {"row", "column"} <= set(kinds)
        kind: Kind = "full" if full else "column" if "column" in kinds else "row" if "row" in kinds else "scalar"
        if not column and kind != "full" and not (kind == "scalar" and prod(group.shape) == 1):
            return False  # a row that is a box of its own is full
        group.values[y] = group.add(name, tuple(numbers), CODES[y.dtype]), kind
        group.results.append(y)
        return True

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

    def _reduce(self, group: Open, step: Step) -> bool:
        reduction = reduction_of(step)
        assert reduction is not None
        name, axes = reduction
        x, y = step.args[0], step.results
        rank = len(x.shape)
        if name == "any":
            if x not in group.values:
                return False
            number, kind = group.values[x]
            if kind not in ("full", "column") or number[0] != "op":
                return False
            group.values[y] = ("reduced", group.add("any", (number,), "bool", "scalar")[1]), "scalar"
            group.results.append(y)
            return True
        if self.exact or prod(x.shape) < 2:
            return False
        if x in group.values and group.values[x][1] == "column" and len(axes) == rank and x.dtype == y.dtype:
            group.values[y] = ("reduced", group.add(name, (group.values[x][0],), CODES[y.dtype], "scalar")[1]), "scalar"
            group.results.append(y)
            return True
        if x.shape != group.shape:
            return False
        if len(axes) == rank:
            kind = "scalar"
        elif axes == tuple(range(rank - len(axes), rank)):
            kind, split = "column", rank - len(axes)
        elif axes == tuple(range(axes[0], axes[-1] + 1)):
            kind, split = "row", axes[-1] + 1
        else:
            return False
        every = prod(x.shape[axes[0] : axes[-1] + 1]) if kind == "row" and axes[0] else 0
        if every and group.every not in (0, every):
            return False
        counted = y.dtype != x.dtype
        if counted and kind != "column":
            return False
        if kind != "scalar":
            if group.split not in (None, split):
                return False
            group.split = split
        number = group.operand(x, y.dtype if counted else None, column=False)
        if number is None or group.values[x][1] != "full":
            return False
        result = group.add(name, (number,), CODES[y.dtype], kind, every)
        group.every = every or group.every
        if kind != "column":
            result = "reduced", result[1]
        group.values[y] = result, kind
        group.results.append(y)
        return True


def reduction_of(step: Step) -> tuple[str, tuple[int, ...]] | None:
    """Which reduction a step is, and over which axes."""
    if step.function in ANY and len(step.args) == 1 and not step.options:
        x = step.args[0]
        return ("any", tuple(range(len(x.shape)))) if type(x) is Var and x.dtype == np.bool else None
    ufunc = step.function.__self__ if is_reduction(step) else None
    if ufunc not in REDUCING or len(step.args) != 1:
        return None
    x = step.args[0]
    if type(x) is not Var or x.dtype not in CODES or set(step.options) - {"axis", "keepdims"}:
        return None
    counts = ufunc is np.add and x.dtype == np.bool and step.results.dtype == np.int64
    if x.dtype.kind != "f" and not counts:
        return None
    axes = axes_of(step)
    return (REDUCING[ufunc], axes) if axes else None


def _is_less(x: Var, group: Open) -> bool:
    return x.size < prod(group.shape)


def axes_of(step: Step) -> tuple[int, ...]:
    """The axes of a reduction."""
    rank, axis = len(step.args[0].shape), step.options.get("axis", 0)
    if axis is None or not rank:  # of a number, NumPy takes an axis 0, too
        return tuple(range(rank))
    return tuple(sorted(normalize_axis_tuple(axis, rank)))


def _strides(shape: Shape) -> Shape:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def _step(shape: Shape, strides: Shape) -> int | None:
    """How far apart the elements of these axes lie, if they are gone through in C order with one step; else None."""
    own = [i for i, n in enumerate(shape) if n > 1]
    if not own:
        return 1
    step, inner = strides[own[-1]], _strides(shape)
    return step if step and all(strides[i] == step * inner[i] for i in own) else None


def _rows(head: Shape, shape: Shape, strides: Shape) -> tuple[int, int, int] | None:
    """How to find an array's part of a row: (divide, modulo, pitch) of `Input`; None if it is not that regular."""
    own = [i for i, n in enumerate(shape) if n > 1]
    if not own:
        return 1, 1, 0
    first, last = own[0], own[-1]
    if shape[first : last + 1] != head[first : last + 1]:
        return None
    pitch = _step(shape[first : last + 1], strides[first : last + 1])
    if pitch is None:
        return None
    return prod(head[last + 1 :]), prod(head[first : last + 1]), pitch


def _weak(x: Any) -> Any:
    """A Python number of the kind that an operand is, for asking which precision it takes."""
    return x.dtype.type(0).item() if type(x) is Var else x


def _is_number(source: Any) -> bool:
    """Whether a captured value is one number, perhaps many times, that nobody can change."""
    if isinstance(source, np.ndarray):
        return is_fixed(source) and is_uniform(source)
    return isinstance(source, np.generic)


def _is_small(x: Any) -> bool:
    """Whether a value is an array, or an integer that a float can hold."""
    return type(x) is Var or (type(x) is int and abs(x) < 1 << 31)


def _is_supported(name: str, args: tuple[Any, ...], dtype: str) -> bool:
    if name == "where":
        return supported(name, ("bool", dtype, dtype))
    if name == "power":
        return type(args[1]) is not Var and type(args[0]) is Var and supported(name, (dtype,), float(args[1]))
    return supported(name, (dtype,) * sum(type(x) is Var for x in args))


def name_of(step: Step) -> str | None:
    """The kernel's name of an elementwise step; None if it has none."""
    if step.function is np.where:
        return "where" if len(step.args) == 3 and not step.options else None
    for name in OF_RULES:  # some come with SciPy's functions only
        if name in rules and step.function is rules[name].value and len(step.args) == 1:
            return name
    if step.function is operator.pow:
        return "power"
    if step.function == Method("astype") and len(step.args) == 2 and not step.options:
        return "astype"
    function = UFUNCS.get(step.function, step.function)
    if isinstance(function, np.ufunc) and function.signature is None and not step.options:
        name = str(function.__name__)
        truths = step.results.dtype == np.bool and all(type(x) is Var for x in step.args)
        return OF_TRUTHS.get(name, name) if truths else name
    return None
