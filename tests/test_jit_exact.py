"""`jit(exact=True)`: the bits of the eager run, in derivatives of any order.

Sums are what matters: in which order the shares of a cotangent are added up, and how what is summed lies in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.scipy.linalg as linalg
from chainrule.tree import flatten

RNG = np.random.default_rng(0)
B, W = RNG.normal(size=5), RNG.normal(size=(5, 4))
BANDS = RNG.normal(size=(3, 5)) + np.array([[0], [4], [0]])
UPPER = np.abs(RNG.normal(size=(2, 5))) * 0.3 + np.array([[0], [3]])
KNOTS, BETWEEN = np.arange(5.0), np.linspace(0.1, 3.9, 7)
FIRST, SECOND = np.array([0, 0, 1, 1, 2]), np.array([1, 0, 1, 1, 0])


def sum_of_squares(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: np.sum(f(x) ** 2)


# Functions of one array, whose shares come from several places; and where.
FUNCTIONS: dict[str, tuple[Callable[..., Any], Any]] = {
    "solve_banded": (sum_of_squares(lambda x: linalg.solve_banded((1, 1), x, B)), BANDS),
    "solve_banded for b": (sum_of_squares(lambda x: linalg.solve_banded((1, 1), BANDS, x)), B),
    "solve_banded for three": (sum_of_squares(lambda x: linalg.solve_banded((1, 1), x, W[:, :3])), BANDS),
    "solveh_banded": (sum_of_squares(lambda x: linalg.solveh_banded(x, B)), UPPER),
    "cholesky_banded": (sum_of_squares(linalg.cholesky_banded), UPPER),
    "cho_solve_banded": (sum_of_squares(lambda x: linalg.cho_solve_banded((x, False), B)), UPPER),
    "both": (sum_of_squares(lambda x: linalg.cho_solve_banded((linalg.cholesky_banded(x), False), B)), UPPER),
    "points of interp": (sum_of_squares(lambda x: np.interp(x, KNOTS, B)), BETWEEN),
    "knots of interp": (sum_of_squares(lambda x: np.interp(BETWEEN, x, B)), KNOTS),
    "values of interp": (sum_of_squares(lambda x: np.interp(BETWEEN, KNOTS, x)), B),
    "reads of the same": (lambda x: np.sum(np.sin(x[FIRST]) * W[:, 0]) + np.sum(np.sin(x[SECOND]) * W[:, 1]), B),
    "reads by what is computed": (lambda x: np.sum(x[np.argsort(x)] * x[FIRST]) + np.sum(x[1:] ** 2 * x[0]), B),
    "pieces": (lambda x: np.sum(np.piecewise(x, [x < 0, x > 1], [lambda x: x, lambda x: x**3, 2.0])), B),
    "linear": (lambda x: np.sum(x[FIRST]) + np.mean(x), B),
    "slices": (lambda x: np.sum(np.sin(x[1:]) * x[:-1]) + x[2] ** 3 + np.sum(x[::-2] ** 2), B),
    "turned": (lambda x: np.sum(np.sum(np.tanh((np.exp(x.T) * W.T).T + x * 2) ** 2, axis=0) ** 2), W),
}

DERIVED: dict[str, Callable[..., Any]] = {
    "grad": cr.grad,
    "hvp": lambda f: lambda x: cr.hvp(f, (x,), (np.cos(x),)),
    "hessian": cr.hessian,
    "jacobian of grad": lambda f: cr.jacobian(cr.grad(f), mode="rev"),
    "grad of grad": lambda f: cr.grad(lambda x: np.sum(cr.grad(f)(x) * np.cos(x))),
    "jvp of jvp": lambda f: lambda x: cr.jvp(lambda x: cr.jvp(f, (x,), (np.cos(x),))[1], (x,), (np.sin(x),)),
    "vmap of grad": lambda f: lambda x: cr.vmap(cr.grad(f))(np.stack([x, x * 1.01])),
}


@pytest.mark.parametrize("how", DERIVED)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_have_the_bits_of_the_eager_run(name: str, how: str) -> None:
    function, x = FUNCTIONS[name]
    f = DERIVED[how](function)
    jitted = cr.jit(f, exact=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for point in (x, x * 1.001, x):
            for got, want in zip(flatten(jitted(point))[0], flatten(f(point))[0], strict=True):
                np.testing.assert_array_equal(got, want)
    assert not jitted.given_up
    assert len(jitted.variants) == 1
