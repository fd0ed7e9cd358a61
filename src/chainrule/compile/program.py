"""From a trace to a shorter program that gives the same bits.

Each pass takes steps in order and returns steps in order; what writes to memory stays where it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np

from ..rules.helpers import share
from ..rules.registry import rules
from .trace import NESTING, Guard, Line, Method, Property, Step, Trace, Var, inner, operands

__all__ = [
    "Loop", "Program", "alike", "asked_for_nan", "described", "each_loop", "expanded", "implied", "is_fixed",
    "is_uniform", "key_of", "needed", "read", "simplified",
]  # fmt: skip

# Python's operators on arrays are these ufuncs, which can be told where to put the result.
UFUNCS: dict[Any, np.ufunc] = {
    operator.add: np.add, operator.sub: np.subtract, operator.mul: np.multiply, operator.truediv: np.divide,
    operator.floordiv: np.floor_divide, operator.mod: np.remainder, operator.matmul: np.matmul,
    operator.neg: np.negative, operator.pos: np.positive, operator.abs: np.absolute, operator.invert: np.invert,
    operator.lt: np.less, operator.le: np.less_equal, operator.eq: np.equal, operator.ne: np.not_equal,
    operator.gt: np.greater, operator.ge: np.greater_equal,
}  # fmt: skip
FILLED: dict[Any, int] = {np.ones_like: 1, np.zeros_like: 0}
IMPURE = {np.empty_like}
HARMLESS = {np.where, Method("reshape"), Property("T")}
SIMPLE = {np.any, np.all, np.reshape, Method("any"), Method("all"), Method("reshape"), Method("astype"), Property("T")}
FEW = 4096  # elements of a constant that is computed beforehand


class Program:
    """Steps that are worked on.

    Attributes
    ----------
    steps : list of Step and Guard
    captured : `{Var: array}`
    outputs : what the function returned, leaf by leaf: a Var, or a plain object
    same : values that were dropped, with the equal ones that took their places
    """

    def __init__(self, steps: Sequence[Step | Guard], captured: dict[Var, Any], outputs: Sequence[Any]) -> None:
        self.steps = [step.copy() for step in steps]
        self.captured, self.outputs = dict(captured), list(outputs)
        self.same: dict[Var, Var] = {}
        for var in self.own():
            var.root = var.home

    def own(self) -> list[Var]:
        """Let the values that are made here lead to the steps that make them here; other programs share the values."""
        found = []
        for step in self.steps:
            if isinstance(step, Step):
                for var in operands(step.results):
                    var.source = step
                    found.append(var)
        return found

    def now(self, var: Var) -> Var:
        """The value that has taken the place of this one."""
        while var in self.same:
            var = self.same[var]
        return var

    def keep(self) -> None:
        """Let guards read what the branches that begin there need."""
        for step in self.steps:
            if isinstance(step, Guard) and step.branches:
                needs = dict.fromkeys(var for branch in step.branches for var in branch.inputs)
                step.keeps = tuple(self.now(var) for var in needs)

    def fresh(self) -> Program:
        """The same program, for passes to change."""
        other = Program([], self.captured, self.outputs)
        other.steps, other.same = [step.copy() for step in self.steps], dict(self.same)
        made = dict.fromkeys(other.own())
        for var in made:  # views of what was dropped are views of what took its place
            root = other.now(var.home)
            if root is not var:
                var.root = root.root
            elif var.root not in made:
                var.root = var
        return other

    def with_steps(self, steps: list[Step | Guard]) -> Program:
        """The same program, done by other steps."""
        other = copy(self)
        other.steps, other.same = steps, dict(self.same)
        return other


class Loop:
    """A loop as the function of one step: `called with (turns, init, items, outer)`.

    Of these `turns` is a number, or None where a guard of kind "goes on" in the body says whether there is another
    turn; the others are lists: the first carry, the arrays that are gone through along their first axis, and what the
    body reads from outside.  The step's results are the number of turns, the last carry, and the arrays in which what
    each turn gives was collected; None for those that nobody reads.

    Attributes
    ----------
    body : Program
        One turn.  Its outputs are the next carry, and what is collected.
    place : Var
        The number of the turn: where in the arrays it reads and writes; counted down if `reverse`.
    carry, items, outer : list of Var
        What the lists of arguments are called in the body.
    length : of the arrays that are collected; for a loop without a number of turns, more than that is a miss
    reverse : whether the last place comes first
    key : what it does, whatever passes make of it; equal for loops that do the same
    kernel : the builtin function that does all of it, if there is one
    """

    __name__ = "loop"
    kernel: Any = None

    def __init__(
        self,
        body: Program,
        place: Var,
        carry: list[Var],
        items: list[Var],
        outer: list[Var],
        length: int,
        reverse: bool,
        key: Any,
    ) -> None:
        self.body, self.place, self.carry, self.items, self.outer = body, place, carry, items, outer
        self.length, self.reverse, self.key = length, reverse, key

    def __eq__(self, other: object) -> bool:
        return type(other) is Loop and alike(self.key, other.key)

    def __hash__(self) -> int:
        return hash((Loop, self.length, self.reverse))

    def described(self, name: Callable[[Var], str]) -> Iterator[str]:
        """What a turn does, line by line."""
        texts = {var: f"t{k}" for k, var in enumerate((self.place, *self.carry, *self.items))}

        def told(x: Any) -> Any:
            return (texts.get(x) or name(x)) if type(x) is Var else repr(x)

        yield f"for {texts[self.place]} in ...: from {', '.join(texts[var] for var in self.carry)}"
        for step in self.body.steps:
            if isinstance(step, Guard):
                yield f"    check {step.kind} of {told(step.var)}"
                continue
            texts |= {var: f"t{len(texts)}" for var in operands(step.results)}
            made = ", ".join(texts[var] for var in operands(step.results))
            args = ", ".join(told(x) for x in operands(*step.args))
            yield f"    {made} = {getattr(step.function, '__name__', step.function)}({args})"
        yield f"    to {', '.join(str(told(x)) for x in self.body.outputs)}"

    def body_reads(self) -> set[Var]:
        """Every value that a turn reads."""
        return _reads(self.body.steps, self.body.outputs)

    def with_body(self, body: Program) -> Loop:
        """The same loop, whose turns are done by other steps."""
        other = copy(self)
        other.body = body
        return other


def alike(a: Any, b: Any) -> bool:
    """Whether two descriptions are equal."""
    try:
        return bool(a == b)
    except ValueError:  # arrays of other classes in the arguments
        return False


def described(steps: Sequence[Step | Guard], numbers: dict[Var, int]) -> list[tuple[Any, Line, str]]:
    """What each step does, with numbers for the values; its line; and its name."""
    found: list[tuple[Any, Line, str]] = []

    def number(x: Any) -> Any:
        return numbers.setdefault(x, len(numbers)) if type(x) is Var else x

    for step in steps:
        if isinstance(step, Guard):
            found.append((("guard", number(step.var), step.kind), step.line, "a decision"))
            continue
        done = key_of(inner((step.args, step.options), number))
        forms = tuple((var.shape, var.dtype) for var in operands(step.results))
        name = getattr(step.function, "__name__", str(step.function))
        found.append(((step.function, done, forms), step.line, name))
        inner((step.results,), number)
    return found


def read(step: Step | Guard) -> list[Var]:
    """Every Var that a step reads."""
    if isinstance(step, Guard):
        return [step.var, *step.keeps]
    found: list[Var] = []
    for x in step.args:  # what is asked most while a program is made: no call for each argument
        kind = type(x)
        if kind is Var:
            found.append(x)
        elif kind in NESTING:
            found += operands(x)
    return found + operands(step.options) if step.options else found


def simplified(program: Program, further: Sequence[Callable[[Program], list[Step | Guard]]] = ()) -> Program:
    """Do all passes, which keep every bit, and further ones; in the turns of loops first."""
    program.own()
    each_loop(program, lambda body: simplified(body, further))
    for change in (
        named_by_numpy,
        lowered,
        undone,
        folded,
        shared,
        broadcast,
        *further,
        reshaped,
        asked_for_nan,
        implied,
        needed,
        asked_late,
    ):
        program.steps = change(program)
    return program


def each_loop(program: Program, change: Callable[[Program], Program]) -> None:
    """Change the bodies of loops."""
    for step in program.steps:
        if isinstance(step, Step) and isinstance(step.function, Loop):
            step.function = step.function.with_body(change(step.function.body.fresh()))


def _renamed(program: Program, visit: Callable[[Step], Var | None]) -> list[Step | Guard]:
    """Drop the steps for whose result `visit` returns another Var, and use that one instead."""
    instead: dict[Var, Var] = {}

    def new(x: Any) -> Any:
        return instead.get(x, x) if type(x) is Var else x

    kept: list[Step | Guard] = []
    for step in program.steps:
        if isinstance(step, Guard):
            step.var, step.keeps = new(step.var), tuple(map(new, step.keeps))
        else:
            if instead:
                step.args, step.options = inner(step.args, new), inner(step.options, new)
                _rooted(step, instead)
            other = visit(step)
            if other is not None:
                instead[step.results] = other
                continue
        kept.append(step)
    program.outputs = [new(x) for x in program.outputs]
    program.same |= instead
    return kept


def _rooted(step: Step, instead: dict[Var, Var]) -> None:
    """Let views of a replaced value be views of the other one."""
    for var in operands(step.results):
        if var.root in instead:
            var.root = instead[var.root].root


def private(var: Any) -> bool:
    """Whether nobody ever writes to the memory of this value."""
    return type(var) is not Var or not var.root.written


# -- passes --------------------------------------------------------------------------------------------------------
REDUCED: dict[Any, np.ufunc] = {np.sum: np.add, np.max: np.maximum, np.amax: np.maximum, np.min: np.minimum}
REDUCED |= {Method("sum"): np.add, Method("max"): np.maximum, Method("min"): np.minimum}
RESHAPING = {np.reshape, np.ravel, np.expand_dims, np.squeeze, Method("ravel"), Method("squeeze"), Method("reshape")}
RESHAPING |= {rules["reshape"].value}
PLACE = rules["place"].value
SWAPPING = {np.swapaxes, Method("swapaxes")}
TURNING = {np.transpose, np.swapaxes, Method("transpose"), Method("swapaxes")}


def lowered(program: Program) -> list[Step | Guard]:
    """Write what NumPy does in Python as the calls that this comes down to: they take half the time on small arrays."""
    steps: list[Step | Guard] = []
    for step in program.steps:
        if isinstance(step, Step) and type(step.results) is Var and step.args and type(step.args[0]) is Var:
            steps += _lowered(step)
        else:
            steps += _added_to_element(step) if isinstance(step, Step) and step.function == np.add.at else [step]
    return steps


def _added_to_element(step: Step) -> list[Step | Guard]:
    """Read an element, add to it, and write it back: `np.add.at` takes ten times as long."""
    x, index, more = step.args
    indices = index if type(index) is tuple else (index,)
    if step.options or len(indices) != len(x.shape) or any(type(i) is not int for i in indices):
        return [step]
    if type(more) is not Var or not more.scalar or more.python or more.dtype != x.dtype:
        return [step]
    element, total = (Var.made((), x.dtype, None, scalar=True) for _ in range(2))
    read = Step(operator.getitem, (x, index), {}, step.quiet, step.line)
    added = Step(operator.add, (element, more), {}, step.quiet, step.line)
    read.results, element.source, added.results, total.source = element, read, total, added
    step.function, step.args = operator.setitem, (x, index, total)
    return [read, added, step]


def _lowered(step: Step) -> list[Step | Guard]:
    x, y = step.args[0], step.results
    if x.scalar:
        return [step]
    summed = x.dtype.kind == "f" or (x.dtype == np.bool and REDUCED.get(step.function) is np.add)
    if step.function in REDUCED and summed and set(step.options) <= {"axis", "keepdims"}:
        axis = step.args[1] if len(step.args) == 2 else step.options.get("axis")
        if len(step.args) <= 2:
            step.function, step.args = REDUCED[step.function].reduce, (x,)
            step.options = {"axis": axis} | {name: k for name, k in step.options.items() if name == "keepdims" and k}
    elif step.function in (np.mean, Method("mean")) and x.dtype in (np.double, np.single):
        n = x.size // max(y.size, 1)
        if len(step.args) == 1 and set(step.options) <= {"axis", "keepdims"} and 0 < n <= 1 << 24:
            total = Var.made(y.shape, y.dtype, None, scalar=y.scalar)
            options = {"axis": None} | step.options
            first = Step(np.add.reduce, step.args, options, step.quiet, step.line)
            first.results, total.source = total, first
            step.function, step.args, step.options = operator.truediv if y.scalar else np.divide, (total, n), {}
            return [first, step]
    elif step.function is PLACE and y.dtype.kind == "f" and x.contiguous and _is_all(step.options["index"]):
        shown = Var.made(y.shape, y.dtype, None, x.root)
        first = Step(Method("reshape"), (x, y.shape), {}, step.quiet, step.line)
        first.results, shown.source = shown, first
        step.function, step.args, step.options = np.positive, (shown,), {}
        return [first, step]
    elif (
        (step.function in RESHAPING or _reads_all(step))
        and (x.contiguous and y.contiguous and not y.scalar)
        and not any(isinstance(part, str) and part != "C" for part in (*step.args, *step.options.values()))
    ):
        step.function, step.args, step.options = Method("reshape"), (x, y.shape), {}
    elif step.function in TURNING and len(x.shape) == 2 and not step.options and step.args[1:] in TURNED:
        step.function, step.args = Property("T"), (x,)
    return [step]


def _is_all(index: Any) -> bool:
    """Whether an index leaves out nothing, and changes no order."""
    parts = index if type(index) is tuple else (index,)
    return all(
        part is None
        or part is Ellipsis
        or (type(part) is slice and part.start is None and part.stop is None and part.step is None)
        for part in parts
    )


def _reads_all(step: Step) -> bool:
    return step.function is operator.getitem and _is_all(step.args[1])


TURNED = ((), (None,), ((1, 0),), (0, 1), (1, 0), (-1, -2), (-2, -1))


def undone(program: Program) -> list[Step | Guard]:
    """Drop what changes nothing: a view of a view, axes that are turned twice, a copy that nobody writes to."""
    outputs = {x.root for x in program.outputs if type(x) is Var}

    def visit(step: Step) -> Var | None:
        x, y = step.args[0] if step.args else None, step.results
        if type(x) is not Var or type(y) is not Var or step.writes or not private(x) or not private(y):
            return None
        if step.function == Method("copy") and x.scalar and y.scalar:
            return x
        if step.function == Method("reshape") and not step.options and _is_shape(step.args[1:], y.shape):
            x = _before_reshapes(x)
            step.args = x, y.shape
        elif step.function in TURNING or step.function == Property("T"):
            if not _made_by(x, {*TURNING, Property("T")}):
                return None
            once, again = _axes(x.source), _axes(step)
            if once is None or again is None or [once[i] for i in again] != list(range(len(once))):
                return None
            x = x.source.args[0]
        elif not _copies(step):
            return None
        return x if x.form == y.form and y.root not in outputs else None

    return _renamed(program, visit)


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


def is_fixed(x: Any) -> bool:
    """Whether nobody can change an array: neither it nor what it is a view of can be written to."""
    while isinstance(x, np.ndarray):
        if x.flags.writeable:
            return False
        x = x.base
    return x is None or isinstance(x, bytes)


def broadcast(program: Program) -> list[Step | Guard]:
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


def named_by_numpy(program: Program) -> list[Step | Guard]:
    """Write Python's operators on arrays, and NumPy's functions that only pass on to a ufunc, as ufuncs."""
    for step in program.steps:
        if isinstance(step, Guard) or type(step.results) is not Var or step.results.scalar:
            continue
        if step.function in UFUNCS:
            step.function = UFUNCS[step.function]
        elif step.function is operator.pow and len(step.args) == 2 and type(step.args[1]) is int and step.args[1] == 2:
            step.function, step.args = np.square, step.args[:1]
    return program.steps


def folded(program: Program) -> list[Step | Guard]:
    """Compute once what depends on no argument; multiply by one, and choose what is always chosen, for free."""
    known: dict[Var, Any] = {}
    outputs = {x.root for x in program.outputs if type(x) is Var}

    def is_one(x: Any) -> bool:
        value = known.get(x) if type(x) is Var else x
        if isinstance(value, bool | np.bool) or not isinstance(value, int | float | np.generic | np.ndarray):
            return False
        if isinstance(value, np.ndarray):
            return value.size > 0 and bool(value.item(0) == 1) and is_uniform(value)
        return bool(value == 1)

    def unchanged(step: Step) -> Any:
        """Which operand a step returns, whatever is in it."""
        if step.function in (np.multiply, operator.mul):
            a, b = step.args
            return b if is_one(a) else a if is_one(b) else None
        if step.function is np.where and len(step.args) == 3:
            condition = known.get(step.args[0]) if type(step.args[0]) is Var else None
            if condition is not None and is_uniform(condition):
                return step.args[1] if condition.item(0) else step.args[2]
        return None

    def constant(value: Any) -> Var:
        owner = value
        while isinstance(owner, np.ndarray):
            owner.flags.writeable, owner = False, owner.base
        var = Var(value, value)
        program.captured[var], known[var] = value, value
        return var

    def visit(step: Step) -> Var | None:
        y = step.results
        if type(y) is not Var or step.writes or y.root.written:
            return None
        x = None if step.options else unchanged(step)
        if type(x) is Var and private(x) and x.form == y.form:
            made_here = x.root is x and isinstance(x.source, Step)  # and so may be returned, once
            if y.root not in outputs:
                return x
            if made_here and x not in outputs:
                outputs.add(x)
                return x
        if y.root in outputs:
            return None
        if step.function in FILLED and set(step.options) <= {"dtype", "shape", "order"}:
            return constant(_filled(y, FILLED[step.function]))
        if step.function is np.full_like and not step.options and type(step.args[1]) in (bool, int, float):
            return constant(_filled(y, step.args[1]))
        inputs = set(read(step))
        if inputs and inputs <= known.keys() and (_repeats(step) or step.function in SIMPLE or _copies(step)):
            few = y.size <= FEW
            if few or all(is_uniform(known[x]) for x in inputs):
                value = step.function(*inner(step.args, lambda x: known.get(x, x)), **step.options)
                if few or is_uniform(value):
                    return constant(value)  # as it lies: products and sums over it go by that
        return None

    def holds(step: Step | Guard) -> bool:
        return isinstance(step, Guard) and step.kind == "bool" and step.var in known

    return [step for step in _renamed(program, visit) if not holds(step)]


def _filled(y: Var, number: Any) -> np.ndarray:
    """An array of one number, which lies in memory as this value does."""
    axes = sorted(range(len(y.shape)), key=lambda axis: -y.strides[axis])
    return np.full([y.shape[axis] for axis in axes], number, y.dtype).transpose(np.argsort(axes))


def is_uniform(x: Any) -> bool:
    """Whether all elements of an array are the same bits: a part at a time, since most are not."""
    flat = np.reshape(x, -1)
    if not flat.size or flat.dtype.kind not in "fib" or flat.dtype.itemsize > 8:
        return False
    bits = flat.view(f"u{flat.dtype.itemsize}")
    return all((bits[i : i + FEW] == bits[0]).all() for i in range(0, flat.size, FEW))


def _repeats(step: Step) -> bool:
    """Whether a call gives the same each time."""
    return isinstance(step.function, np.ufunc) or step.function in (*UFUNCS, operator.pow, np.broadcast_to)


def shared(program: Program) -> list[Step | Guard]:
    """Compute once what is asked for twice."""
    known: dict[Any, Var] = {}
    outputs = {x.root for x in program.outputs if type(x) is Var}

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

    return _renamed(program, visit)


def key_of(x: Any) -> Any:
    """An argument as something that can be looked up, equal only for what gives the same bits."""
    kind = type(x)
    if kind is tuple or kind is list:
        return kind, tuple(map(key_of, x))
    if kind is dict:
        return tuple((name, key_of(part)) for name, part in x.items())
    if kind is slice:
        return kind, key_of((x.start, x.stop, x.step))
    if isinstance(x, float | np.float32):
        return kind, float(x).hex()  # 0.0 is not -0.0, and NaN is NaN
    if isinstance(x, complex | np.inexact):
        return kind, repr(x)
    return kind, x


def reshaped(program: Program) -> list[Step | Guard]:
    """Show memory in another shape once, not twice."""
    outputs = {x.root for x in program.outputs if type(x) is Var}

    def visit(step: Step) -> Var | None:
        if step.function != Method("reshape") or not private(step.results):
            return None
        x = _before_reshapes(step.args[0])
        step.args = x, step.results.shape
        return x if x.shape == step.results.shape and step.results.root not in outputs else None

    return _renamed(program, visit)


def asked_for_nan(program: Program) -> list[Step | Guard]:
    """`isnan(x).any()` and a guard is one question, which has a fast answer."""
    for step in program.steps:
        if isinstance(step, Guard) and step.kind == "bool" and step.outcome is False:
            any_of = step.var.source
            if not isinstance(any_of, Step):
                continue
            any_element = any_of.function == Method("any") or any_of.function is np.any
            isnan = any_of.args[0].source if any_element else any_of
            if isinstance(isnan, Step) and isnan.function is np.isnan and private(isnan.args[0]):
                step.kind, step.var = "no NaN", isnan.args[0]
    return program.steps


# What gives NaN wherever an operand is NaN.
PASSING_NAN: set[Any] = {
    np.add, np.subtract, np.multiply, np.divide, np.negative, np.positive, np.absolute, np.square, np.sqrt, np.cbrt,
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arctan, np.sinh, np.cosh,
    np.tanh, np.maximum, np.minimum, np.add.reduce, np.maximum.reduce, np.minimum.reduce, np.broadcast_to,
    operator.add, operator.sub, operator.mul, operator.truediv, Method("reshape"), Property("T"), Method("astype"),
}  # fmt: skip


def implied(program: Program) -> list[Step | Guard]:
    """Drop the question whether there is a NaN in a value where it would come through to another one that is asked."""
    asked = {step.var: step for step in program.steps if isinstance(step, Guard) and step.kind == "no NaN"}
    comes_through = set(asked)
    dropped: set[Step | Guard] = set()
    for step in reversed(program.steps) if asked else ():
        if isinstance(step, Guard) or step.function not in PASSING_NAN or step.writes:
            continue
        y = step.results
        if y in comes_through and private(y) and y.size and y.dtype.kind == "f" and "where" not in step.options:
            for x in read(step):
                if x.dtype.kind == "f" and private(x):
                    comes_through.add(x)
                    if x in asked and not asked[x].branches:
                        dropped.add(asked[x])
    return [step for step in program.steps if step not in dropped]


def needed(program: Program, inside: bool = True) -> list[Step | Guard]:
    """Drop what nobody reads; `inside` of loops, too."""
    alive: set[Var] = {part for x in program.outputs if type(x) is Var for part in (x, x.root)}
    kept: list[Step | Guard] = []
    asked: set[Any] = set()
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
    kept.reverse()
    unique = []
    for step in kept:  # ask each question once
        if isinstance(step, Guard) and private(step.var) and isinstance(step.outcome, bool | int | float | str):
            key = step.var, step.kind
            if key in asked and not step.branches:
                continue
            asked.add(key)
        unique.append(step)
    return unique


def _without_unread(step: Step, alive: set[Var]) -> None:
    """Drop what a loop carries, collects or reads for nobody."""
    loop: Loop = step.function
    turns, init, items, outer = step.args
    count, *results = step.results
    carried, collected = results[: len(init)], results[len(init) :]
    after, given = loop.body.outputs[: len(init)], loop.body.outputs[len(init) :]
    given = [x if var in alive else None for x, var in zip(given, collected, strict=True)]
    collected = [var if var in alive else None for var in collected]
    wanted = {i for i, var in enumerate(carried) if var in alive}
    while True:  # what is carried for what is carried
        body = loop.body.with_steps(loop.body.steps)
        body.outputs = [x if i in wanted else None for i, x in enumerate(after)] + given
        reads = _reads(needed(body, inside=False), body.outputs)
        more = {i for i, var in enumerate(loop.carry) if var in reads}
        if more <= wanted:
            break
        wanted |= more
    chosen = sorted(wanted)
    body.steps = needed(body)
    reads = loop.with_body(body).body_reads()
    body.outputs = [after[i] for i in chosen] + [x for x in given if x is not None]
    step.function = other = loop.with_body(body)
    other.carry = [loop.carry[i] for i in chosen]
    item_pairs = [(x, var) for x, var in zip(items, loop.items, strict=True) if var in reads]
    outer_pairs = [(x, var) for x, var in zip(outer, loop.outer, strict=True) if var in reads]
    other.items, other.outer = [var for _, var in item_pairs], [var for _, var in outer_pairs]
    step.args = turns, [init[i] for i in chosen], [x for x, _ in item_pairs], [x for x, _ in outer_pairs]
    step.results = (count, *(carried[i] for i in chosen), *(var for var in collected if var is not None))


def _reads(steps: list[Step | Guard], outputs: Sequence[Any]) -> set[Var]:
    """Every value that is read, and those whose memory it shows."""
    found = {var for step in steps for var in read(step)} | {x for x in outputs if type(x) is Var}
    return found | {var.root for var in found}


def asked_late(program: Program) -> list[Step | Guard]:
    """Put questions off, so that they break no kernel in two: over steps that do no harm whatever the answer is."""
    steps: list[Step | Guard] = []
    waiting: list[Guard] = []
    decisions = 0  # among them, whose answer may be that what follows makes no sense
    for step in program.steps:
        if isinstance(step, Guard):
            if step.kind == "goes on":  # what is asked before holds of the turn that does not take place, too
                steps += waiting
                waiting, decisions = [], 0
            waiting.append(step)
            decisions += step.kind != "no NaN"
            continue
        if step.writes:
            steps += waiting
            waiting, decisions = [], 0
        elif decisions and not (step.quiet and (_repeats(step) or step.function in HARMLESS or is_reduction(step))):
            steps += [guard for guard in waiting if guard.kind != "no NaN"]
            waiting, decisions = [guard for guard in waiting if guard.kind == "no NaN"], 0
        steps.append(step)
    return steps + waiting


def is_reduction(step: Step) -> bool:
    """Whether a step is the `reduce` of a ufunc."""
    return getattr(step.function, "__name__", "") == "reduce" and isinstance(step.function.__self__, np.ufunc)


def expanded(program: Program, further: Sequence[Callable[[Program], list[Step | Guard]]] = ()) -> Program:
    """Replace functions of rules, which NumPy runs as they are, by the steps that they consist of."""
    steps: list[Step | Guard] = []
    instead: dict[Var, Var] = {}

    def new(x: Any) -> Any:
        return instead.get(x, x) if type(x) is Var else x

    for step in program.steps:
        if isinstance(step, Guard):
            guard = step.copy()
            guard.var, guard.keeps = new(step.var), tuple(map(new, step.keeps))
            steps.append(guard)
            continue
        step = step.copy()
        if isinstance(step.function, Loop):
            step.function = step.function.with_body(expanded(step.function.body, further))
        body = CONSIST_OF.get(step.function)
        parts = None if body is None or type(step.results) is not Var else _parts(step, body)
        if parts is None:
            if instead:
                step.args, step.options = inner(step.args, new), inner(step.options, new)
                _rooted(step, instead)
            steps.append(step)
            continue
        for part in parts[0]:
            part.args, part.options = inner(part.args, new), inner(part.options, new)
            steps.append(part)
        instead[step.results] = new(parts[1])
    outputs = [new(x) for x in program.outputs]
    other = program.with_steps(steps)
    other.outputs = outputs
    other.same |= instead
    return simplified(other, further) if instead else other


def _parts(step: Step, body: Callable[..., Any]) -> tuple[list[Step], Var] | None:
    """Trace a function on zeros of these shapes."""
    trace = Trace(exact=False)
    known: dict[Var, Any] = {}

    def stand_in(x: Any) -> Any:
        if type(x) is not Var:
            return x
        if x not in known:
            zero = x.dtype.type(0)
            known[x] = trace.argument(np.zeros(x.shape, x.dtype) if not x.scalar else zero.item() if x.python else zero)
        return known[x]

    with np.errstate(all="ignore"):
        result = body(*inner(step.args, stand_in), **inner(step.options, stand_in))
    if not all(isinstance(part, Step) for part in trace.steps) or trace.captured:
        return None
    back = {traced.var: var for var, traced in known.items()}
    for part in trace.steps:
        assert isinstance(part, Step)
        part.args = inner(part.args, lambda x: back.get(x, x) if type(x) is Var else x)
        part.options = inner(part.options, lambda x: back.get(x, x) if type(x) is Var else x)
        part.quiet, part.line = step.quiet, step.line
    return [part for part in trace.steps if isinstance(part, Step)], result.var


def _share(a: Any, b: Any) -> Any:
    """What `share` of the rules gives, in steps that a kernel can do."""
    if isinstance(b, int | float) and b == b:
        other: Any = np.where(a != a, 1.0, 0.0)
    elif isinstance(a, int | float) and a == a:
        other = 0.0
    else:
        other = np.where(a != a, np.where(b != b, 0.5, 1.0), 0.0)
    return np.where(a > b, 1.0, np.where(a == b, 0.5, other)).astype(np.result_type(a, b))


CONSIST_OF: dict[Any, Callable[..., Any]] = {
    rules[name].value: rules[name].value
    for name in ("logsumexp", "softmax", "log_softmax", "relu", "weight", "weight2")
}
CONSIST_OF[share] = _share
