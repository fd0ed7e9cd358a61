"""`jit`: run a function once, keep what it did as a program, and run that instead.

A call goes through the programs that there are, the latest hit first.  A program begins with checks of its arguments
and of what the function reads from outside, and checks on its way every decision that was made when it was traced;
where one comes out otherwise it goes on with a branch that was traced so (`variants.py`).  Where nothing fits, the
function runs as it is, and is traced meanwhile.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import numpy as np

from ..arguments import name_of
from ..errors import MissingExtraError, UntraceableError, UntraceableWarning
from ..graph import FREED, contexts, watchers
from ..record import only_constant
from ..tensor import Tensor, handle
from ..tree import flatten
from .checks import classes_in, memory_checked, strides_checked, unpacking
from .inputs import data_of, entering, enters, form_of, is_array, is_input, is_written
from .left import mended
from .names import Names
from .outside import CAPTURES, Outside, Place, holds_traced, plain, taken_apart
from .printed import Exit, Missed
from .program import is_fixed
from .replays import Kept, at, reading_watched
from .rounding import agree
from .steps import Var
from .trace import ImpureTurnError, Trace
from .traced import FOLLOWED, value_of
from .variants import Unprinted, Variant, begun, branched, difference
from .writes import numbers_first

__all__ = ["Jitted", "jit"]

ndarray = np.ndarray
VARIANTS = 8  # more than so many for one function, or for one decision: it is not worth it
STEPS = 100_000  # of all variants of a function
DEPTH = 64  # branches that lead to a branch: each is a call inside of a call
CHANGES = 3  # calls in a row in which a function changes what comes from outside: more than filling a cache
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}  # names of what reads it
# Names of what tells an array of objects from one of numbers.
TELLING = {"dtype", "issubdtype", "result_type", "iscomplexobj", "isrealobj", "nan_to_num", "item", "tolist", "tobytes"}
LEAVES = (int, float, complex)
UNKNOWN, RAISED = object(), object()
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
            keeps = first.keeps or (first.writes and "raise" in np.geterr().values())
            kept = Kept.of(first.writes, args, options, first.places) if keeps else None
            try:
                result = first.printed.function(*args, **options)
            except Exception as error:
                if first.writes and kept is None and isinstance(error, MemoryError):  # what is written is written
                    raise
                result = RAISED
            if result is None:
                continue
            if result is RAISED:  # the function raises it, too, or does something about it
                value = self._without(kept, args, options)
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
                return self._checked(variant, result[0], args, options, kept)
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
        leaves, rebuild, structure = flatten((args, options))
        if (
            self.given_up
            or contexts.singular != "zero"
            or contexts.levels
            or contexts.examples
            or not only_constant()
            or not all(map(is_input, leaves))
        ):
            return self.f(*args, **options)
        if why := self._too_many(missed):
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
                    run = self._run(trace, outside, leaves, rebuild)
                except ImpureTurnError:
                    trace = Trace(self.exact, rolls=False)
                    run = self._run(trace, outside, leaves, rebuild)
                value, changed, found = run.value, run.changed, run.found
                whole = not changed and not found
                # Only these tell a traced array from another one.
                if ("type" in outside.names or trace.objects.made) and whole:
                    outside.undo()
                    trace.undo()
                    value = self.f(*args, **options)
                    self._must_agree(run.value, value)
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
                if trace.objects.made and not isinstance(error, UntraceableError):
                    why += "; write np.stack([a, b]), not np.array([a, b]), which is an array of objects while traced"
                self._refused[key] = why
                if len(self._refused) < VARIANTS:
                    self._warn(f"{why}. For arguments of this form it runs without jit")
                else:  # it is not the form
                    self._give_up(f"{why}. It runs without jit from now on")
        finally:
            tracing.release()
        self._changing |= {place.where: place.holder for place in found}
        self._changes = self._changes + 1 if changed else 0
        if len(self._changing) > CAPTURES:
            self._give_up(f"it changes more than {CAPTURES} things outside. It runs without jit from now on")
        elif self._changes >= CHANGES:
            instead = "pass that as an argument, and return the new one"
            if "of a Tensor" in changed:
                instead = "write to the array in it: p.data -= step"
            self._give_up(
                f"it changes {changed}, which comes from outside, in every call. It runs without jit from now on; "
                f"{instead}"
            )
        return value

    def _must_agree(self, traced: Any, value: Any) -> None:
        if not agree(traced, value, self.exact):
            raise UntraceableError("what it does depends on the `type()` of an array, or on its dtype")

    def _outside(self, args: tuple[Any, ...], options: dict[str, Any], changing: Container[Any]) -> Outside:
        """What the function reads from outside, and what arguments lead to that are part of the program."""
        given = Names()
        given.namespace["contexts"] = contexts
        fixed = [leaf for leaf in flatten((args, options))[0] if not enters(leaf)]
        outside = Outside([self.f, *fixed, *classes_in((args, options))], given, changing)
        if not outside.names.isdisjoint(ENVIRONMENT):
            raise UntraceableError("it reads environment variables, which may change: pass what they say")
        if "globals" in outside.names:
            raise UntraceableError("it looks into globals(), where nobody sees what it reads: write the names")
        return outside

    def _looked_at(self, args: tuple[Any, ...], options: dict[str, Any]) -> Outside:
        """The same, where a number or an array that is another one than at the last look is an input."""
        outside = self._outside(args, options, self._changing)
        leaves = {
            place.where: place for place in outside.places if type(place.value) in LEAVES or is_array(place.value)
        }
        known, self._known = self._known, leaves
        others = {x: place for x, place in leaves.items() if x in known and not place.holds(known[x].value)}
        if others.keys() <= self._changing.keys():
            return outside
        self._changing |= {x: place.holder for x, place in others.items()}
        return self._outside(args, options, self._changing)

    def _run(self, trace: Trace, outside: Outside, leaves: list[Any], rebuild: Callable[..., Any]) -> Run:
        """Trace the function; if that fails, everything is as it was."""
        trace.objects.allowed &= outside.names.isdisjoint(TELLING)
        references = sys.getrefcount(trace)
        try:
            outside.stand_in(trace)
            run = self._traced(trace, outside, leaves, rebuild)
            run.changed, run.found = outside.put_back()
            known = {id(leaf) for leaf in run.traced if isinstance(leaf, FOLLOWED)}
            if sys.getrefcount(trace) > references + len(known):
                left = mended(trace, known)
                run.changed = run.changed or left
            trace.objects.must_not_stay_in(run.changed or next((place.told for place in run.found), ""))
        except BaseException:
            outside.put_back()
            outside.undo()
            trace.undo()
            raise
        return run

    def _too_many(self, missed: Exit | None) -> str:
        """Why one more variant is not worth it, if it is not.

        A loop whose length depends on values decides at each turn, and is left once at most in each; so what is counted
        are the branches at one line after so many decisions there.
        """
        if missed is None or missed.guard.kind == "shape":
            what = f"{VARIANTS} variants are not enough" if len(self._first) >= VARIANTS else ""
        elif self._turns[missed.guard.line, missed.guard.turn] >= VARIANTS:
            what = f"{VARIANTS} variants are not enough"
        else:
            many = sum(len(variant.steps) for variant in self.variants) > STEPS
            what = f"variants with more than {STEPS} steps together are not worth it" if many else ""
        return what and what + _for_what(missed)

    def _warn(self, what: str, stacklevel: int = 4) -> None:
        warnings.warn(f"jit of {name_of(self.f)}: {what}", UntraceableWarning, stacklevel=stacklevel)

    def _give_up(self, why: str) -> None:
        self.given_up = why
        self._warn(why, stacklevel=5)

    def _traced(self, trace: Trace, outside: Outside, leaves: list[Any], rebuild: Callable[..., Any]) -> Run:
        traced = [entering(trace, leaf) for leaf in leaves]
        given = rebuild(traced)
        _, _, form = flatten(given)

        def body() -> tuple[list[Any], Callable[..., Any]]:
            found, rebuild_output = taken_apart(self.f(*given[0], **given[1]))
            return list(map(trace.stacked, found)), rebuild_output

        found, rebuild_output = trace.run(body)
        trace.check()
        trace.steps = numbers_first(trace.steps)
        after, _, other = flatten(given)
        if other != form or any(new is not old for new, old in zip(after, traced, strict=True)):
            raise UntraceableError("it changes a container that it is given; let it make a new one, and return that")
        results = [_result(trace, leaf) for leaf in found]
        value = rebuild_output([value for value, _, _ in results])
        outputs, forms = [x for _, x, _ in results], [form for _, _, form in results]
        puts = []
        for place in outside.inputs:
            traced += place.entered
            if (put := place.result()) is not None:
                results = [_result(trace, leaf) for leaf in put[0]]
                outputs += [x for _, x, _ in results]
                puts.append((place, [form for _, _, form in results], put[1]))
        write = functools.partial(_written_out, forms, rebuild_output, puts)
        return Run(value, outputs, write, list(map(data_of, traced)))

    def _add(
        self, key: Any, trace: Trace, run: Run, outside: Outside, args: Any, options: Any, missed: Exit | None
    ) -> None:
        """Make a variant of a trace."""
        arguments, places = run.arguments(), outside.inputs
        written = {i for i, leaf in enumerate(run.traced) if is_written(leaf)}
        with self._lock:
            if missed is not None and [place.where for place in missed.owner.chain()[0].places] != [
                place.where for place in places
            ]:
                missed = None
            if missed is not None and missed.owner.depth < DEPTH:
                branch = branched(missed.owner, missed.guard, trace, arguments, run.outputs)
                if branch is not None:
                    branch.write = functools.partial(run.write, branch.given)
                    branch.compile()
                    missed.guard.branches.append(branch)
                    branch.provide()
                    branch.chain()[0].tree.append(branch)
                    branch.count_writes(written)
                    self._turns[missed.guard.line, missed.guard.turn] += 1
                    return
            given = outside.given
            first = begun(trace, arguments, run.outputs, self.exact)
            first.given, first.write, first.places = given, functools.partial(run.write, given), places
            first.unpack, first.names_given = unpacking(
                self.f, args, options, places, iter(run.traced), given, self.exact
            )
            first.unpack += outside.lines
            first.strides = strides_checked(first.names_given, trace.values)
            first.memory = memory_checked(first.names_given, trace.values, outside.arrays(), given)
            first.printed = Unprinted(functools.partial(self._made, key, first))
            first.count_writes(written)
            others = self._first
            if missed is not None and missed.owner.depth >= DEPTH:  # one program again, instead of that tree
                others = [other for other in others if other is not missed.owner.chain()[0]]
            self._first = [first, *others]

    def _made(self, key: Any, first: Variant) -> Any:
        """The program of a variant, now that there is another call."""
        with self._lock, uncollected():
            if isinstance(first.printed, Unprinted):
                try:
                    first.compile()
                except Exception as error:
                    self._first = [other for other in self._first if other is not first]
                    self._refused[key] = f"{error}"
                    self._warn(f"{error}. For arguments of this form it runs without jit", stacklevel=5)
                    raise
        return first.printed

    # -- checking ------------------------------------------------------------------------------------------------------
    def _checked(
        self, variant: Variant, result: Any, args: tuple[Any, ...], options: dict[str, Any], kept: Kept | None
    ) -> Any:
        """Compare the first replay of a program with a second run of the function; compile kernels at the next."""
        with self._lock:
            first, variant.first = variant.first, False
        if not first:
            return self._compile(variant, result, args, options, kept)
        result, written = (result, None) if kept is None else kept.turn_back(result)
        again = Trace(self.exact, variant.rolls, variant.rooms, variant.careful)
        leaves, rebuild, _ = flatten((args, options))
        if not tracing.acquire(blocking=False):
            variant.first = True
            return self._without(kept, args, options)
        try:
            with uncollected(), np.errstate(all="ignore"):
                changing = {place.where for place in variant.chain()[0].places}
                run = self._run(again, self._outside(args, options, changing), leaves, rebuild)
        except Exception as error:  # noqa: BLE001 (a fault of the function comes again)
            variant.first = True
            value = self._without(kept, args, options)
            self._first = []
            self._give_up(f"{error}. It runs without jit from now on")
            return value
        finally:
            tracing.release()
        known = dict(zip(run.arguments(), variant.chain()[0].arguments, strict=True))
        captured = {var: array for array, var, _ in again.captured.values()}
        changed = run.changed or next((place.told for place in run.found), "")
        where = f"it changes {changed}, which comes from outside" if changed else None
        if where is None and again.rooms == variant.rooms:
            where = difference(variant.path(), variant.captured, again.steps, captured, known)
        value, files = run.value, []
        if where is None:  # otherwise what it did has been done
            if kept is not None:
                kept.put_back()
            with reading_watched() as files:
                value = self.f(*args, **options)
        if files:
            where = f"it reads a file, {at(files[0])}, which a program would not read again"
        if where is None:
            before, after = (value, None) if kept is None else kept.turn_back(value)
            if not agree((result, written), (before, after), self.exact, self._otherwise(variant, args, options, kept)):
                where = "the program that was made of it gives, or writes, something else"
            if kept is not None:
                kept.put_back(after)
        if where is not None:
            with self._lock:
                self._first = []
            if self.exact and variant.has_loops() and not files and not changed:
                self._rolls = False  # the next trace goes turn by turn
                return value
            said = "" if files or changed else "two runs of it differ: "
            self._give_up(f"{said}{where}. It runs without jit from now on")
        return value

    def _otherwise(self, variant: Variant, args: Any, options: Any, kept: Kept | None) -> Callable[[], Any]:
        """What it might give, and write, as well, if its steps were rounded otherwise."""
        printed = functools.cache(variant.otherwise)

        def again() -> Any:
            if kept is not None:
                kept.put_back()
            with suppress(Exception):
                found = printed().function(*args, **options)
                return found and (found[0], kept and kept.now())

        return again

    def _without(self, kept: Kept | None, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run the function itself, after its program."""
        if kept is not None:
            kept.put_back()
        return self.f(*args, **options)

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

    def _compile(
        self, variant: Variant, result: Any, args: tuple[Any, ...], options: dict[str, Any], kept: Kept | None
    ) -> Any:
        """Let a variant, or the first one that leads to it, run on kernels, if these give the same result."""
        with self._lock:
            chain = variant.chain()
            each = next((other for other in chain if other.with_kernels is not None), None)
            if each is None or each.with_kernels is None:
                return result
            make, each.with_kernels = each.with_kernels, None
            printed = None
            with suppress(MissingExtraError), uncollected():
                try:
                    printed = make()
                except RuntimeError as error:  # of LLVM
                    self._warn(f"no kernels could be made, its steps are NumPy calls: {error}", stacklevel=5)
        if printed is not None:
            before, written = (result, None) if kept is None else kept.turn_back(result)
            other = each.tried(printed, lambda: chain[0].chosen().function(*args, **options))
            if other.__class__ is tuple:  # otherwise they do not lead here
                found = (other[0], None) if kept is None else kept.turn_back(other[0])
                again = self._otherwise(variant, args, options, kept)
                if agree(found, (before, written), self.exact, again):
                    each.printed, each.on_kernels = printed, True
                else:
                    each.disagreed = True
                    self._warn(
                        "its kernels give another result, which rounding does not explain; its steps are NumPy calls",
                        stacklevel=5,
                    )
            if kept is not None:
                kept.put_back(written)
        variant.settled = all(other.with_kernels is None for other in chain)
        chain[0].keep_what_is_written()
        return result


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


