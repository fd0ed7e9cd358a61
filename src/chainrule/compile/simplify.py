"""Passes that keep every bit: each takes a program's steps in order and returns steps in order.

What writes to memory stays where it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..rules.registry import rules
from .calls import UFUNCS
from .guards import asked_for_nan, asked_late, asked_once, implied
from .program import (
    PLACE,
    Loop,
    Program,
    Steps,
    all_read,
    each_loop,
    escaping,
    is_fixed,
    is_repeatable,
    is_uniform,
    key_of,
    private,
    read,
    renamed,
    step_giving,
)  # fmt: skip
from .steps import Guard, Method, Property, Step, Var, inner, operands

__all__ = ["RESHAPING", "needed", "replaced", "reshaped", "simplified"]

FILLED: dict[Any, int] = {np.ones_like: 1, np.zeros_like: 0}
IMPURE = {np.empty_like}
SIMPLE = {np.any, np.all, np.reshape, Method("any"), Method("all"), Method("reshape"), Method("astype"), Property("T")}
FEW = 4096  # elements of a constant that is computed beforehand
REDUCED: dict[Any, np.ufunc] = {np.sum: np.add, np.max: np.maximum, np.amax: np.maximum, np.min: np.minimum}
REDUCED |= {Method("sum"): np.add, Method("max"): np.maximum, Method("min"): np.minimum}
RESHAPING = {np.reshape, np.ravel, np.expand_dims, np.squeeze, Method("ravel"), Method("squeeze"), Method("reshape")}
RESHAPING |= {rules["reshape"].value}
SWAPPING = {np.swapaxes, Method("swapaxes")}
TRANSPOSING = {np.transpose, Method("transpose")} | SWAPPING
TRANSPOSES = ((), (None,), ((1, 0),), (0, 1), (1, 0), (-1, -2), (-2, -1))  # arguments with which these turn a matrix


def simplified(program: Program, further: Sequence[Callable[[Program], Steps]] = ()) -> Program:
    """Do all passes, and further ones; in the turns of loops first."""
    program.own()
    each_loop(program, lambda body: simplified(body, further))
    for change in (
        named_by_numpy, lowered, undone, folded, shared, broadcast,
        *further,
        reshaped, asked_for_nan, implied, needed, asked_once, asked_late,
    ):  # fmt: skip
        program.steps = change(program)
    return program


def replaced(program: Program, visit: Callable[[Step], Var | None]) -> Steps:
    """Drop the steps for whose result `visit` returns another Var, and use that one instead."""
    instead: dict[Var, Var] = {}
    kept: Steps = []
    for step in program.steps:
        if instead:
            renamed(step, instead)
        if isinstance(step, Step) and (other := visit(step)) is not None:
            instead[step.results] = other
        else:
            kept.append(step)
    program.outputs = [instead.get(x, x) if type(x) is Var else x for x in program.outputs]
    program.same |= instead
    return kept


# -- what NumPy does in Python ---------------------------------------------------------------------------------------
def named_by_numpy(program: Program) -> Steps:
    """Write Python's operators on arrays as ufuncs, and a second power as a square."""
    for step in program.steps:
        if isinstance(step, Guard) or type(step.results) is not Var or step.results.scalar:
            continue
        if step.function in UFUNCS:
            step.function = UFUNCS[step.function]
        elif step.function is operator.pow and len(step.args) == 2 and type(step.args[1]) is int and step.args[1] == 2:
            step.function, step.args = np.square, step.args[:1]
    return program.steps


def lowered(program: Program) -> Steps:
    """Write what NumPy does in Python as the calls that this comes down to: they take half the time on small arrays."""
    steps: Steps = []
    for step in program.steps:
        lower = None
        if isinstance(step, Step) and step.args and type(step.args[0]) is Var and not step.args[0].scalar:
            lower = LOWERED.get(step.function)
        steps += [step] if lower is None else lower(step)  # type: ignore[arg-type]
    return steps


