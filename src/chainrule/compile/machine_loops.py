"""Loops over scalars and small arrays as one function of machine code each.

A loop that has anything else in it stays a loop in Python, around its kernels.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy as np

from ..rules.registry import rules
from .fuse import fused
from .groups import Fused
from .kernels import CODES, COMPARING, LOGICAL
from .kernels.entry import MOST, READING
from .kernels.machine import machine
from .kernels.turns import LONGEST, TooLargeError, Turns, Value
from .operations import operation_of, reduction_of
from .program import PLACE, Loop, Program, Steps
from .recompute import recomputed
from .reordering import Assemble
from .steps import Guard, Method, Property, Step, Var, inner, operands

__all__ = ["with_kernels"]

# What only moves elements.
MOVING: set[Any] = {
    np.copy,
    np.stack,
    np.concatenate,
    np.broadcast_to,
    np.ascontiguousarray,
    np.reshape,
    np.ravel,
    np.squeeze,
}
MOVING |= {np.expand_dims, np.transpose, np.flip, np.roll, PLACE, Property("T")}
MOVING |= {Method(name) for name in ("copy", "reshape", "ravel", "squeeze", "transpose")}
MOVING |= {rules[name].value for name in ("reshape", "swapaxes", "moveaxis", "broadcast_to")}
CONCATENATE = rules["concatenate"].value  # of several arrays, where NumPy's takes a list
PRODUCTS = {np.matmul, np.dot, operator.matmul}


def with_kernels(program: Program, exact: bool) -> tuple[Steps, bool]:
    """The steps with kernels in them, and whether there are any."""
    steps = recomputed(program.outputs, fused(program, exact))
    found = any(isinstance(step, Fused) for step in steps)
    for i, step in enumerate(steps):
        if isinstance(step, Step) and isinstance(step.function, Loop):
            steps[i] = new = step.copy()
            kernel = None if exact else _kernel(new)
            if kernel is not None:
                new.function = step.function.with_body(step.function.body)
                new.function.kernel = kernel
                found = True
                continue
            body = step.function.body.fresh()
            inside, some = with_kernels(body, exact)
            new.function = step.function.with_body(body.with_steps(inside))
            found |= some
    return steps, found


def _kernel(step: Step) -> Any:
    """The builtin function that does a loop; None if it is no matter for machine code."""
    compiler = machine()
    try:
        text, reading = _Translation(step, compiler.avx512).text(compiler.triple)
    except TooLargeError:
        return None
    return compiler.load_loop(compiler.compile(text), reading)


class _Translation:
    """A loop's turns in vectors.

    Attributes
    ----------
    step, loop : what is translated
    writer : the function that is written
    values : what values of the program are in it
    """

    def __init__(self, step: Step, avx512: bool) -> None:
        self.step, self.loop = step, step.function
        body = self.loop.body
        reads = self.loop.body_reads()
        known = {var: x for var, x in body.captured.items() if var in reads}
        everything = [*self.loop.carry, *self.loop.items, *self.loop.outer, *known]
        for part in body.steps:
            everything += operands(part.results) if isinstance(part, Step) else []
        longest = max((var.shape[-1] for var in everything if var.shape), default=1)
        if longest > LONGEST or any(var.dtype not in CODES or not var.size for var in everything):
            raise TooLargeError
        self.writer = Turns(1 << (longest - 1).bit_length(), avx512)
        self.values: dict[Var, Value] = {var: self.writer.known(x) for var, x in known.items()}

    def text(self, triple: str) -> tuple[str, bytes]:
        """The module, and how each argument is read."""
        w, loop = self.writer, self.loop
        inputs = [*loop.carry, *loop.items, *loop.outer]
        arrays = set(loop.items)
        reading = bytes([READING["i8"]])
        reading += bytes(READING[CODES[x.dtype]] if x.scalar and x not in arrays else 0 for x in inputs)
        first_output = len(reading)
        reading += bytes(len(self.step.results))
        if len(reading) >= MOST:
            raise TooLargeError
        bound = w.fresh(f"load i64, ptr {w.value('getelementptr ptr, ptr %frame, i64 0')}")
        for number, var in enumerate(inputs, 1):
            if var not in arrays:
                base = w.value(f"getelementptr ptr, ptr %frame, i64 {number}") if var.scalar else w.pointer(number)
                self.values[var] = w.read(base, var.shape, CODES[var.dtype])
        self._carried = [w.slots(self.values[var]) for var in loop.carry]
        bases = {var: w.pointer(number) for number, var in enumerate(inputs, 1) if var in arrays}
        outputs = [w.pointer(first_output + k) for k in range(len(self.step.results))]
        counter = w.variable("i64")
        w.line(f"store i64 0, ptr {counter}")
        self._turns(counter, bound, bases, outputs)
        self._ends(counter, outputs)
        return w.text(triple), reading

    def _turns(self, counter: str, bound: str, bases: dict[Var, str], outputs: list[str]) -> None:
        """The loop itself, which a turn may leave for one of the ends."""
        w, loop = self.writer, self.loop
        n = len(loop.carry)
        w.line("br label %test")
        w.label("test")
        with w.scope():
            i = w.fresh(f"load i64, ptr {counter}")
            w.line(f"br i1 {w.fresh(f'icmp slt i64 {i}, {bound}')}, label %turn, label %over")
            w.label("turn")
            place = w.value(f"sub i64 {w.value(f'sub i64 {bound}, 1')}, {i}") if loop.reverse else i
            self._turn(place, bases)
            after = [self.value(x, var.dtype) for x, var in zip(loop.body.outputs, loop.carry, strict=False)]
            for x, base in zip(loop.body.outputs[n:], outputs[n:], strict=False):
                value = self.value(x)
                w.write(value, base, w.value(f"mul i64 {place}, {prod(value.shape)}"))
            for names, value in zip(self._carried, after, strict=True):
                w.assign(names, value)
            w.line(f"store i64 {w.fresh(f'add i64 {i}, 1')}, ptr {counter}")
            w.line("br label %test")
        w.label("over")
        w.line(f"br label %{'missed' if self.step.args[0] is None else 'done'}")

    def _ends(self, counter: str, outputs: list[str]) -> None:
        """What is left behind: the last carry and the number of turns, or that something was not as it was traced."""
        w = self.writer
        w.label("done")
        with w.scope():
            for names, var, base in zip(self._carried, self.loop.carry, outputs, strict=False):
                w.write(w.fetched(names, var.shape, CODES[var.dtype]), base)
            w.line(f"store i64 {w.fresh(f'load i64, ptr {counter}')}, ptr {outputs[-1]}")
        w.line("br label %end")
        w.label("missed")
        w.line(f"store i64 -1, ptr {outputs[-1]}")
        w.line("br label %end")
        w.label("end")

    def _turn(self, place: str, bases: dict[Var, str]) -> None:
        w, loop = self.writer, self.loop
        for var, names in zip(loop.carry, self._carried, strict=True):
            self.values[var] = w.fetched(names, var.shape, CODES[var.dtype])
        for var in loop.items:
            dtype = CODES[var.dtype]
            self.values[var] = w.read(bases[var], var.shape, dtype, w.value(f"mul i64 {place}, {var.size}"))
        self.values[loop.place] = Value((), "i8", [w.splat("i8", place)])
        for step in loop.body.steps:
            if isinstance(step, Guard):
                self._guard(step)
            elif step.writes or type(step.results) is not Var:
                raise TooLargeError
            else:
                self.values[step.results] = self._done(step)

    def _guard(self, guard: Guard) -> None:
        w, value = self.writer, self.values[guard.var]
        if guard.kind == "goes on":
            w.unless(w.truth(value), "done")
        elif guard.kind == "no NaN" and value.dtype[0] == "f":
            w.unless(w.value(f"xor i1 {w.any_nan(value)}, true"), "missed")
        elif guard.kind == "bool" and not guard.parts:
            true = w.truth(value)
            w.unless(true if guard.outcome else w.value(f"xor i1 {true}, true"), "missed")
        else:
            raise TooLargeError

    # -- steps -------------------------------------------------------------------------------------------------------
    def value(self, x: Any, dtype: Any = None) -> Value:
        """An operand, of this dtype."""
        found = self.values[x] if type(x) is Var else self.writer.known(np.asarray(x, dtype))
        if dtype is not None and found.dtype != CODES.get(dtype):
            if dtype not in CODES:
                raise TooLargeError
            return self.writer.elementwise("astype", [found], found.shape, CODES[dtype], None)
        return found

    def _done(self, step: Step) -> Value:
        w, y = self.writer, step.results
        if (found := reduction_of(step)) is not None:
            if found[0] == "any":
                return Value((), "bool", [w.splat("bool", w.any_true(self.value(step.args[0])))])
            return w.reduced(found[0], self.value(step.args[0]), found[1], y.shape)
        if type(step.function) is Assemble:
            return self._assembled(step)
        if step.function in PRODUCTS and not step.options and all(type(x) is Var and x.shape for x in step.args):
            return w.product(self.value(step.args[0], y.dtype), self.value(step.args[1], y.dtype), y.shape)
        if step.function in MOVING or step.function in (CONCATENATE, operator.getitem):
            return self._moved(step)
        if step.function is np.outer and all(type(x) is Var for x in step.args):
            a, b = (self.value(x, y.dtype) for x in step.args)
            tall = w.moved([a], np.arange(1, y.shape[0] + 1).reshape(-1, 1))
            return w.elementwise("multiply", [tall, w.moved([b], np.arange(1, y.shape[1] + 1))], y.shape, a.dtype, None)
        operation = operation_of(step)
        if operation is None:
            raise TooLargeError
        (name, args), extra, dtype = operation, None, y.dtype
        if name == "power":
            if type(args[1]) is Var:
                raise TooLargeError
            args, extra = args[:1], float(args[1])
        elif name in COMPARING:
            dtype = np.result_type(*(x.dtype if type(x) is Var else x for x in args))
        elif name in LOGICAL:
            dtype = np.dtype(bool)
        if name == "astype":
            several = [self.value(args[0])]
        elif name == "where":
            several = [self.value(args[0], np.dtype(bool)), *(self.value(x, dtype) for x in args[1:])]
        else:
            several = [self.value(x, dtype) for x in args]
        return w.elementwise(name, several, y.shape, CODES[y.dtype], extra)

    def _numbers(self, args: Any) -> tuple[Any, list[Value]]:
        """The arguments with numbers for the elements of arrays, and these arrays."""
        several: list[Value] = []
        count = 1

        def number(x: Any) -> Any:
            nonlocal count
            if type(x) is not Var:
                return x
            several.append(self.value(x))
            numbers = np.arange(count, count + x.size).reshape(x.shape)
            count += x.size
            return numbers

        return inner(args, number), several

    def _moved(self, step: Step) -> Value:
        joining = step.function is CONCATENATE
        parts = step.args if joining else step.args[0] if type(step.args[0]) in (list, tuple) else step.args[:1]
        if not all(type(x) is Var for x in parts):
            raise TooLargeError
        if operands(step.options) or (not joining and operands(*step.args[1:])):  # an index that is data
            raise TooLargeError
        args, several = self._numbers(step.args)
        places = np.asarray(step.function(*args, **step.options))
        if places.shape != step.results.shape or CODES[step.results.dtype] != several[0].dtype:
            raise TooLargeError
        return self.writer.moved(several, places)

    def _assembled(self, step: Step) -> Value:
        """An array of parts that are added at their places."""
        w, how = self.writer, step.function
        indices, parts = step.args[0], step.args[1:]
        if operands(indices):
            raise TooLargeError
        numbers, several = self._numbers(parts)
        layers: list[Any] = []
        for index, part in zip(indices, numbers, strict=True):
            new = np.zeros(how.shape, np.int64)
            new[index] = part
            for layer in layers:
                if not np.any((layer != 0) & (new != 0)):
                    layer += new
                    break
            else:
                layers.append(new)
        total = w.moved(several, layers[0])
        for layer in layers[1:]:
            total = w.elementwise("add", [total, w.moved(several, layer)], how.shape, total.dtype, None)
        return total
