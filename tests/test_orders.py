"""Third derivatives of everything smooth, in every mixture of modes, against differences of the second."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import test_arrays
import test_decompositions
import test_linalg
import test_rules
import test_selection
import test_signal
from oracle import close, cotangents, parts, spaced

import chainrule as cr
from chainrule import nn
from chainrule.rules import rules

pytestmark = test_arrays.pytestmark


def real_sum(weights: Any, results: Any) -> Any:
    """Re<weights, results>, recorded."""
    return sum(np.real(np.sum(np.conj(w) * r)) for w, r in zip(weights, results, strict=True))


def pushed(f: Any, directions: Any) -> Any:
    return lambda *xs: cr.jvp(f, xs, directions)[1]


def pulled(f: Any, directions: Any) -> Any:
    gradient = cr.grad(f, argnums=tuple(range(len(directions))))
    return lambda *xs: real_sum(directions, gradient(*xs))


def check_third(f: Any, args: list[Any], seed: object, tolerance: float = 1e-6) -> None:
    directions = tuple(spaced(np.shape(x), (seed, "direction", i), dtype=x.dtype)[()] for i, x in enumerate(args))
    weights = cotangents(parts(f(*args)), seed)

    def scalar(*xs: Any) -> Any:
        return real_sum(weights, parts(f(*xs)))

    second = pushed(pulled(scalar, directions), directions)

    def at(t: float) -> Any:
        return second(*(x + t * d for x, d in zip(args, directions, strict=True)))

    step = 1e-3
    desired = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    for first, inner, outer in itertools.product((pushed, pulled), repeat=3):
        third = outer(inner(first(scalar, directions), directions), directions)(*args)
        close(third, desired, tolerance)


SMOOTH_ROWS = [rule for rule in test_rules.PUBLIC if rule.name not in test_rules.FLAT]


@pytest.mark.parametrize("rule", SMOOTH_ROWS, ids=lambda rule: rule.name)
def test_elementwise(rule: Any) -> None:
    check_third(test_rules.function(rule), test_rules.sample(rule, [(3,)] * len(rule.domain)), rule.name)


@pytest.mark.parametrize("rule", test_rules.ANALYTIC, ids=lambda rule: rule.name)
def test_elementwise_complex(rule: Any) -> None:
    check_third(test_rules.function(rule), test_rules.sample(rule, [(3,)] * len(rule.domain), complex), rule.name)


ARRAYS = [
    *(("arrays", *case) for case in test_arrays.SMOOTH + test_arrays.ORDERED),
    *(("signal", *case) for case in test_signal.there(test_signal.SMOOTH + test_signal.REAL)),
    *(("selection", *case) for case in test_selection.TAKEN),
]


@pytest.mark.parametrize("case", ARRAYS, ids=lambda case: f"{case[0]}: {case[1]}")
def test_arrays_and_signals(case: Any) -> None:
    _, name, f, *shapes = case
    check_third(
        lambda *xs: [part**3 if part.dtype.kind in "fc" else part for part in parts(f(*xs))],
        [spaced(shape, (name, i)) for i, shape in enumerate(shapes)],
        name,
    )


@pytest.mark.parametrize("kind", test_linalg.KINDS)
@pytest.mark.parametrize("case", test_linalg.SQUARE, ids=lambda case: case[0])
def test_functions_of_matrices(case: Any, kind: Any) -> None:
    name, f, shapes = case
    check_third(f, [test_linalg.made(shape, kind, (name, i)) for i, shape in enumerate(shapes)], name, 1e-5)


@pytest.mark.parametrize("kind", test_linalg.KINDS)
@pytest.mark.parametrize("case", test_decompositions.CASES, ids=lambda case: case[0])
def test_of_decompositions(case: Any, kind: Any) -> None:
    name, f, shape = case
    check_third(f, [test_decompositions.made(name, kind, shape)], name, 1e-5)


# -- points where a formula would divide by zero, or a factor vanishes (R1) -------------------------------------------
E = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [2.0, 1.0, 1.0]])
RANK_1, RANK_2 = np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), np.array([[1.0, 2, 3], [2, 4, 6], [3, 6, 1]])
PI, LN2, ROOT_PI = np.pi, np.log(2.0), np.sqrt(np.pi)


def derivatives_of_det(base: Any) -> list[float]:
    """Of det(base + x E) at 0, from the cubic polynomial in x that it is."""
    x = np.array([-2.0, -1.0, 1.0, 2.0])
    _, first, second, third = np.polynomial.polynomial.polyfit(x, [np.linalg.det(base + t * E) for t in x], 3)
    return [first, 2 * second, 6 * third]


def stacked(*elements: Any) -> Any:
    return np.stack(elements)


SPECIAL: dict[str, tuple[Any, float, list[float]]] = {
    "sinc": (np.sinc, 0.0, [0, -(PI**2) / 3, 0]),
    "x**0": (lambda x: x**0, 0.0, [0, 0, 0]),
    "x**1.0": (lambda x: x**1.0, 0.0, [1, 0, 0]),
    "x**2": (lambda x: x**2, 0.0, [0, 2, 0]),
    "x**2.0": (lambda x: x**2.0, 0.0, [0, 2, 0]),
    "x**3": (lambda x: x**3, 0.0, [0, 0, 6]),
    "x**3.0": (lambda x: x**3.0, 0.0, [0, 0, 6]),
    "x**4": (lambda x: x**4, 0.0, [0, 0, 0]),
    "x**y": (lambda x: np.power(x, x * 0 + 3.0), 0.0, [0, 0, 6]),
    "x**y of x < 0": (lambda x: np.power(x, 3.0 + 0 * x), -2.0, [12, -12, 6]),
    "powers": (lambda x: np.sum(np.power(stacked(x, x), np.array([2.0, 3.0]))), 0.0, [0, 2, 6]),
    "float_power": (lambda x: np.float_power(x, 3), 0.0, [0, 0, 6]),
    "square": (np.square, 0.0, [0, 2, 0]),
    "x*x*x": (lambda x: x * x * x, 0.0, [0, 0, 6]),
    "prod with a zero": (lambda x: np.prod(stacked(x, 2 + x, 3 - x)), 0.0, [6, 2, -6]),
    "prod with two zeros": (lambda x: np.prod(stacked(x, 2 * x, 3 - x)), 0.0, [0, 12, -12]),
    "prod with three zeros": (lambda x: np.prod(stacked(x, 2 * x, 3 * x)), 0.0, [0, 0, 36]),
    "cumprod with two zeros": (lambda x: np.sum(np.cumprod(stacked(x, 2 * x, 3 - x)) * [1.0, 2, 3]), 0.0, [1, 44, -36]),
    "cumprod with three zeros": (lambda x: np.cumprod(stacked(x, 2 * x, 3 * x))[2], 0.0, [0, 0, 36]),
    "det of rank 1": (lambda x: np.linalg.det(RANK_1 + x * E), 0.0, derivatives_of_det(RANK_1)),
    "det of rank 2": (lambda x: np.linalg.det(RANK_2 + x * E), 0.0, derivatives_of_det(RANK_2)),
    "det of zero": (lambda x: np.linalg.det(x * E), 0.0, derivatives_of_det(0 * E)),
    "matrix_power": (lambda x: np.linalg.matrix_power(x * E, 3)[0, 0], 0.0, [0, 0, 6 * (E @ E @ E)[0, 0]]),
    "multi_dot": (lambda x: np.linalg.multi_dot([x * E, x * E, x * E])[0, 0], 0.0, [0, 0, 6 * (E @ E @ E)[0, 0]]),
    "einsum": (lambda x: np.einsum("i,i,i->", *[x * np.array([1.0, 2.0])] * 3), 0.0, [0, 0, 54]),
    "logaddexp far above": (lambda x: np.logaddexp(x, 0.0), 1000.0, [1, 0, 0]),
    "logaddexp far below": (lambda x: np.logaddexp(x, 0.0), -1000.0, [0, 0, 0]),
    "logaddexp tie": (lambda x: np.logaddexp(x, x), 1.0, [1, 0, 0]),
    "logaddexp at 0": (lambda x: np.logaddexp(x, 0.0), 0.0, [0.5, 0.25, 0]),
    "logaddexp with inf": (lambda x: np.logaddexp(x, np.inf), 0.0, [0, 0, 0]),
    "logaddexp with -inf": (lambda x: np.logaddexp(x, -np.inf), 0.0, [1, 0, 0]),
    "tanh saturated": (np.tanh, 400.0, [0, 0, 0]),
    "expit saturated": (rules["expit"], -800.0, [0, 0, 0]),
    "sigmoid saturated": (nn.sigmoid, 800.0, [0, 0, 0]),
    "erf": (rules["erf"], 0.0, [2 / ROOT_PI, 0, -4 / ROOT_PI]),
    "erf saturated": (rules["erf"], 30.0, [0, 0, 0]),
    "gelu": (nn.gelu, 0.0, [0.5, np.sqrt(2 / PI), 0]),
    "i0": (np.i0, 0.0, [0, 0.5, 0]),
    "exp2": (np.exp2, 0.0, [LN2, LN2**2, LN2**3]),
    "expm1": (np.expm1, 0.0, [1, 1, 1]),
    "log1p": (np.log1p, 0.0, [1, -1, 2]),
    "sin": (np.sin, 0.0, [1, 0, -1]),
    "arcsin": (np.arcsin, 0.0, [1, 0, 1]),
    "arctan": (np.arctan, 0.0, [1, 0, -2]),
    "arctan2": (lambda x: np.arctan2(x, 1.0), 0.0, [1, 0, -2]),
    "arcsinh": (np.arcsinh, 0.0, [1, 0, -1]),
    "arctanh": (np.arctanh, 0.0, [1, 0, 2]),
    "var of a constant": (lambda x: np.var(stacked(x, 2 * x)), 0.0, [0, 0.5, 0]),
    "polyval": (lambda x: np.polyval([1.0, 2.0, 3.0, 4.0], x), 0.0, [3, 4, 6]),
    "maximum of itself": (lambda x: np.maximum(x, x) ** 3, 0.0, [0, 0, 6]),
    "values of a multiple of I": (
        lambda x: np.sum(np.linalg.eigvalsh(np.eye(2) * (1 + x)) ** 3), 0.0, [6, 12, 12]
    ),
    # a zero wins over what where did not select, and the derivatives of what it did select stay
    "unselected log": (lambda x: np.where(x > 0, np.log(x), x**3), 0.0, [0, 0, 6]),
    "unselected quotient": (lambda x: np.where(x != 0, np.sin(x) / x, 1 - x * x / 6), 0.0, [0, -1 / 3, 0]),
    "unselected sqrt": (lambda x: np.where(x > 0, np.sqrt(x), x * x * x), 0.0, [0, 0, 6]),
    "unselected elsewhere": (
        lambda x: np.sum(np.where(stacked(x > 5, x < 5), np.log(stacked(x, x + 1)), stacked(x, x) ** 3)),
        0.0, [1, -1, 8],
    ),
    "unselected complex": (lambda x: np.real(np.where(x > 0, np.log(x + 0j), (x + 0j) ** 3)), 0.0, [0, 0, 6]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_special_points(name: str) -> None:
    f, x, desired = SPECIAL[name]
    one = (1.0,)
    with np.errstate(all="ignore"):
        for order in (1, 2, 3):
            for modes in itertools.product((cr.grad, lambda f: lambda x: cr.jvp(f, (x,), one)[1]), repeat=order):
                derivative = f
                for mode in modes:
                    derivative = mode(derivative)
                close(derivative(x), desired[order - 1], 1e-12)
