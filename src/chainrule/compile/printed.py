"""Programs as they are called: compiled when they are first run, and left where a guard does not hold."""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from .steps import Guard, Var

__all__ = ["Exit", "Missed", "Printed", "reaching"]

_numbers = count()


class Printed:
    """A compiled program.

    Attributes
    ----------
    source : str
    function : callable
        Called with the arguments of the user's function, or with `inputs`; returns the result in a tuple, or `Missed`
        where a guard does not hold, or None if the arguments are of another form.
    inputs : tuple of Var
        What a branch reads of the program that it begins in.
    exits : dict
        By the place of its guard: where the program may be left.
    """

    def __init__(self, source: str, namespace: dict[str, Any], inputs: tuple[Var, ...], exits: dict[int, Exit]) -> None:
        self.source, self.inputs, self.exits = source, inputs, exits
        file = f"<jit {next(_numbers)}>"
        exec(compile(source, file, "exec"), namespace)
        linecache.cache[file] = len(source), None, source.splitlines(True), file  # for tracebacks
        weakref.finalize(self, linecache.cache.pop, file, None)
        self.function: Callable[..., Any] = namespace["program"]


def reaching(texts: Sequence[str], namespace: dict[str, Any]) -> Callable[[Any, Any], list[Any]]:
    """A function of the arguments that finds inputs, there and outside, from how to reach each."""
    namespace = dict(namespace)
    exec(f"def reached(args, options):\n    return [{', '.join(texts)}]", namespace)
    found: Callable[[Any, Any], list[Any]] = namespace["reached"]
    return found


class Exit:
    """Where a program is left, because a guard does not hold: the branches that begin here are tried.

    Attributes
    ----------
    guard : Guard
    owner : the variant whose program it is
    """

    def __init__(self, guard: Guard, printer: Any) -> None:
        self.guard, self.owner = guard, printer.variant
        self._printer, self._at = printer, printer.at
        self._names: dict[Printed, list[str] | None] = {}
        self._constants: dict[str, Any] = {}  # that a branch reads by name
        self._missed = Missed(self)

    def __call__(self, values: dict[str, Any]) -> Any:
        """Go on with these values: what a branch returns, and the branch; or that there is none."""
        for branch in self.guard.branches:
            printed = branch.chosen()
            names = self.names(printed)
            if names is None:
                continue
            values |= self._constants
            result = printed.function(*[values[name] for name in names])
            if result is not None:
                return (result[0], branch) if result.__class__ is tuple and len(result) == 1 else result
        return self._missed

    def pending(self) -> list[Guard]:
        """The decisions before this one that this program asks for only later, or not, since later ones answer them."""
        program = self._printer.program
        later = program.steps[self._at + 1 :]
        asked = [part for step in later if isinstance(step, Guard) for part in step.parts or (step,)]
        open_places = {guard.place for guard in (self.guard, *asked)}
        answered = {guard.place: by for guard, by in program.implied.items()}
        for guard, by in program.implied.items():
            while by in answered:
                by = answered[by]
            if by in open_places:
                asked.append(guard)
        return [guard for guard in asked if guard.place < self.guard.place]

    def constant(self, var: Var) -> Any:
        """What this value always is, if the program that is left computed it beforehand; otherwise None."""
        return self._printer.program.captured.get(self._printer.program.now(var))

    def names(self, printed: Printed) -> list[str] | None:
        """How the program that is left calls what this one reads; None if it has something of that no more."""
        if printed not in self._names:
            names = [self._name(var) for var in printed.inputs]
            self._names[printed] = None if None in names else names  # type: ignore[assignment]
        return self._names[printed]

    def _name(self, var: Var) -> str | None:
        printer = self._printer
        var = printer.program.now(var)
        if var in printer.program.captured and var in printer.names:
            self._constants[printer.names[var]] = printer.program.captured[var]
        there = printer.made_at.get(var, -1) < self._at <= printer.buffers.until.get(var.root, self._at)
        return printer.names.get(var) if there else None


class Missed:
    """Returned by a program where a guard does not hold, and no branch goes on from there."""

    def __init__(self, exit: Exit) -> None:
        self.exit = exit