def _to_reduce(step: Step) -> Steps:
    x, ufunc = step.args[0], REDUCED[step.function]
    summed = x.dtype.kind == "f" or (x.dtype == np.bool and ufunc is np.add)
    if summed and len(step.args) <= 2 and set(step.options) <= {"axis", "keepdims"}:
        axis = step.args[1] if len(step.args) == 2 else step.options.get("axis")
        step.function, step.args = ufunc.reduce, (x,)
        step.options = {"axis": axis} | {name: k for name, k in step.options.items() if name == "keepdims" and k}
    return [step]


def _to_quotient(step: Step) -> Steps:
    """A mean is a sum, divided."""
    x, y = step.args[0], step.results
    n = x.size // max(y.size, 1)
    if x.dtype not in (np.double, np.single) or len(step.args) > 1 or not 0 < n <= 1 << 24:
        return [step]
    if not set(step.options) <= {"axis", "keepdims"}:
        return [step]
    total = Var.made(y.shape, y.dtype, None, scalar=y.scalar)
    added = step_giving(total, np.add.reduce, step.args, step, {"axis": None} | step.options)
    step.function, step.args, step.options = operator.truediv if y.scalar else np.divide, (total, n), {}
    return [added, step]


def _to_copy(step: Step) -> Steps:
    """What is put at all places is there already."""
    x, y = step.args[0], step.results
    if y.dtype.kind != "f" or not x.contiguous or not is_all(step.options["index"]):
        return [step]
    shown = Var.made(y.shape, y.dtype, None, x.root)
    reshape = step_giving(shown, Method("reshape"), (x, y.shape), step)
    step.function, step.args, step.options = np.positive, (shown,), {}
    return [reshape, step]


def _to_reshape(step: Step) -> Steps:
    x, y = step.args[0], step.results
    if step.function is operator.getitem and not is_all(step.args[1]):
        return [step]
    in_c_order = not any(isinstance(part, str) and part != "C" for part in (*step.args, *step.options.values()))
    if in_c_order and x.contiguous and y.contiguous and not y.scalar:
        step.function, step.args, step.options = Method("reshape"), (x, y.shape), {}
    return [step]


def _to_transpose(step: Step) -> Steps:
    x = step.args[0]
    if len(x.shape) == 2 and not step.options and step.args[1:] in TRANSPOSES:
        step.function, step.args = Property("T"), (x,)
    return [step]


def _to_item(step: Step) -> Steps:
    """Read an element, add to it, and write it back: `np.add.at` takes ten times as long."""
    x, index, more = step.args
    indices = index if type(index) is tuple else (index,)
    if step.options or len(indices) != len(x.shape) or any(type(i) is not int for i in indices):
        return [step]
    if type(more) is not Var or not more.scalar or more.python or more.dtype != x.dtype:
        return [step]
    element, total = (Var.made((), x.dtype, None, scalar=True) for _ in range(2))
    item = step_giving(element, operator.getitem, (x, index), step)
    added = step_giving(total, operator.add, (element, more), step)
    step.function, step.args = operator.setitem, (x, index, total)
    return [item, added, step]


LOWERED: dict[Any, Callable[[Step], Steps]] = (
    dict.fromkeys(REDUCED, _to_reduce)
    | dict.fromkeys((np.mean, Method("mean")), _to_quotient)
    | dict.fromkeys((*RESHAPING, operator.getitem), _to_reshape)
    | dict.fromkeys(TRANSPOSING, _to_transpose)
    | {PLACE: _to_copy, np.add.at: _to_item}
)


def is_all(index: Any) -> bool:
    """Whether an index leaves out nothing, and changes no order."""
    parts = index if type(index) is tuple else (index,)
    return all(
        part is None
        or part is Ellipsis
        or (type(part) is slice and part.start is None and part.stop is None and part.step is None)
        for part in parts
    )


