"""`jit`: compiled programs give what the function gives, whatever happens between two calls."""

from __future__ import annotations

import copy
import math
import pickle
import re
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compile.variants import Variant
from chainrule.errors import StructureError, UntraceableWarning
from chainrule.nn import functional
from chainrule.scipy import special
from chainrule.tree import flatten


def normal(*shape: int, dtype: str = "f8", seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def assert_same(a: Any, b: Any, exactly: bool = True) -> None:
    """Same containers, classes, dtypes and values."""
    (first, _, form), (second, _, other) = flatten(a), flatten(b)
    assert form == other
    for x, y in zip(first, second, strict=True):
        assert type(x) is type(y)
        if isinstance(x, np.ndarray | np.generic):
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            if exactly:
                np.testing.assert_array_equal(x, y)
            else:
                single = x.dtype in (np.float32, np.complex64)
                np.testing.assert_allclose(x, y, rtol=1e-4 if single else 1e-11, atol=1e-5 if single else 1e-12)
        else:
            assert x == y


def check(f: Callable[..., Any], *calls: tuple[Any, ...], variants: int | None = 1, exactly: bool = True) -> cr.Jitted:
    """Call `f` and its jit with these arguments several times over, until there are kernels."""
    jitted = cr.jit(f, exact=exactly)
    for _ in range(5):
        for args in calls:
            assert_same(jitted(*deepcopy(args)), f(*deepcopy(args)), exactly)
    assert not jitted.given_up
    assert not any(variant.disagreed for variant in jitted.variants)
    if variants is not None:
        assert len(jitted.variants) == variants
    return jitted


def at_once(work: Callable[[int], None], threads: int = 4) -> None:
    """Let threads that begin together do this work, each with its number; raise what one of them raises."""
    ready = threading.Barrier(threads)

    def begin(number: int) -> None:
        ready.wait()
        work(number)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(begin, range(threads)))


def mlp(parameters: dict[str, Any], x: Any, y: Any) -> Any:
    hidden = np.tanh(x @ parameters["w1"] + parameters["b1"])
    return np.mean((hidden @ parameters["w2"] + parameters["b2"] - y) ** 2)


def mlp_arguments(n: int, seed: int, dtype: str = "f8") -> tuple[Any, ...]:
    shapes = {"w1": (4, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)}
    parameters = {name: normal(*shape, dtype=dtype, seed=seed) for name, shape in shapes.items()}
    return parameters, normal(n, 4, dtype=dtype, seed=seed), normal(n, 3, dtype=dtype, seed=seed + 1)


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class Point:
    x: Any
    y: Any


def filled(x: Any) -> Any:
    y = np.zeros_like(x)
    y[0] = x[1] * 2
    for i in range(1, len(x)):
        y[i] = y[i - 1] * 0.5 + x[i]
    y += 1
    y[::2] *= x[::2]
    return y


def leapfrog(q: Any, p: Any) -> Any:
    force = cr.grad(lambda q: np.sum(q**4) / 4)
    for _ in range(5):
        p = p - 0.05 * force(q)
        q = q + 0.1 * p
        p = p - 0.05 * force(q)
    return np.sum(q * p)


def energy(x: Any) -> Any:
    return np.sum(np.sin(x) * x**2)


def adam(parameters: Any, state: Any, t: Any, x: Any, y: Any) -> Any:
    loss, gradients = cr.value_and_grad(mlp)(parameters, x, y)
    new, moments = {}, {}
    for name, g in gradients.items():
        m, v = state[name]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        new[name] = parameters[name] - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        moments[name] = m, v
    return loss, new, moments


CASES: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {
    "a pure function": (
        lambda x, y: {"a": np.where(x > y, x, y), "b": [x.sum(), None]},
        [(normal(3), normal(3, seed=1))],
    ),
    "value and gradient": (cr.value_and_grad(mlp), [mlp_arguments(5, 0), mlp_arguments(5, 7)]),
    "float32": (cr.value_and_grad(mlp), [mlp_arguments(5, 0, "f4"), mlp_arguments(5, 7, "f4")]),
    "a training step": (
        adam,
        [
            (p, {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in p.items()}, np.float64(t), x, y)
            for t, (p, x, y) in enumerate([mlp_arguments(5, 0), mlp_arguments(5, 7)], 1)
        ],
    ),
    "a scalar": (cr.grad(lambda x: x * x + np.sin(x)), [(np.float64(0.5),), (np.float64(0.7),)]),
    "writing": (filled, [(normal(6),), (normal(6, seed=1),)]),
    "writing, differentiated": (cr.grad(lambda x: np.sum(filled(x) ** 2)), [(normal(6),), (normal(6, seed=1),)]),
    "views that are written to": (
        cr.grad(lambda x: np.sum(_through_views(x) * x)),
        [(normal(3, 4),), (normal(3, 4, seed=1),)],
    ),
    "vmap": (
        cr.vmap(cr.grad(lambda x, w: np.sum(np.tanh(x * w))), in_axes=(0, None)),
        [(normal(4, 3), normal(3)), (normal(4, 3, seed=1), normal(3, seed=1))],
    ),
    "jvp": (lambda x, t: cr.jvp(energy, (x,), (t,)), [(normal(3), normal(3, seed=1)), (normal(3, seed=2), normal(3))]),
    "hvp": (
        lambda x, t: cr.jvp(cr.grad(energy), (x,), (t,))[1],
        [(normal(3), normal(3, seed=1)), (normal(3, seed=2), normal(3))],
    ),
    "second order": (cr.grad(lambda x: np.sum(cr.grad(energy)(x) ** 2)), [(normal(3),), (normal(3, seed=1),)]),
    "a simulation": (
        cr.grad(leapfrog, argnums=(0, 1)),
        [(normal(2), normal(2, seed=1)), (normal(2, seed=3), normal(2))],
    ),
    "linear algebra": (
        cr.grad(
            lambda a: np.sum(np.linalg.inv(a @ a.T + np.eye(3))) + np.linalg.slogdet(a)[1] + np.linalg.eigvalsh(a)[0]
        ),
        [(normal(3, 3),), (normal(3, 3, seed=1),)],
    ),
    "jacobian": (
        cr.jacobian(lambda x, a: np.tanh(a @ x) * x[0]),
        [(normal(3), normal(4, 3)), (normal(3, seed=1), normal(4, 3, seed=1))],
    ),
    "jacobian, forward": (
        cr.jacobian(lambda x: np.tanh(x) * x[0], mode="fwd"),
        [(normal(3),), (normal(3, seed=1),)],
    ),
    "hessian": (cr.hessian(lambda x: energy(x) + np.prod(x)), [(normal(3),), (normal(3, seed=1),)]),
    "hvp by name": (
        lambda x, t: cr.hvp(energy, (x,), (t,)),
        [(normal(3), normal(3, seed=1)), (normal(3, seed=2), normal(3))],
    ),
    "third derivative": (
        cr.grad(cr.grad(cr.grad(lambda x: np.sin(x) * x**3))),
        [(np.float64(0.3),), (np.float64(0.9),)],
    ),
    "scan": (
        cr.value_and_grad(lambda w, xs: np.sum(np.stack(_scanned(w, xs)))),
        [(normal(3), normal(5, 3)), (normal(3, seed=1), normal(5, 3, seed=1))],
    ),
    "scan, not differentiated": (
        lambda w, xs: cr.scan(lambda c, x: (np.tanh(c * w + x), c * x), w * 0, xs, reverse=True),
        [(normal(3), normal(5, 3)), (normal(3, seed=1), normal(5, 3, seed=1))],
    ),
    "fori_loop": (
        cr.grad(lambda x: np.sum(cr.fori_loop(0, 5, lambda i, v: v * x + i, np.ones(3)))),
        [(normal(3),), (normal(3, seed=1),)],
    ),
    "cond under vmap": (
        cr.vmap(cr.grad(lambda x: cr.cond(np.sum(x) > 0, energy, lambda x: np.sum(np.exp(x)), x))),
        [(normal(4, 3),), (normal(4, 3, seed=1),)],
    ),
    "writing through an index that is an argument": (
        cr.grad(lambda x, i: np.sum(_at_index(x, i) * x)),
        [(normal(5), np.array([0, 2])), (normal(5, seed=1), np.array([3, 1]))],
    ),
    "writing at an index that is an argument, forward": (
        lambda x, i: cr.jvp(lambda x: _at_index(x, i) * x, (x,), (x + 1,)),
        [(normal(5), np.array([0, 2])), (normal(5, seed=1), np.array([3, 1]))],
    ),
    "Fourier": (cr.grad(lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2)), [(normal(8),), (normal(8, seed=1),)]),
    "sorting": (cr.grad(lambda x: np.sum(np.sort(x) * np.arange(4))), [(normal(4),), (normal(4, seed=1),)]),
    "running": (cr.grad(lambda x: np.max(np.cumsum(x)) + np.prod(x)), [(normal(4),), (normal(4, seed=1),)]),
    "joining": (
        cr.grad(lambda x: np.sum(np.concatenate([x, x**2]) * np.stack([x, x]).ravel())),
        [(normal(4),), (normal(4, seed=1),)],
    ),
    "einsum": (
        cr.grad(lambda x, y: np.sum(np.einsum("ij,jk->ik", x, y) ** 2), argnums=(0, 1)),
        [(normal(3, 2), normal(2, 3)), (normal(3, 2, seed=1), normal(2, 3, seed=1))],
    ),
    "containers": (
        lambda p, q: Pair(p.a * q.x, Point(p.b + q.y, {"z": [p.a]})),
        [(Pair(normal(2), normal(2, seed=1)), Point(normal(2, seed=2), normal(2)))],
    ),
    "complex": (cr.grad(lambda z: np.sum(np.abs(np.exp(z * 1j)))), [(normal(3) + 1j,), (normal(3, seed=1) - 1j,)]),
    "a row of what is overwritten": (
        lambda x: np.sum(np.exp(np.tanh((y := x @ x) - y[0]) * 2)[::2]),
        [(normal(4, 4),), (normal(4, 4, seed=1),)],
    ),
    "columns of a product": (
        cr.value_and_grad(lambda w, x: np.sum(np.tanh((z := x @ w)[:, :3]) * np.exp(z[:, 3:6]) + z[:, 2:8:2])),
        [(normal(2, 8, seed=i), normal(5, 2, seed=i)) for i in range(2)],
    ),
    "pairs of rows": (
        cr.value_and_grad(lambda x, y: np.sum(np.exp(-np.sum((x[:, None] - y[None]) ** 2, axis=2))), argnums=(0, 1)),
        [(normal(5, 3, seed=i), normal(4, 3, seed=i)) for i in range(2)],
    ),
    "stretched in the middle": (
        lambda a, b, c, d: np.tanh(a * b + c) * d - a,
        [(normal(2, 3, 4, 5), normal(3, 1, 5), normal(2, 1, 4, 1), normal(1, 3, 1, 1, seed=i)) for i in range(2)],
    ),
    "a square less its sums": (
        lambda x: (x * 2 - np.sum(x, axis=1), x * 3 - np.sum(x, axis=1)[:, None], x - np.sum(x * x, axis=0)),
        [(normal(4, 4),), (normal(4, 4, seed=1),)],
    ),
    "shares of the larger": (
        cr.grad(
            lambda x, y: np.sum(np.maximum(np.tanh(x), 0) * 2 + np.maximum(x, y) * np.minimum(0.5, x)), argnums=(0, 1)
        ),
        [(np.array([1.0, 0.0, -1.0, 0.5]), np.array([1.0, 2.0, -3.0, 0.5])), (normal(4), normal(4, seed=1))],
    ),
    "truth values": (
        lambda x, y: np.where((x > 0) & ~(y > x) | (y < -1), np.exp(x), y * 2),
        [(normal(9), normal(9, seed=1))],
    ),
    "one and its number": (
        lambda x, y: (np.exp(x * y) * 2, np.exp(x * 1.0) * 2, np.exp(y * x - y), np.exp(y * x - 1.0)),
        [(normal(4), normal(4, seed=1))],
    ),
    "no array": (lambda x: (x.shape, "text", 3, None), [(normal(3),)]),
    "an argument returned": (lambda x, y: (y, x), [(normal(3), normal(2))]),
    "the same twice": (lambda x: (np.exp(x), np.exp(x)), [(normal(3),)]),
}


