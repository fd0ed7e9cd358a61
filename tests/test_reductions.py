"""Reductions with every argument they take, in both modes and to second order; those that leave NaN out too."""

from __future__ import annotations

import functools
from itertools import combinations, product
from typing import Any

import mpmath
import numpy as np
import pytest
from oracle import check, check_dtypes, close, same, spaced

import chainrule as cr
import chainrule.scipy.special as special
from chainrule import nn
from chainrule.rules import rules
from chainrule.rules.linear import added_up

WHERE = np.array([[[True, True], [True, True], [True, False]], [[False, True], [True, True], [True, True]]])
AXES = [None, 0, -1, (0, 2), (-1, 1), (0, 1, 2), ()]
PLAIN = ["sum", "prod", "mean", "var", "std", "max", "min", "ptp", "median"]
NAN_FREE = ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin", "nanmedian"]


def takes(name: str) -> dict[str, Any]:
    """What a reduction takes besides an axis and keepdims."""
    root = name.removeprefix("nan")
    options: dict[str, Any] = {} if root in ("ptp", "median") else {"where": WHERE}
    if root in ("sum", "prod"):
        options["initial"] = 1.7
    elif root in ("max", "min"):
        options["initial"] = 0.3  # more than some elements, less than others
    elif root in ("var", "std"):
        options["ddof"] = 1
    return options


def calls() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, axis, keepdims in product(PLAIN + NAN_FREE, AXES, (False, True)):
        if axis == () and name not in ("sum", "prod", "mean", "max", "min", "nansum", "nanprod"):
            continue  # of one element each there is no spread, and of NaN alone nothing
        found.append((name, {"axis": axis, "keepdims": keepdims}))
    for name, axis in product(PLAIN + NAN_FREE, (None, 1, (0, 2))):
        for key, value in takes(name).items():
            needed = {"initial": 0.3} if key == "where" and name.endswith(("max", "min")) else {}
            found.append((name, {"axis": axis, key: value, **needed}))
        if takes(name):
            found.append((name, {"axis": axis, "keepdims": True, **takes(name)}))
    return found


CALLS = calls()


def with_holes(x: Any) -> Any:
    """NaN where nothing else is left out, at two places."""
    hole = np.zeros((2, 3, 2), bool)
    hole[0, 1, 0] = hole[1, 2, 1] = True
    return np.where(hole, np.nan, x)


@pytest.mark.parametrize(("name", "options"), CALLS, ids=[f"{i} {name}" for i, (name, _) in enumerate(CALLS)])
@pytest.mark.filterwarnings("ignore:All-NaN", "ignore:Mean of empty", "ignore:Degrees of freedom")
def test_arguments(name: str, options: dict[str, Any]) -> None:
    function = getattr(np, name)
    x = spaced((2, 3, 2), name)
    if name.startswith("nan"):
        check(lambda x: function(with_holes(x), **options), [x], order=2 if "med" not in name else 1)
    else:
        check(lambda x: function(x, **options), [x])


# -- variance about a mean that is handed in ---------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"ddof": 1}, {"correction": 1}, {"where": WHERE}, {"dtype": "f8"}], ids=str)
@pytest.mark.parametrize("name", ["var", "std", "nanvar", "nanstd"])
def test_mean_handed_in(name: str, options: dict[str, Any]) -> None:
    """It may be the mean, or any other: derivatives flow through it as through any operand."""
    function = getattr(np, name)

    def own(x: Any) -> Any:
        return function(x, axis=(0, 2), keepdims=True, mean=np.mean(x, axis=(0, 2), keepdims=True), **options)

    def other(x: Any, m: Any) -> Any:
        return function(x, axis=(0, 2), keepdims=True, mean=m, **options)

    x, m = spaced((2, 3, 2), name), spaced((1, 3, 1), "mean")
    check(own, [x])
    check(other, [x, m])
    if name.startswith("nan"):
        check(lambda x, m: other(with_holes(x), m), [x, m])
    if "where" not in options:
        gradient = cr.grad(lambda x: np.sum(own(x)))(x)
        plainly = cr.grad(lambda x: np.sum(function(x, axis=(0, 2), keepdims=True, **options)))(x)
        np.testing.assert_allclose(gradient, plainly, atol=1e-14)


