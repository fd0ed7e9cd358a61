"""Vectors as formulas read them: a small writer of LLVM's language, one instruction per operator.

A `Vector` is the name of a value of 8 or 16 lanes in the program being written; adding two of them writes an
addition.  An instruction that was written before, where it still holds, is not written again, so common
subexpressions (the halves of sine and cosine, an exponential in value and gradient) cost nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["BYTES", "SCALAR", "Vector", "Writer", "constant", "where"]

BYTES = 64  # of a vector: the widest registers there are; LLVM splits them where the processor's are narrower

SCALAR = {"f4": "float", "f8": "double", "i4": "i32", "i8": "i64", "bool": "i1"}
_BITS = {"f4": "i4", "f8": "i8"}


class Writer:
    """The text of one LLVM function as it grows, and what has been computed where."""

    def __init__(self, lanes: int, avx512: bool = False) -> None:
        self.lanes, self.avx512 = lanes, avx512
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self.helpers: dict[str, str] = {}
        self.variables: list[str] = []
        self._scopes: list[dict[str, str]] = [{}]
        self._count = 0

    def name(self, stem: str = "v") -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{stem}{self._count}"

    def line(self, text: str) -> None:
        """Write an instruction without a result."""
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        """Begin a basic block; the block before must have ended in a branch."""
        self.lines.append(f"{name}:")

    def fresh(self, text: str) -> str:
        """Write an instruction whose result may differ each time: a load."""
        name = "%" + self.name()
        self.lines.append(f"  {name} = {text}")
        return name

    def value(self, text: str) -> str:
        """Write an instruction whose result depends on its operands only, unless it is there already."""
        for scope in self._scopes:
            if text in scope:
                return scope[text]
        name = self._scopes[-1][text] = self.fresh(text)
        return name

    def variable(self, kind: str) -> str:
        """A pointer to a variable of the function; LLVM makes a register of it."""
        name = "%" + self.name("variable")
        self.variables.append(f"  {name} = alloca {kind}")
        return name

    def has_scale(self, dtype: str) -> bool:
        """Whether `Vector.scale` is one instruction."""
        return self.avx512 and self.lanes * int(dtype[1]) == BYTES

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is computed inside holds only inside: in a loop's body."""
        self._scopes.append({})
        try:
            yield
        finally:
            self._scopes.pop()

    def type(self, dtype: str) -> str:
        """A vector's type."""
        return f"<{self.lanes} x {SCALAR[dtype]}>"

    def intrinsic(self, name: str, dtype: str, *operands: Vector) -> Vector:
        """Call an LLVM intrinsic on vectors of one dtype."""
        kind = self.type(dtype)
        full = f"{name}.v{self.lanes}{'f' if dtype[0] == 'f' else 'i'}{8 * int(dtype[1])}"
        return Vector(self, dtype, self.value(self.call(kind, full, *((kind, v.name) for v in operands))))

    def call(self, kind: str, name: str, *operands: tuple[str, str]) -> str:
        """The text of a call of an LLVM intrinsic, which is declared: with the type and the name of each operand."""
        self.declared.add(f"declare {kind} @llvm.{name}({', '.join(each for each, _ in operands)})")
        return f"call {kind} @llvm.{name}({', '.join(f'{each} {x}' for each, x in operands)})"

    def any_lane(self, condition: Vector) -> str:
        """Whether a condition holds in any lane."""
        name = f"vector.reduce.or.v{self.lanes}i1"
        return self.value(self.call("i1", name, (self.type("bool"), condition.name)))

    def constant(self, dtype: str, value: float) -> Vector:
        """The same number in all lanes."""
        return Vector(self, dtype, f"splat ({SCALAR[dtype]} {constant(dtype, value)})")

    def exchange(self, v: Vector, distance: int) -> Vector:
        """The lanes in another order: lane k is lane k xor distance."""
        kind = self.type(v.dtype)
        order = ", ".join(f"i32 {k ^ distance}" for k in range(self.lanes))
        text = f"shufflevector {kind} {v.name}, {kind} poison, <{self.lanes} x i32> <{order}>"
        return Vector(self, v.dtype, self.value(text))

    def splat(self, dtype: str, scalar: str) -> Vector:
        """A vector with the same value in all lanes."""
        kind, element = self.type(dtype), SCALAR[dtype]
        one = self.value(f"insertelement {kind} poison, {element} {scalar}, i64 0")
        mask = f"<{self.lanes} x i32> zeroinitializer"
        return Vector(self, dtype, self.value(f"shufflevector {kind} {one}, {kind} poison, {mask}"))


def constant(dtype: str, value: float) -> str:
    """A number as LLVM writes it."""
    if dtype in ("f4", "f8"):
        try:
            value = struct.unpack("f", struct.pack("f", value))[0] if dtype == "f4" else value
        except OverflowError:
            value = math.copysign(math.inf, value)
        return "0x" + struct.pack(">d", value).hex().upper()
    if value != int(value):
        raise ValueError(f"the constant {value} is not of dtype {dtype}")
    return ("true" if value else "false") if dtype == "bool" else str(int(value))