# -- what changes nothing --------------------------------------------------------------------------------------------
def undone(program: Program) -> Steps:
    """Drop what changes nothing: a view of a view, axes that are turned twice, a copy that nobody writes to."""
    outputs = escaping(program)
    returned = {x for x in program.outputs if type(x) is Var}

    def visit(step: Step) -> Var | None:
        x, y = step.args[0] if step.args else None, step.results
        if type(x) is not Var or type(y) is not Var or step.writes or not private(x) or not private(y):
            return None
        if step.function == Method("copy") and x.scalar and y.scalar:
            return x
        if step.function == Method("reshape") and not step.options and _is_shape(step.args[1:], y.shape):
            x = _before_reshapes(x)
            step.args = x, y.shape
        elif step.function in TRANSPOSING or step.function == Property("T"):
            if not _made_by(x, {*TRANSPOSING, Property("T")}):
                return None
            once, again = _axes(x.source), _axes(step)
            if once is None or again is None or [once[i] for i in again] != list(range(len(once))):
                return None
            x = x.source.args[0]
        elif not _copies(step):
            return None
        if x.form != y.form or (y.root in outputs and (x.root.outside or x.root is not y.root or x in returned)):
            return None
        if y in returned:  # each result is an object of its own
            returned.add(x)
        return x

    return replaced(program, visit)


def _made_by(x: Var, functions: set[Any]) -> bool:
    """Whether one of these functions made a view of something else that nobody writes to."""
    step = x.source
    return isinstance(step, Step) and step.function in functions and type(step.args[0]) is Var and private(step.args[0])


def _axes(step: Step) -> list[int] | None:
    """Which axis of the operand each axis of a transpose is."""
    axes = list(range(len(step.args[0].shape)))
    if step.options:
        return None
    if step.function == Property("T") or (step.function not in SWAPPING and step.args[1:] in ((), (None,))):
        return axes[::-1]
    if step.function in SWAPPING:
        i, j = step.args[1:]
        axes[i], axes[j] = axes[j], axes[i]
        return axes
    return [axes[i] for i in step.args[1]] if len(step.args) == 2 and type(step.args[1]) is tuple else None


