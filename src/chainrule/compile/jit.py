"""`jit`: run a function once, keep what it did as a program, and run that instead.

A call goes through the programs that there are, the latest hit first.  A program begins with checks of its arguments
and of what the function reads from outside, and checks on its way every decision that was made when it was traced;
where one comes out otherwise it goes on with a branch that was traced so (`variants.py`).  Where nothing fits, the
function runs as it is, and is traced meanwhile.
"""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, MethodType
from typing import Any

import numpy as np

from ..arguments import name_of
from ..errors import MissingExtraError, UntraceableError, UntraceableWarning, is_ours
from ..graph import contexts, watchers
from ..record import only_constant
from ..tree import flatten
from .checks import identities_checked, memory_checked, strides_checked, unpacking
from .inputs import form_of, is_array, is_foreign, is_input
from .limits import CHANGES, DEPTH, VARIANTS, too_many
from .outside import CAPTURES, Outside, Place, plain
from .printed import Exit, Missed
from .runs import Run, looked_at, traced_run, tracing, uncollected
from .trace import ImpureTurnError, Trace
from .trials import Trial, must_agree
from .variants import Unprinted, Variant, begun, branched

__all__ = ["Jitted", "jit"]

ndarray = np.ndarray
LEAVES = (int, float, complex)
UNKNOWN, RAISED = object(), object()
WITHOUT = "It runs without jit from now on"


