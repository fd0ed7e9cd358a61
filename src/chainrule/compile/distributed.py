"""Loops of small turns: what does not have to wait for the turn before is done for all turns at once.

A turn over a few numbers takes as long as the calls in it.  So of each loop whose number of turns is known,

- what depends on no carry is done before the loop, for all turns in one call, and read from there;
- what no later turn reads is done after it, on what the turns have collected;
- what only adds up is collected, and added up after it;

and only the recurrence itself is left inside.  Elementwise results keep every bit; sums are added in another order, so
`exact=True` leaves this out.
"""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import numpy as np

from .calls import UFUNCS
from .guards import asked_once
from .operations import axes_of
from .program import Loop, Program, Steps, is_reduction, read, step_giving
from .reordering import Assemble
from .simplify import needed
from .steps import Guard, Method, Step, Var, inner, operands

__all__ = ["distributed"]

FEW = 4  # turns: fewer are not worth it
SMALL = 256  # elements of a value in a turn: the arithmetic on more takes longer than the calls
LARGE = 1 << 21  # bytes of such a value of all turns: more would leave the caches
SCALAR = {operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pos, operator.abs}
COPYING = {np.copy, Method("copy")}


def distributed(program: Program) -> Program:
    """The program with less inside of its loops."""
    if not any(isinstance(step, Step) and isinstance(step.function, Loop) for step in program.steps):
        return program
    other = program.with_steps([])
    other.captured = dict(program.captured)
    steps: Steps = []
    for step in program.steps:
        if isinstance(step, Step) and isinstance(step.function, Loop) and _is_worth_it(step):
            steps += _Distribution(step, other).run()
        else:
            steps.append(step.copy())
    other.steps = steps
    other.steps = needed(other)
    other.steps = asked_once(other)
    return other


def _is_worth_it(step: Step) -> bool:
    loop: Loop = step.function
    turns = step.args[0]
    if type(turns) is not int or turns != loop.length or turns < FEW or loop.kernel is not None:
        return False
    made = {var for each in loop.body.steps if isinstance(each, Step) for var in operands(each.results)}
    for var in (*made, *loop.carry, *loop.items):
        if var.python or var.root.written or var.size > SMALL or var.size * var.dtype.itemsize * turns > LARGE:
            return False
    return all(
        not each.writes if isinstance(each, Step) else each.kind == "no NaN" and not each.branches
        for each in loop.body.steps
    ) and all(x.shape[:1] == (turns,) for x in step.args[2])


