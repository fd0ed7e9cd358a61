"""A program as passes work on it: steps, loops among them, and what all passes ask of steps and values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np

from ..rules.registry import rules
from .calls import UFUNCS
from .steps import NESTING, Guard, Line, Step, Var, inner, operands

__all__ = [
    "PLACE", "Loop", "Program", "Steps", "alike", "all_read", "described", "each_loop", "escaping",
    "is_fixed", "is_reduction", "is_repeatable", "is_uniform", "key_of", "private", "read", "renamed", "step_giving",
]  # fmt: skip

Steps = list[Step | Guard]
REPEATABLE = {*UFUNCS, operator.pow, np.broadcast_to}
PLACE = rules["place"].value  # an array that is zero but for what is put at an index: what reading a part is, backwards
FEW = 4096  # elements that are compared at a time


class Program:
    """Steps that are worked on.

    Attributes
    ----------
    steps : list of Step and Guard
    captured : `{Var: array}`
    outputs : what the function returned, leaf by leaf: a Var, or a plain object
    same : values that were dropped, with the equal ones that took their places
    implied : questions that were dropped, with the place of the one that answers them, too
    """

    def __init__(self, steps: Sequence[Step | Guard], captured: dict[Var, Any], outputs: Sequence[Any]) -> None:
        self.steps = [step.copy() for step in steps]
        self.captured, self.outputs = dict(captured), list(outputs)
        self.same: dict[Var, Var] = {}
        self.implied: dict[Guard, int] = {}
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
        other.implied = self.implied
        made = dict.fromkeys(other.own())
        for var in made:  # views of what was dropped are views of what took its place
            root = other.now(var.home)
            if root is not var:
                var.root = root.root
            elif var.root not in made:
                var.root = var
        return other

    def with_steps(self, steps: Steps) -> Program:
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
            yield f"    {made} = {step.name}({args})"
        yield f"    to {', '.join(str(told(x)) for x in self.body.outputs)}"

    def body_reads(self) -> set[Var]:
        """Every value that a turn reads."""
        return all_read(self.body.steps, self.body.outputs)

    def with_body(self, body: Program) -> Loop:
        """The same loop, whose turns are done by other steps."""
        other = copy(self)
        other.body = body
        return other


# -- loops ---------------------------------------------------------------------------------------------------------
def each_loop(program: Program, change: Callable[[Program], Program]) -> None:
    """Change the bodies of loops."""
    for step in program.steps:
        if isinstance(step, Step) and isinstance(step.function, Loop):
            step.function = step.function.with_body(change(step.function.body.fresh()))


# -- questions about steps and values ------------------------------------------------------------------------------
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


def all_read(steps: Steps, outputs: Sequence[Any]) -> set[Var]:
    """Every value that is read, and those whose memory it shows."""
    found = {var for step in steps for var in read(step)} | {x for x in outputs if type(x) is Var}
    return found | {var.root for var in found}


def escaping(program: Program) -> set[Var]:
    """The memory that leaves a program."""
    return {x.root for x in program.outputs if type(x) is Var}


def private(var: Any) -> bool:
    """Whether nobody ever writes to the memory of this value."""
    return type(var) is not Var or not var.root.written


def is_reduction(step: Step) -> bool:
    """Whether a step is the `reduce` of a ufunc."""
    return step.name == "reduce" and isinstance(step.function.__self__, np.ufunc)


def is_repeatable(step: Step) -> bool:
    """Whether a call gives the same each time, and can do no harm."""
    return isinstance(step.function, np.ufunc) or step.function in REPEATABLE


def is_fixed(x: Any) -> bool:
    """Whether nobody can change an array: neither it nor what it is a view of can be written to."""
    while isinstance(x, np.ndarray):
        if x.flags.writeable:
            return False
        x = x.base
    return x is None or isinstance(x, bytes)


def is_uniform(x: Any) -> bool:
    """Whether all elements of an array are the same bits: a part at a time, since most are not."""
    flat = np.reshape(x, -1)
    if not flat.size or flat.dtype.kind not in "fib" or flat.dtype.itemsize > 8:
        return False
    bits = flat.view(f"u{flat.dtype.itemsize}")
    return all((bits[i : i + FEW] == bits[0]).all() for i in range(0, flat.size, FEW))


def alike(a: Any, b: Any) -> bool:
    """Whether two descriptions are equal."""
    try:
        return bool(a == b)
    except ValueError:  # arrays of other classes in the arguments
        return False


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
        found.append(((step.function, done, forms), step.line, step.name))
        inner((step.results,), number)
    return found


# -- changing steps --------------------------------------------------------------------------------------------------
def step_giving(
    result: Var, function: Any, args: tuple[Any, ...], like: Step, options: dict[str, Any] | None = None
) -> Step:
    """A step that makes a value, where another one stands in the user's program."""
    step = Step(function, args, options or {}, like.quiet, like.line)
    step.results, result.source = result, step
    return step


def renamed(step: Step | Guard, instead: dict[Var, Var]) -> None:
    """Let a step read the values that have taken the places of others, and show their memory."""

    def new(x: Any) -> Any:
        return instead.get(x, x) if type(x) is Var else x

    if isinstance(step, Guard):
        step.var, step.keeps = new(step.var), tuple(map(new, step.keeps))
    else:
        step.args, step.options = inner(step.args, new), inner(step.options, new)
        for var in operands(step.results):
            if var.root in instead:
                var.root = instead[var.root].root
