"""What every transform does around the function: which arguments, fresh nodes going in, plain values coming out.

Transforms that take `argnums` go through `chosen`, so that all of them know positions, names and keyword arguments; the
functions that they return are `Transformed`, so that all of them can be pickled.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, cast

import numpy as np

from .batch import Batched, bottom, levels_of, lifted_to, wrapped
from .errors import GradientShapeError, OutputError, StructureError
from .graph import Node, contexts, leaf, watchers
from .rules.registry import rules
from .tensor import Tensor, as_value, describe, handle, record, tensor_like
from .tree import flatten
from .walk.push import outside

__all__ = ["Argnums", "Transformed", "alongside", "chosen", "fresh", "name_of", "results_of", "settled"]

Argnums = int | str | Sequence[int | str]


class Transformed:
    """What a transform makes of a function: called like it, named like it, picklable if it is.

    Parameters
    ----------
    call : callable
        Of a module; called as `call(f, args, options, **settings)`.
    f : callable
        The function that was transformed.
    settings
        What the transform was asked for.
    """

    __slots__ = ("__dict__", "__weakref__", "call", "f", "settings")

    def __init__(self, call: Callable[..., Any], f: Callable[..., Any], **settings: Any) -> None:
        if not callable(f):
            raise TypeError(f"{_kind(call)} takes a function, not {describe(f)}")
        functools.update_wrapper(self, f, updated=("__dict__",) if isinstance(f, FunctionType | Transformed) else ())
        self.call, self.f, self.settings = call, f, settings

    def __reduce__(self) -> Any:
        return functools.partial(Transformed, **self.settings), (self.call, self.f)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.call(self.f, args, options, **self.settings)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Be a method where a function would be one: transforms may decorate methods."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{_kind(self.call)} of {name_of(self.f)}>"


def _kind(call: Callable[..., Any]) -> str:
    """The transform whose work a function does."""
    return call.__name__.strip("_")


def name_of(f: Any) -> str:
    """What to call a function in a message."""
    return getattr(f, "__name__", None) or "the function"


# -- which arguments -------------------------------------------------------------------------------------------------
def chosen(
    f: Callable[..., Any], argnums: Argnums, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Callable[..., Any], list[Any]]:
    """Split a call `f(*args, **options)` into the arguments that `argnums` says, and a function of these alone.

    All transforms with `argnums` share this: it says what positions and names mean.

    Parameters
    ----------
    f : callable
    argnums : int, str, or sequence of these
        Positions, also negative ones, and names of arguments.  A name is found among the keyword arguments of the call,
        among the positional ones, and among the defaults, in this order.
    args, options : the positional and keyword arguments of the call

    Returns
    -------
    function : callable
        `function(*values)` is `f(*args, **options)` with the chosen arguments replaced.
    values : list
        The chosen arguments; a single one where `argnums` is not a sequence.
    """
    if argnums.__class__ is int and argnums == 0 and len(args) == 1 and not options:
        # the usual case: saves 7 to 13% of the gradient of a few operations

        def of_one(value: Any) -> Any:
            return called(f, value)

        of_one.__name__ = name_of(f)
        return of_one, [args[0]]

    single = isinstance(argnums, str) or hasattr(argnums, "__index__")
    if not single and not hasattr(argnums, "__iter__"):
        raise TypeError(f"argnums={argnums!r}: say the position of an argument, its name, or a tuple of these")
    wanted: Sequence[Any] = (argnums,) if single else tuple(argnums)  # type: ignore[arg-type]
    for each in wanted:
        if not isinstance(each, str) and not hasattr(each, "__index__"):
            raise TypeError(f"argnums={argnums!r}: {each!r} is no position of an argument, and no name")
    places = [_place(f, each, args, options) for each in wanted]
    if len(set(places)) < len(places):
        raise StructureError(f"argnums={argnums!r} of {name_of(f)} says one argument twice")
    values = [_given(f, place, args, options) for place in places]

    def function(*values: Any) -> Any:
        new_args, new_options = list(args), dict(options)
        for place, value in zip(places, values, strict=True):
            if isinstance(place, str):
                new_options[place] = value
            else:
                new_args[place] = value
        return called(f, *new_args, **new_options)

    function.__name__ = name_of(f)  # for messages
    return function, values


def called(f: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Call the function that is to be differentiated; where NumPy met an object array, say where that came from."""
    before = contexts.object_arrays
    try:
        return f(*args, **options)
    except (TypeError, AttributeError, ValueError) as error:
        if contexts.object_arrays > before and _refuses_objects(error):
            error.add_note(
                "chainrule: np.array([t, 2.0]) of a Tensor and a number is an object array: NumPy lets nobody else "
                "make it, and NumPy's functions of numbers refuse such. Write np.stack([t, 2.0]), or "
                "`import chainrule.numpy as np`, whose np.array makes a Tensor."
            )
        raise


