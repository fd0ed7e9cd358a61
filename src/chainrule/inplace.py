"""In-place writes, with NumPy's meaning: a write through any view reaches the base and all its other views.

A Tensor is a handle on a node.  Writing makes a new node, for the array after the write; handles move on to it, nodes
stay what they are.  Until its first write, memory may be shared with anything (a user's array, what a node keeps), so
the first write copies it once.  From then on the memory is the business of its handles alone, which are of the class
`Written`: they look up the newest node, and what a derivative must keep of them is copied as it is used.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from weakref import ref

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .errors import InPlaceError
from .graph import Gone, Node, constant, contexts, leaf, next_index, watchers
from .memory import owns
from .rules.indexing import Steps, is_basic, shown
from .rules.linear import as_array, grid
from .rules.registry import Rule, implements, rules
from .tensor import (
    Indirect,
    Tensor,
    batched_among,
    describe,
    handle,
    named,
    plain,
    plain_index,
    record,
    tensor_like,
    watched,
)

__all__ = ["Written", "add_at", "overwrite", "setitem"]

ndarray = np.ndarray
REPLACED = Gone(
    "replaced",
    "a leaf of this graph was written to under no_grad() after the graph was made, so its gradient would belong to a "
    "value that is gone. Call backward() before the update, or compute the result again.",
)
_get_node, _set_node = (getattr(Tensor.__dict__["node"], name) for name in ("__get__", "__set__"))


class Memory:
    """An array that is written to.

    Attributes
    ----------
    data : the array, which nobody but handles on this memory has
    node : says how the present content came about; None if it depends on nothing
    version : number of writes
    root : weak reference to the handle that shows all of it
    """

    __slots__ = ("data", "node", "root", "version")

    def __init__(self, root: Tensor) -> None:
        self.data = np.copy(root.data, order="K")
        self.node = root.node
        self.root = ref(root)
        self.version = 0


class Place:
    """Which part of which memory a handle shows, and up to which version its node is known."""

    __slots__ = ("memory", "steps", "version")

    def __init__(self, memory: Memory, steps: Steps) -> None:
        self.memory = memory
        self.steps = steps
        self.version = memory.version


class Written(Indirect):
    """A Tensor on memory that has been written to."""

    __slots__ = ()
    written = True

    @property
    def node(self) -> Node | None:  # type: ignore[override]
        """How the present value came about."""
        place = self.origin
        memory = place.memory
        if place.version != memory.version:
            place.version = memory.version
            _set_node(self, memory.node)
            if place.steps and memory.node is not None:
                whole = handle(memory.node, memory.data)
                become_written(whole, Place(memory, ()))
                with everything_visible():
                    _set_node(self, shown(whole, place.steps).node)
        return _get_node(self)  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Tensor:
        if index.__class__ is int or index.__class__ is slice:  # of which nothing is kept that may change
            return Tensor.__getitem__(self, index)
        return super().__getitem__(index)

    def _shows(self, view: Tensor, rule: Rule, params: Any) -> None:
        place = self.origin
        become_written(view, Place(place.memory, (*place.steps, (rule, *params))))


Written.__name__ = "Tensor"  # for users there is one class


def become_written(tensor: Tensor, place: Place) -> None:
    """Make a handle look up its node."""
    tensor.origin = place
    tensor.__class__ = Written


@contextmanager
def everything_visible() -> Iterator[None]:
    """Record as if outside `no_grad`: what a Tensor is does not depend on where it is looked at."""
    stack = contexts.stack
    contexts.stack = [context for context in stack if not context.oldest]
    try:
        yield
    finally:
        contexts.stack = stack


# -- becoming written ------------------------------------------------------------------------------------------------
def is_shared(tensor: Tensor) -> bool:
    """Whether another Tensor shows the same memory, as far as this one knows."""
    return hasattr(tensor, "origin") or (hasattr(tensor, "views") and bool(tensor.views.alive()))


def written(tensor: Tensor) -> Place:
    """Give memory that is about to be written to an array of its own, and all its handles the class `Written`."""
    if tensor.written:
        return tensor.origin  # type: ignore[no-any-return]
    root = tensor
    while hasattr(root, "origin"):
        root = root.origin[0]
    data = root.data
    if not hasattr(data, "strides"):
        raise InPlaceError(
            f"in-place write to {describe(tensor)}, which holds a {type(data).__name__}, which has no memory to "
            "write to. Write the out-of-place form: y = np.where(mask, v, y), y = y * 2."
        )
    memory = Memory(root)
    waiting: list[tuple[Tensor, Any, Steps]] = [(root, memory.data, ())]
    for shower, part, steps in waiting:  # grows as it goes
        for reference in getattr(shower, "views", ()):
            view = reference()
            if view is not None:
                _, rule, (rest, options) = view.origin
                waiting.append((view, rule.value(part, *rest, **options), (*steps, (rule, rest, options))))
        shower.data = part
        become_written(shower, Place(memory, steps))
    return cast(Place, tensor.origin)


def replaced_leaf(node: Node | None, value: Any, holder: Tensor | None) -> Node | None:
    """Under `no_grad`, writing to a leaf sets its value: the new leaf, which takes the place of this one."""
    if not is_hidden(node) or not hasattr(node, "grad"):
        return None
    assert node is not None
    fresh = leaf(value, node.name)
    fresh.index, fresh.grad = node.index, node.grad  # as old as it was: a constant for this `no_grad` too
    node.rule = REPLACED
    if holder is not None:
        holder.leaf = fresh
    return fresh


def is_hidden(node: Node | None) -> bool:
    """Whether a node counts as a constant here, under `no_grad`."""
    return bool(watchers) and node is not None and any(node.index < context.oldest for context in contexts.stack)


# -- writing -----------------------------------------------------------------------------------------------------------
def advance(tensor: Tensor, rule: Rule, value: Any, index: Any, change: Callable[[Any, Any, Any], Any]) -> None:
    """Write: change the memory, then record on the whole of it what was done to the part that `tensor` shows."""
    place = written(tensor)
    memory, node, given = place.memory, getattr(value, "node", None), plain(value)
    before = memory.data
    if watchers and (contexts.debug is not None or any(context.traces for context in contexts.stack)):
        before = np.copy(before, order="K")
    try:
        change(tensor.data, index, given)
    except (ValueError, TypeError, IndexError) as error:
        raise named(error, "in-place write", (tensor, value)) from None
    fresh = replaced_leaf(memory.node, memory.data, memory.root())
    if fresh is not None:
        memory.node = fresh
    elif memory.node is not None or node is not None:
        params = ((), {"index": index, "steps": place.steps} if place.steps else {"index": index})
        if not watchers:
            after = Node()  # what `made` does, in half the time: a write keeps no value
            after.rule = rule
            after.operands = memory.node or constant(before, False), node or constant(given, False)
            after.params = params
            after.value = None
            after.shape, after.dtype = before.shape, before.dtype
            after.index = next_index()
            memory.node = after
        else:
            # Under no_grad what is written counts as a constant; what it is written to keeps its history.
            nodes = [memory.node, None if is_hidden(node) else node]
            with everything_visible():
                memory.node = watched(rule, nodes, [before, given], memory.data, params, written=1).node
    memory.version += 1


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Write into this Tensor, as NumPy does: `t[index] = value`, with every kind of index."""
    where = index if is_basic(index) else plain_index(index)
    if type(value) in (list, tuple):
        value = np.asarray(value)
    value = tensor_like(value)
    if (contexts.levels or contexts.examples) and (batch := batched_among((self, where, value))) is not None:
        batch.write(setitem, self, where, value)
    elif not self.ndim:
        settle(self, record(rules["put"], (self, value), (), {"index": where}))
    elif not (value.__class__ is Written and _is_part(value, self, index)):
        advance(self, rules["write_put"], value, where, operator.setitem)


