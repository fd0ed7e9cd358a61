"""What goes into a program: the leaves of arguments, and of what the function changes outside of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import StructureError
from ..tensor import Tensor, handle
from .trace import Trace
from .traced import Draws, Traced

__all__ = [
    "PLAIN", "carried", "data_of", "entering", "enters", "form_of", "is_array", "is_foreign", "is_input", "is_written",
    "same",
]  # fmt: skip

ndarray = np.ndarray
PLAIN = (int, float, complex, bool, str, bytes, range, frozenset, np.dtype)  # equal ones are the same
NUMBERS = (int, float, complex)


def is_array(leaf: Any) -> bool:
    """Whether something is an array, or a NumPy scalar, of numbers."""
    return (type(leaf) is ndarray and leaf.dtype.kind in "biufc") or (
        isinstance(leaf, np.generic) and leaf.dtype.kind in "biufc"
    )


def is_input(leaf: Any) -> bool:
    """Whether a leaf can be an input or a part of the program; a Tensor with history cannot."""
    if isinstance(leaf, Tensor):
        return type(leaf) is Tensor and leaf.node is None and isinstance(leaf.data, ndarray | np.generic)
    return is_array(leaf) or not (is_foreign(leaf) or isinstance(leaf, Traced | Draws))


def is_foreign(leaf: Any) -> bool:
    """Whether a leaf is an array that no program takes: of another class or library, of objects, of dates, ..."""
    if isinstance(leaf, Traced | Tensor | type) or is_array(leaf):
        return False
    return hasattr(leaf, "__array__") or hasattr(leaf, "__array_function__")


def enters(leaf: Any) -> bool:
    """Whether an argument is an input; anything else is part of the program."""
    return isinstance(leaf, Tensor | np.random.Generator) or is_array(leaf)


def entering(trace: Trace, leaf: Any) -> Any:
    """What stands for an argument."""
    if isinstance(leaf, Tensor):
        return handle(None, trace.argument(leaf.data))
    return trace.argument(leaf) if enters(leaf) else leaf


def carried(trace: Trace, leaf: Any) -> Any:
    """What stands for a leaf that the function finds outside, and changes: Python's numbers are inputs there."""
    return trace.argument(leaf) if type(leaf) in NUMBERS else entering(trace, leaf)


def form_of(leaf: Any) -> Any:
    """What of a leaf decides whether tracing it was tried before."""
    if enters(leaf) and hasattr(leaf, "shape"):
        return type(leaf), leaf.shape, leaf.dtype
    try:
        hash(leaf)
    except (TypeError, ValueError):  # of memory that may be written to
        raise StructureError(
            f"jit: an argument is a {type(leaf).__name__}, which is part of the program and must be hashable. Pass "
            "arrays in lists, tuples and dictionaries"
        ) from None
    return leaf


def data_of(leaf: Any) -> Any:
    """The array in a Tensor; anything else as it is."""
    return leaf.data if isinstance(leaf, Tensor) else leaf


def is_written(leaf: Any) -> bool:
    """Whether what stands for an input was written to."""
    return isinstance(leaf, Traced | Draws) and leaf.var.root.written


def same(a: Any, b: Any) -> bool:
    """Whether two Python numbers or texts are the same to a program: 1 is not 1.0, and 0.0 not -0.0."""
    plain = type(a) in PLAIN or isinstance(a, np.dtype)  # others may have attributes
    return type(a) is type(b) and plain and (a == b or a != a) and repr(a) == repr(b)
