"""The ways through a function, as a tree of programs.

The first is a program for the arguments.  Where one of its decisions comes out otherwise, another way begins: a branch,
which is a program for the values that are there at that point.  So what two ways have in common is done by one program,
and a loop that goes on until a value says so has one program and an end for each number of turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import numpy as np

from .blocks import normalised
from .calls import ORDERING, UFUNCS
from .components import componentwise
from .expand import expanded
from .machine_loops import with_kernels as with_kernels_in
from .names import Names
from .on_numpy import on_numpy
from .outside import Place
from .printed import Printed, reaching
from .printing import print_program
from .program import Loop, Program, key_of, read
from .reordering import REORDERING
from .repeated import repeated
from .replays import Kept, at
from .rounding import Otherwise
from .simplify import simplified
from .steps import Guard, Step, Var, inner, operands
from .trace import Trace
from .writes import never_fails, without_writes

__all__ = ["Unprinted", "Variant", "begun", "branched", "difference"]

Steps = Sequence[Step | Guard]


class Unprinted:
    """Stands for a program until something of it is asked for: what is called once needs none."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


class Variant:
    """One way through the function.

    Attributes
    ----------
    steps : what was traced; of a branch, from the decision on with which it begins
    captured : `{Var: array}`
    outputs : what the function returned
    write : says how to write that, and what is done before
    given : names of what the program refers to
    parent, place : where a branch begins: in which variant, and at which step; None
    depth : how many branches lead here
    arguments, unpack, names_given : of the first: the values that are passed in, and how the program gets them
    memory : of the first: lines that check which of them lie on the same memory, for programs that write there
    strides : of the first: lines that check how they lie there, for programs that write to what may be a view or a copy
    rolls, rooms, careful : of the trace
    printed : the program that runs
    names, values : what it calls its values, and how many names of values there are
    first : whether it has not been checked yet against a second run
    with_kernels : makes the program with kernels, until that is done or refused
    settled : whether nothing of this is left to do, here and in the variants that lead here
    disagreed : whether kernels gave something else than rounding explains, and are not used then; or, of the first,
        whether a program raised what the function does not
    on_kernels : whether the program that runs has kernels
    """

    def __init__(self, steps: Steps, captured: dict[Var, Any], outputs: list[Any], exact: bool) -> None:
        self.steps, self.captured, self.outputs, self.exact = list(steps), captured, outputs, exact
        self.parent: Variant | None = None
        self.place = self.depth = self.values = 0
        self.arguments: list[Var] = []
        self.unpack: list[str] = []
        self.memory: list[str] = []
        self.strides: list[str] = []
        self.names: dict[Var, str] = {}
        self.names_given: dict[Var, str] = {}
        self.write: Callable[[list[str]], tuple[list[str], str]]
        self.given: Names
        self.printed: Printed | Any
        self.rolls = True
        self.rooms: list[int] = []
        self.careful: list[bool] = []
        self.first, self.settled, self.disagreed, self.on_kernels = True, False, False, False
        self.with_kernels: Callable[[], Printed | None] | None = None
        self._trial: tuple[int, Printed] | None = None
        # Of the first, for the whole tree: places outside whose content is an input; how to reach each input; which of
        # these a program writes to, and to which before it asks something more, or may fail; the variants.
        self.places: list[Place] = []
        self.reached: dict[Var, str] = {}
        self.writes: list[Var] = []
        self.writes_early: list[Var] = []
        self.tree: list[Variant] = [self]
        # The content of these two as a function of the arguments; whether calls are compared with runs of the function.
        self.written: Callable[[Any, Any], list[Any]]
        self.written_early: Callable[[Any, Any], list[Any]]
        self.compares = False

    # -- the tree ------------------------------------------------------------------------------------------------------
    @property
    def inputs(self) -> tuple[Var, ...]:
        """What a branch reads of the program that it begins in."""
        return self.printed.inputs

    def chain(self) -> list[Variant]:
        """The variants that lead here, the first one first."""
        return [self] if self.parent is None else [*self.parent.chain(), self]

    def path(self) -> list[Step | Guard]:
        """All steps of this way."""
        return self.steps if self.parent is None else [*self.parent.path()[: self.place], *self.steps]

    def has_loops(self) -> bool:
        """Whether loops are steps of this way."""
        return any(isinstance(step, Step) and isinstance(step.function, Loop) for step in self.path())

    def branches(self) -> Iterator[Variant]:
        """The branches that begin here."""
        for step in self.steps[self.parent is not None :]:
            if isinstance(step, Guard):
                yield from step.branches

    def count_writes(self) -> None:
        """Note what this way writes to among the inputs."""
        first = self.chain()[0]
        roots: set[Var] = set()
        early: set[Var] = set()
        for step in self.path():
            certain = isinstance(step, Step) and never_fails(step)
            early |= set() if certain else roots
            roots |= set(step.writes) if isinstance(step, Step) else set()
            early |= set() if certain or isinstance(step, Guard) else set(step.writes)
        first.writes = [x for x in first.arguments if x.home in roots or x in first.writes]
        first.writes_early = [x for x in first.arguments if x.home in early or x in first.writes_early]
        namespace = first.given.namespace
        first.written, first.written_early = (
            reaching([first.reached[x] for x in inputs], namespace) for inputs in (first.writes, first.writes_early)
        )
        first.count_settled()

    def count_settled(self) -> None:
        """Note whether there is something left to do in the tree."""
        self.compares = bool(self.writes or self.places) and not all(variant.settled for variant in self.tree)

    def keep(self, args: tuple[Any, ...], options: dict[str, Any]) -> Kept | None:
        """Keep what a call may have to put back: all of it, or what is written to before the last decision."""
        if self.compares or (self.writes and "raise" in np.geterr().values()):
            return Kept.of(self.written, args, options, self.places)
        return Kept.of(self.written_early, args, options, ()) if self.writes_early else None

    # -- the program -----------------------------------------------------------------------------------------------
    def compile(self) -> None:
        """Make the program, and let it run from now on."""
        steps: Steps = self.steps
        captured = self.captured
        if self.parent is not None:
            exit = self.parent.printed.exits[self.place]
            # A truth value that is not what it was there is the other one; of numbers there are more.
            begins = steps[1:] if isinstance(steps[0], Guard) and steps[0].kind == "bool" else steps
            path = self.parent.path()
            for step in path:  # passes look at where values come from, and shall find what all programs know
                if isinstance(step, Step):
                    for var in operands(step.results):
                        var.source = step
            steps = [*(path[guard.place] for guard in exit.pending()), *begins]
            used = dict.fromkeys(var for step in steps for var in read(step))  # in this order they have their names
            used |= dict.fromkeys(x for x in self.outputs if type(x) is Var)
            captured = captured | {var: x for var in used if (x := exit.constant(var)) is not None}
        program = Program(steps, captured, self.outputs)
        program.keep()
        program.steps = without_writes(program)
        if not self.exact:
            program.steps = repeated(program)
        program = simplified(program, () if self.exact else REORDERING)

        def with_kernels() -> Printed | None:
            program.keep()  # for branches that are newer
            whole = program if self.exact else componentwise(expanded(program, (*REORDERING, normalised)))
            whole.own()
            steps, some = with_kernels_in(whole, self.exact)
            return self._print(whole.with_steps(steps)) if some else None

        self.printed, self.with_kernels = self._print(on_numpy(program, self.exact)), with_kernels
        self.on_kernels = False
        self.unsettle()

    def _print(self, program: Program) -> Printed:
        unpack = self.unpack + self.memory if any(var.root.written for var in self.arguments) else self.unpack
        if any(map(_writes_to_what_it_shows, self.steps)):
            unpack = unpack + self.strides
        return print_program(self, program, unpack, self.names_given, self.write, self.given, self.exact)

    def otherwise(self) -> Printed:
        """The program of this way, from the beginning, rounded otherwise in each run."""
        first = self.chain()[0]
        other = Otherwise(self.path(), self.captured, self.outputs)
        names = {other.new(var): name for var, name in first.names_given.items()}
        unpack = first.unpack + first.memory if first.writes else first.unpack
        variant = SimpleNamespace(parent=None, place=0)
        return print_program(variant, other.program, unpack, names, self.write, self.given, exact=True)

    def unsettle(self) -> None:
        """There is something left to do, here and in all branches."""
        self.settled = False
        for branch in self.branches():
            branch.unsettle()

    def provide(self) -> None:
        """See that the programs that lead here still have what this one reads when they come to it."""
        child = self
        while child.parent is not None:
            owner = child.parent
            exit = owner.printed.exits.get(child.place)
            if exit is not None and exit.names(child.printed) is not None:
                return
            owner.compile()
            child = owner

    # -- kernels -------------------------------------------------------------------------------------------------------
    def chosen(self) -> Printed:
        """The program to run now, in this thread."""
        trial = self._trial
        return self.printed if trial is None or trial[0] != get_ident() else trial[1]

    def tried(self, printed: Printed, run: Callable[[], Any]) -> Any:
        """What a call gives where this variant runs another program; None if that does not fit in."""
        if self.parent is not None:
            exit = self.parent.printed.exits.get(self.place)
            if exit is None or exit.names(printed) is None:
                return None
        self._trial = get_ident(), printed
        try:
            return run()
        finally:
            self._trial = None


