"""Kernels in compiled programs: what is fused, and that it gives what the function gives, also where there is a NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.scipy.special as special
from chainrule.nn import functional
from chainrule.tree import flatten

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0]


def same(a: Any, b: Any) -> None:
    for x, y in zip(flatten(a)[0], flatten(b)[0], strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        tolerance = 2e-5 if x.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


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
                with np.errstate(all="ignore"):
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
    (frame,) = jitted.variants[0].run.__globals__["FRAMES"]
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
    with np.errstate(all="ignore"):
        for _ in range(4):
            assert all(map(np.array_equal, jitted(x), f(x)))
            assert all(map(np.array_equal, jitted(y), f(y)))
