"""Rule R4, on every rule that multiplies: a factor that is exactly zero wins over infinity and NaN, on either side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import ROWS
from test_rules import function

import chainrule as cr
from chainrule.rules import rules
from chainrule.rules.registry import Rule

EDGES = [0.0, -0.0, 1.0, -1.0, 2.0, -0.5, np.inf, -np.inf, np.nan, 1e300, -1e300, 1e-310]
COMPLEX_EDGES = [
    0j,
    1 + 0j,
    -1 + 0j,
    1j,
    -1j,
    complex(np.inf, 0),
    complex(0, np.inf),
    complex(np.nan, 1),
    0.5 - 2j,
    1e300j,
]


def check_zeros(f: Any, args: list[Any]) -> None:
    """Cotangents of zero give gradients of zero, and tangents of zero a tangent of zero, wherever the point is."""
    with np.errstate(all="ignore"):
        value, pullback = cr.vjp(f, *args)
        for gradient in pullback(np.zeros_like(value)):
            np.testing.assert_array_equal(gradient, 0)
        tangent = cr.jvp(f, tuple(args), tuple(np.zeros_like(arg) for arg in args))[1]
        np.testing.assert_array_equal(tangent, 0)


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_rows(rule: Rule) -> None:
    grids = np.meshgrid(*[EDGES] * len(rule.partials))
    check_zeros(function(rule), [grid.ravel() for grid in grids])
    try:
        rule.value(*[np.array([0.3 + 0.1j])] * len(rule.partials))
    except (TypeError, np.exceptions.ComplexWarning):
        return
    grids = np.meshgrid(*[COMPLEX_EDGES] * len(rule.partials))
    check_zeros(function(rule), [grid.ravel() for grid in grids])


@pytest.mark.parametrize("exponent", [2, 3, -1, 0.5, 1.5, 0, 2.0])
def test_powers(exponent: float) -> None:
    check_zeros(lambda x: x**exponent, [np.array(EDGES)])
    check_zeros(lambda x: np.power(x, exponent), [np.array(EDGES)])
    check_zeros(lambda x: x**exponent, [np.array(COMPLEX_EDGES)])


@np.errstate(all="ignore")
def test_python_numbers() -> None:
    """A quotient of constants may be infinite: Python's own division raises."""
    for zero in (0, 0.0, -0.0):

        def divided(x: Any, zero: float = zero) -> Any:
            return x / zero

        check_zeros(divided, [np.array([0.0, 1.0, INF])])
        check_zeros(divided, [np.array([0.0, 1j])])
        for x in (1.0, np.float32(1.0), 1.0 + 1j):
            masked = cr.vjp(lambda x: np.where(np.real(x) > 2, divided(x), x), x)
            assert masked[1](np.ones_like(x))[0] == 1


def test_power_operator_of_two_arrays() -> None:
    grids = np.meshgrid(EDGES, EDGES)
    check_zeros(lambda a, b: a**b, [grid.ravel() for grid in grids])


