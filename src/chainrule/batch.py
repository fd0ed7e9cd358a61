"""Many examples in one Tensor that looks like a single one: what runs inside `vmap`.

A `Batched` Tensor has the shape of one example.  Its payload, a Tensor too, has all of them, along one axis more in
front.  Every operation on it is recorded once, on the payload, by the rule's batch function.  So there is one graph, of
ordinary nodes, and a derivative taken inside (of leaves that every example has for itself) is an ordinary walk over it:
examples do not mix, so the gradient of their sum holds the gradient of each.

Batches nest: the payload may be batched itself, by a `Level` that was entered before.  At the bottom is a Tensor whose
first axes are the examples of all levels, the oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from .errors import ConcreteValueError, ConversionError, InPlaceError, LeakedValueError, user_line
from .graph import contexts, leaf, next_index
from .inplace import add_at, overwrite, setitem
from .rules.batching import (
    SHAPED_BY_CONDITION,
    SHAPED_BY_VALUES,
    Index,
    Spread,
    batch_function,
    in_turn,
    of_an_example,
    shape_depends,
)
from .rules.registry import Rule, apply, functions, rules
from .tensor import Indirect, Tensor, as_value, batched_among, describe, for_sparse_product, handle, tensor_like

__all__ = [
    "Around",
    "Batched",
    "Level",
    "bottom",
    "each",
    "entered",
    "levels_of",
    "lifted_to",
    "lowered",
    "of_this_example",
    "together",
    "wrapped",
]

_get_payload, _set_payload = (getattr(Tensor.__dict__["data"], name) for name in ("__get__", "__set__"))
_get_level, _set_level = (getattr(Tensor.__dict__["origin"], name) for name in ("__get__", "__set__"))


class Level:
    """One batch of examples.

    Attributes
    ----------
    size : how many
    index : when it was made, as nodes are numbered
    closed : whether the transform that made it has returned: its values mean nothing any more
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.index = next_index()
        self.closed = False

    def leaf(self, value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
        """A new leaf for each example, for `Tensor(value)`."""
        examples = lifted_to(value if isinstance(value, Tensor) else as_value(value), *contexts.levels)
        numbers = as_value(bottom(examples).data, dtype)
        node = leaf(numbers, name)
        fresh = handle(node, numbers)
        fresh.leaf = node
        return cast(Tensor, wrapped(fresh, levels_of(examples)))


@contextmanager
def entered(level: Level) -> Iterator[Level]:
    """Let every leaf that is made inside be one for each example."""
    contexts.levels.append(level)
    try:
        yield level
    finally:
        contexts.levels.remove(level)
        level.closed = True


class Around:
    """The calls of `vmap` that a piece of code is inside of; `again` is inside once more: they may have returned."""

    def __init__(self) -> None:
        self.levels = list(contexts.levels)
        self.examples = dict(contexts.examples)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Be inside of them."""
        before = contexts.levels, contexts.examples
        closed = [(level, level.closed) for level in (*self.levels, *self.examples)]
        contexts.levels, contexts.examples = list(self.levels), dict(self.examples)
        for level, _ in closed:
            level.closed = False
        try:
            yield
        finally:
            contexts.levels, contexts.examples = before
            for level, was in closed:
                level.closed = was


class Batched(Indirect):
    """The examples of one level, as one Tensor of the shape of each."""

    __slots__ = ()
    written = True

    @property
    def payload(self) -> Any:
        """All examples, along an axis in front."""
        return _get_payload(self)

    @property
    def level(self) -> Any:
        """Which batch of examples they are."""
        return _get_level(self)

    # -- what it is ----------------------------------------------------------------------------------------------
    @property
    def node(self) -> Any:  # type: ignore[override]
        """How it came about: the node of all examples of all levels."""
        return self.payload.node

    @property
    def data(self) -> Any:
        """The values, without history; batched still."""
        return self if self.node is None else self.detach()

    def detach(self) -> Tensor:
        """The same values without history."""
        return batch_of(self.level, self.payload.detach())

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes of one example."""
        return cast("tuple[int, ...]", self.payload.shape[1:])

    @property
    def dtype(self) -> Any:
        """Data type of the elements."""
        return self.payload.dtype

    @property
    def ndim(self) -> int:
        """Number of axes of one example."""
        return cast(int, self.payload.ndim) - 1

    @property
    def size(self) -> int:
        """Number of elements of one example."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return cast(int, self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements of one example."""
        return self.size * self.itemsize

    @property
    def device(self) -> Any:
        """Where the elements are."""
        return self.payload.device

    @property
    def grad(self) -> Any:
        """What backward passes have added up for each example of this leaf."""
        found = bottom(self)
        found = getattr(found.leaf, "grad", None) if hasattr(found, "leaf") else None
        return None if found is None else wrapped(tensor_of(found), levels_of(self))

    @grad.setter
    def grad(self, value: Any) -> None:
        bottom(self).grad = None if value is None else bottom(lifted_to(value, *levels_of(self))).data

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{describe(self)}, one of {self.level.size} in a batch>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    # -- ways out: there is no one value ---------------------------------------------------------------------------
    def _concrete(self, use: str) -> None:
        raise ConcreteValueError(
            f"{user_line()}{use} of a batched value ({describe(self)}): the {self.level.size} examples of vmap may "
            f"differ, so the program cannot go by one of them. {INSTEAD.get(use.partition('(')[0], INSTEAD['bool'])}",
            self.level,
        )

    def _one(self, use: str) -> Any:
        """The example that is worked on, if they are worked on one by one."""
        if self.level not in contexts.examples:
            self._concrete(use)
        return of_this_example(self)

    def item(self, *args: int) -> Any:
        """Refused: there is a number for each example."""
        return self._one("t.item()").item(*args)

    def tolist(self) -> Any:
        """Refused: there are numbers for each example."""
        return self._one("t.tolist()").tolist()

    def __bool__(self) -> bool:
        return bool(self._one("bool(t)"))

    def __int__(self) -> int:
        return int(self._one("int(t)"))

    def __float__(self) -> float:
        return float(self._one("float(t)"))

    def __complex__(self) -> complex:
        return complex(self._one("complex(t)"))

    def __index__(self) -> int:
        return self._one("an index").__index__()  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if for_sparse_product():
            return np.array(None)
        if self.level in contexts.examples:
            return np.asarray(of_this_example(self), dtype, copy=copy)
        if self.dtype.kind in "biu":
            self._concrete("an index")
        if dtype is not None and np.dtype(dtype) != object:
            self._concrete(f"np.asarray(t, dtype={np.dtype(dtype)})")
        contexts.object_arrays += 1
        elements = np.empty(self.shape, dtype=object)
        for index in np.ndindex(self.shape):
            elements[index] = self[index]
        return elements

    def __reduce__(self) -> Any:
        raise ConversionError(f"{describe(self)} is batched by vmap, and cannot be pickled or copied inside of it")

    # -- operations ------------------------------------------------------------------------------------------------
    @staticmethod
    def batched(rule: Rule, operands: Sequence[Any], rest: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Apply a rule to all examples of the newest level among the arguments."""
        level = newest([operands, rest, options])
        if level in contexts.examples:
            return apply(rule, *of_this_example(([*operands], rest, options)))
        operands = [_stacked(x) if isinstance(x, list | tuple) else x for x in operands]
        flags = [isinstance(x, Batched) and x.level is level for x in operands]
        payloads = [x.payload if flag else x for x, flag in zip(operands, flags, strict=True)]
        result = batch_function(rule)(
            rule,
            payloads,
            flags,
            *(spread(x, level) for x in rest),
            **{name: spread(x, level) for name, x in options.items()},
        )
        return result if batch_function(rule) is of_an_example else rebatched(result, level)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if contexts.examples and newest([args, options]) in contexts.examples:
            return function(*of_this_example(args), **of_this_example(options))
        name = f"np.{function.__name__}"
        if function in SHAPED_BY_VALUES or (function in SHAPED_BY_CONDITION and isinstance(args[0], Batched)):
            raise shape_depends(name)
        try:
            return super().__array_function__(function, types, args, options)
        except ConcreteValueError:
            if isinstance(functions.get(function), Rule):
                raise
            return each(function, args, options, name)  # it is not the program but NumPy's function that decides

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if contexts.examples and newest([inputs, options]) in contexts.examples:
            return getattr(ufunc, method)(*of_this_example(inputs), **of_this_example(options))
        if method == "__call__" and not options:
            if ufunc is np.frexp:
                return each(ufunc, inputs, options, "np.frexp")
            return super().__array_ufunc__(ufunc, method, *inputs)
        if method == "at":
            return _write_at(ufunc, *inputs)
        out = options.pop("out", None)
        if method == "__call__" and not options:
            result = super().__array_ufunc__(ufunc, method, *inputs[: ufunc.nin])
        elif ufunc in TOGETHER.get(method, ()):
            result = super().__array_ufunc__(ufunc, method, *inputs, **options)
        elif method == "outer":
            result = super().__array_ufunc__(ufunc, method, *inputs)
        else:
            result = each(getattr(ufunc, method), inputs, options, f"np.{ufunc.__name__}")
        if out is None or all(target is None for target in out):
            return result
        results = result if isinstance(result, tuple) else (result,)
        outs = [target if target is None else overwrite(target, y) for target, y in zip(out, results, strict=True)]
        return outs[0] if len(outs) == 1 else tuple(outs)

    @staticmethod
    def in_turn(function: Any, args: Sequence[Any], name: str, options: dict[str, Any] | None = None) -> Any:
        """Call a function for one example after the other."""
        return each(function, args, options or {}, name)

    def buffer(self, value: Any) -> Tensor:
        """Memory to write into, of its own for each example."""
        return cast(Tensor, wrapped(np.copy(bottom(lifted_to(value, *levels_of(self)))), levels_of(self)))

    # -- writing -----------------------------------------------------------------------------------------------------
    @staticmethod
    def write(write: Any, target: Tensor, index: Any, value: Any) -> None:
        """Let `write(target, index, value)`, which is for one example, work where one of the three is batched."""
        level = newest([target, index, value])
        if level in contexts.examples:
            write(not_batched(target), of_this_example(index), of_this_example(value))
            return
        become_batched(target, level)
        payload, where = cast(Batched, target).payload, spread(index, level)
        batched = isinstance(value, Batched) and value.level is level
        values = value.payload if batched else value
        if isinstance(where, Spread) and where.values.dtype.kind == "b":
            name = "put" if write is setitem else "add_at"
            setitem(
                payload, ..., batch_function(rules[name])(rules[name], [payload, values], [True, batched], index=where)
            )
        else:
            everywhere = Index(where, payload.shape[1:], level.size)
            write(payload, everywhere.parts, everywhere.to_write(values, batched))

    @staticmethod
    def overwrite(target: Tensor, result: Any) -> Tensor:
        """Let `target` hold `result`, where one of the two is batched."""
        level = newest([target, result])
        if level in contexts.examples:
            return overwrite(not_batched(target), of_this_example(result))
        become_batched(target, level)
        overwrite(cast(Batched, target).payload, lifted_to(result, level).payload)
        return target


TOGETHER: dict[str, tuple[np.ufunc, ...]] = {  # methods of ufuncs that are done for all examples at once
    "reduce": (np.add, np.multiply, np.maximum, np.minimum),
    "accumulate": (np.add, np.multiply),
}

INSTEAD = {
    "bool": "Write np.where(condition, a, b) instead of `if condition:`, and & | ~ instead of `and`, `or`, `not`",
    "an index": "Index a Tensor: cr.Tensor(table)[i], for of a plain array Python asks for one number. A slice must be "
    "as long for every example: x[start + np.arange(n)]",
    "int": "Keep it in an array: floor it with np.floor, index a Tensor with it",
    "float": "Write NumPy's function instead of the math module's, and keep the value in an array",
    "np.asarray": "A plain array cannot hold it: write into np.zeros_like(x) of a batched x, or a cr.Tensor; make an "
    "array of several numbers by np.stack",
    "t.item": "Keep the value in an array",
    "t.tolist": "Keep the values in an array",
}


# -- levels ------------------------------------------------------------------------------------------------------
def batch_of(level: Level, payload: Tensor) -> Batched:
    """The examples along the first axis of a Tensor, as one."""
    tensor = object.__new__(Batched)
    _set_payload(tensor, payload)
    _set_level(tensor, level)
    return tensor


def tensor_of(x: Any) -> Tensor:
    """A Tensor, a constant one of anything else; of any dtype."""
    x = tensor_like(x)
    return x if isinstance(x, Tensor) else handle(None, x if hasattr(x, "dtype") else np.asarray(x)[()])


def newest(args: Any) -> Level:
    """The newest level in arguments."""
    found: list[Level] = []

    def look(x: Any) -> None:
        if isinstance(x, Batched):
            found.append(x.level)
        elif isinstance(x, list | tuple | dict):
            for part in x.values() if isinstance(x, dict) else x:
                look(part)

    look(args)
    level = max(found, key=lambda level: level.index)
    if level.closed:
        raise LeakedValueError(
            f"{user_line()}a batched value is used after the vmap that made it has returned: return it from the "
            "function instead of storing it elsewhere"
        )
    return level


def spread(x: Any, level: Level) -> Any:
    """An argument as batch functions see it: what is batched at this level as a `Spread`."""
    if isinstance(x, Batched) and x.level is level:
        return Spread(x.payload)
    return type(x)(spread(part, level) for part in x) if type(x) in (tuple, list) else x


def of_this_example(x: Any) -> Any:
    """Arguments for the example that is worked on, of each batch whose examples are worked on one by one."""
    if isinstance(x, Batched):
        i = contexts.examples.get(x.level)
        if i is None:
            return x
        return of_this_example(x.payload[i]) if x.level.size else np.zeros(x.shape, x.dtype)[()]
    if type(x) is dict:
        return {key: of_this_example(part) for key, part in x.items()}
    return type(x)(map(of_this_example, x)) if type(x) in (tuple, list) else x


def not_batched(target: Tensor) -> Tensor:
    """What is written to by a function that is called for one example after the other."""
    if isinstance(target, Batched) and target.level in contexts.examples:
        raise InPlaceError(
            f"{user_line()}a function that is called for one example of vmap at a time writes into {describe(target)}, "
            "which was made outside of it. Write into a copy"
        )
    return target


def rebatched(result: Any, level: Level) -> Any:
    """What a batch function returned, as one example."""
    if isinstance(result, dict):
        for key in result:
            result[key] = rebatched(result[key], level)
        return result
    if type(result) in (tuple, list) or hasattr(result, "_fields"):
        parts = [rebatched(part, level) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return None if result is None else wrapped(result, [level])


def levels_of(x: Any) -> list[Level]:
    """The levels at which a value is batched, the oldest first."""
    levels = []
    while isinstance(x, Batched):
        levels.append(x.level)
        x = x.payload
    return levels[::-1]


def bottom(x: Any) -> Any:
    """The examples of all levels, the oldest level's axis first."""
    while isinstance(x, Batched):
        x = x.payload
    return x


def wrapped(x: Any, levels: Sequence[Level]) -> Any:
    """The inverse of `lowered`: the first axes are the examples of these levels, the oldest first."""
    own = levels_of(x) if levels else []
    if own:  # the outermost batch must be of the newest level
        both = [*own, *levels]
        order = sorted(range(len(both)), key=lambda i: both[i].index)
        x, levels = bottom(x), [both[i] for i in order]
        x = np.transpose(x, [*order, *range(len(order), x.ndim)])
    x = tensor_of(x) if levels else x
    for level in levels:
        x = batch_of(level, x)
    return x


def lifted_to(x: Any, *levels: Level) -> Any:
    """The same value for every example of these levels, where it is not batched already."""
    for level in levels:
        x = _lifted(tensor_of(x), level)
    return x


def _lifted(x: Tensor, level: Level) -> Batched:
    if isinstance(x, Batched) and x.level.index >= level.index:
        return x if x.level is level else batch_of(x.level, _lifted_below(x, level))
    return batch_of(level, tensor_of(np.broadcast_to(cast(Any, x), (level.size, *x.shape))))


def _lifted_below(x: Batched, level: Level) -> Any:
    return _lifted(x.payload, level)


def lowered(x: Any, levels: Sequence[Level]) -> Any:
    """The examples of these levels along axes in front; what else it is batched over, it stays batched over."""
    if not levels:
        return x
    own = levels_of(x := lifted_to(x, *levels))
    extra = [level for level in own if level not in levels]
    order = [own.index(level) for level in (*extra, *levels)]
    x = bottom(x)
    if order != sorted(order):
        x = np.transpose(x, [*order, *range(len(order), x.ndim)])
    return wrapped(x, extra) if extra else x if x.node is not None else x.data


def together(function: Callable[[list[Any]], list[Any]], arrays: Sequence[Any]) -> list[Any]:
    """Call a function from arrays to arrays for many examples, along an axis in front of each array, all at once."""
    with entered(Level(len(arrays[0]))) as level:
        found = function([wrapped(x, [level]) for x in arrays])
        return [x.payload if level in levels_of(x) else np.copy(lifted_to(x, level).payload) for x in found]


def become_batched(tensor: Tensor, level: Level) -> None:
    """Let a handle, and all others on its memory, be batched from now on, for a batched value is written to it.

    Raises
    ------
    InPlaceError
        If it belongs to the world outside of the function that is batched, or its other handles are not known.
    """
    if level in levels_of(tensor):
        return
    if isinstance(tensor, Batched) or tensor.written or (tensor.node is not None and tensor.node.index < level.index):
        raise InPlaceError(
            f"{user_line()}a batched value is written into {describe(tensor)}, which is the same for all examples. "
            "Make what is written to inside of the function, from a batched value: np.zeros_like(x), np.copy(y) + 0 * x"
        )
    root = tensor
    while hasattr(root, "origin"):
        root = root.origin[0]
    whole = _lifted(handle(root.node, root.data), level)
    waiting: list[tuple[Any, Any]] = [(root, np.copy(cast(Any, whole)))]
    for handled, batch in waiting:  # grows as it goes
        for reference in getattr(handled, "views", ()):
            view = reference()
            if view is not None:
                _, rule, (rest, options) = view.origin
                waiting.append((view, Batched.batched(rule, (batch,), rest, options)))
        handled.__class__ = Batched
        _set_payload(handled, batch.payload)
        _set_level(handled, level)


def _stacked(parts: Any) -> Any:
    """A list as an array, where batched values may be in it."""
    return np.stack(parts) if batched_among(parts) is not None else tensor_like(np.asarray(parts))


def each(function: Any, args: Sequence[Any], options: dict[str, Any], name: str, level: Level | None = None) -> Any:
    """Call any function of arrays for one example after the other, of a level that is among its arguments or given.

    What is batched at this level, and comes from where the function was defined, is one example's meanwhile, too.
    """
    level = newest([args, options]) if level is None else level
    given = {key: spread(x, level) for key, x in options.items()}
    inside, before = contexts.levels, contexts.examples

    def one(i: Any, *args: Any, **options: Any) -> Any:
        contexts.examples = before | {level: int(i)}
        return of_this_example(function(*args, **options))

    contexts.levels = [each for each in inside if each is not level]  # what is made meanwhile is for one example
    numbers = Spread(np.arange(level.size))
    try:
        return rebatched(in_turn(one, level.size, [numbers, *(spread(x, level) for x in args)], given, name), level)
    finally:
        contexts.levels, contexts.examples = inside, before


def _write_at(ufunc: Any, target: Any, index: Any, *values: Any) -> None:
    """A ufunc's `at`: it writes to its first argument."""
    if ufunc in (np.add, np.subtract):
        add_at(target, index, values[0] if ufunc is np.add else np.negative(values[0]))
        return

    def changed(x: Any, *args: Any) -> Any:
        x = Tensor(x) if not isinstance(x, Tensor) else np.copy(cast(Any, x))
        ufunc.at(x, *args)
        return x

    overwrite(target, each(changed, (target, index, *values), {}, f"np.{ufunc.__name__}.at"))