def _scanned(w: Any, xs: Any) -> Any:
    carry, ys = cr.scan(lambda c, x: (np.tanh(c * w + x), np.sum(c * x)), np.zeros(3), xs)
    return np.sum(carry**2), np.sum(ys)


def _at_index(x: Any, i: Any) -> Any:
    y = np.zeros_like(x)
    y[i] = x[i] ** 2
    y[i] += x[1]
    return y


def _through_views(x: Any) -> Any:
    y = np.copy(x)
    row, column = y[1], y[:, 2]
    row[:] = x[0] * 2
    column += row[3]
    y.T[0, 1] = column[1]
    return y


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("exactly", [True, False], ids=["exact", ""])
def test_gives_the_same(name: str, exactly: bool) -> None:
    f, calls = CASES[name]
    check(f, *calls, exactly=exactly)


def test_results_are_new_arrays() -> None:
    jitted = cr.jit(lambda x: (np.exp(x), np.exp(x), np.exp(x) + 0 * x))
    first = jitted(normal(3))
    for _ in range(3):
        again = jitted(normal(3))
        assert not any(np.shares_memory(a, b) for a in first for b in again)
        assert not np.shares_memory(again[0], again[1])


# -- arguments of other kinds --------------------------------------------------------------------------------------
def test_shapes_dtypes_and_numbers_make_variants() -> None:
    f = lambda x, n=2, flag=True: x**n if flag else x + n  # noqa: E731
    jitted = cr.jit(f)
    for args in [(normal(3),), (normal(4),), (normal(3, dtype="f4"),), (normal(3), 3), (normal(3), 3, False)] * 3:
        assert_same(jitted(*args), f(*args))
    assert len(jitted.variants) == 5
    assert_same(jitted(normal(3), flag=False), f(normal(3), flag=False))
    jitted = cr.jit(lambda x, s: x * s)
    assert not np.signbit(jitted(np.float64(1), 0.0))
    assert np.signbit(jitted(np.float64(1), -0.0))  # equal to 0.0, and another program


def test_labels_are_inputs() -> None:
    def loss(w: Any, x: Any, labels: Any) -> Any:
        return cr.nn.functional.cross_entropy(x @ w, labels)

    labels = [np.random.default_rng(i).integers(0, 3, 5) for i in range(3)]
    check(cr.value_and_grad(loss), *((normal(4, 3), normal(5, 4), y) for y in labels), exactly=False)
    check(lambda x, y: (y[:, None] == np.arange(3)) * x, *((normal(5, 3), y) for y in labels))


def test_a_generator_is_an_input() -> None:
    def f(rng: Any, x: Any) -> Any:
        return x * rng.standard_normal(x.shape) + rng.integers(5)

    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    jitted = cr.jit(f)
    for _ in range(4):
        assert_same(jitted(ours, normal(3)), f(theirs, normal(3)))
    assert len(jitted.variants) == 1


def test_shuffling() -> None:
    def f(rng: Any, x: Any) -> Any:
        y = x * 1
        before = y + 1
        rng.shuffle(y)
        return before, y + 1

    for exact in (True, False):
        ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
        jitted = cr.jit(f, exact=exact)
        for _ in range(6):
            assert_same(jitted(ours, normal(6)), f(theirs, normal(6)))
        assert not jitted.given_up


def test_tensors_without_history_are_inputs_and_others_run_as_they_are() -> None:
    f = lambda x: np.tanh(x) * 2  # noqa: E731
    jitted = cr.jit(f)
    for seed in range(3):
        constant = cr.Tensor(normal(3, seed=seed)).detach()
        result = jitted(constant)
        assert isinstance(result, cr.Tensor)
        assert_same(result.data, f(constant.data))
    x = cr.Tensor(normal(3))
    np.sum(jitted(x)).backward()
    np.testing.assert_allclose(x.grad, 2 - 2 * np.tanh(normal(3)) ** 2)


def test_inside_other_transforms() -> None:
    jitted = cr.jit(energy)
    for _ in range(3):
        assert_same(cr.grad(jitted)(normal(3)), cr.grad(energy)(normal(3)))
        assert_same(cr.vmap(jitted)(normal(2, 3)), cr.vmap(energy)(normal(2, 3)))
        assert_same(cr.jit(cr.grad(jitted))(normal(3)), cr.grad(energy)(normal(3)))


# -- decisions -----------------------------------------------------------------------------------------------------
def test_branches_make_variants() -> None:
    def f(x: Any) -> Any:
        if np.sum(x) > 0:
            return np.sum(x**2)
        return np.sum(np.exp(x)) if x[0] < -1 else np.sum(x)

    calls = [(np.array([1.0, 2.0]),), (np.array([-3.0, 1.0]),), (np.array([-0.5, 0.0]),)]
    check(cr.grad(f), *calls, variants=3)