@pytest.mark.parametrize("dtype", ["f2", "f4", "g", "c8", "c16"])
def test_mean_handed_in_keeps_dtypes(dtype: str) -> None:
    x, m = spaced((3, 4), "x", dtype=dtype), spaced((4,), "m", dtype=dtype)
    check_dtypes(lambda x, m: np.var(x, axis=0, mean=m), [x, m])
    check_dtypes(lambda x, m: np.std(x, axis=0, mean=m), [x, m])


def test_mean_handed_in_warns_as_numpy() -> None:
    for name in ("var", "nanvar"):
        for x in (np.array([2.0]), cr.Tensor([2.0])):
            with pytest.warns(RuntimeWarning, match="Degrees of freedom"), np.errstate(all="ignore"):
                result = getattr(np, name)(x, ddof=1, mean=np.array([2.0]))
            assert np.isnan(getattr(result, "data", result))


# -- running products --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize("zeros", [(), (0,), (-1,), (1, -2)], ids=str)
def test_cumprod_of_any_length(n: int, zeros: tuple[int, ...]) -> None:
    x = spaced((n, 2), "cumprod")
    for i in zeros:
        x[i % n, 0] = 0.0
    check(lambda x: np.cumprod(x, axis=0), [x])


def test_cumprod_is_exact_where_division_is_not() -> None:
    """Products that leave the range of floats, and zeros, are nobody's divisor."""
    x = np.array([1e-200, 1e-200, 0.0, 3.0, 1e300, 1e300])
    value, pullback = cr.vjp(np.cumprod, x)
    same(value, np.cumprod(x))
    assert pullback(np.array([0.0, 1.0, 0, 0, 0, 0]))[0].tolist() == [1e-200, 1e-200, 0, 0, 0, 0]
    np.testing.assert_allclose(cr.grad(lambda x: np.cumprod(x[2:])[1])(x), [0, 0, 3, 0, 0, 0])
    third = cr.grad(lambda a: cr.grad(lambda b: cr.grad(lambda c: np.cumprod(np.stack([a, b, c, a]))[3])(0.0))(0.0))(
        2.0
    )
    assert third == 4.0  # a b c a, differentiated once in each, at zeros


def test_cumprod_of_many() -> None:
    x = 1 + spaced((1000,), "many") / 100
    gradient = cr.grad(lambda x: np.cumprod(x)[-1])(x)
    close(gradient, np.prod(x) / x, 1e-12)


# -- what sums exponentials --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("logsumexp", {"axis": 1, "keepdims": True}),
        ("logsumexp", {"axis": (0, 2)}),
        ("softmax", {"axis": 0}),
        ("softmax", {"axis": (0, 1)}),
        ("log_softmax", {"axis": 1}),
    ],
    ids=str,
)
def test_exponentials_along_axes(name: str, options: dict[str, Any]) -> None:
    check(lambda x: rules[name](x, **options), [spaced((2, 3, 2), name)])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c16", "i8"])
@pytest.mark.parametrize(
    "shape", [(3, 4, 5, 6), (30, 20, 10, 3), (1, 7, 1, 3), (200, 3), (2, 1100), (0, 3), (3, 0), (5,)]
)
def test_cotangents_are_added_up_as_sums_are(shape, dtype):
    x = (np.random.default_rng(0).normal(size=shape) * 3).astype(dtype)
    tolerance = {"f2": 2e-2, "f4": 2e-5}.get(dtype, 1e-12)
    for count in range(1, len(shape) + 1):
        for axes in combinations(range(len(shape)), count):
            for y in (x, np.asfortranarray(x), x[::-1]):
                expected, found = np.add.reduce(y, axes), added_up(y, axes)
                assert found.shape == expected.shape and found.dtype == expected.dtype
                scale = np.add.reduce(np.abs(y).astype("f8"), axes)
                assert np.all(np.abs(found - expected) <= tolerance * (1 + scale))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so_where_it_is(value):
    x = np.ones((40, 30, 20))
    x[3, 4, 5] = value
    for axes in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 2)):
        np.testing.assert_array_equal(added_up(x, axes), np.add.reduce(x, axes))
    x[3, 4, 5], x[4, 4, 5] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):  # as walks have it
        found = added_up(x, (0,))
    assert np.isnan(found[4, 5]) and np.sum(np.isnan(found)) == 1


