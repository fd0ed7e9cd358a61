"""Sparse derivatives: patterns never miss an entry, colourings hold by definition, values are those of dense ones."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import test_generated as generated
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracle import close, parts, seeded, spaced

import chainrule as cr
from chainrule.colouring import columns_coloured, star_coloured
from chainrule.rules import rules
from chainrule.rules.reach import bending


# -- dense references ------------------------------------------------------------------------------------------------
def dense_jacobian(f, x):
    """One jvp per element."""
    units = np.eye(x.size).reshape(x.size, *x.shape).astype(x.dtype)
    return np.stack([np.ravel(cr.jvp(f, (x,), (unit[()],))[1]) for unit in units], 1)


def dense_hessian(f, x):
    return dense_jacobian(cr.grad(f), x)


def points(shape, count=3, seed=0):
    """Random points; in another region each, so that selections and branches differ."""
    rng = seeded(seed, shape)
    return [rng.normal(size=shape) * scale + shift for scale, shift in ((0.5, 1.0), (1.0, 0.0), (0.3, -1.0))[:count]]


def jacobian_of_pattern(plan):
    return plan.pattern().toarray()


def nonzero_somewhere(dense, f, xs):
    with np.errstate(all="ignore"):
        return np.any([np.nan_to_num(dense(f, x), nan=1.0) != 0 for x in xs], axis=0)


def check_colouring(plan):
    """By definition: what the columns (rows) of a colour show together can be told apart."""
    pattern = plan.pattern().toarray()
    if plan.mode == "symmetric":
        assert np.array_equal(pattern, pattern.T)
        for i, j in zip(*np.nonzero(pattern), strict=True):
            same_i = np.sum(pattern[i] & (plan.colours == plan.colours[j]))
            same_j = np.sum(pattern[j] & (plan.colours == plan.colours[i]))
            assert min(same_i, same_j) == 1
        return
    lines = pattern if plan.mode == "columns" else pattern.T
    for colour in range(plan.sweeps):
        assert lines[:, plan.colours == colour].sum(1).max(initial=0) <= 1


def check_jacobian(f, shape, exact=False, seed=0):
    xs = points(shape, seed=seed)
    plan = cr.sparsity(f, xs[0])
    found, truth = jacobian_of_pattern(plan), nonzero_somewhere(dense_jacobian, f, xs)
    assert found.shape == truth.shape == plan.shape
    assert not np.any(truth & ~found), "the pattern misses an entry"
    if exact:
        assert np.array_equal(found, truth)
    check_colouring(plan)
    for x in xs:
        close(cr.sparse_jacobian(f, plan)(x).toarray(), dense_jacobian(f, x), 1e-12)
    return plan


def check_hessian(f, shape, exact=False, seed=0):
    xs = points(shape, seed=seed)
    plan = cr.sparsity(f, xs[0], order=2)
    found, truth = jacobian_of_pattern(plan), nonzero_somewhere(dense_hessian, f, xs)
    assert found.shape == truth.shape == plan.shape
    assert not np.any(truth & ~found), "the pattern misses an entry"
    if exact:
        assert np.array_equal(found, truth)
    check_colouring(plan)
    for x in xs:
        hessian = cr.sparse_hessian(f, plan)(x).toarray()
        close(hessian, dense_hessian(f, x), 1e-11)
        assert np.array_equal(hessian, hessian.T)
    return plan


# -- exact patterns ----------------------------------------------------------------------------------------------------
BANDED = np.triu(np.tril(spaced((6, 6), "banded"), 1), -1)
ROW_STARTS = np.array([0, 2, 3])


def filled(x):
    y = np.zeros_like(x)
    y[1:4] = x[:3] ** 2
    y[[0, 5]] = x[4]
    y[1] += x[5]
    return y


def through_views(x):
    y = x * 1.0
    y.reshape(2, 3).T[1] *= x[:2]
    return y[::-1]


EXACT = {
    "elementwise": lambda x: np.sin(x) * np.exp(-x) + x**2,
    "broadcast": lambda x: x[:, None] * x[None, :3],
    "getitem": lambda x: x[[4, 1, 1]],
    "slices": lambda x: x[1:] - x[:-1],
    "diff": lambda x: np.diff(x, 2),
    "reshape, transpose": lambda x: x.reshape(2, 3).T * 2.0,
    "roll": lambda x: np.roll(x, 2) + x,
    "flip, repeat": lambda x: np.repeat(x[::-1], 2),
    "concatenate": lambda x: np.concatenate([x[2:], np.ones(2), x[:1] ** 2]),
    "pad": lambda x: np.pad(x, 2),
    "tile": lambda x: np.tile(x, 2),
    "take": lambda x: np.take(x, [[0, 5], [2, 2]]),
    "diag": np.diag,
    "triangle": lambda x: np.tril(x.reshape(2, 3)),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 3).sum(1),
    "cumsum": np.cumsum,
    "cumprod": lambda x: np.cumprod(x.reshape(2, 3), axis=1),
    "sum of an axis": lambda x: x.reshape(2, 3).sum(0) ** 2,
    "mean keeps axes": lambda x: x.reshape(2, 3) - x.reshape(2, 3).mean(1, keepdims=True),
    "var": lambda x: np.var(x.reshape(3, 2), axis=1),
    "prod": lambda x: np.prod(x.reshape(3, 2), axis=1),
    "norm": lambda x: np.linalg.norm(x.reshape(3, 2), axis=1),
    "logsumexp": lambda x: np.logaddexp.reduce(x.reshape(3, 2), axis=1),
    "softmax": lambda x: rules["softmax"](x.reshape(3, 2), axis=0),
    "reduceat": lambda x: np.add.reduceat(x, ROW_STARTS),
    "matmul with a banded constant": lambda x: BANDED @ x,
    "matmul from the right": lambda x: x.reshape(1, 6) @ BANDED,
    "dot": lambda x: np.dot(BANDED, x.reshape(6, 1)),
    "einsum with a banded constant": lambda x: np.einsum("ij,j->i", BANDED, x),
    "einsum of a diagonal": lambda x: np.einsum("ii->i", x[:4].reshape(2, 2)),
    "outer": lambda x: np.outer(x[:2], x[2:]),
    "kron": lambda x: np.kron(x[:2], x[2:]),
    "batched matmul": lambda x: x.reshape(3, 1, 2) @ x.reshape(3, 2, 1),
    "vecdot": lambda x: np.einsum("...i,...i->...", x.reshape(3, 2), x.reshape(3, 2)[::-1]),
    "tensordot": lambda x: np.tensordot(x.reshape(2, 3), BANDED[:3, :2], ([1], [0])),
    "inner": lambda x: np.inner(x.reshape(3, 2), BANDED[:2, :2]),
    "convolve": lambda x: np.convolve(x, [1.0, 0.0, -1.0], "same"),
    "convolve with more than x": lambda x: np.convolve(x, np.arange(8.0), "valid"),
    "correlate": lambda x: np.correlate(x, [1.0, 2.0, 0.0], "same"),
    "correlate with more than x": lambda x: np.correlate(x, np.arange(8.0), "same"),
    "correlate with itself": lambda x: np.correlate(x[:4], x[4:], "full"),
    "mask": lambda x: x * np.array([1.0, 0.0, 2.0, 0.0, 0.0, 1.0]),
    "constant condition": lambda x: np.where(np.arange(6) % 2 == 0, x, x[::-1] ** 2),
    "steps": lambda x: np.floor(x) + np.sign(x) * 2.0 + x[0] * 0 + 2.0,
    "nothing": lambda x: np.ones(3),
    "written": filled,
    "written through views": through_views,
    "stack of inverses": lambda x: np.linalg.inv(np.stack([x[:4], x[2:]]).reshape(2, 2, 2) + 3 * np.eye(2)),
    "clip": lambda x: np.clip(x, -9, 9),
    "containers": lambda x: {"a": x[0] * x[1], "b": (np.sum(x[2:]), None)},
    "scatter": lambda x: rules["scatter"](x, shape=(3,), index=np.array([0, 0, 2, 2, 1, 0])),
    "add.at": lambda x: added_at(x),
    "bincount": lambda x: np.bincount([0, 1, 1, 3, 0, 3], weights=x) ** 2,
    "histogram": lambda x: np.histogram([0.1, 0.2, 0.7, 0.9, 0.3, 0.1], 3, (0, 1), weights=x)[0] ** 2,
    "interp in a table": lambda x: np.interp(x, [-9.0, 0.0, 9.0], [1.0, 2.0, -1.0]),
    "traced condition": lambda x: np.where(x > 0, x, -2 * x),
}


def added_at(x):
    y = np.zeros_like(x)
    np.add.at(y, [1, 1, 3], x[:3])
    return y


def leaves_of(f):
    """Containers of results as one array: what the dense reference differentiates."""

    def flat(x):
        result = f(x)
        if isinstance(result, dict):
            return np.stack([result["a"], result["b"][0]])
        return result

    return flat


@pytest.mark.parametrize("name", EXACT)
def test_jacobian_patterns_are_exact(name):
    f = EXACT[name]
    if name == "containers":
        plan = cr.sparsity(f, np.ones(6))
        assert np.array_equal(plan.pattern().toarray(), cr.sparsity(leaves_of(f), np.ones(6)).pattern().toarray())
        close(cr.sparse_jacobian(f)(np.arange(6.0)).toarray(), dense_jacobian(leaves_of(f), np.arange(6.0)))
    else:
        check_jacobian(f, (6,), exact=True, seed=name)


HESSIANS = {
    "separable": lambda x: np.sum(np.exp(x) + x**3),
    "linear": lambda x: np.sum(BANDED @ x) + 3.0 * x[0] - np.mean(x) + np.max(x),
    "products of neighbours": lambda x: np.sum(x[1:] * x[:-1]),
    "only what reaches the result": lambda x: (x**3)[2] + np.sum((x[:3] * x[3:])[:1]),
    "least squares": lambda x: np.sum((x[1:] - x[:-1]) ** 2),
    "residuals times themselves": lambda x: np.dot(np.diff(x), np.diff(x)),
    "quadratic form": lambda x: x @ (BANDED @ x),
    "bilinear form": lambda x: np.einsum("i,ij,j->", x[:3], BANDED[:3, :3], x[3:]),
    "trilinear": lambda x: np.einsum("i,i,i->", x[:2], x[2:4], x[4:]),
    "matmul": lambda x: np.sum(x[:4].reshape(2, 2) @ x[2:].reshape(2, 2)),
    "quotient": lambda x: np.sum(x[:3] / (x[3:] ** 2 + 1)),
    "power": lambda x: np.sum((x[:3] ** 2 + 1) ** x[3:]),
    "norms": lambda x: np.sum(np.linalg.norm(x.reshape(3, 2), axis=1)),
    "logsumexp": lambda x: np.sum(np.logaddexp(x[:3], x[3:])),
    "dense": lambda x: np.sum(x) ** 2,
    "log of a sum": lambda x: np.log(np.sum(np.exp(x[:2]))) + np.sum(x[2:] ** 4),
    "variance": lambda x: np.sum(np.var(x.reshape(3, 2), axis=1)),
    "prod": lambda x: np.prod(x.reshape(2, 3), axis=1).sum(),
    "bincount": lambda x: np.sum(np.bincount([0, 1, 1, 3, 0, 3], weights=x) ** 2),
    "linear solve": lambda x: np.sum(np.linalg.solve(BANDED + 4 * np.eye(6), x) * np.arange(6.0)),
    "convolution with a constant": lambda x: np.sum(np.convolve(x, [1.0, -2.0, 1.0], "valid") ** 2),
    "convolution": lambda x: np.sum(np.convolve(x[:4], x[4:], "valid")),
    "maximum": lambda x: np.sum(np.maximum(x[:3], x[3:])),
    "clip, abs, floor": lambda x: np.sum(np.clip(x, -1, 1) + np.abs(x) + np.floor(x) * 2),
    "sort is linear": lambda x: np.sum(np.sort(x) * np.arange(6.0)),
    "written": lambda x: np.sum(filled(x)),
    "cumsum": lambda x: np.sum(np.cumsum(x[:3])) + np.sum(x[3:] ** 3),
    "interp": lambda x: np.sum(np.interp(x[:2], [-9.0, -1.0, 0.5, 9.0], x[2:]) ** 2),
    "batched determinants": lambda x: np.sum(np.linalg.det(np.stack([x[:4], x[2:]]).reshape(2, 2, 2))),
    "complex inside": lambda x: np.sum(np.abs(np.exp(1j * x[:3]) + x[3:]) ** 2),
}
CONSERVATIVE = {
    "linear solve", "batched determinants",
    "prod",  # its diagonal is zero
    "norms", "logsumexp", "interp",
}  # fmt: skip


@pytest.mark.parametrize("name", HESSIANS)
def test_hessian_patterns(name):
    check_hessian(HESSIANS[name], (6,), exact=name not in CONSERVATIVE, seed=name)


def test_hessian_patterns_that_say_too_much_say_no_more_than_their_group():
    assert cr.sparsity(HESSIANS["linear solve"], np.ones(6), order=2).nnz == 0
    assert cr.sparsity(HESSIANS["prod"], np.ones(6), order=2).nnz == 18
    assert cr.sparsity(HESSIANS["norms"], np.ones(6), order=2).nnz == 12


CONSERVATIVE_JACOBIANS = {
    "sort": lambda x: np.sort(x.reshape(2, 3), axis=1),
    "max": lambda x: np.max(x.reshape(2, 3), axis=0),
    "median": lambda x: np.median(x.reshape(2, 3), axis=1),
    "quantile": lambda x: np.quantile(x, [0.2, 0.9]),
    "fft": lambda x: np.real(np.fft.fft(x.reshape(2, 3), axis=1)),
    "solve": lambda x: np.linalg.solve(BANDED + 4 * np.eye(6), x),
    "stack of solves": lambda x: np.linalg.solve(BANDED[None, :3, :3] + 4 * np.eye(3), x.reshape(2, 3, 1)),
    "eigenvalues": lambda x: np.linalg.eigvalsh(np.stack([x[:4], x[2:]]).reshape(2, 2, 2)),
    "svd": lambda x: np.linalg.svd(x.reshape(2, 3))[1],
    "interp": lambda x: np.interp(x[:3], [-2.0, 0.0, 1.0, 3.0], np.concatenate([x[2:], x[:0]])),
    "unwrap": lambda x: np.unwrap(x * 3),
    "sinc": np.sinc,
    "choose": lambda x: np.choose(np.array([0, 1, 0]), [x[:3], x[3:]]),
    "select": lambda x: np.select([x > 1, x > 0], [x, x[::-1]], 0.5 * x),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(x), 0),
    "complex": lambda x: np.abs(x[:3] + 1j * x[3:]),
    "piecewise": lambda x: np.piecewise(x, [x < 0, x > 1], [np.square, lambda t: t[::-1], 2.0]),
    "polyval": lambda x: np.polyval(x[:3], x[3:]),
    "ufunc with where": lambda x: np.multiply(x, x[::-1], where=np.arange(6) > 2, out=x * 1.0),
    "loops": lambda x: np.stack([x[i] * x[i - 1] for i in range(6)]),
    "python numbers": lambda x: np.array([x[0] * 2, 1.0, x[1] + x[2]]),
    "a branch": lambda x: x * x if x[0] > 0 else np.sum(x) * x,
}


@pytest.mark.parametrize("name", CONSERVATIVE_JACOBIANS)
def test_jacobian_patterns_miss_nothing(name):
    f = CONSERVATIVE_JACOBIANS[name]
    for x in points((6,), seed=name):
        found = cr.sparsity(f, x).pattern().toarray()
        assert not np.any((dense_jacobian(f, x) != 0) & ~found)
        close(cr.sparse_jacobian(f)(x).toarray(), dense_jacobian(f, x), 1e-12)


def test_which_operands_bend():
    assert bending(rules["add"]) == bending(rules["maximum"]) == bending(rules["remainder"]) == frozenset()
    assert bending(rules["clip"]) == bending(rules["absolute"]) == bending(rules["copysign"]) == frozenset()
    assert bending(rules["multiply"]) == {(0, 1), (1, 0)}
    assert bending(rules["divide"]) == {(0, 1), (1, 0), (1, 1)}
    assert bending(rules["exp"]) == bending(rules["tanh"]) == bending(rules["square"]) == {(0, 0)}
    assert bending(rules["hypot"]) == {(0, 0), (0, 1), (1, 0), (1, 1)}


# Those with `by` are for exponents that are constants: they say nothing about the derivative in these.
ELEMENTWISE = [
    rule for rule in rules.values() if rule.partials and None not in rule.partials and "_by_" not in rule.name
]


@pytest.mark.parametrize("rule", ELEMENTWISE, ids=lambda rule: rule.name)
def test_what_does_not_bend_has_no_second_derivative(rule):
    """Against differences of first derivatives, at a point inside the domain where the function is smooth."""
    point = np.array([low + 0.37 * (high - low) for low, high in rule.domain])

    def slope(x):
        value, pullback = cr.vjp(rule, *x)
        return np.array(pullback(np.ones_like(value)))

    step = 1e-3
    for j, unit in enumerate(np.eye(len(point)) * step):
        if point[j] == np.floor(point[j]):  # of a distribution on the integers: a step, where it has no derivative
            continue
        change = (slope(point + unit) - slope(point - unit)) / step
        for i, bend in enumerate(change):
            if (i, j) not in bending(rule):
                assert abs(bend) < 1e-6, f"second derivative {bend} in operands {i}, {j}"


# -- programs that Hypothesis draws -----------------------------------------------------------------------------------
UNARY = [
    np.sin, np.square, np.negative, np.abs, lambda x: x[::-1], lambda x: np.roll(x, 1), lambda x: x * 0.5,
    lambda x: np.concatenate([x[2:], x[:2]]), lambda x: np.where(x > 0, x, 0.1 * x), lambda x: x - x[0],
    lambda x: BANDED @ x, lambda x: np.cumsum(x) * 0.1, lambda x: x.reshape(2, 3).sum(0)[[0, 1, 2, 0, 1, 2]],
    lambda x: np.sort(x.reshape(3, 2), 1).ravel(), lambda x: x * np.array([0.0, 1, 0, 1, 1, 0]),
    lambda x: np.convolve(x, [1.0, 0.5], "same"), lambda x: np.tanh(x) * np.max(x[:2]), lambda x: np.zeros_like(x),
]  # fmt: skip
BINARY = [
    np.add, np.multiply, np.maximum, np.hypot, np.arctan2, lambda a, b: a / (b * b + 1),
    lambda a, b: np.where(a > b, a, b * 2), lambda a, b: np.outer(a[:2], b[:3]).ravel(),
    lambda a, b: (a.reshape(2, 3) @ b.reshape(3, 2)).ravel()[[0, 1, 2, 3, 0, 1]],
    lambda a, b: written_over(a, b), lambda a, b: a * (b @ b) * 0.1,
]  # fmt: skip


def written_over(a, b):
    y = a * 1.0
    y[2:5] = b[:3]
    y[:1] += b[4]
    return y


@st.composite
def programs(draw):
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6
        )
    )

    def f(x):
        values = [x]
        for operation, i, j in steps:
            operands = [values[i % len(values)], values[j % len(values)]]
            values.append(operation(*operands[: 2 if operation in BINARY else 1]))
        return values[-1]

    return f


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(programs())
def test_drawn_programs(f):
    for x in points((6,), count=2):
        found = cr.sparsity(f, x).pattern().toarray()
        assert not np.any((dense_jacobian(f, x) != 0) & ~found)
        close(cr.sparse_jacobian(f)(x).toarray(), dense_jacobian(f, x), 1e-10)

        def total(x):
            return np.sum(f(x) * np.arange(1.0, 7.0))

        plan = cr.sparsity(total, x, order=2)
        check_colouring(plan)
        truth = dense_hessian(total, x)
        assert not np.any((np.abs(truth) > 1e-9 * np.abs(truth).max(initial=1)) & ~plan.pattern().toarray())
        close(cr.sparse_hessian(total, plan)(x).toarray(), truth, 1e-9)


# -- calls that Hypothesis draws ---------------------------------------------------------------------------------------
def units(args):
    """Every direction along one element of one argument."""
    for i, arg in enumerate(args):
        for index in np.ndindex(arg.shape):
            found = [np.zeros_like(each) for each in args]
            found[i][index] = 1
            yield [each[()] for each in found]


def flat(tree):
    return np.concatenate([np.ravel(each) for each in tree]) if len(tree) else np.zeros(0)


def check_call(call):
    """The patterns of a call, in all its arguments together, miss nothing, and the values are those of dense ones."""
    args = [np.array(np.real(arg), float, order="C") for arg in call.args]
    assume(0 < sum(arg.size for arg in args) <= 48)

    def f(xs):
        return [part for part in parts(call.function(*xs)) if part.dtype.kind in "fc"]

    def weighted(xs):
        results = f(xs)
        weights = [spaced(np.shape(result), ("weights", i)) for i, result in enumerate(results)]
        return sum((np.sum(np.real(result) * w) for result, w in zip(results, weights, strict=True)), xs[0].sum() * 0)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            results = f(args)
        except (ValueError, TypeError, IndexError):
            assume(False)
        assume(results and all(np.all(np.isfinite(result)) and result.dtype.kind == "f" for result in results))
        dense = np.stack([flat(cr.jvp(f, (args,), (unit,))[1]) for unit in units(args)], 1)
        plan = cr.sparsity(f, args)
        assert not np.any((np.abs(dense) > 1e-12) & ~plan.pattern().toarray())
        np.testing.assert_allclose(cr.sparse_jacobian(f, plan)(args).toarray(), dense, rtol=1e-9, atol=1e-9)
        if dense.shape[1] > 16:
            return
        dense = np.stack([flat(cr.jvp(cr.grad(weighted), (args,), (unit,))[1]) for unit in units(args)], 1)
        plan = cr.sparsity(weighted, args, order=2)
        assert not np.any((np.abs(dense) > 1e-8) & ~plan.pattern().toarray())
        scale = max(1.0, float(np.max(np.abs(dense))))
        found = cr.sparse_hessian(weighted, plan)(args).toarray()
        np.testing.assert_allclose(found, dense, rtol=1e-6, atol=1e-8 * scale)


CALLS = {
    "elementwise": generated.rows_at_smooth_points(),
    "reductions": generated.reductions(),
    "shapes": generated.reshapings(),
    "joining": generated.joinings(),
    "splitting": generated.splittings(),
    "reading": generated.readings(),
    "writing": generated.writings(),
    "products": generated.products(),
    "along an axis": generated.along_an_axis(),
    "selections": generated.selections(),
}


@pytest.mark.parametrize("kind", CALLS)
def test_patterns_of_drawn_calls(kind):
    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(CALLS[kind])
    def check(call):
        check_call(call)

    check()


# -- colourings ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(20))
def test_colourings_of_random_patterns(seed):
    rng = seeded("colouring", seed)
    m, n = rng.integers(1, 30, 2)
    pattern = rng.random((m, n)) < rng.choice([0.05, 0.15, 0.4])
    rows, columns = np.nonzero(pattern)
    colours = columns_coloured(rows, columns, (m, n))
    for row in pattern:
        assert len(set(colours[row])) == row.sum()
    square = rng.random((n, n)) < rng.choice([0.05, 0.15, 0.4])
    square |= square.T
    colours = star_coloured(*np.nonzero(square), n)
    graph = square & ~np.eye(n, dtype=bool)
    for i, j in zip(*np.nonzero(graph), strict=True):
        assert colours[i] != colours[j]
        for k in np.flatnonzero(graph[j]):  # no path i j k l with two colours
            if k != i and colours[k] == colours[i]:
                assert not any(colours[end] == colours[j] for end in np.flatnonzero(graph[k]) if end != j)


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ((12, 3), (50, 5_000)),
        ((9, 6), (3_000, 3_000)),
        ((5, 5, 5), (1_000, 1_000, 1_000)),
        ((9, 3, 3), (50, 5_000, 5_000)),
        ((5, 5, 5), (10_000, 10_000, 10_000)),
        ((3, 3, 3, 3, 3), (500, 500, 500, 500, 500)),
        ((3, 3, 3, 3, 3), (3_000, 3_000, 3_000, 3_000, 3_000)),
        ((1,) * 15, (100,) * 15),
    ],
)
def test_observations_of_15_columns_in_any_order_take_15_colours(sizes, counts):
    """Two rows an observation of one thing of each kind; rows and columns are permuted."""
    rng, observations = seeded("observations", sizes), 30_000
    starts = np.cumsum([0, *(size * count for size, count in zip(sizes, counts, strict=True))])
    touched = [
        start + size * rng.integers(0, count, (observations, 1)) + np.arange(size)
        for start, size, count in zip(starts, sizes, counts, strict=False)
    ]
    columns = rng.permutation(starts[-1])[np.repeat(np.concatenate(touched, 1)[rng.permutation(observations)], 2, 0)]
    rows = np.repeat(np.arange(2 * observations), 15)
    colours = columns_coloured(rows, columns.ravel(), (2 * observations, starts[-1]))
    assert colours.max() < 15
    assert len(np.unique(rows * 15 + colours[columns.ravel()])) == len(rows)


def neighbours_on_a_grid(shape, steps):
    """Pairs of points of a grid that are such a step apart, and each with itself; in random order."""
    at = np.indices(shape).reshape(len(shape), -1)
    numbers = seeded("grid", shape).permutation(at.shape[1]).reshape(shape)
    pairs = [(numbers.ravel(), numbers.ravel())]
    for step in steps:
        to = at + np.array(step)[:, None]
        inside = np.all((to >= 0) & (to < np.array(shape)[:, None]), axis=0)
        pairs.append((numbers[tuple(at[:, inside])], numbers[tuple(to[:, inside])]))
    return *(np.concatenate(each) for each in zip(*pairs, strict=True)), numbers.size


CROSS = [(1, 0), (-1, 0), (0, 1), (0, -1)]
SPACE = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]


@pytest.mark.parametrize(
    ("shape", "steps", "columns_take", "star_takes"),
    [
        ((2_000,), [(1,), (-1,)], 3, 3),
        ((2_000,), [(i,) for i in range(-5, 6) if i], 11, 11),
        ((60, 60), CROSS, 5, 7),
        ((60, 60), [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j], 9, 12),
        ((15, 15, 15), SPACE, 12, 12),
    ],
)
def test_colours_of_bands_and_grids(shape, steps, columns_take, star_takes):
    """Bands and planes reach the entries of a row, below which no colouring of columns can be."""
    rows, columns, size = neighbours_on_a_grid(shape, steps)
    assert columns_coloured(rows, columns, (size, size)).max() + 1 <= columns_take
    assert star_coloured(rows, columns, size).max() + 1 <= star_takes


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_every_drawn_pattern_is_recovered(data):
    """The matrix comes back bit for bit from few products: by columns, by rows, and from a symmetric one's stars."""
    m, n = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    entries = st.integers(-3, 3).map(lambda k: max(k, 0))
    matrix = np.array(data.draw(st.lists(entries, min_size=m * n, max_size=m * n)), float).reshape(m, n)
    plan = cr.sparsity(lambda x: matrix @ x, np.ones(n))
    assert np.array_equal(plan.pattern().toarray(), matrix != 0)
    assert plan.sweeps <= min(m, n)
    assert np.array_equal(cr.sparse_jacobian(lambda x: matrix @ x, plan)(np.ones(n)).toarray(), matrix)
    symmetric = matrix[: min(m, n), : min(m, n)]
    symmetric = symmetric + symmetric.T

    def form(x):
        return x @ (symmetric @ x) / 2

    plan = cr.sparsity(form, np.ones(len(symmetric)), order=2)
    assert np.array_equal(plan.pattern().toarray(), symmetric != 0)
    check_colouring(plan)
    assert np.array_equal(cr.sparse_hessian(form, plan)(np.ones(len(symmetric))).toarray(), symmetric)


