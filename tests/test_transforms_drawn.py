"""Identities between transforms, on programs that Hypothesis draws.

A program is a few steps, each from one vector to another: elementwise functions, reductions, views and writes through
them, indexing, linear algebra, loops, gradients taken inside, and branches, of Python or (for `vmap`) of `cond`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import close, difference, spaced

import chainrule as cr

N = 4
A = spaced((N, N), "A") + 4 * np.eye(N)
W = spaced((N,), "W")
U, V, CT = (spaced((N,), name) for name in "UVC")


# -- programs ------------------------------------------------------------------------------------------------------
def writes(x: Any) -> Any:
    y = x * 1.0
    tail = y[1:]
    tail *= np.cos(x[:-1])
    y[0] += x[2] * x[3]
    y[[3, 1]] = y[[1, 2]]
    return y


def fills(x: Any) -> Any:
    y = np.zeros_like(x)
    square = y.reshape(2, 2).T
    square[0] = np.sin(x[:2])
    square[1] = x[2:] ** 2
    np.add.at(y, [0, 0, 3], x[:3])
    return y


def looped(x: Any) -> Any:
    last, ys = cr.scan(lambda c, k: (np.sin(c) * k + x, np.sum(c * x)), x, np.array([0.5, -1.0, 0.7, 0.2]))
    return last + ys


def halved(x: Any) -> Any:
    return cr.while_loop(lambda y: np.sum(y * y) > 2.0, lambda y: y * 0.6, x)


STEPS: dict[str, Callable[[Any], Any]] = {
    "sin": np.sin,
    "tanh": np.tanh,
    "exp": lambda x: np.exp(-x * x),
    "log": lambda x: np.log(x * x + 1.5),
    "quotient": lambda x: x / (2 + x * x),
    "where": lambda x: np.where(x > 0.1, x * x, 0.5 * x),
    "clip": lambda x: np.clip(x, -1.1, 0.9),
    "centred": lambda x: x - np.mean(x),
    "normed": lambda x: x / np.sqrt(1 + np.sum(x * x)),
    "softmax": lambda x: np.exp(x - np.logaddexp.reduce(x)),
    "cumsum": lambda x: np.cumsum(x) * 0.4,
    "cumprod": lambda x: np.cumprod(np.cos(x)),
    "variance": lambda x: x * np.var(x),
    "largest": lambda x: x + np.max(x) * np.min(x[:2]),
    "sorted": np.sort,
    "reversed": lambda x: x[::-1],
    "picked": lambda x: x[[2, 0, 0, 3]],
    "joined": lambda x: np.concatenate([x[2:] * x[0], x[:2]]),
    "windows": lambda x: np.convolve(x, x[1:3], "same"),
    "writes": writes,
    "fills": fills,
    "product": lambda x: np.tanh(A @ x),
    "solved": lambda x: np.linalg.solve(A + np.outer(x, np.tanh(x)), x),
    "determinant": lambda x: x * np.linalg.slogdet(A @ A.T + np.outer(x, x))[1] * 0.2,
    "eigenvalues": lambda x: np.linalg.eigvalsh(np.diag(np.arange(4.0) * 3) + 0.1 * np.outer(x, x)) * 0.1,
    "contracted": lambda x: np.einsum("i,ij,j->j", x, A, np.sin(x)) * 0.2,
    "transformed": lambda x: np.abs(np.fft.fft(np.cos(x)) + 0.3j) * 0.3,
    "loop": looped,
    "while": halved,
    "cond": lambda x: cr.cond(x[0] > x[1], np.sin, lambda x: x * x[2], x),
    "gradient": lambda x: cr.grad(lambda z: np.sum(np.sin(z) * x * z[::-1]))(x),
    "tangent": lambda x: cr.jvp(np.cumprod, (np.cos(x),), (x,))[1],
    "batch": lambda x: cr.vmap(lambda a: np.sum(np.sin(a * x)))(x),
    "again": lambda x: cr.checkpoint(lambda y: y * np.sin(x) + x[0])(np.cos(x)),
}


def branches(x: Any) -> Any:
    if np.sum(x) > 0:
        return x * x[0]
    return np.sin(x)


def counts(x: Any) -> Any:
    y, total = x, 0.0 * x
    while np.sum(y * y) > 0.5:
        y = y * 0.7
        total = total + y * x
    return total + y


BRANCHING = STEPS | {"branch": branches, "count": counts}


@dataclass
class Program:
    """Steps by name; each is applied to what one step before gave, and may be multiplied by what another gave."""

    steps: list[tuple[str, int, int | None]]

    __name__ = "program"

    def __call__(self, x: Any) -> Any:
        values = [x]
        for name, i, j in self.steps:
            y = BRANCHING[name](values[i % len(values)])
            values.append(y if j is None else y + 0.3 * y * values[j % len(values)])
        return values[-1] + 0.1 * values[len(values) // 2]


def programs(names: Any) -> Any:
    step = st.tuples(st.sampled_from(sorted(names)), st.integers(0, 5), st.one_of(st.none(), st.integers(0, 5)))
    return st.builds(Program, st.lists(step, min_size=1, max_size=5))


def drawn(number: int, names: Any = BRANCHING) -> Any:
    """The same programs, and points, in every run."""

    def decorate(test: Any) -> Any:
        run = given(programs(names), st.integers(0, 99))(test)
        return settings(max_examples=number, deadline=None, derandomize=True, database=None)(run)

    return decorate


def point(seed: int) -> np.ndarray:
    return spaced((N,), ("point", seed), -1.2, 1.7)


def scalar(f: Any) -> Any:
    return lambda x: np.sum(f(x) * W)


# -- identities ------------------------------------------------------------------------------------------------------
@drawn(80)
def test_reverse_is_the_adjoint_of_forward_and_both_are_linear(f: Program, seed: int) -> None:
    x = point(seed)
    value, pullback = cr.vjp(f, x)
    (pulled,) = pullback(CT)
    again, tangent = cr.jvp(f, (x,), (V,))
    np.testing.assert_array_equal(value, again)
    np.testing.assert_array_equal(value, f(x))
    close(tangent, difference(f, [x], 0, V, 1e-4), 1e-6)
    close(CT @ tangent, pulled @ V, 1e-11)
    _, push = cr.linearize(f, x)
    close(push(V), tangent, 1e-11)
    close(push(2.0 * U - 3.0 * V), 2.0 * push(U) - 3.0 * tangent, 1e-11)
    close(pullback(2.0 * W - 3.0 * CT)[0], 2.0 * pullback(W)[0] - 3.0 * pulled, 1e-11)


@drawn(60)
def test_jacobians_and_hessians(f: Program, seed: int) -> None:
    x = point(seed)
    columns, rows = (cr.jacobian(f, mode=mode)(x) for mode in ("fwd", "rev"))
    close(columns, rows, 1e-11)
    close(columns @ V, cr.jvp(f, (x,), (V,))[1], 1e-11)
    H = cr.hessian(scalar(f))(x)
    close(H, H.T, 1e-9)
    close(cr.hvp(scalar(f), (x,), (V,))[0], H @ V, 1e-9)
    close(cr.jacobian(cr.jacobian(scalar(f), mode="rev"), mode="rev")(x), H, 1e-9)
    close(H @ V, difference(cr.grad(scalar(f)), [x], 0, V, 1e-4), 1e-5)
    (product,) = cr.ggn_vp(f, lambda y: np.sum(y**4), (x,), (V,))
    close(product, columns.T @ (12 * f(x) ** 2 * (columns @ V)), 1e-10)


@drawn(60)
def test_taylor_mode_is_nested_forward_mode(f: Program, seed: int) -> None:
    x, g = point(seed), lambda t: f(point(seed) + t * U + 0.5 * t * t * V)
    _, found = cr.jet(f, (x,), ([U, V, 0 * V],))
    for order in range(3):
        g = functools.partial(lambda g, t: cr.jvp(g, (t,), (1.0,))[1], g)
        close(found[order], g(0.0), 1e-9)


@drawn(60, STEPS)
def test_batches_are_loops(f: Program, seed: int) -> None:
    xs = np.stack([point(seed), point(seed + 1), -point(seed)])
    for transform in (lambda f: f, lambda f: cr.grad(scalar(f)), lambda f: lambda x: cr.jvp(f, (x,), (V,))[1]):
        g = transform(f)
        close(cr.vmap(g)(xs), np.stack(list(map(g, xs))), 1e-10)
    total = cr.grad(lambda xs: np.sum(cr.vmap(scalar(f))(xs)))(xs)
    close(total, np.stack(list(map(cr.grad(scalar(f)), xs))), 1e-10)


@drawn(60)
def test_checkpoints_change_nothing(f: Program, seed: int) -> None:
    x = point(seed)
    g = cr.checkpoint(f)
    np.testing.assert_array_equal(g(x), f(x))
    close(cr.grad(scalar(g))(x), cr.grad(scalar(f))(x), 1e-12)
    close(cr.jvp(g, (x,), (V,))[1], cr.jvp(f, (x,), (V,))[1], 1e-12)
    close(cr.hvp(scalar(g), (x,), (V,))[0], cr.hvp(scalar(f), (x,), (V,))[0], 1e-10)
    chain = cr.checkpoint_chain([f, lambda y: np.tanh(y), f], memory=1)
    close(cr.grad(scalar(chain))(x), cr.grad(scalar(lambda x: f(np.tanh(f(x)))))(x), 1e-10)


@drawn(25)
def test_compiled_programs_are_the_same(f: Program, seed: int) -> None:
    g, slope = cr.jit(f), cr.jit(cr.grad(scalar(f)))
    for x in (point(seed), -point(seed), point(seed)):  # the second may take another branch
        close(g(x), f(x), 1e-12)
        close(slope(x), cr.grad(scalar(f))(x), 1e-10)
