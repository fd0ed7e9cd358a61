"""From a program to Python: one line for each call, on memory that is kept from call to call.

What is printed is what runs.  Results that do not leave the program are put into buffers, which a step may take over
from a step whose result nobody needs any more; what is returned is always new.
"""

from __future__ import annotations

import linecache
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from itertools import count
from typing import Any

import numpy as np

from ..memory import BIG, empty
from ..walk.pull import has_nan
from .blocks import Blocked, blocks
from .blocks import lines as lines_of_blocks
from .buffers import Buffers
from .expressions import Expressions
from .groups import Fused
from .kernels import Group, Kernel, compile_group
from .names import Names
from .printed import Exit, Printed
from .program import Loop, Program, escaping, is_reduction, read
from .steps import Guard, Property, Step, Var, operands
from .writes import begin_writing, itself

__all__ = ["print_program"]

SILENT = {operator.getitem, itself, begin_writing}
KERNELS = 1024  # that are kept for other programs
USED: dict[str, Any] = {"has_nan": has_nan, "empty": empty, "count": count, "blocks": blocks}  # by what is printed

_compiled: dict[str, Kernel] = {}


def compiled(group: Group, exact: bool) -> Kernel:
    """The kernel of a group: loops have many equal ones, which read other parts of arrays."""
    start = group.at_start()
    key = repr((start, exact))  # as values, the operand 1 and the constant 1.0 would be the same
    kernel = _compiled.get(key)
    if kernel is None:
        if len(_compiled) >= KERNELS:
            _compiled.clear()
        kernel = _compiled[key] = compile_group(start, exact)
    return kernel if group == start else kernel.moved(group)


def print_program(
    variant: Any,
    program: Program,
    unpack: Sequence[str],
    names: dict[Var, str],
    result: Callable[[list[str]], tuple[list[str], str]],
    given: Names,
    exact: bool,
) -> Printed:
    """Print a program.

    Parameters
    ----------
    variant : whose program it is
    program : Program
    unpack : sequence of str
        Lines that check the arguments and assign them; of a branch, none.
    names : dict
        What these lines call the arguments.
    result : callable
        Says how to write what is returned, and what is done before, from how to write each output.
    given : what these lines refer to
    exact : whether kernels must keep every bit
    """
    return _Printer(variant, program, names, given, exact).run(unpack, result)