# -- results -------------------------------------------------------------------------------------------------------
def _result(trace: Trace, each: Any) -> tuple[Any, Any, str]:
    """Of a leaf that the function returns, or puts outside: its value, what stands for it, and how to write it."""
    x, form = each, "{}"
    if isinstance(x, Tensor):
        if x.node is not None and x.node.rule is not FREED:
            raise UntraceableError(
                "the result is a Tensor with history, which a compiled program does not make; differentiate "
                "inside, jit(grad(f)), or call it inside of no_grad()"
            )
        x, form = x.data, "constant_tensor({})" if x.node is None else "freed_tensor({})"
    if isinstance(x, Iterator | Coroutine):
        if hasattr(x, "close"):
            x.close()
        raise UntraceableError(f"the result is a {type(x).__name__}, which does its work after the call")
    if isinstance(x, FOLLOWED):
        value, output = value_of(x), trace.var(x)
    elif isinstance(x, ndarray) and not is_fixed(x):  # made anew in each call
        value, output, form = x.copy("K"), x, form.format("{}.copy('K')")
    elif holds_traced(x):
        raise UntraceableError(
            f"the result has arrays in a {type(x).__name__}, which is no container that jit knows; return them "
            "in tuples, lists, dictionaries or dataclasses"
        )
    else:
        value = output = x
    return (handle(each.node, value) if isinstance(each, Tensor) else value), output, form


