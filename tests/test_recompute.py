"""What kernels compute once more rather than read, and when they come: fewer arrays, fewer kernels, the same bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import machine_loops
from chainrule.nn import functional


def normal(*shape: int, dtype: str = "f8", seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def compiled(f: Callable[..., Any], *args: Any) -> cr.Jitted:
    jitted = cr.jit(f)
    for _ in range(4):
        jitted(*args)
    assert not jitted.given_up
    assert not any(variant.disagreed for variant in jitted.variants)
    return jitted


def results(f: Callable[..., Any], *args: Any) -> list[Any]:
    return [np.asarray(x) for x in cr.tree.flatten(compiled(f, *args)(*args))[0]]


def kernels(f: Callable[..., Any], *args: Any) -> list[list[str]]:
    """The operations of each kernel, and what it is called with."""
    found, operations = [], []
    for line in compiled(f, *args).source(*args).splitlines():
        if line.strip().startswith("#     "):
            operations.append(line.split("=")[1].split("(")[0].strip())
        elif re.match(r" +kernel\w*\(", line):
            found.append([*operations, line.strip()])
            operations = []
    return found


def pull(x: Any, masses: Any) -> Any:
    for _ in range(2):
        d = x[None, :, :] - x[:, None, :]
        square = np.sum(d * d, 2) + 0.1
        x = x + 0.01 * np.sum((masses / (square * np.sqrt(square)))[:, :, None] * d, 1)
    return np.sum(x * x)


def centred(X: Any, W: Any, m: Any) -> Any:
    y = X @ W - m
    weights = np.exp(-np.sum(y * y, 1))
    return np.sum((weights / np.sum(weights)) ** 2)


def gate(x: Any, w: Any) -> Any:
    return np.sum(np.tanh(np.exp(x) @ w) * 2 + 1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("f", [pull, centred, gate])
def test_the_same_bits(f: Callable[..., Any], dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args = {
        pull: (normal(70, 3, dtype=dtype), np.abs(normal(70, dtype=dtype))),
        centred: (normal(300, 9, dtype=dtype) / 9, normal(9, 20, dtype=dtype), normal(20, dtype=dtype)),
        gate: (normal(50, 40, dtype=dtype) / 9, normal(40, 30, dtype=dtype)),
    }[f]
    function = cr.value_and_grad(f, argnums=tuple(range(len(args))))
    found = results(function, *args)
    monkeypatch.setattr(machine_loops, "recomputed", lambda outputs, steps: steps)
    for x, y, eager in zip(found, results(function, *args), cr.tree.flatten(function(*args))[0], strict=True):
        np.testing.assert_array_equal(x, y)
        scale = np.abs(np.asarray(eager)).max()
        np.testing.assert_allclose(x, np.asarray(eager), rtol=0, atol=scale * (1e-5 if dtype == "f4" else 1e-13))


def sizes(f: Callable[..., Any], *args: Any) -> list[int]:
    """Of the arrays that are kept from call to call."""
    frames = compiled(f, *args).variants[0].printed.function.__globals__["FRAMES"]
    return sorted(buffer.size for buffer in frames[0])


def test_pairs_of_points_are_never_in_memory() -> None:
    x, masses = normal(70, 3), np.abs(normal(70))
    pairs = [each for each in kernels(cr.grad(pull), x, masses) if "(70, 70, " in each[-1]]
    assert len(pairs) == 4  # two forward, two back
    assert all("sqrt" in each for each in pairs)
    assert sizes(cr.grad(pull), x, masses)[-1] < 70 * 70


def test_what_a_product_gave_is_read_again() -> None:
    args = normal(300, 9) / 9, normal(9, 20), normal(20)
    assert sizes(cr.grad(centred), *args).count(300 * 20) == 1  # y is not kept beside X @ W
    forward, *_, backward = kernels(cr.grad(centred), *args)
    assert forward.count("subtract") == backward.count("subtract") == 1
    assert "exp" not in backward  # which costs more than an element for each row


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_gradient_of_logsumexp_takes_one_exponential(dtype: str) -> None:
    def f(x: Any) -> Any:
        return np.sum(functional.logsumexp(x, axis=1) ** 2)

    x = 30 * normal(40, 70, dtype=dtype)
    x[3], x[4, 5], x[6, :] = -np.inf, -np.inf, 80
    (whole,) = [each for each in kernels(cr.value_and_grad(f), x[5:]) if "(35, 70, " in each[-1]]
    assert whole.count("exp") == whole.count("divide") == 1
    with np.errstate(all="ignore"):
        for rows in (x, x[4:], np.where(x > 60, np.inf, x)):
            for got, want in zip(results(cr.value_and_grad(f), rows), cr.value_and_grad(f)(rows), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-4 if dtype == "f4" else 1e-12, atol=1e-38)


def below_largest(x: Any) -> Any:
    return np.max(x, axis=1, keepdims=True)


SUBTRACTED: dict[str, Callable[[Any], Any]] = {
    "largest": below_largest,
    "finite largest": lambda x: np.where(np.isfinite(below_largest(x)), below_largest(x), 0),
    "smallest": lambda x: np.min(x, axis=1, keepdims=True),
    "of all": lambda x: np.max(x, keepdims=True),
    "of columns": lambda x: np.max(x, axis=0, keepdims=True),
    "of rows, for columns": lambda x: np.max(x, axis=1),
    "of something else": lambda x: below_largest(x * 0.5),
    "first": lambda x: x[:, :1],
    "clipped": lambda x: np.maximum(np.minimum(below_largest(x), 600.0), -600.0),
    "nothing": lambda x: 0.0 * below_largest(x),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("subtracted", SUBTRACTED)
def test_an_exponential_is_a_quotient_only_of_what_cannot_overflow(subtracted: str, dtype: str) -> None:
    """With another number than the largest, one form gives NaN where the other does not."""

    def f(x: Any) -> Any:
        t = SUBTRACTED[subtracted](x)
        e = np.exp(x - t)
        return np.exp(x - (np.log(np.sum(e, axis=1, keepdims=True)) + t)), functional.softmax(x)

    x = normal(40, 40, dtype=dtype)
    jitted = compiled(f, x)
    assert jitted.source(x).count("divide(") == 1 + (subtracted == "largest")
    edges = [np.inf, -np.inf, np.nan, 800.0, -800.0, 1e30, -1e30, 5.0, 0.0]
    with np.errstate(all="ignore"):
        for a in edges:
            for b in edges:
                x[7], x[8, :20], x[8, 20:], x[9, 3], x[10, 10:] = a, a, b, b, b
                for got, want in zip(jitted(x), f(x), strict=True):
                    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
                    if abs(a) != 1e30 != abs(b):  # to which log(s) adds nothing
                        np.testing.assert_allclose(got, want, rtol=1e-4 if dtype == "f4" else 1e-12, atol=1e-37)
    assert not jitted.given_up


def test_sums_that_are_used_at_once_do_not_end_a_kernel() -> None:
    def f(a: Any, x: Any) -> tuple[Any, ...]:
        y = x * a
        total = np.sum(y, 0) * 2 + 1  # needs all rows: after the others
        return np.sum(total), np.sum(np.tanh(y), 0), np.sum(y * y, 1)

    a, x = normal(40), normal(50, 40)
    whole = [each for each in kernels(f, a, x) if "(50, 40, " in each[-1]]
    assert len(whole) == 1
    for got, want in zip(results(f, a, x), f(a, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13)


def test_long_chains_that_wait() -> None:
    def f(x: Any) -> tuple[Any, Any]:
        total = np.sum(x, 0)
        for _ in range(1500):
            total = total * 0.5 + 1
        return total, np.sum(np.exp(x), 0)

    x = normal(30, 20)
    for got, want in zip(results(f, x), f(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13)
