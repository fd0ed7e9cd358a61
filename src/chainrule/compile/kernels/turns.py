"""A loop as machine code: what it carries stays in registers, rows of small arrays in a vector each.

The lanes of a vector beyond the end of a row hold anything; what looks at all lanes looks at the row's only.  A row of
one element has that in all lanes, so that it goes with rows of any length.  How elements move (indexing, reshaping,
stacking) is found by moving numbers for them, which says for each element of the result where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import functions
from .elements import ElementFunction
from .group import CODES
from .sums import COMBINED, IDENTITY, across
from .vector import SCALAR, Vector, constant, where

__all__ = ["LONGEST", "TooLargeError", "Turns", "Value"]

LONGEST = 16  # elements of a row
ROWS = 64  # of an array
LINES = 12_000  # of a program; compiling takes some 30 microseconds for each


class TooLargeError(Exception):
    """A loop that is no matter for registers."""


@dataclass(slots=True)
class Value:
    """A small array: a vector for each row, which is what lies along the last axis."""

    shape: tuple[int, ...]
    dtype: str
    rows: list[Vector]

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.shape[-1] if self.shape else 1


class Turns(ElementFunction):
    """The function that does a loop: values in, values out, and what a turn is made of."""

    # -- values ------------------------------------------------------------------------------------------------------
    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse arrays that are too large."""
        if math.prod(shape[:-1]) > ROWS or (shape and not 1 <= shape[-1] <= LONGEST) or len(self.lines) > LINES:
            raise TooLargeError

    def known(self, x: Any) -> Value:
        """A number or an array that never changes."""
        x = np.asarray(x)
        if x.dtype not in CODES:
            raise TooLargeError
        self.check(x.shape)
        dtype = CODES[x.dtype]
        width = x.shape[-1] if x.shape else 1
        rows = []
        for row in x.reshape(-1, width):
            numbers = [float(v) if dtype[0] == "f" else int(v) for v in row]
            numbers += [numbers[0]] * (self.lanes - width)
            texts = [f"{SCALAR[dtype]} {constant(dtype, v)}" for v in numbers]
            rows.append(Vector(self, dtype, f"<{', '.join(texts)}>"))
        return Value(x.shape, dtype, rows)

    def read(self, base: str, shape: tuple[int, ...], dtype: str, offset: str = "0") -> Value:
        """An array in memory, from so many elements on."""
        self.check(shape)
        width, rows = (shape[-1] if shape else 1), []
        for k in range(math.prod(shape[:-1])):
            place = self.address(base, dtype, self.value(f"add i64 {offset}, {k * width}"))
            with_mask = None if width == self.lanes else self._first_lanes(width)
            if width == 1:
                rows.append(self.load_one(place, dtype))
                continue
            self.mask = with_mask
            rows.append(self.load(place, dtype))
            self.mask = None
        return Value(shape, dtype, rows)

    def write(self, value: Value, base: str, offset: str = "0") -> None:
        """Put an array into memory."""
        width = value.width
        for k, row in enumerate(value.rows):
            place = self.address(base, value.dtype, self.value(f"add i64 {offset}, {k * width}"))
            if width == 1:
                self.store_one(row, place)
                continue
            self.mask = None if width == self.lanes else self._first_lanes(width)
            self.store(row, place)
            self.mask = None

    def _first_lanes(self, n: int) -> str:
        return "<" + ", ".join(f"i1 {'true' if k < n else 'false'}" for k in range(self.lanes)) + ">"

    def _these_lanes(self, chosen: Sequence[int]) -> Vector:
        bits = ", ".join(f"i1 {'true' if k in chosen else 'false'}" for k in range(self.lanes))
        return Vector(self, "bool", f"<{bits}>")

    # -- what a turn is made of --------------------------------------------------------------------------------------
    def elementwise(
        self, name: str, operands: Sequence[Value], shape: tuple[int, ...], dtype: str, extra: Any
    ) -> Value:
        """An operation on all elements, with operands of one dtype (but for the condition of a choice)."""
        self.check(shape)
        kinds = tuple(x.dtype for x in operands)
        if name == "astype":
            kinds = (*kinds, dtype)
        if not functions.supported(name, kinds, extra):
            raise TooLargeError
        head = shape[:-1]
        rows = []
        picked = []
        for x in operands:
            numbers = np.arange(len(x.rows)).reshape(x.shape[:-1])
            picked.append(np.broadcast_to(numbers, head).reshape(-1))
        for k in range(math.prod(head)):
            parts = [x.rows[int(places[k])] for x, places in zip(operands, picked, strict=True)]
            rows.append(functions.apply(name, parts, dtype, extra))
        return Value(shape, dtype, rows)

    def moved(self, sources: Sequence[Value], places: Any) -> Value:
        """Elements in other places: `places` numbers them through all sources, beginning with 1; 0 is a zero."""
        dtype = sources[0].dtype
        self.check(places.shape)
        where_from: list[tuple[Vector, int, int]] = []
        for x in sources:
            if x.dtype != dtype:
                raise TooLargeError
            where_from += [(row, lane, x.width) for row in x.rows for lane in range(x.width)]
        width = places.shape[-1] if places.ndim else 1
        rows = []
        for numbers in places.reshape(-1, width).tolist():
            by_row: dict[str, tuple[Vector, dict[int, int], int]] = {}
            for lane, number in enumerate(numbers):
                if number:
                    row, source, length = where_from[number - 1]
                    by_row.setdefault(row.name, (row, {}, length))[1][lane] = source
            result = None
            for row, lanes, length in by_row.values():
                part = row if length == 1 else self._shuffled(row, lanes, width)
                if result is None:
                    all_there = len(lanes) == width
                    result = part if all_there else where(self._these_lanes(list(lanes)), part, part.like(0.0))
                else:
                    result = where(self._these_lanes(list(lanes)), part, result)
            rows.append(self.constant(dtype, 0.0) if result is None else result)
        return Value(places.shape, dtype, rows)

    def _shuffled(self, row: Vector, lanes: dict[int, int], width: int) -> Vector:
        order = [lanes.get(0, 0) if width == 1 else lanes.get(k, k) for k in range(self.lanes)]
        if order == list(range(self.lanes)):
            return row
        kind = self.type(row.dtype)
        mask = ", ".join(f"i32 {k}" for k in order)
        text = f"shufflevector {kind} {row.name}, {kind} poison, <{self.lanes} x i32> <{mask}>"
        return Vector(self, row.dtype, self.value(text))

    def across(self, name: str, row: Vector, width: int) -> Vector:
        """The sum, largest or smallest of a row, in all lanes."""
        if width == 1:
            return row
        if width < self.lanes:
            row = where(self._these_lanes(range(width)), row, IDENTITY[name])
        return across(name, row)

    def reduced(self, name: str, x: Value, axes: tuple[int, ...], shape: tuple[int, ...]) -> Value:
        """A reduction."""
        rank = len(x.shape)
        numbers = np.arange(len(x.rows)).reshape(x.shape[:-1])
        leading = tuple(axis for axis in axes if axis < rank - 1)
        kept = [axis for axis in range(rank - 1) if axis not in leading]
        grouped = np.transpose(numbers, (*kept, *leading)).reshape(math.prod(x.shape[a] for a in kept), -1)
        combine = COMBINED[name]
        rows = []
        for several in grouped.tolist():
            total = x.rows[several[0]]
            if name == "sum":  # of which none is -0.0, in NumPy
                total = total + 0.0
            for k in several[1:]:
                total = combine(total, x.rows[k])
            rows.append(total)
        middle = (*(x.shape[a] for a in kept), x.shape[-1])
        if rank - 1 in axes:
            rows = [self.across(name, row, x.width) for row in rows]
            middle = (*middle[:-1], 1)
        value = Value(middle, x.dtype, rows)
        return self.moved([value], np.arange(1, math.prod(shape) + 1).reshape(shape))

    def product(self, a: Value, b: Value, shape: tuple[int, ...]) -> Value:
        """A matrix product."""
        if len(a.shape) > 2 or len(b.shape) > 2 or a.dtype != b.dtype or a.dtype[0] != "f":
            raise TooLargeError
        if len(b.shape) == 1:
            rows = [self.across("sum", row.fma(b.rows[0], 0.0), a.width) for row in a.rows]
            value = Value((len(rows), 1), a.dtype, rows)
            return self.moved([value], np.arange(1, len(rows) + 1).reshape(shape))
        rows = []
        for row in a.rows:
            total = row.like(0.0)
            for k in range(a.width):
                factor = row if a.width == 1 else self._shuffled(row, {0: k}, 1)
                total = factor.fma(b.rows[k], total)
            rows.append(total)
        return Value(shape, a.dtype, rows)

    # -- control -------------------------------------------------------------------------------------------------------
    def truth(self, value: Value) -> str:
        """Whether a value of one element is true."""
        row = functions.astype(value.rows[0], "bool")
        return self.value(f"extractelement {self.type('bool')} {row.name}, i64 0")

    def any_nan(self, value: Value) -> str:
        """Whether there is a NaN among the elements."""
        return self.any_true(Value(value.shape, "bool", [row.isnan() for row in value.rows]))

    def any_true(self, value: Value) -> str:
        """Whether one of the elements is true."""
        found = None
        for row in value.rows:
            one = row & self._these_lanes(range(value.width)) if 1 < value.width < self.lanes else row
            found = one if found is None else found | one
        assert found is not None
        return self.any_lane(found)

    def unless(self, condition: str, label: str) -> None:
        """Go on where a condition holds, and elsewhere to a label."""
        here = self.name("on")
        self.line(f"br i1 {condition}, label %{here}, label %{label}")
        self.label(here)

    def slots(self, value: Value) -> list[str]:
        """Variables that hold a value from turn to turn."""
        names = [self.variable(self.type(value.dtype)) for _ in value.rows]
        self.assign(names, value)
        return names

    def assign(self, names: Sequence[str], value: Value) -> None:
        """Give variables another value."""
        for name, row in zip(names, value.rows, strict=True):
            self.line(f"store {self.type(value.dtype)} {row.name}, ptr {name}")

    def fetched(self, names: Sequence[str], shape: tuple[int, ...], dtype: str) -> Value:
        """The value of variables."""
        kind = self.type(dtype)
        return Value(shape, dtype, [Vector(self, dtype, self.fresh(f"load {kind}, ptr {name}")) for name in names])

    def text(self, triple: str) -> str:
        """The whole module."""
        head = "define void @box(ptr %frame, i64 %n, i64 %r0, i64 %r1, i64 %c0, i64 %c1) {\nstart:"
        box = "\n".join([head, *self.variables, *self.lines, "  ret void", "}"])
        finish = "define void @finish(ptr %frame, i64 %n, i64 %chunks, ptr %sums, ptr %parts, i1 %partial) {\n"
        parts = [f'target triple = "{triple}"', *sorted(self.declared), *self.helpers.values(), box, finish]
        return "\n".join([*parts, "  ret void", "}", ""])