def test_loops_whose_length_depends_on_values() -> None:
    def f(x: Any) -> Any:
        steps = 0
        while np.sum(x * x) > 1e-3 and steps < 50:
            x = x - 0.3 * cr.grad(lambda x: np.sum(x * x))(x)
            steps += 1
        return x, steps

    check(f, (np.ones(2),), (np.ones(2) * 0.1,), variants=2)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x.sum().item(),
        lambda x: x * float(x[0]),
        lambda x: x[int(x[0]) :],
        lambda x: x[x > 1.5],
        lambda x: np.nonzero(x > 1.5)[0],
        lambda x: np.repeat(x, (x > 1.5) + 1),
        lambda x: x if np.allclose(x, 1) else -x,
        lambda x: x + x.tolist()[0],
        lambda x: np.unique(np.floor(x)),
    ],
)
def test_values_that_are_taken_out(f: Callable[..., Any]) -> None:
    check(f, (np.array([1.0, 2.0, 3.0]),), (np.array([1.0, 1.0, 1.0]),), (np.array([2.0, 2.0, 1.0]),), variants=None)


def test_nan_in_a_gradient_is_taken_care_of_as_without_jit() -> None:
    f = cr.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(np.where(x > 0, x, x)), 0.0)))
    check(f, (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),), variants=2)


def test_too_many_ways_run_without_jit() -> None:
    jitted = cr.jit(lambda x: x * float(x[0]))
    with pytest.warns(UntraceableWarning, match="variants are not enough for the ways it takes by `float`"):
        for i in range(12):
            assert_same(jitted(np.array([float(i), 1.0])), np.array([float(i), 1.0]) * i)
    jitted = cr.jit(lambda x, s: x * s)
    with pytest.warns(UntraceableWarning, match=r"np\.float64\(0\.1\), not 0\.1"):
        for i in range(12):
            assert_same(jitted(normal(2), float(i)), normal(2) * i)


def newton(x: Any, a: Any) -> Any:
    turns = 0
    while abs(x * x - a) > 1e-9:
        x = 0.98 * x + 0.02 * a / x
        turns += 1
    return x, turns


@pytest.mark.parametrize("exact", [True, False])
def test_a_loop_has_one_program_and_an_end_for_each_number_of_turns(exact: bool) -> None:
    starts = [(np.float64(3.0), np.float64(9 + gap)) for gap in 10.0 ** np.arange(-8.9, 2, 0.9)]
    turns = {newton(*args)[1] for args in starts}
    assert len(turns) > 10
    assert max(turns) > 400
    assert min(turns) < 10
    jitted = cr.jit(newton, exact=exact)
    for _ in range(4):
        for args in starts:
            assert_same(jitted(*args), newton(*args), exact)
    assert not jitted.given_up
    assert len(jitted.variants) == len(turns)
    assert sum(variant.parent is None for variant in jitted.variants) == 1
    longest = len(max((variant.path() for variant in jitted.variants), key=len))
    assert sum(len(variant.steps) for variant in jitted.variants) < 1.2 * longest  # the prefix is there once
    assert not any(variant.disagreed for variant in jitted.variants)


def test_what_a_branch_has_in_common_with_its_program_is_done_once() -> None:
    calls: list[Any] = []

    @cr.primitive
    def counted_of_jit(x: Any) -> Any:
        calls.append(x)
        return x * 2

    def f(x: Any) -> Any:
        y = counted_of_jit(x)
        if y[0] > 0:
            return y + 1
        return np.sum(y) * x

    jitted = cr.jit(f)
    args = normal(3), -normal(3)
    for _ in range(4):
        for x in args:
            assert_same(jitted(x), f(x))
    for x in args:
        calls.clear()
        assert_same(jitted(x), x * 2 + 1 if x[0] > 0 else np.sum(x * 2) * x)
        assert len(calls) == 1
    source = jitted.source(args[1])
    assert sum("counted_of_jit(" in line for line in source.splitlines() if "#" not in line) == 1
    assert source.count("def program(") == 2  # the second way begins where the first one decides


def swing(x: Any, v: Any) -> Any:
    """Euler steps of 2-vectors with an inner gradient, until it is slow."""
    force = cr.grad(lambda x: np.sum(x**4) / 4 + np.sum(x * x) / 2)
    for _ in range(60):
        v = v - 0.15 * force(x) - 0.3 * v
        x = x + 0.15 * v
        if np.sum(x * x) + np.sum(v * v) < 0.05:
            break
    return np.sum(x * v)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("order", [0, 1])
def test_loops_with_derivatives_inside_and_around(order: int, exact: bool) -> None:
    f = cr.value_and_grad(swing, argnums=(0, 1)) if order else swing
    jitted = cr.jit(f, exact=exact)
    for seed in (0, 1, 2) * 4:
        args = normal(2, seed=seed) * 0.6, normal(2, seed=seed + 9) * 0.3
        assert_same(jitted(*args), f(*args), exact)
    assert not jitted.given_up
    assert sum(variant.parent is None for variant in jitted.variants) == 1


def test_a_branch_that_asks_for_more_than_its_program_kept() -> None:
    """What is nowhere in the first way, or has been overwritten when the second one begins, is kept from then on."""

    def f(x: Any, limit: Any) -> Any:
        unused, once = np.exp(x), np.sin(x)
        y = np.tanh(x) * 2 + once
        for turn in range(6):
            y = np.cos(y) * 1.1
            if np.sum(y) > limit[turn]:
                return unused * once + y[turn % 2], np.zeros_like(x) + turn
        return y

    calls = [(normal(3), np.array([9.0] * k + [-9.0] * (6 - k))) for k in (6, 2, 4, 0, 5, 1, 3)]
    for exact in (True, False):
        jitted = check(f, *calls, variants=7, exactly=exact)
        assert sum(variant.parent is None for variant in jitted.variants) == 1


def test_a_branch_that_writes_to_what_its_program_read() -> None:
    def f(x: Any, y: Any, rng: Any) -> Any:
        a, b = x * 1.0, x * 1.0  # equal, and two arrays
        c, d = np.zeros_like(x), x * 1
        if np.sum(y) > 0:
            return a + b
        noise = rng.random() if y[0] < -1 else 1.0
        a += 1
        c[1] = 5.0
        if y[1] < 0:
            x *= 2
        return a, b, c, d + x, noise

    for exact in (True, False):
        jitted = cr.jit(f, exact=exact)
        ours, theirs = np.random.default_rng(0), np.random.default_rng(0)
        ys = np.array([1.0, 1.0]), np.array([-0.5, 0.1]), np.array([-2.0, 0.1]), np.array([-2.0, -0.1]), -np.ones(2) / 2
        for y in ys * 4:
            mine, yours = normal(2), normal(2)
            assert_same(jitted(mine, y, ours), f(yours, y, theirs), exact)
            assert_same(mine, yours, exact)
            assert ours.bit_generator.state == theirs.bit_generator.state
        assert len(jitted.variants) == 5
        assert not jitted.given_up


def test_decisions_that_never_repeat_are_given_up() -> None:
    def f(x: Any) -> Any:
        total = 0 * x[0]
        for i in range(len(x)):
            total = total + (x[i] if x[i] > 0 else np.sin(x[i]))
        return total

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="8 variants are not enough for the ways it takes by `bool` of a value"):
        for seed in range(100):
            assert_same(jitted(normal(12, seed=seed)), f(normal(12, seed=seed)))
    assert len(jitted.variants) < 60
    for seed in range(100):
        assert_same(jitted(normal(12, seed=seed)), f(normal(12, seed=seed)), False)


def test_long_chains_of_branches_become_one_program() -> None:
    def f(x: Any) -> Any:
        while x > 1:
            x = x * 0.5
        return x

    jitted = cr.jit(f)
    for _ in range(3):
        for power in range(80):
            assert_same(jitted(np.float64(2.0) ** power), f(np.float64(2.0) ** power))
            assert max(variant.depth for variant in jitted.variants) <= 64
    assert sum(variant.parent is None for variant in jitted.variants) == 1
    assert not jitted.given_up


def test_control_flow_that_depends_on_values() -> None:
    root = cr.grad(lambda x: cr.while_loop(lambda y: abs(y * y - x) > 1e-9, lambda y: (y + x / y) / 2, 1.0))
    check(root, (np.float64(2.0),), (np.float64(50.0),), variants=1)
    shrink = lambda x: np.sum(cr.while_loop(lambda y: np.sum(y * y) > 0.01, lambda y: y * 0.5 * np.cos(x), x))  # noqa: E731
    check(cr.value_and_grad(shrink), (normal(3),), (normal(3) * 9,), variants=2)
    chosen = cr.grad(lambda x: cr.cond(np.sum(x) > 0, energy, lambda x: np.sum(np.exp(x)), x))
    check(chosen, (np.ones(3),), (-np.ones(3),), variants=2)
    each = cr.vmap(cr.grad(lambda x: cr.while_loop(lambda y: y * y > 0.1, lambda y: y * 0.5 * np.cos(x), x)))
    check(each, (normal(4),), (normal(4) * 5,), variants=None)