def _is_part(value: Tensor, whole: Tensor, index: Any) -> bool:
    """Whether Python is about to store what it has just changed in place: the second half of `y[index] += v`."""
    if not whole.written or value.origin.memory is not whole.origin.memory or not value.origin.steps:
        return False
    *before, (rule, rest, _) = value.origin.steps
    if rule is not rules["getitem"] or tuple(before) != whole.origin.steps:
        return False
    # Since Python 3.12, `y[a:b] += v` makes the slice twice.
    return rest[0] is index or (type(index) is type(rest[0]) is slice and rest[0] == index)


def add_at(target: Tensor, index: Any, value: Any) -> None:
    """Add at an index, several times where a place is repeated, as `np.add.at` does."""
    if (contexts.levels or contexts.examples) and (batch := batched_among((target, index, value))) is not None:
        batch.write(add_at, target, index, value)
    elif target.ndim:
        advance(target, rules["write_add_at"], value, index, np.add.at)
    else:
        settle(target, rules["add_at"](target, value, index=index))


def overwrite(target: Any, result: Any) -> Tensor:
    """Let `target` hold `result` from now on, as `y += v` and `out=y` do.

    Raises
    ------
    InPlaceError
        If `target` is a plain array, or has another shape or a narrower dtype.
    """
    target = target[0] if type(target) is tuple and len(target) == 1 else target
    if not isinstance(target, Tensor):
        raise no_place(target)
    result = result if isinstance(result, Tensor) else handle(None, result)
    if result.shape != target.shape:
        raise InPlaceError(f"cannot write {describe(result)} into {describe(target)}")
    if result.dtype != target.dtype:
        if not np.can_cast(result.dtype, target.dtype, "same_kind"):
            raise InPlaceError(f"cannot write {describe(result)} into {describe(target)}: the dtype would be narrowed")
        result = cast(Tensor, result.astype(target.dtype))
    if (contexts.levels or contexts.examples) and (batch := batched_among((target, result))) is not None:
        return cast(Tensor, batch.overwrite(target, result))
    if not target.ndim or not (target.written or is_shared(target)):
        settle(target, result)
    elif (place := written(target)).steps:
        setitem(target, ..., result)
    else:  # all of the memory: what was there before does not matter
        memory = place.memory
        memory.data[...] = result.data
        memory.node = replaced_leaf(memory.node, memory.data, target) or result.node
        memory.version += 1
    return target


