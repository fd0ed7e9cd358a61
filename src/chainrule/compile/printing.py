"""From a program to Python: one line for each call, on memory that is kept from call to call.

What is printed is what runs.  Results that do not leave the program are put into buffers, which a step may take over
from a step whose result nobody needs any more; what is returned is always new.
"""

from __future__ import annotations

import builtins
import keyword
import linecache
import operator
import re
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
from .groups import Fused
from .kernels import Group, Kernel, compile_group
from .printed import Exit, Printed
from .program import Loop, Program, escaping, is_reduction, read
from .steps import Guard, Method, Property, Step, Var, operands
from .writes import begin_writing, itself

__all__ = ["Names", "print_program"]

INFIX: dict[Any, str] = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/", operator.floordiv: "//",
    operator.mod: "%", operator.pow: "**", operator.matmul: "@",
    operator.lt: "<", operator.le: "<=", operator.eq: "==", operator.ne: "!=", operator.gt: ">", operator.ge: ">=",
}  # fmt: skip
PREFIX: dict[Any, str] = {operator.neg: "-{}", operator.pos: "+{}", operator.invert: "~{}", operator.abs: "abs({})"}
SILENT = {operator.getitem, itself, begin_writing}
NUMBERED = re.compile(r"[vbc]\d+")
RESERVED = ["np", "has_nan", "empty", "args", "options", "contexts", "same", "rebuild", "constant_tensor"]
RESERVED += [
    "freed_tensor",
    "watchers",
    "only_constant",
    "buffers",
    "new_buffers",
    "FRAMES",
    "EXITS",
    "count",
    "blocks",
]
RESERVED += ["part", "place", "memory", "program"]
KERNELS = 1024  # that are kept for other programs


class Names:
    """Names for what the printed program uses."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {
            "np": np,
            "has_nan": has_nan,
            "empty": empty,
            "count": count,
            "blocks": blocks,
        }
        self._used = set(RESERVED)
        self._last: dict[str, int] = {}  # numbers that were tried
        self._of: dict[int, str] = {}

    def given(self, thing: Any, like: str) -> str:
        """The name of an object that is not printed but put into the namespace."""
        known = self._of.get(id(thing))
        if known is None:
            known = self.fresh(like)
            self.namespace[known] = thing
            self._of[id(thing)] = known
        return known

    def fresh(self, like: str) -> str:
        """A name that is not in use yet."""
        like = re.sub(r"\W", "_", like) or "x"
        if like[0].isdigit() or keyword.iskeyword(like) or hasattr(builtins, like) or NUMBERED.fullmatch(like):
            like += "_"
        name, number = like, self._last.get(like, 1)
        while name in self._used:
            number += 1
            name = f"{like}_{number}"
        self._used.add(name)
        self._last[like] = number
        return name

    def function(self, f: Callable[..., Any]) -> str:
        """How to write a function: by NumPy's own name if it has one."""
        name = getattr(f, "__name__", "function")
        modules: tuple[tuple[Any, str], ...] = ((np, "np"), (np.linalg, "np.linalg"), (np.fft, "np.fft"))
        for module, prefix in modules:
            if getattr(module, name, None) is f:
                return f"{prefix}.{name}"
        ufunc = getattr(f, "__self__", None)
        owner = getattr(ufunc, "__name__", "")
        if isinstance(ufunc, np.ufunc) and getattr(np, owner, None) is ufunc:
            return f"np.{owner}.{name}"
        return self.given(f, name)


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


