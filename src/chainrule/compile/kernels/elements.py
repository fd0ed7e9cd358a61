"""Functions that go over arrays: loads and stores of vectors, and loops over what does not fit into one."""

from __future__ import annotations

from collections.abc import Callable

from . import functions
from .group import SIZES, Group, Plan
from .vector import BYTES, SCALAR, Vector, Writer

__all__ = ["ElementFunction", "GroupFunction"]


class ElementFunction(Writer):
    """A function that reads and writes arrays."""

    def __init__(self, lanes: int, avx512: bool) -> None:
        super().__init__(lanes, avx512)
        self.mask: str | None = None  # which lanes there are, in the last vector of a row
        self.left = 0  # how many these are, where that is known

    def pointer(self, number: int) -> str:
        """The pointer to, or the value of, an argument: inputs, outputs, kept values."""
        place = self.value(f"getelementptr ptr, ptr %frame, i64 {number}")
        return self.value(f"load ptr, ptr {place}")

    def address(self, base: str, dtype: str, index: str) -> str:
        return self.value(f"getelementptr {'i8' if dtype == 'bool' else SCALAR[dtype]}, ptr {base}, i64 {index}")

    def _form(self, dtype: str) -> tuple[str, str, int, str]:
        """In memory: an element, a vector of them, the bytes of one, and how intrinsics name the vector."""
        element, size = "i8" if dtype == "bool" else SCALAR[dtype], SIZES[dtype]
        letter = "f" if dtype[0] == "f" else "i"
        return element, f"<{self.lanes} x {element}>", size, f"v{self.lanes}{letter}{8 * size}"

    def load(self, address: str, dtype: str, step: int = 1) -> Vector:
        """The elements from an address on, so many apart."""
        element, kind, size, suffix = self._form(dtype)
        mask = self.type("bool"), self.mask or "splat (i1 true)"
        if step != 1:
            apart = self._apart(address, element, step)
            gather = f"masked.gather.{suffix}.v{self.lanes}p0"
            name = self.fresh(self.call(kind, gather, apart, ("i32", f"{size}"), mask, (kind, "zeroinitializer")))
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
            operands = ("ptr", address), ("i32", f"{size}"), mask, (kind, "zeroinitializer")
            name = self.fresh(self.call(kind, f"masked.load.{suffix}.p0", *operands))
        if dtype == "bool":
            name = self.fresh(f"icmp ne {kind} {name}, zeroinitializer")
        return Vector(self, dtype, name)

    def _apart(self, address: str, element: str, step: int) -> tuple[str, str]:
        """The addresses of all lanes, so many elements apart: type and name."""
        steps = ", ".join(f"i64 {k * step}" for k in range(self.lanes))
        name = self.value(f"getelementptr {element}, ptr {address}, <{self.lanes} x i64> <{steps}>")
        return f"<{self.lanes} x ptr>", name

    def store(self, value: Vector, address: str, step: int = 1) -> None:
        """Write the elements from an address on, so many apart."""
        dtype, name = value.dtype, value.name
        element, kind, size, suffix = self._form(dtype)
        if dtype == "bool":
            name = self.fresh(f"zext {self.type('bool')} {name} to {kind}")
        mask = self.type("bool"), self.mask or "splat (i1 true)"
        if step != 1:
            apart = self._apart(address, element, step)
            scatter = f"masked.scatter.{suffix}.v{self.lanes}p0"
            self.line(self.call("void", scatter, (kind, name), apart, ("i32", f"{size}"), mask))
        elif self.left:
            order = ", ".join(f"i32 {k}" for k in range(self.left))
            name = self.fresh(f"shufflevector {kind} {name}, {kind} poison, <{self.left} x i32> <{order}>")
            self.line(f"store <{self.left} x {element}> {name}, ptr {address}, align {size}")
        elif self.mask is None:
            self.line(f"store {kind} {name}, ptr {address}, align {size}")
        else:
            operands = (kind, name), ("ptr", address), ("i32", f"{size}"), mask
            self.line(self.call("void", f"masked.store.{suffix}.p0", *operands))

    def load_one(self, address: str, dtype: str) -> Vector:
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        one = self.fresh(f"load {element}, ptr {address}")
        if dtype == "bool":
            one = self.fresh(f"icmp ne i8 {one}, 0")
        return self.splat(dtype, one)

    def store_one(self, value: Vector, address: str) -> None:
        one = self.value(f"extractelement {self.type(value.dtype)} {value.name}, i64 0")
        if value.dtype == "bool":
            one = self.value(f"zext i1 {one} to i8")
        self.line(f"store {'i8' if value.dtype == 'bool' else SCALAR[value.dtype]} {one}, ptr {address}")

    # -- control -----------------------------------------------------------------------------------------------------
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


class GroupFunction(ElementFunction):
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
        op = self.group.op(number)
        exponent, args = None, op.args
        if op.name == "power":
            args, exponent = op.args[:1], float(op.args[1])
        dtype = next((self.group.dtype(a) for a in args[op.name == "where" :] if isinstance(a, int)), op.dtype)
        given = [self.values[a] if isinstance(a, int) else self.constant(dtype, a) for a in args]
        self.values[number] = functions.apply(op.name, given, op.dtype, exponent)

    # -- memory that several functions share -------------------------------------------------------------------------
    def put(self, memory: str, slot: int | str, value: Vector) -> None:
        """Leave a value in memory that parts of a function share."""
        self.line(f"store {self.type(value.dtype)} {value.name}, ptr {self._shared(memory, slot)}")

    def get(self, memory: str, slot: int | str, dtype: str) -> Vector:
        """Take a value out of it."""
        return Vector(self, dtype, self.fresh(f"load {self.type(dtype)}, ptr {self._shared(memory, slot)}"))

    def _shared(self, memory: str, slot: int | str) -> str:
        return self.value(f"getelementptr <{self.lanes} x i64>, ptr {memory}, i64 {slot}")
