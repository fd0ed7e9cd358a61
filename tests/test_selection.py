"""Functions that select elements: NumPy's value bit for bit, and derivatives that agree with differences.

The tables hold (name, function of arrays, shapes of its arguments), as in test_arrays.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from oracle import check, check_dtypes, check_out, seeded, spaced

import chainrule as cr

NAN, INF = np.nan, np.inf
MASK = np.array([True, False, True])
I23 = np.array([[0, 1, 1], [1, 0, 1]])
METHODS = [
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
]  # fmt: skip
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.0, 1.5])


def with_nan(x: Any, *places: Any) -> Any:
    """The same with NaN in some places, of which nothing depends on the elements there."""
    hole = np.zeros(np.shape(x), bool)
    for place in places:
        hole[place] = True
    return np.where(hole, NAN, x)


def holed(function: Any, *places: Any, **options: Any) -> Any:
    return lambda x: function(with_nan(x, *places), **options)


TAKEN: list[tuple[Any, ...]] = [
    ("take_along_axis", lambda x: np.take_along_axis(x, I23, 1), (2, 3)),
    ("take_along_axis broadcast", lambda x: np.take_along_axis(x, I23[:1], axis=0), (2, 3)),
    ("take_along_axis None", lambda x: np.take_along_axis(x, np.array([0, 5, 5]), None), (2, 3)),
    ("compress", lambda x: np.compress(MASK, x, axis=1), (2, 3)),
    ("compress flat", lambda x: np.compress([False, True, True], x), (2, 3)),
    ("extract", lambda x: np.extract(x.real > 0, x), (2, 3)),
    ("delete int", lambda x: np.delete(x, 1), (2, 3)),
    ("delete axis", lambda x: np.delete(x, [0, -1], axis=1), (2, 3)),
    ("delete slice", lambda x: np.delete(x, np.s_[::2], axis=1), (2, 3)),
    ("delete mask", lambda x: np.delete(x, MASK, axis=-1), (2, 3)),
    ("insert", lambda x, v: np.insert(x, 1, v), (2, 3), ()),
    ("insert axis", lambda x, v: np.insert(x, 1, v, axis=1), (2, 3), (2,)),
    ("insert several", lambda x, v: np.insert(x, [0, 2, 2], v, axis=1), (2, 3), (2, 3)),
    ("insert list", lambda x, v: np.insert(x, [1], v, axis=1), (2, 3), (2, 1)),
    ("insert number", lambda x: np.insert(x, [0, -1], 3.0), (3,)),
    ("insert into constant", lambda v: np.insert(np.ones(3), 1, v.real), ()),
    ("choose", lambda x, y: np.choose([0, 1, 1], [x, y]), (3,), (3,)),
    ("choose broadcast", lambda x, y: np.choose([[0], [1]], [x, y]), (3,), ()),
    ("choose wrap", lambda x, y: np.choose([-1, 2, 5], [x, y], mode="wrap"), (3,), (3,)),
    ("choose clip", lambda x, y: np.choose([-1, 2, 0], [x, y], mode="clip"), (3,), (3,)),
    ("choose rows", lambda x: np.choose([0, 1, 1], x), (2, 3)),
    ("select", lambda x, y: np.select([MASK, ~MASK], [x, y * x]), (3,), (3,)),
    ("select default", lambda x, y: np.select([MASK & (x.real > 0), MASK], [x, y], y * 2), (3,), (3,)),
    ("select overlapping", lambda x: np.select([MASK, MASK], [x, x * x], 1.0), (3,)),
    ("piecewise", lambda x: np.piecewise(x, [x.real < 0, x.real >= 0.5], [lambda v: v * v, np.sin]), (6,)),
    ("piecewise default", lambda x: np.piecewise(x, [x.real < 0], [lambda v: v * v, 2.0]), (2, 3)),
    ("piecewise one", lambda x: np.piecewise(x, x.real < 0, [np.exp, lambda v: v * 3]), (5,)),
    ("piecewise 0-d", lambda x: np.piecewise(x, [x.real > -9, x.real < -9], [np.exp, 2.0]), ()),
    ("piecewise argument", lambda x: np.piecewise(x, [x.real > 0], [lambda v, k: v**k, 1.0], 3), (5,)),
    ("trim_zeros", lambda x: np.trim_zeros(x * np.array([0, 1, 0, 1, 0])), (5,)),
    ("trim_zeros front", lambda x: np.trim_zeros(x * np.array([0, 1, 0, 1, 0]), "f"), (5,)),
    ("trim_zeros all", lambda x: np.trim_zeros(x * 0, "b"), (3,)),
]  # fmt: skip

ORDERED: list[tuple[Any, ...]] = [
    ("sort", lambda x: np.sort(x), (2, 4)),
    ("sort axis", lambda x: np.sort(x, axis=0, kind="stable"), (4, 2)),
    ("sort axis None", lambda x: np.sort(x, axis=None), (2, 3)),
    ("sort stable", lambda x: np.sort(x, stable=True), (5,)),
    ("sort 3-d", lambda x: np.sort(x, 1), (2, 4, 2)),
    ("partition", lambda x: np.partition(x, 2), (2, 5)),
    ("partition axis", lambda x: np.partition(x, (1, -1), axis=0), (4, 2)),
    ("partition axis None", lambda x: np.partition(x, 2, axis=None), (2, 3)),
    ("argsort", lambda x: x[np.argsort(x)], (5,)),
    ("argsort along", lambda x: np.take_along_axis(x, np.argsort(x, 0), 0), (4, 2)),
    ("lexsort", lambda x: x[np.lexsort((x, np.array([1, 0, 1, 0, 1])))], (5,)),
    ("median odd", lambda x: np.median(x), (5,)),
    ("median even", lambda x: np.median(x), (2, 3)),
    ("median axis", lambda x: np.median(x, axis=0), (4, 3)),
    ("median axes keepdims", lambda x: np.median(x, axis=(0, -1), keepdims=True), (2, 3, 4)),
    ("median of 0-d", lambda x: np.median(x), ()),
    ("quantile", lambda x: np.quantile(x, 0.3), (2, 4)),
    ("quantile several", lambda x: np.quantile(x, [[0.1, 0.5], [0.0, 1.0]], axis=1), (2, 4)),
    ("quantile axes keepdims", lambda x: np.quantile(x, [0.2, 0.9], axis=(2, 0), keepdims=True), (2, 3, 2)),
    ("quantile weights", lambda x: np.quantile(x, 0.4, weights=WEIGHTS, method="inverted_cdf"), (5,)),
    ("quantile weights axis",
     lambda x: np.quantile(x, [0.4, 0.8], axis=1, weights=WEIGHTS, method="inverted_cdf"), (2, 5)),
    ("quantile weights like x",
     lambda x: np.quantile(x, 0.4, axis=0, weights=1 + np.arange(6.0).reshape(3, 2), method="inverted_cdf"), (3, 2)),
    ("percentile", lambda x: np.percentile(x, [10, 25.5, 99], axis=-1), (3, 5)),
    ("percentile int", lambda x: np.percentile(x, 50), (5,)),
    ("percentile array of 0-d", lambda x: np.percentile(x, np.array(70.0)), (5,)),
    ("nanmedian", holed(np.nanmedian, 1), (6,)),
    ("nanmedian axis", holed(np.nanmedian, (0, 1), (2, 1), (1, 0), axis=0), (4, 3)),
    ("nanmedian no NaN", lambda x: np.nanmedian(x, axis=1, keepdims=True), (2, 3)),
    ("nanquantile", holed(np.nanquantile, (0, 1), (1, 2), q=[0.3, 0.8], axis=1), (2, 5)),
    ("nanquantile all axes", holed(np.nanquantile, (0, 1), (1, 2), q=0.35, keepdims=True), (2, 5)),
    ("nanpercentile", holed(np.nanpercentile, (0, 1), q=35, axis=0), (4, 2)),
    ("unique", lambda x: np.unique(x), (2, 3)),
    ("unique repeated", lambda x: np.unique(np.concatenate([x, x])), (4,)),
    ("unique rows", lambda x: np.unique(np.stack([x, x, x * 0]), axis=0), (3,)),
    ("unique with numbers", lambda x: np.unique(x, return_index=True, return_counts=True)[0] * 2, (5,)),
    ("unique_values", lambda x: np.unique_values(np.concatenate([x, x])), (4,)),
    ("unique_all", lambda x: np.unique_all(x).values, (4,)),
    ("unique_counts", lambda x: np.unique_counts(x)[0], (4,)),
    ("unique_inverse", lambda x: np.unique_inverse(x)[0], (2, 3)),
    ("union1d", lambda x, y: np.union1d(x, y), (3,), (2,)),
    ("intersect1d", lambda x: np.intersect1d(x, np.sort(x)[1:]), (4,)),
    ("setdiff1d", lambda x: np.setdiff1d(x, np.sort(x)[:2]), (5,)),
    ("setxor1d", lambda x, y: np.setxor1d(np.concatenate([x, y]), y), (3,), (2,)),
    *((f"quantile {m}", lambda x, m=m: np.quantile(x, [0, 0.1, 0.37, 0.5, 0.75, 0.93, 1], axis=0, method=m), (7, 2))
      for m in METHODS),
    *((f"quantile {m} of two", lambda x, m=m: np.quantile(x, 0.6, method=m), (2,)) for m in METHODS),
    *((f"nanquantile {m}", lambda x, m=m: np.nanquantile(with_nan(x, 2), 0.6, method=m), (6,)) for m in METHODS),
]  # fmt: skip

if "descending" in inspect.signature(np.sort).parameters:  # since NumPy 2.5
    ORDERED += [
        ("sort descending", lambda x: np.sort(x, axis=0, descending=True), (4, 2)),
        ("sort descending None", lambda x: np.sort(x, None, descending=True, stable=True), (2, 3)),
        ("argsort descending", lambda x: x[np.argsort(x, descending=True)], (5,)),
    ]

EMPTY: list[tuple[Any, ...]] = [
    ("sort", lambda x: np.sort(x, axis=0), (0, 3)),
    ("sort None", lambda x: np.sort(x, axis=None), (0, 3)),
    ("median other axis", lambda x: np.median(x, axis=1), (0, 3)),
    ("quantile other axis", lambda x: np.quantile(x, [0.5, 0.2], axis=1), (0, 3)),
    ("unique", lambda x: np.unique(x), (0,)),
    ("take_along_axis", lambda x: np.take_along_axis(x, np.zeros((2, 0), int), 1), (2, 3)),
    ("compress", lambda x: np.compress([False], x), (3,)),
    ("delete", lambda x: np.delete(x, [0, 1]), (2,)),
    ("insert", lambda x, v: np.insert(x, 0, v), (0,), (2,)),
    ("select", lambda x: np.select([np.zeros(0, bool)], [x]), (0,)),
    ("piecewise", lambda x: np.piecewise(x, [x > 0], [np.exp, 1.0]), (0,)),
    ("trim_zeros", lambda x: np.trim_zeros(x), (0,)),
]  # fmt: skip

OUT: list[tuple[Any, ...]] = [
    ("median", lambda x, out: np.median(x, axis=0, out=out), (3,)),
    ("nanmedian", lambda x, out: np.nanmedian(x, axis=0, out=out), (3,)),
    ("quantile", lambda x, out: np.quantile(x, 0.3, axis=0, out=out), (3,)),
    ("nanpercentile", lambda x, out: np.nanpercentile(x, 30, axis=0, out=out), (3,)),
    ("compress", lambda x, out: np.compress([True, True], x, out=out), (2,)),
    ("choose", lambda x, out: np.choose([0, 1, 0], x, out=out), (3,)),
]  # fmt: skip


def table(rows: list[tuple[Any, ...]]) -> Any:
    return pytest.mark.parametrize("case", rows, ids=[row[0] for row in rows])


def arguments(case: tuple[Any, ...], dtype: Any = float) -> list[Any]:
    return [spaced(shape, (case[0], i), dtype=dtype)[()] for i, shape in enumerate(case[2:])]


@table(TAKEN + ORDERED)
def test_real(case: Any) -> None:
    check(case[1], arguments(case), seed=case[0])


@table([row for row in TAKEN if row[0] != "insert into constant"])
def test_complex(case: Any) -> None:
    check(case[1], arguments(case, complex), seed=case[0])


@table(EMPTY)
def test_empty(case: Any) -> None:
    check(case[1], arguments(case), order=1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "g"])
@table(TAKEN + ORDERED)
def test_dtypes(case: Any, dtype: str) -> None:
    args = arguments(case, dtype)
    check_dtypes(case[1], args)


@table(OUT)
def test_out(case: Any) -> None:
    check_out(*case)


# -- ties, NaN and infinities ------------------------------------------------------------------------------------
W = np.arange(3.0)
CORNERS: list[tuple[Any, ...]] = [
    ("sort ties", lambda x: np.sum(np.sort(x) * W), [2.0, 2.0, 1.0], [1, 2, 0]),
    ("sort NaN", lambda x: np.sort(x)[2], [1.0, NAN, 2.0], [0, 1, 0]),
    ("sort -0", lambda x: np.sum(np.sort(x) * W), [0.0, -0.0, -1.0], [1, 2, 0]),
    ("median even", lambda x: np.median(x), [1.0, 2.0, 3.0, 4.0], [0, 0.5, 0.5, 0]),
    ("median NaN", lambda x: np.median(x), [1.0, NAN, 2.0], [0, 1, 0]),
    ("median inf", lambda x: np.median(x), [1.0, INF, INF, 0.0], [0.5, 0.5, 0, 0]),
    ("median under sqrt", lambda x: np.sqrt(np.median(x)), [0.0, 1.0, -1.0], [INF, 0, 0]),
    ("quantile NaN", lambda x: np.quantile(x, 0.1), [1.0, NAN, 2.0], [0, 1, 0]),
    ("quantile exact position", lambda x: np.quantile(x, 0.5), [3.0, 1.0, 2.0], [0, 0, 1]),
    ("quantile lower inf", lambda x: np.quantile(x, 0.9, method="lower"), [1.0, INF, 2.0], [0, 0, 1]),
    ("quantile under sqrt", lambda x: np.sqrt(np.quantile(x, 0.5)), [0.0, 1.0, -1.0], [INF, 0, 0]),
    ("nanmedian NaN", lambda x: np.nanmedian(x), [1.0, NAN, 2.0], [0.5, 0, 0.5]),
    ("nanquantile NaN", lambda x: np.nanquantile(x, 1.0), [1.0, NAN, 2.0], [0, 0, 1]),
    ("nanmedian all NaN", lambda x: np.nanmedian(x), [NAN, NAN], [0, 0]),
    ("nanquantile a row of NaN", lambda x: np.sum(np.nanquantile(x, 0.0, axis=1)), [[NAN, NAN], [2.0, 1.0]],
     [[0, 0], [0, 1]]),
    ("unique ties", lambda x: np.sum(np.unique(x) * W[1:]), [2.0, 1.0, 2.0], [2, 1, 0]),
    ("unique NaN", lambda x: np.sum(np.unique(x)[:1]), [NAN, 1.0, NAN], [0, 1, 0]),
    ("unique rows", lambda x: np.sum(np.unique(x, axis=0)), [[2.0, 1.0], [2.0, 1.0]], [[1, 1], [0, 0]]),
    ("delete all uses", lambda x: np.sum(np.delete(x, 0)), [NAN, 1.0, 2.0], [0, 1, 1]),
    ("select NaN elsewhere", lambda x: np.sum(np.select([x > 0], [np.log(x)], 0.0)), [0.0, 2.0], [0, 0.5]),
    ("piecewise log", lambda x: np.sum(np.piecewise(x, [x > 0], [np.log, 0.0])), [0.0, 2.0], [0, 0.5]),
]  # fmt: skip


@table(CORNERS)
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_corners(case: Any) -> None:
    _, f, x, gradient = case
    x = np.array(x)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(cr.grad(f)(x), gradient)
        pushed = [cr.jvp(f, (x,), (unit.reshape(x.shape),))[1] for unit in np.eye(x.size)]
    np.testing.assert_array_equal(np.reshape(pushed, x.shape), gradient)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_quantiles_sum_to_one(method: str) -> None:
    """Whatever the method, adding a number to all elements adds it to the quantile; ties and NaN included."""
    q = np.linspace(0, 1, 11)
    for x in (spaced((9,)), np.array([1.0, 2.0, 2.0, 2.0, 5.0]), np.array([1.0, NAN, 2.0]), np.ones(4)):
        jacobian = cr.jvp(lambda x: np.quantile(x, q, method=method), (x,), (np.ones_like(x),))[1]
        np.testing.assert_allclose(jacobian, 1, rtol=1e-12)
        gradient = cr.vjp(lambda x: np.quantile(x, q, method=method), x)[1](np.ones(11))[0]
        np.testing.assert_allclose(np.sum(gradient), 11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("function", [np.quantile, np.nanquantile], ids=lambda f: f.__name__)
def test_quantiles_in_q(function: Any, method: str) -> None:
    """Linear between elements, constant beyond the ends; what jumps from element to element does not move."""
    q = np.array([[0.03, 0.47, 0.33], [0.83, 0.97, 0.71]])
    check(lambda x, q: function(x, q[0], axis=1, method=method), [spaced((2, 7)), q])
    check(lambda x, q: function(x, q[0, 1], axis=(0, 2), keepdims=True, method=method), [spaced((2, 3, 3)), q])
    check(lambda q: function([3.0, 1.0, 7.0, 4.0, 4.5], q, method=method), [q])
    if function is np.nanquantile:
        check(
            lambda x, q: function(with_nan(x, (0, 2), (0, 4), (1, 1)), q[1], axis=1, method=method), [spaced((2, 7)), q]
        )


def test_percentiles_in_q() -> None:
    check(lambda x, q: np.percentile(x, 40 * q + 9, axis=0), [spaced((7, 2)), np.array([0.3, 1.7])])
    check(lambda x, q: np.nanpercentile(with_nan(x, 3), 40 * q + 9), [spaced((8,)), np.array(0.37)[()]])
    check_dtypes(lambda x, q: np.quantile(x, q), [spaced((7,), dtype="f4"), np.float32(0.3)])
    check_dtypes(lambda x, q: np.quantile(x, q), [spaced((7,), dtype="f4"), np.array([0.3, 0.7])])


def test_weighted_quantiles_jump() -> None:
    """In the weights and in q: the value is that of one element, and which one is no matter of small changes."""
    f = lambda x, w, q: np.quantile(x, q, weights=w, method="inverted_cdf")  # noqa: E731
    check(f, [spaced((5,)), np.array([1.0, 0.5, 2.0, 0.25, 1.5]), np.array([0.4, 0.77])])
    assert cr.grad(lambda w: f(np.arange(3.0), w, 0.4))(np.ones(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("q", "slope"),
    [(0.0, 2.0), (0.25, 3.0), (0.5, 4.0), (0.6, 4.0), (0.75, 10.0), (1.0, 16.0)],
)
def test_slope_in_q_at_an_element(q: float, slope: float) -> None:
    """The mean of both sides; at 0 and 1 there is one side only."""
    x = np.array([0.0, 0.5, 1.5, 2.5, 6.5])
    assert cr.grad(lambda q: np.quantile(x, q))(q) == slope
    assert cr.grad(lambda q: np.percentile(x, 100 * q))(q) == slope
    assert cr.grad(lambda q: np.quantile(np.array([1.0, np.nan]), q))(q) == 0
    assert cr.grad(lambda q: np.quantile(np.array([1.0, 1.5, np.inf]), q))(0.2) == 1


@pytest.mark.parametrize("size", [17, 100, 1001])
def test_order_statistics_of_many(size: int) -> None:
    """Larger than what NumPy's sorting does by insertion, with ties: values that are picked are those that count."""
    x = np.random.default_rng(size).integers(0, 9, size).astype(float)
    w = np.random.default_rng(1).normal(size=size)
    for f in (np.sort, lambda x: np.partition(x, size // 2)):
        value, pullback = cr.vjp(f, x)
        gradient = pullback(w)[0]
        for number in range(9):
            np.testing.assert_allclose(np.sum(gradient[x == number]), np.sum(w[value == number]))
        assert sorted(gradient) == sorted(w)
    gradient = cr.grad(lambda x: np.quantile(x, 0.77))(x)
    np.testing.assert_allclose(gradient @ x, np.quantile(x, 0.77))


def test_float16_positions_are_numpys() -> None:
    """NumPy computes positions in the dtype of the elements: thousands of float16 are coarse."""
    x = spaced((3000,), dtype="f2")
    for f in (lambda x: np.quantile(x, 0.3), lambda x: np.percentile(x, 30)):
        gradient = cr.grad(f)(x)
        np.testing.assert_allclose(gradient.astype(float) @ x.astype(float), f(x), atol=2e-3)


def test_numbers_beside_the_values_are_plain() -> None:
    x = np.array([3.0, 1.0, 3.0])
    for desired, actual in zip(
        np.unique(x, True, True, True)[1:], np.unique(cr.Tensor(x), True, True, True)[1:], strict=True
    ):
        assert type(actual) is np.ndarray
        np.testing.assert_array_equal(actual, desired)
    found = np.unique_all(cr.Tensor(x))
    assert isinstance(found.values, cr.Tensor)
    assert found.counts.tolist() == [1, 2]
    common, first, second = np.intersect1d(cr.Tensor(x), np.array([1.0, 2.0]), return_indices=True)
    assert (common.tolist(), first.tolist(), second.tolist()) == ([1.0], [1], [0])


def test_refusals() -> None:
    t = cr.Tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="invalid entry in choice"):
        np.choose([0, 3, 0], [t, t])
    with pytest.raises(ValueError, match="same length"):
        np.select([MASK], [t, t])
    with pytest.raises(ValueError, match="functions are expected"):
        np.piecewise(t, [t > 1], [1.0, 2.0, 3.0])
    with pytest.raises(np.exceptions.AxisError):
        np.sort(t, axis=1)


def test_quantiles_of_long_rows() -> None:
    """Long rows are partitioned, not sorted."""
    x = seeded("long").permutation(np.arange(3 * 2001.0)).reshape(3, 2001)
    for q in (0.0, 0.25, 0.7001, 1.0):
        gradient = cr.grad(lambda x, q=q: np.sum(np.quantile(x, q, axis=1)))(x)
        np.testing.assert_allclose(np.sum(gradient * x, 1), np.quantile(x, q, axis=1), rtol=1e-14)
        np.testing.assert_allclose(np.sum(gradient, 1), 1, rtol=1e-14)
    x[1, 3] = np.nan
    gradient = cr.grad(lambda x: np.sum(np.median(x, axis=1)))(x)
    assert gradient[1, 3] == 1
    np.testing.assert_array_equal(
        gradient != 0, np.where(np.arange(3)[:, None] == 1, np.isnan(x), x == np.median(x, 1)[:, None])
    )


@pytest.mark.parametrize("options", [{"kind": "stable"}, {"stable": True}, {"kind": "heapsort"}, {}], ids=str)
def test_sort_follows_the_permutation_of_its_kind(options: dict[str, Any]) -> None:
    """Ties are not split: each kind of sort leaves equal elements in an order of its own."""
    x = np.random.default_rng(0).permutation(np.repeat(np.arange(4.0), 25))
    ct, desired = np.arange(100.0), np.zeros(100)
    desired[np.argsort(x, **options)] = ct
    np.testing.assert_array_equal(cr.vjp(lambda x: np.sort(x, **options), x)[1](ct)[0], desired)
    np.testing.assert_array_equal(cr.jvp(lambda x: np.sort(x, **options), (x,), (ct,))[1], ct[np.argsort(x, **options)])