class Vector:
    """A value in the program: operators write instructions."""

    __slots__ = ("dtype", "name", "writer")

    def __init__(self, writer: Writer, dtype: str, name: str) -> None:
        self.writer, self.dtype, self.name = writer, dtype, name

    def like(self, value: float) -> Vector:
        """A constant of the same dtype."""
        return self.writer.constant(self.dtype, value)

    def _of(self, other: Vector | float) -> Vector:
        return other if isinstance(other, Vector) else self.like(other)

    def _write(self, instruction: str, other: Vector | float, dtype: str = "") -> Vector:
        text = f"{instruction} {self.writer.type(self.dtype)} {self.name}, {self._of(other).name}"
        return Vector(self.writer, dtype or self.dtype, self.writer.value(text))

    def _arithmetic(self, instruction: str, other: Vector | float) -> Vector:
        return self._write(("f" if self.dtype[0] == "f" else "") + instruction, other)

    def __add__(self, other: Vector | float) -> Vector:
        return self._arithmetic("add", other)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: float) -> Vector:
        return self.like(other) - self

    def __mul__(self, other: Vector | float) -> Vector:
        return self._arithmetic("mul", other)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._write("fdiv", other)

    def __rtruediv__(self, other: float) -> Vector:
        return self.like(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Vector:
        if self.dtype[0] == "i":
            return 0 - self
        return Vector(self.writer, self.dtype, self.writer.value(f"fneg {self.writer.type(self.dtype)} {self.name}"))

    def compare(self, relation: str, other: Vector | float) -> Vector:
        """`relation`: lt, le, gt, ge, eq, ne; with NaN, all but ne are false."""
        if self.dtype[0] == "f":
            return self._write(f"fcmp {'une' if relation == 'ne' else 'o' + relation}", other, "bool")
        signed = "" if relation in ("eq", "ne") else "u" if self.dtype == "bool" else "s"
        return self._write(f"icmp {signed}{relation}", other, "bool")

    def __lt__(self, other: Vector | float) -> Vector:
        return self.compare("lt", other)

    def __le__(self, other: Vector | float) -> Vector:
        return self.compare("le", other)

    def __gt__(self, other: Vector | float) -> Vector:
        return self.compare("gt", other)

    def __ge__(self, other: Vector | float) -> Vector:
        return self.compare("ge", other)

    def isnan(self) -> Vector:
        """Where it is not a number."""
        return self._write("fcmp uno", self, "bool")

    def __and__(self, other: Vector | int) -> Vector:
        return self._write("and", other)

    def __or__(self, other: Vector | int) -> Vector:
        return self._write("or", other)

    def __xor__(self, other: Vector | int) -> Vector:
        return self._write("xor", other)

    def __lshift__(self, bits: int) -> Vector:
        return self._write("shl", bits)

    def __rshift__(self, bits: int) -> Vector:
        return self._write("ashr", bits)

    def __abs__(self) -> Vector:
        return self.writer.intrinsic("fabs", self.dtype, self)

    def copysign(self, sign: Vector) -> Vector:
        """With the sign of another."""
        return self.writer.intrinsic("copysign", self.dtype, self, self._of(sign))

    def fma(self, factor: Vector | float, addend: Vector | float) -> Vector:
        """`self * factor + addend`, rounded once."""
        return self.writer.intrinsic("fma", self.dtype, self, self._of(factor), self._of(addend))

    def scale(self, whole: Vector) -> Vector:
        """`self * 2**whole`, rounded once, for a whole number as a float."""
        w, kind = self.writer, self.writer.type(self.dtype)
        name = f"x86.avx512.mask.scalef.{'ps' if self.dtype == 'f4' else 'pd'}.512"
        operands = (kind, self.name), (kind, whole.name), (kind, "zeroinitializer")
        all_lanes, as_rounding_is_set = (f"i{w.lanes}", "-1"), ("i32", "4")
        return Vector(w, self.dtype, w.value(w.call(kind, name, *operands, all_lanes, as_rounding_is_set)))

    def call(self, name: str) -> Vector:
        """An intrinsic of one operand: sqrt, floor, ceil, trunc, rint."""
        return self.writer.intrinsic(name, self.dtype, self)

    def convert(self, instruction: str, dtype: str) -> Vector:
        """Another dtype of the same number (or, bitcast, of the same bits)."""
        kinds = f"{self.writer.type(self.dtype)} {self.name} to {self.writer.type(dtype)}"
        return Vector(self.writer, dtype, self.writer.value(f"{instruction} {kinds}"))

    @property
    def bits(self) -> Vector:
        """The same bits as an integer."""
        return self.convert("bitcast", _BITS[self.dtype])

    @property
    def as_float(self) -> Vector:
        """The same bits as a floating-point number."""
        return self.convert("bitcast", {"i4": "f4", "i8": "f8"}[self.dtype])

    def where_rare(
        self, condition: Vector, helper: Callable[[str, int], tuple[str, str, set[str]]], of: Vector
    ) -> Vector:
        """This vector or, if the condition is true in any lane, what a helper function makes of `of` and this.

        `helper` gives the function's name, text and what that declares, for a dtype and a number of lanes.
        """
        w, kind = self.writer, self.writer.type(self.dtype)
        function, text, declared = helper(self.dtype, w.lanes)
        w.helpers[function] = text
        w.declared |= declared
        place = w.name("%rare")
        slot = w.variable(kind)
        w.line(f"store {kind} {self.name}, ptr {slot}")
        found = w.any_lane(condition)
        w.line(f"br i1 {found}, label {place}, label {place}end")
        w.label(place[1:])
        new = w.fresh(f"call {kind} @{function}({kind} {of.name}, {kind} {self.name})")
        w.line(f"store {kind} {new}, ptr {slot}")
        w.line(f"br label {place}end")
        w.label(f"{place[1:]}end")
        return Vector(w, self.dtype, w.fresh(f"load {kind}, ptr {slot}"))


def where(condition: Vector, yes: Vector | float, no: Vector | float) -> Vector:
    """One or the other in each lane."""
    like = yes if isinstance(yes, Vector) else no
    assert isinstance(like, Vector)
    yes, no, w = like._of(yes), like._of(no), like.writer
    kind = w.type(like.dtype)
    text = f"select {w.type('bool')} {condition.name}, {kind} {yes.name}, {kind} {no.name}"
    return Vector(w, like.dtype, w.value(text))
