"""Kernels in compiled programs: what is fused, and that it gives what the function gives, also where there is a NaN."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.scipy.special as special
from chainrule.compile import fuse, guards, machine_loops
from chainrule.compile.kernels.functions import TABLE
from chainrule.nn import functional
from chainrule.rules import registry, rules
from chainrule.tree import flatten

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0]


def same(a: Any, b: Any) -> None:
    for x, y in zip(flatten(a)[0], flatten(b)[0], strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        tolerance = 2e-5 if x.dtype == np.float32 else 1e-12
        largest = np.max(np.abs(y), initial=1.0, where=np.isfinite(y))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * largest)


def on_kernels(f: Callable[..., Any], *args: Any, exact: bool = False) -> cr.Jitted:
    """Its jit, called until there are kernels, if any."""
    jitted = cr.jit(f, exact=exact)
    for _ in range(4):
        same(jitted(*args), f(*args))
    assert not jitted.given_up
    assert len(jitted.variants) == 1
    assert not jitted.variants[0].disagreed
    return jitted


def source(jitted: cr.Jitted) -> str:
    return jitted.variants[0].printed.source


def distances(x: Any) -> Any:
    """To the nearest of the others, as k-means has it."""
    y = x + 0.5
    return np.sum(np.amin(np.sum(x * x, 1)[:, None] + np.sum(y * y, 1) - 2 * (x @ y.T), 1))


LOSSES: dict[str, Callable[[Any], Any]] = {
    "unselected roots": lambda x: np.sum(np.where(x > 0.5, np.sqrt(x), 0 * x)),
    "logarithms and errors": lambda x: np.sum(np.log(x) / x * special.erf(x) + special.ndtr(x)),
    "logarithms of two exponentials": lambda x: np.sum(np.logaddexp(0, -3 * x) + np.logaddexp(x * x, x) * x),
    "smallest of rows": lambda x: np.sum(np.amin(x * x, axis=-1)),
    "largest of columns": lambda x: np.sum(np.amax(x * x, axis=0) * 2.0),
    "logsumexp of rows": lambda x: np.sum(functional.logsumexp(x * 3, axis=-1)),
    "norms of rows": lambda x: np.sum(np.sqrt(np.sum(x * x, axis=-1))),
    "pairs": lambda x: np.sum(np.exp(-((x[..., None] - x[..., None, :]) ** 2))),
    "distances": distances,
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", LOSSES)
def test_special_values_at_every_place(name: str, dtype: str) -> None:
    """Whether the answer of a kernel to "is there a NaN" sends it to another variant, or none is needed."""
    f = cr.value_and_grad(LOSSES[name])
    for shape in ((3, 4), (1, 1), (2, 19)):
        x = np.random.default_rng(0).uniform(0.1, 2, shape).astype(dtype)
        for value in SPECIAL:
            jitted = on_kernels(f, x)
            for place in {0, x.size // 2, x.size - 1}:
                y = x.copy()
                y.flat[place] = value
                with warnings.catch_warnings(action="ignore"):
                    for _ in range(3):
                        same(jitted(y), f(y))
                    same(jitted(x), f(x))
            assert not jitted.given_up


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["unselected roots", "logarithms and errors", "norms of rows"])
def test_shapes_and_layouts(name: str, dtype: str) -> None:
    f = cr.value_and_grad(LOSSES[name])
    x = np.random.default_rng(0).uniform(0.1, 2, (6, 8)).astype(dtype)
    for y in (x[0, 0, ...], x[:, ::2], x.T, x[::-1], x[:0], x[:, :0], x[2], np.asfortranarray(x)):
        on_kernels(f, y)


def test_a_question_needs_no_memory() -> None:
    """NaN is looked for inside of the loop: of the intermediate values, nothing is kept."""
    f = cr.value_and_grad(lambda x: np.sum(np.log(x) / x * np.sqrt(x)))
    jitted = on_kernels(f, np.linspace(1, 2, 50))
    assert source(jitted).count("has_nan(") == 0
    assert source(jitted).count("any(") == 1
    assert source(jitted).count("empty((50,)") == 1
    assert "np.empty" not in source(jitted)
    (frame,) = jitted.variants[0].printed.function.__globals__["FRAMES"]
    assert max(b.size for b in frame) == 1


def test_questions_that_others_answer_are_not_asked() -> None:
    def f(x: Any) -> Any:
        y = cr.value_and_grad(lambda x: np.sum(x * x * x))
        return cr.jvp(y, (x,), (np.ones_like(x),))

    jitted = on_kernels(f, np.linspace(1, 2, 50))
    assert source(jitted).count("return MISSED") <= 2


def test_whole_rows_of_logsumexp_are_one_kernel() -> None:
    f = cr.value_and_grad(LOSSES["logsumexp of rows"])
    jitted = on_kernels(f, np.random.default_rng(0).normal(size=(20, 30)))
    assert source(jitted).count(" kernel") == 1


def test_weights_of_two_exponentials_are_fused() -> None:
    f = cr.value_and_grad(LOSSES["logarithms of two exponentials"])
    jitted = on_kernels(f, np.random.default_rng(0).normal(size=50))
    assert source(jitted).count(" kernel") == 1
    assert "weight(" not in source(jitted)


def test_numbers_go_through_a_kernel_where_there_is_more_to_do_than_to_read() -> None:
    def f(x: Any, more: int) -> Any:
        y, t = x * 2, x * 3
        while x < 9:  # each decision parts what is before it from what comes after
            x, y, t = x + 0.1 * y, y + 0.1, t + 0.2
            for _ in range(more):
                x = x * 1.01
        return x * y * t

    for more, some in ((0, False), (3, True)):
        jitted = on_kernels(lambda x, more=more: f(x, more), np.float64(1.0))
        assert ("  kernel(1, 1, " in source(jitted)) == some


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
@pytest.mark.parametrize("options", [{"axis": 1}, {"axis": 0}, {}])
def test_scipys_sums_of_exponentials_are_seen(name: str, options: Any, dtype: str) -> None:
    """In a program they are NumPy's operations, which are fused; with `exact=True` they are SciPy's functions."""
    function = getattr(special, name)
    x = np.random.default_rng(0).normal(size=(20, 30)).astype(dtype)
    edges = [x * 300, np.where(x > 2, np.inf, x), np.where(x > 0, -np.inf, x), np.full_like(x, -np.inf)]

    def value(x: Any) -> Any:
        return function(x * 2, **options) * 3

    for f in (value, cr.value_and_grad(lambda x: np.sum(value(x) ** 2 * x[:, :1].sum()))):
        jitted = on_kernels(f, x)
        assert "kernel" in source(jitted)
        with np.errstate(all="ignore"):
            for other in edges:
                same(jitted(other), f(other))
        assert f" {name}(" not in source(jitted)
    exact = on_kernels(value, x, exact=True)
    assert f" {name}(" in source(exact)
    np.testing.assert_array_equal(exact(x), value(x))


def test_sums_that_come_late_are_taken_at_once() -> None:
    def f(x: Any, w: Any) -> Any:
        y = np.tanh(x) * 2
        z = y @ w
        return z, np.sum(y, axis=0), np.sum(y)

    jitted = on_kernels(f, np.ones((20, 30)), np.ones((30, 5)))
    assert "np.add.reduce" not in source(jitted)


def test_counts() -> None:
    """Truth values are counted, and integers computed with, as NumPy does."""

    def f(x: Any, y: Any) -> Any:
        n = np.maximum(np.sum(x > y, axis=1), 1)
        return n, np.sum(x, axis=1) / n, np.sum(x * (x > y) / n[:, None], axis=0)

    rng = np.random.default_rng(0)
    for shape in ((5, 7), (300, 400), (1, 1), (2, 70_000)):
        jitted = on_kernels(f, rng.normal(size=shape), rng.normal(size=shape[1:]))
    assert source(jitted).count("kernel") <= 2


def test_exact_programs_ask_as_well() -> None:
    f = cr.value_and_grad(lambda x: np.sum(np.where(x > 0.5, np.sqrt(x), 0 * x)))
    x = np.linspace(0.1, 1, 40)
    jitted = on_kernels(f, x, exact=True)
    y = x.copy()
    y[3] = 0.0
    with warnings.catch_warnings(action="ignore"):
        for _ in range(4):
            assert all(map(np.array_equal, jitted(x), f(x)))
            assert all(map(np.array_equal, jitted(y), f(y)))


# -- short last axes -----------------------------------------------------------------------------------------------
def energy_of_pairs(x: Any) -> Any:
    d = x[None, :, :] - x[:, None, :]
    return np.sum(1 / np.sqrt(np.sum(d * d, 2) + 0.1))


def forces(x: Any) -> Any:
    d = x[None, :, :] - x[:, None, :]
    square = np.sum(d * d, 2) + 0.1
    return np.sum((np.tanh(square) / square)[:, :, None] * d, 1)


def mixed(x: Any) -> Any:
    """Largest components, all axes at once, axes in the middle, whole arrays that are needed themselves."""
    d = x[None, :, :] - 2 * x[:, None, :]
    total = np.sum(np.where(d > 0, d, 0.5 * d), (0, 2))
    return total, np.max(d * d, 2), np.sum(d), np.sum(d, 0, keepdims=True), np.sum(d * d, 0) * x, np.min(d)


PAIRS: dict[str, Callable[..., Any]] = {
    "gradient of an energy": cr.value_and_grad(energy_of_pairs),
    "forces": forces,
    "derivative of forces": lambda x: cr.jvp(forces, (x,), (x + 1,)),
    "gradient of forces": cr.grad(lambda x: np.sum(forces(x) ** 2)),
    "many at once": mixed,
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_points(name: str, dtype: str) -> None:
    f = PAIRS[name]
    for n, k in ((70, 3), (70, 2), (70, 4), (5, 3), (70, 5), (1, 3)):
        x = np.random.default_rng(0).normal(size=(2 * n, k)).astype(dtype)[::2]
        jitted = on_kernels(f, x)
        for place in (0, x.size - 1):
            for value in SPECIAL:
                y = x.copy()
                y.flat[place] = value
                with warnings.catch_warnings(action="ignore"):
                    same(cr.jit(f)(y), f(y))
                    same(jitted(y), f(y))
        same(jitted(x), f(x))


def test_pairs_are_computed_by_component() -> None:
    for dtype in ("f4", "f8"):
        jitted = on_kernels(PAIRS["gradient of an energy"], np.random.default_rng(0).normal(size=(70, 3)).astype(dtype))
        (frame,) = jitted.variants[0].printed.function.__globals__["FRAMES"]
        assert max(b.size for b in frame) <= 70 * 70
        assert "70, 70, 3" not in source(jitted)


def test_large_arrays_are_not_taken_apart() -> None:
    """What would be copied for it, and what must be there as a whole, stays as it is."""
    x = np.random.default_rng(0).normal(size=(90, 90, 3))
    for f in (lambda x: np.sum(x * x, 2), lambda x: np.sin(x) * np.sum(x[:1] * x, 2, keepdims=True)):
        assert "np.stack" not in source(on_kernels(f, x))
        assert "[..., 0]" not in source(on_kernels(f, x))


def test_the_same_memory_in_several_shapes() -> None:
    def f(x: Any) -> Any:
        y = np.reshape(np.reshape(np.reshape(x * 2, (6, 2)), (3, 4)), (12,))
        return y, np.reshape(np.reshape(x, (12, 1)), (12,)), np.reshape(y, (4, 3)) + 1

    x = np.arange(12.0)
    jitted = on_kernels(f, x)
    first = jitted(x)
    first[1][0] = 7  # a view of the argument, as without jit
    assert x[0] == 7
    first[0][0] = -1
    assert jitted(x)[0][0] == 14


@pytest.mark.parametrize("name", ["sigmoid", "erf"])
def test_a_function_is_one_step_whenever_it_is_used_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine prints a faster way to call it when it is used first, which is no other way for a trace."""
    f = cr.value_and_grad(lambda x: np.sum(rules[name](x * 2) ** 2))
    for operator in (None, rules[name].operator):
        monkeypatch.setattr(rules[name], "operator", operator)
        jitted = on_kernels(f, np.linspace(-1, 1, 40))
        assert f"= {name}(" in source(jitted)


