"""Checking derivatives: `check_grads` compares with differences, which share no formula with any rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import DerivativeMismatchError, OutputError
from .tensor import plain, tensor_like
from .transforms import jvp, vjp
from .tree import flatten

__all__ = ["check_grads"]

Function = Callable[..., Any]
MODES = ("fwd", "rev")
ELEMENTS = 200  # of an argument so many elements are compared one by one; all others along one direction only
TINY = 1e-30  # step of the complex step: nothing cancels, so it may be as small as one likes


def check_grads(
    f: Function,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] | str = MODES,
    *,
    eps: float | None = None,
    tolerance: float | None = None,
) -> None:
    """Compare the derivatives of `f` with differences, in both modes and in every mixture of them.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, or containers of arrays.
    args : sequence
        The point: the arguments of `f`.  Integers and what is not numeric are held fixed.
    order : int, default 2
        Up to which order.
    modes : sequence of {"fwd", "rev"}, default both
    eps : float, optional
        Step of the differences: 5e-4 by default, at every order.
    tolerance : float, optional
        Largest difference allowed, relative to the largest number that it is compared with (at least 1): 1e-6 by
        default, and 1e-3 where an argument or the result has less than double precision.

    Raises
    ------
    DerivativeMismatchError
        At the first derivative that differs: which one, at which index of which argument, and both numbers.

    Notes
    -----
    The differences are central and of fourth order, taken in double precision.  Where a complex step agrees with them
    it takes their place, being exact to rounding, and the tolerance is a hundredth.  Cost: up to four evaluations for
    each of at most 200 elements per argument, for each mixture of modes.

    Examples
    --------
    >>> check_grads(lambda x, y: np.sin(x) * y, (np.array([0.3, 1.2]), 2.0))
    >>> from chainrule import custom_jvp
    >>> @custom_jvp
    ... def square(x):
    ...     return x * x
    >>> _ = square.defjvp(lambda primals, tangents: (primals[0] ** 2, 3 * primals[0] * tangents[0]))
    >>> check_grads(lambda x: np.sum(square(x)), (np.array([0.0, 1.0]),), order=1, modes="rev")
    Traceback (most recent call last):
        ...
    chainrule.errors.DerivativeMismatchError: order 1 (rev): argument 0 at index (1,): 3.0, but by differences 2.0
    """
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or set(modes) - set(MODES) or order < 1:
        raise ValueError(f"check_grads: order={order}, modes={modes}; expected order >= 1 and modes among {MODES}")
    leaves, rebuild, _ = flatten(tuple(args))
    leaves = [plain(tensor_like(leaf)) for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if _is_floating(leaf)]
    if not places:
        raise OutputError("check_grads: no argument is a floating-point or complex array")
    names = _names(args)

    def of_leaves(*values: Any) -> list[Any]:
        whole = list(leaves)
        for place, value in zip(places, values, strict=True):
            whole[place] = value
        results = [tensor_like(result) for result in flatten(f(*rebuild(whole)))[0]]
        return [result for result in results if _is_floating(result)]

    point = [np.asarray(leaves[i])[()] for i in places]
    dtypes = [*(x.dtype for x in point), *(np.asarray(plain(y)).dtype for y in of_leaves(*point))]
    narrow = any(np.finfo(dtype).eps > 1e-15 for dtype in dtypes)
    checker = _Checker([names[i] for i in places], eps or 5e-4, tolerance or (1e-3 if narrow else 1e-6))
    wide = [x.astype(np.result_type(x.dtype, np.float64))[()] for x in point]
    checker.check(of_leaves, point, wide, order, modes, ())


def _is_floating(x: Any) -> bool:
    return isinstance(x, float | complex) or (hasattr(x, "dtype") and x.dtype.kind in "fc")


def _names(args: Sequence[Any]) -> list[str]:
    """What to call each leaf of the arguments."""
    names = []
    for i, arg in enumerate(args):
        count = len(flatten(arg)[0])
        names += [f"argument {i}" + (f", leaf {k}" if count > 1 else "") for k in range(count)]
    return names


def _dot(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Re <a, b>: the inner product under which the pullback is the adjoint of the pushforward."""
    return float(sum(np.sum(np.real(np.conj(x) * y)) for x, y in zip(a, b, strict=True)))