def begun(trace: Trace, arguments: list[Var], outputs: list[Any], exact: bool) -> Variant:
    """The first way, or one that has nothing in common with it."""
    variant = Variant(
        [step.copy() for step in trace.steps],
        {var: array for array, var, _ in trace.captured.values()},
        outputs,
        exact,
    )
    variant.arguments = arguments
    variant.rolls, variant.rooms, variant.careful = trace.rolls, trace.rooms, trace.careful
    _number(variant.steps, 0, Counter())
    return variant


def branched(owner: Variant, guard: Guard, trace: Trace, arguments: list[Var], outputs: list[Any]) -> Variant | None:
    """The way that goes on where this guard did not hold; None if it is another one that has to do with it."""
    first, place, path = owner.chain()[0], guard.place, owner.path()
    if place < 0:
        return None
    known = dict(zip(arguments, first.arguments, strict=True))
    captured = {var: array for array, var, _ in trace.captured.values()}
    if difference(path[:place], owner.captured, trace.steps[:place], captured, known) is not None:
        return None
    old, new = path[place], trace.steps[place] if place < len(trace.steps) else None
    if not isinstance(old, Guard) or not isinstance(new, Guard) or known.get(new.var) is not old.var:
        return None
    if new.kind != old.kind or new.kind == "shape" or _same(new.outcome, old.outcome):
        return None

    def here(x: Any) -> Any:
        return known.get(x, x) if type(x) is Var else x

    steps: list[Step | Guard] = []
    before, newly_written = set(known.values()), False
    for step in trace.steps[place:]:
        step = step.copy()
        if isinstance(step, Guard):
            step.var = here(step.var)
        else:
            step.args, step.options = inner(step.args, here), inner(step.options, here)
            step.writes = tuple(map(here, step.writes))
            for root in step.writes:
                newly_written |= root in before and not root.written
                root.written = True
            for var in operands(step.results):
                var.root = var.home = here(var.home)
        steps.append(step)
    for var in captured:
        var.root = var.home = here(var.home)
    branch = Variant(
        steps,
        owner.captured | {here(x): array for x, array in captured.items() if x not in known},
        [here(x) for x in outputs],
        owner.exact,
    )
    branch.parent, branch.place, branch.depth = owner, place, owner.depth + 1
    branch.given = owner.given
    branch.rolls, branch.rooms, branch.careful = trace.rolls, trace.rooms, trace.careful
    _number(steps, place, Counter(step.line for step in path[:place] if isinstance(step, Guard)))
    if newly_written:  # the programs that lead here relied on nobody writing there
        for variant in owner.chain():
            variant.compile()
    return branch


