# ruff: noqa: E731 (bodies of loops, and functions around them, are one line each)
"""What `jit` does where there are no kernels: blocks of large arrays; loops of which only the recurrence is left."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fusing import LOSSES, SPECIAL, same
from test_jit import assert_same, normal

import chainrule as cr
import chainrule.scipy.special as special
from chainrule.compile import blocks, variants
from chainrule.nn import functional


@pytest.fixture(autouse=True)
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "with_kernels_in", lambda program, exact: ([], False))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of some hundred elements are large, and blocks have less."""
    monkeypatch.setattr(blocks, "LARGE", 1 << 10)
    monkeypatch.setattr(blocks, "BLOCK", 1 << 9)


def compiled(f: Callable[..., Any], *args: Any, exact: bool = False) -> cr.Jitted:
    """Its jit, compared with it several times."""
    jitted = cr.jit(f, exact=exact)
    for _ in range(4):
        (assert_same if exact else same)(jitted(*args), f(*args))
    assert not jitted.given_up
    return jitted


def source(jitted: cr.Jitted) -> str:
    return jitted.variants[0].printed.source


# -- blocks ------------------------------------------------------------------------------------------------------------
MORE: dict[str, Callable[[Any], Any]] = {
    "chain": lambda x: np.sum(functional.sigmoid(np.tanh(x * x + x)) ** 2),
    "softmax": lambda x: np.sum(functional.softmax(x, axis=-1) ** 2),
    "rows and columns": lambda x: np.sum((x - np.mean(x, 0)) * np.exp(-np.mean(x, 1, keepdims=True)) * x),
    "outer": lambda x: np.sum(np.sqrt(1 + (x[:, :1] - x[0]) ** 2) * x),
    "of a product": lambda x: np.sum(np.tanh(x @ x.T) ** 2),
    "sums before the last axis": lambda x: np.sum(np.sum(np.exp(x) * x, axis=-2) ** 2),
    "turned": lambda x: np.sum(np.sin(x.T) * np.cos(x.T)),
    "counted": lambda x: np.sum(np.sum(x > 0.3, axis=1) * np.sum(x * x, axis=1)),
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("shape", [(50, 40), (7, 300), (1000, 3), (3, 5, 70), (1, 2000), (301, 7)])
@pytest.mark.parametrize("name", [*LOSSES, *MORE])
@pytest.mark.usefixtures("small")
def test_blocks_give_what_whole_arrays_give(name: str, shape: tuple[int, ...], exact: bool) -> None:
    exact &= name != "logsumexp of rows"  # whose eager derivative looks at the values, and takes one of two ways
    if len(shape) > 2 and name in ("distances", "of a product"):
        shape = 15, 70
    loss = (LOSSES | MORE)[name]
    x = abs(normal(*shape)) + 0.5 if "logarithm" in name else normal(*shape)
    f = cr.value_and_grad(loss)
    with np.errstate(all="ignore"):
        compiled(f, x, exact=exact)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [512, 1000, 1023, 1025, 4096])
@pytest.mark.usefixtures("small")
def test_the_last_block_may_be_shorter(n: int, dtype: str) -> None:
    x = normal(n, dtype=dtype)
    jitted = compiled(cr.value_and_grad(MORE["chain"]), x)
    assert source(jitted).count("in blocks(") == 1
    assert source(jitted).count("has_nan(") == 1
    compiled(cr.value_and_grad(MORE["chain"]), x, exact=True)


@pytest.mark.usefixtures("small")
def test_what_lies_otherwise_in_memory() -> None:
    """A program is for a shape, not for strides."""
    x = normal(60, 40)
    for f in (cr.value_and_grad(MORE["chain"]), cr.grad(MORE["softmax"]), cr.value_and_grad(MORE["rows and columns"])):
        jitted = compiled(f, x)
        for other in (np.asfortranarray(x), normal(120, 80)[::2, ::2], normal(40, 60).T, x[::-1]):
            same(jitted(other), f(other))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("exact", [False, True])
def test_infinity_and_nan_come_through(exact: bool) -> None:
    f = cr.value_and_grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), x * 2) * np.exp(-x * x)))
    jitted = cr.jit(f, exact=exact)
    with np.errstate(all="ignore"):
        for value in (1.0, *SPECIAL, 2.0):
            x = normal(700)
            x[600] = value
            for _ in range(3):
                same(jitted(x), f(x))
    assert not jitted.given_up