def test_other_ways_after_drawing_and_writing() -> None:
    def drawing(x: Any, rng: Any) -> Any:
        noise = rng.standard_normal(3)
        return x + noise if noise[0] > 0 else x * noise - rng.random(1)

    def writing(x: Any, limit: Any) -> Any:
        x *= 2
        return x + limit if np.sum(x) > limit else x - limit

    for exact in (True, False):
        jitted = cr.jit(drawing, exact=exact)
        ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
        for seed in range(20):
            assert_same(jitted(normal(3, seed=seed), ours), drawing(normal(3, seed=seed), theirs), exact)
        assert len(jitted.variants) == 2
        jitted = cr.jit(writing, exact=exact)
        for seed in range(20):
            mine, yours = normal(3, seed=seed), normal(3, seed=seed)
            for limit in (np.float64(0.3), np.float64(-0.3)):
                assert_same(jitted(mine, limit), writing(yours, limit), exact)
                assert_same(mine, yours, exact)
        assert len(jitted.variants) == 2
        assert not jitted.given_up


@pytest.mark.parametrize("exact", [True, False])
def test_training_in_place_with_dropout(exact: bool) -> None:
    def step(w: Any, x: Any, rng: Any) -> Any:
        loss = lambda w: np.mean(cr.nn.functional.dropout(np.tanh(x @ w), 0.4, rng=rng) ** 2)  # noqa: E731
        value, gradient = cr.value_and_grad(loss)(w)
        w -= 0.5 * gradient
        return value, w

    jitted = cr.jit(step, exact=exact)
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    mine, yours = normal(4, 5), normal(4, 5)
    for seed in range(8):
        found = jitted(mine, normal(6, 4, seed=seed), ours)
        assert found[1] is mine
        assert_same(found, step(yours, normal(6, 4, seed=seed), theirs), exact)
    assert len(jitted.variants) == 1
    assert not jitted.given_up
    assert ours.random() == theirs.random()
    source = jitted.source(mine, normal(6, 4), ours)
    assert "rng.random((6, 5))" in source
    assert "np.subtract(w, " in source


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: f"{x[0]:.1f}",
        lambda x: (str(x[:2]), x * 2),
        lambda x: [repr(x[0]), f"{x[0]}", f"{x[0]!r:>30}"],
        lambda x: {str(x[0] > 0): x},
    ],
)
def test_a_text_of_values_is_never_an_old_one(f: Callable[..., Any], exact: bool) -> None:
    jitted = cr.jit(f, exact=exact)
    for seed in (0, 1, 2, 0, 1, 2, 0, 1, 2):
        assert_same(jitted(normal(3, seed=seed)), f(normal(3, seed=seed)))
    assert not jitted.given_up


def test_a_text_that_changes_at_each_call_runs_without_jit(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        print("now", x[0])
        return x * 2

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match=r"by `text` of a value.*print\("):
        for i in range(12):
            jitted(np.array([float(i)]))
    capsys.readouterr()
    jitted(np.array([50.0]))
    assert capsys.readouterr().out == "now 50.0\n"


def drawn(x: Any, rng: Any) -> Any:
    small = x.astype("f4")
    first, whole = rng.random(), rng.poisson(3)
    return (
        small * first + small * -rng.normal(),
        whole + 1,
        first,
        abs(-first) < 2,
        round(first, 3),
        x * rng.integers(9),
    )


def numbers(x: Any, rng: Any) -> Any:
    """Python's numbers that come out of arrays are values of the program, and stay Python's numbers."""
    part = x[0].item()
    small = np.tanh(x.astype("f4")) * part * np.count_nonzero(x > 0)
    total = part + x[1].item() + x[2].item()  # since Python 3.12 sum() carries the rounding of floats along
    return x.sum().item(), total, small.astype("f4"), part**2 // 3, np.sqrt(abs(part)), {"a": -part}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("f", [drawn, numbers])
def test_numbers_are_no_decisions(f: Callable[..., Any], exact: bool) -> None:
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    jitted = cr.jit(f, exact=exact)
    for seed in range(12):
        assert_same(jitted(normal(3, seed=seed), ours), f(normal(3, seed=seed), theirs), exact)
    assert len(jitted.variants) == 1
    assert not jitted.given_up


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x if x[0].item() > 0 else -x,
        lambda x: np.full(3, x[0].item()) * x,
        lambda x: np.array([x[0].item(), 1.0, 2.0]) * x,
        lambda x: math.sin(x[0].item()) * x,
        lambda x: {normal(3)[0]: 2.0}.get(x[0].item(), 3.0) * x,
        lambda x: cr.grad(lambda y: np.sum(np.tanh(y) * y[0].item()))(x),
        lambda x: isinstance(x[0].item(), float) * x + divmod(x[0].item(), 0.3)[1],
    ],
)
def test_numbers_that_are_taken_out(f: Callable[..., Any]) -> None:
    check(f, *((normal(3, seed=seed),) for seed in range(3)), variants=None)


def test_classes_are_those_of_the_values() -> None:
    def f(x: Any, s: Any) -> Any:
        assert isinstance(x, np.ndarray)
        assert isinstance(s, float)
        assert np.isscalar(s)
        return copy.deepcopy(x) * s if isinstance(x, np.ndarray) and not isinstance(x, np.generic) else x

    check(f, (normal(3), np.float64(2)), (normal(3, seed=1), np.float64(3)))


# -- functions with a derivative of their own ------------------------------------------------------------------------
@cr.custom_vjp
def clipped(x: Any) -> Any:
    return x * 1.0


clipped.defvjp(lambda x: (x * 1.0, np.sign(x)), lambda signs, ct: (np.clip(ct, -1, 1) * signs,))


@cr.custom_jvp
def softplus(x: Any, scale: Any) -> Any:
    return {"y": np.log(1 + np.exp(x)) * scale, "n": 3}


@softplus.defjvp
def softplus_jvp(primals: Any, tangents: Any) -> Any:
    (x, scale), (t, u) = primals, tangents
    return softplus(x, scale), {"y": t * scale / (1 + np.exp(-x)) + np.log(1 + np.exp(x)) * u, "n": 0.0}


@cr.primitive
def log_gamma_of_jit(x: Any) -> Any:
    return np.vectorize(math.lgamma)(x)


cr.def_partials(log_gamma_of_jit, "cos(a) * a")


@cr.primitive
def inverse_of_jit(x: Any) -> Any:
    return np.linalg.inv(x)


cr.def_rules(inverse_of_jit, pulls=(lambda ct, node: -(node.value.T @ ct @ node.value.T),), needs=("y",))
cosine_of_jit = cr.register_derivative(math.cos, lambda x: -math.sin(x), name="cosine_of_jit")
sine_of_jit = cr.register_derivative(math.sin, cosine_of_jit, name="sine_of_jit")
squares_of_jit = cr.register_derivative(
    lambda x: np.asarray([float(v) ** 2 for v in x]),
    vjps=[lambda ct, x: np.array([2 * float(v) for v in x]) * ct],
    jvp=lambda tangents, x: np.array([2 * float(v) for v in x]) * tangents[0],
    name="squares_of_jit",
)
remembered = cr.checkpoint(lambda x, w: np.tanh(np.sin(x) * w))
OWN: dict[str, Callable[..., Any]] = {
    "custom_vjp": cr.grad(lambda x: np.sum(clipped(x) ** 2)),
    "custom_vjp, its value": lambda x: clipped(x) * 2,
    "custom_vjp twice": cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(clipped(x) ** 3))(x) * x)),
    "custom_vjp of examples": lambda x: cr.vmap(cr.grad(lambda x: np.sum(clipped(x) ** 2)))(x[:2]),
    "custom_jvp": cr.grad(lambda x: np.sum(softplus(x, x[0])["y"] ** 2)),
    "custom_jvp, forward": lambda x: cr.jvp(lambda x: np.sum(softplus(x, 2.0)["y"] ** 2), (x,), (x,)),
    "primitive": cr.grad(lambda x: np.sum(log_gamma_of_jit(np.abs(x)) ** 2)),
    "primitive, its value": lambda x: log_gamma_of_jit(np.abs(x)) + 1,
    "primitive with rules": cr.grad(lambda x: np.sum(inverse_of_jit(x) ** 2)),
    "compiled": cr.grad(lambda x: sine_of_jit(x[0, 0]) * 2 + np.sum(x)),
    "compiled, second order": lambda x: cr.grad(cr.grad(lambda s: sine_of_jit(s) * 2))(x[0, 0]),
    "compiled, its value": lambda x: sine_of_jit(x[0, 0]) * 2,
    "compiled with vjp": cr.grad(lambda x: np.sum(squares_of_jit(x[0]))),
    "compiled with jvp": lambda x: cr.jvp(lambda x: np.sum(squares_of_jit(x)), (x[0],), (x[1],)),
    "checkpoint": cr.value_and_grad(lambda x: np.sum(remembered(remembered(x, x), x[0]))),
    "checkpoint_chain": cr.grad(lambda x: np.sum(cr.checkpoint_chain([lambda y: np.sin(y) * 2, np.tanh] * 3, 2)(x))),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("exactly", [True, False], ids=["exact", ""])
