"""vmap: one function, many examples at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from .arguments import Transformed, called, name_of, results_of, settled, shown
from .batch import Level, bottom, entered, levels_of, lifted_to, tensor_of, wrapped
from .errors import DataError, OutputError, StructureError
from .graph import next_index
from .tensor import describe, handle, tensor_like
from .tree import fields_of, flatten

__all__ = ["vmap"]


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Make the function that applies `f` to many examples at once.

    Parameters
    ----------
    f : callable
        A function of one example: of arrays, and containers of arrays (dict, list, tuple, dataclass).
    in_axes : int, None or container, default 0
        Which axis of each argument runs over the examples; None: the argument is the same for all of them.  A sequence
        says it for each positional argument, a container for each part of an argument.
    out_axes : int, None or container, default 0
        Where that axis is in each result; None: the result must be the same for all examples, and is returned once.

    Returns
    -------
    callable
        Called like `f`, with one axis more in the arguments.  Keyword arguments are batched along axis 0.  Returns what
        `f` returns, with one axis more; what does not depend on the examples is repeated.  Plain arrays, unless they
        depend on a Tensor from outside.

    Raises
    ------
    ConcreteValueError
        If the program goes by the value of one example: `if`, `int()`, `float()`, a shape.  The message names the
        line.  Branches on what is not batched, shapes among it, are fine.
    StructureError
        If the examples are not as many in every argument, or an axis does not exist.
    OutputError
        If `f` returns nothing, or something else than numbers.

    Notes
    -----
    `f` runs once, on Tensors that look like one example, while each operation is applied to all of them: cost and
    memory are those of NumPy's operations on arrays with one axis more.  Every operation works, nested too, and
    with derivatives taken inside and outside; the page docs/coverage.md says which are done in one call of NumPy and
    which in a loop.  Values are those of a loop over examples to within rounding.  A Tensor that `f` captures is the
    same for all examples, and stays differentiable; a derivative taken inside, of an argument that is not batched, is
    that of each example.  Without examples (an axis of length 0) the result has none, of the right shape.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import grad
    >>> vmap(np.dot)(np.arange(6.0).reshape(3, 2), np.ones((3, 2)))
    array([1., 5., 9.])

    The gradient of each example's loss, in one pass:

    >>> loss = lambda w, x, y: (np.dot(w, x) - y) ** 2
    >>> X, Y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 0.0])
    >>> vmap(grad(loss), in_axes=(None, 0, 0))(np.array([1.0, 1.0]), X, Y)
    array([[ 4.,  8.],
           [42., 56.]])
    """

    return Transformed(_vmap, f, in_axes=in_axes, out_axes=out_axes)


def _vmap(f: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], *, in_axes: Any, out_axes: Any) -> Any:
    start = next_index()
    axes = [*_axes_of_arguments(in_axes, args), *[0] * len(flatten(options)[0])]
    leaves, rebuild, _ = flatten((args, options))
    leaves = [tensor_like(x) for x in leaves]
    level = Level(_common_size(leaves, axes, name_of(f)))
    with entered(level):
        new_args, new_options = rebuild([_examples(x, axis, level) for x, axis in zip(leaves, axes, strict=True)])
        outputs, rebuild_output, _ = results_of(result := called(f, *new_args, **new_options), f)
        places = _matched(out_axes, result, "out_axes")
        found = [_with_axis(x, axis, level, start) for x, axis in zip(outputs, places, strict=True)]
    return rebuild_output(found)


# -- which axes ----------------------------------------------------------------------------------------------------
def _matched(axes: Any, tree: Any, name: str) -> list[int | None]:
    """The axis of each leaf of a container, where `axes` may say one for whole parts of it."""
    if axes is None or hasattr(axes, "__index__"):
        return [axes] * len(flatten(tree)[0])
    parts: Any = None
    if isinstance(axes, dict) and isinstance(tree, dict) and set(axes) == set(tree):
        parts = [(axes[key], tree[key]) for key in tree]
    elif isinstance(axes, list | tuple) and isinstance(tree, list | tuple) and len(axes) == len(tree):
        parts = zip(axes, tree, strict=True)
    elif dataclasses.is_dataclass(axes) and type(axes) is type(tree):
        parts = [(getattr(axes, key), part) for key, part in fields_of(tree)[0].items()]
    if parts is None:
        raise StructureError(
            f"{name}={axes!r} does not fit to {shown(flatten(tree)[2])}, which it is for: say an axis (a whole number) "
            "or None, or a container of these, of the same form"
        )
    return [axis for part, each in parts for axis in _matched(part, each, name)]


def _axes_of_arguments(in_axes: Any, args: tuple[Any, ...]) -> list[int | None]:
    if isinstance(in_axes, list | tuple) and len(in_axes) != len(args):
        raise StructureError(
            f"in_axes={in_axes!r} is for {len(in_axes)} arguments, but the function was called with {len(args)}"
        )
    return _matched(in_axes, args, "in_axes")


def _common_size(leaves: Sequence[Any], axes: Sequence[int | None], name: str) -> int:
    """How many examples there are."""
    sizes: dict[int, int] = {}
    for i, (x, axis) in enumerate(zip(leaves, axes, strict=True)):
        if axis is not None:
            shape = np.shape(x)
            if not -len(shape) <= axis < len(shape):
                raise StructureError(
                    f"vmap of {name} along axis {axis} of {describe(x)} (array {i} of the arguments), which has no "
                    "such axis. Say in_axes=None for what is the same for all examples"
                )
            sizes[i] = shape[axis]
    if not sizes:
        raise StructureError(f"vmap of {name}: no argument has an axis of examples; in_axes says None of all of them")
    if len(set(sizes.values())) > 1:
        told = ", ".join(
            f"{n} in array {i} (of shape {np.shape(leaves[i])}, along axis {axes[i]})" for i, n in sizes.items()
        )
        raise StructureError(f"vmap of {name}: there must be as many examples in every argument, but there are {told}")
    return next(iter(sizes.values()))


# -- arguments and results -------------------------------------------------------------------------------------------
def _examples(x: Any, axis: int | None, level: Level) -> Any:
    """An argument as the function sees it."""
    if axis is None:
        return x
    x = tensor_of(x)
    if x.dtype.kind not in "biufc":
        raise DataError(f"vmap of {describe(x)}: examples are numbers. Pass it with in_axes=None, or capture it")
    x = np.copy(np.moveaxis(cast(Any, x), axis, 0), order="C") if axis else x  # each example in one piece
    inside = bottom(x)
    inside = np.copy(inside) if inside.written else handle(inside.node, inside.data)  # writes stay inside
    return wrapped(inside, [*levels_of(x), level])


def _with_axis(x: Any, axis: int | None, level: Level, start: int) -> Any:
    """A result for all examples."""
    x = tensor_like(x)
    if not hasattr(x, "dtype") and not isinstance(x, bool | int | float | complex):
        raise OutputError(f"vmap needs a function that returns arrays, but it returned {describe(x)}")
    if axis is None:
        if level in levels_of(x):
            raise StructureError(f"out_axes=None, but the result ({describe(x)}) differs from example to example")
        return settled(x, start)
    batched = level in levels_of(x)
    examples = lifted_to(x, level).payload
    if not batched:
        examples = np.copy(examples)
    if not -examples.ndim <= axis < examples.ndim:
        raise StructureError(
            f"out_axes={axis}, but with one for the examples the result ({describe(x)}) has {examples.ndim} "
            f"ax{'es' if examples.ndim > 1 else 'is'}"
        )
    return settled(np.moveaxis(examples, 0, axis) if axis else examples, start)