class _Checker:
    def __init__(self, names: list[str], eps: float, tolerance: float) -> None:
        self.names = names
        self.eps = eps
        self.tolerance = tolerance
        self.random = np.random.default_rng(0)

    def check(
        self, f: Function, point: list[Any], wide: list[Any], order: int, modes: Sequence[str], done: tuple[str, ...]
    ) -> None:
        """Check the first derivative of `f` in each mode, then the derivatives of that."""
        for mode in modes:
            path = (*done, mode)
            derivative = (self.forward if mode == "fwd" else self.reverse)(f, point, wide, path)
            if order > 1:
                self.check(derivative, point, wide, order - 1, modes, path)

    def like(self, x: Any) -> Any:
        """Random numbers of the shape and dtype of `x`."""
        x = np.asarray(plain(x))
        numbers = self.random.uniform(0.5, 1.5, x.shape) * self.random.choice([-1, 1], x.shape)
        if x.dtype.kind == "c":
            numbers = numbers + 1j * self.random.uniform(-1, 1, x.shape)
        return numbers.astype(x.dtype)[()]

    def forward(self, f: Function, point: list[Any], wide: list[Any], path: tuple[str, ...]) -> Function:
        for i, name in enumerate(self.names):
            directions = [self.like(x) if k == i else np.zeros_like(x) for k, x in enumerate(point)]
            _, tangents = jvp(f, tuple(point), tuple(directions))
            wanted, exact = self.difference(f, wide, directions)
            for k, (found, desired) in enumerate(zip(tangents, wanted, strict=True)):
                result = f"result{f' {k}' if len(tangents) > 1 else ''}"
                self.compare(found, desired, path, f"derivative of {result} along a direction in {name},", exact)
        directions = [self.like(x) for x in point]
        return lambda *xs: jvp(f, tuple(xs), tuple(directions))[1]

    def reverse(self, f: Function, point: list[Any], wide: list[Any], path: tuple[str, ...]) -> Function:
        results, pullback = vjp(f, *point)
        scalar = len(results) == 1 and np.ndim(results[0]) == 0 and not np.iscomplexobj(results[0])
        cts = [np.ones_like(results[0])[()]] if scalar else [self.like(result) for result in results]
        gradients = pullback(cts)
        for i, (name, gradient) in enumerate(zip(self.names, gradients, strict=True)):
            found = np.asarray(gradient)
            if found.shape != point[i].shape or found.dtype != point[i].dtype:
                raise DerivativeMismatchError(
                    f"{self.order(path)}: the gradient of {name} has shape {found.shape} and dtype {found.dtype}, not "
                    f"{point[i].shape} and {point[i].dtype}"
                )
            indices = list(np.ndindex(found.shape))
            if len(indices) > ELEMENTS:
                indices = [indices[k] for k in sorted(self.random.choice(len(indices), ELEMENTS, replace=False))]
            scale = float(np.max(np.abs(found), initial=1))
            for index in indices:
                desired: Any = 0
                exact = True
                for unit in (1, 1j) if found.dtype.kind == "c" else (1,):
                    direction = [np.zeros(x.shape, x.dtype) for x in wide]
                    direction[i][index] = unit
                    change, by_complex_step = self.difference(f, wide, direction)
                    desired, exact = desired + unit * _dot(cts, change), exact and by_complex_step
                self.compare(found[index], np.asarray(desired), path, name, exact, scale, index)
            direction = [self.like(x) if k == i else np.zeros_like(x) for k, x in enumerate(point)]
            change, exact = self.difference(f, wide, direction)
            along, wanted = _dot([gradient], [direction[i]]), _dot(cts, change)
            scale = float(np.sum(np.abs(found), initial=1))
            self.compare(along, np.asarray(wanted), path, f"sum over {name} along a direction", exact, scale)
        return lambda *xs: list(vjp(f, *xs)[1](cts))

    def difference(self, f: Function, point: list[Any], direction: list[Any]) -> tuple[list[Any], bool]:
        """The derivative along a direction, and whether it is exact to rounding: by a complex step."""

        def at(step: float) -> list[Any]:
            return [plain(y) for y in f(*(x + step * d for x, d in zip(point, direction, strict=True)))]

        h = self.eps
        values = zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)
        rough = [np.asarray((8 * (a - b) - (c - d)) / (12 * h)) for a, b, c, d in values]
        if any(np.iscomplexobj(x) for x in (*point, *rough)):
            return rough, False
        try:
            moved = [x + 1j * TINY * d for x, d in zip(point, direction, strict=True)]
            with np.errstate(all="ignore"):
                fine = [np.asarray(np.imag(plain(y)) / TINY) for y in f(*moved)]
        except Exception:  # noqa: BLE001 (whatever `f` raises, it is not for complex numbers)
            return rough, False
        agree = all(
            a.shape == b.shape and np.allclose(a, b, rtol=0, atol=self.tolerance * max(1, np.max(np.abs(b), initial=0)))
            for a, b in zip(fine, rough, strict=True)
        )
        return (fine, True) if agree else (rough, False)

    def order(self, path: tuple[str, ...]) -> str:
        return f"order {len(path)} ({' of '.join(reversed(path))})"

    def compare(
        self,
        found: Any,
        desired: Any,
        path: tuple[str, ...],
        what: str,
        exact: bool,
        scale: float = 1.0,
        index: tuple[int, ...] | None = None,
    ) -> None:
        found = np.asarray(found)
        where = f"{self.order(path)}: {what}"
        if found.shape != desired.shape:
            raise DerivativeMismatchError(f"{where} has shape {found.shape}, not {desired.shape}")
        scale = max(scale, float(np.max(np.abs(desired), initial=0)))
        limit = self.tolerance * scale * (0.01 if exact and self.tolerance < 1e-4 else 1)
        with np.errstate(invalid="ignore"):
            wrong = ~((np.abs(found - desired) <= limit) | (found == desired))
        if np.any(wrong):
            position = tuple(int(i[0]) for i in np.nonzero(np.atleast_1d(wrong)))[: found.ndim]
            at = position if index is None else index
            raise DerivativeMismatchError(
                f"{where}{f' at index {at}' if at else ''}: {found[position]!s}, but by differences "
                f"{_short(desired[position], self.tolerance)}"
            )


def _short(x: Any, tolerance: float) -> str:
    """A number with as many digits as can be trusted."""
    digits = max(1, -int(np.floor(np.log10(tolerance))))
    return str(np.round(x, digits))