class _Printer(Expressions):
    """Prints one program; a copy of it prints the turns of a loop inside.

    Attributes
    ----------
    variant, program, exact : as in `print_program`
    inputs : what a branch reads of the program that it begins in
    buffers, escaping : the memory of results, and the results that are on memory of their own since they are returned
    made, ordered : the results of kernels; those of others, as they are called once they lie in order
    made_at, at : the steps that made values, and the one that is printed now
    exits : where the program may be left
    shows : of what lies in arrays from outside before the program writes to them (`writes.itself`): these arrays
    put_in : of what is put into such an array at the end: the array
    writing : whether nothing more is asked that would want these arrays as they were: results may be computed there
    there : results that are
    """

    def __init__(self, variant: Any, program: Program, names: dict[Var, str], given: Names, exact: bool) -> None:
        super().__init__(dict(names), given)
        self.variant, self.exact = variant, exact
        self.made: set[Var] = set()
        self.ordered: dict[Var, str] = {}
        made = {var for step in program.steps if isinstance(step, Step) for var in operands(step.results)}
        wanted = dict.fromkeys(var for step in program.steps for var in read(step))
        wanted |= dict.fromkeys(x for x in program.outputs if type(x) is Var)
        for var, array in program.captured.items():
            if var in wanted:
                self.names[var] = given.given(array, "captured")
        self.inputs = tuple(var for var in wanted if var not in made and var not in self.names)
        self.count = count(getattr(variant.parent, "values", 0))  # numbers for values: after those of the parent
        for var in self.inputs:
            self.names[var] = variant.parent.names.get(var) or self.fresh()
        self.made_at: dict[Var, int] = {}
        self.exits: list[Exit] = []
        self.at = 0
        self.writing = False
        self._begin(program, Buffers(program))

    def _begin(self, program: Program, buffers: Buffers) -> None:
        """Go over a program, or over the body of a loop."""
        self.program, self.buffers = program, buffers
        self.escaping = escaping(program)
        calls = [step for step in program.steps if isinstance(step, Step)]
        whole = next((step.writes for step in calls if step.function is begin_writing), ())
        puts = [step.args for step in calls if step.function is operator.setitem and step.writes[0] in whole]
        # What is returned as well is a copy: nobody but the caller writes to that.
        self.put_in = {x: root for root, _, x in puts if x.root not in self.escaping}
        shows = {step.results: step.args[0] for step in calls if step.function is itself}
        leaving = self.escaping | {x.root for root, _, x in puts if shows.get(x.root) is not root}
        self.shows = {x: root for x, root in shows.items() if x not in leaving}
        self.there: set[Var] = set()

    # -- memory ----------------------------------------------------------------------------------------------------
    def _may_be_put(self, step: Step) -> bool:
        y = step.results
        function = step.function
        elementwise = isinstance(function, np.ufunc) and not step.options
        takes_out = elementwise or is_reduction(step) or function is np.concatenate or hasattr(function, "takes_out")
        return (
            takes_out
            and type(y) is Var
            and not y.scalar
            and y.root is y
            and not y.written
            and y.contiguous
            and y.dtype.kind in "fcb"
        )

    def _slot(self, step: Step, i: int) -> int:
        """Which buffer the result of a step goes to: one that dies here, if the step works element by element."""
        elementwise = getattr(step.function, "signature", "") is None
        dying = [x for x in step.args if type(x) is Var and self.buffers.dies(x, i)] if elementwise else []
        return self.buffers.slot_for(step.results, dying)

    def _is_read_no_more(self, root: Var, i: int) -> bool:
        """Whether no step after this one reads what lies in an array before the program writes to it."""
        return all(self.buffers.last.get(x, -1) <= i for x, shown in self.shows.items() if shown is root)

    # -- kernels ---------------------------------------------------------------------------------------------------
    def _kernel(self, step: Fused, i: int) -> list[str]:
        """The call of a kernel, with what must be done to its operands before and to its results after."""
        kernel = compiled(step.group, self.exact)
        name = self.given.given(kernel.of_size(step.rows, step.columns), "kernel")
        lines = ["# " + line for line in step.described(self._told)]
        given = [self._operand(x, lines) for x in step.args]
        rooms: list[str] = []
        after: list[str] = []
        taken: list[int] = []
        showing = Counter(x.root for x in step.args)
        for number, y in enumerate(step.results):
            if y in step.results[:number]:  # another component of it
                rooms.append(rooms[step.results.index(y)])
                continue
            inputs = [step.args[k] for o, k in kernel.plan.in_place if o == number]
            # Where another input shows the same memory, it may be read after it was overwritten.
            alone = [x for x in inputs if showing[x.root] == 1 and self.buffers.dies(x, i)]
            rooms.append(self._room(y, alone, lines, after, taken))
        for slot in taken:
            self.buffers.give_back(slot)
        return [*lines, f"{name}({step.rows}, {step.columns}, {', '.join([*given, *rooms])})", *after]

    def _operand(self, x: Var, before: list[str]) -> str:
        """What a kernel is given: a number as a float, an array in C order."""
        text = self.names[x]
        if x.scalar:
            return f"float({text})" if x.dtype != np.double else text
        if x in self.buffers.slots or x in self.made or not x.contiguous:
            return text
        if x not in self.ordered:
            self.ordered[x] = self.fresh()
            before.append(f"{self.ordered[x]} = {_in_order(text)}")
        return self.ordered[x]

    def _room(self, y: Var, dying: list[Var], before: list[str], after: list[str], taken: list[int]) -> str:
        """Where a kernel puts a result: on one of the dying inputs, if it can.

        Lines for before and after the call are added, and the buffer of a number, which is free once it has been read.
        """
        self.made.add(y)
        shown = next((x for x in dying if self.writing and self.shows.get(x, x) is self.put_in.get(y)), None)
        if shown is not None:  # what lies there before the program writes to it
            self.names[y] = self.ordered[shown]
            self.made_at[y] = self.at
            return self.names[y]
        name = self.new(y)
        if y in self.escaping and not y.scalar:
            before.append(f"{name} = {self._make('empty', y)}")
            return name
        slot = self.buffers.slot_for(y, dying)
        if y.scalar:
            taken.append(slot)
        else:
            self.buffers.slots[y] = slot
        after.append(f"{name} = b{slot}" + ("[()]" if y.scalar else ""))
        return f"b{slot}"

    def _make(self, function: str, y: Var) -> str:
        """How to write a new array for a value."""
        return f"{function}({y.shape}, {self.given.given(y.dtype, y.dtype.name)})"

    def _told(self, x: Any) -> str:
        return self.names.get(x, "?") if type(x) is Var else repr(x)

    # -- loops -----------------------------------------------------------------------------------------------------
    def _loop(self, step: Step) -> list[str]:
        """A loop: the carry is in variables of its own, which every turn sets anew."""
        loop: Loop = step.function
        if loop.kernel is not None:
            return self._loop_of_machine_code(step)
        turns, init, _, outer = step.args
        count, *results = step.results
        inside = self._inside(loop, outer)
        place, *carried = (inside.new(var) for var in (loop.place, *loop.carry))
        lines = [
            f"{name} = {self.text(x)}" + ("" if var.scalar else ".copy()")  # results are nobody else's memory
            for name, x, var in zip(carried, init, loop.carry, strict=True)
        ]
        collected = results[len(init) :]
        make = "np.empty" if type(turns) is int and turns == loop.length else "np.zeros"
        lines += [f"{self.new(var)} = {self._make(make, var)}" for var in collected]
        lines.append(f"for {place} in {self._places(loop, turns, bool(collected))}:")
        lines += ["    " + line for line in self._turn(step, inside, place, carried) or ["pass"]]
        if turns is None:
            if collected:
                lines += ["else:", "    " + self._too_many(step)]
            lines.append(f"{self.new(count)} = {self.given.given(np.int64, 'int64')}({place})")
        lines += [f"{self.new(var)} = {name}" for var, name in zip(results, carried, strict=False)]
        return lines

    def _inside(self, loop: Loop, outer: Sequence[Any]) -> _Printer:
        """What prints the turns of a loop: with names of its own, on the same buffers."""
        inside = copy(self)
        inside.names, inside.made, inside.ordered = dict(self.names), set(self.made), dict(self.ordered)
        inside.names |= {var: self.given.given(array, "captured") for var, array in loop.body.captured.items()}
        inside._begin(loop.body, Buffers(loop.body, self.buffers))
        inside.names |= {var: self.text(x) for var, x in zip(loop.outer, outer, strict=True)}
        return inside

    def _places(self, loop: Loop, turns: Any, bounded: bool) -> str:
        """What a loop goes through: its turns, or as many as there is room for, or any number."""
        if turns is None:
            return f"range({loop.length})" if bounded else "count()"
        last = self.text(turns)
        return f"range({last} - 1, -1, -1)" if loop.reverse else f"range({last})"

    def _turn(self, step: Step, inside: _Printer, place: str, carried: list[str]) -> list[str]:
        """One turn: items are read, the steps done, what is collected put in its place, and the carry set."""
        loop: Loop = step.function
        body = []
        if loop.place in loop.body_reads():
            body.append(f"{place} = {self.given.given(np.int64, 'int64')}({place})")
        for x, var in zip(step.args[2], loop.items, strict=True):
            body.append(f"{inside.new(var)} = {self.text(x)}[{place}]")
        body += inside.lines(step.quiet)
        after = [inside.text(x) for x in loop.body.outputs]
        n = len(carried)
        body += [f"{self.text(y)}[{place}] = {x}" for y, x in zip(step.results[1 + n :], after[n:], strict=True)]
        if carried:
            body.append(f"{', '.join(carried)} = {', '.join(after[:n])}")
        return body

    def _too_many(self, step: Step) -> str:
        """Leave the program, since there is no room for so many turns of a loop."""
        guard = Guard(step.results[0], "turns", step.function.length, step.line)
        guard.place = -1
        return self._miss(guard)

    def _loop_of_machine_code(self, step: Step) -> list[str]:
        """A call of the function that does a loop: it leaves the number of turns, or -1 for a miss."""
        loop: Loop = step.function
        turns, init, items, outer = step.args
        count, *results = step.results
        lines = ["# " + line for line in loop.described(self._told)]
        given = [self.text(turns) if turns is not None else str(loop.length if results[len(init) :] else 2**62)]
        for x in (*init, *items, *outer):
            array = type(x) is Var and not x.scalar
            given.append(f"({_in_order(self.text(x))})" if array else self.text(x))
        for k, var in enumerate(results):
            whole = k < len(init) or (type(turns) is int and turns == loop.length)
            given.append(self.new(var))
            lines.append(f"{given[-1]} = {self._make('np.empty' if whole else 'np.zeros', var)}")
        done = self.new(count)
        lines.append(f"{done} = np.zeros(1, np.int64)")
        lines.append(f"{self.given.given(loop.kernel, 'loop')}(1, 1, {', '.join([*given, done])})")
        lines.append(f"{done} = {done}[0]")
        lines.append(f"if {done} < 0: {self._too_many(step)}")
        lines += [f"{self.names[var]} = {self.names[var]}[()]" for var in results if var.scalar]
        return lines

    def _assigned(self, step: Step, i: int) -> str:
        """A call, with names for its results and, where it can be told, where to put them."""
        out = ""
        if self._may_be_put(step):
            y = step.results
            into = self.put_in.get(y)
            if into is not None and self.writing and self._is_read_no_more(into, i):
                out = f", out={self.text(into)}"
                self.there.add(y)
            elif y not in self.escaping:
                self.buffers.slots[y] = slot = self._slot(step, i)
                out = f", out=b{slot}"
            elif y.size * y.dtype.itemsize >= BIG:
                out = f", out={self._make('empty', y)}"
        call = self.call(step, out)
        if step.function is operator.setitem and type(step.args[2]) is Var and step.args[1] is Ellipsis:
            return f"if {self.text(step.args[2])} is not {self.text(step.args[0])}: {call}"
        if step.function is operator.setitem or step.results is None:
            return call
        if type(step.results) is tuple:
            return f"{self._targets(step.results)} = {call}"
        return f"{self.new(step.results)} = {call}"

    def _targets(self, results: tuple[Any, ...]) -> str:
        """Names for several results, which may be tuples in turn."""
        names = [
            self.new(x) if type(x) is Var else f"({self._targets(x)})" if type(x) is tuple else "_" for x in results
        ]
        return ", ".join(names) + ("," if len(names) == 1 else "")

    def fresh(self) -> str:
        """A name for something of no other step."""
        return f"v{next(self.count)}"

    def new(self, var: Var) -> str:
        """The name of a result."""
        name = self.names[var] = self.fresh()
        self.made_at[var] = self.at
        return name

    @staticmethod
    def comment(step: Step | Guard) -> str | None:
        """The line of the user's program that a step belongs to."""
        text = linecache.getline(*step.line).strip() if step.line[1] else ""
        return f"# {text}" if text else None

    def _miss(self, guard: Guard) -> str:
        self.exits.append(Exit(guard, self))
        return f"return EXITS[{len(self.exits) - 1}](locals())"

    def _guard(self, guard: Guard) -> str:
        x = self.names[guard.var]
        if guard.kind == "goes on":
            return f"if not {x}: break"
        if guard.place == self.variant.place and self.variant.parent is not None:
            miss = "return None"  # what a branch begins with: whether it is the one
        else:
            miss = self._miss(guard)
        match guard.kind:
            case "no NaN":
                return f"if {x} != {x}: {miss}" if guard.var.scalar else f"if has_nan({x}): {miss}"
            case "bool":
                return f"if {'not ' if guard.outcome else ''}{x}: {miss}"
            case "int" | "index":
                return f"if int({x}) != {guard.outcome}: {miss}"
            case "text":
                asked, text = guard.outcome
                return f"if {asked.format(x)} != {text!r}: {miss}"
            case "shape":
                return f"if {x}.shape != {guard.outcome}: {miss}"
            case "array":
                return f"if {x}.tobytes() != {self.text(guard.outcome.tobytes())}: {miss}"
            case _ if guard.outcome and guard.outcome == guard.outcome:
                return f"if {x} != {self.text(guard.outcome)}: {miss}"
            case _:  # NaN is not NaN, and 0.0 is -0.0
                return f"if repr({self.given.function(type(guard.outcome))}({x})) != {repr(guard.outcome)!r}: {miss}"

    def lines(self, within: bool = False) -> list[str]:
        """The steps; `within` says whether NumPy's warnings are off already."""
        body: list[str] = []
        quiet = within
        place: Any = None
        for i, step in enumerate(self.program.steps):
            self.at = i
            comment = None
            if step.line != place and step.line[1] and not isinstance(step, Blocked):
                place, comment = step.line, self.comment(step)
            if isinstance(step, Step) and step.quiet != quiet and _can_warn(step):
                quiet = step.quiet
                if quiet:
                    body.append("with np.errstate(all='ignore'):")
            elif isinstance(step, Guard) and step.place >= 0:
                quiet = False  # a branch that begins here warns as the caller wants it
            indent = "    " if quiet and not within else ""
            if comment:
                body.append(indent + comment)
            body += [indent + line for line in self._written(step, i)]
            self.buffers.release(step, i)
        return body

    def _written(self, step: Step | Guard, i: int) -> list[str]:
        """One step."""
        if isinstance(step, Guard):
            return [self._guard(step)]
        if isinstance(step, Fused):
            return self._kernel(step, i)
        if isinstance(step, Blocked):
            return list(lines_of_blocks(self, step, i))
        if isinstance(step.function, Loop):
            return self._loop(step)
        if step.function is begin_writing:
            self.writing = True
            return []
        if step.function is itself:
            name = self.names[step.args[0]]
            if step.results not in self.shows:  # it is returned, or put elsewhere
                return [f"{self.new(step.results)} = {name}.copy()"]
            self.names[step.results] = name
            return []
        if step.function is operator.setitem and type(step.args[2]) is Var and step.args[2] in self.there:
            return []
        return [self._assigned(step, i)]

    def run(self, unpack: Sequence[str], result: Callable[[list[str]], tuple[list[str], str]]) -> Printed:
        """The whole program."""
        body = self.lines()
        last, text = result(self._returned())
        body += last
        returned = f"({text},)"
        taken = [f"b{i}" for i in range(len(self.buffers.forms))]
        lines = [*unpack, "", "# -- nothing has changed, and the program begins --"] if unpack else []
        if taken:
            lines += ["try:", "    buffers = FRAMES.pop()", "except IndexError:", "    buffers = new_buffers()"]
            lines += [f"{', '.join(taken)}{',' if len(taken) == 1 else ''} = buffers", "try:"]
            lines += ["    " + line for line in (*body, f"return {returned}")]
            lines += ["finally:", "    FRAMES.append(buffers)"]
        else:
            lines += [*body, f"return {returned}"]
        given = "*args, **options" if self.variant.parent is None else ", ".join(self.names[x] for x in self.inputs)
        source = f"def program({given}):\n" + "".join(f"    {line}\n" if line else "\n" for line in lines)
        forms = self.buffers.forms
        namespace = {
            **self.given.namespace,
            **USED,
            "FRAMES": [],
            "EXITS": self.exits,
            "new_buffers": lambda: [np.empty(shape, dtype) for shape, dtype in forms],
        }
        self.variant.names, self.variant.values = self.names, next(self.count)
        return Printed(source, namespace, self.inputs, {exit.guard.place: exit for exit in self.exits})

    def _returned(self) -> list[str]:
        seen: dict[Var, Any] = {}
        texts = []
        traced = getattr(self.variant, "outputs", self.program.outputs)
        for x, before in zip(self.program.outputs, traced, strict=True):
            text = self.text(x)
            # Two results that were computed once are two arrays.
            twice = type(x) is Var and x.root is x and seen.get(x, before) is not before
            if type(x) is Var and not x.scalar and not x.root.outside and (twice or x.root in self.inputs):
                text = f"{text}.copy()"  # and what the program before had made may be on its buffers
            elif type(x) is Var:
                seen[x] = before
            texts.append(text)
        return texts


def _in_order(array: str) -> str:
    """How to write an array, or a copy of it that lies as machine code reads it."""
    return f"{array} if {array}.flags.carray else {array}.copy()"


def _can_warn(step: Step) -> bool:
    return not isinstance(step, Fused) and type(step.function) is not Property and step.function not in SILENT