def test_a_star_colouring_of_a_path_needs_three_colours_and_of_a_star_two():
    i = np.arange(999)
    assert star_coloured(np.r_[i, i + 1], np.r_[i + 1, i], 1000).max() == 2
    hub = np.zeros(999, int)
    assert star_coloured(np.r_[hub, i + 1], np.r_[i + 1, hub], 1000).max() == 1


def test_a_star_colouring_is_better_than_one_of_the_columns():
    i = np.arange(1000)
    rows, columns = np.r_[i, i[:-1], i[1:]], np.r_[i, i[1:], i[:-1]]
    arrow = np.r_[i, np.zeros(999, int), i[1:]], np.r_[i, i[1:], np.zeros(999, int)]
    assert columns_coloured(*arrow, (1000, 1000)).max() + 1 == 1000
    assert star_coloured(*arrow, 1000).max() + 1 == 2
    assert columns_coloured(rows, columns, (1000, 1000)).max() + 1 == 3


def test_jacobians_go_by_row_or_by_column_whichever_takes_fewer_sweeps():
    wide = cr.sparsity(lambda x: np.concatenate([[np.sum(x)], [x[0]]]), np.ones(50))
    assert (wide.mode, wide.sweeps) == ("rows", 2)
    tall = cr.sparsity(lambda x: np.concatenate([x[0] * np.ones(50), x[1:]]), np.ones(3))
    assert (tall.mode, tall.sweeps) == ("columns", 1)


