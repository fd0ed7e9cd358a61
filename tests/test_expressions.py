"""Random expression graphs, grown step by step by Hypothesis and shrunk to the few steps that matter when one fails.

Every step applies a rule to values that there are already, so values are used several times and paths join again.  The
derivatives of the whole, of first order in both modes and of second order in three ways, are compared with each other
and with central differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from oracle import difference, spaced
from test_rules import FLAT, PUBLIC, function

import chainrule as cr
from chainrule.rules import rules
from chainrule.rules.registry import Rule

Function = Callable[..., Any]
SMOOTH = [each for each in PUBLIC if each.name not in FLAT]
LINEAR: dict[str, Function] = {
    "ravel": lambda v: np.ravel(v),
    "T": lambda v: v.T,
    "flip": lambda v: np.flip(v, -1),
    "roll": lambda v: np.roll(v, 1),
    "step": lambda v: v[..., ::-2],
    "fancy": lambda v: v[..., np.array([0, -1, 0])],
    "mask": lambda v: v[np.arange(v.size).reshape(v.shape) % 2 == 0],
    "cumsum": lambda v: 0.3 * np.cumsum(v, -1),
    "sum": lambda v: np.sum(v, axis=0, keepdims=True),
    "mean": lambda v: np.mean(v, axis=-1),
    "diff": lambda v: np.diff(v, axis=-1, prepend=0.5),
    "twice": lambda v: np.concatenate([v, 2 * v], axis=-1),
    "stack": lambda v: np.stack([v, -v], axis=1),
    "repeat": lambda v: np.repeat(v, 2, axis=0),
    "tile": lambda v: np.tile(v, (2, 1)),
    "pad": lambda v: np.pad(v, 1, mode="reflect") if min(v.shape) > 1 else np.pad(v, 1),
    "tril": lambda v: np.tril(np.atleast_2d(v)),
    "diagonal": lambda v: np.diagonal(np.atleast_2d(v)),
    "where": lambda v: np.where(np.arange(v.shape[-1]) % 2 == 0, v, 0.3),
    "take": lambda v: np.take(v, [0, 0, -1], axis=0),
    "moveaxis": lambda v: np.moveaxis(v, 0, -1),
    "expand": lambda v: np.expand_dims(v, 0) if v.ndim < 3 else np.squeeze(v[:1], 0),
    "convolve": lambda v: np.convolve(np.ravel(v), [0.5, -1.0], "same"),
}
REDUCTIONS: dict[str, Function] = {
    "prod": lambda v: np.prod(np.tanh(v), axis=-1),
    "cumprod": lambda v: np.cumprod(np.tanh(v), axis=0),
    "var": lambda v: np.var(v, axis=0),
    "std": lambda v: np.std(np.concatenate([np.ravel(v), [1.0, -2.0]])),
    "logsumexp": lambda v: rules["logsumexp"](v, axis=-1),
    "softmax": lambda v: rules["softmax"](v, axis=-1),
    "log_softmax": lambda v: rules["log_softmax"](v, axis=-1),
    "norm": lambda v: np.linalg.norm(np.concatenate([np.ravel(v), [1.0]])),
}
PRODUCTS: dict[str, Function] = {
    "matmul": lambda a, b: square(a) @ square(b),
    "matvec": lambda a, b: square(a) @ line(b),
    "dot": lambda a, b: np.dot(line(a), line(b)),
    "outer": lambda a, b: np.outer(line(a), line(b)),
    "inner": lambda a, b: np.inner(square(a), line(b)),
    "tensordot": lambda a, b: np.tensordot(square(a), square(b), ([0], [1])),
    "einsum": lambda a, b: np.einsum("ij,kj->ki", square(a), square(b)),
    "trace": lambda a, b: np.einsum("ii,j->j", square(a), line(b)),
    "vdot": lambda a, b: np.vdot(square(a), square(b)),
    "kron": lambda a, b: np.kron(line(a), line(b)),
    "solve": lambda a, b: np.linalg.solve(square(np.tanh(a)) + 5 * np.eye(3), line(b)),
}


def square(v: Any) -> Any:
    return np.resize(v, (3, 3))


def line(v: Any) -> Any:
    return np.resize(v, 3)


def within(v: Any, low: float, high: float) -> Any:
    """Bring any values into an interval, smoothly."""
    return (low + high) / 2 + 0.45 * (high - low) * np.tanh(v)


def row(operation: Rule, *values: Any) -> Any:
    """A row of the table, on values brought into its domain and, where shapes do not fit, to their means."""
    try:
        np.broadcast_shapes(*(v.shape for v in values))
    except ValueError:
        values = (values[0], *(np.mean(v) for v in values[1:]))
    inside = [within(v, low, high) for v, (low, high) in zip(values, operation.domain, strict=True)]
    return function(operation)(*inside)


NUMBERS = st.integers(0, 99)


class Expressions(RuleBasedStateMachine):
    """Grows a program; its derivatives are checked when it has grown."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Function, tuple[int, ...]]] = []

    @rule(i=NUMBERS, j=NUMBERS, k=NUMBERS, number=NUMBERS)
    def elementwise(self, i: int, j: int, k: int, number: int) -> None:
        operation = SMOOTH[number % len(SMOOTH)]
        self.steps.append((lambda *vs: row(operation, *vs), (i, j, k)[: len(operation.partials)]))

    @rule(i=NUMBERS, operation=st.sampled_from(sorted(LINEAR)))
    def linear(self, i: int, operation: str) -> None:
        self.steps.append((lambda v: LINEAR[operation](np.atleast_1d(v)), (i,)))

    @rule(i=NUMBERS, operation=st.sampled_from(sorted(REDUCTIONS)))
    def reduction(self, i: int, operation: str) -> None:
        self.steps.append((lambda v: REDUCTIONS[operation](np.atleast_1d(v)), (i,)))

    @rule(i=NUMBERS, j=NUMBERS, operation=st.sampled_from(sorted(PRODUCTS)))
    def product(self, i: int, j: int, operation: str) -> None:
        self.steps.append((PRODUCTS[operation], (i, j)))

    @rule(i=NUMBERS, operation=st.sampled_from(["+", "-", "*", "/", "**"]), j=NUMBERS)
    def operator(self, i: int, operation: str, j: int) -> None:
        def apply(a: Any, b: Any) -> Any:
            a, b = within(a, 0.5, 1.5), np.mean(within(b, 0.5, 1.5))
            return {"+": a + b, "-": a - b, "*": a * b, "/": a / b, "**": a**b}[operation]

        self.steps.append((apply, (i, j)))

    def run(self, x: Any) -> Any:
        """The program: a number, from a vector."""
        values = [x, 0.5 * x[:2] - 0.2]
        for operation, operands in self.steps:
            y = operation(*(values[-1 - i % len(values)] for i in operands))
            values.append(y if y.size <= 40 else np.ravel(y)[:20])
        return sum(np.mean(np.tanh(v)) for v in values[-3:]) + np.mean(np.tanh(values[0]))

    def teardown(self) -> None:
        f = self.run
        x, v = spaced((4,), "point"), spaced((4,), "direction")
        value, gradient = cr.value_and_grad(f)(x)
        assert value == f(x)
        leaf = cr.Tensor(x)
        f(leaf).backward()
        np.testing.assert_array_equal(leaf.grad, gradient)
        np.testing.assert_array_equal(cr.grad(f)(x), gradient)
        slope = cr.jvp(f, (x,), (v,))[1]
        scale = 1 + float(np.max(np.abs(gradient)))
        np.testing.assert_allclose(slope, np.sum(gradient * v), rtol=1e-9, atol=1e-11 * scale)
        np.testing.assert_allclose(slope, difference(f, [x], 0, v, 1e-4), rtol=1e-5, atol=1e-7 * scale)
        reverse_over_reverse = cr.grad(lambda x: np.sum(cr.grad(f)(x) * v))(x)
        scale = 1 + float(np.max(np.abs(reverse_over_reverse)))
        for other in (
            cr.jvp(cr.grad(f), (x,), (v,))[1],
            cr.grad(lambda x: cr.jvp(f, (x,), (v,))[1])(x),
        ):
            np.testing.assert_allclose(other, reverse_over_reverse, rtol=1e-8, atol=1e-10 * scale)
        curvature = cr.jvp(lambda x: cr.jvp(f, (x,), (v,))[1], (x,), (v,))[1]
        np.testing.assert_allclose(curvature, np.sum(reverse_over_reverse * v), rtol=1e-8, atol=1e-10 * scale)
        along = difference(cr.grad(f), [x], 0, v, 1e-4)
        np.testing.assert_allclose(reverse_over_reverse, along, rtol=1e-5, atol=1e-6 * scale)


class TestExpressions(Expressions.TestCase):
    settings = settings(max_examples=60, stateful_step_count=12, derandomize=True, deadline=None, database=None)