class _Printer:
    """Prints one program; a copy of it prints the turns of a loop inside.

    Attributes
    ----------
    variant, program, given, exact : as in `print_program`
    names : how values are called
    inputs : what a branch reads of the program that it begins in
    buffers, escaping : the memory of results, and the results that are on memory of their own since they are returned
    made, ordered : the results of kernels; those of others, as they are called once they lie in order
    made_at, at : the steps that made values, and the one that is printed now
    exits : where the program may be left
    """

    def __init__(self, variant: Any, program: Program, names: dict[Var, str], given: Names, exact: bool) -> None:
        self.variant, self.program, self.given, self.exact = variant, program, given, exact
        self.made: set[Var] = set()
        self.ordered: dict[Var, str] = {}
        self.names = dict(names)
        used = {var for step in program.steps for var in read(step)} | {x for x in program.outputs if type(x) is Var}
        for var, array in program.captured.items():
            if var in used:
                self.names[var] = given.given(array, "captured")
        made = {var for step in program.steps if isinstance(step, Step) for var in operands(step.results)}
        wanted = dict.fromkeys(var for step in program.steps for var in read(step))
        wanted |= dict.fromkeys(x for x in program.outputs if type(x) is Var)
        self.inputs = tuple(var for var in wanted if var not in made and var not in self.names)
        self.count = count(getattr(variant.parent, "values", 0))  # numbers for values: after those of the parent
        for var in self.inputs:
            self.names[var] = variant.parent.names.get(var) or f"v{next(self.count)}"
        self.made_at: dict[Var, int] = {}
        self.exits: list[Exit] = []
        self.at = 0
        self.writing = False  # whether nothing more is asked that would want memory from outside as it was
        self._begin(program, Buffers(program))

    def _begin(self, program: Program, buffers: Buffers) -> None:
        self.program, self.buffers = program, buffers
        self.escaping = escaping(program)
        calls = [step for step in program.steps if isinstance(step, Step)]
        whole = next((step.writes for step in calls if step.function is begin_writing), ())
        puts = [step.args for step in calls if step.function is operator.setitem and step.writes[0] in whole]
        self.put_in = {x: root for root, _, x in puts}
        self.shows = {step.results: step.args[0] for step in calls if step.function is itself}
        self.first = {root: x for x, root in self.shows.items()}  # what lies there before
        self.there: set[Var] = set()  # what is computed there

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
        first = self.first.get(root)
        return first is None or self.buffers.last.get(first, -1) <= i

    # -- text ------------------------------------------------------------------------------------------------------
    def _text(self, x: Any) -> str:
        kind = type(x)
        if kind is Var:
            return self.names[x]
        if kind is tuple:
            inside = ", ".join(map(self._text, x))
            return f"({inside},)" if len(x) == 1 else f"({inside})"
        if kind is list:
            return f"[{', '.join(map(self._text, x))}]"
        if kind is dict:
            return "{" + ", ".join(f"{key!r}: {self._text(part)}" for key, part in x.items()) + "}"
        if kind is slice:
            return f"slice({self._text(x.start)}, {self._text(x.stop)}, {self._text(x.step)})"
        if x is None or x is Ellipsis or kind in (bool, int, str):
            return repr(x)
        if kind is float and x - x == 0:
            return repr(x)
        if isinstance(x, type) and getattr(np, name := str(x.__name__), None) is x:
            return f"np.{name}"
        return self.given.given(x, "constant")

    def _index(self, index: Any) -> str:
        def part(x: Any) -> str:
            if type(x) is slice:
                ends = ["" if end is None else self._text(end) for end in (x.start, x.stop, x.step)]
                return ":".join(ends[: 2 + (x.step is not None)])
            return "..." if x is Ellipsis else self._text(x)

        if type(index) is tuple and index:
            return ", ".join(map(part, index)) + ("," if len(index) == 1 else "")
        return part(index)

    def call(self, step: Step, out: str) -> str:
        """How to write a step; `out` says where its result goes."""
        function: Any = step.function
        args = step.args
        if function is operator.getitem:
            return f"{self._text(args[0])}[{self._index(args[1])}]"
        if function is operator.setitem:
            return f"{self._text(args[0])}[{self._index(args[1])}] = {self._text(args[2])}"
        if function in INFIX:
            left, right = (f"({self._text(x)})" if isinstance(x, int | float) else self._text(x) for x in args)
            return f"{left} {INFIX[function]} {right}"
        if function in PREFIX:
            return PREFIX[function].format(self._text(args[0]))
        if type(function) is Property:
            return f"{self._text(args[0])}.{function.name}"
        if function is np.stack and type(args[0]) is list and not step.options and all(map(_is_number, args[0])):
            return f"np.array({self._text(args[0])})"  # the same, in a tenth of the time
        written = [self._text(x) for x in args]
        written += [f"{name}={self._text(x)}" for name, x in step.options.items()]
        if type(function) is Method:
            return f"{written[0]}.{function.name}({', '.join(written[1:])})"
        return f"{self.given.function(function)}({', '.join(written)}{out})"

    def _kernel(self, step: Fused, i: int) -> list[str]:
        """The call of a kernel, with what must be done to its operands before and to its results after."""
        kernel = compiled(step.group, self.exact)
        name = self.given.given(kernel.of_size(step.rows, step.columns), "kernel")
        lines = ["# " + line for line in step.described(self._told)]
        operands, taken = [], []
        for x in step.args:
            text = self.names[x]
            if x.scalar:
                text = f"float({text})" if x.dtype != np.double else text
            elif x not in self.buffers.slots and x not in self.made and x.contiguous:
                if x not in self.ordered:
                    self.ordered[x] = f"v{next(self.count)}"
                    lines.append(f"{self.ordered[x]} = {text} if {text}.flags.carray else {text}.copy()")
                text = self.ordered[x]
            operands.append(text)
        after = []
        showing = Counter(x.root for x in step.args)
        for number, y in enumerate(step.results):
            if y in step.results[:number]:  # another component of it
                operands.append(operands[len(step.args) + step.results.index(y)])
                continue
            given = [step.args[k] for o, k in kernel.plan.in_place if o == number]
            self.made.add(y)
            # Where another input shows the same memory, it may be read after it was overwritten.
            alone = [x for x in given if showing[x.root] == 1 and self.buffers.dies(x, i)]
            shown = next((x for x in alone if self.writing and self.shows.get(x, x) is self.put_in.get(y)), None)
            if shown is not None:  # what lies there before the program writes to it
                self.names[y] = self.ordered[shown]
                self.made_at[y] = self.at
                operands.append(self.names[y])
                continue
            if y in self.escaping and not y.scalar:
                operands.append(self.new(y))
                lines.append(f"{operands[-1]} = empty({y.shape}, {self.given.given(y.dtype, y.dtype.name)})")
                continue
            slot = self.buffers.slot_for(y, alone)
            operands.append(f"b{slot}")
            if y.scalar:
                taken.append(slot)
                after.append(f"{self.new(y)} = b{slot}[()]")
            else:
                self.buffers.slots[y] = slot
                after.append(f"{self.new(y)} = b{slot}")
        for slot in taken:
            self.buffers.give_back(slot)
        return [*lines, f"{name}({step.rows}, {step.columns}, {', '.join(operands)})", *after]

    def _told(self, x: Any) -> str:
        return self.names.get(x, "?") if type(x) is Var else repr(x)

    def _loop(self, step: Step) -> list[str]:
        """A loop: the carry is in variables of its own, which every turn sets anew."""
        loop: Loop = step.function
        if loop.kernel is not None:
            return self._loop_of_machine_code(step)
        turns, init, items, outer = step.args
        count, *results = step.results
        inside = copy(self)  # with the same buffers
        inside.names, inside.made, inside.ordered = dict(self.names), set(self.made), dict(self.ordered)
        inside.names |= {var: self.given.given(array, "captured") for var, array in loop.body.captured.items()}
        inside._begin(loop.body, Buffers(loop.body, self.buffers))
        inside.names |= {var: self._text(x) for var, x in zip(loop.outer, outer, strict=True)}
        place, *carried = (inside.new(var) for var in (loop.place, *loop.carry))
        lines = [
            f"{name} = {self._text(x)}" + ("" if var.scalar else ".copy()")  # results are nobody else's memory
            for name, x, var in zip(carried, init, loop.carry, strict=True)
        ]
        collected = [self.new(var) for var in results[len(init) :]]
        make = "np.empty" if type(turns) is int and turns == loop.length else "np.zeros"
        for name, var in zip(collected, results[len(init) :], strict=True):
            lines.append(f"{name} = {make}({var.shape}, {self.given.given(var.dtype, var.dtype.name)})")
        last = self._text(turns)
        bounds = "" if turns is None else f"{last} - 1, -1, -1" if loop.reverse else last
        body = [f"{inside.new(var)} = {self._text(x)}[{place}]" for x, var in zip(items, loop.items, strict=True)]
        if loop.place in loop.body_reads():
            body.insert(0, f"{place} = {self.given.given(np.int64, 'int64')}({place})")
        body += inside.lines(step.quiet)
        after = [inside._text(x) for x in loop.body.outputs]
        body += [f"{name}[{place}] = {x}" for name, x in zip(collected, after[len(init) :], strict=True)]
        if carried:
            body.append(f"{', '.join(carried)} = {', '.join(after[: len(init)])}")
        if turns is not None:
            lines.append(f"for {place} in range({bounds}):")
        else:
            lines.append(f"for {place} in {f'range({loop.length})' if collected else 'count()'}:")
        lines += ["    " + line for line in body or ["pass"]]
        if turns is None and collected:
            too_many = Guard(count, "turns", loop.length, step.line)
            too_many.place = -1
            lines += ["else:", "    " + self._miss(too_many)]
        if turns is None:
            lines.append(f"{self.new(count)} = {self.given.given(np.int64, 'int64')}({place})")
        lines += [f"{self.new(var)} = {name}" for var, name in zip(results, carried, strict=False)]
        return lines

    def _loop_of_machine_code(self, step: Step) -> list[str]:
        """A call of the function that does a loop: it leaves the number of turns, or -1 for a miss."""
        loop: Loop = step.function
        turns, init, items, outer = step.args
        count, *results = step.results
        lines = ["# " + line for line in loop.described(self._told)]
        given = [self._text(turns) if turns is not None else str(loop.length if results[len(init) :] else 2**62)]
        for x in (*init, *items, *outer):
            text = self._text(x)
            array = type(x) is Var and not x.scalar
            given.append(f"({text} if {text}.flags.carray else {text}.copy())" if array else text)
        for k, var in enumerate(results):
            whole = k < len(init) or (type(turns) is int and turns == loop.length)
            text, dtype = self.new(var), self.given.given(var.dtype, var.dtype.name)
            lines.append(f"{text} = np.{'empty' if whole else 'zeros'}({var.shape}, {dtype})")
            given.append(text)
        done = self.new(count)
        lines.append(f"{done} = np.zeros(1, np.int64)")
        lines.append(f"{self.given.given(loop.kernel, 'loop')}(1, 1, {', '.join([*given, done])})")
        lines.append(f"{done} = {done}[0]")
        missed = Guard(count, "turns", loop.length, step.line)
        missed.place = -1
        lines.append(f"if {done} < 0: {self._miss(missed)}")
        lines += [f"{self.names[var]} = {self.names[var]}[()]" for var in results if var.scalar]
        return lines

    def _lines_of(self, step: Step, i: int) -> str:
        out = ""
        if self._may_be_put(step):
            y = step.results
            into = self.put_in.get(y)
            if into is not None and self.writing and self._is_read_no_more(into, i):
                out = f", out={self._text(into)}"
                self.there.add(y)
            elif y not in self.escaping:
                self.buffers.slots[y] = slot = self._slot(step, i)
                out = f", out=b{slot}"
            elif y.size * y.dtype.itemsize >= BIG:
                out = f", out=empty({y.shape}, {self.given.given(y.dtype, y.dtype.name)})"
        call = self.call(step, out)
        if step.function is operator.setitem and type(step.args[2]) is Var and step.args[1] is Ellipsis:
            return f"if {self._text(step.args[2])} is not {self._text(step.args[0])}: {call}"
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
                return f"if {x}.tobytes() != {self._text(guard.outcome.tobytes())}: {miss}"
            case _ if guard.outcome and guard.outcome == guard.outcome:
                return f"if {x} != {self._text(guard.outcome)}: {miss}"
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
            if isinstance(step, Guard):
                body.append(indent + self._guard(step))
            elif isinstance(step, Fused):
                body += [indent + line for line in self._kernel(step, i)]
            elif step.function is begin_writing:
                self.writing = True
            elif step.function is itself:
                self.names[step.results] = self.names[step.args[0]]
            elif step.function is operator.setitem and type(step.args[2]) is Var and step.args[2] in self.there:
                pass
            elif isinstance(step, Blocked):
                body += [indent + line for line in lines_of_blocks(self, step, i)]
            elif isinstance(step.function, Loop):
                body += [indent + line for line in self._loop(step)]
            else:
                body.append(indent + self._lines_of(step, i))
            self.buffers.release(step, i)
        return body

    def run(self, unpack: Sequence[str], result: Callable[[list[str]], tuple[list[str], str]]) -> Printed:
        """The whole program."""
        body = self.lines()
        last, text = result(self._returned())
        body += last
        returned = f"({text},)"
        taken = [f"b{i}" for i in range(len(self.buffers.forms))]
        lines = [*unpack]
        if taken:
            lines += ["try:", "    buffers = FRAMES.pop()", "except IndexError:", "    buffers = new_buffers()"]
            lines += [f"{', '.join(taken)}{',' if len(taken) == 1 else ''} = buffers", "try:"]
            lines += ["    " + line for line in (*body, f"return {returned}")]
            lines += ["finally:", "    FRAMES.append(buffers)"]
        else:
            lines += [*body, f"return {returned}"]
        given = "*args, **options" if self.variant.parent is None else ", ".join(self.names[x] for x in self.inputs)
        source = f"def program({given}):\n" + "".join(f"    {line}\n" for line in lines)
        namespace = dict(self.given.namespace)
        namespace["FRAMES"] = []
        namespace["EXITS"] = self.exits
        forms = self.buffers.forms
        namespace["new_buffers"] = lambda: [np.empty(shape, dtype) for shape, dtype in forms]
        self.variant.names, self.variant.values = self.names, next(self.count)
        return Printed(source, namespace, self.inputs, {exit.guard.place: exit for exit in self.exits})

    def _returned(self) -> list[str]:
        seen: dict[Var, Any] = {}
        texts = []
        traced = getattr(self.variant, "outputs", self.program.outputs)
        for x, before in zip(self.program.outputs, traced, strict=True):
            text = self._text(x)
            # Two results that were computed once are two arrays.
            twice = type(x) is Var and x.root is x and seen.get(x, before) is not before
            if type(x) is Var and not x.scalar and not x.root.outside and (twice or x.root in self.inputs):
                text = f"{text}.copy()"  # and what the program before had made may be on its buffers
            elif type(x) is Var:
                seen[x] = before
            texts.append(text)
        return texts


def _is_number(x: Any) -> bool:
    return x.scalar if type(x) is Var else type(x) in (int, float)


def _can_warn(step: Step) -> bool:
    return not isinstance(step, Fused) and type(step.function) is not Property and step.function not in SILENT
