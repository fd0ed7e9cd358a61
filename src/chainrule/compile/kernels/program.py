"""From a group to the text of an LLVM module: loops over rows and columns, loads and stores, and reductions.

The module has a function `box`, which does a part of the box of rows and columns (a chunk), and `finish`, which
combines what reductions have left in each chunk; what Python calls (`entry.py`) calls them.  How a box is divided into
chunks depends on its size only, so results do not depend on the number of threads.  Pointers are in a frame: first the
arguments, then where reductions over axis 0 go, where the sums go, and the rows that are kept between passes.

Sums are exact to a few roundings: a vector's lanes are added up over blocks of `_BLOCK` vectors; the blocks in float64
for float32, and for float64 with the rounding errors kept (Knuth's two-sum).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from ..stretches import stretches
from . import functions
from .entry import CHUNKS, SLOTS
from .group import SIZES, Group, Input, Op, Plan, operands, row_reductions, scalar_reductions, weight
from .vector import BYTES, SCALAR, Vector, Writer, where

__all__ = ["ElementFunction", "module"]

_PART = 800  # simple operations that are one function
_EQUAL = 300  # where these are equal to others
_TURNS = 4  # that are looked for there, at least
_BLOCK = 16  # vectors whose sum is not compensated
_STRIPS = 4  # vectors of a row that no loop goes over
_IDENTITY = {"sum": -0.0, "max": -math.inf, "min": math.inf, "any": 0.0}
_PAIR = {"sum": Vector.__add__, "max": functions.maximum, "min": functions.minimum, "any": Vector.__or__}


class ElementFunction(Writer):
    """A function that reads and writes arrays."""

    def __init__(self, lanes: int, avx512: bool) -> None:
        super().__init__(lanes, avx512)
        self.mask: str | None = None  # which lanes there are, in the last vector of a row
        self.left = 0  # how many these are, where that is known

    def _slot(self, number: int) -> str:
        """The pointer to, or the value of, an argument: inputs, outputs, kept values."""
        place = self.value(f"getelementptr ptr, ptr %frame, i64 {number}")
        return self.value(f"load ptr, ptr {place}")

    def _address(self, base: str, dtype: str, index: str) -> str:
        return self.value(f"getelementptr {'i8' if dtype == 'bool' else SCALAR[dtype]}, ptr {base}, i64 {index}")

    def _load(self, address: str, dtype: str, step: int = 1) -> Vector:
        """The elements from an address on, so many apart."""
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        kind, size = f"<{self.lanes} x {element}>", SIZES[dtype]
        suffix = f"v{self.lanes}{'i8' if dtype == 'bool' else ('f' if dtype[0] == 'f' else 'i') + str(8 * size)}"
        if step != 1:
            masks, pointers = self.type("bool"), f"<{self.lanes} x ptr>"
            function = f"@llvm.masked.gather.{suffix}.v{self.lanes}p0"
            self.declared.add(f"declare {kind} {function}({pointers}, i32, {masks}, {kind})")
            call = f"call {kind} {function}({pointers} {self._apart(address, element, step)}, i32 {size}, "
            name = self.fresh(f"{call}{masks} {self.mask or 'splat (i1 true)'}, {kind} zeroinitializer)")
        elif self.left:  # later reads of what was written with a mask wait until it is in memory
            narrow = f"<{self.left} x {element}>"
            name = self.fresh(f"load {narrow}, ptr {address}, align {size}")
            order = ", ".join(f"i32 {min(k, self.left)}" for k in range(self.lanes))
            name = self.fresh(
                f"shufflevector {narrow} {name}, {narrow} zeroinitializer, <{self.lanes} x i32> <{order}>"
            )
        elif self.mask is None:
            name = self.fresh(f"load {kind}, ptr {address}, align {size}")
        else:
            self.declared.add(f"declare {kind} @llvm.masked.load.{suffix}.p0(ptr, i32, {self.type('bool')}, {kind})")
            call = f"call {kind} @llvm.masked.load.{suffix}.p0(ptr {address}, i32 {size}, "
            name = self.fresh(f"{call}{self.type('bool')} {self.mask}, {kind} zeroinitializer)")
        if dtype == "bool":
            name = self.fresh(f"icmp ne {kind} {name}, zeroinitializer")
        return Vector(self, dtype, name)

    def _apart(self, address: str, element: str, step: int) -> str:
        """The addresses of all lanes, so many elements apart."""
        steps = ", ".join(f"i64 {k * step}" for k in range(self.lanes))
        return self.value(f"getelementptr {element}, ptr {address}, <{self.lanes} x i64> <{steps}>")

    def _store(self, value: Vector, address: str, step: int = 1) -> None:
        """Write the elements from an address on, so many apart."""
        dtype, name = value.dtype, value.name
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        kind, size = f"<{self.lanes} x {element}>", SIZES[dtype]
        suffix = f"v{self.lanes}{'i8' if dtype == 'bool' else ('f' if dtype[0] == 'f' else 'i') + str(8 * size)}"
        if dtype == "bool":
            name = self.fresh(f"zext {self.type('bool')} {name} to {kind}")
        if step != 1:
            masks, pointers = self.type("bool"), f"<{self.lanes} x ptr>"
            function = f"@llvm.masked.scatter.{suffix}.v{self.lanes}p0"
            self.declared.add(f"declare void {function}({kind}, {pointers}, i32, {masks})")
            call = f"call void {function}({kind} {name}, {pointers} {self._apart(address, element, step)}, i32 {size}, "
            self.line(f"{call}{masks} {self.mask or 'splat (i1 true)'})")
            return
        if self.left:
            order = ", ".join(f"i32 {k}" for k in range(self.left))
            name = self.fresh(f"shufflevector {kind} {name}, {kind} poison, <{self.left} x i32> <{order}>")
            self.line(f"store <{self.left} x {element}> {name}, ptr {address}, align {size}")
            return
        if self.mask is None:
            self.line(f"store {kind} {name}, ptr {address}, align {size}")
            return
        self.declared.add(f"declare void @llvm.masked.store.{suffix}.p0({kind}, ptr, i32, {self.type('bool')})")
        call = f"call void @llvm.masked.store.{suffix}.p0({kind} {name}, ptr {address}, i32 {size}, "
        self.line(f"{call}{self.type('bool')} {self.mask})")

    def _put(self, memory: str, slot: int | str, value: Vector) -> None:
        """Leave a value in memory that parts of a function share."""
        self.line(f"store {self.type(value.dtype)} {value.name}, ptr {self._shared(memory, slot)}")

    def _get(self, memory: str, slot: int | str, dtype: str) -> Vector:
        """Take a value out of it."""
        return Vector(self, dtype, self.fresh(f"load {self.type(dtype)}, ptr {self._shared(memory, slot)}"))

    def _shared(self, memory: str, slot: int | str) -> str:
        return self.value(f"getelementptr <{self.lanes} x i64>, ptr {memory}, i64 {slot}")

    def _load_one(self, address: str, dtype: str) -> Vector:
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        one = self.fresh(f"load {element}, ptr {address}")
        if dtype == "bool":
            one = self.fresh(f"icmp ne i8 {one}, 0")
        return self.splat(dtype, one)

    def _store_one(self, value: Vector, address: str) -> None:
        one = self.value(f"extractelement {self.type(value.dtype)} {value.name}, i64 0")
        if value.dtype == "bool":
            one = self.value(f"zext i1 {one} to i8")
        self.line(f"store {'i8' if value.dtype == 'bool' else SCALAR[value.dtype]} {one}, ptr {address}")


class _Function(ElementFunction):
    """A function that goes over a group's arrays."""

    def __init__(self, group: Group, plan: Plan, avx512: bool) -> None:
        small = min([SIZES[d] for d in map(group.dtype, range(len(plan.kinds))) if d != "bool"], default=4)
        alone = all(kind == "scalar" for kind in plan.kinds) and not plan.reduced
        super().__init__(1 if alone else BYTES // small, avx512)
        self.group, self.plan = group, plan
        self.values: dict[int, Vector] = {}
        self.first = len(group.inputs)

    def apply(self, number: int) -> None:
        """Write an operation whose operands are there."""
        op = self.group.ops[number - self.first]
        exponent, args = None, op.args
        if op.name == "power":
            args, exponent = op.args[:1], float(op.args[1])
        dtype = next((self.group.dtype(a) for a in args[op.name == "where" :] if isinstance(a, int)), op.dtype)
        given = [self.values[a] if isinstance(a, int) else self.constant(dtype, a) for a in args]
        self.values[number] = functions.apply(op.name, given, op.dtype, exponent)

    def loop(self, start: str, stop: str, step: int | str, body: Callable[[str], None]) -> None:
        """`for i in range(start, stop, step)`; what the body computes holds inside only."""
        name = self.name("loop")
        slot = self.variable("i64")
        self.line(f"store i64 {start}, ptr {slot}")
        self.line(f"br label %{name}.test")
        self.label(f"{name}.test")
        with self.scope():
            i = self.fresh(f"load i64, ptr {slot}")
            more = self.fresh(f"icmp slt i64 {i}, {stop}")
            self.line(f"br i1 {more}, label %{name}.body, label %{name}.end")
            self.label(f"{name}.body")
            body(i)
            self.line(f"store i64 {self.fresh(f'add i64 {i}, {step}')}, ptr {slot}")
            self.line(f"br label %{name}.test")
        self.label(f"{name}.end")

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """`if condition:`."""
        name = self.name("when")
        self.line(f"br i1 {condition}, label %{name}.yes, label %{name}.end")
        self.label(f"{name}.yes")
        with self.scope():
            body()
        self.line(f"br label %{name}.end")
        self.label(f"{name}.end")

    def strips(self, start: str, stop: str, body: Callable[[str], None], tail: bool = True) -> str:
        """Go over columns by vectors; the last one is masked.  Without it, return where it would begin."""
        length = self.value(f"sub i64 {stop}, {start}")
        end = self.value(f"add i64 {start}, {self.value(f'and i64 {length}, {-self.lanes}')}")
        self.loop(start, end, self.lanes, body)
        if tail:
            self.tail(end, stop, body)
        return end

    def tail(self, end: str, stop: str, body: Callable[[str], None]) -> None:
        """The columns that do not fill a vector."""

        def masked() -> None:
            indices = ", ".join(f"i32 {k}" for k in range(self.lanes))
            left = self.fresh(f"trunc i64 {self.fresh(f'sub i64 {stop}, {end}')} to i32")
            many = self.splat("i4", left).name
            self.mask = self.fresh(f"icmp slt <{self.lanes} x i32> <{indices}>, {many}")
            body(end)
            self.mask = None

        self.when(self.value(f"icmp slt i64 {end}, {stop}"), masked)


class _Sum:
    """A sum of many vectors, in three variables: of the block, of the blocks, and of their rounding errors."""

    def __init__(self, writer: _Function, dtype: str) -> None:
        self.writer, self.dtype = writer, dtype
        self.block = _Variable(writer, dtype, _IDENTITY["sum"])
        self.high = _Variable(writer, "f8", _IDENTITY["sum"])
        self.low = _Variable(writer, "f8", 0.0)

    def clear(self) -> None:
        self.high.clear()
        self.low.clear()

    def flush(self) -> None:
        """Add the block to the blocks."""
        self.add(self.block.get())

    def add(self, vector: Vector) -> None:
        """Add a vector, with what is lost."""
        if self.dtype == "f4":  # in float64 too little is lost to be kept
            self.high.set(self.high.get() + vector.convert("fpext", "f8"))
            return
        total, lost = _two_sum(self.high.get(), vector)
        self.high.set(total)
        self.low.set(self.low.get() + lost)

    def total(self) -> tuple[Vector, Vector]:
        """All lanes' sum, in all lanes; and its rounding error."""
        w, high, low = self.writer, self.high.get(), self.low.get()
        distance = w.lanes // 2
        while distance:
            other = w.exchange(high, distance)
            if self.dtype == "f4":
                high = high + other
            else:
                high, lost = _two_sum(high, other)
                low = low + w.exchange(low, distance) + lost
            distance //= 2
        return high, low


class _Variable:
    """A vector that changes."""

    def __init__(self, writer: _Function, dtype: str, identity: float) -> None:
        self.writer, self.dtype, self.identity = writer, dtype, identity
        self.slot = writer.variable(writer.type(dtype))

    def get(self) -> Vector:
        w = self.writer
        return Vector(w, self.dtype, w.fresh(f"load {w.type(self.dtype)}, ptr {self.slot}"))

    def set(self, vector: Vector) -> None:
        self.writer.line(f"store {self.writer.type(self.dtype)} {vector.name}, ptr {self.slot}")

    def clear(self) -> None:
        self.set(Vector(self.writer, self.dtype, "").like(self.identity))


def _two_sum(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """The sum, and its rounding error exactly (NaN where the sum is not finite)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _rounded(high: Vector, low: Vector, dtype: str) -> Vector:
    """One number of a sum and its error."""
    whole = where(low.isnan(), high, high + low)
    return whole.convert("fptrunc", "f4") if dtype == "f4" else whole


class _Part(_Function):
    """A function that computes some of another one's values, from a memory that they share and back into it.

    Where in the memory is an argument, too: a table.  So parts that do the same with other values are one function.
    """

    def __init__(self, group: Group, plan: Plan, avx512: bool, whole: _Function) -> None:
        super().__init__(group, plan, avx512)
        self.declared, self.helpers = whole.declared, whole.helpers

    def text(self, name: str, numbers: list[int], read: list[int], left: list[int]) -> str:
        """The whole function: what it reads and what it leaves is in the table, in this order."""
        places = {number: k for k, number in enumerate([*read, *left])}
        for number in numbers:
            for arg in operands(self.group.ops[number - self.first]):
                if arg not in self.values:
                    self.values[arg] = self._get("%read", self._place(places[arg]), self.group.dtype(arg))
            self.apply(number)
            if number in places:
                self._put("%left", self._place(places[number]), self.values[number])
        # What is left goes where nothing is that is read.
        memory = "ptr noalias readonly %read, ptr noalias %left, ptr noalias readonly %places"
        head = f"define internal void @{name}({memory}) noinline {{\nstart:"
        return "\n".join([head, *self.variables, *self.lines, "  ret void", "}"])

    def _place(self, k: int) -> str:
        return self.fresh(f"load i64, ptr {self.value(f'getelementptr i64, ptr %places, i64 {k}')}")


class _Box(_Function):
    """The function that computes rows r0 to r1 and columns c0 to c1 of a group's box."""

    def text(self) -> str:
        """The whole function."""
        group, plan = self.group, self.plan
        strips = -(-group.columns // self.lanes)
        self.few = 0 < strips <= _STRIPS and strips * sum(map(weight, group.ops)) <= _PART
        self.starts: dict[int, str] = {}  # of inputs with rows of their own: where the present one begins
        self.sums: dict[int, _Sum] = {}
        self.extremes: dict[int, _Variable] = {}
        for number, op in enumerate(group.ops, self.first):
            if op.kind in ("column", "scalar"):
                if op.name == "sum" and op.dtype[0] == "f":
                    self.sums[number] = _Sum(self, op.dtype)
                else:
                    self.extremes[number] = _Variable(self, op.dtype, _IDENTITY[op.name])
                if op.kind == "scalar":
                    (self.sums.get(number) or self.extremes[number]).clear()
        for number, given in enumerate(group.inputs):
            if given.kind == "scalar":
                place = self.value(f"getelementptr ptr, ptr %frame, i64 {number}")
                if given.rows is not None:
                    place = self._address(self._slot(number), given.dtype, str(given.offset))
                self.values[number] = self._load_one(place, given.dtype)
        self._compute(n for n in range(self.first, len(plan.kinds)) if plan.kinds[n] == "scalar")
        for number, out in enumerate(group.outputs):
            if out.kind == "scalar" and out.value not in plan.reduced:
                self._store_one(self.values[out.value], self._slot(self.first + number))
        self.loop("%r0", "%r1", 1, self._row)
        for index, number in enumerate(scalar_reductions(group)):
            if number in self.sums:
                pair = self.sums[number].total()
            else:
                most = self._across(number, self.extremes[number].get())
                pair = functions.astype(most, "f8"), self.constant("f8", 0.0)
            base = self._slot(self._places()[1])
            for k in (0, 1):
                self._store_one(pair[k], self._address(base, "f8", str(2 * index + k)))
        body, self.lines = self.lines, []
        head = "define void @box(ptr %frame, i64 %n, i64 %r0, i64 %r1, i64 %c0, i64 %c1) {\nstart:"
        return "\n".join([head, *self.variables, *body, "  ret void", "}"])

    def _places(self) -> tuple[int, int, int]:
        """Where the frame has pointers: for rows' reductions; for scalars'; for kept values."""
        rows = self.first + len(self.group.outputs)
        scalars = rows + len(row_reductions(self.group))
        return rows, scalars, scalars + 1

    def _across(self, number: int, vector: Vector) -> Vector:
        """The largest or smallest of all lanes, in all lanes."""
        distance = self.lanes // 2
        while distance:
            vector = _PAIR[self.group.ops[number - self.first].name](vector, self.exchange(vector, distance))
            distance //= 2
        return vector

    def _compute(self, numbers: Iterable[int]) -> None:
        """Write operations whose operands are there."""
        wanted = _together(self.group, [n for n in numbers if self.group.ops[n - self.first].kind is None])
        if sum(map(self._weight, wanted)) <= _PART:
            for number in wanted:
                self.apply(number)
        else:
            self._compute_in_parts(wanted)

    def _weight(self, number: int) -> int:
        return weight(self.group.ops[number - self.first])

    def _compute_in_parts(self, numbers: list[int]) -> None:
        """Write very many operations as several functions, which pass values on in memory.

        What compilers do with one function takes more than proportionally long; and so many values do not fit into
        registers anyway.
        """
        parts = self._parts(numbers)
        part_of = {number: k for k, part in enumerate(parts) for number in part}
        last = dict.fromkeys(self._read_elsewhere(set(numbers)), len(parts))  # in which part it is read last
        for number, k in part_of.items():
            for arg in operands(self.group.ops[number - self.first]):
                last[arg] = max(last.get(arg, 0), k)
        slots: dict[int, int] = {}
        free: list[int] = []
        size = 0

        def slot(number: int) -> None:
            nonlocal size
            if free:
                slots[number] = free.pop()
            else:
                slots[number], size = size, size + 1

        memory = "%" + self.name("shared")
        known: dict[Any, str] = {}
        before = [n for n in last if n not in part_of and n in self.values]
        for number in before:
            slot(number)
            self._put(memory, slots[number], self.values[number])
        ends: dict[int, list[int]] = {}
        for number, k in last.items():
            ends.setdefault(k, []).append(number)
        for k, part in enumerate(parts):
            for number in part:
                if last.get(number, k) > k:
                    slot(number)
            mine = set(part)
            read = list(dict.fromkeys(arg for n in part for arg in operands(self._op(n)) if arg not in mine))
            left = [number for number in part if number in slots]
            does = self._described(part, read, left)
            if does not in known:
                known[does] = name = f"{memory[1:]}.{k}"
                self.helpers[name] = _Part(self.group, self.plan, self.avx512, self).text(name, part, read, left)
            places = [slots[number] for number in (*read, *left)]
            table = f"@{memory[1:]}.places.{k}"
            numbered = ", ".join(f"i64 {place}" for place in places)
            self.helpers[table] = f"{table} = internal constant [{len(places)} x i64] [{numbered}]"
            self.line(f"call void @{known[does]}(ptr {memory}, ptr {memory}, ptr {table})")
            free += [slots.pop(number) for number in ends.get(k, ()) if number in slots]
        for number in numbers:
            if number in slots:
                self.values[number] = self._get(memory, slots[number], self.group.dtype(number))
        self.variables.append(f"  {memory} = alloca [{size} x <{self.lanes} x i64>]")

    def _parts(self, numbers: list[int]) -> list[list[int]]:
        """Cut operations into parts; where they repeat themselves, into equal ones, which are compiled once."""
        kinds: dict[Any, int] = {}
        does = [kinds.setdefault(self._described([n], operands(self._op(n)), [n]), len(kinds)) for n in numbers]
        parts: list[list[int]] = []
        at = 0
        for begin, period, turns in stretches(np.array(does), _TURNS, _TURNS):
            parts += self._by_weight(numbers[at:begin])
            at = begin + period * turns
            step = period * max(1, _EQUAL // sum(map(self._weight, numbers[begin : begin + period])))
            for first in range(begin, at, step):
                parts += self._by_weight(numbers[first : min(first + step, at)])
        return parts + self._by_weight(numbers[at:])

    def _by_weight(self, numbers: list[int]) -> list[list[int]]:
        parts: list[list[int]] = []
        heavy = _PART + 1
        for number in numbers:
            if heavy > _PART:
                parts.append([])
                heavy = 0
            parts[-1].append(number)
            heavy += self._weight(number)
        return parts

    def _op(self, number: int) -> Op:
        return self.group.ops[number - self.first]

    def _described(self, numbers: list[int], read: list[int], left: list[int]) -> Any:
        """What a part does, whatever the values are called."""
        place = {number: k for k, number in enumerate(dict.fromkeys([*read, *numbers]))}
        does = tuple(
            (op.name, op.dtype, *(place[arg] if isinstance(arg, int) else repr(arg) for arg in op.args))
            for op in map(self._op, numbers)
        )
        return does, tuple(map(self.group.dtype, read)), tuple(place[number] for number in left)

    def _read_elsewhere(self, numbers: set[int]) -> set[int]:
        """Those of some values that are read by others than themselves."""
        found = {out.value for out in self.group.outputs} | set(self.plan.kept)
        for number, op in enumerate(self.group.ops, self.first):
            if number not in numbers or op.kind is not None:
                found |= set(operands(op))
        return found & numbers

    def _row(self, r: str) -> None:
        outer = dict(self.values)
        group, plan, self.row = self.group, self.plan, r
        for number, given in enumerate(group.inputs):
            if given.kind == "column":
                place = r if given.rows is None else self._row_start(given, r)
                self.values[number] = self._load_one(self._address(self._slot(number), given.dtype, place), given.dtype)
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
            for arg in operands(group.ops[number - self.first]):
                if plan.kinds[arg] == "column":
                    self._column_into_scalar(number, self.values[arg])
        for number, out in enumerate(group.outputs):
            if out.kind == "column":
                address = self._address(self._slot(self.first + number), group.dtype(out.value), r)
                self._store_one(self.values[out.value], address)
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
        self.sums[number].add(where(Vector(self, "bool", only), value, _IDENTITY["sum"]))

    def _extreme(self, number: int, value: Vector) -> None:
        variable = self.extremes[number]
        variable.set(_PAIR[self.group.ops[number - self.first].name](variable.get(), value))

    def _pass(self, level: int, start: str) -> None:
        """All columns of a row, computing what one pass computes."""
        numbers = list(dict.fromkeys(n for n, _ in self.plan.reductions[level]))
        columns = [n for n in numbers if self.group.ops[n - self.first].kind == "column"]
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
                self.values[n] = self._across(n, self.sums[n].block.get())
            elif n in self.sums:
                self.values[n] = _rounded(*self.sums[n].total(), self.group.dtype(n))
            else:
                self.values[n] = self._across(n, self.extremes[n].get())

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
        needed = {a for n in computed for a in operands(group.ops[n - self.first])}
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
                self.values[number] = self._load(self._address(self._slot(number), dtype, index), dtype, given.step)
            elif number in plan.kept and number not in computed:
                self.values[number] = self._load(self._kept(number, at, j), dtype)
        self._compute(plan.computed[level])
        for number in plan.stores[level]:
            out = group.outputs[number]
            index, step = at if out.kind == "full" else j, 1
            if out.place is not None:
                offset, pitch, step = out.place
                start = self.value(f"add i64 {self.value(f'mul i64 {self.row}, {pitch}')}, {offset}")
                index = self.value(f"add i64 {start}, {self.value(f'mul i64 {j}, {step}')}")
            address = self._address(self._slot(self.first + number), group.dtype(out.value), index)
            self._store(self.values[out.value], address, step)
        for number in sorted(computed & set(plan.kept)):
            self._store(self.values[number], self._kept(number, at, j))
        for number, arg in plan.reductions[level]:
            self._reduce(number, self.values[arg], j)
        self.values = outer

    def _kept(self, number: int, at: str, j: str) -> str:
        """Where a value is kept for later passes: it is an output, or has a row of its own."""
        dtype = self.group.dtype(number)
        for o, out in enumerate(self.group.outputs):
            if out.value == number and out.kind == "full" and out.place is None:
                return self._address(self._slot(self.first + o), dtype, at)
        return self._address(self._slot(self._places()[2] + self.plan.kept.index(number)), dtype, j)

    def _reduce(self, number: int, value: Vector, j: str) -> None:
        """A vector into a reduction."""
        op = self.group.ops[number - self.first]
        if op.every:
            (o,) = [o for o, out in enumerate(self.group.outputs) if out.value == number]
            part = self.value(f"mul i64 {self.value(f'udiv i64 {self.row}, {op.every}')}, %n")
            address = self._address(self._slot(self.first + o), op.dtype, self.value(f"add i64 {part}, {j}"))
            is_first = self.value(f"icmp eq i64 {self.value(f'urem i64 {self.row}, {op.every}')}, 0")
            self._into_row(op, value, address, is_first)
            return
        if op.kind == "row":
            base = self._slot(self._places()[0] + row_reductions(self.group).index(number))
            self._into_row(op, value, self._address(base, op.dtype, j), self.is_first)
            return
        if self.mask is not None:
            value = where(Vector(self, "bool", self.mask), value, _IDENTITY[op.name])
        if number in self.sums:
            block = self.sums[number].block
            block.set(block.get() + value)
        else:
            self._extreme(number, value)

    def _into_row(self, op: Op, value: Vector, address: str, is_first: str) -> None:
        """A vector into what a reduction over rows has left at an address; nothing if this is the first row."""
        before = self._load(address, op.dtype)
        identity = self.constant(op.dtype, _IDENTITY[op.name])
        kind = self.type(op.dtype)
        chosen = self.fresh(f"select i1 {is_first}, {kind} {identity.name}, {kind} {before.name}")
        self._store(_PAIR[op.name](Vector(self, op.dtype, chosen), value), address)


class _Finish(_Function):
    """The function that combines chunks: what they have left of sums and extremes, in order."""

    def text(self) -> str:
        """The whole function."""
        group = self.group
        for index, number in enumerate(scalar_reductions(group)):
            op = group.ops[number - self.first]
            high, low = _Variable(self, "f8", _IDENTITY[op.name]), _Variable(self, "f8", 0.0)
            high.clear()
            low.clear()
            self.loop("0", "%chunks", 1, partial(self._scalar, index, op.name.replace("any", "max"), high, low))
            total = high.get() if op.name != "sum" else _rounded(high.get(), low.get(), "f8")
            for o, out in enumerate(group.outputs):
                if out.value == number:
                    self._store_one(functions.astype(total, op.dtype), self._slot(self.first + o))
        for index, number in enumerate(row_reductions(group)):
            self.when("%partial", partial(self._rows, index, number))
        body, self.lines = self.lines, []
        head = "define void @finish(ptr %frame, i64 %n, i64 %chunks, ptr %scalars, ptr %rows, i1 %partial) {\nstart:"
        return "\n".join([head, *self.variables, *body, "  ret void", "}"])

    def _scalar(self, index: int, name: str, high: _Variable, low: _Variable, chunk: str) -> None:
        place = self.value(f"mul i64 {chunk}, {2 * len(scalar_reductions(self.group))}")
        pair = []
        for k in (0, 1):
            at = self.value(f"add i64 {place}, {2 * index + k}")
            pair.append(self._load_one(self._address("%scalars", "f8", at), "f8"))
        if name == "sum":
            total, lost = _two_sum(high.get(), pair[0])
            high.set(total)
            low.set(low.get() + pair[1] + lost)
        else:
            high.set(_PAIR[name](high.get(), pair[0]))

    def _rows(self, index: int, number: int) -> None:
        op = self.group.ops[number - self.first]
        (o,) = [o for o, out in enumerate(self.group.outputs) if out.value == number]
        slot = self._slot(self.first + o)
        total = _Variable(self, op.dtype, _IDENTITY[op.name])

        def strip(j: str) -> None:
            address = self._address(slot, op.dtype, j)
            total.set(self._load(address, op.dtype))

            def chunk(c: str) -> None:
                row = self.value(f"add i64 {c}, {index * (CHUNKS - 1) - 1}")
                offset = self.value(f"mul i64 {self.value(f'mul i64 {row}, %n')}, {SLOTS}")
                base = self.value(f"getelementptr i8, ptr %rows, i64 {offset}")
                total.set(_PAIR[op.name](total.get(), self._load(self._address(base, op.dtype, j), op.dtype)))

            self.loop("1", "%chunks", 1, chunk)
            self._store(total.get(), address)

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
    op = group.ops[number - len(group.inputs)]
    return op.args if weight(op) > 1 else number


def module(group: Group, plan: Plan, triple: str, avx512: bool) -> str:
    """The text of the module."""
    box, finish = _Box(group, plan, avx512), _Finish(group, plan, avx512)
    parts = [box.text(), finish.text()]
    helpers = box.helpers.values()
    declared = sorted(box.declared | finish.declared)
    return "\n".join([f'target triple = "{triple}"', *declared, *helpers, *parts, ""])