def test_functions_with_a_derivative_of_their_own(name: str, exactly: bool) -> None:
    check(OWN[name], (normal(3, 3),), (normal(3, 3, seed=1),), exactly=exactly)


@pytest.mark.parametrize("name", ["solve_ivp", "minimize"])
def test_solvers_of_scipy_run_without_jit(name: str) -> None:
    """They are compiled code, which sees plain arrays only; what stays is the right result."""
    integrate, optimize = (pytest.importorskip(f"chainrule.scipy.{part}") for part in ("integrate", "optimize"))

    def solve(p: Any) -> Any:
        if name == "solve_ivp":
            solution = integrate.solve_ivp(lambda t, y, p: -p * y, (0, 1.0), np.ones(2), args=(p,))
            return np.sum(solution.y[:, -1])
        found = optimize.minimize(lambda x, p: np.sum((x - p) ** 2 + x**4), np.zeros(2), args=(p,))
        return np.sum(found.x**2)

    jitted = cr.jit(cr.grad(solve))
    with pytest.warns(UntraceableWarning, match="turns an array that is being traced into a plain one"):
        assert_same(jitted(np.array([1.0, 2.0])), cr.grad(solve)(np.array([1.0, 2.0])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(jitted(np.array([1.5, 2.0])), cr.grad(solve)(np.array([1.5, 2.0])))


def test_what_depends_on_the_type_of_an_array() -> None:
    """A traced array cannot hide from `type`: such a function never gives what comes of that."""

    def f(x: Any) -> Any:
        x += 1
        return x * 2 if type(x) is np.ndarray else x * 3

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match=r"`type\(\)` of an array"):
        for seed in range(3):
            ours, theirs = normal(3, seed=seed), normal(3, seed=seed)
            assert_same(jitted(ours), f(theirs))
            assert_same(ours, theirs)
    check(lambda x: x * 2 if type(x.shape) is tuple else x * 3, (normal(3),))


def test_containers_that_add_when_they_are_updated() -> None:
    check(lambda x: Counter({"a": np.sum(x), "b": 2}), (normal(3),))


# -- what is read from outside -------------------------------------------------------------------------------------
scale: Any = 2.0
table: Any = {"w": np.ones(3)}


def test_globals_and_cells_are_checked() -> None:
    global scale
    inner = np.ones(3)
    outer = {"depth": [1.0]}

    def helper(x: Any) -> Any:
        return x * scale * table["w"]

    def f(x: Any) -> Any:
        return helper(x) + inner * outer["depth"][0]

    jitted = cr.jit(f)

    def agrees() -> None:
        for _ in range(3):
            assert_same(jitted(normal(3)), f(normal(3)))

    agrees()
    scale = 3.0
    agrees()
    table["w"] = np.full(3, 5.0)
    agrees()
    table["w"][1] = 7.0  # read anew
    agrees()
    inner = np.full(3, 4.0)
    agrees()
    outer["depth"][0] = 9.0
    agrees()
    scale = 2.0


def test_attributes_and_tensors_are_checked() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = np.ones(3)
            self.t = cr.Tensor(np.ones(3)).detach()

        def __call__(self, x: Any) -> Any:
            return x * self.w * self.t

    model = Model()
    jitted = cr.jit(lambda x: model(x).data * 1.0)
    method = cr.jit(model.__call__)
    for change in (
        lambda: None,
        lambda: setattr(model, "w", np.full(3, 2.0)),
        lambda: setattr(model, "t", cr.Tensor(np.full(3, 2.0)).detach()),
    ):
        change()
        for _ in range(3):
            assert_same(jitted(normal(3)), model(normal(3)).data)
            assert_same(method(normal(3)).data, model(normal(3)).data)


def test_attributes_of_arguments_are_checked() -> None:
    class Settings:
        def __init__(self) -> None:
            self.scale = 2.0
            self.table = {"w": np.ones(3)}

    def f(x: Any, settings: Any) -> Any:
        return x * settings.scale + settings.table["w"]

    jitted, given = cr.jit(f), Settings()
    for change in (lambda: None, lambda: setattr(given, "scale", 3.0), lambda: given.table.update(w=np.zeros(3))):
        change()
        for _ in range(3):
            assert_same(jitted(normal(3), given), f(normal(3), given))
    assert len(jitted.variants) == 3


def test_too_much_to_check_runs_without_jit() -> None:
    numbers = [float(i) for i in range(3000)]
    jitted = cr.jit(lambda x: x * numbers[-1])
    with pytest.warns(UntraceableWarning, match="more than 2000 things from outside"):
        assert jitted(np.float64(2)) == 2 * 2999.0
    numbers[-1] = 1.0
    assert jitted(np.float64(2)) == 2.0


def test_other_kinds_of_arrays_run_as_they_are() -> None:
    jitted = cr.jit(lambda x: x * 2)
    for x in (np.ma.array([1.0, 2.0], mask=[False, True]), np.array([1, "a"], dtype=object), np.array([1.5])):
        named = pytest.warns(UntraceableWarning, match="an argument is a") if len(x) > 1 else nullcontext()
        with named:
            for _ in range(3):
                assert repr(jitted(x)) == repr(x * 2)
                x[0] = 7.0
                assert repr(jitted(x)) == repr(x * 2)
    assert len(jitted.variants) == 1


def test_the_mode_of_singular_points_is_checked() -> None:
    f = cr.grad(lambda x: np.sqrt(x) * 0.0)
    jitted = cr.jit(f)
    for _ in range(3):
        assert jitted(np.float64(0)) == 0
        with cr.singular("nan"):
            assert np.isnan(jitted(np.float64(0)))


def test_arguments_that_are_written_to() -> None:
    def f(x: Any, y: Any) -> Any:
        x += y
        return x * 2

    jitted = cr.jit(f)
    for _ in range(3):
        ours, theirs = normal(3), normal(3)
        assert_same(jitted(ours, np.ones(3)), f(theirs, np.ones(3)))
        assert_same(ours, theirs)


# -- what cannot be compiled ---------------------------------------------------------------------------------------
def test_hidden_randomness_is_noticed() -> None:
    jitted = cr.jit(lambda x: x + np.random.default_rng().standard_normal(3))
    jitted(np.zeros(3))
    with pytest.warns(UntraceableWarning, match="two runs of it differ: an array of shape"):
        second = jitted(np.zeros(3))
    assert not np.array_equal(second, jitted(np.zeros(3)))
    following = iter(range(100)).__next__
    jitted = cr.jit(lambda x: np.exp(x) if following() % 2 else np.sin(x))
    jitted(np.zeros(3))
    with pytest.warns(UntraceableWarning, match=r"two runs of it differ: sin, File .*test_jit.py"):
        jitted(np.zeros(3))


def test_what_does_not_know_the_protocols_runs_without_jit() -> None:
    def f(x: Any) -> Any:
        plain = np.zeros(3)
        plain[:] = x
        return plain * 2

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="turns an array that is being traced into a plain one"):
        assert_same(jitted(normal(3)), f(normal(3)))
    with warnings.catch_warnings():  # once only
        warnings.simplefilter("error")
        assert_same(jitted(normal(3, seed=1)), f(normal(3, seed=1)))


def test_an_array_changed_behind_the_trace_is_noticed() -> None:
    def f(x: Any) -> Any:
        counter = np.zeros(1)
        a = x + counter
        counter += 1
        return a * counter

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="changed by plain NumPy"):
        assert_same(jitted(normal(3)), f(normal(3)))
    assert_same(jitted(normal(3)), f(normal(3)))


def test_other_structures_are_other_variants() -> None:
    f = lambda p: {name: x * 2 for name, x in p.items()} if isinstance(p, dict) else [x + 1 for x in p]  # noqa: E731
    jitted = cr.jit(f)
    given = {"a": normal(2)}, {"b": normal(2)}, {"a": normal(2), "b": normal(3)}, [normal(2)], [normal(2)] * 2
    for _ in range(4):
        for p in given:
            assert_same(jitted(p), f(p))
    assert len(jitted.variants) == 5


