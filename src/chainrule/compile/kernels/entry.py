"""The functions that Python calls, the same for all kernels: they read the arguments and divide the work.

They have the calling convention of a C extension's functions: a builtin function object is made of each.  They read
arrays' data pointers themselves, so that a call costs little more than that of any builtin.  What they need of Python,
and what distinguishes one kernel from another, is in a table of addresses and sizes (`TABLE`), the data of the array
that is the builtin's `self`.  So compiled code refers to no address of this process, and can be kept on disk.

``whole(m, n, *arrays)`` computes a group.  ``part(m, n, k, parts, work, *arrays)`` computes the k-th of so many parts
of the chunks, and with k equal to `parts` combines them; `work` is an array of at least `work_bytes` bytes.
"""

from __future__ import annotations

from .group import Group, Plan, every, operands, row_reductions, scalar_reductions

__all__ = [
    "CHUNK",
    "CHUNKS",
    "DATA_OFFSET",
    "ENTRIES",
    "MOST",
    "PYTHON",
    "READING",
    "SLOTS",
    "TABLE",
    "codes",
    "entries",
    "needs_rows",
    "work_bytes",
]

CHUNKS = 16  # at most; they are the same however many threads do them, and so is the order in which sums are added up
CHUNK = 1 << 15  # elements, at least: of the quickest operations, 6 us
LONG = 1 << 13  # elements, above which other threads of Python may run: to let them costs 70 ns, 5 % of a product
MOST = 256  # pointers of a kernel: arguments and intermediate rows
ENTRIES = ("whole", "part")
DATA_OFFSET = 16  # of the data pointer in an array object; checked when the compiler is first used
SLOTS = 8  # bytes of an element of a row kept between passes or chunks, whatever its dtype

PYTHON = (
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
)
"""Functions of Python's C interface; their addresses begin the table."""

TABLE = (
    *PYTHON,
    *("None", "ndarray", "TypeError", "message"),  # objects, and a text
    *("box", "finish"),  # the kernel's functions
    *("arguments", "codes", "offsets"),  # how many; a byte for each; and how many bytes arrays are read from further on
    *("kept", "rows", "row_outputs", "scalars", "by_rows"),  # see `Plan`; places of rows' outputs in the frame
    "every",  # of how many rows parts consist that must not be divided
)

# How scalar inputs are read: the numbers that `@unpack` goes by; 0 is an array.
READING = {"f4": 1, "f8": 2, "i4": 3, "i8": 4, "bool": 5}


def codes(group: Group) -> bytes:
    """How each argument is read."""
    given = [READING[i.dtype] if i.kind == "scalar" and i.rows is None else 0 for i in group.inputs]
    return bytes(given) + bytes(len(group.outputs))


def needs_rows(group: Group, plan: Plan) -> bool:
    """Whether the box can be divided only by rows, because what belongs to a row is computed once."""
    if group.columns or every(group) > 1:
        return True
    return "column" in [*(op.kind for op in group.ops), *(out.kind for out in group.outputs)] or any(
        plan.kinds[arg] == "column" for op in group.ops if op.kind == "scalar" for arg in operands(op)
    )


def work_bytes(group: Group, n: int) -> int:
    """How much memory the chunks' results take."""
    return 16 * CHUNKS * len(scalar_reductions(group)) + SLOTS * (CHUNKS - 1) * len(row_reductions(group)) * n


def entries(triple: str) -> str:
    """The text of the module."""
    text = _TEXT
    for number, name in enumerate(TABLE):
        kind = "i64" if name in ("arguments", "kept", "rows", "scalars", "by_rows", "every") else "ptr"
        place = f"  %{name}.at = getelementptr ptr, ptr %table, i64 {number}\n"
        text = text.replace(f"  GET {name}\n", f"{place}  %{name} = load {kind}, ptr %{name}.at\n")
    return f'target triple = "{triple}"\n{text}'


