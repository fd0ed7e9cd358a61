# ruff: noqa: E731 (bodies of loops, and functions around them, are one line each)
"""Loops under `jit`: one step of the program, whose turns are data, with derivatives of any order in both modes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_jit import assert_same, normal

import chainrule as cr
from chainrule.compile import rolled
from chainrule.tree import flatten


def check(
    f: Callable[..., Any], *calls: tuple[Any, ...], exact: bool = False, loops: bool = True, variants: int = 1
) -> cr.Jitted:
    """Call `f` and its jit, until there are kernels; whether the program has loops."""
    jitted = cr.jit(f, exact=exact)
    with warnings.catch_warnings():
        warnings.simplefilter("error", cr.errors.UntraceableWarning)
        for _ in range(4):
            for args in calls:
                assert_same(jitted(*args), f(*args), exactly=False)
    assert not any(variant.disagreed for variant in jitted.variants)
    assert len(jitted.variants) == variants
    assert all(
        bool(re.search(r"^ *(# )?for ", variant.printed.source, re.MULTILINE)) == loops for variant in jitted.variants
    )
    return jitted


def root(x: Any) -> Any:
    """Newton's iteration, which takes as many turns as it takes."""
    return cr.while_loop(lambda y: abs(y * y - x) > 1e-12 * x, lambda y: (y + x / y) / 2, 1.0)