@pytest.mark.usefixtures("small")
def test_warnings_are_those_of_the_function() -> None:
    """What the user computes warns, and what the walk back computes does not."""
    f = cr.value_and_grad(lambda x: np.sum(np.log(x) * x))
    jitted = compiled(f, abs(normal(700)) + 1)
    assert "in blocks(" in source(jitted)
    x = abs(normal(700)) + 1
    x[650] = 0
    for call in (f, jitted):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            call(x)
        assert any("divide by zero" in str(warning.message) for warning in found)
    x[650] = 1e-320  # the derivative divides by it
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        jitted(x)


def test_sums_of_blocks_are_as_accurate_as_numpys() -> None:
    x = np.random.default_rng(0).random(3_000_001, dtype=np.float32)
    f = lambda x: np.sum(np.sqrt(x * x + 1))
    jitted = cr.jit(f)
    for _ in range(3):
        total = jitted(x)
    assert "in blocks(" in source(jitted)
    exactly = math.fsum(np.sqrt(x * x + np.float32(1)).tolist())
    assert abs(total - exactly) <= max(abs(float(f(x)) - exactly), 2e-7 * exactly)


def test_small_arrays_are_not_cut() -> None:
    jitted = compiled(cr.value_and_grad(MORE["chain"]), normal(1000))
    assert "in blocks(" not in source(jitted)


@pytest.mark.usefixtures("small")
def test_branches_read_what_blocks_made() -> None:
    """A decision after blocks, whose other way needs what lies inside of them."""

    def f(x: Any) -> Any:
        y = np.tanh(x * x + x)
        z = y * 2 + np.exp(-y)
        return np.sum(z) if np.sum(y * x) > 0 else np.sum(z * y) + z[3]

    jitted = cr.jit(cr.value_and_grad(f))
    for sign in (1, -1, 1, -1, -1, 1, 1, -1):
        x = sign * abs(normal(900))
        same(jitted(x), cr.value_and_grad(f)(x))
    assert not jitted.given_up


# -- loops -------------------------------------------------------------------------------------------------------------
def cell(weight: Any, state: Any, x: Any) -> Any:
    h, c = state
    gate = functional.sigmoid(x * weight[0] + weight[1])
    new = np.tanh(h * weight[2] + x)
    c = c * gate + (1 - gate) * new
    h = functional.sigmoid(weight[3] * x) * np.tanh(c)
    return (h, c), np.sum(np.log(2 + np.exp(h)))


def recurrent(weight: Any, xs: Any) -> Any:
    zeros = np.zeros_like(xs[0])
    (h, _), terms = cr.scan(lambda state, x: cell(weight, state, x), (zeros, zeros), xs)
    return np.mean(terms) + np.sum(h * h)