class Jitted:
    """A function that is traced at its first call, and then runs as straight-line NumPy.

    Attributes
    ----------
    f : the function itself
    """

    def __init__(self, f: Callable[..., Any], exact: bool) -> None:
        functools.update_wrapper(self, f)
        self.f, self.exact = f, exact
        self.given_up = ""
        self._rolls = True  # loops may be one step
        self._first: list[Variant] = []
        self._turns: Counter[Any] = Counter()
        self._refused: dict[Any, str] = {}  # forms of arguments, and why no program is made for them
        self._changes = 0
        self._changing: dict[tuple[int, Any], Any] = {}  # places whose content is an input: `Place.where`, the holder
        self._known: dict[tuple[int, Any], Place] = {}  # numbers and arrays, and where they lay at the last look
        self._foreign: set[str] = set()  # classes of arguments that no program takes
        self._misses: dict[Any, int] = {}  # of caches, at the last look
        self._lock = threading.RLock()

    @property
    def variants(self) -> list[Variant]:
        """One for each kind of arguments and each way through the function."""
        return [variant for first in self._first for variant in first.tree]

    def __call__(self, *args: Any, **options: Any) -> Any:
        if watchers and contexts.debug is not None:
            return self.f(*args, **options)  # so that debug() sees its operations
        missed = kept = None
        programs = self._first  # another thread may put another list there
        for first in programs:
            kept = first.keep(args, options) if first.compares or first.writes else None
            try:
                result = first.printed.function(*args, **options)
            except Exception as error:
                if first.writes and kept is None and isinstance(error, MemoryError):  # what is written is written
                    raise
                result = RAISED
            if result is None:
                continue
            if result is RAISED:  # the function raises it, too, or does something about it
                if kept is not None:
                    kept.put_back()
                value = self.f(*args, **options)
                first.disagreed = True
                return value
            if result.__class__ is Missed:
                if missed is None or result.exit.guard.place > missed.guard.place:
                    missed = result.exit
                if kept is not None:
                    kept.put_back()
                continue
            variant = first if len(result) == 1 else result[1]
            if not variant.settled:
                return self._checked(Trial(self.f, variant, args, options, kept, result[0]))
            if first is not programs[0]:
                self._put_first(first)
            return result[0]
        return self._trace(args, options, missed)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        variants = self.variants
        on_kernels = sum(variant.on_kernels for variant in variants)
        how = self.given_up or f"{len(variants)} variants, {on_kernels} of them on kernels"
        return f"<jit of {getattr(self.f, '__name__', self.f)}: {how}>"

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for name in (path := getattr(self, "__qualname__", "")).split("."):
            found = getattr(found, name, None)
        return path if found is self else (Jitted, (self.f, self.exact))  # a decorated function goes by its name

    def _put_first(self, first: Variant) -> None:
        with self._lock:
            if first in self._first:
                self._first = [first, *(other for other in self._first if other is not first)]

    # -- tracing -----------------------------------------------------------------------------------------------------
    def _trace(self, args: tuple[Any, ...], options: dict[str, Any], missed: Exit | None) -> Any:
        """Run the function, and keep what it does as a program; or just run it, where there can be none."""
        leaves, _, structure = flatten((args, options))
        if (
            self.given_up
            or contexts.singular != "zero"
            or contexts.levels
            or contexts.examples
            or not only_constant()
            or not all(map(is_input, leaves))
        ):
            self._note_foreign(leaves)
            return self.f(*args, **options)
        if why := too_many(missed, self._first, self._turns):
            self._give_up(why)
            return self.f(*args, **options)
        key = structure, bool(contexts.stack), tuple(map(form_of, leaves))
        if key in self._refused:
            return self.f(*args, **options)
        if not tracing.acquire(blocking=False):
            return plain(self.f(*args, **options))  # what stands in for arrays there may come out here
        trace = Trace(self.exact, self._rolls)
        value, outside = UNKNOWN, None
        changed, found = "", []
        try:
            with uncollected():
                outside = self._looked_at(args, options)
                try:
                    run = traced_run(self.f, trace, outside, args, options)
                except ImpureTurnError:
                    trace = Trace(self.exact, rolls=False)
                    run = traced_run(self.f, trace, outside, args, options)
                value, changed, found = run.value, run.changed, run.found
                whole = not changed and not found
                # Only these tell a traced array from another one.
                if ("type" in outside.names or trace.objects.made) and whole:
                    outside.undo()
                    trace.undo()
                    value = self.f(*args, **options)
                    must_agree(run.value, value, self.exact)
                if whole:
                    self._add(key, trace, run, outside, args, options, missed)
        except Exception as error:  # noqa: BLE001 (a fault of the function comes again)
            if value is UNKNOWN:
                value = self.f(*args, **options)  # if the function is at fault, this raises
                if outside is not None:
                    changed, found = outside.put_back()
            if not changed and not found:  # otherwise it may go another way the next time
                why = f"{error}"
                if not isinstance(error, UntraceableError):
                    why = f"what stands for its arrays and numbers makes it raise a {type(error).__name__} ({error})"
                    if trace.objects.made:
                        why += "; write np.stack([a, b]), not np.array([a, b]), an array of objects while traced"
                self._refuse(key, why)
        finally:
            tracing.release()
        self._note(changed, found)
        return value

    def _looked_at(self, args: tuple[Any, ...], options: dict[str, Any]) -> Outside:
        """What the function reads from outside: numbers and arrays that are others than at the last look are inputs."""
        outside = looked_at(self.f, args, options, self._changing)
        for x in outside.caches:
            if (misses := x.cache_info().misses) < self._misses.get(x, 0):
                self._misses[x] = sys.maxsize  # so that this goes for other arguments, too
                self._first = []
                raise UntraceableError(
                    f"it calls {name_of(x)}, whose cache was cleared, since it held what stands for arrays, or by "
                    "somebody else: what it gives now is not seen"
                )
            self._misses[x] = misses
        leaves = {
            place.where: place for place in outside.places if type(place.value) in LEAVES or is_array(place.value)
        }
        known, self._known = self._known, leaves
        others = {x: place for x, place in leaves.items() if x in known and not place.holds(known[x].value)}
        if others.keys() <= self._changing.keys():
            return outside
        self._changing |= {x: place.holder for x, place in others.items()}
        return looked_at(self.f, args, options, self._changing)

    def _note(self, changed: str, found: Sequence[Place]) -> None:
        """Note what a run has changed outside: that will be an input, or it was once too often."""
        self._changing |= {place.where: place.holder for place in found}
        self._changes = self._changes + 1 if changed else 0
        if len(self._changing) > CAPTURES:
            self._give_up(f"it changes more than {CAPTURES} things outside. {WITHOUT}")
        elif self._changes >= CHANGES:
            of_tensor = changed.endswith("of a Tensor")
            instead = "pass that as an argument, and return the new one"
            instead = "write to the array in it: p.data -= step" if of_tensor else instead
            self._give_up(f"it changes {changed}, which comes from outside, in every call. {WITHOUT}; {instead}")

    def _add(
        self, key: Any, trace: Trace, run: Run, outside: Outside, args: Any, options: Any, missed: Exit | None
    ) -> None:
        """Make a variant of a trace: a branch where a program was left, if it goes on from there."""
        with self._lock:
            first = None if missed is None else missed.owner.chain()[0]
            others = self._first
            if missed is not None and first is not None and _are_same(first.places, outside.inputs):
                if missed.owner.depth >= DEPTH:  # one program again, instead of that tree
                    others = [other for other in others if other is not first]
                elif self._branches(missed, trace, run):
                    return
            self._first = [self._begun(key, trace, run, outside, args, options), *others]

    def _branches(self, missed: Exit, trace: Trace, run: Run) -> bool:
        """Let the branches of a decision have one more; whether the trace is one."""
        branch = branched(missed.owner, missed.guard, trace, run.arguments(), run.outputs)
        if branch is None:
            return False
        branch.write = functools.partial(run.write, branch.given)
        branch.compile()
        missed.guard.branches.append(branch)
        branch.provide()
        branch.chain()[0].tree.append(branch)
        branch.count_writes()
        self._turns[missed.guard.line, missed.guard.turn] += 1
        return True

    def _begun(self, key: Any, trace: Trace, run: Run, outside: Outside, args: Any, options: Any) -> Variant:
        """A program of its own."""
        given, places = outside.given, outside.inputs
        first = begun(trace, run.arguments(), run.outputs, self.exact)
        first.given, first.write, first.places = given, functools.partial(run.write, given), places
        first.unpack, first.names_given, first.reached = unpacking(
            self.f, args, options, places, iter(run.traced), given, self.exact
        )
        if outside.compares:
            first.unpack += identities_checked(first.names_given, trace.values, given)
        first.unpack += outside.lines
        first.strides = strides_checked(first.names_given, trace.values)
        first.memory = memory_checked(first.names_given, trace.values, outside.arrays(), given)
        first.printed = Unprinted(functools.partial(self._made, key, first))
        first.count_writes()
        return first

    def _made(self, key: Any, first: Variant) -> Any:
        """The program of a variant, now that there is another call."""
        with self._lock, uncollected():
            if isinstance(first.printed, Unprinted):
                try:
                    first.compile()
                except Exception as error:
                    self._first = [other for other in self._first if other is not first]
                    self._refuse(key, f"{error}")
                    raise
        return first.printed

    # -- checking ------------------------------------------------------------------------------------------------------
    def _checked(self, trial: Trial) -> Any:
        """Compare the first replay of a program with a second run of the function; compile kernels at the next."""
        variant = trial.variant
        with self._lock:
            first, variant.first = variant.first, False
        if not first:
            return self._compile(trial)
        if not tracing.acquire(blocking=False):
            variant.first = True
            return trial.without()
        try:
            again, run = trial.traced()
        except Exception as error:  # noqa: BLE001 (a fault of the function comes again)
            variant.first = True
            value = trial.without()
            self._first = []
            self._give_up(f"{error}. {WITHOUT}")
            return value
        finally:
            tracing.release()
        value, why, of_loops = trial.compared(again, run)
        if why:
            with self._lock:
                self._first = []
            if of_loops:
                self._rolls = False  # the next trace goes turn by turn
            else:
                self._give_up(f"{why}. {WITHOUT}")
        return value

    def _compile(self, trial: Trial) -> Any:
        """Let a variant, or the first one that leads to it, run on kernels, if these give the same result."""
        with self._lock:
            chain = trial.variant.chain()
            each = next((other for other in chain if other.with_kernels is not None), None)
            if each is None or each.with_kernels is None:
                return trial.result
            make, each.with_kernels = each.with_kernels, None
            printed = None
            with suppress(MissingExtraError), uncollected():
                try:
                    printed = make()
                except RuntimeError as error:  # of LLVM
                    self._warn(f"no kernels could be made, its steps are NumPy calls: {error}")
        if printed is not None:
            same = trial.replaced(each, printed)
            if same:
                each.printed, each.on_kernels = printed, True
            elif same is False:
                each.disagreed = True
                self._warn(
                    "its kernels give another result, which rounding does not explain; its steps are NumPy calls"
                )
        trial.variant.settled = all(other.with_kernels is None for other in chain)
        chain[0].count_settled()
        return trial.result

    def _note_foreign(self, leaves: list[Any]) -> None:
        """Warn, once for each class, of arguments that are arrays which no program takes."""
        for leaf in leaves:
            kind = type(leaf), getattr(leaf, "dtype", None)
            if not self.given_up and is_foreign(leaf) and str(kind) not in self._foreign:
                self._foreign.add(str(kind))
                told = f"a {kind[0].__name__}" + (f" of {kind[1]}" if kind[0] is ndarray else "")
                self._warn(
                    f"an argument is {told}, with which it runs without jit: pass np.asarray(x), or what is in it"
                )

    # -- what is not compiled ------------------------------------------------------------------------------------------
    def _refuse(self, key: Any, why: str) -> None:
        """Make no program for arguments of a form; where there are many such forms, it is not the form."""
        self._refused[key] = why
        if len(self._refused) < VARIANTS:
            self._warn(f"{why}. For arguments of this form it runs without jit")
        else:
            self._give_up(f"{why}. {WITHOUT}")

    def _give_up(self, why: str) -> None:
        self.given_up = why
        self._warn(why)

    def _warn(self, what: str) -> None:
        """Warn at the line of the user's program that calls the function."""
        frame: FrameType | None = sys._getframe(1)
        level = 2
        while frame is not None and is_ours(frame.f_globals.get("__name__")):
            frame, level = frame.f_back, level + 1
        warnings.warn(f"jit of {name_of(self.f)}: {what}", UntraceableWarning, stacklevel=level)

    def source(self, *args: Any, **options: Any) -> str:
        """The program that runs for these arguments, as Python; after it, the branches that go on from it.

        The function is called with them, more than once: give it copies of what it writes to.
        """
        self(*args, **options)
        for first in self._first:
            found = first.printed.function(*args, **options)
            if found is not None and found.__class__ is not Missed:
                variant = first if len(found) == 1 else found[1]
                return "\n".join(each.printed.source for each in variant.chain())
        leaves, _, structure = flatten((args, options))
        why = self.given_up or self._refused.get(
            (structure, bool(contexts.stack), tuple(map(form_of, leaves))), "they have not been traced"
        )
        raise UntraceableError(f"jit of {name_of(self.f)} made no program for these arguments: {why}")


