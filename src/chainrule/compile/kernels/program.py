"""From a group to the text of an LLVM module: loops, loads and stores, reductions, and the function Python calls.

The module has one internal function, `box`, which does a part of the box of rows and columns, and entry points with
the calling convention of a C extension's functions: a builtin function object is made of each.  They read NumPy arrays'
data pointers themselves, so a call costs as much as one of a NumPy function without its checks.  All that they need
of Python (`RUNTIME`) comes in a table, the data of the array that is the builtin's `self`: compiled code refers to no
address, and can be kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable

from . import functions
from .group import Group, Plan
from .vector import BYTES, SCALAR, Vector, Writer

__all__ = ["DATA_OFFSET", "ENTRIES", "RUNTIME", "module"]

DATA_OFFSET = 16  # of the data pointer in an array object; checked when the compiler is first used
_TYPE_OFFSET = 8

# What an entry point needs of Python, in the order of the table.
RUNTIME = (
    "PyLong_AsSsize_t",
    "PyFloat_AsDouble",
    "PyLong_AsLongLong",
    "PyObject_IsTrue",
    "PyErr_Occurred",
    "PyErr_SetString",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "PyMem_RawMalloc",
    "PyMem_RawFree",
    "Py_IncRef",
    "None",
    "ndarray",
    "TypeError",
    "message",
)
ENTRIES = ("whole",)
_SIZES = {"f4": 4, "f8": 8, "i4": 4, "i8": 8, "bool": 1}
_RELEASE = 1 << 13  # elements from which on the interpreter's lock is released


class _Box(Writer):
    """The function that computes rows r0 to r1 and columns c0 to c1 of a group's box."""

    def __init__(self, group: Group, plan: Plan) -> None:
        small = min([_SIZES[d] for d in map(group.dtype, range(len(plan.kinds))) if d != "bool"], default=4)
        super().__init__(BYTES // small)
        self.group, self.plan = group, plan
        self.first = len(group.inputs)
        self.values: dict[int, Vector] = {}  # of columns and scalars; of the rest inside a strip
        self.rows: dict[str, str] = {}  # base pointers of the current row
        self.mask: str | None = None

    # memory

    def _slot(self, number: int) -> str:
        """The pointer to, or the value of, an argument: inputs, outputs, kept values."""
        place = self.value(f"getelementptr ptr, ptr %frame, i64 {number}")
        return self.value(f"load ptr, ptr {place}")

    def _address(self, base: str, dtype: str, index: str) -> str:
        return self.value(f"getelementptr {'i8' if dtype == 'bool' else SCALAR[dtype]}, ptr {base}, i64 {index}")

    def _load(self, address: str, dtype: str) -> Vector:
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        kind, size = f"<{self.lanes} x {element}>", _SIZES[dtype]
        if self.mask is None:
            name = self.fresh(f"load {kind}, ptr {address}, align {size}")
        else:
            suffix = f"v{self.lanes}{'i8' if dtype == 'bool' else ('f' if dtype[0] == 'f' else 'i') + str(8 * size)}"
            self.declared.add(f"declare {kind} @llvm.masked.load.{suffix}.p0(ptr, i32, {self.type('bool')}, {kind})")
            call = f"call {kind} @llvm.masked.load.{suffix}.p0(ptr {address}, i32 {size}, "
            name = self.fresh(f"{call}{self.type('bool')} {self.mask}, {kind} zeroinitializer)")
        if dtype == "bool":
            name = self.fresh(f"icmp ne {kind} {name}, zeroinitializer")
        return Vector(self, dtype, name)

    def _store(self, value: Vector, address: str) -> None:
        dtype, name = value.dtype, value.name
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        kind, size = f"<{self.lanes} x {element}>", _SIZES[dtype]
        if dtype == "bool":
            name = self.fresh(f"zext {self.type('bool')} {name} to {kind}")
        if self.mask is None:
            self.line(f"store {kind} {name}, ptr {address}, align {size}")
            return
        suffix = f"v{self.lanes}{'i8' if dtype == 'bool' else ('f' if dtype[0] == 'f' else 'i') + str(8 * size)}"
        self.declared.add(f"declare void @llvm.masked.store.{suffix}.p0({kind}, ptr, i32, {self.type('bool')})")
        call = f"call void @llvm.masked.store.{suffix}.p0({kind} {name}, ptr {address}, i32 {size}, "
        self.line(f"{call}{self.type('bool')} {self.mask})")

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

    # loops

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

    # the function

    def text(self) -> str:
        """The whole function."""
        group, plan = self.group, self.plan
        for number, given in enumerate(group.inputs):
            if given.kind == "scalar":
                place = self.value(f"getelementptr ptr, ptr %frame, i64 {number}")
                self.values[number] = self._load_one(place, given.dtype)
        self._compute(n for n in range(self.first, len(plan.kinds)) if plan.kinds[n] == "scalar")
        for number, out in enumerate(group.outputs):
            if out.kind == "scalar" and out.value not in plan.reduced:
                self._store_one(self.values[out.value], self._slot(self.first + number))
        self.loop("%r0", "%r1", 1, self._row)
        body, self.lines = self.lines, []
        head = "define internal void @box(ptr %frame, i64 %n, i64 %r0, i64 %r1, i64 %c0, i64 %c1) {\nstart:"
        return "\n".join([head, *self.variables, *body, "  ret void", "}"])

    def _compute(self, numbers: object) -> None:
        """Write operations whose operands are there."""
        for number in numbers:  # type: ignore[attr-defined]
            op = self.group.ops[number - self.first]
            if op.kind is not None:
                continue
            exponent, args = None, op.args
            if op.name == "power":
                args, exponent = op.args[:1], float(op.args[1])
            dtype = next((self.group.dtype(a) for a in args[op.name == "where" :] if isinstance(a, int)), op.dtype)
            operands = [self._value(a) if isinstance(a, int) else Vector(self, dtype, "").like(a) for a in args]
            self.values[number] = functions.apply(op.name, operands, op.dtype, exponent)

    def _value(self, number: int) -> Vector:
        return self.values[number]

    def _row(self, r: str) -> None:
        outer = dict(self.values)
        group, plan = self.group, self.plan
        for number, given in enumerate(group.inputs):
            if given.kind == "column":
                self.values[number] = self._load_one(self._address(self._slot(number), given.dtype, r), given.dtype)
        start = self.value(f"mul i64 {r}, %n")
        for level in range(len(plan.passes) + 1):
            self._compute(
                n for n in range(self.first, len(plan.kinds)) if plan.kinds[n] == "column" and plan.levels[n] == level
            )
            if level < len(plan.passes):
                self._pass(level, start)
        for number, out in enumerate(group.outputs):
            if out.kind == "column":
                address = self._address(self._slot(self.first + number), group.dtype(out.value), r)
                self._store_one(self.values[out.value], address)
        self.values = outer

    def _pass(self, level: int, start: str) -> None:
        lanes = self.lanes
        length = self.value("sub i64 %c1, %c0")
        whole = self.value(f"and i64 {length}, {-lanes}")
        stop = self.value(f"add i64 %c0, {whole}")
        self.loop("%c0", stop, lanes, lambda j: self._strip(level, start, j))
        rest = self.value(f"icmp slt i64 {stop}, %c1")

        def tail() -> None:
            indices = ", ".join(f"i32 {k}" for k in range(lanes))
            left = self.fresh(f"sub i64 %c1, {stop}")
            left = self.fresh(f"trunc i64 {left} to i32")
            many = self.splat("i4", left).name
            self.mask = self.fresh(f"icmp slt <{lanes} x i32> <{indices}>, {many}")
            self._strip(level, start, stop)
            self.mask = None

        self.when(rest, tail)

    def _strip(self, level: int, start: str, j: str) -> None:
        """One vector of columns."""
        outer = dict(self.values)
        group, plan = self.group, self.plan
        at = self.value(f"add i64 {start}, {j}")
        needed = {a for n in plan.computed[level] for a in group.ops[n - self.first].args if isinstance(a, int)}
        needed |= set(plan.passes[level])
        for number, given in enumerate(group.inputs):
            if number in needed and given.kind in ("full", "row"):
                index = at if given.kind == "full" else j
                self.values[number] = self._load(self._address(self._slot(number), given.dtype, index), given.dtype)
        self._compute(plan.computed[level])
        for number, out in enumerate(group.outputs):
            if out.value in plan.passes[level] and out.kind in ("full", "row") and out.value not in plan.reduced:
                index = at if out.kind == "full" else j
                address = self._address(self._slot(self.first + number), group.dtype(out.value), index)
                self._store(self.values[out.value], address)
        self.values = outer


def module(group: Group, plan: Plan, triple: str) -> str:
    """The text of the module."""
    box = _Box(group, plan)
    text = box.text()
    helpers = "\n".join(box.helpers.values())
    whole = _entry(group)
    declared = box.declared
    return "\n".join([f'target triple = "{triple}"', *sorted(declared), helpers, text, whole, ""])


def _entry(group: Group) -> str:
    """The function of the builtin: (self, arguments, their number) -> None, or an exception."""
    count = len(group.inputs) + len(group.outputs)
    out: list[str] = []
    names = iter(range(1 << 30))

    def put(text: str) -> str:
        name = f"%e{next(names)}"
        out.append(f"  {name} = {text}")
        return name

    def runtime(name: str) -> str:
        place = put(f"getelementptr ptr, ptr %table, i64 {RUNTIME.index(name)}")
        return put(f"load ptr, ptr {place}")

    def argument(number: int) -> str:
        place = put(f"getelementptr ptr, ptr %args, i64 {number}")
        return put(f"load ptr, ptr {place}")

    def check(condition: str, otherwise: str) -> None:
        label = f"ok{next(names)}"
        out.append(f"  br i1 {condition}, label %{label}, label %{otherwise}")
        out.append(f"{label}:")

    check(put(f"icmp eq i64 %count, {count + 2}"), "refuse")
    size = runtime("PyLong_AsSsize_t")
    m = put(f"call i64 {size}(ptr {argument(0)})")
    n = put(f"call i64 {size}(ptr {argument(1)})")
    ndarray = runtime("ndarray")
    for number in range(count):
        given = group.inputs[number] if number < len(group.inputs) else None
        slot = put(f"getelementptr ptr, ptr %frame, i64 {number}")
        array = argument(number + 2)
        kind = put(f"load ptr, ptr {put(f'getelementptr i8, ptr {array}, i64 {_TYPE_OFFSET}')}")
        is_array = put(f"icmp eq ptr {kind}, {ndarray}")
        if given is None or given.kind != "scalar":
            check(is_array, "refuse")
            data = put(f"load ptr, ptr {put(f'getelementptr i8, ptr {array}, i64 {DATA_OFFSET}')}")
            out.append(f"  store ptr {data}, ptr {slot}")
            continue
        element = "i8" if given.dtype == "bool" else SCALAR[given.dtype]
        k = next(names)
        out.append(f"  br i1 {is_array}, label %array{k}, label %number{k}")
        out.append(f"array{k}:")
        data = put(f"load ptr, ptr {put(f'getelementptr i8, ptr {array}, i64 {DATA_OFFSET}')}")
        one = put(f"load {element}, ptr {data}")
        out.append(f"  store {element} {one}, ptr {slot}")
        out.append(f"  br label %next{k}")
        out.append(f"number{k}:")
        if given.dtype == "bool":
            one = put(f"call i32 {runtime('PyObject_IsTrue')}(ptr {array})")
            one = put(f"trunc i32 {one} to i8")
        elif given.dtype[0] == "i":
            one = put(f"call i64 {runtime('PyLong_AsLongLong')}(ptr {array})")
            one = put(f"trunc i64 {one} to i32") if given.dtype == "i4" else one
        else:
            one = put(f"call double {runtime('PyFloat_AsDouble')}(ptr {array})")
            one = put(f"fptrunc double {one} to float") if given.dtype == "f4" else one
        out.append(f"  store {element} {one}, ptr {slot}")
        out.append(f"  br label %next{k}")
        out.append(f"next{k}:")
    # Conversions of numbers that failed have set an exception, and returned -1.
    suspicious = put(f"icmp slt i64 {put(f'or i64 {m}, {n}')}, 0")
    if any(given.kind == "scalar" for given in group.inputs):
        suspicious = "true"
    out.append(f"  br i1 {suspicious}, label %doubt, label %compute")
    out.append("doubt:")
    occurred = put(f"call ptr {runtime('PyErr_Occurred')}()")
    out.append(f"  br i1 {put(f'icmp eq ptr {occurred}, null')}, label %compute, label %failed")
    out.append("compute:")
    elements = put(f"mul i64 {m}, {n}")
    long = put(f"icmp sgt i64 {elements}, {_RELEASE}")
    out.append(f"  br i1 {long}, label %release, label %run")
    out.append("release:")
    state = put(f"call ptr {runtime('PyEval_SaveThread')}()")
    out.append("  br label %run")
    out.append("run:")
    kept = put(f"phi ptr [ null, %compute ], [ {state}, %release ]")
    out.append(f"  call void @box(ptr %frame, i64 {n}, i64 0, i64 {m}, i64 0, i64 {n})")
    out.append(f"  br i1 {long}, label %acquire, label %done")
    out.append("acquire:")
    out.append(f"  call void {runtime('PyEval_RestoreThread')}(ptr {kept})")
    out.append("  br label %done")
    out.append("done:")
    none = runtime("None")
    out.append(f"  call void {runtime('Py_IncRef')}(ptr {none})")
    out.append(f"  ret ptr {none}")
    out.append("refuse:")
    out.append(f"  call void {runtime('PyErr_SetString')}(ptr {runtime('TypeError')}, ptr {runtime('message')})")
    out.append("  br label %failed")
    out.append("failed:")
    out.append("  ret ptr null")
    head = f"""define ptr @whole(ptr %self, ptr %args, i64 %count) {{
entry:
  %frame = alloca [{max(count, 1)} x i64]
  %place = getelementptr i8, ptr %self, i64 {DATA_OFFSET}
  %table = load ptr, ptr %place"""
    return "\n".join([head, *out, "}"])
