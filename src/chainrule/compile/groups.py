"""A group of steps while it grows: which values it has, and what each of them is to its box of rows and columns.

A group is a box of m rows and n columns (see `kernels/group.py`).  Where the axes of an array are divided into rows and
columns is left open until the first value asks for it: a bias, a sum over some axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from .calls import UFUNCS
from .kernels import CODES, Group, Input, Op, Output, supported
from .kernels.group import Kind
from .layouts import c_strides, layout_of
from .program import Steps, is_fixed, is_uniform
from .steps import Guard, Step, Var

__all__ = ["MANY", "Fused", "Open"]

Shape = tuple[int, ...]
MANY = 100  # values that a group takes and leaves, at most: kernels have no more pointers than 256
FEW = 64  # columns that no loop goes over, if there are more rows
SMALL = 2  # a group of fewer steps is not worth a kernel
QUICK = 3  # nor are so many operators between numbers, nor one more than it leaves: to read a result takes as long


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


class Open:
    """A group that further steps may join.

    Attributes
    ----------
    shape, split : of the box: so many of its first axes are the rows; None: not said yet
    every : of how many rows sums are taken together, where it is not all
    members, results : the steps, and what they give
    inputs : what is read, and what that is to the box
    ops : name, operands, dtype, kind and rows of each operation; an operand is ("input", i), ("op", i), or a number
    values : of inputs and results: the operand that it is, or ("reduced", i) if nothing in the group can read it; kind
    shown : results that are others in another shape
    asked : questions about values of the group
    apart : of results that are made of components: these, and where each goes
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.split: int | None = None
        self.every = 0
        self.members: list[Step] = []
        self.inputs: list[tuple[Var, Input]] = []
        self.ops: list[tuple[Any, ...]] = []
        self.values: dict[Var, tuple[Any, Kind]] = {}
        self.results: list[Var] = []
        self.shown: dict[Var, Step] = {}
        self.asked: list[Guard] = []
        self.apart: dict[Var, list[tuple[Any, tuple[int, int, int]]]] = {}

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
        if x.shape == self.shape and strides == c_strides(x.shape) and not offset:
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

    def is_quick(self, results: int) -> bool:
        """Whether to do these few operations on numbers in Python, which takes less time than to call a kernel."""
        few = len(self.members) <= max(QUICK, results + 1)
        return (
            few
            and prod(self.shape) == 1
            and all(step.function in UFUNCS for step in self.members)
            and all(x.scalar for x in self.results)
        )

    def closed(self, readers: dict[Var, list[Any]]) -> Steps | None:
        """The group as one step, and the question whether it found a NaN; None if it is too small."""
        if len([op for op in self.ops if op[0] != "astype"]) < SMALL:
            return None
        results, found = self.left(readers)
        if self.is_quick(len(results) + bool(self.asked)):
            return None
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


# -- steps in memory ----------------------------------------------------------------------------------------------
def _step(shape: Shape, strides: Shape) -> int | None:
    """How far apart the elements of these axes lie, if they are gone through in C order with one step; else None."""
    own = [i for i, n in enumerate(shape) if n > 1]
    if not own:
        return 1
    step, inner = strides[own[-1]], c_strides(shape)
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


def _is_number(source: Any) -> bool:
    """Whether a captured value is one number, perhaps many times, that nobody can change."""
    if isinstance(source, np.ndarray):
        return is_fixed(source) and is_uniform(source)
    return isinstance(source, np.generic)