BODIES: dict[str, Callable[[Any, Any], Any]] = {
    "everything collected": lambda w, xs: cr.scan(lambda c, x: (c, np.sin(x * w[0]) + c), w[1], xs)[1],
    "only a sum": lambda w, xs: cr.scan(lambda c, x: (c + np.tanh(x * w[0]), None), w[1], xs)[0],
    "a sum that is read": lambda w, xs: cr.scan(lambda c, x: (c + np.tanh(x * w[0]), c * x), w[1], xs)[1],
    "a sum twice": lambda w, xs: cr.scan(lambda c, x: (c + c * 0.1 + x, None), w[1], xs)[0],
    "numbers": lambda w, xs: cr.scan(lambda c, x: (c * 0.5 + np.sum(x * w[0]), c), w[1, 0], xs),
    "rows": lambda w, xs: cr.scan(
        lambda c, x: (np.tanh(c + np.outer(x, w[0])), np.max(c, axis=0)), w[:2].T @ w[:2], xs
    ),
    "the same each turn": lambda w, xs: cr.scan(lambda c, x: (c * w[0] + np.exp(w[1]), np.exp(w[1])), w[2], xs),
    "what is carried": lambda w, xs: cr.scan(lambda c, x: (x * w[0], c), w[1], xs),
    "items as they are": lambda w, xs: cr.scan(lambda c, x: (c * x, (x, c)), w[1], xs),
    "parts": lambda w, xs: cr.scan(lambda c, x: (np.concatenate([x[1:] * w[0, 1:], c[:1]]), c[::-1] * x[1]), w[1], xs),
    "a product": lambda w, xs: cr.scan(lambda c, x: (np.tanh(np.outer(w[0], w[1]) @ c + x), c @ x), w[1], xs),
    "chosen": lambda w, xs: cr.scan(lambda c, x: (np.where(x > 0, c, x) * w[0], np.maximum(c, x)), w[1], xs),
    "numbers of turns": lambda w, xs: cr.fori_loop(0, len(xs), lambda i, y: y * 0.9 + np.sin(w[0] * i) / (i + 1), w[1]),
    "their sum": lambda w, xs: cr.fori_loop(0, len(xs), lambda i, y: y + np.sin(w[0] * i) * xs[i], w[1]),
    "powers": lambda w, xs: cr.scan(lambda c, x: (c * 0.5 + x**3, np.sum(x) ** 2), w[1], xs),
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("turns", [3, 80])
@pytest.mark.parametrize("name", BODIES)
def test_loops_with_less_inside(name: str, turns: int, exact: bool) -> None:
    f, w, xs = BODIES[name], normal(4, 5), normal(turns, 5, seed=1)
    check = lambda g: compiled(g, w, xs, exact=exact)
    check(f)
    total = lambda w, xs: sum(np.sum(np.sin(part)) for part in cr.tree.flatten(f(w, xs))[0] if part is not None)
    if not exact:
        check(cr.value_and_grad(total, argnums=(0, 1)))
        check(lambda w, xs: cr.jvp(cr.grad(total), (w, xs), (np.ones_like(w), xs)))


def test_only_the_recurrence_is_left_inside() -> None:
    f = cr.value_and_grad(recurrent)
    jitted = compiled(f, normal(4, 6), normal(100, 6, seed=1))
    loops = re_loops(source(jitted))
    assert len(loops) == 2
    assert "np.exp(" not in "".join(loops[1])  # the gates are there for all turns
    assert sum("= np." in line for line in loops[1]) <= 14
    assert not any("has_nan" in line for loop in loops for line in loop)


def re_loops(text: str) -> list[list[str]]:
    """The lines inside of each loop."""
    found: list[list[str]] = []
    depth = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if depth is not None and indent > depth:
            found[-1].append(line)
            continue
        depth = None
        if line.lstrip().startswith("for "):
            found.append([])
            depth = indent
    return found


OPERATIONS: list[Callable[[Any, Any], Any]] = [
    np.add, np.multiply, lambda a, b: np.tanh(a), lambda a, b: a - 0.5 * b, lambda a, b: functional.sigmoid(a),
    lambda a, b: a * np.sum(b), lambda a, b: a / (1 + np.max(b) ** 2), lambda a, b: a[::-1], lambda a, b: a * b[0],
    lambda a, b: np.concatenate([a[:1], b[1:]]),
]  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=8),
    carry=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_random_turns(steps: Any, carry: int, seed: int) -> None:
    def turn(w: Any, c: Any, x: Any) -> Any:
        values = [c, x, w[0], x * w[1]]
        for kind, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(OPERATIONS[kind](a, b))
        return np.tanh(values[carry % len(values)]) + c * 0.1, values[-1]

    def f(w: Any, xs: Any) -> Any:
        last, ys = cr.scan(lambda c, x: turn(w, c, x), w[2], xs)
        return np.sum(last) + np.sum(np.sin(ys))

    w, xs = normal(3, 4, seed=seed), normal(6, 4, seed=seed + 1)
    compiled(cr.value_and_grad(f, argnums=(0, 1)), w, xs)


def test_nan_in_one_turn() -> None:
    f = cr.value_and_grad(recurrent)
    jitted = cr.jit(f)
    with np.errstate(all="ignore"):
        for value in (1.0, *SPECIAL, 2.0):
            xs = normal(20, 6, seed=1)
            xs[7, 3] = value
            for _ in range(3):
                same(jitted(normal(4, 6), xs), f(normal(4, 6), xs))
    assert not jitted.given_up


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_slope_of_erf_is_the_same_in_large_arrays(dtype: str) -> None:
    """Where it is computed in a few arrays, block by block."""
    slope = cr.grad(lambda x: np.sum(special.erf(x)))
    x = normal(200_001, dtype=dtype) * 4
    x[:5] = SPECIAL
    with np.errstate(all="ignore"):
        parts = [slope(x[i : i + 1000].copy()) for i in range(0, len(x), 1000)]
        np.testing.assert_array_equal(slope(x), np.concatenate(parts))
