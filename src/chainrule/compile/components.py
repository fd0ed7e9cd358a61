"""Small arrays for each of many, such as a vector and a matrix for each point, taken apart.

A loop over three columns uses three lanes of a vector.  So where `(n, 3)` or `(n, n, 3)` are computed with, each
component becomes a value of its own, `(n,)` or `(n, n)`, and loops run over the long axes.  Choosing, stacking and
turning components is done here, once; sums over them are additions, products of small matrices a few multiplications.
Kernels read components where they lie in arrays, and write them there: nothing is copied for it.

An array is long along axes of more than `SHORT` elements.  Its components are held in an array of objects with its
shape, but with one element along the long axes: so NumPy's own functions move them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..rules.indexing import is_plain
from ..rules.registry import rules
from .guards import asked_once
from .layouts import SHOWING, TURNING, Together
from .operations import axes_of, name_of
from .program import PLACE, Program, Steps, is_fixed, is_reduction, is_uniform, private, read, renamed
from .reordering import Assemble
from .simplify import RESHAPING, needed, reshaped
from .trace import Guard, Method, Step, Var, operands

__all__ = ["componentwise"]

Shape = tuple[int, ...]
Parts = np.ndarray[Any, Any]
SHORT = 16  # elements of an axis along which components lie
MOST = 4  # that are computed with along one axis; more are moved only
COMPONENTS = 64  # of a value
BOUNDARY = 64  # components that are read from arrays, or written to them: kernels have no more pointers
LONG = 64  # elements of a component, at least
SMALL = 1 << 14  # elements that may be copied to read components side by side
WORTHWHILE = 1 << 11  # elements, over which sums or products of components are taken
JOINING: set[Any] = {np.stack, np.concatenate, rules["concatenate"].value}
STRETCHING: set[Any] = {np.broadcast_to, rules["broadcast_to"].value}
PRODUCTS: set[Any] = {np.matmul, operator.matmul}


def componentwise(program: Program, worthwhile: int | None = None) -> Program:
    """Take apart what has short axes, where that makes long loops of short ones."""
    members = _members(program, WORTHWHILE if worthwhile is None else worthwhile)
    if members:
        program.steps = list(_Splitting(program, members).run())
        program.steps = reshaped(program)
        program.steps = needed(program)
        program.steps = asked_once(program)
    return program


# -- which values --------------------------------------------------------------------------------------------------
def _long(shape: Shape) -> Shape:
    """The lengths of the long axes."""
    return tuple(n for n in shape if n > SHORT)


def _short(shape: Shape) -> Shape:
    """A shape with one element along the long axes."""
    return tuple(1 if n > SHORT else n for n in shape)


def _count(x: Var) -> int:
    """How many components a value has."""
    return prod(_short(x.shape))


def _members(program: Program, worthwhile: int) -> set[Var]:
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
            elif _sums_up(step, self.members):
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
                elif x in self.members and not (_is_split_question(step) or _sums_up(step, self.members)):
                    self._crosses(x, self.leader(x))
        for x in program.outputs:
            if type(x) is Var and x in self.members:
                self._crosses(x, self.leader(x))

    def _crosses(self, x: Var, part: Var) -> None:
        if (x, part) not in self._seen and _count(x) > 1:
            self._seen.add((x, part))
            self.costs[part] = self.costs.get(part, 0) + x.size
            self.components[part] = self.components.get(part, 0) + _count(x)


def _is_split_question(step: Step | Guard) -> bool:
    """Whether a guard may ask for each component instead of the value."""
    return isinstance(step, Guard) and step.kind == "no NaN" and not step.branches


def _is_computed(step: Step) -> bool:
    """Whether the components of a result are computed from the components of the operands."""
    y = step.results
    if type(y) is not Var or y.dtype.kind not in "fb" or step.writes or y.scalar or y.python:
        return False
    if not private(y) or not all(private(x) and x.dtype.kind in "fbi" for x in read(step)):
        return False
    if prod(_long(y.shape)) < LONG or _count(y) > COMPONENTS:
        return False
    return COMPUTABLE[_way(step)](step)


def _way(step: Step) -> str:
    """In which way a step makes components of components."""
    if type(step.function) is Assemble or step.function is PLACE:
        return "placed"
    if step.function in PRODUCTS:
        return "product"
    if is_reduction(step):
        return "reduced"
    return "moved" if name_of(step) is None else "elementwise"


def _mixes(step: Step) -> bool:
    """Whether components meet, which are few, and side by side: where loops would be short."""
    y = step.results
    x = max((y, *read(step)), key=lambda x: len(x.shape) and x.size)
    own = [n for n in x.shape if n > 1]
    if not own or own[-1] > MOST:
        return False
    if name_of(step) is None and not is_reduction(step):
        return step.function in PRODUCTS
    return any(_count(a) != _count(y) for a in read(step) if a.shape)


def _is_small_elementwise(step: Step) -> bool:
    """Whether a step computes few components, each of those at its place."""
    y = step.results
    small = all(n <= MOST for n in _short(y.shape))
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
        if any(_long(x.shape) != _long(y.shape) for x in parts):
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
        moved = _moved(step, lambda x: np.zeros(_short(x.shape), np.int8))
    except (ValueError, IndexError, TypeError):
        return False
    return bool(moved.shape == _short(y.shape))


def _is_reshape(step: Step) -> bool:
    return step.function in RESHAPING or step.function is np.expand_dims or step.function == Method("reshape")


def _moved(step: Step, parts: Callable[[Var], Any]) -> Parts:
    """What a step that moves components gives of them."""
    y, args = step.results, step.args
    if _is_reshape(step):
        return parts(args[0]).reshape(_short(y.shape))  # type: ignore[no-any-return]
    if step.function in STRETCHING:
        return np.broadcast_to(parts(args[0]), _short(y.shape))
    if step.function in JOINING:
        several = [parts(x) for x in (args[0] if type(args[0]) in (list, tuple) else args)]
        rest = args[1:] if type(args[0]) in (list, tuple) else ()
        function = np.stack if step.function is np.stack else np.concatenate
        options = {name: x for name, x in step.options.items() if name == "axis"}
        return function(several, *rest, **options)
    found = step.function(parts(args[0]), *args[1:], **step.options)
    return found if isinstance(found, np.ndarray) else _alone(found)


def _alone(x: Any) -> Parts:
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
    marked = as_strided(np.zeros(1, np.int8), _short(shape), range(1, len(shape) + 1))
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
    return x.dtype.kind == "f" and _count(x) <= COMPONENTS and all(n <= MOST for n in _short(x.shape)) and x.size > 0


def _sums_up(step: Step | Guard, members: set[Var]) -> bool:
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
    y, long = step.results, _long(step.results.shape)
    if type(step.function) is Assemble:
        indices, parts = step.args[0], step.args[1:]
    else:
        indices, parts = (step.options.get("index"),), step.args
    return (
        len(indices) == len(parts)
        and not operands(*indices)
        and all(_leaves_long(y.shape, index) for index in indices)
        and all(type(part) is Var and part.dtype == y.dtype and _long(part.shape) == long for part in parts)
    )


COMPUTABLE: dict[str, Callable[[Step], bool]] = {
    "placed": _is_placed,
    "product": _is_small_product,
    "reduced": _is_small_sum,
    "elementwise": _is_small_elementwise,
    "moved": _is_moved,
}


# -- taking apart --------------------------------------------------------------------------------------------------
class _Splitting:
    """A program whose members are taken apart, step by step.

    Attributes
    ----------
    members, parts : the values, and the components of each
    made : the step that made a member before
    instead : of members that are put together: the array
    escape : what is returned, and its memory
    known : components that were given the axes of others
    whole : members that are put together, too
    new, like : the steps that take the place of the present one, and that one
    """

    def __init__(self, program: Program, members: set[Var]) -> None:
        self.program, self.members = program, set(members)
        self.parts: dict[Var, Parts] = {}
        self.made: dict[Var, Step] = {}
        self.instead: dict[Var, Var] = {}
        self.escape = {part for x in operands(*program.outputs) for part in (x, x.root)}
        self.known: dict[Any, Var] = {}
        self.whole: set[Var] = set()
        self.new: Steps = []
        self.like: Any = None

    def run(self) -> Iterator[Step | Guard]:
        """The steps instead of the program's."""
        for step in self.program.steps:
            self.new = []
            self.like = step
            y = step.results if isinstance(step, Step) else None
            if isinstance(step, Step) and type(y) is Var and (y in self.members or _sums_up(step, self.members)):
                self.members.add(y)
                self.made[y] = step
                self.parts[y] = self.taken_apart(step)
            elif isinstance(step, Guard) and _is_split_question(step) and step.var in self.members:
                self.ask(step)
            else:
                for x in read(step):
                    self.put_together(x)
                if self.instead:
                    renamed(step, self.instead)
                self.new.append(step)
            yield from self.new
        self.new = []
        for x in operands(*self.program.outputs):
            self.put_together(x)
        self.program.outputs = [self.instead.get(x, x) if type(x) is Var else x for x in self.program.outputs]
        yield from self.new

    def step(self, function: Any, args: tuple[Any, ...], options: Any, y: Var) -> Var:
        """Add a step."""
        step = Step(function, args, options, getattr(self.like, "quiet", True), self.like.line)
        step.results, y.source = y, step
        self.new.append(step)
        return y

    # -- components ------------------------------------------------------------------------------------------------
    def of(self, x: Var) -> Parts:
        """The components of an operand."""
        if x not in self.parts:
            self.parts[x] = self.taken_out(x)
        return self.parts[x]

    def taken_out(self, x: Var) -> Parts:
        """The components of what is in memory, where they lie; those that never change and are one number, as that."""
        found = np.empty(_short(x.shape), object)
        long = _long(x.shape)
        if x.shape == long:
            found[(0,) * found.ndim] = x
            return found
        value = self.program.captured.get(x)
        fixed = isinstance(value, np.ndarray) and is_fixed(value) and x.dtype.kind == "f"
        if not x.contiguous:
            x = self.copied(x)
        for index in np.ndindex(found.shape):
            at = tuple(slice(None) if n > SHORT else k for n, k in zip(x.shape, index, strict=True))
            if fixed and is_uniform(value[at]):  # type: ignore[index]
                found[index] = value[at].reshape(-1)[0]  # type: ignore[index]
            else:
                found[index] = self.shown(x, at, long)
        return found

    def shown(self, x: Var, index: tuple[Any, ...], shape: Shape) -> Var:
        """What an index shows of a value, without a copy."""
        part = Var.made(shape, x.dtype, None, x.root, scalar=not shape)
        part.contiguous = not shape
        return self.step(operator.getitem, (x, index), {}, part)

    def copied(self, x: Var) -> Var:
        """A copy of a value, in order."""
        y = Var.made(x.shape, x.dtype, None)
        if x.dtype.kind == "f":
            return self.step(np.positive, (x,), {}, y)
        return self.step(Method("copy"), (x, "C"), {}, y)

    def beside(self, x: Any, shape: Shape) -> Parts:
        """The components of an operand, beside those of a result of some shape."""
        if type(x) is not Var or not x.shape:
            return _alone(x)
        return self.all_framed(self.of(x), x.shape, shape)

    def all_framed(self, parts: Parts, shape: Shape, other: Shape) -> Parts:
        """Components of a value of one shape, beside those of a value of another one."""
        found = np.empty(parts.shape, object)
        for index in np.ndindex(parts.shape):
            found[index] = self.framed(parts[index], shape, other)
        return found

    def framed(self, part: Any, shape: Shape, other: Shape) -> Any:
        """One of them: with its axes where those have them."""
        if type(part) is not Var or not part.shape:
            return part
        missing = len(_long(shape)) - len(part.shape)
        lengths = iter((1,) * missing + part.shape)
        beside = (1,) * (len(other) - len(shape)) + shape
        index = [next(lengths) if n > SHORT else None for n, m in zip(beside, other, strict=True) if m > SHORT]
        while index[0] in (None, 1):
            del index[0]
        new = tuple(n or 1 for n in index)
        again = prod(new) < prod(_long(other))
        key = part, new, again
        if key not in self.known:
            y: Var = part
            if again and not y.contiguous and y.size <= SMALL:  # it is read for many rows: side by side
                y = self.copied(y)
            if y.shape != new and y.contiguous:
                y = self.step(Method("reshape"), (y, new), {}, Var.made(new, y.dtype, None, y.root))
            elif y.shape != new:
                y = self.shown(y, tuple(None if n is None else slice(None) for n in index), new)
            self.known[key] = y
        return self.known[key]

    # -- steps -----------------------------------------------------------------------------------------------------
    def taken_apart(self, step: Step) -> Parts:
        """The components of a result."""
        ways = {
            "placed": self.placed,
            "product": self.product,
            "reduced": self.reduced,
            "elementwise": self.elementwise,
            "moved": self.moved,
        }
        return ways[_way(step)](step)

    def moved(self, step: Step) -> Parts:
        """Components at other places."""
        parts = _moved(step, self.of)
        stretched = step.function in STRETCHING
        return self.all_framed(parts, step.args[0].shape, step.results.shape) if stretched else parts

    def elementwise(self, step: Step) -> Parts:
        """Components that are each computed of those at its place."""
        y = step.results
        found = np.empty(_short(y.shape), object)
        several = [np.broadcast_to(self.beside(x, y.shape), found.shape) for x in step.args]
        for index in np.ndindex(found.shape):
            args = tuple(x[index] for x in several)
            found[index] = self.computed(step.function, args, y, y if y.shape == _long(y.shape) else None)
        return found

    def computed(self, function: Any, args: tuple[Any, ...], like: Var, result: Var | None = None) -> Any:
        """A component that is computed of others; a number if these are numbers, and one of them if the other is 1."""
        shapes = [x.shape for x in args if type(x) is Var]
        if not shapes:
            with np.errstate(all="ignore"):
                return np.asarray(function(*args))[()]
        if function in (np.multiply, operator.mul):
            for one, x in (args, args[::-1]):
                if type(one) is not Var and one == 1 and type(x) is Var and x.dtype == like.dtype:
                    return x
        shape = np.broadcast_shapes(*shapes)
        if result is None or result.shape != shape:
            result = Var.made(shape, like.dtype, None, scalar=not shape)
        return self.step(function, args, {}, result)

    def reduced(self, step: Step) -> Parts:
        """A sum over components, and then over long axes."""
        x, y, ufunc = step.args[0], step.results, step.function.__self__
        axes = axes_of(step)
        parts = self.of(x)

        def combine(a: Any, b: Any) -> Any:
            return self.computed(ufunc, (a, b), y)

        for axis in axes:
            if x.shape[axis] <= SHORT:
                parts = np.frompyfunc(combine, 2, 1).reduce(parts, axis=axis, keepdims=True)
        long = [i for i, n in enumerate(x.shape) if n > SHORT]
        over = tuple(k for k, i in enumerate(long) if i in axes)
        parts = parts.reshape(_short(y.shape))
        if not over:
            return parts
        found = np.empty(parts.shape, object)
        shape = tuple(x.shape[i] for i in long if i not in axes)
        for index in np.ndindex(parts.shape):
            part = self.stretched(parts[index], _long(x.shape), y.dtype)
            result = y if y.shape == shape else Var.made(shape, y.dtype, None, scalar=not shape)
            found[index] = self.step(ufunc.reduce, (part,), {"axis": over}, result)
        return found

    def stretched(self, part: Any, shape: Shape, dtype: Any) -> Var:
        """A component that may be the same along an axis, with all its elements."""
        if type(part) is Var and part.shape == shape:
            return part
        wide = Var.made(shape, dtype, None)
        wide.contiguous = False
        return self.copied(self.step(np.broadcast_to, (self.number(part, dtype), shape), {}, wide))

    def product(self, step: Step) -> Parts:
        """Products of small matrices."""
        a, b = step.args
        y = step.results
        shapes = (1, *a.shape)[-max(2, len(a.shape)) :], b.shape if len(b.shape) > 1 else (*b.shape, 1)  # as matrices
        (*many, m, _), (*others, _, n) = shapes
        wide = (*np.broadcast_shapes(tuple(many), tuple(others)), m, n)
        # What is summed over is gone; the other axes are where those of the result are.
        left = self.all_framed(self.of(a).reshape(_short(shapes[0])), (*many, m, 1), wide)
        right = self.all_framed(self.of(b).reshape(_short(shapes[1])), (*others, 1, n), wide)
        outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        found = np.empty((*outer, left.shape[-2], right.shape[-1]), object)
        left = np.broadcast_to(left, (*outer, *left.shape[-2:]))
        right = np.broadcast_to(right, (*outer, *right.shape[-2:]))
        for index in np.ndindex(found.shape):
            *head, i, j = index
            total: Any = None
            for k in range(a.shape[-1]):
                term = self.computed(np.multiply, (left[(*head, i, k)], right[(*head, k, j)]), y)
                total = term if total is None else self.computed(np.add, (total, term), y)
            found[index] = total
        return found.reshape(_short(y.shape))

    def placed(self, step: Step) -> Parts:
        """Parts at their indices; where several meet, their sum, and nothing elsewhere."""
        y = step.results
        found = np.full(_short(y.shape), y.dtype.type(0), object)
        if type(step.function) is Assemble:
            indices, parts, alone = step.args[0], step.args[1:], step.function.tile
        else:
            indices, parts, alone = (step.options["index"],), step.args, True

        def add(a: Any, b: Any) -> Any:
            return self.computed(np.add, (a, b), y)

        for index, part in zip(indices, parts, strict=True):
            components = self.of(part)
            if alone:
                found[index] = components
            else:
                found[index] = np.frompyfunc(add, 2, 1)(found[index], components)
        return found

    # -- the rest of the program -----------------------------------------------------------------------------------
    def ask(self, guard: Guard) -> None:
        """Look for NaN in each component."""
        for part in dict.fromkeys(self.parts[guard.var].reshape(-1).tolist()):
            asked = guard.copy()
            asked.var = self.number(part, guard.var.dtype)
            self.new.append(asked)

    def put_together(self, x: Var) -> None:
        """Make a member that others ask for as it is."""
        if x not in self.members or x in self.whole:
            return
        self.whole.add(x)
        parts, made = self.parts[x].reshape(-1).tolist(), self.made[x]
        if parts == [x]:
            return
        if made.function in SHOWING and made.args[0] not in self.members:  # what is in memory in another shape
            self.new.append(made)
        elif (
            len(parts) == 1
            and type(parts[0]) is Var
            and parts[0].size == x.size
            and not self.escape & {parts[0].root, x}
        ):
            x.root = parts[0].root
            self.step(Method("reshape"), (parts[0], x.shape), {}, x)
        else:
            long = [i for i, n in enumerate(x.shape) if n > SHORT]
            whole = Var.made(x.shape, x.dtype, None)
            self.instead[x] = self.program.same[x] = whole
            self.step(Together(x.shape, x.dtype, long), tuple(self.number(part, x.dtype) for part in parts), {}, whole)

    def number(self, part: Any, dtype: Any) -> Var:
        """A component as a value, which it may be already."""
        if type(part) is Var:
            return part
        array = np.asarray(part, dtype)
        array.flags.writeable = False
        var = Var(array, array)
        var.outside = True
        self.program.captured[var] = array
        return var