def no_place(target: Any) -> InPlaceError:
    """What is raised where a Tensor would be written into something else."""
    return InPlaceError(
        f"a Tensor cannot be written into an {describe(target)}: the derivative would be lost. Write `y = y + t` "
        "instead of `y += t`, or make the target a Tensor: np.zeros_like(t), np.zeros(shape, like=t), Tensor(array)."
    )


def settle(target: Tensor, result: Tensor) -> None:
    """Let a handle that shares its memory with no other hold a result: nothing is copied."""
    data = result.data
    if isinstance(data, ndarray) and (hasattr(result, "origin") or not owns(data)):
        data = np.copy(data)
    target.node = replaced_leaf(target.node, data, target) or result.node
    target.data = data


# -- NumPy's functions that write ------------------------------------------------------------------------------------
def target_of(a: Any, function: str) -> Tensor:
    """The Tensor that a function writes to.

    Raises
    ------
    InPlaceError
        If it is a plain array, into which Tensors cannot be written.
    """
    if not isinstance(a, Tensor):
        raise InPlaceError(f"np.{function}: {no_place(a)}")
    return a


def cycled(values: Any, count: int) -> Any:
    """The first `count` of the values, repeated as often as it takes."""
    values = np.ravel(tensor_like(as_array(values)))
    return values if values.size == count else values[np.arange(count) % max(values.size, 1)]