def _refuses_objects(error: TypeError | AttributeError | ValueError) -> bool:
    """Whether this is how NumPy's functions of numbers say that they were given an object array."""
    if isinstance(error, AttributeError):  # a ufunc's loop over objects calls the method of its name
        return isinstance(getattr(np, error.name or "", None), np.ufunc)
    return any(words in str(error) for words in ("ufunc", "dtype('O')", "array element with a sequence"))


def _place(f: Callable[..., Any], wanted: Any, args: tuple[Any, ...], options: dict[str, Any]) -> int | str:
    if not isinstance(wanted, str):
        if not -len(args) <= wanted < len(args):
            raise StructureError(
                f"argnums={wanted}, but {name_of(f)} was called with {len(args)} positional "
                f"argument{'s' * (len(args) != 1)}. "
                "Arguments given by keyword are differentiated by name: argnums='name'"
            )
        return int(wanted) % len(args)
    if wanted in options:
        return wanted
    parameters = _parameters(f)
    parameter = parameters.get(wanted)
    if parameter is not None and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        position = list(parameters).index(wanted)
        if position < len(args) and parameter.kind is not parameter.KEYWORD_ONLY:
            return position
        if parameter.default is not parameter.empty and parameter.kind is not parameter.POSITIONAL_ONLY:
            return wanted
    known = f"; its parameters are {', '.join(parameters)}" if parameters else ""
    raise StructureError(f"argnums={wanted!r}, but {name_of(f)} was called without an argument of that name{known}")


def _parameters(f: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(f).parameters)
    except (TypeError, ValueError):  # functions written in C do not say
        return {}


