"""Writes to whole arrays as values: what lies in the memory at the end is put there at once.

`np.multiply(m, 0.9, out=m); m += g` writes twice to the memory of `m`, and nothing may be moved across a write.  As
`m1 = 0.9 * m; m2 = m1 + g; m[...] = m2` it is a formula like any other, which passes can simplify and kernels fuse, and
which a kernel writes to `m` itself where that is the last that reads it.
"""

from __future__ import annotations

import operator
from copy import copy
from typing import Any

import numpy as np

from .calls import UFUNCS
from .program import Program, is_reduction, read
from .simplify import FILLED, IMPURE, is_all
from .steps import Guard, Step, Var, inner, operands

__all__ = ["begin_writing", "itself", "never_fails", "numbers_first", "without_writes"]

PUTTING = {operator.setitem, np.copyto}
# What Python's numbers of one class never refuse.
SAFE = {operator.add, operator.sub, operator.mul, operator.neg, operator.pos, operator.abs}
SAFE |= {operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge}


def itself(x: Any) -> Any:
    """What lies in an array before the program writes to it."""
    return x


def begin_writing() -> None:
    """Where a program begins to write to memory from outside: what is asked before is asked before that."""


def without_writes(program: Program) -> list[Step | Guard]:
    """Let values take the place of writes to whole arrays, where nothing shows their memory afterwards.

    Memory from outside is written to at the end, after the last decision, so that branches find there what they expect.
    """
    roots = _written_whole(program)
    if not roots:
        return program.steps
    steps: list[Step | Guard] = []
    now: dict[Var, Var] = {}  # what lies in the memory of each
    views = {var: var.root for step in program.steps if isinstance(step, Step) for var in operands(step.results)}
    for root in roots:
        now[root] = first = copy(root)
        first.root = first.home = first
        first.written = first.outside = False
        if root.outside:
            first.source = shown = Step(itself, (root,), {}, quiet=False, line=("", 0))
            shown.results = first
            steps.append(shown)

    def value(x: Any) -> Any:
        return now.get(x, x) if type(x) is Var else x

    outside = tuple(root for root in roots if root.outside)
    begun = not outside
    for step in program.steps:
        if isinstance(step, Guard):
            step.var, step.keeps = value(step.var), tuple(map(value, step.keeps))
        elif step.writes and step.writes[0] in now:
            (root,) = step.writes
            if root.outside and not begun:
                begun = True
                steps.append(Step(begin_writing, (), {}, quiet=False, line=("", 0)))
                steps[-1].writes = outside  # type: ignore[union-attr]
            function, args = (np.positive, step.args[-1:]) if step.function in PUTTING else (step.function, step.args)
            step = Step(function, inner(args, value), {}, step.quiet, step.line)
            now[root] = step.results = Var.made(root.shape, root.dtype, step)
        else:
            step.args, step.options = inner(step.args, value), inner(step.options, value)
            step.results = inner(step.results, value)
            for var in operands(step.results):
                if views.get(var) in now:
                    var.root = now[views[var]]
        steps.append(step)
    for root in outside:
        put = Step(operator.setitem, (root, Ellipsis, now[root]), {}, quiet=False, line=("", 0))
        put.writes = (root,)
        steps.append(put)
    program.outputs = [x if type(x) is Var and x.outside else value(x) for x in program.outputs]
    return steps


def _written_whole(program: Program) -> list[Var]:
    """The arrays that are written to as a whole only, and whose memory nothing shows after that."""
    whole: dict[Var, bool] = {}
    made = {var for step in program.steps if isinstance(step, Step) for var in operands(step.results)}
    for step in program.steps:
        shown = {var.root for var in read(step) if var is not var.root}
        if isinstance(step, Guard):
            shown |= {root for root in whole if root.outside}
        else:
            shown |= {var.root for var in operands(step.results) if var is not var.root}
            if not never_fails(step):  # what is written before an error is written
                shown |= {root for root in whole if root.outside}
            for root in step.writes:
                known = root in made or (root.outside and type(root.source) is not np.ndarray)
                whole[root] = whole.get(root, known) and len(step.writes) == 1 and _writes_all(step, root)
        whole |= dict.fromkeys(whole.keys() & shown, False)
    shown = {x.root for x in program.outputs if type(x) is Var and x is not x.root}
    kept = {var.root for step in program.steps if isinstance(step, Guard) for var in step.keeps}
    shown |= {root for root in kept if not root.outside}  # a branch may write there
    return [root for root, ok in whole.items() if ok and root.contiguous and root not in shown]


def numbers_first(steps: list[Step | Guard]) -> list[Step | Guard]:
    """Let arithmetic of Python's numbers alone, which may raise, come first between two decisions, ahead of writes."""
    ordered: list[Step | Guard] = []
    begins, late = 0, set[Var]()  # where numbers go, and what is made after that
    for step in steps:
        if isinstance(step, Guard):
            ordered.append(step)
            begins, late = len(ordered), set()
        elif _is_of_numbers(step) and late.isdisjoint(operands(step.args)):
            ordered.insert(begins, step)
            begins += 1
        else:
            ordered.append(step)
            late |= {*operands(step.results)}
    return ordered


def _is_of_numbers(step: Step) -> bool:
    """Whether a step makes one of Python's numbers of others."""
    made = type(step.results) is Var and step.results.python
    return made and not step.writes and all(var.python for var in operands(step.args, step.options))


def never_fails(step: Step) -> bool:
    """Whether a step raises for no values, other than floating-point errors."""
    if step.function in (operator.getitem, operator.setitem):
        return not operands(step.args[1])
    if step.function in (operator.pow, np.power) and any(var.dtype.kind != "f" for var in operands(step.args)):
        return False  # negative powers of integers
    numbers = {var.dtype.kind for var in operands(step.args) if var.python}
    if numbers - {"f"} and not (step.function in SAFE and all(map(_is_integer, step.args))):
        return False  # large integers are no floats, and do not fit into arrays
    if numbers and _is_of_numbers(step):
        return step.function in SAFE
    known = step.function in UFUNCS or step.function in FILLED or step.function in IMPURE or step.function in PUTTING
    return known or is_reduction(step) or isinstance(step.function, np.ufunc) or step.function is operator.pow


def _is_integer(x: Any) -> bool:
    return (x.python and x.dtype.kind == "i") if type(x) is Var else type(x) is int


def _writes_all(step: Step, root: Var) -> bool:
    """Whether a step writes to every element of an array what it would give as a new one."""
    if step.function in PUTTING:
        x = step.args[-1]
        index = step.args[1] if step.function is operator.setitem else Ellipsis
        same = type(x) is Var and (x.shape, x.dtype) == (root.shape, root.dtype) and x.dtype.kind in "iufc"
        return step.args[0] is root and same and is_all(index) and not step.options
    if type(step.function) is not np.ufunc or step.function.signature or step.function.nout != 1:
        return False
    if step.options.keys() != {"out"} or step.options["out"] != (root,):
        return False
    try:
        kinds = [_kind(x) for x in step.args]
        dtype = step.function.resolve_dtypes((*kinds, None))[-1]
    except TypeError:
        return False
    return bool(dtype == root.dtype) and np.broadcast_shapes(*(np.shape(x) for x in step.args)) == root.shape


def _kind(x: Any) -> Any:
    """What of an operand decides the dtype of a result."""
    if type(x) is Var:
        return {"i": int, "f": float, "c": complex}[x.dtype.kind] if x.python else x.dtype
    if type(x) in (int, float, complex):
        return type(x)
    raise TypeError