class _Distribution:
    """A loop that is divided into what comes before it, what is left of it, and what comes after it.

    Attributes
    ----------
    step, loop, turns, init : what is divided
    steps, guards, next, given : what a turn does and asks, its next carry, and what it gives to be collected
    count, carried, collected : the results
    all, fixed : the arrays that hold a value of all turns; what stands for a value that is the same in all of them
    emitted : the steps instead of the loop
    wanted : the arrays that others read, by what is collected in them
    """

    def __init__(self, step: Step, program: Program) -> None:
        self.step, self.program, self.loop = step, program, step.function
        self.turns, self.init, items, outer = step.args
        self.count, *results = step.results
        n = len(self.init)
        body = self.loop.body
        self.steps = [each for each in body.steps if isinstance(each, Step)]
        self.guards = [each for each in body.steps if isinstance(each, Guard)]
        self.next, self.given = body.outputs[:n], body.outputs[n:]
        self.carried, self.collected = results[:n], results[n:]
        self.all: dict[Var, Var] = dict(zip(self.loop.items, items, strict=True))  # what holds a value of all turns
        self.fixed: dict[Var, Any] = dict(zip(self.loop.outer, outer, strict=True)) | {x: x for x in body.captured}
        numbers = np.arange(self.turns)
        numbers.flags.writeable = False
        self.all[self.loop.place] = Var(numbers, numbers)
        program.captured |= body.captured | {self.all[self.loop.place]: numbers}
        self.emitted: Steps = []
        self.wanted: dict[Var, Var] = {}  # the arrays that others read
        for x, array in zip(self.given, self.collected, strict=True):
            if type(x) is Var:
                self.wanted.setdefault(x, array)

    def run(self) -> Steps:
        """The steps instead of the loop."""
        for each in self.steps:
            if _can_be_all(each) and all(x in self.all or x in self.fixed for x in read(each)):
                self.emit(each)
        early = {*self.all, *self.fixed}
        sums = self.sums()
        inside, reads = self.inside(early, sums)
        added = {self.next[j] for j in sums}
        after = [each for each in self.steps if each not in inside and each.results not in early | added]
        kept = [j for j in range(len(self.init)) if j not in sums]

        made_inside = {var for each in inside for var in operands(each.results)} | {self.loop.carry[j] for j in kept}
        asked = [x for each in after for x in read(each)] + [guard.var for guard in self.guards]
        asked += [*sums.values(), *(x for x in self.given if type(x) is Var)]
        for x in dict.fromkeys(asked):
            if x in made_inside and x not in self.all:
                array = self.wanted.get(x)
                self.all[x] = array if array is not None else Var.made((self.turns, *x.shape), x.dtype, self.step)
        self.put_loop([each for each in self.steps if each in inside], reads, kept, made_inside)

        for each in after:
            self.emit(each)
        for j, x in sums.items():
            total = Var.made(x.shape, x.dtype, None, scalar=x.scalar)
            self.put(np.add.reduce, (self.all[x],), {"axis": 0}, total)
            self.put(np.add, (self.init[j], total), {}, self.carried[j])
        for x, array in zip(self.given, self.collected, strict=True):
            if type(x) is not Var or self.all.get(x) is not array:
                self.put_copy(x, array)
        for guard in self.guards:
            guard = guard.copy()
            guard.var = self.all.get(guard.var) or self.fixed[guard.var]
            self.emitted.append(guard)
        return self.emitted

    # -- what goes where -----------------------------------------------------------------------------------------------
    def sums(self) -> dict[int, Var]:
        """Carries that nobody reads but an addition to them; and what is added."""
        uses = Counter(var for each in self.loop.body.steps for var in read(each))
        uses.update(x for x in (*self.next, *self.given) if type(x) is Var)
        made = {each.results: each for each in self.steps if type(each.results) is Var}
        found = {}
        for j, (before, after) in enumerate(zip(self.loop.carry, self.next, strict=True)):
            step = made.get(after)
            if step is None or step.function not in (np.add, operator.add) or uses[before] != 1 or uses[after] != 1:
                continue
            others = [x for x in step.args if x is not before]
            if len(others) != 1 or type(others[0]) is not Var or after.dtype.kind != "f" or others[0] in self.fixed:
                continue
            if all((x.shape, x.dtype) == (after.shape, after.dtype) for x in (before, others[0])):
                found[j] = others[0]
        return found

    def inside(self, early: set[Var], sums: dict[int, Var]) -> tuple[set[Step], set[Var]]:
        """The steps that every turn has to do, and what they read."""
        reads = {x for j, x in enumerate(self.next) if type(x) is Var and j not in sums}
        added = {self.next[j] for j in sums}
        inside: set[Step] = set()
        for each in reversed(self.steps):
            results = set(operands(each.results))
            if results & early or results & added:
                continue
            if results & reads or not _can_be_all(each):
                inside.add(each)
                reads |= set(read(each))
        return inside, reads

    def put_loop(self, inside: list[Step], reads: set[Var], kept: list[int], made_inside: set[Var]) -> None:
        """What is left of the loop."""
        collected = {x: array for x, array in self.all.items() if x in made_inside}
        if not kept and not collected:
            return
        items = {x: array for x, array in self.all.items() if x in reads and x not in made_inside}
        items.pop(self.loop.place, None)
        outer = {x: value for x, value in self.fixed.items() if x in reads and x not in self.loop.body.captured}
        body = self.loop.body.with_steps([each.copy() for each in inside])
        made = {var for each in inside for var in operands(each.results)}
        after = [self.next[j] for j in kept]
        for k, x in enumerate(after):
            if type(x) is Var and not x.scalar and x.root not in made:  # what is carried is on memory of its own
                after[k] = Var.made(x.shape, x.dtype, None)
                body.steps.append(step_giving(after[k], Method("copy"), (x,), self.step))
        body.outputs = [*after, *collected]
        loop = self.loop.with_body(body)
        loop.carry = [self.loop.carry[j] for j in kept]
        loop.items, loop.outer = list(items), list(outer)
        step = self.step.copy()
        step.function = loop
        step.args = self.turns, [self.init[j] for j in kept], list(items.values()), list(outer.values())
        step.results = (self.count, *(self.carried[j] for j in kept), *collected.values())
        self.emitted.append(step)

    # -- steps for all turns -------------------------------------------------------------------------------------------
    def put(
        self, function: Any, args: tuple[Any, ...], options: dict[str, Any], result: Var, like: Step | None = None
    ) -> Var:
        """Add a step."""
        self.emitted.append(step_giving(result, function, args, like or self.step, options))
        return result

    def put_copy(self, x: Any, array: Var) -> None:
        """Make an array of what all turns collect that is there already, or the same in all of them."""
        if type(x) is Var and x in self.all:
            self.put(np.positive if array.dtype.kind == "f" else np.copy, (self.all[x],), {}, array)
            return
        value = self.fixed.get(x, x) if type(x) is Var else x
        wide = Var.made(array.shape, array.dtype, None)
        wide.contiguous = False
        self.put(np.copy, (self.put(np.broadcast_to, (value, array.shape), {}, wide),), {}, array)

    def emit(self, each: Step) -> None:
        """Do a step for all turns; once, if it is the same in all of them."""
        y: Var = each.results
        if not any(x in self.all for x in read(each)):
            step = each.copy()
            step.args = inner(each.args, lambda x: self.fixed[x] if type(x) is Var else x)
            self.fixed[y] = y
            self.emitted.append(step)
            return
        function, args, options, root = each.function, each.args, each.options, None
        shape = self.turns, *y.shape
        if type(function) is Assemble:
            indices, *parts = args
            function = Assemble(shape, y.dtype, function.tile)
            args = tuple((slice(None), *(i if type(i) is tuple else (i,))) for i in indices), *map(self.value, parts)
        elif is_reduction(each):
            axes = tuple(axis + 1 for axis in axes_of(each))
            options = options | {"axis": axes[0] if len(axes) == 1 else axes}
            args = (self.all[args[0]],)
        elif function == Method("reshape"):
            args, root = (self.all[args[0]], shape), self.all[args[0]].root
        else:
            function = UFUNCS.get(function, function)
            args = tuple(self.wide(x, len(y.shape)) if type(x) is Var else x for x in args)
        wanted = self.wanted.get(y) if root is None else None
        self.all[y] = self.put(function, args, options, wanted or Var.made(shape, y.dtype, None, root), each)

    def value(self, x: Any) -> Any:
        return (self.all.get(x) or self.fixed[x]) if type(x) is Var else x

    def wide(self, x: Var, rank: int) -> Any:
        """An operand of all turns, with axes where NumPy would have added some in front."""
        array = self.all.get(x)
        if array is None:
            return self.fixed[x]
        missing = rank - len(x.shape)
        if not missing:
            return array
        shape = self.turns, *(1,) * missing, *x.shape
        return self.put(Method("reshape"), (array, shape), {}, Var.made(shape, x.dtype, None, array.root))


def _can_be_all(step: Step) -> bool:
    """Whether a step can be done for all turns in one call."""
    y = step.results
    if type(y) is not Var:
        return False
    function = step.function
    if type(function) is Assemble:
        return not operands(*step.args[0])
    if is_reduction(step):
        return len(step.args) == 1 and type(step.args[0]) is Var and not set(step.options) - {"axis", "keepdims"}
    if function == Method("reshape"):
        return len(step.args) == 2 and type(step.args[0]) is Var and step.args[1] == y.shape
    if any(isinstance(x, list | tuple) for x in step.args) or step.options:
        return False
    if isinstance(function, np.ufunc):
        return function.signature is None and function.nout == 1
    if function == Method("astype"):
        return len(step.args) == 2 and type(step.args[0]) is Var
    return function in SCALAR or function in COPYING or (function is np.where and len(step.args) == 3)
