"""What the tests compare derivatives with: differences of the NumPy function, which share no formula with the rules."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.rules import Rule, rules
from chainrule.scipy import special_table

# The elementwise table of NumPy's functions: SciPy's have tests of their own.  (`conftest.py` sees to it that this is
# read before any test registers an operation.)
ROWS: list[Rule] = [rule for rule in rules.values() if rule.partials and rule not in special_table.ROWS]


def seeded(*key: object) -> np.random.Generator:
    """A generator that depends on the name of the test only."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def spaced(shape: Any, seed: object = 0, low: float = -1.5, high: float = 2.0, dtype: Any = float) -> np.ndarray:
    """Shuffled, evenly spaced numbers: no ties, none within a difference step of another, none zero."""
    size = int(np.prod(shape))
    numbers = seeded(seed, shape).permutation(np.linspace(low, high, size + 2)[1:-1]) + 0.01
    if np.dtype(dtype).kind == "c":
        numbers = numbers + 1j * seeded(seed, shape, "imaginary").permutation(numbers)
    return numbers.reshape(shape).astype(dtype)


def dot(a: Any, b: Any) -> float:
    """Re<a, b>, over lists of arrays too: the inner product under which pull is the adjoint of push."""
    if isinstance(a, tuple | list):
        return sum((dot(x, y) for x, y in zip(a, b, strict=True)), 0.0)
    return float(np.sum(np.real(np.conj(np.asarray(a, dtype=complex)) * b)))


def difference(f: Any, args: list[Any], i: int, direction: Any, step: float = 5e-4) -> Any:
    """Derivative of `f` along `direction` in argument `i`: central differences of fourth order."""

    def at(t: float) -> Any:
        moved = list(args)
        moved[i] = args[i] + t * direction
        return f(*moved)

    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


def numerical_gradient(f: Any, args: list[Any], i: int) -> np.ndarray:
    """Gradient of the real scalar `f` in argument `i`: df/dx + i df/dy for a complex one."""
    x = np.asarray(args[i])
    gradient = np.zeros(x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        for unit in (1, 1j) if x.dtype.kind == "c" else (1,):
            direction = np.zeros(x.shape, x.dtype)
            direction[index] = unit
            gradient[index] += unit * difference(f, args, i, direction)
    return gradient


def parts(result: Any) -> list[Any]:
    """The arrays of a result: most functions return one."""
    return list(result) if isinstance(result, tuple | list) else [result]


def cotangents(results: list[Any], seed: object) -> list[Any]:
    return [spaced(np.shape(r), (seed, "ct", i), dtype=r.dtype)[()] for i, r in enumerate(results)]


def close(actual: Any, desired: Any, tolerance: float = 1e-7) -> None:
    """Equal shapes, and equal values to a tolerance relative to the largest."""
    assert np.shape(actual) == np.shape(desired), f"shape {np.shape(actual)}, not {np.shape(desired)}"
    scale = max(1.0, float(np.max(np.abs(desired), initial=0)))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * scale)


def same(actual: Any, desired: Any) -> None:
    """Bit for bit the same values, shape and dtype, in a plain array."""
    assert not isinstance(actual, cr.Tensor)
    assert actual.dtype == desired.dtype, f"dtype {actual.dtype}, not {desired.dtype}"
    assert np.shape(actual) == np.shape(desired)
    assert np.array_equal(actual, desired, equal_nan=desired.dtype.kind in "fc"), f"{actual} is not {desired}"


def check_value(f: Any, args: list[Any]) -> list[Any]:
    """`f` of Tensors has NumPy's value, and nothing is written to its arguments; returns the values."""
    before = [np.copy(arg) for arg in args]
    tensors = [cr.Tensor(arg) for arg in args]
    expected = parts(f(*(np.copy(tensor.data, order="K")[()] for tensor in tensors)))  # BLAS rounds by memory layout
    results = parts(f(*tensors))
    assert len(results) == len(expected)
    for result, desired in zip(results, expected, strict=True):
        assert isinstance(result, cr.Tensor), f"{type(result)} is no Tensor"
        same(result.data, np.asarray(desired)[()])
    for arg, tensor, old in zip(args, tensors, before, strict=True):
        assert np.array_equal(arg, old, equal_nan=True), "an argument was written to"
        assert np.array_equal(tensor.data, old, equal_nan=True), "a Tensor was written to"
    return expected


