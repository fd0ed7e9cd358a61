"""What a program checks before it runs: the form of its arguments, and what the function reads from outside."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..errors import UntraceableError, is_ours
from ..tensor import Tensor, handle
from ..tree import fields_of
from .printing import Names
from .trace import Draws, Traced, Var

__all__ = ["is_array", "is_installed", "outside", "same", "unpacking"]

ndarray = np.ndarray
NUMBERS = (int, float, complex, bool)
CAPTURES = 2000  # things that a function may read from outside


def is_array(leaf: Any) -> bool:
    return (type(leaf) is ndarray and leaf.dtype.kind in "biufc") or (
        isinstance(leaf, np.generic) and leaf.dtype.kind in "biufc"
    )


def unpacking(
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
            varying, fixed = fields_of(x)
            for key, part in varying.items():
                visit(part, f"{text}.{key}", f"{name}_{key}")
            for key, part in fixed.items():
                constant(part, f"{text}.{key}")
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


# -- what the function reads from outside --------------------------------------------------------------------------
def outside(f: Any, statics: list[Any], given: Names) -> list[str]:
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
            if is_installed(x.__module__) or is_ours(x.__module__):
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
        elif not isinstance(x, type) and not is_installed(type(x).__module__):
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
def is_installed(module: str | None) -> bool:
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
        cell.cell_contents  # noqa: B018 (reading it raises if it is empty)
    except ValueError:
        return False
    return True
