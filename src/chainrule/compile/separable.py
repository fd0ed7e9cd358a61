"""Which values have components that can be computed with one by one, and where that is worth it.

What is said here of a step is whether it can be done to components, and in which way; `components.py` does it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..rules.indexing import is_plain
from ..rules.registry import rules
from .layouts import TURNING
from .operations import operation_of
from .program import PLACE, Program, is_reduction, private, read
from .reordering import Assemble
from .simplify import RESHAPING
from .steps import Guard, Method, Step, Var, operands

__all__ = [
    "SHORT", "STRETCHING", "Parts", "Shape", "alone", "is_split_question", "long_axes", "moved", "separable",
    "short_axes", "sums_up", "way_of",
]  # fmt: skip

Shape = tuple[int, ...]
Parts = np.ndarray[Any, Any]
SHORT = 16  # elements of an axis along which components lie
MOST = 4  # that are computed with along one axis; more are moved only
COMPONENTS = 64  # of a value
BOUNDARY = 64  # components that are read from arrays, or written to them: kernels have no more pointers
LONG = 64  # elements of a component, at least
JOINING: set[Any] = {np.stack, np.concatenate, rules["concatenate"].value}
STRETCHING: set[Any] = {np.broadcast_to, rules["broadcast_to"].value}
PRODUCTS: set[Any] = {np.matmul, operator.matmul}


def long_axes(shape: Shape) -> Shape:
    """The lengths of the long axes."""
    return tuple(n for n in shape if n > SHORT)


def short_axes(shape: Shape) -> Shape:
    """A shape with one element along the long axes."""
    return tuple(1 if n > SHORT else n for n in shape)


def _count(x: Var) -> int:
    """How many components a value has."""
    return prod(short_axes(x.shape))


def separable(program: Program, worthwhile: int) -> set[Var]:
    """The values to take apart, of those parts of the program where it is worth it."""
    choice = _Choice(program)
    return {x for x in choice.members if choice.is_worth(x, worthwhile)} if choice.gains else set()


class _Choice:
    """The values that could be taken apart, in parts of the program: values that are computed of each other.

    Attributes
    ----------
    members : the values
    gains : of a part, by its leader: the elements over which loops would be short
    costs, components : of a part: the elements that are read from arrays and written to them, in so many components
    """

    def __init__(self, program: Program) -> None:
        self.members: set[Var] = set()
        self.gains: dict[Var, int] = {}
        self.costs: dict[Var, int] = {}
        self.components: dict[Var, int] = {}
        self._above: dict[Var, Var] = {}
        self._seen: set[tuple[Var, Var]] = set()
        gained = self._find_members(program)
        for y, gain in gained.items():
            part = self.leader(y)
            self.gains[part] = self.gains.get(part, 0) + gain
        if gained:
            self._find_crossings(program)

    def is_worth(self, x: Var, worthwhile: int) -> bool:
        """Whether so much is gained that the part of a value is worth it."""
        part = self.leader(x)
        gain = self.gains.get(part, 0)
        return gain >= max(worthwhile, self.costs.get(part, 0) / 2) and self.components.get(part, 0) <= BOUNDARY

    def leader(self, x: Var) -> Var:
        """The value that stands for the part that this one is in."""
        above = self._above
        while (y := above.setdefault(x, x)) is not x:
            above[x] = x = above[y]  # paths are halved, so that they stay short
        return x

    def _find_members(self, program: Program) -> dict[Var, int]:
        """Find the members, and join them; over how many elements loops would be short, step by step."""
        gained: dict[Var, int] = {}
        for step in program.steps:
            if not isinstance(step, Step) or type(step.results) is not Var:
                continue
            y = step.results
            if _is_computed(step):
                self.members.add(y)
                for x in read(step):
                    if x in self.members:
                        self._above[self.leader(x)] = self.leader(y)
            elif sums_up(step, self.members):
                y = step.args[0]
            else:
                continue
            if _mixes(step):
                gained[y] = gained.get(y, 0) + max(x.size for x in (y, *read(step)))
        return gained

    def _find_crossings(self, program: Program) -> None:
        """Find the arrays that members are made of, and those that they have to be put together to."""
        for step in program.steps:
            made = step.results if isinstance(step, Step) else None
            for x in read(step):
                if type(made) is Var and made in self.members:
                    if x not in self.members:
                        self._crosses(x, self.leader(made))
                elif x in self.members and not (is_split_question(step) or sums_up(step, self.members)):
                    self._crosses(x, self.leader(x))
        for x in program.outputs:
            if type(x) is Var and x in self.members:
                self._crosses(x, self.leader(x))

    def _crosses(self, x: Var, part: Var) -> None:
        if (x, part) not in self._seen and _count(x) > 1:
            self._seen.add((x, part))
            self.costs[part] = self.costs.get(part, 0) + x.size
            self.components[part] = self.components.get(part, 0) + _count(x)


def is_split_question(step: Step | Guard) -> bool:
    """Whether a guard may ask for each component instead of the value."""
    return isinstance(step, Guard) and step.kind == "no NaN" and not step.branches


def _is_computed(step: Step) -> bool:
    """Whether the components of a result are computed from the components of the operands."""
    y = step.results
    if type(y) is not Var or y.dtype.kind not in "fb" or step.writes or y.scalar or y.python:
        return False
    if not private(y) or not all(private(x) and x.dtype.kind in "fbi" for x in read(step)):
        return False
    if prod(long_axes(y.shape)) < LONG or _count(y) > COMPONENTS:
        return False
    return COMPUTABLE[way_of(step)](step)


def way_of(step: Step) -> str:
    """In which way a step makes components of components."""
    if type(step.function) is Assemble or step.function is PLACE:
        return "placed"
    if step.function in PRODUCTS:
        return "product"
    if is_reduction(step):
        return "reduced"
    return "moved" if operation_of(step) is None else "elementwise"


def _mixes(step: Step) -> bool:
    """Whether components meet, which are few, and side by side: where loops would be short."""
    y = step.results
    x = max((y, *read(step)), key=lambda x: len(x.shape) and x.size)
    own = [n for n in x.shape if n > 1]
    if not own or own[-1] > MOST:
        return False
    if operation_of(step) is None and not is_reduction(step):
        return step.function in PRODUCTS
    return any(_count(a) != _count(y) for a in read(step) if a.shape)


def _is_small_elementwise(step: Step) -> bool:
    """Whether a step computes few components, each of those at its place."""
    y = step.results
    small = all(n <= MOST for n in short_axes(y.shape))
    return small and y.root is y and all(type(x) is not list and type(x) is not tuple for x in step.args)


def _is_moved(step: Step) -> bool:
    """Whether a step only chooses, joins or turns components."""
    y, args = step.results, step.args
    if operands(step.options) or set(step.options) - {"axis", "shape", "source", "destination"}:
        return False
    if step.function in JOINING:
        parts = list(args[0]) if type(args[0]) in (list, tuple) else list(args)
        if not all(type(x) is Var for x in parts):
            return False
        if any(long_axes(x.shape) != long_axes(y.shape) for x in parts):
            return False
    elif type(args[0]) is not Var or operands(*args[1:]):
        return False
    elif _is_reshape(step):
        return _segments(args[0].shape) == _segments(y.shape)
    elif step.function is operator.getitem:
        if not _leaves_long(args[0].shape, args[1]):
            return False
    elif step.function in STRETCHING:
        return len(args[0].shape) > 0
    elif step.function in TURNING:
        if not _keeps_order(step):
            return False
    else:
        return False
    try:
        found = moved(step, lambda x: np.zeros(short_axes(x.shape), np.int8))
    except (ValueError, IndexError, TypeError):
        return False
    return bool(found.shape == short_axes(y.shape))


def _is_reshape(step: Step) -> bool:
    return step.function in RESHAPING or step.function is np.expand_dims or step.function == Method("reshape")


def moved(step: Step, parts: Callable[[Var], Any]) -> Parts:
    """What a step that moves components gives of them."""
    y, args = step.results, step.args
    if _is_reshape(step):
        return parts(args[0]).reshape(short_axes(y.shape))  # type: ignore[no-any-return]
    if step.function in STRETCHING:
        return np.broadcast_to(parts(args[0]), short_axes(y.shape))
    if step.function in JOINING:
        several = [parts(x) for x in (args[0] if type(args[0]) in (list, tuple) else args)]
        rest = args[1:] if type(args[0]) in (list, tuple) else ()
        function = np.stack if step.function is np.stack else np.concatenate
        options = {name: x for name, x in step.options.items() if name == "axis"}
        return function(several, *rest, **options)
    found = step.function(parts(args[0]), *args[1:], **step.options)
    return found if isinstance(found, np.ndarray) else alone(found)


def alone(x: Any) -> Parts:
    found = np.empty((), object)
    found[()] = x
    return found


def _segments(shape: Shape) -> list[Any]:
    """The long axes, and how many components lie between them."""
    found: list[Any] = [1]
    for n in shape:
        if n > SHORT:
            found += [(n,), 1]
        else:
            found[-1] *= n
    return found


def _leaves_long(shape: Shape, index: Any) -> bool:
    """Whether an index takes all of the long axes."""
    index = index if type(index) is tuple else (index,)
    if not is_plain(index):
        return False
    given = sum(part is not None and part is not Ellipsis for part in index)
    if Ellipsis not in index:
        index = (*index, Ellipsis)
    axis = 0
    for part in index:
        if part is Ellipsis:
            axis += len(shape) - given
        elif part is not None:
            if shape[axis] > SHORT and part not in (slice(None), slice(None, None, 1)):
                return False
            axis += 1
    return True


def _keeps_order(step: Step) -> bool:
    """Whether the long axes stay in order when axes are turned."""
    shape = step.args[0].shape
    marked = as_strided(np.zeros(1, np.int8), short_axes(shape), range(1, len(shape) + 1))
    try:
        turned = step.function(marked, *step.args[1:], **step.options)
    except (ValueError, TypeError):
        return False
    axes = [k - 1 for k in turned.strides]
    long = [axis for axis in axes if shape[axis] > SHORT]
    return long == sorted(long)


def _is_small_sum(step: Step) -> bool:
    """Whether a step adds up components, or takes the largest or smallest of them, perhaps over long axes, too."""
    x = step.args[0]
    if len(step.args) != 1 or type(x) is not Var or set(step.options) - {"axis", "keepdims"}:
        return False
    if step.function.__self__ not in (np.add, np.maximum, np.minimum):
        return False
    return (
        x.dtype.kind == "f" and _count(x) <= COMPONENTS and all(n <= MOST for n in short_axes(x.shape)) and x.size > 0
    )


def sums_up(step: Step | Guard, members: set[Var]) -> bool:
    """Whether a step takes a sum of a member, which may leave little."""
    return (
        isinstance(step, Step)
        and is_reduction(step)
        and type(step.args[0]) is Var
        and step.args[0] in members
        and _is_small_sum(step)
    )


def _is_small_product(step: Step) -> bool:
    """Whether a step multiplies many small matrices."""
    if step.options or len(step.args) != 2 or not all(type(x) is Var and x.dtype.kind == "f" for x in step.args):
        return False
    a, b = step.args
    if not a.shape or not b.shape or a.dtype != b.dtype or a.shape[-1] > MOST:
        return False
    sides = [*(a.shape[-2:-1] or (1,)), *(b.shape[-1:] if len(b.shape) > 1 else (1,))]
    return sum(n > SHORT for n in sides) < 2 and all(n <= MOST or n > SHORT for n in sides)


def _is_placed(step: Step) -> bool:
    """Whether parts are put at indices that take all of the long axes."""
    y, long = step.results, long_axes(step.results.shape)
    if type(step.function) is Assemble:
        indices, parts = step.args[0], step.args[1:]
    else:
        indices, parts = (step.options.get("index"),), step.args
    return (
        len(indices) == len(parts)
        and not operands(*indices)
        and all(_leaves_long(y.shape, index) for index in indices)
        and all(type(part) is Var and part.dtype == y.dtype and long_axes(part.shape) == long for part in parts)
    )


COMPUTABLE: dict[str, Callable[[Step], bool]] = {
    "placed": _is_placed,
    "product": _is_small_product,
    "reduced": _is_small_sum,
    "elementwise": _is_small_elementwise,
    "moved": _is_moved,
}