def along(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *rest: cr.jvp(lambda x: f(x, *rest), (x,), (np.ones_like(x)[()],))[1]


ORDERS = {
    "value": lambda f: f,
    "grad": cr.grad,
    "jvp": along,
    "grad of grad": lambda f: cr.grad(cr.grad(f)),
    "jvp of grad": lambda f: along(cr.grad(f)),
    "grad of jvp": lambda f: cr.grad(along(f)),
    "jvp of jvp": lambda f: along(along(f)),
    "third": lambda f: cr.grad(along(cr.grad(f))),
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_number_of_turns_is_data(order: str) -> None:
    values = [np.float64(v) for v in (2.0, 9.0, 0.01, 3e4)]
    jitted = check(ORDERS[order](root), *[(v,) for v in values])
    expected = {"value": lambda x: x**0.5, "grad": lambda x: x**-0.5 / 2, "jvp": lambda x: x**-0.5 / 2}
    for v in values:
        exactly = expected.get(order, lambda x: -(x**-1.5) / 4 if order != "third" else x**-2.5 * 3 / 8)(v)
        np.testing.assert_allclose(jitted(v), exactly, rtol=1e-7)


def test_no_turn_at_all() -> None:
    halved = lambda x: cr.while_loop(lambda y: y > 1, lambda y: y / 2, x)
    check(halved, (np.float64(0.5),), (np.float64(50.0),))
    check(cr.grad(halved), (np.float64(0.5),), (np.float64(50.0),))
    vectors = lambda x: cr.while_loop(lambda y: np.sum(y) > 1, lambda y: y / 2, x * 1.0)
    jitted = check(vectors, (np.full(3, 0.1),), (np.full(3, 5.0),))
    first = jitted(np.full(3, 0.1))
    jitted(np.full(3, 0.2))
    np.testing.assert_array_equal(first, np.full(3, 0.1))  # nobody writes to what was returned


def test_a_condition_that_is_nan_ends_it() -> None:
    f = lambda x: cr.while_loop(lambda c: c[1] < 5, lambda c: (c[0] + 1, c[1] * x), (0.0, 1.0))
    check(lambda x: f(x)[1], (np.float64(1.2),), (np.float64(np.nan),), (np.float64(3.0),))
    check(cr.grad(lambda x: f(x)[1]), (np.float64(1.2),), (np.float64(3.0),))


def test_more_turns_than_there_is_room_for() -> None:
    f = cr.grad(lambda x: cr.while_loop(lambda y: y > 1, lambda y: y - 1e-3 * y * np.cos(1e-9 * y), x))
    check(f, (np.float64(1.5),), (np.float64(1e4),), variants=2)  # 400 and 9,000 turns


def cell(parameters: Any, state: Any, x: Any) -> tuple[Any, Any]:
    gate = 1 / (1 + np.exp(-(x @ parameters["w"] + state["h"] @ parameters["u"])))
    c = gate * state["c"] + (1 - gate) * np.tanh(x + state["h"])
    return {"h": np.sin(c), "c": c}, (np.sum(c), c[1:])


START = {"h": np.zeros(3), "c": np.full(3, 0.1)}


def scanned(parameters: Any, xs: Any, reverse: bool = False) -> Any:
    state, (sums, ends) = cr.scan(lambda s, x: cell(parameters, s, x), START, xs, reverse=reverse)
    return np.sum(state["h"] ** 2) + np.sum(sums**2) + np.sum(ends[::7])


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_with_containers_and_weights_from_outside(reverse: bool) -> None:
    parameters = {"w": normal(3, 3), "u": normal(3, 3, seed=1) / 3}
    xs = normal(80, 3)
    f = lambda p, xs: scanned(p, xs, reverse)
    check(f, (parameters, xs))
    check(cr.value_and_grad(f, argnums=(0, 1)), (parameters, xs))
    check(cr.grad(f, argnums=1), (parameters, xs))
    hvp = lambda p, xs: cr.jvp(cr.grad(f), (p, xs), ({n: np.ones_like(v) for n, v in p.items()}, np.zeros_like(xs)))[1]
    check(hvp, (parameters, xs))


def test_hessian_of_a_loop() -> None:
    def f(w: Any) -> Any:
        state = cr.while_loop(lambda s: s["c"][0] < 0.5, lambda s: cell({"w": w, "u": w.T}, s, np.ones(3))[0], START)
        return np.sum(np.sin(state["c"]))

    w = normal(3, 3, seed=2)
    check(cr.grad(lambda w: np.sum(cr.grad(f)(w) * np.cos(w))), (w,))
    check(cr.hessian(f), (w,))
    for mode in ("fwd", "rev"):
        check(cr.jacobian(lambda w: np.cos(f(w)) * w, mode=mode), (w,))
    check(cr.vmap(cr.jacobian(cr.grad(f), mode="rev")), (np.stack([w, 0.8 * w]),))


def test_few_turns_are_written_out() -> None:
    f = lambda xs: cr.scan(lambda c, x: (np.sin(c) + x, c), np.float64(0.1), xs)
    check(f, (normal(20),), loops=False)
    check(
        lambda xs: cr.scan(lambda c, x: (np.sin(c) + x, c), np.float64(0.1), xs, unroll=True),
        (normal(90),),
        loops=False,
    )
    check(f, (normal(90),))
    check(f, (normal(0),), loops=False)


def test_fori_loop_and_bounds_that_are_data() -> None:
    f = lambda x, n: cr.fori_loop(0, n, lambda i, y: y + np.sin(x * i) / (i + 1), x)
    check(lambda x: f(x, 100), (np.float64(0.3),))
    check(cr.grad(lambda x: f(x, 100)), (np.float64(0.3),))
    check(f, *[(np.float64(0.3), np.int64(n)) for n in (0, 1, 7, 90)])
    check(cr.grad(f), *[(np.float64(0.3), np.int64(n)) for n in (0, 1, 7, 90)])
    picked = lambda xs: cr.fori_loop(0, 80, lambda i, total: total + xs[i] * xs[79 - i], 0.0)
    check(cr.value_and_grad(picked), (normal(80),))


def euler(c: Any, target: Any) -> Any:
    """A ball that rolls down to a wall: force from a gradient in each step, and as many steps as it takes."""
    energy = lambda x: c[0] * np.cos(x[0]) + c[1] * x[1] ** 2 + 0.1 * x[0] * x[1]
    slope = cr.grad(energy)

    def step(state: Any) -> Any:
        t, x, v = state
        v = v - 0.01 * slope(x) - 0.002 * v
        return t + 0.01, x + 0.01 * v, v

    t, x, v = cr.while_loop(lambda s: (s[1][0] < 2) & (s[0] < 2.0), step, (0.0, np.array([0.5, 0.2]), np.zeros(2)))
    return (t - target) ** 2 + np.sum(x * x) + np.sum(v * v)


def test_nested_derivatives_with_an_optimiser_around() -> None:
    c = np.array([2.0, 0.7])
    check(euler, (c, 1.0), (c * 0.9, 1.0))
    check(cr.value_and_grad(euler), (c, 1.0), (c * 0.9, 1.0))

    def optimised(c: Any) -> Any:
        return cr.fori_loop(0, 3, lambda i, c: c - 0.001 * cr.grad(euler)(c, 1.0), c)

    check(optimised, (c,))


def test_exact_keeps_every_bit() -> None:
    for f in (root, lambda c: euler(np.stack([c, c]), 1.0)):
        jitted = check(f, (np.float64(2.0),), (np.float64(2.3),), exact=True)
        assert jitted(np.float64(2.1)) == f(np.float64(2.1))
    slope = cr.jit(cr.grad(root), exact=True)
    for x in (2.0, 9.0, 2.0, 9.0, 2.0, 9.0):
        assert slope(np.float64(x)) == cr.grad(root)(np.float64(x))


def recurrent(reverse: bool) -> Callable[..., Any]:
    """What is carried is collected, too; all that goes in is used before and after the loop."""

    def f(w: Any, x: Any, h: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = np.tanh(h @ w + x * w[0] + np.sin(w[1]))
            return h, (h, np.sum(h * x))

        last, (states, sums) = cr.scan(step, h + w[2], np.cos(x), reverse=reverse)
        return np.sum(states**3) + np.sum(last * w[0]) + np.sum(sums) + np.sum(h * x[0])

    return f


def descent(w: Any, x: Any, h: Any) -> Any:
    """A gradient in each turn; the loop begins with what is used afterwards."""

    def energy(c: Any) -> Any:
        return np.sum(np.cos(c @ w)) + np.sum(c**2 * w[0])

    return np.sum(cr.fori_loop(0, 70, lambda i, c: c - 0.1 * cr.grad(energy)(c), h) * h) + np.sum(w**2)


def falling(w: Any, x: Any, h: Any) -> Any:
    step = lambda c: (c[0] + 1, np.cos(c[1] @ w) + c[1] * w[0] * 0.1)
    return np.sum(cr.while_loop(lambda c: c[0] < 80, step, (0, h))[1])


def delayed(w: Any, x: Any, h: Any) -> Any:
    """A turn hands on what it got, and the same twice."""

    def step(c: Any, x: Any) -> Any:
        new = np.sin(c[0] @ w + c[1] * x)
        return (new, c[0], new), (new, c[1])

    (last, *_), (news, olds) = cr.scan(step, (h, h, h * 2), x)
    return np.sum(news**2 * olds) + np.sum(last * w[0])


def surrounded(w: Any, x: Any, h: Any) -> Any:
    """What the loop begins with, and what it reads, is used ahead of it and afterwards, element by element, too."""
    start, scale = h * h, np.exp(w)
    before = np.sum(np.sin(start) * w[0])
    turn = lambda i, c: np.tanh(c @ scale * 0.3 + 0.1 * w[0, 0] * c[::-1])
    last = cr.fori_loop(0, 70, turn, start)
    return np.sum(last) * before * np.sum(np.cos(start)) + last[0] * h[1] + np.sum(scale[1] * h) + w[0, 0] ** 3


WAYS = ["grad", "jvp", "vmap", "grad of grad", "jvp of grad", "jvp of jvp", "hessian"]


@pytest.mark.parametrize(
    ("f", "rolled"),
    [
        (recurrent(False), True),
        (recurrent(True), True),
        (descent, True),
        (falling, True),
        (surrounded, True),
        (delayed, False),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_exact_derivatives_stay_loops(f: Any, rolled: bool, way: str) -> None:
    ways: dict[str, Any] = {
        "grad": cr.value_and_grad(f, argnums=(0, 1, 2)),
        "jvp": lambda *xs: cr.jvp(f, xs, tuple(map(np.cos, xs))),
        "vmap": lambda w, x, h: cr.vmap(cr.grad(f, argnums=(0, 2)), in_axes=(0, None, 0))(
            np.stack([w, -w]), x, np.stack([h, h])
        ),
        "grad of grad": cr.grad(lambda *xs: sum(np.sum(np.sin(g)) for g in cr.grad(f, argnums=(0, 2))(*xs))),
        "jvp of grad": lambda *xs: cr.jvp(cr.grad(f, argnums=(0, 2)), xs, tuple(map(np.cos, xs))),
        "jvp of jvp": lambda *xs: cr.jvp(lambda *xs: ways["jvp"](*xs)[1], xs, tuple(map(np.sin, xs))),
        "hessian": cr.hessian(f, argnums=2),
    }
    jitted = cr.jit(ways[way], exact=True)
    for seed in range(4):
        args = normal(3, 3, seed=seed) / 2, normal(70, 3, seed=seed), normal(3, seed=seed)
        assert_same(jitted(*args), ways[way](*args))
    assert not jitted.given_up
    is_loop = [bool(re.search(r"^ *for v\d+ in ", v.printed.source, re.MULTILINE)) for v in jitted.variants]
    assert all(is_loop) if rolled and way != "grad of grad" else not any(is_loop)


def test_loops_inside_of_loops() -> None:
    def f(x: Any) -> Any:
        inner = lambda y: cr.while_loop(lambda z: z > 0.5, lambda z: z * 0.9 * np.cos(0.1 * x), y)
        step = lambda c: (c[0] + 1, inner(c[1] + 0.3 * c[0]) + x)
        return cr.while_loop(lambda c: c[0] < 6, step, (0.0, x))[1]

    for order in ("value", "grad", "jvp", "jvp of grad", "grad of grad"):
        check(ORDERS[order](f), (np.float64(0.3),), (np.float64(0.6),))


def test_stopped_gradients_and_derivatives_of_ones_own() -> None:
    @cr.custom_vjp
    def clipped(x: Any) -> Any:
        return x

    clipped.defvjp(lambda x: (x, None), lambda _, ct: (np.clip(ct, -0.5, 0.5),))
    f = lambda x: cr.while_loop(lambda y: y < 50, lambda y: clipped(y * cr.stop_gradient(x)) + x, 1.0 * x)
    check(cr.grad(f), (np.float64(1.5),), (np.float64(2.5),))


def test_infinite_partials_where_a_zero_factor_wins() -> None:
    f = lambda x: cr.fori_loop(0, 70, lambda i, y: y + np.sqrt(x * np.where(i == 50, 0.0, 1.0)) * 0.0 + x, x)
    check(cr.grad(f), (np.float64(2.0),))


def test_carries_of_other_kinds() -> None:
    swap = lambda x: cr.fori_loop(0, 75, lambda i, c: (c[1], np.sin(c[0])), (x, 2 * x))
    check(swap, (normal(4),))
    check(cr.grad(lambda x: np.sum(swap(x)[0] * x)), (normal(4),))
    turned = lambda x: cr.fori_loop(0, 75, lambda i, c: (c.T * 0.99)[::-1] + x, x)
    check(turned, (normal(3, 3),))
    check(cr.grad(lambda x: np.sum(turned(x) ** 2)), (normal(3, 3),))
    counted = lambda x: cr.while_loop(
        lambda c: (c[0] < 90) & np.logical_not(c[2]), lambda c: (c[0] + 1, c[1] * x, c[1] > 9), (0, x, False)
    )
    check(lambda x: counted(x)[1], (np.float64(1.1),), (np.float64(1.001),))
    check(cr.grad(lambda x: counted(x)[1]), (np.float64(1.1),), (np.float64(1.001),))
    single = lambda x: cr.while_loop(lambda y: y < 100, lambda y: y * x, np.float32(1))
    check(single, (np.float32(1.5),))
    check(cr.grad(single), (np.float32(1.5),))
    assert cr.jit(cr.grad(single))(np.float32(1.5)).dtype == np.float32
    whirl = lambda z: cr.fori_loop(0, 70, lambda i, c: c * z + 0.1, z)
    check(whirl, (np.complex128(0.9 + 0.3j),))
    check(cr.grad(lambda z: np.abs(whirl(z))), (np.complex128(0.9 + 0.3j),))


def test_writing_inside_of_a_turn() -> None:
    def step(c: Any, x: Any) -> Any:
        new = np.zeros_like(c)
        new[0] = c[1] * x
        new[1:] = c[:-1]
        return new, new[0]

    f = lambda c, xs: cr.scan(step, c, xs)
    check(f, (normal(4), normal(70)))
    check(cr.grad(lambda c, xs: np.sum(f(c, xs)[1])), (normal(4), normal(70)))


def test_effects_of_a_turn_are_never_lost() -> None:
    def counting(x: Any) -> Any:
        times = 0

        def body(y: Any) -> Any:
            nonlocal times
            times += 1
            return y * 0.9 - times * 0.01

        return cr.while_loop(lambda y: y > 1, body, x)

    check(counting, (np.float64(5.0),), loops=False)

    def collecting(x: Any) -> Any:
        seen: list[Any] = []

        def body(y: Any) -> Any:
            seen.append(y)
            return y * 0.5

        return cr.while_loop(lambda y: y > 1, body, x), sum(seen)

    jitted = cr.jit(collecting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.errors.UntraceableWarning)
        for _ in range(4):
            assert_same(jitted(np.float64(9.0)), collecting(np.float64(9.0)))


def test_decisions_inside_of_a_turn() -> None:
    def f(x: Any) -> Any:
        return cr.fori_loop(0, 70, lambda i, y: y * 0.9 if y > 0.5 else y + 0.3, x)

    check(f, (np.float64(0.7),), loops=False)
    steady = lambda x: cr.fori_loop(0, 70, lambda i, y: y * 0.9 if y > -1 else y + 0.3, x)
    check(steady, (np.float64(0.7),), (np.float64(0.8),))
    jitted = cr.jit(steady)
    for x in (0.7, -3.0, 0.7, -3.0, 0.4):  # the other way is another variant
        assert_same(jitted(np.float64(x)), steady(np.float64(x)), exactly=False)
    assert len(jitted.variants) == 2


def test_random_numbers_in_a_turn() -> None:
    f = lambda x, rng: cr.scan(lambda c, _: (c * 0.9 + rng.normal(), c), x, length=70)
    jitted = cr.jit(f)
    for seed in range(4):
        a, b = (np.random.default_rng(seed) for _ in range(2))
        assert_same(jitted(np.float64(1.0), a), f(np.float64(1.0), b), exactly=False)


@pytest.mark.parametrize("order", ORDERS)
def test_examples_of_vmap_that_take_as_many_turns_as_they_take(order: str) -> None:
    few, many = np.array([2.0, 9.0, 30.0]), np.array([1e8, 1.0, 1e-3])
    check(cr.vmap(ORDERS[order](root)), (few,), (many,))


def test_derivatives_outside_of_vmap() -> None:
    total = lambda x: np.sum(np.sin(cr.vmap(root)(x)) * x)
    xs = np.array([2.0, 9.0, 30.0])
    check(cr.value_and_grad(total), (xs,), (xs * 0.1,))
    check(cr.hessian(total), (xs,), (xs * 0.1,))
    check(cr.vmap(cr.vmap(cr.grad(root)), in_axes=1), (np.stack([xs, xs * 3]),))


def test_only_what_differs_from_example_to_example_is_batched() -> None:
    captured = lambda x: cr.fori_loop(0, 80, lambda i, c: (c[0] * 0.9 + np.cos(x), c[1] + 0.1), (0.0, 1.0))
    check(cr.vmap(captured), (normal(4),))
    check(cr.vmap(cr.grad(lambda x: captured(x)[0] * captured(x)[1])), (normal(4),))
    late = lambda x: cr.fori_loop(0, 80, lambda i, c: (c[1] * 0.5, c[2] * 0.9, c[0] + x), (0.0, 1.0, 2.0))
    check(cr.vmap(late), (normal(4),))  # the first is batched from the third turn on
    counted = lambda x: cr.while_loop(lambda c: c[0] < 40, lambda c: (c[0] + 1, np.sin(c[1]) + x), (0, x))
    check(cr.vmap(counted), (normal(4),))
    until = lambda x, end: cr.while_loop(lambda c: c[0] < end, lambda c: (c[0] + 1, np.sin(c[1]) + x), (0, x))
    check(cr.vmap(until, in_axes=(None, 0)), (np.float64(0.3), np.array([3, 0, 70])))
    check(cr.vmap(until), (normal(3), np.array([3, 0, 70])), (normal(3), np.array([0, 0, 0])))
    emitted = lambda x: cr.scan(lambda c, _: (c * 0.9, (c + x, c)), np.float64(1.0), length=80)
    check(cr.vmap(emitted), (normal(4, 2),))
    single = lambda x: cr.while_loop(lambda y: y < 100, lambda y: y * x, np.float32(1))
    check(cr.vmap(cr.grad(single)), (np.array([1.5, 3.0], np.float32),))
    over = lambda p, xs: np.sum(cr.vmap(lambda xs: scanned(p, xs))(xs))  # weights are the same for all examples
    parameters = {"w": normal(3, 3), "u": normal(3, 3, seed=1) / 3}
    check(cr.grad(over, argnums=(0, 1)), (parameters, normal(5, 80, 3)))
    check(cr.vmap(cr.grad(scanned), in_axes=(None, 1)), (parameters, normal(80, 5, 3)))


def test_loops_inside_of_loops_inside_of_vmap() -> None:
    def f(x: Any, y: Any) -> Any:
        inner = lambda z: cr.while_loop(lambda z: z > 0.5, lambda z: z * 0.9 * np.cos(0.1 * x), z)
        return cr.while_loop(lambda c: c[0] < 6, lambda c: (c[0] + y, inner(c[1] + 0.3 * c[0]) + x), (0.0, x))[1]

    x, y = np.array([0.3, 0.6]), np.array([1.0, 2.5, 0.7])
    for g in (f, cr.grad(f), along(cr.grad(f))):
        check(cr.vmap(cr.vmap(g, in_axes=(0, None)), in_axes=(None, 0)), (x, y))


def test_under_grad_it_runs_as_it_is() -> None:
    x = np.float64(7.0)
    assert_same(cr.grad(cr.jit(root))(x), cr.grad(root)(x))


def test_turns_that_are_run_while_tracing_do_only_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one backwards repeats what its formulas read of the one forwards, and asks once whether there is a NaN."""
    printed = []
    real = rolled.print_program
    monkeypatch.setattr(
        rolled, "print_program", lambda *args, **named: printed.append(real(*args, **named)) or printed[-1]
    )
    step = cr.grad(lambda x: np.sum(cr.fori_loop(0, 100, lambda i, y: np.sin(y) * 0.9 + x, x)))
    x = normal(4)
    assert_same(cr.jit(step)(x), step(x), exactly=False)
    forwards, backwards = (each.source for each in printed)
    assert "np.sin(" in forwards
    assert "np.sin(" not in backwards
    assert "np.cos(" in backwards
    assert backwards.count("has_nan(") == 1
    assert "np.isnan(" not in backwards


def test_source_shows_the_loop() -> None:
    source = cr.jit(cr.grad(root)).source(np.float64(2.0))
    assert source.count("for ") == 2
    assert "# return cr.while_loop(lambda y: abs(y * y - x)" in source


SMALL = {
    "comparisons and choices": lambda c, x: (np.where(c > x, c * 0.5, np.minimum(c + x, 1.0)), np.max(c)),
    "reductions": lambda c, x: (c - np.sum(c) / 3 + np.min(x), np.sum(np.outer(c, x), axis=0)),
    "moving": lambda c, x: (np.concatenate([c[1:], c[:1]])[::-1] * 0.9, np.stack([c, x]).T[1]),
    "products": lambda c, x: (np.outer(c, x) @ c / (1 + c @ c), np.outer(x, c) @ np.outer(c, x)),
    "functions": lambda c, x: (0.3 * np.tanh(c) + np.exp(-x * x), np.log1p(c * c) / np.sqrt(1 + c**2)),
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", SMALL)
def test_small_loops_are_machine_code(name: str, dtype: str) -> None:
    pytest.importorskip("llvmlite")
    xs, start = 0.3 * normal(70, 3).astype(dtype), normal(3, seed=3).astype(dtype)
    f = lambda c, xs: cr.scan(SMALL[name], c, xs)
    slope = cr.grad(lambda c, xs: np.sum(f(c, xs)[0]) + np.sum(np.sin(f(c, xs)[1])), argnums=(0, 1))
    for g in (f, slope):
        jitted = check(g, (start, xs), (start * 0.5, xs))
        source = jitted.variants[0].printed.source
        assert "loop(1, 1, " in source
        assert not re.search("^ *for ", source, re.MULTILINE)


def test_what_is_wrong_is_said_as_without_jit() -> None:
    with pytest.raises(cr.errors.StructureError, match="Shapes and dtypes must"):
        cr.jit(lambda x: cr.fori_loop(0, 70, lambda i, y: np.stack([y, y]), x))(np.float64(1.0))
    with pytest.raises(cr.errors.StructureError, match="not a single truth value"):
        cr.jit(lambda x: cr.while_loop(lambda y: y > 0, lambda y: y - 1, x))(np.ones(3))


FUNCTIONS = [
    lambda s, v, w, x: (np.sin(s) + x, v * 0.5 + w),
    lambda s, v, w, x: (s * 0.7 + np.sum(v * w), np.tanh(v) + s * w),
    lambda s, v, w, x: (np.max(v) * x, v[::-1] * 0.9 + 0.1 * np.exp(-s * s)),
    lambda s, v, w, x: (np.sum(v) / (1 + s * s), np.where(v > s, v * 0.5, w)),
    lambda s, v, w, x: (s + v[1] * 0.1, np.stack([v[2], v[0], s]) * 0.8 + x * w),
    lambda s, v, w, x: (np.sqrt(1 + s * s) * 0.5, v - 0.1 * cr.grad(lambda u: np.sum(np.cos(u)) * x + s * u[0])(v)),
    lambda s, v, w, x: (v @ w * 0.3, np.outer(v, w) @ v / (1 + v @ v)),
]


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=2),
    st.sampled_from(["value", "grad", "jvp", "jvp of grad", "hessian", "vmap of grad", "grad of vmap"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
)
def test_random_turns(parts: list[Any], order: str, reverse: bool, while_it_is: bool, seed: int) -> None:
    w, xs = normal(3, seed=seed), normal(66, seed=seed)

    def step(state: Any, x: Any) -> Any:
        s, v = state
        for part in parts:
            s, v = part(s, v, w, x)
        return (s, v), s + v[0]

    def f(v: Any) -> Any:
        if while_it_is:
            test = lambda c: (c[0] < 40) & (np.sum(c[1][1]) < 1e3)
            _, (s, v) = cr.while_loop(test, lambda c: (c[0] + 1, step(c[1], xs[3])[0]), (0, (v[0], v)))
            return s * np.sum(v)
        (s, v), ys = cr.scan(step, (v[0], v), xs, reverse=reverse)
        return s * np.sum(v) + np.sum(np.sin(ys))

    x = normal(3, seed=seed + 9)
    several = np.stack([x, 0.7 * x])
    orders: dict[str, tuple[Any, Any]] = {
        "hessian": (cr.hessian(f), x),
        "vmap of grad": (cr.vmap(cr.grad(f)), several),
        "grad of vmap": (cr.grad(lambda x: np.sum(np.sin(cr.vmap(f)(x)))), several),
    }
    g, x = orders[order] if order in orders else (ORDERS[order](f), x)
    jitted = cr.jit(g)
    for _ in range(4):
        for start in (x, 0.5 * x):
            expected = g(start)
            size = max(1.0, *(np.max(np.abs(leaf)) for leaf in flatten(expected)[0]))
            np.testing.assert_allclose(jitted(start), expected, rtol=1e-7, atol=1e-9 * size)
    assert not jitted.given_up


def rooted(x: Any) -> Any:
    """In one turn the derivative of a root at zero is infinite: times zero that is NaN, where nobody is careful."""

    def turn(i: Any, h: Any) -> Any:
        return np.where(i == 50, np.sqrt(h * (x - 1.0)) + 0.1 * h, np.tanh(h * 0.9 + 0.1 * x))

    return np.sum(cr.fori_loop(0, 100, turn, x * 0.5))


def emptied(x: Any) -> Any:
    """The norm of nothing, in some turns."""

    def step(h: Any, u: Any) -> Any:
        h = np.tanh(h * u + 0.1) * (u != 0)
        return h, np.sqrt(np.sum(h * h))

    last, norms = cr.scan(step, x * 0.5, np.repeat([0.5, 0.0, 0.7], [60, 3, 37]))
    return np.sum(last * x) + np.sum(norms)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("way", ["grad", "jvp", "hessian"])
@pytest.mark.parametrize("f", [rooted, emptied])
def test_loops_with_a_nan_in_the_gradient_of_some_turns_stay_loops(f: Any, way: str, exact: bool) -> None:
    """Whether it comes up when the loop is traced, or later."""
    derived = {"grad": cr.grad(f), "jvp": lambda x: cr.jvp(f, (x,), (np.cos(x),)), "hessian": cr.hessian(f)}[way]
    for points in ((1.0, 1.5, 2.0, 1.0), (2.0, 2.5, 2.0, 1.0, 1.5, 1.0)):
        jitted = cr.jit(derived, exact=exact)
        for point in points:
            args = (np.array([point, 1.7]),)
            with np.errstate(all="ignore"):
                assert_same(jitted(*args), derived(*args), exactly=exact)
        assert not jitted.given_up
        assert sum(len(variant.steps) for variant in jitted.variants) < 400
