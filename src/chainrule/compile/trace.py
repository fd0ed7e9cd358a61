"""Tracing: what a function does to arrays, as a list of NumPy calls.

`Traced` is an array that holds a value and writes down every call it goes through.  It stands where an ndarray stands:
as an argument, and as the data of a Tensor.  So everything the engine does with values, in a forward pass, a walk back,
under `vmap`, in a solver, is written down call by call, and what comes out has no Tensor and no node left in it: a
program in plain NumPy.  Values are concrete meanwhile, so ordinary Python decides what it likes; each decision that
depends on a traced value becomes a guard.
"""

from __future__ import annotations

import operator
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dis import opmap
from functools import cache
from math import prod, trunc
from threading import get_ident
from types import FrameType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..errors import UntraceableError, is_ours
from ..graph import contexts, programs
from ..memory import Lease
from ..rules.registry import rules
from ..tensor import Tensor, record, traced_among

__all__ = [
    "ORDERING",
    "Draws",
    "Guard",
    "ImpureTurnError",
    "Line",
    "Method",
    "NotRolledError",
    "Property",
    "Step",
    "Trace",
    "Traced",
    "Var",
    "content",
    "inner",
    "operands",
    "owner",
    "put",
    "value_of",
]

ndarray = np.ndarray
ARRAYS = (ndarray, np.generic)
Line = tuple[str, int]
# What depends on shapes and dtypes alone.
STATIC = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj, np.common_type}
STATIC |= {np.may_share_memory, np.shares_memory}
# The methods of ndarray that write to it.
WRITING = frozenset(["fill", "itemset", "partition", "put", "resize", "sort", "setflags"])
PLAIN = frozenset(["shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags", "device"])
LAID = frozenset(["strides", "flags"])  # what no program checks of its arguments
# What is a view or a copy, depending on how its operand lies in memory.
ORDERING = frozenset(["ravel", "flatten", "reshape"])
# What depends on values, not on shapes.
VALUES_AT_FAULT = (ArithmeticError, np.linalg.LinAlgError)
# What returns as many elements as the values say.
VARYING = frozenset(
    ["nonzero", "flatnonzero", "argwhere", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"]
    + ["extract", "compress", "union1d", "intersect1d", "setdiff1d", "setxor1d", "trim_zeros", "bincount", "ix_"]
    + ["histogram", "histogramdd"]
)
STEADY = frozenset(
    function for name, function in vars(operator).items() if callable(function) and name != "getitem"
) - {operator.getitem}
# Rules that are ways of writing in Python.
WRITTEN: dict[str, Any] = {"getitem": operator.getitem, "mean": np.mean, "sum": np.sum, "where": np.where}
NESTING = frozenset([tuple, list, dict, slice])
SHOWN = frozenset(["T", "mT", "real", "imag"])
METHODS = frozenset(name for name in vars(ndarray) if not name.startswith("_") and callable(getattr(ndarray, name)))


PLAIN_ARRAY = (
    "the function turns an array that is being traced into a plain one (np.asarray, an assignment to an element of a "
    "plain array, a library that does not know NumPy's protocols). Write np.stack([a, b]) instead of np.array([a, b]), "
    "and fill np.zeros_like(x, shape=shape)"
)


class NotRolledError(UntraceableError):
    """A loop cannot be one step: it is written down turn by turn."""


class ImpureTurnError(UntraceableError):
    """A turn of a loop leaves something in Python that another turn reads, so that every turn must be traced."""


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


WRITTEN["astype"] = Method("astype")
# Rules that have SciPy's value to the last bit: the same by NumPy's functions, of which kernels are made.
IN_NUMPY = {f"scipy_{name}": rules[name].value for name in ("logsumexp", "softmax", "log_softmax")}


class Property(Method):
    """A property of an array, as a function."""

    def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
        return getattr(x, self.name)


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


def instruction() -> tuple[int, int]:
    """Which frame asks for what the caller gives, and which instruction in it."""
    frame = sys._getframe(3)
    return id(frame), frame.f_lasti


def compares(frame: FrameType) -> bool:
    """Whether the instruction in this frame is a comparison, and no call."""
    return frame.f_code.co_code[frame.f_lasti] == opmap["COMPARE_OP"]


def users_line() -> Line:
    """File and line of the traced function that called NumPy, or chainrule, now; ("", 0) for what a walk adds."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame.f_globals.get("__name__")):
        if frame.f_code.co_name == "_traced":
            return "", 0
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)


class Trace:
    """The calls of one run, in order.

    Attributes
    ----------
    steps : list of Step and Guard
    captured : by identity, the arrays that were there before or came from calls with nothing traced in them:
        (array, Var, checksum)
    wrote_outside : whether memory that exists before the call was written to
    values : what each value is in this run
    exact, rolls : whether every bit must be kept, and whether loops may be one step
    loud : NumPy's way of warning where nobody has changed it
    takes_objects : whether np.array([x, 2.0]) may be an array of objects
    objects : where NumPy last put a traced number into one: in which frame, by which instruction; None if it has not
    compared : where traced values were compared last, after that
    scopes : the lists of steps that are being written: the program's, and those of the turns of loops in it
    rooms : for how many turns there is room in each loop that does not know their number; as many as in an earlier
        trace, if that is given
    """

    def __init__(self, exact: bool, rolls: bool = True, rooms: Sequence[int] = ()) -> None:
        self.exact, self.rolls, self.known_rooms = exact, rolls, iter(rooms)
        self.rooms: list[int] = []
        self.steps: list[Step | Guard] = []
        self.scopes = [self.steps]
        self.captured: dict[int, tuple[Any, Var, int]] = {}
        self.values: dict[Var, Any] = {}
        self.wrote_outside = False
        self._roots: dict[int, Var] = {}
        self._lying: dict[int, Var] = {}  # by identity, arrays that were there before, whether they are used or not
        self._overwritten: dict[Var, tuple[Any, Any]] = {}
        self._thread: int | None = None  # the only one whose calls are written down
        self._over = False
        self._failed = ""
        self._alive: list[Any] = []  # so that no identity comes twice
        self.loud = np.geterr()
        self.takes_objects = not exact
        self.objects: tuple[int, int] | None = None
        self.compared: tuple[int, int] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run a function that is traced."""
        ignored = set(self.loud.values()) == {"ignore"}  # then another way to ignore, from which the function's differs
        with np.errstate(all="call", call=_nothing) if ignored else nullcontext():
            self.loud = np.geterr()
            programs.append(self)
            contexts.program, self._thread = self, get_ident()
            try:
                yield
            finally:
                self._over, contexts.program = True, None
                programs.remove(self)

    @property
    def elsewhere(self) -> bool:
        """Whether this is not the run that is written down: after it, or in another thread."""
        return self._over or self._thread not in (None, get_ident())

    # -- what goes in ------------------------------------------------------------------------------------------------
    def argument(self, value: Any) -> Any:
        """Stand for an array, a NumPy scalar, a random generator, or a Python number, that is passed in."""
        if isinstance(value, np.random.Generator):
            return traced_generator()(self, value)
        var = Var(value, None)
        if var.python:
            return Number(self, value, var)
        if not var.scalar:
            var = self._placed(value, var)
            var.root.outside = True
        return self.traced(value, var)

    def traced(self, value: Any, var: Var) -> Traced:
        """What stands for a value in the function."""
        self.values[var] = value
        return Traced(self, value, var)

    @contextmanager
    def scope(self) -> Iterator[list[Step | Guard]]:
        """Write what is done inside to a list of its own.  Values made there cannot be used outside."""
        before, self.steps = self.steps, []
        self.scopes.append(self.steps)
        try:
            yield self.steps
        finally:
            self.scopes.pop()
            self.steps = before

    def own(self, value: Any) -> Traced:
        """Stand for an array or NumPy scalar of a turn of a loop."""
        value = np.array(value, order="C") if isinstance(value, ndarray) else value
        var = Var(value, None)
        return self.traced(value, var if var.scalar else self._placed(value, var))

    def _placed(self, value: Any, var: Var) -> Var:
        """Find whose memory a value shows."""
        whose = owner(value)
        var.root = var.home = self._roots.setdefault(id(whose), var)
        self._alive += (value, whose)
        return var

    def from_outside(self, array: Any) -> Traced:
        """Stand for an array that was there before the call."""
        var = self._lying.get(id(array))
        if var is None:
            var = self._lying[id(array)] = self._placed(array, Var(array, array))
            var.root.outside = True
        return self.traced(array, var)

    def as_object(self, x: Traced) -> Any:
        """A number as `np.array([x, 2.0])` takes it.  Whoever meets the array stacks what is in it.

        Of doubles only: numbers of several dtypes would be computed with one by one, instead of in the array's dtype.
        """
        self.objects = instruction()
        found = np.empty((), object)
        found[()] = x
        return found

    def number(self) -> None:
        """Raise if NumPy asks for a number to put it into a plain array: it has asked for an array before."""
        if self.objects and self.objects == instruction():
            raise UntraceableError(PLAIN_ARRAY)

    def comparison(self, decides: bool = False) -> None:
        """Note who compares; raise if that is a loop over objects, where NaN is a number like others."""
        if self.objects:
            place = instruction()
            if decides and self.compared == place and not compares(sys._getframe(2)):
                raise UntraceableError(PLAIN_ARRAY)
            self.compared = None if decides else place

    def may_change(self, what: str) -> None:
        """Raise if arrays of objects may be left in what a run has changed."""
        if what and self.objects:
            raise UntraceableError(f"it changes {what}, and np.array([a, b]) of what is traced is an array of objects")

    def stacked(self, x: Any) -> Any:
        """What is traced in an array of objects, as an array; anything else as it is."""
        if type(x) is not ndarray or not x.dtype.hasobject or not any(type(part) is Traced for part in x.flat):
            return x
        if not all(type(part) in (int, float) or np.result_type(part) == np.double for part in map(value_of, x.flat)):
            raise UntraceableError(PLAIN_ARRAY)
        found = self.apply(np.stack, ([*x.flat],), {})
        return found if x.ndim == 1 else found.reshape(x.shape)

    def _captured(self, array: Any) -> Var:
        known = self.captured.get(id(array))
        if known is None:
            known = self.captured[id(array)] = array, self.from_outside(array).var, checksum(array)
        return known[1]

    def is_from_outside(self, var: Var) -> bool:
        """Whether a value depends on no argument."""
        seen, waiting = {var}, [var]
        for x in waiting:  # grows as it goes
            if x.source is None or x.root.source is None or x.root.written:
                return False
            if isinstance(x.source, Step):
                more = set(operands(*x.source.args, x.source.options)) - seen
                seen |= more
                waiting += more
        return True

    def check(self) -> None:
        """Raise if a run that has come to its end was not what is written down.

        Raises
        ------
        UntraceableError
            If the function goes on after an error, or works in other threads; if an array was used and then changed by
            a call with nothing traced in it, which is not written down.
        """
        if self._failed:
            raise UntraceableError(self._failed)
        for array, var, before in self.captured.values():
            if not var.root.written and checksum(array) != before:
                raise UntraceableError(
                    f"an array of shape {array.shape} was used and then changed by plain NumPy inside of the function"
                )

    # -- what is done --------------------------------------------------------------------------------------------------
    def apply(self, function: Any, args: tuple[Any, ...], options: dict[str, Any], writes: Sequence[Any] = ()) -> Any:
        """Call a function, and write it down.

        Parameters
        ----------
        function : callable
        args, options : with traced arrays in them
        writes : those arguments that it writes to
        """
        if self.elsewhere:
            self._used_elsewhere(args, options)
            return function(*inner(args, value_of), **inner(options, value_of))
        if self.objects:
            args, options = inner(args, self.stacked), inner(options, self.stacked)
        if any(type(x) is ndarray for x in writes):
            if all(isinstance(x, Number) for x in traced_among((args, options))):
                return function(*inner(args, number_of), **inner(options, number_of))
            raise UntraceableError(
                "it writes to a plain array; pass it as an argument, or make it inside of the function from one: "
                "np.zeros_like(x), np.zeros_like(x, shape=shape)"
            )
        roots = tuple({self.var(x).root: None for x in writes})
        if len(self.scopes) > 1 and not all(isinstance(r.source, Step) and r.source in self.steps for r in roots):
            raise NotRolledError("a turn writes to what the next one reads")
        values = inner(args, value_of)
        for x in writes:
            if x.var.root.outside and x.var not in self._overwritten:
                self._overwritten[x.var] = x.value, content(x.value)
        shows_memory = getattr(function, "__name__", "") in ORDERING
        if shows_memory and any(type(x) is str and x in "KA" for x in (*args[1:], *options.values())):
            raise UntraceableError(
                "it asks how an array lies in memory (order='K', 'A'), which may differ in a program"
            )
        try:
            value = function(*values, **inner(options, value_of))
        except (*VALUES_AT_FAULT, ValueError, IndexError) as error:
            if _may_be_of_values(error, function, args):
                name = getattr(function, "__name__", function)
                self._failed = f"it goes on after a {type(error).__name__} of {name}, which other values do not cause"
            raise
        if function in STATIC:
            return value
        if value is None and not writes:
            name = getattr(function, "__name__", function)
            raise UntraceableError(f"{name} returns nothing: what it does instead would not be done in later calls")
        state = np.geterr()
        quiet = state != self.loud
        if quiet and "raise" in state.values():
            raise UntraceableError("it lets NumPy raise floating-point errors (np.errstate), which a kernel would not")
        step = Step(function, inner(args, self.var), inner(options, self.var), quiet, users_line())
        step.writes = roots
        for root in roots:
            root.written = True
            self.wrote_outside |= root.outside
        self.steps.append(step)
        for target in writes:  # the result of out= is that array itself
            if value is value_of(target):
                return target
        result, step.results = self.results(value, step)
        if self._length_varies(step):
            arrays = [var for var in operands(step.results) if not var.scalar]
            self.steps += [Guard(var, "shape", var.shape, step.line) for var in arrays]
        return result

    def _length_varies(self, step: Step) -> bool:
        """Whether the shape of a result depends on values."""
        if isinstance(step.function, np.ufunc) or step.function in STEADY:
            return False
        if (getattr(step.function, "__module__", None) or "").startswith("scipy."):
            return True  # perhaps
        name = getattr(step.function, "__name__", "").strip("_")
        if name == "where":
            return len(step.args) == 1
        chosen = operands(*step.args[1:], step.options)
        return name in VARYING or (name == "repeat" and bool(chosen)) or any(var.dtype == np.bool for var in chosen)

    def results(self, value: Any, step: Step) -> tuple[Any, Any]:
        """What stands for the result of a step in the function, and in the step."""
        if isinstance(value, ARRAYS):
            if value.dtype.hasobject:
                raise UntraceableError(f"{step.function.__name__} gave an array of Python objects")
            var = Var(value, step)
            if not var.scalar:
                self._placed(value, var)
            return self.traced(value, var), var
        if isinstance(value, tuple | list):
            pairs = [self.results(part, step) for part in value]
            parts = [part for part, _ in pairs]
            make = type(value)
            return (make(*parts) if hasattr(value, "_fields") else make(parts)), tuple(var for _, var in pairs)
        if isinstance(value, int | float | complex) and not isinstance(value, bool):
            if isinstance(value, int) and not -(2**63) <= value < 2**64:
                raise UntraceableError(f"{step.function.__name__} gave an integer of more than 64 bits")
            var = Var(value, step)
            return Number(self, value, var), var
        if isinstance(value, bool | str):  # np.allclose, np.array_equal: the program goes by it
            var = Var(np.asarray(value)[()], step)
            self.steps.append(Guard(var, "equal", value, step.line))
            return value, var
        if value is None:
            return None, None
        raise UntraceableError(f"{step.function.__name__} gave a {type(value).__name__}, which is no array")

    def undo(self) -> None:
        """Put back what was in the memory from outside that was written to."""
        for x, before in reversed(self._overwritten.values()):
            put(x, before)

    def _used_elsewhere(self, *several: Any) -> None:
        """Let the run fail if another thread does something with what depends on arguments."""
        if not self._over and not all(map(is_captured, traced_among(several))):
            self._failed = "it works in another thread with an array that is being traced, which is not written down"

    def guard(self, traced: Traced, kind: str, outcome: Any) -> Any:
        """Note a decision."""
        if self.elsewhere:
            self._used_elsewhere(traced)
        else:
            self.steps.append(Guard(self.var(traced), kind, outcome, users_line()))
        return outcome

    def var(self, x: Any) -> Any:
        """What stands in a step for an argument: a Var for an array or a NumPy scalar that is traced."""
        if isinstance(x, FOLLOWED):
            if x.trace is not self:
                raise UntraceableError("an array of another call was stored somewhere and used here")
            if isinstance(x, Traced) and not any(x.scope is scope for scope in self.scopes):
                raise ImpureTurnError("a value of one turn of a loop was stored somewhere and used after the loop")
            return self._captured(x.value) if is_captured(x) else x.var
        if isinstance(x, ndarray):
            return self._captured(x)
        if isinstance(x, Tensor):  # only a constant can come here: others dispatch before
            return self.var(x.data)
        return x


def _may_be_of_values(error: Exception, function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an error of a call may be one of values, and not of shapes."""
    if isinstance(error, VALUES_AT_FAULT):
        return True
    if isinstance(error, np.exceptions.AxisError):
        return False
    if function in (operator.getitem, operator.setitem):
        return any(True for _ in traced_among(args[1:2]))
    if isinstance(function, np.ufunc) or function in STEADY:
        try:
            np.broadcast_shapes(*map(np.shape, args))
        except ValueError:
            return False
    return True


def _nothing(*_: Any) -> None:
    pass


def owner(x: Any) -> Any:
    """What has the memory that an array shows."""
    while type(x) is not Lease and (base := getattr(x, "base", None)) is not None:
        x = base
    return x.obj if isinstance(x, memoryview) else x


def content(x: Any) -> Any:
    """What is in an array, or the state of a generator."""
    return x.copy() if isinstance(x, ndarray) else x.bit_generator.state


def put(x: Any, content: Any) -> None:
    """Let an array, or a generator, hold what it held."""
    if isinstance(x, ndarray):
        x[...] = content
    else:
        x.bit_generator.state = content


def is_captured(x: Any) -> bool:
    """Whether what is traced is an array from outside, and no argument."""
    return isinstance(x, Traced) and type(x.var.source) is ndarray


def checksum(array: Any) -> int:
    """A number that changes with the content."""
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) if array.dtype.kind in "biufc" else 0


def number_of(x: Any) -> Any:
    """What may be a traced number, as a plain one."""
    return x.__array__().item() if isinstance(x, Number) else x


def value_of(x: Any) -> Any:
    """The concrete value of what may be traced."""
    if isinstance(x, Tensor):  # a constant one
        x = x.data
    return x.value if isinstance(x, FOLLOWED) else x


def _operator(function: Any, reflected: bool = False, otherwise: Any = None) -> Any:
    def operate(self: Traced, other: Any) -> Any:
        if isinstance(other, Tensor) or not isinstance(other, OPERANDS):
            return NotImplemented if otherwise is None else otherwise(self, other)
        return self.trace.apply(function, (other, self) if reflected else (self, other), {})

    return operate


def _comparison(function: Any, otherwise: Any) -> Any:
    operate = _operator(function, otherwise=otherwise)

    def compare(self: Traced, other: Any) -> Any:
        self.trace.comparison()
        return operate(self, other)

    return compare


def _unary(function: Any) -> Any:
    return lambda self: self.trace.apply(function, (self,), {})


def _in_place(ufunc: np.ufunc, function: Any) -> Any:
    def operate(self: Traced, other: Any) -> Any:
        if isinstance(other, Tensor):
            return NotImplemented
        if self.var.scalar:
            return self.trace.apply(function, (self, other), {})
        return self.trace.apply(ufunc, (self, other), {"out": (self,)}, [self])

    return operate


class Traced(NDArrayOperatorsMixin):
    """An array, or NumPy scalar, of a trace."""

    __slots__ = ("scope", "trace", "value", "var")
    __array_priority__ = 500.0  # Tensors come first
    written_down = True

    def __init__(self, trace: Trace, value: Any, var: Var) -> None:
        self.trace, self.value, self.var = trace, value, var
        self.scope = trace.steps

    # -- NumPy's protocols ---------------------------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = tuple(options.get("out", ()))
        if any(isinstance(x, Tensor) for x in (*inputs, *out)):
            return NotImplemented
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        writes = [x for x in out if x is not None]
        if method == "at":
            writes = [inputs[0]]
        result = self.trace.apply(function, inputs, options, writes)
        if len(writes) == ufunc.nout > 1:
            return out
        return result

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if any(issubclass(kind, Tensor) for kind in types):
            return NotImplemented
        out = options.get("out")
        writes = [] if out is None else list(out) if type(out) is tuple else [out]
        if function in (np.copyto, np.put, np.putmask, np.place, np.fill_diagonal, np.put_along_axis):
            writes = [args[0] if args else next(iter(options.values()))]
        return self.trace.apply(function, args, options, writes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self.trace.elsewhere or self.trace.is_from_outside(self.var):
            return np.array(self.trace.guard(self, "array", np.array(self.value)), dtype)
        if self.trace.takes_objects and not self.ndim and dtype is None and self.value.dtype == np.double:
            return self.trace.as_object(self)
        raise UntraceableError(PLAIN_ARRAY)

    @property
    def __class__(self) -> Any:
        """Others see the class of the value: their `isinstance(x, np.ndarray)` decides as it does without a trace."""
        asks = sys._getframe(1).f_globals.get("__name__", "chainrule")
        return type(self) if asks.startswith("chainrule") else type(self.value)

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        raise TypeError(f"a traced array stays what it is, and does not become a {kind.__name__}")

    @staticmethod
    def _record(rule: Any, operands: Sequence[Any], rest: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if any(isinstance(x, Tensor) for x in operands):
            return record(rule, operands, rest, options)
        trace = next(x.trace for x in traced_among((operands, rest, options)) if isinstance(x, Traced))
        if rule.name == "identity":
            return operands[0]
        value = WRITTEN.get(rule.name, rule.value)
        return trace.apply(value if trace.exact else IN_NUMPY.get(rule.name, value), (*operands, *rest), options)

    @property
    def data(self) -> Traced:
        """What a Tensor's rules call the plain array: itself."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name in PLAIN:
            if name in LAID and self.var.source is None and not is_ours(sys._getframe(1).f_globals.get("__name__")):
                self.trace.guard(self, "text", (f"str({{}}.{name})", str(getattr(self.value, name))))
            return getattr(self.value, name)
        if name in SHOWN:
            return self.trace.apply(Property(name), (self,), {})
        if name in METHODS:
            return lambda *args, **options: self._method(name, args, options)
        if self.trace.objects and isinstance(function := getattr(np, name, None), np.ufunc):  # of an array of objects
            return lambda *args: self.trace.apply(function, (self, *args), {})
        raise AttributeError(f"a traced array has no attribute {name!r}")

    @property
    def exact(self) -> bool:
        """Whether every bit must be kept: what rules do with plain arrays only, or by their values, is one step."""
        return self.trace.exact

    def step(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call a function that knows no protocol; what it gives is computed by it in later calls, too."""
        return self.trace.apply(function, args, options)

    def _concrete(self, use: str) -> None:
        """Of a Tensor: its value decides something.  What follows from the value says so itself."""

    def _method(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        writes = [self] if name in WRITING else []
        if options.get("out") is not None:
            writes = [options["out"]]
        return self.trace.apply(Method(name), (self, *args), options, writes)

    def __getitem__(self, index: Any) -> Any:
        if self.var.scalar and type(index) is tuple and not index:
            return self
        return self.trace.apply(operator.getitem, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, Tensor):
            value = value.data
        self.trace.apply(operator.setitem, (self, index, value), {}, [self])

    # -- decisions -------------------------------------------------------------------------------------------------
    def __bool__(self) -> bool:
        self.trace.comparison(decides=True)
        return bool(self.trace.guard(self, "bool", bool(self.value)))

    def __int__(self) -> int:
        self.trace.number()
        return int(self.trace.guard(self, "int", int(self.value)))

    def __trunc__(self) -> int:
        return int(self.trace.guard(self, "int", trunc(self.value)))

    def __index__(self) -> int:
        return int(self.trace.guard(self, "index", operator.index(self.value)))

    def __float__(self) -> float:
        self.trace.number()
        return float(self.trace.guard(self, "float", float(self.value)))

    def __complex__(self) -> complex:
        self.trace.number()
        return complex(self.trace.guard(self, "complex", complex(self.value)))

    def item(self, *args: Any) -> Any:
        """Take a number out."""
        return self.trace.apply(Method("item"), (self, *args), {})

    def tolist(self) -> Any:
        """Take the numbers out."""
        self.trace.guard(self, "array", np.array(self.value))
        return self.value.tolist()

    # -- the rest of an array --------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self.value)))

    def __hash__(self) -> int:
        return hash(self.value if isinstance(self.value, ndarray) else self.trace.guard(self, "item", self.value))

    def __round__(self, digits: int | None = None) -> Any:
        return self.trace.apply(round, (self, digits), {})

    def __contains__(self, x: Any) -> bool:
        return bool((self == x).any())

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    # A program may put a text anywhere, so it goes on only where the text is the same.
    def __repr__(self) -> str:
        return str(self.trace.guard(self, "text", ("repr({})", repr(self.value)))[1])

    def __str__(self) -> str:
        return str(self.trace.guard(self, "text", ("str({})", str(self.value)))[1])

    def __format__(self, spec: str) -> str:
        return str(self.trace.guard(self, "text", (f"format({{}}, {spec!r})", format(self.value, spec)))[1])


class Number(Traced):
    """A Python number of a trace: what a generator draws one at a time, and `x.item()`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.value, name)
        if callable(found):
            return lambda *args: self.trace.apply(Method(name), (self, *args), {})
        return self.trace.apply(Property(name), (self,), {})

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.trace.guard(self, "item", self.value), dtype)

    def __hash__(self) -> int:
        return hash(self.trace.guard(self, "item", self.value))


# Python's operators are not NumPy's functions for `**`, and, of complex scalars, for products: they stay what they are.
OPERANDS = (Traced, ndarray, np.generic, int, float, complex, list, tuple)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    _function = getattr(operator, _name)
    setattr(Traced, f"__{_name}__", _operator(_function))
    setattr(Traced, f"__r{_name}__", _operator(_function, reflected=True))
    _ufunc = {"sub": "subtract", "mul": "multiply", "truediv": "divide", "mod": "remainder"}.get(_name, _name)
    _ufunc = {"floordiv": "floor_divide", "pow": "power"}.get(_ufunc, _ufunc)
    setattr(Traced, f"__i{_name}__", _in_place(getattr(np, _ufunc), _function))
    setattr(Number, f"__i{_name}__", _operator(_function))
for _name in ("and", "or", "xor", "lshift", "rshift", "divmod"):  # of Python's numbers they are Python's, too
    _function = getattr(operator, f"__{_name}__", divmod)
    setattr(Number, f"__{_name}__", _operator(_function))
    setattr(Number, f"__r{_name}__", _operator(_function, reflected=True))
    if _function is not divmod:
        setattr(Number, f"__i{_name}__", _operator(_function))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Traced, f"__{_name}__", _unary(getattr(operator, _name)))
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(Traced, f"__{_name}__", _comparison(getattr(operator, _name), getattr(Traced, f"__{_name}__")))


class Draws:
    """What a random generator that is an argument has: its draws are steps, which draw anew in each call."""

    def __init__(self, trace: Trace, value: Any) -> None:
        super().__init__(value.bit_generator)  # type: ignore[call-arg]
        self.trace, self.value = trace, value
        self.var = Var(np.empty(()), None)
        self.var.outside = True

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("trace", "value", "var", "bit_generator"):
            return object.__getattribute__(self, name)
        if name == "spawn":  # which counts what it has spawned, where nothing can put it back
            raise UntraceableError("it spawns random generators; pass them as arguments")
        shuffled = name == "shuffle"
        return lambda *args, **options: self.trace.apply(
            Method(name), (self, *args), options, [self, *(args[:1] if shuffled else ())]
        )


@cache
def traced_generator() -> Any:
    """The class of a traced generator; made when it is first needed, for importing numpy.random takes its time."""
    return type("Draws", (Draws, np.random.Generator), {})


FOLLOWED = (Traced, Draws)
