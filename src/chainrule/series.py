"""Derivatives of higher order along a curve: `jet`, and `derivative` of a function of one number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

import numpy as np

from .arguments import Transformed, alongside, called, chosen, fresh, name_of, results_of, settled
from .batch import levels_of, lowered
from .errors import OutputError, StructureError
from .graph import next_index
from .record import entered
from .tensor import Tensor, describe, plain
from .transforms import change_of, follow, jvp
from .tree import fields_of, flatten
from .walk.singular import under
from .walk.taylor import Taylor

__all__ = ["derivative", "jet"]


def jet(
    f: Callable[..., Any], primals: Sequence[Any], series: Sequence[Any], *, singular: str | None = None
) -> tuple[Any, Any]:
    """Evaluate `f` and its derivatives along a curve, up to any order, in one pass (Taylor mode).

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    primals : sequence
        Its arguments: where the curve x(t) is at t = 0.
    series : sequence
        For each argument, the list of its derivatives x'(0), x''(0), ..., each of its shape; all lists are as long.
        For an argument that is a container, the same container with such a list in the place of each array.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    value
        The result of `f`.
    derivatives
        The list of the derivatives of ``f(x(t))`` at t = 0, as many as `series` gives, each of the result's shape and
        dtype; for a container, the same container of such lists.

    Raises
    ------
    StructureError, GradientShapeError
        If the series do not match the primals.
    OutputError
        If `f` returns nothing, or something else than numbers.
    NoDerivativeError
        If an operation, which is named, has no forward mode.

    Notes
    -----
    The signature is that of ``jax.experimental.jet.jet``: derivatives go in and come out, not divided by factorials.

    Cost to order k: for most operations about k² evaluations of their derivative, where k nested `jvp` take 2ᵏ; for
    those whose derivative is written with themselves (`solve`, decompositions, and few elementwise ones) up to 2ᵏ.
    Memory does not grow with the number of operations.

    References
    ----------
    A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed. (SIAM 2008), chapter 13, for products and quotients.

    Examples
    --------
    >>> value, derivatives = jet(lambda x: x**4, (2.0,), ([1.0, 0.0, 0.0],))
    >>> float(value), [float(d) for d in derivatives]
    (16.0, [32.0, 48.0, 48.0])
    """
    if not isinstance(primals, tuple | list) or not isinstance(series, tuple | list):
        raise StructureError("jet takes its primals and series as tuples: jet(f, (x,), ([x1, x2],))")
    values, derivatives, rebuild_output = _along(f, primals, series, singular)
    return rebuild_output(values), rebuild_output(derivatives)


def _along(
    f: Callable[..., Any], primals: Sequence[Any], series: Sequence[Any], singular: str | None
) -> tuple[list[Any], list[Any], Callable[[list[Any]], Any]]:
    """The leaves of `jet`'s two results, and how to make the container of them."""
    start = next_index()
    leaves, rebuild, structure = flatten(tuple(primals))
    lists = _lists(tuple(series), tuple(primals))
    orders = {len(each) for each in lists}
    if len(orders) > 1 or 0 in orders:
        raise StructureError(
            f"jet needs for each argument a list with as many derivatives, at least one; these have {sorted(orders)}"
        )
    taylor = Taylor(orders.pop() if orders else 1)
    tensors = [fresh(x) for x in leaves]
    by_order = [
        alongside(rebuild(list(changes)), structure, tensors, f"derivative of order {n}", "argument")
        for n, changes in enumerate(zip(*lists, strict=True), 1)
    ]
    for tensor, changes in zip(tensors, zip(*by_order, strict=True), strict=True):
        coefficients = [_coefficient(c, n, tensor) for n, c in enumerate(changes, 1)]
        follow(taylor, tensor, coefficients if any(c is not None for c in coefficients) else None)
    with entered(taylor), under(singular):
        outputs, rebuild_output, _ = results_of(called(f, *rebuild(tensors)), f)
    if taylor.asked:
        taylor.ask(outputs)
    values, derivatives = [], []
    for y in outputs:
        known = (taylor.tangent(y.node) if isinstance(y, Tensor) else None) or [None] * taylor.order
        values.append(settled(y, start))
        derivatives.append(
            [change_of(None if c is None else c * factorial(n), y, start) for n, c in enumerate(known, 1)]
        )
    return values, derivatives, rebuild_output