def _given(f: Callable[..., Any], place: int | str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if not isinstance(place, str):
        return args[place]
    return options[place] if place in options else _parameters(f)[place].default


# -- in and out ------------------------------------------------------------------------------------------------------
def fresh(x: Any) -> Tensor:
    """A Tensor with a node of this call: a leaf, or, for a Tensor with history, a new node on top of it."""
    x = tensor_like(x)
    if contexts.levels or isinstance(x, Batched):  # every example has its own
        examples = lifted_to(x if isinstance(x, Tensor) else as_value(x, copy=False), *contexts.levels)
        return cast(Tensor, wrapped(_fresh_examples(bottom(examples)), levels_of(examples)))
    return _fresh_examples(x)


def _fresh_examples(x: Any) -> Tensor:
    if isinstance(x, Tensor) and x.node is not None:
        tensor: Tensor = record(rules["identity"], (x,))
        if tensor.node is not None:
            return tensor
    value = as_value(x.data if isinstance(x, Tensor) else x, copy=False)
    return handle(leaf(value), value)


def results_of(result: Any, f: Callable[..., Any]) -> tuple[list[Any], Callable[[list[Any]], Any], Any]:
    """What `flatten` says of a function's result, after checking that it is made of numbers.

    Raises
    ------
    OutputError
        If the function returned nothing, or something else than numbers.
    """
    if result is None:
        raise OutputError(f"{name_of(f)} returned None: is a `return` missing?")
    leaves, rebuild, structure = flatten(result)
    leaves = [tensor_like(x) for x in leaves]
    for x in leaves:
        if not (x.dtype.kind in "biufc" if hasattr(x, "dtype") else isinstance(x, int | float | complex)):
            raise OutputError(
                f"{name_of(f)} returned {describe(x)}, which is no array of numbers. Return arrays and numbers only; "
                "where a transform has has_aux=True, that passes anything else through"
            )
    return leaves, rebuild, structure


def settled(x: Any, start: int) -> Any:
    """The plain value of a result, unless it depends on a Tensor made before `start`."""
    x = tensor_like(x)
    if not isinstance(x, Tensor):
        return x
    node = x.node
    if node is None:
        return x.data
    if watchers and outside(node, start, contexts.stack):
        return x
    return x if node.index < start or depends_on_older(node, start) else x.data


def depends_on_older(node: Node, start: int) -> bool:
    """Whether a node depends on anything made before creation number `start`: found along one path, as a rule."""
    seen, rest = {node}, [node]
    while rest:
        for operand in rest.pop().operands:
            if 0 < operand.index < start:
                return True
            if operand not in seen:
                seen.add(operand)
                rest.append(operand)
    return False


def alongside(changes: Any, structure: Any, values: Sequence[Any], what: str, of: str) -> list[Any]:
    """The leaves of tangents or cotangents, after checking that they match the values that they belong to.

    Parameters
    ----------
    changes : the container that a user gave
    structure, values : structure and leaves of the container that it must match
    what, of : for messages: "tangent" and "argument", or "cotangent" and "result"

    Raises
    ------
    StructureError
        If the containers differ.
    GradientShapeError
        If a shape differs, or a real value is given a complex change.  Other dtypes are converted to the value's.
    """
    leaves, _, found = flatten(changes)
    if found != structure:
        raise StructureError(
            f"the {what}s are {shown(found)}, but the {of}s they belong to are {shown(structure)}: "
            "both must be the same container"
        )
    checked = []
    for number, (change, value) in enumerate(zip(leaves, values, strict=True)):
        change = tensor_like(change)
        if not isinstance(change, Tensor):
            change = as_value(change, copy=False)
        where = f" ({what} {number} of {len(values)})" if len(values) > 1 else ""
        shape = value.shape if hasattr(value, "shape") else np.shape(value)
        if change.shape != shape:
            raise GradientShapeError(f"a {what} of shape {change.shape} for {an(of)} of shape {shape}{where}")
        dtype = getattr(value, "dtype", change.dtype)
        if change.dtype.kind == "c" and dtype.kind != "c":
            raise GradientShapeError(
                f"a {what} of dtype {change.dtype} for {an(of)} of dtype {dtype}{where}: "
                f"the {what} of what is real must be real"
            )
        checked.append(change.astype(dtype) if change.dtype != dtype and dtype.kind in "fc" else change)
    return checked


def an(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def shown(structure: Any) -> str:
    """A structure as `flatten` returns it, in Python's notation; `*` is an array or number."""
    if structure is None or structure == "leaf":
        return "None" if structure is None else "*"
    kind, parts = structure
    inner = [shown(part) for part in parts]
    fixed = []
    if isinstance(kind, tuple) and kind[0] != "dict":  # a dataclass with fields that belong to its form
        kind, given = kind
        fixed = [f"{name}={value!r}" for name, value in given]
    if isinstance(kind, tuple):
        return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(kind[1], inner, strict=True)) + "}"
    if kind == "list":
        return f"[{', '.join(inner)}]"
    name = "" if kind == "tuple" else kind.__name__
    return f"{name}({', '.join([*inner, *fixed])}{',' if kind == 'tuple' and len(inner) == 1 else ''})"
