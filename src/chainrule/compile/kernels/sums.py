"""What reductions add up in: sums that lose next to nothing, and how two of anything become one.

A vector's lanes are added up over blocks; the blocks in float64 for float32, and for float64 with the rounding errors
kept (Knuth's two-sum).
"""

from __future__ import annotations

import math

from . import functions
from .vector import Vector, Writer, where

__all__ = ["COMBINED", "IDENTITY", "Sum", "Variable", "across", "rounded", "two_sum"]

IDENTITY = {"sum": 0.0, "max": -math.inf, "min": math.inf, "any": 0.0}
COMBINED = {"sum": Vector.__add__, "max": functions.maximum, "min": functions.minimum, "any": Vector.__or__}


class Variable:
    """A vector that changes."""

    def __init__(self, writer: Writer, dtype: str, identity: float) -> None:
        self.writer, self.dtype, self.identity = writer, dtype, identity
        self.slot = writer.variable(writer.type(dtype))

    def get(self) -> Vector:
        w = self.writer
        return Vector(w, self.dtype, w.fresh(f"load {w.type(self.dtype)}, ptr {self.slot}"))

    def set(self, vector: Vector) -> None:
        self.writer.line(f"store {self.writer.type(self.dtype)} {vector.name}, ptr {self.slot}")

    def clear(self) -> None:
        self.set(Vector(self.writer, self.dtype, "").like(self.identity))


class Sum:
    """A sum of many vectors, in three variables: of the block, of the blocks, and of their rounding errors."""

    def __init__(self, writer: Writer, dtype: str) -> None:
        self.writer, self.dtype = writer, dtype
        self.block = Variable(writer, dtype, IDENTITY["sum"])
        self.high = Variable(writer, "f8", IDENTITY["sum"])
        self.low = Variable(writer, "f8", 0.0)

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
        total, lost = two_sum(self.high.get(), vector)
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
                high, lost = two_sum(high, other)
                low = low + w.exchange(low, distance) + lost
            distance //= 2
        return high, low


def across(name: str, vector: Vector) -> Vector:
    """The sum, largest or smallest of all lanes, in all lanes."""
    distance = vector.writer.lanes // 2
    while distance:
        vector = COMBINED[name](vector, vector.writer.exchange(vector, distance))
        distance //= 2
    return vector


def two_sum(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """The sum, and its rounding error exactly (NaN where the sum is not finite)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def rounded(high: Vector, low: Vector, dtype: str) -> Vector:
    """One number of a sum and its error."""
    whole = where(low.isnan(), high, high + low)
    return whole.convert("fptrunc", "f4") if dtype == "f4" else whole
