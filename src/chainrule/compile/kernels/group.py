"""What a kernel is to compute: a group of operations over a box of m rows and n columns, as plain data.

A group says nothing of sizes: they are arguments of the compiled kernel.  Its values are numbered, inputs first, then
operations in order; an operation refers to operands by number, and a float among its operands is a constant in the
dtype of the other operands.  Every value has a kind:

======== =============================== ==================================================
kind     as an input or output           where it comes from inside a group
======== =============================== ==================================================
full     a C-contiguous array (m, n)     elementwise operations
row      n elements, the same per row    elementwise operations of rows; a reduction over axis 0
column   m elements, one per row         elementwise operations of columns; a reduction over axis 1
scalar   one element, or a number        elementwise operations of scalars; a reduction over both
======== =============================== ==================================================

A reduction is of a full value, or of a column's m elements to a scalar; one over axis 0 may be of parts of so many rows
each, and leaves a row for each part.  A column that one gives may be an operand of
further operations (softmax is one group: max, subtract, exp, sum, divide); rows and scalars that reductions give are
results only.  "any" tells whether any element of its operands, full truth values and columns, is true: a question about
values that need no memory for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .functions import DIVIDING, exact_ops

__all__ = [
    "CODES",
    "REDUCTIONS",
    "SIZES",
    "Group",
    "Input",
    "Kind",
    "Op",
    "Output",
    "Plan",
    "every",
    "operands",
    "plan",
    "row_reductions",
    "scalar_reductions",
    "weight",
]

Kind = Literal["full", "row", "column", "scalar"]

REDUCTIONS = ("sum", "max", "min", "any")
_KINDS: tuple[Kind, ...] = ("full", "row", "column", "scalar")
CODES = {np.dtype(code): code for code in ("f4", "f8", "i4", "i8")} | {np.dtype(bool): "bool"}
SIZES = {"f4": 4, "f8": 8, "i4": 4, "i8": 8, "bool": 1}
_COSTLY = 6  # simple operations; a value that costs more is kept in memory rather than computed in two passes
_SIMPLE = exact_ops - DIVIDING


@dataclass(frozen=True, slots=True)
class Input:
    """An array or number that a group reads.

    Parameters
    ----------
    dtype : {"f4", "f8", "i4", "i8", "bool"}
    kind : {"full", "row", "column", "scalar"}
    rows : (divide, modulo, pitch), optional
        Of a full or column input that is not contiguous, or that has fewer rows than the box: its part of row r begins
        ``(r // divide) % modulo * pitch`` elements behind its first one.  A scalar with rows is an element of an array.
    step, offset : int
        How many elements lie from one column to the next, and before the first one: components of points, say.  With
        another step than 1 a full input has rows.
    """

    dtype: str
    kind: Kind
    rows: tuple[int, int, int] | None = None
    step: int = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Op:
    """One operation.

    Parameters
    ----------
    name : str
        Of the NumPy function; further "sigmoid", "erf", "erfc", "ndtr", "exp_minus_square", "exp_minus_half_square",
        "astype"; of reductions "sum", "max", "min", "any".
    args : tuple of int or float
        An int is the number of a value, a float is a constant.
    dtype : str
        Of the result.  Operands of arithmetic have this dtype too; operands of comparisons have one dtype among them.
    kind : {None, "column", "row", "scalar"}
        Of a reduction: what it leaves.  None for the elementwise operations.
    every : int
        Of a reduction to a row: it leaves one for so many rows, one after the other.  0: one for all.
    """

    name: str
    args: tuple[int | float, ...]
    dtype: str
    kind: Kind | None = None
    every: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """A value that the kernel writes.

    Parameters
    ----------
    value : int
        Its number.
    kind : {"full", "row", "column", "scalar"}
        The value's own, or one that it broadcasts to: any value can be written as "full".
    place : (offset, pitch, step), optional
        Of a full output that is not contiguous: it begins so many elements behind the array's first one, with so many
        from one row to the next, and from one column to the next.
    """

    value: int
    kind: Kind
    place: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """What one kernel computes; see the top of this module.

    Parameters
    ----------
    inputs, ops, outputs : tuples
    columns : int
        How many columns there are, if that is known and few: then no loop goes over them.  0: any number.
    """

    inputs: tuple[Input, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Output, ...]
    columns: int = 0

    def at_start(self) -> Group:
        """The same of arrays that begin where they are read and written: machine code knows no offsets."""
        inputs = tuple(replace(given, offset=0) if given.offset else given for given in self.inputs)
        outputs = tuple(replace(out, place=(0, *out.place[1:])) if out.place else out for out in self.outputs)
        return replace(self, inputs=inputs, outputs=outputs)

    def offsets(self) -> list[int]:
        """How many bytes of each argument are left out."""
        found = [given.offset * SIZES[given.dtype] for given in self.inputs]
        return found + [out.place[0] * SIZES[self.dtype(out.value)] if out.place else 0 for out in self.outputs]

    def op(self, value: int) -> Op:
        """The operation that gives a value."""
        return self.ops[value - len(self.inputs)]

    def dtype(self, value: int) -> str:
        """The dtype of a value."""
        inside = value - len(self.inputs)
        return self.inputs[value].dtype if inside < 0 else self.ops[inside].dtype


@dataclass(frozen=True, slots=True)
class Plan:
    """How a group is computed: a row at a time, in passes over its columns, as each reduction over a row needs one.

    Parameters
    ----------
    kinds : tuple
        Of every value.
    levels : tuple of int
        How many passes must be complete before a value can be computed.
    reduced : frozenset of int
        The values that reductions over axis 0, or over everything, give.
    reductions : tuple of tuple of (int, int)
        For each pass the reductions of full values that it makes, with their operands.
    stores : tuple of tuple of int
        For each pass the outputs, full ones and rows, that it writes.
    computed : tuple of tuple of int
        For each pass the values that it computes, in order, apart from columns and scalars.
    kept : tuple of int
        The values that a pass reads back because an earlier one has computed them, and they are costly.
    in_place : frozenset of (int, int)
        The pairs (output, input) that may be one memory: every element is read before it is written.
    """

    kinds: tuple[Kind, ...]
    levels: tuple[int, ...]
    reduced: frozenset[int]
    reductions: tuple[tuple[tuple[int, int], ...], ...]
    stores: tuple[tuple[int, ...], ...]
    computed: tuple[tuple[int, ...], ...]
    kept: tuple[int, ...]
    in_place: frozenset[tuple[int, int]]


def weight(op: Op) -> int:
    """About how many simple operations one is."""
    return 1 if op.name in _SIMPLE else 10


def operands(op: Op) -> list[int]:
    """The numbers of an operation's operands, which may be constants, too."""
    return [arg for arg in op.args if isinstance(arg, int)]


def row_reductions(group: Group) -> list[int]:
    """The values that are reductions over axis 0, over all of it."""
    return [n for n, op in enumerate(group.ops, len(group.inputs)) if op.kind == "row" and not op.every]


def every(group: Group) -> int:
    """Of how many rows a part consists that must not be divided."""
    return max((op.every for op in group.ops), default=0) or 1


def scalar_reductions(group: Group) -> list[int]:
    """The values that are reductions over everything."""
    return [n for n, op in enumerate(group.ops, len(group.inputs)) if op.kind == "scalar"]


def plan(group: Group) -> Plan:
    """Order a group's operations into passes.

    Raises
    ------
    ValueError
        If the description breaks the rules above; the message says which operation or output, and how.
    """
    first = len(group.inputs)
    for number, given in enumerate(group.inputs):
        _check_input(number, given)
    kinds: list[Kind] = [given.kind for given in group.inputs]
    levels = [0] * first
    costs = [1] * first
    reduced: set[int] = set()
    for number, op in enumerate(group.ops, first):
        args = operands(op)
        _check_op(number, op, reduced)
        level = max([levels[arg] for arg in args], default=0)
        if op.kind is None:
            kinds.append(_kind_of({kinds[arg] for arg in args}))
            levels.append(level)
            costs.append(sum(costs[arg] for arg in args) + weight(op))
            continue
        _check_reduction(group, number, op, kinds)
        kinds.append(op.kind)
        levels.append(level + (op.kind == "column"))
        costs.append(0)
        if op.kind != "column":
            reduced.add(number)
    for number, out in enumerate(group.outputs):
        _check_output(number, out, kinds, reduced)
    written = sorted(out.value for out in group.outputs if out.value in reduced)
    if written != sorted(reduced):
        raise ValueError(f"values {sorted(reduced)}, of reductions over axis 0 or everything, are outputs once each")
    return _passes(group, tuple(kinds), tuple(levels), costs, frozenset(reduced))


def _kind_of(among: set[Kind]) -> Kind:
    """What an elementwise operation gives of operands of these kinds."""
    wide, tall = bool(among & {"full", "row"}), bool(among & {"full", "column"})
    return ("full" if tall else "row") if wide else "column" if tall else "scalar"


def _check_input(number: int, given: Input) -> None:
    if given.kind not in _KINDS or given.dtype not in SIZES:
        raise ValueError(f"input {number}: unknown kind or dtype {given}")
    if given.rows is not None and (given.kind == "row" or min(given.rows[:2]) < 1):
        raise ValueError(f"input {number}: rows are not for rows, and are divided by at least 1: {given}")
    if (given.step != 1 or given.offset) and given.rows is None and given.kind != "row":
        raise ValueError(f"input {number}: what is not contiguous has rows: {given}")


def _check_op(number: int, op: Op, reduced: set[int]) -> None:
    args = operands(op)
    if any(not 0 <= arg < number for arg in args):
        raise ValueError(f"value {number}, {op.name}: operands must be earlier values, not {op.args}")
    if reduced & set(args):
        raise ValueError(f"value {number}, {op.name}: reductions over axis 0 or everything are results only")
    if op.dtype not in SIZES:
        raise ValueError(f"value {number}, {op.name}: unknown dtype {op.dtype!r}")
    if (op.name in REDUCTIONS) != (op.kind is not None) or op.kind == "full":
        raise ValueError(f"value {number}: reductions, and only they, have a kind, not full: {op}")


def _check_reduction(group: Group, number: int, op: Op, kinds: list[Kind]) -> None:
    args = operands(op)
    if op.every and (op.kind != "row" or op.every not in (1, every(group))):
        raise ValueError(f"value {number}, {op.name}: rows are reduced by parts of one length: {op}")
    if not args or len(args) < len(op.args) or any(group.dtype(arg) != op.dtype for arg in args):
        raise ValueError(f"value {number}, {op.name}: operands must be of the dtype of the result")
    if op.name == "any":
        good = op.dtype == "bool" and op.kind == "scalar"
    else:
        good = len(args) == 1 and (op.dtype[0] == "f" or (op.name, op.dtype, op.kind) == ("sum", "i8", "column"))
    if not good:
        raise ValueError(
            f"value {number}, {op.name}: one operand, f4 or f8 (i8 in a sum to a column); truth values in any, "
            "which is a scalar"
        )
    for arg in args:
        if kinds[arg] != "full" and (kinds[arg], op.kind) != ("column", "scalar"):
            raise ValueError(f"value {number}, {op.name}: cannot reduce a {kinds[arg]} to a {op.kind}")


def _check_output(number: int, out: Output, kinds: list[Kind], reduced: set[int]) -> None:
    kind = kinds[out.value] if 0 <= out.value < len(kinds) else None
    same = out.kind == kind or (out.kind == "full" and out.value not in reduced)
    if kind is None or out.kind not in _KINDS or not same or (out.place is not None and out.kind != "full"):
        raise ValueError(f"output {number}: {out} of a value of kind {kind}")


def _passes(
    group: Group, kinds: tuple[Kind, ...], levels: tuple[int, ...], costs: list[int], reduced: frozenset[int]
) -> Plan:
    """Say what each pass over the columns reduces, writes and computes."""
    first = len(group.inputs)
    count = max(levels, default=0) + 1
    reductions: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    stores: list[list[int]] = [[] for _ in range(count)]
    for number, op in enumerate(group.ops, first):
        for arg in operands(op) if op.kind is not None else ():
            if kinds[arg] == "full":
                reductions[levels[arg]].append((number, arg))
    for number, out in enumerate(group.outputs):
        if out.kind == "full" or (out.kind == "row" and out.value not in reduced):
            stores[levels[out.value]].append(number)
    while reductions and not reductions[-1] and not stores[-1]:
        del reductions[-1], stores[-1]
    done: set[int] = set()
    kept: set[int] = set()
    last_read: dict[int, int] = {}
    computed = []
    for number, (made, written) in enumerate(zip(reductions, stores, strict=True)):
        wanted: set[int] = set()
        stack = [arg for _, arg in made] + [group.outputs[n].value for n in written]
        while stack:
            value = stack.pop()
            if value < first:
                last_read[value] = number
            elif value in done and costs[value] > _COSTLY and kinds[value] in ("full", "row"):
                kept.add(value)
            elif kinds[value] in ("full", "row") and value not in wanted:
                wanted.add(value)
                stack += operands(group.op(value))
        done |= wanted
        computed.append(tuple(sorted(wanted)))
    return Plan(
        kinds,
        levels,
        reduced,
        tuple(map(tuple, reductions)),
        tuple(map(tuple, stores)),
        tuple(computed),
        tuple(sorted(kept)),
        _in_place(group, levels, last_read),
    )


def _in_place(group: Group, levels: tuple[int, ...], last_read: dict[int, int]) -> frozenset[tuple[int, int]]:
    """The outputs and inputs that may be one memory, from the pass in which each input is read last."""
    return frozenset(
        (o, i)
        for o, out in enumerate(group.outputs)
        for i, given in enumerate(group.inputs)
        if given.kind == out.kind == "full"
        and given.rows is out.place is None
        and given.dtype == group.dtype(out.value)
        and last_read.get(i, 0) <= levels[out.value]
    )