def test_a_row_is_all_that_an_operation_needs() -> None:
    """Eager, as one call of its own in NumPy's programs, and as part of a kernel in others."""
    swish = registry.row("swish", "a", "sigmoid(a)*(1 + a*(1 - sigmoid(a)))", value=lambda x: x / (1 + np.exp(-x)))
    try:
        x = np.linspace(-3, 3, 500)
        gradient = cr.grad(lambda x: np.sum(swish(2 * x) * x))
        same(gradient(x), cr.grad(lambda x: np.sum(2 * x / (1 + np.exp(-2 * x)) * x))(x))
        jitted = cr.jit(gradient)
        jitted(x)
        jitted(x)
        assert source(jitted).count("_lambda_(") == 1
        jitted = on_kernels(gradient, x)
        assert source(jitted).count("kernel(") == 1
        assert "lambda" not in source(jitted)
    finally:
        del registry.rules["swish"], registry.computed_by[swish.value]


def test_what_kernels_know_is_known_by_its_rule() -> None:
    """A row that had the name of another operation of kernels would be taken for that."""
    assert [name for name in TABLE if name not in rules] == ["root"]


def test_what_a_function_does_with_nan_is_asked() -> None:
    assert all(map(guards.passes_nan, [np.tanh, np.cbrt, np.arccosh, np.sign, special.gammaln, np.maximum]))
    assert not any(map(guards.passes_nan, [np.isnan, np.signbit, np.fmax, np.copysign, np.hypot, np.power, np.where]))


