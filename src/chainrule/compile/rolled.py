"""Loops that stay loops: one turn is traced, and the loop is one step of the program.

The turn is traced twice, with the values of the first and of the second one, and must do the same; whatever differs
(a counter in Python, a decision by a value that changes) is written down turn by turn instead.  What a turn computes
of nothing that changes is done once, ahead of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..graph import contexts
from .guards import asked_for_nan, asked_once, implied
from .names import Names
from .printed import Missed
from .printing import print_program
from .program import Loop, Program, Steps, alike, described, read
from .simplify import needed
from .steps import Guard, Method, Step, Var, operands
from .trace import ImpureTurnError, NotRolledError, Trace, UndecidedError, users_line
from .traced import Traced, is_captured, value_of

__all__ = ["ImpureTurnError", "Iteration", "NotRolledError", "is_traced", "roll"]

Turn = Callable[[Any, list[Any], list[Any]], tuple[list[Any], list[Any]]]
Condition = Callable[[list[Any]], Any]
ENOUGH = 1024  # turns for which there is room, at least, where their number is not known and each leaves little
ROOM = 1 << 20  # bytes


def is_traced(x: Any) -> bool:
    """Whether a plain array is one of a trace."""
    return isinstance(x, Traced)


@dataclass(frozen=True)
class Iteration:
    """What a loop begins with, what it goes through, and how far.

    Attributes
    ----------
    init : the first carry: arrays and NumPy scalars
    items : arrays that are gone through along their first axis
    turns : int, or a traced one, or None if a condition says
    length : of the arrays that are collected; 0: as many as it takes
    reverse : whether the last item comes first
    """

    init: Sequence[Any]
    items: Sequence[Any]
    turns: Any
    length: int
    reverse: bool

    def places(self) -> tuple[int, int]:
        """The numbers of the first two turns; of a turn that there may be, where there are none."""
        many = int(1 if self.turns is None else value_of(self.turns))
        first = max(many - 1, 0) if self.reverse else 0
        last = (len(self.items[0]) if self.items else many or 2) - 1
        return first, min(max(first + (-1 if self.reverse else 1), 0), last)


def roll(
    trace: Trace, turn: Turn, condition: Condition | None, iteration: Iteration
) -> tuple[Any, list[Any], list[Any]]:
    """Do a loop as one step.

    Parameters
    ----------
    trace : Trace
    turn : callable
        Called with the number of the turn, the carry and the items; returns the next carry, and what is collected.
    condition : callable, optional
        Called with the carry; says whether there is another turn.
    iteration : Iteration

    Returns
    -------
    The number of turns, the last carry, and the arrays in which what each turn gives was collected.

    Raises
    ------
    NotRolledError
        If it has to be written down turn by turn.
    """
    iteration = replace(iteration, init=[_scalar(x) for x in iteration.init])
    written: list[list[Any]] = [trace.steps, trace.rooms, trace.careful]
    before = [len(each) for each in written]
    if not next(trace.known_careful, contexts.careful):
        trace.careful.append(False)
        try:
            return _rolled(trace, turn, condition, iteration)
        except UndecidedError:  # most often there is a NaN in the gradient of some turns
            for each, length in zip(written, before, strict=True):
                del each[length:]
    trace.careful.append(True)
    with multiplying_carefully():
        return _rolled(trace, turn, condition, iteration)


@contextmanager
def multiplying_carefully() -> Iterator[None]:
    """Let an exact zero win over NaN at once, in every turn: asked first, some turns would say one thing, some another.

    Where there is no NaN that is the plain product to the bit.
    """
    before, contexts.careful = contexts.careful, True
    try:
        yield
    finally:
        contexts.careful = before


def _rolled(
    trace: Trace, turn: Turn, condition: Condition | None, iteration: Iteration
) -> tuple[Any, list[Any], list[Any]]:
    """Trace two turns, compare them, and write the step."""
    one, two = iteration.places()
    first = _Turn(trace, turn, condition, one, iteration.init, iteration.items)
    with np.errstate(all="ignore"):
        second = _Turn(trace, turn, condition, two, [value_of(x) for x in first.after], iteration.items)
    first.must_do_what(second)
    outer, steps = first.split()
    trace.steps += outer
    return _step(trace, first, steps, iteration)


def _is_made(x: Any) -> bool:
    return isinstance(x, Traced) and not is_captured(x)


def _scalar(x: Any) -> Any:
    """What has no axes as a NumPy scalar."""
    return x[()] if isinstance(x, Traced) and not x.ndim and not x.var.scalar else x


class _Turn:
    """One turn as it was traced."""

    def __init__(
        self,
        trace: Trace,
        turn: Turn,
        condition: Condition | None,
        place: int,
        init: Sequence[Any],
        items: Sequence[Any],
    ) -> None:
        self.trace = trace
        with trace.scope() as steps:
            number = trace.own(np.int64(place))
            carry = [trace.own(value_of(x)) for x in init]
            parts = [trace.own(value_of(x)[place]) for x in items]
            if condition is not None:
                goes_on = condition(list(carry))
                if not isinstance(goes_on, Traced):
                    raise NotRolledError("its condition does not depend on what changes")
                steps.append(Guard(goes_on.var, "goes on", True, users_line()))
            after, collected = turn(number, list(carry), parts)
            self.after = [self._next(x, like, carry) for x, like in zip(after, carry, strict=True)]
            self.collected = [x if isinstance(x, Traced) else np.asarray(x)[()] for x in collected]
        for step in steps:
            if isinstance(step, Guard):
                step.place = -1  # no other way begins inside of a turn
        self.steps = steps
        self.place, self.carry, self.parts = number.var, [x.var for x in carry], [x.var for x in parts]
        self.outputs = [x.var if _is_made(x) else trace.var(x) for x in (*self.after, *self.collected)]
        self.inputs = [self.place, *self.carry, *self.parts]
        self.outer = self.read_outside(steps)

    def _next(self, x: Any, like: Traced, carry: list[Traced]) -> Any:
        """What is carried on: of the same form, in C order, on memory that nobody else has."""
        if not isinstance(x, Traced):
            x = np.asarray(x, None if hasattr(x, "dtype") else like.dtype)[()]
        elif not x.ndim:
            x = _scalar(x)
        else:
            root = x.var.root
            if not x.var.contiguous:
                x = self.trace.apply(np.ascontiguousarray, (x,), {})
            elif not (isinstance(root.source, Step) and root.source in self.trace.steps) and not any(
                root is y.var for y in carry
            ):
                x = self.trace.apply(Method("copy"), (x,), {})
        if x.shape != like.shape or x.dtype != like.dtype:
            raise NotRolledError(f"a turn makes {x.dtype} {x.shape} of {like.dtype} {like.shape}")
        return x

    def read_outside(self, steps: Sequence[Step | Guard]) -> list[Var]:
        """What these steps and the results read that is neither made by them nor an input of the turn."""
        made = {var for step in steps if isinstance(step, Step) for var in operands((step.results,))}
        reads = [var for step in steps for var in read(step)] + [x for x in self.outputs if type(x) is Var]
        return list(dict.fromkeys(var for var in reads if var not in made and var not in self.inputs))

    @cached_property
    def key(self) -> Any:
        """What the turn does."""
        numbers = {var: number for number, var in enumerate(self.inputs)}
        steps = [done for done, _, _ in described(self.steps, numbers)]
        return steps, [numbers.setdefault(x, len(numbers)) if type(x) is Var else repr(x) for x in self.outputs]

    def must_do_what(self, other: _Turn) -> None:
        """Compare with another turn.

        Raises
        ------
        NotRolledError
            If they differ by a decision.
        ImpureTurnError
            If they differ otherwise.
        """
        decided = [[step.outcome for step in turn.steps if isinstance(step, Guard)] for turn in (self, other)]
        if not alike(*decided):
            raise UndecidedError("two turns decide differently")
        arrays = {var: array for array, var, _ in self.trace.captured.values()}
        same = len(self.outer) == len(other.outer) and all(
            a is b
            or (a in arrays and b in arrays and np.array_equal(arrays[a], arrays[b], equal_nan=a.dtype.kind in "fc"))
            for a, b in zip(self.outer, other.outer, strict=True)
        )
        if not same or not alike(self.key, other.key):
            raise ImpureTurnError("two turns of a loop do different things")

    def split(self) -> tuple[Steps, Steps]:
        """The steps that depend on nothing that changes, and the others."""
        changing = set(self.inputs) | {root for step in self.steps if isinstance(step, Step) for root in step.writes}
        outer: Steps = []
        steps: Steps = []
        for step in self.steps:
            results = set(operands((step.results,))) if isinstance(step, Step) else set()
            reads = {part for var in (*read(step), *results) for part in (var, var.root)}
            if reads.isdisjoint(changing) and not (isinstance(step, Guard) and step.kind == "goes on"):
                outer.append(step)
            else:
                steps.append(step)
                changing |= results
        return outer, steps


def _step(trace: Trace, first: _Turn, steps: Steps, iteration: Iteration) -> tuple[Any, list[Any], list[Any]]:
    """Write the step, and do it."""
    init, turns, length, reverse = iteration.init, iteration.turns, iteration.length, iteration.reverse
    outer = first.read_outside(steps)
    key = first.key, reverse, length
    body = Program(steps, {}, first.outputs)
    for change in (asked_for_nan, implied, needed, asked_once):  # all turns run now, as they are
        body.steps = change(body)
    loop = Loop(body, first.place, first.carry, first.parts, outer, length, reverse, key)
    step = Step(loop, (), {}, trace.is_quiet(), users_line())
    step.args = trace.var(turns), [trace.var(x) for x in init], [trace.var(x) for x in iteration.items], list(outer)
    n = len(init)
    if turns is None and not length:
        alone = loop.with_body(Program(body.steps, {}, first.outputs[:n]))
        count = _run(trace, step, alone, [np.int64(0), *(value_of(x) for x in init)])[0]
        size = sum(x.dtype.itemsize * x.size for x in first.collected) or 1
        room = next(trace.known_rooms, 0)
        loop.length = room if room > count else 1 << max(2 * int(count), min(ENOUGH, ROOM // size), 1).bit_length()
        trace.rooms.append(loop.length)
        loop.key = first.key, reverse
    shapes = [(loop.length, *x.shape) for x in first.collected]
    like = [np.int64(0), *(value_of(x) for x in init)]
    like += [np.broadcast_to(np.zeros((), x.dtype), s) for x, s in zip(first.collected, shapes, strict=True)]
    values = _run(trace, step, loop, like)
    results = []
    step.results = ()
    for value in values:
        result, _ = trace.results(value, step)
        results.append(result)
    step.results = tuple(x.var for x in results)
    trace.steps.append(step)
    return results[0], results[1 : n + 1], results[n + 1 :]


def _run(trace: Trace, step: Step, loop: Loop, like: Sequence[Any]) -> list[Any]:
    """Do the loop with the values of this run."""
    program_step = Step(loop, step.args, {}, step.quiet, step.line)
    program_step.results = tuple(Var(value, program_step) for value in like)
    inputs = list(dict.fromkeys(operands(step.args)))
    names = {var: f"a{i}" for i, var in enumerate(inputs)}
    unpack = [f"{', '.join(names.values())}, = args"] if inputs else []
    outputs = list(program_step.results)
    if step.args[0] is not None:
        outputs = outputs[1:]
    program = Program([program_step], {}, outputs)
    variant = SimpleNamespace(parent=None, place=0)

    def result(texts: list[str]) -> tuple[list[str], str]:
        return [], f"[{', '.join(texts)}]"

    printed = print_program(variant, program, unpack, names, result, Names(), exact=True)
    found = printed.function(*(trace.values[var] for var in inputs))
    if found.__class__ is Missed:
        raise UndecidedError("not all turns decide alike")
    values: list[Any] = found[0]
    return values if step.args[0] is None else [np.int64(0), *values]