def _writes_to_what_it_shows(step: Step | Guard) -> bool:
    if isinstance(step, Guard) or step.name not in ORDERING:
        return False
    return any(var.root.written for var in operands(step.args[:1], step.results))


def _number(steps: Steps, first: int, turns: Counter[Any]) -> None:
    for place, step in enumerate(steps, first):
        if isinstance(step, Guard):
            step.place, step.turn = place, turns[step.line]
            turns[step.line] += 1


# -- comparing -----------------------------------------------------------------------------------------------------
def difference(
    path: Steps, captured: dict[Var, Any], again: Steps, found: dict[Var, Any], known: dict[Var, Var]
) -> str | None:
    """Where another run did something else; None if it did not.

    Parameters
    ----------
    path, captured : of one run
    again, found : the same of the other
    known : its values, with those of the first that they stand for; grows
    """
    for old, new in zip(path, again, strict=False):
        if isinstance(old, Guard) or isinstance(new, Guard):
            same = (
                isinstance(old, Guard)
                and isinstance(new, Guard)
                and (known.get(new.var), new.kind) == (old.var, old.kind)
                and _same(new.outcome, old.outcome)
            )
            if not same:
                return f"a decision, {at(old.line)}"
            continue
        for x, y in zip(operands(*old.args, old.options), operands(*new.args, new.options), strict=False):
            if y not in known and y in found and x in captured:
                if not _same(captured[x], found[y]):
                    return f"an array of shape {captured[x].shape} that it makes has another content"
                known[y] = x
        # A ufunc or Python's operator: which it is, goes by whether anybody watches, in whatever thread.
        functions = [UFUNCS.get(step.function, step.function) for step in (old, new)]
        if not (
            _alike(functions[0], functions[1], known)
            and _alike(old.args, new.args, known)
            and _alike(old.options, new.options, known)
        ):
            return f"{old.name}, {at(old.line)}"
        before, after = operands(old.results), operands(new.results)
        if [x.form for x in before] != [x.form for x in after]:
            return f"{old.name}, {at(old.line)}"
        known |= zip(after, before, strict=True)
    return None if len(path) == len(again) else "one goes on longer than the other"


def _same(a: Any, b: Any) -> bool:
    """Whether two outcomes, or two captured arrays, are the same."""
    if a is b:
        return True
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        return bool(key_of(a) == key_of(b))
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))


def _alike(x: Any, y: Any, known: dict[Var, Var]) -> bool:
    """Whether two arguments are the same, where `known` says what the second's values stand for."""
    kind = type(y)
    if kind is Var:
        return known.get(y) is x
    if kind is not type(x):
        return False
    if kind is tuple or kind is list:
        return len(x) == len(y) and all(_alike(a, b, known) for a, b in zip(x, y, strict=True))
    if kind is dict:
        return x.keys() == y.keys() and all(_alike(x[name], y[name], known) for name in x)
    if kind is slice:
        return _alike((x.start, x.stop, x.step), (y.start, y.stop, y.step), known)
    try:
        return x is y or bool(key_of(x) == key_of(y))
    except ValueError:  # arrays of other classes
        return False