def _is_shape(args: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    """Whether a reshape is given this shape, as one tuple."""
    return len(args) == 1 and type(args[0]) is tuple and args[0] == shape


def _before_reshapes(x: Var) -> Var:
    """What has the same elements in the same order, before it was reshaped."""
    while _made_by(x, {Method("reshape")}) and x.source.args[0].contiguous:  # else it is a copy in another order
        x = x.source.args[0]
    return x


def _copies(step: Step) -> bool:
    """Whether a step gives the same elements once more."""
    if step.function is np.positive:
        return len(step.args) == 1 and not step.options
    return step.function is operator.getitem and type(step.args[1]) is tuple and not step.args[1]


def reshaped(program: Program) -> Steps:
    """Show memory in another shape once, not twice."""
    outputs = escaping(program)

    def visit(step: Step) -> Var | None:
        if step.function != Method("reshape") or not private(step.results):
            return None
        x = _before_reshapes(step.args[0])
        step.args = x, step.results.shape
        return x if x.shape == step.results.shape and step.results.root not in outputs else None

    return replaced(program, visit)


# -- constants -----------------------------------------------------------------------------------------------------
def broadcast(program: Program) -> Steps:
    """Let ufuncs stretch their operands themselves; an array of one number is that number."""
    numbers: dict[Var, Any] = {}

    def number(x: Var) -> Any:
        if x not in numbers:
            value = program.captured.get(x)
            narrow = isinstance(value, np.ndarray) and x.dtype in (np.double, np.single) and is_fixed(value)
            numbers[x] = value.item(0) if narrow and is_uniform(value) else None  # type: ignore[union-attr]
        return numbers[x]

    for step in program.steps:
        if isinstance(step, Guard) or step.options or type(step.results) is not Var:
            continue
        if not (isinstance(step.function, np.ufunc) and step.function.signature is None):
            continue
        args = list(step.args)
        for i, x in enumerate(args):
            if type(x) is Var and isinstance(x.source, Step) and x.source.function is np.broadcast_to and private(x):
                narrow = x.source.args[0]
                shapes = [narrow.shape if j == i else getattr(a, "shape", ()) for j, a in enumerate(args)]
                if type(narrow) is Var and np.broadcast_shapes(*shapes) == step.results.shape:
                    args[i] = narrow
        for i, x in enumerate(args):
            if type(x) is not Var or number(x) is None:
                continue
            others = [a for a in args if type(a) is Var and not a.python and number(a) is None]
            wide = np.broadcast_shapes(*(a.shape for a in others)) == step.results.shape
            if wide and any(a.dtype == x.dtype for a in others):
                args[i] = number(x)
        step.args = tuple(args)
    return program.steps


def folded(program: Program) -> Steps:
    """Compute once what depends on no argument; multiply by one, and choose what is always chosen, for free."""
    return _Folding(program).run()


class _Folding:
    """The values that are the same in each call, as they are found."""

    def __init__(self, program: Program) -> None:
        self.program, self.outputs = program, escaping(program)
        self.known: dict[Var, Any] = {}

    def run(self) -> Steps:
        """The steps that are left."""
        steps = replaced(self.program, self.visit)
        return [step for step in steps if not (isinstance(step, Guard) and self.holds(step))]

    def holds(self, guard: Guard) -> bool:
        """Whether a guard asks for what is the same in each call."""
        return guard.kind == "bool" and guard.var in self.known

    def visit(self, step: Step) -> Var | None:
        """What takes the place of a step's result, if the step can be dropped."""
        y = step.results
        if type(y) is not Var or step.writes or y.root.written:
            return None
        x = None if step.options else self.operand_returned(step)
        if type(x) is Var and self.may_stand_for(x, y):
            return x
        value = None if y.root in self.outputs else self.value(step)
        return None if value is None else self.constant(value)

    def operand_returned(self, step: Step) -> Any:
        """Which operand a step returns, whatever is in it."""
        if step.function in (np.multiply, operator.mul):
            a, b = step.args
            return b if self.is_one(a) else a if self.is_one(b) else None
        if step.function is np.where and len(step.args) == 3:
            condition = self.known.get(step.args[0]) if type(step.args[0]) is Var else None
            if condition is not None and is_uniform(condition):
                return step.args[1] if condition.item(0) else step.args[2]
        return None

    def is_one(self, x: Any) -> bool:
        """Whether an operand is 1, or an array of ones."""
        value = self.known.get(x) if type(x) is Var else x
        if isinstance(value, bool | np.bool) or not isinstance(value, int | float | np.generic | np.ndarray):
            return False
        if isinstance(value, np.ndarray):
            return value.size > 0 and bool(value.item(0) == 1) and is_uniform(value)
        return bool(value == 1)

    def may_stand_for(self, x: Var, y: Var) -> bool:
        """Whether an equal value may take the place of a result: of one that is returned, if no other one is it."""
        if not private(x) or x.form != y.form:
            return False
        if y.root in self.outputs:
            made_here = x.root is x and isinstance(x.source, Step)
            if not made_here or x in self.outputs:
                return False
            self.outputs.add(x)
        return True

    def value(self, step: Step) -> Any:
        """What a step gives in each call, if that is known, and small or one number."""
        y = step.results
        if step.function in FILLED and set(step.options) <= {"dtype", "shape", "order"}:
            return _filled(y, FILLED[step.function])
        if step.function is np.full_like and not step.options and type(step.args[1]) in (bool, int, float):
            return _filled(y, step.args[1])
        inputs = set(read(step))
        if not inputs or not inputs <= self.known.keys():
            return None
        if not (is_repeatable(step) or step.function in SIMPLE or _copies(step)):
            return None
        few = y.size <= FEW
        if not few and not all(is_uniform(self.known[x]) for x in inputs):
            return None
        value = step.function(*inner(step.args, lambda x: self.known.get(x, x)), **step.options)
        return value if few or is_uniform(value) else None  # as it lies: products and sums over it go by that

    def constant(self, value: Any) -> Var:
        """A captured value, which nobody can change."""
        owner = value
        while isinstance(owner, np.ndarray):
            owner.flags.writeable, owner = False, owner.base
        var = Var(value, value)
        self.program.captured[var] = self.known[var] = value
        return var


def _filled(y: Var, number: Any) -> np.ndarray:
    """An array of one number, which lies in memory as this value does."""
    axes = sorted(range(len(y.shape)), key=lambda axis: -y.strides[axis])
    return np.full([y.shape[axis] for axis in axes], number, y.dtype).transpose(np.argsort(axes))


# -- what is computed twice, and what nobody reads ----------------------------------------------------------------
def shared(program: Program) -> Steps:
    """Compute once what is asked for twice."""
    known: dict[Any, Var] = {}
    outputs = escaping(program)

    def visit(step: Step) -> Var | None:
        y = step.results
        if type(y) is not Var or step.writes or step.function in IMPURE or y.root in outputs:
            return None
        if not all(map(private, (y, *read(step)))):
            return None
        try:
            key = step.function, key_of(step.args), key_of(step.options)
            other = known.setdefault(key, y)
        except TypeError:  # something that cannot be looked up
            return None
        return None if other is y else other

    return replaced(program, visit)


def needed(program: Program, inside: bool = True) -> Steps:
    """Drop what nobody reads; `inside` of loops, too."""
    alive: set[Var] = {part for x in program.outputs if type(x) is Var for part in (x, x.root)}
    kept: Steps = []
    for step in reversed(program.steps):
        if isinstance(step, Guard):
            wanted = True
        else:
            results = set(operands(step.results))
            wanted = not results.isdisjoint(alive) or any(root.outside or root in alive for root in step.writes)
        if wanted:
            if inside and isinstance(step, Step) and isinstance(step.function, Loop):
                _without_unread(step, alive)
            kept.append(step)
            for var in read(step):
                alive |= {var, var.root}
    return kept[::-1]


def _without_unread(step: Step, alive: set[Var]) -> None:
    """Drop what a loop carries, collects or reads for nobody."""
    loop: Loop = step.function
    turns, init, items, outer = step.args
    count, *results = step.results
    wanted = {i for i, var in enumerate(results[: len(init)]) if var in alive}
    collected = [i for i, var in enumerate(results) if i >= len(init) and var in alive]
    body, carried = _needed_turn(loop, wanted, collected)
    step.function = other = loop.with_body(body)
    asked = other.body_reads()
    other.carry = [loop.carry[i] for i in carried]
    items, other.items = _asked_for(asked, items, loop.items)
    outer, other.outer = _asked_for(asked, outer, loop.outer)
    step.args = turns, [init[i] for i in carried], items, outer
    step.results = (count, *(results[i] for i in (*carried, *collected)))


def _needed_turn(loop: Loop, wanted: set[int], collected: list[int]) -> tuple[Program, list[int]]:
    """A turn that gives these carries, others that it reads for them, and what is collected; which carries it gives."""
    body = loop.body.with_steps(loop.body.steps)
    while True:
        body.outputs = [loop.body.outputs[i] for i in (*sorted(wanted), *collected)]
        asked = all_read(needed(body, inside=False), body.outputs)
        more = {i for i, var in enumerate(loop.carry) if var in asked}
        if more <= wanted:
            break
        wanted = wanted | more
    body.steps = needed(body)
    return body, sorted(wanted)


def _asked_for(asked: set[Var], values: list[Any], inside: list[Var]) -> tuple[list[Any], list[Var]]:
    """Of the values that a loop is given, and of what they are called inside, those that are asked for."""
    chosen = [i for i, var in enumerate(inside) if var in asked]
    return [values[i] for i in chosen], [inside[i] for i in chosen]
