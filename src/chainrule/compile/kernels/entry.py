"""The functions of a kernel's module that Python calls.

They have the calling convention of a C extension's functions: a builtin function object is made of each.  They read
arrays' data pointers themselves, so that a call costs little more than that of any builtin.  All that they need of
Python (`RUNTIME`) comes in a table, which is the data of the array that is the builtin's `self`: compiled code refers
to no address of this process, and can be kept on disk.

`whole(m, n, *arrays)` computes a group.  `part(m, n, k, parts, work, *arrays)` computes the k-th of so many parts of
the chunks, and with k equal to `parts` combines them; `work` is an array of at least `work_bytes` bytes.
"""

from __future__ import annotations

from .group import Group, Plan, row_reductions, scalar_reductions
from .vector import SCALAR

__all__ = ["CHUNKS", "DATA_OFFSET", "ENTRIES", "RUNTIME", "entries", "work_bytes"]

CHUNKS = 16  # at most
ENTRIES = ("whole", "part")
DATA_OFFSET = 16  # of the data pointer in an array object; checked when the compiler is first used
_TYPE_OFFSET = 8
_CHUNK = 15  # a chunk has 2^15 elements or more
_ALIGN = 64  # columns of a chunk, except of the last
_RELEASE = 1 << 13  # elements from which on the interpreter's lock is released
_ROWS_FROM = 16  # boxes of so many rows are divided by rows

