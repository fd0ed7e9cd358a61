"""What a program checks before it runs: the form of its arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..graph import FREED, leaf
from ..tensor import Tensor, handle
from ..tree import fields_of
from .contents import owner
from .inputs import same
from .names import Names
from .outside import Place
from .steps import Var
from .traced import Draws, Traced

__all__ = ["identities_checked", "memory_checked", "parts_of_program", "strides_checked", "unpacking"]

ndarray = np.ndarray
NUMBERS = (int, float, complex, bool)


def unpacking(
    f: Any,
    args: tuple[Any, ...],
    options: dict[str, Any],
    places: Iterable[Place],
    traced: Iterator[Any],
    given: Names,
    exact: bool,
) -> tuple[list[str], dict[Var, str], dict[Var, str]]:
    """How a program gets at its inputs.

    If every bit must be kept, it counts how an array lies in memory: NumPy adds up in that order.

    Returns
    -------
    Lines that check the form of the arguments, and of what lies in places, and assign what is an input; what they call
    the inputs; and how to reach these.
    """
    names: dict[Var, str] = {}
    reached: dict[Var, str] = {}
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
            if not all(type(key) is str for key in x):  # 1 is True as a key
                check(f"[*map(type, {text})] != {given.given([*map(type, x)], 'kinds')}")
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
            visit_leaf(x, text, name, next(traced))
            return
        for key, part in _further(x).items():
            constant(part, f"{text}.{key}")

    def visit_leaf(x: Any, text: str, name: str, entered: Any) -> None:
        if isinstance(x, Tensor):
            check(f"{text}.__class__ is not {given.given(Tensor, 'Tensor')} or {text}.node is not None")
            visit_leaf(x.data, f"{text}.data", name, entered.data)
            return
        if not isinstance(entered, Traced | Draws):
            constant(x, text)
            return
        if entered.var in names:  # what is passed twice
            check(f"{text} is not {names[entered.var]}")
            return
        name = given.fresh(name)
        names[entered.var], reached[entered.var] = name, text
        lines.append(f"{name} = {text}")
        kind = given.given(type(x), type(x).__name__)
        if isinstance(x, ndarray):
            dtype = given.given(x.dtype, x.dtype.name)
            lies = f" or {name}.strides != {x.strides}" if exact and x.ndim else ""
            other = f"({name}.dtype is not {dtype} and {name}.dtype != {dtype})"  # what was pickled has one of its own
            check(f"{name}.__class__ is not {kind} or {name}.shape != {x.shape} or {other}{lies}")
        else:
            check(f"{name}.__class__ is not {kind}")

    def constant(x: Any, text: str) -> None:
        if type(x) in NUMBERS or isinstance(x, str | bytes | range | frozenset | np.dtype):
            known = given.given(x, "static")
            check(f"{text} is not {known} and not same({text}, {known})")
        else:
            check(f"{text} is not {given.given(x, 'static')}")

    given.fixed(same=same, constant_tensor=functools.partial(handle, None), freed_tensor=freed_tensor)
    check("contexts.singular != 'zero'")
    check(f"len(args) != {len(args)} or " + (f"tuple(options) != {tuple(options)!r}" if options else "options"))
    for i, (name, arg) in enumerate(zip(_argument_names(f, len(args)), args, strict=True)):
        visit(arg, f"args[{i}]", name)
    for name, arg in options.items():
        visit(arg, f"options[{name!r}]", name)
    for place in places:
        visit(place.value, place.text, place.key if isinstance(place.key, str) else "input")
    return (
        [
            "try:",
            *("    " + line for line in lines),
            "except (AttributeError, KeyError, IndexError, TypeError):",
            "    return None",
        ],
        names,
        reached,
    )


def _further(x: Any) -> dict[str, Any]:
    """Attributes of a container that are none of its parts."""
    attributes = getattr(x, "__dict__", None) or {}
    fields = getattr(x, "__dataclass_fields__", {})
    return {name: value for name, value in attributes.items() if name not in fields}


def parts_of_program(x: Any) -> list[Any]:
    """What of containers is no input: the user's classes, which may have methods, and attributes that are no parts."""
    if isinstance(x, dict):
        parts = list(x.values())
    elif isinstance(x, list | tuple):
        parts = list(x)
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        varying, fixed = fields_of(x)
        parts = list(varying.values())
        return [type(x), *fixed.values(), *_further(x).values(), *_of_all(parts)]
    else:
        return []
    found = _of_all(parts)
    return found if type(x) in (dict, list, tuple) else [type(x), *_further(x).values(), *found]


def _of_all(parts: Iterable[Any]) -> list[Any]:
    return [each for part in parts for each in parts_of_program(part)]


def identities_checked(names: dict[Var, str], values: dict[Var, Any], given: Names) -> list[str]:
    """Lines of a program whose function asks which array is which: go away if two are one that were not."""
    several = [name for name, _ in _arrays(names, values)]
    given.fixed(identities=identities)
    return [f"if identities({', '.join(several)}) != {len(several)}: return None"] if len(several) > 1 else []


def identities(*several: Any) -> int:
    """How many things these are."""
    return len({*map(id, several)})


def memory_checked(names: dict[Var, str], values: dict[Var, Any], others: list[Any], given: Names) -> list[str]:
    """Lines of a program that writes to arguments: go away if its arrays share memory in another way than now."""
    arrays = [*_arrays(names, values), *((given.given(x, "read"), x) for x in others)]
    given.fixed(memory=memory)
    texts = ", ".join(name for name, _ in arrays)
    return [f"if memory({texts}) != {memory(*(x for _, x in arrays))}: return None"]


def strides_checked(names: dict[Var, str], values: dict[Var, Any]) -> list[str]:
    """Lines of a program whose views are copies for arrays that lie in memory in another way."""
    return [f"if {name}.strides != {x.strides}: return None" for name, x in _arrays(names, values)]


def _arrays(names: dict[Var, str], values: dict[Var, Any]) -> list[tuple[str, Any]]:
    """The arguments that are arrays, by the names that the program has for them."""
    return [(name, values[var]) for var, name in names.items() if var in values and not var.scalar]


def memory(*arrays: Any) -> list[int]:
    """Equal numbers for arrays that are views of the same memory."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(id(owner(x)), len(numbers)) for x in arrays]


def freed_tensor(value: Any) -> Tensor:
    """What a function returns after a backward pass through it: a Tensor whose graph was freed."""
    node = leaf(value)
    node.rule = FREED
    return handle(node, value)


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
