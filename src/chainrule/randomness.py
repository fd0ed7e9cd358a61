"""Random numbers that can be drawn again: what `checkpoint` needs to run a function twice and see the same.

The generators in question are those that the function was given, holds (in closures, attributes, defaults, globals it
names), or draws from through chainrule's own functions, which get theirs from `generator`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

__all__ = ["Draws", "generator"]

States = dict[Any, Any]
SEARCHED = 10_000  # objects looked at, at most, for generators that a function holds


class _Running(threading.local):
    def __init__(self) -> None:
        self.stack: list[Draws] = []


_running = _Running()


def generator(rng: Any = None) -> np.random.Generator:
    """Make a generator as `np.random.default_rng` does; inside a checkpoint it can be made again."""
    if not _running.stack:
        return np.random.default_rng(rng)
    found = _running.stack[-1].fresh() if rng is None else np.random.default_rng(rng)
    for draws in _running.stack:
        draws.note(found)
    return found


class Draws:
    """Where a function draws its random numbers from, and what state that was in when it began.

    Parameters
    ----------
    *holders
        The function and its arguments: where to look for generators.
    """

    def __init__(self, *holders: Any) -> None:
        self.first: States = {}
        self._fresh: np.random.Generator | None = None
        for found in _held(holders):
            self.note(found)

    def note(self, source: Any) -> None:
        """Remember the state of a generator that will be drawn from."""
        if source not in self.first:
            self.first[source] = _state(source)

    def fresh(self) -> np.random.Generator:
        """The generator that stands for fresh entropy; a nested one follows from the one around it."""
        if self._fresh is None:
            outer = _running.stack[_running.stack.index(self) - 1] if _running.stack[0] is not self else None
            seed = int(generator_of(outer).integers(2**63)) if outer is not None else None
            self._fresh = np.random.default_rng(seed)
            self.note(self._fresh)
        return self._fresh

    def states(self) -> States:
        """The states as they are now."""
        return {source: _state(source) for source in self.first}

    def set(self, states: States) -> None:
        """Go back; what was not known then had not been drawn from."""
        for source, first in self.first.items():
            _set_state(source, states.get(source, first))

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While the function runs."""
        _running.stack.append(self)
        try:
            yield
        finally:
            _running.stack.remove(self)

    @contextmanager
    def again(self, states: States | None = None) -> Iterator[None]:
        """While the function runs again, from its first states or those given; afterwards everything is as before."""
        now = self.states()
        self.set(self.first if states is None else states)
        try:
            with self.drawing():
                yield
        finally:
            for source, state in now.items():
                _set_state(source, state)


def generator_of(draws: Draws) -> np.random.Generator:
    """The generator for fresh entropy of a checkpoint, noted by all those around it."""
    found = draws.fresh()
    for outer in _running.stack[: _running.stack.index(draws)]:
        outer.note(found)
    return found


def _state(source: Any) -> Any:
    if isinstance(source, np.random.RandomState):
        return source.get_state(legacy=False)
    return source.bit_generator.state


def _set_state(source: Any, state: Any) -> None:
    if isinstance(source, np.random.RandomState):
        source.set_state(state)
    else:
        source.bit_generator.state = state


def _held(holders: Iterable[Any]) -> list[Any]:
    """The generators that can be reached from functions, containers and attributes."""
    found: list[Any] = []
    waiting, seen = list(holders), set[int]()
    for thing in waiting:  # grows as it goes
        if id(thing) in seen or len(seen) > SEARCHED:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.random.Generator | np.random.RandomState):
            found.append(thing)
        elif isinstance(thing, FunctionType):
            waiting += [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
            waiting += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
            for name in _names(thing.__code__):
                known = thing.__globals__.get(name)
                if isinstance(known, FunctionType | np.random.Generator | np.random.RandomState):
                    waiting.append(known)
                elif name == "random":  # np.random.normal(): the one that NumPy's functions share
                    waiting.append(np.random.mtrand._rand)
        elif isinstance(thing, MethodType):
            waiting += [thing.__func__, thing.__self__]
        elif isinstance(thing, functools.partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, list | tuple | set):
            waiting += thing
        elif not isinstance(thing, type | ModuleType | np.ndarray) and hasattr(thing, "__dict__"):
            waiting += vars(thing).values()
            for call in ("__call__", "forward"):  # what runs when an object is called
                method = getattr(type(thing), call, None)
                if isinstance(method, FunctionType):
                    waiting.append(method)
    return found


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (it raises if the variable has no value yet)
    except ValueError:
        return False
    return True


def _names(code: CodeType) -> set[str]:
    """The global and attribute names in a function and those defined in it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