# -- rules that are functions --------------------------------------------------------------------------------------
logsumexp, softmax, log_softmax = rules["logsumexp"], rules["softmax"], rules["log_softmax"]
NAN, INF = np.nan, np.inf
# A function of a vector, and a point where its Jacobian is finite and has zeros.
SPARSE: dict[str, tuple[Any, list[float]]] = {
    "max": (lambda x: np.max(x), [1.0, 3.0, 2.0]),
    "min": (lambda x: np.min(x), [1.0, 3.0, 2.0]),
    "nanmax": (lambda x: np.nanmax(x), [1.0, NAN, 2.0]),
    "nanmin": (lambda x: np.nanmin(x), [1.0, NAN, 2.0]),
    "nanmean": (lambda x: np.nanmean(x), [1.0, NAN, 2.0]),
    "nanvar": (lambda x: np.nanvar(x), [1.0, NAN, 2.0, 3.0]),
    "nanstd": (lambda x: np.nanstd(x), [1.0, NAN, 2.0, 3.0]),
    "var": (lambda x: np.var(x), [1.0, 2.0, 3.0]),
    "std": (lambda x: np.std(x), [1.0, 2.0, 3.0]),
    "prod": (lambda x: np.prod(x), [0.0, 2.0, 3.0]),
    "cumprod": (lambda x: np.cumprod(x), [2.0, 0.0, 3.0, 4.0]),
    "median": (lambda x: np.median(x), [1.0, 3.0, 2.0]),
    "nanmedian": (lambda x: np.nanmedian(x), [1.0, NAN, 3.0, 2.0]),
    "quantile": (lambda x: np.quantile(x, 0.5), [1.0, 3.0, 2.0]),
    "percentile": (lambda x: np.percentile(x, 50), [1.0, 3.0, 2.0]),
    "nanquantile": (lambda x: np.nanquantile(x, 0.5), [1.0, NAN, 3.0, 2.0]),
    "nanpercentile": (lambda x: np.nanpercentile(x, 50), [1.0, NAN, 3.0, 2.0]),
    "norm": (lambda x: np.linalg.norm(x), [0.0, 3.0, 4.0]),
    "norm 1": (lambda x: np.linalg.norm(x, 1), [0.0, -3.0, 4.0]),
    "norm inf": (lambda x: np.linalg.norm(x, np.inf), [0.0, -3.0, 4.0]),
    "logsumexp": (lambda x: logsumexp(x), [0.0, -INF, -1.0]),
    "softmax": (lambda x: softmax(x), [0.0, -800.0, -900.0]),
    "log_softmax": (lambda x: log_softmax(x), [0.0, -800.0, -900.0]),
    "interp": (lambda x: np.interp(x, [0.0, 1.0, 2.0], [1.0, 1.0, 4.0]), [0.5, 1.5, 5.0]),
    "interp fp": (lambda fp: np.interp([0.5, 1.5], [0.0, 1.0, 2.0], fp), [1.0, 3.0, 4.0]),
    "interp both": (lambda x: np.interp(x[:2], [0.0, 1.0], x[2:]), [0.5, 0.25, 3.0, 3.0]),
}
SUMS = {"softmax", "log_softmax"}  # their first element's slopes cancel in a sum: plain IEEE arithmetic


def times(slopes: Any, factor: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return np.where(slopes == 0, 0, slopes * factor)


@pytest.mark.parametrize("name", SPARSE)
def test_an_infinite_cotangent_or_tangent_meets_a_slope_of_zero(name: str) -> None:
    """As in sqrt(max(x)) at 0: only the elements that the result depends on get the infinity."""
    f, point = SPARSE[name]
    x = np.array(point)
    value, pullback = cr.vjp(f, x)
    outputs = [np.reshape(row, np.shape(value)) for row in np.eye(np.size(value))]
    jacobian = np.array([pullback(unit)[0] for unit in outputs])
    assert np.any(jacobian == 0) or name in ("std", "var")
    skip = int(name in SUMS)
    for row, unit in list(zip(jacobian, outputs, strict=True))[skip:]:
        np.testing.assert_array_equal(pullback(times(unit, INF))[0], times(row, INF))
    for column, unit in list(zip(jacobian.T, np.eye(x.size), strict=True))[skip:]:
        np.testing.assert_array_equal(np.ravel(cr.jvp(f, (x,), (times(unit, INF),))[1]), times(column, INF))


INFINITE: dict[str, tuple[Any, list[float]]] = {
    "std": (lambda x: np.std(x), [1.0, INF, 2.0]),
    "var": (lambda x: np.var(x), [1.0, INF, 2.0]),
    "nanstd": (lambda x: np.nanstd(x), [1.0, INF, NAN]),
    "nanvar": (lambda x: np.nanvar(x), [1.0, INF, NAN]),
    "prod": (lambda x: np.prod(x), [0.0, INF, 2.0]),
    "cumprod": (lambda x: np.cumprod(x), [0.0, INF, NAN]),
    "logsumexp": (lambda x: logsumexp(x), [NAN, 1.0]),
    "softmax": (lambda x: softmax(x), [NAN, 1.0]),
    "log_softmax": (lambda x: log_softmax(x), [NAN, 1.0]),
    "norm": (lambda x: np.linalg.norm(x), [NAN, INF]),
    "norm 3": (lambda x: np.linalg.norm(x, 3), [INF, 1.0]),
    "interp": (lambda x: np.interp(x, [0.0, 1.0], [0.0, INF]), [0.5, 2.0]),
}


@pytest.mark.parametrize("name", INFINITE)
def test_a_zero_cotangent_or_tangent_meets_an_infinite_slope(name: str) -> None:
    f, point = INFINITE[name]
    check_zeros(f, [np.array(point)])
