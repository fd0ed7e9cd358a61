"""Random programs: reverse mode, forward mode and central differences agree, on small and on large arrays."""

from __future__ import annotations

import random

import numpy as np
import pytest

import chainrule as cr

UNARY = [
    np.sin,
    np.exp,
    np.arctan,
    np.square,
    np.sinh,
    lambda x: np.sqrt(x * x + 1),
    lambda x: np.log(x * x + 1.5),
    lambda x: 1 / (x * x + 2),
    lambda x: x.T,
    lambda x: x[::-1],
    lambda x: np.roll(x, 1, 0),
    lambda x: x - np.mean(x, axis=0),
    lambda x: np.cumsum(x, 0) * 0.1,
    lambda x: np.where(x > 0, x, 0.3 * x),
    lambda x: np.clip(x, -1.5, 1.5),
    lambda x: np.concatenate([x[1:], x[:1]]),
    lambda x: x[np.arange(len(x)) // 2],
    lambda x: np.min(x.ravel()[:3]) + x,
]
BINARY = [
    np.add,
    np.multiply,
    np.subtract,
    np.hypot,
    np.arctan2,
    np.logaddexp,
    np.maximum,
    lambda a, b: a / (b * b + 1),
    lambda a, b: a @ b * 0.1,
    lambda a, b: a * b[0],
    lambda a, b: a + b[:, :1],
]


def program(seed, length=10):
    """A function of a square matrix: every step takes earlier results, some steps write in place."""
    rng = random.Random(seed)
    steps = []
    for _ in range(length):
        operation = rng.choice(UNARY if rng.random() < 0.5 else BINARY)
        steps.append((operation, rng.randrange(100), rng.randrange(100), rng.random() < 0.3))

    def f(x):
        values = [x, x * 0.5 + 0.2]
        for operation, i, j, writes in steps:
            operands = [values[i % len(values)], values[j % len(values)]][: 2 if operation in BINARY else 1]
            y = np.tanh(operation(*operands))
            if writes:
                y = y * 1.0
                y += values[j % len(values)]
                y[0] = values[i % len(values)][-1]
            values.append(y)
        return sum(np.sum(v * v) * 0.1 + np.mean(v) for v in values[-4:])

    return f


@pytest.mark.parametrize("seed", range(60))
def test_modes_agree_with_each_other_and_with_differences(seed):
    rng = np.random.default_rng(seed)
    n = 100 if seed % 4 == 0 else 4  # large arrays take other paths through memory
    x, v = rng.normal(size=(n, n)), rng.normal(size=(n, n)) / n
    f = program(seed)
    value, gradient = cr.value_and_grad(f)(x)
    assert value == f(x)
    leaf = cr.Tensor(x)
    f(leaf).backward()
    np.testing.assert_array_equal(leaf.grad, gradient)
    slope = cr.jvp(f, (x,), (v,))[1]
    np.testing.assert_allclose(slope, np.sum(gradient * v), rtol=1e-9, atol=1e-10)
    h = 1e-6
    np.testing.assert_allclose(slope, (f(x + h * v) - f(x - h * v)) / (2 * h), rtol=2e-4, atol=1e-6)
    if n == 4:
        over = cr.jvp(cr.grad(f), (x,), (v,))[1]
        under = cr.grad(lambda x: cr.jvp(f, (x,), (v,))[1])(x)
        back = cr.grad(lambda x: np.sum(cr.grad(f)(x) * v))(x)
        np.testing.assert_allclose(under, over, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(back, over, rtol=1e-8, atol=1e-10)
