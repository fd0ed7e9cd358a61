"""How rules are applied to many examples at once: what `vmap` and batched derivatives do with each operation.

A batch function is called as `batch(rule, operands, batched, *rest, **options)`.  Operands that are `batched` have the
examples along an axis in front; the others are the same for every example.  The result has the examples in front.
Further arguments that differ from example to example come as a `Spread`.  Like all rules these are plain NumPy, which
runs on arrays and on Tensors, so that the result has derivatives in every mode and may be batched again.

Most operations belong to a family (elementwise, along an axis, matrices on the last axes, ...).  What has no function
of its own is done example by example, and stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..errors import ConcreteValueError, user_line
from . import declared, decompositions, elementwise, fft, indexing, linalg, signal, special, statistics  # noqa: F401 (their rules)
from .contractions import LETTERS
from .linear import as_array, everything, grid, plain
from .registry import Rule, apply, rules

__all__ = [
    "FAMILIES",
    "SHAPED_BY_CONDITION",
    "SHAPED_BY_VALUES",
    "Spread",
    "batch_function",
    "in_turn",
    "one_by_one",
    "shape_depends",
    "with_axes",
]

Operands = Sequence[Any]
Flags = Sequence[bool]


class Spread:
    """A further argument that differs from example to example: all of them, along an axis in front."""

    def __init__(self, values: Any) -> None:
        self.values = values


# -- one by one --------------------------------------------------------------------------------------------------
def _taken(x: Any, i: int | None) -> Any:
    """Example `i` of an argument, also inside of tuples and lists; None: zeros like an example."""
    if isinstance(x, Spread):
        values = x.values if getattr(x.values, "node", None) is not None else plain(x.values)
        if i is None:
            return np.zeros(values.shape[1:], values.dtype)[()]
        flags = getattr(everything(values[i]), "flags", None)  # some of SciPy's functions want it in one piece
        return values[i] if flags is None or flags.c_contiguous else np.copy(values[i], order="C")
    if type(x) in (tuple, list):
        return type(x)(_taken(part, i) for part in x)
    return x


def _stacked(results: list[Any], name: str) -> Any:
    first = results[0]
    if all(result is None for result in results):
        return None
    if isinstance(first, tuple | list):
        parts = [_stacked(list(each), name) for each in zip(*results, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if isinstance(first, dict):  # a result with names: what examples cannot have in one array is left out
        result = copy(first)
        for key in first:
            try:
                result[key] = _stacked([each[key] for each in results], name)
            except ConcreteValueError:
                del result[key]
        return result
    results = [
        as_array(x) if isinstance(x, int | float | complex) or hasattr(type(x), "_record") else x for x in results
    ]
    if not hasattr(results[0], "dtype"):
        raise ConcreteValueError(
            f"{user_line()}{name} of a batched value: it returns a {type(first).__name__}, not an array"
        )
    if len({np.shape(result) for result in results}) > 1:
        raise ConcreteValueError(
            f"{user_line()}{name} of a batched value: its result has another shape from example to example, "
            f"{', '.join(str(shape) for shape in sorted({np.shape(result) for result in results}))}"
        )
    return np.stack(results)


def in_turn(function: Callable[..., Any], size: int, args: Sequence[Any], options: dict[str, Any], name: str) -> Any:
    """Call a function for one example after the other, and stack what it returns."""

    def call(i: int | None) -> Any:
        return function(*_taken(list(args), i), **{key: _taken(x, i) for key, x in options.items()})

    if size:
        return _stacked([call(i) for i in range(size)], name)
    return _none_of(call(None))


def _none_of(result: Any) -> Any:
    """No example of what a function returns."""
    if isinstance(result, tuple | list):
        return type(result)(map(_none_of, result))
    return np.zeros((0, *np.shape(result)), getattr(result, "dtype", None))


def one_by_one(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """Apply a rule to one example after the other: right for every rule, at the price of a Python loop."""
    spread = [Spread(x) if flag else x for x, flag in zip(operands, batched, strict=True)]
    size = next(len(each.values) for each in _spreads([*spread, *rest, *options.values()]))
    n = len(spread)
    return in_turn(
        lambda *args, **given: apply(rule, args[:n], args[n:], given), size, [*spread, *rest], options, rule.name
    )


def _spreads(x: Any) -> Any:
    if isinstance(x, Spread):
        yield x
    elif type(x) in (tuple, list):
        for part in x:
            yield from _spreads(part)


# -- shapes --------------------------------------------------------------------------------------------------------
def _rank(x: Any, batched: bool) -> int:
    """The number of axes of an example."""
    return np.ndim(x) - batched


def with_axes(x: Any, rank: int, core: int = 0) -> Any:
    """Examples with axes of length 1 in front of theirs, so that they have `rank`, the last `core` not counted."""
    missing = rank + core - (x.ndim - 1)
    return np.reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:])) if missing > 0 else x


def _repeated(x: Any, size: int) -> Any:
    """The same example, `size` times."""
    return np.broadcast_to(x, (size, *np.shape(x)))


def _all_batched(operands: Operands, batched: Flags) -> list[Any]:
    size = next(len(x) for x, flag in zip(operands, batched, strict=True) if flag)
    return [x if flag else _repeated(x, size) for x, flag in zip(operands, batched, strict=True)]


def _aligned(operands: Operands, batched: Flags, cores: Sequence[int] | None = None) -> list[Any]:
    """Operands whose axes, but for the last `cores`, broadcast against each other example by example."""
    cores = cores or (0,) * len(operands)
    rank = max(_rank(x, flag) - core for x, flag, core in zip(operands, batched, cores, strict=True))
    return [with_axes(x, rank, core) if flag else x for x, flag, core in zip(operands, batched, cores, strict=True)]


def _shifted(axis: Any, rank: int) -> Any:
    """Axes of an example as axes of all of them."""
    if type(axis) is int or np.ndim(axis) == 0:
        return normalize_axis_index(axis, rank) + 1
    return tuple(i + 1 for i in normalize_axis_tuple(axis, rank))


def _flat(x: Any) -> Any:
    """Every example as a vector."""
    return np.reshape(x, (x.shape[0], prod(x.shape[1:])))


def _of_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make the batch function of a rule for one operand from `function(rule, x, *rest, **options)`.

    Where another argument differs from example to example too, the rule is applied one by one.
    """

    def batch(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
        if not batched[0] or next(_spreads([*rest, *options.values()]), None) is not None:
            return one_by_one(rule, operands, batched, *rest, **options)
        return function(rule, operands[0], *rest, **options)

    batch.__doc__ = function.__doc__
    return batch


# -- families --------------------------------------------------------------------------------------------------------
def by_elements(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """Axes are added where examples have fewer."""
    if any(True for _ in _spreads([*rest, *options.values()])):
        return one_by_one(rule, operands, batched, *rest, **options)
    return apply(rule, _aligned(operands, batched), rest, options)


def by_elements_of_arguments(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """The same where further operands come as arguments: `np.isclose(a, b)`."""
    spread = [isinstance(x, Spread) for x in rest]
    everything = [*operands, *(x.values if flag else x for x, flag in zip(rest, spread, strict=True))]
    aligned = _aligned(everything, [*batched, *spread])
    return apply(rule, aligned[:1], tuple(aligned[1:]), options)


@_of_one
def matrices(rule: Rule, x: Any, *rest: Any, **options: Any) -> Any:
    """What works on the last axes works on stacks."""
    return apply(rule, [x], rest, options)


@_of_one
def along_axis(rule: Rule, x: Any, *rest: Any, **options: Any) -> Any:
    """An axis that stays, or goes; without one, or where it is None, the examples are vectors."""
    name, default = AXES.get(rule.name, ("axis", -1))
    if rest:  # by position: some rules have arguments before the axis
        options |= dict(zip(POSITIONS.get(rule.name, (name,)), rest, strict=False))
    axis, rank = options.pop(name, default), x.ndim - 1
    if axis is not None and rank:
        return apply(rule, [x], (), {**options, name: _shifted(axis, rank)})
    flat = apply(rule, [_flat(x)], (), {**options, name: 1})
    return np.reshape(flat, x.shape) if rule.name.removeprefix("scipy_") in KEEP_SHAPE else flat


def reduction(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """Sums and their like, with axis, keepdims and a mask."""
    if rest:
        options |= dict(zip(POSITIONS.get(rule.name, ("axis",)), rest, strict=False))
    x, where = operands[0], options.pop("where", True)
    axis, keepdims = options.pop("axis", None), options.pop("keepdims", False)
    if any(True for _ in _spreads([axis, *options.values()])):
        return one_by_one(rule, operands, batched, axis=axis, keepdims=keepdims, where=where, **options)
    if isinstance(where, Spread):
        (x,) = _all_batched([x, where.values], [batched[0], True])[:1]
        where = with_axes(where.values, x.ndim - 1)
    shape = x.shape[1:]
    if axis is None:  # in the order in which NumPy adds up one example
        if where is not True:
            where = _flat(np.broadcast_to(where, x.shape))
        axes: Any = 1
        kept, x = (x.shape[0], *(1,) * len(shape)), _flat(x)
    else:
        axes = _shifted(axis, len(shape)) if shape else ()
    masked = {} if where is True else {"where": where}
    kept_axes = {"keepdims": True} if keepdims and axis is not None else {}
    result = apply(rule, [x], (), {"axis": axes, **kept_axes, **masked, **options})
    return np.reshape(result, kept) if keepdims and axis is None else result


@_of_one
def order_statistic(rule: Rule, x: Any, *, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """Medians and quantiles: the axes of `q` come first."""
    weights, shape = options.pop("weights", None), x.shape[1:]
    if weights is not None:
        if np.shape(weights) == shape:
            options["weights"] = np.broadcast_to(weights, x.shape)
        else:
            options["weights"] = weights
    if axis is None:
        x = _flat(x)
        axes: Any = 1
        if weights is not None:
            options["weights"] = _flat(options["weights"])
    else:
        axes = _shifted(axis, len(shape)) if shape else ()
    result = apply(rule, [x], (), {"axis": axes, "keepdims": keepdims and axis is not None, **options})
    rank = np.ndim(options.get("q", 0.0))
    result = np.moveaxis(result, rank, 0) if rank else result
    return np.reshape(result, (*result.shape[: rank + 1], *(1,) * len(shape))) if keepdims and axis is None else result


def of_an_example(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """What looks at shapes and dtypes only: it is the same for every example."""
    spread = [Spread(x) if flag else x for x, flag in zip(operands, batched, strict=True)]
    args = [_taken(x, None) for x in [*spread, *rest]]
    return rule.value(*args, **{name: _taken(x, None) for name, x in options.items()})


def data_dependent(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """The shape of the result depends on the values, so that examples cannot be in one array."""
    raise shape_depends(f"np.{rule.name}")


def shape_depends(name: str) -> ConcreteValueError:
    """The error of a function that `data_dependent` speaks of."""
    return ConcreteValueError(
        f"{user_line()}{name} of a batched value: the shape of its result depends on the values of each example. "
        "Write a function whose result has a fixed shape: np.where(mask, x, 0) for x[mask], np.sort for np.unique"
    )


SHAPED_BY_VALUES = {
    np.unique_all, np.unique_counts, np.unique_inverse, np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d,
    np.trim_zeros, np.unique, *([np.unique_values] if hasattr(np, "unique_values") else []),
}  # fmt: skip
SHAPED_BY_CONDITION = {np.extract, np.compress}


# -- shape -----------------------------------------------------------------------------------------------------------
@_of_one
def _reshape(rule: Rule, x: Any, shape: Any, order: str = "C") -> Any:
    old = x.shape[1:]
    new = np.empty(old, bool).reshape(shape).shape  # what -1 stands for; raises as NumPy does
    if order == "F":
        backwards = np.transpose(x, (0, *range(x.ndim - 1, 0, -1)))
        y = np.reshape(backwards, (x.shape[0], *new[::-1]))
        return np.transpose(y, (0, *range(y.ndim - 1, 0, -1)))
    return apply(rule, [x], (), {"shape": (x.shape[0], *new)})


@_of_one
def _transpose(rule: Rule, x: Any, axes: Any = None) -> Any:
    rank = x.ndim - 1
    axes = range(rank)[::-1] if axes is None else normalize_axis_tuple(axes, rank)
    return apply(rule, [x], (), {"axes": (0, *(i + 1 for i in axes))})


@_of_one
def _swapaxes(rule: Rule, x: Any, axis1: int, axis2: int) -> Any:
    rank = x.ndim - 1
    return apply(rule, [x], (_shifted(axis1, rank), _shifted(axis2, rank)))


@_of_one
def _squeeze(rule: Rule, x: Any, axis: Any = None) -> Any:
    rank = x.ndim - 1
    if axis is None or not rank:  # of a number, NumPy squeezes axis 0
        axes: Any = tuple(i for i, n in enumerate(x.shape) if i and n == 1)
    else:
        axes = _shifted(axis, rank)
    return apply(rule, [x], (), {"axis": axes})


@_of_one
def _expand_dims(rule: Rule, x: Any, axis: Any) -> Any:
    return apply(rule, [x], (), {"axis": _shifted(axis, x.ndim - 1 + np.size(axis))})


@_of_one
def _broadcast_to(rule: Rule, x: Any, shape: Any) -> Any:
    shape = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    return apply(rule, [with_axes(x, len(shape))], (), {"shape": (x.shape[0], *shape)})


@_of_one
def _flip(rule: Rule, x: Any, axis: Any = None) -> Any:
    rank = x.ndim - 1
    return apply(rule, [x], (), {"axis": _shifted(range(rank) if axis is None else axis, rank)})


@_of_one
def _rot90(rule: Rule, x: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    return apply(rule, [x], (), {"k": k, "axes": _shifted(axes, x.ndim - 1)})


@_of_one
def _roll(rule: Rule, x: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return np.reshape(apply(rule, [_flat(x)], (), {"shift": np.sum(shift), "axis": 1}), x.shape)
    axes = tuple(normalize_axis_index(i, x.ndim - 1) + 1 for i in np.atleast_1d(axis))  # one may come twice
    return apply(rule, [x], (), {"shift": shift, "axis": axes if np.ndim(axis) else axes[0]})


@_of_one
def _windows(rule: Rule, x: Any, window_shape: Any, axis: Any = None, **options: Any) -> Any:
    rank = x.ndim - 1
    chosen = range(rank) if axis is None else np.atleast_1d(axis).tolist()
    axes = tuple(normalize_axis_index(i, rank) + 1 for i in chosen)
    return apply(rule, [x], (), {"window_shape": tuple(np.atleast_1d(window_shape)), "axis": axes, **options})


@_of_one
def _diagonal(rule: Rule, x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    rank = x.ndim - 1
    return apply(rule, [x], (), {"offset": offset, "axis1": _shifted(axis1, rank), "axis2": _shifted(axis2, rank)})


@_of_one
def _triangle(rule: Rule, x: Any, k: int = 0) -> Any:
    if x.ndim == 2:  # NumPy repeats a vector in every row
        x = np.broadcast_to(np.expand_dims(x, 1), (*x.shape, x.shape[-1]))
    return apply(rule, [x], (), {"k": k})


# -- joining ---------------------------------------------------------------------------------------------------------
def _concatenate(rule: Rule, operands: Operands, batched: Flags, *, axis: int, **options: Any) -> Any:
    parts = _all_batched(operands, batched)
    return apply(rule, parts, (), {"axis": _shifted(axis, parts[0].ndim - 1), **options})


def _stack(rule: Rule, operands: Operands, batched: Flags, *, axis: int) -> Any:
    return apply(rule, _all_batched(operands, batched), (), {"axis": axis + 1})


# -- products --------------------------------------------------------------------------------------------------------
def _product(a: Any, b: Any) -> Any:
    return np.matmul(a, b)


def _matmul(rule: Rule, operands: Operands, batched: Flags) -> Any:
    (a, b), (in_a, in_b) = operands, batched
    rank_a, rank_b = _rank(a, in_a), _rank(b, in_b)
    if not rank_a or not rank_b:
        raise ValueError("matmul: an operand does not have enough dimensions")
    if rank_a == 1 and rank_b <= 2 and not in_b:
        return np.matmul(a, b)  # one product of matrices instead of many of a vector and a matrix
    if rank_b == 1 and rank_a == 2 and not in_a:
        return np.matmul(b, np.swapaxes(a, 0, 1))
    if rank_a == 2 and rank_b == 2 and in_a and not in_b:
        product = np.matmul(np.reshape(a, (a.shape[0] * a.shape[1], a.shape[2])), b)
        return np.reshape(product, (*a.shape[:2], product.shape[-1]))
    a = np.expand_dims(a, -2) if rank_a == 1 else a
    b = np.expand_dims(b, -1) if rank_b == 1 else b
    product = np.matmul(*_aligned((a, b), batched, (2, 2)))
    gone = tuple(axis for axis, rank in ((-2, rank_a), (-1, rank_b)) if rank == 1)
    return np.squeeze(product, gone) if gone else product


def _contracted(operands: Operands, batched: Flags, over_a: Sequence[int], over_b: Sequence[int]) -> Any:
    """Sum axes of `a` against axes of `b`; keep the others, those of `a` first."""
    (a, b), (in_a, in_b) = operands, batched
    rank_a, rank_b = _rank(a, in_a), _rank(b, in_b)
    free_a = [i for i in range(rank_a) if i not in over_a]
    free_b = [i for i in range(rank_b) if i not in over_b]
    shape_a, shape_b = np.shape(a)[in_a:], np.shape(b)[in_b:]
    inner = prod(shape_a[i] for i in over_a)
    free = [shape_a[i] for i in free_a], [shape_b[i] for i in free_b]

    def as_matrix(x: Any, flag: bool, axes: Sequence[int], shape: tuple[int, int]) -> Any:
        in_front = [0] if flag else []
        return np.reshape(np.transpose(x, [*in_front, *(i + flag for i in axes)]), (*x.shape[:flag], *shape))

    left = as_matrix(a, in_a, [*free_a, *over_a], (prod(free[0]), inner))
    right = as_matrix(b, in_b, [*over_b, *free_b], (inner, prod(free[1])))
    product = _matmul(rules["matmul"], (left, right), batched)
    return np.reshape(product, (product.shape[0], *free[0], *free[1]))


def _tensordot(rule: Rule, operands: Operands, batched: Flags, axes: Any = 2) -> Any:
    ranks = [_rank(x, flag) for x, flag in zip(operands, batched, strict=True)]
    if np.ndim(axes) == 0:
        return _contracted(operands, batched, range(ranks[0] - axes, ranks[0]), range(axes))
    over = [normalize_axis_tuple(each, rank) for each, rank in zip(axes, ranks, strict=True)]
    return _contracted(operands, batched, over[0], over[1])


def _dot(rule: Rule, operands: Operands, batched: Flags) -> Any:
    ranks = [_rank(x, flag) for x, flag in zip(operands, batched, strict=True)]
    if not all(ranks):
        return apply(rules["multiply"], _aligned(operands, batched))
    over_b = ranks[1] - 1 if rule.name == "inner" else max(ranks[1] - 2, 0)
    return _contracted(operands, batched, [ranks[0] - 1], [over_b])


def _vectors(operands: Operands, batched: Flags) -> list[Any]:
    return [_flat(x) if flag else np.ravel(x) for x, flag in zip(operands, batched, strict=True)]


def _outer(rule: Rule, operands: Operands, batched: Flags) -> Any:
    a, b = _vectors(operands, batched)
    return np.expand_dims(a, -1) * np.expand_dims(b, -2)


def _vdot(rule: Rule, operands: Operands, batched: Flags) -> Any:
    a, b = _vectors(operands, batched)
    return _matmul(rules["matmul"], (np.conj(a) if a.dtype.kind == "c" else a, b), batched)


def stacks(*cores: int) -> Callable[..., Any]:
    """Functions of vectors and matrices on the last axes, the others broadcast."""

    def batch(rule: Rule, operands: Operands, batched: Flags) -> Any:
        return apply(rule, _aligned(operands, batched, cores))

    return batch


def _einsum(
    rule: Rule, operands: Operands, batched: Flags, *, inputs: tuple[str, ...], output: str, **options: Any
) -> Any:
    letter = next((each for each in LETTERS if each not in "".join(inputs)), None)
    if letter is None:
        return one_by_one(rule, operands, batched, inputs=inputs, output=output, **options)
    inputs = tuple(letter + each if flag else each for each, flag in zip(inputs, batched, strict=True))
    return apply(rule, operands, (), {"inputs": inputs, "output": letter + output, **options})


def _solve(rule: Rule, operands: Operands, batched: Flags) -> Any:
    a, b = operands
    vector = _rank(b, batched[1]) == 1
    a, b = _aligned((a, np.expand_dims(b, -1) if vector else b), batched, (2, 2))
    x = apply(rule, [a, b])
    return np.squeeze(x, -1) if vector else x


# -- by index --------------------------------------------------------------------------------------------------------
class Index:
    """An index into one example, as an index into all of them.

    Attributes
    ----------
    parts : the index
    source, destination : how axes of what it reads move, so that examples come first, and then the axes of one example
    rank : the number of axes read of one example
    """

    def __init__(self, index: Any, shape: tuple[int, ...], size: int, batched: bool = True) -> None:
        parts = _every_axis(index, len(shape))
        numbers = [i for i, part in enumerate(parts) if part is not None and not isinstance(part, slice)]
        in_front: tuple[Any, ...] = (slice(None),) if batched else ()
        self.source: Sequence[int] = ()
        self.destination: Sequence[int] = ()
        if not any(_is_array(parts[i]) for i in numbers):
            self.parts, self.rank = (*in_front, *parts), len(parts) - len(numbers)
            return
        together = numbers[-1] - numbers[0] == len(numbers) - 1  # else NumPy puts the axes of arrays first
        first = numbers[0] if together else 0
        ranks = [_rank(parts[i].values, True) if isinstance(parts[i], Spread) else np.ndim(parts[i]) for i in numbers]
        rank = max(ranks)
        if not any(isinstance(part, Spread) for part in parts):
            if not together:
                self.source, self.destination = [rank], [0]
        else:
            for i in numbers:
                if isinstance(parts[i], Spread):
                    parts[i] = plain(with_axes(parts[i].values, rank))
            if batched:  # the number of the example is one more index, in front
                in_front = (np.arange(size).reshape(-1, *(1,) * rank),)
                if first:
                    self.source = range(1, 1 + rank)
                    self.destination = range(1 + first, 1 + first + rank)
            elif first:
                self.source, self.destination = [first], [0]
        self.parts, self.rank = (*in_front, *parts), rank + len(parts) - len(numbers)

    def read(self, x: Any) -> Any:
        """What the index reads of all examples."""
        y = x[self.parts] if hasattr(type(x), "_record") else _by_index(rules["getitem"], [x], self.parts)
        return np.moveaxis(y, self.source, self.destination) if self.source else y

    def to_write(self, v: Any, batched: bool) -> Any:
        """Values for all examples, laid out as the index reads them."""
        if batched:
            v = with_axes(v, self.rank)
            if (extra := v.ndim - 1 - self.rank) > 0 and v.shape[1 : 1 + extra] == (1,) * extra:  # NumPy lets that be
                v = np.reshape(v, (v.shape[0], *v.shape[1 + extra :]))
        elif self.source:
            v = np.reshape(v, (1,) * (1 + self.rank - np.ndim(v)) + np.shape(v))
        return np.moveaxis(v, self.destination, self.source) if self.source else v


def _has_flag(index: Any) -> bool:
    """Whether True or False is part of an index: that makes an axis, instead of using one."""
    return any(
        isinstance(part, bool) or (getattr(part, "dtype", None) == np.bool and not part.ndim)
        for part in (index if type(index) is tuple else (index,))
    )


def _is_array(part: Any) -> bool:
    return isinstance(part, Spread) or bool(np.ndim(part))


def _by_index(rule: Rule, operands: Operands, *rest: Any, **options: Any) -> Any:
    """Apply a rule whose index may differ between the examples of another batch, or be computed in a program."""
    for part in rest[0] if rest else options["index"]:
        batched, record = getattr(part, "batched", None), getattr(type(part), "_record", None)
        if batched is not None:
            return batched(rule, operands, rest, options)
        if record is not None:  # of a program that is being written down
            return record(rule, operands, rest, options)
    return apply(rule, operands, rest, options)


def _every_axis(index: Any, rank: int) -> list[Any]:
    """An index part for every axis: no ellipsis, lists as arrays, masks as positions."""
    parts: list[Any] = []
    for part in index if type(index) is tuple else (index,):
        if isinstance(part, Spread):
            if part.values.dtype.kind == "b":
                raise ConcreteValueError(
                    f"{user_line()}a batched mask as an index: how many elements it selects differs from example to "
                    "example. Write np.where(mask, x, 0) to read, and x = np.where(mask, v, x) to write"
                )
            parts.append(part)
        elif part is None or part is Ellipsis or isinstance(part, slice):
            parts.append(part)
        else:
            array = as_array(part)
            if array.dtype.kind == "b":
                parts += np.nonzero(array)
            else:
                parts.append(array.astype(int) if not array.size else part if not array.ndim else array)
    missing = rank - sum(part is not None and part is not Ellipsis for part in parts)
    dots = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    return [*parts[:dots], *[slice(None)] * missing, *parts[dots + 1 :]]


def _of_each(index: Any) -> tuple[Any, ...]:
    """A plain index into one example, as one into all of them."""
    return (slice(None), *(index if type(index) is tuple else (index,)))


def _getitem(rule: Rule, operands: Operands, batched: Flags, index: Any) -> Any:
    (x,) = operands
    if batched[0] and indexing.is_plain(index):
        return x[_of_each(index)]
    if _has_flag(index):
        return one_by_one(rule, operands, batched, index=index)
    size = len(x) if batched[0] else len(next(_spreads(index)).values)
    return Index(index, np.shape(x)[batched[0] :], size, batched[0]).read(x)


def _size(operands: Operands, batched: Flags, *others: Any) -> int:
    sizes = [len(x) for x, flag in zip(operands, batched, strict=True) if flag]
    return sizes[0] if sizes else len(next(_spreads(others)).values)


def _place(rule: Rule, operands: Operands, batched: Flags, shape: tuple[int, ...], index: Any) -> Any:
    if batched[0] and indexing.is_plain(index):
        return apply(rule, operands, (), {"shape": (len(operands[0]), *shape), "index": _of_each(index)})
    if _has_flag(index):
        return one_by_one(rule, operands, batched, shape=shape, index=index)
    size = _size(operands, batched, index)
    where = Index(index, shape, size)
    x = where.to_write(operands[0] if batched[0] else _repeated(operands[0], size), True)
    return _by_index(rule, [x], shape=(size, *shape), index=where.parts)


def _scatter(rule: Rule, operands: Operands, batched: Flags, shape: tuple[int, ...], index: Any) -> Any:
    size = _size(operands, batched, index)
    x = operands[0] if batched[0] else _repeated(operands[0], size)
    if isinstance(index, Spread):
        starts = (np.arange(size) * prod(shape)).reshape(-1, *(1,) * (index.values.ndim - 1))
        index = plain(index.values + starts)
    else:
        index = as_array(index) + (np.arange(size) * prod(shape)).reshape(-1, *(1,) * np.ndim(index))
    return rule(x, shape=(size, *shape), index=index)


def _put(rule: Rule, operands: Operands, batched: Flags, *, index: Any, steps: Any = ()) -> Any:
    a, v = operands
    if _has_flag(index):
        return one_by_one(rule, operands, batched, index=index, steps=steps)
    size = _size(operands, batched, index)
    a = a if batched[0] else _repeated(a, size)
    if isinstance(index, Spread) and index.values.dtype.kind == "b" and not steps:
        return _put_masked(rule, a, v, batched[1], index.values)
    if steps:  # through a view: by the flat positions that it shows
        example = grid(a.shape[1:])
        for step, rest, options in steps:
            example = step.value(example, *rest, **options)
        where = Index(index, example.shape, size)
        positions = plain(where.read(_repeated(example, size)))
        flat, v = _flat(a), v if not batched[1] else with_axes(v, where.rank)
        places = (np.arange(size).reshape(-1, *(1,) * (positions.ndim - 1)), positions)
        return np.reshape(_by_index(rule, [flat, v], index=places), a.shape)
    where = Index(index, a.shape[1:], size)
    return _by_index(rule, [a, where.to_write(v, batched[1])], index=where.parts)


def _put_masked(rule: Rule, a: Any, v: Any, batched: bool, mask: Any) -> Any:
    """Write by a mask that differs between examples: a number for each example, or one for all."""
    if np.ndim(v) > batched:
        raise ConcreteValueError(
            f"{user_line()}a batched mask as an index to write an array of shape {np.shape(v)[batched:]}: how many of "
            "its elements are used differs from example to example. Write x = np.where(mask, v, x) with v of x's shape"
        )
    mask = np.reshape(mask, mask.shape + (1,) * (a.ndim - mask.ndim))
    v = with_axes(v, a.ndim - 1) if batched else v
    return np.where(mask, a + v if "add" in rule.name else v, a)


# -- others ------------------------------------------------------------------------------------------------------------
def _interp(rule: Rule, operands: Operands, batched: Flags, *, ends: Any) -> Any:
    if any(batched[1:]) or isinstance(ends, Spread) or any(isinstance(end, Spread) for end in ends):
        return one_by_one(rule, operands, batched, ends=ends)
    return apply(rule, operands, (), {"ends": ends})


def _geomspace(rule: Rule, operands: Operands, batched: Flags, **options: Any) -> Any:
    return np.moveaxis(apply(rule, _aligned(operands, batched), (), options), 1, 0)


def _searched(rule: Rule, operands: Operands, batched: Flags, *rest: Any, **options: Any) -> Any:
    """Positions in sorted numbers, which are the same for every example."""
    if rule.name == "digitize" and not any(True for _ in _spreads([*rest, *options.values()])):
        return apply(rule, operands, rest, options)
    if rule.name == "searchsorted" and not batched[0] and rest and isinstance(rest[0], Spread):
        return np.searchsorted(operands[0], plain(rest[0].values), *rest[1:], **options)
    return one_by_one(rule, operands, batched, *rest, **options)


# -- which rule has which ------------------------------------------------------------------------------------------
FAMILIES: dict[Callable[..., Any], str] = {
    by_elements: "conjugate copy astype real imag identity round where ldexp nan_to_num sinc i0 complex_absolute "
    "complex_sign undetermined",
    by_elements_of_arguments: "isclose isneginf isposinf iscomplex isreal",
    reduction: "sum mean var std max min fmax_reduce fmin_reduce prod norm logsumexp nanmean nanvar nanstd nanmax "
    "nanmin any all count_nonzero",
    along_axis: "cumsum cumprod softmax log_softmax sort partition argsort argpartition repeat unwrap argmax argmin "
    "nanargmax nanargmin fft ifft rfft irfft",
    matrices: "inv det cholesky pinv eigh eigvalsh eig eigvals svd svdvals qr slogdet part matrix_rank",
    order_statistic: "median nanmedian quantile percentile nanquantile nanpercentile",
    of_an_example: "shape ndim size result_type can_cast min_scalar_type common_type einsum_path tril_indices_from "
    "triu_indices_from diag_indices_from isscalar iscomplexobj isrealobj",
    data_dependent: "nonzero flatnonzero argwhere unique unique_values",
}
AXES: dict[str, tuple[str, int | None]] = {
    "repeat": ("axis", None), "argmax": ("axis", None), "argmin": ("axis", None), "nanargmax": ("axis", None),
    "nanargmin": ("axis", None),
}  # fmt: skip
POSITIONS = {
    "sort": ("axis", "kind", "order"), "argsort": ("axis", "kind", "order"), "argpartition": ("kth", "axis", "kind"),
    "repeat": ("repeats", "axis"), "unwrap": ("discont", "axis"), "any": ("axis", "out", "keepdims"),
    "all": ("axis", "out", "keepdims"),
}  # fmt: skip
POSITIONS |= dict.fromkeys(["argmax", "argmin", "nanargmax", "nanargmin"], ("axis", "out"))
POSITIONS |= dict.fromkeys(["fft", "ifft", "rfft", "irfft"], ("n", "axis", "norm"))
KEEP_SHAPE = {"softmax", "log_softmax"}
OWN: dict[str, Callable[..., Any]] = {
    "reshape": _reshape, "transpose": _transpose, "swapaxes": _swapaxes, "moveaxis": _swapaxes, "squeeze": _squeeze,
    "expand_dims": _expand_dims, "broadcast_to": _broadcast_to, "flip": _flip, "rot90": _rot90, "roll": _roll,
    "sliding_window_view": _windows, "diagonal": _diagonal, "triu": _triangle, "tril": _triangle,
    "concatenate": _concatenate, "stack": _stack,
    "matmul": _matmul, "tensordot": _tensordot, "dot": _dot, "inner": _dot,
    "outer": _outer, "vdot": _vdot, "vecdot": stacks(1, 1), "matvec": stacks(2, 1), "vecmat": stacks(1, 2),
    "einsum": _einsum, "solve": _solve, "getitem": _getitem, "place": _place, "scatter": _scatter, "put": _put,
    "write_put": _put, "add_at": _put, "write_add_at": _put, "interp": _interp, "geomspace": _geomspace,
    "searchsorted": _searched, "digitize": _searched,
}  # fmt: skip

NEWER = {"vecdot", "matvec", "vecmat", "unique_values"}  # than NumPy 2.0

for _name, _function in OWN.items():
    if _name in rules or _name not in NEWER:
        rules[_name].batch = _function
for _function, _names in FAMILIES.items():
    for _name in _names.split():
        if _name in rules or _name not in NEWER:
            rules[_name].batch = _function


def batch_function(rule: Rule) -> Callable[..., Any]:
    """The function that applies a rule to many examples."""
    if rule.batch is not None:
        return rule.batch
    is_ufunc = rule.kind == "nondifferentiable" and isinstance(rule.value, np.ufunc) and rule.value.signature is None
    return by_elements if rule.kind == "elementwise" or is_ufunc else one_by_one