def test_shapes_that_depend_on_data() -> None:
    check(lambda x: np.sum(x[x > 0]) * x, (np.array([1.0, 2.0, -1.0]),), (np.array([1.0, -2.0, -1.0]),), variants=2)
    jitted = cr.jit(lambda x: x[x > 0])
    with pytest.warns(UntraceableWarning, match="variants are not enough for the ways it takes by `shape`"):
        for n in range(12):
            assert_same(jitted(np.arange(12.0) - n), (np.arange(12.0) - n)[np.arange(12) > n])


def test_writing_values_to_a_file(tmp_path: Any) -> None:
    def f(x: Any) -> Any:
        np.save(tmp_path / "x.npy", x)
        return x * 2

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="save returns nothing"):
        jitted(normal(3))
    for seed in range(3):
        assert_same(jitted(normal(3, seed=seed)), normal(3, seed=seed) * 2)
        assert_same(np.load(tmp_path / "x.npy"), normal(3, seed=seed))  # never a stale file


@pytest.mark.parametrize("how", ["load", "fromfile", "loadtxt", "read_text", "handle"])
def test_files_that_are_read(how: str, tmp_path: Any) -> None:
    file = tmp_path / "scale.txt"
    file.write_text("1")
    with file.open(encoding="utf-8") as handle:

        def scale() -> Any:
            handle.seek(0)
            return {
                "load": lambda: np.load(tmp_path / "scale.npy"),
                "fromfile": lambda: np.fromfile(tmp_path / "scale"),
                "loadtxt": lambda: np.loadtxt(file),
                "read_text": lambda: float(file.read_text()),
                "handle": lambda: float(handle.read()),
            }[how]()

        jitted = cr.jit(lambda x: x * scale())
        found = []
        with pytest.warns(UntraceableWarning, match=r"it reads a file, File .*test_jit\.py"):
            for number in (1, 1, 2, 3, 3, 4):
                np.save(tmp_path / "scale.npy", float(number))
                np.array([float(number)]).tofile(tmp_path / "scale")
                file.write_text(str(number))
                found.append(float(jitted(np.ones(1))[0]))
    assert found == [1, 1, 2, 3, 3, 4]


def test_kernels_of_others_are_no_files_that_are_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    inner = cr.jit(lambda x: np.tanh(x) * np.exp(x) + 0.25)
    inner(normal(7))
    inner(normal(7))
    jitted = cr.jit(lambda x: inner(x) * 2)
    for _ in range(4):  # inner gets its kernel while this is compared
        assert_same(jitted(normal(7)), inner.f(normal(7)) * 2, False)
    assert len(jitted.variants) == 1


def test_results_with_history_run_without_jit() -> None:
    w = cr.Tensor(np.ones(3))
    jitted = cr.jit(lambda x: x * w)
    with pytest.warns(UntraceableWarning, match="Tensor with history"):
        y = jitted(normal(3))
    np.sum(y).backward()
    np.testing.assert_array_equal(w.grad, normal(3))


def test_errors_are_those_of_the_function() -> None:
    jitted = cr.jit(lambda x, y: x @ y)
    for _ in range(2):
        with pytest.raises(ValueError, match="matmul"):
            jitted(normal(3, 2), normal(3, 2))
    with pytest.raises(StructureError, match="set, which is part of the program and must be hashable"):
        jitted(normal(3), {1, 2})
    with pytest.raises(TypeError, match="jit takes a function, not a int"):
        cr.jit(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("fails", [np.asarray, lambda x: x @ np.ones(5)])
def test_what_was_done_before_a_failure_is_done_once(fails: Callable[[Any], Any]) -> None:
    """Writing to arguments, drawing, and changing what comes from outside."""
    log: list[Any] = []
    counts = {"calls": 0}

    def f(x: Any, rng: Any) -> Any:
        x[1:] += rng.random()
        x += 1
        counts["calls"] += 1
        log.append(x.sum())
        return fails(x)

    x, rng = np.zeros(3), np.random.default_rng(0)
    jitted = cr.jit(f)
    with nullcontext() if fails is np.asarray else pytest.raises(ValueError, match="matmul"):
        jitted(x, rng)
    first = np.random.default_rng(0).random()
    assert_same(x, 1 + np.array([0, first, first]))
    assert counts == {"calls": 1}
    assert [type(number) for number in log] == [np.float64]


@pytest.mark.parametrize("differentiated", [False, True])
def test_errors_that_are_caught(differentiated: bool) -> None:
    def f(x: Any) -> Any:
        try:
            return np.sum(np.linalg.cholesky(x) ** 3)
        except np.linalg.LinAlgError:
            return np.sum(x) * 2

    f = cr.grad(f) if differentiated else f
    good, bad = np.eye(3) * 2 + 0.5, -np.eye(3)
    jitted = cr.jit(f)
    for x in (good, bad) * 4:
        assert_same(jitted(x), f(x), False)
    assert len(jitted.variants) == 1
    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="it goes on after a LinAlgError of cholesky"):
        for x in (bad, bad, good, bad):
            assert_same(jitted(x), f(x))


def test_floating_point_errors_that_are_caught() -> None:
    def f(x: Any) -> Any:
        with np.errstate(all="raise"):
            try:
                return np.log(x)
            except FloatingPointError:
                return x * 0

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="it lets NumPy raise floating-point errors"):
        for x in (np.ones(2), np.ones(2), np.ones(2), np.zeros(2), np.ones(2)):
            assert_same(jitted(x), f(x))


def test_what_a_program_wrote_before_an_error_is_written_once() -> None:
    def f(x: Any) -> Any:
        x += 1
        return np.linalg.inv(x)

    jitted = cr.jit(f)
    for x in (np.eye(2), -np.ones((2, 2)), np.eye(2), np.eye(2), -np.ones((2, 2)), np.eye(2)):
        ours, theirs = x.copy(), x.copy()
        if x[0, 0] < 0:
            for each, given in ((jitted, ours), (f, theirs)):
                with pytest.raises(np.linalg.LinAlgError):
                    each(given)
        else:
            assert_same(jitted(ours), f(theirs))
        assert_same(ours, theirs)


# -- the rest ------------------------------------------------------------------------------------------------------
def test_source_is_the_program() -> None:
    jitted = cr.jit(cr.value_and_grad(mlp))
    args = mlp_arguments(5, 0)
    source = jitted.source(*args)
    assert "parameters_w1" in source
    assert "np.tanh(" in source
    assert '# hidden = np.tanh(x @ parameters["w1"] + parameters["b1"])' in source
    assert source.count("np.matmul(") == 5  # two forward, and three back: x is a constant
    compile(source, "source", "exec")


def test_shared_and_unneeded_work_is_dropped() -> None:
    def f(x: Any) -> Any:
        np.cosh(x)
        return np.sum(np.exp(x) * np.exp(x))

    lines = [line for line in cr.jit(f).source(normal(3)).splitlines() if "#" not in line]
    assert sum("np.exp(" in line for line in lines) == 1
    assert not any("cosh" in line for line in lines)


def test_a_careful_human_would_not_write_it() -> None:
    def f(x: Any, y: Any) -> Any:
        turned = np.swapaxes(np.swapaxes(x, 0, 1), 0, 1) @ y.T.T
        viewed = turned.reshape(-1).reshape(2, 6).reshape(4, 3)[...]
        return np.tanh(viewed * np.ones_like(viewed)) * np.full_like(viewed, 0.5) + +viewed

    check(f, (normal(4, 2), normal(2, 3)), (normal(4, 2, seed=1), normal(2, 3)))
    source = cr.jit(f).source(normal(4, 2), normal(2, 3))
    lines = [line.strip() for line in source.splitlines() if "#" not in line]
    assert not any("swapaxes" in line or ".T" in line or "reshape" in line or "positive" in line for line in lines)
    assert sum("np.multiply(" in line for line in lines) == 1
    assert not any("captured" in line for line in lines)


def test_operators_of_scalars_are_pythons() -> None:
    f = lambda x: -x * abs(x) if x > 0.5 and x != 2 else +x  # noqa: E731
    check(f, (np.float64(0.7),), (np.float64(0.2),), (np.float64(-3.0),), variants=2)
    check(f, (np.float32(0.7),), (np.float32(0.2),), variants=2)
    source = cr.jit(f).source(np.float64(0.7))
    assert "abs(x)" in source
    assert "x > 0.5" in source
    assert "np." not in source


def test_lists_as_operands() -> None:
    check(lambda x: [1.0, 2.0, 3.0] * x + [3, 2, 1] - (0.5, 0.5, 0.5) @ x * (x > [0, 1, 0]), (normal(3),))


def test_a_read_only_view_may_change() -> None:
    table = np.ones(1)
    wide = np.broadcast_to(table, (5,))
    f = lambda x: np.tanh(x) * wide + x  # noqa: E731
    jitted = cr.jit(f)
    for _ in range(6):
        assert_same(jitted(normal(5)), f(normal(5)), False)
        table += 1


