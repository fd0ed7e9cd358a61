"""Loops of Python that were written down turn by turn, made loops again.

A thousand turns over small arrays are some hundred thousand steps, in which the same few come again and again.  Such a
stretch becomes one step with a `Loop`, as `scan` leaves it, if all turns do the same with values that follow a rule.
What a turn reads is

- the same in every turn, and what is computed of nothing else is computed once, ahead of the loop;
- made in this turn, or in the one before, which is a carry;
- an item of one array, further by the same number of places in each turn;
- what another stretch made, again turn by turn, in the same order or in the opposite one: so a walk back reads what
  the loop forwards has collected.

What is put at another place in each turn and added up, as the gradient of an array that is gone through, is collected
and put there at once.  Everything else stays as it is.
"""

from __future__ import annotations

from typing import Any

from .program import Program, Steps, read
from .repetition import DiffersError, Known, Repetition
from .signatures import signatures
from .steps import Var
from .stretches import stretches

__all__ = ["repeated"]

TURNS = 16  # at least
STEPS = 1000  # in all turns, at least: fewer are quickly compiled as they are


def repeated(program: Program) -> Steps:
    """The steps with loops for those that repeat themselves."""
    if len(program.steps) < STEPS:
        return program.steps
    found = stretches(signatures(program.steps), TURNS, STEPS)
    while found:
        rolling = _Rolling(program)
        for stretch in found:
            rolling.add(*stretch)
        too_open = rolling.too_open()
        if not too_open:
            return rolling.steps()
        found = [stretch for stretch in found if stretch[0] not in too_open]
    return program.steps


class _Rolling:
    """The loops of a program, as they are found.

    Attributes
    ----------
    loops : in order
    known : the values that they make
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.loops: list[Repetition] = []
        self.known = Known()

    def add(self, begin: int, period: int, turns: int) -> None:
        """Make a loop of a stretch, or of a part of it, if it can be one."""
        whole = begin
        while turns >= TURNS and turns * period >= STEPS:
            try:
                loop = Repetition(self.program.steps, self.known, whole, begin, period, turns)
            except DiffersError as error:
                if error.turn <= turns // 2:
                    begin, turns = begin + (error.turn + 1) * period, turns - error.turn - 1
                else:
                    turns = error.turn
            else:
                self.loops.append(loop)
                return

    def outside(self) -> dict[Repetition, dict[Var, None]]:
        """What others read of single turns."""
        found: dict[Repetition, dict[Var, None]] = {loop: {} for loop in self.loops}
        wanted: list[Any] = [*self.program.outputs]
        at = 0
        for loop in self.loops:
            for step in self.program.steps[at : loop.begin]:
                wanted += read(step)
            wanted += [
                *(init for _, init in loop.carry),
                *(init for init, _ in loop.sums.values()),
                *loop.outer,
                *(x for step in loop.ahead for x in read(step)),
            ]
            at = loop.end
        for step in self.program.steps[at:]:
            wanted += read(step)
        for x in wanted:
            if type(x) is Var and x in self.known.made and self.known.ahead.get(x) is not x:
                found[self.known.made[x][0]][x] = None
        return found

    def too_open(self) -> set[int]:
        """The stretches of which so much is read one by one that they are better off as they are."""
        return {
            loop.stretch
            for loop, found in self.outside().items()
            if 4 * len(found) > loop.end - loop.begin or not all(map(loop.is_closed, found))
        }

    def steps(self) -> Steps:
        """All steps."""
        steps: Steps = []
        at = 0
        outside = self.outside()
        for loop in self.loops:  # which collects what others read, before it is written
            loop.show(outside[loop])
        for loop in self.loops:
            steps += self.program.steps[at : loop.begin]
            steps += loop.steps()
            at = loop.end
        return steps + self.program.steps[at:]
