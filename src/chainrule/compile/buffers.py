"""Memory that programs keep from call to call: which result is on which buffer, and until when."""

from __future__ import annotations

from typing import Any

from .program import Program, read
from .steps import Guard, Step, Var, operands

__all__ = ["Buffers"]


class Buffers:
    """The buffers of a program, while it is printed; of a turn of a loop, those of the program around it.

    Attributes
    ----------
    forms : of each buffer, shape and dtype
    slots : which buffer a value is on
    last : the last step that reads a value, by whose memory it shows
    until : the last step at which a value on a buffer was there
    """

    def __init__(self, program: Program, around: Buffers | None = None) -> None:
        self.forms: list[tuple[tuple[int, ...], Any]] = [] if around is None else around.forms
        self.until: dict[Var, int] = {} if around is None else around.until
        self._free: dict[Any, list[int]] = {} if around is None else around._free
        self.slots: dict[Var, int] = {}
        self.last: dict[Var, int] = {}
        for i, step in enumerate(program.steps):
            for var in _touched(step):
                self.last[var.root] = i

    def dies(self, x: Var, i: int) -> bool:
        """Whether nobody reads a value after this step."""
        return self.last[x.root] == i

    def slot_for(self, y: Var, dying: list[Var]) -> int:
        """A buffer for a result: that of one of the dying, if it fits."""
        for x in dying:
            if x in self.slots and (x.shape, x.dtype) == (y.shape, y.dtype):
                self.until[x] = self.last[x]
                return self.slots.pop(x)
        return self.room(y.shape, y.dtype)

    def room(self, shape: tuple[int, ...], dtype: Any) -> int:
        """A buffer that nobody uses now."""
        waiting = self._free.get((shape, dtype))
        if waiting:
            return waiting.pop()
        self.forms.append((shape, dtype))
        return len(self.forms) - 1

    def give_back(self, slot: int) -> None:
        """A buffer is free again."""
        self._free.setdefault(self.forms[slot], []).append(slot)

    def release(self, step: Step | Guard, i: int) -> None:
        """Give back what nobody reads after this step."""
        for var in dict.fromkeys(_touched(step)):
            if var.root in self.slots and self.dies(var, i):
                self.until[var.root] = i
                self.give_back(self.slots.pop(var.root))


def _touched(step: Step | Guard) -> list[Var]:
    """The values that a step reads and makes."""
    return [*read(step), *(operands(step.results) if isinstance(step, Step) else ())]