def _are_same(places: Sequence[Place], others: Sequence[Place]) -> bool:
    return [place.where for place in places] == [place.where for place in others]


def jit(f: Callable[..., Any], *, exact: bool = False) -> Jitted:
    """Make a function that runs as straight-line NumPy from its second call on.

    Parameters
    ----------
    f : callable
        Of arrays, numbers, and containers of these; may be a transform: ``jit(value_and_grad(loss))``, or a whole
        training step.  Arrays, NumPy scalars and random generators are inputs.  Everything else, Python's numbers
        first of all, is part of the program: another value makes another variant.
    exact : bool, default False
        Whether only such changes are allowed that keep every bit.

    Returns
    -------
    Jitted
        Called like `f`.  ``jitted.source(*args)`` is the program.

    Raises
    ------
    TypeError
        If `f` cannot be called.

    Warns
    -----
    UntraceableWarning
        Once, if the function runs without being compiled: it does something that NumPy's protocols do not show, changes
        containers from outside, takes another way at every call, or differs from run to run (hidden randomness);
        the message says which.

    Notes
    -----
    A trace is a run: ordinary Python decides with concrete values.  Each decision (`if`, `int()`, `str()`) is checked
    in later calls; one that comes out otherwise makes another variant, which goes on from there.  What the function
    reads from outside, globals, closures and what hangs on them, is checked by identity; arrays among it are read anew
    in each call.  Places there that it changes, or others between its calls (parameters, gradients, counters, states)
    are inputs, and results, of the program: ``loss.backward(); optimizer.step()`` is compiled.  Effects that the trace
    does not show happen while tracing only.  Inside other transforms, and on Tensors with history, the function runs as
    it is.

    What is written to, arguments and the state of generators, is kept where the function decides something after
    writing, and put back before another variant is tried.

    Cost: the first call takes as long as `f`, plus some 10 µs for each operation; the second one makes the program, in
    some 30 µs for each, and runs `f` again, to compare.  After that a call takes 1 to 3 µs plus what NumPy takes.
    Memory: the intermediate results of one call are kept for the next.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> step = cr.jit(cr.grad(lambda w, x: np.sum(np.tanh(x @ w))))
    >>> step(np.zeros(2), np.ones((3, 2)))
    array([3., 3.])
    """
    if not callable(f):
        raise TypeError(f"jit takes a function, not a {type(f).__name__}")
    return Jitted(f, exact)
