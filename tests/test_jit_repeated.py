"""Python loops that a trace wrote down turn by turn, and that become loops again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import printing
from chainrule.compile import repeated as passes

TURNS = 60


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(passes, "STEPS", 100)


def loops(jitted, *args):
    """How many loops the program for these arguments has, on NumPy or as machine code."""
    source = jitted.source(*args)
    return source.count("in range(") + source.count("for t0 in ...")


def agree(f, *args, exactly=True):
    """The first calls, on NumPy, have the bits of the function; the later ones, on kernels, are close to it."""
    expected = [np.asarray(x) for x in cr.tree.flatten(f(*args))[0]]
    jitted = cr.jit(f)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in range(4):
            found = cr.tree.flatten(jitted(*args))[0]
            for x, y in zip(found, expected, strict=True):
                assert np.shape(x) == y.shape and np.asarray(x).dtype == y.dtype
                if exactly and call < 2:
                    np.testing.assert_array_equal(x, y)
                near = (1e-13 if y.dtype == np.double else 1e-5) * np.max(np.abs(y), initial=0, where=np.isfinite(y))
                np.testing.assert_allclose(x, y, rtol=1e-12 if y.dtype == np.double else 1e-5, atol=near)
    assert not jitted.given_up and not any(variant.disagreed for variant in jitted.variants)
    return jitted


def inputs(*shapes, dtype=np.double):
    rng = np.random.default_rng(3)
    return [(0.5 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def recurrence(w, b, xs):
    h = np.zeros_like(xs[0])
    total = 0.0
    for i in range(len(xs) - 1):
        h = np.tanh(h * w[0] + xs[i] * w[1] + b)
        total = total + np.sum(h * xs[i + 1]) / (1 + np.sum(np.exp(h)))
    return total


@pytest.mark.parametrize("dtype", [np.single, np.double])
def test_a_loop_and_the_walk_back(dtype):
    args = inputs((2, 5), (5,), (TURNS, 5), dtype=dtype)
    f = cr.value_and_grad(recurrence, argnums=(0, 1, 2))
    jitted = agree(f, *args)
    assert loops(jitted, *args) == 2
    assert len(jitted.source(*args).splitlines()) < 500 < len(jitted.variants[0].steps)


def test_exactly_means_step_by_step():
    args = inputs((2, 5), (5,), (TURNS, 5))
    jitted = cr.jit(cr.grad(recurrence), exact=True)
    np.testing.assert_array_equal(jitted(*args), cr.grad(recurrence)(*args))
    assert loops(jitted, *args) == 0


def test_kernels_for_other_parts_of_arrays_are_the_same_code():
    def f(w, xs):
        h = xs[0]
        for i in range(len(xs)):
            h = (h * w + xs[i]) * np.tanh(h) - xs[i] * 0.1
        return np.sum(h * h)

    args = inputs((500,), (TURNS, 500))
    jitted = cr.jit(cr.value_and_grad(f), exact=True)
    before = dict(printing._compiled)
    for _ in range(4):
        value, gradient = jitted(*args)
        expected, expected_gradient = cr.value_and_grad(f)(*args)
        assert value == expected
        np.testing.assert_array_equal(gradient, expected_gradient)
    called = jitted.source(*args).count("kernel_")
    assert len(printing._compiled.keys() - before.keys()) < 12 < TURNS < called


def test_loops_inside_of_loops():
    def f(w, xs):
        h = xs[0]
        for i in range(len(xs)):
            for _ in range(3):
                h = np.sin(h * w) + xs[i]
            h = h - np.cos(h)
        return np.sum(h * h)

    args = inputs((4,), (TURNS, 4))
    assert loops(agree(cr.value_and_grad(f), *args), *args) == 2


def test_backwards_through_an_array_and_in_steps():
    def f(w, xs):
        h = xs[-1]
        for i in range(len(xs) - 1, -1, -2):
            h = np.tanh(h + w * xs[i]) * xs[-1]
        return np.sum(h)

    args = inputs((4,), (4 * TURNS, 4))
    assert loops(agree(cr.value_and_grad(f, argnums=(0, 1)), *args), *args) >= 1


def test_scalars():
    def f(x):
        y, z = x[0], x[1]
        for _ in range(TURNS):
            y, z = y + 0.01 * np.sin(z), z - 0.02 * y * z
        return y * z

    args = inputs((2,))
    assert loops(agree(cr.value_and_grad(f), *args), *args) == 2


def test_a_turn_that_differs():
    def f(x):
        y = x
        for i in range(4 * TURNS):
            y = np.sin(y) * 1.5 + x
            if i == TURNS:
                y = y * y
        return np.sum(y)

    args = inputs((3,))
    assert loops(agree(cr.value_and_grad(f), *args), *args) >= 2


def test_what_is_read_of_single_turns():
    def f(x):
        y, seen = x, []
        for _ in range(2 * TURNS):
            y = np.sin(y) + x * 0.5
            seen.append(y)
        return seen[0], seen[7] * seen[-2], seen[-1], y + x, np.exp(x) + seen[-1]

    args = inputs((3,))
    assert loops(agree(f, *args), *args) == 1


def sines(x):
    """What a loop makes, turn by turn."""
    y, seen = x, []
    for _ in range(TURNS):
        y = np.sin(y) + x
        seen.append(y)
    return seen


def test_every_turn_is_returned():
    args = inputs((3,))
    jitted = agree(sines, *args)
    assert loops(jitted, *args) == 0
    first, second = jitted(*args), jitted(*args)
    assert not any(np.shares_memory(a, b) for a in first for b in second)


def test_results_are_nobody_elses_memory():
    def f(x, xs):
        y = z = x
        for i in range(len(xs)):
            y, z = np.sin(y + z) * 1.1 + 1, xs[i]
            y = y * 0.5 - 1
        return y, z

    args = inputs((3,), (TURNS, 3))
    jitted = agree(f, *args)
    assert loops(jitted, *args) == 1
    y, z = jitted(*args)
    before = y.copy()
    assert np.shares_memory(z, args[1]) == np.shares_memory(f(*args)[1], args[1])
    y += 1
    np.testing.assert_array_equal(jitted(*args)[0], before)


def test_two_turns_back():
    def f(x):
        before, y = x, x * 0.5
        for _ in range(2 * TURNS):
            before, y = y, np.sin(y) + 0.3 * before
        return np.sum(y)

    agree(cr.value_and_grad(f), *inputs((4,)))


def test_two_values_change_places():
    def f(x):
        y, z = x, x * 0.5
        for _ in range(TURNS):
            y, z = z, np.sin(y) * 0.9 + z
        return np.sum(y * z)

    agree(cr.value_and_grad(f), *inputs((4,)))


def test_numbers_that_change():
    def f(x):
        y = x
        for i in range(TURNS):
            y = np.sin(y) * 0.9**i + x * i
        return np.sum(y)

    agree(cr.value_and_grad(f), *inputs((4,)))


def test_views_of_the_turn_and_of_the_arguments():
    def f(x, m):
        y = x
        for _ in range(TURNS):
            z = np.reshape(y, (2, 3)).T + m
            y = np.concatenate([np.sin(z[0]), np.cos(z[1:].ravel())]) * 0.5 + y[::-1]
            y = np.tanh(y)
        return np.sum(y), y

    agree(f, *inputs((6,), (3, 2)))


def test_products():
    def f(w, xs):
        h = np.zeros_like(xs[0])
        for i in range(len(xs)):
            h = np.tanh(w @ h + xs[i])
        return np.sum(h * h)

    agree(cr.value_and_grad(f, argnums=(0, 1)), *inputs((4, 4), (TURNS, 4)), exactly=False)


def test_writes_stay_where_they_are():
    def f(x):
        y = x * 1.0
        total = np.zeros_like(x)
        for i in range(TURNS):
            y = np.sin(y) + x
            total[i % 4] += y[1]
        return total, y

    agree(f, *inputs((4,)))


def test_a_list_of_parameters():
    def f(ws, x):
        for w in ws:
            x = np.tanh(x * w) + 0.1
        return np.sum(x)

    ws = list(np.random.default_rng(0).standard_normal((TURNS, 3)))
    agree(cr.value_and_grad(f), ws, np.ones(3))


@pytest.mark.parametrize("transform", [cr.grad, lambda f: cr.grad(lambda x: np.sum(cr.grad(f)(x) ** 2))])
def test_derivatives_of_derivatives(transform):
    def f(x):
        y = x
        for _ in range(TURNS):
            y = y + 0.05 * np.sin(y * x)
        return np.sum(y * y)

    agree(transform(f), *inputs((3,)))


def test_other_modes_and_batches():
    def f(x):
        y = x
        for _ in range(TURNS):
            y = y + 0.05 * np.sin(y * x)
        return np.sum(y * y)

    x, v = inputs((3,), (3,))
    agree(lambda x, v: cr.jvp(f, (x,), (v,)), x, v)
    agree(cr.vmap(cr.grad(f)), np.stack([x, v]), exactly=False)


def test_a_decision_after_the_loop():
    def f(x):
        seen = sines(x)
        if seen[-1][0] > 0:
            return seen[5] * 2
        return seen[7] + seen[-1]

    jitted = agree(f, *inputs((3,)))
    for x in (np.array([0.5, 1.0, 2.0]), np.array([-0.5, 1.0, 2.0])) * 3:
        np.testing.assert_allclose(jitted(x), f(x), rtol=1e-13)
    assert len(jitted.variants) == 2


def test_decisions_in_every_turn():
    def f(x):
        y = x
        for _ in range(TURNS):
            y = y * 1.1 if np.sum(y) < 5 else y * 0.5 + x
        return np.sum(y)

    jitted = agree(cr.value_and_grad(f), *inputs((3,)))
    x = np.ones(3)
    np.testing.assert_allclose(jitted(x)[1], cr.grad(f)(x), rtol=1e-13)


def test_other_memory_orders():
    def f(x, m):
        y = x.T
        for _ in range(TURNS):
            y = np.sin(y) + m.T
        return y, np.sum(y)

    agree(f, *inputs((3, 2), (3, 2)))


def test_infinities_and_nan():
    def f(x):
        y = x
        for _ in range(TURNS):
            y = y * np.exp(y) + np.where(y > 1, y, x)
        return y

    with np.errstate(all="ignore"):
        agree(f, np.array([1.0, np.inf, np.nan, -1.0]))


def random_turn(rng, state, xs, i):
    """Another state, by operations that `rng` chooses: the same in every turn, if it begins in the same way."""
    state = list(state)
    for _ in range(rng.integers(2, 8)):
        a, b = (state[k] for k in rng.integers(0, len(state), 2))
        what = rng.integers(0, 9)
        if what == 0:
            new = np.sin(a) * 0.7 + b
        elif what == 1:
            new = a * 0.5 - xs[i]
        elif what == 2:
            new = np.tanh(a * b)
        elif what == 3:
            new = a / (1 + np.sum(b * b))
        elif what == 4:
            new = np.where(a > b, a, 0.5 * b)
        elif what == 5:
            new = np.cos(a)[::-1] * 0.9
        elif what == 6:
            new = np.concatenate([b[1:], a[:1]]) * 0.8
        elif what == 7:
            new = xs[-1 - i] * 0.3 + a * 0.1
        else:
            new = np.maximum(a, xs[2])
        state[rng.integers(0, len(state))] = new
    return state


@pytest.mark.parametrize("seed", range(30))
def test_random_loops(seed):
    def f(x, xs):
        state = [x, x * 0.5, np.cos(x)]
        for i in range(len(xs)):
            state = random_turn(np.random.default_rng(seed), state, xs, i)
        return np.sum(state[0]) + np.sum(state[1] * state[2])

    agree(cr.value_and_grad(f, argnums=(0, 1)), *inputs((4,), (30, 4)))
