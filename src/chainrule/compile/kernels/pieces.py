"""Very many operations as several functions, which pass values on in memory.

What compilers do with one function takes more than proportionally long; and so many values do not fit into registers
anyway.  Pieces that do the same with other values are one function: where it finds them is an argument, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..stretches import stretches
from .elements import GroupFunction
from .group import Group, operands, weight

__all__ = ["LARGEST", "compute_in_pieces"]

LARGEST = 800  # simple operations that are one function
_EQUAL = 300  # where these are equal to others
_TURNS = 4  # that are looked for there, at least


class _Piece(GroupFunction):
    """A function that computes some of another one's values, from a memory that they share and back into it.

    Where in the memory is an argument, too: a table.  So pieces that do the same with other values are one function.
    """

    def __init__(self, whole: GroupFunction) -> None:
        super().__init__(whole.group, whole.plan, whole.avx512)
        self.declared, self.helpers = whole.declared, whole.helpers

    def text(self, name: str, numbers: list[int], read: list[int], left: list[int]) -> str:
        """The whole function: what it reads and what it leaves is in the table, in this order."""
        places = {number: k for k, number in enumerate([*read, *left])}
        for number in numbers:
            for arg in operands(self.group.op(number)):
                if arg not in self.values:
                    self.values[arg] = self.get("%read", self._place(places[arg]), self.group.dtype(arg))
            self.apply(number)
            if number in places:
                self.put("%left", self._place(places[number]), self.values[number])
        # What is left goes where nothing is that is read.
        memory = "ptr noalias readonly %read, ptr noalias %left, ptr noalias readonly %places"
        head = f"define internal void @{name}({memory}) noinline {{\nstart:"
        return "\n".join([head, *self.variables, *self.lines, "  ret void", "}"])

    def _place(self, k: int) -> str:
        return self.fresh(f"load i64, ptr {self.value(f'getelementptr i64, ptr %places, i64 {k}')}")


def compute_in_pieces(whole: GroupFunction, numbers: list[int]) -> None:
    """Write operations of a function, in order, as calls of functions that do some of them each."""
    group, memory = whole.group, "%" + whole.name("shared")
    pieces = _cut(group, numbers)
    last = _last_reads(whole, pieces)
    ends: dict[int, list[int]] = {}
    for number, k in last.items():
        ends.setdefault(k, []).append(number)
    slots = _Slots()
    mine = set(numbers)
    for number in last:
        if number not in mine and number in whole.values:
            whole.put(memory, slots.take(number), whole.values[number])
    known: dict[Any, str] = {}
    for k, piece in enumerate(pieces):
        for number in piece:
            if last.get(number, k) > k:
                slots.take(number)
        inside = set(piece)
        read = list(dict.fromkeys(arg for n in piece for arg in operands(group.op(n)) if arg not in inside))
        left = [number for number in piece if number in slots.of]
        does = _described(group, piece, read, left)
        if does not in known:
            known[does] = name = f"{memory[1:]}.{k}"
            whole.helpers[name] = _Piece(whole).text(name, piece, read, left)
        places = [slots.of[number] for number in (*read, *left)]
        table = f"@{memory[1:]}.places.{k}"
        numbered = ", ".join(f"i64 {place}" for place in places)
        whole.helpers[table] = f"{table} = internal constant [{len(places)} x i64] [{numbered}]"
        whole.line(f"call void @{known[does]}(ptr {memory}, ptr {memory}, ptr {table})")
        slots.give_back(ends.get(k, ()))
    for number in numbers:
        if number in slots.of:
            whole.values[number] = whole.get(memory, slots.of[number], group.dtype(number))
    whole.variables.append(f"  {memory} = alloca [{slots.size} x <{whole.lanes} x i64>]")


class _Slots:
    """Which values are where in the memory that pieces share."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}
        self.size = 0
        self._free: list[int] = []

    def take(self, number: int) -> int:
        """A slot for a value."""
        if self._free:
            self.of[number] = self._free.pop()
        else:
            self.of[number], self.size = self.size, self.size + 1
        return self.of[number]

    def give_back(self, numbers: Iterable[int]) -> None:
        """Nobody reads these values any more."""
        self._free += [self.of.pop(number) for number in numbers if number in self.of]


def _last_reads(whole: GroupFunction, pieces: list[list[int]]) -> dict[int, int]:
    """In which piece each value is read last; one more than there are, if it is read after them."""
    group = whole.group
    mine = {number for piece in pieces for number in piece}
    later = {out.value for out in group.outputs} | set(whole.plan.kept)
    for number, op in enumerate(group.ops, whole.first):
        if number not in mine or op.kind is not None:
            later |= set(operands(op))
    last = dict.fromkeys(later & mine, len(pieces))
    for k, piece in enumerate(pieces):
        for number in piece:
            for arg in operands(group.op(number)):
                last[arg] = max(last.get(arg, 0), k)
    return last


def _described(group: Group, numbers: list[int], read: list[int], left: list[int]) -> Any:
    """What a piece does, whatever the values are called."""
    place = {number: k for k, number in enumerate(dict.fromkeys([*read, *numbers]))}
    does = tuple(
        (op.name, op.dtype, *(place[arg] if isinstance(arg, int) else repr(arg) for arg in op.args))
        for op in map(group.op, numbers)
    )
    return does, tuple(map(group.dtype, read)), tuple(place[number] for number in left)


# -- where to cut --------------------------------------------------------------------------------------------------
def _cut(group: Group, numbers: list[int]) -> list[list[int]]:
    """Cut operations into pieces; where they repeat themselves, into equal ones, which are compiled once."""
    kinds: dict[Any, int] = {}
    does = [kinds.setdefault(_described(group, [n], operands(group.op(n)), [n]), len(kinds)) for n in numbers]
    pieces: list[list[int]] = []
    at = 0
    for begin, period, turns in stretches(np.array(does), _TURNS, _TURNS):
        pieces += _by_weight(group, numbers[at:begin])
        at = begin + period * turns
        step = period * max(1, _EQUAL // sum(weight(group.op(n)) for n in numbers[begin : begin + period]))
        for first in range(begin, at, step):
            pieces += _by_weight(group, numbers[first : min(first + step, at)])
    return pieces + _by_weight(group, numbers[at:])


def _by_weight(group: Group, numbers: list[int]) -> list[list[int]]:
    pieces: list[list[int]] = []
    heavy = LARGEST + 1
    for number in numbers:
        if heavy > LARGEST:
            pieces.append([])
            heavy = 0
        pieces[-1].append(number)
        heavy += weight(group.op(number))
    return pieces