def test_grouping_costs_what_a_program_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times as many steps of one group take some eight times as many calls."""
    counts = []

    def counted(program: Any, exact: bool) -> Any:
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            fuse.fused(program, exact)
        finally:
            sys.setprofile(None)
        counts.append(calls)
        return []  # nothing to compile

    monkeypatch.setattr(machine_loops, "fused", counted)

    def chain(x: Any, n: int) -> Any:
        for _ in range(n):
            x = x * 0.5 + 1.0
        return np.sum(x)

    for n in (250, 2000):
        jitted = cr.jit(chain)
        for _ in range(4):
            jitted(np.ones(3), n)
    assert len(counts) == 2
    assert counts[1] < 10 * counts[0]


def test_a_result_that_shows_another_one() -> None:
    """What a kernel makes is read outside of it, in other shapes."""

    def f(x: Any) -> Any:
        total = np.sum(np.sin(x) * np.exp(x), axis=1)
        each = np.tanh(total) * 2 + np.exp(-total * total)
        column = each[:, None]
        return np.cumsum(column, axis=0), np.cumsum(column[:, 0]), each, np.sort(x * column)

    x = np.random.default_rng(0).normal(size=(50, 40))
    compiled = cr.jit(f)
    for shift in range(5):
        same(compiled(x + shift), f(x + shift))


@pytest.mark.parametrize("always", [True, False])
def test_a_condition_that_is_a_constant(always: bool) -> None:
    def f(x: Any) -> Any:
        condition = np.full_like(x, always) == 1  # folded: the same for every element
        small = np.where(condition, np.exp(x), np.log(x))
        spread = np.where(condition, np.sin(x[0]), np.cos(x[1]))  # each stretched, whichever is chosen
        return np.sum(small * spread + np.where(condition, 2.0, x))

    x = np.random.default_rng(0).uniform(0.5, 1, size=3000)
    on_kernels(f, x)
    on_kernels(cr.grad(f), x)
    written = source(on_kernels(lambda x: np.sum(np.where(np.ones_like(x) == always, x * 2, x)), x))
    assert "= where(" not in written
    assert "= np.where(" not in written


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_sums_over_axes_in_the_middle(dtype: str) -> None:
    def f(x: Any, y: Any) -> Any:
        z = (x * y[:, :, None] + x) * 0.5
        largest = np.max(z, 1, keepdims=True) if z.size else z
        return np.sum(z, 1), largest, np.sum(z, (0, 1)), np.sum(z, 2), z

    rng = np.random.default_rng(0)
    for shape in ((6, 50, 20), (6, 50, 1), (1, 3, 70), (0, 3, 2), (3, 0, 2)):
        x, y = rng.normal(size=shape).astype(dtype), rng.normal(size=shape[:2]).astype(dtype)
        jitted = on_kernels(f, x, y)
        for value in SPECIAL if x.size else ():
            x.flat[x.size // 2] = value
            with warnings.catch_warnings(action="ignore"):
                same(jitted(x, y), f(x, y))
    text = source(on_kernels(lambda x: np.sum(np.exp(x) * x, (1, 2)), rng.normal(size=(3, 4, 5, 6)).astype(dtype)))
    assert "np.add.reduce" not in text
