"""The compiled form of a group, and how it is called."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import functions, workers
from .entry import CHUNK, MOST, work_bytes
from .group import Group, Op, Plan, plan
from .machine import machine
from .module import module

__all__ = ["Kernel", "compile_group"]

LEAST = 2 * CHUNK  # elements that can be divided
TRIALS = 3  # calls whose time is taken: the shortest counts, for others may be busy, and memory fresh


class Kernel:
    """Machine code for a group.

    ``kernel(m, n, *inputs, *outputs)`` computes the group over a box of m rows and n columns, both at least 1, and
    writes its outputs.  Arrays are `numpy.ndarray` themselves (no subclass), C-contiguous, aligned, of the size that
    their kind says and of exactly the dtype of the description: this is not checked, and must be so.  A scalar input
    is an array of one element or a number; a scalar output is an array of one element.  Outputs may share memory with
    inputs only where ``kernel.plan.in_place`` has the pair, and then all of it.

    Attributes
    ----------
    group : Group
    plan : Plan
    serial : builtin function
        The kernel on the calling thread: bind this where every tenth of a microsecond counts.
    trials : int
        How many calls are still to be timed, on the calling thread, until it is known which go to several threads.
    cost : float
        The nanoseconds that one element took in the shortest of them.  Results do not depend on how many threads there
        are.
    """

    __slots__ = ("code", "cost", "group", "part", "plan", "serial", "trials")

    def __init__(self, group: Group, order: Plan, code: Any) -> None:
        self.group, self.plan, self.code = group, order, code
        self.serial: Callable[..., None]
        self.part: Callable[..., None]
        self.serial, self.part = machine().load(code, group, order)
        self.trials, self.cost = TRIALS, math.inf

    def __call__(self, m: int, n: int, *arrays: Any) -> None:
        """Compute; see the class."""
        if self.trials > 0 and m * n >= LEAST:
            start = time.perf_counter_ns()
            self.serial(m, n, *arrays)
            self.cost = min(self.cost, (time.perf_counter_ns() - start) / (m * n))
            self.trials -= 1
        elif m * n < LEAST or m * n * self.cost < workers.WORTHWHILE or (parts := workers.count()) == 1:
            self.serial(m, n, *arrays)
        else:
            self.run(parts, m, n, *arrays)

    def of_size(self, m: int, n: int) -> Callable[..., None]:
        """What to call for boxes of this size only."""
        return self if m * n >= LEAST else self.serial

    def moved(self, group: Group) -> Kernel:
        """The same machine code for a group that differs only in where arrays are read and written from."""
        return Kernel(group, self.plan, self.code)

    def run(self, parts: int, m: int, n: int, *arrays: Any) -> None:
        """Compute on so many threads."""
        work = np.empty(work_bytes(self.group, n), np.uint8)
        workers.share(lambda k: self.part(m, n, k, parts, work, *arrays), parts)
        if self.plan.reduced:
            self.part(m, n, parts, parts, work, *arrays)


def compile_group(group: Group, exact: bool = False) -> Kernel:
    """Compile a group for this processor.

    Parameters
    ----------
    group : Group
    exact : bool
        Refuse operations whose results are not NumPy's bit for bit: those that are not in `exact_ops`.

    Raises
    ------
    MissingExtraError
        If llvmlite is not installed, or this processor or Python cannot run its code.
    ValueError
        If the group breaks the rules of `Group`, or has an operation that is not `supported`.
    """
    order = plan(group)
    for number, op in enumerate(group.ops, len(group.inputs)):
        _check(group, number, op, exact)
    if len(group.inputs) + len(group.outputs) + len(order.reduced) + len(order.kept) >= MOST:
        raise ValueError(f"a group of {len(group.inputs)} inputs and {len(group.outputs)} outputs is too large")
    compiler = machine()
    text = module(group.at_start(), order, compiler.triple, compiler.avx512)
    return Kernel(group, order, compiler.link(compiler.compile(text)))


def _check(group: Group, number: int, op: Op, exact: bool) -> None:
    """Refuse an operation that cannot be computed, or not exactly."""
    operands = tuple(group.dtype(arg) for arg in op.args if isinstance(arg, int))
    exponent = None
    if op.name == "power":
        exponent = float(op.args[1]) if len(op.args) == 2 and isinstance(op.args[1], float) else None
    elif op.name == "where":
        branches = [group.dtype(arg) for arg in op.args[1:] if isinstance(arg, int)] or [op.dtype]
        operands = (operands[:1] or ("",)) + tuple((branches * 2)[:2])
    elif op.name == "astype":
        operands = (*operands, op.dtype)
    result = "bool" if op.name in functions.PREDICATES else (operands or ("",))[-1]
    if not operands or not functions.supported(op.name, operands, exponent) or result != op.dtype:
        raise ValueError(f"value {number}: no kernel for {op.name} of {', '.join(operands)} giving {op.dtype}")
    if exact and op.name not in functions.exact_ops:
        raise ValueError(f"value {number}: {op.name} is not computed exactly as NumPy does")
