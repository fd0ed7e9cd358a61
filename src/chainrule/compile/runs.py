"""One run of a function that is written down, with what stands in for what it reads from outside."""

from __future__ import annotations

import functools
import gc
import sys
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UntraceableError
from ..graph import contexts
from ..tree import flatten
from .checks import parts_of_program
from .hidden import Streams
from .inputs import data_of, entering, enters
from .left import mended
from .names import Names
from .outside import Outside, Place, taken_apart
from .results import results, written_out
from .steps import Var
from .trace import Trace
from .traced import FOLLOWED
from .writes import numbers_first

__all__ = ["Run", "looked_at", "traced_run", "tracing", "uncollected"]

LOOKING, FRAMES = {"globals", "eval", "exec"}, {"_getframe", "currentframe"}  # names of what reads others
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}  # names of what reads it
# Names of what tells an array of objects from one of numbers.
TELLING = {"dtype", "issubdtype", "result_type", "iscomplexobj", "isrealobj", "nan_to_num", "item", "tolist", "tobytes"}
tracing = threading.Lock()  # what stands in for arrays from outside does so for one run at a time


@dataclass
class Run:
    """A run that was written down.

    Attributes
    ----------
    value : what it returned
    outputs : what stands for the leaves of that, and of what it put outside
    write : says how to write the result, and what is put outside
    traced : what stood for the leaves of the arguments, and of what was an input from outside
    changed : what it changed of things from outside that no program changes
    found : places outside that it changed as a program can do, once what lies there is an input
    """

    value: Any
    outputs: list[Any]
    write: Callable[[Names, list[str]], tuple[list[str], str]]
    traced: list[Any]
    changed: str = ""
    found: list[Place] = field(default_factory=list)

    def arguments(self) -> list[Var]:
        """What stands for the inputs in the program."""
        return [leaf.var for leaf in self.traced if isinstance(leaf, FOLLOWED)]

    def told(self) -> str:
        """Something from outside that it changed, in words; or ""."""
        return self.changed or next((place.told for place in self.found), "")


def looked_at(
    f: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], changing: Container[Any]
) -> Outside:
    """What the function reads from outside, and what arguments lead to that are part of the program."""
    given = Names()
    given.fixed(contexts=contexts)
    fixed = [leaf for leaf in flatten((args, options))[0] if not enters(leaf)]
    outside = Outside([f, *fixed, *parts_of_program((args, options))], given, changing)
    if not outside.names.isdisjoint(ENVIRONMENT):
        raise UntraceableError("it reads environment variables, which may change: pass what they say")
    if unseen := (LOOKING & outside.builtins) | (FRAMES & outside.names):
        raise UntraceableError(f"it looks by {min(unseen)}() where nobody sees what it reads: write the names")
    return outside


def traced_run(
    f: Callable[..., Any], trace: Trace, outside: Outside, args: tuple[Any, ...], options: dict[str, Any]
) -> Run:
    """Trace the function; if that fails, everything is as it was."""
    trace.objects.allowed &= outside.names.isdisjoint(TELLING)
    trace.streams = Streams(outside.names, (place.value for place in outside.places))
    references = sys.getrefcount(trace)
    try:
        outside.stand_in(trace)
        run = _traced(f, trace, outside, args, options)
        trace.streams.check()
        run.changed, run.found = outside.put_back()
        known = {id(leaf) for leaf in run.traced if isinstance(leaf, FOLLOWED)}
        if sys.getrefcount(trace) > references + len(known):
            left = mended(trace, known)
            run.changed = run.changed or left
        trace.objects.must_not_stay_in(run.told())
    except BaseException:
        outside.put_back()
        outside.undo()
        trace.undo()
        trace.streams.put_back()
        raise
    return run


def _traced(
    f: Callable[..., Any], trace: Trace, outside: Outside, args: tuple[Any, ...], options: dict[str, Any]
) -> Run:
    leaves, rebuild, _ = flatten((args, options))
    traced = [entering(trace, leaf) for leaf in leaves]
    if outside.compares:  # what is passed twice is one thing inside, too
        first = {id(leaf): stands for leaf, stands in zip(reversed(leaves), reversed(traced), strict=True)}
        traced = [first[id(x)] if type(x) is np.ndarray else stands for x, stands in zip(leaves, traced, strict=True)]
    given = rebuild(traced)
    _, _, form = flatten(given)

    def body() -> tuple[list[Any], Callable[..., Any]]:
        found, rebuild_output = taken_apart(f(*given[0], **given[1]))
        return list(map(trace.stacked, found)), rebuild_output

    found, rebuild_output = trace.run(body)
    trace.check()
    trace.steps = numbers_first(trace.steps)
    after, _, other = flatten(given)
    if other != form or any(new is not old for new, old in zip(after, traced, strict=True)):
        raise UntraceableError("it changes a container that it is given; let it make a new one, and return that")
    values, outputs, returned = results(trace, found, rebuild_output)
    value = rebuild_output(values)
    puts = []
    for place in outside.inputs:
        traced += place.entered
        if (put := place.result()) is not None:
            _, more, container = results(trace, *put)
            outputs += more
            puts.append((place, container))
    return Run(value, outputs, functools.partial(written_out, returned, puts), list(map(data_of, traced)))


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python not look for garbage: while a program is made there is none, and ever more objects to look at."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