# -- classical problems ----------------------------------------------------------------------------------------------
def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def broyden_tridiagonal(x):
    padded = np.pad(x, 1)
    return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1


def brown_almost_linear(x):
    n = len(x)
    return np.concatenate([x[:-1] + np.sum(x) - (n + 1), [np.prod(x) - 1]])


def arrowhead(x):
    return np.sum((x[0] * x[1:]) ** 2) + np.sum(np.cos(x))


def bratu(u):
    """The 2-D Laplacian by five points, and an exponential."""
    p = np.pad(u, 1)
    return 4 * u - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2] - 0.3 * np.exp(u)


def bratu_energy(u):
    p = np.pad(u, 1)
    return np.sum(np.diff(p, axis=0) ** 2) / 2 + np.sum(np.diff(p, axis=1) ** 2) / 2 - 0.3 * np.sum(np.exp(u))


def blocks(x):
    return np.sum(np.prod(x.reshape(-1, 3), axis=1) ** 2 + np.exp(x.reshape(-1, 3)).sum(1) ** 2)


@pytest.mark.parametrize(
    ("f", "shape", "nnz", "sweeps"),
    [(broyden_tridiagonal, (30,), 88, 3), (brown_almost_linear, (8,), 64, 8), (bratu, (6, 7), 184, 5)],
)
def test_classical_systems(f, shape, nnz, sweeps):
    plan = check_jacobian(f, shape, exact=True)
    assert plan.nnz == nnz
    assert plan.sweeps <= sweeps