# -- logsumexp, where its value has lost the logarithm of the sum ------------------------------------------------------
def shares_of(row: Any, weights: Any) -> list[Any]:
    """What each element of a row adds to the sum of exponentials, over the sum."""
    with mpmath.workdps(60):
        powers = [
            mpmath.mpf(float(w)) * mpmath.exp(mpmath.mpf(float(x)) - max(row))
            for x, w in zip(row, weights, strict=True)
        ]
        return [float(power / sum(powers)) for power in powers]


def by_hand(x: Any, axis: Any) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.sum(np.exp(x - top), axis=axis))


WEIGHTS = np.array([1.0, 2.0, 0.5])
LOGSUMEXP = {
    "nn": lambda x, axis: nn.logsumexp(x, axis),
    "scipy": lambda x, axis: special.logsumexp(x, axis),
    "weighted": lambda x, axis: special.logsumexp(x, axis, b=WEIGHTS.astype(x.dtype)),
    "by hand": by_hand,
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("scale", [1.0, 50.0, -700.0, 1e4, 1e20, -1e20, 3e38])
@pytest.mark.parametrize("name", LOGSUMEXP)
def test_logsumexp_of_large_numbers_and_of_equal_ones(name: str, scale: float, dtype: str) -> None:
    """Softmax, in both modes, and its derivative; equal elements share, however large they are; under jit, too."""
    weights = WEIGHTS if name == "weighted" else np.ones(3)
    x = np.array([[0.2, -0.5, 0.4], [0, 0, 0], [0, 0, -np.inf]]) + scale
    x = x.astype(dtype)
    shares = np.array([shares_of(row, weights) for row in x])
    second = np.array([np.diag(p) - np.outer(p, p) for p in shares])
    ulps = 8 + (abs(scale) if abs(scale) <= 1e3 else 0)  # the value's rounding, in the exponent
    room = {"rtol": ulps * np.finfo(dtype).eps, "atol": ulps * np.finfo(dtype).eps}

    def rows(x: Any) -> Any:
        return np.sum(LOGSUMEXP[name](x, 1))

    def whole(row: Any) -> Any:
        return LOGSUMEXP[name](row, None if name != "by hand" else 0)

    with np.errstate(all="ignore"):
        for f in (cr.grad(rows), lambda x: cr.jacobian(rows, mode="fwd")(x)):
            for g in (f, cr.jit(f), cr.jit(f, exact=True)):
                for _ in range(3):
                    found = g(x)
                    assert found.dtype == x.dtype
                    np.testing.assert_allclose(found, shares, **room)
        for row, p, pp in zip(x, shares, second, strict=True):
            np.testing.assert_allclose(cr.grad(whole)(row), p, **room)
            np.testing.assert_allclose(cr.hessian(whole)(row), pp, **room)
            np.testing.assert_allclose(cr.jacobian(cr.grad(whole), mode="rev")(row), pp, **room)


@pytest.mark.parametrize("name", ["nn", "scipy"])
def test_logsumexp_of_infinite_numbers(name: str) -> None:
    for row, shares in (
        ([-np.inf] * 3, [0, 0, 0]),
        ([np.inf, 0, 1], [1, 0, 0]),
        ([np.inf, 1e20, np.inf], [0.5, 0, 0.5]),
        ([-np.inf, 1e20, 1e20], [0, 0.5, 0.5]),
    ):
        f = functools.partial(LOGSUMEXP[name], axis=0)
        for derived in (cr.grad(f), cr.jacobian(f, mode="fwd")):
            for g in (derived, cr.jit(derived), cr.jit(derived, exact=True)):
                assert g(np.array(row)).tolist() == shares