def test_buffers_are_used_again() -> None:
    def f(x: Any) -> Any:
        for _ in range(20):
            x = np.tanh(x) + 1
        return x.sum()

    source = cr.jit(f).source(normal(100))
    assert "b0" in source
    assert "b1" not in source


def recurrent(w: Any, u: Any, xs: Any) -> Any:
    h = np.zeros_like(xs, shape=(xs.shape[1], u.shape[0]))
    for t in range(len(xs)):
        z = xs[t] @ w + h @ u
        h = np.tanh(z[:, :3]) * np.concatenate([z[:, 4:], z[:, 3:4]], axis=1)
    return np.sum(h * h)


@pytest.mark.parametrize("argnums", [(0, 1), (0, 1, 2), 2])
def test_loops_become_single_products(argnums: Any) -> None:
    f = cr.value_and_grad(recurrent, argnums)
    jitted = check(
        f, *((normal(2, 6, seed=i), normal(3, 6, seed=i), normal(7, 4, 2, seed=i)) for i in range(3)), exactly=False
    )
    lines = jitted.source(normal(2, 6), normal(3, 6), normal(7, 4, 2)).splitlines()
    products = sum("np.matmul(" in line for line in lines)
    assert products <= 1 + 7 + 7 + (2 if argnums != 2 else 0) + (7 if argnums != (0, 1) else 0)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(6, 3), (4, 6, 3)])
def test_long_products_are_done_in_pieces(shape: tuple[int, ...], dtype: str) -> None:
    X, W = normal(5003, 6, dtype=dtype), normal(*shape, dtype=dtype)

    def f(W: Any) -> Any:
        return np.sum(np.tanh(X @ W))

    assert "matmul_in_pieces(" in cr.jit(cr.grad(f)).source(W)
    assert "matmul_in_pieces(" not in cr.jit(f).source(W)  # whose sums are short
    assert "matmul_in_pieces(" not in cr.jit(cr.grad(f), exact=True).source(W)
    jitted = check(cr.grad(f), (W,), exactly=False)
    T = X.T.astype(np.longdouble)
    found, wanted = jitted(W), T @ (1 - np.tanh(X @ W).astype(np.longdouble) ** 2)
    np.testing.assert_allclose(found, wanted.astype("f8"), rtol=0, atol=3e-4 if dtype == "f4" else 1e-12)
    check(cr.value_and_grad(f), (normal(*shape, dtype=dtype) * np.nan,), exactly=False)


def test_a_bias_counts_once_where_a_weight_is_used_twice() -> None:
    """One product has the same factor twice, of which the sum of rows has it once."""
    rng = np.random.default_rng(0)
    x, y, z, w = (rng.normal(size=(4, 4)) for _ in range(4))

    def f(w: Any, b: Any) -> Any:
        return np.sum(np.tanh(x @ w + y @ w + b) ** 2) + np.sum(np.tanh(z @ w + b))

    gradient = cr.grad(f, (0, 1))
    compiled = cr.jit(gradient)
    for _ in range(3):
        assert_same(compiled(w, w[0]), gradient(w, w[0]), exactly=False)


def test_gradients_of_weights_and_biases_share_what_they_are_sums_of() -> None:
    def loss(w: Any, u: Any, b: Any, h: Any, xs: Any) -> Any:
        for t in range(len(xs)):
            h = np.tanh(xs[t] @ w + h @ u + b)
        return np.sum(h * h)

    f = cr.value_and_grad(loss, (0, 1, 2))
    shapes = (2, 3), (3, 3), (3,), (4, 3), (7, 4, 2)
    args = [tuple(normal(*shape, seed=i) for shape in shapes) for i in range(3)]
    check(f, *args, exactly=False)
    lines = cr.jit(f).source(*args[0]).splitlines()
    assert sum("np.concatenate(" in line for line in lines) == 2  # the states, and the cotangents once
    assert sum("np.add.reduce(" in line for line in lines) == 2  # the loss and the biases


def test_what_is_called_once_needs_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = Variant.compile
    monkeypatch.setattr(Variant, "compile", lambda variant: (made.append(variant), real(variant)))
    f = cr.grad(lambda x: np.sum(np.sin(x)))
    jitted = cr.jit(f)
    assert_same(jitted(normal(3)), f(normal(3)))
    assert not made
    assert_same(jitted(normal(3)), f(normal(3)))
    assert made == jitted.variants
    assert "np.cos(" in cr.jit(f).source(normal(4))


def test_a_program_that_cannot_be_made_is_said_at_the_second_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(variant: Variant) -> None:
        raise RuntimeError("a pass failed")

    monkeypatch.setattr(Variant, "compile", fail)
    jitted = cr.jit(np.sin)
    jitted(normal(3))
    with pytest.warns(UntraceableWarning, match="a pass failed") as said:
        assert_same(jitted(normal(3)), np.sin(normal(3)))
    assert said[0].filename == __file__
    assert_same(jitted(normal(3)), np.sin(normal(3)))
    assert not jitted.variants


def test_filling_and_reading_piece_by_piece_costs_one_array() -> None:
    def f(x: Any) -> Any:
        total = x[0]
        for i in range(1, 300):
            total = total * 0.5 + x[i] * x[i - 1]
        return total

    jitted = check(cr.grad(f), *((normal(300, seed=i),) for i in range(3)), exactly=False)
    assert "_place(" not in jitted.source(normal(300))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("exact", [False, True])
def test_elements_are_written_and_added_to_by_plain_indices(exact: bool, dtype: str) -> None:
    def f(x: Any) -> Any:
        y = np.zeros_like(x)
        z = np.zeros((2, 3), x.dtype) * x[0]
        y[0] = x[0]
        for i in range(1, len(x)):
            y[i] = 0.5 * y[i - 1] * y[i // 2] + x[i]
            z[i % 2, -1] = y[i] * z[i % 2, 2] + x[0]
        return np.sum(y) + np.sum(z * z)

    x = normal(7, dtype=dtype)
    jitted = check(cr.value_and_grad(f), (x,), (2 * x,), exactly=exact)
    source = jitted.source(x)
    assert "np.add.at(" not in source
    assert "kernel(1, 1, " not in source  # two operations between numbers take less time than a call
    assert not re.search(r"^ *\w+ = \w+\.copy\(\)$", source, re.MULTILINE)


def test_filling_costs_what_is_written() -> None:
    """The cotangent of what is filled is written to in place, too: no copy for each element."""
    f = cr.grad(lambda x: np.sum(filled(x)))
    source = check(f, (normal(40),), (normal(40, seed=1),), exactly=False).source(normal(40))
    assert source.count("_put(") <= 2
    assert source.count("_place(") <= 2
    assert len(re.findall(r"^ *v\d+\[\d+\] = v\d+$", source, re.MULTILINE)) >= 39


def test_threads_that_go_different_ways() -> None:
    f = cr.value_and_grad(lambda x: np.sum(np.exp(x)) if x[0] > 0 else np.sum(filled(x) ** 2))
    jitted = cr.jit(f)

    def work(seed: int) -> None:
        for i in range(25):
            args = (normal(5 + i % 2, seed=100 * seed + i),)
            assert_same(jitted(*args), f(*args), exactly=False)

    at_once(work)
    assert not jitted.given_up


def test_many_threads() -> None:
    jitted = cr.jit(cr.value_and_grad(mlp))

    def work(seed: int) -> None:
        for i in range(30):
            args = mlp_arguments(5 + (seed + i) % 2, seed)
            assert_same(jitted(*args), cr.value_and_grad(mlp)(*args), exactly=False)

    at_once(work)


def test_what_warns_is_up_to_the_caller() -> None:
    """And to the function, where it says so; never to the call that was traced."""

    def f(x: Any) -> Any:
        with np.errstate(all="ignore"):
            large = np.fmod(x[0], 0.0) != 0 and x[0] * 1 > 3  # for fmod there is no kernel, which would not warn
        return np.fmod(x, 0 * x) if large else np.sin(x)

    small, large = np.ones(3), np.full(3, 4.0)
    for traced_under in ("warn", "ignore"):
        jitted = cr.jit(f)
        with warnings.catch_warnings(), np.errstate(all=traced_under):
            warnings.simplefilter("ignore")
            for x in (small, large) * 3:
                jitted(x)
        assert len(jitted.variants) == 2
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            jitted(small)
            with np.errstate(all="ignore"):
                jitted(large)
            with np.errstate(all="raise"), pytest.raises(FloatingPointError):
                jitted(large)


def test_pickling_and_methods() -> None:
    jitted = pickle.loads(pickle.dumps(cr.jit(energy)))
    assert_same(jitted(normal(3)), energy(normal(3)))
    assert jitted.__name__ == "energy"
    assert "jit of energy: 1 variant" in repr(jitted)

    class Scaled:
        by = 2.0

        @cr.jit
        def of(self, x: Any) -> Any:
            return x * self.by

    assert_same(Scaled().of(normal(3)), normal(3) * 2)


@pytest.mark.parametrize("way", [lambda f: f, cr.grad, lambda f: cr.grad(lambda x: np.sum(cr.grad(f)(x) ** 2))])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(np.tanh(x) * x),
        lambda x: np.sum(np.sum(np.tanh(x), axis=0) ** 2),
        lambda x: np.sum((x @ x.T) ** 2) + np.var(x),
        lambda x: np.sum(np.exp(x).T @ np.ones_like(x)),
    ],
)
def test_exact_adds_up_in_the_order_of_memory(f: Any, way: Any) -> None:
    x = normal(37, 82)
    orders = [x[:, :41], np.asfortranarray(x[:, :41]), x[:, ::2], x[::-1, :41], np.broadcast_to(x[0, :41], (37, 41))]
    jitted = cr.jit(way(f), exact=True)
    for _ in range(3):
        for y in orders:
            assert_same(jitted(y), way(f)(y))
    assert not jitted.given_up


