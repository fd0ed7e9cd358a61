"""`jit`: run a function once, keep what it did as a program, and run that instead.

A call goes through the variants that there are, the latest hit first.  A variant begins with checks of its arguments
and of what the function reads from outside, and checks on its way every decision that was made when it was traced.
Where no variant fits, the function runs as it is, and is traced meanwhile.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import linecache
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..arguments import name_of
from ..errors import MissingExtraError, StructureError, UntraceableError, UntraceableWarning, is_ours
from ..graph import contexts, programs
from ..tensor import Tensor, handle
from ..tree import flatten
from .fuse import Fused, fused
from .loops import REORDERING
from .printing import Missed, Names, Printed, print_program
from .program import Program, expanded, key_of, simplified
from .trace import Draws, Guard, Line, Step, Trace, Traced, Var, inner, operands, value_of

__all__ = ["Jitted", "jit"]

ndarray = np.ndarray
NUMBERS = (int, float, complex, bool)
VARIANTS = 8  # more than so many for one function: it is not worth it
UNKNOWN = object()
READING = {"open", "input", "fromfile", "read", "readline", "readlines", "readinto"}
CAPTURES = 2000  # things that a function may read from outside


class Variant:
    """One program for one kind of arguments and one way through the function."""

    def __init__(self, printed: Printed, first: Snapshot, with_kernels: Callable[[], Printed | None]) -> None:
        self.run = printed.function
        self.printed = printed
        self.first: Snapshot | None = first  # until the program has been checked against a second run
        self.with_kernels: Callable[[], Printed | None] | None = with_kernels  # until they are compiled, or refused
        self.disagreed = False  # whether kernels gave something else than rounding explains; they are not used then
        self.settled = False  # whether nothing of this is left to do
        # Leaves of the arguments that it writes to: their content is kept until it is clear that the call counts.
        self.writes: tuple[int, ...] = ()
        self.decides_late = False  # whether it asks something after having written


class Jitted:
    """A function that is traced at its first call, and then runs as straight-line NumPy.

    Attributes
    ----------
    f : the function itself
    variants : list of Variant
        One for each kind of arguments and each way through the function.
    """

    def __init__(self, f: Callable[..., Any], exact: bool) -> None:
        functools.update_wrapper(self, f)
        self.f, self.exact = f, exact
        self.variants: list[Variant] = []
        self.given_up = ""
        self._refused: set[Any] = set()
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **options: Any) -> Any:
        missed = kept = None
        for variant in self.variants:
            if variant.writes:
                kept = Kept.of(variant.writes, args, options)
            result = variant.run(*args, **options)
            if result is None:
                continue
            if result.__class__ is Missed:
                missed = result.guard
                if variant.writes and kept is not None:
                    kept.put_back()
                continue
            if not variant.settled:
                return self._checked(variant, result[0], args, options, kept)
            if variant is not self.variants[0]:
                self._put_first(variant)
            return result[0]
        return self._trace(args, options, missed)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<jit of {getattr(self.f, '__name__', self.f)}: {len(self.variants)} variants>"

    def __reduce__(self) -> Any:
        return Jitted, (self.f, self.exact)

    def _put_first(self, variant: Variant) -> None:
        with self._lock:
            if variant in self.variants:
                others = [other for other in self.variants if other is not variant]
                self.variants = [variant, *others]

    # -- tracing -----------------------------------------------------------------------------------------------------
    def _trace(self, args: tuple[Any, ...], options: dict[str, Any], missed: Guard | None) -> Any:
        leaves, rebuild, structure = flatten((args, options))
        if (
            self.given_up
            or contexts.singular != "zero"
            or contexts.levels
            or contexts.stack
            or not all(map(_is_input, leaves))
        ):
            return self.f(*args, **options)
        if len(self.variants) >= VARIANTS:
            self._give_up(_too_many(missed))
            return self.f(*args, **options)
        key = structure, tuple(map(_form, leaves))
        if key in self._refused:
            return self.f(*args, **options)
        trace = Trace()
        value = UNKNOWN
        try:
            value, program, result, traced = self._traced(trace, leaves, rebuild)
            variant = self._compiled(trace, program, result, traced, args, options)
        except Exception as error:
            if value is UNKNOWN:
                if trace.wrote_outside:
                    raise UntraceableError(
                        f"jit cannot trace {name_of(self.f)}: {error}. It had written to memory from outside by then, "
                        "so that it cannot be run again; call it without jit, or let it return what it writes"
                    ) from error
                value = self.f(*args, **options)  # if the function is at fault, this raises
            self._refused.add(key)
            self._warn(f"{error}. For arguments of this form it runs without jit")
            return value
        with self._lock:
            self.variants = [variant, *self.variants]
        return value

    def _warn(self, what: str) -> None:
        warnings.warn(f"jit of {name_of(self.f)}: {what}", UntraceableWarning, stacklevel=4)

    def _give_up(self, why: str) -> None:
        self.given_up = why
        self._warn(why)

    def _traced(self, trace: Trace, leaves: list[Any], rebuild: Callable[..., Any]) -> tuple[Any, Program, Any, Any]:
        traced = [_entering(trace, leaf) for leaf in leaves]
        args, options = rebuild(traced)
        programs.append(trace)
        try:
            found, rebuild_output, _ = flatten(self.f(*args, **options))
        finally:
            programs.remove(trace)
        trace.check_captured()
        names, outputs, values = [], [], []
        for each in found:
            x = each
            if isinstance(x, Tensor):
                if x.node is not None:
                    raise UntraceableError(
                        "the result is a Tensor with history, which a compiled program does not make; differentiate "
                        "inside: jit(grad(f))"
                    )
                names.append("constant_tensor({})")
                x = x.data
                values.append(handle(None, value_of(x)))
            else:
                names.append("{}")
                values.append(value_of(x))
            outputs.append(x.var if isinstance(x, Traced | Draws) else x)
        program = Program(trace, outputs)

        def write(texts: list[str]) -> str:
            texts = [name.format(text) for name, text in zip(names, texts, strict=True)]
            return _written(rebuild_output(texts)) or f"rebuild([{', '.join(texts)}])"

        return rebuild_output(values), program, (write, rebuild_output), traced

    def _compiled(
        self, trace: Trace, program: Program, result: Any, traced: list[Any], args: Any, options: Any
    ) -> Variant:
        given = Names()
        given.namespace["contexts"] = contexts
        unpack, names = _unpacking(self.f, args, options, iter(traced), given)
        unpack += _outside(self.f, [leaf for leaf in flatten((args, options))[0] if not _is_array(leaf)], given)
        snapshot = Snapshot(trace)
        program = simplified(program, () if self.exact else REORDERING)
        write, given.namespace["rebuild"] = result

        def with_kernels() -> Printed | None:
            whole = program if self.exact else expanded(program, REORDERING)
            steps = fused(whole, self.exact)
            if not any(isinstance(step, Fused) for step in steps):
                return None
            return print_program(whole.with_steps(steps), unpack, names, write, given, self.exact)

        variant = Variant(print_program(program, unpack, names, write, given, self.exact), snapshot, with_kernels)
        variant.writes = tuple(i for i, leaf in enumerate(traced) if _is_written(leaf))
        writing = [i for i, step in enumerate(program.steps) if isinstance(step, Step) and _writes_outside(step)]
        variant.decides_late = any(isinstance(step, Guard) for i in writing[:1] for step in program.steps[i:])
        return variant

    # -- checking ------------------------------------------------------------------------------------------------------
    def _checked(
        self, variant: Variant, result: Any, args: tuple[Any, ...], options: dict[str, Any], kept: Kept | None
    ) -> Any:
        """Compare the first replay of a program with a second run of the function; compile kernels at the next."""
        first, variant.first = variant.first, None
        if first is None:
            return self._compile(variant, result, args, options, kept)
        if kept is not None:
            result, written = kept.turn_back(result)
        again = Trace()
        leaves, rebuild, _ = flatten((args, options))
        value, _, _, _ = self._traced(again, leaves, rebuild)
        where = first.difference(Snapshot(again))
        if kept is not None:
            kept.put_back()
        with reading_watched() as files:
            value = self.f(*args, **options)
        if files:
            where = f"it reads a file, {_at(files[0])}, which a program would not read again"
        if where is None and not _agree(result, value, self.exact):
            where = "the program that was made of it gives another result"
        if where is None and kept is not None and not _agree(written, kept.now(), self.exact):
            where = "the program that was made of it writes something else"
        if where is not None:
            with self._lock:
                self.variants = []
            said = "" if files else "two runs of it differ: "
            self._give_up(f"{said}{where}. It runs without jit from now on")
        return value

    def source(self, *args: Any, **options: Any) -> str:
        """The program that runs for these arguments, as Python.

        The function is called with them, more than once: give it copies of what it writes to.
        """
        self(*args, **options)
        for variant in self.variants:
            found = variant.run(*args, **options)
            if found is not None and found.__class__ is not Missed:
                return variant.printed.source
        raise UntraceableError(f"jit of {name_of(self.f)} made no program for these arguments. {self.given_up}")

    def _compile(
        self, variant: Variant, result: Any, args: tuple[Any, ...], options: dict[str, Any], kept: Kept | None
    ) -> Any:
        """Let a variant run on kernels, if these give the same result."""
        with self._lock:
            make, variant.with_kernels = variant.with_kernels, None
        if make is None:
            return result
        printed = None
        with suppress(MissingExtraError):
            printed = make()
        if printed is not None:
            before = result
            if kept is not None:
                before, written = kept.turn_back(result)
            other = printed.function(*args, **options)
            good = other.__class__ is tuple and _agree(other[0], before, self.exact)
            if good and (kept is None or _agree(written, kept.now(), self.exact)):
                variant.run, variant.printed = printed.function, printed
            else:
                variant.disagreed = True
            if kept is not None:
                kept.put_back(written)
        if not variant.decides_late:
            variant.writes = ()
        variant.settled = True
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
    UntraceableError
        When called: if the function cannot be traced, and has written to memory from outside.

    Warns
    -----
    UntraceableWarning
        Once, if the function runs without being compiled: it does something that NumPy's protocols do not show, takes
        another way at every call, or differs from run to run (hidden randomness); the message says which.

    Notes
    -----
    A trace is a run: ordinary Python decides with concrete values.  Each decision (`if`, `int()`, `str()`) is checked
    in later calls; one that comes out otherwise makes another variant.  What the function reads from outside, globals
    and closures, is checked by identity; arrays among it are read anew in each call.  Effects happen while tracing
    only.  Inside other transforms, and on Tensors with history, the function runs as it is.

    What is written to, arguments and the state of generators, is kept where the function decides something after
    writing, and put back before another variant is tried.

    Cost: the first call takes about twice as long as `f`, plus some 20 µs for each operation; the second one also runs
    `f` again, to compare.  After that a call takes 1 to 3 µs plus what NumPy takes.  Memory: the intermediate results
    of one call are kept for the next.

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


# -- arguments -----------------------------------------------------------------------------------------------------
def _is_input(leaf: Any) -> bool:
    """Whether a leaf can be an input or a part of the program; a Tensor with history cannot."""
    if isinstance(leaf, Tensor):
        return type(leaf) is Tensor and leaf.node is None and isinstance(leaf.data, ndarray | np.generic)
    if hasattr(leaf, "__array_function__") and not _is_array(leaf):  # of another library, of objects, of dates, ...
        return False
    return not isinstance(leaf, Traced | Draws)


def _is_array(leaf: Any) -> bool:
    return (type(leaf) is ndarray and leaf.dtype.kind in "biufc") or (
        isinstance(leaf, np.generic) and leaf.dtype.kind in "biufc"
    )


def _form(leaf: Any) -> Any:
    """What of a leaf decides whether tracing it was tried before."""
    if hasattr(leaf, "shape"):
        return type(leaf), leaf.shape, leaf.dtype
    try:
        hash(leaf)
    except TypeError:
        raise StructureError(
            f"jit: an argument is a {type(leaf).__name__}, which is part of the program and must be hashable. Pass "
            "arrays in lists, tuples and dictionaries"
        ) from None
    return leaf


def _entering(trace: Trace, leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return handle(None, trace.argument(leaf.data))
    if _is_array(leaf) or isinstance(leaf, np.random.Generator):
        return trace.argument(leaf)
    return leaf


def _all(args: Any, options: Any) -> list[Any]:
    return flatten((args, options))[0]


def _unpacking(
    f: Any, args: tuple[Any, ...], options: dict[str, Any], traced: Iterator[Any], given: Names
) -> tuple[list[str], dict[Var, str]]:
    """Lines that check the form of the arguments and assign those that are inputs."""
    names: dict[Var, str] = {}
    lines: list[str] = []

    def check(condition: str) -> None:
        lines.append(f"if {condition}: return None")

    def visit(x: Any, text: str, name: str) -> None:
        if x is None:
            check(f"{text} is not None")
        elif isinstance(x, dict):
            check(
                f"{text}.__class__ is not {given.given(type(x), type(x).__name__)} "
                f"or tuple({text}) != {given.given(tuple(x), 'keys')}"
            )
            for key, part in x.items():
                visit(
                    part,
                    f"{text}[{key!r}]" if isinstance(key, str | int) else f"{text}[{given.given(key, 'key')}]",
                    f"{name}_{key}",
                )
        elif type(x) in (list, tuple) or (isinstance(x, tuple) and hasattr(x, "_fields")):
            check(f"{text}.__class__ is not {given.given(type(x), type(x).__name__)} or len({text}) != {len(x)}")
            for i, part in enumerate(x):
                visit(part, f"{text}[{i}]", f"{name}_{x._fields[i] if hasattr(x, '_fields') else i}")
        elif dataclasses.is_dataclass(x) and not isinstance(x, type):
            check(f"{text}.__class__ is not {given.given(type(x), type(x).__name__)}")
            for field in dataclasses.fields(x):
                visit(getattr(x, field.name), f"{text}.{field.name}", f"{name}_{field.name}")
        else:
            leaf(x, text, name, next(traced))

    def leaf(x: Any, text: str, name: str, entered: Any) -> None:
        if isinstance(x, Tensor):
            check(f"{text}.__class__ is not {given.given(Tensor, 'Tensor')} or {text}.node is not None")
            leaf(x.data, f"{text}.data", name, entered.data)
            return
        if not isinstance(entered, Traced | Draws):
            constant(x, text)
            return
        name = given.fresh(name)
        names[entered.var] = name
        lines.append(f"{name} = {text}")
        kind = given.given(type(x), type(x).__name__)
        if isinstance(x, ndarray):
            dtype = given.given(x.dtype, x.dtype.name)
            check(f"{name}.__class__ is not {kind} or {name}.shape != {x.shape} or {name}.dtype is not {dtype}")
        else:
            check(f"{name}.__class__ is not {kind}")

    def constant(x: Any, text: str) -> None:
        if type(x) in NUMBERS or isinstance(x, str | bytes):
            known = given.given(x, "static")
            check(f"{text} is not {known} and not same({text}, {known})")
        else:
            check(f"{text} is not {given.given(x, 'static')}")

    given.namespace["same"] = same
    given.namespace["constant_tensor"] = functools.partial(handle, None)
    check("contexts.singular != 'zero'")
    check(f"len(args) != {len(args)} or " + (f"tuple(options) != {tuple(options)!r}" if options else "options"))
    for i, (name, arg) in enumerate(zip(_argument_names(f, len(args)), args, strict=True)):
        visit(arg, f"args[{i}]", name)
    for name, arg in options.items():
        visit(arg, f"options[{name!r}]", name)
    return [
        "try:",
        *("    " + line for line in lines),
        "except (AttributeError, KeyError, IndexError, TypeError):",
        "    return None",
    ], names


def same(a: Any, b: Any) -> bool:
    """Whether two Python numbers or texts are the same to a program: 1 is not 1.0, and 0.0 not -0.0."""
    return type(a) is type(b) and (a == b or a != a) and repr(a) == repr(b)


def _argument_names(f: Any, n: int) -> list[str]:
    try:
        names = [
            p.name
            for p in inspect.signature(f).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return [*names[:n], *(f"argument_{i}" for i in range(len(names), n))]


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


# -- what the function reads from outside --------------------------------------------------------------------------
def _outside(f: Any, statics: list[Any], given: Names) -> list[str]:
    """Lines that check that globals, closure cells and what hangs on them are the same objects as before."""
    lines: list[str] = []
    seen: set[int] = set()
    waiting: list[tuple[Any, str]] = []

    def check(x: Any, text: str) -> None:
        if isinstance(x, ModuleType):
            return
        if len(seen) > CAPTURES:
            raise UntraceableError(f"it reads more than {CAPTURES} things from outside, which are too many to check")
        known = given.given(x, "read")
        if type(x) in NUMBERS or isinstance(x, str):
            lines.append(f"if {text} is not {known} and not same({text}, {known}): return None")
        else:
            lines.append(f"if {text} is not {known}: return None")
        if id(x) not in seen:
            seen.add(id(x))
            waiting.append((x, known))

    def look(x: Any, text: str) -> None:
        if isinstance(x, FunctionType):
            if _is_installed(x.__module__) or is_ours(x.__module__):
                return
            for name in sorted(_names_in(x.__code__)):
                if name in x.__globals__:
                    check(x.__globals__[name], f"{given.given(x.__globals__, 'globals_')}[{name!r}]")
            for cell in x.__closure__ or ():
                if _filled(cell):
                    check(cell.cell_contents, f"{given.given(cell, 'cell')}.cell_contents")
        elif isinstance(x, MethodType):
            check(x.__func__, f"{text}.__func__")
            check(x.__self__, f"{text}.__self__")
        elif isinstance(x, functools.partial):
            for part in (x.func, *x.args, *x.keywords.values()):
                look_inside(part)
        elif isinstance(x, Tensor):
            if type(x) is Tensor:
                check(x.data, f"{text}.data")
                check(x.node, f"{text}.node")
        elif isinstance(x, dict):
            lines.append(f"if len({text}) != {len(x)}: return None")
            for key, part in x.items():
                if isinstance(key, str | int):
                    check(part, f"{text}.get({key!r})")
        elif isinstance(x, list | tuple):
            lines.append(f"if len({text}) != {len(x)}: return None")
            for i, part in enumerate(x):
                check(part, f"{text}[{i}]")
        elif hasattr(x, "f") and hasattr(x, "settings"):  # of a transform
            look_inside(x.f)
        elif not isinstance(x, type) and not _is_installed(type(x).__module__):
            for name, part in getattr(x, "__dict__", {}).items():
                if not name.startswith("__"):
                    check(part, f"{text}.__dict__.get({name!r})")

    def look_inside(x: Any) -> None:
        if id(x) not in seen:
            seen.add(id(x))
            waiting.append((x, given.given(x, "read")))

    for x in (f, *statics):
        look_inside(x)
    for x, text in waiting:  # grows as it goes
        look(x, text)
    return (
        [
            "try:",
            *("    " + line for line in lines),
            "except (AttributeError, KeyError, ValueError):",
            "    return None",
        ]
        if lines
        else []
    )


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether a module is a library's, which does not change between two calls: Python's own or an installed one."""
    name = (module or "").partition(".")[0]
    if name in ("chainrule", "__main__", ""):  # models are ours, and hold the user's parameters
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or file.startswith(_libraries())


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Where installed modules are; asked for late, since Python takes its time to answer."""
    return tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def _names_in(code: CodeType) -> set[str]:
    """The names a function looks up, also in the functions written inside of it."""
    return set(code.co_names).union(*(_names_in(c) for c in code.co_consts if isinstance(c, CodeType)))


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


# -- writing ---------------------------------------------------------------------------------------------------------
def _is_written(leaf: Any) -> bool:
    """Whether a traced argument was written to."""
    leaf = leaf.data if isinstance(leaf, Tensor) else leaf
    return isinstance(leaf, Traced | Draws) and leaf.var.root.written


def _writes_outside(step: Step) -> bool:
    return any(root.outside for root in step.writes)


class Kept:
    """What arguments held before a call that writes to them.

    Attributes
    ----------
    leaves : arrays and generators
    before : their content
    """

    def __init__(self, leaves: list[Any]) -> None:
        self.leaves = leaves
        self.before = self.now()

    @classmethod
    def of(cls, numbers: tuple[int, ...], args: Any, options: Any) -> Kept | None:
        """Keep these leaves; None if the arguments are of another form."""
        leaves = _all(args, options)
        if len(leaves) <= numbers[-1]:
            return None
        chosen = [leaf.data if isinstance(leaf, Tensor) else leaf for leaf in map(leaves.__getitem__, numbers)]
        return cls(chosen) if all(isinstance(leaf, ndarray | np.random.Generator) for leaf in chosen) else None

    def now(self) -> list[Any]:
        """What they hold now."""
        return [leaf.copy() if isinstance(leaf, ndarray) else leaf.bit_generator.state for leaf in self.leaves]

    def put_back(self, contents: list[Any] | None = None) -> None:
        """Let them hold what they held before, or these contents."""
        for leaf, content in zip(self.leaves, self.before if contents is None else contents, strict=True):
            if isinstance(leaf, ndarray):
                leaf[...] = content
            else:
                leaf.bit_generator.state = content

    def turn_back(self, result: Any) -> tuple[Any, list[Any]]:
        """Put back what was there before; a copy of the result, which may show that memory, and what was in it."""
        leaves, rebuild, _ = flatten(result)
        copies = [leaf.copy() if isinstance(leaf, ndarray) else leaf for leaf in leaves]
        written = self.now()
        self.put_back()
        return rebuild(copies), written


# -- comparing -----------------------------------------------------------------------------------------------------
@contextmanager
def reading_watched() -> Iterator[list[Line]]:
    """The lines that open or read files, or ask the user, while this runs: what comes in there may be different later.

    It comes in by a call of C code, which only a profiler's hook sees.
    """
    lines: list[Line] = []

    def hook(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ in READING:
            stream = isinstance(getattr(what, "__self__", None), io.IOBase)
            inside: FrameType | None = frame
            while inside is not None and _is_installed(inside.f_globals.get("__name__")):
                if inside.f_globals["__name__"] in ("linecache", "importlib._bootstrap_external"):
                    return  # of a traceback, of a module
                inside = inside.f_back
            if inside is not None and (stream or what in (open, input, np.fromfile)):
                lines.append((inside.f_code.co_filename, inside.f_lineno))

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        yield lines
    finally:
        sys.setprofile(before)


class Snapshot:
    """What a trace did, for comparing it with another run.

    Attributes
    ----------
    steps : list of (what was done, line)
    captured : list of arrays that were read
    """

    def __init__(self, trace: Trace) -> None:
        self.captured = [array for array, _, _ in trace.captured.values()]
        numbers: dict[Var, int] = {}

        def number(x: Any) -> Any:
            return numbers.setdefault(x, len(numbers)) if type(x) is Var else x

        self.steps: list[tuple[Any, Line, str]] = []
        for step in trace.steps:
            if isinstance(step, Guard):
                self.steps.append((("guard", number(step.var), step.kind), step.line, "a decision"))
                continue
            done = key_of(inner((step.args, step.options), number))
            forms = tuple((var.shape, var.dtype) for var in operands((step.results,)))
            name = getattr(step.function, "__name__", str(step.function))
            self.steps.append(((step.function, done, forms), step.line, name))
            inner((step.results,), number)

    def difference(self, other: Snapshot) -> str | None:
        """Where another run did something else; None if it did not."""
        for (done, line, name), (then, _, _) in zip(self.steps, other.steps, strict=False):
            if not _equal(done, then):
                return f"{name}, {_at(line)}"
        if len(self.steps) != len(other.steps):
            return "one goes on longer than the other"
        for a, b in zip(self.captured, other.captured, strict=False):
            if a is not b and not (
                a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
            ):
                return f"an array of shape {a.shape} that it makes has another content"
        return None


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except ValueError:  # arrays of other classes in the arguments
        return False


def _at(line: Line) -> str:
    file, number = line
    text = linecache.getline(file, number).strip()
    return f'File "{file}", line {number}' + (f", `{text}`" if text else "")


def _too_many(missed: Guard | None) -> str:
    if missed is not None:
        instead = "write np.where(condition, a, b), or take that part out"
        if missed.kind == "text":
            instead = "return the value, and make a text of it outside"
        return (
            f"{VARIANTS} variants are not enough for the ways it takes by `{missed.kind}` of a value, "
            f"{_at(missed.line)}. It runs without jit from now on; {instead}"
        )
    return (
        f"{VARIANTS} variants are not enough for the arguments it is called with. It runs without jit from now on; "
        "numbers that change from call to call are inputs if they are NumPy's: np.float64(0.1), not 0.1"
    )


def _agree(a: Any, b: Any, exact: bool) -> bool:
    """Whether two results are the same to within rounding."""
    (first, _, form), (second, _, other) = flatten(a), flatten(b)
    if form != other:
        return False
    for x, y in zip(first, second, strict=True):
        x, y = (t.data if isinstance(t, Tensor) else t for t in (x, y))
        if not isinstance(x, ndarray | np.generic):
            if type(x) in (float, complex) and type(y) is type(x):
                x, y = np.asarray(x), np.asarray(y)
            elif x is not y and not same(x, y):
                return False
            else:
                continue
        if x.shape != y.shape or x.dtype != y.dtype:
            return False
        if exact or x.dtype.kind not in "fc":
            if not np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"):
                return False
        else:
            size = np.max(np.abs(y), initial=0, where=np.isfinite(y))
            tolerance = 1e4 * np.finfo(y.dtype).eps
            if not np.allclose(x, y, rtol=tolerance, atol=tolerance * size, equal_nan=True):
                return False
    return True