def check_dtypes(f: Any, args: list[Any]) -> None:
    """Values are NumPy's bits; gradients have their argument's dtype, tangents their result's."""
    expected = check_value(f, args)
    _, pullback = cr.vjp(lambda *xs: parts(f(*xs)), *args)
    gradients = pullback([np.ones_like(e) for e in expected])
    _, tangents = cr.jvp(lambda *xs: parts(f(*xs)), tuple(args), tuple(np.ones_like(a) for a in args))
    assert [g.dtype for g in gradients] == [a.dtype for a in args]
    assert [t.dtype for t in tangents] == [np.asarray(e).dtype for e in expected]


def check_out(name: str, f: Any, shape: tuple[int, ...]) -> None:
    """`f(x, out)` fills a Tensor of `shape` and returns it, with the value and the derivative of `f(x, None)`."""
    x = spaced((2, 3), name)

    def through_out(x: Any) -> Any:
        out = cr.Tensor(np.zeros(shape))
        assert f(x, out) is out
        return out * 2

    value, pullback = cr.vjp(through_out, x)
    same(value, f(x, np.zeros(shape)) * 2)
    ct = spaced(shape, "ct")
    np.testing.assert_array_equal(pullback(ct)[0], cr.vjp(lambda x: f(x, None) * 2, x)[1](ct)[0])


def check(f: Any, args: list[Any], *, order: int = 2, tolerance: float = 1e-7, seed: object = 0) -> None:
    """Value, pull, push and (order 2) the pull and push of the pull, against differences.

    Also: gradients have their argument's shape and dtype; arguments and cotangents are left alone; a second pull
    through the same graph gives the same, so nothing that is kept was written to.
    """
    expected = check_value(f, args)
    cts = cotangents(expected, seed)
    given = [np.copy(ct) for ct in cts]

    def weighted(*xs: Any) -> float:
        return dot(cts, parts(f(*xs)))

    _, pullback = cr.vjp(lambda *xs: parts(f(*xs)), *args)
    gradients = pullback(cts)
    for i, (arg, gradient) in enumerate(zip(args, gradients, strict=True)):
        assert gradient.dtype == np.asarray(arg).dtype, f"gradient {i} of dtype {gradient.dtype}"
        assert np.shape(gradient) == np.shape(arg), f"gradient {i} of shape {np.shape(gradient)}"
        close(gradient, numerical_gradient(weighted, args, i), tolerance)
    for again, gradient in zip(pullback(cts), gradients, strict=True):
        assert np.array_equal(again, gradient), "a second pull gave something else"
    for ct, old in zip(cts, given, strict=True):
        assert np.array_equal(ct, old), "a cotangent was written to"

    directions = [spaced(np.shape(arg), (seed, "tangent", i), dtype=arg.dtype)[()] for i, arg in enumerate(args)]
    values, tangents = cr.jvp(lambda *xs: parts(f(*xs)), tuple(args), tuple(directions))
    for value, tangent, desired in zip(values, tangents, expected, strict=True):
        same(value, np.asarray(desired)[()])
        assert tangent.dtype == np.asarray(desired).dtype
        assert np.shape(tangent) == np.shape(desired)
    np.testing.assert_allclose(dot(cts, tangents), dot(gradients, directions), rtol=1e-9, atol=1e-9)
    _, pushforward = cr.linearize(lambda *xs: parts(f(*xs)), *args)  # a push over the finished graph, not beside it
    for again, tangent in zip(pushforward(*directions), tangents, strict=True):
        np.testing.assert_allclose(again, tangent, rtol=1e-12, atol=1e-12)

    if order > 1:
        second = [spaced(np.shape(arg), (seed, "second", i), dtype=arg.dtype)[()] for i, arg in enumerate(args)]

        def slope(*xs: Any) -> list[Any]:
            return list(cr.vjp(lambda *ys: parts(f(*ys)), *xs)[1](cts))

        check_second(slope, args, second, tolerance)


def check_second(slope: Any, args: list[Any], second: list[Any], tolerance: float) -> None:
    """Reverse over reverse and forward over reverse, against differences of `slope`, the (tested) first derivative."""
    along = None
    for i, direction in enumerate(second):
        by_differences = [difference(lambda *xs, k=k: slope(*xs)[k], args, i, direction) for k in range(len(args))]
        along = by_differences if along is None else [a + b for a, b in zip(along, by_differences, strict=True)]
    _, pushed = cr.jvp(slope, tuple(args), tuple(second))
    for a, b in zip(pushed, along, strict=True):
        close(a, b, 10 * tolerance)
    _, pullback = cr.vjp(slope, *args)  # the Hessian is symmetric: pulling `second` back is pushing it forward
    for a, b in zip(pullback(second), along, strict=True):
        close(a, b, 10 * tolerance)