def _written_out(
    forms: list[str],
    rebuild: Callable[..., Any],
    puts: list[tuple[Place, list[str], Callable[..., Any]]],
    given: Names,
    texts: list[str],
) -> tuple[list[str], str]:
    """How to write what is put outside, and the result, from how to write the leaves of that."""
    rest = iter(texts)
    result = _returned(given, forms, rebuild, rest)
    return [place.written(given, _returned(given, form, make, rest)) for place, form, make in puts], result


def _returned(given: Names, forms: list[str], rebuild: Callable[..., Any], texts: Iterator[str]) -> str:
    """How to write a container, from how to write its leaves."""
    leaves = [form.format(text) for form, text in zip(forms, texts)]  # noqa: B905 (the rest is of others)
    return _written(rebuild(leaves)) or f"{given.given(rebuild, 'rebuild')}([{', '.join(leaves)}])"


def _written(tree: Any) -> str | None:
    """How to write a container of texts in Python; None if it is not built in."""
    if isinstance(tree, str):
        return tree
    if tree is None:
        return "None"
    if type(tree) not in (dict, list, tuple):
        return None
    parts = [_written(part) for part in (tree.values() if type(tree) is dict else tree)]
    if None in parts:
        return None
    if type(tree) is dict:
        if not all(isinstance(key, str | int) for key in tree):
            return None
        return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(tree, parts, strict=True)) + "}"
    inside = ", ".join(map(str, parts))
    return f"[{inside}]" if type(tree) is list else f"({inside}{',' if len(parts) == 1 else ''})"


def _for_what(missed: Exit | None) -> str:
    """What the variants differ in, and what to write instead."""
    if missed is None:
        return (
            " for the arguments it is called with and for what it reads outside: each shape and dtype, each form of "
            "containers, each of Python's numbers and texts, and each function or object that lies in one place is "
            "one. It runs without jit from now on; numbers that change from call to call are inputs if they are "
            "NumPy's: np.float64(0.1), not 0.1"
        )
    guard = missed.guard
    instead = {
        "text": "return the value, and make a text of it outside",
        "float": "write NumPy's functions, np.sin(x) and not math.sin(x), or take that part out",
        "bool": "write np.where(condition, a, b) or cr.while_loop, or take that part out",
    }.get(guard.kind, "take that part out")
    return (
        f" for the ways it takes by `{guard.kind}` of a value, {at(guard.line)}. "
        f"It runs without jit from now on, where it goes another way; {instead}"
    )
