"""Tracing: what a function does to arrays, as a list of NumPy calls.

What stands for arrays (`traced.py`) passes on what is done to it, and it is done here, and written down.  Everything
the engine does with values, in a forward pass, a walk back, under `vmap`, in a solver, comes through here call by call,
and what comes out has no Tensor and no node left in it: a program in plain NumPy.  Values are concrete meanwhile, so
ordinary Python decides what it likes; each decision that depends on a traced value becomes a guard.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import get_ident
from types import FrameType
from typing import Any

import numpy as np

from ..errors import UntraceableError, is_ours
from ..graph import contexts, programs
from ..tensor import Tensor, traced_among
from .calls import AT_FAULT, STATIC, asks_for_order, calls_back, length_varies, may_be_of_values
from .contents import checksum, content, owner, put
from .objects import PLAIN_ARRAY, ObjectArrays
from .steps import ARRAYS, Guard, Line, Step, Var, function_name, inner, operands
from .traced import FOLLOWED, Number, Traced, is_captured, number_of, traced_generator, value_of

__all__ = ["ImpureTurnError", "NotRolledError", "Trace", "UndecidedError", "users_line"]

ndarray = np.ndarray


class NotRolledError(UntraceableError):
    """A loop cannot be one step: it is written down turn by turn."""


class UndecidedError(NotRolledError):
    """Turns of a loop decide differently."""


class ImpureTurnError(UntraceableError):
    """A turn of a loop leaves something in Python that another turn reads, so that every turn must be traced."""


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
    objects : what becomes of np.array([x, 2.0])
    scopes : the lists of steps that are being written: the program's, and those of the turns of loops in it
    rooms : for how many turns there is room in each loop that does not know their number; as many as in an earlier
        trace, if that is given
    careful : of each loop that is one step: whether it multiplies carefully; as in an earlier trace, if that is given
    lying : says what lies outside of the function now
    """

    def __init__(
        self, exact: bool, rolls: bool = True, rooms: Sequence[int] = (), careful: Sequence[bool] = ()
    ) -> None:
        self.exact, self.rolls, self.known_rooms, self.known_careful = exact, rolls, iter(rooms), iter(careful)
        self.rooms: list[int] = []
        self.careful: list[bool] = []
        self.steps: list[Step | Guard] = []
        self.scopes = [self.steps]
        self.captured: dict[int, tuple[Any, Var, int]] = {}
        self.values: dict[Var, Any] = {}
        self.wrote_outside = False
        self._roots: dict[int, Var] = {}
        self._lying: dict[int, Var] = {}  # by identity, arrays that were there before, whether they are used or not
        self._overwritten: dict[Var, tuple[Any, Any]] = {}
        self._thread = get_ident()  # the only one whose calls are written down
        self._over = False
        self._failed = ""
        self.streams: Any = None  # random numbers that the function must not draw
        self._alive: list[Any] = []  # so that no identity comes twice
        self.loud = np.geterr()
        self.objects = ObjectArrays(allowed=not exact)
        self.lying: Callable[[], list[Any]] = list

    def run(self, f: Callable[[], Any]) -> Any:
        """Call a function, and write down what it does."""
        ignored = set(self.loud.values()) == {"ignore"}  # then another way to ignore, from which the function's differs
        with np.errstate(all="call", call=_nothing) if ignored else nullcontext():
            self.loud = np.geterr()
            programs.append(self)
            contexts.program = self
            try:
                return f()
            finally:
                self._over, contexts.program = True, None
                programs.remove(self)

    @property
    def elsewhere(self) -> bool:
        """Whether this is not the run that is written down: after it, or in another thread."""
        return self._over or self._thread != get_ident()

    # -- what goes in ------------------------------------------------------------------------------------------------
    def argument(self, value: Any) -> Any:
        """Stand for an array, a NumPy scalar, a random generator, or a Python number, that is passed in."""
        if isinstance(value, np.random.Generator):
            return traced_generator()(self, value)
        if type(value) is int and not _is_of_64_bits(value):
            raise UntraceableError("it changes an integer that has more than 64 bits, which no program does")
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
        lay = self.lying()
        try:
            yield self.steps
        finally:
            self.scopes.pop()
            self.steps = before
            lies = self.lying()
            if len(lay) != len(lies) or any(new is not old for new, old in zip(lies, lay, strict=True)):
                raise ImpureTurnError("a turn of a loop changes what lies outside of the function")

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

    def _watched(self, function: Any) -> Any:
        """What a function of others draws from random numbers without a generator, it draws anew in each call."""
        module = getattr(function, "__module__", None) or "numpy"
        ours = self.streams is None or module.partition(".")[0] in ("numpy", "_operator", "chainrule")
        return nullcontext() if ours else self.streams.passing_over()

    def fail(self, why: str) -> None:
        """Let the run fail, whatever the function makes of it."""
        self._failed = why

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
        if self.objects.made:
            args, options = inner(args, self.stacked), inner(options, self.stacked)
        if any(type(x) is ndarray for x in writes):
            return self._into_plain(function, args, options)
        roots = self._written(writes) if writes else ()
        if why := calls_back(function, args, options):
            raise UntraceableError(why)
        if asks_for_order(function, args, options):
            raise UntraceableError(
                "it asks how an array lies in memory (order='K', 'A'), which may differ in a program"
            )
        try:
            with self._watched(function):
                value = function(*inner(args, value_of), **inner(options, value_of))
        except AT_FAULT as error:
            if may_be_of_values(error, function, args):
                what = f"a {type(error).__name__} of {function_name(function)}"
                self._failed = f"it goes on after {what}, which other values do not cause"
            raise
        if function in STATIC:
            return value
        if value is None and not writes:
            raise UntraceableError(
                f"{function_name(function)} returns nothing: what it does instead would not be done in later calls"
            )
        step = Step(function, inner(args, self.var), inner(options, self.var), self.is_quiet(), users_line())
        step.writes = roots
        for root in roots:
            root.written = True
            self.wrote_outside |= root.outside
        self.steps.append(step)
        for target in writes:  # the result of out= is that array itself
            if value is value_of(target):
                return target
        result, step.results = self.results(value, step)
        if length_varies(step):
            arrays = [var for var in operands(step.results) if not var.scalar]
            self.steps += [Guard(var, "shape", var.shape, step.line) for var in arrays]
        return result

    def _into_plain(self, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Let a call write to an array that is not followed: only with numbers, which says so (`Number.__array__`)."""
        if all(isinstance(x, Number) for x in traced_among((args, options))):
            return function(*inner(args, number_of), **inner(options, number_of))
        raise UntraceableError(
            "it writes to a plain array; pass it as an argument, or make it inside of the function from one: "
            "np.zeros_like(x), np.zeros_like(x, shape=shape)"
        )

    def _written(self, targets: Sequence[Any]) -> tuple[Var, ...]:
        """The memory that is about to be written to; what is in it, if it is from outside, is kept for `undo`."""
        roots = tuple({self.var(x).root: None for x in targets})
        if len(self.scopes) > 1 and not all(isinstance(r.source, Step) and r.source in self.steps for r in roots):
            raise NotRolledError("a turn writes to what the next one reads")
        for x in targets:
            if x.var.root.outside and x.var not in self._overwritten:
                self._overwritten[x.var] = x.value, content(x.value)
        return roots

    def is_quiet(self) -> bool:
        """Whether NumPy's floating-point warnings are off now."""
        state = np.geterr()
        quiet = state != self.loud
        if quiet and "raise" in state.values():
            raise UntraceableError("it lets NumPy raise floating-point errors (np.errstate), which a kernel would not")
        return quiet

    def results(self, value: Any, step: Step) -> tuple[Any, Any]:
        """What stands for the result of a step in the function, and in the step."""
        if isinstance(value, ARRAYS):
            if value.dtype.hasobject:
                raise UntraceableError(f"{step.name} gave an array of Python objects")
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
            if isinstance(value, int) and not _is_of_64_bits(value):
                raise UntraceableError(f"{step.name} gave an integer of more than 64 bits")
            var = Var(value, step)
            return Number(self, value, var), var
        if isinstance(value, bool | str):  # np.allclose, np.array_equal: the program goes by it
            var = Var(np.asarray(value)[()], step)
            self.steps.append(Guard(var, "equal", value, step.line))
            return value, var
        if value is None:
            return None, None
        raise UntraceableError(f"{step.name} gave a {type(value).__name__}, which is no array")

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


def _is_of_64_bits(number: int) -> bool:
    return -(2**63) <= number < 2**64


def users_line() -> Line:
    """File and line of the traced function that called NumPy, or chainrule, now; ("", 0) for what a walk adds."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame.f_globals.get("__name__")):
        if frame.f_code is Trace.run.__code__:
            return "", 0
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)


def _nothing(*_: Any) -> None:
    pass