def _lists(series: Any, primals: Any) -> list[Sequence[Any]]:
    """The lists that stand in `series` where `primals` has an array."""
    if primals is None and series is None:
        return []
    kind = flatten(primals)[2]
    if kind == "leaf":
        if not isinstance(series, list | tuple):
            raise StructureError(
                f"jet needs the derivatives of {describe(primals)} as a list, but was given {describe(series)}"
            )
        return [series]
    found = flatten(series)[2]
    same = kind is not None and isinstance(found, tuple) and found[0] == kind[0] and len(found[1]) == len(kind[1])
    if not same:
        raise StructureError(
            f"the series of a {type(primals).__name__} must be the same container, with the list of derivatives in the "
            f"place of each array, but it is {describe(series)}"
        )
    pairs = zip(_parts(series), _parts(primals), strict=True)
    return [each for part, of in pairs for each in _lists(part, of)]


def _parts(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return list(tree.values())
    if dataclasses.is_dataclass(tree):
        return list(fields_of(tree)[0].values())
    return list(tree)


def _coefficient(change: Any, n: int, tensor: Tensor) -> Any:
    """That of t**n; None if it is plainly zero, beyond the first."""
    if n > 1 and not isinstance(change, Tensor) and not np.any(plain(change)):
        return None
    return lowered(change / factorial(n) if n > 1 else change, levels_of(tensor))


def derivative(
    f: Callable[..., Any], order: int = 1, argnums: int | str = 0, *, singular: str | None = None
) -> Callable[..., Any]:
    """Make the derivative of a function of a number, of any order.

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    order : int, default 1
        How often to differentiate; 0 gives the function itself.
    argnums : int or str, default 0
        In which argument, which must be a number (0-d); a position or a name, as in `grad`.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    callable
        Called like `f`; returns the derivative, of the structure, shapes and dtypes of the result of `f`.  For a
        complex number it is that along the real axis: f'(z) if `f` is complex-differentiable.

    Raises
    ------
    OutputError
        If the argument is not a number: for functions that work element by element use `elementwise_grad`.  If `f`
        returns nothing, or something else than numbers.
    StructureError
        If there is no argument as `argnums` says.
    NoDerivativeError
        If an operation, which is named, has no forward mode.

    Notes
    -----
    Cost: that of `jvp` for the first, of `jet` for higher orders; memory does not grow with the number of operations.

    Examples
    --------
    >>> import numpy as np
    >>> derivative(lambda t: np.array([np.cos(t), np.sin(t)]))(0.0)
    array([-0.,  1.])
    >>> float(derivative(np.exp, order=5)(0.0))
    1.0
    """
    if not hasattr(order, "__index__") or order < 0:
        raise ValueError(f"order={order!r}: it is a number of times to differentiate, 0, 1, 2, ...")
    if not isinstance(argnums, str) and not hasattr(argnums, "__index__"):
        raise TypeError(f"argnums={argnums!r}: derivative is in one argument: say its position or its name")
    return Transformed(_derivative, f, order=order, argnums=argnums, singular=singular)


def _derivative(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    *,
    order: int,
    argnums: int | str,
    singular: str | None,
) -> Any:
    if order == 0:
        return f(*args, **options)
    function, (x,) = chosen(f, argnums, args, options)
    if flatten(x)[2] != "leaf" or np.shape(x):
        raise OutputError(
            f"derivative of {name_of(f)} in {describe(x)}: it is for functions of a number. "
            "Use elementwise_grad, vmap(derivative(f)), or jacobian"
        )
    if order == 1:
        return jvp(function, (x,), (np.float64(1),), singular=singular)[1]
    _, found, rebuild = _along(function, (x,), ([1.0, *[0.0] * (order - 1)],), singular)
    return rebuild([each[-1] for each in found])
