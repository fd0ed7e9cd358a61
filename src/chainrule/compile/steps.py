"""What a program consists of: values, the calls that make them, and the decisions in between.

A value is a `Var`, which knows its form and whose memory it shows, but no elements: a program is about all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

__all__ = [
    "ARRAYS",
    "NESTING",
    "Guard",
    "Line",
    "Method",
    "Property",
    "Step",
    "Var",
    "function_name",
    "inner",
    "operands",
]

ndarray = np.ndarray
ARRAYS = (ndarray, np.generic)
Line = tuple[str, int]
NESTING = frozenset([tuple, list, dict, slice])


class Var:
    """One value of a program.

    Attributes
    ----------
    shape, dtype : of the value
    scalar : whether it is a NumPy scalar, or a Python number, which nobody can write to
    python : whether it is a Python number, which takes the precision of what it meets
    contiguous : whether its elements lie in C order, one after the other
    source : what gives it: a `Step`, a captured array, or None for an argument
    root : the value whose memory it shows; itself if it has its own
    home : the same as it was traced; passes change `root` where they replace a value by an equal one
    written : of a root: whether its memory is written to
    outside : of a root: whether its memory exists before the call
    """

    __slots__ = (
        "_strides",
        "contiguous",
        "dtype",
        "home",
        "outside",
        "python",
        "root",
        "scalar",
        "shape",
        "source",
        "written",
    )

    def __init__(self, value: Any, source: Any, root: Var | None = None) -> None:
        self.python = not isinstance(value, ARRAYS)
        if self.python:
            value = np.asarray(value)[()]
        self.shape: tuple[int, ...] = value.shape
        self.dtype: np.dtype[Any] = value.dtype
        self.scalar = not isinstance(value, ndarray)
        self.contiguous = self.scalar or value.flags.c_contiguous
        self._strides = value.strides
        self.source = source
        self.root = self.home = self if root is None else root
        self.written = False
        self.outside = False

    @classmethod
    def made(
        cls, shape: tuple[int, ...], dtype: Any, source: Any, root: Var | None = None, scalar: bool = False
    ) -> Var:
        """A value that a pass makes."""
        var = cls.__new__(cls)
        var.shape, var.dtype, var.scalar, var.contiguous, var.python = shape, dtype, scalar, True, False
        var._strides = None
        var.source, var.written, var.outside = source, False, False
        var.root = var.home = var if root is None else root
        return var

    @property
    def strides(self) -> tuple[int, ...]:
        """How many elements lie from one to the next, along each axis."""
        if self.contiguous or self._strides is None:
            return tuple(prod(self.shape[i + 1 :]) for i in range(len(self.shape)))
        return tuple(step // self.dtype.itemsize for step in self._strides)

    def strides_of(self, strides: Sequence[int]) -> None:
        """Say how many elements lie from one to the next."""
        self._strides = tuple(step * self.dtype.itemsize for step in strides)

    @property
    def form(self) -> tuple[tuple[int, ...], Any, bool, bool]:
        """What the value is, but for its elements."""
        return self.shape, self.dtype, self.scalar, self.python

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class Step:
    """One call: `results = function(*args, **options)`.

    Attributes
    ----------
    function : what is called
    args, options : with a `Var` wherever there was a traced or captured array, also inside of lists and tuples
    results : a `Var`, a tuple of them (and of plain values), or None
    writes : the roots that it writes to
    quiet : whether NumPy's floating-point warnings were off
    line : file and line of the user's program that asked for it
    """

    __slots__ = ("args", "function", "line", "options", "quiet", "results", "writes")

    def __init__(self, function: Any, args: tuple[Any, ...], options: dict[str, Any], quiet: bool, line: Line) -> None:
        self.function, self.args, self.options = function, args, options
        self.quiet, self.line = quiet, line
        self.results: Any = None
        self.writes: tuple[Var, ...] = ()

    @property
    def name(self) -> str:
        """What messages and tables call the function."""
        return function_name(self.function)

    def copy(self) -> Step:
        """The same call, for passes to change."""
        other = Step(self.function, self.args, self.options, self.quiet, self.line)
        other.results, other.writes = self.results, self.writes
        return other


class Guard:
    """A decision: the program goes on as traced only if `kind` of the value gives `outcome` again.

    Attributes
    ----------
    var : the value
    kind : "bool", "int" (and so on: what was asked of it), "array" for a whole one, "text" for how it is printed,
        "shape" for one whose length depends on values, "no NaN" for the engine's question whether a gradient must be
        taken again with care, "goes on" for the condition of a loop, in a turn of it
    outcome : what came of it
    line : file and line of the user's program
    place : its number among the steps of the way that was traced
    turn : how often that line had decided something before, on this way
    branches : the variants that go on from here where it does not hold; all copies share the list
    keeps : what these read
    parts : the decisions that it stands for, if they are several
    """

    __slots__ = ("branches", "keeps", "kind", "line", "outcome", "parts", "place", "turn", "var")

    def __init__(self, var: Var, kind: str, outcome: Any, line: Line) -> None:
        self.var, self.kind, self.outcome, self.line = var, kind, outcome, line
        self.place = self.turn = 0
        self.branches: list[Any] = []
        self.keeps: tuple[Var, ...] = ()
        self.parts: tuple[Guard, ...] = ()

    @classmethod
    def of_all(cls, several: Sequence[Guard], found: Var) -> Guard:
        """The question whether none of these has found a NaN; where one has, it is not known which."""
        guard = several[0].copy() if len(several) == 1 else cls(found, "bool", False, several[0].line)
        guard.var, guard.kind, guard.outcome, guard.parts = found, "bool", False, tuple(several)
        if len(several) > 1:
            guard.place = -1
        return guard

    def copy(self) -> Guard:
        """The same decision, for passes to change."""
        other = Guard(self.var, self.kind, self.outcome, self.line)
        other.place, other.turn, other.branches, other.keeps = self.place, self.turn, self.branches, self.keeps
        return other


class Method:
    """A method of an array or a generator, as a function."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name

    def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
        return getattr(x, self.name)(*args, **options)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.name == self.name

    def __hash__(self) -> int:
        return hash((type(self), self.name))


class Property(Method):
    """A property of an array, as a function."""

    def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
        return getattr(x, self.name)


def function_name(function: Any) -> str:
    """What messages and tables call a function."""
    name: str | None = getattr(function, "__name__", None)
    return name or str(function)


def inner(x: Any, change: Callable[[Any], Any]) -> Any:
    """Replace what stands in an argument, also inside of lists, tuples, dictionaries and slices."""
    kind = type(x)
    if kind is tuple:  # what most arguments are: no call for each part
        return tuple([inner(part, change) if type(part) in NESTING else change(part) for part in x])
    if kind is list:
        return [inner(part, change) for part in x]
    if kind is dict:
        return {key: inner(part, change) for key, part in x.items()} if x else {}
    if kind is slice:
        return slice(inner(x.start, change), inner(x.stop, change), inner(x.step, change))
    return change(x)


def operands(*several: Any) -> list[Var]:
    """Every Var in arguments."""
    found: list[Var] = []
    for x in several:
        kind = type(x)
        if kind is Var:
            found.append(x)
        elif kind in NESTING and (x or kind is slice):
            found += operands(*(x.values() if kind is dict else (x.start, x.stop, x.step) if kind is slice else x))
    return found