def spots(a: Any, flat_index: Any) -> tuple[Any, ...]:
    """The index of elements that are counted through the whole array."""
    return np.unravel_index(as_array(flat_index).astype(int), a.shape)


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    dst, src = target_of(dst, "copyto"), tensor_like(as_array(src))
    if not np.can_cast(src.dtype, dst.dtype, casting):
        raise TypeError(f"np.copyto from dtype {src.dtype} to {dst.dtype}: no cast by the rule {casting!r}")
    if where is True:
        setitem(dst, ..., src)
    else:
        mask = np.broadcast_to(plain(where), dst.shape)
        extra = max(0, src.ndim - dst.ndim)  # leading axes of length 1 fall away, as in an assignment
        src = np.reshape(src, src.shape[extra:]) if extra and src.shape[:extra] == (1,) * extra else src
        setitem(dst, mask, np.broadcast_to(src, dst.shape)[mask])


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    a = target_of(a, "put")
    take: Any = np.take
    places = take(grid((a.size,), plain(ind)), np.ravel(plain(ind)).astype(int, casting="same_kind"), mode=mode)
    if places.size and np.size(plain(v)):
        setitem(a, spots(a, places), cycled(v, places.size))


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    a, mask = target_of(a, "putmask"), as_array(plain(mask)).astype(bool)
    if mask.size != a.size:
        raise ValueError(f"np.putmask: a mask of shape {mask.shape} for an array of shape {a.shape}")
    if np.size(plain(values)):
        places = np.flatnonzero(mask)
        setitem(a, spots(a, places), cycled(values, a.size)[places])


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    arr, mask = target_of(arr, "place"), as_array(plain(mask)).astype(bool)
    places = np.flatnonzero(mask)
    if places.size and not np.size(plain(vals)):
        raise ValueError("np.place: no values to write")
    setitem(arr, spots(arr, places), cycled(vals, places.size))


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    a = target_of(a, "fill_diagonal")
    places = np.zeros(a.shape, bool)
    np.fill_diagonal(places, val=True, wrap=wrap)
    index = np.nonzero(places)
    setitem(a, index, cycled(val, index[0].size))


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    arr, indices = target_of(arr, "put_along_axis"), plain(indices)
    if axis is None:
        arr, axis = Flat(arr), 0
        arr[indices] = values
        return
    axis = normalize_axis_index(axis, arr.ndim)
    shape = [1] * arr.ndim
    places = []
    for i, n in enumerate(arr.shape):
        across = [*shape[:i], n, *shape[i + 1 :]]
        places.append(indices if i == axis else np.arange(n).reshape(across))
    setitem(arr, tuple(places), values)


class Flat:
    """The elements of a Tensor in C order, to iterate over, read and write: ndarray's `flat`."""

    def __init__(self, tensor: Tensor) -> None:
        self.base = tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter(np.ravel(cast(Any, self.base)))

    def __len__(self) -> int:
        return self.base.size

    def __getitem__(self, index: Any) -> Any:
        return np.copy(np.ravel(cast(Any, self.base))[plain_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        places = np.arange(self.base.size)[plain_index(index)]
        setitem(self.base, spots(self.base, places), np.reshape(cycled(value, places.size), places.shape))


# -- ndarray's methods that write -------------------------------------------------------------------------------------
def _fill(self: Tensor, value: Any) -> None:
    """Write one value everywhere, as ndarray's `fill` does."""
    setitem(self, ..., value)


def _sort(self: Tensor, axis: int = -1, kind: Any = None, order: Any = None, **options: Any) -> None:
    """Sort in place, as ndarray's `sort` does."""
    overwrite(self, np.sort(cast(Any, self), axis, kind, order, **options))


def _partition(self: Tensor, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None) -> None:
    """Partition in place, as ndarray's `partition` does."""
    overwrite(self, np.partition(cast(Any, self), kth, axis, kind, order))


def _set_real(self: Tensor, value: Any) -> None:
    setitem(np.real(cast(Any, self)), ..., value)


def _set_imag(self: Tensor, value: Any) -> None:
    if self.dtype.kind != "c":
        raise TypeError(f"{describe(self)} has no imaginary part to set")
    setitem(np.imag(cast(Any, self)), ..., value)


def _set_flat(self: Tensor, value: Any) -> None:
    Flat(self)[:] = value


def _refused(name: str, instead: str) -> Callable[..., None]:
    def method(self: Tensor, *args: Any, **options: Any) -> None:
        raise InPlaceError(f"t.{name}() of {describe(self)} would change what its memory means; {instead}")

    return method


for _name, _method in {
    "__setitem__": setitem,
    "fill": _fill,
    "sort": _sort,
    "partition": _partition,
    "put": put,
    "resize": _refused("resize", "write t = np.resize(t, shape)"),
    "setfield": _refused("setfield", "write to t[...]"),
}.items():
    setattr(Tensor, _name, _method)
for _name, _setter in {"real": _set_real, "imag": _set_imag}.items():
    setattr(Tensor, _name, Tensor.__dict__[_name].setter(_setter))
setattr(Tensor, "flat", property(Flat, _set_flat, doc="The elements in C order, to iterate over, read and write."))