@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize("axis", [None, 0])
def test_exact_logsumexp_chooses_its_formula_by_the_values(scale: float, axis: int | None) -> None:
    for logsumexp in (functional.logsumexp, special.logsumexp):
        f = cr.value_and_grad(lambda x, f=logsumexp: np.sum(f(x, axis=axis)))
        jitted = check(f, (normal(4, 5) * scale,), (normal(4, 5),), (normal(4, 5, seed=1) * 100,))
        with np.errstate(invalid="ignore"):
            x = np.where(normal(4, 5) > 1, np.inf, -np.inf)
            assert_same(jitted(x), f(x))


def test_a_product_with_one_is_no_other_kind_of_number() -> None:
    check(lambda x: np.multiply(x[0].item(), 1), (normal(3),))
    check(lambda x: x.sum(keepdims=True).reshape(()) * 1, (normal(3),))


def test_what_does_not_depend_on_the_argument_has_no_gradient() -> None:
    check(cr.grad(lambda x: np.sum(cr.grad(lambda y: np.sum(np.maximum(y, 0)))(x))), (normal(3),), (normal(3, seed=1),))


def test_exact_keeps_every_bit() -> None:
    jitted = cr.jit(cr.value_and_grad(mlp), exact=True)
    for seed in range(4):
        args = mlp_arguments(6, seed)
        assert_same(jitted(*args), cr.value_and_grad(mlp)(*args))
    assert not jitted.given_up


# -- random programs -----------------------------------------------------------------------------------------------
UNARY = [np.tanh, np.exp, np.sin, np.negative, np.square, np.cumsum, lambda x: x[::-1], lambda x: x * (x > 0), abs]
BINARY = [
    np.add,
    np.multiply,
    np.maximum,
    np.subtract,
    lambda a, b: np.where(a > b, a, b),
    lambda a, b: a / (2 + b * b),
]


@st.composite
def programs(draw: Any) -> Callable[[Any, Any], Any]:
    steps = draw(
        st.lists(st.tuples(st.integers(0, 22), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=7)
    )

    def program(x: Any, y: Any) -> Any:
        values = [x, y]
        for kind, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if kind < len(UNARY):
                values.append(UNARY[kind](a))
            elif kind < len(UNARY) + len(BINARY):
                values.append(BINARY[kind - len(UNARY)](a, b))
            elif kind == 15:
                copy = a + 0 * b
                copy[1:3] = b[0:2]
                copy[0] += 1
                values += [copy[1:] if j % 2 else copy, copy] if j % 3 == 0 and copy[1:].shape == x.shape else [copy]
            elif kind == 16:
                values.append(a * 2 if a[0] > b[0] else b - 1)
            elif kind == 17:
                values.append(a * np.sum(b))
            elif kind == 18:
                values.append(a[np.argsort(b)])
            elif kind == 20:
                copy = a * 1
                view = copy[::-1]
                view *= b
                view[j % 3] = copy[i % 3] + 1
                values.append(copy + view)
            elif kind == 21:
                copy = np.zeros_like(a)
                copy[np.argsort(b)[:2]] = a[:2]
                copy[copy.shape[0] - 1] += b[0]
                values.append(copy)
            elif kind == 22:
                more = np.sum(a) > np.sum(b) + 1e-6  # not a question of rounding where both have the same elements
                values.append(a if more else cr.grad(lambda x, b=b: np.sum(np.tanh(x) * b))(a))
            else:
                values.append(np.concatenate([a[:2], b[2:]]))
        note(f"steps: {steps}")
        return np.sum(np.tanh(values[-1])) + np.sum(values[-2] * 0.1) + 0 * np.sum(x) + 0 * np.sum(y)

    return program


@settings(deadline=None, max_examples=25)
@given(program=programs(), seed=st.integers(0, 50), transform=st.sampled_from(["value", "grad", "jvp", "vmap"]))
def test_random_programs(program: Callable[..., Any], seed: int, transform: str) -> None:
    f: Callable[..., Any] = program
    shape: tuple[int, ...] = (4,)
    if transform == "grad":
        f = cr.value_and_grad(program, argnums=(0, 1))
    elif transform == "jvp":
        f = lambda x, y: cr.jvp(program, (x, y), (y, x))  # noqa: E731
    elif transform == "vmap":
        f = cr.value_and_grad(lambda x, y: program(x[0], y[1]) * program(x[1], y[0]), argnums=(0, 1))
        shape = (2, 4)
    jitted = cr.jit(f)
    with np.errstate(all="ignore"):
        for i in range(5):
            args = normal(*shape, seed=seed + i), normal(*shape, seed=seed + i + 9)
            assert_same(jitted(*args), f(*args), exactly=False)
        assert not any(variant.disagreed for variant in jitted.variants)


def into_a_view(x: Any) -> Any:
    y = x * 2
    y.reshape(-1)[0] = 100.0  # writes to y where x lies row by row, and to a copy otherwise
    x.ravel()[1:] += 1.0
    return y, x * 3


@pytest.mark.parametrize("exact", [True, False], ids=["exact", ""])
@pytest.mark.parametrize("f", [into_a_view, lambda x: ((x * 2).reshape(-1, order="F"), np.ravel(x, "F") + 1)])
def test_how_arguments_lie_in_memory(f: Callable[[Any], Any], exact: bool) -> None:
    rows, columns = normal(3, 4), np.asfortranarray(normal(3, 4))
    part = normal(6, 8)[::2, ::2]
    for kinds in ((rows,) * 4 + (columns, part), (columns,) * 4 + (rows, part), (part,) * 4 + (rows, columns)):
        jitted = cr.jit(f, exact=exact)
        for x in kinds * 2:
            ours, theirs = (np.copy(x) if x is not part else np.repeat(x, 2, axis=1)[:, ::2] for _ in range(2))
            assert ours.strides == x.strides or x is part
            assert_same(jitted(ours), f(theirs), exact)
            assert_same(ours, theirs)
        assert not jitted.given_up


def test_orders_that_go_by_memory_run_without_jit() -> None:
    jitted = cr.jit(lambda x: (x * 2).ravel(order="K"))
    with pytest.warns(UntraceableWarning, match="how an array lies in memory"):
        for x in (normal(3, 4), np.asfortranarray(normal(3, 4)), normal(4, 3).T):
            assert_same(jitted(x), (x * 2).ravel(order="K"))


def test_a_copy_in_another_order_is_not_what_it_was_copied_from() -> None:
    """Shown in the first shape again, and turned again, it is no view of it."""

    def turned(x: Any) -> Any:
        return x.reshape(2, 2).T.reshape(-1)

    def f(x: Any) -> Any:
        twice = turned(turned(np.exp(x)))
        new = x + 0 * twice
        new[1:3] = twice[:2]
        return new * 1

    jitted = cr.jit(f)
    for shift in range(4):
        x = np.arange(4.0) + shift
        np.testing.assert_array_equal(jitted(x), f(x))
    assert not jitted.given_up


def test_who_watches_in_another_thread_makes_no_difference() -> None:
    jitted = cr.jit(cr.hessian(lambda x: np.sum(np.sin(x) * x) + np.prod(x)))
    x, inside, done = normal(5), threading.Event(), threading.Event()
    expected = jitted(x)

    def watch() -> None:
        with cr.no_grad():
            inside.set()
            done.wait()

    thread = threading.Thread(target=watch)
    thread.start()
    inside.wait()
    try:
        for _ in range(3):
            np.testing.assert_allclose(jitted(x), expected, rtol=1e-13)
    finally:
        done.set()
        thread.join()
    assert len(jitted.variants) == 1 and not jitted.given_up
