"""One stretch of steps that repeats itself, as a loop: what its turns read, do and leave.

The turn in the middle stands for all: what it reads is looked up in every turn, and must follow a rule (see
`repeated.py`).  Where a turn does something else, `DiffersError` says which, and the stretch is tried again without it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .program import PLACE, Loop, Program, Steps, read, step_giving
from .signatures import ADDING, SMALL, puts_item, reads_item
from .steps import Guard, Method, Step, Var, inner

__all__ = ["DiffersError", "Known", "Repetition"]


# Where an operand of a turn comes from: ("same", value) is the same in all turns; ("here", step) is made by a step of
# the same turn; ("before", (step, value)) by one of the turn before, and the first turn reads the value instead;
# ("row", (row, start, apart)) lies at places of a row of an earlier stretch.
Origin = tuple[str, Any]


class DiffersError(Exception):
    """A turn does something else."""

    def __init__(self, turn: int) -> None:
        self.turn = turn


class Row:
    """What a value of a loop's body is in all turns: an array, if that is asked for, or one that there was before."""

    def __init__(self, loop: Repetition, value: Var, array: Var | None = None) -> None:
        self.loop, self.value, self.array = loop, value, array
        self.array_is_read = array is not None

    def collected(self) -> Var:
        """The array."""
        if self.array is None:
            new = Var.made((self.loop.turns, *self.value.shape), self.value.dtype, None)
            self.array = self.loop.collected.setdefault(self.value, new)
        return self.array


class Known:
    """The values that loops make which were found before.

    Attributes
    ----------
    made : by the value: in which loop, in which turn, by which of its steps
    inits : by the value: the carries that begin with it, and at which place
    ahead : of what is the same in all turns: the one that is computed
    """

    def __init__(self) -> None:
        self.made: dict[Var, tuple[Repetition, int, int]] = {}
        self.inits: dict[Var, list[tuple[Row, int]]] = {}
        self.ahead: dict[Var, Var] = {}

    def rows(self, x: Var) -> Iterator[tuple[Row, int]]:
        """Where a value is among those that loops make: in which row, at which place."""
        if x in self.made:
            loop, turn, k = self.made[x]
            if k in loop.rows:
                yield loop.rows[k], loop.place_of(turn)
            if turn + 1 < loop.turns:
                for row in loop.carried.get(k, ()):
                    yield row, loop.place_of(turn + 1)
        yield from self.inits.get(x, ())