@pytest.mark.parametrize(
    ("f", "shape", "nnz", "sweeps"),
    [
        (rosenbrock, (30,), 88, 3),
        (arrowhead, (30,), 88, 2),
        (bratu_energy, (6, 7), 184, 7),
        (blocks, (12,), 36, 3),
    ],
)
def test_classical_objectives(f, shape, nnz, sweeps):
    plan = check_hessian(f, shape, exact=True)
    assert plan.nnz == nnz
    assert plan.sweeps <= sweeps


def test_a_tridiagonal_hessian_of_100000_variables():
    n = 100_000
    x = seeded("rosenbrock").normal(size=n)
    plan = cr.sparsity(rosenbrock, x, order=2)
    assert repr(plan) == ("SparsityPlan(Hessian, shape=(100000, 100000), nnz=299998, mode='symmetric', sweeps=3)")
    hessian = cr.sparse_hessian(rosenbrock, plan)(x)
    slope = np.r_[x[1:], 0] - x**2
    diagonal = np.where(np.arange(n) < n - 1, 2 - 400 * slope + 800 * x**2, 0) + np.where(np.arange(n) > 0, 200, 0)
    np.testing.assert_allclose(hessian.diagonal(), diagonal, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(hessian.diagonal(1), -400 * x[:-1], rtol=1e-10)
    assert (hessian != hessian.T).nnz == 0


def rotated(angles, points):
    """Rodrigues' formula."""
    size = np.sqrt(np.sum(angles**2, axis=1, keepdims=True))
    axis = angles / size
    along = np.sum(axis * points, axis=1, keepdims=True)
    return points * np.cos(size) + np.cross(axis, points) * np.sin(size) + axis * along * (1 - np.cos(size))


def bundle(cameras, world, camera_of, point_of):
    """Residuals of bundle adjustment: 11 parameters of a camera, 3 of a point and a weight, for each observation."""

    def residuals(x):
        camera, point = x["cameras"][camera_of], x["points"][point_of]
        moved = rotated(camera[:, :3], point - camera[:, 3:6])
        image = moved[:, :2] / moved[:, 2:]
        radius = np.sum(image**2, axis=1, keepdims=True)
        distorted = image * (1 + camera[:, 9:10] * radius + camera[:, 10:11] * radius**2)
        return x["weights"][:, None] * (camera[:, 6:7] * distorted + camera[:, 7:9])

    rng = seeded("bundle", cameras, world)
    x = {
        "cameras": rng.normal(size=(cameras, 11)) * 0.1 + 1.0,
        "points": rng.normal(size=(world, 3)) + [0.0, 0.0, 10.0],
        "weights": rng.random(len(camera_of)) + 0.5,
    }
    return residuals, x


def test_bundle_adjustment():
    rng = seeded("observations")
    camera_of, point_of = rng.integers(0, 4, 25), rng.integers(0, 9, 25)
    f, x = bundle(4, 9, camera_of, point_of)
    plan = cr.sparsity(f, x)
    assert (plan.shape, plan.nnz) == ((50, 4 * 11 + 9 * 3 + 25), 50 * 14)  # each row reads one of the two centres
    assert plan.sweeps == 14
    check_colouring(plan)
    jacobian = cr.sparse_jacobian(f, plan)(x).toarray()
    sizes = [part.size for part in x.values()]

    def flat(z):
        parts = np.split(z, np.cumsum(sizes)[:-1])
        return f({name: part.reshape(like.shape) for (name, like), part in zip(x.items(), parts, strict=True)})

    close(jacobian, dense_jacobian(flat, np.concatenate([part.ravel() for part in x.values()])), 1e-12)


def test_bundle_adjustment_of_30000_observations_takes_14_sweeps():
    rng = seeded("many observations")
    camera_of, point_of = rng.integers(0, 50, 30_000), rng.integers(0, 5_000, 30_000)
    f, x = bundle(50, 5_000, camera_of, point_of)
    plan = cr.sparsity(f, x)
    assert plan.shape[0] == 60_000
    assert plan.nnz == 60_000 * 14
    assert plan.sweeps == 14
    jacobian = cr.sparse_jacobian(f, plan)(x)
    direction = {name: rng.normal(size=part.shape) for name, part in x.items()}
    along = cr.jvp(f, (x,), (direction,))[1]
    np.testing.assert_allclose(
        jacobian @ np.concatenate([part.ravel() for part in direction.values()]), along.ravel(), rtol=1e-9, atol=1e-9
    )


# -- plans ---------------------------------------------------------------------------------------------------------
def test_a_plan_is_used_again_at_other_values():
    plan = cr.sparsity(rosenbrock, np.zeros(20), order=2)
    hessian = cr.sparse_hessian(rosenbrock, plan)
    for x in points((20,)):
        close(hessian(x).toarray(), dense_hessian(rosenbrock, x), 1e-12)
    again = hessian(points((20,))[0])
    assert np.array_equal(again.indices, plan.columns)


def test_a_plan_for_another_branch_is_noticed():
    def f(x):
        return x[::-1] * x if x[0] > 0 else np.cumsum(x) ** 2

    plan = cr.sparsity(f, np.ones(5))
    jacobian = cr.sparse_jacobian(f, plan)
    for sign in (1, -1, 1, -1):
        x = sign * np.arange(1.0, 6.0)
        close(jacobian(x).toarray(), dense_jacobian(f, x), 1e-12)


def test_a_plan_for_another_selection_is_noticed():
    x = np.array([3.0, 1.0, 2.0, -1.0])
    functions = [
        lambda x: x[np.argsort(x.data)],
        lambda x: np.take_along_axis(x, np.argsort(x), 0) ** 2,
        lambda x: x[x > 1.5] ** 2,
        lambda x: np.where(x.data > 0, x, x[::-1]),
        lambda x: x * (x.data > 0),
        lambda x: np.stack([x[i] * x[0] for i in range(4) if x[i] > 0]),
        lambda x: x[int(np.argmax(x))] * x,
    ]
    for f in functions:
        plan = cr.sparsity(f, cr.Tensor(x).data)
        for y in (x, -x, x[::-1].copy()):
            truth = np.stack([cr.jvp(f, (y,), (unit,))[1] for unit in np.eye(4)], 1)
            close(cr.sparse_jacobian(f, plan)(y).toarray(), truth)


def test_a_plan_with_another_constant_is_noticed():
    matrix = np.eye(4)
    plan = cr.sparsity(lambda x: matrix @ x**2, np.ones(4))
    jacobian = cr.sparse_jacobian(lambda x: matrix @ x**2, plan)
    matrix[0, 3] = 5.0
    close(jacobian(np.ones(4)).toarray(), 2 * matrix)
    matrix[2] = 0.0
    close(jacobian(np.ones(4)).toarray(), 2 * matrix)


def test_plans_notice_what_changes_outside():
    now = {"shift": 1, "scale": 0.0, "mask": np.array([0.0, 1, 1, 1]), "order": np.array([0, 1, 2, 3])}

    def put(x):
        y = x * 1.0
        y[now["order"][:2]] = x[2:] ** 2
        return y

    functions = [
        put,
        lambda x: np.roll(x, now["shift"]) * x,
        lambda x: x * now["scale"] + x[::-1],
        lambda x: x ** now["scale"] + x[now["order"]],
        lambda x: np.where(now["mask"], x, x[::-1] ** 2),
        lambda x: np.einsum("i,ij->j", x, np.diag(now["mask"]) + np.outer(now["mask"], now["order"])) * x,
        lambda x: np.tril(np.outer(x, x), now["shift"]) @ np.ones(4),
        lambda x: np.convolve(x, now["mask"][:3], "same") ** 3,
    ]
    x = np.array([1.0, 2.0, 0.5, 3.0])

    def total(f):
        return lambda x: np.sum(f(x) * np.arange(1.0, 5.0))

    jacobians = [cr.sparse_jacobian(f, cr.sparsity(f, x)) for f in functions]
    hessians = [cr.sparse_hessian(total(f), cr.sparsity(total(f), x, order=2)) for f in functions]
    for change in (
        {"shift": 2},
        {"scale": 2.0},
        {"mask": np.array([1.0, 0, 3, 0])},
        {"order": np.array([3, 1, 0, 2])},
        {"shift": -1, "scale": 1.0},
    ):
        now.update(change)
        for f, jacobian, hessian in zip(functions, jacobians, hessians, strict=True):
            close(jacobian(x).toarray(), dense_jacobian(f, x), 1e-12)
            close(hessian(x).toarray(), dense_hessian(total(f), x), 1e-12)


def test_a_plan_of_another_function_is_noticed():
    plan = cr.sparsity(lambda x: x**2, np.ones(4))
    x = np.arange(1.0, 5.0)
    close(cr.sparse_jacobian(np.cumprod, plan)(x).toarray(), dense_jacobian(np.cumprod, x))


def test_many_branches():
    def f(x):
        for i in range(len(x)):
            if x[i] > 0:
                x = x * x[i]
        return x

    jacobian = cr.sparse_jacobian(f)
    for number in range(2**5):
        x = np.where(number >> np.arange(5) & 1, 2.0, -1.0)
        close(jacobian(x).toarray(), dense_jacobian(f, x))
    assert len(jacobian.plans) < 12


def test_plans_and_derivatives_are_pickled():
    x = np.linspace(0.0, 1.0, 7)
    plan = pickle.loads(pickle.dumps(cr.sparsity(rosenbrock, x, order=2)))
    hessian = pickle.loads(pickle.dumps(cr.sparse_hessian(rosenbrock, plan)))
    close(hessian(x).toarray(), dense_hessian(rosenbrock, x))
    assert len(hessian.plans) == 1


def test_operations_of_ones_own():
    bell = cr.def_partials(
        cr.primitive(lambda a, b: np.exp(-a * a) + 3 * b, name="bell_of_sparse"), "-2*a*exp(-a*a)", "3"
    )

    def f(x):
        return bell(x[1:], x[:-1])

    with registered("bell_of_sparse"):
        check_jacobian(f, (6,), exact=True)
        assert check_hessian(lambda x: np.sum(f(x)), (6,), exact=True).nnz == 5
    every_other = cr.primitive(lambda x: x[::2], name="every_other_of_sparse")
    with registered("every_other_of_sparse"):
        cr.def_linear(every_other, lambda ct, x: np.stack([ct, 0 * ct], axis=1).ravel()[: x.shape[0]])
        check_jacobian(lambda x: every_other(x) ** 2, (6,))
        assert check_hessian(lambda x: np.sum(every_other(x)), (6,)).nnz == 0

    @cr.custom_jvp
    def g(x, y):
        return x * y, np.sin(x)

    g.defjvp(lambda primals, tangents: (g(*primals), (tangents[0] * primals[1], tangents[0] * np.cos(primals[0]))))
    found = cr.sparsity(lambda x: g(x, 2.0)[1], np.ones(3))
    assert found.nnz == 9  # nobody looks into it: everything
    close(cr.sparse_jacobian(lambda x: g(x, 2.0)[1], found)(np.arange(3.0)).toarray(), np.diag(np.cos(np.arange(3.0))))


@contextmanager
def registered(name):
    try:
        yield
    finally:
        del rules[name]


def test_a_plan_for_other_shapes_or_another_order_is_refused():
    plan = cr.sparsity(broyden_tridiagonal, np.ones(5))
    with pytest.raises(cr.errors.PlanError, match=r"\(5,\).*\(6,\)"):
        cr.sparse_jacobian(broyden_tridiagonal, plan)(np.ones(6))
    with pytest.raises(cr.errors.PlanError, match="leaf"):
        cr.sparse_jacobian(broyden_tridiagonal, plan)({"x": np.ones(5)})
    with pytest.raises(cr.errors.PlanError, match="order=2"):
        cr.sparse_hessian(rosenbrock, plan)
    with pytest.raises(cr.errors.PlanError, match="order=1"):
        cr.sparse_jacobian(rosenbrock, cr.sparsity(rosenbrock, np.ones(5), order=2))
    with pytest.raises(cr.errors.PlanError, match="order=3"):
        cr.sparsity(rosenbrock, np.ones(5), order=3)


def test_without_a_plan_shapes_may_change():
    jacobian = cr.sparse_jacobian(broyden_tridiagonal)
    for n in (5, 8, 5):
        close(jacobian(np.ones(n)).toarray(), dense_jacobian(broyden_tridiagonal, np.ones(n)))


# -- dtypes, refusals ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_dtypes(dtype):
    x = spaced((8,), "dtypes", dtype=dtype)
    jacobian, hessian = cr.sparse_jacobian(broyden_tridiagonal)(x), cr.sparse_hessian(rosenbrock)(x)
    assert (jacobian.dtype, hessian.dtype) == (dtype, dtype)
    assert np.array_equal(jacobian.toarray(), dense_jacobian(broyden_tridiagonal, x))
    by_rows = cr.sparse_jacobian(lambda x: np.reshape(np.sum(x * x), (1,)))(x)
    assert by_rows.dtype == dtype
    close(hessian.toarray(), dense_hessian(rosenbrock, x), 1e-5)


def test_results_of_another_dtype():
    x = spaced((4,), "mixed", dtype=np.float32)
    assert cr.sparse_jacobian(lambda x: x.astype(np.float64) ** 2)(x).dtype == np.float64


def test_integers_are_floating():
    assert cr.sparse_jacobian(np.square)([1, 2]).toarray().tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert cr.sparse_jacobian(np.square)(3.0).toarray().tolist() == [[6.0]]
    assert cr.sparse_hessian(lambda x: x**3)(2.0).toarray().tolist() == [[12.0]]


def test_nothing_to_differentiate():
    assert cr.sparse_jacobian(lambda x: np.ones(3))(np.ones(2)).shape == (3, 2)
    assert cr.sparse_jacobian(lambda x: x)(np.ones(0)).shape == (0, 0)
    assert cr.sparse_hessian(np.sum)(np.ones(3)).nnz == 0
    assert repr(cr.sparsity(np.sum, np.ones(3), order=2)).endswith("nnz=0, mode='symmetric', sweeps=0)")


def test_zeros_on_the_pattern_are_stored():
    assert cr.sparse_jacobian(lambda x: x[1:] * x[:-1])(np.zeros(4)).nnz == 6


def test_writing_to_the_argument_reaches_nobody():
    def f(x):
        x[0] = x[1] * x[2]
        return x

    x = np.arange(1.0, 5.0)
    close(cr.sparse_jacobian(f)(x).toarray(), [[0, 3, 2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert np.array_equal(x, np.arange(1.0, 5.0))


def test_refusals():
    with pytest.raises(cr.errors.DataError, match="real and imaginary"):
        cr.sparse_jacobian(np.square)(np.ones(2) * 1j)
    with pytest.raises(cr.errors.OutputError, match="real results"):
        cr.sparse_jacobian(lambda x: x * 1j)(np.ones(2))
    with pytest.raises(cr.errors.OutputError, match=r"scalar.*\(2,\)"):
        cr.sparse_hessian(np.square)(np.ones(2))
    with pytest.raises(cr.errors.ConversionError, match=r"t\.data"):
        cr.grad(lambda x: np.sum(cr.sparse_jacobian(np.square)(x * 2).toarray()))(np.ones(2))
    with pytest.raises(cr.errors.ConversionError, match=r"t\.data"):
        cr.grad(lambda x: np.sum(cr.sparse_jacobian(np.square)({"x": x})))(np.ones(2))
    w = cr.Tensor([1.0, 2.0])
    with pytest.raises(cr.errors.ConversionError, match="no_grad"):
        cr.sparse_jacobian(lambda x: w * x)(np.ones(2))
    with cr.no_grad():
        assert cr.sparse_jacobian(lambda x: w * x)(np.ones(2)).toarray().tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_a_dense_pattern_of_many_variables_is_refused():
    with pytest.raises(cr.errors.NotSparseError, match="hvp"):
        cr.sparsity(lambda x: np.sum(x) ** 2, np.ones(100_000), order=2)
    with pytest.raises(cr.errors.NotSparseError, match="not sparse"):
        cr.sparsity(lambda x: x * np.sum(x), np.ones(100_000))


def test_plans_need_no_scipy_and_matrices_say_that_they_do():
    code = """
import sys
sys.modules["scipy"] = sys.modules["scipy.sparse"] = None
import numpy as np, chainrule as cr
plan = cr.sparsity(np.diff, np.ones(4))
assert plan.nnz == 6 and plan.sweeps == 2
try:
    cr.sparse_jacobian(np.diff, plan)(np.ones(4))
except cr.errors.MissingExtraError as error:
    assert "chainrule[scipy]" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
