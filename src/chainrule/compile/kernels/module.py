"""From a group to the text of an LLVM module: loops over rows and columns, loads and stores, and reductions.

The module has a function `box`, which does a part of the box of rows and columns (a chunk), and `finish`, which
combines what reductions have left in each chunk; what Python calls (`entry.py`) calls them.  How a box is divided into
chunks depends on its size only, so results do not depend on the number of threads.  Pointers are in a frame: first the
arguments, then where reductions over axis 0 go, where the sums go, and the rows that are kept between passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from . import functions, pieces
from .elements import GroupFunction
from .entry import CHUNKS, SLOTS
from .group import Group, Input, Op, Plan, operands, row_reductions, scalar_reductions, weight
from .sums import COMBINED, IDENTITY, Sum, Variable, across, rounded, two_sum
from .vector import Vector, where

__all__ = ["module"]

_BLOCK = 16  # vectors whose sum is not compensated
_STRIPS = 4  # vectors of a row that no loop goes over


class Box(GroupFunction):
    """The function that computes rows r0 to r1 and columns c0 to c1 of a group's box."""

    def text(self) -> str:
        """The whole function."""
        group, plan = self.group, self.plan
        strips = -(-group.columns // self.lanes)
        self.few = 0 < strips <= _STRIPS and strips * sum(map(weight, group.ops)) <= pieces.LARGEST
        self.starts: dict[int, str] = {}  # of inputs with rows of their own: where the present one begins
        self.sums: dict[int, Sum] = {}
        self.extremes: dict[int, Variable] = {}
        for number, op in enumerate(group.ops, self.first):
            if op.kind in ("column", "scalar"):
                if op.name == "sum" and op.dtype[0] == "f":
                    self.sums[number] = Sum(self, op.dtype)
                else:
                    self.extremes[number] = Variable(self, op.dtype, IDENTITY[op.name])
                if op.kind == "scalar":
                    (self.sums.get(number) or self.extremes[number]).clear()
        for number, given in enumerate(group.inputs):
            if given.kind == "scalar":
                place = self.value(f"getelementptr ptr, ptr %frame, i64 {number}")
                if given.rows is not None:
                    place = self.address(self.pointer(number), given.dtype, str(given.offset))
                self.values[number] = self.load_one(place, given.dtype)
        self._compute(n for n in range(self.first, len(plan.kinds)) if plan.kinds[n] == "scalar")
        for number, out in enumerate(group.outputs):
            if out.kind == "scalar" and out.value not in plan.reduced:
                self.store_one(self.values[out.value], self.pointer(self.first + number))
        self.loop("%r0", "%r1", 1, self._row)
        for index, number in enumerate(scalar_reductions(group)):
            if number in self.sums:
                pair = self.sums[number].total()
            else:
                most = across(self.group.op(number).name, self.extremes[number].get())
                pair = functions.astype(most, "f8"), self.constant("f8", 0.0)
            base = self.pointer(self._places()[1])
            for k in (0, 1):
                self.store_one(pair[k], self.address(base, "f8", str(2 * index + k)))
        body, self.lines = self.lines, []
        head = "define void @box(ptr %frame, i64 %n, i64 %r0, i64 %r1, i64 %c0, i64 %c1) {\nstart:"
        return "\n".join([head, *self.variables, *body, "  ret void", "}"])

    def _places(self) -> tuple[int, int, int]:
        """Where the frame has pointers: for rows' reductions; for scalars'; for kept values."""
        rows = self.first + len(self.group.outputs)
        scalars = rows + len(row_reductions(self.group))
        return rows, scalars, scalars + 1

    def _compute(self, numbers: Iterable[int]) -> None:
        """Write operations whose operands are there."""
        wanted = _together(self.group, [n for n in numbers if self.group.op(n).kind is None])
        if sum(weight(self.group.op(n)) for n in wanted) > pieces.LARGEST:
            pieces.compute_in_pieces(self, wanted)
            return
        for number in wanted:
            self.apply(number)

    def _row(self, r: str) -> None:
        outer = dict(self.values)
        group, plan, self.row = self.group, self.plan, r
        for number, given in enumerate(group.inputs):
            if given.kind == "column":
                place = r if given.rows is None else self._row_start(given, r)
                self.values[number] = self.load_one(self.address(self.pointer(number), given.dtype, place), given.dtype)
            elif given.rows is not None:
                self.starts[number] = self._row_start(given, r)
        start = self.value(f"mul i64 {r}, %n")
        self.is_first = self.value(f"icmp eq i64 {r}, %r0")
        for level in range(len(plan.computed) + 1):
            self._compute(
                n for n in range(self.first, len(plan.kinds)) if plan.kinds[n] == "column" and plan.levels[n] == level
            )
            if level < len(plan.computed):
                self._pass(level, start)
        for number in scalar_reductions(group):
            for arg in operands(group.op(number)):
                if plan.kinds[arg] == "column":
                    self._column_into_scalar(number, self.values[arg])
        for number, out in enumerate(group.outputs):
            if out.kind == "column":
                address = self.address(self.pointer(self.first + number), group.dtype(out.value), r)
                self.store_one(self.values[out.value], address)
        self.values = outer

    def _row_start(self, given: Input, r: str) -> str:
        """How far an input's part of row r lies behind its first element."""
        assert given.rows is not None
        divide, modulo, pitch = given.rows
        r = r if divide == 1 else self.value(f"udiv i64 {r}, {divide}")
        start = self.value(f"mul i64 {self.value(f'urem i64 {r}, {modulo}')}, {pitch}")
        return self.value(f"add i64 {start}, {given.offset}")

    def _column_into_scalar(self, number: int, value: Vector) -> None:
        """One row's value, which is in all lanes, into a reduction over the rows: in the first lane."""
        if number not in self.sums:
            self._extreme(number, value)
            return
        only = f"<{', '.join(f'i1 {str(k == 0).lower()}' for k in range(self.lanes))}>"
        self.sums[number].add(where(Vector(self, "bool", only), value, IDENTITY["sum"]))

    def _extreme(self, number: int, value: Vector) -> None:
        variable = self.extremes[number]
        variable.set(COMBINED[self.group.op(number).name](variable.get(), value))

    def _pass(self, level: int, start: str) -> None:
        """All columns of a row, computing what one pass computes."""
        numbers = list(dict.fromkeys(n for n, _ in self.plan.reductions[level]))
        columns = [n for n in numbers if self.group.op(n).kind == "column"]
        sums = [self.sums[n] for n in numbers if n in self.sums]
        for n in columns:
            (self.sums.get(n) or self.extremes[n]).clear()

        def strip(j: str) -> None:
            self._strip(level, start, j)

        def block(begin: str, body: Callable[[], None]) -> None:
            for s in sums:
                s.block.clear()
            body()
            for s in sums:
                s.flush()

        if self.few:
            for s in sums:
                s.block.clear()
            self._written_out(strip)
            for n in numbers:
                if n in self.sums and n not in columns:
                    self.sums[n].flush()
        elif sums:
            length = self.value("sub i64 %c1, %c0")
            end = self.value(f"add i64 %c0, {self.value(f'and i64 {length}, {-self.lanes}')}")

            def one_block(begin: str) -> None:
                far = self.value(f"add i64 {begin}, {_BLOCK * self.lanes}")
                stop = self.value(f"select i1 {self.value(f'icmp slt i64 {far}, {end}')}, i64 {far}, i64 {end}")
                block(begin, lambda: self.loop(begin, stop, self.lanes, strip))

            self.loop("%c0", end, _BLOCK * self.lanes, one_block)
            self.tail(end, "%c1", lambda j: block(j, lambda: strip(j)))
        else:
            self.strips("%c0", "%c1", strip)
        for n in columns:
            if n in self.sums and self.few:
                self.values[n] = across(self.group.op(n).name, self.sums[n].block.get())
            elif n in self.sums:
                self.values[n] = rounded(*self.sums[n].total(), self.group.dtype(n))
            else:
                self.values[n] = across(self.group.op(n).name, self.extremes[n].get())

    def _written_out(self, body: Callable[[str], None]) -> None:
        """Go over a few columns without a loop."""
        for j in range(0, self.group.columns, self.lanes):
            left = self.group.columns - j
            if left < self.lanes:
                self.mask, self.left = f"<{', '.join(f'i1 {str(k < left).lower()}' for k in range(self.lanes))}>", left
            body(str(j))
        self.mask, self.left = None, 0

    def _strip(self, level: int, start: str, j: str) -> None:
        """One vector of columns."""
        outer = dict(self.values)
        group, plan = self.group, self.plan
        at = self.value(f"add i64 {start}, {j}")
        computed = set(plan.computed[level])
        needed = {a for n in computed for a in operands(group.op(n))}
        needed |= {arg for _, arg in plan.reductions[level]}
        needed |= {group.outputs[o].value for o in plan.stores[level]}
        for number in sorted(needed):
            dtype = group.dtype(number)
            if number < self.first and plan.kinds[number] in ("full", "row"):
                given = group.inputs[number]
                index = j if given.step == 1 else self.value(f"mul i64 {j}, {given.step}")
                if number in self.starts:
                    index = self.value(f"add i64 {self.starts[number]}, {index}")
                elif given.kind == "full":
                    index = at
                elif given.offset:
                    index = self.value(f"add i64 {index}, {given.offset}")
                self.values[number] = self.load(self.address(self.pointer(number), dtype, index), dtype, given.step)
            elif number in plan.kept and number not in computed:
                self.values[number] = self.load(self._kept(number, at, j), dtype)
        self._compute(plan.computed[level])
        for number in plan.stores[level]:
            out = group.outputs[number]
            index, step = at if out.kind == "full" else j, 1
            if out.place is not None:
                offset, pitch, step = out.place
                start = self.value(f"add i64 {self.value(f'mul i64 {self.row}, {pitch}')}, {offset}")
                index = self.value(f"add i64 {start}, {self.value(f'mul i64 {j}, {step}')}")
            address = self.address(self.pointer(self.first + number), group.dtype(out.value), index)
            self.store(self.values[out.value], address, step)
        for number in sorted(computed & set(plan.kept)):
            self.store(self.values[number], self._kept(number, at, j))
        for number, arg in plan.reductions[level]:
            self._reduce(number, self.values[arg], j)
        self.values = outer

    def _kept(self, number: int, at: str, j: str) -> str:
        """Where a value is kept for later passes: it is an output, or has a row of its own."""
        dtype = self.group.dtype(number)
        for o, out in enumerate(self.group.outputs):
            if out.value == number and out.kind == "full" and out.place is None:
                return self.address(self.pointer(self.first + o), dtype, at)
        return self.address(self.pointer(self._places()[2] + self.plan.kept.index(number)), dtype, j)

    def _reduce(self, number: int, value: Vector, j: str) -> None:
        """A vector into a reduction."""
        op = self.group.op(number)
        if op.every:
            (o,) = [o for o, out in enumerate(self.group.outputs) if out.value == number]
            part = self.value(f"mul i64 {self.value(f'udiv i64 {self.row}, {op.every}')}, %n")
            address = self.address(self.pointer(self.first + o), op.dtype, self.value(f"add i64 {part}, {j}"))
            is_first = self.value(f"icmp eq i64 {self.value(f'urem i64 {self.row}, {op.every}')}, 0")
            self._into_row(op, value, address, is_first)
            return
        if op.kind == "row":
            base = self.pointer(self._places()[0] + row_reductions(self.group).index(number))
            self._into_row(op, value, self.address(base, op.dtype, j), self.is_first)
            return
        if self.mask is not None:
            value = where(Vector(self, "bool", self.mask), value, IDENTITY[op.name])
        if number in self.sums:
            block = self.sums[number].block
            block.set(block.get() + value)
        else:
            self._extreme(number, value)

    def _into_row(self, op: Op, value: Vector, address: str, is_first: str) -> None:
        """A vector into what a reduction over rows has left at an address; nothing if this is the first row."""
        before = self.load(address, op.dtype)
        identity = self.constant(op.dtype, IDENTITY[op.name])
        kind = self.type(op.dtype)
        chosen = self.fresh(f"select i1 {is_first}, {kind} {identity.name}, {kind} {before.name}")
        self.store(COMBINED[op.name](Vector(self, op.dtype, chosen), value), address)


class Finish(GroupFunction):
    """The function that combines chunks: what they have left of sums and extremes, in order."""

    def text(self) -> str:
        """The whole function."""
        group = self.group
        for index, number in enumerate(scalar_reductions(group)):
            op = group.op(number)
            high, low = Variable(self, "f8", IDENTITY[op.name]), Variable(self, "f8", 0.0)
            high.clear()
            low.clear()
            self.loop("0", "%chunks", 1, partial(self._scalar, index, op.name.replace("any", "max"), high, low))
            total = high.get() if op.name != "sum" else rounded(high.get(), low.get(), "f8")
            for o, out in enumerate(group.outputs):
                if out.value == number:
                    self.store_one(functions.astype(total, op.dtype), self.pointer(self.first + o))
        for index, number in enumerate(row_reductions(group)):
            self.when("%partial", partial(self._rows, index, number))
        body, self.lines = self.lines, []
        head = "define void @finish(ptr %frame, i64 %n, i64 %chunks, ptr %scalars, ptr %rows, i1 %partial) {\nstart:"
        return "\n".join([head, *self.variables, *body, "  ret void", "}"])

    def _scalar(self, index: int, name: str, high: Variable, low: Variable, chunk: str) -> None:
        place = self.value(f"mul i64 {chunk}, {2 * len(scalar_reductions(self.group))}")
        pair = []
        for k in (0, 1):
            at = self.value(f"add i64 {place}, {2 * index + k}")
            pair.append(self.load_one(self.address("%scalars", "f8", at), "f8"))
        if name == "sum":
            total, lost = two_sum(high.get(), pair[0])
            high.set(total)
            low.set(low.get() + pair[1] + lost)
        else:
            high.set(COMBINED[name](high.get(), pair[0]))

    def _rows(self, index: int, number: int) -> None:
        op = self.group.op(number)
        (o,) = [o for o, out in enumerate(self.group.outputs) if out.value == number]
        slot = self.pointer(self.first + o)
        total = Variable(self, op.dtype, IDENTITY[op.name])

        def strip(j: str) -> None:
            address = self.address(slot, op.dtype, j)
            total.set(self.load(address, op.dtype))

            def chunk(c: str) -> None:
                row = self.value(f"add i64 {c}, {index * (CHUNKS - 1) - 1}")
                offset = self.value(f"mul i64 {self.value(f'mul i64 {row}, %n')}, {SLOTS}")
                base = self.value(f"getelementptr i8, ptr %rows, i64 {offset}")
                total.set(COMBINED[op.name](total.get(), self.load(self.address(base, op.dtype, j), op.dtype)))

            self.loop("1", "%chunks", 1, chunk)
            self.store(total.get(), address)

        self.strips("0", "%n", strip)


def _together(group: Group, numbers: list[int]) -> list[int]:
    """Bring together what is computed of the same operands, such as sine and cosine: it has much in common."""
    like: dict[Any, list[int]] = {}
    for number in numbers:
        like.setdefault(_computed_of(group, number), []).append(number)
    seen: set[Any] = set()
    ordered = []
    for number in numbers:
        key = _computed_of(group, number)
        if key not in seen:
            ordered += like[key]
        seen.add(key)
    return ordered


def _computed_of(group: Group, number: int) -> Any:
    op = group.op(number)
    return tuple(map(repr, op.args)) if weight(op) > 1 else number  # of values and numbers: 2 is not 2.0


def module(group: Group, plan: Plan, triple: str, avx512: bool) -> str:
    """The text of the module."""
    box, finish = Box(group, plan, avx512), Finish(group, plan, avx512)
    parts = [box.text(), finish.text()]
    helpers = box.helpers.values()
    declared = sorted(box.declared | finish.declared)
    return "\n".join([f'target triple = "{triple}"', *declared, *helpers, *parts, ""])