class Repetition:
    """A stretch of steps as a loop.

    Attributes
    ----------
    known : what loops before it make
    stretch : where the whole stretch begins, of which this may be a part
    begin, end, period, turns : which steps these are
    done : for each step of a turn, that of all turns
    made : by the value: in which turn it is made, and by which of its steps
    middle : the turn that others are compared with: it has turns before it, and after it
    values : what the steps of a turn give, in the body
    invariant, ahead : the steps that do the same in all turns; those that are done ahead of the loop
    body : the steps of a turn
    outer : what is read from outside, with what stands for it in the body, whose passes look at nothing outside
    carry : by the step that makes it, and by what it begins with
    items : what a turn reads of arrays, and these
    collected : what each turn gives, and the arrays of that
    rows, carried : what the results of a step are in all turns, and what carries of them are
    sums : by the step that adds up: what it begins with, and the steps that put something somewhere
    shown : the steps by which others read single values
    last : of the carries, what they are called after the loop
    """

    def __init__(
        self, steps: Sequence[Step | Guard], known: Known, stretch: int, begin: int, period: int, turns: int
    ) -> None:
        self.known, self.stretch = known, stretch
        self.begin, self.end, self.period, self.turns = begin, begin + period * turns, period, turns
        every: Any = steps[begin : self.end]
        self.done: list[list[Step]] = [every[k::period] for k in range(period)]
        self.made = {step.results: divmod(i, period) for i, step in enumerate(every)}
        self.middle = turns // 2
        self.values: list[Any] = [None] * period
        self.invariant: set[int] = set()
        self.ahead: list[Step] = []
        self.body: list[Step] = []
        self.outer: dict[Var, Var] = {}
        self.carry: dict[tuple[int, Var], Var] = {}
        self.items: dict[Any, tuple[Var, Var]] = {}
        self.collected: dict[Var, Var] = {}
        self.rows: dict[int, Row] = {}
        self.carried: dict[int, list[Row]] = {}
        self.sums: dict[int, tuple[Var, dict[int, Any]]] = {}
        self.shown: dict[Step, None] = {}
        self.last: dict[tuple[int, Var], Var] = {}
        self._build()

    def _build(self) -> None:
        origins = [[self._origin(values) for values in zip(*map(read, steps), strict=True)] for steps in self.done]
        indices = [self._indices(steps) for steps in self.done]
        put = {k for k, steps in enumerate(self.done) if self._is_gathered(steps[0], indices[k])}
        added = self._added(origins, put)
        self._find_invariant(origins, indices, added)
        downwards = [step < 0 for _, step in filter(None, indices)]
        downwards += [which[2] < 0 for each in origins for kind, which in each if kind == "row"]
        self.reverse = 2 * sum(downwards) > len(downwards)
        for k, (steps, index) in enumerate(zip(self.done, indices, strict=True)):
            if k in added:
                continue
            if k in self.invariant:
                self.ahead.append(steps[self.middle])
            elif index is not None:
                self._read_item(k, *index)
            else:
                self._do(k, origins[k])
        for _, terms in self.sums.values():
            for k in terms:
                ((kind, which),) = origins[k]
                terms[k] = indices[k], Row(self, self._operand(kind, which, self.done[k][0]))
        self._tell()

    def _find_invariant(self, origins: list[list[Origin]], indices: list[Any], added: set[int]) -> None:
        """Find the steps that do the same in all turns; only of such arrays may turns read items."""
        carried = {which[0] for each in origins for kind, which in each if kind == "before"}
        for k, each in enumerate(origins):
            if k in added:
                continue
            if self.done[k][0].results.size > SMALL:
                raise DiffersError(self.middle)
            fixed = all(kind == "same" or (kind == "here" and which in self.invariant) for kind, which in each)
            if indices[k] is None:
                if fixed and k not in carried:
                    self.invariant.add(k)
            elif not fixed:
                raise DiffersError(self.middle)

    def _tell(self) -> None:
        """Let stretches that come later know what this one makes."""
        for (k, init), var in self.carry.items():
            row = Row(self, var)
            self.carried.setdefault(k, []).append(row)
            self.known.inits.setdefault(init, []).append((row, self.place_of(0)))
        for k in self.invariant:
            self.known.ahead |= {step.results: self.done[k][self.middle].results for step in self.done[k]}
        self.known.made |= {var: (self, *place) for var, place in self.made.items()}

    # -- what a turn reads ---------------------------------------------------------------------------------------------
    def _origin(self, values: tuple[Var, ...]) -> Origin:
        """Where one operand comes from, of which these are the values in all turns."""
        ahead, middle = self.known.ahead, self.middle
        values = tuple([ahead.get(x, x) for x in values]) if ahead else values
        x = values[middle]
        turn, k = self.made.get(x, (None, 0))
        if turn is None:
            same = [y is x for y in values]
            if 2 * sum(same) <= len(values):
                return "row", self._row(values)
            self._must(same)
            return "same", x
        back = middle - turn
        if back not in (0, 1):
            raise DiffersError(middle)
        good = [self.made.get(y) == (j - back, k) for j, y in enumerate(values)]
        if back:
            good[0] = values[0] not in self.made
        self._must(good)
        return ("before", (k, values[0])) if back else ("here", k)

    def _is_gathered(self, step: Step, index: tuple[int, int] | None) -> bool:
        """Whether a step puts something at another place in each turn, or into something large."""
        return puts_item(step) and step.results.dtype.kind in "fc" and (index is not None or step.results.size > SMALL)

    def _added(self, origins: list[list[Origin]], put: set[int]) -> set[int]:
        """The steps that put something somewhere, and those that add this up."""
        found = set(put)
        for k, each in enumerate(origins):
            if self.done[k][0].function in ADDING and any(kind == "here" and which in found for kind, which in each):
                found.add(k)
        read_by: dict[int, list[int]] = {k: [] for k in found}
        for k, each in enumerate(origins):
            for kind, which in each:
                made = which[0] if kind == "before" else which if kind == "here" else None
                if made in found:
                    read_by[made].append(k)
                if k in found and k not in put:
                    if kind == "before" and made in found:
                        self.sums[made] = which[1], {}
                    elif kind != "here" or made not in found:
                        raise DiffersError(self.middle)
        for k in found:
            if len(read_by[k]) != 1 or read_by[k][0] not in found - put:
                raise DiffersError(self.middle)
        for k in sorted(put):
            last = k
            while last not in self.sums:
                (last,) = read_by[last]
            self.sums[last][1][k] = None
        return found

    def _row(self, values: tuple[Var, ...]) -> tuple[Row, int, int]:
        """Of which row these are the values: from which place on, and how far apart."""
        middle, places = self.middle, [dict(self.known.rows(x)) for x in values]
        good: list[bool] = []
        for row, place in places[middle].items():
            step = places[middle + 1].get(row, place) - place
            start = place - middle * step
            found = [row in at and at[row] == start + j * step for j, at in enumerate(places)]
            if step and sum(found) > sum(good):
                best, good = (row, start, step), found
        self._must(good or [False] * len(values))
        return best

    def _must(self, good: list[bool]) -> None:
        """Raise if a turn is not good, with the one nearest to the middle, first of all of those before it."""
        if not all(good):
            before, after = good[: self.middle + 1], good[self.middle :]
            later = after.index(False) + self.middle if False in after else len(good)
            earlier = self.middle - before[::-1].index(False) if False in before else -1
            raise DiffersError(earlier if earlier >= 0 else later)

    def _indices(self, steps: list[Step]) -> tuple[int, int] | None:
        """The first place that is read, and how far it is to the next, if every turn reads another one of an array."""
        if reads_item(steps[0]):
            n = steps[0].args[0].shape[0]
            places = [step.args[1] % n for step in steps]
        elif puts_item(steps[0]):
            n = steps[0].results.shape[0]
            places = [step.options["index"] % n for step in steps]
        else:
            return None
        apart = places[self.middle + 1] - places[self.middle]
        start = places[self.middle] - self.middle * apart
        self._must([place == start + j * apart for j, place in enumerate(places)])
        return (start, apart) if apart else None

    def place_of(self, turn: int) -> int:
        """Where arrays have what belongs to a turn."""
        return self.turns - 1 - turn if self.reverse else turn

    # -- what a turn does ----------------------------------------------------------------------------------------------
    def _read_item(self, k: int, start: int, apart: int) -> None:
        like = self.done[k][self.middle]
        x: Var = like.args[0]
        item = _like(like.results)
        array = self._slice(x, start, apart, like)
        self.items[k] = item, array
        self.values[k] = item
        self.rows[k] = Row(self, item, array)

    def _slice(self, x: Var, start: int, apart: int, near: Step) -> Var:
        """What the turns read of an array, in order of their places."""
        places, apart = self._places(start, apart)
        if places == slice(0, x.shape[0], 1):
            return x
        y = Var.made((self.turns, *x.shape[1:]), x.dtype, None, x.root)
        y.contiguous = x.contiguous and apart == 1
        y.strides_of((x.strides[0] * apart, *x.strides[1:]))
        self.ahead.append(step_giving(y, operator.getitem, (x, places), near))
        return y

    def _places(self, start: int, apart: int) -> tuple[slice, int]:
        """The places of an array, in the order of the turns' places."""
        if self.reverse:
            start, apart = start + (self.turns - 1) * apart, -apart
        stop = start + self.turns * apart
        return slice(start, None if stop < 0 else stop, apart), apart

    def _do(self, k: int, origins: list[Origin]) -> None:
        like = self.done[k][self.middle]
        reads = [self._operand(kind, which, like) for kind, which in origins]
        new = iter(reads)
        step = like.copy()
        step.args, step.options = inner((like.args, like.options), lambda x: next(new) if type(x) is Var else x)
        root = None
        if like.results.home is not like.results:
            memory = [y.root for x, y in zip(read(like), reads, strict=True) if x.home is like.results.home]
            if not memory:
                raise DiffersError(self.middle)
            root = memory[0]
        step.results = self.values[k] = _like(like.results, step, root)
        self.body.append(step)
        self.rows[k] = Row(self, step.results)

    def _operand(self, kind: str, which: Any, near: Step) -> Var:
        """What stands for it in the body."""
        if kind == "here" and self.values[which] is not None:
            return self.values[which]  # type: ignore[no-any-return]
        if kind == "before":
            like = self.done[which[0]][self.middle].results
            return self.carry.setdefault(which, Var.made(like.shape, like.dtype, None, scalar=like.scalar))
        if kind == "row":
            if which not in self.items:
                row, start, apart = which
                item = Var.made(row.value.shape, row.value.dtype, None, scalar=row.value.scalar)
                self.items[which] = item, self._slice(row.collected(), start, apart, near)
            return self.items[which][0]
        x: Var = which if kind == "same" else self.done[which][self.middle].results
        return self.outer.setdefault(x, _like(x))

    # -- what comes out ------------------------------------------------------------------------------------------------
    def is_closed(self, x: Var) -> bool:
        """Whether a single value can be read from outside."""
        turn, k = self.made[x]
        if self.values[k] is None and k not in self.invariant:
            return turn == self.turns - 1 and k in self.sums
        return x.contiguous or k in self.invariant

    def show(self, wanted: Iterable[Var]) -> None:
        """Let others read these values."""
        for k, (init, terms) in self.sums.items():
            total = init
            for number, (index, row) in terms.items():
                total = self._add_up(total, self.done[k], self.done[number][0], index, row)
            total.source.results = result = self.done[k][-1].results  # under the name that others know
            result.root = result
        for x in wanted:
            turn, k = self.made[x]
            if k in self.sums:
                continue
            if k not in self.rows or self.rows[k].array_is_read:
                self._again(self.done[k][turn])
            elif turn == self.turns - 1 and k in self.carried:
                self.last[next(key for key in self.carry if key[0] == k)] = x
                x.root = x
            else:
                array = self.rows[k].collected()
                x.root = x if x.scalar else array
                item = step_giving(x, operator.getitem, (array, self.place_of(turn)), self.done[k][turn])
                self.shown.setdefault(item)

    def _add_up(self, total: Var, added: list[Step], near: Step, index: tuple[int, int] | None, row: Row) -> Var:
        """Add what the turns put somewhere: at one place, where there is no index, or at another one in each turn."""
        part, options = row.collected(), near.options
        if index is None:
            total_of = step_giving(_like(row.value), np.add.reduce, (part,), near, {"axis": 0})
            part = total_of.results
            self.shown.setdefault(total_of)
        else:
            options = options | {"index": self._places(*index)[0]}
        put = step_giving(_like(near.results), PLACE, (part,), near, options)
        new = step_giving(_like(added[0].results), operator.add, (total, put.results), added[0])
        self.shown |= {put: None, new: None}
        return new.results  # type: ignore[no-any-return]

    def _again(self, step: Step) -> None:
        """Do what is done ahead once more, under the name that it has in one turn."""
        for x in read(step):
            turn, k = self.made.get(x, (self.middle, 0))
            if turn != self.middle:
                self._again(self.done[k][turn])
        self.shown.setdefault(step)

    def steps(self) -> Steps:
        """What stands for the stretch."""
        like = self.done[0][0]
        made = {step.results for step in self.body}
        after: list[Any] = []
        for k, _ in self.carry:
            x = self.values[k]
            if not x.scalar and (x.root is not x or not x.contiguous or x not in made):
                copy = step_giving(Var.made(x.shape, x.dtype, None), Method("copy"), (x,), like)
                self.body.append(copy)
                x = copy.results  # carries are nobody else's memory
            after.append(x)
        body = Program(self.body, {}, [*after, *self.collected])
        items = list(dict.fromkeys(self.items.values()))
        place = Var.made((), np.dtype(np.int64), None, scalar=True)
        loop = Loop(
            body, place, list(self.carry.values()), [x for x, _ in items], list(self.outer.values()), self.turns,
            self.reverse, object(),
        )  # fmt: skip
        step = Step(loop, (), {}, all(step.quiet for step in self.body), like.line)
        step.args = self.turns, [init for _, init in self.carry], [array for _, array in items], list(self.outer)
        carried = [
            self.last.get(key) or Var.made(x.shape, x.dtype, step, scalar=x.scalar) for key, x in self.carry.items()
        ]
        step.results = (Var.made((), np.dtype(np.int64), step, scalar=True), *carried, *self.collected.values())
        return [*self.ahead, step, *self.shown]


def _like(x: Var, source: Any = None, root: Var | None = None) -> Var:
    """A value of the same form."""
    y = Var.made(x.shape, x.dtype, source, root, x.scalar)
    y.contiguous = x.contiguous
    y.strides_of(x.strides)
    return y
