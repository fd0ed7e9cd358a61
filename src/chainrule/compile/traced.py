"""An array that holds a value and writes down every call it goes through.

`Traced` stands where an ndarray stands: as an argument, and as the data of a Tensor.  It computes nothing itself: what
is done to it, it passes on to the trace that it belongs to, with the function that does the same to plain arrays.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from math import trunc
from typing import Any, Protocol

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..errors import UntraceableError, is_ours
from ..tensor import Tensor, record, traced_among
from .calls import UFUNCS, WRITING
from .objects import ObjectArrays, made_plain
from .steps import Guard, Method, Property, Step, Var

__all__ = ["FOLLOWED", "Draws", "Number", "Traced", "is_captured", "number_of", "traced_generator", "value_of"]

ndarray = np.ndarray
PLAIN = frozenset(["shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags", "device"])
LAID = frozenset(["strides", "flags"])  # what no program checks of its arguments
SHOWN = frozenset(["T", "mT", "real", "imag"])
METHODS = frozenset(name for name in vars(ndarray) if not name.startswith("_") and callable(getattr(ndarray, name)))
# Rules that are ways of writing in Python.
WRITTEN: dict[str, Any] = {"getitem": operator.getitem, "mean": np.mean, "sum": np.sum, "where": np.where}
WRITTEN["astype"] = Method("astype")


class Writer(Protocol):
    """What an array asks of its trace (`trace.Trace`)."""

    exact: bool
    steps: list[Step | Guard]
    objects: ObjectArrays

    @property
    def elsewhere(self) -> bool:
        """Whether what is done now is not written down."""

    def apply(self, function: Any, args: tuple[Any, ...], options: dict[str, Any], writes: Sequence[Any] = ()) -> Any:
        """Call a function, and write it down."""

    def guard(self, traced: Traced, kind: str, outcome: Any) -> Any:
        """Note a decision."""

    def is_from_outside(self, var: Var) -> bool:
        """Whether a value depends on no argument."""


class Traced(NDArrayOperatorsMixin):
    """An array, or NumPy scalar, of a trace."""

    __slots__ = ("scope", "trace", "value", "var")
    __array_priority__ = 500.0  # Tensors come first
    written_down = True

    def __init__(self, trace: Writer, value: Any, var: Var) -> None:
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
        if function in WRITING:
            writes = [args[0] if args else next(iter(options.values()))]
        return self.trace.apply(function, args, options, writes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self.trace.elsewhere or self.trace.is_from_outside(self.var):
            return np.array(self.trace.guard(self, "array", np.array(self.value)), dtype)
        if self.trace.objects.allowed and not self.ndim and dtype is None and self.value.dtype == np.double:
            return self.trace.objects.holding(self)
        raise made_plain()

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
        value = WRITTEN.get(rule.name, rule.value) if trace.exact or not rule.rounded else rule.rounded
        return trace.apply(value, (*operands, *rest), options)

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
        if self.trace.objects.made and isinstance(
            function := getattr(np, name, None), np.ufunc
        ):  # of an array of objects
            return lambda *args: self.trace.apply(function, (self, *args), {})
        if self.trace.elsewhere:
            return getattr(self.value, name)
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
        self.trace.objects.decided_at()
        return bool(self.trace.guard(self, "bool", bool(self.value)))

    def __int__(self) -> int:
        self.trace.objects.number_asked()
        return int(self.trace.guard(self, "int", int(self.value)))

    def __trunc__(self) -> int:
        return int(self.trace.guard(self, "int", trunc(self.value)))

    def __index__(self) -> int:
        return int(self.trace.guard(self, "index", operator.index(self.value)))

    def __float__(self) -> float:
        self.trace.objects.number_asked()
        return float(self.trace.guard(self, "float", float(self.value)))

    def __complex__(self) -> complex:
        self.trace.objects.number_asked()
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
        return copy(self)

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

    def __copy__(self) -> Any:
        return self


# -- Python's operators --------------------------------------------------------------------------------------------
def _operator(function: Any, reflected: bool = False, otherwise: Any = None) -> Any:
    def operate(self: Traced, other: Any) -> Any:
        if isinstance(other, Tensor) or not isinstance(other, OPERANDS):
            return NotImplemented if otherwise is None else otherwise(self, other)
        return self.trace.apply(function, (other, self) if reflected else (self, other), {})

    return operate


def _comparison(function: Any, otherwise: Any) -> Any:
    operate = _operator(function, otherwise=otherwise)

    def compare(self: Traced, other: Any) -> Any:
        self.trace.objects.compared_at()
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


# They stay what they are: for `**`, and for products of complex scalars, they are not NumPy's functions.
OPERANDS = (Traced, ndarray, np.generic, int, float, complex, list, tuple)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    _function = getattr(operator, _name)
    setattr(Traced, f"__{_name}__", _operator(_function))
    setattr(Traced, f"__r{_name}__", _operator(_function, reflected=True))
    setattr(Traced, f"__i{_name}__", _in_place(UFUNCS.get(_function, np.power), _function))
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

    def __init__(self, trace: Writer, value: Any) -> None:
        super().__init__(value.bit_generator)  # type: ignore[call-arg]
        self.trace, self.value = trace, value
        self.var = Var(np.empty(()), None)
        self.var.outside = True

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("trace", "value", "var", "bit_generator"):
            return object.__getattribute__(self, name)
        if name == "spawn":  # which counts what it has spawned, where nothing can put it back
            raise UntraceableError("it spawns random generators; pass them as arguments")
        return lambda *args, **options: self._draw(name, args, options)

    def _draw(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        writes = [self, *args[:1]] if name == "shuffle" else [self]
        if options.get("out") is not None:
            writes.append(options["out"])
        if not all(isinstance(x, ndarray | Traced | Draws) for x in writes):
            raise UntraceableError("it shuffles a list; shuffle an array, or take what rng.permutation(len(x)) says")
        return self.trace.apply(Method(name), (self, *args), options, writes)


@cache
def traced_generator() -> Any:
    """The class of a traced generator; made when it is first needed, for importing numpy.random takes its time."""
    return type("Draws", (Draws, np.random.Generator), {})


FOLLOWED = (Traced, Draws)


def is_captured(x: Any) -> bool:
    """Whether what is traced is an array from outside, and no argument."""
    return isinstance(x, Traced) and type(x.var.source) is ndarray


def number_of(x: Any) -> Any:
    """What may be a traced number, as a plain one."""
    return x.__array__().item() if isinstance(x, Number) else x


def value_of(x: Any) -> Any:
    """The concrete value of what may be traced."""
    if isinstance(x, Tensor):  # a constant one
        x = x.data
    return x.value if isinstance(x, FOLLOWED) else x
