"""Large arrays a block at a time: what one call leaves is in the caches when the next one reads it.

The same NumPy calls are printed, inside of a loop over blocks of the leading axes, with room for one block between
them.  Elementwise results keep every bit.  A sum is made of the sums of the blocks, which NumPy adds up pairwise, as it
does inside of each: so it is as accurate, and other bits; `exact=True` leaves sums out.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod
from typing import Any

import numpy as np

from .expand import expanded
from .fuse import Grouping
from .groups import Open
from .operations import axes_of, reduction_of
from .program import Loop, Program, Steps, is_reduction, private, read
from .reordering import REORDERING
from .steps import Guard, Method, Step, Var, inner

__all__ = ["Blocked", "blocked", "blocks", "normalised"]

BLOCK = 1 << 18  # bytes of one array in a block: less, and the calls cost more than the caches save
LARGE = 1 << 21  # bytes of an array that is worth it: smaller ones stay in the caches as they are


def blocks(size: int, length: int, *rooms: Any) -> Iterator[tuple[Any, ...]]:
    """The number of each block of `length` among `size` places, its slice, and so much of each room."""
    for number, start in enumerate(range(0, size, length)):
        if start + length > size:
            rooms = tuple(room[: size - start] for room in rooms)
        yield number, slice(start, start + length), *rooms


class Blocked(Step):
    """Several steps that are done block by block.

    Attributes
    ----------
    members : the steps
    rank, lead : of how many axes the first ones are gone through, as one
    size, length : how many places they have, and how many of these a block has
    sliced : the values, among those read and made, of which a block reads or makes a part
    narrow : those among them that have no axes of length 1 for the others
    asked : values that are asked for NaN; the last result says whether there is one
    """

    __slots__ = ("asked", "lead", "length", "members", "narrow", "rank", "size", "sliced")

    def __init__(self, members: list[Step], inputs: list[Var], results: list[Var], asked: list[Var]) -> None:
        super().__init__(None, tuple(inputs), {}, all(step.quiet for step in members), members[0].line)
        self.members, self.asked = members, asked
        self.results = tuple(results)
        self.rank = self.lead = self.size = self.length = 0
        self.sliced: set[Var] = set()
        self.narrow: set[Var] = set()

    def rest(self, x: Var) -> tuple[int, ...]:
        """The axes of a value that a block has all of."""
        missing = 0 if x in self.narrow else self.rank - len(x.shape)
        return x.shape[max(self.lead - missing, 0) :]


def blocked(program: Program, exact: bool) -> Program:
    """The program with what is worth it done in blocks."""
    if not _has_large(program):
        return program
    whole = program if exact else expanded(program, (*REORDERING, normalised))
    whole.own()
    return whole.with_steps(_with_blocks(whole, exact))


def _has_large(program: Program) -> bool:
    return any(
        _has_large(step.function.body) if isinstance(step.function, Loop) else _is_large(step.results)
        for step in program.steps
        if isinstance(step, Step)
    )


def _is_large(x: Any) -> bool:
    return type(x) is Var and x.size * x.dtype.itemsize >= LARGE


def normalised(program: Program) -> Steps:
    """Divide instead of taking another exponential: exp(x - (log(s) + t)) is exp(x - t)/s, what the gradient of
    logsumexp is made of.

    Here s is the sum of exp(x - t), and t the largest x.  Then no exponential overflows, and s underflows only where
    all x are -inf; with another t, one form may give NaN where the other does not.
    """
    known: dict[tuple[Any, Any], Var] = {}
    for step in program.steps:
        if isinstance(step, Step) and step.function is np.exp and (parts := _made_by(step.args[0], np.subtract)):
            x, below = parts
            if (added := _made_by(below, np.add)) and (total := _made_by(added[0], np.log)):
                e, s = known.get((x, added[1])), total[0]
                same = e is not None and (e.shape, e.dtype) == (x.shape, step.results.dtype)
                if same and _made_by(s, np.add.reduce) == (e,) and _are_largest(added[1], x, s):
                    step.function, step.args = np.divide, (e, s)
            known[x, below] = step.results
    return program.steps


def _are_largest(t: Any, x: Var, s: Var) -> bool:
    """Whether t is, for each sum in s, the largest of the x that it is taken over: itself, or the largest finite number
    where it is infinite."""
    axes = axes_of(s.source)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    if s.shape != shape or t.shape != shape:
        return False
    largest = float(np.finfo(x.dtype).max)
    if (above := _made_by(t, np.maximum)) and (below := _made_by(above[0], np.minimum)):
        if above[1] != -largest or below[1] != largest:
            return False
        t = below[0]
    return _made_by(t, np.maximum.reduce) == (x,) and axes_of(t.source) == axes


def _made_by(x: Any, function: Any) -> tuple[Any, ...] | None:
    """The operands of what made a value, if it was this function."""
    step = x.source if type(x) is Var and private(x) else None
    if not isinstance(step, Step) or step.function != function or not all(map(private, read(step))):
        return None
    return step.args


def _with_blocks(program: Program, exact: bool) -> Steps:
    steps = list(_Blocking(program, exact).run())
    for i, step in enumerate(steps):
        if isinstance(step, Step) and isinstance(step.function, Loop):
            body = step.function.body.fresh()
            steps[i] = new = step.copy()
            new.function = step.function.with_body(body.with_steps(_with_blocks(body, exact)))
    return steps


class _Blocking(Grouping):
    """Groups of steps that are worth being done in blocks."""

    def __init__(self, program: Program, exact: bool) -> None:
        super().__init__(program, exact)
        self.least = LARGE // 8

    def allows(self, name: str) -> bool:
        return True

    def _together(self, group: Open, step: Step) -> bool:
        return False

    def _reduce(self, group: Open, step: Step, name: str, axes: tuple[int, ...]) -> bool:
        if axes[0] and axes[-1] < len(step.args[0].shape) - 1:
            return False  # over axes in the middle
        return super()._reduce(group, step, name, axes)

    def joined(self, group: Open) -> Steps | None:
        results, found = group.left(self.readers)
        if len(group.members) < 2 or not (results or group.asked):
            return None
        members = [step.copy() for step in group.members]
        for each in members:  # constants of one number, perhaps many times, are no inputs
            each.args = inner(each.args, lambda x: x if type(x) is not Var or x in group.values else x.source.flat[0])
        inputs = [x for x, (number, _) in group.values.items() if number[0] == "input"]
        step = Blocked(members, inputs, results, [guard.var for guard in group.asked])
        if not _divide(step, group):
            return None
        if group.asked:
            flag = Var.made((), np.dtype(bool), step, scalar=True)
            step.results = (*results, flag)
            found.append(Guard.of_all(group.asked, flag))
        return [step, *found]


def _divide(step: Blocked, group: Open) -> bool:
    """Find out what the blocks are; whether there are enough of them."""
    shape, rank = group.shape, len(group.shape)
    kinds = {x: kind for x, (_, kind) in group.values.items() if kind in ("full", "column")}
    given = set(step.args)
    step.rank = rank
    step.narrow = {x for x in kinds if len(x.shape) < rank and kinds[x] == "column" and group.is_column(x.shape)}

    def leads(x: Var, lead: int) -> bool | None:
        """Whether a value has these axes; None if it has only some of them."""
        own = (x.shape if x in step.narrow else (1,) * (rank - len(x.shape)) + x.shape)[:lead]
        if own == shape[:lead]:
            return True if lead == 1 or x.contiguous or x not in given else None
        return False if prod(own) == 1 else None

    step.lead = next(
        (lead for lead in range(group.split or rank, 1, -1) if all(leads(x, lead) is not None for x in kinds)),
        1,
    )
    step.sliced = {x for x in kinds if leads(x, step.lead)}
    step.size = prod(shape[: step.lead])
    width = max(x.dtype.itemsize for x in kinds)
    row = prod(shape[step.lead :]) * width
    number = ceil(step.size / max(1, BLOCK // row))
    if step.size * row < LARGE or number < 2 or row > 4 * BLOCK:
        return False
    step.length = ceil(step.size / number)
    if step.lead == rank:
        step.length = ceil(step.length / 64) * 64  # so that blocks begin where vector registers do
    return True


def lines(printer: Any, step: Blocked, i: int) -> list[str]:
    """The loop, printed with a printer of programs."""
    return _Writer(printer, step, i).lines()


class _Writer:
    """The loop over blocks, as it is printed.

    Attributes
    ----------
    before, body, after : the lines before the loop, in it and after it
    taken, slots : the buffers that only this step uses: for the parts of results, and for room
    rooms : where a value of a block is put
    forms : room that nobody uses now, by shape and dtype
    base : what shows another value, and that one
    last : the last member that reads a value
    """

    def __init__(self, printer: Any, step: Blocked, i: int) -> None:
        self.printer, self.step, self.i = printer, step, i
        self.before: list[str] = []
        self.body: list[str] = []
        self.after: list[str] = []
        self.taken: list[int] = []  # slots that are free afterwards
        self.rooms: dict[Var, str] = {}  # values of a block, and their places
        self.forms: dict[Any, list[str]] = {}  # rooms that nobody uses now
        self.slots: list[int] = []  # of the rooms
        self.base = {
            each.results: each.args[0] for each in step.members if each.function == Method("reshape")
        }  # what shows another value
        self.last: dict[Var, int] = {}
        for k, each in enumerate(step.members):
            for x in (each.results, *read(each)):
                self.last[self.base.get(x, x)] = k

    def lines(self) -> list[str]:
        step, printer = self.step, self.printer
        outside = dict(printer.names)
        for x in step.args:
            self.take_in(x)
        kept = {y: self.open(y) for y in step.results}
        quiet = step.quiet
        line: Any = None
        for k, each in enumerate(step.members):
            if each.quiet != quiet:
                quiet = each.quiet
                if quiet:
                    self.body.append("with np.errstate(all='ignore'):")
            indent = "    " if quiet and not step.quiet else ""
            if each.line != line and (comment := printer.comment(each)):
                self.body.append(indent + comment)
            line = each.line
            self.body += [indent + text for text in self.member(each, k)]
        names = [f"c{k}" for k in range(len(self.slots))]
        given = "".join(f", b{slot}" for slot in self.slots)
        loop = f"for {', '.join(['place', 'part', *names])} in blocks({step.size}, {step.length}{given}):"
        for slot in (*self.slots, *self.taken):
            printer.buffers.give_back(slot)
        printer.names = outside | kept
        return [*self.before, loop, *("    " + text for text in self.body), *self.after]

    # -- what goes in and out ------------------------------------------------------------------------------------------
    def take_in(self, x: Var) -> None:
        """Name a block of an input."""
        text, step = self.printer.names[x], self.step
        if x in step.sliced:
            text = self.shown(text, x)
            name = self.printer.fresh()
            self.body.append(f"{name} = {text}[part]")
            self.printer.names[x] = name
        elif not x.scalar:
            self.printer.names[x] = self.shown(text, x)

    def shown(self, text: str, x: Var) -> str:
        """An array with the leading axes as one."""
        step = self.step
        shape = (step.size, *step.rest(x)) if x in step.sliced else x.shape
        if x not in step.sliced and step.lead > 1 and len(x.shape) > step.rank - step.lead:
            shape = step.rest(x)
        if shape == x.shape:
            return text
        name: str = self.printer.fresh()
        self.before.append(f"{name} = {text}.reshape({shape})")
        return name

    def open(self, y: Var) -> str:
        """Make a place for a result before the loop; what it is called after it."""
        step, printer = self.step, self.printer
        name: str = printer.new(y)
        if y not in step.sliced:
            if not step.asked or y is not step.results[-1]:
                return self.parts(y, name)
            self.before.append(f"{name} = False")
            return name
        if y in printer.escaping:
            self.before.append(f"{name} = empty({y.shape}, {printer.given.given(y.dtype, y.dtype.name)})")
        else:
            slot = printer.buffers.slot_for(y, [x for x in step.args if self.is_left_to(x, y)])
            printer.buffers.slots[y] = slot
            self.before.append(f"{name} = b{slot}")
        text = self.shown(name, y)
        self.rooms[y] = printer.fresh()
        self.body.append(f"{self.rooms[y]} = {text}[part]")
        return name

    def is_left_to(self, x: Var, y: Var) -> bool:
        """Whether a result may be written over an input: nobody reads that later, not even in this block."""
        step, printer = self.step, self.printer
        if x not in printer.buffers.slots or x not in step.sliced or not printer.buffers.dies(x, self.i):
            return False
        alone = not any(z is not x and z.root is x.root for z in step.args)
        made = next(k for k, each in enumerate(step.members) if each.results is y)
        return alone and self.last[x] <= made

    def parts(self, y: Var, name: str) -> str:
        """What the blocks give is put into one array, and then reduced."""
        step, printer = self.step, self.printer
        made = next(each for each in step.members if each.results is y)
        x = made.args[0]
        number = ceil(step.size / step.length)
        found = reduction_of(made)
        assert found is not None
        kind, axes = found
        shape: tuple[int, ...] = () if kind == "any" else tuple(n for k, n in enumerate(x.shape) if k not in axes)
        slot = printer.buffers.room((number, *shape), y.dtype)
        self.taken.append(slot)
        self.rooms[y] = f"b{slot}[place]"
        ufunc = "np.logical_or" if kind == "any" else printer.given.function(made.function).removesuffix(".reduce")
        text = f"{ufunc}.reduce(b{slot})"
        if y.shape != shape:
            text += f".reshape({y.shape})"
        self.after.append(f"{name} = {text}")
        return name

    # -- what a block does ---------------------------------------------------------------------------------------------
    def member(self, each: Step, k: int) -> Iterator[str]:
        """The lines of a step."""
        printer, step, y = self.printer, self.step, each.results
        changed = each.copy()
        if y in self.base:
            changed.args = each.args[0], (-1, *step.rest(y))
        elif is_reduction(each) and y in step.sliced:
            axes = tuple(axis - step.lead + 1 for axis in axes_of(each))  # the leading ones are one axis here
            changed.options = each.options | {"axis": axes[0] if len(axes) == 1 else axes}
        elif is_reduction(each):
            axes = tuple(axis - step.lead + 1 for axis in axes_of(each) if axis >= step.lead - 1)
            whole = len(axes) == len(each.args[0].shape) - step.lead + 1
            changed.options = {"axis": None if whole else axes[0] if len(axes) == 1 else axes}
        room = self.rooms.get(y)
        into = getattr(each.function, "takes_out", False) or is_reduction(each) or isinstance(each.function, np.ufunc)
        if room is None and into and y not in self.base:
            room = self.rooms[y] = self.room(
                y, [x for x in read(each) if self.last.get(self.base.get(x, x)) == k], each
            )
        if room is None:
            name = printer.fresh()
            yield f"{name} = {printer.call(changed, '')}"
        elif not into or (y not in step.sliced and y.shape == ()):
            name = room
            yield f"{room}{'[...]' if y in step.sliced else ''} = {printer.call(changed, '')}"
        else:
            name = printer.fresh()
            yield f"{name} = {printer.call(changed, f', out={room}')}"
        printer.names[y] = name
        if y in step.asked:
            flag = printer.names[step.results[-1]]
            yield f"{flag} = {flag} or has_nan({name})"
        for x in dict.fromkeys(self.base.get(z, z) for z in (y, *read(each))):
            if self.last[x] == k and (left := self.rooms.get(x, "")).startswith("c"):
                form = self.form(x)
                if left not in self.forms.setdefault(form, []):
                    self.forms[form].append(left)

    def form(self, y: Var) -> Any:
        return (self.step.length, *self.step.rest(y)), y.dtype

    def room(self, y: Var, dying: list[Var], each: Step) -> str:
        """Room for what a block makes: that of an operand whose last reader this is, if it works element by element."""
        form = self.form(y)
        if not is_reduction(each) and not hasattr(each.function, "takes_out"):
            for x in dying:
                x = self.base.get(x, x)
                if x in self.rooms and self.rooms[x].startswith("c") and self.form(x) == form:
                    return self.rooms.pop(x)
        waiting = self.forms.get(form)
        if waiting:
            return waiting.pop()
        self.slots.append(self.printer.buffers.room(*form))
        return f"c{len(self.slots) - 1}"