# What the entry points need of Python, in the order of the table: functions, then objects.
RUNTIME = (
    "PyLong_AsSsize_t",
    "PyFloat_AsDouble",
    "PyLong_AsLongLong",
    "PyObject_IsTrue",
    "PyErr_Occurred",
    "PyErr_SetString",
    "PyErr_NoMemory",
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


def work_bytes(group: Group, n: int) -> int:
    """How much memory the chunks' results take."""
    return 16 * CHUNKS * len(scalar_reductions(group)) + 8 * (CHUNKS - 1) * len(row_reductions(group)) * n + 16


def entries(group: Group, plan: Plan) -> str:
    """The text of the entry points."""
    given, rows, scalars = len(group.inputs) + len(group.outputs), row_reductions(group), scalar_reductions(group)
    places = {"frame": given + len(rows) + 1 + len(plan.kept), "rows": given, "scalars": given + len(rows)}
    return "\n".join(
        [
            "declare i64 @llvm.umin.i64(i64, i64)\ndeclare i64 @llvm.umax.i64(i64, i64)",
            _unpack(group),
            _chunks(group, plan),
            _drive(group, places, len(scalars)),
            _entry(group, plan, places, len(scalars), threaded=False),
            _entry(group, plan, places, len(scalars), threaded=True),
        ]
    )


class _Text:
    """Instructions, with names for their results."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, text: str) -> str:
        """An instruction; return the name of its result."""
        name = f"%t{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def add(self, *lines: str) -> None:
        """Instructions without a result, and labels."""
        self.lines += [line if line.endswith(":") else "  " + line for line in lines]

    def element(self, base: str, index: int) -> str:
        """The pointer at an index of an array of pointers."""
        return self.put(f"load ptr, ptr {self.put(f'getelementptr ptr, ptr {base}, i64 {index}')}")

    def runtime(self, name: str) -> str:
        """A function or an object of Python."""
        return self.element("%table", RUNTIME.index(name))

    def field(self, thing: str, offset: int) -> str:
        """A pointer in an object."""
        return self.put(f"load ptr, ptr {self.put(f'getelementptr i8, ptr {thing}, i64 {offset}')}")


def _unpack(group: Group) -> str:
    """Fill the frame with data pointers and numbers; whether that was possible."""
    t = _Text()
    ndarray = t.runtime("ndarray")
    for number in range(len(group.inputs) + len(group.outputs)):
        k = str(number)
        thing = t.element("%args", number)
        slot = t.put(f"getelementptr ptr, ptr %frame, i64 {number}")
        is_array = t.put(f"icmp eq ptr {t.field(thing, _TYPE_OFFSET)}, {ndarray}")
        if number >= len(group.inputs) or group.inputs[number].kind != "scalar":
            t.add(f"br i1 {is_array}, label %array{k}, label %refuse", f"array{k}:")
            t.add(f"store ptr {t.field(thing, DATA_OFFSET)}, ptr {slot}")
            continue
        dtype = group.inputs[number].dtype
        element = "i8" if dtype == "bool" else SCALAR[dtype]
        t.add(f"br i1 {is_array}, label %array{k}, label %number{k}", f"array{k}:")
        t.add(f"store {element} {t.put(f'load {element}, ptr {t.field(thing, DATA_OFFSET)}')}, ptr {slot}")
        t.add(f"br label %next{k}", f"number{k}:")
        if dtype == "bool":
            truth = t.runtime("PyObject_IsTrue")
            one = t.put(f"trunc i32 {t.put(f'call i32 {truth}(ptr {thing})')} to i8")
        elif dtype[0] == "i":
            integer = t.runtime("PyLong_AsLongLong")
            one = t.put(f"call i64 {integer}(ptr {thing})")
            one = t.put(f"trunc i64 {one} to i32") if dtype == "i4" else one
        else:
            real = t.runtime("PyFloat_AsDouble")
            one = t.put(f"call double {real}(ptr {thing})")
            one = t.put(f"fptrunc double {one} to float") if dtype == "f4" else one
        t.add(f"store {element} {one}, ptr {slot}", f"br label %next{k}", f"next{k}:")
    if any(given.kind == "scalar" for given in group.inputs):  # a conversion may have failed
        occurred = t.runtime("PyErr_Occurred")
        error = t.put(f"call ptr {occurred}()")
        t.add(f"ret i1 {t.put(f'icmp eq ptr {error}, null')}")
    else:
        t.add("ret i1 true")
    t.add("refuse:")
    t.add(f"call void {t.runtime('PyErr_SetString')}(ptr {t.runtime('TypeError')}, ptr {t.runtime('message')})")
    t.add("ret i1 false")
    return "\n".join(["define internal i1 @unpack(ptr %frame, ptr %args, ptr %table) {", *t.lines, "}"])


def _by_rows(group: Group, plan: Plan) -> bool:
    """Whether the box can be divided only by rows: what belongs to a row is computed once."""
    return "column" in [*(op.kind for op in group.ops), *(out.kind for out in group.outputs)] or any(
        plan.kinds[int(op.args[0])] == "column" for op in group.ops if op.kind == "scalar"
    )


def _chunks(group: Group, plan: Plan) -> str:
    """How many chunks there are, none of them empty; and the two sizes of a chunk for a number of chunks."""
    rows = "true" if _by_rows(group, plan) else f"icmp sge i64 %m, {_ROWS_FROM}"
    rows = f"or i1 {rows}, false" if rows == "true" else rows
    return f"""define internal i1 @by_rows(i64 %m) {{
  %r = {rows}
  ret i1 %r
}}
define internal i64 @size(i64 %m, i64 %n, i64 %chunks) {{
  %rows = call i1 @by_rows(i64 %m)
  %length = select i1 %rows, i64 %m, i64 %n
  %more = add i64 %length, %chunks
  %less = sub i64 %more, 1
  %step = udiv i64 %less, %chunks
  %wide = add i64 %step, {_ALIGN - 1}
  %aligned = and i64 %wide, {-_ALIGN}
  %size = select i1 %rows, i64 %step, i64 %aligned
  ret i64 %size
}}
define internal i64 @chunks(i64 %m, i64 %n) {{
  %elements = mul i64 %m, %n
  %enough = lshr i64 %elements, {_CHUNK}
  %few = call i64 @llvm.umin.i64(i64 %enough, i64 {CHUNKS})
  %several = icmp ugt i64 %few, 1
  br i1 %several, label %divide, label %one
one:
  ret i64 1
divide:
  %rows = call i1 @by_rows(i64 %m)
  %length = select i1 %rows, i64 %m, i64 %n
  %size = call i64 @size(i64 %m, i64 %n, i64 %few)
  %more = add i64 %length, %size
  %less = sub i64 %more, 1
  %chunks = udiv i64 %less, %size
  ret i64 %chunks
}}"""


def _drive(group: Group, places: dict[str, int], scalars: int) -> str:
    """Compute chunks `first` to `last`."""
    t = _Text()
    for i, number in enumerate(row_reductions(group)):
        (o,) = [o for o, out in enumerate(group.outputs) if out.value == number]
        out = t.element("%frame", len(group.inputs) + o)
        row = t.put(f"add i64 %c, {i * (CHUNKS - 1) - 1}")
        size = 4 if group.dtype(number) == "f4" else 8
        offset = t.put(f"mul i64 {t.put(f'mul i64 {row}, %n')}, {size}")
        partial = t.put(f"getelementptr i8, ptr %rows, i64 {offset}")
        base = t.put(f"select i1 %direct, ptr {out}, ptr {partial}")
        slot = t.put(f"getelementptr ptr, ptr %frame, i64 {places['rows'] + i}")
        t.add(f"store ptr {base}, ptr {slot}")
    offset = t.put(f"mul i64 %c, {16 * scalars}")
    base = t.put(f"getelementptr i8, ptr %scalars, i64 {offset}")
    slot = t.put(f"getelementptr ptr, ptr %frame, i64 {places['scalars']}")
    t.add(f"store ptr {base}, ptr {slot}")
    body = "\n".join(t.lines)
    return f"""define internal void @drive(ptr %frame, i64 %m, i64 %n, i64 %first, i64 %last, i64 %chunks,
                                ptr %scalars, ptr %rows) {{
entry:
  %by_rows = call i1 @by_rows(i64 %m)
  %by_columns = xor i1 %by_rows, true
  %size = call i64 @size(i64 %m, i64 %n, i64 %chunks)
  br label %test
test:
  %c = phi i64 [ %first, %entry ], [ %next, %loop ]
  %more = icmp slt i64 %c, %last
  br i1 %more, label %loop, label %done
loop:
  %from = mul i64 %c, %size
  %to = add i64 %from, %size
  %to_row = call i64 @llvm.umin.i64(i64 %to, i64 %m)
  %to_column = call i64 @llvm.umin.i64(i64 %to, i64 %n)
  %r0 = select i1 %by_rows, i64 %from, i64 0
  %r1 = select i1 %by_rows, i64 %to_row, i64 %m
  %c0 = select i1 %by_rows, i64 0, i64 %from
  %c1 = select i1 %by_rows, i64 %n, i64 %to_column
  %initial = icmp eq i64 %c, 0
  %direct = or i1 %initial, %by_columns
{body}
  call void @box(ptr %frame, i64 %n, i64 %r0, i64 %r1, i64 %c0, i64 %c1)
  %next = add i64 %c, 1
  br label %test
done:
  ret void
}}"""


def _entry(group: Group, plan: Plan, places: dict[str, int], scalars: int, *, threaded: bool) -> str:
    """`whole` or `part`."""
    given, rows, kept = len(group.inputs) + len(group.outputs), len(row_reductions(group)), len(plan.kept)
    leading = 5 if threaded else 2
    t = _Text()
    t.add(f"br i1 {t.put(f'icmp eq i64 %count, {given + leading}')}, label %sizes, label %refuse", "sizes:")
    integer = t.runtime("PyLong_AsSsize_t")
    sizes = [t.put(f"call i64 {integer}(ptr {t.element('%args', k)})") for k in range(leading - threaded)]
    m, n = sizes[:2]
    least = sizes[0]
    for other in sizes[1:]:
        least = t.put(f"or i64 {least}, {other}")
    t.add(f"br i1 {t.put(f'icmp slt i64 {least}, 0')}, label %negative, label %arrays", "negative:")
    occurred = t.put(f"call ptr {t.runtime('PyErr_Occurred')}()")
    t.add(f"br i1 {t.put(f'icmp eq ptr {occurred}, null')}, label %refuse, label %failed", "arrays:")
    arrays = t.put(f"getelementptr ptr, ptr %args, i64 {leading}")
    good = t.put(f"call i1 @unpack(ptr %frame, ptr {arrays}, ptr %table)")
    t.add(f"br i1 {good}, label %prepare, label %failed", "prepare:")
    chunks = t.put(f"call i64 @chunks(i64 {m}, i64 {n})")
    several = t.put(f"icmp ugt i64 {chunks}, 1")
    by_rows = t.put(f"call i1 @by_rows(i64 {m})")
    partial = t.put(f"and i1 {several}, {by_rows}")
    # Memory: of kept values a row each; for rows' reductions a row for each chunk but the first.
    rows_size = t.put(f"select i1 {partial}, i64 {0 if threaded else (CHUNKS - 1) * rows}, i64 0")
    length = t.put(f"mul i64 {t.put(f'add i64 {rows_size}, {kept}')}, {n}")
    bytes_ = t.put(f"mul i64 {length}, 8")
    needed = t.put(f"icmp ne i64 {bytes_}, 0")
    t.add(f"br i1 {needed}, label %allocate, label %ready", "allocate:")
    fresh = t.put(f"call ptr {t.runtime('PyMem_RawMalloc')}(i64 {bytes_})")
    t.add(f"br i1 {t.put(f'icmp eq ptr {fresh}, null')}, label %memory, label %ready", "ready:")
    memory = t.put(f"phi ptr [ null, %prepare ], [ {fresh}, %allocate ]")
    for k in range(kept):
        offset = t.put(f"mul i64 {n}, {8 * k}")
        row = t.put(f"getelementptr i8, ptr {memory}, i64 {offset}")
        slot = t.put(f"getelementptr ptr, ptr %frame, i64 {places['scalars'] + 1 + k}")
        t.add(f"store ptr {row}, ptr {slot}")
    if threaded:
        work = t.field(t.element("%args", 4), DATA_OFFSET)
        parts_of = t.put(f"getelementptr i8, ptr {work}, i64 {16 * CHUNKS * scalars}")
        sums, first, last = work, *_share(t, chunks, sizes[2], sizes[3])
        combine = t.put(f"icmp eq i64 {sizes[2]}, {sizes[3]}")
    else:
        offset = t.put(f"mul i64 {n}, {8 * kept}")
        parts_of = t.put(f"getelementptr i8, ptr {memory}, i64 {offset}")
        sums, first, last, combine = "%scalars", "0", chunks, "true"
    long = t.put(f"icmp sgt i64 {t.put(f'mul i64 {m}, {n}')}, {_RELEASE}")
    t.add(f"br i1 {long}, label %release, label %run", "release:")
    state = t.put(f"call ptr {t.runtime('PyEval_SaveThread')}()")
    t.add("br label %run", "run:")
    state = t.put(f"phi ptr [ null, %ready ], [ {state}, %release ]")
    sizes_text = f"i64 {m}, i64 {n}, i64 {first}, i64 {last}, i64 {chunks}"
    t.add(f"call void @drive(ptr %frame, {sizes_text}, ptr {sums}, ptr {parts_of})")
    t.add(f"br i1 {combine}, label %combine, label %computed", "combine:")
    t.add(f"call void @finish(ptr %frame, i64 {n}, i64 {chunks}, ptr {sums}, ptr {parts_of}, i1 {partial})")
    t.add("br label %computed", "computed:")
    t.add(f"br i1 {long}, label %acquire, label %free", "acquire:")
    t.add(f"call void {t.runtime('PyEval_RestoreThread')}(ptr {state})", "br label %free", "free:")
    t.add(f"br i1 {needed}, label %give, label %done", "give:")
    t.add(f"call void {t.runtime('PyMem_RawFree')}(ptr {memory})", "br label %done", "done:")
    none = t.runtime("None")
    t.add(f"call void {t.runtime('Py_IncRef')}(ptr {none})", f"ret ptr {none}")
    t.add("memory:")
    t.put(f"call ptr {t.runtime('PyErr_NoMemory')}()")
    t.add("br label %failed", "refuse:")
    t.add(f"call void {t.runtime('PyErr_SetString')}(ptr {t.runtime('TypeError')}, ptr {t.runtime('message')})")
    t.add("br label %failed", "failed:", "ret ptr null")
    head = f"""define ptr @{"part" if threaded else "whole"}(ptr %self, ptr %args, i64 %count) {{
entry:
  %frame = alloca [{places["frame"]} x ptr]
  %scalars = alloca [{max(1, 16 * CHUNKS * scalars)} x i8], align 8
  %place = getelementptr i8, ptr %self, i64 {DATA_OFFSET}
  %table = load ptr, ptr %place"""
    return "\n".join([head, *t.lines, "}"])


def _share(t: _Text, chunks: str, k: str, parts: str) -> tuple[str, str]:
    """The first and last chunk of part k; none for k equal to the number of parts."""
    first = t.put(f"udiv i64 {t.put(f'mul i64 {chunks}, {k}')}, {parts}")
    following = t.put(f"add i64 {k}, 1")
    last = t.put(f"udiv i64 {t.put(f'mul i64 {chunks}, {following}')}, {parts}")
    return first, t.put(f"call i64 @llvm.umin.i64(i64 {last}, i64 {chunks})")
