"""`jit` on programs that nobody thought of: branches, loops, views, writes, draws, `vmap` and derivatives inside."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from test_jit import at_once

import chainrule as cr
from chainrule.errors import UntraceableWarning
from chainrule.tree import flatten


def written_through_views(a: Any, b: Any) -> Any:
    y = a + 0 * b[0]  # a Tensor if either is: what is written below may be one
    turned = y[::-1]
    turned[1:] *= b[:3]
    turned[::2] = turned[1::2] + b[0]
    y.reshape(2, 2).T[0] -= 0.5
    return y


def written_to_one_element(a: Any, b: Any) -> Any:
    y = a + 0 * b[0]
    element = y[..., 1]  # an array without axes
    element += b[0]
    total = np.sum(b, keepdims=True)
    total[...] = total * 0.5
    return y + total


def scanned(a: Any, b: Any) -> Any:
    def step(h: Any, u: Any) -> Any:
        h = np.tanh(h * 0.8 + u * b)
        return h, np.sum(h * u)

    last, sums = cr.scan(step, a, np.sin(np.arange(70.0)) * 0.3)
    return last + np.mean(sums)


def shrunk(a: Any, b: Any) -> Any:
    def goes_on(s: Any) -> Any:
        return (s[0] < 90) & (np.sum(s[1] ** 2) > 0.05)

    return cr.while_loop(goes_on, lambda s: (s[0] + 1, s[1] * 0.93 + 0.001 * b), (0, a))[1]


def written_in_a_loop(a: Any, b: Any) -> Any:
    def turn(i: Any, h: Any) -> Any:
        h = h * 0.9
        h[i % 4] += b[i % 3] * 0.1
        turned = h[::-1]
        turned[:2] = turned[:2] * 0.99
        return h

    return cr.fori_loop(0, 66, turn, a + 0 * b[0])


def chosen_in_a_loop(a: Any, b: Any) -> Any:
    return cr.fori_loop(0, 66, lambda i, h: np.where(h > b, h * 0.9, np.sqrt(np.abs(h)) * 0.5 + 0.1), a)


UNARY: list[Callable[[Any], Any]] = [
    np.tanh, np.sin, np.negative, np.square, abs, lambda x: np.exp(-x * x), lambda x: x[::-1],
    lambda x: np.cumsum(x) * 0.3, lambda x: x * (x > 0), lambda x: x.reshape(2, 2).T.reshape(-1),
    lambda x: np.sum(x.reshape(2, 2), axis=1, keepdims=True).repeat(4)[::2] * 0.5, lambda x: np.sort(x)[::-1],
    lambda x: np.max(x, where=x > 0, initial=-1.0) - x, lambda x: np.cumsum((x > 0).astype(int)) * x,
    lambda x: np.concatenate([x[:0], x]) + np.sum(x[4:]) + np.prod(x[:0]), lambda x: np.abs(x + 1j * x[::-1]),
    lambda x: np.real(np.fft.ifft(np.fft.fft(x) * 0.5)), lambda x: np.tile(np.mean(x.reshape(2, 2), axis=0), 2),
    lambda x: (x.astype(int) + 1) * np.logical_xor(x > 0, x > 0.5), lambda x: x * np.sum(x, where=x > 0.1),
    lambda x: np.where(x > 0, x, 0.0)[[3, 3, 0, 1]], lambda x: np.clip(x, -0.7, np.max(x) * 0.5),
    lambda x: np.linalg.norm(x) * x[::-1] + np.std(x),
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    np.add, np.subtract, np.multiply, np.maximum, lambda a, b: np.where(a > b, a, b * 0.5),
    lambda a, b: a / (2 + b * b), lambda a, b: a * (2 if np.sum(b) > 0.3 else range(4)[len(b) - 1]),
    lambda a, b: a * np.mean(b) + np.max(a), lambda a, b: a * b[0].item(), lambda a, b: np.concatenate([a[:2], b[2:]]),
    lambda a, b: np.outer(a, b) @ b * 0.1, lambda a, b: a[np.argsort(b)],
    written_through_views, written_to_one_element, scanned, shrunk, written_in_a_loop, chosen_in_a_loop,
    lambda a, b: np.add(a, b, where=b > 0, out=a * 2), lambda a, b: np.hypot(a, b + 0.1) - np.minimum(a, b),
    lambda a, b: np.add.reduce(np.outer(a, b), axis=0, where=a[:, None] > 0), lambda a, b: np.real((a + 1j * b) ** 2),
    lambda a, b: cr.cond(np.sum(a) > 0, lambda a: a * b, np.sin, a), lambda a, b: np.interp(a, np.sort(b), b),
]  # fmt: skip
DERIVED: list[Callable[[Any, Any], Any]] = [
    lambda a, b: cr.grad(lambda z: np.sum(np.tanh(z) * b) + np.sum(z * z * a) * 0.1)(a),
    lambda a, b: cr.hessian(lambda z: np.sum(np.sin(z) * b) + np.prod(z))(a) @ b,
    lambda a, b: cr.vmap(cr.grad(lambda z, u: np.tanh(z * u) * z))(a, b),
    lambda a, b: cr.jvp(lambda z: np.tanh(z) * a, (a,), (b,))[1],
    lambda a, b: cr.grad(lambda z: np.sum(cr.grad(lambda u: np.sum(np.sin(u) * u))(z) * b))(a),
    lambda a, b: cr.vmap(lambda z: np.sum(np.where(z > b, z, b) ** 2))(np.stack([a, b, a, b])),
    lambda a, b: cr.vmap(cr.grad(lambda z: np.sum(scanned(z, b))))(np.stack([a, b]))[1],
    lambda a, b: cr.grad(lambda z: np.sum(shrunk(z, b) * a))(a),
    lambda a, b: cr.grad(lambda z: np.sum(written_in_a_loop(z, a)))(b),
    lambda a, b: cr.jvp(lambda z: cr.jvp(lambda u: written_through_views(np.sin(u), u), (z,), (b,))[1], (a,), (b,))[1],
    lambda a, b: cr.hvp(lambda z: np.sum(written_to_one_element(z * z, b) ** 2), (a,), (b,))[0],
    lambda a, b: cr.jacobian(lambda z: chosen_in_a_loop(z, b))(a) @ b,
    lambda a, b: cr.jacobian(cr.hessian(lambda z: np.sum(np.sin(z) * z[::-1])))(a)[0] @ b @ np.ones(4) * a,
]


class Leave(Exception):
    """Leaves the innermost loop, from wherever it is raised."""


def run(program: Any, values: list[Any], x: Any, rng: Any) -> None:
    """One block of a program: each statement takes some of the values and adds one."""
    for kind, i, j, *inside in program:
        a, b = values[i % len(values)], values[j % len(values)]
        match kind:
            case "one":
                values.append(UNARY[j % len(UNARY)](a))
            case "two":
                values.append(BINARY[(i + j) % len(BINARY)](a, b))
            case "derived":
                values.append(DERIVED[(i + j) % len(DERIVED)](a, b))
            case "write":
                new = a + 0 * b
                if i % 3 == 0:
                    new[1:3] = b[:2]
                elif i % 3 == 1:
                    new[j % 4] += b[i % 4]
                    view = new[::-1]
                    view *= 0.5
                else:
                    new += b
                    new[np.argsort(b)[:2]] = a[:2]
                values.append(new)
            case "write outside":
                x[i % 4] = x[j % 4] * 0.5
                values.append(x * 1)
            case "draw":
                values.append(a + 0.1 * rng.standard_normal(4) * (rng.random() if j % 2 else 1))
            case "if":
                run(inside[0] if np.sum(a) > np.sum(b) - 0.5 else inside[1], values, x, rng)
            case "while":
                turns = 0
                while np.sum(values[-1] ** 2) > 0.3 and turns < 6:
                    try:
                        run(inside[0], values, x, rng)
                    except Leave:
                        break
                    values.append(values[-1] * 0.6 + 0.05 * a)
                    turns += 1
            case "leave":
                if a[0] > b[1] + 1:
                    raise Leave


def function(program: Any, outside: Any = ()) -> Callable[..., Any]:
    def f(x: Any, y: Any, rng: Any) -> Any:
        values = [x, y, *outside]
        try:
            run(program, values, x, rng)
        except Leave:
            values.append(values[-1] + 1)
        return values[-1] * 1, {"middle": values[len(values) // 2] + 0, "sum": np.sum(values[-1])}

    return f


def blocks(depth: int) -> Any:
    numbers = st.integers(0, 30), st.integers(0, 30)
    kinds = ["one", "two", "derived", "write", "write outside", "draw", "leave"]
    simple = st.tuples(st.sampled_from(kinds), *numbers)
    if not depth:
        return st.lists(simple, min_size=1, max_size=3)
    inner = blocks(depth - 1)
    both = st.one_of(
        simple, st.tuples(st.just("if"), *numbers, inner, inner), st.tuples(st.just("while"), *numbers, inner)
    )
    return st.lists(both, min_size=1, max_size=4)


def assert_same(a: Any, b: Any, exact: bool) -> None:
    (first, _, form), (second, _, other) = flatten(a), flatten(b)
    assert form == other
    for x, y in zip(first, second, strict=True):
        assert type(x) is type(y)
        assert x.dtype == y.dtype
        if exact:
            np.testing.assert_array_equal(x, y)
        else:
            np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-8)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "jit of f: 8 variants are not enough", UntraceableWarning)
        yield


def arguments(seed: int, number: int) -> Any:
    return np.random.default_rng([seed, number]).standard_normal((2, 4))


@settings(deadline=None, max_examples=12)
@given(program=blocks(2), seed=st.integers(0, 99), exact=st.booleans())
def test_programs_give_what_functions_give(program: Any, seed: int, exact: bool) -> None:
    """Results, what is written to, and generators: whichever way a call goes, after whichever others."""
    note(f"program: {program}")
    f = function(program)
    jitted = cr.jit(f, exact=exact)
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    for number in (0, 1, 0, 2, 1, 0, 2, 1, 2, 0, 1):
        mine, yours = arguments(seed, number), arguments(seed, number)
        assert_same(jitted(*mine, ours), f(*yours, theirs), exact)
        assert_same(mine, yours, exact)
        assert ours.bit_generator.state == theirs.bit_generator.state
    assert not any(variant.disagreed for variant in jitted.variants)
    assert "differ" not in jitted.given_up


def overlapping(seed: int, number: int) -> Any:
    """Two arguments: for three of four numbers on the same memory."""
    x, y = np.random.default_rng([seed, number]).standard_normal((2, 5))
    return x[1:], (y[1:], x[1:], x[:4], x[:0:-1])[number]


@settings(deadline=None, max_examples=8)
@given(program=blocks(1), seed=st.integers(0, 99), exact=st.booleans(), alone=st.booleans())
def test_arrays_from_outside_that_change(program: Any, seed: int, exact: bool, alone: bool) -> None:
    """Programs that compute with arrays from outside, alone and with their arguments, which may share memory."""
    note(f"program: {program}")
    outside = np.random.default_rng(seed).standard_normal((2, 4))
    f = function(program, [outside[0]] if alone else [*outside])
    jitted = cr.jit(f, exact=exact)
    for turn, number in enumerate((0, 1, 0, 2, 1, 3, 0, 2, 3, 1, 2, 0)):
        if turn % 3 == 2:
            outside[turn % 2, turn % 4] *= -1.5
        mine, yours = overlapping(seed, number), overlapping(seed, number)
        ours, theirs = np.random.default_rng(turn), np.random.default_rng(turn)
        assert_same(jitted(*mine, ours), f(*yours, theirs), exact)
        assert_same(mine, yours, exact)
        assert ours.bit_generator.state == theirs.bit_generator.state
    assert not any(variant.disagreed for variant in jitted.variants)
    assert "differ" not in jitted.given_up


def without(program: Any, kinds: set[str]) -> Any:
    kept = [(kind, i, j, *(without(part, kinds) for part in inside)) for kind, i, j, *inside in program]
    return [step for step in kept if step[0] not in kinds]


DIFFERENTIATED = ["grad", "hvp", "vmap of grad"]


@settings(deadline=None, max_examples=8)
@given(program=blocks(1), seed=st.integers(0, 99), exact=st.booleans(), how=st.sampled_from(DIFFERENTIATED))
def test_derivatives_of_programs(program: Any, seed: int, exact: bool, how: str) -> None:
    program = without(program, {"write outside", "draw"})
    note(f"program: {program}")

    def loss(x: Any, y: Any) -> Any:
        values = [x * 1, y]
        try:
            run(program, values, x, None)
        except Leave:
            values.append(values[-1] + 1)
        return np.sum(np.tanh(values[-1])) + 0 * np.sum(x)

    gradient = cr.grad(loss)
    f = {
        "grad": gradient,
        "hvp": lambda x, y: cr.jvp(lambda x: gradient(x, y), (x,), (y,))[1],
        "vmap of grad": lambda x, y: np.stack([gradient(x, y), gradient(y, x)]),
    }[how]
    jitted = cr.jit(f, exact=exact)
    for number in (0, 1, 0, 2, 1, 0, 2, 1, 2, 0):
        assert_same(jitted(*arguments(seed, number)), f(*arguments(seed, number)), exact)
    assert not any(variant.disagreed for variant in jitted.variants)


@settings(deadline=None, max_examples=4)
@given(program=blocks(1), seed=st.integers(0, 99))
def test_threads_trace_and_compile_at_once(program: Any, seed: int) -> None:
    """All begin with a function that nobody has called before, and go different ways through it."""
    note(f"program: {program}")
    f = function(program)
    jitted = cr.jit(f, exact=True)
    expected = [f(*arguments(seed, number), np.random.default_rng(number)) for number in range(4)]

    def work(first: int) -> None:
        with np.errstate(all="ignore"):
            for i in range(8):
                number = (first + i) % 4
                assert_same(jitted(*arguments(seed, number), np.random.default_rng(number)), expected[number], True)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        at_once(work)
    finally:
        sys.setswitchinterval(before)
    assert "differ" not in jitted.given_up


@settings(deadline=None, max_examples=5)
@given(program=blocks(1), seed=st.integers(0, 99))
def test_ways_without_end_are_given_up_once(program: Any, seed: int) -> None:
    """Whichever ways many calls go: the function's results, and at most one warning, which names a line."""
    f = function([("while", 0, 1, program)])
    jitted = cr.jit(f)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UntraceableWarning)
        for number in range(25):
            given = np.random.default_rng(number), np.random.default_rng(number)
            assert_same(jitted(*arguments(seed, number), given[0]), f(*arguments(seed, number), given[1]), False)
    told = [str(each.message) for each in caught if issubclass(each.category, UntraceableWarning)]
    assert len(told) == bool(jitted.given_up)
    assert all("line " in text for text in told)