# In LLVM's language, but for `GET name`: the entry of the table with that name, as a value with that name.
_TEXT = f"""
declare i64 @llvm.umin.i64(i64, i64)

; Fill the frame with data pointers and numbers; whether that was possible.
define internal i1 @unpack(ptr %frame, ptr %args, ptr %table) {{
entry:
  GET ndarray
  GET arguments
  GET codes
  GET offsets
  GET PyErr_Occurred
  br label %test
test:
  %k = phi i64 [ 0, %entry ], [ %next, %step ]
  %more = icmp ult i64 %k, %arguments
  br i1 %more, label %body, label %good
body:
  %thing.at = getelementptr ptr, ptr %args, i64 %k
  %thing = load ptr, ptr %thing.at
  %slot = getelementptr ptr, ptr %frame, i64 %k
  %code.at = getelementptr i8, ptr %codes, i64 %k
  %code = load i8, ptr %code.at
  %type.at = getelementptr i8, ptr %thing, i64 {DATA_OFFSET - 8}
  %type = load ptr, ptr %type.at
  %is_array = icmp eq ptr %type, %ndarray
  br i1 %is_array, label %array, label %number
array:
  %data.at = getelementptr i8, ptr %thing, i64 {DATA_OFFSET}
  %first = load ptr, ptr %data.at
  %offset.at = getelementptr i64, ptr %offsets, i64 %k
  %offset = load i64, ptr %offset.at
  %data = getelementptr i8, ptr %first, i64 %offset
  switch i8 %code, label %pointer [ i8 1, label %four i8 2, label %eight i8 3, label %four
                                    i8 4, label %eight i8 5, label %one ]
pointer:
  store ptr %data, ptr %slot
  br label %step
one:
  %byte = load i8, ptr %data
  store i8 %byte, ptr %slot
  br label %step
four:
  %word = load i32, ptr %data
  store i32 %word, ptr %slot
  br label %step
eight:
  %long = load i64, ptr %data
  store i64 %long, ptr %slot
  br label %step
number:
  switch i8 %code, label %refuse [ i8 1, label %real i8 2, label %real i8 3, label %int
                                   i8 4, label %int i8 5, label %truth ]
real:
  GET PyFloat_AsDouble
  %wide = call double %PyFloat_AsDouble(ptr %thing)
  %is_wide = icmp eq i8 %code, 2
  br i1 %is_wide, label %double, label %float
float:
  %narrow = fptrunc double %wide to float
  store float %narrow, ptr %slot
  br label %check
double:
  store double %wide, ptr %slot
  br label %check
int:
  GET PyLong_AsLongLong
  %integer = call i64 %PyLong_AsLongLong(ptr %thing)
  store i64 %integer, ptr %slot
  br label %check
truth:
  GET PyObject_IsTrue
  %true = call i32 %PyObject_IsTrue(ptr %thing)
  %bit = trunc i32 %true to i8
  store i8 %bit, ptr %slot
  br label %check
check:
  %error = call ptr %PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %step, label %bad
step:
  %next = add i64 %k, 1
  br label %test
good:
  ret i1 true
refuse:
  GET PyErr_SetString
  GET TypeError
  GET message
  call void %PyErr_SetString(ptr %TypeError, ptr %message)
  ret i1 false
bad:
  ret i1 false
}}

; The length of a chunk, in rows or in columns (then a multiple of 64), for a number of chunks.
define internal i64 @size(i64 %m, i64 %n, i64 %chunks, i1 %by_rows, ptr %table) {{
  GET every
  %length = select i1 %by_rows, i64 %m, i64 %n
  %more = add i64 %length, %chunks
  %less = sub i64 %more, 1
  %least = udiv i64 %less, %chunks
  %beyond = add i64 %least, %every
  %parts.less = sub i64 %beyond, 1
  %parts = udiv i64 %parts.less, %every
  %step = mul i64 %parts, %every
  %wide = add i64 %least, 63
  %aligned = and i64 %wide, -64
  %size = select i1 %by_rows, i64 %step, i64 %aligned
  ret i64 %size
}}

; How many chunks there are: of {CHUNK} elements or more, and none of them empty.
define internal i64 @chunks(i64 %m, i64 %n, i1 %by_rows, ptr %table) {{
  %elements = mul i64 %m, %n
  %enough = udiv i64 %elements, {CHUNK}
  %few = call i64 @llvm.umin.i64(i64 %enough, i64 {CHUNKS})
  %several = icmp ugt i64 %few, 1
  br i1 %several, label %divide, label %one
one:
  ret i64 1
divide:
  %length = select i1 %by_rows, i64 %m, i64 %n
  %size = call i64 @size(i64 %m, i64 %n, i64 %few, i1 %by_rows, ptr %table)
  %more = add i64 %length, %size
  %less = sub i64 %more, 1
  %chunks = udiv i64 %less, %size
  ret i64 %chunks
}}

; Compute chunks `first` to `last`.
define internal void @drive(ptr %frame, ptr %table, i64 %m, i64 %n, i64 %first, i64 %last, i64 %chunks, i1 %divided,
                            ptr %sums, ptr %parts) {{
entry:
  GET box
  GET arguments
  GET rows
  GET row_outputs
  GET scalars
  %by_columns = xor i1 %divided, true
  %size = call i64 @size(i64 %m, i64 %n, i64 %chunks, i1 %divided, ptr %table)
  %row.slots = getelementptr ptr, ptr %frame, i64 %arguments
  %sums.slot = getelementptr ptr, ptr %row.slots, i64 %rows
  %sums.bytes = shl i64 %scalars, 4
  %row.bytes = mul i64 %n, {SLOTS}
  br label %test
test:
  %c = phi i64 [ %first, %entry ], [ %next, %go ]
  %more = icmp slt i64 %c, %last
  br i1 %more, label %chunk, label %done
chunk:
  %from = mul i64 %c, %size
  %to = add i64 %from, %size
  %to.row = call i64 @llvm.umin.i64(i64 %to, i64 %m)
  %to.column = call i64 @llvm.umin.i64(i64 %to, i64 %n)
  %r0 = select i1 %divided, i64 %from, i64 0
  %r1 = select i1 %divided, i64 %to.row, i64 %m
  %c0 = select i1 %divided, i64 0, i64 %from
  %c1 = select i1 %divided, i64 %n, i64 %to.column
  %offset = mul i64 %c, %sums.bytes
  %sums.here = getelementptr i8, ptr %sums, i64 %offset
  store ptr %sums.here, ptr %sums.slot
  %initial = icmp eq i64 %c, 0
  %direct = or i1 %initial, %by_columns
  br label %row.test
row.test:
  %i = phi i64 [ 0, %chunk ], [ %i.next, %row ]
  %i.more = icmp slt i64 %i, %rows
  br i1 %i.more, label %row, label %go
row: ; its output in the first chunk, memory of its own in the others
  %place.at = getelementptr i64, ptr %row_outputs, i64 %i
  %place = load i64, ptr %place.at
  %out.at = getelementptr ptr, ptr %frame, i64 %place
  %out = load ptr, ptr %out.at
  %before = mul i64 %i, {CHUNKS - 1}
  %number = add i64 %before, %c
  %index = sub i64 %number, 1
  %row.offset = mul i64 %index, %row.bytes
  %own = getelementptr i8, ptr %parts, i64 %row.offset
  %base = select i1 %direct, ptr %out, ptr %own
  %row.slot = getelementptr ptr, ptr %row.slots, i64 %i
  store ptr %base, ptr %row.slot
  %i.next = add i64 %i, 1
  br label %row.test
go:
  call void %box(ptr %frame, i64 %n, i64 %r0, i64 %r1, i64 %c0, i64 %c1)
  %next = add i64 %c, 1
  br label %test
done:
  ret void
}}

; Compute part k of the chunks; combine them in the last part, and if `work`, the memory for their results, is null.
define internal ptr @run(ptr %table, ptr %args, i64 %m, i64 %n, i64 %k, i64 %count, ptr %work) {{
entry:
  GET arguments
  GET kept
  GET rows
  GET scalars
  GET by_rows
  %frame = alloca [{MOST} x ptr]
  %sums.count = mul i64 %scalars, {2 * CHUNKS}
  %sums.own = alloca double, i64 %sums.count
  %alone = icmp eq ptr %work, null
  %good = call i1 @unpack(ptr %frame, ptr %args, ptr %table)
  br i1 %good, label %prepare, label %failed
prepare:
  %must = icmp ne i64 %by_rows, 0
  %tall = icmp sge i64 %m, {CHUNKS}
  %divided = or i1 %must, %tall
  %chunks = call i64 @chunks(i64 %m, i64 %n, i1 %divided, ptr %table)
  %several = icmp ugt i64 %chunks, 1
  %partial = and i1 %several, %divided
  %unshared = and i1 %partial, %alone
  %part.rows = mul i64 %rows, {CHUNKS - 1}
  %part.own = select i1 %unshared, i64 %part.rows, i64 0
  %memory.rows = add i64 %part.own, %kept
  %memory.size = mul i64 %memory.rows, %n
  %memory.bytes = mul i64 %memory.size, {SLOTS}
  %needed = icmp ne i64 %memory.bytes, 0
  br i1 %needed, label %allocate, label %ready
allocate:
  GET PyMem_RawMalloc
  %allocated = call ptr %PyMem_RawMalloc(i64 %memory.bytes)
  %none = icmp eq ptr %allocated, null
  br i1 %none, label %full, label %ready
ready:
  %memory = phi ptr [ null, %prepare ], [ %allocated, %allocate ]
  %row.bytes = mul i64 %n, {SLOTS}
  %rows.end = add i64 %arguments, %rows
  %kept.begin = add i64 %rows.end, 1
  br label %kept.test
kept.test:
  %i = phi i64 [ 0, %ready ], [ %i.next, %kept.one ]
  %i.more = icmp slt i64 %i, %kept
  br i1 %i.more, label %kept.one, label %share
kept.one:
  %kept.offset = mul i64 %i, %row.bytes
  %kept.row = getelementptr i8, ptr %memory, i64 %kept.offset
  %kept.index = add i64 %kept.begin, %i
  %kept.slot = getelementptr ptr, ptr %frame, i64 %kept.index
  store ptr %kept.row, ptr %kept.slot
  %i.next = add i64 %i, 1
  br label %kept.test
share:
  %kept.bytes = mul i64 %kept, %row.bytes
  %parts.own = getelementptr i8, ptr %memory, i64 %kept.bytes
  %sums.bytes = mul i64 %sums.count, 8
  %parts.shared = getelementptr i8, ptr %work, i64 %sums.bytes
  %parts = select i1 %alone, ptr %parts.own, ptr %parts.shared
  %sums = select i1 %alone, ptr %sums.own, ptr %work
  %k.chunks = mul i64 %k, %chunks
  %first = udiv i64 %k.chunks, %count
  %k.more = add i64 %k, 1
  %k.more.chunks = mul i64 %k.more, %chunks
  %end = udiv i64 %k.more.chunks, %count
  %last = call i64 @llvm.umin.i64(i64 %end, i64 %chunks)
  %final = icmp eq i64 %k, %count
  %combine = or i1 %final, %alone
  %elements = mul i64 %m, %n
  %long = icmp ugt i64 %elements, {LONG}
  br i1 %long, label %release, label %work.begin
release:
  GET PyEval_SaveThread
  %saved = call ptr %PyEval_SaveThread()
  br label %work.begin
work.begin:
  %state = phi ptr [ null, %share ], [ %saved, %release ]
  call void @drive(ptr %frame, ptr %table, i64 %m, i64 %n, i64 %first, i64 %last, i64 %chunks, i1 %divided,
                   ptr %sums, ptr %parts)
  br i1 %combine, label %together, label %work.end
together:
  GET finish
  call void %finish(ptr %frame, i64 %n, i64 %chunks, ptr %sums, ptr %parts, i1 %partial)
  br label %work.end
work.end:
  br i1 %long, label %acquire, label %clear
acquire:
  GET PyEval_RestoreThread
  call void %PyEval_RestoreThread(ptr %state)
  br label %clear
clear:
  br i1 %needed, label %free, label %done
free:
  GET PyMem_RawFree
  call void %PyMem_RawFree(ptr %memory)
  br label %done
done:
  GET None
  GET Py_IncRef
  call void %Py_IncRef(ptr %None)
  ret ptr %None
full:
  GET PyErr_NoMemory
  %nothing = call ptr %PyErr_NoMemory()
  ret ptr null
failed:
  ret ptr null
}}

; A size, or -1 and an exception.
define internal i64 @natural(ptr %table, ptr %args, i64 %k) {{
  GET PyLong_AsSsize_t
  %thing.at = getelementptr ptr, ptr %args, i64 %k
  %thing = load ptr, ptr %thing.at
  %size = call i64 %PyLong_AsSsize_t(ptr %thing)
  %negative = icmp slt i64 %size, 0
  br i1 %negative, label %doubt, label %good
doubt:
  GET PyErr_Occurred
  %error = call ptr %PyErr_Occurred()
  %silent = icmp eq ptr %error, null
  br i1 %silent, label %complain, label %bad
complain:
  %nothing = call ptr @refuse(ptr %table)
  ret i64 -1
bad:
  ret i64 -1
good:
  ret i64 %size
}}

define internal ptr @refuse(ptr %table) {{
  GET PyErr_SetString
  GET TypeError
  GET message
  call void %PyErr_SetString(ptr %TypeError, ptr %message)
  ret ptr null
}}

define ptr @whole(ptr %self, ptr %args, i64 %given) {{
entry:
  %table.at = getelementptr i8, ptr %self, i64 {DATA_OFFSET}
  %table = load ptr, ptr %table.at
  GET arguments
  %right = add i64 %arguments, 2
  %fits = icmp eq i64 %given, %right
  br i1 %fits, label %sizes, label %refused
sizes:
  %m = call i64 @natural(ptr %table, ptr %args, i64 0)
  %m.good = icmp sge i64 %m, 0
  br i1 %m.good, label %second, label %failed
second:
  %n = call i64 @natural(ptr %table, ptr %args, i64 1)
  %n.good = icmp sge i64 %n, 0
  br i1 %n.good, label %go, label %failed
go:
  %arrays = getelementptr ptr, ptr %args, i64 2
  %done = call ptr @run(ptr %table, ptr %arrays, i64 %m, i64 %n, i64 0, i64 1, ptr null)
  ret ptr %done
refused:
  %nothing = call ptr @refuse(ptr %table)
  ret ptr null
failed:
  ret ptr null
}}

define ptr @part(ptr %self, ptr %args, i64 %given) {{
entry:
  %table.at = getelementptr i8, ptr %self, i64 {DATA_OFFSET}
  %table = load ptr, ptr %table.at
  GET arguments
  %right = add i64 %arguments, 5
  %fits = icmp eq i64 %given, %right
  br i1 %fits, label %sizes, label %refused
sizes: ; the caller is `Kernel`: sizes are right
  %m = call i64 @natural(ptr %table, ptr %args, i64 0)
  %n = call i64 @natural(ptr %table, ptr %args, i64 1)
  %k = call i64 @natural(ptr %table, ptr %args, i64 2)
  %count = call i64 @natural(ptr %table, ptr %args, i64 3)
  %work.at = getelementptr ptr, ptr %args, i64 4
  %work.object = load ptr, ptr %work.at
  %data.at = getelementptr i8, ptr %work.object, i64 {DATA_OFFSET}
  %work = load ptr, ptr %data.at
  %arrays = getelementptr ptr, ptr %args, i64 5
  %done = call ptr @run(ptr %table, ptr %arrays, i64 %m, i64 %n, i64 %k, i64 %count, ptr %work)
  ret ptr %done
refused:
  %nothing = call ptr @refuse(ptr %table)
  ret ptr null
}}
"""
